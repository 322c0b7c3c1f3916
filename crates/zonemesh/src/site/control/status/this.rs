//! What is wrong with this site itself: its disk, its configuration, its plan, its clock.

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_api::types as api;
use zonemesh_store::Damaged;
use zonemesh_zone::Serial;

use super::gather::{Here, Recovery, Snapshot};
use super::sites::clock_checks;
use super::table;
use crate::site::control::Control;
use crate::site::control::convert::name_text;
use crate::site::drift::Drift;
use crate::site::progress::Part;
use crate::site::room::Short;

/// A disk that hangs must not keep a status waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many of the removals that the brake holds the status names; `zonemesh plan show` has more.
const NAMED: usize = 5;

/// What is said of the zones of this site and what others hold of them; of those with the same open question in one sentence.
fn recovery_checks(zones: &[Here], checks: &mut Vec<api::Check>) {
    let mut unheard: BTreeMap<String, usize> = BTreeMap::new();
    for here in zones {
        let zone = || Some(name_text(&here.spec.apex));
        match &here.recovery {
            None => {}
            Some(Recovery::Lost) => checks.push(table::COPY_LOST.of(
                zone(),
                format!(
                    "this site is the primary of {} and holds nothing of it",
                    here.spec.apex
                ),
            )),
            Some(Recovery::Empty) => checks.push(table::ZONE_EMPTY.of(
                zone(),
                format!(
                    "this site is the primary of {} and holds nothing of it, and no other site holds it",
                    here.spec.apex
                ),
            )),
            Some(Recovery::Taking(from, waiting)) => checks.push(table::HISTORY_TAKEN.of(
                zone(),
                format!("{from} has a newer history, which is being taken; {waiting} changes wait"),
            )),
            Some(Recovery::Unheard(peers)) => {
                let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
                *unheard.entry(peers.join(", ")).or_default() += 1;
            }
            Some(Recovery::Taken(from, serial)) => checks.push(
                table::RECOVERED.of(zone(), format!("serial {serial} was taken from {from}")),
            ),
        }
    }
    for (peers, count) in unheard {
        let what = format!("{peers} may have something newer of {count} zones of this site");
        checks.push(table::OTHERS_UNHEARD.of(Some(peers), what));
    }
}

/// Peers that have, or had, greater serials of this site's own zones.
fn serial_checks(zones: &[Here], checks: &mut Vec<api::Check>) {
    for here in zones {
        let (zone, ours) = (&here.spec.apex, here.serial.unwrap_or(Serial(0)));
        if let Some((peer, serial)) = &here.ahead {
            let who = match here.spec.primary {
                true => "this site, its primary,",
                false => "this site and the zone's primary",
            };
            let what = format!(
                "{peer} has serial {serial} of {zone}, {who} only {ours}: it takes no change"
            );
            checks.push(table::PEER_AHEAD.of(Some(name_text(zone)), what));
        } else if let Some((peer, serial)) = &here.overtaken {
            let what = format!("{peer} had serial {serial}, and {ours} is published now");
            checks.push(table::WENT_ABOVE.of(Some(name_text(zone)), what));
        }
    }
}

impl Control {
    /// What is wrong with this site itself.
    pub(super) fn checks_of_this(&self, snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
        self.checks_without_core(checks);
        planning_checks(&self.live.name, snapshot, checks);
        let asked = self.held.list();
        let all = snapshot.held.iter().cloned().chain(asked);
        for held in all.filter(|held| !held.declined) {
            let id = &held.id;
            let named = held.removed.iter().take(NAMED).cloned().collect::<Vec<_>>();
            let what = match (named.len(), held.removed.len() as u64 + held.more) {
                (0, _) => held.reason.clone(),
                (named_all, all) if named_all as u64 == all => {
                    format!("{}: {}", held.reason, named.join(", "))
                }
                _ => format!("{}: {}, …", held.reason, named.join(", ")),
            };
            checks.push(api::Check {
                hint: Some(format!(
                    "`zonemesh plan approve {id}` lets it go on, `zonemesh plan decline {id}` leaves everything as it is"
                )),
                ..table::HELD_BY_BRAKE.of(None, what)
            });
        }
        recovery_checks(&snapshot.zones, checks);
        serial_checks(&snapshot.zones, checks);
        for (id, apex) in self.live.yielded.load().iter() {
            let what = format!(
                "changes of {apex} that this site made, or had from the site that wrote it before, are not in what its writer publishes, and are kept as {id}"
            );
            let subject = Some(crate::site::control::convert::name_text(apex));
            checks.push(api::Check {
                hint: Some(format!(
                    "`zonemesh site yielded show {id}` has them; `replay` makes them again, `discard` throws them away"
                )),
                ..table::YIELDED_CHANGES.of(subject, what)
            });
        }
        clock_checks(&self.live.name, &snapshot.clock_faults, checks);
    }

