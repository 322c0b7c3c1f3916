//! The servers that are measured, behind one face: where they answer, what they use.
//!
//! Their configurations are here. Each is the one that makes its server fastest at what is measured, as far as its manual tells,
//! and that keeps what was acknowledged or transferred as its server would in earnest.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zonemesh_testkit::daemon::Daemon;
use zonemesh_testkit::query::{self, qtype};
use zonemesh_testkit::{Knot, Named, Nsd, Peers, Place, Site, wait};

use crate::process::{Cpu, Memory, Processes};

/// How long a server may take for what it is asked to do.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time between two looks whether a server has got there.
const POLL: Duration = Duration::from_millis(2);
/// A server that has used no CPU time for so long is at rest.
const REST: Duration = Duration::from_millis(600);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Knot,
    Nsd,
    Named,
}

impl Kind {
    /// All of them, ours first.
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::Knot, Self::Nsd, Self::Named];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "zonemesh",
            Self::Knot => "Knot",
            Self::Nsd => "NSD",
            Self::Named => "BIND",
        }
    }

    /// A place for it to run in.
    pub(crate) fn place(self) -> Result<Place> {
        match self {
            // It listens only on addresses that an interface has.
            Self::Named => Place::at("bench-named", Ipv4Addr::LOCALHOST),
            _ => Place::new(&format!("bench-{}", self.name().to_lowercase())),
        }
    }
}

/// What a server does with a zone.
#[derive(Clone, Debug)]
pub(crate) enum Role<'r> {
    /// Has it from a file, and lets everybody on this machine transfer it.
    Primary {
        zone: &'r str,
        /// The file.
        file: &'r Path,
    },
    /// Has it from a primary.
    Secondary { zone: &'r str, primary: SocketAddr },
}

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    inner: Inner,
    processes: Processes,
}

enum Inner {
    Ours(Site),
    Knot(Knot),
    Nsd(Nsd),
    Named(Named),
}

impl Server {
    /// Starts it, and does not wait for its zone.
    pub(crate) fn start(kind: Kind, peers: &Peers, role: &Role<'_>) -> Result<Self> {
        Self::start_at(kind, peers, kind.place()?, role)
    }

