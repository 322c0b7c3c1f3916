//! Body of the fuzz target: any octets as a query. Property tests run it too.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record, Zone};

use crate::{Client, Moment, Outcome, Served, Shared, Transport, answer};

/// A server with one small zone that has something of everything.
static SERVER: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared::new();
    shared.ready.store(true, Ordering::Release);
    if let Some(zone) = small_zone() {
        shared.update_zones(|zones| zones.with(Served::new(zone.clone())));
    }
    shared
});

/// Answers a message, over UDP and over TCP, and takes it off a stream of QUIC.
pub fn query(octets: &[u8]) {
    let mut stream = (octets.len() as u16).to_be_bytes().to_vec();
    stream.extend_from_slice(octets);
    for stream in [octets, &stream] {
        if let Ok(message) = crate::quic::query::query(stream) {
            debug_assert!(message.len() + 2 == stream.len() && message.len() >= 12);
        }
    }
    for transport in [Transport::Udp, Transport::Tcp] {
        let client = Client {
            addr: ([192, 0, 2, 1], 53).into(),
            transport,
            pin: None,
        };
        let mut out = Vec::new();
        let outcome = SERVER.view(Moment::default(), |view| {
            answer(octets, &client, view, &mut out)
        });
        if outcome == Outcome::Reply {
            debug_assert!(out.len() >= 12 && out.len() <= 65_535);
            debug_assert!(transport != Transport::Udp || out.len() <= 4096);
            debug_assert!(zonemesh_zone::domain::base::Message::from_slice(&out).is_ok());
        }
    }
}

fn small_zone() -> Option<Zone> {
    let apex = parse_name("example").ok()?;
    let mut editor = Editor::new(apex.clone());
    for text in [
        "@ 60 IN SOA ns root 1 2 3 4 5",
        "@ 60 IN NS ns",
        "ns 60 IN A 192.0.2.1",
        "*.wild 60 IN MX 10 ns",
        "alias 60 IN CNAME a.wild",
        "cut 60 IN NS ns.cut",
        "ns.cut 60 IN AAAA 2001:db8::1",
        "moved 60 IN DNAME wild",
    ] {
        editor.add(Record::from_text(text, &apex).ok()?).ok()?;
    }
    editor.finish().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_octets_are_survived(octets: Vec<u8>) {
            super::query(&octets);
        }

        #[test]
        fn a_query_that_was_damaged_is_survived(at in 0usize..26, octet: u8) {
            let mut message = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
            message.extend_from_slice(b"\x01a\x04wild\x07example\x00\x00\x0f\x00\x01");
            let at = at % message.len();
            message[at] = octet;
            super::query(&message);
        }
    }
}
