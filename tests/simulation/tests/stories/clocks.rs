//! Clocks that are wrong, and clocks that are set while a site runs.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

use super::three;

fn peer(site: &str) -> PeerId {
    PeerId::Site(zonemesh_zone::directory::SiteName::new(site).unwrap())
}

fn told(world: &World, host: &str) -> Vec<ClockFault> {
    let happened = world.hosts[host].happened.iter();
    let faults = happened.filter_map(|(_, what)| match what {
        Happening::ClockWrong(fault) => Some(fault.clone()),
        _ => None,
    });
    faults.collect()
}

#[test]
fn a_clock_that_most_peers_contradict_is_named_by_all_once_and_forgiven_when_right() {
    let mut world = three(900);
    world.set_clock_skew("site-c", 412);
    world.run_for(600);
    let ours = ClockFault::Ours { ahead_ms: 412_000 };
    assert_eq!(told(&world, "site-c"), [ours], "\n{}", world.tail());
    for host in ["site-a", "site-b"] {
        let theirs = ClockFault::Theirs {
            peer: peer("site-c"),
            ahead_ms: 412_000,
        };
        assert_eq!(told(&world, host), [theirs], "{host}");
        let now = world.clock_of(host);
        assert_eq!(world.core(host).clock_doubt(now), None);
    }
    let now = world.clock_of("site-c");
    let doubt = world.core("site-c").clock_doubt(now).unwrap();
    assert!(doubt.contains("wrong by +412 s"), "{doubt}");
    world.set_clock_skew("site-c", 1);
    world.run_for(60);
    for host in ["site-a", "site-b", "site-c"] {
        assert!(
            world.saw(host, |what| *what == Happening::ClocksAgree),
            "{host}"
        );
        assert_eq!(world.core(host).clock_faults(), []);
        let now = world.clock_of(host);
        assert_eq!(world.core(host).clock_doubt(now), None);
    }
}

#[test]
fn of_two_sites_neither_is_blamed_for_clocks_that_differ() {
    let mut world = World::mesh(901, 2);
    world.set_clock_skew("site-b", -900);
    world.run_for(60);
    for (host, other, ahead_ms) in [
        ("site-a", "site-b", -900_000),
        ("site-b", "site-a", 900_000),
    ] {
        let differ = ClockFault::Differ {
            peer: peer(other),
            ahead_ms,
        };
        assert_eq!(told(&world, host), [differ]);
    }
}

#[test]
fn a_clock_within_the_fudge_is_not_told_of() {
    let mut world = three(902);
    world.set_clock_skew("site-c", 290);
    world.run_for(600);
    for host in ["site-a", "site-b", "site-c"] {
        assert_eq!(told(&world, host), []);
    }
}

#[test]
fn a_clock_that_is_set_by_years_expires_no_zone_even_when_no_peer_answers() {
    for by in [40_000_000, -40_000_000, 4_000_000_000] {
        let mut world = three(903);
        world.cut_both("site-c", "site-a");
        world.cut_both("site-c", "site-b");
        world.run_for(60);
        world.set_clock_skew("site-c", by);
        world.run_for(3600);
        let expired = |what: &Happening| matches!(what, Happening::Expired(_));
        assert!(!world.saw("site-c", expired), "{by}\n{}", world.tail());
        assert!(world.zone("site-c", "alpha.example").is_some());
        let set = Happening::ClockSet { by_secs: by };
        assert!(world.saw("site-c", |what| *what == set));
        // Its age is still counted: what is left is what there was, less the time that passed.
        let now = world.clock_of("site-c");
        let left = {
            let view = world.core("site-c").zone(&name("alpha.example")).unwrap();
            let expire = u64::from(view.zone.unwrap().numbers().expire);
            ((view.until.unwrap() - now.mono).as_secs(), expire)
        };
        assert!(left.0 < left.1 - 3600 && left.0 > left.1 - 4200, "{left:?}");
        assert!(world.core("site-c").clock_doubt(now).is_some());
    }
}

