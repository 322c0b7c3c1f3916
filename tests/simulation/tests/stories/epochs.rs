//! What says who writes directory and catalog is changed by promotions, and by nothing else.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_update::{Everything, Update, apply, request};
use zonemesh_zone::directory::{Departure, KeyPin, Role, owner_record};
use zonemesh_zone::{Name, Record, Rtype, Zone};

/// A mesh whose writer, of the second epoch, is its second site.
fn mesh_of_second_epoch(seed: u64) -> World {
    let mut world = World::mesh(seed, 4);
    world.let_be_promoted("site-b");
    world
        .add_zone("site-c", zone("shop.example", 1, &[]))
        .unwrap();
    world.settle(60);
    let request = world.request("site-a", |request| Input::Promote {
        request,
        to: site("site-b"),
        seen: None,
        force: false,
    });
    world.done("site-a", request).unwrap();
    world.settle(60);
    world
}

fn edited(head: &Zone, owner: &Name, text: Option<&str>) -> Zone {
    let mut editor = head.edit();
    editor.remove_rrset(owner, Rtype::TXT);
    if let Some(text) = text {
        let line = format!("{} 300 IN TXT {text}", owner.fmt_with_dot());
        let record = Record::from_text(&line, head.apex()).unwrap();
        editor.add(record).unwrap();
    }
    editor.finish().unwrap()
}

