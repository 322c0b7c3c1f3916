use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{rdata, read_unchecked};
use super::*;
use crate::{Editor, Record, Rtype, Ttl};

/// Octets among which those are frequent that mean something in a zone file.
fn octet() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => prop::sample::select(b"aAbz09-_.\\\";()@$ #\t\n\r\0\x7f\xff,=".to_vec()),
        1 => any::<u8>(),
    ]
}

fn wire_name(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let label = prop_oneof![
        8 => vec(octet(), 1..6),
        1 => vec(octet(), 60..=63),
    ];
    vec(label, 0..6).prop_map(move |labels| {
        let mut wire = Vec::new();
        for label in labels {
            if wire.len() + label.len() + 2 <= most {
                wire.push(label.len() as u8);
                wire.extend(label);
            }
        }
        wire.push(0);
        wire
    })
}

fn string() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(octet(), 0..9), 1 => vec(octet(), 200..=255)].prop_map(|text| {
        let mut out = vec![text.len() as u8];
        out.extend(text);
        out
    })
}

/// A list of types, as NSEC has it.
fn bitmap() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::btree_map(any::<u8>(), (vec(any::<u8>(), 0..31), 0u8..), 0..4).prop_map(
        |windows| {
            let mut out = Vec::new();
            for (window, (mut bits, last)) in windows {
                bits.push(last);
                out.extend([window, bits.len() as u8]);
                out.extend(bits);
            }
            out
        },
    )
}

/// Parameters of SVCB, of the known keys and others.
fn parameters() -> impl Strategy<Value = Vec<u8>> {
    let value = |key: u16| -> BoxedStrategy<Vec<u8>> {
        match key {
            0 => Just(vec![0, 1]).boxed(),
            1 => vec(
                string().prop_filter("no protocol has no name", |s| s[0] > 0),
                1..3,
            )
            .prop_map(|all| all.concat())
            .boxed(),
            2 | 8 => Just(Vec::new()).boxed(),
            3 => vec(any::<u8>(), 2).boxed(),
            4 => vec(vec(any::<u8>(), 4), 1..3)
                .prop_map(|all| all.concat())
                .boxed(),
            6 => vec(vec(any::<u8>(), 16), 1..3)
                .prop_map(|all| all.concat())
                .boxed(),
            _ => vec(octet(), 0..9).boxed(),
        }
    };
    let key = prop_oneof![0u16..14, Just(79), Just(65280), 0..65535u16];
    vec(key, 0..5).prop_flat_map(move |mut keys| {
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .map(|key| {
                value(key).prop_map(move |value| {
                    let mut out = key.to_be_bytes().to_vec();
                    out.extend((value.len() as u16).to_be_bytes());
                    out.extend(value);
                    out
                })
            })
            .collect::<Vec<_>>()
            .prop_map(|all| all.concat())
    })
}

/// The fields of each type: n name, s string, t strings, 1 2 4 octets, r the rest, b a list of types, p parameters,
/// g a tag of letters.
const FIELDS: &[(Rtype, &str)] = &[
    (Rtype::A, "4"),
    (Rtype::AAAA, "4444"),
    (Rtype::NS, "n"),
    (Rtype::CNAME, "n"),
    (Rtype::DNAME, "n"),
    (Rtype::PTR, "n"),
    (Rtype::MB, "n"),
    (Rtype::MG, "n"),
    (Rtype::MR, "n"),
    (Rtype::MD, "n"),
    (Rtype::MF, "n"),
    (Rtype::MX, "2n"),
    (Rtype::SRV, "222n"),
    (Rtype::TXT, "t"),
    (Rtype::SPF, "t"),
    (Rtype::HINFO, "ss"),
    (Rtype::MINFO, "nn"),
    (Rtype::RP, "nn"),
    (Rtype::CAA, "1gr"),
    (Rtype::DS, "211r"),
    (Rtype::CDS, "211r"),
    (Rtype::DNSKEY, "211r"),
    (Rtype::CDNSKEY, "211r"),
    (Rtype::RRSIG, "2114442nr"),
    (Rtype::NSEC, "nb"),
    (Rtype::NSEC3, "112ssb"),
    (Rtype::NSEC3PARAM, "112s"),
    (Rtype::TLSA, "111r"),
    (Rtype::SSHFP, "11r"),
    (Rtype::OPENPGPKEY, "r"),
    (Rtype::NAPTR, "22sssn"),
    (Rtype::IPSECKEY, "111nr"),
    (Rtype::IPSECKEY, "1114r"),
    (Rtype::ZONEMD, "411r"),
    (Rtype::SVCB, "2np"),
    (Rtype::HTTPS, "2np"),
    (Rtype::NULL, "r"),
    (Rtype::LOC, "1111444"),
    (Rtype::KX, "2n"),
    (Rtype::AFSDB, "2n"),
    (Rtype::from_int(65280), "r"),
    (Rtype::from_int(1000), "r"),
];

