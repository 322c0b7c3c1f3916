//! Following a catalog from the version that was followed last to the next, and listing what is new in one that is written here: at
//! the cost of what changes, whatever the catalog holds.
//!
//! Where the difference alone does not say enough (anything broken or held, a member that is named twice, or elsewhere too, or that
//! may move), this says so, and all catalogs are followed whole.

use std::collections::BTreeMap;

use zonemesh_zone::catalog::{self, Catalog, Difference, Member};
use zonemesh_zone::{Name, SerialExt, Zone};

use super::super::{Core, Now};
use super::{Consumed, Members, follow, label_of, removal_of, told};

/// Builds with debug assertions compare each step with a reading of the whole, up to so many members: what a step costs in larger
/// catalogs is tested, too.
const COMPARED: usize = 1000;

/// # By difference
impl Core {
    /// Follows a catalog that is consumed. None when all of it has to be read: nothing has been done then.
    pub(super) fn follow_difference(&mut self, consumed: &Consumed, now: Now) -> Option<()> {
        let apex = &consumed.apex;
        let report = &self.catalogs.report;
        if !report.held.is_empty() || !report.faults.is_empty() {
            return None;
        }
        let before = self.catalogs.followed.get(apex)?;
        let view = self.zone(apex).filter(|view| !view.expired)?;
        let after = view.zone?.clone();
        let difference = Difference::of(before, &after)?;
        let have = self.catalogs.brought.get(apex)?;
        let mut concerned = Members::new();
        let mut wanted = Catalog {
            apex: apex.clone(),
            members: BTreeMap::new(),
        };
        for (zone, member) in &difference.members {
            let old = difference.before(zone);
            let known = have.get(zone);
            // Another member node names it than the one that was read, or none did and it was not taken for another reason.
            if known.map(|brought| brought.node.clone()) != old.map(label_of) {
                return None;
            }
            let moves = |member: &Member| member.coo.is_some();
            if old.is_some_and(moves) || member.as_ref().is_some_and(moves) {
                return None;
            }
            if self.catalogs.report.refused.contains_key(zone) || self.is_elsewhere(zone, apex) {
                return None;
            }
            concerned.extend(known.map(|brought| (zone.clone(), brought.clone())));
            let member = member.clone().map(|member| (zone.clone(), member));
            wanted.members.extend(member);
        }
        let refuse = |zone: &Name| self.refuses(consumed, &concerned, zone);
        let approved = self.consent.approved();
        let of = (&concerned, have.len());
        let step = follow(of, &wanted, &consumed.groups, &refuse, approved);
        if step.held.is_some() || !step.refused.is_empty() {
            return None;
        }
        if !step.removed.is_empty() {
            self.forget_consent([&removal_of(apex, &step.removed)]);
        }
        for zone in &step.removed {
            self.drop_zone(zone);
        }
        for zone in &step.reset {
            self.reset_zone(zone, now);
        }
        for (zone, brought) in &step.next {
            self.bring(apex, zone, brought, now);
        }
        if let Some(all) = self.catalogs.brought.get_mut(apex) {
            for zone in &step.removed {
                all.remove(zone);
            }
            all.extend(step.next.clone());
        }
        self.remember(apex, &concerned, &step.next, Vec::new());
        self.tell_members(told(apex, &concerned, &step.next));
        let all = self.catalogs.brought.get(apex).map_or(0, Members::len);
        if cfg!(debug_assertions) && all <= COMPARED {
            self.compare_whole(consumed, &after);
        }
        self.catalogs.followed.insert(apex.clone(), after);
        Some(())
    }

    /// Compares what was made of a difference with what a reading of the whole comes to.
    fn compare_whole(&self, consumed: &Consumed, after: &Zone) {
        let whole = Catalog::read(after).expect("nothing broken was followed");
        let none = Members::new();
        let have = self.catalogs.brought.get(&consumed.apex).unwrap_or(&none);
        let refuse = |zone: &Name| self.refuses(consumed, have, zone);
        let approved = self.consent.approved();
        let step = follow(
            (have, have.len()),
            &whole,
            &consumed.groups,
            &refuse,
            approved,
        );
        assert!(
            step.next == *have && step.removed.is_empty() && step.reset.is_empty(),
            "catalog {}, followed and read",
            consumed.apex
        );
    }

    /// Whether another catalog has brought a zone, or the configuration names it.
    fn is_elsewhere(&self, zone: &Name, catalog: &Name) -> bool {
        let mut brought = self.catalogs.brought.iter();
        brought.any(|(apex, members)| apex != catalog && members.contains_key(zone))
            || self
                .settings
                .zones
                .iter()
                .any(|configured| configured.apex == *zone)
    }

    /// Lists zones in the catalogs that are written here, none of which lists them. None when that has to be looked at whole.
    pub(super) fn list_more(&mut self, zones: &[Name]) -> Option<()> {
        let catalogs = &self.catalogs;
        if !catalogs.report.held.is_empty() || !catalogs.report.faults.is_empty() {
            return None;
        }
        let served = |zone: &&Name| {
            let entry = self.zones.get(zone);
            entry.is_some_and(|entry| entry.served.is_some())
        };
        let zones: Vec<&Name> = zones.iter().filter(served).collect();
        let mut versions: Vec<(Name, Zone)> = Vec::new();
        for produced in &self.settings.catalogs.produced {
            let entry = self.zones.get(&produced.apex);
            let entry = entry.filter(|entry| entry.spec.primary)?;
            let head = entry.head.as_ref()?;
            let in_step = catalogs.written.get(&produced.apex)?;
            if !in_step.tree().same(head.tree()) {
                return None;
            }
            let groups = &produced.groups;
            let new = zones
                .iter()
                .map(|zone| (Name::clone(zone), groups.get(*zone).cloned()));
            let serial = entry.floor()?.next();
            let made = catalog::list_more(head, &new.collect(), serial).ok()?;
            versions.push((produced.apex.clone(), made));
        }
        let listed: Vec<Name> = zones.into_iter().cloned().collect();
        for (apex, zone) in versions {
            let made = self.next_version(&zone).ok()??;
            self.catalogs.written.insert(apex, made.zone.clone());
            self.commit(vec![made], Vec::new(), None);
        }
        self.catalogs.listed.extend(listed);
        Some(())
    }
}
