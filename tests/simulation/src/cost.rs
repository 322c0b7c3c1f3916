//! What healing costs: time and messages, in meshes of several sizes.
//!
//! A mesh is built from disks that it might have left behind, goes through what can befall it, and each site's messages are
//! counted. Nothing here asserts; the test `stories/cost.rs` does, at small sizes.

pub mod core;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use zonemesh_mesh::core::{Core, PeerId};
use zonemesh_zone::{Name, Serial, SerialExt};

use crate::prepared::{Prepared, apex};
use crate::{Backup, Disk, Disks, EPOCH, Key, Sent, Traffic, World, put};

/// What a mesh went through, and what it cost.
pub struct Cost {
    /// What it went through.
    pub what: &'static str,
    /// How many sites and member zones there are.
    pub size: (usize, usize),
    /// How long it took until all sites were ready and served the same, confirmed by the primary of each zone.
    pub healed: Option<Duration>,
    /// Until when was counted.
    pub span: Duration,
    /// What the site concerned has sent; of a power cut, the first site.
    pub concerned: Traffic,
    /// What the others have sent, per site.
    pub each: BTreeMap<&'static str, (f64, f64)>,
    /// What the site has sent that sent most.
    pub most: Sent,
    /// Most messages at any site in one second, sent and received.
    pub busiest: u64,
    /// Time of all cores, per site.
    pub busy: Duration,
    /// Time of a processor that it took to simulate it.
    pub took: Duration,
}

impl Cost {
    /// How many messages a site has sent on average, but for probes, the site concerned aside.
    pub fn each_but_probes(&self) -> f64 {
        let kinds = self.each.iter().filter(|(kind, _)| **kind != "probe");
        kinds.map(|(_, (messages, _))| messages).sum()
    }

    /// How many of them were of a kind.
    pub fn each_of(&self, kind: &str) -> f64 {
        self.each.get(kind).map_or(0.0, |(messages, _)| *messages)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sites, zones) = self.size;
        let healed = match self.healed {
            Some(healed) => format!("{:.1} s", healed.as_secs_f64()),
            None => "–".to_owned(),
        };
        let kinds = ["probe", "transfer", "notify"];
        let each = kinds.map(|kind| format!("{:.1}", self.each_of(kind)));
        let octets: f64 = self.each.values().map(|(_, octets)| octets).sum();
        write!(
            f,
            "| {} | {sites} | {zones} | {healed} | {} | {} | {:.0} | {} | {} | {} | {:.1} |",
            self.what,
            self.span.as_secs(),
            each.join(" | "),
            octets / 1024.0,
            self.most.messages,
            self.concerned.total().messages,
            self.busiest,
            self.busy.as_secs_f64() * 1000.0,
        )
    }
}

/// The heading of a table of costs.
pub const HEADING: &str = "\
| What | Sites | Zones | Healed in | Seconds counted | Probes | Transfers | NOTIFYs | KiB | Most of any site | Of the site concerned | Busiest second | Core, ms |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

/// A mesh that is measured.
pub struct Measured {
    /// The mesh.
    pub world: World,
    names: Vec<String>,
    zones: Vec<Name>,
    size: (usize, usize),
}

impl Measured {
    /// A mesh whose power was cut when a tenth of its zones had just changed, and nobody knew yet.
    pub fn new(seed: u64, sites: usize, zones: usize) -> Self {
        let prepared = Prepared::new(sites, zones);
        let mut world = World::new(seed);
        world.quiet = true;
        world.busy = Some(Duration::ZERO);
        world.disks = Disks::Model;
        for (number, site) in prepared.sites.iter().enumerate() {
            let name = site.name.as_str().to_owned();
            world.put_host(&name, site.clone(), prepared.settings(number));
            let mut held = prepared.held(number, EPOCH);
            for zone in held.iter_mut().filter(|held| held.expires_at.is_none()) {
                if changed(zone.zone.apex(), &prepared) {
                    let mut editor = zone.zone.edit();
                    editor.set_serial(Serial(zone.high_water.into_int()).next());
                    zone.zone = editor.finish().expect("a zone with another serial");
                    zone.high_water = zone.zone.serial();
                }
            }
            world.host(&name).disk = Disk::of(held);
        }
        let names = world.hosts.keys().cloned().collect();
        Self {
            world,
            names,
            zones: (0..zones).map(apex).collect(),
            size: (sites, zones),
        }
    }

