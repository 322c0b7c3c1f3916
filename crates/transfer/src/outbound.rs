//! The messages of an answer that moves a zone: AXFR (RFC 5936 §2.2), IXFR (RFC 1995 §4), or a single SOA.
//!
//! Messages are made one at a time as they are asked for, from a zone version that cannot change meanwhile; memory in
//! use is that of one message. It neither signs ([`crate::tsig::Signer`] does, for which room is left) nor sends.

use zonemesh_zone::version::NameRef;
use zonemesh_zone::{Diff, Name, Record, Rtype, Serial, SerialExt, Zone};

use crate::message::{AA, QR, Section, TC, Writer};
use crate::query::{EXPIRE, PAYLOAD_SIZE, Question, Request};

/// An answer to an AXFR, IXFR or SOA request.
///
/// ```text
/// let response = Response::new(&request, zone, |from| store.diffs_since(..));
/// for message in response.messages() { /* sign, send */ }
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    id: u16,
    qname: Name,
    qtype: Rtype,
    zone: Zone,
    soa: Record,
    content: Content,
    /// Whether the request had EDNS, and what EXPIRE to send.
    edns: Option<Option<u32>>,
    asked_expire: bool,
    max_size: usize,
    reserve: usize,
    udp: bool,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The SOA record alone: the asker has all there is, or asked for no more.
    Soa,
    /// The whole zone.
    Axfr,
    /// Differences, oldest first, which lead from what the asker has to the zone.
    Ixfr(Vec<Diff>),
}

/// # Making it
impl Response {
    /// Decides what to answer. `diffs_since` is asked for the differences from a serial to this zone version; none means
    /// that history does not reach back so far.
    ///
    /// The whole zone is sent instead of differences when these are missing, do not lead to this version, have more
    /// records than the zone (RFC 1995 §4 leaves that to us), or lead across a [jump](Diff::jumps): whoever has a serial of before it
    /// may have something else under it. An asker that is ahead of us gets the SOA alone.
    pub fn new(
        request: &Request,
        zone: Zone,
        diffs_since: impl FnOnce(Serial) -> Option<Vec<Diff>>,
    ) -> Self {
        let content = match request.question {
            Question::Soa | Question::Notify { .. } => Content::Soa,
            Question::Axfr => Content::Axfr,
            Question::Ixfr { from } if from == zone.serial() || from.is_after(zone.serial()) => {
                Content::Soa
            }
            Question::Ixfr { from } => match diffs_since(from) {
                Some(diffs) if worth_sending(&diffs, from, &zone) => Content::Ixfr(diffs),
                _ => Content::Axfr,
            },
        };
        Self::with_content(request, zone, content)
    }

    /// An answer with given content.
    pub fn with_content(request: &Request, zone: Zone, content: Content) -> Self {
        Self {
            id: request.id,
            qname: request.zone.clone(),
            qtype: request.question.rtype(),
            soa: zone.soa_record(),
            zone,
            content,
            edns: request.edns.map(|_| None),
            asked_expire: request.edns.is_some_and(|edns| edns.expire),
            max_size: DEFAULT_SIZE,
            reserve: 0,
            udp: false,
        }
    }

    /// Says how long the zone may still be served, in seconds; sent if it was asked for (RFC 7314). A primary gives the
    /// zone's SOA EXPIRE, a secondary what is left.
    pub fn with_expire(mut self, seconds: u32) -> Self {
        if self.asked_expire {
            self.edns = Some(Some(seconds));
        }
        self
    }

    /// Leaves room in each message for a signature; see [`crate::tsig::Signer::max_len`].
    pub fn with_reserve(mut self, octets: usize) -> Self {
        self.reserve = octets;
        self
    }

    /// Sets the size that messages shall have at most, 512 to 65,535 octets. Only a message with a single record that is
    /// larger exceeds it.
    pub fn with_max_size(mut self, octets: usize) -> Self {
        self.max_size = octets.clamp(512, 0xFFFF);
        self
    }

    /// Makes it an answer for UDP: one message of at most this size. An IXFR that does not fit becomes the SOA alone,
    /// which makes the asker come back over TCP (RFC 1995 §2). An AXFR cannot be sent over UDP and must be refused
    /// before.
    pub fn for_udp(mut self, octets: usize) -> Self {
        self.max_size = octets.clamp(512, 0xFFFF);
        self.udp = true;
        self
    }

    /// What it holds.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The messages, in order.
    pub fn messages(&self) -> Box<dyn Iterator<Item = Vec<u8>> + Send + '_> {
        // One call by pointer for a message, and none for a record.
        let soa = || std::iter::once(Item::of(&self.soa));
        match &self.content {
            Content::Soa => Box::new(Messages::new(self, soa())),
            Content::Axfr => {
                let records = soa().chain(zone_items(&self.zone)).chain(soa());
                Box::new(Messages::new(self, records))
            }
            Content::Ixfr(diffs) => {
                let changes = diffs.iter();
                let changes = changes.flat_map(|diff| diff.removed.iter().chain(&diff.added));
                let records = soa().chain(changes.map(Item::of)).chain(soa());
                Box::new(Messages::new(self, records))
            }
        }
    }
}

