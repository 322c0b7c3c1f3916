//! Requests that change something, and what came of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::zone::{Difference, Finding};

/// How long and whether to wait until every site serves a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wait {
    /// Milliseconds to wait at most; none does not wait, and no receipt is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// Adds a zone with this site as its primary. Groups and updates over the network are set by a `[[zone]]` in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddZone {
    /// Apex.
    pub zone: String,
    /// Zone file text; without it a zone of SOA and NS is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// Removes a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemoveZone {
    /// Apex.
    pub zone: String,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// Brings back a removed zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestoreZone {
    /// Apex.
    pub zone: String,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// Replaces the contents of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImportZone {
    /// Apex.
    pub zone: String,
    /// Zone file text. Travels as the body of the request, not in its parameters.
    #[serde(default, skip)]
    pub text: String,
    /// Name of the file, for messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Only show the difference.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// Changes records of one zone, all or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChangeRecords {
    /// Apex.
    pub zone: String,
    /// What to do, in order.
    pub changes: Vec<RecordChange>,
    /// Only show the difference.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// One change of an RRset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum RecordChange {
    /// Makes the RRset exactly this.
    #[serde(rename_all = "kebab-case")]
    Set {
        /// Owner name; relative names are below the apex, `@` is the apex.
        name: String,
        /// RRtype.
        #[serde(rename = "type")]
        rtype: String,
        /// Seconds; none keeps the RRset's TTL, or takes the SOA's minimum for a new one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<u32>,
        /// RDATA of each record, in presentation format.
        data: Vec<String>,
    },
    /// Deletes records.
    #[serde(rename_all = "kebab-case")]
    Delete {
        /// Owner name.
        name: String,
        /// RRtype; none deletes every RRset of the name.
        #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
        rtype: Option<String>,
        /// RDATA of the records to delete; none deletes the RRset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Vec<String>>,
    },
}

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changed {
    /// The zone that changed: for zones added or removed and for sites, that zone or the directory.
    pub zone: String,
    /// Serial that carries the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u32>,
    /// Whether anything changed; false for a dry run and for a change that was in place already.
    pub changed: bool,
    /// What changed, or would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// Who serves it, when waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// The id to give to `plan approve`, when the brake holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Warnings about what was imported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What else the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Which sites serve a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Receipt {
    /// Apex.
    pub zone: String,
    /// The serial that carries the change.
    pub serial: u32,
    /// Every site that should serve it.
    pub sites: Vec<ReceiptSite>,
}

/// One site of a [`Receipt`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReceiptSite {
    /// The site.
    pub site: String,
    /// Whether it serves this serial or a greater one.
    pub serving: bool,
    /// Milliseconds from the change to when it was seen to serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Receipt {
    /// Whether every site serves the change.
    pub fn complete(&self) -> bool {
        self.sites.iter().all(|site| site.serving)
    }
}

/// Asks for a welcome packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Invite {
    /// Name of the new site.
    pub site: String,
    /// Seconds the packet is good for; none is 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_secs: Option<u64>,
    /// What the site will do in the mesh; none is what it does already, and `standard` for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<InvitedRole>,
}

/// What an invited site does in the mesh; the one catalog primary is not invited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvitedRole {
    /// Holds zones.
    #[default]
    Standard,
    /// Can be promoted to catalog primary, and is asked when that cannot be reached.
    CatalogSecondary,
}

impl std::fmt::Display for InvitedRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::CatalogSecondary => "catalog-secondary",
        })
    }
}

impl std::str::FromStr for InvitedRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "standard" => Ok(Self::Standard),
            "catalog-secondary" => Ok(Self::CatalogSecondary),
            _ => Err("expected `standard` or `catalog-secondary`".into()),
        }
    }
}

/// A welcome packet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Invited {
    /// Name of the new site.
    pub site: String,
    /// The packet; whoever has it can join once under this name, so treat it as a password.
    pub packet: String,
    /// When it ends.
    pub expires: Timestamp,
    /// What the site will do in the mesh.
    #[serde(default)]
    pub role: InvitedRole,
    /// Whether it is a site of the mesh already, and comes back with the packet.
    #[serde(default)]
    pub returns: bool,
    /// Whether that site answers now: unless it is the one that uses the packet, it is no member any longer then.
    #[serde(default)]
    pub answers: bool,
}

impl std::fmt::Debug for Invited {
    // The packet holds a one-time key and must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited")
            .field("site", &self.site)
            .field("expires", &self.expires)
            .field("role", &self.role)
            .field("returns", &self.returns)
            .field("answers", &self.answers)
            .finish()
    }
}

/// Takes a site out of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemoveSite {
    /// The site.
    pub site: String,
    /// What becomes of the zones it is primary for; none is refused when it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<ZonesOfRemoved>,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// What becomes of the zones of a removed site. Written `adopt:SITE` or `remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ZonesOfRemoved {
    /// Another site becomes their primary.
    Adopt(String),
    /// They leave the catalog.
    Remove,
}

impl std::fmt::Display for ZonesOfRemoved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Adopt(site) => write!(f, "adopt:{site}"),
            Self::Remove => f.write_str("remove"),
        }
    }
}

impl From<ZonesOfRemoved> for String {
    fn from(zones: ZonesOfRemoved) -> Self {
        zones.to_string()
    }
}

impl TryFrom<String> for ZonesOfRemoved {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for ZonesOfRemoved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("adopt", site)) if !site.is_empty() => Ok(Self::Adopt(site.to_owned())),
            None if text == "remove" => Ok(Self::Remove),
            _ => Err(format!("expected `adopt:SITE` or `remove`, found `{text}`")),
        }
    }
}

/// A change that the brake holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Held {
    /// The id to give to `plan approve` or `plan decline`.
    pub id: String,
    /// Why it is held: what would go, and how much of what there is.
    pub reason: String,
    /// What would go: the first 20 of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// How much more would go.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether it was declined: everything stays as it is, and nobody is asked any longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declined: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Held {
    /// Names what would go.
    #[must_use]
    pub fn removing(self, all: &[String], most: usize) -> Self {
        Self {
            removed: all.iter().take(most).cloned().collect(),
            more: all.len().saturating_sub(most) as u64,
            ..self
        }
    }
}

/// What the planner last decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Serial of the directory it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_serial: Option<u32>,
    /// Serial of the catalog it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_serial: Option<u32>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What is to be done, one sentence each; empty at rest.
    pub actions: Vec<String>,
    /// Why things were, or were not, planned.
    pub reasons: Vec<String>,
    /// What waits for approval, and what was declined.
    pub held: Vec<Held>,
}

/// Approves or declines a held change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decide {
    /// The id in [`Held`].
    pub id: String,
}

/// A new key of this site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyRolled {
    /// SHA-256 of the old public key, hexadecimal.
    pub old_pin: String,
    /// SHA-256 of the new public key, hexadecimal.
    pub new_pin: String,
    /// What happens next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What reading the configuration again came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// What changed, one sentence each; empty when nothing did.
    pub changes: Vec<String>,
    /// What differs but takes a restart, one sentence each.
    #[serde(default)]
    pub needs_restart: Vec<String>,
}
