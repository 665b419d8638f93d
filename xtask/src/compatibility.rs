//! docs/compatibility.md: what was seen on which kernel, from tests/kernels/SERIES.json alone.

use std::collections::BTreeMap;

use crate::table;
use crate::vm::outcome::Tally;
use crate::vm::saved::{PlanRecord, Saved, Series};

type Kernels = BTreeMap<Series, Saved>;

const INTRODUCTION: &str = "\
# Compatibility

Made by `cargo xtask docs` from `tests/kernels/`; do not edit. `cargo xtask vm --save` writes those files: it starts each
kernel in a virtual machine, asks `ringwatch check` for every probe plan, and runs the kernel-facing tests. Their corpus
is a program that knows each of its io_uring writes; under every plan, in each form of the plan's programs, all fields
of all events must be as that program says.

The kernels are those of Debian's cloud flavour, on x86-64, with Debian's patches: 5.10 has the io_uring of 5.15.
";

const LEGEND: &str = "\
- *tested*: the plan runs, and every case of the corpus passed or was skipped. A case counts once for each form of the
  plan's programs (typed and raw reads). It is skipped where the kernel or the virtual machine cannot do what it is about.
- *runs*: the plan loads and attaches, and was not tested.
- `-`: the plan does not run.
- *Default*: the plan without `--probes`.
";

/// Written by hand.
const ELSEWHERE: &str = "\
## What was run elsewhere

No package of these kernels is to be had, so they were built from their sources (x86-64, gcc 12, a small configuration with
MEMCG and BTF) and run under emulation, in the last week of November 2026. Their verifiers refused the programs of then
(commit 35c9f68), so the figures are of those with trial mends: of bounds, of arguments as numbers, and of a ring's files
before 5.13. Those of today have mends of their own and were not run there; `tests/kernel/verifier/` shows that the verifiers of
5.4 and 5.6 would take them.

| Kernel | Plans | Result |
|---|---|---|
| 5.1.15 | none | refused: its verifier takes no global data and no loops |
| 5.4.286 | kprobe-legacy | 18,825 of the corpus's 18,920 writes equal in all fields; 78 without an event (refused before their first attempt), 17 by presumptions of the workload. Of 90 single writes 5 that failed before their file told late as unknown, since mended. Bursts of 2,000 to 20,000 writes: each told or counted as lost; 8.4 % of O_DIRECT on SQPOLL with unknown outcome |
| 5.6.4 | fentry, kprobe | 18,871 of 19,004 equal in all fields (plan kprobe); others without an event (refused before `io_write`), executor `kernel` for `io-wq` (21) and `fd` -1 for null (23), both since mended. 8 of 18 writes first seen in a worker told as the ring creator's, since mended |

On 5.4.286 followers of links and drained writes were reported with the executor `kernel`, and on both kernels
`sqpoll_host_tid` was null: since mended.
";

/// Written by hand.
const NOT_RUN: &str = "\
## What was not run

- **5.1 and 5.2**: refused by name; see [design.md](design.md).
- **5.3**: like 5.4, by the kernel's sources alone.
- **5.5 to 5.9 but 5.6, 5.11 to 5.19, 6.2 to 6.11, 6.13 to 6.15**: not obtainable as packages that start without building a kernel.
- **Other processors than x86-64**: the programs are compiled for arm64, but not loaded there.
- **Kernels configured otherwise**: Debian's have BTF, kprobes, function tracing and io_uring. `ringwatch check` reports what
  another one lacks.
";

