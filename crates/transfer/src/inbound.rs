//! Taking in an AXFR (RFC 5936 §2.2) or IXFR (RFC 1995 §4) answer, message by message, into a new zone version.
//!
//! Everything is checked before anything is published: a transfer that breaks in the middle yields an error and no zone.
//! It does not verify signatures ([`crate::tsig::Verifier`] does that before), does not look into the meaning of records,
//! and does not judge whether the content is good, only that it is whole and what was asked for.
//!
//! ```text
//!                     ┌─ ours or older, alone ──────────────────────────────▶ UpToDate
//!  Start ─ SOA ─▶ Second ─ SOA with our serial ─▶ Removing ◀─ SOA ─▶ Adding ─ last SOA ─▶ Diffs
//!                     └─ anything else ─▶ Whole ─ SOA again ───────────────▶ Full
//! ```

mod error;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::domain::base::message::Message;
use zonemesh_zone::domain::base::record::ParsedRecord;
use zonemesh_zone::domain::dep::octseq::Parser;
use zonemesh_zone::record::RecordOctets;
use zonemesh_zone::{Diff, Editor, Name, Rcode, Record, Rtype, Serial, SerialExt, Zone, ZoneError};

pub use self::error::TransferError;
use crate::message::{Header, OPCODE_QUERY, TC};
use crate::query::{expire_of, extended_error_of};

/// What was asked for, and how far the answer has come.
pub struct Transfer {
    apex: Name,
    have: Option<Zone>,
    id: u16,
    asked: Asked,
    limits: Limits,
    state: State,
    messages: usize,
    records: u64,
    bytes: u64,
    expire: Option<u32>,
    /// The record that is looked at.
    octets: RecordOctets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Axfr,
    Ixfr,
}

/// How much one transfer may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records; those that differences remove count as well.
    pub records: u64,
    /// Octets of messages.
    pub bytes: u64,
}

impl Default for Limits {
    /// 100 million records, 16 GiB: far above the largest zones there are, so that only a peer that never ends is hit.
    fn default() -> Self {
        Self {
            records: 100_000_000,
            bytes: 16 << 30,
        }
    }
}

/// What a message led to.
#[derive(Debug)]
pub enum Step {
    /// More messages must come.
    More,
    /// The transfer is whole.
    Done(Incoming),
}

/// A whole transfer.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// The peer has nothing newer than we do.
    UpToDate {
        /// The serial that the peer has; it may be older than ours.
        serial: Serial,
    },
    /// The whole zone.
    Full(Zone),
    /// What has changed since our version.
    Diffs {
        /// The version that results.
        zone: Zone,
        /// What leads to it, oldest first; they begin with our version.
        diffs: Vec<Diff>,
    },
}

impl Incoming {
    /// The new version, if there is one.
    pub fn zone(&self) -> Option<&Zone> {
        match self {
            Self::UpToDate { .. } => None,
            Self::Full(zone) | Self::Diffs { zone, .. } => Some(zone),
        }
    }
}

enum State {
    Start,
    /// The first SOA has come and nothing else.
    Second {
        last: Soa1,
    },
    Whole {
        last: Soa1,
        editor: Box<Editor>,
    },
    Removing(Box<Differences>),
    Adding(Box<Differences>),
    /// Ended, well or badly.
    Ended,
}

/// The SOA record that begins and ends the answer, and its serial.
struct Soa1 {
    record: Record,
    serial: Serial,
}

struct Differences {
    last: Soa1,
    /// What the complete differences have led to.
    zone: Zone,
    diffs: Vec<Diff>,
    open: Diff,
    /// The serial that the open difference leads to, once it is known.
    to: Serial,
}

/// # Making it
impl Transfer {
    /// Waits for the answer to an AXFR request; with `have`, only for a version that is newer.
    pub fn axfr(apex: Name, have: Option<Zone>, request_id: u16) -> Self {
        Self {
            apex,
            have,
            id: request_id,
            asked: Asked::Axfr,
            limits: Limits::default(),
            state: State::Start,
            messages: 0,
            records: 0,
            bytes: 0,
            expire: None,
            octets: RecordOctets::default(),
        }
    }

