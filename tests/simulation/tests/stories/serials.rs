//! How serials are made, and how a zone gets from one way to another.

use std::collections::BTreeMap;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::{Name, Serial, SerialExt};

use super::single::{Single, held};

const ZONE: &str = "alpha.example";

/// A change of the zone that all sites serve at once; returns its serial.
fn change(world: &mut World, last: u8) -> u32 {
    let serial = world.changed("site-b", put(ZONE, "www", last));
    world.settle(60);
    for host in ["site-a", "site-b", "site-c"] {
        assert_eq!(world.serial(host, ZONE), Some(serial.into_int()), "{host}");
    }
    serial.into_int()
}

fn set_policy(world: &mut World, policy: SerialPolicy) {
    world.configure("site-b", |settings| {
        settings.serials.insert(name(ZONE), policy);
    });
}

#[test]
fn serials_become_dates_and_then_times_and_every_site_follows_each_step() {
    let mut world = World::mesh(81, 3);
    world.add_zone("site-b", zone(ZONE, 1, &[])).unwrap();
    world.settle(60);
    set_policy(&mut world, SerialPolicy::Date);
    let date = |world: &World| {
        SerialPolicy::Date
            .wanted(world.clock_of("site-b").wall)
            .unwrap()
    };
    let mut serial = change(&mut world, 1);
    assert_eq!(serial, date(&world).into_int());
    assert_eq!(change(&mut world, 2), serial + 1);
    // Back to the time, which is less: not while a site is away that could not follow.
    set_policy(&mut world, SerialPolicy::UnixTime);
    world.isolate("site-c");
    world.run_for(60);
    for last in 3..6 {
        let next = world.changed("site-b", put(ZONE, "www", last));
        world.run_for(20);
        let step = next.into_int().wrapping_sub(serial);
        assert!(step < 1 << 30 || last == 3, "{serial} to {next}");
        serial = next.into_int();
    }
    world.heal_links();
    world.settle(120);
    for last in 6..10 {
        let next = change(&mut world, last);
        assert!(zonemesh_zone::Serial(next).is_after(zonemesh_zone::Serial(serial)));
        serial = next;
    }
    let wall = world.clock_of("site-b").wall as u32;
    assert!(serial.abs_diff(wall) < 3600, "{serial} at {wall}");
}

/// Has a site that is off hold what it holds of a zone under another serial.
fn renumber(world: &mut World, host: &str, apex: &str, ahead: u32) {
    let stored = &mut world.host(host).disk.zones;
    let held = &mut stored.get_mut(&name(apex)).unwrap().zone;
    let mut editor = held.edit();
    editor.set_serial(zonemesh_zone::Serial(
        held.serial().into_int().wrapping_add(ahead),
    ));
    *held = editor.finish().unwrap();
    world.forget_published(host, apex);
}

#[test]
fn a_primary_goes_in_two_steps_to_a_serial_so_far_ahead_that_it_is_not_believed_at_once() {
    let half = 1 << 31;
    for apex in [ZONE, "dns.internal"] {
        for ahead in [half - (1 << 24), half - 2, half] {
            let mut world = World::mesh_on(Disks::Model, 82, 4);
            let first = timed_zone(ZONE, 100, (60, 20, 86_400), &[]);
            world.add_zone("site-b", first).unwrap();
            world.settle(60);
            let before = world.serial("site-a", apex).unwrap();
            world.kill("site-c");
            renumber(&mut world, "site-c", apex, ahead);
            world.start("site-c");
            // Once is not enough: a member that lies would move it each time.
            world.run_for(20);
            assert_eq!(world.serial("site-a", apex), Some(before), "{apex} {ahead}");
            world.settle(600);
            world.changed("site-b", put(ZONE, "www", 7));
            world.settle(60);
            assert!(has(world.zone("site-c", ZONE).unwrap(), "www", 7));
        }
    }
}

/// Two sites, of which the second is primary of a zone that a foreign server is told of; nothing of it expires or is refreshed here.
fn with_foreign(seed: u64, serial: u32) -> World {
    let mut world = World::mesh(seed, 2);
    let nothing = Foreign {
        zones: BTreeMap::new(),
        notified: Vec::new(),
    };
    world.foreign.insert("off-site".to_owned(), nothing);
    let spec = own(ZONE, &["off-site"]);
    world.configure("site-b", |settings| settings.zones.push(spec));
    let zone = timed_zone(ZONE, serial, (86_400, 86_400, 864_000), &[]);
    world.changed("site-b", Change::Replace(zone));
    world.settle(60);
    world
}

