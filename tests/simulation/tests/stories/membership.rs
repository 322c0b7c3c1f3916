//! Zones and sites come, change and go.

use std::net::{IpAddr, Ipv4Addr};
use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::directory::{Departure, Directory, KeyPin, SiteName, remove_owner, set_owner};
use zonemesh_zone::{Record, Rtype};
use zonemesh_zone::{Serial, SerialExt, Zone};

fn with_zones(seed: u64, sites: usize, zones: usize) -> World {
    let mut world = World::mesh(seed, sites);
    for number in 0..zones {
        world
            .add_zone("site-b", zone(&format!("z{number}.example"), 1, &[]))
            .unwrap();
    }
    world.settle(60);
    world
}

#[test]
fn a_removed_zone_is_withdrawn_everywhere_and_comes_back_above_its_old_serial() {
    let mut world = with_zones(31, 3, 2);
    world.changed("site-b", put("z0.example", "www", 1));
    world.settle(60);
    world.remove_zone("site-b", "z0.example").unwrap();
    world.settle(60);
    for (host, state) in &world.hosts {
        assert!(!state.served.contains_key(&name("z0.example")), "{host}");
        assert!(
            !state.disk.zones.contains_key(&name("z0.example")),
            "{host}"
        );
    }
    world
        .add_zone("site-b", zone("z0.example", 1, &[]))
        .unwrap();
    world.settle(60);
    assert_eq!(world.serial("site-c", "z0.example"), Some(3));
}

#[test]
fn a_zone_that_comes_back_at_a_site_that_never_held_it_goes_above_what_others_served() {
    for restarted in [false, true] {
        let mut world = with_zones(3200 + u64::from(restarted), 3, 4);
        world.kill("site-c");
        world
            .add_zone("site-b", zone("new.example", 1, &[]))
            .unwrap();
        for last in 1..6 {
            world.changed("site-b", put("new.example", "www", last));
        }
        world.run_until(60, "site-a has it", |world| {
            world.serial("site-a", "new.example") == Some(6)
        });
        world.remove_zone("site-b", "new.example").unwrap();
        world.run_until(60, "it is withdrawn", |world| {
            let gone = |host: &str| world.zone(host, "new.example").is_none();
            gone("site-a") && gone("site-b")
        });
        world.start("site-c");
        world.settle(60);
        world
            .add_zone("site-c", zone("new.example", 1, &[]))
            .unwrap();
        if restarted {
            // It does not know any longer whether what it holds is the newest, and nobody can give it what was shown.
            world.restart("site-c");
        }
        world.settle(60);
        assert!(world.serial("site-a", "new.example") > Some(6));
    }
}

#[test]
fn a_zone_that_leaves_and_comes_back_before_anyone_looked_is_transferred_whole() {
    let mut world = with_zones(32, 3, 2);
    world.kill("site-c");
    world.remove_zone("site-b", "z0.example").unwrap();
    world.run_for(5);
    world
        .add_zone("site-b", zone("z0.example", 1, &["new 60 IN A 192.0.2.4"]))
        .unwrap();
    world.run_for(5);
    world.start("site-c");
    world.settle(60);
    assert!(has(world.zone("site-c", "z0.example").unwrap(), "new", 4));
}

#[test]
fn a_member_whose_node_changes_is_transferred_whole_and_serves_on_meanwhile() {
    let mut world = with_zones(33, 3, 1);
    let head = world.core("site-a").head(&catalog()).unwrap().clone();
    let mut editor = head.edit();
    zonemesh_zone::catalog::reset_member(&mut editor, &name("z0.example")).unwrap();
    let edited = editor.finish().unwrap();
    let before = world.hosts["site-c"].transfers.len();
    world.changed("site-a", Change::Edited(edited));
    let again = move |world: &World| {
        world.hosts["site-c"].transfers[before..]
            .iter()
            .any(|(_, apex, _)| *apex == name("z0.example"))
    };
    world.run_until(3, "it is asked for again at once", again);
    world.settle(60);
    assert_eq!(world.serial("site-c", "z0.example"), Some(1));
    assert!(
        world
            .core("site-c")
            .zone(&name("z0.example"))
            .unwrap()
            .errors
            .is_empty()
    );
    assert!(!world.saw("site-c", |what| matches!(
        what,
        Happening::CommitFailed { .. }
    )));
}

