//! Random histories: a mesh, operators who work with it, and everything that can go wrong, drawn from one seed.
//!
//! What happens in each step is settled before the first: a step that is left out changes nothing about the others, which is
//! how a history that fails is made shorter (`shrink`).

mod acts;
mod disks;
mod hostile;
mod large;
mod machines;
mod membership;
mod trouble;
mod writers;
mod zones;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use zonemesh_mesh::core::Core;
use zonemesh_zone::Editor;
use zonemesh_zone::directory::{Directory, Role, SiteName, set_role};

use crate::dice::Dice;
use crate::oracle::{self, Finding, Oracle, SETTLES_WITHIN};
use crate::record::{Record, SiteRecord, Wanted, Writer};
use crate::{Disks, World, host_name};

pub use self::acts::Act;

/// Which history.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many sites there are at first.
    pub sites: usize,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many steps.
    pub steps: usize,
    /// Kinds of steps that are left out.
    pub without: BTreeSet<Act>,
    /// The only steps that are done, by number; all where there are none.
    pub only: Option<BTreeSet<usize>>,
}

impl Options {
    /// The history of a seed, with the number of steps that one usually has.
    pub fn new(sites: usize, seed: u64) -> Self {
        Self {
            sites,
            seed,
            steps: steps_for(sites),
            without: BTreeSet::new(),
            only: None,
        }
    }
}

/// How many steps a history has, unless told otherwise: fewer where each costs more, and more happens in each.
pub fn steps_for(sites: usize) -> usize {
    (STEPS * MOST_STORES / sites.max(MOST_STORES)).max(FEWEST_STEPS)
}

/// How many steps a history of up to 50 sites has.
const STEPS: usize = 60;

/// How many steps one of a thousand sites has at least.
const FEWEST_STEPS: usize = 6;

/// How a history ended.
pub struct Outcome {
    /// The rule that was broken.
    pub finding: Option<Finding>,
    /// What happened, line by line.
    pub log: Vec<String>,
    /// How many steps had been done by then.
    pub steps: usize,
    /// How often each kind of step was done, and came to something.
    pub acts: BTreeMap<Act, usize>,
    /// How much time passed in the simulation.
    pub lasted: Duration,
}

/// Runs a history to its end, or to the first rule that is broken.
pub fn run(options: &Options) -> Outcome {
    let mut history = History::new(options);
    let mut finding = None;
    match catch_unwind(AssertUnwindSafe(|| history.play(options))) {
        Ok(Ok(())) => {}
        Ok(Err(found)) => finding = Some(found),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            finding = Some(Finding::of_panic(text.unwrap_or("something panicked")));
        }
    }
    if finding.is_some() {
        history.say_how_all_stand();
    }
    Outcome {
        finding,
        log: std::mem::take(&mut history.world.log),
        steps: history.done,
        acts: history.acts,
        lasted: history.world.now,
    }
}

/// How many sites have a real store each at most; in larger meshes all have a model of it.
const MOST_STORES: usize = 50;

/// A history that goes on.
pub(crate) struct History {
    pub(crate) world: World,
    pub(crate) record: Record,
    oracle: Oracle,
    /// The next value of an address record, and number of a zone or of a site.
    next_value: u8,
    next_zone: usize,
    next_site: usize,
    next_key: u8,
    /// How many sites there were at first.
    first_sites: usize,
    /// Sites that roll their keys.
    rolling: BTreeSet<String>,
    /// Sites whose disks are full or hang.
    stuck: BTreeSet<String>,
    /// The writer that operators turn to, where that is not the latest.
    turn_to: Option<String>,
    /// A machine without a key that counts, which sends what it should not.
    stranger: Option<String>,
    next_stranger: usize,
    done: usize,
    acts: BTreeMap<Act, usize>,
}

impl History {
    fn new(options: &Options) -> Self {
        let mut world = World::new(options.seed);
        world.lies_apart = true;
        if options.sites > MOST_STORES {
            world.disks = Disks::Model;
        }
        Self {
            world,
            record: Record::default(),
            oracle: Oracle::default(),
            next_value: 0,
            next_zone: 0,
            next_site: 0,
            next_key: 0,
            first_sites: options.sites,
            rolling: BTreeSet::new(),
            stuck: BTreeSet::new(),
            turn_to: None,
            stranger: None,
            next_stranger: 0,
            done: 0,
            acts: BTreeMap::new(),
        }
    }

