//! UPDATE messages (RFC 2136 §2): reading and writing.
//!
//! Everything that makes a message malformed (§3.2.5 and §3.4.1.3) is found here, before anything is decided.

use domain::base::iana::Opcode;
use domain::base::rdata::{ComposeRecordData, UnknownRecordData};
use domain::base::record::ParsedRecord;
use domain::base::{Message, ParsedName, name::ToName, wire::ParseError};
use domain::rdata::AllRecordData;
use zonemesh_zone::{Class, Name, Rcode, Record, RecordError, Rtype, Ttl, domain};

/// What an UPDATE asks for. Also what one is made with: see [`Update::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The zone to be changed.
    pub zone: Name,
    /// What must hold, or nothing is changed.
    pub prerequisites: Vec<Prerequisite>,
    /// The changes, in their order.
    pub changes: Vec<Change>,
}

/// What must hold for an update to be carried out (§2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// The name owns some RRset.
    NameInUse(Name),
    /// The name owns none.
    NameNotInUse(Name),
    /// The name owns an RRset of this type, whatever its data.
    RrsetExists(Name, Rtype),
    /// The name owns no RRset of this type.
    RrsetAbsent(Name, Rtype),
    /// This record is one of an RRset which has exactly the records that the prerequisites name.
    RecordExists(Record),
}

/// One change (§2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a record.
    Add(Record),
    /// Removes an RRset.
    DeleteRrset(Name, Rtype),
    /// Removes all RRsets of a name.
    DeleteName(Name),
    /// Removes one record; its TTL means nothing.
    DeleteRecord(Record),
}

impl Change {
    /// The owner name that is changed.
    pub fn owner(&self) -> &Name {
        match self {
            Self::Add(record) | Self::DeleteRecord(record) => &record.owner,
            Self::DeleteRrset(owner, _) | Self::DeleteName(owner) => owner,
        }
    }

    /// The type that is changed; `None` for all of them.
    pub fn rtype(&self) -> Option<Rtype> {
        match self {
            Self::Add(record) | Self::DeleteRecord(record) => Some(record.rtype),
            Self::DeleteRrset(_, rtype) => Some(*rtype),
            Self::DeleteName(_) => None,
        }
    }

    /// Whether it adds something.
    pub fn adds(&self) -> bool {
        matches!(self, Self::Add(_))
    }
}

