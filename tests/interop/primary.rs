//! Foreign servers as primaries to us: AXFR, IXFR after a change there, NOTIFY, TSIG, TLS, and what goes wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{
    Certificate, Dig, Knot, Named, Nsd, Peers, Place, PowerDns, peers_or_skip, query, servers, wait,
};
use zonemesh_transfer::outbound::Response;
use zonemesh_transfer::query::Request;
use zonemesh_transfer::tls::SiteKey;

use crate::common::*;
use crate::tried::{Row, Server, kinds, tried};

const ZONE: &str = "example.com";

/// Our side as the secondary of the peer.
fn secondary(place: Place, address: SocketAddr, how: &str, zone: &str) -> Result<Site> {
    Site::start_at(place, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{address}\"\n{how}\n\
             [[zone]]\nname = \"{zone}\"\nprimaries = [\"peer\"]\nallow-transfer = [\"127.0.0.0/8\"]\n",
            site(place)
        )
    })
}

/// Adds an address there, by UPDATE.
fn update(peers: &Peers, at: SocketAddr, zone: &str, address: &str) -> Result<()> {
    let text = format!(
        "server {} {}\nzone {zone}\nupdate delete new.{zone} A\nupdate add new.{zone} 60 A {address}\nsend\n",
        at.ip(),
        at.port()
    );
    servers::run(
        peers,
        "bin/nsupdate",
        &["-y", &format!("hmac-sha256:{KEY}:{SECRET}")],
        &text,
    )
    .map(drop)
}

/// The zone arrives, changes follow by NOTIFY and IXFR, and both sides have the same.
pub fn follows(us: &Site, at: SocketAddr, peers: &Peers) -> Result<()> {
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let dig = Dig::new(peers).at(at);
    assert_same(us, &dig, ZONE)?;
    for address in ["192.0.2.200", "192.0.2.201"] {
        update(peers, at, ZONE, address)?;
        let serial = serial_at(at, ZONE)?;
        wait::serial(SOON, us.dns(), ZONE, serial)?;
        let answer = Dig::new(peers).at(us.dns()).query("new.example.com", "A")?;
        assert_eq!(answer.data("A"), [address]);
    }
    assert_same(us, &dig, ZONE)?;
    // What we send on is what we got.
    let sent_on = transferred(&Dig::new(peers).at(us.dns()), ZONE)?;
    assert!(sent_on.same_contents(&transferred(&dig, ZONE)?));
    let kinds = transfers(us, "in");
    ensure!(us.log().contains("\"NOTIFY\""), "no NOTIFY:\n{}", us.log());
    ensure!(
        kinds.iter().any(|line| line.contains("\"AXFR\"")),
        "{kinds:#?}"
    );
    ensure!(
        kinds.iter().any(|line| line.contains("\"IXFR\"")),
        "{kinds:#?}"
    );
    Ok(())
}

/// Knot with the zone; it notifies us at this address.
pub fn knot_primary(peers: &Peers, place: Place, us: &str, more: &str, acl: &str) -> Result<Knot> {
    Knot::start_at(peers, place, |place| {
        let file = place.write("zone", &zone_text(1));
        format!(
            "{}{more}{}  - id: update\n    address: 127.0.0.0/8\n    key: {KEY}\n    action: update\n\
             remote:\n  - id: us\n    via: {}\n{us}zone:\n  - domain: {ZONE}\n    file: {file}\n    notify: us\n    acl: [{acl}]\n",
            place.knot(),
            knot_access(place, SECRET),
            place.address()
        )
    })
}

#[test]
fn knot_is_primary_to_us_with_tsig() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let remote = format!(
        "    address: {}@{}\n    key: {KEY}\n",
        ours.address(),
        ours.port()
    );
    let knot = knot_primary(&peers, Place::new("knot")?, &remote, "", "us, look, update")?;
    let us = secondary(ours, knot.dns(), &format!("tsig-key = \"{KEY}\""), ZONE)?;
    follows(&us, knot.dns(), &peers)?;
    tried(&peers, Server::Knot, Row::Primary, &kinds(&us, "in"))
}

