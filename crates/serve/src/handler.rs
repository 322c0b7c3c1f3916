//! Who asks, and the way out for messages that are no plain queries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::udp::ReplyPath;

/// How a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A stream, in the clear.
    Tcp,
    /// A stream within TLS (RFC 7858).
    Tls,
    /// A stream of its own for each question, within QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Quic];

    /// Its name, for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }

    /// Whether nobody between reads what goes over it, and a client can prove its key by its certificate.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Quic)
    }
}

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it came from.
    pub addr: SocketAddr,
    /// How it came in.
    pub transport: Transport,
    /// SHA-256 of the SubjectPublicKeyInfo of the certificate that the client proved to hold the key of.
    pub pin: Option<[u8; 32]>,
}

impl Client {
    /// The client's address, an IPv4 address in IPv6 clothes unwrapped.
    pub fn ip(&self) -> IpAddr {
        self.addr.ip().to_canonical()
    }
}

/// A message for the control side.
#[derive(Clone, Debug)]
pub struct Request {
    /// The message as it came, without the length that precedes it on a stream. At least a header of 12 octets.
    pub message: Bytes,
    /// Who sent it.
    pub client: Client,
}

/// Takes messages that are no plain queries: AXFR, IXFR, NOTIFY, UPDATE, and all that carry TSIG.
///
/// It is called on the thread that received the message and must return at once; the work is done elsewhere. Dropping
/// the [`Responder`] without having sent anything leaves the client without an answer.
pub type Handler = Arc<dyn Fn(Request, Responder) + Send + Sync>;

/// The client is gone, or its connection was closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection of the client was closed")]
pub struct Closed;

/// Where the answer of a [`Handler`] goes. Dropping it ends the answer.
pub struct Responder(Inner);

enum Inner {
    Stream {
        messages: mpsc::Sender<Vec<u8>>,
        /// One of those that the connection allows to be outstanding; given back on drop.
        _permit: Option<OwnedSemaphorePermit>,
    },
    Datagram(ReplyPath),
}

impl Responder {
    /// On a stream, in the clear, within TLS or of QUIC.
    pub(crate) fn stream(messages: mpsc::Sender<Vec<u8>>, permit: OwnedSemaphorePermit) -> Self {
        Self(Inner::Stream {
            messages,
            _permit: Some(permit),
        })
    }

    pub(crate) fn datagram(path: ReplyPath) -> Self {
        Self(Inner::Datagram(path))
    }

    /// A responder whose messages come out of a channel: for the handler's own tests.
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (messages, receiver) = mpsc::channel(capacity);
        let responder = Self(Inner::Stream {
            messages,
            _permit: None,
        });
        (responder, receiver)
    }

    /// Sends a whole DNS message. On a stream it waits while the client reads slower than we write; over UDP each
    /// message is one datagram, and it is lost like any other when the socket has no room, or when it is one too many for the client's
    /// network ([`crate::rate`]).
    ///
    /// # Errors
    ///
    /// When the client is gone: stop answering.
    pub async fn send(&self, message: Vec<u8>) -> Result<(), Closed> {
        match &self.0 {
            Inner::Stream { messages, .. } => messages.send(message).await.map_err(|_| Closed),
            Inner::Datagram(path) => path.send(message),
        }
    }

    /// The same for those who do not run on tokio. Must not be called within an asynchronous context.
    ///
    /// # Errors
    ///
    /// When the client is gone: stop answering.
    pub fn blocking_send(&self, message: Vec<u8>) -> Result<(), Closed> {
        match &self.0 {
            Inner::Stream { messages, .. } => messages.blocking_send(message).map_err(|_| Closed),
            Inner::Datagram(path) => path.send(message),
        }
    }
}
