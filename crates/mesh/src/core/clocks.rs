//! Whose clock is wrong: those of the peers, as the answers to probes show them, compared with each other and with this
//! site's own; and what happens when the host's clock is set while the site runs.
//!
//! Nothing here sets a clock, and no peer is trusted less for its clock. What depends on the time of day alone (signatures,
//! welcome packets, what is cleared away for good) asks [`Core::clock_doubt`] first.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Core, Happening, Held, Now, PeerId};

/// How far clocks may be apart before signatures between them fail, in milliseconds: the fudge of TSIG (RFC 8945 §10).
pub const FUDGE_MS: i64 = 300_000;

/// Below this a clock that was wrong is right again, so that one at the limit is not told of at every probe.
const RIGHT_AGAIN_MS: i64 = 240_000;

/// As far as a clock can be off, some thirty thousand years: a peer can say anything.
const MOST_MS: i64 = 1_000_000_000_000_000;

/// A clock that shows no more than this from what it showed before, in milliseconds, says nothing new.
const SAME_MS: u64 = 1_000;

/// How long what a peer's clock showed counts.
const COUNTS_FOR: Duration = Duration::from_secs(600);

/// From how many seconds on a difference between the wall clock and the monotonic one is the clock having been set.
const JUMP_SECS: i64 = 10;

/// How long a clock that was set is in doubt, as long as no peer confirms it.
const DOUBT: Duration = Duration::from_secs(86_400);

/// A clock that is off by more than [`FUDGE_MS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// Most peers agree with each other, and not with this site.
    Ours {
        /// How far this site's clock is ahead of theirs, in milliseconds; negative when it is behind.
        ahead_ms: i64,
    },
    /// This site and most peers agree, and not with this one.
    Theirs {
        /// Which.
        peer: PeerId,
        /// How far its clock is ahead, in milliseconds.
        ahead_ms: i64,
    },
    /// Two clocks differ, and there is no majority to say which of them is wrong.
    Differ {
        /// The other one.
        peer: PeerId,
        /// How far its clock is ahead of this site's, in milliseconds.
        ahead_ms: i64,
    },
}

impl ClockFault {
    /// Whether it is the same one as another, whatever the difference is by now.
    fn is(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.peer() == other.peer()
    }

    /// The peer that it is about; none when it is about this site.
    pub fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Ours { .. } => None,
            Self::Theirs { peer, .. } | Self::Differ { peer, .. } => Some(peer),
        }
    }
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours { ahead_ms } => write!(
                f,
                "this site's clock is wrong by {:+} s: most of its peers agree on another time",
                ahead_ms / 1000
            ),
            Self::Theirs { peer, ahead_ms } => {
                write!(
                    f,
                    "the clock of {peer} is wrong by {:+} s: this site and most others agree on another time",
                    ahead_ms / 1000
                )
            }
            Self::Differ { peer, ahead_ms } => write!(
                f,
                "the clocks of this site and of {peer} differ by {} s, and one of them is wrong; no majority says which",
                ahead_ms.abs() / 1000
            ),
        }
    }
}

/// What is known of clocks.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// What the wall clock showed when the monotonic one stood at zero, by the last event.
    base: Option<i64>,
    shown: BTreeMap<PeerId, Shown>,
    faults: Vec<ClockFault>,
    /// When all were compared last.
    judged: Duration,
    /// When the host's clock was last set, and by how many seconds.
    set: Option<(Duration, i64)>,
    /// The latest time of day that the store had noted before the start.
    noted: Option<i64>,
}

/// How far a peer's clock was ahead, and when it said so.
#[derive(Debug)]
struct Shown {
    at: Duration,
    ahead_ms: i64,
}

impl Clocks {
    /// The clocks that are wrong.
    pub(super) fn faults(&self) -> &[ClockFault] {
        &self.faults
    }

    /// Whether it is earlier by the clock than when the store last noted a time: the clock was set back while the site was down,
    /// or was ahead before.
    pub(super) fn is_set_back(&self, now: Now) -> bool {
        self.set_back_by(now).is_some()
    }

    /// By how many seconds at the least.
    fn set_back_by(&self, now: Now) -> Option<i64> {
        let by = self.noted?.saturating_sub(now.wall);
        (by >= JUMP_SECS).then_some(by)
    }
}

