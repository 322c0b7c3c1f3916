//! Immutable versions of a zone, and how a new one is made of an old one.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use domain::base::ToName;

use zonemesh_planted::{Bug, planted};

use self::bulk::Bulk;
use crate::node::{Making, Node};
use crate::record::RecordOctets;
use crate::rrset::{self, RrsetRef};
use crate::tree::{Descent, Tree};
use crate::{Digest, Key, Name, Record, Rrset, Rtype, Serial, Soa, SoaNumbers, Sought, Ttl};

mod bulk;

/// One version of a zone's contents. Immutable; a clone is one reference count.
#[derive(Clone)]
pub struct Zone {
    inner: Arc<Inner>,
}

struct Inner {
    apex: Name,
    numbers: SoaNumbers,
    records: usize,
    /// As octets, so that no room is left before it.
    digest: [u8; Digest::LEN],
    nodes: Tree<Node>,
}

/// # Looking into it
impl Zone {
    /// The zone's name.
    pub fn apex(&self) -> &Name {
        &self.inner.apex
    }

    /// The numbers of the SOA.
    pub fn numbers(&self) -> SoaNumbers {
        self.inner.numbers
    }

    /// The SOA, with its names; [`Zone::numbers`] costs nothing.
    pub fn soa(&self) -> Soa {
        Soa::parse(self.soa_rdata().1).expect("it was parsed when the version was made")
    }

    /// The SOA as a record.
    pub fn soa_record(&self) -> Record {
        let (ttl, rdata) = self.soa_rdata();
        let rdata = Bytes::copy_from_slice(rdata);
        Record::new(self.inner.apex.clone(), Rtype::SOA, ttl, rdata)
    }

    fn soa_rdata(&self) -> (Ttl, &[u8]) {
        let set = self.rrset(self.apex(), Rtype::SOA);
        let soa = set.and_then(|set| Some((set.ttl(), set.first()?)));
        soa.expect("there was one when the version was made")
    }

    /// The serial.
    pub fn serial(&self) -> Serial {
        self.inner.numbers.serial
    }

    /// The node of a name, if it owns records.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.inner.nodes.get(Key::of(name).as_slice())
    }

    /// An RRset.
    pub fn rrset(&self, name: &Name, rtype: Rtype) -> Option<RrsetRef<'_>> {
        self.node(name)?.rrset(rtype)
    }

    /// All nodes in canonical order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.inner.nodes.iter_ahead()
    }

    /// The nodes of a name and of all names below it, in canonical order.
    pub fn nodes_below(&self, name: &Name) -> impl Iterator<Item = &Node> {
        self.inner.nodes.below(Key::of(name).as_slice())
    }

    /// All RRsets in canonical order of their owner names.
    pub fn rrsets(&self) -> impl Iterator<Item = (&NameRef, RrsetRef<'_>)> {
        self.nodes()
            .flat_map(|node| node.rrsets().map(move |set| (node.owner(), set)))
    }

    /// All records in canonical order of their owner names; the SOA stands where its name and type put it.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.rrsets()
            .flat_map(|(owner, set)| records_of(owner, set))
    }

    /// How many records there are.
    pub fn record_count(&self) -> usize {
        self.inner.records
    }

    /// The digest of all its records, the SOA included.
    pub fn digest(&self) -> Digest {
        Digest::from_octets(self.inner.digest)
    }

    /// How many names own records.
    pub fn node_count(&self) -> usize {
        self.inner.nodes.len()
    }

    /// Goes down from the apex towards a name, meeting the nodes on the way; see [`Tree::descend`].
    pub fn descend<'s>(&self, sought: &'s Sought) -> Descent<'_, 's, Node> {
        self.inner.nodes.descend(sought)
    }

    /// The nodes, for those who compare, search or walk them in ways that are not offered here.
    pub fn tree(&self) -> &Tree<Node> {
        &self.inner.nodes
    }

    /// Whether the two have the same records, the SOA included.
    pub fn same_contents(&self, other: &Self) -> bool {
        let mut same = self.apex() == other.apex();
        self.tree().compare(other.tree(), &mut |old, new| {
            same &= matches!((old, new), (Some(old), Some(new)) if old.rrsets().eq(new.rrsets()));
        });
        same
    }

    /// Starts a new version from this one.
    pub fn edit(&self) -> Editor {
        Editor {
            apex: self.inner.apex.clone(),
            nodes: self.inner.nodes.clone(),
            records: self.inner.records,
            digest: self.digest(),
            run: Run::default(),
            making: Making::default(),
            bulk: None,
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Zone({} {} {} records)",
            self.apex(),
            self.serial(),
            self.record_count()
        )
    }
}

