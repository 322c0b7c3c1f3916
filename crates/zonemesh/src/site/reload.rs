//! Reads the configuration again. A broken file changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};

use super::live::Live;
use super::pool::chain;
use super::{import, settings};
use crate::config::{self, Config, Listen};

pub(crate) async fn reload(live: &Arc<Live>) -> Result<api::Reloaded, ApiError> {
    let Some(path) = &live.config_path else {
        return Err(ApiError::new(
            ErrorKind::Conflict,
            "this site runs without a configuration file",
        ));
    };
    let new = config::load(path).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        ApiError::invalid(faults.join("\n"))
            .hint("nothing was changed; `zonemesh config check` shows the same before a reload")
    })?;
    let mut new = new;
    new.site.data_dir = live.data_dir.clone();
    let old = live.config.load_full();
    let mut reloaded = api::Reloaded {
        changes: Vec::new(),
        needs_restart: needs_restart(&live.config_at_start, &new),
    };
    if sockets(&old) != sockets(&new) {
        // They stay where they are until the next start, and so does what the directory says of them.
        let certificate = new.listen.certificate.take();
        new.listen = Listen {
            certificate,
            ..old.listen.clone()
        };
        new.site.addresses = old.site.addresses.clone();
    }
    let broken = |error: anyhow::Error| ApiError::invalid(format!("{error:#}"));
    let keys = settings::keys(&new).map_err(broken)?;
    let foreign = settings::foreign(&new).map_err(broken)?;
    let key = live.key.load_full();
    let core = settings::core(&new, &key, live.bootstrap()).map_err(broken)?;
    changes(&old, &new, &mut reloaded.changes);
    live.set_keys(keys)
        .await
        .map_err(|error| ApiError::internal(chain(&error)))?;
    // A certificate that was renewed in place is read again too.
    live.listeners.use_key(&key, &new).map_err(broken)?;
    live.pool.set_foreign(&foreign, &key);
    let data_plane = settings::data_plane(
        &new,
        &live.cookies,
        live.shared.settings.load().rate.as_ref(),
    );
    live.shared.settings.store(Arc::new(data_plane));
    live.store.set_histories(settings::histories(&new));
    let new = Arc::new(new);
    live.config.store(new.clone());
    live.loud.store(Arc::new(None));
    live.core
        .configure(core)
        .await
        .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?;
    let imported = import::all(live, &new).await;
    reloaded.changes.extend(imported.done);
    let not_yet = imported.later.into_iter();
    let not_yet = not_yet.map(|(zone, why)| format!("{zone}: {why}; reload again"));
    let failed: Vec<String> = imported.failed.into_iter().chain(not_yet).collect();
    if let Err(error) = config::keep(path, &live.data_dir) {
        tracing::warn!(%error, "the last good configuration could not be kept");
    }
    match failed.is_empty() {
        true => Ok(reloaded),
        false => Err(ApiError::invalid(failed.join("\n"))
            .hint("the configuration was taken; these zone files were not, and their last good versions stay")),
    }
}

/// Where a site listens.
fn sockets(config: &Config) -> [&[SocketAddr]; 4] {
    let listen = &config.listen;
    [&listen.dns, &listen.tls, &listen.quic, &listen.http]
}

/// What a file says that only a start makes true.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut all = Vec::new();
    let mut compare = |what: &str, same: bool| {
        if !same {
            all.push(format!(
                "{what} changed; it takes effect with the next start"
            ));
        }
    };
    compare("[site] name", old.site.name == new.site.name);
    compare("[listen]", sockets(old) == sockets(new));
    compare(
        "[directory] name or [catalog] name",
        match (&old.mesh, &new.mesh) {
            (Some(old), Some(new)) => old.directory == new.directory && old.catalog == new.catalog,
            (None, None) => true,
            _ => false,
        },
    );
    compare("[log]", old.log == new.log);
    compare("[limits] of connections or workers", {
        let of = |config: &Config| {
            (
                config.limits.tcp_connections,
                config.limits.per_client,
                config.limits.workers,
            )
        };
        of(old) == of(new)
    });
    all
}

/// What is different in a file that is read again, as far as it is worth a line.
pub(super) fn changes(old: &Config, new: &Config, into: &mut Vec<String>) {
    for zone in &new.zones {
        match old.zones.iter().find(|have| have.name == zone.name) {
            None => into.push(format!("zone {} added", zone.name.fmt_with_dot())),
            Some(have) if have != zone => {
                into.push(format!("zone {} changed", zone.name.fmt_with_dot()))
            }
            Some(_) => {}
        }
    }
    for zone in old
        .zones
        .iter()
        .filter(|zone| !new.zones.iter().any(|have| have.name == zone.name))
    {
        into.push(format!("zone {} removed", zone.name.fmt_with_dot()));
    }
    if old.peers != new.peers {
        into.push("peers changed".to_owned());
    }
    if old.site.role != new.site.role {
        into.push(
            "[site] role changed; what the directory says of this site counts, and `zonemesh site role` changes that"
                .to_owned(),
        );
    }
    if old.rate != new.rate {
        into.push("rate limits changed".to_owned());
    }
    if old.per_zone != new.per_zone {
        let what = if new.per_zone {
            "counted"
        } else {
            "no longer counted"
        };
        into.push(format!("zones are {what} apart"));
    }
    if old.keys != new.keys {
        into.push("keys changed".to_owned());
    }
    if old.site.addresses != new.site.addresses {
        into.push("addresses changed; the directory follows".to_owned());
    }
}
