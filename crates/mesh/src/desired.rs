//! What a site should be doing, by directory and catalog.
//!
//! Whether a peer can be reached does not enter: what is derived here says who belongs to the mesh, and that does not
//! change because a link is down. What cannot be told (a catalog that is broken, a zone whose primary is unknown) is
//! named, and left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zonemesh_planted::{Bug, planted};
use zonemesh_zone::Name;
use zonemesh_zone::catalog::{Catalog, Member};
use zonemesh_zone::directory::{Directory, KeyPin, Role, Schema, Site, SiteName};

/// A zone that was read, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<T> {
    /// It has been read.
    Read {
        /// What it says.
        value: T,
        /// Its serial.
        serial: u32,
    },
    /// There is none yet, or it has expired.
    Missing(String),
    /// It is there and cannot be used.
    Broken(String),
}

impl<T> Source<T> {
    /// What it says, if it was read.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Read { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Its serial, if it was read.
    pub fn serial(&self) -> Option<u32> {
        match self {
            Self::Read { serial, .. } => Some(*serial),
            _ => None,
        }
    }

    fn trouble(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Missing(why) => Some(format!("missing: {why}")),
            Self::Broken(why) => Some(format!("broken: {why}")),
        }
    }
}

/// What the site knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The name of the directory.
    pub directory: Name,
    /// The name of the catalog.
    pub catalog: Name,
    /// Zones for which this site has been made primary here: by its configuration or by command. They stay until that
    /// is taken back here, whatever the catalog says.
    pub own: BTreeSet<Name>,
}

/// From which versions something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFrom {
    /// The serial of the directory.
    pub directory: u32,
    /// The serial of the catalog; `None` when it could not be read.
    pub catalog: Option<u32>,
}

impl fmt::Display for MadeFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directory {}", self.directory)?;
        match self.catalog {
            Some(serial) => write!(f, ", catalog {serial}"),
            None => f.write_str(", no catalog"),
        }
    }
}

/// Another site, as it is to be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its port for DNS over UDP and TCP.
    pub dns: u16,
    /// Its port for DNS over TLS.
    pub dot: Option<u16>,
    /// Its port for DNS over QUIC.
    pub doq: Option<u16>,
    /// The keys that it may show.
    pub pins: Vec<KeyPin>,
    /// Its role.
    pub role: Role,
}

impl Peer {
    /// How a site is to be met, by what it has published.
    pub fn of(site: &Site) -> Self {
        Self {
            addresses: site.addresses.clone(),
            dns: site.dns_port(),
            dot: site.dot,
            doq: site.doq,
            pins: site.pins.clone(),
            role: site.role,
        }
    }
}

/// What this site is for a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneRole {
    /// Its primary. A copy that is lost is recovered from any other site.
    Primary,
    /// A secondary; of whom, if that is known, and of all other sites after that one.
    Secondary(Option<SiteName>),
}

/// How a zone is to be run. Who is told of changes and who may be asked follows from this and the peers: see
/// [`sources`] and [`notify`]. Each peer may transfer each zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneSetup {
    /// What this site is for it.
    pub role: ZoneRole,
    /// Its member node in the catalog; see [`Action::resets`](crate::plan::Action::resets).
    pub node: Option<String>,
    /// Whether only members of the mesh may query it.
    pub members_only: bool,
}

/// Which sites and zones a plan is about. What is outside of it is known to be as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The sites.
    pub sites: BTreeSet<SiteName>,
    /// The zones.
    pub zones: BTreeSet<Name>,
}

/// What should be. Made by [`desired`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The peers.
    pub peers: BTreeMap<SiteName, Peer>,
    /// The zones.
    pub zones: BTreeMap<Name, ZoneSetup>,
    /// Zones that stay as they are where they are held, and why.
    pub keep: BTreeMap<Name, String>,
    /// Why no member zone at all is touched, if so.
    pub keep_all: Option<String>,
    /// Sites of which a tombstone says that they were removed.
    pub departed: BTreeSet<SiteName>,
    /// Zones of which the directory says that each was removed by itself.
    pub gone: BTreeSet<Name>,
    /// Whether the catalog was read and has no members.
    pub catalog_empty: bool,
    /// What it was made from.
    pub made_from: MadeFrom,
}

