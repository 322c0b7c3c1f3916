//! Many small zones in one server: what they cost at the start, in memory, and when they are asked for.

use std::time::Instant;

use anyhow::{Context, Result};

use super::Setup;
use super::queries::ask_in_turn;
use crate::load::Load;
use crate::pin::Cpus;
use crate::questions::of_members;
use crate::server::{Kind, Role, Server};
use crate::table::{MIB, Samples, Section, Table, against_best, by_server, number, thousands};
use crate::zones::{self, SERIAL};

/// How many zones.
const ZONES: usize = 100_000;
/// In how much memory a zone is counted.
const KIB: f64 = 1024.0;

#[derive(Default)]
struct Started {
    wall: Samples,
    cpu: Samples,
    memory: Samples,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let members = if setup.smoke { 50 } else { ZONES };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let member = folder.path().join("member");
    zones::write_member(&member)?;
    let role = Role::Many {
        member: &member,
        members,
    };
    let cpus = Cpus::find()?;
    let start = |kind| {
        let begun = Instant::now();
        let mut server = cpus.serve(|| Server::start(kind, &setup.peers, &role))?;
        server.wait_serial(&zones::member(members - 1), SERIAL)?;
        let wall = begun.elapsed();
        let cpu = server.wait_rest()?;
        let mut started = Started::default();
        started.wall.push_time(wall);
        started.cpu.push_time(cpu.total());
        started.memory.push(server.memory()?.now as f64);
        anyhow::Ok((server, started))
    };
    let all: Vec<(Server, Started)> = Kind::ALL.into_iter().map(start).collect::<Result<_>>()?;
    let (servers, started): (Vec<Server>, Vec<Started>) = all.into_iter().unzip();
    let mut load = Load::new(&of_members(members, 10 * members))?;
    let asked = ask_in_turn(setup, cpus, &servers, &mut load)?;

    let mut table = Table::new(&[
        "server",
        "start: wall, s",
        "start: CPU, s",
        "memory, MiB",
        "KiB a zone",
        "queries a second",
        "CPU a query, µs",
        "user, µs",
        "not answered",
    ]);
    for ((server, start), asked) in servers.iter().zip(&started).zip(&asked) {
        table.row(vec![
            server.name().to_owned(),
            start.wall.spread(1.0),
            start.cpu.spread(1.0),
            start.memory.spread(MIB),
            number(start.memory.median() / KIB / members as f64),
            asked.rate.spread(1.0),
            asked.cpu.spread(1e-6),
            asked.user.spread(1e-6),
            thousands(asked.lost),
        ]);
    }
    let names = || servers.iter().map(Server::name);
    let of_start = by_server(names(), &started);
    let of_asked = by_server(names(), &asked);
    let notes = vec![
        against_best("CPU of the start", &of_start(|start| &start.cpu), None),
        against_best("memory", &of_start(|start| &start.memory), None),
        against_best(
            "CPU of a query in user space",
            &of_asked(|asked| &asked.user),
            Some(0.5),
        ),
    ];
    Ok(Section {
        title: "Many zones".to_owned(),
        about: format!(
            "{} zones of six records each, all from one zone file, in a server with one worker on one CPU: from its start until it answers \
             for the last of them, once, and until it is at rest. Then queries to all of them, as above, {} rounds.",
            thousands(members as u64),
            setup.rounds,
        ),
        tables: vec![table],
        notes,
    })
}
