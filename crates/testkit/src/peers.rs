//! The folder of foreign name servers, and how a program in it is run.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of peers that `cargo xtask peers` has made.
#[derive(Clone, Debug)]
pub struct Peers {
    root: PathBuf,
}

impl Peers {
    /// Finds the folder: `ZONEMESH_PEERS`, or the place in the user's cache where `cargo xtask peers` puts it.
    ///
    /// # Errors
    ///
    /// When it is not there, or not complete.
    pub fn find() -> Result<Self, Missing> {
        let root = folder().ok_or(Missing { root: None })?;
        // The stamp is written last.
        if !root.join(".zonemesh-peers").is_file() {
            return Err(Missing { root: Some(root) });
        }
        Ok(Self { root })
    }

    /// Returns a command that runs a program of the folder, such as `sbin/knotd` or `bin/kdig`.
    ///
    /// It goes through the folder's own dynamic loader and libraries: no chroot, so that files and addresses are
    /// those of the test, and no root.
    pub fn command(&self, program: &str) -> Command {
        let usr = self.root.join("usr");
        let libraries = usr.join("lib/x86_64-linux-gnu");
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command
            .arg("--argv0")
            .arg(program)
            .arg("--library-path")
            .arg(&libraries)
            .arg(usr.join(program))
            // The machine's own may name modules that these libraries do not have.
            .env("OPENSSL_CONF", self.root.join("etc/ssl/openssl.cnf"))
            .env("OPENSSL_MODULES", libraries.join("ossl-modules"))
            .env_remove("LD_PRELOAD")
            .env_remove("LD_LIBRARY_PATH");
        command
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("ZONEMESH_PEERS") {
        return Some(PathBuf::from(folder));
    }
    let cache = match set("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(set("HOME")?).join(".cache"),
    };
    Some(cache.join("zonemesh/peers/trixie"))
}

/// The folder of peers is not there.
#[derive(Clone, Debug)]
pub struct Missing {
    root: Option<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Some(root) => write!(
                f,
                "no foreign name servers in {}: run `cargo xtask peers` as root",
                root.display()
            ),
            None => f.write_str("none of ZONEMESH_PEERS, XDG_CACHE_HOME and HOME is set"),
        }
    }
}

impl std::error::Error for Missing {}
