//! What operators do to directory and catalog by mistake, and take back.

use std::collections::BTreeMap;

use zonemesh_mesh::core::{Change, Verdict};
use zonemesh_zone::catalog::{self as members, Catalog};
use zonemesh_zone::directory::{self as names, Directory};
use zonemesh_zone::{Name, Record, Rtype, Zone};

use super::History;
use crate::dice::Dice;
use crate::oracle::Finding;
use crate::record::{About, Wanted};
use crate::{catalog, directory, name};

impl History {
    /// Puts other contents in the place of directory or catalog for a while.
    fn for_a_while(
        &mut self,
        writer: &str,
        mistake: Zone,
        dice: &mut Dice,
    ) -> Result<bool, Finding> {
        let apex = mistake.apex().clone();
        let before = self.world.core(writer).head(&apex).cloned();
        let Some(before) = before else {
            return Ok(false);
        };
        self.replace(writer, mistake);
        self.meanwhile(writer, dice)?;
        // One that could not be stored need not be taken back; and what has come since stays.
        for _ in 0..8 {
            self.stand_up(writer);
            let head = self.world.core(writer).head(&apex).cloned();
            let Some(head) = head.filter(is_damaged) else {
                self.note(writer, &format!("{apex} is as it was"));
                break;
            };
            if let Some(mended) = put_back(&head, &before) {
                self.replace(writer, mended);
            }
            self.pass(1_500)?;
        }
        Ok(true)
    }

    fn replace(&mut self, writer: &str, zone: Zone) {
        let request = self.world.change(writer, Change::Replace(zone));
        self.record.opened(writer, request, About::Else);
    }

    /// Time passes, and a site is restarted in it: what it knew before it must find again on its disk.
    fn meanwhile(&mut self, writer: &str, dice: &mut Dice) -> Result<(), Finding> {
        self.pass(dice.below(30_000))?;
        let host = self.member(dice);
        if host != writer {
            if self.up(&host) {
                self.kill(&host);
            }
            self.start(&host);
        }
        self.pass(dice.below(90_000))
    }

    /// The writer, when nothing that is under way would be undone with the mistake.
    fn quiet_writer(&mut self) -> Result<Option<String>, Finding> {
        let Some(writer) = self.writer() else {
            return Ok(None);
        };
        for _ in 0..10 {
            if !self.record.open.iter().any(|open| open.host == writer) {
                return Ok(Some(writer));
            }
            self.pass(1_000)?;
        }
        Ok(None)
    }

    pub(super) fn empty_directory(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some((writer, head)) = self.infrastructure(&directory())? else {
            return Ok(false);
        };
        let mut editor = head.edit();
        let owners = editor.names_below(&directory());
        // Without the epoch in it, it would be refused.
        let schema = name("_schema.dns.internal");
        let kept = [directory(), schema];
        for owner in owners.iter().filter(|owner| !kept.contains(owner)) {
            editor.remove_name(owner);
        }
        let Ok(empty) = editor.finish() else {
            return Ok(false);
        };
        self.note(&writer, "empties the directory by mistake");
        self.for_a_while(&writer, empty, dice)
    }

    /// The epoch is edited out of directory or catalog, or into another. No such edit may be taken: nobody would follow.
    pub(super) fn edit_epoch(&mut self, dice: &mut Dice) -> bool {
        let Some(writer) = self.writer() else {
            return false;
        };
        let (apex, owner) = match dice.chance(70) {
            true => (directory(), "_schema"),
            false => (catalog(), "zonemesh.ext"),
        };
        let Some(head) = self.world.core(&writer).head(&apex).cloned() else {
            return false;
        };
        let other = match dice.below(3) {
            0 => None,
            1 => Some("\"zonemesh=1\""),
            _ => Some("\"zonemesh=1\" \"epoch=9\" \"writer=site-a\""),
        };
        let mut editor = head.edit();
        editor.remove_name(&name(&format!("{owner}.{apex}")));
        if let Some(other) = other {
            let line = format!("{owner} 300 IN TXT {other}");
            let record = Record::from_text(&line, &apex).expect("it is written as records are");
            if editor.add(record).is_err() {
                return false;
            }
        }
        let Ok(edited) = editor.finish() else {
            return false;
        };
        self.note(&writer, &format!("edits the epoch of {apex} by hand"));
        match apex == directory() && dice.chance(50) {
            true => self.write_directory(&writer, edited),
            false => self.replace(&writer, edited),
        }
        true
    }

