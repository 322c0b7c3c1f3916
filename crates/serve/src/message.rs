//! Taking a query apart (RFC 1035 §4.1), by hand and without allocation.
//!
//! What is strict: one question, no record in the answer and authority sections, names in range, one OPT at most, TSIG
//! last, nothing behind the end. What is lenient: unknown flags, unknown options, other additional records.

use crate::edns::{self, Edns};

/// Length of the header.
pub const HEADER: usize = 12;

/// Type codes that are treated apart.
pub(crate) mod types {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const MX: u16 = 15;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const DS: u16 = 43;
    pub(crate) const RRSIG: u16 = 46;
    pub(crate) const NSEC: u16 = 47;
    pub(crate) const NSEC3: u16 = 50;
    pub(crate) const SVCB: u16 = 64;
    pub(crate) const HTTPS: u16 = 65;
    pub(crate) const TSIG: u16 = 250;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;
}

/// Class codes.
pub(crate) mod classes {
    pub(crate) const IN: u16 = 1;
    pub(crate) const CHAOS: u16 = 3;
}

/// Response codes that are used here (RFC 1035 §4.1.1, RFC 2136 §2.2, RFC 6672, RFC 6891).
pub(crate) mod rcodes {
    pub(crate) const NOERROR: u16 = 0;
    pub(crate) const FORMERR: u16 = 1;
    pub(crate) const SERVFAIL: u16 = 2;
    pub(crate) const NXDOMAIN: u16 = 3;
    pub(crate) const NOTIMP: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    pub(crate) const YXDOMAIN: u16 = 6;
    pub(crate) const NOTAUTH: u16 = 9;
    pub(crate) const BADVERS: u16 = 16;
}

/// What kind of message this is, as far as it could be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'m> {
    /// A query to answer here.
    Query(Query<'m>),
    /// Not for the data plane: NOTIFY, UPDATE, AXFR, IXFR, or with TSIG.
    Control,
    /// To be dropped without a word: a response, or too short for a header.
    Drop,
    /// An opcode that we do not implement.
    NotImplemented,
    /// Malformed. The question when it could be read, for the sender to see.
    Malformed(Option<Question<'m>>),
}

/// The question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'m> {
    /// The name in wire format, as it came.
    pub name: &'m [u8],
    /// The type.
    pub qtype: u16,
    /// The class.
    pub class: u16,
    /// All three as they stand in the message.
    pub wire: &'m [u8],
}

/// A well-formed query.
#[derive(Debug, PartialEq, Eq)]
pub struct Query<'m> {
    /// The question; all of it is empty in a query that only wants a cookie.
    pub question: Question<'m>,
    /// What the OPT record says, if there is one.
    pub edns: Option<Edns<'m>>,
}

/// Takes a message apart.
pub fn parse(message: &[u8]) -> Parsed<'_> {
    let Some(header) = message.first_chunk::<HEADER>() else {
        return Parsed::Drop;
    };
    // A response must never be answered, or two servers could do so forever.
    if header[2] & 0x80 != 0 {
        return Parsed::Drop;
    }
    match header[2] >> 3 & 15 {
        0 => {}
        4 | 5 => return Parsed::Control,
        _ => return Parsed::NotImplemented,
    }
    // RFC 9619: a query has exactly one question; RFC 7873 §5.4: or none, if it only wants a cookie.
    if header[4..6] == [0, 0] {
        return cookie_only(message, header);
    }
    if header[4..6] != [0, 1] {
        return Parsed::Malformed(None);
    }
    let Some(question) = question(message) else {
        return Parsed::Malformed(None);
    };
    if matches!(question.qtype, types::IXFR | types::AXFR) {
        return Parsed::Control;
    }
    // The usual query ends here or after an OPT record.
    match additional(message, header, &question) {
        Ok(Additional { tsig: true, .. }) => Parsed::Control,
        Ok(Additional { edns, .. }) => Parsed::Query(Query { question, edns }),
        Err(Malformed) => Parsed::Malformed(Some(question)),
    }
}

fn cookie_only<'m>(message: &'m [u8], header: &[u8; HEADER]) -> Parsed<'m> {
    let question = Question {
        name: &[],
        qtype: 0,
        class: 0,
        wire: &[],
    };
    match additional(message, header, &question) {
        Ok(Additional {
            edns: Some(edns),
            tsig: false,
        }) if edns.cookie.is_some() => Parsed::Query(Query {
            question,
            edns: Some(edns),
        }),
        _ => Parsed::Malformed(None),
    }
}

/// The question of a message that has one.
pub(crate) fn question(message: &[u8]) -> Option<Question<'_>> {
    let rest = message.get(HEADER..)?;
    // There is nothing before the question that its name could point to.
    let name_len = wire_name_len(rest)?;
    let fixed = rest.get(name_len..name_len + 4)?;
    Some(Question {
        name: &rest[..name_len],
        qtype: u16::from_be_bytes([fixed[0], fixed[1]]),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
        wire: &rest[..name_len + 4],
    })
}

struct Malformed;

/// The second octet of the type of an OPT record, of which the first is zero.
const OPT: u8 = types::OPT as u8;

struct Additional<'m> {
    edns: Option<Edns<'m>>,
    tsig: bool,
}

