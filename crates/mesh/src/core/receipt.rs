//! Receipts: which sites serve a change, from the NOTIFY messages that they send back.

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Name, Serial, SerialExt, Zone};

use super::{Core, Happening, Now, PeerId, Receipt, Reply, RequestId};

/// Somebody who wants to know when a serial is served everywhere.
pub(super) struct Waiting {
    pub(super) request: RequestId,
    apex: Name,
    serial: Serial,
    since: Duration,
    /// Who serves it, and how long after it was published here.
    served: BTreeMap<PeerId, Duration>,
}

impl Core {
    /// Starts to wait.
    pub(super) fn wait(&mut self, request: RequestId, apex: Name, serial: Serial, now: Now) {
        let since = self
            .zones
            .get(&apex)
            .and_then(|entry| entry.published.get())
            .unwrap_or(now.mono);
        self.waiting.push(Waiting {
            request,
            apex: apex.clone(),
            serial,
            since,
            served: BTreeMap::new(),
        });
        self.count_receipts(&apex, now);
        if self.waiting_for_directory() {
            self.next_probe = now.mono;
        }
    }

    /// Whether somebody waits for a version of the directory that another site makes.
    pub(super) fn waiting_for_directory(&self) -> bool {
        let Some(mesh) = &self.mesh else { return false };
        let directory = &mesh.settings.directory;
        let elsewhere = self
            .zones
            .get(directory)
            .is_some_and(|entry| !entry.spec.primary);
        elsewhere && self.waiting.iter().any(|wait| wait.apex == *directory)
    }

    /// The sites that have not shown yet what somebody waits for of the directory.
    pub(super) fn who_lacks_the_directory(&self) -> Vec<PeerId> {
        let Some(mesh) = self.mesh.as_ref().filter(|_| self.waiting_for_directory()) else {
            return Vec::new();
        };
        let directory = &mesh.settings.directory;
        let waits = self.waiting.iter().filter(|wait| wait.apex == *directory);
        let latest = waits
            .map(|wait| wait.serial)
            .reduce(|one, other| one.later_of(other));
        let (Some(latest), Some(entry)) = (latest, self.zones.get(directory)) else {
            return Vec::new();
        };
        let lacks = |peer: &&PeerId| {
            let shown = entry.shown.get(peer);
            shown.is_none_or(|shown| latest.is_after(*shown))
        };
        self.peers.keys().filter(lacks).cloned().collect()
    }

    /// The zones that somebody waits for.
    pub(super) fn waited_for(&self) -> Vec<Name> {
        let mut zones: Vec<Name> = self.waiting.iter().map(|wait| wait.apex.clone()).collect();
        zones.sort();
        zones.dedup();
        zones
    }

