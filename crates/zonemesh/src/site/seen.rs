//! What the core looked like at one moment, for those who must not wait for it: metrics, logs, and what cannot be undone.

use std::collections::BTreeSet;

use zonemesh_mesh::core::{ClockFault, Core, Now};
use zonemesh_transfer::tsig::TsigError;

/// What the core looked like. Small: it is made every few seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// How far the clock of each peer is ahead of this site's, in milliseconds.
    pub(crate) offsets: Vec<(String, i64)>,
    /// The clocks that are wrong.
    pub(crate) clocks: Vec<ClockFault>,
    /// Each peer, and whether it answers.
    pub(crate) peers: Vec<(String, bool)>,
    /// Unix time of the last pass of planning that came to an end; none yet, or no mesh.
    pub(crate) reconciled: Option<i64>,
    /// Zones for which half of the time until they expire is over, and those that have expired.
    pub(crate) expiring: u64,
    pub(crate) expired: u64,
    /// Zones of which another site has other contents under the same serial.
    pub(crate) differing: u64,
    /// Unix time at which the next zone expires, if nothing comes until then.
    pub(crate) next_expiry: Option<i64>,
}

impl Seen {
    /// Looks at it.
    pub(crate) fn of(core: &Core, now: Now) -> Self {
        let mut seen = Self {
            offsets: core
                .clock_offsets()
                .map(|(peer, ahead_ms)| (peer.to_string(), ahead_ms))
                .collect(),
            clocks: core.clock_faults().to_vec(),
            peers: core
                .peers()
                .map(|(peer, lost)| (peer.to_string(), lost.is_none()))
                .collect(),
            reconciled: core.reconciled(),
            ..Self::default()
        };
        let differing: BTreeSet<_> = core.differing().map(|at| at.apex).collect();
        seen.differing = differing.len() as u64;
        for view in core.zones() {
            seen.expired += u64::from(view.expired);
            seen.expiring += u64::from(view.half_expired && !view.expired);
            let left = view
                .until
                .filter(|_| !view.expired && !view.spec.primary)
                .map(|until| until.saturating_sub(now.mono).as_secs());
            let next = left.map(|left| now.wall.saturating_add_unsigned(left));
            seen.next_expiry = match (seen.next_expiry, next) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        seen
    }

    /// What is known of clocks, where a signature failed for its time.
    pub(crate) fn about_clocks(&self, error: &TsigError) -> Option<String> {
        let time = matches!(
            error,
            TsigError::BadTime { .. } | TsigError::PeerBadTime { .. }
        );
        let fault = self.clocks.first().filter(|_| time)?;
        Some(fault.to_string())
    }
}
