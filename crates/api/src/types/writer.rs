//! Who writes directory and catalog, and what other sites had written that is not in them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::change::{Changed, InvitedRole, Wait};

/// Makes a site the one that writes directory and catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Promote {
    /// The site; none is the one that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Whether what speaks against it is overruled.
    #[serde(default)]
    pub force: bool,
    /// Only say what it would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// What a promotion is, or would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Promotion {
    /// The site that becomes the writer.
    pub site: String,
    /// The one that is it so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The epoch that begins.
    pub epoch: u32,
    /// Whether the old writer hands over itself.
    pub planned: bool,
    /// Serial of the directory that it begins from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_serial: Option<u32>,
    /// Serial of the catalog likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_serial: Option<u32>,
    /// When a source last confirmed that directory; none at the writer itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// Other sites that answer.
    pub answering: Vec<String>,
    /// Other sites that do not.
    pub silent: Vec<String>,
    /// What speaks against it; not done without `force`.
    pub objections: Vec<String>,
    /// What this site cannot know, one sentence each.
    pub unknown: Vec<String>,
    /// What was done; none for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Changed>,
}

/// Gives a site another role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetRole {
    /// The site.
    pub site: String,
    /// What it is from now on.
    pub role: InvitedRole,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// What this site wrote of a zone and had to yield to another writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Yielded {
    /// What it is called.
    pub id: String,
    /// The zone.
    pub zone: String,
    /// When it was set aside.
    pub at: Timestamp,
    /// To whom it yielded.
    pub reason: String,
    /// Serial of the last version that both have; none where that is not known, and all that differs is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common: Option<u32>,
    /// Serial of the last version that was written here.
    pub mine: u32,
    /// Serial of the version that took its place.
    pub theirs: u32,
    /// What was written, RRset by RRset.
    pub changes: Vec<YieldedChange>,
    /// Of the directory, the tombstones that this site had of sites that the changes are about: who was removed since is not let in again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<String>,
}

/// One RRset that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct YieldedChange {
    /// Owner name.
    pub name: String,
    /// RRtype.
    #[serde(rename = "type")]
    pub rtype: String,
    /// The records in the last common version; none where they were not there, or where that is not known.
    pub before: Vec<String>,
    /// The records as they were written; none where they were removed.
    pub after: Vec<String>,
    /// What would become of it now.
    #[serde(default)]
    pub state: YieldedState,
    /// Of a conflict, the records as the zone has them now; none where they are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub now: Vec<String>,
}

/// What would become of a change if it were made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum YieldedState {
    /// It can be made: the RRset is as it was before.
    #[default]
    Open,
    /// The zone says so already.
    InPlace,
    /// The RRset is otherwise by now.
    Conflict,
}

impl std::fmt::Display for YieldedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::InPlace => "in place",
            Self::Conflict => "conflict",
        })
    }
}

impl Yielded {
    /// How many of its changes are in a state.
    pub fn count(&self, state: YieldedState) -> usize {
        let of = |change: &&YieldedChange| change.state == state;
        self.changes.iter().filter(of).count()
    }
}

/// Makes again what was yielded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Replay {
    /// What it is called, where it is kept at the site that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The thing itself, where it is kept elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Yielded>,
    /// Whether what conflicts is made too.
    #[serde(default)]
    pub force: bool,
    /// Only say what would become of each change.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to wait.
    #[serde(flatten)]
    pub wait: Wait,
}

/// What making it again came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Replayed {
    /// What there was to do: each change with its state before.
    pub kept: Yielded,
    /// What was done; none for a dry run, or when there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Changed>,
    /// Whether nothing of it is left to do, and it is kept no longer.
    pub settled: bool,
}

/// Throws away what was yielded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Discard {
    /// What it is called.
    pub id: String,
}
