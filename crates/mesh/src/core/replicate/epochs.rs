//! Who may write directory and catalog, told by the epoch in them (`zone::directory::Epoch`), and what becomes of the
//! versions of who may not any longer.
//!
//! ```text
//! what a source gave    held by a secondary                 held by the writer
//! a later epoch         taken, if its serial is greater     taken: it is the writer no longer
//! an earlier epoch      never taken                         never taken; goes a step above its serial
//! the same              by serial, as any zone              see `change`
//! ```
//!
//! A serial never goes backwards on the wire: it is for the writer of the later epoch to go above what others show. What
//! was written here and is not in the history of what takes its place is set aside in the same commit (`core::yielded`);
//! the store is asked for the last version in common to tell what that is. The same goes for any other zone whose primary
//! this site was.

use std::cmp::Ordering;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::directory::{Directory, Epoch};
use zonemesh_zone::{Diff, Name, Serial, SerialExt, Zone};

use super::Round;
use crate::brake::Fingerprint;
use crate::core::change::with_serial;
use crate::core::yielded::{self, Kind, Yielded};
use crate::core::{
    Core, Failure, Got, HOSTED, Happening, Mesh, NewVersion, Now, Output, PeerId, PeerList,
    SharedPeers, hosted_key,
};

/// How far a new writer, and one that meets another's serial, goes above what was shown. No writer publishes as many
/// versions before it learns of the other, so that none of the one has the serial of one of the other.
pub(in crate::core) const STEP: u32 = 1 << 20;

/// The same for any other zone that a site takes over from one that may have written on: fewer, because people read
/// dates into their serials.
pub(super) const ADOPTION_STEP: u32 = 1 << 12;

/// How many epochs at once a version may be ahead: more than anybody has promoted sites while another was away. One that was
/// broken into would else use up the numbers, and no promotion could come after it.
const FARTHEST: u32 = 1 << 10;

/// How many floors pass at least between two looks at an older version that a peer shows.
const LOOKS_AT_OLDER: u32 = 30;

/// A version that takes the place of what was written here, while the store looks for the last one in common.
pub(super) struct Offer {
    from: PeerId,
    zone: Zone,
    diffs: Vec<Diff>,
    /// Whether it takes the place of what is held under the same serial.
    forced: bool,
    why: String,
}

/// How a version stands to the one that is held, by their writers.
pub(super) enum Standing {
    /// They have the same writer, or the zone is none of those that have one by epoch.
    Alike,
    /// Its epoch is the later one.
    Later { mine: Epoch, theirs: Epoch },
    /// It must not be taken, and why.
    Earlier(String),
}

/// # Epochs
impl Core {
    /// The epoch of a version of directory or catalog; none of any other zone.
    pub(in crate::core) fn epoch_of(&self, zone: &Zone) -> Option<Result<Epoch, String>> {
        self.mesh.as_ref()?.epoch_of(zone)
    }

    pub(super) fn standing(&mut self, zone: &Zone) -> Standing {
        let theirs = match self.epoch_of(zone) {
            None => return Standing::Alike,
            Some(Err(why)) => return Standing::Earlier(why),
            Some(Ok(epoch)) => epoch,
        };
        let head = self
            .zones
            .get(zone.apex())
            .and_then(|entry| entry.head.as_ref());
        let Some(Ok(mine)) = head.and_then(|head| self.epoch_of(head)) else {
            return Standing::Alike;
        };
        if theirs.number.saturating_sub(mine.number) > FARTHEST {
            return Standing::Earlier(format!(
                "it comes from {theirs}, which is too far ahead of {mine} to be believed"
            ));
        }
        if let Some(mesh) = &mut self.mesh {
            mesh.highest_epoch = mesh.highest_epoch.max(theirs.number);
        }
        let writes = self.mesh.as_ref().is_some_and(Mesh::is_catalog_primary);
        if planted(Bug::LaterEpochIgnored) && writes && theirs.outranks(&mine) {
            return Standing::Earlier("another writer".to_owned());
        }
        if theirs.outranks(&mine) {
            return Standing::Later { mine, theirs };
        }
        if mine.outranks(&theirs) && !planted(Bug::EarlierEpochTaken) {
            return Standing::Earlier(match mine.was_begun_twice(&theirs) {
                true => format!(
                    "it comes from {theirs}, which was begun twice, and what is held here goes before it"
                ),
                false => format!(
                    "it comes from {theirs}, and {mine} is held here: that site is the writer no longer"
                ),
            });
        }
        Standing::Alike
    }

