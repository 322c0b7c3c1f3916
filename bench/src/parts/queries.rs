//! Queries over UDP: what one costs the server, and how many it answers a second on one CPU.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Setup;
use crate::load::Load;
use crate::pin::Cpus;
use crate::questions::questions;
use crate::server::{Kind, Role, Server};
use crate::table::{Samples, Section, Table, against_best, by_server, thousands};
use crate::zones::{SERIAL, ZONE};

/// Records of the small zone.
const SMALL: usize = 100;
/// Different questions at most; more than the caches of any processor hold the answers to.
const QUESTIONS: usize = 1_000_000;
/// How long is asked in one round, of which the first part is not measured.
const TIME: Duration = Duration::from_secs(3);
/// So long it is asked before that.
const WARM: Duration = Duration::from_millis(500);

/// What queries cost a server.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) cpu: Samples,
    pub(super) user: Samples,
    pub(super) system: Samples,
    /// Time between two answers.
    pub(super) wall: Samples,
    pub(super) rate: Samples,
    pub(super) lost: u64,
    pub(super) memory: u64,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let cpus = Cpus::find()?;
    let mut tables = Vec::new();
    let mut notes = Vec::new();
    for records in [SMALL, setup.records] {
        let (table, lines) = of_zone(setup, cpus, records)?;
        tables.push(table);
        notes.extend(lines);
    }
    Ok(Section {
        title: "Queries".to_owned(),
        about: format!(
            "Queries over UDP to a server with one worker on one CPU, from a client that is on another and has 256 of them under way, {} \
             rounds of {} seconds each: seven in ten for a record that is there, one for another type, two for a name that is not there, \
             with EDNS. Every answer's flags and count are checked while it is measured. CPU is of one query, of all threads of the server; \
             *system* has in it what the kernel does to bring the answer to the client.",
            setup.rounds,
            TIME.as_secs()
        ),
        tables,
        notes,
    })
}

fn of_zone(setup: &Setup, cpus: Cpus, records: usize) -> Result<(Table, Vec<String>)> {
    let file = setup.zone(records)?;
    let role = Role::Single {
        zone: ZONE,
        file: &file,
    };
    let start = |kind| {
        let mut server = cpus.serve(|| Server::start(kind, &setup.peers, &role))?;
        server.wait_serial(ZONE, SERIAL)?;
        server.wait_rest()?;
        anyhow::Ok(server)
    };
    let servers: Vec<Server> = Kind::ALL.into_iter().map(start).collect::<Result<_>>()?;
    let mut load = Load::new(&questions(records, QUESTIONS.min(10 * records)))?;
    let results = ask_in_turn(setup, cpus, &servers, &mut load)?;

    let mut table = Table::new(&[
        "records",
        "server",
        "queries a second",
        "CPU, µs",
        "user, µs",
        "system, µs",
        "not answered",
        "memory, MiB",
    ]);
    for (server, result) in servers.iter().zip(&results) {
        table.row(vec![
            thousands(records as u64),
            server.name().to_owned(),
            result.rate.spread(1.0),
            result.cpu.spread(1e-6),
            result.user.spread(1e-6),
            result.system.spread(1e-6),
            thousands(result.lost),
            (result.memory >> 20).to_string(),
        ]);
    }
    let of = by_server(servers.iter().map(Server::name), &results);
    // So many times the queries a second is its reciprocal of the time between two answers.
    let time = if records == SMALL {
        1.0 / 1.1
    } else {
        1.0 / 1.4
    };
    let zone = format!("{} records", thousands(records as u64));
    let notes = vec![
        against_best(
            &format!("{zone}, CPU in user space"),
            &of(|result| &result.user),
            Some(0.5),
        ),
        against_best(&format!("{zone}, CPU"), &of(|result| &result.cpu), None),
        against_best(
            &format!("{zone}, time between two answers"),
            &of(|result| &result.wall),
            Some(time),
        ),
    ];
    Ok((table, notes))
}

/// Asks servers in turn, each of which is on its CPU, and measures what it costs them.
pub(super) fn ask_in_turn(
    setup: &Setup,
    cpus: Cpus,
    servers: &[Server],
    load: &mut Load,
) -> Result<Vec<Measured>> {
    let mut results: Vec<Measured> = servers.iter().map(|_| Measured::default()).collect();
    let (warm, time) = match setup.smoke {
        true => (Duration::ZERO, Duration::from_millis(100)),
        false => (WARM, TIME),
    };
    for _ in 0..setup.rounds {
        for (server, result) in servers.iter().zip(&mut results) {
            let (asked, used) = cpus
                .ask(|| {
                    load.run(server.dns(), warm)?;
                    let before = server.cpu()?;
                    let asked = load.run(server.dns(), time)?;
                    Ok((asked, server.cpu()?.since(before)))
                })
                .with_context(|| format!("asking {}", server.name()))?;
            ensure!(asked.answered > 0, "{} has not answered", server.name());
            let each = |time: Duration| time.as_secs_f64() / asked.answered as f64;
            result.cpu.push(each(used.total()));
            result.user.push(each(used.user));
            result.system.push(each(used.system));
            result.wall.push(each(asked.took));
            result.rate.push(1.0 / each(asked.took));
            result.lost += asked.lost;
            result.memory = server.memory()?.now;
        }
    }
    Ok(results)
}
