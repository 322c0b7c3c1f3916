//! `zonemesh up --sites N`: a mesh on loopback, each site a process of its own.
//!
//! The first site makes the mesh; the others are invited and join as any site would, by welcome packet. What is in
//! the folder already is started as it is.

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use zonemesh_api::error::exit;
use zonemesh_api::types::{Event, Invite, InvitedRole, What};
use zonemesh_api::{ApiError, Client, ErrorKind};

use super::args::Target;
use super::output::{self, Colour};
use super::{Failure, Outcome};
use crate::config::Role;
use crate::config::loopback::{self, DNS_PORT, HTTP_PORT, LoopbackSite, TLS_PORT};

pub(super) async fn up(count: usize, target: Target) -> Outcome {
    let folder = target.data_dir.unwrap_or_else(|| loopback::FOLDER.into());
    let sites: Vec<LoopbackSite> = (0..count)
        .map(|index| LoopbackSite::new(index, &folder))
        .collect();
    for site in &sites {
        if Client::new(site.socket()).health().await.is_ok() {
            return Err(Failure::new(format!(
                "{} runs already in {}",
                site.name,
                folder.display()
            ))
            .hint("stop it first, or choose another folder with --data-dir"));
        }
    }
    // Before anything is written or said.
    for site in &sites {
        is_free(
            site.address.into(),
            &[DNS_PORT],
            &[DNS_PORT, TLS_PORT, HTTP_PORT],
        )?;
    }
    for site in &sites {
        site.create()
            .with_context(|| format!("cannot write {}", site.data_dir.display()))?;
    }
    let mut mesh = Running::new(&folder);
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    introduce(&sites, &folder)?;
    let outcome = tokio::select! {
        outcome = mesh.start_and_watch(&sites) => outcome,
        _ = interrupt.recv() => Ok(exit::DONE),
        _ = terminate.recv() => Ok(exit::DONE),
    };
    mesh.stop().await;
    outcome
}

/// Whether nobody else listens where a site is to.
fn is_free(address: IpAddr, udp: &[u16], tcp: &[u16]) -> Result<(), Failure> {
    let udp = udp.iter().map(|port| {
        let at = SocketAddr::new(address, *port);
        (at, "UDP", UdpSocket::bind(at).err())
    });
    let tcp = tcp.iter().map(|port| {
        let at = SocketAddr::new(address, *port);
        (at, "TCP", TcpListener::bind(at).err())
    });
    for (at, over, error) in udp.chain(tcp) {
        if let Some(error) = error {
            return Err(Failure::new(format!("cannot listen at {at} ({over}): {error}")).hint(format!(
                "is another mesh, or name server, running? `ss -lnp 'sport = {}'` shows who listens there",
                at.port()
            )));
        }
    }
    Ok(())
}

/// What to try, before anything happens.
fn introduce(sites: &[LoopbackSite], folder: &Path) -> Result<(), Failure> {
    output::line(&format!("{} sites below {}", sites.len(), folder.display()))?;
    for site in sites {
        let zones: Vec<&str> = site.zones.iter().map(|(zone, _)| zone.as_str()).collect();
        output::line(&format!(
            "  {}  {} port {DNS_PORT}, TLS {TLS_PORT}, http://{}:{HTTP_PORT}/v1/status  {}, primary for {}",
            output::paint(Colour::Bold, &site.name),
            site.address,
            site.address,
            site.role,
            zones.join(", ")
        ))?;
    }
    output::line("to try, in another terminal, in this folder:")?;
    for site in sites {
        for zone in sites
            .iter()
            .flat_map(|other| other.zones.first())
            .map(|(zone, _)| zone)
        {
            output::line(&format!(
                "  dig @{} -p {DNS_PORT} {zone} SOA +norecurse",
                site.address
            ))?;
        }
    }
    output::line("  zonemesh status --watch")?;
    output::line("  zonemesh record set corp.example new-host A 10.0.0.99 --wait")?;
    output::line("Ctrl-C stops all sites; the same command starts them again.\n")
}

/// The processes and what they tell.
struct Running {
    folder: PathBuf,
    children: Vec<Process>,
    lines: mpsc::Sender<Line>,
    incoming: mpsc::Receiver<Line>,
}

struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

/// What the events of one site bring.
enum Line {
    Event(Event),
    Lost(String, ApiError),
}

