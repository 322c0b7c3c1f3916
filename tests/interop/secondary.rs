//! Foreign servers as secondaries of ours: AXFR, IXFR after a change, NOTIFY, TSIG, TLS.

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{
    Certificate, Dig, Knot, Named, Nsd, Peers, Place, peers_or_skip, query, wait,
};
use zonemesh_tests::ask::{self, rcode};
use zonemesh_transfer::peer::{Options, Peer, Target, Transport};
use zonemesh_transfer::tls::{SiteKey, Trust};

use crate::common::*;
use crate::tried::{Row, Server, kinds, tried};

const ZONE: &str = "example.com";

/// Our side as the primary of the zone; the peer is at this address.
fn primary(peer: &Place, tls: Option<&Certificate>) -> Result<Site> {
    Site::start(|place| {
        place.write("zone", &zone_text(1));
        let (address, how) = match tls {
            Some(certificate) => (peer.tls(), format!("tls = \"{}\"", certificate.tlsa)),
            None => (peer.dns(), format!("tsig-key = \"{KEY}\"")),
        };
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{address}\"\n{how}\nallow = [\"transfer\"]\n\
             [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nnotify = [\"peer\"]\n",
            site(place)
        )
    })
}

/// The zone arrives, a change follows by NOTIFY and IXFR, and both sides have the same.
fn follows(us: &Site, at: std::net::SocketAddr, peers: &Peers) -> Result<()> {
    wait::serial(SOON, at, ZONE, 1)?;
    assert_same(us, &Dig::new(peers).at(at), ZONE)?;
    for address in ["192.0.2.200", "192.0.2.201"] {
        let serial = change(us, ZONE, address)?;
        wait::serial(SOON, at, ZONE, serial)?;
        let answer = Dig::new(peers).at(at).query("new.example.com", "A")?;
        assert_eq!(answer.data("A"), [address]);
    }
    assert_same(us, &Dig::new(peers).at(at), ZONE)
}

fn knot_secondary(peers: &Peers, place: Place, remote: &str) -> Result<Knot> {
    Knot::start_at(peers, place, |place| {
        format!(
            "{}{}remote:\n  - id: primary\n    via: {}\n{remote}zone:\n  - domain: {ZONE}\n    master: primary\n    \
             acl: [us, look]\n",
            place.knot(),
            knot_access(place, SECRET),
            place.address(),
        )
    })
}

fn knot_took_differences(knot: &Knot) -> Result<()> {
    let log = knot.log();
    ensure!(log.contains("notify, incoming"), "no NOTIFY:\n{log}");
    ensure!(log.contains("AXFR, incoming"), "no AXFR:\n{log}");
    ensure!(log.contains("IXFR, incoming"), "no IXFR:\n{log}");
    ensure!(
        !log.contains("fallback to AXFR") && !log.contains("AXFR-style IXFR"),
        "IXFR was given up:\n{log}"
    );
    Ok(())
}

#[test]
fn knot_is_secondary_of_us_with_tsig() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let us = primary(&place, None)?;
    let remote = format!(
        "    address: {}@{}\n    key: {KEY}\n",
        us.place().address(),
        us.place().port()
    );
    let knot = knot_secondary(&peers, place, &remote)?;
    follows(&us, knot.dns(), &peers)?;
    knot_took_differences(&knot)?;
    tried(&peers, Server::Knot, Row::Secondary, &kinds(&us, "out"))
}

#[test]
fn knot_is_secondary_of_us_over_tls_and_each_pins_the_other() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let certificate = Certificate::make(&peers, &place, "knot.test")?;
    let us = primary(&place, Some(&certificate))?;
    let pin = data_encoding::BASE64.encode(&key_of(&us)?.pin());
    let remote = format!(
        "    address: {}@{}\n    tls: on\n    cert-key: {pin}\n",
        us.place().address(),
        us.place().tls_port()
    );
    let more = format!(
        "server:\n  cert-file: {}\n  key-file: {}\nacl:\n  - id: pinned\n    cert-key: {pin}\n    protocol: tls\n    action: notify\n",
        certificate.cert_file, certificate.key_file
    );
    let knot = Knot::start_at(&peers, place, |place| {
        format!(
            "{}{more}{}remote:\n  - id: primary\n    via: {}\n\
             {remote}zone:\n  - domain: {ZONE}\n    master: primary\n    acl: [pinned, look]\n",
            place.knot(),
            knot_access(place, SECRET),
            place.address(),
        )
    })?;
    follows(&us, knot.dns(), &peers)?;
    knot_took_differences(&knot)?;
    // From its address nobody else gets the zone, with a key of one's own or without any.
    let stranger = SiteKey::generate("knot.test")?;
    for key in [Some(&stranger), None] {
        let pins = vec![key_of(&us)?.pin()];
        let target = Target {
            addr: us.place().tls(),
            source: Some(knot.place().address().into()),
            transport: Transport::Tls(Trust::Pins(pins)),
            tsig: None,
        };
        let question = query::question(ZONE, query::qtype::AXFR);
        let reply = ask::runtime()?.block_on(async {
            let peer = Peer::new(target, key, Options::default())?;
            anyhow::Ok(peer.request(question, SOON).await?)
        })?;
        assert_eq!(query::rcode(&reply), rcode::REFUSED);
    }
    tried(&peers, Server::Knot, Row::SecondaryTls, &kinds(&us, "out"))
}

