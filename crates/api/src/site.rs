//! What a running site can be asked: one method a request.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::{broadcast, mpsc};

use crate::error::ApiError;
use crate::types::*;

/// The answer to a request, when it comes.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// Pieces of a zone file on their way out; the end of the channel is the end of the file.
///
/// An error item ends the file and breaks the connection, so that a reader cannot take half a zone for a whole one.
pub type TextStream = mpsc::Receiver<Result<String, ApiError>>;

/// A running site, as the control socket sees it.
///
/// Zones, owner names and sites are given as people write them (`corp.example` or `corp.example.`, any case); an
/// implementation answers with absolute names in lower case. Every write is durable before its answer.
pub trait Site: Send + Sync + 'static {
    /// The whole mesh as this site sees it.
    fn status(&self) -> Reply<'_, Status>;
    /// Whether the site is alive and ready.
    fn health(&self) -> Health;
    /// All metrics as OpenMetrics text, see [`crate::metrics::text`].
    fn metrics(&self) -> String;
    /// What happens from now on; a reader that is too slow misses the oldest.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// All sites of the mesh, this one first.
    fn sites(&self) -> Reply<'_, Vec<SiteStatus>>;
    /// Makes a welcome packet. Only on the catalog primary.
    fn invite(&self, request: Invite) -> Reply<'_, Invited>;
    /// Takes a site out of the mesh. Only on the catalog primary.
    fn remove_site(&self, request: RemoveSite) -> Reply<'_, Changed>;

    /// Makes a site the writer of directory and catalog: this one, or, where this one is it, another.
    fn promote_site(&self, request: Promote) -> Reply<'_, Promotion>;
    /// Gives a site another role. Only on the catalog primary.
    fn set_role(&self, request: SetRole) -> Reply<'_, Changed>;
    /// What was written here and is not in what other writers published, oldest first.
    fn yielded(&self) -> Reply<'_, Vec<Yielded>>;
    /// Makes that again.
    fn replay(&self, request: Replay) -> Reply<'_, Replayed>;
    /// Throws it away.
    fn discard(&self, request: Discard) -> Reply<'_, Vec<Yielded>>;

    /// All zones, with this site's view of each.
    fn zones(&self) -> Reply<'_, Vec<ZoneSummary>>;
    /// One zone in detail, with what each site serves of it.
    fn zone(&self, zone: String) -> Reply<'_, ZoneStatus>;
    /// Removed zones that can still be brought back.
    fn removed_zones(&self) -> Reply<'_, Vec<RemovedZone>>;
    /// Makes this site primary of a new zone and adds it to catalog and directory.
    fn add_zone(&self, request: AddZone) -> Reply<'_, Changed>;
    /// Takes a zone out of catalog and directory; its data is kept for 30 days.
    fn remove_zone(&self, request: RemoveZone) -> Reply<'_, Changed>;
    /// Brings back a removed zone.
    fn restore_zone(&self, request: RestoreZone) -> Reply<'_, Changed>;
    /// Replaces the contents of a zone; what differs becomes the new version.
    fn import_zone(&self, request: ImportZone) -> Reply<'_, Changed>;
    /// The zone file of a zone in canonical order; `serial` picks an older version.
    fn export_zone(&self, zone: String, serial: Option<u32>) -> Reply<'_, TextStream>;
    /// Semantic checks of a zone as it is served.
    fn check_zone(&self, zone: String) -> Reply<'_, Vec<Finding>>;
    /// The difference between two versions; without `to` up to the newest, without `from` the last change.
    fn diff_zone(&self, zone: String, from: Option<u32>, to: Option<u32>) -> Reply<'_, Difference>;
    /// The versions of a zone that are still known, newest first.
    fn zone_history(&self, zone: String) -> Reply<'_, Vec<HistoryEntry>>;

    /// The records of a zone, in canonical order.
    fn records(&self, zone: String, filter: RecordFilter) -> Reply<'_, Vec<RecordText>>;
    /// Changes records of a zone this site is primary for.
    fn change_records(&self, request: ChangeRecords) -> Reply<'_, Changed>;

    /// What the planner last decided, and what the brake holds.
    fn plan(&self) -> Reply<'_, Plan>;
    /// Lets a held change go on.
    fn approve_plan(&self, request: Decide) -> Reply<'_, Plan>;
    /// Leaves everything as it is, and asks no more.
    fn decline_plan(&self, request: Decide) -> Reply<'_, Plan>;
    /// Makes a new key for this site; peers follow by the directory.
    fn roll_key(&self) -> Reply<'_, KeyRolled>;
    /// Reads the configuration file again; a broken one changes nothing.
    fn reload(&self) -> Reply<'_, Reloaded>;
}
