//! From the configuration to what the parts of a site want to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use zonemesh_mesh::core::{
    Admit, CatalogSettings, Consumed, Me, MeshSettings, Pace, PeerId, Produced, SerialPolicy,
    Settings, Template, ZoneSpec,
};
use zonemesh_serve::{CookieSecrets, RateLimiter};
use zonemesh_store::{Histories, History};
use zonemesh_transfer::peer::Transport;
use zonemesh_transfer::tls::{SiteKey, Trust};
use zonemesh_transfer::tsig::{Key, Keys};
use zonemesh_zone::directory::{KeyPin, Site, SiteName};

use super::live::Live;
use super::pool::Foreign;
use crate::config::{self, CatalogRole, Config, Kept};

/// What the directory should say of this site.
///
/// # Errors
///
/// When its name cannot be a site's.
pub(crate) fn this_site(config: &Config, key: &SiteKey) -> anyhow::Result<Site> {
    let dns = config.listen.dns.first().map(|address| address.port());
    // Peers meet the site's own key when it calls, and the given certificate when they do.
    let given = super::listeners::given(config)?;
    let given = given.map(|given| given.pin()).transpose()?;
    Ok(Site {
        name: SiteName::new(&config.site.name)?,
        addresses: in_order(config.site.addresses.clone()),
        dot: config.listen.tls.first().map(|address| address.port()),
        doq: config.listen.quic.first().map(|address| address.port()),
        dns: dns.filter(|port| *port != 53),
        pins: in_order(
            std::iter::once(key.pin())
                .chain(given)
                .map(KeyPin)
                .collect(),
        ),
        role: config.site.role,
        engine: format!("zonemesh/{}", env!("CARGO_PKG_VERSION")),
        failure_domain: config.site.failure_domain.clone(),
    })
}

/// What there is to say when the directory gives this site another role than its file: the directory counts.
pub(crate) fn role_differs(live: &Live) -> Option<String> {
    let directory = live.directory.load();
    let sites = &directory.as_ref().as_ref()?.sites;
    let (_, site) = sites.iter().find(|(name, _)| name.as_str() == live.name)?;
    let (counts, file) = (site.role, live.config.load().site.role);
    (counts != file).then(|| {
        format!("this site is a {counts} by the directory, which counts, and a {file} by its file")
    })
}

/// As the directory gives them back: in any other order the site would look changed, and publish itself for ever.
fn in_order<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

/// What the core wants to know.
///
/// # Errors
///
/// When the site's name cannot be one.
pub(crate) fn core(
    config: &Config,
    key: &SiteKey,
    bootstrap: Vec<Site>,
) -> anyhow::Result<Settings> {
    let mesh = match &config.mesh {
        None => None,
        Some(mesh) => {
            let site = this_site(config, key)?;
            let groups = config
                .zones
                .iter()
                .filter_map(|zone| Some((zone.name.clone(), zone.group.clone()?)));
            Some(MeshSettings {
                me: Me {
                    name: site.name.clone(),
                    site,
                },
                directory: mesh.directory.clone(),
                catalog: mesh.catalog.clone(),
                bootstrap,
                legacy_txt: mesh.legacy_txt,
                groups: groups.collect::<BTreeMap<_, _>>(),
            })
        }
    };
    let in_mesh = mesh.is_some();
    let zones = config
        .zones
        .iter()
        .map(|zone| ZoneSpec {
            apex: zone.name.clone(),
            sources: peers(&zone.primaries),
            primary: zone.primaries.is_empty(),
            notify: peers(&zone.notify),
            members_only: false,
            mesh: in_mesh && zone.primaries.is_empty() && zone.catalog.is_none(),
        })
        .collect();
    Ok(Settings {
        zones,
        mesh,
        pace: Pace::default(),
        catalogs: catalogs(config),
        serials: config
            .zones
            .iter()
            .filter(|zone| zone.serial != SerialPolicy::default())
            .map(|zone| (zone.name.clone(), zone.serial))
            .collect(),
        ..Settings::default()
    })
}

/// How much of the past of zones is kept.
pub(crate) fn histories(config: &Config) -> Histories {
    let with = |kept: &Kept, default: History| History {
        max_bytes: kept.size.or(default.max_bytes),
        max_age: kept.age.unwrap_or(default.max_age),
    };
    let every = with(&config.history, History::default());
    let zones = config.zones.iter();
    let zones = zones.filter(|zone| zone.history != Kept::default());
    Histories {
        every,
        zones: zones
            .map(|zone| (zone.name.clone(), with(&zone.history, every)))
            .collect(),
    }
}

