//! Zones, versions and records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::status::{CopyState, ZoneKind};

/// One line of `zonemesh zone list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZoneSummary {
    /// Apex.
    pub zone: String,
    /// What the zone is for.
    #[serde(default)]
    pub kind: ZoneKind,
    /// The site or foreign server that is primary.
    pub primary: Option<String>,
    /// Serial served here.
    pub serial: Option<u32>,
    /// How the copy here compares with the newest one known.
    pub state: CopyState,
    /// Records held here.
    #[serde(default)]
    pub records: u64,
    /// Catalog groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether updates are allowed.
    #[serde(default)]
    pub dynamic: bool,
}

/// A removed zone that can be brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovedZone {
    /// Apex.
    pub zone: String,
    /// Serial of the last version.
    pub serial: Option<u32>,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// When its data goes for good.
    pub kept_until: Timestamp,
}

/// One record, in the presentation format of RFC 1035 §5.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordText {
    /// Owner name.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    /// RRtype, such as `A` or `TYPE65280`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// RDATA.
    pub data: String,
}

/// The difference between two versions of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Apex.
    pub zone: String,
    /// Serial before; none for a new zone.
    pub from: Option<u32>,
    /// Serial after.
    pub to: Option<u32>,
    /// Records that went, in canonical order.
    pub removed: Vec<RecordText>,
    /// Records that came, in canonical order.
    pub added: Vec<RecordText>,
}

/// One version of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HistoryEntry {
    /// Serial before; none for the first version.
    pub from: Option<u32>,
    /// Serial of the version.
    pub to: u32,
    /// When it was published here.
    pub at: Timestamp,
    /// Number of records that went.
    pub removed: u64,
    /// Number of records that came.
    pub added: u64,
    /// What made it, for people: `operator uid 0`, `update with ddns. from 192.0.2.7`, `transfer from site-a`, ….
    pub origin: String,
    /// Who made it, where it was made here and that was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
}

/// Who made a version of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Author {
    /// In which way: `operator` (at the control socket), `update` (with a TSIG key), `site` (an UPDATE by a member of the mesh), or
    /// `file` (the zone file of the configuration).
    pub by: String,
    /// The user, the key, the site or the file.
    pub who: String,
    /// From which address, where it came over a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Which records to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordFilter {
    /// Only this owner name; relative names are below the apex, `@` is the apex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only this RRtype.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub rtype: Option<String>,
}

/// Something wrong, or doubtful, in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Zone file, when it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Apex.
    pub zone: String,
    /// Owner name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// RRtype.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub rtype: Option<String>,
    /// What is wrong and what was expected.
    pub message: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Doubtful; the zone is loaded.
    Warning,
    /// Wrong; the zone is refused.
    Error,
}
