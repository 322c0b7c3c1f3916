//! The writer of directory and catalog is lost, another one is promoted, and the old one comes back.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zonemesh_api::types::{InvitedRole, SetRole, Yielded, YieldedState};
use zonemesh_testkit::site::binary;
use zonemesh_testkit::wait;
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};

/// Until the sites that are left tell that the writer is gone; F-61 gives five minutes.
const TOLD: Duration = Duration::from_secs(60);
/// Until all follow the writer that was made by command, and until of two writers one yields.
const FOLLOWED: Duration = Duration::from_secs(60);

pub(crate) fn yielded(site: &Site) -> Result<Vec<Yielded>> {
    site.api(|client| async move { client.yielded().await })
}

/// Which site a site takes for the writer.
fn writer(site: &Site) -> Result<Option<String>> {
    let status = site.status()?;
    let found = status
        .sites
        .into_iter()
        .find(|site| site.role == "catalog-primary");
    Ok(found.map(|site| site.name))
}

pub(crate) fn wait_writer(sites: &[Site], name: &str) -> Result<()> {
    wait::within(FOLLOWED, "one writer", || {
        for site in sites.iter().filter(|site| site.runs()) {
            let what = format!("{name} is the writer by {}", site.name);
            let expected = Some(name.to_owned());
            wait::until_eq(FOLLOWED, &what, &expected, || writer(site))?;
        }
        Ok(())
    })
}

/// Waits until a site tells that it had to yield.
pub(crate) fn wait_yielded(site: &Site) -> Result<()> {
    wait::within(FOLLOWED, "what was yielded to be told of", || {
        site.wait_status("what it had to yield", |status| {
            let mut checks = status.checks.iter();
            checks.any(|check| check.name == "yielded-changes")
        })
    })?;
    Ok(())
}

