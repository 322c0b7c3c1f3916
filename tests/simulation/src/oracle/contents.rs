//! One content under one serial: who serves a version of a zone serves what its primary published under that serial. Sites that compare
//! what they hold make good within half a minute what is not so; that it was not so is seen here all the same.

use std::collections::BTreeMap;

use zonemesh_zone::{Digest, Name, Zone};

use super::end::forged_in;
use super::{Finding, Rule, runs};
use crate::record::{Record, Wanted};
use crate::{Host, World, name};

/// What primaries have published.
#[derive(Default)]
pub(super) struct Contents {
    zones: BTreeMap<Name, Published>,
}

/// What the primary of a zone has published, by serial: the digest of the first that was seen of each.
struct Published {
    primary: String,
    versions: BTreeMap<u32, Digest>,
}

/// How far ahead of what a primary publishes a serial is from the round before, and may be used again: a quarter of all numbers.
const ROUND: u32 = 1 << 30;

/// Looks whether anybody serves something else than the primary has published.
pub(super) fn look(world: &World, record: &Record, seen: &mut Contents) -> Result<(), Finding> {
    for (text, zone) in &record.zones {
        let apex = name(text);
        if zone.wanted != Wanted::Yes || zone.falsified {
            // What comes under this name later is another zone.
            seen.zones.remove(&apex);
            continue;
        }
        let published = seen.zones.entry(apex.clone()).or_insert(Published {
            primary: zone.primary.clone(),
            versions: BTreeMap::new(),
        });
        if published.primary != zone.primary {
            published.primary.clone_from(&zone.primary);
            published.versions.clear();
        }
        let at_primary = world.hosts.get(&zone.primary).into_iter();
        let at_primary = at_primary.filter(|host| {
            let spec = host.specs.get(&apex);
            spec.is_some_and(|spec| spec.primary)
        });
        for version in at_primary.filter_map(|host| served(host, &apex)) {
            let serial = version.serial().into_int();
            // Serials that a hostile site has driven all the way round begin anew; a primary that was set back is not that far.
            let is_of_this_round =
                |old: &u32| !(ROUND..1 << 31).contains(&old.wrapping_sub(serial));
            published.versions.retain(|old, _| is_of_this_round(old));
            let first = published.versions.entry(serial);
            first.or_insert_with(|| version.digest());
        }
        // What a site forges it gives serials apart from true ones (`World::lies_apart`).
        let honest = |(host, _): &(&String, &Host)| !world.is_hostile(host);
        for (host, state) in world.hosts.iter().filter(honest) {
            let Some(version) = served(state, &apex) else {
                continue;
            };
            let first = published.versions.get(&version.serial().into_int());
            let other = first.is_some_and(|first| *first != version.digest());
            // Nor is a difference false that leads from what was forged to the true version; but whoever has something else that was
            // forged under the same serial keeps some of it, until sites have compared. In the end nothing may be left of it.
            if other && forged_in(version).is_none() {
                let message = format!(
                    "{host} serves something else of {text} under serial {} than {} has published",
                    version.serial(),
                    zone.primary
                );
                return Err(Finding::new(Rule::Contents, message));
            }
        }
    }
    Ok(())
}

fn served<'a>(host: &'a Host, apex: &Name) -> Option<&'a Zone> {
    let served = host.served.get(apex).filter(|_| runs(host));
    served.and_then(|(zone, _)| zone.as_ref())
}
