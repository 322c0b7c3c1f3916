//! What operators have asked for and were told: kept apart from the product, to measure the product by.
//!
//! A request that was answered with success is acknowledged and holds from then on. One that was refused has no effect. One
//! whose site died before it could answer may have been done or not: nobody knows, and either is right.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zonemesh_mesh::core::{Reply, RequestId};
use zonemesh_zone::directory::{Epoch, KeyPin};

use crate::World;

/// Whether something should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It was asked for, and that was acknowledged.
    Yes,
    /// It was removed, and that was acknowledged.
    No,
    /// It was asked for or removed, and nobody knows whether that was done.
    Unsure,
}

/// What one address record of a zone should be.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// What was acknowledged last; `Some(None)` where that was its deletion.
    pub acknowledged: Option<Option<u8>>,
    /// What may have come after that.
    pub unsure: Vec<Option<u8>>,
}

/// What is known of a zone.
#[derive(Clone, Debug)]
pub struct ZoneRecord {
    /// The host that is its primary.
    pub primary: String,
    /// Whether it should be listed.
    pub wanted: Wanted,
    /// Whether somebody has ever asked for its removal.
    pub removal_asked: bool,
    /// Whether it went with its site: the site's tombstone is the consent to that.
    /// How often each host had stopped by then: what a directory before said, one that stops may not know any longer.
    pub with_site: Option<BTreeMap<String, u64>>,
    /// Whether the writer of the latest epoch may not have heard of it: who follows that one lets go of it until its primary
    /// has listed it again.
    pub parted: bool,
    /// Whether in that writer's history an operator has taken it out by mistake, and put it back only later: whoever had not heard
    /// of either sees nothing but the removal.
    pub mistaken: bool,
    /// Whether its primary has it from its configuration.
    pub configured: bool,
    /// Whether a site that has it from others has had something else under the same serial.
    pub falsified: bool,
    /// Its records, by owner name.
    pub values: BTreeMap<String, Value>,
    /// When its primary was last seen to serve it.
    pub alive: Duration,
    /// For how long it may be served without its primary, in seconds.
    pub expire: u64,
}

/// What is known of a site.
#[derive(Clone, Debug)]
pub struct SiteRecord {
    /// Whether it should be a member.
    pub wanted: Wanted,
    /// Whether somebody has ever asked for its removal.
    pub removal_asked: bool,
    /// Whether the writer of the latest epoch may not have heard of it.
    pub parted: bool,
    /// The directory from which on it is removed, and the keys that are trusted no longer.
    pub removed: Option<Removed>,
}

/// Since when a site is removed.
#[derive(Clone, Debug)]
pub struct Removed {
    /// The epoch of the directory that says so, all of its record: another one may have the same number.
    pub epoch: Epoch,
    /// Its serial.
    pub serial: u32,
    /// The keys that the site had.
    pub pins: Vec<KeyPin>,
}

/// A site that an operator has made the writer of directory and catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The epoch that began with that.
    pub epoch: u32,
    /// Its host.
    pub host: String,
    /// Whether that was acknowledged.
    pub sure: bool,
}

impl Writer {
    /// Whether it goes before another: by the later epoch, and of those who were promoted apart from each other by name.
    pub fn outranks(&self, other: &Self) -> bool {
        let rank = |writer: &Self| (writer.epoch, Reverse(writer.host.clone()));
        rank(self) > rank(other)
    }
}

/// What an open request is about.
#[derive(Clone, Debug)]
pub enum About {
    /// A record of a zone.
    Value {
        /// The zone.
        apex: String,
        /// The owner name.
        owner: String,
        /// What it becomes; none where it is deleted.
        value: Option<u8>,
    },
    /// A zone that is made here by command.
    Host {
        /// The zone.
        apex: String,
    },
    /// A zone that is taken out of the directory.
    Release {
        /// The zone.
        apex: String,
        /// Whether its removal had been asked for before.
        asked_before: bool,
    },
    /// A site that is let in.
    Join {
        /// Its host.
        host: String,
    },
    /// A site that is removed, with what becomes of its zones.
    Leave {
        /// Its host.
        host: String,
        /// Who gets its zones; nobody where they go with it.
        heir: Option<String>,
        /// Those of its zones that only another writer lists: of them nothing was said.
        others: Vec<String>,
        /// The keys that it had.
        pins: Vec<KeyPin>,
        /// How often each host had stopped by then.
        stops: BTreeMap<String, u64>,
        /// The epoch of the writer that removes it.
        epoch: Epoch,
    },
    /// A site that becomes the writer.
    Promote {
        /// Who that is.
        host: String,
        /// The epoch that begins.
        epoch: u32,
    },
    /// Something whose outcome makes no difference.
    Else,
}

