//! The rate that a transfer must have at the least: a peer that sends an octet now and then must not hold a place for ever.

use std::time::Duration;

use tokio::time::Instant;

use super::Options;

/// How much must come within a time, again and again.
#[derive(Debug)]
pub(super) struct Least {
    octets: u64,
    within: Duration,
    /// When the time began that is running, and what had come before.
    since: Instant,
    before: u64,
}

impl Least {
    /// Begins with the first time.
    pub(super) fn new(options: &Options, now: Instant) -> Self {
        Self {
            octets: options.least_octets,
            within: options.least_within,
            since: now,
            before: 0,
        }
    }

    /// Takes what has come in all; says whether it was too little over the last whole time.
    pub(super) fn is_missed(&mut self, octets: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) < self.within {
            return false;
        }
        let missed = octets.saturating_sub(self.before) < self.octets;
        (self.since, self.before) = (now, octets);
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_counted_for_each_time_anew() {
        let options = Options {
            least_octets: 100,
            least_within: Duration::from_secs(60),
            ..Options::default()
        };
        let began = Instant::now();
        let mut least = Least::new(&options, began);
        let mut missed =
            |octets, second| least.is_missed(octets, began + Duration::from_secs(second));
        assert!(!missed(1, 59), "the time is not over");
        assert!(!missed(1000, 60));
        assert!(!missed(1100, 121), "as much as is asked for");
        assert!(!missed(1100, 150));
        assert!(missed(1199, 181), "what came before does not help");
    }
}
