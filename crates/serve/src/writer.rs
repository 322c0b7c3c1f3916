//! Writing a message with name compression (RFC 1035 §4.1.4) and a limit on its length.
//!
//! The table of names written so far lives on the stack. An entry is looked for by a mark of a few octets of the name
//! and then compared in the message itself. Case is ignored, so a compressed name appears in the case of the one that
//! it points to: the answer to a query in odd case shows that case.

use crate::message::wire_name_len;

/// The message has no room for what was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Clone, Copy, Default)]
struct Entry {
    mark: u32,
    at: u16,
}

/// How many names are remembered; those beyond are not pointed to.
const NAMES: usize = 40;

/// A message in the making.
pub(crate) struct Writer<'b> {
    out: &'b mut Vec<u8>,
    limit: usize,
    names: [Entry; NAMES],
    count: usize,
    /// Where the name of the question stands, and how long it is; empty without a question.
    question: (u16, u16),
}

/// A state to go back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    len: usize,
    count: usize,
}

impl<'b> Writer<'b> {
    /// Starts behind what is there already, of which no name is known.
    pub(crate) fn new(out: &'b mut Vec<u8>, limit: usize) -> Self {
        Self {
            out,
            limit,
            names: [Entry::default(); NAMES],
            count: 0,
            question: (0, 0),
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            len: self.out.len(),
            count: self.count,
        }
    }

    /// Forgets what was written since.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.out.truncate(mark.len);
        self.count = mark.count;
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn into_inner(self) -> &'b mut Vec<u8> {
        self.out
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) -> Result<(), Full> {
        if self.out.len() + octets.len() > self.limit {
            return Err(Full);
        }
        self.out.extend_from_slice(octets);
        Ok(())
    }

    /// Writes a good name, as a pointer as far as it was written before.
    pub(crate) fn name(&mut self, name: &[u8]) -> Result<(), Full> {
        // What was asked for is what most records belong to.
        if self.asked_for(name) {
            return self.octets(&(0xC000 | self.question.0).to_be_bytes());
        }
        let start = self.out.len();
        let known = self.count;
        let mut at = 0;
        while name[at] != 0 {
            let mark = mark_of(&name[at..]);
            let hit = self.names[..known]
                .iter()
                .find(|entry| entry.mark == mark && self.same(entry.at as usize, &name[at..]));
            if let Some(entry) = hit {
                let pointer = 0xC000 | entry.at;
                if start + at + 2 > self.limit {
                    self.count = known;
                    return Err(Full);
                }
                self.out.extend_from_slice(&name[..at]);
                self.out.extend_from_slice(&pointer.to_be_bytes());
                return Ok(());
            }
            self.remember(mark, start + at);
            at += 1 + name[at] as usize;
        }
        self.octets(&name[..=at])
            .inspect_err(|_| self.count = known)
    }

    /// Writes the question, which stands right behind the header: there is nothing that its name could point to.
    pub(crate) fn question(&mut self, wire: &[u8]) -> Result<(), Full> {
        let start = self.out.len();
        self.octets(wire)?;
        let name = &wire[..wire.len().saturating_sub(4)];
        let mut at = 0;
        while name[at] != 0 {
            self.remember(mark_of(&name[at..]), start + at);
            at += 1 + name[at] as usize;
        }
        // The root takes fewer octets than a pointer to it.
        if at > 0 {
            self.question = (start as u16, name.len() as u16);
        }
        Ok(())
    }

    fn remember(&mut self, mark: u32, at: usize) {
        // A pointer has 14 bits.
        if self.count < NAMES && at < 0x4000 {
            self.names[self.count] = Entry {
                mark,
                at: at as u16,
            };
            self.count += 1;
        }
    }

    /// Whether a name is that of the question, in the same case.
    fn asked_for(&self, name: &[u8]) -> bool {
        let (start, len) = (usize::from(self.question.0), usize::from(self.question.1));
        len == name.len() && self.out[start..start + len] == *name
    }

    /// Copies a name that stands in the message, uncompressed; returns its length.
    pub(crate) fn copy_name(&self, mut at: usize, name: &mut [u8; 255]) -> usize {
        let mut here = 0;
        loop {
            let len = self.out[at];
            if len >= 0xC0 {
                at = usize::from(len & 0x3F) << 8 | usize::from(self.out[at + 1]);
                continue;
            }
            let end = 1 + len as usize;
            name[here..here + end].copy_from_slice(&self.out[at..at + end]);
            here += end;
            at += end;
            if len == 0 {
                return here;
            }
        }
    }

    /// Whether the name that stands at a place in the message is this one.
    pub(crate) fn same(&self, mut at: usize, name: &[u8]) -> bool {
        let mut here = 0;
        loop {
            let len = self.out[at];
            if len >= 0xC0 {
                at = usize::from(len & 0x3F) << 8 | usize::from(self.out[at + 1]);
                continue;
            }
            if len != name[here] {
                return false;
            }
            if len == 0 {
                return true;
            }
            let end = 1 + len as usize;
            let (ours, theirs) = (&name[here + 1..here + end], &self.out[at + 1..at + end]);
            // Nearly always it is in the same case as well, which is cheaper to see.
            if ours != theirs && !ours.eq_ignore_ascii_case(theirs) {
                return false;
            }
            at += end;
            here += end;
        }
    }

    /// Writes a record for each RDATA; returns how many. On failure the caller goes back to its mark.
    pub(crate) fn records<'d>(
        &mut self,
        owner: &[u8],
        rtype: u16,
        ttl: u32,
        data: impl Iterator<Item = &'d [u8]>,
    ) -> Result<u16, Full> {
        let mut fixed = [0u8; 10];
        fixed[..2].copy_from_slice(&rtype.to_be_bytes());
        fixed[3] = 1;
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        let mut count = 0;
        for rdata in data {
            self.name(owner)?;
            self.octets(&fixed)?;
            let start = self.out.len();
            self.rdata(rtype, rdata)?;
            let len = (self.out.len() - start) as u16;
            self.out[start - 2..start].copy_from_slice(&len.to_be_bytes());
            count += 1;
        }
        Ok(count)
    }

    /// Names are compressed in the data of those types only that every reader knows (RFC 3597 §4).
    fn rdata(&mut self, rtype: u16, rdata: &[u8]) -> Result<(), Full> {
        let (prefix, names) = match rtype {
            // NS, MD, MF, CNAME, MB, MG, MR, PTR
            2..=5 | 7..=9 | 12 => (0, 1),
            // SOA, MINFO
            6 | 14 => (0, 2),
            // MX
            15 => (2, 1),
            _ => return self.octets(rdata),
        };
        let Some((first, mut rest)) = rdata.split_at_checked(prefix) else {
            return self.octets(rdata);
        };
        self.octets(first)?;
        for _ in 0..names {
            let Some(len) = wire_name_len(rest) else {
                break;
            };
            self.name(&rest[..len])?;
            rest = &rest[len..];
        }
        self.octets(rest)
    }
}

/// A few octets that tell most names apart: the length of the first label and its first three octets, or what else stands there,
/// without the bit in which letters of either case differ.
fn mark_of(name: &[u8]) -> u32 {
    let octets = match name.first_chunk::<4>() {
        Some(octets) => *octets,
        None => std::array::from_fn(|at| name.get(at).copied().unwrap_or(0)),
    };
    u32::from_be_bytes(octets) & 0xFF5F_5F5F
}
