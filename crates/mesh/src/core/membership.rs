//! What is known of the mesh: who is a member, what directory and catalog say, and what that makes of each zone.

mod announce;
mod follow;
mod founding;
mod lists;
mod promotion;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::catalog::{self, Catalog};
use zonemesh_zone::directory::{Directory, Epoch, Role, Site, SiteName};
use zonemesh_zone::{Name, Serial, Zone};

use self::lists::Lists;
pub(super) use self::promotion::offset;
pub use self::promotion::{Promotion, Seen};
use super::{Core, Happening, Now, PeerId, PeerList, SharedPeers, ZoneSpec};
use crate::brake::Breaker;
use crate::desired::{self, Scope, Source, ZoneRole, ZoneSetup};
use crate::plan::{Observed, Plan};

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
    /// The versions that they were read from, catalog and directory.
    read: (Option<Zone>, Option<Zone>),
    /// What the plans so far have come to.
    observed: Observed,
    /// What is not as it should be by what was read, or is so for a reason; nothing else has to be planned for. None until a
    /// plan of everything was made, and when another one has to be.
    unsettled: Option<Scope>,
    /// The zones of the configuration that this site is to be the primary of.
    configured: BTreeSet<Name>,
    /// Those of them that the directory lists nowhere.
    to_list: BTreeSet<Name>,
    /// The versions of directory and catalog, made here, of which the one is known to follow the other.
    pub(super) in_step: Option<(Zone, Zone)>,
    /// What the peers in it come to for zones.
    lists: Lists,
    /// Zones that this site was made primary of by command, until the directory has them.
    hosted: BTreeSet<Name>,
    /// Those of them that were there at the start: whoever wanted them listed may be gone.
    unlisted: BTreeSet<Name>,
    /// What was last announced, and when.
    announced: Option<(Duration, (Site, Vec<Name>))>,
    breaker: Breaker,
    last: Option<Report>,
    /// When directory and catalog were last read and the plan made of them carried out; and when the site started.
    reconciled: Option<Now>,
    started: Duration,
    /// The highest epoch that was seen in a version of directory or catalog, taken or not.
    pub(super) highest_epoch: u32,
    /// The site that was seen to be the writer after this one, until its versions are held here.
    pub(super) outranked: Option<SiteName>,
    /// Zones of this site that only the directory of a writer who yields lists.
    pub(super) own_of_loser: BTreeSet<Name>,
    /// Who was seen to have versions by other writers.
    pub(super) other_writers: BTreeSet<(Name, PeerId)>,
    /// Zones of which a peer has shown what this site, their primary, has not published: which serial, and when. Nothing is published
    /// above that before the directory was confirmed by an answer to a question of later.
    pub(super) contested: BTreeMap<Name, (Serial, Duration)>,
    /// When that was asked to which the directory was confirmed last.
    pub(super) confirmed: Option<Duration>,
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
    /// Before anything is known of it but what the settings say and what waited for an operator when the site stopped.
    pub(super) fn new(settings: MeshSettings, waiting: Observed, now: Now) -> Self {
        let bootstrap = settings
            .bootstrap
            .iter()
            .filter(|site| site.name != settings.me.name);
        let bootstrap = bootstrap.map(|site| (site.name.clone(), desired::Peer::of(site)));
        let peers = bootstrap.chain(waiting.peers).collect();
        let lists = Lists::of(&peers);
        Self {
            lists,
            settings,
            next_reconcile: now.mono,
            directory: Source::Missing("nothing is held of it yet".to_owned()),
            catalog: Source::Missing("nothing is held of it yet".to_owned()),
            read: (None, None),
            observed: Observed {
                peers,
                held: waiting.held,
                ..Observed::default()
            },
            unsettled: None,
            configured: BTreeSet::new(),
            to_list: BTreeSet::new(),
            in_step: None,
            hosted: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            announced: None,
            breaker: Breaker::default(),
            last: None,
            reconciled: None,
            started: now.mono,
            highest_epoch: 0,
            outranked: None,
            own_of_loser: BTreeSet::new(),
            other_writers: BTreeSet::new(),
            contested: BTreeMap::new(),
            confirmed: None,
            passed: false,
        }
    }

    /// What the brake keeps until an operator has approved that it goes.
    pub(super) fn held(&self) -> &Scope {
        &self.observed.held
    }

    /// How a member is met.
    pub(super) fn peer(&self, site: &SiteName) -> Option<&desired::Peer> {
        self.observed.peers.get(site)
    }

    /// Whether directory and catalog have been read.
    pub(super) fn known(&self) -> bool {
        self.directory.value().is_some() && self.catalog.value().is_some()
    }

    /// Whether the directory that was read lists this site.
    pub(super) fn lists_me(&self) -> bool {
        let me = &self.settings.me.name;
        let read = self.directory.value();
        read.is_some_and(|read| read.sites.contains_key(me))
    }

    /// Whether a plan has been made of the directory since the start, so that it is known who the others are.
    pub(super) fn met(&self) -> bool {
        self.passed
    }

    /// Whether this site is known to be the only one.
    pub(super) fn is_alone(&self) -> bool {
        self.met() && self.observed.peers.is_empty()
    }

    /// Those of a list that have a key, as whoever has ever joined has.
    pub(super) fn with_keys(&self, peers: &PeerList) -> PeerList {
        let has_key = |peer: &&PeerId| match peer {
            PeerId::Site(site) => {
                let known = self.observed.peers.get(site);
                known.is_none_or(|peer| !peer.pins.is_empty())
            }
            PeerId::Foreign(_) => true,
        };
        peers.iter().filter(has_key).cloned().collect()
    }

    /// Whether the directory says who is a zone's primary; none while it is not known.
    pub(super) fn lists_zone(&self, apex: &Name) -> Option<bool> {
        let directory = self.directory.value()?;
        Some(directory.owners.contains_key(apex))
    }

    /// Whether it is a site's role to hold directory and catalog.
    pub(super) fn is_holder(&self, peer: &PeerId) -> bool {
        let PeerId::Site(site) = peer else {
            return false;
        };
        let known = self.observed.peers.get(site);
        known.is_some_and(|peer| peer.role != Role::Standard)
    }

    /// The members other than this site.
    pub(super) fn others(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.observed.peers.keys().cloned().map(PeerId::Site)
    }

    /// Whether a peer is a member.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        matches!(peer, PeerId::Site(name) if self.observed.peers.contains_key(name))
    }

    /// Whether a zone is written by whoever has the latest epoch: directory and catalog.
    pub(super) fn governs(&self, apex: &Name) -> bool {
        *apex == self.settings.directory || *apex == self.settings.catalog
    }

    /// The epoch of a version of directory or catalog; none of any other zone.
    pub(super) fn epoch_of(&self, zone: &Zone) -> Option<Result<Epoch, String>> {
        let epoch = match zone.apex() {
            apex if *apex == self.settings.directory => Epoch::of_directory(zone),
            apex if *apex == self.settings.catalog => Epoch::of_catalog(zone),
            _ => return None,
        };
        Some(epoch.map_err(|error| error.to_string()))
    }

    /// Whether an edit of directory or catalog leaves it to promotions to say who writes them.
    pub(super) fn keeps_epoch(&self, before: &Zone, edited: &Zone) -> Result<(), String> {
        let kept = match before.apex() {
            _ if planted(Bug::EpochEditedOut) => return Ok(()),
            apex if *apex == self.settings.directory => Epoch::stays_in_directory(before, edited),
            apex if *apex == self.settings.catalog => Epoch::stays_in_catalog(before, edited),
            _ => return Ok(()),
        };
        kept.map_err(|error| error.to_string())
    }

    /// The other sites whose role it is to hold directory and catalog.
    pub(super) fn holders(&self) -> Vec<PeerId> {
        let peers = self.observed.peers.iter();
        let holders = peers.filter(|(_, peer)| peer.role != Role::Standard);
        holders
            .map(|(name, _)| PeerId::Site(name.clone()))
            .collect()
    }

    /// Whether this site writes directory and catalog. What the directory says of the site goes before its own
    /// configuration; one without any site says at most who was promoted, and nobody but its writer has it.
    pub(super) fn is_catalog_primary(&self) -> bool {
        let me = &self.settings.me;
        let configured = me.site.role == Role::CatalogPrimary;
        if planted(Bug::RoleByConfiguration) && configured {
            return true;
        }
        match self.directory.value() {
            Some(directory) if !directory.sites.is_empty() => directory
                .catalog_primary()
                .is_some_and(|site| site.name == me.name),
            Some(directory) => match &directory.epoch.writer {
                Some(writer) => *writer == me.name,
                None => configured,
            },
            None => configured,
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
        let primary = match &setup.role {
            ZoneRole::Secondary(primary) => primary.as_ref(),
            ZoneRole::Primary => None,
        };
        let primary = primary.filter(|site| self.observed.peers.contains_key(*site));
        let sources = match setup.members_only {
            true => &self.lists.holders,
            false => &self.lists.sources,
        };
        let notify = match setup.role {
            ZoneRole::Primary => self.lists.notify.clone(),
            ZoneRole::Secondary(_) => SharedPeers::default(),
        };
        ZoneSpec {
            apex: apex.clone(),
            sources: PeerList::new(primary.cloned().map(PeerId::Site), sources.clone()),
            primary: setup.role == ZoneRole::Primary,
            notify: PeerList::new(None, notify),
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

/// # Reading the directory
impl Core {
    /// Reads directory and catalog as they are served, where they are not the very versions that were read before.
    fn read_mesh(&mut self) {
        let Some(mesh) = &mut self.mesh else { return };
        let served = |apex: &Name| self.zones.get(apex).and_then(|entry| entry.served.clone());
        let same = |zone: &Zone, read: &Option<Zone>| {
            let read = read.as_ref();
            read.is_some_and(|read| read.tree().same(zone.tree()))
        };
        let mut read_on = false;
        if let Some(zone) = served(&mesh.settings.catalog)
            && !same(&zone, &mesh.read.0)
        {
            mesh.catalog = match Catalog::read(&zone) {
                Ok(value) => Source::Read {
                    value,
                    serial: zone.serial().into_int(),
                },
                Err(faults) => Source::Broken(catalog::Broken(faults).to_string()),
            };
            mesh.read.0 = Some(zone);
            // Which zones there are makes whole names of what the older convention says.
            read_on = true;
        }
        if let Some(zone) = served(&mesh.settings.directory)
            && (read_on || !same(&zone, &mesh.read.1))
        {
            let known: Vec<Name> = mesh
                .catalog
                .value()
                .into_iter()
                .flat_map(|catalog| catalog.members.keys().cloned())
                .collect();
            let value = Directory::read_with_legacy(&zone, &known);
            let read = Source::Read {
                value,
                serial: zone.serial().into_int(),
            };
            mesh.read.1 = Some(zone);
            let before = std::mem::replace(&mut mesh.directory, read);
            self.look_for_another_writer(before.value());
        }
    }

    /// Tells when a newly read directory is by another writer than the one before.
    fn look_for_another_writer(&mut self, before: Option<&Directory>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(now) = mesh.directory.value() else {
            return;
        };
        if before.is_none_or(|before| before.epoch == now.epoch) {
            return;
        }
        mesh.outranked = None;
        mesh.other_writers.clear();
        // Its own zones each site lists by itself, whoever the writer is.
        for zone in std::mem::take(&mut mesh.own_of_loser) {
            if !now.owners.contains_key(&zone) {
                mesh.unlisted.insert(zone.clone());
                mesh.hosted.insert(zone);
            }
        }
        // Who was told by the writer before that they are listed does not ask again.
        let lost = mesh.hosted.iter();
        let lost = lost.filter(|zone| !now.owners.contains_key(*zone));
        mesh.unlisted.extend(lost.cloned());
        if let Some(writer) = now.epoch.writer.clone() {
            let epoch = now.epoch.number;
            self.happened(Happening::WriterChanged { writer, epoch });
        }
    }

    /// Whether this is a directory that lost all its sites. Nobody could act upon it; and who has it on disk when it starts
    /// anew does not find the others any longer.
    pub(super) fn is_emptied_directory(&self, zone: &Zone) -> bool {
        let ours = self.mesh.as_ref().map(|mesh| &mesh.settings.directory);
        let held = self.zones.get(zone.apex());
        let held = held.and_then(|entry| entry.head.as_ref());
        // Reading costs as much as there are sites, so only what has become much smaller is looked at.
        let shrunk = held.is_some_and(|held| zone.record_count() * 2 < held.record_count());
        ours == Some(zone.apex()) && shrunk && Directory::read(zone).sites.is_empty()
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

    /// Unix time of the last pass of planning that read directory and catalog and was carried out.
    pub fn reconciled(&self) -> Option<i64> {
        Some(self.mesh.as_ref()?.reconciled?.wall)
    }

    /// For how long no pass of planning has succeeded, when that are three or more that should have.
    pub fn reconcile_late(&self, now: Now) -> Option<Duration> {
        let mesh = self.mesh.as_ref()?;
        let last = mesh.reconciled.map_or(mesh.started, |last| last.mono);
        let since = now.mono.saturating_sub(last);
        (since > self.settings.pace.reconcile * 3).then_some(since)
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
        if planted(Bug::SelfPromotion) && !self.peers.is_empty() {
            let mut peers = self.peers.values();
            if peers.all(|peer| peer.lost_since.is_some()) {
                return true;
            }
        }
        self.mesh.as_ref().is_some_and(Mesh::is_catalog_primary)
    }
}
