//! Who writes directory and catalog, when the writer is lost, hands over, comes back, or is one of two.

use std::time::Duration;

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_update::request::{claim_zone, release_zone};
use zonemesh_update::{Everything, Update, apply};
use zonemesh_zone::directory::remove_site as remove;
use zonemesh_zone::directory::{Departure, Directory, Role, set_role};
use zonemesh_zone::{Record, Serial};

/// A mesh in which some sites can be promoted.
fn mesh_with(seed: u64, sites: usize, secondaries: &[&str]) -> World {
    let mut world = World::mesh(seed, sites);
    for name in secondaries {
        world.let_be_promoted(name);
    }
    world
        .add_zone("site-c", zone("shop.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world
}

fn promote(world: &mut World, at: &str, to: &str, force: bool) -> Result<Serial, String> {
    promote_seeing(world, at, to, None, force)
}

/// The same, after the other side of it was asked.
fn promote_seeing(
    world: &mut World,
    at: &str,
    to: &str,
    seen: Option<Seen>,
    force: bool,
) -> Result<Serial, String> {
    let to = site(to);
    let request = world.request(at, |request| Input::Promote {
        request,
        to,
        seen,
        force,
    });
    world.done(at, request)
}

fn cut_in_two(world: &mut World, one: &[&str], other: &[&str]) {
    for a in one {
        for b in other {
            world.cut_both(a, b);
        }
    }
}

fn writers(world: &World) -> Vec<String> {
    let writes = |host: &Host| host.core.as_ref().is_some_and(Core::is_catalog_primary);
    let hosts = world.hosts.iter().filter(|(_, host)| writes(host));
    hosts.map(|(name, _)| name.clone()).collect()
}

/// What a site has set aside of a zone.
fn set_aside(world: &World, host: &str, apex: &str) -> Vec<Yielded> {
    let table = world.hosts[host].disk.table.iter();
    table
        .filter(|((table, _), _)| table == YIELDED)
        .map(|(_, value)| Yielded::decode(value).unwrap())
        .filter(|kept| kept.zone == name(apex))
        .collect()
}

/// Makes at the writer what was set aside elsewhere.
fn replay(world: &mut World, kept: &Yielded) {
    let writer = world.catalog_primary();
    let head = world.core(&writer).head(&kept.zone).unwrap().clone();
    assert!(
        !kept.fates(&head).unwrap().contains(&Fate::Conflicts),
        "{kept:?}"
    );
    let update = kept.replay(&head, false).unwrap().unwrap();
    world.write(&writer, &update).unwrap();
}

/// Whether all sites of the list agree on the writer and serve the same directory and catalog.
fn agree(world: &World, hosts: &[&str], writer: &str) -> bool {
    hosts.iter().all(|host| {
        let core = world.hosts[*host].core.as_ref().unwrap();
        let primary = core
            .catalog_primary()
            .is_some_and(|site| site.name.as_str() == writer);
        primary
            && [directory(), catalog()].iter().all(|apex| {
                let of = |host: &str| {
                    world.hosts[host]
                        .served
                        .get(apex)
                        .and_then(|(zone, _)| zone.clone())
                };
                match (of(host), of(hosts[0])) {
                    (Some(one), Some(other)) => one.same_contents(&other),
                    _ => false,
                }
            })
    })
}

#[test]
fn a_lost_writer_is_replaced_by_command_and_follows_when_it_comes_back() {
    // F-61.
    let mut world = mesh_with(701, 4, &["site-b"]);
    world.kill("site-a");
    world.run_for(30);
    // What belongs to the mesh can be done again within moments, and zones were served throughout.
    promote(&mut world, "site-b", "site-b", false).unwrap();
    world.run_until(1, "all follow the new writer", |world| {
        agree(world, &["site-b", "site-c", "site-d"], "site-b")
    });
    assert!(world.saw("site-c", |what| matches!(
        what,
        Happening::WriterChanged { epoch: 2, .. }
    )));
    world
        .add_zone("site-d", zone("new.example", 1, &[]))
        .unwrap();
    world.run_for(5);
    assert!(world.zone("site-c", "new.example").is_some());
    world.start("site-a");
    world.settle(60);
    assert_eq!(writers(&world), ["site-b"]);
    assert!(world.zone("site-a", "new.example").is_some());
    for host in ["site-a", "site-b", "site-c", "site-d"] {
        assert_eq!(set_aside(&world, host, "dns.internal"), [], "{host}");
    }
    // The one that was promoted and is lost for good: the old one takes over again, and removes it.
    world.kill("site-b");
    world.run_for(30);
    promote(&mut world, "site-a", "site-a", false).unwrap();
    remove_site(&mut world, "site-b", Departure::Remove);
    world.settle(60);
    assert_eq!(writers(&world), ["site-a"]);
}

#[test]
fn both_sides_of_a_split_write_for_an_hour_and_nothing_is_lost_when_it_heals() {
    // F-32.
    let mut world = mesh_with(702, 6, &["site-b"]);
    world.kill("site-f");
    let (here, there) = (["site-a", "site-d"], ["site-b", "site-c", "site-e"]);
    cut_in_two(&mut world, &here, &there);
    world.run_for(60);
    promote(&mut world, "site-b", "site-b", false).unwrap();
    assert_eq!(writers(&world), ["site-a", "site-b"], "each side has one");
    let gone = site("site-f");
    world
        .edit_directory(|editor, read| {
            remove(editor, read, &gone, &Departure::Remove, EPOCH).unwrap();
            set_role(editor, &site("site-d"), Role::CatalogSecondary).unwrap();
        })
        .unwrap();
    for hour in 0..12 {
        world.run_for(300);
        world
            .add_zone("site-d", zone(&format!("here-{hour}.example"), 1, &[]))
            .unwrap();
        let there = name(&format!("there-{hour}.example"));
        let claim = claim_zone(&directory(), &there, &site("site-e")).unwrap();
        world
            .host_zone("site-e", zone(&format!("there-{hour}.example"), 1, &[]))
            .unwrap();
        world.write("site-b", &claim).unwrap();
    }
    world.net.cut.clear();
    let healed = world.now;
    world.run_until(60, "one of the two yields", |world| {
        writers(world) == ["site-b"]
            && agree(
                world,
                &["site-a", "site-b", "site-c", "site-d", "site-e"],
                "site-b",
            )
    });
    assert!(world.now - healed < Duration::from_secs(60));
    // What the loser and those with it had written is kept at each of them.
    for host in here {
        let kept = set_aside(&world, host, "dns.internal");
        assert_eq!(kept.len(), 1, "{host}");
        // A site that was removed with four names of its own, one that can be promoted, and of twelve zones those that were
        // not listed again by the time that this site yielded.
        let zones = kept[0]
            .changes
            .iter()
            .filter(|change| change.rtype == "PTR");
        let others = kept[0].changes.len() - zones.count();
        assert_eq!(others, 1 + 4 + 1, "{host}: {kept:?}");
        assert!(kept[0].common.is_some(), "{host}");
    }
    for host in there {
        assert_eq!(set_aside(&world, host, "dns.internal"), [], "{host}");
    }
    // Each site lists its own zones again; all else waits for a command.
    world.run_for(60);
    let kept = set_aside(&world, "site-a", "dns.internal").remove(0);
    let fates = |world: &mut World| {
        let head = world.core("site-b").head(&directory()).unwrap().clone();
        kept.fates(&head).unwrap()
    };
    let open = fates(&mut world)
        .iter()
        .filter(|fate| **fate == Fate::Fits)
        .count();
    assert_eq!(open, 1 + 4 + 1);
    let sites = |world: &mut World| world.core("site-b").directory().unwrap().sites.clone();
    assert!(sites(&mut world).contains_key(&site("site-f")));
    replay(&mut world, &kept);
    world.settle(120);
    assert!(fates(&mut world).iter().all(|fate| *fate == Fate::There));
    assert!(!sites(&mut world).contains_key(&site("site-f")));
    assert_eq!(
        sites(&mut world)[&site("site-d")].role,
        Role::CatalogSecondary
    );
    assert_eq!(writers(&world), ["site-b"]);
    for hour in 0..12 {
        for host in ["site-a", "site-c"] {
            for side in ["here", "there"] {
                let zone = name(&format!("{side}-{hour}.example"));
                let listed = world
                    .core(host)
                    .directory()
                    .unwrap()
                    .owners
                    .contains_key(&zone);
                assert!(listed, "{zone} at {host}");
            }
        }
    }
}

#[test]
fn a_zone_that_was_added_at_the_losers_side_is_served_on_and_listed_again_by_its_primary() {
    let mut world = mesh_with(705, 5, &["site-b"]);
    cut_in_two(
        &mut world,
        &["site-a", "site-d"],
        &["site-b", "site-c", "site-e"],
    );
    world.run_for(60);
    promote(&mut world, "site-b", "site-b", false).unwrap();
    world
        .add_zone(
            "site-d",
            zone("late.example", 1, &["www 60 IN A 192.0.2.9"]),
        )
        .unwrap();
    // What the other writer removes stays removed.
    let release = zonemesh_update::request::release_zone(&directory(), &name("shop.example"));
    world.write("site-b", &release.unwrap()).unwrap();
    world.run_for(30);
    world.net.cut.clear();
    for _ in 0..600 {
        world.run_millis(100);
        assert!(
            world.zone("site-d", "late.example").is_some(),
            "at any time"
        );
    }
    world.settle(60);
    for host in ["site-a", "site-b", "site-e"] {
        assert!(
            has(world.zone(host, "late.example").unwrap(), "www", 9),
            "{host}"
        );
        assert!(world.zone(host, "shop.example").is_none(), "{host}");
    }
}

#[test]
fn two_that_were_promoted_apart_end_with_the_first_by_name_whatever_their_serials() {
    // Of the first pair the one that is to yield has the greater serials, of the second the other.
    for (seed, (first, second, with_first, with_second)) in [
        ("site-b", "site-c", "site-d", "site-e"),
        ("site-d", "site-e", "site-b", "site-c"),
    ]
    .into_iter()
    .cycle()
    .take(8)
    .enumerate()
    {
        let mut world = mesh_with(710 + seed as u64, 5, &[first, second]);
        world.kill("site-a");
        cut_in_two(&mut world, &[first, with_first], &[second, with_second]);
        world.run_for(30);
        let (mut order, eager) = ([first, second], [first, second][seed / 2 % 2]);
        if seed >= 4 {
            order.reverse();
        }
        for host in order {
            promote(&mut world, host, host, false).unwrap();
            world.run_for(20);
        }
        for number in 0..3 {
            let zone = format!("extra-{number}.example");
            let site = site(with_first);
            let claim = claim_zone(&directory(), &name(&zone), &site).unwrap();
            world.write(eager, &claim).unwrap();
        }
        world.net.cut.clear();
        world.run_until(60, "one of the two yields", |world| {
            agree(world, &[first, second, with_first, with_second], first)
        });
        let lost = set_aside(&world, second, "dns.internal");
        let changes: usize = lost.iter().map(|kept| kept.changes.len()).sum();
        assert_eq!(changes, if eager == second { 3 } else { 0 }, "{lost:?}");
        world.start("site-a");
        world.run_until(60, "and the old one follows", |world| {
            agree(
                world,
                &["site-a", "site-b", "site-c", "site-d", "site-e"],
                first,
            )
        });
    }
}

#[test]
fn what_the_other_side_answers_now_decides_whether_a_site_is_promoted() {
    let silent = || Some(Err("connection refused".to_owned()));
    let mut world = mesh_with(721, 3, &["site-b"]);
    // Probes have not found it out yet.
    world.kill("site-b");
    let why = promote_seeing(&mut world, "site-a", "site-b", silent(), false).unwrap_err();
    assert!(
        why.contains("site-b does not answer: connection refused"),
        "{why}"
    );
    world.start("site-b");
    world.settle(60);
    let why = promote_seeing(&mut world, "site-b", "site-b", Some(Ok(())), false).unwrap_err();
    assert!(
        why.contains("site-a, the catalog primary, answers: hand over in order"),
        "{why}"
    );
    world.kill("site-a");
    promote(&mut world, "site-b", "site-b", false).unwrap_err();
    promote_seeing(&mut world, "site-b", "site-b", silent(), false).unwrap();
    world.run_until(60, "the other site follows", |world| {
        agree(world, &["site-b", "site-c"], "site-b")
    });
    // The other way round: probes have found it away, and it is back.
    world.run_for(30);
    world.start("site-a");
    world.settle(60);
    promote_seeing(&mut world, "site-b", "site-a", Some(Ok(())), false).unwrap();
}

#[test]
fn a_writer_hands_over_in_order_and_nothing_is_refused_in_between_for_long() {
    let mut world = mesh_with(720, 4, &["site-b"]);
    let why = promote(&mut world, "site-b", "site-b", false).unwrap_err();
    assert!(
        why.contains("site-a, the catalog primary, is not known to be away"),
        "{why}"
    );
    let why = promote(&mut world, "site-a", "site-c", false).unwrap_err();
    assert!(why.contains("site-c is a standard site"), "{why}");
    let why = promote(&mut world, "site-c", "site-b", false).unwrap_err();
    assert!(why.contains("ask site-b"), "{why}");
    promote(&mut world, "site-a", "site-b", false).unwrap();
    world.run_until(1, "all follow", |world| {
        agree(world, &["site-a", "site-b", "site-c", "site-d"], "site-b")
    });
    world
        .add_zone("site-a", zone("new.example", 1, &[]))
        .unwrap();
    world.settle(60);
    for host in ["site-a", "site-b", "site-c", "site-d"] {
        assert_eq!(set_aside(&world, host, "dns.internal"), [], "{host}");
        assert_eq!(
            set_aside(&world, host, "catalog.dns.internal"),
            [],
            "{host}"
        );
    }
    // Whoever is it already has nothing to do.
    let before = world.serial("site-b", "dns.internal");
    promote(&mut world, "site-b", "site-b", false).unwrap();
    assert_eq!(world.serial("site-b", "dns.internal"), before);
}

#[test]
fn a_promotion_that_no_disk_has_yet_is_none_after_a_power_cut() {
    let mut world = mesh_with(730, 3, &["site-b"]);
    world.kill("site-a");
    world.run_for(30);
    let to = site("site-b");
    world.request("site-b", |request| Input::Promote {
        request,
        to,
        seen: None,
        force: false,
    });
    for host in ["site-b", "site-c"] {
        world.kill(host);
    }
    for host in ["site-b", "site-c"] {
        world.start(host);
    }
    world.run_for(60);
    assert_eq!(
        writers(&world),
        Vec::<String>::new(),
        "nobody promotes itself"
    );
    promote(&mut world, "site-b", "site-b", false).unwrap();
    // Acknowledged, and so it holds.
    for host in ["site-b", "site-c"] {
        world.kill(host);
    }
    for host in ["site-a", "site-b", "site-c"] {
        world.start(host);
    }
    world.settle(90);
    assert_eq!(writers(&world), ["site-b"]);
}

#[test]
fn a_catalog_secondary_that_sees_nobody_for_a_day_promotes_itself_never() {
    let mut world = mesh_with(740, 3, &["site-b"]);
    cut_in_two(&mut world, &["site-b"], &["site-a", "site-c"]);
    world.run_for(86_400);
    assert_eq!(writers(&world), ["site-a"]);
    let seen = |what: &Happening| matches!(what, Happening::WriterChanged { .. });
    assert!(!world.saw("site-b", seen));
    world.net.cut.clear();
    world.settle(90);
    assert_eq!(writers(&world), ["site-a"]);
}

#[test]
fn an_old_writer_that_was_removed_meanwhile_stays_out_when_it_comes_back() {
    let mut world = mesh_with(750, 4, &["site-b"]);
    world
        .add_zone("site-a", zone("old.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world.kill("site-a");
    world.run_for(30);
    promote(&mut world, "site-b", "site-b", false).unwrap();
    remove_site(&mut world, "site-a", Departure::Adopt(site("site-d")));
    world.run_for(30);
    world.start("site-a");
    world.run_for(300);
    for host in ["site-b", "site-c", "site-d"] {
        let core = world.core(host);
        assert_eq!(
            core.catalog_primary().unwrap().name,
            site("site-b"),
            "{host}"
        );
        assert!(
            !core
                .directory()
                .unwrap()
                .sites
                .contains_key(&site("site-a")),
            "{host}"
        );
    }
    assert!(
        world
            .core("site-d")
            .zone(&name("old.example"))
            .unwrap()
            .spec
            .primary
    );
}

#[test]
fn a_site_that_joined_at_the_loser_is_told_and_comes_in_when_that_is_made_again() {
    let mut world = mesh_with(760, 4, &["site-b"]);
    cut_in_two(&mut world, &["site-a"], &["site-b", "site-c", "site-d"]);
    world.run_for(30);
    promote(&mut world, "site-b", "site-b", false).unwrap();
    world.run_for(10);
    world.add_host("site-new", Vec::new());
    world.start("site-new");
    for host in ["site-b", "site-c", "site-d"] {
        world.cut_both("site-new", host);
    }
    let request = world.invite("site-new").unwrap();
    world.done("site-a", request).unwrap();
    world.run_until(30, "it is a member", |world| {
        world.zone("site-new", "shop.example").is_some()
    });
    world.net.cut.clear();
    world.run_until(60, "one of the two yields", |world| {
        writers(world) == ["site-b"]
    });
    let kept = set_aside(&world, "site-a", "dns.internal").remove(0);
    assert!(
        kept.changes.iter().all(|change| change.before.is_empty()),
        "{kept:?}"
    );
    world.run_for(400);
    let member = |world: &World| {
        let core = world.hosts["site-b"].core.as_ref().unwrap();
        core.directory()
            .unwrap()
            .sites
            .contains_key(&site("site-new"))
    };
    assert!(!member(&world), "never without a command");
    let view = world.core("site-new").zone(&directory()).unwrap();
    assert!(
        view.errors
            .values()
            .any(|why| why.message.contains("not a member")),
        "{:?}",
        view.errors
    );
    replay(&mut world, &kept);
    world.settle(90);
    assert!(member(&world));
    let read = Directory::read(world.zone("site-new", "dns.internal").unwrap());
    assert_eq!(read.catalog_primary().unwrap().name, site("site-b"));
}

#[test]
fn a_site_that_joins_again_at_the_new_writer_lists_its_zones_there_though_it_never_knew_what_both_had()
 {
    let mut world = mesh_with(761, 4, &["site-b"]);
    // A zone of that name was another's once, and both writers know that it is gone.
    world
        .add_zone("site-c", zone("fresh.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world.remove_zone("site-c", "fresh.example").unwrap();
    world.settle(60);
    cut_in_two(&mut world, &["site-b"], &["site-a", "site-c", "site-d"]);
    // More is published at the old writer before the new site joins: it has no version that the other one has.
    world.add_host("site-new", Vec::new());
    world.start("site-new");
    world.cut_both("site-new", "site-b");
    world.join("site-new").unwrap();
    world
        .add_zone("site-new", zone("fresh.example", 1, &[]))
        .unwrap();
    world.run_for(30);
    promote(&mut world, "site-b", "site-b", true).unwrap();
    world.kill("site-a");
    world.heal_links();
    world.run_for(60);
    world.join("site-new").unwrap();
    world.start("site-a");
    for _ in 0..120 {
        world.run_for(1);
        let held = world.serial("site-new", "fresh.example");
        assert!(held.is_some(), "its primary never lets go of it");
    }
    world.settle(60);
    assert!(world.serial("site-c", "fresh.example").is_some());
}

#[test]
fn a_site_that_the_new_writer_does_not_know_answers_nothing_without_the_zones_that_are_listed() {
    let mut world = mesh_with(766, 4, &["site-b"]);
    cut_in_two(&mut world, &["site-b", "site-d"], &["site-a", "site-c"]);
    // Two, whom the brake holds where they are no members any longer: they are not refused yet.
    for new in ["site-new", "site-too"] {
        world.add_host(new, Vec::new());
        world.start(new);
        cut_in_two(&mut world, &[new], &["site-b", "site-d"]);
        world.join(new).unwrap();
    }
    world.run_for(30);
    promote(&mut world, "site-b", "site-b", true).unwrap();
    world
        .host_zone("site-d", zone("other.example", 1, &[]))
        .unwrap();
    world.input(
        "site-d",
        Input::Unlisted {
            apex: name("other.example"),
        },
    );
    world.run_for(60);
    world.heal_links();
    world.run_until(60, "it has the catalog of the new writer", |world| {
        let core = world.hosts["site-new"].core.as_ref().unwrap();
        let listed = &core.catalog().unwrap().members;
        listed.contains_key(&name("other.example"))
    });
    world.restart("site-new");
    world.run_for(20);
    let held = world.serial("site-new", "other.example");
    assert!(held.is_none() && !world.core("site-new").ready());
    world.join("site-new").unwrap();
    world.run_until(30, "it answers as a member again", |world| {
        let core = world.hosts["site-new"].core.as_ref().unwrap();
        core.ready() && world.serial("site-new", "other.example").is_some()
    });
}

#[test]
fn what_an_old_primary_wrote_of_a_zone_that_another_has_adopted_is_set_aside() {
    let mut world = mesh_with(770, 4, &[]);
    cut_in_two(&mut world, &["site-c"], &["site-a", "site-b", "site-d"]);
    // It does not know that it is being removed, and writes on.
    world.changed("site-c", put("shop.example", "late", 7));
    remove_site(&mut world, "site-c", Departure::Adopt(site("site-d")));
    world.run_for(30);
    world.changed("site-d", put("shop.example", "other", 8));
    world.net.cut.clear();
    world.run_for(120);
    let new_key = {
        let host = world.host("site-c");
        let pins = vec![zonemesh_zone::directory::KeyPin([77; 32])];
        host.site.pins = pins.clone();
        if let Some(mesh) = &mut host.settings.mesh {
            mesh.me.site.pins = pins;
        }
        host.site.clone()
    };
    world.restart("site-c");
    world.join(new_key.name.as_str()).unwrap();
    world.run_until(120, "all serve what the new primary has", |world| {
        let of = |host: &str| world.zone(host, "shop.example").cloned();
        let there = |host: &str| {
            of(host).is_some_and(|zone| has(&zone, "other", 8) && !has(&zone, "late", 7))
        };
        there("site-a") && there("site-c") && there("site-d")
    });
    let kept = set_aside(&world, "site-c", "shop.example");
    assert_eq!(kept.len(), 1, "{kept:?}");
    let late: Vec<_> = kept[0]
        .changes
        .iter()
        .filter(|change| change.owner == name("late.shop.example"))
        .collect();
    assert_eq!(late.len(), 1, "{kept:?}");
    let head = world
        .core("site-d")
        .head(&name("shop.example"))
        .unwrap()
        .clone();
    let update = kept[0].replay(&head, false).unwrap().unwrap();
    let edited = apply(&head, &update, &Everything).unwrap().zone;
    assert!(has(&edited, "late", 7) && has(&edited, "other", 8));
}

#[test]
fn an_old_writer_that_comes_back_makes_no_version_of_what_it_has_just_yielded() {
    // What nobody has heard of it is listed anew by its own site, at the moment at which the old writer still stores what it
    // follows. All five hold the directory, so that it is shown the same news by several.
    for seed in 0..8 {
        let mut world = mesh_with(900 + seed, 5, &["site-b", "site-c", "site-d", "site-e"]);
        for host in ["site-b", "site-c", "site-d", "site-e"] {
            cut_in_two(&mut world, &["site-a"], &[host]);
        }
        world
            .add_zone("site-a", zone("last.example", 1, &[]))
            .unwrap();
        world.kill("site-a");
        world.heal_links();
        world.run_for(20);
        promote(&mut world, "site-b", "site-b", true).unwrap();
        world.run_for(1);
        world
            .add_zone("site-b", zone("new.example", 1, &[]))
            .unwrap();
        world.run_for(1);
        world.host("site-a").slow_disk = 30;
        world.start("site-a");
        world.settle(120);
        let all = ["site-a", "site-b", "site-c", "site-d", "site-e"];
        assert!(agree(&world, &all, "site-b"), "seed {seed}");
        let listed = &world.core("site-e").catalog().unwrap().members;
        assert!(listed.contains_key(&name("last.example")), "seed {seed}");
    }
}

#[test]
fn a_site_that_is_handed_over_to_takes_the_catalog_when_the_directory_has_come_first() {
    // Both are one version at the old writer, and come apart from each other.
    for seed in 0..12 {
        let mut world = mesh_with(1000 + seed, 5, &["site-b"]);
        promote(&mut world, "site-a", "site-b", true).unwrap();
        world.settle(60);
        world.net.slowest = 900;
        world.net.loss = 60;
        // Back again: the catalog that the other one has by then names its writer.
        promote(&mut world, "site-b", "site-a", true).unwrap();
        world.run_for(2);
        world.end_faults();
        world.run_until(60, "all follow the new writer", |world| {
            let all = ["site-a", "site-b", "site-c", "site-d", "site-e"];
            agree(world, &all, "site-a")
        });
        world
            .add_zone("site-a", zone("after.example", 1, &[]))
            .unwrap();
        world.settle(60);
    }
}

#[test]
fn what_a_writer_removes_that_was_promoted_past_an_epoch_it_never_took_stays_out() {
    for seed in 1430..1434 {
        let mut world = mesh_with(seed, 5, &["site-b"]);
        world
            .add_zone("site-d", zone("gone.example", 1, &[]))
            .unwrap();
        world.settle(60);
        let (first, second) = (["site-a", "site-c"], ["site-b", "site-d", "site-e"]);
        cut_in_two(&mut world, &first, &second);
        world.run_for(20);
        promote(&mut world, "site-b", "site-b", true).unwrap();
        world
            .host_zone("site-d", zone("new.example", 1, &[]))
            .unwrap();
        let claim = claim_zone(&directory(), &name("new.example"), &site("site-d")).unwrap();
        world.write("site-b", &claim).unwrap();
        let line = "note.site-c.dns.internal. 300 IN TXT \"of site-c\"";
        let note = Record::from_text(line, &directory()).unwrap();
        world
            .write("site-a", &Update::new(directory()).add(note))
            .unwrap();
        world.run_for(10);
        // The old writer hears of the new one and has nothing of it yet when its operator promotes it again.
        world.hang_disk("site-a");
        world.heal_links();
        world.run_until(60, "the old writer has heard of the new one", |world| {
            let core = world.hosts["site-a"].core.as_ref().unwrap();
            let planned = core.promotion(&site("site-a"), None);
            planned.is_ok_and(|planned| planned.epoch == 3)
        });
        let promoted = world.request("site-a", |request| Input::Promote {
            request,
            to: site("site-a"),
            seen: None,
            force: true,
        });
        cut_in_two(&mut world, &first, &second);
        world.resume_disk("site-a");
        world.done("site-a", promoted).unwrap();
        let gone = release_zone(&directory(), &name("gone.example")).unwrap();
        world.write("site-a", &gone).unwrap();
        world.run_for(10);

        world.heal_links();
        world.settle(120);
        assert_eq!(writers(&world), ["site-a"]);
        for host in ["site-a", "site-b", "site-c", "site-d", "site-e"] {
            let tail = world.tail();
            let read = world.core(host).directory().unwrap();
            assert!(
                !read.owners.contains_key(&name("gone.example")),
                "{host} of seed {seed}\n{tail}"
            );
            assert!(world.zone(host, "gone.example").is_none(), "{host}");
            assert!(world.zone(host, "new.example").is_some(), "{host}");
        }
        // What was written since the two part, and nothing else.
        let kept = set_aside(&world, "site-b", "dns.internal");
        assert!(kept.iter().all(|kept| kept.common.is_some()), "{kept:?}");
        let head = world.core("site-a").head(&directory()).unwrap().clone();
        for kept in kept {
            assert!(!kept.fates(&head).unwrap().contains(&Fate::Conflicts));
        }
    }
}

/// Two sides, of which the one that is to yield has a site that loses its disk, and learns the directory anew there.
fn disk_lost_at_the_losers_side(seed: u64) -> World {
    let mut world = mesh_with(seed, 5, &["site-b"]);
    for zone_of_it in ["gone.example", "kept.example"] {
        world
            .add_zone("site-d", zone(zone_of_it, 1, &["www 60 IN A 192.0.2.9"]))
            .unwrap();
    }
    // A zone of that name was another's once, and both sides know that it is gone.
    world
        .add_zone("site-c", zone("again.example", 1, &[]))
        .unwrap();
    world.settle(60);
    world.remove_zone("site-c", "again.example").unwrap();
    world.settle(60);
    let first = ["site-a", "site-d"];
    cut_in_two(&mut world, &first, &["site-b", "site-c", "site-e"]);
    world.run_for(30);
    promote(&mut world, "site-b", "site-b", true).unwrap();
    // The old writer goes on, so that what both had is not what its sites learn anew.
    world
        .add_zone("site-a", zone("late.example", 1, &[]))
        .unwrap();
    world.run_for(20);
    world.empty_disk("site-d", Key::Kept);
    world.start("site-d");
    world.run_until(60, "it has its zones from the other one", |world| {
        world.zone("site-d", "gone.example").is_some()
            && world.zone("site-d", "kept.example").is_some()
    });
    world
}

#[test]
fn what_the_winner_removed_stays_out_though_its_primary_has_lost_the_version_that_both_had() {
    for seed in 1500..1504 {
        let mut world = disk_lost_at_the_losers_side(seed);
        let gone = release_zone(&directory(), &name("gone.example")).unwrap();
        world.write("site-b", &gone).unwrap();
        world.run_for(10);
        world.heal_links();
        world.settle(120);
        assert_eq!(writers(&world), ["site-b"]);
        for host in ["site-a", "site-b", "site-c", "site-d", "site-e"] {
            let listed = &world.core(host).directory().unwrap().owners;
            assert!(!listed.contains_key(&name("gone.example")), "{host}");
            assert!(world.zone(host, "gone.example").is_none(), "{host}");
            for there in ["kept.example", "late.example", "shop.example"] {
                assert!(world.zone(host, there).is_some(), "{there} at {host}");
            }
        }
        // An operator is shown it where it was yielded, and can have it back.
        let kept = set_aside(&world, "site-d", "dns.internal");
        let head = world.core("site-b").head(&directory()).unwrap().clone();
        let lists = name("gone.example._zones.dns.internal");
        let fates: Vec<Fate> = kept
            .iter()
            .flat_map(|kept| kept.changes.iter().zip(kept.fates(&head).unwrap()))
            .filter(|(change, _)| change.owner == lists)
            .map(|(_, fate)| fate)
            .collect();
        assert_eq!(fates, [Fate::Conflicts], "{kept:?}");
        let update = kept[0].replay(&head, true).unwrap().unwrap();
        let edited = apply(&head, &update, &Everything).unwrap().zone;
        let listed = Directory::read(&edited).owners;
        assert_eq!(listed.get(&name("gone.example")), Some(&site("site-d")));
    }
}

#[test]
fn what_is_added_at_the_losers_side_stays_though_the_winner_notes_that_another_of_the_name_went() {
    for seed in 1510..1514 {
        let mut world = disk_lost_at_the_losers_side(seed);
        world
            .add_zone("site-d", zone("again.example", 1, &[]))
            .unwrap();
        world.run_for(20);
        // It makes no difference that it starts anew before it hears of the winner.
        world.restart("site-d");
        world.run_for(20);
        world.heal_links();
        for _ in 0..60 {
            world.run_for(1);
            let held = world.serial("site-d", "again.example");
            assert!(held.is_some(), "its primary never lets go of it");
        }
        world.settle(60);
        assert_eq!(writers(&world), ["site-b"]);
        for host in ["site-a", "site-b", "site-c", "site-d", "site-e"] {
            assert!(world.zone(host, "again.example").is_some(), "{host}");
        }
    }
}
