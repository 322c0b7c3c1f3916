//! A mesh in one thread: cores over a simulated network, disk and clock, everything drawn from one seed.
//!
//! The network routes by the addresses and keys that a core was told to use, so a site that moved is not found by whoever does
//! not know. The disk does one job after the other, takes a while for each, and loses what it has not finished in a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use zonemesh_update::{DirectoryPolicy, SiteIdentity, Update, apply, request};
use zonemesh_zone::directory::{Directory, KeyPin, Role, Site, SiteName};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Diff, Editor, Name, Record, Serial, SerialExt, Zone};

use super::super::*;

/// The wall clock when the simulation starts.
pub(super) const EPOCH: i64 = 1_700_000_000;
/// How long a request waits for an answer that does not come.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

pub(super) fn directory() -> Name {
    name("dns.internal")
}

pub(super) fn catalog() -> Name {
    name("catalog.dns.internal")
}

/// A zone with the SOA times that most tests use.
pub(super) fn zone(apex: &str, serial: u32, lines: &[&str]) -> Zone {
    timed_zone(apex, serial, (300, 60, 7200), lines)
}

/// A zone with other SOA times: refresh, retry, expire.
pub(super) fn timed_zone(apex: &str, serial: u32, times: (u32, u32, u32), lines: &[&str]) -> Zone {
    let (refresh, retry, expire) = times;
    let apex = name(apex);
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 3600 IN SOA ns hostmaster {serial} {refresh} {retry} {expire} 60");
    for line in [soa.as_str(), "@ 3600 IN NS ns", "ns 3600 IN A 192.0.2.53"]
        .iter()
        .chain(lines)
    {
        editor.add(Record::from_text(line, &apex).unwrap()).unwrap();
    }
    editor.finish().unwrap()
}

/// What replaces the address of `owner` by `192.0.2.last`.
pub(super) fn put(apex: &str, owner: &str, last: u8) -> Change {
    let record =
        Record::from_text(&format!("{owner} 60 IN A 192.0.2.{last}"), &name(apex)).unwrap();
    let set = zonemesh_zone::Rrset::new(record.rtype, record.ttl, [&record.rdata[..]]);
    Change::Put(name(apex), vec![(record.owner, set)])
}

/// Whether a zone has what [`put`] puts.
pub(super) fn has(zone: &Zone, owner: &str, last: u8) -> bool {
    let owner = Record::from_text(&format!("{owner} 60 IN A 192.0.2.{last}"), zone.apex())
        .unwrap()
        .owner;
    zone.rrset(&owner, zonemesh_zone::Rtype::A)
        .is_some_and(|set| set.contains(&[192, 0, 2, last]))
}

/// What the network does to messages.
#[derive(Default)]
pub(super) struct Net {
    /// Of a thousand messages, how many are lost, and how many come twice.
    pub(super) loss: u64,
    pub(super) duplicates: u64,
    /// Who does not reach whom, one way.
    pub(super) cut: BTreeSet<(String, String)>,
    /// Longest delay of a message, in milliseconds.
    pub(super) slowest: u64,
}

/// A zone on disk.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) zone: Zone,
    expires_at: Option<i64>,
    last_refresh: Option<i64>,
}

/// What survives a crash.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) zones: BTreeMap<Name, Stored>,
    pub(super) high: BTreeMap<Name, Serial>,
    pub(super) table: BTreeMap<(String, String), Vec<u8>>,
}

enum Job {
    Commit(CommitId, Vec<NewVersion>, Vec<(String, String, Vec<u8>)>),
    Keep(Name, Option<i64>, Option<i64>),
    High(Name, Serial),
    Remove(Name),
}

/// One machine.
pub(super) struct Host {
    pub(super) core: Option<Core>,
    pub(super) settings: Settings,
    /// Where it is and which key it shows, whatever the directory says.
    pub(super) site: Site,
    pub(super) disk: Disk,
    /// How many of the next commits fail.
    pub(super) failing_commits: u32,
    /// How long the disk takes at most, in milliseconds.
    pub(super) slow_disk: u64,
    pub(super) served: BTreeMap<Name, (Option<Zone>, Option<i64>)>,
    pub(super) specs: BTreeMap<Name, ZoneSpec>,
    journal: BTreeMap<Name, Vec<Diff>>,
    pub(super) members: Vec<Site>,
    pub(super) replies: BTreeMap<RequestId, Vec<Reply>>,
    pub(super) happened: Vec<(Duration, Happening)>,
    /// Messages sent, by kind.
    pub(super) sent: BTreeMap<&'static str, usize>,
    /// When transfers of a zone were asked for.
    pub(super) transfers: Vec<(Duration, Name, PeerId)>,
    /// The highest serial that was ever served of each zone.
    published: BTreeMap<Name, Serial>,
    epoch: u64,
    disk_free: Duration,
}

