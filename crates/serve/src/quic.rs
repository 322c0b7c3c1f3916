//! QUIC (RFC 9250): a stream for each query, in connections that are limited together with those of TCP and TLS.
//!
//! One task a connection and one a stream. A client without a certificate can come back by a ticket, which is good once, and
//! ask in early data (`resumption`). What comes early may be sent again by anybody who has seen it; so it is answered early only if it is
//! a query that anybody may ask, and waits for the end of the handshake otherwise (RFC 9250 §4.5). Who shows a certificate proves its key
//! with each handshake anew, so that a pin that was taken away is of no use from then on. A client
//! keeps its address: what is allowed by address stays so. Packets are padded (RFC 9250 §5.4), and answers too where the
//! query asks for it.
//!
//! Memory is bounded for each connection: by the windows of QUIC for what is on its way, by how many streams there may be,
//! of which only a few may bring more than a common query or wait with an answer, and by the messages of the handler.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{
    ConnectionError, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    RecvStream, SendStream, TokioRuntime, TransportConfig, VarInt, WriteError, ZeroRttAccepted,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::query::{Fault, MOST};
use crate::answer::Outcome;
use crate::handler::{Client, Handler, Request, Responder, Transport};
use crate::message::rcodes;
use crate::metrics::ConnectionEvent;
use crate::stream::{self, Answered, Connections, Running, Slot, note_panic, push_framed, stopped};
use crate::zoneset::Shared;

pub mod query;
mod resumption;

/// The codes of RFC 9250 §8.4 that connections and streams end with.
mod codes {
    use quinn::VarInt;

    pub(super) const NO_ERROR: VarInt = VarInt::from_u32(0);
    pub(super) const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
    pub(super) const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
    pub(super) const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
    pub(super) const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
    pub(super) const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);
}

/// Streams of a connection at a time.
const STREAMS: u32 = 64;
/// What a stream may bring without taking one of the places for large messages.
const COMMON: usize = 1024;
/// How many streams of a connection may bring more than that.
const LARGE: usize = 4;
/// How many answers of a connection may wait for its client to read, without those of the handler.
const ANSWERS: usize = 4;
/// How much of a stream may be on its way before it is read.
const STREAM_WINDOW: u32 = 8 * 1024;
/// How much of all streams may be.
const WINDOW: u32 = 64 * 1024;
/// How much may be on its way to a client before it acknowledges: 10 megabytes a second over 25 ms.
const SEND_WINDOW: u64 = 256 * 1024;
/// The same for members, who transfer large zones, perhaps from far away.
const MEMBER_SEND_WINDOW: u64 = 4 * 1024 * 1024;
/// Connections that wait to be looked at; the client sends again.
const BACKLOG: usize = 256;
/// What those may have sent beyond their first datagram.
const BACKLOG_OCTETS: u64 = 2 * 1024 * 1024;
/// How long nothing may be heard of a client before it is taken for gone.
const SILENCE: Duration = Duration::from_secs(15);
/// How often a client that says nothing is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A listener for QUIC could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// Tokio or QUIC cannot take the socket over.
    #[error("the socket cannot be used for QUIC")]
    Socket(#[from] io::Error),
    /// The configuration of TLS is not fit for QUIC.
    #[error("the TLS configuration cannot be used for QUIC")]
    Tls(#[from] NoInitialCipherSuite),
}

/// A listener for QUIC, on tokio.
pub struct QuicServer {
    addr: SocketAddr,
    running: Running,
}

/// Answers on the connections that come to a socket, which [`crate::bind::quic`] has opened. Must be called on a tokio
/// runtime. Listeners that share `connections` share its limits.
///
/// With the same `secret` after a restart, clients of the last run learn at once that their connections are gone
/// (RFC 9000 §10.3); it must be known to nobody else.
///
/// # Errors
///
/// When the socket cannot be used, or QUIC cannot be spoken with that configuration of TLS.
pub fn serve(
    socket: std::net::UdpSocket,
    tls: Arc<rustls::ServerConfig>,
    secret: &[u8; 32],
    shared: &Arc<Shared>,
    handler: &Handler,
    connections: &Arc<Connections>,
) -> Result<QuicServer, QuicError> {
    let addr = socket.local_addr()?;
    let tls = resumption::with_early_data(Arc::unwrap_or_clone(tls));
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(transport()))
        .migration(false)
        .max_incoming(BACKLOG)
        .incoming_buffer_size_total(BACKLOG_OCTETS);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut endpoint = EndpointConfig::new(Arc::new(key));
    endpoint.cid_generator(|| Box::new(ConnectionIds::default()));
    let endpoint = Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime))?;
    let (stop, stopping) = watch::channel(false);
    let server = Server {
        shared: Arc::clone(shared),
        handler: Arc::clone(handler),
        connections: Arc::clone(connections),
        handshakes: AtomicUsize::new(0),
        stopping,
    };
    let task = tokio::spawn(accept(endpoint, Arc::new(server)));
    Ok(QuicServer {
        addr,
        running: Running { stop, task },
    })
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .pad_to_mtu(true);
    transport
}

