//! Requests and their answers, delayed, lost and doubled; each end must be whom the other was told to expect.

use super::*;

/// How long a request waits for an answer that does not come.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What the network does to messages.
#[derive(Default)]
pub struct Net {
    /// Of a thousand messages, how many are lost.
    pub loss: u64,
    /// Of a thousand messages, how many come twice.
    pub duplicates: u64,
    /// Who does not reach whom, one way.
    pub cut: BTreeSet<(String, String)>,
    /// Longest delay of a message, in milliseconds.
    pub slowest: u64,
}

/// What a site asks a peer for.
#[derive(Clone)]
pub(super) enum Ask {
    Transfer { apex: Name, have: Option<Zone> },
    Notify { apex: Name, serial: Serial },
    Probe,
    Update(Update),
}

/// # Network
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

    pub(super) fn delay(&mut self) -> Duration {
        let slowest = self.net.slowest * 1000;
        Duration::from_micros(200 + self.below(slowest))
    }

    pub(super) fn lost(&mut self, from: &str, to: &str) -> bool {
        let cut = self.net.cut.contains(&(from.to_owned(), to.to_owned()));
        self.below(1000) < self.net.loss || cut
    }

    pub(super) fn ask(&mut self, host: &str, to: PeerId, kind: &'static str, ask: Ask) {
        *self.host(host).sent.entry(kind).or_default() += 1;
        let epoch = self.hosts[host].epoch;
        let target = match &to {
            PeerId::Foreign(name) => Ok(name.clone()),
            PeerId::Site(site) => match self.hosts[host].members.named(site).cloned() {
                None => {
                    // A core that sends to whom it has not made known yet.
                    *self.host(host).sent.entry("to nobody").or_default() += 1;
                    Err(format!("{site} is not known"))
                }
                Some(member) => self.route(&member),
            },
        };
        match target {
            Err(message) => self.fail(
                host,
                epoch,
                &to,
                &ask,
                &message,
                Duration::from_millis(1),
                true,
            ),
            Ok(target) if self.lost(host, &target) => {
                self.fail(host, epoch, &to, &ask, "no answer in time", TIMEOUT, true);
            }
            Ok(target) => {
                let copies = if self.below(1000) < self.net.duplicates {
                    2
                } else {
                    1
                };
                for _ in 0..copies {
                    let at = self.now + self.delay();
                    let event = Event::Request {
                        from: host.to_owned(),
                        epoch,
                        to: target.clone(),
                        as_peer: to.clone(),
                        ask: ask.clone(),
                    };
                    self.at(at, event);
                }
            }
        }
    }

    /// The machine at a member's address.
    fn route(&mut self, member: &Site) -> Result<String, String> {
        let is_at = |host: &Host, address| host.site.addresses.contains(address);
        for address in &member.addresses {
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

    #[allow(clippy::too_many_arguments)]
    pub(super) fn fail(
        &mut self,
        host: &str,
        epoch: u64,
        from: &PeerId,
        ask: &Ask,
        message: &str,
        after: Duration,
        unreachable: bool,
    ) {
        let failure = Failure {
            message: message.to_owned(),
            unreachable,
            lacks: false,
        };
        let input = match ask.clone() {
            Ask::Transfer { apex, .. } => Input::Transferred {
                apex,
                from: from.clone(),
                result: Err(failure),
                expire: None,
            },
            Ask::Notify { apex, serial } => Input::Notified {
                to: from.clone(),
                apex,
                serial,
                result: Err(failure),
            },
            Ask::Probe => Input::Probed {
                peer: from.clone(),
                result: Err(failure),
            },
            Ask::Update(_) => return,
        };
        let at = self.now + after;
        self.at(
            at,
            Event::Input {
                host: host.to_owned(),
                epoch,
                input: Box::new(input),
            },
        );
    }

    /// A request arrives.
    pub(super) fn serve(&mut self, from: &str, epoch: u64, to: &str, as_peer: PeerId, ask: Ask) {
        if let Some(foreign) = self.foreign.get_mut(to) {
            let input = match ask.clone() {
                Ask::Transfer { apex, have } => {
                    let result = match (foreign.zones.get(&apex), have) {
                        (None, _) => Err(Failure {
                            message: "NOTAUTH".to_owned(),
                            unreachable: false,
                            lacks: true,
                        }),
                        (Some(zone), Some(have)) if !zone.serial().is_after(have.serial()) => {
                            Ok(Got::UpToDate {
                                serial: zone.serial(),
                            })
                        }
                        (Some(zone), _) => Ok(Got::Full(zone.clone())),
                    };
                    Input::Transferred {
                        apex,
                        from: as_peer,
                        result,
                        expire: None,
                    }
                }
                Ask::Notify { apex, serial } => {
                    foreign.notified.push((apex.clone(), serial));
                    Input::Notified {
                        to: as_peer,
                        apex,
                        serial,
                        result: Ok(()),
                    }
                }
                Ask::Probe | Ask::Update(_) => return,
            };
            return self.answer(from, epoch, to, input);
        }
        let Some(state) = self.hosts.get(to).filter(|state| state.core.is_some()) else {
            let what = "connection refused";
            return self.fail(
                from,
                epoch,
                &as_peer,
                &ask,
                what,
                Duration::from_millis(2),
                true,
            );
        };
        let (asker, answerer) = (self.hosts[from].site.clone(), state.site.clone());
        // Mutual authentication: each must be whom the other was told to expect.
        let expected = match &as_peer {
            PeerId::Site(name) => self.hosts[from].members.named(name),
            PeerId::Foreign(_) => None,
        };
        let genuine = expected
            .is_some_and(|member| answerer.pins.iter().any(|pin| member.pins.contains(pin)));
        let asker = self.identify(to, asker.pins[0]);
        let (Ok(asker), true) = (asker, genuine) else {
            let what = "refused: not a member";
            return self.fail(
                from,
                epoch,
                &as_peer,
                &ask,
                what,
                Duration::from_millis(5),
                false,
            );
        };
        let state = &self.hosts[to];
        let wall = self.clock().wall;
        let input = match ask.clone() {
            Ask::Transfer { apex, have } => {
                let served = state.served.get(&apex);
                let expire = served
                    .and_then(|(_, at)| *at)
                    .map(|at| (at - wall).max(0) as u32);
                let result = match served.and_then(|(zone, _)| zone.clone()) {
                    None => Err(Failure {
                        message: "SERVFAIL: not held".to_owned(),
                        unreachable: false,
                        lacks: true,
                    }),
                    Some(zone) => Ok(state.differences(&zone, have)),
                };
                Input::Transferred {
                    apex,
                    from: as_peer,
                    result,
                    expire,
                }
            }
            Ask::Notify { apex, serial } => {
                let heard = Input::Notify {
                    apex: apex.clone(),
                    serial: Some(serial),
                    from: PeerId::Site(asker),
                };
                self.input(to, heard);
                Input::Notified {
                    to: as_peer,
                    apex,
                    serial,
                    result: Ok(()),
                }
            }
            Ask::Probe => {
                let served = state
                    .served
                    .get(&directory())
                    .and_then(|(zone, _)| zone.as_ref());
                Input::Probed {
                    peer: as_peer,
                    result: Ok(served.map(Zone::serial)),
                }
            }
            Ask::Update(update) => {
                if let Err(why) = self.apply_update(to, &update, SiteIdentity::Member(asker)) {
                    self.note(to, &format!("refuses an update of {from}: {why}"));
                }
                return;
            }
        };
        self.answer(from, epoch, to, input);
    }

    pub(super) fn answer(&mut self, to: &str, epoch: u64, from: &str, input: Input) {
        if self.lost(from, to) {
            let failure = Failure {
                message: "no answer in time".to_owned(),
                unreachable: true,
                lacks: false,
            };
            let input = match input {
                Input::Transferred { apex, from, .. } => Input::Transferred {
                    apex,
                    from,
                    result: Err(failure),
                    expire: None,
                },
                Input::Notified {
                    to, apex, serial, ..
                } => Input::Notified {
                    to,
                    apex,
                    serial,
                    result: Err(failure),
                },
                Input::Probed { peer, .. } => Input::Probed {
                    peer,
                    result: Err(failure),
                },
                other => other,
            };
            let at = self.now + TIMEOUT;
            return self.at(
                at,
                Event::Input {
                    host: to.to_owned(),
                    epoch,
                    input: Box::new(input),
                },
            );
        }
        let at = self.now + self.delay();
        self.at(
            at,
            Event::Input {
                host: to.to_owned(),
                epoch,
                input: Box::new(input),
            },
        );
    }
}
