//! Disks that are full, hang or turn read-only: answers go on, changes are refused, and nothing acknowledged is lost.
//! Needs root.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use data_encoding::BASE64;
use zonemesh_testkit::query::qtype;
use zonemesh_testkit::{Disk, Load, Peers, disks_or_skip, peers_or_skip, query, servers, wait};
use zonemesh_tests::Site;
use zonemesh_tests::ask::{self, rcode};
use zonemesh_tests::site::SOON;
use zonemesh_transfer::peer::{Options, Peer, Target, Transport};
use zonemesh_transfer::query::extended_error_of;
use zonemesh_transfer::tsig::{Algorithm, Key};
use zonemesh_update::Update;
use zonemesh_zone::Record;

use crate::crashes::lock;

/// Within this a disk that hangs is told of (F-26).
const TOLD: Duration = Duration::from_secs(60);

/// Within this a site serves after a start, also with a full disk (F-05, F-69).
const SERVES: Duration = Duration::from_secs(30);

const ZONE: &str = "a.example";
const KEY: &str = "storm";
const SECRET: &str = "c3Rvcm0ta2V5LXdpdGgtMzItb2N0ZXRzLWluLWl0LSE=";

/// A site whose data directory is on a disk of its own. The disk goes first, so that it is unmounted in any case.
struct Stand {
    disk: Disk,
    site: Site,
}

impl Stand {
    fn start(mebibytes: u64) -> Result<Self> {
        let site = Site::new("site-a", "catalog-primary", None)?;
        let text = site.configuration("catalog-primary");
        let update = format!(
            "allow-update = [{{ key = \"{KEY}\" }}]\n[[key]]\nname = \"{KEY}\"\nsecret = \"{SECRET}\"\n"
        );
        site.configure(&format!("{text}{update}"));
        let disk = Disk::mount(&site.data_dir(), mebibytes)?;
        let mut stand = Self { disk, site };
        stand.site.up()?;
        stand.site.wait_ready()?;
        // The zone's file is read after that, the first time.
        stand
            .site
            .wait_address(&format!("www.{ZONE}"), "192.0.2.1")?;
        Ok(stand)
    }

    /// Five hundred queries a second, which are all to be answered.
    fn load(&self) -> Result<Load> {
        let load = Load::start(self.site.dns(), &format!("www.{ZONE}"), qtype::A, 500)?;
        wait::until(SOON, "the stream to flow", || {
            Ok((load.answered() > 50).then_some(()))
        })?;
        Ok(load)
    }

    /// Waits for what the status says of the store.
    fn wait_failing(&self, failing: bool, within: Duration) -> Result<()> {
        let what = if failing {
            "what is wrong with the store"
        } else {
            "a store that works"
        };
        let status = wait::until(within, what, || {
            let status = self.site.status()?;
            let mut checks = status.checks.iter();
            let named = checks.any(|check| check.name == "store-failing");
            ensure!(named == failing, "{:?}", status.checks);
            Ok(Some(status))
        })?;
        ensure!(
            !failing || self.site.cli_code(&["status"])?.0 == 2,
            "{:?}",
            status.checks
        );
        Ok(())
    }
}

fn assert_all_answered(load: Load) -> Result<()> {
    let account = load.finish()?;
    assert_eq!(account.lost, 0, "{account:?}");
    assert_eq!(account.rcodes, HashMap::from([(0, account.sent)]));
    Ok(())
}

/// What a storm of changes was told.
#[derive(Default)]
struct Storm {
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    refused: Mutex<Vec<String>>,
    /// Refusals of commands, and of updates over the network.
    counts: [AtomicUsize; 2],
}

impl Storm {
    fn note(&self, kind: usize, name: String, outcome: Result<()>) {
        match outcome {
            Ok(()) => drop(lock(&self.acknowledged).insert(name)),
            Err(error) => {
                lock(&self.refused).push(format!("{error:#}"));
                self.counts[kind].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sets records by command until it is stopped, each of a name of its own and bulky.
    fn by_command(&self, site: &Site) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("c{number}.{ZONE}");
            let words = ["record", "set", ZONE, &name, "TXT", &bulk(), "--ttl", "60"];
            self.note(0, name.clone(), site.cli_ok(&words).map(drop));
        }
    }

    /// The same over the network.
    fn by_update(&self, peers: &Peers, site: &Site) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("u{number}.{ZONE}");
            let outcome = nsupdate(peers, site, &name);
            self.note(1, name, outcome);
        }
    }

    fn wait(&self, what: &str, enough: impl Fn(&Self) -> bool) -> Result<()> {
        wait::until(SOON, what, || Ok(enough(self).then_some(())))
    }
}

