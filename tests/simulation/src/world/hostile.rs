//! A machine that was broken into: it sends what it should not, as itself.
//!
//! It cannot do what cryptography prevents, such as to speak for another site. Everything else it may say: what it answers a
//! transfer with is made as messages and taken in by the product's own code, garbage as well as what is well formed and false.

use zonemesh_transfer::outbound::{Content, Response};
use zonemesh_transfer::query::{Question, Request};

use super::network::{Answer, refused};
use super::*;

/// # Hostile machines
impl World {
    /// Lets a site, or a foreign server, be broken into: from now on it tells everybody wild serials, answers transfers with
    /// garbage and with forged zones, and asks for changes of what is others'. Its own core hears nothing of that.
    pub fn make_hostile(&mut self, host: &str) {
        if self.hostile.insert(host.to_owned()) {
            self.note(host, "is broken into");
            let host = host.to_owned();
            self.at(self.now, Event::Mischief { host });
        }
    }

    /// Ends that.
    pub fn make_honest(&mut self, host: &str) {
        if self.hostile.remove(host) {
            self.note(host, "is honest again");
        }
    }

    /// Whether a machine was broken into.
    pub fn is_hostile(&self, host: &str) -> bool {
        self.hostile.contains(host)
    }

    /// Tells somebody something, and soon again.
    pub(super) fn mischief(&mut self, host: String) {
        if !self.hostile.contains(&host) {
            return;
        }
        let up = |machine: &Host| machine.core.is_some();
        let others = self.hosts.iter();
        let others = others.filter(|(name, machine)| **name != host && up(machine));
        let others: Vec<String> = others.map(|(name, _)| name.clone()).collect();
        if !others.is_empty() && self.hosts.get(&host).is_some_and(up) {
            let to = others[self.below(others.len() as u64) as usize].clone();
            let ask = self.false_news(&host, &to);
            let asked = Asked {
                epoch: self.hosts[&host].epoch,
                as_peer: PeerId::Site(self.hosts[&to].site.name.clone()),
                from: host.clone(),
                to,
                ask,
                at: self.now,
                number: 0,
                // Its own core has not asked.
                given_up: true,
            };
            let at = self.now + Duration::from_millis(5);
            self.at(at, Event::Request(asked));
        }
        let at = self.now + Duration::from_millis(100 + self.below(900));
        self.at(at, Event::Mischief { host });
    }

    /// A NOTIFY of a serial that nobody has, or an update of what is not its own.
    fn false_news(&mut self, host: &str, to: &str) -> Ask {
        let me = self.hosts[host].site.clone();
        let other = self.hosts[to].site.clone();
        let zones: Vec<Name> = self.hosts[to].served.keys().cloned().collect();
        let apex = match zones.len() {
            0 => name("nobodys.example"),
            many => zones[self.below(many as u64) as usize].clone(),
        };
        let update = match self.below(10) {
            // Another site with its own key.
            0 => {
                let site = Site {
                    pins: me.pins,
                    ..other.clone()
                };
                request::publish(&directory(), &site, Some(&other))
            }
            // Itself with another role.
            1 => {
                let site = Site {
                    role: Role::CatalogPrimary,
                    ..me.clone()
                };
                request::publish(&directory(), &site, Some(&me))
            }
            // Somebody else's zone, taken or removed. A zone that nobody has yet any member may add.
            2 if self.is_listed(to, &apex) => request::claim_zone(&directory(), &apex, &me.name),
            // What is its own it may give up.
            3 if !self.is_own(host, &apex) => request::release_zone(&directory(), &apex),
            _ => {
                let serial = self.wild_serial(&apex, to);
                return Ask::Notify { apex, serial };
            }
        };
        Ask::Update(update.expect("the names are short"))
    }

    /// Whether the directory of a machine says who is the primary of a zone.
    fn is_listed(&self, host: &str, apex: &Name) -> bool {
        let core = self.hosts.get(host).and_then(|host| host.core.as_ref());
        let read = core.and_then(Core::directory);
        read.is_some_and(|read| read.owners.contains_key(apex))
    }

    /// Whether a machine is the primary of a zone.
    fn is_own(&self, host: &str, apex: &Name) -> bool {
        let spec = self.hosts.get(host).and_then(|host| host.specs.get(apex));
        spec.is_some_and(|spec| spec.primary)
    }

