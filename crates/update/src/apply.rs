//! Carrying out an update on a version of a zone (RFC 2136 §3).
//!
//! In one respect the order is not that of the RFC: permission is looked at before the prerequisites, so that nobody
//! can find out with prerequisites what they may not change.

use std::collections::BTreeMap;

use zonemesh_zone::{
    Editor, Name, Rcode, Record, Rrset, Rtype, Serial, SerialExt, Zone, ZoneError,
};

use crate::message::{Change, Prerequisite, Update};
use crate::policy::{Authority, Denial};

/// What an update leads to.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The new contents. The serial is still the old one, unless the update brought its own SOA.
    pub zone: Zone,
    /// Whether anything is different.
    pub changed: bool,
    /// Whether the update brought a SOA with a serial that is greater.
    pub serial_set: bool,
}

impl Applied {
    /// The new version with a serial, to be published.
    pub fn with_serial(&self, serial: Serial) -> Zone {
        let mut editor = self.zone.edit();
        editor.set_serial(serial);
        editor
            .finish()
            .expect("a version was edited in its serial only")
    }
}

/// Why an update is not carried out; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// §3.1: the update is for another zone.
    #[error("the update is for zone {}, not for {}", .asked.fmt_with_dot(), .zone.fmt_with_dot())]
    OtherZone {
        /// What was asked for.
        asked: Name,
        /// The zone at hand.
        zone: Name,
    },
    /// §3.2 and §3.4.1: a name is not in the zone.
    #[error("{} is outside of the zone {}", .owner.fmt_with_dot(), .zone.fmt_with_dot())]
    OutOfZone {
        /// The name.
        owner: Name,
        /// The zone.
        zone: Name,
    },
    /// §3.2: a prerequisite does not hold.
    #[error("prerequisite not met: {message}")]
    Prerequisite {
        /// What to answer.
        rcode: Rcode,
        /// What was expected.
        message: String,
    },
    /// §3.3: whoever asks may not do it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The result is not a zone.
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

impl Refusal {
    /// What to answer.
    pub fn rcode(&self) -> Rcode {
        match self {
            Self::OtherZone { .. } => Rcode::NOTAUTH,
            Self::OutOfZone { .. } => Rcode::NOTZONE,
            Self::Prerequisite { rcode, .. } => *rcode,
            Self::Denied(_) => Rcode::REFUSED,
            Self::Zone(_) => Rcode::FORMERR,
        }
    }
}

/// Carries out an update.
///
/// # Errors
///
/// When it may not be carried out or cannot be: answer with the error's RCODE.
pub fn apply(zone: &Zone, update: &Update, authority: &dyn Authority) -> Result<Applied, Refusal> {
    if update.zone != *zone.apex() {
        return Err(Refusal::OtherZone {
            asked: update.zone.clone(),
            zone: zone.apex().clone(),
        });
    }
    authority.admit(zone)?;
    for change in &update.changes {
        in_zone(zone, change.owner())?;
        authority.check(zone, change)?;
    }
    check_prerequisites(zone, &update.prerequisites)?;
    let mut editor = zone.edit();
    let mut serial_set = false;
    for change in &update.changes {
        match change {
            Change::Add(record) => serial_set |= add(&mut editor, record)?,
            Change::DeleteRrset(owner, rtype) => delete_rrset(&mut editor, owner, *rtype),
            Change::DeleteName(owner) => delete_name(&mut editor, owner),
            Change::DeleteRecord(record) => delete_record(&mut editor, record),
        }
    }
    let new = editor.finish()?;
    authority.accept(&new)?;
    let changed = !zone.same_contents(&new);
    Ok(Applied {
        zone: new,
        changed,
        serial_set,
    })
}

fn in_zone(zone: &Zone, owner: &Name) -> Result<(), Refusal> {
    match owner.ends_with(zone.apex()) {
        true => Ok(()),
        false => Err(Refusal::OutOfZone {
            owner: owner.clone(),
            zone: zone.apex().clone(),
        }),
    }
}

