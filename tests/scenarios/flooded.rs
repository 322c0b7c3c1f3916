//! A server under a flood: how many answers one network has is limited, changed without a restart, and told.

use std::net::UdpSocket;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use zonemesh_api::Client;
use zonemesh_testkit::query::{self, qtype};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Place, wait};
use zonemesh_tests::ask;
use zonemesh_tests::site::{SOON, zone_file};

const ZONE: &str = "example.com";
const QUESTIONS: usize = 200;

/// A name server of one zone.
fn server(rate: &str) -> Result<Site> {
    let mut site = Site::start(|place| {
        place.write("zone", &zone_file(1, "192.0.2.1"));
        configuration(place, rate)
    })?;
    site.wait_serial(SOON, ZONE, 1)?;
    Ok(site)
}

fn configuration(place: &Place, rate: &str) -> String {
    format!(
        "[site]\nname = \"us\"\n[listen]\ndns = [\"{}\"]\ntls = [\"{}\"]\nhttp = []\n\
         [[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\n[rate-limit]\n{rate}",
        place.dns(),
        place.tls(),
    )
}

/// How many answers of a flood from one address are whole, and how many there could be at one a second.
fn flood(site: &Site, from: &str) -> Result<(usize, usize)> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.connect(site.place().dns())?;
    socket.set_read_timeout(Some(SOON))?;
    let started = Instant::now();
    let mut whole = 0;
    for number in 0..QUESTIONS {
        // Names that are not there.
        socket.send(&query::question(&format!("n{number}.{ZONE}"), qtype::A))?;
        let mut answer = [0; 512];
        let len = socket.recv(&mut answer)?;
        ensure!(len >= 12, "no answer");
        whole += usize::from(answer[2] & 2 == 0);
    }
    Ok((whole, 2 + started.elapsed().as_secs() as usize))
}

fn metrics(site: &Site) -> Result<String> {
    let client = Client::new(site.data_dir().join("control.sock"));
    let text = ask::runtime()?.block_on(client.metrics());
    text.map_err(|error| anyhow::anyhow!("{error}"))
}

#[test]
fn a_network_that_asks_too_much_is_limited_by_what_the_file_says_now() -> Result<()> {
    // Whether it is there is asked from 127.0.0.1, as often as it takes: that would be too often, and in the log before the flood.
    let exempt = "exempt = [\"127.0.0.1\", \"127.7.7.0/24\"]";
    let site = server(&format!("per-second = 1\nslip = 1\n{exempt}\n"))?;
    let (whole, most) = flood(&site, "127.1.2.3")?;
    ensure!((1..=most).contains(&whole), "{whole} of {QUESTIONS}");
    let (whole, _) = flood(&site, "127.7.7.7")?;
    ensure!(whole == QUESTIONS, "{whole}: its network is exempt");
    wait::until(SOON, "a line in the log", || {
        let log = site.log();
        let told = log.lines().find(|line| line.contains("[rate-limit]"));
        Ok(told.filter(|line| line.contains("127.1.2.0/24")).map(drop))
    })?;
    let text = metrics(&site)?;
    let truncated = "zonemesh_serve_rate_limited_total{kind=\"negative\",action=\"truncated\"} ";
    let count: usize = text
        .lines()
        .find_map(|line| line.strip_prefix(truncated)?.parse().ok())
        .with_context(|| format!("no {truncated}in {text}"))?;
    ensure!((QUESTIONS - most..QUESTIONS).contains(&count), "{text}");
    // Without a restart, and without what networks have had being forgotten where nothing changed.
    let place = site.place();
    let changed = configuration(place, "per-second = 0\n");
    place.write("zonemesh.toml", &changed);
    ensure!(
        site.cli_ok(&["config", "reload"])?
            .contains("rate limits changed")
    );
    let (whole, _) = flood(&site, "127.1.2.3")?;
    ensure!(whole == QUESTIONS, "{whole}: there is no limit any more");
    Ok(())
}

#[test]
fn every_metric_has_its_line_in_the_reference() -> Result<()> {
    let site = server("[metrics]\nper-zone = true\n")?;
    let reference = concat!(
        include_str!("../../docs/reference/metrics.md"),
        include_str!("../../docs/reference/status.md")
    );
    let text = metrics(&site)?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for line in lines {
        let (name, kind) = line.split_once(' ').context("a type")?;
        let name = match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        };
        let told = [format!("`{name}`"), format!("`{name}{{")];
        ensure!(
            told.iter().any(|told| reference.contains(told)),
            "{name} is not in the reference"
        );
        count += 1;
    }
    ensure!(count > 20, "{text}");
    Ok(())
}
