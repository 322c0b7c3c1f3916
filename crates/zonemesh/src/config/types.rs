//! The configuration a site runs with: checked, resolved, with every default filled in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use zonemesh_mesh::core::SerialPolicy;
pub use zonemesh_serve::RateLimits;
use zonemesh_transfer::tls::{Authorities, GivenCertificate, Trust};
use zonemesh_transfer::tsig::Method;
use zonemesh_zone::Name;
pub use zonemesh_zone::directory::Role;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// `[site]`.
    pub site: SiteConfig,
    /// `[listen]`.
    pub listen: Listen,
    /// `[directory]` and `[catalog]`; none at a plain name server.
    pub mesh: Option<Mesh>,
    /// `[[zone]]`, in the order of the file.
    pub zones: Vec<ZoneConfig>,
    /// `[[group]]`.
    pub groups: Vec<Group>,
    /// `[[peer]]`.
    pub peers: Vec<Peer>,
    /// `[[key]]`.
    pub keys: Vec<Key>,
    /// `[log]`.
    pub log: Log,
    /// `[limits]`.
    pub limits: Limits,
    /// `[rate-limit]`.
    pub rate: RateLimits,
    /// `[metrics] per-zone`: whether questions and answers are counted by zone as well.
    pub per_zone: bool,
    /// `[history]`, for zones that do not say otherwise.
    pub history: Kept,
    /// `nsid`, RFC 5001.
    pub nsid: Option<String>,
    /// `version`, the answer to `version.bind` and `version.server`.
    pub version: Option<String>,
    /// `identity`, the answer to `id.server` and `hostname.bind` (RFC 4892).
    pub identity: Option<String>,
    /// `cookie-secret-file`, RFC 9018; none makes cookies with a secret of this server alone.
    pub cookies: Option<CookieFile>,
}

/// `[site]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteConfig {
    /// One label, lower case.
    pub name: String,
    /// What the site does in its mesh.
    pub role: Role,
    /// Where peers reach it. Never empty in a mesh.
    pub addresses: Vec<IpAddr>,
    /// Everything that must survive.
    pub data_dir: PathBuf,
    /// What would fail together with it.
    pub failure_domain: Option<String>,
    /// What other sites are asked over first, of what they offer.
    pub transport: Preferred,
}

/// The transport that is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preferred {
    /// TLS over TCP.
    #[default]
    Tls,
    /// QUIC.
    Quic,
}

impl Preferred {
    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS (RFC 7858, RFC 9103).
    pub tls: Vec<SocketAddr>,
    /// DNS over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
    /// Metrics, health and status.
    pub http: Vec<SocketAddr>,
    /// What the TLS and QUIC listeners show in place of the site's own key.
    pub certificate: Option<CertificateFiles>,
}

/// A certificate that the operator gave, for clients that want to see a certain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the server's own certificate first.
    pub chain: PathBuf,
    /// PEM, the private key.
    pub key: PathBuf,
}

/// `[directory]` and `[catalog]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Apex of the directory.
    pub directory: Name,
    /// Whether the older TXT convention is written as well.
    pub legacy_txt: bool,
    /// Apex of the catalog zone.
    pub catalog: Name,
    /// Names of foreign peers that follow the catalog: told when it or one of its members changes.
    pub catalog_notify: Vec<String>,
    /// Zone file of a directory that was kept by hand; read once, when the mesh is made.
    pub directory_import: Option<PathBuf>,
    /// Zone file of a catalog that was kept by hand, likewise.
    pub catalog_import: Option<PathBuf>,
}

/// `[[zone]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// Apex.
    pub name: Name,
    /// Zone file to import.
    pub file: Option<PathBuf>,
    /// Whether updates are allowed.
    pub dynamic: bool,
    /// Catalog group that the zone is announced with.
    pub group: Option<String>,
    /// Whether the zone itself is a catalog zone, apart from the mesh's own.
    pub catalog: Option<CatalogRole>,
    /// Member zones that a consumed catalog may bring; empty admits none.
    pub admit: Vec<Pattern>,
    /// Names of the peers it is transferred from; empty when this site is its primary.
    pub primaries: Vec<String>,
    /// Names of the peers that are told of each change.
    pub notify: Vec<String>,
    /// Who may transfer it, apart from members of the mesh.
    pub allow_transfer: Vec<Rule>,
    /// Who may say that it changed, apart from its primaries.
    pub allow_notify: Vec<Rule>,
    /// Who may update it; each rule has a key or a pin.
    pub allow_update: Vec<Rule>,
    /// How its serials are made, if this site is its primary.
    pub serial: SerialPolicy,
    /// How much of its past is kept.
    pub history: Kept,
}

