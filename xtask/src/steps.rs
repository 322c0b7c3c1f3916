//! The sections of a run other than tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::report::Report;
use crate::tools;

/// Seconds that each fuzz target gets in a full run; with a handful of targets the whole stays within minutes.
pub const FUZZ_SECONDS: u32 = 20;

/// Where the fuzz targets are; a package of its own, outside of the workspace.
pub const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";

/// Checks the format.
pub fn format(report: &mut Report) {
    report.section("format", |_| {
        host::run(host::cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
    });
}

/// Lints all targets; a warning is an error.
pub fn lint(report: &mut Report) {
    report.section("lint", |_| {
        host::run(
            host::cargo()
                .args(["clippy", "--workspace", "--all-targets", "--quiet", "--"])
                .args(["-D", "warnings"]),
        )
    });
}

/// Builds the documentation; a warning, such as a link to nowhere, is an error.
pub fn docs(report: &mut Report) {
    report.section("docs", |_| {
        host::run(
            host::cargo()
                .args(["doc", "--workspace", "--no-deps", "--quiet"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
}

/// Checks licences, sources and duplicates of all dependencies, and known vulnerabilities where the database of them
/// can be reached.
pub fn dependencies(report: &mut Report) {
    report.section("dependencies", |report| {
        let deny = tools::deny().context("cargo-deny is not installed")?;
        host::run(Command::new(&deny).args([
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))?;
        let fetch = Command::new(&deny)
            .args(["fetch", "db"])
            // No question for a password where the way is barred.
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .context("cannot run cargo-deny")?;
        if !fetch.status.success() {
            let errors = String::from_utf8_lossy(&fetch.stderr);
            let reason = errors.lines().rev().find(|line| !line.trim().is_empty());
            report.note(format!(
                "known vulnerabilities were NOT checked, their database cannot be reached: {}",
                reason.unwrap_or("no reason given").trim()
            ));
            return Ok(());
        }
        host::run(Command::new(&deny).args(["check", "--disable-fetch", "advisories"]))
    });
}

/// Builds the fuzz targets and runs each for a while; a crash leaves its input in `fuzz/artifacts`.
pub fn fuzz(report: &mut Report, only: Option<&str>, seconds: u32) {
    report.section("fuzz", |report| {
        if !Path::new(FUZZ_MANIFEST).is_file() {
            report.note(format!("nothing was fuzzed: there is no {FUZZ_MANIFEST}"));
            return Ok(());
        }
        let targets = fuzz_targets()?;
        let chosen: Vec<&String> = targets
            .iter()
            .filter(|target| only.is_none_or(|only| only == *target))
            .collect();
        if chosen.is_empty() {
            bail!("no such fuzz target; there are {}", targets.join(", "));
        }
        let folder = Path::new("fuzz/target").join(FUZZ_TRIPLE).join("release");
        host::run(
            host::cargo()
                .args(["build", "--release", "--manifest-path", FUZZ_MANIFEST])
                // Named, so that the flags are for the targets and not for build scripts.
                .args(["--target", FUZZ_TRIPLE, "--target-dir", "fuzz/target"])
                .env("RUSTFLAGS", FUZZ_FLAGS.join(" ")),
        )?;
        for target in chosen {
            println!("--- {target}: {seconds} s");
            let corpus = format!("fuzz/corpus/{target}");
            let artifacts = format!("fuzz/artifacts/{target}/");
            for folder in [&corpus, &artifacts] {
                fs::create_dir_all(folder).with_context(|| format!("cannot create {folder}"))?;
            }
            let mut run = Command::new(folder.join(target));
            run.arg(corpus);
            // Inputs that are kept with the source, failures of old among them.
            let seeds = format!("fuzz/seeds/{target}");
            if Path::new(&seeds).is_dir() {
                run.arg(seeds);
            }
            run.arg(format!("-max_total_time={seconds}"))
                .arg(format!("-artifact_prefix={artifacts}"))
                .args(["-rss_limit_mb=2048", "-timeout=10", "-verbosity=0"]);
            host::run(&mut run)?;
        }
        Ok(())
    });
}

/// Runs the tests of `unsafe` code, which are those of the sockets of the data plane, under AddressSanitizer.
pub fn sanitize(report: &mut Report) {
    report.section("sanitize", |_| {
        host::run(
            host::cargo()
                .args(["test", "--package", "zonemesh-serve"])
                .args(["--test", "sockets", "--test", "rates"])
                // Named, so that the flags are not for build scripts; and apart from what is built without them.
                .args(["--target", FUZZ_TRIPLE, "--target-dir", "target/sanitize"])
                // The stable compiler brings the sanitizer along, behind a door for those who know that its flags may change.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTFLAGS", "-Zsanitizer=address"),
        )
    });
}

/// The fuzz targets by name: the files of `fuzz/fuzz_targets`.
fn fuzz_targets() -> Result<Vec<String>> {
    let folder = "fuzz/fuzz_targets";
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {folder}"))?
            .path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            targets.push(stem.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

const FUZZ_TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What libFuzzer needs to see where an input leads. All of it works with the stable compiler; the address sanitizer
/// would not, and safe code gains little by it.
const FUZZ_FLAGS: &[&str] = &[
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "-Ccodegen-units=1",
];
