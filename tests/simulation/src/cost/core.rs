//! How long the core of one site takes for what happens to it, in meshes of several sizes.
//!
//! It is time of a processor, and depends on the machine; what counts is how a line grows from left to right.

use std::time::Duration;

use zonemesh_mesh::core::*;
use zonemesh_zone::directory::owner_record;
use zonemesh_zone::{Name, Serial, SerialExt, Zone, catalog as catalogs};

use super::processor_time;
use crate::prepared::{Prepared, apex, site};
use crate::{directory, put};

/// Sites, zones.
const SIZES: [(usize, usize); 6] = [
    (10, 10),
    (10, 1000),
    (100, 100),
    (1000, 10),
    (100, 1000),
    (1000, 1000),
];
const START: Duration = Duration::from_secs(1);
const WALL: i64 = 1_700_000_000;

/// The table: what happens to a core, and for each size how long it takes and how many outputs it gives.
pub fn table() -> String {
    let columns: Vec<Vec<(&str, Duration, usize)>> = SIZES
        .iter()
        .map(|(sites, zones)| measure(&Prepared::new(*sites, *zones)))
        .collect();
    let mut text = "| sites x zones |".to_owned();
    for (sites, zones) in SIZES {
        text += &format!(" {sites} x {zones} |");
    }
    text += "\n|---|";
    text += &"--:|".repeat(SIZES.len());
    for (row, (what, ..)) in columns[0].iter().enumerate() {
        text += &format!("\n| {what} |");
        for column in &columns {
            let (_, time, outputs) = column[row];
            let micros = time.as_secs_f64() * 1e6;
            text += &format!(" {micros:.1} µs, {outputs} |");
        }
    }
    text
}

/// A core, and the time that it goes by.
struct Site {
    core: Core,
    now: Duration,
    rows: Vec<(&'static str, Duration, usize)>,
}

impl Site {
    fn clock(&self) -> Now {
        Now {
            mono: self.now,
            wall: WALL + self.now.as_secs() as i64,
        }
    }

    fn take(&mut self, input: Input) -> Vec<Output> {
        let now = self.clock();
        self.core.handle(input, now)
    }

    /// Measures one input, or several alike, per input.
    fn time(&mut self, what: &'static str, inputs: Vec<Input>) -> Vec<Output> {
        let many = inputs.len() as u32;
        let now = self.clock();
        let started = processor_time();
        let mut out = Vec::new();
        for input in inputs {
            out.extend(self.core.handle(input, now));
        }
        let sent = out.len() / many as usize;
        self.rows
            .push((what, (processor_time() - started) / many, sent));
        out
    }

    /// Answers everything that is asked as a mesh does in which all is well, until nothing more is.
    fn answer(&mut self, mut outputs: Vec<Output>) {
        while !outputs.is_empty() {
            let answers: Vec<Input> = outputs.into_iter().filter_map(good_answer).collect();
            outputs = answers
                .into_iter()
                .flat_map(|input| self.take(input))
                .collect();
        }
    }

