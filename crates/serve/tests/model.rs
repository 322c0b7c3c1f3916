//! The query path against a resolver that is as plain as can be: random small zones, all names, all types; and random
//! octets, which must neither panic nor lead to an answer that is too long or malformed.

#![allow(missing_docs, clippy::unwrap_used)]

mod asking;

use std::collections::BTreeMap;

use asking::{Answer, ask_wire, client, name, ready, zone};
use proptest::prelude::*;
use zonemesh_serve::{Moment, Outcome, Shared, Transport, answer};
use zonemesh_zone::{Name, Record, Rtype, Zone};

/// Labels from the root downwards, in lower case.
type Labels = Vec<String>;

fn labels(name: &Name) -> Labels {
    let mut labels: Labels = name
        .iter()
        .filter(|label| !label.is_root())
        .map(|label| label.to_string().to_ascii_lowercase())
        .collect();
    labels.reverse();
    labels
}

fn text(labels: &[String]) -> String {
    let mut text = String::new();
    for label in labels.iter().rev() {
        text += label;
        text.push('.');
    }
    text
}

type Types = BTreeMap<u16, Vec<Record>>;

struct ModelZone {
    apex: Labels,
    names: BTreeMap<Labels, Types>,
}

impl ModelZone {
    fn new(zone: &Zone) -> Self {
        let mut names: BTreeMap<Labels, Types> = BTreeMap::new();
        for record in zone.records() {
            names
                .entry(labels(&record.owner))
                .or_default()
                .entry(record.rtype.to_int())
                .or_default()
                .push(record);
        }
        Self {
            apex: labels(zone.apex()),
            names,
        }
    }

    fn exists(&self, name: &[String]) -> bool {
        self.names.keys().any(|owner| owner.starts_with(name))
    }

    fn has(&self, name: &[String], rtype: Rtype) -> bool {
        self.names
            .get(name)
            .is_some_and(|types| types.contains_key(&rtype.to_int()))
    }

    fn soa(&self) -> String {
        let record = &self.names[&self.apex][&Rtype::SOA.to_int()][0];
        let ttl = record.ttl.as_secs().min(record.soa().unwrap().minimum);
        show(&self.apex, ttl, record)
    }
}

/// A record as the answers show it, under another owner name and TTL.
fn show(owner: &[String], ttl: u32, record: &Record) -> String {
    format!(
        "{} {ttl} IN {} {}",
        text(owner),
        record.rtype,
        record.rdata_text()
    )
    .to_ascii_lowercase()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    rcode: &'static str,
    authoritative: bool,
    answer: Vec<String>,
    authority: Vec<String>,
    /// Glue that must be there.
    glue: Vec<String>,
}

/// RFC 1034 §4.3.2, RFC 4592, RFC 6672, word by word.
fn model(zones: &[ModelZone], question: &[String], qtype: Rtype) -> Expected {
    let mut expected = Expected {
        rcode: "noerror",
        ..Expected::default()
    };
    let mut name = question.to_vec();
    let mut aliases: Vec<Labels> = Vec::new();
    for step in 0..=16 {
        let mut enclosing: Vec<&ModelZone> = zones
            .iter()
            .filter(|zone| name.starts_with(&zone.apex))
            .collect();
        enclosing.sort_by_key(|zone| zone.apex.len());
        if qtype == Rtype::DS
            && enclosing.len() > 1
            && enclosing.last().is_some_and(|zone| zone.apex == name)
        {
            enclosing.pop();
        }
        let Some(zone) = enclosing.last() else {
            if step == 0 {
                expected.rcode = "refused";
            }
            break;
        };
        let mut target = None;
        let mut ended = false;
        for depth in zone.apex.len()..=name.len() {
            let above = &name[..depth];
            let is_cut = depth > zone.apex.len()
                && zone.has(above, Rtype::NS)
                && !(depth == name.len() && qtype == Rtype::DS);
            if is_cut {
                for record in &zone.names[above][&Rtype::NS.to_int()] {
                    expected
                        .authority
                        .push(show(above, record.ttl.as_secs(), record));
                    let server = Name::from_octets(record.rdata.clone()).unwrap();
                    let server = labels(&server);
                    if server.starts_with(above)
                        && let Some(types) = zone.names.get(&server)
                        && let Some(records) = types.get(&Rtype::A.to_int())
                    {
                        for record in records {
                            expected
                                .glue
                                .push(show(&server, record.ttl.as_secs(), record));
                        }
                    }
                }
                ended = true;
                break;
            }
            if depth < name.len() && zone.has(above, Rtype::DNAME) {
                let record = &zone.names[above][&Rtype::DNAME.to_int()][0];
                let line = show(above, record.ttl.as_secs(), record);
                if !expected.answer.contains(&line) {
                    expected.answer.push(line);
                }
                let to = Name::from_octets(record.rdata.clone()).unwrap();
                let mut made = labels(&to);
                made.extend_from_slice(&name[depth..]);
                let ttl = record.ttl.as_secs();
                expected
                    .answer
                    .push(format!("{} {ttl} in cname {}", text(&name), text(&made)));
                target = Some((made, qtype == Rtype::CNAME || qtype == Rtype::ANY));
                break;
            }
        }
        if step == 0 {
            expected.authoritative = !ended;
        }
        if ended {
            break;
        }
        if target.is_none() {
            let mut source = name.clone();
            if !zone.exists(&name) {
                let encloser = (0..name.len())
                    .rev()
                    .map(|depth| &name[..depth])
                    .find(|above| zone.exists(above))
                    .unwrap();
                source = encloser.to_vec();
                source.push("*".into());
                if !zone.exists(&source) {
                    expected.rcode = "nxdomain";
                    expected.authority.push(zone.soa());
                    break;
                }
            }
            let empty = Types::new();
            let types = zone.names.get(&source).unwrap_or(&empty);
            let found = match qtype {
                Rtype::ANY => types.values().next(),
                _ => types.get(&qtype.to_int()),
            };
            let cname = types.get(&Rtype::CNAME.to_int());
            let at_cut = source == name
                && name.len() > zone.apex.len()
                && types.contains_key(&Rtype::NS.to_int());
            if let Some(records) = found {
                for record in records {
                    let line = show(&name, record.ttl.as_secs(), record);
                    if !expected.answer.contains(&line) {
                        expected.answer.push(line);
                    }
                }
                break;
            }
            let Some(cname) = cname.filter(|_| !at_cut) else {
                expected.authority.push(zone.soa());
                break;
            };
            let record = &cname[0];
            expected
                .answer
                .push(show(&name, record.ttl.as_secs(), record));
            let to = Name::from_octets(record.rdata.clone()).unwrap();
            target = Some((labels(&to), false));
        }
        let (to, done) = target.unwrap();
        aliases.push(name);
        if done || aliases.contains(&to) {
            break;
        }
        name = to;
    }
    expected
}

