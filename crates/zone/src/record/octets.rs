//! A record of a message, uncompressed into octets that are used again for the next one.
//!
//! Most records of most zones are of a few types, and a large transfer has millions of them: those are read here; all others, and all
//! that are not as they should be, by `domain`.

use domain::base::ParsedName;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::base::record::ParsedRecord;
use domain::base::wire::ParseError;
use domain::rdata::AllRecordData;

use super::RecordError;
use crate::{Class, Rtype, Ttl};

/// The owner name and the data of a record of a message, uncompressed. It is filled again and again, so that a record costs no
/// memory of its own.
#[derive(Clone, Debug)]
pub struct RecordOctets {
    owner: Vec<u8>,
    rtype: Rtype,
    ttl: Ttl,
    rdata: Vec<u8>,
}

impl Default for RecordOctets {
    fn default() -> Self {
        Self {
            owner: Vec::new(),
            rtype: Rtype::SOA,
            ttl: Ttl::ZERO,
            rdata: Vec::new(),
        }
    }
}

impl RecordOctets {
    /// Takes a record out of a message, undoing name compression and checking the form of its RDATA.
    ///
    /// # Errors
    ///
    /// When the class is not IN or the RDATA is malformed: the sender broke the protocol.
    pub fn read(&mut self, record: &ParsedRecord<'_, [u8]>) -> Result<(), RecordError> {
        if record.class() != Class::IN {
            return Err(RecordError::Class {
                owner: record.owner().to_name(),
                class: record.class(),
            });
        }
        let rtype = record.rtype();
        let wrong = |source| RecordError::Rdata {
            owner: record.owner().to_name(),
            rtype,
            source,
        };
        self.owner.clear();
        self.rdata.clear();
        (self.rtype, self.ttl) = (rtype, record.ttl());
        for label in record.owner().iter() {
            self.owner.push(label.len() as u8);
            self.owner.extend_from_slice(label.as_slice());
        }
        let data = record
            .to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>()
            .map_err(wrong)?;
        // Composing into a vector cannot run out of space.
        data.data()
            .compose_rdata(&mut self.rdata)
            .map_err(|_| wrong(ParseError::form_error("RDATA too long")))
    }

    /// Takes the record that begins at an offset out of a message, if it is of class IN and one of the types that most records have, and
    /// nothing is wrong with it; returns where it ends. Otherwise nothing is known of it: it is for [`RecordOctets::read`], which says
    /// what is wrong. That comes to the same, and takes several times as long.
    pub fn read_plain(&mut self, message: &[u8], at: usize) -> Option<usize> {
        self.owner.clear();
        self.rdata.clear();
        let at = name_at(message, at, &mut self.owner)?;
        let (head, rest) = message.get(at..)?.split_first_chunk::<10>()?;
        let [t0, t1, c0, c1, s0, s1, s2, s3, l0, l1] = *head;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let data = rest.get(..len)?;
        let start = at + head.len();
        let end = start + len;
        // A name in the data may point back, and must not go on behind the record from there.
        let whole = message.get(..end)?;
        self.rtype = Rtype::from_int(u16::from_be_bytes([t0, t1]));
        self.ttl = Ttl::from_secs(u32::from_be_bytes([s0, s1, s2, s3]));
        let ends_well = match self.rtype {
            _ if [c0, c1] != Class::IN.to_int().to_be_bytes() => false,
            Rtype::A | Rtype::AAAA | Rtype::TXT => {
                self.rdata.extend_from_slice(data);
                match self.rtype {
                    Rtype::A => len == 4,
                    Rtype::AAAA => len == 16,
                    _ => are_strings(data),
                }
            }
            Rtype::NS | Rtype::CNAME | Rtype::PTR => name_at(whole, start, &mut self.rdata)? == end,
            Rtype::MX => {
                self.rdata.extend_from_slice(data.get(..2)?);
                name_at(whole, start + 2, &mut self.rdata)? == end
            }
            _ => false,
        };
        ends_well.then_some(end)
    }

    /// The owner name in wire format; empty when nothing was read yet.
    pub(crate) fn owner_octets(&self) -> &[u8] {
        &self.owner
    }

    /// The type.
    pub fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// The TTL.
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// The RDATA.
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// The same, to be kept.
    pub(super) fn into_rdata(self) -> Vec<u8> {
        self.rdata
    }
}

/// Appends the name at an offset of a message, uncompressed, and returns where it ends there; none when it is not a good one.
fn name_at(message: &[u8], mut at: usize, name: &mut Vec<u8>) -> Option<usize> {
    let start = name.len();
    let mut end = None;
    loop {
        match *message.get(at)? {
            0 => {
                name.push(0);
                return Some(end.unwrap_or(at + 1));
            }
            len @ 1..=63 => {
                let next = at + 1 + usize::from(len);
                name.extend_from_slice(message.get(at..next)?);
                at = next;
                // RFC 1035 §3.1: 255 octets, the root label included. It also ends what goes in circles.
                if name.len() - start > 254 {
                    return None;
                }
            }
            high @ 0xC0.. => {
                let to = usize::from(high & 0x3F) << 8 | usize::from(*message.get(at + 1)?);
                // RFC 1035 §4.1.4: to a prior occurrence. Without labels between them, pointers lead to the beginning sometime.
                if to >= at {
                    return None;
                }
                end.get_or_insert(at + 2);
                at = to;
            }
            _ => return None,
        }
    }
}

