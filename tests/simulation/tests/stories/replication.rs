//! Zones of a mesh in bad weather: lost messages, sites that are down, serials that went back, disks that fail.

use std::time::Duration;
use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::{Serial, SerialExt};

use zonemesh_zone::directory::Departure;

/// Three sites; `alpha.example` is site-b's.
fn three(seed: u64) -> World {
    let mut world = World::mesh(seed, 3);
    world
        .add_zone("site-b", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world
}

#[test]
fn lost_notifies_are_repeated() {
    let mut world = three(11);
    world.cut("site-b", "site-c");
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(2);
    assert_eq!(world.serial("site-c", "alpha.example"), Some(1));
    world.net.cut.clear();
    world.run_until(10, "the NOTIFY is repeated", |world| {
        world.serial("site-c", "alpha.example") == Some(2)
    });
}

#[test]
fn soa_timers_find_a_change_of_which_no_notify_ever_tells() {
    let mut world = three(12);
    world.configure("site-b", |settings| {
        settings.pace.floor = Duration::from_secs(100_000)
    });
    world.cut("site-b", "site-c");
    world.run_for(1);
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(10);
    world.net.cut.clear();
    world.run_until(400, "the refresh timer asks", |world| {
        world.serial("site-c", "alpha.example") == Some(2)
    });
}

#[test]
fn a_change_during_a_transfer_is_not_missed() {
    let mut world = three(13);
    world.net.slowest = 400;
    for last in 1..30 {
        world.change("site-b", put("alpha.example", "www", last));
        world.run_until(1, "a moment", |world| !world.log.is_empty());
        let until = world.below(3);
        world.run_for(until);
    }
    // No timer helps within this time: the NOTIFYs must have done it.
    world.run_until(5, "the last change is served everywhere", |world| {
        ["site-a", "site-c"]
            .iter()
            .all(|host| has(world.zone(host, "alpha.example").unwrap(), "www", 29))
    });
}

#[test]
fn a_peer_takes_the_newest_version_from_any_other_when_the_primary_is_gone() {
    let mut world = three(14);
    world.add_host("site-d", Vec::new());
    world.start("site-d");
    world.join("site-d").unwrap();
    world.settle(60);
    // Only site-d hears of the change before the primary dies; site-a would be asked first.
    world.cut_both("site-b", "site-a");
    world.cut_both("site-b", "site-c");
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_until(5, "site-d has it", |world| {
        world.serial("site-d", "alpha.example") == Some(2)
    });
    world.kill("site-b");
    world.run_until(700, "the others have it from site-d", |world| {
        ["site-a", "site-c"]
            .iter()
            .all(|host| world.serial(host, "alpha.example") == Some(2))
    });
}

#[test]
fn a_failed_commit_takes_the_head_back_and_the_requester_is_told() {
    let mut world = three(15);
    world.host("site-b").failing_commits = 1;
    let request = world.change("site-b", put("alpha.example", "www", 1));
    assert!(
        world
            .done("site-b", request)
            .unwrap_err()
            .contains("No space left")
    );
    assert!(world.saw("site-b", |what| matches!(
        what,
        Happening::CommitFailed { .. }
    )));
    assert_eq!(
        world.changed("site-b", put("alpha.example", "mail", 2)),
        Serial(2)
    );
    world.settle(30);
    let served = world.zone("site-c", "alpha.example").unwrap();
    assert!(has(served, "mail", 2) && !has(served, "www", 1));
}

#[test]
fn what_was_made_of_a_change_that_could_not_be_stored_fails_for_the_same_reason() {
    let mut world = three(150);
    world.host("site-b").failing_commits = 1;
    world.host("site-b").slow_disk = 100;
    let request = world.change("site-b", put("alpha.example", "www", 1));
    let later = world.change("site-b", put("alpha.example", "mail", 2));
    for request in [request, later] {
        let why = world.done("site-b", request).unwrap_err();
        assert!(why.contains("No space left"), "{why}");
    }
    world.changed("site-b", put("alpha.example", "mail", 3));
    world.settle(30);
}

#[test]
fn a_secondary_whose_disk_fails_takes_the_change_when_it_works_again() {
    let mut world = three(16);
    world.host("site-c").failing_commits = 3;
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(1);
    assert_eq!(
        world.serial("site-c", "alpha.example"),
        Some(1),
        "the old version serves"
    );
    world.run_until(30, "it is tried again", |world| {
        world.serial("site-c", "alpha.example") == Some(2)
    });
}

/// F-01: the primary comes back with an older copy and knows no high-water mark.
fn regressed(seed: u64, serial: u32, old: u32) {
    let mut world = World::mesh_on(Disks::Model, seed, 3);
    world
        .add_zone("site-b", zone("alpha.example", serial, &[]))
        .unwrap();
    world.settle(60);
    world.kill("site-b");
    let apex = name("alpha.example");
    let disk = &mut world.host("site-b").disk;
    disk.zones.get_mut(&apex).unwrap().zone = zone("alpha.example", old, &[]);
    disk.high.insert(apex, Serial(old));
    world.forget_published("site-b", "alpha.example");
    world.start("site-b");
    let taken = |what: &Happening| matches!(what, Happening::Recovered { .. });
    world.run_until(5, "it is noticed", |world| world.saw("site-b", taken));
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_until(60, "all have the new record", |world| {
        ["site-a", "site-c"]
            .iter()
            .all(|host| has(world.zone(host, "alpha.example").unwrap(), "www", 1))
    });
    assert!(Serial(world.serial("site-c", "alpha.example").unwrap()).is_after(Serial(serial)));
    world.settle(60);
}

#[test]
fn a_primary_whose_copy_went_back_notices_within_seconds_and_takes_what_its_peers_have() {
    regressed(17, 684_609, 64_125);
}

#[test]
fn a_primary_takes_what_its_peers_have_across_the_wrap_of_serials() {
    regressed(18, 5, 4_294_967_290);
    regressed(19, 4_294_967_295, 4_294_967_000);
}

#[test]
fn a_secondary_whose_copy_went_back_takes_the_newer_one_again() {
    let mut world = three(20);
    let backup = world.copy_disk("site-c");
    world.changed("site-b", put("alpha.example", "www", 1));
    world.settle(60);
    world.kill("site-c");
    world.restore_disk("site-c", &backup);
    world.start("site-c");
    world.run_until(5, "it asks at the start", |world| {
        world.serial("site-c", "alpha.example") == Some(2)
    });
}

#[test]
fn a_site_with_an_emptied_disk_answers_nothing_until_it_holds_everything_again() {
    let mut world = three(21);
    world.kill("site-c");
    world.empty_disk("site-c", Key::Kept);
    world.start("site-c");
    assert!(!world.core("site-c").ready());
    world.settle(30);
    assert!(world.core("site-c").ready());
}

#[test]
fn a_primary_with_an_emptied_disk_has_its_zone_back_from_a_peer() {
    let mut world = three(22);
    world.kill("site-b");
    world.empty_disk("site-b", Key::Kept);
    world.start("site-b");
    world.settle(60);
    assert!(
        Serial(2).into_int()
            <= world
                .changed("site-b", put("alpha.example", "www", 1))
                .into_int()
    );
    world.settle(60);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        1
    ));
}