const APEXES: [&str; 4] = ["z.", "c.z.", "y.", "a.b.y."];
const TYPES: [Rtype; 10] = [
    Rtype::A,
    Rtype::NS,
    Rtype::CNAME,
    Rtype::SOA,
    Rtype::MX,
    Rtype::TXT,
    Rtype::DS,
    Rtype::DNAME,
    Rtype::AAAA,
    Rtype::ANY,
];

fn any_name() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "ab", "A"]),
        2 => Just("*"),
    ];
    let above = prop::sample::select(vec!["z.", "z.", "z.", "c.z.", "y.", "a.b.y.", "x."]);
    (prop::collection::vec(label, 0..4), above).prop_map(|(labels, above)| {
        format!(
            "{}{above}",
            labels
                .iter()
                .fold(String::new(), |name, label| name + label + ".")
        )
    })
}

#[derive(Debug, Clone)]
struct Data {
    owner: String,
    kind: u8,
    target: String,
}

fn any_data() -> impl Strategy<Value = Data> {
    (any_name(), 0u8..12, any_name()).prop_map(|(owner, kind, target)| Data {
        owner,
        kind,
        target,
    })
}

/// Puts each record into the closest zone, or, sometimes, where a careless operator would.
fn zones_of(data: &[Data], count: usize) -> Vec<Zone> {
    let mut texts: Vec<String> = Vec::new();
    for apex in &APEXES[..count] {
        texts.push(format!(
            "{apex} 300 IN SOA ns.{apex} h.{apex} 1 2 3 4 100\n{apex} 300 IN NS ns.{apex}\n"
        ));
    }
    let mut single = std::collections::HashSet::new();
    for (
        number,
        Data {
            owner,
            kind,
            target,
        },
    ) in data.iter().enumerate()
    {
        let inside = |apex: &str| name(owner).ends_with(&name(apex));
        let Some(home) = (0..count)
            .filter(|&at| inside(APEXES[at]))
            .max_by_key(|&at| APEXES[at].len() * usize::from(number % 5 != 0))
        else {
            continue;
        };
        let is_apex = name(owner) == name(APEXES[home]);
        let rdata = match kind {
            0..=2 => format!("A 192.0.2.{}", number % 250),
            3 | 4 => format!("TXT t{number}"),
            5 | 6 if !is_apex => format!("NS {target}"),
            7 | 8 if !is_apex => format!("CNAME {target}"),
            9 => format!("DNAME {target}"),
            10 => format!("MX 10 {target}"),
            11 if !is_apex => "DS 1 13 2 00".to_owned(),
            _ => continue,
        };
        // One target each.
        if matches!(kind, 7..=9) && !single.insert((home, owner.to_ascii_lowercase(), kind / 9)) {
            continue;
        }
        texts[home] += &format!("{owner} {} IN {rdata}\n", 60 + u32::from(*kind));
    }
    texts
        .iter()
        .zip(APEXES)
        .map(|(text, apex)| zone(apex, text))
        .collect()
}

