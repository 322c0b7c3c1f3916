//! The search key of a domain name: bytes whose plain order is the canonical order of names (RFC 4034 §6.1).
//!
//! Labels are written from the root downwards, in lower case, each ended by a zero byte. A zero or a one within
//! a label is escaped, so that the terminator stays the smallest byte of all. Two consequences are relied upon all
//! over the crate: `memcmp` of keys is canonical order, and the key of a name is a prefix of the keys of all names
//! below it, and of no others.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::Name;

/// Longest key: 254 octets of labels, all of them escaped, and up to 127 terminators.
pub(crate) const CAPACITY: usize = 512;

/// The key of one name, on the stack.
#[derive(Clone)]
pub struct Key {
    len: u16,
    bytes: [u8; CAPACITY],
}

impl Key {
    /// Makes the key of a name.
    pub fn of(name: &Name) -> Self {
        Self::from_wire(name.as_slice())
    }

    /// Makes the key of a name in uncompressed wire format, the root label included.
    ///
    /// The slice must hold a well-formed name; anything after its root label is ignored, and a malformed one yields
    /// the key of what could be read.
    pub fn from_wire(wire: &[u8]) -> Self {
        let mut key = Self::root();
        all_downwards(wire, |label| {
            key.push_label(label);
            true
        });
        key
    }

    /// The key of the root.
    fn root() -> Self {
        Self {
            len: 0,
            bytes: [0; CAPACITY],
        }
    }

    /// The key of the wildcard directly below the name that has a key.
    pub(crate) fn wildcard_below(key: &[u8]) -> Self {
        let mut wildcard = Self::root();
        wildcard.bytes[..key.len()].copy_from_slice(key);
        wildcard.bytes[key.len()] = b'*';
        wildcard.len = key.len() as u16 + 2;
        wildcard
    }

    /// The key as bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    fn push_label(&mut self, label: &[u8]) {
        let mut at = self.len as usize;
        let plain = &mut self.bytes[at..at + label.len()];
        plain.copy_from_slice(label);
        plain.make_ascii_lowercase();
        match plain.iter().any(|byte| *byte <= 1) {
            false => at += label.len(),
            true => escape(label, |byte| {
                self.bytes[at] = byte;
                at += 1;
            }),
        }
        // The terminator is the zero that the buffer already holds.
        self.len = at as u16 + 1;
    }
}

/// Whether all labels of a name, from the root downwards, are what `each` wants; it sees none after the first that is not.
fn all_downwards(wire: &[u8], mut each: impl FnMut(&[u8]) -> bool) -> bool {
    let mut starts = [0u8; 128];
    let mut count = 0;
    let mut at = 0;
    while let Some(&len) = wire.get(at) {
        if len == 0 || len > 63 || count == starts.len() || at + len as usize >= 255 {
            break;
        }
        starts[count] = at as u8;
        count += 1;
        at += len as usize + 1;
    }
    starts[..count].iter().rev().all(|&start| {
        let start = start as usize;
        let end = (start + 1 + wire[start] as usize).min(wire.len());
        each(&wire[start + 1..end])
    })
}

/// What a key has in common with the key of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// How many of their first octets are the same.
    pub len: usize,
    /// Whether that is all of the name's key: the name is that of the key or an ancestor.
    pub whole: bool,
}

impl Common {
    /// Whether the name is that of the key.
    pub fn is_all_of(self, key: &[u8]) -> bool {
        self.whole && self.len == key.len()
    }
}

/// Compares a key with that of a name in uncompressed wire format, without making the latter.
pub fn common(key: &[u8], wire: &[u8]) -> Common {
    let mut at = 0;
    let whole = all_downwards(wire, |label| {
        for &byte in label {
            let octet = if byte < 2 {
                if key.get(at) != Some(&1) {
                    return false;
                }
                at += 1;
                byte + 1
            } else {
                byte.to_ascii_lowercase()
            };
            if key.get(at) != Some(&octet) {
                return false;
            }
            at += 1;
        }
        if key.get(at) != Some(&0) {
            return false;
        }
        at += 1;
        true
    });
    Common { len: at, whole }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.as_slice().escape_ascii())
    }
}

/// The first label of a name in wire format, without its length, and what is behind it; no label when it is the root.
pub(crate) fn first_label(name: &[u8]) -> (&[u8], &[u8]) {
    match name.split_first() {
        Some((len, rest)) => rest.split_at_checked(usize::from(*len)).unwrap_or_default(),
        None => Default::default(),
    }
}

/// Appends a label to a key, as [`Key::of`] does.
pub(crate) fn push_label(key: &mut Vec<u8>, label: &[u8]) {
    let start = key.len();
    key.extend_from_slice(label);
    let plain = &mut key[start..];
    plain.make_ascii_lowercase();
    if plain.iter().any(|byte| *byte <= 1) {
        key.truncate(start);
        escape(label, |byte| key.push(byte));
    }
    key.push(0);
}

