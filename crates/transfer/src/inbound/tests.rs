use proptest::prelude::*;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{ApplyError, Bytes, Rrset, Ttl};

use super::*;
use crate::message::{QR, Section, Writer};
use crate::outbound::{Content, Response};
use crate::query::{Question, Request};

const ID: u16 = 0x1234;

fn apex() -> Name {
    parse_name("example.com").unwrap()
}

fn record(text: &str) -> Record {
    Record::from_text(text, &apex()).unwrap()
}

fn soa(serial: u32) -> Record {
    record(&format!("@ 3600 IN SOA ns root {serial} 3600 600 86400 60"))
}

fn zone(serial: u32, records: &[&str]) -> Zone {
    let mut editor = Editor::new(apex());
    editor.add(soa(serial)).unwrap();
    for text in records {
        editor.add(record(text)).unwrap();
    }
    editor.finish().unwrap()
}

/// Messages with the given records, split as told.
fn messages(qtype: Rtype, parts: &[&[Record]]) -> Vec<Vec<u8>> {
    parts
        .iter()
        .map(|records| {
            let mut writer = Writer::new(ID, QR, 0xFFFF);
            writer.question(&apex(), qtype);
            for record in *records {
                assert!(writer.record(
                    Section::Answer,
                    &record.owner,
                    record.rtype.to_int(),
                    record.ttl.as_secs(),
                    &record.rdata,
                ));
            }
            writer.finish()
        })
        .collect()
}

fn feed_all(mut transfer: Transfer, messages: &[Vec<u8>]) -> Result<Incoming, TransferError> {
    for message in messages {
        if let Step::Done(incoming) = transfer.feed(message)? {
            return Ok(incoming);
        }
    }
    Err(transfer.broken_off())
}

fn axfr(parts: &[&[Record]]) -> Result<Incoming, TransferError> {
    feed_all(
        Transfer::axfr(apex(), None, ID),
        &messages(Rtype::AXFR, parts),
    )
}

fn ixfr(have: &Zone, parts: &[&[Record]]) -> Result<Incoming, TransferError> {
    feed_all(
        Transfer::ixfr(have.clone(), ID),
        &messages(Rtype::IXFR, parts),
    )
}

fn have() -> Zone {
    zone(1, &["a 60 IN A 192.0.2.1", "b 60 IN A 192.0.2.2"])
}

#[test]
fn whole_zone_in_one_message_is_taken() {
    let incoming = axfr(&[&[soa(1), record("a 60 IN A 192.0.2.1"), soa(1)]]).unwrap();
    let Incoming::Full(got) = incoming else {
        panic!("{incoming:?}");
    };
    assert!(got.same_contents(&zone(1, &["a 60 IN A 192.0.2.1"])));
}

#[test]
fn zone_of_an_soa_alone_is_taken() {
    assert!(matches!(
        axfr(&[&[soa(1), soa(1)]]).unwrap(),
        Incoming::Full(_)
    ));
    assert!(matches!(
        ixfr(&have(), &[&[soa(2)], &[soa(2)]]).unwrap(),
        Incoming::Full(_)
    ));
}

#[test]
fn differences_in_steps_and_condensed_are_taken() {
    let a = record("a 60 IN A 192.0.2.1");
    let c = record("c 60 IN A 192.0.2.3");
    let d = record("d 60 IN A 192.0.2.4");
    let want = zone(3, &["b 60 IN A 192.0.2.2", "d 60 IN A 192.0.2.4"]);
    let steps = ixfr(
        &have(),
        &[
            &[soa(3), soa(1), a.clone(), soa(2)],
            &[c.clone(), soa(2), c],
            &[soa(3), d.clone(), soa(3)],
        ],
    )
    .unwrap();
    let Incoming::Diffs { zone, diffs } = steps else {
        panic!("{steps:?}");
    };
    assert_eq!(diffs.len(), 2);
    assert!(zone.same_contents(&want));

    let condensed = ixfr(&have(), &[&[soa(3), soa(1), a, soa(3), d, soa(3)]]).unwrap();
    let Incoming::Diffs { zone, diffs } = condensed else {
        panic!("{condensed:?}");
    };
    assert_eq!(diffs.len(), 1);
    assert!(zone.same_contents(&want));
}

