//! Data directories that were put back to an older state or lost: what the other sites hold brings them back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zonemesh_testkit::wait;
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};

/// Copies the data directory of a site that does not run.
fn backup(site: &Site, whole: bool) -> Result<PathBuf> {
    let to = PathBuf::from(site.place().path("backup"));
    fs::create_dir_all(&to)?;
    copy(&site.data_dir(), &to, whole)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path, whole: bool) -> Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        let name = file.file_name();
        if file.file_type()?.is_file() && (whole || name == "store.redb") {
            fs::copy(file.path(), to.join(name)).with_context(|| format!("{:?}", file.path()))?;
        }
    }
    Ok(())
}

/// Removes what is in a data directory but for some files.
fn empty(site: &Site, keep: &[&str]) -> Result<()> {
    for file in fs::read_dir(site.data_dir())? {
        let file = file?;
        let kept = keep.iter().any(|name| file.file_name() == *name);
        match file.file_type()?.is_dir() {
            true => fs::remove_dir_all(file.path())?,
            false if !kept => fs::remove_file(file.path())?,
            false => {}
        }
    }
    Ok(())
}

/// Whether a site knows the others for the case that it loses everything else.
fn wait_peers(site: &Site, sites: usize) -> Result<()> {
    let path = site.data_dir().join("peers.json");
    wait::until(SOON, "the other sites to be written beside the key", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        match text.matches("\"name\"").count() == sites {
            true => Ok(Some(())),
            false => bail!("{text}"),
        }
    })
}

/// Until a site that lost its disk, or came back with an old one, is whole, and all others serve what it has.
const WHOLE: Duration = Duration::from_secs(60);

fn has_check(site: &Site, name: &str) -> Result<()> {
    let has =
        |status: &zonemesh_api::types::Status| status.checks.iter().any(|check| check.name == name);
    site.wait_status(name, has).map(|_| ())
}

/// F-01, without a hand being moved: the primary comes back with the disk of days ago.
#[test]
fn a_primary_put_back_to_an_old_copy_takes_what_was_changed_since_from_the_others() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    mesh[1].set("b.example", "old", "192.0.2.10", true)?;
    mesh[1].stop()?;
    let store = fs::read(mesh[1].data_dir().join("store.redb"))?;
    assert_eq!(store[9] & 0x02, 0, "its database was not closed in order");
    let old = backup(&mesh[1], true)?;
    mesh[1].restart()?;
    mesh[1].set("b.example", "new", "192.0.2.11", true)?;
    let newest = mesh[1].set("b.example", "old", "192.0.2.12", true)?;
    mesh[1].kill9()?;
    copy(&old, &mesh[1].data_dir(), true)?;
    mesh[1].restart()?;
    let late = mesh[1].set("b.example", "late", "192.0.2.13", true)?;
    assert!(late.serial > newest.serial, "{late:?} after {newest:?}");
    wait::within(WHOLE, "the newer history to be taken", || {
        mesh.wait_address("new.b.example", "192.0.2.11")?;
        mesh.wait_address("old.b.example", "192.0.2.12")?;
        mesh.wait_address("late.b.example", "192.0.2.13")?;
        mesh[1].wait_log("had an old copy")?;
        has_check(&mesh[1], "recovered")?;
        mesh.wait_healthy()
    })
}

/// The store alone is older: the site sees that itself, and goes on because others have what it lacks.
#[test]
fn a_store_that_has_lost_what_was_acknowledged_is_taken_where_others_have_it() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    wait_peers(&mesh[0], 1)?;
    mesh[0].stop()?;
    let old = backup(&mesh[0], false)?;
    mesh[0].restart()?;
    mesh[0].set("a.example", "new", "192.0.2.11", true)?;
    mesh[0].add_zone("more.example", true)?;
    mesh[0].stop()?;
    copy(&old, &mesh[0].data_dir(), false)?;
    wait::within(WHOLE, "what was lost to be taken", || {
        mesh[0].restart()?;
        mesh[0].wait_log("going on with what the store has")?;
        mesh.wait_address("new.a.example", "192.0.2.11")?;
        mesh.wait_address("www.more.example", "192.0.2.1")?;
        mesh.wait_healthy()
    })
}

