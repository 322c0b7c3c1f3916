//! A steady stream of queries, and an account of what became of each.
//!
//! For promises of the kind "under a thousand queries a second, none is lost". It is no benchmark: the rate is that
//! of a busy small server, chosen so that the machine itself loses nothing; where that halts, the stream waits, instead of
//! making good all at once what it could not send.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::query;

/// A running stream of queries; [`finish`](Self::finish) ends it.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    worker: JoinHandle<Result<Account>>,
}

/// What became of the queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Queries sent.
    pub sent: u64,
    /// Responses by RCODE; 0 is NOERROR.
    pub rcodes: HashMap<u8, u64>,
    /// Queries that got no response in time.
    pub lost: u64,
}

impl Load {
    /// Asks `server` over UDP for one name and type, at most `rate` times a second.
    ///
    /// # Errors
    ///
    /// When no socket can be opened.
    ///
    /// # Panics
    ///
    /// When the rate is 0 or above 20,000, where message IDs would repeat before their answers are given up.
    pub fn start(server: SocketAddr, name: &str, qtype: u16, rate: u32) -> Result<Self> {
        assert!(
            (1..=20_000).contains(&rate),
            "a rate of {rate} is out of range"
        );
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot bind a socket")?;
        socket.connect(server).context("cannot connect a socket")?;
        socket
            .set_nonblocking(true)
            .context("cannot make the socket non-blocking")?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let answered = Arc::new(AtomicU64::new(0));
        let mut stream = Stream {
            socket,
            message: query::question(name, qtype),
            interval: Duration::from_secs(1) / rate,
            waiting: HashMap::new(),
            account: Account::default(),
            sent: Arc::clone(&sent),
            answered: Arc::clone(&answered),
        };
        let stopped = Arc::clone(&stop);
        let worker = thread::spawn(move || {
            stream.run(&stopped)?;
            Ok(stream.account)
        });
        Ok(Self {
            stop,
            sent,
            answered,
            worker,
        })
    }

    /// How many queries have been sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many responses have come so far, to wait for the stream to flow.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the stream, waits for what is still due in time, and returns the account.
    ///
    /// # Errors
    ///
    /// When a query could not be sent.
    pub fn finish(self) -> Result<Account> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker
            .join()
            .map_err(|_| anyhow!("the thread that asks has panicked"))?
    }
}

struct Stream {
    socket: UdpSocket,
    message: Vec<u8>,
    interval: Duration,
    /// When each query was sent, by message ID.
    waiting: HashMap<u16, Instant>,
    account: Account,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

impl Stream {
    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.receive();
            let now = Instant::now();
            if due > now || self.is_full(now) {
                thread::sleep(self.interval.min(Duration::from_micros(500)));
                continue;
            }
            due = (due + self.interval).max(now);
            self.send(now)?;
        }
        let ended = Instant::now();
        while !self.waiting.is_empty() && ended.elapsed() < query::TIMEOUT {
            self.receive();
            thread::sleep(Duration::from_micros(500));
        }
        self.account.lost += self.waiting.len() as u64;
        Ok(())
    }

    /// Whether so many answers are due that more queries could overflow a socket. What was lost is waited for no longer.
    fn is_full(&mut self, now: Instant) -> bool {
        if self.waiting.len() >= MOST_DUE {
            let before = self.waiting.len();
            self.waiting
                .retain(|_, sent| now.duration_since(*sent) < query::TIMEOUT);
            self.account.lost += (before - self.waiting.len()) as u64;
        }
        self.waiting.len() >= MOST_DUE
    }

    fn send(&mut self, now: Instant) -> Result<()> {
        let id = self.account.sent as u16;
        self.message[..2].copy_from_slice(&id.to_be_bytes());
        // The ID comes round after 65536 queries, three seconds at least: the one before it is lost.
        if self.waiting.insert(id, now).is_some() {
            self.account.lost += 1;
        }
        self.account.sent += 1;
        self.sent.store(self.account.sent, Ordering::Relaxed);
        // A closed port shows as an error of a later send; that query counts as lost like any other.
        match self.socket.send(&self.message) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => {
                Err(error).context("cannot send a query")
            }
            _ => Ok(()),
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        // An error is "nothing there" or the port being closed; either way the query stays unanswered.
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let response = &buffer[..length];
            if length < 12 {
                continue;
            }
            let id = u16::from_be_bytes([response[0], response[1]]);
            // What nobody waits for any longer has been counted as lost.
            let Some(sent) = self.waiting.remove(&id) else {
                continue;
            };
            if sent.elapsed() < query::TIMEOUT {
                *self
                    .account
                    .rcodes
                    .entry(query::rcode(response))
                    .or_default() += 1;
                self.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                self.account.lost += 1;
            }
        }
    }
}

/// How many answers may be due at once: fewer than the smallest buffer of a socket holds.
const MOST_DUE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net, wait};

    const LIMIT: Duration = Duration::from_secs(10);

    /// A server that returns each query as its own response, but for every n-th.
    fn server(swallow_every: u64) -> SocketAddr {
        let socket = UdpSocket::bind((net::loopback(), 0)).unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            let mut seen = 0;
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                seen += 1;
                if seen % swallow_every != 0 {
                    socket.send_to(&buffer[..length], from).unwrap();
                }
            }
        });
        address
    }

    fn run(swallow_every: u64) -> Account {
        let load = Load::start(server(swallow_every), "a.example", 1, 2000).unwrap();
        wait::until(LIMIT, "a hundred answers", || {
            Ok((load.answered() >= 100).then_some(()))
        })
        .unwrap();
        load.finish().unwrap()
    }

    #[test]
    fn every_answer_is_counted() {
        let account = run(u64::MAX);
        assert_eq!(account.lost, 0);
        assert_eq!(account.rcodes, HashMap::from([(0, account.sent)]));
    }

    #[test]
    fn a_query_without_answer_is_counted_as_lost() {
        let account = run(50);
        assert_eq!(account.lost, account.sent / 50);
    }

    #[test]
    fn a_closed_port_loses_all() {
        let ip = net::loopback();
        let closed = SocketAddr::from((ip, net::free_port(ip).unwrap()));
        let load = Load::start(closed, "a.example", 1, 1000).unwrap();
        wait::until(LIMIT, "ten queries", || {
            Ok((load.sent() >= 10).then_some(()))
        })
        .unwrap();
        let account = load.finish().unwrap();
        assert_eq!(account.lost, account.sent);
    }
}
