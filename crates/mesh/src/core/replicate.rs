//! One zone's replication: what is held of it ([`Entry`]), and how it comes and goes. Its sources are asked in `refresh`, what
//! they give becomes durable in `commit`, and who should know is told in `tell`.

mod clock;
mod commit;
mod contested;
mod correct;
mod doubt;
mod epochs;
mod gather;
mod held;
mod owed;
mod pace;
mod recover;
mod refresh;
mod round;
mod shown;
mod tell;
mod wait;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Diff, Key, Name, OwnedKey, Serial, SerialExt, Zone};

use self::correct::Corrections;
use self::doubt::Doubt;
pub(super) use self::epochs::STEP;
use self::epochs::{Offer, Standing};
use self::owed::Tells;
use self::round::Round;
use self::shown::Shown;
use self::wait::Waits;
use super::seldom::{Rare, Seldom};
use super::when::When;
use super::{
    Core, Happening, Held, HeldDoubt, Now, Output, PeerId, SourceError, ZoneSpec, ZoneView, far,
};

/// One zone at this site.
pub(super) struct Entry {
    pub(super) spec: ZoneSpec,
    /// The newest version that was decided; its commit may be under way.
    pub(super) head: Option<Zone>,
    /// The newest version that is durable.
    pub(super) served: Option<Zone>,
    pub(super) high_water: Option<Serial>,
    pub(super) shown: Shown,
    /// When the served version was published.
    pub(super) published: When,
    /// Whether it is yet to be seen everywhere.
    pub(super) unseen: bool,
    /// Where it is entered in the list of timers.
    pub(super) due: When,
    /// The version that is entered in the inventory, and whether as the right one.
    pub(super) entered: Option<(Zone, bool)>,
    /// Whether what is held was written here, and not by whoever is the primary now.
    written: bool,
    /// Whether this site took the zone over from another primary, and has published nothing since.
    pub(super) adopted: bool,
    pub(super) commits: u32,
    refresh: Refresh,
    /// Whether it is entered in the list of those that lack something.
    pub(super) stuck: bool,
    /// Whether a primary's copy is the newest; none when that is certain.
    doubt: Option<Box<Doubt>>,
    /// What was done about other contents under the same serial.
    corrections: Option<Box<Corrections>>,
    pub(super) rare: Seldom<RareOfZone>,
}

/// What there is of few zones, and of those not for long.
#[derive(Default)]
pub(super) struct RareOfZone {
    tell: Tells,
    /// When peers were last told again because of what they said, or will be.
    told_again: Option<Duration>,
    /// What the store had of a doubt, until it is known whether this site is the primary.
    stored_doubt: Option<HeldDoubt>,
    /// Changes that wait until it is known whether a primary's copy is the newest.
    waiting: Vec<Waits>,
    /// A site that did not serve it yet when that was last looked at.
    pub(super) lacking: Option<PeerId>,
    /// What peers show to its primary that is too far ahead to be believed, and since when: see `far`.
    pub(super) too_far: BTreeMap<PeerId, (Serial, Duration)>,
    /// Until when the others have time to follow a step that was made for its sake.
    pub(super) aside_until: Option<Duration>,
    /// What was taken from a peer since the start, the last of it.
    taken: Option<(PeerId, Serial)>,
    /// A foreign secondary that had a greater serial than this site and the zone's primary, when that last said so.
    pub(super) ahead: Option<(PeerId, Serial)>,
}

impl Rare for RareOfZone {
    const NOTHING: &'static Self = &Self {
        tell: Tells::NONE,
        told_again: None,
        stored_doubt: None,
        waiting: Vec::new(),
        lacking: None,
        too_far: BTreeMap::new(),
        aside_until: None,
        taken: None,
        ahead: None,
    };

    fn is_nothing(&self) -> bool {
        let Self {
            tell,
            told_again,
            stored_doubt,
            waiting,
            lacking,
            too_far,
            aside_until,
            taken,
            ahead,
        } = self;
        tell.is_empty()
            && stored_doubt.is_none()
            && waiting.is_empty()
            && lacking.is_none()
            && too_far.is_empty()
            && told_again.is_none()
            && aside_until.is_none()
            && taken.is_none()
            && ahead.is_none()
    }
}

