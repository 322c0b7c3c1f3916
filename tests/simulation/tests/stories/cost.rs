//! What healing costs, counted in messages: it must not grow faster than the mesh (promise 8). Answers count as messages too.
//!
//! The figures for large meshes are in `docs/reference/healing-cost.md`.

use std::sync::OnceLock;

use zonemesh_simulation::cost::{Cost, Measured};
use zonemesh_simulation::put;

/// Sites, zones: both grow, then each of them alone.
const SIZES: [(usize, usize); 5] = [(10, 10), (20, 20), (40, 40), (40, 10), (10, 40)];

/// What has befallen one mesh after the other.
struct Costs {
    cut: Cost,
    rest: Cost,
    changed: Cost,
    emptied: Cost,
    restored: Cost,
    away: Cost,
}

/// Measured once, for all tests.
fn costs() -> &'static [((usize, usize), Costs)] {
    static COSTS: OnceLock<Vec<((usize, usize), Costs)>> = OnceLock::new();
    COSTS.get_or_init(|| {
        let sizes = SIZES.into_iter();
        let measured = sizes.map(|(sites, zones)| {
            let mut mesh = Measured::new(5, sites, zones);
            let costs = Costs {
                cut: mesh.power_comes_back("at once", 0),
                rest: mesh.rest(60),
                changed: mesh.zone_is_changed(),
                emptied: mesh.disk_is_emptied(),
                restored: mesh.primary_is_restored(),
                away: mesh.site_is_away(60),
            };
            ((sites, zones), costs)
        });
        measured.collect()
    })
}

/// The most that a figure in proportion to something differs between sizes, beyond which it grows faster.
const SLACK: f64 = 1.25;

/// Asserts that a figure grows no faster than what it is in proportion to, from the first size to each other.
fn grows_no_faster(what: &str, figures: &[((usize, usize), f64)], with: impl Fn(f64, f64) -> f64) {
    let share = |((sites, zones), figure): &((usize, usize), f64)| {
        figure / with(*sites as f64, *zones as f64)
    };
    let first = share(&figures[0]);
    for figure in figures {
        assert!(
            share(figure) <= first * SLACK,
            "{what} grows faster than it may: {figures:?}"
        );
    }
}

/// Twice the sites and twice the zones: twice the cost, not four times.
fn as_the_mesh(sites: f64, zones: f64) -> f64 {
    let (first_sites, first_zones) = SIZES[0];
    (sites / first_sites as f64).max(zones / first_zones as f64)
}

