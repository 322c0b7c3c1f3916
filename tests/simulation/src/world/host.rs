//! A machine: the core of a site, what it keeps, and what it was seen to do.

use zonemesh_keep::Job;

use super::network::{Answer, refused};
use super::*;

/// One machine.
pub struct Host {
    /// The core, while the site runs.
    pub core: Option<Core>,
    /// Its configuration.
    pub settings: Settings,
    /// Where it is and which key it shows, whatever the directory says.
    pub site: Site,
    /// What survives a crash: all that it has made durable. Where the store is real this only says what that has.
    pub disk: Disk,
    pub(super) real: Option<Real>,
    /// Whether the power went in the middle of what the disk did.
    pub(super) in_doubt: bool,
    /// Whether the disk has lost or changed something by itself.
    pub(super) corrupt: bool,
    /// How many of the next commits fail.
    pub failing_commits: u32,
    /// How long the disk takes at most, in milliseconds.
    pub slow_disk: u64,
    /// Whether commits fail for want of space.
    pub(super) full: bool,
    /// Whether the disk hangs: what it is at and what waits for it stays undone.
    pub(super) hanging: bool,
    /// What waits for the disk.
    pub(super) waiting: VecDeque<Job>,
    /// What the disk is at.
    pub(super) under_way: Vec<Job>,
    /// How many times as long everything takes.
    pub(super) slowness: u32,
    /// By how many seconds its wall clock is wrong.
    pub(super) skew: i64,
    /// By how many seconds it was ahead at most, while the site ran: what its disk has noted may be of that time.
    pub(super) ahead: i64,
    /// When it stopped last.
    pub(super) stopped: Duration,
    /// Whether it has no power.
    pub(super) off: bool,
    /// When it started, if its clock was earlier then, by ten seconds or more, than a time that its disk had noted: how old its copies
    /// were nobody there could know.
    pub ages_unknown: Option<Duration>,
    /// How much longer than it knew it may have been down before it started: its clock was set back meanwhile, by less than that.
    pub hidden: Duration,
    /// What it answers with, and until when it may by its monotonic clock; none at a primary.
    pub served: BTreeMap<Name, (Option<Zone>, Option<Duration>)>,
    /// What each zone that it serves is to it.
    pub specs: BTreeMap<Name, ZoneSpec>,
    /// Who is trusted, and where they are.
    pub members: Arc<Members>,
    /// What requests were answered.
    pub replies: BTreeMap<RequestId, Vec<Reply>>,
    /// What its user was told.
    pub happened: Vec<(Duration, Happening)>,
    /// Messages sent, by kind.
    pub sent: BTreeMap<&'static str, usize>,
    /// When transfers of a zone were asked for.
    pub transfers: Vec<(Duration, Name, PeerId)>,
    /// When NOTIFYs of a zone were sent.
    pub told: Vec<(Duration, Name, PeerId)>,
    /// When a NOTIFY of a zone was answered, or nobody waited for that any longer; and which of the two.
    pub answered: Vec<(Duration, Name, PeerId, bool)>,
    /// How much it has sent.
    pub traffic: Traffic,
    /// What led to what is served, to answer IXFR with.
    pub(super) journal: BTreeMap<Name, Vec<Diff>>,
    /// The highest serial that was ever served of each zone.
    pub(super) published: BTreeMap<Name, Serial>,
    /// Whose version of directory and catalog it served last.
    pub(super) followed: BTreeMap<Name, Epoch>,
    /// Where members were met that called from elsewhere than the directory says: tried after all else, as by the product.
    pub(super) met: BTreeMap<SiteName, IpAddr>,
    /// How often it has stopped: what was begun before is void.
    pub(super) epoch: u64,
    /// Whether it has become ready since its start, and which zones it lacked then that its catalog listed and that
    /// were to be had.
    pub lacked: Option<Vec<Name>>,
    /// What it answered for and then did not any longer, though it ran on.
    pub ended: Vec<Ended>,
    /// What its last plan came to, as it is in the log.
    pub(super) planned: Vec<String>,
    /// The wake-up in the queue that counts; others are left over.
    pub(super) wake: Option<Duration>,
}

/// The end of answers that a running site gave.
pub struct Ended {
    /// When.
    pub at: Duration,
    /// For what.
    pub of: Answers,
}

/// What a site answered for.
pub enum Answers {
    /// A zone that it serves no longer, though it is still to hold it.
    Contents {
        /// The zone, as it was served last.
        zone: Zone,
        /// Until when it might have been served, by the monotonic clock, as far as others were told; none at a primary.
        until: Option<Duration>,
    },
    /// A zone that it let go of.
    Zone(Name),
    /// Everything: it was ready, and is not.
    All,
}

/// The sites that one site trusts, and where they are.
#[derive(Default, PartialEq)]
pub struct Members {
    sites: Vec<Site>,
    by_name: HashMap<SiteName, usize>,
    by_pin: HashMap<[u8; 32], usize>,
}

/// A server that is no site.
pub struct Foreign {
    /// What it serves.
    pub zones: BTreeMap<Name, Zone>,
    /// What it was told.
    pub notified: Vec<(Name, Serial)>,
}

