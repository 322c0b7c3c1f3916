//! Who may write and read what: a member its own records, a stranger nothing.

use anyhow::{Context, Result};
use zonemesh_testkit::query::{self, TIMEOUT, qtype};
use zonemesh_tests::Mesh;
use zonemesh_tests::ask::{self, name, rcode};
use zonemesh_transfer::tls::SiteKey;
use zonemesh_update::Update;
use zonemesh_zone::directory::{self, SiteName};
use zonemesh_zone::{Record, Rtype};

fn record(text: &str) -> Result<Record> {
    Record::from_text(text, &name("dns.internal")?)
        .map_err(|error| anyhow::anyhow!("{text}: {error}"))
}

/// The serials of all zones as the catalog primary has them.
fn serials(mesh: &Mesh) -> Result<Vec<(String, Option<u32>)>> {
    let zones = mesh[0].status()?.zones;
    Ok(zones
        .into_iter()
        .map(|zone| (zone.zone, zone.serial))
        .collect())
}

#[test]
fn a_site_cannot_write_what_is_another_sites_or_the_meshs() -> Result<()> {
    let mesh = Mesh::start(3)?;
    let apex = name("dns.internal")?;
    let own = || Update::new(apex.clone());
    let (b, c) = (SiteName::new("site-b")?, SiteName::new("site-c")?);
    let claim = |zone: &str, site: &SiteName| -> Result<Record> {
        Ok(directory::owner_record(&name(zone)?, site, &apex)?)
    };
    let other_pin = "ab".repeat(32);
    let forbidden: Vec<(&str, Update)> = vec![
        (
            "another site's address",
            own().add(record("site-c 60 A 192.0.2.66")?),
        ),
        (
            "another site's names",
            own().delete_name(name("site-c.dns.internal")?),
        ),
        (
            "another site's key",
            own().add(record(&format!(
                "_853._tcp.site-c 60 TLSA 3 1 1 {other_pin}"
            ))?),
        ),
        (
            "another site's key away",
            own().delete_name(name("_853._tcp.site-c.dns.internal")?),
        ),
        ("a new site", own().add(record("site-x 60 A 192.0.2.66")?)),
        (
            "a tombstone",
            own().add(record("site-c._removed 60 TXT \"at=1\"")?),
        ),
        (
            "its own tombstone",
            own().add(record("site-b._removed 60 TXT \"at=1\"")?),
        ),
        (
            "the schema",
            own().add(record("_schema 60 TXT \"zonemesh=2\"")?),
        ),
        (
            "the schema away",
            own().delete_name(name("_schema.dns.internal")?),
        ),
        (
            "a role",
            own()
                .delete_name(name("_site.site-b.dns.internal")?)
                .add(record("_site.site-b 60 TXT \"role=catalog-primary\"")?),
        ),
        (
            "another site's zone",
            own()
                .delete_rrset(
                    directory::zone_node(&name("c.example")?, &apex)?,
                    Rtype::PTR,
                )
                .add(claim("c.example", &b)?),
        ),
        (
            "another site's zone away",
            own().delete_rrset(
                directory::zone_node(&name("c.example")?, &apex)?,
                Rtype::PTR,
            ),
        ),
        (
            "a zone for another site",
            own().add(claim("new.example", &c)?),
        ),
        (
            "the directory as a zone",
            own().add(claim("dns.internal", &b)?),
        ),
        (
            "the SOA",
            own().add(record("@ 60 SOA ns host 4000000000 1 1 1 1")?),
        ),
        (
            "the catalog",
            Update::new(name("catalog.dns.internal")?)
                .add(record("x.zones.catalog 60 PTR x.example.")?),
        ),
        (
            "another site's record",
            Update::new(name("c.example")?).add(record("www.c.example. 60 A 192.0.2.66")?),
        ),
    ];
    let before = serials(&mesh)?;
    let first = &mesh[0];
    let (pin, key, stranger) = (
        first.key()?.pin(),
        mesh[1].key()?,
        SiteKey::generate("site-b")?,
    );
    for (what, update) in &forbidden {
        let message = update.compose(1)?;
        let tls = |key| ask::tls(first.tls(), pin, key, None, message.clone());
        let refused = |reply: &[u8]| matches!(query::rcode(reply), rcode::REFUSED | rcode::NOTAUTH);
        let reply = tls(Some(&key)).with_context(|| format!("{what}, with its own key"))?;
        assert!(
            refused(&reply),
            "{what} was {} with a member's key",
            query::rcode(&reply)
        );
        assert!(
            refused(&tls(Some(&stranger))?),
            "{what} with a stranger's key"
        );
        assert!(refused(&tls(None)?), "{what} without any key");
        assert!(
            refused(&query::tcp(first.dns(), &message, TIMEOUT)?),
            "{what} over TCP"
        );
        assert!(
            refused(&query::udp(first.dns(), &message, TIMEOUT)?),
            "{what} over UDP"
        );
    }
    let message = forbidden.last().context("there are some")?.1.compose(2)?;
    let at_home = ask::tls(
        mesh[2].tls(),
        mesh[2].key()?.pin(),
        Some(&key),
        None,
        message,
    )?;
    assert_eq!(
        query::rcode(&at_home),
        rcode::REFUSED,
        "another site's record, at its primary"
    );
    assert_eq!(serials(&mesh)?, before, "nothing of that left a trace");

    // The same key may say the same of itself, and take back a zone that it added.
    let allowed = own().add(claim("mine.example", &b)?).compose(3)?;
    assert_eq!(
        query::rcode(&ask::tls(first.tls(), pin, Some(&key), None, allowed)?),
        rcode::NOERROR
    );
    let release = zonemesh_update::request::release_zone(&apex, &name("mine.example")?)?;
    let reply = ask::tls(first.tls(), pin, Some(&key), None, release.compose(4)?)?;
    assert_eq!(query::rcode(&reply), rcode::NOERROR);
    mesh.wait_healthy()
}

