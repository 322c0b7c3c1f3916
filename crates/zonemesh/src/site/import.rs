//! Zone files of the configuration: imported when they have changed since the last time, and merged where updates have been
//! made meanwhile.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tracing::field::display;
use zonemesh_mesh::core::{Change, Founding, Input, Reply};
use zonemesh_store::{Batch, ReadError, Store};
use zonemesh_zone::catalog::{Broken, Catalog};
use zonemesh_zone::record::canonical_text;
use zonemesh_zone::{Author, By, Diff, Name, Rcode, Serial, Zone, check, file};

use super::drift::Stamp;
use super::live::Live;
use super::pool::chain;
use crate::config::{Config, ZoneConfig};

/// Where it is kept what was imported last.
const IMPORTS: &str = "imports";

/// The last import of a zone file.
#[derive(Serialize, Deserialize)]
struct Import {
    /// SHA-256 of the file, hexadecimal.
    digest: String,
    /// The serial of the version that it became.
    serial: u32,
    /// Whether it became none: the zone was there already, from other sites, and the file is no more than its seed.
    #[serde(default)]
    passed_over: bool,
}

/// What became of the zone files of a configuration.
#[derive(Default)]
pub(crate) struct Imported {
    /// What was done, a sentence each.
    pub(crate) done: Vec<String>,
    /// What could not be, and will not be by itself.
    pub(crate) failed: Vec<String>,
    /// What cannot be yet: zones, and why.
    pub(crate) later: Vec<(Name, String)>,
}

/// Why a file was not imported.
enum Failed {
    No(String),
    /// It is not known yet what the zone should be made of, or the disk is full.
    NotYet(String),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::No(why)
    }
}

/// Between two tries to import what could not be imported yet. What ends the waiting is no event of this zone alone (the last site has
/// answered or is given up, the disk has room again, the directory has come), and within each try the core waits for it, so that
/// it is not missed in between. A try costs one reading of the file.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// Zone files that are imported at the same time, and noted in one commit: each may wait a few seconds for other sites. Well below the number
/// of changes that may wait for the disk, or the rest is refused and tried again later.
const AT_ONCE: usize = 128;

/// Imports all zone files that have changed.
pub(crate) async fn all(live: &Arc<Live>, config: &Config) -> Imported {
    some(live, config, |_| true).await
}

/// Imports the files of some zones, where they have changed.
pub(crate) async fn some(
    live: &Arc<Live>,
    config: &Config,
    wanted: impl Fn(&Name) -> bool,
) -> Imported {
    let zones: Vec<(&ZoneConfig, &Path)> = config
        .zones
        .iter()
        .filter(|zone| zone.primaries.is_empty() && wanted(&zone.name))
        .filter_map(|zone| Some((zone, zone.file.as_deref()?)))
        .collect();
    let mut imported = Imported::default();
    for zones in zones.chunks(AT_ONCE) {
        let read = read_all(live, zones).await;
        let outcomes = zones
            .iter()
            .zip(read)
            .map(|(&(zone, path), (stamp, read))| async move {
                let outcome = match read {
                    Ok(Some(read)) => one(live, zone, path, read).await.map(Some),
                    Ok(None) => Ok(None),
                    Err(why) => Err(Failed::No(why)),
                };
                (stamp, outcome)
            });
        let outcomes = join_all(outcomes).await;
        let notes = zones
            .iter()
            .zip(&outcomes)
            .filter_map(|((zone, _), (_, outcome))| {
                let done = outcome.as_ref().ok()?.as_ref()?;
                Some((&zone.name, &done.import))
            });
        let noted = note(live, notes).await;
        for ((zone, _), (stamp, outcome)) in zones.iter().zip(outcomes) {
            let outcome = match (outcome, &noted) {
                (Ok(Some(_)), Err(why)) => Err(Failed::No(why.clone())),
                (outcome, _) => outcome,
            };
            let was_read = |error| live.zone_files.was_read(&zone.name, stamp, error);
            match outcome {
                Ok(done) => {
                    was_read(None);
                    if let Some(Done { import, .. }) = done.filter(|done| done.changed) {
                        let (apex, serial) = (zone.name.fmt_with_dot(), import.serial);
                        imported
                            .done
                            .push(format!("{apex} imported, serial {serial}"));
                    }
                }
                // It is tried again.
                Err(Failed::NotYet(why)) => imported.later.push((zone.name.clone(), why)),
                Err(Failed::No(error)) => {
                    was_read(Some(error.clone()));
                    tracing::error!(zone = %zone.name, error, "the zone file was not imported; the last good version stays");
                    imported.failed.push(error);
                }
            }
        }
    }
    imported
}

/// What was made of a zone file.
struct Done {
    import: Import,
    changed: bool,
}

