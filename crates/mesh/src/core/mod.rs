//! The core of a site: every decision about its zones and its mesh, apart from all I/O.
//!
//! Events and the time go in ([`Input`], [`Now`]), what is to be done comes out ([`Output`]); the shell around it
//! owns sockets, the store and the clock, and reports back. The same core runs in a simulation.
//!
//! ```text
//!               Notify, Tick            Transferred             Committed
//!   (secondary) ───────────► transfer ─────────────► commit ─────────────► publish, tell, count receipts
//!   (primary)   ─ Change, Directory ────────────────────┘
//! ```
//!
//! Each zone has a *head*, the newest version that was decided, and a *served* version, the newest that is durable.
//! Changes are made on the head without waiting for the disk; a commit that fails takes the head back to what is served.

mod alike;
mod catalogs;
mod change;
mod clocks;
mod consent;
mod entries;
mod event;
mod far;
mod membership;
mod peer_list;
mod peer_map;
mod peers;
mod receipt;
mod replicate;
mod secondaries;
mod seldom;
mod serials;
mod watch;
mod when;
mod yielded;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use self::alike::Alike;
pub use self::alike::Differing;
use self::catalogs::Catalogs;
pub use self::catalogs::{
    Admit, CATALOG_MEMBERS, CatalogReport, CatalogSettings, Consumed, MemberOf, Produced, Template,
};
use self::clocks::Clocks;
pub use self::clocks::{ClockFault, FUDGE_MS};
use self::consent::Consent;
pub use self::consent::{CONSENT, Verdict};
use self::entries::Entries;
pub use self::event::*;
use self::membership::Mesh;
pub use self::membership::{Me, MeshSettings, Promotion, Report, Seen};
pub use self::peer_list::PeerList;
use self::peer_list::SharedPeers;
pub use self::peer_map::PeerMap;
use self::peers::Peer;
use self::receipt::Waiting;
use self::replicate::Entry;
use self::secondaries::Secondaries;
pub use self::serials::SerialPolicy;
use self::watch::Watch;
use self::when::When;
pub use self::yielded::{Fate, YIELDED, Yield, Yielded};
use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Author, Key, Name, OwnedKey, Serial, Zone};

/// How often things are done that no event asks for.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two probes of a peer.
    pub probe: Duration,
    /// Between two full passes of planning.
    pub reconcile: Duration,
    /// Least time before a failed transfer or NOTIFY is tried again.
    pub floor: Duration,
    /// Most time before a NOTIFY that was not answered is repeated.
    pub cap: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            // A peer that hangs must be noticed within 15 seconds: two probes that fail, each within its time-out.
            probe: Duration::from_secs(5),
            reconcile: Duration::from_secs(60),
            floor: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        }
    }
}

/// What the configuration says to the core.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Zones that the configuration names, and that do not come from the mesh.
    pub zones: Vec<ZoneSpec>,
    /// The mesh that this site belongs to; a plain name server has none.
    pub mesh: Option<MeshSettings>,
    /// Intervals.
    pub pace: Pace,
    /// Catalog zones of foreign servers, and for them.
    pub catalogs: CatalogSettings,
    /// What the first directory and catalog of a new mesh are made of.
    pub founding: Founding,
    /// The highest serials of zones that the store has no longer, or no longer whole: what takes their place is published above.
    pub marks: BTreeMap<Name, Serial>,
    /// What the store has in [`CONSENT`], key and value; looked at once, at the start.
    pub consent: Vec<(String, Vec<u8>)>,
    /// How serials of zones that this site is primary of are made, where they are not just counted.
    pub serials: BTreeMap<Name, SerialPolicy>,
}

/// Zones that were kept by hand so far, for the first start of a mesh.
#[derive(Clone, Debug, Default)]
pub struct Founding {
    /// The directory, as a rule in the older convention.
    pub directory: Option<Zone>,
    /// The catalog.
    pub catalog: Option<Zone>,
}