#[test]
fn zones_that_expired_by_a_wrong_clock_are_good_again_when_it_is_set_right() {
    let mut world = three(904);
    world.kill("site-c");
    world.cut_both("site-c", "site-a");
    world.cut_both("site-c", "site-b");
    // Its host has forgotten the time while it was off.
    world.set_clock_skew("site-c", 40_000_000);
    world.start("site-c");
    world.run_for(600);
    assert!(
        world.zone("site-c", "alpha.example").is_none(),
        "by its clock it has expired"
    );
    world.set_clock_skew("site-c", 0);
    world.run_for(10);
    assert!(
        world.zone("site-c", "alpha.example").is_some(),
        "\n{}",
        world.tail()
    );
}

#[test]
fn a_peer_that_says_anything_of_its_clock_is_the_one_that_is_named() {
    for ahead_ms in [i64::MAX, i64::MIN, i64::MIN + 1] {
        let mut world = three(905);
        for stuck in [std::time::Duration::MAX, std::time::Duration::ZERO] {
            let beat = Some(Beat {
                ahead_ms,
                stuck,
                sum: None,
            });
            let (peer, result) = (peer("site-a"), Ok(None));
            world.input("site-c", Input::Probed { peer, result, beat });
        }
        let faults = told(&world, "site-c");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].peer(), Some(&peer("site-a")));
        world.jump_clock("site-c", i64::MAX / 2 - EPOCH);
        world.run_for(1);
        world.set_clock_skew("site-c", 0);
        world.settle(60);
    }
}

#[test]
fn directory_and_catalog_warn_from_half_of_their_expiry_on_and_then_stop() {
    let mut world = three(906);
    world.cut_both("site-c", "site-a");
    world.cut_both("site-c", "site-b");
    world.run_for(60);
    world.kill("site-c");
    let expire = world
        .zone("site-b", "dns.internal")
        .unwrap()
        .numbers()
        .expire;
    // Three weeks in a drawer.
    world.set_clock_skew("site-c", i64::from(expire) / 2 + 60);
    world.start("site-c");
    world.run_for(60);
    for apex in [directory(), catalog()] {
        let half = Happening::HalfExpired(apex.clone());
        assert!(world.saw("site-c", |what| *what == half), "{apex}");
        let view = world.core("site-c").zone(&apex).unwrap();
        assert!(view.half_expired && !view.expired && view.zone.is_some());
    }
    world.kill("site-c");
    world.set_clock_skew("site-c", i64::from(expire) + 60);
    world.start("site-c");
    world.run_for(60);
    for apex in [directory(), catalog()] {
        let over = Happening::Expired(apex.clone());
        assert!(world.saw("site-c", |what| *what == over), "{apex}");
    }
    // Whom to trust it still knows, and so it heals by itself.
    world.set_clock_skew("site-c", 0);
    world.heal_links();
    world.settle(120);
    let core = world.core("site-c");
    assert!(core.zones().all(|view| !view.half_expired && !view.expired));
}

#[test]
fn planning_that_does_not_succeed_for_three_cycles_is_told_and_not_before() {
    let mut world = three(907);
    let now = world.clock_of("site-c");
    assert_eq!(world.core("site-c").reconcile_late(now), None);
    // A disk that lost everything, and nobody to get it from: directory and catalog are not known.
    world.isolate("site-c");
    world.kill("site-c");
    world.empty_disk("site-c", Key::Kept);
    world.start("site-c");
    for _ in 0..17 {
        world.run_for(10);
        let now = world.clock_of("site-c");
        assert_eq!(world.core("site-c").reconcile_late(now), None);
    }
    world.run_for(20);
    let now = world.clock_of("site-c");
    let late = world.core("site-c").reconcile_late(now);
    assert!(late.is_some_and(|late| late.as_secs() >= 180), "{late:?}");
    assert_eq!(world.core("site-c").reconciled(), None);
    world.heal_links();
    world.settle(120);
    let now = world.clock_of("site-c");
    assert_eq!(world.core("site-c").reconcile_late(now), None);
    assert!(world.core("site-c").reconciled().is_some());
}

