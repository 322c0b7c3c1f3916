//! What every test here needs: a zone, a key, the configuration of our side, and a comparison of zones.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Peers, Place, query, servers, wait};
use zonemesh_transfer::tls::SiteKey;
use zonemesh_zone::record::parse_name;
use zonemesh_zone::{Zone, file};

/// For what takes milliseconds on an idle machine; far below the SOA timers of the zones here.
pub const SOON: Duration = Duration::from_secs(120);

/// Name of the TSIG key that both sides have.
pub const KEY: &str = "interop";
/// Its secret.
pub const SECRET: &str = "aW50ZXJvcC1rZXktd2l0aC0zMi1vY3RldHMtaW4taXQh";
/// A secret that the other side does not have.
pub const WRONG: &str = "d3Jvbmcta2V5LXdpdGgtMzItb2N0ZXRzLWluLWl0LSEh";

/// A zone with records of many types; its timers are so long that nothing here happens by them.
pub fn zone_text(serial: u32) -> String {
    let mut text = format!(
        "$TTL 3600\n@ IN SOA ns hostmaster {serial} 7200 3600 1209600 300\n@ NS ns\n@ NS ns.elsewhere.test.\n\
         ns A 192.0.2.1\nns AAAA 2001:db8::1\n@ MX 10 mail\nmail A 192.0.2.2\n@ TXT \"two  spaces\" \"semi;colon\"\n\
         @ CAA 0 issue \"ca.test\"\n_sip._tcp SRV 0 5 5060 mail\n*.wild CNAME mail\n_853._tcp.ns TLSA 3 1 1 \
         0c72ac70b745ac19998811b131d662c9ac69dbdbe7cb23e5b514b56664c5d3d6\nodd TYPE65280 \\# 4 deadbeef\n\
         sub NS ns.sub\nns.sub A 192.0.2.3\nsub DS 4711 13 2 \
         0c72ac70b745ac19998811b131d662c9ac69dbdbe7cb23e5b514b56664c5d3d6\nesc\\.aped A 192.0.2.4\n\
         svc HTTPS 1 . alpn=\"h2\" ipv4hint=192.0.2.5\n"
    );
    for host in 0..60 {
        text.push_str(&format!("host{host} A 198.51.100.{host}\n"));
    }
    text
}

/// The part of our configuration that every site has.
pub fn site(place: &Place) -> String {
    format!(
        "[site]\nname = \"us\"\n[listen]\ndns = [\"{}\"]\ntls = [\"{}\"]\nhttp = []\n\
         [log]\nlevel = \"debug\"\nformat = \"json\"\n\
         [[key]]\nname = \"{KEY}\"\nsecret = \"{SECRET}\"\n",
        place.dns(),
        place.tls(),
    )
}

/// `template`, `key` and `acl` of a Knot configuration: we may notify with the key, and everybody may look.
pub fn knot_access(place: &Place, secret: &str) -> String {
    format!(
        "template:\n  - id: default\n    storage: {}\n    zonefile-sync: -1\n    zonefile-load: whole\n\
         key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
         acl:\n  - id: us\n    address: 127.0.0.0/8\n    key: {KEY}\n    action: [notify, transfer]\n  \
         - id: look\n    address: 127.0.0.0/8\n    action: transfer\n",
        place.dir().display()
    )
}

/// The key of a BIND configuration.
pub fn named_key(secret: &str) -> String {
    format!("key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n")
}

/// The key of an NSD configuration.
pub fn nsd_key(secret: &str) -> String {
    format!("key:\n  name: {KEY}\n  algorithm: hmac-sha256\n  secret: \"{secret}\"\n")
}

/// A place for `named`, which listens only on addresses that an interface has.
pub fn named_place() -> Result<Place> {
    Place::at("named", Ipv4Addr::LOCALHOST)
}

/// A site's own key.
pub fn key_of(site: &Site) -> Result<SiteKey> {
    let path = site.data_dir().join("site.key");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("no key at {}", path.display()))?;
    Ok(SiteKey::from_pem(&text, "us")?)
}

/// The certificate that a server shows over TLS, PEM.
pub fn certificate_at(peers: &Peers, at: SocketAddr) -> Result<String> {
    let text = servers::run(
        peers,
        "bin/openssl",
        &["s_client", "-connect", &at.to_string(), "-showcerts"],
        "",
    )?;
    let end = "-----END CERTIFICATE-----\n";
    let from = text
        .find("-----BEGIN CERTIFICATE-----")
        .with_context(|| text.clone())?;
    let to = text.find(end).with_context(|| text.clone())? + end.len();
    Ok(text[from..to].to_owned())
}

/// The serial that a server has of a zone.
pub fn serial_at(at: SocketAddr, zone: &str) -> Result<u32> {
    query::serial(at, zone)?.with_context(|| format!("{at} has no {zone}"))
}

/// Waits until a server answers for a zone no longer.
pub fn wait_gone(at: SocketAddr, zone: &str) -> Result<()> {
    wait::until(SOON, &format!("{zone} to be gone at {at}"), || {
        Ok(query::serial(at, zone)?.is_none().then_some(()))
    })
}

/// The zone that records as text make.
pub fn zone_of(apex: &str, text: &str) -> Result<Zone> {
    let apex = parse_name(apex).map_err(anyhow::Error::msg)?;
    let mut opener = |_: &str| Ok(text.as_bytes().to_vec());
    let loaded = file::read(&mut opener, "transfer", Some(&apex));
    match loaded.zone {
        Some(zone) => Ok(zone),
        None => bail!("no zone: {:?}", loaded.findings),
    }
}

/// What a server sends of a zone.
pub fn transferred(dig: &Dig, apex: &str) -> Result<Zone> {
    let mut records = dig.transfer(apex, "AXFR")?;
    // The SOA record is first and last.
    ensure!(
        records.first() == records.last(),
        "SOA at both ends: {records:?}"
    );
    records.pop();
    zone_of(apex, &(records.join("\n") + "\n"))
}

/// Says whether what we export and what the server sends is the same, record by record.
pub fn assert_same(site: &Site, dig: &Dig, apex: &str) -> Result<()> {
    let ours = zone_of(apex, &site.cli_ok(&["zone", "export", apex])?)?;
    let theirs = transferred(dig, apex)?;
    let lines = |zone: &Zone| {
        zone.records()
            .map(|record| record.to_string())
            .collect::<Vec<_>>()
    };
    ensure!(
        ours.same_contents(&theirs),
        "{:#?}\nagainst\n{:#?}",
        lines(&ours),
        lines(&theirs)
    );
    Ok(())
}

/// The lines of our log about transfers in one direction, newest last.
pub fn transfers(site: &Site, direction: &str) -> Vec<String> {
    site.log()
        .lines()
        .filter(|line| line.contains("\"transfer\"") && line.contains(&format!("\"{direction}\"")))
        .map(str::to_owned)
        .collect()
}

/// Makes a change at our side, and returns the serial that it has.
pub fn change(site: &Site, zone: &str, address: &str) -> Result<u32> {
    let before = serial_at(site.dns(), zone)?;
    site.cli_ok(&["record", "set", zone, "new", "A", address, "--ttl", "60"])?;
    let after = serial_at(site.dns(), zone)?;
    ensure!(after > before, "serial {after} after {before}");
    Ok(after)
}
