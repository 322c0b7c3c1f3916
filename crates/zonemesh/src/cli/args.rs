//! The command line as one definition: parsing, help, completions and man pages come from it.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use zonemesh_api::types::ZonesOfRemoved;

/// Self-healing, multi-site DNS.
#[derive(Debug, Parser)]
#[command(
    name = "zonemesh",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 cannot reach the site, 4 done but not at every site yet, \
                  5 held by the brake.\n\nTo try it: `zonemesh up --sites 3`, then `zonemesh status` in the same folder."
)]
pub struct Cli {
    /// Which running site to talk to.
    #[command(flatten)]
    pub target: Target,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which running site to talk to.
#[derive(Clone, Debug, Default, Args)]
pub struct Target {
    /// Data directory of the site; its control socket is in there
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Control socket of the site
    #[arg(long, global = true, value_name = "FILE")]
    pub socket: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a site, or several on loopback for trying
    #[command(
        after_help = "Examples:\n  zonemesh up --sites 3\n  zonemesh up --config /etc/zonemesh/zonemesh.toml"
    )]
    Up(Up),
    /// Make a new mesh, of which this site is the first (once, before its first `up`)
    ///
    /// It makes the site's key. A site that finds nothing in its data directory never makes a mesh by itself: it may have lost its disk.
    #[command(after_help = "Example:\n  zonemesh init --config /etc/zonemesh/zonemesh.toml")]
    Init(Init),
    /// Show the whole mesh: sites by zones
    ///
    /// The exit code is 0 when it is healthy, 1 when degraded, 2 when broken, and 3 when the site cannot be asked.
    #[command(
        after_help = "Examples:\n  zonemesh status\n  zonemesh status --watch\n  zonemesh status --json | jq .verdict"
    )]
    Status(StatusArgs),
    /// Make a welcome packet for a new site (on the catalog primary)
    #[command(after_help = "Example:\n  zonemesh invite site-d > site-d.packet\n\n\
                            The packet lets its holder join once, within 24 hours, under this name: treat it as a password.")]
    Invite(Invite),
    /// Join a mesh with a welcome packet, and run the site
    #[command(
        after_help = "Examples:\n  zonemesh join - --addresses 192.0.2.7 < site-d.packet\n  \
                            zonemesh join @site-d.packet --config /etc/zonemesh/zonemesh.toml"
    )]
    Join(Join),
    /// Look at the sites of the mesh, promote or remove one
    #[command(subcommand)]
    Site(Site),
    /// Look at zones, add, change and remove them
    #[command(subcommand)]
    Zone(Zone),
    /// Look at records and change them
    #[command(subcommand)]
    Record(Record),
    /// See what the planner decided, and approve or decline what the brake holds
    #[command(subcommand)]
    Plan(Plan),
    /// Keys of the site
    #[command(subcommand)]
    Key(Key),
    /// Check, show or reload the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print events as they happen
    Events(Listing),
    /// Print a completion script
    #[command(
        after_help = "Example:\n  zonemesh completions bash > /etc/bash_completion.d/zonemesh"
    )]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// The folder; made when missing
        dir: PathBuf,
    },
}

/// `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Configuration file; without it `zonemesh.toml` here, then /etc/zonemesh/zonemesh.toml, then a site on loopback
    #[arg(long, short, value_name = "FILE", conflicts_with = "sites")]
    pub config: Option<PathBuf>,
    /// Run this many sites on loopback, each a process, with data under ./zonemesh-data
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=26))]
    pub sites: Option<u8>,
    /// Go on without what is damaged in the store and no other site is known to have; what was damaged is kept beside it
    #[arg(long, conflicts_with = "sites")]
    pub accept_damage: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Configuration file; without it `zonemesh.toml` here, then /etc/zonemesh/zonemesh.toml
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Show it again every two seconds
    #[arg(long, short)]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of every listing.
#[derive(Clone, Copy, Debug, Args)]
pub struct Listing {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of every change.
#[derive(Clone, Copy, Debug, Args)]
pub struct Change {
    /// Return when every site serves the change, and print who does
    #[arg(long)]
    pub wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, requires = "wait")]
    pub timeout: std::time::Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `invite`.
