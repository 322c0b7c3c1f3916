//! This site's dealings with the mesh over the wire: invitations, joining, what it publishes of itself and its zones, and its key.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core::{Core, Input, PeerId, Reply};
use zonemesh_mesh::invite::Token;
use zonemesh_mesh::packet::Secret;
use zonemesh_transfer::query;
use zonemesh_transfer::tls::SiteKey;
use zonemesh_transfer::tsig::{Algorithm, Key, KeyError};
use zonemesh_update::{SiteIdentity, Update, request};
use zonemesh_zone::directory::{self, Directory, KeyPin, Role, Site, SiteName};
use zonemesh_zone::record::canonical_text;
use zonemesh_zone::{Name, Rcode, Serial};

use super::live::Live;
use super::pool::chain;

/// Where invitations are kept in the store.
pub(crate) const INVITATIONS: &str = "invitations";

/// How long the catalog primary may take for an update: it answers when it is durable.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who sends an update of the directory.
pub(crate) enum Who {
    Member(SiteName),
    Newcomer(Box<Token>),
}

/// A value of the store: its table, key and octets.
type Stored = (String, String, Vec<u8>);

/// What a token's holder may change, and the token as it is to be stored in the same commit.
pub(crate) fn spend(
    token: &Token,
    now: i64,
    from: IpAddr,
    directory: &Directory,
) -> Result<(SiteIdentity, Stored), String> {
    let spent = token
        .spend(now, &token.site, from)
        .map_err(|refusal| refusal.to_string())?;
    let replace = token.replace || directory.removed.contains_key(&token.site);
    let stored = serde_json::to_vec(&spent).map_err(|error| error.to_string())?;
    let identity = SiteIdentity::Join {
        site: token.site.clone(),
        role: token.role,
        replace,
    };
    Ok((
        identity,
        (INVITATIONS.to_owned(), stored_as(&token.key_name), stored),
    ))
}

/// Under which key of the store a token is kept.
pub(crate) fn stored_as(key_name: &Name) -> String {
    canonical_text(key_name)
}

/// The key that the packet's holder signs with.
pub(crate) fn key_of(name: &Name, secret: &Secret) -> Result<Key, KeyError> {
    Key::new(name.clone(), Algorithm::HmacSha256, secret.expose())
}

/// The token whose key signed a request.
pub(crate) async fn token_of(live: &Arc<Live>, key: &Name) -> Result<Box<Token>, String> {
    let store = live.store.clone();
    let name = stored_as(key);
    let stored = tokio::task::spawn_blocking(move || store.get(INVITATIONS, &name))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| chain(&error))?
        .ok_or("this key may not change the directory")?;
    serde_json::from_slice(&stored)
        .map_err(|error| format!("the invitation cannot be read: {error}"))
}

/// What is to be done when the catalog primary does not come back.
pub(crate) fn instead_of(primary: &SiteName, directory: &Directory) -> String {
    let sites = directory.sites.values();
    let secondaries: Vec<String> = sites
        .filter(|site| site.role == Role::CatalogSecondary)
        .map(|site| site.name.to_string())
        .collect();
    match secondaries.as_slice() {
        [] => format!(
            "No other site could take over (`zonemesh site role` makes one that can): bring {primary} back"
        ),
        some => format!(
            "If {primary} is gone for good, another site takes over: `zonemesh site promote --dry-run` at {} shows how",
            some.join(" or ")
        ),
    }
}

/// The same, where the catalog primary is known not to answer.
pub(crate) fn primary_is_away(core: &Core) -> Option<String> {
    let primary = core.catalog_primary()?.name;
    core.lost(&PeerId::Site(primary.clone()))?;
    let instead = instead_of(&primary, core.directory()?);
    Some(format!("{primary} does not answer. {instead}"))
}

