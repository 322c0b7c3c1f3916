//! In which order the sources of a zone are asked, and how many of them in one round.
//!
//! The primary comes first, and whoever told of news before it. Whoever holds nothing asks on until somebody has the zone, and
//! will soon be there. Whoever holds a version, and cannot have the primary's word on it, would have to ask every site about
//! every zone: it asks a few, others each time, and so what a single site has reaches a thousand within a few rounds.

use std::collections::BTreeSet;

use crate::core::{PeerId, PeerList};

/// How many besides the primary are asked in a round where a version is held; and how many of those that do not answer, which
/// probes look after anyway. In a mesh of ten sites one round still asks all.
const FEW: usize = 8;

/// One round of questions for a zone.
pub(super) struct Round {
    sources: PeerList,
    /// In their order.
    asked: Vec<PeerId>,
    /// Whether only a few are asked of those that answer, too.
    short: bool,
    /// Who of the others is asked first.
    start: usize,
    /// How many have had their turn.
    turn: usize,
    /// Whether it is the turn of those that do not answer: they come last, but to be down is not for ever.
    lost: bool,
    left: usize,
    passed_over: bool,
    /// Whether it was begun because one of the sources has told of news.
    told: bool,
    /// Whether anybody has answered; noted where it matters.
    pub(super) answered: bool,
    /// Who is asked besides, by a primary that holds nothing and asks all; and how many at once altogether.
    pub(super) beside: BTreeSet<PeerId>,
    pub(super) at_once: usize,
}

impl Round {
    /// A round of all sources; where a version is held, of the primary and a few others, drawn by `random`.
    pub(super) fn new(sources: PeerList, held: bool, random: u64) -> Self {
        let others = sources.slots().saturating_sub(1);
        let start = match others > FEW {
            true => random as usize % others,
            // Those that hold the catalog first, as they stand in the list.
            false => 0,
        };
        Self {
            sources,
            asked: Vec::new(),
            short: held,
            start,
            turn: 0,
            lost: false,
            left: FEW,
            passed_over: false,
            told: false,
            answered: false,
            beside: BTreeSet::new(),
            at_once: 1,
        }
    }

    /// One in which nobody is left to be asked.
    pub(super) fn over() -> Self {
        Self::new(PeerList::default(), false, 0)
    }

    /// Asks one of the sources before the others; false when it is none.
    pub(super) fn begin_with(&mut self, peer: &PeerId) -> bool {
        self.told = self.sources.contains(peer) && self.asks(peer);
        self.told
    }

    /// Whether it was begun by itself, and sources have not been asked.
    pub(super) fn leaves_others_unheard(&self) -> bool {
        let asked = |peer: &PeerId| self.asked.binary_search(peer).is_ok();
        !self.told && !self.sources.iter().all(asked)
    }

    /// Who is asked next.
    pub(super) fn next(&mut self, lost: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        let slots = self.sources.slots();
        loop {
            if self.turn >= slots {
                if self.lost {
                    return None;
                }
                (self.lost, self.turn, self.left) = (true, 0, FEW);
                continue;
            }
            let slot = match self.turn {
                0 => 0,
                turn => 1 + (self.start + turn - 1) % (slots - 1),
            };
            self.turn += 1;
            let Some(peer) = self.sources.slot(slot) else {
                continue;
            };
            let is_lost = lost(peer);
            // Who has come back since its turn was passed is heard too.
            let waits = match self.lost {
                false => is_lost,
                true => !is_lost && self.short,
            };
            if waits || self.asked.binary_search(peer).is_ok() {
                continue;
            }
            // Foreign servers are few, and not probed.
            let counts = slot > 0 && matches!(peer, PeerId::Site(_)) && (self.short || is_lost);
            if counts && self.left == 0 {
                self.passed_over = true;
                continue;
            }
            self.left -= usize::from(counts);
            let peer = peer.clone();
            self.asks(&peer);
            return Some(peer);
        }
    }

