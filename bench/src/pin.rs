//! Which CPU runs what: servers on one, what asks them on another.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs of this program, one for servers and one for what asks them; the same where there is but one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    servers: usize,
    clients: usize,
    all: CpuSet,
}

impl Cpus {
    pub(crate) fn find() -> Result<Self> {
        let all = sched_getaffinity(None).context("cannot tell which CPUs there are")?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let servers = usable.next().context("there is no CPU")?;
        Ok(Self {
            servers,
            clients: usable.next().unwrap_or(servers),
            all,
        })
    }

    /// Does something on the CPU of servers: what is started meanwhile stays there.
    pub(crate) fn serve<T>(self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.on(self.servers, work)
    }

    /// Does something on the CPU of what asks.
    pub(crate) fn ask<T>(self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.on(self.clients, work)
    }

    fn on<T>(self, cpu: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).with_context(|| format!("cannot keep to CPU {cpu}"))?;
        let done = work();
        sched_setaffinity(None, &self.all).context("cannot use all CPUs again")?;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_on_one_cpu_and_all_are_there_again_after_it() {
        let cpus = Cpus::find().unwrap();
        let count = || sched_getaffinity(None).unwrap().count();
        let before = count();
        let during = cpus.serve(|| Ok(count())).unwrap();
        assert_eq!((during, count()), (1, before));
    }
}