    pub(super) fn break_catalog(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some((writer, head)) = self.infrastructure(&catalog())? else {
            return Ok(false);
        };
        let mut editor = head.edit();
        let Ok(version) = Record::from_text("version 0 IN TXT \"7\"", &catalog()) else {
            return Ok(false);
        };
        editor.remove_name(&version.owner);
        if dice.chance(50) && editor.add(version).is_err() {
            return Ok(false);
        }
        // Some members go with it: whoever reads a broken catalog all the same would remove them.
        for zone in self.some_zones(dice) {
            members::remove_member(&mut editor, &name(&zone));
        }
        let Ok(broken) = editor.finish() else {
            return Ok(false);
        };
        self.note(&writer, "breaks the catalog by mistake");
        self.for_a_while(&writer, broken, dice)
    }

    pub(super) fn shrink_catalog(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some((writer, head)) = self.infrastructure(&catalog())? else {
            return Ok(false);
        };
        let Ok(read) = Catalog::read(&head) else {
            return Ok(false);
        };
        let mut editor = head.edit();
        let mut zones = self.some_zones(dice);
        zones.retain(|zone| read.members.contains_key(&name(zone)));
        // A site that has not heard yet whose a zone is could not tell this from a removal.
        zones.retain(|zone| self.all_know_the_primary_of(zone));
        for zone in &zones {
            members::remove_member(&mut editor, &name(zone));
        }
        let Ok(shrunk) = editor.finish() else {
            return Ok(false);
        };
        self.note(
            &writer,
            &format!("takes {} out of the catalog by mistake", zones.join(" ")),
        );
        self.replace(&writer, shrunk);
        self.meanwhile(&writer, dice)?;
        // Others may have been listed meanwhile: each is put back for itself.
        for _ in 0..8 {
            self.stand_up(&writer);
            let Some(head) = self.world.core(&writer).head(&catalog()).cloned() else {
                break;
            };
            let Ok(read) = Catalog::read(&head) else {
                break;
            };
            let missing = |zone: &&String| !read.members.contains_key(&name(zone));
            let missing: Vec<&String> = zones.iter().filter(missing).collect();
            if missing.is_empty() {
                self.note(&writer, "the catalog is as it was");
                break;
            }
            let mut editor = head.edit();
            for zone in missing {
                members::add_member(&mut editor, &name(zone), None).expect("it was there before");
            }
            if let Ok(mended) = editor.finish() {
                self.replace(&writer, mended);
            }
            self.pass(1_500)?;
        }
        Ok(true)
    }

    /// Many zones are taken out of the directory at once, and out of the catalog with it. That is held everywhere until the
    /// operator who did it takes it back.
    pub(super) fn shrink_directory(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some((writer, head)) = self.infrastructure(&directory())? else {
            return Ok(false);
        };
        let read = Directory::read(&head);
        let listed = self
            .world
            .core(&writer)
            .catalog()
            .map(|catalog| catalog.members.len());
        // What a configuration names its site lists again by itself.
        let mut zones = self.some_zones(dice);
        zones.retain(|zone| !self.record.zones[zone].configured);
        let owners: Vec<(Name, _)> = zones
            .iter()
            .filter_map(|zone| Some((name(zone), read.owners.get(&name(zone))?.clone())))
            .collect();
        // More than one and more than a tenth, also for who has not heard of all of them yet.
        if owners.len() < 2 || owners.len() * 4 < listed.unwrap_or_default() {
            return Ok(false);
        }
        let mut editor = head.edit();
        for (zone, _) in &owners {
            if names::remove_owner(&mut editor, zone).is_err() {
                return Ok(false);
            }
        }
        self.note(
            &writer,
            &format!("takes {} out of the directory by mistake", zones.join(" ")),
        );
        self.record.unconsented.extend(zones);
        self.edit_directory(&writer, editor)?;
        self.meanwhile(&writer, dice)?;
        for _ in 0..8 {
            self.stand_up(&writer);
            let Some(head) = self.world.core(&writer).head(&directory()).cloned() else {
                break;
            };
            let mut editor = head.edit();
            for (zone, site) in &owners {
                names::set_owner(&mut editor, zone, site).expect("it was there before");
            }
            self.edit_directory(&writer, editor)?;
            let there = self.world.core(&writer).catalog().is_some_and(|catalog| {
                owners
                    .iter()
                    .all(|(zone, _)| catalog.members.contains_key(zone))
            });
            if there {
                self.note(&writer, "the directory is as it was");
                break;
            }
        }
        Ok(true)
    }