    /// Waits for the answer to an IXFR request that started from `have`.
    pub fn ixfr(have: Zone, request_id: u16) -> Self {
        Self {
            asked: Asked::Ixfr,
            ..Self::axfr(have.apex().clone(), Some(have), request_id)
        }
    }

    /// Waits for the answer to an IXFR request if we have a version, else to an AXFR request.
    pub fn new(apex: Name, have: Option<Zone>, request_id: u16) -> Self {
        match have {
            Some(have) if *have.apex() == apex => Self::ixfr(have, request_id),
            _ => Self::axfr(apex, None, request_id),
        }
    }

    /// Sets how much it may bring.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// # Looking into it
impl Transfer {
    /// Sets the ID of the request, when it is known only once the request is sent.
    pub fn set_request_id(&mut self, id: u16) {
        self.id = id;
    }

    /// How many messages have come.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// How many records have come.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many octets have come, without framing.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the peer may still serve the zone, in seconds, if it has said so (RFC 7314).
    pub fn expire(&self) -> Option<u32> {
        self.expire
    }
}

/// # Feeding it
impl Transfer {
    /// Takes the next message. After an error it takes no more.
    ///
    /// # Errors
    ///
    /// When the answer is not what it must be. Nothing has been published then; the caller closes the connection, since
    /// the rest of a broken answer cannot be told from another one.
    pub fn feed(&mut self, message: &[u8]) -> Result<Step, TransferError> {
        let result = self.take(message);
        if !matches!(result, Ok(Step::More)) {
            self.state = State::Ended;
        }
        result
    }

    /// Takes the only message of an answer over UDP.
    ///
    /// # Errors
    ///
    /// As [`Transfer::feed`]; [`TransferError::UseTcp`] when the answer did not fit.
    pub fn feed_udp(&mut self, message: &[u8]) -> Result<Incoming, TransferError> {
        match self.feed(message)? {
            Step::Done(incoming) => Ok(incoming),
            Step::More => match std::mem::replace(&mut self.state, State::Ended) {
                State::Second { last } => Err(TransferError::UseTcp(last.serial)),
                _ => Err(self.broken_off()),
            },
        }
    }

    /// What to say when the connection ended before the transfer did.
    pub fn broken_off(&self) -> TransferError {
        TransferError::BrokenOff {
            messages: self.messages,
            records: self.records,
        }
    }

    fn take(&mut self, octets: &[u8]) -> Result<Step, TransferError> {
        if matches!(self.state, State::Ended) {
            return Err(TransferError::Ended);
        }
        self.messages += 1;
        self.bytes += octets.len() as u64;
        self.check_limit("octets", self.bytes, self.limits.bytes)?;
        let message = self.check_head(octets)?;
        let number = self.messages;
        let parse = |source| TransferError::Parse {
            message: number,
            source,
        };
        let mut done = None;
        let answer = message.answer().map_err(parse)?;
        let mut parser = Parser::from_ref(octets);
        parser
            .seek(answer.pos())
            .map_err(|error| parse(error.into()))?;
        for _ in 0..message.header_counts().ancount() {
            self.records += 1;
            self.check_limit("records", self.records, self.limits.records)?;
            // Nearly all that a whole zone has.
            if done.is_none()
                && let State::Whole { editor, .. } = &mut self.state
                && let Some(end) = self.octets.read_plain(octets, parser.pos())
            {
                editor.add_read(&self.octets)?;
                parser.seek(end).map_err(|error| parse(error.into()))?;
                continue;
            }
            let record = ParsedRecord::parse(&mut parser).map_err(parse)?;
            if done.is_none() && self.take_in_place(&record)? {
                continue;
            }
            let record = Record::from_message(&record).map_err(|source| TransferError::Record {
                message: number,
                source,
            })?;
            if done.is_some() {
                return Err(TransferError::Trailing {
                    owner: record.owner,
                    rtype: record.rtype,
                });
            }
            done = self.record(record)?;
        }
        if let Some(incoming) = done {
            return Ok(Step::Done(incoming));
        }
        match &self.state {
            // RFC 5936 §2.2: each message has at least one record; one without would let a peer keep us for nothing.
            State::Start => Err(TransferError::Empty),
            // RFC 1995 §2: the SOA alone, if it is not newer than ours.
            State::Second { last } if self.messages == 1 => match &self.have {
                Some(have) if !last.serial.is_after(have.serial()) => {
                    Ok(Step::Done(Incoming::UpToDate {
                        serial: last.serial,
                    }))
                }
                _ => Ok(Step::More),
            },
            _ if message.header_counts().ancount() == 0 => Err(TransferError::Malformed {
                message: number,
                what: "it has no records",
            }),
            _ => Ok(Step::More),
        }
    }

