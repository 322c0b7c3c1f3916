//! What a primary takes from a peer where its own copy turns out to be an old one: the newer history, with what was changed here
//! since the start on top of it, RRset by RRset.
//!
//! Everything that a primary with a copy takes from a peer goes through [`Core::take_from_peer`]. Nothing is taken from foreign
//! servers, nor from anyone when there is no doubt.

use std::collections::BTreeSet;

use zonemesh_zone::directory::Directory;
use zonemesh_zone::version::owned;
use zonemesh_zone::{Name, Rtype, Serial, SerialExt, Zone, ZoneError};

use super::doubt::Taking;
use super::round::Round;
use crate::brake::{Approvals, Fingerprint, HeldChange, check_change};
use crate::core::{Core, Failure, Got, Happening, NewVersion, Now, PeerId};

/// After so many attempts, in half a minute, nobody is waited for who has shown a serial and holds nothing.
const LACKS: u32 = 4;

/// # Taking
impl Core {
    /// A transfer to a primary ended.
    pub(super) fn transferred_to_primary(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        result: Result<Got, Failure>,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.head.is_none() {
            return self.gather(apex, from, rest, result, now);
        }
        if self.has_yielded(apex) {
            // What the new writer has beyond that is fetched in the new role.
            return;
        }
        if matches!(result, Ok(Got::UpToDate { .. })) && self.is_held_back(apex, &from) {
            return self.ask(apex, from, rest, now);
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.refresh.whole = false;
        if entry.doubt.is_none() {
            return self.looked(apex, from, rest, result, now);
        }
        match result {
            Ok(got) => {
                entry.refresh.errors.remove(&from);
                if let Some(doubt) = &mut entry.doubt {
                    doubt.lacking.remove(&from);
                }
                let Some(got) = self.follow_writer(apex, &from, got, now) else {
                    return;
                };
                self.take_from_peer(apex, from, got, now);
            }
            Err(failure) => {
                entry.refresh.failed(from.clone(), failure.message, now);
                if let Some(doubt) = &mut entry.doubt {
                    if failure.unreachable {
                        doubt.silent.insert(from.clone());
                    }
                    match failure.lacks {
                        true => doubt.lacking.insert(from),
                        false => doubt.lacking.remove(&from),
                    };
                }
                if self.ask_next(apex, rest, now).is_some() {
                    return;
                }
                self.go_above_marks(apex, now);
                self.take_later(apex, now);
            }
        }
        self.settle(apex, now);
    }

    /// Nobody could give what was shown, or it could not be stored.
    pub(super) fn take_later(&mut self, apex: &Name, now: Now) {
        let pace = self.settings.pace.clone();
        let Some(doubt) = self
            .zones
            .get_mut(apex)
            .and_then(|entry| entry.doubt.as_mut())
        else {
            return;
        };
        doubt.taking = None;
        doubt.failures += 1;
        let wait = pace.floor * 2u32.pow(doubt.failures.min(10));
        doubt.again = Some(now.mono + wait.min(pace.cap));
        self.schedule(apex);
    }

    /// Publishes above what others have shown who have said again and again that they hold nothing of the zone: they remember the
    /// serial of before it was withdrawn there, and serve nothing that is not after it. Should somebody hold that version yet, it is
    /// as unknown here as before.
    fn go_above_marks(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let (Some(doubt), Some(head)) = (&entry.doubt, &entry.head) else {
            return;
        };
        let (ahead, ours) = (entry.ahead(), head.serial());
        let all_lack = ahead.iter().all(|peer| doubt.lacking.contains(peer));
        let often = doubt.failures > 0 && doubt.failures.is_multiple_of(LACKS);
        let first = ahead.into_iter().next().filter(|_| all_lack && often);
        let shown = first.and_then(|peer| Some((entry.shown.get(&peer).copied()?, peer)));
        if let Some((theirs, peer)) = shown {
            self.peer_ahead(apex, peer, theirs, ours, now);
        }
    }

    /// Takes what a peer has: a history of the zone that this primary has forgotten, with its own changes since then on top.
    /// The one door through which anything comes from a peer to a primary that holds a copy.
    fn take_from_peer(&mut self, apex: &Name, from: PeerId, got: Got, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let (Some(doubt), Some(head)) = (&entry.doubt, entry.head.clone()) else {
            return;
        };
        let (zone, steps) = match got {
            // It has lost what it had shown.
            Got::UpToDate { serial } => {
                entry.shown.insert(from, serial);
                // Should it show that again it is not asked at once.
                return self.take_later(apex, now);
            }
            Got::Full(zone) => (zone, Vec::new()),
            Got::Diffs(zone, diffs) => (zone, diffs),
        };
        let tie = entry.tie(&from);
        entry.shown.insert(from.clone(), zone.serial());
        if zone.apex() != apex || doubt.knows(zone.serial(), head.serial()) {
            return;
        }
        let base = doubt.base_of(zone.serial());
        let approvals = self.consent.approved();
        let mut approved = match braked(base.unwrap_or(&head), &zone, &steps, approvals) {
            Ok(approved) => approved,
            Err(held) if self.consent.is_declined(&held.fingerprint) => {
                return self.jump_over(apex, from, now);
            }
            Err(held) => {
                let why = format!(
                    "{from} has a newer history of {apex} than this site, its primary, but {held}"
                );
                return self.hold_history(apex, held.fingerprint, from, why);
            }
        };
        approved.extend(tie.filter(|tie| approvals.contains(tie)));
        let mut own = own_changes(base, &head);
        let governed = self.mesh.as_ref().map(|mesh| &mesh.settings.directory);
        if governed == Some(apex) {
            let removed = removed_sites(base.unwrap_or(&head), &zone);
            own.retain(|(owner, _)| !removed.iter().any(|site| owner.ends_with(site)));
        }
        let made = match own.is_empty() && zone.serial().is_after(head.serial()) {
            true => Ok(zone.clone()),
            false => on_top(&zone, &head, &own, entry.floor()),
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                self.happened(Happening::Blocked(format!("{apex}: {error}")));
                return self.take_later(apex, now);
            }
        };
        let version = NewVersion {
            from: own
                .is_empty()
                .then(|| from.clone())
                .filter(|_| made.serial() == zone.serial()),
            ..NewVersion::made(made.clone(), vec![head.diff(&made)])
        };
        if let Some(doubt) = &mut entry.doubt {
            doubt.taking = Some(Taking {
                serial: made.serial(),
                zone,
                from,
                before: Some(head.serial()),
                approved,
            });
        }
        self.commit(vec![version], Vec::new(), None);
    }

