//! How a site comes to its zones: those of its store at the start, a mesh that it founds or takes over, zones that it is made
//! primary of by command.

use std::collections::{BTreeMap, BTreeSet};

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::catalog::{self, Catalog};
use zonemesh_zone::directory::{self, Directory, Site, SiteName};
use zonemesh_zone::{Name, Rcode, Serial, SerialExt, Zone};

use crate::core::{
    Answer, Core, Entry, HOSTED, Happening, Held, Mesh, NewVersion, Now, PeerList, Reply,
    RequestId, ZoneSpec, hosted_key,
};
use crate::desired::{ZoneRole, ZoneSetup};

/// # Starting
impl Core {
    /// Takes over the zones of the mesh that the store holds. What each is to this site follows from the directory; until then
    /// they are served as they are, so that nothing is forgotten that a plan has not removed.
    pub(in crate::core) fn start_mesh(&mut self, held: Vec<Held>, now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let own = [
            mesh.settings.directory.clone(),
            mesh.settings.catalog.clone(),
        ];
        let unknown = ZoneSetup {
            role: ZoneRole::Secondary(None),
            node: None,
            members_only: false,
        };
        let mut hosted = Vec::new();
        for held in held {
            let apex = held.zone.apex().clone();
            hosted.extend(held.hosted.then(|| apex.clone()));
            let spec = mesh_spec(&self.mesh, &apex, &unknown);
            if let (Some(mesh), false) = (&mut self.mesh, own.contains(&apex)) {
                mesh.observed.zones.insert(apex.clone(), unknown.clone());
            }
            self.zones.get_or_insert_with(&apex, || Entry::new(spec));
            self.take_over(held, now);
        }
        self.read_mesh();
        let Some(mesh) = &mut self.mesh else { return };
        let setup = mesh.first_setup();
        for apex in &own {
            mesh.observed.zones.insert(apex.clone(), setup.clone());
            let spec = mesh.spec(apex, &setup);
            let entry = self
                .zones
                .get_or_insert_with(apex, || Entry::new(spec.clone()));
            entry.spec = spec;
            if let Some(mark) = self.marks.get(apex) {
                entry.see(*mark);
            }
        }
        // What was acknowledged before a crash stays, also where the directory that is held here is older than that.
        let listed = |apex: &Name| {
            let owners = mesh.directory.value().map(|directory| &directory.owners);
            owners.is_some_and(|owners| owners.contains_key(apex))
        };
        hosted.retain(|apex| !listed(apex));
        // The directory has come and the catalog of that moment has not: no plan makes this site the primary until it does, and
        // what nobody is the primary of expires.
        let unlisted = |apex: &&Name| {
            let catalog = mesh.catalog.value();
            catalog.is_some_and(|catalog| !catalog.members.contains_key(*apex))
        };
        let directory = mesh.directory.value();
        let own_zones = directory.map(|directory| directory.zones_of(&mesh.settings.me.name));
        for apex in own_zones.iter().flatten().filter(unlisted) {
            let observed = mesh.observed.zones.get_mut(apex);
            if let Some((observed, entry)) = observed.zip(self.zones.get_mut(apex)) {
                *observed = made_primary();
                entry.spec = mesh.spec(apex, &made_primary());
            }
        }
        for apex in hosted {
            mesh.observed.zones.remove(&apex);
            if let Some(entry) = self.zones.get_mut(&apex) {
                entry.spec = mesh.spec(&apex, &made_primary());
            }
            mesh.unlisted.insert(apex.clone());
            mesh.hosted.insert(apex);
        }
        let empty = own.iter().all(|apex| {
            self.zones
                .get(apex)
                .is_none_or(|entry| entry.head.is_none())
        });
        // Where there are sites to ask there is a mesh, of which this one has lost its part.
        let alone = mesh.observed.peers.is_empty();
        if setup.role == ZoneRole::Primary && empty && alone {
            self.found_mesh();
        }
    }

