//! The loop: whatever is due next happens, and what the cores want done is done.

use zonemesh_keep::Job;

use super::*;
use crate::cost::processor_time;

/// Numbers out of a seed: xorshift.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

/// # Running
impl World {
    pub(super) fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// A generator of its own, so that what is drawn from it does not need the world.
    pub(super) fn fork(&mut self) -> Draws {
        Draws(self.random() | 1)
    }

    /// A number below `bound`, drawn from the seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(super) fn note(&mut self, host: &str, what: &str) {
        if self.quiet {
            return;
        }
        self.log
            .push(format!("{:>10.3} {host}: {what}", self.now.as_secs_f64()));
    }

    /// Enters a line into the log: what somebody does, or what befalls a site.
    pub fn remark(&mut self, host: &str, what: &str) {
        self.note(host, what);
    }

    /// Enters such a line where the log was so long, ahead of what came of it.
    pub fn remark_at(&mut self, line: usize, when: Duration, what: &str) {
        let when = when.as_secs_f64();
        if !self.quiet {
            let line = line.min(self.log.len());
            self.log.insert(line, format!("{when:>10.3} *: {what}"));
        }
    }

    /// Enters what the last plan of a site came to, when that is not what it came to before.
    fn note_plan(&mut self, host: &str) {
        if self.quiet {
            return;
        }
        let state = self.host(host);
        let Some(report) = state.core.as_ref().and_then(Core::report) else {
            return;
        };
        let lines: Vec<String> = report
            .plan
            .actions
            .iter()
            .map(ToString::to_string)
            .chain(
                report
                    .plan
                    .reasons
                    .iter()
                    .map(|reason| format!("({reason})")),
            )
            .chain(report.blocked.iter().map(|why| format!("blocked: {why}")))
            .collect();
        if state.planned != lines {
            state.planned.clone_from(&lines);
            for line in lines {
                self.note(host, &format!("plans: {line}"));
            }
        }
    }

    pub(super) fn at(&mut self, when: Duration, event: Event) {
        self.queue.push(when, event);
    }

    /// Tells the core of a site of something, and does what it wants done.
    pub fn input(&mut self, host: &str, input: Input) {
        if let Some(waiting) = self.hung.get_mut(host) {
            let epoch = self.hosts[host].epoch;
            let (host, input) = (host.to_owned(), Box::new(input));
            return waiting.push(Event::Input { host, epoch, input });
        }
        if let Input::Notified {
            to, apex, result, ..
        } = &input
        {
            let answered = (self.now, apex.clone(), to.clone(), result.is_ok());
            self.host(host).answered.push(answered);
        }
        let now = self.clock_of(host);
        let started = self.busy.map(|busy| (busy, processor_time()));
        let outputs = self.core(host).handle(input, now);
        self.busy = started.map(|(busy, since)| busy + (processor_time() - since));
        self.note_plan(host);
        self.perform(host, outputs);
        self.look_whether_ready(host);
        self.arm(host);
    }

    /// Notices when a site starts to answer, and what it lacks at that moment of what its catalog lists.
    pub(super) fn look_whether_ready(&mut self, host: &str) {
        let state = self.host(host);
        let ready = state.core.as_ref().is_some_and(Core::ready);
        if !ready && state.lacked.take().is_some() {
            return self.ends(host, Answers::All);
        }
        if !ready || state.lacked.is_some() {
            return;
        }
        let served = state.served.get(&catalog());
        let served = served.and_then(|(zone, _)| zone.as_ref());
        let listed = served.and_then(|zone| zonemesh_zone::catalog::Catalog::read(zone).ok());
        let listed = listed
            .into_iter()
            .flat_map(|listed| listed.members.into_keys());
        let lacked = listed.filter(|zone| !state.disk.zones.contains_key(zone));
        let mut lacked: Vec<Name> = lacked.collect();
        lacked.retain(|zone| self.is_to_be_had(host, zone));
        self.host(host).lacked = Some(lacked);
        self.note(host, "is ready");
    }

    /// Remembers that a site answers for something no longer.
    fn ends(&mut self, host: &str, of: Answers) {
        let at = self.now;
        self.host(host).ended.push(Ended { at, of });
    }

    /// Whether another machine that runs has a version of a zone on disk that is not older than what a site has published or seen
    /// itself: to one from before that it must not go back, nor does it wait for who may never be back.
    fn is_to_be_had(&self, host: &str, zone: &Name) -> bool {
        let mark = self.high_water(host, zone);
        let runs = |(other, state): &(&String, &Host)| *other != host && state.core.is_some();
        let others = self.hosts.iter().filter(runs);
        let mut stored =
            others.filter_map(|(_, state)| Some(state.disk.zones.get(zone)?.zone.serial()));
        stored.any(|serial| mark.is_none_or(|mark| !mark.is_after(serial)))
    }

    /// Enters the moment at which a core next wants to be woken, unless an earlier wake-up is in the queue.
    pub(super) fn arm(&mut self, host: &str) {
        let now = self.now;
        let state = self.host(host);
        let Some(core) = &state.core else {
            return;
        };
        let due = core.next_due().max(now);
        if due < Duration::MAX && state.wake.is_none_or(|wake| due < wake) {
            state.wake = Some(due);
            let host = host.to_owned();
            self.at(due, Event::Wake { host });
        }
    }

    /// A wake-up: of a core that wanted it, or one that is left over from what a core wanted earlier.
    fn wake(&mut self, host: &str) {
        let now = self.now;
        let state = self.host(host);
        if state.wake != Some(now) {
            return;
        }
        state.wake = None;
        // Whatever is due ends within a few turns at the same moment.
        for turn in 0.. {
            let Some(core) = &self.hosts[host].core else {
                return;
            };
            if core.next_due() > now {
                break;
            }
            assert!(
                turn < 10,
                "{host} wants to be woken again and again\n{}",
                self.tail()
            );
            self.input(host, Input::Tick);
        }
        self.arm(host);
    }

    /// Does the next thing that is due until `until`; false when that is reached.
    pub(super) fn step(&mut self, until: Duration) -> bool {
        match self.queue.pop(until) {
            Some((at, event)) => {
                self.now = self.now.max(at);
                self.happen(event);
                true
            }
            None => {
                self.now = until;
                false
            }
        }
    }

    /// Lets so many seconds pass.
    pub fn run_for(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.step(until) {}
    }

    /// Lets so many milliseconds pass.
    pub fn run_millis(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while self.step(until) {}
    }

    /// Lets time pass until something is so.
    ///
    /// # Panics
    ///
    /// When it is not so within so many seconds.
    pub fn run_until(&mut self, seconds: u64, what: &str, done: impl Fn(&Self) -> bool) {
        let until = self.now + Duration::from_secs(seconds);
        while !done(self) {
            if !self.step(until) {
                assert!(
                    done(self),
                    "not within {seconds} s: {what}; {:?}\n{}",
                    self.converged(),
                    self.tail()
                );
            }
        }
    }

    /// The end of the log.
    pub fn tail(&self) -> String {
        self.log[self.log.len().saturating_sub(60)..].join("\n")
    }

    pub(super) fn happen(&mut self, event: Event) {
        let Some(event) = self.unless_hung(event) else {
            return;
        };
        match event {
            Event::Input { host, epoch, input } => {
                if self.hosts[&host].core.is_some() && self.hosts[&host].epoch == epoch {
                    self.input(&host, *input);
                }
            }
            Event::Request(asked) => self.serve(asked),
            Event::Mischief { host } => self.mischief(host),
            Event::GiveUp(asked) => self.given_up(asked),
            Event::Link { one, other, up } => self.link(one, other, up),
            Event::Disk { host, epoch } => {
                if self.hosts[&host].core.is_some() && self.hosts[&host].epoch == epoch {
                    self.disk_done(&host);
                }
            }
            Event::Wake { host } => self.wake(&host),
        }
    }

    pub(super) fn perform(&mut self, host: &str, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Transfer { apex, from, have } => {
                    let at = self.now;
                    self.host(host)
                        .transfers
                        .push((at, apex.clone(), from.clone()));
                    self.ask(host, from, "transfer", Ask::Transfer { apex, have });
                }
                Output::Recall { apex, serial } => {
                    self.do_on_disk(host, Job::Recall(apex, serial));
                }
                Output::Notify { to, soa, serial } => {
                    let told = (self.now, soa.owner.clone(), to.clone());
                    self.host(host).told.push(told);
                    self.ask(
                        host,
                        to,
                        "notify",
                        Ask::Notify {
                            apex: soa.owner,
                            serial,
                        },
                    );
                }
                Output::Probe { peer } => self.ask(host, peer, "probe", Ask::Probe),
                Output::AskSerial { peer, apex } => self.ask(host, peer, "serial", Ask::Soa(apex)),
                Output::Compare { peer, section } => {
                    self.ask(host, peer, "compare", Ask::Compare(section))
                }
                Output::Announce { to, site, zones } => {
                    let read = self.core(host).directory().cloned();
                    let before = read.as_ref().and_then(|read| read.sites.get(&site.name));
                    let mut update = request::publish(&directory(), &site, before).unwrap();
                    for zone in &zones {
                        update = update.add(
                            zonemesh_zone::directory::owner_record(zone, &site.name, &directory())
                                .unwrap(),
                        );
                    }
                    self.ask(host, to, "announce", Ask::Update(update));
                }
                Output::Commit {
                    commit,
                    versions,
                    also,
                } => self.do_on_disk(host, Job::Commit(commit, versions, also)),
                Output::Keep {
                    apex,
                    until,
                    expires_at,
                    last_refresh,
                } => {
                    if let Some(served) = self.host(host).served.get_mut(&apex) {
                        served.1 = until;
                    }
                    self.do_on_disk(
                        host,
                        Job::Keep {
                            apex,
                            expires_at,
                            last_refresh,
                        },
                    );
                }
                Output::HighWater { apex, serial } => {
                    self.do_on_disk(host, Job::HighWater(apex, serial))
                }
                Output::Withdraw { apex } => {
                    self.note(host, &format!("withdraws {apex}"));
                    self.changes += 1;
                    let state = self.host(host);
                    let served = state.served.remove(&apex);
                    state.specs.remove(&apex);
                    state.journal.remove(&apex);
                    if served.is_some_and(|(zone, _)| zone.is_some()) {
                        self.ends(host, Answers::Zone(apex.clone()));
                    }
                    self.do_on_disk(host, Job::SetAside(apex));
                }
                Output::Publish {
                    spec,
                    zone,
                    diffs,
                    until,
                } => self.publish(host, spec, zone, diffs, until),
                Output::Members(sites) => {
                    if self.told[..] != sites {
                        self.told = Arc::new(Members::new(sites));
                    }
                    let told = self.told.clone();
                    let state = self.host(host);
                    state.members = told;
                    state.met.clear();
                }
                Output::Reply { request, reply } => {
                    self.host(host)
                        .replies
                        .entry(request)
                        .or_default()
                        .push(reply);
                }
                // No catalogs of others here.
                Output::CatalogMembers(_) => {}
                Output::Happened(what) => {
                    if !self.quiet {
                        self.note(host, &format!("{what:?}"));
                        let at = self.now;
                        self.host(host).happened.push((at, what));
                    }
                }
            }
        }
    }

    /// Who serves what a later writer has made never goes back to an earlier one, whatever the serials say.
    fn follows(&mut self, host: &str, zone: &Zone) {
        let apex = zone.apex();
        let epoch = match () {
            () if *apex == directory() => Epoch::of_directory(zone),
            () if *apex == catalog() => Epoch::of_catalog(zone),
            () => return,
        };
        let Ok(epoch) = epoch else { return };
        let text = epoch.to_string();
        let before = self.host(host).followed.insert(apex.clone(), epoch);
        let state = &self.hosts[host];
        if let Some(before) = before
            && before.outranks(&state.followed[apex])
        {
            panic!(
                "{host}: {apex} of {before} is followed by that of {text}, an earlier writer\n{}",
                self.tail()
            );
        }
    }

    pub(super) fn publish(
        &mut self,
        host: &str,
        spec: ZoneSpec,
        zone: Option<Zone>,
        diffs: Vec<Diff>,
        until: Option<Duration>,
    ) {
        let apex = spec.apex.clone();
        self.changes += 1;
        let state = self.host(host);
        if let Some(zone) = &zone {
            let serial = zone.serial();
            let before = state.published.insert(apex.clone(), serial);
            let durable = state
                .disk
                .zones
                .get(&apex)
                .map(|stored| stored.zone.serial());
            if let Some(before) = before {
                assert!(
                    before == serial || serial.is_after(before),
                    "{host}: {apex} went back from {before} to {serial}\n{}",
                    self.tail()
                );
            }
            // Of what is stored together with other jobs the core hears a moment later; until then it may publish again what it did.
            let later = durable.is_some_and(|durable| durable.is_after(serial));
            let again = before == Some(serial) && later;
            assert!(
                durable == Some(serial) || again,
                "{host}: {apex} is served with {serial}, and {durable:?} on disk\n{}",
                self.tail()
            );
        }
        if let Some(zone) = &zone {
            self.follows(host, zone);
        }
        let state = self.host(host);
        let before = state.served.get(&apex).and_then(|(zone, _)| zone.as_ref());
        let other = |before: &Zone| {
            zone.as_ref()
                .is_some_and(|zone| zone.digest() != before.digest())
        };
        if diffs.is_empty() && before.is_some_and(other) {
            // No difference leads from what was to what is.
            state.journal.remove(&apex);
        }
        state.journal.entry(apex.clone()).or_default().extend(diffs);
        // The age of a first copy follows at once; until then nobody is granted anything.
        let until = (!spec.primary).then(|| until.unwrap_or_default());
        state.specs.insert(apex.clone(), spec);
        let ends = zone.is_none();
        let before = state.served.insert(apex, (zone, until));
        if let Some((Some(zone), until)) = before.filter(|_| ends) {
            self.ends(host, Answers::Contents { zone, until });
        }
    }
}
