//! The store: opening it, changing it, reading from it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::{Builder, Database, DatabaseError};

use zonemesh_zone::{Diff, Name, Serial, Zone};

use crate::batch::{Batch, Origin, ZoneState, zone_key};
use crate::codec::Damage;
use crate::engine::{Engine, Failure, Health, Opener};
use crate::error::{CommitError, EngineError, OpenError, ReadError};
use crate::format::Header;
use crate::medium::{Backend, Beside, Medium};
use crate::place::{self, Notes};
use crate::plan::{Histories, History, View};
use crate::reserve;
use crate::tables::{Reading, Values};
use crate::writer::Writer;

/// The store of one site. Cheap to clone, to be used from any thread; calls block on the disk.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Dropped in this order: what was submitted is written, the database closed.
struct Inner {
    writer: Writer,
    engine: Arc<Engine>,
}

/// A zone as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The contents.
    pub zone: Zone,
    /// What is known about its refresh.
    pub state: ZoneState,
    /// The greatest serial that this site or any peer has shown; never smaller than the zone's.
    pub high_water: Serial,
}

/// A difference in the history of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The serial that it starts from.
    pub from: Serial,
    /// The serial that it leads to.
    pub to: Serial,
    /// When it was stored.
    pub at: Timestamp,
    /// How many records it removes, the SOA not counted.
    pub removed: usize,
    /// How many records it adds, the SOA not counted.
    pub added: usize,
    /// Where it came from.
    pub origin: Origin,
}

/// The version that the history of a zone begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Its serial.
    pub serial: Serial,
    /// When it was stored.
    pub at: Timestamp,
    /// How many records it had.
    pub records: u64,
    /// Where it came from.
    pub origin: Origin,
}

/// A zone that was removed and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedZone {
    /// The zone.
    pub apex: Name,
    /// When it was removed.
    pub at: Timestamp,
    /// The serial that it had.
    pub serial: Serial,
}

/// # Opening
impl Store {
    /// Opens the store in a data directory, which is made where there is none, for the named site.
    ///
    /// # Errors
    ///
    /// When the directory is not fit for use, each reason a variant of its own; nothing has changed then.
    pub fn open(dir: &Path, site: &str) -> Result<Self, OpenError> {
        Self::open_with(dir, site, History::default())
    }

    /// Opens the store with other bounds of the history.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_with(dir: &Path, site: &str, history: History) -> Result<Self, OpenError> {
        let open = || {
            let lock = place::take(dir)?;
            let path = place::make_database(dir)?;
            let file = path.clone();
            let opener = Box::new(move || open_database(&file));
            let lock: Box<dyn Notes> = Box::new(lock);
            Self::start(opener, dir, path, site, history, Some(lock), Writer::start)
        };
        let mut opened = open();
        if opened.as_ref().is_err_and(OpenError::is_full) {
            // A full disk must not keep a site from starting: what is held back for this moment is enough for it.
            reserve::spend(dir);
            opened = open();
        }
        if opened.is_ok() {
            reserve::keep(dir);
        }
        opened
    }

    /// Forgets that the store in this directory has lost something, so that it opens as it is: for a site of which others have what
    /// it lacks.
    ///
    /// # Errors
    ///
    /// When somebody else has the directory.
    pub fn accept_loss(dir: &Path) -> Result<(), OpenError> {
        place::take(dir).map(|lock| lock.acknowledge(0))
    }

    /// Opens the store on a medium of any kind, with `path` as its name in messages: a seam for simulated disks. The caller
    /// sees to it that nobody else has the medium, and its own thread writes.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn on(medium: Arc<dyn Medium>, path: &Path, site: &str) -> Result<Self, OpenError> {
        let lock: Box<dyn Notes> = Box::new(Beside(Arc::clone(&medium)));
        let opener = Box::new(move || builder().create_with_backend(Backend(Arc::clone(&medium))));
        let history = History::default();
        let (dir, path) = (path, path.to_owned());
        Self::start(opener, dir, path, site, history, Some(lock), Writer::inline)
    }

    pub(crate) fn start(
        opener: Opener,
        dir: &Path,
        path: PathBuf,
        site: &str,
        history: History,
        lock: Option<Box<dyn Notes>>,
        writer: fn(Arc<Engine>, History) -> io::Result<Writer>,
    ) -> Result<Self, OpenError> {
        let failed = |error| open_error(error, &path);
        let engine = Arc::new(Engine::open(opener, lock).map_err(failed)?);
        admit(&engine, dir, &path, site)?;
        let writer = writer(Arc::clone(&engine), history).map_err(OpenError::Thread)?;
        Ok(Self {
            inner: Arc::new(Inner { writer, engine }),
        })
    }
}

