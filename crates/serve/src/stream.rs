//! TCP (RFC 7766) and TLS (RFC 7858, RFC 9103): messages on connections, each after its length in two octets.
//!
//! One task a connection. Plain queries are answered as they are read; what goes to the handler is answered when it is
//! ready, in between (RFC 7766 §6.2.1.1). While the client does not read, nothing more is read from it, so that memory
//! is bounded by one message in, one chunk of answers out, and a few messages of the handler.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};
use zonemesh_zone::Name;

pub(crate) use self::connections::Slot;
pub use self::connections::{Connections, StreamLimits};
use crate::answer::{Kind, Outcome, Workspace, answer_about};
use crate::clock::{Moment, since_boot};
use crate::handler::{Client, Handler, Request, Responder, Transport};
use crate::metrics::ConnectionEvent;
use crate::zoneset::Shared;

mod connections;

/// Answers are collected up to this before they are written: as many messages of a transfer as wait for the connection.
const CHUNK: usize = 64 * 1024;
/// What a connection that has nothing to write keeps for it.
const KEEP: usize = 16 * 1024;
/// How much is read at once.
const READ: usize = 2048;
/// How many messages of the handler wait for the connection.
const QUEUE: usize = 16;
/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener for connections, on tokio.
pub struct StreamServer {
    addr: SocketAddr,
    running: Running,
}

/// Answers on the connections of a listener, which [`crate::bind::tcp`] has opened; with TLS if its configuration is
/// given. Must be called on a tokio runtime. Listeners that share `connections` share its limits.
///
/// # Errors
///
/// When tokio cannot take the listener over.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: &Arc<Shared>,
    handler: &Handler,
    connections: &Arc<Connections>,
) -> io::Result<StreamServer> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let addr = listener.local_addr()?;
    let (stop, stopping) = watch::channel(false);
    let server = Server {
        tls: tls.map(TlsAcceptor::from),
        shared: Arc::clone(shared),
        handler: Arc::clone(handler),
        connections: Arc::clone(connections),
        stopping,
    };
    let task = tokio::spawn(accept(listener, Arc::new(server)));
    Ok(StreamServer {
        addr,
        running: Running { stop, task },
    })
}

/// The task that accepts connections; it ends with this.
pub(crate) struct Running {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    /// Has it accept no more, and waits up to `grace` for answers that are due; then aborts it.
    pub(crate) async fn stop(mut self, grace: Duration) {
        // Nobody to tell is as good as all told.
        self.stop.send_replace(true);
        if timeout(grace, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.task.abort();
    }
}

impl StreamServer {
    /// The address that is listened on, with the port that the system has chosen if none was given.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more connections, and waits up to `grace` for answers that are due; then closes all connections.
    pub async fn stop(self, grace: Duration) {
        self.running.stop(grace).await;
    }
}

struct Server {
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    handler: Handler,
    connections: Arc<Connections>,
    stopping: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    // Aborted with this task, when it is.
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                note_panic(ended);
                continue;
            }
            () = stopped(&mut stopping) => break,
        };
        let metrics = &server.shared.metrics;
        match accepted {
            Ok((stream, peer)) => match server.connections.admit(peer.ip(), metrics) {
                Some(slot) => {
                    metrics.connection(ConnectionEvent::Accepted);
                    tasks.spawn(converse(stream, peer, slot, Arc::clone(&server)));
                }
                None => metrics.connection(ConnectionEvent::Refused),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = tasks.join_next().await {
        note_panic(ended);
    }
}

/// A defect in one connection ends that connection alone; but it is one.
pub(crate) fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the task of a connection has panicked; the others go on");
    }
}

/// Waits for the order to stop, or for the end of whoever could give it.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn converse(stream: TcpStream, peer: SocketAddr, slot: Slot, server: Arc<Server>) {
    // Answers are written whole; waiting for more to send would only delay them. Without it they come all the same.
    drop(stream.set_nodelay(true));
    let mut client = Client {
        addr: peer,
        transport: Transport::Tcp,
        pin: None,
    };
    let ended = match &server.tls {
        None => Connection::new(stream, client, slot, &server).run().await,
        Some(tls) => {
            let limit = server.connections.limits().handshake_timeout;
            let stream = tokio::select! {
                stream = timeout(limit, tls.accept(stream)) => stream,
                () = slot.evicted() => return,
            };
            match stream {
                Ok(Ok(stream)) => {
                    client.transport = Transport::Tls;
                    let certificate = stream
                        .get_ref()
                        .1
                        .peer_certificates()
                        .and_then(|chain| chain.first());
                    client.pin = certificate.and_then(|certificate| pin(certificate));
                    Connection::new(stream, client, slot, &server).run().await
                }
                Ok(Err(error)) => {
                    server.shared.metrics.connection(ConnectionEvent::TlsFailed);
                    tracing::debug!(%peer, %error, "TLS handshake failed");
                    return;
                }
                Err(_) => Err(Ended::TimedOut),
            }
        }
    };
    match ended {
        Ok(()) | Err(Ended::Io) => {}
        Err(Ended::TimedOut) => server.shared.metrics.connection(ConnectionEvent::TimedOut),
    }
}