/// Asking the sources.
#[derive(Default)]
struct Refresh {
    /// When to ask next; none at a primary.
    at: When,
    /// Rounds without success, one after the other.
    failures: u32,
    /// When the last round began, and how many have brought nothing new, one soon after the other.
    last_round: When,
    fruitless: u32,
    last_source: Option<PeerId>,
    last_success: Option<i64>,
    /// Until when what is held may be served, by the monotonic clock; none at its primary.
    until: When,
    /// Whether the clock has been set back since `noted` was: how old this copy is nobody here knows. It is served on, and no
    /// other site is granted any time for it.
    age_unknown: bool,
    /// Whether what is held is newer than what `until` was granted for.
    renewed: bool,
    expired: bool,
    half_told: bool,
    /// When to look whether it has expired.
    look: When,
    /// Whether the whole zone is wanted, whatever is held.
    whole: bool,
    /// Sources of this round that did not say that they lack the zone.
    unsure: u32,
    /// Whether a source of this round had only a version from before what was served here once.
    too_old: bool,
    /// Whether its primary had, too, and was told to go above.
    primary_told: bool,
    /// Whether in the last round all sources have said so: there is nothing to wait for.
    nobody_has: bool,
    /// Whether a source has confirmed or renewed what is held, since the start.
    asked: bool,
    /// Whether the zone did not come from any source at first: it was made here by command, on this very disk.
    made_here: bool,
    open: Seldom<Open>,
}

/// What there is while sources are asked, or when that brought nothing. Read and written as if it stood with the rest.
#[derive(Default)]
struct Open {
    /// The source that is being asked, and those that come after it.
    asking: Option<(PeerId, Round)>,
    /// When the source was asked, or the one that was asked last: as long as there is anything else here.
    began: Duration,
    /// Something came in between: ask again, and this one first.
    again: Option<Option<PeerId>>,
    errors: BTreeMap<PeerId, SourceError>,
    /// The first source that failed in the last round without success, and why.
    first_error: Option<Box<(PeerId, String)>>,
    /// The first source that failed in the round that is under way.
    failed_first: Option<Box<(PeerId, String)>>,
    /// Until when what is held may be served, in Unix time, as the store had it at the start, until a source says more.
    noted: Option<i64>,
    /// Until when the source that answered last may serve the zone, if it said so. It counts from when it was asked: what
    /// messages take must not be added each time that sites tell each other of the same copy.
    told_until: Option<Duration>,
    /// Until when the last attempt before expiry may take.
    last_chance: Option<Duration>,
    /// A source other than the primary that had nothing newer, while others were still to be asked; and what it told of expiry.
    confirmed: Option<Box<(PeerId, Option<Duration>)>>,
    /// What takes the place of what was written here, while the store looks for the last version in common.
    offer: Option<Box<Offer>>,
    /// The freshest that has come so far to a primary that holds nothing, and from whom.
    best: Option<Box<(PeerId, Zone)>>,
}

impl Rare for Open {
    const NOTHING: &'static Self = &Self {
        asking: None,
        began: Duration::ZERO,
        again: None,
        errors: BTreeMap::new(),
        first_error: None,
        failed_first: None,
        noted: None,
        told_until: None,
        last_chance: None,
        confirmed: None,
        offer: None,
        best: None,
    };

    fn is_nothing(&self) -> bool {
        let Self {
            asking,
            began: _,
            again,
            errors,
            first_error,
            failed_first,
            noted,
            told_until,
            last_chance,
            confirmed,
            offer,
            best,
        } = self;
        asking.is_none()
            && again.is_none()
            && errors.is_empty()
            && first_error.is_none()
            && failed_first.is_none()
            && noted.is_none()
            && told_until.is_none()
            && last_chance.is_none()
            && confirmed.is_none()
            && offer.is_none()
            && best.is_none()
    }
}

impl Deref for Refresh {
    type Target = Open;

    fn deref(&self) -> &Open {
        &self.open
    }
}

impl DerefMut for Refresh {
    fn deref_mut(&mut self) -> &mut Open {
        &mut self.open
    }
}

impl Refresh {
    /// A source was of no use.
    fn failed(&mut self, source: PeerId, message: String, now: Now) {
        let error = SourceError {
            message,
            at: now.wall,
        };
        self.errors.insert(source, error);
    }
}

