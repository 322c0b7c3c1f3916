//! Requests and their answers, delayed, overtaken, lost and doubled; each end must be whom the other was told to expect.
//!
//! A request that is lost, or whose answer is, ends for who asked when its patience does; whoever hears of it late all the same
//! acts on it, and what it then answers is heard by nobody.

use super::*;

/// What the network does to messages.
#[derive(Default)]
pub struct Net {
    /// Of a thousand messages, how many are lost.
    pub loss: u64,
    /// Of a thousand messages, how many come twice.
    pub duplicates: u64,
    /// Of a thousand NOTIFYs, how many come once more, up to ten minutes later: whoever has started anew by then hears them.
    pub stale: u64,
    /// Of a thousand messages, how many take up to ten times as long as the slowest, so that others overtake them.
    pub overtaken: u64,
    /// Who does not reach whom, one way: neither requests nor answers arrive.
    pub cut: BTreeSet<(String, String)>,
    /// Whose requests do not reach whom, one way; whose answers do.
    pub cut_requests: BTreeSet<(String, String)>,
    /// Whose answers do not reach whom, one way: requests take effect, and who asked does not hear of it.
    pub cut_answers: BTreeSet<(String, String)>,
    /// Who says of all that it holds, to whoever compares, that its contents are others.
    pub misreports: BTreeSet<String>,
    /// Longest delay of a message, in milliseconds.
    pub slowest: u64,
}

/// What a site asks a peer for.
#[derive(Clone)]
pub(super) enum Ask {
    Transfer {
        apex: Name,
        have: Option<Zone>,
    },
    Notify {
        apex: Name,
        serial: Serial,
    },
    Probe,
    Compare(Section),
    Update(Update),
    /// Its SOA of a zone.
    Soa(Name),
}

/// What a peer answers.
pub(super) enum Answer {
    Zone(Got, Option<u32>),
    Heard,
    Serial(Option<Serial>, Beat),
    Listing(Listing),
    Soa(Serial),
}

/// A request under way.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) from: String,
    /// Of the site that asks: what it asked before it stopped is void.
    pub(super) epoch: u64,
    pub(super) to: String,
    /// Whom it believes that it asks.
    pub(super) as_peer: PeerId,
    pub(super) ask: Ask,
    pub(super) at: Duration,
    /// To tell it from others while it waits at somebody who hangs.
    pub(super) number: u64,
    /// Whether nobody waits for an answer any longer.
    pub(super) given_up: bool,
}

impl Ask {
    /// How long who asks waits for an answer, as in the product.
    fn patience(&self) -> Duration {
        match self {
            Self::Transfer { .. } => Duration::from_secs(10),
            Self::Notify { .. }
            | Self::Probe
            | Self::Compare(_)
            | Self::Update(_)
            | Self::Soa(_) => Duration::from_secs(4),
        }
    }

    /// What the core of who asked hears; nothing of an update, whose outcome shows in the directory.
    fn outcome(&self, peer: &PeerId, result: Result<Answer, Failure>) -> Option<Input> {
        let peer = peer.clone();
        match self.clone() {
            Self::Transfer { apex, .. } => {
                let (result, expire) = match result {
                    Ok(Answer::Zone(got, expire)) => (Ok(got), expire),
                    Ok(_) => return None,
                    Err(failure) => (Err(failure), None),
                };
                Some(Input::Transferred {
                    apex,
                    from: peer,
                    result,
                    expire,
                })
            }
            Self::Notify { apex, serial } => Some(Input::Notified {
                to: peer,
                apex,
                serial,
                result: result.map(|_| ()),
            }),
            Self::Probe => {
                let (result, beat) = match result {
                    Ok(Answer::Serial(serial, beat)) => (Ok(serial), Some(beat)),
                    Ok(_) => return None,
                    Err(failure) => (Err(failure), None),
                };
                Some(Input::Probed { peer, result, beat })
            }
            Self::Compare(section) => Some(Input::Compared {
                peer,
                section,
                result: match result {
                    Ok(Answer::Listing(listing)) => Ok(Some(listing)),
                    Ok(_) => Ok(None),
                    Err(failure) => Err(failure),
                },
            }),
            Self::Update(_) => None,
            Self::Soa(apex) => match result {
                Ok(Answer::Soa(serial)) => Some(Input::Notify {
                    apex,
                    serial: Some(serial),
                    from: peer,
                }),
                _ => None,
            },
        }
    }
}

impl Asked {
    /// When who asked gives up.
    pub(super) fn deadline(&self) -> Duration {
        self.at + self.ask.patience()
    }
}

/// Why nothing came back: nobody was reached.
pub(super) fn unreachable(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        unreachable: true,
        lacks: false,
    }
}