#[derive(Debug, Args)]
pub struct Invite {
    /// Name of the new site, such as site-d
    pub name: String,
    /// How long the packet is good for
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub valid: std::time::Duration,
    /// What the site will do: `standard`, or `catalog-secondary`, which can be promoted; without it a new site is `standard`, and
    /// one of the mesh keeps the role that it has
    #[arg(long, value_name = "ROLE")]
    pub role: Option<zonemesh_api::types::InvitedRole>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `join`.
#[derive(Debug, Args)]
pub struct Join {
    /// The welcome packet: its text, `@FILE`, or `-` for standard input
    pub packet: String,
    /// Configuration file; without it one is made in the data directory from the packet and the options below
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Addresses where peers reach this site
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    pub addresses: Vec<IpAddr>,
    /// Where to listen for DNS
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    pub listen_dns: Vec<String>,
    /// Where to listen for DNS over TLS
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    pub listen_tls: Vec<String>,
    /// Where to listen for DNS over QUIC
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    pub listen_quic: Vec<String>,
    /// Where to listen for HTTP
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    pub listen_http: Vec<String>,
}

/// `site`.
#[derive(Debug, Subcommand)]
pub enum Site {
    /// List the sites of the mesh
    List(Listing),
    /// Show one site
    Show {
        /// Its name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a catalog secondary the writer of directory and catalog
    ///
    /// Asked of the catalog primary, it hands over in order. Asked of the catalog secondary itself, that takes over from a
    /// primary that is gone; it is refused while that answers.
    #[command(
        after_help = "Examples:\n  zonemesh site promote site-b            on the catalog primary: hand over\n  \
                            zonemesh site promote --dry-run         on site-b, when the primary is lost: what would happen\n  \
                            zonemesh site promote                   and do it"
    )]
    Promote(Promote),
    /// Give a site the role of a catalog secondary, which can be promoted, or take it (on the catalog primary)
    #[command(after_help = "Example:\n  zonemesh site role site-b catalog-secondary")]
    Role {
        /// Its name
        name: String,
        /// `catalog-secondary` or `standard`
        role: zonemesh_api::types::InvitedRole,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// What this site wrote while another one was the writer: show it, make it again
    #[command(subcommand)]
    Yielded(Yielded),
    /// Remove a site: its pins, peers, ACLs and NOTIFY targets go everywhere
    #[command(
        after_help = "Examples:\n  zonemesh site remove site-c --zones adopt:site-a\n  zonemesh site remove site-c --zones remove"
    )]
    Remove {
        /// Its name
        name: String,
        /// What becomes of its zones: `adopt:SITE` or `remove`; asked on a terminal
        #[arg(long, value_name = "WHAT")]
        zones: Option<ZonesOfRemoved>,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
}

/// `site promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The site; without a name the one that is asked
    pub name: Option<String>,
    /// Do it although something speaks against it
    #[arg(long)]
    pub force: bool,
    /// Only show what would happen, and what cannot be known
    #[arg(long)]
    pub dry_run: bool,
    /// How to wait and print.
    #[command(flatten)]
    pub change: Change,
}

/// `site yielded`.
#[derive(Debug, Subcommand)]
pub enum Yielded {
    /// List what is kept
    List(Listing),
    /// Show the changes of one, and what would become of each now
    Show {
        /// What it is called
        id: String,
        /// Print JSON, which `replay -` takes at another site
        #[arg(long)]
        json: bool,
    },
    /// Make the changes again that do not conflict, at the primary of the zone
    #[command(
        after_help = "Examples:\n  zonemesh site yielded replay dns.internal-47-1760000000 --dry-run\n  \
                            zonemesh site yielded replay - < yielded.json"
    )]
    Replay {
        /// What it is called; `-` reads the output of `show --json` from standard input
        id: String,
        /// Make those too that conflict with what the zone says by now
        #[arg(long)]
        force: bool,
        /// Only show what would become of each change
        #[arg(long)]
        dry_run: bool,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// Throw one away
    Discard {
        /// What it is called
        id: String,
        /// Print JSON: what is left
        #[arg(long)]
        json: bool,
    },
}

