//! From tables to a [`Config`]: every key read, every default filled in, every reference resolved, every fault noted.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use zonemesh_zone::Name;

use super::reader::{At, BoolOrText, Context, Table, nearest};
use super::*;

mod peers;
mod rate;
mod zones;

pub(super) use self::rate::BY_KIND;

/// What the parts of the builder share.
struct Builder<'c, 'a> {
    context: &'c Context<'a>,
    /// Relative paths begin here.
    folder: PathBuf,
}

/// Reads `text` as the file at `path`.
pub(super) fn build(text: &str, path: &Path) -> Result<Config, Vec<ConfigError>> {
    let context = Context::new(path.display().to_string(), text);
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        context.fault(&error.span().unwrap_or(0..0), error.message());
    }
    // What a broken line meant cannot be known, and half its meaning would only make more faults.
    if !syntax.is_empty() {
        return Err(context.into_faults());
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let config = {
        let root = Table::new(&context, table.get_ref(), 0..0, "the file");
        Builder {
            context: &context,
            folder,
        }
        .config(root, path)
    };
    let faults = context.into_faults();
    match (faults.is_empty(), config) {
        (true, Some(config)) => Ok(config),
        _ => Err(faults),
    }
}

impl<'c, 'a> Builder<'c, 'a> {
    fn config(&self, root: Table<'c, 'a>, path: &Path) -> Option<Config> {
        let keys = self.keys(root.tables("key"));
        let peers = self.peers(root.tables("peer"), &keys);
        let groups = self.groups(root.tables("group"), &peers, &keys);

        let site_table = root.table("site");
        let given_role = site_table
            .as_ref()
            .is_some_and(|table| table.span_of("role").is_some());
        let directory = root.table("directory");
        let catalog = root.table("catalog");
        let mesh = if given_role || directory.is_some() || catalog.is_some() {
            self.mesh(directory, catalog, &peers)
        } else {
            None
        };
        let listen = self.listen(root.table("listen"));
        let site = self.site(site_table, mesh.is_some(), &listen);
        let zones = self.zones(root.tables("zone"), mesh.as_ref(), &groups, &peers, &keys);
        let log = root
            .table("log")
            .map_or_else(Log::default, |table| self.log(table));
        let history = root.table("history").map_or_else(Kept::default, |table| {
            let kept = self.kept(&table, "size", "age");
            table.finish();
            kept
        });
        let limits = root
            .table("limits")
            .map_or_else(Limits::default, |table| self.limits(table));
        let rate = root
            .table("rate-limit")
            .map_or_else(RateLimits::default, |table| self.rate(table));
        let per_zone = root.table("metrics").is_some_and(|table| {
            let per_zone = table.boolean("per-zone");
            table.finish();
            per_zone.is_some_and(|per_zone| per_zone.value)
        });
        // None is longer than an option of EDNS and a character string should be.
        let text = |key: &'static str| {
            let text = root.string(key)?;
            if text.value.is_empty() || text.value.len() > 255 {
                let message = format!("`{key}` must have 1 to 255 bytes");
                self.context.fault(&text.span, message);
            }
            Some(text.value)
        };
        let (nsid, version, identity) = (text("nsid"), text("version"), text("identity"));
        let cookies = root
            .string("cookie-secret-file")
            .and_then(|file| self.cookies(&file));
        root.finish();
        Some(Config {
            file: path.to_owned(),
            site: site?,
            listen,
            mesh,
            zones,
            groups,
            peers: peers.into_iter().map(|peer| peer.value).collect(),
            keys: keys.into_iter().map(|key| key.value).collect(),
            log,
            limits,
            rate,
            per_zone,
            history,
            nsid,
            version,
            identity,
            cookies,
        })
    }

    fn site(
        &self,
        table: Option<Table<'c, 'a>>,
        mesh: bool,
        listen: &Listen,
    ) -> Option<SiteConfig> {
        let Some(table) = table else {
            if mesh {
                self.context.fault_with_hint(
                    &(0..0),
                    "a site of a mesh needs a name",
                    Some("add `[site]` with `name` and `addresses`".into()),
                );
            }
            return Some(SiteConfig {
                name: PLAIN_NAME.into(),
                role: Role::default(),
                addresses: Vec::new(),
                data_dir: DEFAULT_DATA_DIR.into(),
                failure_domain: None,
                transport: Preferred::default(),
            });
        };
        let name = if mesh {
            table.required("name", "\"site-a\"")
        } else {
            table.string("name")
        };
        if let Some(name) = &name
            && let Err(expected) = site_name(&name.value)
        {
            self.context.fault(
                &name.span,
                format!("`{}` is no name of a site: {expected}", name.value),
            );
        }
        let role = table
            .string("role")
            .and_then(|role| self.role(&role))
            .unwrap_or_default();
        let given = table.strings("addresses").unwrap_or_default();
        let none_given = given.is_empty();
        let mut addresses = self.site_addresses(given);
        if none_given && mesh {
            let span = table
                .span_of("addresses")
                .unwrap_or_else(|| table.span.clone());
            addresses = specific(&listen.dns);
            if addresses.is_empty() {
                self.context.fault_with_hint(
                    &span,
                    "peers must know where to reach this site",
                    Some("add `addresses = [\"192.0.2.1\"]` to [site]".into()),
                );
            }
        }
        let data_dir = self.path_or(table.string("data-dir"), DEFAULT_DATA_DIR);
        let failure_domain = table.string("failure-domain").map(|text| text.value);
        let transport = table.string("transport").map(|text| {
            let known = [Preferred::Tls, Preferred::Quic];
            let found = known.into_iter().find(|known| known.as_str() == text.value);
            if found.is_none() {
                let names = known.map(Preferred::as_str);
                self.unknown_word(&text.span, "transport", &text.value, &names);
            }
            found.unwrap_or_default()
        });
        table.finish();
        Some(SiteConfig {
            name: name.map_or_else(|| PLAIN_NAME.into(), |name| name.value),
            role,
            addresses,
            data_dir,
            failure_domain,
            transport: transport.unwrap_or_default(),
        })
    }

    fn role(&self, role: &At<String>) -> Option<Role> {
        let known = [Role::CatalogPrimary, Role::CatalogSecondary, Role::Standard];
        let found = known.into_iter().find(|known| known.as_str() == role.value);
        if found.is_none() {
            let names = known.map(Role::as_str);
            self.unknown_word(&role.span, "role", &role.value, &names);
        }
        found
    }

    fn site_addresses(&self, texts: Vec<At<String>>) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in texts {
            match text.value.parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() => self.context.fault_with_hint(
                    &text.span,
                    format!("{address} is no address that peers can reach"),
                    Some("give the address of this host; `[listen]` takes 0.0.0.0 and [::]".into()),
                ),
                Ok(address) if addresses.contains(&address) => {
                    self.context
                        .fault(&text.span, format!("{address} is given twice"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => self.no_address(&text),
            }
        }
        addresses
    }

    /// An FQDN as an address would need the DNS that this site is to serve (a start from cold would never end).
    fn no_address(&self, text: &At<String>) {
        let looks_like_a_name = text.value.contains(|c: char| c.is_ascii_alphabetic())
            && text
                .value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c))
            && !text.value.contains("::");
        let (message, hint) = if looks_like_a_name {
            (
                format!("`{}` is a name, and an address is needed", text.value),
                "a site that must resolve names to start cannot start when DNS is down: write its IP address",
            )
        } else if text.value.parse::<SocketAddr>().is_ok() {
            (
                format!("`{}` has a port, and only an address is needed", text.value),
                "ports are set in [listen]",
            )
        } else {
            (
                format!("`{}` is no IP address", text.value),
                "expected 192.0.2.1 or 2001:db8::1",
            )
        };
        self.context
            .fault_with_hint(&text.span, message, Some(hint.into()));
    }

    fn listen(&self, table: Option<Table<'c, 'a>>) -> Listen {
        let everywhere = |port| {
            let v4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
            vec![
                v4,
                SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
            ]
        };
        let loopback = || vec![SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 8053))];
        let Some(table) = table else {
            return Listen {
                dns: everywhere(53),
                tls: everywhere(853),
                quic: vec![],
                http: loopback(),
                certificate: None,
            };
        };
        // What is taken over TCP, and what over UDP.
        let mut seen: Vec<(SocketAddr, &'static str)> = Vec::new();
        let over = |key: &str| match key {
            "dns" => [true, true],
            "quic" => [false, true],
            _ => [true, false],
        };
        let mut read = |key: &'static str, port: u16, default: Vec<SocketAddr>| {
            let given = table.strings(key);
            let listed = given.is_some();
            if key == "dns" && given.as_ref().is_some_and(Vec::is_empty) {
                self.context.fault(
                    &table.span_of(key).unwrap_or_else(|| table.span.clone()),
                    "`dns` in [listen] is empty: a name server must listen somewhere",
                );
            }
            let mut addresses = Vec::new();
            for text in given.unwrap_or_default() {
                let Some(address) = self.socket_address(&text, port) else {
                    continue;
                };
                let is_taken = |(other, of): &&(SocketAddr, &'static str)| {
                    let both = over(of).into_iter().zip(over(key));
                    clash(*other, address) && both.into_iter().any(|(a, b)| a && b)
                };
                if let Some((_, other)) = seen.iter().find(is_taken) {
                    self.context.fault_with_hint(
                        &text.span,
                        format!("{address} in `{key}` is taken already by `{other}`"),
                        Some("each of dns, tls and http needs a port of its own; quic takes UDP alone, and may have the port of tls".into()),
                    );
                }
                seen.push((address, key));
                addresses.push(address);
            }
            if listed {
                return addresses;
            }
            for &address in &default {
                seen.push((address, key));
            }
            default
        };
        let dns = read("dns", 53, everywhere(53));
        let tls = read("tls", 853, everywhere(853));
        let quic = read("quic", 853, vec![]);
        let http = read("http", 8053, loopback());
        let certificate = self.certificate(&table);
        table.finish();
        Listen {
            dns,
            tls,
            quic,
            http,
            certificate,
        }
    }

    /// Two settings of which neither says anything without the other.
    fn both(
        &self,
        table: &Table<'c, 'a>,
        one: &'static str,
        other: &'static str,
    ) -> Option<(At<String>, At<String>)> {
        match (table.string(one), table.string(other)) {
            (Some(one), Some(other)) => Some((one, other)),
            (Some(alone), None) | (None, Some(alone)) => {
                let message =
                    format!("`{one}` and `{other}` belong together; give both or neither");
                self.context.fault(&alone.span, message);
                None
            }
            (None, None) => None,
        }
    }

    /// The certificate that the TLS and QUIC listeners show, read once to see that it can be.
    fn certificate(&self, table: &Table<'c, 'a>) -> Option<CertificateFiles> {
        let (chain, key) = self.both(table, "tls-certificate", "tls-key")?;
        let files = CertificateFiles {
            chain: self.path(&chain.value),
            key: self.path(&key.value),
        };
        if let Err(error) = files.read() {
            self.context.fault(&chain.span, format!("{error:#}"));
        }
        Some(files)
    }

    /// `ADDRESS:PORT`, or an address with the port that is usual for the purpose.
    fn socket_address(&self, text: &At<String>, port: u16) -> Option<SocketAddr> {
        let value = text.value.as_str();
        let bare = value
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(value);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, port));
        }
        match value.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => {
                let host = value.rsplit_once(':').map_or(value, |(host, _)| host);
                if host.contains(|c: char| c.is_ascii_alphabetic()) && !value.contains("::") {
                    self.no_address(text);
                } else {
                    self.context.fault_with_hint(
                        &text.span,
                        format!("`{value}` is no address"),
                        Some(format!("expected 192.0.2.1:{port} or [2001:db8::1]:{port}")),
                    );
                }
                None
            }
        }
    }

    fn mesh(
        &self,
        directory: Option<Table<'c, 'a>>,
        catalog: Option<Table<'c, 'a>>,
        peers: &peers::Peers,
    ) -> Option<Mesh> {
        let mut legacy_txt = false;
        let (mut directory_import, mut catalog_import) = (None, None);
        let mut catalog_notify = Vec::new();
        let mut directory_name = At {
            value: DEFAULT_DIRECTORY.to_owned(),
            span: 0..0,
        };
        if let Some(table) = directory {
            directory_name = table.string("name").unwrap_or(directory_name);
            legacy_txt = table.boolean("legacy-txt").is_some_and(|value| value.value);
            directory_import = table.string("import").map(|text| self.path(&text.value));
            table.finish();
        }
        let directory = self.name(&directory_name);
        let catalog_name = catalog.and_then(|table| {
            let name = table.string("name");
            catalog_import = table.string("import").map(|text| self.path(&text.value));
            catalog_notify = self.peer_names(table.strings("notify").unwrap_or_default(), peers);
            table.finish();
            name
        });
        // The default follows the directory, so a fault of that name is not told twice.
        let catalog_name = match (catalog_name, &directory) {
            (Some(name), _) => name,
            (None, Some(directory)) => At {
                value: format!("catalog.{directory}"),
                span: 0..0,
            },
            (None, None) => return None,
        };
        let catalog = self.name(&catalog_name);
        if directory.is_some() && directory == catalog {
            self.context.fault(
                &catalog_name.span,
                "directory and catalog must be two zones, not one",
            );
        }
        Some(Mesh {
            directory: directory?,
            legacy_txt,
            catalog: catalog?,
            catalog_notify,
            directory_import,
            catalog_import,
        })
    }

    fn log(&self, table: Table<'c, 'a>) -> Log {
        let mut log = Log::default();
        if let Some(level) = table.string("level") {
            match level.value.parse::<tracing_subscriber::filter::Targets>() {
                Ok(_) => log.level = level.value,
                Err(error) => self.context.fault_with_hint(
                    &level.span,
                    format!("`{}` is no log level: {error}", level.value),
                    Some("expected error, warn, info, debug or trace, or `info,zonemesh_transfer=debug`".into()),
                ),
            }
        }
        if let Some(format) = table.string("format") {
            log.format = match format.value.as_str() {
                "auto" => LogFormat::Auto,
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                other => {
                    self.unknown_word(&format.span, "format", other, &["auto", "human", "json"]);
                    LogFormat::Auto
                }
            };
        }
        table.finish();
        log
    }

    fn limits(&self, table: Table<'c, 'a>) -> Limits {
        let mut limits = Limits::default();
        let size = |key, most| {
            table
                .integer(key, 1..=most)
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        if let Some(connections) = size("tcp-connections", 1_000_000) {
            limits.tcp_connections = connections;
        }
        if let Some(connections) = size("per-client", 1_000_000) {
            limits.per_client = connections;
        }
        if let Some(payload) = table.integer("udp-payload", 512..=4096) {
            limits.udp_payload = u16::try_from(payload).unwrap_or(limits.udp_payload);
        }
        if let Some(workers) = table.integer("workers", 0..=1024) {
            limits.workers = usize::try_from(workers).unwrap_or(limits.workers);
        }
        if let Some(timeout) = table.string("idle-timeout") {
            match duration(&timeout.value) {
                Some(duration) if (1..=86_400).contains(&duration.as_secs()) => {
                    limits.idle_timeout = duration;
                }
                _ => self.context.fault(
                    &timeout.span,
                    format!(
                        "`idle-timeout` must be 1s to 24h, such as \"30s\", found `{}`",
                        timeout.value
                    ),
                ),
            }
        }
        table.finish();
        limits
    }
}

