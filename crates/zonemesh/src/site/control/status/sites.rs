//! The sites: who answers, who is ready, and whose clock is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use zonemesh_api::types as api;
use zonemesh_mesh::core::{ClockFault, PeerId};
use zonemesh_zone::directory::{Directory, Site};

use super::gather::{Snapshot, There};
use super::judge::site_status;
use super::table;
use crate::site::control::{Control, convert};
use crate::site::{HOW_TO_JOIN, membership, settings};

impl Control {
    pub(super) fn sites_of(
        &self,
        snapshot: &Snapshot,
        others: &[&Site],
        there: &BTreeMap<String, There>,
        checks: &mut Vec<api::Check>,
    ) -> Vec<api::SiteStatus> {
        let owned = |name: &str| {
            let owners = snapshot
                .directory
                .iter()
                .flat_map(|directory| directory.owners.values());
            owners.filter(|owner| owner.as_str() == name).count() as u64
        };
        let me = snapshot.directory.as_ref().and_then(|directory| {
            directory
                .sites
                .values()
                .find(|site| site.name.as_str() == self.live.name)
        });
        if self.live.mesh.is_some() && snapshot.directory.is_some() && me.is_none() {
            let removed = snapshot.directory.as_ref().is_some_and(|directory| {
                directory
                    .removed
                    .keys()
                    .any(|name| name.as_str() == self.live.name)
            });
            let what = match removed {
                true => "this site was removed from the mesh",
                false => "the directory does not have this site",
            };
            checks.push(table::NOT_A_MEMBER.of(Some(self.live.name.clone()), what));
        }
        let refused = self.refused_by_all(there);
        if let Some(why) = &refused {
            let what = not_taken(why);
            checks.push(table::NOT_A_MEMBER.of(Some(self.live.name.clone()), what));
        }
        if !snapshot.ready {
            let in_mesh = self.live.mesh.is_some();
            checks.push(not_ready_check(&self.live.name, in_mesh, snapshot));
        }
        if let Some(what) = settings::role_differs(&self.live) {
            checks.push(table::ROLE_DIFFERS.of(Some(self.live.name.clone()), what));
        }
        let mut silent = Vec::new();
        let mut sites = vec![site_status(
            me,
            &self.live.name,
            self.live.mesh.is_some(),
            owned(&self.live.name),
        )];
        if let Some(this) = sites.first_mut() {
            this.reachable = Some(true);
            this.ready = Some(snapshot.ready);
            this.this = true;
        }
        for site in others {
            let name = site.name.to_string();
            let mut status = site_status(Some(site), &name, true, owned(&name));
            let answers = there.get(&name);
            let failure = answers.and_then(|answers| {
                answers
                    .zones
                    .values()
                    .find_map(|answer| answer.as_ref().err().filter(|failure| failure.unreachable))
            });
            status.reachable = Some(failure.is_none());
            // It was asked for this very status.
            status.last_seen = match failure {
                None => Some(Timestamp::now()),
                Some(_) => since(snapshot, &PeerId::Site(site.name.clone())),
            };
            status.rtt_ms = answers
                .and_then(|answers| answers.rtt)
                .map(|rtt| rtt.as_millis() as u64);
            // It answers members also while it is not ready: for what it holds. Whom it takes for none it does not tell.
            status.ready = answers
                .filter(|_| failure.is_none() && refused.is_none())
                .map(|answers| answers.zones.values().all(Result::is_ok));
            status.error = failure.map(|failure| failure.message.clone());
            if let Some(failure) = failure {
                let since = since(snapshot, &PeerId::Site(site.name.clone()));
                silent.push((*site, failure.message.clone(), since));
            }
            sites.push(status);
        }
        if let Some(directory) = &snapshot.directory {
            silence_checks(&self.live.name, directory, &silent, checks);
        }
        stuck_checks(&snapshot.stuck, checks);
        differing_checks(&self.live.name, snapshot, checks);
        sites
    }

    /// Why the other sites that answer do not show this one the directory, if none does.
    fn refused_by_all(&self, there: &BTreeMap<String, There>) -> Option<String> {
        let (directory, _) = self.live.mesh.as_ref()?;
        let mut answers = there
            .values()
            .filter_map(|there| there.zones.get(directory))
            .filter(|answer| !answer.as_ref().is_err_and(|failure| failure.unreachable))
            .peekable();
        let first = answers.peek()?.as_ref().err()?.message.clone();
        answers.all(|answer| answer.is_err()).then_some(first)
    }
}

