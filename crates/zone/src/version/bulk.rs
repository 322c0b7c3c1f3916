//! A version of nothing in the making, while names come in canonical order: as in transfers, and out of the store.
//!
//! Nothing is looked up, and each name is put in once, with all its RRsets.

use std::sync::Arc;

use super::{NameRef, Node, joined, owned};
use crate::tree::{Ascending, Tree};
use crate::{Digest, Key, Name, Rrset};

/// What there is so far.
#[derive(Default)]
pub(super) struct Bulk {
    nodes: Ascending<Node>,
    /// The name that came last; it may get more RRsets.
    last: Option<Open>,
    records: usize,
    digest: Digest,
}

struct Open {
    key: Key,
    owner: Name,
    rrsets: Vec<Rrset>,
}

/// What it came to.
pub(super) struct Made {
    pub(super) nodes: Tree<Node>,
    pub(super) records: usize,
    pub(super) digest: Digest,
}

impl Bulk {
    /// Puts in an RRset, in the place of the one of its name and type, or joined with that. One of a name that is not in order is
    /// given back, with nothing done.
    pub(super) fn put(&mut self, owner: &NameRef, set: Rrset, join: bool) -> Result<(), Rrset> {
        if set.is_empty() {
            return if join { Ok(()) } else { Err(set) };
        }
        if let Some(last) = &mut self.last
            && last.owner.as_slice().eq_ignore_ascii_case(owner.as_slice())
        {
            last.put(set, join);
            return Ok(());
        }
        let key = Key::from_wire(owner.as_slice());
        if let Some(last) = &self.last
            && last.key.as_slice() >= key.as_slice()
        {
            return Err(set);
        }
        self.close();
        self.last = Some(Open {
            key,
            owner: owned(owner),
            rrsets: vec![set],
        });
        Ok(())
    }

    /// Nothing more comes for the last name.
    fn close(&mut self) {
        let Some(Open { key, owner, rrsets }) = self.last.take() else {
            return;
        };
        for set in &rrsets {
            self.records += set.len();
            self.digest = self.digest.plus(Digest::of_rrset(key.as_slice(), set));
        }
        let node = Node {
            owner,
            rrsets: rrsets.into(),
        };
        let put = self.nodes.push(&key, Arc::new(node));
        debug_assert!(put.is_ok(), "a name was let in out of order");
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

impl Open {
    fn put(&mut self, set: Rrset, join: bool) {
        let at = self
            .rrsets
            .partition_point(|have| have.rtype() < set.rtype());
        match self.rrsets.get_mut(at) {
            Some(have) if have.rtype() == set.rtype() && join => *have = joined(have, &set),
            Some(have) if have.rtype() == set.rtype() => *have = set,
            _ => self.rrsets.insert(at, set),
        }
    }
}
