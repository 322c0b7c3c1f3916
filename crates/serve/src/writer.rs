//! Writing a message with name compression (RFC 1035 §4.1.4) and a limit on its length.
//!
//! Most names end as the question's does, of which it is known where its labels are. The others that were written so far are kept in a
//! table: an entry is looked for by a mark of a few octets of the name and then compared in the message itself. Case is ignored, so a
//! compressed name appears in the case of the one that it points to: the answer to a query in odd case shows that case.

use zonemesh_zone::Sought;

use crate::message::{HEADER, wire_name_len};

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

/// Room for the names that were written so far.
#[derive(Clone)]
pub(crate) struct Names([Entry; NAMES]);

impl Default for Names {
    fn default() -> Self {
        Self([Entry::default(); NAMES])
    }
}

/// A message in the making.
pub(crate) struct Writer<'b> {
    out: &'b mut Vec<u8>,
    limit: usize,
    names: &'b mut Names,
    count: usize,
    /// The name of the question, which stands right behind the header; the root's is not pointed to.
    question: &'b Sought,
}

/// A state to go back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    len: usize,
    count: usize,
}

/// A pointer to what stands at a place in the message.
fn pointer(at: usize) -> [u8; 2] {
    (0xC000 | at as u16).to_be_bytes()
}

impl<'b> Writer<'b> {
    /// Starts behind what is there already: the header and the question, whose name is given; the root's when there is none.
    pub(crate) fn new(
        out: &'b mut Vec<u8>,
        limit: usize,
        names: &'b mut Names,
        question: &'b Sought,
    ) -> Self {
        Self {
            out,
            limit,
            names,
            count: 0,
            question,
        }
    }

    /// The name of the question, as it was given.
    pub(crate) fn question(&self) -> &'b Sought {
        self.question
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

    #[inline]
    pub(crate) fn octets(&mut self, octets: &[u8]) -> Result<(), Full> {
        if self.out.len() + octets.len() > self.limit {
            return Err(Full);
        }
        self.out.extend_from_slice(octets);
        Ok(())
    }

    /// Writes a good name, as a pointer as far as it was written before.
    pub(crate) fn name(&mut self, name: &[u8]) -> Result<(), Full> {
        let start = self.out.len();
        let known = self.count;
        let (there, shared) = self.question.shared(name);
        let mut at = 0;
        while at < shared {
            let mark = mark_of(&name[at..]);
            let hit = self.names.0[..known]
                .iter()
                .find(|entry| entry.mark == mark && self.same(entry.at as usize, &name[at..]));
            if let Some(entry) = hit {
                let pointer = pointer(entry.at as usize);
                return self.name_and_pointer(&name[..at], pointer, known);
            }
            // A pointer has 14 bits.
            if self.count < NAMES && start + at < 0x4000 {
                self.names.0[self.count] = Entry {
                    mark,
                    at: (start + at) as u16,
                };
                self.count += 1;
            }
            at += 1 + name[at] as usize;
        }
        match name[shared] {
            // The root takes fewer octets than a pointer to it.
            0 => self.octets(name).inspect_err(|_| self.count = known),
            _ => self.name_and_pointer(&name[..shared], pointer(HEADER + there), known),
        }
    }

    fn name_and_pointer(
        &mut self,
        name: &[u8],
        pointer: [u8; 2],
        known: usize,
    ) -> Result<(), Full> {
        if self.out.len() + name.len() + pointer.len() > self.limit {
            self.count = known;
            return Err(Full);
        }
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(&pointer);
        Ok(())
    }

    /// A pointer to what is the name that was written at a place, if there can be one.
    fn pointer_to_written(&self, at: usize) -> Option<[u8; 2]> {
        match self.out[at..] {
            [0, ..] => None,
            [first, second, ..] if first >= 0xC0 => Some([first, second]),
            _ => (at < 0x4000).then(|| pointer(at)),
        }
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
        let mut fixed = [0u8; FIXED];
        fixed[..2].copy_from_slice(&rtype.to_be_bytes());
        fixed[3] = 1;
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        if let Some(names) = has_names(rtype) {
            return self.records_with_names(owner, &fixed, names, data);
        }
        let mut pointer = self.pointer_to_question(owner);
        let mut count = 0;
        for rdata in data {
            self.owner(owner, &mut pointer)?;
            put_length(&mut fixed, rdata.len());
            self.octets(&fixed)?;
            self.octets(rdata)?;
            count += 1;
        }
        Ok(count)
    }

    #[inline(never)]
    fn records_with_names<'d>(
        &mut self,
        owner: &[u8],
        fixed: &[u8; FIXED],
        names: (usize, usize),
        data: impl Iterator<Item = &'d [u8]>,
    ) -> Result<u16, Full> {
        let mut pointer = self.pointer_to_question(owner);
        let mut count = 0;
        for rdata in data {
            self.owner(owner, &mut pointer)?;
            self.octets(fixed)?;
            let start = self.out.len();
            self.rdata(names, rdata)?;
            let len = self.out.len() - start;
            put_length(&mut self.out[..start], len);
            count += 1;
        }
        Ok(count)
    }

    /// A pointer to the name of the question if that is this one.
    fn pointer_to_question(&self, name: &[u8]) -> Option<[u8; 2]> {
        (name.len() > 1 && self.question.is(name)).then(|| pointer(HEADER))
    }

    /// Writes the owner name of a record: as a pointer, which is known for all but the first.
    #[inline(always)]
    fn owner(&mut self, owner: &[u8], pointer: &mut Option<[u8; 2]>) -> Result<(), Full> {
        if let Some(pointer) = pointer {
            return self.octets(pointer);
        }
        let start = self.out.len();
        self.name(owner)?;
        *pointer = self.pointer_to_written(start);
        Ok(())
    }

    /// Writes RDATA that begins with some octets and then has some names.
    fn rdata(&mut self, (prefix, names): (usize, usize), rdata: &[u8]) -> Result<(), Full> {
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

/// Octets of a record between its owner name and its data: type, class, TTL and how long the data is.
const FIXED: usize = 10;

/// The length of RDATA in the last two octets of what stands before it.
fn put_length(head: &mut [u8], len: usize) {
    if let Some(last) = head.last_chunk_mut::<2>() {
        *last = (len as u16).to_be_bytes();
    }
}

/// How many octets of the RDATA of a type come before how many names, if these are compressed: in the data of those types only that
/// every reader knows (RFC 3597 §4).
fn has_names(rtype: u16) -> Option<(usize, usize)> {
    match rtype {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR
        2..=5 | 7..=9 | 12 => Some((0, 1)),
        // SOA, MINFO
        6 | 14 => Some((0, 2)),
        // MX
        15 => Some((2, 1)),
        _ => None,
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
