//! Answers, table by table: the RFCs' own examples and what goes wrong elsewhere.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use std::time::Duration;

use asking::{ask, client, name, ready, zone};
use zonemesh_serve::{
    Access, Expiry, Moment, Outcome, Served, Settings, Shared, Transport, answer,
};
use zonemesh_zone::inventory::{Asked, Holding, Inventory, Listing, Section, compose_sum};

/// The zone of RFC 4592 §2.2.1.
fn rfc4592() -> Shared {
    ready([zone(
        "example.",
        r"
        @ 3600 IN SOA ns.example.com. host.example.com. 1 2 3 4 300
        @ 3600 IN NS ns.example.com.
        @ 3600 IN NS ns.example.net.
        * 3600 IN TXT wildcard
        * 3600 IN MX 10 host1.example.
        sub.* 3600 IN TXT not-a-wildcard
        host1 3600 IN A 192.0.2.1
        _ssh._tcp.host1 3600 IN SRV 0 0 22 host1.example.
        _ssh._tcp.host2 3600 IN SRV 0 0 22 host1.example.
        subdel 3600 IN NS ns.example.com.
        subdel 3600 IN NS ns.example.net.
        ",
    )])
}

const SOA: &str = "example. 300 IN SOA ns.example.com. host.example.com. 1 2 3 4 300";

#[test]
fn rfc4592_names_that_the_wildcard_makes() {
    let shared = rfc4592();
    ask("host3.example.", "MX").of(&shared).expect(
        "NOERROR",
        true,
        &["host3.example. 3600 IN MX 10 host1.example."],
        &[],
        &["host1.example. 3600 IN A 192.0.2.1"],
    );
    ask("host3.example.", "A")
        .of(&shared)
        .expect("NOERROR", true, &[], &[SOA], &[]);
    ask("foo.bar.example.", "TXT").of(&shared).expect(
        "NOERROR",
        true,
        &["foo.bar.example. 3600 IN TXT \"wildcard\""],
        &[],
        &[],
    );
}

#[test]
fn rfc4592_names_that_the_wildcard_does_not_make() {
    let shared = rfc4592();
    // It exists, without that type.
    ask("host1.example.", "MX")
        .of(&shared)
        .expect("NOERROR", true, &[], &[SOA], &[]);
    // It exists below the wildcard, and blocks it.
    ask("sub.*.example.", "MX")
        .of(&shared)
        .expect("NOERROR", true, &[], &[SOA], &[]);
    // An empty non-terminal is the closest encloser.
    ask("_telnet._tcp.host1.example.", "SRV")
        .of(&shared)
        .expect("NXDOMAIN", true, &[], &[SOA], &[]);
    ask("_tcp.host2.example.", "TXT")
        .of(&shared)
        .expect("NOERROR", true, &[], &[SOA], &[]);
    // Delegated.
    ask("host.subdel.example.", "A").of(&shared).expect(
        "NOERROR",
        false,
        &[],
        &[
            "subdel.example. 3600 IN NS ns.example.com.",
            "subdel.example. 3600 IN NS ns.example.net.",
        ],
        &[],
    );
    // The closest encloser is the wildcard itself.
    ask("ghost.*.example.", "MX")
        .of(&shared)
        .expect("NXDOMAIN", true, &[], &[SOA], &[]);
    // Asked for by its own name.
    ask("*.example.", "TXT").of(&shared).expect(
        "NOERROR",
        true,
        &["*.example. 3600 IN TXT \"wildcard\""],
        &[],
        &[],
    );
}

#[test]
fn a_wildcard_that_is_an_empty_non_terminal_makes_nodata() {
    let shared = ready([zone(
        "example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns
         ns 60 IN A 192.0.2.1
         a.* 60 IN TXT x",
    )]);
    let answer = ask("b.example.", "TXT").of(&shared);
    answer.expect(
        "NOERROR",
        true,
        &[],
        &["example. 5 IN SOA . . 1 2 3 4 5"],
        &[],
    );
}

fn delegating() -> Shared {
    ready([zone(
        "example.",
        r"
        @ 3600 IN SOA ns.example. host.example. 1 2 3 4 86400
        @ 3600 IN NS ns
        ns 3600 IN A 192.0.2.1
        child 3600 IN NS ns.child
        child 3600 IN NS ns.sibling
        child 3600 IN NS ns
        child 3600 IN NS ns.elsewhere.test.
        child 3600 IN DS 1 13 2 00000000000000000000000000000000000000000000000000000000000000AA
        ns.child 3600 IN A 192.0.2.2
        ns.child 3600 IN AAAA 2001:db8::2
        sibling 3600 IN NS ns.sibling
        ns.sibling 3600 IN A 192.0.2.3
        unsigned 3600 IN NS ns
        ",
    )])
}

const CHILD: [&str; 4] = [
    "child.example. 3600 IN NS ns.child.example.",
    "child.example. 3600 IN NS ns.sibling.example.",
    "child.example. 3600 IN NS ns.example.",
    "child.example. 3600 IN NS ns.elsewhere.test.",
];

