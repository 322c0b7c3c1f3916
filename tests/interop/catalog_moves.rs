//! Catalogs that misbehave, members that move from one to another, and NSD, which knows catalogs since 4.9.

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Named, Nsd, Peers, Place, peers_or_skip, query, wait};

use crate::common::*;
use crate::consumers;
use crate::tried::{Row, Server, tried};

const ONE: &str = "one.test";
const TWO: &str = "two.test";
const ZONE: &str = "a.example";

/// A catalog with these lines below its SOA, NS and version.
fn catalog(serial: u32, lines: &str) -> String {
    format!(
        "$TTL 0\n@ SOA invalid. invalid. {serial} 3600 600 1209600 0\n@ NS invalid.\nversion TXT \"2\"\n{lines}"
    )
}

/// A server with the zone and two catalogs, which were written by hand.
enum Carrier {
    Bind(Named),
    Knot(Knot),
    Nsd(Nsd),
}

impl Carrier {
    fn start(peers: &Peers, server: Server, ours: &Place, one: &str, two: &str) -> Result<Self> {
        let write = |place: &Place| {
            place.write(ONE, &catalog(1, one));
            place.write(TWO, &catalog(1, two));
            place.write(ZONE, &zone_text(1));
        };
        let (ip, port) = (ours.address(), ours.port());
        Ok(match server {
            Server::Knot => Self::Knot(Knot::start(peers, |place| {
                write(place);
                let zone = |zone| {
                    format!(
                        "  - domain: {zone}\n    file: {zone}\n    notify: us\n    acl: [us, look]\n"
                    )
                };
                format!(
                    "{}{}remote:\n  - id: us\n    address: {ip}@{port}\n    via: {}\n    key: {KEY}\nzone:\n{}",
                    place.knot(),
                    knot_access(place, SECRET),
                    place.address(),
                    [ONE, TWO, ZONE].map(zone).concat()
                )
            })?),
            Server::Nsd => Self::Nsd(Nsd::start(peers, |place| {
                write(place);
                let zone = |zone| {
                    format!(
                        "zone:\n  name: {zone}\n  zonefile: {zone}\n  notify: {ip}@{port} {KEY}\n  outgoing-interface: {}\n  \
                         provide-xfr: 127.0.0.0/8 {KEY}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
                        place.address()
                    )
                };
                let zones = [ONE, TWO, ZONE].map(zone).concat();
                format!("{}{}{zones}", place.nsd(""), nsd_key(SECRET))
            })?),
            _ => Self::Bind(Named::start_at(peers, named_place()?, |place| {
                write(place);
                let more = format!(
                    "allow-transfer {{ any; }}; notify explicit; also-notify {{ {ip} port {port} key {KEY}; }};"
                );
                let zones = [ONE, TWO, ZONE].map(|zone| {
                    format!(
                        "zone \"{zone}\" {{ type primary; file \"{zone}\"; check-names ignore; }};\n"
                    )
                });
                format!(
                    "{}{}{}",
                    named_key(SECRET),
                    place.named(&more),
                    zones.concat()
                )
            })?),
        })
    }

    fn place(&self) -> &Place {
        match self {
            Self::Bind(named) => named.place(),
            Self::Knot(knot) => knot.place(),
            Self::Nsd(nsd) => nsd.place(),
        }
    }

    fn reload(&self, zone: &str) -> Result<()> {
        match self {
            Self::Bind(named) => named.rndc(&["reload", zone]),
            Self::Knot(knot) => knot.knotc(&["zone-reload", zone]),
            Self::Nsd(nsd) => nsd.nsd_control(&["reload", zone]),
        }
        .map(drop)
    }
}

/// Such a server, and our side as a consumer of both catalogs.
struct Pair {
    carrier: Carrier,
    us: Site,
}

impl Pair {
    fn start(peers: &Peers, server: Server, one: &str, two: &str) -> Result<Self> {
        let ours = Place::new("us")?;
        let carrier = Carrier::start(peers, server, &ours, one, two)?;
        let us = Site::start_at(ours, |place| {
            let catalogs = [ONE, TWO].map(|zone| {
                format!(
                    "[[zone]]\nname = \"{zone}\"\ncatalog = \"consumer\"\nprimaries = [\"peer\"]\nadmit = [\"*.example\"]\n"
                )
            });
            format!(
                "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\n{}\
                 [[group]]\nname = \"open\"\nallow-transfer = [\"127.0.0.0/8\"]\n",
                site(place),
                carrier.place().dns(),
                catalogs.concat()
            )
        })?;
        wait::serial(SOON, us.dns(), ZONE, 1)?;
        Ok(Self { carrier, us })
    }

