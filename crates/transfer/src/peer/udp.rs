//! Small requests over UDP, for foreign servers: sent again with growing pauses until the time is over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::connection::random_id;
use super::{Options, PeerError, Target};
use crate::message::{Header, set_id};

/// Sends a request from a port of its own and waits for the reply, which is verified and has the request's ID.
pub(super) async fn exchange(
    target: &Target,
    options: &Options,
    message: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>, PeerError> {
    let unreachable = |source: std::io::Error| PeerError::Unreachable {
        target: target.to_string(),
        source: Arc::new(source),
    };
    let deadline = Instant::now() + timeout;
    let source = target.source.unwrap_or(match target.addr {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    let mut pause = FIRST_PAUSE;
    let original = Header::read(message).map_or(0, |header| header.id);
    while Instant::now() < deadline {
        // Another port and another ID each time: a forger has to guess both anew.
        let socket = UdpSocket::bind((source, 0)).await.map_err(unreachable)?;
        socket.connect(target.addr).await.map_err(unreachable)?;
        let mut request = message.to_vec();
        let id = random_id();
        set_id(&mut request, id);
        let mut verifier = target
            .tsig
            .as_ref()
            .map(|key| key.sign_request(&mut request, (options.clock)()));
        socket.send(&request).await.map_err(unreachable)?;
        let until = (Instant::now() + pause).min(deadline);
        let mut buffer = vec![0; 0xFFFF];
        loop {
            let len = match timeout_at(until, socket.recv(&mut buffer)).await {
                Err(_) => break,
                Ok(Ok(len)) => len,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Err(PeerError::Refused {
                        target: target.to_string(),
                    });
                }
                Ok(Err(error)) => return Err(unreachable(error)),
            };
            let reply = &buffer[..len];
            // What is not the answer may be a forger's attempt: keep waiting for the true one.
            if !Header::read(reply).is_some_and(|header| header.is_response() && header.id == id) {
                continue;
            }
            let mut reply = match &mut verifier {
                Some(verifier) => verifier
                    .verify(reply, (options.clock)())
                    .map_err(|source| PeerError::Tsig {
                        target: target.to_string(),
                        source,
                    })?,
                None => reply.to_vec(),
            };
            set_id(&mut reply, original);
            return Ok(reply);
        }
        pause *= 2;
    }
    Err(PeerError::Timeout {
        target: target.to_string(),
        after: timeout,
    })
}

/// Longer than the round trip to anywhere, short against what is waited for in all.
const FIRST_PAUSE: Duration = Duration::from_millis(600);
