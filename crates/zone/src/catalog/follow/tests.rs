use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::catalog::{self, follow_directory};
use crate::directory::{owner_changes, set_owner};
use crate::record::parse_name;
use crate::testing::toggled;
use crate::{Record, SerialExt};

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn apex() -> Name {
    name("catalog.dns.internal")
}

const LINES: [&str; 16] = [
    "a.zones 0 IN PTR one.example.",
    "a.zones 0 IN PTR two.example.",
    "b.zones 0 IN PTR two.example.",
    "B.zones 0 IN PTR Two.example.",
    "c.zones 0 IN PTR three.example.",
    "c.zones 0 IN PTR one.example.",
    "d.zones 0 IN PTR four.example.",
    "group.a.zones 0 IN TXT first",
    "group.a.zones 0 IN TXT second",
    "group.c.zones 0 IN TXT first",
    "coo.b.zones 0 IN PTR other.example.",
    "coo.b.zones 0 IN PTR another.example.",
    "x.y.a.zones 0 IN TXT unknown",
    "version 0 IN TXT 3",
    "zonemesh.ext 0 IN TXT epoch=2 writer=site-b since=4",
    "e.zones 0 IN A 192.0.2.1",
];

proptest! {
    #[test]
    fn a_catalog_that_is_followed_is_what_reading_the_newer_version_gives(
        steps in proptest::collection::vec(proptest::collection::vec(select((0..LINES.len()).collect::<Vec<_>>()), 1..4), 1..20)
    ) {
        let mut zone = catalog::new_zone(&apex(), Serial(1)).unwrap();
        let mut have = Vec::new();
        for step in steps {
            let newer = toggled(&zone, &LINES, &mut have, &step);
            let whole = Catalog::read(&newer);
            if let Ok(mut read) = Catalog::read(&zone) {
                let before = read.clone();
                match read.follow(&zone, &newer) {
                    Some(changed) => {
                        prop_assert_eq!(Ok(&read), whole.as_ref());
                        for zone in before.members.keys().chain(read.members.keys()) {
                            let differs = before.members.get(zone) != read.members.get(zone);
                            prop_assert_eq!(differs, changed.contains(zone));
                        }
                    }
                    None => prop_assert_eq!(&read, &before),
                }
            }
            zone = newer;
        }
    }

    #[test]
    fn a_catalog_that_follows_the_changed_owners_is_the_one_that_follows_the_whole_directory(
        steps in proptest::collection::vec((0..6_usize, 0..4_usize), 1..20)
    ) {
        let directory = name("dns.internal");
        let groups = BTreeMap::from([(name("z1.example"), "group".to_owned())]);
        let mut before = built_directory(&directory);
        let mut editor = catalog::new_zone(&apex(), Serial(1)).unwrap().edit();
        // Of which the directory has said nothing yet.
        catalog::add_member(&mut editor, &name("z0.example"), None).unwrap();
        let mut members = editor.finish().unwrap();
        for (serial, (zone, owner)) in (2..).zip(steps) {
            let zone = name(&format!("z{zone}.example"));
            let mut editor = before.edit();
            match ["site-a", "site-b"].get(owner) {
                Some(site) => set_owner(&mut editor, &zone, &directory::SiteName::new(site).unwrap()).unwrap(),
                None if owner == 3 => {
                    editor.add(directory::removal_note(&zone, &directory, serial.into()).unwrap()).unwrap();
                }
                None => { directory::remove_owner(&mut editor, &zone).unwrap(); }
            };
            let after = editor.finish().unwrap();
            let read = Catalog::read(&members).unwrap().members;
            let owners = owner_changes(&before, &after).unwrap();
            let member = |zone: &Name| read.get(zone).cloned();
            let short = follow_owners(&members, member, &owners, &groups, Serial(serial)).unwrap();
            let whole = follow_directory(&members, &before, &after, &groups, Serial(serial)).unwrap();
            let text = |zone: &Option<Zone>| zone.as_ref().map(|zone| format!("{zone:?}"));
            prop_assert_eq!(short.is_some(), whole.is_some(), "{:?} {:?}", text(&short), text(&whole));
            if let (Some(short), Some(whole)) = (&short, &whole) {
                prop_assert!(short.same_contents(whole));
            }
            members = short.unwrap_or(members);
            before = after;
        }
    }
}

fn built_directory(apex: &Name) -> Zone {
    let mut editor = crate::Editor::new(apex.clone());
    for line in [
        "@ 60 IN SOA site-a hostmaster 7 1 2 3 4",
        "_site.site-a 300 IN TXT role=catalog-primary",
        "_site.site-b 300 IN TXT role=standard",
    ] {
        editor.add(Record::from_text(line, apex).unwrap()).unwrap();
    }
    editor.finish().unwrap()
}

#[test]
fn a_member_more_is_one_difference_in_a_catalog_of_thousands() {
    let mut editor = catalog::new_zone(&apex(), Serial(1)).unwrap().edit();
    for number in 0..3000 {
        let line = format!("n{number}.zones 0 IN PTR z{number}.example.");
        editor
            .add(Record::from_text(&line, &apex()).unwrap())
            .unwrap();
    }
    let zone = editor.finish().unwrap();
    let mut editor = zone.edit();
    let line = "new.zones 0 IN PTR new.example.";
    editor
        .add(Record::from_text(line, &apex()).unwrap())
        .unwrap();
    editor.set_serial(zone.serial().next());
    let newer = editor.finish().unwrap();
    let difference = Difference::of(&zone, &newer).unwrap();
    assert_eq!(difference.members.len(), 1);
    let mut read = Catalog::read(&zone).unwrap();
    assert_eq!(
        read.follow(&zone, &newer),
        Some(BTreeSet::from([name("new.example")]))
    );
}