    /// Starts all sites in an order drawn from the seed, within so many seconds, and waits until all is well.
    pub fn power_comes_back(&mut self, what: &'static str, within: u64) -> Cost {
        let mut order: Vec<(u64, String)> = Vec::new();
        for name in &self.names {
            let millis = match within {
                0 => 0,
                within => self.world.below(within * 1000),
            };
            order.push((millis, name.clone()));
        }
        order.sort();
        let first = order[0].1.clone();
        self.measure(what, &first, None, move |world| {
            let began = world.now;
            for (millis, name) in &order {
                let at = began + Duration::from_millis(*millis);
                let wait = at.saturating_sub(world.now);
                world.run_millis(wait.as_millis() as u64);
                world.start(name);
            }
        })
    }

    /// Cuts the power of all.
    pub fn power_is_cut(&mut self) {
        for name in &self.names {
            self.world.kill(name);
        }
    }

    /// Lets time pass in which nothing happens.
    pub fn rest(&mut self, seconds: u64) -> Cost {
        let first = self.names[2].clone();
        self.measure("at rest", &first, Some(seconds), |_| {})
    }

    /// Empties the disk of a site, which keeps its key.
    pub fn disk_is_emptied(&mut self) -> Cost {
        let name = self.names[2].clone();
        self.measure("a disk is emptied", &name, None, |world| {
            world.empty_disk(&name, Key::Kept);
            world.start(&name);
        })
    }

    /// Copies the disk of a site, changes a zone of it, and puts the copy back.
    pub fn primary_is_restored(&mut self) -> Cost {
        let name = self.names[3].clone();
        let backup: Backup = self.world.copy_disk(&name);
        for last in 1..4 {
            let change = put(&apex(3).to_string(), "new", last);
            self.world.changed(&name, change);
            self.world.run_for(2);
        }
        self.measure(
            "a primary is restored from an old copy",
            &name,
            None,
            |world| {
                world.restore_disk(&name, &backup);
                world.start(&name);
            },
        )
    }

    /// Changes one zone at its primary.
    pub fn zone_is_changed(&mut self) -> Cost {
        let name = self.names[4].clone();
        self.measure("a zone is changed", &name, None, |world| {
            world.changed(&name, put(&apex(4).to_string(), "changed", 7));
        })
    }

    /// Stops one site for a while.
    pub fn site_is_away(&mut self, seconds: u64) -> Cost {
        let name = self.names[5].clone();
        self.world.kill(&name);
        let cost = self.measure("a site is away", &name, Some(seconds), |_| {});
        self.world.start(&name);
        cost
    }

    fn measure(
        &mut self,
        what: &'static str,
        concerned: &str,
        seconds: Option<u64>,
        befall: impl FnOnce(&mut World),
    ) -> Cost {
        let started = processor_time();
        for host in self.world.hosts.values_mut() {
            host.traffic = Traffic::default();
            host.transfers = Vec::new();
        }
        self.world.busy = Some(Duration::ZERO);
        let began = self.world.now;
        befall(&mut self.world);
        let healed = match seconds {
            Some(seconds) => {
                self.world.run_for(seconds);
                None
            }
            None => Some(self.wait(began)),
        };
        let others: Vec<&Traffic> = self
            .world
            .hosts
            .iter()
            .filter(|(name, _)| *name != concerned)
            .map(|(_, host)| &host.traffic)
            .collect();
        let mut each: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
        for (kind, sent) in others.iter().flat_map(|traffic| &traffic.sent) {
            let sum = each.entry(kind).or_default();
            sum.0 += sent.messages as f64 / others.len() as f64;
            sum.1 += sent.octets as f64 / others.len() as f64;
        }
        let hosts = self.world.hosts.values();
        let most = hosts.clone().map(|host| host.traffic.total());
        Cost {
            what,
            size: self.size,
            healed,
            span: self.world.now - began,
            concerned: self.world.hosts[concerned].traffic.clone(),
            each,
            most: most.max_by_key(|sent| sent.messages).unwrap_or_default(),
            busiest: hosts.map(|host| host.traffic.busiest).max().unwrap_or(0),
            busy: self.world.busy.unwrap_or_default() / self.size.0 as u32,
            took: processor_time() - started,
        }
    }

    /// Waits until all is well, and for what is under way then to end.
    fn wait(&mut self, began: Duration) -> Duration {
        let until = self.world.now + Duration::from_secs(600);
        let mut lacking = None;
        while let Some(why) = self.lacks(&mut lacking) {
            self.world.run_millis(100);
            assert!(
                self.world.now < until,
                "not healed after ten minutes: {why}"
            );
        }
        let healed = self.world.now - began;
        self.world.run_for(5);
        healed
    }

