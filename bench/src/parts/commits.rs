//! Durable updates a second, by one client and by many, and how often the disk is told to flush.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use zonemesh_testkit::wait;

use super::Setup;
use crate::client;
use crate::server::{Kind, Server};
use crate::table::{Samples, Section, Table, number, thousands};
use crate::update::Updater;
use crate::zones::ZONE;

/// Updates a round: by each client its share.
const UPDATES: usize = 640;
/// How many clients.
const CLIENTS: [usize; 2] = [1, 64];
/// Records of the zone.
const RECORDS: usize = 1_000;

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let kinds = [Kind::Ours, Kind::Knot, Kind::Named];
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut servers = Vec::new();
    for kind in kinds {
        let file = folder.path().join(kind.name());
        crate::zones::write(&file, ZONE, RECORDS)?;
        let server = Server::primary(kind, &setup.peers, &file, Some(&[]))?;
        servers.push(server);
    }
    let updates = if setup.smoke { 64 } else { UPDATES };
    let mut table = Table::new(&[
        "server",
        "clients",
        "updates a second",
        "CPU an update, ms",
        "flushes an update",
    ]);
    for clients in CLIENTS {
        let mut results: Vec<[Samples; 2]> = kinds.iter().map(|_| Default::default()).collect();
        for _ in 0..setup.rounds {
            for (server, [rate, cpu]) in servers.iter().zip(&mut results) {
                let before = server.cpu()?;
                let took = update(server, clients, updates)
                    .with_context(|| format!("{clients} clients at {}", server.name()))?;
                let used = server.cpu()?.since(before).total();
                rate.push(updates as f64 / took.as_secs_f64());
                cpu.push(used.as_secs_f64() * 1000.0 / updates as f64);
            }
        }
        for (server, [rate, cpu]) in servers.iter().zip(&results) {
            let flushes = flushes(server, || update(server, clients, updates).map(drop))?;
            table.row(vec![
                server.name().to_owned(),
                clients.to_string(),
                rate.spread(1.0),
                cpu.spread(1.0),
                flushes.map_or("not counted".to_owned(), |count| {
                    number(count as f64 / updates as f64)
                }),
            ]);
        }
    }
    // The same names were changed everywhere, to other addresses.
    let fetched = servers
        .iter()
        .map(|server| client::fetch(server.dns(), ZONE));
    let counts: Vec<usize> = fetched
        .map(|zone| zone.map(|zone| zone.record_count()))
        .collect::<Result<_>>()?;
    anyhow::ensure!(
        counts.windows(2).all(|pair| pair[0] == pair[1]),
        "after the same updates the servers have {counts:?} records"
    );
    Ok(Section {
        title: "Commits".to_owned(),
        about: format!(
            "Signed updates over TCP, each client the next one when it has the answer to the last: {} in all, {} rounds. An update is on \
             the disk when it is answered; flushes are counted apart, by strace, and are those of fsync, fdatasync and msync.",
            thousands(updates as u64),
            setup.rounds
        ),
        tables: vec![table],
        notes: Vec::new(),
    })
}

/// Sends so many updates by so many clients; each client has a name of its own to change.
fn update(server: &Server, clients: usize, updates: usize) -> Result<Duration> {
    let mut updaters: Vec<Updater> = (0..clients)
        .map(|_| Updater::open(server.dns(), ZONE))
        .collect::<Result<_>>()?;
    let started = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = updaters
            .iter_mut()
            .enumerate()
            .map(|(client, updater)| {
                scope.spawn(move || -> Result<()> {
                    for _ in 0..updates / clients {
                        updater.change(&format!("client-{client}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
        }
        Ok(started.elapsed())
    })
}

/// How often a server flushes during some work; none where strace is not there or may not look.
fn flushes(server: &Server, work: impl FnOnce() -> Result<()>) -> Result<Option<u64>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let output = folder.path().join("trace");
    let child = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync,msync", "-p"])
        .arg(server.pid().to_string())
        .arg("-o")
        .arg(&output)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        work()?;
        return Ok(None);
    };
    // Every thread: the one that flushes is not the one that was there first.
    let threads = format!("/proc/{}/task", server.pid());
    let traced = || {
        for thread in std::fs::read_dir(&threads)? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            let is_not = |line: &str| line.starts_with("TracerPid:") && line.ends_with("\t0");
            if status.lines().any(is_not) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    let watches = wait::until(Duration::from_secs(10), "strace to begin", traced);
    let worked = work();
    // It ends by itself when the server is let go.
    let _asked = kill_process(Pid::from_child(&child), Signal::INT);
    child.wait().context("cannot wait for strace")?;
    worked?;
    if watches.is_err() {
        return Ok(None);
    }
    let trace = std::fs::read_to_string(&output).context("cannot read what strace wrote")?;
    let count = trace
        .lines()
        .filter(|line| line.contains("sync(") && !line.contains("resumed"))
        .count();
    Ok(Some(count as u64))
}
