//! What the tasks of a running site share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Semaphore, broadcast, watch};
use zonemesh_api::types::{Event, What};
use zonemesh_serve::{CookieSecrets, Shared};
use zonemesh_store::{ReadError, Store};
use zonemesh_transfer::tls::SiteKey;
use zonemesh_transfer::tsig::{Key, Keys, ReplayGuard};
use zonemesh_zone::directory::{Directory, Site};
use zonemesh_zone::{Diff, Name, Serial};

use super::access::Brought;
use super::drift::ZoneFiles;
use super::driver::CoreHandle;
use super::gate::{Bounds, Gate};
use super::listeners::Listeners;
use super::peers::Peers;
use super::pool::Pool;
use super::progress::Progress;
use super::transfers::Transfers;
use crate::config::Config;

/// Shared by the tasks of one site.
pub(crate) struct Live {
    /// The site's name; of a plain server, what its configuration calls it.
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) config_path: Option<PathBuf>,
    pub(crate) config: ArcSwap<Config>,
    /// What the site was started with: what only a start makes true is of this.
    pub(crate) config_at_start: Arc<Config>,
    /// The zone files of the configuration, as they were when they were read.
    pub(crate) zone_files: ZoneFiles,
    pub(crate) core: CoreHandle,
    pub(crate) store: Store,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    /// Directory and catalog, in a mesh.
    pub(crate) mesh: Option<(Name, Name)>,
    /// The directory as the last plan read it.
    pub(crate) directory: ArcSwap<Option<Directory>>,
    /// Zones that catalogs of foreign servers have brought, and from where.
    pub(crate) brought: Brought,
    /// Keys of foreign peers and of open invitations.
    pub(crate) keys: ArcSwap<Keys>,
    /// Which signed updates have come.
    replays: Mutex<ReplayGuard>,
    /// Why the configuration is not what its file says.
    pub(crate) loud: ArcSwap<Option<String>>,
    /// Why the last change could not be stored, until one can.
    pub(crate) store_error: ArcSwap<Option<String>>,
    /// What was written here and is kept because another site is the writer: what it is called, and of which zone.
    pub(crate) yielded: ArcSwap<BTreeMap<String, Name>>,
    /// Whether core and disk get on.
    pub(crate) progress: Progress,
    pub(crate) key: ArcSwap<SiteKey>,
    pub(crate) journal: Journal,
    pub(crate) listeners: Listeners,
    /// Held while the key is changed.
    pub(crate) key_roll: tokio::sync::Mutex<()>,
    /// Made anew at each start: a cookie of before is replaced by the next answer.
    pub(crate) cookies: CookieSecrets,
    /// Held while a newcomer is let in.
    pub(crate) joins: tokio::sync::Mutex<()>,
    /// Requests that were dropped because too many were under way.
    pub(crate) refused_busy: AtomicU64,
    /// What peers were asked for, by kind as in [`ASKED`].
    pub(crate) asked: [AtomicU64; ASKED.len()],
    /// Transfers under way, in both directions.
    pub(crate) transfers: Transfers,
    /// Lets transfers out begin; the others wait their turn.
    pub(crate) transfers_out: Gate<String>,
    /// Room for those who wait for that.
    pub(crate) waiting_out: Arc<Semaphore>,
    /// Whether the core has said which zones there are: before that nothing is known to be missing.
    pub(crate) started: AtomicBool,
    /// Whether the data plane answers.
    pub(crate) answers: watch::Sender<bool>,
    /// The sites of the mesh as they are to be kept beside the key.
    pub(crate) peers: watch::Sender<Option<Peers>>,
    events: broadcast::Sender<Event>,
    /// Lines about strangers, by kind: the minute, and how many.
    lines: Mutex<HashMap<&'static str, (i64, u32)>>,
    /// Removed sites that have knocked; as many as there are tombstones at the most.
    knocks: Mutex<HashMap<String, Knock>>,
}

/// Lines of one kind about strangers in a minute.
const LINES_A_MINUTE: u32 = 30;

/// Each holds a thread while its client reads.
const TRANSFERS_OUT: Bounds = Bounds {
    all: 64,
    of_one: 16,
    aside: 32,
    aside_of_one: 8,
};

/// Transfers out that wait or run; more are refused.
const WAITING_OUT: usize = 4096;