/// Why a message is not an UPDATE that can be decided about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Its octets are not well-formed.
    #[error("malformed UPDATE message")]
    Malformed(#[from] ParseError),
    /// A record in it is not.
    #[error("malformed record in an UPDATE message")]
    Record(#[from] RecordError),
    /// It is no UPDATE request at all.
    #[error("not an UPDATE request")]
    NotUpdate,
    /// The zone section is not one SOA question.
    #[error("the zone section of an UPDATE must be one entry of type SOA")]
    ZoneSection,
    /// The zone is of a class that nobody serves here.
    #[error("UPDATE of class {0}; only IN is served")]
    Class(Class),
    /// A record breaks a rule of §2.4 or §2.5.
    #[error("{} {rtype} in the {section} section: {why}", .owner.fmt_with_dot())]
    Rule {
        /// Which section it is in.
        section: &'static str,
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: Rtype,
        /// What is wrong.
        why: &'static str,
    },
}

impl MessageError {
    /// What to answer.
    pub fn rcode(&self) -> Rcode {
        match self {
            Self::Malformed(_) | Self::Record(_) | Self::ZoneSection | Self::Rule { .. } => {
                Rcode::FORMERR
            }
            Self::NotUpdate => Rcode::NOTIMP,
            Self::Class(_) => Rcode::NOTAUTH,
        }
    }
}

/// # Reading
impl Update {
    /// Reads a message. The additional section (a TSIG or OPT record) is not looked at.
    ///
    /// # Errors
    ///
    /// When it is not a well-formed UPDATE request: answer with the error's RCODE.
    pub fn parse(message: &[u8]) -> Result<Self, MessageError> {
        let message = Message::from_slice(message)
            .map_err(|_| ParseError::form_error("shorter than a header"))?;
        if message.header().opcode() != Opcode::UPDATE || message.header().qr() {
            return Err(MessageError::NotUpdate);
        }
        let mut zones = message.zone();
        let (Some(zone), None) = (zones.next().transpose()?, zones.next()) else {
            return Err(MessageError::ZoneSection);
        };
        if zone.qtype() != Rtype::SOA {
            return Err(MessageError::ZoneSection);
        }
        if zone.qclass() != Class::IN {
            return Err(MessageError::Class(zone.qclass()));
        }
        let mut update = Self::new(zone.qname().to_name());
        for record in message.prerequisite()? {
            update.prerequisites.push(prerequisite(&record?)?);
        }
        for record in message.update()? {
            update.changes.push(change(&record?)?);
        }
        Ok(update)
    }
}

fn prerequisite(record: &ParsedRecord<'_, [u8]>) -> Result<Prerequisite, MessageError> {
    let owner: Name = record.owner().to_name();
    let rtype = record.rtype();
    let rule = |why| {
        Err(MessageError::Rule {
            section: "prerequisite",
            owner: owner.clone(),
            rtype,
            why,
        })
    };
    if record.ttl() != Ttl::ZERO {
        return rule("the TTL must be 0");
    }
    if rtype != Rtype::ANY && is_meta(rtype) {
        return rule("not a type that can be in a zone");
    }
    match record.class() {
        Class::ANY | Class::NONE if !is_empty(record)? => rule("there must be no data"),
        Class::ANY if rtype == Rtype::ANY => Ok(Prerequisite::NameInUse(owner)),
        Class::ANY => Ok(Prerequisite::RrsetExists(owner, rtype)),
        Class::NONE if rtype == Rtype::ANY => Ok(Prerequisite::NameNotInUse(owner)),
        Class::NONE => Ok(Prerequisite::RrsetAbsent(owner, rtype)),
        Class::IN if rtype == Rtype::ANY => rule("ANY has no data to compare"),
        Class::IN => Ok(Prerequisite::RecordExists(take(record)?)),
        _ => rule("the class must be IN, ANY or NONE"),
    }
}

fn change(record: &ParsedRecord<'_, [u8]>) -> Result<Change, MessageError> {
    let owner: Name = record.owner().to_name();
    let rtype = record.rtype();
    let rule = |why| {
        Err(MessageError::Rule {
            section: "update",
            owner: owner.clone(),
            rtype,
            why,
        })
    };
    // §3.4.1.3.
    if is_meta(rtype) && !(record.class() == Class::ANY && rtype == Rtype::ANY) {
        return rule("not a type that can be in a zone");
    }
    match record.class() {
        Class::IN => Ok(Change::Add(take(record)?)),
        Class::ANY | Class::NONE if record.ttl() != Ttl::ZERO => rule("the TTL must be 0"),
        Class::ANY if !is_empty(record)? => rule("there must be no data"),
        Class::ANY if rtype == Rtype::ANY => Ok(Change::DeleteName(owner)),
        Class::ANY => Ok(Change::DeleteRrset(owner, rtype)),
        Class::NONE => Ok(Change::DeleteRecord(take(record)?)),
        _ => rule("the class must be IN, ANY or NONE"),
    }
}

/// Types that mean something in messages only (RFC 6895 §3.1).
fn is_meta(rtype: Rtype) -> bool {
    matches!(rtype.to_int(), 0 | 41 | 128..=255 | 65535)
}

fn is_empty(record: &ParsedRecord<'_, [u8]>) -> Result<bool, ParseError> {
    let data = record.to_record::<UnknownRecordData<&[u8]>>()?;
    Ok(data.is_none_or(|data| data.data().data().is_empty()))
}

/// The record with its data, whatever the class.
fn take(record: &ParsedRecord<'_, [u8]>) -> Result<Record, MessageError> {
    let data = record.to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>()?;
    let mut rdata = Vec::new();
    if data.data().compose_rdata(&mut rdata).is_err() || rdata.len() > 0xFFFF {
        return Err(ParseError::form_error("RDATA too long").into());
    }
    let owner = record.owner().to_name();
    Ok(Record::new(owner, record.rtype(), record.ttl(), rdata))
}

/// # Composing
impl Update {
    /// Starts an update that asks for nothing yet.
    pub fn new(zone: Name) -> Self {
        Self {
            zone,
            prerequisites: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Demands something.
    #[must_use]
    pub fn require(mut self, prerequisite: Prerequisite) -> Self {
        self.prerequisites.push(prerequisite);
        self
    }

    /// Adds a record.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the word of RFC 2136, beside delete"
    )]
    pub fn add(mut self, record: Record) -> Self {
        self.changes.push(Change::Add(record));
        self
    }

    /// Removes an RRset.
    #[must_use]
    pub fn delete_rrset(mut self, owner: Name, rtype: Rtype) -> Self {
        self.changes.push(Change::DeleteRrset(owner, rtype));
        self
    }

    /// Removes all RRsets of a name.
    #[must_use]
    pub fn delete_name(mut self, owner: Name) -> Self {
        self.changes.push(Change::DeleteName(owner));
        self
    }

    /// Removes one record.
    #[must_use]
    pub fn delete_record(mut self, record: Record) -> Self {
        self.changes.push(Change::DeleteRecord(record));
        self
    }

    /// Makes the message, without name compression.
    ///
    /// # Errors
    ///
    /// When it would be longer than a DNS message may be: ask for less at a time.
    pub fn compose(&self, id: u16) -> Result<Vec<u8>, TooLarge> {
        let count = |len: usize| u16::try_from(len).map_err(|_| TooLarge(usize::MAX));
        let mut out = Vec::new();
        for word in [
            id,
            // Opcode 5 in the second to fifth bit.
            5 << 11,
            1,
            count(self.prerequisites.len())?,
            count(self.changes.len())?,
            1,
        ] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(self.zone.as_slice());
        out.extend_from_slice(&Rtype::SOA.to_int().to_be_bytes());
        out.extend_from_slice(&Class::IN.to_int().to_be_bytes());
        let none = Ttl::ZERO;
        for prerequisite in &self.prerequisites {
            match prerequisite {
                Prerequisite::NameInUse(n) => put(&mut out, n, Rtype::ANY, Class::ANY, none, &[]),
                Prerequisite::NameNotInUse(n) => {
                    put(&mut out, n, Rtype::ANY, Class::NONE, none, &[]);
                }
                Prerequisite::RrsetExists(n, t) => put(&mut out, n, *t, Class::ANY, none, &[]),
                Prerequisite::RrsetAbsent(n, t) => put(&mut out, n, *t, Class::NONE, none, &[]),
                Prerequisite::RecordExists(r) => {
                    put(&mut out, &r.owner, r.rtype, Class::IN, none, &r.rdata);
                }
            }
        }
        for change in &self.changes {
            match change {
                Change::Add(r) => put(&mut out, &r.owner, r.rtype, Class::IN, r.ttl, &r.rdata),
                Change::DeleteRrset(n, t) => put(&mut out, n, *t, Class::ANY, none, &[]),
                Change::DeleteName(n) => put(&mut out, n, Rtype::ANY, Class::ANY, none, &[]),
                Change::DeleteRecord(r) => {
                    put(&mut out, &r.owner, r.rtype, Class::NONE, none, &r.rdata);
                }
            }
        }
        // EDNS without options: only who sends it is told why an update is refused (RFC 6891 §7, RFC 8914).
        out.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        match out.len() {
            0..=0xFFFF => Ok(out),
            octets => Err(TooLarge(octets)),
        }
    }
}

fn put(out: &mut Vec<u8>, owner: &Name, rtype: Rtype, class: Class, ttl: Ttl, rdata: &[u8]) {
    out.extend_from_slice(owner.as_slice());
    out.extend_from_slice(&rtype.to_int().to_be_bytes());
    out.extend_from_slice(&class.to_int().to_be_bytes());
    out.extend_from_slice(&ttl.as_secs().to_be_bytes());
    out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(rdata);
}

/// An update does not fit into one message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the update is too large for one message, which has at most 65,535 octets; split it")]
pub struct TooLarge(pub usize);

#[cfg(test)]
mod tests;
