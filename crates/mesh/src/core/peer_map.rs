//! Something for each of a few peers. A hundred thousand zones have such a map with one peer in it: what a tree keeps room for would be
//! the most of it.

use std::fmt;

use super::PeerId;

/// Values by peer, in the order of the peers.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerMap<V>(Vec<(PeerId, V)>);

impl<V> PeerMap<V> {
    /// The value of a peer.
    pub fn get(&self, peer: &PeerId) -> Option<&V> {
        let at = self.place(peer).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether a peer has one.
    pub fn contains_key(&self, peer: &PeerId) -> bool {
        self.place(peer).is_ok()
    }

    /// All peers with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &V)> {
        self.0.iter().map(|(peer, value)| (peer, value))
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, peer: PeerId, value: V) {
        match self.place(&peer) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (peer, value));
            }
        }
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&PeerId, &mut V) -> bool) {
        self.0.retain_mut(|(peer, value)| stays(peer, value));
    }

    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    fn place(&self, peer: &PeerId) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(peer))
    }
}

impl<V> Default for PeerMap<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: fmt::Debug> fmt::Debug for PeerMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_would(
            steps in prop::collection::vec((any::<bool>(), 0u8..6, 0u8..9), 0..40),
        ) {
            let (mut map, mut tree) = (PeerMap::default(), BTreeMap::new());
            for (insert, peer, value) in steps {
                let peer = PeerId::Foreign(format!("peer-{peer}").into());
                if insert {
                    map.insert(peer.clone(), value);
                    tree.insert(peer.clone(), value);
                } else {
                    map.retain(|other, _| *other != peer);
                    tree.retain(|other, _| *other != peer);
                }
                prop_assert_eq!(map.get(&peer), tree.get(&peer));
                prop_assert_eq!(map.contains_key(&peer), tree.contains_key(&peer));
                prop_assert!(map.iter().eq(tree.iter()));
                prop_assert!(map.values().eq(tree.values()));
            }
        }
    }
}
