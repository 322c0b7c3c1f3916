//! A name that is looked for, in the forms in which zones and trees are asked for it.
//!
//! It is made once for a query and then asked many times, so everything that is asked of it was worked out before: the name in lower
//! case, where its labels begin, and its [`Key`]. It can be used again for the next name, which is cheaper than another one.

use crate::Key;
use crate::key::CHUNK;

/// Longest name in wire format (RFC 1035 §2.3.4).
const LONGEST: usize = 255;
/// So many octets of a name are made lower case at a time, which the compiler turns into one or two instructions.
const BLOCK: usize = 32;
/// Room for a name, for the rest of its last block, and for reading on behind its last label.
const ROOM: usize = LONGEST.next_multiple_of(BLOCK) + BLOCK + CHUNK;

/// A name that is looked for.
#[derive(Clone)]
pub struct Sought {
    /// In wire format and in lower case.
    wire: [u8; ROOM],
    len: usize,
    /// A bit for each octet of `wire` at which a label begins, the root's included.
    starts: [u64; 4],
    key: Key,
}

impl Sought {
    /// Not yet for a name: as if for the root.
    pub fn new() -> Self {
        Self {
            wire: [0; ROOM],
            len: 1,
            starts: [1, 0, 0, 0],
            key: Key::root(),
        }
    }

    /// For a name in uncompressed wire format, as [`Self::set`].
    pub fn from_wire(name: &[u8]) -> Self {
        let mut sought = Self::new();
        sought.set(name);
        sought
    }

    /// Looks for another name, in uncompressed wire format.
    ///
    /// The slice must hold a well-formed name and nothing behind its root label; of a malformed one the labels are taken that could
    /// be read.
    pub fn set(&mut self, name: &[u8]) -> &Self {
        let given = name.len().min(LONGEST);
        self.wire[..given].copy_from_slice(&name[..given]);
        // What is left of a longer name before is none of the last block, and no label that could be read on into.
        self.wire[given..][..BLOCK].fill(0);
        let blocks = given / BLOCK + 1;
        let mut small = 0;
        for block in &mut self.wire.as_chunks_mut::<BLOCK>().0[..blocks] {
            // The lengths of labels are smaller than any letter.
            block.make_ascii_lowercase();
            small += usize::from(block.iter().map(|octet| u8::from(*octet <= 1)).sum::<u8>());
        }

        let mut labels = [0u8; LONGEST / 2 + 1];
        let mut count = 0;
        let mut short = 0;
        let mut at = 0;
        self.starts = [0; 4];
        loop {
            self.starts[at / 64 % 4] |= 1 << (at % 64);
            let len = usize::from(self.wire[at]);
            // A malformed name ends here.
            if len.wrapping_sub(1) > 62 || at + 1 + len >= given {
                break;
            }
            short += usize::from(len == 1);
            labels[count] = at as u8;
            count += 1;
            at += 1 + len;
        }
        let is_whole = self.wire[at] == 0 && at + 1 == given;
        self.wire[at] = 0;
        self.len = at + 1;
        // Octets that have to be escaped are those which are neither the length of a label, nor the root's, nor padding.
        let plain = short + 1 + blocks * BLOCK - given;
        match is_whole && small == plain {
            true => self.key.set_plain(&self.wire, &labels[..count]),
            false => self.key = Key::from_wire(&self.wire[..self.len]),
        }
        self
    }

