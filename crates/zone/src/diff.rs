//! The difference between two versions of a zone: the journal's entry, the IXFR and the signer's work list in one.

use std::collections::{BTreeSet, HashMap};

use zonemesh_planted::{Bug, planted};

use crate::node::Rrsets;
use crate::version::{NameRef, owned, records_of};
use crate::{Name, Record, Rrset, RrsetRef, Rtype, Serial, Soa, Ttl, Zone, ZoneError};

/// What leads from one version of a zone to another, in the form of an IXFR difference sequence (RFC 1995 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The records to remove. The first one is the SOA of the older version.
    pub removed: Vec<Record>,
    /// The records to add. The first one is the SOA of the newer version.
    pub added: Vec<Record>,
}

/// Why a difference does not fit a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The difference does not begin with the SOA records that it must have.
    #[error("the difference does not begin with an SOA record on each side")]
    NoSoa,
    /// The version has another serial than the one the difference starts from.
    #[error("the difference starts from serial {expected} but the zone is at {found}")]
    WrongStart {
        /// What the difference starts from.
        expected: Serial,
        /// What the version has.
        found: Serial,
    },
    /// The version has the serial that the difference starts from, but another writer published it.
    #[error("the difference starts from serial {serial} of {}, but the zone is from {}", .expected.fmt_with_dot(), .found.fmt_with_dot())]
    OtherWriter {
        /// The serial that both have.
        serial: Serial,
        /// The primary server that the difference starts from.
        expected: Name,
        /// The one that the version names.
        found: Name,
    },
    /// A record to remove is not there.
    #[error("the difference removes {} {}, which the zone does not have", .0.owner, .0.rtype)]
    NotThere(Box<Record>),
    /// A record to add is there already.
    #[error("the difference adds {} {}, which the zone has already", .0.owner, .0.rtype)]
    AlreadyThere(Box<Record>),
    /// The result is not a zone.
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// How far above others a primary goes where they may hold serials that it does not know: more than there are versions between two
/// copies of its disk, ten thousand a day for most of a week.
pub const JUMP: u32 = 1 << 16;

impl Diff {
    /// The zone's name.
    pub fn apex(&self) -> Option<&Name> {
        self.removed.first().map(|soa| &soa.owner)
    }

    /// The SOA that it starts from.
    pub fn from_soa(&self) -> Option<Soa> {
        soa_of(&self.removed)
    }

    /// The SOA that it leads to.
    pub fn to_soa(&self) -> Option<Soa> {
        soa_of(&self.added)
    }

    /// The serial that it starts from and the one that it leads to.
    pub fn serials(&self) -> Option<(Serial, Serial)> {
        Some((self.from_soa()?.serial, self.to_soa()?.serial))
    }

    /// Whether it changes nothing but the serial, and that by [`JUMP`] at least. A primary publishes such a version to be above somebody
    /// who has something else under serials that it has used itself, or will: a difference across it would be applied to that.
    pub fn jumps(&self) -> bool {
        let alone = self.removed.len() == 1 && self.added.len() == 1;
        let far = self.serials().is_some_and(|(from, to)| {
            let distance = to.into_int().wrapping_sub(from.into_int());
            distance >= JUMP
        });
        alone && far
    }

    /// Size on the wire, without name compression and headers.
    pub fn wire_len(&self) -> usize {
        self.removed
            .iter()
            .chain(&self.added)
            .map(|record| record.owner.len() + 10 + record.rdata.len())
            .sum()
    }
}

fn soa_of(records: &[Record]) -> Option<Soa> {
    records
        .first()
        .filter(|record| record.rtype == Rtype::SOA)?
        .soa()
        .ok()
}

impl Zone {
    /// What leads from this version to a newer one of the same zone. The cost is that of the difference when the newer
    /// one was made from this one. The SOA records are always in it, also when they are equal.
    pub fn diff(&self, newer: &Zone) -> Diff {
        let mut removed = vec![self.soa_record()];
        let mut added = vec![newer.soa_record()];
        self.tree().compare(newer.tree(), &mut |old, new| {
            let (owner, old, new) = match (old, new) {
                (Some(old), Some(new)) => (old.owner(), old.rrsets(), new.rrsets()),
                (Some(old), None) => (old.owner(), old.rrsets(), Rrsets::default()),
                (None, Some(new)) => (new.owner(), Rrsets::default(), new.rrsets()),
                (None, None) => return,
            };
            for old in old.clone().filter(|set| set.rtype() != Rtype::SOA) {
                difference(owner, old, new.clone(), &mut removed);
            }
            for new in new.filter(|set| set.rtype() != Rtype::SOA) {
                difference(owner, new, old.clone(), &mut added);
            }
        });
        Diff { removed, added }
    }

