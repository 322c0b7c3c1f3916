//! Random histories: whatever happened, once faults have stopped all is alike, and nothing acknowledged is missing.

use std::collections::BTreeMap;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

const SITES: [&str; 5] = ["site-a", "site-b", "site-c", "site-d", "site-e"];
/// Joins in the middle of it all.
const NEWCOMER: &str = "site-f";

/// One history: acknowledged changes by zone and owner name.
struct History {
    world: World,
    /// Each zone and its primary.
    zones: Vec<(String, &'static str)>,
    /// Requests that are not answered yet: where, which zone, which owner name, which value.
    open: Vec<(&'static str, RequestId, String, String, u8)>,
    acknowledged: BTreeMap<(String, String), u8>,
    /// Owner names on which an unacknowledged change may have come after the acknowledged one.
    unsure: BTreeMap<(String, String), Vec<u8>>,
    next: u8,
    /// The sites that there are by now.
    sites: Vec<&'static str>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut world = World::mesh(seed, SITES.len());
        let mut zones = Vec::new();
        for (number, host) in SITES.iter().enumerate() {
            let apex = format!("z{number}.example");
            world
                .add_zone(host, timed_zone(&apex, u32::MAX - 3, (60, 20, 86_400), &[]))
                .unwrap();
            zones.push((apex, *host));
        }
        world.settle(120);
        Self {
            world,
            zones,
            open: Vec::new(),
            acknowledged: BTreeMap::new(),
            unsure: BTreeMap::new(),
            next: 1,
            sites: SITES.to_vec(),
        }
    }

    fn pick(&mut self) -> &'static str {
        self.sites[self.world.below(self.sites.len() as u64) as usize]
    }

    fn runs(&self, host: &str) -> bool {
        self.world.hosts[host].core.is_some()
    }

    fn step(&mut self) {
        match self.world.below(15) {
            0..=4 => self.change(),
            5 => {
                let host = self.pick();
                if self.runs(host) {
                    self.world.kill(host);
                }
            }
            6 | 7 => {
                let host = self.pick();
                if !self.runs(host) {
                    self.world.start(host);
                }
            }
            8 => {
                let (one, other) = (self.pick(), self.pick());
                self.world.cut(one, other);
            }
            9 => self.world.net.cut.clear(),
            10 => {
                let host = self.pick();
                self.world.host(host).failing_commits = 2;
            }
            11 => self.new_zone(),
            12 => self.move_away(),
            13 => self.join(),
            _ => {
                self.world.net.loss = self.world.below(300);
                self.world.net.duplicates = self.world.below(200);
                self.world.net.slowest = 1 + self.world.below(900);
            }
        }
        let pause = self.world.below(4000);
        self.world.run_millis(pause);
        self.look();
    }

    fn change(&mut self) {
        let (apex, host) = self.zones[self.world.below(self.zones.len() as u64) as usize].clone();
        if !self.runs(host) {
            return;
        }
        let owner = format!("h{}", self.world.below(4));
        self.next = self.next % 250 + 1;
        let request = self.world.change(host, put(&apex, &owner, self.next));
        self.open.push((host, request, apex, owner, self.next));
    }

    /// A zone of the configuration is added to a running site.
    fn new_zone(&mut self) {
        let host = self.pick();
        if !self.runs(host) || self.zones.len() >= 9 {
            return;
        }
        let apex = format!("z{}.example", self.zones.len());
        let spec = own(&apex, &[]);
        self.world
            .configure(host, |settings| settings.zones.push(spec));
        let first = Change::Replace(zone(&apex, 1, &["h0 60 IN A 192.0.2.251"]));
        let request = self.world.change(host, first);
        self.open
            .push((host, request, apex.clone(), "h0".to_owned(), 251));
        self.zones.push((apex, host));
    }

    /// A site has another address from now on. Not the catalog primary: nobody could ask it for the directory that says so.
    fn move_away(&mut self) {
        let host = self.pick();
        if host == "site-a" || !self.runs(host) {
            return;
        }
        self.next = self.next % 250 + 1;
        let number = host.bytes().last().unwrap_or_default();
        let address = std::net::Ipv4Addr::new(198, 51, number, self.next);
        self.world.host(host).site.addresses = vec![address.into()];
        self.world.configure(host, |settings| {
            if let Some(mesh) = &mut settings.mesh {
                mesh.me.site.addresses = vec![address.into()];
            }
        });
    }

    fn join(&mut self) {
        if self.sites.contains(&NEWCOMER) || !self.runs("site-a") {
            return;
        }
        self.world.add_host(NEWCOMER, Vec::new());
        self.world.start(NEWCOMER);
        self.sites.push(NEWCOMER);
        self.invite();
    }

    /// Makes the newcomer a member unless it is; that may fail while site-a's disk does.
    fn invite(&mut self) {
        let known = self.world.core("site-a").directory().cloned();
        let known =
            known.is_some_and(|read| read.sites.keys().any(|site| site.as_str() == NEWCOMER));
        if self.sites.contains(&NEWCOMER) && !known {
            self.world.invite(NEWCOMER).unwrap();
        }
    }

    /// Counts what has been acknowledged by now, in the order in which it was asked for.
    fn look(&mut self) {
        for (host, request, apex, owner, value) in std::mem::take(&mut self.open) {
            let key = (apex.clone(), owner.clone());
            match self.world.hosts[host]
                .replies
                .get(&request)
                .map(|replies| &replies[0])
            {
                Some(Reply::Done { .. }) => {
                    self.acknowledged.insert(key.clone(), value);
                    self.unsure.remove(&key);
                }
                Some(_) => {}
                None if self.runs(host) => self.open.push((host, request, apex, owner, value)),
                // It died before it could answer: the change may be there or not.
                None => self.unsure.entry(key).or_default().push(value),
            }
        }
    }

    fn end(mut self) {
        self.world.net = Net {
            slowest: 20,
            ..Net::default()
        };
        for host in self.sites.clone() {
            self.world.host(host).failing_commits = 0;
            if !self.runs(host) {
                self.world.start(host);
            }
        }
        self.world.run_for(5);
        self.invite();
        for (apex, host) in self.zones.clone() {
            // What the start imports from its file.
            if self.world.core(host).head(&name(&apex)).is_none() {
                self.world
                    .changed(host, Change::Replace(zone(&apex, 1, &[])));
            }
        }
        self.world.settle(180);
        let served = self.world.core("site-a").catalog().unwrap().members.len();
        assert_eq!(served, self.zones.len(), "all zones are listed");
        self.look();
        for ((apex, owner), value) in &self.acknowledged {
            let served = self.world.zone("site-a", apex).unwrap();
            let unsure = self.unsure.get(&(apex.clone(), owner.clone()));
            let fine = has(served, owner, *value)
                || unsure
                    .is_some_and(|values| values.iter().any(|value| has(served, owner, *value)));
            assert!(
                fine,
                "{apex}: {owner} is not {value}, which was acknowledged\n{}",
                self.world.tail()
            );
        }
    }
}

#[test]
fn random_histories_end_alike_everywhere_with_nothing_acknowledged_lost() {
    for seed in 0..25 {
        // Printed when the test fails: one seed is one history.
        println!("seed {seed}");
        let mut history = History::new(1000 + seed);
        for _ in 0..60 {
            history.step();
        }
        history.end();
    }
}
