//! What would make storms, and the bounds that hold: links that come and go, NOTIFYs by the thousand, a primary that hangs.
//!
//! The bounds are those of `docs/reference/status.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::directory::SiteName;
use zonemesh_zone::{Name, Serial};

use super::three;

/// Questions of a site about one zone to one peer within a minute, when somebody keeps saying that there is news.
const QUESTIONS: usize = 20;
/// NOTIFYs within a minute for each zone and peer, on average, on links that come and go.
const NOTIFIES: usize = 2;

const SITES: [&str; 5] = ["site-a", "site-b", "site-c", "site-d", "site-e"];

fn peer(site: &str) -> PeerId {
    PeerId::Site(SiteName::new(site).unwrap())
}

/// Five sites with ten zones each.
fn five(seed: u64) -> World {
    let mut world = World::mesh(seed, 5);
    for (number, host) in SITES.iter().cycle().take(50).enumerate() {
        let times = (300, 60, 86_400);
        let made = timed_zone(&format!("z{number}.example"), 1, times, &[]);
        world.add_zone(host, made).unwrap();
    }
    world.settle(120);
    world
}

/// The most questions about one zone to one peer within any minute since a moment.
fn busiest(world: &World, host: &str, since: Duration) -> (usize, Option<(Name, PeerId)>) {
    let mut asked: BTreeMap<(Name, PeerId), Vec<Duration>> = BTreeMap::new();
    for (at, apex, peer) in &world.hosts[host].transfers {
        if *at >= since {
            let times = asked.entry((apex.clone(), peer.clone())).or_default();
            times.push(*at);
        }
    }
    let minute = Duration::from_secs(60);
    let most = asked.into_iter().map(|(what, times)| {
        let within = |start: &Duration| {
            times
                .iter()
                .filter(|at| *at >= start && **at < *start + minute)
                .count()
        };
        (times.iter().map(within).max().unwrap_or(0), Some(what))
    });
    most.max_by_key(|(count, _)| *count).unwrap_or((0, None))
}

fn sent(world: &World, host: &str, kind: &str) -> usize {
    world.hosts[host].sent.get(kind).copied().unwrap_or(0)
}

/// An hour in which each link of `site-b` is up and down for 1 to 30 s by turns; `busy` is how often zones change meanwhile.
fn an_hour_of_flapping(seed: u64, busy: bool) {
    let mut world = five(seed);
    let others = ["site-a", "site-c", "site-d", "site-e"];
    let start = world.now;
    let end = start + Duration::from_secs(3600);
    let mut next: BTreeMap<&str, Duration> = others.iter().map(|host| (*host, start)).collect();
    let mut down: BTreeMap<&str, bool> = others.iter().map(|host| (*host, false)).collect();
    let (mut minute, mut worst) = (start, (0, 0));
    let mut before: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut value = 0u8;
    while world.now < end {
        for host in others {
            if next[host] <= world.now {
                let pause = 1000 + world.below(29_000);
                next.insert(host, world.now + Duration::from_millis(pause));
                let is_down = !down[host];
                down.insert(host, is_down);
                match is_down {
                    true => world.cut_both("site-b", host),
                    false => {
                        let pairs = [("site-b", host), (host, "site-b")];
                        for (from, to) in pairs {
                            world.net.cut.remove(&(from.to_owned(), to.to_owned()));
                        }
                    }
                }
            }
        }
        if busy && world.now.as_secs().is_multiple_of(20) {
            value = value.wrapping_add(1);
            for (number, host) in SITES.iter().enumerate() {
                let apex = format!("z{number}.example");
                world.change(host, put(&apex, "www", value));
            }
        }
        world.run_for(1);
        if world.now >= minute + Duration::from_secs(60) {
            minute = world.now;
            for host in SITES {
                let now = (sent(&world, host, "transfer"), sent(&world, host, "notify"));
                let then = before.insert(host, now);
                if let Some(then) = then {
                    worst.0 = worst.0.max(now.0 - then.0);
                    worst.1 = worst.1.max(now.1 - then.1);
                }
            }
        }
    }
    let most = SITES.map(|host| busiest(&world, host, start).0);
    println!(
        "busy {busy}: questions about a zone to a peer in a minute, by site: {most:?}; of a site in a minute at most {} questions and {} NOTIFYs",
        worst.0, worst.1
    );
    for host in SITES {
        let (count, what) = busiest(&world, host, start);
        assert!(
            count <= QUESTIONS,
            "{host}: {count} in a minute of {what:?}\n{}",
            world.tail()
        );
    }
    assert!(worst.1 <= NOTIFIES * 52 * 4, "{}", worst.1);
    world.heal_links();
    world.settle(120);
}

#[test]
fn an_hour_of_links_that_come_and_go_causes_no_storm_where_nothing_changes() {
    an_hour_of_flapping(920, false);
}

#[test]
fn an_hour_of_links_that_come_and_go_causes_no_storm_where_zones_change() {
    an_hour_of_flapping(921, true);
}