    /// Takes a record of a whole zone that is not its SOA without making a [`Record`] of it; returns false, with nothing done, when it is
    /// another one.
    fn take_in_place(&mut self, record: &ParsedRecord<'_, [u8]>) -> Result<bool, TransferError> {
        let number = self.messages;
        let State::Whole { editor, .. } = &mut self.state else {
            return Ok(false);
        };
        if record.rtype() == Rtype::SOA {
            return Ok(false);
        }
        self.octets
            .read(record)
            .map_err(|source| TransferError::Record {
                message: number,
                source,
            })?;
        editor.add_read(&self.octets)?;
        Ok(true)
    }

    fn check_limit(&self, what: &'static str, is: u64, limit: u64) -> Result<(), TransferError> {
        match is <= limit {
            true => Ok(()),
            false => Err(TransferError::TooMuch { what, limit }),
        }
    }

    fn check_head<'m>(&mut self, octets: &'m [u8]) -> Result<&'m Message<[u8]>, TransferError> {
        let number = self.messages;
        let malformed = |what| TransferError::Malformed {
            message: number,
            what,
        };
        let header = Header::read(octets).ok_or(malformed("shorter than a header"))?;
        let message =
            Message::from_slice(octets).map_err(|_| malformed("shorter than a header"))?;
        if !header.is_response() {
            return Err(malformed("it is a request"));
        }
        if header.id != self.id {
            return Err(TransferError::WrongId {
                message: number,
                expected: self.id,
                got: header.id,
            });
        }
        if header.opcode() != OPCODE_QUERY {
            return Err(malformed("its OPCODE is not QUERY"));
        }
        if header.rcode() != 0 {
            return Err(TransferError::Rcode {
                rcode: Rcode::masked_from_int(header.rcode()),
                why: extended_error_of(octets),
            });
        }
        if header.flags & TC != 0 {
            return Err(malformed("it is truncated"));
        }
        // RFC 5936 §2.2.1: one question in the first message, at most one later. Some servers leave it out of the first
        // one too; nothing is lost by taking that.
        if header.counts[0] > 1 {
            return Err(malformed("it has several questions"));
        }
        if header.counts[0] == 1 {
            let question = message
                .first_question()
                .ok_or(malformed("unreadable question"))?;
            let asked = match self.asked {
                Asked::Axfr => Rtype::AXFR,
                Asked::Ixfr => Rtype::IXFR,
            };
            if *question.qname() != self.apex || question.qtype() != asked {
                return Err(TransferError::WrongQuestion {
                    message: number,
                    got: format!("{} {}", question.qname(), question.qtype()),
                });
            }
        }
        if self.expire.is_none() && header.counts[3] > 0 {
            self.expire = expire_of(octets);
        }
        Ok(message)
    }

    /// Takes a record; returns what has come when it was the last one.
    fn record(&mut self, record: Record) -> Result<Option<Incoming>, TransferError> {
        if !record.owner.ends_with(&self.apex) {
            return Err(ZoneError::OutOfZone {
                apex: self.apex.clone(),
                owner: record.owner,
                rtype: record.rtype,
            }
            .into());
        }
        let serial = match record.rtype {
            Rtype::SOA if record.owner == self.apex => Some(
                record
                    .soa()
                    .map_err(|source| TransferError::Record {
                        message: self.messages,
                        source,
                    })?
                    .serial,
            ),
            Rtype::SOA => return Err(ZoneError::ExtraSoa(record.owner).into()),
            _ => None,
        };
        let state = std::mem::replace(&mut self.state, State::Ended);
        let (state, done) = match state {
            State::Start => match serial {
                Some(serial) => {
                    let last = Soa1 { record, serial };
                    (State::Second { last }, None)
                }
                None => return Err(TransferError::NoFirstSoa(self.apex.clone())),
            },
            State::Second { last } => self.second(last, record, serial)?,
            State::Whole { last, editor } => whole(last, editor, record, serial)?,
            State::Removing(mut open) => match serial {
                None => {
                    open.open.removed.push(record);
                    (State::Removing(open), None)
                }
                Some(serial) => {
                    let from = open.zone.serial();
                    if !serial.is_after(from) {
                        return Err(TransferError::NotNewer {
                            have: from,
                            got: serial,
                        });
                    }
                    open.to = serial;
                    open.open.added.push(record);
                    (State::Adding(open), None)
                }
            },
            State::Adding(mut open) => match serial {
                None => {
                    open.open.added.push(record);
                    (State::Adding(open), None)
                }
                Some(serial) => adding(open, record, serial)?,
            },
            State::Ended => return Err(TransferError::Ended),
        };
        self.state = state;
        Ok(done)
    }

    /// The second record tells what kind of answer it is (RFC 1995 §4).
    fn second(
        &self,
        last: Soa1,
        record: Record,
        serial: Option<Serial>,
    ) -> Result<(State, Option<Incoming>), TransferError> {
        if let (Asked::Ixfr, Some(have), Some(serial)) = (self.asked, &self.have, serial)
            && serial != last.serial
        {
            if serial != have.serial() {
                return Err(TransferError::BrokenChain {
                    expected: have.serial(),
                    got: serial,
                });
            }
            if !last.serial.is_after(serial) {
                return Err(TransferError::NotNewer {
                    have: serial,
                    got: last.serial,
                });
            }
            let differences = Differences {
                to: last.serial,
                last,
                zone: have.clone(),
                diffs: Vec::new(),
                open: Diff {
                    removed: vec![record],
                    added: Vec::new(),
                },
            };
            return Ok((State::Removing(Box::new(differences)), None));
        }
        if let Some(have) = &self.have
            && !last.serial.is_after(have.serial())
        {
            return Err(TransferError::NotNewer {
                have: have.serial(),
                got: last.serial,
            });
        }
        let mut editor = Box::new(Editor::new(self.apex.clone()));
        editor.add(last.record.clone())?;
        whole(last, editor, record, serial)
    }
}

