//! How many instructions a query takes: counted, and so the same on a busy machine as on a quiet one, and refused when it is too many.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::report::Report;

/// Instructions in user space from a query's octets to its answer's, of the benchmark's questions to a zone of 100 names; some fifty more
/// than there are, for what compilers and C libraries do differently. Whoever takes more says here why it is worth it.
const MOST: u64 = 1_980;

/// Questions that [`answers`] asks at a time.
const QUESTIONS: u64 = 100_000;

/// The section of a full run.
pub fn of_a_query(report: &mut Report) {
    report.section("instructions of a query", |_| {
        host::run(
            host::cargo()
                .args(["build", "--quiet", "--release", "--bin", "work"])
                .args(["--package", "zonemesh-bench"]),
        )?;
        // What is done before the first question is in both.
        let counted = answers(2)? - answers(1)?;
        let each = counted / QUESTIONS;
        println!("{each} instructions, of at most {MOST}");
        if each > MOST {
            bail!(
                "a query takes {each} instructions and may take {MOST}. To see which: `valgrind --tool=callgrind target/release/work \
                 answer 100 1`, and `callgrind_annotate` of what it writes"
            );
        }
        Ok(())
    });
}

/// Has the questions answered so many times, and counts the instructions of the whole program.
fn answers(times: u32) -> Result<u64> {
    let program = host::target().join("release/work");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&program)
        .args(["answer", "100", &times.to_string()])
        .output()
        .context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok());
    match counted {
        Some(count) if output.status.success() => Ok(count),
        _ => bail!("{} could not be counted:\n{said}", program.display()),
    }
}
