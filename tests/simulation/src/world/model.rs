//! A model of the store, for meshes that are too large for real ones: whole jobs, nothing torn. Beside a real store it says
//! what that has.

use zonemesh_keep::Job;

use super::*;

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    /// Zones, whole.
    pub zones: BTreeMap<Name, Stored>,
    /// High-water marks, which outlive their zones.
    pub high: BTreeMap<Name, Serial>,
    /// Old versions of directory and catalog.
    past: BTreeMap<(Name, u32), Zone>,
    /// Small values, by table and key.
    pub table: BTreeMap<(String, String), Vec<u8>>,
    /// The versions that doubts are about, of which a store has the history.
    bases: BTreeMap<(Name, u32), Zone>,
}

/// A zone on disk.
#[derive(Clone)]
pub struct Stored {
    /// Its contents.
    pub zone: Zone,
    /// Unix time at which it expires.
    pub expires_at: Option<i64>,
    /// Unix time of the last success with a source.
    pub last_refresh: Option<i64>,
}

impl Disk {
    /// What a site reads when it starts.
    pub(super) fn held(&self) -> Vec<Held> {
        let hosted = |apex| {
            let key = (HOSTED.to_owned(), hosted_key(apex));
            self.table.get(&key).is_some_and(|value| !value.is_empty())
        };
        let doubt = |apex: &Name| {
            let key = (DOUBTS.to_owned(), doubts_key(apex));
            let mut doubt = HeldDoubt::parse(self.table.get(&key)?)?;
            for parting in &mut doubt.partings {
                let serial = parting.base_serial().into_int();
                parting.base = self.bases.get(&(apex.clone(), serial)).cloned();
            }
            Some(doubt)
        };
        let held = self.zones.iter().map(|(apex, stored)| Held {
            doubt: doubt(apex),
            zone: stored.zone.clone(),
            high_water: self.high[apex],
            expires_at: stored.expires_at,
            last_refresh: stored.last_refresh,
            made_here: self
                .table
                .contains_key(&(HOSTED.to_owned(), hosted_key(apex))),
            hosted: hosted(apex),
        });
        held.collect()
    }

    /// The highest serials of zones that are not held whole any longer.
    pub(super) fn marks(&self) -> BTreeMap<Name, Serial> {
        let lost = self.high.iter();
        let lost = lost.filter(|(apex, _)| !self.zones.contains_key(*apex));
        lost.map(|(apex, serial)| (apex.clone(), *serial)).collect()
    }

