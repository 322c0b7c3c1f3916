//! Starting, reloading and stopping, with good and bad files around.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result};
use rustix::process::Signal;
use zonemesh_testkit::wait;
use zonemesh_tests::site::{SOON, zone_file};
use zonemesh_tests::{Mesh, Site};
use zonemesh_zone::directory::SiteName;

/// A site that makes a mesh of its own.
fn alone() -> Result<Site> {
    let mut site = Site::new("site-a", "catalog-primary", None)?;
    site.up()?;
    site.wait_ready()?;
    Ok(site)
}

/// A start that must not come about; returns what was said.
fn fails(site: &mut Site) -> Result<String> {
    site.up()?;
    let (code, log) = site.wait_ended()?;
    assert_ne!(code, 0, "{log}");
    Ok(log)
}

#[test]
fn a_start_with_a_broken_file_uses_the_last_good_one_and_says_so() -> Result<()> {
    let mut site = alone()?;
    site.stop()?;
    let good = site.configuration("catalog-primary");
    site.configure(&format!("{good}\n[nonsense]\n"));
    site.restart()?;
    site.wait_address("www.a.example", "192.0.2.1")?;
    let status = site.wait_status("what is wrong", |status| {
        status
            .checks
            .iter()
            .any(|check| check.name == "configuration-broken")
    })?;
    assert!(
        format!("{:?}", status.checks).contains("nonsense"),
        "{:?}",
        status.checks
    );
    assert_eq!(site.cli_code(&["status"])?.0, 2);
    site.wait_log("nonsense")?;
    site.configure(&good);
    site.cli_ok(&["config", "reload"])?;
    site.wait_status("that all is well", |status| {
        status
            .checks
            .iter()
            .all(|check| check.name != "configuration-broken")
    })?;
    Ok(())
}

#[test]
fn a_hangup_with_a_broken_file_changes_nothing_and_with_a_good_one_all() -> Result<()> {
    let mut site = alone()?;
    let good = site.configuration("catalog-primary");
    let more = "[[zone]]\nname = \"more.example\"\nfile = \"a.example.zone\"\n";
    site.configure(&format!("{good}{more}addresses = 7\n"));
    site.daemon()?.signal(Signal::HUP)?;
    site.wait_log("the configuration was not taken")?;
    assert_eq!(site.address("www.more.example")?.1, None);
    site.wait_address("www.a.example", "192.0.2.1")?;
    site.configure(&format!("{good}{more}"));
    site.daemon()?.signal(Signal::HUP)?;
    site.wait_address("www.more.example", "192.0.2.1")
}

#[test]
fn a_file_that_says_something_else_than_what_runs_is_told_in_status() -> Result<()> {
    let site = alone()?;
    let good = site.configuration("catalog-primary");
    let told = |what: &str, name: &str, words: &[&str]| {
        site.wait_status(what, |status| {
            let mut checks = status.checks.iter();
            checks.any(|check| {
                check.name == name && words.iter().all(|word| check.message.contains(word))
            })
        })
    };
    let well = |what: &str| {
        site.wait_status(what, |status| {
            let mut checks = status.checks.iter();
            !checks.any(|check| check.name.starts_with("configuration-"))
        })
    };
    well("that the file is what runs")?;
    let more = "[[zone]]\nname = \"more.example\"\nfile = \"a.example.zone\"\n";
    site.configure(&format!("{good}{more}"));
    told(
        "the zone that was not read",
        "configuration-not-loaded",
        &["zone more.example. added"],
    )?;
    site.configure(&format!("{good}{more}addresses = 7\n"));
    told(
        "the file that is broken",
        "configuration-broken",
        &["addresses"],
    )?;
    site.configure(&format!("{good}{more}"));
    site.cli_ok(&["config", "reload"])?;
    well("that the file was read")?;
    let more = format!("{more}[limits]\nworkers = 1\n");
    site.configure(&format!("{good}{more}"));
    site.cli_ok(&["config", "reload"])?;
    told(
        "what waits for a start",
        "configuration-not-loaded",
        &["workers changed", "next start"],
    )?;
    Ok(())
}

