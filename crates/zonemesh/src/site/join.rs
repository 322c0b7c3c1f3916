//! Joining a mesh with a welcome packet: one UPDATE over TLS, or QUIC.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use zonemesh_mesh::packet::Welcome;
use zonemesh_store::{Batch, Store};
use zonemesh_transfer::peer::{Options, Peer, PeerError, Target};
use zonemesh_transfer::query;
use zonemesh_transfer::tls::SiteKey;
use zonemesh_transfer::tsig::TsigError;
use zonemesh_update::request;
use zonemesh_zone::directory::{Directory, KeyPin, Role, Site};
use zonemesh_zone::{Name, Rcode};

use super::membership::key_of;
use super::pool::{chain, ways};
use crate::config::Preferred;

/// Where the sites of the welcome packet are kept: table and key.
const BOOTSTRAP: (&str, &str) = ("mesh", "bootstrap");

/// Where the name of the last packet's key is kept.
const PACKET: (&str, &str) = ("mesh", "packet");

/// How long a catalog site may take for the update.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a catalog site is asked once more that has not answered by then, or has closed the connection. It may have a long
/// queue at its disk, and have made this site a member meanwhile: to give up then leaves a member behind that does not run. Asked
/// again it says that the packet is used, and shows the directory.
const AGAIN: u32 = 5;

/// How long before that.
const PAUSE: Duration = Duration::from_secs(1);

/// Joins: asks a catalog site to publish this one, and remembers whom to ask from now on.
pub(crate) async fn join(
    packet: &str,
    site: &Site,
    key: &SiteKey,
    store: &Store,
) -> anyhow::Result<()> {
    let welcome = Welcome::decode(packet, Timestamp::now().as_second())?;
    if welcome.site != site.name {
        bail!(
            "the welcome packet is for {}, and this site is {}; ask for one with `zonemesh invite {}`",
            welcome.site,
            site.name,
            site.name
        );
    }
    same_mesh(&welcome, store)?;
    let mut site = site.clone();
    site.role = welcome.role;
    // Kept first: should this end in the middle, the next start knows whom to ask whether it is a member.
    keep(&welcome, store)?;
    let tsig = key_of(&welcome.key_name, &welcome.key)
        .context("the key in the welcome packet cannot be used")?;
    let update = request::publish(&welcome.directory, &site, None)?;
    let message = update.compose(0)?;
    let mut last = None;
    for catalog_site in &welcome.catalog_sites {
        for address in &catalog_site.addresses {
            let ways = ways(
                catalog_site.dot,
                catalog_site.doq,
                catalog_site.pins.iter(),
                Preferred::default(),
            );
            let peer = |(port, transport)| {
                let target = Target {
                    addr: SocketAddr::new(*address, port),
                    source: None,
                    transport,
                    tsig: None,
                };
                let options = Options {
                    connect_timeout: PATIENCE,
                    ..Options::default()
                };
                Peer::new(target, Some(key), options)
            };
            let peers: Vec<Peer> = ways.into_iter().map(peer).collect::<Result<_, _>>()?;
            let mut answer = ask_any(&peers, &message, &tsig, &welcome.directory).await;
            for _ in 0..AGAIN {
                let Err(Refused::Late(why)) = &answer else {
                    break;
                };
                tracing::warn!(catalog = %catalog_site.name, why, "no answer yet; asking again");
                tokio::time::sleep(PAUSE).await;
                answer = ask_any(&peers, &message, &tsig, &welcome.directory).await;
            }
            match answer {
                Ok(()) => {
                    tracing::info!(site = %site.name, catalog = %catalog_site.name, "joined");
                    return Ok(());
                }
                Err(Refused::Silent(why) | Refused::Late(why)) => {
                    last = Some(format!("{}: {why}", catalog_site.name))
                }
                // Only the catalog primary takes updates; a catalog secondary sends us on.
                Err(Refused::NotHere(why)) => last = Some(format!("{}: {why}", catalog_site.name)),
                Err(Refused::No(why)) => bail!("{} refused: {why}", catalog_site.name),
            }
        }
    }
    match last {
        Some(last) => {
            bail!("no catalog site of the welcome packet could be joined; the last said: {last}")
        }
        None => bail!("the welcome packet names no address of a catalog site; have it made anew"),
    }
}

/// Makes sure that what a site holds is not of another mesh than it is invited to: its directory would not go on from that.
fn same_mesh(welcome: &Welcome, store: &Store) -> anyhow::Result<()> {
    let Some(held) = store.load(&welcome.directory)? else {
        return Ok(());
    };
    let held = Directory::read(&held.zone);
    let is_held = |pin: &KeyPin| {
        let mut others = held.sites.values().filter(|site| site.name != welcome.site);
        others.any(|site| site.pins.contains(pin))
    };
    let mut invites = welcome
        .catalog_sites
        .iter()
        .filter(|site| site.name != welcome.site);
    if held.sites.is_empty() || invites.any(|site| site.pins.iter().any(is_held)) {
        return Ok(());
    }
    let sites: Vec<String> = held.sites.keys().map(ToString::to_string).collect();
    bail!(
        "the store of this site has {} of another mesh ({}), where no site is one that the welcome packet is from; to leave that mesh, move \
         store.redb, lock and peers.json out of the data directory, and join again with the same packet: it was not used",
        welcome.directory.fmt_with_dot(),
        sites.join(", ")
    )
}

