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

    /// RFC 8945 §5.2.2.1: a truncated signature has at least half of the whole, and never less than ten octets.
    fn least_mac_len(self) -> usize {
        (self.mac_len() / 2).max(10)
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

/// An algorithm, and how much of each signature is sent and asked for: `hmac-sha256` is all of it, `hmac-sha256-128` its
/// first 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    algorithm: Algorithm,
    mac_len: usize,
}

impl From<Algorithm> for Method {
    fn from(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            mac_len: algorithm.mac_len(),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        match self.mac_len < self.algorithm.mac_len() {
            true => write!(f, "-{}", self.mac_len * 8),
            false => Ok(()),
        }
    }
}

impl std::str::FromStr for Method {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let cut = text
            .rsplit_once('-')
            .and_then(|(name, bits)| Some((name, bits.parse::<usize>().ok()?)));
        let Some((name, bits)) = cut else {
            return Ok(text.parse::<Algorithm>()?.into());
        };
        let algorithm: Algorithm = name.parse()?;
        let (least, most) = (algorithm.least_mac_len(), algorithm.mac_len());
        if bits % 8 != 0 || !(least..=most).contains(&(bits / 8)) {
            return Err(KeyError::Bits {
                algorithm,
                bits,
                least: least * 8,
                most: most * 8,
            });
        }
        Ok(Self {
            algorithm,
            mac_len: bits / 8,
        })
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
    /// Signatures of this length are not secure, or do not exist.
    #[error(
        "signatures of {algorithm} cannot be cut to {bits} bits; {least} to {most} are possible, in steps of 8 (RFC 8945 §5.2.2.1)"
    )]
    Bits {
        /// The algorithm.
        algorithm: Algorithm,
        /// What was asked for.
        bits: usize,
        /// The shortest possible.
        least: usize,
        /// The whole.
        most: usize,
    },
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
    /// How many octets of a signature are sent, and asked for at least.
    mac_len: usize,
    pub(super) hmac: Arc<hmac::Key>,
}

impl Key {
    /// Makes a key of its secret.
    ///
    /// # Errors
    ///
    /// When the secret is too short.
    pub fn new(name: Name, method: impl Into<Method>, secret: &[u8]) -> Result<Self, KeyError> {
        let Method { algorithm, mac_len } = method.into();
        if secret.len() < 8 {
            return Err(KeyError::TooShort(secret.len()));
        }
        Ok(Self {
            name,
            algorithm,
            mac_len,
            hmac: Arc::new(hmac::Key::new(algorithm.hmac(), secret)),
        })
    }

    /// Makes a key of its secret in base64, as it stands in configurations.
    ///
    /// # Errors
    ///
    /// When it is not base64, or too short.
    pub fn from_base64(
        name: Name,
        method: impl Into<Method>,
        secret: &str,
    ) -> Result<Self, KeyError> {
        let secret: String = secret.split_whitespace().collect();
        let secret = data_encoding::BASE64.decode(secret.as_bytes())?;
        Self::new(name, method, &secret)
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
        let mac = self.cut(&mac);
        append(message, self, &variables, mac);
        Verifier {
            key: self.clone(),
            digest: Digest::after(self, mac),
            request_time: variables.time,
            first: true,
            unsigned: 0,
        }
    }

    pub(super) fn is_named(&self, tsig: &Tsig<'_>) -> bool {
        self.name.as_slice().eq_ignore_ascii_case(&tsig.name)
            && Algorithm::from_wire_name(&tsig.algorithm) == Some(self.algorithm)
    }

    /// The part of a signature that is sent.
    pub(super) fn cut<'m>(&self, mac: &'m [u8]) -> &'m [u8] {
        &mac[..self.mac_len.min(mac.len())]
    }

    /// Compares a signature with the one that it should be, of which it may be the beginning.
    pub(super) fn matches(&self, mac: &[u8], got: &[u8]) -> Result<(), TsigError> {
        let algorithm = self.algorithm;
        if got.len() > algorithm.mac_len() || got.len() < algorithm.least_mac_len() {
            return Err(TsigError::Malformed("signature of an impossible length"));
        }
        constant_time::verify_slices_are_equal(&mac[..got.len()], got)
            .map_err(|_| TsigError::BadSignature)?;
        // §5.2.2.1 leaves to local policy what shorter ones are taken: none, unless the key says so.
        match got.len() < self.mac_len {
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
