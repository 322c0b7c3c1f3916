//! Whole transfers out: how many records a second, and what they cost the server.

use anyhow::{Result, ensure};

use super::Setup;
use crate::client;
use crate::server::{Kind, Server};
use crate::table::{Samples, Section, Table, against_best, by_server, thousands};
use crate::zones::{Order, ZONE};

/// Transfers a round: a single one is only some fifteen ticks of the clock that counts CPU time.
const TRANSFERS: usize = 5;

#[derive(Default)]
struct Measured {
    cpu: Samples,
    user: Samples,
    system: Samples,
    wall: Samples,
    rate: Samples,
    octets: u64,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let times = setup.times(TRANSFERS);
    let mut table = Table::new(&[
        "order of the file",
        "server",
        "CPU, ms",
        "user, ms",
        "system, ms",
        "wall, ms",
        "records a second",
        "octets",
    ]);
    let mut notes = Vec::new();
    for (order, words) in [(Order::Added, "as added"), (Order::Names, "of names")] {
        let (names, results) = measure(setup, order, times)?;
        for (name, result) in names.iter().zip(&results) {
            table.row(vec![
                words.to_owned(),
                (*name).to_owned(),
                result.cpu.spread(0.001),
                result.user.spread(0.001),
                result.system.spread(0.001),
                result.wall.spread(0.001),
                thousands(result.rate.median() as u64),
                thousands(result.octets),
            ]);
        }
        let of = by_server(names.iter().copied(), &results);
        let what = |what: &str| format!("{what}, file in the order {words}");
        notes.push(against_best(
            &what("CPU"),
            &of(|result| &result.cpu),
            Some(0.7),
        ));
        let user = of(|result| &result.user);
        notes.push(against_best(&what("CPU in user space"), &user, None));
    }
    Ok(Section {
        title: "AXFR out".to_owned(),
        about: format!(
            "A zone of {} records sent whole over TCP, {} rounds of {times} transfers each, per transfer. The servers have it from a zone \
             file, with its names in the order in which they were added or in that of the names.",
            thousands(setup.records as u64),
            setup.rounds
        ),
        tables: vec![table],
        notes,
    })
}

/// The names of the servers, and what was measured of each.
fn measure(
    setup: &Setup,
    order: Order,
    times: usize,
) -> Result<(Vec<&'static str>, Vec<Measured>)> {
    let file = setup.zone_in(setup.records, order)?;
    let start = |kind| Server::primary(kind, &setup.peers, &file, None);
    let servers: Vec<Server> = Kind::ALL.into_iter().map(start).collect::<Result<_>>()?;
    let at: Vec<_> = servers
        .iter()
        .map(|server| (server.name(), server.dns()))
        .collect();
    client::same(&at, ZONE)?;
    for server in &servers {
        server.wait_rest()?;
    }
    let mut results: Vec<Measured> = servers.iter().map(|_| Measured::default()).collect();
    for _ in 0..setup.rounds {
        for (server, result) in servers.iter().zip(&mut results) {
            let before = server.cpu()?;
            for _ in 0..times {
                let counted = client::axfr(server.dns(), ZONE)?;
                // The SOA record is first and last.
                ensure!(
                    counted.records == setup.records as u64 + 1,
                    "{} sent {} records of {}",
                    server.name(),
                    counted.records,
                    setup.records
                );
                result.octets = counted.octets;
                result.wall.push_time(counted.took);
                result
                    .rate
                    .push(counted.records as f64 / counted.took.as_secs_f64());
            }
            let used = server.cpu()?.since(before);
            let each = |time: std::time::Duration| time.as_secs_f64() / times as f64;
            result.cpu.push(each(used.total()));
            result.user.push(each(used.user));
            result.system.push(each(used.system));
        }
    }
    Ok((servers.iter().map(Server::name).collect(), results))
}
