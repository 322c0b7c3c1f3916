//! A digest of what a version of a zone contains, kept up from one version to the next in time proportional to the change.
//!
//! It is the sum, modulo 2^128, of a hash of each RRset: an RRset that comes is added, one that goes is taken away, and the order
//! does not matter. Owner names count in lower case, as they are compared (RFC 4343 §3); RDATA counts octet by octet, the
//! SOA with its serial included. Two versions with the same records have the same digest, whatever way they were made.
//!
//! It guards against errors: a difference applied wrongly, a copy that was damaged, two writers who gave the same serial to
//! different contents. It does not guard against anybody who wants two contents to have the same digest: the hash has no secret
//! and a sum can be made up. That is for signatures (ZONEMD, RFC 8976; DNSSEC).

use std::fmt;

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::RrsetRef;

/// The digest of a set of RRsets. See the module's documentation.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// How many octets it has as octets.
    pub const LEN: usize = 16;

    /// The digest of one RRset at an owner name, which is given by its [`Key`](crate::Key).
    pub fn of_rrset(owner: &[u8], set: RrsetRef<'_>) -> Self {
        let kind = u64::from(set.rtype().to_int()) << 32 | u64::from(set.ttl().as_secs());
        let seed = XxHash3_64::oneshot_with_seed(kind, owner);
        Self(XxHash3_128::oneshot_with_seed(seed, set.as_wire()))
    }

    /// With what another digest stands for besides.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Without what another digest stands for, which was part of it.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// As octets, most significant first.
    pub fn to_octets(self) -> [u8; Self::LEN] {
        self.0.to_be_bytes()
    }

    /// From what [`Digest::to_octets`] has made.
    pub fn from_octets(octets: [u8; Self::LEN]) -> Self {
        Self(u128::from_be_bytes(octets))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests;
