//! The testkit's own promise: real servers start, answer, transfer, die and come back.

use std::time::Duration;

use anyhow::Result;
use zonemesh_testkit::{Certificate, Dig, Knot, Named, Nsd, Peers, Place, Unbound};
use zonemesh_testkit::{peers_or_skip, servers, wait};

const ZONE: &str = "\
$TTL 60
@   SOA ns h 7 60 60 600 60
@   NS  ns
ns  A   127.0.0.1
txt TXT \"two  spaces\"
";

/// Seconds, not milliseconds: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(10);

fn knot(peers: &Peers) -> Result<Knot> {
    Knot::start(peers, |place| {
        let file = place.write("example.com.zone", ZONE);
        format!(
            "{}acl:\n  - id: all\n    address: 127.0.0.0/8\n    action: [transfer, update]\n\
             zone:\n  - domain: example.com\n    file: {file}\n    acl: all\n",
            place.knot()
        )
    })
}

#[test]
fn knot_answers_over_every_transport_and_transfers() -> Result<()> {
    let peers = peers_or_skip!();
    let mut knot = knot(&peers)?;
    knot.wait_serial("example.com", 7)?;

    let udp = Dig::new(&peers).at(knot.dns());
    let answer = udp.query("txt.example.com", "TXT")?;
    assert_eq!(answer.status, "NOERROR");
    assert!(answer.has_flag("aa"), "{}", answer.text);
    assert_eq!(answer.data("TXT"), ["\"two  spaces\""]);
    assert_eq!(udp.query("no.example.com", "A")?.status, "NXDOMAIN");

    let tcp = udp.clone().tcp().query("example.com", "NS")?;
    assert_eq!(tcp.data("NS"), ["ns.example.com."]);
    for dig in [Dig::new(&peers), Dig::kdig(&peers)] {
        let tls = dig
            .at(knot.place().tls())
            .tls()
            .query("example.com", "SOA")?;
        assert_eq!(tls.answer.len(), 1, "{}", tls.text);
    }

    // The SOA record is first and last.
    assert_eq!(udp.transfer("example.com", "AXFR")?.len(), 5);
    assert!(udp.transfer("example.org", "AXFR").is_err());
    assert!(
        knot.knotc(&["zone-status", "example.com"])?
            .contains("serial: 7")
    );
    Ok(())
}

#[test]
fn knot_takes_an_update_and_survives_being_killed() -> Result<()> {
    let peers = peers_or_skip!();
    let mut knot = knot(&peers)?;
    knot.wait_serial("example.com", 7)?;
    let at = knot.dns();
    let update = format!(
        "server {} {}\nzone example.com\nadd new.example.com 60 A 192.0.2.1\nsend\n",
        at.ip(),
        at.port()
    );
    servers::run(&peers, "bin/nsupdate", &[], &update)?;
    knot.wait_serial("example.com", 8)?;

    knot.kill_hard()?;
    assert!(Dig::new(&peers).at(at).query("example.com", "SOA").is_err());
    knot.restart()?;
    knot.wait_serial("example.com", 8)?;
    knot.stop()
}

#[test]
fn named_is_secondary_of_knot_and_obeys_rndc() -> Result<()> {
    let peers = peers_or_skip!();
    let mut knot = knot(&peers)?;
    knot.wait_serial("example.com", 7)?;
    let mut named = Named::start(&peers, |place| {
        format!(
            "{}zone \"example.com\" {{ type secondary; file \"example.com\"; primaries port {} {{ {}; }}; }};\n",
            place.named(""),
            knot.place().port(),
            knot.place().address()
        )
    })?;
    named.wait_serial("example.com", 7)?;
    let status = named.rndc(&["zonestatus", "example.com"])?;
    assert!(status.contains("serial: 7"), "{status}");
    named.restart()?;
    named.wait_serial("example.com", 7)
}

#[test]
fn nsd_answers_and_obeys_its_control_program() -> Result<()> {
    let peers = peers_or_skip!();
    let mut nsd = Nsd::start(&peers, |place| {
        let file = place.write("example.com.zone", ZONE);
        format!(
            "{}zone:\n  name: example.com\n  zonefile: {file}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            place.nsd("")
        )
    })?;
    nsd.wait_serial("example.com", 7)?;
    let dig = Dig::new(&peers).at(nsd.dns());
    assert_eq!(dig.transfer("example.com", "AXFR")?.len(), 5);
    let status = nsd.nsd_control(&["zonestatus", "example.com"])?;
    assert!(status.contains("example.com"), "{status}");
    Ok(())
}

#[test]
fn unbound_resolves_through_knot() -> Result<()> {
    let peers = peers_or_skip!();
    let knot = knot(&peers)?;
    let unbound = Unbound::start(&peers, |place| {
        let at = knot.dns();
        format!(
            "{}stub-zone:\n  name: example.com\n  stub-addr: {}@{}\n",
            place.unbound("  module-config: \"iterator\""),
            at.ip(),
            at.port()
        )
    })?;
    let dig = Dig::new(&peers).at(unbound.dns()).option("+rec");
    wait::until_eq(LIMIT, "the answer", &vec!["127.0.0.1".to_owned()], || {
        Ok(dig.query("ns.example.com", "A")?.data("A"))
    })
}

#[test]
fn a_server_with_a_broken_configuration_is_reported_with_its_log() -> Result<()> {
    let peers = peers_or_skip!();
    let error = Knot::start(&peers, |_| "nonsense: [\n".to_owned()).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("ended by itself"), "{message}");
    assert!(message.contains("knot.conf"), "{message}");
    Ok(())
}

#[test]
fn the_folder_of_a_place_is_removed_with_it() -> Result<()> {
    let place = Place::new("gone")?;
    let dir = place.dir().to_owned();
    place.write("file", "text");
    assert!(dir.join("file").is_file());
    drop(place);
    assert_eq!(dir.exists(), std::env::var_os("ZONEMESH_KEEP").is_some());
    Ok(())
}

#[test]
fn a_made_certificate_serves_in_named_and_in_knot_and_its_pin_is_right() -> Result<()> {
    let peers = peers_or_skip!();
    let keys = Place::new("keys")?;
    let own = Certificate::make(&peers, &keys, "own.test")?;
    let other = Certificate::make(&peers, &keys, "other.test")?;
    assert_eq!(own.tlsa.len(), 64);

    let named = Named::start(&peers, |place| {
        let (port, address) = (place.tls_port(), place.address());
        let listen = format!("listen-on port {port} tls own {{ {address}; }};");
        format!(
            "{}tls own {{ cert-file \"{}\"; key-file \"{}\"; }};\n",
            place.named(&listen),
            own.cert_file,
            own.key_file,
        )
    })?;
    let at = named.place().tls();
    let ask = |pin: &str| {
        let dig = Dig::kdig(&peers).at(at).tls();
        dig.option(&format!("+tls-pin={pin}"))
            .query("example.com", "SOA")
    };
    assert_eq!(ask(&own.pin)?.status, "REFUSED");
    assert!(ask(&other.pin).is_err());

    let knot = Knot::start(&peers, |place| {
        format!(
            "{}server:\n  cert-file: {}\n  key-file: {}\n",
            place.knot(),
            own.cert_file,
            own.key_file
        )
    })?;
    assert!(knot.log().contains(&own.pin), "{}", knot.log());
    Ok(())
}
