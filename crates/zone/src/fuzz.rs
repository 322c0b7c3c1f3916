//! What the fuzzer does with octets. The targets of the package `fuzz` call these functions, and so do property tests,
//! so that the same bodies run without a fuzzer too. Each panics when something does not hold.

use domain::base::Message;

use crate::record::parse_name;
use crate::version::NameRef;
use crate::{Editor, Key, Name, Record, Rtype, Sought, Ttl, file};

pub use crate::file::fuzz_read as zone_file;

/// A message: each record that is taken out of it has the form of its type, and comes out of a zone file as it went in.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::from_slice(data) else {
        return;
    };
    let Ok(sections) = message.sections() else {
        return;
    };
    let (_, answer, authority, additional) = sections;
    let records = answer.chain(authority).chain(additional);
    // A record that cannot be skipped ends its section.
    for parsed in records.take(64).flatten() {
        if let Ok(record) = Record::from_message(&parsed) {
            record.check_rdata().expect("taken records are well-formed");
            round_trip(record);
        }
    }
}

fn round_trip(record: Record) {
    let root = Name::root_bytes();
    let Ok(soa) = Record::from_text(". 60 IN SOA . . 1 3600 600 604800 300", &root) else {
        return;
    };
    let mut editor = Editor::new(root.clone());
    for record in [soa, record] {
        // Types that cannot be in a zone are refused here.
        if editor.add(record).is_err() {
            return;
        }
    }
    let Ok(zone) = editor.finish() else {
        return;
    };
    let mut text = Vec::new();
    file::write(&zone, &mut text).expect("a vector takes everything");
    let again = file::read_without_checks(&text, &root);
    assert!(
        again.is_some_and(|again| again.same_contents(&zone)),
        "{}",
        text.escape_ascii()
    );
}

/// Two names: their keys have the order of the names, and one is a prefix of the other when that is below it.
pub fn names(data: &[u8]) {
    // No octets make a key panic.
    let sought = Sought::from_wire(data);
    assert!(sought.key() == Key::from_wire(sought.wire()).as_slice());
    let Some((&len, rest)) = data.split_first() else {
        return;
    };
    let Some((a, b)) = rest.split_at_checked(len.into()) else {
        return;
    };
    let name = |octets: &[u8]| Name::from_octets(octets.to_vec().into());
    let (Ok(a), Ok(b)) = (name(a), name(b)) else {
        return;
    };
    let (key_a, key_b) = (Key::of(&a), Key::of(&b));
    assert_eq!(key_a.as_slice().cmp(key_b.as_slice()), a.cmp(&b));
    let sought = Sought::from_wire(a.as_slice());
    assert_eq!(sought.is_at_or_below(b.as_slice()), a.ends_with(&b));
    let (from, _) = sought.shared(b.as_slice());
    assert!(b.ends_with(&NameRef::from_slice(&a.as_slice()[from..]).expect("a suffix of a name")));
    assert_eq!(
        key_a.as_slice().starts_with(key_b.as_slice()),
        a.ends_with(&b)
    );
    let mut line = Vec::new();
    file::write_record(&mut line, &a, Rtype::NS, Ttl::ZERO, b.as_slice());
    let text = String::from_utf8(line).expect("zone files are ASCII");
    let printed = text.split(' ').next().unwrap_or_default();
    assert_eq!(parse_name(printed).as_ref(), Ok(&a), "{text}");
}

/// What a site asks and tells of what it holds: what is read is written again as it was, and can be compared with.
pub fn inventory(data: &[u8]) {
    use crate::inventory::{self, Asked, Inventory, Listing};
    if let Some(asked) = Asked::parse(data) {
        assert_eq!(asked.compose(), data);
        if let Asked::Section(section) = asked {
            let empty = Inventory::default().list(section);
            assert_eq!(empty, Listing::Zones(Vec::new()));
        }
    }
    if let Some(sum) = inventory::parse_sum(data) {
        assert_eq!(inventory::compose_sum(sum), data);
    }
    let Some((section, listing)) = Listing::parse(data) else {
        return;
    };
    assert_eq!(listing.compose(section), data);
    let mut held = Inventory::default();
    if let Listing::Zones(zones) = &listing {
        for zone in zones {
            held.put(zone.clone());
        }
        assert!(held.len() <= inventory::LISTED);
    }
    let differences = held.compare(section, &listing);
    assert!(differences.sections.len() <= inventory::FAN);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use zonemesh_testkit::seeds;

    fn wire_name() -> impl Strategy<Value = Vec<u8>> {
        vec(vec(any::<u8>(), 1..9), 0..5).prop_map(|labels| {
            let mut wire = Vec::new();
            for label in labels {
                wire.push(label.len() as u8);
                wire.extend(label);
            }
            wire.push(0);
            wire
        })
    }

    /// A message with two answers, whose names may be compressed, and the data of which is what it is.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            wire_name(),
            Just(vec![0xC0, 12]),
            (0u8..60).prop_map(|at| vec![1, b'x', 0xC0, at])
        ];
        let rdata = prop_oneof![
            vec(any::<u8>(), 0..40),
            name.clone(),
            (vec(any::<u8>(), 0..24), name.clone()).prop_map(|(head, name)| [head, name].concat()),
        ];
        let rtype = prop_oneof![0u16..70, Just(257), any::<u16>()];
        let record = (name, rtype, rdata).prop_map(|(name, rtype, rdata)| {
            let mut out = name;
            out.extend(rtype.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 60]);
            out.extend((rdata.len() as u16).to_be_bytes());
            out.extend(rdata);
            out
        });
        (wire_name(), vec(record, 2)).prop_map(|(question, records)| {
            let mut out = vec![0, 1, 0x80, 0, 0, 1, 0, 2, 0, 0, 0, 0];
            out.extend(question);
            out.extend([0, 1, 0, 1]);
            out.extend(records.concat());
            out
        })
    }

    #[test]
    fn the_inputs_that_are_kept_with_the_source_are_survived() {
        seeds::each("zone_file", super::zone_file);
        seeds::each("message", super::message);
        seeds::each("names", super::names);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_message_breaks_what_holds_of_records(data in message()) {
            super::message(&data);
        }

        #[test]
        fn no_octets_are_a_message_that_breaks_anything(data in vec(any::<u8>(), 0..200)) {
            super::message(&data);
        }

        #[test]
        fn keys_and_text_of_names_hold_for_all_names(a in wire_name(), b in wire_name()) {
            super::names(&[&[a.len() as u8][..], &a, &b].concat());
        }
    }
}
