//! The site's own key on disk: made at the first start, and anew for each welcome packet.
//!
//! A key that was a removed site's stays out of the mesh for good, so the old disk of a site joins under a new one. The new
//! key takes the place of the old one only when the mesh has it: a packet that is refused costs nothing.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use zonemesh_store::Store;
use zonemesh_transfer::tls::SiteKey;

use super::join;
use super::membership::KEY;
use super::peers::PEERS;

/// The file of a key with which the site is about to join.
const JOINING: &str = "site.key.joining";

/// The note beside a key that it has been part of no mesh yet: the key's pin, so that it says nothing of any other key.
const UNUSED: &str = "site.key.unused";

/// The key to start with.
///
/// # Errors
///
/// When there is one that cannot be used.
pub(crate) fn key(
    data_dir: &Path,
    name: &str,
    packet: Option<&str>,
    store: &Store,
) -> anyhow::Result<SiteKey> {
    let path = data_dir.join(KEY);
    let joining = data_dir.join(JOINING);
    match packet {
        None if !path.exists() => make_unused(data_dir, name),
        _ if !path.exists() => make(&path, name),
        Some(packet) if join::is_new(packet, store)? => make(&joining, name),
        // The same packet again: perhaps only its answer was lost.
        Some(_) if joining.exists() => read(&joining, name),
        _ => read(&path, name),
    }
}

/// The mesh has the key: it is the site's from now on.
///
/// # Errors
///
/// When it cannot be stored.
pub(crate) fn joined(data_dir: &Path, key: &SiteKey) -> anyhow::Result<()> {
    used(data_dir)?;
    let joining = data_dir.join(JOINING);
    if joining.exists() {
        zonemesh_store::file::write_secret(&data_dir.join(KEY), key.to_pem().as_bytes())?;
        std::fs::remove_file(&joining)
            .with_context(|| format!("cannot remove {}", joining.display()))?;
    }
    Ok(())
}

/// Makes the key with which a site founds a mesh, in a data directory where nothing is of a site; returns where it is.
///
/// # Errors
///
/// When there is something, or it cannot be stored.
pub(crate) fn init(data_dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = data_dir.join(KEY);
    if is_unused(data_dir, name) && !data_dir.join(PEERS).exists() {
        return Ok(path);
    }
    is_nobodys(data_dir)?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("cannot make {}", data_dir.display()))?;
    make_unused(data_dir, name)?;
    Ok(path)
}

/// Makes sure that nothing of a site is in a data directory.
///
/// # Errors
///
/// When there is.
pub(crate) fn is_nobodys(data_dir: &Path) -> anyhow::Result<()> {
    let files = [KEY, PEERS, zonemesh_store::DATABASE].map(|file| data_dir.join(file));
    match files.iter().find(|file| file.exists()) {
        None => Ok(()),
        Some(there) => bail!(
            "{} is there: this is, or was, a site, and its data directory is not for a new mesh; to make one all the same, give it an \
             empty data directory",
            there.display()
        ),
    }
}

/// Whether the key is one that has been part of no mesh: the first start may have failed before one was founded.
pub(crate) fn is_unused(data_dir: &Path, name: &str) -> bool {
    let note = std::fs::read_to_string(data_dir.join(UNUSED));
    let key = read(&data_dir.join(KEY), name);
    matches!((note, key), (Ok(note), Ok(key)) if note.trim_end() == pin(&key))
}

/// The key is part of a mesh: a store that is lost from now on is missed.
///
/// # Errors
///
/// When that cannot be noted.
pub(crate) fn used(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join(UNUSED);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn make_unused(data_dir: &Path, name: &str) -> anyhow::Result<SiteKey> {
    let key = SiteKey::generate(name)?;
    // Before the key: without the note it would be taken for one of a mesh that is lost.
    zonemesh_store::file::write(&data_dir.join(UNUSED), pin(&key).as_bytes(), 0o600)?;
    zonemesh_store::file::write_secret(&data_dir.join(KEY), key.to_pem().as_bytes())?;
    Ok(key)
}

fn pin(key: &SiteKey) -> String {
    data_encoding::HEXLOWER.encode(&key.pin())
}

fn make(path: &Path, name: &str) -> anyhow::Result<SiteKey> {
    let key = SiteKey::generate(name)?;
    zonemesh_store::file::write_secret(path, key.to_pem().as_bytes())?;
    Ok(key)
}

fn read(path: &Path, name: &str) -> anyhow::Result<SiteKey> {
    let pem = zonemesh_store::file::read_secret(path)?;
    let pem = String::from_utf8(pem).with_context(|| format!("{} is not PEM", path.display()))?;
    SiteKey::from_pem(&pem, name).with_context(|| {
        format!(
            "{} is not a key; bring it back from a backup, or remove it and join again with a new welcome packet",
            path.display()
        )
    })
}