/// The foreign server comes to hold what the primary has, under a serial.
fn holds(world: &mut World, serial: u32) {
    let mut editor = world.zone("site-b", ZONE).unwrap().edit();
    editor.set_serial(Serial(serial));
    let there = &mut world.foreign.get_mut("off-site").unwrap().zones;
    there.insert(name(ZONE), editor.finish().unwrap());
}

#[test]
fn a_foreign_secondary_that_comes_to_be_ahead_is_noticed_in_two_minutes_and_told_of_more_in_one() {
    for (ours, theirs) in [(7, 8), (7, 500_000), (u32::MAX - 5, 5), (5, 1 << 30)] {
        let mut world = with_foreign(83, ours);
        assert_eq!(world.serial("site-b", ZONE), Some(ours));
        // Nothing happens here: nobody has a reason to tell it of anything.
        world.run_for(1000);
        holds(&mut world, theirs);
        let noticed = |world: &World| {
            let happened = &world.hosts["site-b"].happened;
            happened.iter().any(|(_, what)| {
                matches!(what, Happening::PeerAhead { theirs: told, .. } if *told == Serial(theirs))
            })
        };
        world.run_until(120, "it is noticed", noticed);
        world.run_until(60, "it is told of what is above", |world| {
            let told = &world.foreign["off-site"].notified;
            told.iter()
                .any(|(_, serial)| serial.is_after(Serial(theirs)))
        });
        let above = world.serial("site-b", ZONE).map(Serial).unwrap();
        assert!(above.is_after(Serial(theirs)), "{above}");
        // Once it has followed that is all.
        holds(&mut world, above.into_int());
        world.run_for(1000);
        assert_eq!(world.serial("site-b", ZONE), Some(above.into_int()));
    }
}

#[test]
fn a_foreign_secondary_that_has_missed_a_version_is_told_of_it_again() {
    let mut world = with_foreign(84, 7);
    holds(&mut world, 7);
    world.run_for(100);
    let count = |world: &World| world.foreign["off-site"].notified.len();
    let before = count(&world);
    world.run_for(1000);
    assert_eq!(count(&world), before, "who has it is told nothing");
    holds(&mut world, 6);
    world.run_until(120, "it is told again", |world| count(world) > before);
    // It goes on to hold what it does: twice a minute, and no more.
    world.run_for(600);
    assert!(count(&world) <= before + 24, "{}", count(&world) - before);
}

#[test]
fn a_policy_waits_for_a_foreign_secondary_to_show_what_it_holds_and_then_takes_its_step() {
    let mut world = with_foreign(85, 7);
    set_policy(&mut world, SerialPolicy::Date);
    let date = |world: &World| {
        SerialPolicy::Date
            .wanted(world.clock_of("site-b").wall)
            .unwrap()
    };
    let next = |world: &mut World, last: u8| world.changed("site-b", put(ZONE, "www", last));
    // It has answered nothing yet.
    assert_eq!(next(&mut world, 1), Serial(8));
    world.settle(60);
    holds(&mut world, 8);
    world.run_for(120);
    let dated = next(&mut world, 2);
    assert_eq!(dated, date(&world));
    // Back to the time: around the circle, no faster than it follows.
    set_policy(&mut world, SerialPolicy::UnixTime);
    let mut serial = dated;
    for last in 3..8 {
        world.settle(60);
        holds(&mut world, serial.into_int());
        world.run_for(120);
        serial = next(&mut world, last);
    }
    let wall = world.clock_of("site-b").wall as u32;
    assert!(
        serial.into_int().abs_diff(wall) < 3600,
        "{serial} at {wall}"
    );
}

