//! Foreign secondaries of the zones that this site is primary of: which serial they have.
//!
//! Sites tell their primary what they serve. A foreign server does not, and one that has a greater serial than its primary takes
//! nothing any more and keeps that to itself. So each is asked for its SOA of each zone again and again: what it shows is taken as if
//! it had told, so that the primary goes above what is greater, tells once more of what has not arrived, and knows whether a step
//! of a serial policy can be followed. A site with very many zones asks a bounded number a second, and takes longer for all.
//!
//! Whoever does not answer is not lost for that: that it takes NOTIFY is all that is asked of it. Whoever is lost is not asked; it is
//! looked at by the shell when it takes a NOTIFY again.

use std::ops::Bound;
use std::time::Duration;

use zonemesh_zone::Name;

use super::{Core, Now, Output, PeerId};

/// From the beginning of one round of questions to that of the next: well within the two minutes in which one that is ahead is noticed.
const ROUND: Duration = Duration::from_secs(30);
/// So many questions are asked at once; with the pause after them 61,440 in two minutes.
const AT_ONCE: usize = 128;
/// The pause after them.
const PAUSE: Duration = Duration::from_millis(250);

/// Where the round has come to.
#[derive(Debug)]
pub(super) struct Secondaries {
    /// When the round began, and when more is asked.
    began: Duration,
    pub(super) next: Duration,
    /// The last zone that was asked about.
    after: Option<Name>,
}

impl Secondaries {
    /// A first round some time after the start, whose NOTIFYs come first.
    pub(super) fn new(now: Now) -> Self {
        Self {
            began: now.mono,
            next: now.mono + ROUND,
            after: None,
        }
    }
}

impl Core {
    /// Whether there is anybody to be asked: foreign servers are entered after the sites.
    pub(super) fn has_foreign(&self) -> bool {
        let last = self.peers.last_key_value();
        last.is_some_and(|(peer, _)| matches!(peer, PeerId::Foreign(_)))
    }

    /// Asks foreign secondaries for their serials when it is time.
    pub(super) fn ask_secondaries(&mut self, now: Now) {
        if self.secondaries.next > now.mono || !self.has_foreign() {
            return;
        }
        if self.secondaries.after.is_none() {
            self.secondaries.began = now.mono;
        }
        let after = self.secondaries.after.take();
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut questions = Vec::new();
        for (apex, entry) in self.zones.from(from) {
            if questions.len() >= AT_ONCE {
                self.secondaries.after = questions.last().map(|(_, apex)| Name::clone(apex));
                break;
            }
            if entry.spec.primary && entry.served.is_some() {
                let foreign = entry.spec.notify.foreign();
                let there = foreign.filter(|peer| !self.is_lost(peer));
                questions.extend(there.map(|peer| (peer.clone(), apex.clone())));
            }
        }
        self.secondaries.next = match self.secondaries.after {
            Some(_) => now.mono + PAUSE,
            None => (self.secondaries.began + ROUND).max(now.mono + PAUSE),
        };
        let ask = |(peer, apex)| Output::AskSerial { peer, apex };
        self.out.extend(questions.into_iter().map(ask));
    }

    fn is_lost(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|state| state.is_lost())
    }
}