    /// Notes that a source is asked; false when it was before.
    fn asks(&mut self, peer: &PeerId) -> bool {
        let place = self.asked.binary_search(peer);
        if let Err(at) = place {
            if self.asked.is_empty() {
                // Most zones have one source, and all of them may be asked at the same time.
                self.asked.reserve_exact(1);
            }
            self.asked.insert(at, peer.clone());
        }
        place.is_err()
    }

    /// Whether there are sources that were not asked because there are so many.
    pub(super) fn passed_over(&self) -> bool {
        self.passed_over
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::directory::SiteName;

    use super::*;
    use crate::core::SharedPeers;

    fn site(number: usize) -> PeerId {
        PeerId::Site(SiteName::new(&format!("site-{number}")).unwrap())
    }

    /// A zone of `site-3`, that each of the others holds.
    fn list(sites: usize) -> PeerList {
        let shared: SharedPeers = (0..sites).map(site).collect();
        PeerList::new(Some(site(3)), shared)
    }

    fn asked(mut round: Round, lost: &[PeerId]) -> (Vec<PeerId>, bool) {
        let lost = |peer: &PeerId| lost.contains(peer);
        let all = std::iter::from_fn(|| round.next(lost)).collect();
        (all, round.passed_over())
    }

    #[test]
    fn in_a_small_mesh_a_round_asks_all_the_primary_first_and_the_lost_last() {
        let (all, over) = asked(Round::new(list(5), true, 9), &[site(3), site(1)]);
        assert_eq!(all, [0, 2, 4, 3, 1].map(site));
        assert!(!over);
        let mut round = Round::new(list(5), false, 9);
        assert!(round.begin_with(&site(4)));
        assert!(!round.begin_with(&site(7)));
        assert_eq!(asked(round, &[]).0, [3, 0, 1, 2].map(site));
    }

    #[test]
    fn in_a_large_mesh_a_few_are_asked_about_what_is_held_and_others_the_next_time() {
        let (one, over) = asked(Round::new(list(100), true, 9), &[]);
        assert_eq!((one.len(), &one[0], over), (1 + FEW, &site(3), true));
        let (other, _) = asked(Round::new(list(100), true, 50), &[]);
        assert!(one[1..].iter().all(|peer| !other[1..].contains(peer)));
    }

    #[test]
    fn who_holds_nothing_asks_all_that_answer_and_a_few_of_those_that_do_not() {
        let (all, over) = asked(Round::new(list(100), false, 9), &[]);
        assert_eq!((all.len(), over), (100, false));
        let down: Vec<PeerId> = (10..100).map(site).collect();
        let (all, over) = asked(Round::new(list(100), false, 9), &down);
        assert_eq!((all.len(), over), (10 + FEW, true));
    }

    #[test]
    fn who_comes_back_while_others_are_asked_is_asked_too() {
        let mut round = Round::new(list(5), false, 0);
        let down = |peer: &PeerId| [site(3), site(1)].contains(peer);
        let first: Vec<PeerId> = std::iter::from_fn(|| round.next(down)).take(3).collect();
        assert_eq!(first, [0, 2, 4].map(site));
        assert_eq!(asked(round, &[]), ([3, 1].map(site).to_vec(), false));
        // However many have: they answer now.
        let mut round = Round::new(list(100), false, 0);
        let down: Vec<PeerId> = (10..100).map(site).collect();
        let few: Vec<PeerId> = std::iter::from_fn(|| round.next(|peer| down.contains(peer)))
            .take(9)
            .collect();
        assert_eq!(few.len(), 9);
        let (rest, over) = asked(round, &[]);
        assert_eq!((rest.len(), over), (91, false));
    }

    #[test]
    fn the_lost_primary_is_asked_whoever_else_is_lost() {
        let down: Vec<PeerId> = (0..100).map(site).collect();
        let (all, over) = asked(Round::new(list(100), true, 9), &down);
        assert_eq!((all.len(), &all[0], over), (1 + FEW, &site(3), true));
    }
}
