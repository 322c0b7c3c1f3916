//! A server process: started, watched, and ended when the test ends.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a server may take to start.
pub const START_LIMIT: Duration = Duration::from_secs(120);

/// How long a server may take to end once it was asked to; then it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Lines of the log that are printed when the test fails.
const TAIL: usize = 60;

/// A server process and its log.
///
/// Dropping it ends the process and prints the end of the log, which the test harness shows if the test fails.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
    // How it ended by itself; the child is forgotten then, since its process ID may go to another.
    ended: Option<ExitStatus>,
    quiet: bool,
}

impl Daemon {
    /// Starts a process with its output in the file `log`.
    ///
    /// # Errors
    ///
    /// When the program cannot be run.
    pub fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot create {}", log.display()))?;
        let errors: File = output.try_clone().context("cannot share the log")?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(output)
            .stderr(errors);
        let mut daemon = Self {
            name: name.to_owned(),
            command,
            log,
            child: None,
            ended: None,
            quiet: false,
        };
        daemon.spawn()?;
        Ok(daemon)
    }

    /// Starts the process again after it was stopped or killed, with the same command.
    ///
    /// # Errors
    ///
    /// When it runs already, or cannot be run.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let child = self
            .command
            .spawn()
            .with_context(|| format!("cannot run {}", self.name))?;
        self.child = Some(child);
        self.ended = None;
        Ok(())
    }

    /// Has the end of the log not printed when this is dropped: for programs that are no tests.
    pub fn keep_quiet(&mut self) {
        self.quiet = true;
    }

    /// Waits until `ready` is true; gives up early when the process has ended.
    ///
    /// # Errors
    ///
    /// When the time is up or the process has ended; with the end of the log.
    pub fn wait_ready(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        let mut ended = None;
        let outcome = wait::until(limit, &what, || {
            ended = self.ended()?;
            if ended.is_some() {
                return Ok(Some(()));
            }
            Ok(ready()?.then_some(()))
        });
        if let Some(status) = ended {
            bail!(
                "{} ended by itself ({status}); its log:\n{}",
                self.name,
                self.log_tail()
            );
        }
        outcome.with_context(|| format!("log of {}:\n{}", self.name, self.log_tail()))
    }

    /// Returns how the process ended by itself, if it did since it was started last.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().context("cannot look at the process")?
        {
            self.child = None;
            self.ended = Some(status);
        }
        Ok(self.ended)
    }

    /// Asks the process to end (SIGTERM), kills it if it has not after ten seconds, and returns how it ended.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let mut child = self.take()?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if let Some(status) = child.try_wait().context("cannot look at the process")? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().context("cannot kill the process")?;
        child.wait().context("cannot wait for the process")
    }

    /// Kills the process on the spot (SIGKILL), as a power cut would.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.take()?;
        child.kill().context("cannot kill the process")?;
        child.wait().context("cannot wait for the process")?;
        Ok(())
    }

    /// Sends a signal, such as SIGHUP or SIGSTOP.
    ///
    /// # Errors
    ///
    /// When the process does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().with_context(|| self.not_running())?;
        // A child that was not waited for keeps its process ID, so this reaches nobody else.
        kill_process(Pid::from_child(child), signal)
            .with_context(|| format!("cannot send a signal to {}", self.name))
    }

    fn take(&mut self) -> Result<Child> {
        self.child.take().with_context(|| self.not_running())
    }

    fn not_running(&self) -> String {
        match self.ended {
            Some(status) => format!("{} has ended by itself ({status})", self.name),
            None => format!("{} does not run", self.name),
        }
    }
}

/// # Looking at it
impl Daemon {
    /// The process ID while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything that it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_else(|error| format!("(cannot read {}: {error})", self.log.display()))
    }

    /// The file of [`log`](Self::log).
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.ended(), Ok(Some(_)))
            && self.child.is_some()
            && let Err(error) = self.stop()
        {
            eprintln!("cannot stop {}: {error:#}", self.name);
        }
        // The harness hides this unless the test fails, be it by a panic or by an error that it returns.
        if !self.quiet && !self.log_tail().is_empty() {
            eprintln!(
                "---- end of the log of {} ----\n{}\n----",
                self.name,
                self.log_tail()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Daemon) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let daemon = Daemon::start("a shell", command, folder.path().join("log")).unwrap();
        (folder, daemon)
    }

    fn wait_log(daemon: &Daemon, text: &str) {
        wait::until(START_LIMIT, text, || {
            Ok(daemon.log().contains(text).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn a_process_that_ends_by_itself_is_noticed_and_can_be_started_again() {
        let (_folder, mut daemon) = shell("echo hello; exit 3");
        let error = daemon.wait_ready(START_LIMIT, || Ok(false)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("ended by itself (exit status: 3)")
        );
        assert!(error.to_string().contains("hello"));
        assert!(daemon.stop().unwrap_err().to_string().contains("by itself"));
        assert_eq!(daemon.pid(), None);
        daemon.spawn().unwrap();
        assert!(daemon.pid().is_some());
    }

    #[test]
    fn a_process_is_asked_to_end_first() {
        let (_folder, mut daemon) =
            shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done");
        wait_log(&daemon, "up");
        assert_eq!(daemon.stop().unwrap().code(), Some(7));
    }

    #[test]
    fn a_process_that_runs_is_ended_when_dropped() {
        let (_folder, daemon) = shell("echo up; exec sleep 1000");
        wait_log(&daemon, "up");
        let entry = format!("/proc/{}", daemon.pid().unwrap());
        assert!(Path::new(&entry).exists());
        drop(daemon);
        assert!(!Path::new(&entry).exists());
    }
}
