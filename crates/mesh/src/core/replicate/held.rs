//! A newer history that a primary in doubt does not take unasked: the brake holds it, or who hands it on may not. Changes of
//! the zone are refused until an operator has approved or declined it, or removed the site that it came from.

use zonemesh_zone::directory::Directory;
use zonemesh_zone::{Name, Zone};

use super::Entry;
use crate::brake::Fingerprint;
use crate::core::{Core, Happening, Now, PeerId, Verdict};

/// What is held.
pub(super) struct HeldHistory {
    pub(super) fingerprint: Fingerprint,
    pub(super) from: PeerId,
    /// What an operator reads.
    why: String,
    /// Whether it is held only because as many sites know nothing of it.
    pub(super) tied: bool,
}

impl Entry {
    /// Why changes are refused, if something is held.
    pub(super) fn held(&self) -> Option<&HeldHistory> {
        self.doubt.as_ref()?.held.as_ref()
    }
}

/// # What waits for an operator
impl Core {
    /// Holds a newer history.
    pub(super) fn hold_history(
        &mut self,
        apex: &Name,
        fingerprint: Fingerprint,
        from: PeerId,
        why: String,
    ) {
        let Some(doubt) = self.doubt_of(apex) else {
            return;
        };
        let hash = fingerprint.to_string();
        let message = why.clone();
        doubt.held = Some(HeldHistory {
            fingerprint,
            from,
            why,
            tied: false,
        });
        self.happened(Happening::Held { hash, message });
    }

    /// The same where as many sites know nothing of it, as long as that is so.
    pub(super) fn hold_tie(
        &mut self,
        apex: &Name,
        fingerprint: Fingerprint,
        from: PeerId,
        why: String,
    ) {
        let held = self.zones.get(apex).and_then(Entry::held);
        if held.is_some_and(|held| held.fingerprint == fingerprint) {
            return;
        }
        self.hold_history(apex, fingerprint, from, why);
        let held = self.doubt_of(apex).and_then(|doubt| doubt.held.as_mut());
        if let Some(held) = held {
            held.tied = true;
        }
    }

    /// It is decided without an operator.
    pub(super) fn let_go_of_tie(&mut self, apex: &Name) {
        if let Some(doubt) = self.doubt_of(apex) {
            doubt.held.take_if(|held| held.tied);
        }
    }

    /// The newer histories that are held: what approves each, and what it is.
    pub fn held_histories(&self) -> impl Iterator<Item = (&Fingerprint, &str)> {
        let held = self.zones.values().filter_map(Entry::held);
        held.map(|held| (&held.fingerprint, held.why.as_str()))
    }

    /// An operator has said what becomes of what is held: it is taken, or published above.
    pub(in crate::core) fn decided(&mut self, about: &Fingerprint, verdict: Verdict, now: Now) {
        let mut free = Vec::new();
        for entry in self.zones.values_mut() {
            let held = entry.doubt.as_mut().and_then(|doubt| {
                let held = &mut doubt.held;
                held.take_if(|held| held.fingerprint == *about)
            });
            free.extend(held.map(|held| (entry.spec.apex.clone(), held.from)));
        }
        for (apex, from) in free {
            if verdict == Verdict::Decline {
                self.jump_over(&apex, from, now);
            }
            self.settle(&apex, now);
        }
    }

    /// Lets go of what a site wants that is now removed: the directory could not be changed for that otherwise.
    pub(super) fn let_go_of_removed(&mut self, edited: &Zone) {
        let Some(mesh) = &self.mesh else { return };
        for apex in [
            mesh.settings.directory.clone(),
            mesh.settings.catalog.clone(),
        ] {
            let Some(entry) = self.zones.get_mut(&apex) else {
                continue;
            };
            let Some(doubt) = entry.doubt.as_mut().filter(|doubt| doubt.held.is_some()) else {
                continue;
            };
            let read = Directory::read(edited);
            let removed = |held: &mut HeldHistory| matches!(&held.from, PeerId::Site(site) if read.is_removed(site));
            let Some(held) = doubt.held.take_if(removed) else {
                continue;
            };
            if let Some(shown) = entry.shown.get(&held.from) {
                doubt.disregard(*shown);
            }
        }
    }
}