#[test]
fn a_zone_that_the_directory_refuses_is_hosted_no_longer() {
    let mut world = with_zones(34, 3, 1);
    assert!(
        world
            .add_zone("site-c", zone("z0.example", 1, &[]))
            .unwrap_err()
            .contains("served here already")
    );
    // It belongs to somebody else by the time the directory is asked.
    world.cut_both("site-a", "site-c");
    world.cut_both("site-b", "site-c");
    world
        .add_zone("site-b", zone("late.example", 1, &[]))
        .unwrap();
    world
        .host_zone("site-c", zone("late.example", 1, &[]))
        .unwrap();
    world.input(
        "site-c",
        Input::Unhost {
            apex: name("late.example"),
        },
    );
    assert_eq!(world.serial("site-c", "late.example"), None);
    world.net.cut.clear();
    world.settle(60);
    assert!(
        !world
            .core("site-c")
            .zone(&name("late.example"))
            .unwrap()
            .spec
            .primary
    );
}

#[test]
fn a_zone_whose_first_version_cannot_be_stored_can_be_added_again() {
    let mut world = with_zones(35, 3, 0);
    world.host("site-b").failing_commits = 1;
    let why = world
        .add_zone("site-b", zone("new.example", 1, &[]))
        .unwrap_err();
    assert!(why.contains("No space left"), "{why}");
    assert!(world.core("site-b").zone(&name("new.example")).is_none());
    world
        .add_zone("site-b", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
    assert_eq!(world.serial("site-c", "new.example"), Some(1));
}

#[test]
fn an_added_zone_survives_a_crash_before_the_directory_has_come_back() {
    let mut world = with_zones(36, 3, 1);
    // The catalog primary acknowledges, but site-b does not hear of it.
    world.cut("site-a", "site-b");
    world
        .add_zone("site-b", zone("new.example", 1, &["www 60 IN A 192.0.2.1"]))
        .unwrap();
    world.restart("site-b");
    world.run_for(20);
    assert!(world.zone("site-b", "new.example").is_some());
    world.net.cut.clear();
    world.settle(90);
    assert!(has(world.zone("site-c", "new.example").unwrap(), "www", 1));
    world.remove_zone("site-b", "new.example").unwrap();
    world.settle(60);
    world.restart("site-b");
    world.settle(60);
    assert!(
        world.zone("site-b", "new.example").is_none(),
        "what was removed stays removed"
    );
}

/// Three sites. The directory that lists `new.example` has reached its primary, `site-b`, and the catalog of that moment has not; nor
/// does it from then on.
fn listed_without_catalog() -> World {
    let mut world = with_zones(40, 3, 1);
    let apex = name("new.example");
    let times = (30, 10, 100);
    world
        .add_zone("site-b", timed_zone("new.example", 1, times, &[]))
        .unwrap();
    let listed = |world: &mut World| {
        let owners = &world.core("site-b").directory().unwrap().owners;
        owners.contains_key(&apex)
    };
    for _ in 0..1000 {
        if listed(&mut world) {
            break;
        }
        world.run_millis(1);
    }
    assert!(listed(&mut world));
    let core = world.core("site-b");
    assert!(!core.catalog().unwrap().members.contains_key(&apex));
    world.isolate("site-b");
    world
}

#[test]
fn a_zone_whose_primary_starts_anew_before_its_catalog_has_come_does_not_expire() {
    let mut world = listed_without_catalog();
    world.restart("site-b");
    world.run_for(300);
    assert!(world.zone("site-b", "new.example").is_some());
    // What is changed meanwhile is as good as at any other time.
    world.changed("site-b", put("new.example", "www", 1));
    world.heal_links();
    world.settle(60);
    let there = world.zone("site-c", "new.example").unwrap();
    assert!(has(there, "www", 1));
}

#[test]
fn a_zone_that_is_removed_before_its_catalog_has_come_is_held_no_longer() {
    let mut world = listed_without_catalog();
    let apex = name("new.example");
    world.remove_zone("site-b", "new.example").unwrap();
    world.run_for(2);
    world.heal_links();
    world.settle(60);
    for (host, state) in &world.hosts {
        assert!(!state.served.contains_key(&apex), "{host} serves it");
        assert!(!state.disk.zones.contains_key(&apex), "{host} keeps it");
    }
}

#[test]
fn a_site_that_was_away_asks_nobody_about_zones_that_were_removed_one_by_one() {
    for seed in 0..5 {
        println!("seed {seed}");
        let mut world = World::mesh(7700 + seed, 3);
        let zones = ["z0.example", "z1.example", "z2.example"];
        for apex in zones {
            world.add_zone("site-b", zone(apex, 1, &[])).unwrap();
        }
        world.settle(60);
        world.kill("site-c");
        for apex in &zones[..2] {
            world.remove_zone("site-b", apex).unwrap();
            world.run_for(5);
        }
        world.start("site-c");
        world.settle(60);
        assert!(
            zones[..2]
                .iter()
                .all(|apex| world.zone("site-c", apex).is_none())
        );
        assert!(world.zone("site-c", "z2.example").is_some());
        assert!(!world.saw("site-c", |what| matches!(what, Happening::Held { .. })));
        // What is listed again is asked about again when it goes with others.
        for apex in &zones[..2] {
            world.add_zone("site-b", zone(apex, 10, &[])).unwrap();
        }
        world.settle(60);
        let head = world.core("site-a").head(&directory()).unwrap().clone();
        let mut editor = head.edit();
        for apex in &zones[..2] {
            assert!(remove_owner(&mut editor, &name(apex)).unwrap());
        }
        let edited = editor.finish().unwrap();
        let request = world.put_directory("site-a", edited);
        world.done("site-a", request).unwrap();
        world.run_for(60);
        assert!(world.saw("site-c", |what| matches!(what, Happening::Held { .. })));
        assert!(
            zones
                .iter()
                .all(|apex| world.zone("site-c", apex).is_some())
        );
    }
}

#[test]
fn a_mass_removal_is_held_until_it_is_approved() {
    let mut world = with_zones(37, 3, 12);
    world
        .edit_directory(|editor, _| {
            for number in 0..6 {
                zonemesh_zone::directory::remove_owner(
                    editor,
                    &name(&format!("z{number}.example")),
                )
                .unwrap();
            }
        })
        .unwrap();
    world.run_for(90);
    for host in ["site-a", "site-b", "site-c"] {
        assert!(world.zone(host, "z0.example").is_some(), "{host}");
        let held =
            |what: &&(std::time::Duration, Happening)| matches!(what.1, Happening::Held { .. });
        assert_eq!(
            world.hosts[host].happened.iter().filter(held).count(),
            1,
            "{host} says so, and once"
        );
    }
    for host in ["site-a", "site-b", "site-c"] {
        let hash = world.core(host).report().unwrap().plan.held[0]
            .fingerprint
            .to_string();
        world.decide(host, hash, Verdict::Approve);
        assert!(world.zone(host, "z0.example").is_none(), "{host}");
        assert!(world.zone(host, "z6.example").is_some(), "{host}");
    }
    world.settle(60);
}

#[test]
fn a_mistake_that_is_taken_back_zone_by_zone_removes_none_of_them() {
    let mut world = with_zones(37, 3, 4);
    let zones = ["z0.example", "z1.example", "z2.example"].map(name);
    let head = world.core("site-a").head(&directory()).unwrap();
    let owners = Directory::read(head).owners;
    world
        .edit_directory(|editor, _| {
            for zone in &zones {
                assert!(remove_owner(editor, zone).unwrap());
            }
        })
        .unwrap();
    world.run_for(90);
    for zone in &zones {
        let site = &owners[zone];
        world
            .edit_directory(|editor, _| set_owner(editor, zone, site).unwrap())
            .unwrap();
        world.run_for(90);
    }
    world.settle(60);
    for host in ["site-a", "site-b", "site-c"] {
        assert!(!world.saw(host, |what| matches!(what, Happening::ZoneRemoved(_))));
    }
}

#[test]
fn a_broken_catalog_and_an_empty_directory_remove_nothing() {
    let mut world = with_zones(38, 3, 3);
    let head = world.core("site-a").head(&catalog()).unwrap().clone();
    let mut editor = head.edit();
    let version = Record::from_text("version 0 IN TXT \"2\"", &catalog())
        .unwrap()
        .owner;
    editor.remove_rrset(&version, Rtype::TXT);
    let edited = editor.finish().unwrap();
    world.changed("site-a", Change::Edited(edited));
    world.run_for(70);
    let all_there = |world: &World| {
        let hosts = ["site-a", "site-b", "site-c"];
        hosts.iter().all(|host| {
            (0..3).all(|number| world.zone(host, &format!("z{number}.example")).is_some())
        })
    };
    assert!(all_there(&world));
    world.changed("site-a", Change::Edited(head));
    world.settle(60);
    let head = world.core("site-a").head(&directory()).unwrap().clone();
    let edited = emptied(&head);
    world.changed("site-a", Change::Edited(edited));
    world.run_for(70);
    assert!(all_there(&world));
    assert_eq!(
        world.hosts["site-b"].members.len(),
        2,
        "nor is anybody forgotten"
    );
}

#[test]
fn a_removed_site_is_trusted_nowhere_and_its_zones_go_with_it() {
    let mut world = with_zones(39, 3, 1);
    world
        .add_zone("site-c", zone("stays.example", 1, &[]))
        .unwrap();
    world.settle(60);
    let old = world.hosts["site-b"].site.clone();
    remove_site(&mut world, "site-b", Departure::Remove);
    world.run_until(10, "site-c has dropped it", |world| {
        world.hosts["site-c"].members.len() == 1
    });
    world.run_for(5);
    for host in ["site-a", "site-c"] {
        assert!(
            world.hosts[host]
                .members
                .iter()
                .all(|member| !member.pins.contains(&old.pins[0]))
        );
        assert!(world.zone(host, "z0.example").is_none(), "{host}");
        assert!(world.saw(host, |what| matches!(what, Happening::SiteLeft(_))));
    }
    let record = zonemesh_update::request::publish(&directory(), &old, None).unwrap();
    assert!(
        world.update("site-b", record).is_err(),
        "its key opens nothing"
    );
    world.restart("site-b");
    world.run_for(100);
    assert!(
        world
            .core("site-a")
            .directory()
            .unwrap()
            .is_removed(&old.name)
    );
    world.kill("site-b");
    world.settle(60);
}

#[test]
fn zones_of_a_removed_site_are_adopted_with_all_that_was_acknowledged() {
    let mut world = with_zones(40, 3, 2);
    world.changed("site-b", put("z0.example", "www", 1));
    world.settle(60);
    remove_site(
        &mut world,
        "site-b",
        Departure::Adopt(SiteName::new("site-c").unwrap()),
    );
    world.run_until(10, "site-c is its primary", |world| {
        world.hosts["site-c"].specs[&name("z0.example")].primary
    });
    world.kill("site-b");
    world.changed("site-c", put("z0.example", "mail", 2));
    world.settle(60);
    let served = world.zone("site-a", "z0.example").unwrap();
    assert!(has(served, "www", 1) && has(served, "mail", 2));
}

#[test]
fn a_tombstone_keeps_an_old_disk_out_until_the_site_is_invited_again() {
    let mut world = with_zones(41, 3, 1);
    world.kill("site-c");
    remove_site(&mut world, "site-c", Departure::Remove);
    world.settle(60);
    world.run_for(30 * 86_400 / 100);
    world.start("site-c");
    world.run_for(120);
    assert_eq!(
        world.hosts["site-a"].members.len(),
        1,
        "it does not announce itself back in"
    );
    // With a new key and a welcome packet it may come again.
    world.kill("site-c");
    let state = world.host("site-c");
    state.site.pins = vec![KeyPin([200; 32])];
    state.settings.mesh.as_mut().unwrap().me.site.pins = vec![KeyPin([200; 32])];
    world.join("site-c").unwrap();
    world.start("site-c");
    world.settle(120);
}

#[test]
fn a_changed_address_is_announced_by_the_site_and_followed_by_all() {
    let mut world = with_zones(42, 3, 1);
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    world.host("site-b").site.addresses = vec![address];
    world.configure("site-b", |settings| {
        settings.mesh.as_mut().unwrap().me.site.addresses = vec![address];
    });
    world.run_until(30, "site-c follows", |world| {
        world.hosts["site-c"]
            .members
            .iter()
            .any(|member| member.addresses == [address])
    });
    assert!(world.saw("site-c", |what| matches!(what, Happening::SiteChanged(_))));
    world.changed("site-b", put("z0.example", "www", 1));
    world.settle(60);
}

#[test]
fn several_addresses_in_any_order_are_announced_once() {
    let mut world = with_zones(43, 3, 1);
    let second: IpAddr = "198.51.100.9".parse().unwrap();
    let addresses = vec![second, world.hosts["site-b"].site.addresses[0], second];
    world.host("site-b").site.addresses = addresses.clone();
    world.configure("site-b", |settings| {
        settings.mesh.as_mut().unwrap().me.site.addresses = addresses;
    });
    world.run_for(300);
    assert_eq!(world.hosts["site-b"].sent.get("announce"), Some(&1));
    world.settle(60);
}

#[test]
fn zones_that_are_imported_one_after_the_other_are_announced_together() {
    for host in ["site-a", "site-b"] {
        let mut world = with_zones(46, 3, 1);
        let names: Vec<String> = (0..100)
            .map(|number| format!("i{number}.example"))
            .collect();
        world.configure(host, |settings| {
            let specs = names.iter().map(|apex| own(apex, &[]));
            settings.zones.extend(specs);
        });
        let before = world.serial("site-a", "dns.internal").unwrap();
        for apex in &names {
            world.change(host, Change::Replace(zone(apex, 1, &[])));
            world.run_millis(20);
        }
        world.settle(60);
        let versions = world.serial("site-a", "dns.internal").unwrap() - before;
        assert!(
            versions <= 15,
            "{host}: {versions} versions of the directory"
        );
        let listed = &world.core("site-a").catalog().unwrap().members;
        assert_eq!(listed.len(), 101);
    }
}

#[test]
fn a_changed_key_is_announced_and_followed_by_all() {
    let mut world = with_zones(44, 3, 1);
    let (old, new) = (world.hosts["site-b"].site.pins[0], KeyPin([201; 32]));
    world.configure("site-b", |settings| {
        settings.mesh.as_mut().unwrap().me.site.pins = vec![old, new];
    });
    world.run_until(30, "both keys are known", |world| {
        world.hosts["site-c"]
            .members
            .iter()
            .any(|member| member.pins.len() == 2)
    });
    world.host("site-b").site.pins = vec![new];
    world.configure("site-b", |settings| {
        settings.mesh.as_mut().unwrap().me.site.pins = vec![new];
    });
    world.run_until(90, "the old key is known no longer", |world| {
        world.hosts["site-c"]
            .members
            .iter()
            .any(|member| member.pins == [new])
    });
    world.changed("site-b", put("z0.example", "www", 1));
    world.settle(60);
}

#[test]
fn a_site_cannot_write_what_is_another_s() {
    let mut world = with_zones(45, 3, 1);
    let other = world.hosts["site-b"].site.clone();
    let update = zonemesh_update::request::publish(&directory(), &other, None).unwrap();
    assert!(world.update("site-c", update).is_err());
    assert!(world.remove_zone("site-c", "z0.example").is_err());
}

#[test]
fn a_foreign_secondary_zone_in_a_mesh_comes_and_goes_with_the_configuration() {
    let mut world = with_zones(46, 3, 1);
    let foreign = |zones: Vec<Zone>| Foreign {
        zones: zones
            .into_iter()
            .map(|zone| (zone.apex().clone(), zone))
            .collect(),
        notified: Vec::new(),
    };
    world.foreign.insert(
        "one".to_owned(),
        foreign(vec![zone("theirs.example", 4, &[])]),
    );
    world.foreign.insert(
        "two".to_owned(),
        foreign(vec![zone("theirs.example", 9, &[])]),
    );
    let from = |peer: &str| ZoneSpec {
        primary: false,
        mesh: false,
        sources: vec![PeerId::Foreign(peer.into())].into(),
        ..own("theirs.example", &[])
    };
    let spec = from("one");
    world.configure("site-c", |settings| settings.zones.push(spec));
    world.run_for(3);
    assert_eq!(world.serial("site-c", "theirs.example"), Some(4));
    assert!(world.core("site-c").ready());
    let spec = from("two");
    world.configure("site-c", |settings| settings.zones = vec![spec]);
    world.input(
        "site-c",
        Input::Refresh {
            apex: name("theirs.example"),
        },
    );
    world.run_for(3);
    assert_eq!(world.serial("site-c", "theirs.example"), Some(9));
    world.restart("site-c");
    world.run_for(3);
    assert_eq!(world.serial("site-c", "theirs.example"), Some(9));
    world.configure("site-c", |settings| settings.zones.clear());
    world.run_for(3);
    assert!(
        !world.hosts["site-c"]
            .served
            .contains_key(&name("theirs.example"))
    );
    assert_eq!(world.serial("site-a", "theirs.example"), None);
    world.settle(30);
}

#[test]
fn a_foreign_secondary_of_a_zone_of_the_mesh_is_told_of_changes() {
    let mut world = with_zones(47, 3, 0);
    world.foreign.insert(
        "off-site".to_owned(),
        Foreign {
            zones: std::collections::BTreeMap::new(),
            notified: Vec::new(),
        },
    );
    let spec = own("ours.example", &["off-site"]);
    world.configure("site-b", |settings| settings.zones.push(spec));
    world.changed("site-b", Change::Replace(zone("ours.example", 1, &[])));
    world.settle(60);
    world.changed("site-b", put("ours.example", "www", 1));
    world.run_for(3);
    let told = &world.foreign["off-site"].notified;
    assert!(
        told.contains(&(name("ours.example"), Serial(2))),
        "{told:?}"
    );
}

#[test]
fn a_site_is_not_ready_while_a_zone_is_missing_and_stays_ready_afterwards() {
    let mut world = with_zones(48, 3, 1);
    world
        .add_zone("site-b", timed_zone("short.example", 1, (30, 10, 100), &[]))
        .unwrap();
    world.settle(60);
    world.add_host("site-d", Vec::new());
    world.start("site-d");
    // Nobody can give one of the zones: its primary is down, and it has expired at the others.
    world.kill("site-b");
    world.run_for(150);
    world.join("site-d").unwrap();
    world.run_for(20);
    assert!(world.core("site-d").directory().is_some());
    assert!(
        !world.core("site-d").ready(),
        "{:?}",
        world.core("site-d").missing()
    );
    world.start("site-b");
    world.run_until(30, "it holds all zones", |world| {
        world.hosts["site-d"].core.as_ref().unwrap().ready()
    });
    // A new zone that cannot be had at once does not close the others.
    world.cut("site-d", "site-b");
    world.cut("site-d", "site-a");
    world.cut("site-d", "site-c");
    world
        .add_zone("site-b", zone("new.example", 1, &[]))
        .unwrap();
    world.run_for(20);
    assert!(world.core("site-d").ready());
}

#[test]
fn a_zone_that_no_site_holds_keeps_no_restarted_site_silent() {
    let mut world = with_zones(53, 3, 1);
    // Listed by hand, and never hosted.
    let listed = world.edit_directory(|editor, _| {
        let owner = SiteName::new("site-b").unwrap();
        set_owner(editor, &name("nowhere.example"), &owner).unwrap();
    });
    listed.unwrap();
    world.run_for(20);
    world.restart("site-c");
    world.run_until(30, "it answers for what there is", |world| {
        world.hosts["site-c"].core.as_ref().unwrap().ready()
    });
    assert_eq!(world.core("site-c").missing(), [name("nowhere.example")]);
    // Where the one that may have it cannot be asked, it does.
    world.kill("site-b");
    world.restart("site-c");
    world.run_for(60);
    assert!(!world.core("site-c").ready());
}

#[test]
fn a_member_that_is_reset_takes_other_contents_at_the_same_serial() {
    let mut world = with_zones(49, 3, 1);
    // Somebody has edited the zone and left its serial as it was.
    let other = zone("z0.example", 1, &["edited 60 IN A 192.0.2.9"]);
    for host in ["site-a", "site-b"] {
        let apex = name("z0.example");
        world
            .host(host)
            .served
            .insert(apex, (Some(other.clone()), None));
    }
    world.input(
        "site-c",
        Input::Refresh {
            apex: name("z0.example"),
        },
    );
    world.run_for(3);
    assert!(!has(
        world.zone("site-c", "z0.example").unwrap(),
        "edited",
        9
    ));
    let head = world.core("site-a").head(&catalog()).unwrap().clone();
    let mut editor = head.edit();
    zonemesh_zone::catalog::reset_member(&mut editor, &name("z0.example")).unwrap();
    let edited = editor.finish().unwrap();
    world.changed("site-a", Change::Edited(edited));
    world.run_until(5, "the whole zone has come", |world| {
        has(world.zone("site-c", "z0.example").unwrap(), "edited", 9)
    });
}

#[test]
fn a_directory_that_cannot_be_stored_is_taken_back_together_with_the_catalog() {
    let mut world = with_zones(70, 3, 1);
    world.host("site-a").failing_commits = 1;
    let why = world
        .add_zone("site-b", zone("new.example", 1, &[]))
        .unwrap_err();
    assert!(why.contains("No space left"), "{why}");
    for apex in [directory(), catalog()] {
        let served = world.hosts["site-a"].served[&apex].0.clone().unwrap();
        let head = world.core("site-a").head(&apex).unwrap();
        assert!(
            head.serial() == served.serial() && head.same_contents(&served),
            "{apex}"
        );
    }
    world
        .add_zone("site-b", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
    // Its first serial is used up: it was published at site-b for a moment.
    assert_eq!(world.serial("site-c", "new.example"), Some(2));
}

#[test]
fn a_site_joins_changes_its_address_and_takes_a_zone_while_the_catalog_primary_comes_and_goes() {
    let mut world = with_zones(71, 3, 2);
    let spec = own("late.example", &[]);
    world.kill("site-a");
    world.configure("site-c", |settings| settings.zones.push(spec));
    world.changed("site-c", Change::Replace(zone("late.example", 1, &[])));
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8));
    world.host("site-c").site.addresses = vec![address];
    world.configure("site-c", |settings| {
        settings.mesh.as_mut().unwrap().me.site.addresses = vec![address];
    });
    world.run_for(40);
    world.start("site-a");
    world.settle(60);
    assert_eq!(world.serial("site-b", "late.example"), Some(1));
    assert!(
        world.hosts["site-b"]
            .members
            .iter()
            .any(|member| member.addresses == [address])
    );
}

