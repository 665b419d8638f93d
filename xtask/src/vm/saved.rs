//! tests/kernels/SERIES.json: what a kernel offers, and what each plan is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use ringwatch::kernel::plan::PlanKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::Tally;
use super::verifier::{Figure, Figures};
use crate::dist;

pub(crate) use super::kernels::Package;
pub(crate) use super::series::Series;

/// The plans, as `--probes` names them.
pub(crate) fn plans() -> Vec<String> {
    PlanKind::value_variants().iter().filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned())).collect()
}

/// What `ringwatch check --json` told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Check {
    pub(super) facts: Value,
    plan: Option<Chosen>,
    probes: Vec<ProbeRecord>,
    programs: Vec<Program>,
    capabilities: Vec<Capability>,
    pub(super) problem: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Chosen {
    kind: String,
    /// Which of the BPF objects.
    object: Option<String>,
    why: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Program {
    name: String,
    #[serde(flatten)]
    figure: Figure,
}

/// Something that an event tells, and by which means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capability {
    pub(crate) name: String,
    pub(crate) yes: bool,
    #[serde(default)]
    pub(crate) how: String,
}

/// A place in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeRecord {
    pub(crate) probe: String,
    pub(crate) verdict: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) twin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// One plan on one kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanRecord {
    pub(crate) runs: bool,
    /// Why it does not run.
    pub(crate) problem: Option<String>,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) probes: Vec<ProbeRecord>,
    /// The corpus; absent: it was not run as a whole.
    pub(crate) tests: Option<Tally>,
    /// Instructions of a program that writes to /dev/null, as a ratio to the same without ringwatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<f64>,
}

/// One kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) release: String,
    pub(crate) package: Option<Package>,
    /// The plan that runs where none is asked for.
    pub(crate) chosen: Option<String>,
    /// Why nothing runs.
    pub(crate) problem: Option<String>,
    pub(crate) facts: Value,
    pub(crate) plans: BTreeMap<String, PlanRecord>,
}

/// All that the guest's runs of `ringwatch check` told.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Without `--probes`.
    pub(super) free: Check,
    /// By plan; absent: it left no report.
    pub(super) forced: BTreeMap<String, Check>,
}

impl Check {
    pub(super) fn chosen(&self) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.kind.as_str())
    }

    /// What became of `plan`, which was asked for.
    fn record(&self, plan: &str) -> PlanRecord {
        let problem = self.lasting_problem().or_else(|| match &self.plan {
            Some(chosen) if chosen.kind == plan => None,
            Some(chosen) => {
                Some(format!("{} runs in its place: {}", chosen.kind, self.refused().unwrap_or(&chosen.why)))
            }
            None => Some("no reason was given".to_owned()),
        });
        let runs = problem.is_none();
        let capabilities = if runs { self.capabilities.clone() } else { vec![] };
        let probes = self.probes.iter().filter(|probe| probe.verdict != "not_needed").cloned().collect();
        PlanRecord { runs, problem, capabilities, probes, tests: None, cost: None }
    }

    /// The problem without the release, which changes with every update of the package.
    pub(super) fn lasting_problem(&self) -> Option<String> {
        let release = self.facts["release"].as_str().unwrap_or_default();
        self.problem.as_ref().map(|problem| problem.replace(&format!(" ({release})"), ""))
    }

    fn refused(&self) -> Option<&str> {
        self.probes.iter().find(|probe| probe.verdict == "broken").and_then(|probe| probe.reason.as_deref())
    }
}

impl Checks {
    pub(super) fn plans(&self) -> BTreeMap<String, PlanRecord> {
        self.forced.iter().map(|(plan, check)| (plan.clone(), check.record(plan))).collect()
    }

    /// Of a program that several plans load, the larger: they differ by their configuration.
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        for check in self.forced.values().chain([&self.free]) {
            let object = check.plan.as_ref().and_then(|plan| plan.object.as_deref());
            for program in &check.programs {
                // Objects may have programs of one name.
                let name = object.map_or_else(|| program.name.clone(), |object| format!("{object}/{}", program.name));
                let figure = figures.entry(name).or_default();
                if program.figure.instructions > figure.instructions {
                    *figure = program.figure;
                }
            }
        }
        figures
    }
}

