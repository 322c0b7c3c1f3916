//! UDP: plain threads, each with a socket of its own, that receive, answer and send in batches.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use zonemesh_zone::Name;

use crate::answer::{About, Outcome, View, Workspace, answer_read, is_proven};
use crate::batch::{self, BATCH, Batch, Local};
use crate::bind::{self, BindError};
use crate::clock::{Moment, since_boot};
use crate::handler::{Client, Closed, Handler, Request, Responder, Transport};
use crate::message::{rcodes, records};
use crate::metrics::{ByZone, Counters};
use crate::rate::{Draws, RateLimiter, Verdict};
use crate::together::look_ahead;
use crate::zoneset::Shared;

/// Largest answer that is ever sent over UDP, for which each thread keeps room.
const REPLY_CAPACITY: usize = 4096;
/// How long a thread waits after an error that it cannot do anything about.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// How many batches are still answered after the order to stop.
const LAST_BATCHES: usize = 64;

/// Threads that answer on one address.
pub struct UdpServer {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Listens on an address with some threads; 0 means one for each core.
///
/// # Errors
///
/// When the address cannot be had; its message says what to do.
pub fn listen(
    addr: SocketAddr,
    threads: usize,
    shared: &Arc<Shared>,
    handler: &Handler,
) -> Result<UdpServer, BindError> {
    let threads = match threads {
        0 => thread::available_parallelism().map_or(1, |cores| cores.get()),
        some => some,
    };
    let sockets = bind::udp(addr, threads)?;
    start(sockets, shared, handler).map_err(|source| BindError {
        addr,
        protocol: "UDP",
        hint: "the system refuses a thread or a socket option; see the cause",
        source,
    })
}

/// Starts a thread for each of the sockets, which [`bind::udp`] has opened for one address.
///
/// # Errors
///
/// When there are no sockets, or the system refuses a thread; none is left running.
pub fn start(
    sockets: Vec<UdpSocket>,
    shared: &Arc<Shared>,
    handler: &Handler,
) -> io::Result<UdpServer> {
    let addr = sockets
        .first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no socket was given"))?
        .local_addr()?;
    let mut server = UdpServer {
        addr,
        stop: Arc::default(),
        threads: Vec::with_capacity(sockets.len()),
    };
    for (number, socket) in sockets.into_iter().enumerate() {
        let worker = Worker {
            with_local: batch::want_local(&socket)?,
            socket: Arc::new(socket),
            shared: Arc::clone(shared),
            handler: Arc::clone(handler),
            stop: Arc::clone(&server.stop),
        };
        let thread = thread::Builder::new()
            .name(format!("udp-{}-{number}", addr.port()))
            .spawn(move || worker.run())?;
        server.threads.push(thread);
    }
    Ok(server)
}

impl UdpServer {
    /// The address that is listened on, with the port that the system has chosen if none was given.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops: what has been received is answered, then the sockets are closed. Blocks for about a tenth of a second.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread catches its panics; if it has ended by one all the same, it has stopped, too.
            drop(thread.join());
        }
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.halt();
    }
}

struct Worker {
    socket: Arc<UdpSocket>,
    with_local: bool,
    shared: Arc<Shared>,
    handler: Handler,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(&self) {
        let counters = self.shared.metrics.worker();
        // A defect in answering one query must not end all answers.
        while catch_unwind(AssertUnwindSafe(|| self.serve(&counters))).is_err() {
            tracing::error!(
                "a thread that answers over UDP has panicked; it goes on with the next query"
            );
        }
    }

    fn serve(&self, counters: &Counters) {
        let mut batch = Batch::new(self.with_local, REPLY_CAPACITY);
        let mut workspaces = vec![Workspace::default(); BATCH];
        let mut draws = Draws::new();
        let mut by_zone = self.shared.metrics.by_zone();
        let mut last_batches = LAST_BATCHES;
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            match batch.receive(&self.socket) {
                Ok(count) => {
                    let received = Moment::now();
                    let answers = self.answer(
                        &mut batch,
                        count,
                        received,
                        &mut workspaces,
                        counters,
                        &mut by_zone,
                        &mut draws,
                    );
                    let failed = batch.send(&self.socket);
                    if failed > 0 {
                        counters.send_failed(failed as u64);
                    }
                    if answers > 0 {
                        let took = since_boot().saturating_sub(received.since_boot);
                        counters.took(Transport::Udp, took, answers);
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if stopping => return,
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => {}
                    _ => {
                        tracing::warn!(%error, "receiving over UDP failed; trying again");
                        thread::sleep(ERROR_PAUSE);
                    }
                },
            }
            if stopping {
                last_batches -= 1;
                if last_batches == 0 {
                    return;
                }
            }
        }
    }

