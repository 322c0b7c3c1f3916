use proptest::prelude::*;

use super::*;

fn limiter(limits: RateLimits) -> RateLimiter {
    RateLimiter::new(limits)
}

/// 10 answers a second, and nobody exempt.
fn ten() -> RateLimits {
    RateLimits {
        per_second: [10; 4],
        exempt: Vec::new(),
        ..RateLimits::default()
    }
}

const ABOUT: About<'static> = about(Kind::Positive, b"\x03www\x07example\0");

const fn about(kind: Kind, source: &[u8]) -> About<'_> {
    About::of(kind, source)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ms(ms: u64) -> u64 {
    1000 * ms
}

/// How many of some answers at one moment are sent.
fn sent(limiter: &RateLimiter, client: &str, about: &About<'_>, now: u64, asked: u32) -> u32 {
    let sent = (0..asked).filter(|_| {
        let verdict = limiter.verdict(ip(client), about, now, || 1);
        verdict == Verdict::Send
    });
    sent.count() as u32
}

#[test]
fn a_network_has_the_answers_of_one_second_at_once_and_then_as_many_each_second() {
    let limiter = limiter(ten());
    let now = ms(1_000_000_000);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now, 1000), 10);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now + ms(99), 1000), 0);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now + ms(100), 1000), 1);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now + ms(600), 1000), 5);
    // However long the flood was, there is no penalty; and however long it was quiet, no more than a second's answers.
    assert_eq!(
        sent(&limiter, "192.0.2.1", &ABOUT, now + ms(60_000), 1000),
        10
    );
}

#[test]
fn all_answers_to_a_network_can_have_a_limit_besides() {
    let one_name = |number: u8| [&[1, number][..], b"\x07example\0"].concat();
    for per_second in [10, 0] {
        let limiter = limiter(RateLimits {
            per_second: [per_second; 4],
            all_per_second: 25,
            ..ten()
        });
        assert!(limiter.limits().any());
        let now = ms(1_000_000);
        let names: Vec<_> = (0..100).map(one_name).collect();
        let all = |client: &str, now| -> u32 {
            let kinds = Kind::ALL.iter().cycle();
            let each = names.iter().zip(kinds);
            each.map(|(name, kind)| sent(&limiter, client, &about(*kind, name), now, 1))
                .sum()
        };
        assert_eq!(all("192.0.2.1", now), 25);
        assert_eq!(all("192.0.2.77", now), 0, "of the same network");
        assert_eq!(all("198.51.100.1", now), 25);
        assert_eq!(all("192.0.2.1", now + ms(400)), 10);
        // One name has no more than before.
        let one = sent(&limiter, "2001:db8::1", &ABOUT, now, 1000);
        assert_eq!(one, if per_second == 10 { 10 } else { 25 });
        let mut proven = ABOUT;
        proven.proven = true;
        assert_eq!(sent(&limiter, "192.0.2.1", &proven, now, 1000), 1000);
    }
}

#[test]
fn networks_kinds_and_names_have_accounts_of_their_own() {
    let limiter = limiter(ten());
    let now = ms(5);
    for (client, about, expected) in [
        ("192.0.2.1", ABOUT, 10),
        // The same network, in another guise too.
        ("192.0.2.254", ABOUT, 0),
        ("::ffff:192.0.2.7", ABOUT, 0),
        ("192.0.3.1", ABOUT, 10),
        ("2001:db8::1", ABOUT, 10),
        ("2001:db8:0:ff:1::", ABOUT, 0),
        ("2001:db8:0:100::", ABOUT, 10),
        ("192.0.2.1", about(Kind::Negative, ABOUT.source), 10),
        ("192.0.2.1", about(Kind::Referral, ABOUT.source), 10),
        ("192.0.2.1", about(Kind::Error, b""), 10),
        ("192.0.2.9", about(Kind::Error, b""), 0),
        (
            "192.0.2.1",
            about(Kind::Positive, b"\x03wwx\x07example\0"),
            10,
        ),
        (
            "192.0.2.1",
            about(Kind::Positive, b"\x02ww\x07example\0"),
            10,
        ),
        ("192.0.2.1", about(Kind::Positive, b"\x07example\0"), 10),
        ("192.0.2.1", about(Kind::Positive, b"\0"), 10),
        ("192.0.2.1", about(Kind::Positive, b""), 10),
    ] {
        let count = sent(&limiter, client, &about, now, 50);
        assert_eq!(count, expected, "{client} {about:?}");
    }
}

