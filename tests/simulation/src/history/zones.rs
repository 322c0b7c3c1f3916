//! What operators do with zones and their records.

use zonemesh_mesh::core::{Change, Input, Reply};
use zonemesh_update::{DirectoryPolicy, SiteIdentity, apply, request};
use zonemesh_zone::directory::Directory;
use zonemesh_zone::{Serial, Zone};

use super::History;
use crate::dice::Dice;
use crate::oracle::{Finding, Rule, receipt_is_true};
use crate::record::{About, Wanted, ZoneRecord};
use crate::{catalog, delete, directory, has, name, own, put, timed_zone};

/// Zones that may be there at the same time, beyond one for each site.
const MORE_ZONES: usize = 8;

/// Times of a zone: refresh, retry, expire. Some expire soon, so that histories see it.
const TIMES: &[(u32, u32, u32)] = &[
    (60, 20, 86_400),
    (30, 10, 300),
    (300, 60, 7_200),
    (20, 5, 900),
];

/// How many of a hundred changes are deletions.
const DELETIONS: u64 = 25;

/// The value that a zone's file has for `h0` when it is first loaded.
const OF_FILE: u8 = 251;

impl History {
    /// One of the zones that may be changed: its name, and the host of its primary, which runs.
    fn zone(&mut self, dice: &mut Dice) -> Option<(String, String)> {
        let zones: Vec<(String, String)> = self
            .record
            .zones
            .iter()
            .filter(|(_, zone)| zone.wanted != Wanted::No)
            .map(|(apex, zone)| (apex.clone(), zone.primary.clone()))
            .collect();
        let (apex, host) = dice.pick(&zones)?.clone();
        self.runs(&host).then_some((apex, host))
    }

    pub(super) fn change(&mut self, dice: &mut Dice) -> bool {
        let Some((apex, host)) = self.zone(dice) else {
            return false;
        };
        let owner = format!("h{}", dice.below(4));
        let value = self.value();
        let value = (!dice.chance(DELETIONS)).then_some(value);
        let (change, what) = match value {
            Some(value) => {
                let what = format!("is to change {owner}.{apex} to 192.0.2.{value}");
                (put(&apex, &owner, value), what)
            }
            None => (
                delete(&apex, &owner),
                format!("is to delete {owner}.{apex}"),
            ),
        };
        self.note(&host, &what);
        let request = self.world.change(&host, change);
        self.record
            .opened(&host, request, About::Value { apex, owner, value });
        true
    }

    /// The zone as it is, with another record and a serial that somebody forgot to raise.
    pub(super) fn edit_file(&mut self, dice: &mut Dice) -> bool {
        let Some((apex, host)) = self.zone(dice) else {
            return false;
        };
        let Some(head) = self.world.core(&host).head(&name(&apex)).cloned() else {
            return false;
        };
        let owner = format!("h{}", dice.below(4));
        let value = self.value();
        let serial = match dice.below(3) {
            0 => head.serial(),
            1 => Serial(
                head.serial()
                    .into_int()
                    .wrapping_sub(1 + dice.below(9) as u32),
            ),
            _ => Serial(1),
        };
        let Some(edited) = edited(&head, &owner, value, serial) else {
            return false;
        };
        self.note(
            &host,
            &format!(
                "loads an edited file of {apex} with serial {serial}, {owner} is 192.0.2.{value}"
            ),
        );
        let request = self.world.change(&host, Change::Replace(edited));
        let value = Some(value);
        self.record
            .opened(&host, request, About::Value { apex, owner, value });
        true
    }

    /// Somebody waits until the newest version of a zone is served everywhere.
    pub(super) fn wait(&mut self, dice: &mut Dice) -> bool {
        let Some((apex, host)) = self.zone(dice) else {
            return false;
        };
        let owner = format!("h{}", dice.below(4));
        let value = self.value();
        let request = self.world.change(&host, put(&apex, &owner, value));
        self.record.opened(
            &host,
            request,
            About::Value {
                apex: apex.clone(),
                owner,
                value: Some(value),
            },
        );
        let Some(head) = self.world.core(&host).head(&name(&apex)) else {
            return false;
        };
        let serial = head.serial();
        self.note(&host, &format!("somebody waits for {serial} of {apex}"));
        let apex = name(&apex);
        let request = self.world.request(&host, |request| Input::Wait {
            request,
            apex,
            serial,
        });
        self.record.opened_wait(&host, request);
        true
    }

    /// Looks at the receipts that have come since.
    pub(super) fn receipts(&mut self) -> Result<(), Finding> {
        for (host, request, seen) in &mut self.record.waits {
            let replies = self.world.hosts[host].replies.get(request);
            for reply in replies.into_iter().flatten().skip(*seen) {
                *seen += 1;
                if let Reply::Receipt(receipt) = reply {
                    // Who has been told that the zone is removed had it before.
                    let apex = receipt.apex.to_string();
                    let zone = self.record.zones.get(apex.trim_end_matches('.'));
                    if zone.is_none_or(|zone| zone.removal_asked || zone.parted) {
                        continue;
                    }
                    receipt_is_true(&self.world, receipt)?;
                }
            }
        }
        Ok(())
    }

