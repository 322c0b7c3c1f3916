//! What survives a crash: zone contents and their history, serial high-water marks, states, small tables, loose files.
//!
//! [`Store::commit`] returns when a [`Batch`] is on the disk, all of it; after `kill -9` at any instant there is every
//! batch that was acknowledged, and no half of any. A zone is a snapshot and the differences since; the snapshot is
//! written anew when the differences weigh more than it does, so that the cost of a change is in proportion to the change.
//! Differences older than the snapshot are the history, from which IXFR, `version_at` and a revert are made; what is too old of it is
//! forgotten with the zone's next change, or by a slow pass ([`Forgetting`]).
//!
//! The high-water mark of a zone, the greatest serial that this site or any peer has shown, is kept apart from the zone
//! and outlives it; a version made here that does not exceed it (RFC 1982) is refused, whatever the caller believes.
//!
//! Nothing here reads a clock or serves a query, and nothing here decides what is published; calls block, and an async
//! caller moves them off its runtime. See docs/decisions/0001 for what was weighed.

pub mod file;

mod batch;
mod codec;
mod engine;
mod error;
mod forget;
mod format;
mod medium;
mod place;
mod plan;
mod reserve;
mod salvage;
mod store;
mod tables;
mod writer;

pub use self::batch::{Batch, Origin, ZoneState};
pub use self::error::{CommitError, EngineError, OpenError, ReadError};
pub use self::forget::{Forgetting, Forgotten};
pub use self::medium::Medium;
pub use self::place::{DATABASE, last_change};
pub use self::plan::{Histories, History};
pub use self::salvage::{Damaged, Salvage};
pub use self::store::{Beginning, HistoryEntry, RemovedZone, Store, Stored};
