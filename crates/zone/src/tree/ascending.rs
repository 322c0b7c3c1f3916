//! Making a tree of leaves that come in canonical order: without looking anything up, and each branch only once.

use std::sync::Arc;

use super::{Branch, Leaf, Slot, Tree, differing_nibble, nibble};

/// A tree in the making, of leaves in ascending order of their keys.
///
/// Open are the branches on the way down to the last leaf. A leaf that comes differs from the last one at some half octet: all
/// branches that differ further down have got all they will get.
pub struct Ascending<T> {
    open: Vec<Open<T>>,
    last: Option<T>,
    /// The key of the last leaf.
    key: Vec<u8>,
    len: usize,
}

struct Open<T> {
    index: u16,
    present: u32,
    slots: Vec<Slot<T>>,
}

impl<T: Leaf> Ascending<T> {
    /// Nothing so far.
    pub fn new() -> Self {
        Self {
            open: Vec::new(),
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
        if let Some(last) = self.last.take() {
            let differ = match differing_nibble(&self.key, key) {
                Some(differ) if self.key.as_slice() < key => differ,
                _ => {
                    self.last = Some(last);
                    return Err(leaf);
                }
            };
            self.close(Slot::Leaf(last), differ);
        }
        self.last = Some(leaf);
        self.key.clear();
        self.key.extend_from_slice(key);
        self.len += 1;
        Ok(())
    }

    /// Puts the slot of the last key where it belongs when the next key differs from it at this half octet.
    fn close(&mut self, mut slot: Slot<T>, differ: usize) {
        let key = self.key.as_slice();
        while let Some(open) = self.open.pop_if(|open| usize::from(open.index) > differ) {
            slot = open.closed(slot, key);
        }
        let value = nibble(key, differ);
        match self.open.last_mut() {
            Some(open) if usize::from(open.index) == differ => open.put(value, slot),
            _ => {
                let mut open = Open {
                    index: differ as u16,
                    present: 0,
                    slots: Vec::new(),
                };
                open.put(value, slot);
                self.open.push(open);
            }
        }
    }

    /// The tree.
    pub fn finish(mut self) -> Tree<T> {
        let root = self.last.take().map(|leaf| {
            let mut slot = Slot::Leaf(leaf);
            while let Some(open) = self.open.pop() {
                slot = open.closed(slot, &self.key);
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

impl<T> Open<T> {
    fn put(&mut self, value: u32, slot: Slot<T>) {
        self.present |= 1 << value;
        self.slots.push(slot);
    }

    /// The branch, with the last slot that it gets.
    fn closed(mut self, slot: Slot<T>, key: &[u8]) -> Slot<T> {
        self.put(nibble(key, usize::from(self.index)), slot);
        Slot::Branch(Arc::new(Branch {
            index: self.index,
            present: self.present,
            slots: self.slots.into(),
        }))
    }
}
