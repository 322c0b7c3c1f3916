//! What the oracle of histories takes for a broken promise, and what not.

use zonemesh_mesh::core::Input;
use zonemesh_simulation::oracle::{Oracle, Rule};
use zonemesh_simulation::record::{Record, Removed, SiteRecord, Wanted, Writer, ZoneRecord};
use zonemesh_simulation::*;
use zonemesh_zone::directory::{Departure, Directory, remove_site as remove};
use zonemesh_zone::{Name, Record as ResourceRecord};

/// A mesh in which `site-b` and `site-c` are promoted to the same epoch, apart from each other.
fn promoted_apart(seed: u64) -> World {
    let mut world = World::mesh(seed, 6);
    world.let_be_promoted("site-b");
    world.let_be_promoted("site-c");
    world.settle(60);
    world.kill("site-a");
    for one in ["site-b", "site-d"] {
        for other in ["site-c", "site-e", "site-f"] {
            world.cut_both(one, other);
        }
    }
    world.run_for(30);
    for host in ["site-b", "site-c"] {
        let to = site(host);
        let request = world.request(host, |request| Input::Promote {
            request,
            to,
            seen: None,
            force: true,
        });
        world.done(host, request).unwrap();
        world.run_for(10);
    }
    world
}

#[test]
fn what_one_of_two_writers_of_the_same_number_removed_the_other_one_has_not_heard_of() {
    for seed in 0..4 {
        let mut world = promoted_apart(7900 + seed);
        let head = world.core("site-c").head(&directory()).unwrap().clone();
        let read = Directory::read(&head);
        let gone = site("site-f");
        let mut editor = head.edit();
        let at = world.clock().wall;
        remove(&mut editor, &read, &gone, &Departure::Remove, at).unwrap();
        let request = world.put_directory("site-c", editor.finish().unwrap());
        let serial = world.done("site-c", request).unwrap().into_int();
        world.kill("site-f");

        let site = |host: &String| {
            let is_gone = host == "site-f";
            let removed = Removed {
                epoch: read.epoch.clone(),
                serial,
                pins: read.sites[&gone].pins.clone(),
            };
            let known = SiteRecord {
                wanted: if is_gone { Wanted::No } else { Wanted::Yes },
                removal_asked: is_gone,
                parted: false,
                removed: is_gone.then_some(removed),
            };
            (host.clone(), known)
        };
        let writer = |(host, epoch): (&str, u32)| Writer {
            epoch,
            host: host.to_owned(),
            sure: true,
        };
        let mut record = Record {
            sites: world.hosts.keys().map(site).collect(),
            writers: [("site-a", 1), ("site-b", 2), ("site-c", 2)]
                .map(writer)
                .into(),
            ..Record::default()
        };
        // Where the serials of the other stand makes no difference.
        let mut oracle = Oracle::default();
        for step in 0..60 {
            if step == 20 {
                world.heal_links();
            }
            world.run_for(1);
            let serials = ["site-b", "site-c"].map(|host| world.serial(host, "dns.internal"));
            oracle
                .look(&world, &mut record)
                .unwrap_or_else(|finding| panic!("seed {seed}, {serials:?}, {serial}: {finding}"));
        }
    }
}

#[test]
fn what_is_left_of_a_forged_version_under_a_true_serial_is_no_mistake_of_who_took_it() {
    for (owner, is_mistake) in [("ghost", true), ("forged7", false)] {
        let mut world = super::three(7910);
        let member = |host: &String| {
            let known = SiteRecord {
                wanted: Wanted::Yes,
                removal_asked: false,
                parted: false,
                removed: None,
            };
            (host.clone(), known)
        };
        let zone = ZoneRecord {
            primary: "site-b".to_owned(),
            wanted: Wanted::Yes,
            removal_asked: false,
            with_site: None,
            parted: false,
            mistaken: false,
            configured: false,
            falsified: false,
            values: Default::default(),
            alive: world.now,
            expire: 86_400,
        };
        let mut record = Record {
            zones: [("alpha.example".to_owned(), zone)].into(),
            sites: world.hosts.keys().map(member).collect(),
            writers: vec![Writer {
                epoch: 1,
                host: "site-a".to_owned(),
                sure: true,
            }],
            ..Record::default()
        };
        let mut oracle = Oracle::default();
        oracle.look(&world, &mut record).unwrap();
        let mut editor = world.zone("site-c", "alpha.example").unwrap().edit();
        let line = format!("{owner}.alpha.example. 60 IN A 192.0.2.66");
        let left = ResourceRecord::from_text(&line, &Name::root_bytes()).unwrap();
        editor.add(left).unwrap();
        world.falsify("site-c", editor.finish().unwrap());
        let found = oracle.look(&world, &mut record);
        let is_of_contents = found.is_err_and(|finding| finding.rule == Rule::Contents);
        assert_eq!(is_of_contents, is_mistake, "{owner}");
    }
}