/// Random IDs. The usual ones of QUIC have a mark by which a packet for somebody else is known and dropped; but so would be
/// the packets for this server's last run, whose senders are to be told.
#[derive(Default)]
struct ConnectionIds {
    key: RandomState,
    count: u64,
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count += 1;
        ConnectionId::new(&self.key.hash_one(self.count).to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        size_of::<u64>()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

impl QuicServer {
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
    shared: Arc<Shared>,
    handler: Handler,
    connections: Arc<Connections>,
    /// How many handshakes are under way.
    handshakes: AtomicUsize,
    stopping: watch::Receiver<bool>,
}

async fn accept(endpoint: Endpoint, server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    // Aborted with this task, when it is.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => take(incoming, &server, &mut tasks),
                None => break,
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => note_panic(ended),
            () = stopped(&mut stopping) => break,
        }
    }
    endpoint.set_server_config(None);
    while let Some(ended) = tasks.join_next().await {
        note_panic(ended);
    }
    endpoint.close(codes::NO_ERROR, b"");
    endpoint.wait_idle().await;
}

/// Lets a client in, or has it show first that its address is its own, or turns it away.
fn take(incoming: quinn::Incoming, server: &Arc<Server>, tasks: &mut JoinSet<()>) {
    let ip = incoming.remote_address().ip();
    let connections = &server.connections;
    let metrics = &server.shared.metrics;
    if !incoming.remote_address_validated() && incoming.may_retry() {
        let many = server.handshakes.load(Relaxed) >= connections.limits().retry_from;
        if many || connections.is_crowded(ip) {
            // It fails for those only that have done so already.
            drop(incoming.retry());
            return;
        }
    }
    match connections.admit(ip, metrics) {
        Some(slot) => {
            metrics.connection(ConnectionEvent::Accepted);
            tasks.spawn(converse(incoming, slot, Arc::clone(server)));
        }
        None => {
            metrics.connection(ConnectionEvent::Refused);
            incoming.refuse();
        }
    }
}

async fn converse(incoming: quinn::Incoming, slot: Slot, server: Arc<Server>) {
    let addr = incoming.remote_address();
    let Ok(connecting) = incoming.accept() else {
        return;
    };
    // A server has a connection at once, whether something comes early or not.
    let Ok((connection, complete)) = connecting.into_0rtt() else {
        return;
    };
    let limits = server.connections.limits();
    let conversation = Conversation {
        permits: Arc::new(Semaphore::new(limits.outstanding)),
        large: Semaphore::new(LARGE),
        answers: Semaphore::new(ANSWERS),
        anybody: Client {
            addr,
            transport: Transport::Quic,
            pin: None,
        },
        client: watch::Sender::new(None),
        slot,
        server: Arc::clone(&server),
    };
    Arc::new(conversation).run(connection, complete).await;
}

/// A handshake that is counted until this is dropped.
struct Handshake<'s>(&'s Server);

impl<'s> Handshake<'s> {
    fn begin(server: &'s Server) -> Self {
        server.handshakes.fetch_add(1, Relaxed);
        Self(server)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Relaxed);
    }
}

/// A connection at work.
struct Conversation {
    /// Whom early data is answered: who has sent it, and when, is not known.
    anybody: Client,
    /// Who the client is; none until the handshake is complete.
    client: watch::Sender<Option<Client>>,
    slot: Slot,
    server: Arc<Server>,
    /// One for each message that may be with the handler.
    permits: Arc<Semaphore>,
    /// One for each stream that may bring a large message.
    large: Semaphore,
    /// One for each answer that may wait for the client.
    answers: Semaphore,
}

/// Why a whole connection ends because of one stream.
enum Fatal {
    Fault(Fault),
    /// This site must not answer yet: another one shall be asked.
    NotReady,
}

