//! Lists of peers, most of which many zones have in common: a thousand zones of a thousand sites must not keep a million names.

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::PeerId;

/// Peers in the order in which they are asked or told. To clone one costs nothing like its length.
#[derive(Clone, Default)]
pub struct PeerList {
    /// Who is in the lists of many zones.
    shared: SharedPeers,
    /// Who is not, or not in this place; most lists have nobody besides.
    own: Option<Arc<Own>>,
}

/// The part of a list that it does not have in common with others.
#[derive(Clone, Default)]
struct Own {
    /// Who goes before the others.
    first: Option<PeerId>,
    /// Who comes after them.
    more: Vec<PeerId>,
}

impl PeerList {
    /// One peer, and after it those of a list that others have too. None comes twice.
    pub(super) fn new(first: Option<PeerId>, shared: SharedPeers) -> Self {
        let own = first.map(|first| {
            Arc::new(Own {
                first: Some(first),
                more: Vec::new(),
            })
        });
        Self { shared, own }
    }

    /// The one that was put before those that many lists have in common; none where nobody was.
    pub(super) fn leader(&self) -> Option<&PeerId> {
        self.own.as_ref()?.first.as_ref()
    }

    /// Who comes after those.
    fn more(&self) -> &[PeerId] {
        self.own.as_ref().map_or(&[], |own| &own.more)
    }

    /// Each peer once, in order.
    pub fn iter(&self) -> impl Iterator<Item = &PeerId> + Clone {
        let first = self.leader();
        let rest = self.shared.0.ordered.iter();
        let rest = rest.filter(move |peer| Some(*peer) != first);
        first.into_iter().chain(rest).chain(self.more())
    }

    /// How many peers it has.
    fn len(&self) -> usize {
        let first = self.leader();
        let more = first.is_some_and(|first| !self.shared.contains(first));
        usize::from(more) + self.shared.0.ordered.len() + self.more().len()
    }

    /// Those that are not sites, at no cost for the sites that many lists have in common.
    pub(super) fn foreign(&self) -> impl Iterator<Item = &PeerId> {
        let shared: &[PeerId] = match self.shared.0.foreign {
            true => &self.shared.0.ordered,
            false => &[],
        };
        let all = self.leader().into_iter().chain(shared).chain(self.more());
        all.filter(|peer| is_foreign(peer))
    }

    /// How many places it has. One who goes before the others leaves a place empty.
    pub(super) fn slots(&self) -> usize {
        usize::from(self.leader().is_some()) + self.shared.0.ordered.len() + self.more().len()
    }

    /// Who has a place.
    pub(super) fn slot(&self, slot: usize) -> Option<&PeerId> {
        let Some(slot) = slot.checked_sub(usize::from(self.leader().is_some())) else {
            return self.leader();
        };
        let shared = &self.shared.0.ordered;
        match slot.checked_sub(shared.len()) {
            None => shared.get(slot).filter(|peer| Some(*peer) != self.leader()),
            Some(slot) => self.more().get(slot),
        }
    }

    /// Who goes before the others.
    pub fn first(&self) -> Option<&PeerId> {
        self.iter().next()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// Whether a peer is in it.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.leader() == Some(peer) || self.shared.contains(peer) || self.more().contains(peer)
    }

    /// Who is in this list and not in another.
    pub(super) fn without(&self, other: &Self) -> Vec<PeerId> {
        let gone = |peer: &&PeerId| !other.contains(peer);
        let same = Arc::ptr_eq(&self.shared.0, &other.shared.0);
        match same {
            true => self
                .leader()
                .into_iter()
                .chain(self.more())
                .filter(gone)
                .cloned()
                .collect(),
            false => self.iter().filter(gone).cloned().collect(),
        }
    }

    /// Puts a peer at the end, unless it is in the list already.
    pub fn push(&mut self, peer: PeerId) {
        if !self.contains(&peer) {
            Arc::make_mut(self.own.get_or_insert_default())
                .more
                .push(peer);
        }
    }
}

impl FromIterator<PeerId> for PeerList {
    fn from_iter<T: IntoIterator<Item = PeerId>>(peers: T) -> Self {
        Self::new(None, peers.into_iter().collect())
    }
}

