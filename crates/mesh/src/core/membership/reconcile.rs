//! The full pass: compare what should be with what is, have the plan checked, carry it out.

use std::collections::{BTreeMap, BTreeSet};

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::Name;

use super::Lists;
use super::founding::made_primary;
use crate::core::peers::Peer;
use crate::core::{Core, Happening, Now, Output, PeerId, PeerList, Report, Settings, ZoneSpec};
use crate::desired::Scope;
use crate::plan::{self, Action, Held, Plan};
use crate::verify;

/// # Reconciling
impl Core {
    /// Compares what should be with what is, and does what the plan says.
    pub(in crate::core) fn reconcile(&mut self, now: Now) {
        self.forget_old_consent(now);
        if self.mesh.is_none() {
            self.reconcile_configured(now);
            self.follow_catalogs(now);
            return self.follow_foreign();
        }
        self.add_configured(now);
        self.read_mesh();
        let pace = self.settings.pace.reconcile;
        if let Some(mesh) = &mut self.mesh {
            mesh.next_reconcile = now.mono + pace;
            let own = self
                .settings
                .zones
                .iter()
                .filter(|spec| spec.primary && spec.mesh);
            mesh.configured = own.map(|spec| spec.apex.clone()).collect();
            if let Some(directory) = mesh.directory.value() {
                let owners = &directory.owners;
                let listed = mesh.hosted.iter().filter(|zone| owners.contains_key(*zone));
                let listed: Vec<Name> = listed.cloned().collect();
                let unlisted = mesh
                    .configured
                    .iter()
                    .filter(|zone| !owners.contains_key(*zone));
                mesh.to_list = unlisted.cloned().collect();
                mesh.are_listed(&listed);
                self.forget_hosted(listed);
            }
        }
        self.follow_plan(now, None);
        self.run_foreign(now);
        self.follow_catalogs(now);
        self.follow_foreign();
        self.meet_members(now);
        self.settle_all(now);
        self.announce(now);
    }

    /// Plans, has the plan checked, and carries it out: for everything, or for a scope outside of which all is settled.
    pub(super) fn follow_plan(&mut self, now: Now, scope: Option<&Scope>) {
        if self.plan_once(now, scope) {
            // Once more, to see that nothing is left to do; or why there is.
            let again = scope.is_none() || self.plan_once(now, scope);
            if let Some(mesh) = self.mesh.as_mut().filter(|_| again) {
                mesh.next_reconcile = now.mono;
            }
        }
    }

    /// Whether there was anything to do.
    fn plan_once(&mut self, now: Now, scope: Option<&Scope>) -> bool {
        let Some(mesh) = &mut self.mesh else {
            return false;
        };
        // Until it is known what comes of this.
        mesh.unsettled = None;
        let local = mesh.local(scope);
        let wanted = mesh.desired(&local, scope);
        let approvals = self.consent.approved();
        let plan = plan::plan(&wanted, &mesh.observed, approvals, scope);
        if scope.is_some() {
            mesh.compare(&plan, approvals);
        }
        let facts = verify::Facts {
            me: &mesh.settings.me.name,
            directory: &mesh.directory,
            catalog: &mesh.catalog,
            local: &local,
            observed: &mesh.observed,
            approvals: self.consent.approved(),
        };
        let faults = verify::check(&plan, &facts);
        let blocked = match faults.first() {
            Some(fault) => Some(format!("the plan is not right: {fault}")),
            None => mesh
                .breaker
                .admit(&plan)
                .err()
                .map(|repeats| repeats.to_string()),
        };
        let before = mesh.last.replace(Report {
            plan: plan.clone(),
            at: now.wall,
            blocked: blocked.clone(),
        });
        if let Some(blocked) = blocked {
            if before.is_none_or(|before| before.blocked.as_ref() != Some(&blocked)) {
                self.happened(Happening::Blocked(blocked));
            }
            return false;
        }
        for held in &plan.held {
            // The same is told once, of however many it is by now.
            let same = |told: &Held| told.fingerprint == held.fingerprint;
            let before = before.as_ref().map(|before| &before.plan.held);
            let told = before.is_some_and(|before| before.iter().any(same));
            if told || self.consent.is_declined(&held.fingerprint) {
                continue;
            }
            let message = format!(
                "{} of {} {} would be removed at once",
                held.names.len(),
                held.of,
                held.kind
            );
            self.happened(Happening::Held {
                hash: held.fingerprint.to_string(),
                message,
            });
        }
        self.carry_out(&plan, now);
        if let Some(mesh) = self.mesh.as_mut().filter(|mesh| mesh.known()) {
            mesh.reconciled = Some(now);
        }
        if let (Some(mesh), Ok(wanted)) = (&mut self.mesh, wanted) {
            mesh.observed.hold(&wanted, &plan);
            mesh.unsettled = Some(mesh.observed.unsettled(&wanted, scope));
        }
        self.keep_waiting();
        !plan.actions.is_empty()
    }

