//! Moments of the monotonic clock as a zone keeps them. It keeps six, and a hundred thousand zones pay for each octet.

use std::num::NonZeroU64;
use std::time::Duration;

/// A moment by the monotonic clock, or none: half as large as an `Option<Duration>`. No moment comes before one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct When(
    /// Nanoseconds, and one more: so that there is room for none.
    Option<NonZeroU64>,
);

impl When {
    /// The moment, exactly as it was given.
    pub(super) fn get(self) -> Option<Duration> {
        self.0.map(|nanos| Duration::from_nanos(nanos.get() - 1))
    }

    /// Puts another one in its place. What is 584 years away or more is that.
    pub(super) fn set(&mut self, moment: impl Into<Option<Duration>>) {
        *self = moment.into().into();
    }

    /// Hands it out, and is none from now on.
    pub(super) fn take(&mut self) -> Option<Duration> {
        std::mem::take(self).get()
    }

    /// Whether it has come; none never comes.
    pub(super) fn has_come(self, now: Duration) -> bool {
        self.get().is_some_and(|moment| moment <= now)
    }
}

impl From<Option<Duration>> for When {
    fn from(moment: Option<Duration>) -> Self {
        let nanos = |moment: Duration| u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
        Self(moment.and_then(|moment| NonZeroU64::new(nanos(moment).saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_are_kept_exactly_and_in_their_order(a: Option<u64>, b: Option<u64>) {
            // The last one stands for all that are further away.
            let moment = |nanos: Option<u64>| nanos.map(|nanos| Duration::from_nanos(nanos.min(u64::MAX - 1)));
            let (a, b) = (moment(a), moment(b));
            prop_assert_eq!(When::from(a).get(), a);
            prop_assert_eq!(When::from(a).cmp(&When::from(b)), a.cmp(&b));
        }
    }

    #[test]
    fn it_takes_eight_octets() {
        assert_eq!(size_of::<When>(), 8);
        assert_eq!(
            When::from(Some(Duration::MAX)).get(),
            Some(Duration::from_nanos(u64::MAX - 1))
        );
        assert!(When::from(Some(Duration::ZERO)).has_come(Duration::ZERO));
        assert!(!When::default().has_come(Duration::MAX));
    }
}
