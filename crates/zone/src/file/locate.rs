//! Finds the lines that the findings of the semantic checks are about.
//!
//! A zone does not remember where its records stood: that would cost every zone, and only bad ones need it. So the
//! files are read once more when there is something to say.

use std::collections::HashMap;
use std::io;

use super::parse::{Limits, Parser, Sink};
use super::report::{Place, Report};
use crate::finding::Finding;
use crate::version::NameRef;
use crate::{Key, Name, Rtype, Ttl};

/// The place of the first record of each owner name and type that is asked for.
struct Locator {
    places: HashMap<(Vec<u8>, Rtype), Option<Place>>,
    missing: usize,
}

/// Adds findings with the places of their records.
pub(super) fn add(
    report: &mut Report,
    findings: Vec<Finding>,
    opener: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>,
    path: &str,
    apex: Option<&Name>,
    limits: Limits,
) {
    let places: HashMap<_, _> = findings
        .iter()
        .filter_map(|finding| Some((record_of(finding)?, None)))
        .collect();
    if places.is_empty() {
        findings
            .into_iter()
            .for_each(|finding| report.adopt(finding));
        return;
    }
    let missing = places.len();
    let mut parser = Parser::new(opener, apex, Locator { places, missing }, limits);
    // The file was read a moment ago; when it has gone since, the findings stand without their places.
    if parser.file(path).is_err() {
        parser.sink.places.clear();
    }
    for mut finding in findings {
        let place = record_of(&finding).and_then(|record| *parser.sink.places.get(&record)?);
        if let Some(place) = place {
            finding = finding.at(
                parser.report.file_name(place.file),
                place.line,
                place.column,
            );
        }
        report.adopt(finding);
    }
}

fn record_of(finding: &Finding) -> Option<(Vec<u8>, Rtype)> {
    let owner = finding.owner.as_ref()?;
    Some((Key::of(owner).as_slice().to_vec(), finding.rtype?))
}

impl Sink for Locator {
    fn record(
        &mut self,
        place: Place,
        owner: &NameRef,
        rtype: Rtype,
        _ttl: Ttl,
        _rdata: &[u8],
        _report: &mut Report,
    ) {
        if self.missing == 0 {
            return;
        }
        let record = (Key::from_wire(owner.as_slice()).as_slice().to_vec(), rtype);
        if let Some(found @ None) = self.places.get_mut(&record) {
            *found = Some(place);
            self.missing -= 1;
        }
    }
}
