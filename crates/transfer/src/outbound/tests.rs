use zonemesh_zone::domain::base::Message;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Ttl};

use super::*;
use crate::message::Header;
use crate::query::expire_of;

fn zone(serial: u32, names: usize, data: usize) -> Zone {
    let apex = parse_name("example.com").unwrap();
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 3600 IN SOA ns root {serial} 1 1 1 1");
    editor.add(Record::from_text(&soa, &apex).unwrap()).unwrap();
    for number in 0..names {
        let owner = parse_name(&format!("n{number}.example.com")).unwrap();
        let record = Record::new(
            owner,
            Rtype::from_int(65280),
            Ttl::from_secs(1),
            vec![7; data],
        );
        editor.add(record).unwrap();
    }
    editor.finish().unwrap()
}

fn request(question: Question) -> Request {
    Request::new(9, parse_name("example.com").unwrap(), question)
}

fn answers(message: &[u8]) -> Vec<Rtype> {
    Message::from_octets(message)
        .unwrap()
        .answer()
        .unwrap()
        .map(|record| record.unwrap().rtype())
        .collect()
}

fn from(serial: u32) -> Question {
    Question::Ixfr {
        from: Serial(serial),
    }
}

#[test]
fn asker_who_has_all_gets_the_soa_alone() {
    for have in [5, 6] {
        let response = Response::new(&request(from(have)), zone(5, 3, 4), |_| panic!("not asked"));
        assert_eq!(*response.content(), Content::Soa);
        let messages: Vec<_> = response.messages().collect();
        assert_eq!(messages.len(), 1);
        assert_eq!(answers(&messages[0]), [Rtype::SOA]);
    }
}

#[test]
fn whole_zone_is_sent_when_differences_are_missing_unfit_or_too_many() {
    let (old, new) = (zone(1, 100, 4), zone(2, 101, 4));
    let diff = old.diff(&new);
    let content = |from: Question, new: &Zone, diffs: Option<Vec<Diff>>| {
        Response::new(&request(from), new.clone(), |_| diffs)
            .content()
            .clone()
    };
    let good = Some(vec![diff.clone()]);
    assert_eq!(
        content(from(1), &new, good.clone()),
        Content::Ixfr(vec![diff.clone()])
    );
    assert_eq!(content(from(1), &new, None), Content::Axfr);
    assert_eq!(content(from(1), &new, Some(vec![])), Content::Axfr);
    assert_eq!(content(from(0), &new, good.clone()), Content::Axfr);
    assert_eq!(
        content(from(1), &zone(3, 100, 4), good.clone()),
        Content::Axfr
    );
    let stray = zone(5, 1, 4).diff(&zone(6, 1, 4));
    let broken = Some(vec![stray, diff.clone()]);
    assert_eq!(content(from(1), &new, broken), Content::Axfr);
    let emptied = zone(2, 0, 0);
    let large = Some(vec![old.diff(&emptied)]);
    assert_eq!(content(from(1), &emptied, large), Content::Axfr);
}

#[test]
fn no_difference_is_sent_across_a_jump_of_the_serial_alone() {
    let (old, new) = (zone(4_294_967_290, 100, 4), zone(65_530, 100, 4));
    let ask = |steps: &[&Zone]| {
        let diffs = steps.windows(2).map(|pair| pair[0].diff(pair[1])).collect();
        let newest = (*steps.last().unwrap()).clone();
        let asked = request(from(steps[0].serial().into_int()));
        let response = Response::new(&asked, newest, |_| Some(diffs));
        matches!(response.content(), Content::Ixfr(_))
    };
    assert!(!ask(&[&old, &new]));
    assert!(!ask(&[&old, &new, &zone(65_531, 101, 4)]));
    // From the version that was jumped to on, as ever; and a version that says more than a serial is no jump.
    assert!(ask(&[&new, &zone(65_531, 101, 4)]));
    assert!(ask(&[&old, &zone(65_529, 100, 4)]));
    assert!(ask(&[&old, &zone(65_530, 101, 4)]));
}

#[test]
fn messages_keep_to_their_size_and_leave_room_for_a_signature() {
    let response = Response::new(&request(Question::Axfr), zone(1, 500, 40), |_| None)
        .with_max_size(1000)
        .with_reserve(100);
    let messages: Vec<_> = response.messages().collect();
    assert!(messages.len() > 10);
    assert!(messages.iter().all(|message| message.len() <= 900));
    // And they are filled: no message but the last has room for another record.
    assert!(
        messages[..messages.len() - 1]
            .iter()
            .all(|message| message.len() > 800)
    );
}

#[test]
fn a_record_larger_than_the_wished_size_still_goes_out() {
    let response = Response::new(&request(Question::Axfr), zone(1, 2, 64_000), |_| None)
        .with_max_size(512)
        .with_reserve(100);
    let messages: Vec<_> = response.messages().collect();
    let records: usize = messages.iter().map(|message| answers(message).len()).sum();
    assert_eq!(records, 4);
    assert!(messages.iter().all(|message| message.len() <= 0xFFFF - 100));
}

#[test]
fn answer_over_udp_that_does_not_fit_is_the_soa_alone() {
    let (old, new) = (zone(1, 100, 4), zone(2, 150, 20));
    let diff = old.diff(&new);
    let response =
        Response::with_content(&request(from(1)), new, Content::Ixfr(vec![diff])).for_udp(600);
    let messages: Vec<_> = response.messages().collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(answers(&messages[0]), [Rtype::SOA]);
}

#[test]
fn expire_is_sent_once_and_only_to_those_who_asked() {
    let asked = request(Question::Axfr).with_edns();
    let response = Response::new(&asked, zone(1, 500, 40), |_| None)
        .with_max_size(1000)
        .with_expire(77);
    let messages: Vec<_> = response.messages().collect();
    assert_eq!(expire_of(&messages[0]), Some(77));
    assert!(messages[0].len() <= 1000);
    let additional = |message: &Vec<u8>| Header::read(message).unwrap().counts[3];
    assert!(messages[1..].iter().all(|message| additional(message) == 0));

    let response = Response::new(&request(Question::Axfr), zone(1, 1, 4), |_| None).with_expire(7);
    assert!(response.messages().all(|message| additional(&message) == 0));
}

#[test]
fn every_message_says_whose_answer_it_is() {
    let response =
        Response::new(&request(Question::Axfr), zone(1, 50, 40), |_| None).with_max_size(600);
    for message in response.messages() {
        let header = Header::read(&message).unwrap();
        assert_eq!(header.id, 9);
        assert_eq!(header.flags, QR | AA);
    }
}
