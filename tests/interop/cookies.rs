//! DNS cookies of servers that share a secret (RFC 9018), as those of one anycast address do: what one gives out the others take.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Knot, Named, Nsd, Place, peers_or_skip, query, wait};
use zonemesh_zone::domain::base::Message;
use zonemesh_zone::domain::base::opt::UnknownOptData;

use super::common::*;

const ZONE: &str = "example.com";
const SHARED: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const NEXT: &str = "445536bcd2513298075a5d379663c962";
/// Whom the cookies are for: not the address that tests ask from otherwise, so that answers to it can be limited.
const CLIENT: &str = "127.0.0.77";
/// Response code of a server that wants a good cookie and got none.
const BADCOOKIE: u16 = 23;

/// The secrets, the first of which is given out.
fn secrets(place: &Place, secrets: &[&str]) -> Result<String> {
    let path = place.write("secrets", &(secrets.join("\n") + "\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// Our server, which gives one network an answer a second and truncates the others, but not to those who show a good cookie.
fn us() -> Result<Site> {
    let site = Site::start(|place| {
        place.write("zone", &zone_text(1));
        let path = secrets(place, &[SHARED]).unwrap_or_default();
        format!(
            "cookie-secret-file = \"{path}\"\n{}\
             [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n\
             [rate-limit]\nper-second = 1\nslip = 1\nexempt = [\"127.0.0.1\"]\n",
            site(place)
        )
    })?;
    wait::serial(SOON, site.dns(), ZONE, 1)?;
    Ok(site)
}

struct Answer {
    rcode: u16,
    truncated: bool,
    cookie: Vec<u8>,
}

/// Asks with a cookie.
fn ask(at: SocketAddr, cookie: &[u8]) -> Result<Answer> {
    let mut message = query::question(ZONE, query::qtype::SOA);
    message[11] = 1;
    let len = cookie.len() as u8;
    message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, len + 4, 0, 10, 0, len]);
    message.extend_from_slice(cookie);
    let socket = UdpSocket::bind((CLIENT, 0))?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(SOON))?;
    socket.send(&message)?;
    let mut octets = [0; 4096];
    let len = socket.recv(&mut octets)?;
    let answer = Message::from_slice(&octets[..len])?;
    let opt = answer.opt().context("no OPT record")?;
    let mut options = opt.opt().iter::<UnknownOptData<_>>().flatten();
    let cookie = options.find(|option| option.code().to_int() == 10);
    Ok(Answer {
        rcode: opt.rcode(answer.header()).to_int(),
        truncated: answer.header().tc(),
        cookie: cookie.context("no cookie")?.as_slice().to_vec(),
    })
}

/// A cookie that a server gives out.
fn learn(at: SocketAddr) -> Result<Vec<u8>> {
    let cookie = ask(at, b"8 octets")?.cookie;
    ensure!(cookie.len() == 24 && cookie.starts_with(b"8 octets"));
    Ok(cookie)
}

/// The same, but for one bit of its hash.
fn damaged(cookie: &[u8]) -> Vec<u8> {
    let mut damaged = cookie.to_vec();
    damaged[23] ^= 1;
    damaged
}

