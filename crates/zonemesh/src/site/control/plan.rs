//! The planner over the control socket: what it last decided, and consent to what the brake holds.

use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::core::{Input, Report};

use super::Control;
use super::convert::after;

/// What the brake holds: what approves it, and what it is.
pub(super) fn held(report: &Report) -> Vec<(String, String)> {
    let describe = |held: &zonemesh_mesh::plan::Held| {
        let names = held
            .names
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if held.names.len() > 5 { ", …" } else { "" };
        format!(
            "{} of {} {} would be removed at once: {names}{more}",
            held.names.len(),
            held.of,
            held.kind
        )
    };
    report
        .plan
        .held
        .iter()
        .map(|held| (held.fingerprint.to_string(), describe(held)))
        .collect()
}

fn plan(report: Option<&Report>) -> api::Plan {
    let Some(report) = report else {
        return api::Plan::default();
    };
    let made_from = report.plan.made_from;
    api::Plan {
        directory_serial: made_from.map(|from| from.directory),
        catalog_serial: made_from.and_then(|from| from.catalog),
        at: Some(after(report.at, 0)),
        actions: report
            .plan
            .actions
            .iter()
            .map(ToString::to_string)
            .collect(),
        reasons: report
            .blocked
            .iter()
            .chain(&report.plan.reasons)
            .cloned()
            .collect(),
        held: held(report)
            .into_iter()
            .map(|(id, reason)| api::Held {
                id,
                reason,
                since: None,
            })
            .collect(),
    }
}

impl Control {
    pub(super) async fn last_plan(&self) -> Result<api::Plan, ApiError> {
        self.live
            .core
            .look(|core, _| plan(core.report()))
            .await
            .map_err(super::stopped)
    }

    pub(super) async fn approve(&self, request: api::Approve) -> Result<api::Plan, ApiError> {
        let before = self.last_plan().await?;
        if !before.held.iter().any(|held| held.id == request.id) {
            return Err(
                ApiError::not_found(format!("nothing with id {} is held", request.id))
                    .hint("`zonemesh plan show` lists what is"),
            );
        }
        self.live.core.send(Input::Approve { hash: request.id });
        self.last_plan().await
    }
}
