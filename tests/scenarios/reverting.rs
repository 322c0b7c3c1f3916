//! Versions of a zone: what lies between two, and an older one that becomes the newest.

use anyhow::{Context, Result, ensure};
use zonemesh_tests::ask::rcode;
use zonemesh_tests::{Mesh, Site};

/// The lines of a difference that take something away or add something, each as its sign, its owner and its data.
fn lines(text: &str) -> Vec<String> {
    let changed = |line: &&str| line.starts_with('-') || line.starts_with('+');
    let without_soa = |line: &&str| !line.contains(" SOA ");
    let lines = text.lines().filter(changed).filter(without_soa);
    let words = lines.map(|line| {
        let (sign, record) = line.split_at(1);
        let mut words = record.split_whitespace();
        let owner = words.next().unwrap_or_default().trim_end_matches('.');
        format!("{sign}{owner} {}", words.last().unwrap_or_default())
    });
    words.collect()
}

fn diff(site: &Site, words: &[&str]) -> Result<Vec<String>> {
    Ok(lines(&site.cli_ok(
        &[&["zone", "diff", "b.example"], words].concat(),
    )?))
}

#[test]
fn a_zone_is_set_back_to_an_older_version_under_a_new_serial_that_reaches_every_site() -> Result<()>
{
    let mut mesh = Mesh::start(3)?;
    let set = |name: &str, address: &str| -> Result<u32> {
        let changed = mesh[1].set("b.example", name, address, true)?;
        changed.serial.context("the serial of a change")
    };
    let first = set("one", "198.51.100.1")?;
    set("one", "198.51.100.2")?;
    let third = set("two", "198.51.100.3")?;
    let (before, after) = (first.to_string(), third.to_string());
    let forth = [
        "-one.b.example 198.51.100.1",
        "+one.b.example 198.51.100.2",
        "+two.b.example 198.51.100.3",
    ];
    let back = [
        "-one.b.example 198.51.100.2",
        "-two.b.example 198.51.100.3",
        "+one.b.example 198.51.100.1",
    ];
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let is = |found: Vec<String>, expected: [&str; 3]| -> Result<()> {
        let expected = sorted(expected.map(str::to_owned).to_vec());
        ensure!(sorted(found.clone()) == expected, "{found:?}");
        Ok(())
    };
    is(diff(&mesh[1], &[&before, &after])?, forth)?;
    is(diff(&mesh[1], &[&after, &before])?, back)?;
    // Who has the zone from another knows its versions too.
    is(diff(&mesh[2], &[&before, &after])?, forth)?;

    let words = ["zone", "revert", "b.example", &before];
    let tried = mesh[1].cli_ok(&[&words[..], &["--dry-run"]].concat())?;
    is(lines(&tried), back)?;
    ensure!(
        mesh[1].serial("b.example")? == Some(third),
        "only looked at"
    );

    let done = mesh[1].cli_ok(&[&words[..], &["--wait"]].concat())?;
    for site in &mesh.sites {
        ensure!(done.contains(&site.name), "{done}");
        let serial = site.serial("b.example")?;
        ensure!(serial > Some(third), "{}: {serial:?}", site.name);
        ensure!(serial == mesh[1].serial("b.example")?, "{}", site.name);
        site.wait_address("one.b.example", "198.51.100.1")?;
        site.wait_code("two.b.example", rcode::NXDOMAIN)?;
    }
    // Without serials it is the last change, also of who was killed since.
    mesh[1].kill9()?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    is(diff(&mesh[1], &[])?, back)?;

    // It is taken back in the same way.
    mesh[1].cli_ok(&["zone", "revert", "b.example", &after, "--wait"])?;
    mesh.wait_address("one.b.example", "198.51.100.2")?;
    mesh.wait_address("two.b.example", "198.51.100.3")?;
    mesh.wait_healthy()
}

#[test]
fn a_zone_is_not_set_back_where_that_cannot_be_and_the_reason_is_told() -> Result<()> {
    let mesh = Mesh::start(2)?;
    let site = &mesh[1];
    let first = site.serial("b.example")?.unwrap_or_default().to_string();
    for number in 1..=8 {
        let name = format!("n{number}");
        site.set("b.example", &name, "192.0.2.8", number == 8)?;
    }
    let newest = site.serial("b.example")?;
    let refused = |site: &Site, words: &[&str], code: i32, says: &str| -> Result<()> {
        let (found, text) = site.cli_code(&[&["zone", "revert"], words].concat())?;
        ensure!(
            found == code && text.contains(says),
            "{words:?}: {found}\n{text}"
        );
        Ok(())
    };
    refused(site, &["b.example", "4000000"], 1, "zone history b.example")?;
    refused(site, &["none.example", "1"], 1, "none.example")?;
    // At a site that has it from another.
    refused(&mesh[0], &["b.example", &first], 1, "site-b")?;
    // As much at once as nobody does without being asked again.
    refused(site, &["b.example", &first], 5, "plan approve")?;
    for site in &mesh.sites {
        ensure!(site.serial("b.example")? == newest, "{}", site.name);
        ensure!(
            site.address("n8.b.example")?.0 == rcode::NOERROR,
            "{}",
            site.name
        );
    }
    Ok(())
}
