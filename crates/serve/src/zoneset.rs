//! What the data plane knows: the set of zones, who is a member of the mesh, and the settings; all swapped atomically.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use zonemesh_zone::inventory::Inventory;
use zonemesh_zone::tree::{Leaf, Touch, Way};
use zonemesh_zone::{Key, Name, Sought, Tree, Zone};

use crate::answer::{Outcome, View, answer};
use crate::clock::{Expiry, Moment};
use crate::cookie::CookieSecrets;
use crate::handler::Client;
use crate::message::types;
use crate::metrics::Metrics;
use crate::rate::RateLimiter;
use crate::together;

/// Who may query a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Public,
    /// Only members of the mesh, known by the key of their TLS certificate: the directory and the catalog.
    Members,
}

/// A zone that this server answers for.
#[derive(Clone, Debug)]
pub struct Served {
    /// The zone's name.
    pub apex: Name,
    /// The contents; `None` for a zone that this site is to serve but does not hold yet.
    pub zone: Option<Zone>,
    /// Who may query it.
    pub access: Access,
    /// Whether the SOA expire time has passed without a word from a primary: SERVFAIL (RFC 1034 §4.3.5).
    pub expired: bool,
    /// How long it may still be served, to be told.
    pub expiry: Expiry,
}

impl Served {
    /// A public zone that this server is primary for.
    pub fn new(zone: Zone) -> Self {
        Self {
            apex: zone.apex().clone(),
            zone: Some(zone),
            access: Access::Public,
            expired: false,
            expiry: Expiry::never(),
        }
    }

    /// A zone that this site is to serve but does not hold yet.
    pub fn missing(apex: Name) -> Self {
        Self {
            apex,
            zone: None,
            access: Access::Public,
            expired: false,
            expiry: Expiry::never(),
        }
    }

    /// One when it is large, and none when it is not.
    fn is_large(&self) -> usize {
        usize::from(self.zone.as_ref().is_some_and(together::is_large))
    }

    /// The same with another access.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }
}

/// A zone among the others.
#[derive(Clone)]
pub(crate) struct Entry(Arc<Served>);

impl Leaf for Entry {
    fn wire(&self) -> &[u8] {
        self.0.apex.as_slice()
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Its name, and where its contents begin.
impl Touch for Entry {
    fn touch(&self) -> usize {
        let zone = self.0.zone.as_ref();
        usize::from(self.wire()[0]) + zone.map_or(0, Zone::node_count)
    }
}

impl Entry {
    fn new(served: Served) -> Self {
        Self(Arc::new(served))
    }

    fn served(&self) -> &Served {
        &self.0
    }
}

/// All zones that are served. Immutable; a clone is one reference count, a change costs what it changes.
#[derive(Clone, Default)]
pub struct ZoneSet {
    tree: Tree<Entry>,
    /// How many of them are large.
    large: usize,
}

impl ZoneSet {
    /// No zone.
    pub fn new() -> Self {
        Self::default()
    }

    /// This set with a zone more, or with another version of it.
    #[must_use]
    pub fn with(&self, served: Served) -> Self {
        let mut zones = self.clone();
        zones.insert(served);
        zones
    }

    fn insert(&mut self, served: Served) {
        self.large += served.is_large();
        if let Some(old) = self.tree.insert(Entry::new(served)) {
            self.large -= old.served().is_large();
        }
    }

    /// This set without a zone.
    #[must_use]
    pub fn without(&self, apex: &Name) -> Self {
        let mut zones = self.clone();
        if let Some(old) = zones.tree.remove(Key::of(apex).as_slice()) {
            zones.large -= old.served().is_large();
        }
        zones
    }

    /// Whether there is a zone of which most names are in none of the processor's caches.
    pub(crate) fn has_large(&self) -> bool {
        self.large > 0
    }

    /// The zone of this name.
    pub fn get(&self, apex: &Name) -> Option<&Served> {
        self.tree.get(Key::of(apex).as_slice()).map(Entry::served)
    }

    /// The way to the closest zone that encloses a name.
    pub(crate) fn way<'z, 's>(&'z self, sought: &'s Sought) -> Option<Way<'z, 's, Entry>> {
        self.tree.way(sought)
    }

    /// The closest zone that encloses a name.
    pub fn closest(&self, sought: &Sought) -> Option<&Served> {
        self.tree.closest_ancestor(sought).map(Entry::served)
    }

    /// The closest zone that encloses a name and does not start at it: the parent's side of a zone cut.
    pub fn closest_above(&self, sought: &Sought) -> Option<&Served> {
        self.tree
            .descend(sought)
            .map(Entry::served)
            .filter(|served| served.apex.len() < sought.wire().len())
            .last()
    }

    /// The zone that a question is about: the closest one, or for DS at its name the one above, where that is here.
    pub(crate) fn asked(&self, sought: &Sought, qtype: u16) -> Option<&Served> {
        let served = self.closest(sought)?;
        if qtype == types::DS && served.apex.len() == sought.wire().len() {
            return self.closest_above(sought).or(Some(served));
        }
        Some(served)
    }

    /// All zones, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.tree.iter().map(Entry::served)
    }

    /// How many zones there are.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }
}

impl FromIterator<Served> for ZoneSet {
    fn from_iter<I: IntoIterator<Item = Served>>(zones: I) -> Self {
        let mut set = Self::new();
        zones.into_iter().for_each(|zone| set.insert(zone));
        set
    }
}

/// Who is a member of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// SHA-256 of the members' public keys.
    pub pins: HashSet<[u8; 32]>,
    /// Names of the TSIG keys that members use. Messages with TSIG go to the [`crate::Handler`], who looks here.
    pub keys: HashSet<Name>,
}

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest answer over UDP, in octets; 512 to 4096.
    pub udp_payload: u16,
    /// What a client that asks for it is told about which server answers (RFC 5001).
    pub nsid: Option<Vec<u8>>,
    /// The answer to `version.bind` and `version.server` of class CHAOS; REFUSED without.
    pub version: Option<String>,
    /// The answer to `id.server` and `hostname.bind` of class CHAOS (RFC 4892); REFUSED without.
    pub identity: Option<String>,
    /// What DNS cookies are made with (RFC 7873, RFC 9018); none are sent without.
    pub cookies: Option<CookieSecrets>,
    /// How long a connection may be idle; told to clients that ask (RFC 7828).
    pub idle_timeout: Duration,
    /// How many answers over UDP a network may have; as many as it likes without.
    pub rate: Option<Arc<RateLimiter>>,
    /// Whether questions and answers are counted by zone as well: see [`Metrics::zones`].
    pub per_zone: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Passes unfragmented on practically every path; the value of DNS Flag Day 2020.
            udp_payload: 1232,
            nsid: None,
            version: None,
            identity: None,
            cookies: None,
            // RFC 7766 §6.2.3 asks for the order of seconds; RFC 9103 for longer on transfer connections.
            idle_timeout: Duration::from_secs(30),
            rate: None,
            // It costs a look into a table for each question, and memory for each zone.
            per_zone: false,
        }
    }
}

