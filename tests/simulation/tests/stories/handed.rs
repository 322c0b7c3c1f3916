//! What a writer that comes back, or is handed over to again, takes from the one between, and what it publishes meanwhile.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_update::{Update, request};
use zonemesh_zone::Serial;

/// A mesh of four sites, of which the second can be promoted.
fn mesh(seed: u64) -> World {
    let mut world = World::mesh(seed, 4);
    world.let_be_promoted("site-b");
    world.settle(60);
    world
}

fn promote(world: &mut World, at: &str, to: &str) {
    let to = site(to);
    let request = world.request(at, |request| Input::Promote {
        request,
        to,
        seen: None,
        force: true,
    });
    world.done(at, request).unwrap();
}

/// Adds a zone at a site, which is listed by the writer of its side.
fn add_at(world: &mut World, at: &str, writer: &str, apex: &str) {
    world.host_zone(at, zone(apex, 1, &[])).unwrap();
    let claim = request::claim_zone(&directory(), &name(apex), &site(at)).unwrap();
    world.write(writer, &claim).unwrap();
}

#[test]
fn two_writers_that_do_not_hear_each_other_make_no_versions_of_one_serial() {
    let mut world = mesh(1401);
    world.kill("site-a");
    world.run_for(30);
    promote(&mut world, "site-b", "site-b");
    world.run_for(5);
    let note = |of: &str| {
        let line = format!("note.{of}.dns.internal. 300 IN TXT \"of {of}\"");
        let record = zonemesh_zone::Record::from_text(&line, &directory()).unwrap();
        Update::new(directory()).add(record)
    };
    // It has gone above what others may have that it does not know, and goes on one by one.
    let first = world.begin_write("site-b", &note("site-c"));
    world.done("site-b", first).unwrap();
    world.run_for(5);
    // The old writer is told which serial there is by now, and can get that version from nobody.
    for host in ["site-b", "site-c", "site-d"] {
        world.cut_requests("site-a", host);
    }
    world.start("site-a");
    let waits = world.begin_write("site-a", &note("site-a"));
    world.run_for(3);
    let at_b = world.begin_write("site-b", &note("site-b"));
    world.done("site-b", at_b).unwrap();
    world.done("site-a", waits).unwrap();
    let serials = ["site-a", "site-b"].map(|host| world.serial(host, "dns.internal"));
    assert_ne!(serials[0], serials[1]);
    world.heal_links();
    world.settle(120);
    assert_eq!(world.catalog_primary(), "site-b");
}

#[test]
fn a_site_that_is_handed_over_to_again_holds_nothing_of_what_it_took_from_the_writer_between() {
    let mut world = mesh(1402);
    for one in ["site-a", "site-c"] {
        for other in ["site-b", "site-d"] {
            world.cut_both(one, other);
        }
    }
    for apex in ["first.example", "second.example", "third.example"] {
        add_at(&mut world, "site-c", "site-a", apex);
    }
    world.run_for(20);
    promote(&mut world, "site-b", "site-b");
    promote(&mut world, "site-b", "site-a");
    world.kill("site-a");
    world.heal_links();
    world.start("site-a");
    world.settle(120);
    assert_eq!(world.catalog_primary(), "site-a");
    let held = world.saw(
        "site-a",
        |what| matches!(what, Happening::Held { message, .. } if message.contains("a newer history")),
    );
    assert!(!held, "{}", world.tail());
    // Its own zones their primary lists again.
    for apex in ["first.example", "second.example", "third.example"] {
        assert!(world.zone("site-d", apex).is_some(), "{apex}");
    }
}

#[test]
fn a_zone_that_is_another_sites_by_a_directory_on_its_way_to_the_disk_is_not_added() {
    let mut world = mesh(1404);
    world.hang_disk("site-c");
    world
        .add_zone("site-a", zone("new.example", 1, &[]))
        .unwrap();
    world.run_for(5);
    assert!(world.zone("site-c", "new.example").is_none());
    // It would be taken for the other one as soon as the disk goes on, and be gone with that.
    let content = zone("new.example", 1, &[]);
    let hosted = world.request("site-c", |request| Input::Host {
        request,
        zone: content,
        high_water: None,
    });
    world.run_for(1);
    world.resume_disk("site-c");
    let why = world.done("site-c", hosted).unwrap_err();
    assert!(why.contains("site-a"), "{why}");
    world.settle(60);
    assert!(world.zone("site-c", "new.example").is_some());
}

