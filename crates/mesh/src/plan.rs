//! The plan: what leads from what a site is doing to what it should be doing.
//!
//! A plan is plain data, made in one place and carried out in another. It says what it was made from, what is held back,
//! and why nothing is done when nothing is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use zonemesh_planted::{Bug, planted};
use zonemesh_zone::directory::SiteName;
use zonemesh_zone::{Name, Serial, SerialExt};

use crate::brake::{Approvals, Fingerprint, too_many};
use crate::desired::{Desired, Hold, MadeFrom, Peer, Scope, ZoneRole, ZoneSetup};

/// What a site is doing, as its engine says. Whether peers can be reached is not part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The peers that the engine knows.
    pub peers: BTreeMap<SiteName, Peer>,
    /// The zones that it runs for the mesh. Zones that the mesh does not know of are not to be listed.
    pub zones: BTreeMap<Name, ZoneSetup>,
    /// From which versions the last plan was made that was carried out.
    pub applied: Option<MadeFrom>,
    /// The zones and peers whose removal in bulk waits for approval, and would still happen: none of them goes because others have
    /// come back.
    pub held: Scope,
}

/// One thing to do. Each can be done again without harm, and none waits for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Meet a new peer: reach it, let it transfer, tell it of changes.
    AddPeer {
        /// The site.
        site: SiteName,
        /// How to meet it.
        peer: Peer,
    },
    /// Meet a peer otherwise.
    ChangePeer {
        /// The site.
        site: SiteName,
        /// How it was met.
        from: Peer,
        /// How it is to be met.
        to: Peer,
    },
    /// Run another zone.
    AddZone {
        /// The zone.
        #[serde(with = "crate::text")]
        zone: Name,
        /// How.
        setup: ZoneSetup,
    },
    /// Run a zone otherwise.
    ChangeZone {
        /// The zone.
        #[serde(with = "crate::text")]
        zone: Name,
        /// How it was run.
        from: ZoneSetup,
        /// How it is to be run.
        to: ZoneSetup,
    },
    /// Stop running a zone. Its data and keys are kept for 30 days.
    RemoveZone {
        /// The zone.
        #[serde(with = "crate::text")]
        zone: Name,
        /// How it was run.
        setup: ZoneSetup,
    },
    /// Forget a peer: its keys, its right to transfer, its NOTIFY.
    RemovePeer {
        /// The site.
        site: SiteName,
        /// Whether a tombstone says that it was removed.
        departed: bool,
    },
}

impl Action {
    /// Whether a secondary has to forget what it has of a zone and transfer it whole (RFC 9432 §5.4). The old copy
    /// serves until then. What a primary has is never forgotten.
    pub fn resets(&self) -> bool {
        match self {
            Self::ChangeZone { from, to, .. } => {
                to.role != ZoneRole::Primary
                    && from.node.is_some()
                    && to.node.is_some()
                    && from.node != to.node
            }
            _ => false,
        }
    }
}

/// Removals that wait for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What is removed: `zones` or `peers`.
    pub kind: String,
    /// Their names.
    pub names: Vec<String>,
    /// Of how many.
    pub of: usize,
    /// What approves it.
    pub fingerprint: Fingerprint,
}

/// What is to be done, and why no more than that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is to be done, in this order.
    pub actions: Vec<Action>,
    /// Why something, or everything, stays as it is.
    pub reasons: Vec<String>,
    /// What waits for approval.
    pub held: Vec<Held>,
    /// The approvals by which it removes in bulk what it removes.
    #[serde(default)]
    pub approved: Vec<Fingerprint>,
    /// What it was made from; `None` when nothing could be said.
    pub made_from: Option<MadeFrom>,
}

/// Makes the plan, of everything or of what is within the scope for which the desired state was derived.
pub fn plan(
    desired: &Result<Desired, Hold>,
    observed: &Observed,
    approvals: &Approvals,
    scope: Option<&Scope>,
) -> Plan {
    let desired = match desired {
        Ok(desired) => desired,
        Err(Hold::Empty) if planted(Bug::EmptyDirectoryRemoves) => {
            return Plan {
                actions: observed
                    .peers
                    .keys()
                    .map(|site| remove_peer(site, false))
                    .collect(),
                ..Plan::default()
            };
        }
        Err(hold) => return held_back(hold, observed),
    };
    let mut plan = Plan {
        made_from: Some(desired.made_from),
        ..Plan::default()
    };
    if let Some(why) = too_old(desired.made_from, observed.applied) {
        plan.reasons.push(why);
        return plan;
    }
    for (site, peer) in &desired.peers {
        let (site, peer) = (site.clone(), peer.clone());
        match observed.peers.get(&site) {
            None => plan.actions.push(Action::AddPeer { site, peer }),
            Some(_) if planted(Bug::StaleAddressKept) => {}
            Some(from) if *from != peer => plan.actions.push(Action::ChangePeer {
                site,
                from: from.clone(),
                to: peer,
            }),
            Some(_) => {}
        }
    }
    change_zones(desired, observed, &mut plan);
    remove_zones(desired, observed, approvals, scope, &mut plan);
    remove_peers(desired, observed, approvals, scope, &mut plan);
    plan
}

