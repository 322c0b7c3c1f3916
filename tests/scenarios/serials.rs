//! Serials that went back, and files that were edited without a new one: everybody has the newest contents all the same.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Named, Peers, Place, Unbound, peers_or_skip, query, wait};
use zonemesh_tests::Mesh;
use zonemesh_tests::site::{SOON, zone_file};

const ZONE: &str = "example.com";

/// A name server with the zone, and Knot and Unbound as its secondaries. Timers are so long that nothing happens by them.
struct Trio {
    primary: Site,
    knot: Knot,
    unbound: Unbound,
}

impl Trio {
    fn start(peers: &Peers, serial: u32) -> Result<Self> {
        let (ours, theirs, resolver) = (
            Place::new("us")?,
            Place::new("knot")?,
            Place::new("unbound")?,
        );
        let at = format!("{}@{}", ours.address(), ours.port());
        let primary = Site::start_at(ours, |place| {
            place.write("zone", &zone_file(serial, "192.0.2.1"));
            format!(
                "[site]\nname = \"us\"\n[listen]\ndns = [\"{}\"]\ntls = [\"{}\"]\nhttp = []\n[log]\nlevel = \"debug\"\n\
                 [[peer]]\nname = \"knot\"\naddress = \"{}\"\n[[peer]]\nname = \"unbound\"\naddress = \"{}\"\n\
                 [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nnotify = [\"knot\", \"unbound\"]\n\
                 allow-transfer = [\"127.0.0.0/8\"]\n",
                place.dns(),
                place.tls(),
                theirs.dns(),
                resolver.dns(),
            )
        })?;
        let knot = Knot::start_at(peers, theirs, |place| {
            format!(
                "{}acl:\n  - id: all\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n\
                 remote:\n  - id: us\n    address: {at}\n    via: {}\n\
                 zone:\n  - domain: {ZONE}\n    master: us\n    acl: all\n    storage: {}\n",
                place.knot(),
                place.address(),
                place.dir().display(),
            )
        })?;
        let unbound = Unbound::start_at(peers, resolver, |place| {
            format!(
                "{}auth-zone:\n  name: \"{ZONE}\"\n  primary: {at}\n  allow-notify: 127.0.0.0/8\n  for-downstream: yes\n  \
                 for-upstream: no\n  zonefile: \"{}\"\n",
                place.unbound(&format!("  outgoing-interface: {}\n", place.address())),
                place.path("zone"),
            )
        })?;
        let trio = Self {
            primary,
            knot,
            unbound,
        };
        trio.wait_secondaries(|seen| seen == serial)?;
        Ok(trio)
    }

    /// Waits for the serial of both secondaries; within the sixty seconds that they may lag.
    fn wait_secondaries(&self, right: impl Fn(u32) -> bool) -> Result<()> {
        for at in [self.knot.dns(), self.unbound.dns()] {
            wait::until(HEALED, &format!("the right serial at {at}"), || {
                let seen = query::serial(at, ZONE)?.context("no such zone")?;
                ensure!(right(seen), "serial {seen}");
                Ok(Some(()))
            })?;
        }
        Ok(())
    }
}

/// How long a primary and those who have the zone from it may disagree.
const HEALED: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .context("cannot run cp")?;
    ensure!(status.success(), "cp ended with {status}");
    Ok(())
}

