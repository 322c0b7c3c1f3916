//! Sites that move, change their keys, join, are removed, and come back from an old disk.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use zonemesh_update::{DirectoryPolicy, SiteIdentity, apply, request};
use zonemesh_zone::Name;
use zonemesh_zone::directory::{self as names, Departure, Directory, Epoch, KeyPin, Role, Site};

use super::{History, member};
use crate::dice::Dice;
use crate::record::{About, Wanted};
use crate::{catalog, directory, host_name, name};

/// How many sites may join in one history, beyond those that are there at first.
const NEWCOMERS: usize = 4;

impl History {
    /// A site has another address from now on. Not the catalog primary: nobody could ask it for the directory that says so.
    pub(super) fn move_away(&mut self, dice: &mut Dice) -> bool {
        let host = self.member(dice);
        if self.record.has_written(&host) || !self.runs(&host) {
            return false;
        }
        // Nor does one move that would not find the writer any longer, when it has moved.
        let writer = self.record.latest_writer();
        if writer.is_some_and(|writer| !self.is_where(&host, &writer.host)) {
            return false;
        }
        self.next_key = self.next_key.wrapping_add(1);
        let index = self
            .record
            .sites
            .keys()
            .position(|site| *site == host)
            .unwrap_or_default();
        let address = IpAddr::V4(Ipv4Addr::new(198, 51, index as u8, self.next_key));
        self.note(&host, &format!("has the address {address} from now on"));
        self.world.host(&host).site.addresses = vec![address];
        self.world.configure(&host, |settings| {
            if let Some(mesh) = &mut settings.mesh {
                mesh.me.site.addresses = vec![address];
            }
        });
        true
    }

    /// A site makes a new key and shows it when the others know it; then the old one is taken out.
    pub(super) fn roll_key(&mut self, dice: &mut Dice) -> bool {
        let rolling = self
            .rolling
            .iter()
            .find(|host| self.runs(host) && self.new_key_is_known(host));
        if let Some(host) = rolling.cloned() {
            self.rolling.remove(&host);
            let Some(mesh) = &self.world.hosts[&host].settings.mesh else {
                return false;
            };
            let Some(new) = mesh.me.site.pins.last().copied() else {
                return false;
            };
            self.note(
                &host,
                "shows its new key, and the old one is known no longer",
            );
            self.world.host(&host).site.pins = vec![new];
            self.world.configure(&host, |settings| {
                if let Some(mesh) = &mut settings.mesh {
                    mesh.me.site.pins = vec![new];
                }
            });
            return true;
        }
        let host = self.member(dice);
        if self.rolling.contains(&host) || !self.runs(&host) {
            return false;
        }
        let new = self.new_key();
        self.note(&host, "has a second key from now on");
        self.world.configure(&host, |settings| {
            if let Some(mesh) = &mut settings.mesh {
                mesh.me.site.pins.push(new);
            }
        });
        self.rolling.insert(host);
        true
    }

    fn new_key(&mut self) -> KeyPin {
        self.next_key = self.next_key.wrapping_add(1);
        let mut pin = [0xEE; 32];
        pin[0] = self.next_key;
        KeyPin(pin)
    }

    /// Whether every other member that runs knows the key that a site is about to show.
    fn new_key_is_known(&self, host: &str) -> bool {
        let mesh = self.world.hosts[host].settings.mesh.as_ref();
        let Some(new) = mesh.and_then(|mesh| mesh.me.site.pins.last()) else {
            return false;
        };
        let others = self.members().into_iter().filter(|other| other != host);
        // Until the catalog primary has it, nobody has.
        if self.writer().is_none() {
            return false;
        }
        // Who is down hears of it from the catalog primary, of whose own key it can hear from nobody else.
        let writes = self.record.has_written(host);
        others
            .filter(|other| writes || self.runs(other))
            .all(|other| {
                let state = &self.world.hosts[&other];
                state.core.is_some() && state.members.with_key(new).is_some()
            })
    }

