//! The sockets that clients and peers come to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use zonemesh_serve::quic::{self, QuicServer};
use zonemesh_serve::stream::{Connections, StreamLimits, StreamServer};
use zonemesh_serve::udp::UdpServer;
use zonemesh_serve::{Handler, Shared, bind};
use zonemesh_transfer::tls::{self, Credentials, GivenCertificate, SiteKey};

use crate::config::{CertificateFiles, Config};

/// The listeners of a site.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Mutex<Option<Open>>,
}

struct Open {
    udp: Vec<UdpServer>,
    tcp: Vec<StreamServer>,
    tls: Vec<StreamServer>,
    quic: Vec<QuicServer>,
    shared: Arc<Shared>,
    handler: Handler,
    connections: Arc<Connections>,
    credentials: Arc<Credentials>,
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
        let credentials = Arc::new(
            Credentials::new(key, given(config)?.as_ref())
                .context("the key cannot be used for TLS")?,
        );
        let mut open = Open {
            udp: vec![],
            tcp: vec![],
            tls: vec![],
            quic: vec![],
            shared: shared.clone(),
            handler,
            connections,
            credentials,
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
        open.tls = open.listen_tls(config)?;
        open.quic = open.listen_quic(config, key)?;
        if let Ok(mut slot) = self.open.lock() {
            *slot = Some(open);
        }
        Ok(())
    }

    /// Shows another key on the TLS and QUIC listeners, to those who connect from now on.
    pub(crate) fn use_key(&self, key: &SiteKey, config: &Config) -> anyhow::Result<()> {
        let slot = self.open.lock();
        let slot =
            slot.map_err(|_| anyhow::anyhow!("a thread died while it held the listeners"))?;
        match slot.as_ref() {
            Some(open) => Ok(open.credentials.set(key, given(config)?.as_ref())?),
            None => Ok(()),
        }
    }

    /// How many connections of clients are open.
    pub(crate) fn connections(&self) -> usize {
        let slot = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map_or(0, |open| open.connections.count())
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
        for server in open.quic {
            server.stop(grace).await;
        }
        // The threads end within their poll interval.
        for server in open.udp {
            server.stop();
        }
    }
}

/// The certificate that the operator gave, if any.
pub(crate) fn given(config: &Config) -> anyhow::Result<Option<GivenCertificate>> {
    config
        .listen
        .certificate
        .as_ref()
        .map(CertificateFiles::read)
        .transpose()
}

impl Open {
    fn listen_quic(&self, config: &Config, key: &SiteKey) -> anyhow::Result<Vec<QuicServer>> {
        let tls = Arc::new(tls::quic_server_config(&self.credentials)?);
        let secret = key.derive("QUIC");
        let mut servers = Vec::new();
        for &addr in &config.listen.quic {
            let socket = bind::quic(addr)?;
            let server = quic::serve(
                socket,
                tls.clone(),
                &secret,
                &self.shared,
                &self.handler,
                &self.connections,
            )?;
            servers.push(server);
        }
        Ok(servers)
    }

    fn listen_tls(&self, config: &Config) -> anyhow::Result<Vec<StreamServer>> {
        let tls = Arc::new(tls::server_config(&self.credentials)?);
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
