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