    /// A machine joins, or one whose joining failed tries again.
    pub(super) fn join(&mut self, _dice: &mut Dice) -> bool {
        let Some(writer) = self.writer() else {
            return false;
        };
        let waiting = self.record.sites.iter().find(|(host, site)| {
            site.wanted == Wanted::Unsure && !site.removal_asked && !self.is_joining(host)
        });
        let host = match waiting {
            Some((host, _)) => host.clone(),
            None => {
                if self.newcomers() >= NEWCOMERS + self.first_sites / 10 {
                    return false;
                }
                let host = host_name(self.next_site);
                self.next_site += 1;
                self.world.add_host(&host, Vec::new());
                self.welcome(&host, &writer);
                self.world.start(&host);
                let mut site = member();
                site.wanted = Wanted::Unsure;
                self.record.sites.insert(host.clone(), site);
                host
            }
        };
        self.invite(&writer, &host)
    }

    /// What the welcome packet says: who the writer is that has made it, and where.
    fn welcome(&mut self, host: &str, writer: &str) {
        let site = Site {
            role: Role::CatalogPrimary,
            ..self.world.hosts[writer].site.clone()
        };
        if let Some(mesh) = &mut self.world.host(host).settings.mesh {
            mesh.bootstrap = vec![site];
        }
    }

    fn newcomers(&self) -> usize {
        self.next_site.saturating_sub(self.first_sites)
    }

    fn is_joining(&self, host: &str) -> bool {
        let open = &self.record.open;
        open.iter()
            .any(|open| matches!(&open.about, About::Join { host: joining } if joining == host))
    }

    /// Enters a site into the directory, as with a welcome packet.
    pub(super) fn invite(&mut self, writer: &str, host: &str) -> bool {
        let site = self.world.hosts[host].site.clone();
        let head = self.world.core(writer).head(&directory()).cloned();
        let (Some(head), Ok(update)) = (head, request::publish(&directory(), &site, None)) else {
            return false;
        };
        let identity = SiteIdentity::Join {
            site: site.name,
            role: Role::Standard,
            replace: true,
        };
        let read = Directory::read(&head);
        let reserved = [directory(), catalog()];
        let policy = DirectoryPolicy::new(identity, &read, &reserved);
        let Ok(applied) = apply(&head, &update, &policy) else {
            return false;
        };
        if let Some(site) = self.record.sites.get_mut(host) {
            site.parted = self.record.split;
        }
        self.note(writer, &format!("lets {host} in"));
        let request = self.world.put_directory(writer, applied.zone);
        self.record.opened(
            writer,
            request,
            About::Join {
                host: host.to_owned(),
            },
        );
        true
    }

    /// A site is removed. It is down by then: what it would take after that nobody could have.
    pub(super) fn leave(&mut self, dice: &mut Dice) -> bool {
        let members = self.members();
        let host = self.member(dice);
        let (Some(writer), true) = (self.writer(), members.len() > 3) else {
            return false;
        };
        let known = self
            .record
            .sites
            .get(&host)
            .is_some_and(|site| site.wanted == Wanted::Yes);
        let busy = self.record.open.iter().any(|open| open.host == host);
        let zones = self.record.zones_of(&host);
        let configured = zones.iter().any(|apex| self.record.zones[apex].configured);
        if self.record.has_written(&host) || !known || busy || configured {
            return false;
        }
        let heirs: Vec<String> = members
            .into_iter()
            .filter(|heir| *heir != host && self.runs(heir) && self.holds_all(heir, &host, &zones))
            .collect();
        let heir = dice
            .pick(&heirs)
            .filter(|_| !zones.is_empty() && dice.clone().chance(60))
            .cloned();
        self.remove_site(&writer, &host, heir.as_deref())
    }

