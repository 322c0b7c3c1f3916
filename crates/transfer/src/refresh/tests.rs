use proptest::prelude::*;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Name, Serial};

use super::*;

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn soa(refresh: u32, retry: u32, expire: u32) -> Soa {
    Soa {
        mname: Name::root_bytes(),
        rname: parse_name("root").unwrap(),
        serial: Serial(1),
        refresh,
        retry,
        expire,
        minimum: 0,
    }
}

/// Loaded at second 0 with refresh 100, retry 10 and expire 1000.
fn loaded() -> Timers {
    let mut timers = Timers::new(Bounds::default(), at(0));
    assert_eq!(timers.tick(at(0)), Some(Action::Query));
    timers.loaded(at(0), &soa(100, 10, 1000), None, 0);
    timers
}

#[test]
fn a_new_zone_is_asked_for_at_once_and_then_with_growing_pauses() {
    let mut timers = Timers::new(Bounds::default(), at(0));
    assert_eq!(timers.status(), Status::NeverLoaded);
    let mut now = 0;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(timers.tick(at(now)), Some(Action::Query));
        assert_eq!(timers.tick(at(now)), None, "one attempt at a time");
        timers.failed(at(now), 0);
        assert_eq!(timers.next_due(), at(now + pause));
        assert_eq!(timers.tick(at(now + pause - 1)), None);
        now += pause;
    }
    assert_eq!(timers.status(), Status::NeverLoaded);
}

#[test]
fn refresh_retry_and_expire_follow_the_soa() {
    let mut timers = loaded();
    assert_eq!(timers.status(), Status::Fresh);
    assert_eq!(timers.next_due(), at(100));
    assert_eq!(timers.tick(at(99)), None);
    assert_eq!(timers.tick(at(100)), Some(Action::Query));
    timers.refreshed(at(101), None, 0);
    assert_eq!(timers.next_due(), at(201));
    assert_eq!(timers.expires_at(), Some(at(1101)));

    let mut now = 201;
    let mut warned = None;
    loop {
        match timers.tick(at(now)) {
            Some(Action::Query) => timers.failed(at(now), 0),
            Some(Action::Warn) => assert_eq!(warned.replace(now), None),
            Some(Action::Expire) => break,
            None => now = timers.next_due().as_second() - START,
        }
        assert!(matches!(timers.status(), Status::Fresh | Status::Retrying));
    }
    assert_eq!((warned, now), (Some(601), 1101));
    assert_eq!(timers.status(), Status::Expired);
    assert_eq!(timers.expire_left(at(1101)), Some(0));

    // It goes on trying, and comes back.
    let due = timers.next_attempt().unwrap();
    assert!(due <= at(1101 + 60));
    assert_eq!(timers.tick(due), Some(Action::Query));
    timers.refreshed(due, None, 0);
    assert_eq!(timers.status(), Status::Fresh);
}

#[test]
fn a_notify_brings_the_query_forward_and_is_not_lost_during_one() {
    let mut timers = loaded();
    timers.notified(at(5));
    timers.notified(at(5));
    assert_eq!(timers.tick(at(5)), Some(Action::Query));
    timers.notified(at(6));
    timers.notified(at(6));
    assert_eq!(timers.tick(at(6)), None);
    timers.loaded(at(7), &soa(100, 10, 1000), None, 0);
    assert_eq!(timers.tick(at(7)), Some(Action::Query));
    timers.refreshed(at(8), None, 0);
    assert_eq!(timers.tick(at(8)), None, "the burst cost one more query");
}

#[test]
fn expire_of_the_primary_is_honoured() {
    let mut timers = Timers::new(Bounds::default(), at(0));
    timers.loaded(at(0), &soa(100, 10, 1000), Some(300), 0);
    assert_eq!(timers.expires_at(), Some(at(300)));
    assert_eq!(timers.expire_left(at(100)), Some(200));
    // Never shortened by an answer that the zone is current, never longer than the SOA says.
    timers.refreshed(at(10), Some(5), 0);
    assert_eq!(timers.expires_at(), Some(at(300)));
    timers.refreshed(at(20), Some(500), 0);
    assert_eq!(timers.expires_at(), Some(at(520)));
    timers.refreshed(at(30), Some(u32::MAX), 0);
    assert_eq!(timers.expires_at(), Some(at(1030)));
}

#[test]
fn a_primary_without_time_left_cannot_revive_an_expired_zone() {
    let mut timers = Timers::restored(Bounds::default(), &soa(9, 9, 90), at(-500), None, at(0));
    assert_eq!(timers.tick(at(0)), Some(Action::Query));
    timers.refreshed(at(0), Some(0), 0);
    assert_eq!(timers.tick(at(0)), Some(Action::Expire));
}