    /// Makes the first directory and catalog: a mesh of one site.
    pub(super) fn found_mesh(&mut self) {
        let Some(mesh) = &self.mesh else { return };
        let settings = &mesh.settings;
        let founding = std::mem::take(&mut self.settings.founding);
        let directory = match (&founding.directory, &founding.catalog) {
            (Some(directory), catalog) => {
                taken_over(directory, catalog.as_ref(), &settings.me.site)
            }
            (None, _) => directory::new_zone(&settings.directory, &settings.me.site, Serial(1))
                .map_err(|error| error.to_string()),
        };
        let catalog = match founding.catalog {
            Some(catalog) => Ok(catalog),
            None => catalog::new_zone(&settings.catalog, Serial(1)),
        };
        match (directory, catalog) {
            (Ok(directory), Ok(catalog)) => {
                let new = |zone| NewVersion::made(zone, Vec::new());
                self.commit(vec![new(directory), new(catalog)], Vec::new(), None);
            }
            (Err(error), _) => self.happened(Happening::Blocked(format!(
                "the directory cannot be made: {error}"
            ))),
            (_, Err(error)) => self.happened(Happening::Blocked(format!(
                "the catalog cannot be made: {error}"
            ))),
        }
    }

    /// Makes this site the primary of a zone, ahead of the directory.
    pub(in crate::core) fn host(
        &mut self,
        request: RequestId,
        zone: Zone,
        high_water: Option<Serial>,
    ) {
        let apex = zone.apex().clone();
        let owner = self.other_owner(&apex);
        let refused = match (self.zones.contains_key(&apex), owner) {
            (true, _) => Some(format!("{apex} is served here already")),
            (false, Some(owner)) => Some(format!(
                "{apex} is a zone of {owner} already, by the directory that is on its way to the disk"
            )),
            (false, None) => None,
        };
        if let Some(reason) = refused {
            let rcode = Rcode::REFUSED;
            return self.reply(Some(request), Reply::Refused { rcode, reason });
        }
        let spec = mesh_spec(&self.mesh, &apex, &made_primary());
        let mut entry = Entry::made_here(spec);
        let high_water = high_water.filter(|_| !planted(Bug::HighWaterForgotten));
        let marks = [high_water, self.marks.get(&apex).copied()];
        marks.into_iter().flatten().for_each(|mark| entry.see(mark));
        self.zones.insert(entry);
        let mut also = Vec::new();
        if let Some(mesh) = &mut self.mesh {
            also.push((HOSTED.to_owned(), hosted_key(&apex), b"1".to_vec()));
            mesh.hosted.insert(apex.clone());
            mesh.touch(&apex);
        }
        match self.next_version(&zone) {
            Ok(Some(version)) => {
                let answer = Answer {
                    request,
                    serial: version.zone.serial(),
                    changed: true,
                };
                self.commit(vec![version], also, Some(answer));
            }
            // Nothing is held of it, so that any contents are new.
            Ok(None) => self.unchanged(Some(request), &apex),
            Err(error) => {
                self.give_up_hosting(&apex);
                let reason = error.to_string();
                let rcode = Rcode::REFUSED;
                self.reply(Some(request), Reply::Refused { rcode, reason });
            }
        }
    }

    /// The other site that is a zone's primary by the newest directory that was decided, durable or not.
    fn other_owner(&self, apex: &Name) -> Option<SiteName> {
        let me = &self.mesh.as_ref()?.settings.me.name;
        let directory = self.directory_ahead()?;
        let owner = directory.owners.get(apex)?;
        let other = owner != me && directory.sites.contains_key(owner);
        other.then(|| owner.clone())
    }

    /// Takes that back.
    pub(in crate::core) fn unhost(&mut self, apex: &Name) {
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.hosted.remove(apex) {
            mesh.unlisted.remove(apex);
            mesh.touch(apex);
            self.drop_zone(apex);
            self.forget_hosted(vec![apex.clone()]);
        }
    }

