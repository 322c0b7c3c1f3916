//! Foreign servers that follow the catalog of a mesh: it is given to those who have the key, and to nobody else.

use std::net::SocketAddr;

use anyhow::Result;
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Peers, Place, peers_or_skip, wait};

use crate::common::*;
use crate::consumers;
use crate::tried::{Row, Server, tried};

const CATALOG: &str = "catalog.dns.internal";

/// The first site of a mesh, with a zone; the peer has the key, and is told of the catalog and of its members.
fn mesh(peer: &Place) -> Result<Site> {
    Site::start(|ours| {
        ours.write("zone", &zone_text(1));
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\nallow = [\"transfer\"]\n\
             [directory]\n[catalog]\nnotify = [\"peer\"]\n[[zone]]\nname = \"a.example\"\nfile = \"zone\"\ndynamic = true\n",
            site(ours).replace(
                "name = \"us\"\n",
                &format!(
                    "name = \"us\"\nrole = \"catalog-primary\"\naddresses = [\"{}\"]\n",
                    ours.address()
                )
            ),
            peer.dns()
        )
    })
}

/// Changes, a zone more and a zone less are followed there, and nobody else is given directory or catalog.
fn followed(us: &Site, at: SocketAddr, peers: &Peers, server: Server) -> Result<()> {
    wait::serial(SOON, at, "a.example", 1)?;
    let serial = change(us, "a.example", "192.0.2.200")?;
    wait::serial(SOON, at, "a.example", serial)?;
    let added = us.place().write("added", &zone_text(5));
    us.cli_ok(&["zone", "add", "b.example", "--file", &added])?;
    wait::serial(SOON, at, "b.example", 5)?;
    wait::until(SOON, "the catalog to be the same there", || {
        assert_same(us, &Dig::new(peers).at(at), CATALOG).map(Some)
    })?;
    us.cli_ok(&["zone", "remove", "b.example"])?;
    wait_gone(at, "b.example")?;
    for zone in [CATALOG, "dns.internal"] {
        let answer = Dig::new(peers).at(us.dns()).query(zone, "SOA")?;
        assert_eq!(answer.status, "REFUSED", "{}", answer.text);
        let there = Dig::new(peers).at(us.dns()).from(at.ip());
        let transfer = there.transfer(zone, "AXFR");
        assert!(transfer.is_err(), "{zone} without the key: {transfer:?}");
    }
    tried(peers, server, Row::ConsumerOfMesh, "yes")
}

#[test]
fn knot_follows_the_catalog_of_a_mesh_with_the_key_and_nobody_without() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let us = mesh(&place)?;
    let knot = consumers::knot(&peers, place, &us, CATALOG)?;
    followed(&us, knot.dns(), &peers, Server::Knot)
}

#[test]
fn named_follows_the_catalog_of_a_mesh_with_the_key() -> Result<()> {
    let peers = peers_or_skip!();
    let place = named_place()?;
    let us = mesh(&place)?;
    let named = consumers::named(&peers, place, &us, CATALOG)?;
    followed(&us, named.dns(), &peers, Server::Bind)
}

#[test]
fn nsd_follows_the_catalog_of_a_mesh_with_the_key() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("nsd")?;
    let us = mesh(&place)?;
    let nsd = consumers::nsd(&peers, place, &us, CATALOG)?;
    followed(&us, nsd.dns(), &peers, Server::Nsd)
}
