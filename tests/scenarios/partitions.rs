//! Networks that fall apart, in one direction only, again and again, or have little room. Needs root.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_api::types::{InvitedRole, SetRole, YieldedState};
use zonemesh_testkit::netns::Net;
use zonemesh_testkit::{namespaces_or_skip, wait};
use zonemesh_tests::site::{SOON, zone_file};
use zonemesh_tests::{Mesh, Site};

use crate::promotion::{can_be_promoted, carry, wait_writer, wait_yielded, yielded};

/// Until each side of a split, or each end of a broken link, tells of it.
const TOLD: Duration = Duration::from_secs(60);
/// Until a change goes round a link that is broken, where a third site hears both.
const ROUND: Duration = Duration::from_secs(30);
/// Until all are alike when the links are back.
const ALIKE: Duration = Duration::from_secs(60);

/// Cuts all links between two groups of hosts, or joins them again.
fn split(net: &Net, one: &[usize], other: &[usize], cut: bool) -> Result<()> {
    let hosts = net.hosts();
    for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
        hosts[a].set_deaf_to(&hosts[b], cut)?;
        hosts[b].set_deaf_to(&hosts[a], cut)?;
    }
    Ok(())
}

/// The sites that a site takes for catalog primaries.
fn catalog_primaries(site: &Site) -> Result<Vec<String>> {
    let sites = site.status()?.sites;
    let primaries = sites
        .into_iter()
        .filter(|site| site.role == "catalog-primary");
    Ok(primaries.map(|site| site.name).collect())
}

fn wait_unreachable(site: &Site, others: &[&str]) -> Result<()> {
    site.wait_status(&format!("{others:?} lost"), |status| {
        others.iter().all(|other| {
            let mut checks = status.checks.iter();
            checks.any(|check| {
                check.name == "site-unreachable" && check.subject.as_deref() == Some(other)
            })
        })
    })?;
    Ok(())
}

#[test]
fn a_mesh_split_two_to_three_has_one_writer_of_the_directory_and_loses_no_change_of_either_side()
-> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(5)?;
    let mesh = Mesh::start_in(5, Some(&net))?;
    let (few, many) = ([0, 1], [2, 3, 4]);
    split(&net, &few, &many, true)?;
    wait::within(TOLD, "the split to be told of", || {
        for index in few {
            wait_unreachable(&mesh[index], &["site-c", "site-d", "site-e"])?;
        }
        for index in many {
            wait_unreachable(&mesh[index], &["site-a", "site-b"])?;
        }
        Ok(())
    })?;
    // Each side goes on with its own zones.
    for side in [&few[..], &many[..]] {
        for index in side {
            let address = format!("198.51.100.{index}");
            let zone = mesh[*index].zone();
            mesh[*index].set(&zone, "www", &address, false)?;
            for other in side {
                mesh[*other].wait_address(&format!("www.{zone}"), &address)?;
            }
        }
    }
    // Where the writer is, zones come; where it is not, nobody takes its place, whatever the majority.
    mesh[1].add_zone("new.example", false)?;
    let there = mesh[3].add_zone("other.example", false);
    for site in &mesh.sites {
        assert_eq!(catalog_primaries(site)?, ["site-a"], "{}", site.name);
    }
    split(&net, &few, &many, false)?;
    wait::within(ALIKE, "all to be alike again", || {
        for index in 0..5 {
            let zone = mesh[index].zone();
            mesh.wait_address(&format!("www.{zone}"), &format!("198.51.100.{index}"))?;
        }
        mesh.wait_address("www.new.example", "192.0.2.1")?;
        if there.is_ok() {
            mesh.wait_address("www.other.example", "192.0.2.1")?;
        }
        mesh.wait_healthy()
    })?;
    for site in &mesh.sites {
        assert_eq!(catalog_primaries(site)?, ["site-a"], "{}", site.name);
    }
    Ok(())
}

/// Each half takes itself for the mesh, because an operator said so: what each wrote of directory and catalog is looked through when
/// they meet, and nothing of it is lost.
#[test]
fn of_two_writers_that_a_split_was_given_one_yields_within_a_minute_of_its_end() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(4)?;
    let mesh = Mesh::start_in(4, Some(&net))?;
    can_be_promoted(&mesh, "site-c")?;
    let halves = [[0, 1], [2, 3]];
    split(&net, &halves[0], &halves[1], true)?;
    wait::within(TOLD, "the split to be told of", || {
        wait_unreachable(&mesh[2], &["site-a", "site-b"])
    })?;
    mesh[2].cli_ok(&["site", "promote"])?;
    for ([one, other], writer) in halves.iter().zip(["site-a", "site-c"]) {
        wait_writer(&mesh.sites[*one..=*other], writer)?;
    }
    // Zones of both halves, and something of the directory that nobody but its writer has a word in.
    mesh[0].add_zone("few.example", false)?;
    mesh[2].add_zone("many.example", false)?;
    let request = SetRole {
        site: "site-b".to_owned(),
        role: InvitedRole::CatalogSecondary,
        ..SetRole::default()
    };
    mesh[0].api(|client| async move { client.set_role(&request).await })?;

    split(&net, &halves[0], &halves[1], false)?;
    wait::within(ALIKE, "one to yield, and all to be alike", || {
        wait_writer(&mesh.sites, "site-c")?;
        wait_yielded(&mesh[0])?;
        for zone in ["few.example", "many.example"] {
            mesh.wait_address(&format!("www.{zone}"), "192.0.2.1")?;
        }
        Ok(())
    })?;
    let kept = yielded(&mesh[0])?;
    let kept = kept.first().context("what site-a wrote is kept")?;
    let role = kept
        .changes
        .iter()
        .find(|change| change.name == "_site.site-b.dns.internal.");
    ensure!(
        role.map(|change| change.state) == Some(YieldedState::Open),
        "{kept:?}"
    );
    carry(&mesh[0], &kept.id, &mesh[2])?;
    for site in &mesh.sites {
        site.wait_status("the role that site-a gave", |status| {
            let mut sites = status.sites.iter();
            sites.any(|site| site.name == "site-b" && site.role == "catalog-secondary")
        })?;
    }
    // All of it is served: both sites of that half forget it, and nobody has to say so at either.
    wait::within(ALIKE, "what is served to be forgotten", || {
        mesh.wait_healthy()
    })?;
    for site in &mesh.sites {
        assert_eq!(yielded(site)?, [], "{}", site.name);
    }
    Ok(())
}

