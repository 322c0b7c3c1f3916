//! This site and the mesh: what it publishes of itself, whom it trusts, and which zones it serves, all from the directory and
//! the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zonemesh_zone::catalog::{self, Catalog};
use zonemesh_zone::directory::{self, Directory, Role, Site, SiteName};
use zonemesh_zone::{Name, Rcode, Serial, SerialExt, Zone};

use super::change::with_serial;
use super::peers::Peer;
use super::{
    Answer, Core, Entry, HOSTED, Happening, Held, NewVersion, Now, Output, PeerId, Reply,
    RequestId, ZoneSpec, hosted_key,
};
use crate::brake::{Approvals, Breaker, Fingerprint};
use crate::desired::{self, Local, Source, ZoneRole, ZoneSetup, desired};
use crate::plan::{self, Action, Observed, Plan};
use crate::verify;

/// What this site is.
#[derive(Clone, Debug)]
pub struct Me {
    /// Its name.
    pub name: SiteName,
    /// What the directory should say of it.
    pub site: Site,
}

/// The mesh that a site belongs to.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// This site.
    pub me: Me,
    /// The directory's name.
    pub directory: Name,
    /// The catalog's name.
    pub catalog: Name,
    /// Sites to ask before the directory is known, from the welcome packet.
    pub bootstrap: Vec<Site>,
    /// Whether the directory says it in the older convention too.
    pub legacy_txt: bool,
    /// Groups of this site's own zones, for the catalog.
    pub groups: BTreeMap<Name, String>,
}

/// What is known of the mesh.
pub(super) struct Mesh {
    pub(super) settings: MeshSettings,
    pub(super) next_reconcile: Duration,
    /// The directory as it was last read, and the catalog likewise.
    directory: Source<Directory>,
    catalog: Source<Catalog>,
    /// What the plans so far have come to.
    observed: Observed,
    /// Zones that this site was made primary of by command, until the directory has them.
    hosted: BTreeSet<Name>,
    /// Those of them that were there at the start: whoever wanted them listed may be gone.
    unlisted: BTreeSet<Name>,
    /// What was last announced, and when.
    announced: Option<(Duration, (Site, Vec<Name>))>,
    approvals: Approvals,
    breaker: Breaker,
    last: Option<Report>,
    /// Whether a pass has been carried out since the start: what was there before is no news.
    passed: bool,
}

/// What the last pass of planning came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plan, with its reasons.
    pub plan: Plan,
    /// Unix time of the pass.
    pub at: i64,
    /// Why it was not carried out, if it was not.
    pub blocked: Option<String>,
}

impl Mesh {
    pub(super) fn new(settings: MeshSettings, now: Now) -> Self {
        let bootstrap = settings
            .bootstrap
            .iter()
            .filter(|site| site.name != settings.me.name);
        let peers = bootstrap
            .map(|site| (site.name.clone(), peer_of(site)))
            .collect();
        Self {
            settings,
            next_reconcile: now.mono,
            directory: Source::Missing("nothing is held of it yet".to_owned()),
            catalog: Source::Missing("nothing is held of it yet".to_owned()),
            observed: Observed {
                peers,
                ..Observed::default()
            },
            hosted: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            announced: None,
            approvals: Approvals::default(),
            breaker: Breaker::default(),
            last: None,
            passed: false,
        }
    }

    /// Whether directory and catalog have been read.
    pub(super) fn known(&self) -> bool {
        self.directory.value().is_some() && self.catalog.value().is_some()
    }

