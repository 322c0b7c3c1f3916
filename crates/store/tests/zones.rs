//! Zones, their history, their serials, and their removal.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{advance, apex, at, create, held, next, zone};
use zonemesh_store::{
    Batch, CommitError, Forgetting, Histories, History, Origin, Store, ZoneState,
};
use zonemesh_zone::{Author, By, Name, Serial, SerialExt, Zone};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "site-a").unwrap();
    (dir, store)
}

fn transfer() -> Origin {
    Origin::Transfer {
        from: "site-b".into(),
    }
}

#[test]
fn a_zone_comes_back_after_a_restart_with_its_history_and_state() {
    let (dir, store) = store();
    let first = zone(1, 10, &[(1, 1), (2, 2)]);
    create(&store, &first);
    let second = advance(&store, &first, 11, 2);
    let third = advance(&store, &second, 12, 3);
    let state = ZoneState {
        expires_at: Some(at(99)),
        primary: Some("site-b".into()),
        ..ZoneState::default()
    };
    let batch = Batch::new(at(4))
        .set_state(&apex(1), &state)
        .high_water(&apex(1), Serial(20))
        .put("tokens", "a", b"1")
        .put("tokens", "b", b"2")
        .put("tombstones", "a", b"3");
    store.commit(batch).unwrap();
    drop(store);

    let store = Store::open(dir.path(), "site-a").unwrap();
    assert_eq!(store.zones().unwrap(), [apex(1)]);
    let stored = store.load(&apex(1)).unwrap().unwrap();
    assert!(stored.zone.same_contents(&third));
    assert_eq!(stored.zone.apex().as_slice(), apex(1).as_slice(), "case");
    assert_eq!(stored.state, state);
    assert_eq!(stored.high_water, Serial(20));
    assert!(store.load(&apex(2)).unwrap().is_none());

    let diffs = store.diffs_since(&apex(1), Serial(10)).unwrap().unwrap();
    assert_eq!(diffs, [first.diff(&second), second.diff(&third)]);
    assert_eq!(
        store.diffs_since(&apex(1), Serial(12)).unwrap(),
        Some(vec![])
    );
    assert_eq!(store.diffs_since(&apex(1), Serial(9)).unwrap(), None);
    let history = store.history(&apex(1)).unwrap();
    let serials: Vec<_> = history.iter().map(|entry| (entry.from, entry.to)).collect();
    assert_eq!(
        serials,
        [(Serial(10), Serial(11)), (Serial(11), Serial(12))]
    );
    assert_eq!((history[1].removed, history[1].added), (1, 1));
    assert_eq!((history[1].at, &history[1].origin), (at(3), &Origin::Local));
    let beginning = store.beginning(&apex(1)).unwrap().unwrap();
    assert_eq!((beginning.serial, beginning.at), (Serial(10), at(1)));
    assert_eq!(beginning.records, first.record_count() as u64);
    for version in [&first, &second, &third] {
        let read = store.version_at(&apex(1), version.serial()).unwrap();
        assert!(read.unwrap().same_contents(version));
    }
    assert!(store.version_at(&apex(1), Serial(13)).unwrap().is_none());

    assert_eq!(store.get("tokens", "b").unwrap().unwrap(), b"2");
    assert_eq!(store.get("tokens", "c").unwrap(), None);
    let listed = store.list("tokens").unwrap();
    assert_eq!(
        listed,
        [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())]
    );
    let batch = Batch::new(at(5))
        .delete("tokens", "a")
        .delete("tokens", "x");
    store.commit(batch).unwrap();
    assert_eq!(store.list("tokens").unwrap().len(), 1);
}

