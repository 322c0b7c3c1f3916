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
use crate::zones::{self, CATALOG, SERIAL, ZONE};

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

/// Name of the key that changes are signed with.
pub(crate) const KEY: &str = "bench";
/// Its secret, for HMAC-SHA256; it guards nothing.
pub(crate) const SECRET: &str = "YmVuY2gta2V5LXdpdGgtMzItb2N0ZXRzLW9mLWl0ISE=";

/// What a server does with a zone.
#[derive(Clone, Debug)]
pub(crate) enum Role<'r> {
    /// Has it from a file, and lets everybody on this machine transfer it.
    Primary {
        zone: &'r str,
        /// The file.
        file: &'r Path,
        /// Who is told of changes, which may be made by UPDATE with [`KEY`]; none where the zone never changes.
        changes: Option<&'r [SocketAddr]>,
    },
    /// Has it from a file and answers with one worker: what is started belongs on one CPU.
    Single {
        zone: &'r str,
        /// The file.
        file: &'r Path,
    },
    /// Has many zones, all from the same file, and answers with one worker.
    Many { member: &'r Path, members: usize },
    /// Has a catalog and its members from files, the members all from the same one.
    Catalog {
        catalog: &'r Path,
        member: &'r Path,
        members: usize,
    },
    /// Has the catalog, and what it lists, from a primary.
    Consumer { primary: SocketAddr },
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

    /// Starts a primary of [`ZONE`] and waits until it answers for it; see [`Role::Primary`].
    pub(crate) fn primary(
        kind: Kind,
        peers: &Peers,
        file: &Path,
        changes: Option<&[SocketAddr]>,
    ) -> Result<Self> {
        let zone = ZONE;
        let role = Role::Primary {
            zone,
            file,
            changes,
        };
        let mut server = Self::start(kind, peers, &role)?;
        server.wait_serial(zone, SERIAL)?;
        Ok(server)
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
            Kind::Knot => Inner::Knot(Knot::start_at(peers, place, |place| {
                knot(place, role, has_update_delay(peers))
            })?),
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

    pub(crate) fn kind(&self) -> Kind {
        self.kind
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

    /// Has the peak of its memory begin anew, with what it uses now.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        self.processes.forget_peak()
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

    /// Has it stop in order, with its zones on the disk.
    pub(crate) fn stop(&mut self) -> Result<()> {
        match &mut self.inner {
            Inner::Ours(server) => server.stop(),
            Inner::Knot(server) => server.stop(),
            Inner::Nsd(server) => {
                server.nsd_control(&["write"])?;
                server.stop()
            }
            Inner::Named(server) => server.stop(),
        }
    }

    /// Starts it again after it was stopped.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        match &mut self.inner {
            Inner::Ours(server) => server.restart()?,
            Inner::Knot(server) => server.restart()?,
            Inner::Nsd(server) => server.restart()?,
            Inner::Named(server) => server.restart()?,
        }
        let pid = daemon(&mut self.inner).pid();
        let pid = pid.with_context(|| format!("{} has ended", self.name()))?;
        self.processes = self.processes.again(pid);
        Ok(())
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> u32 {
        self.processes.root()
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

/// Whether it is a Knot that has the setting `update-delay`, which came with 3.5.
fn has_update_delay(peers: &Peers) -> bool {
    let output = peers.command("sbin/knotd").arg("--version").output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    !String::from_utf8_lossy(&text).contains(" 3.4")
}

fn ours(place: &Place, role: &Role<'_>) -> String {
    let workers = match role {
        Role::Single { .. } | Role::Many { .. } => "[limits]\nworkers = 1\n",
        _ => "",
    };
    let mut text = format!(
        "[site]\nname = \"bench\"\n[listen]\ndns = [\"{}\"]\ntls = []\nhttp = []\n{workers}\
         [log]\nlevel = \"info\"\nformat = \"json\"\n[[key]]\nname = \"{KEY}\"\nsecret = \"{SECRET}\"\n",
        place.dns()
    );
    match role {
        Role::Primary {
            zone,
            file,
            changes,
        } => {
            let others = changes.unwrap_or_default();
            for (index, address) in others.iter().enumerate() {
                text.push_str(&format!(
                    "[[peer]]\nname = \"secondary-{index}\"\naddress = \"{address}\"\n"
                ));
            }
            text.push_str(&format!(
                "[[zone]]\nname = \"{zone}\"\nfile = \"{}\"\nallow-transfer = [\"127.0.0.0/8\"]\n",
                file.display()
            ));
            if changes.is_some() {
                let names: Vec<String> = (0..others.len())
                    .map(|index| format!("\"secondary-{index}\""))
                    .collect();
                text.push_str(&format!(
                    "dynamic = true\nnotify = [{}]\nallow-update = [{{ network = \"127.0.0.0/8\", key = \"{KEY}\" }}]\n",
                    names.join(", ")
                ));
            }
        }
        Role::Single { zone, file } => text.push_str(&format!(
            "[[zone]]\nname = \"{zone}\"\nfile = \"{}\"\n",
            file.display()
        )),
        Role::Many { member, members } => {
            for number in 0..*members {
                text.push_str(&format!(
                    "[[zone]]\nname = \"{}\"\nfile = \"{}\"\n",
                    zones::member(number),
                    member.display()
                ));
            }
        }
        Role::Catalog { .. } => {}
        Role::Consumer { primary } => text.push_str(&format!(
            "[[peer]]\nname = \"primary\"\naddress = \"{primary}\"\n\
             [[zone]]\nname = \"{CATALOG}\"\ncatalog = \"consumer\"\nprimaries = [\"primary\"]\nadmit = [\"*\"]\n"
        )),
        Role::Secondary { zone, primary } => text.push_str(&format!(
            "[[peer]]\nname = \"primary\"\naddress = \"{primary}\"\n\
             [[zone]]\nname = \"{zone}\"\nprimaries = [\"primary\"]\nallow-notify = [\"127.0.0.0/8\"]\n\
             allow-transfer = [\"127.0.0.0/8\"]\n"
        )),
    }
    text
}

fn knot(place: &Place, role: &Role<'_>, has_update_delay: bool) -> String {
    let (dir, address, port) = (place.dir().display(), place.address(), place.port());
    // By default a second passes from a change or a NOTIFY to the zone.
    let delay = if has_update_delay {
        "    update-delay: 0\n"
    } else {
        ""
    };
    let workers = match role {
        Role::Single { .. } | Role::Many { .. } => {
            "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
        }
        _ => "",
    };
    let mut text = format!(
        "server:\n  rundir: {dir}\n  listen: {address}@{port}\n  automatic-acl: off\n{workers}\
         control:\n  listen: {dir}/knot.sock\ndatabase:\n  storage: {dir}\n\
         log:\n  - target: stderr\n    any: info\n\
         key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         acl:\n  - id: local\n    address: 127.0.0.0/8\n    action: [notify, transfer]\n  \
         - id: change\n    address: 127.0.0.0/8\n    key: {KEY}\n    action: update\n"
    );
    match role {
        Role::Primary {
            zone,
            file,
            changes,
        } => {
            let others = changes.unwrap_or_default();
            let names: Vec<String> = (0..others.len())
                .map(|index| format!("secondary-{index}"))
                .collect();
            if !others.is_empty() {
                text.push_str("remote:\n");
            }
            for (name, at) in names.iter().zip(others) {
                text.push_str(&format!(
                    "  - id: {name}\n    address: {}@{}\n",
                    at.ip(),
                    at.port()
                ));
            }
            text.push_str(&format!(
                "zone:\n  - domain: {zone}\n    file: {}\n    zonefile-sync: -1\n    acl: [local, change]\n    \
                 notify: [{}]\n{delay}",
                file.display(),
                names.join(", ")
            ));
        }
        Role::Single { zone, file } => text.push_str(&format!(
            "zone:\n  - domain: {zone}\n    file: {}\n    zonefile-sync: -1\n    journal-content: none\n",
            file.display()
        )),
        Role::Many { member, members } => {
            text.push_str(
                "template:\n  - id: default\n    zonefile-sync: -1\n    journal-content: none\nzone:\n",
            );
            text.push_str(&knot_members(member, *members));
        }
        Role::Catalog {
            catalog,
            member,
            members,
        } => {
            text.push_str(&format!(
                "template:\n  - id: default\n    zonefile-sync: -1\n    journal-content: none\n    acl: local\n\
                 zone:\n  - domain: {CATALOG}\n    file: {}\n",
                catalog.display()
            ));
            text.push_str(&knot_members(member, *members));
        }
        Role::Consumer { primary } => text.push_str(&format!(
            "remote:\n  - id: primary\n    address: {}@{}\n\
             template:\n  - id: members\n    storage: {dir}\n    master: primary\n    acl: local\n\
             zone:\n  - domain: {CATALOG}\n    storage: {dir}\n    master: primary\n    acl: local\n    \
             catalog-role: interpret\n    catalog-template: members\n",
            primary.ip(),
            primary.port()
        )),
        Role::Secondary { zone, primary } => text.push_str(&format!(
            "remote:\n  - id: primary\n    address: {}@{}\n\
             zone:\n  - domain: {zone}\n    storage: {dir}\n    file: zone\n    master: primary\n    acl: local\n{delay}",
            primary.ip(),
            primary.port()
        )),
    }
    text
}

fn knot_members(member: &Path, members: usize) -> String {
    let zone = |number| {
        let name = zones::member(number);
        format!("  - domain: {name}\n    file: {}\n", member.display())
    };
    (0..members).map(zone).collect()
}

fn nsd(place: &Place, role: &Role<'_>) -> String {
    let zone = match role {
        Role::Many { member, members } => (0..*members)
            .map(|number| {
                let name = zones::member(number);
                format!(
                    "zone:\n  name: \"{name}\"\n  zonefile: \"{}\"\n",
                    member.display()
                )
            })
            .collect(),
        Role::Primary { zone, file, .. } | Role::Single { zone, file } => format!(
            "zone:\n  name: \"{zone}\"\n  zonefile: \"{}\"\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            file.display()
        ),
        Role::Secondary { zone, primary } => format!(
            "zone:\n  name: \"{zone}\"\n  zonefile: \"zone\"\n  request-xfr: {}@{} NOKEY\n  \
             allow-notify: 127.0.0.0/8 NOKEY\n  provide-xfr: 127.0.0.0/8 NOKEY\n",
            primary.ip(),
            primary.port()
        ),
        // Not measured.
        Role::Catalog { .. } | Role::Consumer { .. } => String::new(),
    };
    // As packaged it limits what it answers to one prefix to 200 a second.
    place.nsd("  verbosity: 1\n  rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n") + &zone
}

fn named(place: &Place, role: &Role<'_>) -> String {
    let mut options = "allow-transfer { 127.0.0.0/8; }; transfer-format many-answers; ".to_owned();
    let key = format!("key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    let zone = match role {
        Role::Primary {
            zone,
            file,
            changes,
        } => {
            let others = changes.unwrap_or_default().iter();
            let others: String = others
                .map(|at| format!("{} port {}; ", at.ip(), at.port()))
                .collect();
            options.push_str(&format!("notify explicit; also-notify {{ {others}}};"));
            format!(
                "zone \"{zone}\" {{ type primary; file \"{}\"; allow-update {{ key \"{KEY}\"; }}; }};\n",
                file.display()
            )
        }
        Role::Single { zone, file } => {
            options.push_str("notify no;");
            format!(
                "zone \"{zone}\" {{ type primary; file \"{}\"; }};\n",
                file.display()
            )
        }
        Role::Many { member, members } => {
            options.push_str("notify no;");
            let zone = |number| {
                let name = zones::member(number);
                format!(
                    "zone \"{name}\" {{ type primary; file \"{}\"; }};\n",
                    member.display()
                )
            };
            (0..*members).map(zone).collect()
        }
        // Not measured.
        Role::Catalog { .. } | Role::Consumer { .. } => String::new(),
        Role::Secondary { zone, primary } => {
            options.push_str("notify no;");
            format!(
                "zone \"{zone}\" {{ type secondary; file \"zone.raw\"; masterfile-format raw; primaries {{ {} port {}; }}; }};\n",
                primary.ip(),
                primary.port()
            )
        }
    };
    place.named(&options) + &key + &zone
}