impl From<Vec<PeerId>> for PeerList {
    fn from(peers: Vec<PeerId>) -> Self {
        peers.into_iter().collect()
    }
}

impl PartialEq for PeerList {
    fn eq(&self, other: &Self) -> bool {
        let alike = Arc::ptr_eq(&self.shared.0, &other.shared.0)
            && (self.leader(), self.more()) == (other.leader(), other.more());
        // A site that has joined or left makes all lists others, and each of a thousand is as long as the mesh.
        let led_alike = self.leader() == other.leader();
        alike || led_alike && self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for PeerList {}

impl fmt::Debug for PeerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The part of a [`PeerList`] that many of them have in common.
#[derive(Clone)]
pub(super) struct SharedPeers(Arc<Peers>);

/// Nobody: the same for all lists that have nobody in common.
impl Default for SharedPeers {
    fn default() -> Self {
        static NOBODY: LazyLock<SharedPeers> = LazyLock::new(|| SharedPeers(Arc::default()));
        NOBODY.clone()
    }
}

#[derive(Default)]
struct Peers {
    ordered: Box<[PeerId]>,
    /// To look one up.
    sorted: Box<[PeerId]>,
    /// Whether any of them is not a site.
    foreign: bool,
}

fn is_foreign(peer: &PeerId) -> bool {
    matches!(peer, PeerId::Foreign(_))
}

impl SharedPeers {
    fn contains(&self, peer: &PeerId) -> bool {
        self.0.sorted.binary_search(peer).is_ok()
    }
}

impl FromIterator<PeerId> for SharedPeers {
    fn from_iter<T: IntoIterator<Item = PeerId>>(peers: T) -> Self {
        let ordered: Box<[PeerId]> = peers.into_iter().collect();
        let mut sorted = ordered.clone();
        sorted.sort();
        let foreign = ordered.iter().any(is_foreign);
        Self(Arc::new(Peers {
            ordered,
            sorted,
            foreign,
        }))
    }
}

impl PartialEq for SharedPeers {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.ordered == other.0.ordered
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::directory::SiteName;

    use super::*;

    fn site(name: &str) -> PeerId {
        PeerId::Site(SiteName::new(name).unwrap())
    }

    fn names(list: &PeerList) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_goes_first_does_not_come_again_and_who_is_added_comes_last() {
        let shared: SharedPeers = ["c", "a", "b"].map(site).into_iter().collect();
        let mut list = PeerList::new(Some(site("a")), shared);
        assert_eq!(names(&list), ["a", "c", "b"]);
        list.push(site("d"));
        list.push(site("b"));
        assert_eq!(names(&list), ["a", "c", "b", "d"]);
        assert_eq!(list.first(), Some(&site("a")));
        assert!(
            ["a", "b", "c", "d"]
                .iter()
                .all(|name| list.contains(&site(name)))
        );
        assert!(!list.contains(&site("e")));
        assert!(!list.is_empty() && PeerList::default().is_empty());
    }

    #[test]
    fn lists_are_alike_when_the_same_goes_before_the_same_others_in_the_same_order() {
        let list = |names: &[&str]| {
            PeerList::from(names.iter().map(|name| site(name)).collect::<Vec<_>>())
        };
        let shared: SharedPeers = ["a", "b", "c"].map(site).into_iter().collect();
        let built = PeerList::new(Some(site("b")), shared);
        let rest: SharedPeers = ["a", "c"].map(site).into_iter().collect();
        assert_eq!(built, PeerList::new(Some(site("b")), rest));
        let all: SharedPeers = ["b", "a", "c"].map(site).into_iter().collect();
        assert_eq!(built, PeerList::new(Some(site("b")), all.clone()));
        // Who comes first of those that all lists have is nobody's primary by that.
        assert_ne!(built, PeerList::new(None, all));
        assert_eq!(list(&["b", "a", "c"]), list(&["b", "a", "c"]));
        assert_ne!(built, list(&["a", "b", "c"]));
        assert_ne!(built, list(&["b", "a"]));
    }
}
