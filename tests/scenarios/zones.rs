//! Zones are added, removed and brought back by command, at any site.

use anyhow::{Context, Result};
use zonemesh_api::types::ZoneStatus;
use zonemesh_tests::ask::rcode;
use zonemesh_tests::site::zone_file;
use zonemesh_tests::{Mesh, Site};

/// Whether directory and catalog have a zone, as the catalog primary serves them.
pub(crate) fn listed(site: &Site, zone: &str) -> Result<(bool, bool)> {
    let directory = site.cli_ok(&["record", "list", "dns.internal"])?;
    let catalog = site.cli_ok(&["record", "list", "catalog.dns.internal"])?;
    let owner = format!("{zone}._zones");
    let member = |line: &str| line.contains("PTR") && line.contains(&format!("{zone}."));
    Ok((
        directory.lines().any(|line| line.contains(&owner)),
        catalog.lines().any(member),
    ))
}

#[test]
fn zones_are_added_removed_and_brought_back_at_a_standard_site() -> Result<()> {
    let mesh = Mesh::start(3)?;
    let site = &mesh[1];
    let file = site
        .place()
        .write("lab.zone", &zone_file(7, "198.51.100.1"));
    let added = site.cli_ok(&["zone", "add", "lab.example", "--file", &file, "--wait"])?;
    for name in mesh.names() {
        assert!(added.contains(&name), "{added}");
    }
    assert_eq!(listed(&mesh[0], "lab.example")?, (true, true));
    for other in &mesh.sites {
        let found = other.address("www.lab.example")?;
        assert_eq!(found, (0, Some([198, 51, 100, 1].into())), "{}", other.name);
    }
    let is_lab = |zone: &&ZoneStatus| zone.zone == "lab.example.";
    let status = mesh[2].wait_status("the new zone", |status| {
        status.zones.iter().any(|zone| is_lab(&zone))
    })?;
    let lab = status.zones.iter().find(is_lab).context("it is listed")?;
    assert_eq!(lab.primary.as_deref(), Some("site-b"));
    site.set("lab.example", "www", "198.51.100.2", true)?;

    site.cli_ok(&["zone", "remove", "lab.example", "--wait"])?;
    for other in &mesh.sites {
        other.wait_code("www.lab.example", rcode::REFUSED)?;
    }
    assert_eq!(listed(&mesh[0], "lab.example")?, (false, false));
    let removed = site.cli_ok(&["zone", "list", "--removed"])?;
    assert!(removed.contains("lab.example"), "{removed}");
    mesh.wait_healthy()?;

    let before = lab.serial.context("it had a serial")?;
    let (code, text) = site.cli_code(&["zone", "restore", "lab.example", "--wait"])?;
    assert_eq!(code, 0, "{text}");
    mesh.wait_address("www.lab.example", "198.51.100.2")?;
    assert_eq!(listed(&mesh[0], "lab.example")?, (true, true));
    for other in &mesh.sites {
        assert!(
            other.serial("lab.example")? > Some(before),
            "{}",
            other.name
        );
    }
    // It can be changed again, and all follow.
    let changed = site.set("lab.example", "www", "198.51.100.3", true)?;
    assert!(changed.receipt.context("a receipt")?.complete());
    mesh.wait_address("www.lab.example", "198.51.100.3")?;
    mesh.wait_healthy()
}

#[test]
fn a_zone_of_another_site_or_of_the_file_is_not_added_or_removed_by_command() -> Result<()> {
    let mesh = Mesh::start(2)?;
    let (code, text) = mesh[1].cli_code(&["zone", "remove", "a.example"])?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("site-a"), "says who its primary is: {text}");
    let (code, text) = mesh[1].cli_code(&["zone", "add", "a.example"])?;
    assert_eq!(code, 1, "{text}");
    let (code, text) = mesh[1].cli_code(&["zone", "remove", "none.example"])?;
    assert_eq!(code, 1, "{text}");
    mesh.wait_healthy()
}

#[test]
fn a_zone_added_by_command_is_still_there_after_a_restart() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    mesh[1].add_zone("lab.example", true)?;
    mesh[1].kill9()?;
    mesh[1].restart()?;
    mesh.wait_healthy()?;
    let changed = mesh[1].set("lab.example", "www", "198.51.100.9", true)?;
    assert!(changed.receipt.context("a receipt")?.complete());
    mesh.wait_address("www.lab.example", "198.51.100.9")
}
