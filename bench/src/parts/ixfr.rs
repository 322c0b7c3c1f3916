//! Differences out: of one change in a small and in a large zone, and of many changes.

use anyhow::{Context, Result, ensure};

use super::Setup;
use crate::client::{self, Connection, Ends};
use crate::server::{Kind, Server};
use crate::table::{Samples, Section, Table, thousands};
use crate::update::Updater;
use crate::zones::{SERIAL, ZONE};

/// Records of the small zone.
const SMALL: usize = 100;
/// Transfers of one change a round: one takes far less than a tick of the clock that counts CPU time.
const TRANSFERS: usize = 1_000;
/// Changes that are transferred together, and how many of them come in one update.
const MANY: usize = 100_000;
const TOGETHER: usize = 500;
/// Transfers of many changes a round.
const TRANSFERS_OF_MANY: usize = 5;

/// What is asked for, and what it costs at each server.
struct Case {
    records: usize,
    changes: usize,
    results: Vec<(Kind, Samples, u64)>,
}

pub(super) fn run(setup: &Setup) -> Result<Section> {
    let many = if setup.smoke { 1_000 } else { MANY };
    let kinds = [Kind::Ours, Kind::Knot, Kind::Named];
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut cases = Vec::new();
    for (records, changes, times) in [
        (SMALL, 1, setup.times(TRANSFERS)),
        (setup.records, 1, setup.times(TRANSFERS)),
        (setup.records, many, setup.times(TRANSFERS_OF_MANY)),
    ] {
        let mut servers = Vec::new();
        for kind in kinds {
            // A copy of its own, since BIND writes to it.
            let file = folder
                .path()
                .join(format!("{}-{records}-{changes}", kind.name()));
            crate::zones::write(&file, ZONE, records)?;
            let server = Server::primary(kind, &setup.peers, &file, Some(&[]))?;
            let mut updater = Updater::open(server.dns(), ZONE)?;
            for first in (0..changes).step_by(TOGETHER) {
                updater
                    .add(first..changes.min(first + TOGETHER))
                    .with_context(|| format!("changes of {}", kind.name()))?;
            }
            server.wait_rest()?;
            servers.push((server, Samples::default(), 0));
        }
        let at: Vec<_> = servers
            .iter()
            .map(|(server, ..)| (server.name(), server.dns()))
            .collect();
        // Their serials differ where changes were made one version.
        let counts: Vec<usize> = at
            .iter()
            .map(|(_, at)| Ok(client::fetch(*at, ZONE)?.record_count()))
            .collect::<Result<_>>()?;
        ensure!(
            counts.iter().all(|count| *count == records + changes),
            "{counts:?} records instead of {records} and {changes}"
        );
        for _ in 0..setup.rounds {
            for (server, cpu, octets) in &mut servers {
                let mut connection = Connection::open(server.dns())?;
                let before = server.cpu()?;
                for _ in 0..times {
                    let question = client::ixfr_question(ZONE, SERIAL);
                    let counted = connection.count(&question, Ends::AsIxfr)?;
                    ensure!(
                        counted.is_ixfr && counted.records >= changes as u64 + 4,
                        "{} sent {counted:?} for {changes} changes",
                        server.name()
                    );
                    *octets = counted.octets;
                }
                let used = server.cpu()?.since(before).total();
                cpu.push(used.as_secs_f64() * 1000.0 / times as f64);
            }
        }
        cases.push(Case {
            records,
            changes,
            results: servers
                .into_iter()
                .map(|(server, cpu, octets)| (server.kind(), cpu, octets))
                .collect(),
        });
    }
    let mut table = Table::new(&[
        "records",
        "changes",
        "server",
        "CPU a transfer, ms",
        "octets",
    ]);
    for case in &cases {
        for (kind, cpu, octets) in &case.results {
            table.row(vec![
                thousands(case.records as u64),
                thousands(case.changes as u64),
                kind.name().to_owned(),
                cpu.spread(1.0),
                thousands(*octets),
            ]);
        }
    }
    Ok(Section {
        title: "IXFR out".to_owned(),
        about: format!(
            "What has changed since a serial, over TCP, {} rounds: one name added, and {} names in updates of {TOGETHER}. NSD takes no updates.",
            setup.rounds,
            thousands(many as u64)
        ),
        tables: vec![table],
        notes: Vec::new(),
    })
}
