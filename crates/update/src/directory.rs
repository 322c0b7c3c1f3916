//! What may be done to the directory by update: each site writes its own records, and nobody else's.
//!
//! | names | types | by |
//! |---|---|---|
//! | `site`, `_dns.site`, `_site.site`, `_port._tcp.site`, `_port._udp.site` | A, AAAA, SVCB, TXT, TLSA | the site; who joins as it |
//! | `zone._zones` | PTR to the site itself, if nobody else's is there | the site |
//! | `_schema`, `_removed`, SOA, NS, all else | | nobody |
//!
//! No site changes its role this way: a site never promotes itself. And none publishes a key that is another's, which
//! would make the two indistinguishable, or that of a removed site.

use std::fmt;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::directory::{Directory, KeyPin, Role, SiteName};
use zonemesh_zone::{Bytes, Name, Record, Rtype, Zone, txt};

use crate::message::Change;
use crate::policy::{Authority, Denial};

/// Who wants to change the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteIdentity {
    /// A member, known by its pinned certificate.
    Member(SiteName),
    /// Someone with the key of a welcome packet, whose token has been checked.
    Join {
        /// The site that it is for.
        site: SiteName,
        /// The role that it was invited to.
        role: Role,
        /// The packet was made for a site that is in the directory, and replaces it.
        replace: bool,
    },
}

impl SiteIdentity {
    /// The site.
    pub fn site(&self) -> &SiteName {
        match self {
            Self::Member(site) | Self::Join { site, .. } => site,
        }
    }
}

impl fmt::Display for SiteIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(site) => write!(f, "site {site}"),
            Self::Join { site, .. } => write!(f, "the welcome packet of {site}"),
        }
    }
}

/// The policy of the directory for one sender.
#[derive(Clone, Debug)]
pub struct DirectoryPolicy<'a> {
    identity: SiteIdentity,
    directory: &'a Directory,
    reserved: &'a [Name],
}

impl<'a> DirectoryPolicy<'a> {
    /// Makes it for a sender. The reserved names are those of the directory and the catalog: at and below them nobody
    /// can have a zone. The directory must have been read from the version that is to be changed, with the owners of the
    /// older convention where that is in use.
    pub fn new(identity: SiteIdentity, directory: &'a Directory, reserved: &'a [Name]) -> Self {
        Self {
            identity,
            directory,
            reserved,
        }
    }

    fn check_own(&self, change: &Change, place: Place) -> Result<(), String> {
        let allowed: &[Rtype] = match place {
            Place::Name => &[Rtype::A, Rtype::AAAA],
            Place::Service => &[Rtype::SVCB],
            Place::About => &[Rtype::TXT],
            Place::Key => &[Rtype::TLSA],
        };
        if let Some(rtype) = change.rtype()
            && !allowed.contains(&rtype)
        {
            let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
            return Err(format!("only {} belongs there", allowed.join(" and ")));
        }
        match (change, place) {
            (Change::Add(record), Place::About) => self.check_role(record),
            (Change::Add(record), Place::Key) => self.check_key(record),
            _ => Ok(()),
        }
    }

    fn check_role(&self, record: &Record) -> Result<(), String> {
        let allowed = match &self.identity {
            SiteIdentity::Join { role, .. } => *role,
            SiteIdentity::Member(site) => self
                .directory
                .sites
                .get(site)
                .map_or(Role::Standard, |site| site.role),
        };
        let strings = txt::parse_text(&record.rdata).unwrap_or_default();
        // All of them: a second one must not be what a reader believes.
        let roles: Vec<&str> = strings
            .iter()
            .filter_map(|string| string.strip_prefix("role="))
            .collect();
        match roles[..] {
            [role] if role == allowed.as_str() => Ok(()),
            _ => Err(format!(
                "expected one string `role={allowed}`; roles are given with `zonemesh site role` and `zonemesh site promote`"
            )),
        }
    }

    fn check_key(&self, record: &Record) -> Result<(), String> {
        let pin = match record.rdata.split_first_chunk::<3>() {
            Some(([3, 1, 1], hash)) => <[u8; 32]>::try_from(hash).ok().map(KeyPin),
            _ => None,
        };
        let pin = pin.ok_or("expected TLSA 3 1 1 with a SHA-256")?;
        if let Some(site) = self.directory.removed_by_pin(&pin) {
            return Err(format!(
                "key {pin} belonged to the removed site {site}; make a new key"
            ));
        }
        let other = self
            .directory
            .sites
            .values()
            .find(|site| site.name != *self.identity.site() && site.pins.contains(&pin));
        match other {
            Some(other) => Err(format!("key {pin} is that of {}", other.name)),
            None => Ok(()),
        }
    }

