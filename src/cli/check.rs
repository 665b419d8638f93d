//! `ringwatch check`.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, print};
use crate::kernel::driver::{self, Options, Storage};
use crate::kernel::facts::Facts;
use crate::kernel::health::{ProbeHealth, Verdict};
use crate::kernel::plan::{Plan, Twin, plan};

/// Tell what this kernel offers, which probe plan would run and why, and what is missing.
///
/// Every probe of the plan is loaded and attached for a moment. Exits with 1 when nothing can be traced.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    facts: Facts,
    plan: Option<Plan>,
    probes: Vec<ProbeHealth>,
    /// What keeps ringwatch from tracing.
    problem: Option<String>,
    /// What to know before tracing.
    notes: Vec<String>,
}

/// Enough to see that a buffer can be made.
const BUFFER: u32 = 64 * 1024;

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = report(Facts::collect());
    let text = if arguments.json { serde_json::to_string_pretty(&report)? + "\n" } else { text(&report) };
    print(&text)?;
    Ok(if report.problem.is_none() { Exit::Success } else { Exit::Failure })
}

fn report(facts: Facts) -> Report {
    let notes = notes(&facts);
    let mut report = Report { facts, plan: None, probes: vec![], problem: None, notes };
    match plan(&report.facts, None) {
        Err(refusal) => report.problem = Some(refusal.to_string()),
        Ok(mut plan) => {
            plan.follow_tree();
            let mut storage = Storage::default();
            let started = driver::start(&mut storage, &plan, &Options { buffer_size: BUFFER, ..Options::default() });
            match started {
                Err(error) => report.problem = Some(error.to_string()),
                Ok(session) => {
                    report.probes = session.health().to_vec();
                    plan = session.plan().clone();
                }
            }
            report.plan = Some(plan);
        }
    }
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
    line(
        "privileges",
        &match facts.capabilities {
            None => "unknown".to_owned(),
            Some(c) if c.sys_admin => "CAP_SYS_ADMIN".to_owned(),
            Some(c) => format!("CAP_BPF: {}, CAP_PERFMON: {}", yes(c.bpf), yes(c.perfmon)),
        },
    );
    line("BTF", if facts.btf.is_some() { "yes" } else { "no" });
    if let Some(btf) = &facts.btf {
        line("io_uring", yes(btf.io_uring));
        line("tracepoints", &btf.tracepoints.keys().cloned().collect::<Vec<_>>().join(" "));
        line("typed reads", yes(btf.functions.iter().any(|f| f == "bpf_rdonly_cast")));
    }
    line("lockdown", facts.lockdown.as_deref().unwrap_or("unknown"));
    if let Some(plan) = &report.plan {
        line("plan", &format!("{}: {}", plan.kind, plan.why));
    }
    for health in &report.probes {
        let verdict = match &health.verdict {
            Verdict::Attached { twin: Twin::Typed } => "attached, typed".to_owned(),
            Verdict::Attached { twin: Twin::Raw } => "attached, raw".to_owned(),
            Verdict::Unsupported { reason } => format!("unsupported: {reason}"),
            Verdict::Broken { reason } => {
                format!("broken: {reason}; {}", health.probe.without().unwrap_or("nothing works without it"))
            }
        };
        let _ = writeln!(out, "  {:<26} {verdict}", health.probe.name());
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