/// A request that has not been answered yet.
#[derive(Clone, Debug)]
pub struct Open {
    /// Where it was asked.
    pub host: String,
    /// Its number.
    pub request: RequestId,
    /// What it is about.
    pub about: About,
    /// When that host had started by then: an answer from a later start is none.
    pub started: u64,
}

/// All of it.
#[derive(Default)]
pub struct Record {
    /// Zones by name.
    pub zones: BTreeMap<String, ZoneRecord>,
    /// Sites by host.
    pub sites: BTreeMap<String, SiteRecord>,
    /// Whom operators have made the writer, in that order; the first is who founded the mesh.
    pub writers: Vec<Writer>,
    /// Whether there may be sites that have not heard of the latest writer.
    pub split: bool,
    /// Requests that are not answered yet.
    pub open: Vec<Open>,
    /// Zones of which more were taken away at once than the brake lets pass, without anybody's consent.
    pub unconsented: BTreeSet<String>,
    /// Who waits for receipts: where, by which number, and how many have been looked at.
    pub waits: Vec<(String, RequestId, usize)>,
    /// How often each host has stopped.
    pub stops: BTreeMap<String, u64>,
}

impl Record {
    /// Remembers a request.
    pub fn opened(&mut self, host: &str, request: RequestId, about: About) {
        self.open.push(Open {
            host: host.to_owned(),
            request,
            about,
            started: self.stops.get(host).copied().unwrap_or_default(),
        });
    }

    /// Remembers that somebody waits for receipts.
    pub fn opened_wait(&mut self, host: &str, request: RequestId) {
        self.waits.push((host.to_owned(), request, 0));
    }

    /// A host has stopped so often: what it has not answered since the last time, it never will.
    pub fn stopped(&mut self, host: &str, times: u64) {
        if self.stops.get(host).copied().unwrap_or_default() != times {
            self.stops.insert(host.to_owned(), times);
        }
    }

    /// Reads the answers that have come since, in the order in which was asked.
    pub fn look(&mut self, world: &World) -> Vec<About> {
        let mut done = Vec::new();
        for open in std::mem::take(&mut self.open) {
            let replies = world.hosts[&open.host].replies.get(&open.request);
            match replies.and_then(|replies| replies.first()) {
                Some(Reply::Done { serial, .. }) => {
                    self.acknowledged(&open.about, serial.into_int());
                    done.push(open.about);
                }
                Some(_) => self.refused(&open.about),
                None if self.stops.get(&open.host).copied().unwrap_or_default() != open.started => {
                    self.unsure(&open.about);
                }
                None => self.open.push(open),
            }
        }
        done
    }

    fn acknowledged(&mut self, about: &About, serial: u32) {
        match about {
            About::Value { apex, owner, value } => {
                if let Some(zone) = self.zones.get_mut(apex) {
                    let known = zone.values.entry(owner.clone()).or_default();
                    known.acknowledged = Some(*value);
                    known.unsure.clear();
                }
            }
            About::Host { apex } => {
                if let Some(zone) = self.zones.get_mut(apex) {
                    zone.wanted = Wanted::Yes;
                }
            }
            About::Release { apex, .. } => {
                if let Some(zone) = self.zones.get_mut(apex) {
                    zone.wanted = Wanted::No;
                    zone.values.clear();
                }
            }
            About::Join { host } => {
                if let Some(site) = self.sites.get_mut(host) {
                    site.wanted = Wanted::Yes;
                }
            }
            About::Leave {
                host,
                heir,
                others,
                pins,
                stops,
                epoch,
            } => {
                let removed = Removed {
                    epoch: epoch.clone(),
                    serial,
                    pins: pins.clone(),
                };
                self.left(host, heir.as_deref(), others, removed, stops);
            }
            About::Promote { host, epoch } => self.writer_is_sure(host, *epoch),
            About::Else => {}
        }
    }

