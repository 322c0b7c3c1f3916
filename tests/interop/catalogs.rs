//! Catalog zones (RFC 9432), each way: foreign servers follow ours, we follow theirs.

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Named, Peers, Place, peers_or_skip, query, wait};

use crate::common::*;
use crate::consumers;
use crate::tried::{Row, Server, tried};

const CATALOG: &str = "catalog.test";

/// Our side as the producer, with these zones; all the zones' transfers are for the holders of the key.
fn producer_config(place: &Place, peer: &Place, zones: &[&str]) -> String {
    let mut text = format!(
        "{}[[peer]]\nname = \"peer\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\nallow = [\"transfer\"]\n\
         [[zone]]\nname = \"{CATALOG}\"\ncatalog = \"producer\"\nnotify = [\"peer\"]\n[[group]]\nname = \"internal\"\n",
        site(place),
        peer.dns()
    );
    for zone in zones {
        place.write(zone, &zone_text(1));
        text.push_str(&format!(
            "[[zone]]\nname = \"{zone}\"\nfile = \"{zone}\"\ndynamic = true\nnotify = [\"peer\"]\ngroup = \"internal\"\n"
        ));
    }
    text
}

/// Zones come, change and go at the consumer as they do here.
fn consumer_follows(
    us: &Site,
    theirs: &Place,
    at: std::net::SocketAddr,
    peers: &Peers,
) -> Result<()> {
    for zone in ["a.example", "b.example"] {
        wait::serial(SOON, at, zone, 1)?;
    }
    let dig = Dig::new(peers).at(at);
    assert_same(us, &dig, "a.example")?;
    let serial = change(us, "a.example", "192.0.2.200")?;
    wait::serial(SOON, at, "a.example", serial)?;

    us.place().write(
        "zonemesh.toml",
        &producer_config(us.place(), theirs, &["a.example", "c.example"]),
    );
    us.cli_ok(&["config", "reload"])?;
    wait::serial(SOON, at, "c.example", 1)?;
    wait_gone(at, "b.example")?;
    assert_same(us, &dig, CATALOG)
}

#[test]
fn knot_follows_our_catalog() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let us = Site::start(|ours| producer_config(ours, &place, &["a.example", "b.example"]))?;
    let knot = consumers::knot(&peers, place, &us, CATALOG)?;
    consumer_follows(&us, knot.place(), knot.dns(), &peers)?;
    tried(&peers, Server::Knot, Row::Consumer, "yes")
}

#[test]
fn named_follows_our_catalog() -> Result<()> {
    let peers = peers_or_skip!();
    let place = named_place()?;
    let us = Site::start(|ours| producer_config(ours, &place, &["a.example", "b.example"]))?;
    let named = consumers::named(&peers, place, &us, CATALOG)?;
    consumer_follows(&us, named.place(), named.dns(), &peers)?;
    tried(&peers, Server::Bind, Row::Consumer, "yes")
}

/// Our side as a consumer of the peer's catalog.
fn consumer(place: Place, peer: std::net::SocketAddr) -> Result<Site> {
    Site::start_at(place, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{peer}\"\ntsig-key = \"{KEY}\"\n\
             [[peer]]\nname = \"reader\"\naddress = \"127.0.0.1:9\"\n\
             [[zone]]\nname = \"{CATALOG}\"\ncatalog = \"consumer\"\nprimaries = [\"peer\"]\nadmit = [\"*.example\"]\n\
             [[group]]\nname = \"open\"\nallow-transfer = [\"127.0.0.0/8\"]\n",
            site(place)
        )
    })
}

fn knot_producer(place: &Place, ours: &Place, zones: &[&str]) -> String {
    let mut text = format!(
        "{}{}remote:\n  - id: us\n    address: {}@{}\n    via: {}\n    key: {KEY}\n\
         zone:\n  - domain: {CATALOG}\n    catalog-role: generate\n    notify: us\n    acl: us\n",
        place.knot(),
        knot_access(place, SECRET),
        ours.address(),
        ours.port(),
        place.address()
    );
    for zone in zones {
        let file = place.write(zone, &zone_text(1));
        text.push_str(&format!(
            "  - domain: {zone}\n    file: {file}\n    catalog-role: member\n    catalog-zone: {CATALOG}\n    \
             catalog-group: open\n    notify: us\n    acl: [us, look]\n"
        ));
    }
    text
}

