use super::*;
use crate::record::parse_name;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn apex() -> Name {
    name("catalog.internal")
}

fn zone(records: &str) -> Zone {
    let mut editor = Editor::new(apex());
    for line in records
        .lines()
        .chain(["@ 0 IN SOA invalid. invalid. 7 1 2 3 4"])
    {
        let line = line.trim();
        if !line.is_empty() {
            editor
                .add(Record::from_text(line, &apex()).unwrap())
                .unwrap();
        }
    }
    editor.finish().unwrap()
}

fn faults(records: &str) -> Vec<String> {
    let faults = Catalog::read(&zone(records)).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

const VERSION: &str = "version 0 IN TXT \"2\"\n";

#[test]
fn members_with_groups_coo_and_unknown_properties_are_read() {
    let catalog = Catalog::read(&zone(
        "VERSION 0 IN TXT \"2\"
         one.zones 0 IN PTR One.example.
         group.one.zones 0 IN TXT \"signed\"
         group.one.zones 0 IN TXT \"offsite\"
         coo.one.zones 0 IN PTR other.catalog.
         future.one.zones 0 IN TXT \"whatever\"
         x.ext.one.zones 0 IN A 192.0.2.1
         mail.ext 0 IN TXT \"of the catalog itself\"
         two.zones 0 IN PTR .",
    ))
    .unwrap();
    let one = &catalog.members[&name("one.example")];
    assert_eq!(one.node, name("one.zones.catalog.internal"));
    assert_eq!(one.groups, ["offsite", "signed"]);
    assert_eq!(one.coo, Some(name("other.catalog")));
    assert_eq!(
        catalog.members[&name(".")].node,
        name("two.zones.catalog.internal")
    );
    assert_eq!(catalog.members.len(), 2);
}

#[test]
fn each_way_of_being_broken_is_named() {
    assert_eq!(
        faults(""),
        ["catalog catalog.internal. has no version; expected version.catalog.internal. TXT \"2\""]
    );
    assert_eq!(
        faults("version 0 IN TXT \"3\""),
        ["catalog catalog.internal. has version \"3\"; only \"2\" can be used"]
    );
    for version in ["\"2\" \"2\"", "\"02\"", "\"\""] {
        assert_eq!(
            faults(&format!("version 0 IN TXT {version}")).len(),
            1,
            "{version}"
        );
    }
    faults("version 0 IN TXT \"2\"\nversion 0 IN TXT \"1\"");
    assert_eq!(
        faults(&format!(
            "{VERSION} a.zones 0 IN PTR x.example.\na.zones 0 IN PTR y.example."
        )),
        ["member node a.zones.catalog.internal. names 2 zones; a member node names one"]
    );
    assert_eq!(
        faults(&format!(
            "{VERSION} a.zones 0 IN PTR x.example.\nb.zones 0 IN PTR X.example."
        )),
        [
            "zone X.example. is a member twice, as a.zones.catalog.internal. and as b.zones.catalog.internal."
        ]
    );
    assert_eq!(
        faults(&format!("{VERSION} group.a.zones 0 IN TXT x")),
        ["member node a.zones.catalog.internal. has no PTR record that names its zone"]
    );
    assert_eq!(
        faults(&format!(
            "{VERSION} a.zones 0 IN PTR x.example.\ncoo.a.zones 0 IN PTR y.\ncoo.a.zones 0 IN PTR z."
        )),
        ["coo.a.zones.catalog.internal.: 2 catalogs in a coo property; expected one"]
    );
}

#[test]
fn a_zone_that_comes_back_comes_under_another_node() {
    let empty = new_zone(&apex(), Serial(1)).unwrap();
    let member = name("a.example");
    let wanted = |names: &[&str]| names.iter().map(|text| (name(text), None)).collect();
    let with = follow(&empty, &wanted(&["a.example", "b.example"]), Serial(2))
        .unwrap()
        .unwrap();
    assert!(
        follow(&with, &wanted(&["b.example", "a.example"]), Serial(3))
            .unwrap()
            .is_none()
    );
    let without = follow(&with, &wanted(&["b.example"]), Serial(3))
        .unwrap()
        .unwrap();
    assert_eq!(Catalog::read(&without).unwrap().members.len(), 1);
    let again = follow(&without, &wanted(&["a.example", "b.example"]), Serial(4))
        .unwrap()
        .unwrap();
    let node = |zone: &Zone| Catalog::read(zone).unwrap().members[&member].node.clone();
    assert_ne!(node(&with), node(&again));
    assert_eq!(again.serial(), Serial(4));

    let mut editor = with.edit();
    set_groups(&mut editor, &member, &["signed"]).unwrap();
    assert!(reset_member(&mut editor, &member).unwrap());
    let reset = editor.finish().unwrap();
    assert_ne!(node(&with), node(&reset));
    assert_eq!(
        Catalog::read(&reset).unwrap().members[&member].groups,
        ["signed"]
    );
}

#[test]
fn groups_are_set_and_left_alone() {
    let empty = new_zone(&apex(), Serial(1)).unwrap();
    let wanted =
        |group: Option<&str>| BTreeMap::from([(name("a.example"), group.map(String::from))]);
    let groups = |zone: &Zone| {
        Catalog::read(zone).unwrap().members[&name("a.example")]
            .groups
            .clone()
    };
    let first = follow(&empty, &wanted(Some("x")), Serial(2))
        .unwrap()
        .unwrap();
    assert_eq!(groups(&first), ["x"]);
    assert!(follow(&first, &wanted(None), Serial(3)).unwrap().is_none());
    let second = follow(&first, &wanted(Some("y")), Serial(3))
        .unwrap()
        .unwrap();
    assert_eq!(groups(&second), ["y"]);
}

#[test]
fn members_follow_the_directory_and_none_leaves_out_of_ignorance() {
    let site = directory::SiteName::new("site-a").unwrap();
    let dir = |records: &[&str]| {
        let apex = name("dns.internal");
        let mut editor = Editor::new(apex.clone());
        for text in records.iter().chain(&["@ 60 IN SOA a b 1 1 2 3 4"]) {
            editor.add(Record::from_text(text, &apex).unwrap()).unwrap();
        }
        editor.finish().unwrap()
    };
    let hand = "hand 60 IN TXT \"site-a.dns.internal.\"";
    let before = dir(&[
        hand,
        "gone.example._zones 60 IN PTR site-a",
        "odd.example._zones 60 IN PTR site-a",
    ]);
    let members = [
        "hand.example",
        "gone.example",
        "odd.example",
        "foreign.example",
    ];
    let wanted = members.iter().map(|text| (name(text), None)).collect();
    let empty = new_zone(&apex(), Serial(1)).unwrap();
    let catalog = follow(&empty, &wanted, Serial(2)).unwrap().unwrap();
    let groups = BTreeMap::new();
    let same = follow_directory(&catalog, &before, &before, &groups, Serial(3)).unwrap();
    assert!(same.is_none());

    let mut editor = before.edit();
    directory::remove_owner(&mut editor, &name("gone.example")).unwrap();
    directory::set_owner(&mut editor, &name("new.example"), &site).unwrap();
    let second = Record::from_text("odd.example._zones 60 IN PTR site-b", before.apex()).unwrap();
    editor.add(second).unwrap();
    let after = editor.finish().unwrap();
    let next = follow_directory(&catalog, &before, &after, &groups, Serial(3))
        .unwrap()
        .unwrap();
    let members: Vec<_> = Catalog::read(&next)
        .unwrap()
        .members
        .into_keys()
        .map(|zone| zone.to_string())
        .collect();
    assert_eq!(
        members,
        [
            "foreign.example",
            "hand.example",
            "new.example",
            "odd.example"
        ]
    );
}

#[test]
fn a_broken_catalog_is_not_edited() {
    let error = follow(&zone(""), &BTreeMap::new(), Serial(9)).unwrap_err();
    assert!(matches!(error, EditError::Broken(_)));
}

#[test]
fn adding_twice_and_removing_what_is_not_there_change_nothing() {
    let mut editor = new_zone(&apex(), Serial(1)).unwrap().edit();
    add_member(&mut editor, &name("a.example"), None).unwrap();
    add_member(&mut editor, &name("A.example"), Some("g")).unwrap();
    assert!(!remove_member(&mut editor, &name("b.example")));
    assert!(!set_groups(&mut editor, &name("b.example"), &["g"]).unwrap());
    let catalog = Catalog::read(&editor.finish().unwrap()).unwrap();
    assert_eq!(catalog.members.len(), 1);
}

#[test]
fn a_name_without_room_for_member_nodes_is_refused() {
    let label = "a".repeat(60);
    let long = name(&format!("{label}.{label}.{label}.{label}"));
    assert!(matches!(
        new_zone(&long, Serial(1)),
        Err(EditError::TooLong(_))
    ));
}

proptest! {
    #[test]
    fn the_catalog_has_exactly_the_members_that_are_wanted(
        rounds in proptest::collection::vec(proptest::collection::btree_set(0u8..30, 0..20), 1..6),
    ) {
        let mut zone = new_zone(&apex(), Serial(u32::MAX - 1)).unwrap();
        for wanted in rounds {
            let wanted: BTreeMap<Name, Option<String>> =
                wanted.iter().map(|n| (name(&format!("z{n}.example")), None)).collect();
            let next = follow(&zone, &wanted, crate::SerialExt::next(zone.serial())).unwrap();
            zone = next.unwrap_or(zone);
            let read = Catalog::read(&zone).unwrap();
            prop_assert!(read.members.keys().eq(wanted.keys()));
        }
    }
}
