//! Changes that wait until a primary knows that its copy is the newest: see `doubt`.

use std::time::Duration;

use zonemesh_zone::{Name, Rcode, Zone};

use super::doubt::LONGEST_WAIT;
use super::gather::why_not_begun;
use super::recover::{changed_in_both, rebased, rebased_directory};
use crate::core::{Change, Core, Now, Reply, RequestId};

/// How many changes of a zone wait. Whoever comes later is refused, and asks again.
const MOST_WAITING: usize = 1000;

/// A request that waits.
pub(super) struct Waits {
    request: RequestId,
    what: What,
    /// The version that it was made for.
    base: Option<Zone>,
    /// Until when it waits at the latest for a copy to be found; it does not wait as long for a doubt.
    until: Duration,
    /// When it is looked at again at the latest.
    look: Duration,
}

enum What {
    Change(Change),
    Directory(Zone, Vec<(String, String, Vec<u8>)>),
}

impl Waits {
    fn new(request: RequestId, what: What, base: Option<Zone>, now: Now) -> Self {
        Self {
            request,
            what,
            base,
            until: now.mono + LONGEST_WAIT,
            look: now.mono,
        }
    }
}

/// # Waiting
impl Core {
    /// Makes a change to a zone, and answers when it is durable.
    pub(in crate::core) fn change(&mut self, request: RequestId, change: Change, now: Now) {
        let apex = change.apex().clone();
        let base = self.head(&apex).cloned();
        self.settle(&apex, now);
        match self.waits(&apex, now) {
            true => self.let_wait(request, &apex, What::Change(change), base, now),
            false if self.moved_on(&apex, &base) => {
                let waits = Waits::new(request, What::Change(change), base, now);
                self.make(&apex, waits, now);
            }
            false => self.make_change(request, change),
        }
    }

    /// Changes the directory, and answers when that is durable.
    pub(in crate::core) fn edit_directory(
        &mut self,
        request: RequestId,
        edited: Zone,
        also: Vec<(String, String, Vec<u8>)>,
        now: Now,
    ) {
        let apex = edited.apex().clone();
        self.let_go_of_removed(&edited);
        let base = self.head(&apex).cloned();
        self.settle(&apex, now);
        match self.directory_waits(now) {
            true => self.let_wait(request, &apex, What::Directory(edited, also), base, now),
            false if self.moved_on(&apex, &base) => {
                let waits = Waits::new(request, What::Directory(edited, also), base, now);
                self.make(&apex, waits, now);
            }
            false => self.change_directory(Some(request), edited, also, now),
        }
    }

    /// Whether the directory cannot be changed yet, for its own sake or that of the catalog, which changes with it.
    pub(in crate::core) fn directory_waits(&self, now: Now) -> bool {
        let Some(mesh) = &self.mesh else { return false };
        let settings = &mesh.settings;
        self.waits(&settings.directory, now) || self.waits(&settings.catalog, now)
    }

    fn waits(&self, apex: &Name, now: Now) -> bool {
        let Some(entry) = self.zones.get(apex).filter(|entry| entry.spec.primary) else {
            return false;
        };
        match entry.head {
            Some(_) => self.has_to_wait(apex, now),
            None => !self.may_begin(apex),
        }
    }

    /// Whether what waited has been made since this version was the newest: what was made of it must not undo that.
    fn moved_on(&self, apex: &Name, base: &Option<Zone>) -> bool {
        let serial = |zone: &Zone| zone.serial();
        self.head(apex).map(serial) != base.as_ref().map(serial)
    }

    fn let_wait(
        &mut self,
        request: RequestId,
        apex: &Name,
        what: What,
        base: Option<Zone>,
        now: Now,
    ) {
        if let Some((rcode, reason)) = self.why_refused(apex) {
            return self.reply(Some(request), Reply::Refused { rcode, reason });
        }
        self.put_off(apex, Waits::new(request, what, base, now), now);
        self.schedule(apex);
    }

    /// Has it wait on, until the next moment at which a doubt is given up that it may wait for.
    fn put_off(&mut self, apex: &Name, mut waits: Waits, now: Now) {
        let doubt_ends = |apex: &Name| {
            let entry = self.zones.get(apex).filter(|entry| entry.head.is_some())?;
            entry.doubt.as_ref().map(|doubt| doubt.until)
        };
        let also = match (&waits.what, &self.mesh) {
            (What::Directory(..), Some(mesh)) => doubt_ends(&mesh.settings.catalog),
            _ => None,
        };
        // The one may be over while the other is not.
        let ends = doubt_ends(apex).into_iter().chain(also);
        let next = ends.filter(|end| *end > now.mono).min();
        waits.look = next.map_or(waits.until, |next| next.min(waits.until));
        if let Some(entry) = self.zones.get_mut(apex) {
            entry.rare.waiting.push(waits);
            if entry.head.is_none() {
                self.to_begin.insert(apex.clone());
            }
        }
    }

