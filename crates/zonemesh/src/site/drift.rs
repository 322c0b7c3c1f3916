//! Whether the files of the configuration, its zone files among them, still say what runs.
//!
//! A file that was edited and not read again is a surprise for the next start, which may be a power cut; one that was broken
//! meanwhile is another. They are looked at when somebody asks, and nothing is done about it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zonemesh_zone::Name;

use super::live::Live;
use super::reload::{changes, needs_restart};
use crate::config::{self, Config};

/// A disk that hangs must not keep a status waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the file and what runs differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// They do not, or there is no file.
    None,
    /// It cannot be loaded as it is now.
    Broken(String),
    /// It says something else, or nobody knows what it says.
    Differs(String),
}

impl Drift {
    /// Looks at the file.
    pub(super) async fn of(live: &Live) -> Self {
        let Some(path) = live.config_path.clone() else {
            return Self::None;
        };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || config::load(&path));
        let mut file = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(Ok(file))) => file,
            Ok(Ok(Err(faults))) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                return Self::Broken(format!(
                    "the file was changed since it was read, and the next start would not take it: {}",
                    faults.join("; ")
                ));
            }
            Ok(Err(_)) | Err(_) => {
                return Self::Differs(format!(
                    "{shown} could not be read within {} s, so nobody knows what it says now",
                    PATIENCE.as_secs()
                ));
            }
        };
        // The command line may say otherwise than the file.
        file.site.data_dir.clone_from(&live.data_dir);
        let mut what = unread(&live.config.load(), file.clone());
        what.extend(needs_restart(&live.config_at_start, &file));
        match what.is_empty() {
            true => Self::None,
            false => Self::Differs(format!("{shown}: {}", what.join("; "))),
        }
    }
}

/// What is in the file and was not read; what waits for a start is told apart.
fn unread(running: &Config, mut file: Config) -> Vec<String> {
    // A reload leaves sockets, and the addresses that go with them, as they were.
    if file.listen != running.listen {
        let certificate = file.listen.certificate.take();
        file.listen = config::Listen {
            certificate,
            ..running.listen.clone()
        };
        file.site.addresses.clone_from(&running.site.addresses);
    }
    if file == *running {
        return Vec::new();
    }
    let mut what = Vec::new();
    changes(running, &file, &mut what);
    if what.is_empty() {
        what.push("settings changed".to_owned());
    }
    what.push("the file was not read since".to_owned());
    what
}

/// By what a file is known again without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    octets: u64,
    inode: u64,
}

impl Stamp {
    /// May hang with the disk.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            modified: (found.mtime(), found.mtime_nsec()),
            octets: found.len(),
            inode: found.ino(),
        })
    }
}

/// A zone file as it was when it was read.
#[derive(Clone, Debug)]
struct Seen {
    stamp: Option<Stamp>,
    /// Why it was not imported.
    error: Option<String>,
}

/// The zone files of the configuration, as they were when they were read.
#[derive(Debug, Default)]
pub(crate) struct ZoneFiles(Mutex<HashMap<Name, Seen>>);

impl ZoneFiles {
    /// The file of a zone was read when it was this one.
    pub(super) fn was_read(&self, zone: &Name, stamp: Option<Stamp>, error: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(zone.clone(), Seen { stamp, error });
    }

    /// The zones whose files are others than were read, or were not imported, and why; without a zone, that nobody knows.
    pub(super) async fn unread(&self, config: &Arc<Config>) -> Vec<(Option<String>, String)> {
        let all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let config = config.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let files = config.zones.iter().filter_map(|zone| {
                let (seen, path) = (all.get(&zone.name)?, zone.file.as_deref()?);
                let why = difference(seen, path)?;
                Some((Some(zone.name.fmt_with_dot().to_string()), why))
            });
            files.collect()
        });
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) | Err(_) => {
                let why = format!(
                    "the zone files could not be looked at within {} s",
                    PATIENCE.as_secs()
                );
                vec![(None, why)]
            }
        }
    }
}

/// What is wrong with a file, next to how it was when it was read.
fn difference(seen: &Seen, path: &Path) -> Option<String> {
    match Stamp::at(path) {
        Ok(now) if seen.stamp == Some(now) => seen.error.clone(),
        Ok(_) => Some(format!("{} was changed since it was read", path.display())),
        Err(error) => Some(format!("cannot look at {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "{more}\n[site]\nname = \"site-a\"\naddresses = [\"127.0.0.1\"]\ndata-dir = \"data\"\n"
        );
        config::parse(&text, "/etc/zonemesh.toml".as_ref()).unwrap()
    }

    #[test]
    fn a_comment_is_no_difference_and_every_setting_is_one() {
        let running = config("");
        assert_eq!(unread(&running, config("# new")), [""; 0]);
        let what = unread(&running, config("nsid = \"one\""));
        assert_eq!(what, ["settings changed", "the file was not read since"]);
    }

    #[test]
    fn a_file_that_was_edited_replaced_or_taken_away_is_not_the_one_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, "one").unwrap();
        let seen = Seen {
            stamp: Some(Stamp::at(&path).unwrap()),
            error: None,
        };
        assert_eq!(difference(&seen, &path), None);
        let failed = Seen {
            error: Some("line 3".to_owned()),
            ..seen.clone()
        };
        assert_eq!(difference(&failed, &path), Some("line 3".to_owned()));
        fs::write(&path, "longer").unwrap();
        assert!(difference(&seen, &path).unwrap().contains("was changed"));
        // Another file with as many octets, as editors and packages put one in place.
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(difference(&seen, &path).unwrap().contains("was changed"));
        fs::remove_file(&path).unwrap();
        assert!(difference(&seen, &path).unwrap().contains("cannot look"));
    }

    #[test]
    fn a_reload_that_leaves_the_sockets_where_they_are_has_read_the_file() {
        let old = "[listen]\ndns = [\"127.0.0.1:5300\"]\n";
        let running = config(old);
        let file = config(&old.replace("5300", "5301"));
        assert_eq!(unread(&running, file.clone()), [""; 0]);
        assert_eq!(needs_restart(&running, &file).len(), 1);
    }
}