    /// The members other than this site.
    pub(super) fn others(&self) -> impl Iterator<Item = SiteName> + '_ {
        self.observed.peers.keys().cloned()
    }

    /// Whether this site writes directory and catalog. What the directory says of the site goes before its own
    /// configuration.
    fn is_catalog_primary(&self) -> bool {
        match self.directory.value() {
            Some(directory) => directory
                .catalog_primary()
                .is_some_and(|site| site.name == self.settings.me.name),
            None => self.settings.me.site.role == Role::CatalogPrimary,
        }
    }

    /// What directory and catalog are to this site before any plan.
    fn first_setup(&self) -> ZoneSetup {
        let role = match self.is_catalog_primary() {
            true => ZoneRole::Primary,
            false => ZoneRole::Secondary(None),
        };
        ZoneSetup {
            role,
            node: None,
            members_only: true,
        }
    }

    /// What a setup means, with the peers that there are.
    fn spec(&self, apex: &Name, setup: &ZoneSetup) -> ZoneSpec {
        let ids = |names: Vec<SiteName>| names.into_iter().map(PeerId::Site).collect();
        ZoneSpec {
            apex: apex.clone(),
            sources: ids(desired::sources(setup, &self.observed.peers)),
            primary: setup.role == ZoneRole::Primary,
            notify: ids(desired::notify(setup, &self.observed.peers)),
            members_only: setup.members_only,
            mesh: true,
        }
    }

    /// The members as they are to be met.
    fn members(&self) -> Vec<Site> {
        self.observed
            .peers
            .iter()
            .map(|(name, peer)| Site {
                name: name.clone(),
                addresses: peer.addresses.clone(),
                dot: peer.dot,
                doq: peer.doq,
                dns: Some(peer.dns),
                pins: peer.pins.clone(),
                role: peer.role,
                engine: String::new(),
                failure_domain: None,
            })
            .collect()
    }
}

fn peer_of(site: &Site) -> desired::Peer {
    desired::Peer {
        addresses: site.addresses.clone(),
        dns: site.dns_port(),
        dot: site.dot,
        doq: site.doq,
        pins: site.pins.clone(),
        role: site.role,
    }
}

