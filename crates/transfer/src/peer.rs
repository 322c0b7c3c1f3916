//! Talking to another server: one handle for each, with connections that are opened when needed and kept open.
//!
//! A [`Peer`] has one [`Connection`] for questions, NOTIFY and UPDATE, and for transfers as many as there are at the same
//! time, up to a bound, so that a question never waits behind a large zone, nor a small zone behind a large one: many
//! servers answer on a connection one after the other. Over QUIC one connection is enough: each request has a stream of its
//! own there. Over the others requests on a connection are pipelined and told apart by their IDs
//! (RFC 7766 §6.2.1.1, RFC 9103 §6.2). What comes back is checked here for signature and form; what it means is decided elsewhere, and so is
//! when to try again, save for a floor: a peer that cannot be reached is not dialled again at once.

mod connection;
mod error;
mod least;
mod lines;
mod open;
mod quic;
mod udp;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use zonemesh_zone::inventory::Section;
use zonemesh_zone::{Name, Rcode, Record, Zone};

pub use self::connection::Connection;
use self::connection::How;
pub use self::error::{FetchError, PeerError};
use self::least::Least;
use self::lines::Lines;
use crate::inbound::{Incoming, Limits, Step, Transfer, TransferError};
use crate::message::{Header, set_id};
use crate::query::{self, Question, ReplyError, Request, SoaAnswer};
use crate::tls::{SiteKey, TlsError, Trust};
use crate::tsig::Key;

/// Where a peer is and how to talk to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address and port.
    pub addr: SocketAddr,
    /// The address to come from; the system chooses when there is none.
    pub source: Option<IpAddr>,
    /// What to talk over.
    pub transport: Transport,
    /// What to sign with.
    pub tsig: Option<Key>,
}

/// What to talk over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP for questions, NOTIFY and, where they are signed, differences; TCP for transfers and UPDATE: what foreign servers
    /// expect.
    Plain,
    /// TCP for everything.
    Tcp,
    /// TLS for everything, with a server that is trusted in this way.
    Tls(Trust),
    /// QUIC for everything, likewise.
    Quic(Trust),
}

impl Transport {
    /// Its name, for logs and `status`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain => "udp+tcp",
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Quic(_) => "quic",
        }
    }

    /// Its name where a transfer goes over it.
    pub fn of_transfers(&self) -> &'static str {
        match self {
            Self::Plain => "tcp",
            other => other.name(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.addr, self.transport.name())
    }
}

/// Time-outs and bounds.
#[derive(Clone)]
pub struct Options {
    /// How long connecting may take, TLS included. Default 5 s: three SYNs get lost before it is over.
    pub connect_timeout: Duration,
    /// How long a connection is kept without use. Default 60 s; the other side often has less, which does no harm.
    pub idle: Duration,
    /// How long to wait for the first message of a transfer. Default 10 s.
    pub answer_timeout: Duration,
    /// How long to wait for each further message of a transfer. Default 30 s.
    pub message_timeout: Duration,
    /// How long to wait for differences by UDP before TCP has to do it. Default 3 s: two datagrams may be lost.
    pub udp_timeout: Duration,
    /// How many octets a transfer must bring in each [`Options::least_within`]; a peer that sends less of it may be alive,
    /// and is given up all the same. Default 16 KiB.
    pub least_octets: u64,
    /// The time for that. Default 60 s: with 16 KiB a line of 2,400 baud, far slower than any that zones come over.
    pub least_within: Duration,
    /// How long a peer that could not be reached is left alone at first; doubles with each failure. Default 250 ms.
    pub back_off_floor: Duration,
    /// How long it is left alone at the most. Default 10 s, so that a peer that is back is found soon.
    pub back_off_cap: Duration,
    /// How much a transfer may bring.
    pub limits: Limits,
    /// The wall clock, for TSIG.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            udp_timeout: Duration::from_secs(3),
            least_octets: 16 * 1024,
            least_within: Duration::from_secs(60),
            back_off_floor: Duration::from_millis(250),
            back_off_cap: Duration::from_secs(10),
            limits: Limits::default(),
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

/// A transfer that has been made.
#[derive(Debug)]
pub struct Fetched {
    /// What came.
    pub incoming: Incoming,
    /// Whether it was asked for as an IXFR at last.
    pub ixfr: bool,
    /// What it came over: `udp`, `tcp`, `tls` or `quic`.
    pub over: &'static str,
    /// Why the IXFR before it failed, when it was an AXFR after all.
    pub fell_back: Option<TransferError>,
    /// How many messages came.
    pub messages: usize,
    /// How many records came.
    pub records: u64,
    /// How many octets came, without framing.
    pub bytes: u64,
    /// How long the peer may still serve the zone, in seconds (RFC 7314).
    pub expire: Option<u32>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A handle for one other server; a clone is the same handle. The connections end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Peer {
    target: Arc<Target>,
    options: Options,
    questions: Connection,
    transfers: Lines,
}

/// # Making it
impl Peer {
    /// Makes a handle; connects to nothing yet. Must be called within a tokio runtime, which will run the connections.
    ///
    /// With TLS and QUIC the peer sees the certificate of `key`, if there is one.
    ///
    /// # Errors
    ///
    /// When the TLS library refuses the key.
    pub fn new(target: Target, key: Option<&SiteKey>, options: Options) -> Result<Self, TlsError> {
        let how = How::new(&target.transport, key)?;
        let target = Arc::new(target);
        let questions = Connection::new(target.clone(), how.clone(), options.clone());
        let transfers = match &how {
            How::Quic(_) => Lines::one(&questions, target.clone(), how, options.clone()),
            How::Tcp | How::Tls(..) => Lines::new(target.clone(), how, options.clone()),
        };
        Ok(Self {
            questions,
            transfers,
            target,
            options,
        })
    }

