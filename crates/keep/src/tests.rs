use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record, Zone};

use super::*;

fn zone(number: usize, serial: u32, records: u32) -> Zone {
    let apex = parse_name(&format!("z{number}.example")).unwrap();
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 60 IN SOA ns.example. root.example. {serial} 1 2 3 4");
    let more = (0..records).map(|n| format!("n{n} 60 IN A 192.0.2.{}", n % 256));
    for line in std::iter::once(soa).chain(more) {
        editor
            .add(Record::from_text(&line, &apex).unwrap())
            .unwrap();
    }
    editor.finish().unwrap()
}

/// A version that was transferred whole.
fn learnt(commit: CommitId, zone: &Zone, base: Option<&Zone>) -> Job {
    let version = NewVersion {
        zone: zone.clone(),
        diffs: Vec::new(),
        from: Some(zonemesh_mesh::core::PeerId::Foreign("b".into())),
        by: None,
        base: base.cloned(),
        forced: false,
    };
    Job::Commit(commit, vec![version], Vec::new())
}

fn run_waiting(jobs: Vec<Job>, store: &Store) -> Vec<Done> {
    let mut waiting = VecDeque::from(jobs);
    let mut all = Vec::new();
    while !waiting.is_empty() {
        let group = next_group(&mut waiting);
        all.extend(run_all(group, store, Timestamp::UNIX_EPOCH));
    }
    all
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    (dir, store)
}

#[test]
fn a_thousand_zones_that_are_learnt_at_once_take_a_handful_of_flushes() {
    let (_dir, store) = store();
    let before = store.transactions();
    let jobs = (0..1000).map(|n| learnt(n as CommitId, &zone(n, 1, 2), None));
    let done = run_waiting(jobs.collect(), &store);
    assert_eq!(done.len(), 1000);
    for (n, done) in done.iter().enumerate() {
        assert_eq!(done.error, None);
        assert!(
            matches!(&done.input, Some(Input::Committed { commit, result: Ok(()) }) if *commit == n as CommitId)
        );
    }
    assert_eq!(store.zones().unwrap().len(), 1000);
    let flushes = store.transactions() - before;
    assert!(flushes <= 4, "{flushes}");
}

#[test]
fn jobs_are_done_in_their_order_and_one_that_fails_leaves_the_others_alone() {
    let (_dir, store) = store();
    let (first, second, third) = (zone(1, 1, 1), zone(1, 2, 5), zone(1, 3, 9));
    let apex = first.apex().clone();
    let done = run_waiting(
        vec![
            learnt(1, &first, None),
            learnt(2, &second, Some(&first)),
            Job::Recall(apex.clone(), Serial(1)),
            // No newer than what is stored by then.
            learnt(3, &second, Some(&second)),
            Job::HighWater(apex.clone(), Serial(7)),
            learnt(4, &third, Some(&second)),
            Job::SetAside(parse_name("other.example").unwrap()),
        ],
        &store,
    );
    let failed: Vec<bool> = done.iter().map(|done| done.error.is_some()).collect();
    assert_eq!(failed, [false, false, false, true, false, false, true]);
    match &done[2].input {
        Some(Input::Recalled {
            zone: Some(zone), ..
        }) => assert!(zone.same_contents(&first)),
        other => panic!("{other:?}"),
    }
    let stored = store.load(&apex).unwrap().unwrap();
    assert!(stored.zone.same_contents(&third));
    assert_eq!(stored.high_water, Serial(7));
    // Whole transfers of a zone that is held go on with its history.
    let history = store.history(&apex).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].added, history[1].added), (4, 4));
}

#[test]
fn a_large_zone_keeps_small_ones_that_came_before_it_from_waiting() {
    let (small, large) = (zone(1, 1, 1), zone(2, 1, 20_000));
    let mut waiting: VecDeque<Job> = [&small, &small, &large, &small]
        .map(|zone| learnt(1, zone, None))
        .into();
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        let group = next_group(&mut waiting);
        (!group.is_empty()).then_some(group.len())
    })
    .collect();
    assert_eq!(sizes, [2, 1, 1]);
}
