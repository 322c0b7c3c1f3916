//! `zonemesh zone …`

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context as _;
use zonemesh_api::Client;
use zonemesh_api::error::exit;
use zonemesh_api::types::{
    AddZone, CopyState, Finding, ImportZone, RemoveZone, RestoreZone, Severity, Wait, ZoneKind,
};

use super::args::{Change, Target, Zone};
use super::output::{self, Colour, Table, or_dash};
use super::{Failure, Outcome};
use crate::config::parse_name;

pub(super) async fn zone(target: &Target, command: Zone) -> Outcome {
    // Works without a site.
    if let Zone::Check {
        file: Some(file),
        zone,
        json,
    } = &command
    {
        return check_file(file, zone.as_deref(), *json);
    }
    let client = target.client()?;
    match command {
        Zone::List {
            removed: true,
            json,
        } => list_removed(&client, json).await,
        Zone::List {
            removed: false,
            json,
        } => list(&client, json).await,
        Zone::Show { zone, json } => show(&client, &zone, json).await,
        Zone::Add { zone, file, change } => {
            let text = file.as_deref().map(read).transpose()?;
            let request = AddZone {
                zone: zone.clone(),
                text,
                wait: change.into(),
            };
            let changed = client.add_zone(&request).await?;
            output::changed(&changed, change.json, &format!("zone {zone} added"))
        }
        Zone::Remove { zone, change } => {
            let request = RemoveZone {
                zone: zone.clone(),
                wait: change.into(),
            };
            let changed = client.remove_zone(&request).await?;
            let done = format!("zone {zone} removed");
            output::changed(&changed, change.json, &done)
        }
        Zone::Restore { zone, change } => {
            let request = RestoreZone {
                zone: zone.clone(),
                wait: change.into(),
            };
            let changed = client.restore_zone(&request).await?;
            output::changed(&changed, change.json, &format!("zone {zone} brought back"))
        }
        Zone::Import {
            zone,
            file,
            dry_run,
            change,
        } => {
            let text = read(&file)?;
            import(
                &client,
                zone,
                text,
                Some(file.display().to_string()),
                dry_run,
                change,
            )
            .await
        }
        Zone::Revert {
            zone,
            serial,
            dry_run,
            change,
        } => {
            let mut text = Vec::new();
            export(&client, &zone, Some(serial), &mut text).await?;
            let text = String::from_utf8(text).map_err(|_| {
                Failure::new(format!(
                    "the site sent zone {zone} as something else than text"
                ))
            })?;
            import(&client, zone, text, None, dry_run, change).await
        }
        Zone::Export {
            zone,
            serial,
            output,
        } => export_to(&client, &zone, serial, output.as_deref()).await,
        Zone::Check { zone, json, .. } => {
            let findings = client.check_zone(&zone.unwrap_or_default()).await?;
            report(&findings, json)
        }
        Zone::Diff {
            zone,
            from,
            to,
            json,
        } => {
            let difference = client.diff_zone(&zone, from, to).await?;
            if json {
                output::json(&difference)?;
            } else {
                output::difference(&difference)?;
            }
            Ok(exit::DONE)
        }
        Zone::History { zone, json } => history(&client, &zone, json).await,
    }
}

impl From<Change> for Wait {
    fn from(change: Change) -> Self {
        let wait_ms = u64::try_from(change.timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            wait_ms: change.wait.then_some(wait_ms),
        }
    }
}

// # Reading

