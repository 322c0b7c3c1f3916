//! What is done when a peer is lost, and how soon sources are asked again whatever storms outside: NOTIFYs by the thousand,
//! and links that come and go.
//!
//! No question follows another without a pause because somebody says that it should, unless the last one brought something.

use std::time::Duration;

use zonemesh_zone::Name;

use super::Refresh;
use crate::core::{Core, Failure, Now, PeerId};

/// How often the pause between questions that bring nothing doubles, from the floor on.
const DOUBLINGS: u32 = 3;
/// After so many floors without a question the pauses begin anew.
const FORGET: u32 = 64;
/// To how many others a site hands on what it holds of a zone whose primary is lost. Each of them does likewise.
const FEW: usize = 8;
/// A version is handed on that came so long before its primary was lost: others may have missed it.
const RECENT: Duration = Duration::from_secs(300);

impl Refresh {
    /// A round of questions begins.
    pub(super) fn begin(&mut self, floor: Duration, now: Now) {
        let before = self.last_round.get();
        self.last_round.set(now.mono);
        let recent = before.is_some_and(|at| now.mono.saturating_sub(at) < floor * FORGET);
        self.fruitless = if recent {
            self.fruitless.saturating_add(1)
        } else {
            1
        };
    }

    /// When the next one may begin that is asked for from outside.
    fn earliest(&self, floor: Duration) -> Option<Duration> {
        let doublings = self.fruitless.checked_sub(1)?.min(DOUBLINGS);
        Some(self.last_round.get()? + floor * 2u32.pow(doublings))
    }
}

/// # Pace
impl Core {
    /// Asks the sources of a zone because somebody has told of news, or is back: at once if the last question brought
    /// something or was long ago, else after a pause that doubles each time.
    pub(in crate::core) fn ask_soon(&mut self, apex: &Name, first: Option<PeerId>, now: Now) {
        let floor = self.settings.pace.floor;
        let jitter = floor * (self.random() % 250) as u32 / 1000;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let busy = entry.refresh.asking.is_some() || entry.commits > 0;
        let wait = entry
            .refresh
            .earliest(floor)
            .filter(|at| *at > now.mono && !busy);
        match wait {
            Some(at) if !(entry.spec.primary && entry.head.is_some()) => {
                let next = entry
                    .refresh
                    .at
                    .get()
                    .map_or(at + jitter, |next| next.min(at + jitter));
                entry.refresh.at.set(next);
                self.schedule(apex);
            }
            _ => self.refresh(apex, first, now),
        }
    }

    /// A peer is lost: what it is being asked for is asked of others, and what came from it lately is handed on to some that
    /// it may not have told.
    pub(in crate::core) fn leave_lost(&mut self, lost: &PeerId, message: &str, now: Now) {
        let mut open = Vec::new();
        let mut recent = Vec::new();
        for (apex, entry) in self.zones.iter() {
            if entry.refresh.is_asking(lost) {
                open.push(apex.clone());
            }
            let new = |at: Duration| now.mono.saturating_sub(at) < RECENT;
            if entry.published.get().is_some_and(new) && entry.spec.primary_source() == Some(lost) {
                recent.push(apex.clone());
            }
        }
        for apex in open {
            let rest = self.zones.get_mut(&apex).and_then(|entry| {
                entry.refresh.unsure += 1;
                entry.refresh.answered(lost)
            });
            let (from, Some(rest)) = (lost.clone(), rest) else {
                continue;
            };
            match self
                .zones
                .get(&apex)
                .is_some_and(|entry| entry.spec.primary)
            {
                true => {
                    let failure = Failure {
                        message: message.to_owned(),
                        unreachable: true,
                        lacks: false,
                    };
                    self.transferred_to_primary(&apex, from, rest, Err(failure), now);
                }
                false => self.try_next(&apex, from, rest, message.to_owned(), now),
            }
        }
        for apex in recent {
            self.hand_on(&apex, now);
        }
    }

    /// Tells some other sites of a version whose primary cannot tell them.
    pub(super) fn hand_on(&mut self, apex: &Name, now: Now) {
        let random = self.random() as usize;
        let Some(entry) = self
            .zones
            .get(apex)
            .filter(|entry| entry.spec.mesh && !entry.spec.primary)
        else {
            return;
        };
        let Some(primary) = entry
            .spec
            .sources
            .first()
            .filter(|peer| self.is_lost_site(peer))
        else {
            return;
        };
        let others: Vec<&PeerId> = entry
            .spec
            .sources
            .iter()
            .filter(|peer| *peer != primary && !self.is_lost_site(peer))
            .collect();
        let start = if others.len() > FEW {
            random % others.len()
        } else {
            0
        };
        let some = others
            .iter()
            .cycle()
            .skip(start)
            .take(FEW.min(others.len()));
        for peer in some.map(|peer| PeerId::clone(peer)).collect::<Vec<_>>() {
            self.tell(apex, peer, now);
        }
    }

    /// Tells a peer again what it should know, because of what it said: no more than once each floor for a zone.
    pub(in crate::core) fn tell_again(&mut self, apex: &Name, peer: PeerId, now: Now) {
        let floor = self.settings.pace.floor;
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        if entry.rare.tell.get(&peer).is_some() {
            return;
        }
        // Whoever comes meanwhile gets the same turn, so that many do not make a long line.
        let turn = match entry.rare.told_again {
            Some(at) if at > now.mono => at,
            Some(at) if at + floor > now.mono => at + floor,
            _ => now.mono,
        };
        entry.rare.told_again = Some(turn);
        match turn > now.mono {
            true => self.tell_at(apex, peer, turn),
            false => self.tell(apex, peer, now),
        }
    }
}
