//! What the stored values mean: the head of a zone, a chunk of a snapshot, an entry of the journal.
//!
//! A zone is a snapshot and the differences since. Each incarnation of a zone has an identifier of its own, and so has
//! each snapshot; none is ever used twice, so that no old value can be taken for a new one.

use jiff::Timestamp;

use zonemesh_zone::{Author, By, Diff, Editor, Name, Node, Rtype, Serial, Ttl, Zone, ZoneError};

use crate::Origin;
use crate::codec::{
    Damage, Reader, put_int, put_octets, put_owner, put_records, read_owner, read_records,
};

/// The head of a zone: where its contents are and what must come out of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) apex: Name,
    /// Identifies this incarnation of the zone; part of the journal's keys.
    pub(crate) id: u64,
    pub(crate) serial: Serial,
    /// How many records the zone has.
    pub(crate) records: u64,
    /// Identifies the snapshot; part of the chunks' keys.
    pub(crate) snapshot: u64,
    pub(crate) snapshot_serial: Serial,
    pub(crate) chunks: u32,
    pub(crate) snapshot_bytes: u64,
    /// The oldest entry of the journal that is kept.
    pub(crate) first_seq: u64,
    /// The first entry that is not in the snapshot.
    pub(crate) base_seq: u64,
    /// The entry that comes next.
    pub(crate) next_seq: u64,
    /// Size of the entries from `base_seq` on.
    pub(crate) tail_bytes: u64,
    /// Size of all entries.
    pub(crate) journal_bytes: u64,
    /// How the history began; older versions of the server kept nothing of it.
    pub(crate) made: Option<Made>,
}

/// The first version of a history: when it was stored, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) at: Timestamp,
    pub(crate) records: u64,
    pub(crate) origin: Origin,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![match self.made {
            None => VERSION,
            Some(_) => WITH_BEGINNING,
        }];
        put_octets(&mut out, self.apex.as_slice());
        for value in [
            self.id,
            u64::from(self.serial.into_int()),
            self.records,
            self.snapshot,
            u64::from(self.snapshot_serial.into_int()),
            u64::from(self.chunks),
            self.snapshot_bytes,
            self.first_seq,
            self.base_seq,
            self.next_seq,
            self.tail_bytes,
            self.journal_bytes,
        ] {
            put_int(&mut out, value);
        }
        if let Some(made) = &self.made {
            put_time(&mut out, made.at);
            put_int(&mut out, made.records);
            put_origin(&mut out, &made.origin);
        }
        out
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let form = reader.form(&[VERSION, WITH_BEGINNING])?;
        let mut header = Self {
            made: None,
            apex: reader.name()?,
            id: reader.int()?,
            serial: reader.serial()?,
            records: reader.int()?,
            snapshot: reader.int()?,
            snapshot_serial: reader.serial()?,
            chunks: reader.u32()?,
            snapshot_bytes: reader.int()?,
            first_seq: reader.int()?,
            base_seq: reader.int()?,
            next_seq: reader.int()?,
            tail_bytes: reader.int()?,
            journal_bytes: reader.int()?,
        };
        if form == WITH_BEGINNING {
            header.made = Some(Made {
                at: read_time(reader)?,
                records: reader.int()?,
                origin: read_origin(reader)?,
            });
        }
        Ok(header)
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(value);
        let header = Self::read(&mut reader)?;
        reader.end()?;
        Ok(header)
    }
}

/// A zone that was removed and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) header: Header,
    pub(crate) at: Timestamp,
    /// The zone's state as it was stored.
    pub(crate) state: Option<Vec<u8>>,
}

impl Retired {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        put_time(&mut out, self.at);
        match &self.state {
            None => out.push(0),
            Some(state) => {
                out.push(1);
                put_octets(&mut out, state);
            }
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(value);
        let header = Header::read(&mut reader)?;
        let at = read_time(&mut reader)?;
        let state = match reader.u8()? {
            0 => None,
            _ => Some(reader.octets()?.to_vec()),
        };
        reader.end()?;
        Ok(Self { header, at, state })
    }
}

/// An entry of the journal, without the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryHead {
    pub(crate) at: Timestamp,
    pub(crate) origin: Origin,
    pub(crate) from: Serial,
    pub(crate) to: Serial,
    pub(crate) removed: usize,
    pub(crate) added: usize,
}

