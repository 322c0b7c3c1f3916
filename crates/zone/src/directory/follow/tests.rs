use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::record::parse_name;
use crate::testing::toggled;
use crate::{Editor, Record};

fn apex() -> Name {
    parse_name("dns.internal").unwrap()
}

/// What a directory may say, right and wrong, so that one thing often has to do with another.
const LINES: [&str; 44] = [
    "_schema 300 IN TXT zonemesh=1",
    "_schema 300 IN TXT zonemesh=1 epoch=2 writer=site-b since=7",
    "_schema 300 IN TXT zonemesh=2",
    "site-a 300 IN A 192.0.2.1",
    "site-a 300 IN AAAA 2001:db8::1",
    "_dns.site-a 300 IN SVCB 1 site-a alpn=dot port=853",
    "_853._tcp.site-a 300 IN TLSA 3 1 1 0101010101010101010101010101010101010101010101010101010101010101",
    "_853._udp.site-a 300 IN TLSA 3 1 1 0101010101010101010101010101010101010101010101010101010101010101",
    "_site.site-a 300 IN TXT role=catalog-primary engine=zonemesh/0.1.0",
    "_site.site-a 300 IN TXT role=standard engine=zonemesh/0.1.0",
    "site-b 300 IN A 192.0.2.2",
    "_dns.site-b 300 IN SVCB 1 site-b alpn=dot port=853",
    "_853._tcp.site-b 300 IN TLSA 3 1 1 0202020202020202020202020202020202020202020202020202020202020202",
    "_853._tcp.site-b 300 IN TLSA 3 1 1 0101010101010101010101010101010101010101010101010101010101010101",
    "_854._tcp.site-b 300 IN TLSA 3 1 1 0202020202020202020202020202020202020202020202020202020202020202",
    "_site.site-b 300 IN TXT role=catalog-secondary engine=zonemesh/0.1.0 failure-domain=there",
    "_site.site-b 300 IN TXT role=catalog-primary",
    "_dns.site-b 300 IN SVCB 1 site-a alpn=dot port=853",
    "site-c 300 IN A 192.0.2.3",
    "_dns.site-c 300 IN SVCB 1 site-c alpn=doq port=8530",
    "_8530._udp.site-c 300 IN TLSA 3 1 1 0303030303030303030303030303030303030303030303030303030303030303",
    "_site.site-c 300 IN TXT role=standard dns-port=5300",
    "Site-C 300 IN A 192.0.2.33",
    "site-b._removed 300 IN TXT pin=0202020202020202020202020202020202020202020202020202020202020202 at=5",
    "site-d._removed 300 IN TXT pin=0303030303030303030303030303030303030303030303030303030303030303 at=6",
    "one.example._zones 300 IN PTR site-a",
    "one.example._zones 300 IN PTR site-b",
    "Two.example._zones 300 IN PTR site-b",
    "two.example._zones 300 IN PTR site-c",
    "three.example._zones 300 IN PTR site-z",
    "_zones 300 IN PTR site-a",
    "four.example._zones 300 IN PTR elsewhere.example.",
    "two 300 IN TXT site-a.dns.internal.",
    "five 300 IN TXT site-c.dns.internal.",
    "host 300 IN A 192.0.2.99",
    "_odd 300 IN A 192.0.2.98",
    "_x.site-a 300 IN TXT whatever",
    "_853._tcp._odd 300 IN TLSA 3 1 1 0202020202020202020202020202020202020202020202020202020202020202",
    "_dns.site-c 300 IN SVCB 0 site-c",
    "@ 300 IN NS site-a",
    "two.example._gone 300 IN TXT at=7",
    "six.example._gone 300 IN TXT at=8",
    "six.example._gone 300 IN TXT at=x",
    "one.example._gone 300 IN TXT at=9",
];

fn built(lines: &[usize]) -> Zone {
    let mut editor = Editor::new(apex());
    let soa = "@ 60 IN SOA site-a hostmaster 7 1 2 3 4";
    for line in lines.iter().map(|line| LINES[*line]).chain([soa]) {
        editor
            .add(Record::from_text(line, &apex()).unwrap())
            .unwrap();
    }
    editor.finish().unwrap()
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| parse_name(text).unwrap()).collect()
}

