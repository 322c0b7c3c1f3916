//! Answers to AXFR and IXFR.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_transfer::fuzz::inbound(data));
