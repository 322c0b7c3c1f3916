use zonemesh_zone::record::parse_name;

use super::*;

fn zone() -> Name {
    parse_name("Example.com").unwrap()
}

fn soa() -> Record {
    Record::from_text("@ 60 IN SOA ns root 7 1 2 3 4", &zone()).unwrap()
}

#[test]
fn requests_survive_composing_and_parsing() {
    let from = Serial(u32::MAX);
    for question in [
        Question::Soa,
        Question::Axfr,
        Question::Ixfr { from },
        Question::Notify { serial: None },
    ] {
        let plain = Request::new(3, zone(), question);
        assert_eq!(Request::parse(&plain.compose()).unwrap(), plain);
        let edns = plain.with_edns();
        assert_eq!(Request::parse(&edns.compose()).unwrap(), edns);
    }
    let notify = Request::parse(&Request::compose_notify(3, &soa())).unwrap();
    assert_eq!(notify.zone, zone());
    assert_eq!(
        notify.question,
        Question::Notify {
            serial: Some(Serial(7))
        }
    );
}

#[test]
fn what_is_no_request_of_ours_is_told_apart() {
    let good = Request::new(3, zone(), Question::Ixfr { from: Serial(1) }).compose();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        Request::parse(&message).map_err(|error| error.rcode())
    };
    assert!(with(&|_| {}).is_ok());
    assert_eq!(with(&|m| m.truncate(11)), Err(None));
    assert_eq!(with(&|m| m[2] |= 0x80), Err(None));
    assert_eq!(with(&|m| m[5] = 2), Err(Some(Rcode::FORMERR)));
    assert_eq!(with(&|m| m[5] = 0), Err(Some(Rcode::FORMERR)));
    // An IXFR without the SOA in the authority section.
    assert_eq!(with(&|m| m[9] = 0), Err(Some(Rcode::FORMERR)));
    assert_eq!(with(&|m| m[2] = 5 << 3), Err(Some(Rcode::NOTIMP)));
    // Class CH.
    assert_eq!(with(&|m| m[12 + 13 + 3] = 3), Err(Some(Rcode::NOTIMP)));
}

#[test]
fn replies_repeat_the_question_and_give_the_reason_to_those_with_edns() {
    let request = Request::new(0xABCD, zone(), Question::Axfr);
    let plain = reply(&request.compose(), Rcode::REFUSED, Some((18, "not you"))).unwrap();
    assert_eq!(plain[..2], [0xAB, 0xCD]);
    assert_eq!(plain[3] & 15, 5);
    assert_eq!(plain[12..], request.compose()[12..]);

    let edns = reply(
        &request.with_edns().compose(),
        Rcode::REFUSED,
        Some((18, "not you")),
    )
    .unwrap();
    let error = parse_acknowledgement(&edns).unwrap_err();
    assert_eq!(
        error.to_string(),
        "answered REFUSED (extended error 18: not you)"
    );
    assert_eq!(reply(&edns, Rcode::REFUSED, None), None, "a loop");
}

/// An UPDATE without records, with OPT records of these versions, flags and options.
fn update_with(opts: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut message = Request::new(7, zone(), Question::Soa).compose();
    message[2] = OPCODE_UPDATE << 3;
    message[11] = opts.len() as u8;
    for (version, flags, options) in opts {
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, *version, *flags, 0, 0]);
        message.push(options.len() as u8);
        message.extend_from_slice(options);
    }
    message
}

#[test]
fn replies_have_an_opt_record_where_the_request_has_one() {
    let plain = reply(&update_with(&[]), Rcode::NXRRSET, None).unwrap();
    assert_eq!(plain[..4], [0, 7, 0x80 | OPCODE_UPDATE << 3, 8]);
    assert_eq!(plain[11], 0);
    assert_eq!(plain[12..], update_with(&[])[12..]);
    // Flags that nobody knows are not sent back; neither are options.
    for (flags, copied) in [(0x80, 0x80), (0xFF, 0x80), (0x7F, 0)] {
        let request = update_with(&[(0, flags, &[0xFF, 0xF0, 0, 1, 9])]);
        assert_eq!(edns_refusal(&request), None);
        let reply = reply(&request, Rcode::NXRRSET, None).unwrap();
        assert_eq!(reply[11], 1);
        let opt = &reply[plain.len()..];
        assert_eq!(opt, [0, 0, 41, 4, 208, 0, 0, copied, 0, 0, 0]);
    }
}

#[test]
fn requests_are_refused_for_their_opt_record_alone() {
    let refused = |request: &[u8]| {
        let reply = edns_refusal(request)?;
        let opt = reply[reply.len() - 11..].first_chunk::<6>().copied();
        let [0, 0, 41, 4, 208, high] = opt? else {
            panic!("no OPT in {reply:?}");
        };
        Some(u16::from(high) << 4 | u16::from(reply[3] & 15))
    };
    let good: (u8, u8, &[u8]) = (0, 0, &[0, 9, 0, 0]);
    assert_eq!(refused(&update_with(&[])), None);
    assert_eq!(refused(&update_with(&[good])), None);
    assert_eq!(refused(&update_with(&[good, good])), Some(1));
    assert_eq!(refused(&update_with(&[(1, 0, &[1, 2])])), Some(16));
    assert_eq!(refused(&update_with(&[(0, 0, &[0, 9, 0, 1])])), Some(1));
    assert_eq!(refused(&update_with(&[(0, 0, &[0, 9, 0])])), Some(1));
    let mut response = update_with(&[good, good]);
    response[2] |= 0x80;
    assert_eq!(refused(&response), None);
    let mut short = update_with(&[good, good]);
    while short.pop().is_some() {
        let _ = edns_refusal(&short);
    }
}

