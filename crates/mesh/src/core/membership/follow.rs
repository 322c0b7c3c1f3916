//! Following directory and catalog from version to version: what differs between two of them is read, and planned for, at the
//! cost of the difference. The full pass (at the start, once a minute, and where a difference does not say enough) comes to
//! the same; builds with debug assertions compare the two each time, in a large mesh at some of the sites.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::catalog::{Catalog, Difference, Member};
use zonemesh_zone::directory::Directory;
use zonemesh_zone::{Name, Zone};

use super::Mesh;
use super::founding::made_primary;
use crate::brake::Approvals;
use crate::core::watch::place;
use crate::core::{Core, Now};
use crate::desired::{Desired, Hold, Local, Scope, Source, desired};
use crate::plan::{self, Plan};

impl Mesh {
    /// Has a zone planned for with the next difference, whatever that is about.
    pub(super) fn touch(&mut self, apex: &Name) {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.zones.insert(apex.clone());
        }
    }

    /// Takes note that the directory lists zones that this site was made primary of.
    pub(super) fn are_listed(&mut self, zones: &[Name]) {
        for zone in zones {
            self.hosted.remove(zone);
            self.unlisted.remove(zone);
            // From here on it goes as others go, also when the catalog of this moment never comes: a zone that is in none of
            // the lists would be held for ever.
            let zones = &mut self.observed.zones;
            zones.entry(zone.clone()).or_insert_with(made_primary);
        }
    }

    /// What this site knows of itself that matters within a scope.
    pub(super) fn local(&self, scope: Option<&Scope>) -> Local {
        let own = |zone: &&Name| self.configured.contains(*zone) || self.hosted.contains(*zone);
        let own = match scope {
            None => self.configured.union(&self.hosted).cloned().collect(),
            Some(scope) => scope.zones.iter().filter(own).cloned().collect(),
        };
        Local {
            directory: self.settings.directory.clone(),
            catalog: self.settings.catalog.clone(),
            own,
        }
    }

    /// What should be within a scope, or at all.
    pub(super) fn desired(&self, local: &Local, scope: Option<&Scope>) -> Result<Desired, Hold> {
        let me = &self.settings.me.name;
        desired(me, &self.directory, &self.catalog, local, scope)
    }

    /// Whether what was followed is compared with the whole: only to find mistakes, and in a large mesh each version at some fifty
    /// sites, because the whole costs each as much as the mesh is large.
    fn is_compared(&self) -> bool {
        let parts = self.observed.peers.len() as u64 / 50 + 1;
        let (Source::Read { serial, .. }, true) = (&self.directory, cfg!(debug_assertions)) else {
            return cfg!(debug_assertions);
        };
        (place(self.settings.me.name.as_str()) ^ u64::from(*serial)).is_multiple_of(parts)
    }

    /// Sees to it that a plan of a part is what a plan of everything would be.
    pub(super) fn compare(&self, plan: &Plan, approvals: &Approvals) {
        if !self.is_compared() || planted(Bug::PlanNeverEmpty) {
            return;
        }
        let wanted = self.desired(&self.local(None), None);
        let whole = plan::plan(&wanted, &self.observed, approvals, None);
        assert_eq!(
            *plan, whole,
            "the plan of what differs is not that of everything"
        );
    }

    /// Sees to it that what was followed is what a reading would give.
    fn compare_reading(&self, directory: &Zone, catalog: &Zone) {
        if !self.is_compared() {
            return;
        }
        let members = Catalog::read(catalog);
        assert_eq!(
            members.as_ref().ok(),
            self.catalog.value(),
            "the catalog, followed and read"
        );
        let known: Vec<Name> = members
            .into_iter()
            .flat_map(|read| read.members.into_keys())
            .collect();
        let read = Directory::read_with_legacy(directory, &known);
        assert_eq!(
            Some(&read),
            self.directory.value(),
            "the directory, followed and read"
        );
    }

    /// Takes over what differs between the versions of directory and catalog that were read last and these. What has to be
    /// planned for, with what was still open; none when both have to be read whole.
    fn follow(&mut self, directory: Zone, catalog: Zone) -> Option<Scope> {
        self.unsettled.as_ref()?;
        let (Some(old_catalog), Some(old_directory)) = (self.read.0.take(), self.read.1.take())
        else {
            // What was followed by half is read anew.
            return None;
        };
        let (
            Source::Read {
                value: members,
                serial,
            },
            Source::Read {
                value: sites,
                serial: of_sites,
            },
        ) = (&mut self.catalog, &mut self.directory)
        else {
            return None;
        };
        let listed = members.follow(&old_catalog, &catalog)?;
        let changes = sites.follow(&old_directory, &directory, &listed)?;
        *serial = catalog.serial().into_int();
        *of_sites = directory.serial().into_int();
        self.compare_reading(&directory, &catalog);
        self.read = (Some(catalog), Some(directory));
        let mut scope = self.unsettled.take()?;
        scope.sites.extend(changes.sites);
        for zone in &changes.owners {
            let to_list = self.configured.contains(zone) && self.lists_zone(zone) == Some(false);
            match to_list {
                true => self.to_list.insert(zone.clone()),
                false => self.to_list.remove(zone),
            };
        }
        scope.zones.extend(changes.owners.into_iter().chain(listed));
        Some(scope)
    }

    /// What the newest version of the catalog that was decided has of zones, where it differs from what was read.
    pub(super) fn catalog_ahead(&self, head: &Zone) -> Option<BTreeMap<Name, Option<Member>>> {
        self.catalog.value()?;
        let read = self.read.0.as_ref()?;
        Some(Difference::of(read, head)?.members)
    }

    /// What the catalog that was read has of a zone.
    pub(super) fn member(&self, zone: &Name) -> Option<&Member> {
        self.catalog.value()?.members.get(zone)
    }
}

