//! Holds the records of a zone file until all are read, and hands them out in canonical order, RRset by RRset.
//!
//! A file has its names in any order, and a zone that is made of names in any order is looked up for each of them: in a large one every
//! look-up waits for memory several times. So all records are written one behind the other into one piece of memory, what is sorted
//! are the first octets of their keys and where they stand, and the zone is made without a look-up. A zone does not remember where its
//! records stood; until the checks have seen it, that is looked up here.

use std::hint::black_box;
use std::ops::Range;

use super::report::Place;
use crate::key::{first_label, push_label};
use crate::version::NameRef;
use crate::{Key, Name, Rtype, Ttl};

/// Records in the order in which they came.
pub(super) struct Gathered {
    apex: Name,
    /// Octets of the key of the zone's apex, with which all keys begin.
    skip: usize,
    /// Records of one name and type that came one after the other are one entry: a [`Head`], the key without that of the apex, the owner
    /// name, and each RDATA after its length in two octets.
    octets: Vec<u8>,
    starts: Vec<Start>,
}

/// Where an entry stands, and how its key goes on at the depth to which it is sorted. In this order they are sorted, so that of one
/// name and type those that came first stay first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    next: u64,
    at: usize,
}

/// What an entry begins with.
#[derive(Clone, Copy)]
struct Head {
    key: u16,
    owner: u8,
    /// Whether its records do not have the same TTL, which was reported.
    differs: bool,
    rtype: u16,
    ttl: u32,
    place: Place,
    data: u32,
}

/// Records of one name and type that came one after the other.
pub(super) struct Entry<'g> {
    pub(super) place: Place,
    pub(super) rtype: Rtype,
    /// That of the first of them.
    pub(super) ttl: Ttl,
    /// Whether they do not have the same TTL, which was reported.
    pub(super) differs: bool,
    /// Each RDATA after its length in two octets, as they came.
    pub(super) data: &'g [u8],
}

