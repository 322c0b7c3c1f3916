//! Developer commands: `cargo xtask help`.
//!
//! `test` is the front door: it installs what a fresh Debian machine with Rust lacks, and then does everything that
//! CI does. The others are parts of it, for the short loop.

mod bench;
#[cfg(test)]
mod faults;
mod harness;
mod host;
mod instructions;
mod peers;
mod report;
mod simulate;
mod steps;
mod tools;
mod tried;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::report::Report;

/// Developer commands of zonemesh.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = false)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that CI does: install what is missing, format, lint, dependencies, docs, fuzzing, all tests
    Test {
        /// Install nothing; fail with a list of what is missing
        #[arg(long)]
        no_install: bool,
    },
    /// The same as `test`, as CI runs it: a test that is skipped is a failure
    Ci,
    /// The short loop, offline: format, lint, docs, unit and property tests
    Check,
    /// Tests against real Knot, BIND, NSD and Unbound
    Interop {
        /// Passed on to the tests, for instance a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tests of whole sites: loss, partition, `kill -9`; as root, for network namespaces
    Scenarios {
        /// Passed on to the tests, for instance a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Random histories of a simulated mesh; `cargo xtask simulate --help`
    #[command(disable_help_flag = true)]
    Simulate {
        /// Passed on: how many sites and seeds, which seed, for how long, `--planted`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the fuzz targets for a while each
    Fuzz {
        /// Only this target
        target: Option<String>,
        /// Seconds for each target
        #[arg(long, default_value_t = steps::FUZZ_SECONDS)]
        seconds: u32,
    },
    /// Run the tests of `unsafe` code under AddressSanitizer
    Sanitize,
    /// Measure against Knot, NSD and BIND, side by side; `cargo xtask bench --help`
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on: which parts, how many rounds, `--smoke`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Count the instructions that a query takes, and fail when they are too many; needs valgrind
    Instructions,
    /// Make the folder of foreign name servers (Debian 13) that tests run against; needs root
    Peers {
        /// The folder that the benchmark runs against: what Debian has newest
        #[arg(long)]
        newest: bool,
        /// Make it anew even if it is current
        #[arg(long)]
        force: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; false when it ran to its end but something in it failed.
fn run(command: Command) -> Result<bool> {
    std::env::set_current_dir(host::repository()?)?;
    match command {
        Command::Test { no_install } => everything(!no_install, host::is_ci()),
        Command::Ci => everything(true, true),
        Command::Check => {
            let mut report = Report::new(false);
            steps::format(&mut report);
            steps::lint(&mut report);
            steps::docs(&mut report);
            harness::fast(&mut report);
            Ok(report.finish())
        }
        Command::Interop { arguments } => only("interop", &arguments),
        Command::Scenarios { arguments } => only("scenarios", &arguments),
        Command::Simulate { arguments } => simulate::run(&arguments),
        Command::Fuzz { target, seconds } => {
            let mut report = Report::new(false);
            steps::fuzz(&mut report, target.as_deref(), seconds);
            Ok(report.finish())
        }
        Command::Sanitize => {
            let mut report = Report::new(false);
            steps::sanitize(&mut report);
            Ok(report.finish())
        }
        Command::Bench { arguments } => bench::run(&arguments),
        Command::Instructions => {
            let mut report = Report::new(false);
            instructions::of_a_query(&mut report);
            Ok(report.finish())
        }
        Command::Peers { newest, force } => {
            host::install(host::PEER_NEEDS)?;
            let release = if newest {
                peers::Release::Newest
            } else {
                peers::Release::Stable
            };
            peers::make(release, force)?;
            Ok(true)
        }
    }
}

fn everything(install: bool, ci: bool) -> Result<bool> {
    if !install {
        tools::require_all()?;
    }
    let mut report = Report::new(ci);
    tools::prepare(&mut report);
    steps::format(&mut report);
    steps::lint(&mut report);
    steps::dependencies(&mut report);
    steps::docs(&mut report);
    steps::fuzz(&mut report, None, steps::FUZZ_SECONDS);
    simulate::always(&mut report);
    harness::all(&mut report);
    instructions::of_a_query(&mut report);
    bench::smoke(&mut report);
    Ok(report.finish())
}

fn only(target: &str, arguments: &[String]) -> Result<bool> {
    let mut report = Report::new(host::is_ci());
    harness::of_target(&mut report, target, arguments);
    Ok(report.finish())
}
