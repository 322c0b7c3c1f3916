//! A file on a simulated disk, with the memory of the operating system before it.
//!
//! What was written is read back at once, and is on the disk for sure only after a flush. When the power goes, each sector that
//! was written since the last flush has what it had then, or anything that was written to it meanwhile, each for itself; the
//! file may have its old length. When only the process dies, nothing is lost.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use zonemesh_store::Medium;

use super::*;

/// What a disk writes whole or not at all, in octets.
const SECTOR: usize = 512;

/// "No space left on device".
const ENOSPC: i32 = 28;
/// "Input/output error".
const EIO: i32 = 5;

/// A file. Cheap to clone: clones are the same file.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    state: Arc<Mutex<State>>,
}

/// The file as one process has it open.
#[derive(Debug)]
struct Opened {
    platter: Platter,
    /// Which process that is; what one that is dead still does has no effect.
    process: u64,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// What is read.
    octets: Vec<u8>,
    /// Of each sector that was written since the last flush, what it had before each write.
    before: BTreeMap<u64, Vec<Vec<u8>>>,
    /// How long the file was at the last flush.
    synced_len: usize,
    /// The number beside the file, and what it was at the last flush.
    note: Option<u64>,
    synced_note: Option<u64>,
    /// The process that has the file.
    process: u64,
    /// Whether nothing can be written.
    full: bool,
    /// How many more writes and flushes succeed before the power goes.
    left: Option<u64>,
}

impl Platter {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // A panic of the database is caught; it never holds this lock then.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the file for another process; the one before has it no longer.
    pub(super) fn open(&self) -> Arc<dyn Medium> {
        let process = self.release();
        let platter = self.clone();
        Arc::new(Opened { platter, process })
    }

    /// Takes the file from the process that has it.
    pub(super) fn release(&self) -> u64 {
        self.with(|state| {
            state.process += 1;
            state.process
        })
    }

    /// Lets all writes fail for want of space, or none.
    pub(super) fn set_full(&self, full: bool) {
        self.with(|state| state.full = full);
    }

    /// Lets the power go after so many more writes and flushes, or lets it stay.
    pub(super) fn fail_after(&self, operations: Option<u64>) {
        self.with(|state| state.left = operations);
    }

    /// Whether the power has gone as was asked for.
    pub(super) fn is_failing(&self) -> bool {
        self.with(|state| state.left == Some(0))
    }

    /// The same; true only once.
    pub(super) fn has_failed(&self) -> bool {
        self.with(|state| {
            let failed = state.left == Some(0);
            if failed {
                state.left = None;
            }
            failed
        })
    }

    /// The power goes: what was not flushed is there, or not, or by halves, as `draw` has it (a number below its argument).
    pub(super) fn lose_power(&self, mut draw: impl FnMut(u64) -> u64) {
        self.with(|state| {
            state.process += 1;
            state.left = None;
            // Now and then all or nothing; mostly a bit of everything.
            let mode = draw(4);
            for (sector, versions) in std::mem::take(&mut state.before) {
                let which = match mode {
                    0 => 0,
                    1 => versions.len(),
                    _ => draw(versions.len() as u64 + 1) as usize,
                };
                if let Some(version) = versions.get(which) {
                    let at = sector as usize * SECTOR;
                    let end = (at + version.len()).min(state.octets.len());
                    if at < end {
                        state.octets[at..end].copy_from_slice(&version[..end - at]);
                    }
                }
            }
            if state.octets.len() > state.synced_len && draw(2) == 0 {
                state.octets.truncate(state.synced_len);
            }
            if draw(2) == 0 {
                state.note = state.synced_note;
            }
            state.settle();
        });
    }

    /// Turns over one bit of what is there, where `draw` has it. Nothing where there is nothing.
    pub(super) fn flip_bit(&self, mut draw: impl FnMut(u64) -> u64) {
        self.with(|state| {
            let used = state.octets.iter().filter(|octet| **octet != 0).count();
            if used == 0 {
                return;
            }
            let which = draw(used as u64) as usize;
            let bit = draw(8);
            let mut octets = state.octets.iter_mut().filter(|octet| **octet != 0);
            if let Some(octet) = octets.nth(which) {
                *octet ^= 1 << bit;
            }
        });
    }

    /// Empties the file.
    pub(super) fn empty(&self) {
        self.with(|state| {
            *state = State {
                process: state.process + 1,
                full: state.full,
                ..State::default()
            };
        });
    }

