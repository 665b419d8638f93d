//! `ringwatch check`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, print, sources};
use crate::here::Here;
use crate::json;
use crate::kernel::driver::{self, Options, Storage, Verified};
use crate::kernel::facts::{Facts, Sources};
use crate::kernel::health::{Capability, ProbeHealth, Verdict};
use crate::kernel::plan::{Plan, PlanKind, Unable, Wanted};
use crate::kernel::probe::Probe;
use crate::selection::Selection;

/// Report what this kernel offers, which probe plan would run and why, and what is missing.
///
/// Every probe of the plan is loaded and briefly attached. The exit status is 1 if nothing can be traced.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,

    /// Try this probe plan instead of the one chosen for this kernel.
    #[arg(long, value_name = "PLAN")]
    probes: Option<PlanKind>,

    /// Read the kernel's type information (BTF) from this file.
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Where ringwatch runs.
    here: Here,
    facts: Facts,
    plan: Option<Plan>,
    /// Each probe that some plan has, with its verdict.
    probes: Vec<ProbeHealth>,
    /// The programs that were loaded.
    programs: Vec<Verified>,
    /// What the plan can report.
    capabilities: Vec<Capability>,
    /// What keeps ringwatch from tracing.
    problem: Option<String>,
    /// What to know before tracing.
    notes: Vec<String>,
}

/// Enough to see that a buffer can be made.
const BUFFER: u32 = 64 * 1024;

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let sources = Sources { all: true, ..sources(arguments.btf.as_deref(), arguments.probes)? };
    let report = report(Facts::collect(&sources), &sources, arguments.probes);
    let text = if arguments.json { json::to_string_pretty(&report)? + "\n" } else { text(&report) };
    print(&text)?;
    Ok(if report.problem.is_none() { Exit::Success } else { Exit::Failure })
}

fn report(facts: Facts, sources: &Sources, forced: Option<PlanKind>) -> Report {
    let here = Here::get().clone();
    let notes = [notes(&facts), here.notes()].concat();
    let mut report = Report {
        here,
        facts,
        plan: None,
        probes: vec![],
        programs: vec![],
        capabilities: vec![],
        problem: None,
        notes,
    };
    // Everything that the plan can report, so that every program is seen by the verifier.
    let all = Wanted { tree: true, ..Selection::all().wanted(true) };
    let (mut plan, wanted, left_out) = match Plan::most(&report.facts, all, forced) {
        Ok(most) => most,
        Err(refusal) => {
            report.problem = Some(refusal.to_string());
            return report;
        }
    };
    report.notes.extend(left_out.iter().map(Unable::to_string));
    let mut storage = Storage::default();
    let options =
        Options { buffer_size: BUFFER, btf: sources.btf.clone(), wanted, statistics: true, ..Options::default() };
    match driver::start(&mut storage, &plan, &options) {
        Err(error) => report.problem = Some(error.to_string()),
        Ok(session) => {
            report.probes = session.health().to_vec();
            report.programs = session.verified().to_vec();
            report.capabilities = session.capabilities();
            plan = session.plan().clone();
            if let Some(forced) = forced.filter(|&f| f != plan.kind) {
                report.problem =
                    Some(format!("the kernel refused the plan {forced}; it takes {}: {}", plan.kind, plan.why));
            }
        }
    }
    for probe in Probe::ALL {
        if !report.probes.iter().any(|h| h.probe == probe) {
            report.probes.push(ProbeHealth { probe, verdict: Verdict::NotNeeded });
        }
    }
    report.plan = Some(plan);
    report
}

fn notes(facts: &Facts) -> Vec<String> {
    let mut notes = vec![];
    match facts.io_uring_disabled {
        Some(1) => notes.push("kernel.io_uring_disabled=1: only privileged processes can create rings".to_owned()),
        Some(2..) => {
            notes.push("kernel.io_uring_disabled=2: no process can create a ring; existing rings go on".to_owned());
        }
        _ => {}
    }
    notes
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let facts = &report.facts;
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14} {value}");
    };
    line("kernel", &format!("{} ({})", facts.release, facts.machine));
    let here = &report.here;
    let mut place =
        if here.is_host_pid_namespace { "the host's pid namespace" } else { "a pid namespace of its own" }.to_owned();
    place.extend(here.container.iter().map(|name| format!(", a container ({name})")));
    if (here.monotonic_offset_ns, here.boottime_offset_ns) != (0, 0) {
        place += ", a time namespace of its own";
    }
    line("runs in", &place);
    line(
        "privileges",
        &match facts.capabilities {
            None => "unknown".to_owned(),
            Some(c) if c.sys_admin => "CAP_SYS_ADMIN".to_owned(),
            Some(c) => format!("CAP_BPF: {}, CAP_PERFMON: {}", yes(c.bpf), yes(c.perfmon)),
        },
    );
    line(
        "BTF",
        match &facts.btf {
            Some(btf) if btf.from_kernel => "yes",
            Some(_) => "from a file",
            None => "no",
        },
    );
    if let Some(btf) = &facts.btf {
        line("io_uring", yes(btf.io_uring));
        line("tracepoints", &btf.tracepoints.keys().cloned().collect::<Vec<_>>().join(" "));
        line("typed reads", yes(btf.functions.iter().any(|f| f == "bpf_rdonly_cast")));
    }
    if let Some(kprobes) = facts.kprobes {
        line("kprobes", yes(kprobes));
    }
    if let Some(symbols) = &facts.symbols {
        line("functions", &symbols.join(" "));
    }
    line("lockdown", facts.lockdown.as_deref().unwrap_or("unknown"));
    if let Some(plan) = &report.plan {
        line("plan", &format!("{}: {}", plan.kind, plan.why));
    }
    for health in &report.probes {
        let _ = writeln!(out, "  {:<26} {}", health.probe.place(), health.outcome());
    }
    for capability in &report.capabilities {
        let _ = writeln!(out, "reports        {}: {} ({})", capability.name, yes(capability.yes), capability.how);
    }
    for note in &report.notes {
        let _ = writeln!(out, "note           {note}");
    }
    let _ = match &report.problem {
        Some(problem) => writeln!(out, "result         ringwatch cannot trace here: {problem}"),
        None => writeln!(out, "result         ringwatch can trace here"),
    };
    out
}