impl Host {
    pub(super) fn new(site: Site, settings: Settings) -> Self {
        Self {
            core: None,
            settings,
            site,
            disk: Disk::default(),
            real: None,
            in_doubt: false,
            corrupt: false,
            failing_commits: 0,
            slow_disk: 3,
            full: false,
            hanging: false,
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            slowness: 1,
            skew: 0,
            ahead: 0,
            stopped: Duration::ZERO,
            off: false,
            ages_unknown: None,
            hidden: Duration::ZERO,
            served: BTreeMap::new(),
            specs: BTreeMap::new(),
            members: Arc::default(),
            replies: BTreeMap::new(),
            happened: Vec::new(),
            sent: BTreeMap::new(),
            transfers: Vec::new(),
            told: Vec::new(),
            answered: Vec::new(),
            traffic: Traffic::default(),
            journal: BTreeMap::new(),
            published: BTreeMap::new(),
            followed: BTreeMap::new(),
            met: BTreeMap::new(),
            epoch: 0,
            lacked: None,
            ended: Vec::new(),
            planned: Vec::new(),
            wake: None,
        }
    }

    /// Has other keys from now on, and says so when it starts.
    pub(super) fn show(&mut self, pins: Vec<KeyPin>) {
        if let Some(mesh) = &mut self.settings.mesh {
            mesh.me.site.pins = pins.clone();
        }
        self.site.pins = pins;
    }

    /// It has another disk: what it served before is not held against it.
    pub(super) fn forget(&mut self) {
        self.published.clear();
        self.followed.clear();
    }

    /// Whether its disk hangs, so that what it stores is not done.
    pub fn disk_hangs(&self) -> bool {
        self.hanging
    }

    /// How often it has stopped.
    pub fn stops(&self) -> u64 {
        self.epoch
    }

    /// Forgets what is in memory only.
    pub(super) fn stop(&mut self) {
        self.core = None;
        self.lacked = None;
        if let Some(real) = &mut self.real {
            real.close();
        }
        self.epoch += 1;
        self.served.clear();
        self.met.clear();
        self.journal.clear();
        self.waiting.clear();
        self.under_way.clear();
        self.wake = None;
    }

    /// What the transfer of a zone comes to: in messages, as the product has it; straight where the store is a model, because a
    /// thousand sites must share what they hold.
    pub(super) fn transfer_out(
        &self,
        zone: &Zone,
        have: Option<Zone>,
        expire: Option<u32>,
    ) -> Result<Answer, Failure> {
        if self.real.is_none() {
            return Ok(Answer::Zone(self.differences(zone, have), expire));
        }
        let apex = zone.apex();
        let moved = wire::transfer(apex, have, |request| {
            wire::answer(request, zone, expire, |from| self.diffs_since(apex, from))
        });
        match moved {
            Ok((got, told)) => Ok(Answer::Zone(got, told)),
            Err(error) => Err(refused(&error.to_string(), false)),
        }
    }

    /// What an IXFR of a zone is answered with.
    pub(super) fn differences(&self, zone: &Zone, have: Option<Zone>) -> Got {
        let Some(have) = have else {
            return Got::Full(zone.clone());
        };
        if !zone.serial().is_after(have.serial()) {
            return Got::UpToDate {
                serial: zone.serial(),
            };
        }
        let Some(diffs) = self.diffs_since(zone.apex(), have.serial()) else {
            return Got::Full(zone.clone());
        };
        let mut made = have;
        for diff in &diffs {
            match made.apply(diff) {
                Ok(next) => made = next,
                Err(_) => return Got::Full(zone.clone()),
            }
        }
        match made.same_contents(zone) && made.serial() == zone.serial() {
            true => Got::Diffs(made, diffs),
            false => Got::Full(zone.clone()),
        }
    }

    /// The differences since a serial, from memory or from the store.
    fn diffs_since(&self, apex: &Name, from: Serial) -> Option<Vec<Diff>> {
        let journal = self.journal.get(apex).map(Vec::as_slice);
        let journal = journal.unwrap_or_default();
        let starts = |diff: &Diff| diff.serials().is_some_and(|(start, _)| start == from);
        match journal.iter().position(starts) {
            Some(start) => Some(journal[start..].to_vec()),
            None => self.real.as_ref()?.diffs_since(apex, from),
        }
    }
}

impl Members {
    pub(super) fn new(sites: Vec<Site>) -> Self {
        // Of two with the same name or key the first counts.
        let (mut by_name, mut by_pin) = (HashMap::new(), HashMap::new());
        for (index, site) in sites.iter().enumerate() {
            by_name.entry(site.name.clone()).or_insert(index);
            for pin in &site.pins {
                by_pin.entry(pin.0).or_insert(index);
            }
        }
        Self {
            sites,
            by_name,
            by_pin,
        }
    }

    /// The member of this name.
    pub fn named(&self, name: &SiteName) -> Option<&Site> {
        Some(&self.sites[*self.by_name.get(name)?])
    }

    /// The member with this key.
    pub fn with_key(&self, pin: &KeyPin) -> Option<&Site> {
        Some(&self.sites[*self.by_pin.get(&pin.0)?])
    }
}

impl std::ops::Deref for Members {
    type Target = [Site];

    fn deref(&self) -> &[Site] {
        &self.sites
    }
}
