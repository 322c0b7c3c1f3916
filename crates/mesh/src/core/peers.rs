//! Who answers and who does not: probes of peers, a few bytes every few seconds, whatever the number of zones. Whom a site probes
//! in a large mesh is in `watch`.

use std::time::Duration;

use zonemesh_zone::{Serial, SerialExt, Zone};

use super::{Beat, Core, Failure, Happening, Now, Output, PeerId};

/// What is known of a peer's health. Nothing here ever leads to its removal.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Since when it has not answered.
    pub(super) lost_since: Option<Duration>,
    /// Failures one after the other.
    failures: u32,
    /// When the first of them was.
    first_failure: Duration,
    probing: bool,
    why: String,
    /// Whether it refused the last probe as one that does not take this site for a member.
    refuses: bool,
    /// For how long it had made no progress when it last answered.
    stuck: Duration,
    /// Whether it has answered anything since this site started.
    heard: bool,
    /// Since when another site says that something is the matter with it, while that is open.
    suspected: Option<Duration>,
    /// When it was last probed because another site said so, and whether that probe is under way.
    looked: Option<Duration>,
    looking: bool,
    /// How it is, and since when.
    condition: (Condition, Duration),
    /// How the others know it, as far as it is known here, and when they were last told to look.
    pub(super) told: Condition,
    pub(super) told_at: Option<Duration>,
}

/// How a peer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// It answers.
    #[default]
    Fine,
    /// It answers, and makes no progress.
    Stuck,
    /// It does not answer.
    Silent,
}

impl Peer {
    pub(super) fn is_lost(&self) -> bool {
        self.lost_since.is_some()
    }

    /// Whether it refused the last probe.
    pub(super) fn refuses(&self) -> bool {
        self.refuses
    }

    /// Whether it is to be probed again soon: nothing is known of it yet, or it may be lost, or does not get on.
    pub(super) fn is_open(&self) -> bool {
        !self.is_lost() && (!self.heard || self.failures > 0 || !self.stuck.is_zero())
    }

    /// How it is, and since when.
    pub(super) fn condition(&self) -> (Condition, Duration) {
        self.condition
    }

    fn look_at_condition(&mut self, now: Now) {
        let condition = match () {
            () if self.failures > 0 || self.is_lost() => Condition::Silent,
            () if !self.stuck.is_zero() => Condition::Stuck,
            () => Condition::Fine,
        };
        if self.condition.0 != condition {
            self.condition = (condition, now.mono);
        }
        if condition == Condition::Silent && !self.heard {
            // It was so before this site came, and the others know.
            self.told = condition;
        }
    }

    /// Another site says that something is the matter with it; whether it is to be probed for that.
    pub(super) fn is_asked_for(&mut self, pause: Duration, now: Now) -> bool {
        if self.failures == 0 {
            self.suspected = Some(now.mono);
        }
        let lately = |at: Duration| now.mono.saturating_sub(at) < pause;
        if self.probing || self.looked.is_some_and(lately) {
            return false;
        }
        self.looked = Some(now.mono);
        self.looking = true;
        self.probing = true;
        true
    }
}

impl Core {
    /// Sends a probe to each site when it is time.
    pub(super) fn probe_peers(&mut self, now: Now) {
        if self.next_probe > now.mono || self.peers.is_empty() {
            return;
        }
        let pace = &self.settings.pace;
        // Receipts for the directory come to its primary; who waits for them elsewhere has to ask.
        let waited_for = self.waiting_for_directory();
        let interval = if waited_for {
            pace.floor / 4
        } else {
            pace.probe
        };
        self.next_probe = now.mono + interval;
        let whom = self.whom_to_probe(now).unwrap_or_else(|| {
            let sites = self.peers.keys();
            let sites = sites.filter(|id| matches!(id, PeerId::Site(_)));
            sites.cloned().collect()
        });
        for id in whom {
            let peer = self.peers.get_mut(&id).filter(|peer| !peer.probing);
            if let Some(peer) = peer {
                peer.probing = true;
                self.out.push(Output::Probe { peer: id });
            }
        }
        self.tell_of_watched(now);
    }

