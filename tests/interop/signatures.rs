//! TSIG (RFC 8945) with the tools of others: every algorithm, cut signatures, what each refusal says, and updates that are
//! done once however often they come.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use zonemesh_testkit::query::{receive_framed, send_framed};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Peers, Place, net, peers_or_skip, query, servers, wait};

use super::common::*;

const ZONE: &str = "example.com";

/// All that RFC 8945 §6 has, and cut ones; each is a key of this name.
const METHODS: [&str; 7] = [
    "hmac-sha1",
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
    "hmac-sha256-128",
    "hmac-sha512-256",
];

/// A primary that is updated and transferred with each of the keys.
fn primary(place: &Place) -> String {
    place.write("zone", &zone_text(1));
    let mut text = site(place);
    let mut rules = vec![format!("{{ key = \"{KEY}\" }}")];
    for method in METHODS {
        text.push_str(&format!(
            "[[key]]\nname = \"{method}.key\"\nalgorithm = \"{method}\"\nsecret = \"{SECRET}\"\n"
        ));
        rules.push(format!("{{ key = \"{method}.key\" }}"));
    }
    let rules = rules.join(", ");
    text.push_str(&format!(
        "[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nallow-update = [{rules}]\nallow-transfer = [{rules}]\n"
    ));
    text
}

/// Sends an update by `nsupdate` that adds an address.
fn nsupdate(peers: &Peers, at: SocketAddr, words: &[&str], name: &str) -> Result<String> {
    let text = format!(
        "server {} {}\nzone {ZONE}\nupdate add {name}.{ZONE} 60 A 192.0.2.77\nsend\n",
        at.ip(),
        at.port()
    );
    servers::run(peers, "bin/nsupdate", words, &text)
}

fn has(peers: &Peers, us: &Site, name: &str) -> Result<bool> {
    let answer = Dig::new(peers)
        .at(us.dns())
        .query(&format!("{name}.{ZONE}"), "A")?;
    Ok(!answer.data("A").is_empty())
}

#[test]
fn every_algorithm_is_known_whole_and_cut() -> Result<()> {
    let peers = peers_or_skip!();
    let us = Site::start(primary)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    for (number, method) in METHODS.into_iter().enumerate() {
        let key = format!("{method}.key");
        let dig = Dig::new(&peers).at(us.dns()).tsig(method, &key, SECRET);
        let records = dig.transfer(ZONE, "AXFR").context(method)?;
        ensure!(records.len() > 60, "{method}: {records:?}");
        let name = format!("by{number}");
        nsupdate(
            &peers,
            us.dns(),
            &["-y", &format!("{method}:{key}:{SECRET}")],
            &name,
        )
        .context(method)?;
        ensure!(has(&peers, &us, &name)?, "{method}");
        // Knot's tools do not cut.
        if method.matches('-').count() == 1 {
            let kdig = Dig::kdig(&peers).at(us.dns()).tsig(method, &key, SECRET);
            let records = kdig.transfer(ZONE, "AXFR").context(method)?;
            ensure!(records.len() > 60, "kdig with {method}: {records:?}");
        }
    }
    Ok(())
}

#[test]
fn each_refusal_of_a_signature_says_what_is_wrong() -> Result<()> {
    let peers = peers_or_skip!();
    let us = Site::start(primary)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let dig = |method: &str, key: &str, secret: &str, more: &str| -> Result<String> {
        let dig = Dig::new(&peers).at(us.dns()).option("+tcp");
        let dig = dig.tsig(method, key, secret);
        let dig = if more.is_empty() {
            dig
        } else {
            dig.option(more)
        };
        Ok(dig.query(ZONE, "SOA")?.text)
    };
    let told = |text: &str, error: &str| -> Result<()> {
        ensure!(text.contains("NOTAUTH"), "{error}: {text}");
        ensure!(text.contains(error), "{error}: {text}");
        Ok(())
    };
    told(&dig("hmac-sha256", "nobody", SECRET, "")?, "BADKEY")?;
    told(&dig("hmac-sha512", KEY, SECRET, "")?, "BADKEY")?;
    told(&dig("hmac-sha256", KEY, WRONG, "")?, "BADSIG")?;
    told(&dig("hmac-sha256-128", KEY, SECRET, "")?, "BADTRUNC")?;
    // Signed on 2 July 1990; the answer has our time in six octets of other data, and is signed.
    let text = dig("hmac-sha256", KEY, SECRET, "+fuzztime=646972942")?;
    told(&text, "BADTIME 6")?;
    Ok(())
}

