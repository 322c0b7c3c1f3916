//! What this site has published in the directory, and, at the catalog primary, how the directory changes and the catalog
//! with it.

use std::collections::BTreeSet;

use zonemesh_zone::catalog::{self, Catalog};
use zonemesh_zone::directory::{self, Directory, Site, Unlisted, remember_removals};
use zonemesh_zone::{Name, Rcode, Serial, SerialExt, Zone};

use crate::brake::too_many;
use crate::core::change::with_serial;
use crate::core::{Answer, Core, Happening, NewVersion, Now, Output, PeerId, Reply, RequestId};

impl Core {
    /// Publishes this site and its zones in the directory where they are not, or not as they are.
    pub(super) fn announce(&mut self, now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let Some(directory) = mesh.directory.value() else {
            return;
        };
        let me = &mesh.settings.me;
        if directory.is_removed(&me.name) || !directory.sites.contains_key(&me.name) {
            // Removed, or not yet joined: only a welcome packet opens that door.
            return;
        }
        let published = directory.sites.get(&me.name);
        // The role is given and taken in the directory, not by the site itself.
        let mut site = me.site.clone();
        site.role = published.map_or(site.role, |published| published.role);
        // As it will be read.
        site.addresses.sort_unstable();
        site.addresses.dedup();
        site.pins.sort_unstable();
        site.pins.dedup();
        let held = |apex: &&Name| {
            let entry = self.zones.get(apex);
            entry.is_some_and(|entry| entry.served.is_some())
        };
        let zones: BTreeSet<Name> = mesh
            .to_list
            .union(&mesh.unlisted)
            .filter(|apex| !directory.owners.contains_key(*apex))
            .filter(held)
            .cloned()
            .collect();
        let zones: Vec<Name> = zones.into_iter().collect();
        if published == Some(&site) && zones.is_empty() {
            return;
        }
        // What was said already gets time to come back before it is said again. And what comes right after it goes together:
        // zones are imported one by one, and each version of the directory goes to every site.
        let wait = self.settings.pace.floor * 5;
        let said = (site.clone(), zones.clone());
        let pause = |before: &(Site, Vec<Name>)| match *before == said {
            true => wait,
            false => self.settings.pace.floor / 4,
        };
        if let Some((at, before)) = &mesh.announced
            && let due = *at + pause(before)
            && now.mono < due
        {
            if let Some(mesh) = &mut self.mesh {
                mesh.next_reconcile = mesh.next_reconcile.min(due);
            }
            return;
        }
        if mesh.is_catalog_primary() {
            if self.directory_waits(now) {
                // It knows soon whether its copy is the newest, and must not wait for the next full pass then.
                let due = now.mono + self.settings.pace.floor;
                if let Some(mesh) = &mut self.mesh {
                    mesh.next_reconcile = mesh.next_reconcile.min(due);
                }
                return;
            }
            match self.with_announcement(&site, &zones) {
                Ok(edited) => self.change_directory(None, edited, Vec::new(), now),
                Err(message) => self.happened(Happening::Blocked(message)),
            }
        } else if let Some(primary) = self.catalog_primary() {
            self.out.push(Output::Announce {
                to: PeerId::Site(primary.name),
                site,
                zones,
            });
        }
        if let Some(mesh) = &mut self.mesh {
            mesh.announced = Some((now.mono, said));
            mesh.next_reconcile = mesh.next_reconcile.min(now.mono + wait);
        }
    }

    /// The directory with this site and these zones of its as they are.
    pub(super) fn with_announcement(&self, site: &Site, zones: &[Name]) -> Result<Zone, String> {
        let mesh = self.mesh.as_ref().ok_or("no mesh")?;
        let head = self
            .head(&mesh.settings.directory)
            .ok_or("the directory is not held yet")?;
        let previous = mesh
            .directory
            .value()
            .and_then(|directory| directory.sites.get(&site.name));
        let directory = &mesh.settings.directory;
        let made = zonemesh_update::request::publish(directory, site, previous);
        let mut update = made.map_err(|error| error.to_string())?;
        for zone in zones {
            update = update.add(
                directory::owner_record(zone, &site.name, directory)
                    .map_err(|error| error.to_string())?,
            );
        }
        let applied = zonemesh_update::apply(head, &update, &zonemesh_update::Everything);
        applied
            .map(|applied| applied.zone)
            .map_err(|error| error.to_string())
    }

