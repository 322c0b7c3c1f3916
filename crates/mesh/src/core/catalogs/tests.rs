use std::time::Duration;

use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record, Serial, Zone};

use super::*;
use crate::core::{CONSENT, Got, Held, Input, NewVersion, Settings, Verdict};

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn now(secs: u64) -> Now {
    Now {
        mono: Duration::from_secs(secs),
        wall: 1_700_000_000 + secs as i64,
    }
}

fn data(apex: &str, serial: u32) -> Zone {
    let apex = name(apex);
    let mut editor = Editor::new(apex.clone());
    for line in [
        format!("@ 60 IN SOA ns root {serial} 60 60 600 60"),
        "@ 60 IN NS ns".to_owned(),
    ] {
        editor
            .add(Record::from_text(&line, &apex).unwrap())
            .unwrap();
    }
    editor.finish().unwrap()
}

/// A catalog with these members and their groups.
fn catalog_of(serial: u32, members: &[(&str, Option<&str>)]) -> Zone {
    let empty = catalog::new_zone(&name("catalog.example"), Serial(serial)).unwrap();
    next_catalog(&empty, serial, members)
}

fn next_catalog(before: &Zone, serial: u32, members: &[(&str, Option<&str>)]) -> Zone {
    let wanted = members
        .iter()
        .map(|(zone, group)| (name(zone), group.map(str::to_owned)))
        .collect();
    let after = catalog::follow(before, &wanted, Serial(serial)).unwrap();
    after.unwrap_or_else(|| before.clone())
}

fn consumer() -> Settings {
    let catalog = name("catalog.example");
    let peer = |name: &str| PeerList::from(vec![PeerId::Foreign(name.into())]);
    let special = Template {
        sources: peer("special"),
        notify: peer("downstream"),
    };
    Settings {
        zones: vec![ZoneSpec {
            apex: catalog.clone(),
            sources: peer("producer"),
            primary: false,
            notify: PeerList::default(),
            members_only: false,
            mesh: false,
        }],
        catalogs: CatalogSettings {
            consumed: vec![Consumed {
                apex: catalog,
                admit: vec![
                    Admit::Below(name("example")),
                    Admit::Exactly(name("corp.test")),
                ],
                sources: peer("producer"),
                groups: BTreeMap::from([("special".to_owned(), special)]),
            }],
            ..CatalogSettings::default()
        },
        ..Settings::default()
    }
}

/// A core, its last outputs, and what its store keeps of catalogs.
struct Site {
    core: Core,
    out: Vec<Output>,
    stored: BTreeMap<String, Vec<u8>>,
    said: BTreeMap<String, Vec<u8>>,
    secs: u64,
}

impl Site {
    fn new(settings: Settings, held: Vec<Zone>) -> Self {
        let held = held.into_iter().map(|zone| Held {
            high_water: zone.serial(),
            zone,
            expires_at: None,
            last_refresh: None,
            hosted: false,
            made_here: false,
            doubt: None,
        });
        let (core, out) = Core::new(settings, held.collect(), 7, now(0));
        let mut site = Self {
            core,
            out: Vec::new(),
            stored: BTreeMap::new(),
            said: BTreeMap::new(),
            secs: 0,
        };
        site.settle(out);
        site
    }

    /// Says that all commits succeeded, until there are no more.
    fn settle(&mut self, mut new: Vec<Output>) {
        self.out.clear();
        while !new.is_empty() {
            let mut next = Vec::new();
            for output in &new {
                if let Output::Commit { commit, also, .. } = output {
                    for (table, key, value) in also {
                        let stored = match table.as_str() {
                            CATALOG_MEMBERS => &mut self.stored,
                            CONSENT => &mut self.said,
                            _ => panic!("{table}"),
                        };
                        stored.insert(key.clone(), value.clone());
                    }
                    let done = Input::Committed {
                        commit: *commit,
                        result: Ok(()),
                    };
                    next.extend(self.core.handle(done, now(self.secs)));
                }
            }
            self.out.append(&mut new);
            new = next;
        }
    }

    fn handle(&mut self, input: Input) {
        self.secs += 1;
        let out = self.core.handle(input, now(self.secs));
        self.settle(out);
    }

