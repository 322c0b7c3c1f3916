//! Mistakes planted in the product on purpose: each must be found, within a number of seeds that is stated, by the same
//! histories and the same oracle that the product without mistakes passes.

use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use zonemesh_planted::{Bug, plant};

use crate::history::{Options, run};
use crate::oracle::Finding;

/// What kind of mistake each is, and within how many seeds it must be found.
const BOUNDS: &[(Bug, &str, u64)] = &[
    (Bug::AnswerBeforeCommit, "durability", 60),
    (Bug::FailureTakenForSuccess, "durability", 20),
    (Bug::DeletionForgotten, "changes", 20),
    (Bug::StopsOnFullDisk, "serving", 20),
    (Bug::FlushSkipped, "durability", 20),
    (Bug::DurableTooEarly, "durability", 20),
    (Bug::HeadNotTakenBack, "durability", 20),
    (Bug::DifferenceFromWrongVersion, "versions", 250),
    (Bug::DifferenceToWrongVersion, "versions", 20),
    (Bug::SerialReused, "serials", 20),
    (Bug::OlderVersionTaken, "serials", 60),
    (Bug::NotifyNotRepeated, "telling", 60),
    (Bug::NotifyWithoutBackoff, "retries", 20),
    (Bug::ReceiptNotSent, "telling", 20),
    (Bug::ReceiptFromWrongSerial, "telling", 60),
    (Bug::RetryWithoutFloor, "retries", 20),
    (Bug::ErrorStopsOthers, "errors", 60),
    (Bug::TimerLostOverRestart, "expiry", 60),
    (Bug::ExpiryNotHonoured, "expiry", 60),
    (Bug::AgeForgotten, "expiry", 60),
    (Bug::LackTakenForRemoval, "ignorance", 20),
    (Bug::ReadyTooEarly, "readiness", 60),
    (Bug::EmptyDirectoryRemoves, "removal", 20),
    (Bug::BrokenCatalogRemoves, "removal", 20),
    (Bug::BrakeNotConsulted, "removal", 20),
    (Bug::DepartedKept, "trust", 20),
    (Bug::TombstoneIgnored, "removal", 60),
    (Bug::RemovedZoneKept, "removal", 20),
    (Bug::StaleAddressKept, "plans", 20),
    (Bug::PlanNeverEmpty, "plans", 20),
    (Bug::SelfPromotion, "one writer", 20),
    (Bug::DigestNotKeptUp, "comparing", 20),
    (Bug::DifferenceIgnored, "comparing", 250),
    (Bug::HighWaterForgotten, "serials", 250),
    (Bug::OldCopyTrusted, "serials", 60),
    (Bug::DoubtNeverEnds, "hostile", 60),
    (Bug::EpochNotRaised, "one writer", 20),
    (Bug::LaterEpochIgnored, "one writer", 20),
    // Takes two writers apart of which the earlier has published more, and one that has heard of the later to meet it: rare.
    (Bug::EarlierEpochTaken, "one writer", 400),
    (Bug::RoleByConfiguration, "one writer", 20),
    (Bug::YieldedDropped, "one writer", 250),
    (Bug::DirectoryFromAnyone, "hostile", 60),
    (Bug::UpdateOfOthers, "hostile", 60),
    (Bug::EpochEditedOut, "one writer", 60),
];

/// How a search for one mistake ended.
struct Search {
    bug: Bug,
    kind: &'static str,
    bound: u64,
    /// The number of seeds that were needed, and what was found.
    found: Option<(u64, Finding)>,
}

