//! Asking the sources of a zone, and what is made of their answers.

use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Diff, Name, Serial, SerialExt, Zone};

use super::{Round, Standing, clock};
use crate::core::change::with_serial;
use crate::core::{Core, Failure, Got, Happening, Mesh, NewVersion, Now, Output, PeerId, far};

/// No zone goes longer without a question, whatever its SOA says: one with a refresh of months would be forgotten.
const LONGEST_REFRESH: Duration = Duration::from_secs(86_400);

/// How long the last attempt before expiry may take.
pub(super) const LAST_CHANCE: Duration = Duration::from_secs(30);

/// # Asking the sources
impl Core {
    /// Does what is due for a zone.
    pub(in crate::core) fn attend(&mut self, apex: &Name, now: Now) {
        self.check_expiry(apex, now);
        if self
            .zones
            .get(apex)
            .is_some_and(|entry| entry.refresh.at.has_come(now.mono))
        {
            self.refresh(apex, None, now);
        }
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let due = entry.rare.tell.due(now.mono);
        self.settle_due(apex, now);
        for peer in due {
            if !self.is_lost_site(&peer) {
                self.send_notify(apex, &peer, now);
            } else if let Some(entry) = self.zones.get_mut(apex) {
                // A probe finds out for all zones at once when it is back; see `tell_now`.
                let due = now.mono + self.settings.pace.cap;
                entry.rare.tell.change(&peer, |tell| tell.due = due);
            }
        }
    }

    /// Asks the sources of a zone, `first` before the others.
    pub(in crate::core) fn refresh(&mut self, apex: &Name, first: Option<PeerId>, now: Now) {
        let random = self.random();
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        // A primary asks nobody, unless it has lost what it had.
        if entry.spec.primary && entry.head.is_some() {
            entry.refresh.at.set(None);
            return self.look_again(apex, now);
        }
        if entry.refresh.asking.is_some() || entry.commits > 0 {
            entry.refresh.again = Some(first);
            return;
        }
        let lost = |peer: &PeerId| {
            let state = self.peers.get(peer);
            state.is_some_and(|state| state.lost_since.is_some())
        };
        let sources = match (&self.mesh, entry.spec.primary && entry.spec.mesh) {
            // A site that is listed without a key has never been here, and holds nothing.
            (Some(mesh), true) => mesh.with_keys(&entry.spec.sources),
            _ => entry.spec.sources.clone(),
        };
        let mut round = Round::new(sources, entry.head.is_some(), random);
        // Whoever tells of news is asked for them only if it is one of those whom the zone is taken from.
        let first = first.filter(|peer| !lost(peer) && round.begin_with(peer));
        let Some(from) = first.or_else(|| round.next(lost)) else {
            // Before a plan has said what a zone of the mesh is to this site it has no sources, and may be held by all the same.
            let planned = !entry.spec.mesh || !entry.spec.sources.is_empty();
            entry.refresh.nobody_has = planned || self.mesh.as_ref().is_none_or(Mesh::is_alone);
            entry.refresh.at.set(now.mono + self.settings.pace.cap);
            return self.settle(apex, now);
        };
        entry.refresh.unsure = 0;
        entry.refresh.too_old = false;
        entry.refresh.primary_told = false;
        entry.refresh.again = None;
        entry.refresh.confirmed = None;
        entry.refresh.failed_first = None;
        entry.refresh.begin(self.settings.pace.floor, now);
        entry.refresh.best = None;
        self.ask(apex, from, round, now);
    }

    /// Asks the next source of a round; `None` when it is over.
    pub(super) fn ask_next(&mut self, apex: &Name, mut round: Round, now: Now) -> Option<()> {
        let next = round.next(|peer| {
            let state = self.peers.get(peer);
            state.is_some_and(|state| state.lost_since.is_some())
        });
        match next {
            Some(next) => self.ask(apex, next, round, now),
            None => {
                let entry = self.zones.get_mut(apex)?;
                entry.refresh.unsure += u32::from(round.passed_over());
                return None;
            }
        }
        Some(())
    }

    /// Asks one source, and those that come after it if need be.
    pub(super) fn ask(&mut self, apex: &Name, from: PeerId, rest: Round, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let have = entry.have(&from);
        entry.refresh.asking = Some((from.clone(), rest));
        entry.refresh.began = now.mono;
        self.out.push(Output::Transfer {
            apex: apex.clone(),
            from,
            have,
        });
        self.schedule(apex);
    }