    /// Goes on asking for a zone to be listed of which nobody knows whether it is.
    pub(in crate::core) fn list_again(&mut self, apex: Name, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.hosted.contains(&apex) {
            mesh.unlisted.insert(apex);
            self.announce(now);
        }
    }

    /// Takes that back where the first version could not be stored.
    pub(in crate::core) fn give_up_hosting(&mut self, apex: &Name) {
        let empty = self
            .zones
            .get(apex)
            .is_some_and(|entry| entry.head.is_none());
        let hosted = |mesh: &Mesh| mesh.hosted.contains(apex);
        if empty && self.mesh.as_ref().is_some_and(hosted) {
            self.unhost(apex);
        }
    }

    /// The directory says what had to be remembered until then, or nobody wants it any longer.
    pub(super) fn forget_hosted(&mut self, zones: Vec<Name>) {
        let none = |apex: &Name| (HOSTED.to_owned(), hosted_key(apex), Vec::new());
        if !zones.is_empty() {
            self.commit(Vec::new(), zones.iter().map(none).collect(), None);
        }
    }

    /// Zones have changed; if directory or catalog is among them, plan for what differs in them.
    pub(in crate::core) fn mesh_zones_changed(&mut self, apexes: &[Name], now: Now) {
        let Some(mesh) = &self.mesh else { return };
        if apexes.iter().any(|apex| mesh.governs(apex)) {
            if !self.follow_versions(now) {
                self.reconcile(now);
            }
        } else if apexes.iter().any(|apex| mesh.to_list.contains(apex)) {
            self.announce(now);
        }
    }
}

/// A directory that was kept by hand, with this site in it and the owners of zones said in whole names.
fn taken_over(directory: &Zone, catalog: Option<&Zone>, me: &Site) -> Result<Zone, String> {
    let members = match catalog.map(Catalog::read) {
        None => BTreeMap::new(),
        Some(Ok(catalog)) => catalog.members,
        Some(Err(faults)) => return Err(catalog::Broken(faults).to_string()),
    };
    let known: Vec<Name> = members.into_keys().collect();
    let read = Directory::read_with_legacy(directory, &known);
    let apex = directory.apex();
    let publish = || -> Result<Zone, Box<dyn std::error::Error>> {
        let mut editor = directory.edit();
        let schema = directory::schema_record(apex, &read.epoch)?;
        editor.remove_rrset(&schema.owner, schema.rtype);
        editor.add(schema)?;
        for (zone, site) in &read.owners {
            directory::set_owner(&mut editor, zone, site)?;
        }
        // What is said of each site in the newer form takes the place of what was written about it; a site that the older
        // form alone made one would be none otherwise.
        let others = read.sites.values().filter(|site| site.name != me.name);
        for site in others.chain([me]) {
            let mut seen = BTreeSet::new();
            for record in site.records(apex)? {
                if seen.insert((record.owner.clone(), record.rtype)) {
                    editor.remove_rrset(&record.owner, record.rtype);
                }
                editor.add(record)?;
            }
        }
        editor.set_serial(directory.serial().next());
        Ok(editor.finish()?)
    };
    publish().map_err(|error| error.to_string())
}

/// What a zone is to the site that was made its primary here, ahead of the directory.
pub(super) fn made_primary() -> ZoneSetup {
    ZoneSetup {
        role: ZoneRole::Primary,
        node: None,
        members_only: false,
    }
}

/// What a setup means to a zone of this mesh; of a server without one, that it is primary or nothing.
fn mesh_spec(mesh: &Option<Mesh>, apex: &Name, setup: &ZoneSetup) -> ZoneSpec {
    match mesh {
        Some(mesh) => mesh.spec(apex, setup),
        None => ZoneSpec {
            apex: apex.clone(),
            sources: PeerList::default(),
            primary: setup.role == ZoneRole::Primary,
            notify: PeerList::default(),
            members_only: false,
            mesh: false,
        },
    }
}
