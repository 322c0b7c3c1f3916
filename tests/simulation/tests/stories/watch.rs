//! Meshes in which not every site probes every other: what is the matter with one is known to all as soon as in a small one.

use zonemesh_mesh::core::*;
use zonemesh_simulation::cost::Measured;
use zonemesh_simulation::*;
use zonemesh_zone::directory::SiteName;

fn peer(site: &str) -> PeerId {
    PeerId::Site(SiteName::new(site).unwrap())
}

/// Forty sites with a zone each, that have been running for a minute.
fn forty(seed: u64) -> World {
    let mut mesh = Measured::new(seed, 40, 40);
    mesh.power_comes_back("at once", 0);
    let mut world = mesh.world;
    // Each begins its rounds at another moment.
    let hosts = names(&world);
    for host in hosts {
        world.kill(&host);
        let pause = world.below(300);
        world.run_millis(pause);
        world.start(&host);
    }
    world.run_for(60);
    assert_eq!(believed_lost(&world), []);
    world
}

fn names(world: &World) -> Vec<String> {
    world.hosts.keys().cloned().collect()
}

/// Who believes of whom that it is lost.
fn believed_lost(world: &World) -> Vec<(String, String)> {
    let mut lost = Vec::new();
    for (name, host) in &world.hosts {
        let peers = host.core.iter().flat_map(Core::peers);
        let gone = peers.filter(|(_, since)| since.is_some());
        lost.extend(gone.map(|(id, _)| (name.clone(), id.to_string())));
    }
    lost
}

/// Who of the others does not believe that a site is lost.
fn unaware(world: &World, of: &str) -> Vec<String> {
    let believes = |host: &Host| {
        let core = host.core.as_ref();
        core.is_some_and(|core| core.lost(&peer(of)).is_some())
    };
    let others = world.hosts.iter().filter(|(name, _)| *name != of);
    let others = others.filter(|(_, host)| !believes(host));
    others.map(|(name, _)| name.clone()).collect()
}

fn probes(world: &World) -> usize {
    let sent = |host: &Host| host.sent.get("probe").copied().unwrap_or(0);
    world.hosts.values().map(sent).sum()
}

#[test]
fn a_site_that_hangs_is_noticed_by_all_of_forty_within_fifteen_seconds_and_so_is_its_return() {
    let mut world = forty(1);
    for number in [4, 11, 23, 38] {
        let site = format!("site-{number:04}");
        let wait = world.below(5_000);
        world.run_millis(wait);
        world.hang(&site);
        world.run_for(15);
        assert_eq!(unaware(&world, &site), [""; 0], "{site}");
        world.run_for(20);
        world.resume(&site);
        world.run_for(8);
        assert_eq!(believed_lost(&world), [], "{site}");
    }
}

#[test]
fn a_machine_that_dies_is_noticed_by_all_of_forty_within_fifteen_seconds() {
    let mut world = forty(2);
    for site in ["site-0009", "site-0030"] {
        world.kill(site);
        world.run_for(15);
        assert_eq!(unaware(&world, site), [""; 0], "{site}");
        world.start(site);
        world.run_for(8);
        assert_eq!(believed_lost(&world), [], "{site}");
    }
}

#[test]
fn the_halves_of_a_mesh_that_was_cut_in_two_have_found_each_other_again_soon() {
    let mut world = forty(3);
    let hosts = names(&world);
    let (one, other) = hosts.split_at(20);
    for one in one {
        for other in other {
            world.cut_both(one, other);
        }
    }
    world.run_for(180);
    // All of those that each tries in turn, and those that it watches.
    assert_eq!(believed_lost(&world).len(), 2 * 20 * 20);
    world.heal_links();
    world.run_for(20);
    assert_eq!(believed_lost(&world), []);
}

#[test]
fn what_is_between_two_sites_alone_is_found_out_by_these_two_and_believed_by_no_others() {
    let mut world = forty(4);
    world.cut_both("site-0003", "site-0029");
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    let both = [
        pair("site-0003", "site-0029"),
        pair("site-0029", "site-0003"),
    ];
    for _ in 0..60 {
        world.run_for(1);
        assert!(believed_lost(&world).iter().all(|lost| both.contains(lost)));
    }
    // In turn, and twice.
    assert_eq!(believed_lost(&world), both);
    world.heal_links();
    world.run_for(15);
    assert_eq!(believed_lost(&world), []);
}

#[test]
fn a_member_that_says_of_all_that_they_are_lost_costs_probes_and_makes_nobody_lose_them() {
    let mut world = forty(5);
    let hosts = names(&world);
    let before = probes(&world);
    world.run_for(60);
    let usual = probes(&world) - before;
    let before = probes(&world);
    for _ in 0..60 {
        for about in &hosts {
            for to in ["site-0001", "site-0002"] {
                world.input(to, said(about));
            }
        }
        world.run_for(1);
        assert_eq!(believed_lost(&world), []);
    }
    let more = probes(&world) - before - usual;
    // Those two probe each of 39 others as often as in a small mesh, and some of them for reasons of their own.
    assert!((2 * 38 * 11..=2 * 39 * 13).contains(&more), "{more}");
}

/// What `site-0007` says of a site.
fn said(about: &str) -> Input {
    Input::Notify {
        apex: name(&format!("{about}.dns.internal")),
        serial: None,
        from: peer("site-0007"),
    }
}

#[test]
fn a_site_that_comes_and_goes_makes_no_storm() {
    const ROUNDS: u32 = 16;
    let mut world = forty(6);
    let sent = |world: &World| -> usize {
        let notified = |host: &Host| host.sent.get("notify").copied().unwrap_or(0);
        world.hosts.values().map(notified).sum()
    };
    let before = sent(&world);
    for _ in 0..ROUNDS {
        world.hang("site-0013");
        world.run_for(7);
        world.resume("site-0013");
        world.run_for(8);
    }
    let minutes = f64::from(ROUNDS) * 15.0 / 60.0;
    let each = (sent(&world) - before) as f64 / minutes / 40.0;
    // Told of at most each quarter of a minute, by two at a time.
    assert!(each <= 8.0, "{each} NOTIFYs a minute of each site");
    world.run_for(30);
    assert_eq!(believed_lost(&world), []);
}