    /// A NOTIFY arrived.
    pub(in crate::core) fn notified_of(
        &mut self,
        apex: &Name,
        serial: Option<Serial>,
        from: PeerId,
        now: Now,
    ) {
        self.peer_answered(&from, now);
        let Some(entry) = self.zones.get_mut(apex) else {
            if let Some(site) = self.is_about(apex) {
                self.look_at_site(site, now);
            }
            return;
        };
        let mut again = false;
        if let Some(serial) = serial {
            again = entry.shown.get(&from) == Some(&serial);
            entry.shown.insert(from.clone(), serial);
            // The zone may come from anyone; what was shown must never be undercut should we become primary. A step that nobody but
            // the primary may make counts when it has been made: no version could be both above it and above what is held.
            let head = entry.head.as_ref().map(Zone::serial);
            let within = head.is_none_or(|head| far::ahead(serial, head).is_some());
            if !entry.spec.primary && within {
                entry.see(serial);
            }
        }
        self.note_stuck(apex);
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.spec.primary {
            let told = entry.spec.notify.contains(&from);
            if let (Some(theirs), Some(head)) = (serial, entry.head.as_ref().map(Zone::serial)) {
                if told && head.is_after(theirs) {
                    // It was told when it did not have the zone yet, or it went back since.
                    self.tell_again(apex, from.clone(), now);
                    if again {
                        self.look_at_older(apex, &from, now);
                    }
                }
                self.look_at_shown(apex, &from, theirs, now);
            }
            return self.count_receipts(apex, now);
        }
        let news = match (serial, &entry.head) {
            (Some(serial), Some(head)) => serial.is_after(head.serial()),
            _ => true,
        };
        if news || entry.refresh.expired {
            // Whoever may tell of a change need not be one who has it.
            let first = entry.spec.sources.contains(&from).then_some(from);
            return self.ask_soon(apex, first, now);
        }
        let older = serial.zip(entry.head.as_ref());
        if older.is_some_and(|(theirs, head)| head.serial().is_after(theirs))
            && entry.spec.notify.contains(&from)
        {
            // It was told when it could not take what it was told of, or it went back since.
            return self.tell_again(apex, from, now);
        }
        // Its primary has lost track of what is served here, or has an older version than it once published.
        if entry.spec.primary_source() == Some(&from) {
            entry
                .rare
                .tell
                .change(&from, |tell| tell.crossed = tell.under_way);
            self.tell_again(apex, from, now);
        }
    }

    /// A transfer ended.
    pub(in crate::core) fn transferred(
        &mut self,
        apex: &Name,
        from: PeerId,
        result: Result<Got, Failure>,
        expire: Option<u32>,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.refresh.offer.is_some() {
            // Something has been taken already, and waits for the store.
            return;
        }
        // The answer to a question of before the zone was given another role is no answer to the one that is open now.
        match entry.refresh.answered(&from) {
            None => {}
            Some(rest) if entry.spec.primary => {
                let reached = match &result {
                    Err(failure) if failure.unreachable => Err(failure.message.clone()),
                    _ => Ok(()),
                };
                if let Err(failure) = &result {
                    entry.refresh.unsure += u32::from(!failure.lacks);
                }
                self.transferred_to_primary(apex, from.clone(), rest, result, now);
                self.schedule(apex);
                match reached {
                    Err(message) => self.peer_failed(&from, &message, now),
                    Ok(()) => self.peer_answered(&from, now),
                }
            }
            // Whether the peer is back comes last: that asks again whatever it could not give before.
            Some(rest) => match result {
                Err(failure) if failure.lacks && planted(Bug::LackTakenForRemoval) => {
                    self.drop_zone(apex);
                }
                Err(failure) => {
                    entry.refresh.unsure += u32::from(!failure.lacks);
                    self.try_next(apex, from.clone(), rest, failure.message.clone(), now);
                    self.schedule(apex);
                    if failure.unreachable {
                        self.peer_failed(&from, &failure.message, now);
                    } else {
                        self.peer_answered(&from, now);
                    }
                }
                Ok(got) => {
                    let left = expire.map(|left| Duration::from_secs(left.into()));
                    entry.refresh.told_until = left.map(|left| entry.refresh.began + left);
                    self.take_transfer(apex, from.clone(), rest, got, now);
                    self.schedule(apex);
                    self.peer_answered(&from, now);
                }
            },
        }
    }

