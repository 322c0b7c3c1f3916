//! The octets of stored values: integers, names and records, and the checksum around all of them.
//!
//! Every value carries a CRC-32 over its table, its key and itself, so that a value that was altered, or that stands
//! under a key that is not its own, is found when it is read. The database's own page checksums are verified when it is
//! opened; these hold at any time.

use std::borrow::Cow;

use bytes::Bytes;

use zonemesh_zone::{Name, NameRef, Record, Rtype, Serial, Ttl};

/// What is wrong with a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) Cow<'static, str>);

impl Damage {
    pub(crate) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }
}

/// Appends the checksum to a value that is to be stored.
pub(crate) fn seal(table: &str, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    seal_in_place(table, key, &mut value);
    value
}

/// The same to a value whose memory is used again.
pub(crate) fn seal_in_place(table: &str, key: &[u8], value: &mut Vec<u8>) {
    let crc = checksum(table, key, value);
    value.extend_from_slice(&crc.to_le_bytes());
}

/// Checks and takes off the checksum of a stored value.
pub(crate) fn unseal<'a>(table: &str, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (value, crc) = stored
        .split_last_chunk::<4>()
        .ok_or_else(|| Damage::new("a value is shorter than its checksum"))?;
    if checksum(table, key, value) != u32::from_le_bytes(*crc) {
        return Err(Damage::new(format!(
            "the checksum of a value in table `{table}` does not match"
        )));
    }
    Ok(value)
}

fn checksum(table: &str, key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // The lengths keep apart what would otherwise be the same octets, cut elsewhere.
    hasher.update(&(table.len() as u32).to_le_bytes());
    hasher.update(table.as_bytes());
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// Appends an integer, seven bits an octet, the lowest first.
pub(crate) fn put_int(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends octets after their length.
pub(crate) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_int(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// Reads a stored value from its beginning to its end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| Damage::new("a value ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn int(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let octet = self.u8()?;
            value |= u64::from(octet & 0x7F) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::new("an integer is too long"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        u32::try_from(self.int()?).map_err(|_| Damage::new("an integer is too large"))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damage> {
        u16::try_from(self.int()?).map_err(|_| Damage::new("an integer is too large"))
    }

    pub(crate) fn len(&mut self) -> Result<usize, Damage> {
        usize::try_from(self.int()?).map_err(|_| Damage::new("a length is too large"))
    }

    pub(crate) fn octets(&mut self) -> Result<&'a [u8], Damage> {
        let len = self.len()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.octets()?).map_err(|_| Damage::new("a text is not UTF-8"))
    }

    pub(crate) fn serial(&mut self) -> Result<Serial, Damage> {
        Ok(Serial(self.u32()?))
    }

    pub(crate) fn name(&mut self) -> Result<Name, Damage> {
        name(self.octets()?.to_vec())
    }

    /// Reads the octet that a value begins with, which says in which of several forms it is.
    pub(crate) fn form(&mut self, known: &[u8]) -> Result<u8, Damage> {
        match self.u8()? {
            form if known.contains(&form) => Ok(form),
            form => Err(Damage::new(format!(
                "a value is of form {form}, only forms {known:?} are known"
            ))),
        }
    }

    /// Reads the octet that every value begins with.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), Damage> {
        match self.u8()? {
            version if version == known => Ok(()),
            version => Err(Damage::new(format!(
                "a value is of form {version}, only form {known} is known"
            ))),
        }
    }

    pub(crate) fn end(&self) -> Result<(), Damage> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Damage::new("a value is longer than what it says")),
        }
    }
}

fn name(octets: Vec<u8>) -> Result<Name, Damage> {
    Name::from_octets(Bytes::from(octets)).map_err(|_| malformed())
}

fn malformed() -> Damage {
    Damage::new("a name is malformed")
}

/// Writes owner names in short: without the apex, and not again when it is the one before.
pub(crate) struct Owners<'a> {
    apex: &'a Name,
    last: Option<Name>,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(apex: &'a Name) -> Self {
        Self { apex, last: None }
    }

    pub(crate) fn put(&mut self, out: &mut Vec<u8>, owner: &Name) {
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.as_slice() == owner.as_slice())
        {
            put_int(out, 0);
            return;
        }
        put_owner(out, self.apex, owner.for_slice());
        self.last = Some(owner.clone());
    }

    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Name, Damage> {
        let owner = match reader.int()? {
            0 => self.last.clone().ok_or_else(without_owner)?,
            head => {
                let mut octets = Vec::new();
                owner_of(head, reader, self.apex, &mut octets)?;
                name(octets)?
            }
        };
        self.last = Some(owner.clone());
        Ok(owner)
    }
}

