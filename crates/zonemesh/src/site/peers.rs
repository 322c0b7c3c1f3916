//! The sites of the mesh in a file beside the key: with both a site whose store is lost finds its way back.
//!
//! The file has nothing secret in it: names, addresses and pins, as the directory publishes them to all members.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zonemesh_store::{OpenError, ReadError, Salvage, Store};
use zonemesh_zone::Name;
use zonemesh_zone::directory::{KeyPin, Role, Site, SiteName};
use zonemesh_zone::record::canonical_text;

use super::membership::KEY;
use super::pool::chain;
use super::{identity, join};
use crate::config::{self, Config};

/// The file's name in the data directory.
pub(super) const PEERS: &str = "peers.json";
/// The version of its format.
const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Peers {
    version: u32,
    directory: String,
    sites: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Peer {
    name: SiteName,
    addresses: Vec<IpAddr>,
    dns: Option<u16>,
    dot: Option<u16>,
    doq: Option<u16>,
    pins: Vec<KeyPin>,
    role: Role,
}

impl Peers {
    /// The other sites of a mesh.
    pub(crate) fn new(directory: &Name, sites: &[Site]) -> Self {
        let peer = |site: &Site| Peer {
            name: site.name.clone(),
            addresses: site.addresses.clone(),
            dns: site.dns,
            dot: site.dot,
            doq: site.doq,
            pins: site.pins.clone(),
            role: site.role,
        };
        Self {
            version: VERSION,
            directory: canonical_text(directory),
            sites: sites.iter().map(peer).collect(),
        }
    }

    /// As they are to be met.
    pub(crate) fn sites(&self) -> Vec<Site> {
        let site = |peer: &Peer| Site {
            name: peer.name.clone(),
            addresses: peer.addresses.clone(),
            dot: peer.dot,
            doq: peer.doq,
            dns: peer.dns,
            pins: peer.pins.clone(),
            role: peer.role,
            engine: String::new(),
            failure_domain: None,
        };
        self.sites.iter().map(site).collect()
    }
}

/// Reads the file; nothing where there is none, or where the site belongs to no mesh.
///
/// # Errors
///
/// When it cannot be used.
pub(crate) fn read(config: &Config) -> anyhow::Result<Option<Peers>> {
    let Some(mesh) = &config.mesh else {
        return Ok(None);
    };
    let path = config.site.data_dir.join(PEERS);
    let octets = match std::fs::read(&path) {
        Ok(octets) => octets,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let peers: Peers = serde_json::from_slice(&octets).with_context(|| {
        format!(
            "{} is not a list of sites; it is written anew by a site that runs: remove it if the store is whole",
            path.display()
        )
    })?;
    if peers.version > VERSION {
        bail!(
            "{} has format {}, and this version of zonemesh knows up to {VERSION}: start a newer one",
            path.display(),
            peers.version
        );
    }
    if peers.directory != canonical_text(&mesh.directory) {
        bail!(
            "{} is of the mesh of {}, and the configuration names {}: remove it if the site is to change its mesh",
            path.display(),
            peers.directory,
            canonical_text(&mesh.directory)
        );
    }
    Ok(Some(peers))
}

/// Whether the file names another site.
///
/// # Errors
///
/// When it cannot be used.
pub(crate) fn are_known(config: &Config) -> anyhow::Result<bool> {
    Ok(read(config)?.is_some_and(|peers| !peers.sites.is_empty()))
}

/// Whether a foreign server has a zone: its primaries by the configuration, or those of the catalog that brought it. The zones of a
/// server without a mesh are those of its file and of catalogs, and a file that names no primaries means that this server is the one.
pub(crate) fn is_transferred(config: &Config, zone: &Name) -> bool {
    match config.zones.iter().find(|known| known.name == *zone) {
        Some(known) => !known.primaries.is_empty(),
        None => config.mesh.is_none(),
    }
}

/// Whether everything that this server has comes from foreign servers.
fn is_all_transferred(config: &Config) -> bool {
    let mut zones = config.zones.iter();
    config.mesh.is_none() && zones.all(|zone| !zone.primaries.is_empty())
}

/// Makes sure, before there is a store, that a site with an empty data directory does not found a mesh unasked: it may be the first
/// start, and it may be a disk that was replaced.
///
/// # Errors
///
/// When it would.
pub(crate) fn look_before_open(config: &Config) -> anyhow::Result<()> {
    let dir = &config.site.data_dir;
    let founds = config.mesh.is_some() && config.site.role == config::Role::CatalogPrimary;
    if !founds || identity::is_nobodys(dir).is_err() {
        return Ok(());
    }
    bail!(
        "{dir} has nothing of a site. If {site} is the first site of a new mesh: `zonemesh init` makes that, once, before the first \
         start. If it was a site: bring {KEY} and {PEERS}, or the store, back from a backup; or run `zonemesh site promote` at a \
         catalog secondary, have a welcome packet made there (`zonemesh invite {site}`) and start with `zonemesh join`",
        dir = dir.display(),
        site = config.site.name
    )
}

/// Opens the store. One that has lost what was acknowledged, or is damaged, is refused, unless there are other sites or foreign servers
/// that have what it lacks, or the operator goes on without.
///
/// # Errors
///
/// When the store cannot be used.
pub(crate) fn open_store(config: &Config, accept_damage: bool) -> anyhow::Result<Store> {
    let dir = &config.site.data_dir;
    let error = match Store::open(dir, &config.site.name) {
        Ok(store) => return Ok(store),
        Err(error) => error,
    };
    let known = are_known(config)? || is_all_transferred(config);
    match error {
        OpenError::Lost { .. } if known || accept_damage => {
            tracing::error!(
                error = %error,
                "going on with what the store has: it is compared with what others hold, and what they have beyond it is taken from them"
            );
            Store::accept_loss(dir)?;
        }
        OpenError::Corrupt { .. } => {
            let salvage = Salvage::read(dir, &config.site.name)?;
            let mut lost = salvage.lost().iter();
            let comes_again =
                salvage.lacks_only_zones() && lost.all(|(zone, _)| is_transferred(config, zone));
            if !known && !accept_damage && !comes_again {
                let left = what_is_left(&salvage);
                return Err(anyhow::Error::new(error)).context(format!(
                    "the store is damaged, and this site knows no other that has what is lost; {left}; bring the data directory back \
                     from a backup, or start once with `zonemesh up --accept-damage` to go on with what is whole"
                ));
            }
            for (zone, why) in salvage.lost() {
                tracing::error!(%zone, error = chain(why), "the stored zone cannot be read; it is taken from others that have it");
            }
            let left = what_is_left(&salvage);
            let aside = salvage.set_in_place()?;
            tracing::error!(
                error = %error,
                "going on without what is damaged: {left}; the damaged file is kept as {}: remove it when nothing is missing",
                aside.display()
            );
        }
        error => return Err(error.into()),
    }
    Ok(Store::open(dir, &config.site.name)?)
}

/// What can be read of a damaged store and what cannot, in a few words.
fn what_is_left(salvage: &Salvage) -> String {
    let whole = salvage.whole().count();
    let mut lost: Vec<String> = salvage
        .lost()
        .iter()
        .map(|(zone, _)| zone.to_string())
        .collect();
    let more = lost.len().saturating_sub(NAMED);
    lost.truncate(NAMED);
    let mut lost = lost.join(", ");
    if more > 0 {
        lost = format!("{lost} and {more} more");
    }
    match (lost.is_empty(), salvage.is_complete()) {
        (false, _) => format!("{whole} zones are whole, and damaged are {lost}"),
        (true, true) => format!("all {whole} zones are whole"),
        (true, false) => {
            format!("{whole} zones are whole, and which others there were cannot be read")
        }
    }
}

/// How many damaged zones a message names.
const NAMED: usize = 20;

/// Refuses to go on where zones are damaged that nobody else has.
///
/// # Errors
///
/// When there are any.
pub(crate) fn refuse_damaged(config: &Config, damaged: &[(Name, ReadError)]) -> anyhow::Result<()> {
    let own = |(zone, _): &&(Name, ReadError)| !is_transferred(config, zone);
    let Some((zone, why)) = damaged.iter().find(own) else {
        return Ok(());
    };
    let others = match damaged.iter().filter(own).count() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    bail!(
        "{}{others}, and this site knows no other that has {zone}: bring the data directory back from a backup, or start once with \
         `zonemesh up --accept-damage` to go on without",
        chain(why)
    )
}

/// Whom to ask before the directory is known, where the store has nothing of it. Looks whether the site may start at all: one that
/// was part of a mesh must not found another, nor take itself for somebody new.
///
/// # Errors
///
/// When it may not.
pub(crate) fn look_before_start(
    config: &Config,
    store: &Store,
    joins: bool,
) -> anyhow::Result<Vec<Site>> {
    let Some(mesh) = &config.mesh else {
        return Ok(Vec::new());
    };
    let whole = |apex: &Name| matches!(store.load(apex), Ok(Some(_)));
    if joins {
        return join::bootstrap(store);
    }
    if whole(&mesh.directory) {
        let dir = &config.site.data_dir;
        if !dir.join(KEY).exists() {
            tracing::warn!(
                "{} has a store and no {KEY}: a new key is made, which the other sites do not know; bring it back from a backup, or \
                 have a welcome packet made (`zonemesh invite {}`) and start with `zonemesh join`",
                dir.display(),
                config.site.name
            );
        }
        identity::used(dir)?;
        return join::bootstrap(store);
    }
    let founds = config.site.role == config::Role::CatalogPrimary;
    let dir = config.site.data_dir.display();
    let peers = read(config)?;
    let has_key = config.site.data_dir.join(KEY).exists();
    let known = peers.as_ref().is_some_and(|peers| !peers.sites.is_empty());
    match (has_key, known) {
        (true, true) => {
            let sites = peers.map_or(Vec::new(), |peers| peers.sites());
            tracing::warn!(
                sites = sites.len(),
                "the store of {dir} has no directory: everything is taken from the other sites, by {PEERS}"
            );
            Ok(sites)
        }
        // It has joined, and was stopped before it had the directory.
        (true, false) if !join::bootstrap(store)?.is_empty() => join::bootstrap(store),
        // An earlier start failed before there was a mesh.
        (true, false) if identity::is_unused(&config.site.data_dir, &config.site.name) => {
            Ok(Vec::new())
        }
        (true, false) if founds => bail!(
            "{dir} has the key of a catalog primary and nothing else of its mesh: starting would found a second mesh beside the one that \
             it was part of; bring the store or {PEERS} back from a backup; or run `zonemesh site promote` at a catalog secondary, and \
             join this site with a welcome packet from there; or remove {KEY} (and {PEERS}) as well if that mesh is gone, or if there never was one"
        ),
        (true, false) => {
            tracing::warn!(
                "{dir} has a key and nothing of a mesh: if {} has been a site, have a welcome packet made (`zonemesh invite {}` at the \
                 catalog primary) and start with `zonemesh join`",
                config.site.name,
                config.site.name
            );
            Ok(Vec::new())
        }
        (false, _) if peers.is_some() => bail!(
            "{dir} has {PEERS}, so it was a site's, and has lost {KEY} and the store: have a welcome packet made (`zonemesh invite {}` at \
             the catalog primary; for a catalog primary itself, after `zonemesh site promote` at a catalog secondary) and start with \
             `zonemesh join`; or remove {PEERS} if that mesh is gone",
            config.site.name
        ),
        (false, _) => Ok(Vec::new()),
    }
}

/// Writes the file whenever the sites have become others, until the sender is gone.
pub(crate) async fn keep(config: Arc<Config>, mut peers: watch::Receiver<Option<Peers>>) {
    let path = config.site.data_dir.join(PEERS);
    let mut written = read(&config).ok().flatten();
    while peers.changed().await.is_ok() {
        let now = peers.borrow_and_update().clone();
        if now.is_none() || now == written {
            continue;
        }
        // Before the file is there, so that no lost file makes a key of this mesh look like one of none.
        if let Err(error) = identity::used(&config.site.data_dir) {
            tracing::warn!(
                error = chain(error.as_ref()),
                "it could not be noted that the key is part of a mesh"
            );
        }
        let path = path.clone();
        let wanted = now.clone();
        let done = tokio::task::spawn_blocking(move || write(&path, &wanted)).await;
        match done {
            Ok(Ok(())) => written = now,
            // The members are said again with the next full pass.
            Ok(Err(error)) => tracing::warn!(
                error = chain(error.as_ref()),
                "the sites of the mesh could not be written beside the key{}",
                hint(&error, &config.site.data_dir).unwrap_or_default()
            ),
            Err(error) => tracing::error!(%error, "the file of the sites was not written"),
        }
    }
}

/// What to do where this process may not write: as a rule the directory was made as root, and the service runs as somebody else.
fn hint(error: &anyhow::Error, dir: &Path) -> Option<String> {
    let mut causes = error.chain();
    let denied = causes.any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
    });
    let owner = std::fs::metadata(dir).ok().filter(|_| denied)?.uid();
    // The owner of its own entry in /proc is who a process runs as.
    let me = std::fs::metadata("/proc/self").ok()?.uid();
    let dir = dir.display();
    Some(match owner == me {
        true => format!("; {dir} belongs to this user: run `chmod u+rwx {dir}`"),
        false => format!(
            "; {dir} belongs to user {owner}, and zonemesh runs as user {me}: run `chown -R {me} {dir}` as root"
        ),
    })
}

