//! Meshes are founded, grow, and serve what is changed.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;
use zonemesh_zone::Serial;

#[test]
fn a_first_site_founds_a_mesh_of_itself() {
    let mut world = World::mesh(1, 1);
    assert!(world.core("site-a").ready());
    assert!(world.core("site-a").is_catalog_primary());
    assert_eq!(world.serial("site-a", "dns.internal"), Some(1));
    assert_eq!(world.serial("site-a", "catalog.dns.internal"), Some(1));
    world.settle(10);
}

#[test]
fn a_zone_of_the_first_site_is_begun_as_soon_as_the_mesh_is_founded() {
    for seed in 0..20 {
        let mut world = World::new(300 + seed);
        world.add_host("site-a", vec![own("beta.example", &[])]);
        world.start("site-a");
        let before = world.below(30);
        world.run_millis(before);
        let request = world.change("site-a", Change::Replace(zone("beta.example", 3, &[])));
        world.run_for(1);
        assert!(
            world.hosts["site-a"].replies.contains_key(&request),
            "seed {seed}: it waits"
        );
        assert_eq!(world.done("site-a", request), Ok(Serial(3)), "seed {seed}");
    }
}

#[test]
fn sites_that_join_hold_and_serve_everything() {
    let mut world = World::mesh(2, 1);
    world
        .add_zone(
            "site-a",
            zone("alpha.example", 7, &["www 60 IN A 192.0.2.1"]),
        )
        .unwrap();
    for host in ["site-b", "site-c"] {
        world.add_host(host, Vec::new());
        world.start(host);
        world.run_for(2);
        assert!(
            !world.core(host).ready(),
            "{host} is ready without being a member"
        );
        world.join(host).unwrap();
        world.settle(30);
        assert_eq!(world.serial(host, "alpha.example"), Some(7));
    }
    let joined = |host: &str| {
        world.saw(
            "site-a",
            |what| matches!(what, Happening::SiteJoined(name) if name.as_str() == host),
        )
    };
    assert!(joined("site-b") && joined("site-c"));
    assert_eq!(world.hosts["site-b"].members.len(), 2);
}

#[test]
fn a_zone_of_the_configuration_is_listed_and_served_everywhere() {
    let mut world = World::mesh(3, 3);
    let spec = own("beta.example", &[]);
    world.configure("site-b", |settings| settings.zones.push(spec));
    world.changed("site-b", Change::Replace(zone("beta.example", 3, &[])));
    world.settle(30);
    assert_eq!(world.serial("site-c", "beta.example"), Some(3));
}