    /// The name in wire format, in lower case.
    pub fn wire(&self) -> &[u8] {
        &self.wire[..self.len]
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    /// Whether this is a name or an ancestor of the one that is looked for; `other` is in wire format, in any case.
    pub fn is_at_or_below(&self, other: &[u8]) -> bool {
        match self.len.checked_sub(other.len()) {
            Some(at) => self.has_suffix(at, other),
            None => false,
        }
    }

    /// Whether the name that is looked for is this one, given in wire format and in any case.
    pub fn is(&self, other: &[u8]) -> bool {
        self.len == other.len() && self.has_suffix(0, other)
    }

    /// Where the longest suffix begins that it shares with another name, given in wire format and in any case: in the name that is
    /// looked for, and in the other.
    pub fn shared(&self, other: &[u8]) -> (usize, usize) {
        let mut at = 0;
        while let Some(&len) = other.get(at) {
            let suffix = &other[at..];
            if let Some(start) = self.len.checked_sub(suffix.len())
                && self.has_suffix(start, suffix)
            {
                return (start, at);
            }
            at += 1 + usize::from(len);
        }
        (self.len - 1, other.len() - 1)
    }

    /// The key of the wildcard directly below the ancestor that begins at an octet of the name.
    pub fn wildcard_key(&self, at: usize) -> Key {
        match self.key.len() + 1 == self.len {
            true => self.key.wildcard_below(self.len - 1 - at),
            // Some of its octets are escaped.
            false => {
                let key = Key::from_wire(&self.wire[at..self.len]);
                key.wildcard_below(key.len())
            }
        }
    }

    /// Whether a label begins at an octet, and all from there on is the same as another name, which is as long.
    fn has_suffix(&self, at: usize, other: &[u8]) -> bool {
        let own = self.wire.get(at..self.len).unwrap_or_default();
        self.starts[at / 64 % 4] >> (at % 64) & 1 == 1
            // Nearly all names in zones are in lower case, and that is cheaper to see.
            && (is_same(own, other) || is_same_in_lower_case(own, other))
    }
}

/// Whether octets are the same, if there are eight or more. Names are so short that a call of `memcmp` takes longer than to compare them.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let word = |octets: &[u8; 8]| u64::from_ne_bytes(*octets);
    let (Some(x), Some(y)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) else {
        return false;
    };
    let mut words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    a.len() == b.len() && word(x) == word(y) && words.all(|(x, y)| word(x) == word(y))
}

#[inline(never)]
fn is_same_in_lower_case(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

impl Default for Sought {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sought {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sought({})", self.wire().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::arbitrary_name;

    proptest! {
        #[test]
        fn it_has_the_key_of_its_name_whatever_was_looked_for_before(a in arbitrary_name(), b in arbitrary_name()) {
            let mut sought = Sought::from_wire(a.as_slice());
            prop_assert!(sought.key() == Key::of(&a).as_slice());
            sought.set(b.as_slice());
            prop_assert!(sought.key() == Key::of(&b).as_slice());
            prop_assert_eq!(sought.wire(), &b.as_slice().to_ascii_lowercase()[..]);
        }

        #[test]
        fn it_is_at_or_below_its_suffixes_and_no_other_name(a in arbitrary_name(), b in arbitrary_name()) {
            let sought = Sought::from_wire(a.as_slice());
            for suffix in b.iter_suffixes() {
                prop_assert_eq!(sought.is_at_or_below(suffix.as_slice()), a.ends_with(&suffix));
                prop_assert_eq!(sought.is(suffix.as_slice()), a == suffix);
            }
            for suffix in a.iter_suffixes() {
                prop_assert!(sought.is_at_or_below(&suffix.as_slice().to_ascii_uppercase()));
            }
        }

        #[test]
        fn what_it_shares_with_another_name_is_the_longest_suffix_of_both(a in arbitrary_name(), b in arbitrary_name()) {
            let sought = Sought::from_wire(a.as_slice());
            let shared = a.iter_suffixes().find(|suffix| b.ends_with(suffix)).expect("all names end with the root");
            let (at, others) = sought.shared(b.as_slice());
            prop_assert_eq!((at, others), (a.len() - shared.len(), b.len() - shared.len()));
            let wildcard = [b"\x01*", &sought.wire()[at..]].concat();
            prop_assert!(sought.wildcard_key(at) == Key::from_wire(&wildcard));
        }

        #[test]
        fn what_is_no_name_does_no_harm(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let sought = Sought::from_wire(&octets);
            prop_assert!(sought.key() == Key::from_wire(sought.wire()).as_slice());
        }
    }
}
