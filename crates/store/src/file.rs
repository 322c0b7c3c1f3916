//! Loose files, such as keys and configuration: the one way to write them, and the way to read secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a file was not written. The one that was there before is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("cannot {doing} {}", path.display())]
pub struct WriteError {
    /// What was tried.
    pub doing: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is no such file.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// Others than the owner may read or change it.
    #[error(
        "{} holds a secret but has mode {mode:04o}, so that others may read or change it; run `chmod 600 {}`, and \
         consider whether it is known already", path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The disk refuses.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Puts a file in the place of what there may be, durably: after a crash there is the old one or the new one, whole.
/// The mode is set when the file is made, so that at no time anyone can read it who may not.
///
/// # Errors
///
/// When the disk refuses; nothing has changed then.
pub fn write(path: &Path, octets: &[u8], mode: u32) -> Result<(), WriteError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let error = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| WriteError {
            doing,
            path,
            source,
        }
    };
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(mode))
        .make_in(dir, |path| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)
        })
        .map_err(error("create a file in", dir))?;
    file.write_all(octets).map_err(error("write", path))?;
    file.as_file().sync_all().map_err(error("flush", path))?;
    file.persist(path)
        .map_err(|failed| error("replace", path)(failed.error))?;
    sync_dir(dir).map_err(error("flush directory", dir))
}

/// Puts a file that only its owner may read in the place of what there may be; see [`write()`].
///
/// # Errors
///
/// When the disk refuses; nothing has changed then.
pub fn write_secret(path: &Path, octets: &[u8]) -> Result<(), WriteError> {
    write(path, octets, 0o600)
}

/// Reads a file that only its owner may read.
///
/// # Errors
///
/// When there is none, others may read or change it, or the disk refuses.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, SecretError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SecretError::Missing(path.to_owned()),
        _ => SecretError::Io {
            path: path.to_owned(),
            source,
        },
    };
    // The file that is looked at is the one that is read, whatever happens to its name in between.
    let mut file = File::open(path).map_err(error)?;
    let mode = file.metadata().map_err(error)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut octets = Vec::new();
    file.read_to_end(&mut octets).map_err(error)?;
    Ok(octets)
}

/// Makes durable which files a directory has.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_secret_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.key");
        fs::write(&path, "readable before").unwrap();
        write_secret(&path, b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_secret(&path).unwrap(), b"secret");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.key");
        write(&path, b"secret", 0o600).unwrap();
        for bad in [0o640, 0o604, 0o620, 0o602, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bad)).unwrap();
            let error = read_secret(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("has mode {bad:04o}")), "{error}");
            assert!(
                error.contains(&format!("chmod 600 {}", path.display())),
                "{error}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        read_secret(&path).unwrap();
        assert!(matches!(
            read_secret(&dir.path().join("none")),
            Err(SecretError::Missing(_))
        ));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("directory");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "old").unwrap();
        let error = write(&path, b"new", 0o644).unwrap_err();
        assert_eq!(error.doing, "replace");
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write(&dir.path().join("no/such/folder"), b"new", 0o644).unwrap_err();
    }
}
