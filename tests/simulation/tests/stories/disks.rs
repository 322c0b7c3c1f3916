//! Disks that are full, hang, are emptied, and are older than what was served.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

use super::three;

#[test]
fn a_full_disk_refuses_changes_and_the_site_answers_on() {
    let mut world = three(140);
    world.fill_disk("site-b");
    let request = world.change("site-b", put("alpha.example", "www", 1));
    assert!(world.done("site-b", request).is_err());
    assert_eq!(world.serial("site-b", "alpha.example"), Some(1));
    world.free_disk("site-b");
    world.changed("site-b", put("alpha.example", "www", 2));
    world.settle(60);
    assert!(has(
        world.zone("site-c", "alpha.example").unwrap(),
        "www",
        2
    ));
}

#[test]
fn a_secondary_with_a_full_disk_catches_up_when_there_is_space() {
    let mut world = three(141);
    world.fill_disk("site-c");
    for value in 1..5 {
        world.changed("site-b", put("alpha.example", "www", value));
        world.run_for(20);
    }
    assert_eq!(world.serial("site-c", "alpha.example"), Some(1));
    world.free_disk("site-c");
    world.settle(120);
}

#[test]
fn a_disk_that_hangs_holds_up_changes_and_nothing_else() {
    let mut world = three(142);
    world.hang_disk("site-b");
    let request = world.change("site-b", put("alpha.example", "www", 1));
    world.run_for(20);
    assert!(!world.hosts["site-b"].replies.contains_key(&request));
    assert_eq!(world.serial("site-b", "alpha.example"), Some(1));
    let lost = |what: &Happening| matches!(what, Happening::PeerLost { .. });
    assert!(!world.saw("site-a", lost), "it answers");
    world.resume_disk("site-b");
    world.done("site-b", request).unwrap();
    world.settle(60);
}

#[test]
fn a_secondary_whose_disk_was_emptied_has_everything_again() {
    let mut world = three(143);
    world.empty_disk("site-c", Key::Kept);
    world.start("site-c");
    world.settle(120);
    assert_eq!(world.serial("site-c", "alpha.example"), Some(1));
}

#[test]
fn a_secondary_that_lost_its_key_as_well_comes_back_with_a_welcome_packet() {
    let mut world = three(144);
    world.empty_disk("site-c", Key::Lost);
    world.start("site-c");
    world.run_for(10);
    assert_eq!(world.serial("site-c", "alpha.example"), None);
    world.join("site-c").unwrap();
    world.settle(120);
}

#[test]
fn a_secondary_with_an_old_copy_of_its_disk_catches_up() {
    let mut world = three(145);
    let backup = world.copy_disk("site-c");
    for value in 1..5 {
        world.changed("site-b", put("alpha.example", "www", value));
    }
    world.settle(60);
    world.restore_disk("site-c", &backup);
    world.start("site-c");
    world.settle(60);
    assert_eq!(world.serial("site-c", "alpha.example"), Some(5));
}

#[test]
fn the_power_may_go_at_any_write_and_flush_of_a_primary() {
    let mut went = 0;
    for operations in 1..40 {
        let mut world = three(150);
        world.changed("site-b", put("alpha.example", "www", 1));
        world.power_cut_on_disk("site-b", operations);
        let mut acknowledged = 1;
        for value in 2..6 {
            let request = world.change("site-b", put("alpha.example", "www", value));
            world.run_for(1);
            if world.hosts["site-b"].core.is_none() {
                went += 1;
                break;
            }
            let replies = &world.hosts["site-b"].replies[&request];
            assert!(matches!(replies[0], Reply::Done { .. }), "{replies:?}");
            acknowledged = value;
        }
        if world.hosts["site-b"].core.is_none() {
            assert!(world.start("site-b"), "{operations}: {}", world.tail());
        }
        world.settle(120);
        let served = world.zone("site-c", "alpha.example").unwrap();
        let either = [acknowledged, acknowledged + 1];
        let has = either.iter().any(|value| has(served, "www", *value));
        assert!(
            has,
            "{operations}: {acknowledged} was acknowledged\n{}",
            world.tail()
        );
    }
    assert!(went > 10, "the power went {went} times");
}

#[test]
fn the_power_may_go_in_all_sites_while_they_make_themselves_durable() {
    for seed in 0..10 {
        let mut world = three(160 + seed);
        for (number, host) in ["site-a", "site-b", "site-c"].into_iter().enumerate() {
            let operations = world.below(30) + 1;
            world.power_cut_on_disk(host, operations);
            let apex = format!("z{number}.example");
            world.configure(host, |settings| settings.zones.push(own(&apex, &[])));
            world.change(host, Change::Replace(zone(&apex, 1, &[])));
        }
        world.run_for(20);
        world.end_faults();
        for host in ["site-c", "site-b", "site-a"] {
            if world.hosts[host].core.is_none() {
                assert!(world.start(host), "{}", world.tail());
            }
        }
        world.run_for(60);
        for (number, host) in ["site-a", "site-b", "site-c"].into_iter().enumerate() {
            // What the start imports from its file.
            let apex = format!("z{number}.example");
            if world.core(host).head(&name(&apex)).is_none() {
                world.changed(host, Change::Replace(zone(&apex, 1, &[])));
            }
        }
        world.settle(180);
    }
}

#[test]
fn a_disk_with_a_flipped_bit_is_refused_or_mended_and_never_believed() {
    let (mut refused, mut damaged) = (0, 0);
    for seed in 0..60 {
        let mut world = three(200 + seed);
        for value in 1..4 {
            world.changed("site-b", put("alpha.example", "www", value));
        }
        world.settle(60);
        let host = ["site-b", "site-c"][seed as usize % 2];
        let before = world.zone(host, "alpha.example").unwrap().clone();
        world.kill(host);
        for _ in 0..=seed % 5 * 10 {
            world.corrupt_disk(host);
        }
        if !world.start(host) {
            refused += 1;
            // As its message says: the operator begins with an empty store.
            world.empty_disk(host, Key::Kept);
            assert!(world.start(host));
        } else if let Some(served) = world.zone(host, "alpha.example") {
            assert!(served.same_contents(&before), "{}", world.tail());
        } else {
            damaged += 1;
        }
        world.settle(180);
        let served = world.zone("site-c", "alpha.example").unwrap();
        assert!(has(served, "www", 3), "{}", world.tail());
    }
    assert!(
        refused > 0 && damaged + refused < 60,
        "{refused} refused, {damaged} damaged"
    );
}

#[test]
fn what_waited_for_a_disk_for_longer_than_it_may_be_served_is_not_served_when_it_is_stored() {
    let mut world = World::mesh(144, 3);
    let zone = timed_zone("alpha.example", 1, (30, 10, 300), &[]);
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world.hang_disk("site-c");
    world.changed("site-b", put("alpha.example", "www", 1));
    world.run_for(5);
    world.kill("site-b");
    world.run_for(600);
    assert_eq!(world.serial("site-c", "alpha.example"), None);
    world.resume_disk("site-c");
    for _ in 0..60 {
        world.run_for(1);
        assert_eq!(world.serial("site-c", "alpha.example"), None);
    }
    world.start("site-b");
    world.settle(60);
}
