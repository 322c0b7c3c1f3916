use super::*;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record};

fn zone(hosts: impl Iterator<Item = usize>) -> Zone {
    let apex = parse_name("example.com").unwrap();
    let mut editor = Editor::new(apex.clone());
    let fixed = [
        "@ 60 IN SOA ns root 1 1 2 3 4".to_string(),
        "@ 60 IN NS ns".into(),
    ];
    for text in fixed
        .into_iter()
        .chain(hosts.map(|n| format!("h{n} 60 IN A 192.0.2.{n}")))
    {
        editor
            .add(Record::from_text(&text, &apex).unwrap())
            .unwrap();
    }
    editor.finish().unwrap()
}

#[test]
fn ten_percent_of_the_members_and_one_may_always_go() {
    assert!(!too_many(1, 1));
    assert!(!too_many(10, 100));
    assert!(too_many(11, 100));
    assert!(too_many(2, 19));
    assert!(!too_many(2, 20));
}

#[test]
fn more_than_thirty_percent_of_the_rrsets_wait_for_approval() {
    // Nine hosts and the NS: ten RRsets that count.
    let old = zone(0..9);
    let none = Approvals::new();
    check_change(&old, &zone(3..9), &none).unwrap();
    let held = check_change(&old, &zone(4..9), &none).unwrap_err();
    assert_eq!((held.removed.len(), held.of), (4, 10));
    let text = held.to_string();
    assert!(
        held.removed.iter().all(|rrset| text.contains(rrset)),
        "{text}"
    );
    check_change(
        &old,
        &zone(4..9),
        &Approvals::from([held.fingerprint.clone()]),
    )
    .unwrap();
    check_change(&old, &zone(5..9), &Approvals::from([held.fingerprint])).unwrap_err();
}

#[test]
fn of_many_removals_some_are_named_and_the_rest_is_counted() {
    let all: Vec<String> = (0..23).map(|n| format!("host{n}.example A")).collect();
    let text = some_of(&all);
    assert!(
        text.starts_with("host0.example A, host1.example A, "),
        "{text}"
    );
    assert!(text.ends_with("host19.example A and 3 more"), "{text}");
    assert_eq!(some_of(&all[..1]), "host0.example A");
}

#[test]
fn changed_data_is_not_removed_and_small_zones_can_be_edited() {
    let old = zone(0..9);
    let mut editor = old.edit();
    for n in 0..9 {
        let owner = parse_name(&format!("h{n}.example.com")).unwrap();
        editor.remove_rrset(&owner, Rtype::A);
        editor
            .add(Record::new(
                owner,
                Rtype::A,
                old.soa_record().ttl,
                vec![192, 0, 2, 200],
            ))
            .unwrap();
    }
    check_change(&old, &editor.finish().unwrap(), &Approvals::new()).unwrap();
    check_change(&zone(0..1), &zone(0..0), &Approvals::new()).unwrap();
}

#[test]
fn a_fingerprint_is_for_one_set_and_one_kind() {
    let of = |kind, names: &[&str]| Fingerprint::of(kind, names);
    assert_eq!(of("zones", &["a", "b"]), of("zones", &["b", "a", "a"]));
    assert_ne!(of("zones", &["a", "b"]), of("zones", &["ab"]));
    assert_ne!(of("zones", &["a"]), of("peers", &["a"]));
}
