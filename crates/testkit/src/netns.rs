//! Network namespaces joined by a bridge: hosts that lose packets, vanish and come back. Needs root.
//!
//! A [`Net`] is a hidden namespace with the bridge, and one namespace for each [`Host`], all made by `ip`. Nothing
//! touches the machine's own interfaces or rules. A host is entered with [`Host::enter`]: sockets opened and
//! processes started in there belong to it, so [`Knot::start_at`](crate::Knot::start_at) and the like work
//! unchanged inside.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Says why network namespaces cannot be made here, if so.
///
/// # Errors
///
/// Without root, or without the programs `ip` and `iptables`.
pub fn available() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root");
    }
    for program in ["ip", "iptables"] {
        Command::new(program)
            .arg("-V")
            .output()
            .with_context(|| format!("{program} is not installed: run `cargo xtask test`"))?;
    }
    Ok(())
}

/// Several hosts on one network, 10.77.0.0/24.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    hosts: Vec<Host>,
}

impl Net {
    /// Makes a network of hosts with addresses 10.77.0.1, 10.77.0.2 and so on.
    ///
    /// # Errors
    ///
    /// Without root, and when `ip` fails.
    pub fn new(hosts: u8) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        available()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Dropping it removes as much as was made.
        let mut net = Self {
            prefix: format!("zm-{}-{number}", process::id()),
            hosts: Vec::new(),
        };
        let hub = net.hub();
        add_namespace(&hub)?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for index in 1..=hosts {
            net.add_host(index)?;
        }
        Ok(net)
    }

    fn add_host(&mut self, index: u8) -> Result<()> {
        let hub = self.hub();
        let name = format!("{}-{index}", self.prefix);
        let port = format!("port{index}");
        add_namespace(&name)?;
        self.hosts.push(Host {
            namespace: name.clone(),
            hub: hub.clone(),
            port: port.clone(),
            address: Ipv4Addr::new(10, 77, 0, index),
        });
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        ip(&[
            "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
            &name,
        ])?;
        ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
        let address = format!("10.77.0.{index}/24");
        ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// The hosts, in the order of their addresses.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let names = self.hosts.iter().map(|host| host.namespace.clone());
        for name in names.chain([self.hub()]) {
            if let Err(error) = ip(&["netns", "delete", &name]) {
                eprintln!("cannot remove the network namespace {name}: {error:#}");
            }
        }
    }
}

/// One host of a [`Net`].
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    hub: String,
    port: String,
    address: Ipv4Addr,
}

impl Host {
    /// Its address on the network.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The name of its namespace, as `ip netns` knows it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs a function on this host: its sockets and the processes that it starts are the host's.
    ///
    /// It runs in a thread of its own, since a namespace is entered by a thread and not left again. What restarts a
    /// server must be in here too.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    ///
    /// When the function does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.namespace);
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        thread::scope(|scope| {
            let name = thread::current().name().unwrap_or("a test").to_owned();
            let worker = thread::Builder::new().name(name).spawn_scoped(scope, || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot enter {path}"))?;
                Ok(work())
            });
            match worker.context("cannot start a thread")?.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Cuts the host off from all others, or joins it again.
    ///
    /// # Errors
    ///
    /// When `ip` fails.
    pub fn set_connected(&self, connected: bool) -> Result<()> {
        let state = if connected { "up" } else { "down" };
        ip(&["-n", &self.hub, "link", "set", &self.port, state])
    }

    /// Loses a part of all packets that arrive at the host: 0 none, 0.5 every second, 1 all. Replaces what was set before.
    ///
    /// # Errors
    ///
    /// When the kernel has no such filter.
    pub fn set_loss(&self, probability: f64) -> Result<()> {
        self.iptables(&["-F", "INPUT"])?;
        if probability <= 0.0 {
            return Ok(());
        }
        let probability = format!("{:.4}", probability.min(1.0));
        let rule = [
            "-A",
            "INPUT",
            "-i",
            "eth0",
            "-m",
            "statistic",
            "--mode",
            "random",
        ];
        let tail = ["--probability", &probability, "-j", "DROP"];
        self.iptables(&[&rule[..], &tail[..]].concat())
    }

    /// Drops what arrives from another host, or lets it in again: a link that is broken between two hosts only, and
    /// in one direction only.
    ///
    /// # Errors
    ///
    /// When the kernel has no such filter.
    pub fn set_deaf_to(&self, other: &Host, deaf: bool) -> Result<()> {
        let action = if deaf { "-A" } else { "-D" };
        let source = other.address.to_string();
        self.iptables(&[action, "INPUT", "-s", &source, "-j", "DROP"])
    }

    /// Drops the datagrams that arrive for a port, or lets them in again: what a firewall does that knows TCP alone.
    ///
    /// # Errors
    ///
    /// When the kernel has no such filter.
    pub fn set_deaf_to_datagrams(&self, port: u16, deaf: bool) -> Result<()> {
        let action = if deaf { "-A" } else { "-D" };
        let port = port.to_string();
        self.iptables(&[action, "INPUT", "-p", "udp", "--dport", &port, "-j", "DROP"])
    }

    /// Lets no more arrive at the host than so many kilobits a second, or as much as comes.
    ///
    /// # Errors
    ///
    /// When the kernel has no such queue.
    pub fn set_rate(&self, kilobits: Option<u32>) -> Result<()> {
        let enter = ["netns", "exec", &self.hub, "tc", "qdisc"];
        let Some(kilobits) = kilobits else {
            return ip(&[&enter[..], &["delete", "dev", &self.port, "root"]].concat());
        };
        let rate = format!("{kilobits}kbit");
        let queue = ["replace", "dev", &self.port, "root", "tbf", "rate", &rate];
        let bounds = ["burst", "16kb", "latency", "300ms"];
        ip(&[&enter[..], &queue[..], &bounds[..]].concat())
    }

    fn iptables(&self, words: &[&str]) -> Result<()> {
        let enter = ["netns", "exec", &self.namespace, "iptables", "-w"];
        ip(&[&enter[..], words].concat())
    }
}

/// Makes a namespace. The first one on a machine mounts `/run/netns`, which two at once get wrong.
fn add_namespace(name: &str) -> Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    ip(&["netns", "add", name])
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .context("cannot run ip")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", words.join(" "), errors.trim());
    }
    Ok(())
}
