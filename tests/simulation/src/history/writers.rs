//! Who writes directory and catalog: operators give the role, promote, hand over, and decide what becomes of what the loser of
//! two wrote.
//!
//! What a writer acknowledged and had to yield is not lost: it is shown, and made again when an operator wants it. So operators
//! make it again in the end, and then all that was acknowledged must be there. What they throw away, or what conflicts with
//! something that came later, nobody knows the outcome of any longer.

use zonemesh_mesh::core::{Change, Core, Fate, Input, Yielded};
use zonemesh_update::{Everything, apply};
use zonemesh_zone::directory::{Role, set_role};
use zonemesh_zone::{Name, Zone};

use super::History;
use crate::dice::Dice;
use crate::oracle::Finding;
use crate::record::{About, SiteRecord, Wanted, Writer};
use crate::{catalog, directory, name};

/// # Promotion
impl History {
    /// A site becomes a catalog secondary.
    pub(super) fn give_role(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        let Some(writer) = self.writer() else {
            return false;
        };
        self.make_secondary(&writer, &host)
    }

    /// The same at a writer, where the site is a standard one.
    fn make_secondary(&mut self, writer: &str, host: &str) -> bool {
        let core = self.world.core(writer);
        let (Some(read), Some(head)) =
            (core.directory().cloned(), core.head(&directory()).cloned())
        else {
            return false;
        };
        let site = self.world.hosts[host].site.name.clone();
        let standard = |site: &zonemesh_zone::directory::Site| site.role == Role::Standard;
        if !read.sites.get(&site).is_some_and(standard) {
            return false;
        }
        let mut editor = head.edit();
        if !set_role(&mut editor, &site, Role::CatalogSecondary).unwrap_or_default() {
            return false;
        }
        let Ok(edited) = editor.finish() else {
            return false;
        };
        self.note(writer, &format!("makes {host} a catalog secondary"));
        self.write_directory(writer, edited);
        true
    }

    /// Whoever still writes and knows the latest writer as a standard site only, which had its role from another one that yielded,
    /// takes nothing from it (decision 0009): an operator gives it the role there too. Returns whether there was anyone.
    pub(super) fn make_writer_known(&mut self) -> bool {
        let Some(latest) = self
            .record
            .latest_writer()
            .map(|latest| latest.host.clone())
        else {
            return false;
        };
        let writes = |host: &String| {
            let core = self.world.hosts[host].core.as_ref();
            *host != latest && self.runs(host) && core.is_some_and(Core::is_catalog_primary)
        };
        let earlier: Vec<String> = self.members().into_iter().filter(writes).collect();
        let known = earlier
            .iter()
            .map(|host| self.make_secondary(host, &latest));
        known.fold(false, |any, made| any | made)
    }

    /// A catalog secondary becomes the writer, whatever has become of the old one.
    pub(super) fn promote(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let old = self
            .record
            .latest_writer()
            .map(|writer| writer.host.clone());
        let candidates = self.members().into_iter();
        let candidates: Vec<String> = candidates
            .filter(|host| Some(host) != old.as_ref() && self.runs(host) && self.has_role(host))
            .collect();
        let (Some(to), Some(old)) = (dice.pick(&candidates).cloned(), old) else {
            return Ok(false);
        };
        let force = dice.chance(60);
        let done = match dice.below(6) {
            0 | 1 => self.begin_promotion(&old, &to, force),
            2 | 3 => {
                if self.up(&old) {
                    self.kill(&old);
                }
                self.pass(dice.below(40_000))?;
                self.begin_promotion(&to, &to, force)
            }
            4 => self.promote_apart(&old, &to, dice)?,
            _ => self.begin_promotion(&to, &to, true),
        };
        if done {
            self.pass(dice.below(4_000))?;
        }
        Ok(done)
    }

