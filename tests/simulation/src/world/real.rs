//! The real store under a simulated site, on a simulated disk.

use std::path::Path;

use zonemesh_keep::{Done, Found, Job};
use zonemesh_store::{Batch, Store};

use super::platter::Platter;
use super::*;

/// A store and the disk that it is on.
#[derive(Default)]
pub(super) struct Real {
    pub(super) platter: Platter,
    /// Open while the site runs.
    store: Option<Store>,
}

impl Real {
    /// Opens the store, as a site does that starts; with what it holds.
    pub(super) fn open(&mut self, host: &str) -> Result<Found, String> {
        self.close();
        let path = format!("{host}/store.redb");
        let store = Store::on(self.platter.open(), Path::new(&path), host)
            .map_err(|error| zonemesh_keep::chain(&error))?;
        let found = zonemesh_keep::held(&store).map_err(|error| zonemesh_keep::chain(&error))?;
        self.store = Some(store);
        Ok(found)
    }

    /// Does jobs as the product does; nothing when the site does not run.
    pub(super) fn run(&self, jobs: Vec<Job>, wall: i64) -> Vec<Done> {
        let at = zonemesh_keep::timestamp(wall);
        let store = self.store.as_ref();
        store.map_or_else(Vec::new, |store| zonemesh_keep::run_all(jobs, store, at))
    }

    /// The differences that lead from a serial to what is stored, as IXFR is answered with when memory has none.
    pub(super) fn diffs_since(&self, apex: &Name, from: Serial) -> Option<Vec<Diff>> {
        self.store.as_ref()?.diffs_since(apex, from).ok()?
    }

    /// The highest serial of a zone that was published or seen.
    pub(super) fn high_water(&self, apex: &Name) -> Option<Serial> {
        self.store.as_ref()?.high_water(apex).ok()?
    }

    /// The small values of a table, while the site runs.
    pub(super) fn values(&self, table: &str) -> Option<Vec<(String, Vec<u8>)>> {
        self.store.as_ref()?.list(table).ok()
    }

    /// Removes one of them.
    pub(super) fn delete(&self, table: &str, key: &str) {
        if let Some(store) = &self.store {
            let batch = Batch::new(zonemesh_keep::timestamp(EPOCH)).delete(table, key);
            // What cannot be removed stays, and is found again.
            let _stays = store.commit(batch);
        }
    }

    /// The process is gone, whatever it was about to do.
    pub(super) fn close(&mut self) {
        self.platter.release();
        self.store = None;
    }
}