/// Makes what one site had to yield again at another, as an operator does who may do what the site may not.
pub(crate) fn carry(from: &Site, id: &str, to: &Site) -> Result<()> {
    let shown = from.cli_ok(&["site", "yielded", "show", id, "--json"])?;
    let mut child = Command::new(binary()?)
        .args(["site", "yielded", "replay", "-", "--json", "--data-dir"])
        .arg(to.data_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(shown.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}");
    Ok(())
}

pub(crate) fn can_be_promoted(mesh: &Mesh, name: &str) -> Result<()> {
    let role = InvitedRole::CatalogSecondary;
    let request = SetRole {
        site: name.to_owned(),
        role,
        ..SetRole::default()
    };
    mesh[0].api(|client| async move { client.set_role(&request).await })?;
    for site in &mesh.sites {
        site.wait_status("the new role", |status| {
            let mut sites = status.sites.iter();
            sites.any(|site| site.name == name && site.role == "catalog-secondary")
        })?;
    }
    Ok(())
}

#[test]
fn a_lost_writer_is_replaced_and_what_it_wrote_last_is_kept_shown_and_made_again() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    can_be_promoted(&mesh, "site-b")?;
    let (code, text) = mesh[1].cli_code(&["site", "promote"])?;
    assert_eq!(code, 1, "not while the writer answers: {text}");
    assert!(text.contains("the catalog primary, answers"), "{text}");

    // What site-a writes last nobody else has seen when it is gone.
    for index in [1, 2] {
        mesh[index].kill9()?;
    }
    let request = SetRole {
        site: "site-c".to_owned(),
        role: InvitedRole::CatalogSecondary,
        ..SetRole::default()
    };
    mesh[0].api(|client| async move { client.set_role(&request).await })?;
    mesh[0].add_zone("late.example", false)?;
    mesh[0].kill9()?;
    for index in [1, 2] {
        mesh[index].up()?;
        mesh[index].wait_running()?;
    }
    wait::within(TOLD, "the loss of the writer to be told of", || {
        for index in [1, 2] {
            mesh[index].wait_status("that site-a is gone, and what to do", |status| {
                status.checks.iter().any(|check| {
                    let hint = check.hint.as_deref().unwrap_or_default();
                    check.name == "site-unreachable"
                        && check.subject.as_deref() == Some("site-a")
                        && (check.message.contains("site promote") || hint.contains("site promote"))
                })
            })?;
        }
        Ok(())
    })?;
    // Asked now, it does not answer: nothing has to be waited for.
    let text = mesh[1].cli_ok(&["site", "promote", "--dry-run"])?;
    assert!(!text.contains("against it"), "{text}");
    assert!(
        text.contains("nothing was changed") && text.contains("not known here"),
        "{text}"
    );
    assert_eq!(
        writer(&mesh[1])?.as_deref(),
        Some("site-a"),
        "a look changes nothing"
    );
    let (code, text) = mesh[2].cli_code(&["site", "promote"])?;
    assert_eq!(
        code, 1,
        "site-c has no such role as far as it knows: {text}"
    );
    mesh[1].cli_ok(&["site", "promote"])?;
    wait_writer(&mesh.sites, "site-b")?;

    // The mesh lives: a new site joins at the new writer, and zones are served.
    let packet = mesh[1].cli_ok(&["invite", "site-d"])?;
    let mut newcomer = Site::new("site-d", "standard", None)?;
    newcomer.join(&packet)?;
    newcomer.wait_ready()?;
    mesh.sites.push(newcomer);
    for site in mesh.sites.iter().filter(|site| site.runs()) {
        site.wait_address("www.d.example", "192.0.2.1")?;
    }

    // The old one comes back, yields, and tells.
    mesh[0].up()?;
    mesh[0].wait_running()?;
    wait_writer(&mesh.sites, "site-b")?;
    wait_yielded(&mesh[0])?;
    let kept = yielded(&mesh[0])?;
    let role = |kept: &Yielded| {
        let about = "_site.site-c.dns.internal.";
        kept.changes
            .iter()
            .find(|change| change.name == about)
            .map(|change| change.state)
    };
    let kept = kept.into_iter().next().context("what was set aside")?;
    assert_eq!(role(&kept), Some(YieldedState::Open), "{kept:?}");
    // Its own zone it lists itself.
    for site in &mesh.sites {
        site.wait_status("late.example", |status| {
            let mut zones = status.zones.iter();
            zones.any(|zone| zone.zone == "late.example." && zone.sites.len() == 4)
        })?;
    }
    assert_eq!(
        yielded(&mesh[0])?.first().and_then(role),
        Some(YieldedState::Open)
    );

    // An operator carries the rest to the new writer.
    carry(&mesh[0], &kept.id, &mesh[1])?;
    for site in &mesh.sites {
        site.wait_status("the role that site-a gave", |status| {
            let mut sites = status.sites.iter();
            sites.any(|site| site.name == "site-c" && site.role == "catalog-secondary")
        })?;
    }
    mesh.wait_healthy()?;
    assert_eq!(yielded(&mesh[0])?, []);
    Ok(())
}

#[test]
fn a_writer_hands_over_in_order_and_the_mesh_goes_on_without_it() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    can_be_promoted(&mesh, "site-b")?;
    let text = wait::until(SOON, "site-b has the newest version", || {
        let (code, text) = mesh[0].cli_code(&["site", "promote", "site-b", "--wait"])?;
        match code {
            0 => Ok(Some(text)),
            _ => bail!("{text}"),
        }
    })?;
    assert!(
        text.contains("site-b writes directory and catalog"),
        "{text}"
    );
    wait_writer(&mesh.sites, "site-b")?;
    mesh.wait_healthy()?;
    for site in &mesh.sites {
        assert_eq!(yielded(site)?, [], "{}", site.name);
    }
    // Without the old one: it is removed, and another site gets what it had.
    mesh[0].kill9()?;
    mesh[1].cli_ok(&["site", "remove", "site-a", "--zones", "adopt:site-c"])?;
    mesh.sites.remove(0);
    mesh.wait_address("www.a.example", "192.0.2.1")?;
    mesh.wait_healthy()
}
