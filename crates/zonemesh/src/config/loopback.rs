//! What `zonemesh up` makes without a configuration file: sites on loopback, for trying and testing.
//!
//! Site number 0 is `site-a` on 127.0.0.1, number 1 `site-b` on 127.0.0.2, and so on; each has its own folder and
//! writes its configuration there, so that what is tried is what would be run.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Port of DNS over UDP and TCP.
pub const DNS_PORT: u16 = 5300;
/// Port of DNS over TLS and QUIC.
pub const TLS_PORT: u16 = 8530;
/// Port of HTTP.
pub const HTTP_PORT: u16 = 8053;
/// Folder of all sites, below the working directory.
pub const FOLDER: &str = "zonemesh-data";
/// As many sites as one command starts at most: each is a process.
pub const MOST_SITES: usize = 26;

/// One site on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopbackSite {
    /// `site-a`, `site-b`, ….
    pub name: String,
    /// 127.0.0.1, 127.0.0.2, ….
    pub address: Ipv4Addr,
    /// `catalog-primary`, `catalog-secondary` or `standard`.
    pub role: super::Role,
    /// Its own folder.
    pub data_dir: PathBuf,
    /// Its zones: apex and zone file text.
    pub zones: Vec<(String, &'static str)>,
}

impl LoopbackSite {
    /// Site number `index`, below `folder`.
    pub fn new(index: usize, folder: &Path) -> Self {
        use super::Role;
        let letter = char::from(b'a' + u8::try_from(index % MOST_SITES).unwrap_or(0));
        let name = format!("site-{letter}");
        let host = u8::try_from(index + 1).unwrap_or(u8::MAX);
        let (role, zones) = match index {
            0 => (
                Role::CatalogPrimary,
                vec![
                    ("standard-1.example".to_owned(), STANDARD_1),
                    ("corp.example".to_owned(), CORP),
                ],
            ),
            1 => (
                Role::CatalogSecondary,
                vec![("standard-2.example".to_owned(), STANDARD_2)],
            ),
            _ => (
                Role::Standard,
                vec![(format!("standard-{}.example", index + 1), STANDARD_2)],
            ),
        };
        let data_dir = folder.join(&name);
        Self {
            name,
            address: Ipv4Addr::new(127, 0, 0, host),
            role,
            data_dir,
            zones,
        }
    }

    /// Where its configuration lies.
    pub fn config_path(&self) -> PathBuf {
        self.data_dir.join("zonemesh.toml")
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }

    /// The text of its configuration.
    pub fn text(&self) -> String {
        let Self {
            name,
            address,
            role,
            ..
        } = self;
        let mut text = format!(
            "# Made by `zonemesh up` for trying; yours to change, it is not written again.\n\
             [site]\n\
             name = \"{name}\"\n\
             role = \"{role}\"\n\
             addresses = [\"{address}\"]\n\
             data-dir = \".\"\n\
             failure-domain = \"this-host\"\n\
             \n\
             [listen]\n\
             dns = [\"{address}:{DNS_PORT}\"]\n\
             tls = [\"{address}:{TLS_PORT}\"]\n\
             quic = [\"{address}:{TLS_PORT}\"]\n\
             http = \"{address}:{HTTP_PORT}\"\n\
             \n\
             [directory]\n\
             name = \"dns.internal\"\n\
             \n\
             [catalog]\n\
             name = \"catalog.dns.internal\"\n"
        );
        for (zone, _) in &self.zones {
            // Writing to a `String` does not fail.
            let written = write!(
                text,
                "\n[[zone]]\nname = \"{zone}\"\nfile = \"zones/{zone}.zone\"\ndynamic = true\n"
            );
            debug_assert!(written.is_ok());
        }
        text
    }

    /// Writes configuration and zone files, where they are missing.
    ///
    /// # Errors
    ///
    /// When a folder or file cannot be written.
    pub fn create(&self) -> anyhow::Result<()> {
        let zones = self.data_dir.join("zones");
        std::fs::create_dir_all(&zones)?;
        for (zone, text) in &self.zones {
            write_new(&zones.join(format!("{zone}.zone")), text)?;
        }
        write_new(&self.config_path(), &self.text())
    }
}

impl super::Config {
    /// The configuration of loopback site number `index` below `folder`, whose files are made where missing.
    ///
    /// # Errors
    ///
    /// When its files cannot be written, or an operator has changed them and made a fault.
    pub fn loopback(index: usize, folder: &Path) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let site = LoopbackSite::new(index, folder);
        site.create()
            .with_context(|| format!("cannot write {}", site.data_dir.display()))?;
        super::load(&site.config_path()).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", lines.join("\n"))
        })
    }
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    zonemesh_store::file::write(path, text.as_bytes(), 0o644)?;
    Ok(())
}

const STANDARD_1: &str = include_str!("../../../../examples/zones/standard-1.zone");
const STANDARD_2: &str = include_str!("../../../../examples/zones/standard-2.zone");
const CORP: &str = include_str!("../../../../examples/zones/corp.zone");
