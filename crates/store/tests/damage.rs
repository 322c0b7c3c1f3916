//! A damaged file: an error or the right data, never wrong data and never a panic.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::{advance, apex, at, create, held, zone};
use zonemesh_store::{Batch, CommitError, Damaged, OpenError, Origin, ReadError, Salvage, Store};
use zonemesh_zone::Zone;

const ZONES: u8 = 4;

/// All versions that were ever committed, by zone.
type Versions = BTreeMap<u8, Vec<Zone>>;

/// Makes a store; returns its two files as well, as a crash would leave them.
fn fill(dir: &Path) -> (Versions, [Vec<u8>; 2]) {
    let store = Store::open(dir, "site-a").unwrap();
    let records: Vec<_> = (0..60u8).map(|n| (n, n)).collect();
    let mut versions = Versions::new();
    for n in 0..ZONES {
        let mut current = zone(n, 1, &records);
        create(&store, &current);
        let all = versions.entry(n).or_default();
        all.push(current.clone());
        for serial in 2..6 {
            current = advance(&store, &current, serial, 2);
            all.push(current.clone());
        }
        let batch = Batch::new(at(1)).put("tokens", &n.to_string(), &[n; 100]);
        store.commit(batch).unwrap();
    }
    (versions, files(dir))
}

fn files(dir: &Path) -> [Vec<u8>; 2] {
    ["store.redb", "lock"].map(|name| fs::read(dir.join(name)).unwrap())
}

/// Reads everything; returns how many errors that gave.
fn read_all(store: &Store, versions: &Versions) -> usize {
    let mut errors = 0;
    let Ok(names) = store.zones() else {
        return 1;
    };
    assert_eq!(names.len(), versions.len(), "a zone has disappeared");
    for (n, versions) in versions {
        match store.load(&apex(*n)) {
            Ok(Some(stored)) => {
                let serial = stored.zone.serial();
                let version = versions.iter().find(|version| version.serial() == serial);
                assert!(
                    stored
                        .zone
                        .same_contents(version.expect("a committed serial"))
                );
                assert_eq!(serial, versions.last().unwrap().serial(), "an old version");
            }
            Ok(None) => panic!("zone {n} has disappeared"),
            Err(ReadError::Corrupt { zone, .. }) => {
                assert_eq!(zone, apex(*n));
                errors += 1;
            }
            Err(_) => errors += 1,
        }
        match store.history(&apex(*n)) {
            Ok(history) => assert_eq!(history.len(), versions.len() - 1),
            Err(_) => errors += 1,
        }
        match store.get("tokens", &n.to_string()) {
            Ok(value) => assert_eq!(value, Some(vec![*n; 100])),
            Err(_) => errors += 1,
        }
    }
    errors
}

/// A sequence that looks random and is the same each time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn flipped_bits_are_found_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let (versions, _) = fill(dir.path());
    let salvaged = flip(files(dir.path()), &versions);
    assert!(salvaged > 20, "{salvaged}");
}

#[test]
fn flipped_bits_in_a_store_that_was_not_closed_are_found_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let (versions, good) = fill(dir.path());
    // The database itself can make nothing of most of them, and then nor can anybody else.
    flip(good, &versions);
}

fn flip([good, lock]: [Vec<u8>; 2], versions: &Versions) -> usize {
    // Most of the file is empty; what is not is where it can hurt.
    let used: Vec<usize> = (0..good.len()).filter(|&at| good[at] != 0).collect();
    let (mut seed, mut refused, mut fine, mut salvaged) = (0x5EED_u64, 0, 0, 0);
    for _ in 0..300 {
        let bad_dir = tempfile::tempdir().unwrap();
        let mut bad = good.clone();
        let at = used[random(&mut seed) as usize % used.len()];
        bad[at] ^= 1 << (random(&mut seed) % 8);
        fs::write(bad_dir.path().join("store.redb"), &bad).unwrap();
        fs::write(bad_dir.path().join("lock"), &lock).unwrap();
        match Store::open(bad_dir.path(), "site-a") {
            Err(OpenError::Corrupt { .. }) => {
                refused += 1;
                salvaged += usize::from(salvage(bad_dir.path(), &bad, versions));
            }
            Err(error) => {
                assert!(matches!(error, OpenError::Lost { .. }), "{error}");
                refused += 1;
            }
            Ok(store) => {
                if read_all(&store, versions) == 0 {
                    fine += 1;
                }
            }
        }
    }
    println!(
        "{refused} refused when opened, {salvaged} of them with something to go on with, {fine} without consequence"
    );
    assert!(refused > 0);
    salvaged
}

