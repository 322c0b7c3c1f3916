//! Sites that talk to each other over QUIC, alone or beside TLS.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use zonemesh_testkit::netns::Net;
use zonemesh_testkit::{namespaces_or_skip, wait};
use zonemesh_tests::mesh::{Mesh, serving};
use zonemesh_tests::site::{SOON, Site};

/// Over what a site has fetched zones, by its log from some octet on.
fn fetched_over(site: &Site, from: usize) -> BTreeSet<String> {
    let log = site.log();
    let log = log.get(from..).unwrap_or_default();
    let transfers = log.lines().filter(|line| {
        line.contains("\"message\":\"transfer\"")
            && line.contains("\"direction\":\"in\"")
            && !line.contains("\"error\":")
    });
    let over = |line: &str| {
        let (_, rest) = line.split_once("\"transport\":\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    transfers.filter_map(over).collect()
}

fn only(over: &str) -> BTreeSet<String> {
    [over.to_owned()].into()
}

/// Over what a site got its copy of a zone, as its status has it.
fn copied_over(site: &Site, zone: &str) -> Result<Option<String>> {
    let zones = site.status()?.zones;
    let zone = zones.into_iter().find(|status| status.zone == zone);
    let copies = zone.into_iter().flat_map(|zone| zone.sites);
    let mut own = copies.filter(|copy| copy.site == site.name);
    Ok(own.next().and_then(|copy| copy.transport))
}

#[test]
fn a_mesh_that_has_nothing_but_quic_grows_changes_and_heals() -> Result<()> {
    let mut mesh = Mesh::start_as(3, None, &|site, text| {
        let tls = format!("tls = [\"{}\"]", site.tls());
        assert!(text.contains(&tls), "{text}");
        text.replace(&tls, &format!("tls = []\nquic = [\"{}\"]", site.tls()))
    })?;
    let directory = mesh[0].cli_ok(&["zone", "export", "dns.internal"])?;
    let port = mesh[1].tls().port();
    for record in [
        format!("alpn=doq port={port}"),
        format!("_{port}._udp.site-b"),
    ] {
        ensure!(directory.contains(&record), "{record}: {directory}");
    }
    ensure!(!directory.contains("alpn=dot"), "{directory}");
    let changed = mesh[1].set("b.example", "www", "198.51.100.1", true)?;
    let receipt = changed.receipt.context("a receipt")?;
    assert_eq!(serving(&receipt), mesh.names());
    mesh.wait_address("www.b.example", "198.51.100.1")?;
    // One is killed, and finds back to what has happened meanwhile; the others learn from it at once that it was away.
    mesh[2].kill9()?;
    mesh[0].set("a.example", "www", "198.51.100.2", false)?;
    mesh[1].wait_address("www.a.example", "198.51.100.2")?;
    mesh[2].up()?;
    mesh[2].wait_running()?;
    mesh.wait_healthy()?;
    mesh[2].wait_address("www.a.example", "198.51.100.2")?;
    mesh[2].set("c.example", "www", "198.51.100.3", false)?;
    mesh.wait_address("www.c.example", "198.51.100.3")?;
    for site in &mesh.sites {
        assert_eq!(fetched_over(site, 0), only("quic"), "{}", site.name);
    }
    assert_eq!(
        copied_over(&mesh[1], "a.example.")?.as_deref(),
        Some("quic")
    );
    Ok(())
}

#[test]
fn where_datagrams_are_dropped_sites_that_prefer_quic_go_on_over_tls_and_come_back() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(2)?;
    let mesh = Mesh::start_as(2, Some(&net), &|site, text| {
        let tls = format!("tls = [\"{}\"]", site.tls());
        let both = format!("{tls}\nquic = [\"{}\"]", site.tls());
        let text = text.replace(&tls, &both);
        text.replace("[listen]", "transport = \"quic\"\n[listen]")
    })?;
    mesh[0].set("a.example", "www", "198.51.100.1", false)?;
    mesh.wait_address("www.a.example", "198.51.100.1")?;
    for site in &mesh.sites {
        let over = fetched_over(site, 0);
        ensure!(over.contains("quic"), "{}: {over:?}", site.name);
    }
    let block = |blocked| {
        let mut pairs = net.hosts().iter().zip(&mesh.sites);
        pairs.try_for_each(|(host, site)| host.set_deaf_to_datagrams(site.tls().port(), blocked))
    };
    block(true)?;
    let before = mesh[1].log().len();
    mesh[0].set("a.example", "www", "198.51.100.2", false)?;
    mesh.wait_address("www.a.example", "198.51.100.2")?;
    mesh.wait_healthy()?;
    assert_eq!(fetched_over(&mesh[1], before), only("tls"));
    wait::until(SOON, "the status to tell of TLS", || {
        let over = copied_over(&mesh[1], "a.example.")?;
        Ok((over.as_deref() == Some("tls")).then_some(()))
    })?;
    block(false)?;
    // A probe finds it.
    wait::until(SOON, "QUIC again", || {
        let over = copied_over(&mesh[1], "a.example.")?;
        Ok((over.as_deref() == Some("quic")).then_some(()))
    })?;
    let before = mesh[1].log().len();
    mesh[0].set("a.example", "www", "198.51.100.3", false)?;
    mesh.wait_address("www.a.example", "198.51.100.3")?;
    assert_eq!(fetched_over(&mesh[1], before), only("quic"));
    mesh.wait_healthy()
}
