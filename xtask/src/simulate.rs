//! The simulation: built in a profile of its own, and run with whatever it is asked for.

use anyhow::Result;

use crate::host;

/// The option with which mistakes are planted; only then is the program built with what plants them.
const PLANTED: &str = "--planted";

/// Builds the simulation and runs it; whether all promises held.
pub fn run(arguments: &[String]) -> Result<bool> {
    let mut cargo = host::cargo();
    cargo
        .args(["run", "--quiet", "--profile", "simulate"])
        .args(["--package", "zonemesh-simulation", "--bin", "simulate"]);
    if arguments.iter().any(|argument| argument == PLANTED) {
        cargo.args(["--features", "planted"]);
    }
    let status = cargo.arg("--").args(arguments).status()?;
    Ok(status.success())
}