    /// Lets time pass in which nothing happens but what the core itself wants.
    fn rest(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.core.next_due() <= until {
            self.now = self.now.max(self.core.next_due());
            let outputs = self.take(Input::Tick);
            self.answer(outputs);
        }
        self.now = until;
    }
}

fn good_answer(output: Output) -> Option<Input> {
    Some(match output {
        Output::Transfer { apex, from, have } => {
            let serial = have?.serial();
            let result = Ok(Got::UpToDate { serial });
            Input::Transferred {
                apex,
                from,
                result,
                expire: None,
            }
        }
        Output::Notify { to, soa, serial } => {
            let result = Ok(());
            Input::Notified {
                to,
                apex: soa.owner,
                serial,
                result,
            }
        }
        Output::Probe { peer } => Input::Probed {
            peer,
            result: Ok(None),
            beat: None,
        },
        Output::Commit { commit, .. } => Input::Committed {
            commit,
            result: Ok(()),
        },
        _ => return None,
    })
}

/// A core of that mesh when it is at rest.
pub(super) fn at_rest(mesh: &Prepared) -> Core {
    let clock = Now {
        mono: START,
        wall: WALL,
    };
    let (core, out) = Core::new(mesh.settings(2), mesh.held(2, WALL), 7, clock);
    let mut site = Site {
        core,
        now: START,
        rows: Vec::new(),
    };
    site.answer(out);
    site.rest(70);
    site.core
}

fn measure(mesh: &Prepared) -> Vec<(&'static str, Duration, usize)> {
    // Neither first nor second: a site like most.
    let me = 2;
    let clock = Now {
        mono: START,
        wall: WALL,
    };
    let held = mesh.held(me, WALL);
    let settings = mesh.settings(me);
    let started = processor_time();
    let (core, out) = Core::new(settings, held, 7, clock);
    let mut site = Site {
        core,
        now: START,
        rows: vec![(
            "a start with all zones held",
            (processor_time() - started),
            out.len(),
        )],
    };
    site.answer(out);
    // What was changed at the start is planned again; then all is at rest.
    site.rest(70);
    while_at_rest(&mut site, mesh);
    changes(&mut site, mesh, me);
    catalog_primary(&mut site, mesh);
    site.rows
}

/// What goes on while nothing changes.
fn while_at_rest(site: &mut Site, mesh: &Prepared) {
    let peer = PeerId::Site(mesh.sites[0].name.clone());
    let serial = mesh.directory.serial();
    let probed = Input::Probed {
        peer,
        result: Ok(Some(serial)),
        beat: None,
    };
    site.time("a tick with nothing to do", vec![Input::Tick; 100]);
    site.time("the answer to a probe", vec![probed; 100]);
    let (zone, from) = (&mesh.zones[5], PeerId::Site(mesh.sites[5].name.clone()));
    let known = Input::Notify {
        apex: zone.apex().clone(),
        serial: Some(zone.serial()),
        from,
    };
    let out = site.time("a NOTIFY without news", vec![known]);
    site.answer(out);
    site.now = site.core.next_due();
    let out = site.time("a tick that probes", vec![Input::Tick]);
    site.answer(out);
    // The same versions again.
    let started = processor_time();
    let settings = mesh.settings(2);
    let clock = site.clock();
    let out = site.core.configure(settings, clock);
    site.rows.push((
        "a full pass without news",
        (processor_time() - started),
        out.len(),
    ));
}

fn changes(site: &mut Site, mesh: &Prepared, me: usize) {
    let zone = &mesh.zones[5];
    let from = PeerId::Site(mesh.sites[5].name.clone());
    let newer = with_serial(zone, zone.serial().next());
    let apex = zone.apex().clone();
    let notify = Input::Notify {
        apex: apex.clone(),
        serial: Some(newer.serial()),
        from: from.clone(),
    };
    site.time("a NOTIFY with news", vec![notify]);
    let diffs = vec![zone.diff(&newer)];
    let result = Ok(Got::Diffs(newer.clone(), diffs));
    let got = Input::Transferred {
        apex,
        from,
        result,
        expire: None,
    };
    let out = site.time("a transfer of differences", vec![got]);
    let done = committed(&out);
    let out = site.time("its commit", vec![done]);
    site.answer(out);
    let change = Input::Change {
        request: 1,
        change: put(&own(mesh, me).to_string(), "new", 9),
    };
    let out = site.time("a change of a zone of its own", vec![change]);
    let done = committed(&out);
    let out = site.time("its commit, and all are told", vec![done]);
    site.answer(out);
    let newcomer = joined(mesh);
    learn(site, "a site has joined", &mesh.directory, newcomer, 0);
    let (grown, listed) = grown(mesh);
    learn(
        site,
        "a zone has been added: directory",
        &grown.0,
        grown.1,
        0,
    );
    learn(
        site,
        "a zone has been added: catalog",
        &mesh.catalog,
        listed,
        0,
    );
    let last = mesh.sites.last().unwrap();
    let peer = PeerId::Site(last.name.clone());
    let failure = Failure {
        message: "no answer".to_owned(),
        unreachable: true,
        lacks: false,
    };
    let failed = Input::Probed {
        peer: peer.clone(),
        result: Err(failure),
        beat: None,
    };
    site.time("a probe that fails", vec![failed.clone()]);
    site.now += Duration::from_secs(5);
    let out = site.take(failed);
    site.answer(out);
    let back = Input::Probed {
        peer,
        result: Ok(None),
        beat: None,
    };
    let out = site.time("a site is back", vec![back]);
    site.answer(out);
}

/// The same at the site that writes directory and catalog.
fn catalog_primary(site: &mut Site, mesh: &Prepared) {
    let clock = Now {
        mono: START,
        wall: WALL,
    };
    let (core, out) = Core::new(mesh.settings(0), mesh.held(0, WALL), 7, clock);
    let rows = std::mem::take(&mut site.rows);
    *site = Site {
        core,
        now: START,
        rows,
    };
    site.answer(out);
    site.rest(70);
    let edited = joined(mesh);
    let input = Input::Directory {
        request: 1,
        edited,
        also: Vec::new(),
    };
    let out = site.time("catalog primary: a site joins", vec![input]);
    let done = committed(&out);
    let out = site.time("catalog primary: its commit", vec![done]);
    site.answer(out);
    site.rest(5);
    let head = site.core.head(&directory()).unwrap().clone();
    let mut editor = head.edit();
    let owner = owner_record(&apex(9999), &mesh.sites[3].name, &directory()).unwrap();
    editor.add(owner).unwrap();
    let edited = editor.finish().unwrap();
    let input = Input::Directory {
        request: 2,
        edited,
        also: Vec::new(),
    };
    let out = site.time("catalog primary: a zone is added", vec![input]);
    let done = committed(&out);
    let out = site.time("catalog primary: its commit", vec![done]);
    site.answer(out);
}

/// Has a site transfer a newer version of directory or catalog, and measures what it makes of it.
fn learn(site: &mut Site, what: &'static str, before: &Zone, newer: Zone, source: usize) {
    let from = PeerId::Site(crate::prepared::site(source).name);
    let apex = before.apex().clone();
    let serial = Some(newer.serial());
    site.take(Input::Notify {
        apex: apex.clone(),
        serial,
        from: from.clone(),
    });
    let diffs = vec![before.diff(&newer)];
    let result = Ok(Got::Diffs(newer, diffs));
    let out = site.take(Input::Transferred {
        apex,
        from,
        result,
        expire: None,
    });
    let done = committed(&out);
    let out = site.time(what, vec![done]);
    site.answer(out);
}

fn own(mesh: &Prepared, me: usize) -> Name {
    mesh.zones[me].apex().clone()
}

fn committed(outputs: &[Output]) -> Input {
    let commit = outputs.iter().find_map(|output| match output {
        Output::Commit { commit, .. } => Some(*commit),
        _ => None,
    });
    let commit = commit.expect("something is to be stored");
    Input::Committed {
        commit,
        result: Ok(()),
    }
}

fn with_serial(zone: &Zone, serial: Serial) -> Zone {
    let mut editor = zone.edit();
    editor.set_serial(serial);
    editor.finish().unwrap()
}

/// The directory with one more site.
fn joined(mesh: &Prepared) -> Zone {
    let mut editor = mesh.directory.edit();
    for record in site(mesh.sites.len()).records(&directory()).unwrap() {
        editor.add(record).unwrap();
    }
    editor.set_serial(mesh.directory.serial().next());
    editor.finish().unwrap()
}

/// Directory, before and after, and catalog with one more zone.
fn grown(mesh: &Prepared) -> ((Zone, Zone), Zone) {
    let before = joined(mesh);
    let mut editor = before.edit();
    let owner = owner_record(&apex(9999), &mesh.sites[3].name, &directory()).unwrap();
    editor.add(owner).unwrap();
    editor.set_serial(before.serial().next());
    let after = editor.finish().unwrap();
    let mut editor = mesh.catalog.edit();
    catalogs::add_member(&mut editor, &apex(9999), None).unwrap();
    editor.set_serial(mesh.catalog.serial().next());
    ((before, after), editor.finish().unwrap())
}