/// The core of one site. See the module's documentation.
pub struct Core {
    settings: Settings,
    zones: Entries,
    /// When which zone wants attention: the one list of all timers.
    due: BTreeSet<(When, OwnedKey)>,
    /// Zones that lack something that a peer that comes back may have.
    stuck: BTreeSet<OwnedKey>,
    /// Of which zones a NOTIFY is owed to whom and not under way; one that came to nothing may still be in it.
    owed: BTreeMap<PeerId, BTreeSet<Name>>,
    peers: BTreeMap<PeerId, Peer>,
    watch: Watch,
    secondaries: Secondaries,
    mesh: Option<Mesh>,
    clocks: Clocks,
    alike: Alike,
    catalogs: Catalogs,
    consent: Consent,
    commits: BTreeMap<CommitId, PendingCommit>,
    /// Who has asked for what is not answered yet.
    authors: BTreeMap<RequestId, Author>,
    waiting: Vec<Waiting>,
    /// Who had a greater serial of a zone than this site, its primary, and which: the last since the start.
    overtaken: BTreeMap<Name, (PeerId, Serial)>,
    /// The highest serials that zones had here that are not held: see `drop_zone`.
    marks: BTreeMap<Name, Serial>,
    next_commit: CommitId,
    next_probe: Duration,
    /// When the last event came.
    now: Now,
    random: u64,
    /// Whether all zones were held at some moment since the start.
    ready: bool,
    /// A zone that was lacking when that was last looked at.
    lacking: Option<Name>,
    /// Zones without contents of which changes wait for the directory to say whether they may begin.
    to_begin: BTreeSet<Name>,
    out: Vec<Output>,
}

/// A commit that the store has not answered yet.
struct PendingCommit {
    zones: Vec<NewVersion>,
    /// Who waits for it.
    answers: Vec<Answer>,
    /// Why a version that it was made from could not be stored, so that it cannot be either.
    doomed: Option<String>,
}

/// What a request is answered with when what it depends on is durable.
#[derive(Clone, Copy, Debug)]
struct Answer {
    request: RequestId,
    serial: Serial,
    changed: bool,
}

/// # Running
impl Core {
    /// Makes the core of a site out of its configuration and what its store holds. `seed` feeds the jitter of timers.
    pub fn new(
        mut settings: Settings,
        held: Vec<Held>,
        seed: u64,
        now: Now,
    ) -> (Self, Vec<Output>) {
        let (consent, waiting) = Consent::kept(&mut settings);
        let mesh = settings.mesh.clone();
        let mut core = Self {
            mesh: mesh.map(|mesh| Mesh::new(mesh, waiting, now)),
            marks: match planted(Bug::HighWaterForgotten) {
                true => BTreeMap::new(),
                false => settings.marks.clone(),
            },
            consent,
            settings,
            zones: Entries::default(),
            due: BTreeSet::new(),
            stuck: BTreeSet::new(),
            owed: BTreeMap::new(),
            peers: BTreeMap::new(),
            watch: Watch::default(),
            secondaries: Secondaries::new(now),
            clocks: Clocks::default(),
            alike: Alike::default(),
            catalogs: Catalogs::default(),
            commits: BTreeMap::new(),
            authors: BTreeMap::new(),
            waiting: Vec::new(),
            overtaken: BTreeMap::new(),
            next_commit: 1,
            next_probe: now.mono,
            now,
            random: seed | 1,
            ready: false,
            lacking: None,
            to_begin: BTreeSet::new(),
            out: Vec::new(),
        };
        core.look_at_clock(now);
        core.start(held, now);
        core.look_whether_ready();
        let out = std::mem::take(&mut core.out);
        (core, out)
    }

