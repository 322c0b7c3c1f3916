//! Transfers under way, in both directions: what the status shows of them, and the line of the log that each ends in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use zonemesh_api::types::{Direction, TransferStatus};
use zonemesh_transfer::Transfer;
use zonemesh_zone::Name;
use zonemesh_zone::record::canonical_text;

/// Those that run.
#[derive(Default)]
pub(crate) struct Transfers {
    running: Mutex<BTreeMap<u64, Arc<Running>>>,
    next: AtomicU64,
}

/// What is known of a transfer when it begins.
pub(crate) struct Begun {
    pub(crate) zone: Name,
    pub(crate) direction: Direction,
    /// Who the other side is.
    pub(crate) peer: String,
    /// The serial that there was before; none when there was nothing.
    pub(crate) from_serial: Option<u32>,
    /// What it goes over, as far as is known.
    pub(crate) transport: &'static str,
    /// How many records will come, as far as can be told.
    pub(crate) expected: Option<u64>,
}

/// How the other side is reached, and what proves who it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    pub(crate) addr: String,
    pub(crate) transport: &'static str,
    /// `tls-key`, `tls-name`, `tsig` or `address`.
    pub(crate) proof: &'static str,
    pub(crate) key: Option<Name>,
}

/// How it ended.
pub(crate) struct Ended<'a> {
    /// `AXFR`, `IXFR`, or `SOA` where there was nothing to transfer.
    pub(crate) kind: &'static str,
    pub(crate) serial: Option<u32>,
    pub(crate) way: &'a Way,
    /// Why an IXFR became an AXFR.
    pub(crate) fell_back: Option<String>,
    pub(crate) error: Option<&'a str>,
}

/// A transfer that runs.
struct Running {
    begun: Begun,
    at: Instant,
    transport: Mutex<&'static str>,
    records: AtomicU64,
    messages: AtomicU64,
    octets: AtomicU64,
}

/// A transfer that runs, and is shown in the status until this is dropped.
pub(crate) struct Under<'t> {
    transfers: &'t Transfers,
    id: u64,
    running: Arc<Running>,
}

impl Transfers {
    /// A transfer begins.
    pub(crate) fn begin(&self, begun: Begun) -> Under<'_> {
        let running = Arc::new(Running {
            transport: Mutex::new(begun.transport),
            begun,
            at: Instant::now(),
            records: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.running().insert(id, running.clone());
        Under {
            transfers: self,
            id,
            running,
        }
    }

    /// What the status shows: all that run, those that began first in front.
    pub(crate) fn status(&self) -> Vec<TransferStatus> {
        let running: Vec<Arc<Running>> = self.running().values().cloned().collect();
        running.iter().map(|running| running.status()).collect()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Running>>> {
        // Nothing is left half done where this lock is held.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn transport(&self) -> MutexGuard<'_, &'static str> {
        // Nothing is left half done where this lock is held.
        self.transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> TransferStatus {
        let begun = &self.begun;
        TransferStatus {
            zone: canonical_text(&begun.zone),
            direction: begun.direction,
            peer: begun.peer.clone(),
            transport: (*self.transport()).to_owned(),
            records: self.records.load(Ordering::Relaxed),
            expected_records: begun.expected,
            bytes: self.octets.load(Ordering::Relaxed),
            running_secs: self.at.elapsed().as_secs(),
        }
    }
}

impl Under<'_> {
    /// It is tried over this transport now.
    pub(crate) fn tries(&self, transport: &'static str) {
        *self.running.transport() = transport;
    }

    /// Takes over how far a transfer in has come.
    pub(crate) fn follow(&self, transfer: &Transfer) {
        let running = &self.running;
        running.records.store(transfer.records(), Ordering::Relaxed);
        running
            .messages
            .store(transfer.messages() as u64, Ordering::Relaxed);
        running.octets.store(transfer.bytes(), Ordering::Relaxed);
    }

    /// Counts a message that goes out.
    pub(crate) fn sent(&self, records: u64, octets: usize) {
        let running = &self.running;
        running.records.fetch_add(records, Ordering::Relaxed);
        running.messages.fetch_add(1, Ordering::Relaxed);
        running.octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// For how long it runs.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.running.at.elapsed()
    }

    /// One line for each transfer: what, with whom and what proves it, how, and how much.
    pub(crate) fn log(&self, ended: &Ended<'_>) {
        let running = &self.running;
        let begun = &running.begun;
        let way = ended.way;
        // Levels are fixed where a line is written.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    zone = %begun.zone,
                    direction = %begun.direction,
                    peer = begun.peer,
                    addr = way.addr,
                    transport = way.transport,
                    proof = way.proof,
                    key = way.key.as_ref().map(tracing::field::display),
                    kind = ended.kind,
                    from_serial = begun.from_serial,
                    serial = ended.serial,
                    records = running.records.load(Ordering::Relaxed),
                    messages = running.messages.load(Ordering::Relaxed),
                    bytes = running.octets.load(Ordering::Relaxed),
                    ms = running.at.elapsed().as_millis() as u64,
                    fell_back = ended.fell_back,
                    error = ended.error,
                    "transfer"
                )
            };
        }
        // Who asks whether there is news, and hears that there is none, has transferred nothing.
        match ended.kind == "SOA" && ended.error.is_none() {
            true => line!(debug),
            false => line!(info),
        }
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.transfers.running().remove(&self.id);
    }
}
