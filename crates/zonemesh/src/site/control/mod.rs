//! What the control socket can ask of a running site.

mod change;
pub(crate) mod convert;
mod held;
mod plan;
mod records;
mod sites;
mod status;
mod versions;
mod writer;
mod yielded;
mod zones;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use zonemesh_api::site::{Reply, Site, TextStream};
use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core::Verdict;

use self::convert::zone_name;
use super::driver::Stopped;
use super::live::Live;
use super::metrics::Metrics;
use super::progress::STUCK;

/// How long removed zones are kept, in seconds.
pub(crate) const KEEP_REMOVED_SECS: i64 = 30 * 86_400;

/// A running site, as the control socket sees it.
pub(crate) struct Control {
    live: Arc<Live>,
    metrics: Metrics,
    /// Changes that wait for approval.
    held: held::HeldChanges,
    /// The last status, and when it was made: the time, and how many commands had been done then.
    last_status: tokio::sync::Mutex<Option<(Instant, u64, api::Status)>>,
    /// How many commands were done that may have changed what the status shows.
    commands: AtomicU64,
}

/// How long a status is good for: looking often must not cost the mesh more than looking.
const STATUS_AGE: Duration = Duration::from_secs(1);

impl Control {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        let metrics = Metrics::new(live.clone());
        Self {
            held: held::HeldChanges::kept(&live.store),
            live,
            metrics,
            last_status: tokio::sync::Mutex::new(None),
            commands: AtomicU64::new(0),
        }
    }
}

