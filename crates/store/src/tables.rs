//! The tables of the database: reading from them, and making the planned writes.

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::Timestamp;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};

use zonemesh_zone::{Diff, Editor, Name, Serial, Zone};

use crate::codec::{Damage, Reader, put_int, seal, seal_in_place, unseal};
use crate::error::{EngineError, ReadError};
use crate::format::{
    EntryHead, Header, Retired, decode_chunk, decode_entry, encode_snapshot, not_a_zone,
};
use crate::plan::{View, Write};

/// Facts about the store itself: format, site, the next identifier.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// The head of each zone, by its key.
const ZONES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("zones");
/// High-water marks, apart from the zones and outliving them.
const SERIALS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("serials");
/// The state of each zone.
const STATES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("states");
/// Removed zones, by key and identifier.
const REMOVED: TableDefinition<(&[u8], u64), &[u8]> = TableDefinition::new("removed");
/// Snapshots in chunks, by the snapshot's identifier and their place in it.
const CHUNKS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("chunks");
/// Differences, by the zone's identifier and their place in its journal.
const JOURNAL: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("journal");
/// Small values of others, by table and key.
const VALUES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("values");

type Octets = &'static [u8];

/// Small values: table, key, value.
pub(crate) type Values = Vec<(String, String, Vec<u8>)>;

/// The key of a zone, and its head unless that is damaged.
pub(crate) type KeyedHeader = (Vec<u8>, Result<Header, Damage>);

/// All tables, in a transaction of either kind.
pub(crate) struct Tables<M, B, R, C, J, V> {
    meta: M,
    zones: B,
    serials: B,
    states: B,
    removed: R,
    chunks: C,
    journal: J,
    values: V,
}

/// The tables as one reads them.
pub(crate) type Reading = Tables<
    ReadOnlyTable<&'static str, Octets>,
    ReadOnlyTable<Octets, Octets>,
    ReadOnlyTable<(Octets, u64), Octets>,
    ReadOnlyTable<(u64, u32), Octets>,
    ReadOnlyTable<(u64, u64), Octets>,
    ReadOnlyTable<(&'static str, &'static str), Octets>,
>;

/// The tables as one changes them.
pub(crate) type Writing<'t> = Tables<
    Table<'t, &'static str, Octets>,
    Table<'t, Octets, Octets>,
    Table<'t, (Octets, u64), Octets>,
    Table<'t, (u64, u32), Octets>,
    Table<'t, (u64, u64), Octets>,
    Table<'t, (&'static str, &'static str), Octets>,
>;

impl Reading {
    pub(crate) fn open(transaction: &ReadTransaction) -> Result<Self, EngineError> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            zones: transaction.open_table(ZONES)?,
            serials: transaction.open_table(SERIALS)?,
            states: transaction.open_table(STATES)?,
            removed: transaction.open_table(REMOVED)?,
            chunks: transaction.open_table(CHUNKS)?,
            journal: transaction.open_table(JOURNAL)?,
            values: transaction.open_table(VALUES)?,
        })
    }
}

/// How large the snapshots are that a batch has written.
#[derive(Default)]
struct Sizes(BTreeMap<u64, SnapshotSize>);

#[derive(Clone, Copy, Default)]
struct SnapshotSize {
    chunks: u32,
    bytes: u64,
}

impl Sizes {
    /// Puts into a head how large its snapshot is, if that was written just now.
    fn put_into(&self, header: &mut Header) {
        if let Some(size) = self.0.get(&header.snapshot) {
            (header.chunks, header.snapshot_bytes) = (size.chunks, size.bytes);
        }
    }
}

#[cfg(test)]
impl Reading {
    /// How many chunks there are, of all snapshots.
    pub(crate) fn chunk_count(&self) -> u64 {
        self.chunks.len().unwrap()
    }
}

/// # Reading what is damaged
impl Reading {
    /// Whether the tables that are read row by row have as many rows as they should have.
    pub(crate) fn is_all_there(&self) -> Result<bool, ReadError> {
        Ok(is_whole(&self.zones)?
            && is_whole(&self.serials)?
            && self.marks()?.len() as u64 == self.serials.len()?
            && is_whole(&self.states)?
            && is_whole(&self.values)?)
    }