#[test]
fn a_site_that_starts_anew_while_the_directory_is_empty_finds_the_others_all_the_same() {
    let mut world = with_zones(52, 3, 1);
    // The welcome packet of site-c names a key that the catalog primary has no longer.
    let (old, new) = (world.hosts["site-a"].site.pins[0], KeyPin([202; 32]));
    let keys = |world: &mut World, pins: Vec<KeyPin>| {
        world.configure("site-a", |settings| {
            settings.mesh.as_mut().unwrap().me.site.pins = pins;
        });
        world.run_for(5);
    };
    keys(&mut world, vec![old, new]);
    world.host("site-a").site.pins = vec![new];
    keys(&mut world, vec![new]);
    world.settle(120);
    let head = world.core("site-a").head(&directory()).unwrap().clone();
    let emptied = emptied(&head);
    world.changed("site-a", Change::Edited(emptied));
    world.run_for(5);
    world.restart("site-c");
    world.run_for(30);
    world.changed("site-a", Change::Edited(head));
    world.settle(120);
}

#[test]
fn a_zone_that_cannot_be_stored_is_not_one_that_nobody_has() {
    let mut world = with_zones(53, 2, 1);
    world.add_host("site-c", Vec::new());
    world.start("site-c");
    world.join("site-c").unwrap();
    world.run_until(30, "directory and catalog are there", |world| {
        let served = &world.hosts["site-c"].served;
        let there =
            |apex: &zonemesh_zone::Name| served.get(apex).is_some_and(|(zone, _)| zone.is_some());
        there(&directory()) && there(&catalog())
    });
    world.host("site-c").failing_commits = 4;
    world.run_for(6);
    assert!(world.zone("site-c", "z0.example").is_none());
    assert!(
        !world.core("site-c").ready(),
        "it lacks a zone that others hold"
    );
    world.settle(120);
}

