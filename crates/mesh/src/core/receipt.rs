//! Receipts: which sites serve a change, from the NOTIFY messages that they send back.

use std::time::Duration;

use zonemesh_zone::{Name, Serial, SerialExt};

use super::{Core, Happening, Now, PeerId, Receipt, Reply, RequestId};

/// Somebody who wants to know when a serial is served everywhere.
pub(super) struct Waiting {
    pub(super) request: RequestId,
    apex: Name,
    serial: Serial,
    since: Duration,
    /// Who serves it, and how long after it was published here.
    served: Vec<(PeerId, Duration)>,
}

impl Core {
    /// Starts to wait.
    pub(super) fn wait(&mut self, request: RequestId, apex: Name, serial: Serial, now: Now) {
        let since = self
            .zones
            .get(&apex)
            .and_then(|entry| entry.published)
            .map_or(now.mono, |(at, _)| at);
        self.waiting.push(Waiting {
            request,
            apex: apex.clone(),
            serial,
            since,
            served: Vec::new(),
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
        let targets = self.should_serve(apex);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|wait| {
            if wait.apex != *apex {
                return true;
            }
            let (receipt, news) = self.receipt(wait, &targets, now);
            let complete = receipt.complete;
            if news || complete {
                self.reply(Some(wait.request), Reply::Receipt(receipt));
            }
            !complete
        });
        self.waiting = waiting;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some((at, true)) = entry.published else {
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
        if targets.iter().all(|peer| {
            entry
                .shown
                .get(peer)
                .is_some_and(|shown| !serial.is_after(*shown))
        }) {
            entry.published = Some((at, false));
            let after = now.mono.saturating_sub(at);
            if !targets.is_empty() {
                let sites = targets.len() + 1;
                self.happened(Happening::ServedEverywhere {
                    apex: apex.clone(),
                    serial,
                    after,
                    sites,
                });
            }
        }
    }

    /// The state of a receipt, as far as it is known now.
    fn receipt(&self, wait: &mut Waiting, targets: &[PeerId], now: Now) -> (Receipt, bool) {
        let entry = self.zones.get(&wait.apex);
        let mut news = false;
        let mut sites = Vec::new();
        if let (Some(mesh), Some(entry)) = (&self.mesh, entry) {
            let here = entry
                .served
                .as_ref()
                .is_some_and(|zone| !wait.serial.is_after(zone.serial()));
            let me = PeerId::Site(mesh.settings.me.name.clone());
            sites.push((
                me,
                if here {
                    Ok(Duration::ZERO)
                } else {
                    Err("not yet committed here".to_owned())
                },
            ));
        }
        for peer in targets {
            let shown = entry.and_then(|entry| entry.shown.get(peer));
            if shown.is_some_and(|shown| !wait.serial.is_after(*shown))
                && !wait.served.iter().any(|(have, _)| have == peer)
            {
                wait.served
                    .push((peer.clone(), now.mono.saturating_sub(wait.since)));
                news = true;
            }
            let state = match wait.served.iter().find(|(have, _)| have == peer) {
                Some((_, after)) => Ok(*after),
                None => Err(match (self.lost(peer), shown) {
                    (Some((_, why)), _) => format!("does not answer: {why}"),
                    (None, Some(shown)) => format!("still at serial {shown}"),
                    (None, None) => "has not said what it serves".to_owned(),
                }),
            };
            sites.push((peer.clone(), state));
        }
        let complete = sites.iter().all(|(_, state)| state.is_ok());
        (
            Receipt {
                apex: wait.apex.clone(),
                serial: wait.serial,
                sites,
                complete,
            },
            news,
        )
    }

    /// The receipt of a request as it stands, for one that waits no longer.
    pub fn receipt_now(&mut self, request: RequestId, now: Now) -> Option<Receipt> {
        let at = self
            .waiting
            .iter()
            .position(|wait| wait.request == request)?;
        let mut wait = self.waiting.swap_remove(at);
        let targets = self.should_serve(&wait.apex);
        let (receipt, _) = self.receipt(&mut wait, &targets, now);
        self.waiting.push(wait);
        Some(receipt)
    }

    /// The other sites that should serve a zone.
    fn should_serve(&self, apex: &Name) -> Vec<PeerId> {
        match (&self.mesh, self.zones.get(apex)) {
            (Some(mesh), Some(entry)) if entry.spec.mesh => {
                mesh.others().map(PeerId::Site).collect()
            }
            _ => Vec::new(),
        }
    }
}
