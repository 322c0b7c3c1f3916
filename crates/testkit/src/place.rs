//! Where a server runs in a test: a folder, an address, ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::net;

/// A folder, an address and ports for one server.
///
/// The folder goes away with it; `ZONEMESH_KEEP=1` in the environment keeps it for a look.
#[derive(Debug)]
pub struct Place {
    // Removes the folder when dropped.
    _folder: Option<TempDir>,
    dir: PathBuf,
    address: Ipv4Addr,
    port: u16,
    tls_port: u16,
    control_port: u16,
}

impl Place {
    /// Makes a place at a loopback address of its own.
    ///
    /// # Errors
    ///
    /// When there is no room for a folder, or no free port.
    pub fn new(name: &str) -> Result<Self> {
        Self::at(name, net::loopback())
    }

    /// Makes a place at a given address, for instance that of a network namespace.
    ///
    /// # Errors
    ///
    /// When there is no room for a folder, or no free port.
    pub fn at(name: &str, address: Ipv4Addr) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("zonemesh-{name}-"))
            .tempdir()
            .context("cannot make a temporary folder")?;
        let (folder, dir) = if std::env::var_os("ZONEMESH_KEEP").is_some() {
            (None, folder.keep())
        } else {
            let dir = folder.path().to_owned();
            (Some(folder), dir)
        };
        Ok(Self {
            _folder: folder,
            dir,
            address,
            port: net::free_port(address)?,
            tls_port: net::free_port(address)?,
            control_port: net::free_port(address)?,
        })
    }

    /// The folder, which is the server's alone.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The address, which is the server's alone (but for BIND, see [`net::loopback`]).
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The port for DNS over UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for DNS over TLS, and QUIC.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The port for the server's control protocol or HTTP.
    pub fn control_port(&self) -> u16 {
        self.control_port
    }

    /// Address and port for DNS.
    pub fn dns(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.port))
    }

    /// Address and port for DNS over TLS.
    pub fn tls(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.tls_port))
    }

    /// Writes a file into the folder and returns its whole path, ready to be put into a configuration.
    ///
    /// # Panics
    ///
    /// When the file cannot be written: configurations are made where an error has no way out.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
        path
    }

    /// Returns the whole path of a name in the folder.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}
