//! What the zones of the benchmark are asked, and what the answers have to be.

use zonemesh_testkit::query::{self, qtype};

use crate::zones::{self, ZONE};

/// What is asked, and what the answer to it has to be.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The message; its ID is filled in when it is sent.
    pub(crate) message: Vec<u8>,
    /// RCODE of the answer.
    pub(crate) rcode: u8,
    /// Records in its answer section.
    pub(crate) answers: u16,
}

/// What a zone that [`zones::write`] has written is asked: seven in ten for what is there, one for a type that a name has not, two for names
/// that do not exist. The order has nothing to do with that of the file or of the names.
pub(crate) fn questions(records: usize, count: usize) -> Vec<Question> {
    const NXDOMAIN: u8 = 3;
    let names = records.saturating_sub(3).max(1) as u32;
    let ask = |number: u32| {
        let random = zones::mix(number ^ 0x3C6E_F372);
        let index = zones::mix(random) % names;
        let (name, qtype, rcode, answers) = match random % 10 {
            0..=6 => (zones::name(index), zones::qtype_of(index), 0, 1),
            7 => (zones::name(index), qtype::CAA, 0, 0),
            _ => (absent(index), qtype::A, NXDOMAIN, 0),
        };
        let mut message = query::question(&format!("{name}.{ZONE}"), qtype);
        // EDNS, with room for 1,232 octets and nothing else.
        message[11] = 1;
        message.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]);
        Question {
            message,
            rcode,
            answers,
        }
    };
    (0..count as u32).map(ask).collect()
}

/// A name as long as those that there are, which is not there.
fn absent(index: u32) -> String {
    zones::name(index).replacen('h', "x", 1)
}