    /// Whether every member has a directory on disk that says whose a zone is.
    fn all_know_the_primary_of(&self, zone: &str) -> bool {
        // All have the same one or nearly so: each version is read once.
        let mut versions: BTreeMap<u32, bool> = BTreeMap::new();
        self.members().iter().all(|host| {
            let stored = self.world.hosts[host].disk.zones.get(&directory());
            stored.is_none_or(|stored| {
                let knows = || {
                    let read = Directory::read(&stored.zone);
                    read.owners.contains_key(&name(zone))
                };
                let serial = stored.zone.serial().into_int();
                *versions.entry(serial).or_insert_with(knows)
            })
        })
    }

    /// Lets removals go on that are held where all of them were asked for: a site that was away sees several at once.
    pub(super) fn approve(&mut self) -> bool {
        let mut any = false;
        // A site that was away while an heir left too knows a zone by its first primary, which is no longer the one that left.
        let left = self.record.sites.values();
        let heirs_left = left.filter(|site| site.wanted == Wanted::No).count() > 1;
        for host in self.members() {
            let Some(core) = &self.world.hosts[&host].core else {
                continue;
            };
            let held = core.report().map(|report| report.plan.held.clone());
            // That nothing is to be left at all is asked about in any case (decision 0018).
            let emptied = core.catalog().is_some_and(|read| read.members.is_empty());
            for held in held.unwrap_or_default() {
                let asked = |text: &String| {
                    let key = text.trim_end_matches('.');
                    let zone = self.record.zones.get(key);
                    let site = self.record.sites.get(key);
                    zone.is_some_and(|zone| {
                        let stops = self.record.stops.get(&host);
                        let knew = |then: &BTreeMap<String, u64>| then.get(&host) == stops;
                        let consent = zone.with_site.as_ref().is_some_and(knew);
                        zone.wanted == Wanted::No && (!consent || heirs_left || emptied)
                    }) || site.is_some_and(|site| site.wanted == Wanted::No)
                };
                if held.names.iter().all(asked) {
                    any = true;
                    self.note(&host, "an operator lets go on what is held");
                    let hash = held.fingerprint.to_string();
                    self.world.decide(&host, hash, Verdict::Approve);
                }
            }
        }
        any
    }

    fn edit_directory(
        &mut self,
        writer: &str,
        editor: zonemesh_zone::Editor,
    ) -> Result<(), Finding> {
        let Ok(edited) = editor.finish() else {
            return Ok(());
        };
        let request = self.world.put_directory(writer, edited);
        self.record.opened(writer, request, About::Else);
        self.pass(1_500)
    }

    /// Directory or catalog, at its writer, while nothing changes it and it is in order.
    fn infrastructure(&mut self, apex: &Name) -> Result<Option<(String, Zone)>, Finding> {
        let Some(writer) = self.quiet_writer()? else {
            return Ok(None);
        };
        if !self.runs(&writer) {
            return Ok(None);
        }
        // One mistake at a time: who has not heard yet that the last one was taken back would add them up.
        let newest = |apex: &Name| {
            let has = |host: &String| {
                let stored = self.world.hosts[host].disk.zones.get(apex);
                stored.map(|stored| stored.zone.serial())
            };
            self.members().iter().all(|host| has(host) == has(&writer))
        };
        if !newest(&directory()) || !newest(&catalog()) {
            return Ok(None);
        }
        let core = self.world.core(&writer);
        let whole = core
            .head(&catalog())
            .is_some_and(|zone| Catalog::read(zone).is_ok());
        let head = core.head(apex).cloned().filter(|_| whole);
        Ok(head.map(|head| (writer, head)))
    }

