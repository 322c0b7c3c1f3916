//! Real name servers on the other end, in both directions.

mod catalogs;
mod common;
mod primary;
mod root;
mod secondary;
mod signatures;
mod takeover;
mod transfers;
