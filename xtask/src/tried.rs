//! The table of what was tried with which foreign server: what the interop tests say they have seen, and the page that has it.
//!
//! Tests write a line each into a folder (`tests/interop/tried.rs`). Versions are those of the folder of peers, which gets newer
//! ones; that the page has older ones is told, and is no fault. That a cell differs is one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::host;
use crate::report::Report;

const PAGE: &str = "docs/reference/interop.md";
const BEGIN: &str = "<!-- tried: begin -->\n";
const END: &str = "<!-- tried: end -->\n";

/// An empty folder for what the tests say; its name goes to them as `ZONEMESH_TRIED`.
pub fn folder() -> Result<PathBuf> {
    let folder = host::repository()?.join("target/tried");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Compares what the tests have said with the page, or writes it there with `BLESS` set.
///
/// To be called when all of them have run and passed; of tests that were skipped nothing can be said.
pub fn compare(report: &mut Report) -> Result<()> {
    let folder = host::repository()?.join("target/tried");
    let mut lines = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        lines.push(
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
        );
    }
    if lines.is_empty() {
        report
            .note("no foreign server was tried, and the table of them was not compared".to_owned());
        return Ok(());
    }
    let Tables { versions, cells } = tables(&lines)?;
    let page = host::repository()?.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
    let (before, rest) = text.split_once(BEGIN).context("the page has no table")?;
    let (there, after) = rest.split_once(END).context("the table has no end")?;
    let made = format!("{versions}\n{cells}");
    if std::env::var_os("BLESS").is_some() {
        let whole = format!("{before}{BEGIN}{made}{END}{after}");
        return fs::write(&page, whole).with_context(|| format!("cannot write {PAGE}"));
    }
    ensure!(
        there.ends_with(&cells),
        "the table in {PAGE} is not what the tests have seen; `BLESS=1 cargo xtask interop` writes it anew:\n{cells}"
    );
    if there != made {
        report.note(format!(
            "the foreign servers have other versions than {PAGE} has; `BLESS=1 cargo xtask interop` writes them"
        ));
    }
    Ok(())
}

#[derive(Debug)]
struct Tables {
    versions: String,
    cells: String,
}

/// Makes the tables of lines such as `4|Primary to zonemesh, with TSIG|NSD|4.12.0|AXFR, IXFR`.
fn tables(lines: &[String]) -> Result<Tables> {
    let mut rows: BTreeMap<u8, (&str, BTreeMap<&str, &str>)> = BTreeMap::new();
    let mut servers: BTreeMap<&str, &str> = BTreeMap::new();
    for line in lines {
        let parts: Vec<&str> = line.trim_end().split('|').collect();
        let &[order, row, server, version, how] = parts.as_slice() else {
            bail!("`{line}` does not say what was tried");
        };
        let order = order
            .parse()
            .with_context(|| format!("no order in `{line}`"))?;
        servers.insert(server, version);
        rows.entry(order)
            .or_insert((row, BTreeMap::new()))
            .1
            .insert(server, how);
    }
    let mut versions = String::from("| Server | Version |\n|---|---|\n");
    for (server, version) in &servers {
        versions.push_str(&format!("| {server} | {version} |\n"));
    }
    let names: Vec<&str> = servers.into_keys().collect();
    let mut cells = format!(
        "| | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for (row, seen) in rows.into_values() {
        let seen = names
            .iter()
            .map(|name| seen.get(name).copied().unwrap_or("–"));
        cells.push_str(&format!(
            "| {row} | {} |\n",
            seen.collect::<Vec<_>>().join(" | ")
        ));
    }
    Ok(Tables { versions, cells })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_and_what_was_not_tried_is_said() {
        let lines = [
            "9|Last|B|1.0|yes\n".to_owned(),
            "0|First|A|2.0|IXFR\n".to_owned(),
            "0|First|B|1.0|AXFR\n".to_owned(),
        ];
        let Tables { versions, cells } = tables(&lines).unwrap();
        assert_eq!(
            versions,
            "| Server | Version |\n|---|---|\n| A | 2.0 |\n| B | 1.0 |\n"
        );
        assert_eq!(
            cells,
            "| | A | B |\n|---|---|---|\n| First | IXFR | AXFR |\n| Last | – | yes |\n"
        );
        assert!(tables(&["nothing".to_owned()]).is_err());
    }
}
