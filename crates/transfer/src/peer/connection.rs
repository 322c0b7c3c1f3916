//! One connection to a server, TCP or TLS, opened when needed, and the task that owns its socket.
//!
//! ```text
//!  Asleep ── request ──▶ Connecting ── ok ──▶ Open ── idle, closed, broken ──▶ Asleep
//!    ▲                       └── failed ──▶ left alone for a while ──┘
//! ```

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{Options, PeerError, Target};
use crate::message::{HEADER_LEN, Header, set_id};
use crate::tls::WrongPin;
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

/// A request on its way to the task that owns the socket.
struct Exchange {
    id: Id,
    message: Vec<u8>,
    replies: mpsc::Sender<Result<Vec<u8>, PeerError>>,
    /// Whether the answer may have many messages.
    many: bool,
    finished: Arc<AtomicBool>,
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
    pub(super) fn new(
        target: Arc<Target>,
        tls: Option<Arc<rustls::ClientConfig>>,
        options: Options,
    ) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        let wakes = Arc::new(AtomicU64::new(0));
        let owner = Owner {
            target: target.clone(),
            tls,
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
        let number = id.value;
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
    tls: Option<Arc<rustls::ClientConfig>>,
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
        let tcp = self.dial_tcp().await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => PeerError::Refused {
                target: target.to_string(),
            },
            _ => PeerError::Unreachable {
                target: target.to_string(),
                source: Arc::new(error),
            },
        })?;
        let Some(tls) = &self.tls else {
            return Ok(Socket::Tcp(tcp));
        };
        let name = ServerName::IpAddress(target.addr.ip().into());
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
        let mut open = OpenConnection {
            target: &self.target,
            pending: HashMap::new(),
            incoming: BytesMut::with_capacity(READ_BUFFER),
            outgoing: BytesMut::new(),
            unflushed: false,
            received: 0,
            last_received: Instant::now(),
        };
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
}

/// Why an open connection ended.
enum End {
    /// Nobody needed it.
    Idle,
    /// The other side closed it, orderly or not.
    Closed(Option<io::Error>),
    /// The other side broke the protocol.
    Protocol(&'static str),
    /// A request was not answered and nothing else came either.
    Silent,
}

struct OpenConnection<'a> {
    target: &'a Target,
    pending: HashMap<u16, Pending>,
    incoming: BytesMut,
    outgoing: BytesMut,
    unflushed: bool,
    /// How many messages have come.
    received: u64,
    last_received: Instant,
}

struct Pending {
    exchange: Exchange,
    sent: Instant,
    /// Whether other answers had come before it was sent.
    reused: bool,
    answered: bool,
}

