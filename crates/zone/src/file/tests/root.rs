use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// The versions of the root zone in the data folder beside the repository, in their order.
fn versions() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/root");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".zone.xz"));
    paths.sort();
    let mut versions = Vec::new();
    for path in paths {
        let unpacked = Command::new("xz")
            .arg("-dc")
            .arg(&path)
            .stderr(Stdio::inherit())
            .output();
        match unpacked {
            Ok(output) => {
                assert!(output.status.success(), "{} is damaged", path.display());
                versions.push((path.to_string_lossy().into_owned(), output.stdout));
            }
            Err(error) => {
                println!("skipped: cannot run xz: {error}");
                return Vec::new();
            }
        }
    }
    versions
}

#[test]
fn versions_of_the_root_zone_load_and_lead_to_each_other_and_come_out_as_they_went_in() {
    let apex = Name::root_bytes();
    let mut before: Option<Zone> = None;
    for (path, text) in versions() {
        let loaded = read(&mut |_| Ok(text.clone()), &path, Some(&apex));
        assert!(loaded.findings.is_empty(), "{path}: {:?}", loaded.findings);
        let zone = loaded.zone.unwrap();
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        // The SOA stands at the end once more, as in a transfer.
        assert_eq!((loaded.records, zone.record_count()), (lines, lines - 1));
        let mut out = Vec::new();
        write(&zone, &mut out).unwrap();
        let again = read(&mut |_| Ok(out.clone()), &path, Some(&apex))
            .zone
            .unwrap();
        assert!(again.same_contents(&zone), "{path} is not what was written");
        assert!(
            !out.windows(4).any(|four| four == b" \\# "),
            "a type without its own form"
        );
        if let Some(before) = before.replace(zone.clone()) {
            let diff = before.diff(&zone);
            let made = before.apply(&diff).unwrap();
            assert!(
                made.same_contents(&zone),
                "{path} is not what the difference leads to"
            );
            assert!(
                diff.removed.len() < 20_000,
                "{path}: {}",
                diff.removed.len()
            );
        }
    }
}
