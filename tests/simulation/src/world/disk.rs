//! What a site has on disk, by the rules of the store: one job after the other, each whole or not at all.

use super::*;

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    /// Zones, whole.
    pub zones: BTreeMap<Name, Stored>,
    /// High-water marks, which outlive their zones.
    pub high: BTreeMap<Name, Serial>,
    /// Small values, by table and key.
    pub table: BTreeMap<(String, String), Vec<u8>>,
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
}

/// # Disk
impl World {
    pub(super) fn do_on_disk(&mut self, host: &str, job: Job) {
        let slow = self.host(host).slow_disk;
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
        match job {
            Job::Commit(commit, versions, also) => {
                let result = match state.failing_commits.checked_sub(1) {
                    Some(left) => {
                        state.failing_commits = left;
                        Err("no space left on device".to_owned())
                    }
                    None => state.disk.commit(versions, also),
                };
                if let Err(why) = &result {
                    self.note(host, &format!("commit {commit}: {why}"));
                }
                self.input(host, Input::Committed { commit, result });
            }
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
        let held = self.zones.iter().map(|(apex, stored)| Held {
            zone: stored.zone.clone(),
            high_water: self.high[apex],
            expires_at: stored.expires_at,
            last_refresh: stored.last_refresh,
            hosted: hosted(apex),
        });
        held.collect()
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
            let stored = Stored {
                zone,
                expires_at: old.and_then(|old| old.expires_at),
                last_refresh: old.and_then(|old| old.last_refresh),
            };
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
