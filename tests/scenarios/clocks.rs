//! Hosts whose clocks are wrong, and copies that grow old: who tells of it, how soon, and until when.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_api::types::{Check, Status};
use zonemesh_testkit::{WallClock, wait, wall_clocks_or_skip};
use zonemesh_tests::ask::rcode;
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};

/// How soon a clock that is wrong is told of, and that it is right again.
const TOLD: Duration = Duration::from_secs(30);

/// By how many seconds what is told may be off.
const NEARLY: i64 = 10;

const DAY: i64 = 86_400;

/// Gives a site a wall clock of its own, from its next start on.
fn own_clock(site: &mut Site) -> Result<WallClock> {
    let clock = WallClock::new(site.place().path("clock").into())?;
    for (name, value) in clock.environment() {
        site.set_environment(name, &value);
    }
    Ok(clock)
}

/// By how many seconds a check says that a clock is wrong.
fn told_by(check: &Check) -> Option<i64> {
    let (_, rest) = check.message.split_once("is wrong by ")?;
    rest.split_once(" s")?.0.parse().ok()
}

fn named<'a>(status: &'a Status, name: &str) -> Vec<&'a Check> {
    let checks = status.checks.iter();
    checks.filter(|check| check.name == name).collect()
}

/// Waits until a site says whose clock is wrong, and by how much.
fn wait_told(site: &Site, name: &str, whose: &str, ahead: i64) -> Result<()> {
    let what = format!("{name} of {whose} by {ahead} s at {}", site.name);
    wait::until(TOLD, &what, || {
        let status = site.status()?;
        let found = named(&status, name);
        let right = found.iter().any(|check| {
            let by = told_by(check).is_some_and(|by| (by - ahead).abs() <= NEARLY);
            check.subject.as_deref() == Some(whose) && by
        });
        ensure!(right && found.len() == 1, "{:?}", status.checks);
        Ok(Some(()))
    })
}

#[test]
fn a_site_whose_clock_is_wrong_is_named_by_all_with_by_how_much_until_it_is_right() -> Result<()> {
    wall_clocks_or_skip!();
    let mut mesh = Mesh::start(3)?;
    let clock = own_clock(&mut mesh[2])?;
    mesh[2].restart()?;
    mesh.wait_healthy()?;
    for (round, ahead) in [(1, 1200), (2, -3600)] {
        clock.set_ahead(ahead)?;
        wait_told(&mesh[2], "clock-wrong", "site-c", ahead)?;
        for site in &mesh.sites[..2] {
            wait_told(site, "clock-of-peer-wrong", "site-c", ahead)?;
        }
        // 2 at the site itself, because that is critical, and 1 at the others.
        for (site, expected) in mesh.sites.iter().zip([1, 1, 2]) {
            let (code, text) = site.cli_code(&["status"])?;
            ensure!(code == expected, "{} ends with {code}: {text}", site.name);
            ensure!(text.contains("clock"), "{text}");
        }
        // Between sites nothing depends on the time of day.
        for (index, zone) in [(0, "a.example"), (2, "c.example")] {
            let address = format!("198.51.100.{round}");
            mesh[index].set(zone, "while-wrong", &address, true)?;
            mesh.wait_address(&format!("while-wrong.{zone}"), &address)?;
        }
    }
    clock.set_ahead(0)?;
    for site in &mesh.sites {
        let what = format!("that clocks agree, at {}", site.name);
        wait::until(TOLD, &what, || {
            let status = site.status()?;
            let none = named(&status, "clock-wrong").is_empty()
                && named(&status, "clock-of-peer-wrong").is_empty();
            ensure!(none, "{:?}", status.checks);
            Ok(Some(()))
        })?;
    }
    mesh.wait_healthy()
}

/// The zones that a site warns of, because half of their time is over.
fn expiring(status: &Status) -> Vec<&str> {
    let checks = named(status, "zone-expiring").into_iter();
    let mut zones: Vec<&str> = checks
        .filter_map(|check| check.subject.as_deref())
        .collect();
    zones.sort_unstable();
    zones
}

#[test]
fn a_site_that_was_off_for_weeks_warns_from_half_of_the_expiry_on_and_answers_nothing_past_it()
-> Result<()> {
    wall_clocks_or_skip!();
    let mut mesh = Mesh::start(2)?;
    let clock = own_clock(&mut mesh[1])?;
    mesh[0].stop()?;
    mesh[1].stop()?;
    let weeks_later = |site: &mut Site, days: i64| -> Result<Status> {
        clock.set_ahead(days * DAY)?;
        site.restart()?;
        site.wait_ready()?;
        site.wait_status("that its peer is gone", |status| {
            !named(status, "site-unreachable").is_empty()
        })
    };

    // Zones may be served for 42 days.
    let status = weeks_later(&mut mesh[1], 20)?;
    ensure!(expiring(&status).is_empty(), "{:?}", status.checks);

    let status = weeks_later(&mut mesh[1], 22)?;
    let of_site_a = ["a.example.", "catalog.dns.internal.", "dns.internal."];
    ensure!(expiring(&status) == of_site_a, "{:?}", status.checks);
    for check in named(&status, "zone-expiring") {
        ensure!(check.message.contains("expires in 19 d 23 h"), "{check:?}");
    }
    mesh[1].wait_address("www.a.example", "192.0.2.1")?;

    let status = weeks_later(&mut mesh[1], 43)?;
    let expired = named(&status, "zone-expired").into_iter();
    let expired: Vec<&str> = expired
        .filter_map(|check| check.subject.as_deref())
        .collect();
    ensure!(expired.contains(&"a.example."), "{:?}", status.checks);
    mesh[1].wait_code("www.a.example", rcode::SERVFAIL)?;
    mesh[1].wait_address("www.b.example", "192.0.2.1")?;

    clock.set_ahead(0)?;
    mesh[0].restart()?;
    mesh.wait_address("www.a.example", "192.0.2.1")?;
    mesh.wait_healthy()
}

#[test]
fn a_zone_whose_primary_is_dead_is_warned_of_from_half_of_its_expiry_on_until_it_is_back()
-> Result<()> {
    let mut mesh = Mesh::start(2)?;
    let text =
        "$TTL 60\n@ SOA ns hostmaster 1 5 2 60 60\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.1\n";
    let file = mesh[0].place().write("short.zone", text);
    mesh[0].cli_ok(&["zone", "add", "short.example", "--file", &file, "--wait"])?;
    let is_short = |status: &Status| expiring(status) == ["short.example."];
    mesh.wait_healthy()?;
    ensure!(!is_short(&mesh[1].status()?), "its primary is there");
    mesh[0].kill9()?;
    let status = mesh[1].wait_status("that half of the time is over", is_short)?;
    let found = named(&status, "zone-expiring");
    let message = &found.first().context("it is told")?.message;
    ensure!(
        message.contains("site-b expires in 0 min ") && message.contains("site-a: "),
        "the time left and the error of its primary: {message}"
    );
    mesh[1].wait_address("www.short.example", "192.0.2.1")?;
    mesh[0].restart()?;
    wait::until(SOON, "no warning", || {
        let status = mesh[1].status()?;
        ensure!(expiring(&status).is_empty(), "{:?}", status.checks);
        Ok(Some(()))
    })?;
    mesh.wait_healthy()
}
