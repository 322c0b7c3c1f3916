//! What a site has on disk, by the rules of the store: one job after the other, each whole or not at all.

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
    bases: BTreeMap<Name, Zone>,
}

/// A zone on disk.
#[derive(Clone)]
pub struct Stored {
    /// Its contents.
    pub zone: Zone,
    expires_at: Option<i64>,
    last_refresh: Option<i64>,
}

/// What a disk is asked to do.
#[derive(Clone)]
pub(super) enum Job {
    Commit(CommitId, Vec<NewVersion>, Vec<(String, String, Vec<u8>)>),
    Keep(Name, Option<i64>, Option<i64>),
    High(Name, Serial),
    Remove(Name),
    Recall(Name, Serial),
}

/// A copy of a disk, and of the key on it.
#[derive(Clone)]
pub struct Backup {
    disk: Disk,
    pins: Vec<KeyPin>,
    /// When it was made.
    pub at: Duration,
}

/// What becomes of a site's key when its disk is emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// The key lies elsewhere.
    Kept,
    /// A new key is made, which nobody knows.
    Lost,
}

/// # Disks
impl World {
    /// Leaves no space on a site's disk: nothing new can be made durable, what is there can be read.
    pub fn fill_disk(&mut self, host: &str) {
        self.host(host).full = true;
        self.note(host, "has a full disk");
    }

    /// Frees space on a site's disk.
    pub fn free_disk(&mut self, host: &str) {
        self.host(host).full = false;
        self.note(host, "has space on its disk again");
    }

    /// Lets a site's disk hang: what it is asked to do waits, and the site does not.
    pub fn hang_disk(&mut self, host: &str) {
        self.host(host).stuck.get_or_insert_default();
        self.note(host, "has a disk that hangs");
    }

    /// Lets a disk that hangs go on.
    pub fn resume_disk(&mut self, host: &str) {
        let waiting = self.host(host).stuck.take();
        self.note(host, "has a disk that goes on");
        for job in waiting.unwrap_or_default() {
            self.do_on_disk(host, job);
        }
    }

    /// Empties a site's disk, which stops it if it runs.
    pub fn empty_disk(&mut self, host: &str, key: Key) {
        if self.host(host).core.is_some() {
            self.kill(host);
        }
        if key == Key::Lost {
            let pins = vec![self.new_key()];
            self.host(host).show(pins);
        }
        let state = self.host(host);
        state.disk = Disk::default();
        state.published.clear();
        self.note(host, &format!("has an empty disk, and its key is {key:?}"));
    }

    /// Copies a site's disk as it is at this moment.
    pub fn copy_disk(&self, host: &str) -> Backup {
        let state = &self.hosts[host];
        Backup {
            disk: state.disk.clone(),
            pins: state.site.pins.clone(),
            at: self.now,
        }
    }

    /// Puts back a copy of a site's disk, which stops it if it runs. What it served since then is not held against it.
    pub fn restore_disk(&mut self, host: &str, backup: &Backup) {
        if self.host(host).core.is_some() {
            self.kill(host);
        }
        let state = self.host(host);
        state.disk = backup.disk.clone();
        state.show(backup.pins.clone());
        state.published.clear();
        let age = self.now - backup.at;
        self.note(host, &format!("has its disk of {age:?} ago"));
    }

    pub(super) fn do_on_disk(&mut self, host: &str, job: Job) {
        let state = self.host(host);
        if let Some(waiting) = &mut state.stuck {
            return waiting.push(job);
        }
        let slow = state.slow_disk.max(1) * u64::from(state.slowness);
        let took = Duration::from_micros(100 + self.below(slow * 1000));
        let now = self.now;
        let state = self.host(host);
        state.disk_free = state.disk_free.max(now) + took;
        let (at, epoch) = (state.disk_free, state.epoch);
        self.at(
            at,
            Event::Disk {
                host: host.to_owned(),
                epoch,
                job,
            },
        );
    }

