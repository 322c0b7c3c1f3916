//! How many transfers run at the same time: in all, and with one peer, in the order in which they come.
//!
//! A transfer that takes long is moved aside: it makes room for the next one, as long as not too many are aside already. So
//! the small zones behind a few large ones need not wait for them, and a peer still has a bounded number at once.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds of the transfers of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// With all peers.
    pub(crate) all: usize,
    /// With one peer, so that a slow one leaves room for the others.
    pub(crate) of_one: usize,
    /// Those that take long, besides.
    pub(crate) aside: usize,
    /// Those of one peer.
    pub(crate) aside_of_one: usize,
}

/// Lets transfers with peers of kind `K` begin.
pub(crate) struct Gate<K> {
    bounds: Bounds,
    all: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    shares: Mutex<HashMap<K, Share>>,
}

/// What one peer may take up.
#[derive(Clone)]
struct Share {
    places: Arc<Semaphore>,
    aside: Arc<Semaphore>,
}

/// A place, free again when this is dropped.
pub(crate) struct Place {
    /// The peer's and the one of all, in this order.
    held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    share: Share,
    aside: Arc<Semaphore>,
    is_aside: bool,
}

/// The peer was lost while a transfer waited for its turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl<K: Clone + Eq + Hash> Gate<K> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            all: Arc::new(Semaphore::new(bounds.all)),
            aside: Arc::new(Semaphore::new(bounds.aside)),
            shares: Mutex::default(),
        }
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self, peer: &K) -> Result<Place, Lost> {
        let share = self.share_of(peer);
        // The peer's share first: who waits for a slow peer must not keep a place from the others.
        let own = share.places.clone().acquire_owned().await;
        let own = own.map_err(|_| Lost)?;
        let common = self.all.clone().acquire_owned().await;
        Ok(Place {
            held: (own, common.map_err(|_| Lost)?),
            share,
            aside: self.aside.clone(),
            is_aside: false,
        })
    }

    /// Sends those home who wait for a peer that is lost; who comes from now on waits anew.
    pub(crate) fn lose(&self, peer: &K) {
        if let Some(share) = self.shares().remove(peer) {
            share.places.close();
        }
    }

    fn share_of(&self, peer: &K) -> Share {
        let bounds = self.bounds;
        let mut shares = self.shares();
        if shares.len() >= MANY && !shares.contains_key(peer) {
            // Whoever waits or transfers has a share of its own in hand.
            shares.retain(|_, share| Arc::strong_count(&share.places) > 1);
        }
        let share = shares.entry(peer.clone());
        share
            .or_insert_with(|| Share {
                places: Arc::new(Semaphore::new(bounds.of_one)),
                aside: Arc::new(Semaphore::new(bounds.aside_of_one)),
            })
            .clone()
    }

    fn shares(&self) -> std::sync::MutexGuard<'_, HashMap<K, Share>> {
        // Nothing is left half done where this lock is held.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Makes room for others, since this takes long; nothing happens when as many are aside as may be.
    pub(crate) fn move_aside(&mut self) {
        if self.is_aside {
            return;
        }
        let own = self.share.aside.clone().try_acquire_owned();
        let common = self.aside.clone().try_acquire_owned();
        if let (Ok(own), Ok(common)) = (own, common) {
            self.held = (own, common);
            self.is_aside = true;
        }
    }
}

/// Work of kind `W` that waits for its turn with a peer, in the order in which it came: a hundred thousand zones that wait are as many
/// entries here, and not as many tasks.
pub(crate) struct Queue<K, W> {
    gate: Gate<K>,
    lines: Mutex<Lines<K, W>>,
}

struct Lines<K, W> {
    of: HashMap<K, Line<W>>,
    /// How many lines there ever were.
    begun: u64,
}

/// What waits for one peer.
struct Line<W> {
    ticket: u64,
    waiting: VecDeque<W>,
    /// Those who work on it.
    workers: usize,
}

