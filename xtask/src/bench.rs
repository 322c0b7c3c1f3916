//! The benchmark: the server built as it is shipped, the newest peers, and the program that measures them.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::peers::{self, Release};
use crate::report::Report;

/// Small and quick, with what the tests have built, to see that nothing has rotted: it measures nothing worth keeping.
const SMOKE: &str = "--smoke";

/// Builds what is needed and runs the benchmark; whether it came to its end.
pub fn run(arguments: &[String]) -> Result<bool> {
    let smoke = arguments.iter().any(|argument| argument == SMOKE);
    // Asking for help needs no server.
    let asks = arguments.iter().any(|argument| argument == "--help");
    let mut command = host::cargo();
    command.args(["run", "--quiet", "--package", "zonemesh-bench"]);
    if smoke {
        let binary = build(&[], "debug")?;
        command.env("ZONEMESH_BIN", binary);
    } else if !asks {
        let folder = peers::folder_of(Release::Newest)?;
        if !folder.exists() {
            host::install(host::PEER_NEEDS)?;
        }
        let folder = peers::make(Release::Newest, false)?;
        let binary = build(&["--release"], "release")?;
        command.arg("--release");
        command.env("ZONEMESH_BIN", binary);
        command.env("ZONEMESH_PEERS", folder);
    }
    command.arg("--").args(arguments);
    let status = command.status().context("cannot run the benchmark")?;
    Ok(status.success())
}

/// The section of a full run: every part, in small.
pub fn smoke(report: &mut Report) {
    report.section("benchmark, in small", |report| {
        // In CI the peers are there; elsewhere making them needs root.
        if !peers::is_current(&peers::folder()?) {
            report
                .note("the benchmark was not tried: there are no foreign name servers".to_owned());
            return Ok(());
        }
        match run(&[SMOKE.to_owned()])? {
            true => Ok(()),
            false => bail!("`cargo xtask bench {SMOKE}` failed"),
        }
    });
}

/// Builds the server, and returns where it is.
fn build(words: &[&str], profile: &str) -> Result<std::path::PathBuf> {
    host::run(
        host::cargo()
            .args(["build", "--quiet", "--package", "zonemesh"])
            .args(words),
    )?;
    let binary = host::target().join(profile).join("zonemesh");
    std::path::absolute(&binary)
        .with_context(|| format!("cannot tell where {} is", binary.display()))
        .and_then(
            |path: std::path::PathBuf| match Command::new(&path).arg("--version").output() {
                Ok(_) => Ok(path),
                Err(error) => bail!(
                    "cargo built zonemesh, but {} does not run: {error}",
                    path.display()
                ),
            },
        )
}
