//! Disks that are put back to an old copy, emptied, or changed by themselves: one at a time, while all others are well.
//!
//! What one site alone has is lost with its disk, and nothing can be done about that. So before its disk is touched the others
//! have what it has acknowledged; whatever goes wrong after that is of the product.

use zonemesh_zone::{Record, Zone};

use super::History;
use crate::dice::Dice;
use crate::oracle::Finding;
use crate::record::Wanted;
use crate::{Key, name};

impl History {
    /// A site comes back with a copy of its disk that is older than what it has published since.
    pub(super) fn old_copy(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some(host) = self.dispensable(dice)? else {
            return Ok(false);
        };
        let copy = self.world.copy_disk(&host);
        for _ in 0..1 + dice.below(8) {
            match dice.chance(10) {
                true => self.add_zone(dice),
                false => self.change(dice),
            };
            self.pass(dice.below(1_500))?;
        }
        if !self.all_have_all()? || !self.others_hold_zones_of(&host) {
            return Ok(false);
        }
        self.forget_waits();
        self.world.restore_disk(&host, &copy);
        self.come_back(&host, dice)
    }

    /// A site comes back with its key, with what says who the others are, and with nothing else.
    pub(super) fn empty_disk(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some(host) = self.dispensable(dice)? else {
            return Ok(false);
        };
        self.forget_waits();
        self.emptied(&host);
        self.come_back(&host, dice)
    }

    /// A disk has changed by itself, which is seen when it is read.
    pub(super) fn corrupt_disk(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let Some(host) = self.dispensable(dice)? else {
            return Ok(false);
        };
        self.forget_waits();
        if dice.chance(50)
            && let Some(copy) = self.false_copy(&host, dice)
        {
            let apex = copy.apex().to_string();
            if let Some(zone) = self.record.zones.get_mut(apex.trim_end_matches('.')) {
                zone.falsified = true;
            }
            self.world.falsify(&host, copy);
            return self.come_back(&host, dice);
        }
        self.kill(&host);
        for _ in 0..1 + dice.below(30) {
            self.world.corrupt_disk(&host);
        }
        self.start(&host);
        if !self.up(&host) {
            // As its message says: the operator begins with an empty store.
            self.emptied(&host);
        }
        self.come_back(&host, dice)
    }

    /// Other contents of one of the zones that a site has from others, under the same serial: a mistake that no checksum shows.
    fn false_copy(&mut self, host: &str, dice: &mut Dice) -> Option<Zone> {
        let core = self.world.hosts[host].core.as_ref()?;
        let mut zones = Vec::new();
        for apex in self.record.zones.keys().map(|apex| name(apex)) {
            let view = core.zone(&apex);
            let copy = view.filter(|view| view.spec.mesh && !view.spec.primary);
            zones.extend(copy.and_then(|view| view.zone.cloned()));
        }
        let mut editor = dice.pick(&zones)?.edit();
        let ghost = Record::from_text("ghost 60 IN A 192.0.2.66", editor.apex());
        editor.add(ghost.ok()?).ok()?;
        editor.finish().ok()
    }

    fn emptied(&mut self, host: &str) {
        let others = self.world.hosts[host].members.to_vec();
        self.world.empty_disk(host, Key::Kept);
        if let Some(mesh) = &mut self.world.host(host).settings.mesh {
            mesh.bootstrap = others;
        }
    }

    fn come_back(&mut self, host: &str, dice: &mut Dice) -> Result<bool, Finding> {
        self.notice_stops();
        if !self.up(host) {
            self.start(host);
        }
        self.pass(dice.below(20_000))?;
        Ok(true)
    }

    /// A site that can do without its disk, once all others have what it has; all faults have been mended for that.
    fn dispensable(&mut self, dice: &mut Dice) -> Result<Option<String>, Finding> {
        let host = self.member(dice);
        let zones = self.record.zones_of(&host);
        // What a configuration names is loaded from its file, which says what was acknowledged before anything else.
        let configured = zones.iter().any(|apex| self.record.zones[apex].configured);
        if configured || self.rolling.contains(&host) {
            return Ok(None);
        }
        let well = self.all_is_well()? && self.others_hold_zones_of(&host);
        Ok(Some(host).filter(|_| well))
    }

    /// Everything is mended, and all that is anywhere is everywhere; whether it came to that.
    pub(super) fn all_is_well(&mut self) -> Result<bool, Finding> {
        self.note("*", "operators mend what is broken");
        self.calm();
        for member in self.members() {
            self.stand_up(&member);
        }
        if !self.all_have_all()? {
            return Ok(false);
        }
        // What a writer had to yield is at few sites only.
        self.replay_all()?;
        self.all_have_all()
    }

    /// Whether others hold the zones that are changed at a site. Who has been let in, but whose record the catalog primary lost
    /// before it answered, is no member until it is let in again, and until then alone with what it has.
    fn others_hold_zones_of(&self, host: &str) -> bool {
        let newest = |at: &str, apex: &str| {
            let stored = self.world.hosts[at].disk.zones.get(&name(apex));
            stored.map(|stored| stored.zone.serial())
        };
        let members = self.members();
        self.record.zones_of(host).iter().all(|apex| {
            let ours = newest(host, apex);
            ours.is_none()
                || members
                    .iter()
                    .any(|other| other != host && newest(other, apex) == ours)
        })
    }

    /// Lets time pass until all is everywhere, and nothing is under way.
    pub(super) fn all_have_all(&mut self) -> Result<bool, Finding> {
        for _ in 0..60 {
            self.pass(1_000)?;
            let all_up = self.members().iter().all(|host| self.runs(host));
            let quiet = all_up && self.record.open.is_empty() && self.all_is_listed();
            if quiet && self.world.converged().is_ok() {
                self.all_follow();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the writer lists every zone that was acknowledged: what it does not, its primary alone has.
    fn all_is_listed(&self) -> bool {
        let writer = self.writer();
        let core = writer.and_then(|writer| self.world.hosts[&writer].core.as_ref());
        let Some(read) = core.and_then(|core| core.directory()) else {
            return false;
        };
        let mut zones = self.record.zones.iter();
        zones
            .all(|(apex, zone)| zone.wanted != Wanted::Yes || read.owners.contains_key(&name(apex)))
    }

    /// What a site has said of its disk is true no longer when that is another.
    pub(super) fn forget_waits(&mut self) {
        self.record.waits.clear();
    }
}