/// A server that is no site.
pub(super) struct Foreign {
    pub(super) zones: BTreeMap<Name, Zone>,
    pub(super) notified: Vec<(Name, Serial)>,
}

#[derive(Clone)]
enum Ask {
    Transfer { apex: Name, have: Option<Zone> },
    Notify { apex: Name, serial: Serial },
    Probe,
    Update(Update),
}

enum Event {
    Input {
        host: String,
        epoch: u64,
        input: Box<Input>,
    },
    Request {
        from: String,
        epoch: u64,
        to: String,
        as_peer: PeerId,
        ask: Ask,
    },
    Disk {
        host: String,
        epoch: u64,
        job: Job,
    },
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) foreign: BTreeMap<String, Foreign>,
    pub(super) net: Net,
    pub(super) log: Vec<String>,
    queue: BTreeMap<(Duration, u64), Event>,
    next: u64,
    random: u64,
}

/// # Building
impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1),
            hosts: BTreeMap::new(),
            foreign: BTreeMap::new(),
            net: Net {
                slowest: 20,
                ..Net::default()
            },
            log: Vec::new(),
            queue: BTreeMap::new(),
            next: 1,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    /// A mesh of this many sites, `site-a` first, with nothing but directory and catalog.
    pub(super) fn mesh(seed: u64, sites: usize) -> Self {
        let mut world = Self::new(seed);
        for letter in ('a'..).take(sites) {
            let host = format!("site-{letter}");
            world.add_host(&host, Vec::new());
            world.start(&host);
            world.run_for(1);
            if letter != 'a' {
                world.join(&host).unwrap();
            }
        }
        world.run_until(60, "the mesh is quiet", |world| world.converged().is_ok());
        world
    }

    /// A machine that is not started yet; `site-a` is the catalog primary.
    pub(super) fn add_host(&mut self, host: &str, zones: Vec<ZoneSpec>) {
        let number = host.bytes().last().unwrap();
        let role = if host == "site-a" {
            Role::CatalogPrimary
        } else {
            Role::Standard
        };
        let site = Site {
            name: SiteName::new(host).unwrap(),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))],
            dot: Some(853),
            doq: None,
            dns: None,
            pins: vec![KeyPin([number; 32])],
            role,
            engine: "zonemesh/0.1.0".to_owned(),
            failure_domain: None,
        };
        let bootstrap = self.hosts.get("site-a").map(|host| host.site.clone());
        let mesh = MeshSettings {
            me: Me {
                name: site.name.clone(),
                site: site.clone(),
            },
            directory: directory(),
            catalog: catalog(),
            bootstrap: bootstrap.into_iter().collect(),
            legacy_txt: false,
            groups: BTreeMap::new(),
        };
        let settings = Settings {
            zones,
            mesh: Some(mesh),
            ..Settings::default()
        };
        self.put_host(host, site, settings);
    }

    /// A machine with any settings.
    pub(super) fn put_host(&mut self, host: &str, site: Site, settings: Settings) {
        let host_state = Host {
            core: None,
            settings,
            site,
            disk: Disk::default(),
            failing_commits: 0,
            slow_disk: 3,
            served: BTreeMap::new(),
            specs: BTreeMap::new(),
            journal: BTreeMap::new(),
            members: Vec::new(),
            replies: BTreeMap::new(),
            happened: Vec::new(),
            sent: BTreeMap::new(),
            transfers: Vec::new(),
            published: BTreeMap::new(),
            epoch: 0,
            disk_free: Duration::ZERO,
        };
        self.hosts.insert(host.to_owned(), host_state);
    }

    pub(super) fn host(&mut self, host: &str) -> &mut Host {
        self.hosts.get_mut(host).unwrap()
    }

    pub(super) fn core(&mut self, host: &str) -> &mut Core {
        self.host(host).core.as_mut().expect("the site runs")
    }

    pub(super) fn clock(&self) -> Now {
        Now {
            mono: self.now,
            wall: EPOCH + self.now.as_secs() as i64,
        }
    }

    pub(super) fn start(&mut self, host: &str) {
        let (seed, now) = (self.random(), self.clock());
        let state = self.host(host);
        assert!(state.core.is_none(), "{host} runs already");
        let held = state.disk.zones.iter().map(|(apex, stored)| Held {
            zone: stored.zone.clone(),
            high_water: state.disk.high[apex],
            expires_at: stored.expires_at,
            last_refresh: stored.last_refresh,
            hosted: state
                .disk
                .table
                .get(&(HOSTED.to_owned(), hosted_key(apex)))
                .is_some_and(|value| !value.is_empty()),
        });
        let (core, outputs) = Core::new(state.settings.clone(), held.collect(), seed, now);
        state.core = Some(core);
        self.note(host, "starts");
        self.perform(host, outputs);
    }

    /// Kills a site: what its disk has not finished is lost.
    pub(super) fn kill(&mut self, host: &str) {
        let state = self.host(host);
        state.core = None;
        state.epoch += 1;
        state.served.clear();
        state.journal.clear();
        state.disk_free = Duration::ZERO;
        self.note(host, "is killed");
    }

    pub(super) fn restart(&mut self, host: &str) {
        self.kill(host);
        self.start(host);
    }

    pub(super) fn configure(&mut self, host: &str, change: impl FnOnce(&mut Settings)) {
        let now = self.clock();
        let state = self.host(host);
        change(&mut state.settings);
        let settings = state.settings.clone();
        let outputs = self.core(host).configure(settings, now);
        self.perform(host, outputs);
    }

    pub(super) fn cut(&mut self, from: &str, to: &str) {
        self.net.cut.insert((from.to_owned(), to.to_owned()));
    }

    pub(super) fn cut_both(&mut self, one: &str, other: &str) {
        self.cut(one, other);
        self.cut(other, one);
    }
}

