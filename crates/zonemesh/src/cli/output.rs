//! How answers look: aligned tables, colours on a terminal alone, errors with a hint on standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use zonemesh_api::error::exit;
use zonemesh_api::types::{Changed, Difference, Finding, Receipt, Severity};

use super::{Failure, Outcome};

/// A colour, used where a word must not be overlooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Plain,
    Green,
    Yellow,
    Red,
    Bold,
    Dim,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
        }
    }

    fn paint(self, text: &str, colours: bool) -> String {
        if colours && self != Self::Plain {
            format!("{}{text}\x1b[0m", self.code())
        } else {
            text.to_owned()
        }
    }
}

/// Whether colours are wanted: a terminal, and no `NO_COLOR` (<https://no-color.org>).
pub(super) fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Colours for standard output.
pub(super) fn paint(colour: Colour, text: &str) -> String {
    colour.paint(text, colours(io::stdout().is_terminal()))
}

/// Prints an error and what to do about it on standard error.
pub(super) fn error(message: &str, hint: Option<&str>) {
    let colours = colours(io::stderr().is_terminal());
    let mut text = format!("{} {message}\n", Colour::Red.paint("error:", colours));
    if let Some(hint) = hint {
        text.push_str(&format!(
            "{} {hint}\n",
            Colour::Bold.paint("hint:", colours)
        ));
    }
    // When standard error is gone there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether the command line asks for JSON: then errors are JSON too, also those of the command line itself.
pub(super) fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    // What comes after `--` is data.
    let mut words = arguments.take_while(|word| word != "--");
    words.any(|word| word == "--json")
}

/// Prints an error as JSON on standard error: what failed, what to do (null where there is nothing to say), the exit code.
pub(super) fn error_json(message: &str, hint: Option<&str>, code: u8) {
    let error = serde_json::json!({ "message": message, "hint": hint, "code": code });
    // When standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{error}");
}

/// Prints on standard output. A reader that went away, as `head` does, ends the command quietly.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format!(
            "cannot write to standard output: {error}"
        ))),
        Ok(()) => Ok(()),
    }
}

/// Prints a line on standard output.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints a value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    line(&text)
}

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<(String, Colour)>>,
}

