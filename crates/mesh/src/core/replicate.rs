//! One zone's replication: when its sources are asked, what is made of their answers, and who is told.

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_zone::{Diff, Name, Serial, SerialExt, Soa, Zone};

use super::{
    Answer, CommitId, Core, Failure, Got, Happening, Held, NewVersion, Now, Output, PeerId,
    PendingCommit, ZoneSpec, ZoneView,
};

/// One zone at this site.
pub(super) struct Entry {
    pub(super) spec: ZoneSpec,
    /// The newest version that was decided; its commit may be under way.
    pub(super) head: Option<Zone>,
    /// The newest version that is durable.
    pub(super) served: Option<Zone>,
    pub(super) high_water: Option<Serial>,
    pub(super) shown: BTreeMap<PeerId, Serial>,
    /// When the served version was published, and whether it is yet to be seen everywhere.
    pub(super) published: Option<(Duration, bool)>,
    /// Where it is entered in the list of timers.
    pub(super) due: Option<Duration>,
    commits: usize,
    refresh: Refresh,
    tell: BTreeMap<PeerId, Tell>,
}

/// Asking the sources.
#[derive(Default)]
struct Refresh {
    /// When to ask next; none at a primary.
    at: Option<Duration>,
    /// The source that is being asked, and those that come after it.
    asking: Option<(PeerId, Vec<PeerId>)>,
    /// Something came in between: ask again, and this one first.
    again: Option<Option<PeerId>>,
    /// Rounds without success, one after the other.
    failures: u32,
    errors: BTreeMap<PeerId, String>,
    last_source: Option<PeerId>,
    last_success: Option<i64>,
    expires_at: Option<i64>,
    /// For how many seconds the source that answered last may still serve the zone, if it said so.
    told_expire: Option<u32>,
    /// Whether what is held is newer than what `expires_at` was granted for.
    renewed: bool,
    expired: bool,
    half_told: bool,
    /// When to look whether it has expired.
    look: Option<Duration>,
    /// A source other than the primary that had nothing newer, while others were still to be asked; and what it told of expiry.
    confirmed: Option<(PeerId, Option<u32>)>,
    /// Whether the whole zone is wanted, whatever is held.
    whole: bool,
}

/// A NOTIFY that is owed to a peer.
struct Tell {
    serial: Serial,
    due: Duration,
    attempts: u32,
    under_way: bool,
}

impl Entry {
    pub(super) fn new(spec: ZoneSpec) -> Self {
        Self {
            spec,
            head: None,
            served: None,
            high_water: None,
            shown: BTreeMap::new(),
            published: None,
            due: None,
            commits: 0,
            refresh: Refresh::default(),
            tell: BTreeMap::new(),
        }
    }

