//! The zones of a site by their names. What is known of a zone stands apart from the nodes of the map: half of their room is kept for
//! more, and a hundred thousand zones would pay for half as many again.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::RangeBounds;

use zonemesh_zone::Name;

use super::replicate::Entry;

/// See the module's documentation; used like a map of [`Entry`].
#[derive(Default)]
pub(super) struct Entries(BTreeMap<Name, Box<Entry>>);

type Pair<'e> = (&'e Name, &'e Box<Entry>);

fn unboxed<'e>((apex, entry): Pair<'e>) -> (&'e Name, &'e Entry) {
    (apex, entry)
}

impl Entries {
    pub(super) fn get(&self, apex: &Name) -> Option<&Entry> {
        self.0.get(apex).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, apex: &Name) -> Option<&mut Entry> {
        self.0.get_mut(apex).map(Box::as_mut)
    }

    pub(super) fn contains_key(&self, apex: &Name) -> bool {
        self.0.contains_key(apex)
    }

    /// The zone of this name, which is put in if there is none.
    pub(super) fn get_or_insert_with(
        &mut self,
        apex: Name,
        make: impl FnOnce() -> Entry,
    ) -> &mut Entry {
        self.0.entry(apex).or_insert_with(|| Box::new(make()))
    }

    pub(super) fn insert(&mut self, apex: Name, entry: Entry) {
        self.0.insert(apex, Box::new(entry));
    }

    pub(super) fn remove(&mut self, apex: &Name) -> Option<Entry> {
        self.0.remove(apex).map(|entry| *entry)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.0.values().map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        self.0.iter().map(unboxed)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Name, &mut Entry)> {
        let pairs = self.0.iter_mut();
        pairs.map(|(apex, entry)| (apex, entry.as_mut()))
    }

    pub(super) fn range(
        &self,
        range: impl RangeBounds<Name>,
    ) -> impl Iterator<Item = (&Name, &Entry)> {
        self.0.range(range).map(unboxed)
    }
}

impl<'e> IntoIterator for &'e Entries {
    type Item = (&'e Name, &'e Entry);
    type IntoIter =
        std::iter::Map<btree_map::Iter<'e, Name, Box<Entry>>, fn(Pair<'e>) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(unboxed)
    }
}