    /// Makes a source give a zone.
    fn gets(&mut self, zone: Zone) {
        let apex = zone.apex().clone();
        self.handle(Input::Refresh { apex: apex.clone() });
        let from = self
            .core
            .zone(&apex)
            .unwrap()
            .spec
            .sources
            .first()
            .unwrap()
            .clone();
        self.handle(Input::Transferred {
            apex,
            from,
            result: Ok(Got::Full(zone)),
            expire: None,
        });
    }

    fn zones(&self) -> Vec<String> {
        self.core
            .zones()
            .map(|view| view.spec.apex.to_string())
            .collect()
    }

    fn withdrawn(&self) -> Vec<String> {
        let gone = self.out.iter().filter_map(|output| match output {
            Output::Withdraw { apex } => Some(apex.to_string()),
            _ => None,
        });
        gone.collect()
    }

    /// The same site after a restart that lost nothing.
    fn restarted(&self, settings: Settings) -> Self {
        let held = self
            .core
            .zones()
            .filter_map(|view| view.zone.cloned())
            .collect();
        let mut settings = settings;
        settings.catalogs.remembered = self
            .stored
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        settings.consent.extend(self.said.clone());
        let mut new = Self::new(settings, held);
        new.stored.extend(self.stored.clone());
        new.said.extend(self.said.clone());
        new
    }
}

#[test]
fn members_come_with_the_sources_of_their_group_or_of_the_catalog() {
    let mut site = Site::new(consumer(), Vec::new());
    site.gets(catalog_of(
        1,
        &[("a.example", None), ("b.example", Some("special"))],
    ));
    assert_eq!(site.zones(), ["a.example", "b.example", "catalog.example"]);
    let spec = |zone: &str| site.core.zone(&name(zone)).unwrap().spec.clone();
    assert_eq!(
        spec("a.example").sources,
        vec![PeerId::Foreign("producer".into())].into()
    );
    assert_eq!(
        spec("b.example").sources,
        vec![PeerId::Foreign("special".into())].into()
    );
    assert_eq!(
        spec("b.example").notify,
        vec![PeerId::Foreign("downstream".into())].into()
    );
    let asked = site
        .out
        .iter()
        .filter(|output| matches!(output, Output::Transfer { .. }));
    assert_eq!(asked.count(), 2);
    let told = site.out.iter().any(|output| matches!(
        output,
        Output::CatalogMembers(told) if told.iter().any(|(zone, member)| {
            *zone == name("b.example") && member.as_ref().is_some_and(|of| of.group.as_deref() == Some("special"))
        })
    ));
    assert!(told);
}

#[test]
fn a_member_that_is_not_admitted_is_refused_and_told_once() {
    let mut site = Site::new(consumer(), Vec::new());
    let first = catalog_of(
        1,
        &[
            ("a.example", None),
            ("evil.test", None),
            ("corp.test", None),
        ],
    );
    site.gets(first.clone());
    assert_eq!(site.zones(), ["a.example", "catalog.example", "corp.test"]);
    let told = |site: &Site| {
        site.out
            .iter()
            .filter(|output| matches!(output, Output::Happened(Happening::Blocked(why)) if why.contains("evil.test")))
            .count()
    };
    assert_eq!(told(&site), 1);
    site.gets(next_catalog(
        &first,
        2,
        &[("evil.test", None), ("a.example", None)],
    ));
    assert_eq!(told(&site), 0);
    assert_eq!(site.core.catalog_report().refused.len(), 1);
}

#[test]
fn a_member_leaves_with_the_catalog_and_many_only_when_approved() {
    let mut site = Site::new(consumer(), Vec::new());
    let first = catalog_of(
        1,
        &[
            ("a.example", None),
            ("b.example", None),
            ("c.example", None),
        ],
    );
    site.gets(first.clone());
    let second = next_catalog(&first, 2, &[("a.example", None), ("b.example", None)]);
    site.gets(second.clone());
    assert_eq!(site.withdrawn(), ["c.example"]);

    site.gets(next_catalog(&second, 3, &[]));
    assert!(site.withdrawn().is_empty());
    assert_eq!(site.zones().len(), 3);
    // A restart does not forget what is held.
    let mut site = site.restarted(consumer());
    assert!(site.withdrawn().is_empty(), "{:?}", site.withdrawn());
    let hash = site.core.catalog_report().held[0].fingerprint.to_string();
    let request = 1;
    // Nor that nobody wants to be asked about it any longer.
    let verdict = Verdict::Decline;
    let decline = hash.clone();
    site.handle(Input::Decide {
        request,
        hash: decline,
        verdict,
    });
    assert!(site.withdrawn().is_empty());
    let mut site = site.restarted(consumer());
    assert!(site.withdrawn().is_empty());
    let held = &site.core.catalog_report().held[0];
    assert!(site.core.is_declined(&held.fingerprint));
    let verdict = Verdict::Approve;
    site.handle(Input::Decide {
        request,
        hash,
        verdict,
    });
    assert_eq!(site.withdrawn(), ["a.example", "b.example"]);
    // Consent is for once.
    assert!(site.said.values().all(Vec::is_empty));
    assert!(site.core.catalog_report().held.is_empty());
}

