//! NSD over TLS, Unbound with an `auth-zone`, and PowerDNS with its BIND backend, which knows no IXFR out.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{
    Certificate, Dig, Nsd, Peers, Place, PowerDns, Unbound, peers_or_skip, query, wait,
};

use crate::common::*;
use crate::tried::{Row, Server, kinds, tried};

const ZONE: &str = "example.com";

/// Our side as the primary of the zone, for everybody here; the peer is told of changes at this address.
fn primary(ours: Place, peer: SocketAddr, how: &str) -> Result<Site> {
    Site::start_at(ours, |place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{peer}\"\n{how}\nallow = [\"transfer\"]\n\
             [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nnotify = [\"peer\"]\n",
            site(place)
        )
    })
}

/// Our side as the secondary of the peer.
fn secondary(ours: Place, peer: SocketAddr, how: &str) -> Result<Site> {
    Site::start_at(ours, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{peer}\"\n{how}\n\
             [[zone]]\nname = \"{ZONE}\"\nprimaries = [\"peer\"]\nallow-transfer = [\"127.0.0.0/8\"]\n",
            site(place)
        )
    })
}

/// Two changes here, each of which is answered there by NOTIFY alone.
fn follows(us: &Site, at: SocketAddr, peers: &Peers) -> Result<()> {
    wait::serial(SOON, at, ZONE, 1)?;
    for address in ["192.0.2.200", "192.0.2.201"] {
        let serial = change(us, ZONE, address)?;
        wait::serial(SOON, at, ZONE, serial)?;
        let answer = Dig::new(peers).at(at).query("new.example.com", "A")?;
        assert_eq!(answer.data("A"), [address]);
    }
    Ok(())
}

#[test]
fn nsd_is_secondary_of_us_over_tls_and_verifies_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("nsd")?;
    let us = primary(
        Place::new("us")?,
        place.dns(),
        &format!("tsig-key = \"{KEY}\""),
    )?;
    let ours = place.write("us.pem", &certificate_at(&peers, us.place().tls())?);
    let nsd = Nsd::start_at(&peers, place, |place| {
        format!(
            "{}{}tls-auth:\n  name: us\n  auth-domain-name: \"us\"\nzone:\n  name: {ZONE}\n  zonefile: zone\n  \
             allow-notify: 127.0.0.0/8 {KEY}\n  request-xfr: {}@{} {KEY} us\n  outgoing-interface: {}\n  \
             provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd(&format!("  tls-cert-bundle: \"{ours}\"")),
            nsd_key(SECRET),
            us.place().address(),
            us.place().tls_port(),
            place.address()
        )
    })?;
    follows(&us, nsd.dns(), &peers)?;
    assert_same(&us, &Dig::new(&peers).at(nsd.dns()), ZONE)?;
    let over_tls = |line: &String| line.contains("\"transport\":\"tls\"");
    let sent = transfers(&us, "out");
    ensure!(!sent.is_empty() && sent.iter().any(over_tls), "{sent:#?}");
    tried(&peers, Server::Nsd, Row::SecondaryTls, &kinds(&us, "out"))
}

#[test]
fn nsd_is_primary_to_us_over_tls_with_its_key_pinned() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let place = Place::new("nsd")?;
    let certificate = Certificate::make(&peers, &place, "nsd.test")?;
    let nsd = Nsd::start_at(&peers, place, |place| {
        place.write("zone", &zone_text(1));
        let tls = format!(
            "  ip-address: {}@{2}\n  tls-port: {2}\n  tls-service-pem: \"{1}\"\n  tls-service-key: \"{3}\"",
            place.address(),
            certificate.cert_file,
            place.tls_port(),
            certificate.key_file
        );
        format!(
            "{}{}zone:\n  name: {ZONE}\n  zonefile: zone\n  store-ixfr: yes\n  create-ixfr: yes\n  \
             notify: {}@{} {KEY}\n  outgoing-interface: {}\n  provide-xfr: 127.0.0.0/8 {KEY}\n  \
             provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd(&tls),
            nsd_key(SECRET),
            ours.address(),
            ours.port(),
            place.address()
        )
    })?;
    // It notifies by UDP with the key alone: that a NOTIFY may come so has to be said.
    let us = Site::start_at(ours, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\ntls = \"{}\"\ntsig-key = \"{KEY}\"\n[[zone]]\nname = \"{ZONE}\"\n\
             primaries = [\"peer\"]\nallow-transfer = [\"127.0.0.0/8\"]\n\
             allow-notify = [{{ network = \"127.0.0.0/8\", key = \"{KEY}\" }}]\n",
            site(place),
            nsd.place().tls(),
            certificate.tlsa
        )
    })?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let mut next = zone_text(2);
    next.push_str("new A 192.0.2.200\n");
    nsd.place().write("zone", &next);
    nsd.nsd_control(&["reload", ZONE])?;
    wait::serial(SOON, us.dns(), ZONE, 2)?;
    assert_same(&us, &Dig::new(&peers).at(nsd.dns()), ZONE)?;
    let came = transfers(&us, "in");
    ensure!(
        came.iter()
            .all(|line| line.contains("\"transport\":\"tls\"")),
        "{came:#?}"
    );
    tried(&peers, Server::Nsd, Row::PrimaryTls, &kinds(&us, "in"))
}

