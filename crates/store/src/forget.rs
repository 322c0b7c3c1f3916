//! Forgetting what is too old of the history of zones at rest. A zone that changes forgets with its changes; one that does not is
//! come upon by a pass over the heads of all zones, a bounded part of it at a time, and no pass begins before something can be due.

use std::time::Duration;

use jiff::Timestamp;

use zonemesh_zone::{Name, Serial, Zone};

use crate::batch::Batch;
use crate::error::{CommitError, ReadError};
use crate::format::Header;
use crate::plan::Histories;
use crate::store::Store;
use crate::tables::Reading;

/// Passes over all zones of a store, which forget what is too old.
///
/// Who has it calls [`part`](Self::part) now and then, again soon as long as that says that there is more.
pub struct Forgetting {
    store: Store,
    /// What was to be kept when the last pass began.
    histories: Option<Histories>,
    /// Where the pass has come to: the key of a zone.
    after: Option<Vec<u8>>,
    began: Timestamp,
    /// When what was met and is to stay for now becomes too old.
    due: Timestamp,
}

/// What became of a part of a pass.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// How many differences were forgotten.
    pub entries: u64,
    /// Whether the pass goes on.
    pub more: bool,
    /// What could not be done for single zones, as those that are damaged.
    pub failed: Vec<(Name, CommitError)>,
}

/// What there is to be forgotten of one zone.
struct Old {
    header: Header,
    /// The first difference that stays.
    up_to: u64,
    /// The contents, where the snapshot has to be written anew so that nothing is made of what is forgotten.
    whole: Option<Zone>,
}

/// A part of a pass, as it was read.
#[derive(Default)]
struct Part {
    old: Vec<Old>,
    failed: Vec<(Name, CommitError)>,
    due: Option<Timestamp>,
    /// The last zone that was looked at; none at the end of all.
    last: Option<Vec<u8>>,
}

impl Forgetting {
    /// Begins with a pass when it is first asked for.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            histories: None,
            after: None,
            began: Timestamp::MIN,
            due: Timestamp::MIN,
        }
    }

    /// Does a part of what is due at this time: looks at some hundreds of zones, and at none when nothing can be too old yet. `kept` says
    /// from which version on the history of a zone has to stay, if it matters to somebody.
    ///
    /// # Errors
    ///
    /// When the disk or the database fails; this part is tried again the next time.
    pub fn part(
        &mut self,
        at: Timestamp,
        kept: impl Fn(&Name) -> Result<Option<Serial>, ReadError>,
    ) -> Result<Forgotten, CommitError> {
        let histories = self.store.histories();
        if self.after.is_none() {
            // Should the clock have been set back, the times that were noted are of no use.
            let same = self.histories.as_ref() == Some(&*histories) && at >= self.began;
            if same && at < self.due {
                return Ok(Forgotten::default());
            }
            let shortest = histories.shortest_age();
            self.began = at;
            self.due = later(at, shortest);
            self.histories = Some((*histories).clone());
        }
        let part = self
            .store
            .reading(|tables| part(tables, self.after.as_deref(), at, &histories, &kept))?;
        self.due = self.due.min(part.due.unwrap_or(self.due));
        let batches = part.old.iter().map(|old| {
            let (header, whole) = (&old.header, old.whole.clone());
            Batch::new(at).forget(&header.apex, (header.id, header.next_seq), old.up_to, whole)
        });
        let mut forgotten = Forgotten {
            failed: part.failed,
            ..Forgotten::default()
        };
        for (old, answer) in part
            .old
            .iter()
            .zip(self.store.commit_all(batches.collect()))
        {
            match answer {
                Ok(()) => forgotten.entries += old.up_to - old.header.first_seq,
                Err(error @ CommitError::Damaged(_)) => {
                    forgotten.failed.push((old.header.apex.clone(), error));
                }
                Err(error) => return Err(error),
            }
        }
        forgotten.more = part.last.is_some();
        self.after = part.last;
        if !forgotten.more {
            // What is a little too old can wait for others.
            let pause = (histories.shortest_age() / 30).clamp(LEAST_PAUSE, LONGEST_PAUSE);
            self.due = self.due.max(later(self.began, pause));
        }
        Ok(forgotten)
    }
}

/// Looks at the zones after one.
fn part(
    tables: &Reading,
    after: Option<&[u8]>,
    at: Timestamp,
    histories: &Histories,
    kept: &impl Fn(&Name) -> Result<Option<Serial>, ReadError>,
) -> Result<Part, ReadError> {
    let mut part = Part::default();
    let (mut looked_at, mut octets) = (0, 0);
    for row in tables.heads_after(after)? {
        if looked_at == HEADS || octets > OCTETS {
            return Ok(part);
        }
        let (key, header) = row?;
        looked_at += 1;
        part.last = Some(key);
        // What a damaged head is of is found out, and told, where the zone is loaded.
        let Ok(header) = header else { continue };
        if header.first_seq == header.next_seq {
            continue;
        }
        let age = histories.of(&header.apex).max_age;
        match old(tables, &header, at, age, kept) {
            Ok((None, due)) => part.due = part.due.into_iter().chain(due).min(),
            Ok((Some(old), due)) => {
                part.due = part.due.into_iter().chain(due).min();
                octets += old.whole.as_ref().map_or(0, |_| header.snapshot_bytes);
                part.old.push(old);
            }
            Err(error @ ReadError::Engine(_)) => return Err(error),
            Err(error) => part.failed.push((header.apex, error.into())),
        }
    }
    part.last = None;
    Ok(part)
}

/// What of a zone is too old, and when the next of it will be.
fn old(
    tables: &Reading,
    header: &Header,
    at: Timestamp,
    age: Duration,
    kept: &impl Fn(&Name) -> Result<Option<Serial>, ReadError>,
) -> Result<(Option<Old>, Option<Timestamp>), ReadError> {
    let oldest = at.checked_sub(age).unwrap_or(Timestamp::MIN);
    let (mut up_to, mut due, mut stays) = (header.first_seq, None, None);
    while up_to < header.next_seq {
        let head = tables.entry_head(header, up_to)?;
        if head.at >= oldest {
            due = Some(later(head.at, age));
            break;
        }
        if up_to == header.first_seq {
            stays = kept(&header.apex)?.filter(|serial| *serial != header.serial);
        }
        if stays == Some(head.from) {
            break;
        }
        up_to += 1;
    }
    if up_to == header.first_seq {
        return Ok((None, due));
    }
    let whole = match up_to > header.base_seq {
        true => Some(tables.contents(header)?),
        false => None,
    };
    let header = header.clone();
    Ok((
        Some(Old {
            header,
            up_to,
            whole,
        }),
        due,
    ))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// So many heads are looked at in one part, a millisecond's work.
const HEADS: usize = 512;

/// When so many octets of snapshots are to be written anew the part ends.
const OCTETS: u64 = 16 * 1024 * 1024;

/// From the beginning of one pass to that of the next, at the least and at the most.
const LEAST_PAUSE: Duration = Duration::from_secs(3600);
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
