//! The directory: the zone that lists the sites, their addresses and keys, and which site is primary for which zone.
//!
//! ```text
//! _schema                      TXT  "zonemesh=1" ["epoch=2" "writer=site-b" "since=45" "by=site-a"]
//! site-a                       A/AAAA
//! _dns.site-a                  SVCB 1 site-a alpn=dot port=853        RFC 9461; another one for doq
//! _853._tcp.site-a             TLSA 3 1 1 <SHA-256 of the public key> RFC 7671; _udp for doq
//! _site.site-a                 TXT  "role=standard" "engine=zonemesh/0.1.0" ["failure-domain=…"] ["dns-port=…"]
//! standard-1.example._zones    PTR  site-a
//! site-c._removed              TXT  "pin=<hex>" … "at=<seconds since 1970>"
//! standard-2.example._gone     TXT  "at=<seconds since 1970>"
//! ```
//!
//! Reading never fails as a whole: what is wrong with one site becomes a finding, and the others stay visible. The
//! older convention, `<first label of the zone> TXT "<site>"`, is read by [`Directory::read_with_legacy`].
//!
//! What this does not do: decide. Whether a directory is good enough to act upon is the planner's affair.

mod compose;
mod epoch;
mod follow;
mod gone;
mod identity;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

pub use self::compose::{
    Departure, follow_legacy, legacy_records, new_zone, owner_record, promote, remove_owner,
    remove_site, schema_record, set_owner, set_role, tombstone, zone_node,
};
pub use self::epoch::{BadEpoch, Epoch, PAST, Rewritten, Turn};
pub use self::follow::{Changes, OwnerChanges, owner_changes};
pub use self::gone::{
    REMEMBERED_SECS, Unlisted, note as removal_note, note_beside as removal_note_beside,
    remember_removals,
};
pub use self::identity::{BadKeyPin, BadRole, BadSiteName, KeyPin, Role, SiteName};
use crate::{Name, Zone};

/// The directory as it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The zone's name.
    pub apex: Name,
    /// What the directory says about its own form.
    pub schema: Schema,
    /// Which writer this version comes from; the first where that cannot be read, and then the schema is unknown.
    pub epoch: Epoch,
    /// The sites, without those that were removed.
    pub sites: BTreeMap<SiteName, Site>,
    /// Which site is primary for a zone. The site need not be among `sites`: there is a finding then.
    pub owners: BTreeMap<Name, SiteName>,
    /// The tombstones. A site can be here and among `sites`: it was removed and has joined again with another key.
    pub removed: BTreeMap<SiteName, Removed>,
    /// Zones that were taken out one by one, and when: each was meant, however many a site finds missing that was away.
    pub gone: BTreeMap<Name, i64>,
    /// What is wrong, in canonical order of the owner names.
    pub findings: Vec<Finding>,
}

/// The form of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// `zonemesh=1`.
    V1,
    /// There is no `_schema` record: written by hand, or by something older than this convention.
    Absent,
    /// Another one, which must not be acted upon; what was read.
    Unknown(String),
}

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name, one label below the directory's apex.
    pub name: SiteName,
    /// Its addresses, in ascending order.
    pub addresses: Vec<IpAddr>,
    /// The port of DNS over TLS.
    pub dot: Option<u16>,
    /// The port of DNS over QUIC.
    pub doq: Option<u16>,
    /// The port of DNS over UDP and TCP; 53 when there is none.
    pub dns: Option<u16>,
    /// The public keys that it may show, in ascending order.
    pub pins: Vec<KeyPin>,
    /// Its role.
    pub role: Role,
    /// Name and version of what it runs.
    pub engine: String,
    /// What it would die together with.
    pub failure_domain: Option<String>,
}

impl Site {
    /// The port of DNS over UDP and TCP.
    pub fn dns_port(&self) -> u16 {
        self.dns.unwrap_or(53)
    }
}

/// The tombstone of a removed site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The public keys that stay out.
    pub pins: Vec<KeyPin>,
    /// When it was removed, in seconds since 1970.
    pub at: i64,
}

/// Something wrong with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The owner name of the record.
    pub owner: Name,
    /// The site that it concerns.
    pub site: Option<SiteName>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.owner.fmt_with_dot(), self.message)
    }
}

impl Directory {
    /// Reads a directory.
    pub fn read(zone: &Zone) -> Self {
        parse::read(zone, &[])
    }

    /// Reads a directory in which some owners may be given by the older convention, `<first label of the zone> TXT
    /// "<site>"`. The zones must be known to make whole names of the labels; `_zones` records take precedence.
    pub fn read_with_legacy(zone: &Zone, known_zones: &[Name]) -> Self {
        parse::read(zone, known_zones)
    }

    /// One site of a directory, read without the others; none too where something about it has to be looked at.
    pub fn read_site(zone: &Zone, site: &SiteName) -> Option<Site> {
        parse::site_alone(zone, site)
    }

    /// The site that may show this key; `None` when no site or more than one may.
    pub fn site_of_pin(&self, pin: &KeyPin) -> Option<&Site> {
        let mut found = self.sites.values().filter(|site| site.pins.contains(pin));
        match (found.next(), found.next()) {
            (Some(site), None) => Some(site),
            _ => None,
        }
    }

    /// The removed site whose key this was.
    pub fn removed_by_pin(&self, pin: &KeyPin) -> Option<&SiteName> {
        self.removed
            .iter()
            .find(|(_, removed)| removed.pins.contains(pin))
            .map(|(site, _)| site)
    }

    /// Whether a site was removed and has not joined again.
    pub fn is_removed(&self, site: &SiteName) -> bool {
        self.removed.contains_key(site) && !self.sites.contains_key(site)
    }

    /// The zones for which a site is primary.
    pub fn zones_of(&self, site: &SiteName) -> BTreeSet<Name> {
        self.owners
            .iter()
            .filter(|(_, owner)| *owner == site)
            .map(|(zone, _)| zone.clone())
            .collect()
    }

    /// The catalog primary; `None` when there is none or more than one.
    pub fn catalog_primary(&self) -> Option<&Site> {
        let mut found = self
            .sites
            .values()
            .filter(|site| site.role == Role::CatalogPrimary);
        match (found.next(), found.next()) {
            (Some(site), None) => Some(site),
            _ => None,
        }
    }
}

/// A name would be longer than the 255 octets that a domain name may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{prefix}` does not fit below {}: the name would have {octets} octets, 255 are allowed",
    .apex.fmt_with_dot()
)]
pub struct TooLong {
    /// What was to be put in front.
    pub prefix: String,
    /// The directory's name.
    pub apex: Name,
    /// How long the name would be.
    pub octets: usize,
}

#[cfg(test)]
mod tests;
