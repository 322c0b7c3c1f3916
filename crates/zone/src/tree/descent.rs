//! The way down a tree to a name, on which its ancestors are met.

use super::{Leaf, Slot, nibble};
use crate::Sought;

/// A way down to a name, on which the name is compared with no other. As an iterator it yields the leaves that can be at the name or at an
/// ancestor of it, the topmost first; of those, all after the first that is not are not.
pub struct Approach<'t, 's, T> {
    sought: &'s Sought,
    next: Option<&'t Slot<T>>,
    /// A leaf that has most in common with the name, when the way has ended.
    nearest: Option<&'t T>,
}

impl<'t, 's, T: Leaf> Approach<'t, 's, T> {
    pub(super) fn new(root: Option<&'t Slot<T>>, sought: &'s Sought) -> Self {
        Self {
            sought,
            next: root,
            nearest: None,
        }
    }

    /// A leaf that has as much in common with the name as any other, at the end of the way; none in an empty tree.
    pub fn nearest(mut self) -> Option<&'t T> {
        self.by_ref().for_each(drop);
        self.nearest
    }
}

impl<'t, T: Leaf> Iterator for Approach<'t, '_, T> {
    type Item = &'t T;

    // Its callers are few, and each goes it for every query.
    #[inline(always)]
    fn next(&mut self) -> Option<&'t T> {
        while let Some(slot) = self.next {
            match slot {
                Slot::Leaf(leaf) => {
                    self.next = None;
                    self.nearest = Some(leaf);
                    return Some(leaf);
                }
                Slot::Branch(branch) => {
                    let value = nibble(self.sought.key(), branch.index());
                    self.next = branch.slot(value);
                    if self.next.is_none() {
                        // Every leaf below shares the same, longest prefix with the key.
                        self.nearest = Some(slot.first_leaf());
                    }
                    // A leaf whose key ends here is an ancestor's, unless the name went astray in octets that were skipped.
                    if value != 0
                        && let Some(Slot::Leaf(leaf)) = branch.slot(0)
                    {
                        return Some(leaf);
                    }
                }
            }
        }
        None
    }
}

/// A way down to a name. As an iterator it yields the leaves that are at the name or at an ancestor of it, the topmost first.
pub struct Descent<'t, 's, T>(Approach<'t, 's, T>);

impl<'t, 's, T: Leaf> Descent<'t, 's, T> {
    pub(super) fn new(approach: Approach<'t, 's, T>) -> Self {
        Self(approach)
    }

    /// Where in the name its closest encloser (RFC 4592 §3.3.1) begins: the longest suffix that is a name which exists.
    pub fn encloser(self) -> usize {
        let sought = self.0.sought;
        match self.0.nearest() {
            None => sought.wire().len() - 1,
            Some(leaf) => sought.shared(leaf.wire()).0,
        }
    }
}

impl<'t, T: Leaf> Iterator for Descent<'t, '_, T> {
    type Item = &'t T;

    #[inline(always)]
    fn next(&mut self) -> Option<&'t T> {
        let sought = self.0.sought;
        self.0
            .next()
            .filter(|leaf| sought.is_at_or_below(leaf.wire()))
    }
}
