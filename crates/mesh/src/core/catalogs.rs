//! Catalog zones that are not the mesh's own (RFC 9432): those of foreign servers that this site follows, and those that it
//! writes for them.
//!
//! Consumed, a catalog brings secondary zones, and takes away again what it brought: never a zone of the configuration or of
//! the mesh, and nothing that the admission list does not name. What a catalog has brought is kept on disk with the member
//! nodes, so that a restart neither forgets a removal that waits for approval nor a member that was reset meanwhile.
//! Produced, a catalog names every zone that this site is primary for.
//!
//! Not here: the mesh's own catalog, which follows from the directory (`membership`), and who may transfer a member.

mod difference;
mod produce;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smol_str::SmolStr;
use zonemesh_zone::catalog::{self, Catalog};
use zonemesh_zone::{Name, Zone};

use self::stored::{decode, encode_member, member_key, store_key};
use super::{Core, Happening, Now, Output, PeerId, PeerList, ZoneSpec};
use crate::brake::{Approvals, Fingerprint, too_many};
use crate::plan;

/// Where the store keeps what catalogs have brought.
pub const CATALOG_MEMBERS: &str = "catalog-members";

/// The catalogs of the configuration.
#[derive(Clone, Debug, Default)]
pub struct CatalogSettings {
    /// Those that are followed.
    pub consumed: Vec<Consumed>,
    /// Those that are written here.
    pub produced: Vec<Produced>,
    /// Foreign servers that follow the mesh's own catalog: told when it or one of its members changes.
    pub notify: Vec<PeerId>,
    /// What the store has in [`CATALOG_MEMBERS`], key and value; looked at once, at the start.
    pub remembered: Vec<(String, Vec<u8>)>,
}

/// A catalog that is followed.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// The catalog zone.
    pub apex: Name,
    /// Which zones it may bring; none at all if empty.
    pub admit: Vec<Admit>,
    /// Where its members come from when no group says otherwise.
    pub sources: PeerList,
    /// What members of a group get.
    pub groups: BTreeMap<String, Template>,
}

/// A rule of an admission list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Every zone.
    Any,
    /// Every zone below this name, but not the name itself.
    Below(Name),
    /// This zone.
    Exactly(Name),
}

/// What members of a group get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Where they come from; empty takes the catalog's.
    pub sources: PeerList,
    /// Who is told of changes.
    pub notify: PeerList,
}

/// A catalog that is written here.
#[derive(Clone, Debug)]
pub struct Produced {
    /// The catalog zone.
    pub apex: Name,
    /// The groups of this site's zones.
    pub groups: BTreeMap<Name, String>,
}

/// From where a zone came to be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberOf {
    /// The catalog zone.
    pub catalog: Name,
    /// The group whose template it has.
    pub group: Option<String>,
}

/// Zones that came or went, and from where.
type Told = Vec<(Name, Option<Arc<MemberOf>>)>;

/// How the catalogs stand, for those who ask.
#[derive(Clone, Debug, Default)]
pub struct CatalogReport {
    /// Removals that wait for approval.
    pub held: Vec<plan::Held>,
    /// Catalogs that are not followed at the moment, and why.
    pub faults: BTreeMap<Name, String>,
    /// Members that are not served: which catalog wanted them, and why not.
    pub refused: BTreeMap<Name, (Name, String)>,
}

/// What the catalogs have come to so far.
#[derive(Default)]
pub(super) struct Catalogs {
    brought: BTreeMap<Name, Members>,
    report: CatalogReport,
    /// The version of each followed catalog that was followed last, as long as everything in it was.
    followed: BTreeMap<Name, Zone>,
    /// The members of all produced catalogs.
    listed: BTreeSet<Name>,
    /// The version of each produced catalog that lists just those.
    written: BTreeMap<Name, Zone>,
    /// Which foreign servers are told of zones of the mesh: of all, and of some.
    pub(super) told: (Vec<PeerId>, BTreeMap<Name, PeerList>),
}