#[test]
fn a_zone_whose_primary_is_gone_expires_at_all_sites_and_heals_with_it() {
    let mut world = World::mesh(23, 3);
    let times = (30, 10, 600);
    world
        .add_zone("site-b", timed_zone("alpha.example", 1, times, &[]))
        .unwrap();
    world.settle(60);
    world.kill("site-b");
    // The others confirm each other's copies, which must not keep them alive for ever.
    world.run_for(200);
    assert!(world.zone("site-a", "alpha.example").is_some());
    let half =
        |world: &World| world.saw("site-a", |what| matches!(what, Happening::HalfExpired(_)));
    world.run_until(150, "half of the time is over", half);
    // The other half, as much as the other's copy was confirmed later by its primary, and one more attempt.
    world.run_for(300 + 30 + 32);
    for host in ["site-a", "site-c"] {
        assert_eq!(world.serial(host, "alpha.example"), None, "{host}");
        assert!(world.saw(host, |what| matches!(what, Happening::Expired(_))));
    }
    assert_eq!(
        world.serial("site-a", "dns.internal"),
        world.serial("site-c", "dns.internal")
    );
    world.start("site-b");
    world.settle(60);
    assert!(world.saw("site-c", |what| matches!(what, Happening::Healed(_))));
}

#[test]
fn a_site_that_cannot_be_reached_but_reaches_others_follows_by_its_own_questions() {
    let mut world = three(24);
    world.cut("site-a", "site-c");
    world.cut("site-b", "site-c");
    // Answers do not come either, on these paths: so there is a third.
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(120);
    assert_eq!(world.serial("site-a", "alpha.example"), Some(2));
    assert_eq!(world.serial("site-c", "alpha.example"), Some(1));
    let members = world.hosts["site-a"].members.len();
    assert_eq!(members, 2, "who is merely unreachable stays a member");
    world.net.cut.clear();
    world.settle(60);
    assert_eq!(world.serial("site-c", "alpha.example"), Some(2));
}

#[test]
fn a_lost_site_costs_probes_and_not_messages_for_each_zone() {
    let mut world = World::mesh(25, 3);
    for number in 0..10 {
        world
            .add_zone("site-a", zone(&format!("z{number}.example"), 1, &[]))
            .unwrap();
    }
    world.settle(60);
    world.kill("site-c");
    world.run_for(30);
    world.host("site-a").sent.clear();
    for last in 1..20 {
        for number in 0..10 {
            world.changed("site-a", put(&format!("z{number}.example"), "www", last));
        }
        world.run_for(10);
    }
    let sent = world.hosts["site-a"].sent["notify"];
    assert!(
        sent <= 200,
        "{sent} NOTIFYs for 190 changes and one site that is there"
    );
    world.start("site-c");
    world.run_until(15, "it has it all", |world| world.converged().is_ok());
}

