//! Moving zones: AXFR, IXFR, NOTIFY, TSIG, TLS, QUIC. Whom to ask and to tell, and when, the core of a site decides.
//!
//! What decides is pure: bytes, events and the time go in, messages and verdicts come out. These modules know neither
//! sockets nor a clock:
//!
//! * [`query`]: requests between servers and simple replies,
//! * [`outbound`]: the messages of an AXFR or IXFR answer,
//! * [`inbound`]: checking such an answer and making a zone version of it,
//! * [`tsig`]: shared-key signatures.
//!
//! What acts is thin: [`tls`] makes the configurations of RFC 9103 with pinned keys, [`peer`] owns connections.

#[doc(hidden)]
pub mod fuzz;
pub mod inbound;
mod message;
pub mod outbound;
pub mod peer;
pub mod query;
pub mod tls;
pub mod tsig;

pub use self::inbound::{Incoming, Step, Transfer, TransferError};
pub use self::outbound::Response;
pub use self::query::{Question, Request};
