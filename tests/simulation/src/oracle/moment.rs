//! What must be true at every moment.

use zonemesh_mesh::core::{Core, Happening, PeerId};
use zonemesh_zone::Name;

use super::{EXPIRY_SLACK, Finding, Rule, runs};
use crate::record::{Record, Wanted};
use crate::{Host, World, directory, name};

/// Whatever was removed since the last look must have been asked for by somebody.
pub(super) fn removals(
    host: &str,
    state: &Host,
    seen: &mut usize,
    record: &Record,
) -> Result<(), Finding> {
    for (at, what) in &state.happened[(*seen).min(state.happened.len())..] {
        let at = at.as_secs_f64();
        match what {
            Happening::ZoneRemoved(zone) => {
                let key = key_of(zone);
                let asked = record.zones.get(&key).is_none_or(|zone| zone.removal_asked);
                if record.unconsented.contains(&key) && !asked {
                    let message = format!(
                        "{host} removed {zone} at {at:.3}, with others and without consent"
                    );
                    return Err(Finding::new(Rule::Bulk, message));
                }
                if !asked {
                    let message =
                        format!("{host} removed {zone} at {at:.3}, which nobody asked for");
                    return Err(Finding::new(Rule::Removal, message));
                }
            }
            Happening::SiteLeft(site) => {
                let asked = record.sites.get(site.as_str());
                if !asked.is_some_and(|site| site.removal_asked) {
                    let message =
                        format!("{host} forgot {site} at {at:.3}, which nobody asked for");
                    return Err(Finding::new(Rule::Removal, message));
                }
            }
            // A disk may fail at any time; but the store must not have to refuse what the core wants.
            Happening::CommitFailed { message, .. } if !is_of_the_disk(message) => {
                let message = format!("{host} wanted at {at:.3} what the store refuses: {message}");
                return Err(Finding::new(Rule::Commits, message));
            }
            _ => {}
        }
    }
    *seen = state.happened.len();
    Ok(())
}

/// A site that has become ready held every zone that the catalog which it serves listed, unless no other site has it.
pub(super) fn ready(host: &str, state: &Host, world: &World) -> Result<(), Finding> {
    // What those have of whom the site has not heard yet it cannot know.
    let knows = |pin| state.members.with_key(pin).is_some();
    for zone in state.lacked.iter().flatten() {
        let elsewhere = world.hosts.iter().any(|(other, state)| {
            let served = state.served.get(zone);
            let known = state.site.pins.iter().any(knows);
            other != host && known && served.is_some_and(|(zone, _)| zone.is_some())
        });
        if elsewhere {
            let message = format!(
                "{host} became ready without {zone}, which its catalog lists and others hold"
            );
            return Err(Finding::new(Rule::Ready, message));
        }
    }
    Ok(())
}

/// Who holds a directory that says that a site was removed does not trust its keys.
pub(super) fn departed(world: &World, record: &Record) -> Result<(), Finding> {
    for (gone, site) in &record.sites {
        let Some((serial, pins)) = site.removed.as_ref().filter(|_| site.wanted == Wanted::No)
        else {
            continue;
        };
        for (name, host) in world.hosts.iter().filter(|(_, host)| runs(host)) {
            let known = host
                .served
                .get(&directory())
                .and_then(|(zone, _)| zone.as_ref());
            let knows = known.is_some_and(|zone| zone.serial().into_int() >= *serial);
            if name != gone && knows && pins.iter().any(|pin| host.members.with_key(pin).is_some())
            {
                let message =
                    format!("{name} trusts {gone}, though it holds the directory since {serial}");
                return Err(Finding::new(Rule::Departed, message));
            }
        }
    }
    Ok(())
}

/// There is one catalog primary, by what sites believe of themselves.
pub(super) fn one_writer(world: &World, record: &Record) -> Result<(), Finding> {
    let writes = |host: &Host| host.core.as_ref().is_some_and(Core::is_catalog_primary);
    let member = |name: &String| {
        record
            .sites
            .get(name)
            .is_none_or(|site| site.wanted != Wanted::No)
    };
    let writers = world
        .hosts
        .iter()
        .filter(|(name, host)| writes(host) && member(name));
    let writers: Vec<&str> = writers.map(|(name, _)| name.as_str()).collect();
    if writers.len() > 1 {
        let message = format!("{} all write the directory", writers.join(", "));
        return Err(Finding::new(Rule::OneWriter, message));
    }
    Ok(())
}

/// No secondary serves a zone whose primary has not been there for longer than the zone's expiry.
pub(super) fn expiry(world: &World, record: &mut Record) -> Result<(), Finding> {
    for (apex, zone) in &mut record.zones {
        let key = name(apex);
        let serves = |host: &Host| {
            host.served
                .get(&key)
                .is_some_and(|(zone, _)| zone.is_some())
        };
        let primary = |host: &Host| host.specs.get(&key).is_some_and(|spec| spec.primary);
        // Whoever acts as its primary keeps it alive, also where that is being handed over or not known to it.
        let keeps = |(host, state): (&String, &Host)| {
            runs(state) && serves(state) && (*host == zone.primary || primary(state))
        };
        if world.hosts.iter().any(keeps) {
            zone.alive = world.now;
            continue;
        }
        let age = world.now.saturating_sub(zone.alive);
        if age.as_secs() <= zone.expire + EXPIRY_SLACK.as_secs() {
            continue;
        }
        let late = world
            .hosts
            .iter()
            .find(|(name, host)| runs(host) && !world.hangs(name) && serves(host));
        if let Some((name, _)) = late {
            let message = format!(
                "{name} serves {apex} {} s after its primary was there last; it may for {} s",
                age.as_secs(),
                zone.expire
            );
            return Err(Finding::new(Rule::Expiry, message));
        }
    }
    Ok(())
}

/// What a receipt says must be so: the site has that serial, or a later one, on disk.
///
/// # Errors
///
/// When it is not.
pub fn receipt(world: &World, receipt: &zonemesh_mesh::core::Receipt) -> Result<(), Finding> {
    use zonemesh_zone::SerialExt;
    for (peer, state) in &receipt.sites {
        let PeerId::Site(site) = peer else { continue };
        let Some(host) = world.hosts.get(site.as_str()).filter(|_| state.is_ok()) else {
            continue;
        };
        let stored = host
            .disk
            .zones
            .get(&receipt.apex)
            .map(|stored| stored.zone.serial());
        if stored.is_none_or(|stored| receipt.serial.is_after(stored)) {
            let message = format!(
                "a receipt says that {site} serves {} of {}; it has {stored:?}",
                receipt.serial, receipt.apex
            );
            return Err(Finding::new(Rule::Receipt, message));
        }
    }
    Ok(())
}

/// Whether a commit failed because of the disk, not because of what was to be stored.
fn is_of_the_disk(message: &str) -> bool {
    let refusals = [
        "cannot be published",
        "which is not greater",
        "difference starts from",
        "does not lead to the version",
        "is not in the store",
        "is not above",
        "to nothing",
    ];
    !refusals.iter().any(|refusal| message.contains(refusal))
}

/// How zones are called in the record.
fn key_of(zone: &Name) -> String {
    zone.to_string().trim_end_matches('.').to_owned()
}