#[test]
fn a_link_that_is_broken_in_one_direction_is_told_on_both_ends_and_changes_go_round_it()
-> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(3)?;
    let mesh = Mesh::start_in(3, Some(&net))?;
    // Nobody tells site-b what it misses, and its timers are an hour: it finds out by comparing what it holds with site-c.
    // What site-a sends arrives everywhere but at site-b; what site-b sends arrives at site-a.
    net.hosts()[1].set_deaf_to(&net.hosts()[0], true)?;
    wait::within(TOLD, "the broken link to be told of", || {
        wait_unreachable(&mesh[1], &["site-a"])?;
        wait_unreachable(&mesh[0], &["site-b"])
    })?;
    mesh[0].set("a.example", "www", "198.51.100.1", false)?;
    mesh[1].set("b.example", "www", "198.51.100.2", false)?;
    wait::within(ROUND, "changes to go round", || {
        mesh.wait_address("www.a.example", "198.51.100.1")?;
        mesh.wait_address("www.b.example", "198.51.100.2")
    })?;
    for site in &mesh.sites {
        ensure!(
            site.status()?
                .checks
                .iter()
                .all(|check| check.name != "not-ready"),
            "{} serves",
            site.name
        );
    }
    net.hosts()[1].set_deaf_to(&net.hosts()[0], false)?;
    wait::within(ALIKE, "all to be well again", || mesh.wait_healthy())
}

/// How often a site has logged something about a zone, in a direction.
fn logged(site: &Site, what: &str, zone: &str) -> usize {
    let log = site.log();
    let about = |line: &&str| {
        line.contains(&format!("\"message\":\"{what}\""))
            && line.contains("\"direction\":\"in\"")
            && line.contains(zone)
    };
    log.lines().filter(about).count()
}

#[test]
fn a_link_that_flaps_with_every_change_costs_a_few_messages_for_each_and_no_storm() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(3)?;
    let mesh = Mesh::start_in(3, Some(&net))?;
    let zone = "a.example";
    let counts = || {
        let of = |site: &Site| (logged(site, "transfer", zone), logged(site, "NOTIFY", zone));
        mesh.sites.iter().map(of).collect::<Vec<_>>()
    };
    let before = counts();
    const FLAPS: usize = 12;
    for flap in 1..=FLAPS {
        let address = format!("198.51.100.{flap}");
        net.hosts()[1].set_connected(false)?;
        mesh[0].set(zone, "www", &address, false)?;
        mesh[2].wait_address(&format!("www.{zone}"), &address)?;
        net.hosts()[1].set_connected(true)?;
        mesh[1].wait_address(&format!("www.{zone}"), &address)?;
    }
    mesh.wait_healthy()?;
    for (site, (now, before)) in mesh.sites.iter().zip(counts().iter().zip(before)) {
        let (transfers, notifies) = (now.0 - before.0, now.1 - before.1);
        ensure!(
            transfers <= 2 * FLAPS && notifies <= 6 * FLAPS,
            "{}: {transfers} transfers and {notifies} NOTIFYs for {FLAPS} flaps",
            site.name
        );
    }
    ensure!(
        logged(&mesh[1], "transfer", zone) > 0,
        "they are counted at all"
    );
    Ok(())
}

#[test]
fn a_small_change_does_not_wait_for_a_large_zone_on_a_narrow_link() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(2)?;
    let mesh = Mesh::start_in(2, Some(&net))?;
    net.hosts()[1].set_rate(Some(1000))?;
    let mut text = zone_file(1, "192.0.2.1");
    for number in 0..6000 {
        text += &format!("n{number} TXT \"{number:0250}\"\n");
    }
    let file = mesh[0].place().write("large", &text);
    mesh[0].cli_ok(&["zone", "add", "large.example", "--file", &file])?;
    // It is on its way: a megabyte and a half, over a link that takes a second for an eighth of one.
    wait::until(SOON, "the new zone to be known", || {
        let zones = mesh[1].status()?.zones;
        Ok(zones
            .iter()
            .any(|zone| zone.zone == "large.example.")
            .then_some(()))
    })?;
    mesh[0].set("a.example", "www", "198.51.100.1", false)?;
    mesh[1].wait_address("www.a.example", "198.51.100.1")?;
    let large = mesh[1].address("www.large.example")?;
    ensure!(large.1.is_none(), "the large zone was quicker: {large:?}");
    let (code, found) = wait::until(SOON, "the large zone", || {
        let answer = mesh[1].address("www.large.example")?;
        Ok(answer.1.is_some().then_some(answer))
    })?;
    assert_eq!(code, 0);
    found.context("an address")?;
    net.hosts()[1].set_rate(None)?;
    mesh.wait_healthy()
}