#[test]
fn directory_and_catalog_are_answered_to_members_only() -> Result<()> {
    let mesh = Mesh::start(2)?;
    let stranger = SiteKey::generate("site-b")?;
    for (index, site) in mesh.sites.iter().enumerate() {
        let member = mesh[1 - index].key()?;
        let pin = site.key()?.pin();
        let names = [
            ("dns.internal", qtype::SOA),
            ("site-a.dns.internal", qtype::A),
            ("no-such-name.dns.internal", qtype::A),
            ("dns.internal", qtype::AXFR),
            ("catalog.dns.internal", qtype::SOA),
            ("catalog.dns.internal", qtype::AXFR),
            ("catalog.dns.internal", qtype::IXFR),
        ];
        for (name, rtype) in names {
            let question = query::question(name, rtype);
            let code = |reply: Result<Vec<u8>>| reply.map(|reply| query::rcode(&reply));
            let tls = |key| code(ask::tls(site.tls(), pin, key, None, question.clone()));
            let what = format!("{name} {rtype} at {}", site.name);
            if rtype < qtype::IXFR {
                assert_eq!(
                    code(query::udp(site.dns(), &question, TIMEOUT))?,
                    rcode::REFUSED,
                    "{what}"
                );
                assert_ne!(tls(Some(&member))?, rcode::REFUSED, "{what}");
            }
            // An IXFR without an SOA is malformed: that is no answer either.
            let no = |code: u8| code == rcode::REFUSED || (rtype == qtype::IXFR && code == 1);
            assert!(
                no(code(query::tcp(site.dns(), &question, TIMEOUT))?),
                "{what} over TCP"
            );
            assert!(no(tls(None)?), "{what} without a key");
            assert!(no(tls(Some(&stranger))?), "{what} with a stranger's key");
        }
    }
    Ok(())
}

#[test]
fn a_notify_is_taken_from_members_only() -> Result<()> {
    let mesh = Mesh::start(2)?;
    let (site, member) = (&mesh[1], mesh[0].key()?);
    let (pin, stranger) = (site.key()?.pin(), SiteKey::generate("site-a")?);
    for zone in ["a.example", "dns.internal", "catalog.dns.internal"] {
        let mut message = query::question(zone, qtype::SOA);
        // RFC 1996 §3.7: opcode 4, AA set.
        message[2] = 4 << 3 | 1 << 2;
        let tls = |key| ask::tls(site.tls(), pin, key, None, message.clone());
        let replies = [
            ("over UDP", query::udp(site.dns(), &message, TIMEOUT)?),
            ("over TCP", query::tcp(site.dns(), &message, TIMEOUT)?),
            ("without a key", tls(None)?),
            ("with a stranger's key", tls(Some(&stranger))?),
        ];
        for (how, reply) in replies {
            assert_eq!(query::rcode(&reply), rcode::REFUSED, "{zone} {how}");
        }
        let reply = tls(Some(&member))?;
        assert_eq!(query::rcode(&reply), rcode::NOERROR, "{zone} by a member");
    }
    mesh.wait_healthy()
}
