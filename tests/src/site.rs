//! One site of a mesh under test: a process with a folder of its own, asked over its control socket.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zonemesh_api::types::{
    AddZone, ChangeRecords, Changed, Check, CheckState, CopyState, RecordChange, Status, Verdict,
    Wait, ZoneAtSite,
};
use zonemesh_api::{ApiError, Client};
use zonemesh_testkit::daemon::Daemon;
use zonemesh_testkit::netns::Host;
use zonemesh_testkit::{Place, query, site as kit, wait};
use zonemesh_transfer::tls::SiteKey;

use crate::ask;

/// How long anything may take that happens within milliseconds on an idle machine. Where a bound is promised, the test that
/// defends it has its own; here nothing is lost by patience with a machine that does much else.
pub const SOON: Duration = Duration::from_secs(120);

/// A site of a mesh under test.
#[derive(Debug)]
pub struct Site {
    /// Its name.
    pub name: String,
    // Before the place, so that the process has ended when its folder goes.
    daemon: Option<Daemon>,
    place: Place,
    host: Option<Host>,
    environment: Vec<(String, String)>,
    /// Whether it is the first of a mesh that is not made yet.
    founds: bool,
}

/// # Starting
impl Site {
    /// Makes the folder, configuration and zone file of a site that does not run yet. It is primary for the zone of its name:
    /// `site-a` for `a.example`.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub fn new(name: &str, role: &str, host: Option<&Host>) -> Result<Self> {
        let place = match host {
            Some(host) => host.enter(|| Place::at(name, host.address()))??,
            None => Place::new(name)?,
        };
        let site = Self {
            name: name.to_owned(),
            daemon: None,
            place,
            host: host.cloned(),
            environment: Vec::new(),
            founds: role == "catalog-primary",
        };
        let zone = site.zone();
        site.place
            .write(&format!("{zone}.zone"), &zone_file(1, "192.0.2.1"));
        site.configure(&site.configuration(role));
        Ok(site)
    }

    /// What its configuration is at first.
    pub fn configuration(&self, role: &str) -> String {
        let (name, place, zone) = (&self.name, &self.place, self.zone());
        format!(
            "[site]\nname = \"{name}\"\nrole = \"{role}\"\naddresses = [\"{address}\"]\n\
             [listen]\ndns = [\"{dns}\"]\ntls = [\"{tls}\"]\nhttp = []\n\
             [directory]\n[catalog]\n[log]\nlevel = \"debug\"\n\
             [[zone]]\nname = \"{zone}\"\nfile = \"{zone}.zone\"\ndynamic = true\n",
            address = place.address(),
            dns = place.dns(),
            tls = place.tls(),
        )
    }

    /// Writes its configuration; a running site reads it when it is told to.
    pub fn configure(&self, text: &str) {
        self.place.write("zonemesh.toml", text);
    }

    /// The zone that it is primary for.
    pub fn zone(&self) -> String {
        format!("{}.example", self.name.trim_start_matches("site-"))
    }

    /// Sets a variable of the environment of its next process.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it by `zonemesh up`, and does not wait.
    ///
    /// # Errors
    ///
    /// When it runs already, or the binary cannot be run.
    pub fn up(&mut self) -> Result<()> {
        if std::mem::take(&mut self.founds) {
            self.cli_ok(&["init", "--config", &self.place.path("zonemesh.toml")])?;
        }
        self.spawn(&["up"])
    }

    /// Starts it by `zonemesh join`, and does not wait.
    ///
    /// # Errors
    ///
    /// When it runs already, or the binary cannot be run.
    pub fn join(&mut self, packet: &str) -> Result<()> {
        let file = self.place.write("packet", packet);
        self.spawn(&["join", &format!("@{file}")])
    }

    fn spawn(&mut self, words: &[&str]) -> Result<()> {
        if self.runs() {
            bail!("{} runs already", self.name);
        }
        let mut command = Command::new(kit::binary()?);
        command
            .args(words)
            .args(["--config", &self.place.path("zonemesh.toml")])
            .arg("--data-dir")
            .arg(self.data_dir())
            .envs(self.environment.iter().cloned())
            .current_dir(self.place.dir());
        let log = PathBuf::from(self.place.path("site.log"));
        let start = || Daemon::start(&self.name, command, log);
        self.daemon = Some(match &self.host {
            Some(host) => host.enter(start)??,
            None => start()?,
        });
        Ok(())
    }

    /// Waits until it answers over its control socket.
    ///
    /// # Errors
    ///
    /// When it does not, or has ended; with the end of its log.
    pub fn wait_running(&mut self) -> Result<()> {
        let client = self.client();
        let runtime = ask::runtime()?;
        self.daemon()?.wait_ready(SOON, || {
            runtime.block_on(client.health())?;
            Ok(true)
        })
    }

    /// Waits until it holds every zone of its mesh.
    ///
    /// # Errors
    ///
    /// When it does not; with what it lacks.
    pub fn wait_ready(&mut self) -> Result<()> {
        let client = self.client();
        let runtime = ask::runtime()?;
        self.daemon()?.wait_ready(SOON, || {
            let health = runtime.block_on(client.health())?;
            if !health.ready {
                bail!("not ready: {}", health.reasons.join(", "));
            }
            Ok(true)
        })
    }

    /// Kills it on the spot (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        self.daemon()?.kill()
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    ///
    /// When it does not run, or ends otherwise than with success.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.daemon()?.stop()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Starts it again by `zonemesh up`, and waits until it answers over its control socket.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        if self.runs() {
            self.stop()?;
        }
        self.up()?;
        self.wait_running()
    }

    /// Waits until a process that should not go on has ended, and returns its exit code and log.
    ///
    /// # Errors
    ///
    /// When it goes on.
    pub fn wait_ended(&mut self) -> Result<(i32, String)> {
        let daemon = self.daemon()?;
        let status = wait::until(SOON, "the process to end", || daemon.ended())?;
        Ok((status.code().unwrap_or(-1), daemon.log()))
    }

    /// Whether its process runs.
    pub fn runs(&self) -> bool {
        self.daemon
            .as_ref()
            .is_some_and(|daemon| daemon.pid().is_some())
    }

    /// Its process.
    ///
    /// # Errors
    ///
    /// When it was never started.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("this site was never started")
    }
}