/// The foreign servers of these names.
fn peers<P: FromIterator<PeerId>>(names: &[String]) -> P {
    let peer = |name: &String| PeerId::Foreign(name.as_str().into());
    names.iter().map(peer).collect()
}

/// The catalog zones of the configuration.
fn catalogs(config: &Config) -> CatalogSettings {
    let groups: BTreeMap<String, Template> = config
        .groups
        .iter()
        .map(|group| {
            let template = Template {
                sources: peers(&group.primaries),
                notify: peers(&group.notify),
            };
            (group.name.clone(), template)
        })
        .collect();
    let of = |role| {
        config
            .zones
            .iter()
            .filter(move |zone| zone.catalog == Some(role))
    };
    let consumed = of(CatalogRole::Consumer).map(|zone| Consumed {
        apex: zone.name.clone(),
        admit: zone.admit.iter().map(admit).collect(),
        sources: peers(&zone.primaries),
        groups: groups.clone(),
    });
    let grouped = config
        .zones
        .iter()
        .filter_map(|zone| Some((zone.name.clone(), zone.group.clone()?)));
    let grouped: BTreeMap<_, _> = grouped.collect();
    let produced = of(CatalogRole::Producer).map(|zone| Produced {
        apex: zone.name.clone(),
        groups: grouped.clone(),
    });
    CatalogSettings {
        consumed: consumed.collect(),
        produced: produced.collect(),
        notify: match &config.mesh {
            Some(mesh) => peers(&mesh.catalog_notify),
            None => Vec::new(),
        },
        remembered: Vec::new(),
    }
}

fn admit(pattern: &config::Pattern) -> Admit {
    match pattern {
        config::Pattern::Any => Admit::Any,
        config::Pattern::Below(name) => Admit::Below(name.clone()),
        config::Pattern::Exactly(name) => Admit::Exactly(name.clone()),
    }
}

/// A TSIG key of the configuration.
fn tsig(key: &config::Key) -> anyhow::Result<Key> {
    Ok(Key::new(
        key.name.clone(),
        key.algorithm,
        key.secret.expose(),
    )?)
}

/// The TSIG keys of the configuration.
///
/// # Errors
///
/// When a key cannot be used.
pub(crate) fn keys(config: &Config) -> anyhow::Result<Keys> {
    let mut keys = Keys::new();
    for key in &config.keys {
        keys.insert(tsig(key)?);
    }
    Ok(keys)
}

/// What a foreign server is talked to over.
fn transport(peer: &config::Peer) -> anyhow::Result<Transport> {
    let Some(tls) = &peer.tls else {
        return Ok(Transport::Plain);
    };
    let trust = match (&tls.named, tls.pin) {
        (Some(named), _) => named.read()?,
        (None, Some(pin)) => Trust::Pins(vec![pin]),
        (None, None) => Trust::Anyone,
    };
    Ok(match tls.quic {
        true => Transport::Quic(trust),
        false => Transport::Tls(trust),
    })
}

/// The foreign servers of the configuration.
///
/// # Errors
///
/// When a key cannot be used, or the certificates of those who vouch for a server cannot be read.
pub(crate) fn foreign(config: &Config) -> anyhow::Result<Vec<Foreign>> {
    let mut all = Vec::new();
    for peer in &config.peers {
        let key = peer
            .tsig_key
            .as_ref()
            .and_then(|name| config.key(name))
            .map(tsig)
            .transpose()?;
        all.push(Foreign {
            name: peer.name.clone(),
            addr: peer.address,
            transport: transport(peer)?,
            key,
        });
    }
    Ok(all)
}

/// What the data plane wants to know. Networks that have had their answers under the same limits `before` do not get them anew.
pub(crate) fn data_plane(
    config: &Config,
    cookies: &CookieSecrets,
    before: Option<&Arc<RateLimiter>>,
) -> zonemesh_serve::Settings {
    zonemesh_serve::Settings {
        udp_payload: config.limits.udp_payload,
        nsid: config.nsid.as_ref().map(|nsid| nsid.as_bytes().to_vec()),
        version: config.version.clone(),
        identity: config.identity.clone(),
        idle_timeout: config.limits.idle_timeout,
        cookies: Some(match &config.cookies {
            Some(shared) => shared.secrets.clone(),
            None => cookies.clone(),
        }),
        rate: config.rate.any().then(|| match before {
            Some(before) if *before.limits() == config.rate => before.clone(),
            _ => Arc::new(RateLimiter::new(config.rate.clone())),
        }),
        per_zone: config.per_zone,
    }
}
