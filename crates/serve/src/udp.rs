//! UDP: plain threads, each with a socket of its own, that receive, answer and send in batches.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use crate::answer::{Outcome, answer};
use crate::batch::{self, Batch, Local};
use crate::bind::{self, BindError};
use crate::clock::Moment;
use crate::handler::{Client, Closed, Handler, Request, Responder, Transport};
use crate::metrics::Counters;
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
        self.shared.metrics.retire(&counters);
    }

    fn serve(&self, counters: &Counters) {
        let mut batch = Batch::new(self.with_local, REPLY_CAPACITY);
        let mut last_batches = LAST_BATCHES;
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            match batch.receive(&self.socket) {
                Ok(count) => {
                    self.answer(&mut batch, count, counters);
                    let failed = batch.send(&self.socket);
                    if failed > 0 {
                        counters.send_failed(failed as u64);
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

    fn answer(&self, batch: &mut Batch, count: usize, counters: &Counters) {
        // One look at the clock and at the snapshot for the whole batch.
        self.shared.view(Moment::now(), |view| {
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
                let outcome = answer(datagram.message, &client, view, reply);
                counters.message(Transport::Udp, outcome, reply);
                if outcome == Outcome::Control {
                    let path = ReplyPath {
                        socket: Arc::clone(&self.socket),
                        peer: datagram.peer,
                        local: datagram.local,
                    };
                    let request = Request {
                        message: Bytes::copy_from_slice(datagram.message),
                        client,
                    };
                    (self.handler)(request, Responder::datagram(path));
                }
                outcome == Outcome::Reply
            });
        });
    }
}

/// Where an answer that comes later goes.
pub(crate) struct ReplyPath {
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    local: Option<Local>,
}

impl ReplyPath {
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), Closed> {
        batch::send_from(&self.socket, message, self.peer, self.local).map_err(|error| {
            tracing::debug!(peer = %self.peer, %error, "an answer could not be sent");
            Closed
        })
    }
}
