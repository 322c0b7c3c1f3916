//! From a version that was decided to one that is durable, and is served only then.

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::{Name, Rcode, Zone};

use super::Round;
use super::refresh::LAST_CHANCE;
use crate::core::{
    Answer, CommitId, Core, DOUBTS, Happening, NewVersion, Now, Output, PendingCommit, Reply,
    doubts_key,
};

/// # Commits
impl Core {
    /// Asks for versions to be made durable; they become the heads of their zones.
    pub(in crate::core) fn commit(
        &mut self,
        mut versions: Vec<NewVersion>,
        mut also: Vec<(String, String, Vec<u8>)>,
        answer: Option<Answer>,
    ) {
        let commit = self.next_commit;
        self.next_commit += 1;
        let by = answer
            .and_then(|answer| self.authors.get(&answer.request))
            .cloned();
        for version in &mut versions {
            version.by = by.clone().filter(|_| version.from.is_none());
            if let Some(entry) = self.zones.get_mut(version.zone.apex()) {
                let base = entry.head.replace(version.zone.clone());
                version.base = base.filter(|_| !version.forced);
                entry.commits += 1;
                let doubt = entry.doubt.as_mut().filter(|_| version.from.is_none());
                if let Some(doubt) = doubt {
                    // A restart must not take for confirmed what was published over.
                    let value = doubt.publishes(&version.zone);
                    also.push((DOUBTS.to_owned(), doubts_key(version.zone.apex()), value));
                }
                self.note_stuck(version.zone.apex());
            }
        }
        self.commits.insert(
            commit,
            PendingCommit {
                zones: versions.clone(),
                answers: answer.into_iter().collect(),
                doomed: None,
            },
        );
        self.out.push(Output::Commit {
            commit,
            versions,
            also,
        });
    }

    /// A commit ended: publish what is durable, or take back what is not.
    pub(in crate::core) fn committed(
        &mut self,
        commit: CommitId,
        result: Result<(), String>,
        now: Now,
    ) {
        let Some(pending) = self.commits.remove(&commit) else {
            return;
        };
        let apexes: Vec<Name> = pending
            .zones
            .iter()
            .map(|version| version.zone.apex().clone())
            .collect();
        for apex in &apexes {
            if let Some(entry) = self.zones.get_mut(apex) {
                // One that was taken out and put in again meanwhile knows of none.
                entry.commits = entry.commits.saturating_sub(1);
            }
        }
        let result = match planted(Bug::FailureTakenForSuccess) {
            true => Ok(()),
            false => result,
        };
        if let Err(message) = result {
            return self.not_committed(commit, pending, apexes, message, now);
        }
        for version in pending.zones {
            self.install(version, now);
        }
        for Answer {
            request,
            serial,
            changed,
        } in pending.answers
        {
            self.reply(Some(request), Reply::Done { serial, changed });
        }
        self.find_heads(&apexes);
        self.mesh_zones_changed(&apexes, now);
        self.catalog_zones_changed(&apexes, now);
    }

    /// Takes back what is not durable, and what was made of it.
    pub(super) fn not_committed(
        &mut self,
        commit: CommitId,
        pending: PendingCommit,
        mut apexes: Vec<Name>,
        message: String,
        now: Now,
    ) {
        let failed = apexes.clone();
        // The store had to refuse what was made of a version that it does not have; what ails it is why it has none.
        let message = pending.doomed.clone().unwrap_or(message);
        // A commit is whole or nothing: what was made from one of its versions fails with it, and so on.
        // Where it was known to fail, its own have been told by then, and nothing was made of it since.
        let later = self.commits.range_mut(commit..);
        let later = later.filter(|_| pending.doomed.is_none());
        for (_, later) in later {
            if later
                .zones
                .iter()
                .any(|version| apexes.contains(version.zone.apex()))
            {
                later.doomed = Some(message.clone());
                apexes.extend(
                    later
                        .zones
                        .iter()
                        .map(|version| version.zone.apex().clone()),
                );
            }
        }
        if !planted(Bug::HeadNotTakenBack) {
            self.find_heads(&apexes);
        }
        for version in pending.zones {
            let apex = version.zone.apex().clone();
            if planted(Bug::StopsOnFullDisk)
                && let Some(entry) = self.zones.get_mut(&apex)
            {
                entry.refresh.expired = true;
                self.publish(&apex, Vec::new());
            }
            if self.not_taken(&apex, version.zone.serial(), now) {
                continue;
            }
            match version.from {
                Some(from) => {
                    // The source has it: that it could not be stored says nothing about who holds the zone.
                    if let Some(entry) = self.zones.get_mut(&apex) {
                        entry.refresh.unsure += 1;
                    }
                    let why = format!("could not be stored: {message}");
                    self.try_next(&apex, from, Round::over(), why, now);
                }
                None => self.give_up_hosting(&apex),
            }
            self.schedule(&apex);
        }
        for answer in pending.answers {
            self.reply(
                Some(answer.request),
                Reply::Refused {
                    rcode: Rcode::SERVFAIL,
                    reason: message.clone(),
                },
            );
        }
        self.happened(Happening::CommitFailed {
            zones: failed,
            message,
        });
    }

