//! Changes that an operator asked for and the brake holds: they are done as they were asked for when they are approved.
//!
//! They are kept in memory: what was not done before a restart is asked for again.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use zonemesh_api::types as api;
use zonemesh_api::types::What;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::brake::{self, Approvals, Fingerprint};
use zonemesh_mesh::core::Change;
use zonemesh_zone::directory::SiteName;

use super::Control;
use super::convert::{name_text, zone_name};

/// What waits for approval, by the id that approves it.
#[derive(Default)]
pub(super) struct HeldChanges {
    all: Mutex<BTreeMap<String, (Request, api::Held)>>,
}

/// A change as it was asked for.
pub(super) enum Request {
    RemoveSite(api::RemoveSite),
    Import(api::ImportZone),
}

impl HeldChanges {
    /// All of them, as an operator sees them.
    pub(super) fn list(&self) -> Vec<api::Held> {
        let Ok(all) = self.all.lock() else {
            return Vec::new();
        };
        all.values().map(|(_, held)| held.clone()).collect()
    }

    /// Takes one out, to be done now.
    pub(super) fn take(&self, id: &str) -> Option<Request> {
        let (request, _) = self.all.lock().ok()?.remove(id)?;
        Some(request)
    }

    fn put(&self, id: &Fingerprint, reason: String, request: Request) -> api::Held {
        let held = api::Held {
            id: id.to_string(),
            reason,
            since: Some(Timestamp::now()),
        };
        if let Ok(mut all) = self.all.lock() {
            all.insert(held.id.clone(), (request, held.clone()));
        }
        held
    }
}

impl Control {
    /// Keeps a change and says that it is held.
    fn hold(
        &self,
        zone: String,
        id: &Fingerprint,
        reason: String,
        request: Request,
    ) -> api::Changed {
        let held = self.held.put(id, reason, request);
        self.live.tell(What::Held {
            id: held.id.clone(),
            reason: held.reason.clone(),
        });
        api::Changed {
            zone,
            changed: false,
            held: Some(held),
            ..api::Changed::default()
        }
    }

    /// Removes a site, unless it would take too many zones along.
    pub(super) async fn remove_a_site(
        &self,
        request: api::RemoveSite,
    ) -> Result<api::Changed, ApiError> {
        if request.zones != Some(api::ZonesOfRemoved::Remove) {
            return self.remove_site_now(request).await;
        }
        let site =
            SiteName::new(&request.site).map_err(|error| ApiError::invalid(error.to_string()))?;
        let (zones, of) = self
            .live
            .core
            .look(move |core, _| {
                let primary = core.catalog_primary();
                if !core.is_catalog_primary() || primary.is_some_and(|primary| primary.name == site)
                {
                    // It is refused by who would do it, and need not be held before.
                    return (Default::default(), 0);
                }
                let zones = core
                    .directory()
                    .map(|directory| directory.zones_of(&site))
                    .unwrap_or_default();
                let of = core.catalog().map_or(0, |catalog| catalog.members.len());
                (zones, of)
            })
            .await
            .map_err(super::stopped)?;
        if !brake::too_many(zones.len(), of) {
            return self.remove_site_now(request).await;
        }
        let names: Vec<String> = zones.iter().map(name_text).collect();
        let reason = format!(
            "removing {} would remove {} of {of} zones: {}",
            request.site,
            names.len(),
            names.join(", ")
        );
        let id = Fingerprint::of(&format!("site {}", request.site), &names);
        let zone = self.live.mesh.as_ref().map(|(apex, _)| name_text(apex));
        let request = Request::RemoveSite(request);
        Ok(self.hold(zone.unwrap_or_default(), &id, reason, request))
    }

    /// Imports a zone, unless too much of it would go.
    pub(super) async fn import(&self, request: api::ImportZone) -> Result<api::Changed, ApiError> {
        if request.dry_run {
            return self.import_now(request).await;
        }
        let Some(stopped) = self.would_remove(&request).await? else {
            return self.import_now(request).await;
        };
        let reason = format!(
            "{} of {} RRsets of {} would be removed at once",
            stopped.removed, stopped.of, stopped.zone
        );
        let zone = name_text(&zone_name(&request.zone)?);
        let request = Request::Import(request);
        Ok(self.hold(zone, &stopped.fingerprint, reason, request))
    }

    /// What an import would remove, if that is too much to go on unasked.
    async fn would_remove(
        &self,
        request: &api::ImportZone,
    ) -> Result<Option<brake::HeldChange>, ApiError> {
        let (zone, _) = super::change::parse_import(request)?;
        self.live
            .core
            .look(move |core, _| {
                let head = core.head(zone.apex())?.clone();
                // Why it cannot be made is told by who makes it.
                let next = core.changed_zone(&Change::Replace(zone)).ok()??;
                brake::check_change(&head, &next.zone, &Approvals::default()).err()
            })
            .await
            .map_err(super::stopped)
    }

    /// Does what was held. None when nothing was held under this id.
    pub(super) async fn approve_held(&self, id: &str) -> Option<Result<(), ApiError>> {
        let done = match self.held.take(id)? {
            Request::RemoveSite(mut request) => {
                request.wait = api::Wait::default();
                self.remove_site_now(request).await
            }
            Request::Import(mut request) => {
                request.wait = api::Wait::default();
                // Consent is for what was shown.
                match self.would_remove(&request).await {
                    Ok(Some(now)) if now.fingerprint.to_string() != id => Err(ApiError::new(
                        ErrorKind::Conflict,
                        "the zone has changed since, and something else would be removed",
                    )),
                    Ok(_) => self.import_now(request).await,
                    Err(error) => Err(error),
                }
            }
        };
        Some(done.map(|_| ()).map_err(|error| {
            let kind = match error.kind {
                ErrorKind::Held => ErrorKind::Internal,
                kind => kind,
            };
            ApiError::new(kind, format!("what was approved cannot be done: {error}"))
                .hint("ask for it again")
        }))
    }
}
