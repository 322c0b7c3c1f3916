//! A version of nothing in the making, while names come in canonical order: as in transfers, and out of the store.
//!
//! Nothing is looked up, and each name is put in once, with all its RRsets.

use super::{NameRef, joined};
use crate::node::{Making, Node};
use crate::rrset::RrsetRef;
use crate::tree::{Ascending, Tree};
use crate::{Digest, Key, Rrset};

/// What there is so far.
#[derive(Default)]
pub(super) struct Bulk {
    nodes: Ascending<Node>,
    /// The name that came last; it may get more RRsets. Its owner name is empty before the first.
    last: Making,
    /// The key of that name.
    key: Vec<u8>,
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
    pub(super) fn put(&mut self, owner: &NameRef, set: RrsetRef<'_>, join: bool) -> bool {
        if set.is_empty() {
            return join;
        }
        let last = self.last.owner_octets();
        if last.eq_ignore_ascii_case(owner.as_slice()) {
            let old = self
                .last
                .rrsets()
                .find(|old| join && old.rtype() == set.rtype());
            let joined = old.map(|old| joined(old, set));
            self.last.put(joined.as_ref().map_or(set, Rrset::as_ref));
            return true;
        }
        let key = Key::from_wire(owner.as_slice());
        if !last.is_empty() && self.key.as_slice() >= key.as_slice() {
            return false;
        }
        self.close();
        self.key.clear();
        self.key.extend_from_slice(key.as_slice());
        self.last.start(owner);
        self.last.put(set);
        true
    }

    /// Nothing more comes for the last name.
    fn close(&mut self) {
        for set in self.last.rrsets() {
            self.records += set.len();
            self.digest = self.digest.plus(Digest::of_rrset(&self.key, set));
        }
        if let Some(node) = self.last.made() {
            let put = self.nodes.push(&self.key, node);
            debug_assert!(put.is_ok(), "a name was let in out of order");
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
