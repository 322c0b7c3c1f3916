//! Following a catalog from version to version, and having it follow a directory: at the cost of what changes, and not of
//! what it holds.
//!
//! What comes out is what a reading of the whole would give. Where that cannot be told from the difference alone (anything
//! that is broken, the older convention of the directory), this says so, and the whole has to be read.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Catalog, EditError, Member, below, list, node_above, nodes_at, read_member, remove_node,
};
use crate::directory;
use crate::{Name, Rtype, Serial, Zone};

/// What differs between two versions of a catalog: each zone of which it says something else, with what the newer one says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The zones that are concerned; with `None` those that have left.
    pub members: BTreeMap<Name, Option<Member>>,
    /// What the older version said of them.
    old: BTreeMap<Name, Member>,
}

impl Difference {
    /// Compares two versions. `None` when the newer one has to be read whole.
    pub fn of(before: &Zone, after: &Zone) -> Option<Self> {
        let zones = below(&[b"zones"], after.apex())?;
        let version = below(&[b"version"], after.apex())?;
        let mut nodes = BTreeSet::new();
        for (owner, rtype) in before.changed_rrsets(after) {
            if owner == version && rtype == Rtype::TXT {
                return None;
            }
            if owner.ends_with(&zones) {
                nodes.extend(node_above(&owner, &zones));
            }
        }
        let mut difference = Self::default();
        for node in &nodes {
            if let Some((zone, member)) = read_node(before, node, &zones)?
                && difference.old.insert(zone, member).is_some()
            {
                return None;
            }
            if let Some((zone, member)) = read_node(after, node, &zones)?
                && difference.members.insert(zone, Some(member)).is_some()
            {
                return None;
            }
        }
        for zone in difference.old.keys() {
            difference.members.entry(zone.clone()).or_insert(None);
        }
        Some(difference)
    }

    /// What the older version said of a zone that is concerned.
    pub fn before(&self, zone: &Name) -> Option<&Member> {
        self.old.get(zone)
    }
}

/// Lists zones that a catalog does not list, each with its group, in a catalog that is not broken.
///
/// # Errors
///
/// When the result is not a zone.
pub fn list_more(
    catalog: &Zone,
    zones: &BTreeMap<Name, Option<String>>,
    serial: Serial,
) -> Result<Zone, EditError> {
    let mut editor = catalog.edit();
    // First of all: new member nodes are made from it.
    editor.set_serial(serial);
    for (zone, group) in zones {
        list(&mut editor, zone, None, group.as_deref())?;
    }
    Ok(editor.finish()?)
}

/// One member node; none where there is none. Outer `None` when something is wrong with it.
fn read_node(zone: &Zone, node: &Name, zones: &Name) -> Option<Option<(Name, Member)>> {
    let Some((node, properties)) = nodes_at(zone, node, zones).into_iter().next() else {
        return Some(None);
    };
    let mut faults = Vec::new();
    let read = read_member(node, &properties, &mut faults)?;
    faults.is_empty().then_some(Some(read))
}

impl Catalog {
    /// Takes over what differs between the version that this was read from and a newer one, and returns of which zones the two
    /// say something else. `None` when the newer version has to be read whole: nothing has changed then.
    pub fn follow(&mut self, before: &Zone, after: &Zone) -> Option<BTreeSet<Name>> {
        let difference = Difference::of(before, after)?;
        let differs = |zone: &Name| self.members.get(zone) != difference.old.get(zone);
        // What is not of the old version there is another member node of.
        if difference.members.keys().any(differs) {
            return None;
        }
        let mut changed = BTreeSet::new();
        for (zone, member) in difference.members {
            if self.members.get(&zone) == member.as_ref() {
                continue;
            }
            match member {
                Some(member) => self.members.insert(zone.clone(), member),
                None => self.members.remove(&zone),
            };
            changed.insert(zone);
        }
        Some(changed)
    }
}

/// What [`follow_directory`](super::follow_directory) does, where the catalog was made to follow the older version of the
/// directory before, and no owners are said in the older convention. `member` says what the catalog has of a zone. The outer
/// `None` is for what has to be looked at whole.
///
/// # Errors
///
/// When the result is not a zone.
pub fn follow_owners(
    catalog: &Zone,
    member: impl Fn(&Name) -> Option<Member>,
    owners: &directory::OwnerChanges,
    groups: &BTreeMap<Name, String>,
    serial: Serial,
) -> Result<Option<Zone>, EditError> {
    let mut editor = catalog.edit();
    // First of all: new member nodes are made from it.
    editor.set_serial(serial);
    let mut changed = false;
    let (gone, named): (Vec<_>, Vec<_>) = owners.iter().partition(|(_, owner)| owner.is_none());
    for (zone, _) in gone {
        if let Some(member) = member(zone) {
            remove_node(&mut editor, &member.node);
            changed = true;
        }
    }
    for (zone, _) in named {
        let group = groups.get(zone).map(String::as_str);
        changed |= list(&mut editor, zone, member(zone).as_ref(), group)?;
    }
    Ok(match changed {
        true => Some(editor.finish()?),
        false => None,
    })
}

#[cfg(test)]
mod tests;
