//! Random octets from the operating system.

/// As many random octets as asked for.
///
/// # Panics
///
/// When the system has none to give, which Linux does not do once it is up.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("the system's random source works once it is up");
    octets
}
