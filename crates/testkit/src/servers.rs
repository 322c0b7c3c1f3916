//! Real name servers: Knot, BIND, NSD, Unbound and PowerDNS.
//!
//! Each is started from a whole configuration that the test writes; [`Place`] offers the part that every one needs
//! ([`Place::knot`], [`Place::named`], [`Place::nsd`], [`Place::unbound`], [`Place::power_dns`]), so that the test says only what it is about:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let peers = zonemesh_testkit::Peers::find()?;
//! use zonemesh_testkit::Knot;
//! let zone = "@ 60 SOA ns h 1 60 60 600 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
//! let knot = Knot::start(&peers, |place| {
//!     let file = place.write("example.com.zone", zone);
//!     format!("{}zone:\n  - domain: example.com\n    file: {file}\n", place.knot())
//! })?;
//! knot.knotc(&["zone-status", "example.com"])?;
//! # Ok(())
//! # }
//! ```

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::daemon::{Daemon, START_LIMIT};
use crate::peers::Peers;
use crate::place::Place;
use crate::query;

/// A running foreign server: what all of them have in common. Each dereferences to it.
#[derive(Debug)]
pub struct Server {
    peers: Peers,
    // Before the place, so that the process has ended when its folder goes.
    daemon: Daemon,
    place: Place,
}

impl Server {
    fn start(peers: &Peers, place: Place, name: &str, command: Command) -> Result<Self> {
        let log = PathBuf::from(place.path(&format!("{name}.log")));
        let daemon = Daemon::start(name, command, log)?;
        let mut server = Self {
            peers: peers.clone(),
            daemon,
            place,
        };
        server.wait_ready()?;
        Ok(server)
    }

    /// Waits until it answers anything at all, be it REFUSED.
    fn wait_ready(&mut self) -> Result<()> {
        let at = self.place.dns();
        self.daemon.wait_ready(START_LIMIT, || {
            let question = query::question("ready.test", query::qtype::SOA);
            query::udp(at, &question, Duration::from_millis(200)).map(|_| true)
        })
    }

    /// Where it runs.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The address and port where it answers over UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        self.place.dns()
    }

    /// The process: its log, its end, its signals.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop().map(drop)
    }

    /// Kills it on the spot.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.daemon.kill()
    }

    /// Starts it again in the same place, after stopping it if it runs, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        if self.daemon.pid().is_some() {
            self.daemon.stop()?;
        }
        self.daemon.spawn()?;
        self.wait_ready()
    }

    /// Waits until it answers for a zone with this serial.
    ///
    /// # Errors
    ///
    /// When it does not within ten seconds; with the end of its log.
    pub fn wait_serial(&mut self, zone: &str, serial: u32) -> Result<()> {
        let at = self.place.dns();
        self.daemon
            .wait_ready(Duration::from_secs(10), || match query::serial(at, zone)? {
                Some(seen) if seen == serial => Ok(true),
                seen => bail!("serial {seen:?} of {zone} instead of {serial}"),
            })
    }

    /// Runs one of its helper programs to the end and returns what it printed.
    fn control(&self, program: &str, options: &[&str], words: &[&str]) -> Result<String> {
        let mut command = self.peers.command(program);
        command.args(options).args(words).stdin(Stdio::null());
        output(command, program, words)
    }
}

fn output(mut command: Command, program: &str, words: &[&str]) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{program} {} failed ({}):\n{text}{errors}",
            words.join(" "),
            output.status
        );
    }
    Ok(text)
}

macro_rules! server {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Debug)]
        pub struct $name(Server);

        impl Deref for $name {
            type Target = Server;
            fn deref(&self) -> &Server {
                &self.0
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Server {
                &mut self.0
            }
        }
    };
}

server!(Knot, "A running `knotd`.");
server!(Named, "A running `named`.");
server!(Nsd, "A running `nsd`.");
server!(Unbound, "A running `unbound`.");
server!(
    PowerDns,
    "A running `pdns_server`, with zones from files as BIND has them."
);

/// # Knot
impl Knot {
    /// Starts it at a loopback address of its own, from the configuration that the function returns.
    ///
    /// # Errors
    ///
    /// When it does not answer within thirty seconds; with the end of its log.
    pub fn start(peers: &Peers, config: impl FnOnce(&Place) -> String) -> Result<Self> {
        Self::start_at(peers, Place::new("knot")?, config)
    }

    /// Starts it at a given place.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(
        peers: &Peers,
        place: Place,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        let file = place.write("knot.conf", &config(&place));
        let mut command = peers.command("sbin/knotd");
        command.arg("-c").arg(file);
        Server::start(peers, place, "knotd", command).map(Self)
    }

    /// Runs `knotc` against it, blocking until done, and returns what it printed.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn knotc(&self, words: &[&str]) -> Result<String> {
        let socket = self.place.path("knot.sock");
        self.control("sbin/knotc", &["-b", "-s", &socket], words)
    }
}