/// Hands out the octets that stand in a key for those of a label.
fn escape(label: &[u8], mut put: impl FnMut(u8)) {
    for &byte in label {
        match byte {
            0 | 1 => {
                put(1);
                put(byte + 1);
            }
            _ => put(byte.to_ascii_lowercase()),
        }
    }
}

/// The key of one name, to be kept: 24 octets, and none besides for names as short as most are.
///
/// What is kept by it is found with a [`Key`]'s slice, and comes in the order of the names. That is much faster than to keep it by
/// name: two names are compared label by label from their ends, which have to be looked for each time.
#[derive(Clone)]
pub struct OwnedKey(Octets);

#[derive(Clone)]
enum Octets {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

/// As many octets as there are beside the length where a pointer and its length would stand.
const SHORT: usize = 22;

impl OwnedKey {
    /// Makes the key of a name.
    pub fn of(name: &Name) -> Self {
        Key::of(name).into()
    }

    /// The key as bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Octets::Short(len, octets) => &octets[..usize::from(*len)],
            Octets::Long(octets) => octets,
        }
    }
}

impl From<Key> for OwnedKey {
    fn from(key: Key) -> Self {
        let octets = key.as_slice();
        let mut short = [0; SHORT];
        Self(match short.get_mut(..octets.len()) {
            Some(start) => {
                start.copy_from_slice(octets);
                Octets::Short(octets.len() as u8, short)
            }
            None => Octets::Long(octets.into()),
        })
    }
}

impl Borrow<[u8]> for OwnedKey {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for OwnedKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for OwnedKey {}

impl Hash for OwnedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl PartialOrd for OwnedKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OwnedKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl fmt::Debug for OwnedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedKey({})", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::arbitrary_name;

    proptest! {
        #[test]
        fn order_of_keys_is_the_canonical_order_of_names(a in arbitrary_name(), b in arbitrary_name()) {
            prop_assert_eq!(Key::of(&a).as_slice().cmp(Key::of(&b).as_slice()), a.cmp(&b));
        }

        #[test]
        fn what_is_kept_of_a_key_is_the_key(a in arbitrary_name(), b in arbitrary_name()) {
            let (kept, other) = (OwnedKey::of(&a), OwnedKey::of(&b));
            let key = Key::of(&a);
            prop_assert_eq!(kept.as_slice(), key.as_slice());
            prop_assert_eq!(kept.cmp(&other), a.cmp(&b));
            prop_assert_eq!(kept == other, a == b);
        }

        #[test]
        fn a_key_is_a_prefix_of_another_exactly_when_the_name_is_an_ancestor(a in arbitrary_name(), b in arbitrary_name()) {
            prop_assert_eq!(Key::of(&a).as_slice().starts_with(Key::of(&b).as_slice()), a.ends_with(&b));
        }

        #[test]
        fn what_a_key_has_in_common_with_a_name_is_what_it_has_with_its_key(a in arbitrary_name(), b in arbitrary_name()) {
            let (key, other) = (Key::of(&a), Key::of(&b));
            let same = key.as_slice().iter().zip(other.as_slice()).take_while(|(x, y)| x == y).count();
            let whole = same == other.as_slice().len();
            prop_assert_eq!(common(key.as_slice(), b.as_slice()), Common { len: same, whole });
        }
    }

    #[test]
    fn what_is_kept_of_a_key_takes_no_more_than_a_pointer_to_it_would() {
        assert_eq!(size_of::<OwnedKey>(), 24);
        for len in [21, 22, 23] {
            let name = format!("{}.", "x".repeat(len - 1));
            let key = OwnedKey::of(&Name::from_str(&name).unwrap());
            assert_eq!(matches!(key.0, Octets::Short(..)), len <= SHORT);
            assert_eq!(key.as_slice().len(), len);
        }
    }

    #[test]
    fn the_longest_name_of_escaped_octets_fits() {
        let mut wire = Vec::new();
        for len in [63usize, 63, 63, 61] {
            wire.push(len as u8);
            wire.extend(std::iter::repeat_n(1u8, len));
        }
        wire.push(0);
        assert_eq!(wire.len(), 255);
        assert_eq!(Key::from_wire(&wire).as_slice().len(), 250 * 2 + 4);
    }

    proptest! {
        #[test]
        fn a_key_is_that_of_the_parent_and_the_first_label(name in arbitrary_name()) {
            let wire = name.as_slice();
            if let Some((label, parent)) = wire[1..].split_at_checked(usize::from(wire[0]))
                && !label.is_empty()
            {
                let mut key = Key::from_wire(parent).as_slice().to_vec();
                push_label(&mut key, label);
                let whole = Key::of(&name);
                prop_assert_eq!(key.as_slice(), whole.as_slice());
            }
        }
    }
}