/// Writes an owner name in short, which is not the one before. It is not cloned: that would cost each name of a zone a piece of memory
/// for as long as it lives.
pub(crate) fn put_owner(out: &mut Vec<u8>, apex: &Name, owner: &NameRef) {
    // Octet for octet: an owner name that writes the apex in another case keeps it. The octets before the apex are
    // whole labels when the name is at or below it.
    let relative = owner.as_slice().strip_suffix(apex.as_slice());
    let (octets, short) = match relative {
        Some(relative) if labels_end_at(owner.as_slice(), relative.len()) => (relative, 1),
        _ => (owner.as_slice(), 0),
    };
    put_int(out, ((octets.len() as u64) << 1 | short) + 1);
    out.extend_from_slice(octets);
}

/// Reads what [`put_owner`] has written into a buffer, in the place of what is there.
pub(crate) fn read_owner<'b>(
    reader: &mut Reader<'_>,
    apex: &Name,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b NameRef, Damage> {
    buffer.clear();
    match reader.int()? {
        0 => return Err(without_owner()),
        head => owner_of(head, reader, apex, buffer)?,
    }
    NameRef::from_slice(buffer).map_err(|_| malformed())
}

fn owner_of(
    head: u64,
    reader: &mut Reader<'_>,
    apex: &Name,
    octets: &mut Vec<u8>,
) -> Result<(), Damage> {
    let (len, short) = ((head - 1) >> 1, (head - 1) & 1);
    let len = usize::try_from(len).map_err(|_| Damage::new("a name is too long"))?;
    octets.extend_from_slice(reader.take(len)?);
    if short == 1 {
        octets.extend_from_slice(apex.as_slice());
    }
    Ok(())
}

fn without_owner() -> Damage {
    Damage::new("a value begins without an owner name")
}

/// Whether a label of this name begins at this offset.
fn labels_end_at(name: &[u8], offset: usize) -> bool {
    let mut at = 0;
    while at < offset {
        match name.get(at) {
            Some(&len) if len > 0 => at += usize::from(len) + 1,
            _ => return false,
        }
    }
    at == offset
}

/// Appends a list of records.
pub(crate) fn put_records(out: &mut Vec<u8>, apex: &Name, records: &[Record]) {
    let mut owners = Owners::new(apex);
    for record in records {
        owners.put(out, &record.owner);
        put_int(out, u64::from(record.rtype.to_int()));
        put_int(out, u64::from(record.ttl.as_secs()));
        put_octets(out, &record.rdata);
    }
}

/// Reads so many records.
pub(crate) fn read_records(
    reader: &mut Reader<'_>,
    apex: &Name,
    count: usize,
) -> Result<Vec<Record>, Damage> {
    let mut owners = Owners::new(apex);
    // The count is not trusted with memory.
    let mut records = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        let owner = owners.read(reader)?;
        let rtype = Rtype::from_int(reader.u16()?);
        let ttl = Ttl::from_secs(reader.u32()?);
        let rdata = Bytes::copy_from_slice(reader.octets()?);
        records.push(Record::new(owner, rtype, ttl, rdata));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_under_another_key_is_not_taken() {
        let stored = seal("zones", b"a", b"value".to_vec());
        assert_eq!(unseal("zones", b"a", &stored).unwrap(), b"value");
        unseal("zones", b"b", &stored).unwrap_err();
        unseal("other", b"a", &stored).unwrap_err();
        unseal("zones", b"a", &stored[..3]).unwrap_err();
        unseal("zones", b"a", &[]).unwrap_err();
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let stored = seal("zones", b"key", b"some value of a few octets".to_vec());
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            unseal("zones", b"key", &bad).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(value: u64) {
            let mut out = Vec::new();
            put_int(&mut out, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.int().unwrap(), value);
            reader.end().unwrap();
        }

        #[test]
        fn arbitrary_octets_never_panic(octets: Vec<u8>, count in 0usize..1000) {
            let apex = zonemesh_zone::record::parse_name("example.com").unwrap();
            let _any_result = read_records(&mut Reader::new(&octets), &apex, count);
        }
    }

    #[test]
    fn owner_names_come_back_octet_for_octet() {
        let apex = zonemesh_zone::record::parse_name("Example.com").unwrap();
        let names = [
            "Example.com",
            "www.Example.com",
            "www.Example.com",
            "WWW.example.COM",
            // The wire form of the apex stands in here, but not as labels.
            "x\\007Example\\003com.Example.com",
        ];
        let names = names.map(|text| zonemesh_zone::record::parse_name(text).unwrap());
        let mut out = Vec::new();
        let mut owners = Owners::new(&apex);
        for name in &names {
            owners.put(&mut out, name);
        }
        let (mut reader, mut owners) = (Reader::new(&out), Owners::new(&apex));
        for name in &names {
            let read = owners.read(&mut reader).unwrap();
            assert_eq!(read.as_slice(), name.as_slice());
        }
        reader.end().unwrap();
    }
}