/// # BIND
impl Named {
    /// Starts it at 127.0.0.1 with a port of its own, from the configuration that the function returns.
    ///
    /// `named` listens only on addresses that an interface has, so it cannot have one of its own.
    ///
    /// # Errors
    ///
    /// When it does not answer within thirty seconds; with the end of its log.
    pub fn start(peers: &Peers, config: impl FnOnce(&Place) -> String) -> Result<Self> {
        let place = Place::at("named", std::net::Ipv4Addr::LOCALHOST)?;
        Self::start_at(peers, place, config)
    }

    /// Starts it at a given place.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(
        peers: &Peers,
        place: Place,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        let file = place.write("named.conf", &config(&place));
        place.write("rndc.conf", &rndc_config(&place));
        let mut command = peers.command("sbin/named");
        command.args(["-g", "-c"]).arg(file);
        Server::start(peers, place, "named", command).map(Self)
    }

    /// Runs `rndc` against it and returns what it printed.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn rndc(&self, words: &[&str]) -> Result<String> {
        let config = self.place.path("rndc.conf");
        self.control("sbin/rndc", &["-c", &config], words)
    }
}

/// # NSD
impl Nsd {
    /// Starts it at a loopback address of its own, from the configuration that the function returns.
    ///
    /// # Errors
    ///
    /// When it does not answer within thirty seconds; with the end of its log.
    pub fn start(peers: &Peers, config: impl FnOnce(&Place) -> String) -> Result<Self> {
        Self::start_at(peers, Place::new("nsd")?, config)
    }

    /// Starts it at a given place.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(
        peers: &Peers,
        place: Place,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        let file = place.write("nsd.conf", &config(&place));
        let mut command = peers.command("sbin/nsd");
        command.args(["-d", "-c"]).arg(file);
        Server::start(peers, place, "nsd", command).map(Self)
    }

    /// Runs `nsd-control` against it and returns what it printed.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn nsd_control(&self, words: &[&str]) -> Result<String> {
        let config = self.place.path("nsd.conf");
        self.control("sbin/nsd-control", &["-c", &config], words)
    }
}

/// # Unbound
impl Unbound {
    /// Starts it at a loopback address of its own, from the configuration that the function returns.
    ///
    /// # Errors
    ///
    /// When it does not answer within thirty seconds; with the end of its log.
    pub fn start(peers: &Peers, config: impl FnOnce(&Place) -> String) -> Result<Self> {
        Self::start_at(peers, Place::new("unbound")?, config)
    }

    /// Starts it at a given place.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(
        peers: &Peers,
        place: Place,
        config: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        let file = place.write("unbound.conf", &config(&place));
        let mut command = peers.command("sbin/unbound");
        command.args(["-d", "-c"]).arg(file);
        Server::start(peers, place, "unbound", command).map(Self)
    }
}

/// # PowerDNS
impl PowerDns {
    /// Starts it at a given place, from the zones that the function returns, in the form of `named.conf`.
    ///
    /// `signed` are zones with the name of the TSIG key that is used for each, in the given role (`primary` or `secondary`).
    ///
    /// # Errors
    ///
    /// When it does not answer within thirty seconds; with the end of its log.
    pub fn start_at(
        peers: &Peers,
        place: Place,
        key: Option<(&str, &str)>,
        signed: &[(&str, &str)],
        zones: impl FnOnce(&Place) -> String,
    ) -> Result<Self> {
        place.write("named.conf", &zones(&place));
        place.write("pdns.conf", &place.power_dns(peers));
        let dir = place.dir().display().to_string();
        let keys = place.path("keys.sqlite");
        let util = |words: &[&str]| {
            let config = format!("--config-dir={dir}");
            run(
                peers,
                "bin/pdnsutil",
                &[&[config.as_str()], words].concat(),
                "",
            )
            .map(drop)
        };
        util(&["create-bind-db", &keys])?;
        if let Some((name, secret)) = key {
            util(&["import-tsig-key", name, "hmac-sha256", secret])?;
            for (zone, role) in signed {
                util(&["activate-tsig-key", zone, name, role])?;
            }
        }
        let mut command = peers.command("sbin/pdns_server");
        command.arg(format!("--config-dir={dir}"));
        Server::start(peers, place, "pdns", command).map(Self)
    }

    /// Runs `pdns_control` against it and returns what it printed.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn pdns_control(&self, words: &[&str]) -> Result<String> {
        let config = format!("--config-dir={}", self.place.dir().display());
        self.control("bin/pdns_control", &[&config], words)
    }
}

/// Runs a program of the peers to its end with text on its standard input, such as `bin/nsupdate`.
///
/// # Errors
///
/// When it fails; with what it printed.
pub fn run(peers: &Peers, program: &str, words: &[&str], input: &str) -> Result<String> {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    file.write_all(input.as_bytes())
        .context("cannot write the input")?;
    file.rewind().context("cannot rewind the input")?;
    let mut command = peers.command(program);
    command.args(words).stdin(file);
    output(command, program, words)
}