impl<K: Clone + Eq + Hash, W> Queue<K, W> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            gate: Gate::new(bounds),
            lines: Mutex::new(Lines {
                of: HashMap::new(),
                begun: 0,
            }),
        }
    }

    /// Puts something at the end of a peer's line. Returns a ticket when one more may work on that line: whoever has it calls
    /// [`Queue::next`] until there is nothing any more.
    pub(crate) fn wait(&self, peer: &K, what: W) -> Option<u64> {
        let mut lines = self.lines();
        let Lines { of, begun } = &mut *lines;
        let line = of.entry(peer.clone()).or_insert_with(|| {
            *begun += 1;
            Line {
                ticket: *begun,
                waiting: VecDeque::new(),
                workers: 0,
            }
        });
        line.waiting.push_back(what);
        let bounds = self.gate.bounds;
        let more = line.workers < bounds.of_one + bounds.aside_of_one;
        line.workers += usize::from(more);
        more.then_some(line.ticket)
    }

    /// The next of a peer's line, when there is a place for it.
    pub(crate) async fn next(&self, peer: &K, ticket: u64) -> Option<(Place, W)> {
        loop {
            self.stays(peer, ticket)?;
            // Who is lost meanwhile has another line, and other places, from then on.
            let Ok(place) = self.gate.enter(peer).await else {
                continue;
            };
            let mut lines = self.lines();
            let line = lines.of.get_mut(peer);
            let line = line.filter(|line| line.ticket == ticket)?;
            if let Some(next) = line.waiting.pop_front() {
                return Some((place, next));
            }
        }
    }

    /// Nothing once the line is empty or another one: one less works on it then.
    fn stays(&self, peer: &K, ticket: u64) -> Option<()> {
        let mut lines = self.lines();
        let line = lines.of.get_mut(peer);
        let line = line.filter(|line| line.ticket == ticket)?;
        if !line.waiting.is_empty() {
            return Some(());
        }
        line.workers -= 1;
        if line.workers == 0 {
            lines.of.remove(peer);
        }
        None
    }

    /// Sends those home who wait for a peer that is lost; who comes from now on waits anew.
    pub(crate) fn lose(&self, peer: &K) -> VecDeque<W> {
        let line = self.lines().of.remove(peer);
        self.gate.lose(peer);
        line.map(|line| line.waiting).unwrap_or_default()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines<K, W>> {
        // Nothing is left half done where this lock is held.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From so many peers on those are forgotten that do nothing.
const MANY: usize = 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn gate() -> Gate<&'static str> {
        Gate::new(Bounds {
            all: 3,
            of_one: 2,
            aside: 2,
            aside_of_one: 1,
        })
    }

    /// A place that is free at once.
    fn now(gate: &Gate<&'static str>, peer: &'static str) -> Option<Place> {
        gate.enter(&peer).now_or_never()?.ok()
    }

    #[test]
    fn a_peer_takes_its_share_and_leaves_the_rest_to_others() {
        let gate = gate();
        let one = now(&gate, "a").unwrap();
        let _two = now(&gate, "a").unwrap();
        assert!(now(&gate, "a").is_none(), "its share is taken");
        let _three = now(&gate, "b").unwrap();
        assert!(now(&gate, "c").is_none(), "all are taken");
        drop(one);
        assert!(now(&gate, "c").is_some());
    }

    #[test]
    fn who_came_first_is_served_first() {
        let gate = gate();
        let (one, _two) = (now(&gate, "a").unwrap(), now(&gate, "a").unwrap());
        let (mut first, mut second) = (Box::pin(gate.enter(&"a")), Box::pin(gate.enter(&"a")));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        drop(one);
        assert!((&mut second).now_or_never().is_none());
        assert!(first.now_or_never().is_some());
    }

    #[test]
    fn what_takes_long_makes_room_up_to_a_bound() {
        let gate = gate();
        let mut large = now(&gate, "a").unwrap();
        let mut larger = now(&gate, "a").unwrap();
        large.move_aside();
        large.move_aside();
        let small = now(&gate, "a").expect("one place is free again");
        larger.move_aside();
        assert!(now(&gate, "a").is_none(), "one of a peer is aside at most");
        drop(small);
        assert!(now(&gate, "a").is_some());
        drop(large);
        larger.move_aside();
        let (_one, _two) = (now(&gate, "a").unwrap(), now(&gate, "a").unwrap());
        assert!(now(&gate, "a").is_none());
    }

    #[test]
    fn who_waits_for_a_lost_peer_is_sent_home_and_the_next_begins_anew() {
        let gate = gate();
        let _held = (now(&gate, "a").unwrap(), now(&gate, "a").unwrap());
        let mut waiting = Box::pin(gate.enter(&"a"));
        assert!((&mut waiting).now_or_never().is_none());
        gate.lose(&"a");
        let sent_home = waiting.now_or_never().unwrap();
        assert_eq!(sent_home.err(), Some(Lost));
        assert!(now(&gate, "a").is_some());
    }
    fn queue() -> Queue<&'static str, u32> {
        Queue::new(gate().bounds)
    }

    #[test]
    fn what_waits_is_taken_in_its_order_by_a_bounded_number_of_workers() {
        let queue = queue();
        let tickets: Vec<Option<u64>> = (0..9).map(|n| queue.wait(&"a", n)).collect();
        assert_eq!(tickets.iter().flatten().count(), 3, "{tickets:?}");
        let ticket = tickets[0].unwrap();
        let take = || queue.next(&"a", ticket).now_or_never().flatten();
        let (first, second) = (take().unwrap(), take().unwrap());
        assert_eq!((first.1, second.1), (0, 1));
        assert!(take().is_none(), "its share is taken");
        drop(first);
        assert_eq!(take().unwrap().1, 2);
    }

    #[test]
    fn the_line_of_one_peer_does_not_hold_up_that_of_another() {
        let queue = queue();
        let all: Vec<u64> = (0..9).filter_map(|n| queue.wait(&"a", n)).collect();
        let take = |peer, ticket| queue.next(&peer, ticket).now_or_never().flatten();
        let _held: Vec<_> = all.iter().filter_map(|ticket| take("a", *ticket)).collect();
        let other = queue.wait(&"b", 100).unwrap();
        assert_eq!(take("b", other).map(|(_, what)| what), Some(100));
    }

    #[test]
    fn a_worker_goes_when_its_line_is_empty_and_the_next_comes_with_the_next_of_it() {
        let queue = queue();
        let ticket = queue.wait(&"a", 1).unwrap();
        let next = |ticket| queue.next(&"a", ticket).now_or_never();
        assert!(matches!(next(ticket), Some(Some((_, 1)))));
        assert!(matches!(next(ticket), Some(None)));
        let again = queue.wait(&"a", 2).unwrap();
        assert!(matches!(next(again), Some(Some((_, 2)))));
    }

    #[test]
    fn what_waits_for_a_lost_peer_comes_back_and_its_workers_do_not_take_what_comes_later() {
        let queue = queue();
        let old = queue.wait(&"a", 1).unwrap();
        assert!(queue.wait(&"a", 2).is_some());
        assert_eq!(queue.lose(&"a"), [1, 2]);
        let new = queue.wait(&"a", 3).unwrap();
        let next = |ticket| queue.next(&"a", ticket).now_or_never();
        assert!(matches!(next(old), Some(None)));
        assert!(matches!(next(new), Some(Some((_, 3)))));
    }
    #[test]
    fn ten_thousand_small_ones_behind_large_ones_come_through_while_those_run() {
        let queue = queue();
        let tickets = (0..10_002).filter_map(|n| queue.wait(&"a", n));
        let ticket = tickets.last().unwrap();
        let take = || queue.next(&"a", ticket).now_or_never().flatten();
        let (mut large, _larger) = (take().unwrap(), take().unwrap());
        assert!(take().is_none(), "both places are taken");
        large.0.move_aside();
        for n in 2..10_002 {
            let (_place, what) = take().expect("the place of the large one that was moved aside");
            assert_eq!(what, n);
        }
    }
}