    /// Changes the directory, and the catalog with it, in one commit. Only on the catalog primary.
    pub(in crate::core) fn change_directory(
        &mut self,
        request: Option<RequestId>,
        edited: Zone,
        also: Vec<(String, String, Vec<u8>)>,
        now: Now,
    ) {
        let edited = self.with_removals(edited, now);
        match self.directory_versions(edited) {
            Err((rcode, reason)) => self.reply(request, Reply::Refused { rcode, reason }),
            Ok(versions) => {
                let Some(mesh) = &mut self.mesh else { return };
                let version_of = |apex: &Name| {
                    let made = versions.iter().find(|version| version.zone.apex() == apex);
                    let head = || self.zones.get(apex)?.head.clone();
                    made.map(|version| version.zone.clone()).or_else(head)
                };
                let settings = &mesh.settings;
                mesh.in_step = version_of(&settings.directory).zip(version_of(&settings.catalog));
                let Some(mesh) = &self.mesh else { return };
                let apex = mesh.settings.directory.clone();
                if versions.is_empty() && also.is_empty() {
                    return self.unchanged(request, &apex);
                }
                let new = versions
                    .iter()
                    .find(|version| *version.zone.apex() == apex)
                    .map(|version| &version.zone);
                let serial = new.or(self.head(&apex)).map_or(Serial(0), Zone::serial);
                let answer = request.map(|request| Answer {
                    request,
                    serial,
                    changed: true,
                });
                self.commit(versions, also, answer);
            }
        }
    }

    /// A directory with notes of the zones that it no longer lists, unless they are so many that each site is to ask.
    fn with_removals(&self, edited: Zone, now: Now) -> Zone {
        let Some(head) = self.head(edited.apex()) else {
            return edited;
        };
        let mut change = Unlisted::between(head, &edited);
        if change.removed.len() > 1 {
            let (before, after) = (Directory::read(head), Directory::read(&edited));
            // What goes with its site was asked for with that.
            let owner = |zone: &Name| before.owners.get(zone);
            let alone = |zone: &&Name| !owner(zone).is_some_and(|site| after.is_removed(site));
            let count = change.removed.iter().filter(alone).count();
            if count > 1 && too_many(count, before.owners.len()) {
                change.removed.retain(|zone| !alone(&zone));
            }
        }
        if change.is_empty() {
            return edited;
        }
        // Without the notes a site that is away asks for consent; that is no reason not to make the change.
        remember_removals(&edited, &change, now.wall).unwrap_or(edited)
    }

    pub(super) fn directory_versions(
        &self,
        edited: Zone,
    ) -> Result<Vec<NewVersion>, (Rcode, String)> {
        let mesh = self
            .mesh
            .as_ref()
            .ok_or((Rcode::NOTAUTH, "this server belongs to no mesh".to_owned()))?;
        if !mesh.is_catalog_primary() {
            return Err((
                Rcode::NOTAUTH,
                "this site is not the catalog primary".to_owned(),
            ));
        }
        if let Some(writer) = &mesh.outranked {
            return Err((
                Rcode::NOTAUTH,
                format!("{writer} is the catalog primary now; this site is about to follow it"),
            ));
        }
        let fail = |reason: String| (Rcode::SERVFAIL, reason);
        let before = self.head_of(&mesh.settings.directory)?;
        let catalog = self.head_of(&mesh.settings.catalog)?;
        mesh.keeps_epoch(before, &edited)
            .map_err(|why| (Rcode::REFUSED, why))?;
        if let (Some(Ok(epoch)), Some(Ok(old))) = (self.epoch_of(before), self.epoch_of(catalog))
            && epoch.outranks_beside(&old)
        {
            return Err(fail(format!(
                "this site became the catalog primary with {epoch}, but the catalog that is held here is of {old}; it is about to come, or \
                 `zonemesh site promote` begins an epoch without it"
            )));
        }
        if let Some(made) = self.versions_by_difference(before, &edited, catalog) {
            let versions = made.map_err(fail)?;
            if cfg!(debug_assertions) {
                let whole = self
                    .versions_by_reading(before, &edited, catalog)
                    .map_err(fail)?;
                let pairs = versions.iter().zip(&whole);
                let alike = pairs
                    .filter(|(one, other)| one.zone.same_contents(&other.zone))
                    .count();
                assert_eq!(
                    (alike, alike),
                    (versions.len(), whole.len()),
                    "directory and catalog, followed and read"
                );
            }
            return Ok(versions);
        }
        self.versions_by_reading(before, &edited, catalog)
            .map_err(fail)
    }

