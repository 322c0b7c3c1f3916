//! From a change at the primary until two secondaries answer it.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::Place;
use zonemesh_testkit::query::{self, qtype};

use super::Setup;
use crate::client;
use crate::server::{Kind, Role, Server};
use crate::table::{Samples, Section, Table, number, thousands};
use crate::update::Updater;
use crate::zones::{SERIAL, ZONE};

/// Changes.
const CHANGES: usize = 200;
/// Records of the zone.
const RECORDS: usize = 1_000;
/// Time between two looks at a secondary.
const POLL: Duration = Duration::from_micros(100);
/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let changes = setup.times(CHANGES);
    let mut table = Table::new(&[
        "servers",
        "update answered, ms: p50",
        "p99",
        "both answer, ms: p50",
        "p99",
        "greatest",
        "CPU a change, all three, ms",
    ]);
    let mut notes = Vec::new();
    for kind in [Kind::Ours, Kind::Knot, Kind::Named] {
        let mut mesh = Mesh::start(setup, kind)?;
        // What is only done once is not what is measured.
        mesh.change()?;
        let before = mesh.cpu()?;
        let (mut answered, mut all) = (Samples::default(), Samples::default());
        for _ in 0..changes {
            let times = mesh.change()?;
            answered.push(times.0.as_secs_f64() * 1000.0);
            all.push(times.1.as_secs_f64() * 1000.0);
        }
        let used = mesh.cpu()? - before;
        let places = [&mesh.primary, &mesh.secondaries[0], &mesh.secondaries[1]];
        client::same(&places.map(|server| (server.name(), server.dns())), ZONE)?;
        table.row(vec![
            kind.name().to_owned(),
            number(answered.percentile(50)),
            number(answered.percentile(99)),
            number(all.percentile(50)),
            number(all.percentile(99)),
            number(all.greatest()),
            number(used.as_secs_f64() * 1000.0 / changes as f64),
        ]);
        if kind == Kind::Ours {
            let p99 = all.percentile(99);
            let verdict = if p99 < 5.0 { "met" } else { "not met" };
            notes.push(format!(
                "zonemesh: p99 {} ms; goal below 5 ms {verdict}",
                number(p99)
            ));
        }
    }
    Ok(Section {
        title: "Propagation".to_owned(),
        about: format!(
            "{} changes, one after the other, of one record of a zone of {} by signed UPDATE over TCP at a primary with two secondaries of \
             its kind, told by NOTIFY: from sending the update until both answer with the new serial over UDP, asked every 0.1 ms. Every \
             server keeps the change on the disk by then. NSD takes no updates.",
            thousands(changes as u64),
            thousands(RECORDS as u64)
        ),
        tables: vec![table],
        notes,
    })
}

/// A primary and two secondaries.
struct Mesh {
    primary: Server,
    secondaries: Vec<Server>,
    updater: Updater,
    serial: u32,
    // Holds the zone's file.
    _folder: tempfile::TempDir,
}

impl Mesh {
    fn start(setup: &Setup, kind: Kind) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        // A copy of its own, since BIND writes to it.
        let file = folder.path().join("zone");
        crate::zones::write(&file, ZONE, RECORDS)?;
        let places = [kind.place()?, kind.place()?];
        let at = [places[0].dns(), places[1].dns()];
        let primary = Server::primary(kind, &setup.peers, &file, Some(&at))?;
        let role = Role::Secondary {
            zone: ZONE,
            primary: primary.dns(),
        };
        let start = |place: Place| -> Result<Server> {
            let mut server = Server::start_at(kind, &setup.peers, place, &role)?;
            server.wait_serial(ZONE, SERIAL)?;
            Ok(server)
        };
        let secondaries: Vec<Server> = places.into_iter().map(start).collect::<Result<_>>()?;
        for server in secondaries.iter().chain([&primary]) {
            server.wait_rest()?;
        }
        Ok(Self {
            updater: Updater::open(primary.dns(), ZONE)?,
            primary,
            secondaries,
            serial: SERIAL,
            _folder: folder,
        })
    }

    /// Makes a change: how long until it was acknowledged, and until both secondaries have answered it.
    fn change(&mut self) -> Result<(Duration, Duration)> {
        self.serial += 1;
        let serial = self.serial;
        let watch = |at: SocketAddr, started: Instant| -> Result<Duration> {
            loop {
                let answer = query::udp(at, &query::question(ZONE, qtype::SOA), PATIENCE)?;
                if query::soa_serial(&answer)? == Some(serial) {
                    return Ok(started.elapsed());
                }
                ensure!(
                    started.elapsed() < PATIENCE,
                    "{at} does not serve serial {serial}"
                );
                thread::sleep(POLL);
            }
        };
        let started = Instant::now();
        let updater = &mut self.updater;
        thread::scope(|scope| {
            let watchers: Vec<_> = self
                .secondaries
                .iter()
                .map(Server::dns)
                .map(|at| scope.spawn(move || watch(at, started)))
                .collect();
            updater.change("changed")?;
            let answered = started.elapsed();
            let mut all = answered;
            for watcher in watchers {
                let seen = watcher
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
                all = all.max(seen);
            }
            Ok((answered, all))
        })
    }

    fn cpu(&self) -> Result<Duration> {
        let servers = self.secondaries.iter().chain([&self.primary]);
        servers.map(|server| Ok(server.cpu()?.total())).sum()
    }
}
