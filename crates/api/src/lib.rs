//! Control socket, HTTP API and metrics: what a running site is asked, and how.
//!
//! * [`types`]: requests and answers, plain serde data. Their JSON is a promise (see `docs/reference/api.md`): fields
//!   are added, never renamed or removed, within one [`types::SCHEMA`].
//! * [`site::Site`]: one method a request; the engine implements it, this crate knows nothing of its insides.
//! * [`caller`]: who asks at the control socket.
//! * [`server`]: `/v1/…` on the Unix control socket, and the harmless part of it on TCP.
//! * [`client`]: the other end of the control socket, used by the command line.
//! * [`metrics`]: how numbers become OpenMetrics text.
//!
//! There is deliberately no authentication here: who may open the control socket is decided by file permissions, and
//! the TCP side offers nothing that changes anything.

pub mod caller;
pub mod client;
pub mod error;
pub mod metrics;
pub mod server;
pub mod site;
pub mod types;

pub use self::caller::Caller;
pub use self::client::Client;
pub use self::error::{ApiError, ErrorKind};
pub use self::site::{Reply, Site};
