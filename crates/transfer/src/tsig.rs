//! TSIG, signatures by shared keys (RFC 8945), on requests and on answers of many messages.
//!
//! The product's own and not that of `domain`, which does not know HMAC-SHA-224, compares algorithm names with regard
//! to case, answers a bad signature with error FORMERR, and signs the time in a BADTIME error as eight octets where RFC
//! 8945 §4.2 has six.
//!
//! It knows no clock: the time is an argument. It does not judge what a key may do, only that it was used.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;
use zonemesh_zone::{Class, Name, Rcode, Rtype};

use crate::message::{HEADER_LEN, Header, QR, skip_name};

/// An HMAC algorithm (RFC 8945 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// For old peers; accepted only by a [`Key`] that was made with it.
    HmacSha1,
    /// HMAC-SHA-224.
    HmacSha224,
    /// HMAC-SHA-256, what all must know.
    HmacSha256,
    /// HMAC-SHA-384.
    HmacSha384,
    /// HMAC-SHA-512.
    HmacSha512,
}

impl Algorithm {
    const ALL: [Self; 5] = [
        Self::HmacSha1,
        Self::HmacSha224,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// Its name, as in configurations and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha224 => "hmac-sha224",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    fn wire_name(self) -> Vec<u8> {
        let name = self.name().as_bytes();
        let mut wire = vec![name.len() as u8];
        wire.extend_from_slice(name);
        wire.push(0);
        wire
    }

    fn from_wire_name(wire: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.wire_name().eq_ignore_ascii_case(wire))
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha224 => hmac::HMAC_SHA224,
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }

    /// The length of a whole signature in octets.
    fn mac_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha224 => 28,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| {
                algorithm
                    .name()
                    .eq_ignore_ascii_case(text.trim_end_matches('.'))
            })
            .ok_or_else(|| KeyError::Algorithm(text.into()))
    }
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The algorithm is not known.
    #[error(
        "TSIG algorithm `{0}` is not known; use hmac-sha256 (or hmac-sha224, -sha384, -sha512; -sha1 for old peers)"
    )]
    Algorithm(String),
    /// The secret is not base64.
    #[error("the secret is not base64: {0}")]
    Secret(#[from] data_encoding::DecodeError),
    /// The secret is too short to be one.
    #[error("the secret has {0} octets; at least 8 are needed, 32 are usual")]
    TooShort(usize),
}

/// A key, its name and algorithm. Cheap to clone; does not print its secret.
#[derive(Clone)]
pub struct Key {
    name: Name,
    algorithm: Algorithm,
    hmac: Arc<hmac::Key>,
}

impl Key {
    /// Makes a key of its secret.
    ///
    /// # Errors
    ///
    /// When the secret is too short.
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < 8 {
            return Err(KeyError::TooShort(secret.len()));
        }
        Ok(Self {
            name,
            algorithm,
            hmac: Arc::new(hmac::Key::new(algorithm.hmac(), secret)),
        })
    }

    /// Makes a key of its secret in base64, as it stands in configurations.
    ///
    /// # Errors
    ///
    /// When it is not base64, or too short.
    pub fn from_base64(name: Name, algorithm: Algorithm, secret: &str) -> Result<Self, KeyError> {
        let secret: String = secret.split_whitespace().collect();
        let secret = data_encoding::BASE64.decode(secret.as_bytes())?;
        Self::new(name, algorithm, &secret)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The longest TSIG record that this key makes, in octets.
    pub fn max_len(&self) -> usize {
        // 16 fixed octets of RDATA with OTHER of six; 10 of the record's head.
        self.name.len() + 10 + self.algorithm.name().len() + 2 + 16 + self.algorithm.mac_len() + 6
    }

    /// Signs a request by appending a TSIG record, and returns what verifies the answer. The message must not have one.
    pub fn sign_request(&self, message: &mut Vec<u8>, now: Timestamp) -> Verifier {
        let mut digest = Digest::new(self);
        digest.update(message);
        let variables = Variables::new(now);
        let mac = variables.finish(digest, self);
        append(message, self, &variables, &mac);
        Verifier {
            key: self.clone(),
            digest: Digest::after(self, &mac),
            request_time: variables.time,
            first: true,
            unsigned: 0,
        }
    }

    fn is_named(&self, tsig: &Tsig<'_>) -> bool {
        self.name.as_slice().eq_ignore_ascii_case(&tsig.name)
            && Algorithm::from_wire_name(&tsig.algorithm) == Some(self.algorithm)
    }

    /// RFC 8945 §5.2.2.1: a truncated signature is good down to half of its length, but never below ten octets.
    fn matches(&self, mac: &[u8], got: &[u8]) -> Result<(), TsigError> {
        let full = self.algorithm.mac_len();
        if got.len() > full || got.len() < (full / 2).max(10) {
            return Err(TsigError::Malformed("signature of an impossible length"));
        }
        constant_time::verify_slices_are_equal(&mac[..got.len()], got)
            .map_err(|_| TsigError::BadSignature)?;
        // §5.2.2.1 leaves to local policy what shorter ones are taken: none, no current peer sends them.
        match got.len() < full {
            true => Err(TsigError::Truncated),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm)
    }
}

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
    #[error("the clocks are {} s apart: the message was signed at {signed} by the peer's clock, it is {ours} by ours, and {fudge} s are allowed (BADTIME)", ours.abs_diff(*signed))]
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
    #[error("the clocks are {} s apart: by the peer's clock it is {theirs}, by ours {ours} (it answered BADTIME)", ours.abs_diff(*theirs))]
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
            time_signed: tsig.variables.time,
            mac: tsig.mac.to_vec(),
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
        // RFC 8945 §5.2.3: the client's time comes back as Time Signed, ours in Other Data.
        let variables = Variables {
            error,
            other: match error {
                BADTIME => seconds(now).to_be_bytes()[2..].to_vec(),
                _ => Vec::new(),
            },
            ..tsig.variables.clone()
        };
        let mac = variables.finish(digest, key);
        append(&mut reply, key, &variables, &mac);
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
    /// When it was signed, in seconds since 1970: what a guard against replay keeps.
    pub time_signed: u64,
    /// The signature: likewise.
    pub mac: Vec<u8>,
    /// Signs the answer.
    pub signer: Signer,
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
        append(message, &self.key, &variables, &mac);
        self.digest = Digest::after(&self.key, &mac);
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

