//! Changes that wait until a primary knows whether its copy is the newest.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_update::{Everything, Update, apply};
use zonemesh_zone::Record;

use super::three;

const ZONE: &str = "alpha.example";

/// Sends an update that makes an address, as the shell does: applied to the newest version that there is.
fn register(world: &mut World, owner: &str, last: u8) -> RequestId {
    let head = world.core("site-b").head(&name(ZONE)).unwrap().clone();
    let record =
        Record::from_text(&format!("{owner} 60 IN A 192.0.2.{last}"), &name(ZONE)).unwrap();
    assert!(
        head.rrset(&record.owner, record.rtype).is_none(),
        "the name is not in use"
    );
    let update = Update::new(name(ZONE)).add(record);
    let edited = apply(&head, &update, &Everything).unwrap().zone;
    world.change("site-b", Change::Edited(edited))
}

#[test]
fn of_two_updates_that_wait_for_a_name_not_in_use_one_is_refused() {
    let mut world = three(8600);
    world.net.slowest = 400;
    world.restart("site-b");
    let first = register(&mut world, "lease", 1);
    let second = register(&mut world, "lease", 2);
    let third = register(&mut world, "other", 3);
    world.done("site-b", first).unwrap();
    let why = world.done("site-b", second).unwrap_err();
    assert!(why.contains("try again"), "{why}");
    world.done("site-b", third).unwrap();
    world.settle(60);
    let served = world.zone("site-a", ZONE).unwrap();
    assert!(has(served, "lease", 1) && !has(served, "lease", 2) && has(served, "other", 3));
}

#[test]
fn an_update_for_a_name_that_a_forgotten_history_has_in_use_is_refused() {
    let mut world = three(8601);
    let backup = world.copy_disk("site-b");
    world.changed("site-b", put(ZONE, "lease", 1));
    world.settle(60);
    world.net.slowest = 400;
    world.restore_disk("site-b", &backup);
    world.start("site-b");
    let request = register(&mut world, "lease", 2);
    let other = register(&mut world, "other", 3);
    let why = world.done("site-b", request).unwrap_err();
    assert!(why.contains("try again"), "{why}");
    world.done("site-b", other).unwrap();
    world.settle(60);
    let served = world.zone("site-a", ZONE).unwrap();
    assert!(has(served, "lease", 1) && !has(served, "lease", 2) && has(served, "other", 3));
}
