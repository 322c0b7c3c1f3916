//! What must be true at every moment.

use std::cmp::Ordering;
use std::time::Duration;

use zonemesh_mesh::core::{Core, Happening, PeerId};
use zonemesh_zone::Name;

use super::{EXPIRY_SLACK, Finding, Rule, runs};
use crate::record::{Record, Wanted, Writer, ZoneRecord};
use crate::{Answers, Host, World, catalog, directory, name};

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
                let asked = is_removal_asked(host, &key, record);
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
                if !asked.is_some_and(|site| site.removal_asked || site.parted) {
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

/// Whether it is due to operators that a host lets go of a zone.
fn is_removal_asked(host: &str, key: &str, record: &Record) -> bool {
    // Who follows a writer that has not heard of it lets go of it; its primary never does.
    let unheard = |zone: &ZoneRecord| zone.parted && zone.primary != host;
    let asked = |zone: &ZoneRecord| zone.removal_asked || zone.mistaken || unheard(zone);
    record.zones.get(key).is_none_or(asked)
}

/// What a site answers for it answers for until it stops, unless the time is up until which it may or somebody asked for the
/// removal; and directory and catalog no member lets go of at all.
pub(super) fn serves_on(
    host: &str,
    state: &Host,
    seen: &mut usize,
    record: &Record,
) -> Result<(), Finding> {
    for ended in &state.ended[*seen..] {
        let (at, now) = (ended.at.as_secs_f64(), ended.at);
        let message = match &ended.of {
            Answers::All => format!("{host} is not ready any longer at {at:.3}"),
            Answers::Contents { zone, until } => {
                // Where it is not known yet nobody is granted anything; that ends no answers.
                let known = |until: &Duration| !until.is_zero() || state.ages_unknown.is_some();
                if until.filter(known).is_some_and(|until| until <= now) {
                    continue;
                }
                let until = until.map(|until| until.as_secs_f64());
                let apex = zone.apex();
                format!("{host} answers no longer for {apex} at {at:.3}; it might until {until:?}")
            }
            Answers::Zone(apex) => {
                let member = record.sites.get(host);
                let member = member.is_some_and(|site| !site.removal_asked && !site.parted);
                let kept = member && [directory(), catalog()].contains(apex);
                if !kept && is_removal_asked(host, &key_of(apex), record) {
                    continue;
                }
                format!("{host} lets go of {apex} at {at:.3}, which nobody asked for")
            }
        };
        return Err(Finding::new(Rule::ServesOn, message));
    }
    *seen = state.ended.len();
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
        let Some(removed) = site.removed.as_ref().filter(|_| site.wanted == Wanted::No) else {
            continue;
        };
        for (name, host) in world.hosts.iter().filter(|(_, host)| runs(host)) {
            let trusts = |pin| host.members.with_key(pin).is_some();
            if name == gone || !removed.pins.iter().any(trusts) {
                continue;
            }
            let served = host.served.get(&directory());
            let serial = served.and_then(|(zone, _)| Some(zone.as_ref()?.serial().into_int()));
            let read = host.core.as_ref().and_then(Core::directory);
            let knows = read.zip(serial).is_some_and(|(read, serial)| {
                match read.epoch.rank(&removed.epoch) {
                    Ordering::Less => false,
                    Ordering::Equal => serial >= removed.serial,
                    // A later writer need not have heard of it, nor one that was promoted to the same number apart from it; and one that
                    // was emptied by mistake says nothing of anybody. Where it has no note of the removal, and says nothing of others
                    // either, an operator is asked.
                    Ordering::Greater => {
                        let listed = read.sites.keys().any(|site| site.as_str() == gone);
                        let noted = read.removed.keys().any(|site| site.as_str() == gone);
                        let report = host.core.as_ref().and_then(Core::report);
                        let held = report.into_iter().flat_map(|report| &report.plan.held);
                        let asks = held.flat_map(|held| &held.names).any(|name| name == gone);
                        !read.sites.is_empty() && !listed && (noted || !asks)
                    }
                }
            });
            if knows {
                let message = format!(
                    "{name} trusts {gone}, though it holds the directory since {}",
                    removed.serial
                );
                return Err(Finding::new(Rule::Departed, message));
            }
        }
    }
    Ok(())
}

/// A machine that was never let in serves nothing, and nobody trusts its key.
pub(super) fn strangers(world: &World, record: &Record) -> Result<(), Finding> {
    let unknown = |name: &&String| !record.sites.contains_key(*name);
    for name in world.hosts.keys().filter(unknown) {
        let stranger = &world.hosts[name];
        let served = stranger.served.iter();
        let mut served = served.filter(|(_, (zone, _))| zone.is_some());
        if let Some((apex, _)) = served.next() {
            let message = format!("{name}, which was never let in, has {apex}");
            return Err(Finding::new(Rule::Hostile, message));
        }
        let trusts = |host: &Host| {
            let mut pins = stranger.site.pins.iter();
            pins.any(|pin| host.members.with_key(pin).is_some())
        };
        let others = world.hosts.iter().filter(|(other, _)| *other != name);
        if let Some((other, _)) = others
            .filter(|(_, host)| runs(host))
            .find(|(_, host)| trusts(host))
        {
            let message = format!("{other} trusts {name}, which was never let in");
            return Err(Finding::new(Rule::Hostile, message));
        }
    }
    Ok(())
}

/// Who writes directory and catalog, by what sites believe of themselves, was made the writer of that epoch by an operator.
/// An earlier one may still believe it that has not heard of the later one.
pub(super) fn one_writer(world: &World, record: &Record) -> Result<(), Finding> {
    for (name, epoch) in writers(world, record) {
        let made = |writer: &Writer| writer.host == name && writer.epoch == epoch;
        if !record.writers.iter().any(made) {
            let message = format!(
                "{name} writes the directory in epoch {epoch}, and nobody made it the writer"
            );
            return Err(Finding::new(Rule::OneWriter, message));
        }
    }
    Ok(())
}

/// The hosts that believe that they write the directory, each with its epoch, sites that were removed aside.
pub(super) fn writers<'a>(
    world: &'a World,
    record: &'a Record,
) -> impl Iterator<Item = (&'a str, u32)> {
    let member = |name: &String| {
        let site = record.sites.get(name);
        site.is_none_or(|site| site.wanted != Wanted::No)
    };
    let hosts = world.hosts.iter().filter(move |(name, _)| member(name));
    hosts.filter_map(|(name, host)| {
        let core = host
            .core
            .as_ref()
            .filter(|core| core.is_catalog_primary())?;
        let epoch = core.directory().map_or(1, |read| read.epoch.number);
        Some((name.as_str(), epoch))
    })
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
        // Where a clock that was set back hides how old a copy is, it counts from the start (decision 0010); for that site alone.
        let may = zone.expire + EXPIRY_SLACK.as_secs();
        // Nor does a clock show that was set back by less than the site was down (the same decision).
        let may_still = |host: &Host| {
            let since = host.ages_unknown;
            age.as_secs() <= may.saturating_add(host.hidden.as_secs())
                || since.is_some_and(|since| world.now.saturating_sub(since).as_secs() <= may)
        };
        let late = world.hosts.iter().find(|(name, host)| {
            runs(host) && !world.hangs(name) && serves(host) && !may_still(host)
        });
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
