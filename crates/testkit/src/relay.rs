//! A bad network between two sockets: a relay that delays, swaps, or swallows what passes. Without root.
//!
//! It listens on a UDP and a TCP port and hands everything on to one target. The target sees the relay's address,
//! not the client's.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::net;

/// A running relay; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    delay_ms: AtomicU64,
    swap: AtomicBool,
    black_hole: AtomicBool,
    stop: AtomicBool,
    messages: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Starts a relay to `target`, at a loopback address of its own and from there.
    ///
    /// # Errors
    ///
    /// When no socket can be opened.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let ip = net::loopback();
        let address = SocketAddr::from((ip, net::free_port(ip)?));
        let udp = UdpSocket::bind(address).context("cannot bind the relay's UDP socket")?;
        udp.set_read_timeout(Some(TICK))
            .context("cannot set a timeout")?;
        let tcp = TcpListener::bind(address).context("cannot bind the relay's TCP socket")?;
        tcp.set_nonblocking(true)
            .context("cannot make the TCP socket non-blocking")?;
        let state = Arc::new(State::default());
        let threads = vec![
            thread::spawn({
                let state = Arc::clone(&state);
                move || Datagrams::new(udp, ip, target, &state).run()
            }),
            thread::spawn({
                let state = Arc::clone(&state);
                move || accept(&tcp, target, &state)
            }),
        ];
        Ok(Self {
            address,
            state,
            threads,
        })
    }

    /// Where it listens, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back everything for this long, in each direction.
    pub fn set_delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay_ms.store(millis, Ordering::Relaxed);
    }

    /// Swaps each two datagrams that go the same way: the first waits for the second.
    pub fn set_swap(&self, swap: bool) {
        self.state.swap.store(swap, Ordering::Relaxed);
    }

    /// Swallows datagrams and new connections, and holds what comes over open connections, until set back.
    pub fn set_black_hole(&self, black_hole: bool) {
        self.state.black_hole.store(black_hole, Ordering::Relaxed);
    }

    /// Breaks all open TCP connections.
    pub fn break_connections(&self) {
        for stream in self.state.connections().drain(..) {
            // It may have been closed by its ends already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many datagrams have arrived so far, in both directions, swallowed ones too.
    pub fn datagrams(&self) -> usize {
        self.state.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.break_connections();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a thread of the relay has panicked");
            }
        }
    }
}

impl State {
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which way a datagram goes: to the target on behalf of a client, or back to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Forth(SocketAddr),
    Back(SocketAddr),
}

/// The UDP half: one thread that looks at all sockets in turn.
struct Datagrams<'a> {
    socket: UdpSocket,
    ip: Ipv4Addr,
    target: SocketAddr,
    state: &'a State,
    /// A socket towards the target for each client.
    clients: HashMap<SocketAddr, UdpSocket>,
    /// What is held back, and until when.
    held: Vec<(Instant, Way, Vec<u8>)>,
    /// The first of a pair to be swapped.
    first: HashMap<Way, Vec<u8>>,
}

impl<'a> Datagrams<'a> {
    fn new(socket: UdpSocket, ip: Ipv4Addr, target: SocketAddr, state: &'a State) -> Self {
        Self {
            socket,
            ip,
            target,
            state,
            clients: HashMap::new(),
            held: Vec::new(),
            first: HashMap::new(),
        }
    }

    fn run(mut self) {
        let mut buffer = vec![0; 65_535];
        while !self.state.stopped() {
            if let Ok((length, client)) = self.socket.recv_from(&mut buffer)
                && self.know(client)
            {
                self.arrived(Way::Forth(client), &buffer[..length]);
            }
            let clients: Vec<SocketAddr> = self.clients.keys().copied().collect();
            for client in clients {
                while let Some(Ok(length)) = self.clients.get(&client).map(|s| s.recv(&mut buffer))
                {
                    self.arrived(Way::Back(client), &buffer[..length]);
                }
            }
            self.deliver_due();
        }
    }

