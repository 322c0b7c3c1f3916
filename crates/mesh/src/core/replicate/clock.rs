//! The ages of copies, and what becomes of them when the host's clock is set.
//!
//! How long a copy may be served is counted by the monotonic clock from the moment at which that is known. Unix time is what the disk
//! says, for the next start.

use std::time::Duration;

use zonemesh_zone::Name;

use crate::core::{Core, Now, Output};

/// Until when a copy may be served by the monotonic clock that the store says expires at this Unix time: never longer than its
/// SOA allows, for the clock may have been set back since.
pub(super) fn until(expires_at: i64, expire: i64, now: Now) -> Duration {
    let left = expires_at.saturating_sub(now.wall).clamp(0, expire.max(0));
    now.mono + Duration::from_secs(left.unsigned_abs())
}

/// The same moment in Unix time, by what the clock shows now.
pub(super) fn unix(until: Duration, now: Now) -> i64 {
    let secs = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match until.checked_sub(now.mono) {
        Some(left) => now.wall.saturating_add(secs(left)),
        None => now.wall.saturating_sub(secs(now.mono - until)),
    }
}

impl Core {
    /// The clock was set by this many seconds while the site ran. A copy is not older for that, and may be served for as long as
    /// before; only what the store has is another time of day now.
    ///
    /// A copy of before the start that had expired may have done so by a clock that was wrong before; what is on disk decides again,
    /// unless the clock is earlier now than the disk is. One that was confirmed since has had its time, whatever the clock says.
    pub(in crate::core) fn keep_ages(&mut self, by: i64, now: Now) {
        let right_again = !self.clocks.is_set_back(now);
        for apex in self.zones.keys().cloned().collect::<Vec<Name>>() {
            let Some(entry) = self.zones.get_mut(&apex) else {
                continue;
            };
            let expire = i64::try_from(entry.times().2.as_secs()).unwrap_or(i64::MAX);
            let refresh = &mut entry.refresh;
            let Some(was) = refresh.until.get().filter(|_| entry.served.is_some()) else {
                continue;
            };
            let was_expired = refresh.expired;
            let known_again = refresh.age_unknown && right_again;
            let again = (known_again || was_expired && right_again).then_some(());
            // What the store had can be true again, and says more than what was counted from the start.
            let again = again.and(refresh.noted);
            let at = again.map_or(was, |noted| until(noted, expire, now));
            refresh.until.set(at);
            refresh.age_unknown &= !right_again;
            refresh.expired &= at <= now.mono;
            if refresh.age_unknown {
                // The store keeps what it has: that may be understood once more.
                self.check_expiry(&apex, now);
                self.schedule(&apex);
                continue;
            }
            if let Some(last) = &mut refresh.last_success {
                let by = if known_again { 0 } else { by };
                *last = last.saturating_add(by).min(now.wall);
            }
            let (good_again, last_refresh) =
                (was_expired && !refresh.expired, refresh.last_success);
            self.out.push(Output::Keep {
                apex: apex.clone(),
                until: Some(at),
                expires_at: Some(unix(at, now)),
                last_refresh,
            });
            if good_again {
                self.publish(&apex, Vec::new());
            }
            self.check_expiry(&apex, now);
            self.schedule(&apex);
        }
    }
}
