//! What the peers have shown of a zone, and whether any of it is newer than what is held: known without a look at all of them each
//! time, because in a large mesh that is asked for every zone.

use std::ops::Deref;

use zonemesh_zone::{Serial, SerialExt};

use crate::core::{PeerId, PeerMap};

/// The last serial that each peer has shown.
#[derive(Debug, Default)]
pub(in crate::core) struct Shown {
    by: PeerMap<Serial>,
    /// How many have shown a later one than this.
    later: usize,
    than: Option<Serial>,
}

impl Deref for Shown {
    type Target = PeerMap<Serial>;

    fn deref(&self) -> &Self::Target {
        &self.by
    }
}

impl Shown {
    /// A peer has shown a serial.
    pub(in crate::core) fn insert(&mut self, peer: PeerId, serial: Serial) {
        let before = self.by.get(&peer).copied();
        self.by.insert(peer, serial);
        let Some(than) = self.than else { return };
        self.later -= usize::from(before.is_some_and(|before| before.is_after(than)));
        self.later += usize::from(serial.is_after(than));
    }

    /// Keeps what some peers have shown.
    pub(in crate::core) fn retain(&mut self, stays: impl Fn(&PeerId) -> bool) {
        self.by.retain(|peer, _| stays(peer));
        self.than = None;
    }

    pub(in crate::core) fn clear(&mut self) {
        self.by.clear();
        self.than = None;
    }

    /// Whether anybody has shown anything later than this, or anything at all.
    pub(in crate::core) fn any_after(&mut self, head: Option<Serial>) -> bool {
        let Some(head) = head else {
            return self.by.values().next().is_some();
        };
        if self.than != Some(head) {
            let later = self.by.values().filter(|serial| serial.is_after(head));
            self.later = later.count();
            self.than = Some(head);
        }
        self.later > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_anybody_has_shown_a_later_serial_is_known_after_each_that_is_shown() {
        let peer = |number: u32| PeerId::Foreign(format!("peer-{number}").into());
        let mut shown = Shown::default();
        assert!(!shown.any_after(None));
        // Numbers that are drawn, each peer's anew again and again, and what is held going forward and back.
        let mut drawn = 7u32;
        for turn in 0..2000 {
            drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (who, serial) = (drawn >> 8 & 3, Serial(drawn >> 16 & 7));
            shown.insert(peer(who), serial);
            let head = Serial((turn / 5) % 8);
            let any = shown.by.values().any(|serial| serial.is_after(head));
            assert_eq!(shown.any_after(Some(head)), any, "{shown:?}, {head}");
            assert!(shown.any_after(None));
            if turn % 50 == 0 {
                shown.retain(|other| *other != peer(who));
            }
        }
        shown.clear();
        assert!(!shown.any_after(Some(Serial(0))));
    }
}