    fn writer_is_sure(&mut self, host: &str, epoch: u32) {
        let asked = |writer: &&mut Writer| writer.host == host && writer.epoch == epoch;
        if let Some(writer) = self.writers.iter_mut().find(asked) {
            writer.sure = true;
        }
    }

    fn left(
        &mut self,
        host: &str,
        heir: Option<&str>,
        others: &[String],
        removed: Removed,
        stops: &BTreeMap<String, u64>,
    ) {
        if let Some(site) = self.sites.get_mut(host) {
            site.wanted = Wanted::No;
            site.removed = Some(removed);
        }
        let goes =
            |apex: &String, zone: &ZoneRecord| zone.primary == host && !others.contains(apex);
        let zones = self.zones.iter_mut();
        for (_, zone) in zones.filter(|(apex, zone)| goes(apex, zone)) {
            match heir {
                Some(heir) => {
                    zone.primary = heir.to_owned();
                    zone.configured = false;
                }
                None => {
                    zone.wanted = Wanted::No;
                    zone.with_site = Some(stops.clone());
                    zone.values.clear();
                }
            }
        }
    }

    fn refused(&mut self, about: &About) {
        match about {
            // It was never there.
            About::Host { apex } => {
                self.zones.remove(apex);
            }
            About::Release { apex, asked_before } => {
                if let Some(zone) = self.zones.get_mut(apex) {
                    zone.removal_asked &= asked_before;
                    zone.wanted = Wanted::Yes;
                }
            }
            About::Leave { host, .. } => {
                if let Some(site) = self.sites.get_mut(host) {
                    site.removal_asked = false;
                    site.wanted = Wanted::Yes;
                }
            }
            About::Promote { host, epoch } => {
                let asked = Writer {
                    epoch: *epoch,
                    host: host.clone(),
                    sure: false,
                };
                // The same may have been asked for at the other site, too.
                if let Some(at) = self.writers.iter().rposition(|writer| *writer == asked) {
                    self.writers.remove(at);
                }
            }
            _ => {}
        }
    }

    fn unsure(&mut self, about: &About) {
        match about {
            About::Value { apex, owner, value } => {
                if let Some(zone) = self.zones.get_mut(apex) {
                    let known = zone.values.entry(owner.clone()).or_default();
                    known.unsure.push(*value);
                }
            }
            About::Host { apex } | About::Release { apex, .. } => {
                if let Some(zone) = self.zones.get_mut(apex) {
                    zone.wanted = Wanted::Unsure;
                }
            }
            About::Join { host } | About::Leave { host, .. } => {
                if let Some(site) = self.sites.get_mut(host) {
                    site.wanted = Wanted::Unsure;
                }
            }
            About::Promote { .. } | About::Else => {}
        }
    }

    /// The writer that goes before all others, as far as operators know.
    pub fn latest_writer(&self) -> Option<&Writer> {
        let sure = self.writers.iter().filter(|writer| writer.sure);
        sure.reduce(|one, other| if other.outranks(one) { other } else { one })
    }

    /// Whether a site is or was the writer, or may have been.
    pub fn has_written(&self, host: &str) -> bool {
        self.writers.iter().any(|writer| writer.host == host)
    }

    /// Nobody knows any longer whether a change of the directory holds, of which this owner name tells.
    pub fn undecided(&mut self, labels: &[String]) {
        match labels {
            [.., zones] if zones == "_zones" => {
                let apex = labels[..labels.len() - 1].join(".");
                if let Some(zone) = self.zones.get_mut(&apex) {
                    zone.wanted = Wanted::Unsure;
                }
            }
            [site, removed] if removed == "_removed" => self.undecided(std::slice::from_ref(site)),
            [.., site] => {
                if let Some(site) = self.sites.get_mut(site) {
                    site.wanted = Wanted::Unsure;
                }
            }
            [] => {}
        }
    }

    /// Zones that should be there and are changed at this host.
    pub fn zones_of(&self, host: &str) -> Vec<String> {
        let of = |(_, zone): &(&String, &ZoneRecord)| zone.primary == host;
        let mut names: Vec<String> = Vec::new();
        names.extend(self.zones.iter().filter(of).map(|(apex, _)| apex.clone()));
        names
    }
}