    pub(super) fn view(&self) -> ZoneView<'_> {
        ZoneView {
            spec: &self.spec,
            zone: self.served.as_ref(),
            high_water: self.high_water,
            expires_at: self.refresh.expires_at,
            last_refresh: self.refresh.last_success,
            next_refresh: self.refresh.at,
            source: self.refresh.last_source.as_ref(),
            errors: &self.refresh.errors,
            shown: &self.shown,
            expired: self.refresh.expired,
            transferring: self.refresh.asking.is_some(),
        }
    }

    /// When this zone wants attention next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        // What is under way ends with an event, and that sets the next time.
        let refresh = self
            .refresh
            .at
            .filter(|_| self.refresh.asking.is_none() && self.commits == 0);
        let tell = self
            .tell
            .values()
            .filter(|tell| !tell.under_way)
            .map(|tell| tell.due)
            .min();
        let look = self.refresh.look.filter(|_| !self.spec.primary);
        refresh.into_iter().chain(tell).chain(look).min()
    }

    /// What a source is asked for the difference to.
    fn have(&self) -> Option<Zone> {
        self.head.clone().filter(|_| !self.refresh.whole)
    }

    /// The serial that the next version must exceed.
    pub(super) fn floor(&self) -> Option<Serial> {
        let mut floor = self.high_water;
        for serial in self
            .head
            .iter()
            .map(Zone::serial)
            .chain(self.shown.values().copied())
        {
            floor = Some(floor.map_or(serial, |floor| floor.later_of(serial)));
        }
        floor
    }

    /// Whether a peer has shown a version that is not held here.
    fn knows_newer(&self) -> bool {
        let head = self.head.as_ref().map(Zone::serial);
        let newer = |serial: &Serial| head.is_none_or(|head| serial.is_after(head));
        self.shown.values().any(newer)
    }

    fn see(&mut self, serial: Serial) {
        self.high_water = Some(self.high_water.map_or(serial, |seen| seen.later_of(serial)));
    }

    /// The SOA of what is held, or times for a zone of which nothing is.
    fn times(&self) -> (Duration, Duration, i64) {
        match self.served.as_ref().map(Zone::soa) {
            Some(Soa {
                refresh,
                retry,
                expire,
                ..
            }) => (
                Duration::from_secs((*refresh).into()),
                Duration::from_secs((*retry).into()),
                i64::from(*expire),
            ),
            // Nothing is held: there is no interval to go by; the cap of the back-off bounds it.
            None => (Duration::from_secs(60), Duration::from_secs(60), 0),
        }
    }
}

/// # Zones come and go
impl Core {
    /// Takes over what the store holds, then what the configuration and the mesh want.
    pub(super) fn start(&mut self, held: Vec<Held>, now: Now) {
        for spec in self.settings.zones.clone() {
            self.add_zone(spec);
        }
        self.start_catalogs();
        let mut rest = Vec::new();
        for held in held {
            if self.zones.contains_key(held.zone.apex()) {
                self.take_over(held, now);
            } else {
                rest.push(held);
            }
        }
        self.start_mesh(rest, now);
        for apex in self.zones.keys().cloned().collect::<Vec<_>>() {
            self.serve_held(&apex, now);
        }
        self.reconcile(now);
    }

    /// Puts in a zone of which nothing is held yet.
    pub(super) fn add_zone(&mut self, spec: ZoneSpec) {
        self.zones
            .entry(spec.apex.clone())
            .or_insert_with(|| Entry::new(spec));
    }

    /// Takes a version that the store had.
    pub(super) fn take_over(&mut self, held: Held, _now: Now) {
        let Some(entry) = self.zones.get_mut(held.zone.apex()) else {
            return;
        };
        entry.see(held.high_water);
        entry.see(held.zone.serial());
        entry.head = Some(held.zone.clone());
        entry.served = Some(held.zone);
        entry.refresh.expires_at = held.expires_at;
        entry.refresh.last_success = held.last_refresh;
    }

    /// Publishes what a zone holds and starts its timers.
    pub(super) fn serve_held(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.spec.primary && entry.head.is_some() {
            entry.refresh.at = None;
            entry.refresh.expires_at = None;
            entry.refresh.expired = false;
        } else if entry.refresh.at.is_none() {
            // After a restart nobody knows what was missed: ask at once.
            entry.refresh.at = Some(now.mono);
            let held = entry.served.is_some();
            entry.refresh.expired =
                held && entry.refresh.expires_at.is_some_and(|at| at <= now.wall);
        }
        self.publish(apex, Vec::new());
        self.check_expiry(apex, now);
        if self
            .zones
            .get(apex)
            .is_some_and(|entry| entry.spec.primary && entry.served.is_some())
        {
            self.tell_all(apex, now);
        }
        self.schedule(apex);
    }

