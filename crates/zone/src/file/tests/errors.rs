use super::*;

/// Text behind [`TOP`], which has four lines, and what must be said of it: line, column, and words of the message.
const ERRORS: &[(&str, u32, u32, &[&str])] = &[
    (
        "www A 192.0.2.256",
        5,
        7,
        &[
            "www.example.com",
            "`192.0.2.256` is not an IPv4 address",
            "expected A IPV4-ADDRESS",
        ],
    ),
    ("www AAAA ::g", 5, 10, &["`::g` is not an IPv6 address"]),
    (
        "www A",
        5,
        6,
        &["ends too early", "expected A IPV4-ADDRESS"],
    ),
    ("www A 192.0.2.1 x", 5, 17, &["more than expected"]),
    (
        "www MX mail",
        5,
        8,
        &[
            "`mail` is not a number from 0 to 65535",
            "expected MX PREFERENCE NAME",
        ],
    ),
    ("www MX 70000 mail", 5, 8, &["70000"]),
    (
        "www ADDR 192.0.2.1",
        5,
        5,
        &["`ADDR` is not a record type", "[TTL] [CLASS] TYPE RDATA"],
    ),
    ("www 1x A 192.0.2.1", 5, 5, &["`1x` is not a time", "1h30m"]),
    ("www CH A 192.0.2.1", 5, 5, &["class CH; only IN"]),
    ("www CLASS7 A 192.0.2.1", 5, 5, &["only IN is served"]),
    ("www IN IN A 192.0.2.1", 5, 8, &["not a record type"]),
    ("www", 5, 4, &["ends before its type"]),
    ("www OPT x", 5, 5, &["cannot be in a zone"]),
    ("www TYPE255 \\# 0", 5, 5, &["cannot be in a zone"]),
    ("www TYPE65280 abc", 5, 5, &["not known", "\\# LENGTH HEX"]),
    ("www TYPE65280 \\# 2 abc", 5, 20, &["odd number"]),
    (
        "www TYPE65280 \\# 2 abcdef",
        5,
        20,
        &["3 octets of data where 2 were announced"],
    ),
    ("www TYPE65280 \\# 2 xy", 5, 20, &["hexadecimal"]),
    ("www A \\# 3 c00002", 5, 12, &["not the data of type A"]),
    ("www NS \\# 4 0161c000", 5, 13, &["not the data of type NS"]),
    ("a..b A 192.0.2.1", 5, 1, &["empty label"]),
    (".a A 192.0.2.1", 5, 1, &["empty label"]),
    (
        "a\\256 A 192.0.2.1",
        5,
        1,
        &["malformed escape", "000 to 255"],
    ),
    ("a\\25 A 192.0.2.1", 5, 1, &["malformed escape"]),
    ("a\\", 5, 2, &["at the end of a line"]),
    ("www A 192.0.2.1\nwww MX 10 a..b", 6, 11, &["empty label"]),
    ("www TXT \"abc", 5, 9, &["quotation mark is never closed"]),
    ("www ( A\n 192.0.2.1", 5, 5, &["`(` is never closed"]),
    ("www A ) 192.0.2.1", 5, 7, &["without a `(`"]),
    ("www (\n A (\n 192.0.2.999 ) )", 7, 2, &["192.0.2.999"]),
    ("$BAD x", 5, 1, &["`$BAD` is not a directive", "$GENERATE"]),
    ("$TTL", 5, 5, &["$TTL TIME"]),
    ("$TTL 1h 2", 5, 9, &["more than expected"]),
    ("$TTL x", 5, 6, &["not a time"]),
    ("$ORIGIN", 5, 8, &["$ORIGIN NAME"]),
    ("$INCLUDE", 5, 9, &["$INCLUDE FILE [ORIGIN]"]),
    (
        "$INCLUDE none.zone",
        5,
        10,
        &["cannot read zones/none.zone"],
    ),
    ("$INCLUDE main.zone", 5, 10, &["includes itself"]),
    ("$GENERATE 1-2 a$", 5, 17, &["START-STOP"]),
    (
        "$GENERATE 2-1 a$ A 192.0.2.$",
        5,
        11,
        &["`2-1` is not a range"],
    ),
    ("$GENERATE 1-2/0 a$ A 192.0.2.$", 5, 11, &["not a range"]),
    (
        "$GENERATE 1-2 a${1,2,z} A 192.0.2.$",
        5,
        15,
        &["OFFSET,WIDTH"],
    ),
    ("$GENERATE 0-2 a${-1} A 192.0.2.$", 5, 11, &["negative"]),
    (
        "$GENERATE 254-256 a$ A 192.0.2.$",
        5,
        11,
        &["for 256 this makes `a256 A 192.0.2.256`"],
    ),
    (
        "$GENERATE 0-9999999 a$ A 192.0.2.1",
        5,
        11,
        &["more than 1048576 records"],
    ),
    (
        "@ SOA ns1 root 2 3600 600 604800 300",
        5,
        1,
        &["second SOA"],
    ),
    (
        "www SOA ns1 root 2 3600 600 604800 300",
        5,
        1,
        &["not at the zone's apex"],
    ),
    ("x SVCB 1 . port=853 port=853", 5, 21, &["a second time"]),
    (
        "x SVCB 1 . prot=853",
        5,
        12,
        &["`prot` is not a key", "alpn"],
    ),
    ("x SVCB 1 . port", 5, 12, &["port needs a value"]),
    (
        "x SVCB 1 . mandatory=alpn",
        5,
        12,
        &["mandatory key number 1"],
    ),
    ("x CAA 0 issue", 5, 14, &["expected CAA FLAGS TAG"]),
    ("x TLSA 3 1 1 xyz", 5, 14, &["expected TLSA USAGE"]),
    // The semantic checks know the place as well.
    (
        "www CNAME a\nwww A 192.0.2.1",
        5,
        1,
        &["CNAME and other data (A)"],
    ),
];

