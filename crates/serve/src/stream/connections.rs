//! How many connections there may be, in all and from one client, and which one goes when there are too many.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::{ConnectionEvent, Metrics};

/// Limits for connections.
#[derive(Clone, Debug)]
pub struct StreamLimits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one client: an IPv4 address, or an IPv6 network of 64 bits.
    pub per_client: usize,
    /// Messages of one connection that may be with the handler at a time.
    pub outstanding: usize,
    /// Handshakes of QUIC under way from which on a client must first show that its address is its own (RFC 9000 §8.1.2).
    pub retry_from: usize,
    /// How long a client may take for a TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take to read one chunk of answers.
    pub write_timeout: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            // Each may take some 100 KiB at worst, with QUIC some 600 KiB.
            connections: 4096,
            // Many clients may sit behind one address; but not all the server's room is theirs.
            per_client: 256,
            outstanding: 16,
            // More are seldom under way at once but in a flood, which then takes a round trip and no memory.
            retry_from: 64,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// The connections of all listeners that share their limits.
pub struct Connections {
    limits: StreamLimits,
    start: Instant,
    table: Mutex<Table>,
}

/// How many connections are looked at for one that is idle, from the one that has been there for longest. Those that are not idle go
/// to the end of the queue, so that the next look goes on behind them.
const LOOKS: usize = 256;

/// Finding the one that is idle for longest takes no look at all the others: a flood of connections would make many of them.
#[derive(Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
    /// All, and those of each client, by when each was last known to have been at work: not later than it was.
    order: Order,
    per_client: HashMap<IpAddr, Order>,
}

/// Milliseconds from the start, and the number of a connection.
type Order = BTreeSet<(u64, u64)>;

struct Entry {
    client: IpAddr,
    state: Arc<State>,
    /// As in the orders.
    noted: u64,
}

#[derive(Default)]
struct State {
    /// Milliseconds from the start to the last whole message.
    last: AtomicU64,
    /// How many messages of this connection the handler has; over TCP, whether it has any.
    busy: AtomicUsize,
    evicted: Notify,
}

/// A place among the connections, given back when dropped.
pub(crate) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    state: Arc<State>,
}

impl Connections {
    /// No connection yet.
    pub fn new(limits: StreamLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            start: Instant::now(),
            table: Mutex::default(),
        })
    }

    /// The limits.
    pub fn limits(&self) -> &StreamLimits {
        &self.limits
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.table().entries.len()
    }

    /// Makes a place for a connection, if need be by closing the one that has been idle for longest: of the same client
    /// when that has too many, of anybody otherwise. None when there is none idle.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, metrics: &Metrics) -> Option<Slot> {
        self.admit_at(ip, self.millis(), metrics)
    }

    fn admit_at(self: &Arc<Self>, ip: IpAddr, now: u64, metrics: &Metrics) -> Option<Slot> {
        let client = client_of(ip);
        let mut table = self.table();
        let victim = if table.of_client(client) >= self.limits.per_client {
            Some(table.oldest_idle(Some(client), now)?)
        } else if table.entries.len() >= self.limits.connections {
            Some(table.oldest_idle(None, now)?)
        } else {
            None
        };
        if let Some(victim) = victim
            && let Some(entry) = table.remove(victim)
        {
            entry.state.evicted.notify_one();
            metrics.connection(ConnectionEvent::Evicted);
        }
        let state = Arc::new(State::default());
        state.last.store(now, Relaxed);
        let number = table.next;
        table.next += 1;
        let entry = Entry {
            client,
            state: Arc::clone(&state),
            noted: now,
        };
        table.entries.insert(number, entry);
        table.note(number, client, now);
        Some(Slot {
            connections: Arc::clone(self),
            number,
            state,
        })
    }

    /// Whether half of the places are taken, in all or by this client: time to give none away to an address that may be
    /// made up.
    pub(crate) fn is_crowded(&self, ip: IpAddr) -> bool {
        let client = client_of(ip);
        let table = self.table();
        table.entries.len() >= self.limits.connections.div_ceil(2)
            || table.of_client(client) >= self.limits.per_client.div_ceil(2)
    }

    fn millis(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Held when a connection comes or goes, never across an await.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn of_client(&self, client: IpAddr) -> usize {
        self.per_client.get(&client).map_or(0, BTreeSet::len)
    }

    /// The connection that has been idle for longest. None when there is none among the first that are looked at.
    fn oldest_idle(&mut self, client: Option<IpAddr>, now: u64) -> Option<u64> {
        for _ in 0..LOOKS {
            let order = match client {
                Some(client) => self.per_client.get(&client)?,
                None => &self.order,
            };
            let &(noted, number) = order.first()?;
            let entry = self.entries.get_mut(&number)?;
            let is_busy = entry.state.busy.load(Relaxed) > 0;
            if is_busy && noted > now {
                // It was put there just now, behind all that are idle.
                return None;
            }
            let last = match is_busy {
                true => now + 1,
                false => entry.state.last.load(Relaxed),
            };
            if last <= noted {
                // No other was at work before that.
                return Some(number);
            }
            entry.noted = last;
            let client = entry.client;
            self.forget(number, client, noted);
            self.note(number, client, last);
        }
        None
    }

    fn note(&mut self, number: u64, client: IpAddr, at: u64) {
        self.order.insert((at, number));
        self.per_client
            .entry(client)
            .or_default()
            .insert((at, number));
    }

    fn forget(&mut self, number: u64, client: IpAddr, at: u64) {
        self.order.remove(&(at, number));
        if let Some(order) = self.per_client.get_mut(&client) {
            order.remove(&(at, number));
            if order.is_empty() {
                self.per_client.remove(&client);
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.forget(number, entry.client, entry.noted);
        Some(entry)
    }
}

impl Slot {
    /// Notes that a whole message came or went.
    pub(crate) fn touch(&self) {
        self.state.last.store(self.connections.millis(), Relaxed);
    }

    /// Notes whether the handler has messages of this connection, which is then not idle.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.state.busy.store(usize::from(busy), Relaxed);
    }

    /// Notes that the handler has one more message of this connection, until what is returned is dropped.
    pub(crate) fn work(&self) -> Work {
        self.state.busy.fetch_add(1, Relaxed);
        Work(Arc::clone(&self.state))
    }

    /// Waits until the connection has to make room.
    pub(crate) async fn evicted(&self) {
        self.state.evicted.notified().await;
    }
}

/// A message that the handler has.
pub(crate) struct Work(Arc<State>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().remove(self.number);
    }
}

