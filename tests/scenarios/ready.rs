//! A site that lacks zones of the mesh does not answer in their stead.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use zonemesh_testkit::query::{self, qtype};
use zonemesh_testkit::{Load, wait};
use zonemesh_tests::ask::{self, name, rcode};
use zonemesh_tests::site::{SOON, zone_file};
use zonemesh_tests::{Mesh, Site};
use zonemesh_update::request::claim_zone;
use zonemesh_zone::directory::SiteName;

/// Whether the service manager is told that the site is ready, before it is told this line or, without one, as far as it is told anything.
fn hears_ready(socket: &UnixDatagram, before: Option<&str>) -> Result<bool> {
    let mut buffer = [0; 1024];
    loop {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock && before.is_none() => {
                return Ok(false);
            }
            Err(error) => return Err(error).context("the service manager is told nothing"),
        };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line == "READY=1") {
            return Ok(true);
        }
        if text.lines().any(|line| Some(line) == before) {
            return Ok(false);
        }
    }
}

#[test]
fn a_new_site_answers_nothing_until_it_holds_every_zone_of_the_mesh() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    // The owner of a zone goes down before anybody has the zone.
    let key = mesh[1].key()?;
    mesh[1].kill9()?;
    let claim = claim_zone(
        &name("dns.internal")?,
        &name("late.example")?,
        &SiteName::new("site-b")?,
    )?;
    let pin = mesh[0].key()?.pin();
    let reply = ask::tls(mesh[0].tls(), pin, Some(&key), None, claim.compose(1)?)?;
    assert_eq!(query::rcode(&reply), rcode::NOERROR);

    mesh.join("site-c")?;
    let lacks = |site: &Site| {
        site.wait_status("what it lacks", |status| {
            status.checks.iter().any(|check| check.name == "not-ready")
                && status
                    .zones
                    .iter()
                    .any(|zone| zone.zone.starts_with("a.example"))
        })
    };
    lacks(&mesh[2])?;
    // Once more, so that somebody hears what it says of itself.
    let path = mesh[2].place().path("notify");
    let socket = UnixDatagram::bind(&path)?;
    mesh[2].stop()?;
    mesh[2].set_environment("NOTIFY_SOCKET", &path);
    mesh[2].up()?;
    mesh[2].wait_running()?;
    lacks(&mesh[2])?;
    let new = &mesh[2];
    for name in [
        "www.late.example",
        "late.example",
        "www.a.example",
        "no-such.b.example",
    ] {
        let answer = ask::code(new.dns(), name, qtype::A);
        assert!(answer.is_err(), "{name} was answered with RCODE {answer:?}");
    }
    socket.set_nonblocking(true)?;
    ensure!(!hears_ready(&socket, None)?, "ready, and does not answer");
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(SOON))?;
    // The end of a reload is no end of the start.
    mesh[2].daemon()?.signal(Signal::HUP)?;
    let reloaded = Some("STATUS=configuration read again");
    ensure!(!hears_ready(&socket, reloaded)?, "ready by a reload");
    let new = &mesh[2];
    let (code, text) = new.cli_code(&["status"])?;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("late.example"), "{text}");

    // A site that was ready before goes on with what it has, and makes nothing up about what it has not.
    assert_eq!(mesh[0].address("www.a.example")?.0, rcode::NOERROR);
    let about_late = mesh[0].address("www.late.example")?;
    assert!(
        ![rcode::NOERROR, rcode::NXDOMAIN].contains(&about_late.0),
        "{about_late:?}"
    );

    let text = mesh[1].configuration("standard");
    mesh[1]
        .place()
        .write("late.zone", &zone_file(1, "198.51.100.1"));
    mesh[1].configure(&format!(
        "{text}[[zone]]\nname = \"late.example\"\nfile = \"late.zone\"\n"
    ));
    mesh[1].restart()?;
    mesh[2].wait_ready()?;
    ensure!(hears_ready(&socket, reloaded)?);
    mesh.wait_healthy()?;
    mesh.wait_address("www.late.example", "198.51.100.1")?;
    mesh.wait_address("www.a.example", "192.0.2.1")
}

#[test]
fn a_site_that_starts_while_all_others_are_down_serves_what_it_holds() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    mesh[0].kill9()?;
    mesh[1].kill9()?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    mesh[1].wait_address("www.a.example", "192.0.2.1")?;
    mesh[1].wait_address("www.b.example", "192.0.2.1")?;
    let (code, text) = mesh[1].cli_code(&["status"])?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("site-a does not answer"), "{text}");
    mesh[0].restart()?;
    mesh.wait_healthy()
}

/// Within this a site that lacked a zone answers as the others do (F-02).
const WHOLE: Duration = Duration::from_secs(60);

#[test]
fn a_site_that_was_down_when_a_zone_was_added_never_denies_it_and_has_it_when_it_is_back()
-> Result<()> {
    let mut mesh = Mesh::start(3)?;
    mesh[1].kill9()?;
    mesh[0].add_zone("new.example", false)?;
    mesh[2].wait_address("www.new.example", "192.0.2.1")?;
    // Asked from before it starts until it has the zone: silence, a refusal, or the right answer.
    let load = Load::start(mesh[1].dns(), "www.new.example", qtype::A, 1000)?;
    mesh[1].up()?;
    let expected = "192.0.2.1".parse().ok();
    wait::until(WHOLE, "the zone that was added meanwhile", || {
        let (_, found) = mesh[1].address("www.new.example")?;
        ensure!(found == expected, "{found:?}");
        Ok(Some(()))
    })?;
    let enough = load.answered() + 100;
    wait::until(SOON, "right answers", || {
        Ok((load.answered() > enough).then_some(()))
    })?;
    let account = load.finish()?;
    ensure!(account.rcodes.contains_key(&rcode::NOERROR), "{account:?}");
    ensure!(
        !account.rcodes.contains_key(&rcode::NXDOMAIN),
        "{account:?}"
    );
    mesh.wait_healthy()
}
