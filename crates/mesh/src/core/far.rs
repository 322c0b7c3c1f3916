//! Serials that are too far ahead to be believed.
//!
//! RFC 1982 compares serials that are less than half of the circle apart. A peer that shows one nearly as far ahead as can be,
//! because it was broken into or lost its mind, would have the primary go to where the other sites can no longer tell ahead
//! from behind. Only a zone's primary may go as far; from anybody else such a serial is as good as none.
//!
//! It may be honest all the same: one that missed versions while the primary went far several times, or learnt the zone from a
//! hostile member. It never goes back, so where it shows the same again and again the primary goes there in two steps, each of
//! which all can follow: a small one, after which that serial is near enough to be believed, and, when the others have had time
//! to fetch that version, the one above it.

use std::time::Duration;

use zonemesh_zone::{Name, Serial};

use super::change::with_serial;
use super::{Core, Failure, Got, Happening, Input, NewVersion, Now, PeerId};

/// How far a serial may be ahead of what is held: half of the circle, less what sites may lag behind each other. A serial that
/// counts changes and one that is a date (2026010100 and the like) are nearer to each other than that.
const FARTHEST: u32 = (1 << 31) - (1 << 24);

/// The first distance that is behind, not ahead.
const BEHIND: u32 = (1 << 31) + 1;

/// How far a primary goes at once to have such a serial near enough.
const ASIDE: u32 = 1 << 25;

/// For how long the same peer must have shown it, and how long the others have to follow the first step.
const PERSISTS: Duration = Duration::from_secs(30);

/// By how much a serial is ahead of another, if it is, and not so far that it is not believed.
pub(super) fn ahead(serial: Serial, of: Serial) -> Option<u32> {
    let distance = serial.into_int().wrapping_sub(of.into_int());
    (1..FARTHEST).contains(&distance).then_some(distance)
}

impl Core {
    /// Looks whether a peer shows this site, a zone's primary, what is not believed, and has for long.
    pub(super) fn look_far(&mut self, input: &Input, now: Now) {
        let directory = self.mesh.as_ref().map(|mesh| &mesh.settings.directory);
        let shown = match input {
            Input::Notify {
                apex,
                serial: Some(serial),
                from,
            } => Some((apex, from, *serial)),
            Input::Probed {
                peer,
                result: Ok(Some(serial)),
                ..
            } => directory.map(|apex| (apex, peer, *serial)),
            _ => None,
        };
        let Some((apex, peer, serial)) = shown else {
            return;
        };
        let far = self.is_too_far(apex, peer, serial).is_some();
        let apex = apex.clone();
        let Some(entry) = self.zones.get_mut(&apex) else {
            return;
        };
        let counts = entry.spec.primary && entry.spec.notify.contains(peer);
        if !far || !counts {
            entry.rare.too_far.remove(peer);
            return;
        }
        let before = entry.rare.too_far.get(peer);
        let since = match before.filter(|(before, _)| *before == serial) {
            Some((_, since)) => *since,
            None => now.mono,
        };
        entry.rare.too_far.insert(peer.clone(), (serial, since));
        let busy = entry.in_doubt() || entry.commits > 0;
        if now.mono.saturating_sub(since) >= PERSISTS && !busy {
            self.step_aside(&apex, peer, serial, now);
        }
    }

    /// Publishes what is held under a serial of which the one that a peer has shown is near enough to be believed.
    fn step_aside(&mut self, apex: &Name, peer: &PeerId, theirs: Serial, now: Now) {
        if self.has_yielded(apex) {
            return;
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let (Some(head), Some(floor)) = (entry.head.clone(), entry.floor()) else {
            return;
        };
        let ours = head.serial();
        let serial = floor.add(ASIDE);
        if ahead(serial, ours).is_none() {
            return;
        }
        entry.rare.too_far.remove(peer);
        entry.rare.aside_until = Some(now.mono + PERSISTS);
        self.happened(Happening::PeerAhead {
            apex: apex.clone(),
            peer: peer.clone(),
            theirs,
            ours,
        });
        match with_serial(&head, serial) {
            Ok(zone) => {
                let diffs = vec![head.diff(&zone)];
                self.commit(vec![NewVersion::made(zone, diffs)], Vec::new(), None);
            }
            Err(error) => self.happened(Happening::Blocked(format!("{apex}: {error}"))),
        }
    }

    /// An event without the serials in it that are not believed.
    pub(super) fn believed(&self, input: Input) -> Input {
        match input {
            Input::Notify {
                apex,
                serial: Some(serial),
                from,
            } if self.is_too_far(&apex, &from, serial).is_some() => Input::Notify {
                apex,
                serial: None,
                from,
            },
            Input::Transferred {
                apex,
                from,
                result: Ok(got),
                expire,
            } => {
                let serial = match &got {
                    Got::UpToDate { serial } => *serial,
                    Got::Full(zone) | Got::Diffs(zone, _) => zone.serial(),
                };
                let result = match self.is_too_far(&apex, &from, serial) {
                    None => Ok(got),
                    Some(held) => Err(Failure {
                        message: format!(
                            "it has serial {serial}, which is so far ahead of {held} that nobody but the zone's primary is believed"
                        ),
                        unreachable: false,
                        lacks: false,
                    }),
                };
                Input::Transferred {
                    apex,
                    from,
                    result,
                    expire,
                }
            }
            Input::Probed {
                peer,
                result: Ok(Some(serial)),
                beat,
            } => {
                let directory = self.mesh.as_ref().map(|mesh| &mesh.settings.directory);
                let far = directory.and_then(|apex| self.is_too_far(apex, &peer, serial));
                let result = Ok(Some(serial).filter(|_| far.is_none()));
                Input::Probed { peer, result, beat }
            }
            other => other,
        }
    }

    /// What is held of a zone, if the serial that a peer has shown is too far ahead of it.
    pub(super) fn is_too_far(&self, apex: &Name, peer: &PeerId, serial: Serial) -> Option<Serial> {
        let entry = self.zones.get(apex)?;
        if !entry.spec.primary && entry.spec.primary_source() == Some(peer) {
            return None;
        }
        let held = entry.head.as_ref()?.serial();
        let distance = serial.into_int().wrapping_sub(held.into_int());
        let waits = entry
            .rare
            .aside_until
            .is_some_and(|until| self.now.mono < until);
        let farthest = FARTHEST - if waits { ASIDE * 2 } else { 0 };
        (farthest..BEHIND).contains(&distance).then_some(held)
    }
}
