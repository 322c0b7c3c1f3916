//! A version of nothing in the making, while names come in canonical order: as in transfers, and out of the store.
//!
//! Nothing is looked up, and each name is put in once, with all its RRsets.

use super::joined;
use crate::key::{first_label, push_label};
use crate::node::{Making, Node};
use crate::rrset::RrsetRef;
use crate::tree::{Ascending, Tree, differing_nibble};
use crate::{Digest, Key, Rrset};

/// What there is so far.
#[derive(Default)]
pub(super) struct Bulk {
    nodes: Ascending<Node>,
    /// The name that came last; it may get more RRsets. Its owner name is empty before the first.
    last: Making,
    /// The key of that name, and at which half octet it differs from that of the name before.
    key: Vec<u8>,
    differ: usize,
    /// Octets of it that are the key of the parent of that name.
    parent: usize,
    /// Room for the next key.
    next: Vec<u8>,
    records: usize,
    digest: Digest,
}

/// What it came to.
pub(super) struct Made {
    pub(super) nodes: Tree<Node>,
    pub(super) records: usize,
    pub(super) digest: Digest,
}

impl Bulk {
    /// Puts in an RRset, in the place of the one of its name and type, or joined with that. Returns false, with nothing done, when its
    /// name is not in order.
    ///
    /// The owner name is one in wire format.
    pub(super) fn put(&mut self, owner: &[u8], set: RrsetRef<'_>, join: bool) -> bool {
        if set.is_empty() {
            return join;
        }
        let last = self.last.owner_octets();
        if last.eq_ignore_ascii_case(owner) {
            let old = self
                .last
                .rrsets()
                .find(|old| join && old.rtype() == set.rtype());
            let joined = old.map(|old| joined(old, set));
            self.last.put(joined.as_ref().map_or(set, Rrset::as_ref));
            return true;
        }
        let is_first = last.is_empty();
        let parent = self.read_key(owner);
        let differ = differing_nibble(&self.key, &self.next);
        if !is_first && (differ.is_none() || self.key > self.next) {
            return false;
        }
        self.close();
        std::mem::swap(&mut self.key, &mut self.next);
        self.differ = differ.unwrap_or_default();
        self.parent = parent;
        self.last.start(owner);
        self.last.put(set);
        true
    }

    /// Makes the key of a name, and returns how much of it is that of its parent. In canonical order most names have the same parent as
    /// the one before, of which the key is there.
    fn read_key(&mut self, owner: &[u8]) -> usize {
        let (label, parent) = first_label(owner);
        let (last_label, last_parent) = first_label(self.last.owner_octets());
        self.next.clear();
        if !label.is_empty() && !last_label.is_empty() && parent == last_parent {
            self.next.extend_from_slice(&self.key[..self.parent]);
        } else {
            let key = Key::from_wire(parent);
            self.next.extend_from_slice(key.as_slice());
        }
        let len = self.next.len();
        if !label.is_empty() {
            push_label(&mut self.next, label);
        }
        len
    }

    /// Nothing more comes for the last name.
    fn close(&mut self) {
        for set in self.last.rrsets() {
            self.records += set.len();
            self.digest = self.digest.plus(Digest::of_rrset(&self.key, set));
        }
        if let Some(node) = self.last.made() {
            self.nodes.push_after(self.differ, &self.key, node);
        }
    }

    pub(super) fn finish(mut self) -> Made {
        self.close();
        Made {
            nodes: self.nodes.finish(),
            records: self.records,
            digest: self.digest,
        }
    }
}
