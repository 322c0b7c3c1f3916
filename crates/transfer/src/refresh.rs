//! The SOA timers of a secondary zone (RFC 1034 §4.3.5, RFC 1035 §3.3.13, RFC 7314).
//!
//! ```text
//!  NeverLoaded ── loaded ──▶ Fresh ── failed ──▶ Retrying ── expire ──▶ Expired
//!                              ▲  ◀── loaded, refreshed ──┴───────────────┘
//! ```
//!
//! Events go in with the wall-clock time, which is what must survive a restart; [`Timers::tick`] says what to do, and
//! [`Timers::next_due`] when to ask again. A wall clock can jump. Backwards: no wait gets longer than it was meant to
//! be. Forwards: a zone does not expire before one more attempt to reach a primary has failed.
//!
//! It neither asks nor transfers, and does not say which primary to ask.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use zonemesh_zone::Soa;

/// Bounds of what a zone's SOA may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No refresh or retry comes sooner than this after the one before, save for NOTIFY. Default 1 s.
    pub floor: Duration,
    /// None comes later. Default one day: a zone with a refresh of a month would be forgotten otherwise.
    pub cap: Duration,
    /// The longest pause between attempts for a zone that was never loaded or has expired. Default 60 s.
    pub bootstrap_cap: Duration,
    /// How long an attempt may be under way before it counts as failed. Default one hour, since large zones take time;
    /// only a driver that has lost the attempt is that slow.
    pub attempt: Duration,
    /// How long the last attempt before expiry may take. Default 30 s.
    pub last_chance: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(1),
            cap: Duration::from_secs(86_400),
            bootstrap_cap: Duration::from_secs(60),
            attempt: Duration::from_secs(3_600),
            last_chance: Duration::from_secs(30),
        }
    }
}

/// The timers of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    bounds: Bounds,
    held: Option<Held>,
    attempt: Attempt,
    /// Failed attempts in a row.
    failures: u32,
    last_failure: Option<Timestamp>,
    /// A NOTIFY came while an attempt was under way.
    again: bool,
}

/// What is known of the version that we hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    refresh: Duration,
    retry: Duration,
    expire: Duration,
    refreshed: Timestamp,
    expires: Timestamp,
    warned: bool,
    expired: bool,
    last_chance: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The next one, and how long after the one before it was meant to be.
    Due {
        at: Timestamp,
        wait: Duration,
    },
    Running {
        since: Timestamp,
    },
}

/// How a zone stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// We never had it.
    NeverLoaded,
    /// The last attempt to refresh it succeeded.
    Fresh,
    /// The last attempt failed; it is served until it expires.
    Retrying,
    /// It must not be served any more.
    Expired,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a primary for the SOA, transfer if it is newer, and call one of [`Timers::loaded`], [`Timers::refreshed`] and
    /// [`Timers::failed`].
    Query,
    /// Half of the time to expiry has gone by without a refresh: tell the operator.
    Warn,
    /// Stop serving the zone.
    Expire,
}

/// # Making them
impl Timers {
    /// For a zone that was never loaded; it is due at once.
    pub fn new(bounds: Bounds, now: Timestamp) -> Self {
        Self {
            bounds,
            held: None,
            attempt: Attempt::Due {
                at: now,
                wait: Duration::ZERO,
            },
            failures: 0,
            last_failure: None,
            again: false,
        }
    }

    /// For a zone that was stored, after a restart; it is due at once, since much may have happened meanwhile.
    pub fn restored(
        bounds: Bounds,
        soa: &Soa,
        last_refresh: Timestamp,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let mut timers = Self::new(bounds, now);
        let expire = Duration::from_secs(u64::from(soa.expire));
        let refreshed = last_refresh.min(now);
        timers.held = Some(Held {
            refresh: timers.clamp(soa.refresh),
            retry: timers.clamp(soa.retry),
            expire,
            refreshed,
            expires: expires_at.unwrap_or_else(|| later(refreshed, expire)),
            warned: false,
            expired: false,
            last_chance: None,
        });
        timers
    }

