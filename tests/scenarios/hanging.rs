//! Sites that hang with their ports open: stopped, not ended, so that connections to them open and nothing comes back.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use zonemesh_api::types::{CheckState, Status};
use zonemesh_testkit::{Disk, disks_or_skip, wait};
use zonemesh_tests::{Mesh, Site};

/// Within this a peer that hangs is noticed (F-28).
const NOTICED: Duration = Duration::from_secs(15);
/// Within this other holders are used in its place (F-28).
const REPLACED: Duration = Duration::from_secs(30);

fn names_lost(status: &Status, lost: &str) -> bool {
    status
        .checks
        .iter()
        .any(|check| check.name == "site-unreachable" && check.subject.as_deref() == Some(lost))
}

/// Waits until a site's own probes have found that another does not answer.
fn wait_lost(site: &Site, lost: &str, within: Duration) -> Result<()> {
    let line = format!("peer {lost} lost");
    wait::until(
        within,
        &format!("{line:?} in the log of {}", site.name),
        || Ok(site.log().contains(&line).then_some(())),
    )
}

#[test]
fn a_primary_that_hangs_with_its_port_open_is_noticed_and_others_give_what_it_has_told_them()
-> Result<()> {
    let mut mesh = Mesh::start(3)?;
    // What the primary told site-c lies in the sockets of site-c, when that goes on the primary hangs.
    mesh[2].daemon()?.signal(Signal::STOP)?;
    mesh[1].set("b.example", "www", "198.51.100.1", false)?;
    mesh[0].wait_address("www.b.example", "198.51.100.1")?;
    let hung = Instant::now();
    mesh[1].daemon()?.signal(Signal::STOP)?;
    mesh[2].daemon()?.signal(Signal::CONT)?;
    wait_lost(&mesh[0], "site-b", NOTICED)?;
    let expected = "198.51.100.1".parse().ok();
    let left = REPLACED.saturating_sub(hung.elapsed());
    wait::until(left, "the newer version from another holder", || {
        let (_, found) = mesh[2].address("www.b.example")?;
        ensure!(found == expected, "{found:?}");
        Ok(Some(()))
    })?;
    for site in [&mesh[0], &mesh[2]] {
        let status =
            site.wait_status("the site that hangs", |status| names_lost(status, "site-b"))?;
        ensure!(
            status
                .checks
                .iter()
                .all(|check| check.state < CheckState::Critical),
            "{:?}",
            status.checks
        );
        // It does not keep the others from each other.
        ensure!(!names_lost(&status, "site-a") && !names_lost(&status, "site-c"));
    }
    mesh[0].set("a.example", "www", "198.51.100.3", false)?;
    mesh[2].wait_address("www.a.example", "198.51.100.3")?;

    mesh[1].daemon()?.signal(Signal::CONT)?;
    mesh.wait_healthy()?;
    mesh[1].set("b.example", "www", "198.51.100.2", false)?;
    mesh.wait_address("www.b.example", "198.51.100.2")
}

#[test]
fn a_catalog_primary_that_hangs_keeps_no_status_waiting_and_no_change_from_the_others() -> Result<()>
{
    let mut mesh = Mesh::start(3)?;
    mesh[0].daemon()?.signal(Signal::STOP)?;
    for site in &mesh.sites[1..] {
        wait_lost(site, "site-a", NOTICED)?;
    }
    let (code, text) = mesh[1].cli_code(&["status"])?;
    ensure!(
        code == 1 && text.contains("site-a does not answer"),
        "{code}: {text}"
    );
    let changed = mesh[1].set("b.example", "www", "198.51.100.4", false)?;
    ensure!(changed.changed, "{changed:?}");
    mesh[2].wait_address("www.b.example", "198.51.100.4")?;
    mesh[0].daemon()?.signal(Signal::CONT)?;
    mesh.wait_healthy()?;
    mesh[0].wait_address("www.b.example", "198.51.100.4")?;
    if mesh[1].log().contains("warning: this host's clock") {
        bail!("a site that was stopped is not one whose clock was set");
    }
    Ok(())
}

#[test]
fn a_site_whose_disk_hangs_answers_and_refuses_changes_and_the_others_are_told() -> Result<()> {
    disks_or_skip!();
    let mut mesh = Mesh::start(1)?;
    let packet = mesh[0].cli_ok(&["invite", "site-b"])?;
    let mut second = Site::new("site-b", "standard", None)?;
    let mut disk = Disk::mount(&second.data_dir(), 24)?;
    second.join(&packet)?;
    second.wait_running()?;
    mesh.sites.push(second);
    mesh.wait_healthy()?;
    disk.set_frozen(true)?;
    // Nothing is written at rest: it is the site's own writes that find it out.
    wait::until(Duration::from_secs(60), "the disk that hangs", || {
        let status = mesh[1].status()?;
        let found = status.checks.iter().any(|check| {
            check.name == "store-failing" && check.message.contains("the disk has not answered")
        });
        ensure!(found, "{:?}", status.checks);
        Ok(Some(()))
    })?;
    mesh[0].wait_status("the site that is stuck", |status| {
        status
            .checks
            .iter()
            .any(|check| check.name == "site-stuck" && check.subject.as_deref() == Some("site-b"))
    })?;
    // The first change waits for the disk, and so do those that come while nobody knows yet; then they are refused.
    let refusal = wait::until(Duration::from_secs(60), "a change to be refused", || {
        let (code, text) =
            mesh[1].cli_code(&["record", "set", "b.example", "x", "A", "192.0.2.7"])?;
        ensure!(code != 0, "{code}: {text}");
        Ok(text.contains("was not made").then_some(text))
    })?;
    ensure!(
        refusal.contains("the disk has not answered a commit for"),
        "{refusal}"
    );
    mesh[1].wait_address("www.b.example", "192.0.2.1")?;
    disk.set_frozen(false)?;
    mesh.wait_healthy()?;
    mesh[1].set("b.example", "www", "198.51.100.9", false)?;
    mesh.wait_address("www.b.example", "198.51.100.9")?;
    mesh.sites.pop();
    drop(disk);
    Ok(())
}