    /// Answers the datagrams of a batch; returns how many answers there are.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a thread keeps between batches"
    )]
    fn answer(
        &self,
        batch: &mut Batch,
        count: usize,
        received: Moment,
        workspaces: &mut [Workspace],
        counters: &Counters,
        by_zone: &mut ByZone,
        draws: &mut Draws,
    ) -> u64 {
        let mut answers = 0;
        let now = received.since_boot.as_micros() as u64;
        // One look at the clock and at the snapshot for the whole batch.
        self.shared.view(received, |view| {
            let read = match count {
                1 => 0,
                _ => look_ahead(view.zones, batch.messages(count), workspaces),
            };
            batch.each(count, |datagram, reply| {
                if datagram.too_long {
                    counters.too_long();
                    return false;
                }
                let client = Client {
                    addr: datagram.peer,
                    transport: Transport::Udp,
                    pin: None,
                };
                let is_read = read >> datagram.at & 1 == 1;
                let workspace = &mut workspaces[datagram.at];
                let (outcome, about) =
                    answer_read(workspace, is_read, datagram.message, &client, view, reply);
                counters.received(Transport::Udp, datagram.message, about.qtype, outcome);
                match outcome {
                    Outcome::Reply => {
                        let send = may_send(view, &client, &about, now, counters, draws, reply);
                        if send {
                            counters.reply(Transport::Udp, reply);
                            answers += 1;
                        }
                        if let Some(served) = about.zone(view, &workspace.question) {
                            by_zone.count(&served.apex, about.kind, send);
                        }
                        send
                    }
                    Outcome::Control => {
                        let is_limited = view.settings.rate.is_some();
                        let path = ReplyPath {
                            socket: Arc::clone(&self.socket),
                            shared: Arc::clone(&self.shared),
                            proven: is_limited && is_proven(datagram.message, &client, view),
                            client: client.clone(),
                            local: datagram.local,
                        };
                        let request = Request {
                            message: Bytes::copy_from_slice(datagram.message),
                            client,
                        };
                        (self.handler)(request, Responder::datagram(path));
                        false
                    }
                    Outcome::Drop | Outcome::Close => false,
                }
            });
        });
        answers
    }
}

/// Whether an answer is sent, which may be truncated here: there may be too many for the client's network.
#[inline]
fn may_send(
    view: &View<'_>,
    client: &Client,
    about: &About<'_>,
    now: u64,
    counters: &Counters,
    draws: &mut Draws,
    reply: &mut Vec<u8>,
) -> bool {
    let Some(limiter) = &view.settings.rate else {
        return true;
    };
    let mut verdict = limiter.verdict(client.ip(), about, now, || draws.next());
    if verdict == Verdict::Send {
        return true;
    }
    if verdict == Verdict::Truncate && !about.may_be_truncated() {
        verdict = Verdict::Drop;
    }
    counters.limited(about.kind, verdict);
    if limiter.is_to_be_told(now) {
        tell(limiter, client, about);
    }
    if verdict == Verdict::Truncate {
        about.truncate(reply);
    }
    verdict != Verdict::Drop
}

/// Says in the log that a network gets fewer answers than it asks for.
#[cold]
fn tell(limiter: &RateLimiter, client: &Client, about: &About<'_>) {
    let (first, bits) = limiter.network(client.ip());
    let limits = limiter.limits();
    tracing::warn!(
        network = %format_args!("{first}/{bits}"),
        kind = about.kind.name(),
        name = %Source(about.source),
        per_second = limits.per_second[about.kind as usize],
        all_per_second = limits.all_per_second,
        dry_run = limits.dry_run,
        "a network asks for more than [rate-limit] allows; its address may be forged. This is told once in ten seconds, \
         whatever comes: the metric zonemesh_serve_rate_limited has all"
    );
}

/// An owner name in wire format, for the log.
struct Source<'n>(&'n [u8]);

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Name::from_octets(self.0.to_vec().into()) {
            Ok(name) => name.fmt_with_dot().fmt(f),
            // Errors are about no name.
            Err(_) => f.write_str("-"),
        }
    }
}

/// Where an answer that comes later goes.
pub(crate) struct ReplyPath {
    socket: Arc<UdpSocket>,
    shared: Arc<Shared>,
    client: Client,
    /// Whether the client has proved its address with a good server cookie.
    proven: bool,
    local: Option<Local>,
}

impl ReplyPath {
    /// Sends an answer, unless it is one too many for the client's network: then it is lost, as others are on their way.
    pub(crate) fn send(&self, mut message: Vec<u8>) -> Result<(), Closed> {
        let peer = self.client.addr;
        if !self.may_send(&mut message) {
            return Ok(());
        }
        batch::send_from(&self.socket, &message, peer, self.local).map_err(|error| {
            tracing::debug!(%peer, %error, "an answer could not be sent");
            Closed
        })
    }

    fn may_send(&self, message: &mut Vec<u8>) -> bool {
        if is_of_permitted_update(message) {
            return true;
        }
        let now = since_boot().as_micros() as u64;
        let mut name = [0; 255];
        let about = About::read(message, self.proven, &mut name);
        let draws = &mut Draws::new();
        let mut send = false;
        self.shared.view(Moment::now(), |view| {
            self.shared.metrics.local(|counters| {
                let client = &self.client;
                send = may_send(view, client, &about, now, counters, draws, message);
            });
        });
        send
    }
}

/// Whether a message answers an UPDATE of one who may make it. Such answers have no limit: they are no longer than what they answer and go
/// nowhere but to who may update, and one that is lost makes a DHCP server wait and try again.
fn is_of_permitted_update(message: &[u8]) -> bool {
    let [_, _, opcode, rcode, ..] = message else {
        return false;
    };
    let refusals = [
        rcodes::FORMERR,
        rcodes::NOTIMP,
        rcodes::REFUSED,
        rcodes::NOTAUTH,
    ];
    let is_update = opcode >> 3 & 15 == UPDATE;
    // BADVERS goes to anybody, too, and has its upper bits in OPT.
    let is_badvers = || records(message).any(|record| record.is_opt && record.fixed[4] != 0);
    is_update && !refusals.contains(&u16::from(rcode & 15)) && !is_badvers()
}

/// The opcode of updates (RFC 2136 §1.3).
const UPDATE: u8 = 5;