#[test]
fn a_referral_has_the_servers_and_their_glue() {
    for qname in ["child.example.", "a.b.child.example.", "ns.child.example."] {
        ask(qname, "A").of(&delegating()).expect(
            "NOERROR",
            false,
            &[],
            &CHILD,
            &[
                "ns.child.example. 3600 IN A 192.0.2.2",
                "ns.child.example. 3600 IN AAAA 2001:db8::2",
                "ns.sibling.example. 3600 IN A 192.0.2.3",
                "ns.example. 3600 IN A 192.0.2.1",
            ],
        );
    }
}

#[test]
fn the_parent_answers_for_the_ds_of_a_delegated_zone() {
    let shared = delegating();
    let ds = "child.example. 3600 IN DS 1 13 2 00000000000000000000000000000000000000000000000000000000000000AA";
    ask("child.example.", "DS")
        .of(&shared)
        .expect("NOERROR", true, &[ds], &[], &[]);
    let soa = "example. 3600 IN SOA ns.example. host.example. 1 2 3 4 86400";
    ask("unsigned.example.", "DS")
        .of(&shared)
        .expect("NOERROR", true, &[], &[soa], &[]);
    // With the child held as well, the parent still answers; below it, the child does.
    let child = zone(
        "child.example.",
        "@ 60 IN SOA ns host 1 2 3 4 5
         @ 60 IN NS ns
         ns 60 IN A 192.0.2.9",
    );
    shared.update_zones(|zones| zones.with(Served::new(child.clone())));
    ask("child.example.", "DS")
        .of(&shared)
        .expect("NOERROR", true, &[ds], &[], &[]);
    ask("ns.child.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &["ns.child.example. 60 IN A 192.0.2.9"],
        &[],
        &[],
    );
    // Nobody else is there to answer for the topmost zone.
    ask("example.", "DS")
        .of(&shared)
        .expect("NOERROR", true, &[], &[soa], &[]);
}

#[test]
fn glue_that_does_not_fit_is_dropped_when_it_is_not_needed_and_truncates_when_it_is() {
    let mut lines = String::from("@ 60 IN SOA . . 1 2 3 4 5\n@ 60 IN NS ns.elsewhere.test.\n");
    for i in 0..9 {
        lines += &format!("inside 60 IN NS ns{i}.inside\nns{i}.inside 60 IN A 192.0.2.{i}\n");
        lines += &format!("ns{i}.inside 60 IN AAAA 2001:db8::{i}\n");
        lines += &format!("beside 60 IN NS ns{i}.inside\n");
    }
    let shared = ready([zone("example.", &lines)]);
    let inside = ask("x.inside.example.", "A").of(&shared);
    assert!(inside.truncated);
    assert!(inside.len <= 512);
    let beside = ask("x.beside.example.", "A").of(&shared);
    assert!(!beside.truncated);
    assert_eq!(beside.authority.len(), 9);
    assert!(beside.len <= 512 && !beside.additional.is_empty());
    let large = ask("x.inside.example.", "A").edns(1232, false).of(&shared);
    assert!(!large.truncated);
    assert_eq!(large.additional.len(), 18);
}

#[test]
fn chains_of_cnames_are_followed_through_all_zones_that_are_held() {
    let shared = ready([
        zone(
            "example.",
            "@ 60 IN SOA . . 1 2 3 4 5
             @ 60 IN NS ns.test.
             a 60 IN CNAME b
             b 60 IN CNAME c.test.
             out 60 IN CNAME www.elsewhere.invalid.
             none 60 IN CNAME nothing.test.
             nodata 60 IN CNAME c.test.
             cut 60 IN CNAME x.child.test.
             loop 60 IN CNAME pool
             pool 60 IN CNAME loop
             self 60 IN CNAME self
             * 60 IN CNAME c.test.",
        ),
        zone(
            "test.",
            "@ 60 IN SOA . . 7 2 3 4 5
             @ 60 IN NS ns
             ns 60 IN A 192.0.2.1
             c 60 IN A 192.0.2.7
             child 60 IN NS ns",
        ),
    ]);
    let soa = "test. 5 IN SOA . . 7 2 3 4 5";
    ask("a.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &[
            "a.example. 60 IN CNAME b.example.",
            "b.example. 60 IN CNAME c.test.",
            "c.test. 60 IN A 192.0.2.7",
        ],
        &[],
        &[],
    );
    ask("a.example.", "CNAME").of(&shared).expect(
        "NOERROR",
        true,
        &["a.example. 60 IN CNAME b.example."],
        &[],
        &[],
    );
    ask("out.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &["out.example. 60 IN CNAME www.elsewhere.invalid."],
        &[],
        &[],
    );
    ask("none.example.", "A").of(&shared).expect(
        "NXDOMAIN",
        true,
        &["none.example. 60 IN CNAME nothing.test."],
        &[soa],
        &[],
    );
    ask("nodata.example.", "AAAA").of(&shared).expect(
        "NOERROR",
        true,
        &["nodata.example. 60 IN CNAME c.test."],
        &[soa],
        &[],
    );
    ask("cut.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &["cut.example. 60 IN CNAME x.child.test."],
        &["child.test. 60 IN NS ns.test."],
        &["ns.test. 60 IN A 192.0.2.1"],
    );
    ask("loop.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &[
            "loop.example. 60 IN CNAME pool.example.",
            "pool.example. 60 IN CNAME loop.example.",
        ],
        &[],
        &[],
    );
    ask("self.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &["self.example. 60 IN CNAME self.example."],
        &[],
        &[],
    );
    ask("any.where.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &[
            "any.where.example. 60 IN CNAME c.test.",
            "c.test. 60 IN A 192.0.2.7",
        ],
        &[],
        &[],
    );
}