/// What is signed, so far.
#[derive(Clone)]
struct Digest(hmac::Context);

impl Digest {
    fn new(key: &Key) -> Self {
        Self(hmac::Context::with_key(&key.hmac))
    }

    /// Begins with the signature of the message before (RFC 8945 §5.3).
    fn after(key: &Key, mac: &[u8]) -> Self {
        let mut digest = Self::new(key);
        digest.update(&(mac.len() as u16).to_be_bytes());
        digest.update(mac);
        digest
    }

    fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// The fields of a TSIG record that are signed with the message (RFC 8945 §4.3.3).
#[derive(Clone, Debug)]
struct Variables {
    time: u64,
    fudge: u16,
    error: u16,
    other: Vec<u8>,
}

impl Variables {
    fn new(now: Timestamp) -> Self {
        Self {
            time: seconds(now),
            fudge: FUDGE,
            error: 0,
            other: Vec::new(),
        }
    }

    fn finish(&self, mut digest: Digest, key: &Key) -> Vec<u8> {
        digest.update(&key.name.as_slice().to_ascii_lowercase());
        digest.update(&Class::ANY.to_int().to_be_bytes());
        digest.update(&[0; 4]);
        digest.update(&key.algorithm.wire_name());
        self.update_timers(&mut digest);
        digest.update(&self.error.to_be_bytes());
        digest.update(&(self.other.len() as u16).to_be_bytes());
        digest.update(&self.other);
        digest.0.sign().as_ref().to_vec()
    }

    fn finish_timers(&self, mut digest: Digest) -> Vec<u8> {
        self.update_timers(&mut digest);
        digest.0.sign().as_ref().to_vec()
    }

    fn update_timers(&self, digest: &mut Digest) {
        digest.update(&self.time.to_be_bytes()[2..]);
        digest.update(&self.fudge.to_be_bytes());
    }
}

/// A TSIG record at the end of a message.
struct Tsig<'m> {
    start: usize,
    name: Vec<u8>,
    algorithm: Vec<u8>,
    mac: &'m [u8],
    original_id: u16,
    variables: Variables,
}

impl<'m> Tsig<'m> {
    /// Finds the TSIG record; an error when there is one that is malformed or not at the end.
    fn find(message: &'m [u8]) -> Result<Option<Self>, TsigError> {
        let malformed = TsigError::Malformed;
        let cut = || malformed("the message ends within a record");
        let header = Header::read(message).ok_or_else(cut)?;
        let mut at = HEADER_LEN;
        for _ in 0..header.counts[0] {
            at = skip_name(message, at).ok_or_else(cut)? + 4;
        }
        let ordinary = u32::from(header.counts[1]) + u32::from(header.counts[2]);
        let all = ordinary + u32::from(header.counts[3]);
        for number in 0..all {
            let start = at;
            let head = skip_name(message, at).ok_or_else(cut)?;
            let fixed: &[u8; 10] = message
                .get(head..)
                .and_then(<[u8]>::first_chunk)
                .ok_or_else(cut)?;
            let len = u16::from_be_bytes([fixed[8], fixed[9]]) as usize;
            at = head + 10 + len;
            let rdata = message.get(head + 10..at).ok_or_else(cut)?;
            if u16::from_be_bytes([fixed[0], fixed[1]]) != Rtype::TSIG.to_int() {
                continue;
            }
            if number + 1 != all || number < ordinary || at != message.len() {
                return Err(malformed("it is not the last record"));
            }
            if u16::from_be_bytes([fixed[2], fixed[3]]) != Class::ANY.to_int() {
                return Err(malformed("its class is not ANY"));
            }
            // The name may be compressed by some; RFC 8945 §4.2 has it written out.
            let name = expand_name(message, start).ok_or(malformed("unreadable key name"))?;
            return Self::read(start, name, rdata)
                .map(Some)
                .ok_or(malformed("unreadable data"));
        }
        Ok(None)
    }

