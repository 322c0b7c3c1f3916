//! Who writes directory and catalog, over the control socket: promote, roles.

use std::time::Duration;

use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::core::{self, Core, Input, PeerId, Reply, Seen};
use zonemesh_zone::directory::{self, Directory, Role, SiteName};
use zonemesh_zone::{Name, Rcode};

use super::Control;
use super::convert::refusal;
use crate::site::clock::timestamp;

impl Control {
    /// Makes a site the writer, or says what that would be.
    pub(super) async fn promote(&self, request: api::Promote) -> Result<api::Promotion, ApiError> {
        let name = request.site.as_deref().unwrap_or(&self.live.name);
        let to = SiteName::new(name).map_err(|error| ApiError::invalid(error.to_string()))?;
        let Some((directory, catalog)) = self.live.mesh.clone() else {
            return Err(ApiError::refused("this server belongs to no mesh"));
        };
        let (apex, site) = (directory.clone(), to.clone());
        let asked = self.ask_other_side(&to, &directory).await?;
        let seen = asked.as_ref().map(|(_, seen)| seen.clone());
        let (promotion, mut answer) = self
            .live
            .core
            .look(move |core, _| {
                let seen = asked.as_ref().map(|(_, seen)| seen);
                let promotion = core.promotion(&site, seen)?;
                let answer = told(core, &promotion, asked.as_ref(), &directory, &catalog);
                Ok((promotion, answer))
            })
            .await
            .map_err(super::stopped)?
            .map_err(|why: String| ApiError::refused(why).hint(
                "`zonemesh site list` shows the roles; docs/guide/promotion.md says who is promoted where",
            ))?;
        if request.dry_run {
            return Ok(answer);
        }
        if !promotion.objections.is_empty() && !request.force {
            return Err(ApiError::refused(promotion.objections.join("; ")).hint(
                "`--dry-run` shows what would happen; `--force` does it all the same: two sites that write at once are found when they see \
                 each other, and one yields",
            ));
        }
        let reply = self
            .live
            .core
            .request(move |_, request_id| {
                Ok(Input::Promote {
                    request: request_id,
                    to,
                    seen,
                    force: request.force,
                })
            })
            .await
            .map_err(super::stopped)?;
        answer.done = Some(self.done(&apex, reply, request.wait).await?);
        Ok(answer)
    }

    /// Asks the other side of a promotion whether it is there: the site that is handed over to, or the writer whose place is taken. What
    /// probes have found may be some seconds old. One answer that does not come may be a restart; two are an answer. None where
    /// nobody has to be asked.
    async fn ask_other_side(&self, to: &SiteName, directory: &Name) -> Result<Asked, ApiError> {
        let site = to.clone();
        let whom = self.live.core.look(move |core, _| {
            // Why it cannot be done at all is said later.
            let promotion = core.promotion(&site, None).ok()?;
            match promotion.planned {
                _ if promotion.done => None,
                true => Some(promotion.to),
                false => promotion.from,
            }
        });
        let whom = whom.await.map_err(super::stopped)?;
        let Some(whom) = whom.filter(|whom| whom.as_str() != self.live.name) else {
            return Ok(None);
        };
        let peer = PeerId::Site(whom.clone());
        self.live.pool.wake(&peer);
        let mut probed = self.live.pool.probe(&peer, directory).await;
        if probed.as_ref().is_err_and(|failure| failure.unreachable) {
            tokio::time::sleep(AGAIN).await;
            self.live.pool.wake(&peer);
            probed = self.live.pool.probe(&peer, directory).await;
        }
        // Whoever refuses is there.
        let seen = match probed {
            Err(failure) if failure.unreachable => Err(failure.message),
            _ => Ok(()),
        };
        Ok(Some((whom, seen)))
    }

