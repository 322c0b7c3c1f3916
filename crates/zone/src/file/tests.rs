use std::collections::HashMap;
use std::io;

use super::*;
use crate::record::parse_name;

mod errors;
mod property;
mod root;

/// Reads `zones/main.zone` out of a table of files.
fn read_files(files: &[(&str, &str)], apex: Option<&str>) -> Loaded {
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    let apex = apex.map(|apex| parse_name(apex).unwrap());
    read(
        &mut |path| {
            files
                .get(path)
                .map(|text| text.as_bytes().to_vec())
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        },
        "zones/main.zone",
        apex.as_ref(),
    )
}

fn read_text(text: &str) -> Loaded {
    read_files(&[("zones/main.zone", text)], Some("example.com"))
}

fn written(zone: &Zone) -> String {
    let mut out = Vec::new();
    write(zone, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The lines that come of records in the zone example.com, without those of [`TOP`].
fn lines(text: &str) -> Vec<String> {
    let loaded = read_text(&format!("{TOP}{text}"));
    let zone = loaded.zone.unwrap_or_else(|| {
        panic!("{text}\n{:?}", loaded.findings);
    });
    let top = written(&read_text(TOP).zone.unwrap());
    written(&zone)
        .lines()
        .filter(|line| !top.lines().any(|known| known == *line))
        .map(str::to_owned)
        .collect()
}

const TOP: &str = "$TTL 3600\n@ IN SOA ns1 root 1 3600 600 604800 300\n@ NS ns1\nns1 A 192.0.2.1\n";

#[test]
fn a_plain_zone_file_is_read_and_written() {
    let loaded = read_text(TOP);
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    assert_eq!(loaded.records, 3);
    assert_eq!(
        written(&loaded.zone.unwrap()),
        "example.com. 3600 IN SOA ns1.example.com. root.example.com. 1 3600 600 604800 300\n\
         example.com. 3600 IN NS ns1.example.com.\n\
         ns1.example.com. 3600 IN A 192.0.2.1\n"
    );
}

#[test]
fn ttl_class_and_type_may_be_in_any_case_and_order() {
    for text in [
        "www 1h IN A 192.0.2.7",
        "www IN 1h A 192.0.2.7",
        "www 3600 A 192.0.2.7",
        "www in a 192.0.2.7 ; a comment",
        "WWW.Example.COM. CLASS1 TYPE1 192.0.2.7",
        "www A \\# 4 C0000207",
        "www TYPE1 \\# 4 c0 00 02 07",
        "www (\n 60m ; an hour\n IN\n) A (192.0.2.7)",
        "$ORIGIN com.\nwww.example 1H A 192.0.2.7",
        "www A 192.0.2.7\r\n",
        "www\tA\t192.0.2.7\nwww A 192.0.2.7",
    ] {
        let lines = lines(text);
        assert!(
            lines.len() == 1
                && lines[0].eq_ignore_ascii_case("www.example.com. 3600 IN A 192.0.2.7"),
            "{text}: {lines:?}"
        );
    }
}

#[test]
fn a_missing_owner_is_that_of_the_record_before() {
    assert_eq!(
        lines("www A 192.0.2.7\n  TXT hello\n\n; nothing\n\tAAAA 2001:db8::1\n"),
        [
            "www.example.com. 3600 IN A 192.0.2.7",
            "www.example.com. 3600 IN TXT \"hello\"",
            "www.example.com. 3600 IN AAAA 2001:db8::1",
        ]
    );
}

#[test]
fn names_may_have_any_octet() {
    let label = "x".repeat(63);
    let long = format!("{label}.{label}.{label}.{}.", "y".repeat(61));
    for (written, read) in [
        ("a\\.b", "a\\.b.example.com."),
        ("a\\046b", "a\\.b.example.com."),
        ("\\097", "a.example.com."),
        ("a\\ b", "a\\032b.example.com."),
        ("\"a b\"", "a\\032b.example.com."),
        ("\\000\\255\\007", "\\000\\255\\007.example.com."),
        ("\\@", "\\@.example.com."),
        ("\\$x", "\\$x.example.com."),
        ("\\;\\(\\)\\\"\\\\", "\\;\\(\\)\\\"\\\\.example.com."),
        ("*", "*.example.com."),
        (&label, &format!("{label}.example.com.")),
    ] {
        assert_eq!(
            lines(&format!("{written} TXT x")),
            [format!("{read} 3600 IN TXT \"x\"")],
            "{written}"
        );
        assert_eq!(
            lines(&format!("cname CNAME {written}")),
            [format!("cname.example.com. 3600 IN CNAME {read}")],
            "{written}"
        );
    }
    assert_eq!(
        lines(&format!("cname CNAME {long}")),
        [format!("cname.example.com. 3600 IN CNAME {long}")]
    );
    assert_eq!(
        lines("p 60 PTR .\nq PTR @"),
        [
            "p.example.com. 60 IN PTR .",
            "q.example.com. 3600 IN PTR example.com."
        ]
    );
}

#[test]
fn strings_may_have_any_octet_and_many_of_them() {
    let long = "z".repeat(255);
    assert_eq!(
        lines(&format!(
            "a TXT \"a;b (c) \\\"d\\\" \\\\ \\009\" plain \"\" {long}\nb TXT \"ü\" \"x\"\"y\""
        )),
        [
            format!(
                "a.example.com. 3600 IN TXT \"a;b (c) \\\"d\\\" \\\\ \\009\" \"plain\" \"\" \"{long}\""
            ),
            "b.example.com. 3600 IN TXT \"\\195\\188\" \"x\" \"y\"".to_owned(),
        ]
    );
}

#[test]
fn a_ttl_is_given_or_by_directive_or_that_of_the_record_before_or_the_minimum() {
    let ttls = |text: &str| -> Vec<u32> {
        let loaded = read_text(text);
        let zone = loaded
            .zone
            .unwrap_or_else(|| panic!("{:?}", loaded.findings));
        zone.rrsets().map(|(_, set)| set.ttl().as_secs()).collect()
    };
    let soa = "@ SOA ns1.example.net. root 1 3600 600 604800 300\n";
    assert_eq!(ttls(&format!("$TTL 1h\n{soa}@ NS a.test.")), [3600, 3600]);
    assert_eq!(
        ttls(&format!("7200 {soa}@ NS a.test.").replace("7200 @", "@ 7200")),
        [7200, 7200]
    );
    assert_eq!(
        ttls(&format!("{soa}@ NS a.test.\nx 5 TXT x")),
        [300, 300, 5]
    );
    assert_eq!(
        ttls(&format!("$TTL 9\n{soa}@ 5 NS a.test.\nx TXT x")),
        [5, 9, 9]
    );
}

#[test]
fn the_first_ttl_of_an_rrset_holds_for_all() {
    for text in [
        "x 5 TXT a\nx 6 TXT b\nx 7 TXT c",
        "x 5 TXT a\ny 1 TXT z\nx 6 TXT b",
    ] {
        let loaded = read_text(&format!("{TOP}{text}"));
        let warning = loaded.findings[0].to_string();
        assert!(
            warning.contains(
                "warning: zone example.com: x.example.com TXT: TTL 6 where the RRset has 5"
            ),
            "{warning}"
        );
        assert_eq!(loaded.findings.len(), 1);
        let name = parse_name("x.example.com").unwrap();
        let zone = loaded.zone.unwrap();
        let ttl = zone.rrset(&name, crate::Rtype::TXT).unwrap().ttl();
        assert_eq!(ttl.as_secs(), 5);
    }
}

#[test]
fn the_apex_may_be_that_of_the_soa() {
    let text = "$ORIGIN example.org.\nwww 60 A 192.0.2.1\n@ 60 SOA www root 1 2 1 4 5\n@ 60 NS www\nwww.example.com. 60 A 192.0.2.1\n";
    let loaded = read_files(&[("zones/main.zone", text)], None);
    let zone = loaded.zone.expect("no error");
    assert_eq!(zone.apex().to_string(), "example.org");
    assert_eq!((loaded.records, zone.record_count()), (3, 3));
    assert_eq!(loaded.findings[0].line, Some(5));
    assert_eq!(loaded.findings[0].kind, Kind::OutOfZone);
}

#[test]
fn includes_are_relative_to_the_file_and_keep_origin_and_owner() {
    let main = format!(
        "{TOP}www A 192.0.2.7\n$INCLUDE sub/a.zone\n  TXT main\n$INCLUDE \"/etc/b.zone\" other\nlast TXT x\n"
    );
    let loaded = read_files(
        &[
            ("zones/main.zone", &main),
            (
                "zones/sub/a.zone",
                "$ORIGIN sub\nx TXT a\n$INCLUDE c.zone\n",
            ),
            ("zones/sub/c.zone", "c TXT c\n"),
            ("/etc/b.zone", "@ TXT b\n"),
        ],
        Some("example.com"),
    );
    let text = written(
        &loaded
            .zone
            .unwrap_or_else(|| panic!("{:?}", loaded.findings)),
    );
    for line in [
        "x.sub.example.com. 3600 IN TXT \"a\"",
        "c.sub.example.com. 3600 IN TXT \"c\"",
        "www.example.com. 3600 IN TXT \"main\"",
        "other.example.com. 3600 IN TXT \"b\"",
        "last.example.com. 3600 IN TXT \"x\"",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
    }
}

#[test]
fn generate_makes_records_that_differ_in_a_number() {
    assert_eq!(
        lines("$GENERATE 1-3 h$ A 192.0.2.$"),
        [
            "h1.example.com. 3600 IN A 192.0.2.1",
            "h2.example.com. 3600 IN A 192.0.2.2",
            "h3.example.com. 3600 IN A 192.0.2.3",
        ]
    );
    for (directive, line) in [
        (
            "8-10/9 a${-3} 60 IN PTR x${2,3,d}-$",
            "a5.example.com. 60 IN PTR x010-8.example.com.",
        ),
        (
            "26-26 ${0,0,n}.x PTR h${0,4,X}.",
            "a.1.x.example.com. 3600 IN PTR h001A.",
        ),
        ("1-1 a$$ TXT \\$", "a\\$.example.com. 3600 IN TXT \"$\""),
        (
            "1-1 m MX \"$ mail$\"",
            "m.example.com. 3600 IN MX 1 mail1.example.com.",
        ),
        (
            "1-1 m MX $ mail$",
            "m.example.com. 3600 IN MX 1 mail1.example.com.",
        ),
        (
            "1-1 t TXT \"a $\"",
            "t.example.com. 3600 IN TXT \"a\" \"1\"",
        ),
        (
            "1-1 u TXT \"\\\"a $\\\"\"",
            "u.example.com. 3600 IN TXT \"a 1\"",
        ),
        (
            "1-1 v TXT x \"a $\"",
            "v.example.com. 3600 IN TXT \"x\" \"a 1\"",
        ),
    ] {
        assert_eq!(
            lines(&format!("$GENERATE {directive}")),
            [line],
            "{directive}"
        );
    }
}

#[test]
fn the_same_soa_at_the_end_is_no_error() {
    let loaded = read_text(&format!("{TOP}@ IN SOA ns1 root 1 3600 600 604800 300\n"));
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    assert_eq!(loaded.records, 4);
    assert_eq!(loaded.zone.unwrap().record_count(), 3);
}

#[test]
fn service_bindings_are_read_as_rfc_9460_has_them() {
    for (text, line) in [
        ("1 . alpn=dot,doq port=853", "1 . alpn=\"dot,doq\" port=853"),
        ("1 . port=853 alpn=\"dot\"", "1 . alpn=\"dot\" port=853"),
        ("0 foo.example.", "0 foo.example."),
        (
            "16 foo.example. key667=hello",
            "16 foo.example. key667=\"hello\"",
        ),
        (
            "16 foo.example. key667=\"hello\\210qoo\"",
            "16 foo.example. key667=\"hello\\210qoo\"",
        ),
        (
            "1 foo.example. ipv6hint=\"2001:db8::1,2001:db8::53:1\"",
            "1 foo.example. ipv6hint=2001:db8::1,2001:db8::53:1",
        ),
        (
            "16 foo.example. (alpn=h2,h3-19 mandatory=ipv4hint,alpn\n ipv4hint=192.0.2.1)",
            "16 foo.example. mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1",
        ),
    ] {
        // The last test vectors of RFC 9460 appendix D.2: the printed form is checked by reading it again.
        let printed = lines(&format!("s SVCB {text}"));
        let again = lines(&printed[0]);
        assert_eq!(printed, again);
        let expected = lines(&format!("s SVCB {line}"));
        assert_eq!(printed, expected, "{text}");
    }
    let data = |text: &str| {
        let loaded = read_text(&format!("{TOP}s SVCB {text}"));
        let name = parse_name("s.example.com").unwrap();
        let zone = loaded.zone.unwrap();
        zone.rrset(&name, crate::Rtype::SVCB)
            .unwrap()
            .first()
            .unwrap()
            .to_vec()
    };
    assert_eq!(
        data("16 foo.example.org. alpn=\"f\\\\\\\\oo\\\\,bar,h2\""),
        b"\x00\x10\x03foo\x07example\x03org\x00\x00\x01\x00\x0c\x08f\\oo,bar\x02h2"
    );
    assert_eq!(
        data("16 foo.example.org. alpn=f\\\\\\092oo\\092,bar,h2"),
        b"\x00\x10\x03foo\x07example\x03org\x00\x00\x01\x00\x0c\x08f\\oo,bar\x02h2"
    );
}

#[test]
fn service_bindings_are_written_in_their_own_form() {
    for text in [
        "1 site-a.example.com. alpn=dot,doq port=853",
        "1 . mandatory=alpn,ipv4hint alpn=h2 no-default-alpn port=1 ipv4hint=192.0.2.1,192.0.2.2 \
         ech=AAAA ipv6hint=::1 dohpath=\"/dns-query{?dns}\" ohttp key9=x key65280=\"\"",
        "16 foo.example.org. alpn=\"f\\\\\\\\oo\\\\,bar,h2\"",
    ] {
        assert_eq!(
            lines(&format!("s HTTPS {text}")),
            [format!("s.example.com. 3600 IN HTTPS {text}")]
        );
    }
    // A mandatory key that is not there cannot be read in this form.
    let line = "s.example.com. 3600 IN SVCB \\# 9 0001000000000200 01";
    let loaded = read_text(&format!("{TOP}{line}"));
    let text = written(&loaded.zone.unwrap());
    assert!(text.contains("SVCB \\# 9 000100000000020001\n"), "{text}");
}

#[test]
fn lists_of_types_in_an_odd_form_are_kept_as_they_are() {
    for line in [
        // Zeros at the end of a window: found by the fuzzer.
        "NSEC \\# 6 000003FF0000",
        "NSEC \\# 7 00 010101 000101",
        "NSEC3 \\# 10 01000000 00 0101 000200",
        "NSEC3 \\# 6 010000000000",
    ] {
        let loaded = read_text(&format!("{TOP}s {line}"));
        let Some(zone) = loaded.zone else {
            assert!(loaded.findings[0].message.contains("not the data of type"));
            continue;
        };
        let again = read_text(&written(&zone)).zone.unwrap();
        assert!(
            again.same_contents(&zone),
            "{line} became {}",
            written(&zone)
        );
    }
}

#[test]
fn one_record_is_read_as_in_a_file() {
    let origin = parse_name("example.com").unwrap();
    let read = |text| read_record(text, &origin, crate::Ttl::from_secs(60));
    for (text, line) in [
        ("www A 192.0.2.1", "www.example.com. 60 IN A 192.0.2.1"),
        (
            "s 1h SVCB 1 . key9=z\n",
            "s.example.com. 3600 IN SVCB 1 . key9=z",
        ),
        ("\\@ TXT ( \"(\"\n )", "\\@.example.com. 60 IN TXT \"(\""),
    ] {
        let record = read(text).unwrap();
        assert_eq!(record.to_string(), line);
        assert_eq!(read(line).unwrap(), record);
    }
    for (text, word) in [
        ("", "nothing; expected one record"),
        ("a A 192.0.2.1\nb A 192.0.2.1", "more than one record"),
        ("$INCLUDE /etc/passwd", "a directive; expected one record"),
        (";\n$INCLUDE /etc/passwd", "includes itself"),
        ("a A x", "`x` is not an IPv4 address"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message.contains(word), "{text}: {error}");
    }
}