    /// Takes one event and returns what is to be done.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Output> {
        self.now = now;
        self.look_at_clock(now);
        self.look_far(&input, now);
        let input = self.believed(input);
        match input {
            Input::Tick => {}
            Input::Notify { apex, serial, from } => self.notified_of(&apex, serial, from, now),
            Input::Transferred {
                apex,
                from,
                result,
                expire,
            } => self.transferred(&apex, from, result, expire, now),
            Input::Committed { commit, result } => self.committed(commit, result, now),
            Input::Notified {
                to,
                apex,
                serial,
                result,
            } => self.told(&to, &apex, serial, result, now),
            Input::Probed { peer, result, beat } => self.probed(peer, result, beat, now),
            Input::Compared {
                peer,
                section,
                result,
            } => self.compared(&peer, section, result, now),
            Input::Change { request, change } => self.change(request, change, now),
            Input::Directory {
                request,
                edited,
                also,
            } => self.edit_directory(request, edited, also, now),
            Input::Wait {
                request,
                apex,
                serial,
            } => self.wait(request, apex, serial, now),
            Input::Host {
                request,
                zone,
                high_water,
            } => self.host(request, zone, high_water),
            Input::Unhost { apex } => self.unhost(&apex),
            Input::Unlisted { apex } => self.list_again(apex, now),
            Input::Forget { request } => self.waiting.retain(|waiting| waiting.request != request),
            Input::Refresh { apex } => self.refresh(&apex, None, now),
            Input::Decide {
                request,
                hash,
                verdict,
            } => self.decide(request, hash, verdict, now),
            Input::Promote {
                request,
                to,
                seen,
                force,
            } => self.promote(request, &to, seen.as_ref(), force),
            Input::Recalled { apex, zone } => self.recalled(&apex, zone, now),
        }
        self.settle_contested();
        self.tick(now);
        self.look_whether_ready();
        std::mem::take(&mut self.out)
    }

    /// Takes a request, and says who makes it: the versions that come of it are kept with that.
    pub fn handle_by(
        &mut self,
        request: RequestId,
        by: Author,
        input: Input,
        now: Now,
    ) -> Vec<Output> {
        self.authors.insert(request, by);
        self.handle(input, now)
    }

    /// Takes another configuration; zones and peers that stay are not disturbed.
    pub fn configure(&mut self, settings: Settings, now: Now) -> Vec<Output> {
        let old = std::mem::replace(&mut self.settings, settings);
        if self.mesh.is_some() {
            self.drop_unconfigured(&old);
        }
        if let (Some(mesh), Some(settings)) = (&mut self.mesh, &self.settings.mesh) {
            mesh.settings = settings.clone();
            mesh.in_step = None;
        }
        self.reconcile(now);
        self.tick(now);
        std::mem::take(&mut self.out)
    }

    /// When [`Input::Tick`] is wanted at the latest.
    pub fn next_due(&self) -> Duration {
        let zones = self.due.first().and_then(|(due, _)| due.get());
        let mesh = self.mesh.as_ref().map(|mesh| mesh.next_reconcile);
        let probes = (!self.peers.is_empty()).then_some(self.next_probe);
        [zones, mesh, probes, self.secondaries.next_due()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Duration::MAX)
    }

    fn tick(&mut self, now: Now) {
        let due = self.due.first().map(|(due, _)| *due);
        if due.is_some_and(|due| due.has_come(now.mono)) {
            self.attend_due(now);
        }
        self.probe_peers(now);
        self.ask_secondaries(now);
        if self
            .mesh
            .as_ref()
            .is_some_and(|mesh| mesh.next_reconcile <= now.mono)
        {
            self.reconcile(now);
        }
    }

    /// Does what is due for zones.
    fn attend_due(&mut self, now: Now) {
        // Taken out first: a zone that wants attention again at once gets it in the next turn, after what waits.
        let after = When::from(Some(now.mono + Duration::from_nanos(1)));
        let later = self
            .due
            .split_off(&(after, OwnedKey::of(&Name::root_bytes())));
        for (_, key) in std::mem::replace(&mut self.due, later) {
            let Some(entry) = self.zones.by_key_mut(key.as_slice()) else {
                continue;
            };
            entry.due = When::default();
            let apex = entry.spec.apex.clone();
            self.attend(&apex, now);
            self.schedule(&apex);
            let failing = |entry: &Entry| !entry.view().errors.is_empty();
            if planted(Bug::ErrorStopsOthers) && self.zones.get(&apex).is_some_and(failing) {
                break;
            }
        }
    }

    /// Enters the zone into the list of timers at the moment at which it next wants attention, into the list of those that lack
    /// something, and into the inventory.
    fn schedule(&mut self, apex: &Name) {
        self.take_stock(apex);
        self.note_stuck(apex);
        self.note_secondaries(apex);
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        entry.tidy();
        let next = When::from(entry.next_due());
        if entry.due == next {
            return;
        }
        if entry.due.get().is_some() {
            self.due.remove(&(entry.due, OwnedKey::of(apex)));
        }
        if next.get().is_some() {
            self.due.insert((next, OwnedKey::of(apex)));
        }
        entry.due = next;
    }

    /// Enters a zone into the list of those that lack something, or takes it out: after whatever was held or shown of it is another.
    fn note_stuck(&mut self, apex: &Name) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let stuck = entry.is_stuck();
        if std::mem::replace(&mut entry.stuck, stuck) != stuck {
            match stuck {
                true => self.stuck.insert(OwnedKey::of(apex)),
                false => self.stuck.remove(Key::of(apex).as_slice()),
            };
        }
    }

    /// A number for jitter: xorshift, because all that matters is that sites do not act in step.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn look_whether_ready(&mut self) {
        if self.ready || !self.mesh.as_ref().is_none_or(Mesh::known) {
            return;
        }
        let lacks =
            |entry: &Entry| entry.spec.mesh && entry.served.is_none() && !entry.nobody_has();
        // As long as the zone is lacking that was found to be, the others need not be looked at for everything that happens.
        let found = self.lacking.as_ref().and_then(|apex| self.zones.get(apex));
        if found.is_some_and(lacks) {
            return;
        }
        let after = self.lacking.take();
        let rest = after.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let rest = self.zones.from(rest);
        let mut lacking = rest
            .chain(self.zones.iter())
            .filter(|(_, entry)| lacks(entry));
        self.lacking = lacking.next().map(|(apex, _)| apex.clone());
        let all = self.lacking.is_none() && self.holds_what_is_listed();
        self.ready = all || planted(Bug::ReadyTooEarly);
    }

    /// Whether nothing of the catalog is lacking for want of a plan: none is made where the directory does not list this site, as
    /// that of another writer than the one that let it in.
    fn holds_what_is_listed(&self) -> bool {
        if self.mesh.as_ref().is_none_or(Mesh::lists_me) {
            return true;
        }
        let held = |apex: &Name| {
            self.zones
                .get(apex)
                .is_some_and(|zone| zone.served.is_some())
        };
        let listed = self.catalog();
        listed.is_none_or(|listed| listed.members.keys().all(held))
    }

    fn happened(&mut self, what: Happening) {
        if let Happening::PeerAhead {
            apex, peer, theirs, ..
        } = &what
        {
            let met = (peer.clone(), *theirs);
            self.overtaken.insert(apex.clone(), met);
        }
        self.out.push(Output::Happened(what));
    }

    fn reply(&mut self, request: Option<RequestId>, reply: Reply) {
        if let Some(request) = request {
            self.authors.remove(&request);
            self.out.push(Output::Reply { request, reply });
        }
    }
}