impl Entry {
    pub(super) fn new(spec: ZoneSpec) -> Self {
        Self {
            spec,
            head: None,
            served: None,
            high_water: None,
            shown: Shown::default(),
            published: When::default(),
            unseen: false,
            due: When::default(),
            entered: None,
            written: false,
            adopted: false,
            commits: 0,
            refresh: Refresh::default(),
            stuck: false,
            doubt: None,
            corrections: None,
            rare: Seldom::default(),
        }
    }

    /// Of a zone that is made here by command.
    pub(super) fn made_here(spec: ZoneSpec) -> Self {
        let mut entry = Self::new(spec);
        entry.refresh.made_here = true;
        entry
    }

    pub(super) fn view(&self) -> ZoneView<'_> {
        ZoneView {
            spec: &self.spec,
            zone: self.served.as_ref(),
            high_water: self.high_water,
            until: self.refresh.until.get(),
            last_refresh: self.refresh.last_success,
            next_refresh: self.refresh.at.get(),
            source: self.refresh.last_source.as_ref(),
            errors: &self.refresh.errors,
            first_error: self.refresh.first_error.as_deref(),
            shown: &self.shown,
            expired: self.refresh.expired,
            half_expired: self.refresh.half_told && !self.spec.primary,
            transferring: self.refresh.asking.is_some(),
            recovery: self.spec.primary.then(|| self.recovery()),
            ahead: self.foreign_ahead(),
        }
    }

    /// A foreign secondary that shows a greater serial than this site has, as far as that is not just news that are on their way here.
    fn foreign_ahead(&self) -> Option<(&PeerId, Serial)> {
        let held = self.served.as_ref()?.serial();
        if self.spec.primary {
            return self.shows_ahead(held);
        }
        let (peer, serial) = self.rare.ahead.as_ref()?;
        (!held.is_after(*serial) && *serial != held).then_some((peer, *serial))
    }

    /// A foreign secondary that has shown a greater serial than this one.
    pub(super) fn shows_ahead(&self, held: Serial) -> Option<(&PeerId, Serial)> {
        // Where the zone comes from may be ahead.
        let told = self.spec.notify.foreign();
        let told = told.filter(|peer| self.spec.primary || !self.spec.sources.contains(peer));
        let mut shown = told.filter_map(|peer| {
            let far = self.rare.too_far.get(peer).map(|(serial, _)| *serial);
            Some((peer, far.or_else(|| self.shown.get(peer).copied())?))
        });
        // One that is half of the circle away is neither ahead nor behind, and takes nothing either.
        shown.find(|(_, serial)| !held.is_after(*serial) && *serial != held)
    }

    /// Gives back the room of what there is no longer.
    pub(super) fn tidy(&mut self) {
        self.rare.tidy();
        self.refresh.open.tidy();
    }

    /// When this zone wants attention next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        // What is under way ends with an event, and that sets the next time.
        let refresh = self
            .refresh
            .at
            .get()
            .filter(|_| self.refresh.asking.is_none() && self.commits == 0);
        let tell = self.rare.tell.first_due();
        let look = self.refresh.look.get().filter(|_| !self.spec.primary);
        let again = self.doubt.as_ref().and_then(|doubt| doubt.again);
        let again = again.filter(|_| self.refresh.asking.is_none());
        let remind = self.doubt.as_ref().map(|doubt| doubt.remind);
        let waits = Core::waits_until(self);
        let own = again.into_iter().chain(remind).chain(waits);
        refresh.into_iter().chain(tell).chain(look).chain(own).min()
    }

    /// What a source is asked for the difference to.
    fn have(&self, from: &PeerId) -> Option<Zone> {
        match (self.spec.primary, &self.head) {
            (true, Some(_)) if self.refresh.whole => None,
            (true, Some(_)) => {
                let shown = self.shown.get(from).copied();
                self.doubt.as_ref()?.known_base(shown)
            }
            (true, None) => self.refresh.best.as_ref().map(|best| best.1.clone()),
            (false, head) => head.clone().filter(|_| !self.refresh.whole),
        }
    }

    /// Whether all sources have said that they do not hold it either.
    pub(super) fn nobody_has(&self) -> bool {
        self.served.is_none() && self.refresh.nobody_has
    }

    /// The serial that the next version must exceed.
    pub(super) fn floor(&self) -> Option<Serial> {
        let doubt = self.doubt.as_deref().and_then(Doubt::floor);
        let shown = self.shown.values().copied().chain(doubt);
        let Some(head) = self.head.as_ref().map(Zone::serial) else {
            return shown.chain(self.high_water).reduce(SerialExt::later_of);
        };
        // The farthest ahead of what is held. To compare them with each other would not do: of three serials each can be after
        // another, and what has to be exceeded is what this site itself has published.
        let ahead = shown.filter_map(|serial| far::ahead(serial, head));
        // The store goes by this one, however far it is.
        let mark = self.high_water.filter(|mark| mark.next().is_after(head));
        let mark = mark.map(|mark| mark.into_int().wrapping_sub(head.into_int()));
        Some(head.add(ahead.chain(mark).max().unwrap_or(0)))
    }

    /// Whether this site is its primary, and others may hold what it has forgotten.
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether a peer has shown a version that is not held here.
    fn knows_newer(&mut self) -> bool {
        self.shown.any_after(self.head.as_ref().map(Zone::serial))
    }

    /// Whether something is lacking that a peer that comes back may have.
    pub(super) fn is_stuck(&mut self) -> bool {
        self.refresh.failures > 0 || self.served.is_none() || self.knows_newer()
    }

    /// The same found by a look at all that was shown, to check what is noted.
    fn looks_stuck(&self) -> bool {
        let head = self.head.as_ref().map(Zone::serial);
        let newer = |serial: &Serial| head.is_none_or(|head| serial.is_after(head));
        let shown = self.shown.values().any(newer);
        self.refresh.failures > 0 || self.served.is_none() || shown
    }

    pub(super) fn see(&mut self, serial: Serial) {
        self.high_water = Some(self.high_water.map_or(serial, |seen| seen.later_of(serial)));
    }

    /// The SOA of what is held, or times for a zone of which nothing is.
    fn times(&self) -> (Duration, Duration, Duration) {
        match self.served.as_ref().map(Zone::numbers) {
            Some(soa) => (
                Duration::from_secs(soa.refresh.into()),
                Duration::from_secs(soa.retry.into()),
                Duration::from_secs(soa.expire.into()),
            ),
            // Nothing is held: there is no interval to go by; the cap of the back-off bounds it.
            None => (
                Duration::from_secs(60),
                Duration::from_secs(60),
                Duration::ZERO,
            ),
        }
    }
}