    /// Makes the socket towards the target for a new client; false when there is none to be had.
    fn know(&mut self, client: SocketAddr) -> bool {
        if self.clients.contains_key(&client) {
            return true;
        }
        let open = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind((self.ip, 0))?;
            socket.connect(self.target)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => {
                self.clients.insert(client, socket);
                true
            }
            Err(error) => {
                eprintln!("relay: no socket towards {}: {error}", self.target);
                false
            }
        }
    }

    fn arrived(&mut self, way: Way, message: &[u8]) {
        self.state.messages.fetch_add(1, Ordering::Relaxed);
        if self.state.black_hole.load(Ordering::Relaxed) {
            return;
        }
        let due = Instant::now() + self.state.delay();
        if !self.state.swap.load(Ordering::Relaxed) {
            self.held.push((due, way, message.to_owned()));
            return;
        }
        match self.first.remove(&way) {
            None => {
                self.first.insert(way, message.to_owned());
            }
            Some(first) => {
                self.held.push((due, way, message.to_owned()));
                self.held.push((due, way, first));
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        let held = std::mem::take(&mut self.held);
        let (due, held) = held.into_iter().partition(|(when, _, _)| *when <= now);
        self.held = held;
        let due: Vec<(Instant, Way, Vec<u8>)> = due;
        for (_, way, message) in due {
            // A datagram that cannot be sent is lost, as on any network.
            let _ = match way {
                Way::Forth(client) => self.clients.get(&client).map(|s| s.send(&message)),
                Way::Back(client) => Some(self.socket.send_to(&message, client)),
            };
        }
    }
}

/// The TCP half: accepts, and starts two threads for each connection.
fn accept(listener: &TcpListener, target: SocketAddr, state: &Arc<State>) {
    let mut pumps = Vec::new();
    while !state.stopped() {
        match listener.accept() {
            // The client sees its connection closed.
            Ok(_) if state.black_hole.load(Ordering::Relaxed) => {}
            Ok((client, _)) => match join(client, target, state) {
                Ok(pair) => pumps.extend(pair),
                Err(error) => eprintln!("relay: cannot reach {target}: {error:#}"),
            },
            Err(_) => thread::sleep(TICK),
        }
    }
    for pump in pumps {
        if pump.join().is_err() {
            eprintln!("a connection of the relay has panicked");
        }
    }
}

fn join(client: TcpStream, target: SocketAddr, state: &Arc<State>) -> Result<[JoinHandle<()>; 2]> {
    let server = TcpStream::connect_timeout(&target, Duration::from_secs(2))?;
    for stream in [&client, &server] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK * 20))?;
        state.connections().push(stream.try_clone()?);
    }
    let start = |from: &TcpStream, to: &TcpStream| -> Result<JoinHandle<()>> {
        let (from, to, state) = (from.try_clone()?, to.try_clone()?, Arc::clone(state));
        Ok(thread::spawn(move || pump(from, to, &state)))
    };
    Ok([start(&client, &server)?, start(&server, &client)?])
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = [0; 16_384];
    while !state.stopped() {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        // The simulated network's own time, not a wait for something.
        thread::sleep(state.delay());
        while state.black_hole.load(Ordering::Relaxed) && !state.stopped() {
            thread::sleep(TICK);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other side learns that nothing more comes; it may have gone already.
    let _ = to.shutdown(Shutdown::Write);
}

/// How often the relay looks around.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query;

    /// A server that sends back what it gets, once over UDP or for ever over TCP.
    fn echo() -> SocketAddr {
        let ip = net::loopback();
        let address = SocketAddr::from((ip, net::free_port(ip).unwrap()));
        let udp = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                udp.send_to(&buffer[..length], from).unwrap();
            }
        });
        let tcp = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let mut copy = stream.try_clone().unwrap();
                std::io::copy(&mut copy, &mut stream).unwrap_or_default();
            }
        });
        address
    }

    #[test]
    fn messages_pass_over_udp_and_tcp() {
        let relay = Relay::start(echo()).unwrap();
        let message = query::question("a.example", 1);
        let limit = Duration::from_secs(5);
        assert_eq!(
            query::udp(relay.address(), &message, limit).unwrap(),
            message
        );
        assert_eq!(
            query::tcp(relay.address(), &message, limit).unwrap(),
            message
        );
        assert_eq!(relay.datagrams(), 2);
    }

    #[test]
    fn a_delay_holds_both_directions() {
        let relay = Relay::start(echo()).unwrap();
        relay.set_delay(Duration::from_millis(30));
        let started = Instant::now();
        let message = query::question("a.example", 1);
        query::udp(relay.address(), &message, Duration::from_secs(5)).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn a_black_hole_swallows_and_lets_through_again_when_lifted() {
        let relay = Relay::start(echo()).unwrap();
        let message = query::question("a.example", 1);
        relay.set_black_hole(true);
        assert!(query::udp(relay.address(), &message, Duration::from_millis(50)).is_err());
        assert!(query::tcp(relay.address(), &message, Duration::from_millis(50)).is_err());
        relay.set_black_hole(false);
        query::udp(relay.address(), &message, Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn two_messages_are_swapped() {
        let relay = Relay::start(echo()).unwrap();
        relay.set_swap(true);
        let socket = UdpSocket::bind((net::loopback(), 0)).unwrap();
        socket.connect(relay.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        for message in [b"one", b"two"] {
            socket.send(message).unwrap();
        }
        // Swapped on the way there and again on the way back: in order, but the first waited for the second.
        let mut buffer = [0; 16];
        for expected in [b"one", b"two"] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
        socket.send(b"alone").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        assert!(socket.recv(&mut buffer).is_err());
    }

    #[test]
    fn a_broken_connection_is_seen_by_the_client() {
        let relay = Relay::start(echo()).unwrap();
        let mut stream = query::connect(relay.address(), Duration::from_secs(5)).unwrap();
        query::send_framed(&mut stream, b"hello").unwrap();
        assert_eq!(query::receive_framed(&mut stream).unwrap(), b"hello");
        relay.break_connections();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    }
}
