//! Running tests through cargo: its output is passed on as it comes, and counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::report::{Counts, Report};
use crate::tried;

/// Runs the tests of the whole workspace: unit, property, interop, scenario, documentation.
pub fn all(report: &mut Report) {
    report.section("tests", |report| {
        // Sites in tests are this binary; built first, so that no test waits for it.
        host::run(host::cargo().args(["build", "--package", "zonemesh"]))?;
        run(report, &["--workspace"], &[])?;
        tried::compare(report)
    });
}

/// Runs what is quick and needs nothing: unit and property tests.
pub fn fast(report: &mut Report) {
    report.section("fast tests", |report| {
        let slow = [
            "--exclude",
            "zonemesh-tests",
            "--exclude",
            "zonemesh-testkit",
        ];
        let words = [&["--offline", "--workspace", "--lib", "--bins"], &slow[..]].concat();
        run(report, &words, &[])
    });
}

/// Runs one test target of the package of whole-system tests.
pub fn of_target(report: &mut Report, target: &str, arguments: &[String]) {
    let title = if target == "interop" {
        "interop"
    } else {
        "scenarios"
    };
    report.section(title, |report| {
        host::run(host::cargo().args(["build", "--package", "zonemesh"]))?;
        run(
            report,
            &["--package", "zonemesh-tests", "--test", target],
            arguments,
        )?;
        match target == "interop" && arguments.is_empty() {
            true => tried::compare(report),
            false => Ok(()),
        }
    });
}

fn run(report: &mut Report, words: &[&str], arguments: &[String]) -> Result<()> {
    let mut command = host::cargo();
    command
        .args(["test", "--no-fail-fast"])
        .args(words)
        .arg("--")
        .args(arguments)
        .env("ZONEMESH_TRIED", tried::folder()?);
    if report.is_ci() {
        // Tests that would skip themselves fail instead.
        command.env("CI", "true");
    }
    let outcome = count(&mut command)?;
    report.add_tests(outcome.counts, outcome.skipped);
    if !outcome.success {
        bail!("`{}` failed", host::show(&command));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Outcome {
    success: bool,
    counts: Counts,
    skipped: Vec<String>,
}

/// Runs a command, passes on both its outputs line by line, and counts what the test harness reports in them.
fn count(command: &mut Command) -> Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", host::show(command)))?;
    let stdout = child.stdout.take().context("the output is not piped")?;
    let stderr = child
        .stderr
        .take()
        .context("the error output is not piped")?;
    let errors = thread::spawn(move || pass_on(stderr, std::io::stderr()));
    let mut outcome = pass_on(stdout, std::io::stdout())?;
    let more = errors
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that reads the errors has panicked"))??;
    outcome.skipped.extend(more.skipped);
    outcome.success = child.wait().context("cannot wait for cargo")?.success();
    Ok(outcome)
}

fn pass_on(from: impl Read, mut to: impl Write) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .context("cannot read what the tests print")?
        > 0
    {
        to.write_all(&line)
            .context("cannot pass on what the tests print")?;
        take_line(&String::from_utf8_lossy(&line), &mut outcome);
        line.clear();
    }
    Ok(outcome)
}

fn take_line(line: &str, outcome: &mut Outcome) {
    let line = line.trim_end();
    if let Some(result) = line.strip_prefix("test result: ") {
        outcome.counts.passed += number_before(result, "passed");
        outcome.counts.failed += number_before(result, "failed");
        outcome.counts.skipped += number_before(result, "ignored");
    } else if line.starts_with("skipped: ") {
        outcome.skipped.push(line.to_owned());
    }
}

/// Reads `2` out of `ok. 1 passed; 2 failed; …` for the word `failed`.
fn number_before(text: &str, word: &str) -> usize {
    let words: Vec<&str> = text.split([' ', ';', '.']).collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_are_summed_and_skips_are_collected() {
        let text = "\
test a ... ok
test result: ok. 16 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.16s
skipped: tests::b: network namespaces need root
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
";
        let mut passed_on = Vec::new();
        let outcome = pass_on(text.as_bytes(), &mut passed_on).unwrap();
        assert_eq!(passed_on, text.as_bytes());
        let expected = Counts {
            passed: 19,
            failed: 2,
            skipped: 1,
        };
        assert_eq!(outcome.counts, expected);
        assert_eq!(
            outcome.skipped,
            ["skipped: tests::b: network namespaces need root"]
        );
    }

    #[test]
    fn a_command_that_fails_is_told_apart_from_tests_that_fail() {
        assert!(!count(&mut Command::new("false")).unwrap().success);
        assert!(count(&mut Command::new("true")).unwrap().success);
    }
}
