//! Going down towards many names at once.
//!
//! In a large tree most of the time of a look-up is spent on waiting for the memory of one node after the other. Ways that have nothing
//! to do with one another are gone here step by step, side by side, so that the processor waits for many of them at once; whoever goes
//! one of them right afterwards finds it in the caches. It reads what would be read a moment later in any case, and nothing else.

use std::hint::black_box;

use super::{Leaf, Slot, Touch, Tree};
use crate::Sought;

/// A way down to a name that has not been gone to its end.
pub struct Way<'t, 's, T> {
    next: &'t Slot<T>,
    sought: &'s Sought,
}

impl<T: Leaf + Touch> Tree<T> {
    /// The way down to a name; none in an empty tree.
    pub fn way<'t, 's>(&'t self, sought: &'s Sought) -> Option<Way<'t, 's, T>> {
        let next = self.root.as_ref()?;
        Some(Way { next, sought })
    }
}

/// Goes all ways to their ends.
pub fn go_together<T: Leaf + Touch>(ways: &mut Vec<Way<'_, '_, T>>) {
    let mut seen = 0usize;
    while !ways.is_empty() {
        ways.retain_mut(|way| match way.next {
            Slot::Branch(branch) => match branch.child(way.sought.key()) {
                Some(child) => {
                    way.next = child;
                    true
                }
                None => false,
            },
            Slot::Leaf(leaf) => {
                seen = seen.wrapping_add(leaf.touch());
                false
            }
        });
    }
    black_box(seen);
}
