//! Machines that send what they should not: members that were broken into, one at a time, and strangers beside everything else.
//!
//! A stranger, also the machine of a site that was removed, has no key that counts and must achieve nothing: all promises hold as
//! if it were not there. A member may do what decision 0008 admits until zones are signed: have others serve contents of its own
//! for as long as it is hostile. It must not change what is acknowledged, nor who is a member, nor whose a zone is; and when it is
//! honest again nothing of it is left. No primary is in doubt meanwhile: what one would take from a member then is admitted too.

use super::History;
use crate::dice::Dice;
use crate::directory;
use crate::oracle::{self, Finding, Rule};
use crate::record::Wanted;

/// For how many seconds after a member has become honest others may still serve what it has given them: SOA timers, and the time
/// that primaries take to go above the serials that it has shown.
const REPAIRED_WITHIN: u64 = 600;

impl History {
    /// A stranger comes, or goes again.
    pub(super) fn stranger(&mut self, dice: &mut Dice) -> bool {
        if let Some(host) = self.stranger.take() {
            self.world.make_honest(&host);
            if self.up(&host) {
                self.kill(&host);
            }
            return true;
        }
        let gone = self.record.sites.iter();
        let gone = gone.filter(|(host, site)| {
            site.wanted == Wanted::No && site.removed.is_some() && self.all_know_it_left(host)
        });
        let gone: Vec<String> = gone.map(|(host, _)| host.clone()).collect();
        let host = match dice.pick(&gone).filter(|_| dice.clone().chance(70)) {
            Some(host) => host.clone(),
            None => {
                self.next_stranger += 1;
                let host = format!("stranger-{}", self.next_stranger);
                self.world.add_host(&host, Vec::new());
                host
            }
        };
        if !self.up(&host) {
            self.start(&host);
        }
        if !self.up(&host) {
            return false;
        }
        self.world.make_hostile(&host);
        self.stranger = Some(host);
        true
    }

    /// Whether all members have a directory on disk without this site.
    fn all_know_it_left(&self, gone: &str) -> bool {
        let knows = |host: &String| {
            let stored = self.world.hosts[host].disk.zones.get(&directory());
            stored.is_some_and(|stored| {
                let read = zonemesh_zone::directory::Directory::read(&stored.zone);
                !read.sites.keys().any(|site| site.as_str() == gone)
            })
        };
        !self.record.split && self.members().iter().all(knows)
    }

    /// A member is broken into, others go on with their work, and it is honest again.
    pub(super) fn hostile_member(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let host = self.member(dice);
        // Who holds the directory by its role is trusted with the mesh (decision 0006).
        if self.record.has_written(&host) || self.rolling.contains(&host) || self.has_role(&host) {
            return Ok(false);
        }
        // What it was given while it was away it knows by now.
        if !self.all_is_well()? || self.has_role(&host) {
            return Ok(false);
        }
        // One that is in doubt would take what a member shows for its own history.
        self.pass(30_000)?;
        if oracle::doubts(&self.world).next().is_some() {
            return Ok(false);
        }
        self.world.make_hostile(&host);
        for _ in 0..2 + dice.below(10) {
            self.pass(dice.below(8_000))?;
            match dice.below(8) {
                0 => self.edit_file(dice),
                1 => self.add_zone(dice),
                2 => self.weather(dice),
                3 => self.cut(dice),
                _ => self.change(dice),
            };
        }
        self.world.make_honest(&host);
        self.calm();
        // What it has said of its disk is not true.
        self.forget_waits();
        for _ in 0..REPAIRED_WITHIN / 60 {
            if self.all_have_all()? {
                return Ok(true);
            }
        }
        // What is still to be listed was asked for by a site that nobody knows yet.
        let Err(why) = self.world.converged() else {
            return Ok(true);
        };
        let message = format!("{REPAIRED_WITHIN} s after {host} is honest again: {why}");
        Err(Finding::new(Rule::Hostile, message))
    }
}