#[test]
fn knot_is_primary_to_us_over_tls_with_its_key_pinned() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let place = Place::new("knot")?;
    let certificate = Certificate::make(&peers, &place, "knot.test")?;
    let remote = format!(
        "    address: {}@{}\n    tls: on\n",
        ours.address(),
        ours.tls_port()
    );
    let more = format!(
        "server:\n  cert-file: {}\n  key-file: {}\n",
        certificate.cert_file, certificate.key_file
    );
    let knot = knot_primary(&peers, place, &remote, &more, "look, update")?;
    let tls = knot.place().tls();
    let us = secondary(ours, tls, &format!("tls = \"{}\"", certificate.tlsa), ZONE)?;
    follows(&us, knot.dns(), &peers)?;
    tried(&peers, Server::Knot, Row::PrimaryTls, &kinds(&us, "in"))
}

#[test]
fn a_primary_with_another_key_than_the_pinned_one_is_refused() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let place = Place::new("knot")?;
    let certificate = Certificate::make(&peers, &place, "knot.test")?;
    let remote = format!(
        "    address: {}@{}\n    tls: on\n",
        ours.address(),
        ours.tls_port()
    );
    let more = format!(
        "server:\n  cert-file: {}\n  key-file: {}\n",
        certificate.cert_file, certificate.key_file
    );
    let knot = knot_primary(&peers, place, &remote, &more, "look, update")?;
    let another = "0c72ac70b745ac19998811b131d662c9ac69dbdbe7cb23e5b514b56664c5d3d6";
    let us = secondary(
        ours,
        knot.place().tls(),
        &format!("tls = \"{another}\""),
        ZONE,
    )?;
    let status = status_with(&us, &["peer", another.split_at(16).0])?;
    assert!(query::serial(us.dns(), ZONE)?.is_none(), "{status}");
    Ok(())
}

fn named_primary(
    peers: &Peers,
    place: Place,
    tls: Option<&Certificate>,
    notify: &str,
) -> Result<Named> {
    Named::start_at(peers, place, |place| {
        place.write("zone", &zone_text(1));
        let (listen, block) = match tls {
            None => (String::new(), String::new()),
            Some(certificate) => (
                format!(
                    "listen-on port {} tls own {{ {}; }};",
                    place.tls_port(),
                    place.address()
                ),
                format!(
                    "tls \"own\" {{ cert-file \"{}\"; key-file \"{}\"; }};\n",
                    certificate.cert_file, certificate.key_file
                ),
            ),
        };
        format!(
            "{}{}{block}zone \"{ZONE}\" {{ type primary; file \"zone\"; check-names ignore; notify explicit; also-notify {{ {notify} }}; \
             allow-transfer {{ any; }}; allow-update {{ key \"{KEY}\"; }}; }};\n",
            place.named(&listen),
            named_key(SECRET),
        )
    })
}

#[test]
fn named_is_primary_to_us_with_tsig() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let notify = format!("{} port {} key {KEY};", ours.address(), ours.port());
    let named = named_primary(&peers, named_place()?, None, &notify)?;
    let us = secondary(ours, named.dns(), &format!("tsig-key = \"{KEY}\""), ZONE)?;
    follows(&us, named.dns(), &peers)?;
    tried(&peers, Server::Bind, Row::Primary, &kinds(&us, "in"))
}

#[test]
fn named_is_primary_to_us_over_tls_with_its_key_pinned() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let place = named_place()?;
    let certificate = Certificate::make(&peers, &place, "named.test")?;
    let notify = format!("{} port {} tls own;", ours.address(), ours.tls_port());
    let named = named_primary(&peers, place, Some(&certificate), &notify)?;
    let tls = named.place().tls();
    // BIND shows no certificate to servers that it does not verify: that a NOTIFY may come from there has to be said.
    let us = Site::start_at(ours, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{tls}\"\ntls = \"{}\"\n[[zone]]\nname = \"{ZONE}\"\n\
             primaries = [\"peer\"]\nallow-transfer = [\"127.0.0.0/8\"]\nallow-notify = [\"127.0.0.1\"]\n",
            site(place),
            certificate.tlsa
        )
    })?;
    follows(&us, named.dns(), &peers)?;
    tried(&peers, Server::Bind, Row::PrimaryTls, &kinds(&us, "in"))
}

/// Waits until `zonemesh status` says all of this.
fn status_with(us: &Site, words: &[&str]) -> Result<String> {
    let mut last = String::new();
    let found = wait::until(SOON, &format!("status to say {words:?}"), || {
        let output = us.cli(&["status", "--json"])?;
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(words.iter().all(|word| last.contains(word)).then_some(()))
    });
    found.with_context(|| last.clone())?;
    Ok(last)
}