/// # Looking into it
impl Core {
    /// How each zone stands.
    pub fn zones(&self) -> impl Iterator<Item = ZoneView<'_>> {
        self.zones.values().map(|entry| entry.view())
    }

    /// How one zone stands.
    pub fn zone(&self, apex: &Name) -> Option<ZoneView<'_>> {
        self.zones.get(apex).map(|entry| entry.view())
    }

    /// Whether this site may answer: whether it has held every zone that it should serve at some moment since its start. A
    /// zone that is new to a site that is ready is not answered until it is held, and does not close the others; nor does one
    /// of which every other site says that it lacks it too.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Whether this site is to be the primary of a zone of the mesh, holds nothing of it, and the directory as it is now lists it
    /// nowhere: no other site has it, and it begins with what it is given here.
    pub fn is_to_begin(&self, apex: &Name) -> bool {
        let entry = self.zones.get(apex);
        let own = entry.is_some_and(|entry| entry.spec.primary && entry.head.is_none());
        let Some(mesh) = self.mesh.as_ref().filter(|_| own) else {
            return false;
        };
        let directory = self.zone(&mesh.settings.directory);
        let is_current = directory.is_some_and(|view| match &view.recovery {
            Some(recovery) => view.zone.is_some() && recovery.until.is_none(),
            None => view.zone.is_some() && view.source.is_some(),
        });
        is_current && mesh.lists_zone(apex) == Some(false)
    }

    /// Who had a greater serial of a zone than this site, its primary, and which: the last since the start. What was held was published
    /// above it.
    pub fn overtaken(&self, apex: &Name) -> Option<&(PeerId, Serial)> {
        self.overtaken.get(apex)
    }

    /// Which zones are missing, if any.
    pub fn missing(&self) -> Vec<Name> {
        self.zones
            .values()
            .filter(|entry| entry.served.is_none())
            .map(|entry| entry.spec.apex.clone())
            .collect()
    }

    /// Each peer, and since when it has not answered.
    pub fn peers(&self) -> impl Iterator<Item = (&PeerId, Option<Duration>)> {
        self.peers.iter().map(|(id, peer)| (id, peer.lost_since))
    }
}