#[test]
fn a_directory_that_is_followed_is_what_reading_the_newer_version_gives() {
    let all: Vec<usize> = (0..LINES.len()).collect();
    let known = ["one.example", "two.example", "five.example", "six.example"];
    // Mostly what happens every day, or nearly every version would be one that has to be read whole.
    let everyday = [4, 18, 19, 20, 21, 25, 26, 27, 30, 34, 36, 39, 40, 41, 43].repeat(8);
    let drawn: Vec<usize> = everyday.into_iter().chain(all.iter().copied()).collect();
    let lines = prop_oneof![
        2 => Just(sound().1),
        1 => proptest::sample::subsequence(all, 0..LINES.len()),
    ];
    let steps = proptest::collection::vec(proptest::collection::vec(select(drawn), 1..3), 1..12);
    let members =
        proptest::collection::vec(proptest::sample::subsequence(known.to_vec(), 0..4), 12);
    let (followed, read) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&(lines, steps, members), |(lines, steps, members)| {
        let mut have = lines.clone();
        let mut zone = built(&lines);
        let mut listed = names(&members[0]);
        let mut directory = Directory::read_with_legacy(&zone, &listed);
        for (step, members) in steps.iter().zip(&members) {
            let newer = toggled(&zone, &LINES, &mut have, step);
            let members = names(members);
            let differ: Vec<Name> = {
                let gone = listed.iter().filter(|zone| !members.contains(zone));
                gone.chain(members.iter().filter(|zone| !listed.contains(zone)))
                    .cloned()
                    .collect()
            };
            let whole = Directory::read_with_legacy(&newer, &members);
            let before = directory.clone();
            match directory.follow(&zone, &newer, &differ) {
                Some(changes) => {
                    followed.set(followed.get() + 1);
                    prop_assert_eq!(&directory, &whole);
                    for (name, site) in &whole.sites {
                        let differs = before.sites.get(name) != Some(site);
                        prop_assert_eq!(differs, changes.sites.contains(name));
                    }
                    for zone in before.owners.keys().chain(whole.owners.keys()) {
                        let differs = before.owners.get(zone) != whole.owners.get(zone);
                        prop_assert_eq!(differs, changes.owners.contains(zone));
                    }
                }
                None => {
                    read.set(read.get() + 1);
                    prop_assert_eq!(&directory, &before);
                    directory = whole;
                }
            }
            (zone, listed) = (newer, members);
        }
        Ok(())
    });
    outcome.unwrap();
    // Neither is rare, or this has shown nothing.
    assert!(
        followed.get() > 200 && read.get() > 200,
        "{followed:?} {read:?}"
    );
}

/// A directory of which nothing is wrong.
fn sound() -> (Zone, Vec<usize>) {
    let lines = [0, 3, 5, 6, 8, 10, 11, 12, 15, 25, 27];
    (built(&lines), lines.to_vec())
}

#[test]
fn what_happens_every_day_is_followed_without_reading_the_whole() {
    let everyday: [(&str, &[usize]); 6] = [
        ("a zone is added", &[30]),
        ("a zone leaves", &[27]),
        ("a zone has another primary", &[25, 26]),
        ("a site joins with a zone", &[18, 19, 20, 21]),
        ("a site has another address", &[4]),
        ("another host is named", &[34]),
    ];
    for (what, lines) in everyday {
        let (zone, mut have) = sound();
        let mut directory = Directory::read(&zone);
        assert!(directory.findings.is_empty(), "{:?}", directory.findings);
        let newer = toggled(&zone, &LINES, &mut have, lines);
        assert!(directory.follow(&zone, &newer, []).is_some(), "{what}");
        assert_eq!(directory, Directory::read(&newer), "{what}");
    }
}

#[test]
fn the_cost_of_a_change_does_not_grow_with_the_directory() {
    // Counted is what is compared, not time.
    let count = |zones: usize| {
        let (zone, _) = sound();
        let mut editor = zone.edit();
        for number in 0..zones {
            let line = format!("z{number}.example._zones 300 IN PTR site-a");
            editor
                .add(Record::from_text(&line, &apex()).unwrap())
                .unwrap();
        }
        let zone = editor.finish().unwrap();
        let mut editor = zone.edit();
        let line = "new.example._zones 300 IN PTR site-b";
        editor
            .add(Record::from_text(line, &apex()).unwrap())
            .unwrap();
        let newer = editor.finish().unwrap();
        let changes = Directory::read(&zone).follow(&zone, &newer, []).unwrap();
        (
            zone.changed_rrsets(&newer).len(),
            changes.owners.len(),
            changes.sites.len(),
        )
    };
    assert_eq!((count(10), count(5000)), ((1, 1, 0), (1, 1, 0)));
}

#[test]
fn one_site_alone_is_what_the_whole_directory_says_of_it() {
    let all: Vec<usize> = (0..LINES.len()).collect();
    proptest!(|(lines in proptest::sample::subsequence(all, 0..LINES.len()))| {
        let zone = built(&lines);
        let whole = Directory::read(&zone);
        for name in ["site-a", "site-b", "site-c", "site-d"] {
            let name = SiteName::new(name).unwrap();
            let alone = Directory::read_site(&zone, &name);
            prop_assert_eq!(alone.as_ref(), whole.sites.get(&name));
        }
    });
}