/// # Closing
impl Store {
    /// Closes the store in order, whoever else still has it: waits for what is under way, and whatever is asked of it from now on
    /// is refused. A store that was not closed can lose all that it has when its file is damaged; one that was, what is damaged.
    pub fn close(&self) {
        self.inner.engine.close();
    }
}

/// # Reading what is damaged
impl Store {
    /// What an engine has, whatever it is.
    pub(crate) fn over(engine: Arc<Engine>) -> Self {
        let writer = Writer::over(Arc::clone(&engine));
        Self {
            inner: Arc::new(Inner { writer, engine }),
        }
    }

    /// The site that the store belongs to, if that can be read.
    pub(crate) fn site_of(&self) -> Option<String> {
        let read = |tables: &Reading| tables.meta("site").map_err(ReadError::from);
        let octets = self.inner.engine.read(read).ok()??;
        String::from_utf8(octets).ok()
    }

    /// How many transactions were ever made, if that can be read.
    pub(crate) fn count(&self) -> Option<u64> {
        let read = |tables: &Reading| tables.count().map_err(ReadError::from);
        self.inner.engine.read(read).ok()
    }

    /// Counts on from this number, or from the store's own if that is greater.
    pub(crate) fn count_from(&self, least: u64) -> Result<(), CommitError> {
        self.inner.engine.write(|tables| {
            let count = tables.count()?.max(least);
            Ok(tables.set_count(count)?)
        })
    }

    /// Whether each table has as many rows as it should have.
    pub(crate) fn is_all_there(&self) -> bool {
        self.inner
            .engine
            .read(Reading::is_all_there)
            .unwrap_or(false)
    }

    /// All values of the small tables that can be read: table, key, value; and whether that is all.
    pub(crate) fn all_values(&self) -> (Values, bool) {
        self.inner
            .engine
            .read(Reading::all_values)
            .unwrap_or_default()
    }
}

/// # Changing
impl Store {
    /// Makes a batch durable: it is on the disk when this returns, all of it. Batches from several threads share a
    /// flush.
    ///
    /// # Errors
    ///
    /// When the batch is refused or the disk fails; nothing of it is stored then.
    pub fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut answers = self.inner.writer.commit(vec![batch]);
        answers
            .pop()
            .unwrap_or(Err(CommitError::Engine(EngineError::Closed)))
    }

    /// Makes batches durable with one flush, each whole or not at all: all that were not refused are on the disk when this
    /// returns. They are made in this order, each on the outcome of those before; there is an answer for each.
    pub fn commit_all(&self, batches: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        if batches.iter().all(Batch::is_empty) {
            return batches.iter().map(|_| Ok(())).collect();
        }
        self.inner.writer.commit(batches)
    }

    /// Keeps so much of the past from now on; what is more is forgotten with the next change of each zone, what is too old by
    /// [`Forgetting`](crate::Forgetting) too.
    pub fn set_histories(&self, histories: Histories) {
        self.inner.writer.set_histories(histories);
    }

    /// How much of the past is kept.
    pub(crate) fn histories(&self) -> Arc<Histories> {
        self.inner.writer.histories()
    }

    /// Forgets for good the zones that were removed before this time, and returns them. Their high-water marks stay.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub fn purge_removed(&self, before: Timestamp) -> Result<Vec<RemovedZone>, CommitError> {
        let mut all = self.inner.engine.read(Reading::all_removed)?;
        all.retain(|retired| retired.at < before);
        let batch = all.iter().fold(Batch::new(before), |batch, retired| {
            batch.purge(&retired.header.apex, retired.header.id)
        });
        self.commit(batch)?;
        Ok(all.into_iter().map(RemovedZone::from).collect())
    }

    /// How many transactions were flushed to the disk since the store was opened.
    pub fn transactions(&self) -> u64 {
        self.inner.engine.transactions()
    }
}

