//! What is counted, and how long answers take. Each thread has counters that nobody else writes, whether it answers over UDP or
//! serves connections for tokio, so that counting is a plain load and store. Reading sums them up.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::zones::ByZone;
pub use self::zones::ZoneTotals;
use crate::answer::{Kind, Outcome};
use crate::handler::Transport;
use crate::message::{HEADER, question, wire_name_len};
use crate::rate::Verdict;
use crate::zoneset::ZoneSet;

mod zones;

/// Response codes that are counted apart; the last place is for all others (BADVERS and above).
pub const RCODES: usize = 17;
/// Types of questions that are counted apart, by number: all below 261, among them all that are in common use; the last place is for
/// the others.
pub const TYPES: usize = 262;
/// Upper bounds, in octets, of the sizes of answers that are counted apart; there is one place more for what is above them.
pub const SIZES: [u64; 10] = [64, 128, 256, 512, 1024, 1232, 1452, 4096, 16_384, 65_535];
/// Upper bounds, in microseconds, of the times that are counted apart; there is one place more for what is above them.
pub const LATENCIES: [u64; 13] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000, 10_000_000,
];

const TRANSPORTS: usize = Transport::ALL.len();
const OPCODES: usize = 16;
const KINDS: usize = Kind::ALL.len();

// Where in the counters of a thread each sort begins.
const QUERIES: usize = 0;
const OTHER_OPCODES: usize = QUERIES + TRANSPORTS;
const QTYPES: usize = OTHER_OPCODES + OPCODES;
const ANSWERS: usize = QTYPES + TYPES;
const OCTETS: usize = ANSWERS + RCODES;
const SIZE: usize = OCTETS + TRANSPORTS;
const MICROS: usize = SIZE + TRANSPORTS * (SIZES.len() + 1);
const LATENCY: usize = MICROS + TRANSPORTS;
const LIMITED: usize = LATENCY + TRANSPORTS * (LATENCIES.len() + 1);
const SLIPPED: usize = LIMITED + KINDS;
const WOULD_BE: usize = SLIPPED + KINDS;
const DROPPED: usize = WOULD_BE + KINDS;
const UNREADY: usize = DROPPED + 1;
const TRUNCATED: usize = UNREADY + 1;
const MALFORMED: usize = TRUNCATED + 1;
const CONTROL: usize = MALFORMED + 1;
const SEND_FAILED: usize = CONTROL + 1;
const CONNECTIONS: usize = SEND_FAILED + 1;
const CELLS: usize = CONNECTIONS + 5;

/// Counters of one thread.
pub(crate) struct Counters([AtomicU64; CELLS]);

/// A count for each of some bounds, cumulative nowhere: what is within a bound and above the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// By bound, and one place more for what is above the last.
    pub counts: Vec<u64>,
    /// The sum of what was counted.
    pub sum: u64,
}

