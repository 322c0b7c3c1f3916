//! Makes a zone of the records that a zone file has, and notes what does not fit.

use bytes::Bytes;

use super::parse::Sink;
use super::report::{Place, Report};
use crate::finding::{Finding, Kind, Severity};
use crate::{Editor, Name, Rrset, Rtype, Ttl, Zone};

/// Collects records into an [`Editor`], an RRset at a time.
pub(super) struct Builder {
    editor: Option<Editor>,
    /// Records that came before the SOA, when only that tells which zone it is.
    waiting: Vec<(Place, Name, Rtype, Ttl, Bytes)>,
    soa: Option<(Place, Bytes)>,
    run: Option<Run>,
    records: usize,
}

/// Records of one RRset that came one after the other.
struct Run {
    place: Place,
    owner: Name,
    rtype: Rtype,
    ttl: Ttl,
    data: Vec<u8>,
    ends: Vec<usize>,
    /// Whether a difference of TTLs was reported.
    differs: bool,
}

impl Builder {
    pub(super) fn new(apex: Option<&Name>) -> Self {
        Self {
            editor: apex.cloned().map(Editor::new),
            waiting: Vec::new(),
            soa: None,
            run: None,
            records: 0,
        }
    }

    /// How many records were taken; one that came twice counts twice.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Makes the zone.
    pub(super) fn finish(mut self, path: &str, report: &mut Report) -> Option<Zone> {
        self.flush(report);
        let Some(editor) = self.editor.filter(|_| self.soa.is_some()) else {
            let mut finding = Finding::new(
                Severity::Error,
                Kind::Soa,
                "no SOA record; expected one at the zone's apex, such as `@ 3600 IN SOA ns1 hostmaster 1 3600 600 604800 300`",
            );
            finding.file = Some(path.to_owned());
            report.add(finding);
            return None;
        };
        match editor.finish() {
            Ok(zone) => Some(zone),
            Err(error) => {
                report.add(Finding::new(Severity::Error, Kind::Soa, error.to_string()));
                None
            }
        }
    }

    fn take(
        &mut self,
        place: Place,
        owner: &Name,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
        report: &mut Report,
    ) {
        self.records += 1;
        if let Some(run) = &mut self.run
            && run.rtype == rtype
            && run.owner == *owner
        {
            if run.ttl != ttl && !run.differs {
                run.differs = true;
                report.add_at(place, ttl_differs(owner, rtype, run.ttl, ttl));
            }
            run.data.extend_from_slice(rdata);
            run.ends.push(run.data.len());
            return;
        }
        let (mut data, mut ends) = match self.flush(report) {
            Some(run) => (run.data, run.ends),
            None => (Vec::new(), Vec::new()),
        };
        data.clear();
        ends.clear();
        data.extend_from_slice(rdata);
        ends.push(data.len());
        self.run = Some(Run {
            place,
            owner: owner.clone(),
            rtype,
            ttl,
            data,
            ends,
            differs: false,
        });
    }

    /// Puts the run into the zone; gives it back so that its buffers can be used again.
    fn flush(&mut self, report: &mut Report) -> Option<Run> {
        let run = self.run.take()?;
        let editor = self.editor.as_mut()?;
        let mut start = 0;
        let new = run.ends.iter().map(|&end| {
            let rdata = &run.data[start..end];
            start = end;
            rdata
        });
        let set = match editor.rrset(&run.owner, run.rtype) {
            None => Rrset::new(run.rtype, run.ttl, new),
            Some(old) => {
                if old.ttl() != run.ttl && !run.differs {
                    report.add_at(
                        run.place,
                        ttl_differs(&run.owner, run.rtype, old.ttl(), run.ttl),
                    );
                }
                Rrset::new(run.rtype, old.ttl(), old.iter().chain(new))
            }
        };
        if let Err(error) = editor.put(&run.owner, set) {
            report.add_at(
                run.place,
                Finding::new(Severity::Error, Kind::Record, error.to_string())
                    .about(&run.owner, run.rtype),
            );
        }
        Some(run)
    }

    /// Whether a record may be in the zone; says why not.
    fn admit(
        &mut self,
        place: Place,
        owner: &Name,
        rtype: Rtype,
        rdata: &[u8],
        report: &mut Report,
    ) -> bool {
        let Some(apex) = self.editor.as_ref().map(Editor::apex) else {
            return false;
        };
        if rtype == Rtype::SOA {
            let complaint = if owner != apex {
                "an SOA record that is not at the zone's apex; a zone has exactly one, remove this one or check the zone's name"
            } else if let Some((_, first)) = &self.soa {
                if first == rdata {
                    return true;
                }
                "a second SOA record with other data; a zone has exactly one, remove one of them"
            } else {
                self.soa = Some((place, Bytes::copy_from_slice(rdata)));
                return true;
            };
            report.add_at(
                place,
                Finding::new(Severity::Error, Kind::Soa, complaint).about(owner, rtype),
            );
            return false;
        }
        if !owner.ends_with(apex) {
            let message = format!(
                "outside of the zone {apex}, so it was left out; end relative names without a dot, or check $ORIGIN"
            );
            report.add_at(
                place,
                Finding::new(Severity::Warning, Kind::OutOfZone, message).about(owner, rtype),
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
        owner: &Name,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
        report: &mut Report,
    ) {
        if self.editor.is_none() {
            if rtype != Rtype::SOA {
                let rdata = Bytes::copy_from_slice(rdata);
                self.waiting.push((place, owner.clone(), rtype, ttl, rdata));
                return;
            }
            self.editor = Some(Editor::new(owner.clone()));
            report.zone = Some(owner.clone());
            for (place, owner, rtype, ttl, rdata) in std::mem::take(&mut self.waiting) {
                self.record(place, &owner, rtype, ttl, &rdata, report);
            }
        }
        if self.admit(place, owner, rtype, rdata, report) {
            self.take(place, owner, rtype, ttl, rdata, report);
        }
    }
}

fn ttl_differs(owner: &Name, rtype: Rtype, first: Ttl, other: Ttl) -> Finding {
    let (first, other) = (first.as_secs(), other.as_secs());
    Finding::new(
        Severity::Warning,
        Kind::Ttl,
        format!("TTL {other} where the RRset has {first} already; the first one is used for all (RFC 2181 §5.2)"),
    )
    .about(owner, rtype)
}