/// # Reading
impl Store {
    /// The names of all zones in canonical order, also of those whose contents turn out to be damaged.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn zones(&self) -> Result<Vec<Name>, ReadError> {
        self.inner.engine.read(Reading::zones)
    }

    /// Loads a zone; `None` when there is none of this name.
    ///
    /// # Errors
    ///
    /// When the zone is damaged or the database fails.
    pub fn load(&self, apex: &Name) -> Result<Option<Stored>, ReadError> {
        self.on_zone(apex, |tables, key, header| {
            let zone = tables.contents(header)?;
            let high_water = tables.high_water(key, apex)?.unwrap_or(header.serial);
            Ok(Stored {
                zone,
                state: state_of(tables, key, apex)?.unwrap_or_default(),
                high_water,
            })
        })
    }

    /// The state of a zone, which need not have contents yet.
    ///
    /// # Errors
    ///
    /// When the state is damaged or the database fails.
    pub fn state(&self, apex: &Name) -> Result<Option<ZoneState>, ReadError> {
        let key = zone_key(apex);
        self.inner
            .engine
            .read(|tables| state_of(tables, &key, apex))
    }

    /// The greatest serial that this site or any peer has shown for a zone, which need not exist any more.
    ///
    /// # Errors
    ///
    /// When the mark is damaged or the database fails.
    pub fn high_water(&self, apex: &Name) -> Result<Option<Serial>, ReadError> {
        let key = zone_key(apex);
        self.inner
            .engine
            .read(|tables| tables.high_water(&key, apex))
    }

    /// The greatest serials of all zones that exist or once did. One that is damaged is left out.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn high_waters(&self) -> Result<BTreeMap<Name, Serial>, ReadError> {
        self.inner.engine.read(|tables| tables.marks())
    }

    /// The differences that lead from a serial to the stored version, the oldest first: none when it is the serial of
    /// the stored version, `None` when the history does not reach back to it or there is no such zone.
    ///
    /// # Errors
    ///
    /// When the history is damaged or the database fails.
    pub fn diffs_since(&self, apex: &Name, from: Serial) -> Result<Option<Vec<Diff>>, ReadError> {
        let found = self.on_zone(apex, |tables, _, header| {
            let Some(first) = entry_from(tables, header, from)? else {
                return Ok(None);
            };
            (first..header.next_seq)
                .map(|seq| Ok(tables.entry(header, seq)?.1))
                .collect::<Result<Vec<_>, _>>()
                .map(Some)
        })?;
        Ok(found.flatten())
    }

    /// The history of a zone, the oldest difference first; empty when there is no such zone.
    ///
    /// # Errors
    ///
    /// When the history is damaged or the database fails.
    pub fn history(&self, apex: &Name) -> Result<Vec<HistoryEntry>, ReadError> {
        let found = self.on_zone(apex, |tables, _, header| {
            (header.first_seq..header.next_seq)
                .map(|seq| {
                    let head = tables.entry_head(header, seq)?;
                    Ok(HistoryEntry {
                        from: head.from,
                        to: head.to,
                        at: head.at,
                        removed: head.removed.saturating_sub(1),
                        added: head.added.saturating_sub(1),
                        origin: head.origin,
                    })
                })
                .collect()
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The version that the history of a zone begins with; `None` when it reaches back to that no longer, or was begun by an older
    /// version of this program, which kept nothing of it.
    ///
    /// # Errors
    ///
    /// When the zone is damaged or the database fails.
    pub fn beginning(&self, apex: &Name) -> Result<Option<Beginning>, ReadError> {
        let found = self.on_zone(apex, |tables, _, header| {
            let made = header.made.as_ref().filter(|_| header.first_seq == 0);
            let Some(made) = made else { return Ok(None) };
            let serial = match header.next_seq {
                0 => header.serial,
                _ => tables.entry_head(header, 0)?.from,
            };
            Ok(Some(Beginning {
                serial,
                at: made.at,
                records: made.records,
                origin: made.origin.clone(),
            }))
        })?;
        Ok(found.flatten())
    }

    /// An older version, or the stored one; `None` when the history does not reach back to it or there is no such zone.
    ///
    /// # Errors
    ///
    /// When the zone is damaged or the database fails.
    pub fn version_at(&self, apex: &Name, serial: Serial) -> Result<Option<Zone>, ReadError> {
        let found = self.on_zone(apex, |tables, _, header| {
            let Some(first) = entry_from(tables, header, serial)? else {
                return Ok(None);
            };
            let mut zone = tables.contents(header)?;
            for seq in (first..header.next_seq).rev() {
                let (_, diff) = tables.entry(header, seq)?;
                let back = Diff {
                    removed: diff.added,
                    added: diff.removed,
                };
                zone = zone.apply(&back).map_err(|error| {
                    Damage::new(format!("entry {seq} of the journal does not fit: {error}"))
                        .of(apex)
                })?;
            }
            Ok(Some(zone))
        })?;
        Ok(found.flatten())
    }

    /// The zones that were removed and can be brought back; the same name more than once if it was removed more than
    /// once.
    ///
    /// # Errors
    ///
    /// When the list is damaged or the database fails.
    pub fn removed(&self) -> Result<Vec<RemovedZone>, ReadError> {
        let all = self.inner.engine.read(Reading::all_removed)?;
        Ok(all.into_iter().map(RemovedZone::from).collect())
    }

    /// A value of a small table.
    ///
    /// # Errors
    ///
    /// When the value is damaged or the database fails.
    pub fn get(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.inner.engine.read(|tables| tables.value(table, key))
    }

    /// All keys and values of a small table, in the order of the keys.
    ///
    /// # Errors
    ///
    /// When a value is damaged or the database fails.
    pub fn list(&self, table: &str) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        self.inner.engine.read(|tables| tables.values(table))
    }

    /// Reads from one consistent state.
    pub(crate) fn reading<T>(
        &self,
        read: impl Fn(&Reading) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.inner.engine.read(read)
    }

    /// Reads something of a zone that exists.
    fn on_zone<T>(
        &self,
        apex: &Name,
        read: impl Fn(&Reading, &[u8], &Header) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let key = zone_key(apex);
        self.inner.engine.read(|tables| {
            tables
                .header(&key, apex)?
                .map(|header| read(tables, &key, &header))
                .transpose()
        })
    }
}

impl From<crate::format::Retired> for RemovedZone {
    fn from(retired: crate::format::Retired) -> Self {
        Self {
            apex: retired.header.apex,
            at: retired.at,
            serial: retired.header.serial,
        }
    }
}

/// Opens the file of the database. Every page is verified, which costs one reading of the file: a zone is loaded at the
/// start anyway, and an unverified page can make the database panic.
pub(crate) fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    builder().create(path)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    builder
}

