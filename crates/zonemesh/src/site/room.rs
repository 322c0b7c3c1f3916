//! How much room is left on the file system of the data directory, so that it is told of before the disk is full.
//!
//! Little is what is little both by itself and beside the whole: a tenth of a large disk lasts for years, and a small disk may
//! be meant to be small. Nothing is done about it here: a site with a full disk answers on, and takes no changes.

use std::io;
use std::path::Path;

/// What is left, and of how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that the site may still write.
    pub(crate) free: u64,
    pub(crate) size: u64,
    /// Files that may still be made; of none where the file system does not count them.
    pub(crate) free_inodes: u64,
    pub(crate) inodes: u64,
}

/// How little is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Short {
    /// Time to make room.
    Filling,
    /// Changes will be refused soon.
    NearlyFull,
}

const MIB: u64 = 1 << 20;

/// From which share on, in percent, and from how many bytes and inodes on.
const LIMITS: [(Short, u64, u64, u64); 2] = [
    (Short::NearlyFull, 3, 128 * MIB, 1_000),
    (Short::Filling, 10, 1024 * MIB, 10_000),
];

impl Room {
    /// Looks; may hang with the disk.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Self {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            size: found.f_blocks.saturating_mul(found.f_frsize),
            free_inodes: found.f_favail,
            inodes: found.f_files,
        })
    }

    /// Whether it is little, and of what.
    pub(crate) fn short(&self) -> Option<(Short, String)> {
        LIMITS
            .into_iter()
            .find_map(|(short, percent, bytes, inodes)| {
                let little = |free: u64, of: u64, least: u64| {
                    of > 0
                        && free < least
                        && u128::from(free) * 100 < u128::from(of) * u128::from(percent)
                };
                let what = if little(self.free, self.size, bytes) {
                    let (free, size) = (self.free / MIB, self.size / MIB);
                    format!("{free} of {size} MiB are free")
                } else if little(self.free_inodes, self.inodes, inodes) {
                    format!("{} of {} inodes are free", self.free_inodes, self.inodes)
                } else {
                    return None;
                };
                Some((short, what))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(free: u64, size: u64) -> Option<Short> {
        let room = Room {
            free: free * MIB,
            size: size * MIB,
            ..Room::default()
        };
        room.short().map(|(short, _)| short)
    }

    #[test]
    fn little_is_little_by_itself_and_beside_the_whole() {
        assert_eq!(short(900, 4_000_000), Some(Short::Filling));
        assert_eq!(short(1_100, 4_000_000), None);
        assert_eq!(short(100, 4_000_000), Some(Short::NearlyFull));
        assert_eq!(short(16, 64), None);
        assert_eq!(short(6, 64), Some(Short::Filling));
        assert_eq!(short(1, 64), Some(Short::NearlyFull));
        assert_eq!(short(0, 64), Some(Short::NearlyFull));
        assert_eq!(short(0, 0), None, "a file system that does not say");
    }

    #[test]
    fn inodes_that_run_out_are_told_of_where_they_are_counted() {
        let room = |free_inodes, inodes| Room {
            free: 900_000 * MIB,
            size: 1_000_000 * MIB,
            free_inodes,
            inodes,
        };
        assert_eq!(room(0, 0).short(), None);
        assert_eq!(room(50_000, 1_000_000).short(), None);
        let (short, what) = room(999, 1_000_000).short().unwrap();
        assert_eq!(short, Short::NearlyFull);
        assert_eq!(what, "999 of 1000000 inodes are free");
    }

    #[test]
    fn the_room_of_a_folder_is_that_of_its_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(folder.path()).unwrap();
        assert!(room.size > 0 && room.free <= room.size, "{room:?}");
        assert!(Room::of(&folder.path().join("none")).is_err());
    }
}
