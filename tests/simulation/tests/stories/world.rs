//! The simulation itself.

use zonemesh_simulation::*;

/// A history with something of everything, as its log.
fn history(seed: u64) -> Vec<String> {
    let mut world = World::mesh(seed, 4);
    world.net.loss = 100;
    world.net.duplicates = 100;
    world.net.slowest = 500;
    for (number, host) in ["site-b", "site-c"].into_iter().enumerate() {
        let apex = format!("z{number}.example");
        let _lost = world.add_zone(host, zone(&apex, 1, &[]));
    }
    world.kill("site-b");
    world.cut("site-c", "site-d");
    world.run_for(60);
    world.start("site-b");
    world.run_for(60);
    world.power_cut_on_disk("site-c", 7);
    world.run_for(60);
    world.power_cut(&["site-a", "site-c"]);
    world.run_for(10);
    world.start("site-c");
    world.start("site-a");
    world.net.cut.clear();
    world.settle(600);
    // More than what is logged: how many messages it took.
    let sent = world.hosts.iter();
    let sent: Vec<String> = sent
        .map(|(name, host)| format!("{name} sent {:?}", host.sent))
        .collect();
    world.log.into_iter().chain(sent).collect()
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..5 {
        let (one, other) = (history(seed), history(seed));
        assert_eq!(one, other);
        assert_ne!(one, history(seed + 100));
    }
}

#[test]
fn fifty_sites_join_one_after_the_other() {
    let mut world = World::mesh(1, 50);
    assert_eq!(world.hosts.len(), 50);
    world
        .add_zone("site-50", zone("z.example", 1, &[]))
        .unwrap();
    world.settle(120);
    assert_eq!(world.serial("site-27", "z.example"), Some(1));
}
