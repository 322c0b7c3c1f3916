//! Foreign servers that give a site its zones and catalogs, and answer oddly, or not at all, or with too little.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_api::types::Status;
use zonemesh_testkit::{Knot, Named, Peers, Place, peers_or_skip, query, wait};
use zonemesh_tests::Site;
use zonemesh_tests::site::{SOON, zone_file};
use zonemesh_transfer::outbound::Response;
use zonemesh_transfer::query::Request;
use zonemesh_zone::{Rcode, Zone, file};

/// A site that belongs to no mesh, with what is added to its configuration.
fn plain(more: &str) -> Result<Site> {
    let site = Site::new("us", "standard", None)?;
    let (dns, tls) = (site.dns(), site.tls());
    site.configure(&format!(
        "[site]\nname = \"us\"\n[listen]\ndns = [\"{dns}\"]\ntls = [\"{tls}\"]\nhttp = []\n[log]\nlevel = \"debug\"\n{more}"
    ));
    Ok(site)
}

/// What a primary makes of a zone, by its first label.
fn oddly(message: &[u8], stream: &mut TcpStream) -> Result<()> {
    let request = Request::parse(message).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let zone = request.zone.to_string();
    let kind = zone.split('.').next().unwrap_or_default().to_owned();
    let refused = |rcode| zonemesh_transfer::query::reply(message, rcode, None);
    let messages: Vec<Vec<u8>> = match kind.as_str() {
        "notimp" => refused(Rcode::NOTIMP).into_iter().collect(),
        "refused" => refused(Rcode::REFUSED).into_iter().collect(),
        "servfail" => refused(Rcode::SERVFAIL).into_iter().collect(),
        // Success, it says, and gives nothing.
        "empty" => refused(Rcode::NOERROR).into_iter().collect(),
        "garbage" => vec![[&message[..2], &[0xA5; 200]].concat()],
        "hangup" => anyhow::bail!("this one is closed in the middle"),
        _ => Response::new(&request, made(&zone)?, |_| None)
            .messages()
            .collect(),
    };
    for message in messages {
        stream.write_all(&(message.len() as u16).to_be_bytes())?;
        stream.write_all(&message)?;
    }
    Ok(())
}

fn made(apex: &str) -> Result<Zone> {
    let apex = zonemesh_tests::ask::name(apex)?;
    let text = zone_file(7, "192.0.2.7");
    let loaded = file::read(&mut |_| Ok(text.as_bytes().to_vec()), "made", Some(&apex));
    loaded.zone.context("a zone without faults")
}

/// Serves until the test's process ends.
fn odd_primary() -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind((zonemesh_testkit::net::loopback(), 0))?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut message = vec![0; u16::from_be_bytes(length).into()];
                    if stream.read_exact(&mut message).is_err()
                        || oddly(&message, &mut stream).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    Ok(at)
}

#[test]
fn a_primary_that_answers_oddly_for_some_zones_is_told_for_each_and_the_others_are_had()
-> Result<()> {
    let at = odd_primary()?;
    let good = ["one.test", "two.test", "three.test"];
    let bad = [
        ("notimp.test", "NOTIMP"),
        ("refused.test", "REFUSED"),
        ("servfail.test", "SERVFAIL"),
        ("empty.test", ""),
        ("garbage.test", ""),
        ("hangup.test", ""),
    ];
    let mut more = format!("[[peer]]\nname = \"odd\"\naddress = \"{at}\"\n");
    for zone in bad.iter().map(|(zone, _)| zone).chain(&good) {
        more += &format!("[[zone]]\nname = \"{zone}\"\nprimaries = [\"odd\"]\n");
    }
    let mut site = plain(&more)?;
    site.up()?;
    site.wait_running()?;
    for zone in good {
        wait::serial(SOON, site.dns(), zone, 7)?;
    }
    let wanted: BTreeSet<String> = bad.iter().map(|(zone, _)| format!("{zone}.")).collect();
    let status = site.wait_status("each odd zone told, with the reason", |status| {
        bad.iter().all(|(zone, word)| {
            let mut checks = status.checks.iter();
            checks.any(|check| {
                check.subject.as_deref() == Some(&format!("{zone}."))
                    && check.message.contains("odd")
                    && check.message.contains(word)
            })
        })
    })?;
    let missing: BTreeSet<String> = status
        .checks
        .iter()
        .filter(|check| check.name == "zone-missing")
        .filter_map(|check| check.subject.clone())
        .collect();
    assert_eq!(missing, wanted, "counted exactly: {:?}", status.checks);
    for (zone, _) in bad {
        // What is not held is not made up.
        let code = site.address(&format!("www.{zone}"))?.0;
        ensure!(![0, 3].contains(&code), "{zone}: {code}");
    }
    let (code, text) = site.cli_code(&["status"])?;
    assert_eq!(code, 2, "{text}");
    Ok(())
}