#[test]
fn a_long_chain_ends_after_sixteen() {
    let mut lines = String::from("@ 60 IN SOA . . 1 2 3 4 5\n@ 60 IN NS ns.test.\n");
    for i in 0..40 {
        lines += &format!("c{i} 60 IN CNAME c{}\n", i + 1);
    }
    let shared = ready([zone("example.", &lines)]);
    let answer = ask("c0.example.", "A").over(Transport::Tcp).of(&shared);
    assert_eq!(answer.answer.len(), 17);
    assert_eq!(answer.rcode, "NOERROR");
}

#[test]
fn dname_redirects_what_is_below_it_and_nothing_else() {
    let shared = ready([zone(
        "example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.test.
         old 60 IN DNAME new
         old 60 IN TXT here
         www.new 60 IN A 192.0.2.1
         self 60 IN DNAME self",
    )]);
    let dname = "old.example. 60 IN DNAME new.example.";
    ask("www.old.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &[
            dname,
            "www.old.example. 60 IN CNAME www.new.example.",
            "www.new.example. 60 IN A 192.0.2.1",
        ],
        &[],
        &[],
    );
    ask("www.old.example.", "CNAME").of(&shared).expect(
        "NOERROR",
        true,
        &[dname, "www.old.example. 60 IN CNAME www.new.example."],
        &[],
        &[],
    );
    ask("old.example.", "TXT").of(&shared).expect(
        "NOERROR",
        true,
        &["old.example. 60 IN TXT \"here\""],
        &[],
        &[],
    );
    ask("x.self.example.", "A").of(&shared).expect(
        "NOERROR",
        true,
        &[
            "self.example. 60 IN DNAME self.example.",
            "x.self.example. 60 IN CNAME x.self.example.",
        ],
        &[],
        &[],
    );
}

#[test]
fn a_dname_that_makes_too_long_a_name_is_yxdomain() {
    let label = "a".repeat(63);
    let shared = ready([zone(
        "example.",
        &format!(
            "@ 60 IN SOA . . 1 2 3 4 5
             @ 60 IN NS ns.test.
             d 60 IN DNAME {label}.{label}.{label}.example."
        ),
    )]);
    let answer = ask(&format!("{label}.d.example."), "A").of(&shared);
    assert_eq!(answer.rcode, "YXDOMAIN");
    assert_eq!(answer.answer.len(), 1);
}

#[test]
fn the_question_comes_back_in_its_case_and_the_data_in_theirs() {
    let shared = ready([zone(
        "Example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS NS.Example.
         WwW 60 IN CNAME Host.Else.Test.",
    )]);
    let answer = ask("wWw.eXample.", "A").of(&shared);
    assert_eq!(answer.question.as_deref(), Some("wWw.eXample. A"));
    assert_eq!(answer.answer, ["wWw.eXample. 60 IN CNAME Host.Else.Test."]);
    // Without a common name to point to, the zone's case is kept.
    let shared = ready([zone(
        "MiXed.",
        "@ 60 IN SOA nS.OtHer. . 1 2 3 4 5
         @ 60 IN NS nS.OtHer.",
    )]);
    let answer = ask("mixed.", "NS").of(&shared);
    assert_eq!(answer.answer, ["mixed. 60 IN NS nS.OtHer."]);
}

#[test]
fn a_question_for_any_type_gets_one_rrset() {
    let shared = rfc4592();
    let answer = ask("example.", "ANY").of(&shared);
    assert_eq!(answer.answer.len(), 2);
    assert!(answer.answer.iter().all(|line| line.contains(" NS ")));
    ask("none._tcp.host1.example.", "ANY")
        .of(&shared)
        .expect("NXDOMAIN", true, &[], &[SOA], &[]);
}

