//! Serials that are too far ahead to be believed.
//!
//! RFC 1982 compares serials that are less than half of the circle apart. A peer that shows one nearly as far ahead as can be,
//! because it was broken into or lost its mind, would have the primary go to where the other sites can no longer tell ahead
//! from behind. Only a zone's primary may go as far; from anybody else such a serial is as good as none.

use zonemesh_zone::{Name, Serial};

use super::{Core, Failure, Got, Input, PeerId};

/// How far a serial may be ahead of what is held: half of the circle, less what sites may lag behind each other. A serial that
/// counts changes and one that is a date (2026010100 and the like) are nearer to each other than that.
const FARTHEST: u32 = (1 << 31) - (1 << 24);

/// The first distance that is behind, not ahead.
const BEHIND: u32 = (1 << 31) + 1;

/// By how much a serial is ahead of another, if it is, and not so far that it is not believed.
pub(super) fn ahead(serial: Serial, of: Serial) -> Option<u32> {
    let distance = serial.into_int().wrapping_sub(of.into_int());
    (1..FARTHEST).contains(&distance).then_some(distance)
}

impl Core {
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
        if !entry.spec.primary && entry.spec.sources.first() == Some(peer) {
            return None;
        }
        let held = entry.head.as_ref()?.serial();
        let distance = serial.into_int().wrapping_sub(held.into_int());
        (FARTHEST..BEHIND).contains(&distance).then_some(held)
    }
}
