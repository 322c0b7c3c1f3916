//! A connection of QUIC at work (RFC 9250): a stream for each request, and when to give the connection up.
//!
//! No early data and no resumption: see [`crate::tls`]. What a server sends is read no faster than it is used; its streams
//! do not wait for each other, so that one connection serves questions and transfers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ConnectionError, Endpoint, IdleTimeout, ReadError, ReadExactError, RecvStream, SendStream,
    TransportConfig, VarInt, WriteError,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::Exchange;
use super::open::MAX_PENDING;
use super::{PeerError, Target};
use crate::message::{HEADER_LEN, Header};
use crate::tls::{self, Noted, SiteKey, TlsError, Trust};

/// The codes of RFC 9250 §8.4 that a client ends streams and connections with.
mod codes {
    use quinn::VarInt;

    pub(super) const NO_ERROR: VarInt = VarInt::from_u32(0);
    pub(super) const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
    pub(super) const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
}

/// How much of a stream may be on its way before it is read: a large zone from far away comes at 10 megabytes in 100 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// How much of all streams may be.
const WINDOW: u32 = 16 * STREAM_WINDOW;
/// How long nothing may be heard of a server before it is taken for gone.
const SILENCE: Duration = Duration::from_secs(15);
/// How often a server that says nothing is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    config: quinn::ClientConfig,
    trust: Trust,
    noted: Arc<Noted>,
}

/// An open connection.
pub(super) struct Quic {
    /// Its socket is this connection's alone, and goes with it.
    _endpoint: Endpoint,
    connection: quinn::Connection,
}

impl Dialler {
    pub(super) fn new(key: Option<&SiteKey>, trust: &Trust) -> Result<Self, TlsError> {
        let (tls, noted) = tls::quic_client_config(key, trust)?;
        let tls = QuicClientConfig::try_from(tls)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(WINDOW))
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
            .keep_alive_interval(Some(KEEP_ALIVE))
            .pad_to_mtu(true);
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport));
        Ok(Self {
            config,
            trust: trust.clone(),
            noted,
        })
    }

    pub(super) async fn dial(&self, target: &Target) -> Result<Quic, PeerError> {
        let unreachable = |source: io::Error| PeerError::Unreachable {
            target: target.to_string(),
            source: Arc::new(source),
        };
        let source = target.source.unwrap_or(match target.addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
        let endpoint = Endpoint::client((source, 0).into()).map_err(unreachable)?;
        let name = self.trust.server_name(target.addr.ip());
        let config = self.config.clone();
        let connecting = endpoint
            .connect_with(config, target.addr, &name.to_str())
            .map_err(|error| unreachable(io::Error::other(error)))?;
        // Of an earlier handshake, whose failure nobody waited for.
        self.noted.take();
        match connecting.await {
            Ok(connection) => Ok(Quic {
                _endpoint: endpoint,
                connection,
            }),
            Err(error) => Err(match self.noted.take() {
                Some(source) => PeerError::WrongPin {
                    target: target.to_string(),
                    source,
                },
                None if is_of_tls(&error) => PeerError::Tls {
                    target: target.to_string(),
                    source: Arc::new(io::Error::other(error)),
                },
                None => unreachable(error.into()),
            }),
        }
    }
}

/// Whether it was TLS that failed: RFC 9001 §4.8 has its alerts from 0x100 to 0x1ff.
fn is_of_tls(error: &ConnectionError) -> bool {
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => return false,
    };
    (0x100..0x200).contains(&code)
}

/// What the streams of a connection share.
struct Shared {
    connection: quinn::Connection,
    target: String,
    /// How many messages have come.
    received: AtomicU64,
}

/// What is known about the connection when a stream is over.
enum Verdict {
    Good,
    /// A request was given up, and nothing at all has come since it was sent.
    Silent,
    /// The server breaks the protocol.
    Broken,
}

/// Sends requests and hands out what comes back, until the connection ends.
pub(super) async fn serve(
    quic: Quic,
    target: &Target,
    first: Exchange,
    requests: &mut mpsc::Receiver<Exchange>,
    idle: Duration,
) {
    let shared = Arc::new(Shared {
        connection: quic.connection.clone(),
        target: target.to_string(),
        received: AtomicU64::new(0),
    });
    // Aborted with the task that owns the connection, when it is.
    let mut streams = JoinSet::new();
    streams.spawn(shared.clone().exchange(first));
    let mut last_used = Instant::now();
    let mut asked_for_all = false;
    while !asked_for_all || !streams.is_empty() {
        tokio::select! {
            request = requests.recv(), if streams.len() < MAX_PENDING && !asked_for_all => {
                match request {
                    Some(exchange) => {
                        streams.spawn(shared.clone().exchange(exchange));
                    }
                    None => asked_for_all = true,
                }
            }
            Some(ended) = streams.join_next(), if !streams.is_empty() => match ended {
                Ok(Verdict::Good) => {}
                Ok(Verdict::Silent) => break,
                Ok(Verdict::Broken) => {
                    quic.connection.close(codes::PROTOCOL_ERROR, b"");
                    break;
                }
                Err(error) => {
                    tracing::error!(peer = shared.target, %error, "the task of a request has panicked; the others go on");
                }
            },
            _ = quic.connection.closed() => break,
            () = tokio::time::sleep_until(last_used + idle), if streams.is_empty() => break,
        }
        last_used = Instant::now();
    }
    quic.connection.close(codes::NO_ERROR, b"");
    // Each tells whom it was for why nothing more comes.
    while streams.join_next().await.is_some() {}
}

