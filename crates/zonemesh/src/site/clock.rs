//! The one clock of a site. Everything else is told the time.

use std::time::Duration;

use jiff::Timestamp;
pub(crate) use zonemesh_keep::timestamp;
use zonemesh_mesh::core::Now;
use zonemesh_serve::since_boot;

/// The time now. The monotonic clock is that of the data plane (decision 0028): what the core says may be served until a moment by it
/// is told to others as it is.
pub(crate) fn now() -> Now {
    Now {
        mono: since_boot(),
        wall: Timestamp::now().as_second(),
    }
}

/// How long it is until a moment of the monotonic clock.
pub(crate) fn until(at: Duration) -> Duration {
    at.saturating_sub(since_boot())
}
