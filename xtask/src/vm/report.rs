//! The outcome of all kernels.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::kernels::Package;
use super::outcome::{Failure, Tally, Tests};
use super::qemu::Accelerator;
use super::saved::PlanRecord;
use super::series::Series;
use super::verifier::Change;
use crate::table;

/// Characters of a message on the terminal; the JSON has all.
const MESSAGE: usize = 2000;
/// Characters of it in the last lines.
const BRIEF: usize = 160;

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
    /// Each plan, when it was asked for.
    pub(super) plans: BTreeMap<String, PlanRecord>,
    pub(super) tests: Tests,
    /// Cases of the corpus that the guest cannot run; not among the passed.
    pub(super) skipped_cases: Vec<String>,
    /// Why other tests did nothing; not among the passed either.
    pub(super) skipped_tests: Vec<String>,
    /// Tests that cannot run in a VM.
    pub(super) left_out: Vec<String>,
    /// Programs that the verifier has more work with than it had.
    pub(super) changes: Vec<Change>,
    pub(super) notes: Vec<String>,
    /// Why the kernel as a whole was not tested.
    pub(super) skipped: Option<String>,
    /// What failed besides tests.
    pub(super) problems: Vec<String>,
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
            plans: BTreeMap::new(),
            tests: Tests::default(),
            skipped_cases: vec![],
            skipped_tests: vec![],
            left_out: vec![],
            changes: vec![],
            notes: vec![],
            skipped: None,
            problems: vec![],
        }
    }

    pub(super) fn passed(&self) -> usize {
        self.tests.sum().passed
    }

    pub(super) fn failed(&self) -> usize {
        self.tests.sum().failed + self.problems.len()
    }

    pub(super) fn skipped(&self) -> usize {
        self.tests.sum().skipped + self.left_out.len() + usize::from(self.skipped.is_some())
    }

    /// A line for each cause, so that the end of a long log says what to look for.
    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| text.lines().next().unwrap_or_default().chars().take(BRIEF).collect::<String>();
        for problem in &self.problems {
            writeln!(f, "failed on {}: {}", self.series, short(problem))?;
        }
        for (message, tests) in by_message(&self.tests.failures) {
            let more = if tests.len() > 1 { format!(" and {} more", tests.len() - 1) } else { String::new() };
            writeln!(f, "failed on {}: {}{more}: {}", self.series, tests[0], short(message))?;
        }
        Ok(())
    }

    /// `137 ok`, `2 failed`, `runs` where the plan runs but the corpus was not run, `-` where the plan does not.
    fn cell(&self, plan: &str) -> String {
        match self.tests.plans.get(plan) {
            Some(tally) => words(tally),
            None if self.plans.get(plan).is_some_and(|plan| plan.runs) => "runs".to_owned(),
            None => "-".to_owned(),
        }
    }
}

fn words(tally: &Tally) -> String {
    match tally {
        Tally { failed: 0, passed: 0, .. } => "-".to_owned(),
        Tally { failed: 0, passed, .. } => format!("{passed} ok"),
        Tally { failed, .. } => format!("{failed} failed"),
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
        let skipped = self.skipped.iter().map(|text| ("skipped", text));
        for (what, text) in skipped.chain(self.problems.iter().map(|text| ("problem", text))) {
            writeln!(f, "  {what}: {}", text.replace('\n', "\n    "))?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "  skipped, for programs or room that the guest does not have: {}", self.left_out.join(", "))?;
        }
        for why in &self.skipped_tests {
            writeln!(f, "  skipped: {why}")?;
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
    /// Columns.
    #[serde(skip)]
    pub(super) plans: Vec<String>,
    pub(super) kernels: Vec<Entry>,
}

impl Report {
    pub(super) fn failed(&self) -> usize {
        self.kernels.iter().map(Entry::failed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plans = self.plans.iter().map(String::as_str);
        let header = ["kernel", "release"].into_iter().chain(plans).chain(["other tests", "skipped", "seconds"]);
        let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).collect()];
        rows.extend(self.kernels.iter().map(|entry| self.row(entry)));
        write!(f, "{}", table::plain(&rows, 2))?;
        for ((plan, why), kernels) in self.absent() {
            writeln!(f, "- {plan} on {}: {}", kernels.join(", "), why.replace('\n', "\n  "))?;
        }

        let mut changes = vec![["kernel", "program", "recorded", "now", "change"].map(str::to_owned).to_vec()];
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        for (entry, change) in self.kernels.iter().flat_map(|e| e.changes.iter().map(move |change| (e, change))) {
            let Change { program, before, now } = change;
            let series = entry.series.to_string();
            changes.push(vec![series, program.clone(), number(*before), number(*now), change.words()]);
        }
        if changes.len() > 1 {
            writeln!(
                f,
                "\nInstructions that the verifier processes, where more than tests/kernels/verifier.json says:"
            )?;
            write!(f, "{}", table::plain(&changes, 2))?;
        }
        let sum = |count: fn(&Entry) -> usize| self.kernels.iter().map(count).sum::<usize>();
        writeln!(f)?;
        writeln!(f, "{} passed, {} failed, {} skipped", sum(Entry::passed), sum(Entry::failed), sum(Entry::skipped))?;
        self.kernels.iter().try_for_each(|entry| entry.failures(f))
    }
}

