//! Sites that hold different contents, and nobody has told them: a partition that is not one for all, and other contents under the
//! same serial.

use zonemesh_simulation::*;

use zonemesh_mesh::core::{Change, Happening};
use zonemesh_zone::Serial;
use zonemesh_zone::diff::JUMP;

/// Within how many seconds a difference is found and healed that only probes can show: two probes, and the patience of a
/// site that agrees with most others.
const HEALED: u64 = 30;

const ALPHA: &str = "alpha.example";

/// Three sites, of which `site-b` is the primary of a zone that nobody would ask about for a day.
fn patient(seed: u64) -> World {
    let mut world = World::mesh(seed, 3);
    let zone = timed_zone(
        ALPHA,
        1,
        (86_400, 86_400, 864_000),
        &["www 60 IN A 192.0.2.1"],
    );
    world.add_zone("site-b", zone).unwrap();
    world.settle(60);
    world
}

fn false_copy(world: &World, host: &str, last: u8) -> zonemesh_zone::Zone {
    let held = world.zone(host, ALPHA).unwrap();
    let mut editor = held.edit();
    let line = format!("ghost 60 IN A 192.0.2.{last}");
    let record = zonemesh_zone::Record::from_text(&line, held.apex()).unwrap();
    editor.add(record).unwrap();
    editor.finish().unwrap()
}

fn replaced(world: &World, host: &str) -> usize {
    let happened = world.hosts[host].happened.iter();
    happened
        .filter(|(_, what)| matches!(what, Happening::ContentsReplaced { .. }))
        .count()
}

#[test]
fn a_site_that_does_not_hear_the_primary_learns_of_a_change_from_one_that_does() {
    // Both ways, and each of the two.
    for (seed, cuts) in [
        (160, &[("site-b", "site-c"), ("site-c", "site-b")][..]),
        (161, &[("site-b", "site-c")][..]),
        (162, &[("site-c", "site-b")][..]),
    ] {
        let mut world = patient(seed);
        for (from, to) in cuts {
            world.cut(from, to);
        }
        world.run_for(30);
        for value in 2..5 {
            world.changed("site-b", put(ALPHA, "www", value));
            let got = |world: &World| {
                let zone = world.zone("site-c", ALPHA);
                zone.is_some_and(|zone| has(zone, "www", value))
            };
            world.run_until(HEALED, "it has the change from the third", got);
            world.run_for(40);
        }
        world.heal_links();
        world.settle(60);
    }
}

#[test]
fn a_copy_that_changed_silently_under_the_same_serial_is_replaced() {
    let mut world = patient(163);
    let serial = world.serial("site-c", ALPHA);
    let copy = false_copy(&world, "site-c", 66);
    world.falsify("site-c", copy);
    assert!(has(world.zone("site-c", ALPHA).unwrap(), "ghost", 66));
    world.settle_within(HEALED, "it has what its primary has");
    assert_eq!(world.serial("site-c", ALPHA), serial);
    assert_eq!(
        (replaced(&world, "site-c"), replaced(&world, "site-a")),
        (1, 0)
    );
    let told = |what: &Happening| matches!(what, Happening::ContentsDiffer { serial, .. } if serial.into_int() == 1);
    assert!(world.saw("site-c", told));
    // A difference to the next version fits again.
    world.changed("site-b", put(ALPHA, "www", 2));
    world.run_for(2);
    assert_eq!(world.converged(), Ok(()));
    world.settle(60);
    for host in ["site-a", "site-b", "site-c"] {
        let core = world.hosts[host].core.as_ref().unwrap();
        assert_eq!(core.differing().count(), 0, "{host}");
    }
}

