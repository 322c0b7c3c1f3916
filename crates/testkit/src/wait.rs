//! Waiting for a condition, with a deadline.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::query;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Looks until there is something, and returns it.
///
/// An error does not end the waiting: a server that is starting refuses connections. It is shown if the time runs
/// out first.
///
/// # Errors
///
/// When `limit` has passed; the message tells what was last seen.
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "nothing yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() >= limit {
            bail!("waited {limit:?} for {what}; last seen: {seen}");
        }
        thread::sleep(POLL);
    }
}

/// Looks until a value is the expected one; the message of a failure shows the last value.
///
/// # Errors
///
/// When `limit` has passed.
pub fn until_eq<T: PartialEq + Debug>(
    limit: Duration,
    what: &str,
    expected: &T,
    mut look: impl FnMut() -> Result<T>,
) -> Result<()> {
    until(limit, what, || {
        let seen = look()?;
        if seen == *expected {
            return Ok(Some(()));
        }
        bail!("{seen:?} instead of {expected:?}")
    })
}

/// Waits until the server at `server` answers for `zone` with this serial.
///
/// # Errors
///
/// When `limit` has passed.
pub fn serial(limit: Duration, server: SocketAddr, zone: &str, serial: u32) -> Result<()> {
    let what = format!("serial {serial} of {zone} at {server}");
    until_eq(limit, &what, &Some(serial), || query::serial(server, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_last_seen_is_told_when_the_time_runs_out() {
        let error = until_eq(Duration::ZERO, "the answer", &42, || Ok(41)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "waited 0ns for the answer; last seen: 41 instead of 42"
        );
    }

    #[test]
    fn errors_on_the_way_do_not_end_the_waiting() {
        let mut looks = 0;
        let found = until(Duration::from_secs(5), "the third look", || {
            looks += 1;
            match looks {
                1 => bail!("not there"),
                2 => Ok(None),
                _ => Ok(Some(looks)),
            }
        });
        assert_eq!(found.unwrap(), 3);
    }
}
