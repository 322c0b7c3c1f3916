//! EDNS (RFC 6891): reading the OPT record of a query and writing that of the answer.

use zonemesh_zone::inventory::{Asked, compose_sum};

use crate::message::types;

/// Option codes.
pub(crate) mod codes {
    pub(crate) const NSID: u16 = 3;
    pub(crate) const EXPIRE: u16 = 9;
    pub(crate) const COOKIE: u16 = 10;
    pub(crate) const KEEPALIVE: u16 = 11;
    pub(crate) const PADDING: u16 = 12;
    pub(crate) const EXTENDED_ERROR: u16 = 15;
    /// Of the range for local use; see `zonemesh_transfer::query::HEARTBEAT`.
    pub(crate) const HEARTBEAT: u16 = 65_453;
}

/// The version of the heartbeat that we know.
const HEARTBEAT_VERSION: u8 = 1;

/// Extended errors that we give (RFC 8914 §5.2).
pub(crate) mod extended {
    pub(crate) const NOT_READY: u16 = 14;
    pub(crate) const PROHIBITED: u16 = 18;
    pub(crate) const NOT_AUTHORITATIVE: u16 = 20;
    pub(crate) const NOT_SUPPORTED: u16 = 21;
    pub(crate) const INVALID_DATA: u16 = 24;
}

/// What a query's OPT record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns<'m> {
    /// How large a UDP message the sender can take, in octets, as it says.
    pub payload: u16,
    /// The version of EDNS.
    pub version: u8,
    /// Whether DNSSEC records are wanted (RFC 3225).
    pub dnssec: bool,
    /// Whether there is an option that could be read; there is nothing of what follows without.
    pub has_options: bool,
    /// Whether the server's identity is wanted (RFC 5001).
    pub nsid: bool,
    /// Whether the time to expiry is wanted (RFC 7314).
    pub expire: bool,
    /// Whether the idle time-out is wanted (RFC 7828).
    pub keepalive: bool,
    /// Whether the answer may be padded (RFC 7830).
    pub padding: bool,
    /// Whether a member wants to know how this server is.
    pub heartbeat: bool,
    /// What a member wants to know of what is held here.
    pub inventory: Option<Asked>,
    /// The cookie: 8 octets of the client, then perhaps 8 to 32 of a server (RFC 7873).
    pub cookie: Option<&'m [u8]>,
}

/// Reads an OPT record: its ten octets between owner and data, and the data. None when it is malformed.
pub(crate) fn parse<'m>(fixed: &[u8; 10], rdata: &'m [u8]) -> Option<Edns<'m>> {
    let [_, _, fields @ .., _, _] = *fixed;
    let edns = without_options(fields);
    // What the options of another version look like is not ours to say.
    match edns.version != 0 {
        true => Some(edns),
        false => options(edns, rdata),
    }
}

/// Reads an OPT record as far as it can be read, for the answer to a message that is malformed: without its options where these are.
pub(crate) fn parse_what_can_be<'m>(fixed: &[u8; 10], rdata: Option<&'m [u8]>) -> Edns<'m> {
    let [_, _, fields @ .., _, _] = *fixed;
    let whole = rdata.and_then(|rdata| parse(fixed, rdata));
    whole.unwrap_or_else(|| without_options(fields))
}

/// What the six octets in the places of a class and a TTL say.
pub(crate) fn without_options<'m>(fields: [u8; 6]) -> Edns<'m> {
    let [high, low, _, version, flags, _] = fields;
    Edns {
        payload: u16::from_be_bytes([high, low]),
        version,
        dnssec: flags & 0x80 != 0,
        ..Edns::default()
    }
}

/// Reads the options of an OPT record.
fn options<'m>(mut edns: Edns<'m>, rdata: &'m [u8]) -> Option<Edns<'m>> {
    let mut rest = rdata;
    edns.has_options = !rest.is_empty();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let len = u16::from_be_bytes([head[2], head[3]]) as usize;
        let (data, tail) = tail.split_at_checked(len)?;
        rest = tail;
        match u16::from_be_bytes([head[0], head[1]]) {
            codes::NSID => edns.nsid = true,
            codes::EXPIRE => edns.expire = true,
            codes::KEEPALIVE => edns.keepalive = true,
            codes::PADDING => edns.padding = true,
            // A later version is for us to ignore.
            codes::HEARTBEAT => {
                edns.heartbeat |= data == [HEARTBEAT_VERSION];
                edns.inventory = edns.inventory.or(Asked::parse(data));
            }
            codes::COOKIE => {
                // RFC 7873 §5.2.2: any other length is a format error. The first of several counts.
                if !matches!(data.len(), 8 | 16..=40) {
                    return None;
                }
                edns.cookie = edns.cookie.or(Some(data));
            }
            _ => {}
        }
    }
    Some(edns)
}

