//! The NOTIFYs of one zone that are owed to peers, and which of them are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zonemesh_zone::Serial;

use crate::core::PeerId;

/// A NOTIFY that is owed to a peer.
pub(super) struct Tell {
    pub(super) serial: Serial,
    pub(super) due: Duration,
    pub(super) attempts: u32,
    pub(super) under_way: bool,
    /// Whether who is told has lost track while this was under way: it may have come there before that, and is sent once more.
    pub(super) crossed: bool,
}

impl Tell {
    /// One that was not sent yet.
    pub(super) fn new(serial: Serial, due: Duration) -> Self {
        Self {
            serial,
            due,
            attempts: 0,
            under_way: false,
            crossed: false,
        }
    }
}

/// What is owed, by peer and by time: at a primary of a large mesh a thousand are owed the same, and each answer changes one.
#[derive(Default)]
pub(super) struct Tells {
    by: BTreeMap<PeerId, Tell>,
    /// Those that are not under way.
    due: BTreeSet<(Duration, PeerId)>,
}

impl Tells {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        by: BTreeMap::new(),
        due: BTreeSet::new(),
    };

    /// Whether nothing is owed to anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Tell> {
        self.by.get(peer)
    }

    /// Whether something is owed to a peer, and not under way.
    pub(super) fn waits(&self, peer: &PeerId) -> bool {
        self.get(peer).is_some_and(|tell| !tell.under_way)
    }

    /// Owes it to a peer, in the place of what was owed.
    pub(super) fn put(&mut self, peer: PeerId, tell: Tell) {
        self.remove(&peer);
        if !tell.under_way {
            self.due.insert((tell.due, peer.clone()));
        }
        self.by.insert(peer, tell);
    }

    /// Changes what is owed to a peer, if anything is.
    pub(super) fn change<T>(
        &mut self,
        peer: &PeerId,
        change: impl FnOnce(&mut Tell) -> T,
    ) -> Option<T> {
        let tell = self.by.get_mut(peer)?;
        let before = (!tell.under_way).then_some(tell.due);
        let done = change(tell);
        let after = (!tell.under_way).then_some(tell.due);
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, peer.clone()));
            }
            self.due.extend(after.map(|after| (after, peer.clone())));
        }
        Some(done)
    }

    /// Owes a peer nothing any longer.
    pub(super) fn remove(&mut self, peer: &PeerId) -> Option<Tell> {
        let tell = self.by.remove(peer)?;
        if !tell.under_way {
            self.due.remove(&(tell.due, peer.clone()));
        }
        Some(tell)
    }

    /// Owes it to some peers only.
    pub(super) fn retain(&mut self, stays: impl Fn(&PeerId) -> bool) {
        self.by.retain(|peer, _| stays(peer));
        self.due.retain(|(_, peer)| stays(peer));
    }

    /// When the first is to be sent.
    pub(super) fn first_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// To whom one is to be sent by now, in their order.
    pub(super) fn due(&self, now: Duration) -> Vec<PeerId> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        let mut due: Vec<PeerId> = due.map(|(_, peer)| peer.clone()).collect();
        due.sort();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_not_due_and_what_has_failed_is_when_its_time_has_come() {
        let at = Duration::from_secs;
        let [a, b] = ["a", "b"].map(|name| PeerId::Foreign(name.into()));
        let mut tells = Tells::default();
        tells.put(a.clone(), Tell::new(Serial(1), at(3)));
        tells.put(b.clone(), Tell::new(Serial(1), at(2)));
        assert_eq!(
            (tells.first_due(), tells.due(at(2))),
            (Some(at(2)), vec![b.clone()])
        );
        tells.change(&b, |tell| tell.under_way = true);
        assert!(!tells.waits(&b) && tells.waits(&a));
        assert_eq!(
            (tells.first_due(), tells.due(at(9))),
            (Some(at(3)), vec![a.clone()])
        );
        tells.change(&b, |tell| (tell.under_way, tell.due) = (false, at(1)));
        assert_eq!(tells.due(at(9)), [a.clone(), b.clone()]);
        tells.put(b.clone(), Tell::new(Serial(2), at(5)));
        assert_eq!(tells.due(at(9)), [a.clone(), b.clone()]);
        tells.retain(|peer| *peer == b);
        assert_eq!(
            (tells.first_due(), tells.get(&a).is_none()),
            (Some(at(5)), true)
        );
        tells.remove(&b);
        assert!(tells.first_due().is_none() && tells.change(&b, |_| ()).is_none());
    }
}