    fn publish(&self, catalog_zone: &str, serial: u32, lines: &str) -> Result<()> {
        self.publish_text(catalog_zone, serial, &catalog(serial, lines))
    }

    fn publish_text(&self, catalog_zone: &str, serial: u32, text: &str) -> Result<()> {
        self.carrier.place().write(catalog_zone, text);
        self.carrier.reload(catalog_zone)?;
        wait::serial(SOON, self.us.dns(), catalog_zone, serial)
    }

    /// Waits until status says something with these words.
    fn told(&self, words: &[&str]) -> Result<()> {
        wait::until(SOON, &format!("status to say {words:?}"), || {
            let output = self.us.cli(&["status", "--json"])?;
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(words.iter().all(|word| text.contains(word)).then_some(()))
        })
    }

    /// Waits until nothing is wrong with any catalog.
    fn well(&self) -> Result<()> {
        wait::until(SOON, "all catalogs to be followed", || {
            let output = self.us.cli(&["status", "--json"])?;
            let text = String::from_utf8_lossy(&output.stdout);
            Ok((!text.contains("catalog-not-followed")).then_some(()))
        })
    }
}

fn a_member_moves(server: Server) -> Result<()> {
    let peers = peers_or_skip!();
    let member = "m.zones PTR a.example.\n";
    let pair = Pair::start(&peers, server, member, "")?;
    // Listed by another catalog as well, it stays where it is.
    pair.publish(TWO, 2, member)?;
    pair.told(&["catalog-not-followed", ZONE, TWO])?;
    ensure!(query::serial(pair.us.dns(), ZONE)? == Some(1));
    // Nor does it go with a catalog that has nothing to do with it.
    pair.publish(TWO, 3, "")?;
    pair.well()?;
    ensure!(query::serial(pair.us.dns(), ZONE)? == Some(1));
    // The old catalog names the new one, and then forgets it.
    pair.publish(ONE, 2, &format!("{member}coo.m.zones PTR {TWO}.\n"))?;
    pair.publish(
        TWO,
        4,
        "n.zones PTR a.example.\ngroup.n.zones TXT \"open\"\n",
    )?;
    // It is the new one's now: that one's group says who may have it.
    wait::until(SOON, "the group of the new catalog to count", || {
        Ok(Dig::new(&peers)
            .at(pair.us.dns())
            .transfer(ZONE, "AXFR")
            .is_ok()
            .then_some(()))
    })?;
    pair.publish(ONE, 3, "")?;
    pair.well()?;
    assert_same(
        &pair.us,
        &Dig::new(&peers).at(pair.carrier.place().dns()),
        ZONE,
    )?;
    pair.publish(TWO, 5, "")?;
    wait_gone(pair.us.dns(), ZONE)?;
    tried(&peers, server, Row::Group, "yes")?;
    tried(&peers, server, Row::Moves, "yes")
}

#[test]
fn a_member_moves_from_one_catalog_of_named_to_another_only_with_coo() -> Result<()> {
    a_member_moves(Server::Bind)
}

#[test]
fn a_member_moves_from_one_catalog_of_knot_to_another_only_with_coo() -> Result<()> {
    a_member_moves(Server::Knot)
}

#[test]
fn a_member_moves_from_one_catalog_of_nsd_to_another_only_with_coo() -> Result<()> {
    a_member_moves(Server::Nsd)
}

fn faults_change_nothing(server: Server) -> Result<()> {
    let peers = peers_or_skip!();
    let member = "m.zones PTR a.example.\n";
    let pair = Pair::start(&peers, server, member, "")?;
    let other = |version: &str, serial, lines: &str| {
        catalog(serial, lines).replace("version TXT \"2\"\n", version)
    };
    let faults = [
        (other("", 2, ""), "no version"),
        (other("version TXT \"3\"\n", 3, ""), "version"),
        (
            other("version TXT \"2\"\nversion TXT \"2\" \"2\"\n", 4, ""),
            "version",
        ),
        (
            catalog(5, &format!("{member}n.zones PTR a.example.\n")),
            ZONE,
        ),
        (
            catalog(6, "m.zones PTR a.example.\nm.zones PTR b.example.\n"),
            "m.zones",
        ),
    ];
    for ((text, words), serial) in faults.iter().zip(2..) {
        pair.publish_text(ONE, serial, text)?;
        pair.told(&["catalog-not-followed", words])?;
        ensure!(query::serial(pair.us.dns(), ZONE)? == Some(1), "{text}");
    }
    let unknown =
        format!("{member}colour.m.zones TXT \"blue\"\nx.ext TXT \"private\"\ncolour TXT \"red\"\n");
    pair.publish(ONE, 7, &unknown)?;
    pair.well()?;
    ensure!(query::serial(pair.us.dns(), ZONE)? == Some(1));
    tried(&peers, server, Row::Broken, "changes nothing")
}