/// Knot as the primary of a zone for those who have a key.
fn keyed(peers: &Peers, secret: &str) -> Result<Knot> {
    Knot::start_at(peers, Place::new("knot")?, |place| {
        let text = "$TTL 60\n@ SOA ns hostmaster 7 2 1 1209600 60\n@ NS ns\nns A 192.0.2.1\n";
        let file = place.write("zone", text);
        format!(
            "{}template:\n  - id: default\n    storage: {}\n    zonefile-sync: -1\n    zonefile-load: whole\n\
             key:\n  - id: shared\n    algorithm: hmac-sha256\n    secret: {secret}\n\
             acl:\n  - id: us\n    address: 127.0.0.0/8\n    key: shared\n    action: transfer\n\
             zone:\n  - domain: one.test\n    file: {file}\n    acl: us\n",
            place.knot(),
            place.dir().display()
        )
    })
}

#[test]
fn a_primary_that_cannot_be_verified_is_told_of_first_and_the_next_one_gives_the_zone() -> Result<()>
{
    let peers = peers_or_skip!();
    let secret = "c291cmNlcy1rZXktd2l0aC0zMi1vY3RldHMtaW4taXQh";
    let first = keyed(&peers, "d3Jvbmcta2V5LXdpdGgtMzItb2N0ZXRzLWluLWl0LSEh")?;
    let mut second = keyed(&peers, secret)?;
    let mut site = plain(&format!(
        "[[key]]\nname = \"shared\"\nsecret = \"{secret}\"\n\
         [[peer]]\nname = \"the-first\"\naddress = \"{}\"\ntsig-key = \"shared\"\n\
         [[peer]]\nname = \"another\"\naddress = \"{}\"\ntsig-key = \"shared\"\n\
         [[zone]]\nname = \"one.test\"\nprimaries = [\"the-first\", \"another\"]\n",
        first.dns(),
        second.dns()
    ))?;
    site.up()?;
    site.wait_running()?;
    wait::serial(SOON, site.dns(), "one.test", 7)?;
    // That another one had it is no reason to keep quiet about the first.
    let failed = |status: &Status, source: &str, why: &str| {
        let copies = status.zones.iter().flat_map(|zone| &zone.sites);
        let mut errors = copies.flat_map(|copy| &copy.errors);
        errors.any(|error| error.source == source && error.error.contains(why))
    };
    site.wait_status(
        "what the first said, and that the other gave it",
        |status| {
            let mut copies = status.zones.iter().flat_map(|zone| &zone.sites);
            failed(status, "the-first", "BADSIG")
                && copies.any(|copy| copy.from.as_deref() == Some("another"))
        },
    )?;
    site.wait_log("BADSIG")?;
    // When nobody has it any longer, it is the first that is named, by which things went wrong.
    second.kill_hard()?;
    let status = site.wait_status("that both have failed", |status| {
        failed(status, "the-first", "BADSIG") && failed(status, "another", "")
    })?;
    let told = status.zones.iter().flat_map(|zone| &zone.sites);
    let told: Vec<&str> = told.filter_map(|copy| copy.last_error.as_deref()).collect();
    ensure!(
        told.len() == 1 && told[0].starts_with("the-first: ") && told[0].contains("BADSIG"),
        "{told:?}"
    );
    Ok(())
}

const CATALOG: &str = "catalog.test";

fn catalog(serial: u32, version: &str, members: &[String]) -> String {
    let mut text = format!(
        "$TTL 0\n@ SOA invalid. invalid. {serial} 2 1 1209600 0\n@ NS invalid.\n{version}\n"
    );
    for zone in members {
        let node = zone.replace('.', "-");
        text += &format!("{node}.zones PTR {zone}.\n");
    }
    text
}

/// Three rounds of asking the source, each of which may take the five seconds after which one that is silent counts as such.
const THREE_CYCLES: Duration = Duration::from_secs(15);
/// What "at once" is to an operator: the next look at the status, on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(10);

const VERSION: &str = "version TXT \"2\"";

/// BIND with a catalog of fifty zones, and a site that follows it.
struct Fifty {
    named: Named,
    site: Site,
    zones: Vec<String>,
}

impl Fifty {
    fn start(peers: &Peers) -> Result<Self> {
        let zones: Vec<String> = (1..=50)
            .map(|number| format!("z{number}.example"))
            .collect();
        let named = Named::start_at(peers, Place::at("named", Ipv4Addr::LOCALHOST)?, |place| {
            place.write("catalog", &catalog(1, VERSION, &zones));
            place.write("zone", &zone_file(1, "192.0.2.1"));
            let mut text = format!(
                "{}zone \"{CATALOG}\" {{ type primary; file \"catalog\"; }};\n",
                place.named("allow-transfer { any; }; notify no; transfers-out 100;")
            );
            for zone in &zones {
                text += &format!("zone \"{zone}\" {{ type primary; file \"zone\"; }};\n");
            }
            text
        })?;
        let mut site = plain(&format!(
            "[[peer]]\nname = \"bind\"\naddress = \"{}\"\n[[zone]]\nname = \"{CATALOG}\"\ncatalog = \"consumer\"\n\
             primaries = [\"bind\"]\nadmit = [\"*.example\"]\n",
            named.dns()
        ))?;
        site.up()?;
        site.wait_running()?;
        let fifty = Self { named, site, zones };
        fifty.wait_all()?;
        Ok(fifty)
    }