/// What is read of the file of a zone: which file it was, and what of it is to be imported.
type Reading = (Option<Stamp>, Result<Option<Read>, String>);

/// Reads the files of zones where they have changed, a few at a time: to hand each to a thread of its own costs more than to read it.
async fn read_all(live: &Live, zones: &[(&ZoneConfig, &Path)]) -> Vec<Reading> {
    let files = zones
        .iter()
        .map(|(zone, path)| (zone.name.clone(), path.to_path_buf()));
    let files: Arc<[(Name, PathBuf)]> = files.collect();
    let next = Arc::new(AtomicUsize::new(0));
    let readers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let readers = (0..readers).map(|_| {
        let (files, next, store) = (files.clone(), next.clone(), live.store.clone());
        tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some((apex, path)) = files.get(place) else {
                    return all;
                };
                // Before it is read: what is written into it meanwhile is not lost sight of.
                let stamp = Stamp::at(path).ok();
                all.push((place, (stamp, read(&store, apex, path))));
            }
        })
    });
    let mut all: Vec<Reading> = Vec::new();
    let unread = || (None, Err("reading the zone file ended early".to_owned()));
    all.resize_with(zones.len(), unread);
    for read in join_all(readers).await {
        match read {
            Ok(read) => read.into_iter().for_each(|(place, read)| all[place] = read),
            Err(error) => tracing::error!(%error, "reading zone files ended early"),
        }
    }
    all
}

/// Notes what zone files have become, together.
async fn note<'a>(
    live: &Live,
    imports: impl Iterator<Item = (&'a Name, &'a Import)>,
) -> Result<(), String> {
    let mut batch = Batch::new(jiff::Timestamp::now());
    for (apex, import) in imports {
        let value = serde_json::to_vec(import).map_err(|error| error.to_string())?;
        batch = batch.put(IMPORTS, &canonical_text(apex), &value);
    }
    let store = live.store.clone();
    let kept = tokio::task::spawn_blocking(move || store.commit(batch));
    let kept = kept.await.map_err(|error| error.to_string())?;
    kept.map_err(|error| chain(&error))
}

/// Imports what was read of one.
async fn one(live: &Live, config: &ZoneConfig, path: &Path, read: Read) -> Result<Done, Failed> {
    let author = Author {
        by: By::File,
        who: path.display().to_string(),
        from: None,
    };
    let Read {
        zone,
        digest,
        base,
        first,
    } = read;
    let (apex, dynamic) = (config.name.clone(), config.dynamic);
    let passed_over = Arc::new(AtomicBool::new(false));
    let over = passed_over.clone();
    let reply = live
        .core
        .request_by(Some(author), move |core, request| {
            let merged = match (core.head(&apex), &base) {
                (Some(head), None) if says(&zone, head) => {
                    let serial = head.serial();
                    return Err(Reply::Done {
                        serial,
                        changed: false,
                    });
                }
                // Also where updates over the network are not allowed: commands change records too.
                (Some(head), Some(base)) => merge(head, &base.diff(&zone)),
                (Some(head), None) if dynamic && first => {
                    over.store(true, Ordering::Relaxed);
                    let serial = head.serial();
                    return Err(Reply::Done {
                        serial,
                        changed: false,
                    });
                }
                // What the file lacks may have been set by command, here or before this site lost its disk.
                (Some(_), None) => {
                    let what = match first {
                        true => "was held before its file was read here for the first time, and the two differ",
                        false => "has been changed since its file was read, and the version that was read then is no longer known",
                    };
                    return Err(Reply::Refused {
                        rcode: zonemesh_zone::Rcode::REFUSED,
                        reason: format!(
                            "{apex} {what}, so that the file's changes cannot be told from what was set by command; `zonemesh zone import \
                             {apex} FILE` replaces everything by the file, and what `zonemesh zone export {apex}` writes, put in the file's \
                             place, leaves the zone as it is"
                        ),
                    });
                }
                (None, _) => Ok(zone),
            };
            match merged {
                Ok(zone) => Ok(Input::Change {
                    request,
                    change: Change::Replace(zone),
                }),
                Err(error) => Err(Reply::Refused {
                    rcode: zonemesh_zone::Rcode::REFUSED,
                    reason: error.to_string(),
                }),
            }
        })
        .await
        .map_err(|stopped| stopped.to_string())?;
    let (serial, changed) = match reply {
        Reply::Done { serial, changed } => (serial, changed),
        Reply::Refused {
            rcode: Rcode::SERVFAIL,
            reason,
        } => return Err(Failed::NotYet(reason)),
        Reply::Refused { reason, .. } => return Err(Failed::No(reason)),
        Reply::Receipt(_) => {
            let why = "a receipt where the outcome of an import was expected";
            return Err(Failed::No(why.to_owned()));
        }
    };
    let passed_over = passed_over.load(Ordering::Relaxed);
    if passed_over {
        tracing::warn!(
            zone = %config.name, serial = serial.into_int(),
            "the zone is held already, and takes updates: its file is not imported; `zonemesh zone import` replaces everything"
        );
    }
    let import = Import {
        digest,
        serial: serial.into_int(),
        passed_over,
    };
    Ok(Done { import, changed })
}

