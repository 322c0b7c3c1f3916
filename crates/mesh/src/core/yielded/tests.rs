use proptest::prelude::*;
use zonemesh_update::{Everything, apply};
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Serial};

use super::*;

fn zone(apex: &str, serial: u32, lines: &[&str]) -> Zone {
    let apex = parse_name(apex).unwrap();
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 60 IN SOA ns hostmaster {serial} 300 60 7200 60");
    for line in [soa.as_str(), "@ 60 IN NS ns"].iter().chain(lines) {
        editor.add(Record::from_text(line, &apex).unwrap()).unwrap();
    }
    editor.finish().unwrap()
}

fn example(serial: u32, lines: &[&str]) -> Zone {
    zone("example", serial, lines)
}

fn made(kept: &Yielded, onto: &Zone, force: bool) -> Zone {
    match kept.replay(onto, force).unwrap() {
        Some(update) => apply(onto, &update, &Everything).unwrap().zone,
        None => onto.clone(),
    }
}

fn owners(kept: &Yielded) -> Vec<String> {
    let changes = kept.changes.iter();
    changes
        .map(|change| format!("{} {}", change.owner, change.rtype))
        .collect()
}

#[test]
fn what_both_have_written_is_kept_apart_and_conflicts_are_told() {
    let base = example(
        5,
        &[
            "a 60 IN A 192.0.2.1",
            "b 60 IN A 192.0.2.1",
            "c 60 IN A 192.0.2.1",
        ],
    );
    let mine = example(
        9,
        &[
            "a 60 IN A 192.0.2.2",
            "b 60 IN A 192.0.2.2",
            "new 60 IN TXT \"x y\"",
        ],
    );
    let theirs = example(
        90,
        &[
            "a 60 IN A 192.0.2.1",
            "b 60 IN A 192.0.2.3",
            "c 60 IN A 192.0.2.1",
        ],
    );
    let kept = Yielded::between(Some(&base), &mine, &theirs, Kind::Other);
    assert_eq!(
        owners(&kept),
        [
            "a.example A",
            "b.example A",
            "c.example A",
            "new.example TXT"
        ]
    );
    assert_eq!(
        kept.fates(&theirs).unwrap(),
        [Fate::Fits, Fate::Conflicts, Fate::Fits, Fate::Fits]
    );
    let wanted = example(
        90,
        &[
            "a 60 IN A 192.0.2.2",
            "b 60 IN A 192.0.2.3",
            "new 60 IN TXT \"x y\"",
        ],
    );
    assert!(
        made(&kept, &theirs, false)
            .same_contents(&with_serial(&wanted, &made(&kept, &theirs, false)))
    );
    let forced = made(&kept, &theirs, true);
    assert!(
        kept.fates(&forced)
            .unwrap()
            .iter()
            .all(|fate| *fate == Fate::There)
    );
    assert!(
        kept.replay(&forced, true).unwrap().is_none(),
        "once is enough"
    );
    assert_eq!(Yielded::decode(&kept.encode().unwrap()), Ok(kept));
}

fn with_serial(zone: &Zone, like: &Zone) -> Zone {
    let mut editor = zone.edit();
    editor.set_serial(like.serial());
    editor.finish().unwrap()
}

#[test]
fn without_the_common_version_only_what_is_not_there_at_all_can_be_made_again() {
    let mine = example(9, &["a 60 IN A 192.0.2.2", "new 60 IN A 192.0.2.2"]);
    let theirs = example(90, &["a 60 IN A 192.0.2.1", "c 60 IN A 192.0.2.1"]);
    let kept = Yielded::between(None, &mine, &theirs, Kind::Other);
    assert_eq!(
        owners(&kept),
        ["a.example A", "c.example A", "new.example A"]
    );
    assert_eq!(
        kept.fates(&theirs).unwrap(),
        [Fate::Conflicts, Fate::Conflicts, Fate::Fits]
    );
    assert!(
        made(&kept, &theirs, false)
            .rrset(&parse_name("c.example").unwrap(), Rtype::A)
            .is_some()
    );
}

