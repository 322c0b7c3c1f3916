//! A primary comes back with an old copy, and finds at the others what it has forgotten.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_update::request::publish;
use zonemesh_zone::directory::{Departure, Directory, KeyPin, SiteName};
use zonemesh_zone::{Serial, SerialExt};

use super::{three, three_on};

const ZONE: &str = "alpha.example";

/// Makes a backup of site-b's disk, then changes that the backup does not have; site-b is off at the end.
fn changed_since_backup(world: &mut World, changes: u8) -> (Backup, Serial) {
    world.changed("site-b", put(ZONE, "old", 1));
    world.settle(60);
    let backup = world.copy_disk("site-b");
    for last in 1..=changes {
        world.changed("site-b", put(ZONE, &format!("new{last}"), last));
    }
    world.settle(60);
    let newest = world.serial("site-c", ZONE).unwrap();
    world.kill("site-b");
    (backup, Serial(newest))
}

/// Starts a site with what a backup has.
fn restore(world: &mut World, host: &str, backup: &Backup) {
    world.restore_disk(host, backup);
    world.start(host);
}

/// Puts other contents on the disk of a site that does not run.
fn set_on_disk(world: &mut World, host: &str, zone: zonemesh_zone::Zone) {
    let apex = zone.apex().clone();
    let disk = &mut world.host(host).disk;
    disk.high.insert(apex.clone(), zone.serial());
    disk.zones.get_mut(&apex).unwrap().zone = zone;
}

fn all_have(world: &World, owner: &str, last: u8) -> bool {
    let sites = ["site-a", "site-b", "site-c"];
    sites
        .iter()
        .all(|host| has(world.zone(host, ZONE).unwrap(), owner, last))
}

fn recovered(world: &World, host: &str) -> usize {
    let taken = |(_, what): &&(_, Happening)| matches!(what, Happening::Recovered { .. });
    world.hosts[host].happened.iter().filter(taken).count()
}

#[test]
fn a_restored_primary_takes_the_newer_history_and_changes_go_on_top_of_it() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = three(8100 + seed);
        let (backup, newest) = changed_since_backup(&mut world, 5);
        restore(&mut world, "site-b", &backup);
        assert!(
            world.zone("site-b", ZONE).is_some(),
            "the old copy is served meanwhile"
        );
        // Asked for before anything has been heard.
        let serial = world.changed("site-b", put(ZONE, "late", 9));
        assert!(serial.is_after(newest), "{serial} is not after {newest}");
        world.settle(60);
        for last in 1..=5 {
            assert!(all_have(&world, &format!("new{last}"), last), "new{last}");
        }
        assert!(all_have(&world, "late", 9) && all_have(&world, "old", 1));
        assert_eq!(recovered(&world, "site-b"), 1);
        // Nobody is far above anybody: the others had shown what they have in time.
        assert_eq!(serial, newest.next());
    }
}

#[test]
fn the_later_write_wins_rrset_by_rrset_and_removals_count() {
    let mut world = three(8120);
    world.changed("site-b", put(ZONE, "old", 1));
    world.changed("site-b", put(ZONE, "gone", 1));
    let backup = world.copy_disk("site-b");
    world.changed("site-b", put(ZONE, "old", 2));
    world.changed("site-b", put(ZONE, "kept", 2));
    let removed = vec![(zone_owner("gone"), None)];
    world.changed("site-b", Change::Delete(name(ZONE), removed));
    world.settle(60);
    world.kill("site-b");
    world.cut_both("site-b", "site-a");
    world.cut_both("site-b", "site-c");
    restore(&mut world, "site-b", &backup);
    // Nobody can be reached: it goes on after a while.
    world.changed("site-b", put(ZONE, "old", 3));
    world.run_for(60);
    world.net.cut.clear();
    world.settle(120);
    assert!(all_have(&world, "old", 3) && all_have(&world, "kept", 2));
    assert!(
        !all_have(&world, "gone", 1),
        "what was removed stays removed"
    );
}

fn zone_owner(owner: &str) -> zonemesh_zone::Name {
    name(&format!("{owner}.{ZONE}"))
}

