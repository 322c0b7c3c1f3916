//! What sites ask and tell each other of what they hold, as the data of an EDNS option. Integers are big endian.
//!
//! | | octets |
//! |---|---|
//! | asked for the sum | version |
//! | the sum | version, sum (8) |
//! | asked for a section | version, depth (1), start (8) |
//! | its sums | version, depth, start, `1`, 64 sums (8 each) |
//! | its zones | version, depth, start, `2`, and for each zone: name, serial (4), digest (16), `1` where it is authentic or `0` |

use super::{DEEPEST, FAN, Holding, LISTED, Listing, Section};
use crate::{Bytes, Digest, Name, Serial};

/// The version of the form. Whoever meets another ignores it.
pub const FORM: u8 = 2;

/// How many octets a question for a section has.
const QUESTION: usize = 10;
/// What follows the question in an answer.
const SUMS: u8 = 1;
const ZONES: u8 = 2;

/// What a site wants to know of what another holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The sum of everything.
    Sum,
    /// What there is in a section.
    Section(Section),
}

impl Asked {
    /// As octets.
    pub fn compose(&self) -> Vec<u8> {
        match self {
            Self::Sum => vec![FORM],
            Self::Section(section) => section.compose(),
        }
    }

    /// From octets; none where they are no question of this version.
    pub fn parse(data: &[u8]) -> Option<Self> {
        match data {
            [FORM] => Some(Self::Sum),
            _ => match Section::parse(data)? {
                (section, []) => Some(Self::Section(section)),
                _ => None,
            },
        }
    }
}

impl Section {
    fn compose(&self) -> Vec<u8> {
        let mut octets = vec![FORM, self.depth];
        octets.extend_from_slice(&self.start.to_be_bytes());
        octets
    }

    /// Reads the head of a question or of an answer, and gives back what follows.
    fn parse(data: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = data.split_first_chunk::<QUESTION>()?;
        let [version, depth, start @ ..] = head;
        let section = Self {
            depth: *depth,
            start: u64::from_be_bytes(*start),
        };
        let sound = *version == FORM && section.depth <= DEEPEST;
        (sound && Self::at(section.depth, section.start) == section).then_some((section, rest))
    }
}

/// The sum of everything, as octets.
pub fn compose_sum(sum: u64) -> [u8; 9] {
    let mut octets = [FORM; 9];
    octets[1..].copy_from_slice(&sum.to_be_bytes());
    octets
}

/// The sum of everything from octets; none where they are no such thing.
pub fn parse_sum(data: &[u8]) -> Option<u64> {
    let (version, sum) = data.split_first()?;
    (*version == FORM).then_some(u64::from_be_bytes(sum.try_into().ok()?))
}

impl Listing {
    /// What is said of a section, as octets.
    pub fn compose(&self, section: Section) -> Vec<u8> {
        let mut octets = section.compose();
        match self {
            Self::Sums(sums) => {
                octets.push(SUMS);
                octets.extend(sums.iter().flat_map(|sum| sum.to_be_bytes()));
            }
            Self::Zones(zones) => {
                octets.push(ZONES);
                for held in zones.iter().take(LISTED) {
                    octets.extend_from_slice(held.apex.as_slice());
                    octets.extend_from_slice(&held.serial.into_int().to_be_bytes());
                    octets.extend_from_slice(&held.digest.to_octets());
                    octets.push(u8::from(held.authentic));
                }
            }
        }
        octets
    }

    /// From octets, with the section that it is about; none where they are no such thing. Of zones that do not belong there
    /// nothing is read.
    pub fn parse(data: &[u8]) -> Option<(Section, Self)> {
        let (section, rest) = Section::parse(data)?;
        let (kind, mut rest) = rest.split_first()?;
        match *kind {
            SUMS if section.depth < DEEPEST && rest.len() == FAN * 8 => {
                let mut sums = Box::new([0; FAN]);
                for (sum, octets) in sums.iter_mut().zip(rest.chunks_exact(8)) {
                    *sum = u64::from_be_bytes(octets.try_into().ok()?);
                }
                Some((section, Self::Sums(sums)))
            }
            ZONES => {
                let mut zones = Vec::new();
                while !rest.is_empty() {
                    let (held, after) = parse_holding(rest)?;
                    if zones.len() == LISTED || !section.has(super::place(&held.apex)) {
                        return None;
                    }
                    zones.push(held);
                    rest = after;
                }
                Some((section, Self::Zones(zones)))
            }
            _ => None,
        }
    }
}

fn parse_holding(data: &[u8]) -> Option<(Holding, &[u8])> {
    let mut end = 0;
    loop {
        let len = usize::from(*data.get(end)?);
        end += 1 + len;
        match len {
            0 => break,
            64.. => return None,
            _ => {}
        }
    }
    let (name, rest) = data.split_at_checked(end)?;
    let apex = Name::from_octets(Bytes::copy_from_slice(name)).ok()?;
    let (serial, rest) = rest.split_first_chunk::<4>()?;
    let (digest, rest) = rest.split_first_chunk::<{ Digest::LEN }>()?;
    let (flag, rest) = rest.split_first()?;
    let held = Holding {
        apex,
        serial: Serial(u32::from_be_bytes(*serial)),
        digest: Digest::from_octets(*digest),
        authentic: match flag {
            0 => false,
            1 => true,
            _ => return None,
        },
    };
    Some((held, rest))
}