/// # What every configuration needs
impl Place {
    /// The sections `server`, `control`, `database` and `log` of a Knot configuration; it listens on DNS and TLS.
    ///
    /// A section may be repeated, so a test can add to them.
    pub fn knot(&self) -> String {
        let (dir, address) = (self.dir().display(), self.address());
        let (port, tls) = (self.port(), self.tls_port());
        format!(
            "server:\n  rundir: {dir}\n  listen: {address}@{port}\n  listen-tls: {address}@{tls}\n  \
             udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n  automatic-acl: off\n\
             control:\n  listen: {dir}/knot.sock\n\
             database:\n  storage: {dir}\n\
             log:\n  - target: stderr\n    any: debug\n"
        )
    }

    /// The blocks `options` (with `more` put in), `key` and `controls` of a BIND configuration.
    ///
    /// It is an authoritative server that neither recurses nor validates.
    pub fn named(&self, more: &str) -> String {
        let (dir, address) = (self.dir().display(), self.address());
        let (port, control) = (self.port(), self.control_port());
        format!(
            "options {{\n  directory \"{dir}\";\n  pid-file \"{dir}/named.pid\";\n  \
             session-keyfile \"{dir}/session.key\";\n  managed-keys-directory \"{dir}\";\n  \
             listen-on port {port} {{ {address}; }};\n  listen-on-v6 {{ none; }};\n  \
             recursion no;\n  dnssec-validation no;\n  notify-delay 0;\n  {more}\n}};\n\
             key \"control\" {{ algorithm hmac-sha256; secret \"{CONTROL_SECRET}\"; }};\n\
             controls {{ inet {address} port {control} allow {{ any; }} keys {{ \"control\"; }}; }};\n"
        )
    }

    /// The sections `server` (with the lines `more` put in) and `remote-control` of an NSD configuration.
    pub fn nsd(&self, more: &str) -> String {
        let (dir, address, port) = (self.dir().display(), self.address(), self.port());
        format!(
            "server:\n  ip-address: {address}@{port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  \
             zonesdir: \"{dir}\"\n  pidfile: \"{dir}/nsd.pid\"\n  xfrdfile: \"{dir}/xfrd.state\"\n  \
             xfrdir: \"{dir}\"\n  zonelistfile: \"{dir}/zone.list\"\n  cookie-secret-file: \"{dir}/cookies\"\n  \
             verbosity: 2\n  xfrd-reload-timeout: 0\n{more}\n\
             remote-control:\n  control-enable: yes\n  control-interface: \"{dir}/nsd.ctl\"\n"
        )
    }

    /// The section `server` (with the lines `more` put in) of an Unbound configuration; it asks loopback too.
    pub fn unbound(&self, more: &str) -> String {
        let (dir, address, port) = (self.dir().display(), self.address(), self.port());
        format!(
            "server:\n  interface: {address}@{port}\n  num-threads: 1\n  username: \"\"\n  chroot: \"\"\n  \
             directory: \"{dir}\"\n  pidfile: \"{dir}/unbound.pid\"\n  use-syslog: no\n  do-daemonize: no\n  \
             access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n  verbosity: 2\n{more}\n"
        )
    }

    /// The configuration of PowerDNS, whole: it is primary and secondary of what `named.conf` in its folder says, and no answer comes
    /// from a cache.
    pub fn power_dns(&self, peers: &Peers) -> String {
        let (dir, address, port) = (self.dir().display(), self.address(), self.port());
        let modules = peers.root().join("usr/lib/x86_64-linux-gnu/pdns");
        format!(
            "launch=bind\nmodule-dir={}\nbind-config={dir}/named.conf\nbind-dnssec-db={dir}/keys.sqlite\n\
             socket-dir={dir}\nlocal-address={address}\nlocal-port={port}\nquery-local-address={address}\n\
             primary=yes\nsecondary=yes\nxfr-cycle-interval=1\nallow-axfr-ips=127.0.0.0/8\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
             daemon=no\nguardian=no\ndisable-syslog=yes\nwrite-pid=no\nloglevel=6\nsecurity-poll-suffix=\n",
            modules.display()
        )
    }
}

fn rndc_config(place: &Place) -> String {
    format!(
        "key \"control\" {{ algorithm hmac-sha256; secret \"{CONTROL_SECRET}\"; }};\n\
         options {{ default-key \"control\"; default-server {}; default-port {}; }};\n",
        place.address(),
        place.control_port()
    )
}

/// The key between `rndc` and `named`; it guards nothing.
const CONTROL_SECRET: &str = "emV0ZXN0emV0ZXN0emV0ZXN0emV0ZXN0emV0ZXN0emU=";
