//! TSIG, signatures by shared keys (RFC 8945), on requests and on answers of many messages.
//!
//! The product's own and not that of `domain`, which does not know HMAC-SHA-224, compares algorithm names with regard
//! to case, answers a bad signature with error FORMERR, and signs the time in a BADTIME error as eight octets where RFC
//! 8945 §4.2 has six.
//!
//! It knows no clock: the time is an argument. It does not judge what a key may do, only that it was used.

mod key;
mod record;
mod replay;

use std::collections::HashMap;

use jiff::Timestamp;
use zonemesh_zone::{Name, Rcode};

pub use self::key::{Algorithm, Key, KeyError, Method};
use self::record::{Digest, Tsig, Variables, append, push_record, seconds, show};
pub use self::replay::{Judgement, REMEMBERED, ReplayGuard, Ticket};
use crate::message::{Header, QR};

/// Why a signature is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TsigError {
    /// The TSIG record is malformed or in the wrong place.
    #[error("malformed TSIG record: {0}")]
    Malformed(&'static str),
    /// We do not have the key.
    #[error("TSIG key {name} with algorithm {algorithm} is not known here (BADKEY)")]
    UnknownKey {
        /// The name of the key.
        name: String,
        /// The name of its algorithm.
        algorithm: String,
    },
    /// The signature is wrong: the two sides have different secrets, or somebody changed the message.
    #[error(
        "the TSIG signature is wrong (BADSIG): the secrets differ, or the message was changed on its way"
    )]
    BadSignature,
    /// The signature is right as far as it goes, but is shorter than we want.
    #[error("the TSIG signature is truncated (BADTRUNC)")]
    Truncated,
    /// The signature is right but made at another time.
    #[error("the clocks are {} s apart: the message was signed at {} by the peer's clock, it is {} by ours, and {fudge} s are allowed (BADTIME)", ours.abs_diff(*signed), at(*signed), at(*ours))]
    BadTime {
        /// When it was signed, in seconds since 1970.
        signed: u64,
        /// Our time, likewise.
        ours: u64,
        /// How much they may differ, in seconds.
        fudge: u16,
    },
    /// The peer says that it does not have the key.
    #[error("the peer does not have TSIG key {0} with this algorithm (it answered BADKEY)")]
    PeerUnknownKey(Name),
    /// The peer says that our signature is wrong.
    #[error("the peer has another secret for TSIG key {0} (it answered BADSIG)")]
    PeerBadSignature(Name),
    /// The peer says that our clock is off.
    #[error("the clocks are {} s apart: by the peer's clock it is {}, by ours {} (it answered BADTIME)", ours.abs_diff(*theirs), at(*theirs), at(*ours))]
    PeerBadTime {
        /// The time that the peer has, in seconds since 1970.
        theirs: u64,
        /// Our time, likewise.
        ours: u64,
    },
    /// The peer says something else.
    #[error("the peer answered TSIG error {0}")]
    PeerOther(u16),
    /// The answer is not signed though the request was.
    #[error("the answer is not signed, although the request was signed with key {0}")]
    Unsigned(Name),
    /// Too many messages came without a signature between them, or the last one had none.
    #[error("too many messages without a TSIG signature, or none on the last one")]
    TooManyUnsigned,
}

/// A time on the wire, for people.
fn at(secs: u64) -> String {
    let time = i64::try_from(secs).ok();
    let time = time.and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    time.map_or_else(
        || format!("{secs} s after 1970"),
        |time| format!("{time:.0}"),
    )
}

/// The keys that we share with others.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    keys: HashMap<Vec<u8>, Key>,
}