/// Values at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages received over UDP, TCP, TLS and QUIC.
    pub queries: [u64; TRANSPORTS],
    /// Those that were no responses, by opcode.
    pub opcodes: [u64; OPCODES],
    /// Questions by type, those with a count: the number of the type, none for all that are not counted apart.
    pub types: Vec<(Option<u16>, u64)>,
    /// Answers by response code, without those of the [`crate::Handler`]; see [`RCODES`].
    pub rcodes: [u64; RCODES],
    /// Octets of the same answers, by transport; see [`SIZES`].
    pub sizes: [Spread; TRANSPORTS],
    /// Microseconds from when the system had given a question to us to when we had given it the answer, over UDP; over the others to
    /// when the answer was made. By transport; see [`LATENCIES`].
    pub latencies: [Spread; TRANSPORTS],
    /// Answers that were not sent because a network had too many, by [`Kind`].
    pub limited: [u64; KINDS],
    /// Those that were sent without their records for the same reason.
    pub slipped: [u64; KINDS],
    /// Those that were sent all the same, since limits are only tried out.
    pub would_be_limited: [u64; KINDS],
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
    fn new() -> Arc<Self> {
        Arc::new(Self([const { AtomicU64::new(0) }; CELLS]))
    }

    fn add(&self, cell: usize, count: u64) {
        // Nobody else writes here.
        self.0[cell].store(self.0[cell].load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Counts a message, of which nothing may become yet, and the type that it asks for: that of a query is given.
    pub(crate) fn received(
        &self,
        transport: Transport,
        message: &[u8],
        qtype: u16,
        outcome: Outcome,
    ) {
        self.add(QUERIES + transport as usize, 1);
        let mut qtype = Some(qtype).filter(|qtype| *qtype != 0);
        match outcome {
            Outcome::Drop => return self.add(DROPPED, 1),
            Outcome::Close => self.add(UNREADY, 1),
            Outcome::Control => {
                self.add(CONTROL, 1);
                // A transfer, or a question with a signature.
                qtype = question(message).map(|question| question.qtype);
            }
            Outcome::Reply => {}
        }
        // Queries are what is left of all messages.
        let opcode = message.get(2).map_or(0, |octet| octet >> 3 & 15);
        if opcode != 0 {
            self.add(OTHER_OPCODES + usize::from(opcode), 1);
        } else if let Some(qtype) = qtype {
            self.add(QTYPES + usize::from(qtype).min(TYPES - 1), 1);
        }
    }

    /// Counts an answer.
    pub(crate) fn reply(&self, transport: Transport, reply: &[u8]) {
        let Some(header) = reply.first_chunk::<HEADER>() else {
            return;
        };
        // The upper bits are in the OPT record; only BADVERS has any here, and it alone has none below.
        let is_badvers =
            header[3] & 15 == 0 && header[6..12] == [0, 0, 0, 0, 0, 1] && badvers(reply);
        let rcode = match is_badvers {
            true => RCODES - 1,
            false => usize::from(header[3] & 15),
        };
        self.add(ANSWERS + rcode, 1);
        if header[2] & 2 != 0 {
            self.add(TRUNCATED, 1);
        }
        if header[3] & 15 == 1 {
            self.add(MALFORMED, 1);
        }
        let octets = reply.len() as u64;
        self.add(OCTETS + transport as usize, octets);
        let place = place(&SIZES, octets);
        self.add(SIZE + transport as usize * (SIZES.len() + 1) + place, 1);
    }

    /// Counts how long some answers took.
    pub(crate) fn took(&self, transport: Transport, time: Duration, answers: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.add(MICROS + transport as usize, micros.wrapping_mul(answers));
        let place = place(&LATENCIES, micros);
        self.add(
            LATENCY + transport as usize * (LATENCIES.len() + 1) + place,
            answers,
        );
    }

    /// Counts an answer that was one too many for its network.
    pub(crate) fn limited(&self, kind: Kind, verdict: Verdict) {
        match verdict {
            Verdict::Send => {}
            Verdict::Drop => self.add(LIMITED + kind as usize, 1),
            Verdict::Truncate => self.add(SLIPPED + kind as usize, 1),
            Verdict::Count => self.add(WOULD_BE + kind as usize, 1),
        }
    }

    pub(crate) fn too_long(&self) {
        self.add(QUERIES + Transport::Udp as usize, 1);
        self.add(MALFORMED, 1);
    }

    pub(crate) fn send_failed(&self, count: u64) {
        self.add(SEND_FAILED, count);
    }

    fn add_to(&self, sums: &mut [u64; CELLS]) {
        for (sum, cell) in sums.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(cell.load(Relaxed));
        }
    }
}

/// Where among bounds a number belongs.
fn place(bounds: &[u64], number: u64) -> usize {
    bounds
        .iter()
        .position(|bound| number <= *bound)
        .unwrap_or(bounds.len())
}

/// Whether an answer without records has an OPT record whose upper response code bits are those of BADVERS.
fn badvers(reply: &[u8]) -> bool {
    wire_name_len(&reply[HEADER..])
        .and_then(|len| reply.get(HEADER + len + 4 + 5))
        .is_some_and(|&high| high == 1)
}

