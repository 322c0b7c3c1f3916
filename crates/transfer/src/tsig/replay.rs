//! Signed requests that may be done once only: a guard against their repetition (RFC 8945 §5.2.3, §10).
//!
//! A signature stays good for as long as the clocks may differ, so that whoever has read an UPDATE on its way could send
//! it again within that time. The guard remembers each signature that it was shown until the signature is good no longer.
//! Its memory is bounded: of a key with more requests than [`REMEMBERED`] within that time it forgets those that were
//! signed first, and takes nothing any more that was signed when they were, or before. So nothing is ever done twice; a key
//! that is so busy has less time to deliver in, and hears BADTIME when it took longer.
//!
//! A guard that begins anew, after a restart, knows nothing of what was before, and takes nothing that was signed before it
//! began. What it cannot notice is the repetition of a request that its sender signed in the future, by a clock ahead of
//! ours.
//!
//! Who gets no answer over UDP sends the same octets again. From the same address and port that is no attack: it is
//! answered as before, and nothing is done again. The guard knows no clock and no keys; what it is shown was verified.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use jiff::Timestamp;
use zonemesh_zone::{Name, Rcode};

use super::Stamp;
use super::record::seconds;

/// Remembers which signed requests have been seen.
#[derive(Debug)]
pub struct ReplayGuard {
    /// What was signed at this second or before is not taken.
    floor: u64,
    keys: HashMap<Vec<u8>, Seen>,
}

/// What a key has signed.
#[derive(Debug)]
struct Seen {
    floor: u64,
    /// By the time of signing, so that what goes first stands first.
    requests: BTreeMap<Id, Request>,
}

/// What tells a signed request from all others: when it was signed, and the beginning of its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    signed: u64,
    mac: [u8; MAC],
}

#[derive(Debug)]
struct Request {
    /// The last second at which its signature is good.
    until: u64,
    /// Where it came from, over UDP.
    from: Option<SocketAddr>,
    answer: Option<Rcode>,
}

/// A request that was seen for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    key: Vec<u8>,
    id: Id,
}

/// What is to be done with a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It has not been seen: do it, and say with the ticket how it was answered.
    New(Ticket),
    /// Its sender repeats it since it has no answer yet: nothing, the answer is under way.
    UnderWay,
    /// Its sender repeats it since the answer was lost: answer as before.
    Answered(Rcode),
    /// Somebody repeats it: refuse it.
    Repeated,
    /// It is too old to know whether it was seen: refuse it.
    TooOld,
}

impl ReplayGuard {
    /// Begins to remember. `last_change` is when the last request was done before, if that is known.
    pub fn new(last_change: Option<Timestamp>, now: Timestamp) -> Self {
        let now = seconds(now);
        // Times of signatures have whole seconds. What was signed in this very one may be new, unless something was done in it.
        let floor = match last_change.is_some_and(|at| seconds(at) >= now) {
            true => now,
            false => now.saturating_sub(1),
        };
        Self {
            floor,
            keys: HashMap::new(),
        }
    }

    /// Judges a request that was verified just now, and remembers it. `datagram_from` is who sent it, if it came over UDP.
    pub fn judge(
        &mut self,
        key: &Name,
        stamp: &Stamp,
        datagram_from: Option<SocketAddr>,
        now: Timestamp,
    ) -> Judgement {
        let now = seconds(now);
        let key = key.as_slice().to_ascii_lowercase();
        if !self.keys.contains_key(&key) {
            // So that keys that are used no longer take no memory.
            self.keys.retain(|_, seen| !seen.is_over(now));
        }
        let seen = self.keys.entry(key.clone()).or_insert(Seen {
            floor: 0,
            requests: BTreeMap::new(),
        });
        seen.forget_before(now);
        let id = Id::of(stamp);
        if let Some(before) = seen.requests.get(&id) {
            let same = before.from.is_some() && before.from == datagram_from;
            return match (same, before.answer) {
                (false, _) => Judgement::Repeated,
                (true, None) => Judgement::UnderWay,
                (true, Some(rcode)) => Judgement::Answered(rcode),
            };
        }
        // One that is out of this request's reach comes from before our clock was set back; it would refuse all there is.
        let latest = now.saturating_add(stamp.fudge.into());
        let is_below = |floor: u64| floor <= latest && stamp.time_signed <= floor;
        if is_below(self.floor) || is_below(seen.floor) {
            return Judgement::TooOld;
        }
        let request = Request {
            until: stamp.time_signed.saturating_add(stamp.fudge.into()),
            from: datagram_from,
            answer: None,
        };
        seen.requests.insert(id, request);
        while seen.requests.len() > REMEMBERED {
            if let Some((first, _)) = seen.requests.pop_first() {
                seen.floor = seen.floor.max(first.signed);
            }
        }
        Judgement::New(Ticket { key, id })
    }

    /// Notes how a request was answered.
    pub fn answered(&mut self, ticket: &Ticket, rcode: Rcode) {
        let seen = self.keys.get_mut(&ticket.key);
        if let Some(request) = seen.and_then(|seen| seen.requests.get_mut(&ticket.id)) {
            request.answer = Some(rcode);
        }
    }

    /// How many requests it remembers.
    pub fn len(&self) -> usize {
        self.keys.values().map(|seen| seen.requests.len()).sum()
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Seen {
    /// Forgets from the front what is good no longer. One that was signed for long may stand before others; they stay
    /// until there is no more room.
    fn forget_before(&mut self, now: u64) {
        while let Some(first) = self.requests.first_entry() {
            if first.get().until >= now {
                return;
            }
            first.remove();
        }
    }

    /// Whether nothing that it knows can matter any longer.
    fn is_over(&self, now: u64) -> bool {
        let floor_matters = self.floor.saturating_add(u16::MAX.into()) >= now;
        (self.floor == 0 || !floor_matters)
            && self.requests.values().all(|request| request.until < now)
    }
}

impl Id {
    fn of(stamp: &Stamp) -> Self {
        let mut mac = [0; MAC];
        let len = stamp.mac.len().min(MAC);
        mac[..len].copy_from_slice(&stamp.mac[..len]);
        Self {
            signed: stamp.time_signed,
            mac,
        }
    }
}

/// How many requests of one key are remembered, in some 2 MiB. With clocks that agree that is 54 updates a second before
/// anything is forgotten early; with a thousand a second each has 16 s to arrive.
pub const REMEMBERED: usize = 16_384;
/// Octets of a signature that tell it from others: nobody finds two messages with the same.
const MAC: usize = 16;

#[cfg(test)]
mod tests;
