//! How many connections there may be, in all and from one client, and which one goes when there are too many.

use std::collections::HashMap;
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

#[derive(Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
    per_client: HashMap<IpAddr, usize>,
}

struct Entry {
    client: IpAddr,
    state: Arc<State>,
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
        let client = client_of(ip);
        let mut table = self.table();
        let of_client = table.per_client.get(&client).copied().unwrap_or(0);
        let victim = if of_client >= self.limits.per_client {
            Some(table.oldest_idle(Some(client))?)
        } else if table.entries.len() >= self.limits.connections {
            Some(table.oldest_idle(None)?)
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
        state.last.store(self.millis(), Relaxed);
        let number = table.next;
        table.next += 1;
        *table.per_client.entry(client).or_default() += 1;
        let entry = Entry {
            client,
            state: Arc::clone(&state),
        };
        table.entries.insert(number, entry);
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
        let of_client = table.per_client.get(&client).copied().unwrap_or(0);
        table.entries.len() >= self.limits.connections.div_ceil(2)
            || of_client >= self.limits.per_client.div_ceil(2)
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
    fn oldest_idle(&self, client: Option<IpAddr>) -> Option<u64> {
        self.entries
            .iter()
            .filter(|(_, entry)| client.is_none_or(|client| entry.client == client))
            .filter(|(_, entry)| entry.state.busy.load(Relaxed) == 0)
            .min_by_key(|(number, entry)| (entry.state.last.load(Relaxed), **number))
            .map(|(number, _)| *number)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if let Some(count) = self.per_client.get_mut(&entry.client) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&entry.client);
            }
        }
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
