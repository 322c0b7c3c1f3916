//! The one clock of a site. Everything else is told the time.

use std::time::{Duration, Instant};

use jiff::Timestamp;
pub(crate) use zonemesh_keep::timestamp;
use zonemesh_mesh::core::Now;

/// Wall and monotonic time.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono: self.mono(),
            wall: Timestamp::now().as_second(),
        }
    }

    /// Time since the site was started.
    pub(crate) fn mono(&self) -> Duration {
        self.start.elapsed()
    }
}
