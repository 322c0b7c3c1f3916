//! A mesh in one thread: cores over a simulated network, disk and clock, everything drawn from one seed.
//!
//! The network routes by the addresses and keys that a core was told to use, so a site that moved is not found by whoever does
//! not know. The disk does one job after the other, takes a while for each, and loses what it has not finished in a crash.
//!
//! The same seed and the same calls give the same history, always: time is an argument, whatever is drawn comes from one
//! generator, and nothing is iterated over whose order is not fixed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use zonemesh_update::{DirectoryPolicy, Everything, SiteIdentity, Update, apply, request};
use zonemesh_zone::directory::{Directory, Epoch, KeyPin, Role, Site, SiteName, set_role};
use zonemesh_zone::inventory::{FAN, Listing, Section};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Diff, Digest, Editor, Name, Record, Serial, SerialExt, Zone};

use zonemesh_mesh::core::*;

mod disk;
mod faults;
mod host;
mod hostile;
mod look;
mod made;
mod model;
mod network;
mod platter;
mod queue;
mod real;
mod requests;
mod run;
mod traffic;
mod wire;

pub use self::disk::{Backup, Disks, Key};
pub use self::host::{Answers, Ended, Foreign, Host, Members};
pub use self::made::*;
pub use self::model::{Disk, Stored};
pub use self::network::Net;
use self::network::{Ask, Asked};
use self::queue::{Event, Queue};
use self::real::Real;
use self::run::Draws;
pub use self::traffic::{Sent, Traffic};

/// The wall clock when the simulation starts.
pub const EPOCH: i64 = 1_700_000_000;

/// All machines, what is between them, and what will happen to them.
pub struct World {
    /// The time since before the start: the same for all.
    pub now: Duration,
    /// The machines of sites, by name.
    pub hosts: BTreeMap<String, Host>,
    /// Servers that are no sites, by the name that configurations give them.
    pub foreign: BTreeMap<String, Foreign>,
    /// What the network does to messages.
    pub net: Net,
    /// What happened, to be read by people: when, where, what.
    pub log: Vec<String>,
    /// Whether happenings are neither logged nor kept, for meshes so large that nobody could read it.
    pub quiet: bool,
    /// How long all cores together have taken, where somebody wants to know. Nothing in a history depends on it.
    pub busy: Option<Duration>,
    /// Whether forged versions have serials that the true ones rarely have: what has the same serial cannot be told apart.
    pub lies_apart: bool,
    /// What is under the machines that are added from now on.
    pub disks: Disks,
    queue: Queue,
    /// Who was broken into.
    hostile: BTreeSet<String>,
    /// Who hangs, and what waits for them meanwhile.
    hung: BTreeMap<String, Vec<Event>>,
    /// Requests that wait at somebody who hangs, and that who asked has not given up.
    open: BTreeSet<u64>,
    /// Who was last seen at an address; asked again when that is not true any longer.
    places: HashMap<IpAddr, String>,
    /// The list of members that a site was told last: sites that are told the same share one.
    told: Arc<Members>,
    /// How often what sites serve, or which of them run, has changed.
    changes: u64,
    /// The last number that was given to anything.
    next: RequestId,
    /// How many keys were made.
    keys: u32,
    random: Draws,
}