/// # Starting
impl Core {
    /// Takes over the zones of the mesh that the store holds. What each is to this site follows from the directory; until then
    /// they are served as they are, so that nothing is forgotten that a plan has not removed.
    pub(super) fn start_mesh(&mut self, held: Vec<Held>, now: Now) {
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
            self.zones.entry(apex).or_insert_with(|| Entry::new(spec));
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
                .entry(apex.clone())
                .or_insert_with(|| Entry::new(spec.clone()));
            entry.spec = spec;
        }
        // What was acknowledged before a crash stays, also where the directory that is held here is older than that.
        let listed = |apex: &Name| {
            let owners = mesh.directory.value().map(|directory| &directory.owners);
            owners.is_some_and(|owners| owners.contains_key(apex))
        };
        hosted.retain(|apex| !listed(apex));
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
        if setup.role == ZoneRole::Primary && empty {
            self.found_mesh();
        }
    }

    /// Makes the first directory and catalog: a mesh of one site.
    fn found_mesh(&mut self) {
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
    pub(super) fn host(&mut self, request: RequestId, zone: Zone, high_water: Option<Serial>) {
        let apex = zone.apex().clone();
        if self.zones.contains_key(&apex) {
            let reason = format!("{apex} is served here already");
            return self.reply(
                Some(request),
                Reply::Refused {
                    rcode: Rcode::REFUSED,
                    reason,
                },
            );
        }
        let spec = mesh_spec(&self.mesh, &apex, &made_primary());
        let mut entry = Entry::new(spec);
        entry.high_water = high_water;
        self.zones.insert(apex.clone(), entry);
        let mut also = Vec::new();
        if let Some(mesh) = &mut self.mesh {
            also.push((HOSTED.to_owned(), hosted_key(&apex), b"1".to_vec()));
            mesh.hosted.insert(apex.clone());
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

    /// Takes that back.
    pub(super) fn unhost(&mut self, apex: &Name) {
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.hosted.remove(apex) {
            mesh.unlisted.remove(apex);
            self.drop_zone(apex);
            self.forget_hosted(vec![apex.clone()]);
        }
    }

    /// Goes on asking for a zone to be listed of which nobody knows whether it is.
    pub(super) fn list_again(&mut self, apex: Name, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.hosted.contains(&apex) {
            mesh.unlisted.insert(apex);
            self.reconcile(now);
        }
    }

    /// Takes that back where the first version could not be stored.
    pub(super) fn give_up_hosting(&mut self, apex: &Name) {
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
    fn forget_hosted(&mut self, zones: Vec<Name>) {
        let none = |apex: &Name| (HOSTED.to_owned(), hosted_key(apex), Vec::new());
        if !zones.is_empty() {
            self.commit(Vec::new(), zones.iter().map(none).collect(), None);
        }
    }

    /// Zones have changed; if directory or catalog is among them, plan.
    pub(super) fn mesh_zones_changed(&mut self, apexes: &[Name], now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let ours = |apex: &Name| *apex == mesh.settings.directory || *apex == mesh.settings.catalog;
        let announced = self
            .settings
            .zones
            .iter()
            .any(|spec| apexes.contains(&spec.apex));
        if announced || apexes.iter().any(ours) {
            self.reconcile(now);
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
        let schema = directory::schema_record(apex)?;
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
fn made_primary() -> ZoneSetup {
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
            sources: Vec::new(),
            primary: setup.role == ZoneRole::Primary,
            notify: Vec::new(),
            members_only: false,
            mesh: false,
        },
    }
}

/// # Reading the directory
impl Core {
    /// Reads directory and catalog as they are served.
    fn read_mesh(&mut self) {
        let Some(mesh) = &mut self.mesh else { return };
        let served = |apex: &Name| self.zones.get(apex).and_then(|entry| entry.served.clone());
        if let Some(zone) = served(&mesh.settings.catalog) {
            mesh.catalog = match Catalog::read(&zone) {
                Ok(value) => Source::Read {
                    value,
                    serial: zone.serial().into_int(),
                },
                Err(faults) => Source::Broken(catalog::Broken(faults).to_string()),
            };
        }
        if let Some(zone) = served(&mesh.settings.directory) {
            let known: Vec<Name> = mesh
                .catalog
                .value()
                .into_iter()
                .flat_map(|catalog| catalog.members.keys().cloned())
                .collect();
            let value = Directory::read_with_legacy(&zone, &known);
            mesh.directory = Source::Read {
                value,
                serial: zone.serial().into_int(),
            };
        }
    }

    /// The directory as it was last read.
    pub fn directory(&self) -> Option<&Directory> {
        self.mesh.as_ref()?.directory.value()
    }

    /// The catalog as it was last read.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.mesh.as_ref()?.catalog.value()
    }

    /// The newest version of a zone that was decided, durable or not: what the next change must be made of.
    pub fn head(&self, apex: &Name) -> Option<&Zone> {
        self.zones.get(apex)?.head.as_ref()
    }

    /// What the last pass of planning came to.
    pub fn report(&self) -> Option<&Report> {
        self.mesh.as_ref()?.last.as_ref()
    }

    /// The site that writes directory and catalog, as far as is known.
    pub fn catalog_primary(&self) -> Option<Site> {
        let mesh = self.mesh.as_ref()?;
        match mesh.directory.value() {
            Some(directory) => directory.catalog_primary().cloned(),
            None => mesh
                .settings
                .bootstrap
                .iter()
                .find(|site| site.role == Role::CatalogPrimary)
                .cloned(),
        }
    }

    /// Whether this site writes directory and catalog.
    pub fn is_catalog_primary(&self) -> bool {
        self.mesh.as_ref().is_some_and(Mesh::is_catalog_primary)
    }
}

/// # Reconciling
impl Core {
    /// Compares what should be with what is, and does what the plan says.
    pub(super) fn reconcile(&mut self, now: Now) {
        if self.mesh.is_none() {
            self.reconcile_configured(now);
            self.follow_catalogs(now);
            return self.follow_foreign();
        }
        self.add_configured(now);
        self.read_mesh();
        let pace = self.settings.pace.reconcile;
        if let Some(mesh) = &mut self.mesh {
            mesh.next_reconcile = now.mono + pace;
            if let Some(directory) = mesh.directory.value() {
                let owners = &directory.owners;
                let listed = mesh.hosted.iter().filter(|zone| owners.contains_key(*zone));
                let listed: Vec<Name> = listed.cloned().collect();
                for zone in &listed {
                    mesh.hosted.remove(zone);
                    mesh.unlisted.remove(zone);
                }
                self.forget_hosted(listed);
            }
        }
        self.follow_plan(now);
        self.run_foreign(now);
        self.follow_catalogs(now);
        self.follow_foreign();
        self.meet_members(now);
        self.announce(now);
    }

    /// Plans, has the plan checked, and carries it out.
    fn follow_plan(&mut self, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        let own = self
            .settings
            .zones
            .iter()
            .filter(|spec| spec.primary && spec.mesh)
            .map(|spec| spec.apex.clone());
        let local = Local {
            directory: mesh.settings.directory.clone(),
            catalog: mesh.settings.catalog.clone(),
            own: own.chain(mesh.hosted.iter().cloned()).collect(),
        };
        let me = &mesh.settings.me.name;
        let wanted = desired(me, &mesh.directory, &mesh.catalog, &local);
        let plan = plan::plan(&wanted, &mesh.observed, &mesh.approvals);
        let facts = verify::Facts {
            me,
            directory: &mesh.directory,
            catalog: &mesh.catalog,
            local: &local,
            observed: &mesh.observed,
            approvals: &mesh.approvals,
        };
        let faults = verify::check(&plan, &facts);
        let blocked = match faults.first() {
            Some(fault) => Some(format!("the plan is not right: {fault}")),
            None => mesh
                .breaker
                .admit(&plan)
                .err()
                .map(|repeats| repeats.to_string()),
        };
        let before = mesh.last.replace(Report {
            plan: plan.clone(),
            at: now.wall,
            blocked: blocked.clone(),
        });
        if let Some(blocked) = blocked {
            if before.is_none_or(|before| before.blocked.as_ref() != Some(&blocked)) {
                self.happened(Happening::Blocked(blocked));
            }
            return;
        }
        for held in &plan.held {
            if before
                .as_ref()
                .is_some_and(|before| before.plan.held.contains(held))
            {
                continue;
            }
            let message = format!(
                "{} of {} {} would be removed at once",
                held.names.len(),
                held.of,
                held.kind
            );
            self.happened(Happening::Held {
                hash: held.fingerprint.to_string(),
                message,
            });
        }
        self.carry_out(&plan, now);
        if let Some(mesh) = &mut self.mesh
            && !plan.actions.is_empty()
        {
            // Once more, to see that nothing is left to do; or why there is.
            mesh.next_reconcile = now.mono;
        }
    }

    /// Does what a plan says. No choice is left to make here.
    fn carry_out(&mut self, plan: &Plan, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        let news = std::mem::replace(&mut mesh.passed, mesh.directory.value().is_some());
        let removes = |action: &Action| {
            matches!(
                action,
                Action::RemoveZone { .. } | Action::RemovePeer { .. }
            )
        };
        if plan.actions.iter().any(removes) {
            // Consent is for once.
            mesh.approvals.clear();
        }
        plan::apply(&mut mesh.observed, plan);
        let mut peers_changed = false;
        for action in &plan.actions {
            match action {
                Action::AddPeer { site, .. } => {
                    peers_changed = true;
                    if news {
                        self.happened(Happening::SiteJoined(site.clone()));
                    }
                }
                Action::ChangePeer { site, .. } => {
                    peers_changed = true;
                    if news {
                        self.happened(Happening::SiteChanged(site.clone()));
                    }
                }
                Action::RemovePeer { site, .. } => {
                    peers_changed = true;
                    self.happened(Happening::SiteLeft(site.clone()));
                }
                Action::AddZone { zone, .. } | Action::ChangeZone { zone, .. } => {
                    if let Action::ChangeZone { from, to, .. } = action
                        && from.node.is_some()
                        && from.node != to.node
                    {
                        self.reset_zone(zone, now);
                    }
                }
                Action::RemoveZone { zone, .. } => self.drop_zone(zone),
            }
        }
        if peers_changed {
            // Before anything is asked of them: where they are, and whom to trust.
            self.meet_members(now);
        }
        // Other peers mean other sources and other targets for each zone.
        let changed: Vec<Name> = match (&self.mesh, peers_changed) {
            (Some(mesh), true) => mesh
                .observed
                .zones
                .keys()
                .chain(&mesh.hosted)
                .cloned()
                .collect(),
            _ => plan
                .actions
                .iter()
                .filter_map(|action| match action {
                    Action::AddZone { zone, .. } | Action::ChangeZone { zone, .. } => {
                        Some(zone.clone())
                    }
                    _ => None,
                })
                .collect(),
        };
        for apex in changed {
            self.run_zone(&apex, now);
        }
    }

    /// Runs a zone as its setup says.
    fn run_zone(&mut self, apex: &Name, now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let hosted = made_primary();
        let setup = mesh.observed.zones.get(apex).unwrap_or(&hosted);
        let mut spec = mesh.spec(apex, setup);
        if spec.primary {
            // Foreign secondaries of the configuration are told by the primary, whatever the mesh says besides.
            let configured = self.settings.zones.iter().filter(|own| own.apex == *apex);
            spec.notify.extend(
                configured
                    .flat_map(|own| &own.notify)
                    .filter(|peer| matches!(peer, PeerId::Foreign(_)))
                    .cloned(),
            );
        }
        if mesh.settings.directory != *apex {
            // Foreign servers that follow the catalog hear of its members here, whoever is their primary.
            let others = self.settings.catalogs.notify.iter();
            let others = others.filter(|peer| !spec.notify.contains(peer)).cloned();
            spec.notify.extend(others.collect::<Vec<_>>());
        }
        match self.zones.get(apex) {
            None => {
                self.add_zone(spec);
                self.serve_held(apex, now);
            }
            Some(entry) if entry.spec != spec => self.respecify(spec, now),
            Some(_) => {}
        }
    }

    /// Lets all zones know when other foreign servers are to be told.
    fn run_foreign(&mut self, now: Now) {
        let told: BTreeMap<Name, Vec<PeerId>> = self
            .settings
            .zones
            .iter()
            .filter(|spec| spec.mesh && !spec.notify.is_empty())
            .map(|spec| (spec.apex.clone(), spec.notify.clone()))
            .collect();
        let told = (self.settings.catalogs.notify.clone(), told);
        if self.catalogs.told == told {
            return;
        }
        self.catalogs.told = told;
        let Some(mesh) = &self.mesh else { return };
        let all = mesh.observed.zones.keys().chain(&mesh.hosted);
        for apex in all.cloned().collect::<Vec<_>>() {
            self.run_zone(&apex, now);
        }
    }

    /// An operator lets a held removal go on.
    pub(super) fn approve(&mut self, hash: String, now: Now) {
        if let Some(mesh) = &mut self.mesh {
            mesh.approvals.insert(Fingerprint(hash.clone()));
        }
        self.approve_catalogs(&hash);
        self.reconcile(now);
    }

    /// Zones of the configuration of a plain name server: added, changed and dropped as it says.
    fn reconcile_configured(&mut self, now: Now) {
        let wanted: BTreeMap<Name, ZoneSpec> = self
            .settings
            .zones
            .iter()
            .map(|spec| (spec.apex.clone(), spec.clone()))
            .collect();
        for apex in self
            .zones
            .keys()
            .filter(|apex| !wanted.contains_key(*apex) && !self.catalogs.brings(apex))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.drop_zone(&apex);
        }
        for (apex, spec) in wanted {
            match self.zones.get(&apex) {
                None => {
                    self.add_zone(spec);
                    self.serve_held(&apex, now);
                }
                Some(entry) if entry.spec != spec => self.respecify(spec, now),
                Some(_) => {}
            }
        }
    }

    /// Zones of the configuration that the mesh does not say anything about: added and changed as it says.
    fn add_configured(&mut self, now: Now) {
        for spec in self.settings.zones.clone() {
            match self.zones.get(&spec.apex) {
                None => {
                    let apex = spec.apex.clone();
                    self.add_zone(spec);
                    self.serve_held(&apex, now);
                }
                Some(entry) if !spec.mesh && !entry.spec.mesh && entry.spec != spec => {
                    self.respecify(spec, now)
                }
                Some(_) => {}
            }
        }
    }

    /// Zones that the configuration no longer names and that are not the mesh's.
    pub(super) fn drop_unconfigured(&mut self, old: &super::Settings) {
        let kept: BTreeSet<&Name> = self.settings.zones.iter().map(|spec| &spec.apex).collect();
        let gone: Vec<Name> = old
            .zones
            .iter()
            .filter(|spec| !spec.mesh && !kept.contains(&spec.apex))
            .map(|spec| spec.apex.clone())
            .collect();
        for apex in gone {
            self.drop_zone(&apex);
        }
    }

    /// Foreign servers are watched too, by what they answer to transfers and NOTIFYs.
    fn follow_foreign(&mut self) {
        let foreign: Vec<PeerId> = self
            .zones
            .values()
            .flat_map(|entry| entry.spec.sources.iter().chain(&entry.spec.notify))
            .filter(|peer| matches!(peer, PeerId::Foreign(_)))
            .cloned()
            .collect();
        for peer in foreign {
            self.peers.entry(peer).or_default();
        }
    }

    /// Trusts and watches the members, and nobody else.
    fn meet_members(&mut self, now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let ids: Vec<PeerId> = mesh.others().map(PeerId::Site).collect();
        self.peers
            .retain(|id, _| matches!(id, PeerId::Foreign(_)) || ids.contains(id));
        let members = mesh.members();
        for id in ids {
            self.peers.entry(id).or_insert_with(|| {
                self.next_probe = self.next_probe.min(now.mono + self.settings.pace.floor);
                Peer::default()
            });
        }
        self.out.push(Output::Members(members));
        // Who has left is waited for no longer.
        for apex in self.waited_for() {
            self.count_receipts(&apex, now);
        }
    }

    /// Publishes this site and its zones in the directory where they are not, or not as they are.
    fn announce(&mut self, now: Now) {
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
        let own = self.settings.zones.iter();
        let own = own
            .filter(|spec| spec.primary && spec.mesh)
            .map(|spec| &spec.apex);
        let held = |apex: &&Name| {
            let entry = self.zones.get(*apex);
            entry.is_some_and(|entry| entry.served.is_some())
        };
        let zones: BTreeSet<Name> = own
            .chain(&mesh.unlisted)
            .filter(|apex| !directory.owners.contains_key(*apex))
            .filter(held)
            .cloned()
            .collect();
        let zones: Vec<Name> = zones.into_iter().collect();
        if published == Some(&site) && zones.is_empty() {
            return;
        }
        // What was said already gets time to come back before it is said again.
        let wait = self.settings.pace.floor * 5;
        let said = (site.clone(), zones.clone());
        if let Some((at, before)) = &mesh.announced
            && *before == said
            && now.mono < *at + wait
        {
            let due = *at + wait;
            if let Some(mesh) = &mut self.mesh {
                mesh.next_reconcile = mesh.next_reconcile.min(due);
            }
            return;
        }
        if mesh.is_catalog_primary() {
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
    fn with_announcement(&self, site: &Site, zones: &[Name]) -> Result<Zone, String> {
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
    pub(super) fn change_directory(
        &mut self,
        request: Option<RequestId>,
        edited: Zone,
        also: Vec<(String, String, Vec<u8>)>,
        _now: Now,
    ) {
        match self.directory_versions(edited) {
            Err((rcode, reason)) => self.reply(request, Reply::Refused { rcode, reason }),
            Ok(versions) => {
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

    fn directory_versions(&self, edited: Zone) -> Result<Vec<NewVersion>, (Rcode, String)> {
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
        let fail = |reason: String| (Rcode::SERVFAIL, reason);
        let before = self.head_of(&mesh.settings.directory)?;
        let catalog = self.head_of(&mesh.settings.catalog)?;
        let members: Vec<Name> = Catalog::read(catalog)
            .map_err(|faults| fail(catalog::Broken(faults).to_string()))?
            .members
            .into_keys()
            .collect();
        let (edited, _) =
            directory::follow_legacy(before, &edited, &members, mesh.settings.legacy_txt)
                .map_err(|error| fail(error.to_string()))?;
        let mut versions = Vec::new();
        versions.extend(
            self.next_version(&edited)
                .map_err(|error| fail(error.to_string()))?,
        );
        let serial = self
            .zones
            .get(&mesh.settings.catalog)
            .and_then(|entry| entry.floor())
            .unwrap_or(catalog.serial())
            .next();
        if let Some(zone) =
            catalog::follow_directory(catalog, before, &edited, &mesh.settings.groups, serial)
                .map_err(|error| fail(error.to_string()))?
        {
            let zone = with_serial(&zone, serial).map_err(|error| fail(error.to_string()))?;
            let diffs = vec![catalog.diff(&zone)];
            versions.push(NewVersion::made(zone, diffs));
        }
        Ok(versions)
    }
}
