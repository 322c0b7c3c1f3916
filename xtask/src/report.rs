//! What happened in a run: its sections with their times, the tests counted, and what was not looked at.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The account of a run, printed as it goes and summed up at its end.
#[derive(Debug)]
pub struct Report {
    ci: bool,
    sections: Vec<Section>,
    tests: Counts,
    skipped: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Section {
    title: &'static str,
    ok: bool,
    took: Duration,
}

/// How many tests ended which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ran and held.
    pub passed: usize,
    /// Ran and did not hold.
    pub failed: usize,
    /// Did not run: marked to be ignored, or skipped for lack of something.
    pub skipped: usize,
}

impl Report {
    /// Starts an account; in CI a skipped test makes the run fail.
    pub fn new(ci: bool) -> Self {
        Self {
            ci,
            sections: Vec::new(),
            tests: Counts::default(),
            skipped: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Runs a section under a heading. A failure is shown and remembered, and the next section runs all the same, so
    /// that one run tells everything that is wrong.
    pub fn section(&mut self, title: &'static str, work: impl FnOnce(&mut Self) -> Result<()>) {
        println!("\n=== {title} ===");
        let started = Instant::now();
        let result = work(self);
        let took = started.elapsed();
        if let Err(error) = &result {
            println!("=== {title} FAILED: {error:#} ===");
        }
        self.sections.push(Section {
            title,
            ok: result.is_ok(),
            took,
        });
    }

    /// Remembers something that was not done, to be said again at the end.
    pub fn note(&mut self, note: String) {
        println!("NOTE: {note}");
        self.notes.push(note);
    }

    /// Adds what a run of tests came to: the harness's own counts and the lines of the tests that skipped themselves.
    pub fn add_tests(&mut self, counts: Counts, skipped: Vec<String>) {
        // To the harness, a test that skipped itself has passed.
        self.tests.passed += counts.passed.saturating_sub(skipped.len());
        self.tests.failed += counts.failed;
        self.tests.skipped += counts.skipped + skipped.len();
        self.skipped.extend(skipped);
    }

    /// Says whether nothing may be skipped.
    pub fn is_ci(&self) -> bool {
        self.ci
    }

    /// Prints the sum and returns whether all is well.
    pub fn finish(self) -> bool {
        println!("\n=== summary ===");
        for section in &self.sections {
            let word = if section.ok { "ok    " } else { "FAILED" };
            println!(
                "{word} {:>7.1} s  {}",
                section.took.as_secs_f64(),
                section.title
            );
        }
        for line in &self.skipped {
            println!("{line}");
        }
        for note in &self.notes {
            println!("NOTE: {note}");
        }
        let forbidden_skips = self.ci && self.tests.skipped > 0;
        if forbidden_skips {
            println!("FAILED: in CI no test may be skipped");
        }
        let Counts {
            passed,
            failed,
            skipped,
        } = self.tests;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        self.sections.iter().all(|section| section.ok) && failed == 0 && !forbidden_skips
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn counts(passed: usize, failed: usize, skipped: usize) -> Counts {
        Counts {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn a_failed_section_fails_the_run_but_the_next_one_runs() {
        let mut report = Report::new(false);
        let mut ran = false;
        report.section("one", |_| bail!("no"));
        report.section("two", |_| {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert!(!report.finish());
    }

    #[test]
    fn a_skipped_test_counts_as_skipped_and_not_as_passed() {
        let mut report = Report::new(false);
        report.add_tests(counts(3, 0, 1), vec!["skipped: a: no root".to_owned()]);
        assert_eq!(report.tests, counts(2, 0, 2));
        assert!(report.finish());
    }

    #[test]
    fn a_skipped_test_fails_the_run_in_ci() {
        let mut report = Report::new(true);
        report.add_tests(counts(3, 0, 1), Vec::new());
        assert!(!report.finish());
    }
}