    /// Whether the file of the configuration can be loaded, and says what runs; and whether zone files were read as they are.
    pub(super) async fn configuration_checks(&self, checks: &mut Vec<api::Check>) {
        let loud = self.live.loud.load_full();
        match loud.as_ref() {
            // Said already, from the start on.
            Some(loud) => checks.push(table::CONFIGURATION_BROKEN.of(None, loud)),
            None => match Drift::of(&self.live).await {
                Drift::None => {}
                Drift::Broken(why) => checks.push(table::CONFIGURATION_BROKEN.of(None, why)),
                Drift::Differs(why) => checks.push(table::CONFIGURATION_NOT_LOADED.of(None, why)),
            },
        }
        for (zone, why) in self
            .live
            .zone_files
            .unread(&self.live.config.load_full())
            .await
        {
            checks.push(table::ZONE_FILE_NOT_READ.of(zone, why));
        }
    }

    /// Whether a damaged store is kept aside, and what was lost with it.
    pub(super) async fn damage_checks(&self, checks: &mut Vec<api::Check>) {
        let dir = self.live.data_dir.clone();
        let looked = tokio::task::spawn_blocking(move || Damaged::all(&dir));
        // A disk that hangs, or cannot be read, is told of already.
        let Ok(Ok(Ok(all))) = tokio::time::timeout(PATIENCE, looked).await else {
            return;
        };
        for damaged in all {
            let lost = damaged
                .lost
                .as_deref()
                .unwrap_or("what was lost was not noted");
            let what = format!(
                "this site was started from a damaged store, which is kept as {}: {lost}",
                damaged.path.display()
            );
            checks.push(table::STORE_WAS_DAMAGED.of(None, what));
        }
    }

    /// What can be said of this site whatever its core does.
    pub(super) fn checks_without_core(&self, checks: &mut Vec<api::Check>) {
        let me = || Some(self.live.name.clone());
        let error = self.live.store_error.load();
        let error = error
            .as_ref()
            .clone()
            .map(|error| format!("changes cannot be stored: {error}"));
        if let Some(what) = error.or_else(|| self.live.progress.disk_error()) {
            checks.push(table::STORE_FAILING.of(None, what));
        }
        if let Some((short, what)) = self.live.progress.room().and_then(|room| room.short()) {
            let kind = match short {
                Short::Filling => &table::DISK_FILLING,
                Short::NearlyFull => &table::DISK_NEARLY_FULL,
            };
            let dir = self.live.data_dir.display();
            checks.push(kind.of(None, format!("on the disk of {dir} {what}")));
        }
        let (waiting, _) = self.live.progress.backlog();
        for stuck in self.live.progress.stuck() {
            checks.push(match stuck.what {
                Part::Core => table::CORE_STUCK.of(me(), stuck.to_string()),
                Part::Disk => table::STORE_FAILING.of(None, stuck.to_string()),
                Part::Store => {
                    table::STORE_FAILING.of(None, format!("{stuck}; {waiting} changes wait for it"))
                }
            });
        }
        let directory = self.live.directory.load();
        let members = directory.as_ref().as_ref().map(|read| &read.sites);
        for (site, knock) in self.live.knocks().0 {
            // Whoever was let in again since knocks no longer.
            if members.is_some_and(|all| all.keys().any(|member| member.as_str() == site)) {
                continue;
            }
            let what = format!(
                "the removed site {site} is knocking with its old key from {}, {} times since the start of this one, the last time at {:.0}",
                knock.from, knock.count, knock.last
            );
            checks.push(table::REMOVED_SITE_KNOCKING.of(Some(site), what));
        }
    }
}