/// The primary is set back to an old copy of its disk while its foreign secondaries hold a later serial.
fn restored(before: u32, later: u32) -> Result<()> {
    let peers = peers_or_skip!();
    let mut trio = Trio::start(&peers, before)?;
    let data = trio.primary.place().dir().join("data");
    let saved = data.with_extension("saved");
    trio.primary.stop()?;
    copy(&data, &saved)?;
    trio.primary.restart()?;
    let file = trio
        .primary
        .place()
        .write("later", &zone_file(later, "192.0.2.2"));
    trio.primary.cli_ok(&["zone", "import", ZONE, &file])?;
    trio.wait_secondaries(|seen| seen == later)?;

    trio.primary.stop()?;
    fs::remove_dir_all(&data)?;
    copy(&saved, &data)?;
    trio.primary.restart()?;
    // Nobody has to do anything: the primary finds out by itself, says so, and goes above.
    let at = trio.primary.dns();
    let healed = wait::until(HEALED, "a serial above the lost one", || {
        let seen = query::serial(at, ZONE)?.context("no such zone")?;
        // RFC 1982: greater is what is less than half of the number space ahead.
        let above = (1..1 << 31).contains(&seen.wrapping_sub(later));
        ensure!(above, "serial {seen} after {later}");
        Ok(Some(seen))
    })?;
    let log = trio.primary.log();
    ensure!(
        log.contains(&format!("has serial {later} of {ZONE}")),
        "it says who is ahead and by which serial:\n{log}"
    );
    trio.primary.cli_ok(&[
        "record",
        "set",
        ZONE,
        "new",
        "A",
        "192.0.2.9",
        "--ttl",
        "60",
    ])?;
    trio.wait_secondaries(|seen| {
        seen != healed && (1..1 << 31).contains(&seen.wrapping_sub(healed))
    })?;
    for at in [trio.knot.dns(), trio.unbound.dns()] {
        let answer = Dig::new(&peers).at(at).query("new.example.com", "A")?;
        assert_eq!(answer.data("A"), ["192.0.2.9"], "{}", answer.text);
    }
    Ok(())
}

#[test]
fn a_primary_that_was_set_back_goes_above_its_foreign_secondaries_and_they_follow() -> Result<()> {
    restored(684_609 - 10_000, 684_609)
}

#[test]
fn a_primary_that_was_set_back_goes_above_a_serial_that_had_wrapped() -> Result<()> {
    restored(4_294_967_290, 5)
}

#[test]
fn a_zone_file_edited_by_hand_with_its_serial_kept_reaches_sites_and_foreign_secondaries()
-> Result<()> {
    let peers = peers_or_skip!();
    let mut mesh = Mesh::start(2)?;
    let named = Place::at("named", std::net::Ipv4Addr::LOCALHOST)?;
    let at = format!(
        "{} port {}",
        mesh[0].place().address(),
        mesh[0].place().port()
    );
    let text = format!(
        "{}notify = [\"bind\"]\nallow-transfer = [\"127.0.0.0/8\"]\n[[peer]]\nname = \"bind\"\naddress = \"{}\"\n",
        mesh[0].configuration("catalog-primary"),
        named.dns()
    );
    mesh[0].configure(&text);
    mesh[0].cli_ok(&["config", "reload"])?;
    let named = Named::start_at(&peers, named, |place| {
        format!(
            "{}zone \"a.example\" {{ type secondary; file \"zone\"; primaries {{ {at}; }}; allow-notify {{ any; }}; \
             allow-transfer {{ any; }}; }};\n",
            place.named("")
        )
    })?;
    wait::serial(SOON, named.dns(), "a.example", 1)?;

    let mut before = 1;
    for (address, restart) in [("198.51.100.1", false), ("198.51.100.2", true)] {
        mesh[0]
            .place()
            .write("a.example.zone", &zone_file(1, address));
        match restart {
            false => drop(mesh[0].cli_ok(&["config", "reload"])?),
            true => mesh[0].restart()?,
        }
        let serial = wait::within(HEALED, "the edited file to be everywhere", || {
            mesh.wait_address("www.a.example", address)?;
            let serial = mesh[0].serial("a.example")?.context("it serves its zone")?;
            ensure!(serial > before, "serial {serial} after {before}");
            wait::serial(HEALED, named.dns(), "a.example", serial)?;
            Ok(serial)
        })?;
        let answer = Dig::new(&peers)
            .at(named.dns())
            .query("www.a.example", "A")?;
        assert_eq!(answer.data("A"), [address], "{}", answer.text);
        before = serial;
    }
    // Read once more, the same file is no news.
    mesh[0].cli_ok(&["config", "reload"])?;
    assert_eq!(mesh[0].serial("a.example")?, Some(before));
    mesh.wait_healthy()
}