/// What it means that every other site refuses this one.
fn not_taken(why: &str) -> String {
    let what = "no other site takes this one for a member: it was removed, or another one with its name has taken its place";
    format!("{what} ({why})")
}

/// The sites that do not answer, what that means, and what to do about each.
fn silence_checks(
    me: &str,
    directory: &Directory,
    silent: &[(&Site, String, Option<Timestamp>)],
    checks: &mut Vec<api::Check>,
) {
    let others = directory.sites.len().saturating_sub(1);
    let cut_off = others > 1 && silent.len() == others;
    if cut_off {
        let what =
            format!("none of the {others} other sites answers: this site is probably cut off");
        checks.push(table::CUT_OFF.of(Some(me.to_owned()), what));
    }
    let primary = directory.catalog_primary();
    for (site, why, since) in silent {
        let zones = directory.zones_of(&site.name).len();
        let zones = match zones {
            0 => String::new(),
            1 => "; its zone takes no changes meanwhile".to_owned(),
            many => format!("; its {many} zones take no changes meanwhile"),
        };
        let what = format!("{} does not answer: {why}{zones}", site.name);
        let hint = match primary {
            _ if cut_off => Some(
                "while no site answers, look first whether it is this one that is cut off"
                    .to_owned(),
            ),
            Some(primary) if primary.name == site.name => Some(format!(
                "it is the catalog primary: until it is back no site joins or leaves, and no zone is added or removed; all else goes on. {}",
                membership::instead_of(&primary.name, directory)
            )),
            Some(primary) if primary.name.as_str() != me => Some(format!(
                "its zones are served by the others meanwhile; changes reach it when it is back. If it will not come back: \
                 `zonemesh site remove {}` at {}, the catalog primary",
                site.name, primary.name
            )),
            _ => None,
        };
        let check = table::SITE_UNREACHABLE.of(Some(site.name.to_string()), what);
        checks.push(api::Check {
            hint: hint.or(check.hint),
            since: *since,
            ..check
        });
    }
}

/// What is left to say at a site that is no member: what the others hold, and who is away, is not its business any longer, and what is
/// advised about it elsewhere would be wrong.
pub(super) fn only_of_members(checks: &mut Vec<api::Check>) {
    if !checks.iter().any(|check| table::NOT_A_MEMBER.is(check)) {
        return;
    }
    let of_members = [
        &table::OTHERS_UNHEARD,
        &table::PEER_AHEAD,
        &table::SITE_UNREACHABLE,
        &table::CUT_OFF,
        &table::COPY_LOST,
        &table::CONTENTS_DIFFER,
        &table::RECONCILE_LATE,
    ];
    checks.retain(|check| !of_members.iter().any(|kind| kind.is(check)));
}

/// What keeps this site from answering, and what to do.
fn not_ready_check(me: &str, in_mesh: bool, snapshot: &Snapshot) -> api::Check {
    let of = |what: String| table::NOT_READY.of(Some(me.to_owned()), what);
    if !in_mesh || snapshot.directory.is_some() || snapshot.founds {
        return of(not_ready(snapshot));
    }
    match snapshot.sites.as_slice() {
        [] => api::Check {
            hint: Some(HOW_TO_JOIN.replace("NAME", me)),
            ..of("this site has not joined its mesh, and knows none of its sites".to_owned())
        },
        some => api::Check {
            hint: Some("start one of them; what this site held comes back from there".to_owned()),
            ..of(format!(
                "the store of this site is empty, and it waits for {}",
                some.join(", ")
            ))
        },
    }
}

/// What keeps this site from answering.
fn not_ready(snapshot: &Snapshot) -> String {
    let of_mesh = snapshot.zones.iter().filter(|here| here.spec.mesh);
    let missing: Vec<String> = of_mesh
        .filter(|here| here.serial.is_none())
        .map(|here| convert::name_text(&here.spec.apex))
        .collect();
    let what = match missing.as_slice() {
        [] => "does not know directory and catalog yet".to_owned(),
        few if few.len() <= 3 => format!("does not hold {}", few.join(", ")),
        [first, ..] => format!(
            "does not hold {first} and {} other zones",
            missing.len() - 1
        ),
    };
    format!("this site {what}, and does not answer until it does")
}

/// Foreign servers that do not answer.
pub(super) fn server_checks(snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
    for (peer, (_, why)) in &snapshot.lost {
        if let PeerId::Foreign(name) = peer {
            let what = format!("{name} does not answer: {why}");
            checks.push(api::Check {
                since: since(snapshot, peer),
                ..table::SERVER_UNREACHABLE.of(Some(name.to_string()), what)
            });
        }
    }
}

