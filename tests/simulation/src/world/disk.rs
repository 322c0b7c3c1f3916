//! What happens to disks, and what sites have done on them: one job after the other, each whole or not at all.

use zonemesh_keep::{Done, Found, Job};

use super::model::Disk;
use super::platter::Platter;
use super::*;

/// What is under the sites of a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Disks {
    /// The product's own store, on a disk that tears and loses what was not flushed.
    #[default]
    Store,
    /// A model of the store, for meshes that are too large for real ones.
    Model,
}

/// A copy of a disk, and of the key on it.
#[derive(Clone)]
pub struct Backup {
    disk: Disk,
    platter: Option<Platter>,
    corrupt: bool,
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
        let state = self.host(host);
        state.full = true;
        if let Some(real) = &state.real {
            real.platter.set_full(true);
        }
        self.note(host, "has a full disk");
    }

    /// Frees space on a site's disk.
    pub fn free_disk(&mut self, host: &str) {
        let state = self.host(host);
        state.full = false;
        if let Some(real) = &state.real {
            real.platter.set_full(false);
        }
        self.note(host, "has space on its disk again");
    }

    /// Lets a site's disk hang: what it is asked to do waits, and the site does not.
    pub fn hang_disk(&mut self, host: &str) {
        self.host(host).hanging = true;
        self.note(host, "has a disk that hangs");
    }

    /// Lets a disk that hangs go on.
    pub fn resume_disk(&mut self, host: &str) {
        self.host(host).hanging = false;
        self.note(host, "has a disk that goes on");
        self.go_on_disk(host);
    }

    /// Lets a site's disk work again: there is space, it does not hang, no commit fails, and the power stays.
    pub fn heal_disk(&mut self, host: &str) {
        self.host(host).failing_commits = 0;
        if let Some(real) = &self.host(host).real {
            real.platter.fail_after(None);
        }
        if self.host(host).full {
            self.free_disk(host);
        }
        if self.host(host).hanging {
            self.resume_disk(host);
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
        state.corrupt = false;
        if let Some(real) = &state.real {
            real.platter.empty();
        }
        state.forget();
        self.note(host, &format!("has an empty disk, and its key is {key:?}"));
    }

    /// Copies a site's disk as it is at this moment.
    pub fn copy_disk(&self, host: &str) -> Backup {
        let state = &self.hosts[host];
        Backup {
            disk: state.disk.clone(),
            platter: state.real.as_ref().map(|real| real.platter.copy()),
            corrupt: state.corrupt,
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
        state.corrupt = backup.corrupt;
        if let (Some(real), Some(copy)) = (&state.real, &backup.platter) {
            real.platter.restore(copy);
        }
        state.show(backup.pins.clone());
        state.forget();
        let age = self.now - backup.at;
        self.note(host, &format!("has its disk of {age:?} ago"));
    }

    /// Has a site start anew with other contents of a zone on its disk than it had, and nothing on the disk shows it: what a mistake in
    /// the store or in the applying of differences would leave.
    pub fn falsify(&mut self, host: &str, zone: Zone) {
        self.note(
            host,
            &format!("has something else of {} on its disk", zone.apex()),
        );
        self.run_millis(1000);
        let version = NewVersion {
            zone,
            diffs: Vec::new(),
            from: Some(PeerId::Foreign("nobody".into())),
            by: None,
            base: None,
            forced: true,
        };
        // No commit of the core has this number: it hears nothing of it.
        let epoch = self.host(host).epoch;
        let job = Job::Commit(u64::MAX, vec![version], Vec::new());
        self.store(host, epoch, vec![job], false);
        self.kill(host);
        self.start(host);
    }

    pub(super) fn do_on_disk(&mut self, host: &str, job: Job) {
        self.host(host).waiting.push_back(job);
        self.go_on_disk(host);
    }

    /// Has the disk begin with what waits, as much as it makes durable together, unless it is at something or hangs.
    fn go_on_disk(&mut self, host: &str) {
        let state = self.host(host);
        if state.hanging || !state.under_way.is_empty() || state.waiting.is_empty() {
            return;
        }
        state.under_way = zonemesh_keep::next_group(&mut state.waiting);
        let slow = state.slow_disk.max(1) * u64::from(state.slowness);
        let epoch = state.epoch;
        let took = Duration::from_micros(100 + self.below(slow * 1000));
        let host = host.to_owned();
        self.at(self.now + took, Event::Disk { host, epoch });
    }

    /// The disk is through with what it is at.
    pub(super) fn disk_done(&mut self, host: &str) {
        let state = self.host(host);
        let mut group = std::mem::take(&mut state.under_way);
        if state.hanging {
            // Not through after all.
            group.extend(std::mem::take(&mut state.waiting));
            state.waiting = group.into();
            return;
        }
        let epoch = state.epoch;
        let is_failing = |job: &Job| matches!(job, Job::Commit(..));
        if state.failing_commits > 0 && group.iter().any(is_failing) {
            for job in group {
                let state = self.host(host);
                let failing = is_failing(&job) && state.failing_commits > 0;
                state.failing_commits -= u32::from(failing);
                self.store(host, epoch, vec![job], failing);
            }
        } else {
            self.store(host, epoch, group, false);
        }
        if self.runs_since(host, epoch) {
            self.go_on_disk(host);
        }
    }

    /// Whether a site still runs that ran when it had stopped so often.
    fn runs_since(&self, host: &str, epoch: u64) -> bool {
        let state = &self.hosts[host];
        state.core.is_some() && state.epoch == epoch
    }

    /// Does jobs, and tells the site what came of them.
    fn store(&mut self, host: &str, epoch: u64, jobs: Vec<Job>, failing: bool) {
        if !self.runs_since(host, epoch) {
            return;
        }
        let Some(done) = self.run_on_store(host, &jobs, failing) else {
            return;
        };
        // The site hears of one after the other, and the model has no more than what it has heard of.
        let mut done = done.into_iter();
        for job in jobs {
            let Done { input, error, .. } = match done.next() {
                Some(done) => self.also_on_model(host, job, done),
                None => self.run_on_model(host, job, failing),
            };
            if let Some(why) = error {
                self.note(host, &format!("could not make durable: {why}"));
            }
            if let Some(input) = input
                && self.runs_since(host, epoch)
            {
                self.input(host, input);
            }
        }
    }

    fn run_on_model(&mut self, host: &str, job: Job, failing: bool) -> Done {
        let state = self.host(host);
        let commit = match &job {
            Job::Commit(commit, ..) => Some(*commit),
            Job::Recall(apex, serial) => {
                let (apex, zone) = (apex.clone(), state.disk.recall(apex, *serial));
                return Done {
                    input: Some(Input::Recalled { apex, zone }),
                    error: None,
                    disk: zonemesh_keep::Disk::Unknown,
                };
            }
            // What cannot be noted is lost, as in the product.
            _ => None,
        };
        let result = match failing || state.full {
            true => Err("No space left on device (os error 28)".to_owned()),
            false => state.disk.run(job),
        };
        Done {
            error: result.as_ref().err().cloned(),
            input: commit.map(|commit| Input::Committed { commit, result }),
            disk: zonemesh_keep::Disk::Unknown,
        }
    }

    /// Does jobs on the real store; nothing where there is none. None when the power goes meanwhile: then nothing comes of them.
    fn run_on_store(&mut self, host: &str, jobs: &[Job], failing: bool) -> Option<Vec<Done>> {
        let wall = self.clock_of(host).wall;
        let state = self.host(host);
        let Some(real) = &state.real else {
            return Some(Vec::new());
        };
        real.platter.set_full(state.full || failing);
        let done = real.run(jobs.to_vec(), wall);
        real.platter.set_full(state.full);
        if self.power_may_go(host) {
            self.host(host).in_doubt = true;
            return None;
        }
        Some(done)
    }

    /// Has the model do what the store has done.
    fn also_on_model(&mut self, host: &str, job: Job, done: Done) -> Done {
        if done.error.is_none()
            && let Err(why) = self.host(host).disk.run(job)
        {
            panic!(
                "{host}: the store took what its model refuses: {why}\n{}",
                self.tail()
            );
        }
        done
    }

    /// Lets the power of a site go in the middle of what its disk does, after so many more writes and flushes. Only where the
    /// store is real; elsewhere at once.
    pub fn power_cut_on_disk(&mut self, host: &str, operations: u64) {
        match &self.host(host).real {
            Some(real) => real.platter.fail_after(Some(operations.max(1))),
            None => self.power_cut(&[host]),
        }
    }

    /// Whether the power has gone in the middle of what the disk did.
    pub(super) fn power_may_go(&mut self, host: &str) -> bool {
        let real = self.host(host).real.as_ref();
        let failed = real.is_some_and(|real| real.platter.has_failed());
        if failed {
            self.power_cut(&[host]);
        }
        failed
    }

    /// Turns over a bit of what is on a site's disk, somewhere. Only where the store is real. The site notices when it reads
    /// it, at its next start for example; see [`World::start`].
    pub fn corrupt_disk(&mut self, host: &str) {
        let mut draws = self.fork();
        let state = self.host(host);
        if let Some(real) = &state.real {
            real.platter.flip_bit(|bound| draws.below(bound));
            state.corrupt = true;
            self.note(host, "has a bit turned over on its disk");
        }
    }

    /// The power goes: what was not flushed may be there or not.
    pub(super) fn lose_power(&mut self, host: &str) {
        let mut draws = self.fork();
        if let Some(real) = &self.host(host).real {
            real.platter.lose_power(|bound| draws.below(bound));
        }
    }
}

/// # Starting
impl World {
    /// What a site finds on its disk when it starts, and what it does not; or why it cannot start with it.
    pub(super) fn read_disk(&mut self, host: &str) -> Result<Vec<Held>, String> {
        let state = self.host(host);
        let Some(real) = &mut state.real else {
            return Ok(state.disk.held());
        };
        let corrupt = state.corrupt;
        // What a start writes has room in the file that is there.
        real.platter.set_full(false);
        let opened = real.open(host);
        real.platter.set_full(state.full);
        let Found {
            held,
            damaged,
            consent,
            ..
        } = match opened {
            Ok(opened) => opened,
            Err(why) if corrupt || real.platter.is_failing() => return Err(why),
            Err(why) => panic!("{host}: a sound disk is refused: {why}\n{}", self.tail()),
        };
        // A disk without a fault of its own has all that the store ever said it had.
        // When the power went in the middle of a job, that job may be done all the same.
        let doubt = std::mem::take(&mut state.in_doubt);
        let has = |apex: &Name, serial: Serial| {
            let held = held.iter().find(|held| held.zone.apex() == apex);
            let held = held.map(|held| held.zone.serial());
            held.map_or(doubt, |held| {
                held == serial || doubt && held.is_after(serial)
            })
        };
        let had = state.disk.zones.iter();
        let mut had = had.map(|(apex, stored)| (apex, stored.zone.serial()));
        let lost = had.find(|(apex, serial)| !has(apex, *serial));
        let lost = lost.map(|(apex, serial)| format!("{apex} {serial}"));
        if let (Some(lost), false) = (lost, corrupt) {
            panic!("{host}: what was durable is lost: {lost}\n{}", self.tail());
        }
        let marks = held.iter().find(|held| {
            let mark = state.disk.high.get(held.zone.apex());
            mark.is_some_and(|mark| mark.is_after(held.high_water))
        });
        if let (Some(held), false) = (marks, corrupt) {
            let (apex, mark) = (held.zone.apex(), held.high_water);
            panic!(
                "{host}: what was durable is lost: that {apex} was seen with more than {mark}\n{}",
                self.tail()
            );
        }
        state.disk.replace_zones(&held);
        state.disk.replace_consent(consent);
        for (_, error) in damaged {
            self.note(host, &zonemesh_keep::chain(&error));
        }
        Ok(held)
    }
}