/// Takes a record of a whole zone.
fn whole(
    last: Soa1,
    mut editor: Box<Editor>,
    record: Record,
    serial: Option<Serial>,
) -> Result<(State, Option<Incoming>), TransferError> {
    match serial {
        None => {
            editor.add(record)?;
            Ok((State::Whole { last, editor }, None))
        }
        // The TTL is not compared: some servers cap it in one of the two.
        Some(_) if record.rdata == last.record.rdata => {
            Ok((State::Ended, Some(Incoming::Full(editor.finish()?))))
        }
        Some(serial) => Err(TransferError::SoaMismatch {
            first: last.serial,
            last: serial,
        }),
    }
}

/// Takes the SOA record that ends a difference: it starts the next one, or ends the answer.
fn adding(
    mut open: Box<Differences>,
    record: Record,
    serial: Serial,
) -> Result<(State, Option<Incoming>), TransferError> {
    if serial != open.to {
        return Err(TransferError::BrokenChain {
            expected: open.to,
            got: serial,
        });
    }
    let diff = std::mem::replace(
        &mut open.open,
        Diff {
            removed: Vec::new(),
            added: Vec::new(),
        },
    );
    let from = open.zone.serial();
    if serial == open.last.serial || !planted(Bug::DifferenceToWrongVersion) {
        open.zone = open
            .zone
            .apply(&diff)
            .map_err(|source| TransferError::Apply {
                from,
                to: serial,
                source,
            })?;
    }
    open.diffs.push(diff);
    if serial != open.last.serial {
        open.open.removed.push(record);
        return Ok((State::Removing(open), None));
    }
    // The version that results must have the very SOA with which the answer began and ends.
    let result = open.zone.soa_record();
    if result.rdata != open.last.record.rdata || record.rdata != open.last.record.rdata {
        return Err(TransferError::SoaMismatch {
            first: open.last.serial,
            last: serial,
        });
    }
    let Differences {
        zone, mut diffs, ..
    } = *open;
    if planted(Bug::DifferenceToWrongVersion) {
        // The store would see that they lead elsewhere.
        diffs.clear();
    }
    Ok((State::Ended, Some(Incoming::Diffs { zone, diffs })))
}

#[cfg(test)]
mod tests;
