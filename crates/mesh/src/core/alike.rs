//! Whether all sites hold the same, though nobody has told of a difference: each probe brings a sum over all that the other site
//! serves ([`Inventory`]), and where that stays another one the two find out which zones differ (decision 0014).
//!
//! ```text
//! sums differ ── for a while, by as much ──► compare: sections that differ, down to zones
//!   the other has a newer serial   as if it had sent a NOTIFY
//!   the other has an older one     its primary tells it; nobody else does anything
//!   same serial, other contents    the primary is right: who is not the primary asks it, and takes all of the zone from it
//! ```
//!
//! What is on its way from site to site makes sums differ all the time, and never by as much twice. A site that agrees with most
//! others leaves it to the one that does not to do something. Of two that are not the primary, and cannot reach it, nobody knows
//! which is right: that is told, and nothing is done.
//!
//! A member may report what it likes. One comparison is under way at a time, of so many questions, and one that led to nothing is
//! followed by a longer pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::inventory::{Holding, Inventory, Listing, Section};
use zonemesh_zone::{Digest, Name, Serial, SerialExt, Zone};

use super::{Core, Failure, Happening, Now, Output, PeerId};

/// After how long a difference counts that is another one at each probe: where so much changes that the sums are never alike.
const RESTLESS: Duration = Duration::from_secs(30);
/// How much later a site compares that agrees with most others, or with as many as not.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pause after a comparison with a peer; it doubles with each that led to nothing.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest one while the difference is the one that was found before.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// The longest one when it is another.
const LONGEST_PAUSE_OF_NEWS: Duration = Duration::from_secs(60);
/// For how long the sums have to be alike until the pauses begin anew.
const FORGIVEN: Duration = Duration::from_secs(600);
/// How many questions one comparison has at most. It halves with each that led to nothing, three times.
const MOST_QUESTIONS: u32 = 256;
/// For how many zones the primary is asked what it has, because a third site has other contents.
const MOST_DOUBTFUL: usize = 64;
/// Of how many zones one comparison tells the user; the status shows all.
const MOST_TOLD: usize = 10;
/// How long a comparison may take before it is given up, should its answer never come.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of how far sites hold the same.
#[derive(Default)]
pub(super) struct Alike {
    /// What this site serves of the mesh.
    inventory: Arc<Inventory>,
    peers: BTreeMap<PeerId, Seen>,
    comparison: Option<Comparison>,
    /// Primaries to be asked, and about which zone.
    doubtful: BTreeSet<(PeerId, Name)>,
}

/// How a peer's sum stands to the one here.
#[derive(Default)]
struct Seen {
    /// When it has said so last.
    at: Duration,
    /// By how much it was greater, at the last probe.
    delta: u64,
    /// Since when it has been by that much, and since when it has been another one at all.
    steady: Duration,
    since: Option<Duration>,
    /// Since when it has been the same.
    alike: Option<Duration>,
    /// The difference that was compared last, and when that ended.
    compared: Option<(u64, Duration)>,
    /// Comparisons that led to nothing, one after the other.
    fruitless: u32,
    /// Zones of which it had told newer contents in the last one.
    told: Vec<Holding>,
    /// Zones of which it has other contents under the same serial.
    conflicts: BTreeMap<Name, Conflict>,
}

/// Other contents under the same serial.
struct Conflict {
    serial: Serial,
    /// What was held here when it was found.
    ours: Digest,
    since: Duration,
}

/// A comparison that is under way.
struct Comparison {
    peer: PeerId,
    /// Whether it is about some zones only.
    some: bool,
    asked: Section,
    open: Vec<Section>,
    left: u32,
    began: Duration,
    conflicts: BTreeSet<Name>,
}

/// A zone of which two sites hold different contents under the same serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The zone.
    pub apex: Name,
    /// The serial.
    pub serial: Serial,
    /// The other site.
    pub peer: PeerId,
    /// Since when that is known, on the monotonic clock.
    pub since: Duration,
}