    /// The RRsets that differ between this version and a newer one, the SOA aside, in canonical order of their owner names.
    /// The cost is that of the difference when the newer one was made from this one.
    pub fn changed_rrsets(&self, newer: &Zone) -> Vec<(Name, Rtype)> {
        let mut changed = Vec::new();
        self.tree().compare(newer.tree(), &mut |old, new| {
            let Some(owner) = new.or(old).map(|node| owned(node.owner())) else {
                return;
            };
            let old = old.map_or(Rrsets::default(), |node| node.rrsets());
            let new = new.map_or(Rrsets::default(), |node| node.rrsets());
            let is_gone =
                |set: &RrsetRef<'_>| !new.clone().any(|other| other.rtype() == set.rtype());
            let gone = old.clone().filter(is_gone);
            let other = new
                .clone()
                .filter(|set| !old.clone().any(|old| old == *set));
            let all = gone.chain(other).map(|set| set.rtype());
            changed.extend(
                all.filter(|rtype| *rtype != Rtype::SOA)
                    .map(|rtype| (owner.clone(), rtype)),
            );
        });
        changed
    }

    /// Makes the version that a difference leads to.
    ///
    /// # Errors
    ///
    /// When the difference was made for another version, or does not lead to a zone. Nothing has changed then.
    pub fn apply(&self, diff: &Diff) -> Result<Zone, ApplyError> {
        let (start, _) = diff
            .from_soa()
            .zip(diff.to_soa())
            .ok_or(ApplyError::NoSoa)?;
        let loosely = planted(Bug::DifferenceToWrongVersion);
        if start.serial != self.serial() && !loosely {
            return Err(ApplyError::WrongStart {
                expected: start.serial,
                found: self.serial(),
            });
        }
        // Two writers who did not see each other may both have published it; a mixture of the two is nobody's.
        let found = self.soa().mname;
        if start.mname != found {
            return Err(ApplyError::OtherWriter {
                serial: start.serial,
                expected: start.mname,
                found,
            });
        }
        let mut editor = self.edit();
        for ((owner, rtype), change) in by_rrset(diff) {
            let set = changed(editor.rrset(owner, rtype), rtype, &change)?;
            editor.put(owner, set)?;
        }
        let soa = diff.added.first().ok_or(ApplyError::NoSoa)?;
        editor.put(&soa.owner, Rrset::new(Rtype::SOA, soa.ttl, [&soa.rdata]))?;
        Ok(editor.finish()?)
    }
}

/// What happens to one RRset.
#[derive(Default)]
struct RrsetChange<'d> {
    removed: Vec<&'d Record>,
    added: Vec<&'d Record>,
}

/// The changes RRset by RRset, so that each is made anew once, whatever the number of its records.
fn by_rrset(diff: &Diff) -> HashMap<(&Name, Rtype), RrsetChange<'_>> {
    let mut changes: HashMap<_, RrsetChange<'_>> = HashMap::new();
    for record in diff.removed.iter().skip(1) {
        changes
            .entry((&record.owner, record.rtype))
            .or_default()
            .removed
            .push(record);
    }
    for record in diff.added.iter().skip(1) {
        changes
            .entry((&record.owner, record.rtype))
            .or_default()
            .added
            .push(record);
    }
    changes
}

fn changed(
    old: Option<RrsetRef<'_>>,
    rtype: Rtype,
    change: &RrsetChange<'_>,
) -> Result<Rrset, ApplyError> {
    let mut records: BTreeSet<&[u8]> = old.into_iter().flat_map(|set| set.iter()).collect();
    for record in &change.removed {
        if !records.remove(record.rdata.as_ref()) && !planted(Bug::DifferenceToWrongVersion) {
            return Err(ApplyError::NotThere(Box::new((*record).clone())));
        }
    }
    for record in &change.added {
        if !records.insert(record.rdata.as_ref()) && !planted(Bug::DifferenceToWrongVersion) {
            return Err(ApplyError::AlreadyThere(Box::new((*record).clone())));
        }
    }
    let kept = old.map_or(Ttl::ZERO, |set| set.ttl());
    Ok(Rrset::new(
        rtype,
        change.added.last().map_or(kept, |record| record.ttl),
        records,
    ))
}

/// Appends the records of `set` that are not in its counterpart among `others`. With another TTL all of them are
/// different records.
fn difference(owner: &NameRef, set: RrsetRef<'_>, mut others: Rrsets<'_>, into: &mut Vec<Record>) {
    match others.find(|other| other.rtype() == set.rtype()) {
        Some(other) if other == set => {}
        Some(other) if other.ttl() == set.ttl() => {
            into.extend(records_of(owner, set).filter(|record| !other.contains(&record.rdata)));
        }
        _ => into.extend(records_of(owner, set)),
    }
}

#[cfg(test)]
mod tests;