impl Shared {
    /// Sends a request on a stream of its own and hands on what comes back.
    async fn exchange(self: Arc<Self>, exchange: Exchange) -> Verdict {
        let heard = self.connection.stats().udp_rx.datagrams;
        let reused = self.received.load(Ordering::Relaxed) > 0;
        let opened = tokio::select! {
            opened = self.connection.open_bi() => opened,
            // Nothing was sent, so nothing is missed.
            () = exchange.replies.closed() => return Verdict::Good,
        };
        let (mut send, mut receive) = match opened {
            Ok(streams) => streams,
            Err(error) => {
                exchange.fail(self.closed(error, reused));
                return Verdict::Good;
            }
        };
        let mut answers = 0;
        let attempt = tokio::select! {
            attempt = self.attempt(&exchange, &mut send, &mut receive, &mut answers) => Some(attempt),
            () = exchange.replies.closed() => None,
        };
        let failure = match attempt {
            Some(Ok(())) => return Verdict::Good,
            None => {
                // RFC 9250 §4.3.1. A stream that is over needs neither.
                drop(send.reset(codes::REQUEST_CANCELLED));
                drop(receive.stop(codes::REQUEST_CANCELLED));
                let is_silent = answers == 0
                    && !exchange.finished.load(Ordering::Acquire)
                    && self.connection.stats().udp_rx.datagrams == heard;
                return match is_silent {
                    true => Verdict::Silent,
                    false => Verdict::Good,
                };
            }
            Some(Err(failure)) => failure,
        };
        let (error, verdict) = match failure {
            Failure::Connection(error) => {
                (self.closed(error, reused && answers == 0), Verdict::Good)
            }
            Failure::Stream(code) => {
                let why = format!("the stream ended with {}", name_of(code));
                (self.ended(io::Error::other(why), false), Verdict::Good)
            }
            Failure::Protocol(what) => {
                let target = self.target.clone();
                let what = what.into();
                (PeerError::Protocol { target, what }, Verdict::Broken)
            }
        };
        exchange.fail(error);
        verdict
    }

    async fn attempt(
        &self,
        exchange: &Exchange,
        send: &mut SendStream,
        receive: &mut RecvStream,
        answers: &mut u64,
    ) -> Result<(), Failure> {
        let mut framed = (exchange.message.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&exchange.message);
        match send.write_all(&framed).await {
            // Who wants no more of the question may have answered it.
            Ok(()) | Err(WriteError::Stopped(_)) => {}
            Err(WriteError::ConnectionLost(error)) => return Err(Failure::Connection(error)),
            Err(error) => return Err(Failure::closed(&error)),
        }
        // RFC 9250 §4.2: nothing more comes. One that was stopped is over as it is.
        drop(send.finish());
        while let Some(message) = read(receive).await? {
            let header = Header::read(&message);
            let header = header.ok_or(Failure::Protocol("a message shorter than a header"))?;
            if header.id != 0 {
                return Err(Failure::Protocol("a message ID other than 0 within QUIC"));
            }
            *answers += 1;
            self.received.fetch_add(1, Ordering::Relaxed);
            let taken = exchange.replies.send(Ok(message)).await.is_ok();
            if !exchange.many || !taken {
                drop(receive.stop(codes::REQUEST_CANCELLED));
                return Ok(());
            }
        }
        match *answers {
            0 => Err(Failure::Protocol("a stream that ended without an answer")),
            // Whether all has come, who asked can tell: there will be no more.
            _ => Ok(()),
        }
    }

    fn closed(&self, error: ConnectionError, reused: bool) -> PeerError {
        let error = match &error {
            ConnectionError::ApplicationClosed(close) => {
                let why = String::from_utf8_lossy(&close.reason);
                let name = name_of(close.error_code);
                io::Error::other(format!("it said {name} {why}").trim_end().to_owned())
            }
            _ => error.into(),
        };
        self.ended(error, reused)
    }

    fn ended(&self, source: io::Error, reused: bool) -> PeerError {
        PeerError::Closed {
            target: self.target.clone(),
            source: Some(Arc::new(source)),
            reused,
        }
    }
}

/// Why there is no answer on a stream.
enum Failure {
    Connection(ConnectionError),
    /// The server has reset the stream.
    Stream(VarInt),
    Protocol(&'static str),
}

impl Failure {
    /// What cannot be on a stream that was just opened, and is read by one alone.
    fn closed(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a stream of QUIC was closed by this side");
        Self::Connection(ConnectionError::LocallyClosed)
    }
}

/// The next message; none at the end of the stream.
async fn read(receive: &mut RecvStream) -> Result<Option<Vec<u8>>, Failure> {
    const CUT: Failure = Failure::Protocol("a message that ended before its length");
    let mut len = [0; 2];
    match receive.read_exact(&mut len).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(CUT),
        Err(ReadExactError::ReadError(error)) => return Err(error.into()),
    }
    let len = usize::from(u16::from_be_bytes(len));
    if len < HEADER_LEN {
        return Err(Failure::Protocol("a message shorter than a header"));
    }
    let mut message = vec![0; len];
    match receive.read_exact(&mut message).await {
        Ok(()) => Ok(Some(message)),
        Err(ReadExactError::FinishedEarly(_)) => Err(CUT),
        Err(ReadExactError::ReadError(error)) => Err(error.into()),
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Stream(code),
            ReadError::ConnectionLost(error) => Self::Connection(error),
            error => Self::closed(&error),
        }
    }
}

/// A code as RFC 9250 §8.4 calls it.
fn name_of(code: VarInt) -> String {
    let name = match code.into_inner() {
        0 => "DOQ_NO_ERROR",
        1 => "DOQ_INTERNAL_ERROR",
        2 => "DOQ_PROTOCOL_ERROR",
        3 => "DOQ_REQUEST_CANCELLED",
        4 => "DOQ_EXCESSIVE_LOAD",
        5 => "DOQ_UNSPECIFIED_ERROR",
        other => return format!("code {other:#x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
