//! Foreign secondaries that hold greater serials than their primary: Knot, NSD and BIND, of which none takes a smaller one. The primary
//! notices by itself within two minutes, goes above, and they have what it has within one more.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Named, Nsd, Peers, Place, peers_or_skip, query, wait};
use zonemesh_tests::site::{SOON, zone_file};

const ZONE: &str = "example.com";

/// Within this a secondary that is ahead is noticed.
const NOTICED: Duration = Duration::from_secs(120);
/// And within this from then on everybody has what the primary has.
const HEALED: Duration = Duration::from_secs(60);

/// Whether a serial is after another (RFC 1982): less than half of the circle ahead.
fn is_after(serial: u32, other: u32) -> bool {
    (1..1 << 31).contains(&serial.wrapping_sub(other))
}

/// A name server with the zone, and its secondaries. Timers are so long that nothing happens by them.
struct Quartet {
    primary: Site,
    knot: Knot,
    nsd: Nsd,
    named: Named,
}

/// What the primary's configuration says besides the zone.
fn base(place: &Place, secondaries: &[(&str, SocketAddr)]) -> String {
    let mut text = format!(
        "[site]\nname = \"us\"\n[listen]\ndns = [\"{}\"]\ntls = []\nhttp = []\n[log]\nlevel = \"debug\"\n",
        place.dns()
    );
    for (name, address) in secondaries {
        text += &format!("[[peer]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    text
}

/// And of the zone.
fn with_zone() -> String {
    format!(
        "[[zone]]\nname = \"{ZONE}\"\nfile = \"zone\"\ndynamic = true\nnotify = [\"knot\", \"nsd\", \"named\"]\n\
         allow-transfer = [\"127.0.0.0/8\"]\n"
    )
}

impl Quartet {
    fn start(peers: &Peers, serial: u32) -> Result<Self> {
        let (ours, knot) = (Place::new("us")?, Place::new("knot")?);
        let (nsd, named) = (Place::new("nsd")?, Place::at("named", Ipv4Addr::LOCALHOST)?);
        let (ip, port) = (ours.address(), ours.port());
        let told = [
            ("knot", knot.dns()),
            ("nsd", nsd.dns()),
            ("named", named.dns()),
        ];
        let primary = Site::start_at(ours, |place| {
            place.write("zone", &zone_file(serial, "192.0.2.1"));
            base(place, &told) + &with_zone()
        })?;
        let knot = Knot::start_at(peers, knot, |place| {
            format!(
                "{}acl:\n  - id: all\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n\
                 remote:\n  - id: us\n    address: {ip}@{port}\n    via: {}\n\
                 zone:\n  - domain: {ZONE}\n    master: us\n    acl: all\n    storage: {}\n    file: zone\n",
                place.knot(),
                place.address(),
                place.dir().display(),
            )
        })?;
        let nsd = Nsd::start_at(peers, nsd, |place| {
            format!(
                "{}zone:\n  name: {ZONE}\n  zonefile: zone\n  allow-notify: 127.0.0.0/8 NOKEY\n  request-xfr: {ip}@{port} NOKEY\n  \
                 outgoing-interface: {}\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
                place.nsd(""),
                place.address()
            )
        })?;
        let named = Named::start_at(peers, named, |place| {
            format!(
                "{}zone \"{ZONE}\" {{ type secondary; file \"zone\"; masterfile-format text; primaries {{ {ip} port {port}; }}; \
                 allow-notify {{ any; }}; allow-transfer {{ any; }}; }};\n",
                place.named("notify no;")
            )
        })?;
        let quartet = Self {
            primary,
            knot,
            nsd,
            named,
        };
        quartet.all_have(SOON, serial, "192.0.2.1", peers)?;
        Ok(quartet)
    }

    fn secondaries(&self) -> [(&'static str, SocketAddr); 3] {
        let Self {
            knot, nsd, named, ..
        } = self;
        [
            ("knot", knot.dns()),
            ("nsd", nsd.dns()),
            ("named", named.dns()),
        ]
    }

    /// Waits until all secondaries answer with a serial and an address.
    fn all_have(&self, limit: Duration, serial: u32, address: &str, peers: &Peers) -> Result<()> {
        for (name, at) in self.secondaries() {
            wait::serial(limit, at, ZONE, serial).context(name)?;
            let answer = Dig::new(peers).at(at).query("www.example.com", "A")?;
            ensure!(answer.data("A") == [address], "{name}: {}", answer.text);
        }
        Ok(())
    }

    /// Waits until the log has told who is ahead and by which serial, and then until the primary is above that, and everybody where it
    /// is.
    fn noticed_and_healed(
        &self,
        ahead: &[(&str, u32)],
        address: &str,
        peers: &Peers,
    ) -> Result<()> {
        let lines: Vec<String> = ahead
            .iter()
            .map(|(name, serial)| format!("{name} has serial {serial} of {ZONE}"))
            .collect();
        wait::until(NOTICED, &format!("one of {lines:?} in the log"), || {
            let log = self.primary.log();
            Ok(lines.iter().any(|line| log.contains(line)).then_some(()))
        })?;
        let at = self.primary.dns();
        // Whoever is not the farthest ahead may have been noticed first.
        let serial = wait::until(NOTICED, "a serial above all of theirs", || {
            let seen = query::serial(at, ZONE)?.context("no such zone")?;
            let above = ahead.iter().all(|(_, theirs)| is_after(seen, *theirs));
            ensure!(above, "serial {seen}, theirs {ahead:?}");
            Ok(Some(seen))
        })?;
        self.all_have(HEALED, serial, address, peers)?;
        let output = self.primary.cli(&["status", "--json"])?;
        let status = String::from_utf8_lossy(&output.stdout);
        let told = ["went-above", "peer-ahead-of-primary"];
        ensure!(told.iter().any(|word| status.contains(word)), "{status}");
        Ok(())
    }

    /// A change here is followed at once by all.
    fn goes_on(&self, address: &str, peers: &Peers) -> Result<()> {
        let words = ["record", "set", ZONE, "www", "A", address, "--ttl", "60"];
        self.primary.cli_ok(&words)?;
        let serial = query::serial(self.primary.dns(), ZONE)?.context("no such zone")?;
        self.all_have(SOON, serial, address, peers)
    }
}

/// Secondaries come to hold greater serials, each another, with other contents, while nothing changes at their primary.
fn ahead(before: u32, theirs: [u32; 3]) -> Result<()> {
    let peers = peers_or_skip!();
    let mut quartet = Quartet::start(&peers, before)?;
    quartet.goes_on("192.0.2.2", &peers)?;
    let Quartet {
        knot, nsd, named, ..
    } = &mut quartet;
    for (server, serial) in [&mut **knot, &mut **nsd, &mut **named]
        .into_iter()
        .zip(theirs)
    {
        server.stop()?;
        // What it has noted besides would be of another copy.
        let files = std::fs::read_dir(server.place().dir())?.flatten();
        for file in files {
            let name = file.file_name();
            if name == "zone.jnl" || name == "xfrd.state" {
                std::fs::remove_file(file.path())?;
            }
        }
        server
            .place()
            .write("zone", &zone_file(serial, "192.0.2.66"));
        server.restart()?;
        wait::serial(SOON, server.dns(), ZONE, serial)?;
    }
    let told: Vec<(&str, u32)> = ["knot", "nsd", "named"].into_iter().zip(theirs).collect();
    quartet.noticed_and_healed(&told, "192.0.2.2", &peers)?;
    quartet.goes_on("192.0.2.3", &peers)
}

#[test]
fn foreign_secondaries_that_come_to_be_ahead_are_noticed_and_have_what_their_primary_has()
-> Result<()> {
    ahead(100, [5_000, 6_000, 7_000])
}

#[test]
fn foreign_secondaries_that_are_ahead_across_the_wrap_are_noticed_and_have_what_their_primary_has()
-> Result<()> {
    ahead(4_294_967_290, [4, 5, 6])
}

#[test]
fn a_zone_that_is_made_anew_at_a_lower_serial_reaches_its_foreign_secondaries() -> Result<()> {
    let peers = peers_or_skip!();
    let mut quartet = Quartet::start(&peers, 2_026_112_300)?;
    let secondaries = quartet.secondaries();
    let place = quartet.primary.place();
    // Taken out of the configuration, and put in again with other contents.
    let without = base(place, &secondaries);
    place.write("zonemesh.toml", &without);
    quartet.primary.cli_ok(&["config", "reload"])?;
    wait::until(SOON, "the zone to be gone", || {
        let serial = query::serial(quartet.primary.dns(), ZONE)?;
        Ok(serial.is_none().then_some(()))
    })?;
    place.write("zone", &zone_file(1, "192.0.2.7"));
    place.write("zonemesh.toml", &(without + &with_zone()));
    quartet.primary.cli_ok(&["config", "reload"])?;
    let serial = wait::until(HEALED, "a serial above the old one", || {
        let seen = query::serial(quartet.primary.dns(), ZONE)?.context("no such zone")?;
        ensure!(is_after(seen, 2_026_112_300), "serial {seen}");
        Ok(Some(seen))
    })?;
    quartet.all_have(HEALED, serial, "192.0.2.7", &peers)?;
    quartet.goes_on("192.0.2.8", &peers)?;
    let before = query::serial(quartet.primary.dns(), ZONE)?.context("no such zone")?;

    // And on a new machine, which knows of nothing that was.
    quartet.primary.stop()?;
    std::fs::remove_dir_all(quartet.primary.data_dir())?;
    quartet
        .primary
        .place()
        .write("zone", &zone_file(3, "192.0.2.9"));
    quartet.primary.restart()?;
    let ahead = quartet.secondaries().map(|(name, _)| (name, before));
    quartet.noticed_and_healed(&ahead, "192.0.2.9", &peers)?;
    quartet.goes_on("192.0.2.10", &peers)
}
