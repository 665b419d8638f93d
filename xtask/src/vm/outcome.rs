//! What the guest told: on its console, and test by test on its second serial port.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) test: String,
    pub(super) message: String,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tests {
    pub(super) passed: usize,
    pub(super) ignored: usize,
    pub(super) failures: Vec<Failure>,
    /// Ways of watching under which the corpus ran.
    pub(super) plans: BTreeSet<String>,
    /// What ran when the guest ended.
    pub(super) unfinished: Option<String>,
    /// Whether the last line of the tests came.
    pub(super) complete: bool,
}

impl Tests {
    /// From the events of the test harness, one JSON object a line.
    pub(super) fn parse(text: &str) -> Self {
        let mut tests = Self::default();
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok()) {
            let name = event["name"].as_str().unwrap_or_default().to_owned();
            match (event["type"].as_str(), event["event"].as_str()) {
                (Some("suite"), Some("ok" | "failed")) => tests.complete = true,
                (Some("test"), Some("started")) => {
                    if let Some((plan, _)) = name.strip_prefix("corpus::").and_then(|n| n.split_once("::")) {
                        tests.plans.insert(plan.to_owned());
                    }
                    tests.unfinished = Some(name);
                }
                (Some("test"), Some(outcome)) => {
                    tests.unfinished = None;
                    match outcome {
                        "ok" => tests.passed += 1,
                        "failed" => {
                            let message = message(event["stdout"].as_str().unwrap_or_default());
                            tests.failures.push(Failure { test: name, message });
                        }
                        _ => tests.ignored += 1,
                    }
                }
                _ => {}
            }
        }
        tests
    }
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
    /// What else a reader of the report wants to know.
    pub(super) notes: Vec<String>,
    /// Seconds that the whole of a trace without work took.
    pub(super) load: Option<f64>,
}

impl Console {
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut console = Self::default();
        let mut begin = None;
        let seconds = |text: &str| text.parse::<f64>().ok();
        for line in lines {
            if let Some(case) = line.strip_prefix("corpus case ") {
                console.skipped.push(case.replacen(" skipped:", ":", 1));
            } else if line.starts_with("the plan ") {
                console.notes.push(line.clone());
            } else if let Some(time) = line.strip_prefix("VM-LOAD ") {
                begin = seconds(time);
            } else if let Some(time) = line.strip_prefix("VM-LOADED ") {
                console.load = begin.zip(seconds(time)).map(|(begin, end)| end - begin);
            }
        }
        console
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let wanted = Tests {
            passed: 1,
            ignored: 1,
            failures: vec![failure],
            plans: ["raw".to_owned()].into(),
            unfinished: Some("d".to_owned()),
            complete: false,
        };
        assert_eq!(Tests::parse(text), wanted);
        assert!(Tests::parse(r#"{ "type": "suite", "event": "ok", "passed": 1 }"#).complete);
    }

    #[test]
    fn what_the_console_says() {
        let lines = ["VM-LOAD 3.5", "x", "VM-LOADED 5.0", "corpus case a skipped: no b", "the plan c does not run"];
        let console = Console::parse(&lines.map(str::to_owned));
        assert_eq!(console.skipped, ["a: no b"]);
        assert_eq!(console.notes, ["the plan c does not run"]);
        assert_eq!(console.load, Some(1.5));
    }
}
