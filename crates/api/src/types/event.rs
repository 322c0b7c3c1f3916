//! What a user wants to see as it happens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that happened at a site. The stream is JSON lines, one event each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The site that saw it.
    pub site: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The sorts of [`Event`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
#[non_exhaustive]
pub enum What {
    /// The site holds every member zone and answers.
    #[serde(rename_all = "kebab-case")]
    Ready {
        /// How many zones it serves.
        zones: u64,
    },
    /// A site became a member.
    #[serde(rename_all = "kebab-case")]
    SiteJoined {
        /// The new member.
        name: String,
    },
    /// A site was removed.
    #[serde(rename_all = "kebab-case")]
    SiteLeft {
        /// The removed member.
        name: String,
    },
    /// A site has other addresses or keys, and is followed.
    #[serde(rename_all = "kebab-case")]
    SiteChanged {
        /// The member.
        name: String,
    },
    /// A zone appeared in the catalog and is served.
    #[serde(rename_all = "kebab-case")]
    ZoneLearnt {
        /// Apex.
        zone: String,
        /// From whom it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        primary: Option<String>,
        /// Serial served.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<u32>,
    },
    /// A zone left the catalog and is not served any more.
    #[serde(rename_all = "kebab-case")]
    ZoneRemoved {
        /// Apex.
        zone: String,
    },
    /// A new version is served at this site.
    #[serde(rename_all = "kebab-case")]
    Published {
        /// Apex.
        zone: String,
        /// Serial.
        serial: u32,
        /// From whom; none when it was made here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// A change is served by every site.
    #[serde(rename_all = "kebab-case")]
    ServedEverywhere {
        /// Apex.
        zone: String,
        /// Serial.
        serial: u32,
        /// How many sites.
        sites: u64,
        /// Milliseconds from the change to the last site.
        after_ms: u64,
    },
    /// A peer does not answer any more.
    #[serde(rename_all = "kebab-case")]
    PeerLost {
        /// The peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// A peer answers again, or a copy has caught up.
    #[serde(rename_all = "kebab-case")]
    Healed {
        /// The peer or zone.
        subject: String,
        /// Seconds it was lost.
        after_secs: u64,
    },
    /// The brake holds a change.
    #[serde(rename_all = "kebab-case")]
    Held {
        /// The id to give to `plan approve`.
        id: String,
        /// Why.
        reason: String,
    },
    /// Something the operator should know.
    #[serde(rename_all = "kebab-case")]
    Warning {
        /// In a sentence.
        message: String,
        /// The zone that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// The peer that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready { zones } => write!(f, "ready, serves {zones} zones"),
            Self::SiteJoined { name } => write!(f, "site {name} joined"),
            Self::SiteLeft { name } => write!(f, "site {name} left"),
            Self::SiteChanged { name } => {
                write!(
                    f,
                    "site {name} has other addresses or keys, or another role, and is followed"
                )
            }
            Self::ZoneLearnt {
                zone,
                primary,
                serial,
            } => {
                write!(f, "zone {zone} learnt")?;
                if let Some(primary) = primary {
                    write!(f, ", from {primary}")?;
                }
                match serial {
                    Some(serial) => write!(f, ", serial {serial}"),
                    None => Ok(()),
                }
            }
            Self::ZoneRemoved { zone } => write!(f, "zone {zone} removed"),
            Self::Published { zone, serial, from } => {
                write!(f, "zone {zone} serial {serial} published")?;
                match from {
                    Some(from) => write!(f, ", from {from}"),
                    None => Ok(()),
                }
            }
            Self::ServedEverywhere {
                zone,
                serial,
                sites,
                after_ms,
            } => {
                write!(
                    f,
                    "zone {zone} serial {serial} served by all {sites} sites after {after_ms} ms"
                )
            }
            Self::PeerLost { peer, reason } => write!(f, "peer {peer} lost: {reason}"),
            Self::Healed {
                subject,
                after_secs,
            } => write!(f, "{subject} healed after {after_secs} s"),
            Self::Held { id, reason } => {
                write!(
                    f,
                    "held by the brake: {reason}; `zonemesh plan approve {id}` lets it go on, `decline` leaves everything as it is"
                )
            }
            Self::Warning { message, .. } => write!(f, "warning: {message}"),
        }
    }
}
