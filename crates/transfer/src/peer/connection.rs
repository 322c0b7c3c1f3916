//! One connection to a server, over TCP, TLS or QUIC, opened when needed, and the task that owns its socket.
//!
//! ```text
//!  Asleep ── request ──▶ Connecting ── ok ──▶ Open ── idle, closed, broken ──▶ Asleep
//!    ▲                       └── failed ──▶ left alone for a while ──┘
//! ```

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::open::OpenConnection;
use super::quic::{self, Dialler, Quic};
use super::{Options, PeerError, Target, Transport};
use crate::message::set_id;
use crate::tls::{self, SiteKey, TlsError, Trust, WrongPin};
use crate::tsig::{Key, Verifier};

/// A handle for a connection; a clone is the same one.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    target: Arc<Target>,
    options: Options,
    queue: mpsc::Sender<Exchange>,
    ids: Arc<Ids>,
    /// Counts up when the waiting after failures shall end.
    wakes: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection is made.
#[derive(Clone, Debug)]
pub(super) enum How {
    Tcp,
    Tls(Arc<rustls::ClientConfig>, Trust),
    Quic(Dialler),
}

impl How {
    pub(super) fn new(transport: &Transport, key: Option<&SiteKey>) -> Result<Self, TlsError> {
        Ok(match transport {
            Transport::Plain | Transport::Tcp => Self::Tcp,
            Transport::Tls(trust) => {
                Self::Tls(Arc::new(tls::client_config(key, trust)?), trust.clone())
            }
            Transport::Quic(trust) => Self::Quic(Dialler::new(key, trust)?),
        })
    }
}

/// A request on its way to the task that owns the socket.
pub(super) struct Exchange {
    pub(super) id: Id,
    pub(super) message: Vec<u8>,
    pub(super) replies: mpsc::Sender<Result<Vec<u8>, PeerError>>,
    /// Whether the answer may have many messages.
    pub(super) many: bool,
    pub(super) finished: Arc<AtomicBool>,
}

/// The answers to one request, as they come.
pub(super) struct Stream {
    target: Arc<Target>,
    clock: Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>,
    id: u16,
    replies: mpsc::Receiver<Result<Vec<u8>, PeerError>>,
    verifier: Option<Verifier>,
    finished: Arc<AtomicBool>,
}

