//! Queries to a server with a small zone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_serve::fuzz::query(data));