/// Why nothing at all can be said about what should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Hold {
    /// The directory was not read.
    #[error("the directory is {0}")]
    Directory(String),
    /// The directory is of a form that is not known here.
    #[error("the directory has schema `{0}`; this version of zonemesh knows `zonemesh=1` only")]
    Schema(String),
    /// The directory has no sites.
    #[error("the directory has no sites at all; that is taken for an error")]
    Empty,
    /// This site was removed from the mesh.
    #[error("this site, {site}, was removed from the mesh; join again with a new welcome packet")]
    Removed {
        /// This site.
        site: SiteName,
        /// When it was removed, in seconds since 1970.
        at: i64,
    },
    /// This site is not in the directory.
    #[error("this site, {site}, is not in the directory; join with a welcome packet")]
    NotMember {
        /// This site.
        site: SiteName,
        /// Sites of which a tombstone says that they were removed: whoever knows of it trusts them no longer.
        departed: BTreeSet<SiteName>,
        /// What that was read from.
        made_from: MadeFrom,
    },
}

/// Derives what a site should be doing: all of it, or what is within a scope. Directory and catalog themselves are always.
///
/// # Errors
///
/// When that cannot be told. Everything then stays as it is.
pub fn desired(
    me: &SiteName,
    directory: &Source<Directory>,
    catalog: &Source<Catalog>,
    local: &Local,
    scope: Option<&Scope>,
) -> Result<Desired, Hold> {
    let (directory, serial) = match directory {
        Source::Read { value, serial } => (value, *serial),
        other => return Err(Hold::Directory(other.trouble().unwrap_or_default())),
    };
    if let Schema::Unknown(schema) = &directory.schema {
        return Err(Hold::Schema(schema.clone()));
    }
    if directory.sites.is_empty() {
        return Err(Hold::Empty);
    }
    let made_from = MadeFrom {
        directory: serial,
        catalog: catalog.serial(),
    };
    if !directory.sites.contains_key(me) {
        return Err(match directory.removed.get(me) {
            Some(removed) => Hold::Removed {
                site: me.clone(),
                at: removed.at,
            },
            None => Hold::NotMember {
                site: me.clone(),
                departed: departed(directory),
                made_from,
            },
        });
    }
    let mut desired = Desired {
        peers: peers(me, directory, scope),
        zones: BTreeMap::new(),
        keep: BTreeMap::new(),
        keep_all: catalog.trouble().map(|why| format!("the catalog is {why}")),
        departed: departed(directory),
        gone: gone(directory, scope),
        catalog_empty: catalog
            .value()
            .is_some_and(|catalog| catalog.members.is_empty()),
        made_from,
    };
    infrastructure(me, directory, local, &mut desired);
    if let Some(catalog) = catalog.value() {
        members(me, directory, catalog, local, scope, &mut desired);
    }
    Ok(desired)
}

fn departed(directory: &Directory) -> BTreeSet<SiteName> {
    let removed = directory.removed.keys();
    let departed =
        removed.filter(|site| directory.is_removed(site) && !planted(Bug::TombstoneIgnored));
    departed.cloned().collect()
}

fn gone(directory: &Directory, scope: Option<&Scope>) -> BTreeSet<Name> {
    let noted = |zone: &&Name| directory.gone.contains_key(*zone);
    match scope {
        None => directory.gone.keys().cloned().collect(),
        Some(scope) => scope.zones.iter().filter(noted).cloned().collect(),
    }
}

fn peers(me: &SiteName, directory: &Directory, scope: Option<&Scope>) -> BTreeMap<SiteName, Peer> {
    let sites: Vec<&Site> = match scope {
        None => directory.sites.values().collect(),
        Some(scope) => {
            let sites = scope.sites.iter();
            sites.filter_map(|site| directory.sites.get(site)).collect()
        }
    };
    sites
        .into_iter()
        .filter(|site| site.name != *me)
        .map(|site| (site.name.clone(), Peer::of(site)))
        .collect()
}

/// The directory and the catalog themselves.
fn infrastructure(me: &SiteName, directory: &Directory, local: &Local, desired: &mut Desired) {
    let primary = directory.catalog_primary().map(|site| site.name.clone());
    for zone in [&local.directory, &local.catalog] {
        if primary.is_none() {
            let why = "the directory does not name exactly one catalog primary".into();
            desired.keep.insert(zone.clone(), why);
        }
        let role = match primary.as_ref() == Some(me) {
            true => ZoneRole::Primary,
            false => ZoneRole::Secondary(primary.clone()),
        };
        let setup = ZoneSetup {
            role,
            node: None,
            members_only: true,
        };
        desired.zones.insert(zone.clone(), setup);
    }
}

