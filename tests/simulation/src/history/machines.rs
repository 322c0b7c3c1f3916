//! Machines, disks, links and clocks that fail by halves.

use super::History;
use crate::dice::Dice;

impl History {
    /// A site hangs with its sockets open.
    pub(super) fn hang(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if !self.runs(&host) {
            return false;
        }
        self.world.hang(&host);
        true
    }

    /// The power of a site goes: at once, or in the middle of what its disk does next.
    pub(super) fn power_loss(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if !self.up(&host) {
            return false;
        }
        if dice.chance(35) {
            self.lose_power(&[host]);
            return true;
        }
        let operations = 1 + dice.below(24);
        self.note(
            &host,
            &format!("is to lose its power after {operations} more writes and flushes"),
        );
        self.world.power_cut_on_disk(&host, operations);
        self.notice_stops();
        true
    }

    /// The power of machines goes: what their disks have not flushed may be there or not.
    pub(super) fn lose_power(&mut self, hosts: &[String]) {
        let up: Vec<&str> = hosts.iter().map(String::as_str).collect();
        self.world.power_cut(&up);
        self.notice_stops();
    }

    /// The wall clock of a site is wrong from now on, by seconds or by days; or jumps from wherever it is; or is right again.
    pub(super) fn clock(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        let most = [5, 300, 7_200, 1_000_000][dice.below(4) as usize];
        let seconds = dice.below(2 * most + 1) as i64 - most as i64;
        match dice.below(3) {
            0 => self.world.set_clock_skew(&host, 0),
            1 => self.world.set_clock_skew(&host, seconds),
            _ => self.world.jump_clock(&host, seconds),
        }
        true
    }

    /// Whatever hangs goes on: sites and disks.
    pub(super) fn resume(&mut self) -> bool {
        let mut any = false;
        for host in self.members() {
            if self.world.hangs(&host) {
                self.world.resume(&host);
                any = true;
            }
            if self.stuck.remove(&host) {
                self.world.heal_disk(&host);
                any = true;
            }
        }
        any
    }

    /// A disk is full, or hangs.
    pub(super) fn stuck_disk(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if !self.up(&host) || !self.stuck.insert(host.clone()) {
            return false;
        }
        match dice.chance(50) {
            true => self.world.fill_disk(&host),
            false => self.world.hang_disk(&host),
        }
        true
    }

    /// Everything that a site does takes longer.
    pub(super) fn slow(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        let factor = 2 + dice.below(3) as u32;
        self.world.slow(&host, factor);
        self.note(&host, &format!("is {factor} times as slow as usual"));
        true
    }

    /// A link goes up and down.
    pub(super) fn flap(&mut self, dice: &mut Dice) -> bool {
        let (one, other) = (self.member(dice), self.member(dice));
        if one == other {
            return false;
        }
        let (millis, times) = (200 + dice.below(8_000), 2 + dice.below(8) as u32);
        self.world.flap(&one, &other, millis, times);
        self.note(
            &one,
            &format!("has a link to {other} that flaps {times} times, every {millis} ms"),
        );
        true
    }
}
