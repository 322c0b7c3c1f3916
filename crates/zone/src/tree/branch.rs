//! A branch of a tree: where keys differ, and a slot for each value that they have there, in one piece of memory.
//!
//! One piece, because whoever goes down a large tree waits for the memory of each branch, and would wait a second time for its slots.

use triomphe::{Arc, ThinArc};

use super::{Slot, nibble};

/// A branch; a clone is one reference count.
#[derive(Clone)]
pub(super) struct Branch<T>(ThinArc<Head, Slot<T>>);

#[derive(Clone, Copy)]
struct Head {
    /// The half octet of the key at which the slots differ; all before it are the same in all leaves below.
    index: u16,
    /// Bit n is set when there is a slot for value n: 0 where the key ends, half octet + 1 otherwise.
    present: u32,
}

impl<T> Branch<T> {
    /// A branch whose slots differ at this half octet: one for each value of which the bit in `present` is set, in ascending order.
    pub(super) fn new(
        index: u16,
        present: u32,
        slots: impl ExactSizeIterator<Item = Slot<T>>,
    ) -> Self {
        debug_assert_eq!(slots.len(), present.count_ones() as usize);
        Self(ThinArc::from_header_and_iter(
            Head { index, present },
            slots,
        ))
    }

    /// The half octet of the key at which the slots differ.
    pub(super) fn index(&self) -> usize {
        usize::from(self.head().index)
    }

    /// The slots, in ascending order of their values; two at least.
    pub(super) fn slots(&self) -> &[Slot<T>] {
        &self.0.slice
    }

    fn head(&self) -> Head {
        self.0.header.header
    }

    /// Whether both are the same in memory.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
    }

    /// How many slots come before that of a value.
    pub(super) fn rank(&self, value: u32) -> usize {
        // There are at most 16 before the last.
        let [low, high, ..] = (self.head().present & ((1 << value) - 1)).to_le_bytes();
        usize::from(ONES[usize::from(low)] + ONES[usize::from(high)])
    }

    /// The slot for a value.
    pub(super) fn slot(&self, value: u32) -> Option<&Slot<T>> {
        (self.head().present & 1 << value != 0).then(|| &self.slots()[self.rank(value)])
    }

    /// The slot on the way to a key.
    pub(super) fn child(&self, key: &[u8]) -> Option<&Slot<T>> {
        self.slot(nibble(key, self.index()))
    }
}

impl<T: Clone> Branch<T> {
    /// The same with a slot for a value that had none.
    pub(super) fn with(&self, value: u32, slot: Slot<T>) -> Self {
        let (before, behind) = self.slots().split_at(self.rank(value));
        let mut slots = Vec::with_capacity(self.slots().len() + 1);
        slots.extend_from_slice(before);
        slots.push(slot);
        slots.extend_from_slice(behind);
        let Head { index, present } = self.head();
        Self::new(index, present | 1 << value, slots.into_iter())
    }

    /// The same without the slot for a value that has one.
    pub(super) fn without(&self, value: u32) -> Self {
        let mut slots = self.slots().to_vec();
        slots.remove(self.rank(value));
        let Head { index, present } = self.head();
        Self::new(index, present & !(1 << value), slots.into_iter())
    }

    /// Changes a slot, in a copy if others have the branch as well.
    pub(super) fn change<R>(&mut self, rank: usize, change: impl FnOnce(&mut Slot<T>) -> R) -> R {
        if !self.0.with_arc(Arc::is_unique) {
            let slots = self.slots().iter().cloned();
            self.0 = ThinArc::from_header_and_iter(self.head(), slots);
        }
        self.0.with_arc_mut(|branch| {
            let branch = Arc::get_mut(branch).expect("nobody else has it, or it was copied");
            change(&mut branch.slice_mut()[rank])
        })
    }
}

/// How many bits of an octet are set. To look it up takes half as many instructions as to count them on a processor of which no more is
/// known than that it is an x86-64.
const ONES: [u8; 256] = {
    let mut ones = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        ones[octet] = (octet as u8).count_ones() as u8;
        octet += 1;
    }
    ones
};