/// What one catalog has brought.
type Members = BTreeMap<Name, Brought>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Brought {
    /// The label of the member node: another one means that the zone starts anew (RFC 9432 §5.4).
    node: SmolStr,
    /// What few members have: none where there is nothing in it.
    rare: Option<Box<RareOfMember>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RareOfMember {
    group: Option<Box<str>>,
    held: bool,
}

impl Brought {
    fn new(node: SmolStr, group: Option<&str>, held: bool) -> Self {
        let rare = RareOfMember {
            group: group.map(Into::into),
            held,
        };
        let rare = (rare != RareOfMember::default()).then(|| Box::new(rare));
        Self { node, rare }
    }

    /// The group that the configuration has a template for (RFC 9432 §4.3.2).
    fn group(&self) -> Option<&str> {
        self.rare.as_ref()?.group.as_deref()
    }

    /// Whether it is a member no longer, and that was held: it goes when that is approved, however many others come back.
    fn is_held(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.held)
    }
}

impl Admit {
    fn admits(&self, zone: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::Below(name) => zone.ends_with(name) && zone != name,
            Self::Exactly(name) => zone == name,
        }
    }
}

/// The members of a catalog that are other than they were; those that have left first. Those of the same group share what is said.
fn told(catalog: &Name, old: &Members, new: &Members) -> Told {
    let gone = old.keys().filter(|zone| !new.contains_key(*zone));
    let mut told: Told = gone.map(|zone| (zone.clone(), None)).collect();
    let mut of_groups: BTreeMap<Option<&str>, Arc<MemberOf>> = BTreeMap::new();
    for (zone, brought) in new {
        let group = brought.group();
        if old.get(zone).is_some_and(|before| before.group() == group) {
            continue;
        }
        let member = of_groups.entry(group).or_insert_with(|| {
            Arc::new(MemberOf {
                catalog: catalog.clone(),
                group: group.map(str::to_owned),
            })
        });
        told.push((zone.clone(), Some(member.clone())));
    }
    told
}

/// What a new version of a catalog comes to.
struct Step {
    next: Members,
    removed: Vec<Name>,
    reset: Vec<Name>,
    held: Option<plan::Held>,
    refused: BTreeMap<Name, String>,
}

/// Compares what a catalog wants with what it has brought: `of` zones in all, of which `have` may be some, and `wanted` the same.
fn follow(
    (have, of): (&Members, usize),
    wanted: &Catalog,
    groups: &BTreeMap<String, Template>,
    refuse: &dyn Fn(&Name) -> Option<String>,
    approvals: &Approvals,
) -> Step {
    let mut refused = BTreeMap::new();
    // Put together in their order, which costs no look at each other and leaves no room in the tree.
    let mut next: Members = wanted
        .members
        .iter()
        .filter_map(|(zone, member)| {
            if let Some(why) = refuse(zone) {
                refused.insert(zone.clone(), why);
                return None;
            }
            let mut of = member.groups.iter();
            let group = of.find(|group| groups.contains_key(*group));
            let brought = Brought::new(label_of(member), group.map(String::as_str), false);
            Some((zone.clone(), brought))
        })
        .collect();
    let mut removed: Vec<Name> = have
        .keys()
        .filter(|zone| !next.contains_key(*zone))
        .cloned()
        .collect();
    let reset = next
        .iter()
        .filter(|(zone, new)| have.get(*zone).is_some_and(|old| old.node != new.node))
        .map(|(zone, _)| zone.clone())
        .collect();
    let waits = removed
        .iter()
        .any(|zone| have.get(zone).is_some_and(|brought| brought.is_held()));
    let held = brake(&wanted.apex, &removed, (of, waits), approvals);
    if held.is_some() {
        for zone in std::mem::take(&mut removed) {
            if let Some(brought) = have.get(&zone) {
                let held = Brought::new(brought.node.clone(), brought.group(), true);
                next.insert(zone, held);
            }
        }
    }
    Step {
        next,
        removed,
        reset,
        held,
        refused,
    }
}

/// The label of a member node.
fn label_of(member: &catalog::Member) -> SmolStr {
    let mut label = member.node.first().to_string();
    label.make_ascii_lowercase();
    label.into()
}

fn members_of(catalog: &Name) -> String {
    format!("members of {}", catalog.fmt_with_dot())
}

/// What approves that members of a catalog go.
fn removal_of(catalog: &Name, removed: &[Name]) -> Fingerprint {
    Fingerprint::of(&members_of(catalog), removed)
}

