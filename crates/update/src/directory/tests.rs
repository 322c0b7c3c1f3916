use super::*;
use crate::apply::apply;
use crate::message::Update;
use crate::request;
use zonemesh_zone::Serial;
use zonemesh_zone::directory::{self, Departure, Site};
use zonemesh_zone::record::parse_name;

fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

fn apex() -> Name {
    name("dns.internal")
}

fn record(text: &str) -> Record {
    Record::from_text(text, &apex()).unwrap()
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

/// `site-a`, the catalog primary, and `site-b`; the latter has the zone `b.example`.
fn zone() -> Zone {
    let first = Site {
        role: Role::CatalogPrimary,
        ..site("site-a", 1)
    };
    let zone = directory::new_zone(&apex(), &first, Serial(1)).unwrap();
    let mut editor = zone.edit();
    for record in site("site-b", 2).records(&apex()).unwrap() {
        editor.add(record).unwrap();
    }
    directory::set_owner(&mut editor, &name("b.example"), &site_name("site-b")).unwrap();
    editor.finish().unwrap()
}

fn ask(zone: &Zone, identity: SiteIdentity, update: &Update) -> Result<Zone, String> {
    let directory = Directory::read(zone);
    let reserved = [apex(), name("catalog.dns.internal")];
    let policy = DirectoryPolicy::new(identity, &directory, &reserved);
    // As it arrives.
    let update = Update::parse(&update.compose(1).unwrap()).unwrap();
    apply(zone, &update, &policy)
        .map(|applied| applied.zone)
        .map_err(|error| error.to_string())
}

fn member(text: &str) -> SiteIdentity {
    SiteIdentity::Member(site_name(text))
}

fn join(text: &str, replace: bool) -> SiteIdentity {
    SiteIdentity::Join {
        site: site_name(text),
        role: Role::Standard,
        replace,
    }
}

fn update() -> Update {
    Update::new(apex())
}

#[test]
fn a_site_joins_with_all_its_records_and_is_read_back() {
    let new = site("site-c", 3);
    let update = request::publish(&apex(), &new, None).unwrap();
    let after = ask(&zone(), join("site-c", false), &update).unwrap();
    let directory = Directory::read(&after);
    assert_eq!(directory.sites[&site_name("site-c")], new);
    assert!(directory.findings.is_empty(), "{:?}", directory.findings);
}

#[test]
fn a_packet_for_another_name_or_for_a_site_that_exists_is_refused() {
    let update = request::publish(&apex(), &site("site-c", 3), None).unwrap();
    let error = ask(&zone(), join("site-d", false), &update).unwrap_err();
    assert!(
        error.ends_with("a site writes its own records only"),
        "{error}"
    );
    let update = request::publish(&apex(), &site("site-b", 3), None).unwrap();
    let error = ask(&zone(), join("site-b", false), &update).unwrap_err();
    assert!(error.contains("site-b is a site already"), "{error}");
    let after = ask(&zone(), join("site-b", true), &update).unwrap();
    let pins = &Directory::read(&after).sites[&site_name("site-b")].pins;
    assert_eq!(pins, &[KeyPin([3; 32])], "the old key is no longer trusted");
}

#[test]
fn nobody_writes_what_is_another_sites_or_the_catalog_primarys() {
    let b = || member("site-b");
    let cases = [
        "site-a 60 IN A 192.0.2.66",
        "_dns.site-a 60 IN SVCB 1 site-a port=99",
        "_853._tcp.site-a 60 IN TLSA 3 1 1 0202020202020202020202020202020202020202020202020202020202020202",
        "_site.SITE-A 60 IN TXT \"role=standard\"",
        "site-a._removed 60 IN TXT \"at=1\"",
        "site-b._removed 60 IN TXT \"at=1\"",
        "_schema 60 IN TXT \"zonemesh=2\"",
        "@ 60 IN NS site-b",
        "@ 60 IN SOA site-b root 99 1 2 3 4",
        "* 60 IN A 192.0.2.66",
        "*.site-b 60 IN A 192.0.2.66",
        "site-b 60 IN NS site-b",
        "site-b 60 IN CNAME site-a",
        "_99999._tcp.site-b 60 IN TLSA 3 1 1 0202",
        "_0853._tcp.site-b 60 IN TLSA 3 1 1 0202020202020202020202020202020202020202020202020202020202020202",
        "www 60 IN A 192.0.2.66",
        "_zones 60 IN PTR site-a",
        "*._zones 60 IN PTR site-b",
        "new.example._zones 60 IN PTR site-a",
        "new.example._zones 60 IN TXT x",
        "site-a.dns.internal._zones 60 IN PTR site-b",
        "catalog.dns.internal._zones 60 IN PTR site-b",
    ];
    for text in cases {
        let error = ask(&zone(), b(), &update().add(record(text)));
        assert!(error.is_err(), "{text} was accepted");
    }
    for update in [
        update().delete_name(name("site-a.dns.internal")),
        update().delete_rrset(name("_853._tcp.site-a.dns.internal"), Rtype::TLSA),
        update().delete_record(record("site-a 0 IN A 192.0.2.1")),
        update().delete_name(apex()),
    ] {
        ask(&zone(), b(), &update).unwrap_err();
    }
}

#[test]
fn a_zone_of_another_site_can_neither_be_claimed_nor_released() {
    let zone_name = name("b.example");
    let claim = request::claim_zone(&apex(), &zone_name, &site_name("site-a")).unwrap();
    let error = ask(&zone(), member("site-a"), &claim).unwrap_err();
    assert_eq!(
        error,
        "site site-a may not change b.example._zones.dns.internal. PTR: the zone's primary is site-b"
    );
    let release = request::release_zone(&apex(), &zone_name).unwrap();
    ask(&zone(), member("site-a"), &release).unwrap_err();
    let steal = update()
        .delete_rrset(release.changes[0].owner().clone(), Rtype::PTR)
        .add(record("b.example._zones 300 IN PTR site-a"));
    ask(&zone(), member("site-a"), &steal).unwrap_err();
    let after = ask(&zone(), member("site-b"), &release).unwrap();
    assert!(Directory::read(&after).owners.is_empty());
    let after = ask(&after, member("site-a"), &claim).unwrap();
    assert_eq!(
        Directory::read(&after).owners[&zone_name],
        site_name("site-a")
    );
}

#[test]
fn a_changed_address_and_key_are_followed() {
    let old = site("site-b", 2);
    let new = Site {
        dot: Some(8530),
        ..site("site-b", 7)
    };
    let update = request::publish(&apex(), &new, Some(&old)).unwrap();
    let after = ask(&zone(), member("site-b"), &update).unwrap();
    assert_eq!(Directory::read(&after).sites[&site_name("site-b")], new);
    assert!(Directory::read(&after).findings.is_empty());
}

#[test]
fn no_site_promotes_itself() {
    let new = Site {
        role: Role::CatalogPrimary,
        ..site("site-b", 2)
    };
    let update = request::publish(&apex(), &new, None).unwrap();
    let error = ask(&zone(), member("site-b"), &update).unwrap_err();
    assert!(
        error.contains("expected one string `role=standard`"),
        "{error}"
    );
    let both = record("_site.site-b 60 IN TXT \"role=standard\" \"role=catalog-primary\"");
    ask(&zone(), member("site-b"), &Update::new(apex()).add(both)).unwrap_err();
}

#[test]
fn a_key_of_another_or_of_a_removed_site_is_not_published() {
    let copied = request::publish(&apex(), &site("site-c", 2), None).unwrap();
    let error = ask(&zone(), join("site-c", false), &copied).unwrap_err();
    assert!(error.contains("is that of site-b"), "{error}");

    let directory = Directory::read(&zone());
    let mut editor = zone().edit();
    let gone = site_name("site-b");
    directory::remove_site(&mut editor, &directory, &gone, &Departure::Remove, 5).unwrap();
    let zone = editor.finish().unwrap();
    let again = request::publish(&apex(), &site("site-b", 2), None).unwrap();
    let error = ask(&zone, member("site-b"), &again).unwrap_err();
    assert!(error.contains("not a site of this directory"), "{error}");
    let error = ask(&zone, join("site-b", false), &again).unwrap_err();
    assert!(
        error.contains("belonged to the removed site site-b"),
        "{error}"
    );
    let fresh = request::publish(&apex(), &site("site-b", 9), None).unwrap();
    ask(&zone, join("site-b", false), &fresh).unwrap();
}

#[test]
fn half_a_join_and_a_member_without_key_are_refused() {
    let error = ask(&zone(), join("site-c", false), &update()).unwrap_err();
    assert_eq!(
        error,
        "the welcome packet of site-c may not make this update of dns.internal.: site-c would have no records at \
         all; to leave, use `zonemesh site remove`"
    );
    let address = update().add(record("site-c 60 IN A 192.0.2.3"));
    ask(&zone(), join("site-c", false), &address).unwrap_err();
    let key = update().delete_rrset(name("_853._tcp.site-b.dns.internal"), Rtype::TLSA);
    let error = ask(&zone(), member("site-b"), &key).unwrap_err();
    assert!(error.contains("no key at a port that it offers"), "{error}");
}

#[test]
fn a_zone_that_the_older_convention_gives_to_another_cannot_be_claimed() {
    let mut editor = zone().edit();
    editor
        .add(record("old 60 IN TXT \"site-b.dns.internal.\""))
        .unwrap();
    let zone = editor.finish().unwrap();
    let old = name("old.example");
    let directory = Directory::read_with_legacy(&zone, std::slice::from_ref(&old));
    let claim = |site: &str| {
        let policy = DirectoryPolicy::new(member(site), &directory, &[]);
        let claim = request::claim_zone(&apex(), &old, &site_name(site)).unwrap();
        apply(&zone, &claim, &policy).map_err(|error| error.to_string())
    };
    let error = claim("site-a").unwrap_err();
    assert!(error.ends_with("the zone's primary is site-b"), "{error}");
    claim("site-b").unwrap();
}