/// # Building
impl World {
    /// A world without machines.
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
            quiet: false,
            busy: None,
            lies_apart: false,
            disks: Disks::default(),
            queue: Queue::default(),
            hostile: BTreeSet::new(),
            hung: BTreeMap::new(),
            open: BTreeSet::new(),
            places: HashMap::new(),
            told: Arc::default(),
            changes: 0,
            next: 1,
            keys: 0,
            random: Draws::new(seed),
        }
    }

    /// A mesh of this many sites that joined one after the other, `site-a` first, with nothing but directory and catalog.
    pub fn mesh(seed: u64, sites: usize) -> Self {
        Self::mesh_on(Disks::Store, seed, sites)
    }

    /// The same with other disks.
    pub fn mesh_on(disks: Disks, seed: u64, sites: usize) -> Self {
        let mut world = Self::new(seed);
        world.disks = disks;
        for number in 0..sites {
            let host = host_name(number);
            world.add_host(&host, Vec::new());
            world.start(&host);
            world.run_for(1);
            if number > 0 {
                world.join(&host).expect("the primary is there");
            }
        }
        world.settle_within(60, "the mesh is quiet");
        world
    }

    /// A machine that is not started yet; `site-a` is the catalog primary.
    pub fn add_host(&mut self, host: &str, zones: Vec<ZoneSpec>) {
        // Numbers from 1: a host has 10.x.y.z.
        let number = self.hosts.len() as u32 + 1;
        let [_, x, y, z] = number.to_be_bytes();
        let role = if host == "site-a" {
            Role::CatalogPrimary
        } else {
            Role::Standard
        };
        let site = Site {
            name: SiteName::new(host).expect("the name of a site"),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(10, x, y, z))],
            dot: Some(853),
            doq: None,
            dns: None,
            pins: vec![self.new_key()],
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

    /// A key that nobody has had.
    pub(super) fn new_key(&mut self) -> KeyPin {
        self.keys += 1;
        let mut pin = [0; 32];
        pin[..4].copy_from_slice(&self.keys.to_be_bytes());
        KeyPin(pin)
    }

    /// A machine with any settings, that is not started yet.
    pub fn put_host(&mut self, host: &str, site: Site, settings: Settings) {
        let mut made = Host::new(site, settings);
        made.real = (self.disks == Disks::Store).then(Real::default);
        self.hosts.insert(host.to_owned(), made);
    }
}

/// # Sites that come and go
impl World {
    /// A machine.
    pub fn host(&mut self, host: &str) -> &mut Host {
        self.hosts.get_mut(host).expect("a host of this name")
    }

    /// The core of a site that runs.
    pub fn core(&mut self, host: &str) -> &mut Core {
        self.host(host).core.as_mut().expect("the site runs")
    }

    /// The time, as a clock that is right has it.
    pub fn clock(&self) -> Now {
        Now {
            mono: self.now,
            wall: EPOCH + self.now.as_secs() as i64,
        }
    }

    /// Starts a site with what is on its disk; false when it refuses to start with that.
    pub fn start(&mut self, host: &str) -> bool {
        assert!(self.host(host).core.is_none(), "{host} runs already");
        self.host(host).off = false;
        let held = match self.read_disk(host) {
            Ok(held) => held,
            Err(why) => {
                self.note(host, &format!("does not start: {why}"));
                self.power_may_go(host);
                return false;
            }
        };
        let (seed, now) = (self.random(), self.clock_of(host));
        let noted = held.iter().filter_map(|held| held.last_refresh).max();
        let ahead = noted.is_some_and(|noted| noted.saturating_sub(now.wall) >= 10);
        let state = self.host(host);
        state.ages_unknown = ahead.then_some(now.mono);
        let lost = u64::try_from(state.ahead.saturating_sub(state.skew)).unwrap_or_default();
        let down = now.mono.saturating_sub(state.stopped);
        state.hidden = match ahead {
            true => Duration::ZERO,
            false => Duration::from_secs(lost).min(down),
        };
        state.ahead = state.ahead.max(state.skew);
        let settings = Settings {
            marks: state.disk.marks(),
            consent: state.disk.consent(),
            ..state.settings.clone()
        };
        let (core, outputs) = Core::new(settings, held, seed, now);
        state.core = Some(core);
        self.changes += 1;
        self.note(host, "starts");
        self.perform(host, outputs);
        self.look_whether_ready(host);
        self.arm(host);
        true
    }

    /// Changes the configuration of a site that runs.
    pub fn configure(&mut self, host: &str, change: impl FnOnce(&mut Settings)) {
        let now = self.clock_of(host);
        let state = self.host(host);
        change(&mut state.settings);
        let settings = state.settings.clone();
        let outputs = self.core(host).configure(settings, now);
        self.perform(host, outputs);
        self.arm(host);
    }
}