/// # Words and names
impl Builder<'_, '_> {
    fn name(&self, text: &At<String>) -> Option<Name> {
        match parse_name(&text.value) {
            Ok(name) => Some(name),
            Err(error) => {
                self.context.fault(
                    &text.span,
                    format!("`{}` is no domain name: {error}", text.value),
                );
                None
            }
        }
    }

    fn unknown_word(&self, span: &Range<usize>, what: &str, found: &str, known: &[&str]) {
        let hint = match nearest(found, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        self.context
            .fault_with_hint(span, format!("unknown {what} `{found}`"), Some(hint));
    }

    fn path(&self, text: &str) -> PathBuf {
        // Without the `.` that is the shortest way to write this folder.
        self.folder.join(text).components().collect()
    }

    fn path_or(&self, text: Option<At<String>>, default: &str) -> PathBuf {
        text.map_or_else(|| default.into(), |text| self.path(&text.value))
    }
}

/// Reads a name as people write it: absolute with or without the final dot, in lower case for ever after.
pub fn parse_name(text: &str) -> Result<Name, String> {
    use zonemesh_zone::domain::base::Name as AnyName;
    let name: AnyName<Vec<u8>> = text.parse().map_err(|error| format!("{error}"))?;
    let octets = name.into_octets().to_ascii_lowercase();
    Name::from_octets(octets.into()).map_err(|error| error.to_string())
}

/// Whether `text` can be the name of a site: one label of lower-case letters, digits and inner hyphens.
///
/// # Errors
///
/// What is expected.
pub fn site_name(text: &str) -> Result<(), &'static str> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(())
    } else {
        Err(
            "expected one label of 1 to 63 lower-case letters, digits and inner hyphens, such as `site-a`",
        )
    }
}

/// Reads `30s`, `5m`, `2h` or `1d`.
pub fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)
        .map(Duration::from_secs)
}

/// Whether two sockets cannot both be bound. IPv6 sockets take IPv6 only, so the families never clash.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn specific(sockets: &[SocketAddr]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = sockets
        .iter()
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_unspecified())
        .collect();
    addresses.dedup();
    addresses
}

/// Apex of the directory when the file names none.
const DEFAULT_DIRECTORY: &str = "dns.internal";

/// Name of a plain name server that has none; only the store sees it.
const PLAIN_NAME: &str = "zonemesh";