impl Table {
    pub(super) fn new<H: Into<String>>(headings: impl IntoIterator<Item = H>) -> Self {
        Self {
            headings: headings.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.painted(cells.into_iter().map(|cell| (cell.into(), Colour::Plain)));
    }

    pub(super) fn painted(&mut self, cells: impl IntoIterator<Item = (String, Colour)>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn render(&self, colours: bool) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, (cell, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let headings: Vec<(String, Colour)> = self
            .headings
            .iter()
            .map(|h| (h.clone(), Colour::Dim))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let last = row.len().saturating_sub(1);
            for (index, ((cell, colour), width)) in row.iter().zip(&widths).enumerate() {
                text.push_str(&colour.paint(cell, colours));
                if index < last {
                    let gap = width - cell.chars().count() + 2;
                    text.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        print(&self.render(colours(io::stdout().is_terminal())))
    }
}

/// Seconds as people say them: `45s`, `12m`, `3h05m`, `41d`.
pub(super) fn duration(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs}s"),
        120..7200 => format!("{}m", secs / 60),
        7200..172_800 => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d", secs / 86_400),
    }
}

/// A value, or a dash.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Prints a difference the way `diff` does.
pub(super) fn difference(difference: &Difference) -> Result<(), Failure> {
    let colours = colours(io::stdout().is_terminal());
    let serial = |serial: Option<u32>| or_dash(serial);
    let mut text = format!(
        "zone {} {} → {}\n",
        difference.zone,
        serial(difference.from),
        serial(difference.to)
    );
    let parts = [
        ('-', Colour::Red, &difference.removed),
        ('+', Colour::Green, &difference.added),
    ];
    for (sign, colour, records) in parts {
        for record in records {
            let shown = format!(
                "{sign} {} {} {} {}",
                record.name, record.ttl, record.rtype, record.data
            );
            text.push_str(&colour.paint(&shown, colours));
            text.push('\n');
        }
    }
    if difference.removed.is_empty() && difference.added.is_empty() {
        text.push_str("no difference\n");
    }
    print(&text)
}

/// Prints findings, one a line, and says whether one is an error.
pub(super) fn findings(findings: &[Finding]) -> Result<bool, Failure> {
    let colours = colours(io::stdout().is_terminal());
    let mut text = String::new();
    for finding in findings {
        if let Some(file) = &finding.file {
            text.push_str(file);
            for number in [finding.line, finding.column].into_iter().flatten() {
                text.push_str(&format!(":{number}"));
            }
            text.push_str(": ");
        }
        let word = match finding.severity {
            Severity::Error => Colour::Red.paint("error:", colours),
            Severity::Warning => Colour::Yellow.paint("warning:", colours),
        };
        text.push_str(&format!("{word} zone {}", finding.zone));
        // At the apex the zone has been named already.
        let name = finding.name.as_ref().filter(|name| **name != finding.zone);
        for part in [name, finding.rtype.as_ref()].into_iter().flatten() {
            text.push(' ');
            text.push_str(part);
        }
        text.push_str(&format!(": {}\n", finding.message));
    }
    print(&text)?;
    Ok(findings
        .iter()
        .any(|finding| finding.severity == Severity::Error))
}

/// Prints what a change came to, and gives the exit code.
pub(super) fn changed(changed: &Changed, as_json: bool, done: &str) -> Outcome {
    if as_json {
        json(changed)?;
        return Ok(changed_code(changed));
    }
    findings(&changed.findings)?;
    if let Some(part) = &changed.difference {
        difference(part)?;
    }
    match (&changed.held, changed.changed, changed.serial) {
        (Some(held), _, _) => {
            error(
                &format!("held by the brake: {}", would_go(held)),
                Some(&format!(
                    "look with `zonemesh plan show`, then `zonemesh plan approve {0}` or `zonemesh plan decline {0}`",
                    held.id
                )),
            );
        }
        (None, true, Some(serial)) => line(&format!("{done} (serial {serial})"))?,
        (None, true, None) => line(done)?,
        (None, false, _) => line("nothing changed")?,
    }
    if let Some(part) = &changed.receipt {
        receipt(part)?;
    }
    for note in &changed.notes {
        line(&format!("note: {note}"))?;
    }
    Ok(changed_code(changed))
}

pub(super) fn changed_code(changed: &Changed) -> u8 {
    if changed.held.is_some() {
        exit::HELD
    } else if changed
        .receipt
        .as_ref()
        .is_some_and(|receipt| !receipt.complete())
    {
        exit::NOT_EVERYWHERE
    } else {
        exit::DONE
    }
}

fn receipt(receipt: &Receipt) -> Result<(), Failure> {
    let mut table = Table::new(["SITE", "SERVES IT", "AFTER", "WHY NOT"]);
    for site in &receipt.sites {
        let (word, colour) = if site.serving {
            ("yes", Colour::Green)
        } else {
            ("no", Colour::Red)
        };
        table.painted([
            (site.site.clone(), Colour::Plain),
            (word.to_owned(), colour),
            (
                or_dash(site.after_ms.map(|ms| format!("{ms} ms"))),
                Colour::Plain,
            ),
            (site.reason.clone().unwrap_or_default(), Colour::Plain),
        ]);
    }
    table.print()
}

/// Why something is held, and what would go.
pub(super) fn would_go(held: &zonemesh_api::types::Held) -> String {
    let mut text = held.reason.clone();
    for one in &held.removed {
        text += &format!("\n  - {one}");
    }
    if held.more > 0 {
        text += &format!("\n  and {} more", held.more);
    }
    text
}
