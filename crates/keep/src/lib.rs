//! What the core of a site wants kept, as the store keeps it, and what the core finds there at the start.
//!
//! The core decides and knows no disk; the store keeps and knows no mesh. What lies between the two is here, so that a real
//! site and a simulated one do the same: [`Job`] is what the core asks for, one after the other, and [`held`] what it starts
//! with. Calls block as those of the store do; threads, clocks and logs are the caller's.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use jiff::Timestamp;
use zonemesh_mesh::core::{
    CATALOG_MEMBERS, CONSENT, CommitId, DOUBTS, HOSTED, Held, HeldDoubt, Input, NewVersion,
    doubts_key, hosted_key,
};
use zonemesh_store::{Batch, CommitError, Origin, ReadError, Store, ZoneState};
use zonemesh_zone::{Diff, Digest, Name, Serial};

/// What the store is asked to do. Jobs are done in the order in which the core asked for them, each whole or not at all.
#[derive(Clone, Debug)]
pub enum Job {
    /// Make versions durable, and values with them: table, key, value.
    Commit(CommitId, Vec<NewVersion>, Vec<(String, String, Vec<u8>)>),
    /// Keep how a zone's refresh went.
    Keep {
        /// The zone.
        apex: Name,
        /// Unix time at which it expires.
        expires_at: Option<i64>,
        /// Unix time of the last success.
        last_refresh: Option<i64>,
    },
    /// Remember a serial that was seen.
    HighWater(Name, Serial),
    /// Set a zone aside. It can be brought back: see `zone restore`.
    SetAside(Name),
    /// Look for an old version of a zone.
    Recall(Name, Serial),
}

/// What came of a job.
#[derive(Debug)]
pub struct Done {
    /// What the core hears of it, if it waits for it.
    pub input: Option<Input>,
    /// Why it was not done.
    pub error: Option<String>,
    /// What it says about the disk.
    pub disk: Disk,
}

/// Whether the disk takes changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It does.
    Works,
    /// It does not, for this reason.
    Fails(String),
    /// Nobody knows: the store refused before it came to that.
    Unknown,
}

impl Job {
    /// About how many records it writes.
    fn weight(&self) -> usize {
        let Self::Commit(_, versions, _) = self else {
            return 1;
        };
        let weights = versions.iter().map(|version| match version.diffs.len() {
            0 => version.zone.record_count(),
            _ => {
                let changed = |diff: &Diff| diff.removed.len() + diff.added.len();
                version.diffs.iter().map(changed).sum()
            }
        });
        weights.sum::<usize>() + 1
    }
}

/// Takes of the jobs that wait those that are done next, with one flush: in their order, and not so many that the first of them
/// waits long for the others. A job that is large by itself is done alone.
pub fn next_group(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let (mut count, mut weight) = (0, 0);
    for job in waiting.iter().take(GROUP) {
        weight += job.weight();
        if count > 0 && weight > GROUP_WEIGHT {
            break;
        }
        count += 1;
    }
    waiting.drain(..count).collect()
}

/// Does jobs in their order, each whole or not at all and each on the outcome of those before, with as few flushes as it takes.
/// When this returns, all that was done is durable.
pub fn run_all(jobs: Vec<Job>, store: &Store, at: Timestamp) -> Vec<Done> {
    let mut all = Vec::with_capacity(jobs.len());
    let mut group = Vec::new();
    for job in jobs {
        if let Job::Recall(apex, serial) = job {
            // It looks at what those before it have stored.
            all.extend(finish(std::mem::take(&mut group), store));
            all.push(recall(apex, serial, store));
        } else {
            group.push(prepare(job, Batch::new(at)));
        }
    }
    all.extend(finish(group, store));
    all
}

fn recall(apex: Name, serial: Serial, store: &Store) -> Done {
    let found = store.version_at(&apex, serial);
    Done {
        error: found.as_ref().err().map(|error| chain(error)),
        disk: Disk::Unknown,
        input: Some(Input::Recalled {
            apex,
            // What cannot be read is as good as gone; the core has another way to tell what differs.
            zone: found.ok().flatten(),
        }),
    }
}