fn members(
    me: &SiteName,
    directory: &Directory,
    catalog: &Catalog,
    local: &Local,
    scope: Option<&Scope>,
    desired: &mut Desired,
) {
    let Some(scope) = scope else {
        for (zone, member) in &catalog.members {
            listed(me, directory, zone, member, local, desired);
        }
        for zone in directory.owners.keys().chain(&local.own) {
            unlisted(directory, zone, local, desired);
        }
        return;
    };
    for zone in &scope.zones {
        if let Some(member) = catalog.members.get(zone) {
            listed(me, directory, zone, member, local, desired);
        }
        unlisted(directory, zone, local, desired);
    }
}

/// A member of the catalog.
fn listed(
    me: &SiteName,
    directory: &Directory,
    zone: &Name,
    member: &Member,
    local: &Local,
    desired: &mut Desired,
) {
    if *zone == local.directory || *zone == local.catalog {
        return;
    }
    let owner = directory.owners.get(zone);
    let known = owner.filter(|owner| directory.sites.contains_key(*owner));
    // Where the configuration and the directory differ the directory goes before: two primaries would each publish above
    // the other for ever. What this one wrote stays in its history.
    let why = match (owner, known) {
        (_, Some(_)) => None,
        (Some(owner), None) => Some(format!("its primary, {owner}, is not a site")),
        (None, None) => Some("the directory does not say who is its primary".into()),
    };
    if let Some(why) = why {
        desired.keep.insert(zone.clone(), why);
    }
    if owner.is_none() && local.own.contains(zone) {
        // The catalog has arrived before the directory: the site that was made its primary does not step back in between.
        return;
    }
    let role = match known {
        Some(owner) if owner == me => ZoneRole::Primary,
        other => ZoneRole::Secondary(other.cloned()),
    };
    let setup = ZoneSetup {
        role,
        node: Some(member.node.first().to_string()),
        members_only: false,
    };
    desired.zones.insert(zone.clone(), setup);
}

/// Keeps a zone that the directory has, or this site, and that is not to be run by the catalog.
fn unlisted(directory: &Directory, zone: &Name, local: &Local, desired: &mut Desired) {
    if desired.zones.contains_key(zone) {
        return;
    }
    // Directory and catalog change together at their primary but arrive one after the other: a zone leaves when both
    // have let go of it.
    if let Some(owner) = directory.owners.get(zone) {
        let why =
            format!("it is not in the catalog, but the directory says that {owner} is its primary");
        desired.keep.insert(zone.clone(), why);
    } else if local.own.contains(zone) {
        let why = "this site has been made its primary, and it is not in the catalog".into();
        desired.keep.entry(zone.clone()).or_insert(why);
    }
}

/// Whom to ask for a zone, in this order: its primary, then all other sites, those that hold the catalog first. For
/// directory and catalog, only the latter.
pub fn sources(setup: &ZoneSetup, peers: &BTreeMap<SiteName, Peer>) -> Vec<SiteName> {
    let primary = match &setup.role {
        ZoneRole::Secondary(Some(primary)) => Some(primary),
        _ => None,
    };
    // Directory and catalog say who is trusted. Nothing proves yet that their primary wrote what another site hands on, so
    // they are taken only from sites whose role it is to hold them: one that was broken into must not make them up. Where
    // the directory gives nobody that role, as one that was kept by hand, all are as good.
    let holders = peers.values().any(|peer| peer.role != Role::Standard);
    let holders = holders && !planted(Bug::DirectoryFromAnyone);
    let trusted = |role: Role| !(setup.members_only && holders) || role != Role::Standard;
    let mut all: Vec<(bool, Role, &SiteName)> = peers
        .iter()
        .filter(|(site, peer)| Some(*site) == primary || trusted(peer.role))
        .map(|(site, peer)| (Some(site) != primary, peer.role, site))
        .collect();
    all.sort();
    all.into_iter().map(|(.., site)| site.clone()).collect()
}

/// Whom to tell that a zone has changed. Its primary tells every site; nobody else has to.
pub fn notify(setup: &ZoneSetup, peers: &BTreeMap<SiteName, Peer>) -> Vec<SiteName> {
    match setup.role {
        ZoneRole::Primary => peers.keys().cloned().collect(),
        ZoneRole::Secondary(_) => Vec::new(),
    }
}
