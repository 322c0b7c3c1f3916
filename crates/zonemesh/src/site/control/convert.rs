//! Between the API's words and the product's types.

use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core;
use zonemesh_zone::record::canonical_text;
use zonemesh_zone::{Diff, Name, Rcode, Record, Rtype};

use crate::site::clock::timestamp;

/// A name as the API writes it: absolute, in lower case.
pub(super) fn name_text(name: &Name) -> String {
    canonical_text(name)
}

/// The name of a zone that somebody typed.
pub(super) fn zone_name(text: &str) -> Result<Name, ApiError> {
    zonemesh_zone::record::parse_name(text).map_err(ApiError::invalid)
}

/// An owner name that somebody typed: `@` is the apex, a name without a final dot is below it unless it ends in it.
pub(super) fn owner_name(text: &str, apex: &Name) -> Result<Name, ApiError> {
    if text == "@" {
        return Ok(apex.clone());
    }
    if text.ends_with('.') {
        return zone_name(text);
    }
    let absolute = zone_name(text)?;
    if absolute.ends_with(apex) {
        return Ok(absolute);
    }
    let relative = absolute.as_slice();
    let wire: Vec<u8> = relative[..relative.len() - 1]
        .iter()
        .chain(apex.as_slice())
        .copied()
        .collect();
    Name::from_octets(wire.into()).map_err(|_| {
        ApiError::invalid(format!(
            "`{text}` below {apex} is longer than a name may be"
        ))
    })
}

/// A type that somebody typed.
pub(super) fn rtype(text: &str) -> Result<Rtype, ApiError> {
    text.to_ascii_uppercase().parse().map_err(|_| {
        ApiError::invalid(format!("`{text}` is not a record type"))
            .hint("write it as A, TXT, or TYPE65280 for one without a name")
    })
}

pub(super) fn record_text(record: &Record) -> api::RecordText {
    api::RecordText {
        name: name_text(&record.owner),
        ttl: record.ttl.as_secs(),
        rtype: record.rtype.to_string(),
        data: record.rdata_text(),
    }
}

pub(super) fn difference(apex: &Name, diffs: &[Diff]) -> api::Difference {
    // Several steps are shown as one: what a later one undoes is not shown.
    let mut removed: Vec<Record> = Vec::new();
    let mut added: Vec<Record> = Vec::new();
    for diff in diffs {
        for record in &diff.removed {
            match added.iter().position(|have| have == record) {
                Some(at) => {
                    added.remove(at);
                }
                None => removed.push(record.clone()),
            }
        }
        for record in &diff.added {
            match removed.iter().position(|have| have == record) {
                Some(at) => {
                    removed.remove(at);
                }
                None => added.push(record.clone()),
            }
        }
    }
    api::Difference {
        zone: name_text(apex),
        from: diffs
            .first()
            .and_then(Diff::serials)
            .map(|(from, _)| from.into_int()),
        to: diffs
            .last()
            .and_then(Diff::serials)
            .map(|(_, to)| to.into_int()),
        removed: removed.iter().map(record_text).collect(),
        added: added.iter().map(record_text).collect(),
    }
}

pub(super) fn receipt(receipt: &core::Receipt) -> api::Receipt {
    api::Receipt {
        zone: name_text(&receipt.apex),
        serial: receipt.serial.into_int(),
        sites: receipt
            .sites
            .iter()
            .map(|(site, state)| api::ReceiptSite {
                site: site.to_string(),
                serving: state.is_ok(),
                after_ms: state.as_ref().ok().map(|after| after.as_millis() as u64),
                reason: state.as_ref().err().cloned(),
            })
            .collect(),
    }
}

pub(super) fn refusal(rcode: Rcode, reason: String) -> ApiError {
    let kind = match rcode {
        Rcode::NOTAUTH | Rcode::REFUSED => ErrorKind::Refused,
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, reason)
}