#[test]
fn an_edit_that_changes_who_writes_the_mesh_is_refused_whichever_way_it_comes() {
    let mut world = mesh_of_second_epoch(1201);
    let promoted = Some("\"zonemesh=1\" \"epoch=9\" \"writer=site-b\" \"since=7\"");
    for (apex, owner) in [
        (directory(), name("_schema.dns.internal")),
        (catalog(), name("zonemesh.ext.catalog.dns.internal")),
    ] {
        for text in [None, Some("\"zonemesh=1\""), promoted] {
            let head = world.core("site-b").head(&apex).unwrap().clone();
            let zone = edited(&head, &owner, text);
            let set = zone.rrset(&owner, Rtype::TXT).map(|set| set.to_owned());
            let mut ways: Vec<Box<dyn Fn(RequestId) -> Input>> = Vec::new();
            let changes = [
                // A file, an import, a version of before: all of them put other contents in place.
                Change::Replace(zone.clone()),
                // An update, and what is made again of what was yielded.
                Change::Edited(zone.clone()),
                match set {
                    Some(set) => Change::Put(apex.clone(), vec![(owner.clone(), set)]),
                    None => Change::Delete(apex.clone(), vec![(owner.clone(), None)]),
                },
            ];
            for change in changes {
                ways.push(Box::new(move |request| Input::Change {
                    request,
                    change: change.clone(),
                }));
            }
            if apex == directory() {
                ways.push(Box::new(move |request| Input::Directory {
                    request,
                    edited: zone.clone(),
                    also: Vec::new(),
                }));
            }
            for way in ways {
                let request = world.request("site-b", way);
                let why = world.done("site-b", request).unwrap_err();
                let parts = [
                    format!("{apex}: {}", owner.fmt_with_dot()),
                    "\"epoch=2\"".to_owned(),
                    "zonemesh site promote".to_owned(),
                ];
                for part in parts {
                    assert!(why.contains(&part), "{text:?}: {why}");
                }
                assert_eq!(
                    world.core("site-b").head(&apex).unwrap().serial(),
                    head.serial()
                );
            }
        }
    }
    // All follow what is changed otherwise.
    world
        .add_zone("site-d", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
    assert!(world.zone("site-a", "new.example").is_some());
}

/// The writer changes the directory, and is lost at the very moment at which the site that is to take over has the new version of
/// the one zone and not of the other. Whether that came to pass.
fn lost_in_between(world: &mut World, comes: &Name, update: &Update) -> bool {
    let serial = |world: &World, apex: &Name| {
        let core = world.hosts["site-b"].core.as_ref().unwrap();
        core.head(apex).map(Zone::serial)
    };
    let other = match *comes == directory() {
        true => catalog(),
        false => directory(),
    };
    let before = (serial(world, comes), serial(world, &other));
    let head = world.core("site-a").head(&directory()).unwrap().clone();
    let edited = apply(&head, update, &Everything).unwrap().zone;
    let request = world.put_directory("site-a", edited);
    world.done("site-a", request).unwrap();
    for _ in 0..3000 {
        world.run_millis(1);
        if serial(world, &other) != before.1 {
            return false;
        }
        if serial(world, comes) != before.0 {
            world.kill("site-a");
            return true;
        }
    }
    false
}

/// A mesh with two zones at its third site and one at its fourth, in which messages take their time.
fn mesh_of_slow_links(seed: u64) -> World {
    let mut world = World::mesh(seed, 4);
    world.let_be_promoted("site-b");
    for (host, apex) in [
        ("site-c", "shop.example"),
        ("site-c", "gone.example"),
        ("site-d", "kept.example"),
    ] {
        world.add_zone(host, zone(apex, 1, &[])).unwrap();
    }
    world.settle(60);
    world.net.slowest = 400;
    world
}

fn promote_second(world: &mut World) {
    world.end_faults();
    let request = world.request("site-b", |request| Input::Promote {
        request,
        to: site("site-b"),
        seen: None,
        force: true,
    });
    world.done("site-b", request).unwrap();
}

fn lists(world: &mut World, host: &str, apex: &str) -> (bool, bool) {
    let (core, apex) = (world.core(host), name(apex));
    (
        core.directory().unwrap().owners.contains_key(&apex),
        core.catalog().unwrap().members.contains_key(&apex),
    )
}

/// A zone leaves the directory, and another of site-d comes.
fn gone_and_new() -> Update {
    let owner = owner_record(&name("new.example"), &site("site-d"), &directory()).unwrap();
    let update = request::release_zone(&directory(), &name("gone.example")).unwrap();
    update.add(owner)
}

#[test]
fn a_promoted_site_with_an_older_catalog_brings_it_to_what_its_directory_says() {
    let mut told = 0;
    for seed in 1210..1240 {
        let mut world = mesh_of_slow_links(seed);
        let update = gone_and_new();
        if !lost_in_between(&mut world, &directory(), &update) {
            continue;
        }
        told += 1;
        promote_second(&mut world);
        world.run_until(30, "the catalog says what the directory says", |world| {
            ["site-b", "site-c", "site-d"].iter().all(|host| {
                let core = world.hosts[*host].core.as_ref().unwrap();
                core.catalog().is_some_and(|catalog| {
                    let lists = |apex: &str| catalog.members.contains_key(&name(apex));
                    !lists("gone.example") && lists("new.example") && lists("kept.example")
                })
            })
        });
        world.run_for(5);
        for host in ["site-b", "site-c", "site-d"] {
            assert!(world.zone(host, "gone.example").is_none(), "{host}");
            assert!(world.zone(host, "shop.example").is_some(), "{host}");
        }
    }
    assert!(told > 3, "{told}");
}

#[test]
fn a_promoted_site_with_a_newer_catalog_loses_no_zone_and_undoes_what_its_directory_has_not_seen() {
    let mut told = 0;
    for seed in 1240..1270 {
        let mut world = mesh_of_slow_links(seed);
        // A zone was added by command, and another removed; the directory that is left knows of neither.
        world
            .host_zone("site-d", zone("new.example", 1, &[]))
            .unwrap();
        let update = gone_and_new();
        if !lost_in_between(&mut world, &catalog(), &update) {
            continue;
        }
        told += 1;
        promote_second(&mut world);
        // It is the site that has it that lists it again.
        world.run_for(60);
        for host in ["site-b", "site-c", "site-d"] {
            assert_eq!(
                lists(&mut world, host, "new.example"),
                (true, true),
                "{host}"
            );
            assert_eq!(
                lists(&mut world, host, "gone.example"),
                (true, true),
                "{host}"
            );
            assert!(world.zone(host, "new.example").is_some(), "{host}");
            assert!(world.zone(host, "gone.example").is_some(), "{host}");
        }
        // The removal is with the one that made it, and is made again from there.
        world.start("site-a");
        world.run_for(60);
        let kept = world.set_aside("site-a");
        let kept = kept.iter().find(|kept| kept.zone == directory()).unwrap();
        let head = world.core("site-b").head(&directory()).unwrap().clone();
        let update = kept.replay(&head, false).unwrap().unwrap();
        let edited = apply(&head, &update, &Everything).unwrap().zone;
        let request = world.put_directory("site-b", edited);
        world.done("site-b", request).unwrap();
        world.settle(60);
        for host in ["site-a", "site-b", "site-c", "site-d"] {
            assert!(world.zone(host, "gone.example").is_none(), "{host}");
            assert!(world.zone(host, "new.example").is_some(), "{host}");
        }
    }
    assert!(told > 3, "{told}");
}

#[test]
fn a_member_that_nobody_is_primary_of_leaves_by_a_note_and_stays_without() {
    let mut world = mesh_of_second_epoch(1280);
    let head = world.core("site-b").head(&catalog()).unwrap().clone();
    let mut editor = head.edit();
    for apex in ["orphan.example", "other.example"] {
        zonemesh_zone::catalog::add_member(&mut editor, &name(apex), None).unwrap();
    }
    world.changed("site-b", Change::Replace(editor.finish().unwrap()));
    world
        .add_zone("site-d", zone("new.example", 1, &[]))
        .unwrap();
    world.run_for(20);
    for apex in ["orphan.example", "other.example"] {
        assert_eq!(lists(&mut world, "site-c", apex), (false, true), "{apex}");
    }
    let orphan = name("orphan.example");
    let note = zonemesh_zone::directory::removal_note(&orphan, &directory(), EPOCH).unwrap();
    let head = world.core("site-b").head(&directory()).unwrap().clone();
    let update = Update::new(directory()).add(note);
    let edited = apply(&head, &update, &Everything).unwrap().zone;
    let request = world.put_directory("site-b", edited);
    world.done("site-b", request).unwrap();
    world.run_for(20);
    assert_eq!(
        lists(&mut world, "site-c", "orphan.example"),
        (false, false)
    );
    assert_eq!(lists(&mut world, "site-c", "other.example"), (false, true));
}

#[test]
fn a_promoted_site_that_has_moved_since_the_old_writer_is_gone_is_found_by_its_calls() {
    let mut world = World::mesh(1290, 4);
    world.let_be_promoted("site-b");
    world
        .add_zone("site-c", zone("shop.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world.kill("site-a");
    world.run_for(30);
    let address = "198.51.100.77".parse().unwrap();
    world.kill("site-b");
    let host = world.host("site-b");
    host.site.addresses = vec![address];
    if let Some(mesh) = &mut host.settings.mesh {
        mesh.me.site.addresses = vec![address];
    }
    world.run_for(30);
    world.start("site-b");
    world.run_for(30);
    let request = world.request("site-b", |request| Input::Promote {
        request,
        to: site("site-b"),
        seen: None,
        force: false,
    });
    world.done("site-b", request).unwrap();
    let all_know = |world: &World| {
        ["site-c", "site-d"].iter().all(|host| {
            let read = world.hosts[*host].core.as_ref().unwrap().directory();
            read.is_some_and(|read| {
                let writes = read.catalog_primary();
                writes.is_some_and(|site| {
                    site.name.as_str() == "site-b" && site.addresses == [address]
                })
            })
        })
    };
    world.run_until(30, "all know the new writer and where it is", all_know);
    // The old one too, when it is back.
    world.start("site-a");
    world.settle(60);
    world
        .add_zone("site-a", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
}

#[test]
fn what_is_made_again_lists_no_zone_that_was_removed_since() {
    let mut world = mesh_of_slow_links(1330);
    world.end_faults();
    for host in ["site-b", "site-c"] {
        world.cut_both("site-a", host);
        world.cut_both("site-d", host);
    }
    world.run_for(20);
    promote_second(&mut world);
    // Both are added at the side of the writer that yields, and listed again by their site.
    for apex in ["first.example", "second.example"] {
        world.host_zone("site-d", zone(apex, 1, &[])).unwrap();
        let claim = request::claim_zone(&directory(), &name(apex), &site("site-d")).unwrap();
        let head = world.core("site-a").head(&directory()).unwrap().clone();
        let edited = apply(&head, &claim, &Everything).unwrap().zone;
        let request = world.put_directory("site-a", edited);
        world.done("site-a", request).unwrap();
    }
    world.run_for(5);
    world.heal_links();
    world.run_for(60);
    let kept = world.set_aside("site-a");
    let kept = kept.iter().find(|kept| kept.zone == directory()).unwrap();
    for apex in ["first.example", "second.example"] {
        assert_eq!(lists(&mut world, "site-b", apex), (true, true), "{apex}");
    }
    world.remove_zone("site-d", "first.example").unwrap();
    world.settle(60);
    let head = world.core("site-b").head(&directory()).unwrap().clone();
    let fate_of = |apex: &str| {
        let fates = kept.fates(&head).unwrap();
        let owner = name(&format!("{apex}._zones.dns.internal"));
        let at = kept.changes.iter().position(|change| change.owner == owner);
        fates[at.unwrap()]
    };
    assert_eq!(fate_of("first.example"), Fate::Conflicts);
    assert_eq!(fate_of("second.example"), Fate::There);
    let again = kept.replay(&head, false).unwrap();
    let again = again.map(|update| apply(&head, &update, &Everything).unwrap().zone);
    let read = zonemesh_zone::directory::Directory::read(again.as_ref().unwrap_or(&head));
    assert!(!read.owners.contains_key(&name("first.example")));
}

#[test]
fn what_is_made_again_lets_in_no_site_that_was_removed_since_and_lists_none_of_its_zones() {
    let mut world = mesh_of_slow_links(1331);
    world.end_faults();
    for host in ["site-b", "site-c"] {
        world.cut_both("site-a", host);
        world.cut_both("site-d", host);
    }
    world.run_for(20);
    promote_second(&mut world);
    // The writer that yields lets two in, and lists a zone of each.
    let newcomers = ["site-y", "site-z"];
    let mut member = world.host("site-d").site.clone();
    for (host, octet) in newcomers.into_iter().zip(100_u8..) {
        member.name = site(host);
        member.addresses = vec![[192, 0, 2, octet].into()];
        member.pins = vec![KeyPin([octet; 32])];
        let apex = name(&format!("{host}.example"));
        let publish = request::publish(&directory(), &member, None).unwrap();
        let claim = request::claim_zone(&directory(), &apex, &member.name).unwrap();
        for update in [publish, claim] {
            let head = world.core("site-a").head(&directory()).unwrap().clone();
            let edited = apply(&head, &update, &Everything).unwrap().zone;
            let request = world.put_directory("site-a", edited);
            world.done("site-a", request).unwrap();
        }
    }
    world.run_for(5);
    world.heal_links();
    world.run_for(60);
    let kept = world.set_aside("site-a");
    let kept = kept.iter().find(|kept| kept.zone == directory()).unwrap();
    // Of the one an operator hears, and removes it where the mesh is written now.
    remove_site(&mut world, "site-y", Departure::Remove);
    world.run_for(30);
    // Where the two zones had been listed they go at once, and so when that is approved.
    for host in ["site-a", "site-d"] {
        let held = world.core(host).report().unwrap().plan.held.clone();
        for held in held {
            world.decide(host, held.fingerprint.to_string(), Verdict::Approve);
        }
    }
    world.settle(60);
    let head = world.core("site-b").head(&directory()).unwrap().clone();
    for (change, fate) in kept.changes.iter().zip(kept.fates(&head).unwrap()) {
        let expected = match change.owner.to_string().contains("site-y") {
            true => Fate::Conflicts,
            false => Fate::Fits,
        };
        assert_eq!(fate, expected, "{} {}", change.owner, change.rtype);
    }
    let again = |force| {
        let update = kept.replay(&head, force).unwrap().unwrap();
        let zone = apply(&head, &update, &Everything).unwrap().zone;
        let read = zonemesh_zone::directory::Directory::read(&zone);
        let there = |host: &str| {
            let zone = name(&format!("{host}.example"));
            (
                read.sites.contains_key(&site(host)),
                read.owners.contains_key(&zone),
            )
        };
        newcomers.map(there)
    };
    assert_eq!(again(false), [(false, false), (true, true)]);
    assert_eq!(again(true), [(true, true); 2]);
}

#[test]
fn a_site_that_the_writer_does_not_know_trusts_nobody_longer_who_was_removed() {
    let mut world = mesh_of_slow_links(1340);
    world.end_faults();
    for host in ["site-b", "site-c"] {
        world.cut_both("site-a", host);
        world.cut_both("site-d", host);
    }
    world.run_for(20);
    let request = world.request("site-b", |request| Input::Promote {
        request,
        to: site("site-b"),
        seen: None,
        force: true,
    });
    world.done("site-b", request).unwrap();
    // Let in by the writer that yields: more than it forgets without being asked.
    for host in ["site-e", "site-f"] {
        world.add_host(host, Vec::new());
        for other in ["site-b", "site-c"] {
            world.cut_both(host, other);
        }
        world.start(host);
        let mut member = world.host(host).site.clone();
        member.role = Role::Standard;
        let publish = request::publish(&directory(), &member, None).unwrap();
        let head = world.core("site-a").head(&directory()).unwrap().clone();
        let edited = apply(&head, &publish, &Everything).unwrap().zone;
        let request = world.put_directory("site-a", edited);
        world.done("site-a", request).unwrap();
        world.run_for(10);
    }
    let pin = world.host("site-c").site.pins[0];
    let trusts = |world: &World, host: &str| world.hosts[host].members.with_key(&pin).is_some();
    world.kill("site-c");
    let head = world.core("site-b").head(&directory()).unwrap().clone();
    let read = zonemesh_zone::directory::Directory::read(&head);
    let mut editor = head.edit();
    let (gone, at) = (site("site-c"), world.clock().wall);
    zonemesh_zone::directory::remove_site(&mut editor, &read, &gone, &Departure::Remove, at)
        .unwrap();
    let edited = editor.finish().unwrap();
    let request = world.put_directory("site-b", edited);
    world.done("site-b", request).unwrap();
    assert!(trusts(&world, "site-e") && trusts(&world, "site-f"));
    world.heal_links();
    world.run_for(60);
    for host in ["site-a", "site-d", "site-e", "site-f"] {
        let read = world.core(host).directory().unwrap().clone();
        assert_eq!(read.epoch.writer, Some(site("site-b")), "{host}");
        assert!(!trusts(&world, host), "{host}");
    }
    // Nothing else follows from not being known.
    assert!(world.core("site-e").zone(&name("kept.example")).is_some());
    assert!(
        world.hosts["site-e"]
            .members
            .with_key(&world.hosts["site-d"].site.pins[0])
            .is_some()
    );
}