/// What the listeners read and the control side writes. Each part is swapped as a whole.
#[derive(Default)]
pub struct Shared {
    /// The zones.
    pub zones: ArcSwap<ZoneSet>,
    /// Whether this site holds all that it is to serve. While it does not, it gives no answers but to members: an empty
    /// replica must not say NXDOMAIN. A plain name server is ready from the start.
    pub ready: AtomicBool,
    /// For how many seconds this site has made no progress; members that ask are told.
    pub stuck: AtomicU16,
    /// What this site holds of the mesh; members that ask are told.
    pub inventory: ArcSwap<Inventory>,
    /// The members of the mesh.
    pub members: ArcSwap<Members>,
    /// The operator's settings.
    pub settings: ArcSwap<Settings>,
    /// What was counted.
    pub metrics: Metrics,
}

impl Shared {
    /// Empty, and not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the set of zones by one swap. Several may do so at once; none is lost, and `change` may be called again.
    pub fn update_zones(&self, mut change: impl FnMut(&ZoneSet) -> ZoneSet) {
        self.zones.rcu(|zones| change(zones));
    }

    /// Sets whether this site is ready.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Answers a message of a client that has proved in a way which is not seen here, such as TSIG, that it is a member
    /// of the mesh: for the [`crate::Handler`], who has taken the TSIG record off.
    pub fn answer_member(
        &self,
        message: &[u8],
        client: &Client,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.view(now, |view| {
            let view = View {
                trusted: true,
                ..*view
            };
            answer(message, client, &view, out)
        })
    }

    /// Calls `work` with everything as it is now.
    pub fn view<R>(&self, now: Moment, work: impl FnOnce(&View<'_>) -> R) -> R {
        let zones = self.zones.load();
        let members = self.members.load();
        let settings = self.settings.load();
        let inventory = self.inventory.load();
        work(&View {
            zones: &zones,
            members: &members,
            settings: &settings,
            inventory: &inventory,
            ready: self.ready.load(Ordering::Acquire),
            trusted: false,
            stuck: self.stuck.load(Ordering::Relaxed),
            now,
        })
    }
}
