//! Data directories that are refused, and who may read what is in them; how commits are grouped.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Barrier;

use support::{apex, at, create, held, next, zone};
use zonemesh_store::{Batch, OpenError, Origin, Store};
use zonemesh_zone::Serial;

#[test]
fn a_directory_in_use_is_refused_and_the_process_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    let error = Store::open(dir.path(), "site-a").err().unwrap();
    assert!(
        matches!(&error, OpenError::Locked { pid: Some(pid), .. } if *pid == std::process::id())
    );
    let text = error.to_string();
    assert!(
        text.contains(&format!("in use by process {}", std::process::id())),
        "{text}"
    );
    // Clones are the same store; the last one releases it.
    let clone = store.clone();
    drop(store);
    assert!(Store::open(dir.path(), "site-a").is_err());
    drop(clone);
    Store::open(dir.path(), "site-a").unwrap();
}

#[test]
fn a_directory_of_another_site_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), "site-a").unwrap());
    let error = Store::open(dir.path(), "site-b").err().unwrap();
    assert!(matches!(&error, OpenError::OtherSite { .. }));
    assert!(
        error
            .to_string()
            .contains("belongs to site `site-a`, not to `site-b`"),
        "{error}"
    );
    Store::open(dir.path(), "site-a").unwrap();
}

#[test]
fn a_file_that_is_not_a_store_is_refused_and_not_touched() {
    for content in [
        "not a database, but long enough to be looked at".repeat(500),
        "x".into(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        fs::write(&path, &content).unwrap();
        let error = Store::open(dir.path(), "site-a").err().unwrap();
        assert!(matches!(&error, OpenError::Corrupt { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/data"), "site-a")
        .err()
        .unwrap();
    assert!(matches!(&error, OpenError::Io { .. }));
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn only_the_owner_may_read_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    let _store = Store::open(&data, "site-a").unwrap();
    let mode = |path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(data.clone()), 0o700);
    assert_eq!(mode(data.join("store.redb")), 0o600);
    assert_eq!(mode(data.join("lock")), 0o600);
}

#[test]
fn commits_of_many_threads_share_flushes() {
    const THREADS: u8 = 8;
    const EACH: u32 = 40;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    for n in 0..THREADS {
        create(&store, &zone(n, 0, &[]));
    }
    let before = store.transactions();
    let start = Barrier::new(THREADS.into());
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (store, start) = (store.clone(), &start);
            scope.spawn(move || {
                let mut current = zone(n, 0, &[]);
                start.wait();
                for serial in 1..=EACH {
                    let new = next(&current, serial);
                    let diff = current.diff(&new);
                    let batch = Batch::new(at(1)).append(&new, &diff, Origin::Local);
                    store.commit(batch.clone()).unwrap();
                    // The same again does not fit any more, and harms none of those that it is grouped with.
                    store.commit(batch).unwrap_err();
                    current = new;
                }
            });
        }
    });
    let transactions = store.transactions() - before;
    let commits = 2 * u64::from(EACH) * u64::from(THREADS);
    assert!(
        transactions < commits,
        "{transactions} flushes for {commits} commits"
    );
    drop(store);
    let store = Store::open(dir.path(), "site-a").unwrap();
    for n in 0..THREADS {
        assert_eq!(held(&store, n).serial(), Serial(EACH));
        assert_eq!(store.history(&apex(n)).unwrap().len(), EACH as usize);
    }
}