    /// A source has a version of an earlier epoch. It hears of ours, if that can tell it anything.
    pub(super) fn outdated(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        theirs: Serial,
        why: String,
        now: Now,
    ) {
        self.met_other_writer(apex, &from, &why);
        let ours = self.head(apex);
        let newer = ours.is_some_and(|ours| ours.serial().is_after(theirs));
        // Who was handed over to, and does not know it.
        let its_own = ours
            .and_then(|ours| self.epoch_of(ours)?.ok()?.writer)
            .is_some_and(|writer| from == PeerId::Site(writer));
        if newer || its_own {
            self.tell_again(apex, from.clone(), now);
        }
        self.try_next(apex, from, rest, why, now);
    }

    /// Says that there is another writer, once for each.
    fn met_other_writer(&mut self, apex: &Name, peer: &PeerId, why: &str) {
        let Some(mesh) = &mut self.mesh else { return };
        let met = mesh.other_writers.insert((apex.clone(), peer.clone()));
        if met {
            self.happened(Happening::OtherWriter {
                apex: apex.clone(),
                peer: peer.clone(),
                message: why.to_owned(),
            });
        }
    }

    /// Takes a version that a source gave, after what is written here and not in its history was set aside.
    pub(super) fn take(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        version: NewVersion,
        standing: &Standing,
        now: Now,
    ) {
        // Any site may have given the version; what it yields to is the zone's primary.
        let listed = self.directory();
        let listed = listed.and_then(|directory| directory.owners.get(apex).cloned());
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(head) = entry.head.as_ref() else {
            return self.commit(vec![version], Vec::new(), None);
        };
        let (mine, serial) = (head.serial(), version.zone.serial());
        let (why, base) = match standing {
            Standing::Later {
                mine: epoch,
                theirs,
            } => {
                let base = epoch.parting(mine, theirs, serial);
                if base == Some(mine) {
                    return self.commit(vec![version], Vec::new(), None);
                }
                let why = match epoch.was_begun_twice(theirs) {
                    true => format!("{theirs} was begun twice, and this is what goes on"),
                    false => format!("{theirs} came after {epoch}"),
                };
                (why, base)
            }
            _ if entry.written && version.diffs.is_empty() && entry.spec.mesh => {
                let why = match listed {
                    Some(primary) => format!("{primary} is the primary now"),
                    None => format!("another site is the primary now; {from} gave its version"),
                };
                (why, None)
            }
            _ => return self.commit(vec![version], Vec::new(), None),
        };
        let NewVersion {
            zone,
            diffs,
            forced,
            ..
        } = version;
        entry.refresh.offer = Some(Box::new(Offer {
            from: from.clone(),
            zone,
            diffs,
            forced,
            why,
        }));
        match base {
            Some(serial) => {
                // Nobody else is asked meanwhile.
                entry.refresh.asking = Some((from, rest));
                let apex = apex.clone();
                self.out.push(Output::Recall { apex, serial });
            }
            None => self.set_aside(apex, None, now),
        }
    }

    /// The store has looked for the last version in common.
    pub(in crate::core) fn recalled(&mut self, apex: &Name, base: Option<Zone>, now: Now) {
        self.set_aside(apex, base, now);
        self.schedule(apex);
    }

