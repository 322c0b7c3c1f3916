//! The catalog zone: the list of all member zones, RFC 9432 version 2.
//!
//! Both sides are here: a consumer's strict reading, in which a broken catalog is an error and so changes nothing
//! (§5.1), and a producer's edits. Properties that are not known are kept and ignored, as §4.4 wants.
//!
//! What this does not do: decide which zones a catalog may push, or what becomes of a zone that leaves it.

mod follow;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{Bytes, BytesMut};

pub use self::follow::{Difference, follow_owners, list_more};
use crate::directory::{self, Directory, Epoch};
use crate::version::owned;
use crate::{
    Editor, Name, OwnedKey, Record, Rrset, RrsetRef, Rtype, Serial, Soa, Ttl, Zone, ZoneError, txt,
};

/// The catalog as it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// The catalog zone's name.
    pub apex: Name,
    /// The member zones.
    pub members: BTreeMap<Name, Member>,
}

/// What the catalog says about a member zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member node. Another one for the same zone means that its state at a consumer is to be reset (§5.4).
    pub node: Name,
    /// The groups that it belongs to (§4.3.2).
    pub groups: Vec<String>,
    /// The catalog that it may move to (§4.3.1).
    pub coo: Option<Name>,
}

/// What makes a catalog broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogFault {
    /// §4.2.1: there is no version.
    #[error("catalog {} has no version; expected {} TXT \"2\"", .0.fmt_with_dot(), .1.fmt_with_dot())]
    NoVersion(Name, Name),
    /// §4.2.1: a version that cannot be read, or more than one.
    #[error("catalog {} has version {found}; only \"2\" can be used", .apex.fmt_with_dot())]
    Version {
        /// The catalog.
        apex: Name,
        /// What was found.
        found: String,
    },
    /// §4.1: a member node has more than one PTR record.
    #[error("member node {} names {count} zones; a member node names one", .node.fmt_with_dot())]
    SeveralZones {
        /// The member node.
        node: Name,
        /// How many PTR records it has.
        count: usize,
    },
    /// §4.1: a member node has properties but names no zone.
    #[error("member node {} has no PTR record that names its zone", .0.fmt_with_dot())]
    NoZone(Name),
    /// §4.1: a zone is named by more than one member node.
    #[error("zone {} is a member twice, as {} and as {}", .zone.fmt_with_dot(), .first.fmt_with_dot(), .second.fmt_with_dot())]
    Twice {
        /// The member zone.
        zone: Name,
        /// One member node.
        first: Name,
        /// Another one.
        second: Name,
    },
    /// A PTR or TXT record that has to be understood is malformed, or there is one too many (§4.3.1).
    #[error("{}: {message}", .owner.fmt_with_dot())]
    Property {
        /// Its owner name.
        owner: Name,
        /// What is wrong.
        message: String,
    },
}

/// All that makes a catalog broken; for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub Vec<CatalogFault>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Broken {}

/// # Reading
impl Catalog {
    /// Reads a catalog.
    ///
    /// # Errors
    ///
    /// When it is broken. A consumer then changes nothing and tells its operator.
    pub fn read(zone: &Zone) -> Result<Self, Vec<CatalogFault>> {
        let apex = zone.apex();
        let mut faults = Vec::new();
        read_version(zone, &mut faults);
        let mut members = Vec::new();
        for (node, properties) in member_nodes(zone) {
            members.extend(read_member(node, &properties, &mut faults));
        }
        // By their keys, since to compare names takes much longer; what is in order makes a tree without a look at each other.
        members.sort_by_cached_key(|(zone, _)| OwnedKey::of(zone));
        members.dedup_by(|(zone, second), (before, first)| {
            let twice = zone == before;
            if twice {
                faults.push(CatalogFault::Twice {
                    zone: zone.clone(),
                    first: first.node.clone(),
                    second: second.node.clone(),
                });
            }
            twice
        });
        let mut together = Together::default();
        let members = members
            .into_iter()
            .map(|(zone, member)| (together.put(&zone), member));
        match faults.is_empty() {
            true => Ok(Self {
                apex: apex.clone(),
                members: members.collect(),
            }),
            false => Err(faults),
        }
    }
}

