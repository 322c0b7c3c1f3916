//! The data plane: answering queries from memory over UDP, TCP, TLS and QUIC.
//!
//! A query is answered by code that takes octets and a snapshot and writes octets ([`answer()`]); it neither blocks,
//! locks nor allocates, so that serving depends on memory alone. Sockets are around it: plain threads for UDP
//! ([`udp`]), tokio for TCP and TLS ([`stream`]) and for QUIC ([`quic`]). What is no plain query (AXFR, IXFR, NOTIFY, UPDATE, anything with
//! TSIG) is handed to a [`Handler`], which answers when it likes.
//!
//! Deliberately absent: recursion, zone transfers, signing, access control for transfers and updates, and any change of
//! a zone. The control side publishes [`ZoneSet`]s into [`Shared`]; nothing here ever writes there.

pub mod answer;
mod batch;
pub mod bind;
pub mod clock;
pub mod cookie;
pub mod edns;
#[doc(hidden)]
pub mod fuzz;
pub mod handler;
pub mod lookup;
pub mod message;
pub mod metrics;
pub mod quic;
pub mod rate;
mod reply;
pub mod stream;
mod together;
pub mod udp;
mod writer;
pub mod zoneset;

pub use self::answer::{About, Kind, Outcome, View, Workspace, answer, answer_about};
pub use self::bind::BindError;
pub use self::clock::{Expiry, Moment, since_boot};
pub use self::cookie::CookieSecrets;
pub use self::handler::{Client, Closed, Handler, Request, Responder, Transport};
pub use self::metrics::Metrics;
pub use self::rate::{RateLimiter, RateLimits};
pub use self::zoneset::{Access, Members, Served, Settings, Shared, ZoneSet};
