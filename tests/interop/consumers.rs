//! Foreign servers as consumers of a catalog of ours (RFC 9432): all its members come from us, with the key.

use anyhow::Result;
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Knot, Named, Nsd, Peers, Place};

use crate::common::*;

/// Knot as a consumer of this catalog.
pub fn knot(peers: &Peers, place: Place, us: &Site, catalog: &str) -> Result<Knot> {
    Knot::start_at(peers, place, |place| {
        format!(
            "{}{}remote:\n  - id: primary\n    via: {}\n    address: {}@{}\n    key: {KEY}\n\
             template:\n  - id: members\n    storage: {}\n    master: primary\n    acl: [us, look]\n\
             zone:\n  - domain: {catalog}\n    master: primary\n    acl: [us, look]\n    catalog-role: interpret\n    \
             catalog-template: members\n",
            place.knot(),
            knot_access(place, SECRET),
            place.address(),
            us.place().address(),
            us.place().port(),
            place.dir().display()
        )
    })
}

/// BIND as a consumer of this catalog.
pub fn named(peers: &Peers, place: Place, us: &Site, catalog: &str) -> Result<Named> {
    let primary = format!(
        "{} port {} key {KEY};",
        us.place().address(),
        us.place().port()
    );
    Named::start_at(peers, place, |place| {
        let more = format!(
            "allow-transfer {{ any; }}; allow-notify {{ key \"{KEY}\"; }};\n  catalog-zones {{ zone \"{catalog}\" \
             default-primaries {{ {primary} }} in-memory yes min-update-interval 0; }};"
        );
        // The key has to be known before it is used.
        format!(
            "{}{}zone \"{catalog}\" {{ type secondary; file \"catalog\"; primaries {{ {primary} }}; }};\n",
            named_key(SECRET),
            place.named(&more),
        )
    })
}

/// NSD as a consumer of this catalog.
pub fn nsd(peers: &Peers, place: Place, us: &Site, catalog: &str) -> Result<Nsd> {
    Nsd::start_at(peers, place, |place| {
        let from_us = format!(
            "  allow-notify: 127.0.0.0/8 {KEY}\n  request-xfr: {}@{} {KEY}\n  outgoing-interface: {}\n  \
             provide-xfr: 127.0.0.0/8 NOKEY\n",
            us.place().address(),
            us.place().port(),
            place.address()
        );
        format!(
            "{}{}pattern:\n  name: members\n{from_us}zone:\n  name: {catalog}\n  catalog: consumer\n  \
             catalog-member-pattern: members\n{from_us}",
            place.nsd(""),
            nsd_key(SECRET)
        )
    })
}
