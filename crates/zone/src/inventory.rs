//! What a site holds, as a tree of sums: two sites that differ in few of many zones find them with few and small messages.
//!
//! Each zone has a place, a hash of its name, and counts with a hash of its name, serial and digest. A section is all zones whose
//! places begin alike, six bits for each step of depth; its sum is that of its zones, modulo 2^64. Two sites compare the
//! sum of everything, then the 64 sums below a section that differs, and so on until a section has few zones, which are listed. With
//! 100,000 zones that are three questions for each zone that differs.
//!
//! The tree is immutable where it is shared: a clone is one reference count, and a change copies the path to what changed.
//! As the digests of zones it is for errors, not against anyone who makes up sums.
//!
//! [`Asked`] and [`Listing`] have a form as octets, for the heartbeat between members (decision 0014).

mod form;

use std::sync::Arc;

use twox_hash::XxHash3_64;

pub use self::form::{Asked, FORM, compose_sum, parse_sum};
use crate::{Digest, Key, Name, Serial};

/// How many bits of a place one step of depth takes.
const BITS: u32 = 6;
/// How many sections are below one.
pub const FAN: usize = 1 << BITS;
/// How deep sections go. Zones whose places are alike for so long are listed together, if somebody takes the trouble to find such names.
pub const DEEPEST: u8 = 8;
/// How many zones are listed at most; a section with more is shown by the sums below it.
pub const LISTED: usize = 32;

/// One zone that a site holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The zone.
    pub apex: Name,
    /// Its serial.
    pub serial: Serial,
    /// The digest of its contents.
    pub digest: Digest,
    /// Whether the site is its primary, and knows of no reason why its contents should not be the right ones. Does not count in sums.
    pub authentic: bool,
}

impl Holding {
    /// What it adds to the sums.
    fn weight(&self) -> u64 {
        let mut octets = [0; Digest::LEN + 4];
        octets[..Digest::LEN].copy_from_slice(&self.digest.to_octets());
        octets[Digest::LEN..].copy_from_slice(&self.serial.into_int().to_be_bytes());
        XxHash3_64::oneshot_with_seed(place(&self.apex), &octets)
    }
}

fn place(apex: &Name) -> u64 {
    XxHash3_64::oneshot(Key::of(apex).as_slice())
}

/// All zones whose places begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Section {
    depth: u8,
    /// How their places begin; zeros after that.
    start: u64,
}

impl Section {
    /// All zones.
    pub const ALL: Self = Self { depth: 0, start: 0 };

    /// The smallest section that a zone is in.
    pub fn of(apex: &Name) -> Self {
        Self::at(DEEPEST, place(apex))
    }

    fn at(depth: u8, place: u64) -> Self {
        let mask = u64::MAX
            .checked_shl(u64::BITS - u32::from(depth) * BITS)
            .unwrap_or(0);
        Self {
            depth,
            start: place & mask,
        }
    }

    fn has(&self, place: u64) -> bool {
        Self::at(self.depth, place) == *self
    }

    /// One of the sections below this one.
    fn below(&self, step: usize) -> Option<Self> {
        let depth = self.depth + 1;
        let bits = (step as u64) << (u64::BITS - u32::from(depth) * BITS);
        (depth <= DEEPEST).then_some(Self {
            depth,
            start: self.start | bits,
        })
    }

    /// Which step leads from a section of this depth to a place.
    fn step(depth: u8, place: u64) -> usize {
        (place >> (u64::BITS - (u32::from(depth) + 1) * BITS)) as usize % FAN
    }
}

/// What a site says of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The sums of the sections below it.
    Sums(Box<[u64; FAN]>),
    /// Its zones, in no order that means anything.
    Zones(Vec<Holding>),
}

/// What two sites do not have alike in a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Sections below it that differ.
    pub sections: Vec<Section>,
    /// Zones that both hold and that differ: here, and there.
    pub zones: Vec<(Holding, Holding)>,
}

/// What a site holds. See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    root: Branch,
}

/// All that is below a section.
#[derive(Clone, Debug, Default)]
struct Branch {
    sum: u64,
    count: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// Few zones.
    Few(Vec<Holding>),
    /// Many, by the next step.
    Many(Box<[Option<Arc<Branch>>; FAN]>),
}

impl Default for What {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// # Keeping it
impl Inventory {
    /// Enters a zone, in the place of what was there for it.
    pub fn put(&mut self, holding: Holding) {
        let place = place(&holding.apex);
        self.root.remove(0, place, &holding.apex);
        self.root.put(0, place, holding);
    }

    /// Takes a zone out.
    pub fn remove(&mut self, apex: &Name) {
        self.root.remove(0, place(apex), apex);
    }
}

impl Branch {
    fn put(&mut self, depth: u8, place: u64, holding: Holding) {
        self.sum = self.sum.wrapping_add(holding.weight());
        self.count += 1;
        match &mut self.what {
            What::Few(zones) => {
                zones.push(holding);
                if zones.len() > LISTED && depth < DEEPEST {
                    self.divide(depth);
                }
            }
            What::Many(below) => {
                let below = below[Section::step(depth, place)].get_or_insert_default();
                Arc::make_mut(below).put(depth + 1, place, holding);
            }
        }
    }