/// Sends an update of the directory to the catalog primary, or makes it here when that is this site. Returns the
/// directory's serial where it is known.
pub(crate) async fn change_directory(
    live: &Arc<Live>,
    update: Update,
) -> Result<Option<Serial>, ApiError> {
    let (primary, me, instead) = live
        .core
        .look(|core, _| {
            let primary = core.catalog_primary();
            let name = primary.as_ref().map(|site| &site.name);
            let instead = name.zip(core.directory());
            let instead = instead.map(|(name, directory)| instead_of(name, directory));
            (
                primary,
                core.is_catalog_primary(),
                instead.unwrap_or_default(),
            )
        })
        .await
        .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?;
    if me {
        let (directory, name) = (
            live.mesh.clone().map(|(directory, _)| directory),
            live.name.clone(),
        );
        let reply = live
            .core
            .request(move |core, request| {
                let head = directory
                    .as_ref()
                    .and_then(|apex| core.head(apex))
                    .ok_or_else(|| Reply::Refused {
                        rcode: Rcode::SERVFAIL,
                        reason: "the directory is not held yet".to_owned(),
                    })?;
                tracing::debug!(site = name, "changing the directory");
                match zonemesh_update::apply(head, &update, &zonemesh_update::Everything) {
                    Ok(applied) => Ok(Input::Directory {
                        request,
                        edited: applied.zone,
                        also: Vec::new(),
                    }),
                    Err(refusal) => Err(Reply::Refused {
                        rcode: refusal.rcode(),
                        reason: refusal.to_string(),
                    }),
                }
            })
            .await
            .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?;
        return match reply {
            Reply::Done { serial, .. } => Ok(Some(serial)),
            Reply::Refused { reason, .. } => Err(ApiError::refused(reason)),
            Reply::Receipt(_) => Ok(None),
        };
    }
    let Some(primary) = primary else {
        return Err(ApiError::unavailable("no catalog primary is known")
            .hint("the directory names it; `zonemesh status` shows why it is not held"));
    };
    let to = PeerId::Site(primary.name);
    let message = update
        .compose(0)
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let reply = live
        .pool
        .update(&to, &message, PATIENCE)
        .await
        .map_err(|unanswered| match unanswered.may_be_done {
            true => ApiError::new(
                ErrorKind::Timeout,
                format!(
                    "the catalog primary {to} has not said whether it took the change: {}",
                    unanswered.message
                ),
            )
            .hint("whether it did is seen when it is back: look before you repeat it"),
            false => ApiError::unavailable(format!(
                "the catalog primary {to} cannot be reached: {}",
                unanswered.message
            ))
            .hint(format!(
                "nothing was changed; try again when it is back. {instead}"
            )),
        })?;
    match query::parse_acknowledgement(&reply) {
        Ok(()) => Ok(None),
        Err(error) => Err(ApiError::refused(format!(
            "the catalog primary {to} refused: {}",
            chain(&error)
        ))),
    }
}

/// Enters a zone into the directory with this site as its primary.
pub(crate) async fn list_zone(live: &Arc<Live>, apex: &Name) -> Result<(), ApiError> {
    let (directory, me) = mesh_and_me(live)?;
    let update = request::claim_zone(&directory, apex, &me)
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    change_directory(live, update).await.map(|_| ())
}

/// Takes a zone out of the directory, and so out of the mesh.
pub(crate) async fn unlist_zone(live: &Arc<Live>, apex: &Name) -> Result<Serial, ApiError> {
    let (directory, me) = mesh_and_me(live)?;
    let name = apex.clone();
    let (owner, held, listed, writes) = live
        .core
        .look(move |core, _| {
            let owner = core
                .directory()
                .and_then(|directory| directory.owners.get(&name).cloned());
            let catalog = core.catalog();
            let listed = catalog.is_some_and(|catalog| catalog.members.contains_key(&name));
            let held = core.zone(&name).is_some();
            (owner, held, listed, core.is_catalog_primary())
        })
        .await
        .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?;
    let released = request::release_zone(&directory, apex)
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let update = match owner {
        None if listed && writes => {
            // Nobody is its primary, so there is nothing to take out of the directory but the zone itself.
            let note = directory::removal_note(apex, &directory, Timestamp::now().as_second());
            let note = note.ok_or_else(|| {
                ApiError::invalid(format!("{apex} is too long a name for the directory"))
            })?;
            released.add(note)
        }
        None if listed => {
            return Err(ApiError::refused(format!(
                "the catalog lists {apex}, and the directory names no primary of it"
            ))
            .hint("remove it at the catalog primary"));
        }
        None if held => {
            return Err(ApiError::invalid(format!(
                "{apex} is not a zone that a site added to the mesh"
            )));
        }
        None => {
            return Err(ApiError::not_found(format!(
                "{apex} is not a zone of this mesh"
            )));
        }
        Some(owner) if owner != me && !writes => {
            return Err(
                ApiError::refused(format!("the primary of {apex} is {owner}"))
                    .hint("remove it there, or at the catalog primary"),
            );
        }
        Some(_) => released,
    };
    if let Some(serial) = change_directory(live, update).await? {
        return Ok(serial);
    }
    let gone = apex.clone();
    until_directory(live, &directory, move |read| {
        !read.owners.contains_key(&gone)
    })
    .await
}

