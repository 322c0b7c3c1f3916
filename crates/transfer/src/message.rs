//! Composing whole messages with compressed owner names, and looking into their heads (RFC 1035 §4).
//!
//! Names inside of RDATA are not compressed: it saves little in a transfer, and a receiver need not undo it.

use zonemesh_zone::{Class, Name, Rtype, domain};

/// The fixed head of a message.
pub(crate) const HEADER_LEN: usize = 12;
/// QR: the message is a response.
pub(crate) const QR: u16 = 0x8000;
/// AA: the answer is authoritative.
pub(crate) const AA: u16 = 0x0400;
/// TC: the message was truncated.
pub(crate) const TC: u16 = 0x0200;
/// RD: recursion desired.
pub(crate) const RD: u16 = 0x0100;
/// OPCODE of an ordinary query.
pub(crate) const OPCODE_QUERY: u8 = 0;
/// OPCODE of NOTIFY (RFC 1996).
pub(crate) const OPCODE_NOTIFY: u8 = 4;
/// OPCODE of UPDATE (RFC 2136).
pub(crate) const OPCODE_UPDATE: u8 = 5;
/// The largest offset that a compression pointer can name, plus one.
const POINTABLE: usize = 0x4000;

/// The head of a message, read without looking further.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) counts: [u16; 4],
}

impl Header {
    /// Reads it; none when the message is shorter than a head.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_LEN] = message.first_chunk()?;
        let field = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        Some(Self {
            id: field(0),
            flags: field(2),
            counts: [field(4), field(6), field(8), field(10)],
        })
    }

    pub(crate) fn is_response(&self) -> bool {
        self.flags & QR != 0
    }

    pub(crate) fn opcode(&self) -> u8 {
        (self.flags >> 11) as u8 & 0x0F
    }

    /// The four bits of the RCODE that are in the head.
    pub(crate) fn rcode(&self) -> u8 {
        self.flags as u8 & 0x0F
    }
}

/// Puts another ID into a message.
pub(crate) fn set_id(message: &mut [u8], id: u16) {
    if let Some(head) = message.first_chunk_mut::<2>() {
        *head = id.to_be_bytes();
    }
}

/// Writes one message.
pub(crate) struct Writer {
    buf: Vec<u8>,
    /// The message never gets longer than this.
    limit: usize,
    counts: [u16; 4],
    trail: Trail,
}

/// The sections of a message, by their place in the head.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

impl Writer {
    /// Starts a message of at most `limit` octets.
    pub(crate) fn new(id: u16, flags: u16, limit: usize) -> Self {
        let mut buf = Vec::with_capacity(limit.min(0x1_0000));
        buf.extend_from_slice(&id.to_be_bytes());
        buf.extend_from_slice(&flags.to_be_bytes());
        buf.extend_from_slice(&[0; 8]);
        Self {
            buf,
            limit: limit.min(0xFFFF),
            counts: [0; 4],
            trail: Trail::default(),
        }
    }

    /// Writes a question of class IN.
    pub(crate) fn question(&mut self, name: &Name, rtype: Rtype) {
        self.trail.write(&mut self.buf, name.as_slice());
        self.buf.extend_from_slice(&rtype.to_int().to_be_bytes());
        self.buf
            .extend_from_slice(&Class::IN.to_int().to_be_bytes());
        self.counts[0] += 1;
    }

    /// Writes a record; returns false, with nothing written, when it does not fit or the section is full.
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner: &domain::base::Name<impl AsRef<[u8]> + ?Sized>,
        rtype: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> bool {
        let start = self.buf.len();
        let owner = owner.as_slice();
        // Cheap test first: most records fit even with their owner name written out.
        let worst = start + owner.len() + 10 + rdata.len();
        if worst > self.limit && start + self.trail.cost(owner) + 10 + rdata.len() > self.limit {
            return false;
        }
        let count = &mut self.counts[section as usize];
        let Some(more) = count.checked_add(1) else {
            return false;
        };
        *count = more;
        self.trail.write(&mut self.buf, owner);
        let mut head = [0; 10];
        head[0..2].copy_from_slice(&rtype.to_be_bytes());
        head[2..4].copy_from_slice(&Class::IN.to_int().to_be_bytes());
        head[4..8].copy_from_slice(&ttl.to_be_bytes());
        head[8..10].copy_from_slice(&(rdata.len() as u16).to_be_bytes());
        self.buf.extend_from_slice(&head);
        self.buf.extend_from_slice(rdata);
        true
    }

