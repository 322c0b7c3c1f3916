//! The zones of a site by their names. What is known of a zone stands apart from the nodes of the map: half of their room is kept for
//! more, and a hundred thousand zones would pay for half as many again. The map goes by the keys of the names, because for each event a
//! zone is looked up a dozen times, and to compare names takes ten times as long.

use std::collections::BTreeMap;
use std::ops::Bound;

use zonemesh_zone::{Key, Name, OwnedKey};

use super::replicate::Entry;

/// See the module's documentation; used like a map of [`Entry`] by [`Name`]. A zone is found under the name that its entry has.
#[derive(Default)]
pub(super) struct Entries {
    by_key: BTreeMap<OwnedKey, Box<Entry>>,
    /// How many zones were looked up or walked over: what an event costs, for tests.
    #[cfg(test)]
    looked_at: std::cell::Cell<usize>,
}

fn named(entry: &Entry) -> (&Name, &Entry) {
    (&entry.spec.apex, entry)
}

impl Entries {
    pub(super) fn get(&self, apex: &Name) -> Option<&Entry> {
        self.by_key(Key::of(apex).as_slice())
    }

    /// The zone whose name has this key.
    pub(super) fn by_key(&self, key: &[u8]) -> Option<&Entry> {
        self.count();
        self.by_key.get(key).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, apex: &Name) -> Option<&mut Entry> {
        self.by_key_mut(Key::of(apex).as_slice())
    }

    /// The same, to change it.
    pub(super) fn by_key_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.count();
        self.by_key.get_mut(key).map(Box::as_mut)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn contains_key(&self, apex: &Name) -> bool {
        self.get(apex).is_some()
    }

    /// The zone of this name, which is put in if there is none.
    pub(super) fn get_or_insert_with(
        &mut self,
        apex: &Name,
        make: impl FnOnce() -> Entry,
    ) -> &mut Entry {
        self.count();
        let entry = self.by_key.entry(OwnedKey::of(apex));
        entry.or_insert_with(|| Box::new(make()))
    }

    /// Puts a zone in, in the place of what there may be.
    pub(super) fn insert(&mut self, entry: Entry) {
        let key = OwnedKey::of(&entry.spec.apex);
        self.by_key.insert(key, Box::new(entry));
    }

    pub(super) fn remove(&mut self, apex: &Name) -> Option<Entry> {
        let entry = self.by_key.remove(Key::of(apex).as_slice());
        entry.map(|entry| *entry)
    }

    /// Gives back the room that a tree leaves between zones that came one after the other.
    pub(super) fn pack(&mut self) {
        self.by_key = std::mem::take(&mut self.by_key).into_iter().collect();
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Name> {
        self.values().map(|entry| &entry.spec.apex)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        let all = self.by_key.values();
        all.map(|entry| {
            self.count();
            entry.as_ref()
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        self.values().map(named)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.by_key.values_mut().map(Box::as_mut)
    }

    /// Those from a zone on.
    pub(super) fn from<'e>(
        &'e self,
        start: Bound<&Name>,
    ) -> impl Iterator<Item = (&'e Name, &'e Entry)> + use<'e> {
        let start = start.map(OwnedKey::of);
        let from = self.by_key.range((start, Bound::Unbounded));
        from.map(|(_, entry)| {
            self.count();
            named(entry)
        })
    }

    /// Notes that a zone was looked at.
    fn count(&self) {
        #[cfg(test)]
        self.looked_at.set(self.looked_at.get() + 1);
    }

    /// How many zones were looked at so far.
    #[cfg(test)]
    pub(super) fn looked_at(&self) -> usize {
        self.looked_at.get()
    }
}
