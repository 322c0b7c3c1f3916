//! A node of a zone: an owner name and its RRsets, in one piece of memory.
//!
//! A large zone is mostly nodes, and what is far apart in memory is waited for one by one. So a node is what a reader of it needs,
//! octet after octet: nothing in it points elsewhere, it costs one allocation, and a query that has found it reads on.

use std::fmt;
use std::sync::Arc;

use crate::rrset::RrsetRef;
use crate::tree::{Leaf, Touch};
use crate::version::NameRef;
use crate::{Rtype, Ttl};

/// An owner name and its RRsets; never without any. A clone is one reference count.
///
/// It is laid out as: what there is that decides before anything is looked for (one octet, see [`Node::delegates`] and others), the
/// length of the owner name (one octet), the owner name in wire format, and for each RRset, in ascending order of their types, a head
/// of ten octets (type, TTL, octets of data) and the data, each RDATA after its length.
#[derive(Clone)]
pub struct Node {
    octets: Arc<[u8]>,
}

/// Octets before the data of an RRset.
const HEAD: usize = 10;
/// Octets before the owner name.
const FRONT: usize = 2;

/// Bits of the first octet.
mod deciding {
    pub(super) const NS: u8 = 1;
    pub(super) const CNAME: u8 = 2;
    pub(super) const DNAME: u8 = 4;
    /// NSEC3 records, and else nothing but signatures.
    pub(super) const NSEC3_ALONE: u8 = 8;
}

impl Node {
    /// The owner name, in the case in which it was first added.
    pub fn owner(&self) -> &NameRef {
        NameRef::from_slice(self.owner_octets()).expect("a node is made of a name")
    }

    /// The owner name in wire format.
    pub fn owner_octets(&self) -> &[u8] {
        &self.octets[FRONT..self.sets_at()]
    }

    /// Whether it has NS records: below the apex it is a zone cut.
    pub fn delegates(&self) -> bool {
        self.octets[0] & deciding::NS != 0
    }

    /// Whether it has a CNAME record.
    pub fn is_alias(&self) -> bool {
        self.octets[0] & deciding::CNAME != 0
    }

    /// Whether it has a DNAME record, so that no name below it is looked for.
    pub fn redirects(&self) -> bool {
        self.octets[0] & deciding::DNAME != 0
    }

    /// Whether it is there only to deny others: it has NSEC3 records, and else nothing but signatures.
    pub fn only_denies(&self) -> bool {
        self.octets[0] & deciding::NSEC3_ALONE != 0
    }

    fn sets_at(&self) -> usize {
        FRONT + usize::from(self.octets[1])
    }

    /// All RRsets, in ascending order of their types.
    pub fn rrsets(&self) -> Rrsets<'_> {
        Rrsets {
            rest: &self.octets[self.sets_at()..],
        }
    }

    /// The RRset of a type.
    pub fn rrset(&self, rtype: Rtype) -> Option<RrsetRef<'_>> {
        // They are in ascending order.
        let set = self.rrsets().find(|set| set.rtype() >= rtype)?;
        (set.rtype() == rtype).then_some(set)
    }
}

impl Leaf for Node {
    fn wire(&self) -> &[u8] {
        self.owner_octets()
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.octets, &other.octets)
    }
}

/// The first octet and the last, which may be in the next line of a cache; of larger ones the rest follows of itself.
impl Touch for Node {
    fn touch(&self) -> usize {
        usize::from(self.octets[0]) + self.octets.last().map_or(0, |last| usize::from(*last))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<RrsetRef<'_>> = self.rrsets().collect();
        write!(f, "Node({} {sets:?})", self.owner())
    }
}

/// The RRsets of a node, one after the other.
#[derive(Clone, Default)]
pub struct Rrsets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Rrsets<'a> {
    type Item = RrsetRef<'a>;

    fn next(&mut self) -> Option<RrsetRef<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD>()?;
        let [t0, t1, s0, s1, s2, s3, l0, l1, l2, l3] = *head;
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let (data, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(RrsetRef::of_parts(
            Rtype::from_int(u16::from_be_bytes([t0, t1])),
            Ttl::from_secs(u32::from_be_bytes([s0, s1, s2, s3])),
            data,
        ))
    }
}

/// A node in the making. It is used again for the next one, so that only the node itself is allocated.
#[derive(Default)]
pub(crate) struct Making {
    /// Laid out as a node; empty before the first.
    octets: Vec<u8>,
}

impl Making {
    /// Starts a node without RRsets, in the place of what was there.
    ///
    /// The owner name is one in wire format.
    pub(crate) fn start(&mut self, owner: &[u8]) {
        self.octets.clear();
        // A name has at most 255 octets (RFC 1035 §2.3.4).
        self.octets.extend_from_slice(&[0, owner.len() as u8]);
        self.octets.extend_from_slice(owner);
    }

    /// Starts from a node, in the place of what was there.
    pub(crate) fn start_from(&mut self, node: &Node) {
        self.octets.clear();
        self.octets.extend_from_slice(&node.octets);
    }

    /// The owner name in wire format; empty when nothing was started.
    pub(crate) fn owner_octets(&self) -> &[u8] {
        self.octets.get(FRONT..self.sets_at()).unwrap_or_default()
    }