/// Whether differences lead from the serial to the zone, and are fewer records than it has.
fn worth_sending(diffs: &[Diff], from: Serial, zone: &Zone) -> bool {
    let mut at = from;
    let mut records = 0;
    for diff in diffs {
        match diff.serials() {
            Some((start, end)) if start == at && !diff.jumps() => at = end,
            _ => return false,
        }
        records += diff.removed.len() + diff.added.len();
    }
    // Records are counted, not octets: counting those of the zone would cost a walk over all of it.
    !diffs.is_empty() && at == zone.serial() && records <= zone.record_count().max(SMALL_DIFF)
}

/// All records but the SOA.
fn zone_items(zone: &Zone) -> impl Iterator<Item = Item<'_>> + Send {
    zone.rrsets()
        .filter(|(_, set)| set.rtype() != Rtype::SOA)
        .flat_map(|(owner, set)| {
            let (rtype, ttl) = (set.rtype().to_int(), set.ttl().as_secs());
            set.iter().map(move |rdata| Item {
                owner,
                rtype,
                ttl,
                rdata,
            })
        })
}

/// A record, borrowed.
#[derive(Clone, Copy)]
struct Item<'a> {
    owner: &'a NameRef,
    rtype: u16,
    ttl: u32,
    rdata: &'a [u8],
}

impl<'a> Item<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            owner: record.owner.for_slice(),
            rtype: record.rtype.to_int(),
            ttl: record.ttl.as_secs(),
            rdata: &record.rdata,
        }
    }
}

/// The messages of a [`Response`].
struct Messages<'a, R> {
    response: &'a Response,
    records: R,
    /// A record that did not fit into the message before.
    next: Option<Item<'a>>,
    first: bool,
    done: bool,
}

impl<'a, R: Iterator<Item = Item<'a>>> Iterator for Messages<'a, R> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let response = self.response;
        let limit = response.max_size.saturating_sub(response.reserve).max(256);
        let edns = response.edns.filter(|_| self.first);
        let room_for_opt = edns.map_or(0, |_| OPT_LEN);
        let mut writer = self.start(limit - room_for_opt);
        let mut written = 0usize;
        loop {
            let Some(item) = self.next.take().or_else(|| self.records.next()) else {
                self.done = true;
                break;
            };
            if put(&mut writer, item) {
                written += 1;
                continue;
            }
            if response.udp {
                writer = self.start(limit - room_for_opt);
                if !put(&mut writer, Item::of(&response.soa)) {
                    writer = self.start_truncated(limit);
                }
                self.done = true;
                break;
            }
            if written == 0 {
                // A record may be as large as a message; room for the signature is what cannot be given up.
                writer.raise_limit(0xFFFF - response.reserve - room_for_opt);
                if put(&mut writer, item) {
                    break;
                }
                // No message can hold it. A receiver notices that the zone does not end as it must.
                self.done = true;
                return None;
            }
            self.next = Some(item);
            break;
        }
        if let Some(expire) = edns {
            writer.raise_limit(limit);
            let mut options = Vec::new();
            if let Some(seconds) = expire {
                options.extend_from_slice(&EXPIRE.to_be_bytes());
                options.extend_from_slice(&4u16.to_be_bytes());
                options.extend_from_slice(&seconds.to_be_bytes());
            }
            // Room was left above; a message made longer for one large record leaves it as well.
            writer.raise_limit(0xFFFF - response.reserve);
            writer.opt(PAYLOAD_SIZE, &options);
        }
        self.first = false;
        Some(writer.finish())
    }
}

impl<'a, R> Messages<'a, R> {
    fn new(response: &'a Response, records: R) -> Self {
        Self {
            response,
            records,
            next: None,
            first: true,
            done: false,
        }
    }

    /// RFC 5936 §2.2.1 leaves it to us whether messages after the first have the question; with it the apex stands where
    /// all owner names can point to it.
    fn start(&self, limit: usize) -> Writer {
        let mut writer = Writer::new(self.response.id, QR | AA, limit);
        writer.question(&self.response.qname, self.response.qtype);
        writer
    }

    fn start_truncated(&self, limit: usize) -> Writer {
        let mut writer = Writer::new(self.response.id, QR | AA | TC, limit);
        writer.question(&self.response.qname, self.response.qtype);
        writer
    }
}

fn put(writer: &mut Writer, item: Item<'_>) -> bool {
    writer.record(
        Section::Answer,
        item.owner,
        item.rtype,
        item.ttl,
        item.rdata,
    )
}

/// Compression pointers reach this far, so that larger messages would be filled with longer names.
const DEFAULT_SIZE: usize = 16 * 1024;
/// An OPT record with EXPIRE.
const OPT_LEN: usize = 11 + 8;
/// Differences of so few records are sent even when the zone is smaller: they keep the receiver's history whole.
const SMALL_DIFF: usize = 64;

#[cfg(test)]
mod tests;