/// The records of an RRset.
pub fn records_of<'a>(
    owner: &NameRef,
    set: RrsetRef<'a>,
) -> impl Iterator<Item = Record> + use<'a> {
    let owner = owned(owner);
    set.iter().map(move |rdata| {
        Record::new(
            owner.clone(),
            set.rtype(),
            set.ttl(),
            Bytes::copy_from_slice(rdata),
        )
    })
}

/// Why records do not make a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// A record's owner name is not at or below the apex.
    #[error("{owner} {rtype} is outside of the zone {apex}")]
    OutOfZone {
        /// The zone.
        apex: Name,
        /// The owner name.
        owner: Name,
        /// The record's type.
        rtype: Rtype,
    },
    /// There is no SOA record at the apex.
    #[error("zone {0} has no SOA record at its apex")]
    NoSoa(Name),
    /// There is more than one SOA record, or one that is not at the apex.
    #[error("{0} has an SOA record too many; a zone has exactly one, at its apex")]
    ExtraSoa(Name),
    /// The SOA record is malformed.
    #[error("the SOA record of {0} is malformed")]
    BadSoa(Name),
    /// A type that cannot be in a zone, such as OPT, TSIG or a question type.
    #[error("{owner} has a record of type {rtype}, which cannot be in a zone")]
    NotData {
        /// The owner name.
        owner: Name,
        /// The type.
        rtype: Rtype,
    },
}

/// Makes a version: of nothing, or of another version.
///
/// Records may come in any order; it is quickest when those of an RRset come together, and of nothing when owner names come in
/// canonical order.
pub struct Editor {
    apex: Name,
    nodes: Tree<Node>,
    records: usize,
    digest: Digest,
    /// Records of one RRset that are nowhere else yet.
    run: Run,
    /// The node that is put in next.
    making: Making,
    /// What a version of nothing has so far, as long as names come in canonical order; the tree is empty then.
    bulk: Option<Box<Bulk>>,
}

/// Records of one RRset. It is kept and filled again, so that a record costs no memory of its own.
struct Run {
    /// In wire format; empty when there are no records.
    owner: Vec<u8>,
    rtype: Rtype,
    ttl: Ttl,
    /// Each RDATA after its length in two octets.
    rdata: Vec<u8>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            owner: Vec::new(),
            rtype: Rtype::SOA,
            ttl: Ttl::default(),
            rdata: Vec::new(),
        }
    }
}

/// A name in wire format, of which the octets are somewhere else.
pub type NameRef = domain::base::Name<[u8]>;

impl Editor {
    /// Starts from nothing.
    pub fn new(apex: Name) -> Self {
        Self {
            apex,
            nodes: Tree::new(),
            records: 0,
            digest: Digest::default(),
            run: Run::default(),
            making: Making::default(),
            bulk: Some(Box::default()),
        }
    }

