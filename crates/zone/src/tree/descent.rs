//! The way down a tree to a name, on which its ancestors are met.

use super::{Leaf, Slot, nibble};
use crate::Sought;

/// A way down to a name. As an iterator it yields the leaves that are at the name or at an ancestor of it.
pub struct Descent<'t, 's, T> {
    sought: &'s Sought,
    next: Option<&'t Slot<T>>,
    /// A leaf that has most in common with the name, when it has ended.
    last: Option<&'t T>,
}

impl<'t, 's, T: Leaf> Descent<'t, 's, T> {
    pub(super) fn new(root: Option<&'t Slot<T>>, sought: &'s Sought) -> Self {
        Self {
            sought,
            next: root,
            last: None,
        }
    }

    /// Where in the name its closest encloser (RFC 4592 §3.3.1) begins: the longest suffix that is a name which exists.
    pub fn encloser(mut self) -> usize {
        // Nobody wants to meet whom there is still on the way.
        while let Some(slot) = self.next {
            self.next = slot.child(self.sought.key());
            if self.next.is_none() {
                self.last = Some(slot.first_leaf());
            }
        }
        match self.last {
            None => self.sought.wire().len() - 1,
            Some(leaf) => self.sought.shared(leaf.wire()).0,
        }
    }
}

impl<'t, T: Leaf> Iterator for Descent<'t, '_, T> {
    type Item = &'t T;

    // Its callers are few, and each goes it for every query.
    #[inline(always)]
    fn next(&mut self) -> Option<&'t T> {
        while let Some(slot) = self.next {
            match slot {
                Slot::Leaf(leaf) => {
                    self.next = None;
                    self.last = Some(leaf);
                    if self.sought.is_at_or_below(leaf.wire()) {
                        return Some(leaf);
                    }
                }
                Slot::Branch(branch) => {
                    let value = nibble(self.sought.key(), branch.index());
                    self.next = branch.slot(value);
                    if self.next.is_none() {
                        // Every leaf below shares the same, longest prefix with the key.
                        self.last = Some(slot.first_leaf());
                    }
                    // A leaf whose key ends here is an ancestor's, unless the name went astray in octets that were skipped.
                    if value != 0
                        && let Some(Slot::Leaf(leaf)) = branch.slot(0)
                        && self.sought.is_at_or_below(leaf.wire())
                    {
                        return Some(leaf);
                    }
                }
            }
        }
        None
    }
}
