//! A file system that is really full.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;

use support::{at, held, zone};
use zonemesh_store::{Batch, CommitError, Origin, Store};
use zonemesh_testkit::skip::skip;

/// Says to this test program where the small file system is.
const SMALL: &str = "ZONEMESH_STORE_TEST_SMALL";

/// Runs in a mount namespace of its own: not a test by itself, it does nothing unless the test below has started it.
#[test]
fn process_on_a_small_disk() {
    let Some(dir) = std::env::var_os(SMALL) else {
        return;
    };
    let dir = Path::new(&dir);
    let store = Store::open(&dir.join("data"), "site-a").unwrap();
    let small = zone(1, 1, &[(1, 1)]);
    store
        .commit(Batch::new(at(1)).replace(&small, Origin::Local))
        .unwrap();
    let block = vec![7u8; 64 * 1024];
    let mut blocks = 0;
    let error = loop {
        let batch = Batch::new(at(1)).put("ballast", &blocks.to_string(), &block);
        match store.commit(batch) {
            Ok(()) => blocks += 1,
            Err(error) => break error,
        }
        assert!(blocks < 1000, "the file system is not small");
    };
    assert!(matches!(error, CommitError::Full(_)), "{error:?}");
    for _ in 0..3 {
        let batch = Batch::new(at(1)).put("ballast", "more", &vec![1; 512 * 1024]);
        assert!(matches!(store.commit(batch), Err(CommitError::Full(_))));
        assert!(held(&store, 1).same_contents(&small));
        assert_eq!(store.list("ballast").unwrap().len(), blocks);
    }
    let grown = Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(grown.success());
    let larger = zone(1, 2, &[(1, 1), (2, 2)]);
    store
        .commit(Batch::new(at(1)).replace(&larger, Origin::Local))
        .unwrap();
    drop(store);
    let store = Store::open(&dir.join("data"), "site-a").unwrap();
    assert!(held(&store, 1).same_contents(&larger));
    assert_eq!(store.list("ballast").unwrap().len(), blocks);
}

#[test]
fn a_full_file_system_refuses_changes_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    let mount = r#"mount -t tmpfs -o size=6m tmpfs "$0""#;
    let possible = unshared()
        .args(["sh", "-c", mount])
        .arg(dir.path())
        .output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skip("a small file system cannot be mounted in a namespace of its own");
    }
    let run = format!(r#"{mount} && exec "$1" process_on_a_small_disk --exact --nocapture"#);
    let output = unshared()
        .args(["sh", "-c", &run])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env(SMALL, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}\n{errors}");
}
