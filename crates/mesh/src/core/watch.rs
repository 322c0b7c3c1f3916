//! Whom a site probes, and how the others hear of what it finds (decision 0019).
//!
//! In a small mesh each site probes each other. In a larger one that would be a thousand probes a round at each of a thousand
//! sites: there each *watches* the few that come next on a ring, looks at some others in turn, and at all with which something is
//! wrong. Who finds that one it watches has fallen silent, is stuck or is back, tells all others to look for themselves. Nobody
//! is believed lost because somebody says so: the word of another and one probe of one's own count as two that failed.
//!
//! ```text
//!   a watcher's probe fails ─► NOTIFY of "site.directory" to all ─► each probes it at once ─► lost, or it answers
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use zonemesh_zone::directory::SiteName;
use zonemesh_zone::{Name, Serial, Zone};

use super::peers::Peer;
use super::{Core, Now, Output, PeerId};
use crate::hash::scattered;

/// Up to so many other sites all are probed each time.
const ALL: usize = 16;
/// How many sites that answer each watches, the lost ones in between aside.
const WATCHED: usize = 8;
/// How many it watches at most with those.
const MOST_WATCHED: usize = 64;
/// How many of the others, and how many of those of them that are lost, are probed each time, in turn.
const IN_TURN: usize = 8;
/// How many watchers tell the others at once; the rest do when they have not heard of it for a while.
const FIRST: usize = 2;
/// How long the rest wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Least time between two times that others are told to look at a site, whoever tells them.
const PAUSE: Duration = Duration::from_secs(15);

/// Whom this site watches.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The other sites, from the one that comes after this one on.
    ring: Vec<PeerId>,
    /// How many of them, from the first on, are watched.
    near: usize,
    /// Whose turn it is of the others.
    turn: usize,
    /// Who had the last turn of those that are lost.
    last_lost: Option<PeerId>,
    /// When those that are watched are probed next; whoever is waited for is probed more often.
    next: Duration,
}

/// Where a site is on the ring: by what its name is hashed to, so that those that are made alike, and fail together, are not next
/// to each other. All sites must come to the same, of any version.
pub(super) fn place(name: &str) -> u64 {
    let mixed = scattered(name);
    mixed ^ mixed >> 29
}

impl Watch {
    /// Takes over who the other sites are.
    pub(super) fn arrange<'a>(&mut self, me: &SiteName, others: impl Iterator<Item = &'a PeerId>) {
        let at = |name: &SiteName| (place(name.as_str()), name.clone());
        let mine = at(me);
        let mut ring: Vec<((u64, SiteName), PeerId)> = others
            .filter_map(|peer| match peer {
                PeerId::Site(name) => Some((at(name), peer.clone())),
                PeerId::Foreign(_) => None,
            })
            .collect();
        ring.sort();
        let after = ring.partition_point(|(place, _)| *place <= mine);
        ring.rotate_left(after);
        self.ring = ring.into_iter().map(|(_, peer)| peer).collect();
        self.near = self.near.min(self.ring.len());
    }

    /// Whether there are so few that each looks after all.
    fn is_small(&self) -> bool {
        self.ring.len() <= ALL
    }

    /// Which of those that this site watches a peer is.
    fn position(&self, peer: &PeerId) -> Option<usize> {
        self.ring[..self.near].iter().position(|near| near == peer)
    }

    /// Who is probed this time in a mesh that is not small, besides those with which something is wrong.
    fn next(&mut self, lost: &BTreeSet<&PeerId>) -> BTreeSet<PeerId> {
        let mut answering = 0;
        let reaches = |peer: &PeerId| {
            answering += usize::from(!lost.contains(peer));
            answering == WATCHED
        };
        let far = self.ring.iter().take(MOST_WATCHED).position(reaches);
        self.near = far.map_or(MOST_WATCHED.min(self.ring.len()), |last| last + 1);
        let (near, rest) = self.ring.split_at(self.near);
        let mut next: BTreeSet<PeerId> = near.iter().cloned().collect();
        let start = self.turn.checked_rem(rest.len()).unwrap_or(0);
        let places = (start..rest.len()).chain(0..start);
        for place in places.take(IN_TURN) {
            self.turn = place + 1;
            next.insert(rest[place].clone());
        }
        let after = |peer: &&&PeerId| Some(**peer) > self.last_lost.as_ref();
        let rest = lost.iter().filter(after).chain(lost);
        let turns: Vec<PeerId> = rest.take(IN_TURN).map(|peer| PeerId::clone(peer)).collect();
        self.last_lost = turns.last().cloned();
        next.extend(turns);
        next
    }
}

/// # Probing
impl Core {
    /// Takes over who is watched, after members have come or gone.
    pub(super) fn arrange_watch(&mut self) {
        if let Some(mesh) = &self.mesh {
            self.watch
                .arrange(&mesh.settings.me.name, self.peers.keys());
        }
    }