    /// The newest version of each zone that may still become durable, or else what is served.
    pub(super) fn find_heads(&mut self, apexes: &[Name]) {
        for apex in apexes {
            let Some(entry) = self.zones.get_mut(apex) else {
                continue;
            };
            // Of a zone with nothing under way the commits of others need not be looked through: there are thousands when a site begins.
            let pending = self.commits.values().rev();
            let pending = pending.filter(|commit| commit.doomed.is_none());
            let newest = match entry.commits {
                0 => None,
                _ => pending
                    .flat_map(|commit| &commit.zones)
                    .find(|version| version.zone.apex() == apex),
            };
            entry.head = match newest {
                Some(version) => Some(version.zone.clone()),
                None => entry.served.clone(),
            };
            if let Some(doubt) = &mut entry.doubt {
                doubt.goes_back_to(entry.head.as_ref().map(Zone::serial));
            }
            self.note_stuck(apex);
        }
    }

    pub(super) fn install(&mut self, version: NewVersion, now: Now) {
        let apex = version.zone.apex().clone();
        let Some(entry) = self.zones.get_mut(&apex) else {
            return;
        };
        let serial = version.zone.serial();
        let before = entry.served.replace(version.zone).map(|zone| zone.serial());
        entry.see(serial);
        self.marks.remove(&apex);
        entry.refresh.fruitless = 0;
        entry.refresh.nobody_has = false;
        entry.published.set(now.mono);
        entry.unseen = entry.spec.mesh;
        entry.written = version.from.is_none();
        entry.adopted &= !entry.written;
        if version.from.is_some() && version.diffs.is_empty() {
            entry.refresh.whole = false;
        }
        let happening = match version.from {
            None => Happening::ZoneChanged {
                apex: apex.clone(),
                serial,
            },
            Some(from) => match before {
                Some(before) if before == serial => Happening::ContentsReplaced {
                    apex: apex.clone(),
                    from,
                    serial,
                },
                None => Happening::ZoneLearnt {
                    apex: apex.clone(),
                    serial,
                    from,
                },
                Some(from_serial) => Happening::ZoneTransferred {
                    apex: apex.clone(),
                    from_serial,
                    serial,
                    from,
                    incremental: !version.diffs.is_empty(),
                },
            },
        };
        // The times in the new SOA count from now on.
        let source = entry
            .refresh
            .last_source
            .clone()
            .filter(|_| !entry.spec.primary);
        match source {
            Some(from) => {
                let was_expired = entry.refresh.expired;
                // It may have been under way to the disk for longer than its source may serve it. A source that grants nothing at all is
                // another matter: it does not end what others may confirm.
                let told_until = entry.refresh.told_until;
                let over = told_until.is_some_and(|until| until <= now.mono);
                let expired = over && now.mono > entry.refresh.began + LAST_CHANCE;
                entry.refresh.expired = expired;
                entry.refresh.renewed = true;
                if expired {
                    // Its primary may have been back for long.
                    entry.refresh.again.get_or_insert(None);
                }
                self.publish(&apex, version.diffs);
                self.happened(happening);
                match (was_expired, expired) {
                    (true, false) => self.happened(Happening::Healed(apex.clone())),
                    (false, true) => self.happened(Happening::Expired(apex.clone())),
                    _ => {}
                }
                self.refreshed(&apex, from, now);
            }
            None => {
                self.publish(&apex, version.diffs);
                self.happened(happening);
            }
        }
        self.tell_all(&apex, now);
        self.hand_on(&apex, now);
        self.taken(&apex, serial, now);
        self.follows_another(&apex);
        self.count_receipts(&apex, now);
        self.schedule(&apex);
    }
}
