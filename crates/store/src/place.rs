//! The data directory: on a disk that can be relied upon, and in the hands of one process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};

use crate::error::OpenError;
use crate::file::sync_dir;

/// The database's name in the data directory.
pub const DATABASE: &str = "store.redb";

/// Holds the data directory; released when dropped.
///
/// The file says which process holds it, and how many transactions were acknowledged so far. The latter is written
/// without a flush after each transaction: it can be too small after a loss of power, but never too large. When the
/// database has fewer, it went back to before something that was acknowledged, because of damage that looks like an
/// unfinished transaction or because it was replaced by an older copy.
pub(crate) struct Lock {
    /// The lock is on the open file, so that it ends with the process, however that ends.
    file: File,
}

/// What is kept beside the database, so that a loss of what was acknowledged is noticed.
pub(crate) trait Notes: Send + Sync {
    /// Notes that so many transactions were acknowledged.
    fn acknowledge(&self, count: u64);

    /// How many transactions were acknowledged at least; `None` when it is not known.
    fn acknowledged(&self) -> Option<u64>;
}

impl Notes for Lock {
    fn acknowledge(&self, count: u64) {
        let crc = crc32fast::hash(&count.to_le_bytes());
        let line = format!("{count:020} {crc:08x}\n");
        // What was acknowledged is durable in any case; without this note the loss of it could not be noticed.
        let _unnoted = self.file.write_all_at(line.as_bytes(), NOTE);
    }

    fn acknowledged(&self) -> Option<u64> {
        let mut line = [0; 29];
        self.file.read_exact_at(&mut line, NOTE).ok()?;
        let (count, crc) = std::str::from_utf8(&line).ok()?.split_once(' ')?;
        let count: u64 = count.parse().ok()?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        (crc == crc32fast::hash(&count.to_le_bytes())).then_some(count)
    }
}

/// Makes the data directory where there is none, refuses one that is on a network, and locks it.
pub(crate) fn take(dir: &Path) -> Result<Lock, OpenError> {
    make(dir).map_err(io_error("create data directory", dir))?;
    refuse_network(dir)?;
    lock(dir)
}

/// When the database in a data directory was last written; none when there is none. To be asked before it is opened, which
/// writes too.
pub fn last_change(dir: &Path) -> Option<jiff::Timestamp> {
    let written = fs::metadata(dir.join(DATABASE)).and_then(|database| database.modified());
    jiff::Timestamp::try_from(written.ok()?).ok()
}

/// Makes the file of the database where there is none, so that only its owner can read it: it holds tokens.
pub(crate) fn make_database(dir: &Path) -> Result<PathBuf, OpenError> {
    let path = dir.join(DATABASE);
    if make_file(&path)? {
        sync_dir(dir).map_err(io_error("flush data directory", dir))?;
    }
    Ok(path)
}

/// Makes a file that only its owner can read; false where there is one.
pub(crate) fn make_file(path: &Path) -> Result<bool, OpenError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error("create", path)(error)),
    }
}

fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn refuse_network(dir: &Path) -> Result<(), OpenError> {
    let found = statfs(dir).map_err(|error| io_error("look at the disk of", dir)(error.into()))?;
    // The magic number is 32 bits wide; on some platforms the field is signed or wider.
    let magic = found.f_type as u64 as u32;
    let mounted = match magic {
        FUSE => mounted_type(dir),
        _ => None,
    };
    match network_kind(magic, mounted.as_deref()) {
        Some(kind) => Err(OpenError::Network {
            path: dir.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

/// The kind of network file system, if it is one.
fn network_kind(magic: u32, mounted: Option<&str>) -> Option<String> {
    if magic == FUSE {
        let kind = mounted?.strip_prefix("fuse.")?;
        return NETWORK_FUSE.contains(&kind).then(|| kind.to_owned());
    }
    let (_, kind) = NETWORK.iter().find(|(number, _)| *number == magic)?;
    Some((*kind).to_owned())
}

/// The type under which the file system of a directory is mounted.
fn mounted_type(dir: &Path) -> Option<String> {
    let device = fs::metadata(dir).ok()?.dev();
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    type_of_device(&fs::read_to_string("/proc/self/mountinfo").ok()?, &device)
}

/// Looks up a device, `major:minor`, in the kernel's list of mounts (proc_pid_mountinfo(5)).
fn type_of_device(mounts: &str, device: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        (mount.split(' ').nth(2)? == device).then(|| source.split(' ').next().map(str::to_owned))?
    })
}

fn lock(dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Who holds it is said when it can be read, and not otherwise.
            let _unread = file.read_to_string(&mut text);
            return Err(OpenError::Locked {
                path: dir.to_owned(),
                pid: text
                    .lines()
                    .next()
                    .and_then(|line| line.trim().parse().ok()),
            });
        }
        Err(error) => return Err(io_error("lock", &path)(error.into())),
    }
    // A full disk must not keep a site from starting: the number is for people, the lock is what counts.
    let line = format!("{:<31}\n", std::process::id());
    let _unwritten = file.write_all_at(line.as_bytes(), 0);
    Ok(Lock { file })
}

/// Says what was tried, and where.
pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        doing,
        path,
        source,
    }
}

/// Where in the file of the lock the number of transactions stands: behind the line with the process.
const NOTE: u64 = 32;

const FUSE: u32 = 0x6573_5546;

/// Magic numbers of network file systems, from statfs(2) and linux/magic.h.
const NETWORK: [(u32, &str); 16] = [
    (0x0000_6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0000_517B, "SMB"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9p"),
    (0x7375_7245, "Coda"),
    (0x0000_564C, "NCP"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x1983_0326, "FhGFS"),
    (0xAAD7_AAEA, "PanFS"),
];

/// File systems in user space that keep their files elsewhere, by the type under which they are mounted.
const NETWORK_FUSE: [&str; 12] = [
    "sshfs",
    "rclone",
    "s3fs",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "gcsfuse",
    "curlftpfs",
    "davfs",
    "juicefs",
    "moosefs",
    "seaweedfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(network_kind(0x6969, None).as_deref(), Some("NFS"));
        assert_eq!(network_kind(0xFF53_4D42, None).as_deref(), Some("CIFS"));
        assert_eq!(
            network_kind(FUSE, Some("fuse.sshfs")).as_deref(),
            Some("sshfs")
        );
        // ext4, tmpfs, btrfs, xfs, zfs, overlay.
        for local in [
            0xEF53,
            0x0102_1994,
            0x9123_683E,
            0x5846_5342,
            0x2FC1_2FC1,
            0x794C_7630,
        ] {
            assert_eq!(network_kind(local, None), None);
        }
        assert_eq!(network_kind(FUSE, Some("fuseblk")), None);
        assert_eq!(network_kind(FUSE, Some("fuse.ntfs-3g")), None);
        assert_eq!(network_kind(FUSE, None), None);
    }

    #[test]
    fn the_type_of_a_mount_is_found_by_its_device() {
        let mounts = "36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw\n\
                      40 36 0:52 / /mnt/my\\040disk rw shared:2 - fuse.sshfs host:/x rw,user_id=0\n";
        assert_eq!(
            type_of_device(mounts, "0:52").as_deref(),
            Some("fuse.sshfs")
        );
        assert_eq!(type_of_device(mounts, "98:0").as_deref(), Some("ext4"));
        assert_eq!(type_of_device(mounts, "0:5"), None);
    }
}
