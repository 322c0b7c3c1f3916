//! From a batch and what is stored to the writes that make it so, or a refusal before anything is written.
//!
//! The decisions are here and the writes elsewhere, so that a refused batch leaves no trace in the transaction that it
//! shares with others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use zonemesh_zone::{Name, Serial, SerialExt, Zone};

use crate::batch::{Batch, Op, Origin, zone_key};
use crate::codec::Damage;
use crate::error::{CommitError, ReadError};
use crate::format::{Header, Made, Retired};

/// How much of a zone's past is kept, beyond what is needed to load it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Octets of differences a zone; `None` is twice the size of its snapshot, but at least 1 MiB: below that, an IXFR is
    /// rarely worth more than an AXFR.
    pub max_bytes: Option<u64>,
    /// Age of a difference. The default of 30 days is how long removed zones are kept, too.
    pub max_age: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self {
            max_bytes: None,
            max_age: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// How much of the past is kept of which zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histories {
    /// Of every zone that is not named.
    pub every: History,
    /// Of the zones that are.
    pub zones: BTreeMap<Name, History>,
}

impl Histories {
    pub(crate) fn of(&self, apex: &Name) -> &History {
        self.zones.get(apex).unwrap_or(&self.every)
    }

    /// The shortest time for which anything is kept.
    pub(crate) fn shortest_age(&self) -> Duration {
        let ages = self.zones.values().map(|history| history.max_age);
        ages.fold(self.every.max_age, Duration::min)
    }
}

impl From<History> for Histories {
    fn from(every: History) -> Self {
        Self {
            every,
            zones: BTreeMap::new(),
        }
    }
}

impl History {
    fn max_bytes(&self, header: &Header) -> u64 {
        self.max_bytes
            .unwrap_or((2 * header.snapshot_bytes).max(1024 * 1024))
    }
}

/// What is stored, as far as decisions depend on it.
pub(crate) trait View {
    fn header(&self, key: &[u8], apex: &Name) -> Result<Option<Header>, ReadError>;
    fn high_water(&self, key: &[u8], apex: &Name) -> Result<Option<Serial>, ReadError>;
    fn retired(&self, key: &[u8], apex: &Name) -> Result<Vec<Retired>, ReadError>;
    fn state(&self, key: &[u8], apex: &Name) -> Result<Option<Vec<u8>>, ReadError>;
    /// Time and size of an entry of the journal.
    fn entry(&self, header: &Header, seq: u64) -> Result<Option<(Timestamp, u64)>, ReadError>;
    /// The first identifier that was never used.
    fn next_id(&self) -> Result<u64, ReadError>;
}

/// One write.
#[derive(Debug)]
pub(crate) enum Write {
    Header(Vec<u8>, Option<Header>),
    HighWater(Vec<u8>, Serial),
    State(Vec<u8>, Option<Vec<u8>>),
    Retire(Vec<u8>, Retired),
    Unretire(Vec<u8>, u64),
    /// The snapshot of a version. Only when it is written it is known how large it is, and put into what is written of its zone behind it.
    Snapshot(u64, Zone),
    DropChunks(u64, u32),
    Entry(u64, u64, Arc<Vec<u8>>),
    DropEntries(u64, Range<u64>),
    Value(String, String, Option<Vec<u8>>),
    NextId(u64),
}

/// Decides what to write for a batch.
///
/// # Errors
///
/// When the batch is refused, or what it builds on cannot be read.
pub(crate) fn plan(
    batch: &Batch,
    view: &impl View,
    history: &Histories,
) -> Result<Vec<Write>, CommitError> {
    let mut planner = Planner {
        view,
        history,
        at: batch.at,
        drafts: BTreeMap::new(),
        retired: BTreeMap::new(),
        next_id: None,
        writes: Vec::new(),
    };
    for op in &batch.ops {
        planner.op(op)?;
    }
    Ok(planner.finish())
}

struct Planner<'v, V> {
    view: &'v V,
    history: &'v Histories,
    at: Timestamp,
    drafts: BTreeMap<Vec<u8>, Draft>,
    retired: BTreeMap<Vec<u8>, Vec<Retired>>,
    next_id: Option<u64>,
    writes: Vec<Write>,
}

/// A zone as it stands after the changes so far.
struct Draft {
    header: Option<Header>,
    high_water: Option<Serial>,
    /// What is damaged, if something is: the zone can still be replaced or removed, but nothing can build on it.
    damage: Option<ReadError>,
    /// `Some` once it was changed.
    state: Option<Option<Vec<u8>>>,
    /// Entries from here on are of this batch and not in the view yet.
    own_seq: u64,
    header_changed: bool,
    high_water_changed: bool,
}

