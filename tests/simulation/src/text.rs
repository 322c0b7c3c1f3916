//! Histories as people read them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use crate::campaign::Tally;
use crate::history::{Options, Outcome, steps_for};

/// How many lines of a history are printed unless all are wanted.
const TAIL: usize = 80;

/// What a failure comes to: how to see it again, what was broken, and what had happened.
pub fn failure(options: &Options, outcome: &Outcome, all: bool) -> String {
    let lines = aligned(&outcome.log);
    let from = if all {
        0
    } else {
        lines.len().saturating_sub(TAIL)
    };
    let mut text = String::new();
    if from > 0 {
        let _ = writeln!(
            text,
            "… {from} lines before; all of them with --verbose or --log FILE"
        );
    }
    for line in &lines[from..] {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text);
    if let Some(finding) = &outcome.finding {
        let _ = writeln!(text, "broken: {}", finding.rule);
        let _ = writeln!(text, "        {}", finding.message);
    }
    let _ = write!(text, "again:  {}", again(options));
    text
}

/// The command that runs this history.
pub fn again(options: &Options) -> String {
    let mut text = format!(
        "cargo xtask simulate --sites {} --seed {}",
        options.sites, options.seed
    );
    if options.steps != steps_for(options.sites) {
        let _ = write!(text, " --steps {}", options.steps);
    }
    if !options.without.is_empty() {
        let names: Vec<String> = options.without.iter().map(ToString::to_string).collect();
        let _ = write!(text, " --without {}", names.join(","));
    }
    if let Some(only) = &options.only {
        let _ = write!(text, " --only {}", write_steps(only));
    }
    text
}

/// Lines of a log in columns: when, where, what. Where nothing changes it is not said again.
pub fn aligned(log: &[String]) -> Vec<String> {
    let split = |line: &str| {
        let (when, rest) = line.trim_start().split_once(' ')?;
        let (place, what) = rest.split_once(": ")?;
        Some((when.to_owned(), place.to_owned(), what.to_owned()))
    };
    let parts: Vec<_> = log.iter().map(|line| split(line)).collect();
    let width = parts
        .iter()
        .flatten()
        .map(|(_, place, _)| place.len())
        .max()
        .unwrap_or_default();
    let mut before = String::new();
    let lines = log.iter().zip(parts).map(|(line, part)| match part {
        Some((when, place, what)) => {
            let time = if when == before { "" } else { when.as_str() };
            let text = format!("{time:>10}  {place:<width$}  {what}");
            before = when;
            text
        }
        None => line.clone(),
    });
    lines.collect()
}

/// What many histories came to.
pub fn summary(tally: &Tally, sites: usize, took: Duration) -> String {
    let mut text = format!(
        "{} histories of {sites} sites, {:.1} hours in them, in {:.1} s: {}",
        tally.histories,
        tally.lasted.as_secs_f64() / 3600.0,
        took.as_secs_f64(),
        match tally.failed.len() {
            0 => "all promises held".to_owned(),
            failed => format!("{failed} FAILED"),
        }
    );
    let acts: Vec<String> = tally
        .acts
        .iter()
        .map(|(act, times)| format!("{act} {times}"))
        .collect();
    let _ = write!(text, "\nsteps: {}", acts.join(", "));
    for (options, outcome) in tally.failed.iter().skip(1) {
        let finding = outcome
            .finding
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = write!(text, "\nfailed too: {}\n        {finding}", again(options));
    }
    text
}

/// Reads numbers of steps: `3,7-9`.
///
/// # Errors
///
/// What cannot be read.
pub fn read_steps(text: &str) -> Result<BTreeSet<usize>, String> {
    let number = |part: &str| {
        part.parse::<usize>()
            .map_err(|_| format!("`{part}` is no number of a step"))
    };
    let mut steps = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            Some((from, to)) => steps.extend(number(from)?..=number(to)?),
            None => {
                steps.insert(number(part)?);
            }
        }
    }
    Ok(steps)
}

/// Writes numbers of steps as [`read_steps`] reads them.
pub fn write_steps(steps: &BTreeSet<usize>) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for step in steps {
        match parts.last_mut() {
            Some((_, to)) if *to + 1 == *step => *to = *step,
            _ => parts.push((*step, *step)),
        }
    }
    let parts = parts.iter().map(|(from, to)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    });
    parts.collect::<Vec<_>>().join(",")
}