#[test]
fn members_that_are_held_go_only_when_approved_however_many_come_back_also_while_the_site_is_down()
{
    let zones = ["a.example", "b.example", "c.example", "d.example"];
    let all = zones.map(|zone| (zone, None));
    let first = catalog_of(1, &all);
    let mut site = Site::new(consumer(), Vec::new());
    site.gets(first.clone());
    let second = next_catalog(&first, 2, &all[..1]);
    site.gets(second.clone());
    assert!(site.withdrawn().is_empty());
    // Two of the three are back, and the third is no bulk by itself.
    let third = next_catalog(&second, 3, &all[..3]);
    site.gets(third.clone());
    assert!(site.withdrawn().is_empty());
    assert_eq!(site.core.catalog_report().held[0].names, ["d.example"]);
    let mut site = site.restarted(consumer());
    assert!(site.withdrawn().is_empty());
    assert_eq!(site.core.catalog_report().held[0].names, ["d.example"]);
    let told = |site: &Site| {
        let held = |output: &&Output| matches!(output, Output::Happened(Happening::Held { .. }));
        site.out.iter().filter(held).count()
    };
    assert_eq!(told(&site), 1, "a start tells it again");
    // One that has come back is held no longer, and may go by itself.
    let fourth = next_catalog(&third, 4, &all);
    site.gets(fourth.clone());
    assert!(site.core.catalog_report().held.is_empty());
    let fifth = next_catalog(&fourth, 5, &all[..3]);
    site.gets(fifth);
    assert_eq!(site.withdrawn(), ["d.example"]);
}

#[test]
fn a_broken_catalog_changes_nothing_and_says_why() {
    let mut site = Site::new(consumer(), Vec::new());
    let first = catalog_of(1, &[("a.example", None)]);
    site.gets(first.clone());
    let mut editor = first.edit();
    editor.remove_rrset(&name("version.catalog.example"), zonemesh_zone::Rtype::TXT);
    editor.set_serial(Serial(2));
    site.gets(editor.finish().unwrap());
    assert_eq!(site.zones(), ["a.example", "catalog.example"]);
    let why = &site.core.catalog_report().faults[&name("catalog.example")];
    assert!(why.contains("has no version"), "{why}");
}

#[test]
fn another_member_node_resets_the_zone_also_across_a_restart() {
    let mut site = Site::new(consumer(), Vec::new());
    let first = catalog_of(1, &[("a.example", None)]);
    site.gets(first.clone());
    site.gets(data("a.example", 100));
    let mut editor = first.edit();
    editor.set_serial(Serial(2));
    catalog::reset_member(&mut editor, &name("a.example")).unwrap();
    site.gets(editor.finish().unwrap());
    let mut site = site.restarted(consumer());
    assert_eq!(
        site.core
            .zone(&name("a.example"))
            .unwrap()
            .zone
            .unwrap()
            .serial(),
        Serial(100)
    );
    let mut settings = consumer();
    settings.catalogs.remembered = vec![(
        "catalog.example.".into(),
        // As older versions kept it.
        br#"{"version":1,"members":[["a.example.","another",null]]}"#.to_vec(),
    )];
    site.stored.clear();
    let restarted = Site::new(
        settings,
        vec![
            data("a.example", 100),
            site.core
                .zone(&name("catalog.example"))
                .unwrap()
                .zone
                .unwrap()
                .clone(),
        ],
    );
    // The old copy serves until the new one is there, and its serial binds nobody.
    let mut site = restarted;
    site.gets(data("a.example", 5));
    assert_eq!(
        site.core
            .zone(&name("a.example"))
            .unwrap()
            .zone
            .unwrap()
            .serial(),
        Serial(5)
    );
}

