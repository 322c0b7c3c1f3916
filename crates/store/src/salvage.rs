//! A store whose file is damaged: what of it can still be read, and a new one made of that.
//!
//! The database refuses a file when the checksum of any page does not match. Every value has a checksum of its own, so that
//! each can still be told to be what was stored; what cannot be read is named. The damaged file is never written to, and is
//! kept beside the new one.
//!
//! What must not happen is that something is missing and nobody notices: the rows of each table are counted against
//! the number that the table has by its own account, and the transactions against those that were acknowledged.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::Builder;
use zonemesh_zone::{Diff, Name, Serial, Zone};

use crate::batch::{Batch, Origin, ZoneState};
use crate::engine::Engine;
use crate::error::{CommitError, OpenError, ReadError};
use crate::file::sync_dir;
use crate::medium::{Backend, Medium};
use crate::place::{self, Notes};
use crate::plan::History;
use crate::store::{self, HistoryEntry, Store};
use crate::tables::Values;
use crate::writer::Writer;

/// What can be read of a damaged store.
#[derive(Debug)]
pub struct Salvage {
    dir: PathBuf,
    site: String,
    zones: Vec<Kept>,
    marks: BTreeMap<Name, Serial>,
    states: Vec<(Name, ZoneState)>,
    values: Values,
    lost: Vec<(Name, ReadError)>,
    /// Whether all but what is in `lost` is whole.
    complete: bool,
    /// How many transactions were acknowledged.
    count: u64,
}

/// A zone that is whole.
#[derive(Debug)]
struct Kept {
    newest: Zone,
    /// The oldest version of which it is known how it became the newest.
    oldest: Zone,
    steps: Vec<(HistoryEntry, Diff)>,
}

/// # Reading
impl Salvage {
    /// Reads what can be read; nothing is changed.
    ///
    /// # Errors
    ///
    /// When the directory is not fit for use, or belongs to another site.
    pub fn read(dir: &Path, site: &str) -> Result<Self, OpenError> {
        let lock = place::take(dir)?;
        let path = dir.join(place::DATABASE);
        let mut salvage = Self {
            dir: dir.to_owned(),
            site: site.to_owned(),
            zones: Vec::new(),
            marks: BTreeMap::new(),
            states: Vec::new(),
            values: Vec::new(),
            lost: Vec::new(),
            complete: false,
            count: lock.acknowledged().unwrap_or(0),
        };
        let opener = Box::new(move || {
            let file = File::open(&path)?;
            // Every page would be verified otherwise, and the file refused.
            Builder::new().create_with_backend(Backend(Arc::new(Overlay::new(file)?)))
        });
        let Ok(engine) = Engine::open(opener, None) else {
            return Ok(salvage);
        };
        let damaged = Store::over(Arc::new(engine));
        if let Some(found) = damaged.site_of()
            && found != site
        {
            return Err(OpenError::OtherSite {
                path: dir.to_owned(),
                found,
                asked: site.to_owned(),
            });
        }
        salvage.take(&damaged);
        Ok(salvage)
    }

    fn take(&mut self, damaged: &Store) {
        self.marks = damaged.high_waters().unwrap_or_default();
        let (values, all_values) = damaged.all_values();
        self.values = values;
        let names = damaged.zones();
        self.complete = names.is_ok()
            && all_values
            && damaged.is_all_there()
            && damaged.count().is_some_and(|count| count >= self.count);
        for apex in names.unwrap_or_default() {
            match damaged.load(&apex) {
                Ok(Some(stored)) => {
                    self.states.push((apex.clone(), stored.state));
                    self.marks.insert(apex.clone(), stored.high_water);
                    self.zones.push(with_history(damaged, &apex, stored.zone));
                }
                Ok(None) => self.complete = false,
                Err(error) => {
                    if let Ok(Some(state)) = damaged.state(&apex) {
                        self.states.push((apex.clone(), state));
                    }
                    self.lost.push((apex, error));
                }
            }
        }
    }

    /// The zones that are known to have been there and cannot be read.
    pub fn lost(&self) -> &[(Name, ReadError)] {
        &self.lost
    }

