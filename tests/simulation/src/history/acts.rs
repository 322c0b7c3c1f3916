//! What can happen in a step, how often, and the faults of machines and networks.

use std::fmt;
use std::str::FromStr;

use super::History;
use crate::dice::Dice;
use crate::oracle::Finding;

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A record is changed at its zone's primary.
    Change,
    /// A zone's file is edited, with the same serial or a lower one, and loaded.
    EditFile,
    /// Somebody waits until a change is served everywhere.
    Wait,
    /// A site is killed.
    Kill,
    /// A site that is down is started.
    Start,
    /// All sites are killed, and started in any order.
    PowerCut,
    /// The power of a site goes, at once or in the middle of what its disk does.
    PowerLoss,
    /// The wall clock of a site is wrong, or jumps.
    Clock,
    /// A message cannot come from one site to another, or between the two.
    Cut,
    /// All messages arrive again.
    Uncut,
    /// Messages are lost, doubled and late.
    Weather,
    /// The next commits of a site fail.
    FailCommits,
    /// The disk of a site is slow.
    SlowDisk,
    /// The disk of a site is full, or hangs.
    StuckDisk,
    /// The disk of a site is put back to an old copy.
    OldCopy,
    /// The disk of a site is emptied, but for its key.
    EmptyDisk,
    /// The disk of a site changes by itself.
    CorruptDisk,
    /// A site hangs with its sockets open.
    Hang,
    /// What hangs goes on.
    Resume,
    /// Everything that a site does takes longer.
    Slow,
    /// A link goes up and down.
    Flap,
    /// Time passes with a zone's primary down.
    Rest,
    /// A zone is added to the configuration of a site.
    Configure,
    /// A zone is added by command.
    AddZone,
    /// A zone is removed by command.
    RemoveZone,
    /// A site has another address.
    Move,
    /// A site rolls its key.
    RollKey,
    /// A machine joins.
    Join,
    /// A site is removed, its zones with it or to be adopted.
    Leave,
    /// The old disk of a site that was removed boots.
    OldDisk,
    /// A machine that is no member, or no longer one, sends what it should not; or goes again.
    Stranger,
    /// A member is broken into for a while.
    Hostile,
    /// A site becomes a catalog secondary, which can be promoted.
    Role,
    /// A catalog secondary becomes the catalog primary: handed over to, or with the old one dead, cut off, or all there.
    Promote,
    /// What a writer had to yield is made again, or thrown away.
    Yielded,
    /// The catalog loses members by mistake, for a while.
    ShrinkCatalog,
    /// The catalog is broken by mistake, for a while.
    BreakCatalog,
    /// The directory forgets whose many zones are, for a while.
    ShrinkDirectory,
    /// The directory is emptied by mistake, for a while.
    EmptyDirectory,
    /// Who writes directory and catalog is edited by hand, which must be refused.
    EditEpoch,
}

/// All kinds of steps: how they are called, and how often of all they are drawn.
const ACTS: &[(Act, &str, u64)] = &[
    (Act::Change, "change", 60),
    (Act::EditFile, "edit-file", 8),
    (Act::Wait, "wait", 8),
    (Act::Kill, "kill", 18),
    (Act::Start, "start", 24),
    (Act::PowerCut, "power-cut", 3),
    (Act::PowerLoss, "power-loss", 14),
    (Act::Clock, "clock", 6),
    (Act::Cut, "cut", 14),
    (Act::Uncut, "uncut", 10),
    (Act::Weather, "weather", 14),
    (Act::FailCommits, "fail-commits", 10),
    (Act::SlowDisk, "slow-disk", 6),
    (Act::StuckDisk, "stuck-disk", 5),
    (Act::OldCopy, "old-copy", 2),
    (Act::EmptyDisk, "empty-disk", 2),
    (Act::CorruptDisk, "corrupt-disk", 2),
    (Act::Hang, "hang", 6),
    (Act::Resume, "resume", 10),
    (Act::Slow, "slow", 5),
    (Act::Flap, "flap", 5),
    (Act::Rest, "rest", 4),
    (Act::Configure, "configure", 5),
    (Act::AddZone, "add-zone", 9),
    (Act::RemoveZone, "remove-zone", 6),
    (Act::Move, "move", 8),
    (Act::RollKey, "roll-key", 6),
    (Act::Join, "join", 6),
    (Act::Leave, "leave", 6),
    (Act::OldDisk, "old-disk", 5),
    (Act::Stranger, "stranger", 6),
    (Act::Hostile, "hostile", 3),
    (Act::Role, "role", 4),
    (Act::Promote, "promote", 9),
    (Act::Yielded, "yielded", 4),
    (Act::ShrinkCatalog, "shrink-catalog", 3),
    (Act::BreakCatalog, "break-catalog", 3),
    (Act::ShrinkDirectory, "shrink-directory", 3),
    (Act::EmptyDirectory, "empty-directory", 3),
    (Act::EditEpoch, "edit-epoch", 3),
];