#[test]
fn a_reset_member_takes_a_lower_serial() {
    let mut site = Site::new(consumer(), Vec::new());
    let first = catalog_of(1, &[("a.example", None)]);
    site.gets(first.clone());
    site.gets(data("a.example", 100));
    let mut editor = first.edit();
    editor.set_serial(Serial(2));
    catalog::reset_member(&mut editor, &name("a.example")).unwrap();
    site.gets(editor.finish().unwrap());
    site.gets(data("a.example", 5));
    let version = site.out.iter().find_map(|output| match output {
        Output::Commit { versions, .. } => versions.first(),
        _ => None,
    });
    assert!(matches!(version, Some(NewVersion { base: None, .. })));
    assert_eq!(
        site.core
            .zone(&name("a.example"))
            .unwrap()
            .zone
            .unwrap()
            .serial(),
        Serial(5)
    );
}

#[test]
fn zones_of_the_configuration_are_not_touched_by_a_catalog() {
    let mut settings = consumer();
    let own = ZoneSpec {
        apex: name("own.example"),
        sources: PeerList::default(),
        primary: true,
        notify: PeerList::default(),
        members_only: false,
        mesh: false,
    };
    settings.zones.push(own.clone());
    let mut site = Site::new(settings, vec![data("own.example", 1)]);
    let first = catalog_of(1, &[("own.example", None), ("a.example", None)]);
    site.gets(first.clone());
    assert_eq!(*site.core.zone(&own.apex).unwrap().spec, own);
    site.gets(next_catalog(&first, 2, &[("a.example", None)]));
    assert!(site.withdrawn().is_empty());
}

#[test]
fn a_produced_catalog_follows_the_zones_in_one_version() {
    let primary = |apex: &str| ZoneSpec {
        apex: name(apex),
        sources: PeerList::default(),
        primary: true,
        notify: PeerList::default(),
        members_only: false,
        mesh: false,
    };
    let groups = |zone: &str| BTreeMap::from([(name(zone), "special".to_owned())]);
    let settings = |zones: &[&str], grouped: &str| Settings {
        zones: zones
            .iter()
            .chain(&["catalog.own"])
            .map(|zone| primary(zone))
            .collect(),
        catalogs: CatalogSettings {
            produced: vec![Produced {
                apex: name("catalog.own"),
                groups: groups(grouped),
            }],
            ..CatalogSettings::default()
        },
        ..Settings::default()
    };
    let names = ["a.example", "b.example", "c.example"];
    let mut site = Site::new(
        settings(&names, "b.example"),
        names.map(|zone| data(zone, 1)).to_vec(),
    );
    let members = |site: &Site| {
        let zone = site
            .core
            .zone(&name("catalog.own"))
            .unwrap()
            .zone
            .unwrap()
            .clone();
        (zone.serial(), Catalog::read(&zone).unwrap().members)
    };
    let (serial, listed) = members(&site);
    assert_eq!((serial, listed.len()), (Serial(1), 3));
    assert_eq!(listed[&name("b.example")].groups, ["special"]);

    site.secs += 1;
    let out = site.core.configure(
        settings(&["a.example", "b.example", "d.example"], "a.example"),
        now(site.secs),
    );
    site.settle(out);
    let (serial, listed) = members(&site);
    assert!(
        listed[&name("b.example")].groups.is_empty(),
        "taken out of its group"
    );
    // Nothing is held of the new zone, so it is not announced; that the other is gone is.
    assert_eq!((serial, listed.len()), (Serial(2), 2));
    let out = site
        .core
        .configure(settings(&[], "a.example"), now(site.secs));
    site.settle(out);
    assert_eq!(members(&site).1.len(), 2, "the brake holds");
    assert_eq!(site.core.catalog_report().held.len(), 1);
}