#[test]
fn a_site_with_its_key_and_an_emptied_disk_becomes_itself_again() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    let newest = mesh[1].set("b.example", "new", "192.0.2.11", true)?;
    wait_peers(&mesh[1], 2)?;
    mesh[1].kill9()?;
    empty(&mesh[1], &["site.key", "peers.json"])?;
    wait::within(WHOLE, "the site to be itself again", || {
        mesh[1].restart()?;
        mesh[1].wait_ready()?;
        let late = mesh[1].set("b.example", "late", "192.0.2.13", true)?;
        ensure!(late.serial > newest.serial, "{late:?} after {newest:?}");
        mesh.wait_address("new.b.example", "192.0.2.11")?;
        mesh.wait_address("late.b.example", "192.0.2.13")?;
        mesh[1].wait_log("had lost its copy")?;
        mesh.wait_healthy()
    })
}

/// A zone file says nothing of what was set by command: when the disk is gone, so is what tells the two apart.
#[test]
fn what_was_set_by_command_stays_where_a_zone_file_is_read_after_an_emptied_disk() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    let fixed = mesh[1]
        .configuration("standard")
        .replace("dynamic = true\n", "");
    mesh[1].configure(&fixed);
    mesh[1].stop()?;
    mesh[1].restart()?;
    mesh[1].set("b.example", "new", "192.0.2.11", true)?;
    wait_peers(&mesh[1], 2)?;
    mesh[1].kill9()?;
    empty(&mesh[1], &["site.key", "peers.json"])?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    let told = |wanted: bool| {
        mesh[1].wait_status("what is told of the zone file", |status| {
            let mut checks = status.checks.iter();
            wanted == checks.any(|check| check.name == "zone-file-not-read")
        })
    };
    told(true)?;
    mesh.wait_address("new.b.example", "192.0.2.11")?;
    // Going on from what the zone has.
    let exported = mesh[1].cli_ok(&["zone", "export", "b.example"])?;
    fs::write(mesh[1].place().path("b.example.zone"), exported)?;
    mesh[1].cli_ok(&["config", "reload"])?;
    told(false)?;
    mesh.wait_address("new.b.example", "192.0.2.11")
}

#[test]
fn a_catalog_primary_with_its_key_and_an_emptied_disk_takes_up_its_mesh() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    mesh[0].set("a.example", "new", "192.0.2.11", true)?;
    wait_peers(&mesh[0], 2)?;
    mesh[0].kill9()?;
    empty(&mesh[0], &["site.key", "peers.json"])?;
    mesh[0].restart()?;
    mesh.wait_address("new.a.example", "192.0.2.11")?;
    mesh.wait_healthy()?;
    // It is the writer still.
    mesh[2].add_zone("more.example", true)?;
    mesh.wait_address("www.more.example", "192.0.2.1")
}

#[test]
fn a_catalog_primary_with_nothing_left_founds_no_second_mesh() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    mesh[0].kill9()?;
    empty(&mesh[0], &[])?;
    mesh[0].up()?;
    let (code, log) = mesh[0].wait_ended()?;
    assert_ne!(code, 0, "{log}");
    assert!(log.contains("zonemesh site promote"), "{log}");
    Ok(())
}

#[test]
fn an_emptied_site_without_its_key_is_told_to_join_and_does_as_itself() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    mesh[1].set("b.example", "new", "192.0.2.11", true)?;
    wait_peers(&mesh[1], 1)?;
    mesh[1].stop()?;
    empty(&mesh[1], &["peers.json"])?;
    mesh[1].up()?;
    let (code, log) = mesh[1].wait_ended()?;
    assert_ne!(code, 0, "{log}");
    assert!(log.contains("zonemesh invite site-b"), "{log}");
    let packet = mesh[0].cli_ok(&["invite", "site-b"])?;
    mesh[1].join(packet.trim())?;
    mesh.wait_address("new.b.example", "192.0.2.11")?;
    mesh.wait_healthy()
}

