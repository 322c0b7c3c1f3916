//! What must be true in the end, when faults have stopped and the mesh has had time to settle.

use std::collections::BTreeSet;

use zonemesh_zone::catalog::Catalog;
use zonemesh_zone::{Name, Record as ZoneRecord, Zone};

use super::{Finding, Rule, moment};
use crate::record::{Record, Wanted, Writer};
use crate::{World, catalog, directory, is, name};

/// Looks at the mesh as it is in the end.
///
/// # Errors
///
/// The rule that is broken.
pub fn ended(world: &World, record: &Record) -> Result<(), Finding> {
    if let Err(why) = world.converged() {
        return Err(Finding::new(Rule::Alike, why));
    }
    compared(world)?;
    if let Some(doubt) = doubts(world).next() {
        return Err(Finding::new(Rule::Alike, doubt));
    }
    one_writer(world, record)?;
    if let Err(why) = world.at_rest() {
        return Err(Finding::new(Rule::Rest, why));
    }
    let primary = world.catalog_primary();
    listed(world, record, &primary)?;
    members(world, record, &primary)?;
    acknowledged(world, record, &primary)
}

/// The sites, which serve the same, know that they do.
fn compared(world: &World) -> Result<(), Finding> {
    let primary = world.hosts[&world.catalog_primary()].core.as_ref();
    let directory = primary.and_then(|core| core.directory());
    let sites = directory.into_iter().flat_map(|read| read.sites.keys());
    let members = sites.filter_map(|site| {
        let core = world.hosts.get(site.as_str())?.core.as_ref()?;
        Some((site, core))
    });
    let mut first = None;
    for (name, core) in members {
        let sum = core.inventory().sum();
        let (other, expected) = *first.get_or_insert((name, sum));
        if sum != expected {
            let message = format!("{name} and {other} serve the same and have other sums of it");
            return Err(Finding::new(Rule::Alike, message));
        }
        if let Some(at) = core.differing().next() {
            let message = format!(
                "{name} says still that {} has other contents of {}",
                at.peer, at.apex
            );
            return Err(Finding::new(Rule::Alike, message));
        }
    }
    Ok(())
}

/// The primaries that do not know whether their copy is the newest, among the members.
pub(crate) fn doubts(world: &World) -> impl Iterator<Item = String> {
    let writer = world.hosts.values().filter_map(|host| host.core.as_ref());
    let writer = writer.filter(|core| core.is_catalog_primary());
    let sites = writer.filter_map(|core| core.directory()).next();
    let sites = sites.into_iter().flat_map(|read| read.sites.keys());
    let cores = sites.filter_map(|site| {
        let host = world.hosts.get(site.as_str())?;
        Some((site, host.core.as_ref()?))
    });
    cores.flat_map(|(name, core)| {
        core.zones().filter_map(move |view| {
            let recovery = view.recovery.filter(|recovery| recovery.until.is_some())?;
            let unheard: Vec<String> = recovery.unheard.iter().map(ToString::to_string).collect();
            let (apex, unheard) = (&view.spec.apex, unheard.join(", "));
            Some(format!(
                "{name}, the primary of {apex}, is still in doubt: not heard of {unheard}"
            ))
        })
    })
}

/// Of all writers that there were one is left: that of the latest epoch.
fn one_writer(world: &World, record: &Record) -> Result<(), Finding> {
    let found: Vec<(&str, u32)> = moment::writers(world, record).collect();
    let [(host, epoch)] = found[..] else {
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        let message = format!("{} all write the directory in the end", names.join(", "));
        return Err(Finding::new(Rule::OneWriter, message));
    };
    let writer = Writer {
        epoch,
        host: host.to_owned(),
        sure: true,
    };
    match record.latest_writer() {
        Some(latest) if latest.outranks(&writer) => {
            let message = format!(
                "{host} writes the directory in epoch {epoch} in the end, and {} was made the writer of epoch {}",
                latest.host, latest.epoch
            );
            Err(Finding::new(Rule::OneWriter, message))
        }
        _ => Ok(()),
    }
}

