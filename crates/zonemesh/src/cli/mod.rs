//! The command line: what is asked, of which site, and how the answer is shown.
//!
//! Everything but `up`, `join` and what works on files is a question to a running site over its control socket.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use zonemesh_api::error::exit;
use zonemesh_api::{ApiError, Client};

use crate::{allocator, config};

pub mod args;
mod config_command;
mod manual;
mod output;
mod record;
mod run;
mod site;
mod sites;
mod status;
#[cfg(test)]
mod tests;
mod writer;
mod zone;

use self::args::{Cli, Command, Target};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let json = output::wants_json(std::env::args());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if json && error.use_stderr() => {
            let message = error.render().to_string();
            return ExitCode::from(Failure::usage(message.trim_end()).report(json));
        }
        Err(error) => error.exit(),
    };
    allocator::set_up();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return ExitCode::from(Failure::new(format!("cannot start: {error}")).report(json));
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A blocking read of standard input must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(outcome.unwrap_or_else(|failure| failure.report(json)))
}

/// The exit code, or why the command failed.
type Outcome = Result<u8, Failure>;

async fn dispatch(cli: Cli) -> Outcome {
    let Cli { target, command } = cli;
    match command {
        Command::Up(up) => run::up(up, target).await,
        Command::Init(init) => run::init(init, target),
        Command::Join(join) => run::join(join, target).await,
        Command::Status(args) => status::status(&target.client()?, &args).await,
        Command::Invite(invite) => site::invite(&target.client()?, invite).await,
        Command::Site(command) => site::site(&target.client()?, command).await,
        Command::Zone(command) => zone::zone(&target, command).await,
        Command::Record(command) => record::record(&target.client()?, command).await,
        Command::Plan(command) => site::plan(&target.client()?, command).await,
        Command::Key(args::Key::Roll(listing)) => {
            site::roll_key(&target.client()?, listing.json).await
        }
        Command::Config(command) => config_command::config(&target, command).await,
        Command::Events(listing) => site::events(&target.client()?, listing.json).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man(&dir),
    }
}

impl Target {
    /// The control socket of the site that is meant.
    fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if let Some(dir) = &self.data_dir {
            return Ok(dir.join(SOCKET));
        }
        let here = Path::new(config::loopback::FOLDER);
        if here.is_dir() {
            return first_site(here);
        }
        // The configuration that `up` would use says where its data is.
        let dir = match config::find() {
            None => config::DEFAULT_DATA_DIR.into(),
            Some(path) => config::data_dir(&path).map_err(|faults| {
                Failure::from(faults).hint(
                    "it does not say which site is meant: mend it, or choose one with --data-dir or --socket",
                )
            })?,
        };
        Ok(dir.join(SOCKET))
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.socket()?))
    }
}

/// The first site below a folder of sites: the first that runs, or else the first of all.
fn first_site(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut sites = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .path();
        if path.is_dir() {
            sites.push(path.join(SOCKET));
        }
    }
    sites.sort();
    let first = sites
        .iter()
        .find(|socket| socket.exists())
        .or(sites.first());
    first.cloned().ok_or_else(|| {
        Failure::usage(format!("there is no site in {}", folder.display())).hint(
            "start some with `zonemesh up --sites 3`, or choose one with --data-dir or --socket",
        )
    })
}

const SOCKET: &str = "control.sock";

/// Why a command failed, what to do about it, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: exit::FAILED,
        }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self {
            code: exit::USAGE,
            ..Self::new(message)
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn report(&self, json: bool) -> u8 {
        match json {
            true => output::error_json(&self.message, self.hint.as_deref(), self.code),
            false => output::error(&self.message, self.hint.as_deref()),
        }
        self.code
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.kind.exit_code(),
            message: error.message,
            hint: error.hint,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

impl From<Vec<config::ConfigError>> for Failure {
    fn from(faults: Vec<config::ConfigError>) -> Self {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Self::new(lines.join("\n"))
    }
}
