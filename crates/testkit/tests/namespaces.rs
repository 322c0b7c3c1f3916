//! Hosts in network namespaces: reachable, deaf, cut off, and gone afterwards. Needs root.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use zonemesh_testkit::netns::{Host, Net};
use zonemesh_testkit::{Knot, Place, namespaces_or_skip, peers_or_skip, query, wait};

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(150);

/// Sends one datagram from a host to a socket of another, and says whether it arrived.
fn arrives(from: &Host, socket: &UdpSocket) -> Result<bool> {
    let to = socket.local_addr()?;
    from.enter(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", to))??;
    socket.set_read_timeout(Some(SHORT))?;
    Ok(socket.recv(&mut [0; 16]).is_ok())
}

#[test]
fn links_are_cut_and_joined_and_lose_packets() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(2)?;
    let [a, b] = net.hosts() else {
        unreachable!("two hosts were asked for")
    };
    let at = SocketAddr::from((b.address(), 5300));
    let socket = b.enter(|| UdpSocket::bind(at))??;
    let joined = || wait::until_eq(LIMIT, "a datagram to arrive", &true, || arrives(a, &socket));
    joined()?;

    b.set_connected(false)?;
    assert!(!arrives(a, &socket).unwrap_or(false));
    b.set_connected(true)?;
    joined()?;

    b.set_loss(1.0)?;
    assert!(!arrives(a, &socket)?);
    b.set_loss(0.0)?;
    joined()?;

    b.set_deaf_to(a, true)?;
    assert!(!arrives(a, &socket)?);
    b.set_deaf_to(a, false)?;
    joined()
}

#[test]
fn a_server_runs_on_one_host_and_is_asked_from_another() -> Result<()> {
    namespaces_or_skip!();
    let peers = peers_or_skip!();
    let net = Net::new(2)?;
    let [a, b] = net.hosts() else {
        unreachable!("two hosts were asked for")
    };
    let knot = b.enter(|| {
        Knot::start_at(&peers, Place::at("knot", b.address())?, |place| {
            let zone = place.write("x.zone", "@ 60 SOA ns h 3 60 60 600 60\n@ 60 NS ns.test.\n");
            format!(
                "{}zone:\n  - domain: example\n    file: {zone}\n",
                place.knot()
            )
        })
    })??;
    let at = knot.dns();
    a.enter(|| wait::serial(LIMIT, at, "example", 3))??;
    // The same address is nobody's out here.
    ensure!(query::udp(at, &query::question("example", 6), SHORT).is_err());
    Ok(())
}

#[test]
fn nothing_is_left_of_a_network_that_was_dropped() -> Result<()> {
    namespaces_or_skip!();
    let net = Net::new(1)?;
    let path = Path::new("/run/netns").join(net.hosts()[0].namespace());
    assert!(path.exists());
    drop(net);
    assert!(!path.exists());
    Ok(())
}