#[test]
fn a_zone_file_that_was_edited_and_not_read_or_not_imported_is_told_in_status() -> Result<()> {
    let site = alone()?;
    let file = site.place().path("a.example.zone");
    let good = fs::read_to_string(&file)?;
    let told = |words: &[&str]| {
        site.wait_status("the zone file that was not read", |status| {
            let mut checks = status.checks.iter();
            checks.any(|check| {
                check.name == "zone-file-not-read"
                    && check.subject.as_deref() == Some("a.example.")
                    && words.iter().all(|word| check.message.contains(word))
            })
        })
    };
    let well = || {
        site.wait_status("that the zone file was read", |status| {
            let mut checks = status.checks.iter();
            checks.all(|check| check.name != "zone-file-not-read")
        })
    };
    well()?;
    fs::write(&file, format!("{good}more A 192.0.2.7\n"))?;
    told(&["was changed since it was read"])?;
    site.cli_ok(&["config", "reload"])?;
    well()?;
    site.wait_address("more.a.example", "192.0.2.7")?;
    fs::write(&file, format!("{good}more A 192.0.2\n"))?;
    assert_eq!(site.cli_code(&["config", "reload"])?.0, 1);
    told(&["a.example.zone:", "more"])?;
    site.wait_address("more.a.example", "192.0.2.7")?;
    fs::write(&file, &good)?;
    site.cli_ok(&["config", "reload"])?;
    well()?;
    Ok(())
}

#[test]
fn a_zone_file_that_is_gone_keeps_nobody_from_starting() -> Result<()> {
    let mut site = alone()?;
    let file = site.place().path("a.example.zone");
    let good = fs::read_to_string(&file)?;
    site.stop()?;
    fs::remove_file(&file)?;
    site.restart()?;
    site.wait_ready()?;
    site.wait_address("www.a.example", "192.0.2.1")?;
    let told = |wanted: bool| {
        site.wait_status("what is told of the zone file", |status| {
            let mut checks = status.checks.iter();
            wanted
                == checks.any(|check| {
                    check.name == "zone-file-not-read" && check.message.contains("a.example.zone")
                })
        })
    };
    told(true)?;
    assert_eq!(site.cli_code(&["config", "check"])?.0, 1);
    fs::write(&file, good)?;
    site.cli_ok(&["config", "reload"])?;
    told(false)?;
    site.cli_ok(&["config", "check"]).map(drop)
}

#[test]
fn a_port_in_use_is_told_with_its_address() -> Result<()> {
    let site = alone()?;
    let mut other = Site::new("site-x", "catalog-primary", None)?;
    let own = other.dns().to_string();
    let text = other.configuration("catalog-primary");
    other.configure(&text.replace(&own, &site.dns().to_string()));
    let log = fails(&mut other)?;
    assert!(log.contains(&site.dns().to_string()), "{log}");
    assert!(log.contains("in use"), "{log}");
    Ok(())
}

#[test]
fn a_data_directory_of_another_site_is_refused() -> Result<()> {
    let mut site = alone()?;
    site.stop()?;
    let text = site.configuration("catalog-primary");
    site.configure(&text.replace("site-a", "site-z"));
    let log = fails(&mut site)?;
    assert!(log.contains("site-a") && log.contains("site-z"), "{log}");
    Ok(())
}

#[test]
fn a_catalog_primary_whose_store_was_lost_founds_no_second_mesh() -> Result<()> {
    let mut site = alone()?;
    site.stop()?;
    let store = site.data_dir().join("store.redb");
    fs::remove_file(&store)?;
    let log = fails(&mut site)?;
    assert!(log.contains("acknowledged"), "{log}");
    // Whoever accepts the loss has still not asked for another mesh.
    fs::remove_file(&store)?;
    fs::remove_file(site.data_dir().join("lock"))?;
    let log = fails(&mut site)?;
    assert!(log.contains("second mesh"), "{log}");
    Ok(())
}

