//! Makes a zone of the records that a zone file has, and notes what does not fit.

use bytes::Bytes;

use super::gather::{Entry, Gathered};
use super::parse::Sink;
use super::report::{Place, Report};
use crate::finding::{Finding, Kind, Severity};
use crate::version::{NameRef, is_at_or_below, owned};
use crate::{Editor, Name, Rtype, Ttl, Zone};

/// Collects records, makes the zone when all are there, and knows where they stood.
pub(super) struct Builder {
    zone: Option<Gathered>,
    /// Records that came before the SOA, when only that tells which zone it is.
    waiting: Vec<(Place, Name, Rtype, Ttl, Bytes)>,
    soa: Option<Bytes>,
    records: usize,
}

impl Builder {
    pub(super) fn new(apex: Option<&Name>) -> Self {
        Self {
            zone: apex.map(Gathered::new),
            waiting: Vec::new(),
            soa: None,
            records: 0,
        }
    }

    /// How many records were taken; one that came twice counts twice.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Makes the zone.
    pub(super) fn finish(&mut self, path: &str, report: &mut Report) -> Option<Zone> {
        let Some(gathered) = self.zone.as_mut().filter(|_| self.soa.is_some()) else {
            let mut finding = Finding::new(
                Severity::Error,
                Kind::Soa,
                "no SOA record; expected one at the zone's apex, such as `@ 3600 IN SOA ns1 hostmaster 1 3600 600 604800 300`",
            );
            finding.file = Some(path.to_owned());
            report.add(finding);
            return None;
        };
        let mut editor = Editor::new(gathered.apex().clone());
        let mut found = Vec::new();
        let mut joined = Vec::new();
        gathered.in_order(|owner, entries| {
            put(&mut editor, owner, entries, &mut joined, &mut found);
        });
        found.sort_by_key(|(place, _)| (place.file, place.line, place.column));
        for (place, finding) in found {
            report.add_at(place, finding);
        }
        match editor.finish() {
            Ok(zone) => Some(zone),
            Err(error) => {
                report.add(Finding::new(Severity::Error, Kind::Soa, error.to_string()));
                None
            }
        }
    }

    /// Adds what the checks have found in the zone, with where the records stood that it is about.
    pub(super) fn add_with_places(&self, findings: Vec<Finding>, report: &mut Report) {
        for mut finding in findings {
            let record = finding.owner.as_ref().zip(finding.rtype);
            let place =
                record.and_then(|(owner, rtype)| self.zone.as_ref()?.place_of(owner, rtype));
            if let Some(place) = place {
                let file = report.file_name(place.file);
                finding = finding.at(file, place.line, place.column);
            }
            report.adopt(finding);
        }
    }

    /// Whether a record may be in the zone; says why not.
    fn admit(
        &mut self,
        place: Place,
        owner: &NameRef,
        rtype: Rtype,
        rdata: &[u8],
        report: &mut Report,
    ) -> bool {
        let Some(apex) = self.zone.as_ref().map(Gathered::apex) else {
            return false;
        };
        if rtype == Rtype::SOA {
            let complaint = if owner != apex {
                "an SOA record that is not at the zone's apex; a zone has exactly one, remove this one or check the zone's name"
            } else if let Some(first) = &self.soa {
                if first == rdata {
                    return true;
                }
                "a second SOA record with other data; a zone has exactly one, remove one of them"
            } else {
                self.soa = Some(Bytes::copy_from_slice(rdata));
                return true;
            };
            report.add_at(
                place,
                Finding::new(Severity::Error, Kind::Soa, complaint).about(&owned(owner), rtype),
            );
            return false;
        }
        if !is_at_or_below(owner.as_slice(), apex.as_slice()) {
            let message = format!(
                "outside of the zone {apex}, so it was left out; end relative names without a dot, or check $ORIGIN"
            );
            report.add_at(
                place,
                Finding::new(Severity::Warning, Kind::OutOfZone, message)
                    .about(&owned(owner), rtype),
            );
            return false;
        }
        true
    }
}

impl Sink for Builder {
    fn record(
        &mut self,
        place: Place,
        owner: &NameRef,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
        report: &mut Report,
    ) {
        if self.zone.is_none() {
            if rtype != Rtype::SOA {
                let rdata = Bytes::copy_from_slice(rdata);
                self.waiting.push((place, owned(owner), rtype, ttl, rdata));
                return;
            }
            let apex = owned(owner);
            self.zone = Some(Gathered::new(&apex));
            report.zone = Some(apex);
            for (place, owner, rtype, ttl, rdata) in std::mem::take(&mut self.waiting) {
                self.record(place, owner.for_slice(), rtype, ttl, &rdata, report);
            }
        }
        if !self.admit(place, owner, rtype, rdata, report) {
            return;
        }
        self.records += 1;
        let Some(gathered) = &mut self.zone else {
            return;
        };
        if let Some(first) = gathered.push(place, owner, rtype, ttl, rdata) {
            report.add_at(place, ttl_differs(owner, rtype, first, ttl));
        }
    }
}

/// Puts all records of a name and type into the zone; `joined` is room for their data.
fn put(
    editor: &mut Editor,
    owner: &NameRef,
    entries: &[Entry<'_>],
    joined: &mut Vec<u8>,
    found: &mut Vec<(Place, Finding)>,
) {
    let [first, others @ ..] = entries else {
        return;
    };
    let (rtype, ttl) = (first.rtype, first.ttl);
    let mut data = first.data;
    if !others.is_empty() {
        joined.clear();
        for entry in entries {
            joined.extend_from_slice(entry.data);
        }
        data = joined;
    }
    for other in others {
        if other.ttl != ttl && !other.differs {
            found.push((other.place, ttl_differs(owner, rtype, ttl, other.ttl)));
        }
    }
    if let Err(error) = editor.put_octets(owner, rtype, ttl, data) {
        let finding = Finding::new(Severity::Error, Kind::Record, error.to_string());
        found.push((first.place, finding.about(&owned(owner), rtype)));
    }
}

fn ttl_differs(owner: &NameRef, rtype: Rtype, first: Ttl, other: Ttl) -> Finding {
    let (first, other) = (first.as_secs(), other.as_secs());
    Finding::new(
        Severity::Warning,
        Kind::Ttl,
        format!("TTL {other} where the RRset has {first} already; the first one is used for all (RFC 2181 §5.2)"),
    )
    .about(&owned(owner), rtype)
}