    fn play(&mut self, options: &Options) -> Result<(), Finding> {
        self.found(options.sites)?;
        for number in 0..options.steps {
            let mut dice = Dice::new(options.seed ^ (number as u64 + 1) << 32);
            let act = Act::draw(&mut dice);
            let wanted = options
                .only
                .as_ref()
                .is_none_or(|only| only.contains(&number));
            self.done = number + 1;
            if wanted && !options.without.contains(&act) {
                self.step(number, act, &mut dice)?;
            }
        }
        self.end()
    }

    /// The mesh as it is at first: sites that have joined, and a zone at each of the first ones.
    fn found(&mut self, sites: usize) -> Result<(), Finding> {
        if sites > MOST_STORES {
            return self.found_large(sites);
        }
        for number in 0..sites {
            let host = host_name(number);
            self.world.add_host(&host, Vec::new());
            self.world.start(&host);
            self.world.run_millis(1000);
            if number > 0 {
                self.world
                    .join(&host)
                    .expect("the catalog primary is there");
            }
            self.record.sites.insert(host, member());
        }
        self.next_site = sites;
        self.founded_by(&host_name(0));
        self.world.settle_within(60, "the mesh is founded");
        // Most meshes have a site that can take over.
        if self.world.below(10) < 7 && sites > 1 {
            let second = SiteName::new(&host_name(1)).expect("the name of a site");
            let edit = |editor: &mut Editor, _: &Directory| {
                set_role(editor, &second, Role::CatalogSecondary).expect("its name is short");
            };
            self.world
                .edit_directory(edit)
                .expect("nothing has gone wrong yet");
        }
        for number in 0..sites.min(FIRST_ZONES) {
            self.first_zone(&host_name(number * sites / sites.min(FIRST_ZONES)));
        }
        self.world
            .settle_within(SETTLES_WITHIN, "the first zones are everywhere");
        self.note(
            "*",
            &format!("{sites} sites and their first zones are there"),
        );
        self.look()
    }

    fn founded_by(&mut self, host: &str) {
        self.record.writers.push(Writer {
            epoch: 1,
            host: host.to_owned(),
            sure: true,
        });
    }

    /// Does one step, and lets some time pass.
    fn step(&mut self, number: usize, act: Act, dice: &mut Dice) -> Result<(), Finding> {
        // In a larger mesh more happens at once.
        for _ in 0..self.crowd(act) {
            if self.act(act, number, dice)? {
                *self.acts.entry(act).or_default() += 1;
            }
        }
        let millis = match dice.below(40) {
            0 => dice.below(600_000),
            1..4 => dice.below(90_000),
            _ => dice.below(4_000),
        };
        self.pass(millis)
    }

    fn crowd(&self, act: Act) -> usize {
        match act.is_of_all() {
            true => 1,
            false => 1 + self.world.hosts.len() / 10,
        }
    }

    /// Lets time pass, and looks at the mesh every now and then.
    pub(crate) fn pass(&mut self, millis: u64) -> Result<(), Finding> {
        let until = self.world.now + Duration::from_millis(millis);
        while self.world.now < until {
            // Often at first, when what was done takes effect.
            let left = (until - self.world.now).as_millis() as u64;
            let gone = millis - left;
            let slice = if gone < 5_000 { 200 } else { 2_000 };
            self.world.run_millis(slice.min(left).max(1));
            self.look()?;
        }
        self.look()
    }

    /// Reads what was answered, and has the oracle look.
    pub(crate) fn look(&mut self) -> Result<(), Finding> {
        self.notice_stops();
        for done in self.record.look(&self.world) {
            self.done(done);
        }
        self.receipts()?;
        self.oracle.look(&self.world, &mut self.record)
    }

    /// Faults stop, and everything that is still to be done is done; then all must be as operators have asked for.
    fn end(&mut self) -> Result<(), Finding> {
        self.note("*", "all faults stop");
        self.calm();
        let members = self.members();
        for host in &members {
            if !self.up(host) {
                self.start(host);
            }
        }
        self.pass(5_000)?;
        self.mend();
        for _ in 0..SETTLES_WITHIN / 10 {
            self.pass(10_000)?;
            self.load_files();
            let (approved, replayed) = (self.approve(), self.replay_all()?);
            let known = self.make_writer_known();
            let mended = match self.mend_catalog() {
                true => {
                    // With a broken one nobody was let in.
                    self.pass(5_000)?;
                    self.mend();
                    true
                }
                false => self.remove_orphans(),
            };
            if !approved && !replayed && !mended && !known && self.world.converged().is_ok() {
                break;
            }
        }
        self.world
            .settle_within(1, "all sites serve the same after faults have stopped");
        // A full pass of planning everywhere, which must find nothing; and every zone asks its sources once more.
        self.pass(130_000)?;
        oracle::ended(&self.world, &self.record)?;
        self.works()
    }

