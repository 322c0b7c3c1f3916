//! The state of the mesh: sites by zones.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SourceError, TransferStatus};

/// The whole mesh as one site sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of this schema, [`crate::types::SCHEMA`].
    pub schema: u32,
    /// The site that answered.
    pub site: String,
    /// Version of zonemesh that answered.
    pub version: String,
    /// When this was true.
    pub at: Timestamp,
    /// The worst of `checks`, in one word.
    pub verdict: Verdict,
    /// Apex of the directory; none at a plain name server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Apex of the catalog zone; none at a plain name server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Everything that was looked at, the worst first.
    pub checks: Vec<Check>,
    /// All sites, the answering one first.
    pub sites: Vec<SiteStatus>,
    /// All zones, in canonical order.
    pub zones: Vec<ZoneStatus>,
    /// Transfers under way at the answering site, those that began first in front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<TransferStatus>,
}

/// A mesh in one word. The exit code of `zonemesh status` is 0, 1 or 2 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every site serves every zone and nothing needs attention.
    Healthy,
    /// Answers are right, but something is late, lost or held.
    Degraded,
    /// A zone is not served, or wrongly, somewhere.
    Broken,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// Stable name such as `peer-ahead-of-primary`.
    pub name: String,
    /// What was found.
    pub state: CheckState,
    /// The zone, site or file it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was found, in a sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Since when the state is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Outcome of a [`Check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// Looked at and fine.
    Ok,
    /// It could not be looked at, which is never "fine".
    Unknown,
    /// Needs attention soon.
    Warning,
    /// Needs attention now.
    Critical,
}

/// One site of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SiteStatus {
    /// The site's name, one label.
    pub name: String,
    /// `catalog-primary`, `catalog-secondary`, `standard` or, outside of a mesh, `plain`.
    pub role: String,
    /// Addresses in the directory.
    pub addresses: Vec<String>,
    /// Whether the answering site reaches it; none when not tried yet.
    pub reachable: Option<bool>,
    /// Whether it says that it holds every member zone; none when it could not be asked.
    pub ready: Option<bool>,
    /// Round trip of the last exchange, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u64>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Version of its engine, as it publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// What would fail together with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
    /// SHA-256 of its public keys, hexadecimal.
    #[serde(default)]
    pub pins: Vec<String>,
    /// How many zones it is primary for.
    #[serde(default)]
    pub zones: u64,
    /// Why it is not reachable or not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether this is the site that answered.
    #[serde(default)]
    pub this: bool,
}

/// One zone, at every site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZoneStatus {
    /// Apex.
    pub zone: String,
    /// The site that is primary; none when a foreign server is, or nobody known.
    pub primary: Option<String>,
    /// What the zone is for.
    #[serde(default)]
    pub kind: ZoneKind,
    /// The newest serial known anywhere.
    pub serial: Option<u32>,
    /// Catalog groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether updates are allowed.
    #[serde(default)]
    pub dynamic: bool,
    /// Records at the answering site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// What each site serves.
    pub sites: Vec<ZoneAtSite>,
}

/// What a zone is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneKind {
    /// Data.
    #[default]
    Data,
    /// The directory of the mesh.
    Directory,
    /// A catalog zone (RFC 9432).
    Catalog,
}

/// What one site serves of one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZoneAtSite {
    /// The site.
    pub site: String,
    /// How its copy compares with the newest.
    pub state: CopyState,
    /// The serial it serves.
    pub serial: Option<u32>,
    /// Seconds since its copy was last known to be current; none at the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_secs: Option<u64>,
    /// Seconds until the next refresh; none at the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_refresh_secs: Option<u64>,
    /// Seconds until the copy expires; none at the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_secs: Option<u64>,
    /// How the copy of the answering site came: `tls`, `quic`, `tcp`, `udp+tcp` or `local`; of another site, how that is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// From whom its copy came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why the last attempt failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Of each source that has not been of use since, why; of the answering site's copy alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<SourceError>,
}

/// How a copy of a zone compares with the newest one known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// The newest serial.
    Current,
    /// An older serial; on its way or stuck, see `last-error`.
    Behind,
    /// A serial greater than the primary's.
    Ahead,
    /// The site does not have it.
    Missing,
    /// The site has it but may not serve it any more.
    Expired,
    /// The site could not be asked.
    Unknown,
}

/// Whether a site is alive and ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// Whether every member zone is held, so that answers can be trusted.
    pub ready: bool,
    /// What is missing, when not ready.
    #[serde(default)]
    pub reasons: Vec<String>,
}

impl Verdict {
    /// The exit code of `zonemesh status`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Degraded => 1,
            Self::Broken => 2,
        }
    }

    /// The verdict that follows from checks.
    pub fn of(checks: &[Check]) -> Self {
        match checks.iter().map(|check| check.state).max() {
            None | Some(CheckState::Ok) => Self::Healthy,
            Some(CheckState::Unknown | CheckState::Warning) => Self::Degraded,
            Some(CheckState::Critical) => Self::Broken,
        }
    }
}
