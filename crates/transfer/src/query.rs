//! The requests that servers send each other about a zone, and replies that carry no zone data: SOA queries, AXFR
//! (RFC 5936), IXFR (RFC 1995), NOTIFY (RFC 1996), with EDNS EXPIRE (RFC 7314) and extended errors (RFC 8914).
//!
//! It composes and parses; it neither decides who may ask nor chooses message IDs.

use zonemesh_zone::domain::base::opt::UnknownOptData;
use zonemesh_zone::domain::base::{Message, ToName};
use zonemesh_zone::inventory::{self, Asked, Listing};
use zonemesh_zone::{Class, Name, Rcode, Record, Rtype, Serial, Soa, Ttl};

use crate::message::{
    AA, HEADER_LEN, Header, OPCODE_NOTIFY, OPCODE_QUERY, OPCODE_UPDATE, QR, RD, Section, Writer,
    skip_name,
};

/// What a server wants to know, or says, about a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The SOA record.
    Soa,
    /// The whole zone.
    Axfr,
    /// What has changed since a serial.
    Ixfr {
        /// What the asker has.
        from: Serial,
    },
    /// The zone may have changed.
    Notify {
        /// The serial that the sender says it has; a hint that proves nothing (RFC 1996 §3.7).
        serial: Option<Serial>,
    },
}

impl Question {
    /// The type that stands in the question section.
    pub fn rtype(&self) -> Rtype {
        match self {
            Self::Soa | Self::Notify { .. } => Rtype::SOA,
            Self::Axfr => Rtype::AXFR,
            Self::Ixfr { .. } => Rtype::IXFR,
        }
    }
}

/// A request from one server to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The message ID.
    pub id: u16,
    /// The zone.
    pub zone: Name,
    /// What is asked.
    pub question: Question,
    /// EDNS, if the request has it.
    pub edns: Option<Edns>,
}

/// What we care about in the OPT record of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP message that the sender takes, in octets.
    pub payload_size: u16,
    /// Whether it wants to know how long the zone may still be served (RFC 7314).
    pub expire: bool,
    /// Whether it wants to know how the server is; see [`HEARTBEAT`].
    pub heartbeat: bool,
    /// What it wants to know of what the server holds.
    pub inventory: Option<Asked>,
}

impl Default for Edns {
    fn default() -> Self {
        Self {
            payload_size: PAYLOAD_SIZE,
            expire: true,
            heartbeat: false,
            inventory: None,
        }
    }
}

/// Why a message is not a request that we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is no DNS message, or a response. Answering could start a loop: drop it.
    #[error("not a request")]
    NotARequest,
    /// It is malformed: answer FORMERR.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// It asks for something that is not handled here: answer NOTIMP or pass it on.
    #[error("neither an SOA, AXFR or IXFR query nor a NOTIFY of class IN")]
    Other,
}

impl RequestError {
    /// What to answer; nothing when it must be dropped.
    pub fn rcode(&self) -> Option<Rcode> {
        match self {
            Self::NotARequest => None,
            Self::Malformed(_) => Some(Rcode::FORMERR),
            Self::Other => Some(Rcode::NOTIMP),
        }
    }
}

impl Request {
    /// A request without EDNS.
    pub fn new(id: u16, zone: Name, question: Question) -> Self {
        Self {
            id,
            zone,
            question,
            edns: None,
        }
    }

    /// This request with EDNS, which asks for EXPIRE too.
    pub fn with_edns(self) -> Self {
        Self {
            edns: Some(Edns::default()),
            ..self
        }
    }

    /// This request with EDNS, which asks for EXPIRE and for a heartbeat, the sum of what is held included: for members of the mesh
    /// alone.
    pub fn with_heartbeat(self) -> Self {
        let edns = Edns {
            heartbeat: true,
            inventory: Some(Asked::Sum),
            ..Edns::default()
        };
        Self {
            edns: Some(edns),
            ..self
        }
    }

    /// This request with EDNS, which asks what is held in a section: for members of the mesh alone.
    pub fn with_section(self, section: inventory::Section) -> Self {
        let edns = Edns {
            inventory: Some(Asked::Section(section)),
            ..Edns::default()
        };
        Self {
            edns: Some(edns),
            ..self
        }
    }

