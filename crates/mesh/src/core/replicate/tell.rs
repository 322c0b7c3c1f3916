//! Telling others of a new version, until they have answered.

use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Name, Serial, Zone};

use super::owed::Tell;
use crate::core::{Core, Failure, Now, Output, PeerId};

/// # Telling others
impl Core {
    /// Owes a NOTIFY to all who are to be told.
    pub(in crate::core) fn tell_all(&mut self, apex: &Name, now: Now) {
        let targets = self
            .zones
            .get(apex)
            .map(|entry| entry.spec.notify.clone())
            .unwrap_or_default();
        for peer in targets.iter() {
            self.owe(apex, peer.clone(), now);
        }
        self.schedule(apex);
    }

    /// Tells the zone's primary what is served here now: its receipt.
    pub(super) fn tell_back(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        if !entry.spec.mesh || entry.spec.primary || planted(Bug::ReceiptNotSent) {
            return;
        }
        if let Some(primary) = entry.spec.primary_source().cloned() {
            self.tell(apex, primary, now);
        }
    }

    /// Owes a NOTIFY to one peer; one that is owed already is replaced.
    pub(in crate::core) fn tell(&mut self, apex: &Name, peer: PeerId, now: Now) {
        self.owe(apex, peer, now);
        self.schedule(apex);
    }

    /// The same without a look at what is due next, which is in proportion to what is owed.
    fn owe(&mut self, apex: &Name, peer: PeerId, now: Now) {
        let lost = self.is_lost_site(&peer);
        let due = match lost {
            true => now.mono + self.settings.pace.cap,
            false => now.mono,
        };
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(serial) = entry.served.as_ref().map(Zone::serial) else {
            return;
        };
        let owed = entry.rare.tell.change(&peer, |tell| {
            if tell.serial != serial || !tell.under_way {
                (tell.serial, tell.attempts, tell.due) = (serial, 0, due);
            }
        });
        if owed.is_none() {
            entry.rare.tell.put(peer.clone(), Tell::new(serial, due));
        }
        if !entry.rare.tell.waits(&peer) {
            return;
        }
        match lost {
            // Whoever does not answer is told when it is back; see `tell_now`.
            true => self.note_owed(apex, peer),
            false => self.send_notify(apex, &peer, now),
        }
    }

    /// Owes a NOTIFY to a peer to which none is owed, and sends it then.
    pub(super) fn tell_at(&mut self, apex: &Name, peer: PeerId, due: Duration) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(serial) = entry.served.as_ref().map(Zone::serial) else {
            return;
        };
        entry.rare.tell.put(peer.clone(), Tell::new(serial, due));
        self.note_owed(apex, peer);
        self.schedule(apex);
    }

    /// Notes that something is owed to a peer that is not under way.
    fn note_owed(&mut self, apex: &Name, peer: PeerId) {
        self.owed.entry(peer).or_default().insert(apex.clone());
    }

    /// Whether a peer does not answer and is probed: then nothing else need be sent to it.
    pub(in crate::core) fn is_lost_site(&self, peer: &PeerId) -> bool {
        let lost = |state: &crate::core::peers::Peer| state.lost_since.is_some();
        matches!(peer, PeerId::Site(_)) && self.peers.get(peer).is_some_and(lost)
    }

    pub(super) fn send_notify(&mut self, apex: &Name, peer: &PeerId, now: Now) {
        let cap = self.settings.pace.cap;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(zone) = &entry.served else {
            return;
        };
        let sent = entry.rare.tell.change(peer, |tell| {
            tell.serial = zone.serial();
            tell.under_way = true;
            tell.crossed = false;
            tell.attempts += 1;
            tell.due = now.mono + cap;
        });
        if sent.is_none() {
            return;
        }
        self.out.push(Output::Notify {
            to: peer.clone(),
            soa: zone.soa_record(),
            serial: zone.serial(),
        });
        if let Some(owed) = self.owed.get_mut(peer) {
            owed.remove(apex);
            if owed.is_empty() {
                self.owed.remove(peer);
            }
        }
    }

    /// A NOTIFY was answered, or not.
    pub(in crate::core) fn told(
        &mut self,
        to: &PeerId,
        apex: &Name,
        serial: Serial,
        result: Result<(), Failure>,
        now: Now,
    ) {
        match &result {
            Ok(()) => self.peer_answered(to, now),
            Err(failure) if failure.unreachable => self.peer_failed(to, &failure.message, now),
            Err(_) => self.peer_answered(to, now),
        }
        let pace = self.settings.pace.clone();
        let jitter = self.random() % 250;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let done = entry.rare.tell.change(to, |tell| {
            tell.under_way = false;
            if tell.serial != serial {
                // Something newer is owed by now.
                tell.due = now.mono;
                return false;
            }
            if result.is_ok() || planted(Bug::NotifyNotRepeated) {
                return true;
            }
            let doublings = tell.attempts.saturating_sub(1).min(9);
            let wait = (pace.floor * 2u32.pow(doublings)).min(pace.cap);
            tell.due = match planted(Bug::NotifyWithoutBackoff) {
                true => now.mono,
                false => now.mono + wait + wait * jitter as u32 / 1000,
            };
            false
        });
        match done {
            None => return,
            Some(true) => {
                let crossed = entry.rare.tell.remove(to).is_some_and(|tell| tell.crossed);
                if crossed {
                    self.tell_again(apex, to.clone(), now);
                }
            }
            Some(false) => self.note_owed(apex, to.clone()),
        }
        if result.is_err() {
            self.is_silent(apex, to, now);
        }
        self.schedule(apex);
    }

    /// Sends at once what is owed to a peer that has come back.
    pub(in crate::core) fn tell_now(&mut self, peer: &PeerId, now: Now) {
        let waits = |apex: &&Name| {
            let entry = self.zones.get(apex);
            entry.is_some_and(|entry| entry.rare.tell.waits(peer))
        };
        let owed = self.owed.get(peer).into_iter().flatten();
        let owed: Vec<Name> = owed.filter(waits).cloned().collect();
        debug_assert!(
            self.zones.keys().filter(waits).eq(&owed),
            "what is owed to {peer} is not what is noted"
        );
        self.owed.remove(peer);
        for apex in owed {
            self.send_notify(&apex, peer, now);
            self.schedule(&apex);
        }
        // What could not be had from it may be had now.
        let stuck = self.stuck.iter();
        let stuck = stuck.filter_map(|key| self.zones.by_key(key.as_slice()));
        let from_it = stuck.filter(|entry| entry.spec.sources.contains(peer));
        let stuck: Vec<Name> = from_it.map(|entry| entry.spec.apex.clone()).collect();
        debug_assert!(
            self.zones
                .values()
                .all(|entry| entry.stuck == entry.looks_stuck()),
            "which zones lack something is not what is noted"
        );
        for apex in stuck {
            self.ask_soon(&apex, Some(peer.clone()), now);
        }
    }
}