impl<V: View> Planner<'_, V> {
    fn op(&mut self, op: &Op) -> Result<(), CommitError> {
        match op {
            Op::Replace { zone, origin } => self.replace(zone, origin),
            Op::Append {
                zone,
                serials,
                entry,
                origin,
                or_replace,
            } => match *or_replace && !self.follows(zone, *serials)? {
                true => self.replace(zone, origin),
                false => self.append(zone, *serials, entry, origin),
            },
            Op::State { apex, state } => {
                let key = self.draft(apex)?;
                self.at_key(&key).state = Some(Some(state.clone()));
                Ok(())
            }
            Op::Remove { apex } => self.remove(apex),
            Op::Restore { apex } => self.restore(apex),
            Op::Purge { apex, id } => self.purge(apex, *id),
            Op::Forget {
                apex,
                of,
                up_to,
                whole,
            } => self.forget(apex, *of, *up_to, whole.as_ref()),
            Op::HighWater { apex, serial } => {
                let key = self.draft(apex)?;
                self.at_key(&key).raise(*serial);
                Ok(())
            }
            Op::Value { table, key, value } => {
                self.writes
                    .push(Write::Value(table.clone(), key.clone(), value.clone()));
                Ok(())
            }
        }
    }

    fn replace(&mut self, zone: &Zone, origin: &Origin) -> Result<(), CommitError> {
        let (apex, serial) = (zone.apex(), zone.serial());
        let records = zone.record_count() as u64;
        let key = self.draft(apex)?;
        let snapshot_id = self.new_id()?;
        let id = self.new_id()?;
        let at = self.at;
        let draft = self.at_key(&key);
        // What is damaged cannot be compared with; only an order that admits any serial replaces it.
        if !matches!(origin, Origin::Forced { .. }) {
            draft.check()?;
        }
        draft.damage = None;
        let old = draft.header.take();
        draft.admit(apex, serial, old.as_ref(), origin)?;
        draft.raise(serial);
        draft.header = Some(Header {
            made: Some(Made {
                at,
                records,
                origin: origin.clone(),
            }),
            apex: apex.clone(),
            id,
            serial,
            records,
            snapshot: snapshot_id,
            snapshot_serial: serial,
            chunks: 0,
            snapshot_bytes: likely_bytes(zone),
            first_seq: 0,
            base_seq: 0,
            next_seq: 0,
            tail_bytes: 0,
            journal_bytes: 0,
        });
        draft.header_changed = true;
        draft.own_seq = 0;
        if let Some(old) = old {
            self.drop_data(&old);
        }
        self.writes.push(Write::Snapshot(snapshot_id, zone.clone()));
        Ok(())
    }

    /// Whether a difference with these serials leads from what is stored to a version.
    fn follows(
        &mut self,
        zone: &Zone,
        serials: Option<(Serial, Serial)>,
    ) -> Result<bool, CommitError> {
        let key = self.draft(zone.apex())?;
        let draft = self.at_key(&key);
        let stored = draft.header.as_ref().map(|header| header.serial);
        let leads = serials.is_some_and(|(from, to)| Some(from) == stored && to == zone.serial());
        Ok(leads && draft.damage.is_none())
    }

    fn append(
        &mut self,
        zone: &Zone,
        serials: Option<(Serial, Serial)>,
        entry: &Arc<Vec<u8>>,
        origin: &Origin,
    ) -> Result<(), CommitError> {
        let apex = zone.apex();
        let key = self.draft(apex)?;
        let draft = self.at_key(&key);
        draft.check()?;
        let Some(mut header) = draft.header.clone() else {
            return Err(CommitError::NoZone(apex.clone()));
        };
        let (from, to) = serials
            .filter(|(_, to)| *to == zone.serial())
            .ok_or_else(|| CommitError::WrongDiff(apex.clone()))?;
        if from != header.serial {
            return Err(CommitError::WrongStart {
                zone: apex.clone(),
                from,
                current: header.serial,
            });
        }
        draft.admit(apex, to, Some(&header), origin)?;
        draft.raise(to);
        let own_seq = draft.own_seq;
        let size = entry.len() as u64;
        self.writes
            .push(Write::Entry(header.id, header.next_seq, Arc::clone(entry)));
        header.serial = to;
        header.records = zone.record_count() as u64;
        header.next_seq += 1;
        header.tail_bytes += size;
        header.journal_bytes += size;
        if header.tail_bytes > header.snapshot_bytes.max(MIN_TAIL) {
            self.new_snapshot(&mut header, zone)?;
        }
        self.trim(&mut header, own_seq)?;
        let draft = self.at_key(&key);
        draft.header = Some(header);
        draft.header_changed = true;
        Ok(())
    }

    /// Writes a snapshot anew: the differences since the last one weigh more than it does, so that the cost of all
    /// snapshots together stays in proportion to the changes.
    fn new_snapshot(&mut self, header: &mut Header, zone: &Zone) -> Result<(), CommitError> {
        let id = self.new_id()?;
        self.writes
            .push(Write::DropChunks(header.snapshot, header.chunks));
        header.snapshot = id;
        header.snapshot_serial = zone.serial();
        header.chunks = 0;
        header.snapshot_bytes = likely_bytes(zone);
        header.base_seq = header.next_seq;
        header.tail_bytes = 0;
        self.writes.push(Write::Snapshot(id, zone.clone()));
        Ok(())
    }

    /// Forgets the oldest entries that the snapshot makes dispensable and that are too many or too old.
    fn trim(&mut self, header: &mut Header, own_seq: u64) -> Result<(), CommitError> {
        let history = *self.history.of(&header.apex);
        let oldest = self
            .at
            .checked_sub(history.max_age)
            .unwrap_or(Timestamp::MIN);
        self.drop_while(header, own_seq, |header, at| {
            at < oldest || header.journal_bytes > history.max_bytes(header)
        })
    }

    /// Forgets the oldest entries of a zone at rest, unless it is another by now.
    fn forget(
        &mut self,
        apex: &Name,
        (id, next_seq): (u64, u64),
        up_to: u64,
        whole: Option<&Zone>,
    ) -> Result<(), CommitError> {
        let key = self.draft(apex)?;
        let draft = self.at_key(&key);
        draft.check()?;
        let own_seq = draft.own_seq;
        let header = draft.header.clone().filter(|header| header.id == id);
        let Some(mut header) = header else {
            return Ok(());
        };
        if let Some(zone) = whole.filter(|_| header.next_seq == next_seq) {
            self.new_snapshot(&mut header, zone)?;
        }
        self.drop_while(&mut header, own_seq, |header, _| header.first_seq < up_to)?;
        let draft = self.at_key(&key);
        draft.header = Some(header);
        draft.header_changed = true;
        Ok(())
    }

    /// Forgets the oldest entries that the snapshot makes dispensable, one by one as long as that is asked for.
    fn drop_while(
        &mut self,
        header: &mut Header,
        own_seq: u64,
        goes: impl Fn(&Header, Timestamp) -> bool,
    ) -> Result<(), CommitError> {
        let first = header.first_seq;
        while header.first_seq < header.base_seq.min(own_seq) {
            let Some((at, size)) = self.view.entry(header, header.first_seq)? else {
                return Err(Damage::new("an entry of the journal is missing")
                    .of(&header.apex)
                    .into());
            };
            if !goes(header, at) {
                break;
            }
            header.first_seq += 1;
            header.journal_bytes = header.journal_bytes.saturating_sub(size);
        }
        if header.first_seq > first {
            self.writes
                .push(Write::DropEntries(header.id, first..header.first_seq));
        }
        Ok(())
    }

    fn remove(&mut self, apex: &Name) -> Result<(), CommitError> {
        let key = self.draft(apex)?;
        let draft = self.at_key(&key);
        let (header, damaged) = (draft.header.take(), draft.damage.is_some());
        let state = draft.state.replace(None);
        draft.header_changed = true;
        let Some(header) = header else {
            // A head that cannot be read leads to nothing that could be kept.
            return match damaged {
                true => Ok(()),
                false => Err(CommitError::NoZone(apex.clone())),
            };
        };
        let state = match state {
            Some(state) => state,
            None => self.view.state(&key, apex)?,
        };
        let at = self.at;
        let retired = Retired { header, at, state };
        self.retired(&key, apex)?.push(retired.clone());
        self.writes.push(Write::Retire(key, retired));
        Ok(())
    }

    fn restore(&mut self, apex: &Name) -> Result<(), CommitError> {
        let key = self.draft(apex)?;
        let draft = self.at_key(&key);
        draft.check()?;
        if draft.header.is_some() {
            return Err(CommitError::ZoneExists(apex.clone()));
        }
        let all = self.retired(&key, apex)?;
        let Some(last) = (0..all.len()).max_by_key(|&at| (all[at].at, all[at].header.id)) else {
            return Err(CommitError::NotRemoved(apex.clone()));
        };
        let retired = all.swap_remove(last);
        let id = retired.header.id;
        let draft = self.at_key(&key);
        draft.own_seq = retired.header.next_seq;
        draft.header = Some(retired.header);
        draft.header_changed = true;
        draft.state = Some(retired.state);
        self.writes.push(Write::Unretire(key, id));
        Ok(())
    }

    fn purge(&mut self, apex: &Name, id: u64) -> Result<(), CommitError> {
        let key = zone_key(apex);
        let all = self.retired(&key, apex)?;
        let Some(at) = all.iter().position(|have| have.header.id == id) else {
            // It was brought back, or purged, meanwhile.
            return Ok(());
        };
        let retired = all.swap_remove(at);
        self.writes.push(Write::Unretire(key, id));
        self.drop_data(&retired.header);
        Ok(())
    }

    /// The removed zones of a name, after the changes so far.
    fn retired(&mut self, key: &[u8], apex: &Name) -> Result<&mut Vec<Retired>, CommitError> {
        let all = match self.retired.entry(key.to_vec()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.view.retired(key, apex)?),
        };
        Ok(all)
    }

    fn drop_data(&mut self, header: &Header) {
        self.writes
            .push(Write::DropChunks(header.snapshot, header.chunks));
        if header.first_seq < header.next_seq {
            self.writes.push(Write::DropEntries(
                header.id,
                header.first_seq..header.next_seq,
            ));
        }
    }

    fn finish(mut self) -> Vec<Write> {
        for (key, draft) in self.drafts {
            if draft.header_changed {
                self.writes.push(Write::Header(key.clone(), draft.header));
            }
            if let (true, Some(serial)) = (draft.high_water_changed, draft.high_water) {
                self.writes.push(Write::HighWater(key.clone(), serial));
            }
            if let Some(state) = draft.state {
                self.writes.push(Write::State(key, state));
            }
        }
        if let Some(id) = self.next_id {
            self.writes.push(Write::NextId(id));
        }
        self.writes
    }

    /// Makes sure that there is a draft of a zone and returns its key.
    fn draft(&mut self, apex: &Name) -> Result<Vec<u8>, CommitError> {
        let key = zone_key(apex);
        if !self.drafts.contains_key(&key) {
            let mut damage = None;
            let header = readable(self.view.header(&key, apex), &mut damage)?;
            let high_water = readable(self.view.high_water(&key, apex), &mut damage)?;
            let draft = Draft {
                own_seq: header.as_ref().map_or(0, |header| header.next_seq),
                header,
                high_water,
                damage,
                state: None,
                header_changed: false,
                high_water_changed: false,
            };
            self.drafts.insert(key.clone(), draft);
        }
        Ok(key)
    }

    fn at_key(&mut self, key: &[u8]) -> &mut Draft {
        self.drafts
            .get_mut(key)
            .expect("`draft` has put it in and nothing takes one out")
    }

    fn new_id(&mut self) -> Result<u64, CommitError> {
        let id = match self.next_id {
            Some(id) => id,
            None => self.view.next_id()?,
        };
        self.next_id = Some(id + 1);
        Ok(id)
    }
}

