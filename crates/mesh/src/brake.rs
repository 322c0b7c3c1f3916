//! The brake: nothing disappears in bulk without consent.
//!
//! Every automatic writer asks here before it removes. What is held goes on when an operator approves exactly what was
//! shown: an approval is for one set of names, and for no other.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Diff, Rtype, Zone};

use crate::hash::fnv;

/// Stands for a set of removals; shown to the operator and given back to approve it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// That of a set of things to remove (64-bit FNV-1a over kind and names, which are told apart by their ends).
    pub fn of<T: fmt::Display>(kind: &str, removals: impl IntoIterator<Item = T>) -> Self {
        let names: BTreeSet<String> = removals.into_iter().map(|item| item.to_string()).collect();
        let bytes = [kind.to_string()]
            .into_iter()
            .chain(names)
            .flat_map(|text| text.into_bytes().into_iter().chain([0]))
            .collect::<Vec<_>>();
        Self(format!("{:016x}", fnv(&bytes)))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What operators have approved.
pub type Approvals = BTreeSet<Fingerprint>;

/// Whether removing some of a catalog's members, or of the peers, is too much at once: more than one, and more than
/// 10 %.
pub fn too_many(removed: usize, of: usize) -> bool {
    removed > 1 && removed * 10 > of && !planted(Bug::BrakeNotConsulted)
}

/// A change of one zone that removes too much at once: more than 30 % of its RRsets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "held: {} of {of} RRsets of {zone} would be removed, more than 30 % ({}); approve with {fingerprint} if that is meant",
    removed.len(), some_of(removed)
)]
pub struct HeldChange {
    /// The zone.
    pub zone: String,
    /// The RRsets that would go, as owner name and type.
    pub removed: Vec<String>,
    /// How many there are.
    pub of: usize,
    /// What approves it.
    pub fingerprint: Fingerprint,
}

/// How many of many removals are named.
pub const NAMED: usize = 20;

/// Removals for an operator: the first of them, and how many more there are.
pub fn some_of(removed: &[String]) -> String {
    let named = removed.iter().take(NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    match removed.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Looks at a change of a zone before it is published. An RRset counts as removed when none of its type is left at its
/// owner name; the SOA and what signing makes do not count. With the approval that it goes on by, if it needs one.
///
/// # Errors
///
/// When the change has to wait for approval.
pub fn check_change(
    old: &Zone,
    new: &Zone,
    approvals: &Approvals,
) -> Result<Option<Fingerprint>, HeldChange> {
    let counts = |rtype: Rtype| {
        !matches!(
            rtype,
            Rtype::SOA | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM
        )
    };
    let Diff { removed, .. } = old.diff(new);
    let gone: BTreeSet<String> = removed
        .iter()
        .filter(|record| counts(record.rtype) && new.rrset(&record.owner, record.rtype).is_none())
        .map(|record| format!("{} {}", record.owner, record.rtype))
        .collect();
    // Counting the zone is in proportion to the zone, so only a change that could matter pays for it.
    if gone.len() < 2 {
        return Ok(None);
    }
    let of = old.rrsets().filter(|(_, set)| counts(set.rtype())).count();
    if gone.len() * 10 <= of * 3 {
        return Ok(None);
    }
    let zone = old.apex().fmt_with_dot().to_string();
    let fingerprint = Fingerprint::of(&zone, &gone);
    match approvals.contains(&fingerprint) {
        true => Ok(Some(fingerprint)),
        false => Err(HeldChange {
            zone,
            removed: gone.into_iter().collect(),
            of,
            fingerprint,
        }),
    }
}

/// Stops a plan that repeats itself: acting has not helped, and will not.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    last: Option<String>,
    times: u32,
}

impl Breaker {
    /// How often in a row the same plan may come up.
    const LIMIT: u32 = 3;

    /// Looks at the plan of one round.
    ///
    /// # Errors
    ///
    /// When the same plan came up for the third time in a row; it is not to be acted upon, until another one comes.
    pub fn admit(&mut self, plan: &crate::plan::Plan) -> Result<(), Repeats> {
        if plan.actions.is_empty() {
            *self = Self::default();
            return Ok(());
        }
        // What is done counts, not from which serials it was derived.
        let text = format!("{:?}", plan.actions);
        match self.last.as_ref() == Some(&text) {
            true => self.times += 1,
            false => {
                self.last = Some(text);
                self.times = 1;
            }
        }
        match self.times < Self::LIMIT {
            true => Ok(()),
            false => Err(Repeats {
                times: self.times,
                first: plan.actions[0].to_string(),
                actions: plan.actions.len(),
            }),
        }
    }
}

/// A plan that comes up again and again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stopped: the same plan of {actions} action(s) came up {times} times in a row, so acting on it does not help; it begins with: {first}"
)]
pub struct Repeats {
    /// How often it came up.
    pub times: u32,
    /// Its first action.
    pub first: String,
    /// How many actions it has.
    pub actions: usize,
}

#[cfg(test)]
mod tests;
