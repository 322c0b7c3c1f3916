//! A site comes back with its key and an empty disk, and becomes itself again from its peers, its own zones included.

use zonemesh_mesh::core::*;
use zonemesh_simulation::cost::Measured;
use zonemesh_simulation::*;
use zonemesh_zone::{Serial, SerialExt};

use super::{three, three_on};

const ZONE: &str = "alpha.example";

/// Empties a site's disk but for its key and the file that says who the others are.
fn emptied(world: &mut World, host: &str) {
    let others: Vec<_> = world.hosts[host].members.to_vec();
    world.empty_disk(host, Key::Kept);
    let state = world.host(host);
    state.settings.mesh.as_mut().unwrap().bootstrap = others;
}

fn all_have(world: &World, owner: &str, last: u8) -> bool {
    let sites = ["site-a", "site-b", "site-c"];
    sites.iter().all(|host| {
        let served = world.zone(host, ZONE).expect("all serve it");
        has(served, owner, last)
    })
}

#[test]
fn the_freshest_copy_of_all_is_taken_and_not_the_first() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = three(8400 + seed);
        // site-a, which is asked first, misses what site-c has.
        world.kill("site-a");
        world.changed("site-b", put(ZONE, "www", 1));
        world.run_until(20, "site-c has it", |world| {
            has(world.zone("site-c", ZONE).unwrap(), "www", 1)
        });
        let newest = Serial(world.serial("site-c", ZONE).unwrap());
        // Neither hears the other, so that site-a stays behind.
        world.cut_both("site-a", "site-c");
        emptied(&mut world, "site-b");
        world.start("site-a");
        world.run_for(20);
        world.start("site-b");
        world.run_until(10, "it knows its zones again", |world| {
            let core = world.hosts["site-b"].core.as_ref();
            core.is_some_and(|core| core.zone(&name(ZONE)).is_some_and(|view| view.spec.primary))
        });
        let serial = world.changed("site-b", put(ZONE, "late", 2));
        assert!(serial.is_after(newest), "{serial} is not after {newest}");
        world.net.cut.clear();
        world.settle(120);
        assert!(all_have(&world, "www", 1) && all_have(&world, "late", 2));
    }
}

#[test]
fn of_forty_sites_several_are_asked_at_once_and_what_a_single_one_has_is_found() {
    const SITES: usize = 40;
    for seed in 0..4 {
        let mut mesh = Measured::new(8410 + seed, SITES, SITES);
        mesh.power_comes_back("at once", 0);
        let mut world = mesh.world;
        let hosts: Vec<String> = world.hosts.keys().cloned().collect();
        let (primary, only) = (&hosts[3], &hosts[5 + 9 * seed as usize]);
        let zone = "zone-0003.example";
        for host in hosts.iter().filter(|host| *host != only) {
            world.cut_both(primary, host);
        }
        world.changed(primary, put(zone, "last", 9));
        world.run_until(5, "the only one has it", |world| {
            has(world.zone(only, zone).unwrap(), "last", 9)
        });
        // Whoever has it tells nobody, and is not asked.
        for host in hosts.iter().filter(|host| *host != only) {
            world.cut_both(only, host);
        }
        emptied(&mut world, primary);
        world.net.cut.clear();
        let before = world.now;
        world.host(primary).transfers.clear();
        world.start(primary);
        world.run_until(10, "it has its zone again", |world| {
            let core = world.hosts[primary].core.as_ref();
            core.is_some_and(|core| core.ready() && core.zone(&name(zone)).unwrap().spec.primary)
        });
        assert!(has(world.zone(primary, zone).unwrap(), "last", 9));
        let asked = &world.hosts[primary].transfers;
        let of_it = asked.iter().filter(|(_, apex, _)| *apex == name(zone));
        let mut whom: Vec<&PeerId> = of_it.map(|(_, _, peer)| peer).collect();
        let times = whom.len();
        whom.sort();
        whom.dedup();
        // All of them, none twice. One after the other that would be forty times there and back: eight tenths of a second.
        assert_eq!((whom.len(), times), (SITES - 1, SITES - 1));
        let took = world.now - before;
        assert!(took.as_millis() < 450, "{took:?}");
    }
}

#[test]
fn nothing_is_invented_while_nobody_can_be_reached() {
    let mut world = three(8420);
    world.changed("site-b", put(ZONE, "www", 1));
    world.settle(60);
    emptied(&mut world, "site-b");
    world.host("site-b").settings.zones.push(own(ZONE, &[]));
    world.cut_both("site-b", "site-a");
    world.cut_both("site-b", "site-c");
    world.start("site-b");
    // What its zone file says, which is imported at each start.
    let file = zone(ZONE, 99, &["file 60 IN A 192.0.2.99"]);
    for _ in 0..5 {
        let request = world.change("site-b", Change::Replace(file.clone()));
        let why = world.done("site-b", request).unwrap_err();
        assert!(why.contains("directory"), "{why}");
        world.run_for(60);
        assert!(!world.core("site-b").ready() && world.zone("site-b", ZONE).is_none());
    }
    world.net.cut.clear();
    world.settle(120);
    assert!(all_have(&world, "www", 1) && !all_have(&world, "file", 99));
}

