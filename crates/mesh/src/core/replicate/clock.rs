//! The ages of copies when the host's clock is set.

use zonemesh_zone::Name;

use crate::core::{Core, Now, Output};

impl Core {
    /// The clock was set by this many seconds while the site ran. A copy is not older for that: how long it may be served is
    /// counted by the monotonic clock, and never longer than its SOA allows.
    ///
    /// A copy of before the start that had expired may have done so by a clock that was wrong before; what is on disk decides again.
    /// One that was confirmed since has had its time, whatever the clock says.
    pub(in crate::core) fn keep_ages(&mut self, by: i64, now: Now) {
        let right_again = !self.clocks.is_set_back(now);
        for apex in self.zones.keys().cloned().collect::<Vec<Name>>() {
            let Some(entry) = self.zones.get_mut(&apex) else {
                continue;
            };
            let expire = entry.times().2;
            let Some(at) = entry.refresh.expires_at.filter(|_| entry.served.is_some()) else {
                continue;
            };
            let latest = now.wall.saturating_add(expire);
            let was_expired = entry.refresh.expired;
            let noted = entry.refresh.noted.take_if(|_| right_again);
            let at = match noted {
                // What the store had can be true again, and says more than what was counted from the start.
                Some(noted) => noted.min(latest),
                None if was_expired && !entry.refresh.asked => at.min(latest),
                None => at.saturating_add(by).min(latest),
            };
            entry.refresh.expires_at = Some(at);
            entry.refresh.expired &= at <= now.wall;
            if entry.refresh.noted.is_some() {
                // The store keeps what it has: that may be understood once more.
                self.check_expiry(&apex, now);
                self.schedule(&apex);
                continue;
            }
            if let Some(last) = &mut entry.refresh.last_success {
                let by = if noted.is_some() { 0 } else { by };
                *last = last.saturating_add(by).min(now.wall);
            }
            let (good_again, last_refresh) = (
                was_expired && !entry.refresh.expired,
                entry.refresh.last_success,
            );
            self.out.push(Output::Keep {
                apex: apex.clone(),
                expires_at: Some(at),
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