/// Whether planning succeeds, and follows what it should.
fn planning_checks(me: &str, snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
    if let Some(since) = snapshot.reconcile_late {
        let what = format!(
            "no pass of planning has succeeded for {} s",
            since.as_secs()
        );
        checks.push(table::RECONCILE_LATE.of(Some(me.to_owned()), what));
    }
    if let Some(blocked) = &snapshot.blocked {
        let what = format!("the plan is not carried out: {blocked}");
        checks.push(table::PLAN_BLOCKED.of(None, what));
    }
    for reason in &snapshot.catalogs {
        checks.push(table::CATALOG_NOT_FOLLOWED.of(None, reason));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zonemesh_api::site::Site as _;
    use zonemesh_mesh::core::PeerId;
    use zonemesh_store::Store;
    use zonemesh_transfer::tls::SiteKey;
    use zonemesh_transfer::tsig::Keys;

    use super::*;
    use crate::config;
    use crate::site::control::status::{gather, sites};
    use crate::site::driver::CoreHandle;
    use crate::site::live::{Live, Parts};

    fn names(checks: &[api::Check]) -> Vec<&str> {
        checks.iter().map(|check| check.name.as_str()).collect()
    }

    /// A site whose core nobody runs, as one that hangs.
    fn without_core() -> (tempfile::TempDir, Control, impl Sized) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zonemesh.toml");
        let text = format!(
            "[site]\nname = \"site-a\"\naddresses = [\"127.0.0.1\"]\ndata-dir = {:?}\n",
            folder.path().join("data")
        );
        let config = config::parse(&text, &path).unwrap();
        let store = Store::open(&config.site.data_dir, "site-a").unwrap();
        let (core, commands) = CoreHandle::new();
        let live = Live::new(Parts {
            config: Arc::new(config),
            config_path: None,
            core,
            store,
            key: Arc::new(SiteKey::generate("site-a").unwrap()),
            keys: Keys::new(),
            mesh: None,
            loud: None,
            last_change: None,
        });
        (folder, Control::new(live), commands)
    }

    #[tokio::test]
    async fn the_status_answers_although_the_core_does_not_and_says_so() {
        let (_folder, control, _commands) = without_core();
        let status = control.whole_status().await.unwrap();
        assert_eq!(names(&status.checks), ["core-stuck"]);
        assert_eq!(status.verdict.exit_code(), 2);
        assert!(
            status.checks[0].message.contains("no answer within 3s"),
            "{:?}",
            status.checks
        );
    }

    #[tokio::test]
    async fn a_status_from_before_a_command_is_not_shown_after_it() {
        let (_folder, control, _commands) = without_core();
        control.status().await.unwrap();
        control.live.knocked("site-z", [192, 0, 2, 1].into());
        let same = control.status().await.unwrap();
        assert_eq!(names(&same.checks), ["core-stuck"]);
        // There is no file to read again: whether it was done makes no difference.
        control.reload().await.unwrap_err();
        let anew = control.status().await.unwrap();
        assert_eq!(names(&anew.checks), ["core-stuck", "removed-site-knocking"]);
    }

    #[tokio::test]
    async fn a_removed_site_that_knocks_is_shown_with_where_it_comes_from_and_how_often() {
        let (_folder, control, _commands) = without_core();
        let mut checks = Vec::new();
        control.checks_without_core(&mut checks);
        assert_eq!(names(&checks), [""; 0]);
        for last in [1, 2] {
            control.live.knocked("site-z", [192, 0, 2, last].into());
        }
        control.checks_without_core(&mut checks);
        assert_eq!(names(&checks), ["removed-site-knocking"]);
        let message = &checks[0].message;
        assert!(message.contains("site-z is knocking"), "{message}");
        assert!(message.contains("from 192.0.2.2, 2 times"), "{message}");
    }

    #[tokio::test]
    async fn a_damaged_store_is_told_of_for_as_long_as_it_is_kept() {
        let (_folder, control, _commands) = without_core();
        let mut checks = Vec::new();
        control.damage_checks(&mut checks).await;
        assert_eq!(names(&checks), [""; 0]);
        let damaged = control.live.data_dir.join("store.redb.damaged-1");
        std::fs::write(&damaged, "").unwrap();
        let lost = control.live.data_dir.join("store.redb.damaged-1.lost");
        std::fs::write(lost, "could not be read: b.example").unwrap();
        control.damage_checks(&mut checks).await;
        assert_eq!(names(&checks), ["store-was-damaged"]);
        let message = &checks[0].message;
        assert!(
            message.ends_with("could not be read: b.example"),
            "{message}"
        );
        std::fs::remove_file(damaged).unwrap();
        checks.clear();
        control.damage_checks(&mut checks).await;
        assert_eq!(names(&checks), [""; 0]);
    }

    #[test]
    fn planning_that_does_not_succeed_or_is_stopped_is_critical() {
        let mut checks = Vec::new();
        planning_checks("site-a", &gather::of_nothing(), &mut checks);
        assert_eq!(names(&checks), [""; 0]);
        let troubled = Snapshot {
            reconcile_late: Some(Duration::from_secs(181)),
            blocked: Some("it repeats itself".to_owned()),
            ..gather::of_nothing()
        };
        planning_checks("site-a", &troubled, &mut checks);
        assert_eq!(names(&checks), ["reconcile-late", "plan-blocked"]);
        assert!(
            checks
                .iter()
                .all(|check| check.state == api::CheckState::Critical)
        );
    }

    #[test]
    fn a_site_that_answers_and_does_not_get_on_is_named() {
        let mut checks = Vec::new();
        let stuck = vec![(PeerId::Foreign("site-b".into()), Duration::from_secs(12))];
        sites::stuck_checks(&stuck, &mut checks);
        assert_eq!(names(&checks), ["site-stuck"]);
        assert_eq!(checks[0].subject.as_deref(), Some("site-b"));
        assert!(
            checks[0].message.contains("for 12 s"),
            "{}",
            checks[0].message
        );
    }
}