    fn set_aside(&mut self, apex: &Name, base: Option<Zone>, now: Now) {
        let kind = match &self.mesh {
            Some(mesh) if mesh.settings.directory == *apex => Kind::Directory,
            Some(mesh) if mesh.settings.catalog == *apex => Kind::Catalog,
            _ => Kind::Other,
        };
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(offer) = entry.refresh.offer.take().map(|offer| *offer) else {
            return;
        };
        entry.refresh.asking = None;
        let Some(head) = entry.head.clone() else {
            return;
        };
        let newer = offer.forced || offer.zone.serial().is_after(head.serial());
        if entry.commits > 0 || !newer {
            // Something was decided meanwhile: once more, when that is durable.
            entry.refresh.again = Some(Some(offer.from));
            return;
        }
        let kept = Yielded {
            why: offer.why,
            at: now.wall,
            ..Yielded::between(base.as_ref(), &head, &offer.zone, kind)
        };
        entry.refresh.last_source = Some(offer.from.clone());
        let mut also = Vec::new();
        if let Some(mesh) = &mut self.mesh
            && *apex == mesh.settings.directory
        {
            let me = &mesh.settings.me.name;
            let [mine, theirs] = [&head, &offer.zone].map(Directory::read);
            let base = base.as_ref().map(Directory::read);
            // What the other writer took out of the mesh stays out. Who never had the version in common was not there then, as a rule,
            // and nothing of its own was; but it may have lost its disk since, and have its zones from others. Then a note that a
            // zone was removed counts (decision 0046).
            let made_here = |zone: &Name| {
                let entry = self.zones.get(zone);
                entry.is_some_and(|entry| entry.refresh.made_here)
            };
            let taken_out = |zone: &Name| match &base {
                Some(base) => base.owners.contains_key(zone),
                None => theirs.gone.contains_key(zone) && !made_here(zone),
            };
            let mut own = mine.zones_of(me);
            own.retain(|zone| !taken_out(zone) && !theirs.owners.contains_key(zone));
            let keep = |zone: &Name| (HOSTED.to_owned(), hosted_key(zone), b"1".to_vec());
            also.extend(own.iter().map(keep));
            mesh.own_of_loser = own;
        }
        if !kept.changes.is_empty() && !planted(Bug::YieldedDropped) {
            let id = kept.id();
            also.extend(
                kept.encode()
                    .map(|value| (yielded::YIELDED.to_owned(), id.clone(), value)),
            );
            self.happened(Happening::SetAside {
                apex: apex.clone(),
                id,
                changes: kept.changes.len(),
            });
        }
        let version = NewVersion {
            from: Some(offer.from),
            forced: offer.forced,
            ..NewVersion::made(offer.zone, offer.diffs)
        };
        self.commit(vec![version], also, None);
    }
}

/// Whether a version goes before another: by its writer, then by serial.
pub(super) fn is_fresher(mesh: Option<&Mesh>, one: &Zone, other: &Zone) -> bool {
    let epoch = |zone| mesh.and_then(|mesh| mesh.epoch_of(zone));
    let rank = match (epoch(one), epoch(other)) {
        (Some(Ok(one)), Some(Ok(other))) => one.rank(&other),
        _ => Ordering::Equal,
    };
    rank.is_gt() || (rank.is_eq() && one.serial().is_after(other.serial()))
}