#[test]
fn each_kind_has_its_limit_and_none_is_none() {
    let limiter = limiter(RateLimits {
        per_second: [0, 1, 3, MAX_RATE],
        ..ten()
    });
    let now = ms(7);
    for (kind, expected) in Kind::ALL.into_iter().zip([2000, 1, 3, 2000]) {
        let count = sent(&limiter, "192.0.2.1", &about(kind, b"\0"), now, 2000);
        assert_eq!(count, expected, "{kind:?}");
    }
    assert!(
        !RateLimits {
            per_second: [0; 4],
            ..ten()
        }
        .any()
    );
}

#[test]
fn one_in_so_many_of_those_that_are_too_many_is_truncated() {
    for (slip, share) in [(0, 0), (1, 10_000), (2, 5_000), (10, 1_000)] {
        let limiter = limiter(RateLimits { slip, ..ten() });
        let mut draws = Draws::new();
        let mut truncated = 0u32;
        for _ in 0..10_010 {
            match limiter.verdict(ip("192.0.2.1"), &ABOUT, ms(1), || draws.next()) {
                Verdict::Truncate => truncated += 1,
                verdict => assert_ne!(verdict, Verdict::Count),
            }
        }
        // Seven deviations of a fair draw.
        assert!(truncated.abs_diff(share) <= 350, "{slip}: {truncated}");
        assert!(
            share % 10_000 != 0 || truncated == share,
            "{slip}: {truncated}"
        );
    }
}

#[test]
fn who_is_exempt_or_has_proved_its_address_has_no_limit() {
    let limiter = limiter(RateLimits {
        exempt: vec![
            (ip("192.0.2.0"), 25),
            (ip("2001:db8::"), 32),
            (ip("::"), 128),
        ],
        ..ten()
    });
    let mut proven = ABOUT;
    proven.proven = true;
    assert_eq!(sent(&limiter, "198.51.100.1", &proven, ms(1), 500), 500);
    // What they had is taken from nobody.
    assert_eq!(sent(&limiter, "198.51.100.1", &ABOUT, ms(1), 500), 10);
    for (client, expected) in [
        ("192.0.2.1", 500),
        ("192.0.2.127", 500),
        ("::ffff:192.0.2.127", 500),
        ("192.0.2.128", 0),
        ("2001:db8:ffff::1", 500),
        ("2001:db9::1", 10),
        ("::", 500),
        ("203.0.113.1", 10),
    ] {
        assert_eq!(
            sent(&limiter, client, &ABOUT, ms(2), 500),
            expected,
            "{client}"
        );
    }
    let everybody = RateLimiter::new(RateLimits {
        exempt: vec![(ip("0.0.0.0"), 0)],
        ..ten()
    });
    assert_eq!(sent(&everybody, "192.0.2.1", &ABOUT, ms(1), 500), 500);
    assert_eq!(sent(&everybody, "2001:db8::1", &ABOUT, ms(1), 500), 10);
}

#[test]
fn a_dry_run_sends_all_and_counts_those_that_are_too_many() {
    let limiter = limiter(RateLimits {
        dry_run: true,
        ..ten()
    });
    let verdicts: Vec<Verdict> = (0..12)
        .map(|_| limiter.verdict(ip("192.0.2.1"), &ABOUT, ms(1), || 0))
        .collect();
    assert_eq!(verdicts[..10], [Verdict::Send; 10]);
    assert_eq!(verdicts[10..], [Verdict::Count; 2]);
}

#[test]
fn a_flood_of_made_up_networks_frees_nobody_who_has_had_enough() {
    let limiter = limiter(ten());
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, ms(1), 100), 10);
    // As many as there are accounts, four times over.
    for network in 0..4 * (LINES * WAYS) as u32 {
        let client = Ipv4Addr::from(0x0A00_0000 + (network << 8)).into();
        limiter.verdict(client, &ABOUT, ms(1), || 0);
    }
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, ms(1), 100), 0);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, ms(1001), 100), 10);
}

