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
    let names = records.saturating_sub(3).max(1) as u32;
    let ask = |number: u32| {
        let random = zones::mix(number ^ 0x3C6E_F372);
        let index = zones::mix(random) % names;
        match random % 10 {
            0..=6 => of(&zones::name(index), ZONE, zones::qtype_of(index), 0, 1),
            7 => of(&zones::name(index), ZONE, qtype::CAA, 0, 0),
            _ => of(&absent(index), ZONE, qtype::A, NXDOMAIN, 0),
        }
    };
    (0..count as u32).map(ask).collect()
}

/// What many zones that [`zones::write_member`] has written are asked, in the same parts.
#[allow(dead_code, reason = "this is shared with a program that has one zone")]
pub(crate) fn of_members(members: usize, count: usize) -> Vec<Question> {
    let ask = |number: u32| {
        let random = zones::mix(number ^ 0x3C6E_F372);
        let zone = zones::member(zones::mix(random) as usize % members.max(1));
        match random % 10 {
            0..=3 => of("www", &zone, qtype::A, 0, 1),
            4..=6 => of("www", &zone, qtype::AAAA, 0, 1),
            7 => of("www", &zone, qtype::CAA, 0, 0),
            _ => of("wwx", &zone, qtype::A, NXDOMAIN, 0),
        }
    };
    (0..count as u32).map(ask).collect()
}

const NXDOMAIN: u8 = 3;

/// A question with EDNS, with room for 1,232 octets and nothing else.
fn of(name: &str, zone: &str, qtype: u16, rcode: u8, answers: u16) -> Question {
    let mut message = query::question(&format!("{name}.{zone}"), qtype);
    message[11] = 1;
    message.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]);
    Question {
        message,
        rcode,
        answers,
    }
}

/// A name as long as those that there are, which is not there.
fn absent(index: u32) -> String {
    zones::name(index).replacen('h', "x", 1)
}
