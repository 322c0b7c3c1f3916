//! A name that is looked for, in the forms in which zones and trees are asked for it.
//!
//! It is made once for a query and then asked many times, so everything that is asked of it was worked out before: the name in lower
//! case, where its labels begin, and its [`Key`]. It can be used again for the next name, which is cheaper than another one.

use crate::Key;
use crate::key::CAPACITY;

/// Longest name in wire format (RFC 1035 §2.3.4).
const LONGEST: usize = 255;
/// So many octets of a name are made lower case at a time, which the compiler turns into one or two instructions.
const BLOCK: usize = 32;
/// So many octets of a label are copied at a time, up to its last: most labels need one step.
const CHUNK: usize = 16;
/// Room for what is copied before a first label, for a name, and for the rest of its last block.
const ROOM: usize = CHUNK + LONGEST.next_multiple_of(BLOCK) + BLOCK;

/// A name that is looked for.
#[derive(Clone)]
pub struct Sought {
    /// In wire format and in lower case, behind a chunk of nothing.
    wire: [u8; ROOM],
    len: usize,
    /// A bit for each octet of the name at which a label begins, the root's included.
    starts: [u64; 4],
    /// Its key, behind a chunk of nothing.
    key: [u8; CHUNK + CAPACITY],
    key_len: usize,
}