    fn read(start: usize, name: Vec<u8>, rdata: &'m [u8]) -> Option<Self> {
        let end = skip_name(rdata, 0)?;
        let algorithm = expand_name(rdata, 0)?;
        let fixed: &[u8; 10] = rdata.get(end..)?.first_chunk()?;
        let mut time = [0; 8];
        time[2..].copy_from_slice(&fixed[..6]);
        let mac_end = end + 10 + u16::from_be_bytes([fixed[8], fixed[9]]) as usize;
        let mac = rdata.get(end + 10..mac_end)?;
        let tail: &[u8; 6] = rdata.get(mac_end..)?.first_chunk()?;
        let other = rdata.get(mac_end + 6..)?;
        if other.len() != u16::from_be_bytes([tail[4], tail[5]]) as usize {
            return None;
        }
        Some(Self {
            start,
            name,
            algorithm,
            mac,
            original_id: u16::from_be_bytes([tail[0], tail[1]]),
            variables: Variables {
                time: u64::from_be_bytes(time),
                fudge: u16::from_be_bytes([fixed[6], fixed[7]]),
                error: u16::from_be_bytes([tail[2], tail[3]]),
                other: other.to_vec(),
            },
        })
    }

    /// The message as it was signed: without this record and with its original ID (RFC 8945 §5.1).
    fn strip(&self, message: &[u8]) -> Vec<u8> {
        let mut stripped = self.without(message);
        stripped[..2].copy_from_slice(&self.original_id.to_be_bytes());
        stripped
    }

    /// The message without this record.
    fn without(&self, message: &[u8]) -> Vec<u8> {
        let mut stripped = message[..self.start].to_vec();
        let additional = u16::from_be_bytes([stripped[10], stripped[11]]).saturating_sub(1);
        stripped[10..12].copy_from_slice(&additional.to_be_bytes());
        stripped
    }
}

/// Appends a TSIG record and counts it.
fn append(message: &mut Vec<u8>, key: &Key, variables: &Variables, mac: &[u8]) {
    let Some(header) = Header::read(message) else {
        return;
    };
    push_record(
        message,
        key.name.as_slice(),
        &key.algorithm.wire_name(),
        variables,
        mac,
        header.id,
    );
}

fn push_record(
    message: &mut Vec<u8>,
    name: &[u8],
    algorithm: &[u8],
    variables: &Variables,
    mac: &[u8],
    original_id: u16,
) {
    let additional = u16::from_be_bytes([message[10], message[11]]).saturating_add(1);
    message[10..12].copy_from_slice(&additional.to_be_bytes());
    message.extend_from_slice(name);
    message.extend_from_slice(&Rtype::TSIG.to_int().to_be_bytes());
    message.extend_from_slice(&Class::ANY.to_int().to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    let len = algorithm.len() + 16 + mac.len() + variables.other.len();
    message.extend_from_slice(&(len as u16).to_be_bytes());
    message.extend_from_slice(algorithm);
    message.extend_from_slice(&variables.time.to_be_bytes()[2..]);
    message.extend_from_slice(&variables.fudge.to_be_bytes());
    message.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    message.extend_from_slice(mac);
    message.extend_from_slice(&original_id.to_be_bytes());
    message.extend_from_slice(&variables.error.to_be_bytes());
    message.extend_from_slice(&(variables.other.len() as u16).to_be_bytes());
    message.extend_from_slice(&variables.other);
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

/// Writes a possibly compressed name out; none when it is malformed.
fn expand_name(message: &[u8], mut at: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut lowest = at;
    loop {
        let len = *message.get(at)?;
        match len {
            0 => {
                name.push(0);
                return (name.len() <= 255).then_some(name);
            }
            len if len < 64 => {
                name.extend_from_slice(message.get(at..at + 1 + len as usize)?);
                at += 1 + len as usize;
            }
            len if len >= 0xC0 => {
                let to = (usize::from(len & 0x3F) << 8) | usize::from(*message.get(at + 1)?);
                // Pointers go backwards only, so that there is an end.
                if to >= lowest {
                    return None;
                }
                (lowest, at) = (to, to);
            }
            _ => return None,
        }
        if name.len() > 255 {
            return None;
        }
    }
}

/// A name in wire format for people to read.
fn show(name: &[u8]) -> String {
    Name::from_octets(bytes::Bytes::copy_from_slice(name))
        .map_or_else(|_| "(unreadable)".into(), |name| name.to_string())
}

/// 48 bits of seconds since 1970.
fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0) & 0xFFFF_FFFF_FFFF
}

/// Five minutes, as RFC 8945 §10 recommends.
const FUDGE: u16 = 300;
/// RFC 8945 §5.3.1: at least every 100th message is signed.
const MAX_UNSIGNED: usize = 99;
/// TSIG errors (RFC 8945 §3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

#[cfg(test)]
mod tests;