    /// Any serial: near what somebody has, or anywhere.
    fn wild_serial(&mut self, apex: &Name, at: &str) -> Serial {
        let served = self.hosts[at].served.get(apex);
        let serial = served.and_then(|(zone, _)| zone.as_ref());
        let serial = serial.map_or(0, |zone| zone.serial().into_int());
        Serial(match self.below(4) {
            0 => serial.wrapping_add(1 + self.below(1000) as u32),
            1 => serial.wrapping_add(0x7FFF_FFFF),
            2 => serial.wrapping_sub(self.below(1000) as u32),
            _ => self.below(1 << 32) as u32,
        })
    }

    /// That it holds other contents of everything that who asks holds, or newer ones; or sums that mean nothing.
    pub(super) fn false_listing(&mut self, section: Section, asker: &str, newer: bool) -> Listing {
        let core = self.hosts[asker].core.as_ref();
        let held = core.map(|core| core.inventory().list(section));
        let Some(Listing::Zones(mut zones)) = held else {
            return Listing::Sums(Box::new([0; FAN].map(|_: u64| self.below(u64::MAX))));
        };
        for held in &mut zones {
            held.digest = Digest::from_octets([self.below(256) as u8; Digest::LEN]);
            held.authentic = self.below(2) == 0;
            if newer && self.below(2) == 0 {
                held.serial = self.wild_serial(&held.apex, asker);
            }
        }
        Listing::Zones(zones)
    }

    /// What a hostile machine answers.
    pub(super) fn serve_falsely(&mut self, asked: &Asked) -> Option<Result<Answer, Failure>> {
        match &asked.ask {
            Ask::Transfer { apex, have } => {
                let (apex, have) = (apex.clone(), have.clone());
                let expire = [0, 1, u32::MAX][self.below(3) as usize];
                let mut draws = self.fork();
                let lie = Lie {
                    apart: self.lies_apart,
                    own: self.is_own(&asked.to, &apex),
                    expire,
                };
                let me = self.hosts.get(&asked.to).map(|host| host.site.name.clone());
                let result = wire::transfer(&apex, have.clone(), |request| {
                    let seized = match (&have, &me) {
                        (Some(have), Some(me)) => lie.seized(have, me, &mut draws),
                        _ => None,
                    };
                    match seized {
                        Some(zone) => lie.whole(request, zone),
                        None => lie.answer(request, have.as_ref(), &mut draws),
                    }
                });
                Some(match result {
                    Ok((got, expire)) => Ok(Answer::Zone(got, expire)),
                    Err(error) => Err(refused(&error.to_string(), false)),
                })
            }
            // Lies that it has heard.
            Ask::Notify { .. } => Some(Ok(Answer::Heard)),
            Ask::Probe => {
                let serial = self.wild_serial(&directory(), &asked.from);
                let beat = Beat {
                    ahead_ms: [0, i64::MAX, i64::MIN, 86_400_000][self.below(4) as usize],
                    stuck: Duration::from_secs(self.below(1 << 32)),
                    sum: Some(self.below(u64::MAX)),
                };
                Some(Ok(Answer::Serial(Some(serial), beat)))
            }
            Ask::Compare(section) => Some(Ok(Answer::Listing(self.false_listing(
                *section,
                &asked.from,
                true,
            )))),
            Ask::Update(_) | Ask::Soa(_) => None,
        }
    }
}

/// How a machine lies.
struct Lie {
    /// Whether its serials are such as the true versions rarely have.
    apart: bool,
    /// Whether the zone is its own.
    own: bool,
    /// For how long it says that the zone may be served (RFC 7314).
    expire: u32,
}

impl Lie {
    /// The serial of a forged version that is to be after another.
    fn serial(&self, serial: u32) -> u32 {
        match self.apart {
            true => serial.wrapping_add(1023) & !1023,
            false => serial,
        }
    }

