//! `kill -9` at any moment: everything acknowledged is there, and nothing by halves.

// What is not as expected ends the test, also in its helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{apex, at, counter, create, next, zone};
use zonemesh_store::{Batch, Origin, Store};
use zonemesh_zone::Zone;

/// Says to this test program that it is the writer, and where.
const WRITER: &str = "ZONEMESH_STORE_TEST_WRITER";

/// The writer: not a test of its own, it does nothing unless the test below has started it.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os(WRITER) else {
        return;
    };
    let store = Store::open(Path::new(&dir), "site-a").unwrap();
    let mut zones = [1, 2].map(|n| match store.load(&apex(n)).unwrap() {
        Some(stored) => stored.zone,
        None => {
            let zone = zone(n, 0, &[(1, 1)]);
            create(&store, &zone);
            zone
        }
    });
    let mut out = std::io::stdout().lock();
    loop {
        let serial = zones[0].serial().into_int() + 1;
        let newer = zones.each_ref().map(|zone| bulky(zone, serial));
        let mut batch = Batch::new(at(serial.into())).put("t", "serial", &serial.to_be_bytes());
        for (old, new) in zones.iter().zip(&newer) {
            batch = batch.append(new, &old.diff(new), Origin::Local);
        }
        store.commit(batch).unwrap();
        // On a line of its own, whatever the test harness prints.
        writeln!(out, "\nacknowledged {serial}").unwrap();
        out.flush().unwrap();
        zones = newer;
    }
}

/// The next version, with enough of a change that snapshots are written often.
fn bulky(zone: &Zone, serial: u32) -> Zone {
    let new = next(zone, serial);
    let mut editor = new.edit();
    let owner = zonemesh_zone::record::parse_name(&format!("bulk.{}", zone.apex())).unwrap();
    let rdata: Vec<u8> = std::iter::repeat_n(serial as u8, 6000).collect();
    let set = zonemesh_zone::Rrset::new(
        zonemesh_zone::Rtype::from_int(65280),
        zonemesh_zone::Ttl::from_secs(60),
        [rdata],
    );
    editor.put(&owner, set).unwrap();
    editor.finish().unwrap()
}

struct Writer {
    child: Child,
    lines: std::sync::mpsc::Receiver<u32>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_process", "--exact", "--nocapture"])
            .env(WRITER, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(serial) = line.strip_prefix("acknowledged ") {
                    sender.send(serial.parse().unwrap()).unwrap();
                }
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
        }
    }

    /// Kills it `after` so long, at whatever it is doing, but not before its first acknowledgement; returns the last one.
    fn kill(mut self, after: Duration) -> u32 {
        let first = self.lines.recv_timeout(Duration::from_secs(60));
        let first = first.expect("the writer acknowledges something within a minute");
        let moment = Instant::now() + after;
        let mut last = first;
        while let Some(left) = moment.checked_duration_since(Instant::now()) {
            if let Ok(serial) = self.lines.recv_timeout(left) {
                last = serial;
            }
        }
        // SIGKILL, on Unix.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        // What was acknowledged before the signal may still have been on its way.
        self.lines.try_iter().last().unwrap_or(last)
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_is_there_by_halves() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..8u64 {
        // Odd steps, so that the moments spread over everything that the writer does.
        let after = Duration::from_micros(round * round * 1_777);
        let acknowledged = Writer::start(dir.path()).kill(after);
        assert!(acknowledged > last, "round {round}");
        let store = Store::open(dir.path(), "site-a").unwrap();
        let [first, second] = [1, 2].map(|n| store.load(&apex(n)).unwrap().unwrap());
        let serial = first.zone.serial();
        // One more may have been made durable, but not been acknowledged yet.
        let there = serial.into_int();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&there),
            "round {round}: {acknowledged} was acknowledged, {there} is there"
        );
        for stored in [&first, &second] {
            assert_eq!(stored.zone.serial(), serial);
            assert_eq!(stored.high_water, serial);
            assert_eq!(counter(&stored.zone), Some(there));
            let expected = bulky(&stored.zone, there);
            assert!(stored.zone.same_contents(&expected));
        }
        let value = store.get("t", "serial").unwrap().unwrap();
        assert_eq!(value, there.to_be_bytes());
        let history = store.history(&apex(1)).unwrap();
        for pair in history.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
        }
        let oldest = history[0].from;
        let version = store.version_at(&apex(1), oldest).unwrap().unwrap();
        assert_eq!(version.serial(), oldest);
        last = there;
    }
}