/// Names in a few pieces of memory. Each would be in one of its own otherwise, with one more for all that share it, and for as long as
/// it is a member; here as many octets stay as long as one of fifty does.
#[derive(Default)]
struct Together(BytesMut);

impl Together {
    fn put(&mut self, name: &Name) -> Name {
        if self.0.capacity() < name.len() {
            self.0 = BytesMut::with_capacity(Self::PIECE);
        }
        self.0.extend_from_slice(name.as_slice());
        Name::from_octets(self.0.split().freeze()).expect("the octets are those of a name")
    }

    /// Octets of one piece.
    const PIECE: usize = 1024;
}

/// The member that a node names, and what else it says of it; none where that cannot be read.
fn read_member(
    node: Name,
    properties: &Properties<'_>,
    faults: &mut Vec<CatalogFault>,
) -> Option<(Name, Member)> {
    let Some(set) = properties.zone else {
        faults.push(CatalogFault::NoZone(node));
        return None;
    };
    let zone = match ptr(set) {
        Ok(zone) => zone,
        Err(count) if count > 1 => {
            faults.push(CatalogFault::SeveralZones { node, count });
            return None;
        }
        Err(_) => {
            faults.push(malformed(&node));
            return None;
        }
    };
    let mut coo = None;
    if let Some((owner, set)) = &properties.coo {
        match ptr(*set) {
            Ok(target) => coo = Some(target),
            Err(count) if count > 1 => faults.push(CatalogFault::Property {
                owner: owner.clone(),
                message: format!("{count} catalogs in a coo property; expected one"),
            }),
            Err(_) => faults.push(malformed(owner)),
        }
    }
    let groups = match &properties.group {
        None => Vec::new(),
        Some((owner, set)) => read_groups(owner, *set, faults),
    };
    Some((zone, Member { node, groups, coo }))
}

fn malformed(owner: &Name) -> CatalogFault {
    CatalogFault::Property {
        owner: owner.clone(),
        message: "malformed PTR record".into(),
    }
}

fn read_version(zone: &Zone, faults: &mut Vec<CatalogFault>) {
    let apex = zone.apex();
    let Some(owner) = below(&[b"version"], apex) else {
        // The name does not fit, and neither does any member.
        return faults.push(CatalogFault::NoVersion(apex.clone(), apex.clone()));
    };
    let Some(set) = zone.rrset(&owner, Rtype::TXT) else {
        return faults.push(CatalogFault::NoVersion(apex.clone(), owner));
    };
    let strings = set.first().and_then(txt::parse);
    if set.len() == 1 && strings.as_deref() == Some(&[b"2"]) {
        return;
    }
    let found: Vec<String> = set
        .iter()
        .map(|rdata| crate::record::rdata_text(Rtype::TXT, rdata))
        .collect();
    faults.push(CatalogFault::Version {
        apex: apex.clone(),
        found: found.join(" and "),
    });
}

fn read_groups(owner: &Name, set: RrsetRef<'_>, faults: &mut Vec<CatalogFault>) -> Vec<String> {
    let mut groups = BTreeSet::new();
    for rdata in set.iter() {
        match txt::parse_text(rdata) {
            Some(strings) => {
                groups.insert(strings.concat());
            }
            None => faults.push(CatalogFault::Property {
                owner: owner.clone(),
                message: "a group that is not text".into(),
            }),
        }
    }
    groups.into_iter().collect()
}

/// The only target of a PTR RRset; how many there are when it is not one.
fn ptr(set: RrsetRef<'_>) -> Result<Name, usize> {
    match (set.first(), set.len()) {
        (Some(rdata), 1) => Name::from_octets(Bytes::copy_from_slice(rdata)).map_err(|_| 1),
        (_, count) => Err(count),
    }
}