/// # Where it is
impl Site {
    /// Its folder, address and ports.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.place.path("data").into()
    }

    /// Where it answers over UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        self.place.dns()
    }

    /// Where it answers over TLS.
    pub fn tls(&self) -> SocketAddr {
        self.place.tls()
    }

    /// Its key, from the file in its data folder.
    ///
    /// # Errors
    ///
    /// When there is none yet.
    pub fn key(&self) -> Result<SiteKey> {
        let pem = fs::read_to_string(self.data_dir().join("site.key"))?;
        Ok(SiteKey::from_pem(&pem, &self.name)?)
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Waits until its log has a text.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn wait_log(&self, text: &str) -> Result<()> {
        let what = format!("{text:?} in the log of {}", self.name);
        wait::until(SOON, &what, || Ok(self.log().contains(text).then_some(())))
    }
}

/// # Asking it
impl Site {
    /// Its control socket.
    pub fn client(&self) -> Client {
        Client::new(self.data_dir().join("control.sock"))
    }

    /// Makes one request over the control socket.
    ///
    /// # Errors
    ///
    /// When the site refuses it or is not there.
    pub fn api<T, F>(&self, request: impl FnOnce(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let outcome = ask::runtime()?.block_on(request(self.client()));
        outcome.map_err(|error| {
            let hint = error.hint.clone().unwrap_or_default();
            anyhow::Error::new(error).context(format!("asked {} ({hint})", self.name))
        })
    }

    /// Its view of the mesh.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn status(&self) -> Result<Status> {
        self.api(async |client| client.status().await)
    }

    /// Waits until its view of the mesh is as it should be.
    ///
    /// # Errors
    ///
    /// When it is not in time; with the last view.
    pub fn wait_status(&self, what: &str, right: impl Fn(&Status) -> bool) -> Result<Status> {
        wait::until(SOON, &format!("{what} at {}", self.name), || {
            let status = self.status()?;
            if right(&status) {
                return Ok(Some(status));
            }
            bail!("{}", summary(&status))
        })
    }

    /// Waits until it says that the mesh is healthy and has this many sites, each with every zone.
    ///
    /// # Errors
    ///
    /// When it does not in time; with what is wrong.
    pub fn wait_healthy(&self, sites: usize) -> Result<()> {
        self.wait_status("a healthy mesh", |status| {
            let whole = |zone: &zonemesh_api::types::ZoneStatus| {
                zone.sites.len() == sites
                    && zone
                        .sites
                        .iter()
                        .all(|copy| copy.state == CopyState::Current)
            };
            status.verdict == Verdict::Healthy
                && status.sites.len() == sites
                && status.zones.iter().all(whole)
        })
        .map(|_| ())
    }

    /// Runs a `zonemesh` command against it.
    ///
    /// # Errors
    ///
    /// When the binary cannot be run; a failing command is not an error here.
    pub fn cli(&self, words: &[&str]) -> Result<Output> {
        Command::new(kit::binary()?)
            .args(words)
            .arg("--data-dir")
            .arg(self.data_dir())
            .current_dir(self.place.dir())
            .env("NO_COLOR", "1")
            .output()
            .context("cannot run zonemesh")
    }

