//! Why a transfer was refused, whose fault it is, and what may help.

use zonemesh_zone::domain::base::wire::ParseError;
use zonemesh_zone::{ApplyError, Name, Rcode, RecordError, Rtype, Serial, ZoneError};

use crate::query::Because;

/// Why a transfer was refused. The peer is at fault in all of them but [`TransferError::Ended`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The message is malformed.
    #[error("message {message} is malformed: {what}")]
    Malformed {
        /// Which message, counted from 1.
        message: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The message cannot be parsed.
    #[error("message {message} is malformed")]
    Parse {
        /// Which message, counted from 1.
        message: usize,
        /// What is wrong.
        #[source]
        source: ParseError,
    },
    /// A record is not one that we can hold.
    #[error("message {message} has a bad record")]
    Record {
        /// Which message, counted from 1.
        message: usize,
        /// What is wrong.
        #[source]
        source: RecordError,
    },
    /// The ID is not that of the request.
    #[error("message {message} has ID {got}, the request had {expected}")]
    WrongId {
        /// Which message, counted from 1.
        message: usize,
        /// The ID of the request.
        expected: u16,
        /// The ID of the message.
        got: u16,
    },
    /// The question is not the one that was asked.
    #[error("message {message} answers another question: {got}")]
    WrongQuestion {
        /// Which message, counted from 1.
        message: usize,
        /// What it answers.
        got: String,
    },
    /// The peer says no.
    #[error("the peer answered {rcode}{}", Because(.why))]
    Rcode {
        /// The code.
        rcode: Rcode,
        /// The extended error, if there was one.
        why: Option<String>,
    },
    /// The first record is not the SOA of the zone.
    #[error("the answer does not begin with the SOA record of {0}")]
    NoFirstSoa(Name),
    /// The answer has no records at all.
    #[error("the answer is empty")]
    Empty,
    /// An answer over UDP did not fit: ask again over TCP.
    #[error("the answer does not fit into UDP; serial {0} is there")]
    UseTcp(Serial),
    /// The answer does not end with the SOA with which it began.
    #[error(
        "the answer began with serial {first} and ended with another SOA record, serial {last}: the zone changed during the transfer, or the peer is broken"
    )]
    SoaMismatch {
        /// The serial at the beginning.
        first: Serial,
        /// The serial at the end.
        last: Serial,
    },
    /// There are records behind the end.
    #[error("there are records behind the end of the transfer, the first is {owner} {rtype}")]
    Trailing {
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// The peer's zone is not newer than ours, yet was sent whole.
    #[error("the peer sent serial {got}, which is not after ours, {have}")]
    NotNewer {
        /// What we have.
        have: Serial,
        /// What was sent.
        got: Serial,
    },
    /// A difference does not begin where the one before ended, or goes backwards.
    #[error("the differences do not chain: serial {expected} was due, {got} came")]
    BrokenChain {
        /// What was due.
        expected: Serial,
        /// What came.
        got: Serial,
    },
    /// A difference does not fit our version.
    #[error("the difference from serial {from} to {to} does not fit our version")]
    Apply {
        /// What it starts from.
        from: Serial,
        /// What it leads to.
        to: Serial,
        /// What does not fit.
        #[source]
        source: ApplyError,
    },
    /// The records do not make a zone.
    #[error("the records do not make a zone")]
    Zone(#[from] ZoneError),
    /// The transfer brings more than was allowed.
    #[error("the transfer exceeds the limit of {limit} {what}")]
    TooMuch {
        /// Records or octets.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A message was fed to a transfer that had ended.
    #[error("the transfer has ended already")]
    Ended,
    /// The messages ended in the middle of the transfer.
    #[error("the transfer broke off after {messages} messages and {records} records")]
    BrokenOff {
        /// How many messages came.
        messages: usize,
        /// How many records came.
        records: u64,
    },
}

impl TransferError {
    /// Whether an AXFR from the same peer may succeed where this IXFR failed.
    pub fn retry_with_axfr(&self) -> bool {
        match self {
            // RFC 1995 §2, RFC 1035: a server that does not know IXFR says NOTIMP, some say FORMERR.
            Self::Rcode { rcode, .. } => matches!(*rcode, Rcode::NOTIMP | Rcode::FORMERR),
            Self::BrokenChain { .. }
            | Self::Apply { .. }
            | Self::SoaMismatch { .. }
            | Self::Trailing { .. } => true,
            // Differences may remove or add what makes no zone of ours, when ours is not what the peer thinks.
            Self::Zone(_) => true,
            _ => false,
        }
    }

    /// Whether another primary may do better at once. All but a limit of ours and our own mistakes.
    pub fn try_another_primary(&self) -> bool {
        !matches!(self, Self::TooMuch { .. } | Self::Ended)
    }
}
