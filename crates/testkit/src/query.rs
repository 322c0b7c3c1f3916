//! Asking without any help: the bytes of a query out, the bytes of the response in.
//!
//! For tests that need to see or send exact messages, and for waiting until a server answers. It knows just enough
//! of RFC 1035 to find a SOA serial; whoever wants more decodes the bytes with a real library.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer on this machine may take, also when it is busy.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Query types that tests name often.
pub mod qtype {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// Name servers.
    pub const NS: u16 = 2;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Mail exchangers.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// Incremental transfer.
    pub const IXFR: u16 = 251;
    /// Full transfer.
    pub const AXFR: u16 = 252;
    /// Which authorities may certify the name.
    pub const CAA: u16 = 257;
}

/// Composes a query in class IN, without EDNS and with a message ID of its own.
///
/// # Panics
///
/// When the name has an empty label or one above 63 bytes; escapes are not understood.
pub fn question(name: &str, qtype: u16) -> Vec<u8> {
    static ID: AtomicU16 = AtomicU16::new(1);
    let mut message = Vec::with_capacity(64);
    message.extend(ID.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    // QR 0, opcode QUERY, RD 0; one question.
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        if name.trim_end_matches('.').is_empty() {
            break;
        }
        assert!((1..=63).contains(&label.len()), "bad label in {name:?}");
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(qtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// Sends a message over UDP and returns the first response with the same message ID.
///
/// # Errors
///
/// When nothing comes within `timeout`, or the port is closed.
pub fn udp(server: SocketAddr, message: &[u8], timeout: Duration) -> Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).context("cannot bind a socket")?;
    socket.connect(server).context("cannot connect a socket")?;
    socket
        .set_read_timeout(Some(timeout))
        .context("cannot set a timeout")?;
    socket
        .send(message)
        .with_context(|| format!("cannot send to {server}"))?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket
            .recv(&mut buffer)
            .with_context(|| format!("no answer from {server} over UDP"))?;
        if length >= 12 && buffer[..2] == message[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

/// Sends a message over TCP and returns one message of the response.
///
/// # Errors
///
/// When the connection is refused or closed, or nothing comes within `timeout`.
pub fn tcp(server: SocketAddr, message: &[u8], timeout: Duration) -> Result<Vec<u8>> {
    let mut stream = connect(server, timeout)?;
    send_framed(&mut stream, message)?;
    receive_framed(&mut stream)
}

/// Opens a TCP connection whose reads and writes give up after `timeout`.
///
/// # Errors
///
/// When nobody listens there.
pub fn connect(server: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, timeout)
        .with_context(|| format!("cannot connect to {server} over TCP"))?;
    stream
        .set_read_timeout(Some(timeout))
        .context("cannot set a timeout")?;
    stream
        .set_write_timeout(Some(timeout))
        .context("cannot set a timeout")?;
    Ok(stream)
}

/// Writes one message with its length before it (RFC 1035 §4.2.2).
///
/// # Errors
///
/// When the message is longer than 65535 bytes or the peer has gone.
pub fn send_framed(stream: &mut impl Write, message: &[u8]) -> Result<()> {
    let length = u16::try_from(message.len()).context("the message is longer than 65535 bytes")?;
    // One write, so that it is one segment.
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).context("cannot send")
}

/// Reads one message with its length before it.
///
/// # Errors
///
/// When the peer closes the connection or is silent.
pub fn receive_framed(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream
        .read_exact(&mut length)
        .context("no message came over TCP")?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream
        .read_exact(&mut message)
        .context("the message was cut off")?;
    Ok(message)
}

/// Asks for a SOA record over UDP and returns its serial; `None` when the response has no such answer.
///
/// # Errors
///
/// When no response comes or it is not a DNS message.
pub fn serial(server: SocketAddr, zone: &str) -> Result<Option<u32>> {
    let response = udp(server, &question(zone, qtype::SOA), TIMEOUT)?;
    soa_serial(&response)
}

/// Returns the RCODE of a response.
///
/// # Panics
///
/// When the message is shorter than a header.
pub fn rcode(response: &[u8]) -> u8 {
    response[3] & 0x0f
}

/// Finds the serial of the first SOA record in the answer section.
///
/// # Errors
///
/// When the message ends early.
pub fn soa_serial(message: &[u8]) -> Result<Option<u32>> {
    let questions = u16_at(message, 4)?;
    let answers = u16_at(message, 6)?;
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    for _ in 0..answers {
        at = skip_name(message, at)?;
        let rtype = u16_at(message, at)?;
        let length = usize::from(u16_at(message, at + 8)?);
        let data = at + 10;
        if rtype == qtype::SOA {
            let serial = skip_name(message, skip_name(message, data)?)?;
            let high = u32::from(u16_at(message, serial)?);
            return Ok(Some(high << 16 | u32::from(u16_at(message, serial + 2)?)));
        }
        at = data + length;
    }
    Ok(None)
}

fn skip_name(message: &[u8], mut at: usize) -> Result<usize> {
    loop {
        match message.get(at) {
            None => bail!("the message ends within a name"),
            Some(0) => return Ok(at + 1),
            Some(length) if *length >= 0xc0 => return Ok(at + 2),
            Some(length) => at += 1 + usize::from(*length),
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Result<u16> {
    match message.get(at..at + 2) {
        Some(bytes) => Ok(u16::from_be_bytes([bytes[0], bytes[1]])),
        None => bail!(
            "the message ends at {} of at least {}",
            message.len(),
            at + 2
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_composed_as_rfc_1035_says() {
        let message = question("a.example.", qtype::SOA);
        assert_eq!(&message[2..12], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&message[12..], b"\x01a\x07example\0\0\x06\0\x01");
        assert_eq!(&question(".", qtype::NS)[12..], b"\0\0\x02\0\x01");
    }

    #[test]
    fn the_serial_is_found_behind_compressed_names() {
        let mut message = question("example", qtype::SOA);
        message[7] = 1;
        message.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x18");
        message.extend(b"\xc0\x0c\xc0\x0c\x01\x02\x03\x04");
        message.extend([0; 16]);
        assert_eq!(soa_serial(&message).unwrap(), Some(0x0102_0304));
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error_or_has_no_serial() {
        let mut message = question("example", qtype::SOA);
        message[7] = 1;
        message.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x18\xc0\x0c\xc0\x0c\x01\x02\x03\x04");
        for length in 0..message.len() {
            assert!(soa_serial(&message[..length]).is_err(), "{length}");
        }
    }
}