    /// The RRsets so far.
    pub(crate) fn rrsets(&self) -> Rrsets<'_> {
        Rrsets {
            rest: self.octets.get(self.sets_at()..).unwrap_or_default(),
        }
    }

    /// Puts in an RRset, in the place of the one of its type; an empty one takes that out.
    ///
    /// All RDATA of one owner name and type together are far below the four gigabytes that their length can say.
    pub(crate) fn put(&mut self, set: RrsetRef<'_>) {
        let mut sets = self.rrsets();
        let mut at = self.octets.len();
        let mut end = at;
        loop {
            let before = self.octets.len() - sets.rest.len();
            let Some(have) = sets.next() else { break };
            if have.rtype() >= set.rtype() {
                at = before;
                end = match have.rtype() == set.rtype() {
                    true => self.octets.len() - sets.rest.len(),
                    false => before,
                };
                break;
            }
        }
        if set.is_empty() {
            self.octets.drain(at..end);
            return;
        }
        let mut head = [0; HEAD];
        head[..2].copy_from_slice(&set.rtype().to_int().to_be_bytes());
        head[2..6].copy_from_slice(&set.ttl().as_secs().to_be_bytes());
        head[6..].copy_from_slice(&(set.as_wire().len() as u32).to_be_bytes());
        if at == self.octets.len() {
            self.octets.extend_from_slice(&head);
            self.octets.extend_from_slice(set.as_wire());
        } else {
            let octets = head.iter().chain(set.as_wire()).copied();
            self.octets.splice(at..end, octets);
        }
    }

    /// The node; none without an RRset.
    pub(crate) fn made(&mut self) -> Option<Node> {
        if !self.octets.is_empty() {
            self.octets[0] = deciding(self.rrsets());
        }
        (self.octets.len() > self.sets_at()).then(|| Node {
            octets: self.octets.as_slice().into(),
        })
    }

    fn sets_at(&self) -> usize {
        FRONT + self.octets.get(1).map_or(0, |len| usize::from(*len))
    }
}

/// The first octet of a node with these RRsets.
fn deciding(sets: Rrsets<'_>) -> u8 {
    let mut bits = 0;
    let mut nsec3_alone = true;
    for set in sets {
        match set.rtype() {
            Rtype::NS => bits |= deciding::NS,
            Rtype::CNAME => bits |= deciding::CNAME,
            Rtype::DNAME => bits |= deciding::DNAME,
            Rtype::NSEC3 => bits |= deciding::NSEC3_ALONE,
            _ => {}
        }
        nsec3_alone &= matches!(set.rtype(), Rtype::NSEC3 | Rtype::RRSIG);
    }
    match nsec3_alone {
        true => bits,
        false => bits & !deciding::NSEC3_ALONE,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Rrset;
    use crate::record::parse_name;

    /// An RRset of up to three records with data of up to 300 octets; without any it takes the one of its type out.
    fn rrset() -> impl Strategy<Value = Rrset> {
        let rdata = prop::collection::vec(any::<u8>(), 0..300);
        let types = prop::sample::select(vec![1u16, 2, 16, 28, 257, 65280]);
        (types, any::<u32>(), prop::collection::vec(rdata, 0..4)).prop_map(|(rtype, ttl, rdata)| {
            Rrset::new(Rtype::from_int(rtype), Ttl::from_secs(ttl), rdata)
        })
    }

    proptest! {
        #[test]
        fn a_node_has_what_was_put_in_last_of_each_type(sets in prop::collection::vec(rrset(), 0..12)) {
            let owner = parse_name("Host.example.com").unwrap();
            let mut making = Making::default();
            making.start(parse_name("another.longer.example.org").unwrap().as_slice());
            making.start(owner.as_slice());
            let mut expected = BTreeMap::new();
            for set in &sets {
                making.put(set.as_ref());
                expected.insert(set.rtype(), set);
                if set.is_empty() {
                    expected.remove(&set.rtype());
                }
                prop_assert!(making.rrsets().eq(expected.values().map(|set| set.as_ref())));
            }
            let Some(node) = making.made() else {
                prop_assert!(expected.is_empty());
                return Ok(());
            };
            prop_assert_eq!(node.owner(), owner.for_slice());
            prop_assert!(node.rrsets().eq(expected.values().map(|set| set.as_ref())));
            for set in &sets {
                let wanted = expected.get(&set.rtype()).map(|set| set.as_ref());
                prop_assert_eq!(node.rrset(set.rtype()), wanted);
            }
            let mut again = Making::default();
            again.start_from(&node);
            prop_assert!(again.rrsets().eq(node.rrsets()));
        }
    }

    #[test]
    fn an_rrset_of_more_than_64_kib_is_kept_whole() {
        let rdata: Vec<[u8; 4]> = (0..20_000u32).map(u32::to_be_bytes).collect();
        let set = Rrset::new(Rtype::A, Ttl::from_secs(60), &rdata);
        let mut making = Making::default();
        making.start(parse_name("many.example").unwrap().as_slice());
        making.put(set.as_ref());
        assert_eq!(making.made().unwrap().rrset(Rtype::A), Some(set.as_ref()));
    }
}