#[test]
fn who_writes_is_no_change_and_a_given_role_is_one() {
    let site = |name: &str, role: &str, engine: &str| {
        format!("_site.{name} 300 IN TXT \"role={role}\" \"engine={engine}\"")
    };
    let directory = |serial, schema: &str, sites: [String; 3]| {
        let lines: Vec<&str> = sites.iter().map(String::as_str).chain([schema]).collect();
        zone("dns.internal", serial, &lines)
    };
    let first = "_schema 300 IN TXT \"zonemesh=1\"";
    let second = "_schema 300 IN TXT \"zonemesh=1\" \"epoch=2\" \"writer=site-b\" \"since=5\"";
    let base = directory(
        5,
        first,
        [
            site("site-a", "catalog-primary", "1"),
            site("site-b", "catalog-secondary", "1"),
            site("site-c", "standard", "1"),
        ],
    );
    let mine = directory(
        9,
        first,
        [
            site("site-a", "catalog-primary", "2"),
            site("site-b", "catalog-secondary", "1"),
            site("site-c", "catalog-secondary", "1"),
        ],
    );
    let theirs = directory(
        90,
        second,
        [
            site("site-a", "catalog-secondary", "1"),
            site("site-b", "catalog-primary", "1"),
            site("site-c", "standard", "1"),
        ],
    );
    let kept = Yielded::between(Some(&base), &mine, &theirs, Kind::Directory);
    assert_eq!(
        owners(&kept),
        [
            "_site.site-a.dns.internal TXT",
            "_site.site-c.dns.internal TXT"
        ]
    );
    let after = Directory::read(&made(&kept, &theirs, true));
    let role = |name: &str| {
        after
            .sites
            .get(&SiteName::new(name).unwrap())
            .map(|site| site.role)
    };
    // Without a service of their own they are no sites by more than this record, which is enough here.
    assert_eq!(role("site-a"), Some(Role::CatalogSecondary));
    assert_eq!(role("site-b"), Some(Role::CatalogPrimary));
    assert_eq!(role("site-c"), Some(Role::CatalogSecondary));
    // Should that site have been promoted since, no force makes it less.
    let later = directory(
        99,
        second,
        [
            site("site-a", "catalog-secondary", "1"),
            site("site-b", "catalog-secondary", "1"),
            site("site-c", "catalog-primary", "1"),
        ],
    );
    let after = Directory::read(&made(&kept, &later, true));
    assert_eq!(after.catalog_primary().unwrap().name.as_str(), "site-c");
}

