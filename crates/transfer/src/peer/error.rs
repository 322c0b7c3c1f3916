//! Why a peer gave no good answer, or no good transfer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use zonemesh_zone::{Name, Rcode};

use crate::inbound::TransferError;
use crate::query::Because;
use crate::tls::WrongPin;
use crate::tsig::TsigError;

/// Why a peer gave no good answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It cannot be reached.
    #[error("{target} cannot be reached")]
    Unreachable {
        /// The peer.
        target: String,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// Nothing listens there.
    #[error("{target} refuses connections: nothing listens there")]
    Refused {
        /// The peer.
        target: String,
    },
    /// It failed a moment ago and is left alone for the time being.
    #[error(
        "{target} is left alone for another {wait:?} after {failures} failures; the last: {last}"
    )]
    BackingOff {
        /// The peer.
        target: String,
        /// How long.
        wait: Duration,
        /// How often connecting has failed in a row.
        failures: u32,
        /// The last failure.
        last: Box<PeerError>,
    },
    /// No answer came in time.
    #[error("no answer from {target} within {after:?}")]
    Timeout {
        /// The peer.
        target: String,
        /// How long was waited.
        after: Duration,
    },
    /// It sends a transfer so slowly that it would hold its place for ever.
    #[error("{target} sent less than {least} octets of the transfer within {within:?}")]
    TooSlow {
        /// The peer.
        target: String,
        /// How many octets must come at the least.
        least: u64,
        /// Within which time.
        within: Duration,
    },
    /// The server there has another key than the one we look for.
    #[error("{target} is not who it should be")]
    WrongPin {
        /// The peer.
        target: String,
        /// What was expected and what it has.
        #[source]
        source: WrongPin,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with {target} failed")]
    Tls {
        /// The peer.
        target: String,
        /// What is wrong.
        #[source]
        source: Arc<io::Error>,
    },
    /// The connection ended before the answer came.
    #[error("{target} closed the connection before it answered")]
    Closed {
        /// The peer.
        target: String,
        /// What the system says, if the end was not orderly.
        #[source]
        source: Option<Arc<io::Error>>,
        /// Whether the connection had been in use before, so that a new one may do better at once.
        reused: bool,
    },
    /// The peer breaks the protocol.
    #[error("{target} broke the protocol: {what}")]
    Protocol {
        /// The peer.
        target: String,
        /// What it did.
        what: String,
    },
    /// The peer says no.
    #[error("{target} answered {rcode}{}", Because(.why))]
    Rcode {
        /// The peer.
        target: String,
        /// What it says.
        rcode: Rcode,
        /// Its extended error, if it has one.
        why: Option<String>,
    },
    /// The signature of an answer is not good, or the peer says so of ours.
    #[error("signatures between us and {target} fail")]
    Tsig {
        /// The peer.
        target: String,
        /// What is wrong.
        #[source]
        source: TsigError,
    },
    /// The request is too long for a message, or too short.
    #[error("a request of {0} octets cannot be sent")]
    RequestSize(usize),
    /// Too many requests are under way to this peer.
    #[error("too many requests to {target} are under way")]
    Busy {
        /// The peer.
        target: String,
    },
}

impl PeerError {
    /// Whether the peer has not been heard at all, so that nothing is known about its zones. Who answers at its address
    /// with another key, or not in TLS, is somebody else.
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Refused { .. }
                | Self::BackingOff { .. }
                | Self::Timeout { .. }
                | Self::Closed { .. }
                | Self::WrongPin { .. }
                | Self::Tls { .. }
        )
    }

    /// Whether the peer may have got the request, and done it, although no answer came that can be believed.
    pub fn may_have_arrived(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Closed { .. } | Self::Protocol { .. } | Self::Tsig { .. }
        )
    }
}

/// Why no transfer was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The peer did not answer as it should.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The transfer was refused for its content.
    #[error("the transfer of {zone} from {target} is not good")]
    Transfer {
        /// The zone.
        zone: Name,
        /// The peer.
        target: String,
        /// What is wrong.
        #[source]
        source: TransferError,
    },
}