#[test]
fn a_restored_primary_that_is_cut_off_uses_no_serial_a_second_time() {
    for (seed, changes) in (0..20).zip([1, 2, 3, 4, 5, 6, 7].into_iter().cycle()) {
        println!("seed {seed}");
        let mut world = three(8140 + seed);
        let (backup, newest) = changed_since_backup(&mut world, 5);
        world.cut_both("site-b", "site-a");
        world.cut_both("site-b", "site-c");
        restore(&mut world, "site-b", &backup);
        // As many, fewer and more than it has forgotten.
        for last in 0..changes {
            let serial = world.changed("site-b", put(ZONE, &format!("fork{last}"), last));
            assert!(
                serial.is_after(Serial(newest.into_int() + 10_000)),
                "{serial}"
            );
        }
        if seed % 2 == 1 {
            world.restart("site-b");
        }
        let pause = world.below(90);
        world.run_for(pause);
        world.net.cut.clear();
        world.settle(120);
        for last in 1..=5 {
            assert!(
                all_have(&world, &format!("new{last}"), last),
                "new{last}\n{}",
                world.tail()
            );
        }
        for last in 0..changes {
            assert!(all_have(&world, &format!("fork{last}"), last), "fork{last}");
        }
    }
}

#[test]
fn what_only_one_far_site_still_has_is_taken_when_that_site_is_back() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = three(8170 + seed);
        world.changed("site-b", put(ZONE, "old", 1));
        world.settle(60);
        let backup = world.copy_disk("site-b");
        // Only site-c hears of what comes now.
        world.kill("site-a");
        world.changed("site-b", put(ZONE, "new", 1));
        world.run_until(20, "site-c has it", |world| {
            has(world.zone("site-c", ZONE).unwrap(), "new", 1)
        });
        world.kill("site-b");
        world.kill("site-c");
        world.start("site-a");
        restore(&mut world, "site-b", &backup);
        world.changed("site-b", put(ZONE, "late", 2));
        world.run_for(30);
        world.start("site-c");
        world.settle(120);
        assert!(
            all_have(&world, "new", 1) && all_have(&world, "late", 2),
            "{}",
            world.tail()
        );
    }
}

#[test]
fn a_restart_in_the_middle_forgets_nothing() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut world = three(8200 + seed);
        let (backup, _) = changed_since_backup(&mut world, 5);
        world.net.slowest = 300;
        restore(&mut world, "site-b", &backup);
        let request = world.change("site-b", put(ZONE, "late", 9));
        let pause = world.below(1500);
        world.run_millis(pause);
        let done = world.hosts["site-b"].replies.contains_key(&request);
        world.restart("site-b");
        world.net.slowest = 20;
        world.settle(120);
        for last in 1..=5 {
            assert!(all_have(&world, &format!("new{last}"), last), "new{last}");
        }
        assert!(!done || all_have(&world, "late", 9));
    }
}

#[test]
fn a_restored_catalog_primary_takes_directory_and_catalog_from_the_others() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = three(8240 + seed);
        let backup = world.copy_disk("site-a");
        world
            .add_zone("site-c", zone("beta.example", 1, &[]))
            .unwrap();
        world.add_host("site-d", Vec::new());
        world.start("site-d");
        world.join("site-d").unwrap();
        world.settle(60);
        world.kill("site-a");
        restore(&mut world, "site-a", &backup);
        world.settle(120);
        let members = world.core("site-a").catalog().unwrap().members.len();
        assert_eq!(
            members, 2,
            "the zone that was added since the backup is still listed"
        );
        assert_eq!(
            world.hosts["site-b"].members.len(),
            3,
            "the site that joined since is still a member"
        );
        assert_eq!(recovered(&world, "site-a"), 2);
        // And it can be changed.
        world
            .add_zone("site-a", zone("gamma.example", 1, &[]))
            .unwrap();
        remove_site(&mut world, "site-d", Departure::Remove);
        world.settle(120);
    }
}

#[test]
fn a_primary_that_is_certain_takes_nothing_from_a_peer_that_is_ahead() {
    let mut world = three_on(Disks::Model, 8260);
    world.kill("site-c");
    let forged = zone(ZONE, 4_000_000, &["forged 60 IN A 192.0.2.66"]);
    world.run_for(30);
    set_on_disk(&mut world, "site-c", forged);
    world.start("site-c");
    world.settle(120);
    assert!(world.saw("site-b", |what| matches!(what, Happening::PeerAhead { .. })));
    assert_eq!(recovered(&world, "site-b"), 0);
    assert!(!has(world.zone("site-c", ZONE).unwrap(), "forged", 66));
}

