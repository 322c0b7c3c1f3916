//! A second look at a plan, by other code than made it, before anything acts on it.
//!
//! It goes back to what the plan was made from, the directory and the catalog themselves, and knows nothing of how a
//! plan is made; it looks for what must never be done.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::catalog::Catalog;
use zonemesh_zone::directory::{Directory, Schema, SiteName};
use zonemesh_zone::{Name, Serial};

use crate::brake::{Approvals, Fingerprint};
use crate::desired::{Local, Source, ZoneRole};
use crate::plan::{Action, Observed, Plan};

/// What is wrong with a plan: a defect of ours, for which nothing is acted upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Something is done though the directory cannot be relied upon.
    #[error("`{0}` though the directory is missing, broken, empty or without this site")]
    Directory(String),
    /// A zone is removed though the catalog cannot be relied upon.
    #[error("`{0}` though the catalog is missing or broken")]
    Catalog(String),
    /// A zone is removed that directory or catalog still have.
    #[error("`{0}` though the {1} still has it")]
    StillThere(String, &'static str),
    /// A peer is removed that is a site.
    #[error("`{0}` though it is a site of the directory")]
    StillSite(String),
    /// A zone is removed that is never removed by plan.
    #[error("`{0}` though the mesh cannot be without it, or this site has been made its primary")]
    Kept(String),
    /// This site is among the peers.
    #[error("`{0}` though that is this site itself")]
    Oneself(String),
    /// This site becomes primary without the directory saying so.
    #[error("`{0}` though the directory does not say so")]
    Promotion(String),
    /// More is removed at once than the brake lets pass.
    #[error("{removed} of {of} {kind} are removed at once without approval")]
    Brake {
        /// `zones` or `peers`.
        kind: &'static str,
        /// How many go.
        removed: usize,
        /// How many there are.
        of: usize,
    },
    /// The plan was made from an older version than was acted upon, or from another one than is at hand.
    #[error("the plan was made from {zone} {made_from}; expected {expected}")]
    Stale {
        /// `directory` or `catalog`.
        zone: &'static str,
        /// What the plan says.
        made_from: u32,
        /// What it should be, or come after.
        expected: u32,
    },
    /// The same thing is acted upon twice.
    #[error("two actions for {0}")]
    Twice(String),
}

/// What a plan is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// This site.
    pub me: &'a SiteName,
    /// The directory.
    pub directory: &'a Source<Directory>,
    /// The catalog.
    pub catalog: &'a Source<Catalog>,
    /// What the site knows of itself.
    pub local: &'a Local,
    /// What it is doing.
    pub observed: &'a Observed,
    /// What operators have approved.
    pub approvals: &'a Approvals,
}

/// Looks for what is wrong with a plan; act on it only when nothing is.
pub fn check(plan: &Plan, facts: &Facts<'_>) -> Vec<Fault> {
    if plan.actions.is_empty() {
        return Vec::new();
    }
    if planted(Bug::EmptyDirectoryRemoves) || planted(Bug::BrokenCatalogRemoves) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let usable = facts.directory.value().filter(|directory| {
        !matches!(directory.schema, Schema::Unknown(_)) && !directory.sites.is_empty()
    });
    // One without this site says at most who is trusted no longer.
    let may_be_done = |action: &&Action, directory: &Directory| match action {
        _ if directory.sites.contains_key(facts.me) => true,
        Action::RemovePeer { site, .. } => {
            directory.is_removed(site) && !directory.removed.contains_key(facts.me)
        }
        _ => false,
    };
    let refused = plan
        .actions
        .iter()
        .filter(|action| !usable.is_some_and(|directory| may_be_done(action, directory)));
    faults.extend(refused.map(|action| Fault::Directory(action.to_string())));
    let Some(directory) = usable.filter(|_| faults.is_empty()) else {
        return faults;
    };
    check_age(plan, facts, &mut faults);
    let mut targets = BTreeSet::new();
    let mut zones_gone: Vec<&Name> = Vec::new();
    let mut peers_lost: Vec<&SiteName> = Vec::new();
    for action in &plan.actions {
        let text = action.to_string();
        let target = match action {
            Action::AddPeer { site, .. } | Action::ChangePeer { site, .. } => {
                if site == facts.me {
                    faults.push(Fault::Oneself(text));
                }
                format!("peer {site}")
            }
            Action::RemovePeer { site, .. } => {
                if site == facts.me {
                    faults.push(Fault::Oneself(text));
                } else if directory.sites.contains_key(site) {
                    faults.push(Fault::StillSite(text));
                }
                if !directory.removed.contains_key(site) {
                    peers_lost.push(site);
                }
                format!("peer {site}")
            }
            Action::AddZone { zone, setup }
            | Action::ChangeZone {
                zone, to: setup, ..
            } => {
                if setup.role == ZoneRole::Primary && !names_me(zone, directory, facts) {
                    faults.push(Fault::Promotion(text));
                }
                format!("zone {zone}")
            }
            Action::RemoveZone { zone, setup } => {
                check_removal(zone, text, directory, facts, &mut faults);
                let primary = match &setup.role {
                    ZoneRole::Secondary(primary) => primary.as_ref(),
                    ZoneRole::Primary => None,
                };
                // Emptying the catalog takes more than a tombstone.
                let consent = directory.gone.contains_key(zone)
                    || primary.is_some_and(|site| directory.removed.contains_key(site));
                if !consent || is_emptied(facts) {
                    zones_gone.push(zone);
                }
                format!("zone {zone}")
            }
        };
        if !targets.insert(target.to_ascii_lowercase()) {
            faults.push(Fault::Twice(target));
        }
    }
    check_brake(&zones_gone, &peers_lost, facts, &mut faults);
    faults
}

