//! Opening the sockets that are listened on.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} ({protocol}): {hint}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// `UDP`, `TCP` or `QUIC`.
    pub protocol: &'static str,
    /// What is wrong and what to do.
    pub hint: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Room for bursts of queries while a thread is busy; the system grants less if its limit is lower.
const RECEIVE_BUFFER: usize = 2 << 20;
/// How long a UDP thread waits before it looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(100);

/// Opens sockets for the UDP threads, all for the same address; the system spreads clients over them.
///
/// # Errors
///
/// When the address cannot be had: nothing stays open.
pub fn udp(addr: SocketAddr, count: usize) -> Result<Vec<UdpSocket>, BindError> {
    let error = |source| explain(addr, "UDP", source);
    let mut sockets = Vec::with_capacity(count);
    let mut addr = addr;
    for _ in 0..count.max(1) {
        let socket = open(addr, Type::DGRAM, Protocol::UDP).map_err(error)?;
        let first = sockets.is_empty();
        // The first one takes the address alone, so that another server on it is found out, and then lets the others
        // in. SO_REUSEPORT before bind would share it with anyone.
        let opened = if first {
            socket
                .bind(&SockAddr::from(addr))
                .and_then(|()| socket.set_reuse_port(true))
        } else {
            socket
                .set_reuse_port(true)
                .and_then(|()| socket.bind(&SockAddr::from(addr)))
        };
        opened.map_err(error)?;
        socket.set_read_timeout(Some(WAIT)).map_err(error)?;
        // Less than was asked for is enough to work.
        drop(socket.set_recv_buffer_size(RECEIVE_BUFFER));
        let socket = UdpSocket::from(socket);
        if first && addr.port() == 0 {
            addr = socket.local_addr().map_err(error)?;
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Opens a socket for connections, ready for tokio.
///
/// # Errors
///
/// When the address cannot be had.
pub fn tcp(addr: SocketAddr) -> Result<TcpListener, BindError> {
    let error = |source| explain(addr, "TCP", source);
    let socket = open(addr, Type::STREAM, Protocol::TCP).map_err(error)?;
    // Or a restart would fail while connections of the last run linger.
    socket.set_reuse_address(true).map_err(error)?;
    socket.bind(&SockAddr::from(addr)).map_err(error)?;
    socket.listen(BACKLOG).map_err(error)?;
    socket.set_nonblocking(true).map_err(error)?;
    Ok(socket.into())
}

/// Opens a socket for QUIC, ready for tokio.
///
/// # Errors
///
/// When the address cannot be had.
pub fn quic(addr: SocketAddr) -> Result<UdpSocket, BindError> {
    let error = |source| explain(addr, "QUIC", source);
    let socket = open(addr, Type::DGRAM, Protocol::UDP).map_err(error)?;
    socket.bind(&SockAddr::from(addr)).map_err(error)?;
    socket.set_nonblocking(true).map_err(error)?;
    // Less than was asked for is enough to work.
    drop(socket.set_recv_buffer_size(RECEIVE_BUFFER));
    Ok(socket.into())
}

fn open(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        // IPv4 has sockets of its own.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn explain(addr: SocketAddr, protocol: &'static str, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or set another address under `[listen]`"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or set a higher port under `[listen]`"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this host has that address; correct it under `[listen]`"
        }
        _ => "the system refuses; see the cause, and `[listen]` in the configuration",
    };
    BindError {
        addr,
        protocol,
        hint,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named_with_what_to_do() {
        let first = udp("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let addr = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), addr);
        let error = udp(addr, 2).unwrap_err().to_string();
        assert!(error.contains(&addr.to_string()), "{error}");
        assert!(error.contains("[listen]"), "{error}");
        let listener = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        tcp(listener.local_addr().unwrap()).unwrap_err();
    }
}