/// # Following
impl Core {
    /// Follows directory and catalog to what is served of them now. False when the difference is not enough for that, and
    /// nothing has been done.
    pub(super) fn follow_versions(&mut self, now: Now) -> bool {
        let Some(mesh) = &mut self.mesh else {
            return false;
        };
        let served = |apex: &Name| self.zones.get(apex).and_then(|entry| entry.served.clone());
        let directory = served(&mesh.settings.directory);
        let catalog = served(&mesh.settings.catalog);
        let (Some(directory), Some(catalog)) = (directory, catalog) else {
            return false;
        };
        let Some(scope) = mesh.follow(directory, catalog) else {
            return false;
        };
        let listed = scope
            .zones
            .iter()
            .filter(|zone| mesh.lists_zone(zone) == Some(true));
        let listed: Vec<Name> = listed
            .filter(|zone| mesh.hosted.contains(*zone))
            .cloned()
            .collect();
        mesh.are_listed(&listed);
        self.forget_hosted(listed);
        self.follow_plan(now, Some(&scope));
        self.follow_catalogs(now);
        let governing = self.mesh.iter().flat_map(|mesh| {
            let settings = &mesh.settings;
            [settings.directory.clone(), settings.catalog.clone()]
        });
        let zones: BTreeSet<Name> = scope.zones.into_iter().chain(governing).collect();
        for apex in &zones {
            self.follow_foreign_of(apex);
            self.settle(apex, now);
        }
        self.announce(now);
        true
    }

    /// The directory as the newest version of it says that was decided, with the owners of the older convention: what a
    /// change has to be judged by.
    pub fn directory_ahead(&self) -> Option<Cow<'_, Directory>> {
        let mesh = self.mesh.as_ref()?;
        let head = self.head(&mesh.settings.directory)?;
        if let (Some(read), Some(value)) = (&mesh.read.1, mesh.directory.value()) {
            if read.tree().same(head.tree()) {
                return Some(Cow::Borrowed(value));
            }
            let mut value = value.clone();
            if value.follow(read, head, []).is_some() {
                return Some(Cow::Owned(value));
            }
        }
        let catalog = mesh.catalog.value();
        let known: Vec<Name> = catalog
            .into_iter()
            .flat_map(|catalog| catalog.members.keys().cloned())
            .collect();
        Some(Cow::Owned(Directory::read_with_legacy(head, &known)))
    }
}
