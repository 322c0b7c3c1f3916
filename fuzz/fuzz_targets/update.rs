//! UPDATE messages, parsed and carried out on a small zone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_update::fuzz::update(data));
