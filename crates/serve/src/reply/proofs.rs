//! Proofs that something does not exist, with the NSEC records of a zone that its primary has signed (RFC 4035 §3.1.3).
//!
//! NSEC3 proofs are not made here: a zone signed with NSEC3 gets its negative answers without them.

use zonemesh_zone::{Node, Rtype, Sought, Zone};

use super::Reply;
use crate::lookup::Found;
use crate::writer::Full;

impl<'v> Reply<'v, '_, '_> {
    /// Adds the NSEC of a node.
    pub(super) fn deny(&mut self, node: &'v Node) -> Result<(), Full> {
        if !self.dnssec {
            return Ok(());
        }
        let Some(set) = node.rrset(Rtype::NSEC) else {
            return Ok(());
        };
        for slot in &mut self.denials {
            match slot {
                Some(have) if std::ptr::eq(*have, node) => return Ok(()),
                Some(_) => {}
                None => {
                    *slot = Some(node);
                    return self.put_authority(node, set, set.ttl().as_secs());
                }
            }
        }
        Ok(())
    }

    /// Adds the NSEC that covers a name which does not exist.
    pub(super) fn deny_cover(
        &mut self,
        zone: &'v Zone,
        found: &Found<'v>,
        sought: &Sought,
    ) -> Result<(), Full> {
        if !self.dnssec || found.apex.rrset(Rtype::NSEC).is_none() {
            return Ok(());
        }
        cover(zone, sought.key()).map_or(Ok(()), |node| self.deny(node))
    }

    /// Adds the NSEC that covers the wildcard below the closest encloser.
    pub(super) fn deny_wildcard(
        &mut self,
        zone: &'v Zone,
        found: &Found<'v>,
        sought: &Sought,
        encloser: usize,
    ) -> Result<(), Full> {
        if !self.dnssec || found.apex.rrset(Rtype::NSEC).is_none() {
            return Ok(());
        }
        let key = sought.wildcard_key(encloser);
        cover(zone, key.as_slice()).map_or(Ok(()), |node| self.deny(node))
    }
}

/// The node whose NSEC record covers a key that has no node of its own, or none with authoritative data.
fn cover<'z>(zone: &'z Zone, key: &[u8]) -> Option<&'z Node> {
    let before = zone.tree().predecessor(key)?;
    if before.rrset(Rtype::NSEC).is_some() {
        return Some(before);
    }
    // Glue and what else lies below a zone cut or a DNAME has no NSEC: the one above it covers.
    let apex_len = zone.apex().len();
    zone.descend(&Sought::from_wire(before.owner_octets()))
        .find(|node| {
            node.owner_octets().len() != apex_len && (node.delegates() || node.redirects())
        })
        .filter(|node| node.rrset(Rtype::NSEC).is_some())
}