    /// Why a change is not even let wait.
    fn why_refused(&self, apex: &Name) -> Option<(Rcode, String)> {
        let entry = self.zones.get(apex)?;
        let catalog = self.mesh.as_ref().map(|mesh| &mesh.settings.catalog);
        let also = catalog.and_then(|catalog| self.zones.get(catalog));
        let also = also.filter(|_| entry.spec.members_only);
        if let Some(held) = entry.held().or(also.and_then(|also| also.held())) {
            let (hash, from) = (&held.fingerprint, &held.from);
            let reason = format!(
                "{from} has a newer history of {apex}, which is held; approve {hash} to take it, or remove that site, then try again"
            );
            return Some((Rcode::SERVFAIL, reason));
        }
        let full = entry.rare.waiting.len() >= MOST_WAITING;
        full.then(|| {
            let reason = format!(
                "it is not known yet whether this site holds the newest {apex}, and {MOST_WAITING} changes wait for that; try again"
            );
            (Rcode::SERVFAIL, reason)
        })
    }

    /// Lets go on what need not wait any longer.
    pub(super) fn release(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        for waits in std::mem::take(&mut entry.rare.waiting) {
            self.go_on(apex, waits, now);
        }
        let Some(mesh) = &self.mesh else { return };
        if mesh.settings.directory == *apex && self.directory_is_current() {
            for zone in std::mem::take(&mut self.to_begin) {
                self.release(&zone, now);
                self.schedule(&zone);
            }
            return;
        }
        if mesh.settings.catalog == *apex {
            let directory = mesh.settings.directory.clone();
            self.release(&directory, now);
            self.schedule(&directory);
        }
    }

    fn go_on(&mut self, apex: &Name, waits: Waits, now: Now) {
        let obstacle = match waits.what {
            What::Change(_) => self.waits(apex, now),
            What::Directory(..) => self.directory_waits(now),
        };
        let lost = self
            .zones
            .get(apex)
            .is_some_and(|entry| entry.spec.primary && entry.head.is_none());
        let refused = self.why_refused(apex).filter(|_| obstacle);
        if let Some((rcode, reason)) = refused {
            let request = Some(waits.request);
            return self.reply(request, Reply::Refused { rcode, reason });
        }
        if obstacle && now.mono < waits.until {
            return self.put_off(apex, waits, now);
        }
        if obstacle && lost {
            // Whether anybody holds it cannot be told while nobody says what the directory has by now.
            let listed = self.mesh.as_ref().and_then(|mesh| mesh.lists_zone(apex));
            if listed != Some(false) {
                let (rcode, reason) = why_not_begun(apex, listed);
                return self.reply(Some(waits.request), Reply::Refused { rcode, reason });
            }
            self.begin_unknown(apex, now);
        }
        self.make(apex, waits, now);
    }

    fn make(&mut self, apex: &Name, waits: Waits, now: Now) {
        let Waits {
            request,
            what,
            base,
            ..
        } = waits;
        let head = self.zones.get(apex).and_then(|entry| entry.head.clone());
        let directory = matches!(what, What::Directory(..));
        // RFC 2136 §3.2: what was looked at before the change was made must still be so. A file's contents are wanted as they are.
        let looked = !matches!(what, What::Change(Change::Replace(_)));
        let fit = |edited: Zone| match (&base, &head) {
            (Some(base), Some(head)) => {
                let in_both = changed_in_both(&edited, base, head).filter(|_| looked);
                if let Some(owner) = in_both {
                    return Err(format!(
                        "{owner} has changed while this waited; look at it and try again"
                    ));
                }
                match directory {
                    true => rebased_directory(&edited, base, head),
                    false => rebased(&edited, base, head).map_err(|error| error.to_string()),
                }
            }
            (None, Some(_)) => Err(format!(
                "{apex} has come from another site meanwhile; look at it and try again"
            )),
            _ => Ok(edited),
        };
        let made = match what {
            What::Change(Change::Replace(zone)) => {
                fit(zone).map(|zone| What::Change(Change::Replace(zone)))
            }
            What::Change(Change::Edited(zone)) => {
                fit(zone).map(|zone| What::Change(Change::Edited(zone)))
            }
            What::Change(change) => Ok(What::Change(change)),
            What::Directory(zone, also) => fit(zone).map(|zone| What::Directory(zone, also)),
        };
        match made {
            Ok(What::Change(change)) => self.make_change(request, change),
            Ok(What::Directory(edited, also)) => {
                self.change_directory(Some(request), edited, also, now);
            }
            Err(reason) => self.reply(
                Some(request),
                Reply::Refused {
                    rcode: Rcode::SERVFAIL,
                    reason,
                },
            ),
        }
    }

    /// When a change that waits is to be looked at at the latest.
    pub(super) fn waits_until(entry: &super::Entry) -> Option<Duration> {
        entry.rare.waiting.iter().map(|waits| waits.look).min()
    }
}
