//! Completions and man pages, from the one definition of the command line.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory;
use zonemesh_api::error::exit;

use super::Outcome;
use super::args::Cli;
use super::output;

pub(super) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "zonemesh", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(exit::DONE)
}

/// Writes `zonemesh.1`, `zonemesh-status.1`, `zonemesh-zone-add.1`, ….
pub(super) fn man(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write man pages into {}", dir.display()))?;
    Ok(exit::DONE)
}
