//! Transfers of zones: those under way, and what sources said last.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A transfer under way at the answering site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransferStatus {
    /// Apex of the zone.
    pub zone: String,
    /// Which way it goes.
    pub direction: Direction,
    /// Who the other side is.
    pub peer: String,
    /// What it goes over: `tcp`, `tls`, `quic`, or `udp`.
    #[serde(default)]
    pub transport: String,
    /// Records that have come or gone so far.
    pub records: u64,
    /// How many it will be, as far as can be told: what is held now of a zone that comes, what there is of one that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_records: Option<u64>,
    /// Octets so far.
    pub bytes: u64,
    /// Since when it runs, in seconds.
    pub running_secs: u64,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the answering site.
    In,
    /// From it.
    Out,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

/// What a source of a zone said last, when it had no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceError {
    /// The site or foreign server.
    pub source: String,
    /// Why it was of no use.
    pub error: String,
    /// When it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}
