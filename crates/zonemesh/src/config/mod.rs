//! The configuration file: what it may say, what it means, and every fault in it at once.
//!
//! * [`types`](self) – [`Config`], what a site runs with.
//! * `reader` – TOML tables read key by key, with places and suggestions.
//! * `build` – from tables to a [`Config`], with every check.
//! * `last_good` – the copy that a start with a broken file falls back to.
//! * [`loopback`] – what `zonemesh up` makes without a file.
//! * [`show`](show::text) – the effective configuration, without secrets.

use std::fmt;
use std::path::{Path, PathBuf};

mod build;
mod last_good;
pub mod loopback;
mod reader;
pub mod show;
#[cfg(test)]
mod tests;
mod types;

pub use self::build::{duration, parse_name, site_name};
pub use self::last_good::{Loud, data_dir, keep, load_or_last_good};
pub use self::types::*;

/// Reads and checks a configuration file.
///
/// # Errors
///
/// Every fault of the file, in its order; nothing is half loaded.
pub fn load(path: &Path) -> Result<Config, Vec<ConfigError>> {
    let text = read(path)?;
    parse(&text, path)
}

/// Checks the text of a configuration file that lies, or shall lie, at `path`.
///
/// Relative paths in it are taken from the folder of `path`.
///
/// # Errors
///
/// See [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Config, Vec<ConfigError>> {
    build::build(text, path)
}

fn read(path: &Path) -> Result<String, Vec<ConfigError>> {
    std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => Some(
                "name the file with --config, or run `zonemesh up --sites 3` to try without one"
                    .into(),
            ),
            std::io::ErrorKind::InvalidData => Some("the file must be UTF-8 text".into()),
            _ => None,
        };
        vec![ConfigError {
            file: path.display().to_string(),
            line: None,
            column: None,
            message: format!("cannot read the configuration: {error}"),
            hint,
        }]
    })
}

/// One fault of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column, from 1.
    pub column: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Where a site keeps its data when nothing says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/zonemesh";

/// Where the configuration is looked for, in this order.
pub const DEFAULT_FILES: [&str; 2] = ["zonemesh.toml", "/etc/zonemesh/zonemesh.toml"];

/// The first of [`DEFAULT_FILES`] that exists.
pub fn find() -> Option<PathBuf> {
    DEFAULT_FILES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}
