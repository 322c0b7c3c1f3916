//! What a site owes: to ask for each of its zones again when its timer says so, whatever becomes of other zones; and to tell again who
//! has not answered. That all have the same in the end says nothing of either, where sites compare what they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use zonemesh_mesh::core::{Core, Happening, PeerId};
use zonemesh_zone::{Name, Zone};

use super::{Finding, Rule};
use crate::{Host, World};

/// What was done last, and what is owed since when.
#[derive(Default)]
pub(super) struct Owed {
    /// How often the site had stopped, and how far what it did has been looked at.
    stops: u64,
    transfers: usize,
    told: usize,
    answered: usize,
    happened: usize,
    /// When a secondary asked for a zone last, or had a reason not to.
    asked: BTreeMap<Name, Duration>,
    /// What became of the NOTIFYs of each zone to each peer.
    last: BTreeMap<(Name, PeerId), Last>,
}

impl Owed {
    fn of(&mut self, zone: &Name, peer: &PeerId) -> &mut Last {
        let key = (zone.clone(), peer.clone());
        self.last.entry(key).or_default()
    }
}

/// What became of the NOTIFYs of a zone to a peer.
#[derive(Default)]
struct Last {
    /// When the last was sent, and when the last of those that were answered.
    told: Option<Duration>,
    answered: Option<Duration>,
    /// When nobody waited any longer for the answer to one.
    silent: Option<Duration>,
}

/// Looks whether a site does in time what it owes.
pub(super) fn look(name: &str, host: &Host, world: &World, owed: &mut Owed) -> Result<(), Finding> {
    let last = (owed.transfers, owed.told, owed.answered);
    let news = owed.happened;
    owed.transfers = host.transfers.len();
    owed.told = host.told.len();
    owed.answered = host.answered.len();
    owed.happened = host.happened.len();
    let busy = world.hangs(name) || host.disk_hangs() || world.is_hostile(name);
    let Some(core) = host
        .core
        .as_ref()
        .filter(|_| !busy && host.stops() == owed.stops)
    else {
        owed.stops = host.stops();
        owed.asked.clear();
        owed.last.clear();
        return Ok(());
    };
    for (at, zone, _) in &host.transfers[last.0.min(host.transfers.len())..] {
        owed.asked.insert(zone.clone(), *at);
    }
    let mut told = host.told[last.1.min(host.told.len())..].iter().peekable();
    for (at, zone, peer, answered) in &host.answered[last.2.min(host.answered.len())..] {
        while let Some((at, zone, peer)) = told.next_if(|told| told.0 <= *at) {
            owed.of(zone, peer).told = Some(*at);
        }
        let last = owed.of(zone, peer);
        // Of a message that the network has doubled one may be answered and the other lost: that one was answered.
        match answered {
            true => (last.answered, last.silent) = (last.told, None),
            false if last.told.is_none() || last.told == last.answered => {}
            false => last.silent = Some(*at),
        }
    }
    for (at, zone, peer) in told {
        owed.of(zone, peer).told = Some(*at);
    }
    for (_, what) in &host.happened[news.min(host.happened.len())..] {
        if let Happening::ZoneRemoved(gone) = what {
            // It may be there again by now, with nothing owed of it.
            owed.last.retain(|(zone, _), _| zone != gone);
        }
    }
    // Who is not asked and not told, because it does not answer: probes find out when it is back.
    let lost = core.peers().filter(|(_, lost)| lost.is_some());
    let lost: Vec<&PeerId> = lost.map(|(peer, _)| peer).collect();
    let site = Site { name, host, core };
    timers(&site, &lost, world.now, owed)?;
    repeated(&site, &lost, world.now, owed)
}

/// A site that runs.
struct Site<'w> {
    name: &'w str,
    host: &'w Host,
    core: &'w Core,
}

/// A secondary asks for each of its zones as often as the SOA says, while any of its sources is there.
fn timers(
    &Site { name, host, core }: &Site<'_>,
    lost: &[&PeerId],
    now: Duration,
    owed: &mut Owed,
) -> Result<(), Finding> {
    owed.asked.retain(|zone, _| host.served.contains_key(zone));
    for (zone, (served, _)) in &host.served {
        let Some(served) = served else {
            owed.asked.remove(zone);
            continue;
        };
        let asked = owed.asked.entry(zone.clone()).or_insert(now);
        if now.saturating_sub(*asked) <= refresh(served).mul_f64(JITTER) + SLACK {
            continue;
        }
        let spec = core.zone(zone).map(|view| view.spec);
        let asks = spec.is_some_and(|spec| {
            let mut sources = spec.sources.iter();
            !spec.primary && sources.any(|source| !lost.contains(&source))
        });
        if asks {
            let message = format!(
                "{name} has not asked for {zone} since {:.3}; its SOA says every {} s",
                asked.as_secs_f64(),
                refresh(served).as_secs()
            );
            return Err(Finding::new(Rule::Timers, message));
        }
        *asked = now;
    }
    Ok(())
}

/// Who has not answered a NOTIFY gets another, as late as the greatest distance allows.
fn repeated(
    &Site { name, host, core }: &Site<'_>,
    lost: &[&PeerId],
    now: Duration,
    owed: &mut Owed,
) -> Result<(), Finding> {
    let mut late = None;
    // How often it was told in vain before it hung or was broken into is not known here, and the pauses double.
    let wait = GREATEST.mul_f64(JITTER) + SLACK;
    let silent = owed.last.iter_mut();
    for ((zone, peer), last) in silent.filter(|(_, last)| last.silent.is_some()) {
        let serves = host
            .served
            .get(zone)
            .is_some_and(|(zone, _)| zone.is_some());
        let spec = core.zone(zone).map(|view| view.spec);
        let told = spec.is_some_and(|spec| {
            let mut all = spec.notify.iter().chain(spec.sources.iter());
            all.any(|one| one == peer)
        });
        if !serves || !told {
            // Nothing is owed to it any longer, also when it is to be told of the zone later on: of what is there then.
            last.silent = None;
            continue;
        }
        let is_late = |since: &mut Duration| now.saturating_sub(*since) > wait;
        let Some(since) = last.silent.take_if(is_late) else {
            continue;
        };
        if last.told.is_some_and(|told| told >= since) {
            continue;
        }
        if !lost.contains(&peer) {
            late = Some(format!(
                "{name} has not told {peer} again of {zone}, which did not answer at {:.3}",
                since.as_secs_f64()
            ));
        }
    }
    match late {
        Some(message) => Err(Finding::new(Rule::Repeated, message)),
        None => Ok(()),
    }
}

/// How long a zone's SOA lets a secondary wait at most.
fn refresh(zone: &Zone) -> Duration {
    let soa = zone.numbers();
    let seconds = soa.refresh.max(soa.retry).min(86_400);
    Duration::from_secs(seconds.into())
}

/// By how much a wait may be longer, lest all sites do the same at the same moment.
const JITTER: f64 = 1.3;

/// What a question and its answer may take besides.
const SLACK: Duration = Duration::from_secs(30);

/// The greatest distance between two NOTIFYs of the same.
const GREATEST: Duration = Duration::from_secs(60);
