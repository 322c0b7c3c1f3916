//! Real name servers on the other end, in both directions.

mod catalog_moves;
mod catalogs;
mod chains;
mod common;
mod consumers;
mod cookies;
mod mesh_catalog;
mod others;
mod primary;
mod quic;
mod root;
mod secondary;
mod several;
mod signatures;
mod takeover;
mod transfers;
mod tried;