    /// Does what a plan says. No choice is left to make here.
    pub(super) fn carry_out(&mut self, plan: &Plan, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        let news = std::mem::replace(&mut mesh.passed, mesh.directory.value().is_some());
        plan::apply(&mut mesh.observed, plan);
        let of_peer = |action: &Action| {
            matches!(
                action,
                Action::AddPeer { .. } | Action::ChangePeer { .. } | Action::RemovePeer { .. }
            )
        };
        if plan.actions.iter().any(of_peer) {
            let lists = Lists::of(&mesh.observed.peers);
            if mesh.lists != lists {
                mesh.lists = lists;
            }
        }
        let mut peers_changed = false;
        for action in &plan.actions {
            match action {
                Action::AddPeer { site, .. } => {
                    peers_changed = true;
                    if news {
                        self.happened(Happening::SiteJoined(site.clone()));
                    }
                }
                Action::ChangePeer { site, .. } => {
                    peers_changed = true;
                    if news {
                        self.happened(Happening::SiteChanged(site.clone()));
                    }
                }
                Action::RemovePeer { site, .. } => {
                    peers_changed = true;
                    self.happened(Happening::SiteLeft(site.clone()));
                }
                Action::AddZone { zone, .. } | Action::ChangeZone { zone, .. } => {
                    if let Action::ChangeZone { from, to, .. } = action
                        && from.node.is_some()
                        && from.node != to.node
                    {
                        self.reset_zone(zone, now);
                    }
                }
                Action::RemoveZone { .. } if planted(Bug::RemovedZoneKept) => {}
                Action::RemoveZone { zone, .. } => self.drop_zone(zone),
            }
        }
        if peers_changed {
            // Before anything is asked of them: where they are, and whom to trust.
            self.meet_members(now);
        }
        // Other peers mean other sources and other targets for each zone.
        let changed: Vec<Name> = match (&self.mesh, peers_changed) {
            (Some(mesh), true) => mesh
                .observed
                .zones
                .keys()
                .chain(&mesh.hosted)
                .cloned()
                .collect(),
            _ => plan
                .actions
                .iter()
                .filter_map(|action| match action {
                    Action::AddZone { zone, .. } | Action::ChangeZone { zone, .. } => {
                        Some(zone.clone())
                    }
                    _ => None,
                })
                .collect(),
        };
        for apex in changed {
            self.run_zone(&apex, now);
        }
        // Consent is for once.
        self.forget_consent(&plan.approved);
    }

    /// Runs a zone as its setup says.
    pub(super) fn run_zone(&mut self, apex: &Name, now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let hosted = made_primary();
        let setup = mesh.observed.zones.get(apex).unwrap_or(&hosted);
        let mut spec = mesh.spec(apex, setup);
        if spec.primary {
            // Foreign secondaries of the configuration are told by the primary, whatever the mesh says besides.
            let configured = self.settings.zones.iter().filter(|own| own.apex == *apex);
            let foreign = configured
                .flat_map(|own| own.notify.iter())
                .filter(|peer| matches!(peer, PeerId::Foreign(_)));
            foreign.for_each(|peer| spec.notify.push(peer.clone()));
        }
        if mesh.settings.directory != *apex {
            // Foreign servers that follow the catalog hear of its members here, whoever is their primary.
            let others = self.settings.catalogs.notify.iter();
            others.for_each(|peer| spec.notify.push(peer.clone()));
        }
        match self.zones.get(apex) {
            None => {
                self.add_zone(spec);
                self.serve_held(apex, now);
            }
            Some(entry) if entry.spec != spec => self.respecify(spec, now),
            Some(_) => {}
        }
    }

