//! Skipping a test aloud.
//!
//! The test harness knows no such thing as a skipped test, and hides what a passing test prints. So the line goes
//! to the process's standard error past the harness; `cargo xtask test` counts it. In CI a skip is a failure.

use std::io::Write;

/// What a test function returns when it ends early without having failed.
pub trait Outcome {
    /// The value of a test that did not fail.
    fn done() -> Self;
}

impl Outcome for () {
    fn done() -> Self {}
}

impl<E> Outcome for Result<(), E> {
    fn done() -> Self {
        Ok(())
    }
}

/// Says that the running test is skipped and why, and returns what the test is to return.
///
/// # Panics
///
/// With the environment variable `CI` set, where nothing may be skipped.
pub fn skip<T: Outcome>(reason: &str) -> T {
    if in_ci() {
        panic!("this test may not be skipped in CI: {reason}");
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Nowhere is left to report it, should standard error be closed.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
    T::done()
}

/// Says whether this runs in CI.
pub fn in_ci() -> bool {
    std::env::var_os("CI")
        .is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
}

/// Returns the [`Peers`](crate::peers::Peers), or skips the test when they are missing.
#[macro_export]
macro_rules! peers_or_skip {
    () => {
        match $crate::peers::Peers::find() {
            Ok(peers) => peers,
            Err(missing) => return $crate::skip::skip(&missing.to_string()),
        }
    };
}

/// Goes on when network namespaces can be made, or skips the test.
#[macro_export]
macro_rules! namespaces_or_skip {
    () => {
        if let Err(missing) = $crate::netns::available() {
            return $crate::skip::skip(&missing.to_string());
        }
    };
}

/// Goes on when disks can be made and mounted, or skips the test.
#[macro_export]
macro_rules! disks_or_skip {
    () => {
        if let Err(missing) = $crate::disk::available() {
            return $crate::skip::skip(&missing.to_string());
        }
    };
}

/// Goes on when processes can have wall clocks that are wrong, or skips the test.
#[macro_export]
macro_rules! wall_clocks_or_skip {
    () => {
        if let Err(missing) = $crate::wall_clock::available() {
            return $crate::skip::skip(&missing.to_string());
        }
    };
}
