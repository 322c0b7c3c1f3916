//! What has been seen to work between us and foreign servers: the cells of the table in `docs/reference/interop.md`.
//!
//! A test says so at its end, when it has seen it. `cargo xtask interop` and `cargo xtask test` collect what was said and
//! compare it with the page; outside of them nobody listens.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use zonemesh_testkit::Peers;
use zonemesh_testkit::site::Site;

use crate::common::transfers;

/// A column of the table.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    Knot,
    Bind,
    Nsd,
    Unbound,
    PowerDns,
}

impl Server {
    /// Its name there, its program, and how that is asked for its version.
    fn known_as(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Knot => ("Knot DNS", "sbin/knotd", "--version"),
            Self::Bind => ("BIND", "sbin/named", "-v"),
            Self::Nsd => ("NSD", "sbin/nsd", "-v"),
            Self::Unbound => ("Unbound", "sbin/unbound", "-V"),
            Self::PowerDns => ("PowerDNS", "sbin/pdns_server", "--version"),
        }
    }

    /// The first number with two dots that it prints, with what is glued to it.
    fn version(self, peers: &Peers) -> Result<String> {
        let (name, program, option) = self.known_as();
        let output = peers
            .command(program)
            .arg(option)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let words = text.split_whitespace();
        words
            .map(|word| word.trim_matches(|edge: char| !edge.is_ascii_alphanumeric()))
            .find(|word| {
                word.starts_with(|first: char| first.is_ascii_digit())
                    && word.matches('.').count() >= 2
                    && !word.contains(':')
            })
            .map(str::to_owned)
            .with_context(|| format!("no version of {name} in {text}"))
    }
}

/// A row of the table, in its order.
#[derive(Clone, Copy, Debug)]
pub enum Row {
    Secondary,
    SecondaryUnsigned,
    SecondaryTls,
    SecondaryWrongKey,
    Primary,
    PrimaryUnsigned,
    PrimaryTls,
    PrimaryQuic,
    PrimaryWrongKey,
    Several,
    Between,
    Consumer,
    ConsumerOfMesh,
    Producer,
    Group,
    Moves,
    Broken,
}

impl Row {
    const fn text(self) -> &'static str {
        match self {
            Self::Secondary => "Secondary of zonemesh, with TSIG",
            Self::SecondaryUnsigned => "Secondary of zonemesh, by address",
            Self::SecondaryTls => "Secondary of zonemesh, over TLS (RFC 9103)",
            Self::SecondaryWrongKey => "As secondary with a wrong TSIG key",
            Self::Primary => "Primary to zonemesh, with TSIG",
            Self::PrimaryUnsigned => "Primary to zonemesh, by address",
            Self::PrimaryTls => "Primary to zonemesh, over TLS, its key pinned",
            Self::PrimaryQuic => "Primary to zonemesh, over QUIC (RFC 9250), its key pinned",
            Self::PrimaryWrongKey => "As primary that does not know our TSIG key",
            Self::Several => {
                "One of several primaries: the freshest wins, a stale one takes nothing back"
            }
            Self::Between => "Between two zonemesh servers: from one, and on to the other",
            Self::Consumer => "Follows a catalog that zonemesh produces",
            Self::ConsumerOfMesh => "Follows the catalog of a mesh, with TSIG",
            Self::Producer => "Produces a catalog that zonemesh follows",
            Self::Group => "Groups of its catalog have their templates here",
            Self::Moves => "A member moves from one catalog of its to another (`coo`)",
            Self::Broken => "A catalog of its without version, of version 3, with a member twice",
        }
    }
}

/// Says that something works, and how: `IXFR`, `refused`.
///
/// # Errors
///
/// When the program does not tell its version, or what was said cannot be kept.
pub fn tried(peers: &Peers, server: Server, row: Row, how: &str) -> Result<()> {
    let Some(folder) = std::env::var_os("ZONEMESH_TRIED") else {
        return Ok(());
    };
    let (name, ..) = server.known_as();
    let line = format!(
        "{}|{}|{name}|{}|{how}\n",
        row as u8,
        row.text(),
        server.version(peers)?
    );
    let file = PathBuf::from(folder).join(format!("{row:?}-{server:?}"));
    std::fs::write(&file, line).with_context(|| format!("cannot write {}", file.display()))
}

/// How a zone came or went, by our log: `AXFR`, and `IXFR` where there was one.
pub fn kinds(us: &Site, direction: &str) -> String {
    let lines = transfers(us, direction);
    let seen = |kind: &str| {
        lines
            .iter()
            .any(|line| line.contains(&format!("\"{kind}\"")))
    };
    let kinds = ["AXFR", "IXFR"].into_iter().filter(|kind| seen(kind));
    kinds.collect::<Vec<_>>().join(", ")
}
