//! Who made a version of a zone, as far as that was proven when it was made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who made a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Author {
    /// In which way it came.
    pub by: By,
    /// Who that is, as the way proves it: a user of this machine, the name of a TSIG key, a site, a file, an address.
    pub who: String,
    /// From which address, where it came over a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// In which way a change comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// By command at the control socket; the user is the one whom the kernel names.
    Operator,
    /// By UPDATE, signed with a TSIG key.
    Update,
    /// By UPDATE over TLS or QUIC from a member of the mesh, by its pinned key.
    Site,
    /// Out of a zone file of the configuration.
    File,
}

impl By {
    /// As one octet, for who keeps it.
    pub fn code(self) -> u8 {
        match self {
            Self::Operator => 0,
            Self::Update => 1,
            Self::Site => 2,
            Self::File => 3,
        }
    }

    /// Of that octet.
    pub fn of_code(code: u8) -> Option<Self> {
        let all = [Self::Operator, Self::Update, Self::Site, Self::File];
        all.into_iter().find(|by| by.code() == code)
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::Operator => write!(f, "operator {}", self.who)?,
            By::Update => write!(f, "update with {}", self.who)?,
            By::Site => write!(f, "update by site {}", self.who)?,
            By::File => write!(f, "file {}", self.who)?,
        }
        match &self.from {
            Some(from) => write!(f, " from {from}"),
            None => Ok(()),
        }
    }
}
