//! The store against a model that keeps everything in memory: whatever is done to both, they hold the same, also after
//! the store was closed and opened again.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{apex, at, zone};
use zonemesh_store::{Batch, History, Origin, Store};
use zonemesh_zone::{Diff, Serial, SerialExt, Zone};

#[derive(Clone, Debug)]
enum Step {
    Replace(u8, i8, Vec<(u8, u8)>, u8),
    Append(u8, i8, Vec<(u8, u8)>, u8),
    Remove(u8),
    Restore(u8),
    HighWater(u8, i8),
    Put(u8, u8),
    Delete(u8),
}

#[derive(Clone, Debug)]
enum Event {
    Commit(Vec<Step>),
    Reopen,
    Purge,
}

/// A zone with its history, as the model keeps it.
#[derive(Clone, Default)]
struct Chain {
    versions: Vec<Zone>,
}

impl Chain {
    fn current(&self) -> &Zone {
        self.versions.last().unwrap()
    }
}

#[derive(Clone, Default)]
struct Model {
    zones: BTreeMap<u8, Chain>,
    removed: BTreeMap<u8, Vec<Chain>>,
    high_water: BTreeMap<u8, Serial>,
    values: BTreeMap<String, Vec<u8>>,
}

fn origin(kind: u8) -> Origin {
    match kind % 4 {
        0 | 1 => Origin::Local,
        2 => Origin::Transfer { from: "b".into() },
        _ => Origin::Forced { from: "b".into() },
    }
}

impl Model {
    /// Does a step to the model and adds it to the batch; false when the store has to refuse it.
    fn step(&mut self, step: &Step, batch: Batch) -> (Batch, bool) {
        match step {
            Step::Replace(n, offset, records, kind) => {
                let serial = self.serial(*n, *offset);
                let new = zone(*n, serial.into_int(), records);
                let batch = batch.replace(&new, origin(*kind));
                let good = self.admit(*n, serial, &origin(*kind));
                if good {
                    let versions = vec![new];
                    self.zones.insert(*n, Chain { versions });
                }
                (batch, good)
            }
            Step::Append(n, offset, records, kind) => {
                let serial = self.serial(*n, *offset);
                let new = zone(*n, serial.into_int(), records);
                let Some(old) = self.zones.get(n).map(|chain| chain.current().clone()) else {
                    let diff = zone(*n, 1, &[]).diff(&new);
                    return (batch.append(&new, &diff, origin(*kind)), false);
                };
                let batch = batch.append(&new, &old.diff(&new), origin(*kind));
                let good = self.admit(*n, serial, &origin(*kind));
                if good {
                    self.zones.get_mut(n).unwrap().versions.push(new);
                }
                (batch, good)
            }
            Step::Remove(n) => {
                let chain = self.zones.remove(n);
                let good = chain.is_some();
                self.removed.entry(*n).or_default().extend(chain);
                (batch.remove_zone(&apex(*n)), good)
            }
            Step::Restore(n) => {
                let good = !self.zones.contains_key(n)
                    && self.removed.get(n).is_some_and(|all| !all.is_empty());
                if good {
                    let chain = self.removed.get_mut(n).unwrap().pop().unwrap();
                    self.zones.insert(*n, chain);
                }
                (batch.restore_zone(&apex(*n)), good)
            }
            Step::HighWater(n, offset) => {
                let serial = self.serial(*n, *offset);
                self.raise(*n, serial);
                (batch.high_water(&apex(*n), serial), true)
            }
            Step::Put(key, value) => {
                let (key, value) = (key.to_string(), vec![*value]);
                let batch = batch.put("t", &key, &value);
                self.values.insert(key, value);
                (batch, true)
            }
            Step::Delete(key) => {
                let key = key.to_string();
                self.values.remove(&key);
                (batch.delete("t", &key), true)
            }
        }
    }

    /// A serial near that of the zone, near the end of the number space.
    fn serial(&self, n: u8, offset: i8) -> Serial {
        let base = self
            .zones
            .get(&n)
            .map_or(u32::MAX - 3, |chain| chain.current().serial().into_int());
        Serial(base.wrapping_add_signed(offset.into()))
    }