#[test]
fn after_a_restart_the_zone_is_asked_for_before_it_may_expire() {
    let mut timers = Timers::restored(
        Bounds::default(),
        &soa(100, 10, 1000),
        at(-5000),
        Some(at(-4000)),
        at(0),
    );
    assert_eq!(timers.status(), Status::Fresh);
    assert_eq!(timers.tick(at(0)), Some(Action::Query));
    assert_ne!(timers.tick(at(0)), Some(Action::Expire));
    let mut succeeding = timers.clone();
    succeeding.refreshed(at(1), None, 0);
    assert_eq!(succeeding.tick(at(1)), None);
    timers.failed(at(1), 0);
    assert_eq!(timers.tick(at(1)), Some(Action::Expire));
}

#[test]
fn a_last_attempt_that_hangs_holds_expiry_up_only_for_its_time() {
    let mut timers = Timers::restored(
        Bounds::default(),
        &soa(100, 10, 1000),
        at(-5000),
        None,
        at(0),
    );
    assert_eq!(timers.tick(at(0)), Some(Action::Query));
    while timers
        .tick(at(29))
        .is_some_and(|action| action == Action::Warn)
    {}
    assert_eq!(timers.tick(at(29)), None);
    assert_eq!(timers.next_due(), at(30));
    assert_eq!(timers.tick(at(30)), Some(Action::Expire));
}

#[test]
fn a_zone_with_a_refresh_longer_than_its_expire_is_asked_for_before_it_expires() {
    let mut timers = Timers::new(Bounds::default(), at(0));
    timers.loaded(at(0), &soa(5000, 10, 1000), None, 0);
    assert_eq!(timers.tick(at(500)), Some(Action::Warn));
    assert_eq!(timers.next_due(), at(1000));
    assert_eq!(timers.tick(at(1000)), Some(Action::Query));
    timers.refreshed(at(1001), None, 0);
    assert_eq!(timers.tick(at(1001)), None);
    assert_eq!(timers.expires_at(), Some(at(2001)));
}

#[test]
fn a_clock_set_forward_does_not_expire_zones_by_itself() {
    let mut timers = loaded();
    let year = 365 * 86_400;
    assert_eq!(timers.tick(at(year)), Some(Action::Query));
    timers.refreshed(at(year), None, 0);
    assert_eq!(timers.tick(at(year)), None);
    assert_eq!(timers.status(), Status::Fresh);
}

#[test]
fn a_clock_set_back_makes_no_wait_longer() {
    let mut timers = loaded();
    let year = 365 * 86_400;
    assert_eq!(timers.tick(at(-year)), None);
    assert_eq!(timers.next_due(), at(-year + 100));
    assert_eq!(timers.expires_at(), Some(at(-year + 1000)));
    assert_eq!(timers.last_refresh(), Some(at(-year)));
}

#[test]
fn an_attempt_that_never_ends_counts_as_failed() {
    let mut timers = Timers::new(Bounds::default(), at(0));
    assert_eq!(timers.tick(at(0)), Some(Action::Query));
    assert_eq!(timers.next_due(), at(3600));
    assert_eq!(timers.tick(at(3600)), None);
    assert_eq!(timers.failures(), 1);
    assert_eq!(timers.tick(at(3601)), Some(Action::Query));
}

#[test]
fn intervals_keep_to_the_bounds_and_jitter_only_shortens_them() {
    let mut timers = Timers::new(Bounds::default(), at(0));
    timers.loaded(at(0), &soa(0, 0, 1000), None, 0);
    assert_eq!(timers.next_attempt(), Some(at(1)));
    timers.loaded(at(0), &soa(u32::MAX, 10, u32::MAX), None, 0);
    assert_eq!(timers.next_attempt(), Some(at(86_400)));
    timers.loaded(at(0), &soa(100, 10, 1000), None, u32::MAX);
    assert_eq!(timers.next_attempt(), Some(at(90)));
}

#[test]
fn the_end_of_time_is_reached_without_a_panic() {
    let mut timers = Timers::new(Bounds::default(), Timestamp::MAX);
    timers.loaded(Timestamp::MAX, &soa(u32::MAX, u32::MAX, u32::MAX), None, 7);
    assert_eq!(timers.next_due(), Timestamp::MAX);
    timers.failed(Timestamp::MIN, 7);
    timers.tick(Timestamp::MIN);
}

proptest! {
    #[test]
    fn no_zone_is_forgotten(
        events in prop::collection::vec((0u8..6, -500i64..4000, any::<u32>()), 1..60),
    ) {
        let mut timers = Timers::new(Bounds::default(), at(0));
        let mut now = 0;
        for (event, step, random) in events {
            now += step;
            match event {
                0 => timers.loaded(at(now), &soa(random % 9999, random % 999, random), None, random),
                1 => timers.refreshed(at(now), Some(random), random),
                2 => timers.failed(at(now), random),
                3 => timers.notified(at(now)),
                _ => while timers.tick(at(now)).is_some() {},
            }
            while timers.tick(at(now)).is_some() {}
            // Whatever happened: something is due within the longest interval, and not in the past for ever.
            prop_assert!(timers.next_due() <= at(now + 86_400));
            prop_assert!(timers.next_due() > at(now), "{:?}", timers);
        }
    }
}
