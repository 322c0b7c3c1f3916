//! What a client says on a stream: one query, and what may not be in it (RFC 9250 §4.2). Octets in, a verdict out.
//!
//! In one thing this takes more than the RFC: §4.2.1 has the message ID 0, for with a stream for each query there is nothing to
//! tell apart, and Knot DNS 3.4 sends others when it asks. They do no harm, and come back with the answer.

use crate::edns::codes;
use crate::message::{HEADER, has_option};

/// The most that a stream may bring: a message of 65535 octets after its length.
pub(crate) const MOST: usize = 2 + 65_535;

/// Why the connection ends: RFC 9250 §4.3.3 calls these fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The stream is shorter or longer than the length in front of it says.
    #[error("a stream must have one message after its length, and nothing else")]
    Length,
    /// The message is a response, or has no whole header.
    #[error("a query was expected")]
    NoQuery,
    /// RFC 9250 §5.5.2.
    #[error("edns-tcp-keepalive has no place in QUIC")]
    Keepalive,
}

/// The query on a stream that was read to its end.
///
/// # Errors
///
/// When the connection must end for it.
pub fn query(stream: &[u8]) -> Result<&[u8], Fault> {
    let (len, message) = stream.split_first_chunk::<2>().ok_or(Fault::Length)?;
    if message.len() != usize::from(u16::from_be_bytes(*len)) {
        return Err(Fault::Length);
    }
    if message.len() < HEADER || message[2] & 0x80 != 0 {
        return Err(Fault::NoQuery);
    }
    match has_option(message, codes::KEEPALIVE) {
        true => Err(Fault::Keepalive),
        false => Ok(message),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut stream = (message.len() as u16).to_be_bytes().to_vec();
        stream.extend_from_slice(message);
        stream
    }

    /// A query for the root's SOA, with an OPT record that has one option.
    fn with_option(code: u16) -> Vec<u8> {
        let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 6, 0, 1];
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 6]);
        message.extend_from_slice(&code.to_be_bytes());
        message.extend_from_slice(&[0, 2, 0, 0]);
        message
    }

    #[test]
    fn one_whole_message_is_a_query_whatever_its_id() {
        let good = with_option(codes::PADDING);
        assert_eq!(query(&framed(&good)), Ok(&good[..]));
        let mut other = good.clone();
        other[1] = 1;
        assert_eq!(query(&framed(&other)), Ok(&other[..]));
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(query(&framed(&response)), Err(Fault::NoQuery));
        assert_eq!(query(&framed(&good[..11])), Err(Fault::NoQuery));
        for wrong in [
            &[][..],
            &[0],
            &framed(&good)[..20],
            &[framed(&good), vec![0]].concat(),
            // Two queries on one stream.
            &framed(&good).repeat(2),
        ] {
            assert_eq!(query(wrong), Err(Fault::Length), "{wrong:?}");
        }
    }

    #[test]
    fn the_keepalive_of_tcp_is_found_wherever_it_stands() {
        let keepalive = with_option(codes::KEEPALIVE);
        assert_eq!(query(&framed(&keepalive)), Err(Fault::Keepalive));
        // Behind another option.
        let mut second = with_option(codes::PADDING);
        second.extend_from_slice(&[0, 11, 0, 0]);
        second[27] = 10;
        assert_eq!(query(&framed(&second)), Err(Fault::Keepalive));
        // In a message that the data plane hands on: a NOTIFY with its SOA record in the answer section.
        let mut notify = vec![0, 0, 0x20, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 6, 0, 1];
        notify.extend_from_slice(&[0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 2, 1, 2]);
        assert_eq!(query(&framed(&notify)), Ok(&notify[..]));
        notify.extend_from_slice(&keepalive[17..]);
        assert_eq!(query(&framed(&notify)), Err(Fault::Keepalive));
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets: Vec<u8>) {
            let _ = query(&octets);
            let _ = query(&framed(&octets));
        }

        #[test]
        fn a_query_that_was_damaged_is_survived(at in 0usize..34, octet: u8, cut in 0usize..34) {
            let mut message = with_option(codes::KEEPALIVE);
            let at = at % message.len();
            message[at] = octet;
            message.truncate(cut.max(1));
            let _ = query(&framed(&message));
        }
    }
}