#[test]
fn a_clock_that_was_set_back_while_a_site_was_down_lets_no_copy_be_served_for_longer_than_its_soa_says()
 {
    let mut world = World::mesh(910, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    for host in ["site-a", "site-b", "site-c"] {
        world.kill(host);
    }
    world.set_clock_skew("site-c", -5437);
    world.start("site-c");
    // It would tell the other that there is time left.
    world.start("site-a");
    world.run_for(300 + 45);
    for host in ["site-a", "site-c"] {
        assert_eq!(world.serial(host, "alpha.example"), None, "{host}");
    }
    world.start("site-b");
    world.settle(60);
}

/// Three sites, the primary of a zone lost, and a secondary of it that was down while its clock was set back.
fn set_back_while_down(seed: u64, others: &[&str]) -> World {
    let mut world = World::mesh(seed, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    for host in ["site-b", "site-c"].iter().chain(others) {
        world.kill(host);
    }
    world.run_for(150);
    world.set_clock_skew("site-c", -761_310);
    world.start("site-c");
    world
}

#[test]
fn a_site_whose_clock_was_set_back_while_it_was_down_grants_others_no_time_for_what_it_holds() {
    let mut world = set_back_while_down(912, &["site-a"]);
    let back = |what: &Happening| matches!(what, Happening::ClockSetBack { by_secs } if *by_secs > 761_000);
    assert!(world.saw("site-c", back), "\n{}", world.tail());
    // It learns from the other how old its copy is, and its own word counts again, also after one more start.
    world.run_for(10);
    world.start("site-a");
    world.run_for(50);
    world.restart("site-c");
    world.run_for(300 + 45 - 210);
    for host in ["site-a", "site-c"] {
        assert_eq!(world.serial(host, "alpha.example"), None, "{host}");
    }
    world.start("site-b");
    world.settle(60);
}

#[test]
fn what_a_disk_says_of_ages_counts_again_when_the_clock_is_right() {
    let mut world = set_back_while_down(913, &["site-a"]);
    world.run_for(60);
    world.restart("site-c");
    world.run_for(300 + 45 - 210);
    // It knows no better, and nobody else does.
    assert_eq!(world.serial("site-c", "alpha.example"), Some(1));
    world.set_clock_skew("site-c", 0);
    world.run_for(45);
    assert_eq!(world.serial("site-c", "alpha.example"), None);
    world.start("site-a");
    world.start("site-b");
    world.settle(60);
}

#[test]
fn a_clock_that_is_set_back_brings_no_copy_back_that_has_had_its_time() {
    let mut world = World::mesh(911, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world.kill("site-b");
    world.run_for(400);
    assert_eq!(world.serial("site-c", "alpha.example"), None);
    world.set_clock_skew("site-c", -592);
    for _ in 0..60 {
        world.run_for(1);
        assert_eq!(world.serial("site-c", "alpha.example"), None);
    }
    world.restart("site-c");
    assert_eq!(world.serial("site-c", "alpha.example"), None);
    world.start("site-b");
    world.settle(60);
}

#[test]
fn a_site_whose_clock_is_set_back_while_it_runs_grants_others_no_more_than_is_left() {
    let mut world = World::mesh(914, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world.kill("site-b");
    world.run_for(200);
    // The other asks what is left before this one has noticed.
    world.kill("site-a");
    world.set_clock_skew("site-c", -1000);
    world.start("site-a");
    world.run_for(300 + 45 - 200);
    for host in ["site-a", "site-c"] {
        assert_eq!(world.serial(host, "alpha.example"), None, "{host}");
    }
    world.start("site-b");
    world.settle(60);
}

#[test]
fn a_clock_that_is_set_back_a_little_at_a_time_lets_no_copy_be_served_for_longer() {
    let mut world = World::mesh(915, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world.kill("site-b");
    for step in 1..=115 {
        // Never as much at once as would be taken for a clock that was set.
        world.set_clock_skew("site-c", -9 * step);
        world.run_for(3);
    }
    for host in ["site-a", "site-c"] {
        assert_eq!(world.serial(host, "alpha.example"), None, "{host}");
    }
    world.start("site-b");
    world.settle(60);
}

#[test]
fn a_clock_that_is_set_back_brings_no_copy_back_that_had_expired_before_the_start() {
    let mut world = World::mesh(916, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world.kill("site-b");
    world.run_for(400);
    world.restart("site-c");
    world.run_for(60);
    world.set_clock_skew("site-c", -4181);
    for _ in 0..60 {
        world.run_for(1);
        assert_eq!(world.serial("site-c", "alpha.example"), None);
    }
    world.start("site-b");
    world.settle(60);
}
