//! Telling others of a new version, until they have answered.

use std::time::Duration;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Name, Serial, Zone};

use super::Tell;
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
        if let Some(primary) = entry.spec.sources.first().cloned() {
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
        match entry.tell.get_mut(&peer) {
            Some(tell) if tell.serial == serial && tell.under_way => {}
            Some(tell) => {
                tell.serial = serial;
                tell.attempts = 0;
                tell.due = due;
            }
            None => {
                entry.tell.insert(
                    peer.clone(),
                    Tell {
                        serial,
                        due,
                        attempts: 0,
                        under_way: false,
                        crossed: false,
                    },
                );
            }
        }
        // Whoever does not answer is told when it is back; see `peer_back`.
        if !lost && entry.tell.get(&peer).is_some_and(|tell| !tell.under_way) {
            self.send_notify(apex, &peer, now);
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
        let tell = Tell {
            serial,
            due,
            attempts: 0,
            under_way: false,
            crossed: false,
        };
        entry.tell.insert(peer, tell);
        self.schedule(apex);
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
        let (Some(zone), Some(tell)) = (&entry.served, entry.tell.get_mut(peer)) else {
            return;
        };
        tell.serial = zone.serial();
        tell.under_way = true;
        tell.crossed = false;
        tell.attempts += 1;
        tell.due = now.mono + cap;
        self.out.push(Output::Notify {
            to: peer.clone(),
            soa: zone.soa_record(),
            serial: zone.serial(),
        });
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
        let Some(tell) = entry.tell.get_mut(to) else {
            return;
        };
        tell.under_way = false;
        if tell.serial != serial {
            // Something newer is owed by now.
            tell.due = now.mono;
        } else if result.is_ok() || planted(Bug::NotifyNotRepeated) {
            let crossed = entry.tell.remove(to).is_some_and(|tell| tell.crossed);
            if crossed {
                self.tell_again(apex, to.clone(), now);
            }
        } else if planted(Bug::NotifyWithoutBackoff) {
            tell.due = now.mono;
        } else {
            let wait =
                (pace.floor * 2u32.pow(tell.attempts.saturating_sub(1).min(9))).min(pace.cap);
            tell.due = now.mono + wait + wait * jitter as u32 / 1000;
        }
        if result.is_err() {
            self.is_silent(apex, to, now);
        }
        self.schedule(apex);
    }

    /// Sends at once what is owed to a peer that has come back.
    pub(in crate::core) fn tell_now(&mut self, peer: &PeerId, now: Now) {
        let owed: Vec<Name> = self
            .zones
            .iter()
            .filter(|(_, entry)| entry.tell.get(peer).is_some_and(|tell| !tell.under_way))
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in owed {
            self.send_notify(&apex, peer, now);
            self.schedule(&apex);
        }
        // What could not be had from it may be had now.
        let stuck: Vec<Name> = self
            .zones
            .iter()
            .filter(|(_, entry)| {
                (entry.refresh.failures > 0 || entry.served.is_none() || entry.knows_newer())
                    && entry.spec.sources.contains(peer)
            })
            .map(|(apex, _)| apex.clone())
            .collect();
        for apex in stuck {
            self.ask_soon(&apex, Some(peer.clone()), now);
        }
    }
}
