use super::*;
use crate::policy::Everything;
use zonemesh_zone::record::parse_name;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn record(text: &str) -> Record {
    Record::from_text(text, &name("example.com")).unwrap()
}

fn zone() -> Zone {
    let mut editor = Editor::new(name("example.com"));
    for text in [
        "@ 60 IN SOA ns root 10 1 2 3 4",
        "@ 60 IN NS ns",
        "@ 60 IN TXT \"apex\"",
        "ns 60 IN A 192.0.2.1",
        "www 60 IN A 192.0.2.2",
        "www 60 IN A 192.0.2.3",
        "alias 60 IN CNAME www",
    ] {
        editor.add(record(text)).unwrap();
    }
    editor.finish().unwrap()
}

fn update() -> Update {
    Update::new(name("example.com"))
}

fn done(update: Update) -> Applied {
    apply(&zone(), &update, &Everything).unwrap()
}

fn refused(update: Update) -> Rcode {
    apply(&zone(), &update, &Everything).unwrap_err().rcode()
}

#[test]
fn prerequisites_answer_with_their_rcodes() {
    let cases = [
        (
            Prerequisite::NameInUse(name("no.example.com")),
            Rcode::NXDOMAIN,
        ),
        (
            Prerequisite::NameNotInUse(name("www.example.com")),
            Rcode::YXDOMAIN,
        ),
        (
            Prerequisite::RrsetExists(name("www.example.com"), Rtype::MX),
            Rcode::NXRRSET,
        ),
        (
            Prerequisite::RrsetAbsent(name("www.example.com"), Rtype::A),
            Rcode::YXRRSET,
        ),
        // One of two records is not the RRset.
        (
            Prerequisite::RecordExists(record("www 0 IN A 192.0.2.2")),
            Rcode::NXRRSET,
        ),
        (Prerequisite::NameInUse(name("example.net")), Rcode::NOTZONE),
    ];
    for (prerequisite, rcode) in cases {
        assert_eq!(
            refused(update().require(prerequisite.clone())),
            rcode,
            "{prerequisite:?}"
        );
    }
    let met = update()
        .require(Prerequisite::NameInUse(name("www.example.com")))
        .require(Prerequisite::NameNotInUse(name("no.example.com")))
        .require(Prerequisite::RrsetExists(name("WWW.example.com"), Rtype::A))
        .require(Prerequisite::RrsetAbsent(
            name("www.example.com"),
            Rtype::MX,
        ))
        .require(Prerequisite::RecordExists(record("www 0 IN A 192.0.2.3")))
        .require(Prerequisite::RecordExists(record("www 0 IN A 192.0.2.2")));
    assert!(!done(met).changed);
}

#[test]
fn adding_what_is_there_changes_nothing() {
    assert!(!done(update().add(record("www 60 IN A 192.0.2.2"))).changed);
    assert!(done(update().add(record("www 61 IN A 192.0.2.2"))).changed);
}

#[test]
fn changes_are_made_in_their_order() {
    let applied = done(
        update()
            .delete_rrset(name("www.example.com"), Rtype::A)
            .add(record("www 60 IN A 192.0.2.9")),
    );
    let set = applied
        .zone
        .rrset(&name("www.example.com"), Rtype::A)
        .unwrap();
    assert_eq!(set.iter().collect::<Vec<_>>(), [[192, 0, 2, 9]]);
    assert_eq!(applied.zone.serial(), Serial(10));
    assert_eq!(applied.with_serial(Serial(11)).serial(), Serial(11));
}

#[test]
fn soa_and_last_ns_of_the_apex_cannot_be_deleted() {
    let apex = name("example.com");
    let applied = done(
        update()
            .delete_name(apex.clone())
            .delete_rrset(apex.clone(), Rtype::SOA)
            .delete_rrset(apex.clone(), Rtype::NS)
            .delete_record(record("@ 0 IN NS ns"))
            .delete_record(record("@ 0 IN SOA ns root 10 1 2 3 4")),
    );
    let left: Vec<_> = applied
        .zone
        .node(&apex)
        .unwrap()
        .rrsets()
        .map(|set| set.rtype())
        .collect();
    assert_eq!(left, [Rtype::NS, Rtype::SOA]);
    // One of two may go; then the other one is the last.
    let applied = done(
        update()
            .add(record("@ 60 IN NS ns2"))
            .delete_record(record("@ 0 IN NS ns"))
            .delete_record(record("@ 0 IN NS ns2")),
    );
    let set = applied.zone.rrset(&apex, Rtype::NS).unwrap();
    assert_eq!(
        set.iter().collect::<Vec<_>>(),
        [name("ns2.example.com").as_slice()]
    );
}

#[test]
fn a_cname_and_other_data_never_meet() {
    assert!(!done(update().add(record("alias 60 IN A 192.0.2.1"))).changed);
    assert!(!done(update().add(record("www 60 IN CNAME ns"))).changed);
    let applied = done(update().add(record("alias 60 IN CNAME ns")));
    let set = applied
        .zone
        .rrset(&name("alias.example.com"), Rtype::CNAME)
        .unwrap();
    assert_eq!(set.len(), 1, "a new CNAME takes the place of the old one");
}

#[test]
fn a_soa_takes_effect_only_with_a_greater_serial() {
    assert!(!done(update().add(record("@ 60 IN SOA ns root 10 9 9 9 9"))).changed);
    assert!(!done(update().add(record("@ 60 IN SOA ns root 2147483700 9 9 9 9"))).changed);
    assert!(!done(update().add(record("www 60 IN SOA ns root 11 9 9 9 9"))).changed);
    let applied = done(update().add(record("@ 60 IN SOA ns root 11 9 9 9 9")));
    assert!(applied.serial_set && applied.zone.serial() == Serial(11));
}

#[test]
fn names_outside_and_other_zones_are_refused() {
    assert_eq!(refused(Update::new(name("example.net"))), Rcode::NOTAUTH);
    assert_eq!(
        refused(update().delete_name(name("www.example.net"))),
        Rcode::NOTZONE
    );
}