/// How much of a zone's past is kept; what is not given is the store's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Octets of differences.
    pub size: Option<u64>,
    /// Age of a difference.
    pub age: Option<Duration>,
}

/// What a catalog zone is to this site (RFC 9432).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogRole {
    /// This site writes it: every zone it is primary for is a member.
    Producer,
    /// This site serves its members.
    Consumer,
}

/// `[[group]]`: what member zones of a catalog get when they have this group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The value of the `group` property.
    pub name: String,
    /// Peers that members are transferred from; empty takes those of the catalog zone.
    pub primaries: Vec<String>,
    /// Peers that are told of changes.
    pub notify: Vec<String>,
    /// Who may transfer members.
    pub allow_transfer: Vec<Rule>,
}

/// `[[peer]]`: a foreign server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the file calls it.
    pub name: String,
    /// Where it answers.
    pub address: SocketAddr,
    /// How it is reached over TLS or QUIC; none is plain TCP and UDP.
    pub tls: Option<PeerTls>,
    /// Name of the TSIG key that both sides sign with.
    pub tsig_key: Option<Name>,
    /// Whether it may transfer every zone that does not say otherwise.
    pub may_transfer: bool,
    /// Whether it may notify.
    pub may_notify: bool,
    /// Whether it may update every dynamic zone that does not say otherwise.
    pub may_update: bool,
}

/// How a peer is known over TLS or QUIC. Without pin and name it is not: encryption without authentication (opportunistic,
/// RFC 9103 §9.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// SHA-256 of its public key.
    pub pin: Option<[u8; 32]>,
    /// The name that its certificate is for.
    pub named: Option<PeerName>,
    /// Whether TLS is within QUIC.
    pub quic: bool,
}

/// A name that an authority vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// The name.
    pub name: String,
    /// PEM, the certificates of those who may vouch for it.
    pub authorities: PathBuf,
}

/// `[[key]]`: a TSIG key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name on the wire.
    pub name: Name,
    /// Its algorithm, and how much of its signatures is sent and asked for.
    pub algorithm: Method,
    /// The shared secret.
    pub secret: Secret,
}

/// Secrets of DNS cookies that several servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieFile {
    /// Where they were read.
    pub path: PathBuf,
    /// The one that makes cookies, and the one before.
    pub secrets: zonemesh_serve::CookieSecrets,
}

/// Bytes that do not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// As `RUST_LOG` takes it, such as `info` or `info,zonemesh_transfer=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// For machines, one object a line.
    Json,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all clients, over TCP, TLS and QUIC together.
    pub tcp_connections: usize,
    /// Connections of one address.
    pub per_client: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Largest UDP answer, bytes.
    pub udp_payload: u16,
    /// Threads that answer UDP; 0 is one per core.
    pub workers: usize,
}

/// Who may do something. What is set must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The request comes from here.
    pub network: Option<Network>,
    /// The request is signed with this TSIG key.
    pub key: Option<Name>,
    /// The request comes over TLS from the holder of this public key.
    pub pin: Option<[u8; 32]>,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Which names an admission list means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every zone.
    Any,
    /// `*.example`: every zone below, but not `example` itself.
    Below(Name),
    /// This zone.
    Exactly(Name),
}

impl CertificateFiles {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, the key is readable by others, or the two do not belong together.
    pub fn read(&self) -> anyhow::Result<GivenCertificate> {
        let chain = std::fs::read_to_string(&self.chain)
            .with_context(|| format!("cannot read {}", self.chain.display()))?;
        let key = zonemesh_store::file::read_secret(&self.key)?;
        let key =
            String::from_utf8(key).with_context(|| format!("{} is not PEM", self.key.display()))?;
        GivenCertificate::from_pem(&chain, &key).with_context(|| {
            format!(
                "{} and {} cannot be used for TLS",
                self.chain.display(),
                self.key.display()
            )
        })
    }
}

