//! Space that is held back on the disk of the data directory, so that a store can be opened when there is none left.
//!
//! Opening writes: what an unclean end has left is put in order, and parts of the file may have no blocks yet. The
//! reserve is a file with blocks of its own that is given up for that, and made again from what is left over.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

/// Its name in the data directory.
const NAME: &str = "reserve";

/// How much is held back where there is room, in octets. Opening takes as much as the file grew by last, a few hundred
/// kilobytes in a store of usual size.
const SIZE: u64 = 1 << 20;

/// Less than this is not worth a file.
const LEAST: u64 = 1 << 16;

/// Holds space back, as much as there is: the reserve is a help, and nothing fails without it.
pub(crate) fn keep(dir: &Path) {
    let path = dir.join(NAME);
    let mut size = SIZE;
    while size >= LEAST && fill(&path, size).is_err() {
        size /= 2;
    }
}

fn fill(path: &Path, size: u64) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, size)?;
    file.sync_all()
}

/// Gives the space up.
pub(crate) fn spend(dir: &Path) {
    // Without it the next attempt fails as this one did, and says so.
    let _none_was_kept = fs::remove_file(dir.join(NAME));
}