    fn clamp(&self, seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds))
            .max(self.bounds.floor)
            .min(self.bounds.cap)
    }
}

/// # What has happened
impl Timers {
    /// A new version has been transferred, or loaded from elsewhere. `expire_hint` is the EDNS EXPIRE value that came
    /// with it; `random` spreads the next refresh over the tenth before it is due.
    pub fn loaded(&mut self, now: Timestamp, soa: &Soa, expire_hint: Option<u32>, random: u32) {
        let expire = Duration::from_secs(u64::from(soa.expire));
        // RFC 7314 §4: a secondary of a secondary takes over what time is left there. More than the SOA grants it
        // cannot be.
        let left = expire_hint.map_or(expire, |hint| {
            Duration::from_secs(u64::from(hint)).min(expire)
        });
        self.held = Some(Held {
            refresh: self.clamp(soa.refresh),
            retry: self.clamp(soa.retry),
            expire,
            refreshed: now,
            expires: later(now, left),
            warned: false,
            expired: false,
            last_chance: None,
        });
        self.succeeded(now, random);
    }

    /// A primary was asked and has nothing newer. Before anything was loaded this counts as a failure.
    pub fn refreshed(&mut self, now: Timestamp, expire_hint: Option<u32>, random: u32) {
        let Some(held) = &mut self.held else {
            return self.failed(now, random);
        };
        let expires = match expire_hint {
            None => later(now, held.expire),
            // RFC 7314 §4: the timer is only ever prolonged by an answer that the zone is still current.
            Some(hint) => {
                let left = Duration::from_secs(u64::from(hint)).min(held.expire);
                later(now, left).max(held.expires.min(later(now, held.expire)))
            }
        };
        if expires <= now {
            // The primary's own copy has no time left: it cannot vouch for ours.
            return self.failed(now, random);
        }
        held.expires = expires;
        held.refreshed = now;
        held.warned = false;
        held.expired = false;
        held.last_chance = None;
        self.succeeded(now, random);
    }

    /// No primary gave a good answer.
    pub fn failed(&mut self, now: Timestamp, random: u32) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
        let wait = match &self.held {
            Some(held) if !held.expired => held.retry,
            // Who has nothing to serve tries harder: from the floor, doubling.
            _ => self
                .bounds
                .floor
                .saturating_mul(1 << (self.failures - 1).min(16))
                .min(self.bounds.bootstrap_cap),
        };
        self.schedule(now, wait, random);
    }

    /// A primary says that the zone has changed: ask now, or once more when the attempt under way is over.
    pub fn notified(&mut self, now: Timestamp) {
        match self.attempt {
            Attempt::Running { .. } => self.again = true,
            Attempt::Due { at, .. } if at <= now => {}
            Attempt::Due { .. } => {
                self.attempt = Attempt::Due {
                    at: now,
                    wait: Duration::ZERO,
                }
            }
        }
    }

    fn succeeded(&mut self, now: Timestamp, random: u32) {
        self.failures = 0;
        self.last_failure = None;
        let wait = self
            .held
            .as_ref()
            .map_or(self.bounds.floor, |held| held.refresh);
        self.schedule(now, wait, random);
    }

    fn schedule(&mut self, now: Timestamp, wait: Duration, random: u32) {
        let wait = match std::mem::take(&mut self.again) {
            true => Duration::ZERO,
            // Earlier by up to a tenth, so that zones that were loaded together do not stay together.
            false => wait - wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 10.0),
        };
        self.attempt = Attempt::Due {
            at: later(now, wait),
            wait,
        };
    }
}

