//! Other contents under the same serial: a secondary that takes them from its primary, and a primary that publishes its own once
//! more, so that those who compare serials alone ask for them too. See `core::alike` for how it is found.

use std::time::Duration;

use zonemesh_zone::diff::JUMP;
use zonemesh_zone::{Name, Serial, Zone};

use super::{Entry, Round};
use crate::core::change::with_serial;
use crate::core::{Core, Happening, NewVersion, Now, PeerId};

/// After how long a zone is taken from its primary once more although its serial is the same; doubles each time.
const AGAIN: Duration = Duration::from_secs(60);
/// The longest that becomes.
const LONGEST_AGAIN: Duration = Duration::from_secs(3600);
/// How soon after another a primary publishes a version for the sake of those that compare serials alone.
const REISSUE_AGAIN: Duration = Duration::from_secs(3600);

/// What was done about other contents under the same serial.
#[derive(Default)]
pub(super) struct Corrections {
    /// Whether what is being asked for is to take the place of what is held, if it comes from the primary.
    pub(super) wanted: bool,
    /// How often in a row that was asked for, and when last.
    times: u32,
    last: Option<Duration>,
    /// The last version that was published for that alone, and when.
    reissued: Option<(Serial, Duration)>,
}

impl Entry {
    /// Whether a transfer takes the place of what is held under the same serial: of the primary, which is asked because of that.
    pub(super) fn corrects(&self, from: &PeerId, zone: &Zone) -> bool {
        let head = self.head.as_ref();
        let other = head
            .is_some_and(|head| head.serial() == zone.serial() && head.digest() != zone.digest());
        other && self.wants_correction() && self.spec.primary_source() == Some(from)
    }

    /// Whether what is being asked for is to take the place of what is held.
    pub(super) fn wants_correction(&self) -> bool {
        let corrections = self.corrections.as_ref();
        corrections.is_some_and(|corrections| corrections.wanted)
    }

    /// A round of questions has ended: what was wanted has come, or will be wanted again.
    pub(super) fn corrected(&mut self) {
        if let Some(corrections) = &mut self.corrections
            && std::mem::take(&mut corrections.wanted)
        {
            self.refresh.whole = false;
        }
    }
}

/// # Corrections
impl Core {
    /// Takes all of a zone from its primary, because what is held here is something else under the same serial.
    pub(in crate::core) fn correct(&mut self, apex: &Name, primary: PeerId, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.refresh.asking.is_some() || entry.commits > 0 {
            // Something else may come of that; the difference will be found again.
            return;
        }
        let corrections = entry.corrections.get_or_insert_default();
        if let Some(last) = corrections.last {
            let doublings = corrections.times.saturating_sub(1).min(10);
            let pause = (AGAIN * 2u32.pow(doublings)).min(LONGEST_AGAIN);
            let since = now.mono.saturating_sub(last);
            if since < pause {
                return;
            }
            if since > LONGEST_AGAIN * 2 {
                corrections.times = 0;
            }
        }
        corrections.times += 1;
        corrections.last = Some(now.mono);
        corrections.wanted = true;
        entry.refresh.whole = true;
        entry.refresh.confirmed = None;
        entry.refresh.failed_first = None;
        // Nobody else is asked: that would be a transfer of the whole zone from each.
        self.ask(apex, primary, Round::over(), now);
    }

    /// Publishes what this site, the primary, has once more under a serial far above, so that it goes out as a whole: foreign secondaries
    /// that have the serial with other contents would never ask again. Once for a version, and once in an hour at most, whatever members
    /// say.
    pub(in crate::core) fn reissue(&mut self, apex: &Name, now: Now) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let foreign = |peer: &PeerId| matches!(peer, PeerId::Foreign(_));
        let (Some(head), true) = (entry.head.clone(), entry.spec.notify.iter().any(foreign)) else {
            return;
        };
        if entry.commits > 0 || entry.refresh.asking.is_some() {
            return;
        }
        let reissued = entry.corrections.as_ref().and_then(|of| of.reissued);
        if let Some((serial, at)) = reissued
            && (serial == head.serial() || now.mono.saturating_sub(at) < REISSUE_AGAIN)
        {
            return;
        }
        let Some(floor) = entry.floor() else { return };
        match with_serial(&head, floor.add(JUMP)) {
            Ok(zone) => {
                entry.corrections.get_or_insert_default().reissued =
                    Some((zone.serial(), now.mono));
                // Without differences: whoever asks for one gets the whole zone.
                self.commit(vec![NewVersion::made(zone, Vec::new())], Vec::new(), None);
            }
            Err(error) => self.happened(Happening::Blocked(format!("{apex}: {error}"))),
        }
    }
}