/// # Requests
impl World {
    /// Sends an input with a request's number and returns the number.
    pub(super) fn request(
        &mut self,
        host: &str,
        make: impl FnOnce(RequestId) -> Input,
    ) -> RequestId {
        self.next += 1;
        let request = self.next;
        self.input(host, make(request));
        request
    }

    pub(super) fn change(&mut self, host: &str, change: Change) -> RequestId {
        self.request(host, |request| Input::Change { request, change })
    }

    /// Changes and waits until that is acknowledged.
    pub(super) fn changed(&mut self, host: &str, change: Change) -> Serial {
        let request = self.change(host, change);
        self.done(host, request).expect("the change is made")
    }

    /// Waits for the answer to a request.
    pub(super) fn done(&mut self, host: &str, request: RequestId) -> Result<Serial, String> {
        let name = host.to_owned();
        self.run_until(30, "a request is answered", move |world| {
            world.hosts[&name].replies.contains_key(&request)
        });
        match &self.hosts[host].replies[&request][0] {
            Reply::Done { serial, .. } => Ok(*serial),
            Reply::Refused { reason, .. } => Err(reason.clone()),
            Reply::Receipt(receipt) => panic!("a receipt: {receipt:?}"),
        }
    }

    /// Makes `host` the primary of a zone and lists it, as the command does.
    pub(super) fn add_zone(&mut self, host: &str, zone: Zone) -> Result<Serial, String> {
        let apex = zone.apex().clone();
        let high_water = self.host(host).disk.high.get(&apex).copied();
        let request = self.request(host, |request| Input::Host {
            request,
            zone,
            high_water,
        });
        let serial = self.done(host, request)?;
        let me = self.host(host).site.name.clone();
        let listed = self.update(host, request::claim_zone(&directory(), &apex, &me).unwrap());
        if let Err(why) = listed {
            self.input(host, Input::Unhost { apex });
            return Err(why);
        }
        Ok(serial)
    }

    pub(super) fn remove_zone(&mut self, host: &str, apex: &str) -> Result<Serial, String> {
        self.update(
            host,
            request::release_zone(&directory(), &name(apex)).unwrap(),
        )
    }

    /// Sends an update of the directory from a site straight to the catalog primary.
    pub(super) fn update(&mut self, from: &str, update: Update) -> Result<Serial, String> {
        let pin = self.host(from).site.pins[0];
        let primary = self.catalog_primary();
        let who = self.identify(&primary, pin)?;
        let request = self.apply_update(&primary, &update, SiteIdentity::Member(who))?;
        self.done(&primary, request)
    }