/// Turns over a bit wherever a text stands in a site's store.
fn damage(site: &Site, text: &str) -> Result<()> {
    let path = site.data_dir().join("store.redb");
    let mut octets = fs::read(&path)?;
    let places: Vec<usize> = (0..octets.len().saturating_sub(text.len()))
        .filter(|&at| &octets[at..at + text.len()] == text.as_bytes())
        .collect();
    if places.is_empty() {
        bail!("{text} is not in {}", path.display());
    }
    for at in places {
        octets[at] ^= 1;
    }
    fs::write(&path, octets).with_context(|| format!("cannot write {}", path.display()))
}

#[test]
fn a_damaged_store_is_kept_aside_and_what_is_damaged_comes_from_the_others() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    let newest = mesh[1].set("b.example", "mark-b", "192.0.2.11", true)?;
    mesh[0].set("a.example", "mark-a", "192.0.2.12", true)?;
    wait_peers(&mesh[1], 1)?;
    mesh[1].stop()?;
    damage(&mesh[1], "mark-b")?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    // What the database makes of it depends on which of its pages are the last: it refuses the file, or goes back before them.
    mesh[1].wait_log("going on with")?;
    let late = mesh[1].set("b.example", "late", "192.0.2.13", true)?;
    assert!(late.serial > newest.serial, "{late:?} after {newest:?}");
    mesh.wait_address("mark-b.b.example", "192.0.2.11")?;
    mesh.wait_address("mark-a.a.example", "192.0.2.12")?;
    mesh.wait_address("late.b.example", "192.0.2.13")?;
    // Cut in two there is nothing left that could be read.
    mesh[1].stop()?;
    let path = mesh[1].data_dir().join("store.redb");
    let half = fs::metadata(&path)?.len() / 2;
    fs::OpenOptions::new()
        .write(true)
        .open(&path)?
        .set_len(half)?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    mesh.wait_address("late.b.example", "192.0.2.13")?;
    // Told of for as long as the file is there.
    has_check(&mesh[1], "store-was-damaged")?;
    for file in fs::read_dir(mesh[1].data_dir())? {
        let path = file?.path();
        if path.to_string_lossy().contains(".damaged-") {
            fs::remove_file(path)?;
        }
    }
    mesh.wait_healthy()
}

#[test]
fn a_store_that_is_damaged_after_a_kill_is_kept_aside_and_everything_comes_from_the_others()
-> Result<()> {
    let mut mesh = Mesh::start(2)?;
    let newest = mesh[1].set("b.example", "mark-b", "192.0.2.11", true)?;
    mesh[0].set("a.example", "mark-a", "192.0.2.12", true)?;
    wait_peers(&mesh[1], 1)?;
    // Not closed in order: what the database finds when it repairs itself is damaged.
    mesh[1].kill9()?;
    damage(&mesh[1], "mark-b")?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    mesh[1].wait_log("going on with")?;
    mesh.wait_address("mark-b.b.example", "192.0.2.11")?;
    mesh.wait_address("mark-a.a.example", "192.0.2.12")?;
    let late = mesh[1].set("b.example", "late", "192.0.2.13", true)?;
    assert!(late.serial > newest.serial, "{late:?} after {newest:?}");
    mesh.wait_address("late.b.example", "192.0.2.13")?;
    // What has come from the others is on disk: it is there after one more kill.
    mesh[1].kill9()?;
    mesh[1].restart()?;
    mesh[1].wait_ready()?;
    mesh.wait_address("late.b.example", "192.0.2.13")?;
    mesh.wait_address("mark-b.b.example", "192.0.2.11")
}
