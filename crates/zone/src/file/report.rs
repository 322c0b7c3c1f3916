//! Collects findings, and stops when there are too many to be of use.

use std::collections::BTreeMap;

use crate::Name;
use crate::finding::{Finding, Kind, Severity};

/// After so many errors nobody reads on; the first one is often the cause of the others.
const MOST_ERRORS: usize = 20;
/// So many warnings of a kind are listed; the others are counted.
const MOST_WARNINGS: usize = 20;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The number that [`Report::add_file`] gave.
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    errors: usize,
    /// Whether an error came from elsewhere, where it was counted.
    failed: bool,
    warnings: BTreeMap<Kind, usize>,
    /// The names of the files, as they were opened.
    files: Vec<String>,
    /// The zone, once it is known.
    pub(crate) zone: Option<Name>,
}

impl Report {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.add_if_listed(finding.severity, finding.kind, || finding);
    }

    /// Adds a finding, which is made only if it is to be listed: there may be one for each record of a large zone.
    pub(crate) fn add_if_listed(
        &mut self,
        severity: Severity,
        kind: Kind,
        make: impl FnOnce() -> Finding,
    ) {
        if self.is_full() {
            return;
        }
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => {
                let count = self.warnings.entry(kind).or_default();
                *count += 1;
                if *count > MOST_WARNINGS {
                    return;
                }
            }
        }
        let mut finding = make();
        if finding.zone.is_none() {
            finding.zone = self.zone.clone();
        }
        self.findings.push(finding);
    }

    pub(crate) fn add_at(&mut self, place: Place, finding: Finding) {
        let file = self.file_name(place.file);
        let finding = finding.at(file, place.line, place.column);
        self.add(finding);
    }

    /// Whether there are so many errors that reading on is of no use.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= MOST_ERRORS
    }

    /// Whether the zone must not be served.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0 || self.failed
    }

    /// Adds a finding of another report, which has cut its list short already.
    pub(crate) fn adopt(&mut self, finding: Finding) {
        self.failed |= finding.is_error();
        self.findings.push(finding);
    }

    /// Notes a file; its number goes into each [`Place`] in it.
    pub(crate) fn add_file(&mut self, name: &str) -> u32 {
        let number = match self.files.iter().position(|known| known == name) {
            Some(number) => number,
            None => {
                self.files.push(name.to_owned());
                self.files.len() - 1
            }
        };
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    pub(crate) fn file_name(&self, number: u32) -> &str {
        self.files.get(number as usize).map_or("", String::as_str)
    }

    /// The findings, with a sentence about those that were left out.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        let zone = self.zone.clone();
        let mut add = |severity, kind, message: String| {
            let mut finding = Finding::new(severity, kind, message);
            finding.zone = zone.clone();
            self.findings.push(finding);
        };
        for (kind, count) in &self.warnings {
            if *count > MOST_WARNINGS {
                let message = format!(
                    "{} more warnings of this kind ({kind:?})",
                    count - MOST_WARNINGS
                );
                add(Severity::Warning, *kind, message);
            }
        }
        if self.errors >= MOST_ERRORS {
            add(
                Severity::Error,
                Kind::TooMany,
                format!("{MOST_ERRORS} errors; the rest was not looked at"),
            );
        }
        self.findings
    }
}