    /// A directory in which this site is the writer, by the same epoch or by a later one; sometimes.
    fn seized(&self, have: &Zone, me: &SiteName, draws: &mut Draws) -> Option<Zone> {
        if *have.apex() != directory() || draws.below(2) == 0 {
            return None;
        }
        let read = Directory::read(have);
        let epoch = match draws.below(2) {
            0 => read.epoch.clone(),
            _ => read.epoch.next(me, have.serial()),
        };
        let mut editor = have.edit();
        let there = zonemesh_zone::directory::promote(&mut editor, &read, me, &epoch);
        let serial = have.serial().into_int().wrapping_add(1000);
        editor.set_serial(Serial(self.serial(serial)));
        editor.finish().ok().filter(|_| there.unwrap_or_default())
    }

    /// A zone, in the messages of an AXFR.
    fn whole(&self, request: &Request, zone: Zone) -> Vec<Vec<u8>> {
        let response = Response::with_content(request, zone, Content::Axfr);
        response.with_expire(self.expire).messages().collect()
    }

    /// The messages of a lie.
    fn answer(&self, request: &Request, have: Option<&Zone>, draws: &mut Draws) -> Vec<Vec<u8>> {
        let apex = request.zone.to_string();
        let base = have.map_or(7, |have| have.serial().into_int());
        let forged = |serial: u32, records: usize| {
            let lines: Vec<String> = (0..records.max(1))
                .map(|number| format!("forged{number} 60 IN A 192.0.2.66"))
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            zone(&apex, serial, &lines)
        };
        let whole = |zone: Zone| self.whole(request, zone);
        let after = |more: u32| self.serial(base.wrapping_add(more));
        // Who holds nothing takes any serial.
        let before = |less: u32| match have {
            Some(_) => base.wrapping_sub(less),
            None => self.serial(base.wrapping_sub(less)),
        };
        let steps = |zone: Zone, diffs: Vec<Diff>| {
            let response = Response::with_content(request, zone, Content::Ixfr(diffs));
            let messages: Vec<Vec<u8>> = response.with_expire(self.expire).messages().collect();
            messages
        };
        match draws.below(11) {
            // Octets of no meaning.
            0 => (0..=draws.below(3))
                .map(|_| {
                    let length = draws.below(600);
                    (0..length).map(|_| draws.below(256) as u8).collect()
                })
                .collect(),
            // A message with some bits turned over.
            1 => {
                let mut messages: Vec<Vec<u8>> = whole(forged(after(1), 20));
                for message in &mut messages {
                    for _ in 0..=draws.below(8) {
                        let at = draws.below(message.len() as u64) as usize;
                        message[at] ^= 1 << draws.below(8);
                    }
                }
                messages
            }
            // A transfer without its end.
            2 => {
                let mut messages: Vec<Vec<u8>> = whole(forged(after(1), 3000));
                messages.pop();
                messages
            }
            // An older version, another of the same serial, one far ahead, one as far ahead as can be.
            3 => whole(forged(before(1 + draws.below(1000) as u32), 1)),
            4 => whole(forged(before(0), 2)),
            5 => whole(forged(after(1000), 3)),
            // Its own zone it could take there for good.
            6 if !self.own => whole(forged(base.wrapping_add(0x7FFF_FFFF), 3)),
            // Another zone.
            7 => {
                let other = zone("other.example", base.wrapping_add(1), &[]);
                let request = Request::new(request.id, name("other.example"), Question::Axfr);
                let response = Response::with_content(&request, other, Content::Axfr);
                response.messages().collect()
            }
            // Differences between versions that nobody has.
            8 => {
                let (old, new) = (forged(base, 5), forged(after(1), 1));
                let diff = old.diff(&new);
                steps(new, vec![diff])
            }
            // Hundreds of steps.
            9 => {
                let first = have.cloned().unwrap_or_else(|| forged(base, 1));
                let (mut diffs, mut last) = (Vec::new(), first);
                let count = match self.apart {
                    true => after(300).wrapping_sub(base),
                    false => 300,
                };
                for _ in 0..count {
                    let mut editor = last.edit();
                    editor.set_serial(last.serial().next());
                    let Ok(next) = editor.finish() else {
                        break;
                    };
                    diffs.push(last.diff(&next));
                    last = next;
                }
                steps(last, diffs)
            }
            // That there is nothing new since some serial.
            _ => {
                let serial = base.wrapping_sub(draws.below(3) as u32);
                let response = Response::with_content(request, forged(serial, 1), Content::Soa);
                response.messages().collect()
            }
        }
    }
}
