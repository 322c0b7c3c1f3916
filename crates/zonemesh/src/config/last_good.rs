//! Keeps the last configuration that was good, and starts with it when the file no longer is.
//!
//! The copy is the text of the file under a comment that names it, so that relative paths keep their meaning.

use std::path::{Path, PathBuf};

use super::{Config, ConfigError, DEFAULT_DATA_DIR, load, parse, read};

/// Why a site runs with another configuration than its file says. To be shown until the file is good again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loud {
    /// In a sentence.
    pub message: String,
    /// The faults of the file.
    pub faults: Vec<ConfigError>,
}

impl std::fmt::Display for Loud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

/// Loads a file; when it is broken, the last good one from the data directory.
///
/// A good file is kept as the last good one. `data_dir` overrides what the file says, for both.
///
/// # Errors
///
/// The faults of the file, when there is no last good one either.
pub fn load_or_last_good(
    path: &Path,
    data_dir: Option<&Path>,
) -> Result<(Config, Option<Loud>), Vec<ConfigError>> {
    let faults = match load(path) {
        Ok(mut config) => {
            if let Some(dir) = data_dir {
                config.site.data_dir = dir.to_owned();
            }
            let loud = keep(path, &config.site.data_dir).err().map(|error| Loud {
                message: format!(
                    "the configuration could not be kept as the last good one in {}: {error:#}",
                    config.site.data_dir.display()
                ),
                faults: Vec::new(),
            });
            return Ok((config, loud));
        }
        Err(faults) => faults,
    };
    let dir = data_dir.map_or_else(
        || data_dir_of_broken(path).unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
        Path::to_owned,
    );
    let copy = dir.join(FILE);
    let Ok(text) = std::fs::read_to_string(&copy) else {
        return Err(faults);
    };
    let Ok(mut config) = parse(&text, path) else {
        return Err(faults);
    };
    if data_dir.is_some() {
        config.site.data_dir = dir;
    }
    let message = format!(
        "{} is broken: running with the last good configuration, {}",
        path.display(),
        copy.display()
    );
    Ok((config, Some(Loud { message, faults })))
}

/// Keeps the file as the last good one. To be called after each successful load.
///
/// # Errors
///
/// When it cannot be written; serving does not depend on it.
pub fn keep(path: &Path, data_dir: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let kept = format!(
        "# The last good configuration, as it was read from {}.\n{text}",
        path.display()
    );
    let copy = data_dir.join(FILE);
    if std::fs::read_to_string(&copy).is_ok_and(|old| old == kept) {
        return Ok(());
    }
    std::fs::create_dir_all(data_dir)?;
    // It may hold the secrets of keys.
    zonemesh_store::file::write_secret(&copy, kept.as_bytes())?;
    Ok(())
}

/// Where the data of the site is that a file is for. Much of the file may be broken: the site may run with the last good one.
///
/// # Errors
///
/// The faults of a file that is broken and does not say where.
pub fn data_dir(path: &Path) -> Result<PathBuf, Vec<ConfigError>> {
    let faults = match load(path) {
        Ok(config) => return Ok(config.site.data_dir),
        Err(faults) => faults,
    };
    let unreadable = std::fs::File::open(path).err().map(|error| error.kind());
    match unreadable {
        // It has secrets; who may use the control socket need not be let in there.
        Some(std::io::ErrorKind::PermissionDenied) => Ok(DEFAULT_DATA_DIR.into()),
        _ => data_dir_of_broken(path).ok_or(faults),
    }
}

/// What the broken file still says of the data directory.
fn data_dir_of_broken(path: &Path) -> Option<PathBuf> {
    let text = read(path).ok()?;
    let (table, _) = toml::de::DeTable::parse_recoverable(&text);
    let given = table
        .get_ref()
        .iter()
        .find(|(key, _)| key.get_ref() == "site")
        .and_then(|(_, site)| site.get_ref().as_table())
        .and_then(|site| site.iter().find(|(key, _)| key.get_ref() == "data-dir"))
        .and_then(|(_, dir)| dir.get_ref().as_str());
    given.map(|dir| path.parent().unwrap_or(Path::new("")).join(dir))
}

const FILE: &str = "last-good.toml";