    /// All values of the small tables that can be read, and whether that is all.
    pub(crate) fn all_values(&self) -> Result<(Values, bool), ReadError> {
        let (mut all, mut is_all) = (Vec::new(), true);
        for row in self.values.iter()? {
            let Ok((key, stored)) = row else {
                is_all = false;
                break;
            };
            let (table, key) = key.value();
            match value_of(table, key, stored.value()) {
                Ok(value) => all.push((table.to_owned(), key.to_owned(), value)),
                Err(_) => is_all = false,
            }
        }
        Ok((all, is_all))
    }
}

fn is_whole<K: redb::Key + 'static, V: redb::Value + 'static>(
    table: &ReadOnlyTable<K, V>,
) -> Result<bool, ReadError> {
    let mut rows = 0;
    for row in table.iter()? {
        row?;
        rows += 1;
    }
    Ok(rows == table.len()?)
}

impl<'t> Writing<'t> {
    /// Opens the tables; those that are not there are made.
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, EngineError> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            zones: transaction.open_table(ZONES)?,
            serials: transaction.open_table(SERIALS)?,
            states: transaction.open_table(STATES)?,
            removed: transaction.open_table(REMOVED)?,
            chunks: transaction.open_table(CHUNKS)?,
            journal: transaction.open_table(JOURNAL)?,
            values: transaction.open_table(VALUES)?,
        })
    }

    /// Makes the planned writes.
    pub(crate) fn apply(&mut self, writes: Vec<Write>) -> Result<(), EngineError> {
        let mut sizes = Sizes::default();
        for write in writes {
            self.write(write, &mut sizes)?;
        }
        Ok(())
    }

    fn write(&mut self, write: Write, sizes: &mut Sizes) -> Result<(), EngineError> {
        match write {
            Write::Header(key, Some(mut header)) => {
                sizes.put_into(&mut header);
                let value = seal("zones", &key, header.encode());
                self.zones.insert(key.as_slice(), value.as_slice())?;
            }
            Write::Header(key, None) => {
                self.zones.remove(key.as_slice())?;
            }
            Write::HighWater(key, serial) => {
                let value = serial.into_int().to_be_bytes().to_vec();
                let value = seal("serials", &key, value);
                self.serials.insert(key.as_slice(), value.as_slice())?;
            }
            Write::State(key, Some(state)) => {
                let value = seal("states", &key, state);
                self.states.insert(key.as_slice(), value.as_slice())?;
            }
            Write::State(key, None) => {
                self.states.remove(key.as_slice())?;
            }
            Write::Retire(key, mut retired) => {
                sizes.put_into(&mut retired.header);
                let id = retired.header.id;
                let value = seal("removed", &removed_key(&key, id), retired.encode());
                self.removed
                    .insert((key.as_slice(), id), value.as_slice())?;
            }
            Write::Unretire(key, id) => {
                self.removed.remove((key.as_slice(), id))?;
            }
            Write::Snapshot(id, zone) => {
                // Chunk by chunk: a large zone never stands in memory a second time.
                let mut size = SnapshotSize::default();
                encode_snapshot(&zone, |chunk| {
                    size.bytes += chunk.len() as u64;
                    let key = chunk_key(id, size.chunks);
                    seal_in_place("chunks", &key, chunk);
                    self.chunks.insert((id, size.chunks), chunk.as_slice())?;
                    size.chunks += 1;
                    Ok::<(), EngineError>(())
                })?;
                sizes.0.insert(id, size);
            }
            Write::DropChunks(id, chunks) => {
                let chunks = sizes.0.get(&id).map_or(chunks, |size| size.chunks);
                for place in 0..chunks {
                    self.chunks.remove((id, place))?;
                }
            }
            Write::Entry(id, seq, entry) => {
                let value = seal("journal", &entry_key(id, seq), entry.to_vec());
                self.journal.insert((id, seq), value.as_slice())?;
            }
            Write::DropEntries(id, range) => {
                for seq in range {
                    self.journal.remove((id, seq))?;
                }
            }
            Write::Value(table, key, Some(value)) => {
                let value = seal("values", &value_key(&table, &key), value);
                self.values
                    .insert((table.as_str(), key.as_str()), value.as_slice())?;
            }
            Write::Value(table, key, None) => {
                self.values.remove((table.as_str(), key.as_str()))?;
            }
            Write::NextId(id) => self.put_number("next-id", id)?,
        }
        Ok(())
    }

    /// Whether nothing was ever stored.
    pub(crate) fn is_new(&self) -> Result<bool, EngineError> {
        Ok(self.meta.is_empty()?
            && self.zones.is_empty()?
            && self.serials.is_empty()?
            && self.values.is_empty()?)
    }

    pub(crate) fn set_count(&mut self, count: u64) -> Result<(), EngineError> {
        self.put_number("transactions", count)
    }

    fn put_number(&mut self, key: &str, number: u64) -> Result<(), EngineError> {
        let mut value = Vec::new();
        put_int(&mut value, number);
        self.put_meta(key, value)
    }

    pub(crate) fn put_meta(&mut self, key: &str, value: Vec<u8>) -> Result<(), EngineError> {
        let value = seal("meta", key.as_bytes(), value);
        self.meta.insert(key, value.as_slice())?;
        Ok(())
    }
}

