//! Making a tree of leaves that come in canonical order: without looking anything up, and each branch only once.

use super::{Branch, Leaf, Slot, Tree, differing_nibble, nibble};

/// A tree in the making, of leaves in ascending order of their keys.
///
/// Open are the branches on the way down to the last leaf. A leaf that comes differs from the last one at some half octet: all
/// branches that differ further down have got all they will get.
pub struct Ascending<T> {
    open: Vec<Open>,
    /// The slots of the open branches, those of the topmost first. A branch is allocated once it is known how many it has: one that grew
    /// and was cut to size would leave gaps in memory.
    slots: Vec<Slot<T>>,
    last: Option<T>,
    /// The key of the last leaf.
    key: Vec<u8>,
    len: usize,
}

struct Open {
    index: u16,
    present: u32,
    /// Where its slots begin.
    start: usize,
}

impl<T: Leaf> Ascending<T> {
    /// Nothing so far.
    pub fn new() -> Self {
        Self {
            open: Vec::new(),
            slots: Vec::new(),
            last: None,
            key: Vec::new(),
            len: 0,
        }
    }

    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Puts in a leaf with its key; returns it, with nothing done, when the key is not greater than all before.
    ///
    /// # Errors
    ///
    /// The leaf.
    pub fn push(&mut self, key: &[u8], leaf: T) -> Result<(), T> {
        let differ = match differing_nibble(&self.key, key) {
            Some(differ) if self.is_empty() || self.key.as_slice() < key => differ,
            None if self.is_empty() => 0,
            _ => return Err(leaf),
        };
        self.push_after(differ, key, leaf);
        Ok(())
    }

    /// Puts in a leaf with its key, which is greater than all before and differs from the last one at this half octet.
    pub(crate) fn push_after(&mut self, differ: usize, key: &[u8], leaf: T) {
        debug_assert!(
            self.is_empty() || differing_nibble(&self.key, key) == Some(differ),
            "the keys differ elsewhere"
        );
        if let Some(last) = self.last.replace(leaf) {
            self.close(Slot::Leaf(last), differ);
        }
        self.key.clear();
        self.key.extend_from_slice(key);
        self.len += 1;
    }

    /// Puts the slot of the last key where it belongs when the next key differs from it at this half octet.
    fn close(&mut self, mut slot: Slot<T>, differ: usize) {
        while let Some(open) = self.open.pop_if(|open| usize::from(open.index) > differ) {
            slot = self.closed(open, slot);
        }
        let value = nibble(&self.key, differ);
        match self.open.last_mut() {
            Some(open) if usize::from(open.index) == differ => open.present |= 1 << value,
            _ => self.open.push(Open {
                index: differ as u16,
                present: 1 << value,
                start: self.slots.len(),
            }),
        }
        self.slots.push(slot);
    }

    /// The branch, with the last slot that it gets.
    fn closed(&mut self, open: Open, slot: Slot<T>) -> Slot<T> {
        self.slots.push(slot);
        Slot::Branch(Branch::new(
            open.index,
            open.present | 1 << nibble(&self.key, usize::from(open.index)),
            self.slots.drain(open.start..),
        ))
    }

    /// The tree.
    pub fn finish(mut self) -> Tree<T> {
        let root = self.last.take().map(|leaf| {
            let mut slot = Slot::Leaf(leaf);
            while let Some(open) = self.open.pop() {
                slot = self.closed(open, slot);
            }
            slot
        });
        Tree {
            root,
            len: self.len,
        }
    }
}

impl<T: Leaf> Default for Ascending<T> {
    fn default() -> Self {
        Self::new()
    }
}