/// # Zones come and go
impl Core {
    /// Takes over what the store holds, then what the configuration and the mesh want.
    pub(super) fn start(&mut self, held: Vec<Held>, now: Now) {
        self.compare_with_noted(&held, now);
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
        let mark = self.marks.get(&spec.apex).copied();
        let apex = spec.apex.clone();
        let entry = self.zones.get_or_insert_with(&apex, || Entry::new(spec));
        if let Some(mark) = mark {
            entry.see(mark);
        }
    }

    /// Takes a version that the store had.
    pub(super) fn take_over(&mut self, held: Held, now: Now) {
        let Some(entry) = self.zones.get_mut(held.zone.apex()) else {
            return;
        };
        if !planted(Bug::HighWaterForgotten) {
            entry.see(held.high_water);
        }
        entry.see(held.zone.serial());
        // What expires was confirmed by another; see `serve_held`.
        entry.written = held.expires_at.is_none();
        entry.refresh.made_here = held.made_here;
        // The clock may have been set back since that was noted: no copy may be served for longer than its SOA allows.
        entry.refresh.noted = held
            .expires_at
            .filter(|_| !planted(Bug::TimerLostOverRestart));
        entry.refresh.age_unknown = entry.refresh.noted.is_some() && self.clocks.is_set_back(now);
        let expire = i64::from(held.zone.numbers().expire);
        entry.head = Some(held.zone.clone());
        entry.served = Some(held.zone);
        entry.rare.stored_doubt = held.doubt;
        let noted = entry.refresh.noted;
        let until = noted.map(|at| clock::until(at, expire, now));
        entry.refresh.until.set(until);
        entry.refresh.last_success = held.last_refresh;
    }