/// # Looking before going above
impl Core {
    /// A peer shows this site, the writer, a serial that it has not published: it looks what the sites have that may have
    /// another writer's version, before it goes above. Returns whether there is anyone to ask.
    pub(in crate::core) fn look(&mut self, apex: &Name, from: &PeerId, now: Now) -> bool {
        let Some(mesh) = &self.mesh else { return false };
        if !mesh.governs(apex) {
            return false;
        }
        let holders: SharedPeers = mesh.holders().into_iter().collect();
        let holders = PeerList::new(None, holders);
        if holders.is_empty() {
            return false;
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return false;
        };
        if entry.refresh.asking.is_none() && entry.commits == 0 {
            let mut round = Round::new(holders, false, 0);
            match round.begin_with(from) {
                true => self.ask(apex, from.clone(), round, now),
                false => {
                    if self.ask_next(apex, round, now).is_none() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether a peer that has shown a greater serial of directory or catalog says that it has nothing newer, as one does
    /// that is itself a primary in doubt. Two writers would wait for each other: it is asked for all that it has, once.
    pub(super) fn is_held_back(&mut self, apex: &Name, from: &PeerId) -> bool {
        let governed = self.mesh.as_ref().is_some_and(|mesh| mesh.governs(apex));
        let Some(entry) = self.zones.get_mut(apex).filter(|_| governed) else {
            return false;
        };
        let ours = entry.head.as_ref().map(Zone::serial);
        let shown = entry.shown.get(from).copied();
        let ahead = shown
            .zip(ours)
            .is_some_and(|(shown, ours)| shown.is_after(ours));
        ahead && !std::mem::replace(&mut entry.refresh.whole, true)
    }

    /// What the writer found at one of them.
    pub(super) fn looked(
        &mut self,
        apex: &Name,
        from: PeerId,
        mut rest: Round,
        result: Result<Got, Failure>,
        now: Now,
    ) {
        rest.answered |= match &result {
            Ok(_) => true,
            Err(failure) => failure.lacks,
        };
        if let Ok(got) = result
            && self.follow_writer(apex, &from, got, now).is_none()
        {
            return;
        }
        let answered = rest.answered;
        if self.ask_next(apex, rest, now).is_some() {
            return;
        }
        if answered {
            return self.go_above(apex, &from);
        }
        // That nobody could be asked does not say that there is no later writer.
        let due = now.mono + self.settings.pace.cap;
        if let Some(entry) = self.zones.get_mut(apex) {
            entry.refresh.at.set(due);
        }
    }

    /// The writer looks once more at what it has been shown, where nobody could be asked before.
    pub(super) fn look_again(&mut self, apex: &Name, now: Now) {
        if self.has_yielded(apex) {
            return;
        }
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let Some(head) = entry.head.as_ref().filter(|_| entry.doubt.is_none()) else {
            return;
        };
        let newer = (entry.shown.iter())
            .find(|(_, shown)| shown.is_after(head.serial()))
            .map(|(peer, _)| peer.clone());
        if let Some(peer) = newer {
            self.look(apex, &peer, now);
        }
    }

    /// A site that holds the directory shows the writer the same older version once more, though it has been told of a newer one:
    /// it may not take that, because what it has is of a later epoch. Where that is this site's own, nobody else can go above.
    pub(super) fn look_at_older(&mut self, apex: &Name, from: &PeerId, now: Now) {
        let mesh = self.mesh.as_ref();
        let asked = mesh.is_some_and(|mesh| mesh.governs(apex) && mesh.is_holder(from));
        if !asked || self.has_yielded(apex) {
            return;
        }
        let pause = self.settings.pace.floor * LOOKS_AT_OLDER;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let last = entry.refresh.last_round.get();
        let waits = last.is_some_and(|last| now.mono.saturating_sub(last) < pause);
        let busy = entry.refresh.asking.is_some() || entry.commits > 0 || entry.doubt.is_some();
        if waits || busy {
            return;
        }
        entry.refresh.last_round.set(now.mono);
        self.ask(apex, from.clone(), Round::over(), now);
    }

    /// Looks at what a peer gave to this site, a zone's primary, by its writer: yields to a later one, and goes above what is
    /// of an earlier one. Gives back what is neither.
    pub(super) fn follow_writer(
        &mut self,
        apex: &Name,
        from: &PeerId,
        got: Got,
        now: Now,
    ) -> Option<Got> {
        let zone = match &got {
            Got::Full(zone) | Got::Diffs(zone, _) if zone.apex() == apex => zone.clone(),
            _ => return Some(got),
        };
        let standing = self.standing(&zone);
        let theirs = match &standing {
            Standing::Alike => return Some(got),
            Standing::Earlier(why) => {
                self.met_other_writer(apex, from, why);
                let entry = self.zones.get_mut(apex)?;
                entry.shown.insert(from.clone(), zone.serial());
                if let Some(doubt) = &mut entry.doubt {
                    // It is no history that this site has forgotten.
                    doubt.disregard(zone.serial());
                }
                self.go_above(apex, from);
                return None;
            }
            Standing::Later { theirs, .. } => theirs.writer.clone(),
        };
        if let Standing::Later { theirs, .. } = &standing
            && self.is_held_writer(apex, from, theirs, now)
        {
            return None;
        }
        // From here on nothing is accepted that would only have to be set aside.
        let mut own = false;
        if let Some(mesh) = &mut self.mesh {
            let me = &mesh.settings.me.name;
            own = theirs.as_ref() == Some(me);
            // What was handed over to this site itself is no other's.
            mesh.outranked = theirs.filter(|_| !own);
        }
        let entry = self.zones.get_mut(apex)?;
        entry.shown.insert(from.clone(), zone.serial());
        let ours = entry.head.as_ref().map(Zone::serial);
        let mut zone = zone;
        if let Some(ours) = ours.filter(|ours| !zone.serial().is_after(*ours)) {
            if !own {
                // It goes above ours when it sees it.
                self.tell_again(apex, from.clone(), now);
                return None;
            }
            // That nobody does but this site.
            let floor = entry.floor().unwrap_or(ours);
            match with_serial(&zone, floor.add(STEP)) {
                Ok(above) => zone = above,
                Err(error) => {
                    self.happened(Happening::Blocked(format!("{apex}: {error}")));
                    return None;
                }
            }
        }
        // While it was in doubt it asked for what came after an older version than it holds.
        let fits = |diff: &Diff| diff.serials().map(|(start, _)| start) == ours;
        let diffs = match got {
            Got::Diffs(given, diffs)
                if given.serial() == zone.serial() && diffs.first().is_some_and(fits) =>
            {
                diffs
            }
            _ => Vec::new(),
        };
        let version = NewVersion {
            from: Some(from.clone()),
            ..NewVersion::made(zone, diffs)
        };
        self.take(apex, from.clone(), Round::over(), version, &standing, now);
        None
    }

    /// Whether a later writer waits for an operator: told of by one site alone whose role it is not to hold the directory. One
    /// that was broken into would make itself the writer at the next start of the true one.
    fn is_held_writer(&mut self, apex: &Name, from: &PeerId, theirs: &Epoch, now: Now) -> bool {
        let holder = self.mesh.as_ref().is_some_and(|mesh| mesh.is_holder(from));
        let Some(entry) = self.zones.get(apex) else {
            return false;
        };
        let fingerprint = Fingerprint::of("writer", [format!("{apex} {theirs}")]);
        let open = entry.doubt.is_some() && !self.consent.approved().contains(&fingerprint);
        if holder || !open || entry.ahead().len() > 1 {
            return false;
        }
        if self.consent.is_declined(&fingerprint) {
            self.jump_over(apex, from.clone(), now);
            return true;
        }
        let why = format!(
            "{from}, which does not hold the directory by the one here, has {apex} of {theirs}, and no other site says so"
        );
        self.hold_history(apex, fingerprint, from.clone(), why);
        true
    }

    /// Whether another writer's version of directory or catalog is what is held here, or will be as soon as it is stored, and
    /// this site's new role has yet to follow from it: nothing of it is this site's to publish any longer.
    pub(in crate::core) fn has_yielded(&self, apex: &Name) -> bool {
        let Some(mesh) = &self.mesh else { return false };
        let epoch = |apex: &Name| mesh.epoch_of(self.head(apex)?)?.ok();
        let Some(held) = epoch(apex) else {
            return false;
        };
        let me = &mesh.settings.me.name;
        // Who was handed over to has the directory that says so before the catalog that comes with it.
        let follows = epoch(&mesh.settings.directory)
            .is_some_and(|read| read.writer.as_ref() == Some(me) && read.outranks_beside(&held));
        !follows && held.writer.is_some_and(|writer| writer != *me)
    }

    /// Goes a step above what others have shown.
    fn go_above(&mut self, apex: &Name, peer: &PeerId) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let newer = entry.knows_newer();
        let (Some(head), Some(floor), true) = (&entry.head, entry.floor(), newer) else {
            return;
        };
        let ours = head.serial();
        match with_serial(head, floor.add(STEP)) {
            Ok(zone) => {
                let diffs = vec![head.diff(&zone)];
                if let Some(entry) = self.zones.get_mut(apex) {
                    // The store goes by it from now on, whatever becomes of this version.
                    entry.see(floor);
                }
                self.happened(Happening::PeerAhead {
                    apex: apex.clone(),
                    peer: peer.clone(),
                    theirs: floor,
                    ours,
                });
                self.out.push(Output::HighWater {
                    apex: apex.clone(),
                    serial: floor,
                });
                self.commit(vec![NewVersion::made(zone, diffs)], Vec::new(), None);
            }
            Err(error) => self.happened(Happening::Blocked(format!("{apex}: {error}"))),
        }
    }
}
