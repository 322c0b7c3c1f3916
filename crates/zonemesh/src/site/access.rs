//! Who may do what with the zones of this site: members of the mesh by the key that they prove, foreign servers by what the
//! configuration says of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use zonemesh_mesh::core::{MemberOf, PeerId};
use zonemesh_serve::Client;
use zonemesh_zone::directory::{Directory, KeyPin, SiteName};
use zonemesh_zone::{Key, Name, OwnedKey};

use crate::config::{Config, Group, Rule};

/// Zones that catalogs of foreign servers have brought, and from where.
#[derive(Default)]
pub(crate) struct Brought(RwLock<BTreeMap<OwnedKey, Arc<MemberOf>>>);

impl Brought {
    /// Zones have come, or in another way than before, or gone.
    pub(crate) fn set(&self, told: Vec<(Name, Option<Arc<MemberOf>>)>) {
        // Nothing is left half done where this lock is held.
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut came = BTreeMap::new();
        for (zone, member) in told {
            match member {
                Some(member) => came.insert(OwnedKey::of(&zone), member),
                None => all.remove(Key::of(&zone).as_slice()),
            };
        }
        // A tree that is made of what is in order has no room in it that is not used: it counts where there are many.
        match all.is_empty() {
            true => *all = came.into_iter().collect(),
            false => all.extend(came),
        }
    }

    fn get(&self, zone: &Name) -> Option<Arc<MemberOf>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(Key::of(zone).as_slice()).cloned()
    }

    /// The template of the group that a zone has.
    fn template<'c>(&self, config: &'c Config, apex: &Name) -> Option<&'c Group> {
        config.group(self.get(apex)?.group.as_ref()?)
    }
}

/// Who a client has proven to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A member of the mesh.
    Site(SiteName),
    /// A site that was removed, by its old key.
    Removed(SiteName),
    /// Anybody else, with the TSIG key that it used, if any.
    Other {
        /// The key's name.
        key: Option<Name>,
    },
}

impl Identity {
    /// Who a client is, by the directory and the TSIG key that it used.
    pub(crate) fn of(client: &Client, key: Option<&Name>, directory: Option<&Directory>) -> Self {
        // Nothing but a certificate brings a pin.
        if let (Some(pin), Some(directory)) = (client.pin, directory) {
            let pin = KeyPin(pin);
            if let Some(site) = directory.site_of_pin(&pin) {
                return Self::Site(site.name.clone());
            }
            if let Some(site) = directory.removed_by_pin(&pin) {
                return Self::Removed(site.clone());
            }
        }
        Self::Other { key: key.cloned() }
    }
}

/// Whether a client may transfer a zone.
pub(crate) fn may_transfer(
    config: &Config,
    brought: &Brought,
    client: &Client,
    identity: &Identity,
    apex: &Name,
) -> bool {
    match identity {
        Identity::Site(_) => true,
        Identity::Removed(_) => false,
        Identity::Other { .. } if is_members_only(config, apex) => {
            is_trusted(config, client, identity)
        }
        Identity::Other { key } => match config.zones.iter().find(|zone| zone.name == *apex) {
            // The default is filled in where the configuration says nothing; an empty list means nobody.
            Some(zone) => any(&zone.allow_transfer, client, key.as_ref()),
            None => match brought.template(config, apex) {
                Some(group) => any(&group.allow_transfer, client, key.as_ref()),
                None => any(&config.default_transfer_rules(), client, key.as_ref()),
            },
        },
    }
}

fn is_members_only(config: &Config, apex: &Name) -> bool {
    let mesh = config.mesh.as_ref();
    mesh.is_some_and(|mesh| mesh.directory == *apex || mesh.catalog == *apex)
}

/// Whether a client that is no site may read directory and catalog: a foreign server that may transfer all zones, and has
/// shown a key. An address alone is not enough.
pub(crate) fn is_trusted(config: &Config, client: &Client, identity: &Identity) -> bool {
    match identity {
        Identity::Site(_) => true,
        Identity::Removed(_) => false,
        Identity::Other { key } => {
            let mut rules = config.default_transfer_rules();
            rules.retain(Rule::authenticates);
            any(&rules, client, key.as_ref())
        }
    }
}

/// Who a NOTIFY for a zone comes from, if it may come.
pub(crate) fn notifier(
    config: &Config,
    brought: &Brought,
    client: &Client,
    identity: &Identity,
    apex: &Name,
) -> Option<PeerId> {
    match identity {
        Identity::Site(name) => Some(PeerId::Site(name.clone())),
        Identity::Removed(_) => None,
        Identity::Other { key } => {
            let zone = config.zones.iter().find(|zone| zone.name == *apex);
            let from_catalog = || {
                let group = brought
                    .template(config, apex)
                    .filter(|group| !group.primaries.is_empty());
                let catalog = brought.get(apex)?.catalog.clone();
                let of_catalog = || config.zones.iter().find(|zone| zone.name == catalog);
                group
                    .map(|group| &group.primaries)
                    .or_else(|| Some(&of_catalog()?.primaries))
            };
            let primaries = zone.map(|zone| &zone.primaries).or_else(from_catalog);
            let primary =
                |name: &str| primaries.is_some_and(|all| all.iter().any(|primary| primary == name));
            let peer = config.peers.iter().find(|peer| {
                (peer.may_notify || primary(&peer.name))
                    && any(&[peer.rule()], client, key.as_ref())
            });
            if let Some(peer) = peer {
                return Some(PeerId::Foreign(peer.name.as_str().into()));
            }
            any(&zone?.allow_notify, client, key.as_ref())
                .then(|| PeerId::Foreign(client.ip().to_string().into()))
        }
    }
}

fn any(rules: &[Rule], client: &Client, key: Option<&Name>) -> bool {
    rules
        .iter()
        .any(|rule| rule.permits(client.ip(), key, client.pin.as_ref()))
}

/// Whether a client may update a zone. An address alone is never enough; see the configuration's checks.
pub(crate) fn may_update(
    zone: &crate::config::ZoneConfig,
    client: &Client,
    key: Option<&Name>,
) -> bool {
    let authenticated = zone.allow_update.iter().filter(|rule| rule.authenticates());
    let rules: Vec<Rule> = authenticated.cloned().collect();
    any(&rules, client, key)
}