#[test]
fn knot_with_the_wrong_tsig_key_gets_nothing_from_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let us = primary(&place, None)?;
    let knot = Knot::start_at(&peers, place, |place| {
        format!(
            "{}{}remote:\n  - id: primary\n    via: {}\n    address: {}@{}\n    key: {KEY}\nzone:\n  - domain: {ZONE}\n    master: primary\n    acl: look\n",
            place.knot(),
            knot_access(place, WRONG),
            place.address(),
            us.place().address(),
            us.place().port()
        )
    })?;
    wait::until(SOON, "our log to tell of a bad signature", || {
        Ok(us.log().contains("bad TSIG signature").then_some(()))
    })?;
    wait::until(SOON, "Knot to be refused", || {
        let log = knot.log();
        Ok(
            (log.contains("BADSIG") || log.contains("NOTAUTH") || log.contains("failed"))
                .then_some(()),
        )
    })?;
    assert!(transfers(&us, "out").is_empty());
    tried(&peers, Server::Knot, Row::SecondaryWrongKey, "refused")
}

fn named_secondary(peers: &Peers, place: Place, primaries: &str) -> Result<Named> {
    Named::start_at(peers, place, |place| {
        format!(
            "{}{}zone \"{ZONE}\" {{ type secondary; file \"zone\"; primaries {{ {primaries} }}; \
             allow-notify {{ key \"{KEY}\"; }}; allow-transfer {{ any; }}; }};\n",
            place.named(""),
            named_key(SECRET),
        )
    })
}

/// How many records the last transfer to BIND had, by its log.
fn named_took_differences(named: &Named) -> Result<()> {
    let log = named.log();
    let last = log
        .lines()
        .filter(|line| line.contains("Transfer completed") && line.contains(ZONE))
        .filter_map(|line| {
            line.split(" records")
                .next()?
                .rsplit(' ')
                .next()?
                .parse::<u32>()
                .ok()
        })
        .next_back();
    ensure!(log.contains("received notify"), "no NOTIFY:\n{log}");
    ensure!(
        last.is_some_and(|records| records < 20),
        "{last:?} records in the last transfer:\n{log}"
    );
    Ok(())
}

#[test]
fn named_is_secondary_of_us_with_tsig() -> Result<()> {
    let peers = peers_or_skip!();
    let place = named_place()?;
    let us = primary(&place, None)?;
    let primaries = format!(
        "{} port {} key {KEY};",
        us.place().address(),
        us.place().port()
    );
    let named = named_secondary(&peers, place, &primaries)?;
    follows(&us, named.dns(), &peers)?;
    named_took_differences(&named)?;
    tried(&peers, Server::Bind, Row::Secondary, &kinds(&us, "out"))
}

#[test]
fn named_is_secondary_of_us_over_tls_with_its_key_pinned() -> Result<()> {
    let peers = peers_or_skip!();
    let place = named_place()?;
    let certificate = Certificate::make(&peers, &place, "named.test")?;
    let us = primary(&place, Some(&certificate))?;
    // BIND shows its own certificate only to servers whose certificate it verifies.
    let ours = place.write("us.pem", &certificate_at(&peers, us.place().tls())?);
    let tls = format!(
        "tls \"own\" {{ cert-file \"{0}\"; key-file \"{1}\"; }};\n\
         tls \"us\" {{ cert-file \"{0}\"; key-file \"{1}\"; ca-file \"{ours}\"; remote-hostname \"us\"; }};\n",
        certificate.cert_file, certificate.key_file
    );
    let named = Named::start_at(&peers, place, |place| {
        format!(
            "{}{tls}zone \"{ZONE}\" {{ type secondary; file \"zone\"; primaries {{ {} port {} tls us; }}; \
             allow-notify {{ 127.0.0.1; }}; allow-transfer {{ any; }}; }};\n",
            place.named(&format!(
                "listen-on port {} tls own {{ {}; }};",
                place.tls_port(),
                place.address()
            )),
            us.place().address(),
            us.place().tls_port()
        )
    })?;
    follows(&us, named.dns(), &peers)?;
    named_took_differences(&named)?;
    tried(&peers, Server::Bind, Row::SecondaryTls, &kinds(&us, "out"))
}

#[test]
fn named_with_the_wrong_tsig_key_gets_nothing_from_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = named_place()?;
    let us = primary(&place, None)?;
    let _named = Named::start_at(&peers, place, |place| {
        format!(
            "{}{}zone \"{ZONE}\" {{ type secondary; file \"zone\"; primaries {{ {} port {} key {KEY}; }}; }};\n",
            place.named(""),
            named_key(WRONG),
            us.place().address(),
            us.place().port()
        )
    })?;
    wait::until(SOON, "our log to tell of a bad signature", || {
        Ok(us.log().contains("bad TSIG signature").then_some(()))
    })?;
    assert!(transfers(&us, "out").is_empty());
    tried(&peers, Server::Bind, Row::SecondaryWrongKey, "refused")
}

