//! What a zone is: names, RRsets, immutable zone versions, zone files, differences, and the catalog and the
//! directory as typed views of a zone.
//!
//! Nothing here touches a disk, a socket, a clock or a source of randomness; what the outside knows is an argument.
//! The types of the `domain` crate that the product uses are re-exported here, so that an upgrade has one door.

pub mod author;
pub mod catalog;
pub mod check;
pub mod diff;
pub mod digest;
pub mod directory;
pub mod file;
pub mod finding;
#[doc(hidden)]
pub mod fuzz;
pub mod inventory;
pub mod key;
pub mod node;
pub mod record;
pub mod rrset;
pub mod serial;
pub mod sought;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod txt;
pub mod version;

pub use bytes::Bytes;
pub use domain;
pub use domain::base::Ttl;
pub use domain::base::iana::{Class, Rcode, Rtype};

pub use self::author::{Author, By};
pub use self::diff::{ApplyError, Diff};
pub use self::digest::Digest;
pub use self::finding::{Finding, Severity};
pub use self::key::{Key, OwnedKey};
pub use self::node::Node;
pub use self::record::{Record, RecordError, Soa, SoaNumbers};
pub use self::rrset::{Rrset, RrsetRef};
pub use self::serial::{Serial, SerialExt};
pub use self::sought::Sought;
pub use self::tree::Tree;
pub use self::version::{Editor, NameRef, Zone, ZoneError};

/// An absolute domain name in wire format; case is kept, comparison ignores it (RFC 1035 §2.3.3).
///
/// `Ord` is the canonical order of RFC 4034 §6.1.
pub type Name = domain::base::Name<Bytes>;