fn mesh_and_me(live: &Live) -> Result<(Name, SiteName), ApiError> {
    let (directory, _) = live
        .mesh
        .clone()
        .ok_or_else(|| ApiError::refused("this server belongs to no mesh"))?;
    let me = SiteName::new(&live.name).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((directory, me))
}

/// Publishes this site and its zones: the core asks for it when the directory has them otherwise.
pub(crate) async fn announce(live: &Arc<Live>, to: &PeerId, site: &Site, zones: &[Name]) {
    let Some((directory, _)) = &live.mesh else {
        return;
    };
    let published = live
        .directory
        .load()
        .as_ref()
        .as_ref()
        .and_then(|read| read.sites.get(&site.name).cloned());
    let made = (|| {
        let mut update = Update::new(directory.clone());
        if published.as_ref() != Some(site) {
            update = request::publish(directory, site, published.as_ref())?;
        }
        for zone in zones {
            update = update.add(directory::owner_record(zone, &site.name, directory)?);
        }
        Ok::<Update, directory::TooLong>(update)
    })();
    let update = match made {
        Ok(update) => update,
        Err(error) => {
            return tracing::error!(%error, "this site cannot be published in the directory");
        }
    };
    // The core asks again while the directory does not have it.
    match change_directory(live, update).await {
        Ok(_) => tracing::info!(to = %to, zones = zones.len(), "published in the directory"),
        Err(error) => tracing::warn!(to = %to, %error, "could not be published in the directory"),
    }
}

/// Makes a new key for this site. Peers learn it from the directory, by an update that is authorised by the old one.
pub(crate) async fn roll_key(live: &Arc<Live>) -> Result<api::KeyRolled, ApiError> {
    let internal = |error: &dyn std::error::Error| ApiError::internal(chain(error));
    let _alone = live.key_roll.try_lock().map_err(|_| {
        ApiError::new(
            ErrorKind::Conflict,
            "the key of this site is being changed already",
        )
    })?;
    let old = live.key.load_full();
    let new = Arc::new(SiteKey::generate(&live.name).map_err(|error| internal(&error))?);
    let mut notes = Vec::new();
    if live.mesh.is_some() {
        let (directory, me) = mesh_and_me(live)?;
        let site = live
            .core
            .look(move |core, _| {
                core.directory()
                    .and_then(|directory| directory.sites.get(&me).cloned())
            })
            .await
            .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?
            .ok_or_else(|| {
                ApiError::new(ErrorKind::Conflict, "the directory does not have this site")
            })?;
        // Both keys are published first, so that nobody meets one that it does not know.
        let mut both = site.clone();
        both.pins.push(KeyPin(new.pin()));
        write_key(live, NEXT_KEY, &new)?;
        // This site says so itself from now on: else its next pass would take the new key out of the directory again.
        also_publish(live, Some(KeyPin(new.pin()))).await?;
        let serial = match publish_pins(live, &directory, &site, &both).await {
            Ok(serial) => serial,
            Err(error) => {
                also_publish(live, None).await?;
                return Err(error);
            }
        };
        let receipt = live
            .core
            .wait(directory, serial, Duration::from_secs(5))
            .await
            .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?;
        let late: Vec<String> = receipt
            .sites
            .iter()
            .filter(|(_, state)| state.is_err())
            .map(|(site, _)| site.to_string())
            .collect();
        if !late.is_empty() {
            // They would take this site for a stranger, and could not even fetch the directory that says otherwise.
            also_publish(live, None).await?;
            return Err(ApiError::unavailable(format!(
                "{} could not be told of the new key; the old one stays in use",
                late.join(", ")
            ))
            .hint("try again when all sites answer, or remove those that are gone for good"));
        }
        notes.push("the old key leaves the directory with the next pass".to_owned());
    }
    write_key(live, KEY, &new)?;
    let next = live.data_dir.join(NEXT_KEY);
    if let Err(error) = std::fs::remove_file(&next)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = %next.display(), %error, "a copy of the new key is left behind");
    }
    live.use_key(new.clone())
        .await
        .map_err(|error| ApiError::internal(format!("{error:#}")))?;
    Ok(api::KeyRolled {
        old_pin: KeyPin(old.pin()).to_string(),
        new_pin: KeyPin(new.pin()).to_string(),
        notes,
    })
}