    /// Starts it in a place.
    pub(crate) fn start_at(
        kind: Kind,
        peers: &Peers,
        place: Place,
        role: &Role<'_>,
    ) -> Result<Self> {
        let folder = place.dir().to_owned();
        let mut inner = match kind {
            Kind::Ours => Inner::Ours(Site::start_at(place, |place| ours(place, role))?),
            Kind::Knot => Inner::Knot(Knot::start_at(peers, place, |place| knot(place, role))?),
            Kind::Nsd => Inner::Nsd(Nsd::start_at(peers, place, |place| nsd(place, role))?),
            Kind::Named => Inner::Named(Named::start_at(peers, place, |place| named(place, role))?),
        };
        daemon(&mut inner).keep_quiet();
        let pid = daemon(&mut inner).pid();
        let pid = pid.with_context(|| format!("{} has ended", kind.name()))?;
        Ok(Self {
            kind,
            inner,
            processes: Processes::new(pid, &folder),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Where it answers.
    pub(crate) fn dns(&self) -> SocketAddr {
        match &self.inner {
            Inner::Ours(server) => server.dns(),
            Inner::Knot(server) => server.dns(),
            Inner::Nsd(server) => server.dns(),
            Inner::Named(server) => server.dns(),
        }
    }

    /// The CPU time that it has used.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        self.processes.cpu()
    }

    /// The memory that it uses.
    pub(crate) fn memory(&self) -> Result<Memory> {
        self.processes.memory()
    }

    /// Waits until it answers for the zone with this serial.
    pub(crate) fn wait_serial(&mut self, zone: &str, serial: u32) -> Result<()> {
        let at = self.dns();
        let started = Instant::now();
        let short = Duration::from_millis(500);
        loop {
            let answer = query::udp(at, &query::question(zone, qtype::SOA), short);
            if answer
                .and_then(|answer| query::soa_serial(&answer))
                .is_ok_and(|seen| seen == Some(serial))
            {
                return Ok(());
            }
            if started.elapsed() > PATIENCE || daemon(&mut self.inner).ended()?.is_some() {
                let log = daemon(&mut self.inner).log();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(20)..].join("\n");
                bail!(
                    "{} does not serve {zone} {serial}; its log:\n{tail}",
                    self.name()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until it does nothing any more, and returns the CPU time that it has used until then.
    pub(crate) fn wait_rest(&self) -> Result<Cpu> {
        let mut last = (self.cpu()?, Instant::now());
        wait::until(
            PATIENCE,
            &format!("{} to come to rest", self.name()),
            || {
                let now = self.cpu()?;
                // A tick now and then is what a server does for its keep.
                if now.since(last.0).total() > Duration::from_millis(10) {
                    last = (now, Instant::now());
                }
                Ok((last.1.elapsed() > REST).then_some(now))
            },
        )
    }
}

fn daemon(inner: &mut Inner) -> &mut Daemon {
    match inner {
        Inner::Ours(server) => server.daemon(),
        Inner::Knot(server) => server.daemon(),
        Inner::Nsd(server) => server.daemon(),
        Inner::Named(server) => server.daemon(),
    }
}

/// Says which versions are measured.
pub(crate) fn versions(peers: &Peers) -> Result<String> {
    let mut all = Vec::new();
    for (kind, program, option) in [
        (Kind::Knot, "sbin/knotd", "--version"),
        (Kind::Nsd, "sbin/nsd", "-v"),
        (Kind::Named, "sbin/named", "-v"),
    ] {
        let output = peers
            .command(program)
            .arg(option)
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let number = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or("of an unknown version");
        all.push(format!("{} {number}", kind.name()));
    }
    Ok(format!("Measured against {}.", all.join(", ")))
}

fn ours(place: &Place, role: &Role<'_>) -> String {
    let head = format!(
        "[site]\nname = \"bench\"\n[listen]\ndns = [\"{}\"]\ntls = []\nhttp = []\n[log]\nlevel = \"info\"\nformat = \"json\"\n",
        place.dns()
    );
    let zone = match role {
        Role::Primary { zone, file } => format!(
            "[[zone]]\nname = \"{zone}\"\nfile = \"{}\"\nallow-transfer = [\"127.0.0.0/8\"]\n",
            file.display()
        ),
        Role::Secondary { zone, primary } => format!(
            "[[peer]]\nname = \"primary\"\naddress = \"{primary}\"\n\
             [[zone]]\nname = \"{zone}\"\nprimaries = [\"primary\"]\nallow-transfer = [\"127.0.0.0/8\"]\n"
        ),
    };
    head + &zone
}

fn knot(place: &Place, role: &Role<'_>) -> String {
    let (dir, address, port) = (place.dir().display(), place.address(), place.port());
    let head = format!(
        "server:\n  rundir: {dir}\n  listen: {address}@{port}\n  automatic-acl: off\n\
         control:\n  listen: {dir}/knot.sock\ndatabase:\n  storage: {dir}\n\
         log:\n  - target: stderr\n    any: info\n\
         acl:\n  - id: local\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n"
    );
    let zone = match role {
        Role::Primary { zone, file } => format!(
            "zone:\n  - domain: {zone}\n    file: {}\n    zonefile-sync: -1\n    acl: local\n",
            file.display()
        ),
        Role::Secondary { zone, primary } => format!(
            "remote:\n  - id: primary\n    address: {}@{}\n\
             zone:\n  - domain: {zone}\n    storage: {dir}\n    file: zone\n    master: primary\n    acl: local\n",
            primary.ip(),
            primary.port()
        ),
    };
    head + &zone
}

fn nsd(place: &Place, role: &Role<'_>) -> String {
    let zone = match role {
        Role::Primary { zone, file } => format!(
            "zone:\n  name: \"{zone}\"\n  zonefile: \"{}\"\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            file.display()
        ),
        Role::Secondary { zone, primary } => format!(
            "zone:\n  name: \"{zone}\"\n  zonefile: \"zone\"\n  request-xfr: {}@{} NOKEY\n  \
             allow-notify: 127.0.0.0/8 NOKEY\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            primary.ip(),
            primary.port()
        ),
    };
    place.nsd("  verbosity: 1\n") + &zone
}

fn named(place: &Place, role: &Role<'_>) -> String {
    let options = "allow-transfer { 127.0.0.0/8; }; transfer-format many-answers; notify no;";
    let zone = match role {
        Role::Primary { zone, file } => format!(
            "zone \"{zone}\" {{ type primary; file \"{}\"; }};\n",
            file.display()
        ),
        Role::Secondary { zone, primary } => format!(
            "zone \"{zone}\" {{ type secondary; file \"zone.raw\"; masterfile-format raw; primaries {{ {} port {}; }}; }};\n",
            primary.ip(),
            primary.port()
        ),
    };
    place.named(options) + &zone
}
