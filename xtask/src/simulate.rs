//! The simulation: built in a profile of its own, and run with whatever it is asked for.

use std::process::Command;

use anyhow::{Result, bail};

use crate::host;
use crate::report::Report;

/// The option with which mistakes are planted; only then is the program built with what plants them.
const PLANTED: &str = "--planted";

/// What is run in every full run: histories of a few sites, one of many, and all mistakes.
const ALWAYS: &[&[&str]] = &[
    &["--seeds", "200"],
    &["--sites", "50", "--seed", "1", "--steps", "30"],
    &[PLANTED],
];

/// Builds the simulation and runs it; whether all promises held.
pub fn run(arguments: &[String]) -> Result<bool> {
    let planted = arguments.iter().any(|argument| argument == PLANTED);
    let status = command(planted).args(arguments).status()?;
    Ok(status.success())
}

/// The section of a full run. It is built once, with what plants mistakes, and plants none where it is not asked to.
pub fn always(report: &mut Report) {
    report.section("simulation", |_| {
        for arguments in ALWAYS {
            let status = command(true).args(*arguments).status()?;
            if !status.success() {
                bail!("`cargo xtask simulate {}` failed", arguments.join(" "));
            }
        }
        Ok(())
    });
}

fn command(planted: bool) -> Command {
    let mut cargo = host::cargo();
    cargo
        .args(["run", "--quiet", "--profile", "simulate"])
        .args(["--package", "zonemesh-simulation", "--bin", "simulate"]);
    if planted {
        cargo.args(["--features", "planted"]);
    }
    cargo.arg("--");
    cargo
}