pub(crate) fn markdown(kernels: &Kernels) -> String {
    let mut sections = vec![INTRODUCTION.to_owned(), overview(kernels)];
    let plans = plans(kernels);
    sections.push(costs(kernels, &plans));
    sections.extend(plans.iter().map(|plan| capabilities(kernels, plan)));
    sections.push(absent(kernels, &plans));
    sections.push(ELSEWHERE.to_owned());
    sections.push(NOT_RUN.to_owned());
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// All plans, in the order of `--probes`, then those that are no more.
fn plans(kernels: &Kernels) -> Vec<String> {
    let mut plans = crate::vm::saved::plans();
    for plan in kernels.values().flat_map(|kernel| kernel.plans.keys()) {
        if !plans.contains(plan) {
            plans.push(plan.clone());
        }
    }
    plans
}

fn overview(kernels: &Kernels) -> String {
    if kernels.is_empty() {
        return "No kernel was tested yet.\n".to_owned();
    }
    let plans = plans(kernels);
    let mut rows = vec![[["Kernel", "Package", "Default"].map(str::to_owned).to_vec(), plans.clone()].concat()];
    for (series, kernel) in kernels {
        let package = kernel.package.as_ref().map(|package| format!("{} {}", package.name, package.version));
        let chosen = kernel.chosen.clone().unwrap_or_else(|| "-".to_owned());
        let mut row = vec![series.to_string(), package.unwrap_or_default(), chosen];
        row.extend(plans.iter().map(|plan| kernel.plans.get(plan).map_or_else(|| "not asked".to_owned(), state)));
        rows.push(row);
    }
    format!("## Plans\n\n{}\n{LEGEND}", table::markdown(&rows))
}

fn state(plan: &PlanRecord) -> String {
    match plan.tests {
        _ if !plan.runs => "-".to_owned(),
        Some(Tally { passed, failed: 0, skipped }) if passed > 0 => match skipped {
            0 => format!("tested: {passed} cases"),
            _ => format!("tested: {passed} cases, {skipped} skipped"),
        },
        Some(Tally { passed, failed: 1.., .. }) => format!("runs: {passed} cases passed, not all"),
        _ => "runs".to_owned(),
    }
}

const COSTS: &str = "\
Instructions of a program that writes 512 bytes to /dev/null at depth 32, traced in full, as a ratio to the same without
ringwatch, counted by the emulator (`cargo xtask vm --cost`): the least of 15 runs. Instructions are not time: these
figures rank the plans, and are no promise.
";

fn costs(kernels: &Kernels, plans: &[String]) -> String {
    let mut rows = vec![[vec!["Kernel".to_owned()], plans.to_vec()].concat()];
    for (series, kernel) in kernels {
        let cost = |plan: &String| kernel.plans.get(plan).and_then(|p| p.cost).map(|c| format!("{c:.2}"));
        let costs: Vec<Option<String>> = plans.iter().map(cost).collect();
        if costs.iter().any(Option::is_some) {
            let cells = costs.into_iter().map(|c| c.unwrap_or_else(|| "-".to_owned()));
            rows.push(std::iter::once(series.to_string()).chain(cells).collect());
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    format!("## Cost\n\n{COSTS}\n{}", table::markdown(&rows))
}

/// Capability by kernel, and the means where there is something to say of them.
fn capabilities(kernels: &Kernels, plan: &str) -> String {
    let runs: Vec<(&Series, &PlanRecord)> = kernels
        .iter()
        .filter_map(|(series, kernel)| Some((series, kernel.plans.get(plan).filter(|plan| plan.runs)?)))
        .collect();
    let mut names: Vec<&str> = vec![];
    for capability in runs.iter().flat_map(|(_, plan)| &plan.capabilities) {
        if !names.contains(&capability.name.as_str()) {
            names.push(&capability.name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let header = std::iter::once(String::new()).chain(runs.iter().map(|(series, _)| series.to_string()));
    let mut rows: Vec<Vec<String>> = vec![header.collect()];
    let mut means = String::new();
    for name in names {
        let of = |plan: &PlanRecord| plan.capabilities.iter().find(|capability| capability.name == name).cloned();
        let mut row = vec![name.to_owned()];
        let mut hows: Vec<(String, Vec<String>)> = vec![];
        for (series, plan) in &runs {
            let capability = of(plan);
            row.push(capability.as_ref().map_or("-", |c| if c.yes { "yes" } else { "no" }).to_owned());
            let Some(how) = capability.map(|c| c.how).filter(|how| !how.is_empty()) else { continue };
            match hows.iter_mut().find(|(known, _)| *known == how) {
                Some((_, all)) => all.push(series.to_string()),
                None => hows.push((how, vec![series.to_string()])),
            }
        }
        rows.push(row);
        let hows = hows.into_iter().map(|(how, series)| {
            if series.len() == runs.len() { how } else { format!("{how} ({})", series.join(", ")) }
        });
        let hows = hows.collect::<Vec<_>>().join("; ");
        if !hows.is_empty() {
            means += &format!("- {name}: {hows}\n");
        }
    }
    let mut text = format!("## Plan {plan}\n\n{}", table::markdown(&rows));
    if !means.is_empty() {
        text += &format!("\n{means}");
    }
    text
}

/// Plans that do not run, and probes that running plans do without.
fn absent(kernels: &Kernels, plans: &[String]) -> String {
    let mut lines: Vec<(String, Vec<String>)> = vec![];
    let mut tell = |line: String, series: &Series| match lines.iter_mut().find(|(known, _)| *known == line) {
        Some((_, all)) => all.push(series.to_string()),
        None => lines.push((line, vec![series.to_string()])),
    };
    for (series, kernel) in kernels {
        if let Some(problem) = kernel.problem.as_ref().filter(|_| kernel.plans.is_empty()) {
            tell(format!("ringwatch does not run: {}", one_line(problem)), series);
        }
    }
    for name in plans {
        for (series, kernel) in kernels {
            let Some(plan) = kernel.plans.get(name) else { continue };
            if let Some(problem) = &plan.problem {
                tell(format!("plan `{name}` does not run: {}", one_line(problem)), series);
                continue;
            }
            for probe in &plan.probes {
                if let ("unsupported" | "broken", Some(reason)) = (probe.verdict.as_str(), &probe.reason) {
                    tell(format!("plan `{name}` does without {}: {}", probe.probe, one_line(reason)), series);
                }
            }
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let lines = lines.into_iter().map(|(line, series)| format!("- {}: {line}\n", series.join(", ")));
    format!("## What is absent\n\n{}", lines.collect::<String>())
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::saved::{Capability, ProbeRecord};

    fn kernel(plan: PlanRecord) -> Saved {
        Saved { plans: [("kprobe".to_owned(), plan)].into(), ..Saved::default() }
    }

    fn runs(tests: Option<Tally>, how: &str) -> PlanRecord {
        let capability = Capability { name: "latency".to_owned(), yes: true, how: how.to_owned() };
        PlanRecord { runs: true, capabilities: vec![capability], tests, ..PlanRecord::default() }
    }

    #[test]
    fn only_what_passed_is_tested() {
        let tally = |passed, failed, skipped| Some(Tally { passed, failed, skipped });
        for (tests, wanted) in [
            (None, "runs"),
            (tally(3, 0, 0), "tested: 3 cases"),
            (tally(3, 0, 1), "tested: 3 cases, 1 skipped"),
            (tally(0, 0, 3), "runs"),
            (tally(2, 1, 0), "runs: 2 cases passed, not all"),
        ] {
            assert_eq!(state(&runs(tests, "")), wanted);
        }
        assert_eq!(state(&PlanRecord { tests: tally(3, 0, 0), ..PlanRecord::default() }), "-");
    }

    #[test]
    fn equal_means_and_reasons_are_told_once() {
        let probe = ProbeRecord {
            probe: "p".to_owned(),
            verdict: "unsupported".to_owned(),
            twin: None,
            reason: Some("gone".to_owned()),
        };
        let mut one = runs(None, "by a");
        one.probes = vec![probe];
        let kernels: Kernels = [
            (Series(6, 12), kernel(runs(None, "by b"))),
            (Series(6, 1), kernel(one.clone())),
            (Series(6, 2), kernel(one)),
            (Series(5, 10), kernel(PlanRecord { problem: Some("no".to_owned()), ..PlanRecord::default() })),
        ]
        .into();
        let text = markdown(&kernels);
        assert!(text.contains("|  | 6.1 | 6.2 | 6.12 |\n|---|---|---|---|\n| latency | yes | yes | yes |\n"), "{text}");
        assert!(text.contains("- latency: by a (6.1, 6.2); by b (6.12)\n"), "{text}");
        assert!(text.contains("- 5.10: plan `kprobe` does not run: no\n"), "{text}");
        assert!(text.contains("- 6.1, 6.2: plan `kprobe` does without p: gone\n"), "{text}");
    }
}