    /// About half of the zones.
    fn some_zones(&self, dice: &mut Dice) -> Vec<String> {
        let there = self
            .record
            .zones
            .iter()
            .filter(|(_, zone)| zone.wanted == Wanted::Yes);
        let mut zones: Vec<String> = there.map(|(apex, _)| apex.clone()).collect();
        dice.shuffle(&mut zones);
        let few = zones.len() / 2 + 1;
        zones.truncate(few);
        zones.sort();
        zones
    }

    /// What an operator does when all is quiet again: let in who was to be let in.
    pub(super) fn mend(&mut self) {
        let Some(writer) = self.writer() else { return };
        let read = self.world.core(&writer).directory().cloned();
        let Some(read) = read else { return };
        for host in self.members() {
            let known = read.sites.keys().any(|site| site.as_str() == host);
            let removed = self
                .record
                .sites
                .get(&host)
                .is_some_and(|site| site.removal_asked);
            if !known && !removed {
                self.invite(&writer, &host);
            }
            // A file that could not be stored when it was loaded is loaded again.
            if self.runs(&host) {
                self.import(&host);
            }
        }
    }

    /// Zones that were to go and are listed by the catalog alone are taken out of it, as the command does at the catalog primary:
    /// the site that was promoted never knew of whose they were. Whether there was any.
    pub(super) fn remove_orphans(&mut self) -> bool {
        let Some(writer) = self.writer() else {
            return false;
        };
        let at = self.world.clock().wall;
        let core = self.world.core(&writer);
        let (Some(read), Some(listed)) = (core.directory(), core.catalog()) else {
            return false;
        };
        // One that the directory has a note of must have gone by itself.
        let is_orphan = |apex: &Name| {
            let known = read.owners.contains_key(apex) || read.gone.contains_key(apex);
            !known && listed.members.contains_key(apex)
        };
        let gone = self.record.zones.iter();
        let gone = gone.filter(|(_, zone)| zone.wanted == Wanted::No);
        let orphan = gone.map(|(apex, _)| name(apex)).find(is_orphan);
        let note = orphan.and_then(|apex| names::removal_note(&apex, &directory(), at));
        let (Some(note), Some(head)) = (note, core.head(&directory()).cloned()) else {
            return false;
        };
        let mut editor = head.edit();
        let text = format!("takes out what nobody is primary of: {}", note.owner);
        let (Ok(()), Ok(edited)) = (editor.add(note).map(drop), editor.finish()) else {
            return false;
        };
        self.note(&writer, &text);
        self.write_directory(&writer, edited);
        true
    }

    /// A catalog that cannot be read, because the site that was promoted had only the version with an operator's mistake, is made
    /// as the directory says. Whether it was one.
    pub(super) fn mend_catalog(&mut self) -> bool {
        let Some(writer) = self.writer() else {
            return false;
        };
        let core = self.world.core(&writer);
        let head = core.head(&catalog()).filter(|head| is_damaged(head));
        let (Some(read), Some(head)) = (core.directory(), head.cloned()) else {
            return false;
        };
        let mut editor = head.edit();
        let Ok(version) = Record::from_text("version 0 IN TXT \"2\"", &catalog()) else {
            return false;
        };
        editor.remove_name(&version.owner);
        if editor.add(version).is_err() {
            return false;
        }
        let Ok(readable) = editor.finish() else {
            return false;
        };
        let Ok(listed) = Catalog::read(&readable) else {
            return false;
        };
        let mut editor = readable.edit();
        for apex in read.owners.keys() {
            if !listed.members.contains_key(apex) {
                members::add_member(&mut editor, apex, None).expect("it fitted before");
            }
        }
        let Ok(mended) = editor.finish() else {
            return false;
        };
        self.note(&writer, "mends the catalog");
        self.replace(&writer, mended);
        true
    }
}

/// Whether a directory has lost its sites, or a catalog cannot be read.
fn is_damaged(zone: &Zone) -> bool {
    match *zone.apex() == directory() {
        true => Directory::read(zone).sites.is_empty(),
        false => Catalog::read(zone).is_err(),
    }
}

/// A version with everything that was in another.
fn put_back(zone: &Zone, before: &Zone) -> Option<Zone> {
    let mut editor = zone.edit();
    for (owner, set) in before.rrsets() {
        if set.rtype() != Rtype::SOA {
            editor
                .put(&zonemesh_zone::version::owned(owner), set.to_owned())
                .ok()?;
        }
    }
    editor.finish().ok()
}
