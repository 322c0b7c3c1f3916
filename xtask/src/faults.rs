//! The list of faults in the docs: every test that it names exists, and every fault says what covers it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The kinds of tests that are named, and where each lives.
const KINDS: &[(&str, &str)] = &[
    ("scenario", "tests/scenarios"),
    ("interop", "tests/interop"),
    ("simulation", "tests/simulation"),
    ("unit", "crates"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all tests below a folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is text");
            found.extend(tests_in(&text));
        }
    }
}

/// The names of functions behind `#[test]`, whatever other attributes they have. An ignored one shows nothing.
fn tests_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut attributes = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
        } else if let Some(name) = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ")
        {
            let is_test = attributes.iter().any(|line| line.starts_with("#[test]"));
            let is_ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
            if is_test && !is_ignored {
                found.extend(name.split('(').next().map(str::to_owned));
            }
            attributes.clear();
        } else if !line.starts_with("//") {
            attributes.clear();
        }
    }
    found
}

/// What is wrong with the list.
fn faults_of(list: &str, known: &dyn Fn(&str) -> BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = list
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Fault"));
    let mut seen = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [fault, _, covered] = cells[..] else {
            wrong.push(format!("three columns are expected: {row}"));
            continue;
        };
        let number = fault.split(' ').next().unwrap_or_default();
        if number.starts_with("F-") && !seen.insert(number.to_owned()) {
            wrong.push(format!("{number} is there twice"));
        }
        if !covered.contains('`') && !covered.contains("waits for") {
            wrong.push(format!("{fault}: neither a test nor what it waits for"));
        }
        for part in covered.split("; ") {
            let kind = part.split(' ').next().unwrap_or_default();
            if !KINDS.iter().any(|(name, _)| *name == kind) {
                if !part.starts_with("waits for") {
                    wrong.push(format!("{number}: no such kind of test: {part}"));
                }
                continue;
            }
            let tests = known(kind);
            let named = part.split('`').skip(1).step_by(2);
            for test in named.filter(|test| !tests.contains(*test)) {
                wrong.push(format!("{number}: there is no {kind} test `{test}`"));
            }
        }
    }
    wrong
}

#[test]
fn every_test_that_the_list_of_faults_names_exists() {
    let list = fs::read_to_string(root().join("docs/reference/faults.md")).unwrap();
    let known = |kind: &str| {
        let (_, folder) = KINDS.iter().find(|(name, _)| *name == kind).unwrap();
        let mut found = BTreeSet::new();
        tests_below(&root().join(folder), &mut found);
        found
    };
    let rows = list.lines().filter(|line| line.starts_with("| F-")).count();
    assert!(rows > 20, "only {rows} faults are understood");
    let wrong = faults_of(&list, &known);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_that_is_gone_a_fault_without_a_test_and_one_there_twice_are_found() {
    let list = "| Fault | Bound | Covered by |\n|---|---|---|\n\
                | F-1 one | | unit `there`, `gone`; waits for more |\n| F-2 two | | |\n| F-1 again | | rumour `there` |\n";
    let known = |_: &str| BTreeSet::from(["there".to_owned()]);
    let wrong = faults_of(list, &known).join("\n");
    for words in [
        "F-1: there is no unit test `gone`",
        "F-2 two: neither",
        "F-1 is there twice",
        "no such kind of test: rumour",
    ] {
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
    assert!(!wrong.contains("test `there`"), "{wrong}");
}

#[test]
fn only_tests_that_run_count() {
    let text = "#[test]\nfn a() {}\n#[test]\n#[ignore = \"long\"]\nfn b() {}\nfn c() {}\n#[test]\n// why\nfn d(\n";
    assert_eq!(tests_in(text), ["a", "d"]);
}