    /// Enters a site into the directory, as with a welcome packet.
    pub(super) fn join(&mut self, host: &str) -> Result<Serial, String> {
        let site = self.host(host).site.clone();
        let primary = self.catalog_primary();
        let update = request::publish(&directory(), &site, None).unwrap();
        let identity = SiteIdentity::Join {
            site: site.name,
            role: Role::Standard,
            replace: true,
        };
        let request = self.apply_update(&primary, &update, identity)?;
        self.done(&primary, request)
    }

    /// Edits the directory at the catalog primary.
    pub(super) fn edit_directory(
        &mut self,
        edit: impl FnOnce(&mut Editor, &Directory),
    ) -> Result<Serial, String> {
        let primary = self.catalog_primary();
        let head = self.core(&primary).head(&directory()).unwrap().clone();
        let read = Directory::read(&head);
        let mut editor = head.edit();
        edit(&mut editor, &read);
        let edited = editor.finish().unwrap();
        let request = self.request(&primary, |request| Input::Directory {
            request,
            edited,
            also: Vec::new(),
        });
        self.done(&primary, request)
    }

    fn catalog_primary(&self) -> String {
        let is = |host: &Host| host.core.as_ref().is_some_and(Core::is_catalog_primary);
        self.hosts
            .iter()
            .find(|(_, host)| is(host))
            .expect("a catalog primary runs")
            .0
            .clone()
    }

    fn identify(&self, at: &str, pin: KeyPin) -> Result<SiteName, String> {
        let known = self.hosts[at].members.iter().chain([&self.hosts[at].site]);
        let found = known.into_iter().find(|site| site.pins.contains(&pin));
        found
            .map(|site| site.name.clone())
            .ok_or_else(|| "not a member of this mesh".to_owned())
    }

    fn apply_update(
        &mut self,
        at: &str,
        update: &Update,
        identity: SiteIdentity,
    ) -> Result<RequestId, String> {
        let core = self.core(at);
        let head = core.head(&directory()).ok_or("no directory")?.clone();
        let read = Directory::read(&head);
        let reserved = [directory(), catalog()];
        let policy = DirectoryPolicy::new(identity, &read, &reserved);
        let edited = apply(&head, update, &policy)
            .map_err(|refusal| refusal.to_string())?
            .zone;
        Ok(self.request(at, |request| Input::Directory {
            request,
            edited,
            also: Vec::new(),
        }))
    }
}

