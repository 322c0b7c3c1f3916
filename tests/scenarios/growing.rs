//! Sites join and serve; a packet opens the door once.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::process::Signal;
use zonemesh_mesh::packet::{Secret, Welcome};
use zonemesh_testkit::{query, wait};
use zonemesh_tests::ask::{self, rcode};
use zonemesh_tests::mesh::serving;
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};
use zonemesh_transfer::peer::{Options, Peer, Target, Transport};
use zonemesh_transfer::tls::{SiteKey, Trust};
use zonemesh_transfer::tsig::{Algorithm, Key};
use zonemesh_update::request::publish;
use zonemesh_zone::directory::{self, KeyPin, Role, SiteName};

#[test]
fn every_site_serves_every_zone_and_a_fourth_site_joins_by_packet() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    for zone in ["a.example", "b.example", "c.example"] {
        mesh.wait_address(&format!("www.{zone}"), "192.0.2.1")?;
    }
    mesh.join("site-d")?;
    mesh.wait_healthy()?;
    for zone in ["a.example", "b.example", "c.example", "d.example"] {
        mesh.wait_address(&format!("www.{zone}"), "192.0.2.1")?;
    }
    for (index, site) in mesh.sites.iter().enumerate() {
        let (zone, address) = (site.zone(), format!("198.51.100.{index}"));
        let changed = site.set(&zone, "www", &address, true)?;
        let receipt = changed.receipt.context("--wait returns a receipt")?;
        assert_eq!(serving(&receipt), mesh.names(), "{receipt:?}");
        // The receipt is not a promise: every site serves it now.
        for other in &mesh.sites {
            let found = other.address(&format!("www.{zone}"))?.1;
            assert_eq!(found.map(|found| found.to_string()), Some(address.clone()));
        }
    }
    let (code, text) = mesh[3].cli_code(&["status"])?;
    assert_eq!(code, 0, "{text}");
    let (code, text) = mesh[1].cli_code(&[
        "record",
        "set",
        "b.example",
        "new",
        "A",
        "192.0.2.9",
        "--wait",
    ])?;
    assert_eq!(code, 0, "{text}");
    for name in mesh.names() {
        assert!(text.contains(&name), "{text}");
    }
    Ok(())
}

#[test]
fn a_join_whose_answer_is_late_is_finished_all_the_same() -> Result<()> {
    let mut mesh = Mesh::start(1)?;
    let packet = mesh[0].cli_ok(&["invite", "site-b"])?;
    let mut late = Site::new("site-b", "standard", None)?;
    mesh.sites[0].daemon()?.signal(Signal::STOP)?;
    late.join(&packet)?;
    late.wait_log("asking again")?;
    mesh.sites[0].daemon()?.signal(Signal::CONT)?;
    late.wait_ready()
}

/// A site that tries to join with a packet and must fail; returns what it said.
fn refused(site: &mut Site, packet: &str) -> Result<String> {
    site.join(packet)?;
    let (code, log) = site.wait_ended()?;
    assert_eq!(code, 1, "{log}");
    Ok(log)
}

#[test]
fn a_packet_is_refused_when_used_truncated_expired_or_for_another_name() -> Result<()> {
    let mesh = Mesh::start(1)?;
    let invite = |name: &str, valid: &str| mesh[0].cli_ok(&["invite", name, "--valid", valid]);
    let good = invite("site-b", "1h")?;

    let mut cut = Site::new("site-b", "standard", None)?;
    let log = refused(&mut cut, &good[..good.len() / 2])?;
    assert!(log.contains("cut off"), "{log}");

    let mut other = Site::new("site-x", "standard", None)?;
    let log = refused(&mut other, &good)?;
    assert!(log.contains("invites site-b"), "{log}");

    let short = invite("site-c", "1s")?;
    let packet = Welcome::decode(&short, 0)?;
    wait::until(SOON, "the packet to expire", || {
        Ok((Timestamp::now().as_second() > packet.expires).then_some(()))
    })?;
    let mut late = Site::new("site-c", "standard", None)?;
    let log = refused(&mut late, &short)?;
    assert!(log.contains("expired"), "{log}");

    // All that cost the good packet nothing; after its use it is worth nothing.
    let mut site = Site::new("site-b", "standard", None)?;
    site.join(&good)?;
    site.wait_running()?;
    site.wait_healthy(2)?;
    let mut twice = Site::new("site-b", "standard", None)?;
    let log = refused(&mut twice, &good)?;
    assert!(log.contains("was used at"), "{log}");
    site.wait_healthy(2)
}