    /// A probe ended.
    pub(super) fn probed(
        &mut self,
        id: PeerId,
        result: Result<Option<Serial>, Failure>,
        beat: Option<Beat>,
        now: Now,
    ) {
        if let Some(beat) = beat {
            self.clock_shown(&id, beat.ahead_ms, now);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.probing = false;
            if result.is_ok() {
                peer.stuck = beat.map(|beat| beat.stuck).unwrap_or_default();
            }
            let refuses = |failure: &Failure| !failure.unreachable && !failure.lacks;
            peer.refuses = result.as_ref().is_err_and(refuses);
        }
        self.directory_shown(&id, result, now);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.look_at_condition(now);
            if std::mem::take(&mut peer.looking) {
                peer.told = peer.condition.0;
            }
        }
        self.tell_of(&id, now);
        if let Some(sum) = beat.and_then(|beat| beat.sum) {
            self.sum_shown(&id, sum, now);
        }
    }

    /// A probe has brought a peer's serial of the directory, or nothing.
    fn directory_shown(&mut self, id: &PeerId, result: Result<Option<Serial>, Failure>, now: Now) {
        match result {
            Err(failure) if failure.unreachable => self.peer_failed(id, &failure.message, now),
            // It answers, if only to refuse: whether it trusts us is another question.
            Err(_) => self.peer_answered(id, now),
            Ok(serial) => {
                self.peer_answered(id, now);
                let Some(directory) = self
                    .mesh
                    .as_ref()
                    .map(|mesh| mesh.settings.directory.clone())
                else {
                    return;
                };
                let ours = self
                    .zones
                    .get(&directory)
                    .and_then(|entry| entry.head.as_ref())
                    .map(Zone::serial);
                let Some(theirs) = serial else { return };
                if ours.is_none_or(|ours| theirs.is_after(ours)) {
                    return self.notified_of(&directory, Some(theirs), id.clone(), now);
                }
                if let Some(entry) = self.zones.get_mut(&directory) {
                    entry.shown.insert(id.clone(), theirs);
                }
                self.settle(&directory, now);
                self.count_receipts(&directory, now);
            }
        }
    }

    /// A peer answered something.
    pub(super) fn peer_answered(&mut self, id: &PeerId, now: Now) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.failures = 0;
        peer.heard = true;
        peer.suspected = None;
        if let Some(since) = peer.lost_since.take() {
            let after = now.mono.saturating_sub(since);
            self.happened(Happening::PeerBack {
                peer: id.clone(),
                after,
            });
            self.tell_now(&id.clone(), now);
        }
    }

    /// A peer could not be reached.
    pub(super) fn peer_failed(&mut self, id: &PeerId, message: &str, now: Now) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.failures == 0 {
            // What another site has seen is the first of two.
            let before = peer.suspected.take();
            peer.failures = u32::from(before.is_some());
            peer.first_failure = before.unwrap_or(now.mono);
        }
        peer.failures += 1;
        peer.why = message.to_owned();
        // One failure is a lost packet or a restart; several, some time apart, are worth a line.
        let apart = now.mono.saturating_sub(peer.first_failure) >= self.settings.pace.floor;
        if peer.failures >= 2 && apart && peer.lost_since.is_none() {
            peer.lost_since = Some(peer.first_failure);
            self.happened(Happening::PeerLost {
                peer: id.clone(),
                message: message.to_owned(),
            });
            self.leave_lost(id, message, now);
        }
    }

    /// The peers that answer, but have made no progress for this long.
    pub fn stuck(&self) -> impl Iterator<Item = (&PeerId, Duration)> {
        let answering = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.lost_since.is_none());
        answering
            .filter(|(_, peer)| !peer.stuck.is_zero())
            .map(|(id, peer)| (id, peer.stuck))
    }

    /// The sites that answer, if every one of them refuses probes: this site is no member of the mesh any longer.
    pub fn refused_by_all(&self) -> Option<Vec<&PeerId>> {
        let sites = self.peers.iter();
        let mut answering =
            sites.filter(|(id, peer)| matches!(id, PeerId::Site(_)) && peer.lost_since.is_none());
        let all = answering.try_fold(Vec::new(), |mut all, (id, peer)| {
            all.push(id);
            peer.refuses.then_some(all)
        })?;
        (!all.is_empty()).then_some(all)
    }

    /// Why a peer is lost, if it is.
    pub fn lost(&self, id: &PeerId) -> Option<(Duration, &str)> {
        let peer = self.peers.get(id)?;
        Some((peer.lost_since?, peer.why.as_str()))
    }
}