impl EntryHead {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        reader.version(VERSION)?;
        let at = read_time(reader)?;
        Ok(Self {
            at,
            origin: read_origin(reader)?,
            from: reader.serial()?,
            to: reader.serial()?,
            removed: reader.len()?,
            added: reader.len()?,
        })
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Damage> {
        Self::read(&mut Reader::new(value))
    }
}

/// Encodes an entry of the journal.
pub(crate) fn encode_entry(apex: &Name, head: &EntryHead, diff: &Diff) -> Vec<u8> {
    let mut out = Vec::with_capacity(diff.wire_len() + 64);
    out.push(VERSION);
    put_time(&mut out, head.at);
    put_origin(&mut out, &head.origin);
    put_int(&mut out, u64::from(head.from.into_int()));
    put_int(&mut out, u64::from(head.to.into_int()));
    put_int(&mut out, diff.removed.len() as u64);
    put_int(&mut out, diff.added.len() as u64);
    put_records(&mut out, apex, &diff.removed);
    put_records(&mut out, apex, &diff.added);
    out
}

fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    match origin {
        Origin::Local => out.push(0),
        Origin::Transfer { from } => {
            out.push(1);
            put_octets(out, from.as_bytes());
        }
        Origin::Forced { from } => {
            out.push(2);
            put_octets(out, from.as_bytes());
        }
        Origin::Made { by } => {
            out.extend_from_slice(&[3, by.by.code(), u8::from(by.from.is_some())]);
            put_octets(out, by.who.as_bytes());
            if let Some(from) = &by.from {
                put_octets(out, from.as_bytes());
            }
        }
    }
}

fn read_origin(reader: &mut Reader<'_>) -> Result<Origin, Damage> {
    Ok(match reader.u8()? {
        0 => Origin::Local,
        1 => Origin::Transfer {
            from: reader.text()?.to_owned(),
        },
        2 => Origin::Forced {
            from: reader.text()?.to_owned(),
        },
        3 => {
            let code = reader.u8()?;
            let by = By::of_code(code);
            let by = by.ok_or_else(|| Damage::new(format!("an unknown kind of author {code}")))?;
            let has_from = reader.u8()? != 0;
            let who = reader.text()?.to_owned();
            let from = match has_from {
                true => Some(reader.text()?.to_owned()),
                false => None,
            };
            Origin::Made {
                by: Author { by, who, from },
            }
        }
        kind => return Err(Damage::new(format!("an unknown origin {kind}"))),
    })
}

/// Decodes an entry of the journal.
pub(crate) fn decode_entry(apex: &Name, value: &[u8]) -> Result<(EntryHead, Diff), Damage> {
    let mut reader = Reader::new(value);
    let head = EntryHead::read(&mut reader)?;
    let diff = Diff {
        removed: read_records(&mut reader, apex, head.removed)?,
        added: read_records(&mut reader, apex, head.added)?,
    };
    reader.end()?;
    if diff.serials() != Some((head.from, head.to)) {
        return Err(Damage::new(
            "a difference does not have the serials that it says",
        ));
    }
    Ok((head, diff))
}

/// Encodes the contents of a zone in chunks that can be read one by one, and hands out each when it is whole. What is handed out is the
/// same memory each time, and may be appended to.
pub(crate) fn encode_snapshot<E>(
    zone: &Zone,
    mut each: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunk = Vec::with_capacity(2 * CHUNK);
    let mut node_octets = Vec::new();
    chunk.push(VERSION);
    for node in zone.nodes() {
        let before = chunk.len();
        encode_node(&mut chunk, zone.apex(), node);
        if before > 1 && chunk.len() > CHUNK {
            node_octets.clear();
            node_octets.extend_from_slice(&chunk[before..]);
            chunk.truncate(before);
            each(&mut chunk)?;
            chunk.clear();
            chunk.push(VERSION);
            chunk.extend_from_slice(&node_octets);
        }
    }
    if chunk.len() > 1 {
        each(&mut chunk)?;
    }
    Ok(())
}

fn encode_node(out: &mut Vec<u8>, apex: &Name, node: &Node) {
    put_owner(out, apex, node.owner());
    put_int(out, node.rrsets().count() as u64);
    for set in node.rrsets() {
        put_int(out, u64::from(set.rtype().to_int()));
        put_int(out, u64::from(set.ttl().as_secs()));
        put_octets(out, set.as_wire());
    }
}

