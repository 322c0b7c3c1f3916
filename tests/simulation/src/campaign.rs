//! Many histories on all processors: each is one thread with one world, and each is the same whenever it is run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::history::{Act, Options, Outcome, run};

/// What many histories came to.
#[derive(Default)]
pub struct Tally {
    /// How many were run.
    pub histories: u64,
    /// How much time passed in them.
    pub lasted: Duration,
    /// How often each kind of step was done.
    pub acts: BTreeMap<Act, usize>,
    /// Those in which a rule was broken.
    pub failed: Vec<(Options, Outcome)>,
}

/// Runs histories with seeds from `first` on, as long as `more` says so of the next seed and not more than `enough` have
/// failed. `each` is told of every one that has ended, in any order.
pub fn run_all(
    first: &Options,
    enough: usize,
    more: &(dyn Fn(u64) -> bool + Sync),
    prepare: &(dyn Fn() + Sync),
    each: &(dyn Fn(&Options, &Outcome) + Sync),
) -> Tally {
    let next = AtomicU64::new(first.seed);
    let stop = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                prepare();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !more(seed) {
                        return;
                    }
                    let options = Options {
                        seed,
                        ..first.clone()
                    };
                    let outcome = run(&options);
                    each(&options, &outcome);
                    let mut tally = tally.lock().expect("no thread panics while it holds this");
                    tally.histories += 1;
                    tally.lasted += outcome.lasted;
                    for (act, times) in &outcome.acts {
                        *tally.acts.entry(*act).or_default() += times;
                    }
                    if outcome.finding.is_some() {
                        tally.failed.push((options, outcome));
                        if tally.failed.len() >= enough {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let mut tally = tally
        .into_inner()
        .expect("no thread panics while it holds this");
    tally.failed.sort_by_key(|(options, _)| options.seed);
    tally
}
