//! Walking over all leaves of a tree without waiting for the memory at each.
//!
//! Nodes lie in memory where there was room when they were made, so that a walk over a large zone misses the caches several times a
//! name, one miss after the other: each pointer is read only when the one before it has come. Here the pointers of many leaves are
//! followed side by side, one step at a time, so that the processor waits for many of them at once; what is then handed out is in
//! the caches. It reads what would be read a moment later in any case, and nothing else.

use std::hint::black_box;
use std::sync::Arc;

use super::Slot;

/// A leaf that others are reached from by pointers.
pub trait Touch {
    /// How many steps there are.
    const STEPS: usize;

    /// Reads an octet or so of what is reached in this many steps, through what the steps before have reached.
    fn touch(&self, step: usize) -> usize;
}

/// Leaves in canonical order, handed out when what they hold is at hand.
///
/// The first of them come one by one, and then more and more at a time, so that taking only a few costs no more than these.
pub struct Ahead<'t, T> {
    stack: Vec<&'t Slot<T>>,
    window: Vec<&'t Arc<T>>,
    next: usize,
    size: usize,
}

/// How many leaves are looked at side by side: more than the processor has misses under way, and few enough that what was touched
/// is still in its nearest cache.
const WINDOW: usize = 48;

impl<'t, T> Ahead<'t, T> {
    pub(super) fn new(stack: Vec<&'t Slot<T>>) -> Self {
        Self {
            stack,
            window: Vec::new(),
            next: 0,
            size: 1,
        }
    }

    fn next_leaf(&mut self) -> Option<&'t Arc<T>> {
        loop {
            match self.stack.pop()? {
                Slot::Leaf(leaf) => return Some(leaf),
                Slot::Branch(branch) => {
                    touch_branches(&branch.slots);
                    self.stack.extend(branch.slots.iter().rev());
                }
            }
        }
    }
}

impl<'t, T: Touch> Iterator for Ahead<'t, T> {
    type Item = &'t Arc<T>;

    fn next(&mut self) -> Option<&'t Arc<T>> {
        if self.next == self.window.len() {
            self.window.clear();
            while self.window.len() < self.size
                && let Some(leaf) = self.next_leaf()
            {
                self.window.push(leaf);
            }
            self.next = 0;
            self.size = (self.size * 2).min(WINDOW);
            for step in 0..T::STEPS {
                let seen = self.window.iter().map(|leaf| leaf.touch(step));
                black_box(seen.fold(0, usize::wrapping_add));
            }
        }
        let leaf = self.window.get(self.next)?;
        self.next += 1;
        Some(leaf)
    }
}

/// Reads of those slots that are branches what is needed to go on below them, side by side.
fn touch_branches<T>(slots: &[Slot<T>]) {
    let branches = || {
        slots.iter().filter_map(|slot| match slot {
            Slot::Branch(branch) => Some(branch),
            Slot::Leaf(_) => None,
        })
    };
    let heads = branches().map(|branch| branch.slots.len());
    black_box(heads.fold(0, usize::wrapping_add));
    let slots = branches().map(|branch| usize::from(matches!(branch.slots[0], Slot::Leaf(_))));
    black_box(slots.fold(0, usize::wrapping_add));
}