    /// What is not well yet, looked for where it was found before.
    fn lacks(&self, found: &mut Option<(usize, usize)>) -> Option<String> {
        let (site, zone) = found.unwrap_or_default();
        for site in site..self.names.len() {
            let name = &self.names[site];
            let Some(core) = self.world.hosts[name].core.as_ref() else {
                *found = Some((site, 0));
                return Some(format!("{name} does not run"));
            };
            if !core.ready() {
                *found = Some((site, 0));
                return Some(format!("{name} is not ready"));
            }
            let from = match found {
                Some((at, _)) if *at == site => zone,
                _ => 0,
            };
            for zone in from..self.zones.len() {
                if let Some(why) = self.stale(site, core, zone) {
                    *found = Some((site, zone));
                    return Some(why);
                }
            }
        }
        // Once more from the start: what was well may have changed meanwhile.
        match found.take() {
            Some(_) => self.lacks(found),
            None => None,
        }
    }

    /// Whether a site serves another version of a zone than its primary, or the primary does not know that it does not.
    fn stale(&self, site: usize, core: &Core, zone: usize) -> Option<String> {
        let primary = &self.names[zone % self.names.len()];
        let (name, apex) = (&self.names[site], &self.zones[zone]);
        let serial = |core: &Core| Some(core.zone(apex)?.zone?.serial());
        let source = self.world.hosts[primary].core.as_ref();
        let Some(wanted) = source.and_then(serial) else {
            return Some(format!("{primary} has no {apex}"));
        };
        if serial(core) != Some(wanted) {
            return Some(format!("{apex} at {name}"));
        }
        let me = PeerId::Site(self.world.hosts[name].site.name.clone());
        let shown = |core: &Core| core.zone(apex)?.shown.get(&me).copied();
        match name == primary || source.and_then(shown) == Some(wanted) {
            true => None,
            false => Some(format!("{primary} does not know that {name} serves {apex}")),
        }
    }
}

fn changed(apex: &Name, mesh: &Prepared) -> bool {
    let number = mesh.zones.iter().position(|zone| zone.apex() == apex);
    number.is_some_and(|number| number % 10 == 0)
}

/// Up to how many sites what is to be compared with real processes is measured.
const FEW: usize = 20;

/// Everything that is measured of a mesh, line by line as it comes.
pub fn report(sites: usize, zones: usize, mut tell: impl FnMut(&Cost)) {
    let mut mesh = Measured::new(1, sites, zones);
    tell(&mesh.power_comes_back("power cut, all start at once", 0));
    tell(&mesh.rest(60));
    tell(&mesh.zone_is_changed());
    tell(&mesh.disk_is_emptied());
    tell(&mesh.primary_is_restored());
    tell(&mesh.site_is_away(60));
    mesh.world.run_for(60);
    mesh.power_is_cut();
    tell(&mesh.power_comes_back("power cut, start within a minute", 60));
    if sites <= FEW {
        // As fast as real processes come up.
        mesh.world.run_for(60);
        mesh.power_is_cut();
        tell(&mesh.power_comes_back("power cut, start within four seconds", 4));
    }
}

/// How many octets of memory the core of one site needs, its zones aside: from this process, which should do nothing else.
pub fn memory(sites: usize, zones: usize) -> Option<u64> {
    const CORES: usize = 20;
    let mesh = Prepared::new(sites, zones);
    let before = resident()?;
    let cores: Vec<Core> = (0..CORES).map(|_| core::at_rest(&mesh)).collect();
    let after = resident()?;
    drop(cores);
    Some(after.saturating_sub(before) / CORES as u64)
}

/// How much time of a processor this thread has had: what else the machine does is not in it.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// What this process holds of memory.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// The whole report as text: costs at these sizes, then what single things take a core.
pub fn print(sizes: &[(usize, usize)], mut out: impl FnMut(&str)) {
    for (sites, zones) in sizes {
        if let Some(octets) = memory(*sites, *zones) {
            let kib = octets / 1024;
            out(&format!(
                "core of one of {sites} sites with {zones} zones: {kib} KiB"
            ));
        }
    }
    out(HEADING);
    for (sites, zones) in sizes {
        report(*sites, *zones, |cost| {
            let mut line = cost.to_string();
            let _ = write!(
                line,
                " <!-- simulated in {:.1} s -->",
                cost.took.as_secs_f64()
            );
            out(&line);
        });
    }
    out(&core::table());
}