#[test]
fn addresses_of_named_servers_are_added_once() {
    let shared = ready([zone(
        "example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.child
         @ 60 IN MX 10 host
         @ 60 IN MX 20 HOST
         @ 60 IN MX 30 absent
         @ 60 IN MX 40 glued.child
         host 60 IN A 192.0.2.1
         child 60 IN NS ns.child
         ns.child 60 IN A 192.0.2.2
         glued.child 60 IN A 192.0.2.3
         _x._tcp 60 IN SRV 0 0 1 host
         _no._tcp 60 IN SRV 0 0 0 .
         alias 60 IN HTTPS 0 svc
         svc 60 IN HTTPS 1 . port=8443
         svc 60 IN AAAA 2001:db8::1
         far 60 IN SVCB 1 host",
    )]);
    let host = "host.example. 60 IN A 192.0.2.1";
    assert_eq!(ask("example.", "MX").of(&shared).additional, [host]);
    assert_eq!(
        ask("example.", "NS").of(&shared).additional,
        ["ns.child.example. 60 IN A 192.0.2.2"]
    );
    assert_eq!(
        ask("_x._tcp.example.", "SRV").of(&shared).additional,
        [host]
    );
    assert!(
        ask("_no._tcp.example.", "SRV")
            .of(&shared)
            .additional
            .is_empty()
    );
    assert_eq!(ask("far.example.", "SVCB").of(&shared).additional, [host]);
    let svc = "svc.example. 60 IN AAAA 2001:db8::1";
    assert_eq!(ask("svc.example.", "HTTPS").of(&shared).additional, [svc]);
    let alias = ask("alias.example.", "HTTPS").of(&shared);
    assert_eq!(alias.additional.len(), 2, "{alias:?}");
    assert!(alias.additional.contains(&svc.to_owned()));
}

#[test]
fn outside_of_all_zones_is_refused() {
    let answer = ask("elsewhere.test.", "A").edns(1232, false).of(&rfc4592());
    answer.expect("REFUSED", false, &[], &[], &[]);
    assert_eq!(answer.option(15), Some(&[0, 20][..]));
    // Of no use to those who do not speak EDNS.
    assert_eq!(ask("elsewhere.test.", "A").of(&rfc4592()).opt, None);
    ask("example.", "A")
        .class(4)
        .of(&rfc4592())
        .expect("REFUSED", false, &[], &[], &[]);
}

#[test]
fn members_alone_are_told_what_time_it_is_here_and_whether_anything_is_stuck() {
    let shared = rfc4592();
    let mut members = zonemesh_serve::Members::default();
    members.pins.insert([7; 32]);
    shared.members.store(members.into());
    shared.stuck.store(13, std::sync::atomic::Ordering::Relaxed);
    let [high, low] = HEARTBEAT.to_be_bytes();
    let asked = |version: u8| {
        ask("example.", "SOA")
            .over(Transport::Tls)
            .opt(1232, 0, false, &[high, low, 0, 1, version])
    };
    let member = asked(1).pinned([7; 32]).of(&shared);
    let mut said = vec![1];
    said.extend_from_slice(&(asking::NOW.unix * 1000 + 500).to_be_bytes());
    said.extend_from_slice(&13u16.to_be_bytes());
    assert_eq!(member.option(HEARTBEAT), Some(&said[..]));
    for other in [asked(1), asked(1).pinned([8; 32]), asked(3).pinned([7; 32])] {
        assert_eq!(other.of(&shared).option(HEARTBEAT), None);
    }
}

#[test]
fn members_alone_are_told_what_is_held_here() {
    let shared = rfc4592();
    let mut members = zonemesh_serve::Members::default();
    members.pins.insert([7; 32]);
    shared.members.store(members.into());
    let mut inventory = Inventory::default();
    inventory.put(Holding {
        apex: name("example."),
        serial: zonemesh_zone::Serial(5),
        digest: zonemesh_zone::Digest::from_octets([9; 16]),
        authentic: true,
    });
    shared.inventory.store(inventory.clone().into());
    let [high, low] = HEARTBEAT.to_be_bytes();
    let asked = |what: Asked| {
        let data = what.compose();
        let option = [&[high, low, 0, data.len() as u8][..], &data].concat();
        ask("example.", "SOA").opt(1232, 0, false, &option)
    };
    let over_tls = |what| asked(what).over(Transport::Tls);
    let sum = over_tls(Asked::Sum).pinned([7; 32]).of(&shared);
    let expected = compose_sum(inventory.sum());
    assert_eq!(sum.option(HEARTBEAT), Some(&expected[..]));
    let section = Asked::Section(Section::ALL);
    let listed = over_tls(section).pinned([7; 32]).of(&shared);
    let (about, listing) = Listing::parse(listed.option(HEARTBEAT).unwrap()).unwrap();
    assert_eq!(
        (about, listing),
        (Section::ALL, inventory.list(Section::ALL))
    );
    for other in [
        over_tls(Asked::Sum),
        over_tls(section).pinned([8; 32]),
        // A listing is too long for UDP.
        asked(section).pinned([7; 32]),
    ] {
        assert_eq!(other.of(&shared).option(HEARTBEAT), None);
    }
}

#[test]
fn only_members_see_the_directory() {
    let shared = rfc4592();
    let directory = zone(
        "dns.example.",
        "@ 60 IN SOA . . 1 2 3 4 5
         @ 60 IN NS ns.test.
         site-a 60 IN A 192.0.2.1",
    );
    shared.update_zones(|zones| {
        zones.with(Served::new(directory.clone()).with_access(Access::Members))
    });
    let mut members = zonemesh_serve::Members::default();
    members.pins.insert([7; 32]);
    shared.members.store(members.into());
    let question = ask("site-a.dns.example.", "A").over(Transport::Tls);
    question.of(&shared).expect("REFUSED", false, &[], &[], &[]);
    question
        .clone()
        .pinned([8; 32])
        .of(&shared)
        .expect("REFUSED", false, &[], &[], &[]);
    let expected = ["site-a.dns.example. 60 IN A 192.0.2.1"];
    let member = question.clone().pinned([7; 32]);
    member
        .of(&shared)
        .expect("NOERROR", true, &expected, &[], &[]);
    // Or who has proved it to the control side.
    let mut out = Vec::new();
    let outcome = shared.answer_member(
        &question.message,
        &question.client,
        Moment::default(),
        &mut out,
    );
    assert_eq!(outcome, Outcome::Reply);
    assert_eq!(asking::Answer::read(&out).answer, expected);
    // Also while the site is not ready, or the mesh could not start.
    shared.set_ready(false);
    member
        .of(&shared)
        .expect("NOERROR", true, &expected, &[], &[]);
}