/// §3.2.
fn check_prerequisites(zone: &Zone, prerequisites: &[Prerequisite]) -> Result<(), Refusal> {
    let refuse = |rcode, message| Err(Refusal::Prerequisite { rcode, message });
    let mut exact: BTreeMap<(&Name, Rtype), Vec<&[u8]>> = BTreeMap::new();
    for prerequisite in prerequisites {
        match prerequisite {
            Prerequisite::NameInUse(owner) => {
                in_zone(zone, owner)?;
                if zone.node(owner).is_none() {
                    let message = format!("{} owns no records", owner.fmt_with_dot());
                    return refuse(Rcode::NXDOMAIN, message);
                }
            }
            Prerequisite::NameNotInUse(owner) => {
                in_zone(zone, owner)?;
                if zone.node(owner).is_some() {
                    let message = format!("{} owns records", owner.fmt_with_dot());
                    return refuse(Rcode::YXDOMAIN, message);
                }
            }
            Prerequisite::RrsetExists(owner, rtype) => {
                in_zone(zone, owner)?;
                if zone.rrset(owner, *rtype).is_none() {
                    let message = format!("{} has no {rtype} records", owner.fmt_with_dot());
                    return refuse(Rcode::NXRRSET, message);
                }
            }
            Prerequisite::RrsetAbsent(owner, rtype) => {
                in_zone(zone, owner)?;
                if zone.rrset(owner, *rtype).is_some() {
                    let message = format!("{} has {rtype} records", owner.fmt_with_dot());
                    return refuse(Rcode::YXRRSET, message);
                }
            }
            Prerequisite::RecordExists(record) => {
                in_zone(zone, &record.owner)?;
                exact
                    .entry((&record.owner, record.rtype))
                    .or_default()
                    .push(&record.rdata);
            }
        }
    }
    for ((owner, rtype), rdata) in exact {
        // TTLs are not compared.
        let wanted = Rrset::new(rtype, zone.soa_record().ttl, rdata);
        let same = zone
            .rrset(owner, rtype)
            .is_some_and(|set| set.as_wire() == wanted.as_ref().as_wire());
        if !same {
            let message = format!("{} {rtype} has other records", owner.fmt_with_dot());
            return refuse(Rcode::NXRRSET, message);
        }
    }
    Ok(())
}

/// §3.4.2.2; returns whether it was a SOA that took effect.
fn add(editor: &mut Editor, record: &Record) -> Result<bool, ZoneError> {
    let at_apex = record.owner == *editor.apex();
    match record.rtype {
        Rtype::SOA => {
            if !at_apex {
                return Ok(false);
            }
            let Ok(new) = record.soa() else {
                return Err(ZoneError::BadSoa(record.owner.clone()));
            };
            let old = editor
                .rrset(&record.owner, Rtype::SOA)
                .and_then(|set| zonemesh_zone::Soa::parse(set.first()?).ok());
            if old.is_some_and(|old| !new.serial.is_after(old.serial)) {
                return Ok(false);
            }
            editor.put(
                &record.owner,
                Rrset::new(Rtype::SOA, record.ttl, [&record.rdata]),
            )?;
            return Ok(true);
        }
        Rtype::CNAME => {
            let others = editor.node(&record.owner).is_some_and(|node| {
                node.rrsets()
                    .any(|set| set.rtype() != Rtype::CNAME && !beside_cname(set.rtype()))
            });
            if !others {
                editor.put(
                    &record.owner,
                    Rrset::new(Rtype::CNAME, record.ttl, [&record.rdata]),
                )?;
            }
        }
        rtype => {
            let alias = editor.rrset(&record.owner, Rtype::CNAME).is_some();
            if !alias || beside_cname(rtype) {
                editor.add(record.clone())?;
            }
        }
    }
    Ok(false)
}

/// What may stand beside a CNAME record (RFC 4035 §2.5, RFC 2181 §10.1).
fn beside_cname(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::RRSIG | Rtype::NSEC | Rtype::KEY | Rtype::SIG | Rtype::NXT
    )
}

/// §3.4.2.3: SOA and NS of the apex stay.
fn delete_rrset(editor: &mut Editor, owner: &Name, rtype: Rtype) {
    let keep = owner == editor.apex() && matches!(rtype, Rtype::SOA | Rtype::NS);
    if !keep {
        editor.remove_rrset(owner, rtype);
    }
}

/// §3.4.2.3: SOA and NS of the apex stay.
fn delete_name(editor: &mut Editor, owner: &Name) {
    let types: Vec<Rtype> = editor
        .node(owner)
        .into_iter()
        .flat_map(|node| node.rrsets().map(|set| set.rtype()))
        .collect();
    for rtype in types {
        delete_rrset(editor, owner, rtype);
    }
}

/// §3.4.2.4: the SOA stays, and so does the last NS of the apex.
fn delete_record(editor: &mut Editor, record: &Record) {
    let last_ns = record.rtype == Rtype::NS
        && record.owner == *editor.apex()
        && editor
            .rrset(&record.owner, Rtype::NS)
            .is_some_and(|set| set.len() == 1);
    if record.rtype != Rtype::SOA && !last_ns {
        editor.remove(&record.owner, record.rtype, &record.rdata);
    }
}

#[cfg(test)]
mod tests;