    /// Publishes what a zone holds and starts its timers.
    pub(super) fn serve_held(&mut self, apex: &Name, now: Now) {
        self.begin_doubt(apex, now);
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.spec.primary && entry.head.is_some() {
            entry.refresh.at.set(None);
            entry.refresh.expired = false;
            (entry.refresh.noted, entry.refresh.age_unknown) = (None, false);
            if entry.refresh.until.take().is_some() {
                // On disk too: what is held without an end was written by its primary.
                self.out.push(Output::Keep {
                    apex: apex.clone(),
                    until: None,
                    expires_at: None,
                    last_refresh: entry.refresh.last_success,
                });
            }
        } else if entry.refresh.at.get().is_none() {
            // After a restart nobody knows what was missed: ask at once.
            entry.refresh.at.set(now.mono);
            let held = entry.served.is_some();
            if held && !planted(Bug::TimerLostOverRestart) {
                // What was never to expire, having been written here, does from now on.
                let expire = entry.times().2;
                let until = entry.refresh.until.get();
                entry.refresh.until.set(until.unwrap_or(now.mono + expire));
            }
            let expired = held && entry.refresh.until.has_come(now.mono);
            entry.refresh.expired = expired;
            if expired {
                self.happened(Happening::Expired(apex.clone()));
            }
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
        let new_targets: Vec<PeerId> = match spec.primary {
            true => spec.notify.without(&entry.spec.notify),
            false => Vec::new(),
        };
        let stays = |peer: &PeerId| spec.notify.contains(peer) || spec.sources.contains(peer);
        entry.rare.tell.retain(stays);
        entry.shown.retain(stays);
        entry.rare.too_far.retain(|peer, _| stays(peer));
        let same_first = entry.spec.primary_source() == spec.primary_source();
        let served_alike = entry.spec.members_only == spec.members_only;
        let same_sources = entry.spec.sources == spec.sources;
        // In proportion to the mesh, for each zone: only where it is to be known.
        let more_sources = entry.served.is_none()
            && was_primary == spec.primary
            && !spec.sources.without(&entry.spec.sources).is_empty();
        entry.spec = spec;
        if was_primary != entry.spec.primary {
            entry.adopted = entry.spec.primary && !entry.written;
            let noted = entry.refresh.noted;
            entry.refresh = Refresh {
                until: entry.refresh.until,
                age_unknown: entry.refresh.age_unknown,
                made_here: entry.refresh.made_here,
                ..Refresh::default()
            };
            entry.refresh.noted = noted;
            self.serve_held(&apex, now);
            return self.settle(&apex, now);
        }
        if more_sources {
            // That nobody has it is not known from a round that leaves somebody out.
            entry.refresh.nobody_has = false;
            entry.refresh.unsure += 1;
            if entry.refresh.asking.is_some() {
                entry.refresh.again.get_or_insert(None);
            }
        }
        if entry.spec.primary && entry.served.is_none() && !same_sources {
            // Others may have what the first did not.
            entry.refresh.nobody_has = false;
            entry.refresh.at.set(now.mono);
        }
        if !entry.spec.primary && (entry.served.is_none() || !same_first) {
            // Another primary may have another version, and does not know yet what is served here.
            entry.refresh.at.set(now.mono);
        }
        if entry.spec.primary && entry.served.is_some() {
            for peer in new_targets {
                self.tell(&apex, peer, now);
            }
        }
        if !served_alike {
            self.publish(&apex, Vec::new());
        }
        self.settle(&apex, now);
    }

    /// Takes a zone out, and remembers its serial: should it come again it must not come older.
    pub(super) fn drop_zone(&mut self, apex: &Name) {
        let Some(entry) = self.zones.remove(apex) else {
            return;
        };
        if entry.due.get().is_some() {
            self.due.remove(&(entry.due, OwnedKey::of(apex)));
        }
        self.stuck.remove(Key::of(apex).as_slice());
        self.secondaries.strike(apex);
        self.overtaken.remove(apex);
        let mark = match entry.spec.primary && !entry.spec.mesh {
            // The store goes by all that was shown, as it does after a restart.
            true => entry.floor(),
            false => entry
                .served
                .as_ref()
                .filter(|_| entry.spec.mesh)
                .map(Zone::serial),
        };
        if let Some(mark) = mark {
            self.marks.insert(apex.clone(), mark);
        }
        self.strike(apex);
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
        entry.refresh.at.set(now.mono);
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
            until: match entry.refresh.age_unknown {
                true => Some(Duration::ZERO),
                false => entry.refresh.until.get(),
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred thousand zones are a hundred thousand of these.
    #[test]
    fn what_is_kept_of_a_zone_stays_small() {
        assert!(size_of::<Entry>() <= 360, "{}", size_of::<Entry>());
    }
}