#[test]
fn a_zone_file_is_not_put_over_what_others_hold_however_the_start_goes() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut world = three(8440 + seed);
        world.changed("site-b", put(ZONE, "www", 1));
        world.settle(60);
        emptied(&mut world, "site-b");
        world.host("site-b").settings.zones.push(own(ZONE, &[]));
        world.net.slowest = 1 + world.below(1500);
        world.net.loss = world.below(300);
        if seed % 3 == 0 {
            world.kill("site-a");
        }
        world.start("site-b");
        for last in 0..20 {
            let file = zone(ZONE, 99, &["file 60 IN A 192.0.2.99"]);
            world.change("site-b", Change::Replace(file));
            let pause = world.below(2000);
            world.run_millis(pause);
            if last == 10 && seed % 2 == 0 {
                world.restart("site-b");
            }
            if world.core("site-b").head(&name(ZONE)).is_some() {
                // From here on the import would see that the file is not what the zone came from.
                break;
            }
        }
        world.net = Net {
            slowest: 20,
            ..Net::default()
        };
        if seed % 3 == 0 {
            world.start("site-a");
        }
        world.settle(120);
        assert!(all_have(&world, "www", 1), "{}", world.tail());
    }
}

#[test]
fn a_zone_that_nobody_has_any_longer_begins_from_its_file() {
    let mut world = three_on(Disks::Model, 8480);
    let high = Serial(world.serial("site-b", ZONE).unwrap());
    emptied(&mut world, "site-b");
    for host in ["site-a", "site-c"] {
        world.kill(host);
        world.forget_published(host, ZONE);
        world.host(host).disk.zones.remove(&name(ZONE));
        world.start(host);
    }
    world.host("site-b").settings.zones.push(own(ZONE, &[]));
    world.start("site-b");
    world.run_for(10);
    let file = zone(ZONE, high.into_int() + 1, &["file 60 IN A 192.0.2.99"]);
    world.changed("site-b", Change::Replace(file));
    world.settle(120);
    assert!(all_have(&world, "file", 99));
}

#[test]
fn an_emptied_catalog_primary_takes_up_its_mesh_and_founds_no_other() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = three(8500 + seed);
        world
            .add_zone("site-a", zone("own.example", 7, &[]))
            .unwrap();
        world.settle(60);
        let directory = Serial(world.serial("site-b", "dns.internal").unwrap());
        emptied(&mut world, "site-a");
        if seed % 2 == 1 {
            // Alone for a while: it keeps asking.
            world.cut_both("site-a", "site-b");
            world.cut_both("site-a", "site-c");
            world.start("site-a");
            world.run_for(120);
            assert!(!world.core("site-a").ready() && world.core("site-a").directory().is_none());
            world.net.cut.clear();
        } else {
            world.start("site-a");
        }
        world.settle(120);
        assert!(!directory.is_after(Serial(world.serial("site-a", "dns.internal").unwrap())));
        assert_eq!(world.core("site-a").catalog().unwrap().members.len(), 2);
        assert_eq!(world.hosts["site-a"].members.len(), 2);
        // It writes again, above all that were seen.
        world
            .add_zone("site-c", zone("later.example", 1, &[]))
            .unwrap();
        world.settle(60);
        assert!(Serial(world.serial("site-b", "dns.internal").unwrap()).is_after(directory));
    }
}

#[test]
fn two_emptied_sites_come_back_from_the_third() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = three(8520 + seed);
        world
            .add_zone("site-a", zone("own.example", 7, &[]))
            .unwrap();
        world.changed("site-b", put(ZONE, "www", 1));
        world.settle(60);
        emptied(&mut world, "site-a");
        emptied(&mut world, "site-b");
        world.start("site-a");
        world.start("site-b");
        world.settle(120);
        assert!(all_have(&world, "www", 1));
        assert_eq!(world.serial("site-c", "own.example"), Some(7));
    }
}

#[test]
fn a_damaged_copy_of_an_own_zone_is_replaced_above_all_that_it_published() {
    let mut world = three_on(Disks::Model, 8540);
    // The others miss the last versions.
    world.cut_both("site-b", "site-a");
    world.cut_both("site-b", "site-c");
    world.run_for(30);
    for last in 1..4 {
        world.changed("site-b", put(ZONE, "www", last));
    }
    let published = Serial(world.serial("site-b", ZONE).unwrap());
    world.kill("site-b");
    world.host("site-b").disk.zones.remove(&name(ZONE));
    world.net.cut.clear();
    world.start("site-b");
    world.settle(120);
    let serial = Serial(world.serial("site-b", ZONE).unwrap());
    assert!(
        serial.is_after(published),
        "{serial} is not above {published}"
    );
}