/// A mesh in which site-b is its zone's primary with a copy of before nine RRsets went at once. What holds that.
fn with_a_held_history(seed: u64) -> (World, String) {
    let mut world = three(seed);
    for last in 1..10 {
        world.changed("site-b", put(ZONE, &format!("h{last}"), last));
    }
    world.settle(60);
    let backup = world.copy_disk("site-b");
    let all = (1..10).map(|last| (zone_owner(&format!("h{last}")), None));
    world.changed("site-b", Change::Delete(name(ZONE), all.collect()));
    world.settle(60);
    world.kill("site-b");
    restore(&mut world, "site-b", &backup);
    world.run_until(10, "the brake holds it", |world| {
        !held_since(world, "site-b", 0).is_empty()
    });
    let hash = held_since(&world, "site-b", 0).remove(0);
    (world, hash)
}

/// What a site has told of as held, after so many other things.
fn held_since(world: &World, host: &str, others: usize) -> Vec<String> {
    let happened = world.hosts[host].happened.iter().skip(others);
    let held = happened.filter_map(|(_, what)| match what {
        Happening::Held { hash, .. } => Some(hash.clone()),
        _ => None,
    });
    held.collect()
}

/// What a site has on disk of what operators have said.
fn said(world: &World, host: &str) -> usize {
    let table = world.hosts[host].disk.table.iter();
    table
        .filter(|((table, _), value)| table == CONSENT && !value.is_empty())
        .count()
}

/// No change is taken while a newer history is held.
fn is_refused_for_now(world: &mut World) {
    let request = world.change("site-b", put(ZONE, "late", 1));
    let why = world.done("site-b", request).unwrap_err();
    assert!(why.contains("approve"), "{why}");
}

/// The newer history takes the place of the older when an operator has approved it.
fn is_taken_once_approved(world: &mut World, hash: String) {
    let request = world.decide("site-b", hash, Verdict::Approve);
    world.done("site-b", request).unwrap();
    world.settle(60);
    assert!(!has(world.zone("site-b", ZONE).unwrap(), "h1", 1));
}

#[test]
fn a_newer_history_that_removes_much_at_once_waits_for_an_operator() {
    let (mut world, hash) = with_a_held_history(8270);
    is_refused_for_now(&mut world);
    is_taken_once_approved(&mut world, hash);
    world.changed("site-b", put(ZONE, "late", 1));
    world.settle(60);
    assert_eq!(said(&world, "site-b"), 0, "consent is for once");
}

#[test]
fn a_newer_history_that_is_held_is_held_and_told_again_after_a_restart() {
    for seed in 0..5 {
        println!("seed {seed}");
        let (mut world, hash) = with_a_held_history(8271 + 10 * seed);
        for _ in 0..3 {
            let (before, serial) = (
                world.hosts["site-b"].happened.len(),
                world.serial("site-b", ZONE),
            );
            world.restart("site-b");
            world.run_for(90);
            assert_eq!(
                held_since(&world, "site-b", before),
                std::slice::from_ref(&hash)
            );
            assert_eq!(world.core("site-b").held_histories().count(), 1);
            assert_eq!(world.serial("site-b", ZONE), serial, "nothing is published");
            is_refused_for_now(&mut world);
        }
        is_taken_once_approved(&mut world, hash);
    }
}

#[test]
fn an_approval_is_not_asked_for_again_when_the_site_is_killed_before_it_has_served() {
    for seed in 0..5 {
        println!("seed {seed}");
        let (mut world, hash) = with_a_held_history(8272 + 10 * seed);
        // Nobody can give what is approved.
        world.isolate("site-b");
        let request = world.decide("site-b", hash, Verdict::Approve);
        world.done("site-b", request).unwrap();
        let before = world.hosts["site-b"].happened.len();
        world.restart("site-b");
        world.run_for(20);
        assert_eq!(said(&world, "site-b"), 1);
        world.heal_links();
        world.settle(120);
        assert!(!has(world.zone("site-b", ZONE).unwrap(), "h1", 1));
        assert!(held_since(&world, "site-b", before).is_empty());
        assert_eq!(said(&world, "site-b"), 0);
    }
}

