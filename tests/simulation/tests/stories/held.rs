//! What the brake holds stays held until an operator has said something, whatever happens to the site meanwhile.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::directory::{Directory, SiteName, remove_owner, set_owner};

/// What a site tells as held after so many other things.
fn told_since(world: &World, host: &str, others: usize) -> usize {
    let happened = world.hosts[host].happened.iter().skip(others);
    let held = |what: &&(std::time::Duration, Happening)| matches!(what.1, Happening::Held { .. });
    happened.filter(held).count()
}

/// What the plan of a site holds: the names, as they are shown to operators.
fn held(world: &mut World, host: &str) -> Vec<String> {
    let report = world.core(host).report().unwrap();
    let held = report.plan.held.iter();
    held.flat_map(|held| held.names.clone()).collect()
}

#[test]
fn zones_that_are_held_are_held_after_a_restart_too_however_many_of_them_came_back_meanwhile() {
    let zones = ["z0.example", "z1.example", "z2.example"];
    let mut world = World::mesh(9100, 3);
    for apex in zones.iter().chain(&["z3.example"]) {
        world.add_zone("site-b", zone(apex, 1, &[])).unwrap();
    }
    world.settle(60);
    world
        .edit_directory(|editor, _| {
            for apex in zones {
                assert!(remove_owner(editor, &name(apex)).unwrap());
            }
        })
        .unwrap();
    world.run_for(90);
    // A restart of those who hold neither carries it out nor forgets to tell it.
    for host in ["site-a", "site-b", "site-c"] {
        let before = world.hosts[host].happened.len();
        world.restart(host);
        world.run_for(5);
        assert_eq!(told_since(&world, host, before), 1, "{host}");
        assert_eq!(held(&mut world, host).len(), 3, "{host}");
    }
    // Two of the three come back while the sites are down, so that the third is alone, and no bulk by itself.
    let before = world.hosts["site-c"].happened.len();
    world.kill("site-c");
    let owner = SiteName::new("site-b").unwrap();
    world
        .edit_directory(|editor, _| {
            for apex in &zones[1..] {
                set_owner(editor, &name(apex), &owner).unwrap();
            }
        })
        .unwrap();
    world.run_for(5);
    world.kill("site-b");
    world.start("site-b");
    world.start("site-c");
    world.run_for(90);
    for host in ["site-a", "site-b", "site-c"] {
        assert_eq!(held(&mut world, host), ["z0.example."], "{host}");
        assert!(world.zone(host, "z0.example").is_some(), "{host}");
        assert!(!world.saw(host, |what| matches!(what, Happening::ZoneRemoved(_))));
    }
    assert!(told_since(&world, "site-c", before) > 0);
    // Approved after another restart, it goes, and nothing is left of it on disk.
    for host in ["site-a", "site-b", "site-c"] {
        world.restart(host);
        world.run_for(5);
        let report = world.core(host).report().unwrap();
        let hash = report.plan.held[0].fingerprint.to_string();
        world.decide(host, hash, Verdict::Approve);
        world.run_for(5);
        assert!(world.zone(host, "z0.example").is_none(), "{host}");
        let mut table = world.hosts[host].disk.table.iter();
        assert!(!table.any(|((table, _), value)| table == CONSENT && !value.is_empty()));
    }
    world.settle(60);
}

#[test]
fn sites_that_are_held_are_held_after_a_restart_too_however_many_of_them_came_back_meanwhile() {
    let mut world = World::mesh(9101, 5);
    world.settle(60);
    let lost = ["site-d", "site-e"].map(|site| SiteName::new(site).unwrap());
    let head = world.core("site-a").head(&directory()).unwrap().clone();
    let read = Directory::read(&head);
    let without = |editor: &mut zonemesh_zone::Editor, sites: &[SiteName]| {
        for site in sites {
            for record in read.sites[site].records(&directory()).unwrap() {
                editor.remove_rrset(&record.owner, record.rtype);
            }
        }
    };
    // A mistake in the directory: neither was removed from the mesh, and neither can ask for anything any longer.
    for site in ["site-d", "site-e"] {
        world.kill(site);
    }
    world
        .edit_directory(|editor, _| without(editor, &lost))
        .unwrap();
    world.run_for(90);
    let here = ["site-a", "site-b", "site-c"];
    for host in here {
        assert_eq!(held(&mut world, host), ["site-d", "site-e"], "{host}");
        let before = world.hosts[host].happened.len();
        world.restart(host);
        world.run_for(5);
        assert_eq!(told_since(&world, host, before), 1, "{host}");
        assert_eq!(held(&mut world, host), ["site-d", "site-e"], "{host}");
        assert_eq!(world.hosts[host].members.len(), 4, "{host}");
    }
    // One of the two comes back while site-b is down.
    world.kill("site-b");
    let records = read.sites[&lost[0]].records(&directory()).unwrap();
    world
        .edit_directory(|editor, _| {
            for record in records {
                editor.add(record).unwrap();
            }
        })
        .unwrap();
    world.run_for(5);
    world.start("site-b");
    world.run_for(90);
    for host in here {
        assert_eq!(held(&mut world, host), ["site-e"], "{host}");
        assert_eq!(world.hosts[host].members.len(), 4, "{host}");
        assert!(!world.saw(host, |what| matches!(what, Happening::SiteLeft(_))));
        let report = world.core(host).report().unwrap();
        let hash = report.plan.held[0].fingerprint.to_string();
        world.decide(host, hash, Verdict::Approve);
        world.run_for(5);
        assert_eq!(world.hosts[host].members.len(), 3, "{host}");
        let mut table = world.hosts[host].disk.table.iter();
        assert!(!table.any(|((table, _), value)| table == CONSENT && !value.is_empty()));
    }
}
