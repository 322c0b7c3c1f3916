//! What was measured, as tables of medians with their spread, and the ratios that the goals are about.

use std::fmt;
use std::time::Duration;

/// Values of one kind, one or more a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64());
    }

    /// The value that so many in a hundred do not exceed; 0 when there is none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0.0)
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            len if len.is_multiple_of(2) => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
            len => sorted[len / 2],
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.percentile(0)
    }

    pub(crate) fn greatest(&self) -> f64 {
        self.percentile(100)
    }

    /// The median with the least and the greatest value behind it, in units of which one is so much.
    pub(crate) fn spread(&self, unit: f64) -> String {
        let [median, least, greatest] =
            [self.median(), self.least(), self.greatest()].map(|value| number(value / unit));
        if least == greatest {
            return median;
        }
        format!("{median} ({least} to {greatest})")
    }
}

/// A number with three digits or so that mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => thousands(value.round() as u64),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A whole number in groups of three digits.
pub(crate) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How ours compares with the best of the others, where less is better.
pub(crate) fn against_best(what: &str, all: &[(&str, &Samples)], goal: Option<f64>) -> String {
    let Some(((_, ours), others)) = all.split_first() else {
        return String::new();
    };
    let best = others
        .iter()
        .min_by(|a, b| a.1.median().total_cmp(&b.1.median()));
    let Some((name, best)) = best else {
        return format!("{what}: nobody to compare with");
    };
    if best.median() == 0.0 {
        return format!("{what}: too little to be measured at {name}");
    }
    // The worst that the two spreads allow, and the best.
    let ratio = ours.median() / best.median();
    let mut text = format!("{what}: {} times that of {name}", number(ratio));
    if best.least() > 0.0 && best.greatest() > 0.0 {
        text.push_str(&format!(
            " ({} to {} by the spreads)",
            number(ours.least() / best.greatest()),
            number(ours.greatest() / best.least())
        ));
    }
    if let Some(goal) = goal {
        let verdict = if ratio <= goal { "met" } else { "not met" };
        text.push_str(&format!("; goal {} {verdict}", number(goal)));
    }
    text
}

/// Values of one kind by the names of servers.
pub(crate) type Named<'r> = Vec<(&'static str, &'r Samples)>;

/// Picks one kind of values out of what was measured of each server, with the server's name: for [`against_best`].
pub(crate) fn by_server<'r, M>(
    names: impl Iterator<Item = &'static str> + Clone,
    results: &'r [M],
) -> impl Fn(fn(&M) -> &Samples) -> Named<'r> {
    move |pick| names.clone().zip(results.iter().map(pick)).collect()
}

/// Octets of a mebibyte.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// A section of the document.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// What was done, for people to read.
    pub(crate) about: String,
    pub(crate) tables: Vec<Table>,
    /// What follows from it, a line each.
    pub(crate) notes: Vec<String>,
}

/// A table; each row has as many cells as there are columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}", self.title, self.about)?;
        for table in &self.tables {
            writeln!(f, "\n{table}")?;
        }
        for note in &self.notes {
            writeln!(f, "* {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let widths = cells
                .chain(self.columns.get(at))
                .map(|cell| cell.chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, &self.columns)?;
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(f, &rules)?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn medians_and_percentiles_are_of_the_sorted_values() {
        let all = samples(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(all.median(), 3.0);
        assert_eq!((all.percentile(99), all.least()), (5.0, 1.0));
        assert_eq!(samples(&[1.0, 2.0]).median(), 1.5);
        assert_eq!(Samples::default().median(), 0.0);
        assert_eq!(
            samples(&[0.25, 0.5, 1.0]).spread(0.001),
            "500 (250 to 1,000)"
        );
    }

    #[test]
    fn a_ratio_is_to_the_best_of_the_others() {
        let (ours, one, two) = (samples(&[1.0]), samples(&[4.0]), samples(&[2.0]));
        let text = against_best(
            "CPU",
            &[("ours", &ours), ("one", &one), ("two", &two)],
            Some(0.7),
        );
        assert_eq!(
            text,
            "CPU: 0.500 times that of two (0.500 to 0.500 by the spreads); goal 0.700 met"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123), "123");
    }
}
