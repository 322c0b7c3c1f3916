//! Which serial a new version gets: one more, the time, or the date.
//!
//! Whatever the policy, a version is published above everything that this site or a peer has shown (RFC 1982). A policy whose own
//! number is not above that counts on by one until it is. Where it lies far behind, as when a zone whose serials were dates is to
//! have the time for them, the serials are led there around the circle in steps of a quarter of it, and each step waits until
//! every holder that is known has what the step starts from: whoever missed one could not tell ahead from behind any more.

use zonemesh_zone::{Serial, SerialExt};

/// How the serials of a zone are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerialPolicy {
    /// One more than before.
    #[default]
    Increment,
    /// Seconds since 1970, modulo 2^32.
    UnixTime,
    /// The day, in UTC, and two digits that count the versions of that day: `2026112300`.
    Date,
}

impl SerialPolicy {
    /// The policy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "increment" => Self::Increment,
            "unixtime" => Self::UnixTime,
            "date" => Self::Date,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Increment => "increment",
            Self::UnixTime => "unixtime",
            Self::Date => "date",
        }
    }

    /// The number that the policy would have at a time; none when it only counts.
    pub fn wanted(self, unix: i64) -> Option<Serial> {
        match self {
            Self::Increment => None,
            Self::UnixTime => Some(Serial(unix as u32)),
            Self::Date => {
                let (year, month, day) = date(unix.div_euclid(86_400));
                let number = year * 1_000_000 + month * 10_000 + day * 100;
                u32::try_from(number).ok().map(Serial)
            }
        }
    }

    /// The serial of the next version after `floor`, which everything published so far is at or below. `all_follow` says whether all
    /// who hold the zone would take a serial for newer than what they have.
    pub fn next(self, floor: Serial, unix: i64, all_follow: impl Fn(Serial) -> bool) -> Serial {
        let Some(wanted) = self.wanted(unix) else {
            return floor.next();
        };
        let ahead = wanted.into_int().wrapping_sub(floor.into_int());
        match ahead {
            // Not behind by more than was ever counted on.
            _ if ahead.wrapping_neg() <= COUNTED => floor.next(),
            ..=ROOM => wanted,
            _ => {
                let step = match ahead {
                    ..=FARTHEST => wanted,
                    _ => floor.add(STEP),
                };
                // Whoever misses it must be able to follow for as long as it is counted on.
                match all_follow(step) && all_follow(step.add(ROOM)) {
                    true => step,
                    false => floor.next(),
                }
            }
        }
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Years that begin in March, in eras of 400 of them, so that the leap day is the last of a year.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + next, month, day)
}

/// A quarter of the circle: whoever holds anything of the last quarter can follow such a step.
const STEP: u32 = 1 << 30;

/// The longest way that is made in one step: half of the circle, with room for what is counted on.
const FARTHEST: u32 = (1 << 31) - 2 * ROOM;

/// The room that is left for it; less than this is no step that somebody could miss: half a year of seconds, a year and a half of
/// dates.
const ROOM: u32 = 1 << 24;

/// How far serials may have run ahead of a policy by counting, or by the steps of primaries in doubt, and are waited for: two years of
/// seconds.
const COUNTED: u32 = 1 << 26;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-23 00:00 UTC.
    const DAY: i64 = 1_795_392_000;

    fn all_do(_: Serial) -> bool {
        true
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, expected) in [
            (0, 1_970_010_100),
            (951_782_399, 2_000_022_800),
            (951_782_400, 2_000_022_900),
            (951_868_800, 2_000_030_100),
            (DAY - 1, 2_026_112_200),
            (DAY, 2_026_112_300),
            (4_102_444_799, 2_099_123_100),
        ] {
            assert_eq!(
                SerialPolicy::Date.wanted(unix),
                Some(Serial(expected)),
                "{unix}"
            );
        }
    }

    #[test]
    fn a_policy_takes_its_number_and_counts_on_within_a_second_or_a_day() {
        let date = SerialPolicy::Date;
        assert_eq!(date.next(Serial(7), DAY, all_do), Serial(2_026_112_300));
        assert_eq!(
            date.next(Serial(2_026_112_300), DAY + 5, all_do),
            Serial(2_026_112_301)
        );
        // The hundredth version of a day is the first of a day that was not.
        assert_eq!(
            date.next(Serial(2_026_112_399), DAY + 5, all_do),
            Serial(2_026_112_400)
        );
        let time = SerialPolicy::UnixTime;
        assert_eq!(
            time.next(Serial(DAY as u32), DAY, all_do),
            Serial(DAY as u32 + 1)
        );
        assert_eq!(
            time.next(Serial(DAY as u32), DAY + 9, all_do),
            Serial(DAY as u32 + 9)
        );
        assert_eq!(
            SerialPolicy::Increment.next(Serial(u32::MAX), DAY, all_do),
            Serial(0)
        );
    }

    #[test]
    fn from_dates_to_the_time_the_serials_go_around_and_wait_for_every_holder() {
        let time = SerialPolicy::UnixTime;
        let start = Serial(2_026_112_300);
        assert_eq!(time.next(start, DAY, |_| false), start.next());
        let mut now = start;
        let mut steps = Vec::new();
        while now != Serial(DAY as u32) {
            let next = time.next(now, DAY, |serial| serial.is_after(now));
            assert!(next.is_after(now));
            steps.push(next);
            now = next;
        }
        assert_eq!(steps.len(), 3, "{steps:?}");
    }

    proptest! {
        /// Some holders hear of some versions only. None of them ever meets a version that is not newer to it than what it has.
        #[test]
        fn nobody_is_left_behind_however_policies_change(
            start: u32,
            unix in 0i64..8_000_000_000,
            rounds in prop::collection::vec((0usize..3, 0i64..100_000, any::<[bool; 3]>()), 1..60),
        ) {
            let policies = [SerialPolicy::Increment, SerialPolicy::UnixTime, SerialPolicy::Date];
            let mut now = Serial(start);
            let mut holders = [now; 3];
            let mut unix = unix;
            for (policy, later, hears) in rounds {
                unix += later;
                let follow = |serial: Serial| holders.iter().all(|has| serial.is_after(*has));
                let next = policies[policy].next(now, unix, follow);
                prop_assert!(next.is_after(now));
                for (has, hears) in holders.iter_mut().zip(hears) {
                    prop_assert!(next.is_after(*has), "{next} after {has}");
                    if hears {
                        *has = next;
                    }
                }
                now = next;
            }
        }

        /// Holders that hear of everything are led to where the policy wants to be, wherever they start.
        #[test]
        fn a_policy_gets_where_it_wants_to_be(start: u32, unix in 0i64..4_000_000_000, date: bool) {
            let policy = if date { SerialPolicy::Date } else { SerialPolicy::UnixTime };
            let wanted = policy.wanted(unix).unwrap();
            let mut now = Serial(start);
            for _ in 0..4 {
                now = policy.next(now, unix, |serial| serial.is_after(now));
            }
            let counted = now.into_int().wrapping_sub(wanted.into_int());
            prop_assert!(counted <= COUNTED + 4, "{now} for {wanted}");
        }
    }
}