#[test]
fn nsd_is_secondary_of_us_with_tsig() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("nsd")?;
    let us = primary(&place, None)?;
    let nsd = Nsd::start_at(&peers, place, |place| {
        format!(
            "{}key:\n  name: {KEY}\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\nzone:\n  name: {ZONE}\n  zonefile: zone\n  \
             allow-notify: 127.0.0.0/8 {KEY}\n  request-xfr: {}@{} {KEY}\n  outgoing-interface: {}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd(""),
            us.place().address(),
            us.place().port(),
            place.address()
        )
    })?;
    follows(&us, nsd.dns(), &peers)?;
    tried(&peers, Server::Nsd, Row::Secondary, &kinds(&us, "out"))
}

#[test]
fn nsd_with_the_wrong_tsig_key_gets_nothing_from_us() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("nsd")?;
    let us = primary(&place, None)?;
    let nsd = Nsd::start_at(&peers, place, |place| {
        format!(
            "{}key:\n  name: {KEY}\n  algorithm: hmac-sha256\n  secret: \"{WRONG}\"\nzone:\n  name: {ZONE}\n  zonefile: zone\n  \
             request-xfr: {}@{} {KEY}\n  outgoing-interface: {}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd(""),
            us.place().address(),
            us.place().port(),
            place.address()
        )
    })?;
    wait::until(SOON, "our log to tell of a bad signature", || {
        Ok(us.log().contains("bad TSIG signature").then_some(()))
    })?;
    assert!(transfers(&us, "out").is_empty());
    drop(nsd);
    tried(&peers, Server::Nsd, Row::SecondaryWrongKey, "refused")
}

#[test]
fn address_and_key_are_both_required_where_both_are_set() -> Result<()> {
    let peers = peers_or_skip!();
    let us = Site::start(|place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n\
             allow-transfer = [{{ network = \"127.9.9.0/24\", key = \"{KEY}\" }}]\n\
             [[peer]]\nname = \"here\"\naddress = \"127.0.0.1:9\"\nallow = [\"transfer\"]\n\
             [[zone]]\nname = \"open.example\"\nfile = \"zone\"\n\
             [[zone]]\nname = \"closed.example\"\nfile = \"zone\"\nallow-transfer = []\n",
            site(place)
        )
    })?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let dig = || Dig::new(&peers).at(us.dns());
    let there = "127.9.9.9".parse()?;
    let signed = |dig: Dig| dig.tsig("hmac-sha256", KEY, SECRET);
    assert!(dig().transfer(ZONE, "AXFR").is_err(), "neither");
    assert!(dig().from(there).transfer(ZONE, "AXFR").is_err(), "no key");
    assert!(
        signed(dig()).transfer(ZONE, "AXFR").is_err(),
        "another address"
    );
    assert!(
        signed(dig().from(there)).transfer(ZONE, "AXFR").is_ok(),
        "both"
    );
    let wrong = dig().from(there).tsig("hmac-sha256", KEY, WRONG);
    assert!(wrong.transfer(ZONE, "AXFR").is_err(), "a wrong key");
    // What a zone does not say of itself is as the peers have it; an empty list means nobody.
    wait::serial(SOON, us.dns(), "closed.example", 1)?;
    assert!(dig().transfer("open.example", "AXFR").is_ok());
    assert!(dig().transfer("closed.example", "AXFR").is_err());
    Ok(())
}

#[test]
fn the_time_until_expiry_is_told_to_those_who_ask() -> Result<()> {
    let peers = peers_or_skip!();
    let us = Site::start(|place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n",
            site(place)
        )
    })?;
    wait::serial(SOON, us.dns(), ZONE, 1)?;
    let answer = Dig::new(&peers)
        .at(us.dns())
        .option("+expire")
        .query(ZONE, "SOA")?;
    // RFC 7314 §3.2: a primary answers with the value of its SOA record.
    assert!(answer.text.contains("EXPIRE: 1209600"), "{}", answer.text);
    Ok(())
}

#[test]
fn a_zone_file_with_nothing_new_but_a_greater_serial_is_a_new_version() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let us = primary(&place, None)?;
    let remote = format!(
        "    address: {}@{}\n    key: {KEY}\n",
        us.place().address(),
        us.place().port()
    );
    let knot = knot_secondary(&peers, place, &remote)?;
    wait::serial(SOON, knot.dns(), ZONE, 1)?;
    let file = us.place().write("zone", &zone_text(40));
    us.cli_ok(&["zone", "import", ZONE, &file])?;
    wait::serial(SOON, knot.dns(), ZONE, 40)?;
    // A smaller one is not: serials never go back.
    us.place().write("zone", &zone_text(2));
    us.cli_ok(&["zone", "import", ZONE, &file])?;
    assert_eq!(serial_at(us.dns(), ZONE)?, 40);
    Ok(())
}
