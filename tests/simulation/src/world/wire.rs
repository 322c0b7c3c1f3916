//! Transfers as messages: those that the product would send, and what it makes of those that come.

use zonemesh_transfer::inbound::{Incoming, Step, Transfer, TransferError};
use zonemesh_transfer::outbound::Response;
use zonemesh_transfer::query::{Question, Request};

use super::*;

/// The number of every request: each has a connection to itself.
const ID: u16 = 1;

/// Transfers a zone as the product does, from whoever sends the messages that a request is answered with: the difference
/// first, where there is something to start from, and the whole zone when that does not fit. With for how many seconds the
/// source may still serve it, if it says so.
///
/// # Errors
///
/// When what comes is not a transfer.
pub(super) fn transfer(
    apex: &Name,
    have: Option<Zone>,
    mut send: impl FnMut(&Request) -> Vec<Vec<u8>>,
) -> Result<(Got, Option<u32>), TransferError> {
    let question = match &have {
        Some(have) => Question::Ixfr {
            from: have.serial(),
        },
        None => Question::Axfr,
    };
    let request = Request::new(ID, apex.clone(), question).with_edns();
    let first = Transfer::new(apex.clone(), have.clone(), ID);
    match receive(first, &send(&request)) {
        Err(error) if have.is_some() && error.retry_with_axfr() => {
            let request = Request::new(ID, apex.clone(), Question::Axfr).with_edns();
            receive(Transfer::axfr(apex.clone(), have, ID), &send(&request))
        }
        received => received,
    }
}

fn receive(
    mut transfer: Transfer,
    messages: &[Vec<u8>],
) -> Result<(Got, Option<u32>), TransferError> {
    for message in messages {
        if let Step::Done(incoming) = transfer.feed(message)? {
            let got = match incoming {
                Incoming::UpToDate { serial } => Got::UpToDate { serial },
                Incoming::Full(zone) => Got::Full(zone),
                Incoming::Diffs { zone, diffs } => Got::Diffs(zone, diffs),
            };
            return Ok((got, transfer.expire()));
        }
    }
    Err(transfer.broken_off())
}

/// The messages that a request is answered with by a site that serves this.
pub(super) fn answer(
    request: &Request,
    zone: &Zone,
    expire: Option<u32>,
    diffs_since: impl FnOnce(Serial) -> Option<Vec<Diff>>,
) -> Vec<Vec<u8>> {
    let response = Response::new(request, zone.clone(), diffs_since);
    // A primary gives the time of the SOA, a secondary what is left.
    let response = response.with_expire(expire.unwrap_or(zone.numbers().expire));
    response.messages().collect()
}