    pub(super) fn take_transfer(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        got: Got,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let (zone, mut diffs) = match got {
            Got::UpToDate { serial } => {
                entry.shown.insert(from.clone(), serial);
                return match entry.have(&from).map(|head| head.serial()) {
                    Some(ours) if ours.is_after(serial) => {
                        self.behind(apex, from, rest, serial, ours, now)
                    }
                    Some(_) => self.confirmed(apex, from, rest, now),
                    None => {
                        let message = "asked for the whole zone, and got none".to_owned();
                        self.try_next(apex, from, rest, message, now)
                    }
                };
            }
            Got::Full(zone) => (zone, Vec::new()),
            Got::Diffs(zone, diffs) => (zone, diffs),
        };
        if zone.apex() != apex {
            let message = format!("asked for {apex} and got {}", zone.apex());
            return self.try_next(apex, from, rest, message, now);
        }
        entry.shown.insert(from.clone(), zone.serial());
        if self.is_emptied_directory(&zone) {
            let message =
                "a directory without any site, which is taken for an error; what is held stays";
            return self.try_next(apex, from, rest, message.to_owned(), now);
        }
        let standing = self.standing(&zone);
        if let Standing::Earlier(why) = standing {
            return self.outdated(apex, from, rest, zone.serial(), why, now);
        }
        if let Some(mark) = self.goes_back(&zone) {
            return self.too_old(apex, from, rest, &zone, mark, now);
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let mut forced = false;
        match &entry.head {
            // Without the version that they start from differences are of no use, but what they lead to is.
            None => diffs.clear(),
            Some(head) => {
                let (ours, theirs) = (head.serial(), zone.serial());
                let whole = entry.refresh.whole && diffs.is_empty();
                let corrects = whole && entry.corrects(&from, &zone);
                if theirs == ours && (!whole || head.same_contents(&zone)) {
                    entry.refresh.whole &= !whole;
                    return self.confirmed(apex, from, rest, now);
                }
                // Sites never go back: the primary hears that it is behind, and goes above. A catalog of another's may want it.
                forced = whole && (theirs == ours || !entry.spec.mesh);
                if forced && entry.wants_correction() && !corrects {
                    // Asked of the primary, and of nobody else: see `correct`.
                    return self.confirmed(apex, from, rest, now);
                }
                forced |= planted(Bug::OlderVersionTaken);
                if !theirs.is_after(ours) && !forced {
                    return self.behind(apex, from, rest, theirs, ours, now);
                }
                let start = diffs
                    .first()
                    .and_then(Diff::serials)
                    .map(|(start, _)| start);
                if start.is_some_and(|start| start != ours) {
                    // Something else was taken in between: these differences are for a version that is no longer ours.
                    return self.refresh(apex, Some(from), now);
                }
            }
        }
        entry.refresh.last_source = Some(from.clone());
        if !entry.spec.mesh && rest.leaves_others_unheard() {
            // Each may have something newer still: they are asked once this is stored.
            entry.refresh.again.get_or_insert(None);
        }
        let version = NewVersion {
            from: Some(from.clone()),
            forced,
            ..NewVersion::made(zone, diffs)
        };
        self.take(apex, from, rest, version, &standing, now);
    }

    /// What was served here of a zone that was withdrawn since and is listed again, where a copy is older than that. Without
    /// directory and catalog nothing could be had at all; and what nobody would believe its primary can never exceed.
    fn goes_back(&self, zone: &Zone) -> Option<Serial> {
        let entry = self.zones.get(zone.apex())?;
        let counts = entry.spec.mesh && !entry.spec.members_only && entry.head.is_none();
        let mark = self.marks.get(zone.apex()).copied();
        mark.filter(|mark| counts && far::ahead(*mark, zone.serial()).is_some())
    }

    /// A source has a version that is older than what was served here before the zone was withdrawn. Its primary, which may never
    /// have seen that, is told, so that it goes above.
    fn too_old(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        zone: &Zone,
        mark: Serial,
        now: Now,
    ) {
        let message = format!(
            "serial {} is behind {mark}, which was served here before the zone was withdrawn; waiting for its primary to go above",
            zone.serial()
        );
        if let Some(entry) = self.zones.get_mut(apex) {
            if entry.spec.primary_source() == Some(&from) {
                entry.refresh.primary_told = true;
                entry.refresh.unsure += 1;
                self.out.extend(with_serial(zone, mark).ok().map(|shown| {
                    let (to, soa, serial) = (from.clone(), shown.soa_record(), mark);
                    Output::Notify { to, soa, serial }
                }));
            } else {
                entry.refresh.too_old = true;
            }
        }
        self.try_next(apex, from, rest, message, now);
    }

    /// A source has an older version than is held here: it is told, so that it can do something about it.
    pub(super) fn behind(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        theirs: Serial,
        ours: Serial,
        now: Now,
    ) {
        let message = format!(
            "serial {theirs} is behind {ours}, which is held here: the source was set back, or is itself out of date"
        );
        if self.zones.get(apex).is_some_and(|entry| entry.spec.mesh) {
            self.tell(apex, from.clone(), now);
        }
        self.try_next(apex, from, rest, message, now);
    }

    /// A source has nothing newer. In the mesh only the primary's word is the last one: of the others, one may have a version that it
    /// published just before it was lost. Of several foreign primaries none goes before another, and all are heard.
    pub(super) fn confirmed(&mut self, apex: &Name, from: PeerId, rest: Round, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.spec.mesh && entry.spec.primary_source() == Some(&from) {
            self.pass_on_ahead(apex, &from);
            return self.refreshed(apex, from, now);
        }
        let told = entry.refresh.told_until.take();
        // A foreign one that says nothing of expiry is as good as a primary: the SOA counts.
        let until = |told: Option<Duration>| match entry.spec.mesh {
            true => told,
            false => Some(told.unwrap_or(Duration::MAX)),
        };
        let better = |(_, before): &(PeerId, Option<Duration>)| until(*before) < until(told);
        if entry.refresh.confirmed.as_deref().is_none_or(better) {
            entry.refresh.confirmed = Some(Box::new((from.clone(), told)));
        }
        if self.ask_next(apex, rest, now).is_none() {
            let message = "has nothing newer, though a newer version has been shown".to_owned();
            self.end_round(apex, from, message, now);
        }
    }

    /// A source confirmed or renewed what is held.
    pub(super) fn refreshed(&mut self, apex: &Name, from: PeerId, now: Now) {
        let jitter = self.random() % 100;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.corrected();
        let (refresh, retry, expire) = entry.times();
        // RFC 7314 §4: a source that is a secondary itself says how long it may still serve the zone. What is held must not
        // outlive that, or secondaries would keep each other's copies alive for ever; nor does it shorten what a better
        // source has granted for the same version.
        let told = entry.refresh.told_until.take();
        let told = told.filter(|_| !planted(Bug::AgeForgotten));
        let granted = now.mono + expire;
        let granted = told.map_or(granted, |until| granted.min(until.max(now.mono)));
        let renewed = std::mem::take(&mut entry.refresh.renewed);
        let knows = renewed || granted > now.mono;
        // Of a copy whose age is not known it is known from here on.
        let was_unknown = entry.refresh.age_unknown;
        if knows {
            (entry.refresh.noted, entry.refresh.age_unknown) = (None, false);
        }
        let before = entry.refresh.until.get();
        let is_learnt = was_unknown && knows;
        let before = before.filter(|_| !renewed && !is_learnt);
        entry.refresh.errors.remove(&from);
        entry.refresh.first_error = None;
        entry.refresh.failures = 0;
        entry.refresh.asked = true;
        entry.refresh.last_success = Some(now.wall);
        let until = before.map_or(granted, |before| before.max(granted));
        entry.refresh.until.set(until);
        let left = until.saturating_sub(now.mono);
        let healed = !left.is_zero() && std::mem::take(&mut entry.refresh.expired);
        if !left.is_zero() {
            entry.refresh.last_chance = None;
        }
        // Half-time is news again only after there was more.
        entry.refresh.half_told &= left <= expire / 2;
        entry.refresh.last_source = Some(from.clone());
        // Up to a tenth earlier, so that a thousand zones that came together do not ask together ever after.
        let pace = &self.settings.pace;
        // From a peer it is good news, but not all when another has shown a newer version.
        let peer = !entry.spec.mesh || entry.spec.primary_source() != Some(&from);
        let wait = match peer && entry.knows_newer() {
            true => refresh.min(retry).min(pace.cap),
            false => refresh,
        };
        let refresh = wait.clamp(pace.floor, LONGEST_REFRESH);
        entry
            .refresh
            .at
            .set(now.mono + refresh - refresh * jitter as u32 / 1000);
        if !entry.refresh.age_unknown {
            self.out.push(Output::Keep {
                apex: apex.clone(),
                until: Some(until),
                expires_at: Some(clock::unix(until, now)),
                last_refresh: entry.refresh.last_success,
            });
        }
        if healed {
            self.publish(apex, Vec::new());
            self.happened(Happening::Healed(apex.clone()));
        }
        self.check_expiry(apex, now);
        self.tell_back(apex, now);
        self.directory_confirmed(apex, &from, now);
        self.ask_again(apex, now);
        self.schedule(apex);
    }

    /// A source failed: the next one, or, when all have, later.
    pub(super) fn try_next(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        message: String,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.refresh.failed(from.clone(), message.clone(), now);
        let first = &mut entry.refresh.failed_first;
        first.get_or_insert_with(|| Box::new((from.clone(), message.clone())));
        if self.ask_next(apex, rest, now).is_none() {
            self.end_round(apex, from, message, now);
        }
    }

    /// No source is left to ask, and the primary has not confirmed what is held.
    pub(super) fn end_round(&mut self, apex: &Name, from: PeerId, message: String, now: Now) {
        let jitter = self.random() % 100;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.corrected();
        // That others have nothing newer is not enough when one has shown that it has; but a foreign one that is gone for good must not
        // let the zone expire that the others still give.
        let confirmed = entry.refresh.confirmed.take().map(|confirmed| *confirmed);
        let newer = entry.knows_newer() && entry.spec.mesh;
        if let Some((peer, told)) = confirmed.filter(|_| !newer) {
            entry.refresh.told_until = told;
            return self.refreshed(apex, peer, now);
        }
        let (_, retry, _) = entry.times();
        let pace = &self.settings.pace;
        let backoff = pace.floor * 2u32.pow(entry.refresh.failures.min(10));
        let wait = backoff.min(retry).clamp(pace.floor, pace.cap.max(retry));
        let wait = match planted(Bug::RetryWithoutFloor) {
            true => Duration::from_millis(10),
            false => wait,
        };
        entry.refresh.failures += 1;
        // Whoever was asked first is the one that should have had it; the others are a substitute.
        let first = entry.refresh.failed_first.take();
        let first = first.unwrap_or_else(|| Box::new((from, message)));
        let (from, message) = (*first).clone();
        entry.refresh.first_error = Some(first);
        // Nor is there anything to wait for before others are answered where what can be had is not to be served, and nobody knows
        // when its primary is back.
        let too_old = entry.refresh.too_old && !entry.refresh.primary_told;
        // Who has told of the zone meanwhile may have said before that it lacks it.
        let all_lack = entry.refresh.unsure == 0 && entry.refresh.again.is_none();
        entry.refresh.nobody_has = all_lack || too_old;
        entry
            .refresh
            .at
            .set(now.mono + wait + wait * jitter as u32 / 1000);
        // One round without success is a source that starts; two are worth a line.
        if entry.refresh.failures == 2 {
            self.happened(Happening::TransferFailed {
                apex: apex.clone(),
                from,
                message,
            });
        }
        self.check_expiry(apex, now);
        self.ask_again(apex, now);
        self.schedule(apex);
    }

    /// Asks once more when a NOTIFY came while a transfer or commit was under way.
    pub(super) fn ask_again(&mut self, apex: &Name, now: Now) {
        if let Some(entry) = self.zones.get_mut(apex)
            && let Some(first) = entry.refresh.again.take()
        {
            self.ask_soon(apex, first, now);
        }
    }

    /// Looks whether a zone has expired, or will have in half of its time, and when to look again.
    pub(super) fn check_expiry(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let half = entry.times().2 / 2;
        let look = entry.refresh.look.take();
        let held = !entry.spec.primary && entry.served.is_some() && !entry.refresh.expired;
        let held = held && !planted(Bug::ExpiryNotHonoured);
        let Some(until) = entry.refresh.until.get().filter(|_| held) else {
            return;
        };
        let left = until.saturating_sub(now.mono);
        if left.is_zero() {
            // Time was up: one more attempt before answers stop. Who should have looked long ago has hung, and has had its time.
            let hung = look.is_some_and(|look| now.mono > look + LAST_CHANCE);
            let chance = if hung { Duration::ZERO } else { LAST_CHANCE };
            let begun = entry.refresh.last_chance;
            let until = begun.unwrap_or(now.mono + chance);
            if begun.is_none() {
                entry.refresh.at.set(now.mono);
                entry.refresh.last_chance = Some(until);
            }
            if now.mono < until {
                entry.refresh.look.set(until);
                return;
            }
            entry.refresh.expired = true;
            self.publish(apex, Vec::new());
            return self.happened(Happening::Expired(apex.clone()));
        }
        let wait = if left > half { left - half } else { left };
        entry.refresh.look.set(now.mono + wait);
        if left <= half && !std::mem::replace(&mut entry.refresh.half_told, true) {
            self.happened(Happening::HalfExpired(apex.clone()));
        }
    }
}