    /// Writes an OPT record (RFC 6891 §6.1.2); returns false when it does not fit.
    pub(crate) fn opt(&mut self, payload_size: u16, options: &[u8]) -> bool {
        if self.buf.len() + 11 + options.len() > self.limit {
            return false;
        }
        self.buf.push(0);
        self.buf
            .extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
        self.buf.extend_from_slice(&payload_size.to_be_bytes());
        self.buf.extend_from_slice(&[0; 4]);
        self.buf
            .extend_from_slice(&(options.len() as u16).to_be_bytes());
        self.buf.extend_from_slice(options);
        self.counts[Section::Additional as usize] += 1;
        true
    }

    /// Makes room for a record that is larger than the limit that was wished for.
    pub(crate) fn raise_limit(&mut self, limit: usize) {
        self.limit = self.limit.max(limit.min(0xFFFF));
    }

    /// The message.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        for (count, place) in self
            .counts
            .iter()
            .zip(self.buf[4..HEADER_LEN].chunks_exact_mut(2))
        {
            place.copy_from_slice(&count.to_be_bytes());
        }
        self.buf
    }
}

/// Where the labels of the name that was written last stand in the message.
///
/// Owner names come in canonical order, so that nearly all there is to save is what a name shares with the one before
/// it. Labels are compared with regard to case, since a transfer must keep it (RFC 5936 §3.4).
#[derive(Default)]
struct Trail {
    name: Vec<u8>,
    labels: Vec<Place>,
    spare: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Where the label begins in the name.
    at: u8,
    /// Where the label begins in the message; 0 when no pointer can say so.
    offset: u16,
}

impl Trail {
    /// How many octets the name will take.
    fn cost(&self, name: &[u8]) -> usize {
        if self.name == name && self.labels.first().is_some_and(|first| first.offset != 0) {
            return 2;
        }
        let mut labels = Vec::new();
        split(name, &mut labels);
        match self.shared(name, &labels) {
            Some((own, _)) => own_len(&labels, own, name.len()) + 2,
            None => name.len(),
        }
    }

    /// Finds the longest ending that the name shares with the last one and that can be pointed to: how many labels the
    /// name has in front of it, and its index among the labels of the last name.
    fn shared(&self, name: &[u8], labels: &[Place]) -> Option<(usize, usize)> {
        let (mut i, mut j) = (self.labels.len(), labels.len());
        let (mut last_end, mut end) = (self.name.len(), name.len());
        while i > 0 && j > 0 {
            let (last_at, at) = (self.labels[i - 1].at as usize, labels[j - 1].at as usize);
            if self.name[last_at..last_end] != name[at..end] {
                break;
            }
            (i, j) = (i - 1, j - 1);
            (last_end, end) = (last_at, at);
        }
        while i < self.labels.len() && self.labels[i].offset == 0 {
            (i, j) = (i + 1, j + 1);
        }
        (i < self.labels.len()).then_some((j, i))
    }

    fn write(&mut self, buf: &mut Vec<u8>, name: &[u8]) {
        if self.name == name
            && let Some(first) = self.labels.first()
            && first.offset != 0
        {
            buf.extend_from_slice(&(0xC000 | first.offset).to_be_bytes());
            return;
        }
        if self.write_sibling(buf, name) {
            return;
        }
        let mut labels = std::mem::take(&mut self.spare);
        split(name, &mut labels);
        let base = buf.len();
        let shared = self.shared(name, &labels);
        let own = shared.map_or(labels.len(), |(own, _)| own);
        for label in &mut labels[..own] {
            let offset = base + label.at as usize;
            label.offset = if offset < POINTABLE { offset as u16 } else { 0 };
        }
        match shared {
            Some((own, theirs)) => {
                for (label, last) in labels[own..].iter_mut().zip(&self.labels[theirs..]) {
                    label.offset = last.offset;
                }
                buf.extend_from_slice(&name[..own_len(&labels, own, name.len())]);
                buf.extend_from_slice(&(0xC000 | self.labels[theirs].offset).to_be_bytes());
            }
            None => buf.extend_from_slice(name),
        }
        self.name.clear();
        self.name.extend_from_slice(name);
        self.spare = std::mem::replace(&mut self.labels, labels);
    }
}