#[test]
fn a_version_made_here_must_exceed_every_serial_shown() {
    let (_dir, store) = store();
    let first = zone(1, 10, &[]);
    create(&store, &first);
    let replace = |serial, origin| {
        let batch = Batch::new(at(2)).replace(&zone(1, serial, &[]), origin);
        store.commit(batch)
    };
    let not_greater = |result| matches!(result, Err(CommitError::NotGreater { .. }));
    assert!(not_greater(replace(10, Origin::Local)));
    assert!(not_greater(replace(9, Origin::Local)));
    assert!(
        not_greater(replace(10 + (1 << 31), Origin::Local)),
        "incomparable"
    );
    store
        .commit(Batch::new(at(2)).high_water(&apex(1), Serial(u32::MAX / 2)))
        .unwrap();
    let second = next(&first, 11);
    let append = Batch::new(at(2)).append(&second, &first.diff(&second), Origin::Local);
    let error = store.commit(append).unwrap_err().to_string();
    assert!(
        error.contains("11 cannot be published, 2147483647 was shown"),
        "{error}"
    );
    // A smaller one does not lower it.
    store
        .commit(Batch::new(at(2)).high_water(&apex(1), Serial(5)))
        .unwrap();
    assert!(not_greater(replace(u32::MAX / 2, Origin::Local)));
    replace(u32::MAX / 2 + 1, Origin::Local).unwrap();
    replace(u32::MAX, Origin::Local).unwrap();
    replace(0, Origin::Local).unwrap();

    // The mark outlives the zone.
    store
        .commit(Batch::new(at(3)).remove_zone(&apex(1)))
        .unwrap();
    store.purge_removed(at(4)).unwrap();
    assert_eq!(store.high_water(&apex(1)).unwrap(), Some(Serial(0)));
    assert!(not_greater(replace(0, Origin::Local)));
    replace(1, Origin::Local).unwrap();
}

#[test]
fn a_stale_primary_never_rolls_a_secondary_back() {
    let (_dir, store) = store();
    let replace = |serial, origin| {
        let batch = Batch::new(at(2)).replace(&zone(1, serial, &[]), origin);
        store.commit(batch)
    };
    replace(10, transfer()).unwrap();
    store
        .commit(Batch::new(at(2)).high_water(&apex(1), Serial(20)))
        .unwrap();
    // Not yet what was announced, but newer than what is here.
    replace(15, transfer()).unwrap();
    for stale in [15, 14, 3] {
        assert!(matches!(
            replace(stale, transfer()),
            Err(CommitError::NotNewer {
                current: Serial(15),
                ..
            })
        ));
    }
    let forced = Origin::Forced {
        from: "site-b".into(),
    };
    replace(3, forced).unwrap();
    let stored = store.load(&apex(1)).unwrap().unwrap();
    assert_eq!(stored.zone.serial(), Serial(3));
    assert_eq!(stored.high_water, Serial(20));
    replace(4, transfer()).unwrap();
}

#[test]
fn a_difference_that_does_not_fit_is_refused() {
    let (_dir, store) = store();
    let first = zone(1, 10, &[]);
    let (second, third) = (next(&first, 11), next(&first, 12));
    let append = |zone: &Zone, diff| {
        let batch = Batch::new(at(2))
            .put("t", "half", b"")
            .append(zone, &diff, Origin::Local);
        store.commit(batch)
    };
    assert!(matches!(
        append(&second, first.diff(&second)),
        Err(CommitError::NoZone(_))
    ));
    create(&store, &first);
    assert!(matches!(
        append(&third, second.diff(&third)),
        Err(CommitError::WrongStart {
            from: Serial(11),
            current: Serial(10),
            ..
        })
    ));
    assert!(matches!(
        append(&third, first.diff(&second)),
        Err(CommitError::WrongDiff(_))
    ));
    let mut headless = first.diff(&second);
    headless.added.clear();
    assert!(matches!(
        append(&second, headless),
        Err(CommitError::WrongDiff(_))
    ));
    assert_eq!(
        store.get("t", "half").unwrap(),
        None,
        "nothing of the batch"
    );
    append(&second, first.diff(&second)).unwrap();
}