    /// The message. A NOTIFY carries an SOA record only if one is given with [`Request::compose_notify`].
    pub fn compose(&self) -> Vec<u8> {
        let mut writer = self.start();
        if let Question::Ixfr { from } = self.question {
            // RFC 1995 §3: only the serial of this record is looked at.
            let soa = Soa {
                mname: Name::root_bytes(),
                rname: Name::root_bytes(),
                serial: from,
                refresh: 0,
                retry: 0,
                expire: 0,
                minimum: 0,
            };
            let rdata = soa.to_rdata();
            writer.record(
                Section::Authority,
                &self.zone,
                Rtype::SOA.to_int(),
                0,
                &rdata,
            );
        }
        self.end(writer)
    }

    /// A NOTIFY that carries the new SOA record, whose owner is the zone (RFC 1996 §3.7).
    pub fn compose_notify(id: u16, soa: &Record) -> Vec<u8> {
        let request = Self::new(
            id,
            soa.owner.clone(),
            Question::Notify {
                serial: soa.soa().ok().map(|soa| soa.serial),
            },
        );
        let mut writer = request.start();
        writer.record(
            Section::Answer,
            &soa.owner,
            Rtype::SOA.to_int(),
            soa.ttl.as_secs(),
            &soa.rdata,
        );
        request.end(writer)
    }

    fn start(&self) -> Writer {
        let flags = match self.question {
            // RFC 1996 §3.7: AA is set in a NOTIFY.
            Question::Notify { .. } => u16::from(OPCODE_NOTIFY) << 11 | AA,
            _ => 0,
        };
        let mut writer = Writer::new(self.id, flags, 0xFFFF);
        writer.question(&self.zone, self.question.rtype());
        writer
    }

    fn end(&self, mut writer: Writer) -> Vec<u8> {
        if let Some(edns) = self.edns {
            let mut options = Vec::new();
            if edns.expire {
                push_option(&mut options, EXPIRE, &[]);
            }
            if edns.heartbeat {
                push_option(&mut options, HEARTBEAT, &[HEARTBEAT_VERSION]);
            }
            if let Some(asked) = edns.inventory {
                push_option(&mut options, HEARTBEAT, &asked.compose());
            }
            writer.opt(edns.payload_size, &options);
        }
        writer.finish()
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// When it is none of those that servers send each other; [`RequestError::rcode`] says what to answer.
    pub fn parse(message: &[u8]) -> Result<Self, RequestError> {
        let header = Header::read(message).ok_or(RequestError::NotARequest)?;
        if header.is_response() {
            return Err(RequestError::NotARequest);
        }
        if !matches!(header.opcode(), OPCODE_QUERY | OPCODE_NOTIFY) {
            return Err(RequestError::Other);
        }
        let malformed = RequestError::Malformed;
        let message = Message::from_slice(message).map_err(|_| RequestError::NotARequest)?;
        // RFC 5936 §2.1: QDCOUNT must be 1; so says RFC 1996 §3.
        if header.counts[0] != 1 {
            return Err(malformed("not exactly one question"));
        }
        let question = message
            .first_question()
            .ok_or(malformed("unreadable question"))?;
        if question.qclass() != Class::IN {
            return Err(RequestError::Other);
        }
        let zone: Name = question.qname().to_name();
        let kind = match (header.opcode(), question.qtype()) {
            (OPCODE_NOTIFY, Rtype::SOA) => Question::Notify {
                serial: soa_in(message.answer(), &zone)?.map(|soa| soa.serial),
            },
            (OPCODE_QUERY, Rtype::SOA) => Question::Soa,
            (OPCODE_QUERY, Rtype::AXFR) => Question::Axfr,
            (OPCODE_QUERY, Rtype::IXFR) => Question::Ixfr {
                from: soa_in(message.authority(), &zone)?
                    .ok_or(malformed("an IXFR without the SOA that it starts from"))?
                    .serial,
            },
            _ => return Err(RequestError::Other),
        };
        let edns = message.opt().map(|opt| {
            let mut edns = Edns {
                payload_size: opt.udp_payload_size(),
                expire: false,
                heartbeat: false,
                inventory: None,
            };
            let options = opt.opt();
            for option in options.iter::<UnknownOptData<_>>().flatten() {
                match option.code().to_int() {
                    EXPIRE => edns.expire = true,
                    // A later version is for us to ignore.
                    HEARTBEAT => {
                        edns.heartbeat |= option.as_slice() == [HEARTBEAT_VERSION];
                        edns.inventory = edns.inventory.or(Asked::parse(option.as_slice()));
                    }
                    _ => {}
                }
            }
            edns
        });
        Ok(Self {
            id: header.id,
            zone,
            question: kind,
            edns,
        })
    }
}

type SectionResult<'a> = Result<
    zonemesh_zone::domain::base::message::RecordSection<'a, [u8]>,
    zonemesh_zone::domain::base::wire::ParseError,
>;

/// The first SOA record of the zone in a section.
fn soa_in(section: SectionResult<'_>, zone: &Name) -> Result<Option<Soa>, RequestError> {
    let malformed = |_| RequestError::Malformed("unreadable record");
    for record in section.map_err(malformed)? {
        let record = record.map_err(malformed)?;
        if record.rtype() == Rtype::SOA && record.owner() == *zone {
            return Record::from_message(&record)
                .and_then(|record| record.soa())
                .map(Some)
                .map_err(|_| RequestError::Malformed("unreadable SOA"));
        }
    }
    Ok(None)
}

/// An answer to an SOA query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoaAnswer {
    /// The SOA.
    pub soa: Soa,
    /// The TTL of the SOA record.
    pub ttl: Ttl,
    /// How long the sender may still serve the zone, in seconds, if it says so (RFC 7314).
    pub expire: Option<u32>,
    /// How the sender is, if it says so; see [`HEARTBEAT`].
    pub heartbeat: Option<Heartbeat>,
    /// The sum of all that the sender holds, if it says so.
    pub sum: Option<u64>,
    /// What it holds in a section, if it says so.
    pub listing: Option<(inventory::Section, Listing)>,
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// What time it has, in milliseconds since 1970.
    pub unix_ms: i64,
    /// For how many seconds it has made no progress, though it answers.
    pub stuck_secs: u16,
}

