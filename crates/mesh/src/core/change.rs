//! Changes that are made at this site: a new version of a zone that it is primary of.

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::diff::JUMP;
use zonemesh_zone::{Name, Rcode, Serial, SerialExt, Zone};

use super::{Answer, Change, Core, Happening, NewVersion, Now, Output, PeerId, Reply, RequestId};

impl Core {
    /// Makes a change to a zone that need not wait for anything.
    pub(super) fn make_change(&mut self, request: RequestId, change: Change) {
        match self.changed_zone(&change) {
            Err((rcode, reason)) => self.reply(Some(request), Reply::Refused { rcode, reason }),
            Ok(None) => self.unchanged(Some(request), change.apex()),
            Ok(Some(version)) => {
                let answer = Answer {
                    request,
                    serial: version.zone.serial(),
                    changed: true,
                };
                if planted(Bug::AnswerBeforeCommit) {
                    let Answer {
                        serial, changed, ..
                    } = answer;
                    self.reply(Some(request), Reply::Done { serial, changed });
                    return self.commit(vec![version], Vec::new(), None);
                }
                self.commit(vec![version], Vec::new(), Some(answer));
            }
        }
    }

    /// Answers a request that changes nothing: at once when what it wants is durable, else together with the commit that
    /// makes it so.
    pub(super) fn unchanged(&mut self, request: Option<RequestId>, apex: &Name) {
        let Some(request) = request else { return };
        let head = self.zones.get(apex).and_then(|entry| entry.head.as_ref());
        let answer = Answer {
            request,
            serial: head.map_or(Serial(0), Zone::serial),
            changed: false,
        };
        let pending = self.commits.values_mut().rev().find(|pending| {
            pending.doomed.is_none() && pending.zones.iter().any(|new| new.zone.apex() == apex)
        });
        match pending {
            Some(pending) => pending.answers.push(answer),
            None => self.reply(
                Some(request),
                Reply::Done {
                    serial: answer.serial,
                    changed: false,
                },
            ),
        }
    }

    /// The version that a change makes; none when nothing but the serial would differ.
    pub fn changed_zone(&self, change: &Change) -> Result<Option<NewVersion>, (Rcode, String)> {
        let apex = change.apex();
        let entry = self
            .zones
            .get(apex)
            .ok_or_else(|| (Rcode::NOTAUTH, format!("{apex} is not a zone of this site")))?;
        if !entry.spec.primary {
            let primary = entry.spec.primary_source();
            let at = primary.map_or("another server".to_owned(), PeerId::to_string);
            let away = match primary.and_then(|primary| self.lost(primary)) {
                Some(_) => ", which does not answer: its zones take no changes until it is back",
                None => "",
            };
            return Err((
                Rcode::NOTAUTH,
                format!("this site is not the primary of {apex}; make the change at {at}{away}"),
            ));
        }
        let bad = |error: zonemesh_zone::ZoneError| (Rcode::REFUSED, error.to_string());
        let edited = match change {
            Change::Replace(zone) | Change::Edited(zone) => zone.clone(),
            Change::Put(_, rrsets) => {
                let mut editor = self.head_of(apex)?.edit();
                for (owner, rrset) in rrsets {
                    editor.put(owner, rrset.clone()).map_err(bad)?;
                }
                editor.finish().map_err(bad)?
            }
            Change::Delete(_, rrsets) => {
                let mut editor = self.head_of(apex)?.edit();
                for (owner, rtype) in rrsets {
                    if planted(Bug::DeletionForgotten) {
                        continue;
                    }
                    match rtype {
                        Some(rtype) => editor.remove_rrset(owner, *rtype),
                        None => editor.remove_name(owner),
                    };
                }
                editor.finish().map_err(bad)?
            }
        };
        if let (Some(mesh), Some(head)) = (&self.mesh, &entry.head) {
            mesh.keeps_epoch(head, &edited)
                .map_err(|why| (Rcode::REFUSED, why))?;
        }
        self.next_version(&edited).map_err(bad)
    }