#[inline(always)]
fn additional<'m>(
    message: &'m [u8],
    header: &[u8; HEADER],
    question: &Question<'_>,
) -> Result<Additional<'m>, Malformed> {
    // A query has no use for records in the other two sections.
    if header[6..10] != [0, 0, 0, 0] {
        return Err(Malformed);
    }
    let at = HEADER + question.wire.len();
    let count = u16::from_be_bytes([header[10], header[11]]);
    // The usual query has an OPT record without options, and nothing else.
    if count == 1
        && let Ok(&[0, 0, OPT, ref fields @ .., 0, 0]) = <&[u8; 11]>::try_from(&message[at..])
    {
        return Ok(Additional {
            edns: Some(edns::without_options(*fields)),
            tsig: false,
        });
    }
    any_additional(message, at, count)
}

/// The additional records, so many from some octet on.
#[inline(never)]
fn any_additional(message: &[u8], mut at: usize, count: u16) -> Result<Additional<'_>, Malformed> {
    let mut found = Additional {
        edns: None,
        tsig: false,
    };
    for _ in 0..count {
        if found.tsig {
            // RFC 8945 §5.1: TSIG is the last record.
            return Err(Malformed);
        }
        let owner = at;
        at = match message.get(at) {
            // The root, as that of an OPT record.
            Some(0) => at + 1,
            _ => skip_name(message, at).ok_or(Malformed)?,
        };
        let fixed = message.get(at..).and_then(<[u8]>::first_chunk::<10>);
        let fixed = fixed.ok_or(Malformed)?;
        let rtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        let len = u16::from_be_bytes([fixed[8], fixed[9]]) as usize;
        at += 10;
        let rdata = message.get(at..at + len).ok_or(Malformed)?;
        at += len;
        match rtype {
            types::OPT => {
                // RFC 6891 §6.1.1: one OPT record at most, and its owner is the root.
                if found.edns.is_some() || message[owner] != 0 {
                    return Err(Malformed);
                }
                found.edns = Some(edns::parse(fixed, rdata).ok_or(Malformed)?);
            }
            types::TSIG => found.tsig = true,
            _ => {}
        }
    }
    match at == message.len() {
        true => Ok(found),
        false => Err(Malformed),
    }
}

/// Whether an OPT record of the message has an option, wherever it stands; a message that cannot be read that far has none.
pub(crate) fn has_option(message: &[u8], code: u16) -> bool {
    options(message).is_some_and(|mut options| options.any(|option| option == code))
}

/// The codes of the options in the first OPT record among the additional ones.
fn options(message: &[u8]) -> Option<impl Iterator<Item = u16>> {
    let (_, rdata) = first_opt(message)?;
    let mut rdata = rdata?;
    Some(std::iter::from_fn(move || {
        let (head, tail) = rdata.split_first_chunk::<4>()?;
        rdata = tail.get(u16::from_be_bytes([head[2], head[3]]) as usize..)?;
        Some(u16::from_be_bytes([head[0], head[1]]))
    }))
}

/// The first OPT record among the additional ones of a message of any kind, however malformed what comes after it is: its ten octets
/// between owner and data, and the data if all of it is there.
pub(crate) fn first_opt(message: &[u8]) -> Option<(&[u8; 10], Option<&[u8]>)> {
    let opt = records(message).find(|record| record.is_opt)?;
    Some((opt.fixed, opt.rdata))
}

/// A record in a message.
pub(crate) struct Placed<'m> {
    /// Where its owner begins.
    pub at: usize,
    /// The ten octets between owner and data.
    pub fixed: &'m [u8; 10],
    /// The data, if all of it is there.
    pub rdata: Option<&'m [u8]>,
    /// Whether it is an OPT record where one belongs.
    pub is_opt: bool,
}

impl Placed<'_> {
    /// Its type.
    pub(crate) fn rtype(&self) -> u16 {
        u16::from_be_bytes([self.fixed[0], self.fixed[1]])
    }
}

/// The records of a message of any kind, as far as they can be read.
pub(crate) fn records(message: &[u8]) -> impl Iterator<Item = Placed<'_>> {
    let counts = [4, 6, 8, 10].map(|at| match message.get(at..at + 2) {
        Some(count) => u32::from(count[0]) << 8 | u32::from(count[1]),
        None => 0,
    });
    let [questions, answers, authority, additional] = counts;
    let mut next = Some(HEADER);
    for _ in 0..questions {
        next = next.and_then(|at| Some(skip_name(message, at)? + 4));
    }
    let others = answers + authority;
    (0..others + additional).map_while(move |number| {
        let at = next?;
        let end = skip_name(message, at)?;
        let fixed = message.get(end..)?.first_chunk::<10>()?;
        let len = u16::from_be_bytes([fixed[8], fixed[9]]) as usize;
        let rdata = message.get(end + 10..end + 10 + len);
        next = rdata.map(|rdata| end + 10 + rdata.len());
        Some(Placed {
            at,
            fixed,
            rdata,
            is_opt: number >= others && message[at] == 0 && fixed[..2] == types::OPT.to_be_bytes(),
        })
    })
}

/// The length of an uncompressed name at the start of octets, its root label included; none if there is no good one.
pub(crate) fn wire_name_len(octets: &[u8]) -> Option<usize> {
    // None is longer (RFC 1035 §2.3.4).
    let octets = octets.get(..255).unwrap_or(octets);
    let mut at = 0;
    loop {
        let len = *octets.get(at)?;
        at += 1;
        match len {
            0 => return Some(at),
            1..=63 => at += usize::from(len),
            _ => return None,
        }
    }
}

/// Where a possibly compressed name ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + len as usize,
            0xC0.. => {
                message.get(at + 1)?;
                return Some(at + 2);
            }
            _ => return None,
        }
        if at - start > 254 {
            return None;
        }
    }
}
