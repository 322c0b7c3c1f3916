//! The welcome packet: all that a new site needs to join, in one line that can be pasted.
//!
//! `zonemesh-welcome-1.<JSON in base64url>.<checksum>`: the version is in the prefix, and the checksum tells a packet
//! that was cut off or mistyped from a good one. It holds addresses and keys, never names alone: a site joins while no
//! name can be resolved. It is a secret until it is used.

use std::fmt;
use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zonemesh_zone::Name;
use zonemesh_zone::directory::{KeyPin, Role, SiteName};

use crate::hash::fnv;

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Welcome {
    /// The name of the directory.
    #[serde(with = "crate::text")]
    pub directory: Name,
    /// The name of the catalog.
    #[serde(with = "crate::text")]
    pub catalog: Name,
    /// Who is invited.
    pub site: SiteName,
    /// The role that it will have.
    pub role: Role,
    /// Where to join.
    pub catalog_sites: Vec<CatalogSite>,
    /// DS records of the directory's key, in presentation format; none until the directory is signed.
    pub trust_anchor: Option<Vec<String>>,
    /// The name of the TSIG key that signs the one update.
    #[serde(with = "crate::text")]
    pub key_name: Name,
    /// The key, for hmac-sha256.
    pub key: Secret,
    /// Until when the packet can be used, in seconds since 1970.
    pub expires: i64,
}

/// A site that accepts joins, or can be asked for directory and catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSite {
    /// Its name.
    pub name: SiteName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its port for DNS over TLS.
    pub dot: Option<u16>,
    /// Its port for DNS over QUIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doq: Option<u16>,
    /// The keys that it may show.
    pub pins: Vec<KeyPin>,
}

/// Octets that are not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes over the octets of a key.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// The octets; not for logs.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl TryFrom<String> for Secret {
    type Error = data_encoding::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64URL_NOPAD.decode(text.as_bytes()).map(Self)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        BASE64URL_NOPAD.encode(&secret.0)
    }
}

/// Why text is not a welcome packet that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// It does not begin like one.
    #[error("not a welcome packet; one begins with `{PREFIX}`, as `zonemesh invite` prints it")]
    NotOne,
    /// It is of another version.
    #[error(
        "a welcome packet of version {0}; this zonemesh reads version 1. Update the older of the two sites"
    )]
    Version(String),
    /// The end is missing.
    #[error("the welcome packet is cut off; copy the whole line that `zonemesh invite` printed")]
    CutOff,
    /// It is not what was printed.
    #[error("the welcome packet is damaged: its checksum does not match; copy it again")]
    Damaged,
    /// It says something that cannot be.
    #[error("the welcome packet cannot be read, though it is undamaged")]
    Contents(#[from] serde_json::Error),
    /// No site is named that could be reached.
    #[error("the welcome packet has no catalog site with an address and a key; make another one")]
    NoSite,
    /// Its time is over.
    #[error("the welcome packet expired at {0}; have another one made with `zonemesh invite`")]
    Expired(String),
}

impl Welcome {
    /// The packet as text.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("all fields have a form in JSON");
        let body = BASE64URL_NOPAD.encode(&json);
        format!("{PREFIX}{body}.{:016x}", fnv(body.as_bytes()))
    }

    /// Reads a packet; line breaks and spaces that pasting put in are left out.
    ///
    /// # Errors
    ///
    /// When it is not one that can be used now.
    pub fn decode(text: &str, now: i64) -> Result<Self, PacketError> {
        let text: String = text.split_ascii_whitespace().collect();
        let Some(body) = text.strip_prefix(PREFIX) else {
            let version = text
                .strip_prefix(FAMILY)
                .and_then(|rest| rest.split_once('.'))
                .map(|(version, _)| version)
                .filter(|version| {
                    !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit())
                });
            return Err(match version {
                Some(version) => PacketError::Version(version.into()),
                None if !text.is_empty() && PREFIX.starts_with(&text) => PacketError::CutOff,
                None => PacketError::NotOne,
            });
        };
        let (body, checksum) = body.split_once('.').ok_or(PacketError::CutOff)?;
        if checksum.len() < 16 {
            return Err(PacketError::CutOff);
        }
        if checksum != format!("{:016x}", fnv(body.as_bytes())) {
            return Err(PacketError::Damaged);
        }
        let json = BASE64URL_NOPAD
            .decode(body.as_bytes())
            .map_err(|_| PacketError::Damaged)?;
        let packet: Self = serde_json::from_slice(&json)?;
        let reachable = |site: &CatalogSite| {
            let port = site.dot.or(site.doq).is_some();
            port && !site.addresses.is_empty() && !site.pins.is_empty()
        };
        if !packet.catalog_sites.iter().any(reachable) {
            return Err(PacketError::NoSite);
        }
        match packet.expires <= now {
            true => Err(PacketError::Expired(crate::invite::time(packet.expires))),
            false => Ok(packet),
        }
    }
}

const FAMILY: &str = "zonemesh-welcome-";
const PREFIX: &str = "zonemesh-welcome-1.";

#[cfg(test)]
mod tests;