#[test]
fn a_version_that_was_transferred_whole_goes_on_with_the_history_of_the_one_before() {
    let (_dir, store) = store();
    let first = zone(1, 1, &[(1, 1), (2, 2)]);
    create(&store, &first);
    // Nothing shared with the version before, as a transfer makes it.
    let second = zone(1, 2, &[(1, 1), (3, 3)]);
    let diff = first.diff(&second);
    let renewed = Batch::new(at(2)).renew(&second, &diff, transfer());
    store.commit(renewed.clone()).unwrap();
    assert_eq!(
        store.diffs_since(&apex(1), Serial(1)).unwrap(),
        Some(vec![diff])
    );
    let load = || held(&store, 1);
    assert!(load().same_contents(&second));
    let old = store.version_at(&apex(1), Serial(1)).unwrap().unwrap();
    assert!(old.same_contents(&first));
    // The same again is no newer; and what does not start from the stored version takes its place.
    assert!(matches!(
        store.commit(renewed),
        Err(CommitError::NotNewer { .. })
    ));
    let (third, fourth) = (zone(1, 3, &[(4, 4)]), zone(1, 4, &[(5, 5)]));
    let batch = Batch::new(at(3)).renew(&fourth, &third.diff(&fourth), transfer());
    store.commit(batch).unwrap();
    assert!(load().same_contents(&fourth));
    assert_eq!(store.history(&apex(1)).unwrap(), []);
}

#[test]
fn each_zone_keeps_as_much_of_its_past_as_was_said_of_it() {
    let (_dir, store) = store();
    let of = |days: u64| History {
        max_age: Duration::from_secs(days * 86_400),
        ..History::default()
    };
    store.set_histories(Histories {
        every: of(1),
        zones: [(apex(2), of(1000))].into(),
    });
    for n in [1, 2] {
        let mut current = zone(n, 1, &[]);
        create(&store, &current);
        // Enough that a snapshot is written, below which nothing can be forgotten.
        for serial in 2..600 {
            let mut editor = next(&current, serial).edit();
            let owner = support::apex(n);
            let set = zonemesh_zone::Rrset::new(
                zonemesh_zone::Rtype::from_int(65_280),
                zonemesh_zone::Ttl::from_secs(60),
                [vec![serial as u8; 500]],
            );
            editor.put(&owner, set).unwrap();
            let new = editor.finish().unwrap();
            let batch = Batch::new(at(i64::from(serial) * 3600));
            let batch = batch.append(&new, &current.diff(&new), Origin::Local);
            store.commit(batch).unwrap();
            current = new;
        }
    }
    assert!(store.history(&apex(1)).unwrap().len() < 200);
    assert_eq!(store.history(&apex(2)).unwrap().len(), 598);
}

#[test]
fn two_zones_change_together_or_not_at_all() {
    let (_dir, store) = store();
    let (directory, catalog) = (zone(1, 1, &[]), zone(2, 1, &[]));
    create(&store, &directory);
    create(&store, &catalog);
    let (newer, stale) = (next(&directory, 2), zone(2, 1, &[(1, 1)]));
    let batch = Batch::new(at(2))
        .append(&newer, &directory.diff(&newer), Origin::Local)
        .replace(&stale, Origin::Local);
    store.commit(batch).unwrap_err();
    assert_eq!(held(&store, 1).serial(), Serial(1));
    assert_eq!(store.history(&apex(1)).unwrap(), []);
    let newer_catalog = next(&catalog, 2);
    let batch = Batch::new(at(2))
        .append(&newer, &directory.diff(&newer), Origin::Local)
        .append(&newer_catalog, &catalog.diff(&newer_catalog), Origin::Local);
    store.commit(batch).unwrap();
    assert_eq!(held(&store, 2).serial(), Serial(2));
}

