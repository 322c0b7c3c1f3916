//! `zonemesh status`: the mesh at a glance.

use std::io::IsTerminal;
use std::time::Duration;

use zonemesh_api::Client;
use zonemesh_api::types::{
    Check, CheckState, CopyState, SiteStatus, Status, TransferStatus, Verdict, ZoneAtSite,
    ZoneStatus,
};

use super::args::StatusArgs;
use super::output::{self, Colour, Table, duration, or_dash};
use super::{Failure, Outcome};

pub(super) async fn status(client: &Client, args: &StatusArgs) -> Outcome {
    loop {
        let status = client.status().await;
        if args.watch && !args.json && std::io::stdout().is_terminal() {
            // Clears the screen and goes to its upper left corner.
            output::print("\x1b[2J\x1b[H")?;
        }
        let code = match status {
            Ok(status) if args.json => {
                output::json(&status)?;
                status.verdict.exit_code()
            }
            Ok(status) => {
                output::print(&text(&status)?)?;
                status.verdict.exit_code()
            }
            Err(error) if args.watch => Failure::from(error).report(args.json),
            Err(error) => return Err(error.into()),
        };
        if !args.watch {
            return Ok(code);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code),
        }
    }
}

fn text(status: &Status) -> Result<String, Failure> {
    let colours = output::colours(std::io::stdout().is_terminal());
    let (word, colour) = match status.verdict {
        Verdict::Healthy => ("healthy", Colour::Green),
        Verdict::Degraded => ("degraded", Colour::Yellow),
        Verdict::Broken => ("broken", Colour::Red),
    };
    let word = output::paint(colour, word);
    let mut text = format!(
        "{word}  {} sites, {} zones, seen from {} (zonemesh {})\n",
        status.sites.len(),
        status.zones.len(),
        status.site,
        status.version
    );
    for check in status
        .checks
        .iter()
        .filter(|check| check.state != CheckState::Ok)
    {
        text.push_str(&check_line(check));
    }
    text.push('\n');
    text.push_str(&sites_table(&status.sites).render(colours));
    text.push('\n');
    text.push_str(&grid(&status.sites, &status.zones).render(colours));
    let copies = shown_copies(&status.zones);
    if !copies.is_empty() {
        text.push('\n');
        text.push_str(&copies_table(&copies).render(colours));
    }
    let transfers = shown_transfers(&status.transfers);
    if !transfers.is_empty() {
        text.push('\n');
        text.push_str(&transfers_table(&transfers).render(colours));
    }
    Ok(text)
}

/// Transfers that take long enough to be waited for, as many as fit on a screen; all of them are in JSON.
fn shown_transfers(transfers: &[TransferStatus]) -> Vec<&TransferStatus> {
    let long = |transfer: &&TransferStatus| transfer.running_secs >= LONG_TRANSFER_SECS;
    transfers.iter().filter(long).take(MOST_TRANSFERS).collect()
}

fn transfers_table(transfers: &[&TransferStatus]) -> Table {
    let mut table = Table::new([
        "TRANSFER", "", "PEER", "OVER", "RECORDS", "OF ABOUT", "BYTES", "SINCE",
    ]);
    for transfer in transfers {
        table.painted([
            (transfer.zone.clone(), Colour::Bold),
            (transfer.direction.to_string(), Colour::Plain),
            (transfer.peer.clone(), Colour::Plain),
            (transfer.transport.clone(), Colour::Plain),
            (transfer.records.to_string(), Colour::Plain),
            (or_dash(transfer.expected_records), Colour::Plain),
            (transfer.bytes.to_string(), Colour::Plain),
            (duration(transfer.running_secs), Colour::Plain),
        ]);
    }
    table
}

/// Every copy of a small mesh; of a large one those that need attention, the rest is in `zone show` and in JSON.
pub(super) fn shown_copies(zones: &[ZoneStatus]) -> Vec<(&ZoneStatus, &ZoneAtSite)> {
    let copies = || {
        zones
            .iter()
            .flat_map(|zone| zone.sites.iter().map(move |copy| (zone, copy)))
    };
    let is_primary =
        |zone: &ZoneStatus, copy: &ZoneAtSite| zone.primary.as_deref() == Some(copy.site.as_str());
    let troubled =
        |copy: &ZoneAtSite| copy.state != CopyState::Current || copy.last_error.is_some();
    let small = copies().count() <= MOST_COPIES;
    copies()
        .filter(|(zone, copy)| troubled(copy) || (small && !is_primary(zone, copy)))
        .collect()
}

/// What fits on a screen under sites and zones.
const MOST_COPIES: usize = 40;
const MOST_TRANSFERS: usize = 20;
/// What is over sooner is over before it has been read.
const LONG_TRANSFER_SECS: u64 = 2;