/// Adds what a chunk holds to a version in the making.
pub(crate) fn decode_chunk(editor: &mut Editor, value: &[u8]) -> Result<(), Damage> {
    let apex = editor.apex().clone();
    let mut buffer = Vec::new();
    let mut reader = Reader::new(value);
    reader.version(VERSION)?;
    while !reader.is_empty() {
        let owner = read_owner(&mut reader, &apex, &mut buffer)?;
        for _ in 0..reader.int()? {
            let rtype = Rtype::from_int(reader.u16()?);
            let ttl = Ttl::from_secs(reader.u32()?);
            let octets = reader.octets()?;
            check_rdata(octets)?;
            editor
                .put_octets(owner, rtype, ttl, octets)
                .map_err(not_a_zone)?;
        }
    }
    Ok(())
}

/// Checks that the RDATA of an RRset, each after its length in two octets, ends where it should.
fn check_rdata(mut wire: &[u8]) -> Result<(), Damage> {
    let early = || Damage::new("an RRset ends too early");
    while let Some((len, rest)) = wire.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        wire = rest.get(len..).ok_or_else(early)?;
    }
    match wire {
        [] => Ok(()),
        _ => Err(early()),
    }
}

pub(crate) fn not_a_zone(error: ZoneError) -> Damage {
    Damage::new(format!("the records do not make a zone: {error}"))
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&time.as_microsecond().to_be_bytes());
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp, Damage> {
    let mut octets = [0; 8];
    octets.copy_from_slice(reader.take(8)?);
    Timestamp::from_microsecond(i64::from_be_bytes(octets))
        .map_err(|_| Damage::new("a time stamp is out of range"))
}

/// The form of every value described here.
const VERSION: u8 = 1;

/// The form of a head that says how the history began.
const WITH_BEGINNING: u8 = 2;

/// Largest chunk, but for a single name with more records than that: the database keeps large values in pages of a
/// power of two, so that with its own head and the checksum 64 KiB are just not exceeded.
const CHUNK: usize = 64 * 1024 - 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_handed_out_in_pieces_of_which_one_is_in_memory_at_a_time() {
        let apex = zonemesh_zone::record::parse_name("example").unwrap();
        let mut editor = Editor::new(apex.clone());
        let mut add = |text: &str| {
            let record = zonemesh_zone::Record::from_text(text, &apex).unwrap();
            editor.add(record).unwrap();
        };
        add("@ 60 SOA ns root 1 1 1 1 1");
        for number in 0..8_000 {
            add(&format!(
                "a-name-with-some-octets-{number} 60 TXT \"and a text\""
            ));
        }
        let zone = editor.finish().unwrap();
        let mut again = Editor::new(apex.clone());
        let (mut chunks, mut place) = (0, None);
        encode_snapshot(&zone, |chunk| {
            assert!(chunk.len() <= CHUNK, "{} octets", chunk.len());
            // The same memory each time, which never had to grow.
            assert_eq!(*place.get_or_insert(chunk.as_ptr()), chunk.as_ptr());
            chunks += 1;
            decode_chunk(&mut again, chunk)?;
            chunk.extend_from_slice(b"checksum");
            Ok::<(), Damage>(())
        })
        .unwrap();
        assert!(chunks > 4, "{chunks} chunks");
        assert!(again.finish().unwrap().same_contents(&zone));
    }

    #[test]
    fn a_head_of_an_older_version_is_read_and_says_nothing_of_how_its_history_began() {
        let apex = zonemesh_zone::record::parse_name("example").unwrap();
        // As version 1 wrote it: an octet for the form, the name, and twelve integers.
        let mut old = vec![1];
        put_octets(&mut old, apex.as_slice());
        old.extend(1..=12);
        let header = Header::decode(&old).unwrap();
        assert_eq!((header.id, header.journal_bytes), (1, 12));
        assert_eq!(header.made, None);
        assert_eq!(header.encode(), old);
        let made = Made {
            at: Timestamp::UNIX_EPOCH,
            records: 3,
            origin: Origin::Local,
        };
        let new = Header {
            made: Some(made),
            ..header
        };
        assert_eq!(Header::decode(&new.encode()).unwrap(), new);
        // And an origin of then.
        let mut old = vec![1, 6];
        old.extend_from_slice(b"site-b");
        let read = read_origin(&mut Reader::new(&old)).unwrap();
        assert_eq!(
            read,
            Origin::Transfer {
                from: "site-b".to_owned()
            }
        );
        assert!(read_origin(&mut Reader::new(&[3, 9, 0, 0])).is_err());
    }
}
