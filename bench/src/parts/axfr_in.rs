//! A whole transfer in: from the start of an empty secondary until it serves the zone.

use std::time::Instant;

use anyhow::Result;

use super::Setup;
use crate::client;
use crate::server::{Kind, Role, Server};
use crate::table::{MIB, Samples, Section, Table, against_best, by_server, number, thousands};
use crate::zones::{SERIAL, ZONE};

#[derive(Default)]
struct Measured {
    served: Samples,
    user: Samples,
    rest: Samples,
    wall: Samples,
    memory: Samples,
    peak: Samples,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let file = setup.zone(setup.records)?;
    // The same for all: what it costs the primary is not counted.
    let primary = Server::primary(Kind::Knot, &setup.peers, &file, None)?;
    let role = Role::Secondary {
        zone: ZONE,
        primary: primary.dns(),
    };
    let mut results: Vec<Measured> = Kind::ALL.iter().map(|_| Measured::default()).collect();
    for round in 0..setup.rounds {
        for (kind, result) in Kind::ALL.into_iter().zip(&mut results) {
            let started = Instant::now();
            let mut server = Server::start(kind, &setup.peers, &role)?;
            server.wait_serial(ZONE, SERIAL)?;
            let (took, used) = (started.elapsed(), server.cpu()?);
            let at_rest = server.wait_rest()?;
            let memory = server.memory()?;
            result.wall.push_time(took);
            result.served.push_time(used.total());
            result.user.push_time(used.user);
            result.rest.push_time(at_rest.total());
            result.memory.push(memory.now as f64);
            result.peak.push(memory.peak as f64);
            if round == 0 {
                let both = [
                    ("the primary", primary.dns()),
                    (server.name(), server.dns()),
                ];
                client::same(&both, ZONE)?;
            }
        }
    }
    let mut table = Table::new(&[
        "server",
        "CPU until served, s",
        "in user space, s",
        "CPU until at rest, s",
        "wall until served, s",
        "memory, MiB",
        "peak, MiB",
    ]);
    for (kind, result) in Kind::ALL.iter().zip(&results) {
        table.row(vec![
            kind.name().to_owned(),
            result.served.spread(1.0),
            result.user.spread(1.0),
            result.rest.spread(1.0),
            result.wall.spread(1.0),
            number(result.memory.median() / MIB),
            number(result.peak.median() / MIB),
        ]);
    }
    let of = by_server(Kind::ALL.iter().map(|kind| kind.name()), &results);
    Ok(Section {
        title: "AXFR in".to_owned(),
        about: format!(
            "An empty secondary is started and takes a zone of {} records from Knot as primary, {} rounds. From the start of the process \
             until it answers for the zone, and until it uses no more CPU time: some write the zone to the disk before they serve it \
             (zonemesh, whose copy is durable by then), some after.",
            thousands(setup.records as u64),
            setup.rounds
        ),
        tables: vec![table],
        notes: vec![
            against_best("CPU until served", &of(|result| &result.served), Some(0.7)),
            against_best("CPU until at rest", &of(|result| &result.rest), None),
            against_best("wall until served", &of(|result| &result.wall), None),
        ],
    })
}