#[test]
fn whole_zone_as_answer_to_an_ixfr_is_taken() {
    let incoming = ixfr(
        &have(),
        &[&[soa(2)], &[record("c 60 IN A 192.0.2.3")], &[soa(2)]],
    )
    .unwrap();
    assert!(matches!(incoming, Incoming::Full(zone) if zone.serial() == Serial(2)));
}

#[test]
fn peer_with_nothing_newer_is_told_apart_from_one_that_is_slow() {
    let incoming = ixfr(&have(), &[&[soa(1)]]).unwrap();
    assert!(matches!(incoming, Incoming::UpToDate { serial } if serial == Serial(1)));
    let behind = zone(5, &[]);
    let incoming = ixfr(&behind, &[&[soa(1)]]).unwrap();
    assert!(matches!(incoming, Incoming::UpToDate { serial } if serial == Serial(1)));

    let mut transfer = Transfer::ixfr(have(), ID);
    let only = messages(Rtype::IXFR, &[&[soa(2)]]).remove(0);
    assert!(matches!(
        transfer.feed_udp(&only),
        Err(TransferError::UseTcp(Serial(2)))
    ));
}

#[test]
fn serials_wrap_in_a_chain() {
    let before = zone(u32::MAX, &["a 60 IN A 192.0.2.1"]);
    let incoming = ixfr(
        &before,
        &[&[soa(3), soa(u32::MAX), soa(0), soa(0), soa(3), soa(3)]],
    )
    .unwrap();
    assert!(matches!(incoming, Incoming::Diffs { zone, diffs }
        if zone.serial() == Serial(3) && diffs.len() == 2));
}

/// Each kind of broken transfer, and the error that it must give.
#[test]
fn broken_transfers_are_refused_each_for_its_reason() {
    use TransferError as E;
    let a = record("a 60 IN A 192.0.2.1");
    let mut outside = a.clone();
    outside.owner = parse_name("a.example.org").unwrap();
    let mut below = soa(1);
    below.owner = parse_name("sub.example.com").unwrap();
    let mut bad = a.clone();
    bad.rdata = Bytes::from_static(&[1, 2, 3]);
    let other_end = Record {
        rdata: record("@ 3600 IN SOA other root 1 3600 600 86400 60").rdata,
        ..soa(1)
    };

    macro_rules! refused {
        ($result:expr, $pattern:pat $(if $guard:expr)?) => {
            let error = $result.unwrap_err();
            assert!(matches!(error, $pattern $(if $guard)?), "{error:?}");
        };
    }
    refused!(axfr(&[std::slice::from_ref(&a)]), E::NoFirstSoa(_));
    refused!(axfr(&[&[]]), E::Empty);
    refused!(axfr(&[&[soa(1), a.clone()], &[]]), E::Malformed { .. });
    refused!(
        axfr(&[&[soa(1), a.clone(), soa(2)]]),
        E::SoaMismatch { first, last } if first == Serial(1) && last == Serial(2)
    );
    refused!(
        axfr(&[&[soa(1), a.clone(), other_end]]),
        E::SoaMismatch { .. }
    );
    refused!(
        axfr(&[&[soa(1), a.clone(), soa(1), a.clone()]]),
        E::Trailing { .. }
    );
    refused!(
        axfr(&[&[soa(1), outside.clone()]]),
        E::Zone(ZoneError::OutOfZone { .. })
    );
    refused!(axfr(&[&[outside]]), E::Zone(ZoneError::OutOfZone { .. }));
    refused!(
        axfr(&[&[soa(1), below, soa(1)]]),
        E::Zone(ZoneError::ExtraSoa(_))
    );
    refused!(
        axfr(&[&[soa(1), bad, soa(1)]]),
        E::Record { message: 1, .. }
    );
    refused!(
        axfr(&[&[soa(1), a.clone()], std::slice::from_ref(&a)]),
        E::BrokenOff {
            messages: 2,
            records: 3
        }
    );

    let have = have();
    refused!(
        ixfr(&have, &[&[soa(3), soa(2), soa(3), soa(3)]]),
        E::BrokenChain { expected, got } if expected == Serial(1) && got == Serial(2)
    );
    refused!(
        ixfr(&have, &[&[soa(4), soa(1), soa(2), soa(3)]]),
        E::BrokenChain { expected, got } if expected == Serial(2) && got == Serial(3)
    );
    refused!(
        ixfr(
            &have,
            &[&[
                soa(3),
                soa(1),
                record("x 60 IN A 192.0.2.9"),
                soa(3),
                soa(3)
            ]]
        ),
        E::Apply {
            source: ApplyError::NotThere(_),
            ..
        }
    );
    refused!(
        ixfr(&have, &[&[soa(3), soa(1), soa(3), a.clone(), soa(3)]]),
        E::Apply {
            source: ApplyError::AlreadyThere(_),
            ..
        }
    );
    refused!(
        ixfr(&have, &[&[soa(0), soa(1), soa(0), soa(0)]]),
        E::NotNewer { .. }
    );
    refused!(
        ixfr(&have, &[&[soa(1), a.clone(), soa(1)]]),
        E::NotNewer { .. }
    );
    refused!(
        ixfr(&have, &[&[soa(3), soa(1), soa(1), soa(1)]]),
        E::NotNewer { .. }
    );
    refused!(
        ixfr(&have, &[&[soa(3), soa(1), soa(3), a.clone()]]),
        E::Apply { .. } | E::BrokenOff { .. }
    );
}