/// `zone`.
#[derive(Debug, Subcommand)]
pub enum Zone {
    /// List all zones
    List {
        /// List removed zones that can still be brought back
        #[arg(long)]
        removed: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one zone at every site
    Show {
        /// Apex
        zone: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a zone with this site as its primary
    ///
    /// Its records can be changed by `record` and `zone import`. A catalog group, foreign peers and updates over the
    /// network are set by a `[[zone]]` in the configuration file.
    #[command(
        after_help = "Examples:\n  zonemesh zone add corp.example --file corp.zone --wait\n  zonemesh zone add lab.example"
    )]
    Add {
        /// Apex
        zone: String,
        /// Zone file; without it the zone has SOA and NS only
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// Remove a zone everywhere; its data is kept for 30 days
    Remove {
        /// Apex
        zone: String,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// Bring back a removed zone
    Restore {
        /// Apex
        zone: String,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// Replace a zone's contents by a zone file; what differs becomes the new version
    #[command(
        after_help = "Examples:\n  zonemesh zone import corp.example corp.zone --dry-run\n  zonemesh zone import corp.example - < corp.zone"
    )]
    Import {
        /// Apex
        zone: String,
        /// Zone file, `-` for standard input
        file: PathBuf,
        /// Only print the difference
        #[arg(long)]
        dry_run: bool,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// Print a zone as a zone file, in canonical order
    Export {
        /// Apex
        zone: String,
        /// An older version
        #[arg(long)]
        serial: Option<u32>,
        /// Write it here instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a zone file, without a site; or a zone as it is served
    #[command(
        after_help = "Examples:\n  zonemesh zone check corp.zone --zone corp.example\n  zonemesh zone check --zone corp.example"
    )]
    Check {
        /// Zone file; without it the zone that the running site serves
        #[arg(required_unless_present = "zone")]
        file: Option<PathBuf>,
        /// Apex; without it the owner name of the SOA
        #[arg(long)]
        zone: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what changed between two versions; without serials the last change
    Diff {
        /// Apex
        zone: String,
        /// Serial before
        from: Option<u32>,
        /// Serial after; without it the newest
        to: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the versions of a zone
    History {
        /// Apex
        zone: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the contents of an older version the newest, under a new serial
    Revert {
        /// Apex
        zone: String,
        /// The version to go back to, see `zone history`
        serial: u32,
        /// Only print the difference
        #[arg(long)]
        dry_run: bool,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
}

/// `record`.
#[derive(Debug, Subcommand)]
pub enum Record {
    /// List the records of a zone
    #[command(
        after_help = "Examples:\n  zonemesh record list corp.example\n  zonemesh record list corp.example www A"
    )]
    List {
        /// Apex
        zone: String,
        /// Owner name; relative names are below the apex, `@` is the apex
        name: Option<String>,
        /// RRtype
        #[arg(value_name = "TYPE")]
        rtype: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an RRset exactly this
    #[command(
        after_help = "Examples:\n  zonemesh record set corp.example www A 192.0.2.1 192.0.2.2 --ttl 300 --wait\n  \
                            zonemesh record set corp.example @ MX '10 mail' --dry-run"
    )]
    Set {
        /// Apex
        zone: String,
        /// Owner name; relative names are below the apex, `@` is the apex
        name: String,
        /// RRtype
        #[arg(value_name = "TYPE")]
        rtype: String,
        /// RDATA, one argument for each record
        #[arg(required = true)]
        data: Vec<String>,
        /// Seconds, or with units as in zone files (1h30m); without it the RRset keeps its TTL
        #[arg(long, value_parser = ttl)]
        ttl: Option<u32>,
        /// Only print the difference
        #[arg(long)]
        dry_run: bool,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
    /// Delete records
    #[command(
        after_help = "Examples:\n  zonemesh record delete corp.example old-host\n  zonemesh record delete corp.example www A 192.0.2.2"
    )]
    Delete {
        /// Apex
        zone: String,
        /// Owner name; relative names are below the apex, `@` is the apex
        name: String,
        /// RRtype; without it every RRset of the name
        #[arg(value_name = "TYPE")]
        rtype: Option<String>,
        /// RDATA; without it the whole RRset
        data: Vec<String>,
        /// Only print the difference
        #[arg(long)]
        dry_run: bool,
        /// How to wait and print.
        #[command(flatten)]
        change: Change,
    },
}

/// `plan`.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Show what was decided and why, and what is held
    Show(Listing),
    /// Let a held change go on
    #[command(
        after_help = "What is approved is kept until it has been done, a week at most, and is for exactly what was shown, once."
    )]
    Approve(Held),
    /// Leave everything as it is, and ask no more about a held change
    #[command(
        after_help = "A change that was asked for here is thrown away. Of what removes zones or sites in bulk nothing is removed, and\n\
                      nobody is asked for 30 days; `plan show` lists it, and `plan approve` lets it go on all the same. A newer\n\
                      history of a zone is not taken: what this site has is published above it."
    )]
    Decline(Held),
}

/// Something that the brake holds.
#[derive(Debug, Args)]
pub struct Held {
    /// The id that `plan show` prints
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a new key for this site; peers follow by the directory
    Roll(Listing),
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check a configuration file in full, its zone files too
    #[command(
        after_help = "Examples:\n  zonemesh config check\n  zonemesh config check /etc/zonemesh/zonemesh.toml.new\n  \
                      zonemesh config check --json | jq .faults"
    )]
    Check {
        /// The file; without it `zonemesh.toml` here, then /etc/zonemesh/zonemesh.toml
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the effective configuration, every default spelled out, without secrets
    Show {
        /// The file; without it `zonemesh.toml` here, then /etc/zonemesh/zonemesh.toml
        file: Option<PathBuf>,
    },
    /// Tell the running site to read its configuration again
    Reload(Listing),
}

/// A TTL as zone files have it.
pub(super) fn ttl(text: &str) -> Result<u32, &'static str> {
    zonemesh_zone::file::ttl::parse(text.as_bytes())
        .map_err(|_| "expected seconds, or numbers with units: 300, 1h, 1h30m, 2d, 1w")
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::duration(text).ok_or_else(|| "expected a time such as 30s, 5m or 24h".into())
}