    fn admit(&mut self, n: u8, serial: Serial, origin: &Origin) -> bool {
        let good = match origin {
            Origin::Local => self
                .high_water
                .get(&n)
                .is_none_or(|mark| serial.is_after(*mark)),
            Origin::Transfer { .. } => self
                .zones
                .get(&n)
                .is_none_or(|chain| serial.is_after(chain.current().serial())),
            _ => true,
        };
        if good {
            self.raise(n, serial);
        }
        good
    }

    fn raise(&mut self, n: u8, serial: Serial) {
        let mark = self.high_water.entry(n).or_insert(serial);
        *mark = mark.later_of(serial);
    }

    fn check(&self, store: &Store) {
        let names: Vec<_> = self.zones.keys().map(|n| apex(*n)).collect();
        assert_eq!(store.zones().unwrap(), names);
        for (n, mark) in &self.high_water {
            assert_eq!(store.high_water(&apex(*n)).unwrap(), Some(*mark));
        }
        for (n, chain) in &self.zones {
            let stored = store.load(&apex(*n)).unwrap().unwrap();
            assert_eq!(stored.zone.serial(), chain.current().serial());
            assert!(stored.zone.same_contents(chain.current()));
            let pairs = chain.versions.windows(2);
            let diffs: Vec<Diff> = pairs.map(|pair| pair[0].diff(&pair[1])).collect();
            let history = store.history(&apex(*n)).unwrap();
            let kept: Vec<_> = history.iter().map(|e| Some((e.from, e.to))).collect();
            let made: Vec<_> = diffs.iter().map(Diff::serials).collect();
            assert_eq!(kept, made);
            // A serial that was there twice, by force, stands for its last occurrence.
            for (at, version) in chain.versions.iter().enumerate() {
                let serial = version.serial();
                if chain.versions[at + 1..]
                    .iter()
                    .any(|v| v.serial() == serial)
                {
                    continue;
                }
                let read = store.version_at(&apex(*n), serial).unwrap().unwrap();
                assert!(read.same_contents(version));
                let since = store.diffs_since(&apex(*n), serial).unwrap().unwrap();
                assert_eq!(since, diffs[at..]);
            }
        }
        let removed: usize = self.removed.values().map(Vec::len).sum();
        assert_eq!(store.removed().unwrap().len(), removed);
        let values: Vec<_> = self.values.clone().into_iter().collect();
        assert_eq!(store.list("t").unwrap(), values);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0u8..3;
    let records = || prop::collection::vec((0u8..6, 0u8..6), 0..6);
    let offset = || prop_oneof![6 => 1i8..4, 1 => -3i8..1];
    prop_oneof![
        2 => (n(), offset(), records(), 0u8..4)
            .prop_map(|(n, by, records, kind)| Step::Replace(n, by, records, kind)),
        6 => (n(), offset(), records(), 0u8..4)
            .prop_map(|(n, by, records, kind)| Step::Append(n, by, records, kind)),
        1 => n().prop_map(Step::Remove),
        1 => n().prop_map(Step::Restore),
        1 => (n(), offset()).prop_map(|(n, by)| Step::HighWater(n, by)),
        1 => (0u8..4, 0u8..4).prop_map(|(key, value)| Step::Put(key, value)),
        1 => (0u8..4).prop_map(Step::Delete),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => prop::collection::vec(step(), 1..4).prop_map(Event::Commit),
        1 => Just(Event::Reopen),
        1 => Just(Event::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_store_holds_what_the_model_holds(events in prop::collection::vec(event(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open_with(dir.path(), "site-a", History::default()).unwrap();
        let mut store = open();
        let mut model = Model::default();
        for (time, event) in (0i64..).zip(&events) {
            match event {
                Event::Commit(steps) => {
                    let (mut batch, mut after, mut good) = (Batch::new(at(time)), model.clone(), true);
                    for step in steps {
                        let (longer, fine) = after.step(step, batch);
                        batch = longer;
                        good &= fine;
                        if !fine {
                            break;
                        }
                    }
                    let committed = store.commit(batch);
                    prop_assert_eq!(committed.is_ok(), good, "{:?}: {:?}", steps, committed);
                    if good {
                        model = after;
                    }
                }
                Event::Reopen => {
                    drop(store);
                    store = open();
                    model.check(&store);
                }
                Event::Purge => {
                    store.purge_removed(at(time)).unwrap();
                    model.removed.clear();
                }
            }
        }
        model.check(&store);
        drop(store);
        model.check(&open());
    }
}