    /// Looks whether anything that is waited for is served by more sites now, and tells the user when a change is
    /// served by all.
    pub(super) fn count_receipts(&mut self, apex: &Name, now: Now) {
        if self.waiting.iter().any(|wait| wait.apex == *apex) {
            let targets = self.should_serve(apex);
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.retain_mut(|wait| {
                if wait.apex != *apex || !self.note_served(wait, &targets, now) {
                    return true;
                }
                let receipt = self.receipt(wait, &targets);
                self.reply(Some(wait.request), Reply::Receipt(receipt));
                false
            });
            self.waiting = waiting;
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(at) = entry.published.get().filter(|_| entry.unseen) else {
            return;
        };
        let Some(serial) = entry
            .served
            .as_ref()
            .map(|zone| zone.serial())
            .filter(|_| entry.spec.primary)
        else {
            return;
        };
        let others = match (&self.mesh, entry.spec.mesh) {
            (Some(mesh), true) => Some(mesh),
            _ => None,
        };
        let serves = |peer: &PeerId| {
            let shown = entry.shown.get(peer);
            shown.is_some_and(|shown| !serial.is_after(*shown))
        };
        // One that is known to lack it says enough, or each of a thousand answers would have all sites looked at.
        let lacks = |peer: &PeerId| others.is_some_and(|mesh| mesh.has(peer)) && !serves(peer);
        if entry.rare.lacking.as_ref().is_some_and(lacks) {
            return;
        }
        entry.rare.lacking = others.and_then(|mesh| mesh.others().find(|peer| !serves(peer)));
        if entry.rare.lacking.is_some() {
            return;
        }
        let sites = others.map_or(0, |mesh| mesh.others().count());
        entry.unseen = false;
        let after = now.mono.saturating_sub(at);
        if sites > 0 {
            self.happened(Happening::ServedEverywhere {
                apex: apex.clone(),
                serial,
                after,
                sites: sites + 1,
            });
        }
    }

    /// Notes which sites serve by now what somebody waits for; whether all do.
    fn note_served(&self, wait: &mut Waiting, targets: &[PeerId], now: Now) -> bool {
        let entry = self.zones.get(&wait.apex);
        let mut complete = self.serves_here(wait);
        // What its primary has never published is no receipt of what it has, whoever shows it.
        let served = entry.filter(|entry| entry.spec.primary && entry.spec.mesh);
        let served = served.and_then(|entry| entry.served.as_ref().map(Zone::serial));
        let published = |shown: &Serial| served.is_none_or(|served| !shown.is_after(served));
        // Nor is what it had to go above.
        let overtaken = self.overtaken.get(&wait.apex);
        let made_up = |peer: &PeerId, shown: &Serial| {
            overtaken.is_some_and(|(who, theirs)| who == peer && theirs == shown)
        };
        for peer in targets {
            if wait.served.contains_key(peer) {
                continue;
            }
            let shown = entry.and_then(|entry| entry.shown.get(peer));
            let enough = |shown: &Serial| {
                !wait.serial.is_after(*shown) && published(shown) && !made_up(peer, shown)
                    || planted(Bug::ReceiptFromWrongSerial)
            };
            if shown.is_some_and(enough) {
                let after = now.mono.saturating_sub(wait.since);
                wait.served.insert(peer.clone(), after);
            } else {
                complete = false;
            }
        }
        complete
    }

    fn serves_here(&self, wait: &Waiting) -> bool {
        if self.mesh.is_none() {
            return true;
        }
        let Some(entry) = self.zones.get(&wait.apex) else {
            return true;
        };
        let served = entry.served.as_ref();
        served.is_some_and(|zone| !wait.serial.is_after(zone.serial()))
    }

    /// The state of a receipt, as far as it is known now.
    fn receipt(&self, wait: &Waiting, targets: &[PeerId]) -> Receipt {
        let entry = self.zones.get(&wait.apex);
        let mut sites = Vec::new();
        if let (Some(mesh), Some(_)) = (&self.mesh, entry) {
            let me = PeerId::Site(mesh.settings.me.name.clone());
            let state = match self.serves_here(wait) {
                true => Ok(Duration::ZERO),
                false => Err("not yet committed here".to_owned()),
            };
            sites.push((me, state));
        }
        for peer in targets {
            let shown = entry.and_then(|entry| entry.shown.get(peer));
            let state = match wait.served.get(peer) {
                Some(after) => Ok(*after),
                None => Err(match (self.lost(peer), shown) {
                    (Some((_, why)), _) => format!("does not answer: {why}"),
                    (None, Some(shown)) => format!("still at serial {shown}"),
                    (None, None) => "has not said what it serves".to_owned(),
                }),
            };
            sites.push((peer.clone(), state));
        }
        let complete = sites.iter().all(|(_, state)| state.is_ok());
        Receipt {
            apex: wait.apex.clone(),
            serial: wait.serial,
            sites,
            complete,
        }
    }

    /// The receipt of a request as it stands, for one that waits no longer.
    pub fn receipt_now(&mut self, request: RequestId, now: Now) -> Option<Receipt> {
        let at = self
            .waiting
            .iter()
            .position(|wait| wait.request == request)?;
        let mut wait = self.waiting.swap_remove(at);
        let targets = self.should_serve(&wait.apex);
        self.note_served(&mut wait, &targets, now);
        let receipt = self.receipt(&wait, &targets);
        self.waiting.push(wait);
        Some(receipt)
    }

    /// The other sites that should serve a zone.
    fn should_serve(&self, apex: &Name) -> Vec<PeerId> {
        match (&self.mesh, self.zones.get(apex)) {
            (Some(mesh), Some(entry)) if entry.spec.mesh => mesh.others().collect(),
            _ => Vec::new(),
        }
    }
}