    pub(super) fn store(&mut self, host: &str, job: Job) {
        let state = self.host(host);
        if let Some(waiting) = &mut state.stuck {
            return waiting.push(job);
        }
        match job {
            Job::Commit(commit, versions, also) => {
                let failing = state.failing_commits > 0;
                state.failing_commits = state.failing_commits.saturating_sub(1);
                let result = match failing || state.full {
                    true => Err("no space left on device".to_owned()),
                    false => state.disk.commit(versions, also),
                };
                if let Err(why) = &result {
                    self.note(host, &format!("commit {commit}: {why}"));
                }
                self.input(host, Input::Committed { commit, result });
            }
            Job::Recall(apex, serial) => {
                let zone = state.disk.past.get(&(apex.clone(), serial.into_int()));
                let zone = zone.cloned();
                self.input(host, Input::Recalled { apex, zone });
            }
            // What cannot be noted is lost, as in the product.
            _ if state.full => {}
            Job::Keep(apex, expires_at, last_refresh) => {
                if let Some(stored) = state.disk.zones.get_mut(&apex) {
                    (stored.expires_at, stored.last_refresh) = (expires_at, last_refresh);
                }
            }
            Job::High(apex, serial) => state.disk.see(&apex, serial),
            Job::Remove(apex) => {
                state.disk.zones.remove(&apex);
            }
        }
    }
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
            let base = self.bases.get(apex);
            doubt.base = base
                .filter(|base| base.serial() == doubt.base_serial())
                .cloned();
            Some(doubt)
        };
        let held = self.zones.iter().map(|(apex, stored)| Held {
            doubt: doubt(apex),
            zone: stored.zone.clone(),
            high_water: self.high[apex],
            expires_at: stored.expires_at,
            last_refresh: stored.last_refresh,
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

    /// A disk on which this is held.
    pub fn of(held: Vec<Held>) -> Self {
        let mut disk = Self::default();
        for held in held {
            let apex = held.zone.apex().clone();
            let stored = Stored {
                zone: held.zone,
                expires_at: held.expires_at,
                last_refresh: held.last_refresh,
            };
            disk.high.insert(apex.clone(), held.high_water);
            disk.zones.insert(apex, stored);
        }
        disk
    }

    pub(super) fn see(&mut self, apex: &Name, serial: Serial) {
        let high = self.high.entry(apex.clone()).or_insert(serial);
        *high = high.later_of(serial);
    }

    /// All or nothing, by the rules of the store.
    pub(super) fn commit(
        &mut self,
        versions: Vec<NewVersion>,
        also: Vec<(String, String, Vec<u8>)>,
    ) -> Result<(), String> {
        let mut next = self.clone();
        for NewVersion {
            zone,
            diffs,
            from,
            base,
            forced,
        } in versions
        {
            let (apex, serial) = (zone.apex().clone(), zone.serial());
            let old = next.zones.get(&apex);
            match (&from, old, next.high.get(&apex)) {
                (_, _, _) if forced => {}
                (None, _, Some(high)) if !serial.is_after(*high) => {
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
                let mut made = old.zone.clone();
                for diff in &diffs {
                    made = made
                        .apply(diff)
                        .map_err(|error| format!("{apex}: {error}"))?;
                }
                assert!(
                    made.same_contents(&zone),
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
                let known = |zone: &&Zone| zone.serial() == doubt.base_serial();
                let old = old.map(|old| &old.zone);
                if let Some(base) = old.into_iter().chain([&zone]).find(known) {
                    next.bases.insert(apex.clone(), base.clone());
                }
            }
            let stored = Stored {
                zone,
                expires_at: old.and_then(|old| old.expires_at),
                last_refresh: old.and_then(|old| old.last_refresh),
            };
            if [directory(), catalog()].contains(&apex) {
                let past = stored.zone.clone();
                next.past.insert((apex.clone(), serial.into_int()), past);
            }
            next.zones.insert(apex.clone(), stored);
            next.see(&apex, serial);
        }
        next.table.extend(
            also.into_iter()
                .map(|(table, key, value)| ((table, key), value)),
        );
        *self = next;
        Ok(())
    }
}
