//! Foreign secondaries that this site tells of its zones: which serial they have.
//!
//! Sites tell their primary what they serve. A foreign server does not, and one that has a greater serial than its primary takes
//! nothing any more and keeps that to itself. So whoever tells one of changes, as primary or as another site, asks it for its SOA of the
//! zone again and again: what it shows is taken as if it had told, so that the primary goes above what is greater, it is told once
//! more of what has not arrived, and the primary knows whether a step of a serial policy can be followed. A site that is not the
//! primary passes on what is greater, when the primary has said that it has nothing newer itself. A site with very many zones asks
//! a bounded number a second, and takes longer for all; zones without such a server cost nothing.
//!
//! Whoever does not answer is not lost for that: that it takes NOTIFY is all that is asked of it. Whoever is lost is not asked; it is
//! looked at by the shell when it takes a NOTIFY again.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use zonemesh_zone::diff::JUMP;
use zonemesh_zone::{Key, Name, OwnedKey};

use super::change::with_serial;
use super::replicate::Entry;
use super::{Core, Happening, Now, Output, PeerId, far};

/// From the beginning of one round of questions to that of the next: well within the two minutes in which one that is ahead is noticed.
const ROUND: Duration = Duration::from_secs(30);
/// So many questions are asked at once; with the pause after them 61,440 in two minutes.
const AT_ONCE: usize = 128;
/// The pause after them.
const PAUSE: Duration = Duration::from_millis(250);

/// Whom to ask, and where the round has come to.
pub(super) struct Secondaries {
    /// The zones that are held and of which a foreign server is told.
    zones: BTreeSet<OwnedKey>,
    /// When the round began, and when more is asked.
    began: Duration,
    next: Duration,
    /// The last zone that was asked about.
    after: Option<OwnedKey>,
}

impl Secondaries {
    /// A first round some time after the start, whose NOTIFYs come first.
    pub(super) fn new(now: Now) -> Self {
        Self {
            zones: BTreeSet::new(),
            began: now.mono,
            next: now.mono + ROUND,
            after: None,
        }
    }

    /// When somebody is to be asked, if there is anybody.
    pub(super) fn next_due(&self) -> Option<Duration> {
        (!self.zones.is_empty()).then_some(self.next)
    }

    /// Takes a zone out that is there no longer.
    pub(super) fn strike(&mut self, apex: &Name) {
        self.zones.remove(Key::of(apex).as_slice());
    }
}

impl Entry {
    /// Whether foreign servers are to be asked for its serial.
    fn has_secondaries(&self) -> bool {
        self.served.is_some() && self.spec.notify.foreign().next().is_some()
    }
}

impl Core {
    /// Enters a zone into the list of those of which foreign servers are asked, or takes it out: after it has come to be held, or is to be
    /// told to others.
    pub(super) fn note_secondaries(&mut self, apex: &Name) {
        let asks = self.zones.get(apex).is_some_and(Entry::has_secondaries);
        let secondaries = &mut self.secondaries;
        let none = secondaries.zones.is_empty();
        match asks {
            false if none => {}
            false => secondaries.strike(apex),
            true => {
                if none {
                    // It has just been told.
                    secondaries.next = secondaries.next.max(self.now.mono + ROUND);
                }
                secondaries.zones.insert(OwnedKey::of(apex));
            }
        }
    }

