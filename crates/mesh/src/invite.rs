//! Invitations, as the catalog primary remembers them: whether the key of a welcome packet may still be used.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zonemesh_zone::Name;
use zonemesh_zone::directory::{Role, SiteName};

use crate::packet::Secret;

/// How long a welcome packet can be used: 24 hours, in seconds.
pub const LIFETIME_SECS: i64 = 86_400;

/// One invitation. Secret, and to be durable before its packet is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Token {
    /// Who is invited.
    pub site: SiteName,
    /// The role that it will have.
    pub role: Role,
    /// The packet is for a site that is in the directory, and replaces it.
    pub replace: bool,
    /// The name of the TSIG key.
    #[serde(with = "crate::text")]
    pub key_name: Name,
    /// The TSIG key.
    pub key: Secret,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// When and from where it was used.
    pub used: Option<Used>,
}

/// The one use of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// When, in seconds since 1970.
    pub at: i64,
    /// By whom.
    pub by: IpAddr,
}

/// What can be said of a token at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It can be used.
    Pending,
    /// It was used.
    Used,
    /// Its time is over, and nobody used it.
    Expired,
}

/// Why a welcome packet is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// It is for another site.
    #[error(
        "the welcome packet is for {invited}, not for {asked}; have one made with `zonemesh invite {asked}`"
    )]
    OtherSite {
        /// Who was invited.
        invited: SiteName,
        /// Who wants to join.
        asked: SiteName,
    },
    /// It has been used.
    #[error(
        "the welcome packet of {site} was used at {at} from {by}; if that was not you, remove that site with `zonemesh site remove {site}`; for another try make a new packet with `zonemesh invite {site}`"
    )]
    Used {
        /// Who was invited.
        site: SiteName,
        /// When it was used.
        at: String,
        /// From where.
        by: IpAddr,
    },
    /// Its time is over.
    #[error(
        "the welcome packet of {site} expired at {at}; have another one made with `zonemesh invite {site}`"
    )]
    Expired {
        /// Who was invited.
        site: SiteName,
        /// When it ended.
        at: String,
    },
}

impl Token {
    /// What can be said of it.
    pub fn state(&self, now: i64) -> TokenState {
        match &self.used {
            Some(_) => TokenState::Used,
            None if self.expires <= now => TokenState::Expired,
            None => TokenState::Pending,
        }
    }

    /// Whether a site may join with it.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn check(&self, now: i64, site: &SiteName) -> Result<(), TokenRefusal> {
        if *site != self.site {
            return Err(TokenRefusal::OtherSite {
                invited: self.site.clone(),
                asked: site.clone(),
            });
        }
        if let Some(used) = &self.used {
            return Err(TokenRefusal::Used {
                site: site.clone(),
                at: time(used.at),
                by: used.by,
            });
        }
        match self.state(now) {
            TokenState::Expired => Err(TokenRefusal::Expired {
                site: site.clone(),
                at: time(self.expires),
            }),
            _ => Ok(()),
        }
    }

    /// The token as used: to be kept in the same commit as what the join changes.
    ///
    /// # Errors
    ///
    /// When it may not be used.
    pub fn spend(&self, now: i64, site: &SiteName, by: IpAddr) -> Result<Self, TokenRefusal> {
        self.check(now, site)?;
        Ok(Self {
            used: Some(Used { at: now, by }),
            ..self.clone()
        })
    }
}

/// Seconds since 1970 as people read them.
pub(crate) fn time(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |time| time.to_string())
}
