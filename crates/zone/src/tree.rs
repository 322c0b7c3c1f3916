//! A persistent, ordered map from names to leaves: a radix tree on half octets of the [`Key`], path-copied on change.
//!
//! A clone is one reference count; a change copies the nodes on one path and shares all others, so its cost is that
//! of the change. Two trees that come from one another are compared by skipping what they share. Ancestors of a name
//! are met on the way down to it, so that a zone cut, a DNAME and the closest encloser cost one descent.
//!
//! See docs/decisions/0003 for what was weighed.

use crate::key::{self, Common};
use crate::{Key, Sought};

mod ahead;
mod ascending;
mod branch;
mod descent;
mod together;

pub use self::ahead::{Ahead, Touch};
pub use self::ascending::Ascending;
use self::branch::Branch;
pub use self::descent::{Approach, Descent};
pub use self::together::{Way, go_together};

/// What the tree holds: something that knows its name, and of which a clone is cheap. The name of a leaf must never change.
pub trait Leaf: Clone {
    /// The name under which it is found, in uncompressed wire format.
    fn wire(&self) -> &[u8];

    /// The key under which it is found.
    fn key(&self) -> Key {
        Key::from_wire(self.wire())
    }

    /// What a key has in common with its own, which is not made for that.
    fn common(&self, key: &[u8]) -> Common {
        key::common(key, self.wire())
    }

    /// Whether both are the same in memory, and so certainly equal.
    fn same(&self, other: &Self) -> bool;
}

/// A persistent map from keys to leaves, in canonical order.
#[derive(Clone)]
pub struct Tree<T> {
    root: Option<Slot<T>>,
    len: usize,
}

#[derive(Clone)]
enum Slot<T> {
    Leaf(T),
    Branch(Branch<T>),
}

impl<T: Leaf> Tree<T> {
    /// An empty tree.
    pub fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many leaves there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both are the same tree in memory, and so certainly equal.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same(b),
            _ => false,
        }
    }
}

/// # Looking up
impl<T: Leaf> Tree<T> {
    /// The leaf with this key.
    pub fn get(&self, key: &[u8]) -> Option<&T> {
        let leaf = self.nearest(key)?;
        leaf.common(key).is_all_of(key).then_some(leaf)
    }

    /// Goes down towards a name, meeting the leaves of its ancestors on the way, the topmost first.
    pub fn descend<'t, 's>(&'t self, sought: &'s Sought) -> Descent<'t, 's, T> {
        Descent::new(self.approach(sought))
    }

    /// The same for who compares the name with those of the leaves that matter alone: most often one, and seldom all that are met.
    pub fn approach<'t, 's>(&'t self, sought: &'s Sought) -> Approach<'t, 's, T> {
        Approach::new(self.root.as_ref(), sought)
    }

    /// The leaf of this name or of its closest ancestor that has one.
    pub fn closest_ancestor(&self, sought: &Sought) -> Option<&T> {
        self.descend(sought).last()
    }

    /// Whether a leaf has this key or one below it: whether the name exists, if only as an empty non-terminal.
    pub fn has_at_or_below(&self, key: &[u8]) -> bool {
        self.first_at_or_below(key).is_some()
    }

    /// The first leaf, in canonical order, that has this key or one below it.
    pub fn first_at_or_below(&self, key: &[u8]) -> Option<&T> {
        self.slot_below(key).map(Slot::first_leaf)
    }

    /// The leaf with the greatest key that is smaller than this one: its predecessor in canonical order.
    pub fn predecessor(&self, key: &[u8]) -> Option<&T> {
        let near = self.nearest(key)?;
        let near_key = near.key();
        let differ = differing_nibble(near_key.as_slice(), key);
        let mut best: Option<&Slot<T>> = None;
        let mut slot = self.root.as_ref()?;
        loop {
            match slot {
                Slot::Branch(branch) if differ.is_none_or(|at| branch.index() <= at) => {
                    let rank = branch.rank(nibble(key, branch.index()));
                    if rank > 0 {
                        best = Some(&branch.slots()[rank - 1]);
                    }
                    match branch.child(key) {
                        Some(child) => slot = child,
                        None => break,
                    }
                }
                _ => {
                    // All leaves below this slot differ from the key at the same place, in the same direction.
                    if let Some(at) = differ
                        && nibble(near_key.as_slice(), at) < nibble(key, at)
                    {
                        best = Some(slot);
                    }
                    break;
                }
            }
        }
        best.map(Slot::last_leaf)
    }

