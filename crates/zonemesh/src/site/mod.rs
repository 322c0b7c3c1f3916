//! Runs a site: opens its store, sockets and key, starts the core, and connects them.
//!
//! Nothing is decided here. The core (`zonemesh_mesh::core`) says what is to be done; `jobs` does it, `requests` and
//! `control` bring in what others want, `driver` is the one task that owns the core.

mod access;
mod clock;
mod control;
mod drift;
mod driver;
mod gate;
mod identity;
mod import;
mod jobs;
mod join;
mod listeners;
mod live;
mod membership;
mod metrics;
mod peers;
mod places;
mod pool;
mod progress;
mod random;
mod reload;
mod requests;
mod rest;
mod room;
mod seen;
mod settings;
mod transfers;
mod yielded;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zonemesh_api::types::What;
use zonemesh_mesh::core::{CATALOG_MEMBERS, Core, YIELDED, Yielded};
use zonemesh_store::{Forgetting, Forgotten, Store};

use self::control::Control;
use self::driver::{CoreHandle, Driver};
use self::jobs::Jobs;
use self::live::{Live, Parts};
use crate::config::{Config, Role};
use crate::systemd;

/// How a site is started.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The file to read again on reload.
    pub config_path: Option<PathBuf>,
    /// Text of the welcome packet to join with.
    pub join: Option<String>,
    /// Why the configuration is not what the file says, to be shown until it is.
    pub loud: Option<String>,
    /// Whether to go on without what is damaged in the store and nobody else is known to have.
    pub accept_damage: bool,
}

/// Makes what a site needs to found a mesh at its first start; returns a sentence that says so.
///
/// # Errors
///
/// When the configuration is not that of a first site, or the data directory is, or was, a site's.
pub fn init(config: &Config) -> anyhow::Result<String> {
    let name = &config.site.name;
    let Some(mesh) = &config.mesh else {
        anyhow::bail!(
            "the configuration has neither [directory] nor [catalog]: {name} is a plain name server, which starts with `zonemesh up`"
        );
    };
    if config.site.role != Role::CatalogPrimary {
        anyhow::bail!(
            "{name} is not a `catalog-primary` by its configuration: the first site of a mesh is; any other joins with a welcome packet \
             (`zonemesh invite {name}` at the catalog primary, `zonemesh join` here)"
        );
    }
    let key = identity::init(&config.site.data_dir, name)?;
    Ok(format!(
        "{} made: with `zonemesh up` {name} makes a new mesh with directory {} and catalog {}",
        key.display(),
        mesh.directory.fmt_with_dot(),
        mesh.catalog.fmt_with_dot()
    ))
}

