//! Walking over all leaves of a tree without waiting for the memory at each.
//!
//! Leaves lie in memory where there was room when they were made, so that a walk over a large zone misses the caches at each name, one
//! miss after the other. Here the pointers of many leaves are followed side by side, so that the processor waits for many of them
//! at once; what is then handed out is in the caches. It reads what would be read a moment later in any case, and nothing else.

use std::hint::black_box;

use super::Slot;

/// A leaf that what it holds is reached from by a pointer.
pub trait Touch {
    /// Reads an octet or so of what it holds.
    fn touch(&self) -> usize;
}

/// Leaves in canonical order, handed out when what they hold is at hand.
///
/// The first of them come one by one, and then more and more at a time, so that taking only a few costs no more than these.
pub struct Ahead<'t, T> {
    stack: Vec<&'t Slot<T>>,
    window: Vec<&'t T>,
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

    fn next_leaf(&mut self) -> Option<&'t T> {
        loop {
            match self.stack.pop()? {
                Slot::Leaf(leaf) => return Some(leaf),
                Slot::Branch(branch) => {
                    touch_branches(branch.slots());
                    self.stack.extend(branch.slots().iter().rev());
                }
            }
        }
    }
}

impl<'t, T: Touch> Iterator for Ahead<'t, T> {
    type Item = &'t T;

    fn next(&mut self) -> Option<&'t T> {
        if self.next == self.window.len() {
            self.window.clear();
            while self.window.len() < self.size
                && let Some(leaf) = self.next_leaf()
            {
                self.window.push(leaf);
            }
            self.next = 0;
            self.size = (self.size * 2).min(WINDOW);
            let seen = self.window.iter().map(|leaf| leaf.touch());
            black_box(seen.fold(0, usize::wrapping_add));
        }
        let leaf = self.window.get(self.next)?;
        self.next += 1;
        Some(leaf)
    }
}

/// Reads of those slots that are branches what is needed to go on below them, side by side.
fn touch_branches<T>(slots: &[Slot<T>]) {
    let seen = slots.iter().map(|slot| match slot {
        Slot::Branch(branch) => branch.slots().len(),
        Slot::Leaf(_) => 0,
    });
    black_box(seen.fold(0, usize::wrapping_add));
}
