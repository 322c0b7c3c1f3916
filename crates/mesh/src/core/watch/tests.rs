use std::collections::{BTreeMap, BTreeSet};

use zonemesh_zone::directory::SiteName;

use super::*;

fn names(count: usize) -> Vec<SiteName> {
    let name = |number| SiteName::new(&format!("site-{number:03}")).unwrap();
    (0..count).map(name).collect()
}

/// What a site makes of a mesh.
fn watch_of(me: &SiteName, all: &[SiteName]) -> Watch {
    let others = all.iter().filter(|name| *name != me).cloned();
    let others: Vec<PeerId> = others.map(PeerId::Site).collect();
    let mut watch = Watch::default();
    watch.arrange(me, others.iter());
    watch
}

#[test]
fn each_site_is_watched_by_as_many_as_it_watches() {
    let all = names(100);
    let mut watchers: BTreeMap<PeerId, usize> = BTreeMap::new();
    for me in &all {
        let mut watch = watch_of(me, &all);
        let probed = watch.next(&BTreeSet::new());
        assert_eq!(probed.len(), WATCHED + IN_TURN);
        for peer in &watch.ring[..watch.near] {
            assert!(probed.contains(peer));
            *watchers.entry(peer.clone()).or_default() += 1;
        }
    }
    assert_eq!(watchers.len(), 100);
    assert!(watchers.values().all(|count| *count == WATCHED));
}

#[test]
fn who_is_lost_is_watched_by_as_many_that_answer() {
    let all = names(100);
    // Half of the mesh, as names go.
    let down: BTreeSet<PeerId> = all[..50].iter().cloned().map(PeerId::Site).collect();
    let mut watchers: BTreeMap<PeerId, usize> = BTreeMap::new();
    for me in &all[50..] {
        let mut watch = watch_of(me, &all);
        watch.next(&down.iter().collect());
        for peer in &watch.ring[..watch.near] {
            *watchers.entry(peer.clone()).or_default() += 1;
        }
    }
    assert_eq!(watchers.len(), 100);
    assert!(watchers.values().all(|count| *count >= WATCHED));
}

#[test]
fn everybody_has_a_turn_and_the_lost_ones_one_of_their_own() {
    let all = names(100);
    let mut watch = watch_of(&all[7], &all);
    let mut seen = BTreeSet::new();
    for _ in 0..(99 - WATCHED).div_ceil(IN_TURN) {
        seen.extend(watch.next(&BTreeSet::new()));
    }
    assert_eq!(seen.len(), 99);
    let lost: BTreeSet<PeerId> = watch.ring[20..40].iter().cloned().collect();
    let mut seen = BTreeSet::new();
    for _ in 0..20usize.div_ceil(IN_TURN) {
        let probed = watch.next(&lost.iter().collect());
        assert!(probed.len() <= WATCHED + 2 * IN_TURN);
        seen.extend(probed);
    }
    assert!(lost.is_subset(&seen));
}

#[test]
fn a_mesh_that_is_all_lost_is_not_watched_as_a_whole() {
    let all = names(300);
    let mut watch = watch_of(&all[0], &all);
    let others = watch.ring.clone();
    let probed = watch.next(&others.iter().collect());
    assert!(probed.len() <= MOST_WATCHED + 2 * IN_TURN);
    assert!(probed.len() >= MOST_WATCHED);
}

#[test]
fn the_order_of_the_ring_is_the_same_in_every_version() {
    assert_eq!(place("site-a"), 0x64924f74ec134fa3);
    assert_eq!(place("fsn1"), 0x6323164773c1bee4);
}