    /// Gives a site the role of a catalog secondary, or takes it.
    pub(super) async fn change_role(
        &self,
        request: api::SetRole,
    ) -> Result<api::Changed, ApiError> {
        let name =
            SiteName::new(&request.site).map_err(|error| ApiError::invalid(error.to_string()))?;
        let Some((apex, _)) = self.live.mesh.clone() else {
            return Err(ApiError::refused("this server belongs to no mesh"));
        };
        let role = match request.role {
            api::InvitedRole::Standard => Role::Standard,
            api::InvitedRole::CatalogSecondary => Role::CatalogSecondary,
        };
        let directory = apex.clone();
        let reply = self
            .live
            .core
            .request(move |core, request| {
                let refuse = |reason: String| Reply::Refused {
                    rcode: Rcode::REFUSED,
                    reason,
                };
                if !core.is_catalog_primary() {
                    let at = core
                        .catalog_primary()
                        .map_or("not known here".to_owned(), |site| site.name.to_string());
                    return Err(refuse(format!(
                        "roles are given at the catalog primary; that is {at}"
                    )));
                }
                let head = core
                    .head(&directory)
                    .ok_or_else(|| refuse("the directory is not held yet".to_owned()))?;
                let read = Directory::read(head);
                let site = read
                    .sites
                    .get(&name)
                    .ok_or_else(|| refuse(format!("{name} is not a site of this mesh")))?;
                if site.role == Role::CatalogPrimary {
                    return Err(refuse(format!(
                        "{name} is the catalog primary; it hands that over with `zonemesh site promote SITE` and is a catalog secondary then"
                    )));
                }
                let mut editor = head.edit();
                if site.role != role {
                    directory::set_role(&mut editor, &name, role)
                        .map_err(|error| refuse(error.to_string()))?;
                }
                let edited = editor.finish().map_err(|error| refuse(error.to_string()))?;
                Ok(Input::Directory {
                    request,
                    edited,
                    also: Vec::new(),
                })
            })
            .await
            .map_err(super::stopped)?;
        match reply {
            Reply::Refused { rcode, reason } => Err(refusal(rcode, reason)),
            reply => self.done(&apex, reply, request.wait).await,
        }
    }
}

/// Who was asked whether it is there, and what came of it.
type Asked = Option<(SiteName, Seen)>;

/// After how long a site that has not answered is asked once more.
const AGAIN: Duration = Duration::from_secs(1);

/// What an operator is told of a promotion before it is done.
fn told(
    core: &Core,
    promotion: &core::Promotion,
    asked: Option<&(SiteName, Seen)>,
    directory: &Name,
    catalog: &Name,
) -> api::Promotion {
    let serial = |apex| core.head(apex).map(|zone| zone.serial().into_int());
    let view = core.zone(directory);
    let secondary = view.as_ref().is_some_and(|view| !view.spec.primary);
    let confirmed = view
        .and_then(|view| view.last_refresh)
        .filter(|_| secondary);
    let sites = core.peers().filter_map(|(id, _)| match id {
        PeerId::Site(name) => {
            let now = asked.filter(|(asked, _)| asked == name);
            let lost = now.map_or(core.lost(id).is_some(), |(_, seen)| seen.is_err());
            Some((name.to_string(), lost))
        }
        PeerId::Foreign(_) => None,
    });
    let (silent, answering): (Vec<_>, Vec<_>) = sites.partition(|(_, lost)| *lost);
    let names = |sites: Vec<(String, bool)>| sites.into_iter().map(|(name, _)| name).collect();
    let mut unknown = Vec::new();
    if secondary && !promotion.done {
        if let Some(from) = &promotion.from {
            unknown.push(format!(
                "whether {from} has published anything since this site last heard of it, or still does where this site does not see it: \
                 what it has written is shown there when it is back, and can be made again"
            ));
        }
        unknown.push(
            "welcome packets that were made at the old writer and not used are good for nothing here: make new ones".to_owned(),
        );
    }
    api::Promotion {
        site: promotion.to.to_string(),
        from: promotion.from.as_ref().map(ToString::to_string),
        epoch: promotion.epoch,
        planned: promotion.planned,
        directory_serial: serial(directory),
        catalog_serial: serial(catalog),
        confirmed: confirmed.map(timestamp),
        answering: names(answering),
        silent: names(silent),
        objections: promotion.objections.clone(),
        unknown,
        done: None,
    }
}
