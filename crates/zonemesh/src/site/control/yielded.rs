//! What was set aside for another writer, over the control socket: list, make again, throw away.

use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core::{Change, Fate, PeerId, Yield, Yielded};
use zonemesh_transfer::query;
use zonemesh_update::{Everything, apply};
use zonemesh_zone::Zone;

use super::Control;
use super::convert::{name_text, zone_name};
use crate::site::clock::timestamp;
use crate::site::pool::chain;
use crate::site::{membership, yielded};

/// How long the primary of a zone may take to answer an update.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Control {
    /// All that is kept, oldest first, with what would become of each change now.
    pub(super) async fn list_yielded(&self) -> Result<Vec<api::Yielded>, ApiError> {
        let mut all = Vec::new();
        for (id, kept) in self.kept().await? {
            let head = self.head_of(&kept).await?;
            all.push(shown(&id, &kept, head.as_ref())?);
        }
        all.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        Ok(all)
    }

    async fn kept(&self) -> Result<Vec<(String, Yielded)>, ApiError> {
        yielded::kept(&self.live).await.map_err(internal)
    }

    async fn head_of(&self, kept: &Yielded) -> Result<Option<Zone>, ApiError> {
        yielded::head(&self.live, kept).await.map_err(internal)
    }

    /// Throws away what is called so.
    pub(super) async fn discard_yielded(
        &self,
        request: api::Discard,
    ) -> Result<Vec<api::Yielded>, ApiError> {
        if !self.kept().await?.iter().any(|(id, _)| *id == request.id) {
            return Err(unknown(&request.id));
        }
        self.forget_yielded(request.id).await?;
        self.list_yielded().await
    }

    async fn forget_yielded(&self, id: String) -> Result<(), ApiError> {
        yielded::forget(&self.live, id).await.map_err(internal)
    }

    /// Makes changes again that were set aside, at this site or at the zone's primary.
    pub(super) async fn replay_yielded(
        &self,
        request: api::Replay,
    ) -> Result<api::Replayed, ApiError> {
        let (id, kept) = match (request.id, request.kept) {
            (Some(id), None) => {
                let kept = self.kept().await?.into_iter().find(|(have, _)| *have == id);
                kept.ok_or_else(|| unknown(&id))?
            }
            (None, Some(kept)) => (kept.id.clone(), read(kept)?),
            _ => return Err(ApiError::invalid("expected an id, or what was set aside")),
        };
        let head = self.head_of(&kept).await?.ok_or_else(|| {
            ApiError::not_found(format!("{} is not a zone of this site", kept.zone))
        })?;
        let mut replayed = api::Replayed {
            kept: shown(&id, &kept, Some(&head))?,
            ..api::Replayed::default()
        };
        let update = kept
            .replay(&head, request.force)
            .map_err(ApiError::invalid)?;
        if let (Some(_), false) = (&update, request.dry_run) {
            let done = self.make_again(&kept, &id, request.force, request.wait);
            replayed.done = Some(done.await?);
        }
        if request.dry_run {
            return Ok(replayed);
        }
        let conflicts = replayed.kept.count(api::YieldedState::Conflict);
        replayed.settled = conflicts == 0 || request.force;
        let here = self.kept().await?.iter().any(|(have, _)| *have == id);
        if replayed.settled && here {
            self.forget_yielded(id).await?;
        }
        Ok(replayed)
    }

    async fn make_again(
        &self,
        kept: &Yielded,
        id: &str,
        force: bool,
        wait: api::Wait,
    ) -> Result<api::Changed, ApiError> {
        let apex = kept.zone.clone();
        let mesh = self.live.mesh.clone();
        if mesh.as_ref().is_some_and(|(_, catalog)| *catalog == apex) {
            return Err(ApiError::refused(
                "the catalog follows from the directory, and groups from the configuration of each site",
            )
            .hint("make again what was set aside of the directory; set groups in `[[zone]]`; then discard this"));
        }
        let name = apex.clone();
        let primary = self.live.core.look(move |core, _| {
            let view = core.zone(&name)?;
            let at = match view.spec.primary {
                true => None,
                false => view.spec.primary_source().cloned(),
            };
            Some((view.spec.primary, at))
        });
        let Some((here, at)) = primary.await.map_err(super::stopped)? else {
            return Err(ApiError::not_found(format!(
                "{apex} is not a zone of this site"
            )));
        };
        let is_directory = mesh.is_some_and(|(directory, _)| directory == apex);
        if here && !is_directory {
            // Of the version that is the newest when its turn comes.
            let kept = kept.clone();
            let make = move |head: Option<&Zone>| {
                let nothing = || ApiError::unavailable("nothing is held of the zone yet");
                let head = head.ok_or_else(nothing)?;
                let update = kept.replay(head, force).map_err(ApiError::invalid)?;
                let edited = update
                    .map(|update| apply(head, &update, &Everything))
                    .transpose();
                let edited = edited.map_err(|refusal| ApiError::refused(refusal.to_string()))?;
                Ok(Change::Edited(
                    edited.map_or_else(|| head.clone(), |applied| applied.zone),
                ))
            };
            return self.change(&apex, make, false, wait).await;
        }
        let head = self.head_of(kept).await?;
        let update = head.as_ref().map(|head| kept.replay(head, force));
        let Some(update) = update.transpose().map_err(ApiError::invalid)?.flatten() else {
            return Ok(api::Changed::default());
        };
        let carry = format!(
            "an operator there can: `zonemesh site yielded show {id} --json` here, and there `zonemesh site yielded replay -` with that as input"
        );
        let serial = match is_directory {
            true => membership::change_directory(&self.live, update)
                .await
                .map_err(|error| error.hint(carry))?,
            false => {
                let at =
                    at.ok_or_else(|| ApiError::unavailable("no primary of the zone is known"))?;
                self.send_update(&at, &update, &carry).await?;
                None
            }
        };
        Ok(api::Changed {
            zone: name_text(&apex),
            serial: serial.map(zonemesh_zone::Serial::into_int),
            changed: true,
            receipt: match serial {
                Some(serial) => self.wait_for(&apex, serial, wait).await?,
                None => None,
            },
            ..api::Changed::default()
        })
    }

    async fn send_update(
        &self,
        at: &PeerId,
        update: &zonemesh_update::Update,
        carry: &str,
    ) -> Result<(), ApiError> {
        let message = update
            .compose(0)
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        let reply = self.live.pool.update(at, &message, PATIENCE).await;
        let reply = reply.map_err(|unanswered| {
            let kind = match unanswered.may_be_done {
                true => ErrorKind::Timeout,
                false => ErrorKind::Unavailable,
            };
            ApiError::new(
                kind,
                format!("{at} has not answered: {}", unanswered.message),
            )
        })?;
        query::parse_acknowledgement(&reply).map_err(|error| {
            ApiError::refused(format!("{at} refused: {}", chain(&error))).hint(carry)
        })
    }
}