#[test]
fn a_member_moves_to_the_catalog_that_its_own_names_and_keeps_its_state() {
    let mut settings = consumer();
    let other = name("other.example");
    let mut spec = settings.zones[0].clone();
    spec.apex = other.clone();
    spec.sources = vec![PeerId::Foreign("another".into())].into();
    settings.zones.push(spec);
    let mut consumed = settings.catalogs.consumed[0].clone();
    consumed.apex = other.clone();
    consumed.sources = vec![PeerId::Foreign("another".into())].into();
    settings.catalogs.consumed.push(consumed);
    let mut site = Site::new(settings, Vec::new());

    let old = catalog_of(1, &[("a.example", None)]);
    site.gets(old.clone());
    site.gets(data("a.example", 100));
    let node = Catalog::read(&old).unwrap().members[&name("a.example")]
        .node
        .clone();
    let label = node.first().to_string();
    let line = |owner: &str, text: &str| {
        Record::from_text(&format!("{owner} 0 IN {text}"), &Name::root_bytes()).unwrap()
    };
    let new = |serial| {
        let mut editor = catalog::new_zone(&other, Serial(serial)).unwrap().edit();
        editor
            .add(line(
                &format!("{label}.zones.other.example."),
                "PTR a.example.",
            ))
            .unwrap();
        editor.finish().unwrap()
    };
    // Without the old catalog's word it stays where it is.
    site.gets(new(1));
    assert!(
        site.core
            .catalog_report()
            .refused
            .contains_key(&name("a.example"))
    );

    let mut editor = old.edit();
    editor
        .add(line(
            &format!("coo.{label}.zones.catalog.example."),
            "PTR other.example.",
        ))
        .unwrap();
    editor.set_serial(Serial(2));
    let agreed = editor.finish().unwrap();
    site.gets(agreed.clone());
    site.gets(new(2));
    let view = |site: &Site| {
        let view = site.core.zone(&name("a.example")).unwrap();
        (view.spec.sources.clone(), view.zone.unwrap().serial())
    };
    let there = (vec![PeerId::Foreign("another".into())].into(), Serial(100));
    assert_eq!(view(&site), there);
    // The old catalog may let go of it now.
    site.gets(next_catalog(&agreed, 3, &[]));
    assert_eq!(view(&site), there);
    assert!(site.withdrawn().is_empty());
}

/// What was kept of members by the last input, and of how many zones it was told where they come from.
fn kept_and_told(site: &Site) -> (Vec<(String, bool)>, usize) {
    let (mut kept, mut count) = (Vec::new(), 0);
    for output in &site.out {
        match output {
            Output::Commit { also, .. } => {
                let notes = also.iter();
                kept.extend(notes.map(|(_, key, value)| (key.clone(), value.is_empty())));
            }
            Output::CatalogMembers(told) => count += told.len(),
            _ => {}
        }
    }
    (kept, count)
}

#[test]
fn a_member_that_comes_or_goes_is_kept_and_told_without_the_others() {
    let mut site = Site::new(consumer(), Vec::new());
    let many: Vec<String> = (0..40).map(|n| format!("m{n}.example")).collect();
    let mut members: Vec<(&str, Option<&str>)> =
        many.iter().map(|zone| (zone.as_str(), None)).collect();
    let first = catalog_of(1, &members);
    site.gets(first.clone());
    assert_eq!(kept_and_told(&site).0.len(), 40);
    members.push(("new.example", Some("special")));
    let second = next_catalog(&first, 2, &members);
    site.gets(second.clone());
    let key = |zone: &str| format!("catalog.example. {zone}.example.");
    assert_eq!(kept_and_told(&site), (vec![(key("new"), false)], 1));
    members.remove(3);
    site.gets(next_catalog(&second, 3, &members));
    assert_eq!(kept_and_told(&site), (vec![(key("m3"), true)], 1));
    assert_eq!(site.withdrawn(), ["m3.example"]);
    assert_eq!(site.restarted(consumer()).zones(), site.zones());
}

/// How many zones were looked at for a member more in a catalog of so many, and for the first contents of that member.
fn looked_at_for_one_more(of: usize) -> (usize, usize) {
    let mut site = Site::new(consumer(), Vec::new());
    let many: Vec<String> = (0..of).map(|n| format!("m{n}.example")).collect();
    let members: Vec<(&str, Option<&str>)> =
        many.iter().map(|zone| (zone.as_str(), None)).collect();
    let first = catalog_of(1, &members);
    site.gets(first.clone());
    let (one, new) = ("n.example", name("n.example"));
    let mut editor = first.edit();
    assert!(editor.set_serial(Serial(2)));
    catalog::add_member(&mut editor, &new, None).unwrap();
    let before = site.core.zones.looked_at();
    site.gets(editor.finish().unwrap());
    let follows = site.core.zones.looked_at();
    assert!(site.core.zones.contains_key(&new));
    site.gets(data(one, 1));
    assert!(site.core.zone(&new).unwrap().zone.is_some());
    let served = site.core.zones.looked_at();
    (follows - before, served - follows)
}

