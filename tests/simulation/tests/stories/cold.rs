//! Everything was down and starts again, in any order, and not always all of it.

use zonemesh_mesh::core::*;
use zonemesh_simulation::*;

const SITES: [&str; 4] = ["site-a", "site-b", "site-c", "site-d"];
const ZONES: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];

/// Four sites with a zone each. The last changes have reached only some when all lose power.
fn power_cut(seed: u64) -> World {
    let mut world = World::mesh(seed, 4);
    for (host, apex) in SITES.into_iter().zip(ZONES) {
        world.add_zone(host, zone(apex, 1, &[])).unwrap();
    }
    world.settle(60);
    world.net.loss = 500;
    for (host, apex) in SITES.into_iter().zip(ZONES) {
        world.changed(host, put(apex, "last", 1));
    }
    let pause = world.below(3000);
    world.run_millis(pause);
    for host in SITES {
        world.kill(host);
    }
    world.net.loss = 0;
    world.run_for(300);
    world
}

/// All orders of four.
fn orders() -> Vec<[&'static str; 4]> {
    let mut orders = Vec::new();
    for code in 0..24 {
        let mut left = SITES.to_vec();
        let mut code = code;
        orders.push([4, 3, 2, 1].map(|of| {
            let at = code % of;
            code /= of;
            left.remove(at)
        }));
    }
    orders
}

/// Whether all of these sites are ready and serve the same of these zones.
fn alike(world: &World, hosts: &[&str], zones: &[&str]) -> bool {
    let ready = |host: &&str| world.hosts[*host].core.as_ref().is_some_and(Core::ready);
    let same = |apex: &&str| {
        let first = world.zone(hosts[0], apex);
        let same = |host: &&str| match (first, world.zone(host, apex)) {
            (Some(first), Some(other)) => first.same_contents(other),
            _ => false,
        };
        hosts.iter().all(same)
    };
    let own = ["dns.internal", "catalog.dns.internal"];
    hosts.iter().all(ready) && zones.iter().chain(&own).all(same)
}

fn settled(world: &mut World, hosts: &[&'static str], zones: &[&'static str]) {
    let (these, those) = (hosts.to_vec(), zones.to_vec());
    world.run_until(120, "all that run serve the same", move |world| {
        alike(world, &these, &those)
    });
    for (host, apex) in SITES.into_iter().zip(ZONES) {
        if hosts.contains(&host) {
            // Its primary is there, and had made it durable.
            assert!(
                has(world.zone(hosts[0], apex).unwrap(), "last", 1),
                "{apex}"
            );
        }
    }
}

#[test]
fn sites_started_in_any_order_are_alike_within_two_minutes_with_nothing_lost() {
    for (seed, order) in orders().into_iter().enumerate() {
        println!("seed {seed}: {order:?}");
        let mut world = power_cut(8600 + seed as u64);
        for host in order {
            world.start(host);
            let pause = world.below(20_000);
            world.run_millis(pause);
        }
        settled(&mut world, &SITES, &ZONES);
        world.settle(120);
    }
}

#[test]
fn the_others_are_alike_when_one_never_comes_back() {
    for (seed, order) in orders().into_iter().enumerate() {
        println!("seed {seed}: without {:?}", order[0]);
        let mut world = power_cut(8640 + seed as u64);
        for host in &order[1..] {
            world.start(host);
            let pause = world.below(20_000);
            world.run_millis(pause);
        }
        settled(&mut world, &order[1..], &ZONES);
    }
}

#[test]
fn the_others_take_the_freshest_copy_when_nobody_reaches_its_primary() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = power_cut(8680 + seed);
        for other in ["site-a", "site-c", "site-d"] {
            world.cut_both("site-b", other);
        }
        for host in SITES {
            world.start(host);
        }
        settled(&mut world, &["site-a", "site-c", "site-d"], &ZONES);
        world.net.cut.clear();
        settled(&mut world, &SITES, &ZONES);
    }
}

#[test]
fn a_site_that_reaches_nobody_answers_from_its_store_within_half_a_minute() {
    for host in SITES {
        let mut world = power_cut(8700);
        for other in SITES {
            world.cut_both(host, other);
        }
        world.start(host);
        world.run_until(30, "it answers", |world| {
            let core = world.hosts[host].core.as_ref();
            core.is_some_and(Core::ready)
        });
        for apex in ZONES {
            assert!(
                world.zone(host, apex).is_some(),
                "{host} does not serve {apex}"
            );
        }
        // Its own zone can be changed, too.
        let own = ZONES[SITES.iter().position(|site| *site == host).unwrap()];
        world.changed(host, put(own, "alone", 1));
    }
}

#[test]
fn a_power_cut_in_the_middle_of_a_cold_start_changes_nothing() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut world = power_cut(8720 + seed);
        for _ in 0..3 {
            for host in SITES {
                world.start(host);
                let pause = world.below(400);
                world.run_millis(pause);
            }
            for host in SITES {
                world.kill(host);
            }
        }
        for host in SITES {
            world.start(host);
        }
        settled(&mut world, &SITES, &ZONES);
    }
}
