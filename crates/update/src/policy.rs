//! Who may change what, by rules: identity, names, types.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use zonemesh_zone::directory::KeyPin;
use zonemesh_zone::{Name, Rtype, Zone};

use crate::message::Change;

/// What decides about each change of an update.
pub trait Authority {
    /// Whether the change may be made to this version of the zone.
    ///
    /// # Errors
    ///
    /// When it may not; the message is for the log of the server and, where it can be sent, for whoever asked.
    fn check(&self, zone: &Zone, change: &Change) -> Result<(), Denial>;

    /// Whether the sender may ask anything at all: an update that changes nothing still tells by its prerequisites
    /// what the zone has.
    ///
    /// # Errors
    ///
    /// When it may not.
    fn admit(&self, _zone: &Zone) -> Result<(), Denial> {
        Ok(())
    }

    /// Whether the zone may become what all changes together make of it.
    ///
    /// # Errors
    ///
    /// When it may not.
    fn accept(&self, _new: &Zone) -> Result<(), Denial> {
        Ok(())
    }
}

/// What is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// A change.
    #[error("{who} may not change {} {}: {why}", .owner.fmt_with_dot(), type_text(.rtype))]
    Change {
        /// Who asked.
        who: String,
        /// The owner name.
        owner: Name,
        /// The type; `None` for all of the name's.
        rtype: Option<Rtype>,
        /// The rule that says so, or that there is none.
        why: String,
    },
    /// The update as a whole.
    #[error("{who} may not make this update of {}: {why}", .zone.fmt_with_dot())]
    Update {
        /// Who asked.
        who: String,
        /// The zone.
        zone: Name,
        /// Why not.
        why: String,
    },
}

impl Denial {
    /// That of a change.
    pub fn of(who: impl fmt::Display, change: &Change, why: impl Into<String>) -> Self {
        Self::Change {
            who: who.to_string(),
            owner: change.owner().clone(),
            rtype: change.rtype(),
            why: why.into(),
        }
    }

    /// That of an update as a whole.
    pub fn of_update(who: impl fmt::Display, zone: &Zone, why: impl Into<String>) -> Self {
        Self::Update {
            who: who.to_string(),
            zone: zone.apex().clone(),
            why: why.into(),
        }
    }
}

fn type_text(rtype: &Option<Rtype>) -> String {
    rtype.map_or("(all types)".into(), |rtype| rtype.to_string())
}

/// Allows everything: for changes of the operator, who has proven who they are elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl Authority for Everything {
    fn check(&self, _: &Zone, _: &Change) -> Result<(), Denial> {
        Ok(())
    }
}

/// What is known and proven about the sender of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where it came from.
    pub address: IpAddr,
    /// The TSIG key that signed it, verified.
    pub key: Option<Name>,
    /// The public key of its TLS certificate, proven.
    pub pin: Option<KeyPin>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if let Some(key) = &self.key {
            write!(f, " with key {}", key.fmt_with_dot())?;
        }
        if let Some(pin) = &self.pin {
            write!(f, " with certificate {pin}")?;
        }
        Ok(())
    }
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anyone at all.
    Anyone,
    /// Who signs with this TSIG key.
    Key(Name),
    /// Who has this certificate.
    Pin(KeyPin),
    /// Who sends from this network, given as an address and the length of its prefix.
    Network(IpAddr, u8),
    /// Who is all of these.
    All(Vec<Who>),
}

impl Who {
    fn matches(&self, identity: &Identity) -> bool {
        match self {
            Self::Anyone => true,
            Self::Key(key) => identity.key.as_ref() == Some(key),
            Self::Pin(pin) => identity.pin == Some(*pin),
            Self::Network(network, prefix) => within(identity.address, *network, *prefix),
            Self::All(all) => all.iter().all(|who| who.matches(identity)),
        }
    }
}

fn within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    // A client of IPv4 on a socket of IPv6 is still a client of IPv4.
    let (bits, net, width) = match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let host = width - u32::from(prefix).min(width);
    // A shift by the whole width is not one.
    bits.checked_shr(host).unwrap_or(0) == net.checked_shr(host).unwrap_or(0)
}