/// The zones of which a site, their primary, does not know whether its copy is the newest.
fn in_doubt(world: &mut World, host: &str) -> Vec<String> {
    let views = world.core(host).zones();
    let open = views.filter(|view| {
        let recovery = view.recovery.as_ref();
        recovery.is_some_and(|recovery| recovery.until.is_some())
    });
    open.map(|view| view.spec.apex.to_string()).collect()
}

#[test]
fn after_a_hand_over_the_new_writer_hears_from_all_that_its_copies_are_the_newest() {
    // What a site serves it may have told just before the other was the writer, and be asked for it before that is answered.
    for seed in [1545, 1560, 1576, 1584] {
        let mut world = mesh(seed);
        world.net.slowest = (seed % 3) * 200 + 30;
        promote(&mut world, "site-a", "site-b");
        world.run_for(20);
        let open = in_doubt(&mut world, "site-b");
        assert_eq!(open, [""; 0], "of seed {seed}\n{}", world.tail());
    }
}

#[test]
fn a_site_whose_answer_came_to_nothing_is_asked_once_more_by_a_primary_in_doubt() {
    let mut world = mesh(1402);
    world
        .add_zone("site-b", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world.cut_requests("site-b", "site-c");
    world.restart("site-b");
    // It was told, it says, and what it had to say has gone astray.
    world.input(
        "site-b",
        Input::Notified {
            to: PeerId::Site(site("site-c")),
            apex: name("alpha.example"),
            serial: Serial::from(1),
            result: Ok(()),
        },
    );
    world.heal_links();
    world.run_for(20);
    assert_eq!(in_doubt(&mut world, "site-b"), ["alpha.example"]);
    world.run_for(20);
    assert_eq!(in_doubt(&mut world, "site-b"), [""; 0]);
}

/// The first site is handed the mesh back by one that was promoted meanwhile, and hears of neither.
fn handed_back_unheard(world: &mut World) {
    promote(world, "site-b", "site-b");
    promote(world, "site-b", "site-a");
}

#[test]
fn a_writer_that_can_ask_nobody_about_a_later_version_does_not_go_above_it_and_asks_again() {
    let mut world = mesh(1406);
    // It hears from the others that there is something newer, and can ask none of them.
    for host in ["site-b", "site-c", "site-d"] {
        world.cut_requests("site-a", host);
    }
    let before = world.serial("site-a", "dns.internal");
    handed_back_unheard(&mut world);
    world.run_for(40);
    assert_eq!(world.serial("site-a", "dns.internal"), before);
    world.heal_links();
    world.settle(120);
    assert_eq!(world.catalog_primary(), "site-a");
    world
        .add_zone("site-c", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
    assert!(world.zone("site-d", "new.example").is_some());
}

#[test]
fn a_writer_that_went_on_above_the_epoch_that_was_handed_to_it_goes_above_itself() {
    let mut world = mesh(1407);
    for host in ["site-b", "site-c", "site-d"] {
        world.cut_both("site-a", host);
    }
    handed_back_unheard(&mut world);
    // A serial that somebody chose, above all that the others have: nobody takes it, and they are not above it.
    let mut editor = world.core("site-a").head(&directory()).unwrap().edit();
    editor.set_serial(Serial::from(0x7000_0000));
    let line = "note.site-a.dns.internal. 300 IN TXT \"of site-a\"";
    let record = zonemesh_zone::Record::from_text(line, &directory()).unwrap();
    editor.add(record).unwrap();
    let edited = editor.finish().unwrap();
    let request = world.put_directory("site-a", edited);
    world.done("site-a", request).unwrap();
    world.heal_links();
    world.settle(120);
    assert_eq!(world.catalog_primary(), "site-a");
    let yields = world.saw("site-a", |what| matches!(what, Happening::SetAside { .. }));
    assert!(yields, "what it wrote is shown\n{}", world.tail());
    world
        .add_zone("site-c", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
    assert!(world.zone("site-d", "new.example").is_some());
}
