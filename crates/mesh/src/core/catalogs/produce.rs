//! Catalogs that are written here: every zone that this site is primary for is a member.

use std::collections::BTreeMap;

use zonemesh_zone::catalog::{self, Catalog};
use zonemesh_zone::{Name, Serial, SerialExt, Zone};

use super::super::Core;
use super::{Produced, brake, removal_of};

/// # Producing
impl Core {
    /// Whether a zone belongs into the catalogs that are written here.
    pub(super) fn is_listable(&self, apex: &Name) -> bool {
        let catalogs = &self.settings.catalogs;
        self.zones.get(apex).is_some_and(|entry| entry.spec.primary)
            && !catalogs.produced.iter().any(|one| one.apex == *apex)
            && !catalogs.consumed.iter().any(|one| one.apex == *apex)
            && self.mesh.as_ref().is_none_or(|mesh| {
                mesh.settings.directory != *apex && mesh.settings.catalog != *apex
            })
    }

    pub(super) fn produce(&mut self, produced: &Produced) {
        match self.produced_zone(produced) {
            Ok(Some(zone)) => match self.next_version(&zone) {
                Ok(Some(version)) => {
                    self.is_written(&produced.apex, version.zone.clone());
                    self.commit(vec![version], Vec::new(), None);
                }
                Ok(None) => {}
                Err(error) => {
                    let why = error.to_string();
                    self.catalogs
                        .report
                        .faults
                        .insert(produced.apex.clone(), why);
                }
            },
            Ok(None) => {
                let head = self.head(&produced.apex).cloned();
                if let Some(head) = head {
                    self.is_written(&produced.apex, head);
                }
            }
            Err(why) => {
                self.catalogs
                    .report
                    .faults
                    .insert(produced.apex.clone(), why);
            }
        }
    }

    /// A catalog lists what it should, in this version.
    fn is_written(&mut self, apex: &Name, zone: Zone) {
        self.catalogs.written.insert(apex.clone(), zone);
    }

    /// The catalog as it should be, if that is not how it is.
    fn produced_zone(&mut self, produced: &Produced) -> Result<Option<Zone>, String> {
        let apex = &produced.apex;
        let Some(entry) = self.zones.get(apex).filter(|entry| entry.spec.primary) else {
            return Ok(None);
        };
        let serial = entry.floor().map_or(Serial(1), SerialExt::next);
        let (head, is_new) = match &entry.head {
            Some(head) => (head.clone(), false),
            None => {
                let new = catalog::new_zone(apex, serial).map_err(|error| error.to_string())?;
                (new, true)
            }
        };
        let have = Catalog::read(&head)
            .map_err(|faults| catalog::Broken(faults).to_string())?
            .members;
        // A zone that is the site's and not held is no reason to take it out: it may be coming back.
        let mut wanted: BTreeMap<Name, Option<String>> = self
            .zones
            .iter()
            .filter(|(zone, entry)| {
                self.is_listable(zone) && (entry.served.is_some() || have.contains_key(*zone))
            })
            .map(|(zone, _)| (zone.clone(), produced.groups.get(zone).cloned()))
            .collect();
        let ungrouped: Vec<Name> = have
            .iter()
            .filter(|(zone, member)| wanted.get(*zone) == Some(&None) && !member.groups.is_empty())
            .map(|(zone, _)| zone.clone())
            .collect();
        let removed: Vec<Name> = have
            .keys()
            .filter(|zone| !wanted.contains_key(*zone))
            .cloned()
            .collect();
        if let Some(held) = brake(apex, &removed, (have.len(), false), self.consent.approved()) {
            wanted.extend(removed.into_iter().map(|zone| (zone, None)));
            self.catalogs.report.held.push(held);
        } else {
            self.forget_consent([&removal_of(apex, &removed)]);
        }
        self.catalogs.listed = wanted.keys().cloned().collect();
        let changed = catalog::follow(&head, &wanted, serial).map_err(|error| error.to_string())?;
        if ungrouped.is_empty() {
            return Ok(changed.or(is_new.then_some(head)));
        }
        let mut editor = changed.unwrap_or(head).edit();
        editor.set_serial(serial);
        for zone in &ungrouped {
            catalog::set_groups(&mut editor, zone, &[]).map_err(|error| error.to_string())?;
        }
        editor.finish().map(Some).map_err(|error| error.to_string())
    }
}