/// Judges clocks by how far each is ahead of this site's: the middle one is right if most are near it.
fn judge(shown: &BTreeMap<PeerId, i64>, before: &[ClockFault]) -> Vec<ClockFault> {
    let limit = |who: Option<&PeerId>| match before.iter().any(|fault| fault.peer() == who) {
        true => RIGHT_AGAIN_MS,
        false => FUDGE_MS,
    };
    // This site's own clock is one of them.
    let mut all: Vec<(Option<&PeerId>, i64)> = shown
        .iter()
        .map(|(peer, ahead)| (Some(peer), *ahead))
        .collect();
    all.push((None, 0));
    all.sort_by_key(|(_, ahead)| *ahead);
    let middle = all[all.len() / 2].1;
    let wrong: Vec<&(Option<&PeerId>, i64)> = all
        .iter()
        .filter(|(who, ahead)| (ahead - middle).abs() > limit(*who))
        .collect();
    if (all.len() - wrong.len()) * 2 > all.len() {
        let fault = |(who, ahead): &&(Option<&PeerId>, i64)| match who {
            None => ClockFault::Ours { ahead_ms: -middle },
            Some(peer) => ClockFault::Theirs {
                peer: PeerId::clone(peer),
                ahead_ms: ahead - middle,
            },
        };
        return wrong.iter().map(fault).collect();
    }
    shown
        .iter()
        .filter(|(peer, ahead)| ahead.abs() > limit(Some(peer)))
        .map(|(peer, ahead)| ClockFault::Differ {
            peer: peer.clone(),
            ahead_ms: *ahead,
        })
        .collect()
}

/// # Comparing clocks
impl Core {
    /// A peer has shown its clock.
    pub(super) fn clock_shown(&mut self, peer: &PeerId, ahead_ms: i64, now: Now) {
        let ahead_ms = ahead_ms.clamp(-MOST_MS, MOST_MS);
        let shown = Shown {
            at: now.mono,
            ahead_ms,
        };
        let before = self.clocks.shown.insert(peer.clone(), shown);
        // Clocks that are no further from this one than half of the limit are within it of each other. To compare them all for
        // each of a thousand answers would cost sites times sites: one that is further off has them compared, once, and then
        // all are again every now and then, since what was shown long ago no longer counts.
        if self.clocks.faults.is_empty() && ahead_ms.saturating_abs() <= FUDGE_MS / 2 {
            return;
        }
        let same = |before: &Shown| before.ahead_ms.abs_diff(ahead_ms) < SAME_MS;
        let lately = now.mono.saturating_sub(self.clocks.judged) < self.settings.pace.probe;
        if !lately || !before.is_some_and(|before| same(&before)) {
            self.judge_clocks(now);
        }
    }

    fn judge_clocks(&mut self, now: Now) {
        self.clocks.judged = now.mono;
        let (clocks, peers) = (&mut self.clocks, &self.peers);
        clocks.shown.retain(|peer, shown| {
            peers.contains_key(peer) && now.mono.saturating_sub(shown.at) < COUNTS_FOR
        });
        let shown = clocks.shown.iter();
        let shown = shown
            .map(|(peer, shown)| (peer.clone(), shown.ahead_ms))
            .collect();
        let faults = judge(&shown, &clocks.faults);
        let before = std::mem::replace(&mut clocks.faults, faults.clone());
        if faults.is_empty() && !before.is_empty() {
            self.happened(Happening::ClocksAgree);
        }
        for fault in faults {
            if !before.iter().any(|known| known.is(&fault)) {
                self.happened(Happening::ClockWrong(fault));
            }
        }
    }

    /// Looks whether the host's clock was set since the last event, and keeps that from doing harm.
    pub(super) fn look_at_clock(&mut self, now: Now) {
        let base = now.wall.saturating_sub(now.mono.as_secs() as i64);
        let Some(before) = self.clocks.base.replace(base) else {
            return;
        };
        let by = base.saturating_sub(before);
        if by.saturating_abs() < JUMP_SECS {
            return;
        }
        self.clocks.set = Some((now.mono, by));
        for shown in self.clocks.shown.values_mut() {
            let ahead_ms = shown.ahead_ms.saturating_sub(by.saturating_mul(1000));
            shown.ahead_ms = ahead_ms.clamp(-MOST_MS, MOST_MS);
        }
        self.happened(Happening::ClockSet { by_secs: by });
        self.keep_ages(by, now);
        self.judge_clocks(now);
    }

