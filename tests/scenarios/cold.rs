//! The power fails everywhere, and sites start in any order, with nothing outside the mesh to help them. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::netns::Net;
use zonemesh_testkit::{namespaces_or_skip, wait};
use zonemesh_tests::{Mesh, Site};

/// How long a site may take to serve what it holds, with nobody there.
const COLD: Duration = Duration::from_secs(30);
/// How long a mesh may take to be whole again.
const WHOLE: Duration = Duration::from_secs(120);

/// The orders in which three sites can start.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

#[test]
fn all_sites_lose_power_and_come_back_in_every_order_without_any_help_from_outside() -> Result<()> {
    namespaces_or_skip!();
    // Hosts that have no route but to each other: no resolver, no clock, no vault.
    let net = Net::new(3)?;
    let mut mesh = Mesh::start_in(3, Some(&net))?;
    let mut latest = [(); 3].map(|()| "192.0.2.1".to_owned());
    for (round, order) in ORDERS.iter().enumerate() {
        // Acknowledged a moment before the power goes, and not waited for.
        let at = round % 3;
        let address = format!("198.51.100.{}", round + 1);
        let zone = mesh[at].zone();
        mesh[at].set(&zone, "www", &address, false)?;
        latest[at] = address;
        for site in &mut mesh.sites {
            site.kill9()?;
        }
        let started = Instant::now();
        for (place, index) in order.iter().enumerate() {
            mesh[*index].up()?;
            // Each serves its own zone at once, and whatever it holds of the others, whoever else is there.
            let own = (format!("www.{}", mesh[*index].zone()), &latest[*index]);
            let site = &mesh[*index];
            let what = format!("{} to serve as number {place} of {order:?}", site.name);
            wait::until(COLD, &what, || {
                for zone in ["a.example", "b.example", "c.example"] {
                    let (code, found) = site.address(&format!("www.{zone}"))?;
                    ensure!(code == 0 && found.is_some(), "{zone}: {code}");
                }
                let found = site.address(&own.0)?.1.context("no address")?;
                ensure!(found.to_string() == *own.1, "{found}");
                Ok(Some(()))
            })?;
        }
        for (index, address) in latest.iter().enumerate() {
            let name = format!("www.{}", mesh[index].zone());
            mesh.wait_address(&name, address)?;
        }
        mesh.wait_healthy()?;
        let took = started.elapsed();
        ensure!(took < WHOLE, "it took {took:?} in the order {order:?}");
    }
    Ok(())
}

#[test]
fn a_site_joins_by_addresses_alone_where_no_name_can_be_resolved() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(2)?;
    // Nothing but the two hosts: whoever would resolve a name gets no answer, and would not get on.
    let mesh = Mesh::start_in(2, Some(&net))?;
    mesh.wait_address("www.a.example", "192.0.2.1")?;
    mesh.wait_address("www.b.example", "192.0.2.1")?;
    // Nor is a name taken where an address is needed: it could not be used when it is needed most.
    let good = mesh[1].configuration("standard");
    let own = format!("addresses = [\"{}\"]", mesh[1].place().address());
    for (bad, word) in [
        (
            good.replace(&own, "addresses = [\"ns.b.example\"]"),
            "ns.b.example",
        ),
        (
            format!("{good}[[peer]]\nname = \"old\"\naddress = \"ns.old.example:53\"\n"),
            "ns.old.example",
        ),
    ] {
        mesh[1].configure(&bad);
        let (code, text) = mesh[1].cli_code(&["config", "reload"])?;
        ensure!(code == 1 && text.contains(word), "{code}: {text}");
        ensure!(text.contains("address"), "it says what is wanted: {text}");
    }
    mesh[1].configure(&good);
    mesh[1].cli_ok(&["config", "reload"])?;
    mesh.wait_healthy()
}

/// F-59: whoever sets up a site must not wait for long to learn that the packet leads nowhere.
#[test]
fn a_site_that_reaches_no_catalog_server_is_told_so_within_a_minute() -> Result<()> {
    const TOLD: Duration = Duration::from_secs(60);
    namespaces_or_skip!();
    let net = Net::new(2)?;
    let founder = Mesh::start_in(1, Some(&net))?;
    let packet = founder[0].cli_ok(&["invite", "site-b"])?;
    let mut newcomer = Site::new("site-b", "standard", Some(&net.hosts()[1]))?;
    newcomer.configure(&newcomer.configuration("standard"));
    // What is sent there vanishes: the slowest way to learn that nobody is there.
    net.hosts()[0].set_connected(false)?;
    wait::within(TOLD, "to be told", || {
        newcomer.join(&packet)?;
        let (code, text) = newcomer.wait_ended()?;
        ensure!(
            code != 0
                && text.contains("no catalog site of the welcome packet could be joined")
                && text.contains("site-a"),
            "{text}"
        );
        Ok(())
    })?;
    // The packet is as good as new.
    net.hosts()[0].set_connected(true)?;
    newcomer.join(&packet)?;
    newcomer.wait_ready()?;
    newcomer.wait_address("www.a.example", "192.0.2.1")
}