/// SHA-256 of the SubjectPublicKeyInfo of a certificate.
pub fn pin(certificate: &[u8]) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate.subject_pki.raw;
    digest::digest(&digest::SHA256, key)
        .as_ref()
        .try_into()
        .ok()
}

/// Why a connection ended before its time.
enum Ended {
    /// The client is gone.
    Io,
    /// It was silent for too long, or did not read.
    TimedOut,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        // Clients come and go as they like; there is nothing to be done about how they do it.
        Self::Io
    }
}

struct Connection<'s, S> {
    stream: S,
    client: Client,
    slot: Slot,
    server: &'s Server,
    input: BytesMut,
    /// One answer.
    reply: Vec<u8>,
    /// Answers with their lengths, to be written.
    output: Vec<u8>,
    /// Messages of the handler.
    sender: mpsc::Sender<Vec<u8>>,
    messages: mpsc::Receiver<Vec<u8>>,
    /// One for each message that may be with the handler.
    permits: Arc<Semaphore>,
}

/// What is to be done after all that was read has been looked at.
enum Next {
    Read,
    /// There is a message for the handler, who has as many as is allowed.
    WaitForHandler,
    Close,
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> Connection<'s, S> {
    fn new(stream: S, client: Client, slot: Slot, server: &'s Server) -> Self {
        let (sender, messages) = mpsc::channel(QUEUE);
        let permits = Arc::new(Semaphore::new(server.connections.limits().outstanding));
        Self {
            stream,
            client,
            slot,
            server,
            input: BytesMut::new(),
            reply: Vec::new(),
            output: Vec::new(),
            sender,
            messages,
            permits,
        }
    }

    async fn run(mut self) -> Result<(), Ended> {
        let mut stopping = self.server.stopping.clone();
        let all = self.server.connections.limits().outstanding as u32;
        let mut deadline = Instant::now() + self.idle_timeout();
        let mut reading = true;
        loop {
            let before = self.input.len();
            let next = self.answer_input().await?;
            if self.input.len() < before {
                self.slot.touch();
                deadline = Instant::now() + self.idle_timeout();
            }
            self.flush().await?;
            let blocked = match next {
                Next::Close => return self.close().await,
                Next::WaitForHandler => true,
                Next::Read => false,
            };
            let permits = Arc::clone(&self.permits);
            let busy = permits.available_permits() < all as usize;
            self.slot.set_busy(busy);
            if !busy {
                // A large answer must not hold its memory for the life of the connection.
                self.output.shrink_to(KEEP);
            }
            tokio::select! {
                () = self.slot.evicted() => return self.leave().await,
                Some(message) = self.messages.recv() => {
                    self.push_message(&message);
                    while let Ok(message) = self.messages.try_recv() {
                        self.push_message(&message);
                        self.flush_if_long().await?;
                    }
                    self.flush().await?;
                    self.slot.touch();
                    deadline = Instant::now() + self.idle_timeout();
                }
                _ = permits.acquire(), if blocked => {}
                // All that the handler had is answered, and no more can come.
                _ = permits.acquire_many(all), if !reading && !blocked => {
                    while let Ok(message) = self.messages.try_recv() {
                        self.push_message(&message);
                        self.flush_if_long().await?;
                    }
                    self.flush().await?;
                    return self.close().await;
                }
                read = self.stream.read_buf(&mut self.input), if reading && !blocked => {
                    // After its end of sending, a client still gets the answers that are due.
                    reading = read? > 0;
                }
                () = stopped(&mut stopping), if reading => reading = false,
                () = tokio::time::sleep_until(deadline) => {
                    if permits.available_permits() == all as usize {
                        self.close().await?;
                        return Err(Ended::TimedOut);
                    }
                    deadline = Instant::now() + self.idle_timeout();
                }
            }
        }
    }

    fn idle_timeout(&self) -> Duration {
        self.server.shared.settings.load().idle_timeout
    }