/// Makes a sound store of a damaged one, in which nothing is wrong and nothing is missing but what was named; returns whether there
/// is any zone in it.
fn salvage(dir: &Path, bad: &[u8], versions: &Versions) -> bool {
    let salvage = Salvage::read(dir, "site-a").unwrap();
    let whole: Vec<_> = salvage.whole().cloned().collect();
    let lost: Vec<_> = salvage
        .lost()
        .iter()
        .map(|(zone, _)| zone.clone())
        .collect();
    let complete = salvage.is_complete();
    let aside = salvage.set_in_place().unwrap();
    assert_eq!(
        fs::read(&aside).unwrap(),
        bad,
        "the damaged file is altered"
    );
    let [noted] = Damaged::all(dir).unwrap().try_into().unwrap();
    assert_eq!(noted.path, aside);
    let words = noted.lost.unwrap();
    assert_eq!(words.contains("nothing that counts"), complete, "{words}");
    for zone in &lost {
        assert!(words.contains(&zone.to_string()), "{words}");
    }
    let store = Store::open(dir, "site-a").unwrap();
    assert_eq!(store.zones().unwrap(), whole);
    for (n, versions) in versions {
        let last = versions.last().unwrap();
        match store.load(&apex(*n)).unwrap() {
            Some(stored) => {
                assert!(stored.zone.same_contents(last));
                assert!(whole.contains(&apex(*n)) && !lost.contains(&apex(*n)));
                let history = store.history(&apex(*n)).unwrap();
                assert!(history.is_empty() || history.len() == versions.len() - 1);
                assert_eq!(stored.high_water, last.serial());
            }
            None => assert!(!complete, "zone {n} is missing, and nothing says so"),
        }
        match store.get("tokens", &n.to_string()).unwrap() {
            Some(value) => assert_eq!(value, [*n; 100]),
            None => assert!(!complete, "a value is missing, and nothing says so"),
        }
    }
    drop(store);
    // It stays sound.
    Store::open(dir, "site-a").unwrap();
    !whole.is_empty()
}

#[test]
fn a_truncated_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (versions, _) = fill(dir.path());
    let good = fs::read(dir.path().join("store.redb")).unwrap();
    for eighth in 0..8 {
        let bad_dir = tempfile::tempdir().unwrap();
        let len = good.len() * eighth / 8 + 1;
        fs::write(bad_dir.path().join("store.redb"), &good[..len]).unwrap();
        match Store::open(bad_dir.path(), "site-a") {
            Ok(store) => assert_eq!(read_all(&store, &versions), 0, "cut to {eighth} eighths"),
            Err(_) => {
                salvage(bad_dir.path(), &good[..len], &versions);
            }
        }
    }
}

#[test]
fn damage_while_it_is_open_is_found_when_it_is_read_and_healed_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let (versions, _) = fill(dir.path());
    let path = dir.path().join("store.redb");
    let store = Store::open(dir.path(), "site-a").unwrap();
    // Alters an owner name in the snapshot of every zone.
    let mut file = fs::read(&path).unwrap();
    let places: Vec<_> = (0..file.len() - 3)
        .filter(|&at| &file[at..at + 4] == b"\x03n33")
        .collect();
    assert!(places.len() >= ZONES.into());
    for at in places {
        file[at + 3] ^= 1;
    }
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut open| std::io::Write::write_all(&mut open, &file))
        .unwrap();
    let error = match store.load(&apex(2)) {
        Err(error @ ReadError::Corrupt { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(
        error.starts_with("the stored data of zone z2.Example is damaged"),
        "{error}"
    );
    let current = versions[&2].last().unwrap();
    let heal = |origin| store.commit(Batch::new(at(9)).replace(current, origin));
    assert!(matches!(
        heal(Origin::Transfer { from: "b".into() }),
        Err(CommitError::NotNewer { .. })
    ));
    heal(Origin::Forced { from: "b".into() }).unwrap();
    assert!(held(&store, 2).same_contents(current));
}

#[test]
fn a_store_that_lost_what_was_acknowledged_is_refused_until_that_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (versions, _) = fill(dir.path());
    let [old, _] = files(dir.path());
    let store = Store::open(dir.path(), "site-a").unwrap();
    let last = versions[&1].last().unwrap();
    advance(&store, last, 6, 3);
    drop(store);
    fs::write(dir.path().join("store.redb"), old).unwrap();
    for _ in 0..3 {
        let error = Store::open(dir.path(), "site-a").err().unwrap();
        assert!(
            matches!(error, OpenError::Lost { missing: 2, .. }),
            "{error:?}"
        );
    }
    fs::remove_file(dir.path().join("lock")).unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    assert_eq!(read_all(&store, &versions), 0);
    drop(store);
    Store::open(dir.path(), "site-a").unwrap();
    // Nor is an empty store taken in its place.
    for empty in [None, Some(b"")] {
        fs::remove_file(dir.path().join("store.redb")).unwrap();
        if let Some(octets) = empty {
            fs::write(dir.path().join("store.redb"), octets).unwrap();
        }
        let error = Store::open(dir.path(), "site-a").err().unwrap();
        assert!(matches!(error, OpenError::Lost { .. }), "{error:?}");
    }
    fs::remove_file(dir.path().join("store.redb")).unwrap();
    fs::remove_file(dir.path().join("lock")).unwrap();
    drop(Store::open(dir.path(), "site-a").unwrap());
    Store::open(dir.path(), "site-a").unwrap();
}