    /// Gives a zone another role, other sources or other peers to tell.
    pub(super) fn respecify(&mut self, spec: ZoneSpec, now: Now) {
        let apex = spec.apex.clone();
        let Some(entry) = self.zones.get_mut(&apex) else {
            return;
        };
        let was_primary = entry.spec.primary;
        let new_targets: Vec<PeerId> = spec
            .notify
            .iter()
            .filter(|peer| !entry.spec.notify.contains(peer))
            .cloned()
            .collect();
        entry
            .tell
            .retain(|peer, _| spec.notify.contains(peer) || spec.sources.contains(peer));
        entry
            .shown
            .retain(|peer, _| spec.notify.contains(peer) || spec.sources.contains(peer));
        entry.spec = spec;
        if was_primary != entry.spec.primary {
            // What was never to expire does from now on.
            let expire = entry.served.is_some().then(|| now.wall + entry.times().2);
            entry.refresh = Refresh {
                expires_at: entry.refresh.expires_at.or(expire),
                ..Refresh::default()
            };
            return self.serve_held(&apex, now);
        }
        if entry.served.is_none() && !entry.spec.primary {
            entry.refresh.at = Some(now.mono);
        }
        if entry.spec.primary && entry.served.is_some() {
            for peer in new_targets {
                self.tell(&apex, peer, now);
            }
        }
        self.publish(&apex, Vec::new());
        self.schedule(&apex);
    }

    /// Takes a zone out.
    pub(super) fn drop_zone(&mut self, apex: &Name) {
        let Some(entry) = self.zones.remove(apex) else {
            return;
        };
        if let Some(due) = entry.due {
            self.due.remove(&(due, apex.clone()));
        }
        self.out.push(Output::Withdraw { apex: apex.clone() });
        self.happened(Happening::ZoneRemoved(apex.clone()));
    }

    /// Has the whole zone transferred, whatever is held; the old copy serves until then.
    pub(super) fn reset_zone(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.spec.primary {
            return;
        }
        entry.refresh.whole = true;
        entry.refresh.at = Some(now.mono);
        if entry.refresh.asking.is_some() || entry.commits > 0 {
            entry.refresh.again = Some(None);
        }
        self.schedule(apex);
    }

    fn publish(&mut self, apex: &Name, diffs: Vec<Diff>) {
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        self.out.push(Output::Publish {
            spec: entry.spec.clone(),
            zone: entry.served.clone().filter(|_| !entry.refresh.expired),
            diffs,
            expires_at: entry.refresh.expires_at,
        });
    }
}

/// # Asking the sources
impl Core {
    /// Does what is due for a zone.
    pub(super) fn attend(&mut self, apex: &Name, now: Now) {
        self.check_expiry(apex, now);
        if self
            .zones
            .get(apex)
            .is_some_and(|entry| entry.refresh.at.is_some_and(|at| at <= now.mono))
        {
            self.refresh(apex, None, now);
        }
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let due: Vec<PeerId> = entry
            .tell
            .iter()
            .filter(|(_, tell)| !tell.under_way && tell.due <= now.mono)
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in due {
            if !self.is_lost_site(&peer) {
                self.send_notify(apex, &peer, now);
            } else if let Some(tell) = self
                .zones
                .get_mut(apex)
                .and_then(|entry| entry.tell.get_mut(&peer))
            {
                // A probe finds out for all zones at once when it is back; see `tell_now`.
                tell.due = now.mono + self.settings.pace.cap;
            }
        }
    }