impl Draft {
    /// Refuses to build on what is damaged.
    fn check(&mut self) -> Result<(), CommitError> {
        match self.damage.take() {
            Some(damage) => Err(CommitError::Damaged(damage)),
            None => Ok(()),
        }
    }

    /// The last line of defence of the rule that serials never go backwards.
    fn admit(
        &self,
        apex: &Name,
        serial: Serial,
        old: Option<&Header>,
        origin: &Origin,
    ) -> Result<(), CommitError> {
        match (origin, self.high_water, old) {
            (Origin::Local | Origin::Made { .. }, Some(high_water), _)
                if !serial.is_after(high_water) =>
            {
                Err(CommitError::NotGreater {
                    zone: apex.clone(),
                    serial,
                    high_water,
                })
            }
            (Origin::Transfer { from }, _, Some(old)) if !serial.is_after(old.serial) => {
                Err(CommitError::NotNewer {
                    zone: apex.clone(),
                    from: from.clone(),
                    serial,
                    current: old.serial,
                })
            }
            _ => Ok(()),
        }
    }

    fn raise(&mut self, serial: Serial) {
        let high_water = self.high_water.map_or(serial, |have| have.later_of(serial));
        self.high_water_changed |= self.high_water != Some(high_water);
        self.high_water = Some(high_water);
    }
}

/// Puts damage aside and passes on that the database fails.
fn readable<T>(
    read: Result<Option<T>, ReadError>,
    damage: &mut Option<ReadError>,
) -> Result<Option<T>, CommitError> {
    match read {
        Ok(value) => Ok(value),
        Err(error @ ReadError::Engine(_)) => Err(error.into()),
        Err(error) => {
            *damage = Some(error);
            Ok(None)
        }
    }
}

/// How large a snapshot is that was not written yet, for what the same batch decides by it.
fn likely_bytes(zone: &Zone) -> u64 {
    zone.record_count() as u64 * LIKELY
}

/// Octets that a record of most zones takes in a snapshot.
const LIKELY: u64 = 32;

/// Differences up to this size never cause a new snapshot: that of a small zone would be written with every change.
const MIN_TAIL: u64 = 64 * 1024;
