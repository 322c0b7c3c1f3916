//! How much a site sends, estimated as it would be on the wire: nothing is encoded here.

use super::network::{Answer, Ask};
use super::*;

/// What comes on top of each DNS message: its length, a TLS record, and TCP and IPv4 headers.
const FRAME: usize = 2 + 22 + 52;
/// A header and an OPT record.
const MESSAGE: usize = 12 + 11;
/// Type, class, TTL and length of a record.
const RECORD: usize = 10;

/// What a machine has sent and received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, by kind; the answers of a kind are counted with its requests, where they are sent from.
    pub sent: BTreeMap<&'static str, Sent>,
    /// The most messages of any second, sent and received.
    pub busiest: u64,
    second: u64,
    in_second: u64,
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many.
    pub messages: u64,
    /// How many octets they would be on the wire, estimated.
    pub octets: u64,
}

impl Traffic {
    /// All that was sent.
    pub fn total(&self) -> Sent {
        let mut total = Sent::default();
        for sent in self.sent.values() {
            total.messages += sent.messages;
            total.octets += sent.octets;
        }
        total
    }

    pub(super) fn sends(&mut self, now: Duration, kind: &'static str, octets: usize) {
        let sent = self.sent.entry(kind).or_default();
        sent.messages += 1;
        sent.octets += octets as u64;
        self.handles(now);
    }

    /// Counts a message that is sent or received.
    pub(super) fn handles(&mut self, now: Duration) {
        if self.second != now.as_secs() {
            (self.second, self.in_second) = (now.as_secs(), 0);
        }
        self.in_second += 1;
        self.busiest = self.busiest.max(self.in_second);
    }
}

impl Ask {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::Notify { .. } => "notify",
            Self::Probe => "probe",
            Self::Compare(_) => "compare",
            Self::Update(_) => "update",
            Self::Soa(_) => "serial",
        }
    }

    pub(super) fn octets(&self) -> usize {
        FRAME
            + MESSAGE
            + match self {
                // IXFR and NOTIFY carry an SOA.
                Self::Transfer { apex, have } => {
                    question(apex) + have.as_ref().map_or(0, |zone| soa(zone.apex()))
                }
                Self::Notify { apex, .. } => question(apex) + soa(apex),
                // The option of the heartbeat, twice.
                Self::Probe => question(&directory()) + 10,
                Self::Compare(_) => question(&directory()) + 14,
                Self::Update(update) => update.changes.len() * (RECORD + 60),
                Self::Soa(apex) => question(apex),
            }
    }
}

impl Answer {
    pub(super) fn octets(&self) -> usize {
        FRAME
            + MESSAGE
            + match self {
                Self::Zone(Got::UpToDate { .. }, _) => soa(&directory()),
                Self::Zone(Got::Full(zone), _) => records(&mut zone.records()),
                Self::Zone(Got::Diffs(_, diffs), _) => diffs
                    .iter()
                    .map(|diff| records(&mut diff.removed.iter().chain(&diff.added).cloned()))
                    .sum(),
                Self::Heard => 0,
                // Time, progress and sum.
                Self::Serial(..) => soa(&directory()) + 15 + 13,
                Self::Soa(_) => soa(&directory()),
                Self::Listing(listing) => {
                    soa(&directory()) + 4 + listing.compose(Section::ALL).len()
                }
            }
    }
}

fn question(apex: &Name) -> usize {
    apex.as_slice().len() + 4
}

/// An SOA with names that are compressed.
fn soa(apex: &Name) -> usize {
    apex.as_slice().len() + RECORD + 40
}

/// Records whose owner names are compressed.
fn records(records: &mut dyn Iterator<Item = Record>) -> usize {
    records.map(|record| 2 + RECORD + record.rdata.len()).sum()
}