/// Since when a peer has not answered.
fn since(snapshot: &Snapshot, peer: &PeerId) -> Option<Timestamp> {
    let (since, _) = snapshot.lost.get(peer)?;
    let ago = snapshot.now.mono.saturating_sub(*since).as_secs() as i64;
    Some(convert::after(snapshot.now.wall, -ago))
}

/// Zones of which two sites have different contents under the same serial.
fn differing_checks(me: &str, snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
    for at in &snapshot.differing {
        let here = snapshot.zones.iter().find(|here| here.spec.apex == at.apex);
        let primary = here.map(|here| (here.spec.primary, here.spec.primary_source()));
        let then = match primary {
            None | Some((true, _)) => {
                "this site is its primary, and the other one takes it anew".to_owned()
            }
            Some((false, None)) => {
                "which site is its primary is not known here, nor which is right".to_owned()
            }
            Some((false, Some(primary))) if snapshot.lost.contains_key(primary) => {
                format!(
                    "{primary}, its primary, does not answer, so that nobody knows which is right"
                )
            }
            Some((false, Some(primary))) => format!("{primary}, its primary, decides"),
        };
        let apex = convert::name_text(&at.apex);
        let what = format!(
            "{} has other contents of {apex} under serial {} than {me}: {then}",
            at.peer, at.serial
        );
        let ago = snapshot.now.mono.saturating_sub(at.since).as_secs() as i64;
        checks.push(api::Check {
            since: Some(convert::after(snapshot.now.wall, -ago)),
            ..table::CONTENTS_DIFFER.of(Some(apex), what)
        });
    }
}

/// Sites that answer and do not get on.
pub(super) fn stuck_checks(stuck: &[(PeerId, Duration)], checks: &mut Vec<api::Check>) {
    for (peer, since) in stuck {
        let what = format!(
            "{peer} answers, but its disk or its core has made no progress for {} s",
            since.as_secs()
        );
        checks.push(table::SITE_STUCK.of(Some(peer.to_string()), what));
    }
}