#[test]
fn one_member_more_costs_nothing_for_each_that_there_is() {
    let few = looked_at_for_one_more(1500);
    assert_eq!(looked_at_for_one_more(3000), few);
    assert!(few.0 < 200 && few.1 < 200, "{few:?}");
}

#[test]
fn a_zone_that_gets_its_contents_is_listed_in_the_catalog_that_is_written_here() {
    let catalog = name("written.example");
    let own = |apex: &Name| ZoneSpec {
        apex: apex.clone(),
        sources: PeerList::default(),
        primary: true,
        notify: PeerList::default(),
        members_only: false,
        mesh: false,
    };
    let zones = ["a.example", "b.example", "c.example"].map(name);
    let produced = Produced {
        apex: catalog.clone(),
        groups: BTreeMap::from([(name("c.example"), "special".to_owned())]),
    };
    let settings = Settings {
        zones: zones.iter().chain([&catalog]).map(own).collect(),
        catalogs: CatalogSettings {
            produced: vec![produced],
            ..CatalogSettings::default()
        },
        ..Settings::default()
    };
    let mut site = Site::new(settings, vec![data("a.example", 1)]);
    for (request, zone) in [(1, "b.example"), (2, "c.example")] {
        let change = crate::core::Change::Replace(data(zone, 1));
        site.handle(Input::Change { request, change });
        let listed = site.core.zone(&catalog).unwrap().zone.unwrap();
        let listed = Catalog::read(listed).unwrap().members;
        assert_eq!(listed.len(), 1 + request as usize);
        let groups = &listed[&name(zone)].groups;
        assert_eq!(groups.len(), usize::from(zone == "c.example"));
        let follows = site.core.catalogs.written.get(&catalog).unwrap();
        assert_eq!(Catalog::read(follows).unwrap().members, listed);
    }
}

mod followed {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 5] = ["a", "b", "c", "d", "e"];

    /// What a version of the catalog says of each zone: nothing, or its group; and whether its member node is another one, or a second
    /// one names it too.
    fn version() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((0u8..4, 0u8..12), ZONES.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Members come, go, are reset, change their group, and are named twice. What is followed by difference is compared with a
        /// reading of the whole each time, in the core itself.
        #[test]
        fn however_a_catalog_changes_its_difference_says_what_all_of_it_says(
            versions in prop::collection::vec(version(), 1..8),
        ) {
            let mut site = Site::new(consumer(), Vec::new());
            let mut last = catalog_of(1, &[]);
            for (serial, said) in (2u32..).zip(&versions) {
                let zones: Vec<String> = ZONES.iter().map(|zone| format!("{zone}.example")).collect();
                let mut wanted = Vec::new();
                for (zone, (listed, _)) in zones.iter().zip(said) {
                    match listed {
                        0 => {}
                        1 => wanted.push((zone.as_str(), Some("special"))),
                        2 => wanted.push((zone.as_str(), Some("other"))),
                        _ => wanted.push((zone.as_str(), None)),
                    }
                }
                let Ok(before) = Catalog::read(&last) else { break };
                let mut next = next_catalog(&last, serial, &wanted);
                let mut editor = next.edit();
                editor.set_serial(Serial(serial));
                for (zone, (_, special)) in zones.iter().zip(said) {
                    let zone = name(zone);
                    let known = before.members.contains_key(&zone);
                    if *special == 0 && known {
                        catalog::reset_member(&mut editor, &zone).unwrap();
                    }
                    if *special == 1 {
                        let line = format!("twice-{zone}.zones.catalog.example. 0 IN PTR {zone}.");
                        let twice = Record::from_text(&line.replace(".example.zones", ".zones"), &name("."));
                        editor.add(twice.unwrap()).unwrap();
                    }
                }
                next = editor.finish().unwrap();
                site.gets(next.clone());
                prop_assert_eq!(site.restarted(consumer()).zones(), site.zones());
                last = next;
            }
        }
    }
}
