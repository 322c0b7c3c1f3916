//! Zone files: the reader and the writer (RFC 1035 §5, RFC 2308 §4, RFC 3597 §5, RFC 9460 appendix A).
//!
//! The reader knows `$ORIGIN`, `$TTL`, `$INCLUDE` and BIND's `$GENERATE`. Entries and tokens are ours, so that every
//! complaint has its file, line and column, and one error does not hide the next; the data of the rarer types is read
//! by `domain`. What it deliberately does not do: open a file (the caller does), take classes other than IN, or go on
//! with a string that has no end.
//!
//! ```text
//! octets ─ token ─ entries ─ parse ─ records ─ gather ─ build ─ Zone ─ check
//!                              │  └ scan, name, rdata, svcb, ttl
//!                              └ generate, files that are included
//! ```

mod build;
mod gather;
mod generate;
mod name;
mod parse;
mod rdata;
pub(crate) mod report;
mod scan;
mod svcb;
mod token;
pub mod ttl;
mod write;

use std::io;

use self::build::Builder;
use self::parse::{Limits, Parser};
use self::report::Report;
pub use self::write::{rdata_text, write, write_record};
use crate::check::check;
use crate::finding::{Finding, Kind, Severity};
use crate::{Name, Record, Ttl, Zone};

/// What came of reading a zone file.
#[derive(Debug)]
pub struct Loaded {
    /// The zone; `None` exactly when there is an error among the findings.
    pub zone: Option<Zone>,
    /// What is wrong and what is doubtful, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// How many records the files had, duplicates included.
    pub records: usize,
}

/// Reads a zone from a file and from those that it includes, and checks it.
///
/// The opener is given each path as it was written, relative ones joined to the folder of the including file, and
/// returns the file's octets. Without an apex the zone is that of the first SOA record, and relative names need an
/// `$ORIGIN` before them.
///
/// Reading goes on after an error, so that the findings show all that is to be corrected, up to a limit.
pub fn read(
    opener: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>,
    path: &str,
    apex: Option<&Name>,
) -> Loaded {
    read_within(opener, path, apex, Limits::default())
}

fn read_within(
    opener: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>,
    path: &str,
    apex: Option<&Name>,
    limits: Limits,
) -> Loaded {
    let (zone, builder, mut report) = read_unchecked(opener, path, apex, limits);
    if let Some(zone) = &zone {
        builder.add_with_places(check(zone), &mut report);
    }
    Loaded {
        zone: zone.filter(|_| !report.has_errors()),
        findings: report.finish(),
        records: builder.records(),
    }
}

/// Reads a zone that the semantic checks have not seen.
fn read_unchecked(
    opener: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>,
    path: &str,
    apex: Option<&Name>,
    limits: Limits,
) -> (Option<Zone>, Builder, Report) {
    let mut parser = Parser::new(opener, apex, Builder::new(apex), limits);
    if let Err(message) = parser.file(path) {
        parser
            .report
            .add(Finding::new(Severity::Error, Kind::File, message));
    }
    let Parser {
        sink: mut builder,
        mut report,
        ..
    } = parser;
    // When a record could not be read, it would be guesswork to say what is missing.
    let zone = match report.has_errors() {
        true => None,
        false => builder.finish(path, &mut report),
    };
    (zone.filter(|_| !report.has_errors()), builder, report)
}

/// Reads one record, such as `www 3600 IN A 192.0.2.1`; without a TTL it gets the default.
///
/// # Errors
///
/// When the text is not exactly one record: the first thing that is wrong, with line and column within the text.
pub fn read_record(text: &str, origin: &Name, default_ttl: Ttl) -> Result<Record, Box<Finding>> {
    let refuse = |message: &str| {
        let finding = Finding::new(Severity::Error, Kind::Record, message);
        Err(Box::new(finding))
    };
    if text.trim_start().starts_with('$') {
        return refuse("a directive; expected one record, such as `www 3600 IN A 192.0.2.1`");
    }
    let mut open = |_: &str| Ok(text.as_bytes().to_vec());
    let mut parser = Parser::new(&mut open, Some(origin), Vec::new(), Limits::default());
    parser.set_default_ttl(default_ttl);
    // The opener above opens everything, and nothing is included.
    if let Err(message) = parser.file("") {
        return refuse(&message);
    }
    let Parser {
        mut sink, report, ..
    } = parser;
    if let Some(error) = report.finish().into_iter().find(Finding::is_error) {
        return Err(Box::new(error));
    }
    match (sink.pop(), sink.pop()) {
        (Some(record), None) => Ok(record),
        (None, _) => refuse("nothing; expected one record, such as `www 3600 IN A 192.0.2.1`"),
        (Some(_), Some(_)) => refuse("more than one record; expected one"),
    }
}

/// Reads a zone that only has to be well-formed, for tests.
pub(crate) fn read_without_checks(text: &[u8], apex: &Name) -> Option<Zone> {
    let mut open = |_: &str| Ok(text.to_vec());
    read_unchecked(&mut open, "", Some(apex), Limits::default()).0
}

/// What the fuzzer and the property tests do with octets: they must not make the reader panic, and a zone that comes
/// of them must be the same after it was written and read again.
#[doc(hidden)]
pub fn fuzz_read(data: &[u8]) {
    let Ok(apex) = crate::record::parse_name("example.com") else {
        return;
    };
    let limits = Limits {
        depth: 3,
        files: 10,
        generated: 300,
    };
    fn read(data: &[u8], apex: Option<&Name>, limits: Limits) -> Loaded {
        read_within(&mut |_| Ok(data.to_vec()), "fuzz.zone", apex, limits)
    }
    for apex in [Some(&apex), None] {
        let Some(zone) = read(data, apex, limits).zone else {
            continue;
        };
        let mut text = Vec::new();
        write(&zone, &mut text).expect("a vector takes everything");
        let again = read(&text, Some(zone.apex()), limits);
        let same = again.zone.is_some_and(|again| again.same_contents(&zone));
        assert!(same, "{:?}\n{}", again.findings, text.escape_ascii());
    }
}

#[cfg(test)]
mod tests;