/// Why nothing came back: somebody refused.
pub(super) fn refused(message: &str, lacks: bool) -> Failure {
    Failure {
        message: message.to_owned(),
        unreachable: false,
        lacks,
    }
}

/// # Links
impl World {
    /// Lets no message come from one site to another.
    pub fn cut(&mut self, from: &str, to: &str) {
        self.net.cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Lets no message come between two sites.
    pub fn cut_both(&mut self, one: &str, other: &str) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Loses what one site asks another for. The other can ask it.
    pub fn cut_requests(&mut self, from: &str, to: &str) {
        let link = (from.to_owned(), to.to_owned());
        self.net.cut_requests.insert(link);
    }

    /// Loses what one site answers another, after it has done what it was asked for.
    pub fn cut_answers(&mut self, from: &str, to: &str) {
        let link = (from.to_owned(), to.to_owned());
        self.net.cut_answers.insert(link);
    }

    /// Cuts a site off from all others.
    pub fn isolate(&mut self, host: &str) {
        let names = self.hosts.keys().chain(self.foreign.keys());
        let others: Vec<String> = names.filter(|name| *name != host).cloned().collect();
        for other in others {
            self.cut_both(host, &other);
        }
    }

    /// Lets the link between two sites go down at once, and up and down in turn each time so many milliseconds have passed:
    /// so many times down, in the end up.
    pub fn flap(&mut self, one: &str, other: &str, millis: u64, times: u32) {
        for turn in 0..times * 2 {
            let event = Event::Link {
                one: one.to_owned(),
                other: other.to_owned(),
                up: turn % 2 == 1,
            };
            self.at(self.now + Duration::from_millis(millis) * turn, event);
        }
    }

    /// Mends all links. What the network does to messages otherwise stays.
    pub fn heal_links(&mut self) {
        self.net.cut.clear();
        self.net.cut_requests.clear();
        self.net.cut_answers.clear();
    }

    pub(super) fn link(&mut self, one: String, other: String, up: bool) {
        if up {
            self.net.cut.remove(&(one.clone(), other.clone()));
            self.net.cut.remove(&(other, one));
        } else {
            self.cut_both(&one, &other);
        }
    }
}

/// # Messages
impl World {
    /// How long a message takes.
    fn delay(&mut self, from: &str, to: &str) -> Duration {
        let slowest = self.net.slowest.max(1) * 1000;
        let slowest = match self.below(1000) < self.net.overtaken {
            true => slowest * 10,
            false => slowest,
        };
        let took = Duration::from_micros(200 + self.below(slowest));
        let slowness = |host: &str| self.hosts.get(host).map_or(1, |host| host.slowness);
        took * slowness(from).max(slowness(to))
    }

    fn lost(&mut self, from: &str, to: &str, answer: bool) -> bool {
        let lost = self.below(1000) < self.net.loss;
        let some = match answer {
            true => &self.net.cut_answers,
            false => &self.net.cut_requests,
        };
        if self.net.cut.is_empty() && some.is_empty() {
            return lost;
        }
        let link = (from.to_owned(), to.to_owned());
        lost || self.net.cut.contains(&link) || some.contains(&link)
    }

    /// Sends a request of a site.
    pub(super) fn ask(&mut self, host: &str, to: PeerId, kind: &'static str, ask: Ask) {
        *self.host(host).sent.entry(kind).or_default() += 1;
        let target = match &to {
            PeerId::Foreign(name) => Ok(name.to_string()),
            PeerId::Site(site) => match self.hosts[host].members.named(site).cloned() {
                None => {
                    // A core that sends to whom it has not made known yet.
                    *self.host(host).sent.entry("to nobody").or_default() += 1;
                    Err(format!("{site} is not known"))
                }
                Some(member) => {
                    let met = self.hosts[host].met.get(site).copied();
                    self.route(&member, met)
                }
            },
        };
        let mut asked = Asked {
            from: host.to_owned(),
            epoch: self.hosts[host].epoch,
            to: String::new(),
            as_peer: to,
            ask,
            at: self.now,
            number: 0,
            given_up: false,
        };
        match target {
            Err(message) => self.answer(asked, Err(unreachable(&message))),
            Ok(target) => {
                asked.to = target;
                self.send(asked);
            }
        }
    }

