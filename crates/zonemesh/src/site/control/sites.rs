//! Sites over the control socket: invite, remove.

use jiff::Timestamp;
use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core::{Input, PeerId, Reply};
use zonemesh_mesh::invite::{LIFETIME_SECS, Token};
use zonemesh_mesh::packet::{CatalogSite, Secret, Welcome};
use zonemesh_zone::Rcode;
use zonemesh_zone::directory::{self, Departure, Role, SiteName};

use super::Control;
use super::convert::{after, name_text, refusal};
use crate::site::membership::{self, INVITATIONS};
use crate::site::random;

impl Control {
    pub(super) async fn make_invitation(
        &self,
        request: api::Invite,
    ) -> Result<api::Invited, ApiError> {
        let site =
            SiteName::new(&request.site).map_err(|error| ApiError::invalid(error.to_string()))?;
        let Some((directory, catalog)) = self.live.mesh.clone() else {
            return Err(ApiError::refused("this server belongs to no mesh"));
        };
        let invited_site = site.clone();
        let (is_primary, primary, sites, away, answers) = self
            .live
            .core
            .look(move |core, _| {
                let answers = core.lost(&PeerId::Site(invited_site)).is_none();
                let sites = core
                    .directory()
                    .map(|directory| directory.sites.values().cloned().collect::<Vec<_>>());
                let away = membership::primary_is_away(core);
                (
                    core.is_catalog_primary(),
                    core.catalog_primary(),
                    sites,
                    away,
                    answers,
                )
            })
            .await
            .map_err(super::stopped)?;
        if !is_primary {
            let at = primary.map_or("not known here".to_owned(), |site| site.name.to_string());
            let refused = ApiError::refused(format!(
                "welcome packets are made at the catalog primary; that is {at}"
            ));
            return Err(match away {
                Some(away) => refused.hint(away),
                None => refused,
            });
        }
        let sites = sites.ok_or_else(|| ApiError::unavailable("the directory is not held yet"))?;
        let now = Timestamp::now().as_second();
        let valid = request.valid_secs.map_or(LIFETIME_SECS, |secs| {
            i64::try_from(secs).unwrap_or(i64::MAX / 2)
        });
        let expires = now.saturating_add(valid);
        let nonce = data_encoding::HEXLOWER.encode(&random::bytes::<6>());
        let key_name = zonemesh_zone::record::parse_name(&format!(
            "{site}-{nonce}.join.{}",
            directory.fmt_with_dot()
        ))
        .map_err(ApiError::invalid)?;
        let secret = Secret::new(random::bytes::<32>());
        let present = sites.iter().find(|have| have.name == site);
        let (role, invited) = role_of(&site, request.role, present.map(|have| have.role))?;
        let returns = present.is_some();
        let token = Token {
            site: site.clone(),
            role,
            replace: returns,
            key_name: key_name.clone(),
            key: secret.clone(),
            created: now,
            expires,
            used: None,
        };
        let key = membership::key_of(&key_name, &secret)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let stored =
            serde_json::to_vec(&token).map_err(|error| ApiError::internal(error.to_string()))?;
        let store = self.live.store.clone();
        let stored_as = membership::stored_as(&key_name);
        super::blocking(move || {
            let batch =
                zonemesh_store::Batch::new(Timestamp::now()).put(INVITATIONS, &stored_as, &stored);
            store
                .commit(batch)
                .map_err(|error| ApiError::internal(error.to_string()))
        })
        .await?;
        self.live.add_key(key);
        let mut sites = sites;
        sites.sort_by_key(|site| site.role != Role::CatalogPrimary);
        let catalog_sites = sites
            .into_iter()
            .filter(|site| site.role != Role::Standard)
            .filter(|site| site.dot.or(site.doq).is_some())
            .map(|site| CatalogSite {
                name: site.name,
                addresses: site.addresses,
                dot: site.dot,
                doq: site.doq,
                pins: site.pins,
            })
            .collect();
        let welcome = Welcome {
            site: site.clone(),
            directory,
            catalog,
            catalog_sites,
            trust_anchor: None,
            role,
            key_name,
            key: secret,
            expires,
        };
        Ok(api::Invited {
            site: site.to_string(),
            packet: welcome.encode(),
            expires: after(expires, 0),
            role: invited,
            returns,
            answers: returns && answers,
        })
    }