/// What is done though it cannot be said what should be: who is known to have been removed is trusted no longer.
fn held_back(hold: &Hold, observed: &Observed) -> Plan {
    let mut plan = Plan {
        reasons: vec![format!("nothing is changed: {hold}")],
        ..Plan::default()
    };
    let Hold::NotMember {
        departed,
        made_from,
        ..
    } = hold
    else {
        return plan;
    };
    let is_old = too_old(*made_from, observed.applied).is_some();
    let gone = departed
        .iter()
        .filter(|site| observed.peers.contains_key(*site));
    let gone: Vec<Action> = gone.map(|site| remove_peer(site, true)).collect();
    if is_old || gone.is_empty() || planted(Bug::DepartedKept) {
        return plan;
    }
    plan.reasons = vec![format!("nothing else is changed: {hold}")];
    plan.actions = gone;
    plan.made_from = Some(*made_from);
    plan
}

/// What forgets a peer.
fn remove_peer(site: &SiteName, departed: bool) -> Action {
    Action::RemovePeer {
        site: site.clone(),
        departed,
    }
}

/// A late plan must not move a site backwards.
fn too_old(made_from: MadeFrom, applied: Option<MadeFrom>) -> Option<String> {
    let applied = applied?;
    let older = |new: u32, old: u32| new != old && !Serial(new).is_after(Serial(old));
    if older(made_from.directory, applied.directory) {
        return Some(format!(
            "nothing is changed: directory {} is older than {}, which was acted upon already",
            made_from.directory, applied.directory
        ));
    }
    match (made_from.catalog, applied.catalog) {
        (Some(new), Some(old)) if older(new, old) => Some(format!(
            "nothing is changed: catalog {new} is older than {old}, which was acted upon already"
        )),
        _ => None,
    }
}

fn change_zones(desired: &Desired, observed: &Observed, plan: &mut Plan) {
    for (zone, why) in &desired.keep {
        if observed.zones.contains_key(zone) {
            let text = format!("{} stays as it is: {why}", zone.fmt_with_dot());
            plan.reasons.push(text);
        } else if !desired.zones.contains_key(zone) {
            let text = format!("{} is not added: {why}", zone.fmt_with_dot());
            plan.reasons.push(text);
        } else {
            let text = format!("{} is asked of any site: {why}", zone.fmt_with_dot());
            plan.reasons.push(text);
        }
    }
    for (zone, setup) in &desired.zones {
        match observed.zones.get(zone) {
            None => plan.actions.push(Action::AddZone {
                zone: zone.clone(),
                setup: setup.clone(),
            }),
            Some(from)
                if (from != setup || planted(Bug::PlanNeverEmpty))
                    && !desired.keep.contains_key(zone) =>
            {
                plan.actions.push(Action::ChangeZone {
                    zone: zone.clone(),
                    from: from.clone(),
                    to: setup.clone(),
                });
            }
            Some(_) => {}
        }
    }
}

/// Which of what runs is within a scope.
fn within<'o, K: Ord, V>(
    all: &'o BTreeMap<K, V>,
    scope: Option<&BTreeSet<K>>,
) -> Vec<(&'o K, &'o V)> {
    match scope {
        None => all.iter().collect(),
        Some(scope) => scope
            .iter()
            .filter_map(|key| all.get_key_value(key))
            .collect(),
    }
}