    fn send(&mut self, asked: Asked) {
        let (now, kind, octets) = (self.now, asked.ask.kind(), asked.ask.octets());
        self.host(&asked.from).traffic.sends(now, kind, octets);
        if self.lost(&asked.from, &asked.to, false) {
            return self.give_up(asked);
        }
        let again = self.below(1000) < self.net.duplicates;
        if matches!(asked.ask, Ask::Notify { .. }) && self.below(1000) < self.net.stale {
            let late = Asked {
                given_up: true,
                ..asked.clone()
            };
            let at = self.now + Duration::from_millis(self.below(600_000));
            self.at(at, Event::Request(late));
        }
        for asked in std::iter::repeat_n(asked, if again { 2 } else { 1 }) {
            let at = self.now + self.delay(&asked.from, &asked.to);
            self.at(at, Event::Request(asked));
        }
    }

    /// The machine at a member's address, or where it was met.
    fn route(&mut self, member: &Site, met: Option<IpAddr>) -> Result<String, String> {
        let is_at = |host: &Host, address| host.site.addresses.contains(address);
        for address in member.addresses.iter().chain(&met) {
            let known = self.places.get(address);
            if let Some(known) = known
                && is_at(&self.hosts[known], address)
            {
                return Ok(known.clone());
            }
            let found = self.hosts.iter().find(|(_, host)| is_at(host, address));
            if let Some((name, _)) = found {
                self.places.insert(*address, name.clone());
                return Ok(name.clone());
            }
        }
        Err(format!("{}: nobody is there", member.name))
    }

    /// Sends back what came of a request.
    pub(super) fn answer(&mut self, asked: Asked, result: Result<Answer, Failure>) {
        if asked.given_up {
            return;
        }
        self.count_answer(&asked, &result);
        if self.lost(&asked.to, &asked.from, true) {
            return self.give_up(asked);
        }
        let at = self.now + self.delay(&asked.to, &asked.from);
        if at > asked.deadline() {
            return self.give_up(asked);
        }
        self.tell(at, asked, result);
    }

    fn count_answer(&mut self, asked: &Asked, result: &Result<Answer, Failure>) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&asked.to) {
            let octets = result.as_ref().map_or(0, Answer::octets);
            host.traffic.sends(now, asked.ask.kind(), octets);
        }
        if let Some(host) = self.hosts.get_mut(&asked.from) {
            host.traffic.handles(now);
        }
    }

    /// Nothing will come back.
    pub(super) fn give_up(&mut self, asked: Asked) {
        let at = asked.deadline().max(self.now);
        self.tell(at, asked, Err(unreachable("no answer in time")));
    }

    fn tell(&mut self, at: Duration, asked: Asked, result: Result<Answer, Failure>) {
        if asked.given_up {
            return;
        }
        if let Some(input) = asked.ask.outcome(&asked.as_peer, result) {
            let event = Event::Input {
                host: asked.from,
                epoch: asked.epoch,
                input: Box::new(input),
            };
            self.at(at, event);
        }
    }

    /// A request arrives.
    pub(super) fn serve(&mut self, asked: Asked) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&asked.to) {
            host.traffic.handles(now);
        }
        if self.foreign.contains_key(&asked.to) && self.is_hostile(&asked.to) {
            if let Some(result) = self.serve_falsely(&asked) {
                self.answer(asked, result);
            }
            return;
        }
        if let Some(foreign) = self.foreign.get_mut(&asked.to) {
            if let Some(result) = foreign.serve(&asked.ask) {
                self.answer(asked, result);
            }
            return;
        }
        match self.hosts.get(&asked.to) {
            Some(host) if host.off => return self.give_up(asked),
            Some(host) if host.core.is_some() => {}
            _ => return self.answer(asked, Err(unreachable("connection refused"))),
        }
        // Mutual authentication: each must be whom the other was told to expect.
        let genuine = match &asked.as_peer {
            PeerId::Site(name) => self.hosts[&asked.from].members.named(name),
            PeerId::Foreign(_) => None,
        };
        let shown = &self.hosts[&asked.to].site.pins;
        let genuine =
            genuine.is_some_and(|member| shown.iter().any(|pin| member.pins.contains(pin)));
        let pin = self.hosts[&asked.from].site.pins[0];
        let result = match self.identify(&asked.to, pin) {
            Ok(asker) if genuine => {
                self.meet(&asked, &asker);
                self.serve_member(&asked, asker)
            }
            _ => Some(Err(refused("refused: not a member", false))),
        };
        if let Some(result) = result {
            self.answer(asked, result);
        }
    }

    /// A member calls, proven by its key; perhaps from elsewhere than it is known to be.
    fn meet(&mut self, asked: &Asked, asker: &SiteName) {
        let Some(from) = self.hosts[&asked.from].site.addresses.first().copied() else {
            return;
        };
        let Some(state) = self.hosts.get_mut(&asked.to) else {
            return;
        };
        let known = state.members.named(asker);
        if known.is_some_and(|member| !member.addresses.contains(&from)) {
            state.met.insert(asker.clone(), from);
        }
    }

    /// What a site answers a member of its mesh.
    fn serve_member(&mut self, asked: &Asked, asker: SiteName) -> Option<Result<Answer, Failure>> {
        let to = asked.to.as_str();
        if self.is_hostile(to) {
            return self.serve_falsely(asked);
        }
        if let Some(serial) = self.held_back(to, &asker, &asked.ask) {
            return Some(Ok(Answer::Zone(Got::UpToDate { serial }, None)));
        }
        let state = &self.hosts[to];
        match asked.ask.clone() {
            Ask::Transfer { apex, have } => {
                let served = state.served.get(&apex);
                let expire = served.and_then(|(_, at)| *at);
                let left = |until: Duration| until.saturating_sub(self.now).as_secs();
                let expire = expire.map(|until| u32::try_from(left(until)).unwrap_or(u32::MAX));
                let zone = served.and_then(|(zone, _)| zone.clone());
                Some(match zone {
                    None => Err(refused("SERVFAIL: not held", true)),
                    Some(zone) => state.transfer_out(&zone, have, expire),
                })
            }
            Ask::Notify { apex, serial } => {
                let heard = Input::Notify {
                    apex,
                    serial: Some(serial),
                    from: PeerId::Site(asker),
                };
                self.input(to, heard);
                Some(Ok(Answer::Heard))
            }
            Ask::Probe => {
                let served = state.served.get(&directory());
                let zone = served.and_then(|(zone, _)| zone.as_ref());
                let beat = Beat {
                    ahead_ms: (state.skew - self.hosts[&asked.from].skew).saturating_mul(1000),
                    stuck: Duration::ZERO,
                    sum: state.core.as_ref().map(|core| core.inventory().sum()),
                };
                let serial = zone.map(Zone::serial);
                let beat = match self.net.misreports.contains(to) {
                    true => Beat {
                        sum: Some(self.below(u64::MAX)),
                        ..beat
                    },
                    false => beat,
                };
                Some(Ok(Answer::Serial(serial, beat)))
            }
            Ask::Compare(section) if self.net.misreports.contains(to) => {
                let listing = self.false_listing(section, &asked.from, false);
                Some(Ok(Answer::Listing(listing)))
            }
            Ask::Compare(section) => {
                let core = state.core.as_ref()?;
                // As it would come over the wire.
                let octets = core.inventory().list(section).compose(section);
                let (_, listing) = Listing::parse(&octets).expect("what is composed is read");
                Some(Ok(Answer::Listing(listing)))
            }
            // Sites show their serials by themselves.
            Ask::Soa(_) => None,
            Ask::Update(update) => {
                let taken = self.apply_update(to, &update, SiteIdentity::Member(asker));
                let from = &asked.from;
                match taken {
                    Ok(_) => self.note(to, &format!("takes an update of {from}")),
                    Err(why) => self.note(to, &format!("refuses an update of {from}: {why}")),
                }
                None
            }
        }
    }
}