impl Keys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key; one of the same name is replaced.
    pub fn insert(&mut self, key: Key) {
        self.keys
            .insert(key.name.as_slice().to_ascii_lowercase(), key);
    }

    /// Removes a key; returns whether it was there.
    pub fn remove(&mut self, name: &Name) -> bool {
        self.keys
            .remove(&name.as_slice().to_ascii_lowercase())
            .is_some()
    }

    /// The key of a name.
    pub fn get(&self, name: &Name) -> Option<&Key> {
        self.keys.get(&name.as_slice().to_ascii_lowercase())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Verifies a request; none when it is not signed.
    ///
    /// # Errors
    ///
    /// When the signature is not good. The refusal has the reply that RFC 8945 §5.2 wants.
    pub fn verify_request(
        &self,
        message: &[u8],
        now: Timestamp,
    ) -> Result<Option<Verified>, Box<TsigRefusal>> {
        let refuse = |error: TsigError, rcode, tsig: Option<&Tsig<'_>>| {
            Box::new(TsigRefusal {
                reply: refusal(message, rcode, tsig, &error),
                error,
            })
        };
        // RFC 8945 §5.2: a TSIG that is not the last record, or not alone, or unreadable: FORMERR.
        let tsig = match Tsig::find(message) {
            Ok(Some(tsig)) => tsig,
            Ok(None) => return Ok(None),
            Err(error) => return Err(refuse(error, Rcode::FORMERR, None)),
        };
        let key = self
            .keys
            .get(&tsig.name.to_ascii_lowercase())
            .filter(|key| key.is_named(&tsig));
        let Some(key) = key else {
            let error = TsigError::UnknownKey {
                name: show(&tsig.name),
                algorithm: show(&tsig.algorithm),
            };
            return Err(refuse(error, Rcode::NOTAUTH, Some(&tsig)));
        };
        let stripped = tsig.strip(message);
        let mut digest = Digest::new(key);
        digest.update(&stripped);
        let mac = tsig.variables.finish(digest, key);
        match key.matches(&mac, tsig.mac) {
            Ok(()) => {}
            Err(error @ TsigError::Malformed(_)) => {
                return Err(refuse(error, Rcode::FORMERR, None));
            }
            Err(TsigError::Truncated) => {
                // §5.2.2.1: BADTRUNC is the error of an answer that is signed.
                let reply = self.signed_refusal(message, key, &tsig, BADTRUNC, now);
                let error = TsigError::Truncated;
                return Err(Box::new(TsigRefusal { reply, error }));
            }
            Err(error) => return Err(refuse(error, Rcode::NOTAUTH, Some(&tsig))),
        }
        let ours = seconds(now);
        if ours.abs_diff(tsig.variables.time) > u64::from(tsig.variables.fudge) {
            let error = TsigError::BadTime {
                signed: tsig.variables.time,
                ours,
                fudge: tsig.variables.fudge,
            };
            let reply = self.signed_refusal(message, key, &tsig, BADTIME, now);
            return Err(Box::new(TsigRefusal { reply, error }));
        }
        let mut restored = stripped;
        restored[..2].copy_from_slice(&message[..2]);
        Ok(Some(Verified {
            key: key.name.clone(),
            message: restored,
            stamp: Stamp {
                time_signed: tsig.variables.time,
                fudge: tsig.variables.fudge,
                mac,
            },
            signer: Signer {
                key: key.clone(),
                digest: Digest::after(key, tsig.mac),
                first: true,
            },
        }))
    }

    /// A refusal that is signed, since the key was right.
    fn signed_refusal(
        &self,
        message: &[u8],
        key: &Key,
        tsig: &Tsig<'_>,
        error: u16,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        let mut reply = crate::query::reply(&tsig.without(message), Rcode::NOTAUTH, None)?;
        let mut digest = Digest::after(key, tsig.mac);
        digest.update(&reply);
        let variables = match error {
            BADTIME => bad_time(tsig.variables.time, tsig.variables.fudge, now),
            _ => Variables {
                error,
                other: Vec::new(),
                ..tsig.variables.clone()
            },
        };
        let mac = variables.finish(digest, key);
        append(&mut reply, key, &variables, key.cut(&mac));
        Some(reply)
    }
}

/// A request whose signature was good.
#[derive(Debug)]
pub struct Verified {
    /// The name of the key.
    pub key: Name,
    /// The request without its TSIG record.
    pub message: Vec<u8>,
    /// What tells it from all others.
    pub stamp: Stamp,
    /// Signs the answer.
    pub signer: Signer,
}

/// When and how a request was signed: what a [`ReplayGuard`] remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was signed, in seconds since 1970.
    pub time_signed: u64,
    /// For how many seconds before and after that it is good.
    pub fudge: u16,
    /// The whole signature, also of a request that had it truncated.
    pub mac: Vec<u8>,
}

/// A request that was refused for its signature.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct TsigRefusal {
    /// What to answer, if anything.
    pub reply: Option<Vec<u8>>,
    /// What is wrong.
    pub error: TsigError,
}

/// Signs the messages of an answer, each of them.
#[derive(Debug)]
pub struct Signer {
    key: Key,
    digest: Digest,
    first: bool,
}

impl Signer {
    /// The key that it signs with.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// How much longer a message gets at the most, in octets.
    pub fn max_len(&self) -> usize {
        self.key.max_len()
    }

    /// Appends a TSIG record to the next message of the answer, which must have room for it.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: Timestamp) {
        self.digest.update(message);
        let variables = Variables::new(now);
        let digest = std::mem::replace(&mut self.digest, Digest::new(&self.key));
        // RFC 8945 §5.3.1: messages after the first are signed with the timers alone.
        let mac = match std::mem::replace(&mut self.first, false) {
            true => variables.finish(digest, &self.key),
            false => variables.finish_timers(digest),
        };
        let mac = self.key.cut(&mac);
        append(message, &self.key, &variables, mac);
        self.digest = Digest::after(&self.key, mac);
    }

    /// Appends a TSIG record to the only message of an answer which says that the request was signed at the wrong time, and
    /// what time it is here (RFC 8945 §5.2.3).
    pub fn sign_bad_time(self, message: &mut Vec<u8>, request: &Stamp, now: Timestamp) {
        let variables = bad_time(request.time_signed, request.fudge, now);
        let mut digest = self.digest;
        digest.update(message);
        let mac = variables.finish(digest, &self.key);
        append(message, &self.key, &variables, self.key.cut(&mac));
    }
}

