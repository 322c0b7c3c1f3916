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

use zonemesh_mesh::core::*;

mod disk;
mod look;
mod made;
mod network;
mod run;

pub use self::made::*;

/// The wall clock when the simulation starts.
pub const EPOCH: i64 = 1_700_000_000;
/// How long a request waits for an answer that does not come.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What the network does to messages.
#[derive(Default)]
pub struct Net {
    /// Of a thousand messages, how many are lost, and how many come twice.
    pub loss: u64,
    pub duplicates: u64,
    /// Who does not reach whom, one way.
    pub cut: BTreeSet<(String, String)>,
    /// Longest delay of a message, in milliseconds.
    pub slowest: u64,
}

/// A zone on disk.
#[derive(Clone)]
pub struct Stored {
    pub zone: Zone,
    expires_at: Option<i64>,
    last_refresh: Option<i64>,
}

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub zones: BTreeMap<Name, Stored>,
    pub high: BTreeMap<Name, Serial>,
    pub table: BTreeMap<(String, String), Vec<u8>>,
}

pub(crate) enum Job {
    Commit(CommitId, Vec<NewVersion>, Vec<(String, String, Vec<u8>)>),
    Keep(Name, Option<i64>, Option<i64>),
    High(Name, Serial),
    Remove(Name),
}

/// One machine.
pub struct Host {
    pub core: Option<Core>,
    pub settings: Settings,
    /// Where it is and which key it shows, whatever the directory says.
    pub site: Site,
    pub disk: Disk,
    /// How many of the next commits fail.
    pub failing_commits: u32,
    /// How long the disk takes at most, in milliseconds.
    pub slow_disk: u64,
    pub served: BTreeMap<Name, (Option<Zone>, Option<i64>)>,
    pub specs: BTreeMap<Name, ZoneSpec>,
    journal: BTreeMap<Name, Vec<Diff>>,
    pub members: Vec<Site>,
    pub replies: BTreeMap<RequestId, Vec<Reply>>,
    pub happened: Vec<(Duration, Happening)>,
    /// Messages sent, by kind.
    pub sent: BTreeMap<&'static str, usize>,
    /// When transfers of a zone were asked for.
    pub transfers: Vec<(Duration, Name, PeerId)>,
    /// The highest serial that was ever served of each zone.
    published: BTreeMap<Name, Serial>,
    epoch: u64,
    disk_free: Duration,
}

/// A server that is no site.
pub struct Foreign {
    pub zones: BTreeMap<Name, Zone>,
    pub notified: Vec<(Name, Serial)>,
}

#[derive(Clone)]
pub(crate) enum Ask {
    Transfer { apex: Name, have: Option<Zone> },
    Notify { apex: Name, serial: Serial },
    Probe,
    Update(Update),
}

pub(crate) enum Event {
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

pub struct World {
    pub now: Duration,
    pub hosts: BTreeMap<String, Host>,
    pub foreign: BTreeMap<String, Foreign>,
    pub net: Net,
    pub log: Vec<String>,
    queue: BTreeMap<(Duration, u64), Event>,
    next: u64,
    random: u64,
}

/// # Building
impl World {
    pub fn new(seed: u64) -> Self {
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
    pub fn mesh(seed: u64, sites: usize) -> Self {
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
    pub fn add_host(&mut self, host: &str, zones: Vec<ZoneSpec>) {
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
    pub fn put_host(&mut self, host: &str, site: Site, settings: Settings) {
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

    pub fn host(&mut self, host: &str) -> &mut Host {
        self.hosts.get_mut(host).unwrap()
    }

    pub fn core(&mut self, host: &str) -> &mut Core {
        self.host(host).core.as_mut().expect("the site runs")
    }

    pub fn clock(&self) -> Now {
        Now {
            mono: self.now,
            wall: EPOCH + self.now.as_secs() as i64,
        }
    }

    pub fn start(&mut self, host: &str) {
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
    pub fn kill(&mut self, host: &str) {
        let state = self.host(host);
        state.core = None;
        state.epoch += 1;
        state.served.clear();
        state.journal.clear();
        state.disk_free = Duration::ZERO;
        self.note(host, "is killed");
    }

    pub fn restart(&mut self, host: &str) {
        self.kill(host);
        self.start(host);
    }

    pub fn configure(&mut self, host: &str, change: impl FnOnce(&mut Settings)) {
        let now = self.clock();
        let state = self.host(host);
        change(&mut state.settings);
        let settings = state.settings.clone();
        let outputs = self.core(host).configure(settings, now);
        self.perform(host, outputs);
    }

    pub fn cut(&mut self, from: &str, to: &str) {
        self.net.cut.insert((from.to_owned(), to.to_owned()));
    }

    pub fn cut_both(&mut self, one: &str, other: &str) {
        self.cut(one, other);
        self.cut(other, one);
    }
}

/// # Requests
impl World {
    /// Sends an input with a request's number and returns the number.
    pub fn request(&mut self, host: &str, make: impl FnOnce(RequestId) -> Input) -> RequestId {
        self.next += 1;
        let request = self.next;
        self.input(host, make(request));
        request
    }

    pub fn change(&mut self, host: &str, change: Change) -> RequestId {
        self.request(host, |request| Input::Change { request, change })
    }

    /// Changes and waits until that is acknowledged.
    pub fn changed(&mut self, host: &str, change: Change) -> Serial {
        let request = self.change(host, change);
        self.done(host, request).expect("the change is made")
    }

    /// Waits for the answer to a request.
    pub fn done(&mut self, host: &str, request: RequestId) -> Result<Serial, String> {
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
    pub fn add_zone(&mut self, host: &str, zone: Zone) -> Result<Serial, String> {
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

    pub fn remove_zone(&mut self, host: &str, apex: &str) -> Result<Serial, String> {
        self.update(
            host,
            request::release_zone(&directory(), &name(apex)).unwrap(),
        )
    }

    /// Sends an update of the directory from a site straight to the catalog primary.
    pub fn update(&mut self, from: &str, update: Update) -> Result<Serial, String> {
        let pin = self.host(from).site.pins[0];
        let primary = self.catalog_primary();
        let who = self.identify(&primary, pin)?;
        let request = self.apply_update(&primary, &update, SiteIdentity::Member(who))?;
        self.done(&primary, request)
    }

    /// Enters a site into the directory, as with a welcome packet.
    pub fn join(&mut self, host: &str) -> Result<Serial, String> {
        let request = self.invite(host)?;
        let primary = self.catalog_primary();
        self.done(&primary, request)
    }

    /// The same without waiting for the outcome.
    pub fn invite(&mut self, host: &str) -> Result<RequestId, String> {
        let site = self.host(host).site.clone();
        let primary = self.catalog_primary();
        let update = request::publish(&directory(), &site, None).unwrap();
        let identity = SiteIdentity::Join {
            site: site.name,
            role: Role::Standard,
            replace: true,
        };
        self.apply_update(&primary, &update, identity)
    }

    /// Edits the directory at the catalog primary.
    pub fn edit_directory(
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