impl OpenConnection<'_> {
    fn take(&mut self, mut exchange: Exchange) {
        let message = std::mem::take(&mut exchange.message);
        self.outgoing
            .extend_from_slice(&(message.len() as u16).to_be_bytes());
        self.outgoing.extend_from_slice(&message);
        self.unflushed = true;
        let pending = Pending {
            sent: Instant::now(),
            reused: self.received > 0,
            answered: false,
            exchange,
        };
        self.pending.insert(pending.exchange.id.value, pending);
    }

    async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: S,
        requests: &mut mpsc::Receiver<Exchange>,
        idle: Duration,
    ) -> End {
        let (mut reader, mut writer) = tokio::io::split(socket);
        let mut last_used = Instant::now();
        let mut next_sweep = Instant::now() + SWEEP;
        let mut asked_for_all = false;
        loop {
            let wake = match self.pending.is_empty() {
                true => last_used + idle,
                false => next_sweep,
            };
            tokio::select! {
                request = requests.recv(), if self.pending.len() < MAX_PENDING && !asked_for_all => {
                    match request {
                        Some(exchange) => self.take(exchange),
                        None => asked_for_all = true,
                    }
                    last_used = Instant::now();
                }
                result = push(&mut writer, &mut self.outgoing), if self.unflushed => {
                    match result {
                        Ok(flushed) => self.unflushed = !flushed,
                        Err(error) => return End::Closed(Some(error)),
                    }
                }
                result = reader.read_buf(&mut self.incoming) => {
                    match result {
                        Ok(0) => return End::Closed(None),
                        Ok(_) => {}
                        Err(error) => return End::Closed(Some(error)),
                    }
                    last_used = Instant::now();
                    if let Some(end) = self.deliver().await {
                        return end;
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if self.pending.is_empty() {
                        return End::Idle;
                    }
                    next_sweep = Instant::now() + SWEEP;
                    if let Some(end) = self.sweep() {
                        return end;
                    }
                }
            }
            if asked_for_all && self.pending.is_empty() {
                return End::Idle;
            }
        }
    }

    /// Hands the messages that are whole to those who wait for them.
    async fn deliver(&mut self) -> Option<End> {
        loop {
            let Some(len) = self.incoming.first_chunk::<2>() else {
                break;
            };
            let len = u16::from_be_bytes(*len) as usize;
            if len < HEADER_LEN {
                return Some(End::Protocol("a message shorter than a header"));
            }
            if self.incoming.len() < 2 + len {
                break;
            }
            self.incoming.advance(2);
            let message = self.incoming.split_to(len).to_vec();
            self.received += 1;
            self.last_received = Instant::now();
            let Some(header) = Header::read(&message) else {
                return Some(End::Protocol("a message shorter than a header"));
            };
            let Some(pending) = self.pending.get_mut(&header.id) else {
                return Some(End::Protocol("an answer to nothing that was asked"));
            };
            pending.answered = true;
            let many = pending.exchange.many;
            let taken = pending.exchange.replies.send(Ok(message)).await.is_ok();
            if many && !taken {
                // More of a transfer that was refused or is over: closing is the one way to stop it.
                return Some(End::Closed(None));
            }
            if !many {
                self.pending.remove(&header.id);
            }
        }
        // So that the buffer does not keep growing at its front.
        if self.incoming.is_empty() {
            self.incoming.reserve(READ_BUFFER);
        }
        None
    }

    /// Forgets those who are served or gone. A request that was given up while nothing at all came since it was sent
    /// shows that the connection is dead.
    fn sweep(&mut self) -> Option<End> {
        let last_received = self.last_received;
        let mut silent = false;
        self.pending.retain(|_, pending| {
            if !pending.exchange.replies.is_closed() {
                return true;
            }
            if pending.exchange.finished.load(Ordering::Acquire) {
                return false;
            }
            silent |= !pending.answered && pending.sent > last_received;
            // The ID stays taken while a late answer may come.
            pending.sent.elapsed() < KEEP_ID
        });
        silent.then_some(End::Silent)
    }

    fn fail_all(&mut self, end: End) {
        let target = self.target.to_string();
        let (source, protocol) = match end {
            End::Idle | End::Silent => (None, None),
            End::Closed(source) => (source.map(Arc::new), None),
            End::Protocol(what) => (None, Some(what)),
        };
        for (_, pending) in self.pending.drain() {
            let error = match protocol {
                Some(what) => PeerError::Protocol {
                    target: target.clone(),
                    what: what.into(),
                },
                None => PeerError::Closed {
                    target: target.clone(),
                    source: source.clone(),
                    reused: pending.reused && !pending.answered,
                },
            };
            pending.exchange.fail(error);
        }
    }
}

/// Writes some of what waits, or flushes when nothing does; returns whether all is on its way. May be dropped while it
/// waits, without losing or repeating anything.
async fn push<W: AsyncWrite + Unpin>(writer: &mut W, outgoing: &mut BytesMut) -> io::Result<bool> {
    if !outgoing.has_remaining() {
        writer.flush().await?;
        return Ok(true);
    }
    match writer.write_buf(outgoing).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(false),
    }
}

impl Exchange {
    /// Says that there will be no answer. Who has no room for it in the channel finds the channel closed instead.
    fn fail(self, error: PeerError) {
        // An error here means that nobody waits any more.
        let _ = self.replies.try_send(Err(error));
    }
}

/// The IDs in use on a connection.
#[derive(Debug, Default)]
struct Ids(Mutex<HashSet<u16>>);

/// An ID in use, free again when this is dropped.
struct Id {
    value: u16,
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
/// Requests under way on one connection.
const MAX_PENDING: usize = 256;
/// IDs in use at once, those in the queue included.
const MAX_IDS: usize = 8192;
/// Messages of a transfer that are read before they are used.
const READ_AHEAD: usize = 8;
/// Octets that are read at once.
const READ_BUFFER: usize = 64 * 1024;
/// How often those are looked for who have gone.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a late answer may take without being taken for another one's.
const KEEP_ID: Duration = Duration::from_secs(120);