fn remove_zones(
    desired: &Desired,
    observed: &Observed,
    approvals: &Approvals,
    scope: Option<&Scope>,
    plan: &mut Plan,
) {
    let running = within(&observed.zones, scope.map(|scope| &scope.zones));
    let gone: BTreeMap<&Name, &ZoneSetup> = running
        .into_iter()
        .filter(|(zone, _)| !desired.zones.contains_key(*zone) && !desired.keep.contains_key(*zone))
        .collect();
    if gone.is_empty() {
        return;
    }
    let keep_all = desired.keep_all.as_ref();
    if let Some(why) = keep_all.filter(|_| !planted(Bug::BrokenCatalogRemoves)) {
        let text = format!("{} member zone(s) stay as they are: {why}", gone.len());
        plan.reasons.push(text);
        return;
    }
    // A tombstone is consent: who removed the site was asked what becomes of its zones, and the brake was there. So is the
    // note of a zone that was removed by itself.
    let consent = |zone: &Name, setup: &ZoneSetup| match &setup.role {
        _ if desired.gone.contains(zone) => true,
        ZoneRole::Secondary(Some(primary)) => desired.departed.contains(primary),
        _ => false,
    };
    let names: Vec<String> = gone
        .iter()
        .filter(|(zone, setup)| desired.catalog_empty || !consent(zone, setup))
        .map(|(zone, _)| zone.fmt_with_dot().to_string())
        .collect();
    let mut without = gone.iter().filter(|(zone, setup)| !consent(zone, setup));
    let waits = without.any(|(zone, _)| observed.held.zones.contains(*zone));
    // One zone is no bulk; counting costs what there is.
    let members = match desired.catalog_empty || names.len() > 1 || waits {
        true => observed
            .zones
            .values()
            .filter(|setup| !setup.members_only)
            .count(),
        false => observed.zones.len(),
    };
    let bulk = desired.catalog_empty || too_many(names.len(), members) || waits;
    let bulk = bulk && !planted(Bug::BrokenCatalogRemoves);
    if bulk && !approved("zones", names, members, approvals, plan) {
        return;
    }
    plan.actions
        .extend(gone.into_iter().map(|(zone, setup)| Action::RemoveZone {
            zone: zone.clone(),
            setup: setup.clone(),
        }));
}

fn remove_peers(
    desired: &Desired,
    observed: &Observed,
    approvals: &Approvals,
    scope: Option<&Scope>,
    plan: &mut Plan,
) {
    let met = within(&observed.peers, scope.map(|scope| &scope.sites));
    let gone: BTreeSet<&SiteName> = met
        .into_iter()
        .map(|(site, _)| site)
        .filter(|site| !desired.peers.contains_key(*site))
        .collect();
    // A tombstone is consent.
    let (departed, lost): (Vec<_>, Vec<_>) = gone
        .into_iter()
        .partition(|site| desired.departed.contains(*site));
    let names: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let waits = lost.iter().any(|site| observed.held.sites.contains(*site));
    let bulk = too_many(lost.len(), observed.peers.len()) || waits;
    let lost_go = !bulk || approved("peers", names, observed.peers.len(), approvals, plan);
    let remove = |departed| move |site: &SiteName| remove_peer(site, departed);
    if !planted(Bug::DepartedKept) {
        plan.actions.extend(departed.into_iter().map(remove(true)));
    }
    if lost_go {
        plan.actions.extend(lost.into_iter().map(remove(false)));
    }
}

fn approved(
    kind: &str,
    names: Vec<String>,
    of: usize,
    approvals: &Approvals,
    plan: &mut Plan,
) -> bool {
    let fingerprint = Fingerprint::of(kind, &names);
    if approvals.contains(&fingerprint) {
        plan.approved.push(fingerprint);
        return true;
    }
    plan.reasons.push(format!(
        "held: {} of {of} {kind} would be removed at once; if that is meant, approve {fingerprint}",
        names.len()
    ));
    plan.held.push(Held {
        kind: kind.into(),
        names,
        of,
        fingerprint,
    });
    false
}

/// Does in a model what an engine does with a plan.
pub fn apply(observed: &mut Observed, plan: &Plan) {
    for action in &plan.actions {
        match action.clone() {
            Action::AddPeer { site, peer } | Action::ChangePeer { site, to: peer, .. } => {
                observed.peers.insert(site, peer);
            }
            Action::RemovePeer { site, .. } => {
                observed.peers.remove(&site);
            }
            Action::AddZone { zone, setup }
            | Action::ChangeZone {
                zone, to: setup, ..
            } => {
                observed.zones.insert(zone, setup);
            }
            Action::RemoveZone { zone, .. } => {
                observed.zones.remove(&zone);
            }
        }
    }
    observed.remember(plan);
}