    pub(super) async fn remove_site_now(
        &self,
        request: api::RemoveSite,
    ) -> Result<api::Changed, ApiError> {
        let name =
            SiteName::new(&request.site).map_err(|error| ApiError::invalid(error.to_string()))?;
        let Some((apex, _)) = self.live.mesh.clone() else {
            return Err(ApiError::refused("this server belongs to no mesh"));
        };
        let departure = match &request.zones {
            None => None,
            Some(api::ZonesOfRemoved::Remove) => Some(Departure::Remove),
            Some(api::ZonesOfRemoved::Adopt(heir)) => Some(Departure::Adopt(
                SiteName::new(heir).map_err(|error| ApiError::invalid(error.to_string()))?,
            )),
        };
        let wall = Timestamp::now().as_second();
        let (tell, told) = std::sync::mpsc::channel::<Result<Vec<String>, ApiError>>();
        let directory = apex.clone();
        let reply = self
            .live
            .core
            .request(move |core, request| {
                let made = (|| {
                    if !core.is_catalog_primary() {
                        let at = core.catalog_primary().map_or("not known here".to_owned(), |site| site.name.to_string());
                        let refused = ApiError::refused(format!("sites are removed at the catalog primary; that is {at}"));
                        return Err(match membership::primary_is_away(core) {
                            Some(away) => refused.hint(away),
                            None => refused,
                        });
                    }
                    let head = core.head(&directory).ok_or_else(|| ApiError::unavailable("the directory is not held yet"))?;
                    let members: Vec<zonemesh_zone::Name> = core
                        .catalog()
                        .map(|catalog| catalog.members.keys().cloned().collect())
                        .unwrap_or_default();
                    let read = directory::Directory::read_with_legacy(head, &members);
                    let site = read.sites.get(&name).ok_or_else(|| {
                        ApiError::not_found(format!("{name} is not a site of this mesh")).hint("`zonemesh site list` shows those that are")
                    })?;
                    if site.role == Role::CatalogPrimary {
                        return Err(ApiError::refused(format!("{name} is the catalog primary; it cannot be removed while it is"))
                            .hint("promote another site first: `zonemesh site promote SITE`"));
                    }
                    let owned = read.zones_of(&name);
                    if departure.is_none() && !owned.is_empty() {
                        let zones: Vec<String> = owned.iter().map(name_text).collect();
                        return Err(ApiError::new(
                            ErrorKind::Invalid,
                            format!("{name} is the primary of {}; say what becomes of them", zones.join(", ")),
                        )
                        .hint("`--zones adopt:SITE` gives them to another site, `--zones remove` removes them"));
                    }
                    if let Some(Departure::Adopt(heir)) = &departure
                        && (heir == &name || !read.sites.contains_key(heir))
                    {
                        return Err(ApiError::invalid(format!("{heir} cannot adopt the zones: it is not another site of this mesh")));
                    }
                    let mut editor = head.edit();
                    let departure = departure.unwrap_or(Departure::Remove);
                    let zones = directory::remove_site(&mut editor, &read, &name, &departure, wall)
                        .map_err(|error| ApiError::internal(error.to_string()))?;
                    let edited = editor.finish().map_err(|error| ApiError::internal(error.to_string()))?;
                    let what = match &departure {
                        Departure::Adopt(heir) => format!(
                            "adopted by {heir}; what the configuration of {name} says of it (`dynamic`, `allow-update`, foreign servers) stays \
                             there: say it in a [[zone]] at {heir}"
                        ),
                        Departure::Remove => "removed, and kept for 30 days".to_owned(),
                    };
                    let mut notes: Vec<String> = zones.iter().map(|zone| format!("{} is {what}", name_text(zone))).collect();
                    if let Departure::Adopt(heir) = &departure {
                        let after = directory::Directory::read(&edited);
                        notes.extend(zones.iter().filter_map(|zone| {
                            let gone = super::versions::gone_servers(core.head(zone)?, &after);
                            let gone = (!gone.is_empty()).then(|| gone.join(", "))?;
                            Some(format!(
                                "the NS records of {} still name {gone}, which no longer resolves: change them at {heir}",
                                name_text(zone)
                            ))
                        }));
                    }
                    Ok((edited, notes))
                })();
                match made {
                    Ok((edited, notes)) => {
                        // The receiver outlives the request.
                        let _ = tell.send(Ok(notes));
                        Ok(Input::Directory { request, edited, also: Vec::new() })
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        Err(Reply::Refused { rcode: Rcode::REFUSED, reason: String::new() })
                    }
                }
            })
            .await
            .map_err(super::stopped)?;
        let notes = told.try_recv().unwrap_or(Ok(Vec::new()))?;
        let mut changed = match reply {
            Reply::Refused { rcode, reason } => return Err(refusal(rcode, reason)),
            reply => self.done(&apex, reply, request.wait).await?,
        };
        changed.notes = notes;
        Ok(changed)
    }
}

/// The role that a packet gives: the one asked for, else the one that the site has, so that coming back changes nothing.
fn role_of(
    site: &SiteName,
    asked: Option<api::InvitedRole>,
    present: Option<Role>,
) -> Result<(Role, api::InvitedRole), ApiError> {
    let role = match (asked, present) {
        (_, Some(Role::CatalogPrimary)) => {
            return Err(ApiError::refused(format!(
                "{site} is the catalog primary, which nobody can invite while it is"
            ))
            .hint("promote another site first: `zonemesh site promote SITE`"));
        }
        (Some(asked), _) => asked,
        (None, Some(Role::CatalogSecondary)) => api::InvitedRole::CatalogSecondary,
        (None, _) => api::InvitedRole::Standard,
    };
    Ok(match role {
        api::InvitedRole::Standard => (Role::Standard, role),
        api::InvitedRole::CatalogSecondary => (Role::CatalogSecondary, role),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_that_is_invited_again_keeps_its_role_unless_another_is_asked_for() {
        use api::InvitedRole::{CatalogSecondary, Standard};
        let site = SiteName::new("site-b").unwrap();
        let role = |asked, present| role_of(&site, asked, present).map(|(role, _)| role).ok();
        assert_eq!(role(None, None), Some(Role::Standard));
        assert_eq!(role(None, Some(Role::Standard)), Some(Role::Standard));
        let secondary = Some(Role::CatalogSecondary);
        assert_eq!(role(None, secondary), secondary);
        assert_eq!(role(Some(Standard), secondary), Some(Role::Standard));
        assert_eq!(role(Some(CatalogSecondary), None), secondary);
        assert_eq!(role(None, Some(Role::CatalogPrimary)), None);
    }
}