fn names_me(zone: &Name, directory: &Directory, facts: &Facts<'_>) -> bool {
    if [&facts.local.directory, &facts.local.catalog].contains(&zone) {
        return directory
            .catalog_primary()
            .is_some_and(|site| site.name == *facts.me);
    }
    directory.owners.get(zone) == Some(facts.me)
}

fn check_removal(
    zone: &Name,
    text: String,
    directory: &Directory,
    facts: &Facts<'_>,
    faults: &mut Vec<Fault>,
) {
    let local = facts.local;
    if [&local.directory, &local.catalog].contains(&zone) || local.own.contains(zone) {
        faults.push(Fault::Kept(text.clone()));
    }
    if directory.owners.contains_key(zone) {
        faults.push(Fault::StillThere(text.clone(), "directory"));
    }
    match facts.catalog.value() {
        None => faults.push(Fault::Catalog(text)),
        Some(catalog) if catalog.members.contains_key(zone) => {
            faults.push(Fault::StillThere(text, "catalog"));
        }
        Some(_) => {}
    }
}

fn check_age(plan: &Plan, facts: &Facts<'_>, faults: &mut Vec<Fault>) {
    let at_hand = [
        ("directory", facts.directory.serial()),
        ("catalog", facts.catalog.serial()),
    ];
    let applied = facts.observed.applied;
    for (zone, serial) in at_hand {
        let pick = |from: crate::desired::MadeFrom| match zone {
            "directory" => Some(from.directory),
            _ => from.catalog,
        };
        let Some(made_from) = plan.made_from.and_then(pick) else {
            continue;
        };
        if let Some(expected) = serial.filter(|serial| *serial != made_from) {
            faults.push(Fault::Stale {
                zone,
                made_from,
                expected,
            });
        }
        if let Some(expected) = applied.and_then(pick)
            && made_from != expected
            && Serial(made_from).partial_cmp(&Serial(expected)) != Some(Ordering::Greater)
        {
            faults.push(Fault::Stale {
                zone,
                made_from,
                expected,
            });
        }
    }
}

fn is_emptied(facts: &Facts<'_>) -> bool {
    let catalog = facts.catalog.value();
    catalog.is_some_and(|catalog| catalog.members.is_empty())
}

fn check_brake(zones: &[&Name], peers: &[&SiteName], facts: &Facts<'_>, faults: &mut Vec<Fault>) {
    let members = facts
        .observed
        .zones
        .values()
        .filter(|setup| !setup.members_only);
    let waits = zones
        .iter()
        .any(|zone| facts.observed.held.zones.contains(*zone));
    let emptied = is_emptied(facts);
    // One zone alone is no bulk, and counting costs what there is.
    let of = match emptied || waits || zones.len() > 1 {
        true => members.count(),
        false => zones.len(),
    };
    let bulk = waits || (zones.len() >= 2 && zones.len() as f64 > of as f64 / 10.0);
    let names = zones.iter().map(|zone| zone.fmt_with_dot());
    if !zones.is_empty()
        && (emptied || bulk)
        && !facts.approvals.contains(&Fingerprint::of("zones", names))
    {
        faults.push(Fault::Brake {
            kind: "zones",
            removed: zones.len(),
            of,
        });
    }
    let of = facts.observed.peers.len();
    let waits = peers
        .iter()
        .any(|site| facts.observed.held.sites.contains(*site));
    let bulk = waits || (peers.len() >= 2 && peers.len() as f64 > of as f64 / 10.0);
    if bulk && !facts.approvals.contains(&Fingerprint::of("peers", peers)) {
        faults.push(Fault::Brake {
            kind: "peers",
            removed: peers.len(),
            of,
        });
    }
}