impl Act {
    /// One of all, by how often each is drawn.
    pub fn draw(dice: &mut Dice) -> Self {
        let all: u64 = ACTS.iter().map(|(.., weight)| weight).sum();
        let mut left = dice.below(all);
        for (act, _, weight) in ACTS {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *act,
            }
        }
        Self::Change
    }

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        ACTS.iter().map(|(act, ..)| *act)
    }

    /// Whether it concerns the mesh as a whole, so that it happens once however large that is.
    pub(super) fn is_of_all(self) -> bool {
        matches!(
            self,
            Self::PowerCut
                | Self::Uncut
                | Self::Resume
                | Self::Weather
                | Self::Rest
                | Self::OldCopy
                | Self::EmptyDisk
                | Self::CorruptDisk
                | Self::Join
                | Self::Leave
                | Self::Stranger
                | Self::Hostile
                | Self::Role
                | Self::Promote
                | Self::Yielded
                | Self::ShrinkCatalog
                | Self::BreakCatalog
                | Self::ShrinkDirectory
                | Self::EmptyDirectory
        )
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = ACTS.iter().find(|(act, ..)| act == self);
        f.pad(found.map_or("", |(_, name, _)| name))
    }
}

impl FromStr for Act {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = ACTS.iter().find(|(_, name, _)| *name == text);
        found.map(|(act, ..)| *act).ok_or_else(|| {
            let names: Vec<&str> = ACTS.iter().map(|(_, name, _)| *name).collect();
            format!("no such kind of step; there are {}", names.join(", "))
        })
    }
}

impl History {
    /// Does one thing; whether it came to something.
    pub(super) fn act(
        &mut self,
        act: Act,
        number: usize,
        dice: &mut Dice,
    ) -> Result<bool, Finding> {
        let (before, when) = (self.world.log.len(), self.world.now);
        let done = match act {
            Act::Change => self.change(dice),
            Act::EditFile => self.edit_file(dice),
            Act::Wait => self.wait(dice),
            Act::Kill => self.kill_one(dice),
            Act::Start => self.start_one(dice),
            Act::PowerCut => self.power_cut(dice)?,
            Act::PowerLoss => self.power_loss(dice),
            Act::Clock => self.clock(dice),
            Act::Cut => self.cut(dice),
            Act::Uncut => self.uncut(),
            Act::Weather => self.weather(dice),
            Act::FailCommits => self.fail_commits(dice),
            Act::SlowDisk => self.slow_disk(dice),
            Act::StuckDisk => self.stuck_disk(dice),
            Act::OldCopy => self.old_copy(dice)?,
            Act::EmptyDisk => self.empty_disk(dice)?,
            Act::CorruptDisk => self.corrupt_disk(dice)?,
            Act::Hang => self.hang(dice),
            Act::Resume => self.resume(),
            Act::Slow => self.slow(dice),
            Act::Flap => self.flap(dice),
            Act::Rest => self.rest(dice)?,
            Act::Configure => self.configure_zone(dice),
            Act::AddZone => self.add_zone(dice),
            Act::RemoveZone => self.remove_zone(dice),
            Act::Move => self.move_away(dice),
            Act::RollKey => self.roll_key(dice),
            Act::Join => self.join(dice),
            Act::Leave => self.leave(dice),
            Act::OldDisk => self.old_disk(dice),
            Act::Stranger => self.stranger(dice),
            Act::Hostile => self.hostile_member(dice)?,
            Act::Role => self.give_role(dice),
            Act::Promote => self.promote(dice)?,
            Act::Yielded => self.decide_yielded(dice)?,
            Act::ShrinkCatalog => self.shrink_catalog(dice)?,
            Act::BreakCatalog => self.break_catalog(dice)?,
            Act::ShrinkDirectory => self.shrink_directory(dice)?,
            Act::EmptyDirectory => self.empty_directory(dice)?,
            Act::EditEpoch => self.edit_epoch(dice),
        };
        if done {
            let line = format!("step {number}: {act}");
            self.world.remark_at(before, when, &line);
        }
        Ok(done)
    }
}

