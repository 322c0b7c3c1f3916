use proptest::prelude::*;
use zonemesh_zone::record::parse_name;

use super::*;

const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

fn stamp(signed: i64, number: u32) -> Stamp {
    let mut mac = vec![7; 32];
    mac[..4].copy_from_slice(&number.to_be_bytes());
    Stamp {
        time_signed: (NOW + signed) as u64,
        fudge: 300,
        mac,
    }
}

fn key() -> Name {
    parse_name("update.key").unwrap()
}

fn client(port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::from(([192, 0, 2, 1], port)))
}

fn is_new(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::New(_))
}

#[test]
fn a_request_is_taken_once_for_as_long_as_its_signature_is_good() {
    let mut guard = ReplayGuard::new(None, at(0));
    assert!(is_new(&guard.judge(&key(), &stamp(5, 1), None, at(5))));
    for later in [5, 6, 300, 305] {
        let again = guard.judge(&key(), &stamp(5, 1), None, at(later));
        assert_eq!(again, Judgement::Repeated, "after {later} s");
    }
    let upper = parse_name("UPDATE.Key").unwrap();
    let again = guard.judge(&upper, &stamp(5, 1), None, at(6));
    assert_eq!(again, Judgement::Repeated, "names have no case");
    // Another one of the same second, an older one, and the same signature by another key.
    assert!(is_new(&guard.judge(&key(), &stamp(5, 2), None, at(6))));
    assert!(is_new(&guard.judge(&key(), &stamp(2, 3), None, at(6))));
    let other = parse_name("other.key").unwrap();
    assert!(is_new(&guard.judge(&other, &stamp(5, 1), None, at(6))));
}

#[test]
fn what_was_signed_before_the_guard_began_is_not_taken() {
    let mut guard = ReplayGuard::new(None, at(0));
    let before = guard.judge(&key(), &stamp(-1, 1), None, at(1));
    assert_eq!(before, Judgement::TooOld);
    assert!(is_new(&guard.judge(&key(), &stamp(0, 2), None, at(1))));
}

#[test]
fn a_guard_that_begins_in_the_second_of_the_last_change_takes_nothing_that_was_signed_in_it() {
    let judge = |last, signed| {
        let mut guard = ReplayGuard::new(Some(at(last)), at(0));
        guard.judge(&key(), &stamp(signed, 1), None, at(1))
    };
    assert!(is_new(&judge(-1, 0)));
    assert_eq!(judge(0, 0), Judgement::TooOld);
    assert!(is_new(&judge(0, 1)));
    // The clock was set back.
    assert!(is_new(&judge(3600, 1)));
}

#[test]
fn a_guard_that_began_by_a_clock_ahead_takes_requests_once_the_clock_is_right() {
    let mut guard = ReplayGuard::new(None, at(3600));
    assert!(is_new(&guard.judge(&key(), &stamp(0, 1), None, at(0))));
    assert_eq!(
        guard.judge(&key(), &stamp(0, 1), None, at(1)),
        Judgement::Repeated
    );
}

#[test]
fn who_repeats_a_datagram_from_the_same_port_is_answered_as_before() {
    let mut guard = ReplayGuard::new(None, at(0));
    let judge = |from, guard: &mut ReplayGuard| guard.judge(&key(), &stamp(0, 1), from, at(1));
    let Judgement::New(ticket) = judge(client(4000), &mut guard) else {
        panic!("it is new");
    };
    assert_eq!(judge(client(4000), &mut guard), Judgement::UnderWay);
    guard.answered(&ticket, Rcode::REFUSED);
    let again = judge(client(4000), &mut guard);
    assert_eq!(again, Judgement::Answered(Rcode::REFUSED));
    assert_eq!(judge(client(4001), &mut guard), Judgement::Repeated);
    assert_eq!(judge(None, &mut guard), Judgement::Repeated, "over TCP");
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_cannot_be_repeated() {
    let mut guard = ReplayGuard::new(None, at(0));
    let many = 3 * REMEMBERED as u32;
    // A thousand in each second.
    let signed = |number: u32| i64::from(number / 1000);
    for number in 0..many {
        let (time, stamp) = (at(signed(number)), stamp(signed(number), number));
        assert!(is_new(&guard.judge(&key(), &stamp, None, time)), "{number}");
    }
    assert_eq!(guard.len(), REMEMBERED);
    for number in (0..many).step_by(97) {
        let stamp = stamp(signed(number), number);
        let again = guard.judge(&key(), &stamp, None, at(50));
        assert!(
            matches!(again, Judgement::Repeated | Judgement::TooOld),
            "{number}: {again:?}"
        );
    }
    // Another key is as free as before.
    let other = parse_name("other.key").unwrap();
    assert!(is_new(&guard.judge(&other, &stamp(1, 1), None, at(50))));
    // All is forgotten when nothing of it is good any longer.
    assert!(is_new(&guard.judge(&other, &stamp(900, 1), None, at(900))));
    let third = parse_name("third.key").unwrap();
    guard.judge(&third, &stamp(70_000, 1), None, at(70_000));
    assert_eq!((guard.keys.len(), guard.len()), (1, 1));
}

proptest! {
    /// Requests of several clocks in any order, each shown again at any later time: none is new twice.
    #[test]
    fn nothing_is_ever_taken_twice(
        sent in proptest::collection::vec((0i64..40, -300i64..=300, 0u32..30, 0u16..=600), 1..200),
    ) {
        let mut guard = ReplayGuard::new(None, at(0));
        let mut taken = std::collections::HashSet::new();
        let mut now = 0;
        for (pause, ahead, number, fudge) in sent {
            now += pause;
            // The signature is over the fudge as well (RFC 8945 §4.3.3): another fudge, another signature.
            let number = number * 1000 + u32::from(fudge);
            let stamp = Stamp { fudge, ..stamp(now + ahead, number) };
            // What the verification lets through.
            if ahead.unsigned_abs() > u64::from(fudge) {
                continue;
            }
            if is_new(&guard.judge(&key(), &stamp, None, at(now))) {
                prop_assert!(taken.insert((stamp.time_signed, number)));
            }
        }
    }
}