/// Refuses a store of another format or site or one that lost something, and marks a new one. What is refused is not
/// changed.
fn admit(engine: &Engine, dir: &Path, path: &Path, site: &str) -> Result<(), OpenError> {
    let acknowledged = engine.acknowledged().unwrap_or(0);
    let admitted = engine.write(|tables| {
        if tables.is_new()? && acknowledged > 0 {
            return Err(Refused::Open(OpenError::Lost {
                path: path.to_owned(),
                missing: acknowledged,
            }));
        }
        if tables.is_new()? {
            tables.put_meta("format", FORMAT.to_be_bytes().to_vec())?;
            tables.put_meta("site", site.as_bytes().to_vec())?;
            return Ok(());
        }
        let corrupt = |what: &str| OpenError::Corrupt {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let format = tables
            .meta("format")?
            .and_then(|octets| <[u8; 4]>::try_from(octets).ok())
            .map(u32::from_be_bytes)
            .ok_or_else(|| corrupt("it does not say which format it has"))?;
        if format > FORMAT {
            return Err(Refused::Open(OpenError::Newer {
                path: dir.to_owned(),
                found: format,
                known: FORMAT,
            }));
        }
        let found = tables
            .meta("site")?
            .and_then(|octets| String::from_utf8(octets).ok())
            .ok_or_else(|| corrupt("it does not say to which site it belongs"))?;
        if found != site {
            return Err(Refused::Open(OpenError::OtherSite {
                path: dir.to_owned(),
                found,
                asked: site.to_owned(),
            }));
        }
        match acknowledged.saturating_sub(tables.count()?) {
            0 => Ok(()),
            missing => Err(Refused::Open(OpenError::Lost {
                path: path.to_owned(),
                missing,
            })),
        }
    });
    admitted.map_err(|refused| match refused {
        Refused::Open(error) => error,
        Refused::Engine(error) => open_error(error, path),
    })
}

/// Why a database is not taken.
enum Refused {
    Open(OpenError),
    Engine(EngineError),
}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Failure for Refused {
    fn health(&self) -> Health {
        match self {
            Self::Open(_) => Health::Good,
            Self::Engine(error) => error.health(),
        }
    }
}

fn open_error(error: EngineError, path: &Path) -> OpenError {
    match error {
        // Not a database at all, or one that ends too early.
        EngineError::Io(source)
            if matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Corrupt {
                path: path.to_owned(),
                what: source.to_string(),
            }
        }
        EngineError::Io(source) => place::io_error("open", path)(source),
        EngineError::Corrupt(what) => OpenError::Corrupt {
            path: path.to_owned(),
            what,
        },
        error => OpenError::Corrupt {
            path: path.to_owned(),
            what: error.to_string(),
        },
    }
}

/// The place in the journal from where the differences lead from a serial to the stored version.
fn entry_from(tables: &Reading, header: &Header, serial: Serial) -> Result<Option<u64>, ReadError> {
    if serial == header.serial {
        return Ok(Some(header.next_seq));
    }
    // From the newest on: the same serial may be there twice after a forced transfer or half a turn of the serials.
    for seq in (header.first_seq..header.next_seq).rev() {
        if tables.entry_head(header, seq)?.from == serial {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

fn state_of(tables: &Reading, key: &[u8], apex: &Name) -> Result<Option<ZoneState>, ReadError> {
    let Some(stored) = tables.state(key, apex)? else {
        return Ok(None);
    };
    serde_json::from_slice(&stored)
        .map(Some)
        .map_err(|error| Damage::new(format!("its state is not readable: {error}")).of(apex))
}

/// The format of the data directory that this code writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Memory for pages of the database, in octets. Zones are served from memory of their own, so that a page is rarely
/// read twice; what a large transaction has changed has to fit, or is written early.
const CACHE: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests;
