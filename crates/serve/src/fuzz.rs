//! Body of the fuzz target: any octets as a query. Property tests run it too.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use zonemesh_zone::domain::base::Message;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Editor, Record, Zone};

use crate::rate::Verdict;
use crate::{
    Client, CookieSecrets, Kind, Moment, Outcome, RateLimiter, RateLimits, Served, Settings,
    Shared, Transport, Workspace, answer_about,
};

/// A server with one small zone that has something of everything.
static SERVER: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared::new();
    shared.ready.store(true, Ordering::Release);
    let settings = Settings {
        nsid: Some(b"here".to_vec()),
        version: Some("1".to_owned()),
        cookies: Some(CookieSecrets {
            current: [7; 16],
            previous: Some([8; 16]),
        }),
        ..Settings::default()
    };
    shared.settings.store(settings.into());
    if let Some(zone) = small_zone() {
        shared.update_zones(|zones| zones.with(Served::new(zone.clone())));
    }
    shared
});

/// Limits that nobody meets.
static LIMITER: LazyLock<RateLimiter> = LazyLock::new(|| {
    RateLimiter::new(RateLimits {
        exempt: vec![([0, 0, 0, 0].into(), 0)],
        ..RateLimits::default()
    })
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
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let client = Client {
            addr: ([192, 0, 2, 1], 53).into(),
            transport,
            pin: None,
        };
        let mut out = Vec::new();
        SERVER.view(Moment::default(), |view| {
            let mut workspace = Workspace::default();
            let (outcome, about) = answer_about(&mut workspace, octets, &client, view, &mut out);
            if outcome != Outcome::Reply {
                return;
            }
            check(&out, transport);
            let verdict = LIMITER.verdict(client.ip(), &about, 0, || 0);
            debug_assert!(verdict == Verdict::Send);
            let whole = out.len();
            about.truncate(&mut out);
            debug_assert!(out.len() <= whole && (about.kind == Kind::Error || out[2] & 2 != 0));
            check(&out, transport);
        });
    }
}

/// Whether an answer can be read, to its end.
fn check(answer: &[u8], transport: Transport) {
    debug_assert!(answer.len() >= 12 && answer.len() <= 65_535);
    debug_assert!(transport != Transport::Udp || answer.len() <= 4096);
    let message = Message::from_slice(answer);
    debug_assert!(message.is_ok_and(|message| message.iter().all(|record| record.is_ok())));
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
    use zonemesh_testkit::seeds;

    #[test]
    fn the_inputs_that_are_kept_with_the_source_are_survived() {
        seeds::each("query", super::query);
    }

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