    /// Where the peer is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Ends the waiting after failures, as when the peer has shown that it is there.
    pub fn wake(&self) {
        self.questions.wake();
        self.transfers.wake();
    }
}

/// # Asking
impl Peer {
    /// Sends a request and waits for its reply, which has the request's ID again. Signs it if the target has a key.
    ///
    /// A request that a kept connection has swallowed is sent once more on a new one, unless it is an UPDATE.
    ///
    /// # Errors
    ///
    /// When there is no reply that can be believed. Its RCODE is the caller's to judge.
    pub async fn request(&self, message: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, PeerError> {
        self.request_signed(message, self.target.tsig.as_ref(), timeout)
            .await
    }

    /// Sends a request that is signed with another key than the target's own, or with none.
    ///
    /// # Errors
    ///
    /// As [`Peer::request`].
    pub async fn request_signed(
        &self,
        message: Vec<u8>,
        key: Option<&Key>,
        timeout: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let id = match Header::read(&message) {
            Some(header) if message.len() <= MAX_REQUEST => header.id,
            _ => return Err(PeerError::RequestSize(message.len())),
        };
        let attempt = async {
            let first = self.questions.request(&message, key, timeout).await;
            match first {
                Err(PeerError::Closed { reused: true, .. }) if !query::is_update(&message) => {
                    self.questions.request(&message, key, timeout).await
                }
                other => other,
            }
        };
        let mut reply = match tokio::time::timeout(timeout, attempt).await {
            Ok(reply) => reply?,
            Err(_) => {
                return Err(PeerError::Timeout {
                    target: self.target.to_string(),
                    after: timeout,
                });
            }
        };
        set_id(&mut reply, id);
        Ok(reply)
    }

    /// Asks for the SOA of a zone.
    ///
    /// # Errors
    ///
    /// When no authoritative answer came.
    pub async fn soa(&self, zone: &Name, timeout: Duration) -> Result<SoaAnswer, PeerError> {
        let request = Request::new(0, zone.clone(), Question::Soa);
        self.ask_soa(request.with_edns(), zone, timeout).await
    }

    /// Asks for the SOA of a zone, and how the server is: for members of a mesh.
    ///
    /// # Errors
    ///
    /// As [`Peer::soa`].
    pub async fn soa_and_heartbeat(
        &self,
        zone: &Name,
        timeout: Duration,
    ) -> Result<SoaAnswer, PeerError> {
        let request = Request::new(0, zone.clone(), Question::Soa);
        self.ask_soa(request.with_heartbeat(), zone, timeout).await
    }

    /// Asks what the server holds in a section, beside the SOA of a zone: for members of a mesh.
    ///
    /// # Errors
    ///
    /// As [`Peer::soa`].
    pub async fn soa_and_section(
        &self,
        zone: &Name,
        section: Section,
        timeout: Duration,
    ) -> Result<SoaAnswer, PeerError> {
        let request = Request::new(0, zone.clone(), Question::Soa);
        self.ask_soa(request.with_section(section), zone, timeout)
            .await
    }

    async fn ask_soa(
        &self,
        request: Request,
        zone: &Name,
        timeout: Duration,
    ) -> Result<SoaAnswer, PeerError> {
        let message = request.compose();
        let reply = self.small(message, timeout).await?;
        query::parse_soa_answer(&reply, zone).map_err(|error| self.reply_error(error))
    }

    /// Tells of a new version, once; when to try again is for the caller to say.
    ///
    /// # Errors
    ///
    /// When it is not acknowledged.
    pub async fn notify(&self, soa: &Record, timeout: Duration) -> Result<(), PeerError> {
        let reply = self.small(Request::compose_notify(0, soa), timeout).await?;
        query::parse_acknowledgement(&reply).map_err(|error| self.reply_error(error))
    }

    /// Sends a small request over UDP where that is the way, and over TCP when the answer does not fit.
    async fn small(&self, message: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, PeerError> {
        if self.target.transport != Transport::Plain {
            return self.request(message, timeout).await;
        }
        let reply = udp::exchange(&self.target, &self.options, &message, timeout).await?;
        match Header::read(&reply).is_some_and(|header| header.flags & crate::message::TC != 0) {
            true => self.request(message, timeout).await,
            false => Ok(reply),
        }
    }

    fn reply_error(&self, error: ReplyError) -> PeerError {
        let target = self.target.to_string();
        match error {
            ReplyError::Rcode { rcode, why } => PeerError::Rcode { target, rcode, why },
            other => PeerError::Protocol {
                target,
                what: other.to_string(),
            },
        }
    }
}

/// # Transfers
impl Peer {
    /// Fetches what is newer than `have`, or the whole zone: by IXFR if there is something to start from, and by AXFR
    /// when that fails in a way that promises more of it.
    ///
    /// # Errors
    ///
    /// When no whole and good transfer came. Nothing has changed then.
    pub async fn transfer(&self, zone: &Name, have: Option<Zone>) -> Result<Fetched, FetchError> {
        self.transfer_watched(zone, have, &mut |_| {}).await
    }

    /// As [`Peer::transfer`]; calls `progress` after each message.
    ///
    /// # Errors
    ///
    /// As [`Peer::transfer`].
    pub async fn transfer_watched(
        &self,
        zone: &Name,
        have: Option<Zone>,
        progress: &mut (dyn FnMut(&Transfer) + Send),
    ) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let failure = match &have {
            Some(have) => {
                if let Some(fetched) = self.ixfr_over_udp(have, progress).await {
                    return Ok(fetched);
                }
                let question = Question::Ixfr {
                    from: have.serial(),
                };
                let transfer = Transfer::ixfr(have.clone(), 0);
                match self.fetch(zone, question, transfer, progress).await {
                    Err(FetchError::Transfer { source, .. }) if source.retry_with_axfr() => source,
                    other => return other,
                }
            }
            None => {
                let transfer = Transfer::axfr(zone.clone(), None, 0);
                return self.fetch(zone, Question::Axfr, transfer, progress).await;
            }
        };
        let transfer = Transfer::axfr(zone.clone(), have, 0);
        let fetched = self.fetch(zone, Question::Axfr, transfer, progress).await?;
        Ok(Fetched {
            fell_back: Some(failure),
            elapsed: started.elapsed(),
            ..fetched
        })
    }

    /// Asks for what is newer with a datagram (RFC 1995 §2); none when the answer does not fit into one or is no good, and
    /// TCP has to do it. Only where the answer is signed: a forged one could bring anything.
    async fn ixfr_over_udp(
        &self,
        have: &Zone,
        progress: &mut (dyn FnMut(&Transfer) + Send),
    ) -> Option<Fetched> {
        let is_for_udp = self.target.transport == Transport::Plain && self.target.tsig.is_some();
        if !is_for_udp {
            return None;
        }
        let started = Instant::now();
        let from = have.serial();
        let message = Request::new(0, have.apex().clone(), Question::Ixfr { from })
            .with_edns()
            .compose();
        let timeout = self.options.udp_timeout;
        let reply = udp::exchange(&self.target, &self.options, &message, timeout);
        let reply = reply.await.ok()?;
        let mut transfer = Transfer::ixfr(have.clone(), 0).with_limits(self.options.limits);
        let incoming = transfer.feed_udp(&reply).ok()?;
        progress(&transfer);
        Some(Fetched {
            incoming,
            ixfr: true,
            over: "udp",
            fell_back: None,
            messages: transfer.messages(),
            records: transfer.records(),
            bytes: transfer.bytes(),
            expire: transfer.expire(),
            elapsed: started.elapsed(),
        })
    }

    async fn fetch(
        &self,
        zone: &Name,
        question: Question,
        transfer: Transfer,
        progress: &mut (dyn FnMut(&Transfer) + Send),
    ) -> Result<Fetched, FetchError> {
        let transfer = transfer.with_limits(self.options.limits);
        let mut open = Open {
            zone,
            question,
            transfer,
            progress,
        };
        let line = self.transfers.take();
        match self.fetch_once(line.connection(), &mut open).await {
            Err(FetchError::Peer(PeerError::Closed { reused: true, .. }))
                if open.transfer.messages() == 0 =>
            {
                self.fetch_once(line.connection(), &mut open).await
            }
            other => other,
        }
    }

    async fn fetch_once(
        &self,
        connection: &Connection,
        open: &mut Open<'_>,
    ) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let message = Request::new(0, open.zone.clone(), open.question.clone())
            .with_edns()
            .compose();
        let mut stream = connection
            .stream(&message, self.target.tsig.as_ref())
            .await?;
        open.transfer.set_request_id(stream.id());
        let mut least = Least::new(&self.options, tokio::time::Instant::now());
        loop {
            let timeout = match open.transfer.messages() {
                0 => self.options.answer_timeout,
                _ => self.options.message_timeout,
            };
            let reply = match stream.next(timeout).await {
                Ok(reply) => reply,
                Err(PeerError::Closed { .. }) if open.transfer.messages() > 0 => {
                    return Err(self.bad(open.zone, open.transfer.broken_off()));
                }
                Err(error) => return Err(error.into()),
            };
            let step = feed(&mut open.transfer, &reply);
            let now = tokio::time::Instant::now();
            let slow = least.is_missed(open.transfer.bytes(), now);
            if slow && matches!(step, Ok(Step::More)) {
                return Err(FetchError::Peer(PeerError::TooSlow {
                    target: self.target.to_string(),
                    least: self.options.least_octets,
                    within: self.options.least_within,
                }));
            }
            (open.progress)(&open.transfer);
            let incoming = match step {
                Ok(Step::More) => continue,
                Ok(Step::Done(incoming)) => incoming,
                Err(error) => {
                    // A refusal is a whole answer; after anything else more of the same may follow.
                    if matches!(error, TransferError::Rcode { .. }) {
                        stream.finish();
                    }
                    return Err(self.bad(open.zone, error));
                }
            };
            stream.check_last()?;
            stream.finish();
            return Ok(Fetched {
                incoming,
                ixfr: matches!(open.question, Question::Ixfr { .. }),
                over: self.target.transport.of_transfers(),
                fell_back: None,
                messages: open.transfer.messages(),
                records: open.transfer.records(),
                bytes: open.transfer.bytes(),
                expire: open.transfer.expire(),
                elapsed: started.elapsed(),
            });
        }
    }