/// A job as a batch of the store, and what has to be known when that was made.
struct Prepared {
    batch: Result<Batch, String>,
    /// Which commit of the core it is, and the versions in it.
    commit: Option<(CommitId, Vec<(Name, Digest)>)>,
}

fn prepare(job: Job, batch: Batch) -> Prepared {
    let mut commit = None;
    let batch = match job {
        Job::Commit(id, versions, also) => {
            let heads = versions
                .iter()
                .map(|version| (version.zone.apex().clone(), version.zone.digest()));
            commit = Some((id, heads.collect()));
            with_versions(batch, versions, also)
        }
        Job::Keep {
            apex,
            expires_at,
            last_refresh,
        } => {
            let state = ZoneState {
                last_refresh: last_refresh.map(timestamp),
                last_attempt: last_refresh.map(timestamp),
                expires_at: expires_at.map(timestamp),
                ..ZoneState::default()
            };
            Ok(batch.set_state(&apex, &state))
        }
        Job::HighWater(apex, serial) => Ok(batch.high_water(&apex, serial)),
        Job::SetAside(apex) => Ok(batch.remove_zone(&apex)),
        // Nothing to write.
        Job::Recall(..) => Ok(batch),
    };
    Prepared { batch, commit }
}

/// Makes what was prepared durable together, and says what came of each.
fn finish(group: Vec<Prepared>, store: &Store) -> Vec<Done> {
    let (mut batches, mut asked) = (Vec::new(), Vec::new());
    for Prepared { batch, commit } in group {
        asked.push((batch.map(|batch| batches.push(batch)), commit));
    }
    let mut answers = store.commit_all(batches).into_iter();
    let done = asked.into_iter().map(|(asked, commit)| {
        let (result, disk) = match asked {
            Err(why) => (Err(why), Disk::Unknown),
            Ok(()) => {
                // There is an answer for each batch.
                let error = answers.next().and_then(Result::err);
                let disk = disk(error.as_ref());
                let heads = commit.as_ref().map_or(&[][..], |(_, heads)| heads);
                let result = match error {
                    Some(error) if !is_stored(store, &error, heads) => Err(chain(&error)),
                    _ => Ok(()),
                };
                (result, disk)
            }
        };
        Done {
            error: result.as_ref().err().cloned(),
            input: commit.map(|(commit, _)| Input::Committed { commit, result }),
            disk,
        }
    });
    done.collect()
}

/// How many jobs are made durable together at most: bounded by their weight, but for those that have next to none.
const GROUP: usize = 4096;

/// How many records they write together, about: some milliseconds of writing, after which the flush no longer counts.
const GROUP_WEIGHT: usize = 10_000;

/// The versions of a commit as the store takes them.
fn with_versions(
    mut batch: Batch,
    versions: Vec<NewVersion>,
    also: Vec<(String, String, Vec<u8>)>,
) -> Result<Batch, String> {
    for version in versions {
        let origin = match &version.from {
            None => match version.by.clone() {
                Some(by) => Origin::Made { by },
                None => Origin::Local,
            },
            // The core had nothing to go by: a first copy, or one that is to take the place of what was held whatever its serial.
            Some(from) if version.base.is_none() => Origin::Forced {
                from: from.to_string(),
            },
            Some(from) => Origin::Transfer {
                from: from.to_string(),
            },
        };
        match version.diffs.as_slice() {
            // Transferred whole: the difference from what was held is kept, so that the history goes on.
            [] => match &version.base {
                Some(base) => {
                    let diff = base.diff(&version.zone);
                    batch = batch.renew(&version.zone, &diff, origin);
                }
                None => batch = batch.replace(&version.zone, origin),
            },
            [diff] => batch = batch.append(&version.zone, diff, origin),
            [steps @ .., last] => {
                // Each step is stored with the version that it leads to.
                let mut zone = version
                    .base
                    .clone()
                    .ok_or("differences without the version that they start from")?;
                for diff in steps {
                    zone = zone.apply(diff).map_err(|error| error.to_string())?;
                    batch = batch.append(&zone, diff, origin.clone());
                }
                batch = batch.append(&version.zone, last, origin);
            }
        }
    }
    for (table, key, value) in also {
        // A member that has left its catalog; members come and go, and must not be kept for ever.
        batch = match value.is_empty() && table == CATALOG_MEMBERS {
            true => batch.delete(&table, &key),
            false => batch.put(&table, &key, &value),
        };
    }
    Ok(batch)
}

