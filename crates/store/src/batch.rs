//! A batch: changes that happen together or not at all.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use zonemesh_zone::{Author, Diff, Key, Name, Serial, Zone};

use crate::format::{EntryHead, encode_entry};

/// Changes that are committed together or not at all, over as many zones as needed.
///
/// They are made in the order in which they were added, each on the outcome of those before. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) at: Timestamp,
    pub(crate) ops: Vec<Op>,
}

/// Where a version comes from; it decides which serials are admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Made here, as primary, by the site itself or by nobody knows whom: the serial must be greater than the high-water mark.
    Local,
    /// The same, by somebody of whom it is known who that is.
    Made {
        /// Who.
        by: Author,
    },
    /// Transferred from a primary: the serial must be greater than that of the stored version. It may be below the
    /// high-water mark, which also knows of serials that were seen but not transferred.
    Transfer {
        /// The primary, as people write it.
        from: String,
    },
    /// Transferred because someone, or the repair of a damaged zone, insisted: any serial is admitted. The high-water
    /// mark never goes down all the same.
    Forced {
        /// The primary, as people write it.
        from: String,
    },
}

/// What must outlive a restart about a zone, apart from its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneState {
    /// When a primary last confirmed or delivered the contents.
    pub last_refresh: Option<Timestamp>,
    /// When that was last tried.
    pub last_attempt: Option<Timestamp>,
    /// When the contents may no longer be served.
    pub expires_at: Option<Timestamp>,
    /// The primary that was last used.
    pub primary: Option<String>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Replace {
        zone: Zone,
        origin: Origin,
    },
    Append {
        zone: Zone,
        /// None when the difference does not begin with SOA records.
        serials: Option<(Serial, Serial)>,
        entry: Arc<Vec<u8>>,
        origin: Origin,
        /// Whether the version takes the place of what is stored when the difference does not start from that.
        or_replace: bool,
    },
    State {
        apex: Name,
        state: Vec<u8>,
    },
    Remove {
        apex: Name,
    },
    Restore {
        apex: Name,
    },
    Purge {
        apex: Name,
        id: u64,
    },
    /// The zone as it was read, by the number of its incarnation and that of its next difference; the first difference that stays;
    /// the contents, where the snapshot is to be written anew.
    Forget {
        apex: Name,
        of: (u64, u64),
        up_to: u64,
        whole: Option<Zone>,
    },
    HighWater {
        apex: Name,
        serial: Serial,
    },
    Value {
        table: String,
        key: String,
        value: Option<Vec<u8>>,
    },
}

/// # Composing
impl Batch {
    /// A batch without changes. The time is that of all changes in it: it appears in the history and decides what of the
    /// history is too old.
    pub fn new(at: Timestamp) -> Self {
        Self {
            at,
            ops: Vec::new(),
        }
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Stores a whole version, in the place of what there may be. The history of the zone begins anew; who has the older
    /// version at hand uses [`Batch::append`] with the difference and keeps it.
    pub fn replace(mut self, zone: &Zone, origin: Origin) -> Self {
        self.ops.push(Op::Replace {
            zone: zone.clone(),
            origin,
        });
        self
    }

    /// Stores a new version and the difference that leads to it from the stored one.
    pub fn append(self, zone: &Zone, diff: &Diff, origin: Origin) -> Self {
        self.step(zone, diff, origin, false)
    }

    /// Stores a whole version of which it is known how it differs from what should be stored: as a difference, so that the history
    /// goes on, when that is what is stored; else in its place, as [`Batch::replace`] does.
    pub fn renew(self, zone: &Zone, diff: &Diff, origin: Origin) -> Self {
        self.step(zone, diff, origin, true)
    }

    fn step(mut self, zone: &Zone, diff: &Diff, origin: Origin, or_replace: bool) -> Self {
        let serials = diff.serials();
        let entry = match serials {
            Some((from, to)) => {
                let head = EntryHead {
                    at: self.at,
                    origin: origin.clone(),
                    from,
                    to,
                    removed: diff.removed.len(),
                    added: diff.added.len(),
                };
                encode_entry(zone.apex(), &head, diff)
            }
            None => Vec::new(),
        };
        self.ops.push(Op::Append {
            zone: zone.clone(),
            serials,
            entry: Arc::new(entry),
            origin,
            or_replace,
        });
        self
    }

    /// Stores the state of a zone, which need not have contents yet.
    pub fn set_state(mut self, apex: &Name, state: &ZoneState) -> Self {
        self.ops.push(Op::State {
            apex: apex.clone(),
            state: serde_json::to_vec(state).expect("a struct of plain fields is always JSON"),
        });
        self
    }

    /// Removes a zone. Contents, history and state are kept for [`Batch::restore_zone`] until
    /// [`Store::purge_removed`](crate::Store::purge_removed); the high-water mark is kept for ever.
    pub fn remove_zone(mut self, apex: &Name) -> Self {
        self.ops.push(Op::Remove { apex: apex.clone() });
        self
    }

    /// Brings back a removed zone as it last was, the last removed one if there are several. Its serial is the one that
    /// it had; when the high-water mark is greater by now, publish a greater one.
    pub fn restore_zone(mut self, apex: &Name) -> Self {
        self.ops.push(Op::Restore { apex: apex.clone() });
        self
    }

    pub(crate) fn purge(mut self, apex: &Name, id: u64) -> Self {
        self.ops.push(Op::Purge {
            apex: apex.clone(),
            id,
        });
        self
    }

    pub(crate) fn forget(
        mut self,
        apex: &Name,
        of: (u64, u64),
        up_to: u64,
        whole: Option<Zone>,
    ) -> Self {
        self.ops.push(Op::Forget {
            apex: apex.clone(),
            of,
            up_to,
            whole,
        });
        self
    }

    /// Raises the high-water mark to a serial that someone has shown; a smaller one changes nothing.
    pub fn high_water(mut self, apex: &Name, serial: Serial) -> Self {
        self.ops.push(Op::HighWater {
            apex: apex.clone(),
            serial,
        });
        self
    }

    /// Stores a value in one of the small tables.
    pub fn put(mut self, table: &str, key: &str, value: &[u8]) -> Self {
        self.ops.push(Op::Value {
            table: table.to_owned(),
            key: key.to_owned(),
            value: Some(value.to_vec()),
        });
        self
    }

    /// Deletes a value from one of the small tables; one that is not there changes nothing.
    pub fn delete(mut self, table: &str, key: &str) -> Self {
        self.ops.push(Op::Value {
            table: table.to_owned(),
            key: key.to_owned(),
            value: None,
        });
        self
    }

    /// Appends the changes of another batch. Its time is dropped for all but the differences in it.
    pub fn and(mut self, other: Batch) -> Self {
        self.ops.extend(other.ops);
        self
    }
}

/// The key under which everything of a zone is found.
pub(crate) fn zone_key(apex: &Name) -> Vec<u8> {
    Key::of(apex).as_slice().to_vec()
}
