//! Something for each of a few peers. A hundred thousand zones have such a map with one peer in it: what a tree keeps room for would be
//! the most of it, and so would a list of its own.

use std::{fmt, slice};

use super::PeerId;

/// Values by peer, in the order of the peers.
#[derive(Clone)]
pub struct PeerMap<V>(Values<V>);

#[derive(Clone)]
enum Values<V> {
    None,
    One((PeerId, V)),
    Many(Vec<(PeerId, V)>),
}

impl<V> PeerMap<V> {
    /// The value of a peer.
    pub fn get(&self, peer: &PeerId) -> Option<&V> {
        let at = self.place(peer).ok()?;
        self.all().get(at).map(|(_, value)| value)
    }

    /// Whether a peer has one.
    pub fn contains_key(&self, peer: &PeerId) -> bool {
        self.place(peer).is_ok()
    }

    /// All peers with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &V)> {
        self.all().iter().map(|(peer, value)| (peer, value))
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.all().iter().map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, peer: PeerId, value: V) {
        let place = self.place(&peer);
        self.0 = match (std::mem::replace(&mut self.0, Values::None), place) {
            (Values::Many(mut all), Ok(at)) => {
                all[at].1 = value;
                Values::Many(all)
            }
            (Values::Many(mut all), Err(at)) => {
                all.insert(at, (peer, value));
                Values::Many(all)
            }
            (Values::One(other), Err(0)) => Values::Many(vec![(peer, value), other]),
            (Values::One(other), Err(_)) => Values::Many(vec![other, (peer, value)]),
            (Values::One(_), Ok(_)) | (Values::None, _) => Values::One((peer, value)),
        };
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&PeerId, &mut V) -> bool) {
        match &mut self.0 {
            Values::Many(all) => all.retain_mut(|(peer, value)| stays(peer, value)),
            Values::One((peer, value)) => {
                if !stays(peer, value) {
                    self.clear();
                }
            }
            Values::None => {}
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = Values::None;
    }

    fn all(&self) -> &[(PeerId, V)] {
        match &self.0 {
            Values::None => &[],
            Values::One(one) => slice::from_ref(one),
            Values::Many(all) => all,
        }
    }

    fn place(&self, peer: &PeerId) -> Result<usize, usize> {
        self.all().binary_search_by(|(other, _)| other.cmp(peer))
    }
}

impl<V> Default for PeerMap<V> {
    fn default() -> Self {
        Self(Values::None)
    }
}

impl<V: PartialEq> PartialEq for PeerMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.all() == other.all()
    }
}

impl<V: Eq> Eq for PeerMap<V> {}

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
