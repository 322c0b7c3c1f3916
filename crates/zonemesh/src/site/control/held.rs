//! Changes that an operator asked for and the brake holds: they are done as they were asked for when they are approved, and
//! thrown away when they are declined. Until then they are in the store, and a restart forgets none.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zonemesh_api::types as api;
use zonemesh_api::types::What;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::brake::{self, Approvals, Fingerprint};
use zonemesh_mesh::core::{Change, Verdict};
use zonemesh_store::{Batch, Store};
use zonemesh_zone::directory::SiteName;

use super::Control;
use super::convert::{name_text, zone_name};
use crate::site::pool::chain;

/// The table of the store in which they are kept, by the id that approves them.
const HELD: &str = "held-changes";

/// What waits for approval, by the id that approves it.
#[derive(Default)]
pub(super) struct HeldChanges {
    all: Mutex<BTreeMap<String, Waiting>>,
}

/// One of them.
#[derive(Clone, Serialize, Deserialize)]
struct Waiting {
    request: Request,
    held: api::Held,
}

/// A change as it was asked for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    RemoveSite(api::RemoveSite),
    Import {
        zone: String,
        text: String,
        file: Option<String>,
    },
}

impl HeldChanges {
    /// What was held before the start.
    pub(super) fn kept(store: &Store) -> Self {
        let stored = store.list(HELD).unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "what the brake holds cannot be read");
            Vec::new()
        });
        let read = stored
            .into_iter()
            .filter_map(|(id, value)| match serde_json::from_slice(&value) {
                Ok(waiting) => Some((id, waiting)),
                Err(error) => {
                    tracing::error!(id, %error, "a change that the brake holds cannot be read; ask for it again");
                    None
                }
            });
        Self {
            all: Mutex::new(read.collect()),
        }
    }

    /// All of them, as an operator sees them.
    pub(super) fn list(&self) -> Vec<api::Held> {
        let Ok(all) = self.all.lock() else {
            return Vec::new();
        };
        all.values().map(|waiting| waiting.held.clone()).collect()
    }

    fn get(&self, id: &str) -> Option<Waiting> {
        self.all.lock().ok()?.get(id).cloned()
    }

    fn put(&self, waiting: Waiting) {
        if let Ok(mut all) = self.all.lock() {
            all.insert(waiting.held.id.clone(), waiting);
        }
    }

    fn remove(&self, id: &str) {
        if let Ok(mut all) = self.all.lock() {
            all.remove(id);
        }
    }
}

impl Control {
    /// Changes what the store has of them.
    async fn keep_held(&self, change: impl FnOnce(Batch) -> Batch) -> Result<(), ApiError> {
        let store = self.live.store.clone();
        let batch = change(Batch::new(Timestamp::now()));
        super::blocking(move || {
            store
                .commit(batch)
                .map_err(|error| ApiError::internal(chain(&error)))
        })
        .await
    }

    /// Keeps a change and says that it is held.
    async fn hold(
        &self,
        zone: String,
        id: &Fingerprint,
        reason: String,
        removed: &[String],
        request: Request,
    ) -> Result<api::Changed, ApiError> {
        let held = api::Held {
            id: id.to_string(),
            reason,
            since: Some(Timestamp::now()),
            ..api::Held::default()
        };
        let held = held.removing(removed, brake::NAMED);
        let waiting = Waiting {
            request,
            held: held.clone(),
        };
        let value = serde_json::to_vec(&waiting)
            .map_err(|error| ApiError::internal(format!("cannot be kept: {error}")))?;
        self.keep_held(|batch| batch.put(HELD, &held.id, &value))
            .await?;
        self.held.put(waiting);
        self.live.tell(What::Held {
            id: held.id.clone(),
            reason: held.reason.clone(),
        });
        Ok(api::Changed {
            zone,
            changed: false,
            held: Some(held),
            ..api::Changed::default()
        })
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
            "removing {} would remove {} of {of} zones",
            request.site,
            names.len()
        );
        let id = Fingerprint::of(&format!("site {}", request.site), &names);
        let zone = self.live.mesh.as_ref().map(|(apex, _)| name_text(apex));
        let request = Request::RemoveSite(request);
        self.hold(zone.unwrap_or_default(), &id, reason, &names, request)
            .await
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
            stopped.removed.len(),
            stopped.of,
            stopped.zone
        );
        let id = id_of(&stopped, &request.text);
        let zone = name_text(&zone_name(&request.zone)?);
        let request = Request::Import {
            zone: request.zone,
            text: request.text,
            file: request.file,
        };
        self.hold(zone, &id, reason, &stopped.removed, request)
            .await
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

    /// Does what was held, or throws it away. None when nothing was held under this id.
    pub(super) async fn decide_held(
        &self,
        id: &str,
        verdict: Verdict,
    ) -> Option<Result<(), ApiError>> {
        let request = self.held.get(id)?.request;
        let done = match verdict {
            Verdict::Approve => self.do_held(id, request).await,
            Verdict::Decline => Ok(()),
        };
        // Only now: a site that is killed before has it still, and what was done already is no change.
        let forgotten = self.keep_held(|batch| batch.delete(HELD, id)).await;
        if forgotten.is_ok() {
            self.held.remove(id);
        }
        Some(done.and(forgotten))
    }

    async fn do_held(&self, id: &str, request: Request) -> Result<(), ApiError> {
        let done = match request {
            Request::RemoveSite(mut request) => {
                request.wait = api::Wait::default();
                self.remove_site_now(request).await
            }
            Request::Import { zone, text, file } => {
                let request = api::ImportZone {
                    zone,
                    text,
                    file,
                    ..api::ImportZone::default()
                };
                // Consent is for what was shown.
                match self.would_remove(&request).await {
                    Ok(Some(now)) if id_of(&now, &request.text).to_string() != id => {
                        Err(ApiError::new(
                            ErrorKind::Conflict,
                            "the zone has changed since, and something else would be removed",
                        ))
                    }
                    Ok(_) => self.import_now(request).await,
                    Err(error) => Err(error),
                }
            }
        };
        done.map(|_| ()).map_err(|error| {
            let kind = match error.kind {
                ErrorKind::Held => ErrorKind::Internal,
                kind => kind,
            };
            ApiError::new(kind, format!("what was approved cannot be done: {error}"))
                .hint("ask for it again")
        })
    }
}

/// By what an import is approved: what it removes, and all that it brings. Two that remove the same are not the same.
fn id_of(stopped: &brake::HeldChange, text: &str) -> Fingerprint {
    let contents = std::iter::once(text);
    let removed = stopped.removed.iter().map(String::as_str);
    Fingerprint::of(&stopped.zone, removed.chain(contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_approved_is_one_import_and_no_other_that_removes_the_same() {
        let stopped = |name: &str| brake::HeldChange {
            zone: "a.example.".to_owned(),
            removed: vec![format!("{name}.a.example A")],
            of: 3,
            fingerprint: Fingerprint("one".to_owned()),
        };
        let id = id_of(&stopped("b"), "c A 192.0.2.1");
        assert_eq!(id, id_of(&stopped("b"), "c A 192.0.2.1"));
        assert_ne!(id, id_of(&stopped("b"), "c A 192.0.2.2"));
        assert_ne!(id, id_of(&stopped("d"), "c A 192.0.2.1"));
    }
}
