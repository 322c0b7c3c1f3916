//! Following a directory from version to version: a change costs what it changes, and not what the directory holds.
//!
//! What comes out is what [`Directory::read_with_legacy`] makes of the newer version. Where records hang together in a way
//! that only a reading of all of them can see through (a tombstone, the older convention, anything that is wrong), this says
//! so and leaves everything as it was.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::{below, first_label, zone_node};
use super::gone;
use super::parse::{self, Concern};
use super::{Directory, Role, Site, SiteName};
use crate::{Name, Rtype, Zone};

/// What differs between two versions of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sites that came, went, or are described otherwise.
    pub sites: BTreeSet<SiteName>,
    /// Zones that have a primary now and had none, the other way round, or have another.
    pub owners: BTreeSet<Name>,
}

impl Directory {
    /// Takes over what differs between the version that this was read from and a newer one. `listed` are the zones that are
    /// known now and were not then, or the other way round. `None` when the newer version has to be read whole: nothing has
    /// changed then.
    pub fn follow<'n>(
        &mut self,
        before: &Zone,
        after: &Zone,
        listed: impl IntoIterator<Item = &'n Name>,
    ) -> Option<Changes> {
        let older_form = |zone: &Name| in_older_form(zone, before) || in_older_form(zone, after);
        if listed.into_iter().any(older_form) {
            return None;
        }
        let mut sites: BTreeMap<SiteName, Option<Site>> = BTreeMap::new();
        let mut nodes = Vec::new();
        let mut noted = BTreeSet::new();
        for (owner, rtype) in before.changed_rrsets(after) {
            match parse::concern(&owner, rtype, &self.apex) {
                Concern::Nothing => {}
                Concern::Owner => nodes.push(owner),
                Concern::Note => {
                    let old = parse::note(before, &owner).ok()?;
                    let new = parse::note(after, &owner).ok()?;
                    noted.extend(old.or(new).map(|(zone, _)| zone));
                }
                Concern::Site(site) if sites.contains_key(&site) => {}
                Concern::Site(site) => {
                    let old = parse::site(before, &site, &self.removed).ok()?;
                    if old.as_ref() != self.sites.get(&site) {
                        return None;
                    }
                    let new = parse::site(after, &site, &self.removed).ok()?;
                    sites.insert(site, new);
                }
                Concern::All => return None,
            }
        }
        let stays = |site: &SiteName| match sites.get(site) {
            Some(new) => new.is_some(),
            None => self.sites.contains_key(site),
        };
        let mut owners: BTreeMap<Name, Option<SiteName>> = BTreeMap::new();
        for node in nodes {
            let old = parse::owner(before, &node).ok()?;
            let new = parse::owner(after, &node).ok()?;
            let Some((zone, _)) = old.as_ref().or(new.as_ref()) else {
                continue;
            };
            let zone = zone.clone();
            let (old, new) = (old.map(|(_, site)| site), new.map(|(_, site)| site));
            let known = old
                .as_ref()
                .is_none_or(|site| self.sites.contains_key(site));
            if older_form(&zone)
                || old.as_ref() != self.owners.get(&zone)
                || !known
                || !new.as_ref().is_none_or(stays)
            {
                return None;
            }
            owners.insert(zone, new);
        }
        if !self.stand_apart(&sites) || self.leaves_zones(&sites, &owners) {
            return None;
        }
        // A zone that is listed is not gone, whatever is noted of it.
        noted.extend(owners.keys().cloned());
        let mut notes = BTreeMap::new();
        for zone in noted {
            let at = gone::note_owner(&zone, &self.apex);
            let note = at.map(|at| parse::note(after, &at)).transpose().ok()?;
            notes.insert(zone, note.flatten().map(|(_, at)| at));
        }
        sites.retain(|site, new| self.sites.get(site) != new.as_ref());
        owners.retain(|zone, new| self.owners.get(zone) != new.as_ref());
        let changes = Changes {
            sites: sites.keys().cloned().collect(),
            owners: owners.keys().cloned().collect(),
        };
        for (name, site) in sites {
            match site {
                Some(site) => self.sites.insert(name, site),
                None => self.sites.remove(&name),
            };
        }
        for (zone, owner) in owners {
            match owner {
                Some(owner) => self.owners.insert(zone, owner),
                None => self.owners.remove(&zone),
            };
        }
        for (zone, note) in notes {
            match note.filter(|_| !self.owners.contains_key(&zone)) {
                Some(at) => self.gone.insert(zone, at),
                None => self.gone.remove(&zone),
            };
        }
        Some(changes)
    }

    /// Whether nothing that these sites say or said of themselves says anything about another one: the same key at two of
    /// them, or who is the catalog primary.
    fn stand_apart(&self, changed: &BTreeMap<SiteName, Option<Site>>) -> bool {
        let old = |name: &SiteName| self.sites.get(name);
        let writes =
            |site: Option<&Site>| site.is_some_and(|site| site.role == Role::CatalogPrimary);
        if changed
            .iter()
            .any(|(name, new)| writes(old(name)) != writes(new.as_ref()))
        {
            return false;
        }
        let mut own: BTreeMap<_, &SiteName> = BTreeMap::new();
        for (name, new) in changed {
            for site in old(name).into_iter().chain(new) {
                for pin in &site.pins {
                    if own.insert(*pin, name).is_some_and(|other| other != name) {
                        return false;
                    }
                }
            }
        }
        let others = self
            .sites
            .values()
            .filter(|site| !changed.contains_key(&site.name));
        own.is_empty()
            || !others
                .flat_map(|site| &site.pins)
                .any(|pin| own.contains_key(pin))
    }

    /// Whether a zone has or had a primary that is not a site because of this.
    fn leaves_zones(
        &self,
        sites: &BTreeMap<SiteName, Option<Site>>,
        owners: &BTreeMap<Name, Option<SiteName>>,
    ) -> bool {
        let comes = |name: &SiteName| !self.sites.contains_key(name);
        let goes = |name: &SiteName| sites.get(name).is_some_and(Option::is_none);
        // Of a zone whose primary was no site there is a finding that names it.
        let mut findings = self
            .findings
            .iter()
            .filter_map(|finding| finding.site.as_ref());
        if findings.any(|name| sites.contains_key(name) && comes(name)) {
            return true;
        }
        let left = sites.values().any(Option::is_none);
        left && self
            .owners
            .iter()
            .any(|(zone, site)| goes(site) && !owners.contains_key(zone))
    }
}

