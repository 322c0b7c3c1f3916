//! What a store stands on, when that is not a directory: the seam for a simulated disk.
//!
//! The product opens a [`Store`](crate::Store) in a directory, which brings a lock and a check of the file system with it.
//! [`Store::on`](crate::Store::on) takes anything that behaves as a file does: what was written can be read at once, and is
//! sure to be there after a loss of power only when it was synced. Nothing else of the store is different, but that the caller's
//! own thread writes, so that a simulation stays in one.

use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};
use zonemesh_planted::{Bug, planted};

use crate::place::Notes;

/// A file, and a number beside it.
pub trait Medium: Debug + Send + Sync + 'static {
    /// How long the file is, in octets.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in the file.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads all of `out`, from this offset on.
    ///
    /// # Errors
    ///
    /// When the disk fails, or the file ends earlier.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data`, from this offset on.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes the file longer, with zeros, or shorter.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    ///
    /// When the disk fails; nobody knows then what is durable.
    fn sync(&self) -> io::Result<()>;

    /// Keeps how many transactions were acknowledged, without a flush.
    fn note(&self, count: u64);

    /// What was kept last, if anything.
    fn noted(&self) -> Option<u64>;
}

/// A medium as the database takes it.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Arc<dyn Medium>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if planted(Bug::FlushSkipped) {
            return Ok(());
        }
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    // Who has the medium has it alone.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

/// The note beside a medium.
pub(crate) struct Beside(pub(crate) Arc<dyn Medium>);

impl Notes for Beside {
    fn acknowledge(&self, count: u64) {
        self.0.note(count);
    }

    fn acknowledged(&self) -> Option<u64> {
        self.0.noted()
    }
}
