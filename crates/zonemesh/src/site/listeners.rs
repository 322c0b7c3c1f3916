//! The sockets that clients and peers come to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use zonemesh_serve::stream::{Connections, StreamLimits, StreamServer};
use zonemesh_serve::udp::UdpServer;
use zonemesh_serve::{Handler, Shared, bind};
use zonemesh_transfer::tls::{self, SiteKey};

use crate::config::Config;

/// The listeners of a site.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Mutex<Option<Open>>,
}

struct Open {
    udp: Vec<UdpServer>,
    tcp: Vec<StreamServer>,
    tls: Vec<StreamServer>,
    shared: Arc<Shared>,
    handler: Handler,
    connections: Arc<Connections>,
}

impl Listeners {
    /// Opens all that the configuration names, or none.
    pub(crate) fn open(
        &self,
        config: &Config,
        key: &SiteKey,
        shared: &Arc<Shared>,
        handler: Handler,
    ) -> anyhow::Result<()> {
        let limits = StreamLimits {
            connections: config.limits.tcp_connections,
            per_client: config.limits.per_client,
            ..StreamLimits::default()
        };
        let connections = Connections::new(limits);
        let mut open = Open {
            udp: vec![],
            tcp: vec![],
            tls: vec![],
            shared: shared.clone(),
            handler,
            connections,
        };
        for &addr in &config.listen.dns {
            open.udp.push(zonemesh_serve::udp::listen(
                addr,
                config.limits.workers,
                shared,
                &open.handler,
            )?);
            let listener = bind::tcp(addr)?;
            open.tcp.push(zonemesh_serve::stream::serve(
                listener,
                None,
                shared,
                &open.handler,
                &open.connections,
            )?);
        }
        open.tls = open.listen_tls(config, key)?;
        if let Ok(mut slot) = self.open.lock() {
            *slot = Some(open);
        }
        Ok(())
    }

    /// Shows another key on the TLS listeners. Connections that are open are closed; their clients come again.
    pub(crate) async fn use_key(&self, key: &SiteKey, config: &Config) -> anyhow::Result<()> {
        let died = || anyhow::anyhow!("a thread died while it held the listeners");
        let old = {
            let mut slot = self.open.lock().map_err(|_| died())?;
            slot.as_mut()
                .map(|open| std::mem::take(&mut open.tls))
                .unwrap_or_default()
        };
        // A port is free when the task that listened has ended, not when it was told to.
        for server in old {
            server.stop(KEY_GRACE).await;
        }
        let mut slot = self.open.lock().map_err(|_| died())?;
        if let Some(open) = slot.as_mut() {
            open.tls = open.listen_tls(config, key)?;
        }
        Ok(())
    }

    /// Closes all, after the answers that are due.
    pub(crate) async fn close(&self) {
        let Some(open) = self.open.lock().ok().and_then(|mut slot| slot.take()) else {
            return;
        };
        let grace = Duration::from_secs(2);
        for server in open.tcp.into_iter().chain(open.tls) {
            server.stop(grace).await;
        }
        // The threads end within their poll interval.
        for server in open.udp {
            server.stop();
        }
    }
}

/// What answers under way get when the key changes; nobody is accepted meanwhile.
const KEY_GRACE: Duration = Duration::from_millis(500);

impl Open {
    fn listen_tls(&self, config: &Config, key: &SiteKey) -> anyhow::Result<Vec<StreamServer>> {
        let tls = Arc::new(
            tls::server_config(key, None).context("the site's key cannot be used for TLS")?,
        );
        let mut servers = Vec::new();
        for &addr in &config.listen.tls {
            let listener = bind::tcp(addr)?;
            let server = zonemesh_serve::stream::serve(
                listener,
                Some(tls.clone()),
                &self.shared,
                &self.handler,
                &self.connections,
            )?;
            servers.push(server);
        }
        Ok(servers)
    }
}
