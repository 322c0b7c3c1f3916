//! As many real sites as a machine holds, and what it costs them to come back after a power cut: the same story as the
//! simulation's, to see that it tells the truth. That all are alike again is a test, with a few; what it costs is measured with
//! more: `SITES=20 ZONES=200 cargo test -p zonemesh-tests --test scenarios many -- --nocapture`. From 18 sites on each watches a few
//! (decision 0019); that story has as many by itself.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use zonemesh_testkit::query::{self, qtype};
use zonemesh_testkit::wait;
use zonemesh_tests::Site;
use zonemesh_tests::site::zone_file;

/// How long any step may take with sites by the dozen on a machine with few cores.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long is waited for one answer of a site on the same machine.
const ANSWER: Duration = Duration::from_millis(200);

/// The kinds of messages that a site counts.
const KINDS: [&str; 6] = [
    "probe", "transfer", "notify", "announce", "compare", "serial",
];

fn number_of(variable: &str, default: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is no number: {text}")),
        Err(_) => Ok(default),
    }
}

/// Within this a site that hangs is known to all, on a machine that has two processors for all of them. In the simulation, where none
/// waits for a processor, it is 15 s.
const NOTICED: Duration = Duration::from_secs(30);

/// A round of probes.
const ROUND: Duration = Duration::from_secs(5);

/// A line, and how often each site has logged it.
type Logged = (String, Vec<usize>);

struct Many {
    sites: Vec<Site>,
    /// The zones, each at its primary, and the serial that all are to serve.
    zones: Vec<(usize, String, u32)>,
}

impl Many {
    fn start(sites: usize, zones: usize) -> Result<Self> {
        let zones: Vec<(usize, String, u32)> = (0..zones)
            .map(|number| (number % sites, format!("z{number}.example"), 1))
            .collect();
        let mut many = Self {
            sites: Vec::new(),
            zones,
        };
        for index in 0..sites {
            let role = if index == 0 {
                "catalog-primary"
            } else {
                "standard"
            };
            let mut site = Site::new(&format!("site-{index}"), role, None)?;
            site.place().write("zone", &zone_file(1, "192.0.2.1"));
            let (base, _) = site
                .configuration(role)
                .split_once("[[zone]]")
                .map(|(base, rest)| (base.replace("debug", "info"), rest.to_owned()))
                .context("the configuration has a zone")?;
            let own = many
                .zones
                .iter()
                .filter(|(primary, _, _)| *primary == index);
            let own: String = own
                .map(|(_, zone, _)| {
                    format!("[[zone]]\nname = \"{zone}\"\nfile = \"zone\"\ndynamic = true\n")
                })
                .collect();
            site.configure(&format!("{base}{own}"));
            match many.sites.first() {
                None => site.up()?,
                Some(first) => {
                    let packet = first.cli_ok(&["invite", &site.name])?;
                    site.join(&packet)?;
                }
            }
            if index == 0 {
                // The mesh is there before anybody is invited to it.
                site.wait_ready()?;
            }
            site.wait_running()?;
            many.sites.push(site);
        }
        many.wait_alike()?;
        Ok(many)
    }