    /// The old writer and some others are cut off from the rest, and both sides go on.
    fn promote_apart(&mut self, old: &str, to: &str, dice: &mut Dice) -> Result<bool, Finding> {
        let (mut here, mut there) = (vec![old.to_owned()], vec![to.to_owned()]);
        for host in self.members() {
            if host != old && host != to {
                let side = if dice.chance(50) {
                    &mut here
                } else {
                    &mut there
                };
                side.push(host);
            }
        }
        for one in &here {
            for other in &there {
                self.world.cut_both(one, other);
            }
        }
        let text = format!("{} are cut off from {}", here.join(" "), there.join(" "));
        self.note("*", &text);
        self.pass(dice.below(20_000))?;
        let done = self.begin_promotion(to, to, true);
        for _ in 0..dice.below(8) {
            self.turn_to = dice.chance(60).then(|| old.to_owned());
            match dice.below(8) {
                0 | 1 => self.add_zone(dice),
                2 | 3 => self.remove_zone(dice),
                4 => self.join(dice),
                5 => self.give_role(dice),
                _ => self.change(dice),
            };
            self.turn_to = None;
            self.pass(dice.below(10_000))?;
        }
        if dice.chance(60) {
            self.uncut();
        }
        Ok(done)
    }

    /// Whether a site is a catalog secondary as far as it knows itself.
    pub(super) fn has_role(&self, host: &str) -> bool {
        let state = &self.world.hosts[host];
        let read = state.core.as_ref().and_then(|core| core.directory());
        let site = read.and_then(|read| read.sites.get(&state.site.name));
        site.is_some_and(|site| site.role != Role::Standard)
    }

    /// The command, given at a site.
    fn begin_promotion(&mut self, at: &str, to: &str, force: bool) -> bool {
        if !self.runs(at) {
            return false;
        }
        let site = self.world.hosts[to].site.name.clone();
        let Ok(promotion) = self.world.core(at).promotion(&site, None) else {
            return false;
        };
        let epoch = promotion.epoch;
        // One that has moved is found because it calls. Two of which neither knows where the other is find each other by no call.
        let found = self.is_where(at, at) || self.knows_where_all_are(at);
        let fit = promotion.planned || found && self.is_known_by_its_keys(at);
        if !fit {
            return false;
        }
        if promotion.done || !force && !promotion.objections.is_empty() {
            return false;
        }
        self.note(at, &format!("{to} is to be the writer of epoch {epoch}"));
        self.record.writers.push(Writer {
            epoch,
            host: to.to_owned(),
            sure: false,
        });
        self.part(at);
        let request = self.world.request(at, |request| Input::Promote {
            request,
            to: site,
            seen: None,
            force,
        });
        let host = to.to_owned();
        self.record
            .opened(at, request, About::Promote { host, epoch });
        true
    }

    /// Whether the directory that a host holds says where another is.
    pub(super) fn is_where(&self, host: &str, other: &str) -> bool {
        let site = &self.world.hosts[other].site;
        let core = self.world.hosts[host].core.as_ref();
        let said = core.and_then(|core| core.directory()?.sites.get(&site.name));
        said.is_some_and(|said| said.addresses == site.addresses)
    }

    fn is_known_by_its_keys(&self, host: &str) -> bool {
        let state = &self.world.hosts[host];
        let read = state.core.as_ref().and_then(|core| core.directory());
        let said = read.and_then(|read| read.sites.get(&state.site.name));
        let known = |pin| said.is_some_and(|said| said.pins.contains(pin));
        state.site.pins.iter().all(known)
    }

    fn knows_where_all_are(&self, host: &str) -> bool {
        let members = self.members();
        let mut others = members.iter().filter(|other| *other != host);
        others.all(|other| self.is_where(host, other))
    }

    /// What the directory of a site that becomes the writer does not have may be let go of where that is followed.
    fn part(&mut self, at: &str) {
        self.record.split = true;
        let Some(read) = self.world.core(at).directory() else {
            return;
        };
        for (apex, zone) in &mut self.record.zones {
            let lacks = !read.owners.contains_key(&name(apex));
            zone.parted |= lacks;
            zone.mistaken |= lacks && self.record.unconsented.contains(apex);
        }
        for (host, site) in &mut self.record.sites {
            site.parted |= !read.sites.keys().any(|site| site.as_str() == host);
        }
    }