/// Whether we take a cookie: nobody has more than one answer a second otherwise.
fn we_take(us: &Site, cookie: &[u8]) -> Result<bool> {
    for _ in 0..50 {
        if ask(us.dns(), cookie)?.truncated {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a server takes a cookie that answers BADCOOKIE to others.
fn strict_takes(at: SocketAddr, cookie: &[u8]) -> Result<bool> {
    let rcode = ask(at, cookie)?.rcode;
    ensure!(rcode == 0 || rcode == BADCOOKIE, "response code {rcode}");
    Ok(rcode == 0)
}

/// Whether a server takes a cookie that gives another one in place of those that are not good.
fn lenient_takes(at: SocketAddr, cookie: &[u8]) -> Result<bool> {
    Ok(ask(at, cookie)?.cookie == cookie)
}

fn shares(
    us: &Site,
    at: SocketAddr,
    they_take: impl Fn(SocketAddr, &[u8]) -> Result<bool>,
) -> Result<()> {
    let (ours, theirs) = (learn(us.dns())?, learn(at)?);
    ensure!(we_take(us, &theirs)?, "we do not take theirs");
    ensure!(!we_take(us, &damaged(&theirs))?, "we take anything");
    ensure!(they_take(at, &ours)?, "they do not take ours");
    ensure!(!they_take(at, &damaged(&ours))?, "they take anything");
    Ok(())
}

fn named(place: &Place, secrets: &[&str]) -> String {
    let zone = place.write("zone", &zone_text(1));
    let secrets: String = secrets
        .iter()
        .map(|secret| format!("cookie-secret \"{secret}\"; "))
        .collect();
    let options = place.named(&format!("{secrets} require-server-cookie yes;"));
    format!("{options}zone \"{ZONE}\" {{ type primary; file \"{zone}\"; check-names ignore; }};\n")
}

#[test]
fn knot_takes_our_cookies_and_we_its() -> Result<()> {
    let peers = peers_or_skip!();
    let us = us()?;
    let knot = Knot::start(&peers, |place| {
        let file = place.write("zone", &zone_text(1));
        format!(
            "{}mod-cookies:\n  - id: shared\n    secret: 0x{SHARED}\n    badcookie-slip: 1\n\
             template:\n  - id: default\n    global-module: mod-cookies/shared\n\
             zone:\n  - domain: {ZONE}\n    file: {file}\n",
            place.knot()
        )
    })?;
    shares(&us, knot.dns(), strict_takes)
}

#[test]
fn nsd_takes_our_cookies_and_we_its() -> Result<()> {
    let peers = peers_or_skip!();
    let us = us()?;
    let nsd = Nsd::start(&peers, |place| {
        let file = place.write("zone", &zone_text(1));
        let more = format!("  answer-cookie: yes\n  cookie-secret: \"{SHARED}\"\n");
        format!(
            "{}zone:\n  name: {ZONE}\n  zonefile: {file}\n",
            place.nsd(&more)
        )
    })?;
    shares(&us, nsd.dns(), lenient_takes)
}

#[test]
fn bind_takes_our_cookies_and_we_its_while_the_secret_is_changed() -> Result<()> {
    let peers = peers_or_skip!();
    let us = us()?;
    let mut bind = Named::start(&peers, |place| named(place, &[SHARED]))?;
    shares(&us, bind.dns(), strict_takes)?;
    let old = learn(bind.dns())?;
    let ours = |all: &[&str]| {
        secrets(us.place(), all)?;
        us.cli_ok(&["config", "reload"])
    };
    let mut theirs = |all: &[&str]| {
        bind.place().write("named.conf", &named(bind.place(), all));
        bind.restart().map(|()| bind.dns())
    };
    // As the reference has it: the new secret is known to all first,
    ours(&[SHARED, NEXT])?;
    ensure!(lenient_takes(us.dns(), &old)?);
    // then given out by all, one after the other,
    let at = theirs(&[NEXT, SHARED])?;
    shares(&us, at, strict_takes)?;
    let new = learn(at)?;
    ours(&[NEXT, SHARED])?;
    shares(&us, at, strict_takes)?;
    ensure!(we_take(&us, &old)? && we_take(&us, &new)?);
    ensure!(!lenient_takes(us.dns(), &old)?, "another one is given out");
    // and at last the old one is forgotten.
    ours(&[NEXT])?;
    let at = theirs(&[NEXT])?;
    shares(&us, at, strict_takes)?;
    ensure!(!we_take(&us, &old)? && we_take(&us, &new)?);
    ensure!(!strict_takes(at, &old)?);
    Ok(())
}