    /// Loads the files of zones of which nothing is held, as sites do again and again while they cannot.
    fn load_files(&mut self) {
        for host in self.members() {
            let waits = self.record.open.iter().any(|open| open.host == host);
            if self.runs(&host) && !waits {
                self.import(&host);
            }
        }
    }

    /// Ends the faults of network, disks and clocks.
    fn calm(&mut self) {
        self.stuck.clear();
        self.stranger = None;
        self.world.end_faults();
    }
}

/// # Who is there
impl History {
    /// Whether a host runs, and answers.
    pub(crate) fn runs(&self, host: &str) -> bool {
        self.up(host) && !self.world.hangs(host)
    }

    /// Whether a host runs, whether or not it hangs.
    pub(crate) fn up(&self, host: &str) -> bool {
        self.world.hosts[host].core.is_some()
    }

    /// The hosts whose sites are members, as far as anybody knows.
    pub(crate) fn members(&self) -> Vec<String> {
        let of = |(_, site): &(&String, &SiteRecord)| site.wanted != Wanted::No;
        self.record
            .sites
            .iter()
            .filter(of)
            .map(|(host, _)| host.clone())
            .collect()
    }

    /// One of them.
    pub(crate) fn member(&self, dice: &mut Dice) -> String {
        dice.pick(&self.members())
            .cloned()
            .unwrap_or_else(|| self.record.writers[0].host.clone())
    }

    /// The host of the catalog primary, while it runs: of the latest epoch, where there are two.
    pub(crate) fn writer(&self) -> Option<String> {
        let writes = |host: &&String| {
            let core = self.world.hosts[*host].core.as_ref();
            self.runs(host) && core.is_some_and(Core::is_catalog_primary)
        };
        if let Some(host) = &self.turn_to {
            return Some(host).filter(writes).cloned();
        }
        let members = self.members();
        let rank = |host: &&String| {
            let read = self.world.hosts[*host].core.as_ref()?.directory()?;
            Some((read.epoch.number, Reverse((*host).clone())))
        };
        members.iter().filter(writes).max_by_key(rank).cloned()
    }

    pub(crate) fn start(&mut self, host: &str) {
        // With what the power has left half done it may refuse to; then the power has gone again.
        if self.world.start(host) {
            self.import(host);
        }
        self.notice_stops();
    }

    pub(crate) fn kill(&mut self, host: &str) {
        self.world.kill(host);
        self.notice_stops();
    }

    /// What sites that have stopped have not answered, they never will.
    pub(crate) fn notice_stops(&mut self) {
        for (name, host) in &self.world.hosts {
            self.record.stopped(name, host.stops());
        }
    }

    /// A host runs, and its disk works: what an operator sees to before going on.
    pub(crate) fn stand_up(&mut self, host: &str) {
        self.world.heal_disk(host);
        self.stuck.remove(host);
        self.world.resume(host);
        if !self.up(host) {
            self.start(host);
        }
    }

    /// Enters into the log what each site has.
    fn say_how_all_stand(&mut self) {
        let mut lines = Vec::new();
        for (name, host) in &self.world.hosts {
            let served = host.served.iter().map(|(apex, (zone, _))| match zone {
                Some(zone) => format!("{apex} {}", zone.serial()),
                None => format!("{apex} -"),
            });
            let served: Vec<String> = served.collect();
            let state = match &host.core {
                None => "is down".to_owned(),
                Some(core) if core.ready() => "is ready".to_owned(),
                Some(_) => "is not ready".to_owned(),
            };
            let members: Vec<&str> = host.members.iter().map(|site| site.name.as_str()).collect();
            let listed = host.core.as_ref().and_then(|core| core.catalog());
            let listed = listed
                .into_iter()
                .flat_map(|catalog| catalog.members.keys());
            let listed: Vec<String> = listed.map(ToString::to_string).collect();
            lines.push((
                name.clone(),
                format!(
                    "in the end {state}, serves {}; its catalog lists {}; trusts {}",
                    served.join(", "),
                    listed.join(" "),
                    members.join(" ")
                ),
            ));
        }
        for (name, line) in lines {
            self.note(&name, &line);
        }
    }

    pub(crate) fn note(&mut self, host: &str, what: &str) {
        self.world.remark(host, what);
    }

    /// The next value of an address record.
    pub(crate) fn value(&mut self) -> u8 {
        self.next_value = self.next_value % 250 + 1;
        self.next_value
    }
}

/// How many zones there are at first, at most.
const FIRST_ZONES: usize = 10;

/// A site that has been let in.
pub(crate) fn member() -> SiteRecord {
    SiteRecord {
        wanted: Wanted::Yes,
        removal_asked: false,
        parted: false,
        removed: None,
    }
}