    /// Compares the clock with the latest time that the store has noted, at the start.
    pub(super) fn compare_with_noted(&mut self, held: &[Held], now: Now) {
        self.clocks.noted = held.iter().filter_map(|held| held.last_refresh).max();
        if let Some(by) = self.clocks.set_back_by(now) {
            self.clocks.set = Some((now.mono, -by));
            self.happened(Happening::ClockSetBack { by_secs: by });
        }
    }

    /// The clocks that are wrong, as far as is known.
    pub fn clock_faults(&self) -> &[ClockFault] {
        &self.clocks.faults
    }

    /// How far each peer's clock is ahead of this site's, in milliseconds.
    pub fn clock_offsets(&self) -> impl Iterator<Item = (&PeerId, i64)> {
        let shown = self.clocks.shown.iter();
        shown.map(|(peer, shown)| (peer, shown.ahead_ms))
    }

    /// Why this site's clock is not to be relied upon for what cannot be undone, if so.
    pub fn clock_doubt(&self, now: Now) -> Option<String> {
        let fault = self
            .clocks
            .faults
            .iter()
            .find(|fault| !matches!(fault, ClockFault::Theirs { .. }));
        if let Some(fault) = fault {
            return Some(fault.to_string());
        }
        let (at, by) = self.clocks.set?;
        let confirmed = self.clocks.shown.values().any(|shown| shown.at > at);
        (!confirmed && now.mono.saturating_sub(at) < DOUBT).then(|| {
            format!("this host's clock was set by {by:+} s, and no peer has confirmed it yet")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerId {
        PeerId::Foreign(name.into())
    }

    fn of(shown: &[(&str, i64)], before: &[ClockFault]) -> Vec<String> {
        let shown = shown
            .iter()
            .map(|(name, secs)| (peer(name), secs * 1000))
            .collect();
        judge(&shown, before)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_clock_that_most_others_contradict_is_the_wrong_one() {
        assert_eq!(of(&[], &[]), [""; 0]);
        assert_eq!(of(&[("b", 299), ("c", -299)], &[]), [""; 0]);
        assert!(
            of(&[("b", -412), ("c", -413)], &[])[0]
                .starts_with("this site's clock is wrong by +412 s")
        );
        assert!(
            of(&[("b", 412), ("c", 412)], &[])[0]
                .starts_with("this site's clock is wrong by -412 s")
        );
        assert!(
            of(&[("b", 1), ("c", 500)], &[])[0].starts_with("the clock of c is wrong by +499 s")
        );
        assert_eq!(
            of(&[("b", 900), ("c", -900), ("d", 2), ("e", 3)], &[]).len(),
            2
        );
    }

    #[test]
    fn without_a_majority_nobody_is_blamed() {
        assert!(
            of(&[("b", -400)], &[])[0]
                .starts_with("the clocks of this site and of b differ by 400 s")
        );
        let three = of(&[("b", 400), ("c", 800)], &[]);
        assert_eq!(three.len(), 2);
        assert!(
            three.iter().all(|text| text.contains("no majority")),
            "{three:?}"
        );
        let four = of(&[("b", 1), ("c", 800), ("d", 801)], &[]);
        assert!(
            four.len() == 2 && four.iter().all(|text| text.contains("no majority")),
            "{four:?}"
        );
    }

    #[test]
    fn a_clock_at_the_limit_is_not_right_and_wrong_by_turns() {
        let wrong = [ClockFault::Theirs {
            peer: peer("c"),
            ahead_ms: 301_000,
        }];
        assert_eq!(of(&[("b", 0), ("c", 290)], &wrong).len(), 1);
        assert_eq!(of(&[("b", 0), ("c", 290)], &[]).len(), 0);
        assert_eq!(of(&[("b", 0), ("c", 239)], &wrong).len(), 0);
    }
}
