//! One epoch of one site that was begun twice: by its own promotion, and by the writer that had not heard of that and handed
//! over to it.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_update::{Update, request};
use zonemesh_zone::directory::SiteName;
use zonemesh_zone::{Record, Serial, Zone};

/// A mesh of five sites, of which the second can be promoted and is cut off from the writer with the fourth.
fn mesh_in_two(seed: u64) -> World {
    let mut world = World::mesh(seed, 5);
    world.let_be_promoted("site-b");
    world
        .add_zone("site-c", zone("shop.example", 1, &[]))
        .unwrap();
    world.settle(60);
    for one in ["site-a", "site-c", "site-e"] {
        for other in ["site-b", "site-d"] {
            world.cut_both(one, other);
        }
    }
    world.run_for(20);
    world
}

/// Has the second site made the writer by a command given at a site.
fn promote(world: &mut World, at: &str) -> RequestId {
    world.request(at, |request| Input::Promote {
        request,
        to: site("site-b"),
        seen: None,
        force: true,
    })
}

fn note(of: &str) -> Update {
    let line = format!("note.{of}.dns.internal. 300 IN TXT \"of {of}\"");
    Update::new(directory()).add(Record::from_text(&line, &directory()).unwrap())
}

/// Adds a zone at a site, and has the writer of its side list it.
fn add_at(world: &mut World, at: &str, writer: &str, apex: &str) {
    world.host_zone(at, zone(apex, 1, &[])).unwrap();
    let claim = request::claim_zone(&directory(), &name(apex), &site(at)).unwrap();
    world.write(writer, &claim).unwrap();
    world.run_for(20);
    assert_eq!(listed_by(world, at, apex), Some(site(at)));
}

fn listed_by(world: &mut World, host: &str, apex: &str) -> Option<SiteName> {
    let read = world.core(host).directory().unwrap();
    read.owners.get(&name(apex)).cloned()
}

/// The owner names of what a site has set aside of the directory.
fn set_aside(world: &World, host: &str) -> Vec<String> {
    let kept = world.set_aside(host);
    let kept = kept.iter().filter(|kept| kept.zone == directory());
    kept.flat_map(|kept| kept.changes.iter().map(|change| change.owner.to_string()))
        .collect()
}

/// Both sides hear each other; a zone is served by its primary throughout, and by all in the end.
fn heals(world: &mut World, primary: &str, apex: &str) {
    world.end_faults();
    for _ in 0..300 {
        world.run_millis(100);
        let tail = world.tail();
        assert!(world.zone(primary, apex).is_some(), "at any time\n{tail}");
    }
    world.settle(120);
    for host in ["site-a", "site-b", "site-c", "site-d", "site-e"] {
        assert!(world.zone(host, apex).is_some(), "{host}\n{}", world.tail());
        assert_eq!(
            world.core(host).catalog_primary().unwrap().name,
            site("site-b")
        );
    }
}

#[test]
fn what_was_written_between_a_promotion_and_a_hand_over_to_the_same_site_is_set_aside() {
    // Of two seeds the promoted site has the greater serials, of two the one that handed over.
    for seed in 1834..1838 {
        let mut world = mesh_in_two(seed);
        if seed % 2 == 0 {
            // By what somebody told it there is a serial that nobody has.
            let serial = world.serial("site-b", "dns.internal").unwrap();
            for apex in [directory(), catalog()] {
                world.input(
                    "site-b",
                    Input::Notify {
                        apex,
                        serial: Some(Serial::from(serial + (5 << 20))),
                        from: PeerId::Site(site("site-d")),
                    },
                );
            }
        }
        world.hang_disk("site-b");
        let promoted = promote(&mut world, "site-b");
        add_at(&mut world, "site-e", "site-a", "late.example");
        world.write("site-a", &note("site-c")).unwrap();
        let handed = promote(&mut world, "site-a");
        world.done("site-a", handed).unwrap();
        world.run_for(20);
        world.resume_disk("site-b");
        world.done("site-b", promoted).unwrap();
        heals(&mut world, "site-e", "late.example");
        for host in ["site-a", "site-c", "site-e"] {
            let kept = set_aside(&world, host);
            assert!(
                kept.contains(&"note.site-c.dns.internal".to_owned()),
                "{host} of seed {seed}: {kept:?}"
            );
        }
    }
}

#[test]
fn what_a_promoted_site_has_written_stays_though_it_is_handed_over_to_once_more() {
    for seed in 1840..1844 {
        let mut world = mesh_in_two(seed);
        let promoted = promote(&mut world, "site-b");
        world.done("site-b", promoted).unwrap();
        add_at(&mut world, "site-d", "site-b", "late.example");
        // Whether or not the writer that knows nothing of it has written, too.
        if seed % 2 == 0 {
            world.write("site-a", &note("site-c")).unwrap();
            world.write("site-a", &note("site-e")).unwrap();
            world.write("site-a", &note("site-a")).unwrap();
        }
        let handed = promote(&mut world, "site-a");
        world.done("site-a", handed).unwrap();
        // Whoever hears of both before the site itself does keeps what that has.
        world.heal_links();
        for other in ["site-a", "site-c", "site-d", "site-e"] {
            world.cut_both("site-b", other);
        }
        world.run_for(30);
        heals(&mut world, "site-d", "late.example");
        assert_eq!(set_aside(&world, "site-b"), [""; 0]);
        assert_eq!(set_aside(&world, "site-d"), [""; 0]);
        let notes = set_aside(&world, "site-a").len();
        assert_eq!(notes, if seed % 2 == 0 { 3 } else { 0 });
    }
}

#[test]
fn a_hand_over_and_a_promotion_of_the_same_site_have_no_serial_in_common() {
    let mut world = mesh_in_two(1850);
    let promoted = promote(&mut world, "site-b");
    world.done("site-b", promoted).unwrap();
    let mut versions: Vec<Zone> = Vec::new();
    for of in ["site-b", "site-d", "site-a"] {
        world.write("site-b", &note(of)).unwrap();
        versions.push(world.core("site-b").head(&directory()).unwrap().clone());
    }
    world.write("site-a", &note("site-c")).unwrap();
    let handed = promote(&mut world, "site-a");
    let serial = world.done("site-a", handed).unwrap();
    let same = versions.iter().find(|zone| zone.serial() == serial);
    assert!(same.is_none(), "{serial} is two versions");
    world.heal_links();
    world.settle(120);
    let names = |host: &str| {
        let zone = world.zone(host, "dns.internal").unwrap();
        let noted = |of: &&str| {
            let owner = name(&format!("note.{of}.dns.internal"));
            zone.node(&owner).is_some()
        };
        let all = ["site-a", "site-b", "site-c", "site-d"];
        all.into_iter().filter(noted).collect::<Vec<_>>()
    };
    for host in ["site-a", "site-b", "site-c", "site-d", "site-e"] {
        assert_eq!(names(host), ["site-a", "site-b", "site-d"], "{host}");
    }
}