/// All counters of a server.
pub struct Metrics {
    /// Tells them from those of another server in the same process.
    number: u64,
    threads: Mutex<Threads>,
    zones: Arc<zones::Registry>,
}

struct Threads {
    /// Counters of those that run.
    running: Vec<Arc<Counters>>,
    /// The sums of those that have ended.
    ended: Box<[u64; CELLS]>,
}

impl Threads {
    /// Takes over what those have counted that nobody writes to any more.
    fn take_over(&mut self) {
        let Self { running, ended } = self;
        running.retain_mut(|counters| match Arc::get_mut(counters) {
            Some(counters) => {
                counters.add_to(ended);
                false
            }
            None => true,
        });
    }
}

thread_local! {
    /// The counters that this thread writes to.
    static LOCAL: RefCell<Vec<Local>> = const { RefCell::new(Vec::new()) };
}

/// What a thread has for one server.
struct Local {
    /// The number of the server.
    number: u64,
    counters: Arc<Counters>,
    zones: ByZone,
}

impl Default for Metrics {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, Relaxed),
            threads: Mutex::new(Threads {
                running: Vec::new(),
                ended: Box::new([0; CELLS]),
            }),
            zones: Arc::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.totals().fmt(f)
    }
}

impl Metrics {
    /// The sums. Values never go down from one call to the next.
    pub fn totals(&self) -> Totals {
        let mut threads = self.threads();
        threads.take_over();
        let mut sums = threads.ended.clone();
        for counters in &threads.running {
            counters.add_to(&mut sums);
        }
        drop(threads);
        Totals::read(&sums)
    }

    /// Counters for one thread, which gives them back by dropping them.
    pub(crate) fn worker(&self) -> Arc<Counters> {
        let counters = Counters::new();
        let mut threads = self.threads();
        threads.take_over();
        threads.running.push(Arc::clone(&counters));
        counters
    }

    /// What was counted by zone, of the zones that are served; nothing unless [`Settings::per_zone`](crate::Settings) is set.
    pub fn zones(&self, served: &ZoneSet) -> Vec<ZoneTotals> {
        self.zones.totals(served)
    }

    /// Counters by zone for one thread.
    pub(crate) fn by_zone(&self) -> ByZone {
        ByZone::new(&self.zones)
    }

    /// Calls `count` with the counters of this thread, which are made with its first call.
    pub(crate) fn local(&self, count: impl FnOnce(&Counters)) {
        self.local_and_zones(|counters, _| count(counters));
    }

    /// The same with its counters by zone.
    pub(crate) fn local_and_zones(&self, count: impl FnOnce(&Counters, &mut ByZone)) {
        LOCAL.with_borrow_mut(|all| {
            let found = all.iter().position(|local| local.number == self.number);
            let at = found.unwrap_or_else(|| {
                // Those of servers that are gone.
                all.retain(|local| Arc::strong_count(&local.counters) > 1);
                all.push(Local {
                    number: self.number,
                    counters: self.worker(),
                    zones: self.by_zone(),
                });
                all.len() - 1
            });
            let Local {
                counters, zones, ..
            } = &mut all[at];
            count(counters, zones);
        });
    }

    /// Counts what happened to a connection.
    pub(crate) fn connection(&self, event: ConnectionEvent) {
        self.local(|counters| counters.add(CONNECTIONS + event as usize, 1));
    }