/// Holds removals that are not approved, where they are too many at once or some of them have been held already.
fn brake(
    catalog: &Name,
    removed: &[Name],
    (of, waits): (usize, bool),
    approvals: &Approvals,
) -> Option<plan::Held> {
    let fingerprint = removal_of(catalog, removed);
    let hold = (waits || too_many(removed.len(), of)) && !approvals.contains(&fingerprint);
    hold.then(|| plan::Held {
        names: removed.iter().map(ToString::to_string).collect(),
        kind: members_of(catalog),
        of,
        fingerprint,
    })
}

impl Catalogs {
    /// Whether a catalog has brought this zone.
    pub(super) fn brings(&self, zone: &Name) -> bool {
        self.brought
            .values()
            .any(|members| members.contains_key(zone))
    }
}

/// # Consuming
impl Core {
    /// Takes over what catalogs had brought before the start.
    pub(super) fn start_catalogs(&mut self) {
        let mut old = Vec::new();
        for (key, value) in std::mem::take(&mut self.settings.catalogs.remembered) {
            match decode(&key, &value) {
                Ok((catalog, members)) => {
                    for (zone, brought) in &members {
                        let spec = self.member_spec(&catalog, zone, brought);
                        self.add_zone(spec);
                    }
                    if key == store_key(&catalog) && !members.is_empty() {
                        old.push(catalog.clone());
                    }
                    let all = self.catalogs.brought.entry(catalog).or_default();
                    all.extend(members);
                }
                Err(error) => self.happened(Happening::Blocked(format!(
                    "what the catalog {key} has brought cannot be read: {error}"
                ))),
            }
        }
        // Stores of before have one value for all members of a catalog.
        for catalog in old {
            let members = self.catalogs.brought.get(&catalog).cloned();
            let members = members.unwrap_or_default();
            let whole = (CATALOG_MEMBERS.to_owned(), store_key(&catalog), Vec::new());
            self.remember(&catalog, &Members::new(), &members, vec![whole]);
        }
        let none = Members::new();
        let all = self.catalogs.brought.iter();
        let told = all.flat_map(|(catalog, members)| told(catalog, &none, members));
        let told = told.collect();
        self.tell_members(told);
    }

    fn member_spec(&self, catalog: &Name, zone: &Name, brought: &Brought) -> ZoneSpec {
        let consumed = self
            .settings
            .catalogs
            .consumed
            .iter()
            .find(|consumed| consumed.apex == *catalog);
        let template = consumed
            .zip(brought.group())
            .and_then(|(consumed, group)| consumed.groups.get(group).cloned())
            .unwrap_or_default();
        let sources = match template.sources.is_empty() {
            false => template.sources,
            true => consumed
                .map(|consumed| consumed.sources.clone())
                .unwrap_or_default(),
        };
        ZoneSpec {
            apex: zone.clone(),
            sources,
            primary: false,
            notify: template.notify,
            members_only: false,
            mesh: false,
        }
    }

    /// Zones have become durable; where that concerns a catalog, it is followed or written.
    pub(super) fn catalog_zones_changed(&mut self, apexes: &[Name], now: Now) {
        let catalogs = &self.settings.catalogs;
        let consumed = catalogs.consumed.iter();
        let consumed = consumed.filter(|one| apexes.contains(&one.apex));
        let consumed: Vec<Consumed> = consumed.cloned().collect();
        for consumed in &consumed {
            if self.follow_difference(consumed, now).is_none() {
                return self.follow_catalogs(now);
            }
        }
        if self.settings.catalogs.produced.is_empty() {
            return;
        }
        let unlisted =
            |apex: &&Name| !self.catalogs.listed.contains(*apex) && self.is_listable(apex);
        let unlisted: Vec<Name> = apexes.iter().filter(unlisted).cloned().collect();
        if !unlisted.is_empty() && self.list_more(&unlisted).is_none() {
            self.follow_catalogs(now);
        }
    }

