//! What happens to machines: they stop, hang, slow down, lose their power, and their clocks are wrong.
//!
//! What happens to links is in `network`, what happens to disks in `disk`. All of it is by name and may be called at any
//! moment, whatever state the machine is in.

use super::network::unreachable;
use super::*;

/// # Machines
impl World {
    /// Kills a site's process: what its disk has not finished is lost. Connections to it are refused.
    pub fn kill(&mut self, host: &str) {
        self.stop(host, "is killed");
        for event in self.hung.remove(host).unwrap_or_default() {
            if let Event::Request(asked) = event
                && self.open.remove(&asked.number)
            {
                self.answer(asked, Err(unreachable("connection reset")));
            }
        }
    }

    /// Kills a site and starts it at once.
    pub fn restart(&mut self, host: &str) {
        self.kill(host);
        self.start(host);
    }

    /// Cuts the power of machines: nothing answers at their addresses until they are started again.
    pub fn power_cut(&mut self, hosts: &[&str]) {
        for host in hosts {
            self.lose_power(host);
            self.stop(host, "loses its power");
            self.hung.remove(*host);
            self.host(host).off = true;
        }
    }

    /// Lets a site, or a foreign server, hang with its sockets open: it takes what comes and answers nothing, its timers
    /// stand still. What came meanwhile is looked at when it goes on.
    pub fn hang(&mut self, host: &str) {
        if self.hosts.get(host).is_some_and(|host| host.core.is_none()) {
            return;
        }
        if !self.hung.contains_key(host) {
            self.hung.insert(host.to_owned(), Vec::new());
            self.note(host, "hangs");
        }
    }

    /// Lets what hangs go on.
    pub fn resume(&mut self, host: &str) {
        let Some(waiting) = self.hung.remove(host) else {
            return;
        };
        self.note(host, "goes on");
        for mut event in waiting {
            if let Event::Request(asked) = &mut event {
                asked.given_up |= !self.open.remove(&asked.number);
            }
            self.at(self.now, event);
        }
        if self.hosts.contains_key(host) {
            self.arm(host);
        }
    }

    /// Whether a site or a foreign server hangs.
    pub fn hangs(&self, host: &str) -> bool {
        self.hung.contains_key(host)
    }

    /// Lets messages from and to a site, and its disk, take so many times as long; 1 is as usual.
    pub fn slow(&mut self, host: &str, factor: u32) {
        self.host(host).slowness = factor.max(1);
    }

    fn stop(&mut self, host: &str, what: &str) {
        let now = self.now;
        let state = self.host(host);
        state.stop();
        state.stopped = now;
        self.changes += 1;
        self.note(host, what);
    }

    /// Holds back what is for who hangs; gives back what happens now.
    pub(super) fn unless_hung(&mut self, event: Event) -> Option<Event> {
        if self.hung.is_empty() {
            return Some(event);
        }
        let host = match &event {
            Event::Input { host, .. } | Event::Disk { host, .. } | Event::Wake { host } => host,
            Event::Request(asked) => &asked.to,
            Event::Link { .. } | Event::GiveUp(_) | Event::Mischief { .. } => return Some(event),
        };
        let Some(waiting) = self.hung.get_mut(host) else {
            return Some(event);
        };
        match event {
            // Its core says when it wants to be woken when it goes on.
            Event::Wake { host } => self.host(&host).wake = None,
            Event::Request(mut asked) => {
                self.next += 1;
                asked.number = self.next;
                waiting.push(Event::Request(asked.clone()));
                if !asked.given_up {
                    self.open.insert(asked.number);
                    self.at(asked.deadline(), Event::GiveUp(asked));
                }
            }
            event => waiting.push(event),
        }
        None
    }

    /// Who asked somebody that hangs has waited long enough, unless that went on meanwhile.
    pub(super) fn given_up(&mut self, asked: Asked) {
        if self.open.remove(&asked.number) {
            self.give_up(asked);
        }
    }
}

/// # The end
impl World {
    /// Ends all faults but those that only a person can: links and disks work, nobody hangs or is slow, clocks are right.
    /// Sites that are down stay so.
    pub fn end_faults(&mut self) {
        self.net = Net {
            slowest: 20,
            ..Net::default()
        };
        let names: Vec<String> = self
            .hosts
            .keys()
            .chain(self.foreign.keys())
            .cloned()
            .collect();
        for name in names {
            self.resume(&name);
            self.make_honest(&name);
            if self.hosts.contains_key(&name) {
                self.heal_disk(&name);
                self.slow(&name, 1);
                self.host(&name).slow_disk = 3;
                if self.host(&name).skew != 0 {
                    self.set_clock_skew(&name, 0);
                }
            }
        }
        self.queue.drop_links();
    }
}

/// # Clocks
impl World {
    /// Sets a site's wall clock wrong by so many seconds, ahead when positive. Its monotonic clock does not notice.
    pub fn set_clock_skew(&mut self, host: &str, seconds: i64) {
        let state = self.host(host);
        state.skew = seconds;
        if state.core.is_some() {
            state.ahead = state.ahead.max(seconds);
        }
        self.note(host, &format!("has a clock that is wrong by {seconds} s"));
    }

    /// Lets a site's wall clock jump by so many seconds, ahead when positive, from wherever it is.
    pub fn jump_clock(&mut self, host: &str, seconds: i64) {
        let skew = self.host(host).skew.saturating_add(seconds);
        self.set_clock_skew(host, skew);
    }

    /// The time as a site knows it.
    pub fn clock_of(&self, host: &str) -> Now {
        let now = self.clock();
        Now {
            wall: now.wall.saturating_add(self.hosts[host].skew),
            ..now
        }
    }
}