/// A zone file that has changed since it was last imported.
struct Read {
    zone: Zone,
    digest: String,
    /// What was imported the last time.
    base: Option<Zone>,
    /// Whether nothing ever was.
    first: bool,
}

fn read(store: &Store, apex: &Name, path: &std::path::Path) -> Result<Option<Read>, String> {
    let key = canonical_text(apex);
    let last = store.get(IMPORTS, &key).map_err(|error| chain(&error))?;
    let last: Option<Import> = last.and_then(|value| serde_json::from_slice(&value).ok());
    let stored = store
        .high_water(apex)
        .map_err(|error| chain(&error))?
        .is_some();
    let is_known = |digest: &str| stored && last.as_ref().is_some_and(|last| last.digest == digest);
    // The digest is that of all files that were read. One that alone has it includes no other, and need not be taken apart.
    let mut octets = std::fs::read(path).ok();
    if let Some(octets) = &octets
        && is_known(&shown_digest(Context::new(&SHA256), octets))
    {
        return Ok(None);
    }
    let mut digest = Context::new(&SHA256);
    let shown = path.display().to_string();
    let mut opener = |path: &str| {
        let octets = match octets.take_if(|_| path == shown) {
            Some(octets) => octets,
            None => std::fs::read(path)?,
        };
        digest.update(&octets);
        Ok(octets)
    };
    let loaded = file::read(&mut opener, &shown, Some(apex));
    let digest = shown_digest(digest, &[]);
    let mut findings = loaded.findings;
    findings.extend(loaded.zone.iter().flat_map(check::check));
    let errors: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(ToString::to_string)
        .collect();
    let (Some(zone), true) = (loaded.zone, errors.is_empty()) else {
        return Err(errors.join("\n"));
    };
    if is_known(&digest) {
        return Ok(None);
    }
    for warning in &findings {
        // How bad it is the line says by its level.
        let (file, line) = (warning.file.as_deref(), warning.line);
        let (owner, rtype) = (warning.owner.as_ref(), warning.rtype);
        let (owner, rtype) = (owner.map(display), rtype.map(display));
        tracing::warn!(zone = %apex, file, line, owner, rtype, "{}", warning.message);
    }
    let first = last.is_none();
    let base = match last.filter(|last| !last.passed_over) {
        Some(last) => store
            .version_at(apex, Serial(last.serial))
            .map_err(|error| chain(&error))?,
        None => None,
    };
    Ok(Some(Read {
        zone,
        digest,
        base,
        first,
    }))
}

/// The version that a zone's file was when it was last imported: what was changed in the file since is told by it.
pub(crate) fn kept(store: &Store, apex: &Name) -> Result<Option<Serial>, ReadError> {
    let last = store.get(IMPORTS, &canonical_text(apex))?;
    let last: Option<Import> = last.and_then(|value| serde_json::from_slice(&value).ok());
    let last = last.filter(|last| !last.passed_over);
    Ok(last.map(|last| Serial(last.serial)))
}

/// The digest of what was taken up and of some octets more, in hexadecimal digits.
fn shown_digest(mut digest: Context, octets: &[u8]) -> String {
    digest.update(octets);
    data_encoding::HEXLOWER.encode(digest.finish().as_ref())
}

/// Whether a file says what a zone has, its serial aside.
fn says(file: &Zone, head: &Zone) -> bool {
    let mut editor = file.edit();
    editor.set_serial(head.serial());
    editor.finish().is_ok_and(|zone| zone.same_contents(head))
}

/// Makes the changes that were made to the file in a zone that has changed otherwise since.
fn merge(head: &Zone, changes: &Diff) -> Result<Zone, zonemesh_zone::ZoneError> {
    let mut editor = head.edit();
    for record in changes.removed.iter().skip(1) {
        editor.remove(&record.owner, record.rtype, &record.rdata);
    }
    for record in changes.added.iter() {
        if record.rtype == zonemesh_zone::Rtype::SOA {
            editor.remove_rrset(&record.owner, record.rtype);
        }
        editor.add(record.clone())?;
    }
    editor.finish()
}