/// What is needed to make a [`Live`].
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) config_path: Option<PathBuf>,
    pub(crate) core: CoreHandle,
    pub(crate) store: Store,
    pub(crate) key: Arc<SiteKey>,
    pub(crate) keys: Keys,
    pub(crate) mesh: Option<(Name, Name)>,
    pub(crate) loud: Option<String>,
    /// When something was stored last before this start.
    pub(crate) last_change: Option<Timestamp>,
}

impl Live {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let (events, _) = broadcast::channel(1024);
        let listen = &parts.config.listen;
        let pool = Pool::new(listen.tls.iter().chain(&listen.quic));
        Arc::new(Self {
            name: parts.config.site.name.clone(),
            data_dir: parts.config.site.data_dir.clone(),
            config_path: parts.config_path,
            config_at_start: parts.config.clone(),
            config: ArcSwap::new(parts.config),
            zone_files: ZoneFiles::default(),
            core: parts.core,
            store: parts.store,
            shared: Arc::new(Shared::new()),
            pool,
            mesh: parts.mesh,
            directory: ArcSwap::from_pointee(None),
            brought: Brought::default(),
            keys: ArcSwap::from_pointee(parts.keys),
            replays: Mutex::new(ReplayGuard::new(parts.last_change, Timestamp::now())),
            loud: ArcSwap::from_pointee(parts.loud),
            store_error: ArcSwap::from_pointee(None),
            yielded: ArcSwap::from_pointee(BTreeMap::new()),
            progress: Progress::new(),
            key: ArcSwap::new(parts.key),
            journal: Journal::default(),
            listeners: Listeners::default(),
            key_roll: tokio::sync::Mutex::new(()),
            cookies: CookieSecrets {
                current: super::random::bytes(),
                previous: None,
            },
            joins: tokio::sync::Mutex::new(()),
            refused_busy: AtomicU64::new(0),
            asked: Default::default(),
            transfers: Transfers::default(),
            transfers_out: Gate::new(TRANSFERS_OUT),
            waiting_out: Arc::new(Semaphore::new(WAITING_OUT)),
            started: AtomicBool::new(false),
            answers: watch::Sender::new(false),
            peers: watch::Sender::new(None),
            events,
            lines: Mutex::new(HashMap::new()),
            knocks: Mutex::new(HashMap::new()),
        })
    }

    /// Tells those who watch, and the log.
    pub(crate) fn tell(&self, what: What) {
        let Subject { zone, peer, serial } = Subject::of(&what);
        match &what {
            What::Warning { .. } | What::PeerLost { .. } | What::Held { .. } => {
                tracing::warn!(zone, peer, serial, "{what}")
            }
            _ => tracing::info!(zone, peer, serial, "{what}"),
        }
        // Nobody may be watching; the log has it all the same.
        let _ = self.events.send(Event {
            at: Timestamp::now(),
            site: self.name.clone(),
            what,
        });
    }

    /// Sites to ask before the directory is known, from the welcome packet.
    pub(crate) fn bootstrap(&self) -> Vec<Site> {
        super::join::bootstrap(&self.store).unwrap_or_else(|error| {
            tracing::error!(
                error = super::pool::chain(error.as_ref()),
                "the sites of the welcome packet cannot be read"
            );
            Vec::new()
        })
    }

    /// Something that was written here was set aside.
    pub(crate) fn has_yielded(&self, id: String, apex: Name) {
        self.yielded.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(id.clone(), apex.clone());
            all
        });
    }

    /// It was made again, or thrown away.
    pub(crate) fn yields_no_longer(&self, id: &str) {
        self.yielded.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(id);
            all
        });
    }

    /// Which signed updates have come. Held for as long as it takes to look one up.
    pub(crate) fn replays(&self) -> MutexGuard<'_, ReplayGuard> {
        // Nothing is left half done where this lock is held.
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the key of an invitation.
    pub(crate) fn add_key(&self, key: Key) {
        self.keys.rcu(|keys| {
            let mut keys = Keys::clone(keys);
            keys.insert(key.clone());
            keys
        });
    }

    /// Takes the keys of another configuration; those of invitations stay.
    pub(crate) async fn set_keys(&self, mut keys: Keys) -> Result<(), ReadError> {
        for key in invitation_keys(&self.store)? {
            keys.insert(key);
        }
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Shows another key from now on, to peers and on the listeners.
    pub(crate) async fn use_key(&self, key: Arc<SiteKey>) -> anyhow::Result<()> {
        self.key.store(key.clone());
        self.pool.set_key(&key);
        let config = self.config.load_full();
        self.listeners.use_key(&key, &config)?;
        let core = super::settings::core(&self.config.load(), &key, self.bootstrap())?;
        self.core.configure(core).await?;
        Ok(())
    }

    /// What happens from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Whether a line about what strangers do may be logged now: so many a minute of each kind, lest they fill the log. The
    /// last one before the silence says so.
    pub(crate) fn may_log(&self, kind: &'static str) -> bool {
        let Ok(mut lines) = self.lines.lock() else {
            return false;
        };
        let minute = Timestamp::now().as_second() / 60;
        let (since, count) = lines.entry(kind).or_insert((minute, 0));
        if *since != minute {
            (*since, *count) = (minute, 0);
        }
        *count += 1;
        if *count == LINES_A_MINUTE {
            tracing::warn!(kind, "more of these within this minute are not logged");
        }
        *count < LINES_A_MINUTE
    }

    /// A removed site tried its old key. Told once an hour for each; the status has it while it goes on.
    pub(crate) fn knocked(&self, site: &str, from: std::net::IpAddr) {
        let now = Timestamp::now();
        let Ok(mut knocks) = self.knocks.lock() else {
            return;
        };
        let knock = knocks.entry(site.to_owned()).or_insert(Knock {
            from,
            last: now,
            told: None,
            count: 0,
        });
        (knock.from, knock.last) = (from, now);
        knock.count += 1;
        let told = knock.told.filter(|told| now.duration_since(*told) < KNOCK);
        knock.told = told.or(Some(now));
        drop(knocks);
        if told.is_none() {
            self.tell(What::Warning {
                zone: None,
                peer: Some(site.to_owned()),
                message: format!("the removed site {site} is knocking with its old key from {from}, and is refused; destroy its disk, or invite it anew"),
            });
        }
    }

    /// Removed sites that have knocked within the last minutes, and how often all of them have since the start.
    pub(crate) fn knocks(&self) -> (Vec<(String, Knock)>, u64) {
        let Ok(knocks) = self.knocks.lock() else {
            return (Vec::new(), 0);
        };
        let now = Timestamp::now();
        let recent = knocks
            .iter()
            .filter(|(_, knock)| now.duration_since(knock.last) < KNOCKING);
        let recent = recent.map(|(site, knock)| (site.clone(), knock.clone()));
        (
            recent.collect(),
            knocks.values().map(|knock| knock.count).sum(),
        )
    }
}