/// What a newcomer sends over TLS, signed with the key of a packet.
fn request_to_join(mesh: &Mesh, packet: &Welcome, name: &str) -> Result<u8> {
    let pins = vec![mesh[0].key()?.pin()];
    request_to_join_over(
        Transport::Tls(Trust::Pins(pins)),
        mesh[0].tls(),
        packet,
        name,
    )
}

fn request_to_join_over(
    transport: Transport,
    addr: SocketAddr,
    packet: &Welcome,
    name: &str,
) -> Result<u8> {
    let key = SiteKey::generate(name)?;
    let site = directory::Site {
        name: SiteName::new(name)?,
        addresses: vec![[192, 0, 2, 99].into()],
        dot: Some(853),
        doq: None,
        dns: None,
        pins: vec![KeyPin(key.pin())],
        role: Role::Standard,
        engine: "test".to_owned(),
        failure_domain: None,
    };
    let update = publish(&packet.directory, &site, None)?.compose(7)?;
    let tsig = Key::new(
        packet.key_name.clone(),
        Algorithm::HmacSha256,
        packet.key.expose(),
    )?;
    let target = Target {
        addr,
        source: None,
        transport,
        tsig: None,
    };
    let reply = ask::runtime()?.block_on(async {
        let peer = Peer::new(target, Some(&key), Options::default())?;
        anyhow::Ok(peer.request_signed(update, Some(&tsig), SOON).await?)
    })?;
    Ok(query::rcode(&reply))
}

#[test]
fn the_catalog_primary_itself_refuses_bad_packets() -> Result<()> {
    let mesh = Mesh::start(1)?;
    let invite = |valid: &str| -> Result<Welcome> {
        let packet = mesh[0].cli_ok(&["invite", "site-b", "--valid", valid])?;
        Ok(Welcome::decode(&packet, 0)?)
    };
    let good = invite("1h")?;
    let short = invite("1s")?;
    wait::until(SOON, "the packet to expire", || {
        Ok((Timestamp::now().as_second() > short.expires).then_some(()))
    })?;
    assert_eq!(request_to_join(&mesh, &short, "site-b")?, rcode::REFUSED);
    assert_eq!(request_to_join(&mesh, &good, "site-c")?, rcode::REFUSED);
    let forged = Welcome {
        key: Secret::new([7; 32]),
        ..good.clone()
    };
    // The reply to a bad signature is not signed, so the asker does not believe it either.
    assert!(request_to_join(&mesh, &forged, "site-b").is_err());
    // Without TLS nobody has proven to have the key that would be entered.
    let plain = request_to_join_over(Transport::Tcp, mesh[0].dns(), &good, "site-b")?;
    assert_eq!(plain, rcode::REFUSED);
    assert_eq!(request_to_join(&mesh, &good, "site-b")?, rcode::NOERROR);
    assert_eq!(request_to_join(&mesh, &good, "site-b")?, rcode::REFUSED);
    let known = mesh[0].status()?.sites;
    let names: Vec<&str> = known.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(names, ["site-a", "site-b"]);
    // Nor does the packet open the door again when its site has gone.
    mesh[0].cli_ok(&["site", "remove", "site-b", "--zones", "remove"])?;
    assert_eq!(request_to_join(&mesh, &good, "site-b")?, rcode::REFUSED);
    Ok(())
}
