//! The oracle: what must be true of a mesh, whatever happens to it, measured by what operators asked for ([`Record`]) and by
//! what can be seen from outside.
//!
//! [`Oracle::look`] is for every moment, [`ended`] for when faults have stopped and the mesh has had time to settle. The world
//! itself checks what it sees at each publication: that no served serial goes back, and that what is served is on disk.

mod contents;
mod end;
mod moment;
mod owed;
mod retries;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub(crate) use self::end::doubts;
pub use self::end::ended;
pub use self::moment::receipt as receipt_is_true;
use crate::record::Record;
use crate::{Host, World};

/// A rule of the oracle, by the promise that it looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Nothing acknowledged is lost.
    Acknowledged,
    /// No served serial goes back.
    SerialBack,
    /// What is served is on disk.
    Durable,
    /// All sites serve the same in the end.
    Alike,
    /// There is one content under one serial.
    Contents,
    /// Nothing is removed that nobody asked to remove.
    Removal,
    /// Nothing is removed in bulk without consent.
    Bulk,
    /// No departed site is trusted.
    Departed,
    /// A site that lacks zones does not answer.
    Ready,
    /// A site goes on answering for what it serves.
    ServesOn,
    /// Nothing is served beyond its expiry.
    Expiry,
    /// One site writes directory and catalog.
    OneWriter,
    /// Who has no key that counts achieves nothing, and of what a member forged nothing is left.
    Hostile,
    /// Retries stay within their bounds.
    Retries,
    /// Each zone is asked for when its timer says so.
    Timers,
    /// A NOTIFY that was not answered is repeated.
    Repeated,
    /// No core wants to be woken again and again.
    Busy,
    /// A plan at rest is empty.
    Rest,
    /// A receipt is true, and comes.
    Receipt,
    /// The core asks the store for nothing that it must refuse.
    Commits,
    /// Nothing panics.
    Panic,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Acknowledged => "nothing acknowledged is missing",
            Self::SerialBack => "no served serial goes back",
            Self::Durable => "what is served is on disk",
            Self::Alike => "all sites serve the same in the end",
            Self::Contents => "there is one content under one serial",
            Self::Removal => "nothing is removed that nobody asked to remove",
            Self::Bulk => "nothing is removed in bulk without consent",
            Self::Departed => "no departed site is trusted",
            Self::Ready => "a site that lacks zones does not answer",
            Self::ServesOn => "a site goes on answering for what it serves",
            Self::Expiry => "nothing is served beyond its expiry",
            Self::OneWriter => "one site writes the directory",
            Self::Hostile => "forged and foreign messages change nothing for good",
            Self::Retries => "retries stay within their bounds",
            Self::Timers => "each zone is asked for when its timer says so",
            Self::Repeated => "a NOTIFY that was not answered is repeated",
            Self::Busy => "no core is woken again and again",
            Self::Rest => "a plan at rest is empty",
            Self::Receipt => "a receipt is true, and comes",
            Self::Commits => "the store need refuse nothing",
            Self::Panic => "nothing panics",
        })
    }
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How.
    pub message: String,
}

impl Finding {
    /// A rule that was broken in this way.
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: message.into(),
        }
    }

    /// What a panic of the product or of the world comes to.
    pub fn of_panic(text: &str) -> Self {
        let says = |part: &str| text.contains(part);
        let rule = match () {
            () if says(" went back from ") => Rule::SerialBack,
            () if says(" is served with ") => Rule::Durable,
            () if says("what was durable is lost") => Rule::Durable,
            () if says("a sound disk is refused") => Rule::Durable,
            () if says("the store took what its model refuses") => Rule::Commits,
            () if says("woken again and again") => Rule::Busy,
            () if says("an earlier writer") => Rule::OneWriter,
            () if says("not within ") => Rule::Alike,
            () => Rule::Panic,
        };
        // The history is printed anyway.
        let message = text.split('\n').next().unwrap_or_default();
        Self::new(rule, message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.message)
    }
}

/// What the oracle remembers between two looks.
#[derive(Default)]
pub struct Oracle {
    hosts: BTreeMap<String, Seen>,
    contents: contents::Contents,
}

/// How far what a host did has been looked at.
#[derive(Default)]
struct Seen {
    happened: usize,
    ended: usize,
    transfers: usize,
    told: usize,
    recent: retries::Recent,
    owed: owed::Owed,
}

impl Oracle {
    /// Looks at everything that must be true at every moment.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn look(&mut self, world: &World, record: &mut Record) -> Result<(), Finding> {
        for (name, host) in &world.hosts {
            let seen = self.hosts.entry(name.clone()).or_default();
            moment::removals(name, host, &mut seen.happened, record)?;
            retries::look(name, host, world.hosts.len(), seen)?;
            owed::look(name, host, world, &mut seen.owed)?;
            moment::ready(name, host, world)?;
            moment::serves_on(name, host, &mut seen.ended, record)?;
        }
        contents::look(world, record, &mut self.contents)?;
        moment::departed(world, record)?;
        moment::strangers(world, record)?;
        moment::one_writer(world, record)?;
        moment::expiry(world, record)
    }
}

/// For how many seconds, after all faults have stopped, a mesh may take until all its sites serve the same.
pub const SETTLES_WITHIN: u64 = 120;

/// How long after a zone's expiry it may still be served: the last attempt to renew it, and a request that nobody answers.
const EXPIRY_SLACK: Duration = Duration::from_secs(45);

/// Whether a host runs.
fn runs(host: &Host) -> bool {
    host.core.is_some()
}
