//! Sixteen successive versions of the real root zone, imported one after the other, replicated, and compared.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Place, peers_or_skip, skip, wait};

use crate::common::*;

/// A version of 19,000 records is read, stored, sent and checked within this, also by a build without optimisation.
const PATIENCE: Duration = Duration::from_secs(60);

fn versions() -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/root");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "xz"))
        .collect();
    files.sort();
    (files.len() == 16).then_some(files)
}

/// A version as text, and its serial.
fn unpack(path: &Path) -> Result<(String, u32)> {
    let output = Command::new("xz")
        .arg("-dc")
        .arg(path)
        .output()
        .context("cannot run xz")?;
    ensure!(
        output.status.success(),
        "{} cannot be unpacked",
        path.display()
    );
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let serial = name.split('.').next().unwrap_or_default().parse()?;
    let text = String::from_utf8(output.stdout)?;
    // As a transfer has it, the SOA record stands at the end again.
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.last() == lines.first() {
        lines.pop();
    }
    Ok((lines.join("\n") + "\n", serial))
}

#[test]
fn sixteen_versions_of_the_root_zone_go_through_us_and_knot_by_ixfr_and_come_out_as_they_went_in()
-> Result<()> {
    let peers = peers_or_skip!();
    let Some(versions) = versions() else {
        return skip::skip(
            "the versions of the root zone are not beside the repository, in shared/data/root",
        );
    };
    let (second, third) = (Place::new("secondary")?, Place::new("knot")?);
    let (first, serial) = unpack(&versions[0])?;
    let us = Site::start(|place| {
        place.write("root", &first);
        format!(
            "{}[[peer]]\nname = \"second\"\naddress = \"{}\"\n[[peer]]\nname = \"knot\"\naddress = \"{}\"\n\
             [[zone]]\nname = \".\"\nfile = \"root\"\nnotify = [\"second\", \"knot\"]\nallow-transfer = [\"127.0.0.0/8\"]\n",
            site(place),
            second.dns(),
            third.dns()
        )
    })?;
    wait::serial(PATIENCE, us.dns(), ".", serial)?;
    let secondary = Site::start_at(second, |place| {
        format!(
            "{}[[peer]]\nname = \"first\"\naddress = \"{}\"\n[[zone]]\nname = \".\"\nprimaries = [\"first\"]\n\
             allow-notify = [\"127.0.0.1\"]\n",
            site(place),
            us.dns()
        )
    })?;
    let knot = Knot::start_at(&peers, third, |place| {
        format!(
            "{}{}  - id: anybody\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n\
             remote:\n  - id: primary\n    address: {}@{}\nzone:\n  - domain: .\n    master: primary\n    acl: anybody\n    \
             zonefile-sync: -1\n    zonefile-load: none\n    journal-content: all\n",
            place.knot(),
            knot_access(place, SECRET),
            us.place().address(),
            us.place().port()
        )
    })?;
    for at in [secondary.dns(), knot.dns()] {
        wait::serial(PATIENCE, at, ".", serial)?;
    }
    let mut last = first;
    for path in &versions[1..] {
        let (text, serial) = unpack(path)?;
        let file = us.place().write("next", &text);
        us.cli_ok(&["zone", "import", ".", &file])?;
        for at in [us.dns(), secondary.dns(), knot.dns()] {
            wait::serial(PATIENCE, at, ".", serial)?;
        }
        last = text;
    }
    let went_in = zone_of(".", &last)?;
    for site in [&us, &secondary] {
        let came_out = zone_of(".", &site.cli_ok(&["zone", "export", "."])?)?;
        ensure!(
            came_out.same_contents(&went_in),
            "the last version is another one"
        );
    }
    ensure!(transferred(&Dig::new(&peers).at(knot.dns()), ".")?.same_contents(&went_in));
    // Every version is still there, as it went in.
    for path in &versions {
        let (text, serial) = unpack(path)?;
        let words = ["zone", "export", ".", "--serial", &serial.to_string()];
        let came_out = zone_of(".", &secondary.cli_ok(&words)?)?;
        ensure!(
            came_out.same_contents(&zone_of(".", &text)?),
            "serial {serial} has changed"
        );
    }
    let taken = transfers(&secondary, "in");
    let incremental = taken
        .iter()
        .filter(|line| line.contains("\"IXFR\""))
        .count();
    ensure!(incremental == 15, "{incremental} of 15 by IXFR: {taken:#?}");
    let log = knot.log();
    ensure!(
        log.matches("IXFR, incoming").count() >= 15 && !log.contains("fallback"),
        "{log}"
    );
    Ok(())
}