    fn wait_all(&self) -> Result<()> {
        for zone in &self.zones {
            wait::serial(SOON, self.site.dns(), zone, 1)?;
        }
        Ok(())
    }

    /// Another catalog, fetched by the timer of its SOA.
    fn publish(&self, serial: u32, text: &str) -> Result<()> {
        self.named.place().write("catalog", text);
        self.named.rndc(&["reload", CATALOG])?;
        wait::until(SOON, "the catalog to be fetched", || {
            let status = self.site.status()?;
            let zone = status
                .zones
                .iter()
                .find(|zone| zone.zone == format!("{CATALOG}."));
            let seen = zone.and_then(|zone| zone.serial);
            ensure!(seen == Some(serial), "serial {seen:?}");
            Ok(Some(()))
        })
    }

    /// What is wrong with a catalog that was fetched is told at once: not at some next round.
    fn wait_check(&self, name: &str, word: &str) -> Result<()> {
        wait::within(AT_ONCE, name, || {
            let what = format!("{name}: {word}");
            self.site.wait_status(&what, |status| {
                let mut checks = status.checks.iter();
                checks.any(|check| check.name == name && check.message.contains(word))
            })
        })?;
        let code = self.site.cli_code(&["status"])?.0;
        ensure!(code != 0, "the exit code tells");
        Ok(())
    }
}

#[test]
fn a_catalog_that_shrinks_to_one_of_fifty_or_breaks_deletes_nothing_until_it_is_approved()
-> Result<()> {
    let peers = peers_or_skip!();
    let fifty = Fifty::start(&peers)?;
    let site = &fifty.site;
    let one = &fifty.zones[..1];

    // Broken in each of the ways, and with one member only: nothing of it is believed.
    fifty.publish(2, &catalog(2, "version TXT \"3\"", one))?;
    fifty.wait_check("catalog-not-followed", "version")?;
    fifty.wait_all()?;
    let twice = format!(
        "{}z1-example.zones PTR z2.example.\n",
        catalog(3, VERSION, one)
    );
    fifty.publish(3, &twice)?;
    fifty.wait_check("catalog-not-followed", "z1-example")?;
    fifty.wait_all()?;

    // Whole again, but with one of fifty: held.
    fifty.publish(4, &catalog(4, VERSION, one))?;
    fifty.wait_check("held-by-brake", "")?;
    fifty.wait_all()?;
    let held = site.api(async |client| client.plan().await)?.held;
    let id = held.first().context("it is held")?.id.clone();
    // The producer takes it back: nothing is left to approve.
    fifty.publish(5, &catalog(5, VERSION, &fifty.zones))?;
    site.wait_status("that nothing is held", |status| status.checks.is_empty())?;
    fifty.wait_all()?;

    // Meant this time, and approved.
    fifty.publish(6, &catalog(6, VERSION, one))?;
    fifty.wait_check("held-by-brake", "")?;
    let held = site.api(async |client| client.plan().await)?.held;
    let again = held.first().context("it is held")?.id.clone();
    ensure!(!id.is_empty() && !again.is_empty());
    site.cli_code(&["plan", "approve", &again])?;
    for zone in &fifty.zones[1..] {
        wait::until(SOON, &format!("{zone} to go"), || {
            Ok(query::serial(site.dns(), zone)?.is_none().then_some(()))
        })?;
    }
    wait::serial(SOON, site.dns(), &fifty.zones[0], 1)?;
    // And it all comes back when the catalog has it again.
    fifty.publish(7, &catalog(7, VERSION, &fifty.zones))?;
    fifty.wait_all()
}

#[test]
fn a_catalog_that_cannot_be_had_any_more_is_told_and_its_zones_stay() -> Result<()> {
    let peers = peers_or_skip!();
    let mut fifty = Fifty::start(&peers)?;
    fifty.named.kill_hard()?;
    let status = wait::within(THREE_CYCLES, "a source that is gone to be told of", || {
        let what = "that its source is gone, and since when";
        fifty.site.wait_status(what, |status| {
            status.checks.iter().any(|check| {
                check.name == "server-unreachable"
                    && check.subject.as_deref() == Some("bind")
                    && check.since.is_some()
            })
        })
    })?;
    let (code, text) = fifty.site.cli_code(&["status"])?;
    assert_eq!(code, 1, "{text}");
    ensure!(text.contains("bind"), "{text}");
    // One line for one server, however many zones come from it.
    let lines = status
        .checks
        .iter()
        .filter(|check| check.name == "server-unreachable");
    assert_eq!(lines.count(), 1, "{:?}", status.checks);
    fifty.wait_all()?;
    fifty.named.restart()?;
    fifty
        .site
        .wait_status("that all is well", |status| status.checks.is_empty())?;
    Ok(())
}