#[test]
fn a_primary_that_does_not_know_our_tsig_key_gives_nothing_and_status_says_why() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let place = Place::new("knot")?;
    let remote = format!("    address: {}@{}\n", ours.address(), ours.port());
    let knot = Knot::start_at(&peers, place, |place| {
        let file = place.write("zone", &zone_text(1));
        format!(
            "{}{}remote:\n  - id: us\n{remote}zone:\n  - domain: {ZONE}\n    file: {file}\n    acl: us\n",
            place.knot(),
            knot_access(place, WRONG),
        )
    })?;
    let us = secondary(ours, knot.dns(), &format!("tsig-key = \"{KEY}\""), ZONE)?;
    let status = status_with(&us, &["peer", "BADSIG"])?;
    assert!(query::serial(us.dns(), ZONE)?.is_none(), "{status}");
    tried(&peers, Server::Knot, Row::PrimaryWrongKey, "told in status")
}

/// A primary that offers a newer version and hangs up in the middle of its transfer.
fn break_off(listener: TcpListener, zone: zonemesh_zone::Zone) -> Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut message = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut message)?;
            let Ok(request) = Request::parse(&message) else {
                break;
            };
            let response = Response::new(&request, zone.clone(), |_| None);
            let first = response.messages().next().context("a first message")?;
            stream.write_all(&(first.len() as u16).to_be_bytes())?;
            stream.write_all(&first)?;
            if !matches!(request.question, zonemesh_transfer::query::Question::Soa) {
                break;
            }
        }
    }
    Ok(())
}

#[test]
fn a_transfer_that_breaks_off_leaves_the_old_version_serving_and_status_says_why() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let mut knot = Knot::start_at(&peers, Place::new("knot")?, |place| {
        let file = place.write("zone", &zone_text(1));
        format!(
            "{}{}zone:\n  - domain: {ZONE}\n    file: {file}\n    acl: look\n",
            place.knot(),
            knot_access(place, SECRET)
        )
    })?;
    let us = secondary(ours, knot.dns(), "", ZONE)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let at = knot.dns();
    knot.kill_hard()?;
    let listener = TcpListener::bind(at)?;
    let mut text = zone_text(9);
    for host in 0..9000 {
        text.push_str(&format!("more{host} TXT \"{host:0200}\"\n"));
    }
    let large = zone_of(ZONE, &text)?;
    let notify = Request::compose_notify(7, &large.soa_record());
    // Ends with the test's process: it waits for connections that do not come.
    std::thread::spawn(move || break_off(listener, large));
    UdpSocket::bind((at.ip(), 0))?.send_to(&notify, us.dns())?;
    let status = status_with(&us, &["peer", "broke off"])?;
    assert_eq!(serial_at(us.dns(), ZONE)?, 1, "{status}");
    Ok(())
}

#[test]
fn a_primary_in_bind_that_does_not_know_our_tsig_key_gives_nothing_and_status_says_why()
-> Result<()> {
    let peers = peers_or_skip!();
    let named = Named::start_at(&peers, named_place()?, |place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}{}zone \"{ZONE}\" {{ type primary; file \"zone\"; check-names ignore; allow-transfer {{ key \"{KEY}\"; }}; }};\n",
            place.named(""),
            named_key(WRONG)
        )
    })?;
    let us = secondary(
        Place::new("us")?,
        named.dns(),
        &format!("tsig-key = \"{KEY}\""),
        ZONE,
    )?;
    let status = status_with(&us, &["peer", "BADSIG"])?;
    assert!(query::serial(us.dns(), ZONE)?.is_none(), "{status}");
    tried(&peers, Server::Bind, Row::PrimaryWrongKey, "told in status")
}

