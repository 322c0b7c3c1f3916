use super::*;
use crate::file;
use crate::record::parse_name;

const TOP: &str = "$TTL 3600\n\
    @ IN SOA ns1 root 1 3600 600 604800 300\n\
    @ NS ns1\n\
    ns1 A 192.0.2.1\n\
    alias CNAME ns1\n";

fn findings(text: &str) -> Vec<Finding> {
    let apex = parse_name("example.com").unwrap();
    let loaded = file::read(&mut |_| Ok(text.as_bytes().to_vec()), "x.zone", Some(&apex));
    assert_eq!(
        loaded.zone.is_none(),
        loaded.findings.iter().any(Finding::is_error),
        "there is a zone exactly when there is no error"
    );
    loaded.findings
}

use Severity::{Error, Warning};

/// Text behind [`TOP`], and what must be said of it.
const TABLE: &[(&str, Severity, Kind, &str, Rtype)] = &[
    (
        "www CNAME ns1\nwww TXT x",
        Error,
        Kind::Cname,
        "CNAME and other data (TXT)",
        Rtype::CNAME,
    ),
    (
        "www CNAME ns1\nwww CNAME alias",
        Error,
        Kind::Cname,
        "2 CNAME records",
        Rtype::CNAME,
    ),
    (
        "@ CNAME a.test.",
        Error,
        Kind::Cname,
        "CNAME and other data",
        Rtype::CNAME,
    ),
    (
        "d DNAME a.test.\nd DNAME b.test.",
        Error,
        Kind::Dname,
        "2 DNAME records",
        Rtype::DNAME,
    ),
    (
        "d DNAME a.test.\nx.y.d A 192.0.2.1",
        Error,
        Kind::Dname,
        "below the DNAME at d.example.com",
        Rtype::A,
    ),
    (
        "d DNAME a.test.\nd NS a.test.",
        Error,
        Kind::Dname,
        "DNAME and NS",
        Rtype::DNAME,
    ),
    (
        "d DNAME a.test.\nd CNAME a.test.",
        Error,
        Kind::Cname,
        "other data (DNAME)",
        Rtype::CNAME,
    ),
    (
        "@ NS alias",
        Error,
        Kind::Ns,
        "alias.example.com is an alias",
        Rtype::NS,
    ),
    (
        "@ NS nowhere",
        Error,
        Kind::Ns,
        "nowhere.example.com is in this zone and has no address",
        Rtype::NS,
    ),
    (
        "sub NS ns.sub",
        Error,
        Kind::Glue,
        "ns.sub.example.com is within what is delegated",
        Rtype::NS,
    ),
    (
        "sub NS sub",
        Error,
        Kind::Glue,
        "within what is delegated",
        Rtype::NS,
    ),
    (
        "sub NS nowhere",
        Warning,
        Kind::Glue,
        "nowhere.example.com is in this zone",
        Rtype::NS,
    ),
    (
        "a NS b.test.\nsub NS ns.a",
        Warning,
        Kind::Glue,
        "ns.a.example.com is in this zone",
        Rtype::NS,
    ),
    (
        "sub NS alias",
        Warning,
        Kind::Target,
        "alias.example.com is an alias",
        Rtype::NS,
    ),
    ("@ DS 1 8 2 ABCD", Error, Kind::Ds, "own apex", Rtype::DS),
    (
        "x DS 1 8 2 ABCD",
        Warning,
        Kind::Ds,
        "not delegated",
        Rtype::DS,
    ),
    (
        "@ MX 10 alias",
        Warning,
        Kind::Target,
        "alias.example.com is an alias",
        Rtype::MX,
    ),
    (
        "@ MX 10 nowhere",
        Warning,
        Kind::Target,
        "has no address",
        Rtype::MX,
    ),
    (
        "d DNAME a.test.\n@ MX 10 x.d",
        Warning,
        Kind::Target,
        "x.d.example.com is an alias",
        Rtype::MX,
    ),
    (
        "_x._tcp SRV 1 1 1 alias",
        Warning,
        Kind::Target,
        "is an alias",
        Rtype::SRV,
    ),
    (
        "*.w CNAME ns1\n@ MX 10 x.w",
        Warning,
        Kind::Target,
        "x.w.example.com is an alias",
        Rtype::MX,
    ),
    (
        "* NS a.test.",
        Warning,
        Kind::Wildcard,
        "NS at a wildcard",
        Rtype::NS,
    ),
    (
        "sub NS a.test.\nx.sub TXT x",
        Warning,
        Kind::Occluded,
        "below the delegation of sub.example.com",
        Rtype::TXT,
    ),
    (
        "sub NS a.test.\nsub TXT x",
        Warning,
        Kind::Occluded,
        "at the delegation",
        Rtype::TXT,
    ),
    (
        "a_b A 192.0.2.1",
        Warning,
        Kind::HostName,
        "not a host name",
        Rtype::A,
    ),
    (
        "a- AAAA ::1",
        Warning,
        Kind::HostName,
        "hyphen",
        Rtype::AAAA,
    ),
    (
        "www.example.net. A 192.0.2.1",
        Warning,
        Kind::OutOfZone,
        "outside of the zone example.com",
        Rtype::A,
    ),
    ("ns1 60 A 192.0.2.2", Warning, Kind::Ttl, "TTL 60", Rtype::A),
];