/// # Gathering
impl Gathered {
    /// Nothing yet of a zone.
    pub(super) fn new(apex: &Name) -> Self {
        Self {
            apex: apex.clone(),
            skip: Key::of(apex).as_slice().len(),
            octets: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// The name of the zone.
    pub(super) fn apex(&self) -> &Name {
        &self.apex
    }

    /// Adds a record at or below the apex. Returns the TTL of the records before it when they are of the same name and type and have
    /// another one, and that was not returned yet.
    pub(super) fn push(
        &mut self,
        place: Place,
        owner: &NameRef,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
    ) -> Option<Ttl> {
        let (at, mut head) = match self.goes_on(owner, rtype) {
            Some(last) => last,
            None => self.start(place, owner, rtype, ttl),
        };
        let tells = head.ttl != ttl.as_secs() && !head.differs;
        head.differs |= tells;
        // The reader has refused RDATA that is longer.
        let len = rdata.len().min(0xFFFF);
        self.octets.extend_from_slice(&(len as u16).to_be_bytes());
        self.octets.extend_from_slice(&rdata[..len]);
        head.data += len as u32 + 2;
        head.write(&mut self.octets[at..]);
        tells.then(|| Ttl::from_secs(head.ttl))
    }

    /// The last entry, if it is of this name and type and has room.
    fn goes_on(&self, owner: &NameRef, rtype: Rtype) -> Option<(usize, Head)> {
        let at = self.starts.last()?.at;
        let head = Head::read(&self.octets[at..]);
        let has_room = head.data < u32::MAX - 0x2_0000;
        let same = head.rtype == rtype.to_int()
            && self.octets[head.owner_at(at)].eq_ignore_ascii_case(owner.as_slice());
        (same && has_room).then_some((at, head))
    }

    /// Begins an entry, whose head is still to be written.
    fn start(&mut self, place: Place, owner: &NameRef, rtype: Rtype, ttl: Ttl) -> (usize, Head) {
        let at = self.octets.len();
        self.octets.extend_from_slice(&[0; HEAD]);
        self.push_key(owner.as_slice());
        let key = &self.octets[at + HEAD..];
        let next = octets_at(key, 0);
        let head = Head {
            key: key.len() as u16,
            // A name has at most 255 octets (RFC 1035 §2.3.4).
            owner: owner.as_slice().len() as u8,
            differs: false,
            rtype: rtype.to_int(),
            ttl: ttl.as_secs(),
            place,
            data: 0,
        };
        self.octets.extend_from_slice(owner.as_slice());
        self.starts.push(Start { next, at });
        (at, head)
    }

    /// Writes the key of a name without that of the apex.
    fn push_key(&mut self, owner: &[u8]) {
        let (label, parent) = first_label(owner);
        // Most names are right below the apex.
        if !label.is_empty() && parent == self.apex.as_slice() {
            return push_label(&mut self.octets, label);
        }
        let key = Key::from_wire(owner);
        let key = key.as_slice().get(self.skip..).unwrap_or_default();
        self.octets.extend_from_slice(key);
    }
}

/// # Handing out
impl Gathered {
    /// Calls `each` with all entries of a name and type, those that came first first, in canonical order of the names; within a name
    /// in ascending order of types. The owner name given is in the case in which the name came first.
    pub(super) fn in_order(&mut self, mut each: impl FnMut(&NameRef, &[Entry<'_>])) {
        let mut starts = std::mem::take(&mut self.starts);
        if !starts.is_sorted_by(|one, next| self.key(one.at) <= self.key(next.at)) {
            self.sort(&mut starts, 0);
        }
        let mut entries = Vec::new();
        let mut rest = starts.as_mut_slice();
        let mut untouched = rest.len();
        while let Some(first) = rest.first().copied() {
            if rest.len() <= untouched {
                // They are read side by side, so that the processor waits for many of them at once.
                let window = &rest[..rest.len().min(WINDOW)];
                let seen = window
                    .iter()
                    .map(|start| usize::from(self.octets[start.at]));
                black_box(seen.fold(0, usize::wrapping_add));
                untouched = rest.len() - window.len();
            }
            let key = self.key(first.at);
            let others = rest[1..].iter();
            let count = 1 + others.take_while(|next| self.key(next.at) == key).count();
            let (name, after) = rest.split_at_mut(count);
            rest = after;
            // They have come in this order.
            let owner = &self.octets[Head::read(&self.octets[first.at..]).owner_at(first.at)];
            let Ok(owner) = NameRef::from_slice(owner) else {
                continue;
            };
            if count > 1 {
                let rtype = |at: usize| Head::read(&self.octets[at..]).rtype;
                name.sort_by_key(|start| rtype(start.at));
            }
            let same = |one: &Entry<'_>, next: &Entry<'_>| one.rtype == next.rtype;
            entries.clear();
            entries.extend(name.iter().map(|start| self.entry(start.at)));
            entries.chunk_by(same).for_each(|set| each(owner, set));
        }
        self.starts = starts;
    }

    /// Where the first record of a name and type stood, once all were handed out.
    pub(super) fn place_of(&self, owner: &Name, rtype: Rtype) -> Option<Place> {
        let key = Key::of(owner);
        let key = key.as_slice().get(self.skip..)?;
        let first = self
            .starts
            .partition_point(|start| self.key(start.at) < key);
        let mut of_name = self.starts[first..]
            .iter()
            .take_while(|start| self.key(start.at) == key)
            .map(|start| Head::read(&self.octets[start.at..]));
        Some(of_name.find(|head| head.rtype == rtype.to_int())?.place)
    }

    /// Sorts entries whose keys are alike up to a depth.
    fn sort(&self, starts: &mut [Start], depth: usize) {
        starts.sort_unstable();
        for alike in starts.chunk_by_mut(|one, next| one.next == next.next) {
            let deeper = depth + size_of::<u64>();
            let goes_on = |start: &Start| self.key(start.at).len() > deeper;
            if alike.len() > 1 && alike.iter().any(goes_on) {
                for start in &mut *alike {
                    start.next = octets_at(self.key(start.at), deeper);
                }
                self.sort(alike, deeper);
            }
        }
    }

    fn key(&self, at: usize) -> &[u8] {
        &self.octets[Head::read(&self.octets[at..]).key_at(at)]
    }

    fn entry(&self, at: usize) -> Entry<'_> {
        let head = Head::read(&self.octets[at..]);
        Entry {
            place: head.place,
            rtype: Rtype::from_int(head.rtype),
            ttl: Ttl::from_secs(head.ttl),
            differs: head.differs,
            data: &self.octets[head.data_at(at)],
        }
    }
}

impl Head {
    fn read(octets: &[u8]) -> Self {
        let mut head = [0; HEAD];
        head.copy_from_slice(&octets[..HEAD]);
        let four =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Self {
            key: u16::from_be_bytes([head[0], head[1]]),
            owner: head[2],
            differs: head[3] != 0,
            rtype: u16::from_be_bytes([head[4], head[5]]),
            ttl: four(6),
            place: Place {
                file: four(10),
                line: four(14),
                column: four(18),
            },
            data: four(22),
        }
    }

    fn write(&self, octets: &mut [u8]) {
        let place = [self.place.file, self.place.line, self.place.column];
        octets[..2].copy_from_slice(&self.key.to_be_bytes());
        octets[2..4].copy_from_slice(&[self.owner, u8::from(self.differs)]);
        octets[4..6].copy_from_slice(&self.rtype.to_be_bytes());
        octets[6..10].copy_from_slice(&self.ttl.to_be_bytes());
        for (at, part) in (10..).step_by(4).zip(place) {
            octets[at..at + 4].copy_from_slice(&part.to_be_bytes());
        }
        octets[22..HEAD].copy_from_slice(&self.data.to_be_bytes());
    }

    /// Where the key of the entry at an offset stands.
    fn key_at(&self, at: usize) -> Range<usize> {
        at + HEAD..at + HEAD + usize::from(self.key)
    }

    fn owner_at(&self, at: usize) -> Range<usize> {
        let start = self.key_at(at).end;
        start..start + usize::from(self.owner)
    }

    fn data_at(&self, at: usize) -> Range<usize> {
        let start = self.owner_at(at).end;
        start..start + self.data as usize
    }
}

/// Octets of a key from a depth on as a number: in the order of such numbers are keys that are alike up to there. Behind the end of a
/// key stands what no key goes on with, since no label begins with a zero.
fn octets_at(key: &[u8], depth: usize) -> u64 {
    let rest = key.get(depth..).unwrap_or_default();
    let mut octets = [0; size_of::<u64>()];
    let len = rest.len().min(octets.len());
    octets[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(octets)
}

/// Octets of a [`Head`].
const HEAD: usize = 26;

/// How many entries are read side by side: more than the processor can wait for at once, and few enough to stay in its nearest cache.
const WINDOW: usize = 48;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Name;
    use crate::record::parse_name;
    use crate::version::owned;

    fn place(line: usize) -> Place {
        Place {
            file: 0,
            line: line as u32,
            column: 1,
        }
    }

    /// Names with many labels and octets in common, of any depth, some of which end where others go on.
    fn name() -> impl Strategy<Value = Name> {
        let octet = prop_oneof![
            Just(0u8),
            Just(1),
            Just(2),
            Just(b'a'),
            Just(b'A'),
            Just(b'z')
        ];
        let label = prop_oneof![
            prop::collection::vec(octet, 1..4),
            Just(b"a-label-of-many-octets".to_vec()),
        ];
        prop::collection::vec(label, 0..5).prop_map(|labels| {
            let mut wire = Vec::new();
            for label in labels {
                wire.push(label.len() as u8);
                wire.extend(label);
            }
            wire.extend(b"\x07example\x00");
            Name::from_octets(wire.into()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in_in_canonical_order(
            records in prop::collection::vec((name(), 1u16..4, 0u32..2, any::<[u8; 2]>()), 0..60)
        ) {
            let apex = parse_name("EXAMPLE").unwrap();
            let mut gathered = Gathered::new(&apex);
            for (line, (owner, rtype, ttl, rdata)) in records.iter().enumerate() {
                let (rtype, ttl) = (Rtype::from_int(*rtype), Ttl::from_secs(*ttl));
                gathered.push(place(line), owner.for_slice(), rtype, ttl, rdata);
            }
            let mut expected: Vec<usize> = (0..records.len()).collect();
            // A stable sort.
            expected.sort_by(|one, other| {
                let (one, other) = (&records[*one], &records[*other]);
                one.0.cmp(&other.0).then(one.1.cmp(&other.1))
            });
            let mut expected = expected.into_iter().peekable();
            let mut sets = Vec::new();
            gathered.in_order(|owner, entries| {
                let rtype = entries[0].rtype;
                assert!(sets.last() != Some(&(owned(owner), rtype)), "a set came in two");
                sets.push((owned(owner), rtype));
                let first = records.iter().find(|record| record.0 == *owner).unwrap();
                assert_eq!(first.0.as_slice(), owner.as_slice(), "in the case in which it came first");
                for entry in entries {
                    let mut data = entry.data;
                    let mut line = entry.place.line as usize;
                    let mut differs = false;
                    while let Some((len, rest)) = data.split_first_chunk::<2>() {
                        let (rdata, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
                        data = rest;
                        let record = &records[line];
                        assert_eq!(expected.next(), Some(line));
                        assert_eq!((&record.0, record.1), (&owned(owner), rtype.to_int()));
                        assert_eq!(record.3.as_slice(), rdata);
                        differs |= record.2 != entry.ttl.as_secs();
                        line += 1;
                    }
                    assert_eq!(records[entry.place.line as usize].2, entry.ttl.as_secs());
                    assert_eq!(entry.differs, differs);
                }
            });
            prop_assert_eq!(expected.next(), None);
            for (owner, rtype, ..) in &records {
                let first = records.iter().position(|record| (&record.0, record.1) == (owner, *rtype)).unwrap();
                let found = gathered.place_of(owner, Rtype::from_int(*rtype));
                prop_assert_eq!(found.unwrap().line as usize, first);
                prop_assert!(gathered.place_of(owner, Rtype::from_int(9)).is_none());
            }
        }
    }

    #[test]
    fn another_ttl_in_a_row_is_told_of_once() {
        let apex = parse_name("example").unwrap();
        let mut gathered = Gathered::new(&apex);
        let told: Vec<Option<u32>> = [60, 60, 70, 80, 60]
            .into_iter()
            .map(|ttl| {
                let ttl = Ttl::from_secs(ttl);
                let told = gathered.push(place(1), apex.for_slice(), Rtype::TXT, ttl, b"\x01a");
                told.map(|ttl| ttl.as_secs())
            })
            .collect();
        assert_eq!(told, [None, None, Some(60), None, None]);
    }
}