    /// The zones that are whole.
    pub fn whole(&self) -> impl Iterator<Item = &Name> {
        self.zones.iter().map(|kept| kept.newest.apex())
    }

    /// Whether all zones and values are whole, so that the damage was to nothing that counts.
    pub fn is_complete(&self) -> bool {
        self.complete && self.lost.is_empty()
    }

    /// Whether nothing is missing but the zones that are [`lost`](Self::lost): all values are whole, and no other zone was there.
    pub fn lacks_only_zones(&self) -> bool {
        self.complete
    }
}

/// A zone with what is left of its history.
fn with_history(damaged: &Store, apex: &Name, newest: Zone) -> Kept {
    let past = || {
        let entries = damaged.history(apex).ok()?;
        let first = entries.first()?.from;
        let oldest = damaged.version_at(apex, first).ok()??;
        let diffs = damaged.diffs_since(apex, first).ok()??;
        let fits = diffs.len() == entries.len();
        fits.then(|| (oldest, entries.into_iter().zip(diffs).collect()))
    };
    let (oldest, steps) = past().unwrap_or_else(|| (newest.clone(), Vec::new()));
    Kept {
        newest,
        oldest,
        steps,
    }
}

/// # Going on
impl Salvage {
    /// Puts a store with what was read in the place of the damaged one, which is kept; returns where. Zones that were removed and
    /// could be brought back are only there.
    ///
    /// # Errors
    ///
    /// When the disk refuses; the damaged store is where it was then.
    pub fn set_in_place(self) -> Result<PathBuf, OpenError> {
        let dir = self.dir.clone();
        let path = dir.join(place::DATABASE);
        let fresh = dir.join(FRESH);
        remove(&fresh)?;
        place::make_file(&fresh)?;
        let lost = self.what_is_lost();
        self.write(&fresh)?;
        let _lock = place::take(&dir)?;
        let aside = set_aside(&path)?;
        // Whoever asks later is told without it that nobody knows.
        let _unnoted = fs::write(note_of(&aside), lost);
        // From one moment to the next: there is always a store, the damaged one or this.
        fs::rename(&fresh, &path).map_err(place::io_error("replace", &path))?;
        sync_dir(&dir).map_err(place::io_error("flush data directory", &dir))?;
        Ok(aside)
    }

    fn what_is_lost(&self) -> String {
        let names: Vec<String> = self.lost.iter().map(|(apex, _)| apex.to_string()).collect();
        match (self.is_complete(), names.as_slice()) {
            (true, _) => "nothing that counts was lost".to_owned(),
            (false, []) if self.zones.is_empty() => "nothing of it could be read".to_owned(),
            (false, []) => "something of it could not be read, and it is not known what".to_owned(),
            (false, names) => format!("could not be read: {}", names.join(", ")),
        }
    }

    fn write(self, fresh: &Path) -> Result<(), OpenError> {
        let file = fresh.to_owned();
        let opener = Box::new(move || store::open_database(&file));
        let store = Store::start(
            opener,
            &self.dir,
            fresh.to_owned(),
            &self.site,
            History {
                max_bytes: Some(u64::MAX),
                ..History::default()
            },
            None,
            Writer::inline,
        )?;
        let failed = |error: CommitError| match error {
            CommitError::Full(source) | CommitError::ReadOnly(source) => {
                place::io_error("write", fresh)(source)
            }
            error => OpenError::Corrupt {
                path: fresh.to_owned(),
                what: error.to_string(),
            },
        };
        for kept in self.zones {
            kept.write(&store).map_err(failed)?;
        }
        let mut rest = Batch::new(jiff::Timestamp::UNIX_EPOCH);
        for (apex, serial) in &self.marks {
            rest = rest.high_water(apex, *serial);
        }
        for (apex, state) in &self.states {
            rest = rest.set_state(apex, state);
        }
        for (table, key, value) in &self.values {
            rest = rest.put(table, key, value);
        }
        store.commit(rest).map_err(failed)?;
        // What was acknowledged is in it, or is known to be lost: no later start need look for it.
        store.count_from(self.count).map_err(failed)
    }
}