    fn check_zone(&self, zone: &Zone, change: &Change, member: &Name) -> Result<(), String> {
        let SiteIdentity::Member(site) = &self.identity else {
            return Err("who joins adds the records of the site, and zones later".into());
        };
        if !self.directory.sites.contains_key(site) {
            return Err(format!("{site} is not a site of this directory"));
        }
        if change.rtype().is_some_and(|rtype| rtype != Rtype::PTR) {
            return Err("only PTR belongs there".into());
        }
        if let Some(name) = self.reserved.iter().find(|name| member.ends_with(*name)) {
            return Err(format!(
                "no site can have zones at or below {}",
                name.fmt_with_dot()
            ));
        }
        let me = site
            .under(&self.directory.apex)
            .map_err(|error| error.to_string())?;
        if planted(Bug::UpdateOfOthers) {
            return Ok(());
        }
        let is_me = |rdata: &[u8]| {
            Name::from_octets(Bytes::copy_from_slice(rdata)).is_ok_and(|target| target == me)
        };
        // The older convention may say it too.
        if let Some(other) = self.directory.owners.get(member)
            && other != site
        {
            return Err(format!("the zone's primary is {other}"));
        }
        if let Some(set) = zone.rrset(change.owner(), Rtype::PTR)
            && let Some(other) = set.iter().find(|rdata| !is_me(rdata))
        {
            return Err(format!(
                "the zone's primary is {}",
                zonemesh_zone::record::rdata_text(Rtype::PTR, other)
            ));
        }
        match change {
            Change::Add(record) if !is_me(&record.rdata) => {
                Err("a site makes only itself the primary of a zone".into())
            }
            Change::DeleteName(owner)
                if zone
                    .node(owner)
                    .is_some_and(|node| node.rrsets().any(|set| set.rtype() != Rtype::PTR)) =>
            {
                Err("there is more than a PTR record".into())
            }
            _ => Ok(()),
        }
    }

    fn decide(&self, zone: &Zone, change: &Change) -> Result<(), String> {
        let apex = zone.apex();
        let labels = labels_below(change.owner(), apex);
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        match labels[..] {
            [] => Err("SOA, NS and all else at the apex are the catalog primary's".into()),
            [b"_schema", ..] | [b"_removed", ..] => {
                Err("it is written by the catalog primary alone".into())
            }
            [b"_zones", ref zone_labels @ ..] => match wildcard_free(zone_labels) {
                true => self.check_zone(zone, change, &member_of(change.owner(), apex)),
                false => Err("a wildcard is no zone".into()),
            },
            [site, ref rest @ ..] => {
                let mine = self.identity.site().as_str().as_bytes();
                if site != mine {
                    return Err("a site writes its own records only".into());
                }
                let place = match rest {
                    [] => Place::Name,
                    [b"_dns"] => Place::Service,
                    [b"_site"] => Place::About,
                    [b"_tcp" | b"_udp", port] if is_port(port) => Place::Key,
                    _ => return Err("the directory has no record of that name".into()),
                };
                match &self.identity {
                    SiteIdentity::Join {
                        replace: false,
                        site,
                        ..
                    } if self.directory.sites.contains_key(site) => {
                        return Err(format!(
                            "{site} is a site already; remove it first, or invite it again to replace it"
                        ));
                    }
                    SiteIdentity::Member(site) if !self.directory.sites.contains_key(site) => {
                        return Err(format!("{site} is not a site of this directory"));
                    }
                    _ => {}
                }
                self.check_own(change, place)
            }
        }
    }
}

impl Authority for DirectoryPolicy<'_> {
    fn check(&self, zone: &Zone, change: &Change) -> Result<(), Denial> {
        self.decide(zone, change)
            .map_err(|why| Denial::of(&self.identity, change, why))
    }

    /// The site must be a whole one afterwards: half a join would spend the welcome packet for nothing, and a member
    /// without a key could not even undo it.
    fn accept(&self, new: &Zone) -> Result<(), Denial> {
        let site = self.identity.site();
        let after = Directory::read_site(new, site);
        let missing = match &after {
            None => "no records at all",
            Some(site) if site.pins.is_empty() => "no key at a port that it offers",
            Some(site) if site.addresses.is_empty() => "no address",
            Some(_) => return Ok(()),
        };
        let why = format!("{site} would have {missing}; to leave, use `zonemesh site remove`");
        Err(Denial::of_update(&self.identity, new, why))
    }
}

/// Where in a site's records a name is.
#[derive(Clone, Copy)]
enum Place {
    Name,
    Service,
    About,
    Key,
}

/// The labels of a name below the apex, from the apex outwards, in lower case.
fn labels_below(owner: &Name, apex: &Name) -> Vec<Vec<u8>> {
    let count = owner.label_count().saturating_sub(apex.label_count());
    let mut labels: Vec<Vec<u8>> = owner
        .iter()
        .take(count)
        .map(|label| label.as_slice().to_ascii_lowercase())
        .collect();
    labels.reverse();
    labels
}

/// The zone of a name below `_zones`.
fn member_of(owner: &Name, apex: &Name) -> Name {
    let tail = apex.as_slice().len() + b"\x06_zones".len();
    let labels = owner.as_slice().len() - tail;
    Name::from_octets(Bytes::from([&owner.as_slice()[..labels], &[0]].concat()))
        .expect("the first labels of a name and the root make a name")
}

fn wildcard_free(labels: &[&[u8]]) -> bool {
    !labels.contains(&&b"*"[..])
}

fn is_port(label: &[u8]) -> bool {
    std::str::from_utf8(label)
        .ok()
        .and_then(|text| text.strip_prefix('_'))
        .is_some_and(|digits| {
            digits
                .parse::<u16>()
                .is_ok_and(|port| port.to_string() == digits)
        })
}

#[cfg(test)]
mod tests;
