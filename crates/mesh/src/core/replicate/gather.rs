//! A primary that has lost its copy: it asks all others, several at once, and takes the freshest, and begins anew only with a zone
//! that nobody has.

use zonemesh_zone::{Name, Rcode, SerialExt, Zone};

use super::doubt::{Doubt, Taking};
use super::epochs::is_fresher;
use super::{Refresh, round::Round};
use crate::core::peers::Peer;
use crate::core::{Core, Failure, Got, NewVersion, Now, Output, PeerId};

/// How many are asked for one zone at once.
const AT_ONCE: usize = 16;
/// How many for all zones that are lacking, but one for each.
const ALTOGETHER: usize = 512;

impl Refresh {
    /// Whether a source is being asked.
    pub(super) fn is_asking(&self, peer: &PeerId) -> bool {
        let asks = |(asked, rest): &(PeerId, Round)| asked == peer || rest.beside.contains(peer);
        self.asking.as_ref().is_some_and(asks)
    }

    /// A source that was asked has answered, or will not: the others of its round, of which some may be under way.
    pub(super) fn answered(&mut self, peer: &PeerId) -> Option<Round> {
        if !self.is_asking(peer) {
            return None;
        }
        let (asked, mut rest) = self.asking.take()?;
        if asked != *peer {
            rest.beside.remove(peer);
            rest.beside.insert(asked);
        }
        Some(rest)
    }
}

/// # Having lost everything
impl Core {
    /// A primary that holds nothing asks all others, and takes the freshest.
    pub(super) fn gather(
        &mut self,
        apex: &Name,
        from: PeerId,
        rest: Round,
        result: Result<Got, Failure>,
        now: Now,
    ) {
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let message = match result {
            Err(failure) => failure.message,
            Ok(Got::UpToDate { serial }) => {
                entry.shown.insert(from.clone(), serial);
                String::new()
            }
            Ok(Got::Full(zone) | Got::Diffs(zone, _)) if zone.apex() == apex => {
                entry.shown.insert(from.clone(), zone.serial());
                let mesh = self.mesh.as_ref();
                let newer = |(_, best): &(PeerId, Zone)| is_fresher(mesh, &zone, best);
                if entry.refresh.best.as_deref().is_none_or(newer) {
                    entry.refresh.best = Some(Box::new((from.clone(), zone)));
                }
                String::new()
            }
            Ok(_) => "sent another zone than was asked for".to_owned(),
        };
        match message.is_empty() {
            true => drop(entry.refresh.errors.remove(&from)),
            false => entry.refresh.failed(from.clone(), message.clone(), now),
        }
        if self.gather_on(apex, rest) {
            return;
        }
        let Some(entry) = self.zones.get_mut(apex) else {
            return;
        };
        let best = entry.refresh.best.take().map(|best| *best);
        let Some((peer, zone)) = best else {
            self.end_round(apex, from, message, now);
            return self.settle(apex, now);
        };
        let floor = entry.floor().filter(|floor| floor.is_after(zone.serial()));
        let version = match floor {
            None => Ok(NewVersion {
                from: Some(peer.clone()),
                ..NewVersion::made(zone.clone(), Vec::new())
            }),
            Some(floor) => crate::core::change::with_serial(&zone, floor.next())
                .map(|zone| NewVersion::made(zone, Vec::new())),
        };
        let version = match version {
            Ok(version) => version,
            Err(error) => {
                self.end_round(apex, peer, error.to_string(), now);
                return;
            }
        };
        entry.refresh.failures = 0;
        let mut doubt = Doubt::new(Some(zone.clone()), now);
        doubt.taking = Some(Taking {
            serial: version.zone.serial(),
            before: None,
            approved: Vec::new(),
            zone,
            from: peer,
        });
        entry.doubt = Some(Box::new(doubt));
        self.commit(vec![version], Vec::new(), None);
    }

    /// Asks as many more as there may be under way; whether any is. The first is asked alone, because what it has the others are asked
    /// for the difference to; then two for each that has answered.
    fn gather_on(&mut self, apex: &Name, mut round: Round) -> bool {
        let most = (ALTOGETHER / self.stuck.len().max(1)).clamp(1, AT_ONCE);
        let peers = &self.peers;
        let lost = |peer: &PeerId| peers.get(peer).is_some_and(Peer::is_lost);
        let Some(entry) = self.zones.get_mut(apex) else {
            return false;
        };
        round.at_once = (round.at_once + 1).min(most);
        while round.beside.len() < round.at_once {
            let Some(from) = round.next(lost) else { break };
            round.beside.insert(from.clone());
            self.out.push(Output::Transfer {
                apex: apex.clone(),
                have: entry.have(&from),
                from,
            });
        }
        let Some(one) = round.beside.pop_first() else {
            entry.refresh.unsure += u32::from(round.passed_over());
            return false;
        };
        entry.refresh.asking = Some((one, round));
        true
    }

    /// Whether a primary that holds nothing may begin with contents of its own: nobody has any.
    pub(super) fn may_begin(&self, apex: &Name) -> bool {
        let (Some(mesh), Some(entry)) = (&self.mesh, self.zones.get(apex)) else {
            return true;
        };
        if !entry.spec.mesh {
            return true;
        }
        match mesh.lists_zone(apex) {
            None => false,
            Some(true) => entry.refresh.nobody_has,
            Some(false) => self.directory_is_current(),
        }
    }

    /// Whether the directory that is held is known to be the newest.
    pub(super) fn directory_is_current(&self) -> bool {
        let directory = self.mesh.as_ref().map(|mesh| &mesh.settings.directory);
        let entry = directory.and_then(|directory| self.zones.get(directory));
        entry.is_some_and(|entry| match entry.spec.primary {
            true => entry.head.is_some() && entry.doubt.is_none(),
            false => entry.refresh.asked,
        })
    }
}

/// Why contents of one's own are not taken yet, by whether the directory lists the zone.
pub(super) fn why_not_begun(apex: &Name, listed: Option<bool>) -> (Rcode, String) {
    let reason = match listed {
        None => format!(
            "the directory is not known here yet, so that it cannot be told whether other sites hold {apex}; has this site joined?"
        ),
        Some(_) => format!(
            "this site is the primary of {apex} and has lost its copy; it waits for every other site to say whether it has one"
        ),
    };
    (Rcode::SERVFAIL, reason)
}
