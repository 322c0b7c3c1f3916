//! How serials are made, and how a zone gets from one way to another.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::SerialExt;

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
