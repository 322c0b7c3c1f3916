//! What sites ask and tell each other of what they hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_zone::fuzz::inventory(data));