    /// Asks the sources of a zone, `first` before the others.
    pub(super) fn refresh(&mut self, apex: &Name, first: Option<PeerId>, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        // A primary asks nobody, unless it has lost what it had.
        if entry.spec.primary && entry.head.is_some() {
            entry.refresh.at = None;
            return;
        }
        if entry.refresh.asking.is_some() || entry.commits > 0 {
            entry.refresh.again = Some(first);
            return;
        }
        // Whoever tells of news is asked for them only if it is one of those whom the zone is taken from.
        let mut sources: Vec<PeerId> = first.into_iter().collect();
        sources.retain(|peer| entry.spec.sources.contains(peer));
        for source in &entry.spec.sources {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        // Peers that do not answer come last, but are asked: to be down is not for ever.
        let lost = |peer: &PeerId| {
            self.peers
                .get(peer)
                .is_some_and(|peer| peer.lost_since.is_some())
        };
        sources.sort_by_key(|peer| lost(peer));
        if sources.is_empty() {
            entry.refresh.at = Some(now.mono + self.settings.pace.cap);
            return self.schedule(apex);
        }
        let from = sources.remove(0);
        entry.refresh.again = None;
        entry.refresh.confirmed = None;
        self.ask(apex, from, sources);
    }

    /// Asks one source, and those that come after it if need be.
    fn ask(&mut self, apex: &Name, from: PeerId, rest: Vec<PeerId>) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.refresh.asking = Some((from.clone(), rest));
        self.out.push(Output::Transfer {
            apex: apex.clone(),
            from,
            have: entry.have(),
        });
        self.schedule(apex);
    }