proptest! {
    #[test]
    fn nothing_that_was_written_is_lost(
        base in proptest::collection::btree_map(0u8..6, 0u8..4, 0..6),
        mine in proptest::collection::btree_map(0u8..6, 0u8..4, 0..6),
        theirs in proptest::collection::btree_map(0u8..6, 0u8..4, 0..6),
    ) {
        let version = |serial, hosts: &std::collections::BTreeMap<u8, u8>| {
            let lines: Vec<String> = hosts.iter().map(|(host, last)| format!("h{host} 60 IN A 192.0.2.{last}")).collect();
            example(serial, &lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (base, mine, theirs) = (version(1, &base), version(2, &mine), version(9, &theirs));
        let kept = Yielded::between(Some(&base), &mine, &theirs, Kind::Other);
        let merged = made(&kept, &theirs, false);
        let forced = made(&kept, &theirs, true);
        for host in 0u8..6 {
            let owner = parse_name(&format!("h{host}.example")).unwrap();
            let of = |zone| Zone::rrset(zone, &owner, Rtype::A);
            let (b, m, t) = (of(&base), of(&mine), of(&theirs));
            prop_assert_eq!(of(&forced), if m == b { t } else { m });
            prop_assert_eq!(of(&merged), if t == b { m } else { t });
            let listed = kept.changes.iter().any(|change| change.owner == owner);
            prop_assert_eq!(listed, m != b && m != t);
        }
        prop_assert!(merged.serial() != Serial(0));
    }

    #[test]
    fn no_octets_that_were_kept_make_reading_panic(octets: Vec<u8>, text in "[ -~]{0,40}") {
        let _ = Yielded::decode(&octets);
        let change = Yield { owner: parse_name("a.example").unwrap(), rtype: text.clone(), before: vec![text.clone()], after: vec![text] };
        let head = example(1, &[]);
        let kept = Yielded { changes: vec![change], ..Yielded::between(None, &head, &head, Kind::Other) };
        let _ = kept.replay(&head, true);
    }
}

#[test]
fn a_zone_that_was_removed_since_is_listed_again_only_when_an_operator_insists() {
    let listed = "z.example._zones 300 IN PTR site-b.dns.internal.";
    let note = |at: u32| format!("z.example._gone 300 IN TXT at={at}");
    let directory = |serial, lines: &[&str]| zone("dns.internal", serial, lines);
    let ptr = |fates: &[Fate], kept: &Yielded| {
        let at = kept.changes.iter().position(|change| change.rtype == "PTR");
        fates[at.unwrap()]
    };
    // What was there before, and what the winner has by now.
    for (before, now, fate) in [
        (None, None, Fate::Fits),
        (None, Some(7), Fate::Conflicts),
        (Some(3), Some(3), Fate::Fits),
        (Some(3), Some(7), Fate::Conflicts),
    ] {
        let noted = |at: Option<u32>| at.map(note).unwrap_or_default();
        let (before, now) = (noted(before), noted(now));
        let lines = |note: &str| Some(note.to_owned()).filter(|note| !note.is_empty());
        let of = |serial, note: &str| match lines(note) {
            Some(note) => directory(serial, &[&note]),
            None => directory(serial, &[]),
        };
        let (base, theirs) = (of(5, &before), of(90, &now));
        let mine = directory(9, &[listed]);
        for base in [Some(&base), None] {
            let kept = Yielded::between(base, &mine, &theirs, Kind::Directory);
            let fates = kept.fates(&theirs).unwrap();
            let expected = match base {
                Some(_) => fate,
                // Of what was before nothing is known.
                None if !now.is_empty() => Fate::Conflicts,
                None => Fate::Fits,
            };
            assert_eq!(ptr(&fates, &kept), expected, "{before} {now}");
            let lists = |zone: &Zone| zone.records().any(|record| record.rtype == Rtype::PTR);
            assert_eq!(lists(&made(&kept, &theirs, false)), expected == Fate::Fits);
            assert!(lists(&made(&kept, &theirs, true)));
        }
    }
}

#[test]
fn a_site_that_was_removed_since_is_let_in_again_only_when_an_operator_insists() {
    let lists = [
        "_site.site-b 300 IN TXT role=standard",
        "site-b 300 IN A 192.0.2.1",
    ];
    let zone_of_it = "z.example._zones 300 IN PTR site-b.dns.internal.";
    let stone = |at: u32| format!("site-b._removed 300 IN TXT at={at}");
    let directory = |serial, lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        zone("dns.internal", serial, &lines)
    };
    // The tombstone that the loser had when it let the site in, that of the winner by now, and whether the site is back there.
    for (known, now, back, fate) in [
        (None, None, false, Fate::Fits),
        (None, Some(7), false, Fate::Conflicts),
        (Some(3), Some(3), false, Fate::Fits),
        (Some(3), Some(7), false, Fate::Conflicts),
        (None, Some(7), true, Fate::Fits),
    ] {
        let of = |at: Option<u32>| at.map(stone).into_iter().collect::<Vec<_>>();
        let base = directory(5, &of(known));
        let given = lists
            .iter()
            .chain([&zone_of_it])
            .map(|line| (*line).to_owned());
        let mine = directory(9, &given.chain(of(known)).collect::<Vec<_>>());
        let there = lists.iter().filter(|_| back).map(|line| (*line).to_owned());
        let theirs = directory(90, &there.chain(of(now)).collect::<Vec<_>>());
        for base in [Some(&base), None] {
            let kept = Yielded::between(base, &mine, &theirs, Kind::Directory);
            let kept = Yielded::decode(&kept.encode().unwrap()).unwrap();
            for (change, is) in kept.changes.iter().zip(kept.fates(&theirs).unwrap()) {
                if change.after.is_empty() {
                    continue;
                }
                let there = back && change.rtype != "PTR";
                let expected = match there {
                    true => Fate::There,
                    false => fate,
                };
                assert_eq!(is, expected, "{known:?} {now:?} {back} {}", change.owner);
            }
            let made = |force| Directory::read(&made(&kept, &theirs, force)).owners.len();
            assert_eq!(made(false), usize::from(fate == Fate::Fits));
            assert_eq!(made(true), 1);
        }
    }
}

#[test]
fn a_site_is_not_taken_out_again_while_zones_are_its_own_that_were_not_known_where_it_was_removed()
{
    let site = [
        "_site.site-b 300 IN TXT role=standard",
        "site-b 300 IN A 192.0.2.1",
    ];
    let lists = |zone: &str, site: &str| format!("{zone}._zones 300 IN PTR {site}.dns.internal.");
    let stone = "site-b._removed 300 IN TXT at=7".to_owned();
    let directory = |serial, lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        zone("dns.internal", serial, &lines)
    };
    let of = |more: &[String]| {
        let there = site.iter().map(|line| (*line).to_owned());
        there.chain(more.iter().cloned()).collect::<Vec<_>>()
    };
    let base = directory(5, &of(&[lists("old.example", "site-b")]));
    // What became of the zone that was known, which zones the winner lists besides, and whether the site can go there.
    for (becomes, besides, goes) in [
        (None, None, true),
        (None, Some("site-b"), false),
        (None, Some("site-c"), true),
        (Some("site-c"), None, true),
        (Some("site-c"), Some("site-b"), false),
    ] {
        let mut removed = vec![stone.clone()];
        removed.extend(becomes.map(|heir| lists("old.example", heir)));
        let mine = directory(9, &removed);
        let mut now = vec![lists("old.example", "site-b")];
        now.extend(besides.map(|site| lists("new.example", site)));
        let theirs = directory(90, &of(&now));
        let kept = Yielded::between(Some(&base), &mine, &theirs, Kind::Directory);
        for (change, fate) in kept.changes.iter().zip(kept.fates(&theirs).unwrap()) {
            let of_zone = change.rtype == "PTR";
            let expected = match of_zone || goes {
                true => Fate::Fits,
                false => Fate::Conflicts,
            };
            assert_eq!(fate, expected, "{becomes:?} {besides:?} {}", change.owner);
        }
        let again = |force| Directory::read(&made(&kept, &theirs, force));
        assert_eq!(again(false).is_removed(&"site-b".parse().unwrap()), goes);
        assert!(again(true).sites.is_empty());
    }
}
