//! What is counted. Each UDP thread writes counters of its own, so that counting is a plain store; the connections share
//! one set. Reading sums them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::answer::Outcome;
use crate::handler::Transport;

/// Response codes that are counted apart; the last place is for all others (BADVERS and above).
pub const RCODES: usize = 17;

/// Counters of one writer or of several.
#[derive(Debug, Default)]
pub struct Counters {
    /// Whether only one thread writes.
    alone: bool,
    queries: [AtomicU64; 4],
    rcodes: [AtomicU64; RCODES],
    dropped: AtomicU64,
    unready: AtomicU64,
    truncated: AtomicU64,
    malformed: AtomicU64,
    control: AtomicU64,
    send_failed: AtomicU64,
    connections_accepted: AtomicU64,
    connections_refused: AtomicU64,
    connections_evicted: AtomicU64,
    connections_timed_out: AtomicU64,
    tls_failed: AtomicU64,
}

/// Values at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages received over UDP, TCP, TLS and QUIC.
    pub queries: [u64; 4],
    /// Answers by response code, without those of the [`crate::Handler`]; see [`RCODES`].
    pub rcodes: [u64; RCODES],
    /// Messages that got no answer because they were none to answer: responses, fragments of a header.
    pub dropped: u64,
    /// Queries that got no answer because this site is not ready.
    pub unready: u64,
    /// Answers with the TC bit.
    pub truncated: u64,
    /// Messages answered with FORMERR, and datagrams that were too long to be read.
    pub malformed: u64,
    /// Messages given to the [`crate::Handler`].
    pub control: u64,
    /// Answers that the system would not send.
    pub send_failed: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections closed at once because of a limit.
    pub connections_refused: u64,
    /// Idle connections closed to make room for others.
    pub connections_evicted: u64,
    /// Connections closed because the client was silent or did not read.
    pub connections_timed_out: u64,
    /// TLS handshakes that failed, those within QUIC included.
    pub tls_failed: u64,
}

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEvent {
    Accepted,
    Refused,
    Evicted,
    TimedOut,
    TlsFailed,
}

impl Counters {
    fn add(&self, counter: &AtomicU64, count: u64) {
        match self.alone {
            true => counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed),
            false => {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Counts a message and what became of it.
    pub(crate) fn message(&self, transport: Transport, outcome: Outcome, reply: &[u8]) {
        self.add(&self.queries[transport as usize], 1);
        match outcome {
            Outcome::Drop => self.add(&self.dropped, 1),
            Outcome::Close => self.add(&self.unready, 1),
            Outcome::Control => self.add(&self.control, 1),
            Outcome::Reply => {
                let Some(header) = reply.first_chunk::<12>() else {
                    return;
                };
                // The upper bits are in the OPT record; only BADVERS has any here, and it alone has none below.
                let is_badvers =
                    header[3] & 15 == 0 && header[6..12] == [0, 0, 0, 0, 0, 1] && badvers(reply);
                let rcode = match is_badvers {
                    true => RCODES - 1,
                    false => usize::from(header[3] & 15),
                };
                self.add(&self.rcodes[rcode], 1);
                if header[2] & 2 != 0 {
                    self.add(&self.truncated, 1);
                }
                if header[3] & 15 == 1 {
                    self.add(&self.malformed, 1);
                }
            }
        }
    }

    pub(crate) fn too_long(&self) {
        self.add(&self.queries[Transport::Udp as usize], 1);
        self.add(&self.malformed, 1);
    }

    pub(crate) fn send_failed(&self, count: u64) {
        self.add(&self.send_failed, count);
    }

    pub(crate) fn connection(&self, event: ConnectionEvent) {
        let counter = match event {
            ConnectionEvent::Accepted => &self.connections_accepted,
            ConnectionEvent::Refused => &self.connections_refused,
            ConnectionEvent::Evicted => &self.connections_evicted,
            ConnectionEvent::TimedOut => &self.connections_timed_out,
            ConnectionEvent::TlsFailed => &self.tls_failed,
        };
        self.add(counter, 1);
    }

    fn add_to(&self, totals: &mut Totals) {
        let sum = |to: &mut [u64], from: &[AtomicU64]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to += from.load(Relaxed);
            }
        };
        sum(&mut totals.queries, &self.queries);
        sum(&mut totals.rcodes, &self.rcodes);
        totals.dropped += self.dropped.load(Relaxed);
        totals.unready += self.unready.load(Relaxed);
        totals.truncated += self.truncated.load(Relaxed);
        totals.malformed += self.malformed.load(Relaxed);
        totals.control += self.control.load(Relaxed);
        totals.send_failed += self.send_failed.load(Relaxed);
        totals.connections_accepted += self.connections_accepted.load(Relaxed);
        totals.connections_refused += self.connections_refused.load(Relaxed);
        totals.connections_evicted += self.connections_evicted.load(Relaxed);
        totals.connections_timed_out += self.connections_timed_out.load(Relaxed);
        totals.tls_failed += self.tls_failed.load(Relaxed);
    }
}

/// Whether an answer without records has an OPT record whose upper response code bits are those of BADVERS.
fn badvers(reply: &[u8]) -> bool {
    crate::message::wire_name_len(&reply[12..])
        .and_then(|len| reply.get(12 + len + 4 + 5))
        .is_some_and(|&high| high == 1)
}

/// All counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Written by connections, and by threads that have ended.
    shared: Counters,
    workers: Mutex<Vec<Arc<Counters>>>,
}

impl Metrics {
    /// The sums. Values never go down from one call to the next, except for a moment while a listener is removed.
    pub fn totals(&self) -> Totals {
        let workers = self.workers();
        let mut totals = Totals::default();
        self.shared.add_to(&mut totals);
        for worker in workers.iter() {
            worker.add_to(&mut totals);
        }
        totals
    }

    /// Counters that everyone may write.
    pub(crate) fn shared(&self) -> &Counters {
        &self.shared
    }

    /// Counters for one thread.
    pub(crate) fn worker(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters {
            alone: true,
            ..Counters::default()
        });
        self.workers().push(Arc::clone(&counters));
        counters
    }

    /// Keeps what a thread counted, which has ended.
    pub(crate) fn retire(&self, counters: &Arc<Counters>) {
        let mut workers = self.workers();
        workers.retain(|worker| !Arc::ptr_eq(worker, counters));
        let mut totals = Totals::default();
        counters.add_to(&mut totals);
        let shared = &self.shared;
        for (to, count) in shared.queries.iter().zip(totals.queries) {
            shared.add(to, count);
        }
        for (to, count) in shared.rcodes.iter().zip(totals.rcodes) {
            shared.add(to, count);
        }
        for (to, count) in [
            (&shared.dropped, totals.dropped),
            (&shared.unready, totals.unready),
            (&shared.truncated, totals.truncated),
            (&shared.malformed, totals.malformed),
            (&shared.control, totals.control),
            (&shared.send_failed, totals.send_failed),
        ] {
            shared.add(to, count);
        }
    }

    /// Held for a few instructions by whoever starts, ends or reads; never by who answers.
    fn workers(&self) -> MutexGuard<'_, Vec<Arc<Counters>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
