use std::collections::HashMap;
use std::io;

use super::*;
use crate::record::parse_name;
use crate::{Rtype, Ttl};

/// Reads `main.zone` out of a table of files.
fn read_files(files: &[(&str, &str)], apex: Option<&str>) -> Loaded {
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    let apex = apex.map(|apex| parse_name(apex).unwrap());
    read(
        &mut |path| {
            files
                .get(path)
                .map(|text| text.as_bytes().to_vec())
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        },
        "main.zone",
        apex.as_ref(),
    )
}

fn read_text(text: &str) -> Loaded {
    read_files(&[("main.zone", text)], Some("example.com"))
}

fn written(zone: &Zone) -> String {
    let mut out = Vec::new();
    write(zone, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const TOP: &str = "$TTL 3600\n@ IN SOA ns1 root 1 3600 600 604800 300\n@ NS ns1\nns1 A 192.0.2.1\n";

#[test]
fn a_plain_zone_file_is_read_and_written() {
    let loaded = read_text(TOP);
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    assert_eq!(loaded.records, 3);
    assert_eq!(
        written(&loaded.zone.unwrap()),
        "example.com. 3600 IN SOA ns1.example.com. root.example.com. 1 3600 600 604800 300\n\
         example.com. 3600 IN NS ns1.example.com.\n\
         ns1.example.com. 3600 IN A 192.0.2.1\n"
    );
}