    /// Lets all zones know when other foreign servers are to be told.
    pub(super) fn run_foreign(&mut self, now: Now) {
        let told: BTreeMap<Name, PeerList> = self
            .settings
            .zones
            .iter()
            .filter(|spec| spec.mesh && !spec.notify.is_empty())
            .map(|spec| (spec.apex.clone(), spec.notify.clone()))
            .collect();
        let told = (self.settings.catalogs.notify.clone(), told);
        if self.catalogs.told == told {
            return;
        }
        self.catalogs.told = told;
        let Some(mesh) = &self.mesh else { return };
        let all = mesh.observed.zones.keys().chain(&mesh.hosted);
        for apex in all.cloned().collect::<Vec<_>>() {
            self.run_zone(&apex, now);
        }
    }

    /// Zones of the configuration of a plain name server: added, changed and dropped as it says.
    pub(super) fn reconcile_configured(&mut self, now: Now) {
        let wanted: BTreeMap<Name, ZoneSpec> = self
            .settings
            .zones
            .iter()
            .map(|spec| (spec.apex.clone(), spec.clone()))
            .collect();
        for apex in self
            .zones
            .keys()
            .filter(|apex| !wanted.contains_key(*apex) && !self.catalogs.brings(apex))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.drop_zone(&apex);
        }
        for (apex, spec) in wanted {
            match self.zones.get(&apex) {
                None => {
                    self.add_zone(spec);
                    self.serve_held(&apex, now);
                }
                Some(entry) if entry.spec != spec => self.respecify(spec, now),
                Some(_) => {}
            }
        }
    }

    /// Zones of the configuration that the mesh does not say anything about: added and changed as it says.
    pub(super) fn add_configured(&mut self, now: Now) {
        for spec in self.settings.zones.clone() {
            match self.zones.get(&spec.apex) {
                None => {
                    let apex = spec.apex.clone();
                    self.add_zone(spec);
                    self.serve_held(&apex, now);
                }
                Some(entry) if !spec.mesh && !entry.spec.mesh && entry.spec != spec => {
                    self.respecify(spec, now)
                }
                Some(_) => {}
            }
        }
    }

    /// Zones that the configuration no longer names and that are not the mesh's.
    pub(in crate::core) fn drop_unconfigured(&mut self, old: &Settings) {
        let kept: BTreeSet<&Name> = self.settings.zones.iter().map(|spec| &spec.apex).collect();
        let gone: Vec<Name> = old
            .zones
            .iter()
            .filter(|spec| !spec.mesh && !kept.contains(&spec.apex))
            .map(|spec| spec.apex.clone())
            .collect();
        for apex in gone {
            self.drop_zone(&apex);
        }
    }

    /// Foreign servers are watched too, by what they answer to transfers and NOTIFYs.
    pub(super) fn follow_foreign(&mut self) {
        let foreign: Vec<PeerId> = self
            .zones
            .values()
            .flat_map(|entry| {
                entry
                    .spec
                    .sources
                    .foreign()
                    .chain(entry.spec.notify.foreign())
            })
            .cloned()
            .collect();
        for peer in foreign {
            self.peers.entry(peer).or_default();
        }
    }

    /// The same for those that one zone is exchanged with.
    pub(super) fn follow_foreign_of(&mut self, apex: &Name) {
        let Some(entry) = self.zones.get(apex) else {
            return;
        };
        let spec = &entry.spec;
        for peer in spec.sources.foreign().chain(spec.notify.foreign()) {
            if !self.peers.contains_key(peer) {
                self.peers.insert(peer.clone(), Peer::default());
            }
        }
    }

    /// Trusts and watches the members, and nobody else.
    pub(super) fn meet_members(&mut self, now: Now) {
        let Some(mesh) = &self.mesh else { return };
        let sites = &mesh.observed.peers;
        self.peers.retain(|id, _| match id {
            PeerId::Foreign(_) => true,
            PeerId::Site(name) => sites.contains_key(name),
        });
        for id in mesh.others() {
            self.peers.entry(id).or_insert_with(|| {
                self.next_probe = self.next_probe.min(now.mono + self.settings.pace.floor);
                Peer::default()
            });
        }
        self.out.push(Output::Members(mesh.members()));
        self.arrange_watch();
        self.forget_sums();
        // Who has left is waited for no longer.
        for apex in self.waited_for() {
            self.count_receipts(&apex, now);
        }
    }
}