    /// Makes sections of too many zones.
    fn divide(&mut self, depth: u8) {
        let What::Few(zones) = std::mem::take(&mut self.what) else {
            return;
        };
        let mut below: Box<[Option<Arc<Self>>; FAN]> = Box::new([const { None }; FAN]);
        for holding in zones {
            let place = place(&holding.apex);
            let below = below[Section::step(depth, place)].get_or_insert_default();
            Arc::make_mut(below).put(depth + 1, place, holding);
        }
        self.what = What::Many(below);
    }

    /// Takes a zone out, if it is there; returns what it weighed.
    fn remove(&mut self, depth: u8, place: u64, apex: &Name) -> Option<u64> {
        let weight = match &mut self.what {
            What::Few(zones) => {
                let at = zones.iter().position(|held| held.apex == *apex)?;
                zones.swap_remove(at).weight()
            }
            What::Many(below) => {
                let slot = &mut below[Section::step(depth, place)];
                let branch = Arc::make_mut(slot.as_mut()?);
                let weight = branch.remove(depth + 1, place, apex)?;
                if branch.count == 0 {
                    *slot = None;
                }
                weight
            }
        };
        self.sum = self.sum.wrapping_sub(weight);
        self.count -= 1;
        Some(weight)
    }

    fn zones<'b>(&'b self, into: &mut Vec<&'b Holding>) {
        match &self.what {
            What::Few(zones) => into.extend(zones),
            What::Many(below) => {
                for branch in below.iter().flatten() {
                    branch.zones(into);
                }
            }
        }
    }
}

/// # Comparing
impl Inventory {
    /// The sum of everything. Two sites that have the same hold the same, as far as errors go.
    pub fn sum(&self) -> u64 {
        self.root.sum
    }

    /// How many zones there are.
    pub fn len(&self) -> usize {
        self.root.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.root.count == 0
    }

    /// What is entered for a zone.
    pub fn get(&self, apex: &Name) -> Option<&Holding> {
        let place = place(apex);
        let (branch, _) = self.branch(Section::at(DEEPEST, place))?;
        match &branch.what {
            What::Few(zones) => zones.iter().find(|held| held.apex == *apex),
            What::Many(_) => None,
        }
    }

    /// What this site says of a section.
    pub fn list(&self, section: Section) -> Listing {
        let Some((branch, depth)) = self.branch(section) else {
            return Listing::Zones(Vec::new());
        };
        if depth < section.depth || branch.count <= LISTED || section.depth == DEEPEST {
            let mut zones = Vec::new();
            branch.zones(&mut zones);
            zones.retain(|held| section.has(place(&held.apex)));
            // The same ones each time, whatever came first.
            zones.sort_by(|one, other| one.apex.cmp(&other.apex));
            zones.truncate(LISTED);
            return Listing::Zones(zones.into_iter().cloned().collect());
        }
        Listing::Sums(Box::new(self.sums(section)))
    }

    /// What is not alike here and there, by what another site says of a section.
    pub fn compare(&self, section: Section, theirs: &Listing) -> Differences {
        let mut differences = Differences::default();
        match theirs {
            Listing::Sums(theirs) => {
                let ours = self.sums(section);
                let differs = |step: &usize| ours[*step] != theirs[*step];
                let steps = (0..FAN).filter(differs);
                differences.sections = steps.filter_map(|step| section.below(step)).collect();
            }
            Listing::Zones(theirs) => {
                for theirs in theirs {
                    if let Some(ours) = self.get(&theirs.apex)
                        && (ours.serial, ours.digest) != (theirs.serial, theirs.digest)
                    {
                        differences.zones.push((ours.clone(), theirs.clone()));
                    }
                }
            }
        }
        differences
    }

    /// The branch of a section and its depth, or the one above it that has too few zones to be divided.
    fn branch(&self, section: Section) -> Option<(&Branch, u8)> {
        let (mut branch, mut depth) = (&self.root, 0);
        while depth < section.depth {
            let What::Many(below) = &branch.what else {
                break;
            };
            branch = below[Section::step(depth, section.start)].as_deref()?;
            depth += 1;
        }
        Some((branch, depth))
    }

    fn sums(&self, section: Section) -> [u64; FAN] {
        let mut sums = [0u64; FAN];
        let Some((branch, depth)) = self.branch(section) else {
            return sums;
        };
        if section.depth >= DEEPEST {
            return sums;
        }
        match &branch.what {
            What::Many(below) if depth == section.depth => {
                for (sum, branch) in sums.iter_mut().zip(below.iter()) {
                    *sum = branch.as_ref().map_or(0, |branch| branch.sum);
                }
            }
            _ => {
                let mut zones = Vec::new();
                branch.zones(&mut zones);
                for held in zones {
                    let place = place(&held.apex);
                    if section.has(place) {
                        let sum = &mut sums[Section::step(section.depth, place)];
                        *sum = sum.wrapping_add(held.weight());
                    }
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests;
