//! RRsets: all records of one owner name and type, with one TTL (RFC 2181 §5).

use std::fmt;

use crate::{Rtype, Ttl};

/// The data of the records of one owner name and type, which share a TTL, where it stands in a zone.
///
/// RDATA is kept in uncompressed wire format, byte for byte as it came, without duplicates, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RrsetRef<'a> {
    rtype: u16,
    ttl: u32,
    /// Each RDATA after its length in two octets, big endian: as it stands in a message.
    data: &'a [u8],
}

impl<'a> RrsetRef<'a> {
    /// Of parts that an RRset was taken apart into: `data` is in order, without duplicates.
    pub(crate) fn of_parts(rtype: Rtype, ttl: Ttl, data: &'a [u8]) -> Self {
        Self {
            rtype: rtype.to_int(),
            ttl: ttl.as_secs(),
            data,
        }
    }

    /// The type of the records.
    pub fn rtype(&self) -> Rtype {
        Rtype::from_int(self.rtype)
    }

    /// The TTL of the records.
    pub fn ttl(&self) -> Ttl {
        Ttl::from_secs(self.ttl)
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// How many records there are. Walks over them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The RDATA of each record, in ascending order of its octets.
    pub fn iter(&self) -> RdataIter<'a> {
        RdataIter { rest: self.data }
    }

    /// The RDATA of the only or first record.
    pub fn first(&self) -> Option<&'a [u8]> {
        self.iter().next()
    }

    /// Whether one of the records has this RDATA.
    pub fn contains(&self, rdata: &[u8]) -> bool {
        self.iter().any(|have| have == rdata)
    }

    /// All RDATA as it stands in a message: each after its length in two octets.
    pub fn as_wire(&self) -> &'a [u8] {
        self.data
    }

    /// This RRset with one record more.
    pub fn with(&self, rdata: &[u8]) -> Rrset {
        Rrset::new(self.rtype(), self.ttl(), self.iter().chain([rdata]))
    }

    /// This RRset with one record less; empty when it was the last.
    pub fn without(&self, rdata: &[u8]) -> Rrset {
        let others = self.iter().filter(|have| *have != rdata);
        Rrset::new(self.rtype(), self.ttl(), others)
    }

    /// The same with data of its own.
    pub fn to_owned(&self) -> Rrset {
        Rrset {
            rtype: self.rtype,
            ttl: self.ttl,
            data: self.data.into(),
        }
    }
}

impl fmt::Debug for RrsetRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rrset({} {} ×{})", self.ttl, self.rtype(), self.len())
    }
}

/// An RRset that is nobody's yet, or was taken out of a zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Rrset {
    rtype: u16,
    ttl: u32,
    /// As that of an [`RrsetRef`].
    data: Box<[u8]>,
}

impl Rrset {
    /// Makes an RRset of the given RDATA, of which duplicates are dropped.
    ///
    /// RDATA longer than 65,535 octets cannot exist in DNS and must have been refused before; it is dropped here.
    pub fn new<I, D>(rtype: Rtype, ttl: Ttl, rdata: I) -> Self
    where
        I: IntoIterator<Item = D>,
        D: AsRef<[u8]>,
    {
        let mut all: Vec<D> = rdata
            .into_iter()
            .filter(|d| d.as_ref().len() <= 0xFFFF)
            .collect();
        if all.len() > 1 {
            all.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
            all.dedup_by(|a, b| a.as_ref() == b.as_ref());
        }
        let mut data = Vec::with_capacity(all.iter().map(|d| d.as_ref().len() + 2).sum());
        for item in &all {
            let item = item.as_ref();
            data.extend_from_slice(&(item.len() as u16).to_be_bytes());
            data.extend_from_slice(item);
        }
        Self {
            rtype: rtype.to_int(),
            ttl: ttl.as_secs(),
            data: data.into(),
        }
    }

    /// It as it would stand in a zone.
    pub fn as_ref(&self) -> RrsetRef<'_> {
        RrsetRef {
            rtype: self.rtype,
            ttl: self.ttl,
            data: &self.data,
        }
    }

    /// The type of the records.
    pub fn rtype(&self) -> Rtype {
        self.as_ref().rtype()
    }

    /// The TTL of the records.
    pub fn ttl(&self) -> Ttl {
        self.as_ref().ttl()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// How many records there are. Walks over them.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// The RDATA of each record, in ascending order of its octets.
    pub fn iter(&self) -> RdataIter<'_> {
        self.as_ref().iter()
    }
}

impl fmt::Debug for Rrset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl PartialEq<RrsetRef<'_>> for Rrset {
    fn eq(&self, other: &RrsetRef<'_>) -> bool {
        self.as_ref() == *other
    }
}

/// Calls `with` with the RRset of RDATA as it stands in a message, each after its length in two octets; in any order, and
/// there may be duplicates. Anything behind the last whole one is ignored.
pub(crate) fn of_wire<R>(
    rtype: Rtype,
    ttl: Ttl,
    wire: &[u8],
    with: impl FnOnce(RrsetRef<'_>) -> R,
) -> R {
    let mut all = RdataIter { rest: wire };
    // Nearly all have one record.
    if all.next().is_some() && all.rest.is_empty() {
        return with(RrsetRef::of_parts(rtype, ttl, wire));
    }
    with(Rrset::new(rtype, ttl, RdataIter { rest: wire }).as_ref())
}

/// The RDATA of an RRset, one after the other.
#[derive(Clone)]
pub struct RdataIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RdataIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk::<2>()?;
        let (item, rest) = rest.split_at_checked(u16::from_be_bytes(*len) as usize)?;
        self.rest = rest;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdata_is_ordered_and_has_no_duplicates() {
        let set = Rrset::new(
            Rtype::A,
            Ttl::from_secs(60),
            [[2u8, 0, 0, 1], [1, 0, 0, 1], [2, 0, 0, 1]],
        );
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [&[1u8, 0, 0, 1][..], &[2, 0, 0, 1]]
        );
        let less = set.as_ref().without(&[1, 0, 0, 1]);
        assert!(less.as_ref().without(&[2, 0, 0, 1]).is_empty());
        assert_eq!(less.as_ref().with(&[1, 0, 0, 1]), set);
    }
}
