//! A site is removed: everything of it goes everywhere, and its old disk stays out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_api::types::{CopyState, ZoneAtSite};
use zonemesh_testkit::namespaces_or_skip;
use zonemesh_testkit::netns::Net;
use zonemesh_testkit::query::{self, qtype};
use zonemesh_testkit::wait;
use zonemesh_tests::ask::{self, name, rcode};
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};
use zonemesh_update::request::claim_zone;
use zonemesh_zone::directory::SiteName;

/// Until a removed site that comes back, or whoever has its key, is told of everywhere: a cycle of what each site repeats.
const TOLD: Duration = Duration::from_secs(60);

/// Removes a site whose zones another one adopts, and waits until all know.
const REMOVE: [&str; 6] = [
    "site",
    "remove",
    "site-c",
    "--zones",
    "adopt:site-b",
    "--wait",
];

/// What remains of the mesh knows two sites and is content.
fn assert_gone(rest: &[Site], key: &zonemesh_transfer::tls::SiteKey) -> Result<()> {
    for site in rest {
        wait_content(site, rest.len())?;
        for (name, rtype) in [
            ("dns.internal", qtype::SOA),
            ("dns.internal", qtype::AXFR),
            ("catalog.dns.internal", qtype::AXFR),
            ("a.example", qtype::AXFR),
        ] {
            let question = query::question(name, rtype);
            let reply = ask::tls(site.tls(), site.key()?.pin(), Some(key), None, question)?;
            let code = query::rcode(&reply);
            assert_eq!(
                code,
                rcode::REFUSED,
                "{name} {rtype} at {} with the old key",
                site.name
            );
        }
    }
    Ok(())
}

/// The old disk boots: it is kept out, says so, and the mesh tells of it.
fn assert_kept_out(site: &mut Site, rest: &[Site]) -> Result<()> {
    site.up()?;
    wait::within(TOLD, "the old disk to be told of", || {
        site.wait_running()?;
        site.wait_status("that it was removed", |status| {
            status
                .checks
                .iter()
                .any(|check| check.name == "not-a-member")
        })?;
        rest[0].wait_log("is knocking")?;
        let name = &site.name;
        rest[0].wait_status("who knocks, and from where", |status| {
            status.checks.iter().any(|check| {
                check.name == KNOCKING
                    && check.subject.as_ref() == Some(name)
                    && check.message.contains("from 127.")
            })
        })
    })?;
    let (code, text) = site.cli_code(&["status"])?;
    assert_eq!(code, 2, "{text}");
    for site in rest {
        wait_content(site, rest.len())?;
    }
    Ok(())
}

/// What the status calls a removed site that tries its old key.
const KNOCKING: &str = "removed-site-knocking";

/// Waits until nothing is wrong with a mesh of so many sites but that a removed one may knock.
fn wait_content(site: &Site, sites: usize) -> Result<()> {
    site.wait_status("a content mesh", |status| {
        let served = |copy: &ZoneAtSite| copy.state == CopyState::Current;
        status.sites.len() == sites
            && status.checks.iter().all(|check| check.name == KNOCKING)
            && status
                .zones
                .iter()
                .all(|zone| zone.sites.iter().all(served))
    })?;
    Ok(())
}

#[test]
fn a_removed_site_is_forgotten_everywhere_and_another_adopts_its_zones() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    mesh[2].set("c.example", "www", "198.51.100.1", true)?;
    let (code, text) = mesh[0].cli_code(&["site", "remove", "site-c"])?;
    assert_ne!(code, 0, "what becomes of its zones is asked: {text}");
    assert!(text.contains("adopt:"), "{text}");

    let mut gone = mesh.sites.pop().context("the third site")?;
    let key = gone.key()?;
    gone.stop()?;
    let (code, text) = mesh[0].cli_code(&REMOVE)?;
    assert_eq!(code, 0, "{text}");
    assert_gone(&mesh.sites, &key)?;
    mesh.wait_address("www.c.example", "198.51.100.1")?;
    let changed = mesh[1].set("c.example", "www", "198.51.100.2", true)?;
    assert!(changed.receipt.context("a receipt")?.complete());
    mesh.wait_address("www.c.example", "198.51.100.2")?;

    assert_kept_out(&mut gone, &mesh.sites)?;
    mesh.wait_address("www.c.example", "198.51.100.2")?;
    // A new packet opens the door again, for the same disk too.
    gone.stop()?;
    let packet = mesh[0].cli_ok(&["invite", "site-c"])?;
    gone.join(&packet)?;
    gone.wait_running()?;
    mesh.sites.push(gone);
    mesh.wait_healthy()?;
    mesh.wait_address("www.c.example", "198.51.100.2")
}