/// # Reading
impl<M, B, R, C, J, V> Tables<M, B, R, C, J, V>
where
    M: ReadableTable<&'static str, Octets>,
    B: ReadableTable<Octets, Octets>,
    R: ReadableTable<(Octets, u64), Octets>,
    C: ReadableTable<(u64, u32), Octets>,
    J: ReadableTable<(u64, u64), Octets>,
    V: ReadableTable<(&'static str, &'static str), Octets>,
{
    pub(crate) fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(stored) = self.meta.get(key)? else {
            return Ok(None);
        };
        match unseal("meta", key.as_bytes(), stored.value()) {
            Ok(value) => Ok(Some(value.to_vec())),
            Err(damage) => Err(EngineError::Corrupt(format!("`{key}`: {}", damage.0))),
        }
    }

    /// How many transactions were ever made.
    pub(crate) fn count(&self) -> Result<u64, EngineError> {
        self.number("transactions")
    }

    /// A number among the facts about the store; 0 when it was never stored.
    fn number(&self, key: &str) -> Result<u64, EngineError> {
        let Some(value) = self.meta(key)? else {
            return Ok(0);
        };
        Reader::new(&value)
            .int()
            .map_err(|damage| EngineError::Corrupt(format!("`{key}`: {}", damage.0)))
    }

    /// The high-water marks of all zones, also of those that are gone. One that is damaged is left out.
    pub(crate) fn marks(&self) -> Result<BTreeMap<Name, Serial>, ReadError> {
        let mut marks = BTreeMap::new();
        for row in self.serials.iter()? {
            let (key, _) = row?;
            let Ok(apex) = name_of(key.value()) else {
                continue;
            };
            if let Ok(Some(mark)) = self.high_water(key.value(), &apex) {
                marks.insert(apex, mark);
            }
        }
        Ok(marks)
    }

    /// The names of all zones, in the order of their keys.
    pub(crate) fn zones(&self) -> Result<Vec<Name>, ReadError> {
        let mut names = Vec::new();
        for row in self.zones.iter()? {
            let (key, value) = row?;
            let header = header_of(key.value(), value.value());
            // A damaged head still has a good key, so that the zone is not forgotten but found to be damaged.
            match header {
                Ok(header) => names.push(header.apex),
                Err(damage) => names.push(name_of(key.value()).map_err(|_| {
                    EngineError::Corrupt(format!("a zone without a name: {}", damage.0))
                })?),
            }
        }
        Ok(names)
    }

    /// The heads of zones behind a key, or of all, each with its key, in the order of the keys.
    pub(crate) fn heads_after<'a>(
        &'a self,
        after: Option<&'a [u8]>,
    ) -> Result<impl Iterator<Item = Result<KeyedHeader, ReadError>> + 'a, ReadError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.zones.range::<&[u8]>((from, Bound::Unbounded))?;
        Ok(rows.map(|row| {
            let (key, stored) = row?;
            let header = header_of(key.value(), stored.value());
            Ok((key.value().to_vec(), header))
        }))
    }

    /// The contents of a zone.
    pub(crate) fn contents(&self, header: &Header) -> Result<Zone, ReadError> {
        let apex = &header.apex;
        let mut editor = Editor::new(apex.clone());
        for place in 0..header.chunks {
            let stored = self
                .chunks
                .get((header.snapshot, place))?
                .ok_or_else(|| Damage::new("a chunk of the snapshot is missing").of(apex))?;
            unseal("chunks", &chunk_key(header.snapshot, place), stored.value())
                .and_then(|value| decode_chunk(&mut editor, value))
                .map_err(|damage| damage.of(apex))?;
        }
        let mut zone = editor
            .finish()
            .map_err(|error| not_a_zone(error).of(apex))?;
        if zone.serial() != header.snapshot_serial {
            return Err(Damage::new("the snapshot is of another serial").of(apex));
        }
        for seq in header.base_seq..header.next_seq {
            let (_, diff) = self.entry(header, seq)?;
            zone = zone.apply(&diff).map_err(|error| {
                Damage::new(format!("entry {seq} of the journal does not fit: {error}")).of(apex)
            })?;
        }
        if zone.serial() != header.serial || zone.record_count() as u64 != header.records {
            return Err(Damage::new(format!(
                "{} records of serial {} were stored, {} of serial {} were read",
                header.records,
                header.serial,
                zone.record_count(),
                zone.serial()
            ))
            .of(apex));
        }
        Ok(zone)
    }

    /// An entry of the journal.
    pub(crate) fn entry(&self, header: &Header, seq: u64) -> Result<(EntryHead, Diff), ReadError> {
        self.entry_with(header, seq, |value| decode_entry(&header.apex, value))
    }

    /// An entry of the journal without its records.
    pub(crate) fn entry_head(&self, header: &Header, seq: u64) -> Result<EntryHead, ReadError> {
        self.entry_with(header, seq, EntryHead::decode)
    }

    fn entry_with<T>(
        &self,
        header: &Header,
        seq: u64,
        decode: impl FnOnce(&[u8]) -> Result<T, Damage>,
    ) -> Result<T, ReadError> {
        let stored = self.journal.get((header.id, seq))?.ok_or_else(|| {
            Damage::new(format!("entry {seq} of the journal is missing")).of(&header.apex)
        })?;
        unseal("journal", &entry_key(header.id, seq), stored.value())
            .and_then(decode)
            .map_err(|damage| damage.of(&header.apex))
    }

    /// All removed zones.
    pub(crate) fn all_removed(&self) -> Result<Vec<Retired>, ReadError> {
        let mut all = Vec::new();
        for row in self.removed.iter()? {
            let (key, value) = row?;
            let (key, id) = key.value();
            all.push(retired_of(key, id, value.value()).map_err(|damage| damage_at(key, damage))?);
        }
        Ok(all)
    }

    pub(crate) fn value(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        match self.values.get((table, key))? {
            Some(stored) => value_of(table, key, stored.value()).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn values(&self, table: &str) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let mut all = Vec::new();
        for row in self.values.range((table, "")..)? {
            let (key, stored) = row?;
            let (of, key) = key.value();
            if of != table {
                break;
            }
            all.push((key.to_owned(), value_of(table, key, stored.value())?));
        }
        Ok(all)
    }
}