    /// All leaves, in canonical order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            stack: self.root.iter().collect(),
        }
    }

    /// The same for who looks at what the leaves hold, of all or of many; see [`Ahead`].
    pub fn iter_ahead(&self) -> Ahead<'_, T>
    where
        T: Touch,
    {
        Ahead::new(self.root.iter().collect())
    }

    /// All leaves whose key starts with this one, in canonical order: a name and all below it.
    pub fn below(&self, key: &[u8]) -> Iter<'_, T> {
        Iter {
            stack: self.slot_below(key).into_iter().collect(),
        }
    }

    /// What has all leaves whose key starts with this one, and no others.
    fn slot_below(&self, key: &[u8]) -> Option<&Slot<T>> {
        let mut slot = self.root.as_ref();
        while let Some(Slot::Branch(branch)) = slot
            && branch.index() < key.len() * 2
        {
            slot = branch.child(key);
        }
        slot.filter(|slot| slot.first_leaf().common(key).len == key.len())
    }

    /// The leaf that shares the longest prefix with the key.
    fn nearest(&self, key: &[u8]) -> Option<&T> {
        let mut slot = self.root.as_ref()?;
        while let Slot::Branch(branch) = slot {
            match branch.child(key) {
                Some(child) => slot = child,
                None => return Some(slot.first_leaf()),
            }
        }
        Some(slot.first_leaf())
    }
}

/// # Changing
impl<T: Leaf> Tree<T> {
    /// Puts in a leaf; returns the one that had its key.
    pub fn insert(&mut self, leaf: T) -> Option<T> {
        let key = leaf.key();
        let key = key.as_slice();
        let differ = match self.nearest(key) {
            None => {
                self.root = Some(Slot::Leaf(leaf));
                self.len = 1;
                return None;
            }
            Some(near) => differing_nibble(near.key().as_slice(), key),
        };
        let slot = self
            .root
            .as_mut()
            .expect("a tree with a nearest leaf has a root");
        let old = put(slot, key, differ, leaf);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes out the leaf with this key.
    pub fn remove(&mut self, key: &[u8]) -> Option<T> {
        let leaf = self.get(key)?.clone();
        self.len -= 1;
        match self.root.as_mut()? {
            Slot::Leaf(_) => self.root = None,
            slot => take_out(slot, key),
        }
        Some(leaf)
    }
}

/// Puts a leaf at or below a slot, where its key differs from those that are there at this half octet; returns the one that had its key.
fn put<T: Leaf>(slot: &mut Slot<T>, key: &[u8], differ: Option<usize>, leaf: T) -> Option<T> {
    let at = differ.unwrap_or(usize::MAX);
    let value = nibble(key, at);
    match slot {
        Slot::Branch(branch) if branch.index() < at => {
            let rank = branch.rank(nibble(key, branch.index()));
            return branch.change(rank, |below| put(below, key, differ, leaf));
        }
        Slot::Branch(branch) if branch.index() == at => {
            *branch = branch.with(value, Slot::Leaf(leaf));
            return None;
        }
        Slot::Leaf(old) if differ.is_none() => return Some(std::mem::replace(old, leaf)),
        Slot::Branch(_) | Slot::Leaf(_) => {}
    }
    let theirs = nibble(slot.first_leaf().key().as_slice(), at);
    let (new, old) = (Slot::Leaf(leaf), slot.clone());
    let slots = match value < theirs {
        true => [new, old],
        false => [old, new],
    };
    let present = 1 << value | 1 << theirs;
    *slot = Slot::Branch(Branch::new(at as u16, present, slots.into_iter()));
    None
}

/// Takes the leaf with this key, which is there, from below a branch.
fn take_out<T: Leaf>(slot: &mut Slot<T>, key: &[u8]) {
    let Slot::Branch(branch) = slot else { return };
    let value = nibble(key, branch.index());
    let rank = branch.rank(value);
    if matches!(branch.slots()[rank], Slot::Branch(_)) {
        branch.change(rank, |below| take_out(below, key));
    } else if branch.slots().len() > 2 {
        *branch = branch.without(value);
    } else {
        let other = branch.slots()[1 - rank].clone();
        *slot = other;
    }
}

/// # Comparing
impl<T: Leaf> Tree<T> {
    /// Calls `each` with what differs from this tree to a newer one, in canonical order: a leaf that is only here, only
    /// there, or in both but not the same in memory. The cost is that of what differs, not that of the trees.
    pub fn compare<'t>(
        &'t self,
        newer: &'t Self,
        each: &mut impl FnMut(Option<&'t T>, Option<&'t T>),
    ) {
        compare(self.root.as_ref(), newer.root.as_ref(), each);
    }
}

