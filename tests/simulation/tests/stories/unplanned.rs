//! A site that has started and whose catalog is broken: no plan says who is the primary of a zone, and nobody is taken for it.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::Serial;
use zonemesh_zone::directory::SiteName;

use super::three;

const ZONE: &str = "alpha.example";

fn peer(site: &str) -> PeerId {
    PeerId::Site(SiteName::new(site).unwrap())
}

/// Three sites, of which the third has started since the catalog was broken. `site-b` is the primary of the zone.
fn without_plan(seed: u64) -> World {
    let mut world = three(seed);
    let mut editor = world.core("site-a").head(&catalog()).unwrap().edit();
    editor.remove_name(&name("version.catalog.dns.internal"));
    let broken = editor.finish().unwrap();
    world.changed("site-a", Change::Edited(broken));
    world.run_for(5);
    world.restart("site-c");
    world.run_for(10);
    let view = world.core("site-c").zone(&name(ZONE)).unwrap();
    assert_eq!(view.spec.primary_source(), None);
    assert_eq!(view.spec.sources.first(), Some(&peer("site-a")));
    world
}

#[test]
fn a_change_at_a_site_that_knows_no_primary_is_not_sent_to_one_that_is_none() {
    let mut world = without_plan(1901);
    let refused = world
        .core("site-c")
        .changed_zone(&put(ZONE, "h0", 7))
        .unwrap_err();
    assert!(refused.1.contains("another server"), "{refused:?}");
}

#[test]
fn where_no_primary_is_known_nobodys_word_is_the_last_one() {
    let mut world = without_plan(1902);
    let before = world.hosts["site-c"].transfers.len();
    world.run_for(70);
    let asked = world.hosts["site-c"].transfers[before..].iter();
    let asked: Vec<String> = asked
        .filter(|(_, apex, _)| *apex == name(ZONE))
        .map(|(_, _, from)| from.to_string())
        .collect();
    assert!(
        asked.contains(&"site-a".to_owned()) && asked.contains(&"site-b".to_owned()),
        "{asked:?}\n{}",
        world.tail()
    );
}

#[test]
fn where_no_primary_is_known_nobody_is_believed_that_goes_too_far() {
    let mut world = without_plan(1903);
    let far = Serial(1 + (1 << 31) - (1 << 10));
    for host in ["site-a", "site-b"] {
        let (apex, from, serial) = (name(ZONE), peer(host), Some(far));
        world.input("site-c", Input::Notify { apex, serial, from });
        let view = world.core("site-c").zone(&name(ZONE)).unwrap();
        assert_ne!(view.shown.get(&peer(host)), Some(&far), "{host}");
    }
}