#[test]
fn a_catalog_of_named_with_faults_changes_nothing_and_unknown_properties_are_ignored() -> Result<()>
{
    faults_change_nothing(Server::Bind)
}

#[test]
fn a_catalog_of_knot_with_faults_changes_nothing_and_unknown_properties_are_ignored() -> Result<()>
{
    faults_change_nothing(Server::Knot)
}

#[test]
fn a_catalog_of_nsd_with_faults_changes_nothing_and_unknown_properties_are_ignored() -> Result<()> {
    faults_change_nothing(Server::Nsd)
}

#[test]
fn nsd_follows_our_catalog() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("nsd")?;
    let peer = place.dns();
    let config = |ours: &Place, zones: &[&str]| {
        let mut text = format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{peer}\"\ntsig-key = \"{KEY}\"\nallow = [\"transfer\"]\n\
             [[zone]]\nname = \"{ONE}\"\ncatalog = \"producer\"\nnotify = [\"peer\"]\n",
            site(ours)
        );
        for zone in zones {
            ours.write(zone, &zone_text(1));
            text.push_str(&format!(
                "[[zone]]\nname = \"{zone}\"\nfile = \"{zone}\"\ndynamic = true\nnotify = [\"peer\"]\n"
            ));
        }
        text
    };
    let us = Site::start(|ours| config(ours, &["a.example", "b.example"]))?;
    let nsd = consumers::nsd(&peers, place, &us, ONE)?;
    for zone in ["a.example", "b.example"] {
        wait::serial(SOON, nsd.dns(), zone, 1)?;
    }
    let serial = change(&us, ZONE, "192.0.2.200")?;
    wait::serial(SOON, nsd.dns(), ZONE, serial)?;
    let text = config(us.place(), &["a.example", "c.example"]);
    us.place().write("zonemesh.toml", &text);
    us.cli_ok(&["config", "reload"])?;
    wait::serial(SOON, nsd.dns(), "c.example", 1)?;
    wait_gone(nsd.dns(), "b.example")?;
    assert_same(&us, &Dig::new(&peers).at(nsd.dns()), ONE)?;
    tried(&peers, Server::Nsd, Row::Consumer, "yes")
}

#[test]
fn we_follow_the_catalog_that_nsd_produces() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let nsd = Nsd::start(&peers, |place| {
        for zone in ["a.example", "b.example", "c.example"] {
            place.write(zone, &zone_text(1));
        }
        let to_us = format!(
            "  notify: {}@{} {KEY}\n  outgoing-interface: {}\n  provide-xfr: 127.0.0.0/8 {KEY}\n  \
             provide-xfr: 127.0.0.0/8 NOKEY\n",
            ours.address(),
            ours.port(),
            place.address()
        );
        format!(
            "{}{}zone:\n  name: {ONE}\n  catalog: producer\n  store-ixfr: yes\n{to_us}pattern:\n  name: open\n  \
             catalog-producer-zone: {ONE}\n  zonefile: \"%s\"\n{to_us}",
            place.nsd(""),
            nsd_key(SECRET)
        )
    })?;
    for zone in ["a.example", "b.example"] {
        nsd.nsd_control(&["addzone", zone, "open"])?;
    }
    let us = Site::start_at(ours, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\n\
             [[zone]]\nname = \"{ONE}\"\ncatalog = \"consumer\"\nprimaries = [\"peer\"]\nadmit = [\"*.example\"]\n\
             [[group]]\nname = \"open\"\nallow-transfer = [\"127.0.0.0/8\"]\n",
            site(place),
            nsd.dns()
        )
    })?;
    for zone in ["a.example", "b.example"] {
        wait::serial(SOON, us.dns(), zone, 1)?;
    }
    assert_same(&us, &Dig::new(&peers).at(nsd.dns()), ZONE)?;
    // Its pattern is the group, whose template lets everybody here have it from us.
    assert_same(&us, &Dig::new(&peers).at(us.dns()), ZONE)?;
    nsd.nsd_control(&["addzone", "c.example", "open"])?;
    wait::serial(SOON, us.dns(), "c.example", 1)?;
    nsd.nsd_control(&["delzone", "b.example"])?;
    wait_gone(us.dns(), "b.example")?;
    tried(&peers, Server::Nsd, Row::Group, "yes")?;
    tried(&peers, Server::Nsd, Row::Producer, "yes")
}
