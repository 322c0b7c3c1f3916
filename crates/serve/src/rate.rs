//! Response rate limiting: how many answers of a kind and of a name one network may have over UDP.
//!
//! Whoever sends queries in the name of a victim has the answers sent there. So each network of clients has, for each kind of
//! answer and each name that it is about, an account that fills up steadily and holds the answers of one second; an answer that
//! finds it empty is not sent, or in its place one without records that tells a true client to ask over a stream. Who has proved
//! its address with a server cookie, and whoever comes over a stream, is not limited.
//!
//! An account is one number in a table of fixed size (decision 0037): the moment up to which its answers are spent. Threads share
//! the table by plain loads and stores; when two of them meet at one number, an answer may go uncounted. The time and the draw are
//! arguments. Deliberately absent: a penalty that lasts longer than the flood, and limits for streams, whose clients are who they
//! say they are ([`crate::stream`] has those for connections).

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::answer::About;
#[cfg(any(doc, test))]
use crate::answer::Kind;

/// What an operator can set of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Answers a second, of one kind and about one name, to one network; by [`Kind`], 1 to [`MAX_RATE`] or 0 for no limit.
    pub per_second: [u32; 4],
    /// Answers a second of all kinds and about all names, to one network; 1 to [`MAX_RATE`] or 0 for no limit.
    pub all_per_second: u32,
    /// One in so many of the answers that are too many is sent truncated; 0 for none, 1 for all.
    pub slip: u32,
    /// How many bits of an IPv4 address make a network, 1 to 32.
    pub ipv4_prefix: u8,
    /// How many bits of an IPv6 address make a network, 1 to 128.
    pub ipv6_prefix: u8,
    /// Networks without limit: their first address and how many of its bits count.
    pub exempt: Vec<(IpAddr, u8)>,
    /// Whether too many are only counted, and sent all the same.
    pub dry_run: bool,
}

/// The highest limit: an answer costs at least one microsecond of its account.
pub const MAX_RATE: u32 = 1_000_000;

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            // What NSD has. A cache asks for one name again when its TTL is over; so many caches in one network are rare.
            per_second: [200; 4],
            // A resolver for many clients asks for many names at a time; how many, nobody else can know.
            all_per_second: 0,
            slip: 2,
            // What a forged address is within is no smaller, for routes and filters have this size.
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            // Nobody else can send from there.
            exempt: vec![
                (Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                (Ipv6Addr::LOCALHOST.into(), 128),
            ],
            dry_run: false,
        }
    }
}

impl RateLimits {
    /// Whether anything is limited.
    pub fn any(&self) -> bool {
        self.all_per_second > 0 || self.per_second.iter().any(|&rate| rate > 0)
    }
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// It is one too many; but that is only to be counted.
    Count,
    /// It is one too many: send it without its records.
    Truncate,
    /// It is one too many: send nothing.
    Drop,
}

/// The limits, and the accounts of those who are limited.
pub struct RateLimiter {
    limits: RateLimits,
    /// What an answer of each kind costs, in microseconds; 0 where there is no limit.
    cost: [u64; 4],
    /// What any answer costs of the account of its network alone.
    cost_of_all: u64,
    /// Masks for the addresses.
    ipv4: u32,
    ipv6: u128,
    /// Secret, so that nobody outside knows which networks share a line.
    seeds: [u64; 3],
    lines: Box<[Line]>,
    /// When the log last told of it, in seconds since the host was started, and how many there have been since.
    told: AtomicU64,
}

/// Accounts that are looked through together: one line of a processor's cache.
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// How many lines there are: 1 MiB. An account that is full again may be taken over, which is so a few milliseconds after its last
/// answer as long as it is far from its limit; so this is room for millions of answers a second.
const LINES: usize = 1 << 14;
/// Accounts in a line.
const WAYS: usize = 8;
/// Lower bits of an account, which tell whose it is; the others are the moment, in microseconds since the host was started, modulo
/// 51 days.
const TAG: u64 = (1 << 22) - 1;
const MOMENT: u64 = u64::MAX >> TAG.trailing_ones();
/// What an account holds: a second, in microseconds.
const HOLDS: u64 = 1_000_000;
/// How far ahead the moment of an account can be in the eyes of a thread that looked at the clock a while ago. What seems further
/// ahead is long past.
const AHEAD: u64 = 2 * HOLDS;
/// The log tells of it no more often than this, in seconds.
const TELL: u64 = 10;