fn data() -> impl Strategy<Value = (Rtype, Vec<u8>)> {
    prop::sample::select(FIELDS).prop_flat_map(|(rtype, fields)| {
        fields
            .chars()
            .map(|field| match field {
                'n' => wire_name(255).boxed(),
                's' => string().boxed(),
                't' => vec(string(), 1..4).prop_map(|all| all.concat()).boxed(),
                '1' => prop_oneof![0u8..4, any::<u8>()]
                    .prop_map(|octet| vec![octet])
                    .boxed(),
                '2' => vec(any::<u8>(), 2).boxed(),
                '4' => vec(any::<u8>(), 4).boxed(),
                'b' => bitmap().boxed(),
                'p' => parameters().boxed(),
                'g' => "[a-zA-Z0-9]{1,9}"
                    .prop_map(|tag| [&[tag.len() as u8], tag.as_bytes()].concat())
                    .boxed(),
                _ => vec(octet(), 0..40).boxed(),
            })
            .collect::<Vec<_>>()
            .prop_map(move |fields| (rtype, fields.concat()))
    })
}

fn arbitrary_zone() -> impl Strategy<Value = Zone> {
    let record = (wire_name(240), data(), any::<u32>());
    (wire_name(12), vec(record, 0..12)).prop_map(|(apex, records)| {
        let apex = Name::from_octets(apex.into()).unwrap();
        let mut editor = Editor::new(apex.clone());
        let soa = Record::from_text("@ 60 IN SOA ns. root. 7 3600 600 604800 300", &apex).unwrap();
        editor.add(soa).unwrap();
        for (mut owner, (rtype, rdata), ttl) in records {
            owner.pop();
            owner.extend_from_slice(apex.as_slice());
            let Ok(owner) = Name::from_octets(owner.into()) else {
                continue;
            };
            if rdata::check(rtype, &rdata).is_ok() {
                editor
                    .add(Record::new(owner, rtype, Ttl::from_secs(ttl), rdata))
                    .unwrap();
            }
        }
        editor.finish().unwrap()
    })
}

/// A zone file with something wrong somewhere: bits of good ones, strewn with odd octets.
fn broken_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(
            &[
                TOP,
                "$TTL 1h\n",
                "$ORIGIN ",
                "$INCLUDE x ",
                "$GENERATE 1-9/2 ",
                "${1,2,x}",
                "@ ",
                "\n ",
                "IN ",
                "A ",
                "192.0.2.1\n",
                "AAAA ::1\n",
                "TXT \"",
                "\" ",
                "MX 10 ",
                "a.b.example.com. ",
                "CNAME ",
                "NS ",
                "DNAME ",
                "SVCB 1 . alpn=",
                "\\# 4 01020304\n",
                "TYPE999 ",
                "\\",
                "\\046",
                "( ",
                ") ",
                "; ",
                "3600 ",
                "CH ",
                "RRSIG A 8 2 60 20300101000000 20200101000000 1 . AAAA\n",
                "NSEC . A TYPE999\n",
                "CAA 0 issue \"x\"\n",
                "NAPTR 1 1 \"u\" \"\" \"!a!b!\" .\n",
                "DS 1 8 2 AB\n",
                "NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A\n",
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(octet(), 1..4),
    ];
    (any::<bool>(), vec(piece, 0..25)).prop_map(|(top, pieces)| {
        let mut text = if top {
            TOP.as_bytes().to_vec()
        } else {
            Vec::new()
        };
        text.extend(pieces.concat());
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_again_octet_for_octet(zone in arbitrary_zone()) {
        let mut text = Vec::new();
        write(&zone, &mut text).unwrap();
        let limits = Limits::default();
        let (again, _, report) =
            read_unchecked(&mut |_| Ok(text.clone()), "x", Some(zone.apex()), limits);
        let findings = report.finish();
        let again = again.unwrap_or_else(|| panic!("{findings:?}\n{}", text.escape_ascii()));
        prop_assert!(again.same_contents(&zone), "{}", text.escape_ascii());
        // Canonical order has one order only.
        let mut twice = Vec::new();
        write(&again, &mut twice).unwrap();
        prop_assert_eq!(text.to_ascii_lowercase(), twice.to_ascii_lowercase());
    }

    #[test]
    fn no_octets_make_the_reader_panic(data in vec(octet(), 0..300)) {
        fuzz_read(&data);
    }

    #[test]
    fn no_broken_zone_file_makes_the_reader_panic(text in broken_text()) {
        fuzz_read(&text);
    }

    #[test]
    fn no_change_to_a_zone_file_makes_the_reader_panic(
        zone in arbitrary_zone(),
        changes in vec((any::<prop::sample::Index>(), octet()), 1..5),
    ) {
        let mut text = Vec::new();
        write(&zone, &mut text).unwrap();
        for (at, octet) in changes {
            let at = at.index(text.len());
            text[at] = octet;
        }
        fuzz_read(&text);
    }
}