/// What the OPT record of an answer says.
pub(crate) struct Answer<'t> {
    /// The largest UDP message that we take.
    pub payload: u16,
    /// The response code, of which the upper eight bits stand here.
    pub rcode: u16,
    /// Echoed.
    pub dnssec: bool,
    /// Seconds.
    pub expire: Option<u32>,
    pub extended_error: Option<u16>,
    /// What was asked for with options.
    pub told: Option<&'t Told<'t>>,
}

/// What is told to those who ask for it with options.
#[derive(Debug, Default)]
pub(crate) struct Told<'s> {
    pub nsid: Option<&'s [u8]>,
    /// In units of 100 milliseconds.
    pub keepalive: Option<u16>,
    /// Both cookies.
    pub cookie: Option<[u8; 24]>,
    /// Whether the client has shown a good server cookie; not written.
    pub proven: bool,
    /// The time in milliseconds since 1970, and for how many seconds there was no progress.
    pub heartbeat: Option<(u64, u16)>,
    /// The sum of all that is held here.
    pub sum: Option<u64>,
    /// What is held in a section, as octets.
    pub listing: Option<Vec<u8>>,
    /// Pad the message to a multiple of this.
    pub pad_to: Option<usize>,
}

impl Told<'_> {
    /// How many octets it takes, without padding.
    fn len(&self) -> usize {
        self.nsid.map_or(0, |nsid| 4 + nsid.len())
            + self.keepalive.map_or(0, |_| 6)
            + self.cookie.map_or(0, |_| 28)
            + self.heartbeat.map_or(0, |_| 15)
            + self.sum.map_or(0, |_| 13)
            + self.listing.as_ref().map_or(0, |listing| 4 + listing.len())
    }
}

/// Octets of an OPT record without options.
const FIXED: usize = 11;

/// How many octets the record of an answer may take, without padding and with an extended error, so that room can be kept for it.
pub(crate) fn max_len(told: Option<&Told<'_>>) -> usize {
    FIXED + 6 + 8 + told.map_or(0, Told::len)
}

impl Answer<'_> {
    /// Appends the record to a message that must not get longer than `limit`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, limit: usize) {
        let (rtype, payload) = (types::OPT.to_be_bytes(), self.payload.to_be_bytes());
        let rcode_high = (self.rcode >> 4) as u8;
        let flags = u8::from(self.dnssec) << 7;
        let fixed: [u8; FIXED] = [
            0, rtype[0], rtype[1], payload[0], payload[1], rcode_high, 0, flags, 0, 0, 0,
        ];
        out.extend_from_slice(&fixed);
        if self.told.is_some() || self.expire.is_some() || self.extended_error.is_some() {
            self.write_options(out, limit);
        }
    }

    /// Appends the options to a message that ends with the record's eleven octets, of which the last two are the length of the options.
    #[inline(never)]
    fn write_options(&self, out: &mut Vec<u8>, limit: usize) {
        let start = out.len();
        let none = Told::default();
        let told = self.told.unwrap_or(&none);
        if let Some(nsid) = told.nsid {
            option(out, codes::NSID, nsid);
        }
        if let Some(expire) = self.expire {
            option(out, codes::EXPIRE, &expire.to_be_bytes());
        }
        if let Some(cookie) = &told.cookie {
            option(out, codes::COOKIE, cookie);
        }
        if let Some(keepalive) = told.keepalive {
            option(out, codes::KEEPALIVE, &keepalive.to_be_bytes());
        }
        if let Some(error) = self.extended_error {
            option(out, codes::EXTENDED_ERROR, &error.to_be_bytes());
        }
        if let Some((time, stuck)) = told.heartbeat {
            let mut data = [HEARTBEAT_VERSION; 11];
            data[1..9].copy_from_slice(&time.to_be_bytes());
            data[9..].copy_from_slice(&stuck.to_be_bytes());
            option(out, codes::HEARTBEAT, &data);
        }
        if let Some(sum) = told.sum {
            option(out, codes::HEARTBEAT, &compose_sum(sum));
        }
        if let Some(listing) = &told.listing {
            option(out, codes::HEARTBEAT, listing);
        }
        if let Some(block) = told.pad_to {
            let len = (out.len() + 4).next_multiple_of(block).min(limit);
            if let Some(zeros) = len.checked_sub(out.len() + 4) {
                out.extend_from_slice(&codes::PADDING.to_be_bytes());
                out.extend_from_slice(&(zeros as u16).to_be_bytes());
                out.resize(len, 0);
            }
        }
        let len = (out.len() - start) as u16;
        out[start - 2..start].copy_from_slice(&len.to_be_bytes());
    }
}

fn option(out: &mut Vec<u8>, code: u16, data: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}