/// Why a reply is not the answer that was waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is malformed.
    #[error("malformed reply: {0}")]
    Malformed(&'static str),
    /// It says no.
    #[error("answered {rcode}{}", Because(.why))]
    Rcode {
        /// What it says.
        rcode: Rcode,
        /// Its extended error, if it has one.
        why: Option<String>,
    },
    /// It has no SOA record of the zone: the sender does not have it.
    #[error("the reply has no SOA record of {0}")]
    NoSoa(Name),
    /// The reply is not authoritative: the sender is a resolver, or its copy has expired.
    #[error("the reply is not authoritative")]
    NotAuthoritative,
}

/// Shows an optional reason.
pub(crate) struct Because<'a>(pub(crate) &'a Option<String>);

impl std::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

/// Reads the answer to an SOA query. That the ID and the peer are right was checked before.
///
/// # Errors
///
/// When it says no, or is not an answer.
pub fn parse_soa_answer(message: &[u8], zone: &Name) -> Result<SoaAnswer, ReplyError> {
    let parsed = checked_reply(message)?;
    if !parsed.header().aa() {
        return Err(ReplyError::NotAuthoritative);
    }
    let malformed = |_| ReplyError::Malformed("unreadable record");
    for record in parsed.answer().map_err(malformed)? {
        let record = record.map_err(malformed)?;
        if record.rtype() == Rtype::SOA && record.owner() == *zone {
            let record = Record::from_message(&record)
                .map_err(|_| ReplyError::Malformed("unreadable SOA record"))?;
            let soa = record
                .soa()
                .map_err(|_| ReplyError::Malformed("unreadable SOA record"))?;
            return Ok(SoaAnswer {
                soa,
                ttl: record.ttl,
                expire: expire_of(message),
                heartbeat: heartbeat_of(message, parse_heartbeat),
                sum: heartbeat_of(message, inventory::parse_sum),
                listing: heartbeat_of(message, Listing::parse),
            });
        }
    }
    Err(ReplyError::NoSoa(zone.clone()))
}

/// Reads an acknowledgement, as of a NOTIFY or an UPDATE.
///
/// # Errors
///
/// When it says no, or is not a reply.
pub fn parse_acknowledgement(message: &[u8]) -> Result<(), ReplyError> {
    checked_reply(message).map(|_| ())
}

fn checked_reply(message: &[u8]) -> Result<&Message<[u8]>, ReplyError> {
    let parsed =
        Message::from_slice(message).map_err(|_| ReplyError::Malformed("shorter than a header"))?;
    if !parsed.header().qr() {
        return Err(ReplyError::Malformed("a request where a reply was due"));
    }
    match parsed.header().rcode() {
        Rcode::NOERROR => Ok(parsed),
        rcode => Err(ReplyError::Rcode {
            rcode,
            why: extended_error_of(message),
        }),
    }
}