impl PeerName {
    /// Reads the certificates.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or the name is none that a certificate can be for.
    pub fn read(&self) -> anyhow::Result<Trust> {
        let path = self.authorities.display();
        let text = std::fs::read_to_string(&self.authorities)
            .with_context(|| format!("cannot read {path}"))?;
        let by = Authorities::from_pem(&text)
            .with_context(|| format!("{path} has no certificates that can vouch for a name"))?;
        let name = self.name.clone().try_into();
        let name = name.with_context(|| format!("`{}` is no name of a server", self.name))?;
        Ok(Trust::Named { name, by })
    }
}

impl Config {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.site.data_dir.join("control.sock")
    }

    /// Finds a peer by its name.
    pub fn peer(&self, name: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// Finds a TSIG key by its name.
    pub fn key(&self, name: &Name) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == *name)
    }

    /// Finds the template of a catalog group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Who may transfer a zone that the file does not name.
    pub fn default_transfer_rules(&self) -> Vec<Rule> {
        self.peers
            .iter()
            .filter(|peer| peer.may_transfer)
            .map(Peer::rule)
            .collect()
    }
}

impl Peer {
    /// The rule that only this peer meets: its address, its key and its pin, all that are set.
    pub fn rule(&self) -> Rule {
        Rule {
            network: Some(Network::host(self.address.ip())),
            key: self.tsig_key.clone(),
            pin: self.tls.as_ref().and_then(|tls| tls.pin),
        }
    }
}

impl Rule {
    /// Whether a request from `address`, signed with `key` and over TLS from `pin`, meets the rule.
    pub fn permits(&self, address: IpAddr, key: Option<&Name>, pin: Option<&[u8; 32]>) -> bool {
        self.network.is_none_or(|network| network.contains(address))
            && self.key.as_ref().is_none_or(|wanted| key == Some(wanted))
            && self.pin.as_ref().is_none_or(|wanted| pin == Some(wanted))
    }

    /// Whether it takes more than an address to meet the rule.
    pub fn authenticates(&self) -> bool {
        self.key.is_some() || self.pin.is_some()
    }
}

impl Network {
    /// The block of one address.
    pub fn host(address: IpAddr) -> Self {
        Self {
            address,
            prefix: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// Its first address, and how many bits of it count.
    pub fn parts(&self) -> (IpAddr, u8) {
        (self.address, self.prefix)
    }

    /// Whether the block holds an address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        zonemesh_serve::rate::contains(self.address, self.prefix, address)
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("`{text}` is neither an address nor a network such as 192.0.2.0/24");
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| expected());
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let prefix: u8 = prefix.parse().map_err(|_| expected())?;
        let longest = Self::host(address).prefix;
        if prefix > longest {
            return Err(format!(
                "the prefix of `{text}` is longer than {longest} bits"
            ));
        }
        let network = Self { address, prefix };
        let first = match address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(a) & mask).into())
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((u128::from(a) & mask).into())
            }
        };
        if first != address {
            return Err(format!(
                "`{text}` has address bits below its prefix: write {first}/{prefix}"
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Pattern {
    /// Whether the pattern means a zone.
    pub fn admits(&self, zone: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::Below(name) => zone != name && zone.ends_with(name),
            Self::Exactly(name) => zone == name,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Exactly(name) => write!(f, "{name}"),
        }
    }
}

impl Secret {
    /// Wraps a secret.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for computing with.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A site with a few hundred peers and resolvers stays far below; 64 KiB of buffers each bound the memory.
            tcp_connections: 4096,
            per_client: 64,
            // RFC 7766 §6.2.3 asks for a few seconds; RFC 9103 §7.4 for longer on transfer connections.
            idle_timeout: Duration::from_secs(30),
            // Avoids fragmentation on any path in use (DNS flag day 2020).
            udp_payload: 1232,
            workers: 0,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
        }
    }
}