impl Site for Control {
    fn status(&self) -> Reply<'_, api::Status> {
        Box::pin(self.recent_status())
    }

    fn health(&self) -> api::Health {
        let answers = self
            .live
            .shared
            .ready
            .load(std::sync::atomic::Ordering::Acquire);
        let zones = self.live.shared.zones.load();
        let missing = zones.iter().filter(|served| served.zone.is_none());
        let mut reasons: Vec<String> = missing
            .map(|served| format!("{} is not held", convert::name_text(&served.apex)))
            .collect();
        // A server without a mesh answers for what it holds, but is not to be relied upon while anything is missing.
        let ready = answers && (self.live.mesh.is_some() || reasons.is_empty());
        if ready {
            reasons.clear();
        } else if reasons.is_empty() {
            reasons.push("directory and catalog are not known yet".to_owned());
        }
        api::Health { ready, reasons }
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn events(&self) -> broadcast::Receiver<api::Event> {
        self.live.watch()
    }

    fn sites(&self) -> Reply<'_, Vec<api::SiteStatus>> {
        Box::pin(async { Ok(self.recent_status().await?.sites) })
    }

    fn invite(&self, request: api::Invite) -> Reply<'_, api::Invited> {
        Box::pin(self.make_invitation(request))
    }

    fn remove_site(&self, request: api::RemoveSite) -> Reply<'_, api::Changed> {
        self.command(self.remove_a_site(request))
    }

    fn promote_site(&self, request: api::Promote) -> Reply<'_, api::Promotion> {
        self.command(self.promote(request))
    }

    fn set_role(&self, request: api::SetRole) -> Reply<'_, api::Changed> {
        self.command(self.change_role(request))
    }

    fn yielded(&self) -> Reply<'_, Vec<api::Yielded>> {
        Box::pin(self.list_yielded())
    }

    fn replay(&self, request: api::Replay) -> Reply<'_, api::Replayed> {
        self.command(self.replay_yielded(request))
    }

    fn discard(&self, request: api::Discard) -> Reply<'_, Vec<api::Yielded>> {
        self.command(self.discard_yielded(request))
    }

    fn zones(&self) -> Reply<'_, Vec<api::ZoneSummary>> {
        Box::pin(self.zone_summaries())
    }

    fn zone(&self, zone: String) -> Reply<'_, api::ZoneStatus> {
        Box::pin(async move {
            let apex = zone_name(&zone)?;
            let wanted = convert::name_text(&apex);
            let status = self.recent_status().await?;
            let found = status.zones.into_iter().find(|zone| zone.zone == wanted);
            found.ok_or_else(|| {
                ApiError::not_found(format!("{apex} is not a zone of this site"))
                    .hint("`zonemesh zone list` shows those that are")
            })
        })
    }

    fn removed_zones(&self) -> Reply<'_, Vec<api::RemovedZone>> {
        Box::pin(async {
            self.stored().await?;
            let store = self.live.store.clone();
            blocking(move || {
                let removed = store
                    .removed()
                    .map_err(|error| ApiError::internal(error.to_string()))?;
                Ok(removed
                    .into_iter()
                    .map(|zone| api::RemovedZone {
                        zone: convert::name_text(&zone.apex),
                        serial: Some(zone.serial.into_int()),
                        removed_at: zone.at,
                        kept_until: convert::after(zone.at.as_second(), KEEP_REMOVED_SECS),
                    })
                    .collect())
            })
            .await
        })
    }

    fn add_zone(&self, request: api::AddZone) -> Reply<'_, api::Changed> {
        self.command(self.add(request))
    }

    fn remove_zone(&self, request: api::RemoveZone) -> Reply<'_, api::Changed> {
        self.command(self.remove(request))
    }

    fn restore_zone(&self, request: api::RestoreZone) -> Reply<'_, api::Changed> {
        self.command(self.restore(request))
    }

    fn import_zone(&self, request: api::ImportZone) -> Reply<'_, api::Changed> {
        self.command(self.import(request))
    }

    fn export_zone(&self, zone: String, serial: Option<u32>) -> Reply<'_, TextStream> {
        Box::pin(self.export(zone, serial))
    }

    fn check_zone(&self, zone: String) -> Reply<'_, Vec<api::Finding>> {
        Box::pin(self.check(zone))
    }

    fn diff_zone(
        &self,
        zone: String,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Reply<'_, api::Difference> {
        Box::pin(self.diff(zone, from, to))
    }

    fn zone_history(&self, zone: String) -> Reply<'_, Vec<api::HistoryEntry>> {
        Box::pin(async move { self.history(&zone_name(&zone)?).await })
    }

    fn records(&self, zone: String, filter: api::RecordFilter) -> Reply<'_, Vec<api::RecordText>> {
        Box::pin(self.list_records(zone, filter))
    }

    fn change_records(&self, request: api::ChangeRecords) -> Reply<'_, api::Changed> {
        self.command(self.records_change(request))
    }

    fn plan(&self) -> Reply<'_, api::Plan> {
        Box::pin(self.last_plan())
    }

    fn approve_plan(&self, request: api::Decide) -> Reply<'_, api::Plan> {
        self.command(self.decide(request, Verdict::Approve))
    }

    fn decline_plan(&self, request: api::Decide) -> Reply<'_, api::Plan> {
        self.command(self.decide(request, Verdict::Decline))
    }

    fn roll_key(&self) -> Reply<'_, api::KeyRolled> {
        self.command(super::membership::roll_key(&self.live))
    }

    fn reload(&self) -> Reply<'_, api::Reloaded> {
        self.command(super::reload::reload(&self.live))
    }
}

impl Control {
    /// Waits until what this site serves no longer is what the store has set aside.
    async fn stored(&self) -> Result<(), ApiError> {
        let stored = self.live.progress.stored(STUCK).await;
        stored.map_err(|why| {
            ApiError::unavailable(why).hint("`zonemesh status` says what is wrong with the disk")
        })
    }

    /// The status, asked for anew when the last one is too old. Those who ask at the same time share one.
    async fn recent_status(&self) -> Result<api::Status, ApiError> {
        let mut last = self.last_status.lock().await;
        let commands = self.commands.load(Ordering::Acquire);
        if let Some((at, then, status)) = last.as_ref()
            && at.elapsed() < STATUS_AGE
            && *then == commands
        {
            return Ok(status.clone());
        }
        let status = self.whole_status().await?;
        *last = Some((Instant::now(), commands, status.clone()));
        Ok(status)
    }

    /// Does what an operator asked for; a status from before is not shown after it.
    fn command<'a, T>(
        &'a self,
        done: impl Future<Output = Result<T, ApiError>> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let done = done.await;
            self.commands.fetch_add(1, Ordering::Release);
            done
        })
    }
}

fn stopped(stopped: Stopped) -> ApiError {
    ApiError::unavailable(stopped.to_string())
}

/// Runs what waits for the disk, or computes for long, on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ApiError::new(
            ErrorKind::Internal,
            format!("the work ended early: {error}"),
        )),
    }
}