/// The fields of an answer with BADTIME. RFC 8945 §5.2.3: the client's time comes back as Time Signed, ours in Other Data.
fn bad_time(signed: u64, fudge: u16, now: Timestamp) -> Variables {
    Variables {
        time: signed,
        fudge,
        error: BADTIME,
        other: seconds(now).to_be_bytes()[2..].to_vec(),
    }
}

/// Verifies the messages of the answer to a request that we signed.
#[derive(Debug)]
pub struct Verifier {
    key: Key,
    digest: Digest,
    request_time: u64,
    first: bool,
    unsigned: usize,
}

impl Verifier {
    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Verifies the next message and takes the TSIG record off. In the middle of an answer up to 99 messages without one
    /// are taken (RFC 8945 §5.3.1); they are proven by the next signature, so that nothing may be published before
    /// [`Verifier::finish`].
    ///
    /// # Errors
    ///
    /// When the signature is missing or not good, or the peer says that ours was not.
    pub fn verify(&mut self, message: &[u8], now: Timestamp) -> Result<Vec<u8>, TsigError> {
        let Some(tsig) = Tsig::find(message)? else {
            if self.first {
                return Err(TsigError::Unsigned(self.key.name.clone()));
            }
            if self.unsigned >= MAX_UNSIGNED {
                return Err(TsigError::TooManyUnsigned);
            }
            self.unsigned += 1;
            self.digest.update(message);
            return Ok(message.to_vec());
        };
        // RFC 8945 §5.3.2: these two come without a signature; nothing depends on them but the text of the error.
        match tsig.variables.error {
            BADKEY => return Err(TsigError::PeerUnknownKey(self.key.name.clone())),
            BADSIG => return Err(TsigError::PeerBadSignature(self.key.name.clone())),
            _ => {}
        }
        if !self.key.is_named(&tsig) {
            return Err(TsigError::UnknownKey {
                name: show(&tsig.name),
                algorithm: show(&tsig.algorithm),
            });
        }
        let mut stripped = tsig.strip(message);
        let mut digest = std::mem::replace(&mut self.digest, Digest::new(&self.key));
        digest.update(&stripped);
        let mac = match self.first {
            true => tsig.variables.finish(digest, &self.key),
            false => tsig.variables.finish_timers(digest),
        };
        self.key.matches(&mac, tsig.mac)?;
        let ours = seconds(now);
        match tsig.variables.error {
            0 => {}
            BADTIME => {
                let mut theirs = [0; 8];
                match tsig.variables.other.len() {
                    6 => theirs[2..].copy_from_slice(&tsig.variables.other),
                    _ => return Err(TsigError::Malformed("BADTIME without the peer's time")),
                }
                return Err(TsigError::PeerBadTime {
                    theirs: u64::from_be_bytes(theirs),
                    ours: self.request_time,
                });
            }
            other => return Err(TsigError::PeerOther(other)),
        }
        if ours.abs_diff(tsig.variables.time) > u64::from(tsig.variables.fudge) {
            return Err(TsigError::BadTime {
                signed: tsig.variables.time,
                ours,
                fudge: tsig.variables.fudge,
            });
        }
        self.first = false;
        self.unsigned = 0;
        self.digest = Digest::after(&self.key, tsig.mac);
        stripped[..2].copy_from_slice(&message[..2]);
        Ok(stripped)
    }

    /// Checks that the last message was signed.
    ///
    /// # Errors
    ///
    /// When it was not: what came since the last signature is not proven.
    pub fn finish(&self) -> Result<(), TsigError> {
        match self.first || self.unsigned > 0 {
            true => Err(TsigError::TooManyUnsigned),
            false => Ok(()),
        }
    }
}

/// The reply to a request whose key or signature is bad: with a TSIG record, without a signature (RFC 8945 §5.3.2).
fn refusal(
    message: &[u8],
    rcode: Rcode,
    tsig: Option<&Tsig<'_>>,
    error: &TsigError,
) -> Option<Vec<u8>> {
    let Some(tsig) = tsig else {
        return crate::query::reply(message, rcode, None);
    };
    let mut reply = crate::query::reply(&tsig.without(message), rcode, None)?;
    let variables = Variables {
        error: match error {
            TsigError::UnknownKey { .. } => BADKEY,
            _ => BADSIG,
        },
        other: Vec::new(),
        ..tsig.variables.clone()
    };
    push_record(
        &mut reply,
        &tsig.name,
        &tsig.algorithm,
        &variables,
        &[],
        tsig.original_id,
    );
    debug_assert!(Header::read(&reply).is_some_and(|header| header.flags & QR != 0));
    Some(reply)
}

/// RFC 8945 §5.3.1: at least every 100th message is signed.
const MAX_UNSIGNED: usize = 99;
/// TSIG errors (RFC 8945 §3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

#[cfg(test)]
mod tests;