#[test]
fn a_notify_is_acknowledged_as_one() {
    let notify = Request::compose_notify(5, &soa());
    let reply = reply(&notify, Rcode::NOERROR, None).unwrap();
    let header = Header::read(&reply).unwrap();
    assert_eq!(header.opcode(), OPCODE_NOTIFY);
    assert!(header.is_response());
    parse_acknowledgement(&reply).unwrap();
}

#[test]
fn soa_answers_must_be_authoritative_and_have_the_soa() {
    let answer = |flags: u16, with_soa: bool| {
        let mut writer = Writer::new(1, QR | flags, 512);
        writer.question(&zone(), Rtype::SOA);
        if with_soa {
            let soa = soa();
            writer.record(Section::Answer, &soa.owner, 6, 60, &soa.rdata);
        }
        writer.opt(1232, &[0, 9, 0, 4, 0, 0, 1, 0]);
        parse_soa_answer(&writer.finish(), &zone())
    };
    let good = answer(AA, true).unwrap();
    assert_eq!((good.soa.serial, good.expire), (Serial(7), Some(256)));
    assert_eq!(answer(0, true), Err(ReplyError::NotAuthoritative));
    assert_eq!(answer(AA, false), Err(ReplyError::NoSoa(zone())));
    assert!(matches!(
        answer(5, true),
        Err(ReplyError::Rcode {
            rcode: Rcode::REFUSED,
            ..
        })
    ));
}

#[test]
fn what_is_held_is_asked_for_and_read_back_beside_the_heartbeat() {
    let request = Request::new(1, zone(), Question::Soa);
    let read = Request::parse(&request.clone().with_heartbeat().compose()).unwrap();
    assert_eq!(read.edns.unwrap().inventory, Some(Asked::Sum));
    let section = inventory::Section::of(&zone());
    let read = Request::parse(&request.with_section(section).compose()).unwrap();
    let edns = read.edns.unwrap();
    assert_eq!(
        (edns.heartbeat, edns.inventory),
        (false, Some(Asked::Section(section)))
    );
    let answer = |options: &[&[u8]]| {
        let mut writer = Writer::new(1, QR | AA, 512);
        writer.question(&zone(), Rtype::SOA);
        let soa = soa();
        writer.record(Section::Answer, &soa.owner, 6, 60, &soa.rdata);
        let mut data = Vec::new();
        for option in options {
            push_option(&mut data, HEARTBEAT, option);
        }
        writer.opt(1232, &data);
        parse_soa_answer(&writer.finish(), &zone()).unwrap()
    };
    let beat = [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 12];
    let sum = inventory::compose_sum(4711);
    let both = answer(&[&beat, &sum]);
    assert_eq!((both.heartbeat.is_some(), both.sum), (true, Some(4711)));
    // An older peer knows the first alone, and whoever comes later may say more.
    let old = answer(&[&beat]);
    assert_eq!(
        (old.heartbeat.is_some(), old.sum, old.listing),
        (true, None, None)
    );
    let later = answer(&[&[3, 9, 9], &sum]);
    assert_eq!((later.heartbeat, later.sum), (None, Some(4711)));
    let listing = Listing::Zones(Vec::new());
    let listed = answer(&[&listing.compose(section)]);
    assert_eq!(listed.listing, Some((section, listing)));
}

#[test]
fn a_heartbeat_is_asked_for_and_read_back() {
    let request = Request::new(1, zone(), Question::Soa).with_heartbeat();
    let read = Request::parse(&request.compose()).unwrap();
    assert!(read.edns.is_some_and(|edns| edns.heartbeat));
    assert_eq!(HEARTBEAT.to_be_bytes(), [0xFF, 0xAD]);
    let answer = |option: &[u8]| {
        let mut writer = Writer::new(1, QR | AA, 512);
        writer.question(&zone(), Rtype::SOA);
        let soa = soa();
        writer.record(Section::Answer, &soa.owner, 6, 60, &soa.rdata);
        let mut options = Vec::new();
        push_option(&mut options, HEARTBEAT, option);
        writer.opt(1232, &options);
        parse_soa_answer(&writer.finish(), &zone())
            .unwrap()
            .heartbeat
    };
    let good = answer(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 12]);
    let expected = Heartbeat {
        unix_ms: 256,
        stuck_secs: 12,
    };
    assert_eq!(good, Some(expected));
    // Of another version, too short, too long, and a time that is none.
    assert_eq!(answer(&[2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 12]), None);
    assert_eq!(answer(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 0]), None);
    assert_eq!(answer(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 12, 0]), None);
    assert_eq!(answer(&[1, 255, 0, 0, 0, 0, 0, 1, 0, 0, 12]), None);
    assert_eq!(answer(&[]), None);
}