async fn list(client: &Client, json: bool) -> Outcome {
    let zones = client.zones().await?;
    if json {
        output::json(&zones)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new([
        "ZONE", "KIND", "PRIMARY", "SERIAL", "STATE", "RECORDS", "GROUPS",
    ]);
    for zone in zones {
        let kind = match zone.kind {
            ZoneKind::Data if zone.dynamic => "dynamic",
            ZoneKind::Data => "data",
            ZoneKind::Directory => "directory",
            ZoneKind::Catalog => "catalog",
        };
        let (state, colour) = match zone.state {
            CopyState::Current => ("current", Colour::Green),
            CopyState::Behind => ("behind", Colour::Yellow),
            CopyState::Ahead => ("ahead", Colour::Red),
            CopyState::Missing => ("missing", Colour::Red),
            CopyState::Expired => ("expired", Colour::Red),
            CopyState::Unknown => ("unknown", Colour::Yellow),
        };
        table.painted([
            (zone.zone, Colour::Bold),
            (kind.to_owned(), Colour::Plain),
            (or_dash(zone.primary), Colour::Plain),
            (or_dash(zone.serial), Colour::Plain),
            (state.to_owned(), colour),
            (zone.records.to_string(), Colour::Plain),
            (zone.groups.join(" "), Colour::Plain),
        ]);
    }
    table.print()?;
    Ok(exit::DONE)
}

async fn list_removed(client: &Client, json: bool) -> Outcome {
    let zones = client.removed_zones().await?;
    if json {
        output::json(&zones)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new(["ZONE", "SERIAL", "REMOVED", "KEPT UNTIL"]);
    for zone in zones {
        let times = [zone.removed_at, zone.kept_until].map(|at| format!("{at:.0}"));
        table.row([vec![zone.zone, or_dash(zone.serial)], times.to_vec()].concat());
    }
    table.print()?;
    Ok(exit::DONE)
}

async fn show(client: &Client, zone: &str, json: bool) -> Outcome {
    let zone = client.zone(zone).await?;
    if json {
        output::json(&zone)?;
        return Ok(exit::DONE);
    }
    output::line(&format!(
        "{}  serial {}, primary {}, {} records, {}{}",
        output::paint(Colour::Bold, &zone.zone),
        or_dash(zone.serial),
        or_dash(zone.primary.as_deref()),
        or_dash(zone.records),
        if zone.dynamic {
            "dynamic"
        } else {
            "not dynamic here"
        },
        if zone.groups.is_empty() {
            String::new()
        } else {
            format!(", groups {}", zone.groups.join(" "))
        },
    ))?;
    super::status::zone_table(&zone).print()?;
    if let Some(errors) = super::status::errors_table(&zone) {
        output::line("")?;
        errors.print()?;
    }
    Ok(exit::DONE)
}

async fn history(client: &Client, zone: &str, json: bool) -> Outcome {
    let entries = client.zone_history(zone).await?;
    if json {
        output::json(&entries)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new(["SERIAL", "BEFORE", "PUBLISHED", "REMOVED", "ADDED", "BY"]);
    for entry in entries {
        table.row([
            entry.to.to_string(),
            or_dash(entry.from),
            format!("{:.0}", entry.at),
            entry.removed.to_string(),
            entry.added.to_string(),
            entry.origin,
        ]);
    }
    table.print()?;
    Ok(exit::DONE)
}

async fn export(
    client: &Client,
    zone: &str,
    serial: Option<u32>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut pieces = client.export_zone(zone, serial).await?;
    while let Some(piece) = pieces.next().await {
        let written = out.write_all(&piece?);
        if matches!(&written, Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe) {
            return Ok(());
        }
        written.with_context(|| format!("cannot write zone {zone}"))?;
    }
    Ok(())
}

async fn export_to(
    client: &Client,
    zone: &str,
    serial: Option<u32>,
    output: Option<&Path>,
) -> Outcome {
    match output {
        None => export(client, zone, serial, &mut std::io::stdout().lock()).await?,
        Some(path) => {
            // Whole or not at all: an export that breaks off leaves the old file.
            let mut text = Vec::new();
            export(client, zone, serial, &mut text).await?;
            zonemesh_store::file::write(path, &text, 0o644)
                .with_context(|| format!("cannot write zone {zone}"))?;
        }
    }
    Ok(exit::DONE)
}

// # Changing

async fn import(
    client: &Client,
    zone: String,
    text: String,
    file: Option<String>,
    dry_run: bool,
    change: Change,
) -> Outcome {
    let done = format!("zone {zone} imported");
    let request = ImportZone {
        zone,
        text,
        file,
        dry_run,
        wait: change.into(),
    };
    let changed = client.import_zone(request).await?;
    output::changed(&changed, change.json, &done)
}

/// Reads a zone file, `-` for standard input.
fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the zone file {}", path.display()))?;
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(format!("{} is not UTF-8 at byte {at}", path.display()))
            .hint("write other bytes as \\DDD escapes")
    })
}

// # Checking a file

fn check_file(path: &Path, zone: Option<&str>, json: bool) -> Outcome {
    let apex = match zone {
        None => None,
        Some(text) => Some(
            parse_name(text)
                .map_err(|error| Failure::usage(format!("`{text}` is no domain name: {error}")))?,
        ),
    };
    report(&file_findings(path, apex.as_ref()), json)
}

/// Everything that is wrong with a zone file, in itself and as a zone.
pub(super) fn file_findings(path: &Path, apex: Option<&zonemesh_zone::Name>) -> Vec<Finding> {
    let mut opener = |name: &str| std::fs::read(name);
    let loaded = zonemesh_zone::file::read(&mut opener, &path.display().to_string(), apex);
    loaded
        .findings
        .iter()
        .map(|finding| to_api(finding, apex))
        .collect()
}

fn to_api(
    finding: &zonemesh_zone::finding::Finding,
    apex: Option<&zonemesh_zone::Name>,
) -> Finding {
    use zonemesh_zone::finding::Severity as In;
    Finding {
        severity: match finding.severity {
            In::Warning => Severity::Warning,
            In::Error => Severity::Error,
        },
        file: finding.file.clone(),
        line: finding.line,
        column: finding.column,
        zone: or_dash(
            finding
                .zone
                .as_ref()
                .or(apex)
                .map(|zone| zone.fmt_with_dot().to_string()),
        ),
        name: finding
            .owner
            .as_ref()
            .map(|name| name.fmt_with_dot().to_string()),
        rtype: finding.rtype.map(|rtype| rtype.to_string()),
        message: finding.message.clone(),
    }
}

fn report(findings: &[Finding], json: bool) -> Outcome {
    let failed = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    if json {
        output::json(&findings)?;
    } else {
        output::findings(findings)?;
        if findings.is_empty() {
            output::line("no findings")?;
        }
    }
    Ok(if failed { exit::FAILED } else { exit::DONE })
}