fn bulk() -> String {
    vec![format!("\"{}\"", "x".repeat(250)); 8].join(" ")
}

fn nsupdate(peers: &Peers, site: &Site, name: &str) -> Result<()> {
    let at = site.dns();
    let text = format!(
        "server {} {}\nzone {ZONE}\nupdate add {name} 60 TXT {}\nsend\n",
        at.ip(),
        at.port(),
        bulk()
    );
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    servers::run(peers, "bin/nsupdate", &["-v", "-y", &key], &text).map(drop)
}

/// What an UPDATE with EDNS (RFC 6891) is answered with: the RCODE, and the extended error (RFC 8914).
fn update_with_edns(site: &Site, name: &str) -> Result<(u8, Option<String>)> {
    let zone = ask::name(ZONE)?;
    let record = Record::from_text(&format!("{name}. 60 IN TXT {}", bulk()), &zone)?;
    let message = Update::new(zone).add(record).compose(7)?;
    let secret = BASE64.decode(SECRET.as_bytes())?;
    let key = Key::new(ask::name(KEY)?, Algorithm::HmacSha256, &secret)?;
    let target = Target {
        addr: site.dns(),
        source: None,
        transport: Transport::Tcp,
        tsig: None,
    };
    let reply = ask::runtime()?.block_on(async {
        let peer = Peer::new(target, None, Options::default())?;
        anyhow::Ok(peer.request_signed(message, Some(&key), SOON).await?)
    })?;
    Ok((query::rcode(&reply), extended_error_of(&reply)))
}

/// Every name that was acknowledged is there.
fn assert_kept(site: &Site, names: &BTreeSet<String>) -> Result<()> {
    let zone = site.cli_ok(&["zone", "export", ZONE])?;
    let there: BTreeSet<&str> = zone
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|owner| owner.trim_end_matches('.'))
        .collect();
    let relative = |name: &str| name.trim_end_matches(&format!(".{ZONE}")).to_owned();
    let lost: Vec<&String> = names
        .iter()
        .filter(|name| !there.contains(name.as_str()) && !there.contains(relative(name).as_str()))
        .collect();
    ensure!(
        lost.is_empty(),
        "acknowledged and lost: {lost:?}, of {}",
        names.len()
    );
    Ok(())
}

#[test]
fn a_disk_that_fills_up_is_told_of_before_it_is_full() -> Result<()> {
    disks_or_skip!();
    let stand = Stand::start(64)?;
    let named = |name: &'static str| {
        stand.site.wait_status(name, move |status| {
            let mut names = status.checks.iter().map(|check| check.name.as_str());
            names.any(|found| found == name)
        })
    };
    stand.disk.fill_but(4)?;
    named("disk-filling")?;
    stand.site.set(ZONE, "more", "192.0.2.7", false)?;
    stand.disk.drain()?;
    stand
        .site
        .wait_status("room", |status| status.checks.is_empty())?;
    stand.disk.fill_but(1)?;
    named("disk-nearly-full")?;
    Ok(())
}