impl Connection {
    /// Makes a handle and starts the task that will own the socket; connects to nothing yet.
    pub(super) fn new(target: Arc<Target>, how: How, options: Options) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        let wakes = Arc::new(AtomicU64::new(0));
        let owner = Owner {
            target: target.clone(),
            how,
            options: options.clone(),
            requests,
            wakes: wakes.clone(),
            failures: None,
        };
        let inner = Inner {
            target,
            options,
            queue,
            ids: Arc::default(),
            wakes,
            task: tokio::spawn(owner.run()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(super) fn wake(&self) {
        self.inner.wakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends a request and waits for its one reply.
    pub(super) async fn request(
        &self,
        message: &[u8],
        key: Option<&Key>,
        timeout: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let mut stream = self.send(message, key, false).await?;
        let reply = stream.next(timeout).await?;
        stream.check_last()?;
        stream.finish();
        Ok(reply)
    }

    /// Sends a request whose answer may have many messages.
    pub(super) async fn stream(
        &self,
        message: &[u8],
        key: Option<&Key>,
    ) -> Result<Stream, PeerError> {
        self.send(message, key, true).await
    }

    async fn send(
        &self,
        message: &[u8],
        key: Option<&Key>,
        many: bool,
    ) -> Result<Stream, PeerError> {
        let inner = &self.inner;
        let busy = || PeerError::Busy {
            target: inner.target.to_string(),
        };
        let id = Id::allocate(&inner.ids).ok_or_else(busy)?;
        // RFC 9250 §4.2.1: a stream of QUIC needs none.
        let number = match inner.target.transport {
            Transport::Quic(_) => 0,
            _ => id.value,
        };
        let mut message = message.to_vec();
        set_id(&mut message, number);
        let verifier = key.map(|key| key.sign_request(&mut message, (inner.options.clock)()));
        let (replies, receiver) = mpsc::channel(READ_AHEAD);
        let finished = Arc::new(AtomicBool::new(false));
        let exchange = Exchange {
            id,
            message,
            replies,
            many,
            finished: finished.clone(),
        };
        inner.queue.send(exchange).await.map_err(|_| busy())?;
        Ok(Stream {
            target: inner.target.clone(),
            clock: inner.options.clock.clone(),
            id: number,
            replies: receiver,
            verifier,
            finished,
        })
    }
}

impl Stream {
    /// The ID of the request.
    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// Waits for the next message, and verifies it.
    pub(super) async fn next(&mut self, timeout: Duration) -> Result<Vec<u8>, PeerError> {
        let reply = match tokio::time::timeout(timeout, self.replies.recv()).await {
            Err(_) => {
                return Err(PeerError::Timeout {
                    target: self.target.to_string(),
                    after: timeout,
                });
            }
            Ok(None) => {
                return Err(PeerError::Closed {
                    target: self.target.to_string(),
                    source: None,
                    reused: false,
                });
            }
            Ok(Some(reply)) => reply?,
        };
        match &mut self.verifier {
            None => Ok(reply),
            Some(verifier) => {
                verifier
                    .verify(&reply, (self.clock)())
                    .map_err(|source| PeerError::Tsig {
                        target: self.target.to_string(),
                        source,
                    })
            }
        }
    }

    /// Checks that the last message was signed, if the request was.
    pub(super) fn check_last(&self) -> Result<(), PeerError> {
        match &self.verifier {
            None => Ok(()),
            Some(verifier) => verifier.finish().map_err(|source| PeerError::Tsig {
                target: self.target.to_string(),
                source,
            }),
        }
    }

    /// Says that the answer is whole. A stream that is dropped without this has the connection closed when more comes.
    pub(super) fn finish(self) {
        self.finished.store(true, Ordering::Release);
    }
}

/// The task that owns the socket.
struct Owner {
    target: Arc<Target>,
    how: How,
    options: Options,
    requests: mpsc::Receiver<Exchange>,
    wakes: Arc<AtomicU64>,
    failures: Option<Failures>,
}

/// Failures to connect, in a row.
struct Failures {
    count: u32,
    until: Instant,
    wakes: u64,
    last: PeerError,
}

impl Owner {
    async fn run(mut self) {
        while let Some(exchange) = self.requests.recv().await {
            if let Some(error) = self.backing_off() {
                exchange.fail(error);
                continue;
            }
            // The asker may have gone while we were busy.
            if exchange.replies.is_closed() {
                continue;
            }
            match self.connect().await {
                Ok(Socket::Tcp(socket)) => self.serve(socket, exchange).await,
                Ok(Socket::Tls(socket)) => self.serve(*socket, exchange).await,
                Ok(Socket::Quic(quic)) => {
                    self.failures = None;
                    let (requests, idle) = (&mut self.requests, self.options.idle);
                    quic::serve(*quic, &self.target, exchange, requests, idle).await;
                }
                Err(error) => {
                    tracing::debug!(peer = %self.target.addr, %error, "cannot connect");
                    self.note_failure(error.clone());
                    exchange.fail(error.clone());
                    while let Ok(exchange) = self.requests.try_recv() {
                        exchange.fail(error.clone());
                    }
                }
            }
        }
    }

    fn backing_off(&self) -> Option<PeerError> {
        let failures = self.failures.as_ref()?;
        let wait = failures.until.saturating_duration_since(Instant::now());
        if wait.is_zero() || failures.wakes != self.wakes.load(Ordering::Relaxed) {
            return None;
        }
        Some(PeerError::BackingOff {
            target: self.target.to_string(),
            wait,
            failures: failures.count,
            last: Box::new(failures.last.clone()),
        })
    }

    fn note_failure(&mut self, last: PeerError) {
        let count = self
            .failures
            .as_ref()
            .map_or(1, |failures| failures.count.saturating_add(1));
        let factor = 1u32 << (count - 1).min(16);
        let wait = self
            .options
            .back_off_floor
            .saturating_mul(factor)
            .min(self.options.back_off_cap);
        self.failures = Some(Failures {
            count,
            until: Instant::now() + wait,
            wakes: self.wakes.load(Ordering::Relaxed),
            last,
        });
    }

    async fn connect(&self) -> Result<Socket, PeerError> {
        let after = self.options.connect_timeout;
        match tokio::time::timeout(after, self.dial()).await {
            Ok(result) => result,
            Err(_) => Err(PeerError::Unreachable {
                target: self.target.to_string(),
                source: Arc::new(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("not connected within {after:?}"),
                )),
            }),
        }
    }

    async fn dial(&self) -> Result<Socket, PeerError> {
        let target = &self.target;
        if let How::Quic(dialler) = &self.how {
            return Ok(Socket::Quic(Box::new(dialler.dial(target).await?)));
        }
        let tcp = self.dial_tcp().await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => PeerError::Refused {
                target: target.to_string(),
            },
            _ => PeerError::Unreachable {
                target: target.to_string(),
                source: Arc::new(error),
            },
        })?;
        let How::Tls(tls, trust) = &self.how else {
            return Ok(Socket::Tcp(tcp));
        };
        let name = trust.server_name(target.addr.ip());
        let tls = TlsConnector::from(tls.clone())
            .connect(name, tcp)
            .await
            .map_err(|error| {
                let target = target.to_string();
                let wrong = error
                    .get_ref()
                    .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                    .and_then(WrongPin::find);
                match wrong {
                    Some(source) => PeerError::WrongPin { target, source },
                    None => PeerError::Tls {
                        target,
                        source: Arc::new(error),
                    },
                }
            })?;
        Ok(Socket::Tls(Box::new(tls)))
    }