#[test]
fn each_error_has_its_place_and_says_what_was_expected() {
    let mut wrong = Vec::new();
    for (text, line, column, words) in ERRORS {
        let loaded = read_text(&format!("{TOP}{text}"));
        let Some(first) = loaded.findings.iter().find(|finding| finding.is_error()) else {
            wrong.push(format!("{text:?}: no error, {:?}", loaded.findings));
            continue;
        };
        let message = first.to_string();
        let start = format!("zones/main.zone:{line}:{column}: error: zone example.com: ");
        if !message.starts_with(&start)
            || loaded.zone.is_some()
            || !words.iter().all(|word| message.contains(word))
        {
            wrong.push(format!("{text:?}: {message}\n    not {start} {words:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn long_names_and_labels_and_strings_are_refused() {
    let label = "x".repeat(63);
    for (text, word) in [
        (format!("x{label} TXT x"), "at most 63"),
        (
            format!("{label}.{label}.{label}.{label} TXT x"),
            "more than 255 octets",
        ),
        (
            format!("{label}.{label}.{label}.{}. TXT x", "y".repeat(62)),
            "more than 255 octets",
        ),
        (
            format!("a TXT {}", "x".repeat(256)),
            "a string of 256 octets",
        ),
    ] {
        let loaded = read_text(&format!("{TOP}{text}"));
        assert!(loaded.zone.is_none());
        assert!(
            loaded.findings[0].message.contains(word),
            "{:?}",
            loaded.findings
        );
    }
}

#[test]
fn reading_goes_on_after_an_error_and_stops_after_twenty() {
    let loaded = read_text(&format!(
        "{TOP}a A x\nb TXT \"\nc A 192.0.2.1\nd BAD\n) e\nf A y"
    ));
    let lines: Vec<_> = loaded
        .findings
        .iter()
        .filter_map(|finding| finding.line)
        .collect();
    assert_eq!(lines, [5, 6, 8, 9, 10]);
    let loaded = read_text(&format!("{TOP}{}", "a A x\n".repeat(100)));
    assert_eq!(loaded.findings.len(), 21);
    assert_eq!(loaded.findings[20].kind, Kind::TooMany);
}

#[test]
fn warnings_of_a_kind_are_counted_after_twenty() {
    let loaded = read_text(&format!("{TOP}$GENERATE 1-50 _$ A 192.0.2.1"));
    assert!(loaded.zone.is_some());
    assert_eq!(loaded.findings.len(), 21);
    assert!(
        loaded.findings[20].message.contains("30 more"),
        "{}",
        loaded.findings[20]
    );
    let loaded = read_text(&format!("{TOP}$ORIGIN net.\n$GENERATE 1-50 $ A 192.0.2.1"));
    assert_eq!(loaded.findings.len(), 21);
    assert!(
        loaded.findings[20].message.contains("30 more"),
        "{}",
        loaded.findings[20]
    );
}

#[test]
fn without_soa_or_ttl_or_file_or_origin_there_is_no_zone() {
    for (text, word) in [
        ("", "no SOA record; expected one"),
        ("$TTL 60\nwww A 192.0.2.1", "no SOA record; expected one"),
        ("www A 192.0.2.1", "no TTL, and none before it"),
        (" 60 A 192.0.2.1", "there is none; begin it with a name"),
    ] {
        let loaded = read_text(text);
        assert!(loaded.zone.is_none());
        let first = loaded.findings[0].to_string();
        assert!(
            first.starts_with("zones/main.zone:") && first.contains(word),
            "{first}"
        );
    }
    let missing = read_files(&[], Some("example.com"));
    assert!(missing.zone.is_none());
    assert!(
        missing.findings[0]
            .to_string()
            .contains("cannot read zones/main.zone")
    );
    let loaded = read_files(&[("zones/main.zone", "www 60 A 192.0.2.1")], None);
    assert!(
        loaded.findings[0]
            .message
            .contains("begin the file with $ORIGIN")
    );
}

#[test]
fn an_error_in_an_included_file_has_its_place_there() {
    let loaded = read_files(
        &[
            ("zones/main.zone", &format!("{TOP}$INCLUDE a.zone\nx A y")),
            ("zones/a.zone", "\n  \nfoo A bar"),
        ],
        Some("example.com"),
    );
    let places: Vec<_> = loaded
        .findings
        .iter()
        .map(|f| (f.file.clone().unwrap(), f.line.unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            ("zones/a.zone".to_owned(), 3),
            ("zones/main.zone".to_owned(), 6)
        ]
    );
}

#[test]
fn files_that_include_each_other_are_found_out() {
    let loaded = read_files(
        &[
            ("zones/main.zone", &format!("{TOP}$INCLUDE a.zone")),
            ("zones/a.zone", "$INCLUDE b.zone\n$INCLUDE b.zone"),
            ("zones/b.zone", "$INCLUDE a.zone"),
        ],
        Some("example.com"),
    );
    assert_eq!(loaded.findings.len(), 2);
    assert!(
        loaded.findings[0].to_string().starts_with(
            "zones/b.zone:1:10: error: zone example.com: zones/a.zone includes itself"
        )
    );
    let mut depth = 0;
    let loaded = read(
        &mut |_| {
            depth += 1;
            Ok(format!("$INCLUDE {depth}").into_bytes())
        },
        "0",
        None,
    );
    assert!(
        loaded.findings[0].message.contains("16 files deep"),
        "{:?}",
        loaded.findings
    );
}
