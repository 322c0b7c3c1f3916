//! Requests between servers, and their replies.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_transfer::fuzz::request(data));