    /// A NOTIFY arrived.
    pub(super) fn notified_of(
        &mut self,
        apex: &Name,
        serial: Option<Serial>,
        from: PeerId,
        now: Now,
    ) {
        self.peer_answered(&from, now);
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if let Some(serial) = serial {
            entry.shown.insert(from.clone(), serial);
            if !entry.spec.primary {
                // The zone may come from anyone; what was shown must never be undercut should we become primary.
                entry.see(serial);
            }
        }
        if entry.spec.primary {
            let told = entry.spec.notify.contains(&from);
            if let (Some(theirs), Some(head)) = (serial, entry.head.as_ref().map(Zone::serial)) {
                if theirs.is_after(head) {
                    self.peer_ahead(apex, from, theirs, head, now);
                } else if told && head.is_after(theirs) && !entry.tell.contains_key(&from) {
                    // It was told when it did not have the zone yet, or it went back since.
                    self.tell(apex, from, now);
                }
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
            return self.refresh(apex, first, now);
        }
        // Its primary has lost track of what is served here, or has an older version than it once published.
        if entry.spec.sources.first() == Some(&from) {
            self.tell_back(apex, now);
        }
    }

    /// A transfer ended.
    pub(super) fn transferred(
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
        // The answer to a question of before the zone was given another role is no answer to the one that is open now.
        match entry.refresh.asking.take_if(|(asked, _)| *asked == from) {
            None => return,
            // Whether the peer is back comes last: that asks again whatever it could not give before.
            Some((_, rest)) => match result {
                Err(failure) => {
                    self.try_next(apex, from.clone(), rest, failure.message.clone(), now);
                    if failure.unreachable {
                        self.peer_failed(&from, &failure.message, now);
                    } else {
                        self.peer_answered(&from, now);
                    }
                }
                Ok(got) => {
                    entry.refresh.told_expire = expire;
                    self.take_transfer(apex, from.clone(), rest, got, now);
                    self.peer_answered(&from, now);
                }
            },
        }
        self.schedule(apex);
    }

    fn take_transfer(&mut self, apex: &Name, from: PeerId, rest: Vec<PeerId>, got: Got, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let (zone, mut diffs) = match got {
            Got::UpToDate { serial } => {
                entry.shown.insert(from.clone(), serial);
                return match entry.have().map(|head| head.serial()) {
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
        let mut forced = false;
        match &entry.head {
            // Without the version that they start from differences are of no use, but what they lead to is.
            None => diffs.clear(),
            Some(head) => {
                let (ours, theirs) = (head.serial(), zone.serial());
                let whole = entry.refresh.whole && diffs.is_empty();
                if theirs == ours && (!whole || head.same_contents(&zone)) {
                    entry.refresh.whole &= !whole;
                    return self.confirmed(apex, from, rest, now);
                }
                // Sites never go back: the primary hears that it is behind, and goes above. A catalog of another's may want it.
                forced = whole && (theirs == ours || !entry.spec.mesh);
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
        let version = NewVersion {
            from: Some(from),
            forced,
            ..NewVersion::made(zone, diffs)
        };
        self.commit(vec![version], Vec::new(), None);
    }

    /// A source has an older version than is held here: it is told, so that it can do something about it.
    fn behind(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Vec<PeerId>,
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

    /// A source has nothing newer. Only the primary's word is the last one: of the others, one may have a version that it
    /// published just before it was lost.
    fn confirmed(&mut self, apex: &Name, from: PeerId, mut rest: Vec<PeerId>, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.spec.sources.first() == Some(&from) {
            return self.refreshed(apex, from, now);
        }
        let told = entry.refresh.told_expire.take();
        let better = |(_, before): &(PeerId, Option<u32>)| *before < told;
        if entry.refresh.confirmed.as_ref().is_none_or(better) {
            entry.refresh.confirmed = Some((from.clone(), told));
        }
        if rest.is_empty() {
            let message = "has nothing newer, though a newer version has been shown".to_owned();
            return self.end_round(apex, from, message, now);
        }
        let next = rest.remove(0);
        self.ask(apex, next, rest);
    }

    /// A source confirmed or renewed what is held.
    fn refreshed(&mut self, apex: &Name, from: PeerId, now: Now) {
        let jitter = self.random() % 100;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let (refresh, retry, expire) = entry.times();
        // RFC 7314 §4: a source that is a secondary itself says how long it may still serve the zone. What is held must not
        // outlive that, or secondaries would keep each other's copies alive for ever; nor does it shorten what a better
        // source has granted for the same version.
        let told = entry.refresh.told_expire.take();
        let granted = now.wall + told.map_or(expire, |told| expire.min(i64::from(told)));
        let before = entry
            .refresh
            .expires_at
            .filter(|_| !std::mem::take(&mut entry.refresh.renewed));
        let was_expired = std::mem::take(&mut entry.refresh.expired);
        entry.refresh.errors.remove(&from);
        entry.refresh.failures = 0;
        entry.refresh.last_success = Some(now.wall);
        entry.refresh.expires_at = Some(before.map_or(granted, |before| before.max(granted)));
        let left = entry.refresh.expires_at.map_or(0, |at| at - now.wall);
        entry.refresh.expired = left <= 0;
        // Half-time is news again only after there was more.
        entry.refresh.half_told &= left <= expire / 2;
        entry.refresh.last_source = Some(from.clone());
        // Up to a tenth earlier, so that a thousand zones that came together do not ask together ever after.
        let pace = &self.settings.pace;
        // From a peer it is good news, but not all when another has shown a newer version.
        let wait = match entry.spec.sources.first() != Some(&from) && entry.knows_newer() {
            true => refresh.min(retry).min(pace.cap),
            false => refresh,
        };
        let refresh = wait.max(pace.floor);
        entry.refresh.at = Some(now.mono + refresh - refresh * jitter as u32 / 1000);
        self.out.push(Output::Keep {
            apex: apex.clone(),
            expires_at: entry.refresh.expires_at,
            last_refresh: entry.refresh.last_success,
        });
        if was_expired && !entry.refresh.expired {
            self.publish(apex, Vec::new());
            self.happened(Happening::Healed(apex.clone()));
        }
        self.check_expiry(apex, now);
        self.tell_back(apex, now);
        self.ask_again(apex, now);
        self.schedule(apex);
    }

    /// A source failed: the next one, or, when all have, later.
    fn try_next(
        &mut self,
        apex: &Name,
        from: PeerId,
        mut rest: Vec<PeerId>,
        message: String,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.refresh.errors.insert(from.clone(), message.clone());
        if rest.is_empty() {
            return self.end_round(apex, from, message, now);
        }
        let next = rest.remove(0);
        self.ask(apex, next, rest);
    }

    /// No source is left to ask, and the primary has not confirmed what is held.
    fn end_round(&mut self, apex: &Name, from: PeerId, message: String, now: Now) {
        let jitter = self.random() % 100;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        // That others have nothing newer is not enough when one has shown that it has.
        let confirmed = entry.refresh.confirmed.take();
        if let Some((peer, told)) = confirmed.filter(|_| !entry.knows_newer()) {
            entry.refresh.told_expire = told;
            return self.refreshed(apex, peer, now);
        }
        let (_, retry, _) = entry.times();
        let pace = &self.settings.pace;
        let backoff = pace.floor * 2u32.pow(entry.refresh.failures.min(10));
        let wait = backoff.min(retry).clamp(pace.floor, pace.cap.max(retry));
        entry.refresh.failures += 1;
        entry.refresh.at = Some(now.mono + wait + wait * jitter as u32 / 1000);
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
    fn ask_again(&mut self, apex: &Name, now: Now) {
        if let Some(entry) = self.zones.get_mut(apex)
            && let Some(first) = entry.refresh.again.take()
        {
            self.refresh(apex, first, now);
        }
    }

    /// Looks whether a zone has expired, or will have in half of its time, and when to look again.
    fn check_expiry(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let half = entry.times().2 / 2;
        entry.refresh.look = None;
        let held = !entry.spec.primary && entry.served.is_some() && !entry.refresh.expired;
        let Some(at) = entry.refresh.expires_at.filter(|_| held) else {
            return;
        };
        let left = at.saturating_sub(now.wall);
        if left <= 0 {
            entry.refresh.expired = true;
            self.publish(apex, Vec::new());
            return self.happened(Happening::Expired(apex.clone()));
        }
        let wait = if left > half { left - half } else { left };
        entry.refresh.look = Some(now.mono + Duration::from_secs(wait.unsigned_abs()));
        if left <= half && !std::mem::replace(&mut entry.refresh.half_told, true) {
            self.happened(Happening::HalfExpired(apex.clone()));
        }
    }
}

/// # Commits
impl Core {
    /// Asks for versions to be made durable; they become the heads of their zones.
    pub(super) fn commit(
        &mut self,
        mut versions: Vec<NewVersion>,
        also: Vec<(String, String, Vec<u8>)>,
        answer: Option<Answer>,
    ) {
        let commit = self.next_commit;
        self.next_commit += 1;
        for version in &mut versions {
            if let Some(entry) = self.zones.get_mut(version.zone.apex()) {
                let base = entry.head.replace(version.zone.clone());
                version.base = base.filter(|_| !version.forced);
                entry.commits += 1;
            }
        }
        self.commits.insert(
            commit,
            PendingCommit {
                zones: versions.clone(),
                answers: answer.into_iter().collect(),
                doomed: false,
            },
        );
        self.out.push(Output::Commit {
            commit,
            versions,
            also,
        });
    }

    /// A commit ended: publish what is durable, or take back what is not.
    pub(super) fn committed(&mut self, commit: CommitId, result: Result<(), String>, now: Now) {
        let Some(pending) = self.commits.remove(&commit) else {
            return;
        };
        let apexes: Vec<Name> = pending
            .zones
            .iter()
            .map(|version| version.zone.apex().clone())
            .collect();
        for apex in &apexes {
            if let Some(entry) = self.zones.get_mut(apex) {
                entry.commits -= 1;
            }
        }
        if let Err(message) = result {
            return self.not_committed(commit, pending, apexes, message, now);
        }
        for version in pending.zones {
            self.install(version, now);
        }
        for Answer {
            request,
            serial,
            changed,
        } in pending.answers
        {
            self.reply(Some(request), super::Reply::Done { serial, changed });
        }
        self.find_heads(&apexes);
        self.mesh_zones_changed(&apexes, now);
        self.catalog_zones_changed(&apexes, now);
    }

    /// Takes back what is not durable, and what was made of it.
    fn not_committed(
        &mut self,
        commit: CommitId,
        pending: PendingCommit,
        mut apexes: Vec<Name>,
        message: String,
        now: Now,
    ) {
        let failed = apexes.clone();
        // A commit is whole or nothing: what was made from one of its versions fails with it, and so on.
        // Where it was known to fail, its own have been told by then, and nothing was made of it since.
        let later = self.commits.range_mut(commit..).filter(|_| !pending.doomed);
        for (_, later) in later {
            if later
                .zones
                .iter()
                .any(|version| apexes.contains(version.zone.apex()))
            {
                later.doomed = true;
                apexes.extend(
                    later
                        .zones
                        .iter()
                        .map(|version| version.zone.apex().clone()),
                );
            }
        }
        self.find_heads(&apexes);
        for version in pending.zones {
            let apex = version.zone.apex().clone();
            match version.from {
                Some(from) => {
                    let why = format!("could not be stored: {message}");
                    self.try_next(&apex, from, Vec::new(), why, now);
                }
                None => self.give_up_hosting(&apex),
            }
            self.schedule(&apex);
        }
        for answer in pending.answers {
            self.reply(
                Some(answer.request),
                super::Reply::Refused {
                    rcode: zonemesh_zone::Rcode::SERVFAIL,
                    reason: message.clone(),
                },
            );
        }
        self.happened(Happening::CommitFailed {
            zones: failed,
            message,
        });
    }

    /// The newest version of each zone that may still become durable, or else what is served.
    fn find_heads(&mut self, apexes: &[Name]) {
        for apex in apexes {
            let Some(entry) = self.zones.get_mut(apex) else {
                continue;
            };
            let pending = self.commits.values().rev().filter(|commit| !commit.doomed);
            let newest = pending
                .flat_map(|commit| &commit.zones)
                .find(|version| version.zone.apex() == apex);
            entry.head = match newest {
                Some(version) => Some(version.zone.clone()),
                None => entry.served.clone(),
            };
        }
    }

    fn install(&mut self, version: NewVersion, now: Now) {
        let apex = version.zone.apex().clone();
        let Some(entry) = self.zones.get_mut(&apex) else {
            return;
        };
        let serial = version.zone.serial();
        let before = entry.served.replace(version.zone).map(|zone| zone.serial());
        entry.see(serial);
        entry.published = Some((now.mono, entry.spec.mesh));
        if version.from.is_some() && version.diffs.is_empty() {
            entry.refresh.whole = false;
        }
        let happening = match version.from {
            None => Happening::ZoneChanged {
                apex: apex.clone(),
                serial,
            },
            Some(from) => match before {
                None => Happening::ZoneLearnt {
                    apex: apex.clone(),
                    serial,
                    from,
                },
                Some(from_serial) => Happening::ZoneTransferred {
                    apex: apex.clone(),
                    from_serial,
                    serial,
                    from,
                    incremental: !version.diffs.is_empty(),
                },
            },
        };
        // The times in the new SOA count from now on.
        let source = entry
            .refresh
            .last_source
            .clone()
            .filter(|_| !entry.spec.primary);
        match source {
            Some(from) => {
                let was_expired = entry.refresh.expired;
                entry.refresh.expired = false;
                entry.refresh.renewed = true;
                self.publish(&apex, version.diffs);
                self.happened(happening);
                if was_expired {
                    self.happened(Happening::Healed(apex.clone()));
                }
                self.refreshed(&apex, from, now);
            }
            None => {
                self.publish(&apex, version.diffs);
                self.happened(happening);
            }
        }
        self.tell_all(&apex, now);
        self.count_receipts(&apex, now);
        self.schedule(&apex);
    }
}

/// # Telling others
impl Core {
    /// Owes a NOTIFY to all who are to be told.
    pub(super) fn tell_all(&mut self, apex: &Name, now: Now) {
        let targets = self
            .zones
            .get(apex)
            .map(|entry| entry.spec.notify.clone())
            .unwrap_or_default();
        for peer in targets {
            self.tell(apex, peer, now);
        }
    }

    /// Tells the zone's primary what is served here now: its receipt.
    fn tell_back(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        if !entry.spec.mesh || entry.spec.primary {
            return;
        }
        if let Some(primary) = entry.spec.sources.first().cloned() {
            self.tell(apex, primary, now);
        }
    }

    /// Owes a NOTIFY to one peer; one that is owed already is replaced.
    pub(super) fn tell(&mut self, apex: &Name, peer: PeerId, now: Now) {
        let lost = self.is_lost_site(&peer);
        let due = match lost {
            true => now.mono + self.settings.pace.cap,
            false => now.mono,
        };
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(serial) = entry.served.as_ref().map(Zone::serial) else {
            return;
        };
        match entry.tell.get_mut(&peer) {
            Some(tell) if tell.serial == serial && tell.under_way => {}
            Some(tell) => {
                tell.serial = serial;
                tell.attempts = 0;
                tell.due = due;
            }
            None => {
                entry.tell.insert(
                    peer.clone(),
                    Tell {
                        serial,
                        due,
                        attempts: 0,
                        under_way: false,
                    },
                );
            }
        }
        // Whoever does not answer is told when it is back; see `peer_back`.
        if !lost && entry.tell.get(&peer).is_some_and(|tell| !tell.under_way) {
            self.send_notify(apex, &peer, now);
        }
        self.schedule(apex);
    }

    /// Whether a peer does not answer and is probed: then nothing else need be sent to it.
    fn is_lost_site(&self, peer: &PeerId) -> bool {
        let lost = |state: &super::peers::Peer| state.lost_since.is_some();
        matches!(peer, PeerId::Site(_)) && self.peers.get(peer).is_some_and(lost)
    }

    fn send_notify(&mut self, apex: &Name, peer: &PeerId, now: Now) {
        let cap = self.settings.pace.cap;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let (Some(zone), Some(tell)) = (&entry.served, entry.tell.get_mut(peer)) else {
            return;
        };
        tell.serial = zone.serial();
        tell.under_way = true;
        tell.attempts += 1;
        tell.due = now.mono + cap;
        self.out.push(Output::Notify {
            to: peer.clone(),
            soa: zone.soa_record(),
            serial: zone.serial(),
        });
    }

    /// A NOTIFY was answered, or not.
    pub(super) fn told(
        &mut self,
        to: &PeerId,
        apex: &Name,
        serial: Serial,
        result: Result<(), Failure>,
        now: Now,
    ) {
        match &result {
            Ok(()) => self.peer_answered(to, now),
            Err(failure) if failure.unreachable => self.peer_failed(to, &failure.message, now),
            Err(_) => self.peer_answered(to, now),
        }
        let pace = self.settings.pace.clone();
        let jitter = self.random() % 250;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(tell) = entry.tell.get_mut(to) else {
            return;
        };
        tell.under_way = false;
        if tell.serial != serial {
            // Something newer is owed by now.
            tell.due = now.mono;
        } else if result.is_ok() {
            entry.tell.remove(to);
        } else {
            let wait =
                (pace.floor * 2u32.pow(tell.attempts.saturating_sub(1).min(9))).min(pace.cap);
            tell.due = now.mono + wait + wait * jitter as u32 / 1000;
        }
        self.schedule(apex);
    }

    /// Sends at once what is owed to a peer that has come back.
    pub(super) fn tell_now(&mut self, peer: &PeerId, now: Now) {
        let owed: Vec<Name> = self
            .zones
            .iter()
            .filter(|(_, entry)| entry.tell.get(peer).is_some_and(|tell| !tell.under_way))
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in owed {
            self.send_notify(&apex, peer, now);
            self.schedule(&apex);
        }
        // What could not be had from it may be had now.
        let stuck: Vec<Name> = self
            .zones
            .iter()
            .filter(|(_, entry)| {
                entry.spec.sources.contains(peer)
                    && (entry.refresh.failures > 0 || entry.served.is_none() || entry.knows_newer())
            })
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in stuck {
            self.refresh(&apex, Some(peer.clone()), now);
        }
    }
}
