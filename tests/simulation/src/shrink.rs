//! Makes a history that fails shorter: fewer steps, as long as the same rule is broken.

use std::collections::BTreeSet;

use crate::history::{Options, Outcome, run};
use crate::oracle::Rule;

/// How many histories are run at most to find a shorter one, of up to 50 sites; of more fewer, because each takes so long.
const TRIES: usize = 120;

/// Looks for fewer steps that break the same rule, and returns them with what came of them.
pub fn shrink(options: &Options) -> (Options, Option<Outcome>) {
    let mut best = options.clone();
    let first = run(&best);
    let Some(rule) = first.finding.as_ref().map(|finding| finding.rule) else {
        return (best, None);
    };
    let mut outcome = first;
    best.steps = outcome.steps.min(best.steps);
    let mut steps: Vec<usize> = match &best.only {
        Some(only) => only
            .iter()
            .copied()
            .filter(|step| *step < best.steps)
            .collect(),
        None => (0..best.steps).collect(),
    };
    let most = TRIES * 50 / options.sites.max(50);
    let mut tries = 0;
    // First large parts are left out, then smaller ones, then single steps.
    let mut part = steps.len().div_ceil(2).max(1);
    while tries < most {
        let mut at = 0;
        while at < steps.len() && tries < most {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + part).min(fewer.len()));
            tries += 1;
            match attempt(&best, &fewer, rule) {
                Some(found) => {
                    steps = fewer;
                    outcome = found;
                }
                None => at += part,
            }
        }
        if part == 1 {
            break;
        }
        part = part.div_ceil(2);
    }
    best.only = Some(steps.into_iter().collect());
    // The prefix alone is easier to read where it is all that is needed.
    if best
        .only
        .as_ref()
        .is_some_and(|only| only.len() == best.steps)
    {
        best.only = None;
    }
    (best, Some(outcome))
}

/// Whether these steps alone break the rule.
fn attempt(options: &Options, steps: &[usize], rule: Rule) -> Option<Outcome> {
    let only: BTreeSet<usize> = steps.iter().copied().collect();
    let outcome = run(&Options {
        only: Some(only),
        ..options.clone()
    });
    let same = outcome
        .finding
        .as_ref()
        .is_some_and(|finding| finding.rule == rule);
    same.then_some(outcome)
}
