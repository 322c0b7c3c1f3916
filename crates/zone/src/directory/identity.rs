//! What a site is known by: its name, its role, its keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::TooLong;
use super::compose::below;
use crate::Name;

/// The name of a site: one label of lower-case letters, digits and inner hyphens. Clones share the text.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName(Arc<str>);

impl SiteName {
    /// Makes a name of text; upper case is taken as lower case.
    ///
    /// # Errors
    ///
    /// When it is not one label of letters, digits and inner hyphens.
    pub fn new(text: &str) -> Result<Self, BadSiteName> {
        let bad = |why| {
            Err(BadSiteName {
                text: text.into(),
                why,
            })
        };
        match text.as_bytes() {
            [] => return bad("it is empty"),
            bytes if bytes.len() > 63 => return bad("it is longer than 63 characters"),
            bytes if bytes.contains(&b'.') => {
                return bad("it has a dot; give the first label only");
            }
            [b'-', ..] | [.., b'-'] => return bad("it begins or ends with a hyphen"),
            bytes
                if !bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || *b == b'-') =>
            {
                return bad("only letters, digits and hyphens are allowed");
            }
            _ => {}
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The site's domain name in a directory.
    ///
    /// # Errors
    ///
    /// When the directory's name leaves no room for it.
    pub fn under(&self, directory: &Name) -> Result<Name, TooLong> {
        below(&[self.0.as_bytes()], directory)
    }

    /// The site whose domain name this is in a directory.
    pub fn of(name: &Name, directory: &Name) -> Option<Self> {
        let prefix = name
            .as_slice()
            .len()
            .checked_sub(directory.as_slice().len())?;
        if !name.ends_with(directory) {
            return None;
        }
        let (len, label) = name.as_slice().get(..prefix)?.split_first()?;
        if *len as usize != label.len() {
            return None;
        }
        Self::new(std::str::from_utf8(label).ok()?).ok()
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for SiteName {
    type Err = BadSiteName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for SiteName {
    type Error = BadSiteName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<SiteName> for String {
    fn from(name: SiteName) -> Self {
        name.as_str().to_owned()
    }
}

/// Why text is not the name of a site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a site name: {why}")]
pub struct BadSiteName {
    text: String,
    why: &'static str,
}

/// The SHA-256 of a site's SubjectPublicKeyInfo, as in a TLSA 3 1 1 record. Written in hexadecimal.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPin(pub [u8; 32]);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPin({self})")
    }
}

impl FromStr for KeyPin {
    type Err = BadKeyPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadKeyPin(text.into());
        let digits = text.as_bytes();
        let mut pin = [0; 32];
        if digits.len() != 64 {
            return Err(bad());
        }
        let value = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else {
                return Err(bad());
            };
            *byte = value(high).ok_or_else(bad)? << 4 | value(low).ok_or_else(bad)?;
        }
        Ok(Self(pin))
    }
}

impl TryFrom<String> for KeyPin {
    type Error = BadKeyPin;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyPin> for String {
    fn from(pin: KeyPin) -> Self {
        pin.to_string()
    }
}

/// Text is not a key pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key pin; expected the 64 hexadecimal digits of a SHA-256")]
pub struct BadKeyPin(String);

/// What a site does for the mesh.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Holds the directory and the catalog and accepts joins.
    CatalogPrimary,
    /// Can be promoted to it.
    CatalogSecondary,
    /// Everything else.
    #[default]
    Standard,
}

impl Role {
    /// The role as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CatalogPrimary => "catalog-primary",
            Self::CatalogSecondary => "catalog-secondary",
            Self::Standard => "standard",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::CatalogPrimary, Self::CatalogSecondary, Self::Standard]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| BadRole(text.into()))
    }
}

/// Text is not a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; expected catalog-primary, catalog-secondary or standard")]
pub struct BadRole(String);
