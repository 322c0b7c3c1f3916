//! The inputs of fuzz targets that are kept with the source.

use std::fs;

/// Calls the body of a fuzz target with each of the inputs that are kept for it.
///
/// # Panics
///
/// When there are none, or one cannot be read.
pub fn each(target: &str, body: impl Fn(&[u8])) {
    let folder = format!("{}/../../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut count = 0;
    for input in inputs {
        let octets = input.and_then(|input| fs::read(input.path()));
        body(&octets.unwrap_or_else(|error| panic!("{folder}: {error}")));
        count += 1;
    }
    assert!(count > 0, "{folder} is empty");
}