#[test]
fn each_rule_is_reported_once_with_its_severity_and_place() {
    for (text, severity, kind, words, rtype) in TABLE {
        let findings = findings(&format!("{TOP}{text}"));
        let [finding] = &findings[..] else {
            panic!("{text}: {findings:#?}");
        };
        assert_eq!(
            (finding.severity, finding.kind, finding.rtype),
            (*severity, *kind, Some(*rtype)),
            "{text}: {finding}"
        );
        assert!(finding.message.contains(words), "{text}: {finding}");
        assert!(
            finding.line.is_some() && finding.column.is_some(),
            "{text}: {finding}"
        );
    }
}

#[test]
fn what_is_in_order_is_let_pass() {
    for text in [
        "",
        "sub NS ns.sub\nns.sub A 192.0.2.1\nsub DS 1 8 2 ABCD",
        "a NS ns.a\nns.a AAAA ::1\nb NS ns.a",
        "d DNAME a.test.\nd TXT x",
        "* A 192.0.2.1\n@ MX 10 anything\n_x._tcp SRV 1 1 1 other.thing",
        "@ MX 0 .\n_x._tcp SRV 0 0 0 .",
        "www CNAME ns1\nwww RRSIG CNAME 8 3 60 20300101000000 20200101000000 1 @ AAAA\nwww NSEC @ CNAME",
        "@ MX 10 mail.example.net.",
        "_dmarc TXT x\n*.w AAAA ::1",
        "empty.non-terminal TXT x",
        "sub NS sub\nsub A 192.0.2.1",
        "ns1 A 192.0.2.1",
    ] {
        let findings = findings(&format!("{TOP}{text}"));
        assert!(findings.is_empty(), "{text}: {findings:#?}");
    }
}

#[test]
fn a_zone_without_name_servers_is_refused() {
    let findings = findings("@ 60 SOA ns.test. root 1 3600 600 604800 300");
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].is_error() && findings[0].kind == Kind::Ns,
        "{findings:?}"
    );
}

#[test]
fn nsec3_below_a_dname_at_the_apex_is_let_pass() {
    let findings = findings(
        "$TTL 60\n@ SOA ns.test. root 1 3600 600 604800 300\n@ NS ns.test.\n@ DNAME a.test.\n\
         0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A\n",
    );
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn times_of_the_soa_that_do_not_fit_together_are_doubtful() {
    for (times, words) in [
        (
            "3600 600 4000 300",
            "expire (4000 s) is shorter than refresh and retry",
        ),
        (
            "3600 7200 604800 300",
            "retry (7200 s) is longer than refresh",
        ),
        (
            "3600 600 604800 86401",
            "minimum (86401 s) is longer than a day",
        ),
        ("3600 0 604800 300", "retry is 0"),
    ] {
        let text = format!("@ 60 SOA ns.test. root 1 {times}\n@ 60 NS ns.test.");
        let findings = findings(&text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].severity, Warning);
        assert!(findings[0].message.contains(words), "{}", findings[0]);
        assert_eq!((findings[0].line, findings[0].column), (Some(1), Some(1)));
    }
}