#[test]
fn of_two_copies_nobody_guesses_which_is_right_while_the_primary_is_away() {
    let mut world = patient(164);
    world.kill("site-b");
    world.run_for(30);
    let copy = false_copy(&world, "site-c", 66);
    world.falsify("site-c", copy);
    world.run_for(60);
    let differs = |world: &World| {
        let core = world.hosts["site-a"].core.as_ref().unwrap();
        let differing: Vec<_> = core.differing().collect();
        differing
            .iter()
            .map(|at| (at.apex.to_string(), at.peer.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(differs(&world), [(ALPHA.to_owned(), "site-c".to_owned())]);
    world.run_for(600);
    assert!(has(world.zone("site-c", ALPHA).unwrap(), "ghost", 66));
    assert_eq!(
        (replaced(&world, "site-c"), replaced(&world, "site-a")),
        (0, 0)
    );
    world.start("site-b");
    world.settle_within(120, "the primary is back, and what it has is everywhere");
    assert!(
        world
            .zone("site-c", ALPHA)
            .unwrap()
            .rrset(&name("ghost.alpha.example"), zonemesh_zone::Rtype::A)
            .is_none()
    );
    world.settle(60);
}

#[test]
fn a_primary_that_publishes_something_else_under_a_serial_that_was_used_is_followed() {
    let mut world = patient(165);
    for value in 2..6 {
        world.changed("site-b", put(ALPHA, "www", value));
        world.run_for(2);
    }
    let copy = false_copy(&world, "site-b", 66);
    world.falsify("site-b", copy);
    world.settle_within(120, "all have what the primary has now");
    for host in ["site-a", "site-b", "site-c"] {
        assert!(has(world.zone(host, ALPHA).unwrap(), "ghost", 66), "{host}");
    }
    world.settle(60);
}

#[test]
fn a_foreign_secondary_gets_the_zone_again_under_a_higher_serial_and_once() {
    let mut world = World::mesh(166, 3);
    let foreign = Foreign {
        zones: std::collections::BTreeMap::new(),
        notified: Vec::new(),
    };
    world.foreign.insert("off-site".to_owned(), foreign);
    let spec = own(ALPHA, &["off-site"]);
    world.configure("site-b", |settings| settings.zones.push(spec));
    let zone = timed_zone(ALPHA, 1, (86_400, 86_400, 864_000), &[]);
    world.changed("site-b", Change::Replace(zone));
    world.settle(60);
    let copy = false_copy(&world, "site-b", 66);
    world.falsify("site-b", copy);
    world.run_until(HEALED, "it is published again", |world| {
        world.serial("site-b", ALPHA) == Some(1 + JUMP)
    });
    world.settle(60);
    let told = &world.foreign["off-site"].notified;
    assert!(told.contains(&(name(ALPHA), Serial(1 + JUMP))), "{told:?}");
    // Whoever goes on to report something else changes nothing about that.
    world.net.misreports = ["site-a", "site-c"].map(str::to_owned).into();
    world.run_for(5400);
    assert_eq!(world.serial("site-b", ALPHA), Some(1 + JUMP));
    // It was looked at: a version that is another one is published again once more.
    world.changed("site-b", put(ALPHA, "www", 3));
    world.run_for(5400);
    assert_eq!(world.serial("site-b", ALPHA), Some(2 + 2 * JUMP));
}

#[test]
fn reports_of_other_contents_that_never_end_cause_a_bounded_amount_of_work() {
    let mut world = patient(167);
    let count = |world: &World, host: &str| {
        let host = &world.hosts[host];
        let compared = host.sent.get("compare").copied().unwrap_or_default();
        (compared, host.transfers.len())
    };
    world.net.misreports = ["site-b", "site-c"].map(str::to_owned).into();
    world.run_for(600);
    let before = count(&world, "site-a");
    world.run_for(3600);
    let after = count(&world, "site-a");
    let (compared, transfers) = (after.0 - before.0, after.1 - before.1);
    assert!(compared > 0, "somebody has looked");
    assert!(compared < 1000, "{compared} questions in an hour");
    assert!(transfers < 20, "{transfers} transfers in an hour");
    world.net.misreports.clear();
    world.settle(60);
    let alike = |host: &str| world.hosts[host].core.as_ref().unwrap().differing().count() == 0;
    assert!(["site-a", "site-b", "site-c"].into_iter().all(alike));
}
