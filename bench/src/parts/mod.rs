//! What is measured, a module each.

mod axfr_in;
mod axfr_out;
mod cold_start;
mod commits;
mod ixfr;
mod large;
mod load;
mod many;
mod propagation;
mod queries;
mod restart;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;
use zonemesh_testkit::Peers;

use crate::server;
use crate::table::Section;
use crate::zones::{self, Order};

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Queries over UDP, on one CPU
    Queries,
    /// A hundred thousand small zones
    ManyZones,
    /// Whole transfers out
    AxfrOut,
    /// A whole transfer in, until it is served
    AxfrIn,
    /// Differences out: of one change, and of 100,000
    Ixfr,
    /// From a change at the primary until two secondaries answer it
    Propagation,
    /// A start with the zone on the disk
    Restart,
    /// A start with the zone in a zone file
    Load,
    /// One zone of five times as many records, in and out
    Large,
    /// Durable updates a second
    Commits,
    /// All members of a catalog, to an empty secondary
    ColdStart,
}

/// All of them, in the order of the document.
pub(crate) const ALL: &[Part] = &[
    Part::Queries,
    Part::ManyZones,
    Part::AxfrOut,
    Part::AxfrIn,
    Part::Ixfr,
    Part::Propagation,
    Part::Restart,
    Part::Load,
    Part::Large,
    Part::Commits,
    Part::ColdStart,
];

impl Part {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::ManyZones => "many-zones",
            Self::AxfrOut => "axfr-out",
            Self::AxfrIn => "axfr-in",
            Self::Ixfr => "ixfr",
            Self::Propagation => "propagation",
            Self::Restart => "restart",
            Self::Load => "load",
            Self::Large => "large",
            Self::Commits => "commits",
            Self::ColdStart => "cold-start",
        }
    }

    /// All names.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|part| part.name())
    }

    pub(crate) fn run(self, setup: &Setup) -> Result<Section> {
        match self {
            Self::Queries => queries::run(setup),
            Self::ManyZones => many::run(setup),
            Self::AxfrOut => axfr_out::run(setup),
            Self::AxfrIn => axfr_in::run(setup),
            Self::Ixfr => ixfr::run(setup),
            Self::Propagation => propagation::run(setup),
            Self::Restart => restart::run(setup),
            Self::Load => load::run(setup),
            Self::Large => large::run(setup),
            Self::Commits => commits::run(setup),
            Self::ColdStart => cold_start::run(setup),
        }
    }
}

/// What all parts share.
pub(crate) struct Setup {
    pub(crate) peers: Peers,
    /// What is measured against, to be shown.
    pub(crate) versions: String,
    pub(crate) rounds: usize,
    /// Records of the large zone.
    pub(crate) records: usize,
    /// Everything once and in small.
    pub(crate) smoke: bool,
    folder: TempDir,
}

impl Setup {
    pub(crate) fn new(smoke: bool, rounds: usize, records: usize) -> Result<Self> {
        let peers = Peers::find()?;
        let versions = server::versions(&peers)?;
        Ok(Self {
            peers,
            versions,
            rounds: if smoke { 1 } else { rounds.max(1) },
            records: if smoke { 2_000 } else { records },
            smoke,
            folder: tempfile::Builder::new()
                .prefix("zonemesh-bench-")
                .tempdir()
                .context("cannot make a temporary folder")?,
        })
    }

    /// How often something is done, and in small only once or twice.
    pub(crate) fn times(&self, times: usize) -> usize {
        if self.smoke { times.min(2) } else { times }
    }

    /// A file with the zone of so many records; it is made once.
    pub(crate) fn zone(&self, records: usize) -> Result<PathBuf> {
        self.zone_in(records, Order::Added)
    }

    /// The same with its names in an order.
    pub(crate) fn zone_in(&self, records: usize, order: Order) -> Result<PathBuf> {
        let file = format!("zone-{records}-{order:?}");
        let path = self.folder.path().join(file);
        if !path.exists() {
            zones::write_in(&path, zones::ZONE, records, order)?;
        }
        Ok(path)
    }
}