    /// Gives contents the serial that they must have, and the difference from the head.
    pub(super) fn next_version(
        &self,
        edited: &Zone,
    ) -> Result<Option<NewVersion>, zonemesh_zone::ZoneError> {
        let Some(entry) = self.zones.get(edited.apex()) else {
            return Ok(None);
        };
        let Some(head) = &entry.head else {
            // The first version: its own serial if that is great enough.
            let serial = match entry.floor() {
                Some(floor) if !edited.serial().is_after(floor) => floor.next(),
                _ => edited.serial(),
            };
            return Ok(Some(NewVersion::made(
                with_serial(edited, serial)?,
                Vec::new(),
            )));
        };
        let same_soa = with_serial(edited, head.serial())?;
        let floor = match planted(Bug::SerialReused) {
            true => edited.serial(),
            false => entry.floor().unwrap_or(head.serial()),
        };
        // A file that differs by a greater serial alone is a new version: its author said so.
        if same_soa.same_contents(head) && !edited.serial().is_after(floor) {
            return Ok(None);
        }
        // A serial that somebody chose is kept when it is great enough: people read meaning into them.
        let chosen = edited.serial();
        let serial = if chosen.is_after(floor) && chosen.is_after(head.serial()) {
            chosen
        } else {
            self.next_serial(edited.apex(), floor)
        };
        let serial = serial.add(self.beyond(edited.apex()));
        let zone = with_serial(edited, serial)?;
        let base = entry.served.as_ref();
        let base = base.filter(|_| planted(Bug::DifferenceFromWrongVersion));
        let diff = base.unwrap_or(head).diff(&zone);
        // Made from the head, the new version shares with it what did not change, also when `edited` was read from a file.
        let zone = head.apply(&diff).unwrap_or(zone);
        Ok(Some(NewVersion::made(zone, vec![diff])))
    }

    /// The serial after this one, as the zone's policy has it.
    fn next_serial(&self, apex: &Name, floor: Serial) -> Serial {
        let policy = self.settings.serials.get(apex).copied();
        // By a clock that is in doubt it is only counted.
        let policy = policy.filter(|_| self.clock_doubt(self.now).is_none());
        let entry = self.zones.get(apex);
        let all_follow = |serial: Serial| {
            let mut holders = entry.iter().flat_map(|entry| entry.spec.notify.iter());
            holders.all(|peer| {
                let shown = entry.and_then(|entry| entry.shown.get(peer));
                shown.is_some_and(|shown| serial.is_after(*shown))
            })
        };
        policy
            .unwrap_or_default()
            .next(floor, self.now.wall, all_follow)
    }

    /// A peer has a greater serial than we, who are the primary: go above it, or nobody will take our changes.
    pub(super) fn peer_ahead(
        &mut self,
        apex: &Name,
        peer: PeerId,
        theirs: Serial,
        ours: Serial,
        _now: Now,
    ) {
        self.tell_ahead(apex, peer.clone(), theirs, ours);
        self.go_above_peer(apex, &peer, theirs);
    }

    /// Tells that a peer is ahead, and has the store go by what it has from now on, whatever becomes of the version that follows, and
    /// of the peer.
    pub(super) fn tell_ahead(&mut self, apex: &Name, peer: PeerId, theirs: Serial, ours: Serial) {
        self.happened(Happening::PeerAhead {
            apex: apex.clone(),
            peer,
            theirs,
            ours,
        });
        self.out.push(Output::HighWater {
            apex: apex.clone(),
            serial: theirs,
        });
        if let Some(entry) = self.zones.get_mut(apex) {
            entry.see(theirs);
        }
    }

    /// Publishes what is held above what a peer has.
    pub(super) fn go_above_peer(&mut self, apex: &Name, peer: &PeerId, theirs: Serial) {
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let Some(head) = entry.head.clone() else {
            return;
        };
        let floor = entry.floor().unwrap_or(theirs);
        let serial = match peer {
            // Another one may be ahead by a little more, and must not hold the same serial with something else.
            PeerId::Foreign(_) => floor.add(JUMP),
            PeerId::Site(_) => floor.next(),
        };
        match with_serial(&head, serial) {
            Ok(zone) => {
                let diffs = vec![head.diff(&zone)];
                self.commit(vec![NewVersion::made(zone, diffs)], Vec::new(), None);
            }
            Err(error) => self.happened(Happening::Blocked(format!("{apex}: {error}"))),
        }
    }

    pub(super) fn head_of(&self, apex: &Name) -> Result<&Zone, (Rcode, String)> {
        self.zones
            .get(apex)
            .and_then(|entry| entry.head.as_ref())
            .ok_or_else(|| (Rcode::SERVFAIL, format!("nothing is held of {apex} yet")))
    }
}

/// The same contents with another serial.
pub(super) fn with_serial(zone: &Zone, serial: Serial) -> Result<Zone, zonemesh_zone::ZoneError> {
    if zone.serial() == serial {
        return Ok(zone.clone());
    }
    let mut editor = zone.edit();
    editor.set_serial(serial);
    editor.finish()
}