#[test]
fn directory_and_catalog_are_not_edited_by_hand() -> Result<()> {
    let site = alone()?;
    for words in [
        ["record", "delete", "catalog.dns.internal", "version"],
        ["record", "delete", "dns.internal", "_schema"],
    ] {
        let (code, text) = site.cli_code(&words)?;
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("written by the mesh itself"), "{text}");
    }
    Ok(())
}

#[test]
fn a_record_set_by_command_survives_an_edit_of_the_zones_file() -> Result<()> {
    let mut site = alone()?;
    let text = site.configuration("catalog-primary");
    site.configure(&text.replace("dynamic = true\n", ""));
    site.cli_ok(&["config", "reload"])?;
    site.cli_ok(&["record", "set", "a.example", "kept", "A", "192.0.2.7"])?;
    let file = site.place().path("a.example.zone");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, format!("{text}\nnew 60 IN A 192.0.2.8\n"))?;
    site.cli_ok(&["config", "reload"])?;
    site.wait_address("new.a.example", "192.0.2.8")?;
    site.wait_address("kept.a.example", "192.0.2.7")?;
    site.stop()
}

#[test]
fn a_data_directory_in_use_is_refused() -> Result<()> {
    let mut site = alone()?;
    let other = site.cli(&["up", "--config", &site.place().path("zonemesh.toml")])?;
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success(), "{text}");
    // Not just the port, which is in use as well.
    assert!(text.contains("data directory"), "{text}");
    assert!(text.contains("is in use by"), "{text}");
    site.wait_address("www.a.example", "192.0.2.1")?;
    site.stop()
}

#[test]
fn a_key_that_others_may_read_is_refused_and_made_with_the_right_mode() -> Result<()> {
    let mut site = alone()?;
    site.stop()?;
    let file = site.data_dir().join("site.key");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let log = fails(&mut site)?;
    assert!(log.contains("site.key") && log.contains("600"), "{log}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    site.restart()
}

#[test]
fn a_lost_key_is_not_replaced_behind_the_meshs_back() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    mesh[1].stop()?;
    fs::write(mesh[1].data_dir().join("site.key"), "not a key")?;
    fs::set_permissions(
        mesh[1].data_dir().join("site.key"),
        fs::Permissions::from_mode(0o600),
    )?;
    let log = fails(&mut mesh[1])?;
    assert!(log.contains("site.key"), "{log}");
    Ok(())
}

#[test]
fn the_service_manager_hears_of_readiness_reload_and_stop() -> Result<()> {
    let mut site = Site::new("site-a", "catalog-primary", None)?;
    let path = site.place().path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(SOON))?;
    site.set_environment("NOTIFY_SOCKET", &path);
    site.up()?;
    let hear = |wanted: &str| -> Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let length = socket
                .recv(&mut buffer)
                .with_context(|| format!("waiting for {wanted}"))?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return Ok(());
            }
        }
    };
    hear("READY=1")?;
    // Ready means that it answers, at once.
    assert_eq!(
        site.address("www.a.example")?.1,
        Some([192, 0, 2, 1].into())
    );
    site.daemon()?.signal(Signal::HUP)?;
    hear("RELOADING=1")?;
    hear("READY=1")?;
    site.stop()?;
    hear("STOPPING=1")
}

/// A server without a mesh, with many zones of its own.
fn with_zones(zones: u32, more: &str) -> Result<Site> {
    let site = Site::new("us", "standard", None)?;
    site.place().write("many.zone", &zone_file(1, "192.0.2.1"));
    configure(&site, zones, more);
    Ok(site)
}