#[test]
fn a_site_that_is_not_ready_says_nothing_at_all() {
    let shared = rfc4592();
    shared.set_ready(false);
    for qname in [
        "host1.example.",
        "nothing.host1.example.",
        "elsewhere.test.",
    ] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let (outcome, _) = ask(qname, "A").over(transport).outcome(&shared);
            assert_eq!(outcome, Outcome::Close, "{qname}");
        }
    }
}

#[test]
fn a_zone_that_is_not_held_or_expired_is_servfail() {
    let shared = rfc4592();
    shared.update_zones(|zones| {
        let expired = zones.get(&name("example.")).cloned().unwrap();
        zones
            .with(Served::missing(name("missing.test.")))
            .with(Served {
                expired: true,
                ..expired
            })
    });
    let missing = ask("a.missing.test.", "A").edns(1232, false).of(&shared);
    missing.expect("SERVFAIL", false, &[], &[], &[]);
    assert_eq!(missing.option(15), Some(&[0, 14][..]));
    let expired = ask("host1.example.", "A").edns(1232, false).of(&shared);
    expired.expect("SERVFAIL", false, &[], &[], &[]);
    assert_eq!(expired.option(15), Some(&[0, 24][..]));
}

#[test]
fn chaos_names_are_told_only_when_configured() {
    let shared = rfc4592();
    let version = ask("VERSION.bind.", "TXT").class(3);
    version.of(&shared).expect("REFUSED", false, &[], &[], &[]);
    shared.settings.store(
        Settings {
            version: Some("zonemesh".into()),
            ..Settings::default()
        }
        .into(),
    );
    let (outcome, out) = version.outcome(&shared);
    assert_eq!(outcome, Outcome::Reply);
    assert_eq!(out[3] & 15, 0);
    assert!(out.ends_with(b"\x09\x08zonemesh"), "{}", out.escape_ascii());
    let identity = ask("id.server.", "TXT").class(3);
    identity.of(&shared).expect("REFUSED", false, &[], &[], &[]);
}