/// The same for a mesh on loopback, where there is nothing to lose: a data directory that has something is left alone.
pub(crate) fn init_for_trying(data_dir: &Path, name: &str) -> anyhow::Result<()> {
    match identity::is_nobodys(data_dir) {
        Ok(()) => identity::init(data_dir, name).map(drop),
        Err(_) => Ok(()),
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// When the site cannot start.
pub async fn run(config: Arc<Config>, options: RunOptions) -> anyhow::Result<()> {
    // First of all: a signal that comes while the site starts must end it in order.
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let last_change = zonemesh_store::last_change(&config.site.data_dir);
    if options.join.is_none() {
        peers::look_before_open(&config)?;
    }
    let store = peers::open_store(&config, options.accept_damage)?;
    let outcome = run_on(store.clone(), last_change, config, options, signals).await;
    close(store).await;
    outcome
}

/// What ends a site.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// What there is to do at a site that has not joined.
pub(crate) const HOW_TO_JOIN: &str = "`zonemesh invite NAME` at the catalog primary, then `zonemesh join` here: this is for a new site, and for one \
     that has its key and nothing else";

/// How long an end waits for the store to be closed: for what is being written, and not for a disk that hangs.
const CLOSING: Duration = Duration::from_secs(10);

/// Closes the store, whoever still has it: jobs and connections end with the process, and hold it until then.
async fn close(store: Store) {
    let closed = tokio::task::spawn_blocking(move || store.close());
    match tokio::time::timeout(CLOSING, closed).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the store could not be closed"),
        Err(_) => tracing::error!(
            "the store could not be closed within {} seconds; the next start repairs it",
            CLOSING.as_secs()
        ),
    }
}

async fn run_on(
    store: Store,
    last_change: Option<jiff::Timestamp>,
    config: Arc<Config>,
    options: RunOptions,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let data_dir = &config.site.data_dir;
    store.set_histories(settings::histories(&config));
    let mut bootstrap = peers::look_before_start(&config, &store, options.join.is_some())?;
    let key = identity::key(data_dir, &config.site.name, options.join.as_deref(), &store)?;
    let key = Arc::new(key);
    let mut keys = settings::keys(&config)?;
    for key in live::invitation_keys(&store)? {
        keys.insert(key);
    }
    let (handle, commands) = CoreHandle::new();
    let live = Live::new(Parts {
        config: config.clone(),
        config_path: options.config_path,
        core: handle.clone(),
        store: store.clone(),
        key: key.clone(),
        keys,
        mesh: config
            .mesh
            .as_ref()
            .map(|mesh| (mesh.directory.clone(), mesh.catalog.clone())),
        loud: options.loud,
        last_change,
    });
    for (id, value) in store.list(YIELDED)? {
        match Yielded::decode(&value) {
            Ok(kept) => live.has_yielded(id, kept.zone),
            Err(why) => tracing::error!(id, why, "what was set aside cannot be read"),
        }
    }
    live.pool.set_foreign(&settings::foreign(&config)?, &key);
    live.shared
        .settings
        .store(Arc::new(settings::data_plane(&config, &live.cookies, None)));
    let jobs = Jobs::new(live.clone());
    // The listeners come before the control socket: who can ask for the status can ask for names too. And both come before
    // the welcome packet is used, which works once: a port that is taken must not cost it.
    live.listeners
        .open(&config, &key, &live.shared, requests::handler(live.clone()))?;
    let control = Arc::new(Control::new(live.clone()));
    let server =
        zonemesh_api::server::serve(&config.socket(), &config.listen.http, control).await?;
    if let Some(packet) = &options.join {
        let site = settings::this_site(&config, &key)?;
        join::join(packet, &site, &key, &store).await?;
        identity::joined(data_dir, &key)?;
        bootstrap = join::bootstrap(&store)?;
    }
    let others = !bootstrap.is_empty() || peers::are_known(&config)?;
    let waits = config.mesh.is_some() && config.site.role != Role::CatalogPrimary;
    if waits && !others && store.zones()?.is_empty() {
        let hint = HOW_TO_JOIN.replace("NAME", &config.site.name);
        tracing::warn!(hint, "this site has not joined its mesh");
    }
    let mut settings = settings::core(&config, &key, bootstrap)?;
    settings.catalogs.remembered = store.list(CATALOG_MEMBERS)?;
    settings.founding = import::founding(&config, &store)?;
    let accept = options.accept_damage;
    let of = config.clone();
    let found = tokio::task::spawn_blocking(move || found(&store, &of, others, accept)).await??;
    settings.marks = found.marks;
    settings.consent = found.consent;
    let seed = u64::from_le_bytes(random::bytes());
    let (core, first) = Core::new(settings, found.held, seed, clock::now());
    let driver = tokio::spawn(Driver::new(core, jobs, handle, commands).run(first));
    // Not waited for: a zone file on a file system that hangs must not keep the site from being stopped.
    let imports = tokio::spawn(start_up(live.clone(), config.clone()));
    let keeper = tokio::spawn(housekeeping(live.clone()));
    let yields = tokio::spawn(yielded::settle(live.clone()));
    let sites = tokio::spawn(peers::keep(config.clone(), live.peers.subscribe()));
    let watch = progress::Watch::start(&live)?;
    tokio::select! {
        _ = signals.terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = signals.interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    systemd::stopping();
    drop(watch);
    imports.abort();
    keeper.abort();
    sites.abort();
    yields.abort();
    server.stop();
    live.listeners.close().await;
    driver.abort();
    // Ends as cancelled: there is nothing to say of it.
    let _ = driver.await;
    Ok(())
}

/// Reads the zone files that have changed, and tells the log and the service manager when the site answers: for all that its store and
/// its zone files have.
async fn start_up(live: Arc<Live>, config: Arc<Config>) {
    // Who is let look at the core comes after its first decisions have been carried out: what the store had is served.
    if live.core.look(|_, _| ()).await.is_err() {
        return;
    }
    let imported = import::all(&live, &config).await;
    if let Some(why) = settings::role_differs(&live) {
        tracing::warn!(why, "the role of this site is not the one of its file");
    }
    let missing = imported.failed.len() + imported.later.len();
    let status = match missing {
        0 => format!("{} answers", config.site.name),
        _ => format!(
            "{} answers; {missing} zone files could not be imported",
            config.site.name
        ),
    };
    let told = async {
        until_answering(&live).await;
        let zones = live.shared.zones.load().len() as u64;
        live.tell(What::Ready { zones });
        systemd::ready(&status);
    };
    // A site may wait for one of these files before it answers.
    tokio::join!(told, import_later(&live, imported.later));
}

/// Waits until the site answers, which in a mesh it does when it holds all zones.
async fn until_answering(live: &Live) {
    /// Between two requests for more time, and how much that is.
    const AGAIN: Duration = Duration::from_secs(30);
    const MORE: Duration = Duration::from_secs(90);
    let mut answers = live.answers.subscribe();
    loop {
        let answering = answers.wait_for(|answers| *answers);
        match tokio::time::timeout(AGAIN, answering).await {
            // The other end is as alive as `live`.
            Ok(_) => return,
            Err(_) => {
                let why = format!("{} lacks zones, and does not answer yet", live.name);
                systemd::starting(&why, MORE);
            }
        }
    }
}

/// Imports the zone files that could not be imported yet.
async fn import_later(live: &Arc<Live>, mut later: Vec<(zonemesh_zone::Name, String)>) {
    for (zone, why) in &later {
        tracing::warn!(%zone, why, "the zone file is not imported yet");
    }
    while !later.is_empty() {
        tokio::time::sleep(import::PAUSE).await;
        let config = live.config.load_full();
        let wanted = |zone: &zonemesh_zone::Name| later.iter().any(|(name, _)| name == zone);
        later = import::some(live, &config, wanted).await.later;
    }
}

/// All zones of the store. One that is damaged is left out, told of, and comes again from a peer; where no other site is known and no
/// foreign server has it, it is only left out when that is accepted.
fn found(
    store: &Store,
    config: &Config,
    others: bool,
    accept: bool,
) -> anyhow::Result<zonemesh_keep::Found> {
    let found = zonemesh_keep::held_of_what_others_have(store)?;
    if !others && !accept {
        peers::refuse_damaged(config, &found.damaged)?;
    }
    for (apex, error) in &found.damaged {
        let error = pool::chain(error);
        if others || peers::is_transferred(config, apex) {
            tracing::error!(zone = %apex, error, "the stored zone cannot be read; it is transferred anew");
        } else {
            tracing::error!(zone = %apex, error, "the stored zone cannot be read; it is set aside, as was asked for");
            let batch = zonemesh_store::Batch::new(jiff::Timestamp::now());
            store.commit(batch.remove_zone(apex))?;
        }
    }
    Ok(found)
}

/// What is done now and then: removed zones and used invitations go for good after 30 days, the history of zones when it is too old.
/// By a clock that is in doubt nothing does.
async fn housekeeping(live: Arc<Live>) {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut forgetting = Forgetting::new(live.store.clone());
    // Not before peers have had time to show their clocks.
    let mut every = tokio::time::interval_at(tokio::time::Instant::now() + HOUR / 6, HOUR);
    loop {
        every.tick().await;
        let doubt = live.core.look(|core, now| core.clock_doubt(now)).await;
        match doubt {
            Ok(None) => {}
            Ok(Some(doubt)) => {
                tracing::warn!(
                    doubt,
                    "nothing is cleared away for good while the time is in doubt"
                );
                continue;
            }
            Err(_) => return,
        }
        let store = live.store.clone();
        let before = jiff::Timestamp::now().as_second() - control::KEEP_REMOVED_SECS;
        match tokio::task::spawn_blocking(move || tidy(&store, before)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error = pool::chain(error.as_ref()),
                "what was removed long ago could not be cleared"
            ),
            Err(error) => tracing::error!(%error, "housekeeping ended early"),
        }
        forgetting = forget(&live, forgetting).await;
    }
}

/// Forgets what is too old of the history of zones, some hundreds of zones at a time.
async fn forget(live: &Live, mut forgetting: Forgetting) -> Forgetting {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let store = live.store.clone();
        let part = tokio::task::spawn_blocking(move || {
            let kept = |apex: &zonemesh_zone::Name| import::kept(&store, apex);
            let forgotten = forgetting.part(jiff::Timestamp::now(), kept);
            (forgetting, forgotten)
        });
        let forgotten = match part.await {
            Ok((same, forgotten)) => {
                forgetting = same;
                forgotten
            }
            Err(error) => {
                tracing::error!(%error, "forgetting old history ended early");
                return Forgetting::new(live.store.clone());
            }
        };
        match forgotten {
            Ok(Forgotten {
                entries,
                more,
                failed,
            }) => {
                if entries > 0 {
                    tracing::debug!(entries, "differences that were too old are forgotten");
                }
                for (zone, error) in failed {
                    let error = pool::chain(&error);
                    tracing::warn!(%zone, error, "its old history could not be forgotten");
                }
                if !more {
                    return forgetting;
                }
            }
            Err(error) => {
                let error = pool::chain(&error);
                tracing::warn!(error, "old history could not be forgotten");
                return forgetting;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tidy(store: &Store, before: i64) -> anyhow::Result<()> {
    for zone in store.purge_removed(clock::timestamp(before))? {
        tracing::info!(zone = %zone.apex, "removed 30 days ago, and gone for good now");
    }
    let mut batch = zonemesh_store::Batch::new(jiff::Timestamp::now());
    for (name, value) in store.list(membership::INVITATIONS)? {
        let token: zonemesh_mesh::invite::Token = serde_json::from_slice(&value)
            .with_context(|| format!("invitation {name} cannot be read"))?;
        if token.expires < before {
            batch = batch.delete(membership::INVITATIONS, &name);
        }
    }
    if !batch.is_empty() {
        store.commit(batch)?;
    }
    Ok(())
}
