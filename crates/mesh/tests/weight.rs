//! What a zone weighs that a catalog has brought: as many octets as the core asks for, its contents included, are the same on every
//! machine, and a hundred thousand zones pay for each of them (decision 0036).

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_mesh::core::{
    Admit, CatalogSettings, Consumed, Core, Got, Input, Now, Output, PeerId, PeerList, Settings,
    ZoneSpec,
};
use zonemesh_testkit::memory::{Counting, counted};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Name, Record, Serial, Zone, catalog};

#[global_allocator]
static MEMORY: Counting = Counting;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn producer() -> PeerId {
    PeerId::Foreign("producer".into())
}

fn consumer() -> Settings {
    let apex = name("catalog.test");
    let sources = PeerList::from(vec![producer()]);
    Settings {
        zones: vec![ZoneSpec {
            apex: apex.clone(),
            sources: sources.clone(),
            primary: false,
            notify: PeerList::default(),
            members_only: false,
            mesh: false,
        }],
        catalogs: CatalogSettings {
            consumed: vec![Consumed {
                apex,
                admit: vec![Admit::Any],
                sources,
                groups: BTreeMap::new(),
            }],
            ..CatalogSettings::default()
        },
        ..Settings::default()
    }
}

/// A zone of six records at three names.
fn member(apex: Name) -> Zone {
    let mut editor = Editor::new(apex.clone());
    for line in [
        "@ 3600 IN SOA ns.example. hostmaster.example. 1 86400 3600 3628800 300",
        "@ 3600 IN NS ns.example.",
        "@ 3600 IN MX 10 mail",
        "mail 3600 IN A 192.0.2.1",
        "www 3600 IN A 192.0.2.2",
        "www 3600 IN AAAA 2001:db8::2",
    ] {
        editor.add(Record::from_text(line, &apex).unwrap()).unwrap();
    }
    editor.finish().unwrap()
}

fn catalog_of(members: usize) -> Zone {
    let empty = catalog::new_zone(&name("catalog.test"), Serial(1)).unwrap();
    let members = (0..members).map(|number| (name(&format!("m{number}.members.test")), None));
    let all = catalog::follow(&empty, &members.collect(), Serial(2)).unwrap();
    all.unwrap()
}

/// A core that has taken a catalog of so many members, and each of them.
fn taken(members: usize) -> Core {
    let now = |secs| Now {
        mono: Duration::from_secs(secs),
        wall: 1_700_000_000 + secs as i64,
    };
    let (mut core, mut outputs) = Core::new(consumer(), Vec::new(), 7, now(1));
    let (mut published, mut secs) = (0, 1);
    while published <= members {
        if outputs.is_empty() {
            secs += 1;
            assert!(secs < 10, "{published} of {members} were taken");
            outputs = core.handle(Input::Tick, now(secs));
        }
        let mut next = Vec::new();
        for output in std::mem::take(&mut outputs) {
            let input = match output {
                Output::Transfer { apex, from, .. } => Input::Transferred {
                    result: Ok(Got::Full(match apex == name("catalog.test") {
                        true => catalog_of(members),
                        false => member(apex.clone()),
                    })),
                    apex,
                    from,
                    expire: None,
                },
                Output::Commit { commit, .. } => Input::Committed {
                    commit,
                    result: Ok(()),
                },
                Output::Publish { zone: Some(_), .. } => {
                    published += 1;
                    continue;
                }
                _ => continue,
            };
            next.extend(core.handle(input, now(secs)));
        }
        outputs = next;
    }
    core
}

#[test]
fn a_member_of_a_catalog_with_six_records_weighs_no_more_than_it_has_to() {
    let weight = |members: usize| {
        let (_core, weighed) = counted(|| taken(members));
        weighed.pieces
    };
    let (few, many) = (1000, 4000);
    let each = (weight(many) - weight(few)) / (many - few) as isize;
    assert!(each <= MOST, "{each} octets for each zone");
}

/// A hundred thousand of them are 118 MiB.
const MOST: isize = 1240;
