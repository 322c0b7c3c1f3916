//! The lists of peers that zones have in common.

use std::collections::BTreeMap;

use zonemesh_zone::directory::SiteName;

use crate::core::{PeerId, SharedPeers};
use crate::desired::{self, Peer, ZoneRole, ZoneSetup};

/// Whom zones come from and who is told of them, the primary of each aside: the same for all of a kind.
#[derive(PartialEq)]
pub(super) struct Lists {
    /// Of member zones.
    pub(super) sources: SharedPeers,
    /// Of directory and catalog.
    pub(super) holders: SharedPeers,
    /// Of the zones that this site is primary of.
    pub(super) notify: SharedPeers,
}

impl Lists {
    /// What follows from the peers that there are.
    pub(super) fn of(peers: &BTreeMap<SiteName, Peer>) -> Self {
        let setup = |role, members_only| ZoneSetup {
            role,
            node: None,
            members_only,
        };
        let ids = |names: Vec<SiteName>| names.into_iter().map(PeerId::Site).collect();
        let from = |members_only| {
            let setup = setup(ZoneRole::Secondary(None), members_only);
            ids(desired::sources(&setup, peers))
        };
        Self {
            sources: from(false),
            holders: from(true),
            notify: ids(desired::notify(&setup(ZoneRole::Primary, false), peers)),
        }
    }
}