/// Whether these octets are character strings, one at least (RFC 1035 §3.3.14).
fn are_strings(mut data: &[u8]) -> bool {
    let is_empty = data.is_empty();
    while let Some((len, rest)) = data.split_first() {
        match rest.get(usize::from(*len)..) {
            Some(next) => data = next,
            None => return false,
        }
    }
    !is_empty
}

#[cfg(test)]
mod tests {
    use domain::dep::octseq::Parser;
    use proptest::prelude::*;

    use super::*;

    /// Octets of a message that are records, nearly: names, pointers to any place, heads of all kinds, and what has gone wrong.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            Just(b"\x01a\x02bc\x00".to_vec()),
            Just(b"\x00".to_vec()),
            (0u8..80).prop_map(|to| vec![0xC0, to]),
            (0u8..80).prop_map(|to| vec![1, b'x', 0xC0, to]),
            prop::collection::vec(any::<u8>(), 0..4),
            Just([b"\x3f".as_slice(), &[b'l'; 63]].concat()),
        ];
        let rtype = prop::sample::select(vec![1u16, 2, 5, 12, 15, 16, 28, 6, 33, 99]);
        let class = prop::sample::select(vec![1u16, 1, 1, 1, 3]);
        let data = prop_oneof![
            Just(vec![192, 0, 2, 1]),
            Just(vec![0; 16]),
            Just(b"\x02hi\x00\x01x".to_vec()),
            (0u8..80).prop_map(|to| vec![0xC0, to]),
            (0u8..80).prop_map(|to| vec![0, 10, 0xC0, to]),
            Just(b"\x00\x0a\x04mail\x00".to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        let wrong = prop_oneof![9 => Just(0u16), 1 => 1u16..3];
        let record = (name, rtype, class, any::<u32>(), data, wrong).prop_map(
            |(mut octets, rtype, class, ttl, data, wrong)| {
                octets.extend(rtype.to_be_bytes());
                octets.extend(class.to_be_bytes());
                octets.extend(ttl.to_be_bytes());
                octets.extend((data.len() as u16 + wrong).to_be_bytes());
                octets.extend(data);
                octets
            },
        );
        prop::collection::vec(record, 1..5).prop_map(|records| records.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn what_is_read_quickly_is_what_is_read_slowly(message in message()) {
            let (mut quick, mut slow) = (RecordOctets::default(), RecordOctets::default());
            for at in 0..message.len() {
                let Some(end) = quick.read_plain(&message, at) else {
                    continue;
                };
                let mut parser = Parser::from_ref(message.as_slice());
                parser.seek(at).unwrap();
                let record = ParsedRecord::parse(&mut parser).unwrap();
                prop_assert_eq!(parser.pos(), end);
                slow.read(&record).unwrap();
                prop_assert_eq!(quick.owner_octets(), slow.owner_octets());
                prop_assert_eq!((quick.rtype(), quick.ttl()), (slow.rtype(), slow.ttl()));
                prop_assert_eq!(quick.rdata(), slow.rdata());
            }
        }
    }

    #[test]
    fn the_types_of_most_records_are_read_quickly() {
        let of = |rtype: u16, data: &[u8]| {
            let mut message = b"\x07example\x00".to_vec();
            let at = message.len();
            message.extend(b"\x03www\xC0\x00");
            message.extend(rtype.to_be_bytes());
            message.extend(b"\x00\x01\x00\x00\x0E\x10");
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
            let mut octets = RecordOctets::default();
            let end = octets.read_plain(&message, at)?;
            assert_eq!(end, message.len());
            assert_eq!(octets.owner_octets(), b"\x03www\x07example\x00");
            assert_eq!(
                (octets.rtype().to_int(), octets.ttl().as_secs()),
                (rtype, 3600)
            );
            Some(octets.rdata().to_vec())
        };
        let name = b"\x07example\x00".to_vec();
        assert_eq!(of(1, &[192, 0, 2, 1]), Some(vec![192, 0, 2, 1]));
        assert_eq!(of(28, &[1; 16]), Some(vec![1; 16]));
        assert_eq!(of(16, b"\x02hi"), Some(b"\x02hi".to_vec()));
        assert_eq!(of(2, b"\xC0\x00"), Some(name.clone()));
        assert_eq!(
            of(15, b"\x00\x0A\xC0\x00"),
            Some([b"\x00\x0A", name.as_slice()].concat())
        );
        for (rtype, data) in [
            (1, b"\x01".as_slice()),
            (16, b""),
            (16, b"\x03hi"),
            (2, b"\xC0\x00\x00"),
            (15, b"\x00"),
            (6, b""),
        ] {
            assert_eq!(of(rtype, data), None, "{rtype} {data:?}");
        }
    }
}