    /// In the end each zone can be changed at its primary; all members serve the change within seconds, and say so. Sites that
    /// were removed do not get it.
    pub(super) fn works(&mut self) -> Result<(), Finding> {
        let zones = self.record.zones.iter();
        let zones = zones.filter(|(_, zone)| zone.wanted == Wanted::Yes);
        let zones: Vec<(String, String)> = zones
            .map(|(apex, zone)| (apex.clone(), zone.primary.clone()))
            .collect();
        let mut waits = Vec::new();
        for (apex, host) in &zones {
            let value = self.value();
            let request = self.world.change(host, put(apex, "last", value));
            waits.push((apex, host, request, value));
        }
        self.pass(5_000)?;
        let mut receipts = Vec::new();
        for (apex, host, request, value) in waits {
            let replies = self.world.hosts[host].replies.get(&request);
            let Some(Reply::Done { serial, .. }) = replies.and_then(|replies| replies.first())
            else {
                let message = format!("{host} does not take a change of {apex}: {replies:?}");
                return Err(Finding::new(Rule::Acknowledged, message));
            };
            let (serial, zone) = (*serial, name(apex));
            let wait = |request| Input::Wait {
                request,
                apex: zone,
                serial,
            };
            let request = self.world.request(host, wait);
            self.record.opened_wait(host, request);
            receipts.push((apex, host, request, value));
        }
        self.pass(30_000)?;
        for (apex, host, request, value) in receipts {
            let replies = self.world.hosts[host].replies.get(&request);
            let complete =
                |reply: &Reply| matches!(reply, Reply::Receipt(receipt) if receipt.complete);
            if !replies.is_some_and(|replies| replies.iter().any(complete)) {
                let message = format!("no complete receipt for {apex} at {host} within 30 s");
                return Err(Finding::new(Rule::Receipt, message));
            }
            let gone = self.record.sites.iter();
            let mut gone =
                gone.filter(|(_, site)| site.wanted == Wanted::No && site.removed.is_some());
            let got = gone.find(|(gone, _)| {
                let served = self.world.zone(gone, apex);
                served.is_some_and(|served| has(served, "last", value))
            });
            if let Some((gone, _)) = got {
                let message = format!("{gone} was removed, and still gets {apex}");
                return Err(Finding::new(Rule::Departed, message));
            }
        }
        Ok(())
    }

    /// A zone that is there before anything goes wrong.
    pub(super) fn first_zone(&mut self, host: &str) {
        let (apex, zone) = self.new_zone(u32::MAX - 3, TIMES[0]);
        self.world
            .add_zone(host, zone)
            .expect("nothing has gone wrong yet");
        self.record
            .zones
            .insert(apex, self.zone_record(host, Wanted::Yes, false, TIMES[0]));
    }

    fn new_zone(&mut self, serial: u32, times: (u32, u32, u32)) -> (String, Zone) {
        let apex = format!("z{}.example", self.next_zone);
        self.next_zone += 1;
        let zone = timed_zone(&apex, serial, times, &[]);
        (apex, zone)
    }

    pub(super) fn zone_record(
        &self,
        host: &str,
        wanted: Wanted,
        configured: bool,
        times: (u32, u32, u32),
    ) -> ZoneRecord {
        ZoneRecord {
            primary: host.to_owned(),
            wanted,
            removal_asked: false,
            with_site: None,
            parted: self.record.split,
            mistaken: false,
            configured,
            falsified: false,
            values: Default::default(),
            alive: self.world.now,
            expire: times.2.into(),
        }
    }

    fn room_for_zones(&self) -> bool {
        let there = self
            .record
            .zones
            .values()
            .filter(|zone| zone.wanted != Wanted::No);
        there.count() < self.world.hosts.len() + MORE_ZONES
    }

    /// A zone of the configuration is added to a running site.
    pub(super) fn configure_zone(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if !self.runs(&host) || !self.room_for_zones() {
            return false;
        }
        let apex = format!("z{}.example", self.next_zone);
        self.next_zone += 1;
        let record = self.zone_record(&host, Wanted::Yes, true, TIMES[0]);
        self.record.zones.insert(apex.clone(), record);
        self.note(
            &host,
            &format!("has {apex} in its configuration from now on"),
        );
        let spec = own(&apex, &[]);
        self.world
            .configure(&host, |settings| settings.zones.push(spec));
        self.import(&host);
        true
    }

    /// Loads the files of zones of the configuration of which nothing is held, as a start does.
    pub(super) fn import(&mut self, host: &str) {
        let specs = self.world.hosts[host].settings.zones.clone();
        for spec in specs {
            if self.world.core(host).head(&spec.apex).is_some() {
                continue;
            }
            let apex = spec.apex.to_string().trim_end_matches('.').to_owned();
            let file = timed_zone(&apex, 1, TIMES[0], &["h0 60 IN A 192.0.2.251"]);
            let request = self.world.change(host, Change::Replace(file));
            let about = About::Value {
                apex,
                owner: "h0".to_owned(),
                value: Some(OF_FILE),
            };
            self.record.opened(host, request, about);
        }
    }