#[test]
fn a_newer_history_that_is_declined_is_published_above() {
    for seed in 0..5 {
        println!("seed {seed}");
        let (mut world, hash) = with_a_held_history(8274 + 10 * seed);
        let before = world.hosts["site-b"].happened.len();
        let request = world.decide("site-b", hash, Verdict::Decline);
        world.done("site-b", request).unwrap();
        if seed % 2 == 1 {
            world.restart("site-b");
        }
        world.settle(120);
        world.changed("site-b", put(ZONE, "late", 1));
        world.restart("site-b");
        world.settle(120);
        assert!(all_have(&world, "h1", 1) && all_have(&world, "late", 1));
        assert!(held_since(&world, "site-b", before).is_empty());
    }
}

#[test]
fn changes_wait_for_a_bounded_time_when_nobody_answers() {
    let mut world = three(8280);
    world.kill("site-b");
    world.cut_both("site-b", "site-a");
    world.cut_both("site-b", "site-c");
    world.start("site-b");
    let asked = world.now;
    world.changed("site-b", put(ZONE, "www", 1));
    assert!(
        (world.now - asked).as_millis() <= 5_500,
        "{:?}",
        world.now - asked
    );
}

#[test]
fn a_restart_while_all_others_answer_delays_no_change_and_leaves_no_gap() {
    let mut world = three(8290);
    let before = world.serial("site-b", ZONE).unwrap();
    world.restart("site-b");
    let asked = world.now;
    let serial = world.changed("site-b", put(ZONE, "www", 1));
    assert_eq!(serial, Serial(before).next());
    assert!(
        (world.now - asked).as_millis() < 500,
        "{:?}",
        world.now - asked
    );
}

/// A mesh in which a site is dead for good, so that the doubt of site-b's last start does not end; it has published since.
fn in_doubt_for_good(seed: u64) -> World {
    let mut world = three(seed);
    world.changed("site-b", put(ZONE, "old", 1));
    world.settle(60);
    world.kill("site-c");
    world.restart("site-b");
    world.run_for(20);
    world.changed("site-b", put(ZONE, "www", 1));
    world.run_for(20);
    world
}

#[test]
fn what_was_changed_in_doubt_before_the_copy_is_not_put_over_what_came_after_it() {
    let mut world = in_doubt_for_good(8300);
    let backup = world.copy_disk("site-b");
    world.changed("site-b", put(ZONE, "www", 2));
    world.run_for(20);
    restore(&mut world, "site-b", &backup);
    world.run_for(60);
    for host in ["site-a", "site-b"] {
        let zone = world.zone(host, ZONE).unwrap();
        assert!(has(zone, "www", 2), "{host}\n{}", world.tail());
    }
    world.start("site-c");
    world.settle(120);
    assert!(all_have(&world, "www", 2) && all_have(&world, "old", 1));
}

#[test]
fn a_copy_that_was_made_in_doubt_leads_to_no_serial_twice() {
    for (seed, changes) in (0..12).zip([4, 1, 9].into_iter().cycle()) {
        println!("seed {seed}");
        let mut world = in_doubt_for_good(8310 + seed);
        let backup = world.copy_disk("site-b");
        for last in 2..6 {
            world.changed("site-b", put(ZONE, "www", last));
        }
        world.run_for(20);
        world.cut_both("site-b", "site-a");
        restore(&mut world, "site-b", &backup);
        world.run_for(20);
        for last in 0..changes {
            world.changed("site-b", put(ZONE, &format!("fork{last}"), last));
        }
        if seed % 2 == 1 {
            world.restart("site-b");
            world.run_for(10);
            world.changed("site-b", put(ZONE, "again", 1));
        }
        world.net.cut.clear();
        if seed % 4 < 2 {
            world.run_for(20);
        }
        world.start("site-c");
        world.settle(120);
        assert!(all_have(&world, "www", 5), "{}", world.tail());
        for last in 0..changes {
            assert!(all_have(&world, &format!("fork{last}"), last), "fork{last}");
        }
    }
}