/// Has this site publish another key beside those that it shows, or those alone.
async fn also_publish(live: &Arc<Live>, pin: Option<KeyPin>) -> Result<(), ApiError> {
    let made = super::settings::core(&live.config.load(), &live.key.load(), live.bootstrap());
    let mut settings = made.map_err(|error| ApiError::internal(format!("{error:#}")))?;
    if let Some(mesh) = &mut settings.mesh {
        mesh.me.site.pins.extend(pin);
        // As the directory gives them back.
        mesh.me.site.pins.sort_unstable();
    }
    let taken = live.core.configure(settings).await;
    taken.map_err(|stopped| ApiError::unavailable(stopped.to_string()))
}

/// Has a site's keys published, and waits until the directory that is held here has them.
async fn publish_pins(
    live: &Arc<Live>,
    directory: &Name,
    before: &Site,
    after: &Site,
) -> Result<Serial, ApiError> {
    let update = request::publish(directory, after, Some(before))
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    change_directory(live, update).await?;
    let after = after.clone();
    let known = move |read: &Directory| {
        let site = read.sites.get(&after.name);
        site.is_some_and(|site| after.pins.iter().all(|pin| site.pins.contains(pin)))
    };
    until_directory(live, directory, known).await
}

/// The file of the site's key.
pub(crate) const KEY: &str = "site.key";
/// The file of a key that is not in use yet.
const NEXT_KEY: &str = "site.key.next";

fn write_key(live: &Live, file: &str, key: &SiteKey) -> Result<(), ApiError> {
    let path = live.data_dir.join(file);
    zonemesh_store::file::write_secret(&path, key.to_pem().as_bytes())
        .map_err(|error| ApiError::internal(format!("{}: {}", path.display(), chain(&error))))
}

/// Waits until the directory that is held here says something; returns its serial.
async fn until_directory(
    live: &Arc<Live>,
    directory: &Name,
    says: impl Fn(&Directory) -> bool + Clone + Send + 'static,
) -> Result<Serial, ApiError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut events = live.watch();
    loop {
        let (apex, says) = (directory.clone(), says.clone());
        let found = live
            .core
            .look(move |core, _| {
                let said = says(core.directory()?);
                core.zone(&apex)?
                    .zone
                    .filter(|_| said)
                    .map(|zone| zone.serial())
            })
            .await
            .map_err(|stopped| ApiError::unavailable(stopped.to_string()))?;
        if let Some(serial) = found {
            return Ok(serial);
        }
        // Any event may be the one; a missed one is made up for by the next look.
        let next = tokio::time::timeout(Duration::from_millis(100), events.recv());
        if next.await.is_err() && tokio::time::Instant::now() > deadline {
            return Err(ApiError::new(
                ErrorKind::Timeout,
                "the catalog primary has made the change, but the directory with it has not come back yet",
            ));
        }
    }
}