#[test]
fn a_site_that_starts_while_it_hears_of_another_asks_that_one_before_it_is_ready() {
    let mut world = with_zones(57, 3, 1);
    // Its primary alone holds the zone.
    world.cut_requests("site-a", "site-b");
    world.cut_requests("site-c", "site-b");
    world
        .add_zone("site-b", zone("late.example", 1, &[]))
        .unwrap();
    world.run_for(20);
    let before = world.copy_disk("site-c");
    world.add_host("site-d", Vec::new());
    world.start("site-d");
    world.join("site-d").unwrap();
    world.run_until(30, "the new site has it", |world| {
        world.serial("site-d", "late.example") == Some(1)
    });
    // The primary loses its disk, and does not reach the one site that has the zone by then.
    world.kill("site-c");
    world.kill("site-b");
    world.empty_disk("site-b", Key::Kept);
    world.cut_requests("site-a", "site-d");
    world.cut_requests("site-b", "site-d");
    world.start("site-b");
    world.run_for(20);
    assert_eq!(world.serial("site-b", "late.example"), None);
    // Of that site a third one hears while it asks the others.
    world.slow("site-b", 50);
    world.restore_disk("site-c", &before);
    world
        .net
        .cut_requests
        .remove(&("site-c".to_owned(), "site-b".to_owned()));
    world.start("site-c");
    world.run_until(60, "it is ready", |world| {
        world.hosts["site-c"].core.as_ref().unwrap().ready()
    });
    assert_eq!(world.serial("site-c", "late.example"), Some(1));
    world.heal_links();
    world.settle(120);
}

