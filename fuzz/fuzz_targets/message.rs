//! Records taken out of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_zone::fuzz::message(data));