impl Seen {
    /// When the next comparison may begin.
    fn next(&self) -> Duration {
        let Some((known, at)) = self.compared else {
            return Duration::ZERO;
        };
        let longest = match known == self.delta {
            true => LONGEST_PAUSE,
            false => LONGEST_PAUSE_OF_NEWS,
        };
        at + (PAUSE * 2u32.pow(self.fruitless.min(10))).min(longest)
    }
}

/// # What is held here
impl Core {
    /// What this site serves of the mesh, as members that compare are told.
    pub fn inventory(&self) -> &Arc<Inventory> {
        &self.alike.inventory
    }

    /// Enters what is served of a zone.
    pub(super) fn take_stock(&mut self, apex: &Name) {
        let authentic = self.is_authentic(apex);
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let served = entry.served.as_ref().filter(|_| entry.spec.mesh);
        let told = |zone: &Zone, authentic| (zone.serial(), zone.digest(), authentic);
        let holding = served.map(|zone| told(zone, authentic));
        let entered = entry.entered.as_ref();
        if entered.map(|(zone, authentic)| told(zone, *authentic)) == holding {
            return;
        }
        entry.entered = served.map(|zone| (zone.clone(), authentic));
        let inventory = Arc::make_mut(&mut self.alike.inventory);
        match holding {
            Some((serial, digest, authentic)) => inventory.put(Holding {
                apex: apex.clone(),
                serial,
                digest,
                authentic,
            }),
            None => inventory.remove(apex),
        }
    }

    /// Takes a zone out that is served no longer.
    pub(super) fn strike(&mut self, apex: &Name) {
        Arc::make_mut(&mut self.alike.inventory).remove(apex);
    }

    /// Whether this site is a zone's primary and has no reason to think that its contents are not the right ones.
    fn is_authentic(&self, apex: &Name) -> bool {
        let entry = self.zones.get(apex);
        entry.is_some_and(|entry| entry.spec.primary && !entry.in_doubt())
            && !self.has_yielded(apex)
    }
}

impl Alike {
    /// The peers that have other contents of a zone under the same serial, as far as is known.
    pub(super) fn in_conflict(&self) -> impl Iterator<Item = &PeerId> {
        let peers = self.peers.iter();
        let peers = peers.filter(|(_, seen)| !seen.conflicts.is_empty());
        peers.map(|(peer, _)| peer)
    }
}

/// Whether a mistake is planted that lets differences be, or one that comparing would make good before it could be noticed.
fn is_blind() -> bool {
    planted(Bug::DifferenceIgnored) || planted(Bug::OlderVersionTaken)
}

/// # Sums
impl Core {
    /// A probe has brought the sum of all that a peer serves.
    pub(super) fn sum_shown(&mut self, peer: &PeerId, theirs: u64, now: Now) {
        if !self.peers.contains_key(peer) {
            return;
        }
        let delta = theirs.wrapping_sub(self.alike.inventory.sum());
        let recently = self.recently(now);
        let seen = self.alike.peers.entry(peer.clone()).or_default();
        if seen.at < recently {
            // What was on its way then has arrived: how it stood so long ago says nothing.
            seen.since = None;
            seen.steady = now.mono;
        }
        seen.at = now.mono;
        if delta == 0 || is_blind() {
            seen.delta = 0;
            seen.since = None;
            seen.conflicts.clear();
            let alike = *seen.alike.get_or_insert(now.mono);
            if now.mono.saturating_sub(alike) >= FORGIVEN {
                seen.fruitless = 0;
            }
            return;
        }
        seen.alike = None;
        if seen.delta != delta {
            seen.delta = delta;
            seen.steady = now.mono;
        }
        let since = *seen.since.get_or_insert(now.mono);
        let (lasts, stays) = (
            now.mono.saturating_sub(since),
            now.mono.saturating_sub(seen.steady),
        );
        let settled = stays >= self.settings.pace.probe / 2 || lasts >= RESTLESS;
        if !settled || now.mono < seen.next() || !self.may_compare(now) {
            return;
        }
        // Whoever differs from most others has the more to gain.
        if lasts < PATIENCE && self.agrees_with_most(now) {
            return;
        }
        self.compare_all(peer.clone(), now);
    }