    fn bad(&self, zone: &Name, error: TransferError) -> FetchError {
        match error {
            TransferError::Rcode { rcode, why }
                if !matches!(rcode, Rcode::NOTIMP | Rcode::FORMERR) =>
            {
                FetchError::Peer(PeerError::Rcode {
                    target: self.target.to_string(),
                    rcode,
                    why,
                })
            }
            source => FetchError::Transfer {
                zone: zone.clone(),
                target: self.target.to_string(),
                source,
            },
        }
    }
}

/// Feeds a transfer with a message. What takes long, as the last message of a large zone does, is done where it keeps no
/// other task of the runtime waiting.
fn feed(transfer: &mut Transfer, reply: &[u8]) -> Result<Step, TransferError> {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let is_much = reply.len() > MUCH || transfer.bytes() > MUCH as u64;
    let many_threads = || {
        let runtime = Handle::try_current();
        runtime.is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    match is_much && many_threads() {
        true => tokio::task::block_in_place(|| transfer.feed(reply)),
        false => transfer.feed(reply),
    }
}

/// A transfer under way.
struct Open<'a> {
    zone: &'a Name,
    question: Question,
    transfer: Transfer,
    progress: &'a mut (dyn FnMut(&Transfer) + Send),
}

/// Octets that are checked within a millisecond.
const MUCH: usize = 8 * 1024;
/// Leaves room for a signature.
const MAX_REQUEST: usize = 0xFFFF - 512;

#[cfg(test)]
mod tests;