#[test]
fn a_change_reaches_all_sites_and_its_receipt_is_complete() {
    let mut world = World::mesh(4, 3);
    world
        .add_zone("site-b", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(30);
    let serial = world.changed("site-b", put("alpha.example", "www", 9));
    let wait = world.request("site-b", |request| Input::Wait {
        request,
        apex: name("alpha.example"),
        serial,
    });
    let complete = move |world: &World| {
        let replies = world.hosts["site-b"].replies.get(&wait);
        replies
            .into_iter()
            .flatten()
            .any(|reply| matches!(reply, Reply::Receipt(receipt) if receipt.complete))
    };
    world.run_until(1, "the receipt is complete", complete);
    for host in ["site-a", "site-b", "site-c"] {
        assert!(has(world.zone(host, "alpha.example").unwrap(), "www", 9));
    }
    assert!(world.saw("site-b", |what| matches!(
        what,
        Happening::ServedEverywhere { sites: 3, .. }
    )));
    let incremental = |what: &Happening| {
        matches!(
            what,
            Happening::ZoneTransferred {
                incremental: true,
                ..
            }
        )
    };
    assert!(
        world.saw("site-c", incremental),
        "the change came as differences"
    );
}

#[test]
fn a_receipt_names_the_site_that_is_missing_and_why() {
    let mut world = World::mesh(5, 3);
    world
        .add_zone("site-a", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(30);
    world.kill("site-c");
    world.run_for(20);
    let serial = world.changed("site-a", put("alpha.example", "www", 9));
    let request = world.request("site-a", |request| Input::Wait {
        request,
        apex: name("alpha.example"),
        serial,
    });
    world.run_for(5);
    let now = world.clock();
    let receipt = world.core("site-a").receipt_now(request, now).unwrap();
    assert!(!receipt.complete);
    let why = receipt
        .sites
        .iter()
        .find_map(|(_, state)| state.clone().err())
        .unwrap();
    assert!(why.contains("connection refused"), "{why}");
    // Who leaves is not waited for.
    remove_site(
        &mut world,
        "site-c",
        zonemesh_zone::directory::Departure::Remove,
    );
    world.run_for(5);
    let complete = |reply: &Reply| matches!(reply, Reply::Receipt(receipt) if receipt.complete);
    assert!(world.hosts["site-a"].replies[&request].iter().any(complete));
}

#[test]
fn a_restarted_primary_learns_again_who_serves_what() {
    let mut world = World::mesh(6, 3);
    world
        .add_zone("site-a", zone("alpha.example", 1, &[]))
        .unwrap();
    world.settle(30);
    world.restart("site-a");
    world.run_for(2);
    let serial = Serial(1);
    let request = world.request("site-a", |request| Input::Wait {
        request,
        apex: name("alpha.example"),
        serial,
    });
    let complete = |reply: &Reply| matches!(reply, Reply::Receipt(receipt) if receipt.complete);
    assert!(
        world.hosts["site-a"]
            .replies
            .get(&request)
            .is_some_and(|replies| replies.iter().any(complete))
    );
}

#[test]
fn sites_without_news_send_only_probes_and_refreshes() {
    let mut world = World::mesh(7, 3);
    for number in 0..20 {
        world
            .add_zone("site-a", zone(&format!("z{number}.example"), 1, &[]))
            .unwrap();
    }
    world.settle(60);
    for host in world.hosts.values_mut() {
        host.sent.clear();
    }
    world.run_for(200);
    for (name, host) in &world.hosts {
        assert!(host.sent["probe"] <= 2 * 41, "{name}: {:?}", host.sent);
        // 22 zones, refreshed every 300 s at the latest, and a NOTIFY to the primary with each.
        assert!(
            host.sent.get("transfer").is_none_or(|sent| *sent <= 22),
            "{name}: {:?}",
            host.sent
        );
        assert!(
            host.sent.get("notify").is_none_or(|sent| *sent <= 22),
            "{name}: {:?}",
            host.sent
        );
        assert_eq!(host.sent.get("announce"), None, "{name}");
    }
}

#[test]
fn a_site_that_joins_is_made_known_before_anything_is_sent_to_it() {
    let mut world = World::mesh(8, 2);
    world.add_host("site-c", vec![own("alpha.example", &[])]);
    world.start("site-c");
    let first = world.change("site-c", Change::Replace(zone("alpha.example", 1, &[])));
    let site = world.hosts["site-c"].site.clone();
    world
        .edit_directory(|editor, _| {
            for record in site.records(&directory()).unwrap() {
                editor.add(record).unwrap();
            }
            zonemesh_zone::directory::set_owner(editor, &name("alpha.example"), &site.name)
                .unwrap();
        })
        .unwrap();
    world.done("site-c", first).expect("nobody has it");
    world.run_until(2, "site-a has it", |world| {
        world.zone("site-a", "alpha.example").is_some()
    });
    let core = world.core("site-a");
    let view = core.zone(&name("alpha.example")).unwrap();
    let unmet = |why: &&SourceError| why.message.contains("not known");
    assert_eq!(view.errors.values().find(unmet), None);
    let nobody = world.hosts["site-a"].sent.get("to nobody");
    assert_eq!(nobody, None, "NOTIFYs for the newcomer are lost");
    world.settle(30);
}

#[test]
fn a_change_that_comes_when_another_need_not_wait_any_longer_does_not_undo_it() {
    let mut world = World::mesh(71, 3);
    world.settle(60);
    world.kill("site-b");
    world.kill("site-c");
    world.restart("site-a");
    let now = world.clock();
    let head = world.core("site-a").head(&directory()).unwrap().clone();
    let me = world.hosts["site-a"].site.name.clone();
    // Two changes of one version: the first waits until it is known whether that is the newest, the second comes when it is over.
    let claims = [(1, "one.example", 0), (2, "two.example", 6)];
    let mut last = None;
    for (request, zone, after) in claims {
        let mut editor = head.edit();
        zonemesh_zone::directory::set_owner(&mut editor, &name(zone), &me).unwrap();
        let input = Input::Directory {
            request,
            edited: editor.finish().unwrap(),
            also: Vec::new(),
        };
        let now = Now {
            mono: now.mono + std::time::Duration::from_secs(after),
            wall: now.wall + after as i64,
        };
        for output in world.core("site-a").handle(input, now) {
            if let Output::Commit { versions, .. } = output {
                let directory = versions.into_iter().map(|version| version.zone);
                last = directory
                    .filter(|zone| *zone.apex() == self::directory())
                    .last()
                    .or(last);
            }
        }
    }
    let owners = zonemesh_zone::directory::Directory::read(&last.expect("both are made")).owners;
    assert!(owners.contains_key(&name("one.example")), "{owners:?}");
    assert!(owners.contains_key(&name("two.example")), "{owners:?}");
}