/// The EDNS EXPIRE value of a response in seconds (RFC 7314 §2), if it has one.
pub fn expire_of(message: &[u8]) -> Option<u32> {
    option_of(message, EXPIRE).and_then(|data| Some(u32::from_be_bytes(data.try_into().ok()?)))
}

/// The first part of the heartbeat of a response that can be read as what is looked for.
fn heartbeat_of<T>(message: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let opt = Message::from_slice(message).ok()?.opt()?;
    let options = opt.opt().iter::<UnknownOptData<_>>().flatten();
    options
        .filter(|option| option.code().to_int() == HEARTBEAT)
        .find_map(|option| read(option.as_slice()))
}

fn parse_heartbeat(data: &[u8]) -> Option<Heartbeat> {
    let (version, data) = data.split_first()?;
    let (time, stuck) = data.split_first_chunk::<8>()?;
    let heartbeat = Heartbeat {
        unix_ms: i64::try_from(u64::from_be_bytes(*time)).ok()?,
        stuck_secs: u16::from_be_bytes(stuck.try_into().ok()?),
    };
    (*version == HEARTBEAT_VERSION).then_some(heartbeat)
}

/// Adds an EDNS option to others.
pub(crate) fn push_option(options: &mut Vec<u8>, code: u16, data: &[u8]) {
    options.extend_from_slice(&code.to_be_bytes());
    options.extend_from_slice(&(data.len() as u16).to_be_bytes());
    options.extend_from_slice(data);
}

/// The extended error of a response as text (RFC 8914), if it has one. Control characters do not get through.
pub fn extended_error_of(message: &[u8]) -> Option<String> {
    let data = option_of(message, EXTENDED_ERROR)?;
    let (code, text) = data.split_first_chunk::<2>()?;
    let code = u16::from_be_bytes(*code);
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    Some(if text.is_empty() {
        format!("extended error {code}")
    } else {
        format!("extended error {code}: {text}")
    })
}

fn option_of(message: &[u8], code: u16) -> Option<Vec<u8>> {
    let opt = Message::from_slice(message).ok()?.opt()?;
    opt.opt()
        .iter::<UnknownOptData<_>>()
        .flatten()
        .find(|option| option.code().to_int() == code)
        .map(|option| option.as_slice().to_vec())
}

/// An RFC 8914 extended error: its code and a short text.
pub type ExtendedError<'a> = (u16, &'a str);

/// Composes a reply to a request that carries no data but its RCODE and perhaps a reason. An OPT record, with the
/// reason, is sent to those who sent one (RFC 6891 §6.1.1).
///
/// Returns none when what is answered is no request: answering a response could start a loop.
pub fn reply(request: &[u8], rcode: Rcode, why: Option<ExtendedError<'_>>) -> Option<Vec<u8>> {
    compose_reply(request, rcode.to_int().into(), why)
}

/// What is answered to a request because of its OPT record alone: FORMERR to one with two of them (RFC 6891 §6.1.1) or with
/// options that cannot be read (§7), BADVERS to a version that is not known here (§6.1.3). None when there is nothing wrong with it;
/// a request that cannot be read so far has other faults, to be found by others.
pub fn edns_refusal(request: &[u8]) -> Option<Vec<u8>> {
    let mut opts = opts(request);
    let first = opts.next()?;
    let rcode = match opts.next() {
        Some(_) => Rcode::FORMERR.to_int().into(),
        None if first.version != 0 => BADVERS,
        None if !first.is_whole() => Rcode::FORMERR.to_int().into(),
        None => return None,
    };
    compose_reply(request, rcode, None)
}

/// What stands in an OPT record.
struct Opt<'m> {
    version: u8,
    dnssec: bool,
    options: &'m [u8],
}