#[test]
fn a_flapping_site_causes_no_storm() {
    let mut world = World::mesh(26, 3);
    for number in 0..10 {
        world
            .add_zone("site-a", zone(&format!("z{number}.example"), 1, &[]))
            .unwrap();
    }
    world.settle(60);
    world.host("site-a").sent.clear();
    world.host("site-c").sent.clear();
    for _ in 0..60 {
        world.cut_both("site-a", "site-c");
        world.run_for(5);
        world.net.cut.clear();
        world.run_for(5);
    }
    for host in ["site-a", "site-c"] {
        let sent = &world.hosts[host].sent;
        assert!(sent.values().sum::<usize>() < 800, "{host}: {sent:?}");
    }
    world.settle(60);
}

#[test]
fn an_adopted_zone_whose_heir_restarts_is_still_its_own() {
    let mut world = three(27);
    world.kill("site-b");
    remove_site(
        &mut world,
        "site-b",
        Departure::Adopt(zonemesh_zone::directory::SiteName::new("site-c").unwrap()),
    );
    world.settle(60);
    world.restart("site-c");
    world.settle(60);
    world.changed("site-c", put("alpha.example", "www", 1));
    world.settle(60);
    assert!(has(
        world.zone("site-a", "alpha.example").unwrap(),
        "www",
        1
    ));
    world.run_for(8000);
    assert!(
        world.zone("site-c", "alpha.example").is_some(),
        "a primary's copy does not expire"
    );
    assert!(world.zone("site-a", "alpha.example").is_some());
}

#[test]
fn a_site_that_was_cut_off_is_told_of_everything_as_soon_as_a_probe_reaches_it() {
    let mut world = three(28);
    world.cut_both("site-b", "site-c");
    world.cut_both("site-a", "site-c");
    world.run_for(30);
    let lost = |what: &Happening| matches!(what, Happening::PeerLost { .. });
    assert!(world.saw("site-b", lost) && world.saw("site-a", lost));
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(30);
    world.net.cut.clear();
    world.run_until(10, "it has the change", |world| {
        world.serial("site-c", "alpha.example") == Some(2)
    });
    assert!(world.saw("site-b", |what| matches!(what, Happening::PeerBack { .. })));
}

#[test]
fn a_site_that_takes_an_old_copy_from_a_peer_is_told_by_the_primary() {
    let mut world = three(29);
    world.cut_both("site-b", "site-a");
    world.changed("site-b", put("alpha.example", "www", 1));
    // Not so long that site-a could compare what it holds with site-c.
    world.run_for(2);
    world.kill("site-c");
    world.empty_disk("site-c", Key::Kept);
    world.forget_published("site-c", "alpha.example");
    // It finds the zone at site-a only, which has the old version.
    world.cut_both("site-b", "site-c");
    world.start("site-c");
    world.run_until(20, "it has a copy", |world| {
        world.serial("site-c", "alpha.example") == Some(1)
    });
    world
        .net
        .cut
        .remove(&("site-c".to_owned(), "site-b".to_owned()));
    world
        .net
        .cut
        .remove(&("site-b".to_owned(), "site-c".to_owned()));
    world.run_until(20, "it has the new one", |world| {
        world.serial("site-c", "alpha.example") == Some(2)
    });
}

#[test]
fn a_zone_that_is_listed_again_does_not_come_back_older_than_it_was_here() {
    const ALPHA: &str = "alpha.example";
    for restarted in [false, true] {
        let mut world = three(7700 + u64::from(restarted));
        let contents = timed_zone(ALPHA, 1, (60, 20, 86_400), &[]);
        for number in 0..3 {
            // So that the removal of one is none of many.
            let other = zone(&format!("z{number}.example"), 1, &[]);
            world.add_zone("site-b", other).unwrap();
        }
        world.settle(60);
        world.cut_both("site-c", "site-a");
        world.cut_both("site-c", "site-b");
        for last in 1..5 {
            world.changed("site-b", put(ALPHA, "www", last));
        }
        world.run_until(30, "site-a has it", |world| {
            has(world.zone("site-a", ALPHA).unwrap(), "www", 4)
        });
        let before = Serial(world.serial("site-a", ALPHA).unwrap());
        world.remove_zone("site-b", ALPHA).unwrap();
        world.run_until(30, "it is withdrawn", |world| {
            let gone = |host: &str| world.zone(host, ALPHA).is_none();
            gone("site-a") && gone("site-b")
        });
        if restarted {
            world.restart("site-a");
            world.restart("site-b");
            world.run_for(10);
        }
        let again = world.add_zone("site-b", contents);
        // The one that has what is newest is gone at once; the one that is left has never heard that the zone was removed.
        world.net.cut.clear();
        world.cut_both("site-b", "site-a");
        world.cut_both("site-b", "site-c");
        again.unwrap();
        world.run_for(300);
        assert!(world.zone("site-c", ALPHA).is_some() && world.zone("site-a", ALPHA).is_none());
        assert!(world.core("site-a").ready());
        world.net.cut.clear();
        world.settle(120);
        for host in ["site-a", "site-b", "site-c"] {
            let serial = Serial(world.serial(host, ALPHA).unwrap());
            assert!(serial.is_after(before), "{host} serves {serial}");
        }
    }
}
