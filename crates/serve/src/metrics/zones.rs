//! Counters by zone, for those who want them. Each thread has its own for each zone that it was asked about, in one line of a
//! processor's cache, made when it is asked the first time; so a zone costs some 150 octets a thread, and a question one look into a table
//! more. Nobody who answers ever waits: counters that cannot be told of yet, since somebody reads, are told of with the next question.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use zonemesh_zone::Name;

use super::KINDS;
use crate::answer::Kind;
use crate::zoneset::ZoneSet;

/// Values of a zone at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneTotals {
    /// The zone.
    pub apex: Name,
    /// Questions about its names.
    pub queries: u64,
    /// Those that were answered, by [`Kind`]: not those of which the network had too many.
    pub answers: [u64; KINDS],
}

/// Questions, and answers by kind.
const CELLS: usize = 1 + KINDS;

/// Counters of one zone and one thread.
#[derive(Default)]
#[repr(align(64))]
struct Cells {
    counts: [AtomicU64; CELLS],
    /// Whether they are in the registry.
    is_told: AtomicBool,
}

/// All counters by zone of a server.
#[derive(Default)]
pub(super) struct Registry(Mutex<BTreeMap<Name, Zone>>);

#[derive(Default)]
struct Zone {
    running: Vec<Arc<Cells>>,
    /// The sums of threads that have ended.
    ended: [u64; CELLS],
}

impl Registry {
    /// The sums, of zones that are served; others are forgotten.
    pub(super) fn totals(&self, served: &ZoneSet) -> Vec<ZoneTotals> {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.retain(|apex, zone| {
            let stays = served.get(apex).is_some();
            if !stays {
                // Should it come back they are told of again.
                let running = zone.running.iter();
                running.for_each(|cells| cells.is_told.store(false, Relaxed));
            }
            stays
        });
        let totals = zones.iter_mut().map(|(apex, zone)| {
            let Zone { running, ended } = zone;
            running.retain_mut(|cells| match Arc::get_mut(cells) {
                Some(cells) => {
                    cells.add_to(ended);
                    false
                }
                None => true,
            });
            let mut sums = *ended;
            running.iter().for_each(|cells| cells.add_to(&mut sums));
            let [queries, answers @ ..] = sums;
            ZoneTotals {
                apex: apex.clone(),
                queries,
                answers,
            }
        });
        totals.collect()
    }
}

impl Cells {
    fn add(&self, cell: usize) {
        // Nobody else writes here.
        self.counts[cell].store(self.counts[cell].load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn add_to(&self, sums: &mut [u64; CELLS]) {
        for (sum, cell) in sums.iter_mut().zip(&self.counts) {
            *sum = sum.wrapping_add(cell.load(Relaxed));
        }
    }
}

/// Counters by zone of one thread.
pub(crate) struct ByZone {
    registry: Arc<Registry>,
    zones: HashMap<Name, Arc<Cells>>,
    /// With so many zones it is seen which of them are gone.
    look_at: usize,
}

/// The least number of zones at which that is worth its while.
const LOOK_AT: usize = 1024;

impl ByZone {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self {
            registry: Arc::clone(registry),
            zones: HashMap::new(),
            look_at: LOOK_AT,
        }
    }

    /// Counts a question about a zone, and its answer if that is sent.
    pub(crate) fn count(&mut self, apex: &Name, kind: Kind, is_sent: bool) {
        let cells = match self.zones.get(apex) {
            Some(cells) => cells,
            None => self.meet(apex),
        };
        cells.add(0);
        if is_sent {
            cells.add(1 + kind as usize);
        }
        if !cells.is_told.load(Relaxed) {
            let cells = Arc::clone(cells);
            self.tell(apex, cells);
        }
    }

    #[cold]
    fn meet(&mut self, apex: &Name) -> &Arc<Cells> {
        if self.zones.len() >= self.look_at {
            self.zones.retain(|_, cells| cells.is_told.load(Relaxed));
            self.look_at = LOOK_AT.max(2 * self.zones.len());
        }
        self.zones.entry(apex.clone()).or_default()
    }

    #[cold]
    fn tell(&self, apex: &Name, cells: Arc<Cells>) {
        if let Ok(mut zones) = self.registry.0.try_lock() {
            cells.is_told.store(true, Relaxed);
            zones.entry(apex.clone()).or_default().running.push(cells);
        }
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::record::parse_name;

    use super::*;
    use crate::metrics::Metrics;
    use crate::zoneset::Served;

    fn name(text: &str) -> Name {
        parse_name(text).unwrap()
    }

    fn served(names: &[&str]) -> ZoneSet {
        names
            .iter()
            .map(|text| Served::missing(name(text)))
            .collect()
    }

    #[test]
    fn what_threads_have_counted_outlives_them_as_long_as_the_zone_is_served() {
        let metrics = Metrics::default();
        let (one, other) = (name("one.example"), name("other.example"));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    metrics.local_and_zones(|_, zones| {
                        zones.count(&one, Kind::Positive, true);
                        zones.count(&name("ONE.example"), Kind::Error, false);
                        zones.count(&other, Kind::Negative, true);
                    });
                });
            }
        });
        let mut here = metrics.by_zone();
        here.count(&one, Kind::Referral, true);
        let both = served(&["one.example", "other.example"]);
        // Threads that meet do not wait for each other; so some of it may be told of with the next question only.
        let [first, second] = &metrics.zones(&both)[..] else {
            panic!("two zones");
        };
        assert_eq!((&first.apex, &second.apex), (&one, &other));
        assert!((1..=7).contains(&first.queries), "{first:?}");
        assert_eq!(first.answers[Kind::Referral as usize], 1);
        assert_eq!(first.answers[Kind::Error as usize], 0);
        assert_eq!(metrics.zones(&both).len(), 2);
        // One that is gone is not shown, and goes on where it was when it comes back.
        assert_eq!(metrics.zones(&served(&["other.example"])).len(), 1);
        here.count(&one, Kind::Referral, true);
        let [again, _] = &metrics.zones(&both)[..] else {
            panic!("two zones");
        };
        assert_eq!(again.answers[Kind::Referral as usize], 2);
        assert_eq!(
            again.queries, 2,
            "those of threads that have ended are gone"
        );
        assert_eq!(Metrics::default().zones(&both), []);
    }

    #[test]
    fn counters_of_zones_that_are_gone_take_no_room_for_ever() {
        let metrics = Metrics::default();
        let mut here = metrics.by_zone();
        for turn in 0..5 {
            for number in 0..LOOK_AT {
                let apex = name(&format!("z{number}.t{turn}.example"));
                here.count(&apex, Kind::Positive, true);
            }
            assert_eq!(metrics.zones(&ZoneSet::new()), []);
        }
        assert!(here.zones.len() <= 2 * LOOK_AT, "{}", here.zones.len());
    }

    #[test]
    fn who_counts_does_not_wait_for_who_reads() {
        let metrics = Metrics::default();
        let mut here = metrics.by_zone();
        let apex = name("one.example");
        let reading = metrics.zones.0.lock().unwrap();
        here.count(&apex, Kind::Positive, true);
        drop(reading);
        assert_eq!(metrics.zones(&served(&["one.example"])), []);
        here.count(&apex, Kind::Positive, true);
        let totals = metrics.zones(&served(&["one.example"]));
        assert_eq!((totals[0].queries, totals[0].answers), (2, [2, 0, 0, 0]));
    }
}
