//! Numbers that are made of names and texts, the same at all sites and in every version. They find accidents, not attacks.

/// 64-bit FNV-1a.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The same with its halves mixed: the upper bits of similar names are far from each other, too.
pub(crate) fn scattered(name: &str) -> u64 {
    let hash = fnv(name.as_bytes());
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
