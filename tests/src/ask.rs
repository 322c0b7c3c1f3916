//! Asking a site as others do: a resolver, another site, an intruder.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use zonemesh_testkit::query;
use zonemesh_transfer::peer::{Options, Peer, Target, Transport};
use zonemesh_transfer::tls::{SiteKey, Trust};
use zonemesh_transfer::tsig::Key;
use zonemesh_zone::Name;

/// RCODEs, as the header has them.
pub mod rcode {
    /// No error.
    pub const NOERROR: u8 = 0;
    /// The server cannot answer: of a zone that has expired, for instance.
    pub const SERVFAIL: u8 = 2;
    /// No such name.
    pub const NXDOMAIN: u8 = 3;
    /// Not for this client.
    pub const REFUSED: u8 = 5;
    /// The server is not authoritative, or the signature is wrong.
    pub const NOTAUTH: u8 = 9;
}

/// The response to one query over UDP: its RCODE and the IPv4 address in its answer, if there is one.
///
/// # Errors
///
/// When no response comes.
pub fn address(server: SocketAddr, name: &str) -> Result<(u8, Option<Ipv4Addr>)> {
    let question = query::question(name, query::qtype::A);
    let response = query::udp(server, &question, PATIENCE)?;
    let answer = response.get(question.len()..).unwrap_or_default();
    let has_answer = response[6..8] != [0, 0];
    // Type A, class IN, any TTL, four octets of RDATA.
    let found = answer
        .windows(14)
        .find(|at| has_answer && at[..4] == [0, 1, 0, 1] && at[8..10] == [0, 4])
        .map(|at| Ipv4Addr::new(at[10], at[11], at[12], at[13]));
    Ok((query::rcode(&response), found))
}

/// The RCODE of the response to one query over UDP.
///
/// # Errors
///
/// When no response comes.
pub fn code(server: SocketAddr, name: &str, qtype: u16) -> Result<u8> {
    let response = query::udp(server, &query::question(name, qtype), PATIENCE)?;
    Ok(query::rcode(&response))
}

/// Sends one message over TLS, with a site's key or without one, signed with TSIG or not, and returns the response.
///
/// # Errors
///
/// When no response comes that can be believed.
pub fn tls(
    server: SocketAddr,
    server_pin: [u8; 32],
    key: Option<&SiteKey>,
    tsig: Option<&Key>,
    message: Vec<u8>,
) -> Result<Vec<u8>> {
    runtime()?.block_on(async {
        let target = Target {
            addr: server,
            source: None,
            transport: Transport::Tls(Trust::Pins(vec![server_pin])),
            tsig: None,
        };
        let peer = Peer::new(target, key, Options::default())?;
        Ok(peer.request_signed(message, tsig, PATIENCE_TLS).await?)
    })
}

/// A runtime for one exchange.
///
/// # Errors
///
/// When the system has no room for one.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

/// A domain name from text.
///
/// # Errors
///
/// When it is none.
pub fn name(text: &str) -> Result<Name> {
    let absolute = format!("{}.", text.trim_end_matches('.'));
    zonemesh_zone::record::parse_name(&absolute).map_err(|error| anyhow!("{text}: {error}"))
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// How long one answer over UDP may take. A site that is not ready is silent, so whoever waits for one asks again soon.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one answer over TLS may take, which always comes.
const PATIENCE_TLS: Duration = Duration::from_secs(30);