fn compare<'t, T: Leaf>(
    old: Option<&'t Slot<T>>,
    new: Option<&'t Slot<T>>,
    each: &mut impl FnMut(Option<&'t T>, Option<&'t T>),
) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (Some(old), None) => return old.iter().for_each(|leaf| each(Some(leaf), None)),
        (None, Some(new)) => return new.iter().for_each(|leaf| each(None, Some(leaf))),
        (Some(old), Some(new)) if old.same(new) => return,
        (Some(old), Some(new)) => (old, new),
    };
    let (old_key, new_key) = (old.first_leaf().key(), new.first_leaf().key());
    let differ = differing_nibble(old_key.as_slice(), new_key.as_slice()).unwrap_or(usize::MAX);
    let index = old.index().min(new.index());
    if differ < index {
        // No leaf below the one can be below the other.
        if nibble(old_key.as_slice(), differ) < nibble(new_key.as_slice(), differ) {
            compare(Some(old), None, each);
            compare(None, Some(new), each);
        } else {
            compare(None, Some(new), each);
            compare(Some(old), None, each);
        }
        return;
    }
    if let (Slot::Leaf(old), Slot::Leaf(new)) = (old, new) {
        return each(Some(old), Some(new));
    }
    for value in 0..=16 {
        compare(
            old.at(index, value, &old_key),
            new.at(index, value, &new_key),
            each,
        );
    }
}

impl<T: Leaf> Slot<T> {
    /// What is below this slot for a value of the half octet at `index`, where `index` is not after the slot's own.
    fn at(&self, index: usize, value: u32, first: &Key) -> Option<&Slot<T>> {
        match self {
            Slot::Branch(branch) if branch.index() == index => branch.slot(value),
            _ => (nibble(first.as_slice(), index) == value).then_some(self),
        }
    }

    fn iter(&self) -> Iter<'_, T> {
        Iter { stack: vec![self] }
    }
}

impl<T: Leaf> Slot<T> {
    /// The half octet at which what is below differs; `usize::MAX` for a leaf.
    fn index(&self) -> usize {
        match self {
            Slot::Leaf(_) => usize::MAX,
            Slot::Branch(branch) => branch.index(),
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Slot::Leaf(a), Slot::Leaf(b)) => a.same(b),
            (Slot::Branch(a), Slot::Branch(b)) => a.same(b),
            _ => false,
        }
    }

    fn first_leaf(&self) -> &T {
        let mut slot = self;
        loop {
            match slot {
                Slot::Leaf(leaf) => return leaf,
                Slot::Branch(branch) => slot = &branch.slots()[0],
            }
        }
    }

    fn last_leaf(&self) -> &T {
        let mut slot = self;
        loop {
            match slot {
                Slot::Leaf(leaf) => return leaf,
                Slot::Branch(branch) => slot = &branch.slots()[branch.slots().len() - 1],
            }
        }
    }
}

/// The half octet of a key at an index, plus one; 0 behind its end.
fn nibble(key: &[u8], index: usize) -> u32 {
    match key.get(index / 2) {
        None => 0,
        // Of each octet the upper half comes first.
        Some(octet) => u32::from(octet >> (!index % 2 * 4) & 15) + 1,
    }
}

/// The first half octet at which two keys differ.
pub(crate) fn differing_nibble(a: &[u8], b: &[u8]) -> Option<usize> {
    let at = common_prefix(a, b);
    match (a.get(at), b.get(at)) {
        (None, None) => None,
        (Some(x), Some(y)) if x >> 4 == y >> 4 => Some(at * 2 + 1),
        _ => Some(at * 2),
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Eight octets at a time, until some differ.
    let (eights, others) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let mut at = 0;
    for (x, y) in eights.iter().zip(others) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = a[at..].iter().zip(&b[at..]);
    at + rest.take_while(|(x, y)| x == y).count()
}

/// Leaves in canonical order.
pub struct Iter<'t, T> {
    stack: Vec<&'t Slot<T>>,
}

impl<'t, T> Iterator for Iter<'t, T> {
    type Item = &'t T;

    fn next(&mut self) -> Option<&'t T> {
        loop {
            match self.stack.pop()? {
                Slot::Leaf(leaf) => return Some(leaf),
                Slot::Branch(branch) => self.stack.extend(branch.slots().iter().rev()),
            }
        }
    }
}

impl<T: Leaf> Default for Tree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Leaf> FromIterator<T> for Tree<T> {
    fn from_iter<I: IntoIterator<Item = T>>(leaves: I) -> Self {
        let mut tree = Self::new();
        for leaf in leaves {
            tree.insert(leaf);
        }
        tree
    }
}

#[cfg(test)]
mod tests;