/// What the outcome of a commit says about the disk. A refusal says nothing about it.
fn disk(error: Option<&CommitError>) -> Disk {
    match error {
        None => Disk::Works,
        Some(error) if is_open(error) => Disk::Fails(chain(error)),
        Some(_) => Disk::Unknown,
    }
}

/// Whether it is the disk that fails, and what it has is not known.
fn is_open(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::Full(_) | CommitError::ReadOnly(_) | CommitError::Engine(_)
    )
}

/// Whether versions are stored although their commit failed: a disk that fails while it flushes may have them all the same,
/// and the core must not go on from what was before.
fn is_stored(store: &Store, error: &CommitError, heads: &[(Name, Digest)]) -> bool {
    is_open(error)
        && !heads.is_empty()
        && heads.iter().all(|(apex, digest)| {
            let stored = store.load(apex);
            matches!(stored, Ok(Some(stored)) if stored.zone.digest() == *digest)
        })
}

/// What a site finds in its store when it starts.
#[derive(Debug, Default)]
pub struct Found {
    /// The zones.
    pub held: Vec<Held>,
    /// Zones that are damaged. They are left out, and come again from a peer.
    pub damaged: Vec<(Name, ReadError)>,
    /// The highest serials of those, and of zones that were here once.
    pub marks: BTreeMap<Name, Serial>,
    /// What operators have said about what the brake holds, for [`Settings`](zonemesh_mesh::core::Settings).
    pub consent: Vec<(String, Vec<u8>)>,
}

/// Why a site cannot start with its store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// There are zones, and none is whole.
    #[error("no zone of the store can be read; bring the data directory back from a backup")]
    NothingWhole,
}

/// All zones of the store.
///
/// # Errors
///
/// When the store cannot be read, or nothing in it is whole: a site that began anew with an empty store would take what it
/// has forgotten for what does not exist.
pub fn held(store: &Store) -> Result<Found, FindError> {
    let found = held_of_what_others_have(store)?;
    if found.held.is_empty() && !found.damaged.is_empty() {
        return Err(FindError::NothingWhole);
    }
    Ok(found)
}

/// The same at a site that knows others who have all that it has forgotten.
///
/// # Errors
///
/// When the store cannot be read.
pub fn held_of_what_others_have(store: &Store) -> Result<Found, ReadError> {
    let mut found = Found {
        marks: store.high_waters()?,
        consent: store.list(CONSENT)?,
        ..Found::default()
    };
    for apex in store.zones()? {
        let hosted = store.get(HOSTED, &hosted_key(&apex))?;
        match store.load(&apex) {
            Ok(Some(stored)) => {
                found.marks.remove(&apex);
                found.held.push(Held {
                    doubt: doubt(store, &apex)?,
                    made_here: hosted.is_some(),
                    hosted: hosted.is_some_and(|value| !value.is_empty()),
                    zone: stored.zone,
                    high_water: stored.high_water,
                    expires_at: stored.state.expires_at.map(|at| at.as_second()),
                    last_refresh: stored.state.last_refresh.map(|at| at.as_second()),
                });
            }
            Ok(None) => {}
            Err(error) => found.damaged.push((apex, error)),
        }
    }
    Ok(found)
}

/// What was published of a zone before it was known whether its copy was the newest.
fn doubt(store: &Store, apex: &Name) -> Result<Option<HeldDoubt>, ReadError> {
    let noted = store.get(DOUBTS, &doubts_key(apex))?;
    let Some(mut doubt) = noted.and_then(|value| HeldDoubt::parse(&value)) else {
        return Ok(None);
    };
    // A history that is damaged or was trimmed costs nothing but the knowledge of what was removed since.
    for parting in &mut doubt.partings {
        parting.base = store
            .version_at(apex, parting.base_serial())
            .unwrap_or_default();
    }
    Ok(Some(doubt))
}

/// A Unix time as a time stamp; the nearest that can be told when it is out of range.
pub fn timestamp(unix: i64) -> Timestamp {
    Timestamp::from_second(unix).unwrap_or(if unix < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