#[test]
fn several_differences_of_a_zone_fit_in_one_batch() {
    let (_dir, store) = store();
    let first = zone(1, 1, &[]);
    let (second, third) = (next(&first, 2), next(&first, 3));
    let third = second.apply(&second.diff(&third)).unwrap();
    let batch = Batch::new(at(1))
        .replace(&first, transfer())
        .append(&second, &first.diff(&second), transfer())
        .append(&third, &second.diff(&third), transfer());
    store.commit(batch).unwrap();
    assert!(held(&store, 1).same_contents(&third));
    assert_eq!(
        store
            .diffs_since(&apex(1), Serial(1))
            .unwrap()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_removed_zone_can_be_brought_back_until_it_is_purged() {
    let (dir, store) = store();
    let first = zone(1, 1, &[(1, 1)]);
    create(&store, &first);
    let second = advance(&store, &first, 2, 2);
    let state = ZoneState {
        primary: Some("site-b".into()),
        ..ZoneState::default()
    };
    let batch = Batch::new(at(100))
        .set_state(&apex(1), &state)
        .remove_zone(&apex(1));
    store.commit(batch).unwrap();
    assert!(store.load(&apex(1)).unwrap().is_none());
    assert_eq!(store.state(&apex(1)).unwrap(), None);
    assert!(store.zones().unwrap().is_empty());
    assert!(matches!(
        store.commit(Batch::new(at(100)).remove_zone(&apex(1))),
        Err(CommitError::NoZone(_))
    ));
    // One of its name comes and goes meanwhile.
    let other = zone(1, 3, &[(9, 9)]);
    store
        .commit(Batch::new(at(150)).replace(&other, Origin::Local))
        .unwrap();
    assert!(matches!(
        store.commit(Batch::new(at(151)).restore_zone(&apex(1))),
        Err(CommitError::ZoneExists(_))
    ));
    store
        .commit(Batch::new(at(200)).remove_zone(&apex(1)))
        .unwrap();
    drop(store);

    let store = Store::open(dir.path(), "site-a").unwrap();
    let removed: Vec<_> = store
        .removed()
        .unwrap()
        .iter()
        .map(|zone| zone.at)
        .collect();
    assert_eq!(removed, [at(100), at(200)]);
    let purged = store.purge_removed(at(100)).unwrap();
    assert_eq!(purged, [], "not before its time");
    store
        .commit(Batch::new(at(300)).restore_zone(&apex(1)))
        .unwrap();
    assert!(held(&store, 1).same_contents(&other));
    store
        .commit(Batch::new(at(400)).remove_zone(&apex(1)))
        .unwrap();
    assert_eq!(store.purge_removed(at(401)).unwrap().len(), 2);
    assert!(matches!(
        store.commit(Batch::new(at(402)).restore_zone(&apex(1))),
        Err(CommitError::NotRemoved(_))
    ));

    // With history and state, when nothing came in between.
    let third = next(&second, 5);
    let batch = Batch::new(at(500))
        .replace(
            &second.edit().finish().unwrap(),
            Origin::Forced { from: "x".into() },
        )
        .append(&third, &second.diff(&third), Origin::Local)
        .set_state(&apex(1), &state);
    store.commit(batch).unwrap();
    store
        .commit(Batch::new(at(501)).remove_zone(&apex(1)))
        .unwrap();
    store
        .commit(Batch::new(at(502)).restore_zone(&apex(1)))
        .unwrap();
    assert_eq!(store.load(&apex(1)).unwrap().unwrap().state, state);
    assert_eq!(store.history(&apex(1)).unwrap().len(), 1);
    assert!(store.removed().unwrap().is_empty());
}

#[test]
fn history_stays_within_its_bounds_and_the_zone_whole() {
    let dir = tempfile::tempdir().unwrap();
    let history = History {
        max_bytes: Some(120_000),
        max_age: Duration::from_secs(1_000_000),
    };
    let store = Store::open_with(dir.path(), "site-a", history).unwrap();
    let mut current = zone(1, 0, &[]);
    create(&store, &current);
    let texts: Vec<u8> = (0..=255).collect();
    let mut versions = vec![current.clone()];
    for round in 0..60u8 {
        // About 3 kB a difference.
        let records: Vec<_> = texts.iter().map(|&rdata| (round, rdata)).collect();
        let new = zone(1, u32::from(round) + 1, &records);
        let batch = Batch::new(at(i64::from(round)));
        let batch = batch.append(&new, &current.diff(&new), Origin::Local);
        store.commit(batch).unwrap();
        versions.push(new.clone());
        current = new;
        if round % 8 == 0 {
            let stored = store.load(&apex(1)).unwrap().unwrap();
            assert!(stored.zone.same_contents(&current));
        }
    }
    let kept = store.history(&apex(1)).unwrap();
    assert!((30..50).contains(&kept.len()), "{} entries", kept.len());
    // Going back takes longer the further it goes.
    for entry in kept.iter().step_by(8) {
        let version = store.version_at(&apex(1), entry.from).unwrap().unwrap();
        assert!(version.same_contents(&versions[entry.from.into_int() as usize]));
    }
    let oldest = kept[0].from;
    assert!(store.diffs_since(&apex(1), oldest).unwrap().is_some());
    assert!(
        store
            .diffs_since(&apex(1), oldest.add(u32::MAX / 2))
            .unwrap()
            .is_none()
    );
    assert!(!oldest.is_after(current.serial()));

    // What is too old goes, but for what the zone is loaded from.
    let last = next(&current, 1000);
    let batch = Batch::new(at(2_000_000)).append(&last, &current.diff(&last), Origin::Local);
    store.commit(batch).unwrap();
    assert!(store.history(&apex(1)).unwrap().len() < 25);
    assert!(held(&store, 1).same_contents(&last));
}

#[test]
fn who_made_a_version_is_kept_with_it_and_goes_by_the_rules_of_one_made_here() {
    let (dir, store) = store();
    let made = |by, who: &str, from: Option<&str>| Origin::Made {
        by: Author {
            by,
            who: who.to_owned(),
            from: from.map(str::to_owned),
        },
    };
    let file = made(By::File, "zones/a.zone", None);
    let mut zone = zone(1, 10, &[]);
    let first = Batch::new(at(1)).replace(&zone, file.clone());
    store.commit(first).unwrap();
    let authors = [
        made(By::Operator, "uid 1000", None),
        made(By::Update, "ddns.", Some("192.0.2.7")),
        made(By::Site, "site-b", Some("2001:db8::2")),
        Origin::Local,
    ];
    for (serial, origin) in (11..).zip(&authors) {
        let next = next(&zone, serial);
        let batch = Batch::new(at(2)).append(&next, &zone.diff(&next), origin.clone());
        store.commit(batch).unwrap();
        zone = next;
    }
    let again = Batch::new(at(3)).replace(&zone, made(By::Operator, "uid 0", None));
    assert!(matches!(
        store.commit(again),
        Err(CommitError::NotGreater { .. })
    ));
    drop(store);
    let store = Store::open(dir.path(), "site-a").unwrap();
    let history = store.history(&apex(1)).unwrap();
    let origins: Vec<Origin> = history.into_iter().map(|entry| entry.origin).collect();
    assert_eq!(origins, authors);
    assert_eq!(store.beginning(&apex(1)).unwrap().unwrap().origin, file);
}

/// A store of zones with a change each second since one, and a clock that forgets what is older than an hour.
fn of_an_hour(zones: u8) -> (tempfile::TempDir, Store, Vec<Zone>) {
    let (dir, store) = store();
    store.set_histories(Histories::from(History {
        max_age: Duration::from_secs(3600),
        ..History::default()
    }));
    let changed = (0..zones).map(|n| {
        let mut current = zone(n, 1, &[]);
        create(&store, &current);
        for serial in 2..5 {
            current = advance(&store, &current, serial, i64::from(serial));
        }
        current
    });
    let changed = changed.collect();
    (dir, store, changed)
}

/// A whole pass; how many differences it has forgotten, and in how many parts.
fn forget(forgetting: &mut Forgetting, seconds: i64) -> (u64, usize) {
    let (mut entries, mut parts) = (0, 1);
    loop {
        let part = forgetting.part(at(seconds), |_| Ok(None)).unwrap();
        assert!(part.failed.is_empty(), "{:?}", part.failed);
        entries += part.entries;
        if !part.more {
            return (entries, parts);
        }
        parts += 1;
    }
}

#[test]
fn what_is_too_old_is_forgotten_of_zones_that_never_change_again() {
    let (dir, store, zones) = of_an_hour(3);
    let mut forgetting = Forgetting::new(store.clone());
    assert_eq!(forget(&mut forgetting, 3000), (0, 1));
    assert_eq!(store.history(&apex(1)).unwrap().len(), 3);
    assert_eq!(forget(&mut forgetting, 6601), (9, 1));
    for (n, zone) in (0..).zip(&zones) {
        assert_eq!(store.history(&apex(n)).unwrap(), []);
        assert_eq!(store.beginning(&apex(n)).unwrap(), None);
        assert_eq!(store.diffs_since(&apex(n), Serial(2)).unwrap(), None);
        let stored = store.load(&apex(n)).unwrap().unwrap();
        assert!(stored.zone.same_contents(zone) && stored.zone.serial() == Serial(4));
    }
    // It goes on from there, also after a start.
    let next = advance(&store, &zones[1], 5, 10_000);
    assert_eq!(store.history(&apex(1)).unwrap().len(), 1);
    drop((store, forgetting));
    let store = Store::open(dir.path(), "site-a").unwrap();
    assert!(held(&store, 1).same_contents(&next));
    let before = store.version_at(&apex(1), Serial(4)).unwrap().unwrap();
    assert!(before.same_contents(&zones[1]));
}

#[test]
fn no_more_of_a_zone_at_rest_is_forgotten_than_is_too_old_or_than_somebody_needs() {
    let (_dir, store, zones) = of_an_hour(3);
    advance(&store, &zones[0], 5, 3000);
    advance(&store, &zones[2], 5, 2);
    let mut forgetting = Forgetting::new(store.clone());
    let kept = |zone: &Name| Ok((*zone == apex(2)).then_some(Serial(3)));
    forgetting.part(at(4000), kept).unwrap();
    let serials = |n| {
        let history = store.history(&apex(n)).unwrap();
        history
            .iter()
            .map(|entry| entry.to.into_int())
            .collect::<Vec<_>>()
    };
    assert_eq!(serials(0), [5]);
    assert_eq!(serials(1), [0; 0]);
    assert_eq!(serials(2), [4, 5]);
    let old = store.version_at(&apex(2), Serial(3)).unwrap().unwrap();
    assert_eq!(old.serial(), Serial(3));
}

#[test]
fn zones_are_looked_at_in_parts_and_not_at_all_before_something_can_be_too_old() {
    let (_dir, store) = store();
    let apex = |n: u32| zonemesh_zone::record::parse_name(&format!("z{n}.example")).unwrap();
    let zones: Vec<Zone> = (0..2000)
        .map(|n| support::zone_of(apex(n), 1, &[]))
        .collect();
    for zones in zones.chunks(500) {
        let batch = zones.iter().fold(Batch::new(at(1)), |batch, zone| {
            batch.replace(zone, Origin::Local)
        });
        store.commit(batch).unwrap();
    }
    let mut forgetting = Forgetting::new(store.clone());
    let day = 86_400;
    let (entries, parts) = forget(&mut forgetting, 10);
    assert_eq!((entries, parts), (0, 4));
    // Not before what may have come since is 30 days old.
    advance(&store, &zones[3], 2, 20);
    assert_eq!(forget(&mut forgetting, 29 * day), (0, 1));
    assert_eq!(forget(&mut forgetting, 30 * day + 11), (0, 4));
    assert_eq!(store.history(zones[3].apex()).unwrap().len(), 1);
    // From then on it is known when that is, but once a day is enough.
    assert_eq!(forget(&mut forgetting, 30 * day + 21), (0, 1));
    assert_eq!(forget(&mut forgetting, 31 * day + 11), (1, 4));
    // Another setting counts at once.
    advance(&store, &zones[4], 2, 31 * day);
    store.set_histories(Histories::from(History {
        max_age: Duration::from_secs(60),
        ..History::default()
    }));
    assert_eq!(forget(&mut forgetting, 31 * day + 100), (1, 4));
}