    /// What operators have said.
    pub(super) fn consent(&self) -> Vec<(String, Vec<u8>)> {
        let said = self.table.iter().filter(|((table, _), _)| table == CONSENT);
        said.map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The same as a store has it.
    pub(super) fn replace_consent(&mut self, said: Vec<(String, Vec<u8>)>) {
        self.table.retain(|(table, _), _| table != CONSENT);
        let said = said.into_iter();
        self.table
            .extend(said.map(|(key, value)| ((CONSENT.to_owned(), key), value)));
    }

    /// A disk on which this is held.
    pub fn of(held: Vec<Held>) -> Self {
        let mut disk = Self::default();
        disk.replace_zones(&held);
        disk
    }

    /// Has these zones and no others from now on.
    pub(super) fn replace_zones(&mut self, held: &[Held]) {
        self.zones.clear();
        for held in held {
            let apex = held.zone.apex().clone();
            let stored = Stored {
                zone: held.zone.clone(),
                expires_at: held.expires_at,
                last_refresh: held.last_refresh,
            };
            self.see(&apex, held.high_water);
            self.zones.insert(apex, stored);
        }
    }

    /// Does a job, by the rules of the store.
    pub(super) fn run(&mut self, job: Job) -> Result<(), String> {
        match job {
            Job::Commit(_, versions, also) => return self.commit(versions, also),
            Job::Keep {
                apex,
                expires_at,
                last_refresh,
            } => {
                if let Some(stored) = self.zones.get_mut(&apex) {
                    (stored.expires_at, stored.last_refresh) = (expires_at, last_refresh);
                }
            }
            Job::HighWater(apex, serial) => self.see(&apex, serial),
            Job::SetAside(apex) => {
                self.zones.remove(&apex);
            }
            // Nothing changes; see `recall`.
            Job::Recall(..) => {}
        }
        Ok(())
    }

    /// An old version of a zone.
    pub(super) fn recall(&self, apex: &Name, serial: Serial) -> Option<Zone> {
        self.past.get(&(apex.clone(), serial.into_int())).cloned()
    }

    pub(super) fn see(&mut self, apex: &Name, serial: Serial) {
        let high = self.high.entry(apex.clone()).or_insert(serial);
        *high = high.later_of(serial);
    }

    /// All or nothing.
    fn commit(
        &mut self,
        versions: Vec<NewVersion>,
        also: Vec<(String, String, Vec<u8>)>,
    ) -> Result<(), String> {
        let mut made: BTreeMap<Name, Stored> = BTreeMap::new();
        let mut bases = BTreeMap::new();
        for NewVersion {
            zone,
            diffs,
            from,
            base,
            forced,
            ..
        } in versions
        {
            let (apex, serial) = (zone.apex().clone(), zone.serial());
            let old = made.get(&apex).or_else(|| self.zones.get(&apex));
            let high = made.get(&apex).map(|stored| stored.zone.serial());
            let high = match (self.high.get(&apex), high) {
                (Some(high), Some(later)) => Some(high.later_of(later)),
                (high, later) => later.or(high.copied()),
            };
            match (&from, old, high) {
                // The core had nothing to go by, or insists.
                (Some(_), _, _) if forced || base.is_none() => {}
                (None, _, Some(high)) if !serial.is_after(high) => {
                    return Err(format!("{apex}: {serial} is not above {high}"));
                }
                (Some(from), Some(old), _) if !serial.is_after(old.zone.serial()) => {
                    return Err(format!(
                        "{apex}: {serial} of {from} is not above {}",
                        old.zone.serial()
                    ));
                }
                _ => {}
            }
            if !diffs.is_empty() {
                let old = old.ok_or_else(|| format!("{apex}: differences to nothing"))?;
                let mut led = old.zone.clone();
                for diff in &diffs {
                    led = led
                        .apply(diff)
                        .map_err(|error| format!("{apex}: {error}"))?;
                }
                assert!(
                    led.same_contents(&zone),
                    "{apex}: the differences do not lead to the version"
                );
                assert!(
                    diffs.len() == 1 || base.is_some(),
                    "{apex}: steps without a base"
                );
            }
            let noted = also
                .iter()
                .find(|(table, key, _)| table == DOUBTS && *key == doubts_key(&apex));
            if let Some(doubt) = noted.and_then(|(.., value)| HeldDoubt::parse(value)) {
                for zone in old.map(|old| &old.zone).into_iter().chain([&zone]) {
                    let known = |parting: &Parting| zone.serial() == parting.base_serial();
                    if doubt.partings.iter().any(known) {
                        bases.insert((apex.clone(), zone.serial().into_int()), zone.clone());
                    }
                }
            }
            let stored = Stored {
                zone,
                expires_at: old.and_then(|old| old.expires_at),
                last_refresh: old.and_then(|old| old.last_refresh),
            };
            made.insert(apex, stored);
        }
        self.bases.extend(bases);
        for (apex, stored) in made {
            if [directory(), catalog()].contains(&apex) {
                let serial = stored.zone.serial().into_int();
                self.past
                    .insert((apex.clone(), serial), stored.zone.clone());
            }
            self.see(&apex, stored.zone.serial());
            self.zones.insert(apex, stored);
        }
        let also = also.into_iter();
        self.table
            .extend(also.map(|(table, key, value)| ((table, key), value)));
        Ok(())
    }
}