fn configure(site: &Site, zones: u32, more: &str) {
    let (dns, tls) = (site.dns(), site.tls());
    let mut text = format!(
        "[site]\nname = \"us\"\n[listen]\ndns = [\"{dns}\"]\ntls = [\"{tls}\"]\nhttp = []\n"
    );
    for zone in 0..zones {
        text.push_str(&format!("[[zone]]\nname = \"z{zone}.example\"\n{more}\n"));
    }
    site.configure(&text);
}

#[test]
fn what_is_asked_after_a_server_has_said_that_it_is_ready_is_answered() -> Result<()> {
    const ZONES: u32 = 400;
    let mut site = with_zones(ZONES, "file = \"many.zone\"")?;
    let path = site.place().path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(SOON))?;
    site.set_environment("NOTIFY_SOCKET", &path);
    let hear_ready = || -> Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let length = socket.recv(&mut buffer).context("waiting to be told")?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        }
    };
    let answers = |site: &Site| -> Result<()> {
        // The last comes last where zones are taken one after the other, by whatever order.
        for zone in [ZONES - 1, 0, 99, ZONES / 2] {
            let (rcode, address) = site.address(&format!("www.z{zone}.example"))?;
            assert_eq!(address, Some([192, 0, 2, 1].into()), "z{zone}: {rcode}");
        }
        Ok(())
    };
    // From zone files, by the log; then from the store, by the service manager.
    site.up()?;
    site.wait_log("ready, serves")?;
    answers(&site)?;
    hear_ready()?;
    for _ in 0..3 {
        site.stop()?;
        configure(&site, ZONES, "dynamic = true");
        site.up()?;
        hear_ready()?;
        answers(&site)?;
    }
    site.stop()
}

#[test]
fn a_restarted_site_serves_from_its_store_at_once() -> Result<()> {
    let mut site = alone()?;
    let changed = site.set("a.example", "www", "198.51.100.4", false)?;
    site.kill9()?;
    // The file is older than the store, and is no newer now.
    site.up()?;
    site.wait_address("www.a.example", "198.51.100.4")?;
    site.wait_running()?;
    assert!(site.serial("a.example")? >= changed.serial);
    Ok(())
}

#[test]
fn a_clock_that_is_off_is_named_as_the_reason() -> Result<()> {
    use jiff::{SignedDuration, Timestamp};
    use zonemesh_mesh::packet::Welcome;
    use zonemesh_transfer::peer::{Options, Peer, Target, Transport};
    use zonemesh_transfer::tls::{SiteKey, Trust};
    use zonemesh_transfer::tsig::{Algorithm, Key};

    let site = alone()?;
    let packet = Welcome::decode(&site.cli_ok(&["invite", "site-b"])?, 0)?;
    let tsig = Key::new(
        packet.key_name.clone(),
        Algorithm::HmacSha256,
        packet.key.expose(),
    )?;
    let message = zonemesh_update::request::claim_zone(
        &packet.directory,
        &zonemesh_tests::ask::name("x.example")?,
        &SiteName::new("site-b")?,
    )?
    .compose(1)?;
    let (key, pin) = (SiteKey::generate("site-b")?, site.key()?.pin());
    let error = zonemesh_tests::ask::runtime()?.block_on(async {
        let target = Target {
            addr: site.tls(),
            source: None,
            transport: Transport::Tls(Trust::Pins(vec![pin])),
            tsig: None,
        };
        let late = || Timestamp::now() - SignedDuration::from_mins(20);
        let options = Options {
            clock: std::sync::Arc::new(late),
            ..Options::default()
        };
        let peer = Peer::new(target, Some(&key), options)?;
        let outcome = peer.request_signed(message, Some(&tsig), SOON).await;
        anyhow::Ok(
            outcome
                .err()
                .map(|error| zonemesh_tests::ask::chain(&error)),
        )
    })?;
    let error = error.context("a signature of twenty minutes ago is refused")?;
    assert!(error.contains("clock"), "the client is told: {error}");
    wait::until(SOON, "the clock in the log", || {
        Ok(site.log().contains("clock").then_some(()))
    })
}
