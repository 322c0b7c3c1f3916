//! A start with the zone on the disk: from the start of the process until it answers for the zone.

use std::time::Instant;

use anyhow::Result;

use super::Setup;
use crate::client;
use crate::server::{Kind, Role, Server};
use crate::table::{Samples, Section, Table, against_best, by_server, thousands};
use crate::zones::{SERIAL, ZONE};

#[derive(Default)]
struct Measured {
    cpu: Samples,
    user: Samples,
    wall: Samples,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let file = setup.zone(setup.records)?;
    let primary = Server::primary(Kind::Knot, &setup.peers, &file, None)?;
    let role = Role::Secondary {
        zone: ZONE,
        primary: primary.dns(),
    };
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        let mut server = Server::start(kind, &setup.peers, &role)?;
        server.wait_serial(ZONE, SERIAL)?;
        server.wait_rest()?;
        server.stop()?;
        servers.push(server);
    }
    let mut results: Vec<Measured> = servers.iter().map(|_| Measured::default()).collect();
    for round in 0..setup.rounds {
        for (server, result) in servers.iter_mut().zip(&mut results) {
            let started = Instant::now();
            server.start_again()?;
            server.wait_serial(ZONE, SERIAL)?;
            let (took, used) = (started.elapsed(), server.cpu()?);
            result.wall.push_time(took);
            result.cpu.push_time(used.total());
            result.user.push_time(used.user);
            if round == 0 {
                let both = [
                    ("the primary", primary.dns()),
                    (server.name(), server.dns()),
                ];
                client::same(&both, ZONE)?;
            }
            server.stop()?;
        }
    }
    let mut table = Table::new(&["server", "from", "CPU, s", "user, s", "wall, s"]);
    for (server, result) in servers.iter().zip(&results) {
        let from = match server.kind() {
            Kind::Ours => "store",
            Kind::Knot | Kind::Nsd => "zone file",
            Kind::Named => "raw file",
        };
        table.row(vec![
            server.name().to_owned(),
            from.to_owned(),
            result.cpu.spread(1.0),
            result.user.spread(1.0),
            result.wall.spread(1.0),
        ]);
    }
    let of = by_server(servers.iter().map(Server::name), &results);
    Ok(Section {
        title: "Restart".to_owned(),
        about: format!(
            "Secondaries that have taken over a zone of {} records are stopped in order and started again, {} rounds: from the start of \
             the process until it answers for the zone, out of what it keeps on the disk.",
            thousands(setup.records as u64),
            setup.rounds
        ),
        tables: vec![table],
        notes: vec![
            against_best("CPU", &of(|result| &result.cpu), Some(1.0)),
            against_best("wall", &of(|result| &result.wall), None),
        ],
    })
}
