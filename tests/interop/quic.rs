//! DNS over QUIC (RFC 9250) with Knot: as primary, and its `kdig`.

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Certificate, Dig, Place, peers_or_skip, wait};

use crate::common::*;
use crate::primary;
use crate::tried::{Row, Server, kinds, tried};

const ZONE: &str = "example.com";

/// Our configuration with QUIC at the port of TLS, and TLS gone: what works then works over QUIC.
fn quic_alone(place: &Place) -> String {
    let text = site(place);
    let tls = format!("tls = [\"{}\"]", place.tls());
    assert!(text.contains(&tls), "{text}");
    text.replace(&tls, &format!("tls = []\nquic = [\"{}\"]", place.tls()))
}

/// The part of Knot's configuration that has it listen for QUIC, with a certificate.
fn knot_listens(place: &Place, certificate: &Certificate) -> String {
    format!(
        "server:\n  listen-quic: {}@{}\n  cert-file: {}\n  key-file: {}\n",
        place.address(),
        place.tls_port(),
        certificate.cert_file,
        certificate.key_file
    )
}

fn all_over_quic(lines: &[String]) -> Result<()> {
    ensure!(
        !lines.is_empty()
            && lines
                .iter()
                .all(|line| line.contains("\"transport\":\"quic\"")),
        "{lines:#?}"
    );
    Ok(())
}

#[test]
fn knot_is_primary_to_us_over_quic_with_its_key_pinned() -> Result<()> {
    let peers = peers_or_skip!();
    let ours = Place::new("us")?;
    let place = Place::new("knot")?;
    let certificate = Certificate::make(&peers, &place, "knot.test")?;
    let remote = format!(
        "    address: {}@{}\n    quic: on\n",
        ours.address(),
        ours.tls_port()
    );
    let more = knot_listens(&place, &certificate);
    let knot = primary::knot_primary(&peers, place, &remote, &more, "look, update")?;
    let address = knot.place().tls();
    let us = Site::start_at(ours, |place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{address}\"\ntransport = \"quic\"\ntls = \"{}\"\n\
             [[zone]]\nname = \"{ZONE}\"\nprimaries = [\"peer\"]\nallow-transfer = [\"127.0.0.0/8\"]\n",
            quic_alone(place),
            certificate.tlsa
        )
    })?;
    primary::follows(&us, knot.dns(), &peers)?;
    all_over_quic(&transfers(&us, "in"))?;
    tried(&peers, Server::Knot, Row::PrimaryQuic, &kinds(&us, "in"))
}

#[test]
fn another_key_than_the_pinned_one_is_refused_over_quic() -> Result<()> {
    let peers = peers_or_skip!();
    let place = Place::new("knot")?;
    let certificate = Certificate::make(&peers, &place, "knot.test")?;
    let more = knot_listens(&place, &certificate);
    let knot = primary::knot_primary(&peers, place, "    address: 127.0.0.1@9\n", &more, "look")?;
    let (address, pin) = (knot.place().tls(), "ab".repeat(32));
    let us = Site::start(|place| {
        format!(
            "{}[[peer]]\nname = \"peer\"\naddress = \"{address}\"\ntransport = \"quic\"\ntls = \"{pin}\"\n\
             [[zone]]\nname = \"{ZONE}\"\nprimaries = [\"peer\"]\n",
            quic_alone(place)
        )
    })?;
    let told = format!(
        "the server has key {}, expected was {pin}",
        certificate.tlsa
    );
    wait::until(SOON, "the log to name both keys", || {
        Ok(us.log().contains(&told).then_some(()))
    })?;
    let answer = Dig::new(&peers).at(us.dns()).query(ZONE, "SOA")?;
    assert_eq!(answer.status, "SERVFAIL");
    Ok(())
}

#[test]
fn kdig_asks_and_transfers_over_quic_and_looks_at_our_key() -> Result<()> {
    let peers = peers_or_skip!();
    let us = Site::start(|place| {
        place.write("zone", &zone_text(1));
        format!(
            "{}[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\nallow-transfer = [\"127.0.0.0/8\"]\n",
            quic_alone(place)
        )
    })?;
    let at = us.place().tls();
    let dig = |pin: &[u8; 32]| {
        let pin = data_encoding::BASE64.encode(pin);
        Dig::kdig(&peers)
            .at(at)
            .quic()
            .option(&format!("+tls-pin={pin}"))
            .option("+padding=128")
    };
    let pin = key_of(&us)?.pin();
    wait::until(SOON, "the zone", || {
        let answer = dig(&pin).query("host7.example.com", "A");
        Ok(answer
            .is_ok_and(|answer| answer.data("A") == ["198.51.100.7"])
            .then_some(()))
    })?;
    assert_same(&us, &dig(&pin), ZONE)?;
    ensure!(
        dig(&[7; 32]).query("host7.example.com", "A").is_err(),
        "another key was taken"
    );
    all_over_quic(&transfers(&us, "out"))
}