    /// All sites follow the latest writer, which lists all that there is.
    pub(super) fn all_follow(&mut self) {
        self.record.split = false;
        for zone in self.record.zones.values_mut() {
            zone.parted = false;
            zone.mistaken = false;
        }
        for site in self.record.sites.values_mut() {
            site.parted = false;
        }
    }

    pub(super) fn write_directory(&mut self, writer: &str, edited: Zone) {
        let request = self.world.put_directory(writer, edited);
        self.record.opened(writer, request, About::Else);
    }
}

/// # What was yielded
impl History {
    /// An operator looks at what a site has set aside, and makes it again or throws it away.
    pub(super) fn decide_yielded(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let has = |host: &String| self.runs(host) && !self.world.set_aside(host).is_empty();
        let hosts: Vec<String> = self.members().into_iter().filter(has).collect();
        let Some(host) = dice.pick(&hosts).cloned() else {
            return Ok(false);
        };
        match dice.chance(80) {
            true => self.replay(&host),
            false => {
                for kept in self.world.set_aside(&host) {
                    self.throw_away(&host, &kept);
                }
                Ok(true)
            }
        }
    }

    /// Everything that is set aside anywhere is made again; whether there was anything.
    pub(super) fn replay_all(&mut self) -> Result<bool, Finding> {
        let mut any = false;
        for host in self.members() {
            if self.runs(&host) && !self.world.set_aside(&host).is_empty() {
                any |= self.replay(&host)?;
            }
        }
        Ok(any)
    }

    /// What a site has set aside is made again, oldest first; whether anything became of it.
    fn replay(&mut self, host: &str) -> Result<bool, Finding> {
        let mut any = false;
        for kept in self.world.set_aside(host) {
            // The catalog follows from the directory. What a site had that was no writer, it had from one that has it too.
            let copied = kept.zone == directory() && !self.record.has_written(host);
            if kept.zone == catalog() || copied {
                self.world.discard(host, &kept.id());
                continue;
            }
            any |= self.make_again(host, kept)?;
        }
        Ok(any)
    }

    fn make_again(&mut self, host: &str, kept: Yielded) -> Result<bool, Finding> {
        let primary = match kept.zone == directory() {
            // Whoever has yielded and does not know the writer yet asks nobody.
            true => self.writer().filter(|writer| self.follows(host, writer)),
            false => {
                let zone = self.record.zones.get(&key_of(&kept.zone));
                let zone = zone.filter(|zone| zone.wanted == Wanted::Yes);
                zone.map(|zone| zone.primary.clone())
            }
        };
        let Some(primary) = primary.filter(|primary| self.runs(primary)) else {
            return Ok(false);
        };
        let Some(head) = self.world.core(&primary).head(&kept.zone).cloned() else {
            return Ok(false);
        };
        let (Ok(fates), Ok(update)) = (kept.fates(&head), kept.replay(&head, false)) else {
            return Ok(false);
        };
        if let Some(update) = update {
            let Ok(applied) = apply(&head, &update, &Everything) else {
                return Ok(false);
            };
            let text = format!("what {host} had to yield of {} is made again", kept.zone);
            self.note(&primary, &text);
            let edited = applied.zone;
            let request = match kept.zone == directory() {
                true => self.world.put_directory(&primary, edited),
                false => self.world.change(&primary, Change::Edited(edited)),
            };
            self.record.opened(&primary, request, About::Else);
            self.pass(8_000)?;
            let replies = self.world.hosts[&primary].replies.get(&request);
            let done = |reply: &zonemesh_mesh::core::Reply| {
                matches!(reply, zonemesh_mesh::core::Reply::Done { .. })
            };
            if !replies.is_some_and(|replies| replies.iter().any(done)) {
                return Ok(false);
            }
        }
        let gone = match kept.zone == directory() {
            true => self.remove_with_all_zones(&primary, &kept, &fates)?,
            false => Vec::new(),
        };
        let is_of_gone = |owner: &Name| {
            let of = |site: &String| {
                owner
                    .iter()
                    .any(|label| label.as_slice() == site.as_bytes())
            };
            gone.iter().any(of)
        };
        for (change, fate) in kept.changes.iter().zip(fates) {
            // What was removed since nobody wants back.
            let removed = !change.after.is_empty() && self.was_removed(&change.owner);
            if fate == Fate::Conflicts && !removed && !is_of_gone(&change.owner) {
                self.leave_undecided(&kept.zone, &change.owner);
            }
        }
        if self.runs(host) {
            self.world.discard(host, &kept.id());
        }
        Ok(true)
    }