/// The zones that operators wanted are listed, and no others.
fn listed(world: &World, record: &Record, primary: &str) -> Result<(), Finding> {
    let served = world.hosts[primary].served.get(&catalog());
    let served = served.and_then(|(zone, _)| zone.as_ref());
    let Some(Ok(read)) = served.map(Catalog::read) else {
        return Err(Finding::new(
            Rule::Alike,
            format!("{primary} serves no catalog"),
        ));
    };
    let listed: BTreeSet<String> = read
        .members
        .keys()
        .map(|zone| zone.to_string().trim_end_matches('.').to_owned())
        .collect();
    for (apex, zone) in &record.zones {
        match zone.wanted {
            Wanted::Yes if !listed.contains(apex) => {
                let message = format!("{apex} was added at {} and is not listed", zone.primary);
                return Err(Finding::new(Rule::Acknowledged, message));
            }
            Wanted::No if listed.contains(apex) => {
                let message = format!("{apex} was removed and is listed still");
                return Err(Finding::new(Rule::Acknowledged, message));
            }
            _ => {}
        }
    }
    let unknown = listed.iter().find(|apex| !record.zones.contains_key(*apex));
    match unknown {
        Some(apex) => Err(Finding::new(
            Rule::Alike,
            format!("{apex} is listed, and nobody added it"),
        )),
        None => Ok(()),
    }
}

/// The sites that operators let in are members, and those that they removed are not.
fn members(world: &World, record: &Record, primary: &str) -> Result<(), Finding> {
    let served = world.hosts[primary].served.get(&directory());
    let Some(zone) = served.and_then(|(zone, _)| zone.as_ref()) else {
        return Err(Finding::new(
            Rule::Alike,
            format!("{primary} serves no directory"),
        ));
    };
    let read = zonemesh_zone::directory::Directory::read(zone);
    for (host, site) in &record.sites {
        let there = read.sites.keys().any(|name| name.as_str() == host);
        match site.wanted {
            Wanted::Yes if !there => {
                let message = format!("{host} was let in and is not in the directory");
                return Err(Finding::new(Rule::Acknowledged, message));
            }
            Wanted::No if there => {
                let message = format!("{host} was removed and is in the directory");
                return Err(Finding::new(Rule::Departed, message));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every record is as it was acknowledged last, or as something after that may have made it.
fn acknowledged(world: &World, record: &Record, primary: &str) -> Result<(), Finding> {
    for (apex, zone) in record
        .zones
        .iter()
        .filter(|(_, zone)| zone.wanted == Wanted::Yes)
    {
        let served = world.hosts[primary].served.get(&name(apex));
        let Some(served) = served.and_then(|(zone, _)| zone.as_ref()) else {
            return Err(Finding::new(
                Rule::Acknowledged,
                format!("{apex} is not served by {primary}"),
            ));
        };
        if let Some(forged) = forged_in(served) {
            let message = format!("{forged} is served, which a hostile machine has forged");
            return Err(Finding::new(Rule::Hostile, message));
        }
        for (owner, value) in &zone.values {
            let Some(last) = value.acknowledged else {
                continue;
            };
            let fine = [last]
                .iter()
                .chain(&value.unsure)
                .any(|value| is(served, owner, *value));
            if !fine {
                let last = last.map_or_else(|| "gone".to_owned(), |last| format!("192.0.2.{last}"));
                let message = format!(
                    "{owner}.{apex} is not {last}, which was acknowledged; nor any of {:?}, which came later",
                    value.unsure
                );
                return Err(Finding::new(Rule::Acknowledged, message));
            }
        }
    }
    Ok(())
}

/// What a hostile machine has put into a zone (`World::make_hostile`).
pub(super) fn forged_in(zone: &Zone) -> Option<Name> {
    let is_forged = |record: &ZoneRecord| {
        let first = record.owner.iter().next();
        first.is_some_and(|label| label.as_slice().starts_with(b"forged"))
    };
    zone.records().find(is_forged).map(|record| record.owner)
}