fn check_line(check: &Check) -> String {
    let (word, colour) = match check.state {
        CheckState::Ok => ("ok", Colour::Green),
        CheckState::Unknown => ("unknown", Colour::Yellow),
        CheckState::Warning => ("warning", Colour::Yellow),
        CheckState::Critical => ("critical", Colour::Red),
    };
    let mut line = format!("{}: {}", output::paint(colour, word), check.message);
    if let Some(hint) = &check.hint {
        line.push_str(&format!("\n  → {hint}"));
    }
    line.push('\n');
    line
}

/// The sites, one a row.
pub(super) fn sites_table(sites: &[SiteStatus]) -> Table {
    let mut table = Table::new([
        "SITE",
        "ROLE",
        "ADDRESSES",
        "REACHABLE",
        "READY",
        "RTT",
        "ZONES",
        "NOTE",
    ]);
    let word = |value: Option<bool>| match value {
        Some(true) => ("yes".to_owned(), Colour::Green),
        Some(false) => ("no".to_owned(), Colour::Red),
        None => ("?".to_owned(), Colour::Yellow),
    };
    for site in sites {
        let reachable = if site.this {
            ("this".to_owned(), Colour::Plain)
        } else {
            word(site.reachable)
        };
        table.painted([
            (site.name.clone(), Colour::Bold),
            (site.role.clone(), Colour::Plain),
            (site.addresses.join(" "), Colour::Plain),
            reachable,
            word(site.ready),
            (
                or_dash(site.rtt_ms.map(|ms| format!("{ms} ms"))),
                Colour::Plain,
            ),
            (site.zones.to_string(), Colour::Plain),
            (site.error.clone().unwrap_or_default(), Colour::Red),
        ]);
    }
    table
}

/// Sites by zones: the serial where it is the newest, otherwise what is wrong.
fn grid(sites: &[SiteStatus], zones: &[ZoneStatus]) -> Table {
    let headings = ["ZONE".to_owned(), "PRIMARY".to_owned()]
        .into_iter()
        .chain(sites.iter().map(|site| site.name.to_uppercase()));
    let mut table = Table::new(headings);
    for zone in zones {
        let mut row = vec![
            (zone.zone.clone(), Colour::Bold),
            (or_dash(zone.primary.as_deref()), Colour::Plain),
        ];
        for site in sites {
            row.push(
                match zone.sites.iter().find(|copy| copy.site == site.name) {
                    Some(copy) => cell(copy),
                    None => ("-".to_owned(), Colour::Dim),
                },
            );
        }
        table.painted(row);
    }
    table
}

fn cell(copy: &ZoneAtSite) -> (String, Colour) {
    let serial = or_dash(copy.serial);
    match copy.state {
        CopyState::Current => (serial, Colour::Green),
        CopyState::Behind => (format!("{serial} behind"), Colour::Yellow),
        CopyState::Ahead => (format!("{serial} ahead"), Colour::Red),
        CopyState::Missing => ("missing".into(), Colour::Red),
        CopyState::Expired => ("expired".into(), Colour::Red),
        CopyState::Unknown => ("?".into(), Colour::Yellow),
    }
}

fn copies_table(copies: &[(&ZoneStatus, &ZoneAtSite)]) -> Table {
    let mut table = Table::new(COPY_HEADINGS);
    for (zone, copy) in copies {
        table.painted(copy_row(&zone.zone, copy));
    }
    table
}

const COPY_HEADINGS: [&str; 8] = [
    "ZONE",
    "SITE",
    "SERIAL",
    "AGE",
    "NEXT REFRESH",
    "EXPIRES IN",
    "TRANSPORT",
    "LAST ERROR",
];

fn copy_row(zone: &str, copy: &ZoneAtSite) -> [(String, Colour); 8] {
    let (serial, colour) = cell(copy);
    let time = |secs: Option<u64>| (or_dash(secs.map(duration)), Colour::Plain);
    [
        (zone.to_owned(), Colour::Plain),
        (copy.site.clone(), Colour::Plain),
        (serial, colour),
        time(copy.age_secs),
        time(copy.next_refresh_secs),
        time(copy.expires_in_secs),
        (or_dash(copy.transport.as_deref()), Colour::Plain),
        (copy.last_error.clone().unwrap_or_default(), Colour::Red),
    ]
}

/// What each source of a zone said that has not been of use since.
pub(super) fn errors_table(zone: &ZoneStatus) -> Option<Table> {
    let mut errors = zone.sites.iter().flat_map(|copy| &copy.errors).peekable();
    errors.peek()?;
    let mut table = Table::new(["SOURCE", "AT", "LAST ERROR"]);
    for error in errors {
        table.painted([
            (error.source.clone(), Colour::Plain),
            (
                or_dash(error.at.map(|at| format!("{at:.0}"))),
                Colour::Plain,
            ),
            (error.error.clone(), Colour::Red),
        ]);
    }
    Some(table)
}

/// One zone at every site, with every time.
pub(super) fn zone_table(zone: &ZoneStatus) -> Table {
    let copies: Vec<(&ZoneStatus, &ZoneAtSite)> =
        zone.sites.iter().map(|copy| (zone, copy)).collect();
    copies_table(&copies)
}
