//! `zonemesh up` and `join`: run a site in this process.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use zonemesh_api::Client;
use zonemesh_api::error::exit;
use zonemesh_mesh::packet::{PacketError, Welcome};

use super::args::{Init, Join, Target, Up};
use super::{Failure, Outcome, output, sites};
use crate::config::{self, Config};
use crate::site::{self, RunOptions};
use crate::{logging, systemd};

pub(super) async fn up(up: Up, target: Target) -> Outcome {
    if let Some(count) = up.sites {
        return sites::up(usize::from(count), target).await;
    }
    let (path, data_dir) = match up.config.or_else(config::find) {
        Some(path) => (path, target.data_dir),
        None => {
            let folder = target
                .data_dir
                .unwrap_or_else(|| config::loopback::FOLDER.into());
            let config = Config::loopback(0, &folder)?;
            site::init_for_trying(&config.site.data_dir, &config.site.name)?;
            (config.file, None)
        }
    };
    run(&path, data_dir.as_deref(), None, up.accept_damage).await
}

pub(super) fn init(init: Init, target: Target) -> Outcome {
    let Some(path) = init.config.or_else(config::find) else {
        return Err(Failure::new(
            "there is no configuration; expected `zonemesh.toml` here or in /etc/zonemesh"
                .to_owned(),
        )
        .hint("name it with `--config`"));
    };
    let mut config = config::load(&path)?;
    if let Some(dir) = target.data_dir {
        config.site.data_dir = dir;
    }
    let made = site::init(&config)?;
    output::line(&made)?;
    Ok(exit::DONE)
}

pub(super) async fn join(join: Join, target: Target) -> Outcome {
    let packet = read_packet(&join.packet)?;
    let welcome =
        Welcome::decode(&packet, jiff::Timestamp::now().as_second()).map_err(|error| {
            let failure = Failure::new(format!("the welcome packet cannot be used: {error}"));
            match error {
                PacketError::Expired(_) => failure,
                _ => failure.hint(
                    "pass on what `zonemesh invite` printed, whole; `-` reads standard input",
                ),
            }
        })?;
    let path = match &join.config {
        Some(path) => path.clone(),
        None => {
            let dir = target
                .data_dir
                .clone()
                .unwrap_or_else(|| config::DEFAULT_DATA_DIR.into());
            make_config(&join, &welcome, &dir)?
        }
    };
    // A broken file must not be replaced by an older one here: the packet can be used once only.
    let config = config::load(&path)?;
    if config.site.name != welcome.site.to_string() {
        return Err(Failure::new(format!(
            "the packet invites {}, and {} configures {}",
            welcome.site,
            path.display(),
            config.site.name
        ))
        .hint(format!(
            "ask for another with `zonemesh invite {}`",
            config.site.name
        )));
    }
    let (directory, catalog) = (&welcome.directory, &welcome.catalog);
    if let Some(mesh) = &config.mesh
        && (mesh.directory != *directory || mesh.catalog != *catalog)
    {
        return Err(Failure::new(format!(
            "the packet invites into the mesh with directory {} and catalog {}, and {} names {} and {}",
            directory.fmt_with_dot(),
            catalog.fmt_with_dot(),
            path.display(),
            mesh.directory.fmt_with_dot(),
            mesh.catalog.fmt_with_dot()
        ))
        .hint("give [directory] and [catalog] these names; the packet was not used"));
    }
    let data_dir = if join.config.is_some() {
        target.data_dir
    } else {
        None
    };
    run(&path, data_dir.as_deref(), Some(packet), false).await
}

async fn run(
    path: &Path,
    data_dir: Option<&Path>,
    join: Option<String>,
    accept_damage: bool,
) -> Outcome {
    stop_with_parent();
    // Absolute before it is read: a reload, which compares, reads it by this path too.
    let path =
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let (config, loud) = config::load_or_last_good(&path, data_dir)?;
    let _written = logging::init(&config.log);
    if let Some(loud) = &loud {
        tracing::error!(
            config = %path.display(),
            faults = ?loud.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "{}", loud.message
        );
    }
    let caretaker = Caretaker::start(Client::new(config.socket()))?;
    let options = RunOptions {
        config_path: Some(path),
        join,
        loud: loud.map(|loud| loud.to_string()),
        accept_damage,
    };
    let outcome = site::run(Arc::new(config), options).await;
    systemd::stopping();
    drop(caretaker);
    outcome?;
    Ok(exit::DONE)
}

