//! `zonemesh config …`

use std::path::PathBuf;

use serde::Serialize;
use zonemesh_api::error::exit;
use zonemesh_api::types::{Finding, Severity};
use zonemesh_serve::{Kind, RateLimits};

use super::args::{Config as Command, Target};
use super::output;
use super::{Failure, Outcome};
use crate::config::{self, Config};

pub(super) async fn config(target: &Target, command: Command) -> Outcome {
    match command {
        Command::Check { file, json } => check(&file_or_default(file)?, json),
        Command::Show { file } => {
            let config = config::load(&file_or_default(file)?)?;
            output::print(&config::show::text(&config))?;
            Ok(exit::DONE)
        }
        Command::Reload(listing) => {
            let reloaded = target.client()?.reload().await?;
            if listing.json {
                output::json(&reloaded)?;
                return Ok(exit::DONE);
            }
            for change in &reloaded.changes {
                output::line(change)?;
            }
            for change in &reloaded.needs_restart {
                output::line(&format!("takes a restart: {change}"))?;
            }
            if reloaded.changes.is_empty() && reloaded.needs_restart.is_empty() {
                output::line("read again; nothing changed")?;
            }
            Ok(exit::DONE)
        }
    }
}

fn file_or_default(file: Option<PathBuf>) -> Result<PathBuf, Failure> {
    file.or_else(config::find).ok_or_else(|| {
        Failure::usage("there is no configuration file").hint(format!(
            "name one; looked for {}",
            config::DEFAULT_FILES.join(" and ")
        ))
    })
}

/// What `config check --json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    schema: u32,
    file: String,
    valid: bool,
    faults: Vec<Fault>,
    zone_files: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Fault {
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    hint: Option<String>,
}

fn check(path: &std::path::Path, json: bool) -> Outcome {
    let (config, faults) = match config::load(path) {
        Ok(config) => (Some(config), Vec::new()),
        Err(faults) => (None, faults),
    };
    let mut findings = Vec::new();
    for zone in config.iter().flat_map(|config| &config.zones) {
        if let Some(file) = &zone.file {
            findings.extend(super::zone::file_findings(file, Some(&zone.name)));
        } else if zone.dynamic && zone.catalog.is_none() {
            findings.push(without_contents(&zone.name));
        }
    }
    let valid = faults.is_empty()
        && findings
            .iter()
            .all(|finding| finding.severity != Severity::Error);
    let code = if valid { exit::DONE } else { exit::FAILED };
    if json {
        let faults = faults
            .into_iter()
            .map(|fault| Fault {
                line: fault.line,
                column: fault.column,
                message: fault.message,
                hint: fault.hint,
            })
            .collect();
        let file = path.display().to_string();
        let schema = zonemesh_api::types::SCHEMA;
        output::json(&Report {
            schema,
            file,
            valid,
            faults,
            zone_files: findings,
        })?;
        return Ok(code);
    }
    output::findings(&findings)?;
    match config {
        None => return Err(faults.into()),
        Some(_) if !valid => {
            return Err(Failure::new(format!(
                "{} cannot be run: its zone files have errors",
                path.display()
            )));
        }
        Some(config) => explain(&config, path)?,
    }
    Ok(code)
}

/// What is said of a zone that its site does not answer for before it is told what is in it.
fn without_contents(zone: &zonemesh_zone::Name) -> Finding {
    let name = zone.fmt_with_dot();
    Finding {
        severity: Severity::Warning,
        file: None,
        line: None,
        column: None,
        zone: name.to_string(),
        name: None,
        rtype: None,
        message: format!(
            "it is `dynamic` and has no `file`: unless the site holds it already it is not answered until `zonemesh zone import {name} FILE` gives it contents"
        ),
    }
}

/// Says in sentences what the file makes of this host.
fn explain(config: &Config, path: &std::path::Path) -> Result<(), Failure> {
    let addresses = |list: &[std::net::SocketAddr]| {
        list.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    output::line(&format!("{} can be run:", path.display()))?;
    match &config.mesh {
        Some(mesh) => output::line(&format!(
            "  site {} ({}) of the mesh with directory {} and catalog {}",
            config.site.name, config.site.role, mesh.directory, mesh.catalog
        ))?,
        None => output::line("  a plain name server: neither directory nor catalog is set")?,
    }
    output::line(&format!("  answers on {}", addresses(&config.listen.dns)))?;
    if !config.listen.tls.is_empty() {
        output::line(&format!("  over TLS on {}", addresses(&config.listen.tls)))?;
    }
    if !config.listen.quic.is_empty() {
        output::line(&format!(
            "  over QUIC on {}",
            addresses(&config.listen.quic)
        ))?;
    }
    if !config.listen.http.is_empty() {
        let on = addresses(&config.listen.http);
        output::line(&format!("  metrics and health on {on}"))?;
    }
    output::line(&rate(&config.rate))?;
    output::line(&format!(
        "  keeps its data in {}",
        config.site.data_dir.display()
    ))?;
    output::line(&format!(
        "  {} zones, {} foreign peers",
        config.zones.len(),
        config.peers.len()
    ))
}

/// Says how many answers over UDP a network may have.
fn rate(rate: &RateLimits) -> String {
    let (least, most) = (rate.per_second.iter().min(), rate.per_second.iter().max());
    let limits = match (least, most) {
        (_, None | Some(0)) => return "  limits no answers over UDP".to_owned(),
        (least, Some(most)) if least == Some(most) => format!("{most} answers a second"),
        _ => {
            let each = Kind::ALL.iter().zip(rate.per_second);
            let each = each.map(|(kind, limit)| match limit {
                0 => format!("any number of {} answers", kind.name()),
                _ => format!("{limit} {}", kind.name()),
            });
            format!("{} a second", each.collect::<Vec<_>>().join(", "))
        }
    };
    let rest = match rate.slip {
        _ if rate.dry_run => "only counts what is above (dry run)".to_owned(),
        0 => "drops what is above".to_owned(),
        1 => "truncates what is above".to_owned(),
        slip => format!("truncates 1 in {slip} of what is above and drops the others"),
    };
    format!(
        "  over UDP sends a network (/{} or /{}) {limits} about one name, and {rest}",
        rate.ipv4_prefix, rate.ipv6_prefix
    )
}