    /// A zone is added by command: a new one, or one that was removed.
    pub(super) fn add_zone(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if !self.runs(&host) || !self.room_for_zones() {
            return false;
        }
        let gone = self.record.zones.iter().filter(|(apex, zone)| {
            // Only where nothing of it is left, so that it is one zone and not two.
            let left = |host: &crate::Host| host.disk.zones.contains_key(&name(apex));
            zone.wanted == Wanted::No && !self.world.hosts.values().any(left)
        });
        let gone: Vec<String> = gone.map(|(apex, _)| apex.clone()).collect();
        let times = *dice.pick(TIMES).unwrap_or(&TIMES[0]);
        let again = dice
            .pick(&gone)
            .filter(|_| dice.clone().chance(60))
            .cloned();
        let (apex, zone) = match again {
            Some(apex) => {
                let zone = timed_zone(&apex, 1 + dice.below(5) as u32, times, &[]);
                (apex, zone)
            }
            None => self.new_zone(1 + dice.below(5) as u32, times),
        };
        let mut record = self.zone_record(&host, Wanted::Unsure, false, times);
        record.removal_asked = self.record.zones.contains_key(&apex);
        self.record.zones.insert(apex.clone(), record);
        self.note(&host, &format!("is to be the primary of {apex}"));
        let high_water = self.world.high_water(&host, zone.apex());
        let request = self.world.request(&host, |request| Input::Host {
            request,
            zone,
            high_water,
        });
        self.record.opened(&host, request, About::Host { apex });
        true
    }

    /// What follows from an answer.
    pub(super) fn done(&mut self, about: About) {
        match about {
            // The directory is asked to list it until it does.
            About::Host { apex } => {
                let Some(zone) = self.record.zones.get(&apex) else {
                    return;
                };
                let host = zone.primary.clone();
                if self.runs(&host) {
                    self.world
                        .input(&host, Input::Unlisted { apex: name(&apex) });
                }
            }
            About::Leave { host, .. } => self.note(&host, "has been removed from the mesh"),
            _ => {}
        }
    }

    /// A zone is removed by command at its primary, which sends an UPDATE of the directory to the catalog primary.
    pub(super) fn remove_zone(&mut self, dice: &mut Dice) -> bool {
        let Some((apex, host)) = self.zone(dice) else {
            return false;
        };
        let Some(zone) = self.record.zones.get(&apex) else {
            return false;
        };
        let (Some(writer), Wanted::Yes, false) = (self.writer(), zone.wanted, zone.configured)
        else {
            return false;
        };
        let Ok(update) = request::release_zone(&directory(), &name(&apex)) else {
            return false;
        };
        let asked_before = zone.removal_asked;
        // Who has just added it sees it listed before taking it away.
        let read = self.world.core(&host).directory();
        if !read.is_some_and(|read| read.owners.contains_key(&name(&apex))) {
            return false;
        }
        // One of two writers may not have heard of it.
        let read = self.world.core(&writer).directory();
        if !read.is_some_and(|read| read.owners.contains_key(&name(&apex))) {
            return false;
        }
        let Some(request) = self.updated(&writer, &host, &update) else {
            return false;
        };
        self.note(&host, &format!("{apex} is to be removed"));
        if let Some(zone) = self.record.zones.get_mut(&apex) {
            zone.removal_asked = true;
            zone.wanted = Wanted::Unsure;
        }
        self.record
            .opened(&writer, request, About::Release { apex, asked_before });
        true
    }

    /// An UPDATE of the directory by a member arrives at the catalog primary; its number unless it is refused at once.
    pub(super) fn updated(
        &mut self,
        writer: &str,
        by: &str,
        update: &zonemesh_update::Update,
    ) -> Option<u64> {
        let site = &self.world.hosts[by].site;
        let (me, pin) = (site.name.clone(), *site.pins.first()?);
        let known = by == writer || self.world.hosts[writer].members.with_key(&pin).is_some();
        let head = self.world.core(writer).head(&directory())?.clone();
        if !known {
            return None;
        }
        let read = Directory::read(&head);
        let reserved = [directory(), catalog()];
        let policy = DirectoryPolicy::new(SiteIdentity::Member(me), &read, &reserved);
        let edited = apply(&head, update, &policy).ok()?.zone;
        Some(self.world.put_directory(writer, edited))
    }
}

/// A zone with an address record and a serial.
fn edited(zone: &Zone, owner: &str, value: u8, serial: Serial) -> Option<Zone> {
    let Change::Put(_, rrsets) = put(&zone.apex().to_string(), owner, value) else {
        return None;
    };
    let mut editor = zone.edit();
    for (owner, rrset) in rrsets {
        editor.put(&owner, rrset).ok()?;
    }
    editor.set_serial(serial);
    editor.finish().ok()
}