/// Which names a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// All of the zone.
    Any,
    /// This name.
    Exact(Name),
    /// All names below this one, not itself.
    Below(Name),
    /// This name and all below it.
    AtOrBelow(Name),
    /// The name that the TSIG key is named after.
    Own,
    /// That name and all below it.
    OwnOrBelow,
}

impl Names {
    fn matches(&self, owner: &Name, identity: &Identity) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => owner == name,
            Self::Below(name) => owner != name && owner.ends_with(name),
            Self::AtOrBelow(name) => owner.ends_with(name),
            Self::Own => identity.key.as_ref() == Some(owner),
            Self::OwnOrBelow => identity
                .key
                .as_ref()
                .is_some_and(|key| owner.ends_with(key)),
        }
    }
}

/// Which types a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Types {
    /// All but SOA, NS and what signing makes: those change what the zone is, and have to be named.
    Ordinary,
    /// All, without exception.
    All,
    /// These.
    Only(BTreeSet<Rtype>),
}

impl Types {
    fn matches(&self, rtype: Option<Rtype>) -> bool {
        match (self, rtype) {
            (Self::All, _) => true,
            (Self::Ordinary, Some(rtype)) => !is_structure(rtype),
            (Self::Only(types), Some(rtype)) => types.contains(&rtype),
            // All types of a name: decided by what it has, see `Policy::check`.
            (_, None) => false,
        }
    }
}

fn is_structure(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::SOA
            | Rtype::NS
            | Rtype::RRSIG
            | Rtype::NSEC
            | Rtype::NSEC3
            | Rtype::NSEC3PARAM
            | Rtype::DNSKEY
    )
}

/// One rule; what it does not allow, another may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For whom.
    pub who: Who,
    /// For which names.
    pub names: Names,
    /// For which types.
    pub types: Types,
    /// Only adding is allowed, not removing.
    pub add_only: bool,
}

/// Rules, and who wants to be measured by them. What no rule allows is refused.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// The rules of the zone.
    pub rules: &'a [Rule],
}

impl Policy<'_> {
    fn allows(&self, owner: &Name, rtype: Option<Rtype>, adds: bool) -> bool {
        self.rules.iter().any(|rule| {
            (adds || !rule.add_only)
                && rule.who.matches(self.identity)
                && rule.names.matches(owner, self.identity)
                && rule.types.matches(rtype)
        })
    }
}

impl Authority for Policy<'_> {
    fn admit(&self, zone: &Zone) -> Result<(), Denial> {
        match self
            .rules
            .iter()
            .any(|rule| rule.who.matches(self.identity))
        {
            true => Ok(()),
            false => Err(Denial::of_update(self.identity, zone, NO_RULE)),
        }
    }

    fn check(&self, zone: &Zone, change: &Change) -> Result<(), Denial> {
        let owner = change.owner();
        let allowed = match change.rtype() {
            Some(rtype) => self.allows(owner, Some(rtype), change.adds()),
            None => {
                // Each RRset that would go must be one that may; of a name without any, ordinary data stands in.
                let mut types: Vec<Rtype> = zone
                    .node(owner)
                    .into_iter()
                    .flat_map(|node| node.rrsets().map(|set| set.rtype()))
                    // RFC 2136 §3.4.2.3: these stay anyway.
                    .filter(|rtype| {
                        owner != zone.apex() || !matches!(*rtype, Rtype::SOA | Rtype::NS)
                    })
                    .collect();
                if types.is_empty() {
                    types.push(Rtype::TXT);
                }
                self.allows(owner, None, false)
                    || types
                        .into_iter()
                        .all(|rtype| self.allows(owner, Some(rtype), false))
            }
        };
        if allowed {
            return Ok(());
        }
        let mine = self
            .rules
            .iter()
            .filter(|rule| rule.who.matches(self.identity))
            .count();
        let why = match mine {
            0 => NO_RULE.to_string(),
            mine => format!("none of the {mine} rules for this sender allows it"),
        };
        Err(Denial::of(self.identity, change, why))
    }
}

const NO_RULE: &str = "no rule of the zone is for this sender";

#[cfg(test)]
mod tests;