/// Plants each mistake in turn and runs histories until it is found, all of them or those whose names have this in them; whether
/// all were found. The table goes into the documentation.
///
/// # Errors
///
/// When the documentation cannot be written.
pub fn run_all_planted(only: Option<&str>) -> Result<bool> {
    let started = Instant::now();
    let name = |bug: Bug| format!("{bug:?}");
    let wanted = |(bug, ..): &&(Bug, &str, u64)| only.is_none_or(|only| name(*bug).contains(only));
    let planned: Vec<_> = BOUNDS.iter().filter(wanted).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((bug, kind, bound)) =
                    planned.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let search = search(*bug, kind, *bound);
                    tell(&search);
                    done.lock()
                        .expect("no thread panics while it holds this")
                        .push(search);
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .expect("no thread panics while it holds this");
    done.sort_by_key(|search| BOUNDS.iter().position(|(bug, ..)| *bug == search.bug));
    let unlisted: Vec<String> = Bug::ALL
        .iter()
        .filter(|bug| !BOUNDS.iter().any(|(listed, ..)| listed == *bug))
        .map(|bug| name(*bug))
        .collect();
    let escaped = done.iter().filter(|search| search.found.is_none()).count();
    println!(
        "{} of {} mistakes found in {:.1} s",
        done.len() - escaped,
        done.len(),
        started.elapsed().as_secs_f64()
    );
    if !unlisted.is_empty() {
        println!("without a bound: {}", unlisted.join(", "));
    }
    let all = escaped == 0 && unlisted.is_empty();
    if all && only.is_none() {
        write_table(Path::new(REFERENCE), &done)?;
    }
    Ok(all)
}

/// Plants the mistake of this name on this thread.
///
/// # Errors
///
/// When there is none.
pub fn plant_by_name(wanted: &str) -> Result<()> {
    let bug = Bug::ALL
        .iter()
        .find(|bug| format!("{bug:?}") == wanted)
        .with_context(|| {
            format!(
                "there is no mistake `{wanted}` to plant; docs/reference/simulation.md lists them"
            )
        })?;
    plant(Some(*bug));
    Ok(())
}

/// Looks for one mistake.
fn search(bug: Bug, kind: &'static str, bound: u64) -> Search {
    plant(Some(bug));
    let found = (1..=bound).find_map(|seed| {
        let options = Options::new(SITES, seed);
        let finding = run(&options).finding?;
        // What is found without the mistake too says nothing about it.
        plant(None);
        let without = run(&options).finding;
        plant(Some(bug));
        without.is_none().then_some((seed, finding))
    });
    plant(None);
    Search {
        bug,
        kind,
        bound,
        found,
    }
}

fn tell(search: &Search) {
    let name = format!("{:?}", search.bug);
    match &search.found {
        Some((seeds, finding)) => println!(
            "{name:<28} found by seed {seeds:<3} {finding}\n  cargo xtask simulate --planted --bug {name} --seed {seeds}"
        ),
        None => println!("{name:<28} ESCAPED {} seeds", search.bound),
    }
}

/// Puts the table between its markers.
fn write_table(file: &Path, done: &[Search]) -> Result<()> {
    let name = file.display();
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let (head, rest) = old
        .split_once(BEGIN)
        .with_context(|| format!("{name} has no line `{BEGIN}`"))?;
    let (_, tail) = rest
        .split_once(END)
        .with_context(|| format!("{name} has no line `{END}`"))?;
    let mut text = format!(
        "{head}{BEGIN}\n| Mistake | Kind | Found by | Seeds needed | Bound |\n|---|---|---|---|---|\n"
    );
    for search in done {
        if let Some((seeds, finding)) = &search.found {
            let (bug, kind, rule, bound) = (search.bug, search.kind, finding.rule, search.bound);
            let _ = writeln!(text, "| `{bug:?}` | {kind} | {rule} | {seeds} | {bound} |");
        }
    }
    let new = text + END + tail;
    if new != old {
        std::fs::write(file, new).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Sites in the histories that look for mistakes.
const SITES: usize = 5;

/// Where the table is.
const REFERENCE: &str = "docs/reference/simulation.md";
const BEGIN: &str = "<!-- planted: begin -->";
const END: &str = "<!-- planted: end -->";