    /// What was taken is durable.
    pub(super) fn taken(&mut self, apex: &Name, serial: Serial, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(doubt) = &mut entry.doubt else {
            return;
        };
        let Some(taking) = doubt.taking.take_if(|taking| taking.serial == serial) else {
            // A later writer's version, which this site goes on from if that has handed over to it.
            let others = entry.served.as_ref().filter(|_| !entry.written);
            let others = others.filter(|zone| doubt.known != Some(zone.serial()));
            if others.cloned().is_some_and(|zone| doubt.is_replaced(zone)) {
                self.forget_doubt(apex);
            }
            return;
        };
        doubt.failures = 0;
        entry.rare.taken = Some((taking.from.clone(), taking.zone.serial()));
        let happening = Happening::Recovered {
            apex: apex.clone(),
            from: taking.from,
            before: taking.before,
            theirs: taking.zone.serial(),
            serial,
        };
        doubt.has_taken(taking.zone);
        self.happened(happening);
        self.forget_consent(&taking.approved);
        self.settle(apex, now);
    }

    /// What was taken could not be stored. Returns whether it was that.
    pub(super) fn not_taken(&mut self, apex: &Name, serial: Serial, now: Now) -> bool {
        let Some(entry) = self.zones.get_mut(apex) else {
            return false;
        };
        let taking = entry.doubt.as_ref().and_then(|doubt| doubt.taking.as_ref());
        let Some(from) = taking.filter(|taking| taking.serial == serial) else {
            return false;
        };
        let from = from.from.clone();
        match entry.head {
            Some(_) => self.take_later(apex, now),
            None => {
                entry.doubt = None;
                self.end_round(apex, from, "could not be stored".to_owned(), now);
            }
        }
        true
    }
}

/// Looks whether a newer history removes too much at once: step by step where the steps are known, as each was let through when it
/// was made. With the approvals that it needs.
fn braked(
    base: &Zone,
    zone: &Zone,
    steps: &[zonemesh_zone::Diff],
    approvals: &Approvals,
) -> Result<Vec<Fingerprint>, HeldChange> {
    let mut approved = Vec::new();
    let mut before = base.clone();
    for step in steps {
        match before.apply(step) {
            Ok(next) => {
                approved.extend(check_change(&before, &next, approvals)?);
                before = next;
            }
            Err(_) => break,
        }
    }
    approved.extend(check_change(&before, zone, approvals)?);
    Ok(approved)
}

