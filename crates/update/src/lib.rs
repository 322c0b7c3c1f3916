//! Who may change what: dynamic updates (RFC 2136) and the policy that decides about them.
//!
//! [`message`] reads and writes UPDATE messages, [`mod@apply`] carries one out on a version of a zone, [`policy`] says who
//! may, by key, certificate and address; [`directory`] says what a site may do to the directory, and [`request`] makes
//! the updates that sites send.
//!
//! Nothing here knows sockets, TSIG or the store: who asks is given as an [`Identity`] that someone else has proven, the
//! serial of the new version is the caller's, and nothing is acknowledged before the caller has made it durable.

pub mod apply;
pub mod directory;
#[doc(hidden)]
pub mod fuzz;
pub mod message;
pub mod policy;
pub mod request;

pub use self::apply::{Applied, Refusal, apply};
pub use self::directory::{DirectoryPolicy, SiteIdentity};
pub use self::message::{Change, MessageError, Prerequisite, TooLarge, Update};
pub use self::policy::{Authority, Denial, Everything, Identity, Names, Policy, Rule, Types, Who};
