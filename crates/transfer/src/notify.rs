//! Telling peers of new versions (RFC 1996 §3), as a machine: who is to be told of what serial, and when again.
//!
//! For each peer and zone at most one NOTIFY is under way, at once when a version is announced. Versions that follow
//! meanwhile are told in one more when it is over, so that a burst costs two messages. Without an acknowledgement it is
//! sent again after growing pauses, a bounded number of times; then the peer's own refresh must find the change.
//!
//! It sends nothing and does not choose the peers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use zonemesh_zone::{Name, Serial, SerialExt};

/// How often a NOTIFY is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The pause after the first attempt; doubles with each. Default 1 s.
    pub first: Duration,
    /// The longest pause. Default 60 s, which RFC 1996 §3.6 has for all of them.
    pub cap: Duration,
    /// How many attempts there are. Default 8, which takes about four minutes; RFC 1996 §3.6 has 5.
    pub attempts: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            attempts: 8,
        }
    }
}

/// Who is to be told of what. `P` names a peer.
#[derive(Clone, Debug)]
pub struct Machine<P> {
    pace: Pace,
    open: BTreeMap<(P, Name), Open>,
    /// Those that are not under way, by the time when they are due.
    queue: BTreeSet<(Timestamp, P, Name)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// The newest serial.
    serial: Serial,
    /// Attempts for this serial so far.
    attempts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting { due: Timestamp },
    Sent { serial: Serial },
}

/// A NOTIFY to send. Its fate is to be told by [`Machine::acknowledged`] or [`Machine::failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send<P> {
    /// To whom.
    pub peer: P,
    /// The zone.
    pub zone: Name,
    /// Its serial.
    pub serial: Serial,
    /// Which attempt it is, counted from 1.
    pub attempt: u32,
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It will be sent again at this time.
    Again(Timestamp),
    /// It was the last attempt: the peer will find the change by its own refresh.
    GaveUp,
    /// Nobody wants it sent any more.
    NotWanted,
}

impl<P: Ord + Clone> Machine<P> {
    /// Nothing to tell yet.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            open: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// A peer is to be told of a version.
    pub fn announce(&mut self, peer: P, zone: Name, serial: Serial, now: Timestamp) {
        let key = (peer, zone);
        match self.open.get_mut(&key) {
            // Told again of the same version: an attempt after a pause is brought forward.
            Some(open) if matches!(open.state, State::Sent { .. }) => {
                if open.serial != serial {
                    open.attempts = 0;
                }
                open.serial = serial;
            }
            _ => {
                self.unqueue(&key);
                self.queue.insert((now, key.0.clone(), key.1.clone()));
                let open = Open {
                    serial,
                    attempts: 0,
                    state: State::Waiting { due: now },
                };
                self.open.insert(key, open);
            }
        }
    }

    /// What is to be sent now, at most `limit` of it.
    pub fn due(&mut self, now: Timestamp, limit: usize) -> Vec<Send<P>> {
        let mut sends = Vec::new();
        while sends.len() < limit
            && self.queue.first().is_some_and(|(due, _, _)| *due <= now)
            && let Some((_, peer, zone)) = self.queue.pop_first()
        {
            let key = (peer, zone);
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            open.attempts += 1;
            open.state = State::Sent {
                serial: open.serial,
            };
            sends.push(Send {
                serial: open.serial,
                attempt: open.attempts,
                peer: key.0,
                zone: key.1,
            });
        }
        sends
    }

    /// When [`Machine::due`] has something next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.queue.first().map(|(due, _, _)| *due)
    }

    /// The peer has acknowledged what was sent last.
    pub fn acknowledged(&mut self, peer: &P, zone: &Name, now: Timestamp) {
        let key = (peer.clone(), zone.clone());
        match self.open.get(&key) {
            Some(open) if matches!(open.state, State::Sent { serial } if serial != open.serial) => {
                let serial = open.serial;
                self.open.remove(&key);
                self.announce(key.0, key.1, serial, now);
            }
            _ => {
                self.unqueue(&key);
                self.open.remove(&key);
            }
        }
    }

    /// The peer has not acknowledged what was sent last. `random` spreads the next attempt over a quarter of the pause.
    pub fn failed(&mut self, peer: &P, zone: &Name, now: Timestamp, random: u32) -> Failed {
        let key = (peer.clone(), zone.clone());
        let pace = self.pace;
        let Some(open) = self.open.get_mut(&key) else {
            return Failed::NotWanted;
        };
        if let State::Waiting { due } = open.state {
            return Failed::Again(due);
        }
        if open.attempts >= pace.attempts {
            self.open.remove(&key);
            return Failed::GaveUp;
        }
        let pause = pace
            .first
            .saturating_mul(1 << open.attempts.saturating_sub(1).min(16))
            .min(pace.cap);
        let pause = pause + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0);
        let due = later(now, pause);
        open.state = State::Waiting { due };
        self.queue.insert((due, key.0, key.1));
        Failed::Again(due)
    }

    /// The peer has shown that it has this serial, as by a transfer: it need not be told of it or of older ones.
    pub fn seen(&mut self, peer: &P, zone: &Name, serial: Serial) {
        let key = (peer.clone(), zone.clone());
        if self
            .open
            .get(&key)
            .is_some_and(|open| !open.serial.is_after(serial))
        {
            self.unqueue(&key);
            self.open.remove(&key);
        }
    }

    /// Forgets all that is to be told to those for which `keep` says no, as when a peer or a zone is removed.
    pub fn retain(&mut self, mut keep: impl FnMut(&P, &Name) -> bool) {
        self.open.retain(|(peer, zone), _| keep(peer, zone));
        self.queue
            .retain(|(_, peer, zone)| self.open.contains_key(&(peer.clone(), zone.clone())));
    }

    /// How many are waiting or under way.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether all have been told.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn unqueue(&mut self, key: &(P, Name)) {
        if let Some(Open {
            state: State::Waiting { due },
            ..
        }) = self.open.get(key)
        {
            self.queue.remove(&(*due, key.0.clone(), key.1.clone()));
        }
    }
}

/// A later time; the end of all times when it would be after that.
fn later(time: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| time.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