/// Who counts as one client.
fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connections(connections: usize, per_client: usize) -> Arc<Connections> {
        Connections::new(StreamLimits {
            connections,
            per_client,
            ..StreamLimits::default()
        })
    }

    fn at_work(slot: &Slot, at: u64) {
        slot.state.last.store(at, Relaxed);
    }

    fn is_open(connections: &Connections, slot: &Slot) -> bool {
        connections.table().entries.contains_key(&slot.number)
    }

    fn ip(client: u8) -> IpAddr {
        [192, 0, 2, client].into()
    }

    #[test]
    fn the_one_that_was_at_work_longest_ago_makes_room_whenever_it_came() {
        let (all, metrics) = (connections(3, 3), Metrics::default());
        let slots: Vec<Slot> = (0..3)
            .map(|n| all.admit_at(ip(n), u64::from(n), &metrics).unwrap())
            .collect();
        at_work(&slots[0], 50);
        at_work(&slots[1], 40);
        at_work(&slots[2], 60);
        let fourth = all.admit_at(ip(9), 70, &metrics).unwrap();
        assert!(!is_open(&all, &slots[1]) && is_open(&all, &slots[0]));
        // Busy ones stay, however long they have been.
        slots[0].set_busy(true);
        slots[2].set_busy(true);
        at_work(&fourth, 90);
        let fifth = all.admit_at(ip(9), 100, &metrics).unwrap();
        assert!(!is_open(&all, &fourth));
        fifth.set_busy(true);
        for _ in 0..2 {
            assert!(all.admit_at(ip(9), 100, &metrics).is_none());
        }
        slots[2].set_busy(false);
        assert!(all.admit_at(ip(9), 101, &metrics).is_some());
        assert!(!is_open(&all, &slots[2]));
        assert_eq!(metrics.totals().connections_evicted, 3);
    }

    #[test]
    fn a_client_with_too_many_loses_its_own() {
        let (all, metrics) = (connections(100, 2), Metrics::default());
        let other = all.admit_at(ip(1), 0, &metrics).unwrap();
        let own: Vec<Slot> = (1..3)
            .map(|at| all.admit_at(ip(2), at, &metrics).unwrap())
            .collect();
        let _third = all.admit_at(ip(2), 3, &metrics).unwrap();
        let open = |slot| is_open(&all, slot);
        assert!(open(&other) && !open(&own[0]) && open(&own[1]));
        drop(own);
        assert_eq!(all.count(), 2);
    }

    proptest! {
        /// Whatever comes, works and goes: the limits hold, and who makes room is the one that a look at all of them finds.
        #[test]
        fn the_oldest_idle_one_is_always_found(
            steps in prop::collection::vec((0u8..4, 0u8..3, any::<prop::sample::Index>()), 1..200),
        ) {
            let (all, metrics) = (connections(8, 4), Metrics::default());
            let mut slots: Vec<Slot> = Vec::new();
            for (now, (step, client, which)) in steps.into_iter().enumerate() {
                let now = now as u64;
                slots.retain(|slot| is_open(&all, slot));
                match step {
                    0 if !slots.is_empty() => {
                        slots.swap_remove(which.index(slots.len()));
                    }
                    1 if !slots.is_empty() => {
                        let slot = &slots[which.index(slots.len())];
                        slot.set_busy(slot.state.busy.load(Relaxed) == 0);
                        // What the handler is given, or has done, is work.
                        at_work(slot, now);
                    }
                    2 if !slots.is_empty() => at_work(&slots[which.index(slots.len())], now),
                    _ => {
                        let idle = |own: bool| {
                            slots
                                .iter()
                                .filter(|slot| !own || all.table().entries[&slot.number].client == ip(client))
                                .filter(|slot| slot.state.busy.load(Relaxed) == 0)
                                .min_by_key(|slot| (slot.state.last.load(Relaxed), slot.number))
                                .map(|slot| slot.number)
                        };
                        let of_client = all.table().of_client(ip(client));
                        let full = of_client >= 4 || slots.len() >= 8;
                        let victim = if full { idle(of_client >= 4) } else { None };
                        let admitted = all.admit_at(ip(client), now, &metrics);
                        prop_assert_eq!(admitted.is_some(), !full || victim.is_some());
                        for slot in &slots {
                            prop_assert_eq!(is_open(&all, slot), victim != Some(slot.number));
                        }
                        slots.extend(admitted);
                    }
                }
                prop_assert!(all.count() <= 8);
            }
            drop(slots);
            let table = all.table();
            prop_assert!(table.order.is_empty() && table.per_client.is_empty());
        }
    }
}