    /// The zone's name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The RRset of a name and type as it stands now.
    pub fn rrset(&mut self, owner: &Name, rtype: Rtype) -> Option<RrsetRef<'_>> {
        self.flush();
        self.nodes.get(Key::of(owner).as_slice())?.rrset(rtype)
    }

    /// The node of a name as it stands now.
    pub fn node(&mut self, owner: &Name) -> Option<&Node> {
        self.flush();
        self.nodes.get(Key::of(owner).as_slice())
    }

    /// The names at and below a name that own records as it stands now, in canonical order.
    pub fn names_below(&mut self, name: &Name) -> Vec<Name> {
        self.flush();
        self.nodes
            .below(Key::of(name).as_slice())
            .map(|node| owned(node.owner()))
            .collect()
    }

    /// Adds a record; one that is there already changes nothing. The TTL of the last one added becomes that of the
    /// whole RRset (RFC 2181 §5.2 wants them alike; a loader that minds must look before).
    ///
    /// # Errors
    ///
    /// When the record cannot be in this zone.
    pub fn add(&mut self, record: Record) -> Result<(), ZoneError> {
        let owner = record.owner.as_slice();
        self.add_wire(owner, record.rtype, record.ttl, &record.rdata)
    }

    /// The same of a record that was read out of a message.
    ///
    /// # Errors
    ///
    /// When the record cannot be in this zone.
    pub fn add_read(&mut self, record: &RecordOctets) -> Result<(), ZoneError> {
        let (rtype, ttl) = (record.rtype(), record.ttl());
        self.add_wire(record.owner_octets(), rtype, ttl, record.rdata())
    }

    fn add_wire(
        &mut self,
        owner: &[u8],
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
    ) -> Result<(), ZoneError> {
        self.admit(owner, rtype)?;
        let run = &mut self.run;
        if run.rtype != rtype || !run.owner.eq_ignore_ascii_case(owner) {
            self.flush_run();
            let run = &mut self.run;
            run.owner.extend_from_slice(owner);
            run.rtype = rtype;
        }
        let run = &mut self.run;
        run.ttl = ttl;
        // RDATA that is longer cannot exist in DNS, and was refused before.
        if let Ok(len) = u16::try_from(rdata.len()) {
            run.rdata.extend_from_slice(&len.to_be_bytes());
            run.rdata.extend_from_slice(rdata);
        }
        Ok(())
    }

    /// Removes a record, whatever its TTL; returns whether it was there.
    pub fn remove(&mut self, owner: &Name, rtype: Rtype, rdata: &[u8]) -> bool {
        self.flush();
        let Some(set) = self
            .nodes
            .get(Key::of(owner).as_slice())
            .and_then(|node| node.rrset(rtype))
        else {
            return false;
        };
        if !set.contains(rdata) {
            return false;
        }
        let set = set.without(rdata);
        self.set(owner.as_slice(), rtype, Some(set.as_ref()));
        true
    }

    /// Puts an RRset in the place of the one of its name and type; an empty one removes it.
    ///
    /// # Errors
    ///
    /// When the RRset cannot be in this zone.
    pub fn put(&mut self, owner: &Name, set: Rrset) -> Result<(), ZoneError> {
        self.put_set(owner.as_slice(), set.as_ref())
    }

    /// The same of an RRset that is nobody's yet: each RDATA in uncompressed wire format, after its length in two octets. Anything
    /// behind the last whole one is ignored.
    ///
    /// # Errors
    ///
    /// When the RRset cannot be in this zone.
    pub fn put_octets(
        &mut self,
        owner: &NameRef,
        rtype: Rtype,
        ttl: Ttl,
        wire: &[u8],
    ) -> Result<(), ZoneError> {
        rrset::of_wire(rtype, ttl, wire, |set| self.put_set(owner.as_slice(), set))
    }

    fn put_set(&mut self, owner: &[u8], set: RrsetRef<'_>) -> Result<(), ZoneError> {
        self.flush_run();
        self.admit(owner, set.rtype())?;
        if let Some(bulk) = &mut self.bulk
            && !set.is_empty()
            && bulk.put(owner, set, false)
        {
            return Ok(());
        }
        self.settle();
        self.set(owner, set.rtype(), Some(set));
        Ok(())
    }

    /// Removes an RRset; returns whether it was there.
    pub fn remove_rrset(&mut self, owner: &Name, rtype: Rtype) -> bool {
        self.flush();
        self.set(owner.as_slice(), rtype, None)
    }

    /// Removes all RRsets of a name; returns whether there were any.
    pub fn remove_name(&mut self, owner: &Name) -> bool {
        self.flush();
        let key = Key::of(owner);
        match self.nodes.remove(key.as_slice()) {
            Some(node) => {
                for set in node.rrsets() {
                    self.records -= set.len();
                    self.digest = self.digest.minus(Digest::of_rrset(key.as_slice(), set));
                }
                true
            }
            None => false,
        }
    }

    /// Puts in an SOA with this serial; returns false when there is no good SOA yet.
    pub fn set_serial(&mut self, serial: Serial) -> bool {
        self.set_soa(|soa| Soa { serial, ..soa })
    }

    /// Puts in an SOA that names this primary server; returns false when there is no good SOA yet.
    pub fn set_mname(&mut self, mname: &Name) -> bool {
        self.set_soa(|soa| Soa {
            mname: mname.clone(),
            ..soa
        })
    }

    fn set_soa(&mut self, change: impl FnOnce(Soa) -> Soa) -> bool {
        let apex = self.apex.clone();
        let Some((soa, ttl)) = self
            .rrset(&apex, Rtype::SOA)
            .and_then(|set| Some((Soa::parse(set.first()?).ok()?, set.ttl())))
        else {
            return false;
        };
        let soa = change(soa);
        self.set(
            apex.as_slice(),
            Rtype::SOA,
            Some(Rrset::new(Rtype::SOA, ttl, [soa.to_rdata()]).as_ref()),
        );
        true
    }

    /// Makes the version.
    ///
    /// # Errors
    ///
    /// When there is not exactly one SOA record at the apex.
    pub fn finish(mut self) -> Result<Zone, ZoneError> {
        self.flush();
        let set = self
            .nodes
            .get(Key::of(&self.apex).as_slice())
            .and_then(|node| node.rrset(Rtype::SOA))
            .ok_or_else(|| ZoneError::NoSoa(self.apex.clone()))?;
        let (Some(rdata), 1) = (set.first(), set.len()) else {
            return Err(ZoneError::ExtraSoa(self.apex));
        };
        let numbers = SoaNumbers::parse(rdata).map_err(|_| ZoneError::BadSoa(self.apex.clone()))?;
        let Self {
            apex,
            nodes,
            records,
            digest,
            ..
        } = self;
        Ok(Zone {
            inner: Arc::new(Inner {
                apex,
                numbers,
                records,
                digest: digest.to_octets(),
                nodes,
            }),
        })
    }

    /// Whether a record of a type can be at an owner name, which is one in wire format.
    fn admit(&self, owner: &[u8], rtype: Rtype) -> Result<(), ZoneError> {
        let apex = self.apex.as_slice();
        let name = || NameRef::from_slice(owner).map_or_else(|_| Name::root(), owned);
        if !is_at_or_below(owner, apex) {
            return Err(ZoneError::OutOfZone {
                apex: self.apex.clone(),
                owner: name(),
                rtype,
            });
        }
        if rtype == Rtype::SOA && owner.len() != apex.len() {
            return Err(ZoneError::ExtraSoa(name()));
        }
        // RFC 6895 §3.1: 0 and 65535 are reserved, 41 is OPT, 128 to 255 are for questions and for messages alone.
        if matches!(rtype.to_int(), 0 | 41 | 128..=255 | 65535) {
            let owner = name();
            return Err(ZoneError::NotData { owner, rtype });
        }
        Ok(())
    }

    /// Has all that was added in the tree.
    fn flush(&mut self) {
        self.flush_run();
        self.settle();
    }

    /// Has what was added in the tree or among what will be one.
    fn flush_run(&mut self) {
        let mut run = std::mem::take(&mut self.run);
        if !run.owner.is_empty() {
            rrset::of_wire(run.rtype, run.ttl, &run.rdata, |set| {
                self.merge(&run.owner, set);
            });
        }
        run.owner.clear();
        run.rdata.clear();
        self.run = run;
    }

    /// Adds the records of an RRset to those of its name and type.
    fn merge(&mut self, owner: &[u8], set: RrsetRef<'_>) {
        if let Some(bulk) = &mut self.bulk
            && bulk.put(owner, set, true)
        {
            return;
        }
        self.settle();
        let key = Key::from_wire(owner);
        let node = self.nodes.get(key.as_slice());
        let old = node.and_then(|node| node.rrset(set.rtype()));
        let joined = old.map(|old| joined(old, set));
        let set = joined.as_ref().map_or(set, Rrset::as_ref);
        self.set(owner, set.rtype(), Some(set));
    }

    /// Makes the tree of what came in canonical order, if that is how it was until now.
    fn settle(&mut self) {
        if let Some(bulk) = self.bulk.take() {
            let made = bulk.finish();
            (self.nodes, self.records, self.digest) = (made.nodes, made.records, made.digest);
        }
    }

    /// Puts in or takes out an RRset; returns whether there was one.
    fn set(&mut self, owner: &[u8], rtype: Rtype, set: Option<RrsetRef<'_>>) -> bool {
        let set = set.filter(|set| !set.is_empty());
        let key = Key::from_wire(owner);
        let node = self.nodes.get(key.as_slice());
        let old = node.and_then(|node| node.rrset(rtype));
        let had = old.is_some();
        if old == set {
            return had;
        }
        let digest = |set: RrsetRef<'_>| Digest::of_rrset(key.as_slice(), set);
        let removed = old.map(digest).filter(|_| !planted(Bug::DigestNotKeptUp));
        let added = set.map(digest).unwrap_or_default();
        self.digest = self.digest.minus(removed.unwrap_or_default()).plus(added);
        let len = |set: Option<RrsetRef<'_>>| set.map_or(0, |set| set.len());
        self.records = self.records + len(set) - len(old);
        match node {
            Some(node) => self.making.start_from(node),
            None => self.making.start(owner),
        }
        self.making
            .put(set.unwrap_or(RrsetRef::of_parts(rtype, Ttl::ZERO, &[])));
        match self.making.made() {
            Some(node) => self.nodes.insert(node),
            None => self.nodes.remove(key.as_slice()),
        };
        had
    }
}

/// Both RRsets in one, with the TTL of the second.
fn joined(old: RrsetRef<'_>, new: RrsetRef<'_>) -> Rrset {
    Rrset::new(new.rtype(), new.ttl(), old.iter().chain(new.iter()))
}

/// A name with octets of its own.
pub fn owned(name: &NameRef) -> Name {
    name.to_bytes()
}

/// Whether a name is another one or below it, both in wire format.
pub(crate) fn is_at_or_below(name: &[u8], apex: &[u8]) -> bool {
    let mut rest = name;
    while rest.len() > apex.len() {
        let label = rest.first().map_or(0, |len| usize::from(*len));
        match rest.get(label + 1..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    // Lengths of labels are smaller than any letter.
    rest == apex || rest.eq_ignore_ascii_case(apex)
}

#[cfg(test)]
mod tests;