/// Stands between a client and us for one message, hands the answer back, and keeps what was asked.
fn capture(
    to: SocketAddr,
    over_tcp: bool,
) -> Result<(SocketAddr, thread::JoinHandle<Result<Vec<u8>>>)> {
    let ip = net::loopback();
    if over_tcp {
        let listener = TcpListener::bind((ip, 0))?;
        let at = listener.local_addr()?;
        let thread = thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            let message = receive_framed(&mut client)?;
            send_framed(&mut client, &query::tcp(to, &message, SOON)?)?;
            client.flush()?;
            Ok(message)
        });
        return Ok((at, thread));
    }
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_read_timeout(Some(SOON))?;
    let at = socket.local_addr()?;
    let thread = thread::spawn(move || {
        let mut buffer = [0; 4096];
        let (len, client) = socket.recv_from(&mut buffer)?;
        let answer = query::udp(to, &buffer[..len], SOON)?;
        socket.send_to(&answer, client)?;
        Ok(buffer[..len].to_vec())
    });
    Ok((at, thread))
}

#[test]
fn a_captured_update_is_not_done_again_over_udp_or_tcp_nor_after_a_restart() -> Result<()> {
    let peers = peers_or_skip!();
    let mut us = Site::start(primary)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    let mut captured = Vec::new();
    for (name, words) in [("udp", vec!["-y", &key]), ("tcp", vec!["-v", "-y", &key])] {
        let (at, thread) = capture(us.dns(), name == "tcp")?;
        nsupdate(&peers, at, &words, name)?;
        let Ok(message) = thread.join() else {
            bail!("the capture of an update over {name} ended early");
        };
        captured.push((name, message?));
        ensure!(has(&peers, &us, name)?, "over {name}");
    }
    // Taken away, to see whether it comes back.
    let text = format!(
        "server {} {}\nzone {ZONE}\nupdate delete udp.{ZONE}\nupdate delete tcp.{ZONE}\nsend\n",
        us.dns().ip(),
        us.dns().port()
    );
    servers::run(&peers, "bin/nsupdate", &["-y", &key], &text)?;
    let serial = serial_at(us.dns(), ZONE)?;
    let refused = |us: &Site| -> Result<()> {
        for (name, message) in &captured {
            for over_tcp in [false, true] {
                let answer = match over_tcp {
                    true => query::tcp(us.dns(), message, SOON)?,
                    false => query::udp(us.dns(), message, SOON)?,
                };
                ensure!(query::rcode(&answer) == 9, "NOTAUTH to {name}: {answer:?}");
            }
            ensure!(!has(&peers, us, name)?, "{name} is back");
        }
        ensure!(serial_at(us.dns(), ZONE)? == serial, "nothing has changed");
        Ok(())
    };
    refused(&us)?;
    assert!(us.log().contains("has come before"));
    us.kill9()?;
    us.restart()?;
    wait::serial(SOON, us.dns(), ZONE, serial)?;
    refused(&us)?;
    // New ones are taken as ever, once the second of the start is over.
    wait::until(SOON, "an update to be taken", || {
        Ok(nsupdate(&peers, us.dns(), &["-y", &key], "later").ok())
    })?;
    assert!(has(&peers, &us, "later")?);
    Ok(())
}