impl Kept {
    fn write(self, store: &Store) -> Result<(), CommitError> {
        // The contents are what was stored, wherever they once came from.
        let whole = |zone: &Zone, at| {
            let from = "the damaged store".to_owned();
            Batch::new(at).replace(zone, Origin::Forced { from })
        };
        let at = self.steps.first().map(|(entry, _)| entry.at);
        let mut batches = vec![whole(&self.oldest, at.unwrap_or_default())];
        let mut zone = self.oldest;
        for (entry, diff) in self.steps {
            // A history that does not fit is given up; the contents are not.
            let Ok(next) = zone.apply(&diff) else { break };
            zone = next;
            batches.push(Batch::new(entry.at).append(&zone, &diff, entry.origin));
        }
        let done: Result<(), _> = store.commit_all(batches).into_iter().collect();
        if done.is_ok() && zone.same_contents(&self.newest) {
            return Ok(());
        }
        store.commit(whole(&self.newest, at.unwrap_or_default()))
    }
}

/// A damaged store that is kept aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where.
    pub path: PathBuf,
    /// What could not be read of it, in words, where that was noted.
    pub lost: Option<String>,
}

impl Damaged {
    /// Those of a data directory, by name.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn all(dir: &Path) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix(DAMAGED));
            if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
                let lost = fs::read_to_string(note_of(&path));
                all.push(Self {
                    lost: lost.ok(),
                    path,
                });
            }
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }
}

/// Where it is noted what could not be read of a damaged store.
fn note_of(damaged: &Path) -> PathBuf {
    let mut path = damaged.as_os_str().to_owned();
    path.push(".lost");
    path.into()
}

/// Gives the damaged file another name beside its own, so that nothing is lost if the power goes now.
fn set_aside(path: &Path) -> Result<PathBuf, OpenError> {
    for number in 1.. {
        let aside = path.with_file_name(format!("{DAMAGED}{number}"));
        match fs::hard_link(path, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(place::io_error("keep the damaged store as", &aside)(error)),
        }
    }
    // There are more numbers than files.
    Ok(path.to_owned())
}

fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(place::io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// A file that is only read; what is written on top of it is in memory. The database repairs what it opens.
#[derive(Debug)]
struct Overlay {
    file: File,
    state: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    len: u64,
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let blocks = HashMap::new();
        Ok(Self {
            file,
            state: Mutex::new(Written { len, blocks }),
        })
    }

    /// A block as it is in the file; zeros behind its end.
    fn original(&self, number: u64) -> io::Result<Box<[u8; BLOCK]>> {
        let mut block = Box::new([0; BLOCK]);
        let mut have = 0;
        while have < BLOCK {
            let at = number * BLOCK as u64 + have as u64;
            match self.file.read_at(&mut block[have..], at)? {
                0 => break,
                count => have += count,
            }
        }
        Ok(block)
    }
}

/// The pieces of a range: number of the block, where in it, and where in the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let count = (BLOCK - within).min(len - done);
        let piece = (at / BLOCK as u64, within, done, count);
        done += count;
        (count > 0).then_some(piece)
    })
}

impl Medium for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(out.len() as u64) > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at, count) in pieces(offset, out.len()) {
            let out = &mut out[at..at + count];
            match written.blocks.get(&number) {
                Some(block) => out.copy_from_slice(&block[within..within + count]),
                None => {
                    out.copy_from_slice(&self.original(number)?[within..within + count]);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (number, within, at, count) in pieces(offset, data.len()) {
            let block = match written.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => place.insert(self.original(number)?),
            };
            block[within..within + count].copy_from_slice(&data[at..at + count]);
        }
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.len = len;
        written
            .blocks
            .retain(|number, _| number * (BLOCK as u64) < len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn note(&self, _count: u64) {}

    fn noted(&self) -> Option<u64> {
        None
    }
}

impl Overlay {
    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        // Nothing is left half done where this lock is held that a reading of a damaged file could not have.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The new store, until it is in place.
const FRESH: &str = "store.redb.new";

/// The damaged one, with a number after it.
const DAMAGED: &str = "store.redb.damaged-";

/// What is kept of what was written, in octets.
const BLOCK: usize = 4096;
