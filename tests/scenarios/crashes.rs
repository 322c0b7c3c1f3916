//! `kill -9` at any instant loses nothing that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::wait;
use zonemesh_tests::site::SOON;
use zonemesh_tests::{Mesh, Site};

/// The zones of the directory and the members of the catalog, both of one moment.
fn listed(site: &Site) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let export = || site.cli_ok(&["zone", "export", "dns.internal"]);
    let mut before = export()?;
    wait::until(SOON, "a moment without changes", || {
        let catalog = members_of_catalog(site)?;
        // Its serial is part of it.
        let after = export()?;
        if after == before {
            return Ok(Some((zones_of_directory(&after), catalog)));
        }
        before = after;
        Ok(None)
    })
}

fn zones_of_directory(text: &str) -> BTreeSet<String> {
    let owners = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    owners
        .filter_map(|owner| Some(owner.split_once("._zones")?.0.to_owned()))
        .collect()
}

fn members_of_catalog(site: &Site) -> Result<BTreeSet<String>> {
    let text = site.cli_ok(&["zone", "export", "catalog.dns.internal"])?;
    let member = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "PTR")?;
        Some(words.get(at + 1)?.trim_end_matches('.').to_owned())
    };
    Ok(text.lines().filter_map(member).collect())
}

/// What a worker has noted so far.
pub(crate) fn lock<T>(noted: &Mutex<T>) -> MutexGuard<'_, T> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a site was told about its zones: whether each must be there, must not, or may.
type Account = Mutex<BTreeMap<String, Option<bool>>>;

fn add_and_remove(site: &Site, stop: &AtomicBool, account: &Account, acknowledged: &Mutex<usize>) {
    let note = |zone: &str, state| {
        lock(account).insert(zone.to_owned(), state);
    };
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let zone = format!("z{number}.example");
        note(&zone, None);
        if site.add_zone(&zone, false).is_err() {
            continue;
        }
        note(&zone, Some(true));
        *lock(acknowledged) += 1;
        if number % 3 == 0 {
            note(&zone, None);
            if site.cli_ok(&["zone", "remove", &zone]).is_ok() {
                note(&zone, Some(false));
            }
        }
    }
}