/// # What is to be done
impl Timers {
    /// What to do now, one thing at a time: call again until there is nothing.
    pub fn tick(&mut self, now: Timestamp) -> Option<Action> {
        self.follow_clock(now);
        if let Attempt::Running { since } = self.attempt
            && now >= later(since, self.bounds.attempt)
        {
            self.failed(now, 0);
        }
        let wants_query = self.expiry_wants_query(now);
        if let Attempt::Due { at, .. } = self.attempt
            && (at <= now || wants_query)
        {
            self.attempt = Attempt::Running { since: now };
            if let Some(held) = &mut self.held
                && held.expires <= now
                && held.last_chance.is_none()
            {
                held.last_chance = Some(later(now, self.bounds.last_chance));
            }
            return Some(Action::Query);
        }
        let expires = self.may_expire(now);
        let held = self.held.as_mut()?;
        if held.expired {
            return None;
        }
        if expires {
            held.expired = true;
            return Some(Action::Expire);
        }
        if !held.warned && now >= held.half_way() {
            held.warned = true;
            return Some(Action::Warn);
        }
        None
    }

    /// When to call [`Timers::tick`] again, if nothing happens before.
    pub fn next_due(&self) -> Timestamp {
        let mut due = match self.attempt {
            Attempt::Due { at, .. } => at,
            Attempt::Running { since } => later(since, self.bounds.attempt),
        };
        if let Some(held) = &self.held
            && !held.expired
        {
            due = due.min(held.last_chance.unwrap_or(held.expires));
            if !held.warned {
                due = due.min(held.half_way());
            }
        }
        due
    }

    /// Whether the expiry time has come and nobody has asked a primary around it.
    fn expiry_wants_query(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| {
            !held.expired
                && now >= held.expires
                && held.last_chance.is_none()
                && !self.has_failed_lately(held)
        })
    }

    fn may_expire(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| {
            now >= held.expires
                && (self.has_failed_lately(held)
                    || held.last_chance.is_some_and(|until| now >= until))
        })
    }

    /// Whether an attempt failed after the expiry time, or so shortly before that it need not be repeated.
    fn has_failed_lately(&self, held: &Held) -> bool {
        self.last_failure
            .is_some_and(|failure| later(failure, held.retry.saturating_mul(2)) >= held.expires)
    }

    /// After the wall clock was set back, everything that was to come would be too far away.
    fn follow_clock(&mut self, now: Timestamp) {
        match &mut self.attempt {
            Attempt::Due { at, wait } => *at = (*at).min(later(now, *wait)),
            Attempt::Running { since } => *since = (*since).min(now),
        }
        self.last_failure = self.last_failure.map(|failure| failure.min(now));
        if let Some(held) = &mut self.held {
            held.refreshed = held.refreshed.min(now);
            held.expires = held.expires.min(later(now, held.expire));
        }
    }
}

/// # Looking into them
impl Timers {
    /// How the zone stands.
    pub fn status(&self) -> Status {
        match &self.held {
            None => Status::NeverLoaded,
            Some(held) if held.expired => Status::Expired,
            Some(_) if self.failures > 0 => Status::Retrying,
            Some(_) => Status::Fresh,
        }
    }

    /// When a primary was last reached and the zone found current or made so. To be stored.
    pub fn last_refresh(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.refreshed)
    }

    /// When the zone expires. To be stored.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.expires)
    }

    /// How long the zone may still be served: what EDNS EXPIRE says to those who ask us, in seconds.
    pub fn expire_left(&self, now: Timestamp) -> Option<u32> {
        let left = self.expires_at()?.duration_since(now).as_secs().max(0);
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// When the next attempt is due; none while one is under way.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        match self.attempt {
            Attempt::Due { at, .. } => Some(at),
            Attempt::Running { .. } => None,
        }
    }

    /// How many attempts have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

impl Held {
    fn half_way(&self) -> Timestamp {
        let whole = self.expires.duration_since(self.refreshed);
        let half = Duration::try_from(whole / 2).unwrap_or(Duration::ZERO);
        later(self.refreshed, half)
    }
}

/// A later time; the end of all times when it would be after that.
fn later(time: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| time.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