    /// Waits until every site serves every zone at its serial. Each is asked again only until it does.
    fn wait_alike(&self) -> Result<()> {
        let next = AtomicUsize::new(0);
        let ask = || -> Result<()> {
            while let Some(site) = self.sites.get(next.fetch_add(1, Ordering::Relaxed)) {
                for (_, zone, serial) in &self.zones {
                    let what = format!("serial {serial} of {zone} at {}", site.name);
                    wait::until(PATIENCE, &what, || {
                        // A site that starts does not answer: what it was asked then must not be waited for.
                        let question = query::question(zone, qtype::SOA);
                        let reply = query::udp(site.dns(), &question, ANSWER)?;
                        let seen = query::soa_serial(&reply)?;
                        ensure!(seen.is_some_and(|seen| seen >= *serial), "{seen:?}");
                        Ok(Some(()))
                    })?;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers = [scope.spawn(ask), scope.spawn(ask)];
            let outcomes = workers.map(|worker| worker.join().expect("a worker does not panic"));
            outcomes.into_iter().collect()
        })
    }

    /// Cuts the power when a tenth of the zones has just changed and nobody knows yet: all are stopped in their tracks, and
    /// each goes on only for as long as its own changes take.
    fn power_cut(&mut self) -> Result<()> {
        for site in &mut self.sites {
            site.daemon()?.signal(Signal::STOP)?;
        }
        for (index, site) in self.sites.iter_mut().enumerate() {
            site.daemon()?.signal(Signal::CONT)?;
            let own = self
                .zones
                .iter_mut()
                .filter(|(primary, _, _)| *primary == index);
            for (_, zone, serial) in own.step_by(10) {
                let changed = site.set(zone, "new", "192.0.2.2", false)?;
                *serial = changed.serial.context("a serial")?;
            }
            site.kill9()?;
        }
        Ok(())
    }

    /// What each site has asked its peers for since it was started, by kind.
    fn asked(&self) -> Result<Vec<BTreeMap<String, u64>>> {
        let of = |site: &Site| -> Result<BTreeMap<String, u64>> {
            let text = site.api(async |client| client.metrics().await)?;
            let mut counts = BTreeMap::new();
            for line in text
                .lines()
                .filter(|line| line.starts_with("zonemesh_peer_requests_total"))
            {
                let kind = line.split('"').nth(1).context("a label")?;
                let count = line.rsplit(' ').next().context("a value")?.parse()?;
                counts.insert(kind.to_owned(), count);
            }
            ensure!(counts.len() == KINDS.len(), "{text}");
            Ok(counts)
        };
        self.sites.iter().map(of).collect()
    }

    /// How often each has logged something.
    fn logged(&self, line: &str) -> Logged {
        let times = self
            .sites
            .iter()
            .map(|site| site.log().matches(line).count());
        (line.to_owned(), times.collect())
    }

    /// How much time each has taken of a processor since it was started.
    fn busy(&mut self) -> Result<Vec<Duration>> {
        let times = self.sites.iter_mut().map(|site| {
            let pid = site.daemon()?.pid().context("it runs")?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // Fields 14 and 15, counted from behind the name, which may have spaces: ticks of a hundredth of a second.
            let (_, fields) = stat.rsplit_once(')').context("the name of the process")?;
            let ticks = fields.split_whitespace().skip(11).take(2);
            let sum: u64 = ticks.map(|tick| tick.parse::<u64>().unwrap_or(0)).sum();
            Ok(Duration::from_millis(sum * 10))
        });
        times.collect()
    }
}

/// The mean of a kind of what all have asked.
fn mean(asked: &[BTreeMap<String, u64>], kind: &str) -> f64 {
    let counts = asked.iter().filter_map(|counts| counts.get(kind));
    counts.sum::<u64>() as f64 / asked.len() as f64
}

/// Cuts the power of all, and tells what it costs them to come back.
fn come_back(many: &mut Many) -> Result<()> {
    many.power_cut()?;
    let began = Instant::now();
    for site in &mut many.sites {
        site.up()?;
    }
    many.wait_alike()?;
    let healed = began.elapsed();
    let asked = many.asked()?;
    let busy: Duration = many.busy()?.iter().sum();
    let totals = asked.iter().map(|counts| counts.values().sum::<u64>());
    let (sites, zones) = (many.sites.len(), many.zones.len());
    println!(
        "| What | Sites | Zones | Healed in | Probes | Transfers | NOTIFYs | Most of any site | Process, ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    println!(
        "| power cut, processes | {sites} | {zones} | {:.1} s | {:.1} | {:.1} | {:.1} | {} | {:.0} |",
        healed.as_secs_f64(),
        mean(&asked, "probe"),
        mean(&asked, "transfer"),
        mean(&asked, "notify"),
        totals.max().unwrap_or(0),
        busy.as_secs_f64() * 1000.0 / sites as f64,
    );
    Ok(())
}

/// Waits until all but one have logged something once more than they had; for how many seconds.
fn all_log(many: &Many, but: &str, (line, before): &Logged, within: Duration) -> Result<f64> {
    let began = Instant::now();
    let mut lack: Vec<(&Site, usize)> = many.sites.iter().zip(before.iter().copied()).collect();
    lack.retain(|(site, _)| site.name != but);
    wait::until(within, &format!("{line:?} at all"), || {
        lack.retain(|(site, before)| site.log().matches(line).count() <= *before);
        let names: Vec<&str> = lack.iter().map(|(site, _)| site.name.as_str()).collect();
        ensure!(names.is_empty(), "{names:?}");
        Ok(Some(()))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// Starts as many as are asked for, and tells how long that took.
fn started(sites: usize, zones: usize) -> Result<Many> {
    let began = Instant::now();
    let many = Many::start(sites, zones)?;
    let took = began.elapsed().as_secs_f64();
    println!("{sites} sites with {zones} zones were made in {took:.1} s");
    Ok(many)
}

#[test]
fn many_sites_come_back_after_a_power_cut() -> Result<()> {
    let mut many = started(number_of("SITES", 4)?, number_of("ZONES", 12)?)?;
    come_back(&mut many)
}

#[test]
fn two_dozen_sites_watch_a_few_each_and_all_know_when_one_hangs_or_is_back() -> Result<()> {
    let sites = number_of("SITES", 24)?;
    ensure!(sites > 17, "with {sites} sites each looks after all");
    let mut many = started(sites, number_of("ZONES", sites)?)?;

    // What is counted is a rate, so time has to pass; nobody is asked anything meanwhile.
    let rest = |many: &Many, rounds: u32| -> Result<_> {
        let (before, began) = (many.asked()?, Instant::now());
        wait::until(PATIENCE, "time to pass", || {
            Ok((began.elapsed() >= rounds * ROUND).then_some(()))
        })?;
        let after = many.asked()?;
        let more = |kind: &str| mean(&after, kind) - mean(&before, kind);
        let rounds = began.elapsed().as_secs_f64() / ROUND.as_secs_f64();
        Ok((rounds, more("probe"), more("transfer") + more("notify")))
    };
    // Nobody is new to anybody, or thought to be lost, when a round is as it is at rest.
    wait::until(PATIENCE, "a round at rest", || {
        let (rounds, probes, others) = rest(&many, 1)?;
        Ok((probes <= 16.0 * (rounds + 0.5) && others == 0.0).then_some(()))
    })?;
    // Half a minute of it: sixteen probes a round, and not all the others; nothing about zones.
    let (rounds, probes, messages) = rest(&many, 6)?;
    println!(
        "at rest: {:.1} probes of {} others a round, and {messages:.1} other questions",
        probes / rounds,
        sites - 1
    );
    let seen = format!("{probes} probes in {rounds} rounds, {messages} other questions");
    ensure!(probes <= 16.0 * (rounds + 1.0), "{seen}");
    ensure!(probes >= 16.0 * (rounds - 2.0) && messages < 2.0, "{seen}");

    // One hangs: who watches it tells all.
    let hung = sites / 2;
    let name = many.sites[hung].name.clone();
    let lost = many.logged(&format!("peer {name} lost"));
    many.sites[hung].daemon()?.signal(Signal::STOP)?;
    let took = all_log(&many, &name, &lost, NOTICED)?;
    println!("that one hangs was known to all after {took:.1} s");
    let back = many.logged(&format!("peer {name} healed"));
    many.sites[hung].daemon()?.signal(Signal::CONT)?;
    let took = all_log(&many, &name, &back, NOTICED)?;
    println!("that it is back after {took:.1} s");
    come_back(&mut many)
}
