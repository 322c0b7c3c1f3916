use super::*;
use crate::record::parse_name;
use crate::{Editor, Record, Rtype, Serial};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn apex() -> Name {
    name("dns.internal")
}

fn site_name(text: &str) -> SiteName {
    SiteName::new(text).unwrap()
}

fn site(text: &str, key: u8) -> Site {
    Site {
        name: site_name(text),
        addresses: vec![format!("192.0.2.{key}").parse().unwrap()],
        dot: Some(853),
        doq: None,
        dns: None,
        pins: vec![KeyPin([key; 32])],
        role: Role::Standard,
        engine: "zonemesh/0.1.0".into(),
        failure_domain: None,
    }
}

/// A zone of text, with an SOA.
fn zone(records: &str) -> Zone {
    let mut editor = Editor::new(apex());
    let soa = "@ 60 IN SOA site-a hostmaster 7 1 2 3 4";
    for line in records.lines().chain([soa]) {
        let line = line.trim();
        if !line.is_empty() {
            editor
                .add(Record::from_text(line, &apex()).unwrap())
                .unwrap();
        }
    }
    editor.finish().unwrap()
}

fn messages(directory: &Directory) -> Vec<String> {
    directory.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_site_publishes_the_records_of_the_convention() {
    let site = Site {
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        doq: Some(8530),
        dns: Some(5300),
        failure_domain: Some("hetzner-fsn1".into()),
        ..site("site-a", 1)
    };
    let records: Vec<_> = site
        .records(&apex())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    let key = "01".repeat(32);
    assert_eq!(
        records,
        [
            "site-a.dns.internal. 300 IN A 192.0.2.1".to_string(),
            "site-a.dns.internal. 300 IN AAAA 2001:db8::1".into(),
            "_dns.site-a.dns.internal. 300 IN SVCB 1 site-a.dns.internal. alpn=dot port=853".into(),
            format!("_853._tcp.site-a.dns.internal. 300 IN TLSA 3 1 1 {key}"),
            "_dns.site-a.dns.internal. 300 IN SVCB 1 site-a.dns.internal. alpn=doq port=8530"
                .into(),
            format!("_8530._udp.site-a.dns.internal. 300 IN TLSA 3 1 1 {key}"),
            "_site.site-a.dns.internal. 300 IN TXT \"role=standard\" \"engine=zonemesh/0.1.0\" \
             \"failure-domain=hetzner-fsn1\" \"dns-port=5300\""
                .into(),
        ]
    );
}

#[test]
fn a_new_directory_is_read_without_findings() {
    let first = Site {
        role: Role::CatalogPrimary,
        ..site("site-a", 1)
    };
    let zone = new_zone(&apex(), &first, Serial(1)).unwrap();
    let directory = Directory::read(&zone);
    assert_eq!(messages(&directory), [""; 0]);
    assert_eq!(directory.schema, Schema::V1);
    assert_eq!(directory.catalog_primary(), Some(&first));
    assert_eq!(directory.site_of_pin(&KeyPin([1; 32])), Some(&first));
}

#[test]
fn owners_are_found_by_whole_names_also_that_of_the_root() {
    let mut editor = new_zone(&apex(), &site("site-a", 1), Serial(1))
        .unwrap()
        .edit();
    let zones = [
        "standard-1.example",
        ".",
        "a\\.b.example",
        "2.0.192.in-addr.arpa",
    ];
    for zone in zones {
        set_owner(&mut editor, &name(zone), &site_name("site-a")).unwrap();
    }
    let owner = zone_node(&name("."), &apex()).unwrap();
    assert_eq!(owner, name("_zones.dns.internal"));
    let owner = zone_node(&name("standard-1.example"), &apex()).unwrap();
    assert_eq!(owner, name("standard-1.example._zones.dns.internal"));
    let directory = Directory::read(&editor.finish().unwrap());
    let found = directory.zones_of(&site_name("site-a"));
    assert_eq!(found, zones.iter().map(|zone| name(zone)).collect());
}

#[test]
fn a_zone_whose_name_does_not_fit_is_a_clear_error() {
    let label = "a".repeat(60);
    let long = name(&format!("{label}.{label}.{label}.{label}"));
    let error = zone_node(&long, &apex()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("`{label}.")), "{error}");
    assert!(
        error.ends_with(
            "does not fit below dns.internal.: the name would have 265 octets, 255 are allowed"
        ),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_one_site_hides_no_other() {
    let good = site("site-a", 1);
    let mut editor = new_zone(&apex(), &good, Serial(1)).unwrap().edit();
    for text in [
        "_site.site-b 60 IN TXT \"role=emperor\"",
        "_dns.site-b 60 IN SVCB 1 site-a alpn=dot port=853",
        "_853._tcp.site-b 60 IN TLSA 3 0 1 ABCD",
        "_x._tcp.site-b 60 IN TLSA 3 1 1 ABCD",
        "_dns.-bad- 60 IN SVCB 1 site-a alpn=dot",
        "two.example._zones 60 IN PTR site-a",
        "two.example._zones 60 IN PTR site-b",
        "lost.example._zones 60 IN PTR site-z",
        "far.example._zones 60 IN PTR example.com.",
    ] {
        editor
            .add(Record::from_text(text, &apex()).unwrap())
            .unwrap();
    }
    // RDATA that no form allows.
    let svcb = Record::new(
        name("_dns.site-c.dns.internal"),
        Rtype::SVCB,
        compose::TTL,
        vec![0],
    );
    editor.add(svcb).unwrap();
    let directory = Directory::read(&editor.finish().unwrap());
    assert_eq!(directory.sites[&site_name("site-a")], good);
    assert!(directory.sites[&site_name("site-b")].pins.is_empty());
    assert_eq!(directory.owners.len(), 1, "{:?}", directory.owners);
    let expected = [
        "dns.internal.: the primary of lost.example. is site-z, which is not a site of this directory",
        "_dns.-bad-.dns.internal.: `-bad-` is not a site name: it begins or ends with a hyphen",
        "far.example._zones.dns.internal.: expected the name of a site of dns.internal., found example.com.",
        "two.example._zones.dns.internal.: 2 sites claim to be primary for two.example.; a zone has one",
        "site-b.dns.internal.: has no address",
        "_dns.site-b.dns.internal.: an SVCB record must lead to the site itself, not to site-a.dns.internal.",
        "_site.site-b.dns.internal.: `emperor` is not a role; expected catalog-primary, catalog-secondary or standard",
        "_dns.site-c.dns.internal.: malformed SVCB record",
    ];
    let found = messages(&directory);
    for message in expected {
        assert!(
            found.iter().any(|have| have == message),
            "{message}\nnot in {found:#?}"
        );
    }
}

#[test]
fn a_key_counts_only_at_a_port_that_is_offered() {
    let key = "02".repeat(32);
    let directory = Directory::read(&zone(&format!(
        "site-a 60 IN A 192.0.2.1
         _dns.site-a 60 IN SVCB 1 site-a alpn=dot port=8530
         _853._tcp.site-a 60 IN TLSA 3 1 1 {key}"
    )));
    assert!(directory.sites[&site_name("site-a")].pins.is_empty());
    assert!(directory.site_of_pin(&KeyPin([2; 32])).is_none());
}

#[test]
fn a_removed_site_stays_out_until_it_comes_with_another_key() {
    let mut editor = new_zone(&apex(), &site("site-a", 1), Serial(1))
        .unwrap()
        .edit();
    let gone = site("site-c", 3);
    let put = |editor: &mut Editor, site: &Site| {
        for record in site.records(&apex()).unwrap() {
            editor.add(record).unwrap();
        }
    };
    put(&mut editor, &gone);
    for zone in ["c.example", "d.example"] {
        set_owner(&mut editor, &name(zone), &gone.name).unwrap();
    }
    let before = editor.finish().unwrap();
    let mut editor = before.edit();
    let heir = Departure::Adopt(site_name("site-a"));
    let owned = remove_site(
        &mut editor,
        &Directory::read(&before),
        &gone.name,
        &heir,
        1000,
    )
    .unwrap();
    assert_eq!(owned, [name("c.example"), name("d.example")]);
    let after = editor.finish().unwrap();
    let directory = Directory::read(&after);
    assert_eq!(messages(&directory), [""; 0]);
    assert!(directory.is_removed(&gone.name));
    assert_eq!(directory.zones_of(&site_name("site-a")).len(), 2);
    let removed = &directory.removed[&gone.name];
    assert_eq!((&removed.pins[..], removed.at), (&gone.pins[..], 1000));

    // Its old disk comes back and somebody puts its records in again.
    let mut editor = after.edit();
    put(&mut editor, &gone);
    let directory = Directory::read(&editor.finish().unwrap());
    assert!(directory.is_removed(&gone.name));
    assert!(directory.site_of_pin(&gone.pins[0]).is_none());
    assert_eq!(directory.removed_by_pin(&gone.pins[0]), Some(&gone.name));

    // Another name does not help the old key.
    let mut editor = after.edit();
    put(
        &mut editor,
        &Site {
            name: site_name("site-d"),
            ..gone.clone()
        },
    );
    assert!(
        !Directory::read(&editor.finish().unwrap())
            .sites
            .contains_key(&site_name("site-d"))
    );

    let mut editor = after.edit();
    put(&mut editor, &site("site-c", 4));
    let back = editor.finish().unwrap();
    assert!(!Directory::read(&back).is_removed(&gone.name));

    // Removed again: both keys stay out.
    let mut editor = back.edit();
    remove_site(
        &mut editor,
        &Directory::read(&back),
        &gone.name,
        &Departure::Remove,
        2000,
    )
    .unwrap();
    let directory = Directory::read(&editor.finish().unwrap());
    assert_eq!(directory.removed[&gone.name].pins.len(), 2);
}

#[test]
fn a_removed_site_is_no_longer_named_in_the_older_convention() {
    let before = zone(
        "site-a 60 IN A 192.0.2.1
         site-b 60 IN A 192.0.2.2
         one 60 IN TXT \"site-b.dns.internal\"
         two 60 IN TXT \"site-a.dns.internal\"",
    );
    let known = ["one.example", "two.example"].map(name);
    let directory = Directory::read_with_legacy(&before, &known);
    let mut editor = before.edit();
    let gone = site_name("site-b");
    remove_site(&mut editor, &directory, &gone, &Departure::Remove, 5).unwrap();
    let after = Directory::read_with_legacy(&editor.finish().unwrap(), &known);
    assert_eq!(after.owners.keys().collect::<Vec<_>>(), [&known[1]]);
    assert!(after.is_removed(&gone));
}

#[test]
fn a_key_that_two_sites_show_identifies_neither() {
    let mut editor = new_zone(&apex(), &site("site-a", 1), Serial(1))
        .unwrap()
        .edit();
    for record in site("site-b", 1).records(&apex()).unwrap() {
        editor.add(record).unwrap();
    }
    let directory = Directory::read(&editor.finish().unwrap());
    assert!(directory.site_of_pin(&KeyPin([1; 32])).is_none());
    let found = messages(&directory);
    assert!(
        found[0].contains("site-a and site-b have the same key"),
        "{found:?}"
    );
}

#[test]
fn the_epoch_is_read_and_one_that_cannot_be_makes_the_schema_unknown() {
    let read = |text: &str| Directory::read(&zone(&format!("_schema 60 IN TXT {text}")));
    assert_eq!(read("\"zonemesh=1\"").epoch, Epoch::default());
    let directory = read(
        "\"zonemesh=1\" \"epoch=3\" \"writer=site-b\" \"since=45\" \"by=site-c\" \"past=2:site-c:7\" \"new=1\"",
    );
    assert_eq!(directory.schema, Schema::V1);
    let epoch = Epoch {
        number: 3,
        writer: Some(site_name("site-b")),
        since: Some(Serial(45)),
        by: Some(site_name("site-c")),
        past: vec![Turn {
            number: 2,
            writer: site_name("site-c"),
            since: Serial(7),
        }],
    };
    assert_eq!(directory.epoch, epoch);
    for bad in [
        "\"zonemesh=1\" \"epoch=0\" \"writer=site-b\"",
        "\"zonemesh=1\" \"epoch=+3\" \"writer=site-b\"",
        "\"zonemesh=1\" \"epoch=4294967296\" \"writer=site-b\"",
        "\"zonemesh=1\" \"epoch=3\" \"epoch=4\" \"writer=site-b\"",
        "\"zonemesh=1\" \"epoch=3\" \"writer=a.b\"",
        "\"zonemesh=1\" \"epoch=3\"",
        "\"zonemesh=1\" \"writer=site-b\"",
        "\"zonemesh=1\" \"epoch=3\" \"writer=site-b\" \"since=x\"",
        "\"zonemesh=1\" \"epoch=3\" \"writer=site-b\" \"past=3:site-c:7\"",
        "\"zonemesh=1\" \"epoch=3\" \"writer=site-b\" \"past=2:site-c\"",
        "\"zonemesh=1\" \"epoch=3\" \"writer=site-b\" \"by=a.b\"",
        "\"zonemesh=1\" \"by=site-c\"",
        "\"zonemesh=1\" \"past=2:site-c:7\"",
    ] {
        let directory = read(bad);
        assert!(matches!(directory.schema, Schema::Unknown(_)), "{bad}");
        assert_eq!(directory.epoch, Epoch::default(), "{bad}");
        let zone = zone(&format!("_schema 60 IN TXT {bad}"));
        Epoch::of_directory(&zone).unwrap_err();
    }
}

#[test]
fn an_edit_leaves_schema_and_epoch_as_they_are() {
    let with = |text: &str| match text {
        "" => zone(""),
        text => zone(&format!("_schema 60 IN TXT {text}")),
    };
    let first = "\"zonemesh=1\"";
    let second = "\"zonemesh=1\" \"epoch=2\" \"writer=site-b\" \"since=5\"";
    let broken = "\"zonemesh=1\" \"epoch=2\"";
    for (before, edited, stays) in [
        (second, second, true),
        (second, first, false),
        (second, "", false),
        (second, broken, false),
        (
            second,
            "\"zonemesh=1\" \"epoch=3\" \"writer=site-b\" \"since=5\"",
            false,
        ),
        (first, "", false),
        (first, second, false),
        (first, "\"zonemesh=2\"", false),
        // A directory that was kept by hand.
        ("", first, true),
        ("", second, false),
        ("", "\"zonemesh=2\"", false),
        // What nobody can read an operator may mend.
        (broken, second, true),
        (broken, "", false),
    ] {
        let outcome = Epoch::stays_in_directory(&with(before), &with(edited));
        assert_eq!(outcome.is_ok(), stays, "{before} to {edited}");
    }
    let why = Epoch::stays_in_directory(&with(second), &with("")).unwrap_err();
    let why = why.to_string();
    for part in [
        "dns.internal: _schema.dns.internal. TXT",
        "\"epoch=2\"",
        "no such record",
        "zonemesh site promote",
    ] {
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn the_later_epoch_goes_before_and_of_two_alike_the_first_name() {
    let first = Epoch::default();
    let by = |site: &str, since| first.next(&site_name(site), Serial(since));
    assert!(by("site-b", 1).outranks(&first));
    assert!(!first.outranks(&by("site-b", 1)));
    assert!(by("site-b", 1).outranks(&by("site-c", 9)));
    assert!(!by("site-c", 9).outranks(&by("site-b", 1)));
    assert!(
        by("site-c", 9)
            .next(&site_name("site-z"), Serial(1))
            .outranks(&by("site-b", 1))
    );
    // By two zones that go together it is the writer alone that is later or not.
    assert!(by("site-b", 1).outranks_beside(&by("site-c", 9)));
    assert!(!by("site-b", 9).outranks_beside(&by("site-b", 1)));
}

#[test]
fn of_one_epoch_that_was_begun_twice_the_promotion_goes_before_a_hand_over_and_then_the_later_start()
 {
    let first = Epoch::default();
    let b = site_name("site-b");
    let handed = |last| first.handed_over(&b, &site_name("site-a"), Serial(last));
    let promoted = |since| first.next(&b, Serial(since));
    assert!(promoted(20).outranks(&handed(25)));
    assert!(promoted(25).outranks(&handed(20)));
    assert!(promoted(20).outranks(&handed(20)));
    // A site whose disk was lost begins once more from what an old peer has.
    assert!(promoted(45).outranks(&promoted(30)));
    assert!(handed(45).outranks(&handed(30)));
    for (one, other) in [
        (promoted(20), handed(20)),
        (promoted(30), promoted(20)),
        (handed(30), handed(20)),
    ] {
        assert!(one.was_begun_twice(&other));
        assert!(!other.outranks(&one) && !one.outranks_beside(&other));
    }
    assert!(!handed(20).was_begun_twice(&handed(20)));
    assert!(!promoted(20).was_begun_twice(&first));
    // What each has of its own is after the last version that both have: not what either goes on with.
    let parting = |one: Epoch, other: Epoch| one.parting(Serial(900), &other, Serial(1000));
    for (last, common) in [(20, 20), (25, 20), (15, 16)] {
        assert_eq!(parting(promoted(20), handed(last)), Some(Serial(common)));
        assert_eq!(parting(handed(last), promoted(20)), Some(Serial(common)));
    }
    // Also when others have taken over from there.
    let later = handed(20).next(&site_name("site-c"), Serial(1000));
    let parting = later.parting(Serial(2000), &promoted(20), Serial(900));
    assert_eq!(parting, Some(Serial(20)));
}

#[test]
fn histories_part_where_the_first_writer_that_they_do_not_share_began() {
    let first = Epoch::default();
    let by = |before: &Epoch, site: &str, since| before.next(&site_name(site), Serial(since));
    let b = by(&first, "site-b", 45);
    // The founder wrote on from 45 to 50, or had stopped at 44.
    assert_eq!(
        first.parting(Serial(50), &b, Serial(1000)),
        Some(Serial(45))
    );
    assert_eq!(
        first.parting(Serial(44), &b, Serial(1000)),
        Some(Serial(44))
    );
    assert_eq!(
        b.parting(Serial(1000), &first, Serial(50)),
        Some(Serial(45))
    );
    // Two hand-overs later it is still known.
    let c = by(&by(&b, "site-a", 1002), "site-c", 2000);
    assert_eq!(
        first.parting(Serial(50), &c, Serial(3000)),
        Some(Serial(45))
    );
    assert_eq!(
        b.parting(Serial(1005), &c, Serial(3000)),
        Some(Serial(1002))
    );
    // Two were promoted, one from an older copy.
    let other = by(&first, "site-d", 40);
    assert_eq!(
        other.parting(Serial(900), &b, Serial(1000)),
        Some(Serial(40))
    );
    // The same site was promoted twice, because its disk was lost in between.
    let again = by(&first, "site-b", 30);
    assert_eq!(
        again.parting(Serial(900), &b, Serial(1000)),
        Some(Serial(30))
    );
    // The same history.
    assert_eq!(b.parting(Serial(999), &b, Serial(1000)), Some(Serial(999)));
    let late = (0..20).fold(b.clone(), |epoch, since| by(&epoch, "site-c", 2000 + since));
    assert_eq!(late.past.len(), PAST);
    assert_eq!(b.parting(Serial(1005), &late, Serial(3000)), None);
    // A writer that had heard of the second epoch, and had nothing of it, was promoted to the third.
    let third = Epoch {
        number: 3,
        ..by(&first, "site-a", 50)
    };
    assert_eq!(
        b.parting(Serial(1005), &third, Serial(3000)),
        Some(Serial(45))
    );
    let fifth = by(&by(&third, "site-c", 3100), "site-d", 4000);
    assert_eq!(
        third.parting(Serial(3200), &fifth, Serial(5000)),
        Some(Serial(3100))
    );
    assert_eq!(
        fifth.parting(Serial(5000), &b, Serial(1005)),
        Some(Serial(45))
    );
    // Where a record does not say from where on, nothing is known.
    let bare = Epoch {
        since: None,
        past: Vec::new(),
        ..third
    };
    assert_eq!(b.parting(Serial(1005), &bare, Serial(3000)), None);
}

#[test]
fn a_promotion_swaps_the_roles_and_leaves_all_else() {
    let (one, mut two) = (site("site-a", 1), site("site-b", 2));
    two.role = Role::CatalogSecondary;
    let one = Site {
        role: Role::CatalogPrimary,
        ..one
    };
    let mut editor = new_zone(&apex(), &one, Serial(7)).unwrap().edit();
    for record in two.records(&apex()).unwrap() {
        editor.add(record).unwrap();
    }
    let unknown = "_site.site-b 300 IN TXT \"new=1\"";
    editor
        .add(Record::from_text(unknown, &apex()).unwrap())
        .unwrap();
    let before = editor.finish().unwrap();
    let read = Directory::read(&before);
    let epoch = read.epoch.next(&two.name, before.serial());
    let mut editor = before.edit();
    assert!(promote(&mut editor, &read, &two.name, &epoch).unwrap());
    let after = editor.finish().unwrap();
    assert_eq!(Epoch::of_directory(&after).unwrap(), epoch);
    let read = Directory::read(&after);
    assert_eq!(messages(&read), [""; 0]);
    assert_eq!(read.epoch, epoch);
    assert_eq!(read.catalog_primary().unwrap().name, two.name);
    assert_eq!(read.sites[&one.name].role, Role::CatalogSecondary);
    assert_eq!(read.sites[&one.name].pins, one.pins);
    let text = zone_text(&after);
    assert!(text.contains("\"new=1\""), "{text}");
    assert!(!promote(&mut after.edit(), &read, &site_name("site-x"), &epoch).unwrap());
}

#[test]
fn an_unknown_schema_is_told_apart_from_none() {
    assert_eq!(Directory::read(&zone("")).schema, Schema::Absent);
    let directory = Directory::read(&zone("_schema 60 IN TXT \"zonemesh=2\""));
    assert_eq!(directory.schema, Schema::Unknown("zonemesh=2".into()));
}

#[test]
fn the_older_convention_is_read_for_known_zones() {
    let zone = zone(
        "site-a 60 IN A 192.0.2.1
         site-b 60 IN A 192.0.2.2
         gateway 60 IN A 192.0.2.254
         standard-1 60 IN TXT \"site-a.dns.internal.\"
         standard-2 60 IN TXT \"site-b.dns.internal\"
         other 60 IN TXT \"v=spf1 -all\"
         same 60 IN TXT \"site-a.dns.internal.\"
         new.example._zones 60 IN PTR site-b
         new 60 IN TXT \"site-a.dns.internal.\"",
    );
    let known = [
        "standard-1.example",
        "standard-2.example",
        "other.example",
        "same.example",
        "same.example.net",
        "new.example",
        "unlisted.example",
        ".",
    ]
    .map(name);
    let directory = Directory::read_with_legacy(&zone, &known);
    let owners: Vec<_> = directory
        .owners
        .iter()
        .map(|(zone, site)| format!("{zone} {site}"))
        .collect();
    assert_eq!(
        owners,
        [
            "new.example site-b",
            "standard-1.example site-a",
            "standard-2.example site-b"
        ]
    );
    assert_eq!(
        directory
            .sites
            .keys()
            .map(SiteName::as_str)
            .collect::<Vec<_>>(),
        ["site-a", "site-b"]
    );
    let found = messages(&directory);
    let ambiguous = "same.dns.internal.: may mean same.example or same.example.net; write a _zones record for each";
    assert!(found.iter().any(|have| have == ambiguous), "{found:#?}");
    assert!(
        Directory::read(&zone).sites.is_empty(),
        "plain addresses are no sites"
    );
}

#[test]
fn the_older_convention_is_written_and_follows() {
    let legacy = |before: &Zone, after: &Zone, write| {
        follow_legacy(before, after, &[name("hand.example")], write).unwrap()
    };
    let texts = |zone: &Zone, label: &str| -> usize {
        zone.rrset(&name(&format!("{label}.dns.internal")), Rtype::TXT)
            .map_or(0, |set| set.len())
    };
    let mut editor = new_zone(&apex(), &site("site-a", 1), Serial(1))
        .unwrap()
        .edit();
    for record in site("site-b", 2).records(&apex()).unwrap() {
        editor.add(record).unwrap();
    }
    for zone in [
        "one.example",
        "two.example",
        "two.example.net",
        ".",
        "site-a.example",
    ] {
        set_owner(&mut editor, &name(zone), &site_name("site-a")).unwrap();
    }
    for text in [
        "one 60 IN TXT \"a remark\"",
        // Written by hand, one of a zone that is known and one of which nothing is.
        "hand 60 IN TXT \"site-b.dns.internal\"",
        "unknown 60 IN TXT \"site-b.dns.internal.\"",
    ] {
        editor
            .add(Record::from_text(text, &apex()).unwrap())
            .unwrap();
    }
    let plain = editor.finish().unwrap();
    assert!(legacy(&plain, &plain, false).0.same_contents(&plain));
    let (on, skipped) = legacy(&plain, &plain, true);
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert_eq!(
        ["one", "hand", "unknown"].map(|label| texts(&on, label)),
        [2, 1, 1]
    );
    assert!(legacy(&on, &on, true).0.same_contents(&on));

    // Another primary, whether it is still written or not.
    for write in [true, false] {
        let mut editor = on.edit();
        set_owner(&mut editor, &name("one.example"), &site_name("site-b")).unwrap();
        set_owner(&mut editor, &name("hand.example"), &site_name("site-a")).unwrap();
        let (moved, _) = legacy(&on, &editor.finish().unwrap(), write);
        let directory = Directory::read_with_legacy(&moved, &[name("one.example")]);
        assert_eq!(directory.owners[&name("one.example")], site_name("site-b"));
        let left = if write { [2, 1, 1] } else { [1, 0, 1] };
        assert_eq!(
            ["one", "hand", "unknown"].map(|label| texts(&moved, label)),
            left
        );
    }

    // Taken out of `_zones`.
    let mut editor = on.edit();
    remove_owner(&mut editor, &name("one.example")).unwrap();
    let (gone, _) = legacy(&on, &editor.finish().unwrap(), true);
    assert_eq!(
        ["one", "hand", "unknown"].map(|label| texts(&gone, label)),
        [1, 1, 1]
    );
}

#[test]
fn names_and_keys_are_checked() {
    for bad in ["", "a.b", "-a", "a-", "a_b", "ä", &"a".repeat(64)] {
        SiteName::new(bad).unwrap_err();
    }
    assert_eq!(site_name("Site-A"), site_name("site-a"));
    assert_eq!(
        SiteName::of(&name("SITE-a.dns.internal"), &apex()),
        Some(site_name("site-a"))
    );
    for not in [
        "dns.internal",
        "a.b.dns.internal",
        "example.com",
        "_dns.dns.internal",
    ] {
        assert_eq!(SiteName::of(&name(not), &apex()), None, "{not}");
    }
    let pin = KeyPin([0xA5; 32]);
    assert_eq!(pin.to_string().parse::<KeyPin>().unwrap(), pin);
    for bad in ["", "zz", &"é".repeat(32), &"g".repeat(64)] {
        bad.parse::<KeyPin>().unwrap_err();
    }
}

fn zone_text(zone: &Zone) -> String {
    zone.records().map(|record| format!("{record}\n")).collect()
}

fn any_turn() -> impl Strategy<Value = (String, u32, bool)> {
    ("[a-z0-9]{1,63}", any::<u32>(), any::<bool>())
}

fn begins(epoch: Epoch, (label, last, handed): &(String, u32, bool)) -> Epoch {
    let (writer, last) = (site_name(label), Serial(*last));
    match handed {
        true => epoch.handed_over(&writer, &site_name("site-a"), last),
        false => epoch.next(&writer, last),
    }
}

prop_compose! {
    /// Up to three hand-overs between two sites, so that some are alike.
    fn near_epoch()(turns in proptest::collection::vec(("[bc]", 0u32..3, any::<bool>()), 0..4)) -> Epoch {
        turns.iter().fold(Epoch::default(), begins)
    }
}

prop_compose! {
    fn any_epoch()(turns in proptest::collection::vec(any_turn(), 1..30)) -> Epoch {
        turns.iter().fold(Epoch::default(), begins)
    }
}

prop_compose! {
    fn any_site()(
        label in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        addresses in proptest::collection::btree_set(any::<std::net::IpAddr>(), 1..4),
        dot in 1u16..,
        doq in proptest::option::of(1u16..),
        dns in proptest::option::of(1u16..),
        pins in proptest::collection::btree_set(any::<[u8; 32]>(), 1..3),
        role in prop_oneof![Just(Role::CatalogPrimary), Just(Role::CatalogSecondary), Just(Role::Standard)],
        engine in "[a-z]{1,10}/[0-9.]{1,5}",
        failure_domain in proptest::option::of("[ -~]{0,40}"),
    ) -> Site {
        Site {
            name: SiteName::new(&label).unwrap(),
            addresses: addresses.into_iter().collect(),
            dot: Some(dot),
            doq,
            dns: dns.filter(|port| *port != 53),
            pins: pins.into_iter().map(KeyPin).collect(),
            role,
            engine,
            failure_domain,
        }
    }
}

proptest! {
    #[test]
    fn every_epoch_is_read_as_it_was_written(epoch in any_epoch()) {
        let zone = new_zone(&apex(), &site("site-a", 1), Serial(1)).unwrap();
        let mut editor = zone.edit();
        let schema = schema_record(&apex(), &epoch).unwrap();
        editor.remove_rrset(&schema.owner, Rtype::TXT);
        editor.add(schema).unwrap();
        let zone = editor.finish().unwrap();
        prop_assert_eq!(Epoch::of_directory(&zone).unwrap(), epoch.clone());
        prop_assert_eq!(Directory::read(&zone).schema, Schema::V1);
        let mut editor = crate::catalog::new_zone(&name("catalog.dns.internal"), Serial(1)).unwrap().edit();
        crate::catalog::promote(&mut editor, &name("site-b.dns.internal"), &epoch).unwrap();
        let zone = editor.finish().unwrap();
        prop_assert_eq!(Epoch::of_catalog(&zone).unwrap(), epoch);
        prop_assert!(crate::catalog::Catalog::read(&zone).is_ok());
    }

    #[test]
    fn of_two_epochs_exactly_one_goes_before_unless_they_were_begun_at_once(
        a in near_epoch(), b in near_epoch(), c in near_epoch(),
    ) {
        prop_assert_eq!(a.outranks(&b) || b.outranks(&a), a != b);
        prop_assert!(!(a.outranks(&b) && b.outranks(&a)));
        prop_assert!(!(a.outranks(&b) && b.outranks(&c)) || a.outranks(&c));
        let same = (a.number, &a.writer) == (b.number, &b.writer);
        prop_assert_eq!(a.outranks_beside(&b) || b.outranks_beside(&a), !same);
        prop_assert_eq!(a.was_begun_twice(&b), same && a != b);
    }

    #[test]
    fn every_site_is_read_as_it_was_published(site in any_site()) {
        let zone = new_zone(&apex(), &site, Serial(1)).unwrap();
        let directory = Directory::read(&zone);
        prop_assert_eq!(messages(&directory), [""; 0]);
        prop_assert_eq!(&directory.sites[&site.name], &site);
    }

    #[test]
    fn no_rdata_makes_reading_panic(rdata in proptest::collection::vec(any::<u8>(), 0..60), which in 0usize..8) {
        let (owner, rtype) = [
            ("_schema", Rtype::TXT),
            ("example._zones", Rtype::PTR),
            ("site-b._removed", Rtype::TXT),
            ("site-b", Rtype::A),
            ("_dns.site-b", Rtype::SVCB),
            ("_site.site-b", Rtype::TXT),
            ("_853._tcp.site-b", Rtype::TLSA),
            ("example", Rtype::TXT),
        ][which];
        let good = site("site-a", 1);
        let mut editor = new_zone(&apex(), &good, Serial(1)).unwrap().edit();
        let owner = name(&format!("{owner}.dns.internal"));
        editor.add(Record::new(owner, rtype, compose::TTL, rdata)).unwrap();
        let zone = editor.finish().unwrap();
        let _ = Epoch::of_directory(&zone);
        let directory = Directory::read_with_legacy(&zone, &[name("example")]);
        // A copied key is the one thing that can touch it, and random octets do not make one.
        prop_assert_eq!(directory.sites.get(&good.name), Some(&good));
    }
}
