//! Tickets by which clients of QUIC come back, and early data with them (RFC 8446 §2.3, RFC 9001 §4.6).
//!
//! Only who has shown no certificate is given one: a ticket would stand for a key that was proved a day ago. Each is good once, so that
//! early data which is sent again is taken as if it had not come (RFC 8446 §8.1), and all are forgotten with the process.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// How many tickets are kept, of the order of 300 octets each. Who has an older one makes a whole handshake.
const TICKETS: usize = 4096;

/// Gives out tickets, and takes early data.
pub(super) fn with_early_data(mut tls: ServerConfig) -> Arc<ServerConfig> {
    tls.session_storage = Arc::new(Anonymous(ServerSessionMemoryCache::new(TICKETS)));
    tls.send_tls13_tickets = 1;
    // RFC 9001 §4.6.1: no other value is allowed; the windows of QUIC bound it.
    tls.max_early_data_size = u32::MAX;
    Arc::new(tls)
}

/// Keeps the sessions of clients without a certificate.
#[derive(Debug)]
struct Anonymous(Arc<ServerSessionMemoryCache>);

impl StoresServerSessions for Anonymous {
    fn put(&self, key: Vec<u8>, session: Vec<u8>) -> bool {
        !may_have_certificate(&session) && self.0.put(key, session)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}

/// Whether a certificate may be among octets. What a session looks like is the TLS library's affair; but a certificate in it is DER: an
/// ASN.1 sequence of more than 127 octets, which has its length in front of it (X.690 §8.1.3.5). There is no room for one in a session without.
fn may_have_certificate(session: &[u8]) -> bool {
    (0..session.len()).any(|at| is_long_sequence(&session[at..]))
}

fn is_long_sequence(octets: &[u8]) -> bool {
    let [0x30, form @ 0x81..=0x84, rest @ ..] = octets else {
        return false;
    };
    let Some((len, data)) = rest.split_at_checked(usize::from(form & 0x7F)) else {
        return false;
    };
    let len = len
        .iter()
        .fold(0, |len: usize, &octet| len << 8 | usize::from(octet));
    (128..=data.len()).contains(&len)
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn what_may_have_a_certificate_in_it_is_not_kept() {
        let sessions = Anonymous(ServerSessionMemoryCache::new(TICKETS));
        for names in [vec![], vec!["x".repeat(63); 20]] {
            let certified = generate_simple_self_signed(names).unwrap();
            let session = [&[7; 60][..], certified.cert.der(), &[1, 2, 3]].concat();
            assert!(!sessions.put(vec![1], session));
        }
        assert!(sessions.get(&[1]).is_none());
        // A secret can look like the beginning of one.
        assert!(sessions.put(vec![1], [0x30, 0x81, 0x80].repeat(30)));
        assert!(sessions.take(&[1]).is_some());
        assert!(sessions.take(&[1]).is_none(), "good once");
    }
}