#[test]
fn heads_that_do_not_belong_are_refused() {
    use TransferError as E;
    let good = messages(Rtype::AXFR, &[&[soa(1), soa(1)]]).remove(0);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        Transfer::axfr(apex(), None, ID).feed(&message)
    };
    assert!(with(&|_| {}).is_ok());
    assert!(matches!(
        with(&|m| m[1] ^= 1),
        Err(E::WrongId { expected: ID, .. })
    ));
    assert!(matches!(with(&|m| m[2] = 0), Err(E::Malformed { .. })));
    assert!(matches!(with(&|m| m[2] |= 0x08), Err(E::Malformed { .. })));
    assert!(matches!(with(&|m| m[2] |= 0x02), Err(E::Malformed { .. })));
    assert!(matches!(
        with(&|m| m[3] |= 5),
        Err(E::Rcode {
            rcode: Rcode::REFUSED,
            ..
        })
    ));
    assert!(matches!(
        with(&|m| m[13] = b'x'),
        Err(E::WrongQuestion { .. })
    ));
    assert!(matches!(with(&|m| m[7] = 9), Err(E::Parse { .. })));
    assert!(matches!(with(&|m| m.truncate(5)), Err(E::Malformed { .. })));
}

#[test]
fn an_ended_transfer_takes_no_more() {
    let good = messages(Rtype::AXFR, &[&[soa(1), soa(1)]]).remove(0);
    let mut transfer = Transfer::axfr(apex(), None, ID);
    assert!(matches!(transfer.feed(&good), Ok(Step::Done(_))));
    assert!(matches!(transfer.feed(&good), Err(TransferError::Ended)));
}

#[test]
fn a_transfer_without_end_is_stopped_by_the_limits() {
    let limits = Limits {
        records: 10,
        bytes: u64::MAX,
    };
    let mut transfer = Transfer::axfr(apex(), None, ID).with_limits(limits);
    let a = record("a 60 IN A 192.0.2.1");
    let first = messages(Rtype::AXFR, &[&[soa(1)]]).remove(0);
    let more = messages(Rtype::AXFR, &[&[a.clone(), a]]).remove(0);
    transfer.feed(&first).unwrap();
    let error = (0..10).find_map(|_| transfer.feed(&more).err()).unwrap();
    assert!(matches!(error, TransferError::TooMuch { limit: 10, .. }));
    assert!(!error.try_another_primary());
}

#[test]
fn only_what_a_whole_zone_can_repair_leads_to_axfr() {
    let refused = TransferError::Rcode {
        rcode: Rcode::REFUSED,
        why: None,
    };
    let unknown = TransferError::Rcode {
        rcode: Rcode::NOTIMP,
        why: None,
    };
    assert!(!refused.retry_with_axfr());
    assert!(unknown.retry_with_axfr());
    assert!(!TransferError::Empty.retry_with_axfr());
}

#[test]
fn names_beyond_the_reach_of_pointers_come_in_as_they_went_out() {
    let texts: Vec<String> = (0..3000)
        .map(|number| format!("h{}.network-{} 60 IN A 192.0.2.1", number % 3, number / 3))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let zone = zone(1, &texts);
    let request = Request::new(ID, apex(), Question::Axfr);
    let response = Response::new(&request, zone.clone(), |_| None).with_max_size(0xFFFF);
    let messages: Vec<_> = response.messages().collect();
    assert!(messages[0].len() > 0xFF00);
    let incoming = feed_all(Transfer::axfr(apex(), None, ID), &messages).unwrap();
    assert!(incoming.zone().unwrap().same_contents(&zone));
}