/// One of the costs, at each size.
fn each_size(of: impl Fn(&'static Costs) -> &'static Cost) -> Vec<((usize, usize), &'static Cost)> {
    let costs = costs();
    costs
        .iter()
        .map(|(size, costs)| (*size, of(costs)))
        .collect()
}

/// What befalls one site costs it as much as the mesh is large, and each other its share of the zones: each is the primary of
/// some, and is told of the share of that site.
fn one_site_pays(costs: Vec<((usize, usize), &'static Cost)>) {
    let own = figures(&costs, |cost| cost.concerned.total().messages as f64);
    grows_no_faster("what it sends", &own, as_the_mesh);
    let others = figures(&costs, Cost::each_but_probes);
    grows_no_faster("what each other sends", &others, |sites, zones| {
        (zones / sites).ceil()
    });
}

fn figures(
    costs: &[((usize, usize), &Cost)],
    of: impl Fn(&Cost) -> f64,
) -> Vec<((usize, usize), f64)> {
    costs.iter().map(|(size, cost)| (*size, of(cost))).collect()
}

#[test]
fn after_a_power_cut_a_site_sends_in_proportion_to_the_zones_and_the_sites() {
    let costs = each_size(|costs| &costs.cut);
    // Directory and catalog are zones too.
    let sent = figures(&costs, Cost::each_but_probes);
    grows_no_faster("what all send", &sent, |_, zones| zones + 2.0);
    let most = figures(&costs, |cost| cost.most.messages as f64);
    // The catalog primary has two zones more of its own.
    grows_no_faster("what the busiest sends", &most, |sites, zones| {
        2.5 * sites + zones
    });
    for (size, cost) in &costs {
        let healed = cost.healed.unwrap().as_secs_f64();
        assert!(healed < 5.0, "{size:?}: {healed} s");
    }
}

#[test]
fn when_sites_come_back_one_after_the_other_the_cost_is_of_the_same_kind() {
    let sizes = SIZES.into_iter();
    let costs: Vec<((usize, usize), Cost)> = sizes
        .map(|(sites, zones)| {
            let mut mesh = Measured::new(5, sites, zones);
            ((sites, zones), mesh.power_comes_back("within a minute", 60))
        })
        .collect();
    let costs: Vec<((usize, usize), &Cost)> =
        costs.iter().map(|(size, cost)| (*size, cost)).collect();
    let sent = figures(&costs, Cost::each_but_probes);
    grows_no_faster("what all send", &sent, as_the_mesh);
    for (size, cost) in &costs {
        // As soon as the last is there.
        let healed = cost.healed.unwrap().as_secs_f64();
        assert!(healed < 75.0, "{size:?}: {healed} s");
    }
}

#[test]
fn at_rest_a_site_sends_the_same_however_many_zones_and_from_some_size_on_sites_there_are() {
    let costs = each_size(|costs| &costs.rest);
    for ((sites, zones), cost) in &costs {
        // A probe of each other site every five seconds, or of sixteen, and the answers to theirs.
        let probes = 2.0 * 12.0 * (*sites as f64 - 1.0).min(16.0);
        let seen = cost.each_of("probe");
        assert!(
            (seen - probes).abs() <= probes / 10.0,
            "{sites}, {zones}: {seen}"
        );
        assert_eq!(cost.each_but_probes(), 0.0, "{sites}, {zones}");
    }
}

#[test]
fn a_change_costs_its_primary_in_proportion_to_the_sites_and_each_other_the_same() {
    let costs = each_size(|costs| &costs.changed);
    let others = figures(&costs, Cost::each_but_probes);
    grows_no_faster("what each other sends", &others, |_, _| 1.0);
    let primary = figures(&costs, |cost| {
        let probes = cost.concerned.sent.get("probe");
        let probes = probes.map_or(0, |sent| sent.messages);
        (cost.concerned.total().messages - probes) as f64
    });
    grows_no_faster("what its primary sends", &primary, |sites, _| sites - 1.0);
}

#[test]
fn an_emptied_disk_costs_its_site_in_proportion_to_the_zones() {
    one_site_pays(each_size(|costs| &costs.emptied));
}

#[test]
fn a_primary_that_was_restored_costs_in_proportion_to_its_zones_and_the_sites() {
    one_site_pays(each_size(|costs| &costs.restored));
}

#[test]
fn a_site_that_is_away_costs_the_others_a_few_messages_for_each_of_its_zones() {
    for ((sites, zones), cost) in each_size(|costs| &costs.away) {
        // Each other hands on to eight what it learnt of them lately. They are asked about when their refresh is due, which is
        // not within a minute.
        let few = 2.0 * 8.0 * (zones as f64 / sites as f64).ceil();
        // In a larger mesh two tell all others that it is away.
        let told = if sites > 17 { 2.0 * 2.0 } else { 0.0 };
        let sent = cost.each_but_probes();
        assert!(sent <= 1.0 + few + told, "{sites}, {zones}: {sent}");
    }
}

#[test]
fn what_one_of_forty_sites_has_of_a_lost_primary_reaches_all_though_each_asks_and_tells_a_few() {
    let mut mesh = Measured::new(6, 40, 10);
    mesh.power_comes_back("at once", 0);
    let world = &mut mesh.world;
    let hosts: Vec<String> = world.hosts.keys().cloned().collect();
    let (primary, only) = ("site-0004", "site-0017");
    for host in hosts.iter().filter(|host| *host != only) {
        world.cut_both(primary, host);
    }
    let serial = world.changed(primary, put("zone-0004.example", "last", 9));
    world.run_for(2);
    world.kill(primary);
    world.run_until(60, "all have its last change", |world| {
        let mut others = hosts.iter().filter(|host| *host != primary);
        others.all(|host| world.serial(host, "zone-0004.example") == Some(serial.into_int()))
    });
}