    /// Follows what is consumed, and writes what is produced.
    pub(super) fn follow_catalogs(&mut self, now: Now) {
        let settings = self.settings.catalogs.clone();
        if settings.consumed.is_empty()
            && settings.produced.is_empty()
            && self.catalogs.brought.is_empty()
        {
            return;
        }
        let before = std::mem::take(&mut self.catalogs.report);
        let old = self.catalogs.brought.clone();
        self.catalogs.followed.clear();
        self.catalogs.written.clear();
        let configured: BTreeSet<Name> = self
            .settings
            .zones
            .iter()
            .map(|spec| spec.apex.clone())
            .collect();
        // Whoever names a zone in the configuration means it, whatever a catalog said before.
        for members in self.catalogs.brought.values_mut() {
            members.retain(|zone, _| !configured.contains(zone));
        }
        let gone: Vec<Name> = old
            .keys()
            .filter(|apex| !settings.consumed.iter().any(|one| one.apex == **apex))
            .cloned()
            .collect();
        for catalog in gone {
            // Taken out of the configuration: its members go with it, and can be brought back for 30 days.
            for zone in self
                .catalogs
                .brought
                .remove(&catalog)
                .unwrap_or_default()
                .into_keys()
            {
                self.drop_zone(&zone);
            }
        }
        for consumed in &settings.consumed {
            self.consume(consumed, now);
        }
        self.remember_all(&old);
        for produced in &settings.produced {
            self.produce(produced);
        }
        self.tell_report(&before);
    }

    fn consume(&mut self, consumed: &Consumed, now: Now) {
        let catalog = match self.read_consumed(&consumed.apex) {
            Ok(Some(catalog)) => catalog,
            Ok(None) => return,
            Err(why) => {
                self.catalogs
                    .report
                    .faults
                    .insert(consumed.apex.clone(), why);
                return;
            }
        };
        self.take_owned(&catalog);
        let have = self
            .catalogs
            .brought
            .remove(&consumed.apex)
            .unwrap_or_default();
        let refuse = |zone: &Name| self.refuses(consumed, &have, zone);
        let step = follow(
            (&have, have.len()),
            &catalog,
            &consumed.groups,
            &refuse,
            self.consent.approved(),
        );
        let apex = consumed.apex.clone();
        self.catalogs.report.refused.extend(
            step.refused
                .into_iter()
                .map(|(zone, why)| (zone, (apex.clone(), why))),
        );
        if !step.removed.is_empty() {
            // An approval is for one removal.
            self.forget_consent([&removal_of(&apex, &step.removed)]);
        }
        self.catalogs.report.held.extend(step.held);
        for zone in &step.removed {
            self.drop_zone(zone);
        }
        for zone in &step.reset {
            self.reset_zone(zone, now);
        }
        if let Some(version) = self.zone(&apex).and_then(|view| view.zone).cloned() {
            self.catalogs.followed.insert(apex.clone(), version);
        }
        let before = self.zones.len();
        for (zone, brought) in &step.next {
            self.bring(&apex, zone, brought, now);
        }
        if self.zones.len() > before * 2 {
            self.zones.pack();
        }
        self.catalogs.brought.insert(apex, step.next);
    }

    /// Why a zone is not taken from a catalog that has brought `have`, if so.
    fn refuses(&self, consumed: &Consumed, have: &Members, zone: &Name) -> Option<String> {
        match self.zones.contains_key(zone) && !have.contains_key(zone) {
            true => Some("is served here already, and not because of this catalog".to_owned()),
            false if consumed.admit.iter().any(|rule| rule.admits(zone)) => None,
            false => Some("is not on the admission list".to_owned()),
        }
    }

    /// Serves a member, as the catalog has it.
    fn bring(&mut self, catalog: &Name, zone: &Name, brought: &Brought, now: Now) {
        let spec = self.member_spec(catalog, zone, brought);
        match self.zones.get(zone) {
            None => {
                self.add_zone(spec);
                self.serve_held(zone, now);
            }
            Some(entry) if entry.spec != spec => self.respecify(spec, now),
            Some(_) => self.schedule(zone),
        }
    }

    /// A catalog as it is served; none where nothing is held of it.
    fn read_consumed(&self, apex: &Name) -> Result<Option<Catalog>, String> {
        let Some(view) = self.zone(apex) else {
            return Ok(None);
        };
        let Some(zone) = view.zone else {
            return Ok(None);
        };
        if view.expired {
            return Err("it has expired; its members stay as they are".to_owned());
        }
        Catalog::read(zone).map(Some).map_err(|faults| {
            format!(
                "it is broken, and its members stay as they are: {}",
                catalog::Broken(faults)
            )
        })
    }