    /// Held for a moment by whoever starts or reads; never by who answers.
    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn read(sums: &[u64; CELLS]) -> Self {
        fn part<const N: usize>(sums: &[u64; CELLS], at: usize) -> [u64; N] {
            std::array::from_fn(|i| sums[at + i])
        }
        let spread = |counts: usize, places: usize, sum: usize| {
            std::array::from_fn(|transport| Spread {
                counts: sums[counts + transport * places..][..places].to_vec(),
                sum: sums[sum + transport],
            })
        };
        let queries: [u64; TRANSPORTS] = part(sums, QUERIES);
        let mut opcodes: [u64; OPCODES] = part(sums, OTHER_OPCODES);
        let others: u64 = opcodes.iter().sum();
        // One that was counted while this was summed up may be in one of them only.
        opcodes[0] = queries
            .iter()
            .sum::<u64>()
            .saturating_sub(others + sums[DROPPED]);
        let types = sums[QTYPES..][..TYPES].iter().enumerate();
        let [accepted, refused, evicted, timed_out, tls_failed] = part(sums, CONNECTIONS);
        Self {
            queries,
            opcodes,
            types: types
                .filter(|(_, count)| **count > 0)
                .map(|(number, count)| match number == TYPES - 1 {
                    true => (None, *count),
                    false => (u16::try_from(number).ok(), *count),
                })
                .collect(),
            rcodes: part(sums, ANSWERS),
            sizes: spread(SIZE, SIZES.len() + 1, OCTETS),
            latencies: spread(LATENCY, LATENCIES.len() + 1, MICROS),
            limited: part(sums, LIMITED),
            slipped: part(sums, SLIPPED),
            would_be_limited: part(sums, WOULD_BE),
            dropped: sums[DROPPED],
            unready: sums[UNREADY],
            truncated: sums[TRUNCATED],
            malformed: sums[MALFORMED],
            control: sums[CONTROL],
            send_failed: sums[SEND_FAILED],
            connections_accepted: accepted,
            connections_refused: refused,
            connections_evicted: evicted,
            connections_timed_out: timed_out,
            tls_failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_have_counted_outlives_them() {
        let metrics = Metrics::default();
        let query = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    metrics.local(|counters| {
                        counters.received(Transport::Tcp, &query, 6, Outcome::Reply);
                    });
                });
            }
        });
        let totals = metrics.totals();
        assert_eq!(totals.queries, [0, 4, 0, 0]);
        assert_eq!(totals.opcodes[0], 4);
        assert_eq!(totals.types, [(Some(6), 4)]);
        assert_eq!(metrics.totals(), totals);
        // Another server has counters of its own.
        assert_eq!(Metrics::default().totals(), Metrics::default().totals());
        assert_eq!(Metrics::default().totals().queries, [0; 4]);
    }

    #[test]
    fn each_size_and_time_is_counted_in_one_place() {
        let metrics = Metrics::default();
        let counters = metrics.worker();
        for octets in [12, 64, 65, 65_535] {
            let mut reply = vec![0; octets];
            reply[3] = 3;
            counters.reply(Transport::Udp, &reply);
        }
        for micros in [0, 10, 11, 10_000_001] {
            counters.took(Transport::Quic, Duration::from_micros(micros), 2);
        }
        let totals = metrics.totals();
        assert_eq!(totals.rcodes[3], 4);
        assert_eq!(totals.sizes[0].sum, 12 + 64 + 65 + 65_535);
        assert_eq!(totals.sizes[0].counts[..2], [2, 1]);
        assert_eq!(totals.sizes[0].counts[SIZES.len() - 1], 1);
        let latencies = &totals.latencies[3];
        assert_eq!(latencies.counts[..2], [4, 2]);
        assert_eq!(latencies.counts[LATENCIES.len()], 2);
        assert_eq!(latencies.sum, 2 * (10 + 11 + 10_000_001));
    }

    #[test]
    fn transfers_are_counted_by_type_and_everything_else_by_opcode() {
        let metrics = Metrics::default();
        let counters = metrics.worker();
        let mut message = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 252, 0, 1];
        counters.received(Transport::Tcp, &message, 0, Outcome::Control);
        // Cut off before its type.
        counters.received(Transport::Tcp, &message[..13], 0, Outcome::Control);
        message[2] = 0x20;
        counters.received(Transport::Udp, &message, 0, Outcome::Control);
        counters.received(Transport::Udp, &message, 0, Outcome::Drop);
        counters.received(Transport::Udp, &[0; 12], 65_280, Outcome::Reply);
        let totals = metrics.totals();
        assert_eq!(totals.types, [(Some(252), 1), (None, 1)]);
        assert_eq!((totals.opcodes[0], totals.opcodes[4]), (3, 1));
        assert_eq!((totals.control, totals.dropped), (3, 1));
    }
}
