//! A foreign server between two of ours: it takes the zone from one and gives it to the other, changes too.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Named, Nsd, Peers, Place, PowerDns, peers_or_skip, wait};

use crate::common::*;
use crate::tried::{Row, Server, kinds, tried};

const ZONE: &str = "example.com";

/// The first of ours, which tells the server in between of changes.
fn first(middle: &Place) -> Result<Site> {
    let ours = Place::at("first", Ipv4Addr::LOCALHOST)?;
    Site::start_at(ours, |place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\nallow = [\"transfer\"]\n\
             [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nnotify = [\"peer\"]\n",
            site(place),
            middle.dns()
        )
    })
}

/// The last of ours, which is a secondary of the server in between.
fn last(place: Place, middle: SocketAddr) -> Result<Site> {
    Site::start_at(place, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{middle}\"\n[[zone]]\nname = \"{ZONE}\"\nprimaries = [\"peer\"]\n\
             allow-transfer = [\"127.0.0.0/8\"]\nallow-notify = [\"127.0.0.0/8\"]\n",
            site(place)
        )
    })
}

/// Three changes, one of which takes away, arrive at the end as they were made. `hand_on` does what the server in between does not by
/// itself.
fn changes_pass(
    peers: &Peers,
    server: Server,
    first: &Site,
    last: &Site,
    hand_on: impl Fn(u32) -> Result<()>,
) -> Result<()> {
    wait::serial(SOON, last.dns(), ZONE, 1)?;
    for address in ["192.0.2.200", "192.0.2.201"] {
        let serial = change(first, ZONE, address)?;
        hand_on(serial)?;
        wait::serial(SOON, last.dns(), ZONE, serial)?;
        let answer = Dig::new(peers)
            .at(last.dns())
            .query("new.example.com", "A")?;
        assert_eq!(answer.data("A"), [address]);
    }
    first.cli_ok(&["record", "delete", ZONE, "host7"])?;
    let serial = serial_at(first.dns(), ZONE)?;
    hand_on(serial)?;
    wait::serial(SOON, last.dns(), ZONE, serial)?;
    assert_same(first, &Dig::new(peers).at(last.dns()), ZONE)?;
    let came = kinds(last, "in");
    ensure!(!came.is_empty(), "nothing came:\n{}", last.log());
    // No key is used on either way.
    tried(peers, server, Row::SecondaryUnsigned, &kinds(first, "out"))?;
    tried(peers, server, Row::PrimaryUnsigned, &came)?;
    tried(peers, server, Row::Between, &came)
}

fn at(place: &Place) -> String {
    format!("{}@{}", place.address(), place.port())
}

#[test]
fn knot_hands_on_what_it_has_from_us_by_ixfr() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let end = Place::new("last")?;
    let first = first(&place)?;
    let knot = Knot::start_at(&peers, place, |place| {
        format!(
            "{}{}  - id: all\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n\
             remote:\n  - id: first\n    address: {}\n    via: {via}\n  - id: last\n    address: {}\n    via: {via}\n\
             zone:\n  - domain: {ZONE}\n    master: first\n    notify: last\n    acl: all\n",
            place.knot(),
            knot_access(place, SECRET),
            at(first.place()),
            at(&end),
            via = place.address(),
        )
    })?;
    let last = last(end, knot.dns())?;
    changes_pass(&peers, Server::Knot, &first, &last, |_| Ok(()))?;
    ensure!(kinds(&last, "in").contains("IXFR"), "{}", last.log());
    Ok(())
}

#[test]
fn named_hands_on_what_it_has_from_us_by_ixfr() -> Result<()> {
    let peers = peers_or_skip!();
    let place = named_place()?;
    let end = Place::new("last")?;
    let first = first(&place)?;
    let named = Named::start_at(&peers, place, |place| {
        let port = |place: &Place| format!("{} port {};", place.address(), place.port());
        format!(
            "{}zone \"{ZONE}\" {{ type secondary; file \"zone\"; primaries {{ {} }}; notify explicit; \
             also-notify {{ {} }}; allow-notify {{ 127.0.0.0/8; }}; allow-transfer {{ any; }}; }};\n",
            place.named(""),
            port(first.place()),
            port(&end),
        )
    })?;
    let last = last(end, named.dns())?;
    changes_pass(&peers, Server::Bind, &first, &last, |_| Ok(()))?;
    ensure!(kinds(&last, "in").contains("IXFR"), "{}", last.log());
    Ok(())
}

#[test]
fn nsd_hands_on_what_it_has_from_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("nsd")?;
    let end = Place::new("last")?;
    let first = first(&place)?;
    let nsd = Nsd::start_at(&peers, place, |place| {
        format!(
            "{}zone:\n  name: {ZONE}\n  zonefile: zone\n  store-ixfr: yes\n  allow-notify: 127.0.0.0/8 NOKEY\n  \
             request-xfr: {} NOKEY\n  notify: {} NOKEY\n  outgoing-interface: {}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd(""),
            at(first.place()),
            at(&end),
            place.address()
        )
    })?;
    let last = last(end, nsd.dns())?;
    changes_pass(&peers, Server::Nsd, &first, &last, |_| Ok(()))
}

#[test]
fn power_dns_hands_on_what_it_has_from_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("pdns")?;
    let end = Place::new("last")?;
    let first = first(&place)?;
    let notify = end.dns();
    let pdns = PowerDns::start_at(&peers, place, None, &[], |place| {
        format!(
            "zone \"{ZONE}\" {{ type slave; file \"{}\"; masters {{ {}; }}; also-notify {{ {notify}; }}; }};\n",
            place.path("zone"),
            first.dns()
        )
    })?;
    let last = last(end, pdns.dns())?;
    let hand_on = |serial| {
        // It does not tell of what it takes before it has noted, in one of its cycles, what it had before.
        wait::serial(SOON, pdns.dns(), ZONE, serial)?;
        pdns.pdns_control(&["notify-host", ZONE, &last.dns().to_string()])
            .map(drop)
    };
    changes_pass(&peers, Server::PowerDns, &first, &last, hand_on)
}
