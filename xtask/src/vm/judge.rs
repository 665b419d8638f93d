//! What a virtual machine's end means, against what is recorded of its kernel.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::outcome::{Console, Tests};
use super::qemu::{End, Ended};
use super::report::Entry;
use super::saved::{self, Checks, Saved};
use super::verifier::{self, Recorded};
use super::{Arguments, last_lines};

/// What a VM that came up means.
pub(super) fn judge(
    entry: &mut Entry,
    ended: &Ended,
    checks: Result<Checks>,
    outcomes: &str,
    arguments: &Arguments,
) -> Result<()> {
    let console = Console::parse(&ended.console);
    let plans = saved::plans();
    entry.tests = Tests::parse(outcomes, &plans);
    entry.tests.skip(&console, &plans);
    let costs: BTreeMap<_, _> = plans.iter().filter_map(|p| Some((p.clone(), console.cost(p)?))).collect();
    entry.load_seconds = console.load;
    entry.skipped_cases = console.skipped;
    entry.skipped_tests = console.skipped_tests;
    entry.left_out = console.left_out;
    entry.notes = console.notes;

    if arguments.cost {
        return record_costs(entry, &costs);
    }
    if let Ok(checks) = &checks {
        let refused = compare(entry, checks, arguments)?;
        if let Some(problem) = &checks.free.problem {
            let problem = format!("ringwatch check: {problem}");
            if refused {
                entry.skipped = Some(problem);
            } else {
                entry.problems.push(problem);
            }
            return Ok(());
        }
    }
    let unfinished = entry.tests.unfinished.as_ref().map(|test| format!(" during {test}")).unwrap_or_default();
    match &ended.end {
        End::Died => bail!("the VM died{unfinished}{}", last_lines(ended)),
        End::TimedOut => bail!("the VM did not end in time{unfinished}{}", last_lines(ended)),
        End::Status(status) if !entry.tests.complete => {
            bail!("the tests ended with status {status}{unfinished}{}", last_lines(ended));
        }
        End::Status(status) if status != "0" && entry.tests.failures.is_empty() => {
            bail!("the guest ended with status {status}{}", last_lines(ended));
        }
        End::Status(_) => {}
    }
    // Everything else went well: without its report something is wrong all the same.
    checks.map(|_| ())
}

fn record_costs(entry: &mut Entry, costs: &BTreeMap<String, f64>) -> Result<()> {
    let mut saved = Saved::load(entry.series)?.context("nothing is recorded of this kernel: run with --save first")?;
    for (name, plan) in saved.plans.iter_mut().filter(|(_, plan)| plan.runs) {
        let cost = costs.get(name).with_context(|| format!("the guest told no cost of the plan {name}"))?;
        entry.notes.push(format!("a traced write costs {cost:.2} times an untraced one under the plan {name}"));
        plan.cost = Some(*cost);
    }
    saved.save(entry.series)
}

/// Against what is recorded of this kernel, and records it anew where that is wanted. Whether this kernel is known
/// for running no plan.
fn compare(entry: &mut Entry, checks: &Checks, arguments: &Arguments) -> Result<bool> {
    entry.plan = checks.free.chosen().map(str::to_owned);
    entry.plans = checks.plans();
    if arguments.filter.is_none() && entry.tests.complete {
        for (name, plan) in &mut entry.plans {
            plan.tests = entry.tests.plans.get(name).copied();
            if plan.runs && plan.tests.is_none() {
                entry.problems.push(format!("the plan {name} runs here, but the corpus did not run under it"));
            }
        }
    }

    let before = Saved::load(entry.series)?;
    for (name, plan) in &mut entry.plans {
        plan.cost = before.as_ref().and_then(|saved| saved.plans.get(name)?.cost);
    }
    entry.problems.extend(before.iter().flat_map(|saved| saved.lost(&entry.plans)));
    let mut recorded = Recorded::load()?;
    let figures = checks.figures();
    entry.problems.extend(verifier::excess(&figures));
    match recorded.of(entry.series) {
        _ if figures.is_empty() => {}
        Some(before) => entry.changes = verifier::changes(before, &figures),
        None => {
            entry
                .notes
                .push("tests/kernels/verifier.json has no figures of this series: --save writes them".to_owned());
        }
    }
    if arguments.save {
        let saved = Saved {
            release: entry.release.clone().unwrap_or_default(),
            package: entry.package.clone(),
            chosen: entry.plan.clone(),
            problem: checks.free.lasting_problem(),
            facts: checks.free.facts.clone(),
            plans: entry.plans.clone(),
        };
        saved.save(entry.series)?;
        if !figures.is_empty() {
            recorded.save(entry.series, figures)?;
        }
    }
    Ok(before.map_or(arguments.save, |saved| saved.plans.values().all(|plan| !plan.runs)))
}
