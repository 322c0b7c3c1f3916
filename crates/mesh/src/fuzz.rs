//! Body of the fuzz target: any text as a welcome packet. Property tests run it too.

use crate::packet::Welcome;

/// Decodes a packet; one that is good is the same after it was encoded again.
pub fn packet(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(welcome) = Welcome::decode(&text, 0) {
        debug_assert!(Welcome::decode(&welcome.encode(), 0).is_ok_and(|again| again == welcome));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(zonemesh-welcome-1\\.)?[A-Za-z0-9_.-]{0,200}") {
            super::packet(text.as_bytes());
        }
    }
}
