//! A catalog primary with an old copy and no catalog secondary: as many of the others know of what it has forgotten as do not.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

/// A mesh in which a removal has come to one of two sites by the time that its writer is put back to before it.
fn restored_before_a_removal(seed: u64) -> World {
    let mut world = World::mesh(seed, 3);
    for apex in ["kept.example", "gone.example"] {
        world.add_zone("site-b", zone(apex, 1, &[])).unwrap();
    }
    world.settle(60);
    let backup = world.copy_disk("site-a");
    world.isolate("site-c");
    world.remove_zone("site-b", "gone.example").unwrap();
    world.run_until(30, "the others have let go of it", |world| {
        ["site-a", "site-b"]
            .iter()
            .all(|host| world.zone(host, "gone.example").is_none())
    });
    world.kill("site-a");
    world.restore_disk("site-a", &backup);
    world.heal_links();
    world.start("site-a");
    world.run_for(30);
    world
}

/// What waits for an operator at the writer.
fn held(world: &mut World) -> Vec<String> {
    let core = world.core("site-a");
    let held = core.held_histories();
    held.map(|(hash, _)| hash.to_string()).collect()
}

fn decide_all(world: &mut World, verdict: Verdict) {
    for _ in 0..4 {
        for hash in held(world) {
            let request = world.decide("site-a", hash, verdict);
            world.done("site-a", request).unwrap();
        }
        world.run_for(10);
    }
}

#[test]
fn a_removal_that_half_of_the_others_know_of_is_not_undone_unasked() {
    for seed in 1301..1305 {
        println!("seed {seed}");
        let mut world = restored_before_a_removal(seed);
        assert!(!held(&mut world).is_empty());
        assert!(world.zone("site-b", "gone.example").is_none());
        // Nothing else is listed until that is decided.
        let why = world
            .add_zone("site-a", zone("late.example", 1, &[]))
            .unwrap_err();
        assert!(why.contains("approve"), "{why}");
        decide_all(&mut world, Verdict::Approve);
        world.settle(60);
        for host in ["site-a", "site-b", "site-c"] {
            assert!(world.zone(host, "gone.example").is_none(), "{host}");
            assert!(world.zone(host, "kept.example").is_some(), "{host}");
        }
        assert_eq!(held(&mut world), Vec::<String>::new());
        let said = world.hosts["site-a"].disk.table.iter();
        let said = said.filter(|((table, _), value)| table == CONSENT && !value.is_empty());
        assert_eq!(said.count(), 0, "consent is for once");
        world
            .add_zone("site-c", zone("late.example", 1, &[]))
            .unwrap();
        world.settle(60);
    }
}

#[test]
fn what_half_of_the_others_know_of_is_published_above_when_an_operator_declines() {
    let mut world = restored_before_a_removal(1310);
    decide_all(&mut world, Verdict::Decline);
    world.settle(120);
    for host in ["site-a", "site-b", "site-c"] {
        let read = world.core(host).directory().unwrap();
        assert!(read.owners.contains_key(&name("gone.example")), "{host}");
    }
}

#[test]
fn a_site_that_answers_later_decides_a_tie_without_an_operator() {
    let mut world = World::mesh(1320, 4);
    for apex in ["kept.example", "gone.example"] {
        world.add_zone("site-b", zone(apex, 1, &[])).unwrap();
    }
    world.settle(60);
    let backup = world.copy_disk("site-a");
    world.isolate("site-c");
    world.remove_zone("site-b", "gone.example").unwrap();
    world.run_until(30, "the others have let go of it", |world| {
        ["site-a", "site-b", "site-d"]
            .iter()
            .all(|host| world.zone(host, "gone.example").is_none())
    });
    world.run_for(2);
    world.kill("site-d");
    world.kill("site-a");
    world.restore_disk("site-a", &backup);
    world.heal_links();
    // Or the one would tell the other.
    world.cut_both("site-b", "site-c");
    world.start("site-a");
    world.run_for(30);
    assert!(!held(&mut world).is_empty());
    world.start("site-d");
    world.run_for(60);
    world.heal_links();
    world.settle(120);
    assert_eq!(held(&mut world), Vec::<String>::new());
    assert!(world.zone("site-c", "gone.example").is_none());
}