#[test]
fn what_the_brake_holds_of_a_site_is_let_go_when_that_site_is_removed() {
    let mut world = three(8330);
    for last in 1..10 {
        world.changed("site-b", put(ZONE, &format!("h{last}"), last));
    }
    world.settle(60);
    let backup = world.copy_disk("site-b");
    world.cut_both("site-b", "site-a");
    world.cut_both("site-c", "site-a");
    let all = (1..10).map(|last| (zone_owner(&format!("h{last}")), None));
    world.changed("site-b", Change::Delete(name(ZONE), all.collect()));
    world.run_for(20);
    restore(&mut world, "site-b", &backup);
    let held = |what: &Happening| matches!(what, Happening::Held { .. });
    world.run_until(10, "the brake holds it", |world| world.saw("site-b", held));
    world.kill("site-c");
    world.net.cut.clear();
    remove_site(&mut world, "site-c", Departure::Remove);
    world.run_for(120);
    // Nobody had to approve what the removed site wanted.
    world.changed("site-b", put(ZONE, "late", 1));
    world.settle(60);
    assert!(has(world.zone("site-a", ZONE).unwrap(), "h1", 1));
}

#[test]
fn a_newer_history_is_forgotten_with_the_site_that_showed_it_and_could_not_hand_it_over() {
    let mut world = three(8340);
    world.changed("site-b", put(ZONE, "old", 1));
    world.settle(60);
    let backup = world.copy_disk("site-b");
    world.kill("site-a");
    world.changed("site-b", put(ZONE, "new", 1));
    world.run_for(20);
    world.kill("site-b");
    world.kill("site-c");
    world.start("site-a");
    world.cut_both("site-a", "site-c");
    // What it says of itself arrives, and what it is asked does not.
    world.cut_requests("site-b", "site-c");
    restore(&mut world, "site-b", &backup);
    world.start("site-c");
    world.run_for(3);
    world.kill("site-c");
    world.net.cut.clear();
    world.run_for(1);
    remove_site(&mut world, "site-c", Departure::Remove);
    world.run_for(300);
    world.changed("site-b", put(ZONE, "late", 1));
    world.settle(120);
}

#[test]
fn what_is_newer_elsewhere_is_not_written_over_before_it_is_durable_here() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut world = three(8350 + seed);
        let (backup, _) = changed_since_backup(&mut world, 5);
        world.cut_both("site-b", "site-a");
        world.cut_both("site-b", "site-c");
        restore(&mut world, "site-b", &backup);
        world.run_for(20);
        world.changed("site-b", put(ZONE, "fork", 9));
        world.hang_disk("site-b");
        world.net.cut.clear();
        world.run_for(60);
        // What it was about to take is on no disk.
        world.kill("site-b");
        world.resume_disk("site-b");
        world.start("site-b");
        world.settle(120);
        for last in 1..=5 {
            assert!(
                all_have(&world, &format!("new{last}"), last),
                "{}",
                world.tail()
            );
        }
        assert!(all_have(&world, "fork", 9));
    }
}

#[test]
fn a_removed_site_does_not_come_back_by_what_an_old_copy_of_the_directory_lets_it_do() {
    for (seed, waits) in (0..8).zip([false, true].into_iter().cycle()) {
        println!("seed {seed}");
        let mut world = three(8360 + seed);
        let site = SiteName::new("site-c").unwrap();
        world.let_be_promoted("site-b");
        world.settle(60);
        let backup = world.copy_disk("site-a");
        let old = world.host("site-c").site.clone();
        remove_site(&mut world, "site-c", Departure::Remove);
        world.settle(60);
        world.kill("site-a");
        // It asks before the others have been heard, or while they cannot be.
        world.net.slowest = 300;
        if !waits {
            world.cut_both("site-a", "site-b");
        }
        restore(&mut world, "site-a", &backup);
        let mut new = old.clone();
        new.pins = vec![KeyPin([7; 32])];
        new.dot = Some(9853);
        new.doq = None;
        new.engine = "another".to_owned();
        new.addresses = vec!["203.0.113.9".parse().unwrap()];
        let made = world.update("site-c", publish(&directory(), &new, Some(&old)).unwrap());
        assert_eq!(made.is_err(), waits, "{made:?}");
        world.run_for(30);
        world.net.cut.clear();
        world.settle(120);
        for host in ["site-a", "site-b"] {
            let read = Directory::read(world.zone(host, "dns.internal").unwrap());
            assert!(
                read.is_removed(&site),
                "{host}: {:?}",
                read.sites.get(&site)
            );
        }
    }
}

