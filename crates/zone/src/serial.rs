//! Serials and their arithmetic (RFC 1982).

pub use domain::base::Serial;

/// Comparisons that read like the sentences of RFC 1982.
pub trait SerialExt: Copy {
    /// Whether this serial is greater than the other (RFC 1982 §3.2); false as well when the two cannot be compared.
    fn is_after(self, other: Self) -> bool;
    /// The smallest serial greater than this one.
    fn next(self) -> Self;
    /// The greater of the two; `self` when they are equal or cannot be compared.
    fn later_of(self, other: Self) -> Self;
    /// The first serial that is greater than both: what a publication must use at the least.
    fn after_both(self, other: Self) -> Self;
}

impl SerialExt for Serial {
    fn is_after(self, other: Self) -> bool {
        self.partial_cmp(&other) == Some(std::cmp::Ordering::Greater)
    }

    fn next(self) -> Self {
        self.add(1)
    }

    fn later_of(self, other: Self) -> Self {
        if other.is_after(self) { other } else { self }
    }

    fn after_both(self, other: Self) -> Self {
        self.later_of(other).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_after_the_wrap_is_greater() {
        assert!(Serial(5).is_after(Serial(4_294_967_290)));
        assert!(!Serial(4_294_967_290).is_after(Serial(5)));
        assert_eq!(Serial(u32::MAX).next(), Serial(0));
        assert_eq!(Serial(4_294_967_290).later_of(Serial(5)), Serial(5));
    }

    #[test]
    fn serials_half_the_number_space_apart_cannot_be_compared() {
        assert!(!Serial(0).is_after(Serial(0x8000_0000)));
        assert!(!Serial(0x8000_0000).is_after(Serial(0)));
    }
}
