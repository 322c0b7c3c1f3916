//! The loop: whatever is due next happens, and what the cores want done is done.

use super::*;

/// # Running
impl World {
    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.random() >> 16) % bound
    }

    pub(crate) fn note(&mut self, host: &str, what: &str) {
        self.log
            .push(format!("{:>10.3} {host}: {what}", self.now.as_secs_f64()));
    }

    pub(crate) fn at(&mut self, when: Duration, event: Event) {
        self.next += 1;
        self.queue.insert((when, self.next), event);
    }

    pub fn input(&mut self, host: &str, input: Input) {
        let now = self.clock();
        let outputs = self.core(host).handle(input, now);
        self.perform(host, outputs);
    }

    /// Does the next thing that is due until `until`; false when that is reached.
    pub(crate) fn step(&mut self, until: Duration) -> bool {
        let tick = self
            .hosts
            .iter()
            .filter_map(|(name, host)| Some((host.core.as_ref()?.next_due().max(self.now), name)))
            .min();
        let event = self.queue.keys().next().copied();
        match (tick, event) {
            (Some((due, host)), event) if event.is_none_or(|(at, _)| due < at) && due <= until => {
                let host = host.clone();
                self.now = due;
                // Whatever is due ends within a few turns at the same moment.
                for turn in 0.. {
                    self.input(&host, Input::Tick);
                    if self.core(&host).next_due() > self.now {
                        break;
                    }
                    assert!(
                        turn < 10,
                        "{host} wants to be woken again and again\n{}",
                        self.tail()
                    );
                }
            }
            (_, Some((at, _))) if at <= until => {
                self.now = self.now.max(at);
                let event = self.queue.pop_first().unwrap().1;
                self.happen(event);
            }
            _ => {
                self.now = until;
                return false;
            }
        }
        true
    }

    pub fn run_for(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.step(until) {}
    }

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

    pub fn tail(&self) -> String {
        self.log[self.log.len().saturating_sub(60)..].join("\n")
    }

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Input { host, epoch, input } => {
                if self.hosts[&host].core.is_some() && self.hosts[&host].epoch == epoch {
                    self.input(&host, *input);
                }
            }
            Event::Request {
                from,
                epoch,
                to,
                as_peer,
                ask,
            } => self.serve(&from, epoch, &to, as_peer, ask),
            Event::Disk { host, epoch, job } => {
                if self.hosts[&host].core.is_some() && self.hosts[&host].epoch == epoch {
                    self.store(&host, job);
                }
            }
        }
    }

    pub(crate) fn perform(&mut self, host: &str, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Transfer { apex, from, have } => {
                    let at = self.now;
                    self.host(host)
                        .transfers
                        .push((at, apex.clone(), from.clone()));
                    self.ask(host, from, "transfer", Ask::Transfer { apex, have });
                }
                Output::Notify { to, soa, serial } => {
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
                    expires_at,
                    last_refresh,
                } => {
                    if let Some(served) = self.host(host).served.get_mut(&apex) {
                        served.1 = expires_at;
                    }
                    self.do_on_disk(host, Job::Keep(apex, expires_at, last_refresh));
                }
                Output::HighWater { apex, serial } => {
                    self.do_on_disk(host, Job::High(apex, serial))
                }
                Output::Withdraw { apex } => {
                    self.note(host, &format!("withdraws {apex}"));
                    let state = self.host(host);
                    state.served.remove(&apex);
                    state.specs.remove(&apex);
                    state.journal.remove(&apex);
                    self.do_on_disk(host, Job::Remove(apex));
                }
                Output::Publish {
                    spec,
                    zone,
                    diffs,
                    expires_at,
                } => self.publish(host, spec, zone, diffs, expires_at),
                Output::Members(sites) => self.host(host).members = sites,
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
                    self.note(host, &format!("{what:?}"));
                    let at = self.now;
                    self.host(host).happened.push((at, what));
                }
            }
        }
    }

    pub(crate) fn publish(
        &mut self,
        host: &str,
        spec: ZoneSpec,
        zone: Option<Zone>,
        diffs: Vec<Diff>,
        expires_at: Option<i64>,
    ) {
        let apex = spec.apex.clone();
        if let Some(zone) = &zone {
            let (serial, tail) = (zone.serial(), self.tail());
            let state = self.host(host);
            if let Some(before) = state.published.insert(apex.clone(), serial) {
                assert!(
                    before == serial || serial.is_after(before),
                    "{host}: {apex} went back from {before} to {serial}\n{tail}"
                );
            }
            let durable = state
                .disk
                .zones
                .get(&apex)
                .map(|stored| stored.zone.serial());
            assert_eq!(
                durable,
                Some(serial),
                "{host}: {apex} is served and not on disk\n{tail}"
            );
        }
        let state = self.host(host);
        state.journal.entry(apex.clone()).or_default().extend(diffs);
        state.specs.insert(apex.clone(), spec);
        state.served.insert(apex, (zone, expires_at));
    }
}
