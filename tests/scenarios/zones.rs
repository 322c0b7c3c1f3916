//! Zones are added, removed and brought back by command, at any site.

use anyhow::{Context, Result};
use zonemesh_api::types::{HistoryEntry, ZoneStatus};
use zonemesh_testkit::{peers_or_skip, servers};
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

#[test]
fn the_history_of_a_zone_says_who_made_each_version() -> Result<()> {
    const KEY: &str = "ddns";
    const SECRET: &str = "aGlzdG9yeS1rZXktd2l0aC0zMi1vY3RldHMtaW4taXQ=";
    let peers = peers_or_skip!();
    let mut mesh = Mesh::start(2)?;
    let text = format!(
        "{}allow-update = [{{ key = \"{KEY}\" }}]\n[[key]]\nname = \"{KEY}\"\nsecret = \"{SECRET}\"\n",
        mesh[0].configuration("catalog-primary")
    );
    mesh[0].configure(&text);
    mesh[0].cli_ok(&["config", "reload"])?;
    mesh[0].set("a.example", "operator", "198.51.100.1", true)?;
    let at = mesh[0].dns();
    let update = format!(
        "server {} {}\nzone a.example\nupdate add update.a.example 60 A 198.51.100.2\nsend\n",
        at.ip(),
        at.port()
    );
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    servers::run(&peers, "bin/nsupdate", &["-v", "-y", &key], &update)?;
    mesh[0]
        .place()
        .write("a.example.zone", &zone_file(1, "198.51.100.3"));
    mesh[0].cli_ok(&["config", "reload"])?;
    mesh.wait_address("www.a.example", "198.51.100.3")?;

    let history = |site: &Site, zone: &str| -> Result<Vec<HistoryEntry>> {
        site.api(async |client| client.zone_history(zone).await)
    };
    // A restart forgets nothing of it.
    mesh[0].restart()?;
    let made = history(&mesh[0], "a.example")?;
    let mut authors = Vec::new();
    for entry in &made {
        let author = entry.author.as_ref();
        let author = author.with_context(|| format!("nobody made {entry:?}"))?;
        authors.push((author.by.as_str(), author.from.is_some()));
    }
    let expected = [
        ("file", false),
        ("update", true),
        ("operator", false),
        ("file", false),
    ];
    assert_eq!(authors, expected, "{made:?}");
    assert_eq!(made.last().context("versions")?.from, None);
    let shown = mesh[0].cli_ok(&["zone", "history", "a.example"])?;
    for who in ["operator uid ", "update with ddns. from ", "file "] {
        assert!(shown.contains(who), "{shown}");
    }
    // Elsewhere it is known from whom each came.
    for entry in history(&mesh[1], "a.example")? {
        assert_eq!(
            (entry.origin.as_str(), &entry.author),
            ("transfer from site-a", &None)
        );
    }
    // What the other site has said of itself in the directory was said by its key.
    let directory = history(&mesh[0], "dns.internal")?;
    let joined = directory.iter().find_map(|entry| entry.author.clone());
    assert!(joined.is_some(), "{directory:?}");
    Ok(())
}