#[test]
fn directory_and_catalog_agree_after_every_kill_and_have_every_acknowledged_zone() -> Result<()> {
    let mut mesh = Mesh::start(2)?;
    let (stop, account, acknowledged) = (AtomicBool::new(false), Account::default(), Mutex::new(0));
    let (first, second) = mesh.sites.split_at_mut(1);
    let primary = &mut first[0];
    thread::scope(|scope| -> Result<()> {
        let worker = scope.spawn(|| add_and_remove(&second[0], &stop, &account, &acknowledged));
        let outcome = (|| -> Result<()> {
            for round in 1..=4 {
                let before = *lock(&acknowledged);
                wait::until(SOON, "more zones", || {
                    Ok((*lock(&acknowledged) >= before + 4).then_some(()))
                })?;
                let sure: Vec<(String, Option<bool>)> =
                    lock(&account).clone().into_iter().collect();
                primary.kill9()?;
                primary.restart()?;
                let (directory, catalog) = listed(primary)?;
                // No assertions here: the worker would not be told to stop.
                ensure!(
                    directory == catalog,
                    "after kill {round}: {directory:?} but {catalog:?}"
                );
                for (zone, state) in sure.iter().filter(|(_, state)| *state == Some(true)) {
                    // A removal may have been asked for since.
                    let now = lock(&account).get(zone).copied().flatten();
                    if now == *state {
                        ensure!(
                            directory.contains(zone),
                            "{zone} was acknowledged and is gone"
                        );
                    }
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        worker.join().expect("the worker does not panic");
        outcome
    })?;
    let (directory, catalog) = listed(&mesh[0])?;
    assert_eq!(directory, catalog);
    for (zone, state) in account.into_inner().unwrap() {
        if let Some(there) = state {
            assert_eq!(directory.contains(&zone), there, "{zone}");
        }
    }
    mesh.wait_healthy()
}

#[test]
fn every_acknowledged_change_of_a_record_survives_kill_9_of_its_primary() -> Result<()> {
    let mut mesh = Mesh::start(3)?;
    for round in 0..4u8 {
        let stop = AtomicBool::new(false);
        let last = Mutex::new((0u8, 0u32));
        let (first, rest) = mesh.sites.split_at_mut(1);
        let victim = &mut first[0];
        let (client, zone) = (victim.client(), victim.zone());
        thread::scope(|scope| -> Result<()> {
            let worker = scope.spawn(|| change_until_it_fails(client, &zone, round, &stop, &last));
            let enough = wait::until(SOON, "changes", || Ok((lock(&last).0 >= 10).then_some(())));
            let killed = enough.and_then(|()| victim.kill9());
            stop.store(true, Ordering::Relaxed);
            worker.join().expect("the worker does not panic");
            killed
        })?;
        let (number, serial) = *lock(&last);
        victim.restart()?;
        let name = format!("n{number}.r{round}.{zone}");
        let address = format!("198.51.{round}.{number}");
        victim.wait_address(&name, &address)?;
        let seen = victim.serial(&zone)?.context("it serves its zone")?;
        assert!(
            seen >= serial,
            "serial {seen} after {serial} was acknowledged"
        );
        for site in rest {
            site.wait_address(&name, &address)?;
        }
        // What came before the last is there as well.
        for earlier in 1..number {
            let found = victim.address(&format!("n{earlier}.r{round}.{zone}"))?;
            assert!(
                found.1.is_some(),
                "change {earlier} of round {round} is lost"
            );
        }
    }
    mesh.wait_healthy()
}

fn change_until_it_fails(
    client: zonemesh_api::Client,
    zone: &str,
    round: u8,
    stop: &AtomicBool,
    last: &Mutex<(u8, u32)>,
) {
    use zonemesh_api::types::{ChangeRecords, RecordChange, Wait};
    let runtime = zonemesh_tests::ask::runtime().expect("there is room for a runtime");
    for number in 1..=250u8 {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let change = ChangeRecords {
            zone: zone.to_owned(),
            changes: vec![RecordChange::Set {
                name: format!("n{number}.r{round}"),
                rtype: "A".to_owned(),
                ttl: Some(60),
                data: vec![format!("198.51.{round}.{number}")],
            }],
            dry_run: false,
            wait: Wait::default(),
        };
        match runtime.block_on(client.change_records(&change)) {
            Ok(changed) => *lock(last) = (number, changed.serial.unwrap_or(0)),
            Err(_) => return,
        }
    }
}

/// How many names one change sets to the same address.
const TOGETHER: usize = 8;

/// What the names that are changed together have in the version that a site serves; an error when they differ.
fn whole_change(site: &Site) -> Result<Option<String>> {
    let text = site.cli_ok(&["zone", "export", "a.example"])?;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("together")) {
        found.extend(line.split_whitespace().last().map(str::to_owned));
    }
    let first = found.first().cloned();
    let same = found.iter().all(|address| Some(address) == first.as_ref());
    ensure!(
        found.is_empty() || same && found.len() == TOGETHER,
        "half a change at {}: {found:?}",
        site.name
    );
    Ok(first)
}

#[test]
fn a_change_of_several_names_is_whole_at_primary_and_secondary_through_every_kill() -> Result<()> {
    use zonemesh_api::types::{ChangeRecords, RecordChange, Wait};
    let mut mesh = Mesh::start(2)?;
    let (stop, made, seen) = (AtomicBool::new(false), Mutex::new(0u32), Mutex::new(0u32));
    let (first, second) = mesh.sites.split_at_mut(1);
    let (primary, secondary) = (&mut first[0], &second[0]);
    let client = primary.client();
    let write = || {
        let runtime = zonemesh_tests::ask::runtime().expect("there is room for a runtime");
        let mut number = 0u32;
        while !stop.load(Ordering::Relaxed) {
            let data = format!("198.51.{}.{}", number / 250, number % 250 + 1);
            let set = |name: usize| RecordChange::Set {
                name: format!("together{name}"),
                rtype: "A".to_owned(),
                ttl: Some(60),
                data: vec![data.clone()],
            };
            let change = ChangeRecords {
                zone: "a.example".to_owned(),
                changes: (0..TOGETHER).map(set).collect(),
                dry_run: false,
                wait: Wait::default(),
            };
            match runtime.block_on(client.change_records(&change)) {
                Ok(_) => {
                    number += 1;
                    *lock(&made) += 1;
                }
                // While the primary is down there is nobody who takes it.
                Err(_) => thread::park_timeout(Duration::from_millis(20)),
            }
        }
    };
    let read = || -> Result<()> {
        let mut last = None;
        while !stop.load(Ordering::Relaxed) {
            let now = whole_change(secondary)?;
            if now != last {
                *lock(&seen) += 1;
                last = now;
            }
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let (writer, reader) = (scope.spawn(write), scope.spawn(read));
        let outcome = (|| -> Result<()> {
            for round in 1..=3 {
                let (made_before, seen_before) = (*lock(&made), *lock(&seen));
                wait::until(SOON, "more changes", || {
                    let enough = *lock(&made) >= made_before + 5 && *lock(&seen) > seen_before;
                    Ok((enough || reader.is_finished()).then_some(()))
                })?;
                primary.kill9()?;
                primary.restart()?;
                let there = whole_change(primary)?;
                ensure!(there.is_some(), "nothing is left after kill {round}");
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic");
        let read = reader.join().expect("the reader does not panic");
        outcome.and(read)
    })?;
    mesh.wait_healthy()
}