impl Running {
    fn new(folder: &Path) -> Self {
        let (lines, incoming) = mpsc::channel(256);
        Self {
            folder: folder.to_owned(),
            children: Vec::new(),
            lines,
            incoming,
        }
    }

    async fn start_and_watch(&mut self, sites: &[LoopbackSite]) -> Outcome {
        for (index, site) in sites.iter().enumerate() {
            self.start(index, site, &sites[0]).await?;
        }
        self.watch().await
    }

    async fn start(
        &mut self,
        index: usize,
        site: &LoopbackSite,
        first: &LoopbackSite,
    ) -> Result<(), Failure> {
        let packet = if index == 0 {
            crate::site::init_for_trying(&site.data_dir, &site.name)?;
            None
        } else {
            self.packet_for(site, first).await?
        };
        let process = spawn(site, packet.is_some())?;
        self.children.push(process);
        if let (Some(packet), Some(process)) = (packet, self.children.last_mut()) {
            let mut stdin = process.child.stdin.take();
            if let Some(stdin) = &mut stdin {
                stdin
                    .write_all(packet.as_bytes())
                    .await
                    .with_context(|| format!("cannot hand {} its welcome packet", site.name))?;
            }
        }
        self.answers(site).await?;
        self.follow(site);
        let at = jiff::Timestamp::now().strftime("%H:%M:%S%.3f").to_string();
        output::line(&format!(
            "{at}  {}  runs",
            output::paint(Colour::Bold, &site.name)
        ))?;
        self.drain()
    }

    /// Waits until the newest child answers on its control socket, and prints what others tell meanwhile.
    async fn answers(&mut self, site: &LoopbackSite) -> Result<(), Failure> {
        let client = Client::new(site.socket());
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if client.health().await.is_ok() {
                return Ok(());
            }
            let process = self
                .children
                .last_mut()
                .filter(|process| process.name == site.name);
            if let Some(process) = process
                && let Ok(Some(status)) = process.child.try_wait()
            {
                return Err(process.ended(status));
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "{} does not answer after {} s",
                    site.name,
                    START_LIMIT.as_secs()
                ))
                .hint(format!("its log: {}", log_path(site).display())));
            }
            self.drain()?;
            sleep(POLL).await;
        }
    }

    /// A welcome packet, unless the site is a member already. The first site answers before it has made its directory, or
    /// read it.
    async fn packet_for(
        &mut self,
        site: &LoopbackSite,
        first: &LoopbackSite,
    ) -> Result<Option<String>, Failure> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match packet_for(site, first).await {
                Err(error) if error.kind == ErrorKind::Unavailable && Instant::now() < deadline => {
                }
                outcome => return Ok(outcome?),
            }
            if let Some(process) = self.children.first_mut()
                && let Ok(Some(status)) = process.child.try_wait()
            {
                return Err(process.ended(status));
            }
            self.drain()?;
            sleep(POLL).await;
        }
    }

    /// Reads the events of a site until it ends.
    fn follow(&self, site: &LoopbackSite) {
        let is_first = self.children.len() == 1;
        let (name, client, lines) = (
            site.name.clone(),
            Client::new(site.socket()),
            self.lines.clone(),
        );
        // Ends with the stream, and at the latest with the process.
        tokio::spawn(async move {
            let mut events = match client.events().await {
                Ok(events) => events,
                Err(error) => return drop(lines.send(Line::Lost(name, error)).await),
            };
            while let Some(event) = events.next().await {
                let line = match event {
                    Ok(event) if is_echo(&event, is_first) => continue,
                    Ok(event) => Line::Event(event),
                    Err(error) => return drop(lines.send(Line::Lost(name, error)).await),
                };
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        });
    }

    fn drain(&mut self) -> Result<(), Failure> {
        while let Ok(line) = self.incoming.try_recv() {
            show(&line)?;
        }
        Ok(())
    }

    /// Prints events until the last child has ended.
    async fn watch(&mut self) -> Outcome {
        let mut beat = tokio::time::interval(POLL);
        loop {
            tokio::select! {
                Some(line) = self.incoming.recv() => show(&line)?,
                _ = beat.tick() => {}
            }
            let mut index = 0;
            while index < self.children.len() {
                match self.children[index].child.try_wait() {
                    Ok(None) => index += 1,
                    Ok(Some(status)) => {
                        self.children.remove(index).ended(status).report(false);
                    }
                    Err(error) => {
                        let name = &self.children[index].name;
                        output::error(&format!("cannot watch {name}: {error}"), None);
                        index += 1;
                    }
                }
            }
            if self.children.is_empty() {
                return Err(Failure::new("every site has ended")
                    .hint(format!("their logs are below {}", self.folder.display())));
            }
        }
    }

    /// Asks every child to end, waits for each, and ends by force what does not.
    async fn stop(&mut self) {
        for process in &self.children {
            let pid = process.child.id().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw)
                && let Err(error) =
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            {
                output::error(&format!("cannot stop {}: {error}", process.name), None);
            }
        }
        for process in &mut self.children {
            if timeout(STOP_LIMIT, process.child.wait()).await.is_err() {
                output::error(&format!("{} does not stop; killing it", process.name), None);
                if let Err(error) = process.child.kill().await {
                    output::error(&format!("cannot kill {}: {error}", process.name), None);
                }
            }
        }
    }
}

