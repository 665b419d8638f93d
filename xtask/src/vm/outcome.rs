//! What the guest told: on its console, and test by test on its second serial port.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) test: String,
    pub(super) message: String,
}

/// Outcomes of some tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// A test that passed only because it did nothing.
    fn skip(&mut self) {
        self.passed = self.passed.saturating_sub(1);
        self.skipped += 1;
    }
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tests {
    /// The corpus, by plan: the forms of its programs together.
    pub(super) plans: BTreeMap<String, Tally>,
    pub(super) others: Tally,
    pub(super) failures: Vec<Failure>,
    /// What ran when the guest ended.
    pub(super) unfinished: Option<String>,
    /// Whether the last line of the tests came.
    pub(super) complete: bool,
    /// Forms under which the corpus ran.
    #[serde(skip)]
    forms: Vec<String>,
}

impl Tests {
    /// From the events of the test harness, one JSON object a line.
    pub(super) fn parse(text: &str, plans: &[String]) -> Self {
        let mut tests = Self::default();
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok()) {
            let name = event["name"].as_str().unwrap_or_default().to_owned();
            match (event["type"].as_str(), event["event"].as_str()) {
                (Some("suite"), Some("ok" | "failed")) => tests.complete = true,
                (Some("test"), Some("started")) => tests.unfinished = Some(name),
                (Some("test"), Some(outcome)) => {
                    tests.unfinished = None;
                    let tally = tests.tally(&name, plans);
                    match outcome {
                        "ok" => tally.passed += 1,
                        "failed" => {
                            tally.failed += 1;
                            let message = message(event["stdout"].as_str().unwrap_or_default());
                            tests.failures.push(Failure { test: name, message });
                        }
                        _ => tally.skipped += 1,
                    }
                }
                _ => {}
            }
        }
        tests
    }

    fn tally(&mut self, test: &str, plans: &[String]) -> &mut Tally {
        let Some((form, _)) = test.strip_prefix("corpus::").and_then(|name| name.split_once("::")) else {
            return &mut self.others;
        };
        if !self.forms.iter().any(|known| known == form) {
            self.forms.push(form.to_owned());
        }
        self.plans.entry(plan_of(form, plans).to_owned()).or_default()
    }

    /// What the harness counts as passed. A case whose line tells no form is taken as skipped under every one.
    pub(super) fn skip(&mut self, console: &Console, plans: &[String]) {
        console.skipped_tests.iter().for_each(|_| self.others.skip());
        let mut everywhere: Vec<&str> = vec![];
        for case in console.skipped.iter().filter_map(|line| line.split_once(": ")).map(|(case, _)| case) {
            if let Some((form, _)) = case.split_once("::") {
                self.plans.entry(plan_of(form, plans).to_owned()).or_default().skip();
            } else if !everywhere.contains(&case) {
                everywhere.push(case);
            }
        }
        for form in self.forms.iter().filter(|_| !everywhere.is_empty()) {
            let tally = self.plans.entry(plan_of(form, plans).to_owned()).or_default();
            everywhere.iter().for_each(|_| tally.skip());
        }
    }

    pub(super) fn sum(&self) -> Tally {
        let mut sum = self.others;
        self.plans.values().for_each(|&tally| sum.add(tally));
        sum
    }
}

