//! What a run needs that a fresh machine with Rust lacks: Debian packages, cargo's helpers, the folder of peers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::host;
use crate::peers;
use crate::report::Report;
use crate::steps;

/// The version of `cargo deny` that is installed; one that is there already is used whatever its version.
const DENY_VERSION: &str = "0.20.2";

/// Parts of the Rust toolchain besides the compiler.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// Installs all that is missing, saying what. Without root it goes on without, and the tests concerned skip.
pub fn prepare(report: &mut Report) {
    report.section("what is needed", |report| {
        for (subcommand, component) in missing_components() {
            println!("installing the {component} component (for cargo {subcommand})");
            host::run(Command::new("rustup").args(["component", "add", component]))?;
        }
        let needs = needs();
        if host::is_root() || report.is_ci() {
            host::install(&needs)?;
            peers::make(peers::Release::Stable, false)?;
        } else {
            for need in host::missing(&needs) {
                report.note(format!(
                    "{} is missing (for {}) and installing it needs root",
                    need.program, need.purpose
                ));
            }
            let folder = peers::folder()?;
            if !peers::is_current(&folder) {
                report.note(format!(
                    "{} is missing or out of date and making it needs root: tests with real peers will skip",
                    folder.display()
                ));
            }
        }
        install_deny()
    });
}

/// Fails with a list if anything is missing that [`prepare`] would install.
pub fn require_all() -> Result<()> {
    let mut list = Vec::new();
    for (subcommand, component) in missing_components() {
        list.push(format!(
            "{component}, for cargo {subcommand}: rustup component add {component}"
        ));
    }
    for need in host::missing(&needs()) {
        list.push(format!(
            "{}, for {}: apt-get install {}",
            need.program,
            need.purpose,
            need.packages.join(" ")
        ));
    }
    if deny().is_none() {
        list.push(format!(
            "cargo-deny, for checking dependencies: cargo install --locked cargo-deny@{DENY_VERSION}"
        ));
    }
    let folder = peers::folder()?;
    if !peers::is_current(&folder) {
        list.push(format!(
            "foreign name servers in {}: cargo xtask peers",
            folder.display()
        ));
    }
    if list.is_empty() {
        return Ok(());
    }
    bail!("this is missing:\n  {}", list.join("\n  "))
}

fn needs() -> Vec<host::Need> {
    let mut needs = host::NEEDS.to_vec();
    // Only to make the folder of peers.
    if !peers::folder().is_ok_and(|folder| peers::is_current(&folder)) {
        needs.extend(host::PEER_NEEDS);
    }
    if Path::new(steps::FUZZ_MANIFEST).is_file() {
        needs.extend(host::FUZZ_NEEDS);
    }
    needs
}

fn missing_components() -> Vec<(&'static str, &'static str)> {
    let works = |subcommand: &str| {
        host::cargo()
            .args([subcommand, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    COMPONENTS
        .iter()
        .copied()
        .filter(|(subcommand, _)| !works(subcommand))
        .collect()
}

/// Finds `cargo-deny`: the user's own, or the one that an earlier run installed.
pub fn deny() -> Option<PathBuf> {
    host::find("cargo-deny").or_else(|| {
        let ours = host::cache().ok()?.join("tools/bin/cargo-deny");
        ours.is_file().then_some(ours)
    })
}

/// Installs `cargo-deny` into the cache folder, which leaves the user's own set of programs alone.
fn install_deny() -> Result<()> {
    if deny().is_some() {
        return Ok(());
    }
    println!("installing cargo-deny {DENY_VERSION} (for checking dependencies), about a minute");
    // Without optimisation: it builds in a fifth of the time and still checks in seconds.
    host::run(
        host::cargo()
            .args(["install", "--quiet", "--locked", "--debug", "cargo-deny"])
            .args(["--version", DENY_VERSION, "--root"])
            .arg(host::cache()?.join("tools")),
    )
}