    /// Answers all whole messages that were read.
    async fn answer_input(&mut self) -> Result<Next, Ended> {
        while let Some(len) = self.input.first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len));
            if self.input.len() < len + 2 {
                // As it comes, not as it is announced: who announces much and sends little costs little.
                self.input.reserve((len + 2 - self.input.len()).min(READ));
                break;
            }
            let message = &self.input[2..len + 2];
            let (client, reply) = (&self.client, &mut self.reply);
            let shared = &self.server.shared;
            let answered = Answered::of(message, client, shared, reply);
            let outcome = answered.outcome;
            let permit = match outcome {
                Outcome::Control => match Arc::clone(&self.permits).try_acquire_owned() {
                    Ok(permit) => Some(permit),
                    Err(_) => return Ok(Next::WaitForHandler),
                },
                _ => None,
            };
            // Not before: what waits for a place is looked at once more.
            answered.count(message, client, shared, reply);
            if let Some(permit) = permit {
                let request = Request {
                    message: self.input.split_to(len + 2).freeze().slice(2..),
                    client: self.client.clone(),
                };
                let responder = Responder::stream(self.sender.clone(), permit);
                (self.server.handler)(request, responder);
            } else {
                self.input.advance(len + 2);
            }
            match outcome {
                Outcome::Reply => {
                    push_framed(&mut self.output, &self.reply);
                    self.flush_if_long().await?;
                }
                Outcome::Drop | Outcome::Control => {}
                Outcome::Close => return Ok(Next::Close),
            }
        }
        if self.input.is_empty() {
            self.input.reserve(READ);
        }
        Ok(Next::Read)
    }

    fn push_message(&mut self, message: &[u8]) {
        push_framed(&mut self.output, message);
    }

    async fn flush_if_long(&mut self) -> Result<(), Ended> {
        match self.output.len() < CHUNK {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.output.is_empty() {
            return Ok(());
        }
        let limit = self.server.connections.limits().write_timeout;
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let written = tokio::select! {
            written = timeout(limit, write) => written,
            // Whoever does not read must not keep the room that it has to make.
            () = self.slot.evicted() => return Err(Ended::Io),
        };
        match written {
            Ok(written) => written?,
            Err(_) => return Err(Ended::TimedOut),
        }
        self.output.clear();
        Ok(())
    }

    /// Says goodbye if that goes at once: others wait for the room.
    async fn leave(&mut self) -> Result<(), Ended> {
        // A time-out of nothing still tries once.
        match timeout(Duration::ZERO, self.stream.shutdown()).await {
            Ok(closed) => Ok(closed?),
            Err(_) => Ok(()),
        }
    }

    /// Says goodbye, which TLS wants said.
    async fn close(&mut self) -> Result<(), Ended> {
        let limit = self.server.connections.limits().write_timeout;
        match timeout(limit, self.stream.shutdown()).await {
            Ok(closed) => Ok(closed?),
            Err(_) => Err(Ended::TimedOut),
        }
    }
}

/// What became of a message on a connection.
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    /// The type that it asks for.
    qtype: u16,
    /// The zone that it asks about, and the kind of answer, where that is counted.
    zone: Option<(Name, Kind)>,
    /// When it was looked at, as [`since_boot`] has it.
    began: Duration,
}

impl Answered {
    /// Answers a message into a buffer, whose old contents are lost.
    pub(crate) fn of(
        message: &[u8],
        client: &Client,
        shared: &Shared,
        reply: &mut Vec<u8>,
    ) -> Self {
        let now = Moment::now();
        let workspace = &mut Workspace::default();
        shared.view(now, |view| {
            let (outcome, about) = answer_about(workspace, message, client, view, reply);
            Self {
                outcome,
                qtype: about.qtype,
                zone: about
                    .zone(view, &workspace.question)
                    .map(|served| (served.apex.clone(), about.kind)),
                began: now.since_boot,
            }
        })
    }

    /// Counts it, with its answer.
    pub(crate) fn count(&self, message: &[u8], client: &Client, shared: &Shared, reply: &[u8]) {
        let transport = client.transport;
        shared.metrics.local_and_zones(|counters, zones| {
            counters.received(transport, message, self.qtype, self.outcome);
            if self.outcome == Outcome::Reply {
                counters.reply(transport, reply);
                counters.took(transport, since_boot().saturating_sub(self.began), 1);
            }
            if let Some((apex, kind)) = &self.zone {
                zones.count(apex, *kind, true);
            }
        });
    }
}

/// Appends a message after its length. One that is longer than a length can say was never a message.
pub(crate) fn push_framed(output: &mut Vec<u8>, message: &[u8]) {
    match u16::try_from(message.len()) {
        Ok(len) => {
            output.extend_from_slice(&len.to_be_bytes());
            output.extend_from_slice(message);
        }
        Err(_) => tracing::error!(
            octets = message.len(),
            "a message of more than 65535 octets cannot be sent"
        ),
    }
}
