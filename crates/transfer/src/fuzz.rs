//! Bodies of the fuzz targets: each takes any octets and must neither panic nor hang. They stand beside the parsers so
//! that the property tests run them too.

use jiff::Timestamp;
use zonemesh_zone::{Editor, Name, Record, Zone};

use crate::inbound::Transfer;
use crate::message::{HEADER_LEN, set_id};
use crate::query::{self, Request};
use crate::tsig::{Algorithm, Key, Keys};

/// Octets as an answer to an AXFR and to an IXFR, in messages of their own choice.
pub fn inbound(octets: &[u8]) {
    let Some(have) = small_zone() else { return };
    for mut transfer in [
        Transfer::axfr(have.apex().clone(), None, 0),
        Transfer::ixfr(have.clone(), 0),
    ] {
        let mut rest = octets;
        // The first octet says how long the first message is; the head is made to pass, to get behind it.
        while let Some((&len, more)) = rest.split_first() {
            let (message, more) = more.split_at(more.len().min(len as usize * 4));
            rest = more;
            let mut message = message.to_vec();
            if message.len() >= HEADER_LEN {
                set_id(&mut message, 0);
                message[2] = 0x80;
                message[3] = 0;
            }
            if transfer.feed(&message).is_err() {
                break;
            }
        }
    }
}

/// Octets as a request, and as a reply.
pub fn request(octets: &[u8]) {
    if let Ok(request) = Request::parse(octets) {
        let again = Request::parse(&request.compose());
        debug_assert!(again.is_ok() || matches!(request.question, query::Question::Notify { .. }));
    }
    // What comes back is of no interest here.
    let _ = query::edns_refusal(octets);
    let _ = query::reply(octets, zonemesh_zone::Rcode::REFUSED, Some((18, "no")));
    let _ = query::parse_soa_answer(octets, &Name::root_bytes());
    let _ = query::expire_of(octets);
    let _ = query::extended_error_of(octets);
}

/// Octets as a signed request and as a signed answer.
pub fn tsig(octets: &[u8]) {
    let Ok(key) = Key::new(Name::root_bytes(), Algorithm::HmacSha256, &[7; 32]) else {
        return;
    };
    let mut keys = Keys::new();
    keys.insert(key.clone());
    let now = Timestamp::UNIX_EPOCH;
    // What comes back is of no interest here.
    let _ = keys.verify_request(octets, now);
    let mut request = vec![0; HEADER_LEN];
    let _ = key.sign_request(&mut request, now).verify(octets, now);
}

fn small_zone() -> Option<Zone> {
    let apex = zonemesh_zone::record::parse_name("example.com").ok()?;
    let soa = Record::from_text("@ 60 IN SOA ns root 1 2 3 4 5", &apex).ok()?;
    let mut editor = Editor::new(apex);
    editor.add(soa).ok()?;
    editor.finish().ok()
}

#[cfg(test)]
mod tests {
    use zonemesh_testkit::seeds;

    #[test]
    fn the_inputs_that_are_kept_with_the_source_are_survived() {
        seeds::each("transfer", super::inbound);
        seeds::each("request", super::request);
        seeds::each("tsig", super::tsig);
    }
}
