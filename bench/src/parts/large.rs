//! One large zone, in and out: what it costs, and how much memory there must be beyond the zone itself.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::Setup;
use crate::client;
use crate::server::{Kind, Role, Server};
use crate::table::{MIB, Section, Table, number, thousands};
use crate::zones::{SERIAL, ZONE};

/// How many times the records of the other parts.
const TIMES: usize = 5;

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let records = setup.records * TIMES;
    let file = setup.zone(records)?;
    // The same for all: what it costs the primary is not counted.
    let primary = Server::primary(Kind::Knot, &setup.peers, &file, None)?;
    let role = Role::Secondary {
        zone: ZONE,
        primary: primary.dns(),
    };
    let mut inward = Table::new(&[
        "server",
        "CPU until served, s",
        "wall until served, s",
        "memory, MiB",
        "octets a record",
        "more at the peak, MiB",
    ]);
    let mut outward = Table::new(&[
        "server",
        "CPU, s",
        "wall, s",
        "records a second",
        "more at the peak, MiB",
    ]);
    for kind in [Kind::Ours, Kind::Knot, Kind::Nsd] {
        let started = Instant::now();
        let mut server = Server::start(kind, &setup.peers, &role)?;
        server.wait_serial(ZONE, SERIAL)?;
        let (took, used) = (started.elapsed(), server.cpu()?.total());
        server.wait_rest()?;
        let memory = server.memory()?;
        inward.row(vec![
            server.name().to_owned(),
            number(used.as_secs_f64()),
            number(took.as_secs_f64()),
            number(memory.now as f64 / MIB),
            number(memory.now as f64 / records as f64),
            number(memory.peak.saturating_sub(memory.now) as f64 / MIB),
        ]);
        server.forget_peak()?;
        let (before, memory) = (server.cpu()?, server.memory()?);
        let counted = client::axfr(server.dns(), ZONE)?;
        ensure!(
            counted.records == records as u64 + 1,
            "{} sent {} records of {records}",
            server.name(),
            counted.records
        );
        let used = server.cpu()?.since(before).total();
        let after = server.memory()?;
        outward.row(vec![
            server.name().to_owned(),
            number(used.as_secs_f64()),
            number(counted.took.as_secs_f64()),
            thousands((counted.records as f64 / counted.took.as_secs_f64()) as u64),
            number(after.peak.saturating_sub(memory.peak) as f64 / MIB),
        ]);
    }
    Ok(Section {
        title: "Large".to_owned(),
        about: format!(
            "One zone of {} records, once: an empty secondary takes it from Knot, and sends it then. How much more memory there was at the \
             peak is that of the largest process; NSD makes another one for each version.",
            thousands(records as u64)
        ),
        tables: vec![inward, outward],
        notes: Vec::new(),
    })
}