/// Passes on SIGHUP, and tells the service manager that the site is alive. Both ask the site as anyone would, over
/// its control socket: what answers there is what an operator meets.
struct Caretaker {
    tasks: Vec<JoinHandle<()>>,
}

impl Caretaker {
    fn start(client: Client) -> Result<Self, Failure> {
        let mut hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let reloader = client.clone();
        let mut tasks = vec![tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                reload(&reloader).await;
            }
        })];
        if let Some(interval) = systemd::watchdog_interval() {
            tasks.push(tokio::spawn(async move {
                let client = client.timeout(interval);
                loop {
                    tokio::time::sleep(interval).await;
                    match client.health().await {
                        Ok(_) => systemd::watchdog(),
                        Err(error) => tracing::error!(%error, "the site does not answer itself"),
                    }
                }
            }));
        }
        Ok(Self { tasks })
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn reload(client: &Client) {
    systemd::reloading();
    let status = match client.reload().await {
        Ok(reloaded) => {
            tracing::info!(changes = ?reloaded.changes, needs_restart = ?reloaded.needs_restart, "configuration read again");
            "configuration read again".to_owned()
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not taken; the old one stays");
            format!("reload refused: {error}")
        }
    };
    systemd::reloaded(&status);
}

/// A site that `up --sites` started ends with it, even when that is killed.
fn stop_with_parent() {
    if std::env::var_os(sites::CHILD).is_none() {
        return;
    }
    let signal = Some(rustix::process::Signal::TERM);
    if let Err(error) = rustix::process::set_parent_process_death_signal(signal) {
        tracing::warn!(%error, "this site will not notice when its parent is killed");
    }
}

/// A packet holds a one-time key; as an argument every user of the host could read it, so files and pipes are offered.
fn read_packet(argument: &str) -> Result<String, Failure> {
    let mut text = String::new();
    if argument == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the packet from standard input")?;
    } else if let Some(path) = argument.strip_prefix('@') {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the packet from {path}"))?;
    } else {
        text.push_str(argument);
    }
    Ok(text.trim().to_owned())
}

/// Writes the configuration of a site that joins without one.
fn make_config(join: &Join, welcome: &Welcome, dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join("zonemesh.toml");
    if path.exists() {
        return Err(Failure::new(format!("{} exists already", path.display()))
            .hint(format!("join with it: --config {}", path.display())));
    }
    if join.addresses.is_empty() {
        return Err(Failure::usage("peers must know where to reach this site")
            .hint("add `--addresses 192.0.2.7`, or `--config FILE` with [site] addresses"));
    }
    let text = joined_config(join, welcome);
    config::parse(&text, &path)?;
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    zonemesh_store::file::write(&path, text.as_bytes(), 0o644)
        .context("cannot keep the configuration")?;
    Ok(path)
}

fn joined_config(join: &Join, welcome: &Welcome) -> String {
    let list = |values: Vec<String>| toml::Value::from(values).to_string();
    let mut text = format!(
        "# Made by `zonemesh join`; yours to change.\n[site]\nname = \"{}\"\nrole = \"{}\"\naddresses = {}\ndata-dir = \".\"\n",
        welcome.site,
        welcome.role,
        list(join.addresses.iter().map(ToString::to_string).collect()),
    );
    let listen = [
        ("dns", &join.listen_dns),
        ("tls", &join.listen_tls),
        ("quic", &join.listen_quic),
        ("http", &join.listen_http),
    ];
    text.push_str("\n[listen]\n");
    for (key, addresses) in listen
        .into_iter()
        .filter(|(_, addresses)| !addresses.is_empty())
    {
        text.push_str(&format!("{key} = {}\n", list(addresses.clone())));
    }
    text.push_str(&format!(
        "\n[directory]\nname = \"{}\"\n\n[catalog]\nname = \"{}\"\n",
        welcome.directory, welcome.catalog
    ));
    text
}