#[test]
fn nsd_and_power_dns_that_do_not_know_our_tsig_key_give_nothing_and_status_says_why() -> Result<()>
{
    let peers = peers_or_skip!();
    let nsd = Nsd::start(&peers, |place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}key:\n  name: {KEY}\n  algorithm: hmac-sha256\n  secret: \"{WRONG}\"\nzone:\n  name: {ZONE}\n  zonefile: zone\n  \
             provide-xfr: 127.0.0.0/8 {KEY}\n",
            place.nsd("")
        )
    })?;
    let signed = [(ZONE, "primary")];
    let other = Some((KEY, WRONG));
    let pdns = PowerDns::start_at(&peers, Place::new("pdns")?, other, &signed, |place| {
        let file = place.write("zone", &zone_text(1));
        format!("zone \"{ZONE}\" {{ type master; file \"{file}\"; }};\n")
    })?;
    // One answers with the error, the other without a signature.
    for (server, at, word) in [
        (Server::Nsd, nsd.dns(), "BADSIG"),
        (Server::PowerDns, pdns.dns(), "the answer is not signed"),
    ] {
        let how = format!("tsig-key = \"{KEY}\"");
        let us = secondary(Place::new("us")?, at, &how, ZONE)?;
        let status = status_with(&us, &["peer", word])?;
        assert!(query::serial(us.dns(), ZONE)?.is_none(), "{status}");
        tried(&peers, server, Row::PrimaryWrongKey, "told in status")?;
    }
    Ok(())
}

#[test]
fn knot_gives_its_zone_to_the_holder_of_our_pinned_key_and_to_nobody_else() -> Result<()> {
    let peers = peers_or_skip!();
    let (ours, theirs) = (Place::new("us")?, Place::new("knot")?);
    let certificate = Certificate::make(&peers, &theirs, "knot.test")?;
    // The key is there before the site is, so that Knot can be told of it first.
    let key = SiteKey::generate("us")?;
    let file = ours.path("data/site.key");
    std::fs::create_dir(ours.path("data"))?;
    std::fs::write(&file, key.to_pem())?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let pin = data_encoding::BASE64.encode(&key.pin());
    let knot = Knot::start_at(&peers, theirs, |place| {
        let file = place.write("zone", &zone_text(1));
        format!(
            "{}server:\n  cert-file: {}\n  key-file: {}\nacl:\n  - id: pinned\n    cert-key: {pin}\n    protocol: tls\n    \
             action: transfer\nzone:\n  - domain: {ZONE}\n    file: {file}\n    acl: pinned\n",
            place.knot(),
            certificate.cert_file,
            certificate.key_file
        )
    })?;
    let how = format!("tls = \"{}\"", certificate.tlsa);
    let us = secondary(ours, knot.place().tls(), &how, ZONE)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let another = secondary(Place::new("another")?, knot.place().tls(), &how, ZONE)?;
    let status = status_with(&another, &["peer", "NOTAUTH"])?;
    assert!(query::serial(another.dns(), ZONE)?.is_none(), "{status}");
    Ok(())
}

#[test]
fn nsd_is_primary_to_us_with_tsig() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let nsd = Nsd::start(&peers, |place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}key:\n  name: {KEY}\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\nzone:\n  name: {ZONE}\n  zonefile: zone\n  \
             store-ixfr: yes\n  create-ixfr: yes\n  notify: {}@{} {KEY}\n  outgoing-interface: {}\n  \
             provide-xfr: 127.0.0.0/8 {KEY}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd(""),
            ours.address(),
            ours.port(),
            place.address()
        )
    })?;
    let us = secondary(ours, nsd.dns(), &format!("tsig-key = \"{KEY}\""), ZONE)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let mut next = zone_text(2);
    next.push_str("new A 192.0.2.200\n");
    nsd.place().write("zone", &next);
    nsd.nsd_control(&["reload", ZONE])?;
    wait::serial(SOON, us.dns(), ZONE, 2)?;
    assert_same(&us, &Dig::new(&peers).at(nsd.dns()), ZONE)?;
    let came = kinds(&us, "in");
    ensure!(came.contains("IXFR"), "{}", us.log());
    tried(&peers, Server::Nsd, Row::Primary, &came)
}