impl Observed {
    /// What is not as it should be, or is so for a reason that has to be told again, within a scope or at all.
    pub fn unsettled(&self, desired: &Desired, scope: Option<&Scope>) -> Scope {
        let mut left = Scope::default();
        let running = within(&self.zones, scope.map(|scope| &scope.zones));
        for (zone, setup) in running {
            if desired.zones.get(zone) != Some(setup) {
                left.zones.insert(zone.clone());
            }
        }
        let lacks = |zone: &&Name| !self.zones.contains_key(*zone);
        let missing = desired.zones.keys().filter(lacks);
        left.zones
            .extend(missing.chain(desired.keep.keys()).cloned());
        let met = within(&self.peers, scope.map(|scope| &scope.sites));
        for (site, peer) in met {
            if desired.peers.get(site) != Some(peer) {
                left.sites.insert(site.clone());
            }
        }
        let lacks = |site: &&SiteName| !self.peers.contains_key(*site);
        left.sites
            .extend(desired.peers.keys().filter(lacks).cloned());
        left
    }

    /// Remembers what a plan holds back, until it is wanted again or gone.
    pub fn hold(&mut self, desired: &Desired, plan: &Plan) {
        let (zones, peers) = (&self.zones, &self.peers);
        let waits = |zone: &Name| zones.contains_key(zone) && !desired.zones.contains_key(zone);
        self.held.zones.retain(waits);
        let waits = |site: &SiteName| peers.contains_key(site) && !desired.peers.contains_key(site);
        self.held.sites.retain(waits);
        let names = |kind| {
            let held = plan.held.iter().filter(move |held| held.kind == kind);
            let names = held.flat_map(|held| held.names.iter().map(String::as_str));
            names.collect::<BTreeSet<&str>>()
        };
        let (held, lost) = (names("zones"), names("peers"));
        if !held.is_empty() {
            let is_held = |zone: &&Name| held.contains(&*zone.fmt_with_dot().to_string());
            let held = zones.keys().filter(is_held);
            self.held.zones.extend(held.cloned());
        }
        let lost = peers.keys().filter(|site| lost.contains(site.as_str()));
        self.held.sites.extend(lost.cloned());
    }

    /// Remembers from which versions a plan was made that has been carried out. What was unreadable does not make
    /// what was read before forgotten.
    pub fn remember(&mut self, plan: &Plan) {
        let Some(made_from) = plan.made_from else {
            return;
        };
        if too_old(made_from, self.applied).is_some() {
            return;
        }
        self.applied = Some(MadeFrom {
            catalog: made_from
                .catalog
                .or(self.applied.and_then(|applied| applied.catalog)),
            ..made_from
        });
    }
}

impl fmt::Display for ZoneSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            ZoneRole::Primary => f.write_str("primary"),
            ZoneRole::Secondary(Some(site)) => write!(f, "secondary of {site}"),
            ZoneRole::Secondary(None) => f.write_str("secondary of any site"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        match addresses.is_empty() {
            true => f.write_str("no address")?,
            false => f.write_str(&addresses.join(" "))?,
        }
        write!(f, " dns {}", self.dns)?;
        if let Some(port) = self.dot {
            write!(f, " dot {port}")?;
        }
        if let Some(port) = self.doq {
            write!(f, " doq {port}")?;
        }
        write!(f, " {}", self.role)?;
        self.pins.iter().try_for_each(|pin| {
            let text = pin.to_string();
            write!(f, " key {}…", text.get(..8).unwrap_or(&text))
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddPeer { site, peer } => write!(f, "add peer {site}: {peer}"),
            Self::ChangePeer { site, from, to } => {
                write!(f, "change peer {site}: {from} -> {to}")
            }
            Self::AddZone { zone, setup } => {
                write!(f, "add zone {}: {setup}", zone.fmt_with_dot())
            }
            Self::ChangeZone { zone, from, to } if from.role == to.role => match self.resets() {
                true => write!(f, "reset zone {}: {to}", zone.fmt_with_dot()),
                false => write!(f, "note zone {}: {to}, in the catalog", zone.fmt_with_dot()),
            },
            Self::ChangeZone { zone, from, to } => {
                write!(f, "change zone {}: {from} -> {to}", zone.fmt_with_dot())
            }
            Self::RemoveZone { zone, setup } => {
                write!(f, "remove zone {}: was {setup}", zone.fmt_with_dot())
            }
            Self::RemovePeer { site, departed } => match departed {
                true => write!(f, "remove peer {site}: it was removed from the mesh"),
                false => write!(f, "remove peer {site}: it is no longer in the directory"),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.made_from {
            Some(made_from) => writeln!(f, "plan from {made_from}")?,
            None => writeln!(f, "no plan")?,
        }
        for action in &self.actions {
            writeln!(f, "  {action}")?;
        }
        for reason in &self.reasons {
            writeln!(f, "  ({reason})")?;
        }
        if self.actions.is_empty() && self.reasons.is_empty() {
            writeln!(f, "  (all is as it should be)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
