//! Our own binary as a site: started, asked by command line, killed, restarted on the same data.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::daemon::{Daemon, START_LIMIT};
use crate::place::Place;
use crate::query;

/// A running site with a configuration and a data folder of its own.
#[derive(Debug)]
pub struct Site {
    // Before the place, so that the process has ended when its folder goes.
    daemon: Daemon,
    place: Place,
}

impl Site {
    /// Starts a site at a loopback address of its own and waits until it answers; the function returns `zonemesh.toml`.
    ///
    /// # Errors
    ///
    /// When the binary cannot be built, or does not answer within thirty seconds; with the end of its log.
    pub fn start(config: impl FnOnce(&Place) -> String) -> Result<Self> {
        Self::start_at(Place::new("site")?, config)
    }

    /// Starts a site at a given place and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(place: Place, config: impl FnOnce(&Place) -> String) -> Result<Self> {
        let mut site = Self::launch(place, config)?;
        site.wait_answering()?;
        Ok(site)
    }

    /// Starts a site and does not wait, for one that is expected to refuse to start or to stay silent.
    ///
    /// # Errors
    ///
    /// When the binary cannot be built or run.
    pub fn launch(place: Place, config: impl FnOnce(&Place) -> String) -> Result<Self> {
        let text = config(&place);
        let config = place.write("zonemesh.toml", &text);
        if text.contains("role = \"catalog-primary\"") {
            let mut command = Command::new(binary()?);
            command.args(["init", "--config", &config, "--data-dir"]);
            let made = command.arg(place.path(DATA)).output()?;
            if !made.status.success() {
                bail!("no mesh: {}", String::from_utf8_lossy(&made.stderr));
            }
        }
        let mut command = Command::new(binary()?);
        command
            .args(["up", "--config", &config, "--data-dir"])
            .arg(place.path(DATA))
            .envs(of_the_service())
            .current_dir(place.dir());
        let log = PathBuf::from(place.path("site.log"));
        let daemon = Daemon::start("site", command, log)?;
        Ok(Self { daemon, place })
    }

    /// Waits until the site answers anything at all over UDP, be it REFUSED.
    ///
    /// # Errors
    ///
    /// When it does not within thirty seconds, or has ended; with the end of its log.
    pub fn wait_answering(&mut self) -> Result<()> {
        let at = self.place.dns();
        self.daemon.wait_ready(START_LIMIT, || {
            let question = query::question("ready.test", query::qtype::SOA);
            query::udp(at, &question, Duration::from_millis(200)).map(|_| true)
        })
    }

    /// Waits until the site answers for a zone with this serial.
    ///
    /// # Errors
    ///
    /// When it does not within the limit, or has ended; with the end of its log.
    pub fn wait_serial(&mut self, limit: Duration, zone: &str, serial: u32) -> Result<()> {
        let at = self.place.dns();
        self.daemon
            .wait_ready(limit, || match query::serial(at, zone)? {
                Some(seen) if seen == serial => Ok(true),
                seen => bail!("serial {seen:?} of {zone} instead of {serial}"),
            })
    }

    /// Runs a `zonemesh` command against this site (`--data-dir` is put behind the words) and returns what came of it.
    ///
    /// # Errors
    ///
    /// When the binary cannot be run; a failing command is not an error here, see [`cli_ok`](Self::cli_ok).
    pub fn cli(&self, words: &[&str]) -> Result<Output> {
        Command::new(binary()?)
            .args(words)
            .arg("--data-dir")
            .arg(self.place.path(DATA))
            .current_dir(self.place.dir())
            .env("NO_COLOR", "1")
            .output()
            .context("cannot run zonemesh")
    }

    /// Runs a `zonemesh` command that must succeed and returns its standard output.
    ///
    /// # Errors
    ///
    /// When it fails; with what it printed.
    pub fn cli_ok(&self, words: &[&str]) -> Result<String> {
        let output = self.cli(words)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "zonemesh {} failed ({}):\n{text}{errors}",
            words.join(" "),
            output.status
        )
    }
}

/// # Its life
impl Site {
    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    ///
    /// When it does not run, or ended otherwise than with success.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.daemon.stop()?;
        if !status.success() {
            bail!("the site ended with {status}");
        }
        Ok(())
    }

    /// Kills it on the spot (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        self.daemon.kill()
    }

    /// Starts it again on the same data, after stopping it if it runs, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        if self.daemon.pid().is_some() {
            self.stop()?;
        }
        self.daemon.spawn()?;
        self.wait_answering()
    }

    /// Where it runs.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.place.path(DATA))
    }

    /// The address and port where it answers over UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        self.place.dns()
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The process: its end, its signals.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// Name of the data folder within the place.
const DATA: &str = "data";

/// Returns the binary: `ZONEMESH_BIN`, or what cargo has built beside this test.
///
/// Once in a process, cargo is asked to bring it up to date: a test against yesterday's binary would tell nothing.
///
/// # Errors
///
/// When it cannot be built.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| find_binary().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|message| anyhow!(message))
}

fn find_binary() -> Result<PathBuf> {
    for name in ["ZONEMESH_BIN", "CARGO_BIN_EXE_zonemesh"] {
        if let Some(path) = env::var_os(name).filter(|path| !path.is_empty()) {
            return Ok(PathBuf::from(path));
        }
    }
    // A test lies in target/PROFILE/deps, the binary in target/PROFILE.
    let test = env::current_exe().context("cannot tell where this test lies")?;
    let profile = test
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .context("this test lies in no folder")?;
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--quiet", "--package", "zonemesh"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // Cargo sets them for the test. A build script looks at some, and everything above it would be built anew each time.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let output = build.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cannot build zonemesh:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let binary = profile.join("zonemesh");
    if !binary.is_file() {
        bail!(
            "cargo built zonemesh, but it is not at {}; set ZONEMESH_BIN",
            binary.display()
        );
    }
    Ok(binary)
}

/// The environment that the unit file of the service sets, so that what is tested and measured is what runs.
fn of_the_service() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../../../deploy/zonemesh.service")
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}