/// What a site asks its peers for.
pub(crate) const ASKED: [&str; 6] = [
    "probe", "transfer", "notify", "announce", "compare", "serial",
];

/// After which a removed site that knocks is told of again.
const KNOCK: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// For how long one that knocked is shown: one that runs knocks every few seconds to minutes. One that ran when it was removed knocks
/// too, until it is stopped.
const KNOCKING: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// A removed site that knocks.
#[derive(Clone, Debug)]
pub(crate) struct Knock {
    /// From where, the last time.
    pub(crate) from: std::net::IpAddr,
    /// When, the last time.
    pub(crate) last: Timestamp,
    /// How often since the start.
    pub(crate) count: u64,
    told: Option<Timestamp>,
}

/// What an event is about, for the log.
#[derive(Default)]
struct Subject<'w> {
    zone: Option<&'w str>,
    peer: Option<&'w str>,
    serial: Option<u32>,
}

impl<'w> Subject<'w> {
    fn of(what: &'w What) -> Self {
        let zone = |zone: &'w str| Self {
            zone: Some(zone),
            ..Self::default()
        };
        let peer = |peer: &'w str| Self {
            peer: Some(peer),
            ..Self::default()
        };
        match what {
            What::ZoneLearnt {
                zone: name,
                primary,
                serial,
            } => Self {
                peer: primary.as_deref(),
                serial: *serial,
                ..zone(name)
            },
            What::Published {
                zone: name,
                serial,
                from,
            } => Self {
                peer: from.as_deref(),
                serial: Some(*serial),
                ..zone(name)
            },
            What::ServedEverywhere {
                zone: name, serial, ..
            } => Self {
                serial: Some(*serial),
                ..zone(name)
            },
            What::ZoneRemoved { zone: name } => zone(name),
            What::SiteJoined { name } | What::SiteLeft { name } | What::SiteChanged { name } => {
                peer(name)
            }
            What::PeerLost { peer: name, .. } => peer(name),
            What::Warning { zone, peer, .. } => Self {
                zone: zone.as_deref(),
                peer: peer.as_deref(),
                serial: None,
            },
            _ => Self::default(),
        }
    }
}