    /// A copy of the file as it is now, on a disk of its own.
    pub(super) fn copy(&self) -> Self {
        let mut state = self.with(|state| state.clone());
        state.settle();
        state.full = false;
        state.left = None;
        let state = Arc::new(Mutex::new(state));
        Self { state }
    }

    /// Puts a copy in the place of what there is.
    pub(super) fn restore(&self, copy: &Self) {
        let copy = copy.with(|state| state.clone());
        self.with(|state| {
            *state = State {
                process: state.process + 1,
                full: state.full,
                ..copy
            };
        });
    }
}

impl State {
    /// All that is there is on the disk.
    fn settle(&mut self) {
        self.before.clear();
        self.synced_len = self.octets.len();
        self.synced_note = self.note;
    }

    /// Whether the file can be read at all by this process.
    fn reach(&self, process: u64) -> io::Result<()> {
        match self.process == process && self.left != Some(0) {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(EIO)),
        }
    }

    /// Whether it can be written.
    fn begin_write(&mut self, process: u64) -> io::Result<()> {
        self.reach(process)?;
        if self.full {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        self.count(process)
    }

    /// Counts an operation that the power may not last for.
    fn count(&mut self, process: u64) -> io::Result<()> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        self.reach(process)
    }

    /// Remembers what the sectors have that are about to change.
    fn remember(&mut self, from: usize, to: usize) {
        let end = to.min(self.octets.len());
        for sector in from / SECTOR..end.div_ceil(SECTOR) {
            let at = sector * SECTOR;
            let had = &self.octets[at..(at + SECTOR).min(self.octets.len())];
            self.before
                .entry(sector as u64)
                .or_default()
                .push(had.to_vec());
        }
    }
}

fn too_far() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "beyond the end of the simulated file",
    )
}

impl Medium for Opened {
    fn len(&self) -> io::Result<u64> {
        self.platter.with(|state| {
            state.reach(self.process)?;
            Ok(state.octets.len() as u64)
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.platter.with(|state| {
            state.reach(self.process)?;
            let from = usize::try_from(offset).map_err(io::Error::other)?;
            let there = state.octets.get(from..from + out.len());
            out.copy_from_slice(there.ok_or_else(too_far)?);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.platter.with(|state| {
            state.begin_write(self.process)?;
            let from = usize::try_from(offset).map_err(io::Error::other)?;
            let to = from + data.len();
            if to > state.octets.len() {
                state.octets.resize(to, 0);
            }
            state.remember(from, to);
            state.octets[from..to].copy_from_slice(data);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.platter.with(|state| {
            state.begin_write(self.process)?;
            let len = usize::try_from(len).map_err(io::Error::other)?;
            state.octets.resize(len, 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.platter.with(|state| {
            state.reach(self.process)?;
            state.count(self.process)?;
            state.settle();
            Ok(())
        })
    }

    fn note(&self, count: u64) {
        self.platter.with(|state| {
            if state.reach(self.process).is_ok() {
                state.note = Some(count);
            }
        });
    }

    fn noted(&self) -> Option<u64> {
        self.platter.with(|state| state.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(medium: &dyn Medium, at: u64) -> u8 {
        let mut out = [0];
        medium.read(at, &mut out).unwrap();
        out[0]
    }

    #[test]
    fn what_was_flushed_survives_and_of_the_rest_any_part_does() {
        let mut seen = BTreeSet::new();
        for seed in 0..200u64 {
            let platter = Platter::default();
            let medium = platter.open();
            medium.write(0, &[1; 2048]).unwrap();
            medium.sync().unwrap();
            medium.write(0, &[2; 1024]).unwrap();
            medium.write(512, &[3; 512]).unwrap();
            assert_eq!(read(&*medium, 600), 3, "it is read at once");
            let mut next = seed;
            platter.lose_power(|bound| {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (next >> 33) % bound
            });
            assert!(medium.len().is_err(), "whoever had it has it no longer");
            let medium = platter.open();
            assert_eq!(read(&*medium, 1024), 1);
            seen.insert((read(&*medium, 0), read(&*medium, 512)));
        }
        let all: Vec<(u8, u8)> = [1, 2]
            .into_iter()
            .flat_map(|one| [1, 2, 3].map(|other| (one, other)))
            .collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_process_that_dies_loses_nothing_that_it_wrote() {
        let platter = Platter::default();
        platter.open().write(0, &[7; 100]).unwrap();
        assert_eq!(read(&*platter.open(), 99), 7);
    }
}