#[test]
fn a_site_that_is_removed_while_it_runs_takes_its_zones_along() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    let mut gone = mesh.sites.pop().context("the third site")?;
    let key = gone.key()?;
    let (code, text) =
        mesh[0].cli_code(&["site", "remove", "site-c", "--zones", "remove", "--wait"])?;
    assert_eq!(code, 0, "{text}");
    for site in &mesh.sites {
        site.wait_code("www.c.example", rcode::REFUSED)?;
    }
    assert_gone(&mesh.sites, &key)?;
    gone.wait_status("that it was removed", |status| {
        status
            .checks
            .iter()
            .any(|check| check.name == "not-a-member")
    })?;
    // What is changed there goes nowhere, and is not told as done.
    wait::until(
        SOON,
        "a change to be told of as one of this site alone",
        || {
            let words = ["record", "set", "c.example", "www", "A", "192.0.2.9"];
            let (code, text) = gone.cli_code(&words)?;
            Ok((code == 4 && text.contains("zonemesh invite")).then_some(()))
        },
    )?;
    gone.stop()?;
    assert_kept_out(&mut gone, &mesh.sites)
}

#[test]
fn a_stolen_key_of_a_removed_site_is_worth_nothing_from_its_address_and_from_elsewhere()
-> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(4)?;
    let mut mesh = Mesh::start_in(3, Some(&net))?;
    let mut gone = mesh.sites.pop().context("the third site")?;
    let stolen = gone.key()?;
    gone.stop()?;
    mesh[0].cli_ok(&REMOVE)?;

    let claim = claim_zone(
        &name("dns.internal")?,
        &name("mine.example")?,
        &SiteName::new("site-c")?,
    )?
    .compose(1)?;
    let mut notify = query::question("c.example", qtype::SOA);
    // RFC 1996 §3.7: opcode 4, AA set.
    notify[2] = 4 << 3 | 1 << 2;
    let messages = [
        ("a transfer", query::question("a.example", qtype::AXFR)),
        (
            "the directory",
            query::question("dns.internal", qtype::AXFR),
        ),
        ("a NOTIFY", notify),
        ("an UPDATE of the directory", claim),
    ];
    // The address of the removed site, and one that was never a member's.
    for host in [&net.hosts()[2], &net.hosts()[3]] {
        for site in &mesh.sites {
            let pin = site.key()?.pin();
            for (what, message) in &messages {
                let reply = host
                    .enter(|| ask::tls(site.tls(), pin, Some(&stolen), None, message.clone()))??;
                let code = query::rcode(&reply);
                ensure!(
                    [rcode::REFUSED, rcode::NOTAUTH].contains(&code),
                    "{what} at {} from {}: RCODE {code}",
                    site.name,
                    host.address()
                );
            }
        }
    }
    // It is told that somebody tries, and the others go on.
    wait::within(TOLD, "the key to be told of", || {
        for site in &mesh.sites {
            site.wait_status("that the key was tried", |status| {
                status.checks.iter().any(|check| {
                    check.name == KNOCKING && check.subject.as_deref() == Some("site-c")
                })
            })?;
        }
        Ok(())
    })?;
    for site in &mesh.sites {
        let changed = site.set(&site.zone(), "www", "198.51.100.3", true)?;
        ensure!(changed.receipt.context("a receipt")?.complete());
        mesh.wait_address(&format!("www.{}", site.zone()), "198.51.100.3")?;
    }
    mesh.wait_address("www.c.example", "192.0.2.1")
}