impl Saved {
    pub(super) fn load(series: Series) -> Result<Option<Self>> {
        let path = path(series)?;
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    pub(super) fn save(&self, series: Series) -> Result<()> {
        let path = path(series)?;
        let directory = path.parent().context("the file has no directory")?;
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Plans that ran when this was saved, and do not now, with the reason.
    pub(super) fn lost(&self, now: &BTreeMap<String, PlanRecord>) -> Vec<String> {
        let ran = self.plans.iter().filter(|(_, plan)| plan.runs).map(|(name, _)| name);
        ran.filter_map(|name| {
            let why = match now.get(name) {
                Some(plan) if plan.runs => return None,
                Some(plan) => plan.problem.as_deref().unwrap_or("no reason was given"),
                None => "`ringwatch check` left no report of it",
            };
            Some(format!("the plan {name} ran here when tests/kernels was written, and does not now: {why}"))
        })
        .collect()
    }
}

/// All that is saved, oldest kernel first.
pub(crate) fn all() -> Result<BTreeMap<Series, Saved>> {
    let directory = dist::root()?.join("tests/kernels");
    let mut all = BTreeMap::new();
    for file in fs::read_dir(&directory).into_iter().flatten().flatten() {
        let path = file.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(Ok(series)) = name.strip_suffix(".json").map(str::parse::<Series>) {
            all.insert(series, read(&path)?);
        }
    }
    Ok(all)
}

fn path(series: Series) -> Result<PathBuf> {
    Ok(dist::root()?.join(format!("tests/kernels/{series}.json")))
}

fn read(path: &Path) -> Result<Saved> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what `cargo xtask vm --save` writes: remove it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value) -> Check {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_plan_runs_where_no_other_takes_its_place() {
        let runs = check(json!({"plan": {"kind": "a"}, "capabilities": [{"name": "x", "yes": true}]})).record("a");
        assert!(runs.runs && runs.problem.is_none() && runs.capabilities.len() == 1);
        let other = json!({"plan": {"kind": "b", "why": "w"}, "capabilities": [{"name": "x", "yes": true}]});
        let other = check(other).record("a");
        assert!(!other.runs && other.capabilities.is_empty());
        assert_eq!(other.problem.as_deref(), Some("b runs in its place: w"));
        let refused = json!({
            "plan": {"kind": "b", "why": "w"},
            "probes": [{"probe": "p", "verdict": "broken", "reason": "r"}]
        });
        assert_eq!(check(refused).record("a").problem.as_deref(), Some("b runs in its place: r"));
        let none = json!({"plan": null, "problem": "p (6.1-2)", "facts": {"release": "6.1-2"}});
        let none = check(none).record("a");
        assert_eq!((none.runs, none.problem.as_deref()), (false, Some("p")));
    }

    #[test]
    fn what_is_lost_is_told() {
        let plan = |runs| PlanRecord { runs, ..PlanRecord::default() };
        let plans = |of: &[(&str, bool)]| of.iter().map(|&(name, runs)| (name.to_owned(), plan(runs))).collect();
        let saved = Saved { plans: plans(&[("a", true), ("b", true), ("c", false), ("d", true)]), ..Saved::default() };
        let lost = saved.lost(&plans(&[("a", true), ("b", false), ("c", false)]));
        assert!(matches!(&lost[..], [b, d] if b.contains("plan b ran") && d.contains("no report")), "{lost:?}");
    }

    #[test]
    fn of_a_program_the_larger_figure_counts() {
        let of = |n: u64| check(json!({"programs": [{"name": "p", "instructions": n, "verification_us": n}]}));
        let other = json!({"plan": {"kind": "c", "object": "o"}, "programs": [{"name": "p", "instructions": 4}]});
        let checks = Checks {
            free: of(1),
            forced: [("a".to_owned(), of(3)), ("b".to_owned(), of(2)), ("c".to_owned(), check(other))].into(),
        };
        assert_eq!(checks.figures()["o/p"].instructions, 4);
        assert_eq!(checks.figures()["p"], Figure { instructions: 3, verification_us: 3 });
    }
}