#[test]
fn one_site_that_makes_up_a_directory_is_not_believed_by_a_restored_catalog_primary() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut world = three_on(Disks::Model, 8300 + seed);
        world.add_host("site-d", Vec::new());
        world.start("site-d");
        world.join("site-d").unwrap();
        world.settle(60);
        let backup = world.copy_disk("site-a");
        let restored = seed % 2 == 0;
        world
            .add_zone("site-c", zone("beta.example", 1, &[]))
            .unwrap();
        world.settle(60);
        let now = world.copy_disk("site-a");
        world.kill("site-a");
        // site-d was broken into: a directory of its own making, in which a key of its choice is site-b's.
        let forged = world.zone("site-d", "dns.internal").unwrap().clone();
        let mut editor = forged.edit();
        let mut intruder = world.hosts["site-b"].site.clone();
        intruder.pins = vec![zonemesh_zone::directory::KeyPin([66; 32])];
        for record in intruder.records(&directory()).unwrap() {
            editor.remove_rrset(&record.owner, record.rtype);
        }
        for record in intruder.records(&directory()).unwrap() {
            editor.add(record).unwrap();
        }
        editor.set_serial(Serial(forged.serial().into_int() + 1000));
        let forged = editor.finish().unwrap();
        world.kill("site-d");
        set_on_disk(&mut world, "site-d", forged);
        world.start("site-d");
        let disk = if restored { &backup } else { &now };
        restore(&mut world, "site-a", disk);
        world.run_for(120);
        let read = world.core("site-a").directory().unwrap().clone();
        let site = zonemesh_zone::directory::SiteName::new("site-b").unwrap();
        assert_eq!(
            read.sites[&site].pins,
            world.hosts["site-b"].site.pins,
            "{}",
            world.tail()
        );
        assert!(
            read.owners.contains_key(&name("beta.example")),
            "what was added is still listed"
        );
        world.settle(180);
    }
}

#[test]
fn a_change_that_waits_for_directory_and_catalog_wakes_nobody_before_there_is_something_to_do() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut world = three_on(Disks::Model, 8900 + seed);
        let backup = world.copy_disk("site-a");
        world
            .add_zone("site-b", zone("beta.example", 1, &[]))
            .unwrap();
        world.settle(60);
        let newest = world.core("site-a").head(&directory()).unwrap().clone();
        world.kill("site-a");
        // Of site-b it is not known what it has, and what site-c has is on its way for longer than a change waits.
        world.kill("site-b");
        world.restore_disk("site-a", &backup);
        set_on_disk(&mut world, "site-a", newest);
        world.net.slowest = 3000;
        world.start("site-a");
        let pause = world.below(4500);
        world.run_millis(pause);
        let edited = world.core("site-a").head(&directory()).unwrap().clone();
        world.put_directory("site-a", edited);
        world.run_for(30);
    }
}

#[test]
fn a_first_version_in_doubt_that_could_not_be_stored_leaves_nothing_that_the_next_is_measured_by() {
    for seed in 0..5 {
        println!("seed {seed}");
        let mut world = three(8920 + seed);
        let (backup, newest) = changed_since_backup(&mut world, 5);
        world.cut_both("site-b", "site-c");
        restore(&mut world, "site-b", &backup);
        world.run_for(20);
        world.cut_both("site-b", "site-a");
        world.host("site-b").failing_commits = 1;
        let request = world.change("site-b", put(ZONE, "lost", 8));
        assert!(world.done("site-b", request).is_err());
        let serial = world.changed("site-b", put(ZONE, "late", 9));
        assert!(serial.is_after(Serial(newest.into_int() + 10_000)));
        world.net.cut.clear();
        world.settle(120);
        assert!(all_have(&world, "late", 9) && all_have(&world, "new5", 5));
        // That it had what the others have was known when that was made, and nobody's word is against it.
        assert!(recovered(&world, "site-b") <= 1);
        assert_eq!(Serial(world.serial("site-a", ZONE).unwrap()), serial);
    }
}
