//! The additional section: glue, and the addresses of servers that an answer names.
//!
//! Only glue for names below the zone cut itself is worth a truncation (RFC 9471 §3.1); everything else is left out
//! when there is no room.

use zonemesh_zone::{Node, RrsetRef, Rtype, Sought, Zone};

use super::{Reply, Wanted};
use crate::lookup::{self, Place};
use crate::message::{types, wire_name_len};
use crate::writer::Full;

/// For how many names addresses are added.
const TARGETS: usize = 16;

impl<'v> Reply<'v, '_, '_> {
    /// Adds the addresses of the servers of a delegated zone.
    pub(super) fn add_glue(
        &mut self,
        zone: &'v Zone,
        cut: &'v Node,
        servers: RrsetRef<'v>,
    ) -> Result<(), Full> {
        let mut others = false;
        let mut sought = Sought::new();
        for target in servers.iter().filter(is_name) {
            sought.set(target);
            if !sought.is_at_or_below(cut.owner_octets()) {
                others = true;
                continue;
            }
            if let Some(node) = zone.tree().get(sought.key())
                && self.add_addresses(target, node).is_err()
            {
                self.truncated = true;
                return Err(Full);
            }
        }
        if !others {
            return Ok(());
        }
        for target in servers.iter().filter(is_name) {
            sought.set(target);
            if sought.is_at_or_below(cut.owner_octets()) {
                continue;
            }
            let node = match target.len() >= zone.apex().len() {
                // Sibling glue, or authoritative data of this zone.
                true => zone.tree().get(sought.key()),
                false => None,
            };
            let node = node.or_else(|| self.host(&sought));
            if let Some(node) = node
                && self.add_addresses(target, node).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Adds the addresses of the hosts that an RRset of the answer names, as far as there is room.
    #[inline(never)]
    pub(super) fn add_wanted(&mut self, wanted: &Wanted<'v>) {
        // No room for more is no fault: nobody relies on these.
        let _ = self.add_targets(wanted, &mut Seen::default(), true);
    }

    fn add_targets(
        &mut self,
        wanted: &Wanted<'v>,
        seen: &mut Seen<'v>,
        follow_alias: bool,
    ) -> Result<(), Full> {
        let Wanted { node, set, .. } = *wanted;
        let (rtype, at) = (set.rtype().to_int(), wanted.target_at);
        for rdata in set.iter() {
            let Some(len) = rdata.get(at..).and_then(wire_name_len) else {
                continue;
            };
            let target = &rdata[at..at + len];
            let is_binding = matches!(rtype, types::SVCB | types::HTTPS);
            let is_alias = is_binding && rdata[..2] == [0, 0];
            if target == [0] {
                // RFC 9460 §2.5: the owner name itself; elsewhere there is no such service.
                if is_binding && !is_alias && follow_alias && seen.add(target) {
                    self.add_own_addresses(wanted.owner_at, node)?;
                }
                continue;
            }
            if !seen.add(target) {
                continue;
            }
            let sought = Sought::from_wire(target);
            let host = self.host(&sought).or_else(|| {
                // The servers of a zone may be below one of its own zone cuts.
                (rtype == types::NS).then(|| self.glue(&sought)).flatten()
            });
            let Some(host) = host else { continue };
            self.add_addresses(target, host)?;
            // RFC 9460 §4.1: what an alias points to, one step far.
            if is_alias
                && follow_alias
                && let Some(next) = host.rrset(set.rtype())
            {
                self.add_set(target, host, next)?;
                let next = Wanted {
                    node: host,
                    set: next,
                    ..*wanted
                };
                self.add_targets(&next, seen, false)?;
            }
        }
        Ok(())
    }

    /// Adds the addresses of the name that the answer is about.
    fn add_own_addresses(&mut self, owner_at: usize, node: &'v Node) -> Result<(), Full> {
        let mut owner = [0u8; 255];
        let len = self.writer.copy_name(owner_at, &mut owner);
        self.add_addresses(&owner[..len], node)
    }

    /// The node that is authoritative for a name in one of our zones that this client may see.
    fn host(&self, sought: &Sought) -> Option<&'v Node> {
        let zone = self.open_zone(sought)?;
        match lookup::find(zone, sought, Rtype::A)?.place {
            Place::Node(node) => Some(node),
            Place::Wildcard { node, .. } => node,
            _ => None,
        }
    }

    /// The node of a name in one of our zones, authoritative or not.
    fn glue(&self, sought: &Sought) -> Option<&'v Node> {
        self.open_zone(sought)?.tree().get(sought.key())
    }

    fn open_zone(&self, sought: &Sought) -> Option<&'v Zone> {
        let served = self.view.zones.closest(sought)?;
        match self.may_see(served) && !served.expired {
            true => served.zone.as_ref(),
            false => None,
        }
    }

    fn add_addresses(&mut self, owner: &[u8], node: &Node) -> Result<(), Full> {
        for rtype in [types::A, types::AAAA] {
            if let Some(set) = node.rrset(Rtype::from_int(rtype)) {
                self.add_set(owner, node, set)?;
            }
        }
        Ok(())
    }

    fn add_set(&mut self, owner: &[u8], node: &Node, set: RrsetRef<'_>) -> Result<(), Full> {
        let mark = self.writer.mark();
        match self.put(owner, node, set, set.ttl().as_secs()) {
            Ok(count) => self.additional += count,
            Err(Full) => {
                self.writer.back_to(mark);
                return Err(Full);
            }
        }
        Ok(())
    }
}

/// At which octet of the RDATA of a type there is the name of a host.
pub(super) fn target_at(rtype: Rtype) -> Option<usize> {
    match rtype.to_int() {
        types::NS => Some(0),
        types::MX | types::SVCB | types::HTTPS => Some(2),
        types::SRV => Some(6),
        _ => None,
    }
}

/// Whether RDATA is a name and nothing else, as a loader has made sure.
fn is_name(rdata: &&[u8]) -> bool {
    wire_name_len(rdata) == Some(rdata.len())
}

/// Names whose addresses were added.
#[derive(Default)]
struct Seen<'v> {
    names: [&'v [u8]; TARGETS],
    count: usize,
}

impl<'v> Seen<'v> {
    /// Remembers a name; false when it was there before, or when there are too many.
    fn add(&mut self, name: &'v [u8]) -> bool {
        let had = self.names[..self.count]
            .iter()
            .any(|have| have.eq_ignore_ascii_case(name));
        if had || self.count == TARGETS {
            return false;
        }
        self.names[self.count] = name;
        self.count += 1;
        true
    }
}
