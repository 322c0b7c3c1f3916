//! What is wrong with this site itself: its disk, its configuration, its plan, its clock.

use zonemesh_api::types as api;

use super::gather::Snapshot;
use super::sites::clock_checks;
use super::table;
use crate::site::control::Control;

impl Control {
    /// What is wrong with this site itself.
    pub(super) fn checks_of_this(&self, snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
        if let Some(error) = self.live.store_error.load().as_ref() {
            let what = format!("changes cannot be stored: {error}");
            checks.push(table::STORE_FAILING.of(None, what));
        }
        if let Some(loud) = self.live.loud.load().as_ref() {
            checks.push(table::CONFIGURATION_BROKEN.of(None, loud));
        }
        if let Some(blocked) = &snapshot.blocked {
            let what = format!("the plan is not carried out: {blocked}");
            checks.push(table::PLAN_BLOCKED.of(None, what));
        }
        for reason in &snapshot.catalogs {
            checks.push(table::CATALOG_NOT_FOLLOWED.of(None, reason));
        }
        let asked = self.held.list();
        let asked = asked.into_iter().map(|held| (held.id, held.reason));
        for (hash, reason) in snapshot.held.iter().cloned().chain(asked) {
            checks.push(api::Check {
                hint: Some(format!("`zonemesh plan approve {hash}` lets it go on")),
                ..table::HELD_BY_BRAKE.of(None, reason)
            });
        }
        clock_checks(&self.live.name, &snapshot.clock_faults, checks);
    }
}