/// An error in a zone as the message of a refusal, which is shown after the word `error` anyway.
pub(super) fn fault(finding: &zonemesh_zone::finding::Finding) -> String {
    let text = finding.to_string();
    match text.strip_prefix("error: ") {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

pub(super) fn finding(finding: &zonemesh_zone::finding::Finding) -> api::Finding {
    use zonemesh_zone::finding::Severity;
    api::Finding {
        severity: match finding.severity {
            Severity::Error => api::Severity::Error,
            Severity::Warning => api::Severity::Warning,
        },
        file: finding.file.clone(),
        line: finding.line,
        column: finding.column,
        zone: finding.zone.as_ref().map(name_text).unwrap_or_default(),
        name: finding.owner.as_ref().map(name_text),
        rtype: finding.rtype.map(|rtype| rtype.to_string()),
        message: finding.message.clone(),
    }
}

/// What the core tells the user, in the API's words; none for what has no place there.
pub(crate) fn event(happening: &core::Happening) -> api::What {
    use core::Happening as H;
    let warning =
        |apex: Option<&Name>, peer: Option<&core::PeerId>, message: String| api::What::Warning {
            message,
            zone: apex.map(name_text),
            peer: peer.map(ToString::to_string),
        };
    match happening {
        H::SiteJoined(name) => api::What::SiteJoined {
            name: name.to_string(),
        },
        H::SiteLeft(name) => api::What::SiteLeft {
            name: name.to_string(),
        },
        H::SiteChanged(name) => api::What::SiteChanged {
            name: name.to_string(),
        },
        H::ZoneLearnt { apex, serial, from } => api::What::ZoneLearnt {
            zone: name_text(apex),
            primary: Some(from.to_string()),
            serial: Some(serial.into_int()),
        },
        H::ZoneTransferred {
            apex, serial, from, ..
        } => api::What::Published {
            zone: name_text(apex),
            serial: serial.into_int(),
            from: Some(from.to_string()),
        },
        H::ZoneChanged { apex, serial } => api::What::Published {
            zone: name_text(apex),
            serial: serial.into_int(),
            from: None,
        },
        H::ZoneRemoved(apex) => api::What::ZoneRemoved {
            zone: name_text(apex),
        },
        H::ServedEverywhere {
            apex,
            serial,
            after,
            sites,
        } => api::What::ServedEverywhere {
            zone: name_text(apex),
            serial: serial.into_int(),
            sites: *sites as u64,
            after_ms: after.as_millis() as u64,
        },
        H::TransferFailed {
            apex,
            from,
            message,
        } => warning(
            Some(apex),
            Some(from),
            format!(
                "{apex} could not be had from any source; of {from}, the first that failed: {message}"
            ),
        ),
        H::PeerLost { peer, message } => api::What::PeerLost {
            peer: peer.to_string(),
            reason: message.clone(),
        },
        H::PeerBack { peer, after } => api::What::Healed {
            subject: format!("peer {peer}"),
            after_secs: after.as_secs(),
        },
        H::PeerAhead {
            apex,
            peer,
            theirs,
            ours,
        } => warning(
            Some(apex),
            Some(peer),
            format!(
                "{peer} has serial {theirs} of {apex}, this site, its primary, only {ours}: publishing a greater one"
            ),
        ),
        H::ContentsDiffer { apex, peer, serial } => warning(
            Some(apex),
            Some(peer),
            format!(
                "{peer} has other contents of {apex} under serial {serial} than this site: those of the zone's primary are right"
            ),
        ),
        H::ContentsReplaced { apex, from, serial } => warning(
            Some(apex),
            Some(from),
            format!(
                "what was held of {apex} under serial {serial} was replaced by what {from} has under it"
            ),
        ),
        H::Recovered {
            apex,
            from,
            before,
            theirs,
            serial,
        } => warning(
            Some(apex),
            Some(from),
            match before {
                None => format!(
                    "this site, the primary of {apex}, had lost its copy and has taken serial {theirs} from {from}; it serves {serial}"
                ),
                Some(before) => format!(
                    "this site, the primary of {apex}, had an old copy, serial {before}, and has taken serial {theirs} from {from}; \
                     it serves {serial}, with what was changed here meanwhile"
                ),
            },
        ),
        H::WriterChanged { writer, epoch } => warning(
            None,
            Some(&core::PeerId::Site(writer.clone())),
            format!("{writer} writes directory and catalog from now on, in epoch {epoch}"),
        ),
        H::OtherWriter {
            apex,
            peer,
            message,
        } => warning(
            Some(apex),
            Some(peer),
            format!("{peer} has a version of {apex} that is not taken: {message}"),
        ),
        H::SetAside { apex, id, changes } => warning(
            Some(apex),
            None,
            format!(
                "another site is the primary of {apex} now; {changes} RRsets that this site had written, or had from the one before, are not in its \
                 history and are kept: \
                 `zonemesh site yielded show {id}`"
            ),
        ),
        H::Expired(apex) => warning(
            Some(apex),
            None,
            format!(
                "{apex} has expired: no source could be reached for as long as its SOA allows; it is not answered"
            ),
        ),
        H::HalfExpired(apex) => warning(
            Some(apex),
            None,
            format!("{apex} could not be refreshed for half of its expire time"),
        ),
        H::Healed(apex) => api::What::Healed {
            subject: format!("zone {apex}"),
            after_secs: 0,
        },
        H::Held { hash, message } => api::What::Held {
            id: hash.clone(),
            reason: message.clone(),
        },
        H::Blocked(message) => warning(None, None, message.clone()),
        H::ClockWrong(fault) => warning(None, fault.peer(), fault.to_string()),
        H::ClocksAgree => api::What::Healed {
            subject: "the clocks of the sites".to_owned(),
            after_secs: 0,
        },
        H::ClockSet { by_secs } => warning(
            None,
            None,
            format!(
                "this host's clock was set by {by_secs:+} s, or the host slept: zones are served on, their ages are counted by the time that passed"
            ),
        ),
        H::ClockSetBack { by_secs } => warning(
            None,
            None,
            format!(
                "by this host's clock it is {by_secs} s earlier than when its disk last noted a time: the clock was set back while the site was down, or was ahead before; zones are served on, and no other site is granted time for them until a source has confirmed them"
            ),
        ),
        H::CommitFailed { zones, message } => {
            let zones: Vec<String> = zones.iter().map(name_text).collect();
            warning(
                None,
                None,
                format!(
                    "a change of {} is not durable and was not made: {message}",
                    zones.join(", ")
                ),
            )
        }
    }
}

/// A time stamp `secs` seconds from a Unix time.
pub(super) fn after(unix: i64, secs: i64) -> jiff::Timestamp {
    timestamp(unix.saturating_add(secs))
}