    /// A site is removed at a writer, with its zones but for those that only another writer lists.
    pub(super) fn remove_site(&mut self, writer: &str, host: &str, heir: Option<&str>) -> bool {
        let Some(head) = self.world.core(writer).head(&directory()).cloned() else {
            return false;
        };
        let read = Directory::read(&head);
        let epoch = read.epoch.clone();
        let site = self.world.hosts[host].site.name.clone();
        // `zonemesh site remove` refuses what the writer has never heard of.
        if !read.sites.contains_key(&site) {
            return false;
        }
        if self.up(host) {
            self.kill(host);
        }
        let pins = read
            .sites
            .get(&site)
            .map(|site| site.pins.clone())
            .unwrap_or_default();
        let departure = match heir {
            Some(heir) => Departure::Adopt(self.world.hosts[heir].site.name.clone()),
            None => Departure::Remove,
        };
        let at = self.world.clock().wall;
        let mut editor = head.edit();
        if names::remove_site(&mut editor, &read, &site, &departure, at).is_err() {
            return false;
        }
        let Ok(edited) = editor.finish() else {
            return false;
        };
        let to = heir.map_or("its zones go with it".to_owned(), |heir| {
            format!("{heir} gets its zones")
        });
        self.note(writer, &format!("removes {host}; {to}"));
        if let Some(record) = self.record.sites.get_mut(host) {
            record.removal_asked = true;
            record.wanted = Wanted::Unsure;
        }
        let elsewhere = self.listed_by_others(&epoch);
        let is_other = |apex: &String| {
            let apex = name(apex);
            !read.owners.contains_key(&apex) && elsewhere.contains(&apex)
        };
        let (others, zones): (Vec<String>, Vec<String>) =
            self.record.zones_of(host).into_iter().partition(is_other);
        if heir.is_none() {
            for apex in &zones {
                if let Some(zone) = self.record.zones.get_mut(apex) {
                    zone.removal_asked = true;
                }
            }
        }
        let request = self.world.put_directory(writer, edited);
        // Whoever stops from now on may have heard of it by halves.
        let leave = About::Leave {
            host: host.to_owned(),
            heir: heir.map(str::to_owned),
            others,
            pins,
            stops: self.record.stops.clone(),
            epoch,
        };
        self.record.opened(writer, request, leave);
        true
    }

    /// The zones in the directories of other writers than that of an epoch, as far as anybody has one on disk.
    fn listed_by_others(&self, epoch: &Epoch) -> BTreeSet<Name> {
        let hosts = self.world.hosts.values();
        let stored = hosts.filter_map(|host| host.disk.zones.get(&directory()));
        let read = stored.map(|stored| Directory::read(&stored.zone));
        let others = read.filter(|read| read.epoch != *epoch);
        others.flat_map(|read| read.owners.into_keys()).collect()
    }

    /// Whether a host has the newest version of zones that another is primary of.
    fn holds_all(&self, heir: &str, host: &str, zones: &[String]) -> bool {
        let newest = |at: &str, apex: &str| {
            let stored = self.world.hosts[at].disk.zones.get(&name(apex));
            stored.map(|stored| stored.zone.serial())
        };
        zones.iter().all(|apex| {
            let theirs = newest(heir, apex);
            theirs.is_some() && theirs == newest(host, apex)
        })
    }

    /// The old disk of a site that was removed boots, or is switched off again.
    pub(super) fn old_disk(&mut self, dice: &mut Dice) -> bool {
        let gone = self
            .record
            .sites
            .iter()
            .filter(|(_, site)| site.wanted == Wanted::No);
        let gone: Vec<String> = gone.map(|(host, _)| host.clone()).collect();
        let Some(host) = dice
            .pick(&gone)
            .filter(|host| self.stranger.as_ref() != Some(*host))
        else {
            return false;
        };
        match self.up(host) {
            true => self.kill(host),
            false => self.start(host),
        }
        true
    }
}
