//! `docs/BENCHMARKS.md`: a section for each part, replaced when the part was run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::table::Section;

/// The document, seen from the root of the repository.
const DOCUMENT: &str = "docs/BENCHMARKS.md";

/// What stands above the sections.
const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench` (root, for the folder of peers), which builds the server as it is shipped and starts it beside the newest
Knot, NSD and BIND that Debian has, on the same zones, in one run. `cargo xtask bench PART` does one section.

The servers take turns. Times are CPU time of all processes of a server, user and system, from `/proc` (in steps of 10 ms, so that short
work is done often and divided); wall time stands beside it and means little on a shared machine. Values are medians of the rounds,
with the least and the greatest in parentheses. Peers run with the settings that make them fastest as far as their manuals tell; they are
in `bench/src/server.rs`. What each server sent is compared before anything is measured.
";

/// Puts a section into the document, in the place of what is there of this part.
pub(crate) fn put(part: &str, section: &Section, versions: &str) -> Result<()> {
    let path = Path::new(DOCUMENT);
    // The sections of the other parts are in it.
    let old = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {DOCUMENT}"))?,
    };
    let text = format!("{section}\n{versions} {}\n", load());
    fs::write(path, with(&old, part, &text)).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// How busy the machine was: what wall time is worth.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().unwrap_or("unknown");
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    format!("Load of the machine at the end: {load} on {cpus} CPUs.")
}

/// The document with a section put in.
fn with(old: &str, part: &str, text: &str) -> String {
    let mut new = HEAD.to_owned();
    for name in Part::names() {
        let body = if name == part {
            Some(text)
        } else {
            between(old, &begin(name), &end(name))
        };
        if let Some(body) = body {
            new.push_str(&format!(
                "\n{}\n{}\n{}\n",
                begin(name),
                body.trim_matches('\n'),
                end(name)
            ));
        }
    }
    new
}

fn begin(part: &str) -> String {
    format!("<!-- {part} -->")
}

fn end(part: &str) -> String {
    format!("<!-- end of {part} -->")
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before_and_leaves_the_others() {
        let names: Vec<&str> = Part::names().collect();
        let (first, last) = (names[0], names[names.len() - 1]);
        let one = with("", last, "xyzzy");
        let two = with(&one, first, "plugh");
        let three = with(&two, last, "plover");
        assert!(three.starts_with(HEAD));
        assert!(!three.contains("xyzzy"));
        let order = [three.find("plugh\n"), three.find("plover\n")];
        assert!(order[0].is_some() && order[0] < order[1], "{three}");
        assert_eq!(with(&three, last, "plover"), three);
    }
}