    /// RFC 9432 §4.3.1: a member whose old catalog says so moves here, with its state if the member node is the same.
    fn take_owned(&mut self, new: &Catalog) {
        let others: Vec<Name> = self
            .catalogs
            .brought
            .keys()
            .filter(|apex| **apex != new.apex)
            .cloned()
            .collect();
        for other in others {
            let Ok(Some(read)) = self.read_consumed(&other) else {
                continue;
            };
            let moving: Vec<Name> = read
                .members
                .iter()
                .filter(|(zone, member)| {
                    member.coo.as_ref() == Some(&new.apex) && new.members.contains_key(*zone)
                })
                .map(|(zone, _)| zone.clone())
                .collect();
            let mut taken = Members::new();
            if let Some(members) = self.catalogs.brought.get_mut(&other) {
                taken.extend(moving.iter().filter_map(|zone| members.remove_entry(zone)));
            }
            if !taken.is_empty() {
                self.catalogs
                    .brought
                    .entry(new.apex.clone())
                    .or_default()
                    .extend(taken);
            }
        }
    }

    /// Keeps on disk what is other than it was, and tells it.
    fn remember_all(&mut self, old: &BTreeMap<Name, Members>) {
        if self.catalogs.brought == *old {
            return;
        }
        let none = Members::new();
        // Not copied: what is done here goes by what is given to it.
        let new = std::mem::take(&mut self.catalogs.brought);
        let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
        let (mut gone, mut came) = (Vec::new(), Vec::new());
        for catalog in names {
            let (before, after) = (old.get(catalog), new.get(catalog));
            let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
            self.remember(catalog, before, after, Vec::new());
            let (left, brought) = told(catalog, before, after)
                .into_iter()
                .partition::<Vec<_>, _>(|(_, member)| member.is_none());
            gone.extend(left);
            came.extend(brought);
        }
        self.catalogs.brought = new;
        // One that moves from a catalog to another leaves the one, and is told of as of the other.
        gone.extend(came);
        self.tell_members(gone);
    }

    /// Keeps on disk what a catalog has brought, where that is other than it was, and other values with it.
    fn remember(
        &mut self,
        catalog: &Name,
        old: &Members,
        new: &Members,
        mut notes: Vec<(String, String, Vec<u8>)>,
    ) {
        let note =
            |zone: &Name, value| (CATALOG_MEMBERS.to_owned(), member_key(catalog, zone), value);
        let gone = old.keys().filter(|zone| !new.contains_key(*zone));
        notes.extend(gone.map(|zone| note(zone, Vec::new())));
        let other = new
            .iter()
            .filter(|(zone, brought)| old.get(*zone) != Some(*brought));
        notes.extend(other.map(|(zone, brought)| note(zone, encode_member(brought))));
        if !notes.is_empty() {
            self.commit(Vec::new(), notes, None);
        }
    }

    /// Says who brought which zone, for those who decide about transfers.
    fn tell_members(&mut self, told: Told) {
        if !told.is_empty() {
            self.out.push(Output::CatalogMembers(told));
        }
    }

    /// Tells what an operator should know and has not been told.
    fn tell_report(&mut self, before: &CatalogReport) {
        let report = self.catalogs.report.clone();
        for held in report
            .held
            .iter()
            .filter(|held| {
                let mut before = before.held.iter();
                !before.any(|told| told.fingerprint == held.fingerprint)
            })
            .filter(|held| !self.consent.is_declined(&held.fingerprint))
            .collect::<Vec<_>>()
        {
            let message = format!(
                "{} of {} {} would be removed at once",
                held.names.len(),
                held.of,
                held.kind
            );
            let hash = held.fingerprint.to_string();
            self.happened(Happening::Held { hash, message });
        }
        for (catalog, why) in &report.faults {
            if before.faults.get(catalog) != Some(why) {
                let catalog = catalog.fmt_with_dot();
                self.happened(Happening::Blocked(format!("catalog {catalog}: {why}")));
            }
        }
        for (zone, (catalog, why)) in &report.refused {
            if !before.refused.contains_key(zone) {
                let (zone, catalog) = (zone.fmt_with_dot(), catalog.fmt_with_dot());
                let message =
                    format!("catalog {catalog}: the member {zone} {why}; it is not taken in");
                self.happened(Happening::Blocked(message));
            }
        }
    }

    /// How the catalogs stand.
    pub fn catalog_report(&self) -> &CatalogReport {
        &self.catalogs.report
    }
}

#[cfg(test)]
mod tests;
