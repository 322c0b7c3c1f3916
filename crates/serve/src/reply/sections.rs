//! Putting RRsets into the sections of the answer, and giving up when there is no room.

use zonemesh_zone::{Node, RrsetRef, Rtype};

use super::Reply;
use crate::message::types;
use crate::writer::{Full, Mark};

impl Reply<'_, '_, '_> {
    /// Writes an RRset, and its signatures when they are wanted; returns how many records that are.
    #[inline]
    pub(super) fn put(
        &mut self,
        owner: &[u8],
        node: &Node,
        set: RrsetRef<'_>,
        ttl: u32,
    ) -> Result<u16, Full> {
        let rtype = set.rtype().to_int();
        let mut count = self.writer.records(owner, rtype, ttl, set.iter())?;
        if self.dnssec && rtype != types::RRSIG {
            count += self.put_signatures(owner, node, rtype, ttl)?;
        }
        Ok(count)
    }

    /// Writes the signatures of an RRset of a type; returns how many there are.
    #[inline(never)]
    fn put_signatures(
        &mut self,
        owner: &[u8],
        node: &Node,
        rtype: u16,
        ttl: u32,
    ) -> Result<u16, Full> {
        let Some(signatures) = node.rrset(Rtype::RRSIG) else {
            return Ok(0);
        };
        let covers = signatures
            .iter()
            .filter(|rdata| rdata.starts_with(&rtype.to_be_bytes()));
        // RFC 4034 §3: a signature has the TTL of what it covers.
        self.writer.records(owner, types::RRSIG, ttl, covers)
    }

    pub(super) fn put_authority(
        &mut self,
        node: &Node,
        set: RrsetRef<'_>,
        ttl: u32,
    ) -> Result<(), Full> {
        let mark = self.writer.mark();
        match self.put(node.owner_octets(), node, set, ttl) {
            Ok(count) => self.authority += count,
            Err(Full) => return self.full(mark),
        }
        Ok(())
    }

    pub(super) fn put_unsigned_authority(
        &mut self,
        node: &Node,
        set: RrsetRef<'_>,
    ) -> Result<(), Full> {
        let mark = self.writer.mark();
        let (owner, rtype) = (node.owner_octets(), set.rtype().to_int());
        match self
            .writer
            .records(owner, rtype, set.ttl().as_secs(), set.iter())
        {
            Ok(count) => self.authority += count,
            Err(Full) => return self.full(mark),
        }
        Ok(())
    }

    /// Gives up on an RRset that is needed: the client has to ask over a stream.
    pub(super) fn full<T>(&mut self, mark: Mark) -> Result<T, Full> {
        self.cut_off(mark);
        Err(Full)
    }

    pub(super) fn cut_off(&mut self, mark: Mark) {
        self.writer.back_to(mark);
        self.truncated = true;
    }
}