fn write(path: &Path, peers: &Option<Peers>) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(peers)?;
    // Public in the mesh, and nobody else's business.
    Ok(zonemesh_store::file::write(path, &text, 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> Site {
        Site {
            name: SiteName::new(name).unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            dot: Some(853),
            doq: Some(8853),
            dns: Some(5300),
            pins: vec![KeyPin([7; 32])],
            role: Role::CatalogSecondary,
            engine: String::new(),
            failure_domain: None,
        }
    }

    fn config(dir: &Path, role: &str, directory: &str) -> Config {
        let text = format!(
            "[site]\nname = \"site-a\"\nrole = \"{role}\"\naddresses = [\"192.0.2.1\"]\ndata-dir = {:?}\n[directory]\nname = \"{directory}\"\n[catalog]\nname = \"catalog.{directory}\"\n",
            dir.display().to_string()
        );
        config::parse(&text, dir).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_and_of_another_mesh_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let here = config(dir.path(), "standard", "dns.internal");
        assert_eq!(read(&here).unwrap(), None);
        let directory = zonemesh_zone::record::parse_name("dns.internal").unwrap();
        let sites = [site("site-b"), site("site-c")];
        let peers = Peers::new(&directory, &sites);
        write(&dir.path().join(PEERS), &Some(peers.clone())).unwrap();
        assert_eq!(read(&here).unwrap(), Some(peers.clone()));
        assert_eq!(peers.sites(), sites);
        let other = config(dir.path(), "standard", "dns.example");
        assert!(read(&other).is_err());
        std::fs::write(dir.path().join(PEERS), b"{\"version\":1").unwrap();
        assert!(read(&here).is_err());
    }

    #[test]
    fn who_may_not_write_is_told_whose_the_directory_is_and_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let failed = |kind: std::io::ErrorKind| {
            let error = anyhow::Error::new(std::io::Error::from(kind));
            error.context("cannot create a file")
        };
        let denied = failed(std::io::ErrorKind::PermissionDenied);
        let own = hint(&denied, dir.path()).unwrap();
        assert!(own.contains("chmod u+rwx"), "{own}");
        assert_eq!(
            hint(&failed(std::io::ErrorKind::StorageFull), dir.path()),
            None
        );
        let me = std::fs::metadata(dir.path()).unwrap().uid();
        if me == 0 {
            std::os::unix::fs::chown(dir.path(), Some(4321), None).unwrap();
            let others = hint(&denied, dir.path()).unwrap();
            assert!(
                others.contains("belongs to user 4321") && others.contains("chown -R 0 "),
                "{others}"
            );
        }
    }

    #[test]
    fn a_first_start_that_failed_before_the_mesh_was_founded_can_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let primary = config(dir.path(), "catalog-primary", "dns.internal");
        let store = Store::open(dir.path(), "site-a").unwrap();
        let key = || identity::key(dir.path(), "site-a", None, &store).unwrap();
        let look = || look_before_start(&primary, &store, false);
        assert_eq!(look().unwrap(), []);
        let first = key().pin();
        // A port was taken, and the start ended there.
        assert_eq!(look().unwrap(), []);
        assert_eq!(key().pin(), first);
        // The note is of that key alone.
        let other = zonemesh_transfer::tls::SiteKey::generate("site-a").unwrap();
        let kept = std::fs::read(dir.path().join(KEY)).unwrap();
        zonemesh_store::file::write_secret(&dir.path().join(KEY), other.to_pem().as_bytes())
            .unwrap();
        assert!(look().is_err());
        zonemesh_store::file::write_secret(&dir.path().join(KEY), &kept).unwrap();
        assert_eq!(look().unwrap(), []);
        // Once there is a mesh, its loss is not taken for a first start.
        identity::used(dir.path()).unwrap();
        let why = look().unwrap_err().to_string();
        assert!(why.contains("second mesh"), "{why}");
    }

    #[test]
    fn nothing_at_all_makes_a_mesh_only_when_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let primary = config(dir.path(), "catalog-primary", "dns.internal");
        let why = look_before_open(&primary).unwrap_err().to_string();
        assert!(why.contains("zonemesh init"), "{why}");
        let standard = config(dir.path(), "standard", "dns.internal");
        look_before_open(&standard).unwrap();
        crate::site::init(&standard).unwrap_err();
        crate::site::init(&primary).unwrap();
        // Once more is the same.
        crate::site::init(&primary).unwrap();
        look_before_open(&primary).unwrap();
        let store = Store::open(dir.path(), "site-a").unwrap();
        assert_eq!(look_before_start(&primary, &store, false).unwrap(), []);
        // A mesh later.
        identity::used(dir.path()).unwrap();
        crate::site::init(&primary).unwrap_err();
        std::fs::remove_file(dir.path().join(KEY)).unwrap();
        crate::site::init(&primary).unwrap_err();
    }

    #[test]
    fn a_site_that_has_lost_its_store_starts_only_with_what_leads_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let primary = config(dir.path(), "catalog-primary", "dns.internal");
        let standard = config(dir.path(), "standard", "dns.internal");
        let store = Store::open(dir.path(), "site-a").unwrap();
        let look = |config: &Config, joins| look_before_start(config, &store, joins);
        // Nothing at all: somebody new.
        assert_eq!(look(&primary, false).unwrap(), []);
        // A key alone.
        std::fs::write(dir.path().join(KEY), b"key").unwrap();
        let why = look(&primary, false).unwrap_err().to_string();
        assert!(why.contains("second mesh"), "{why}");
        assert_eq!(look(&standard, false).unwrap(), []);
        // Both.
        let directory = zonemesh_zone::record::parse_name("dns.internal").unwrap();
        let peers = Peers::new(&directory, &[site("site-b")]);
        write(&dir.path().join(PEERS), &Some(peers)).unwrap();
        assert_eq!(look(&primary, false).unwrap(), [site("site-b")]);
        assert_eq!(look(&standard, false).unwrap(), [site("site-b")]);
        // The key is lost.
        std::fs::remove_file(dir.path().join(KEY)).unwrap();
        for config in [&primary, &standard] {
            let why = look(config, false).unwrap_err().to_string();
            assert!(why.contains("welcome packet"), "{why}");
            assert_eq!(look(config, true).unwrap(), []);
        }
    }

    #[test]
    fn a_damaged_store_that_nobody_else_has_is_refused_by_the_names_of_its_zones() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), "catalog-primary", "dns.internal");
        let commit = |store: &Store, apex: &str, owner: &str| {
            let text = format!(
                "$ORIGIN {apex}.\n@ 60 SOA ns.example. root.example. 1 2 3 4 5\n@ 60 NS ns.example.\n{owner} 60 A 192.0.2.1\n"
            );
            let name = zonemesh_zone::record::parse_name(apex).unwrap();
            let mut none = |_: &str| Ok(text.clone().into_bytes());
            let zone = zonemesh_zone::file::read(&mut none, "a.zone", Some(&name)).zone;
            let batch = zonemesh_store::Batch::new(jiff::Timestamp::UNIX_EPOCH);
            let batch = batch.replace(&zone.unwrap(), zonemesh_store::Origin::Local);
            store.commit(batch).unwrap();
        };
        let store = Store::open(dir.path(), "site-a").unwrap();
        commit(&store, "a.example", "mark-a");
        for n in 0..5 {
            commit(&store, &format!("more{n}.example"), "www");
        }
        drop(store);
        let path = dir.path().join("store.redb");
        let mut octets = std::fs::read(&path).unwrap();
        let places: Vec<usize> = (0..octets.len() - 6)
            .filter(|&at| &octets[at..at + 6] == b"mark-a")
            .collect();
        for at in places {
            octets[at] ^= 1;
        }
        std::fs::write(&path, &octets).unwrap();
        let why = format!("{:#}", open_store(&config, false).err().unwrap());
        for part in [
            "5 zones are whole, and damaged are a.example",
            "--accept-damage",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), octets, "it was touched");
        // Told to, it goes on without; and the damaged file stays.
        let store = open_store(&config, true).unwrap();
        assert_eq!(store.zones().unwrap().len(), 5);
        let mark = store.high_water(&zonemesh_zone::record::parse_name("a.example").unwrap());
        assert_eq!(mark.unwrap(), Some(zonemesh_zone::Serial(1)));
        drop(store);
        let aside = dir.path().join("store.redb.damaged-1");
        assert_eq!(std::fs::read(aside).unwrap(), octets);
        open_store(&config, false).unwrap();
    }

    #[test]
    fn zones_that_foreign_servers_have_need_not_be_whole() {
        let name = |text: &str| zonemesh_zone::record::parse_name(text).unwrap();
        let secondary = "[site]\nname = \"site-a\"\n[[peer]]\nname = \"p\"\naddress = \"192.0.2.1\"\n\
                         [[zone]]\nname = \"theirs.example\"\nprimaries = [\"p\"]\n";
        let parse = |text: &str| config::parse(text, Path::new("/")).unwrap();
        let alone = parse(secondary);
        assert!(is_all_transferred(&alone));
        assert!(is_transferred(&alone, &name("theirs.example")));
        assert!(is_transferred(&alone, &name("member.of.a.catalog.example")));
        let own = parse(&format!(
            "{secondary}[[zone]]\nname = \"ours.example\"\nfile = \"zone\"\n"
        ));
        assert!(!is_all_transferred(&own));
        assert!(is_transferred(&own, &name("theirs.example")));
        assert!(!is_transferred(&own, &name("ours.example")));
        // What a mesh has beside the file may have been added by command here.
        let mesh = config(Path::new("/"), "standard", "dns.internal");
        assert!(!is_all_transferred(&mesh));
        assert!(!is_transferred(&mesh, &name("added.example")));
        let read = |zone: &str| {
            let damaged = ReadError::Corrupt {
                zone: name(zone),
                what: "a checksum".to_owned(),
            };
            (name(zone), damaged)
        };
        refuse_damaged(&own, &[read("theirs.example")]).unwrap();
        let both = [read("theirs.example"), read("ours.example")];
        let why = refuse_damaged(&own, &both).unwrap_err().to_string();
        assert!(
            why.contains("ours.example") && !why.contains("more)"),
            "{why}"
        );
    }
}
