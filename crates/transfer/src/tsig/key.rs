//! Keys and algorithms.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;
use zonemesh_zone::Name;

use super::record::{Digest, Tsig, Variables, append};
use super::{TsigError, Verifier};

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
    pub(super) const ALL: [Self; 5] = [
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

    pub(super) fn wire_name(self) -> Vec<u8> {
        let name = self.name().as_bytes();
        let mut wire = vec![name.len() as u8];
        wire.extend_from_slice(name);
        wire.push(0);
        wire
    }

    pub(super) fn from_wire_name(wire: &[u8]) -> Option<Self> {
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
    pub(super) name: Name,
    pub(super) algorithm: Algorithm,
    pub(super) hmac: Arc<hmac::Key>,
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

    pub(super) fn is_named(&self, tsig: &Tsig<'_>) -> bool {
        self.name.as_slice().eq_ignore_ascii_case(&tsig.name)
            && Algorithm::from_wire_name(&tsig.algorithm) == Some(self.algorithm)
    }

    /// RFC 8945 §5.2.2.1: a truncated signature is good down to half of its length, but never below ten octets.
    pub(super) fn matches(&self, mac: &[u8], got: &[u8]) -> Result<(), TsigError> {
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
