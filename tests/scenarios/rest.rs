//! A mesh at rest does nothing: what is read back and compared is found equal, each time.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::query::{self, qtype};
use zonemesh_tests::{Mesh, Site};

/// A counter of a site, summed over its labels.
fn counter(site: &Site, name: &str) -> Result<u64> {
    let text = site.api(async |client| client.metrics().await)?;
    let mut values = text
        .lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .peekable();
    values
        .peek()
        .with_context(|| format!("no {name}:\n{text}"))?;
    Ok(values.sum())
}

/// What a site at rest has done: transactions of its store, and serials of its zones.
fn done(site: &Site) -> Result<(u64, BTreeMap<String, Option<u32>>)> {
    let zones = site.status()?.zones;
    let serials = zones
        .into_iter()
        .map(|zone| (zone.zone, zone.serial))
        .collect();
    Ok((counter(site, "zonemesh_store_transactions_total")?, serials))
}

#[test]
fn a_hundred_times_the_same_configuration_writes_nothing_and_closes_no_connection() -> Result<()> {
    let mesh = Mesh::start(3)?;
    // A client with an open connection, which it keeps all the time.
    let mut stream = query::connect(mesh[0].dns(), query::TIMEOUT)?;
    let mut ask = || -> Result<u8> {
        query::send_framed(&mut stream, &query::question("www.a.example", qtype::A))?;
        Ok(query::rcode(&query::receive_framed(&mut stream)?))
    };
    assert_eq!(ask()?, 0);
    // What was still to be said after the last join has been said when two looks are the same.
    let before = zonemesh_testkit::wait::until(zonemesh_tests::site::SOON, "rest", || {
        let look = || mesh.sites.iter().map(done).collect::<Result<Vec<_>>>();
        let first = look()?;
        for site in &mesh.sites {
            site.cli_ok(&["config", "reload"])?;
        }
        let second = look()?;
        Ok((first == second).then_some(second))
    })?;
    let lost = |site: &Site| site.log().matches("lost").count();
    let losses: Vec<usize> = mesh.sites.iter().map(lost).collect();
    for _ in 0..100 {
        for site in &mesh.sites {
            // Each is a full pass: the configuration is read, compared, planned, and the plan is empty.
            site.api(async |client| client.reload().await)?;
        }
        assert_eq!(ask()?, 0, "the connection is still the same one");
    }
    for (site, before) in mesh.sites.iter().zip(before) {
        let now = done(site)?;
        ensure!(now == before, "{}: {now:?} after {before:?}", site.name);
        let plan = site.api(async |client| client.plan().await)?;
        ensure!(plan.held.is_empty(), "{plan:?}");
    }
    assert_eq!(mesh.sites.iter().map(lost).collect::<Vec<_>>(), losses);
    mesh.wait_healthy()
}