/// Which RRsets were changed here since the base; all that there are where that is not known any longer.
fn own_changes(base: Option<&Zone>, head: &Zone) -> BTreeSet<(Name, Rtype)> {
    let Some(base) = base else {
        let all = head.rrsets().filter(|(_, set)| set.rtype() != Rtype::SOA);
        return all
            .map(|(owner, set)| (owned(owner), set.rtype()))
            .collect();
    };
    let diff = base.diff(head);
    let all = diff.removed.iter().chain(diff.added.iter());
    let mut changed: BTreeSet<(Name, Rtype)> = all
        .filter(|record| record.rtype != Rtype::SOA)
        .map(|record| (record.owner.clone(), record.rtype))
        .collect();
    let mut soa = head.soa();
    soa.serial = base.serial();
    if soa != base.soa() {
        changed.insert((head.apex().clone(), Rtype::SOA));
    }
    changed
}

/// The names of the sites that a newer history of the directory has removed: what one of them has had changed here since, with
/// the trust that an old copy still gave it, must not bring it back.
fn removed_sites(before: &Zone, after: &Zone) -> Vec<Name> {
    let (before, now) = (Directory::read(before), Directory::read(after));
    let removed = before.sites.keys().filter(|site| now.is_removed(site));
    removed
        .filter_map(|site| site.under(after.apex()).ok())
        .collect()
}

/// Another version with some RRsets as they are in this one, and a serial above all that were seen.
fn on_top(
    onto: &Zone,
    from: &Zone,
    rrsets: &BTreeSet<(Name, Rtype)>,
    floor: Option<Serial>,
) -> Result<Zone, ZoneError> {
    let mut editor = onto.edit();
    for (owner, rtype) in rrsets {
        match from.rrset(owner, *rtype) {
            Some(set) => {
                make_room(&mut editor, owner, *rtype);
                editor.put(owner, set.to_owned())?;
            }
            None => {
                editor.remove_rrset(owner, *rtype);
            }
        }
    }
    let floor = floor.map_or(onto.serial(), |floor| floor.later_of(onto.serial()));
    editor.set_serial(floor.next());
    editor.finish()
}

/// RFC 1034 §3.6.2: a CNAME is alone at its name. The later write wins.
fn make_room(editor: &mut zonemesh_zone::Editor, owner: &Name, rtype: Rtype) {
    let node = editor.node(owner);
    let there: Vec<Rtype> = node
        .into_iter()
        .flat_map(|node| node.rrsets())
        .map(|set| set.rtype())
        .collect();
    for other in there {
        if other != rtype && (other == Rtype::CNAME || rtype == Rtype::CNAME) {
            editor.remove_rrset(owner, other);
        }
    }
}

/// A name at which both a version and another were changed since the one that they come from.
pub(super) fn changed_in_both(one: &Zone, base: &Zone, other: &Zone) -> Option<Name> {
    let of = |zone| own_changes(Some(base), zone).into_iter();
    let others: BTreeSet<Name> = of(other).map(|(owner, _)| owner).collect();
    of(one)
        .map(|(owner, _)| owner)
        .find(|owner| others.contains(owner))
}

/// What was meant for one version of the directory, made to another, if it is about no site that was removed meanwhile.
pub(super) fn rebased_directory(edited: &Zone, base: &Zone, head: &Zone) -> Result<Zone, String> {
    let changed = own_changes(Some(base), edited);
    for site in removed_sites(base, head) {
        if changed.iter().any(|(owner, _)| owner.ends_with(&site)) {
            return Err(format!("{site} was removed from the mesh meanwhile"));
        }
    }
    rebased(edited, base, head).map_err(|error| error.to_string())
}

/// What was meant for one version, made to another: RRset by RRset, the later write wins.
pub(super) fn rebased(edited: &Zone, base: &Zone, head: &Zone) -> Result<Zone, ZoneError> {
    let changed = own_changes(Some(base), edited);
    let zone = on_top(head, edited, &changed, None)?;
    // A serial that somebody chose is not lost.
    crate::core::change::with_serial(&zone, edited.serial())
}