#[test]
fn we_follow_the_catalog_that_knot_generates() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let knot = Knot::start(&peers, |place| {
        knot_producer(place, &ours, &["a.example", "b.example", "evil.test"])
    })?;
    let us = consumer(ours, knot.dns())?;
    for zone in ["a.example", "b.example"] {
        wait::serial(SOON, us.dns(), zone, 1)?;
    }
    assert_same(&us, &Dig::new(&peers).at(knot.dns()), "a.example")?;
    // The group's template lets everyone here transfer it from us.
    assert_same(&us, &Dig::new(&peers).at(us.dns()), "a.example")?;
    let status = us.cli(&["status", "--json"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(
        status.contains("evil.test") && status.contains("admission list"),
        "{status}"
    );
    assert!(query::serial(us.dns(), "evil.test")?.is_none());

    let place = knot.place();
    place.write(
        "knot.conf",
        &knot_producer(place, us.place(), &["a.example", "c.example"]),
    );
    knot.knotc(&["reload"])?;
    wait::serial(SOON, us.dns(), "c.example", 1)?;
    wait_gone(us.dns(), "b.example")?;
    assert_eq!(serial_at(us.dns(), "a.example")?, 1);
    tried(&peers, Server::Knot, Row::Group, "yes")?;
    tried(&peers, Server::Knot, Row::Producer, "yes")
}

/// A catalog as people write it, in BIND.
fn hand_written(serial: u32, members: &[&str]) -> String {
    let mut text = format!(
        "$TTL 0\n@ SOA invalid. invalid. {serial} 3600 600 1209600 0\n@ NS invalid.\nversion TXT \"2\"\n"
    );
    for zone in members {
        let node = zone.replace('.', "-");
        text.push_str(&format!(
            "{node}.zones PTR {zone}.\ngroup.{node}.zones TXT \"open\"\n"
        ));
    }
    text
}

struct Producer {
    named: Named,
    us: Site,
}

impl Producer {
    fn start(peers: &Peers, members: &[&str]) -> Result<Self> {
        let ours = Place::new("us")?;
        let named = Named::start_at(peers, named_place()?, |place| {
            place.write("catalog", &hand_written(1, members));
            let more = format!(
                "allow-transfer {{ any; }}; notify explicit; also-notify {{ {} port {} key {KEY}; }};",
                ours.address(),
                ours.port()
            );
            let mut text = format!(
                "{}{}zone \"{CATALOG}\" {{ type primary; file \"catalog\"; }};\n",
                named_key(SECRET),
                place.named(&more),
            );
            for zone in members {
                place.write(zone, &zone_text(1));
                text.push_str(&format!(
                    "zone \"{zone}\" {{ type primary; file \"{zone}\"; check-names ignore; }};\n"
                ));
            }
            text
        })?;
        let us = consumer(ours, named.dns())?;
        for zone in members {
            wait::serial(SOON, us.dns(), zone, 1)?;
        }
        Ok(Self { named, us })
    }

    /// Writes another version of the catalog.
    fn publish(&self, serial: u32, text: &str) -> Result<()> {
        self.named.place().write("catalog", text);
        self.named.rndc(&["reload", CATALOG])?;
        wait::serial(SOON, self.us.dns(), CATALOG, serial)
    }
}

#[test]
fn we_follow_a_hand_written_catalog_of_named() -> Result<()> {
    let peers = peers_or_skip!();
    let all = ["a.example", "b.example"];
    let mut pair = Producer::start(&peers, &all)?;
    assert_same(
        &pair.us,
        &Dig::new(&peers).at(pair.named.dns()),
        "b.example",
    )?;
    pair.publish(2, &hand_written(2, &["a.example"]))?;
    wait_gone(pair.us.dns(), "b.example")?;
    assert_eq!(serial_at(pair.us.dns(), "a.example")?, 1);
    // What was set aside is in nobody's way when the zone comes back.
    pair.publish(3, &hand_written(3, &all))?;
    wait::serial(SOON, pair.us.dns(), "b.example", 1)?;
    pair.us.restart()?;
    for zone in all {
        wait::serial(SOON, pair.us.dns(), zone, 1)?;
    }
    // Without its catalog in the configuration nothing of it stays.
    let text = site(pair.us.place());
    pair.us.place().write("zonemesh.toml", &text);
    pair.us.cli_ok(&["config", "reload"])?;
    for zone in all {
        wait_gone(pair.us.dns(), zone)?;
    }
    tried(&peers, Server::Bind, Row::Producer, "written by hand")
}

#[test]
fn a_catalog_that_loses_most_members_is_held_until_approved_also_across_a_restart() -> Result<()> {
    let peers = peers_or_skip!();
    let all = ["a.example", "b.example", "c.example"];
    let mut pair = Producer::start(&peers, &all)?;
    pair.publish(2, &hand_written(2, &["a.example"]))?;
    pair.us.restart()?;
    let held = || -> Result<String> {
        Ok(String::from_utf8_lossy(&pair.us.cli(&["plan", "show", "--json"])?.stdout).into_owned())
    };
    let plan = held()?;
    for zone in all {
        wait::serial(SOON, pair.us.dns(), zone, 1)?;
    }
    let id = plan
        .split("\"id\"")
        .nth(1)
        .and_then(|rest| rest.split('"').nth(1))
        .map(str::to_owned);
    let Some(id) = id else {
        anyhow::bail!("nothing is held: {plan}")
    };
    pair.us.cli_ok(&["plan", "approve", &id])?;
    wait_gone(pair.us.dns(), "b.example")?;
    wait_gone(pair.us.dns(), "c.example")?;
    assert_eq!(serial_at(pair.us.dns(), "a.example")?, 1);
    let plan = held()?;
    ensure!(!plan.contains(&id), "{plan}");
    Ok(())
}

#[test]
fn a_broken_catalog_changes_nothing_and_status_says_so() -> Result<()> {
    let peers = peers_or_skip!();
    let pair = Producer::start(&peers, &["a.example", "b.example"])?;
    let broken = hand_written(2, &["a.example"]).replace("version TXT \"2\"\n", "");
    pair.publish(2, &broken)?;
    let status = wait::until(SOON, "status to tell of the broken catalog", || {
        let output = pair.us.cli(&["status", "--json"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.contains("has no version").then_some(text))
    })?;
    for zone in ["a.example", "b.example"] {
        ensure!(query::serial(pair.us.dns(), zone)? == Some(1), "{status}");
    }
    // Mended, it is followed again.
    pair.publish(3, &hand_written(3, &["a.example"]))?;
    wait_gone(pair.us.dns(), "b.example")
}

#[test]
fn another_member_node_makes_a_zone_start_anew_also_with_a_lower_serial() -> Result<()> {
    let peers = peers_or_skip!();
    let mut pair = Producer::start(&peers, &["a.example"])?;
    let set = |pair: &Producer, serial| -> Result<()> {
        pair.named.place().write("a.example", &zone_text(serial));
        pair.named.rndc(&["reload", "a.example"]).map(drop)
    };
    set(&pair, 90)?;
    wait::serial(SOON, pair.us.dns(), "a.example", 90)?;
    set(&pair, 5)?;
    pair.publish(
        2,
        &hand_written(2, &["a.example"]).replace("a-example.", "again."),
    )?;
    wait::serial(SOON, pair.us.dns(), "a.example", 5)?;
    assert_same(
        &pair.us,
        &Dig::new(&peers).at(pair.named.dns()),
        "a.example",
    )?;
    pair.us.restart()?;
    wait::serial(SOON, pair.us.dns(), "a.example", 5)
}

#[test]
fn a_site_of_a_mesh_follows_and_produces_catalogs_beside_its_own() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let knot = Knot::start(&peers, |place| {
        knot_producer(place, &ours, &["a.example", "b.example"])
    })?;
    let at = knot.dns();
    let mut us = Site::start_at(ours, |place| {
        place.write("own", &zone_text(7));
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{at}\"\ntsig-key = \"{KEY}\"\n[directory]\n[catalog]\n\
             [[zone]]\nname = \"{CATALOG}\"\ncatalog = \"consumer\"\nprimaries = [\"peer\"]\nadmit = [\"*\"]\n\
             [[zone]]\nname = \"own.example\"\nfile = \"own\"\n[[zone]]\nname = \"out.test\"\ncatalog = \"producer\"\n",
            site(place).replace(
                "name = \"us\"\n",
                &format!(
                    "name = \"us\"\nrole = \"catalog-primary\"\naddresses = [\"{}\"]\n",
                    place.address()
                )
            ),
        )
    })?;
    for zone in ["a.example", "b.example"] {
        wait::serial(SOON, us.dns(), zone, 1)?;
    }
    let produced = wait::until(SOON, "our own catalog to have our own zone", || {
        let text = us.cli_ok(&["zone", "export", "out.test"])?;
        Ok(text.contains("own.example.").then_some(text))
    })?;
    ensure!(!produced.contains("a.example."), "not ours:\n{produced}");
    let place = knot.place();
    place.write(
        "knot.conf",
        &knot_producer(place, us.place(), &["a.example", "c.example"]),
    );
    knot.knotc(&["reload"])?;
    wait::serial(SOON, us.dns(), "c.example", 1)?;
    wait_gone(us.dns(), "b.example")?;
    us.restart()?;
    for zone in ["a.example", "c.example"] {
        wait::serial(SOON, us.dns(), zone, 1)?;
    }
    let catalog = us.cli_ok(&["zone", "export", "catalog.dns.internal"])?;
    ensure!(
        !catalog.contains("a.example"),
        "what others keep is not the mesh's:\n{catalog}"
    );
    Ok(())
}
