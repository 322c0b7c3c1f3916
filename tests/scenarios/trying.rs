//! What the README has people try first. Needs root: the addresses and ports are those of the README.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use zonemesh_api::Client;
use zonemesh_api::types::Verdict;
use zonemesh_testkit::daemon::Daemon;
use zonemesh_testkit::netns::Net;
use zonemesh_testkit::site::binary;
use zonemesh_testkit::{Place, namespaces_or_skip, wait};
use zonemesh_tests::ask;
use zonemesh_tests::site::SOON;

#[test]
fn the_first_command_of_the_readme_makes_a_mesh_of_three_and_starts_it_again() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(1)?;
    let host = &net.hosts()[0];
    let place = host.enter(|| Place::at("trying", host.address()))??;
    let mut command = Command::new(binary()?);
    command
        .args(["up", "--sites", "3"])
        .current_dir(place.dir());
    let log = PathBuf::from(place.path("log"));
    let mut sites = host.enter(|| Daemon::start("three sites", command, log))??;
    let client = || Client::new(place.path("zonemesh-data/site-a/control.sock"));
    for round in 1..=2 {
        if round == 2 {
            ensure!(sites.stop()?.success(), "{}", sites.log());
            host.enter(|| sites.spawn())??;
        }
        sites.wait_ready(SOON, || {
            let status = ask::runtime()?.block_on(client().status())?;
            let zones = status.zones.iter().filter(|zone| zone.sites.len() == 3);
            let (sites, zones) = (status.sites.len(), zones.count());
            ensure!(
                status.verdict == Verdict::Healthy && sites == 3 && zones == 6,
                "{:?}, {sites} sites, {zones} zones at all of them: {:?}",
                status.verdict,
                status.checks
            );
            Ok(true)
        })?;
        let words = ["record", "set", "corp.example", "new-host", "A"];
        let address = format!("10.0.0.{}", 98 + round);
        let output = Command::new(binary()?)
            .args(words)
            .args([address.as_str(), "--wait"])
            .current_dir(place.dir())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{text}");
        let third = "127.0.0.3:5300".parse().context("an address")?;
        wait::until(SOON, "the answer of the third site", || {
            let (_, found) = host.enter(|| ask::address(third, "new-host.corp.example"))??;
            ensure!(
                found.map(|found| found.to_string()).as_ref() == Some(&address),
                "{found:?}"
            );
            Ok(Some(()))
        })?;
    }
    ensure!(sites.stop()?.success(), "{}", sites.log());
    Ok(())
}