impl Opt<'_> {
    /// Whether all options end where the record does.
    fn is_whole(&self) -> bool {
        let mut rest = self.options;
        while let Some((head, data)) = rest.split_first_chunk::<4>() {
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            match data.get(len..) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

/// The OPT records among the additional ones, as far as these can be read.
fn opts(message: &[u8]) -> impl Iterator<Item = Opt<'_>> {
    let counts = Header::read(message).map_or([0; 4], |header| header.counts);
    let [questions, answers, authority, additional] = counts.map(u32::from);
    let mut at = Some(HEADER_LEN);
    for _ in 0..questions {
        at = at.and_then(|at| skip_name(message, at)).map(|end| end + 4);
    }
    let others = answers + authority;
    let records = (0..others + additional).map_while(move |number| {
        let owner = at?;
        let fixed_at = skip_name(message, owner)?;
        let fixed = message.get(fixed_at..)?.first_chunk::<10>()?;
        let [type_0, type_1, _, _, _, version, flags, _, len_0, len_1] = *fixed;
        let end = fixed_at + 10 + usize::from(u16::from_be_bytes([len_0, len_1]));
        let options = message.get(fixed_at + 10..end)?;
        at = Some(end);
        let is_opt = number >= others
            && message[owner] == 0
            && [type_0, type_1] == Rtype::OPT.to_int().to_be_bytes();
        Some(is_opt.then_some(Opt {
            version,
            dnssec: flags & 0x80 != 0,
            options,
        }))
    });
    records.flatten()
}

fn compose_reply(request: &[u8], rcode: u16, why: Option<ExtendedError<'_>>) -> Option<Vec<u8>> {
    let header = Header::read(request)?;
    if header.is_response() {
        return None;
    }
    // RFC 1996 §4.7, RFC 2136 §3.8: OPCODE is copied. RD is copied (RFC 1035 §4.1.1).
    let mut flags = QR | header.flags & (0x7800 | RD) | rcode & 0x0F;
    if header.opcode() == OPCODE_NOTIFY {
        flags |= AA;
    }
    let mut message = Vec::with_capacity(512);
    message.extend_from_slice(&header.id.to_be_bytes());
    message.extend_from_slice(&flags.to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    if header.counts[0] == 1
        && let Some(end) = skip_name(request, HEADER_LEN)
        && let Some(question) = request.get(HEADER_LEN..end + 4)
        // A name in a request's first question has nothing before it that it could point to.
        && request[end - 1] == 0
    {
        message.extend_from_slice(question);
        message[5] = 1;
    }
    if let Some(opt) = opts(request).next() {
        let mut options = Vec::new();
        if let Some((code, text)) = why {
            let text = &text.as_bytes()[..text.len().min(200)];
            options.extend_from_slice(&EXTENDED_ERROR.to_be_bytes());
            options.extend_from_slice(&(text.len() as u16 + 2).to_be_bytes());
            options.extend_from_slice(&code.to_be_bytes());
            options.extend_from_slice(text);
        }
        message.push(0);
        message.extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
        message.extend_from_slice(&PAYLOAD_SIZE.to_be_bytes());
        // RFC 3225 §3: the flag for DNSSEC is copied.
        message.extend_from_slice(&[(rcode >> 4) as u8, 0, u8::from(opt.dnssec) << 7, 0]);
        message.extend_from_slice(&(options.len() as u16).to_be_bytes());
        message.extend_from_slice(&options);
        message[11] = 1;
    }
    Some(message)
}

/// Whether a message is an UPDATE, which must not be sent twice without a thought.
pub(crate) fn is_update(message: &[u8]) -> bool {
    Header::read(message).is_some_and(|header| header.opcode() == OPCODE_UPDATE)
}

/// EDNS option code of EXPIRE (RFC 7314 §2).
pub(crate) const EXPIRE: u16 = 9;
/// EDNS option code of the heartbeat, of the range for local use (RFC 6891 §9). A member of a mesh that asks another for the
/// SOA of the directory sends the version (one octet) alone, and is answered with the version, the time there (eight octets,
/// milliseconds since 1970), and for how many seconds the other has made no progress (two octets). In a second option of the
/// same code, of version 2, it asks what the other holds: see [`inventory`]. Nobody but members is answered.
pub const HEARTBEAT: u16 = 65_453;
/// The version of the heartbeat.
pub const HEARTBEAT_VERSION: u8 = 1;
/// EDNS option code of extended errors (RFC 8914 §2).
pub(crate) const EXTENDED_ERROR: u16 = 15;
/// Response code for a version of EDNS that is not known (RFC 6891 §9), of which four bits are in the header.
const BADVERS: u16 = 16;
/// What we take over UDP: does not fragment on any path in use (the value of DNS flag day 2020).
pub const PAYLOAD_SIZE: u16 = 1232;

#[cfg(test)]
mod tests;
