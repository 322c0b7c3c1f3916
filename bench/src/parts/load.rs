//! A zone file: from the start of a primary until it answers for the zone that it reads from one.

use std::time::Instant;

use anyhow::Result;

use super::Setup;
use crate::client;
use crate::server::{Kind, Role, Server};
use crate::table::{MIB, Samples, Section, Table, against_best, by_server, number, thousands};
use crate::zones::{SERIAL, ZONE};

#[derive(Default)]
struct Measured {
    cpu: Samples,
    user: Samples,
    wall: Samples,
    memory: Samples,
    peak: Samples,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let file = setup.zone(setup.records)?;
    let role = Role::Primary {
        zone: ZONE,
        file: &file,
        changes: None,
    };
    let mut results: Vec<Measured> = Kind::ALL.iter().map(|_| Measured::default()).collect();
    let mut digest = None;
    for _ in 0..setup.rounds {
        for (kind, result) in Kind::ALL.into_iter().zip(&mut results) {
            let started = Instant::now();
            let mut server = Server::start(kind, &setup.peers, &role)?;
            server.wait_serial(ZONE, SERIAL)?;
            let (took, used) = (started.elapsed(), server.cpu()?);
            server.wait_rest()?;
            let memory = server.memory()?;
            result.wall.push_time(took);
            result.cpu.push_time(used.total());
            result.user.push_time(used.user);
            result.memory.push(memory.now as f64);
            result.peak.push(memory.peak as f64);
            let sent = client::same(&[(server.name(), server.dns())], ZONE)?;
            anyhow::ensure!(
                *digest.get_or_insert(sent) == sent,
                "{} has read another zone than the first",
                server.name()
            );
        }
    }
    let mut table = Table::new(&[
        "server",
        "CPU, s",
        "user, s",
        "wall, s",
        "memory, MiB",
        "peak, MiB",
    ]);
    for (kind, result) in Kind::ALL.iter().zip(&results) {
        table.row(vec![
            kind.name().to_owned(),
            result.cpu.spread(1.0),
            result.user.spread(1.0),
            result.wall.spread(1.0),
            number(result.memory.median() / MIB),
            number(result.peak.median() / MIB),
        ]);
    }
    let of = by_server(Kind::ALL.iter().map(|kind| kind.name()), &results);
    Ok(Section {
        title: "Zone file".to_owned(),
        about: format!(
            "A primary with an empty data directory is started with a file of {} records, its names in no order, {} rounds: from the start of \
             the process until it answers for the zone (zonemesh keeps a copy on the disk by then).",
            thousands(setup.records as u64),
            setup.rounds
        ),
        tables: vec![table],
        notes: vec![
            against_best("CPU", &of(|result| &result.cpu), Some(0.5)),
            against_best("wall", &of(|result| &result.wall), Some(0.5)),
        ],
    })
}