#[test]
fn a_full_disk_stops_changes_only_loses_none_that_was_acknowledged_and_heals_when_there_is_room()
-> Result<()> {
    disks_or_skip!();
    let peers = peers_or_skip!();
    let mut stand = Stand::start(24)?;
    let load = stand.load()?;
    let storm = Storm::default();
    thread::scope(|scope| -> Result<()> {
        let (storm, stand, peers) = (&storm, &stand, &peers);
        let workers = [
            scope.spawn(move || storm.by_command(&stand.site)),
            scope.spawn(move || storm.by_update(peers, &stand.site)),
        ];
        let outcome = (|| -> Result<()> {
            storm.wait("changes", |storm| lock(&storm.acknowledged).len() >= 20)?;
            stand.disk.fill()?;
            storm.wait("refusals of both kinds", |storm| {
                storm
                    .counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) >= 5)
            })?;
            stand.wait_failing(true, SOON)
        })();
        storm.stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("a worker does not panic");
        }
        outcome
    })?;
    let refused = lock(&storm.refused).clone();
    let says = |words: &str| refused.iter().any(|text| text.contains(words));
    ensure!(says("SERVFAIL"), "an update is answered: {refused:#?}");
    ensure!(says("No space left"), "a command says why: {refused:#?}");
    // Who can read it is told why.
    let mut number = 0;
    wait::until(SOON, "an update to be refused with the reason", || {
        number += 1;
        let (code, why) = update_with_edns(&stand.site, &format!("e{number}.{ZONE}"))?;
        ensure!([rcode::NOERROR, rcode::SERVFAIL].contains(&code), "{code}");
        if code == rcode::NOERROR {
            // There was room for one more.
            return Ok(None);
        }
        let why = why.context("no extended error")?;
        ensure!(why.contains("No space left"), "{why}");
        Ok(Some(()))
    })?;
    assert_all_answered(load)?;
    let kept = lock(&storm.acknowledged).clone();
    assert_kept(&stand.site, &kept)?;

    // The power fails while it is full; the site serves what was acknowledged all the same.
    stand.site.kill9()?;
    stand.site.up()?;
    wait::until(SERVES, "answers in spite of a full disk", || {
        let (_, found) = stand.site.address(&format!("www.{ZONE}"))?;
        Ok(found.map(|_| ()))
    })?;
    stand.site.wait_running()?;
    stand
        .site
        .wait_address(&format!("www.{ZONE}"), "192.0.2.1")?;
    assert_kept(&stand.site, &kept)?;

    let load = stand.load()?;
    stand.disk.drain()?;
    wait::until(SOON, "a change to be taken", || {
        nsupdate(&peers, &stand.site, &format!("again.{ZONE}")).map(Some)
    })?;
    stand.wait_failing(false, SOON)?;
    assert_kept(&stand.site, &kept)?;
    assert_all_answered(load)
}

#[test]
fn a_disk_that_turns_read_only_stops_changes_only_and_is_told() -> Result<()> {
    disks_or_skip!();
    let mut stand = Stand::start(24)?;
    stand.site.set(ZONE, "before", "192.0.2.7", false)?;
    let load = stand.load()?;
    stand.disk.turn_read_only()?;
    let refused = stand.site.set(ZONE, "after", "192.0.2.8", false);
    let error = format!("{:#}", refused.err().context("it cannot be stored")?);
    ensure!(error.contains("Read-only"), "{error}");
    stand.wait_failing(true, SOON)?;
    assert_all_answered(load)?;
    stand
        .site
        .wait_address(&format!("before.{ZONE}"), "192.0.2.7")?;

    stand.site.kill9()?;
    stand.disk.mend()?;
    stand.site.restart()?;
    stand
        .site
        .wait_address(&format!("before.{ZONE}"), "192.0.2.7")?;
    stand.site.set(ZONE, "after", "192.0.2.8", false)?;
    stand
        .site
        .wait_address(&format!("after.{ZONE}"), "192.0.2.8")?;
    stand.wait_failing(false, SOON)
}

#[test]
fn a_disk_that_hangs_stops_changes_only_is_told_within_a_minute_and_goes_on() -> Result<()> {
    disks_or_skip!();
    let peers = peers_or_skip!();
    let mut stand = Stand::start(24)?;
    let load = stand.load()?;
    let frozen = Instant::now();
    stand.disk.set_frozen(true)?;
    // It is not answered as done, and not left without an answer either.
    let refused = nsupdate(&peers, &stand.site, &format!("hangs.{ZONE}"));
    let error = format!("{:#}", refused.err().context("it cannot be stored")?);
    ensure!(error.contains("SERVFAIL"), "{error}");
    stand.wait_failing(true, TOLD.saturating_sub(frozen.elapsed()))?;
    stand.disk.set_frozen(false)?;
    // What has waited comes first, and until then nothing more is taken.
    wait::until(SOON, "a change to be taken", || {
        nsupdate(&peers, &stand.site, &format!("later.{ZONE}")).map(Some)
    })?;
    stand.wait_failing(false, SOON)?;
    assert_all_answered(load)?;
    // What was asked for while it hung is there or not, but the site is whole.
    stand.site.kill9()?;
    stand.site.restart()?;
    assert_kept(&stand.site, &BTreeSet::from([format!("later.{ZONE}")]))
}