/// Clocks that are wrong.
pub(super) fn clock_checks(me: &str, faults: &[ClockFault], checks: &mut Vec<api::Check>) {
    for fault in faults {
        let kind = match fault {
            ClockFault::Ours { .. } => &table::CLOCK_WRONG,
            ClockFault::Theirs { .. } => &table::CLOCK_OF_PEER_WRONG,
            ClockFault::Differ { .. } => &table::CLOCKS_DIFFER,
        };
        let subject = fault.peer().map_or(me.to_owned(), PeerId::to_string);
        checks.push(kind.of(Some(subject), fault.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::directory::Role;

    use super::super::gather;
    use super::*;

    #[test]
    fn a_wrong_clock_is_critical_where_it_is_and_a_warning_elsewhere() {
        let peer = || PeerId::Foreign("site-b".into());
        let mut checks = Vec::new();
        let faults = [
            ClockFault::Ours { ahead_ms: 412_900 },
            ClockFault::Theirs {
                peer: peer(),
                ahead_ms: -301_000,
            },
            ClockFault::Differ {
                peer: peer(),
                ahead_ms: -900_000,
            },
        ];
        clock_checks("site-a", &faults, &mut checks);
        let found = checks.iter().map(|check| {
            let subject = check.subject.as_deref().unwrap_or_default();
            (check.name.as_str(), subject, check.state)
        });
        let expected = [
            ("clock-wrong", "site-a", api::CheckState::Critical),
            ("clock-of-peer-wrong", "site-b", api::CheckState::Warning),
            ("clocks-differ", "site-b", api::CheckState::Warning),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert!(
            checks[0].message.contains("wrong by +412 s"),
            "{}",
            checks[0].message
        );
        assert!(
            checks[1].message.contains("wrong by -301 s"),
            "{}",
            checks[1].message
        );
        assert!(
            checks[2].message.contains("differ by 900 s"),
            "{}",
            checks[2].message
        );
    }

    /// A mesh of site-a, the catalog primary, and others, of which site-b could take over and has two zones.
    fn mesh(others: &[&str]) -> Directory {
        use zonemesh_zone::{Editor, Record, record::parse_name};
        let apex = parse_name("dns.internal").unwrap();
        let mut editor = Editor::new(apex.clone());
        editor
            .add(Record::from_text("@ 60 IN SOA ns root 1 2 3 4 5", &apex).unwrap())
            .unwrap();
        let mut read = Directory::read(&editor.finish().unwrap());
        let site = |name: &str| Site {
            name: name.parse().unwrap(),
            addresses: Vec::new(),
            dot: None,
            doq: None,
            dns: None,
            pins: Vec::new(),
            role: match name {
                "site-a" => Role::CatalogPrimary,
                "site-b" => Role::CatalogSecondary,
                _ => Role::Standard,
            },
            engine: String::new(),
            failure_domain: None,
        };
        let all = ["site-a"].iter().chain(others);
        read.sites = all
            .map(|name| (name.parse().unwrap(), site(name)))
            .collect();
        let zones = ["b.example", "c.example"].map(|name| parse_name(name).unwrap());
        read.owners = zones.map(|zone| (zone, "site-b".parse().unwrap())).into();
        read
    }

    #[test]
    fn a_site_that_has_not_joined_is_told_how_and_one_that_lost_its_store_for_whom_it_waits() {
        let fresh = not_ready_check("site-c", true, &gather::of_nothing());
        assert!(fresh.message.contains("has not joined"), "{fresh:?}");
        let hint = fresh.hint.unwrap();
        assert!(hint.contains("`zonemesh invite site-c`"), "{hint}");
        let emptied = Snapshot {
            sites: vec!["site-a".to_owned(), "site-b".to_owned()],
            ..gather::of_nothing()
        };
        let emptied = not_ready_check("site-c", true, &emptied);
        assert!(
            emptied.message.ends_with("waits for site-a, site-b"),
            "{emptied:?}"
        );
        for founder in [
            not_ready_check("site-a", false, &gather::of_nothing()),
            not_ready_check(
                "site-a",
                true,
                &Snapshot {
                    founds: true,
                    ..gather::of_nothing()
                },
            ),
        ] {
            assert!(founder.message.contains("does not know"), "{founder:?}");
        }
    }

    fn silence(me: &str, directory: &Directory, names: &[&str]) -> Vec<api::Check> {
        let silent: Vec<_> = names
            .iter()
            .map(|name| {
                let site = directory
                    .sites
                    .values()
                    .find(|site| site.name.as_str() == *name);
                (site.unwrap(), "timed out".to_owned(), None)
            })
            .collect();
        let mut checks = Vec::new();
        silence_checks(me, directory, &silent, &mut checks);
        checks
    }

    #[test]
    fn a_catalog_primary_that_is_away_is_told_of_with_who_can_take_over() {
        let directory = mesh(&["site-b", "site-c"]);
        let checks = silence("site-c", &directory, &["site-a"]);
        let hint = checks[0].hint.as_deref().unwrap();
        assert!(hint.contains("no zone is added"), "{hint}");
        assert!(
            hint.contains("`zonemesh site promote --dry-run` at site-b"),
            "{hint}"
        );
        assert!(!hint.contains("site remove"), "{hint}");
        // Any other can be taken out, where that works.
        let checks = silence("site-c", &directory, &["site-b"]);
        let hint = checks[0].hint.as_deref().unwrap();
        assert!(
            hint.contains("`zonemesh site remove site-b` at site-a"),
            "{hint}"
        );
        let message = &checks[0].message;
        assert!(
            message.ends_with("its 2 zones take no changes meanwhile"),
            "{message}"
        );
    }

    #[test]
    fn a_site_that_reaches_nobody_is_told_that_it_is_probably_cut_off_and_to_remove_none() {
        let directory = mesh(&["site-b", "site-c"]);
        let checks = silence("site-c", &directory, &["site-a", "site-b"]);
        assert_eq!(checks[0].name, "cut-off");
        assert_eq!(checks.len(), 3);
        assert!(
            checks
                .iter()
                .all(|check| !check.hint.as_deref().unwrap().contains("remove"))
        );
        // Of two nobody knows which it is.
        let checks = silence("site-b", &mesh(&["site-b"]), &["site-a"]);
        assert_eq!(checks[0].name, "site-unreachable");
    }

    #[test]
    fn a_site_that_is_no_member_is_not_told_what_only_members_can_do() {
        let mut checks = silence("site-c", &mesh(&["site-b", "site-c"]), &["site-b"]);
        checks.push(table::OTHERS_UNHEARD.of(None, ""));
        let before = checks.clone();
        only_of_members(&mut checks);
        assert_eq!(checks, before);
        checks.push(table::NOT_A_MEMBER.of(None, not_taken("REFUSED")));
        only_of_members(&mut checks);
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert!(checks[0].message.contains("it was removed"), "{checks:?}");
    }
}