/// # Running
impl World {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.random() >> 16) % bound
    }

    fn note(&mut self, host: &str, what: &str) {
        self.log
            .push(format!("{:>10.3} {host}: {what}", self.now.as_secs_f64()));
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.next += 1;
        self.queue.insert((when, self.next), event);
    }

    pub(super) fn input(&mut self, host: &str, input: Input) {
        let now = self.clock();
        let outputs = self.core(host).handle(input, now);
        self.perform(host, outputs);
    }

    /// Does the next thing that is due until `until`; false when that is reached.
    fn step(&mut self, until: Duration) -> bool {
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

    pub(super) fn run_for(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.step(until) {}
    }

    pub(super) fn run_until(&mut self, seconds: u64, what: &str, done: impl Fn(&Self) -> bool) {
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

    pub(super) fn tail(&self) -> String {
        self.log[self.log.len().saturating_sub(60)..].join("\n")
    }

    fn happen(&mut self, event: Event) {
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

    fn perform(&mut self, host: &str, outputs: Vec<Output>) {
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
                Output::HighWater { apex, serial } => self.do_on_disk(host, Job::High(apex, serial)),
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

    fn publish(
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

/// # Disk
impl World {
    fn do_on_disk(&mut self, host: &str, job: Job) {
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

    fn store(&mut self, host: &str, job: Job) {
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
    fn see(&mut self, apex: &Name, serial: Serial) {
        let high = self.high.entry(apex.clone()).or_insert(serial);
        *high = high.later_of(serial);
    }

    /// All or nothing, by the rules of the store.
    fn commit(
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

/// # Network
impl World {
    fn delay(&mut self) -> Duration {
        let slowest = self.net.slowest * 1000;
        Duration::from_micros(200 + self.below(slowest))
    }

    fn lost(&mut self, from: &str, to: &str) -> bool {
        let cut = self.net.cut.contains(&(from.to_owned(), to.to_owned()));
        self.below(1000) < self.net.loss || cut
    }

    fn ask(&mut self, host: &str, to: PeerId, kind: &'static str, ask: Ask) {
        *self.host(host).sent.entry(kind).or_default() += 1;
        let epoch = self.hosts[host].epoch;
        let target = match &to {
            PeerId::Foreign(name) => Ok(name.clone()),
            PeerId::Site(site) => match self.hosts[host]
                .members
                .iter()
                .find(|member| member.name == *site)
            {
                None => Err(format!("{site} is not known")),
                Some(member) => self.route(member),
            },
        };
        match target {
            Err(message) => self.fail(
                host,
                epoch,
                &to,
                &ask,
                &message,
                Duration::from_millis(1),
                true,
            ),
            Ok(target) if self.lost(host, &target) => {
                self.fail(host, epoch, &to, &ask, "no answer in time", TIMEOUT, true);
            }
            Ok(target) => {
                let copies = if self.below(1000) < self.net.duplicates {
                    2
                } else {
                    1
                };
                for _ in 0..copies {
                    let at = self.now + self.delay();
                    let event = Event::Request {
                        from: host.to_owned(),
                        epoch,
                        to: target.clone(),
                        as_peer: to.clone(),
                        ask: ask.clone(),
                    };
                    self.at(at, event);
                }
            }
        }
    }

    /// The machine at a member's address.
    fn route(&self, member: &Site) -> Result<String, String> {
        let at = |host: &Host| {
            host.site
                .addresses
                .iter()
                .any(|address| member.addresses.contains(address))
        };
        let found = self.hosts.iter().find(|(_, host)| at(host));
        found
            .map(|(name, _)| name.clone())
            .ok_or_else(|| format!("{}: nobody is there", member.name))
    }

    #[allow(clippy::too_many_arguments)]
    fn fail(
        &mut self,
        host: &str,
        epoch: u64,
        from: &PeerId,
        ask: &Ask,
        message: &str,
        after: Duration,
        unreachable: bool,
    ) {
        let failure = Failure {
            message: message.to_owned(),
            unreachable,
        };
        let input = match ask.clone() {
            Ask::Transfer { apex, .. } => Input::Transferred {
                apex,
                from: from.clone(),
                result: Err(failure),
                expire: None,
            },
            Ask::Notify { apex, serial } => Input::Notified {
                to: from.clone(),
                apex,
                serial,
                result: Err(failure),
            },
            Ask::Probe => Input::Probed {
                peer: from.clone(),
                result: Err(failure),
            },
            Ask::Update(_) => return,
        };
        let at = self.now + after;
        self.at(
            at,
            Event::Input {
                host: host.to_owned(),
                epoch,
                input: Box::new(input),
            },
        );
    }

    /// A request arrives.
    fn serve(&mut self, from: &str, epoch: u64, to: &str, as_peer: PeerId, ask: Ask) {
        if let Some(foreign) = self.foreign.get_mut(to) {
            let input = match ask.clone() {
                Ask::Transfer { apex, have } => {
                    let result = match (foreign.zones.get(&apex), have) {
                        (None, _) => Err(Failure {
                            message: "NOTAUTH".to_owned(),
                            unreachable: false,
                        }),
                        (Some(zone), Some(have)) if !zone.serial().is_after(have.serial()) => {
                            Ok(Got::UpToDate {
                                serial: zone.serial(),
                            })
                        }
                        (Some(zone), _) => Ok(Got::Full(zone.clone())),
                    };
                    Input::Transferred {
                        apex,
                        from: as_peer,
                        result,
                        expire: None,
                    }
                }
                Ask::Notify { apex, serial } => {
                    foreign.notified.push((apex.clone(), serial));
                    Input::Notified {
                        to: as_peer,
                        apex,
                        serial,
                        result: Ok(()),
                    }
                }
                Ask::Probe | Ask::Update(_) => return,
            };
            return self.answer(from, epoch, to, input);
        }
        let Some(state) = self.hosts.get(to).filter(|state| state.core.is_some()) else {
            let what = "connection refused";
            return self.fail(
                from,
                epoch,
                &as_peer,
                &ask,
                what,
                Duration::from_millis(2),
                true,
            );
        };
        let (asker, answerer) = (self.hosts[from].site.clone(), state.site.clone());
        // Mutual authentication: each must be whom the other was told to expect.
        let expected = self.hosts[from]
            .members
            .iter()
            .find(|member| PeerId::Site(member.name.clone()) == as_peer);
        let genuine = expected
            .is_some_and(|member| answerer.pins.iter().any(|pin| member.pins.contains(pin)));
        let asker = self.identify(to, asker.pins[0]);
        let (Ok(asker), true) = (asker, genuine) else {
            let what = "refused: not a member";
            return self.fail(
                from,
                epoch,
                &as_peer,
                &ask,
                what,
                Duration::from_millis(5),
                false,
            );
        };
        let state = &self.hosts[to];
        let wall = self.clock().wall;
        let input = match ask.clone() {
            Ask::Transfer { apex, have } => {
                let served = state.served.get(&apex);
                let expire = served
                    .and_then(|(_, at)| *at)
                    .map(|at| (at - wall).max(0) as u32);
                let result = match served.and_then(|(zone, _)| zone.clone()) {
                    None => Err(Failure {
                        message: "SERVFAIL: not held".to_owned(),
                        unreachable: false,
                    }),
                    Some(zone) => Ok(state.differences(&zone, have)),
                };
                Input::Transferred {
                    apex,
                    from: as_peer,
                    result,
                    expire,
                }
            }
            Ask::Notify { apex, serial } => {
                let heard = Input::Notify {
                    apex: apex.clone(),
                    serial: Some(serial),
                    from: PeerId::Site(asker),
                };
                self.input(to, heard);
                Input::Notified {
                    to: as_peer,
                    apex,
                    serial,
                    result: Ok(()),
                }
            }
            Ask::Probe => {
                let served = state
                    .served
                    .get(&directory())
                    .and_then(|(zone, _)| zone.as_ref());
                Input::Probed {
                    peer: as_peer,
                    result: Ok(served.map(Zone::serial)),
                }
            }
            Ask::Update(update) => {
                if let Err(why) = self.apply_update(to, &update, SiteIdentity::Member(asker)) {
                    self.note(to, &format!("refuses an update of {from}: {why}"));
                }
                return;
            }
        };
        self.answer(from, epoch, to, input);
    }

    fn answer(&mut self, to: &str, epoch: u64, from: &str, input: Input) {
        if self.lost(from, to) {
            let failure = Failure {
                message: "no answer in time".to_owned(),
                unreachable: true,
            };
            let input = match input {
                Input::Transferred { apex, from, .. } => Input::Transferred {
                    apex,
                    from,
                    result: Err(failure),
                    expire: None,
                },
                Input::Notified {
                    to, apex, serial, ..
                } => Input::Notified {
                    to,
                    apex,
                    serial,
                    result: Err(failure),
                },
                Input::Probed { peer, .. } => Input::Probed {
                    peer,
                    result: Err(failure),
                },
                other => other,
            };
            let at = self.now + TIMEOUT;
            return self.at(
                at,
                Event::Input {
                    host: to.to_owned(),
                    epoch,
                    input: Box::new(input),
                },
            );
        }
        let at = self.now + self.delay();
        self.at(
            at,
            Event::Input {
                host: to.to_owned(),
                epoch,
                input: Box::new(input),
            },
        );
    }
}

impl Host {
    /// What an IXFR of a zone is answered with.
    fn differences(&self, zone: &Zone, have: Option<Zone>) -> Got {
        let Some(have) = have else {
            return Got::Full(zone.clone());
        };
        if !zone.serial().is_after(have.serial()) {
            return Got::UpToDate {
                serial: zone.serial(),
            };
        }
        let journal = self
            .journal
            .get(zone.apex())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let start = journal.iter().position(|diff| {
            diff.serials()
                .is_some_and(|(from, _)| from == have.serial())
        });
        let Some(start) = start else {
            return Got::Full(zone.clone());
        };
        let mut made = have;
        for diff in &journal[start..] {
            match made.apply(diff) {
                Ok(next) => made = next,
                Err(_) => return Got::Full(zone.clone()),
            }
        }
        match made.same_contents(zone) && made.serial() == zone.serial() {
            true => Got::Diffs(made, journal[start..].to_vec()),
            false => Got::Full(zone.clone()),
        }
    }
}

/// # Looking
impl World {
    pub(super) fn serial(&self, host: &str, apex: &str) -> Option<u32> {
        Some(self.zone(host, apex)?.serial().into_int())
    }

    pub(super) fn zone(&self, host: &str, apex: &str) -> Option<&Zone> {
        self.hosts[host].served.get(&name(apex))?.0.as_ref()
    }

    pub(super) fn saw(&self, host: &str, what: impl Fn(&Happening) -> bool) -> bool {
        self.hosts[host]
            .happened
            .iter()
            .any(|(_, happened)| what(happened))
    }

    /// Whether all sites of the directory that run serve the same of everything; else what differs.
    pub(super) fn converged(&self) -> Result<(), String> {
        let primary = self.hosts.values().find_map(|host| {
            let core = host
                .core
                .as_ref()
                .filter(|core| core.is_catalog_primary())?;
            Some((core.directory()?, core.catalog()?))
        });
        let (members, listed) = primary.ok_or("no catalog primary")?;
        let mut zones: BTreeSet<Name> = listed.members.keys().cloned().collect();
        zones.extend([directory(), catalog()]);
        let sites = members.sites.keys().map(SiteName::as_str);
        let running: Vec<&str> = sites
            .filter(|name| self.hosts[*name].core.is_some())
            .collect();
        for zone in &zones {
            let copies = running.iter().map(|host| {
                (
                    host,
                    self.hosts[*host]
                        .served
                        .get(zone)
                        .and_then(|(zone, _)| zone.as_ref()),
                )
            });
            let mut first: Option<&Zone> = None;
            for (host, copy) in copies {
                let copy = copy.ok_or_else(|| format!("{host} has no {zone}"))?;
                match first {
                    Some(first)
                        if !(first.serial() == copy.serial() && first.same_contents(copy)) =>
                    {
                        return Err(format!(
                            "{zone}: {} at {}, {} at {host}",
                            first.serial(),
                            running[0],
                            copy.serial()
                        ));
                    }
                    _ => first = Some(copy),
                }
            }
        }
        for host in running {
            let core = self.hosts[host].core.as_ref().ok_or("down")?;
            if let Some(extra) = self.hosts[host].served.keys().find(|zone| {
                !zones.contains(*zone) && core.zone(zone).is_some_and(|view| view.spec.mesh)
            }) {
                return Err(format!("{host} serves {extra} still"));
            }
            if !core.ready() {
                return Err(format!("{host} is not ready: {:?}", core.missing()));
            }
        }
        Ok(())
    }

    /// Whether the last plan of each running site had nothing to do.
    pub(super) fn at_rest(&self) -> Result<(), String> {
        for (name, host) in &self.hosts {
            let report = host.core.as_ref().and_then(Core::report);
            if let Some(report) = report
                && !(report.plan.actions.is_empty()
                    && report.blocked.is_none()
                    && report.plan.held.is_empty())
            {
                return Err(format!("{name}: {} {:?}", report.plan, report.blocked));
            }
        }
        Ok(())
    }

    /// Waits until the mesh is alike everywhere and has nothing left to do.
    pub(super) fn settle(&mut self, seconds: u64) {
        self.run_until(seconds, "all sites serve the same", |world| {
            world.converged().is_ok()
        });
        // A full pass of planning everywhere, which must find nothing.
        self.run_for(70);
        assert_eq!(self.converged(), Ok(()), "\n{}", self.tail());
        assert_eq!(self.at_rest(), Ok(()), "\n{}", self.tail());
    }
}

/// A zone that a site's configuration makes it primary of, with foreign servers to tell.
pub(super) fn own(apex: &str, notify: &[&str]) -> ZoneSpec {
    ZoneSpec {
        apex: name(apex),
        sources: Vec::new(),
        primary: true,
        notify: notify
            .iter()
            .map(|peer| PeerId::Foreign((*peer).to_owned()))
            .collect(),
        members_only: false,
        mesh: true,
    }
}

/// Removes a site, as the command does.
pub(super) fn remove_site(
    world: &mut World,
    host: &str,
    zones: zonemesh_zone::directory::Departure,
) {
    let site = SiteName::new(host).unwrap();
    let at = world.clock().wall;
    let edit = |editor: &mut Editor, read: &Directory| {
        zonemesh_zone::directory::remove_site(editor, read, &site, &zones, at).unwrap();
    };
    world.edit_directory(edit).unwrap();
}

impl World {
    /// Lets a site begin anew with a zone's serials: its copy was set back by hand.
    pub(super) fn forget_published(&mut self, host: &str, apex: &str) {
        self.host(host).published.remove(&name(apex));
    }
}

impl World {
    pub(super) fn run_millis(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while self.step(until) {}
    }
}
