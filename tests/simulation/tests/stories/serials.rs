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
