//! Waiting for a condition, with a deadline.

use std::cell::Cell;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::query;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(10);

thread_local! {
    /// When all that this thread waits for has to be over; set by [`within`].
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does something that has to be over in `bound`, however many things are waited for in it: what a mesh promises is counted from
/// when the fault began, not from when somebody looked.
///
/// # Errors
///
/// When it takes longer, or fails.
pub fn within<T>(bound: Duration, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    /// Puts back what counted before, also when the work panics.
    struct Before(Option<Instant>);
    impl Drop for Before {
        fn drop(&mut self) {
            END.set(self.0);
        }
    }
    let started = Instant::now();
    let before = Before(END.get());
    let end = started + bound;
    END.set(Some(before.0.map_or(end, |outer| outer.min(end))));
    let done = work().with_context(|| format!("{what}: to be over in {bound:?}"))?;
    let took = started.elapsed();
    ensure!(took <= bound, "{what}: it took {took:?}, and not {bound:?}");
    Ok(done)
}

/// Looks until there is something, and returns it.
///
/// An error does not end the waiting: a server that is starting refuses connections. It is shown if the time runs
/// out first.
///
/// # Errors
///
/// When `limit` has passed, or the bound of the [`within`] around it; the message tells what was last seen.
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let own = started + limit;
    let end = END.get().map_or(own, |end| end.min(own));
    loop {
        let seen = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "nothing yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        let now = Instant::now();
        if now >= end {
            let waited = end.saturating_duration_since(started);
            bail!("waited {waited:?} for {what}; last seen: {seen}");
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

    #[test]
    fn several_waits_share_the_bound_that_is_around_them() {
        const LONG: Duration = Duration::from_secs(60);
        let mut reached = 0;
        let error = within(Duration::from_millis(50), "all of it", || {
            until(LONG, "the first", || Ok(Some(())))?;
            reached += 1;
            until(LONG, "the second", || Ok(None))?;
            reached += 1;
            Ok(())
        });
        let text = format!("{:#}", error.unwrap_err());
        assert!(
            text.contains("all of it") && text.contains("the second"),
            "{text}"
        );
        assert_eq!(reached, 1);
        // It ends with the work, and one that is longer lengthens none that is around it.
        until_eq(LONG, "another", &1, || Ok(1)).unwrap();
        let nested = within(Duration::from_millis(50), "outer", || {
            within(LONG, "inner", || {
                until(LONG, "what never comes", || Ok(None::<()>))
            })
        });
        assert!(nested.is_err());
        // What waits for nothing is measured, too.
        let late = within(Duration::ZERO, "work", || {
            thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        assert!(late.unwrap_err().to_string().contains("it took"));
    }
}
