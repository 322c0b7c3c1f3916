//! What a server has used: CPU time and memory, of all its processes.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// The processes of one server: the one that was started, those that it has started, and those that have its folder as their
/// working directory, which is how NSD's are found after one of them has handed over to another.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    root: u32,
    folder: PathBuf,
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// Memory, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is in memory now, what processes share counted once.
    pub(crate) now: u64,
    /// The most that the largest process ever had.
    pub(crate) peak: u64,
}

impl Processes {
    pub(crate) fn new(root: u32, folder: &Path) -> Self {
        Self {
            root,
            folder: folder.to_owned(),
        }
    }

    /// The processes of the same server after it was started again.
    pub(crate) fn again(&self, root: u32) -> Self {
        Self {
            root,
            folder: self.folder.clone(),
        }
    }

    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// The CPU time of all of them, those included that have ended and were waited for.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let tick = rustix::param::clock_ticks_per_second();
        let (mut user, mut system) = (0, 0);
        for process in self.all()? {
            // One that ends just now is in its parent's account the next time.
            let Some(stat) = Stat::of(process) else {
                continue;
            };
            user += stat.user;
            system += stat.system;
        }
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / tick);
        Ok(Cpu {
            user: time(user),
            system: time(system),
        })
    }

    /// Their memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut memory = Memory::default();
        for process in self.all()? {
            memory.now += kilobytes(&told_of(process, "smaps_rollup")?, "Pss:");
            let status = told_of(process, "status")?;
            memory.peak = memory.peak.max(kilobytes(&status, "VmHWM:"));
        }
        Ok(memory)
    }

    /// Has their peaks begin anew (proc_pid_clear_refs(5)).
    pub(crate) fn forget_peak(&self) -> Result<()> {
        for process in self.all()? {
            let path = format!("/proc/{process}/clear_refs");
            match fs::write(&path, "5") {
                Err(error) if has_ended(&error) => {}
                written => written.with_context(|| format!("cannot write {path}"))?,
            }
        }
        Ok(())
    }

    fn all(&self) -> Result<Vec<u32>> {
        let mut stats = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot read /proc")? {
            let name = entry.context("cannot read /proc")?.file_name();
            if let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok())
                && let Some(stat) = Stat::of(process)
            {
                stats.push((process, stat.parent));
            }
        }
        let lives_here = |process: u32| {
            fs::read_link(format!("/proc/{process}/cwd"))
                .is_ok_and(|folder| folder.starts_with(&self.folder))
        };
        let mut found: BTreeSet<u32> = stats
            .iter()
            .map(|(process, _)| *process)
            .filter(|process| *process == self.root || lives_here(*process))
            .collect();
        loop {
            let more: Vec<u32> = stats
                .iter()
                .filter(|(process, parent)| found.contains(parent) && !found.contains(process))
                .map(|(process, _)| *process)
                .collect();
            if more.is_empty() {
                return Ok(found.into_iter().collect());
            }
            found.extend(more);
        }
    }
}

/// Some of /proc/PID/stat; times in clock ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user: u64,
    system: u64,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name may hold anything, and is the only field with parentheses around it.
        let (_, rest) = text.rsplit_once(") ")?;
        let field: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| field.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: field.get(1)?.parse().ok()?,
            user: number(11)? + number(13)?,
            system: number(12)? + number(14)?,
        })
    }
}

/// What Linux says of a process that has ended and is still to be waited for.
const ESRCH: i32 = 3;

/// A file of a process below /proc; empty when it has ended since it was found.
fn told_of(process: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    match fs::read_to_string(&path) {
        Err(error) if has_ended(&error) => Ok(String::new()),
        read => read.with_context(|| format!("cannot read {path}")),
    }
}

/// Whether an error says that a process has ended since it was found.
fn has_ended(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Reads a line such as `VmHWM:  1234 kB`, and returns octets; 0 where there is none.
fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_of_any_kind() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 99 0 0";
        let expected = Stat {
            parent: 3,
            user: 120,
            system: 140,
        };
        assert_eq!(Stat::parse(text), Some(expected));
    }

    #[test]
    fn our_own_processes_have_memory_and_are_found() {
        let ours = Processes::new(std::process::id(), Path::new("/nonexistent"));
        assert!(ours.all().unwrap().contains(&std::process::id()));
        let memory = ours.memory().unwrap();
        assert!(
            memory.now > 0 && memory.peak >= memory.now / 2,
            "{memory:?}"
        );
    }

    #[test]
    fn a_line_in_kilobytes_is_octets() {
        assert_eq!(
            kilobytes("VmPeak:\t 9 kB\nVmHWM:\t   12 kB\n", "VmHWM:"),
            12288
        );
        assert_eq!(kilobytes("", "VmHWM:"), 0);
    }
}
