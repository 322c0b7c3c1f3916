//! A primary that has lost its copy: it asks all others and takes the freshest, and begins anew only with a zone that nobody has.

use zonemesh_zone::{Name, Rcode, SerialExt, Zone};

use super::doubt::{Doubt, Taking};
use super::epochs::is_fresher;
use super::round::Round;
use crate::core::{Core, Failure, Got, NewVersion, Now, PeerId};

/// # Having lost everything
impl Core {
    /// A primary that holds nothing asks all others, and takes the freshest.
    pub(super) fn gather(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        result: Result<Got, Failure>,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let message = match result {
            Err(failure) => failure.message,
            Ok(Got::UpToDate { serial }) => {
                entry.shown.insert(from.clone(), serial);
                String::new()
            }
            Ok(Got::Full(zone) | Got::Diffs(zone, _)) if zone.apex() == apex => {
                entry.shown.insert(from.clone(), zone.serial());
                let mesh = self.mesh.as_ref();
                let newer = |(_, best): &(PeerId, Zone)| is_fresher(mesh, &zone, best);
                if entry.refresh.best.as_ref().is_none_or(newer) {
                    entry.refresh.best = Some((from.clone(), zone));
                }
                String::new()
            }
            Ok(_) => "sent another zone than was asked for".to_owned(),
        };
        match message.is_empty() {
            true => drop(entry.refresh.errors.remove(&from)),
            false => entry.refresh.failed(from.clone(), message.clone(), now),
        }
        if self.ask_next(apex, rest).is_some() {
            return;
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some((peer, zone)) = entry.refresh.best.take() else {
            self.end_round(apex, from, message, now);
            return self.settle(apex, now);
        };
        let floor = entry.floor().filter(|floor| floor.is_after(zone.serial()));
        let version = match floor {
            None => Ok(NewVersion {
                from: Some(peer.clone()),
                ..NewVersion::made(zone.clone(), Vec::new())
            }),
            Some(floor) => crate::core::change::with_serial(&zone, floor.next())
                .map(|zone| NewVersion::made(zone, Vec::new())),
        };
        let version = match version {
            Ok(version) => version,
            Err(error) => {
                self.end_round(apex, peer, error.to_string(), now);
                return;
            }
        };
        entry.refresh.failures = 0;
        let mut doubt = Doubt::new(Some(zone.clone()), now);
        doubt.taking = Some(Taking {
            serial: version.zone.serial(),
            before: None,
            approved: Vec::new(),
            zone,
            from: peer,
        });
        entry.doubt = Some(doubt);
        self.commit(vec![version], Vec::new(), None);
    }

    /// Whether a primary that holds nothing may begin with contents of its own: nobody has any.
    pub(super) fn may_begin(&self, apex: &Name) -> bool {
        let (Some(mesh), Some(entry)) = (&self.mesh, self.zones.get(apex)) else {
            return true;
        };
        if !entry.spec.mesh {
            return true;
        }
        match mesh.lists_zone(apex) {
            None => false,
            Some(true) => entry.refresh.nobody_has,
            Some(false) => self.directory_is_current(),
        }
    }

    /// Whether the directory that is held is known to be the newest.
    pub(super) fn directory_is_current(&self) -> bool {
        let directory = self.mesh.as_ref().map(|mesh| &mesh.settings.directory);
        let entry = directory.and_then(|directory| self.zones.get(directory));
        entry.is_some_and(|entry| match entry.spec.primary {
            true => entry.head.is_some() && entry.doubt.is_none(),
            false => entry.refresh.asked,
        })
    }
}

/// Why contents of one's own are not taken yet, by whether the directory lists the zone.
pub(super) fn why_not_begun(apex: &Name, listed: Option<bool>) -> (Rcode, String) {
    let reason = match listed {
        None => format!(
            "the directory is not known here yet, so that it cannot be told whether other sites hold {apex}; has this site joined?"
        ),
        Some(_) => format!(
            "this site is the primary of {apex} and has lost its copy; it waits for every other site to say whether it has one"
        ),
    };
    (Rcode::SERVFAIL, reason)
}