/// The directory as an operator's mistake leaves it: nothing but its apex, and the epoch, which no edit takes out.
fn emptied(directory: &Zone) -> Zone {
    let mut editor = directory.edit();
    let kept = [directory.apex().clone(), name("_schema.dns.internal")];
    for owner in editor.names_below(directory.apex()) {
        if !kept.contains(&owner) {
            editor.remove_name(&owner);
        }
    }
    editor.finish().unwrap()
}

#[test]
fn a_writer_that_starts_anew_with_a_directory_that_was_emptied_by_mistake_can_take_that_back() {
    let mut world = with_zones(53, 3, 1);
    let head = world.core("site-a").head(&directory()).unwrap().clone();
    let emptied = emptied(&head);
    world.changed("site-a", Change::Edited(emptied));
    world.run_for(5);
    world.restart("site-a");
    world.run_for(5);
    world.changed("site-a", Change::Replace(head));
    world.settle(120);
}

/// A mesh in which site-e was removed and its zone given to site-d. It runs on, certain of its copy, because site-b, which cannot reach
/// the catalog primary, is the only one that has not heard of it; and site-b has what the heir publishes by way of others.
fn removed_and_followed_by_one(seed: u64) -> World {
    let mut world = World::mesh(seed, 5);
    world
        .add_zone("site-e", zone("given.example", 1, &[]))
        .unwrap();
    world.changed("site-e", put("given.example", "before", 1));
    world.settle(60);
    world.cut_both("site-a", "site-b");
    let heir = SiteName::new("site-d").unwrap();
    remove_site(&mut world, "site-e", Departure::Adopt(heir));
    world.run_for(10);
    world.changed("site-d", put("given.example", "after", 2));
    world.run_for(120);
    world
}