/// Zones whose owner differs between two versions of a directory, with the newer one's.
pub type OwnerChanges = BTreeMap<Name, Option<SiteName>>;

/// Which zones have another owner, or none, or one for the first time; those that are newly noted to be removed have none.
/// `None` when that cannot be told from the difference alone.
pub fn owner_changes(before: &Zone, after: &Zone) -> Option<OwnerChanges> {
    let mut owners = OwnerChanges::new();
    for (owner, rtype) in before.changed_rrsets(after) {
        match parse::concern(&owner, rtype, after.apex()) {
            Concern::Nothing | Concern::Site(_) => {}
            Concern::Note => {
                let noted = parse::note(after, &owner).ok()?.map(|(zone, _)| zone);
                let Some(zone) = noted else { continue };
                if in_older_form(&zone, after) {
                    return None;
                }
                let node = zone_node(&zone, after.apex()).ok();
                let named = node.is_some_and(|node| after.rrset(&node, Rtype::PTR).is_some());
                if !named {
                    owners.insert(zone, None);
                }
            }
            Concern::Owner => {
                let old = parse::owner(before, &owner).ok()?;
                let new = parse::owner(after, &owner).ok()?;
                let Some((zone, _)) = old.or(new.clone()) else {
                    continue;
                };
                if in_older_form(&zone, before) || in_older_form(&zone, after) {
                    return None;
                }
                owners.insert(zone, new.map(|(_, site)| site));
            }
            Concern::All => return None,
        }
    }
    Some(owners)
}

/// Whether a version may say in the older convention who is a zone's primary.
fn in_older_form(zone: &Name, version: &Zone) -> bool {
    let owner = below(&[&first_label(zone)], version.apex());
    owner.is_ok_and(|owner| !zone.is_root() && version.rrset(&owner, Rtype::TXT).is_some())
}

#[cfg(test)]
mod tests;