/// # Machines
impl History {
    fn kill_one(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if self.up(&host) {
            self.kill(&host);
            return true;
        }
        false
    }

    fn start_one(&mut self, dice: &mut Dice) -> bool {
        let down: Vec<String> = self
            .members()
            .into_iter()
            .filter(|host| !self.up(host))
            .collect();
        let Some(host) = dice.pick(&down) else {
            return false;
        };
        self.start(host);
        true
    }

    fn power_cut(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        let mut members = self.members();
        match dice.chance(50) {
            true => self.lose_power(&members),
            false => {
                let up: Vec<String> = members
                    .iter()
                    .filter(|host| self.up(host))
                    .cloned()
                    .collect();
                up.iter().for_each(|host| self.kill(host));
            }
        }
        self.pass(dice.below(120_000))?;
        dice.shuffle(&mut members);
        // In a large mesh all are back in as many minutes as in one of fifty.
        let shorter = (members.len() as u64 / 50).max(1);
        for host in members {
            self.start(&host);
            let longest = if dice.chance(20) { 20_000 } else { 1_500 };
            self.pass(dice.below(longest) / shorter)?;
        }
        Ok(true)
    }

    fn fail_commits(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        let times = 1 + dice.below(6) as u32;
        self.world.host(&host).failing_commits = times;
        self.note(&host, &format!("the next {times} commits will fail"));
        true
    }

    fn slow_disk(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        let millis = 1 + dice.below(400);
        self.world.host(&host).slow_disk = millis;
        self.note(&host, &format!("the disk takes up to {millis} ms"));
        true
    }

    /// The primary of some zone is down for so long that the zone may expire, and others are restarted meanwhile.
    fn rest(&mut self, dice: &mut Dice) -> Result<bool, Finding> {
        // One that may expire in that time, where there is any.
        let zones = self.record.zones.values();
        let (soon, late): (Vec<_>, Vec<_>) = zones.partition(|zone| zone.expire <= 600);
        let zones = if soon.is_empty() { late } else { soon };
        let Some(primary) = dice.pick(&zones).map(|zone| zone.primary.clone()) else {
            return Ok(false);
        };
        if self.up(&primary) {
            self.kill(&primary);
        }
        for _ in 0..3 {
            self.pass(dice.below(250_000))?;
            let host = self.member(dice);
            if host != primary {
                if self.up(&host) {
                    self.kill(&host);
                }
                self.start(&host);
            }
        }
        Ok(true)
    }
}

/// # Networks
impl History {
    pub(super) fn cut(&mut self, dice: &mut Dice) -> bool {
        let (one, other) = (self.member(dice), self.member(dice));
        if one == other {
            return false;
        }
        match dice.below(4) {
            // A site that nobody reaches, or that reaches nobody.
            0 => {
                for peer in self.members() {
                    self.world.cut_both(&one, &peer);
                }
                self.note(&one, "is cut off from all");
            }
            1 => match dice.below(3) {
                0 => {
                    self.world.cut_requests(&one, &other);
                    self.note(&one, &format!("has its requests to {other} lost"));
                }
                1 => {
                    self.world.cut_answers(&one, &other);
                    self.note(&one, &format!("has its answers to {other} lost"));
                }
                _ => {
                    self.world.cut(&one, &other);
                    self.note(&one, &format!("does not reach {other}"));
                }
            },
            _ => {
                self.world.cut_both(&one, &other);
                self.note(&one, &format!("is cut off from {other}"));
            }
        }
        true
    }

    pub(super) fn uncut(&mut self) -> bool {
        let net = &self.world.net;
        let any = [&net.cut, &net.cut_requests, &net.cut_answers];
        let any = any.iter().any(|links| !links.is_empty());
        self.world.heal_links();
        if any {
            self.note("*", "all sites reach each other again");
        }
        any
    }

    pub(super) fn weather(&mut self, dice: &mut Dice) -> bool {
        let net = &mut self.world.net;
        net.loss = dice.below(300);
        net.duplicates = dice.below(200);
        net.slowest = 1 + dice.below(900);
        net.overtaken = dice.below(60);
        net.stale = dice.below(20);
        let text = format!(
            "of 1000 messages {} are lost and {} doubled, delays of up to {} ms",
            net.loss, net.duplicates, net.slowest
        );
        self.note("*", &text);
        true
    }
}
