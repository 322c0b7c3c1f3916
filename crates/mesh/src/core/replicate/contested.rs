//! A primary that is shown a version which it has not published looks whether it is the zone's primary yet, before it goes above that.
//!
//! A site that was removed, or whose zone was given to another, may not have heard of it, and meets others that have not either, but
//! have a version of its heir all the same. Its own contents above that would go to the heir by way of them. Whoever has such a
//! version has it from after the directory changed, so the writer of the directory, asked since, knows. What it cannot be asked about
//! stays as it is: could not look is not nothing there.

use zonemesh_zone::{Name, Serial, SerialExt, Zone};

use crate::core::{Core, Mesh, Now, PeerId};

/// # Zones that may be another's by now
impl Core {
    /// Has the directory asked for, if it is another site's to say who is a zone's primary. False when there is nobody to ask.
    pub(super) fn contest(
        &mut self,
        apex: &Name,
        from: &PeerId,
        theirs: Serial,
        ours: Serial,
        now: Now,
    ) -> bool {
        let in_mesh = self.zones.get(apex).is_some_and(|entry| entry.spec.mesh);
        let Some(mesh) = self.mesh.as_mut().filter(|_| in_mesh) else {
            return false;
        };
        let asked = !mesh.governs(apex) && !mesh.is_catalog_primary();
        if !asked || mesh.holders().is_empty() {
            return false;
        }
        let directory = mesh.settings.directory.clone();
        let shown = (theirs, now.mono);
        let before = mesh.contested.get(apex).map(|(serial, _)| *serial);
        if before != Some(theirs) {
            mesh.contested.insert(apex.clone(), shown);
            self.tell_ahead(apex, from.clone(), theirs, ours);
        }
        self.ask_soon(&directory, None, now);
        true
    }

    /// The directory is what it was, or another, by the word of a peer: of its writer, or, if that cannot be reached, of another that
    /// holds it.
    pub(super) fn directory_confirmed(&mut self, apex: &Name, from: &PeerId, now: Now) {
        let is_directory = |mesh: &&Mesh| mesh.settings.directory == *apex;
        let writer = self.zones.get(apex).and_then(|of| of.spec.primary_source());
        let counts = writer.is_none_or(|writer| writer == from || self.is_lost_site(writer));
        let waits = self.mesh.as_ref().filter(is_directory);
        let waits = waits.map(|mesh| !mesh.contested.is_empty());
        let (Some(waits), Some(entry)) = (waits, self.zones.get_mut(apex)) else {
            return;
        };
        match &mut self.mesh {
            Some(mesh) if counts => mesh.confirmed = entry.refresh.last_round.get(),
            // The writer is there, and did not say so.
            _ if waits => {
                let again = now.mono + self.settings.pace.cap;
                let at = entry.refresh.at.get();
                entry.refresh.at.set(at.map(|at| at.min(again)));
            }
            _ => {}
        }
    }

    /// Goes above what was shown of zones of which this site is the primary by a directory that was asked for since.
    pub(in crate::core) fn settle_contested(&mut self) {
        let Some(mesh) = &self.mesh else { return };
        if mesh.contested.is_empty() || !mesh.lists_me() {
            return;
        }
        let Some(confirmed) = mesh.confirmed else {
            return;
        };
        let all = mesh.contested.iter();
        let open = all.filter(|(_, (_, since))| *since <= confirmed);
        for apex in open.map(|(apex, _)| apex.clone()).collect::<Vec<_>>() {
            if let Some(mesh) = &mut self.mesh {
                mesh.contested.remove(&apex);
            }
            let Some(entry) = self.zones.get(&apex) else {
                continue;
            };
            let mine = entry.spec.primary && entry.doubt.is_none();
            let Some(ours) = entry.head.as_ref().filter(|_| mine).map(Zone::serial) else {
                continue;
            };
            let ahead = (entry.shown.iter())
                .find(|(_, theirs)| theirs.is_after(ours))
                .map(|(peer, theirs)| (peer.clone(), *theirs));
            if let Some((peer, theirs)) = ahead {
                self.go_above_peer(&apex, &peer, theirs);
                self.schedule(&apex);
            }
        }
    }
}