#[test]
fn a_removed_site_that_one_still_follows_publishes_nothing_above_what_its_heir_has_published() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut world = removed_and_followed_by_one(9500 + seed);
        // The heir starts anew, and does not know what it had published before but by its own copy.
        for _ in 0..3 {
            world.restart("site-d");
            world.run_for(200);
        }
        world.heal_links();
        world.settle(120);
        for host in ["site-a", "site-b", "site-c", "site-d"] {
            let held = world.zone(host, "given.example").unwrap();
            let both = has(held, "before", 1) && has(held, "after", 2);
            assert!(both, "{host}\n{}", world.tail());
        }
    }
}

#[test]
fn a_primary_that_cannot_ask_whether_it_is_one_yet_goes_above_a_peer_when_it_can() {
    let mut world = World::mesh_on(Disks::Model, 9510, 3);
    world
        .add_zone("site-b", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world.cut_both("site-a", "site-b");
    // Nothing that the primary has published: what an intruder would leave, or a mistake on a disk.
    world.falsify(
        "site-c",
        zone("alpha.example", 7, &["odd 60 IN A 192.0.2.66"]),
    );
    world.run_for(120);
    assert!(world.saw("site-b", |what| matches!(what, Happening::PeerAhead { .. })));
    assert_eq!(world.serial("site-b", "alpha.example"), Some(1));
    world.heal_links();
    world.settle(60);
    let held = world.zone("site-c", "alpha.example").unwrap();
    assert!(!has(held, "odd", 66) && held.serial().is_after(Serial(7)));
}