    /// The same for a change of which the difference says enough: where the catalog follows the directory already, and nothing
    /// is said in the older convention.
    fn versions_by_difference(
        &self,
        before: &Zone,
        edited: &Zone,
        catalog: &Zone,
    ) -> Option<Result<Vec<NewVersion>, String>> {
        let mesh = self.mesh.as_ref()?;
        let (directory, followed) = mesh.in_step.as_ref()?;
        let in_step = directory.tree().same(before.tree()) && followed.tree().same(catalog.tree());
        if !in_step || mesh.settings.legacy_txt {
            return None;
        }
        let owners = directory::owner_changes(before, edited)?;
        let ahead = mesh.catalog_ahead(catalog)?;
        let member = |zone: &Name| match ahead.get(zone) {
            Some(member) => member.clone(),
            None => mesh.member(zone).cloned(),
        };
        let serial = self.catalog_serial(catalog);
        let groups = &mesh.settings.groups;
        let followed = catalog::follow_owners(catalog, member, &owners, groups, serial);
        let followed = followed.map_err(|error| error.to_string());
        Some(followed.and_then(|followed| self.versions_of(edited, catalog, followed, serial)))
    }

    /// The serial that the next version of the catalog gets.
    fn catalog_serial(&self, catalog: &Zone) -> Serial {
        let entry = self.zones.get(catalog.apex());
        let floor = entry.and_then(|entry| entry.floor());
        let beyond = self.beyond(catalog.apex());
        floor.unwrap_or(catalog.serial()).next().add(beyond)
    }

    /// New versions of directory and catalog, where there is anything new.
    fn versions_of(
        &self,
        edited: &Zone,
        catalog: &Zone,
        followed: Option<Zone>,
        serial: Serial,
    ) -> Result<Vec<NewVersion>, String> {
        let mut versions = Vec::new();
        versions.extend(
            self.next_version(edited)
                .map_err(|error| error.to_string())?,
        );
        if let Some(zone) = followed {
            let zone = with_serial(&zone, serial).map_err(|error| error.to_string())?;
            let diffs = vec![catalog.diff(&zone)];
            versions.push(NewVersion::made(zone, diffs));
        }
        Ok(versions)
    }

    /// The same by reading both zones whole.
    fn versions_by_reading(
        &self,
        before: &Zone,
        edited: &Zone,
        catalog: &Zone,
    ) -> Result<Vec<NewVersion>, String> {
        let mesh = self.mesh.as_ref().ok_or("this server belongs to no mesh")?;
        let members: Vec<Name> = Catalog::read(catalog)
            .map_err(|faults| catalog::Broken(faults).to_string())?
            .members
            .into_keys()
            .collect();
        let (edited, _) =
            directory::follow_legacy(before, edited, &members, mesh.settings.legacy_txt)
                .map_err(|error| error.to_string())?;
        let serial = self.catalog_serial(catalog);
        let groups = &mesh.settings.groups;
        let followed = catalog::follow_directory(catalog, before, &edited, groups, serial)
            .map_err(|error| error.to_string())?;
        self.versions_of(&edited, catalog, followed, serial)
    }
}
