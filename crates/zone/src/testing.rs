//! What tests of several modules need.

use proptest::prelude::*;

use crate::{Name, Record, Zone};

/// The zone without those of some lines that it has and with those that it has not; the lines are told by their numbers.
pub(crate) fn toggled(zone: &Zone, of: &[&str], have: &mut Vec<usize>, lines: &[usize]) -> Zone {
    let mut editor = zone.edit();
    for line in lines {
        let record = Record::from_text(of[*line], zone.apex()).unwrap();
        match have.iter().position(|other| other == line) {
            Some(at) => {
                have.swap_remove(at);
                editor.remove(&record.owner, record.rtype, &record.rdata);
            }
            None => {
                have.push(*line);
                editor.add(record).unwrap();
            }
        }
    }
    editor.finish().unwrap()
}
/// A name of few distinct octets, so that equal labels, prefixes and escapes are frequent.
pub(crate) fn arbitrary_name() -> impl Strategy<Value = Name> {
    let octet = prop_oneof![
        Just(0u8),
        Just(1),
        Just(2),
        Just(b'a'),
        Just(b'A'),
        Just(b'z'),
        Just(255),
        any::<u8>()
    ];
    let label = prop_oneof![
        5 => prop::collection::vec(octet.clone(), 1..20),
        1 => prop::collection::vec(octet, 20..64),
    ];
    prop::collection::vec(label, 0..6).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            if wire.len() + 1 + label.len() > 254 {
                break;
            }
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        Name::from_octets(wire.into()).unwrap()
    })
}
