//! Names, their keys and their text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| zonemesh_zone::fuzz::names(data));