#[test]
fn what_is_no_plain_query_goes_to_the_control_side() {
    let shared = rfc4592();
    let question = ask("example.", "SOA");
    for opcode in [4, 5] {
        let (outcome, _) = question.clone().header(2, opcode << 3).outcome(&shared);
        assert_eq!(outcome, Outcome::Control);
    }
    for qtype in ["AXFR", "IXFR"] {
        assert_eq!(ask("example.", qtype).outcome(&shared).0, Outcome::Control);
    }
    let mut signed = question.clone();
    signed.message[11] = 1;
    signed
        .message
        .extend_from_slice(&[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
    assert_eq!(signed.outcome(&shared).0, Outcome::Control);
    let (outcome, _) = question.clone().header(2, 0x80).outcome(&shared);
    assert_eq!(outcome, Outcome::Drop);
    question
        .clone()
        .header(2, 2 << 3)
        .of(&shared)
        .expect("NOTIMP", false, &[], &[], &[]);
}

#[test]
fn malformed_messages_are_format_errors() {
    let shared = rfc4592();
    let good = ask("example.", "SOA");
    let mut cases = vec![
        ("no question", good.clone().header(5, 0)),
        ("two questions", good.clone().header(5, 2)),
        ("an answer", good.clone().header(7, 1)),
        ("an authority", good.clone().header(9, 1)),
        ("a missing additional", good.clone().header(11, 1)),
        ("two OPT", good.clone().edns(1232, false).edns(1232, false)),
        (
            "an option that ends too early",
            good.clone().opt(1232, 0, false, &[0, 3, 0, 9, 1]),
        ),
        (
            "a cookie of nine octets",
            good.clone().opt(1232, 0, false, b"\0\x0a\0\x09123456789"),
        ),
    ];
    let mut trailing = good.clone();
    trailing.message.push(0);
    cases.push(("trailing octets", trailing));
    let mut pointer = good.clone();
    pointer.message.splice(12..21, [0xC0, 12]);
    cases.push(("a pointer as name", pointer));
    for (what, case) in cases {
        assert_eq!(case.of(&shared).rcode, "FORMERR", "{what}");
    }
    let mut short = good;
    short.message.truncate(11);
    assert_eq!(short.outcome(&shared).0, Outcome::Drop);
}

#[test]
fn edns_in_every_corner() {
    let shared = rfc4592();
    shared.settings.store(
        Settings {
            nsid: Some(b"site-a".to_vec()),
            cookies: Some(zonemesh_serve::CookieSecrets {
                current: [1; 16],
                previous: None,
            }),
            ..Settings::default()
        }
        .into(),
    );
    let question = ask("host1.example.", "A");
    let bad = question.clone().opt(1232, 1, true, &[1, 2, 3]).of(&shared);
    assert_eq!(bad.rcode, "BADVERS");
    assert!(bad.answer.is_empty());
    let plain = question.clone().edns(4096, true).of(&shared);
    assert_eq!(plain.opt.as_ref().map(|opt| opt.payload), Some(1232));
    assert!(plain.opt.as_ref().is_some_and(|opt| opt.dnssec));
    assert_eq!(plain.option(3), None);
    // Unknown options are passed over, before and after known ones.
    let options = b"\xFF\xF0\0\x02xx\0\x03\0\0\0\x0a\0\x0812345678\xFF\xF1\0\0\0\x0b\0\0";
    let known = question.clone().opt(1232, 0, false, options).of(&shared);
    assert_eq!(known.option(3), Some(&b"site-a"[..]));
    assert_eq!(known.option(10).map(<[u8]>::len), Some(24));
    assert!(known.option(10).unwrap().starts_with(b"12345678"));
    assert_eq!(known.option(11), None, "no keepalive over UDP");
    let tcp = question
        .clone()
        .over(Transport::Tcp)
        .opt(1232, 0, false, options)
        .of(&shared);
    assert_eq!(tcp.option(11), Some(&300u16.to_be_bytes()[..]));
    // A cookie may be fetched without a question.
    let mut fetch = ask("x.", "A").opt(1232, 0, false, b"\0\x0a\0\x0812345678");
    fetch.message.drain(12..19);
    fetch.message[5] = 0;
    let fetched = fetch.of(&shared);
    assert_eq!(fetched.rcode, "NOERROR");
    assert_eq!(fetched.question, None);
    assert_eq!(fetched.option(10).map(<[u8]>::len), Some(24));
    // In any order, and the first of two cookies.
    let options = [
        &b"\0\x0c\0\x01\0"[..],
        b"\0\x0a\0\x0812345678",
        b"\0\x0f\0\x02\0\x09",
        b"\0\x03\0\0",
        b"\0\x0a\0\x0887654321",
    ];
    for turn in 0..options.len() {
        let mut turned = options;
        turned.rotate_left(turn);
        let answer = question
            .clone()
            .opt(1232, 0, false, &turned.concat())
            .of(&shared);
        assert_eq!(answer.answer.len(), 1);
        assert_eq!(answer.option(3), Some(&b"site-a"[..]));
        let cookie = answer.option(10).unwrap();
        let first = match turn {
            0 | 1 => b"12345678",
            _ => b"87654321",
        };
        assert_eq!((cookie.len(), &cookie[..8]), (24, &first[..]), "{turn}");
        assert_eq!(answer.option(15), None);
    }
    // Padding only where nobody can read the rest.
    let padding = b"\0\x0c\0\0";
    let padded = question
        .clone()
        .over(Transport::Tls)
        .opt(1232, 0, false, padding)
        .of(&shared);
    assert_eq!(padded.len, 468);
    let bare = question
        .over(Transport::Tcp)
        .opt(1232, 0, false, padding)
        .of(&shared);
    assert!(bare.len < 468);
}

#[test]
fn flags_of_edns_that_nobody_knows_are_ignored_and_not_sent_back() {
    let shared = rfc4592();
    for (dnssec, last) in [(false, 0x7F), (true, 0x7F), (true, 0)] {
        let mut question = ask("host1.example.", "A").edns(1232, dnssec);
        // The flags, before the length of the data.
        let at = question.message.len() - 4;
        question.message[at] |= last;
        question.message[at + 1] = 0xFF;
        let answer = question.of(&shared);
        assert_eq!((answer.rcode.as_str(), answer.answer.len()), ("NOERROR", 1));
        let opt = answer.opt.unwrap();
        assert_eq!((opt.version, opt.dnssec, opt.flags), (0, dnssec, 0));
    }
}

#[test]
fn errors_have_an_opt_record_where_the_message_has_one_that_can_be_read() {
    let shared = rfc4592();
    shared.settings.store(
        Settings {
            nsid: Some(b"site-a".to_vec()),
            ..Settings::default()
        }
        .into(),
    );
    let good = ask("example.", "SOA");
    let nsid = &[0, 3, 0, 0];
    let with = good.clone().opt(1232, 0, true, nsid);
    let mut trailing = with.clone();
    trailing.message.push(0);
    let mut cut = with.clone();
    cut.message.truncate(cut.message.len() - 1);
    let mut header = with.clone();
    header.message.truncate(header.message.len() - 5);
    for (what, case, rcode, told) in [
        (
            "an opcode",
            with.clone().header(2, 2 << 3),
            "NOTIMP",
            Some(true),
        ),
        ("an answer", with.clone().header(7, 1), "FORMERR", None),
        ("trailing octets", trailing, "FORMERR", Some(true)),
        (
            "two OPT",
            with.clone().edns(1232, false),
            "FORMERR",
            Some(true),
        ),
        (
            "an option that ends too early",
            good.clone().opt(1232, 0, true, &[0, 3, 0, 9, 1]),
            "FORMERR",
            Some(false),
        ),
        ("options that end too early", cut, "FORMERR", Some(false)),
        ("an OPT record that ends too early", header, "FORMERR", None),
        (
            "another version",
            good.clone().opt(1232, 1, true, nsid),
            "BADVERS",
            Some(false),
        ),
        ("no OPT", good.clone().header(2, 2 << 3), "NOTIMP", None),
        ("no OPT", good.clone().header(7, 1), "FORMERR", None),
    ] {
        let answer = case.of(&shared);
        assert_eq!(answer.rcode, rcode, "{what}");
        let opt = answer.opt.as_ref();
        assert_eq!(opt.map(|_| answer.option(3).is_some()), told, "{what}");
        assert!(
            opt.is_none_or(|opt| opt.payload == 1232 && opt.version == 0 && opt.dnssec),
            "{what}: {answer:?}"
        );
    }
}

#[test]
fn the_time_to_expiry_is_told_who_asks() {
    let shared = rfc4592();
    let question = ask("example.", "SOA").opt(1232, 0, false, &[0, 9, 0, 0]);
    // A primary tells the SOA's value.
    assert_eq!(question.of(&shared).option(9), Some(&[0, 0, 0, 4][..]));
    shared.update_zones(|zones| {
        let served = zones.get(&name("example.")).cloned().unwrap();
        zones.with(Served {
            expiry: Expiry::at(asking::NOW.since_boot + Duration::from_millis(77_900)),
            ..served
        })
    });
    assert_eq!(question.of(&shared).option(9), Some(&[0, 0, 0, 77][..]));
    let zones = shared.zones.load();
    let expiry = &zones.get(&name("example.")).unwrap().expiry;
    expiry.set(asking::NOW.since_boot + Duration::from_secs(76));
    assert_eq!(question.of(&shared).option(9), Some(&[0, 0, 0, 76][..]));
    expiry.set(asking::NOW.since_boot - Duration::from_secs(1));
    assert_eq!(question.of(&shared).option(9), Some(&[0, 0, 0, 0][..]));
}

#[test]
fn an_answer_that_does_not_fit_is_truncated_to_the_limit_of_the_client() {
    let mut lines = String::from("@ 60 IN SOA . . 1 2 3 4 5\n@ 60 IN NS ns.test.\n");
    for i in 0..100 {
        lines += &format!("big 60 IN A 192.0.2.{i}\n");
    }
    let shared = ready([zone("example.", &lines)]);
    let question = ask("big.example.", "A");
    for (case, limit) in [
        (question.clone(), 512),
        (question.clone().edns(100, false), 512),
        (question.clone().edns(1000, false), 1000),
        (question.clone().edns(65535, false), 1232),
    ] {
        let answer = case.of(&shared);
        assert!(answer.truncated && answer.len <= limit, "{answer:?}");
        assert!(answer.answer.is_empty());
    }
    let whole = question.over(Transport::Tcp).of(&shared);
    assert!(!whole.truncated);
    assert_eq!(whole.answer.len(), 100);
}

#[test]
fn a_signed_zone_proves_what_it_denies() {
    let sig = |covers: &str| {
        format!("60 IN RRSIG {covers} 13 1 60 20300101000000 20200101000000 1 example. AAAA")
    };
    let shared = ready([zone(
        "example.",
        &format!(
            "@ 60 IN SOA . . 1 2 3 4 5
             @ {soa}
             @ 60 IN NS ns.test.
             @ 60 IN NSEC a NS SOA RRSIG NSEC
             @ {nsec}
             a 60 IN A 192.0.2.1
             a {a}
             a 60 IN NSEC *.w A RRSIG NSEC
             a {nsec}
             *.w 60 IN TXT wild
             *.w {txt}
             *.w 60 IN NSEC z TXT RRSIG NSEC
             *.w {nsec}
             z 60 IN NS ns.z
             ns.z 60 IN A 192.0.2.9
             z 60 IN NSEC example. NS RRSIG NSEC
             z {nsec}",
            soa = sig("SOA"),
            nsec = sig("NSEC"),
            a = sig("A"),
            txt = sig("TXT"),
        ),
    )]);
    let types = |lines: &[String]| -> Vec<String> {
        let mut types: Vec<String> = lines
            .iter()
            .map(|line| {
                let mut words = line.split(' ');
                let owner = words.next().unwrap();
                let rtype = words.nth(2).unwrap();
                format!("{owner} {rtype}")
            })
            .filter(|line| !line.ends_with("RRSIG"))
            .collect();
        types.sort();
        types
    };
    let dnssec = |qname: &str, qtype: &str| {
        ask(qname, qtype)
            .over(Transport::Tcp)
            .edns(1232, true)
            .of(&shared)
    };
    let positive = dnssec("a.example.", "A");
    assert_eq!(positive.answer.len(), 2);
    assert!(positive.answer[1].contains("RRSIG A "));
    assert_eq!(ask("a.example.", "A").of(&shared).answer.len(), 1);
    let nxdomain = dnssec("b.example.", "A");
    assert_eq!(
        types(&nxdomain.authority),
        ["a.example. NSEC", "example. NSEC", "example. SOA"]
    );
    assert_eq!(nxdomain.authority.len(), 6, "each with its signature");
    let nodata = dnssec("a.example.", "AAAA");
    assert_eq!(
        types(&nodata.authority),
        ["a.example. NSEC", "example. SOA"]
    );
    let empty = dnssec("w.example.", "A");
    assert_eq!(types(&empty.authority), ["a.example. NSEC", "example. SOA"]);
    let wild = dnssec("x.w.example.", "TXT");
    assert_eq!(types(&wild.answer), ["x.w.example. TXT"]);
    assert_eq!(types(&wild.authority), ["*.w.example. NSEC"]);
    let wild_nodata = dnssec("x.w.example.", "A");
    assert_eq!(
        types(&wild_nodata.authority),
        ["*.w.example. NSEC", "example. SOA"]
    );
    // Glue has no NSEC; that of the zone cut covers.
    let after_glue = dnssec("zz.example.", "A");
    assert_eq!(
        types(&after_glue.authority),
        ["example. NSEC", "example. SOA", "z.example. NSEC"]
    );
    let referral = dnssec("q.z.example.", "A");
    assert_eq!(
        types(&referral.authority),
        ["z.example. NS", "z.example. NSEC"]
    );
    assert_eq!(types(&referral.additional), ["ns.z.example. A"]);
}

#[test]
fn the_buffer_is_cleared_before_it_is_written() {
    let shared = rfc4592();
    let mut out = vec![9; 100];
    let question = ask("host1.example.", "A");
    shared.view(Moment::default(), |view| {
        answer(&question.message, &client(Transport::Udp), view, &mut out)
    });
    assert_eq!(out[..2], [0x12, 0x34]);
    asking::Answer::read(&out);
}

#[test]
fn the_root_zone_is_a_zone_like_any_other() {
    let shared = ready([zone(
        ".",
        "@ 60 IN SOA a.root. host. 1 2 3 4 5
         @ 60 IN NS a.root.
         a.root. 60 IN A 192.0.2.1
         com. 60 IN NS ns.com.
         ns.com. 60 IN A 192.0.2.2",
    )]);
    ask(".", "NS").of(&shared).expect(
        "NOERROR",
        true,
        &[". 60 IN NS a.root."],
        &[],
        &["a.root. 60 IN A 192.0.2.1"],
    );
    ask("www.example.com.", "A").of(&shared).expect(
        "NOERROR",
        false,
        &[],
        &["com. 60 IN NS ns.com."],
        &["ns.com. 60 IN A 192.0.2.2"],
    );
    ask("nothing.", "A").of(&shared).expect(
        "NXDOMAIN",
        true,
        &[],
        &[". 5 IN SOA a.root. host. 1 2 3 4 5"],
        &[],
    );
}

#[test]
fn names_of_the_greatest_length_and_of_any_octets_are_answered() {
    let long = [63, 63, 63, 49].map(|len| "\\001".repeat(len)).join(".");
    let shared = ready([zone(
        "example.",
        &format!(
            "@ 60 IN SOA . . 1 2 3 4 5
             @ 60 IN NS ns.test.
             {long} 60 IN A 192.0.2.1"
        ),
    )]);
    let answer = ask(&format!("{long}.example."), "A").of(&shared);
    assert_eq!(answer.answer.len(), 1);
    let parent = long.split_once('.').unwrap().1;
    let other = ask(&format!("\\002.{parent}.example."), "A").of(&shared);
    assert_eq!(other.rcode, "NXDOMAIN");
    let empty = ask(&format!("{parent}.example."), "A").of(&shared);
    assert_eq!((empty.rcode.as_str(), empty.answer.len()), ("NOERROR", 0));
}

#[test]
fn long_answers_over_streams_are_whole_or_truncated() {
    let zone_of = |count: usize| {
        let mut lines = String::from("@ 60 IN SOA . . 1 2 3 4 5\n@ 60 IN NS ns.test.\n");
        for i in 0..count {
            lines += &format!("@ 60 IN MX {i} host{i}.sub{}.example.\n", i % 100);
        }
        for i in 0..count {
            lines += &format!("host{i}.sub{} 60 IN A 192.0.2.{}\n", i % 100, i % 250);
        }
        ready([zone("example.", &lines)])
    };
    // Names beyond what a pointer reaches are written in full.
    let whole = ask("example.", "MX")
        .over(Transport::Tcp)
        .of(&zone_of(1500));
    assert!(!whole.truncated && whole.len > 0x4000, "{}", whole.len);
    assert_eq!(whole.answer.len(), 1500);
    assert_eq!(whole.additional.len(), 16);
    let cut = ask("example.", "MX")
        .over(Transport::Tcp)
        .of(&zone_of(4000));
    assert!(cut.truncated && cut.answer.is_empty());
}

/// As `zonemesh_transfer::query::HEARTBEAT` has it; this crate does not depend on that one.
const HEARTBEAT: u16 = 65_453;