#[test]
fn a_thousand_false_notifies_a_second_are_a_few_questions_a_minute() {
    let mut world = three(922);
    let start = world.now;
    for number in 0..120_000u32 {
        let serial = Some(Serial(1_000_000 + number));
        let (apex, from) = (name("alpha.example"), peer("site-a"));
        world.input("site-c", Input::Notify { apex, serial, from });
        world.run_millis(1);
    }
    let (count, what) = busiest(&world, "site-c", start);
    println!("120,000 NOTIFYs in two minutes: at most {count} questions in a minute");
    assert!(count <= QUESTIONS, "{count} of {what:?}");
    assert!(count >= 2, "it is looked into all the same");
}

#[test]
fn a_thousand_old_notifies_a_second_at_the_primary_are_answered_once_a_second_at_most() {
    let mut world = three(923);
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(10);
    let before = sent(&world, "site-b", "notify");
    for _ in 0..60_000 {
        let (apex, from) = (name("alpha.example"), peer("site-a"));
        let serial = Some(Serial(1));
        world.input("site-b", Input::Notify { apex, serial, from });
        world.run_millis(1);
    }
    let told = sent(&world, "site-b", "notify") - before;
    println!("60,000 old NOTIFYs in a minute: {told} sent back");
    assert!((1..=61).contains(&told), "{told}");
}

#[test]
fn real_news_is_followed_at_once_however_often_it_comes() {
    let mut world = three(924);
    for value in 0..50u8 {
        world.changed("site-b", put("alpha.example", "www", value));
        world.run_millis(150);
        let there = world.zone("site-c", "alpha.example").unwrap();
        assert!(has(there, "www", value), "{value}\n{}", world.tail());
    }
}

#[test]
fn what_a_primary_told_only_one_site_before_it_hung_reaches_all_within_30_seconds() {
    for seed in 930..940 {
        let mut world = three(seed);
        world.cut("site-b", "site-c");
        world.changed("site-b", put("alpha.example", "www", 7));
        world.run_millis(200);
        world.hang("site-b");
        world.heal_links();
        assert!(!has(
            world.zone("site-c", "alpha.example").unwrap(),
            "www",
            7
        ));
        world.run_until(30, "another holder has given it", |world| {
            has(world.zone("site-c", "alpha.example").unwrap(), "www", 7)
        });
    }
}

#[test]
fn a_transfer_that_hangs_with_its_source_does_not_hold_up_the_other_sources() {
    let mut world = three(925);
    world.hang("site-b");
    world.run_for(1);
    let apex = name("alpha.example");
    world.input("site-c", Input::Refresh { apex });
    let started = world.now;
    world.run_until(15, "another source is asked", |world| {
        let asked = &world.hosts["site-c"].transfers;
        asked.iter().any(|(at, apex, from)| {
            *at >= started && *apex == name("alpha.example") && *from == peer("site-a")
        })
    });
}

#[test]
fn the_first_source_that_failed_is_told_of_and_not_the_last() {
    let mut world = three(926);
    world.kill("site-b");
    // The primary is gone; the other, asked after it, has lost the zone.
    world.run_for(1);
    world.cut_both("site-c", "site-a");
    world.run_for(400);
    let told = world.hosts["site-c"]
        .happened
        .iter()
        .rev()
        .find_map(|(_, what)| match what {
            Happening::TransferFailed { apex, from, .. } if *apex == name("alpha.example") => {
                Some(from.clone())
            }
            _ => None,
        });
    let view = world.core("site-c").zone(&name("alpha.example")).unwrap();
    let first = view.first_error.cloned().map(|(from, _)| from);
    assert_eq!((told, first), (Some(peer("site-b")), Some(peer("site-b"))));
}

#[test]
fn a_primary_that_starts_while_the_catalog_is_broken_and_its_secondaries_do_not_tell_each_other_for_ever()
 {
    let mut world = World::mesh(1610, 3);
    world
        .add_zone("site-b", zone("shop.example", 1, &[]))
        .unwrap();
    world.settle(60);
    let mut editor = world.core("site-a").head(&catalog()).unwrap().edit();
    editor.remove_name(&name("version.catalog.dns.internal"));
    let broken = editor.finish().unwrap();
    let request = world.request("site-a", |request| Input::Change {
        request,
        change: Change::Edited(broken),
    });
    world.done("site-a", request).unwrap();
    world.run_for(5);
    // No plan says that it is the primary of its zone, and the others still say so.
    world.restart("site-b");
    world.run_for(120);
    for (host, peer) in [("site-a", "site-b"), ("site-b", "site-a")] {
        let told = world.hosts[host]
            .told
            .iter()
            .filter(|(_, apex, to)| *apex == name("shop.example") && to.to_string() == peer);
        let told = told.count();
        assert!(
            told < 10,
            "{host} told {peer} {told} times\n{}",
            world.tail()
        );
    }
}
