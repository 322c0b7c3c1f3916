use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::record::parse_name;

/// Few names, types and addresses, so that RRsets have several records and names several RRsets; cases differ.
fn record() -> impl Strategy<Value = Record> {
    let owner = prop_oneof![
        Just("example"),
        Just("a.example"),
        Just("A.example"),
        Just("b.a.example"),
        Just("b.example"),
        Just("*.b.example"),
        Just("c.EXAMPLE"),
    ];
    let rtype = prop_oneof![Just(Rtype::A), Just(Rtype::TXT), Just(Rtype::MX)];
    (owner, rtype, 0..4u8, 0..2u32).prop_map(|(owner, rtype, data, ttl)| {
        let owner = parse_name(owner).unwrap();
        Record::new(owner, rtype, Ttl::from_secs(ttl), vec![data; 4])
    })
}

fn soa() -> Record {
    let apex = parse_name("example").unwrap();
    Record::from_text("@ 60 SOA ns h 1 2 3 4 5", &apex).unwrap()
}

fn made<'r>(records: impl IntoIterator<Item = &'r Record>) -> Zone {
    let mut editor = Editor::new(parse_name("example").unwrap());
    editor.add(soa()).unwrap();
    for record in records {
        editor.add(record.clone()).unwrap();
    }
    editor.finish().unwrap()
}

/// Everything that can be told of a version.
fn told(zone: &Zone) -> (Vec<String>, usize, Digest, usize) {
    let lines = zone.records().map(|record| record.to_string()).collect();
    (lines, zone.record_count(), zone.digest(), zone.node_count())
}

/// The same, made in a way that looks up each record: an RRset at a time, in a version that is there already.
fn looked_up(records: &[Record]) -> Zone {
    let mut editor = made([]).edit();
    for record in records {
        let old = editor
            .rrset(&record.owner, record.rtype)
            .into_iter()
            .flat_map(|set| set.iter());
        let all = old.chain([&record.rdata[..]]);
        let set = Rrset::new(record.rtype, record.ttl, all);
        editor.put(&record.owner, set).unwrap();
    }
    editor.finish().unwrap()
}

proptest! {
    #[test]
    fn whatever_the_order_the_version_is_that_of_its_records(records in prop::collection::vec(record(), 0..40)) {
        prop_assert_eq!(told(&made(&records)), told(&looked_up(&records)));
    }

    #[test]
    fn in_canonical_order_it_is_the_same_as_in_any_other(mut records in prop::collection::vec(record(), 0..40)) {
        // The TTL of an RRset is that of its last record, and the case of a name that of its first.
        for record in &mut records {
            record.ttl = Ttl::from_secs(60);
            record.owner = parse_name(&crate::record::canonical_text(&record.owner)).unwrap();
        }
        let any = made(&records);
        records.sort_by(|a, b| Key::of(&a.owner).as_slice().cmp(Key::of(&b.owner).as_slice()));
        prop_assert_eq!(told(&made(&records)), told(&any));
        // What is read in between changes nothing.
        let mut editor = Editor::new(parse_name("example").unwrap());
        editor.add(soa()).unwrap();
        for record in &records {
            editor.add(record.clone()).unwrap();
            let has = |set: RrsetRef<'_>| set.contains(&record.rdata);
            prop_assert!(editor.rrset(&record.owner, record.rtype).is_some_and(has));
        }
        prop_assert_eq!(told(&editor.finish().unwrap()), told(&any));
    }

    #[test]
    fn of_two_whole_rrsets_the_second_stays(sets in prop::collection::vec((record(), record()), 0..20)) {
        let mut editor = Editor::new(parse_name("example").unwrap());
        editor.add(soa()).unwrap();
        let mut owners = BTreeSet::new();
        for (first, second) in &sets {
            let rdata = [&first.rdata, &second.rdata];
            let set = Rrset::new(first.rtype, first.ttl, rdata);
            editor.put(&first.owner, set).unwrap();
            owners.insert((Key::of(&first.owner).as_slice().to_vec(), first.rtype.to_int()));
        }
        let zone = editor.finish().unwrap();
        prop_assert_eq!(zone.rrsets().count(), owners.len() + 1);
        for (index, (first, second)) in sets.iter().enumerate() {
            let later = sets[index + 1..].iter();
            let replaced = |(other, _): &(Record, Record)| other.owner == first.owner && other.rtype == first.rtype;
            if later.clone().any(replaced) {
                continue;
            }
            let expected = Rrset::new(first.rtype, first.ttl, [&first.rdata, &second.rdata]);
            prop_assert_eq!(zone.rrset(&first.owner, first.rtype), Some(expected.as_ref()));
        }
    }
}

#[test]
fn a_name_that_only_ends_like_the_zone_is_not_in_it() {
    let mut editor = Editor::new(parse_name("example").unwrap());
    for name in ["xexample", "example.com", "."] {
        let record = Record::new(
            parse_name(name).unwrap(),
            Rtype::A,
            Ttl::from_secs(1),
            vec![1; 4],
        );
        let error = editor.add(record).unwrap_err();
        assert!(matches!(error, ZoneError::OutOfZone { .. }), "{name}");
    }
    // The octets before the apex are those of a label that holds a length.
    let tricky = Name::from_octets(
        vec![
            10, b'a', b'a', 7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 0,
        ]
        .into(),
    )
    .unwrap();
    let record = Record::new(tricky, Rtype::A, Ttl::from_secs(1), vec![1; 4]);
    assert!(editor.add(record).is_err());
}
