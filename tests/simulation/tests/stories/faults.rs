//! Everything stops and starts again.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::Serial;

#[test]
fn all_sites_killed_and_started_in_any_order_serve_all_that_was_acknowledged() {
    let hosts = ["site-a", "site-b", "site-c"];
    for (seed, order) in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::mesh(50 + seed as u64, 3);
        world
            .add_zone("site-b", zone("alpha.example", 1, &[]))
            .unwrap();
        world
            .add_zone("site-c", zone("beta.example", 1, &[]))
            .unwrap();
        world.changed("site-b", put("alpha.example", "www", 1));
        world.changed("site-c", put("beta.example", "www", 2));
        for host in hosts {
            world.kill(host);
        }
        world.run_for(30);
        for index in order {
            world.start(hosts[index]);
            let pause = world.below(20);
            world.run_for(pause);
        }
        world.settle(120);
        for host in hosts {
            assert!(
                has(world.zone(host, "alpha.example").unwrap(), "www", 1),
                "{order:?}"
            );
            assert!(
                has(world.zone(host, "beta.example").unwrap(), "www", 2),
                "{order:?}"
            );
        }
    }
}

#[test]
fn a_site_that_starts_alone_serves_what_it_holds_at_once() {
    let mut world = World::mesh(60, 3);
    world
        .add_zone("site-b", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(60);
    for host in ["site-a", "site-b", "site-c"] {
        world.kill(host);
    }
    world.start("site-c");
    assert!(world.core("site-c").ready());
    assert!(world.zone("site-c", "alpha.example").is_some());
}

#[test]
fn directory_and_catalog_change_together_across_a_crash_at_any_moment() {
    for moment in 0..40 {
        let mut world = World::mesh(61, 2);
        world.host("site-a").slow_disk = 30;
        world.request("site-b", |request| Input::Host {
            request,
            zone: zone("alpha.example", 1, &[]),
            high_water: None,
        });
        world.run_for(1);
        let me = world.hosts["site-b"].site.name.clone();
        let claim = zonemesh_update::request::claim_zone(&directory(), &name("alpha.example"), &me)
            .unwrap();
        let head = world.core("site-a").head(&directory()).unwrap().clone();
        let edited = zonemesh_update::apply(&head, &claim, &zonemesh_update::Everything)
            .unwrap()
            .zone;
        world.put_directory("site-a", edited);
        world.run_millis(moment);
        world.kill("site-a");
        let disk = &world.hosts["site-a"].disk;
        let listed = zonemesh_zone::directory::Directory::read(&disk.zones[&directory()].zone)
            .owners
            .len();
        let members = zonemesh_zone::catalog::Catalog::read(&disk.zones[&catalog()].zone)
            .unwrap()
            .members
            .len();
        assert_eq!(listed, members, "after {moment} ms");
    }
}

#[test]
fn ticks_at_the_moment_that_was_asked_for_come_to_rest() {
    let mut world = World::mesh(62, 3);
    world
        .add_zone("site-b", zone("alpha.example", 1, &[]))
        .unwrap();
    world.kill("site-a");
    // The simulation itself fails when a core wants to be woken again and again at one moment.
    world.run_for(3000);
    let before = world.log.len();
    assert!(before < 400, "{}", world.tail());
}

#[test]
fn a_site_that_was_broken_into_cannot_hand_out_a_directory() {
    let peer = |site: &str| PeerId::Site(zonemesh_zone::directory::SiteName::new(site).unwrap());
    let mut world = World::mesh(61, 3);
    world.settle(60);
    let before = world.hosts["site-b"].transfers.len();
    for apex in [directory(), catalog()] {
        let (serial, from) = (Some(Serial(1_000_000)), peer("site-c"));
        world.input("site-b", Input::Notify { apex, serial, from });
    }
    world.run_for(5);
    let asked = &world.hosts["site-b"].transfers[before..];
    assert!(!asked.is_empty(), "the news is looked into");
    assert!(
        asked.iter().all(|(_, _, from)| *from == peer("site-a")),
        "{asked:?}"
    );
}
