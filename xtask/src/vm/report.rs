//! The outcome of all kernels.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::kernels::Package;
use super::outcome::{Failure, Tests};
use super::qemu::Accelerator;
use super::series::Series;

/// Characters of a message on the terminal; the JSON has all.
const MESSAGE: usize = 2000;

/// One kernel.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) series: Series,
    pub(super) package: Option<Package>,
    /// As the guest said.
    pub(super) release: Option<String>,
    pub(super) accelerator: Option<Accelerator>,
    /// Until the guest's first word.
    pub(super) boot_seconds: Option<f64>,
    /// Of a trace without work: loading, attaching and detaching.
    pub(super) load_seconds: Option<f64>,
    pub(super) seconds: f64,
    /// The plan that ringwatch chose.
    pub(super) plan: Option<String>,
    pub(super) tests: Tests,
    /// Cases of the corpus that the guest cannot run; not among the passed.
    pub(super) skipped_cases: Vec<String>,
    pub(super) notes: Vec<String>,
    /// Why the kernel as a whole was not tested.
    pub(super) skipped: Option<String>,
    /// What failed besides tests.
    pub(super) problem: Option<String>,
}

impl Entry {
    pub(super) fn new(series: Series) -> Self {
        Self {
            series,
            package: None,
            release: None,
            accelerator: None,
            boot_seconds: None,
            load_seconds: None,
            seconds: 0.0,
            plan: None,
            tests: Tests::default(),
            skipped_cases: vec![],
            notes: vec![],
            skipped: None,
            problem: None,
        }
    }

    pub(super) fn passed(&self) -> usize {
        self.tests.passed
    }

    pub(super) fn failed(&self) -> usize {
        self.tests.failures.len() + usize::from(self.problem.is_some())
    }

    pub(super) fn skipped(&self) -> usize {
        self.tests.ignored + self.skipped_cases.len() + usize::from(self.skipped.is_some())
    }

    /// The forms in which the corpus ran, or else what ringwatch chose.
    fn plans(&self) -> String {
        let plans: Vec<_> = self.tests.plans.iter().map(String::as_str).collect();
        if plans.is_empty() { self.plan.clone().unwrap_or_else(|| "-".to_owned()) } else { plans.join(" ") }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = self.release.as_deref().unwrap_or("not started");
        write!(f, "{}: {release}", self.series)?;
        if let Some(package) = &self.package {
            write!(f, " ({} {})", package.name, package.version)?;
        }
        writeln!(f, ": {} passed, {} failed, {} skipped", self.passed(), self.failed(), self.skipped())?;
        for (what, seconds) in [("boot", self.boot_seconds), ("load", self.load_seconds), ("all", Some(self.seconds))] {
            if let Some(seconds) = seconds {
                write!(f, "  {what} {seconds:.1} s")?;
            }
        }
        writeln!(f)?;
        for (what, text) in [("skipped", &self.skipped), ("problem", &self.problem)] {
            if let Some(text) = text {
                writeln!(f, "  {what}: {}", text.replace('\n', "\n    "))?;
            }
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for (case, reasons) in by_case(&self.skipped_cases) {
            writeln!(f, "  skipped {} times: {case}: {}", reasons.len(), reasons[0])?;
        }
        for (message, tests) in by_message(&self.tests.failures) {
            writeln!(f, "  failed: {}", tests.join(", "))?;
            let short: String = message.chars().take(MESSAGE).collect();
            writeln!(f, "    {}", short.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

/// What has one cause is told once.
fn by_message(failures: &[Failure]) -> BTreeMap<&str, Vec<&str>> {
    let mut tests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for failure in failures {
        tests.entry(&failure.message).or_default().push(&failure.test);
    }
    tests
}

/// The corpus runs once for each plan. Reasons differ in the names of directories.
fn by_case(skipped: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (case, reason) in skipped.iter().filter_map(|line| line.split_once(": ")) {
        reasons.entry(case).or_default().push(reason);
    }
    reasons
}

/// All kernels of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) date: String,
    pub(super) kernels: Vec<Entry>,
}

impl Report {
    pub(super) fn failed(&self) -> usize {
        self.kernels.iter().map(Entry::failed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["kernel", "release", "plans", "passed", "failed", "skipped", "seconds"].map(str::to_owned);
        let rows: Vec<[String; 7]> = std::iter::once(header).chain(self.kernels.iter().map(row)).collect();
        let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
        let [a, b, c, d, e, g, h] = std::array::from_fn(width);
        for [kernel, release, plans, passed, failed, skipped, seconds] in &rows {
            writeln!(
                f,
                "{kernel:<a$}  {release:<b$}  {plans:<c$}  {passed:>d$}  {failed:>e$}  {skipped:>g$}  {seconds:>h$}"
            )?;
        }
        let sum = |count: fn(&Entry) -> usize| self.kernels.iter().map(count).sum::<usize>();
        writeln!(f)?;
        writeln!(f, "{} passed, {} failed, {} skipped", sum(Entry::passed), sum(Entry::failed), sum(Entry::skipped))
    }
}

fn row(entry: &Entry) -> [String; 7] {
    [
        entry.series.to_string(),
        entry.release.clone().unwrap_or_else(|| "-".to_owned()),
        entry.plans(),
        entry.passed().to_string(),
        entry.failed().to_string(),
        entry.skipped().to_string(),
        format!("{:.0}", entry.seconds),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_sums() {
        let mut one = Entry::new(Series(6, 1));
        one.tests.passed = 10;
        one.tests.plans = ["raw", "typed"].map(str::to_owned).into();
        one.seconds = 61.6;
        for test in ["a", "b"] {
            one.tests.failures.push(Failure { test: test.to_owned(), message: "same".to_owned() });
        }
        assert!(one.to_string().contains("  failed: a, b\n    same\n"), "{one}");
        one.skipped_cases = ["c: no /1", "c: no /2", "d: e: f"].map(str::to_owned).into();
        let shown = one.to_string();
        assert!(shown.contains("  skipped 2 times: c: no /1\n  skipped 1 times: d: e: f\n"), "{shown}");
        let mut two = Entry::new(Series(5, 10));
        two.skipped = Some("gone".to_owned());
        let report = Report { date: String::new(), kernels: vec![two, one] };
        let text = report.to_string();
        assert!(text.contains("6.1     -        raw typed      10       2        3       62\n"), "{text}");
        assert!(text.ends_with("\n\n10 passed, 2 failed, 4 skipped\n"), "{text}");
        assert_eq!(report.failed(), 2);
    }
}
