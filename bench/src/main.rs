//! The side-by-side benchmark: our server and the newest Knot, NSD and BIND on the same zones, in turn, in one run.
//!
//! What is measured is the CPU time of the servers, because the wall clock of a shared machine tells more about its other users;
//! wall time stands beside it. Each part runs several rounds, in which the servers take turns, prints a table of medians with
//! their spread, and puts it into `docs/BENCHMARKS.md`. Zones are made from a seed and never kept.
//!
//! It judges nothing: no time makes it fail. It fails when a server does not do what is measured, or answers with something else
//! than the others.

mod client;
mod document;
mod load;
mod parts;
mod pin;
mod process;
mod questions;
mod server;
mod table;
mod update;
mod zones;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::parts::Part;

/// Our server and the newest Knot, NSD and BIND on the same zones, in turn: medians of CPU time with their spread.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    /// What to measure; all parts when none is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often the servers take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Everything once and in small, to see that it works; nothing is written
    #[arg(long)]
    smoke: bool,
    /// Records of the large zone
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Write nothing to docs/BENCHMARKS.md
    #[arg(long)]
    dry: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let setup = parts::Setup::new(arguments.smoke, arguments.rounds, arguments.records)?;
    let chosen = match arguments.parts.as_slice() {
        [] => parts::ALL,
        some => some,
    };
    for part in chosen {
        eprintln!("--- {}", part.name());
        let section = part.run(&setup)?;
        println!("\n{section}");
        if !arguments.smoke && !arguments.dry {
            document::put(part.name(), &section, &setup.versions)?;
        }
    }
    Ok(())
}