impl<M, B, R, C, J, V> View for Tables<M, B, R, C, J, V>
where
    M: ReadableTable<&'static str, Octets>,
    B: ReadableTable<Octets, Octets>,
    R: ReadableTable<(Octets, u64), Octets>,
    C: ReadableTable<(u64, u32), Octets>,
    J: ReadableTable<(u64, u64), Octets>,
    V: ReadableTable<(&'static str, &'static str), Octets>,
{
    fn header(&self, key: &[u8], apex: &Name) -> Result<Option<Header>, ReadError> {
        match self.zones.get(key)? {
            Some(stored) => header_of(key, stored.value())
                .map(Some)
                .map_err(|damage| damage.of(apex)),
            None => Ok(None),
        }
    }

    fn high_water(&self, key: &[u8], apex: &Name) -> Result<Option<Serial>, ReadError> {
        let Some(stored) = self.serials.get(key)? else {
            return Ok(None);
        };
        let value = unseal("serials", key, stored.value()).map_err(|damage| damage.of(apex))?;
        match <[u8; 4]>::try_from(value) {
            Ok(octets) => Ok(Some(Serial(u32::from_be_bytes(octets)))),
            Err(_) => Err(Damage::new("the high-water mark is not a serial").of(apex)),
        }
    }

    fn retired(&self, key: &[u8], apex: &Name) -> Result<Vec<Retired>, ReadError> {
        let mut all = Vec::new();
        for row in self.removed.range((key, 0)..=(key, u64::MAX))? {
            let (at, stored) = row?;
            let retired = retired_of(key, at.value().1, stored.value());
            all.push(retired.map_err(|damage| damage.of(apex))?);
        }
        Ok(all)
    }

    fn state(&self, key: &[u8], apex: &Name) -> Result<Option<Vec<u8>>, ReadError> {
        match self.states.get(key)? {
            Some(stored) => unseal("states", key, stored.value())
                .map(|value| Some(value.to_vec()))
                .map_err(|damage| damage.of(apex)),
            None => Ok(None),
        }
    }

    fn entry(&self, header: &Header, seq: u64) -> Result<Option<(Timestamp, u64)>, ReadError> {
        let Some(stored) = self.journal.get((header.id, seq))? else {
            return Ok(None);
        };
        let value = unseal("journal", &entry_key(header.id, seq), stored.value())
            .map_err(|damage| damage.of(&header.apex))?;
        let head = EntryHead::decode(value).map_err(|damage| damage.of(&header.apex))?;
        Ok(Some((head.at, value.len() as u64)))
    }

    fn next_id(&self) -> Result<u64, ReadError> {
        Ok(self.number("next-id")?)
    }
}

