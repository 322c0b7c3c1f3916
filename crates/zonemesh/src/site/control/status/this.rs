//! What is wrong with this site itself: its disk, its configuration, its plan, its clock.

use std::collections::BTreeMap;

use zonemesh_api::types as api;

use super::gather::{Here, Recovery, Snapshot};
use super::sites::clock_checks;
use super::table;
use crate::site::control::Control;
use crate::site::control::convert::name_text;
use crate::site::progress::Part;

/// What is said of the zones of this site and what others hold of them; of those with the same open question in one sentence.
fn recovery_checks(zones: &[Here], checks: &mut Vec<api::Check>) {
    let mut unheard: BTreeMap<String, usize> = BTreeMap::new();
    for here in zones {
        let zone = || Some(name_text(&here.spec.apex));
        match &here.recovery {
            None => {}
            Some(Recovery::Lost) => checks.push(table::COPY_LOST.of(
                zone(),
                format!(
                    "this site is the primary of {} and holds nothing of it",
                    here.spec.apex
                ),
            )),
            Some(Recovery::Taking(from, waiting)) => checks.push(table::HISTORY_TAKEN.of(
                zone(),
                format!("{from} has a newer history, which is being taken; {waiting} changes wait"),
            )),
            Some(Recovery::Unheard(peers)) => {
                let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
                *unheard.entry(peers.join(", ")).or_default() += 1;
            }
            Some(Recovery::Taken(from, serial)) => checks.push(
                table::RECOVERED.of(zone(), format!("serial {serial} was taken from {from}")),
            ),
        }
    }
    for (peers, count) in unheard {
        let what = format!("{peers} may have something newer of {count} zones of this site");
        checks.push(table::OTHERS_UNHEARD.of(Some(peers), what));
    }
}

impl Control {
    /// What is wrong with this site itself.
    pub(super) fn checks_of_this(&self, snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
        self.checks_without_core(checks);
        if let Some(since) = snapshot.reconcile_late {
            let what = format!(
                "no pass of planning has succeeded for {} s",
                since.as_secs()
            );
            checks.push(table::RECONCILE_LATE.of(Some(self.live.name.clone()), what));
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
        recovery_checks(&snapshot.zones, checks);
        clock_checks(&self.live.name, &snapshot.clock_faults, checks);
    }

    /// What can be said of this site whatever its core does.
    pub(super) fn checks_without_core(&self, checks: &mut Vec<api::Check>) {
        let me = || Some(self.live.name.clone());
        let error = self.live.store_error.load();
        let error = error
            .as_ref()
            .clone()
            .map(|error| format!("changes cannot be stored: {error}"));
        if let Some(what) = error.or_else(|| self.live.progress.disk_error()) {
            checks.push(table::STORE_FAILING.of(None, what));
        }
        let (waiting, _) = self.live.progress.backlog();
        for stuck in self.live.progress.stuck() {
            checks.push(match stuck.what {
                Part::Core => table::CORE_STUCK.of(me(), stuck.to_string()),
                Part::Disk => table::STORE_FAILING.of(None, stuck.to_string()),
                Part::Store => {
                    table::STORE_FAILING.of(None, format!("{stuck}; {waiting} changes wait for it"))
                }
            });
        }
        let directory = self.live.directory.load();
        let members = directory.as_ref().as_ref().map(|read| &read.sites);
        for (site, knock) in self.live.knocks().0 {
            // Whoever was let in again since knocks no longer.
            if members.is_some_and(|all| all.keys().any(|member| member.as_str() == site)) {
                continue;
            }
            let what = format!(
                "the removed site {site} is knocking with its old key from {}, {} times since the start of this one, the last time at {:.0}",
                knock.from, knock.count, knock.last
            );
            checks.push(table::REMOVED_SITE_KNOCKING.of(Some(site), what));
        }
    }
}
