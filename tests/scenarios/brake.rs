//! Nothing disappears in bulk without consent.

use anyhow::{Context, Result};
use zonemesh_tests::Mesh;
use zonemesh_tests::ask::rcode;

#[test]
fn a_removal_of_many_zones_is_held_until_it_is_approved() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    for zone in ["c1.example", "c2.example"] {
        mesh[2].add_zone(zone, true)?;
    }
    let mut gone = mesh.sites.pop().context("the third site")?;
    gone.stop()?;
    let (code, text) =
        mesh[0].cli_code(&["site", "remove", "site-c", "--zones", "remove", "--wait"])?;
    assert_eq!(code, 5, "{text}");
    let zones = ["c.example", "c1.example", "c2.example"];
    for site in &mesh.sites {
        for zone in zones {
            site.wait_address(&format!("www.{zone}"), "192.0.2.1")?;
        }
    }
    let (code, text) = mesh[0].cli_code(&["plan", "show"])?;
    assert_eq!(code, 5, "{text}");
    mesh[0].wait_status("what is held", |status| {
        status
            .checks
            .iter()
            .any(|check| check.name == "held-by-brake")
    })?;
    let held = mesh[0].api(async |client| client.plan().await)?.held;
    let id = held.first().context("it is held")?.id.clone();
    let (code, text) = mesh[0].cli_code(&["plan", "approve", "0000"])?;
    assert_eq!(code, 1, "{text}");
    mesh[0].cli_code(&["plan", "approve", &id])?;
    // Approved once, it goes everywhere.
    for site in &mesh.sites {
        for zone in zones {
            site.wait_code(&format!("www.{zone}"), rcode::REFUSED)?;
        }
    }
    mesh.wait_healthy()
}

#[test]
fn an_import_that_would_empty_a_zone_is_held_until_it_is_approved() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    let site = &mut mesh[1];
    for number in 1..=8 {
        site.set("b.example", &format!("n{number}"), "192.0.2.8", false)?;
    }
    let small = site.place().write(
        "small.zone",
        &zonemesh_tests::site::zone_file(99, "192.0.2.9"),
    );
    let (code, text) = site.cli_code(&["zone", "import", "b.example", &small])?;
    assert_eq!(code, 5, "{text}");
    assert_eq!(site.address("n8.b.example")?.0, rcode::NOERROR);
    let held = site.api(async |client| client.plan().await)?.held;
    let id = held.first().context("it is held")?.id.clone();
    let (code, text) = site.cli_code(&["plan", "decline", &id])?;
    assert_eq!(code, 0, "nothing is held any longer: {text}");
    let (code, text) = site.cli_code(&["plan", "approve", &id])?;
    assert_eq!(code, 1, "it was thrown away: {text}");
    // Asked for again, and the site dies before anybody has looked at it.
    let (code, text) = site.cli_code(&["zone", "import", "b.example", &small])?;
    assert_eq!(code, 5, "{text}");
    site.kill9()?;
    site.restart()?;
    site.wait_ready()?;
    let (code, text) = site.cli_code(&["plan", "show"])?;
    assert_eq!(code, 5, "{text}");
    assert_eq!(site.address("n8.b.example")?.0, rcode::NOERROR);
    let (code, text) = site.cli_code(&["plan", "approve", &id])?;
    assert_eq!(code, 0, "{text}");
    for other in &mesh.sites {
        other.wait_code("n8.b.example", rcode::NXDOMAIN)?;
    }
    mesh.wait_address("www.b.example", "192.0.2.9")
}
