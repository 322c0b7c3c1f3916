use super::*;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record};

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn record(text: &str) -> Record {
    Record::from_text(text, &name("example.com")).unwrap()
}

fn zone() -> Zone {
    let mut editor = Editor::new(name("example.com"));
    for text in [
        "@ 60 IN SOA ns root 1 1 2 3 4",
        "@ 60 IN NS ns",
        "www 60 IN A 192.0.2.2",
    ] {
        editor.add(record(text)).unwrap();
    }
    editor.finish().unwrap()
}

fn identity(address: &str, key: Option<&str>) -> Identity {
    Identity {
        address: address.parse().unwrap(),
        key: key.map(name),
        pin: None,
    }
}

fn allows(rules: &[Rule], identity: &Identity, change: &Change) -> bool {
    Policy { identity, rules }.check(&zone(), change).is_ok()
}

#[test]
fn without_a_rule_nothing_is_allowed_and_the_message_says_who_and_what() {
    let identity = identity("192.0.2.77", Some("dhcp"));
    let policy = Policy {
        identity: &identity,
        rules: &[],
    };
    let error = policy
        .check(&zone(), &Change::Add(record("www 60 IN A 192.0.2.1")))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "192.0.2.77 with key dhcp. may not change www.example.com. A: no rule of the zone is for this sender"
    );
}

#[test]
fn key_and_network_are_both_required_where_both_are_given() {
    let rules = [Rule {
        who: Who::All(vec![
            Who::Key(name("dhcp")),
            Who::Network("192.0.2.0".parse().unwrap(), 24),
        ]),
        names: Names::AtOrBelow(name("lan.example.com")),
        types: Types::Ordinary,
        add_only: false,
    }];
    let change = Change::Add(record("pc.lan 60 IN A 192.0.2.1"));
    assert!(allows(
        &rules,
        &identity("192.0.2.9", Some("DHCP")),
        &change
    ));
    assert!(allows(
        &rules,
        &identity("::ffff:192.0.2.9", Some("dhcp")),
        &change
    ));
    assert!(!allows(&rules, &identity("192.0.2.9", None), &change));
    assert!(!allows(
        &rules,
        &identity("198.51.100.9", Some("dhcp")),
        &change
    ));
    let outside = Change::Add(record("pc 60 IN A 192.0.2.1"));
    assert!(!allows(
        &rules,
        &identity("192.0.2.9", Some("dhcp")),
        &outside
    ));
}

#[test]
fn a_network_of_no_bits_is_every_address_of_its_family() {
    assert!(within(
        "203.0.113.1".parse().unwrap(),
        "0.0.0.0".parse().unwrap(),
        0
    ));
    assert!(!within(
        "2001:db8::1".parse().unwrap(),
        "0.0.0.0".parse().unwrap(),
        0
    ));
    assert!(within(
        "2001:db8::1".parse().unwrap(),
        "2001:db8::".parse().unwrap(),
        32
    ));
    assert!(!within(
        "192.0.2.1".parse().unwrap(),
        "192.0.2.2".parse().unwrap(),
        200
    ));
}

#[test]
fn ordinary_types_leave_the_structure_of_the_zone_alone() {
    let rules = [Rule {
        who: Who::Anyone,
        names: Names::Any,
        types: Types::Ordinary,
        add_only: false,
    }];
    let who = identity("192.0.2.9", None);
    assert!(!allows(
        &rules,
        &who,
        &Change::Add(record("@ 60 IN NS evil.example."))
    ));
    assert!(!allows(
        &rules,
        &who,
        &Change::Add(record("@ 60 IN SOA ns root 2 1 2 3 4"))
    ));
    assert!(allows(
        &rules,
        &who,
        &Change::DeleteName(name("www.example.com"))
    ));
    assert!(allows(
        &rules,
        &who,
        &Change::DeleteName(name("none.example.com"))
    ));
}

#[test]
fn who_may_only_add_cannot_delete_and_own_is_the_name_of_the_key() {
    let rules = [Rule {
        who: Who::Anyone,
        names: Names::Own,
        types: Types::Only([Rtype::A].into()),
        add_only: true,
    }];
    let who = identity("192.0.2.9", Some("www.example.com"));
    assert!(allows(
        &rules,
        &who,
        &Change::Add(record("www 60 IN A 192.0.2.2"))
    ));
    assert!(!allows(
        &rules,
        &who,
        &Change::Add(record("www 60 IN TXT x"))
    ));
    assert!(!allows(
        &rules,
        &who,
        &Change::Add(record("a.www 60 IN A 192.0.2.2"))
    ));
    assert!(!allows(
        &rules,
        &who,
        &Change::DeleteName(name("www.example.com"))
    ));
    let deletion = Change::DeleteRrset(name("www.example.com"), Rtype::A);
    assert!(!allows(&rules, &who, &deletion));
}

#[test]
fn who_has_no_rule_learns_nothing_from_prerequisites() {
    use crate::message::{Prerequisite, Update};
    let identity = identity("192.0.2.77", None);
    let policy = Policy {
        identity: &identity,
        rules: &[],
    };
    let probe =
        Update::new(name("example.com")).require(Prerequisite::NameInUse(name("none.example.com")));
    let refusal = crate::apply(&zone(), &probe, &policy).unwrap_err();
    assert_eq!(refusal.rcode(), zonemesh_zone::Rcode::REFUSED);
    assert_eq!(
        refusal.to_string(),
        "192.0.2.77 may not make this update of example.com.: no rule of the zone is for this sender"
    );
}
