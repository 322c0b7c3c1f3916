//! The planner over the control socket: what it last decided, and consent to what the brake holds.

use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::brake::NAMED;
use zonemesh_mesh::core::{Core, Input, Reply, Verdict};

use super::Control;
use super::convert::after;

/// What the brake holds, in the mesh, of catalogs, and of newer histories of zones.
pub(super) fn held(core: &Core) -> Vec<api::Held> {
    let describe = |held: &zonemesh_mesh::plan::Held| {
        let (count, of, kind) = (held.names.len(), held.of, &held.kind);
        format!("{count} of {of} {kind} would be removed at once")
    };
    let planned = core
        .report()
        .into_iter()
        .flat_map(|report| &report.plan.held);
    let histories = core.held_histories();
    let histories = histories.map(|(hash, why)| (hash, why.to_owned(), Vec::new()));
    planned
        .chain(&core.catalog_report().held)
        .map(|held| {
            let names = held.names.iter().map(ToString::to_string).collect();
            (&held.fingerprint, describe(held), names)
        })
        .chain(histories)
        .map(|(hash, reason, names): (_, _, Vec<String>)| {
            let held = api::Held {
                id: hash.to_string(),
                reason,
                declined: core.is_declined(hash),
                ..api::Held::default()
            };
            held.removing(&names, NAMED)
        })
        .collect()
}

/// Why foreign catalogs, or some of their members, are not followed.
pub(super) fn catalog_reasons(core: &Core) -> Vec<String> {
    let report = core.catalog_report();
    let faults = report
        .faults
        .iter()
        .map(|(catalog, why)| format!("catalog {}: {why}", catalog.fmt_with_dot()));
    let refused = report.refused.iter().map(|(zone, (catalog, why))| {
        let (zone, catalog) = (zone.fmt_with_dot(), catalog.fmt_with_dot());
        format!("catalog {catalog}: the member {zone} {why}")
    });
    faults.chain(refused).collect()
}

fn plan(core: &Core) -> api::Plan {
    let report = core.report();
    let made_from = report.and_then(|report| report.plan.made_from);
    let actions = report.into_iter().flat_map(|report| &report.plan.actions);
    let reasons = report
        .into_iter()
        .flat_map(|report| report.blocked.iter().chain(&report.plan.reasons).cloned());
    api::Plan {
        directory_serial: made_from.map(|from| from.directory),
        catalog_serial: made_from.and_then(|from| from.catalog),
        at: report.map(|report| after(report.at, 0)),
        actions: actions.map(ToString::to_string).collect(),
        reasons: reasons.chain(catalog_reasons(core)).collect(),
        held: held(core),
    }
}

impl Control {
    pub(super) async fn last_plan(&self) -> Result<api::Plan, ApiError> {
        let mut plan = self
            .live
            .core
            .look(|core, _| plan(core))
            .await
            .map_err(super::stopped)?;
        plan.held.extend(self.held.list());
        Ok(plan)
    }

    pub(super) async fn decide(
        &self,
        request: api::Decide,
        verdict: Verdict,
    ) -> Result<api::Plan, ApiError> {
        if let Some(done) = self.decide_held(&request.id, verdict).await {
            done?;
            return self.last_plan().await;
        }
        let before = self.last_plan().await?;
        if !before.held.iter().any(|held| held.id == request.id) {
            return Err(
                ApiError::not_found(format!("nothing with id {} is held", request.id))
                    .hint("`zonemesh plan show` lists what is"),
            );
        }
        let hash = request.id;
        let decide = move |_: &Core, request| {
            Ok(Input::Decide {
                request,
                hash,
                verdict,
            })
        };
        let reply = self.live.core.request(decide).await;
        match reply.map_err(super::stopped)? {
            Reply::Refused { reason, .. } => Err(ApiError::internal(format!(
                "that could not be stored, and is asked again after a restart: {reason}"
            ))),
            _ => self.last_plan().await,
        }
    }
}