impl Process {
    fn ended(&self, status: ExitStatus) -> Failure {
        let mut message = format!("{} ended: {status}", self.name);
        for line in tail(&self.log) {
            message.push_str("\n  ");
            message.push_str(&line);
        }
        Failure::new(message).hint(format!("its whole log: {}", self.log.display()))
    }
}

/// A welcome packet, unless the site is a member already.
async fn packet_for(site: &LoopbackSite, first: &LoopbackSite) -> Result<Option<String>, ApiError> {
    let client = Client::new(first.socket());
    if client
        .sites()
        .await?
        .iter()
        .any(|member| member.name == site.name)
    {
        return Ok(None);
    }
    let invite = Invite {
        site: site.name.clone(),
        valid_secs: Some(INVITE_SECS),
        role: Some(match site.role {
            Role::CatalogSecondary => InvitedRole::CatalogSecondary,
            _ => InvitedRole::Standard,
        }),
    };
    Ok(Some(client.invite(&invite).await?.packet))
}

fn spawn(site: &LoopbackSite, joins: bool) -> Result<Process, Failure> {
    let binary = std::env::current_exe().context("cannot find this program")?;
    let log = log_path(site);
    let file = open_log(&log)?;
    let mut command = Command::new(binary);
    if joins {
        command.args(["join", "-"]).stdin(Stdio::piped());
    } else {
        command.arg("up").stdin(Stdio::null());
    }
    let child = command
        .arg("--config")
        .arg(site.config_path())
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(file)
        // Ctrl-C in the terminal reaches the parent alone, which then stops all in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", site.name))?;
    Ok(Process {
        name: site.name.clone(),
        log,
        child,
    })
}

fn log_path(site: &LoopbackSite) -> PathBuf {
    site.data_dir.join("site.log")
}

fn open_log(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(file.with_context(|| format!("cannot write the log {}", path.display()))?)
}

/// The last lines of a log, for a message.
fn tail(log: &Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// Whether another site tells the same: the first site says who is a member, and a primary when all serve a change.
fn is_echo(event: &Event, from_first: bool) -> bool {
    match event.what {
        What::SiteJoined { .. } | What::SiteLeft { .. } | What::SiteChanged { .. } => !from_first,
        What::Published { ref from, .. } => from.is_some(),
        _ => false,
    }
}

fn show(line: &Line) -> Result<(), Failure> {
    match line {
        Line::Event(event) => output::line(&format!(
            "{}  {}  {}",
            event.at.strftime("%H:%M:%S%.3f"),
            output::paint(Colour::Bold, &event.site),
            event.what
        )),
        Line::Lost(site, error) => output::line(&format!("{site}: no more events: {error}")),
    }
}

/// Set for the sites that this command starts.
pub(super) const CHILD: &str = "ZONEMESH_UP_CHILD";

/// A site with a large store takes seconds to load it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A site ends its transfers before it stops.
const STOP_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Used at once.
const INVITE_SECS: u64 = 600;
const TAIL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_before_anything_is_made() {
        let here = IpAddr::from([127, 0, 0, 1]);
        let taken = TcpListener::bind((here, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let why = is_free(here, &[], &[port]).unwrap_err();
        let text = format!("{why:?}");
        assert!(text.contains(&format!("127.0.0.1:{port} (TCP)")), "{text}");
        let udp = UdpSocket::bind((here, 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        is_free(here, &[port], &[]).unwrap_err();
    }
}