/// What stands at and below a member node.
#[derive(Default)]
struct Properties<'z> {
    zone: Option<RrsetRef<'z>>,
    group: Option<(Name, RrsetRef<'z>)>,
    coo: Option<(Name, RrsetRef<'z>)>,
}

fn member_nodes(zone: &Zone) -> Vec<(Name, Properties<'_>)> {
    match below(&[b"zones"], zone.apex()) {
        Some(zones) => nodes_at(zone, &zones, &zones),
        None => Vec::new(),
    }
}

/// The member nodes at and below a name that is `zones` or below it.
fn nodes_at<'z>(zone: &'z Zone, at: &Name, zones: &Name) -> Vec<(Name, Properties<'z>)> {
    let mut nodes: Vec<(Name, Properties<'_>)> = Vec::new();
    for at in zone.nodes_below(at) {
        let owner = owned(at.owner());
        let depth = owner.label_count() - zones.label_count();
        let Some(node) = node_above(&owner, zones) else {
            continue;
        };
        // The records of a node and those below it stand together in canonical order.
        if nodes.last().is_none_or(|(last, _)| *last != node) {
            nodes.push((node, Properties::default()));
        }
        let Some((_, entry)) = nodes.last_mut() else {
            continue;
        };
        let first = owner.first().as_slice().to_ascii_lowercase();
        match (depth, &first[..]) {
            (1, _) => entry.zone = at.rrset(Rtype::PTR),
            (2, b"group") => entry.group = at.rrset(Rtype::TXT).map(|set| (owner, set)),
            (2, b"coo") => entry.coo = at.rrset(Rtype::PTR).map(|set| (owner, set)),
            _ => {}
        }
    }
    nodes
}

/// The member node at or above a name below `zones`.
fn node_above(owner: &Name, zones: &Name) -> Option<Name> {
    let depth = owner.label_count().checked_sub(zones.label_count())?;
    owner.iter_suffixes().nth(depth.checked_sub(1)?)
}

/// Why a catalog cannot be edited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is broken as it stands.
    #[error("the catalog is broken and is left as it is")]
    Broken(#[source] Broken),
    /// Its name is too long to have member nodes.
    #[error("the catalog's name {} leaves no room for member nodes", .0.fmt_with_dot())]
    TooLong(Name),
    /// The result is not a zone.
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// Catalogs are transferred, not resolved: nobody caches them (RFC 9432 §4).
const TTL: Ttl = Ttl::from_secs(0);

/// Makes an empty catalog.
///
/// # Errors
///
/// When its name is too long to have member nodes.
pub fn new_zone(apex: &Name, serial: Serial) -> Result<Zone, EditError> {
    let too_long = || EditError::TooLong(apex.clone());
    // RFC 9432 §4: `invalid.` where a name server must be named.
    let invalid = Name::from_octets(Bytes::from_static(b"\x07invalid\0"))
        .expect("a well-formed name was written here");
    // Room for the longest name that a member node will need.
    below(&[b"group", &[b'0'; 16], b"zones"], apex).ok_or_else(too_long)?;
    let soa = Soa {
        mname: invalid.clone(),
        rname: invalid.clone(),
        serial,
        refresh: 300,
        retry: 60,
        expire: 42 * 86_400,
        minimum: 0,
    };
    let mut editor = Editor::new(apex.clone());
    editor.add(Record::new(apex.clone(), Rtype::SOA, TTL, soa.to_rdata()))?;
    let ns = Bytes::copy_from_slice(invalid.as_slice());
    editor.add(Record::new(apex.clone(), Rtype::NS, TTL, ns))?;
    let version = below(&[b"version"], apex).ok_or_else(too_long)?;
    editor.add(Record::new(version, Rtype::TXT, TTL, txt::compose(["2"])))?;
    Ok(editor.finish()?)
}

/// Adds a member, under a member node that this zone has not had in versions of the catalog with another serial. A
/// zone that is a member already stays as it is, but for the group.
///
/// # Errors
///
/// When the catalog's name is too long.
pub fn add_member(editor: &mut Editor, zone: &Name, group: Option<&str>) -> Result<(), EditError> {
    let node = match node_of(editor, zone) {
        Some(node) => node,
        None => insert(editor, zone, None)?,
    };
    match group {
        Some(group) => put_groups(editor, &node, &[group]),
        None => Ok(()),
    }
}

/// Removes a member with all its properties; returns whether it was one.
pub fn remove_member(editor: &mut Editor, zone: &Name) -> bool {
    let Some(node) = node_of(editor, zone) else {
        return false;
    };
    remove_node(editor, &node);
    true
}

fn remove_node(editor: &mut Editor, node: &Name) {
    for name in editor.names_below(node) {
        editor.remove_name(&name);
    }
}

/// Sets the groups of a member; none at all removes the property. Returns false when the zone is not a member.
///
/// # Errors
///
/// When the catalog's name is too long.
pub fn set_groups(editor: &mut Editor, zone: &Name, groups: &[&str]) -> Result<bool, EditError> {
    match node_of(editor, zone) {
        None => Ok(false),
        Some(node) => put_groups(editor, &node, groups).map(|()| true),
    }
}

/// Gives a member another member node, so that all consumers forget what they keep of it (RFC 9432 §5.4). Returns
/// false when the zone is not a member.
///
/// # Errors
///
/// When the catalog's name is too long.
pub fn reset_member(editor: &mut Editor, zone: &Name) -> Result<bool, EditError> {
    let Some(node) = node_of(editor, zone) else {
        return Ok(false);
    };
    let group = below(&[b"group"], &node)
        .and_then(|owner| Some(editor.rrset(&owner, Rtype::TXT)?.to_owned()));
    remove_member(editor, zone);
    let new = insert(editor, zone, Some(&node))?;
    if let (Some(set), Some(owner)) = (group, below(&[b"group"], &new)) {
        editor.put(&owner, set)?;
    }
    Ok(true)
}

/// Where a catalog says which writer it comes from: a custom property of ours (RFC 9432 §4.4). `None` when the catalog's
/// name leaves no room.
pub(crate) fn epoch_owner(apex: &Name) -> Option<Name> {
    below(&[b"zonemesh", b"ext"], apex)
}

/// Makes a site the one that writes the catalog.
///
/// # Errors
///
/// When the catalog's name is too long.
pub fn promote(editor: &mut Editor, mname: &Name, epoch: &Epoch) -> Result<(), EditError> {
    let apex = editor.apex().clone();
    let owner = epoch_owner(&apex).ok_or_else(|| EditError::TooLong(apex))?;
    let rdata = txt::compose(epoch.strings());
    editor.put(&owner, Rrset::new(Rtype::TXT, TTL, [rdata]))?;
    // A difference that starts from the version of another writer says so by this name.
    editor.set_mname(mname);
    Ok(())
}

/// Makes the catalog's members those that are wanted. A group of `None` leaves the groups as they are. Returns `None`
/// when nothing changes.
///
/// # Errors
///
/// When the catalog is broken: someone has to look at it first.
pub fn follow(
    catalog: &Zone,
    wanted: &BTreeMap<Name, Option<String>>,
    serial: Serial,
) -> Result<Option<Zone>, EditError> {
    let have = Catalog::read(catalog).map_err(|faults| EditError::Broken(Broken(faults)))?;
    let mut editor = catalog.edit();
    // First of all: new member nodes are made from it.
    editor.set_serial(serial);
    let mut changed = false;
    for (zone, member) in &have.members {
        if !wanted.contains_key(zone) {
            remove_node(&mut editor, &member.node);
            changed = true;
        }
    }
    for (zone, group) in wanted {
        changed |= list(&mut editor, zone, have.members.get(zone), group.as_deref())?;
    }
    Ok(match changed {
        true => Some(editor.finish()?),
        false => None,
    })
}

/// Lists `zone`, and puts it in `group` if one is given, where `member`, which lists it now, differs. Says whether it did.
fn list(
    editor: &mut Editor,
    zone: &Name,
    member: Option<&Member>,
    group: Option<&str>,
) -> Result<bool, EditError> {
    let node = match member {
        Some(member) => member.node.clone(),
        None => insert(editor, zone, None)?,
    };
    let Some(group) = group else {
        return Ok(member.is_none());
    };
    if member.is_some_and(|member| member.groups == [group]) {
        return Ok(false);
    }
    put_groups(editor, &node, &[group])?;
    Ok(true)
}

/// Makes the catalog follow a change of the directory: zones that have a primary now become members, and members leave
/// that had one before, or of which a note says that they were removed, and are no longer named at all. A member of which the
/// directory never said anything, or says something that cannot be understood, stays. Returns `None` when nothing changes.
///
/// # Errors
///
/// When the catalog is broken: someone has to look at it first.
pub fn follow_directory(
    catalog: &Zone,
    before: &Zone,
    after: &Zone,
    groups: &BTreeMap<Name, String>,
    serial: Serial,
) -> Result<Option<Zone>, EditError> {
    let have = Catalog::read(catalog).map_err(|faults| EditError::Broken(Broken(faults)))?;
    let known: Vec<Name> = have.members.into_keys().collect();
    let old = Directory::read_with_legacy(before, &known);
    let new = Directory::read_with_legacy(after, &known);
    let named = |zone: &Name| {
        new.owners.contains_key(zone)
            || directory::zone_node(zone, after.apex())
                .is_ok_and(|node| after.rrset(&node, Rtype::PTR).is_some())
    };
    let left = |zone: &Name| old.owners.contains_key(zone) || new.gone.contains_key(zone);
    let stays = |zone: &&Name| named(zone) || !left(zone);
    let wanted = known
        .iter()
        .filter(stays)
        .chain(new.owners.keys())
        .map(|zone| (zone.clone(), groups.get(zone).cloned()))
        .collect();
    follow(catalog, &wanted, serial)
}

/// The member node of a zone.
fn node_of(editor: &mut Editor, zone: &Name) -> Option<Name> {
    let zones = below(&[b"zones"], editor.apex())?;
    editor
        .names_below(&zones)
        .into_iter()
        .filter(|name| name.label_count() == zones.label_count() + 1)
        .find(|name| {
            editor
                .rrset(name, Rtype::PTR)
                .is_some_and(|set| ptr(set).is_ok_and(|member| member == *zone))
        })
}

fn insert(editor: &mut Editor, zone: &Name, not: Option<&Name>) -> Result<Name, EditError> {
    let apex = editor.apex().clone();
    let too_long = || EditError::TooLong(apex.clone());
    let serial = editor
        .rrset(&apex, Rtype::SOA)
        .and_then(|set| Soa::parse(set.first()?).ok())
        .map_or(0, |soa| soa.serial.into_int());
    let mut attempt = 0;
    let node = loop {
        let label = node_label(zone, serial, attempt);
        let node = below(&[label.as_bytes(), b"zones"], &apex).ok_or_else(too_long)?;
        if not != Some(&node) && editor.names_below(&node).is_empty() {
            break node;
        }
        attempt += 1;
    };
    let target = Bytes::copy_from_slice(zone.as_slice());
    editor.add(Record::new(node.clone(), Rtype::PTR, TTL, target))?;
    Ok(node)
}

/// Sixteen hexadecimal digits from the zone's name and the serial at which it was added (64-bit FNV-1a): the same
/// input gives the same catalog, and a zone that comes back comes under another node.
fn node_label(zone: &Name, serial: u32, attempt: u32) -> String {
    let lower = zone.as_slice().to_ascii_lowercase();
    let hash = lower
        .iter()
        .chain(&serial.to_be_bytes())
        .chain(&attempt.to_be_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

fn put_groups(editor: &mut Editor, node: &Name, groups: &[&str]) -> Result<(), EditError> {
    let owner = below(&[b"group"], node).ok_or_else(|| EditError::TooLong(node.clone()))?;
    let rdata = groups.iter().map(|group| txt::compose([group]));
    editor.put(&owner, Rrset::new(Rtype::TXT, TTL, rdata))?;
    Ok(())
}

fn below(labels: &[&[u8]], apex: &Name) -> Option<Name> {
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.extend_from_slice(apex.as_slice());
    Name::from_octets(wire.into()).ok()
}

#[cfg(test)]
mod tests;
