use proptest::prelude::*;

use super::*;
use crate::record::parse_name;
use crate::{Editor, Ttl};

fn zone(serial: u32, records: &[(u8, u8, u8, u8)]) -> Zone {
    let apex = parse_name("example.com").unwrap();
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 60 IN SOA ns.example.com. root.example.com. {serial} 1 2 3 4");
    editor.add(Record::from_text(&soa, &apex).unwrap()).unwrap();
    for (owner, rtype, ttl, rdata) in records {
        let owner = parse_name(&format!("n{}.example.com", owner % 6)).unwrap();
        let rtype = Rtype::from_int(65280 + u16::from(rtype % 3));
        editor
            .add(Record::new(
                owner,
                rtype,
                Ttl::from_secs(u32::from(ttl % 2)),
                vec![rdata % 4],
            ))
            .unwrap();
    }
    editor.finish().unwrap()
}

proptest! {
    #[test]
    fn the_difference_applied_to_the_first_gives_the_second(a: Vec<(u8, u8, u8, u8)>, b: Vec<(u8, u8, u8, u8)>) {
        let (a, b) = (zone(1, &a), zone(2, &b));
        let diff = a.diff(&b);
        let made = a.apply(&diff).unwrap();
        prop_assert!(made.same_contents(&b), "{:?} is not {:?}", made, b);
        prop_assert_eq!(made.record_count(), b.record_count());
        prop_assert_eq!(made.record_count(), made.records().count());
        prop_assert_eq!(made.diff(&b), Diff { removed: vec![b.soa_record()], added: vec![b.soa_record()] });
    }
}

#[test]
fn a_difference_for_another_version_is_refused() {
    let (a, b) = (zone(1, &[(1, 1, 1, 1)]), zone(2, &[(2, 1, 1, 1)]));
    let diff = a.diff(&b);
    assert_eq!(
        b.apply(&diff).unwrap_err(),
        ApplyError::WrongStart {
            expected: Serial(1),
            found: Serial(2)
        }
    );
    let other = zone(1, &[]);
    assert!(matches!(other.apply(&diff), Err(ApplyError::NotThere(_))));
    let full = zone(1, &[(1, 1, 1, 1), (2, 1, 1, 1)]);
    assert!(matches!(
        full.apply(&diff),
        Err(ApplyError::AlreadyThere(_))
    ));
}

#[test]
fn a_zone_needs_exactly_one_soa_and_nothing_from_outside() {
    let apex = parse_name("example.com").unwrap();
    assert_eq!(
        Editor::new(apex.clone()).finish().unwrap_err(),
        ZoneError::NoSoa(apex.clone())
    );
    let mut editor = zone(1, &[]).edit();
    let outside = Record::from_text("www.example.net. 60 IN A 192.0.2.1", &apex).unwrap();
    assert!(matches!(
        editor.add(outside),
        Err(ZoneError::OutOfZone { .. })
    ));
    editor
        .add(Record::from_text("@ 60 IN SOA a. b. 7 1 2 3 4", &apex).unwrap())
        .unwrap();
    assert_eq!(editor.finish().unwrap_err(), ZoneError::ExtraSoa(apex));
}

#[test]
fn a_difference_from_the_same_serial_of_another_writer_is_refused() {
    let (a, b) = (zone(1, &[]), zone(2, &[(1, 1, 1, 1)]));
    let diff = a.diff(&b);
    let mut editor = a.edit();
    editor.set_mname(&parse_name("other.example.com").unwrap());
    let other = editor.finish().unwrap();
    let refused = other.apply(&diff).unwrap_err();
    assert!(
        matches!(&refused, ApplyError::OtherWriter { serial, .. } if *serial == Serial(1)),
        "{refused}"
    );
}