    /// Whether none is under way that may still end, and this site has what it needs to know whom to believe.
    fn may_compare(&mut self, now: Now) -> bool {
        let late =
            |comparison: &mut Comparison| now.mono.saturating_sub(comparison.began) >= LONGEST;
        self.alike.comparison.take_if(late);
        self.alike.comparison.is_none() && self.mesh.as_ref().is_some_and(|mesh| mesh.known())
    }

    /// Since when a peer that is probed each time must have answered.
    fn recently(&self, now: Now) -> Duration {
        now.mono.saturating_sub(self.settings.pace.probe * 4)
    }

    fn agrees_with_most(&self, now: Now) -> bool {
        let (peers, recently) = (&self.peers, self.recently(now));
        let answers = |peer: &PeerId| {
            let known = peers.get(peer);
            known.is_some_and(|peer| peer.lost_since.is_none())
        };
        let shown = self.alike.peers.iter().filter(|(peer, _)| answers(peer));
        let (mut same, mut other) = (0, 0);
        for (_, seen) in shown.filter(|(_, seen)| seen.at >= recently) {
            match seen.delta {
                0 => same += 1,
                _ => other += 1,
            }
        }
        same > 0 && same >= other
    }

    /// A peer is a member no longer.
    pub(super) fn forget_sums(&mut self) {
        let peers = &self.peers;
        self.alike.peers.retain(|peer, _| peers.contains_key(peer));
    }
}

/// # Comparing
impl Core {
    fn compare_all(&mut self, peer: PeerId, now: Now) {
        let inventory = &self.alike.inventory;
        let Some(seen) = self.alike.peers.get_mut(&peer) else {
            return;
        };
        let has = |told: &Holding| {
            let held = inventory.get(&told.apex);
            held.is_some_and(|held| !told.serial.is_after(held.serial))
        };
        let before = seen.compared.is_some();
        match std::mem::take(&mut seen.told).iter().any(has) || !before {
            true => seen.fruitless = seen.fruitless.saturating_sub(1),
            false => seen.fruitless += 1,
        }
        let left = MOST_QUESTIONS >> seen.fruitless.min(3);
        self.compare(peer, vec![Section::ALL], false, left, now);
    }

    fn compare(&mut self, peer: PeerId, open: Vec<Section>, some: bool, left: u32, now: Now) {
        self.alike.comparison = Some(Comparison {
            peer,
            some,
            asked: Section::ALL,
            open,
            left,
            began: now.mono,
            conflicts: BTreeSet::new(),
        });
        self.compare_next(now);
    }

    fn compare_next(&mut self, now: Now) {
        let Some(comparison) = &mut self.alike.comparison else {
            return;
        };
        match comparison.open.pop().filter(|_| comparison.left > 0) {
            Some(section) => {
                comparison.asked = section;
                comparison.left -= 1;
                let peer = comparison.peer.clone();
                self.out.push(Output::Compare { peer, section });
            }
            None => self.compared_all(now),
        }
    }

    /// A peer has said what it has in a section; or nothing of the kind.
    pub(super) fn compared(
        &mut self,
        peer: &PeerId,
        section: Section,
        result: Result<Option<Listing>, Failure>,
        now: Now,
    ) {
        match &result {
            Err(failure) if failure.unreachable => self.peer_failed(peer, &failure.message, now),
            _ => self.peer_answered(peer, now),
        }
        let Some(comparison) = &mut self.alike.comparison else {
            return;
        };
        if comparison.peer != *peer || comparison.asked != section {
            return;
        }
        let Ok(Some(listing)) = result else {
            // It cannot be reached, or is of a version that does not know.
            return self.compared_all(now);
        };
        let differences = self.alike.inventory.compare(section, &listing);
        comparison.open.extend(differences.sections);
        for (ours, theirs) in differences.zones {
            self.differs(peer, ours, theirs, now);
        }
        self.compare_next(now);
    }