    /// Runs a `zonemesh` command and returns its exit code and all that it printed.
    ///
    /// # Errors
    ///
    /// When the binary cannot be run, or was killed.
    pub fn cli_code(&self, words: &[&str]) -> Result<(i32, String)> {
        let output = self.cli(words)?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().context("zonemesh was killed")?;
        Ok((code, text))
    }

    /// Runs a `zonemesh` command that must succeed and returns its standard output.
    ///
    /// # Errors
    ///
    /// When it fails; with what it printed.
    pub fn cli_ok(&self, words: &[&str]) -> Result<String> {
        let output = self.cli(words)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`zonemesh {}` at {}: {}\n{text}{errors}",
                words.join(" "),
                self.name,
                output.status
            );
        }
        Ok(text)
    }

    /// The RCODE and the IPv4 address that it answers for a name over UDP.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn address(&self, name: &str) -> Result<(u8, Option<Ipv4Addr>)> {
        self.inside(|| ask::address(self.dns(), name))
    }

    /// The serial that it answers for a zone over UDP.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn serial(&self, zone: &str) -> Result<Option<u32>> {
        self.inside(|| query::serial(self.dns(), zone))
    }

    /// Does something on its host.
    ///
    /// # Errors
    ///
    /// Those of the work, and when the host cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.host {
            Some(host) => host.enter(work)?,
            None => work(),
        }
    }

    /// Waits until it answers with this address for a name.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub fn wait_address(&self, name: &str, address: &str) -> Result<()> {
        let expected: IpAddr = address.parse()?;
        let what = format!("{address} for {name} from {}", self.name);
        wait::until_eq(SOON, &what, &(0, Some(expected)), || {
            let (code, found) = self.address(name)?;
            Ok((code, found.map(IpAddr::V4)))
        })
    }

    /// Waits until it answers with this RCODE for a name, type A.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub fn wait_code(&self, name: &str, code: u8) -> Result<()> {
        let what = format!("RCODE {code} for {name} from {}", self.name);
        wait::until_eq(SOON, &what, &code, || Ok(self.address(name)?.0))
    }
}

/// # Changing it
impl Site {
    /// Makes the A record of a name exactly this, and waits for every site where `wait` is set.
    ///
    /// # Errors
    ///
    /// When the site refuses.
    pub fn set(&self, zone: &str, name: &str, address: &str, wait: bool) -> Result<Changed> {
        let change = ChangeRecords {
            zone: zone.to_owned(),
            changes: vec![RecordChange::Set {
                name: name.to_owned(),
                rtype: "A".to_owned(),
                ttl: Some(60),
                data: vec![address.to_owned()],
            }],
            dry_run: false,
            wait: waiting(wait),
        };
        self.api(async |client| client.change_records(&change).await)
    }

    /// Adds a zone with this site as its primary.
    ///
    /// # Errors
    ///
    /// When the site refuses.
    pub fn add_zone(&self, zone: &str, wait: bool) -> Result<Changed> {
        let add = AddZone {
            zone: zone.to_owned(),
            text: Some(zone_file(1, "192.0.2.1")),
            wait: waiting(wait),
        };
        self.api(async |client| client.add_zone(&add).await)
    }
}

fn waiting(wait: bool) -> Wait {
    let wait_ms = wait.then_some(SOON.as_millis() as u64);
    Wait { wait_ms }
}

/// A zone with one address at `www`.
pub fn zone_file(serial: u32, address: &str) -> String {
    format!(
        "$TTL 300\n@ SOA ns hostmaster {serial} 3600 600 3628800 300\n@ NS ns\nns A 192.0.2.53\nwww A {address}\n"
    )
}

/// What is not as it should be.
fn summary(status: &Status) -> String {
    let mut text = format!("{:?}", status.verdict);
    let wrong = |check: &&Check| check.state != CheckState::Ok;
    for check in status.checks.iter().filter(wrong) {
        text.push_str(&format!("\n  {:?}: {}", check.state, check.message));
    }
    for site in &status.sites {
        text.push_str(&format!(
            "\n  {}: reachable {:?}, ready {:?}",
            site.name, site.reachable, site.ready
        ));
    }
    for zone in &status.zones {
        let sites = zone.sites.len();
        if sites != status.sites.len() {
            text.push_str(&format!("\n  {} is listed at {sites} sites", zone.zone));
        }
        let wrong = |copy: &&ZoneAtSite| copy.state != CopyState::Current;
        for copy in zone.sites.iter().filter(wrong) {
            text.push_str(&format!(
                "\n  {} at {}: {:?} {:?} {:?}",
                zone.zone, copy.site, copy.state, copy.serial, copy.last_error
            ));
        }
    }
    text
}