#[test]
fn the_age_of_a_copy_is_kept_along_a_chain_of_secondaries() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let mut first = Knot::start(&peers, |place| {
        let file = place.write("zone", &zone_text(1));
        format!(
            "{}{}zone:\n  - domain: {ZONE}\n    file: {file}\n    acl: look\n",
            place.knot(),
            knot_access(place, SECRET)
        )
    })?;
    let second = Knot::start(&peers, |place| {
        format!(
            "{}{}remote:\n  - id: first\n    address: {}@{}\nzone:\n  - domain: {ZONE}\n    master: first\n    acl: look\n",
            place.knot(),
            knot_access(place, SECRET),
            first.place().address(),
            first.place().port()
        )
    })?;
    wait::serial(SOON, second.dns(), ZONE, 1)?;
    first.stop()?;
    // What the second has ages from now on; what we get from it must not be younger.
    let expire = |at| -> Result<u32> {
        let answer = Dig::new(&peers)
            .at(at)
            .option("+expire")
            .query(ZONE, "SOA")?;
        let told = answer
            .text
            .split("EXPIRE: ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        told.and_then(|told| told.parse().ok())
            .with_context(|| answer.text.clone())
    };
    wait::until(SOON, "the copy to age", || {
        Ok((expire(second.dns())? < 1_209_600).then_some(()))
    })?;
    let us = secondary(ours, second.dns(), "", ZONE)?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let (theirs, ours) = (expire(second.dns())?, expire(us.dns())?);
    ensure!(
        ours < 1_209_600 && ours <= theirs + 1,
        "{ours} seconds left of {theirs}"
    );
    Ok(())
}

#[test]
fn a_zone_of_many_signed_messages_goes_from_knot_through_us_to_bind() -> Result<()> {
    let peers = peers_or_skip!();
    let mut text = zone_text(1);
    for host in 0..9000 {
        text.push_str(&format!("more{host} TXT \"{host:0200}\"\n"));
    }
    let knot = Knot::start(&peers, |place| {
        let file = place.write("zone", &text);
        format!(
            "{}{}zone:\n  - domain: {ZONE}\n    file: {file}\n    acl: [us, look]\n",
            place.knot(),
            knot_access(place, SECRET)
        )
    })?;
    let theirs = named_place()?;
    let us = Site::start(|place| {
        format!(
            "{}[[peer]]\nname = \"knot\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\n[[peer]]\nname = \"bind\"\naddress = \"{}\"\n\
             tsig-key = \"{KEY}\"\nallow = [\"transfer\"]\n[[zone]]\nname = \"{ZONE}\"\nprimaries = [\"knot\"]\nnotify = [\"bind\"]\n",
            site(place),
            knot.dns(),
            theirs.dns()
        )
    })?;
    let named = Named::start_at(&peers, theirs, |place| {
        format!(
            "{}{}zone \"{ZONE}\" {{ type secondary; file \"zone\"; primaries {{ {} port {} key {KEY}; }}; \
             allow-notify {{ key \"{KEY}\"; }}; allow-transfer {{ any; }}; }};\n",
            place.named(""),
            named_key(SECRET),
            us.place().address(),
            us.place().port()
        )
    })?;
    wait::serial(SOON, named.dns(), ZONE, 1)?;
    let went_in = transferred(&Dig::new(&peers).at(knot.dns()), ZONE)?;
    let came_out = transferred(&Dig::new(&peers).at(named.dns()), ZONE)?;
    ensure!(
        came_out.same_contents(&went_in),
        "the zone has changed on its way"
    );
    ensure!(
        went_in.record_count() > 9000,
        "{} records",
        went_in.record_count()
    );
    Ok(())
}

#[test]
fn what_is_damaged_of_a_store_is_transferred_from_knot_again() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let remote = format!("    address: {}@{}\n", ours.address(), ours.port());
    let knot = knot_primary(&peers, Place::new("knot")?, &remote, "", "us, look, update")?;
    let how = format!("tsig-key = \"{KEY}\"");
    let mut us = secondary(ours, knot.dns(), &how, ZONE)?;
    let dig = Dig::new(&peers).at(knot.dns());
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let path = us.data_dir().join("store.redb");
    let damages: [fn(&mut Vec<u8>); 2] = [
        // A bit of each record of a name, wherever it stands.
        |octets| {
            for at in 0..octets.len() - 6 {
                if octets[at..].starts_with(b"host59") {
                    octets[at] ^= 1;
                }
            }
        },
        // Nothing is left that could be read.
        |octets| octets.truncate(octets.len() / 2),
    ];
    for damage in damages {
        us.stop()?;
        let whole = std::fs::read(&path)?;
        let mut octets = whole.clone();
        damage(&mut octets);
        ensure!(octets != whole, "nothing is damaged");
        std::fs::write(&path, octets)?;
        us.restart()?;
        wait::serial(SOON, us.dns(), ZONE, 1)?;
        assert_same(&us, &dig, ZONE)?;
    }
    Ok(())
}
