//! `cargo xtask simulate`: random histories of a whole mesh, and mistakes that are planted to see whether they are found.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use zonemesh_simulation::campaign::run_all;
use zonemesh_simulation::history::{Act, Options, Outcome, steps_for};
use zonemesh_simulation::{shrink, text};

/// Sites of a history at first, if nothing is said.
const SITES: usize = 5;

/// Random histories of a whole mesh: whatever happens, the promises hold, and in the end all sites serve the same.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask simulate")]
struct Arguments {
    /// Sites at first; 5 if nothing is said
    #[arg(long)]
    sites: Option<usize>,
    /// Histories to run, each from another seed
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed; alone, the only one
    #[arg(long)]
    seed: Option<u64>,
    /// Steps of each history; 60 of up to 50 sites, fewer of more
    #[arg(long)]
    steps: Option<usize>,
    /// Run for so many hours, whatever the number of seeds
    #[arg(long)]
    hours: Option<f64>,
    /// Kinds of steps to leave out, with commas between them
    #[arg(long, value_delimiter = ',')]
    without: Vec<Act>,
    /// The only steps to do, as `3,7-9`
    #[arg(long)]
    only: Option<String>,
    /// Plant each mistake in turn and see whether it is found within its bound
    #[arg(long)]
    planted: bool,
    /// With `--planted`, only those whose names contain this; with `--seed`, that one, in that history
    #[arg(long, requires = "planted")]
    bug: Option<String>,
    /// Print the whole history of a failure
    #[arg(long)]
    verbose: bool,
    /// Write the whole history of the first failure, or of the last history, to this file
    #[arg(long)]
    log: Option<PathBuf>,
    /// Measure what healing costs instead: of 50 and of 1,000 sites, or of as many as `--sites` says
    #[arg(long)]
    cost: bool,
    /// With `--cost`: member zones
    #[arg(long, default_value_t = 1000, requires = "cost")]
    zones: usize,
    /// Do not look for a shorter history that fails too
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.cost {
        let zones = arguments.zones;
        let sizes = match arguments.sites {
            Some(sites) => vec![(sites, zones)],
            None => vec![(50, zones), (1000, zones)],
        };
        zonemesh_simulation::cost::print(&sizes, |line| println!("{line}"));
        return ExitCode::SUCCESS;
    }
    // What panics in a history is a finding, and told as such.
    std::panic::set_hook(Box::new(|_| {}));
    let result = match arguments.planted {
        true => planted(&arguments),
        false => histories(&arguments, &|| {}),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options(arguments: &Arguments) -> Result<Options> {
    let only = arguments.only.as_deref().map(text::read_steps).transpose();
    let sites = arguments.sites.unwrap_or(SITES);
    Ok(Options {
        steps: arguments.steps.unwrap_or(steps_for(sites)),
        without: arguments.without.iter().copied().collect(),
        only: only.map_err(anyhow::Error::msg)?,
        ..Options::new(sites, arguments.seed.unwrap_or(1))
    })
}

/// Runs histories, each thread after having prepared; whether all went well.
fn histories(arguments: &Arguments, prepare: &(dyn Fn() + Sync)) -> Result<bool> {
    prepare();
    let first = options(arguments)?;
    let seeds = arguments.seeds.unwrap_or(match arguments.seed {
        Some(_) => 1,
        None => 100,
    });
    let started = Instant::now();
    let until = arguments
        .hours
        .map(|hours| started + Duration::from_secs_f64(hours * 3600.0));
    let more = |seed: u64| match until {
        Some(until) => Instant::now() < until,
        None => seed < first.seed + seeds,
    };
    let (done, told) = (AtomicU64::new(0), AtomicU64::new(0));
    let each = |options: &Options, outcome: &Outcome| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(finding) = &outcome.finding {
            eprintln!("seed {}: {finding}", options.seed);
        }
        let passed = started.elapsed().as_secs() / 15;
        if passed > told.fetch_max(passed, Ordering::Relaxed) {
            eprintln!("{done} histories after {} s", started.elapsed().as_secs());
        }
    };
    let enough = if arguments.hours.is_some() { 20 } else { 5 };
    let tally = run_all(&first, enough, &more, prepare, &each);
    if let Some((options, _)) = tally.failed.first() {
        let (options, outcome) = match arguments.no_shrink {
            true => (options.clone(), None),
            false => shrink::shrink(options),
        };
        let outcome = outcome.as_ref().unwrap_or(&tally.failed[0].1);
        println!("{}", text::failure(&options, outcome, arguments.verbose));
        write_log(arguments, &outcome.log)?;
    } else if arguments.log.is_some() {
        let outcome = zonemesh_simulation::history::run(&first);
        write_log(arguments, &outcome.log)?;
    }
    println!(
        "{}",
        text::summary(&tally, arguments.sites.unwrap_or(SITES), started.elapsed())
    );
    Ok(tally.failed.is_empty())
}

fn write_log(arguments: &Arguments, log: &[String]) -> Result<()> {
    let Some(file) = &arguments.log else {
        return Ok(());
    };
    let text = text::aligned(log).join("\n");
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(not(feature = "planted"))]
fn planted(_: &Arguments) -> Result<bool> {
    anyhow::bail!("built without mistakes to plant: run it as `cargo xtask simulate --planted`");
}

#[cfg(feature = "planted")]
fn planted(arguments: &Arguments) -> Result<bool> {
    use zonemesh_simulation::planted::{plant_by_name, run_all_planted};
    let bug = arguments.bug.as_deref();
    match (bug, arguments.seed) {
        (Some(bug), Some(_)) => {
            plant_by_name(bug)?;
            println!(
                "planted: {bug}; commands that repeat what is found take `--planted --bug {bug}` besides"
            );
            histories(arguments, &|| {
                plant_by_name(bug).expect("it has just been planted");
            })
        }
        _ => run_all_planted(bug),
    }
}
