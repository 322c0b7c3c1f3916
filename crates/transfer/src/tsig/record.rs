//! The TSIG record in messages, and what is signed with it (RFC 8945 §4).

use std::fmt;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use zonemesh_zone::{Class, Name, Rtype};

use super::{Key, TsigError};
use crate::message::{HEADER_LEN, Header, skip_name};

/// What is signed, so far.
#[derive(Clone)]
pub(super) struct Digest(hmac::Context);

impl Digest {
    pub(super) fn new(key: &Key) -> Self {
        Self(hmac::Context::with_key(&key.hmac))
    }

    /// Begins with the signature of the message before (RFC 8945 §5.3).
    pub(super) fn after(key: &Key, mac: &[u8]) -> Self {
        let mut digest = Self::new(key);
        digest.update(&(mac.len() as u16).to_be_bytes());
        digest.update(mac);
        digest
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
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
pub(super) struct Variables {
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) error: u16,
    pub(super) other: Vec<u8>,
}

impl Variables {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            time: seconds(now),
            fudge: FUDGE,
            error: 0,
            other: Vec::new(),
        }
    }

    pub(super) fn finish(&self, mut digest: Digest, key: &Key) -> Vec<u8> {
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

    pub(super) fn finish_timers(&self, mut digest: Digest) -> Vec<u8> {
        self.update_timers(&mut digest);
        digest.0.sign().as_ref().to_vec()
    }

    pub(super) fn update_timers(&self, digest: &mut Digest) {
        digest.update(&self.time.to_be_bytes()[2..]);
        digest.update(&self.fudge.to_be_bytes());
    }
}

/// A TSIG record at the end of a message.
pub(super) struct Tsig<'m> {
    pub(super) start: usize,
    pub(super) name: Vec<u8>,
    pub(super) algorithm: Vec<u8>,
    pub(super) mac: &'m [u8],
    pub(super) original_id: u16,
    pub(super) variables: Variables,
}

impl<'m> Tsig<'m> {
    /// Finds the TSIG record; an error when there is one that is malformed or not at the end.
    pub(super) fn find(message: &'m [u8]) -> Result<Option<Self>, TsigError> {
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

    pub(super) fn read(start: usize, name: Vec<u8>, rdata: &'m [u8]) -> Option<Self> {
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
    pub(super) fn strip(&self, message: &[u8]) -> Vec<u8> {
        let mut stripped = self.without(message);
        stripped[..2].copy_from_slice(&self.original_id.to_be_bytes());
        stripped
    }

    /// The message without this record.
    pub(super) fn without(&self, message: &[u8]) -> Vec<u8> {
        let mut stripped = message[..self.start].to_vec();
        let additional = u16::from_be_bytes([stripped[10], stripped[11]]).saturating_sub(1);
        stripped[10..12].copy_from_slice(&additional.to_be_bytes());
        stripped
    }
}

/// Appends a TSIG record and counts it.
pub(super) fn append(message: &mut Vec<u8>, key: &Key, variables: &Variables, mac: &[u8]) {
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

pub(super) fn push_record(
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

/// Writes a possibly compressed name out; none when it is malformed.
pub(super) fn expand_name(message: &[u8], mut at: usize) -> Option<Vec<u8>> {
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
pub(super) fn show(name: &[u8]) -> String {
    Name::from_octets(bytes::Bytes::copy_from_slice(name))
        .map_or_else(|_| "(unreadable)".into(), |name| name.to_string())
}

/// 48 bits of seconds since 1970.
pub(super) fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0) & 0xFFFF_FFFF_FFFF
}

/// Five minutes, as RFC 8945 §10 recommends.
pub(super) const FUDGE: u16 = 300;