impl Report {
    fn row(&self, entry: &Entry) -> Vec<String> {
        let mut row = vec![entry.series.to_string(), entry.release.clone().unwrap_or_else(|| "-".to_owned())];
        row.extend(self.plans.iter().map(|plan| entry.cell(plan)));
        row.extend([words(&entry.tests.others), entry.skipped().to_string(), format!("{:.0}", entry.seconds)]);
        row
    }

    /// Why plans do not run, by plan and reason.
    fn absent(&self) -> BTreeMap<(&str, &str), Vec<String>> {
        let mut absent: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for entry in &self.kernels {
            for (name, plan) in entry.plans.iter().filter(|(_, plan)| !plan.runs) {
                let why = plan.problem.as_deref().unwrap_or("no reason was given");
                absent.entry((name.as_str(), why)).or_default().push(entry.series.to_string());
            }
        }
        absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: usize, skipped: usize) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn a_table_and_sums() {
        let mut one = Entry::new(Series(6, 1));
        one.tests.plans = [("a".to_owned(), tally(8, 0, 3)), ("b".to_owned(), tally(1, 1, 0))].into();
        one.tests.others = tally(1, 1, 0);
        one.seconds = 61.6;
        for test in ["a", "b"] {
            one.tests.failures.push(Failure { test: test.to_owned(), message: "same".to_owned() });
        }
        let refused = PlanRecord { problem: Some("why".to_owned()), ..PlanRecord::default() };
        one.plans = [("c".to_owned(), refused)].into();
        assert!(one.to_string().contains("  failed: a, b\n    same\n"), "{one}");
        one.skipped_cases = ["c: no /1", "c: no /2", "d: e: f"].map(str::to_owned).into();
        one.changes = vec![Change { program: "p".to_owned(), before: Some(100), now: Some(150) }];
        let shown = one.to_string();
        assert!(shown.contains("  skipped 2 times: c: no /1\n  skipped 1 times: d: e: f\n"), "{shown}");
        let mut two = Entry::new(Series(5, 10));
        two.skipped = Some("gone".to_owned());
        two.plans = [("a".to_owned(), PlanRecord { runs: true, ..PlanRecord::default() })].into();
        let plans = ["a", "b", "c"].map(str::to_owned).into();
        let report = Report { date: String::new(), plans, kernels: vec![two, one] };
        let text = report.to_string();
        let squeezed = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            squeezed.collect::<Vec<_>>(),
            [
                "kernel release a b c other tests skipped seconds",
                "5.10 - runs - - - 1 0",
                "6.1 - 8 ok 1 failed - 1 failed 3 62",
                "- c on 6.1: why",
                "",
                "Instructions that the verifier processes, where more than tests/kernels/verifier.json says:",
                "kernel program recorded now change",
                "6.1 p 100 150 +50 %",
                "",
                "10 passed, 2 failed, 4 skipped",
                "failed on 6.1: a and 1 more: same",
            ]
        );
        assert_eq!(report.failed(), 2);
    }
}