impl Conversation {
    async fn run(self: Arc<Self>, connection: quinn::Connection, complete: ZeroRttAccepted) {
        let mut stopping = self.server.stopping.clone();
        let metrics = &self.server.shared.metrics;
        let mut streams = JoinSet::new();
        let limit = self.server.connections.limits().handshake_timeout;
        let mut complete = pin!(timeout(limit, complete));
        let mut handshake = Some(Handshake::begin(&self.server));
        let mut deadline = Instant::now() + self.idle_timeout();
        let mut taking = true;
        while taking || !streams.is_empty() {
            tokio::select! {
                complete = &mut complete, if handshake.is_some() => match complete {
                    // What it says is for clients alone.
                    Ok(_) => match connection.close_reason() {
                        // Who says goodbye in this way has completed it.
                        None | Some(ConnectionError::ApplicationClosed(_)) => {
                            handshake = None;
                            self.meet(&connection);
                        }
                        Some(_) => return self.failed(&connection),
                    },
                    Err(_) => {
                        metrics.connection(ConnectionEvent::TimedOut);
                        return connection.close(codes::UNSPECIFIED_ERROR, b"");
                    }
                },
                stream = connection.accept_bi(), if taking => match stream {
                    Ok((send, receive)) => {
                        streams.spawn(Arc::clone(&self).answer(send, receive));
                    }
                    Err(_) if handshake.is_some() => return self.failed(&connection),
                    // It has closed the connection, or is gone. What it asked for is for nobody.
                    Err(_) => return,
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(fatal)) => return self.end(&connection, &fatal),
                    Err(error) => note_panic(Err(error)),
                },
                () = self.slot.evicted() => {
                    return connection.close(codes::EXCESSIVE_LOAD, b"making room for others");
                }
                () = stopped(&mut stopping), if taking => taking = false,
                () = tokio::time::sleep_until(deadline) => {
                    if streams.is_empty() {
                        metrics.connection(ConnectionEvent::TimedOut);
                        break;
                    }
                }
                // Its end is seen also where no more streams are taken.
                _ = connection.closed(), if !taking => return,
            }
            self.slot.touch();
            deadline = Instant::now() + self.idle_timeout();
        }
        connection.close(codes::NO_ERROR, b"");
    }

    /// The handshake is complete: it is known who the client is.
    fn meet(&self, connection: &quinn::Connection) {
        let identity = connection.peer_identity();
        let chain = identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let client = Client {
            pin: chain.and_then(|chain| stream::pin(chain.first()?)),
            ..self.anybody.clone()
        };
        let members = self.server.shared.members.load();
        if client.pin.is_some_and(|pin| members.pins.contains(&pin)) {
            connection.set_send_window(MEMBER_SEND_WINDOW);
        }
        self.client.send_replace(Some(client));
    }

    fn failed(&self, connection: &quinn::Connection) {
        let metrics = &self.server.shared.metrics;
        metrics.connection(ConnectionEvent::TlsFailed);
        let error = connection.close_reason().map(tracing::field::display);
        tracing::debug!(peer = %self.anybody.addr, error, "QUIC handshake failed");
    }

    /// The client, as soon as it is known; none when it never will be.
    async fn client(&self) -> Option<Client> {
        let mut known = self.client.subscribe();
        known.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn end(&self, connection: &quinn::Connection, fatal: &Fatal) {
        match fatal {
            Fatal::Fault(fault) => {
                let peer = self.anybody.addr;
                tracing::debug!(%peer, error = %fault, "a client broke the protocol of DNS over QUIC");
                connection.close(codes::PROTOCOL_ERROR, fault.to_string().as_bytes());
            }
            Fatal::NotReady => connection.close(codes::INTERNAL_ERROR, b"not ready"),
        }
    }

    fn idle_timeout(&self) -> Duration {
        self.server.shared.settings.load().idle_timeout
    }

    /// Reads the query of a stream and answers it.
    async fn answer(
        self: Arc<Self>,
        mut send: SendStream,
        mut receive: RecvStream,
    ) -> Result<(), Fatal> {
        let read = timeout(self.idle_timeout(), self.read(&mut receive)).await;
        let stream = match read {
            Ok(Ok(stream)) => stream,
            Ok(Err(Unread::TooLong)) => return Err(Fatal::Fault(Fault::Length)),
            // Who has reset it wants no answer; who leaves it open for so long may ask again.
            Ok(Err(Unread::Gone)) | Err(_) => return reset(send, codes::REQUEST_CANCELLED),
            Ok(Err(Unread::TooMuch)) => {
                drop(receive.stop(codes::EXCESSIVE_LOAD));
                return reset(send, codes::EXCESSIVE_LOAD);
            }
        };
        let len = query::query(&stream).map_err(Fatal::Fault)?.len();
        let message = Bytes::from(stream).slice(2..2 + len);
        let shared = &self.server.shared;
        let mut reply = Vec::new();
        let mut place = self.answers.acquire().await;
        let mut client = self.anybody.clone();
        let mut answered = None;
        if receive.is_0rtt() {
            answered = Some(Answered::of(&message, &client, shared, &mut reply))
                .filter(|answered| may_be_early(answered, &reply));
        }
        let answered = match answered {
            Some(early) => early,
            None => {
                // Who waits for the handshake keeps no answer from others.
                drop(place);
                client = match self.client().await {
                    Some(client) => client,
                    None => return Ok(()),
                };
                place = self.answers.acquire().await;
                Answered::of(&message, &client, shared, &mut reply)
            }
        };
        answered.count(&message, &client, shared, &reply);
        match answered.outcome {
            Outcome::Reply => {
                let mut framed = Vec::with_capacity(reply.len() + 2);
                push_framed(&mut framed, &reply);
                drop(reply);
                if self.write(&mut send, framed).await.is_err() {
                    return reset(send, codes::REQUEST_CANCELLED);
                }
                drop(place);
                self.finish(send).await;
            }
            Outcome::Control => {
                drop(place);
                self.hand_on(message, client, send).await;
            }
            Outcome::Drop => return Err(Fatal::Fault(Fault::NoQuery)),
            Outcome::Close => return Err(Fatal::NotReady),
        }
        Ok(())
    }

    /// Gives a message to the handler, and the client what it answers.
    async fn hand_on(&self, message: Bytes, client: Client, mut send: SendStream) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return;
        };
        let _work = self.slot.work();
        let (sender, mut messages) = mpsc::channel(1);
        let request = Request { message, client };
        (self.server.handler)(request, Responder::stream(sender, permit));
        // The last message goes out with the end of the stream: Knot DNS 3.4 takes no end that comes by itself.
        let mut last = None;
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                // The client wants no more of it.
                _ = send.stopped() => return,
            };
            let Some(message) = message else { break };
            let mut framed = Vec::with_capacity(message.len() + 2);
            push_framed(&mut framed, &message);
            if let Some(before) = last.replace(framed)
                && self.write(&mut send, before).await.is_err()
            {
                drop(reset(send, codes::REQUEST_CANCELLED));
                return;
            }
            self.slot.touch();
        }
        let Some(last) = last else {
            drop(reset(send, codes::UNSPECIFIED_ERROR));
            return;
        };
        match self.write(&mut send, last).await {
            Ok(()) => self.finish(send).await,
            Err(_) => drop(reset(send, codes::REQUEST_CANCELLED)),
        }
    }

    async fn read(&self, receive: &mut RecvStream) -> Result<Vec<u8>, Unread> {
        let mut stream = Vec::new();
        let mut place = None;
        loop {
            let most = MOST + 1 - stream.len();
            let chunk = receive.read_chunk(most, true).await;
            let Some(chunk) = chunk.map_err(|_| Unread::Gone)? else {
                return Ok(stream);
            };
            stream.extend_from_slice(&chunk.bytes);
            if stream.len() > MOST {
                return Err(Unread::TooLong);
            }
            if stream.len() > COMMON && place.is_none() {
                place = Some(self.large.try_acquire().map_err(|_| Unread::TooMuch)?);
            }
        }
    }

    async fn write(&self, send: &mut SendStream, octets: Vec<u8>) -> Result<(), WriteError> {
        let limit = self.server.connections.limits().write_timeout;
        let written = timeout(limit, send.write_chunk(octets.into())).await;
        // Who does not read in that time wants nothing more.
        written.unwrap_or(Err(WriteError::Stopped(codes::REQUEST_CANCELLED)))
    }

    /// Says that this was all, and waits until it has arrived: a connection that is closed takes with it what has not.
    async fn finish(&self, mut send: SendStream) {
        let limit = self.server.connections.limits().write_timeout;
        if send.finish().is_ok() && timeout(limit, send.stopped()).await.is_err() {
            drop(reset(send, codes::REQUEST_CANCELLED));
        }
    }
}

/// Whether this can be said before it is known who asks, as often as the question comes: the answer to a query that anybody may ask. Transfers,
/// NOTIFYs, UPDATEs and whatever is signed are for the handler, and who is refused may be somebody after all.
fn may_be_early(answered: &Answered, reply: &[u8]) -> bool {
    let is_refused = reply
        .get(3)
        .is_none_or(|octet| octet & 15 == rcodes::REFUSED as u8);
    answered.outcome == Outcome::Reply && !is_refused
}

/// Why there is no query on a stream.
enum Unread {
    /// The client has reset it, or is gone.
    Gone,
    /// It is longer than any message.
    TooLong,
    /// Too many of the connection bring large messages at the same time.
    TooMuch,
}

/// Ends a stream without an answer, or in the middle of one. A stream that is dropped would look finished.
fn reset(mut send: SendStream, code: VarInt) -> Result<(), Fatal> {
    // One that is closed already needs no more.
    drop(send.reset(code));
    Ok(())
}