    /// A site that was removed at the one that yielded has got more zones at the writer: it is removed there, with these. Which
    /// sites were.
    fn remove_with_all_zones(
        &mut self,
        writer: &str,
        kept: &Yielded,
        fates: &[Fate],
    ) -> Result<Vec<String>, Finding> {
        let conflicts = kept.changes.iter().zip(fates);
        let conflicts =
            conflicts.filter(|(change, fate)| **fate == Fate::Conflicts && change.after.is_empty());
        let owners: Vec<String> = conflicts
            .map(|(change, _)| change.owner.to_string())
            .collect();
        let is_left = |(host, site): &(&String, &SiteRecord)| {
            let role = format!("_site.{host}.");
            site.wanted == Wanted::No && owners.iter().any(|owner| owner.starts_with(&role))
        };
        let left = self.record.sites.iter().filter(is_left);
        let left: Vec<String> = left.map(|(host, _)| host.clone()).collect();
        let mut gone = Vec::new();
        for host in left {
            if self.remove_site(writer, &host, None) {
                self.pass(8_000)?;
                gone.push(host);
            }
        }
        Ok(gone)
    }

    /// Whether an owner name of the directory is that of a zone or a site that operators have removed.
    fn was_removed(&self, owner: &Name) -> bool {
        let text = owner.to_string();
        if let Some((apex, _)) = text.split_once("._zones.") {
            let zone = self.record.zones.get(apex);
            return zone.is_some_and(|zone| zone.wanted == Wanted::No);
        }
        let below = owner
            .label_count()
            .saturating_sub(directory().label_count());
        let site = text.split('.').nth(below.saturating_sub(1));
        let site = site.and_then(|site| self.record.sites.get(site));
        below > 0 && site.is_some_and(|site| site.wanted == Wanted::No)
    }

    /// Whether two sites hold the directory of the same writer.
    fn follows(&self, host: &str, writer: &str) -> bool {
        let epoch = |host: &str| {
            let core = self.world.hosts[host].core.as_ref();
            core.and_then(|core| Some(core.directory()?.epoch.clone()))
        };
        epoch(host).is_some() && epoch(host) == epoch(writer)
    }

    fn throw_away(&mut self, host: &str, kept: &Yielded) {
        self.note(
            host,
            &format!("what it had to yield of {} is thrown away", kept.zone),
        );
        for change in &kept.changes {
            self.leave_undecided(&kept.zone, &change.owner);
        }
        self.world.discard(host, &kept.id());
    }

    fn leave_undecided(&mut self, zone: &Name, owner: &Name) {
        let below = owner.label_count().saturating_sub(zone.label_count());
        let labels = owner.iter().take(below);
        let labels = labels.map(|label| String::from_utf8_lossy(label.as_slice()).into_owned());
        let labels: Vec<String> = labels.collect();
        if *zone == directory() {
            return self.record.undecided(&labels);
        }
        let zone = self.record.zones.get_mut(&key_of(zone));
        if let Some(zone) = zone {
            zone.values.remove(&labels.join("."));
        }
    }
}

/// How zones are called in the record.
fn key_of(zone: &Name) -> String {
    zone.to_string().trim_end_matches('.').to_owned()
}