/// The directory and the catalog that were kept by hand, for a mesh that is made now; nothing where there is one already.
///
/// # Errors
///
/// When one of the files cannot be used: a mesh must not begin with half of what it takes over.
pub(crate) fn founding(config: &Config, store: &Store) -> anyhow::Result<Founding> {
    let mut founding = Founding::default();
    let Some(mesh) = &config.mesh else {
        return Ok(founding);
    };
    let held = store.zones()?;
    if held.contains(&mesh.directory) || held.contains(&mesh.catalog) {
        return Ok(founding);
    }
    let load = |apex: &Name, path: &std::path::Path| {
        let shown = path.display().to_string();
        let loaded = file::read(&mut |path: &str| std::fs::read(path), &shown, Some(apex));
        let errors: Vec<String> = loaded
            .findings
            .iter()
            .filter(|finding| finding.is_error())
            .map(ToString::to_string)
            .collect();
        match (loaded.zone, errors.is_empty()) {
            (Some(zone), true) => Ok(zone),
            _ => anyhow::bail!("{shown} cannot be taken over:\n{}", errors.join("\n")),
        }
    };
    if let Some(path) = &mesh.directory_import {
        founding.directory = Some(load(&mesh.directory, path)?);
    }
    if let Some(path) = &mesh.catalog_import {
        let zone = load(&mesh.catalog, path)?;
        if let Err(faults) = Catalog::read(&zone) {
            anyhow::bail!(
                "{} is no catalog that can be taken over: {}",
                path.display(),
                Broken(faults)
            );
        }
        founding.catalog = Some(zone);
    }
    Ok(founding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> Zone {
        let apex = zonemesh_zone::record::parse_name("example").unwrap();
        let mut editor = zonemesh_zone::Editor::new(apex.clone());
        for line in text.lines() {
            editor
                .add(zonemesh_zone::Record::from_text(line, &apex).unwrap())
                .unwrap();
        }
        editor.finish().unwrap()
    }

    #[test]
    fn a_file_is_taken_apart_again_when_it_or_one_that_it_includes_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("zone"), folder.path().join("other"));
        let store = Store::open(folder.path(), "store").unwrap();
        let apex = zonemesh_zone::record::parse_name("example").unwrap();
        let read = || read(&store, &apex, &path).unwrap();
        let keep = |read: Read| {
            let import = Import {
                digest: read.digest,
                serial: read.zone.serial().into_int(),
                passed_over: false,
            };
            let value = serde_json::to_vec(&import).unwrap();
            let origin = zonemesh_store::Origin::Forced {
                from: "here".to_owned(),
            };
            let batch = Batch::new(jiff::Timestamp::now())
                .replace(&read.zone, origin)
                .put(IMPORTS, &canonical_text(&apex), &value);
            store.commit(batch).unwrap();
            let kept = super::kept(&store, &apex).unwrap();
            assert_eq!(
                kept,
                Some(Serial(1)),
                "the history of the zone begins no later"
            );
        };
        let soa = "@ 60 IN SOA ns root 1 1 2 3 4\n@ 60 IN NS ns\nns 60 IN A 192.0.2.1\n";
        for text in [
            soa.to_owned(),
            format!("{soa}$INCLUDE {}\n", other.display()),
        ] {
            std::fs::write(&other, "www 60 IN A 192.0.2.2\n").unwrap();
            std::fs::write(&path, text).unwrap();
            keep(read().unwrap());
            assert!(read().is_none());
        }
        std::fs::write(&other, "www 60 IN A 192.0.2.3\n").unwrap();
        keep(read().unwrap());
        assert!(read().is_none());
        std::fs::write(&path, soa).unwrap();
        assert_eq!(read().unwrap().zone.record_count(), 3);
    }

    #[test]
    fn an_edited_file_keeps_what_was_updated_meanwhile() {
        let soa = |serial| format!("@ 60 IN SOA ns root {serial} 1 2 3 4\n");
        let base = zone(&format!(
            "{}a 60 IN A 192.0.2.1\nb 60 IN A 192.0.2.2",
            soa(1)
        ));
        let head = zone(&format!(
            "{}a 60 IN A 192.0.2.1\nb 60 IN A 192.0.2.2\nlease 60 IN A 192.0.2.9",
            soa(7)
        ));
        let file = zone(&format!(
            "{}a 60 IN A 192.0.2.1\nc 60 IN A 192.0.2.3",
            soa(2)
        ));
        let merged = merge(&head, &base.diff(&file)).unwrap();
        let wanted = zone(&format!(
            "{}a 60 IN A 192.0.2.1\nc 60 IN A 192.0.2.3\nlease 60 IN A 192.0.2.9",
            soa(2)
        ));
        assert!(
            merged.same_contents(&wanted),
            "{:?}",
            merged.records().map(|r| r.to_string()).collect::<Vec<_>>()
        );
    }
}