fn internal(error: anyhow::Error) -> ApiError {
    ApiError::internal(chain(error.as_ref()))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("nothing was set aside here as `{id}`"))
        .hint("`zonemesh site yielded list` shows what is")
}

/// What was set aside, as the API shows it, with what would become of each change in a version of the zone.
fn shown(id: &str, kept: &Yielded, head: Option<&Zone>) -> Result<api::Yielded, ApiError> {
    let fates = head.map(|head| kept.fates(head)).transpose();
    let fates = fates.map_err(ApiError::internal)?;
    let state = |index: usize| match fates.as_ref().and_then(|fates| fates.get(index)) {
        Some(Fate::There) => api::YieldedState::InPlace,
        Some(Fate::Conflicts) => api::YieldedState::Conflict,
        Some(Fate::Fits) | None => api::YieldedState::Open,
    };
    let change = |(index, change): (usize, &Yield)| {
        let state = state(index);
        let now = match (state, head) {
            (api::YieldedState::Conflict, Some(head)) => Yielded::now(change, head),
            _ => Ok(Vec::new()),
        };
        Ok(api::YieldedChange {
            name: name_text(&change.owner),
            rtype: change.rtype.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            state,
            now: now.map_err(ApiError::internal)?,
        })
    };
    let changes: Result<_, ApiError> = kept.changes.iter().enumerate().map(change).collect();
    Ok(api::Yielded {
        id: id.to_owned(),
        zone: name_text(&kept.zone),
        at: timestamp(kept.at),
        reason: kept.why.clone(),
        common: kept.common,
        mine: kept.mine,
        theirs: kept.theirs,
        changes: changes?,
        tombstones: kept.tombstones.clone(),
    })
}

/// What was set aside elsewhere, as that site showed it.
fn read(kept: api::Yielded) -> Result<Yielded, ApiError> {
    let changes = kept.changes.into_iter().map(|change| {
        Ok(Yield {
            owner: zone_name(&change.name)?,
            rtype: change.rtype,
            before: change.before,
            after: change.after,
        })
    });
    Ok(Yielded {
        version: 1,
        zone: zone_name(&kept.zone)?,
        at: kept.at.as_second(),
        why: kept.reason,
        common: kept.common,
        mine: kept.mine,
        theirs: kept.theirs,
        changes: changes.collect::<Result<_, ApiError>>()?,
        tombstones: kept.tombstones,
    })
}