/// # Holding back
impl World {
    /// Which serial a site is told that it is up to date with, lest it take less than it has.
    fn held_back(&mut self, to: &str, asker: &SiteName, ask: &Ask) -> Option<Serial> {
        let Ask::Transfer {
            apex,
            have: Some(have),
        } = ask
        else {
            return None;
        };
        let (from, serial) = (PeerId::Site(asker.clone()), have.serial());
        if !self.core(to).holds_back(apex, &from, serial) {
            return None;
        }
        let apex = apex.clone();
        let shown = Some(serial);
        self.input(
            to,
            Input::Notify {
                apex,
                serial: shown,
                from,
            },
        );
        shown
    }
}

impl Foreign {
    /// What it answers; nothing to what it does not know.
    fn serve(&mut self, ask: &Ask) -> Option<Result<Answer, Failure>> {
        match ask.clone() {
            Ask::Transfer { apex, have } => Some(match (self.zones.get(&apex), have) {
                (None, _) => Err(refused("NOTAUTH", true)),
                (Some(zone), Some(have)) if !zone.serial().is_after(have.serial()) => {
                    let serial = zone.serial();
                    Ok(Answer::Zone(Got::UpToDate { serial }, None))
                }
                (Some(zone), _) => Ok(Answer::Zone(Got::Full(zone.clone()), None)),
            }),
            Ask::Notify { apex, serial } => {
                self.notified.push((apex, serial));
                Some(Ok(Answer::Heard))
            }
            Ask::Soa(apex) => {
                let zone = self.zones.get(&apex)?;
                Some(Ok(Answer::Soa(zone.serial())))
            }
            Ask::Probe | Ask::Compare(_) | Ask::Update(_) => None,
        }
    }
}