impl RateLimiter {
    /// With all accounts full.
    pub fn new(limits: RateLimits) -> Self {
        let random = RandomState::new();
        let cost = |rate: u32| HOLDS.checked_div(rate.min(MAX_RATE).into()).unwrap_or(0);
        Self {
            cost: limits.per_second.map(cost),
            cost_of_all: cost(limits.all_per_second),
            ipv4: u32::MAX
                .checked_shl(32 - u32::from(limits.ipv4_prefix.min(32)))
                .unwrap_or(0),
            ipv6: u128::MAX
                .checked_shl(128 - u32::from(limits.ipv6_prefix.min(128)))
                .unwrap_or(0),
            seeds: [0u64, 1, 2].map(|seed| random.hash_one(seed)),
            // Zeros: accounts that were last used long ago.
            lines: (0..LINES)
                .map(|_| Line(std::array::from_fn(|_| AtomicU64::new(0))))
                .collect(),
            told: AtomicU64::new(0),
            limits,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Takes an answer to a client from its account. `now` is the time since the host was started, in
    /// microseconds; what `draw` draws decides which of those that are too many are truncated.
    pub fn verdict(
        &self,
        client: IpAddr,
        about: &About<'_>,
        now: u64,
        draw: impl FnOnce() -> u64,
    ) -> Verdict {
        let cost = self.cost[about.kind as usize];
        if cost | self.cost_of_all == 0 || about.proven {
            return Verdict::Send;
        }
        let network = self.hash(client);
        let of_name = || cost == 0 || self.take(self.account(network, about), now, cost);
        let of_all = || {
            self.cost_of_all == 0 || self.take(self.account_of_all(network), now, self.cost_of_all)
        };
        if of_name() && of_all() || self.is_exempt(client) {
            return Verdict::Send;
        }
        match u64::from(self.limits.slip) {
            _ if self.limits.dry_run => Verdict::Count,
            0 => Verdict::Drop,
            slip if draw().is_multiple_of(slip) => Verdict::Truncate,
            _ => Verdict::Drop,
        }
    }

    /// A number for the network of a client.
    fn hash(&self, client: IpAddr) -> u64 {
        let [first, second, _] = self.seeds;
        let (high, low) = match self.network(client).0 {
            // No network of IPv6 begins with the octets of an IPv4 address here.
            IpAddr::V4(ip) => (1, u64::from(u32::from(ip))),
            IpAddr::V6(ip) => ((u128::from(ip) >> 64) as u64, u128::from(ip) as u64),
        };
        mix(high ^ first, low ^ second)
    }

    /// Which account of a network all its answers are taken from.
    fn account_of_all(&self, network: u64) -> u64 {
        // No kind has this number.
        mix(network, self.seeds[2] ^ 0xFF)
    }

    /// Which account of a network an answer is taken from.
    fn account(&self, network: u64, about: &About<'_>) -> u64 {
        let third = self.seeds[2];
        let source = about.source;
        let mut hash = network;
        // Eight octets at a time; the last eight may be seen twice, where their number does not go into eight.
        let mut rest = source;
        while let Some((word, after)) = rest.split_first_chunk::<8>()
            && !after.is_empty()
        {
            hash = mix(hash ^ u64::from_le_bytes(*word), third);
            rest = after;
        }
        let last = match source.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => source
                .iter()
                .fold(0, |word, &octet| word << 8 | u64::from(octet)),
        };
        let end = (source.len() as u64) << 8 | about.kind as u64;
        mix(hash ^ last, third ^ end)
    }

    /// Takes `cost` microseconds from an account, if there is so much in it.
    fn take(&self, account: u64, now: u64, cost: u64) -> bool {
        let line = &self.lines[(account >> TAG.trailing_ones()) as usize & (LINES - 1)];
        let tag = account & TAG;
        let spent_until = |ahead: u64| (now + ahead + cost) << TAG.trailing_ones() | tag;
        let (mut least, mut place) = (u64::MAX, &line.0[0]);
        for cell in &line.0 {
            let value = cell.load(Relaxed);
            let ahead = (value >> TAG.trailing_ones()).wrapping_sub(now) & MOMENT;
            let ahead = if ahead > AHEAD { 0 } else { ahead };
            if value & TAG == tag {
                if ahead + cost > HOLDS {
                    return false;
                }
                cell.store(spent_until(ahead), Relaxed);
                return true;
            }
            if ahead < least {
                (least, place) = (ahead, cell);
            }
        }
        // A new account takes the place of the one with most in it: those that are empty stay, however many networks come by.
        place.store(spent_until(0), Relaxed);
        true
    }

    fn is_exempt(&self, client: IpAddr) -> bool {
        let mut exempt = self.limits.exempt.iter();
        exempt.any(|&(first, bits)| contains(first, bits, client))
    }

    /// The network that a client is counted with.
    pub fn network(&self, client: IpAddr) -> (IpAddr, u8) {
        match client.to_canonical() {
            IpAddr::V4(ip) => (
                Ipv4Addr::from(u32::from(ip) & self.ipv4).into(),
                self.limits.ipv4_prefix,
            ),
            IpAddr::V6(ip) => (
                Ipv6Addr::from(u128::from(ip) & self.ipv6).into(),
                self.limits.ipv6_prefix,
            ),
        }
    }

    /// Whether it is time to tell of an answer that was too many: once in ten seconds. Only asked where there was one.
    pub(crate) fn is_to_be_told(&self, now: u64) -> bool {
        let told = self.told.load(Relaxed);
        // From one, so that the first is told of.
        let now = now / HOLDS + 1;
        (told == 0 || now.saturating_sub(told) >= TELL)
            && self
                .told
                .compare_exchange(told, now, Relaxed, Relaxed)
                .is_ok()
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RateLimiter").field(&self.limits).finish()
    }
}

/// Mixes two words so that each bit of the outcome depends on most bits of both.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Whether a network, given by its first address and how many of its bits count, holds an address. An IPv4 address mapped into IPv6
/// counts as IPv4.
pub fn contains(first: IpAddr, bits: u8, address: IpAddr) -> bool {
    let differs = match (first, address.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            u128::from(u32::from(first) ^ u32::from(address)) << 96
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => u128::from(first) ^ u128::from(address),
        _ => return false,
    };
    differs.leading_zeros() >= u32::from(bits)
}

/// Draws: numbers that a client cannot foresee well enough to be always, or never, the one that is truncated.
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(0u64) | 1)
    }

    /// Marsaglia's xorshift, multiplied.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

#[cfg(test)]
mod tests;