/// # Names beside each other
impl Trail {
    /// Writes a name that differs from the last one in its first label alone, which most names of a large zone do; whether it is
    /// such a name.
    fn write_sibling(&mut self, buf: &mut Vec<u8>, name: &[u8]) -> bool {
        let first = |name: &[u8]| 1 + name.first().copied().unwrap_or_default() as usize;
        let (own, last) = (first(name), first(&self.name));
        let Some(&parent) = self.labels.get(1).filter(|parent| parent.offset != 0) else {
            return false;
        };
        if own == 1 || name.get(own..) != self.name.get(last..) {
            return false;
        }
        let base = buf.len();
        buf.extend_from_slice(&name[..own]);
        buf.extend_from_slice(&(0xC000 | parent.offset).to_be_bytes());
        self.labels[0].offset = if base < POINTABLE { base as u16 } else { 0 };
        for label in &mut self.labels[1..] {
            // A name has 255 octets at most.
            label.at = (label.at as usize + own - last) as u8;
        }
        self.name.clear();
        self.name.extend_from_slice(name);
        true
    }
}

/// The length of the first `own` labels.
fn own_len(labels: &[Place], own: usize, name_len: usize) -> usize {
    labels.get(own).map_or(name_len, |label| label.at as usize)
}

/// Finds the labels of a name, without that of the root.
fn split(name: &[u8], labels: &mut Vec<Place>) {
    labels.clear();
    let mut at = 0;
    while let Some(&len) = name.get(at)
        && len != 0
    {
        labels.push(Place {
            at: at as u8,
            offset: 0,
        });
        at += 1 + len as usize;
    }
}

/// Steps over a possibly compressed name; none when it does not end within the message.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len if len < 64 => at += 1 + len as usize,
            len if len >= 0xC0 => {
                message.get(at + 1)?;
                return Some(at + 2);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::domain::base::{Message, ToName};
    use zonemesh_zone::record::parse_name;

    use super::*;

    #[test]
    fn names_are_compressed_and_keep_their_case() {
        let names = [
            "example.com",
            "a.example.com",
            "b.a.example.com",
            "B.a.example.com",
            "b.a.EXAMPLE.com",
            "c.b.a.EXAMPLE.com",
            // Beside each other, shorter and longer, and below one of them.
            "dddd.b.a.EXAMPLE.com",
            "e.b.a.EXAMPLE.com",
            "f.e.b.a.EXAMPLE.com",
            "f.e.b.a.example.com",
            "org",
            ".",
            "example.com",
        ];
        let mut writer = Writer::new(1, QR, 4096);
        writer.question(&parse_name("example.com").unwrap(), Rtype::AXFR);
        for name in names {
            assert!(writer.record(
                Section::Answer,
                &parse_name(name).unwrap(),
                1,
                60,
                &[1, 2, 3, 4]
            ));
        }
        let message = writer.finish();
        let parsed = Message::from_octets(message.as_slice()).unwrap();
        let owners: Vec<String> = parsed
            .answer()
            .unwrap()
            .map(|record| record.unwrap().owner().fmt_with_dot().to_string())
            .collect();
        let names = names.map(|name| format!("{}.", name.trim_end_matches('.')));
        assert_eq!(owners, names);
        assert!(message.len() < 12 + 17 + 13 * 14 + 100, "{}", message.len());
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_no_trace() {
        let owner = parse_name("a.example.com").unwrap();
        let mut writer = Writer::new(1, QR, 60);
        assert!(writer.record(Section::Answer, &owner, 1, 60, &[0; 4]));
        assert!(writer.record(Section::Answer, &owner, 1, 60, &[0; 4]));
        assert!(!writer.record(Section::Answer, &owner, 1, 60, &[0; 4]));
        let message = writer.finish();
        assert!(message.len() <= 60);
        assert_eq!(Header::read(&message).unwrap().counts, [0, 2, 0, 0]);
    }
}