    async fn dial_tcp(&self) -> io::Result<TcpStream> {
        let socket = match self.target.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.target.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(self.target.addr).await?;
        // A request is one write; waiting for more would delay it by the peer's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Uses an open connection until it ends.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&mut self, socket: S, first: Exchange) {
        self.failures = None;
        let mut open = OpenConnection::new(&self.target);
        open.take(first);
        let end = open
            .drive(socket, &mut self.requests, self.options.idle)
            .await;
        open.fail_all(end);
    }
}

enum Socket {
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Quic(Box<Quic>),
}

impl Exchange {
    /// Says that there will be no answer. Who has no room for it in the channel finds the channel closed instead.
    pub(super) fn fail(self, error: PeerError) {
        // An error here means that nobody waits any more.
        let _ = self.replies.try_send(Err(error));
    }
}

/// The IDs in use on a connection.
#[derive(Debug, Default)]
pub(super) struct Ids(Mutex<HashSet<u16>>);

/// An ID in use, free again when this is dropped.
pub(super) struct Id {
    pub(super) value: u16,
    ids: Arc<Ids>,
}

impl Id {
    fn allocate(ids: &Arc<Ids>) -> Option<Self> {
        let mut used = ids.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_IDS {
            return None;
        }
        let mut value = random_id();
        // Far fewer are in use than there are, so that this ends soon.
        while !used.insert(value) {
            value = value.wrapping_add(1);
        }
        Some(Self {
            value,
            ids: ids.clone(),
        })
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        self.ids
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.value);
    }
}

/// An ID that nobody can guess.
pub(super) fn random_id() -> u16 {
    match getrandom::u32() {
        Ok(random) => random as u16,
        // Without randomness from the system TLS would not work either; what is left protects against accidents.
        Err(_) => Instant::now().elapsed().subsec_nanos() as u16,
    }
}

/// Requests that wait for the socket; those who come then wait in line.
const QUEUE: usize = 64;
/// IDs in use at once, those in the queue included.
const MAX_IDS: usize = 8192;
/// Messages of a transfer that are read before they are used.
const READ_AHEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of which more than one message may come, and whether its answer is whole.
    fn exchange(ids: &Arc<Ids>, finished: bool) -> Exchange {
        let (replies, _) = mpsc::channel(1);
        Exchange {
            id: Id::allocate(ids).unwrap(),
            message: vec![0; 12],
            replies,
            many: true,
            finished: Arc::new(AtomicBool::new(finished)),
        }
    }

    fn target() -> Target {
        Target {
            addr: "192.0.2.1:53".parse().unwrap(),
            source: None,
            transport: Transport::Tcp,
            tsig: None,
        }
    }

    #[tokio::test]
    async fn transfers_that_are_over_do_not_keep_a_connection_from_the_next_ones() {
        let (ids, target) = (Arc::default(), target());
        let mut open = OpenConnection::new(&target);
        for _ in 0..10_000 {
            assert!(!open.is_full());
            open.take(exchange(&ids, true));
        }
        // Those that are not over do, from a bound on.
        let mut open = OpenConnection::new(&target);
        let taken = (0..1000).take_while(|_| {
            let room = !open.is_full();
            if room {
                open.take(exchange(&ids, false));
            }
            room
        });
        assert_eq!(taken.count(), crate::peer::open::MAX_PENDING);
    }
}
