//! Machines that hang, slow down, lose their power, and whose clocks are wrong.

use std::time::Duration;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::directory::SiteName;

use super::three;

fn peer(site: &str) -> PeerId {
    PeerId::Site(SiteName::new(site).unwrap())
}

#[test]
fn a_site_that_hangs_is_noticed_and_goes_on_where_it_was() {
    let mut world = three(100);
    world.hang("site-b");
    let lost = |what: &Happening| matches!(what, Happening::PeerLost { peer: who, .. } if *who == peer("site-b"));
    for host in ["site-a", "site-c"] {
        let host = host.to_owned();
        world.run_until(15, "it is noticed", |world| world.saw(&host, lost));
    }
    // What it is asked for meanwhile is done when it goes on, if nobody takes it back.
    let request = world.change("site-b", put("alpha.example", "www", 1));
    world.run_for(30);
    assert!(!world.hosts["site-b"].replies.contains_key(&request));
    world.resume("site-b");
    assert!(world.done("site-b", request).is_ok());
    world.settle(60);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        1
    ));
    assert!(world.saw("site-a", |what| matches!(what, Happening::PeerBack { .. })));
}

#[test]
fn a_site_that_was_killed_while_it_hung_is_asked_again() {
    let mut world = three(101);
    world.hang("site-b");
    world.run_for(2);
    world.restart("site-b");
    world.settle(60);
    assert!(!world.hangs("site-b"));
    world.changed("site-b", put("alpha.example", "www", 1));
    world.settle(60);
}

#[test]
fn who_hangs_again_and_again_for_a_moment_loses_nothing() {
    let mut world = three(102);
    for round in 0..40u8 {
        let host = ["site-a", "site-b", "site-c"][usize::from(round) % 3];
        world.hang(host);
        let request = world.change("site-b", put("alpha.example", "www", round));
        let pause = world.below(6000);
        world.run_millis(pause);
        world.resume(host);
        world.done("site-b", request).unwrap();
    }
    world.settle(120);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        39
    ));
}

#[test]
fn a_slow_site_gets_everything_all_the_same() {
    let mut world = three(103);
    world.slow("site-c", 40);
    for value in 1..20 {
        world.changed("site-b", put("alpha.example", "www", value));
        world.run_millis(300);
    }
    world.settle(120);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        19
    ));
}

#[test]
fn machines_without_power_come_back_with_all_that_was_acknowledged() {
    let mut world = three(104);
    world.changed("site-b", put("alpha.example", "www", 7));
    world.power_cut(&["site-a", "site-b", "site-c"]);
    world.run_for(100);
    for host in ["site-c", "site-b", "site-a"] {
        world.start(host);
        world.run_for(3);
    }
    world.settle(120);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        7
    ));
}

#[test]
fn a_wrong_clock_changes_nothing_about_what_is_served_and_what_is_new() {
    let mut world = three(105);
    world.set_clock_skew("site-c", -90_000);
    world.jump_clock("site-a", 3600);
    for value in 1..5 {
        world.changed("site-b", put("alpha.example", "www", value));
        world.run_for(100);
        let served = world.zone("site-c", "alpha.example").unwrap();
        assert!(has(served, "www", value), "{value}");
    }
    world.restart("site-c");
    world.set_clock_skew("site-c", 0);
    world.settle(120);
}

#[test]
fn a_clock_that_jumps_past_the_expiry_closes_no_zone_whose_primary_is_there() {
    let mut world = three(106);
    world.jump_clock("site-c", 100_000);
    for _ in 0..400 {
        world.run_for(1);
        assert!(world.zone("site-c", "alpha.example").is_some());
    }
    let expired = |what: &Happening| matches!(what, Happening::Expired(_));
    assert!(!world.saw("site-c", expired));
    assert!(world.now > Duration::from_secs(400));
}

#[test]
fn who_hung_for_longer_than_a_zone_may_be_served_does_not_serve_it_when_it_goes_on() {
    let mut world = World::mesh(108, 3);
    let times = (30, 10, 300);
    let zone = timed_zone("alpha.example", 1, times, &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world.hang("site-c");
    world.kill("site-b");
    world.run_for(600);
    world.resume("site-c");
    world.run_millis(1);
    assert_eq!(world.serial("site-c", "alpha.example"), None);
    assert!(world.saw("site-c", |what| matches!(what, Happening::Expired(_))));
    world.start("site-b");
    world.settle(60);
    // Who hung while the primary was there has it confirmed as soon as it can ask.
    world.hang("site-c");
    world.run_for(600);
    world.resume("site-c");
    world.run_until(3, "it is confirmed", |world| {
        world.serial("site-c", "alpha.example") == Some(1)
    });
}