impl Sought {
    /// Not yet for a name: as if for the root.
    pub fn new() -> Self {
        Self {
            wire: [0; ROOM],
            len: 1,
            starts: [1, 0, 0, 0],
            key: [0; CHUNK + CAPACITY],
            key_len: 0,
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
        let wire = &mut self.wire[CHUNK..];
        wire[..given].copy_from_slice(&name[..given]);
        // What is left of a longer name before is none of the last block.
        wire[given..][..BLOCK].fill(0);
        let blocks = given / BLOCK + 1;
        let mut small = 0;
        for block in &mut wire.as_chunks_mut::<BLOCK>().0[..blocks] {
            // The lengths of labels are smaller than any letter.
            block.make_ascii_lowercase();
            small += usize::from(block.iter().map(|octet| u8::from(*octet <= 1)).sum::<u8>());
        }

        let mut short = 0;
        // A name is so short that the compiler needs no proof of an octet's place being in it.
        let mut start = 0u8;
        self.starts = [0; 4];
        let at = loop {
            let at = usize::from(start);
            self.starts[at / 64] |= 1 << (at % 64);
            let len = usize::from(self.wire[CHUNK + at]);
            let next = at + 1 + len;
            // A malformed name ends here.
            if len.wrapping_sub(1) > 62 || next >= given {
                break at;
            }
            short += usize::from(len == 1);
            // A key has the labels in the opposite order, each with an octet behind it in place of the one before it.
            let end = (given - 2 - at) as u8;
            start = next as u8;
            self.put_in_key(start, end, len);
        };
        let is_whole = self.wire[CHUNK + at] == 0 && at + 1 == given;
        self.wire[CHUNK + at] = 0;
        self.len = at + 1;
        // Octets that have to be escaped are those which are neither the length of a label, nor the root's, nor padding.
        let plain = short + 1 + blocks * BLOCK - given;
        match is_whole && small == plain {
            true => self.key_len = at,
            false => self.make_key(),
        }
        self
    }

    /// Puts a label of so many octets, none of which is escaped, into the key: the one that ends before an octet of the name is to end before
    /// one of the key. It is copied in whole chunks from its end, and what was too much is overwritten by the labels that come after it.
    #[inline]
    fn put_in_key(&mut self, end: u8, key_end: u8, len: usize) {
        let (end, key_end) = (usize::from(end), usize::from(key_end));
        self.key[CHUNK + key_end] = 0;
        self.key[key_end..][..CHUNK].copy_from_slice(&self.wire[end..][..CHUNK]);
        let mut done = CHUNK;
        while done < len {
            let chunk = &self.wire[end - done..][..CHUNK];
            self.key[key_end - done..][..CHUNK].copy_from_slice(chunk);
            done += CHUNK;
        }
    }

    /// Makes the key of a name in which there are octets to be escaped, or of what could be read of a malformed one.
    #[cold]
    fn make_key(&mut self) {
        let key = Key::from_wire(self.wire());
        let key = key.as_slice();
        self.key[CHUNK..][..key.len()].copy_from_slice(key);
        self.key_len = key.len();
    }

    /// The name in wire format, in lower case.
    pub fn wire(&self) -> &[u8] {
        &self.wire[CHUNK..][..self.len]
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.key[CHUNK..][..self.key_len]
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
    #[inline]
    pub fn shared(&self, other: &[u8]) -> (usize, usize) {
        // What is looked for is most often there.
        match self.is(other) {
            true => (0, 0),
            false => self.shared_with_another(other),
        }
    }

    fn shared_with_another(&self, other: &[u8]) -> (usize, usize) {
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
        match self.key_len + 1 == self.len {
            true => Key::wildcard_below(&self.key()[..self.len - 1 - at]),
            // Some of its octets are escaped.
            false => Key::wildcard_below(Key::from_wire(&self.wire()[at..]).as_slice()),
        }
    }

    /// Whether a label begins at an octet, and all from there on is the same as another name, which is as long.
    fn has_suffix(&self, at: usize, other: &[u8]) -> bool {
        let Some(own) = self.wire.get(CHUNK + at..CHUNK + self.len) else {
            return false;
        };
        self.starts[at / 64 % 4] >> (at % 64) & 1 == 1
            // Nearly all names in zones are in lower case, and that is cheaper to see.
            && (is_same(own, other) || is_same_in_lower_case(own, other))
    }
}

/// Whether octets are the same as others, which are as many, if they are eight or more. Names are so short that a call of `memcmp` takes
/// longer than to compare them.
fn is_same(octets: &[u8], others: &[u8]) -> bool {
    let others = &others[..octets.len()];
    let (Some(last), Some(others_last)) = (octets.last_chunk::<8>(), others.last_chunk::<8>())
    else {
        return false;
    };
    let mut at = 0;
    while at + 8 < octets.len() {
        if octets[at..at + 8] != others[at..at + 8] {
            return false;
        }
        at += 8;
    }
    last == others_last
}

#[inline(never)]
fn is_same_in_lower_case(octets: &[u8], others: &[u8]) -> bool {
    octets.eq_ignore_ascii_case(others)
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
    use crate::Name;
    use crate::testing::arbitrary_name;

    /// A name as most are: no octet of it has to be escaped.
    fn plain_name() -> impl Strategy<Value = Name> {
        let labels = prop::collection::vec("[a-cA-C]{1,5}|[a-zA-Z0-9-]{14,34}|[a-z]{63}", 0..8);
        labels.prop_map(|labels| {
            let mut wire = Vec::new();
            for label in labels {
                if wire.len() + 1 + label.len() <= 254 {
                    wire.push(label.len() as u8);
                    wire.extend(label.into_bytes());
                }
            }
            wire.push(0);
            Name::from_octets(wire.into()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_name_without_escapes_has_its_key_whatever_was_looked_for_before(before in arbitrary_name(), a in plain_name(), b in plain_name()) {
            let mut sought = Sought::from_wire(before.as_slice());
            for name in [&a, &b] {
                sought.set(name.as_slice());
                prop_assert!(sought.key() == Key::of(name).as_slice());
                for suffix in name.iter_suffixes() {
                    prop_assert!(sought.is_at_or_below(&suffix.as_slice().to_ascii_uppercase()));
                }
            }
        }

        #[test]
        fn a_name_of_which_one_octet_is_another_is_another(name in plain_name(), at in any::<prop::sample::Index>(), octet: u8) {
            let sought = Sought::from_wire(name.as_slice());
            let mut other = name.as_slice().to_vec();
            let at = at.index(other.len());
            other[at] = octet;
            prop_assert_eq!(sought.is(&other), other.eq_ignore_ascii_case(name.as_slice()));
        }

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