#[test]
fn foreign_secondaries_of_ten_thousand_zones_are_all_asked_in_two_minutes_and_never_many_at_once() {
    let zones: Vec<ZoneSpec> = (0..10_000)
        .map(|number| ZoneSpec {
            mesh: false,
            ..own(&format!("zone{number}.example"), &["off-site"])
        })
        .collect();
    let contents = zones
        .iter()
        .map(|spec| held(zone(&spec.apex.to_string(), 1, &[])));
    let contents = contents.collect();
    let (mut single, _) = Single::new(zones, contents);
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    let end = single.now.mono + std::time::Duration::from_secs(120);
    loop {
        single.now.mono = single.core.next_due().max(single.now.mono);
        if single.now.mono > end {
            break;
        }
        let mut at_once = 0;
        for output in single.handle(Input::Tick) {
            if let Output::AskSerial { apex, .. } = output {
                at_once += 1;
                *asked.entry(apex.to_string()).or_default() += 1;
            }
        }
        assert!(at_once <= 128, "{at_once} at once");
        assert!(single.core.next_due() > single.now.mono, "it goes on");
    }
    assert_eq!(asked.len(), 10_000);
    assert!(asked.values().all(|times| (2..=4).contains(times)));
}

/// A foreign server that follows the catalog and is told by site-a, while site-b is the primary of the zone; as [`with_foreign`].
fn with_consumer(seed: u64, serial: u32) -> World {
    let mut world = World::mesh(seed, 3);
    let nothing = Foreign {
        zones: BTreeMap::new(),
        notified: Vec::new(),
    };
    world.foreign.insert("off-site".to_owned(), nothing);
    world.configure("site-a", |settings| {
        let told = &mut settings.catalogs.notify;
        told.push(PeerId::Foreign("off-site".into()));
    });
    let zone = timed_zone(ZONE, serial, (86_400, 86_400, 864_000), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world
}

/// How often the foreign server was told of the zone.
fn told(world: &World) -> usize {
    let told = &world.foreign["off-site"].notified;
    told.iter().filter(|(apex, _)| *apex == name(ZONE)).count()
}

#[test]
fn a_consumer_that_is_told_by_another_site_than_the_primary_is_asked_and_told_again() {
    let mut world = with_consumer(86, 7);
    holds(&mut world, 7);
    world.run_for(100);
    let before = told(&world);
    world.run_for(1000);
    assert_eq!(told(&world), before, "who has it is told nothing");
    holds(&mut world, 6);
    world.run_until(120, "it is told again", |world| told(world) > before);
    world.run_for(600);
    let times = told(&world) - before;
    assert!((10..=24).contains(&times), "{times}");
}

#[test]
fn a_consumer_that_comes_to_be_ahead_is_noticed_by_who_tells_it_and_gone_above_by_the_primary() {
    for (ours, theirs) in [(7, 8), (7, 500_000), (u32::MAX - 5, 5), (5, 1 << 30)] {
        let mut world = with_consumer(87, ours);
        assert_eq!(world.serial("site-b", ZONE), Some(ours));
        world.run_for(1000);
        holds(&mut world, theirs);
        let noticed = |world: &World| {
            let happened = &world.hosts["site-a"].happened;
            happened.iter().any(|(_, what)| {
                matches!(what, Happening::PeerAhead { theirs: shown, .. } if *shown == Serial(theirs))
            })
        };
        world.run_until(120, "it is noticed", noticed);
        world.run_until(60, "it is told of what is above", |world| {
            let told = &world.foreign["off-site"].notified;
            let above =
                |told: &(Name, Serial)| told.0 == name(ZONE) && told.1.is_after(Serial(theirs));
            told.iter().any(above)
        });
        let above = world.serial("site-b", ZONE).map(Serial).unwrap();
        assert!(above.is_after(Serial(theirs)), "{above}");
        world.settle(60);
        // Once it has followed that is all.
        holds(&mut world, above.into_int());
        world.run_for(1000);
        for host in ["site-a", "site-b", "site-c"] {
            assert_eq!(world.serial(host, ZONE), Some(above.into_int()), "{host}");
        }
    }
}

#[test]
fn a_consumer_that_has_a_change_before_the_site_that_tells_it_is_not_ahead() {
    let mut world = with_consumer(88, 7);
    holds(&mut world, 7);
    world.cut_both("site-a", "site-b");
    world.cut_both("site-a", "site-c");
    world.changed("site-b", put(ZONE, "www", 1));
    holds(&mut world, 8);
    world.run_for(300);
    world.heal_links();
    world.settle(120);
    world.run_for(300);
    assert_eq!(world.serial("site-a", ZONE), Some(8));
    let ahead = |what: &Happening| matches!(what, Happening::PeerAhead { .. });
    let happened = &world.hosts["site-a"].happened;
    assert!(!happened.iter().any(|(_, what)| ahead(what)));
}