/// The plan that a form of the corpus runs, such as `typed`, `kprobe` or `kprobe-raw`.
fn plan_of<'a>(form: &'a str, plans: &'a [String]) -> &'a str {
    if matches!(form, "typed" | "raw") {
        return "tracepoint";
    }
    let same = |plan: &&String| {
        let form = form.replace('_', "-");
        form.strip_prefix(plan.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    plans.iter().filter(same).max_by_key(|plan| plan.len()).map_or(form, String::as_str)
}

/// The harness wraps messages.
fn message(stdout: &str) -> String {
    let text = stdout.trim_end();
    text.strip_prefix("Error: \"").and_then(|t| t.strip_suffix('"')).unwrap_or(text).to_owned()
}

/// What the console says besides the markers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Console {
    /// Cases of the corpus that the guest cannot run, which the harness counts as passed; once for each time.
    pub(super) skipped: Vec<String>,
    /// Why tests did nothing, which the harness counts as passed too.
    pub(super) skipped_tests: Vec<String>,
    /// Tests that run.sh leaves out.
    pub(super) left_out: Vec<String>,
    /// What else a reader of the report wants to know.
    pub(super) notes: Vec<String>,
    /// Seconds that the whole of a trace without work took.
    pub(super) load: Option<f64>,
    /// CPU time of each run of the same writes, by plan, and of those without ringwatch: instructions, where clocks
    /// count them.
    costs: BTreeMap<String, Vec<f64>>,
}

impl Console {
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut console = Self::default();
        let mut begin = None;
        let seconds = |text: &str| text.parse::<f64>().ok();
        for line in lines {
            if let Some(case) = line.strip_prefix("corpus case ") {
                console.skipped.push(case.replacen(" skipped:", ":", 1));
            } else if let Some(test) = line.strip_prefix("VM-SKIP ") {
                console.left_out.push(test.to_owned());
            } else if let Some(why) = line.strip_prefix("skipped: ") {
                console.skipped_tests.push(why.to_owned());
            } else if line.starts_with("the plan ") || line.starts_with("the form ") {
                console.notes.push(line.clone());
            } else if let Some((plan, run)) = line.strip_prefix("VM-COST ").and_then(|l| l.split_once(' ')) {
                let run: Value = serde_json::from_str(run).unwrap_or_default();
                if let Some(cpu) = run["cpu_ns"].as_f64() {
                    console.costs.entry(plan.to_owned()).or_default().push(cpu);
                }
            } else if let Some(time) = line.strip_prefix("VM-LOAD ") {
                begin = seconds(time);
            } else if let Some(time) = line.strip_prefix("VM-LOADED ") {
                console.load = begin.zip(seconds(time)).map(|(begin, end)| end - begin);
            }
        }
        console
    }

    /// What the writes of a traced program cost it, as a ratio to those of an untraced one: the least of each, since
    /// whatever else the guest does only adds to what is counted.
    pub(super) fn cost(&self, plan: &str) -> Option<f64> {
        let least = |name: &str| self.costs.get(name)?.iter().copied().min_by(f64::total_cmp);
        Some((least(plan)? / least("untraced")? * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_a_ratio_of_the_least() {
        let lines = ["VM-COST untraced {\"cpu_ns\":10}", "VM-COST a {\"cpu_ns\":30}", "VM-COST a {\"cpu_ns\":11}"];
        let lines = [&lines[..], &["VM-COST a {\"cpu_ns\":15}", "VM-COST b killed"]].concat();
        let console = Console::parse(&lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!((console.cost("a"), console.cost("b")), (Some(1.1), None));
    }

    #[test]
    fn outcomes_of_tests() {
        let text = concat!(
            r#"{ "type": "suite", "event": "started", "test_count": 4 }"#,
            "\r\n",
            r#"{ "type": "test", "event": "started", "name": "corpus::raw::a" }"#,
            "\r\n",
            r#"{ "type": "test", "name": "corpus::raw::a", "event": "ok" }"#,
            "\r\n",
            r#"{ "type": "test", "name": "b", "event": "failed", "stdout": "Error: \"1 \"x\" wrong\"\n" }"#,
            "\r\n",
            r#"{ "type": "test", "name": "c", "event": "ignored" }"#,
            "\r\n",
            r#"{ "type": "test", "event": "started", "name": "d" }"#,
            "\r\n{ \"type\": \"te",
        );
        let failure = Failure { test: "b".to_owned(), message: "1 \"x\" wrong".to_owned() };
        let tests = Tests::parse(text, &plans());
        assert_eq!(tests.plans, [("tracepoint".to_owned(), tally(1, 0, 0))].into());
        assert_eq!((tests.others, tests.sum()), (tally(0, 1, 1), tally(1, 1, 1)));
        assert_eq!(tests.failures, [failure]);
        assert_eq!((tests.unfinished.as_deref(), tests.complete), (Some("d"), false));
        assert!(Tests::parse(r#"{ "type": "suite", "event": "ok", "passed": 1 }"#, &[]).complete);
    }

    fn plans() -> Vec<String> {
        ["kprobe", "kprobe-legacy", "fentry"].map(str::to_owned).into()
    }

    fn tally(passed: usize, failed: usize, skipped: usize) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn forms_belong_to_plans() {
        for (form, plan) in [
            ("typed", "tracepoint"),
            ("raw", "tracepoint"),
            ("fentry", "fentry"),
            ("kprobe_raw", "kprobe"),
            ("kprobe-legacy", "kprobe-legacy"),
            ("kprobe_legacy_raw", "kprobe-legacy"),
            ("other", "other"),
        ] {
            assert_eq!(plan_of(form, &plans()), plan, "{form}");
        }
    }

    #[test]
    fn skipped_cases_did_not_pass() {
        let mut text = String::new();
        for form in ["typed", "raw", "fentry"] {
            for case in ["a", "b", "c"] {
                text += &format!("{{ \"type\": \"test\", \"name\": \"corpus::{form}::{case}\", \"event\": \"ok\" }}\n");
            }
        }
        let mut tests = Tests::parse(&text, &plans());
        tests.others.passed = 2;
        let skipped = ["a: no /1", "a: no /2", "a: no /3", "fentry::b: x: y"].map(str::to_owned).into();
        let console = Console { skipped, skipped_tests: vec!["no".to_owned()], ..Console::default() };
        tests.skip(&console, &plans());
        assert_eq!(tests.others, tally(1, 0, 1));
        let wanted = [("tracepoint".to_owned(), tally(4, 0, 2)), ("fentry".to_owned(), tally(1, 0, 2))];
        assert_eq!(tests.plans, wanted.into());
    }

    #[test]
    fn what_the_console_says() {
        let lines = [
            "VM-LOAD 3.5",
            "x",
            "VM-LOADED 5.0",
            "corpus case a skipped: no b",
            "the plan c does not run",
            "VM-SKIP d",
            "skipped: e",
        ];
        let console = Console::parse(&lines.map(str::to_owned));
        assert_eq!(console.skipped, ["a: no b"]);
        assert_eq!(console.notes, ["the plan c does not run"]);
        assert_eq!((console.left_out, console.skipped_tests), (vec!["d".to_owned()], vec!["e".to_owned()]));
        assert_eq!(console.load, Some(1.5));
    }
}