#[test]
fn the_moment_at_which_accounts_begin_anew_is_like_any_other() {
    let limiter = limiter(ten());
    let wraps = MOMENT;
    for before in [0, 400, 999, 1_000, 2_000, 60_000] {
        let now = wraps - ms(before);
        assert_eq!(
            sent(&limiter, "192.0.2.1", &ABOUT, now, 100),
            10,
            "{before}"
        );
        assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now + ms(500), 100), 5);
        assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now + ms(1500), 100), 10);
        assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, now + ms(9000), 100), 10);
        // The next round is with another name: time does not go back.
        sent(&limiter, "198.51.100.1", &ABOUT, now + ms(9000), 1);
        limiter
            .lines
            .iter()
            .flat_map(|line| &line.0)
            .for_each(|cell| cell.store(0, Relaxed));
    }
}

#[test]
fn a_thread_whose_clock_is_a_little_behind_gives_nothing_away() {
    let limiter = limiter(ten());
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, ms(10_000), 100), 10);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, ms(9_200), 100), 0);
    assert_eq!(sent(&limiter, "192.0.2.1", &ABOUT, ms(10_100), 100), 1);
}

#[test]
fn the_log_is_told_once_in_ten_seconds() {
    let limiter = limiter(ten());
    let told: Vec<u64> = (0..35)
        .filter(|second| {
            let now = ms(1000 * second);
            let first = limiter.is_to_be_told(now);
            assert!(!limiter.is_to_be_told(now));
            first
        })
        .collect();
    assert_eq!(told, [0, 10, 20, 30]);
}

#[test]
fn a_network_is_named_as_it_is_counted() {
    let limiter = limiter(ten());
    assert_eq!(limiter.network(ip("192.0.2.77")), (ip("192.0.2.0"), 24));
    assert_eq!(
        limiter.network(ip("::ffff:192.0.2.77")),
        (ip("192.0.2.0"), 24)
    );
    assert_eq!(
        limiter.network(ip("2001:db8:0:1ff::1")),
        (ip("2001:db8:0:100::"), 56)
    );
}

proptest! {
    /// Whatever comes when, in each span of time no network has more than the limit, and the answers of one second besides.
    #[test]
    fn no_network_ever_has_more_than_its_limit(
        rate in 1u32..2000,
        asked in prop::collection::vec((0u64..400_000, 0u8..3), 1..600),
    ) {
        let limiter = limiter(RateLimits { per_second: [rate; 4], ..ten() });
        let mut now = 10_000_000u64;
        let mut sent: [Vec<u64>; 3] = Default::default();
        for (pause, client) in asked {
            // Most come close together.
            now += if pause < 300_000 { pause % 50 } else { pause };
            let address = IpAddr::from([10, 0, client, 1]);
            let verdict = limiter.verdict(address, &ABOUT, now, || 0);
            if verdict == Verdict::Send {
                sent[usize::from(client)].push(now);
            }
        }
        let cost = HOLDS / u64::from(rate);
        for times in &sent {
            for (at, from) in times.iter().enumerate() {
                for (until, to) in times.iter().enumerate().skip(at) {
                    let count = (until - at + 1) as u64;
                    prop_assert!(count <= HOLDS / cost + (to - from) / cost + 1);
                }
            }
        }
    }

    /// Who asks no more often than the limit always has its answers, whatever floods there are beside it.
    #[test]
    fn who_keeps_to_the_limit_always_has_its_answers(
        rate in 1u32..500,
        floods in prop::collection::vec((any::<[u8; 3]>(), 0u32..100), 1..200),
    ) {
        let limiter = limiter(RateLimits { per_second: [rate; 4], ..ten() });
        let cost = u64::from(HOLDS as u32 / rate + 1);
        let mut now = 0;
        for (network, count) in floods {
            now += cost;
            let time = now;
            for _ in 0..count {
                let [a, b, c] = network;
                limiter.verdict([a | 1, b, c, 1].into(), &ABOUT, time, || 0);
            }
            let verdict = limiter.verdict(ip("0.0.2.1"), &ABOUT, time, || 0);
            prop_assert_eq!(verdict, Verdict::Send);
        }
    }
}