prop_compose! {
    fn any_zone()(
        sets in prop::collection::vec(
            (0u8..24, prop_oneof![Just(1u16), Just(16), Just(65280)], 1u32..4,
             prop::collection::vec(any::<[u8; 4]>(), 1..4)),
            0..40)
    ) -> Vec<(Name, Rrset)> {
        sets
            .into_iter()
            .map(|(owner, rtype, ttl, data)| {
                let labels = ["a", "B", "c.a", "*.a", "long-label-of-its-own"];
                let text = format!("{}.n{}.example.com", labels[usize::from(owner) % 5], owner / 5);
                let data = data.iter().map(|data| match rtype {
                    16 => [&[4], data.as_slice()].concat(),
                    _ => data.to_vec(),
                });
                let set = Rrset::new(Rtype::from_int(rtype), Ttl::from_secs(ttl), data);
                (parse_name(&text).unwrap(), set)
            })
            .collect()
    }
}

fn build(serial: u32, sets: &[(Name, Rrset)]) -> Zone {
    let mut editor = Editor::new(apex());
    editor.add(soa(serial)).unwrap();
    for (owner, set) in sets {
        editor.put(owner, set.clone()).unwrap();
    }
    editor.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_out_comes_in_by_axfr(sets in any_zone(), size in 512usize..3000) {
        let zone = build(7, &sets);
        let request = Request::new(ID, apex(), Question::Axfr);
        let response = Response::new(&request, zone.clone(), |_| None).with_max_size(size);
        let messages: Vec<_> = response.messages().collect();
        prop_assert!(messages.iter().all(|message| message.len() <= size));
        let incoming = feed_all(Transfer::axfr(apex(), None, ID), &messages).unwrap();
        prop_assert!(incoming.zone().unwrap().same_contents(&zone));
    }

    #[test]
    fn what_goes_out_comes_in_by_ixfr(
        versions in prop::collection::vec(any_zone(), 2..5),
        start in prop_oneof![Just(1u32), Just(u32::MAX - 1)],
        size in 512usize..3000,
    ) {
        let versions: Vec<Zone> = versions
            .iter()
            .zip(0..)
            .map(|(sets, step)| build(start.wrapping_add(step), sets))
            .collect();
        let diffs: Vec<Diff> = versions.windows(2).map(|pair| pair[0].diff(&pair[1])).collect();
        let (first, last) = (&versions[0], versions.last().unwrap());
        let request = Request::new(ID, apex(), Question::Ixfr { from: first.serial() });
        let response =
            Response::with_content(&request, last.clone(), Content::Ixfr(diffs.clone()))
                .with_max_size(size);
        let messages: Vec<_> = response.messages().collect();
        let incoming = feed_all(Transfer::ixfr(first.clone(), ID), &messages).unwrap();
        let Incoming::Diffs { zone, diffs: got } = incoming else {
            panic!("not differences");
        };
        prop_assert!(zone.same_contents(last));
        prop_assert_eq!(&got, &diffs);

        // The same when it is left to us what to send.
        let response = Response::new(&request, last.clone(), |_| Some(diffs));
        let messages: Vec<_> = response.messages().collect();
        let incoming = feed_all(Transfer::ixfr(first.clone(), ID), &messages).unwrap();
        prop_assert!(incoming.zone().unwrap().same_contents(last));
    }

    #[test]
    fn damaged_messages_never_panic_and_never_make_another_zone_of_the_same_size(
        sets in any_zone(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let zone = build(7, &sets);
        let request = Request::new(ID, apex(), Question::Axfr);
        let mut messages: Vec<_> = Response::new(&request, zone, |_| None).messages().collect();
        let message = at.index(messages.len());
        let octet = at.index(messages[message].len());
        messages[message][octet] ^= 1 << bit;
        // Either it is refused or it is a whole zone; what it says nobody can know without a signature.
        drop(feed_all(Transfer::axfr(apex(), None, ID), &messages));
    }

    #[test]
    fn random_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzz::inbound(&octets);
        crate::fuzz::request(&octets);
        crate::fuzz::tsig(&octets);
    }
}