/// The keys of all invitations: also those that are used or over, so that their holders are told so.
pub(crate) fn invitation_keys(store: &Store) -> Result<Vec<Key>, ReadError> {
    let mut keys = Vec::new();
    for (name, value) in store.list(super::membership::INVITATIONS)? {
        let key = serde_json::from_slice::<zonemesh_mesh::invite::Token>(&value)
            .map_err(|error| error.to_string())
            .and_then(|token| {
                super::membership::key_of(&token.key_name, &token.key)
                    .map_err(|error| error.to_string())
            });
        match key {
            Ok(key) => keys.push(key),
            Err(error) => tracing::error!(
                name,
                error,
                "an invitation cannot be read, and is not accepted"
            ),
        }
    }
    Ok(keys)
}

/// The last differences of each zone, in memory, so that an IXFR needs no disk.
#[derive(Default)]
pub(crate) struct Journal {
    zones: RwLock<HashMap<Name, Vec<Diff>>>,
}

/// How many octets of differences are kept in memory for each zone; older ones are read from the store.
const JOURNAL_OCTETS: usize = 256 * 1024;

impl Journal {
    /// Adds what led to the version that is served now; nothing means that it replaced everything.
    pub(crate) fn push(&self, apex: &Name, diffs: &[Diff]) {
        let Ok(mut zones) = self.zones.write() else {
            return;
        };
        if diffs.is_empty() {
            zones.remove(apex);
            return;
        }
        let kept = zones.entry(apex.clone()).or_default();
        // A version that came whole in between has broken the chain.
        let end = kept.last().and_then(Diff::serials).map(|(_, end)| end);
        let start = diffs
            .first()
            .and_then(Diff::serials)
            .map(|(start, _)| start);
        if end != start {
            kept.clear();
        }
        kept.extend_from_slice(diffs);
        let mut octets = 0;
        let keep = kept.iter().rev().take_while(|diff| {
            octets += diff.wire_len();
            octets <= JOURNAL_OCTETS
        });
        let surplus = kept.len() - keep.count();
        kept.drain(..surplus);
    }

    /// Forgets a zone.
    pub(crate) fn remove(&self, apex: &Name) {
        if let Ok(mut zones) = self.zones.write() {
            zones.remove(apex);
        }
    }

    /// The chain of differences between two serials.
    pub(crate) fn since(&self, apex: &Name, from: Serial, to: Serial) -> Option<Vec<Diff>> {
        let zones = self.zones.read().ok()?;
        let diffs = zones.get(apex)?;
        let first = diffs
            .iter()
            .position(|diff| diff.serials().is_some_and(|(start, _)| start == from))?;
        let last = diffs
            .iter()
            .position(|diff| diff.serials().is_some_and(|(_, end)| end == to))?;
        (first <= last).then(|| diffs[first..=last].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zonemesh_zone::{Editor, Record};

    fn zone(serial: u32) -> zonemesh_zone::Zone {
        let apex = zonemesh_zone::record::parse_name("example").unwrap();
        let mut editor = Editor::new(apex.clone());
        for line in [
            format!("@ 60 IN SOA ns root {serial} 1 2 3 4"),
            "@ 60 IN NS ns".to_owned(),
            format!("a 60 IN TXT {serial}"),
        ] {
            editor
                .add(Record::from_text(&line, &apex).unwrap())
                .unwrap();
        }
        editor.finish().unwrap()
    }

    #[test]
    fn differences_do_not_chain_over_a_version_that_came_whole() {
        let apex = zone(1).apex().clone();
        let journal = Journal::default();
        journal.push(&apex, &[zone(1).diff(&zone(2))]);
        journal.push(&apex, &[zone(2).diff(&zone(3))]);
        let chain = journal.since(&apex, Serial(1), Serial(3));
        assert_eq!(chain.map(|diffs| diffs.len()), Some(2));
        // Version 7 was transferred whole: nothing leads from 3 to it.
        journal.push(&apex, &[zone(7).diff(&zone(8))]);
        assert!(journal.since(&apex, Serial(1), Serial(8)).is_none());
        assert!(journal.since(&apex, Serial(7), Serial(8)).is_some());
    }
}