enum Refused {
    /// It could not be reached.
    Silent(String),
    /// It has not answered yet.
    Late(String),
    /// It is not the one to ask.
    NotHere(String),
    /// It was asked and said no.
    No(String),
}

/// Asks over one transport after the other, until it gets through.
async fn ask_any(
    peers: &[Peer],
    message: &[u8],
    tsig: &zonemesh_transfer::tsig::Key,
    directory: &Name,
) -> Result<(), Refused> {
    let mut silent = None;
    for peer in peers {
        match (ask(peer, message, tsig, directory).await, &silent) {
            // One that may have taken it says more than one that is not there.
            (Err(late @ Refused::Late(_)), None | Some(Refused::Silent(_))) => silent = Some(late),
            (Err(first @ Refused::Silent(_)), None) => silent = Some(first),
            (Err(Refused::Silent(_) | Refused::Late(_)), _) => {}
            (answer, _) => return answer,
        }
    }
    Err(silent.unwrap_or_else(|| Refused::Silent("it has no port to be reached at".to_owned())))
}

async fn ask(
    peer: &Peer,
    message: &[u8],
    tsig: &zonemesh_transfer::tsig::Key,
    directory: &Name,
) -> Result<(), Refused> {
    let reply = match peer
        .request_signed(message.to_vec(), Some(tsig), PATIENCE)
        .await
    {
        Ok(reply) => reply,
        Err(error @ PeerError::Tsig { .. }) => {
            let next = match &error {
                PeerError::Tsig { source, .. } => what_next(source),
                _ => "",
            };
            return Err(Refused::No(format!("{}{next}", chain(&error))));
        }
        Err(error) if is_late(&error) => return Err(Refused::Late(chain(&error))),
        Err(error) => return Err(Refused::Silent(chain(&error))),
    };
    match query::parse_acknowledgement(&reply) {
        Ok(()) => Ok(()),
        Err(query::ReplyError::Rcode {
            rcode: Rcode::NOTAUTH,
            why,
        }) => Err(Refused::NotHere(
            why.unwrap_or_else(|| "not the catalog primary".to_owned()),
        )),
        Err(error) => {
            // The answer to an earlier try may have been lost: whoever may read the directory is a member.
            match peer.soa(directory, PATIENCE).await {
                Ok(_) => Ok(()),
                Err(_) => Err(Refused::No(chain(&error))),
            }
        }
    }
}

/// What to do after a refusal of the packet's key.
fn what_next(error: &TsigError) -> &'static str {
    match error {
        TsigError::BadTime { .. } | TsigError::PeerBadTime { .. } => {
            "; set the clock that is wrong, and join again with the same packet: it is not used up"
        }
        TsigError::PeerUnknownKey(_) => {
            "; the welcome packet was used, has expired, or was replaced by a newer one: make another with `zonemesh invite` on the catalog primary"
        }
        _ => "",
    }
}

/// Whether a site is there and may have taken the update, or may yet take it.
fn is_late(error: &PeerError) -> bool {
    match error {
        PeerError::Unreachable { source, .. } => source.kind() == ErrorKind::TimedOut,
        PeerError::BackingOff { .. } => true,
        error => error.may_have_arrived(),
    }
}

fn keep(welcome: &Welcome, store: &Store) -> anyhow::Result<()> {
    // Without the key: it is good for one use, and that is now.
    let value = serde_json::to_vec(&welcome.catalog_sites)?;
    let batch = Batch::new(Timestamp::now())
        .put(BOOTSTRAP.0, BOOTSTRAP.1, &value)
        .put(PACKET.0, PACKET.1, &name_of(welcome));
    store
        .commit(batch)
        .context("the welcome packet's sites could not be stored")?;
    Ok(())
}

fn name_of(welcome: &Welcome) -> Vec<u8> {
    super::membership::stored_as(&welcome.key_name).into_bytes()
}

/// Whether a packet is another than the one that was used here last.
///
/// # Errors
///
/// When it is none, or the store cannot be read.
pub(crate) fn is_new(packet: &str, store: &Store) -> anyhow::Result<bool> {
    let welcome = Welcome::decode(packet, Timestamp::now().as_second())?;
    Ok(store.get(PACKET.0, PACKET.1)? != Some(name_of(&welcome)))
}

/// The sites of the welcome packet that this site joined with.
pub(crate) fn bootstrap(store: &Store) -> anyhow::Result<Vec<Site>> {
    let Some(value) = store.get(BOOTSTRAP.0, BOOTSTRAP.1)? else {
        return Ok(Vec::new());
    };
    let sites: Vec<zonemesh_mesh::packet::CatalogSite> = serde_json::from_slice(&value)
        .context("the sites of the welcome packet cannot be read back from the store")?;
    let site = |(index, site): (usize, zonemesh_mesh::packet::CatalogSite)| Site {
        name: site.name,
        addresses: site.addresses,
        dot: site.dot,
        doq: site.doq,
        dns: None,
        pins: site.pins,
        // The packet names the primary first.
        role: if index == 0 {
            Role::CatalogPrimary
        } else {
            Role::CatalogSecondary
        },
        engine: String::new(),
        failure_domain: None,
    };
    Ok(sites.into_iter().enumerate().map(site).collect())
}
