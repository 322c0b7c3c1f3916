//! A wall clock that is wrong, for single processes: Debian's `libfaketime`, loaded before the C library, adds to the time of day that
//! the system tells. Monotonic clocks and the times of files stay as they are, nothing of the machine is set, and no root is needed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Says why clocks cannot be wrong here, if so.
///
/// # Errors
///
/// When the library is not installed.
pub fn available() -> Result<()> {
    library().map(drop)
}

/// A wall clock, for every process that is started with its [`environment`](Self::environment).
#[derive(Clone, Debug)]
pub struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// Makes a clock that is right at first, in a file.
    ///
    /// # Errors
    ///
    /// When the library is not installed, or the file cannot be written.
    pub fn new(file: PathBuf) -> Result<Self> {
        let clock = Self {
            library: library()?,
            file,
        };
        clock.set_ahead(0)?;
        Ok(clock)
    }

    /// The variables that make it the clock of a process.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            // How soon a process follows, in seconds.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// Sets it to so many seconds ahead of the time that it is, or behind it; processes that run follow within about a second.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_ahead(&self, seconds: i64) -> Result<()> {
        // Never half written: a process may read it at any moment.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// The library, of the kind for programs of several threads.
fn library() -> Result<PathBuf> {
    let folders = fs::read_dir(LIBRARIES).with_context(|| format!("cannot read {LIBRARIES}"))?;
    let mut found = folders
        .filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)))
        .filter(|path| path.is_file());
    match found.next() {
        Some(path) => Ok(path),
        None => bail!("there is no {LIBRARY} below {LIBRARIES}: install the package faketime"),
    }
}

/// The folder with a folder of libraries for each architecture.
const LIBRARIES: &str = "/usr/lib";

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    fn seconds() -> Result<i64> {
        Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64)
    }

    #[test]
    fn a_process_has_the_clock_that_it_is_given_and_follows_it() -> Result<()> {
        crate::wall_clocks_or_skip!();
        let folder = tempfile::tempdir()?;
        let clock = WallClock::new(folder.path().join("clock"))?;
        let log = folder.path().join("log");
        let mut command = Command::new("perl");
        command
            .args([
                "-e",
                "$| = 1; while (1) { print time, \"\\n\"; select undef, undef, undef, 0.1 }",
            ])
            .envs(clock.environment());
        let running = crate::daemon::Daemon::start("a clock", command, log)?;
        for ahead in [0, 1200, -86_400] {
            clock.set_ahead(ahead)?;
            let what = format!("a clock that is ahead by {ahead} s");
            crate::wait::until(Duration::from_secs(60), &what, || {
                let log = running.log();
                let shown: i64 = log.lines().last().context("nothing shown")?.parse()?;
                let off = shown - seconds()? - ahead;
                Ok((off.abs() < 30).then_some(()))
            })?;
        }
        Ok(())
    }
}
