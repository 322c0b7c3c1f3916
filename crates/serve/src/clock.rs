//! What time it is, for the data plane and for the site around it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zonemesh_zone::Zone;

/// One look at both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Seconds since 1970. Whoever sets the host's clock changes it, back as well.
    pub unix: u64,
    /// Time since the host was started: see [`since_boot`].
    pub since_boot: Duration,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self {
            unix: unix(),
            since_boot: since_boot(),
        }
    }
}

/// Seconds since 1970. A clock before that is as good as none.
fn unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Time since the host was started, suspended or not. It never goes back, and nobody sets it: what may be served for so long is
/// counted by it. [`std::time::Instant`] stands still while a host is suspended, and copies would grow no older then.
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// How long a zone may still be served without a word from its primary. It is only told to secondaries that ask for it (RFC 7314)
/// and decides nothing here.
///
/// In milliseconds by [`since_boot`]; never where this server is its primary.
#[derive(Debug)]
pub struct Expiry(AtomicU64);

impl Expiry {
    /// This server is its primary: for ever.
    pub fn never() -> Self {
        Self(NEVER.into())
    }

    /// Until this moment by [`since_boot`].
    pub fn at(until: Duration) -> Self {
        Self(millis(until).into())
    }

    /// Sets the moment. Where this server is primary there is none.
    pub fn set(&self, until: Duration) {
        if self.0.load(Ordering::Relaxed) != NEVER {
            self.0.store(millis(until), Ordering::Relaxed);
        }
    }

    /// What secondaries are told at this moment by [`since_boot`]: the SOA's value by a primary, what is left by a secondary
    /// (RFC 7314 §3.2 and §3.3), in whole seconds.
    pub fn told(&self, zone: &Zone, now: Duration) -> u32 {
        match self.0.load(Ordering::Relaxed) {
            NEVER => zone.numbers().expire,
            at => u32::try_from(at.saturating_sub(millis(now)) / 1000).unwrap_or(u32::MAX),
        }
    }
}

impl Default for Expiry {
    fn default() -> Self {
        Self::never()
    }
}

/// As it is at this moment: what is set later is not that of the other.
impl Clone for Expiry {
    fn clone(&self) -> Self {
        Self(self.0.load(Ordering::Relaxed).into())
    }
}

const NEVER: u64 = u64::MAX;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).map_or(NEVER - 1, |millis| millis.min(NEVER - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_the_host_was_started_is_no_earlier_than_that_of_waiting() {
        let waiting = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let before = Duration::new(waiting.tv_sec as u64, waiting.tv_nsec as u32);
        assert!(since_boot() >= before);
    }
}