fn header_of(key: &[u8], stored: &[u8]) -> Result<Header, Damage> {
    unseal("zones", key, stored).and_then(Header::decode)
}

fn retired_of(key: &[u8], id: u64, stored: &[u8]) -> Result<Retired, Damage> {
    unseal("removed", &removed_key(key, id), stored).and_then(Retired::decode)
}

fn value_of(table: &str, key: &str, stored: &[u8]) -> Result<Vec<u8>, ReadError> {
    match unseal("values", &value_key(table, key), stored) {
        Ok(value) => Ok(value.to_vec()),
        Err(damage) => Err(ReadError::CorruptValue {
            table: table.to_owned(),
            key: key.to_owned(),
            what: damage.0.into_owned(),
        }),
    }
}

fn damage_at(key: &[u8], damage: Damage) -> ReadError {
    match name_of(key) {
        Ok(name) => damage.of(&name),
        Err(_) => EngineError::Corrupt(damage.0.into_owned()).into(),
    }
}

/// The name, in lower case, that has this key.
fn name_of(key: &[u8]) -> Result<Name, Damage> {
    let mut labels = Vec::new();
    let mut label = Vec::new();
    let mut octets = key.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            0 => labels.push(std::mem::take(&mut label)),
            1 => match octets.next() {
                Some(&escaped @ 1..=2) => label.push(escaped - 1),
                _ => return Err(Damage::new("a key is malformed")),
            },
            octet => label.push(octet),
        }
    }
    let mut wire = Vec::with_capacity(key.len() + 1);
    for label in labels.iter().rev() {
        wire.push(label.len().min(255) as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_octets(wire.into()).map_err(|_| Damage::new("a key is malformed"))
}

fn removed_key(key: &[u8], id: u64) -> Vec<u8> {
    [key, &id.to_be_bytes()].concat()
}

fn chunk_key(id: u64, place: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&id.to_be_bytes());
    key[8..].copy_from_slice(&place.to_be_bytes());
    key
}

fn entry_key(id: u64, seq: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&id.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn value_key(table: &str, key: &str) -> Vec<u8> {
    [table.as_bytes(), &[0], key.as_bytes()].concat()
}