    /// Asks foreign secondaries for their serials when it is time.
    pub(super) fn ask_secondaries(&mut self, now: Now) {
        if self.secondaries.next_due().is_none_or(|due| due > now.mono) {
            return;
        }
        if self.secondaries.after.is_none() {
            self.secondaries.began = now.mono;
        }
        let after = self.secondaries.after.take();
        let from: Bound<&OwnedKey> = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut questions, mut last) = (Vec::new(), None::<&OwnedKey>);
        for key in self
            .secondaries
            .zones
            .range::<OwnedKey, _>((from, Bound::Unbounded))
        {
            if questions.len() >= AT_ONCE {
                self.secondaries.after = last.cloned();
                break;
            }
            last = Some(key);
            let Some(entry) = self.zones.by_key(key.as_slice()) else {
                continue;
            };
            let there = entry
                .spec
                .notify
                .foreign()
                .filter(|peer| !self.is_lost(peer));
            questions.extend(there.map(|peer| (peer.clone(), entry.spec.apex.clone())));
        }
        self.secondaries.next = match self.secondaries.after {
            Some(_) => now.mono + PAUSE,
            None => (self.secondaries.began + ROUND).max(now.mono + PAUSE),
        };
        let ask = |(peer, apex)| Output::AskSerial { peer, apex };
        self.out.extend(questions.into_iter().map(ask));
    }

    /// The primary has said that it has nothing newer than this site: should a foreign server that is told here have shown a greater
    /// serial, the primary is told of that as if it were this site's. It goes above, and what it publishes is taken there too.
    pub(super) fn pass_on_ahead(&mut self, apex: &Name, primary: &PeerId) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let Some(held) = entry.served.clone().filter(|_| !entry.spec.primary) else {
            return;
        };
        let ahead = entry.shows_ahead(held.serial());
        let ahead = ahead.map(|(peer, theirs)| (peer.clone(), theirs));
        let is_news = entry.rare.ahead != ahead;
        entry.rare.ahead.clone_from(&ahead);
        let Some((peer, theirs)) = ahead else { return };
        if is_news {
            self.happened(Happening::PeerAhead {
                apex: apex.clone(),
                peer,
                theirs,
                ours: held.serial(),
            });
        }
        // Above it by as much as a primary goes: what that has published meanwhile may have come to the very same serial.
        let shown = theirs.add(JUMP);
        if far::ahead(shown, held.serial()).is_some() {
            self.out.extend(with_serial(&held, shown).ok().map(|zone| {
                let (to, soa, serial) = (primary.clone(), zone.soa_record(), shown);
                Output::Notify { to, soa, serial }
            }));
        }
    }

    fn is_lost(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|state| state.is_lost())
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::record::parse_name;
    use zonemesh_zone::{Editor, Record, Serial};

    use super::super::{Held, Input, PeerList, Settings, ZoneSpec};
    use super::*;

    /// How many zones are looked at in a round of questions, where a foreign server has one of so many.
    fn looked_at(of: usize) -> usize {
        let apexes = (0..of).map(|zone| parse_name(&format!("z{zone}.example")).unwrap());
        let apexes: Vec<Name> = apexes.collect();
        let told = PeerList::from(vec![PeerId::Foreign("off-site".into())]);
        let spec = |apex: &Name| ZoneSpec {
            apex: apex.clone(),
            sources: PeerList::default(),
            primary: true,
            notify: match *apex == apexes[of / 2] {
                true => told.clone(),
                false => PeerList::default(),
            },
            members_only: false,
            mesh: false,
        };
        let held = |apex: &Name| {
            let mut editor = Editor::new(apex.clone());
            let soa = Record::from_text("@ 60 IN SOA ns root 1 60 60 600 60", apex).unwrap();
            editor.add(soa).unwrap();
            Held {
                zone: editor.finish().unwrap(),
                high_water: Serial(1),
                expires_at: None,
                last_refresh: None,
                hosted: false,
                made_here: false,
                doubt: None,
            }
        };
        let settings = Settings {
            zones: apexes.iter().map(spec).collect(),
            ..Settings::default()
        };
        let at = |secs: u64| Now {
            mono: Duration::from_secs(secs),
            wall: 1_700_000_000 + secs as i64,
        };
        let (mut core, _) = Core::new(settings, apexes.iter().map(held).collect(), 1, at(1));
        core.handle(Input::Tick, at(61));
        let before = core.zones.looked_at();
        let outputs = core.handle(Input::Tick, at(91));
        let asked = |output: &&Output| matches!(output, Output::AskSerial { .. });
        assert_eq!(outputs.iter().filter(asked).count(), 1);
        core.zones.looked_at() - before
    }

    #[test]
    fn a_round_costs_nothing_for_zones_that_no_foreign_server_has() {
        let few = looked_at(10);
        assert_eq!(looked_at(1000), few);
        assert!(few < 20, "{few}");
    }
}