/// Our side as the primary; transfers are for the network, because Unbound asks for them from any address of the host.
///
/// Not over TLS: Unbound 1.22 asks for the serial by UDP at the port of the transfer, and nothing answers that there.
fn open_primary(peer: &Place) -> Result<Site> {
    Site::start(|place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\n[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n\
             dynamic = true\nnotify = [\"peer\"]\nallow-transfer = [\"127.0.0.0/8\"]\n",
            site(place),
            peer.dns()
        )
    })
}

fn unbound(peers: &Peers, place: Place, primary: &str) -> Result<Unbound> {
    Unbound::start_at(peers, place, |place| {
        let server = format!("  outgoing-interface: {}\n", place.address());
        format!(
            "{}auth-zone:\n  name: \"{ZONE}\"\n  primary: {primary}\n  allow-notify: 127.0.0.0/8\n  \
             for-downstream: yes\n  for-upstream: no\n  zonefile: \"{}\"\n",
            place.unbound(&server),
            place.path("zone"),
        )
    })
}

#[test]
fn unbound_follows_us_with_an_auth_zone() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("unbound")?;
    let us = open_primary(&place)?;
    let at = format!("{}@{}", us.place().address(), us.place().port());
    let unbound = unbound(&peers, place, &at)?;
    follows(&us, unbound.dns(), &peers)?;
    tried(
        &peers,
        Server::Unbound,
        Row::SecondaryUnsigned,
        &kinds(&us, "out"),
    )
}

/// PowerDNS with the zone from us; it takes NOTIFY from the address of its primary only.
fn power_dns_secondary(
    peers: &Peers,
    place: Place,
    us: &Site,
    key: Option<(&str, &str)>,
) -> Result<PowerDns> {
    let signed: &[(&str, &str)] = match key {
        Some(_) => &[(ZONE, "secondary")],
        None => &[],
    };
    PowerDns::start_at(peers, place, key, signed, |place| {
        format!(
            "zone \"{ZONE}\" {{ type slave; file \"{}\"; masters {{ {}; }}; }};\n",
            place.path("zone"),
            us.dns()
        )
    })
}

#[test]
fn power_dns_is_secondary_of_us_with_tsig_and_by_address() -> Result<()> {
    let peers = peers_or_skip!();
    for (row, key) in [
        (Row::Secondary, Some((KEY, SECRET))),
        (Row::SecondaryUnsigned, None),
    ] {
        let place = Place::new("pdns")?;
        let how = match key {
            Some((name, _)) => format!("tsig-key = \"{name}\""),
            None => String::new(),
        };
        let us = primary(Place::at("us", Ipv4Addr::LOCALHOST)?, place.dns(), &how)?;
        let pdns = power_dns_secondary(&peers, place, &us, key)?;
        follows(&us, pdns.dns(), &peers)?;
        assert_same(&us, &Dig::new(&peers).at(pdns.dns()), ZONE)?;
        tried(&peers, Server::PowerDns, row, &kinds(&us, "out"))?;
    }
    Ok(())
}

#[test]
fn power_dns_with_the_wrong_tsig_key_gets_nothing_from_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("pdns")?;
    let how = format!("tsig-key = \"{KEY}\"");
    let us = primary(Place::at("us", Ipv4Addr::LOCALHOST)?, place.dns(), &how)?;
    let pdns = power_dns_secondary(&peers, place, &us, Some((KEY, WRONG)))?;
    wait::until(SOON, "our log to tell of a bad signature", || {
        Ok(us.log().contains("bad TSIG signature").then_some(()))
    })?;
    assert!(transfers(&us, "out").is_empty());
    assert!(query::serial(pdns.dns(), ZONE)?.is_none());
    tried(&peers, Server::PowerDns, Row::SecondaryWrongKey, "refused")
}

#[test]
fn power_dns_is_primary_to_us_with_tsig_and_by_address() -> Result<()> {
    let peers = peers_or_skip!();
    for (row, key) in [
        (Row::Primary, Some((KEY, SECRET))),
        (Row::PrimaryUnsigned, None),
    ] {
        let ours = Place::new("us")?;
        let signed: &[(&str, &str)] = match key {
            Some(_) => &[(ZONE, "primary")],
            None => &[],
        };
        let pdns = PowerDns::start_at(&peers, Place::new("pdns")?, key, signed, |place| {
            let file = place.write("zone", &zone_text(1));
            format!("zone \"{ZONE}\" {{ type master; file \"{file}\"; }};\n")
        })?;
        let how = match key {
            Some((name, _)) => format!("tsig-key = \"{name}\""),
            None => String::new(),
        };
        let us = secondary(ours, pdns.dns(), &how)?;
        wait::serial(SOON, us.dns(), ZONE, 1)?;
        assert_same(&us, &Dig::new(&peers).at(us.dns()), ZONE)?;
        let mut next = zone_text(2);
        next.push_str("new A 192.0.2.200\n");
        pdns.place().write("zone", &next);
        pdns.pdns_control(&["bind-reload-now", ZONE])?;
        wait::serial(SOON, pdns.dns(), ZONE, 2)?;
        pdns.pdns_control(&["notify-host", ZONE, &us.dns().to_string()])?;
        wait::serial(SOON, us.dns(), ZONE, 2)?;
        let answer = Dig::new(&peers)
            .at(us.dns())
            .query("new.example.com", "A")?;
        assert_eq!(answer.data("A"), ["192.0.2.200"]);
        tried(&peers, Server::PowerDns, row, &kinds(&us, "in"))?;
    }
    Ok(())
}
