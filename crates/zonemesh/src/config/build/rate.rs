//! `[rate-limit]`: how many answers over UDP a network may have.

use zonemesh_serve::rate::MAX_RATE;

use super::super::reader::Table;
use super::super::*;
use super::Builder;

/// What sets the limit of one kind of answer, in the order of `zonemesh_serve::Kind`.
pub(in super::super) const BY_KIND: [&str; 4] = [
    "positives-per-second",
    "negatives-per-second",
    "referrals-per-second",
    "errors-per-second",
];

impl<'c, 'a> Builder<'c, 'a> {
    pub(super) fn rate(&self, table: Table<'c, 'a>) -> RateLimits {
        let mut rate = RateLimits::default();
        let per_second = |key| {
            let number = table.integer(key, 0..=i64::from(MAX_RATE))?;
            u32::try_from(number).ok()
        };
        if let Some(all) = per_second("per-second") {
            rate.per_second = [all; 4];
        }
        for (limit, key) in rate.per_second.iter_mut().zip(BY_KIND) {
            *limit = per_second(key).unwrap_or(*limit);
        }
        if let Some(all) = per_second("all-per-second") {
            rate.all_per_second = all;
        }
        if let Some(slip) = table.integer("slip", 0..=100) {
            rate.slip = u32::try_from(slip).unwrap_or(rate.slip);
        }
        for (bits, key, longest) in [
            (&mut rate.ipv4_prefix, "ipv4-prefix", 32),
            (&mut rate.ipv6_prefix, "ipv6-prefix", 128),
        ] {
            if let Some(given) = table.integer(key, 1..=longest) {
                *bits = u8::try_from(given).unwrap_or(*bits);
            }
        }
        if let Some(networks) = table.strings("exempt") {
            rate.exempt.clear();
            for text in networks {
                match text.value.parse::<Network>() {
                    Ok(network) => rate.exempt.push(network.parts()),
                    Err(expected) => self.context.fault(&text.span, expected),
                }
            }
        }
        if let Some(dry_run) = table.boolean("dry-run") {
            rate.dry_run = dry_run.value;
        }
        table.finish();
        rate
    }
}