fn lower(lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    lines.sort();
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn mixed_zone() -> Shared {
    let data: Vec<Data> = (0..200u8)
        .map(|i| Data {
            owner: format!("{}.{}.z.", ["a", "b", "*", "ab"][usize::from(i % 4)], i % 7),
            kind: i % 12,
            target: format!("{}.z.", i % 7),
        })
        .collect();
    ready(zones_of(&data, 4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(400)))]

    #[test]
    fn answers_are_those_of_the_plain_model(
        data in prop::collection::vec(any_data(), 0..30),
        count in 1usize..=4,
        questions in prop::collection::vec((any_name(), prop::sample::select(TYPES.to_vec())), 20),
    ) {
        let zones = zones_of(&data, count);
        let models: Vec<ModelZone> = zones.iter().map(ModelZone::new).collect();
        let shared = ready(zones);
        for (qname, qtype) in questions {
            let qname = name(&qname);
            let question = ask_wire(qname.as_slice(), qtype);
            let answer = question.clone().over(Transport::Tcp).of(&shared);
            let expected = model(&models, &labels(&qname), qtype);
            let context = format!("{qname}. {qtype}: {answer:#?}\n{expected:#?}");
            prop_assert_eq!(answer.rcode.to_ascii_lowercase(), expected.rcode, "{}", &context);
            prop_assert_eq!(answer.authoritative, expected.authoritative, "{}", &context);
            prop_assert_eq!(lower(&answer.answer), sorted(expected.answer), "{}", &context);
            prop_assert_eq!(lower(&answer.authority), sorted(expected.authority), "{}", &context);
            let additional = lower(&answer.additional);
            for glue in &expected.glue {
                prop_assert!(additional.contains(glue), "{}", &context);
            }
            let mut once = additional.clone();
            once.dedup();
            prop_assert_eq!(once, additional, "a record twice: {}", &context);
            // Over UDP, what is not truncated is the same but for the additional section.
            let short = question.of(&shared);
            prop_assert!(short.len <= 512);
            if !short.truncated {
                prop_assert_eq!(short.answer, answer.answer);
                prop_assert_eq!(short.authority, answer.authority);
            }
        }
    }

    #[test]
    fn no_octets_lead_to_a_panic_or_to_a_bad_answer(
        message in prop::collection::vec(any::<u8>(), 0..200),
        edit in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        payload in any::<u16>(),
    ) {
        let shared = mixed_zone();
        let mut edited = ask_wire(name("a.b.3.z.").as_slice(), Rtype::MX)
            .opt(payload, 0, true, b"\0\x0a\0\x0812345678\0\x0c\0\x01x")
            .message;
        for (at, octet) in &edit {
            let at = at.index(edited.len());
            edited[at] = *octet;
        }
        for message in [&message, &edited] {
            for transport in [Transport::Udp, Transport::Tls] {
                let mut out = Vec::new();
                let outcome = shared.view(Moment::default(), |view| answer(message, &client(transport), view, &mut out));
                if outcome == Outcome::Reply {
                    prop_assert_eq!(&out[..2], &message[..2]);
                    prop_assert!(transport != Transport::Udp || out.len() <= 1232);
                    // The class may be any, of which only the structure can be checked.
                    if out[5] == 0 || message[2] & 0x78 == 0 {
                        Answer::read(&out);
                    }
                }
            }
        }
    }

    #[test]
    fn no_rdata_leads_to_a_panic(
        data in prop::collection::vec(
            (any_name(), prop::sample::select(vec![1u16, 28, 2, 2, 5, 6, 12, 15, 33, 39, 43, 46, 47, 64, 65]),
             prop::collection::vec(prop_oneof![0u8..4, Just(b'a'), Just(b'z'), any::<u8>()], 0..12)),
            0..20,
        ),
        questions in prop::collection::vec((any_name(), prop::sample::select(TYPES.to_vec())), 20),
    ) {
        // What a loader should have refused must not end the service all the same.
        let mut editor = zone("z.", "@ 300 IN SOA . . 1 2 3 4 5\n@ 300 IN NS ns").edit();
        for (owner, rtype, rdata) in data {
            let owner = name(&owner);
            if owner != name("z.") || rtype != 6 {
                let record = Record::new(owner, Rtype::from_int(rtype), zonemesh_zone::Ttl::from_secs(1), rdata);
                drop(editor.add(record));
            }
        }
        let shared = ready([editor.finish().unwrap()]);
        for (qname, qtype) in questions {
            let question = ask_wire(name(&qname).as_slice(), qtype).edns(1232, true);
            question.outcome(&shared);
            question.over(Transport::Tcp).outcome(&shared);
        }
    }
}