    /// A comparison has ended.
    fn compared_all(&mut self, now: Now) {
        let Some(ended) = self.alike.comparison.take() else {
            return;
        };
        if let Some(seen) = self.alike.peers.get_mut(&ended.peer)
            && !ended.some
        {
            seen.compared = Some((seen.delta, now.mono));
            if ended.open.is_empty() {
                let still = |apex: &Name, _: &mut Conflict| ended.conflicts.contains(apex);
                seen.conflicts.retain(still);
            }
        }
        // What primaries say of zones that differ elsewhere.
        let Some((primary, _)) = self.alike.doubtful.first().cloned() else {
            return;
        };
        let mut sections = Vec::new();
        self.alike.doubtful.retain(|(peer, apex)| {
            let other = *peer != primary;
            if !other {
                sections.push(Section::of(apex));
            }
            other
        });
        let left = sections.len() as u32;
        self.compare(primary, sections, true, left, now);
    }
}

/// # What differs
impl Core {
    /// A peer holds something else of a zone.
    fn differs(&mut self, peer: &PeerId, ours: Holding, theirs: Holding, now: Now) {
        let apex = &ours.apex;
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let primary = entry.spec.primary;
        let of_it = entry.spec.primary_source().cloned();
        if ours.serial == theirs.serial {
            return self.conflicts(peer, &ours, &theirs, now);
        }
        if ours.serial.is_after(theirs.serial) {
            if primary || of_it.as_ref() == Some(peer) {
                self.tell_again(apex, peer.clone(), now);
            }
            return;
        }
        if let Some(seen) = self.alike.peers.get_mut(peer) {
            seen.told.push(theirs.clone());
        }
        if self.is_too_far(apex, peer, theirs.serial).is_none() {
            self.notified_of(apex, Some(theirs.serial), peer.clone(), now);
        }
    }

    /// A peer holds other contents under the same serial.
    fn conflicts(&mut self, peer: &PeerId, ours: &Holding, theirs: &Holding, now: Now) {
        let apex = &ours.apex;
        let mut found_so_far = 0;
        if let Some(comparison) = &mut self.alike.comparison {
            found_so_far = comparison.conflicts.len();
            comparison.conflicts.insert(apex.clone());
        }
        let seen = self.alike.peers.entry(peer.clone()).or_default();
        let known = seen.conflicts.get(apex);
        let since = known.filter(|known| known.serial == ours.serial);
        let found = Conflict {
            serial: ours.serial,
            ours: ours.digest,
            since: since.map_or(now.mono, |known| known.since),
        };
        let news = since.is_none() && found_so_far < MOST_TOLD;
        seen.conflicts.insert(apex.clone(), found);
        if news {
            self.happened(Happening::ContentsDiffer {
                apex: apex.clone(),
                peer: peer.clone(),
                serial: ours.serial,
            });
        }
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        if entry.spec.primary {
            // Members ask, and heal themselves; foreign servers compare serials alone.
            if self.is_authentic(apex) && !self.agrees_with_most(now) {
                self.reissue(apex, now);
            }
            return;
        }
        let Some(primary) = entry.spec.primary_source().cloned() else {
            return;
        };
        if primary == *peer {
            if theirs.authentic {
                self.correct(apex, primary, now);
            }
        } else if !self.is_lost_site(&primary) && self.alike.doubtful.len() < MOST_DOUBTFUL {
            // Two that are not the primary: its word decides, and without it nobody's does.
            self.alike.doubtful.insert((primary, apex.clone()));
        }
    }

    /// The zones of which this site and another hold different contents under the same serial.
    pub fn differing(&self) -> impl Iterator<Item = Differing> {
        self.alike.peers.iter().flat_map(|(peer, seen)| {
            let open = seen.conflicts.iter().filter(|(apex, conflict)| {
                let held = self.alike.inventory.get(apex);
                held.is_some_and(|held| {
                    (held.serial, held.digest) == (conflict.serial, conflict.ours)
                })
            });
            open.map(|(apex, conflict)| Differing {
                apex: apex.clone(),
                serial: conflict.serial,
                peer: peer.clone(),
                since: conflict.since,
            })
        })
    }
}
