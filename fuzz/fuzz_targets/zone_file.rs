//! Zone files: read, written, read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_zone::fuzz::zone_file(data));