/// How a zone stands at this site.
#[derive(Clone, Debug)]
pub struct ZoneView<'a> {
    /// What it is to this site.
    pub spec: &'a ZoneSpec,
    /// What is served.
    pub zone: Option<&'a Zone>,
    /// The highest serial that was published or shown.
    pub high_water: Option<Serial>,
    /// Until when it may be served, by the monotonic clock.
    pub until: Option<Duration>,
    /// Unix time of the last success with a source.
    pub last_refresh: Option<i64>,
    /// When its sources are asked next.
    pub next_refresh: Option<Duration>,
    /// The source that it last came from or that last confirmed it.
    pub source: Option<&'a PeerId>,
    /// The last error of each source that has not succeeded since.
    pub errors: &'a BTreeMap<PeerId, SourceError>,
    /// Of the last round without success the first source that failed, and why; none since one has succeeded.
    pub first_error: Option<&'a (PeerId, String)>,
    /// Whether half of the time until it expires is over.
    pub half_expired: bool,
    /// What the peers have shown.
    pub shown: &'a PeerMap<Serial>,
    /// Whether it is past its expiry.
    pub expired: bool,
    /// Whether a transfer is under way.
    pub transferring: bool,
    /// How a primary stands with what the others hold; none at a secondary.
    pub recovery: Option<RecoveryView<'a>>,
    /// A foreign secondary that has a greater serial than this site, its primary, and which.
    pub ahead: Option<(&'a PeerId, Serial)>,
}

/// How a primary stands with what the others hold of its zone.
#[derive(Clone, Debug)]
pub struct RecoveryView<'a> {
    /// Whether it has no copy and waits for one.
    pub lost: bool,
    /// Who has not shown yet, since the start, that it has nothing that is unknown here.
    pub unheard: Vec<&'a PeerId>,
    /// Until when changes wait for them at the latest.
    pub until: Option<Duration>,
    /// From whom a newer history is being taken.
    pub taking: Option<&'a PeerId>,
    /// How many changes wait.
    pub waiting: usize,
    /// What has been taken since the start, the last of it: from whom, and which serial.
    pub taken: Option<&'a (PeerId, Serial)>,
}
