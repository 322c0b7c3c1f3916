//! When memory is given back to the system: after much was done, and when less is being done (decision 0036).

use std::time::Duration;

use tokio::time::Instant;
use zonemesh_mesh::core::Output;

/// What a zone that is served anew counts for, with its names, and everything else with one, until that is much: some megabytes may be
/// free then between what is in use.
const MUCH: usize = 10_000;
/// Between one look whether less is being done and the next.
const PAUSE: Duration = Duration::from_millis(250);
/// So much between two looks is less.
const LITTLE: usize = 100;

/// What was done since memory was given back last.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// All of it.
    done: usize,
    /// What of it since the last look.
    lately: usize,
    /// When to look next; none as long as little was done.
    look: Option<Instant>,
}

impl Rest {
    /// This is being done.
    pub(super) fn did(&mut self, outputs: &[Output], now: Instant) {
        let done: usize = outputs.iter().map(weight).sum();
        self.done = self.done.saturating_add(done);
        self.lately = self.lately.saturating_add(done);
        if self.done >= MUCH && self.look.is_none() {
            self.lately = 0;
            self.look = Some(now + PAUSE);
        }
    }

    /// When [`Self::has_come`] is to be asked; never as long as there is no reason to.
    pub(super) fn look(&self) -> Option<Instant> {
        self.look
    }

    /// Whether memory is to be given back now.
    pub(super) fn has_come(&mut self, now: Instant) -> bool {
        if self.lately > LITTLE {
            self.lately = 0;
            self.look = Some(now + PAUSE);
            return false;
        }
        *self = Self::default();
        true
    }
}

fn weight(output: &Output) -> usize {
    match output {
        Output::Publish {
            zone: Some(zone),
            diffs,
            ..
        } if diffs.is_empty() => zone.tree().len(),
        // How large it was nobody knows any longer.
        Output::Withdraw { .. } => MUCH,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::record::parse_name;

    use super::*;

    fn outputs(count: usize) -> Vec<Output> {
        let apex = parse_name("example.").unwrap();
        let one = Output::HighWater {
            apex,
            serial: zonemesh_zone::Serial(1),
        };
        vec![one; count]
    }

    #[test]
    fn memory_is_given_back_after_much_was_done_and_when_little_is() {
        let (mut rest, mut now) = (Rest::default(), Instant::now());
        rest.did(&outputs(MUCH - 1), now);
        assert_eq!(rest.look(), None);
        rest.did(&outputs(1), now);
        // There is more, each time that is looked.
        for _ in 0..3 {
            rest.did(&outputs(LITTLE + 1), now);
            now = rest.look().unwrap();
            assert!(!rest.has_come(now));
        }
        rest.did(&outputs(LITTLE), now);
        now = rest.look().unwrap();
        assert!(rest.has_come(now));
        // And from then on it is as at first.
        assert_eq!(rest.look(), None);
        rest.did(&outputs(MUCH - 1), now);
        assert_eq!(rest.look(), None);
    }

    #[test]
    fn a_zone_that_goes_is_much() {
        let (mut rest, now) = (Rest::default(), Instant::now());
        let apex = parse_name("example.").unwrap();
        rest.did(&[Output::Withdraw { apex }], now);
        assert!(rest.look().is_some());
    }
}