    /// Who is probed this time; none where all are.
    pub(super) fn whom_to_probe(&mut self, now: Now) -> Option<BTreeSet<PeerId>> {
        if self.watch.is_small() {
            return None;
        }
        let waited_for = self.who_lacks_the_directory();
        if self.watch.next > now.mono {
            return Some(waited_for.into_iter().collect());
        }
        self.watch.next = now.mono + self.settings.pace.probe;
        let peers = &self.peers;
        let (mut lost, mut wrong) = (BTreeSet::new(), Vec::new());
        for (id, peer) in peers {
            match (id, peer.is_lost(), peer.is_open()) {
                (PeerId::Site(_), true, _) => {
                    lost.insert(id);
                }
                (PeerId::Site(_), _, true) => wrong.push(id.clone()),
                _ => {}
            }
        }
        let mut next = self.watch.next(&lost);
        let near = self.watch.ring[..self.watch.near].iter();
        let mut answering = near
            .filter_map(|peer| peers.get(peer))
            .filter(|peer| !peer.is_lost())
            .peekable();
        if answering.peek().is_some() && answering.all(Peer::refuses) {
            // No member any longer, it seems: the others are to say so too.
            return None;
        }
        next.extend(waited_for);
        next.extend(wrong);
        let faults = self.clocks.faults().iter();
        next.extend(faults.filter_map(|fault| fault.peer().cloned()));
        next.extend(self.alike.in_conflict().cloned());
        Some(next)
    }
}

/// # Telling each other
impl Core {
    /// Tells the others to look at each site that this one watches and that is not as they know it.
    pub(super) fn tell_of_watched(&mut self, now: Now) {
        if self.watch.is_small() {
            return;
        }
        for position in 0..self.watch.near {
            let id = self.watch.ring[position].clone();
            self.tell_of(&id, now);
        }
    }

    /// The same of one site, if this one watches it.
    pub(super) fn tell_of(&mut self, id: &PeerId, now: Now) {
        let Some(position) = self.watch.position(id).filter(|_| !self.watch.is_small()) else {
            return;
        };
        let nearer = self.watch.ring[..position].iter();
        let nearer = nearer.filter(|peer| !self.peers.get(peer).is_some_and(Peer::is_lost));
        let first = nearer.count() < FIRST;
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let (condition, since) = peer.condition();
        let known = peer.told == condition;
        let waits = |since: Duration, pause| now.mono.saturating_sub(since) < pause;
        if known
            || peer.told_at.is_some_and(|at| waits(at, PAUSE))
            || !first && waits(since, PATIENCE)
        {
            return;
        }
        peer.told = condition;
        peer.told_at = Some(now.mono);
        self.have_looked_at(id);
    }

    /// Tells all others to look at a site: with a NOTIFY of its name in the directory (RFC 1996 §3.7 lets any name be told of).
    fn have_looked_at(&mut self, id: &PeerId) {
        let (Some(mesh), PeerId::Site(site)) = (&self.mesh, id) else {
            return;
        };
        let directory = &mesh.settings.directory;
        let entry = self.zones.get(directory);
        let served = entry.and_then(|entry| entry.served.as_ref());
        let (Some(soa), Ok(owner)) = (served.map(Zone::soa_record), site.under(directory)) else {
            return;
        };
        let serial = served.map_or(Serial(0), Zone::serial);
        for (to, peer) in &self.peers {
            if matches!(to, PeerId::Site(_)) && to != id && !peer.is_lost() {
                let mut soa = soa.clone();
                soa.owner = owner.clone();
                self.out.push(Output::Notify {
                    to: to.clone(),
                    soa,
                    serial,
                });
            }
        }
    }

    /// The site that a NOTIFY is about, if it is about none of the zones.
    pub(super) fn is_about(&self, name: &Name) -> Option<PeerId> {
        let directory = &self.mesh.as_ref()?.settings.directory;
        let known = self.zones.contains_key(name);
        let below = !known && name.ends_with(directory) && name != directory;
        let first = Some(name.first()).filter(|_| below)?;
        let site = SiteName::new(std::str::from_utf8(first.as_slice()).ok()?).ok()?;
        let is = site.under(directory).is_ok_and(|owner| owner == *name);
        Some(PeerId::Site(site)).filter(|id| is && self.peers.contains_key(id))
    }

    /// Another site says that something is the matter with one.
    pub(super) fn look_at_site(&mut self, id: PeerId, now: Now) {
        let pace = self.settings.pace.probe;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.told_at = Some(now.mono);
        if peer.is_asked_for(pace, now) {
            self.out.push(Output::Probe { peer: id });
        }
    }
}

#[cfg(test)]
mod tests;
