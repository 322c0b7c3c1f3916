//! What a reader or a check has to say about a zone: one sentence, and where it belongs.

use std::fmt;

use crate::{Name, Rtype};

/// Something that is wrong or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the zone can be used in spite of it.
    pub severity: Severity,
    /// Which rule is concerned.
    pub kind: Kind,
    /// The file, as it was opened.
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: Option<u32>,
    /// The column in octets, counted from 1.
    pub column: Option<u32>,
    /// The zone, where it is known already.
    pub zone: Option<Name>,
    /// The owner name of the record.
    pub owner: Option<Name>,
    /// The type of the record.
    pub rtype: Option<Rtype>,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

/// How bad it is. The worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The zone works, though hardly as intended.
    Warning,
    /// The zone must not be served.
    Error,
}

/// Which rule a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A file could not be read, or includes itself.
    File,
    /// Text that is not a zone file.
    Syntax,
    /// A directive that is unknown or malformed.
    Directive,
    /// A record that is malformed.
    Record,
    /// There were too many findings to go on.
    TooMany,
    /// No SOA, or more than one.
    Soa,
    /// Times of the SOA that do not fit together.
    SoaTimes,
    /// A record that is not in the zone.
    OutOfZone,
    /// A TTL that is missing, differs within an RRset, or is out of range.
    Ttl,
    /// Octets outside of ASCII in a name.
    NonAscii,
    /// A type that allows one record only has several.
    Singleton,
    /// CNAME and other data.
    Cname,
    /// DNAME and what it forbids.
    Dname,
    /// No NS records at the apex, or ones that do not work.
    Ns,
    /// A delegation without the addresses that it needs.
    Glue,
    /// A record that points to an alias.
    Target,
    /// A wildcard where none belongs.
    Wildcard,
    /// Data below a zone cut, which nobody sees.
    Occluded,
    /// A DS that is not at a zone cut.
    Ds,
    /// An address at a name that is not a host name.
    HostName,
}

impl Finding {
    /// A finding of which no more is known than the rule and the sentence.
    pub fn new(severity: Severity, kind: Kind, message: impl Into<String>) -> Self {
        Self {
            severity,
            kind,
            file: None,
            line: None,
            column: None,
            zone: None,
            owner: None,
            rtype: None,
            message: message.into(),
        }
    }

    /// Says which record it is about.
    pub fn about(mut self, owner: &Name, rtype: Rtype) -> Self {
        self.owner = Some(owner.clone());
        self.rtype = Some(rtype);
        self
    }

    /// Says which zone it is about.
    pub fn in_zone(mut self, zone: &Name) -> Self {
        self.zone = Some(zone.clone());
        self
    }

    /// Says where it was found.
    pub fn at(mut self, file: &str, line: u32, column: u32) -> Self {
        self.file = Some(file.to_owned());
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// Whether the zone must not be served.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One line: `file:line:column: error: zone example.com: www.example.com A: what is wrong`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity)?;
        if let Some(zone) = &self.zone {
            write!(f, "zone {zone}: ")?;
        }
        match (&self.owner, self.rtype) {
            (Some(owner), Some(rtype)) => write!(f, "{owner} {rtype}: ")?,
            (Some(owner), None) => write!(f, "{owner}: ")?,
            (None, Some(rtype)) => write!(f, "{rtype}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
