//! Retries within their bounds: how often one site asks one peer for one zone, and tells it of it, in a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_mesh::core::PeerId;
use zonemesh_zone::Name;

use super::{Finding, Rule, Seen};
use crate::Host;

/// Most transfers of one zone that one site asks one peer for in a minute, whatever happens.
pub const TRANSFERS_A_MINUTE: usize = 60;

/// Most NOTIFYs of one zone that one site sends to one peer in a minute, whatever happens.
pub const NOTIFIES_A_MINUTE: usize = 60;

/// What was sent lately, by zone and peer.
#[derive(Default)]
pub(super) struct Recent {
    transfers: BTreeMap<(Name, PeerId), Vec<Duration>>,
    told: BTreeMap<(Name, PeerId), Vec<Duration>>,
}

/// Counts what was sent since the last look.
pub(super) fn look(host: &str, state: &Host, sites: usize, seen: &mut Seen) -> Result<(), Finding> {
    let new = &state.transfers[seen.transfers.min(state.transfers.len())..];
    // While many sites join, each is news to all.
    let most = TRANSFERS_A_MINUTE + sites;
    count(host, "transfers", new, &mut seen.recent.transfers, most)?;
    seen.transfers = state.transfers.len();
    let new = &state.told[seen.told.min(state.told.len())..];
    count(
        host,
        "NOTIFYs",
        new,
        &mut seen.recent.told,
        NOTIFIES_A_MINUTE + sites,
    )?;
    seen.told = state.told.len();
    Ok(())
}

fn count(
    host: &str,
    what: &str,
    new: &[(Duration, Name, PeerId)],
    recent: &mut BTreeMap<(Name, PeerId), Vec<Duration>>,
    most: usize,
) -> Result<(), Finding> {
    for (at, zone, peer) in new {
        let times = recent.entry((zone.clone(), peer.clone())).or_default();
        times.retain(|time| *time + Duration::from_secs(60) > *at);
        times.push(*at);
        if times.len() > most {
            let message = format!(
                "{host}: {} {what} of {zone} with {peer} within a minute, at {:.3}; {most} at most",
                times.len(),
                at.as_secs_f64()
            );
            return Err(Finding::new(Rule::Retries, message));
        }
    }
    Ok(())
}
