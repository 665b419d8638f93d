//! The figures as a table, as verdicts on the budget, and as JSON.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;
use super::run::{Run, Traced};
use super::stats::{Spread, per, ratios};
use super::variants::{BASE, DIRECT, FLOOR, NOP, PACED, Program, SHARED, TIGHT, VARIANTS, WORKLOADS, Workload};

/// Everything, in the form of the JSON file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    workload_cpu: usize,
    tracer_cpu: usize,
    pub(super) parts: Vec<Part>,
}

/// A workload under its tracers.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    workload: &'static str,
    about: &'static str,
    rounds: u32,
    variants: Vec<Summary>,
    verdicts: Vec<Verdict>,
    runs: Vec<Run>,
}

/// A variant over all rounds.
#[derive(Debug, Serialize)]
struct Summary {
    variant: &'static str,
    about: &'static str,
    cpu_ns_per_write: Spread,
    wall_ns_per_write: Spread,
    /// To the variant without a tracer.
    ratio: Option<Spread>,
    /// To the variant with empty programs.
    ratio_to_empty: Option<Spread>,
    /// Of the time that the workload took, to the variant without a tracer.
    wall_ratio: Option<Spread>,
    tracer: Option<TracerSummary>,
}

#[derive(Debug, Serialize)]
struct TracerSummary {
    cpu_ns_per_event: Option<Spread>,
    /// Of all runs.
    lost: u64,
    peak_rss_bytes: Option<Spread>,
    ready_ms: Option<Spread>,
    stop_ms: Option<Spread>,
}

/// A line of the budget.
#[derive(Debug, Serialize)]
struct Verdict {
    what: &'static str,
    measured: f64,
    limit: f64,
    /// Or at least.
    at_most: bool,
    unit: &'static str,
    met: bool,
}

impl Report {
    pub(super) fn new(machine: Machine, workload_cpu: usize, tracer_cpu: usize) -> Self {
        Self { machine, workload_cpu, tracer_cpu, parts: vec![] }
    }

    /// How many runs do not add up.
    pub(super) fn inconsistent(&self) -> usize {
        self.parts.iter().flat_map(|p| &p.runs).filter(|r| r.inconsistency.is_some()).count()
    }
}

impl Part {
    pub(super) fn new(workload: &'static Workload, rounds: u32, runs: Vec<Run>) -> Self {
        let variants: Vec<Summary> = VARIANTS.iter().filter_map(|v| Summary::of(v.name, v.about, &runs)).collect();
        let verdicts = verdicts(&variants, workload.name);
        Self { workload: workload.name, about: workload.about, rounds, variants, verdicts, runs }
    }
}

/// A variant's figure of each round.
fn series(runs: &[Run], variant: &str, figure: impl Fn(&Run) -> f64) -> Vec<(u32, f64)> {
    runs.iter().filter(|r| r.variant == variant).map(|r| (r.round, figure(r))).collect()
}

impl Summary {
    /// `None`: the variant did not run.
    fn of(variant: &'static str, about: &'static str, runs: &[Run]) -> Option<Self> {
        let cpu = |variant: &str| series(runs, variant, |r| r.load.cpu_ns_per_write);
        let wall = |variant: &str| series(runs, variant, |r| r.load.wall_ns_per_write);
        let own = cpu(variant);
        Some(Self {
            variant,
            about,
            cpu_ns_per_write: Spread::of(own.iter().map(|&(_, ns)| ns))?,
            wall_ns_per_write: Spread::of(wall(variant).iter().map(|&(_, ns)| ns))?,
            ratio: ratios(&own, &cpu(BASE)),
            ratio_to_empty: ratios(&own, &cpu(FLOOR)),
            wall_ratio: ratios(&wall(variant), &wall(BASE)),
            tracer: TracerSummary::of(runs.iter().filter(|r| r.variant == variant).filter_map(|r| r.tracer.as_ref())),
        })
    }
}

impl TracerSummary {
    fn of<'a>(traced: impl Iterator<Item = &'a Traced>) -> Option<Self> {
        let all: Vec<_> = traced.collect();
        let spread = |figure: fn(&Traced) -> f64| Spread::of(all.iter().map(|t| figure(t)));
        (!all.is_empty()).then(|| Self {
            cpu_ns_per_event: Spread::of(all.iter().filter_map(|t| t.cpu_ns_per_event)),
            lost: all.iter().map(|t| t.lost).sum(),
            peak_rss_bytes: spread(|t| t.peak_rss_bytes as f64),
            ready_ms: spread(|t| t.ready_ms),
            stop_ms: spread(|t| t.stop_ms),
        })
    }
}

/// The budget, as far as it was measured: each line compares a figure with what it has to be.
fn verdicts(variants: &[Summary], workload: &str) -> Vec<Verdict> {
    let of = |name| variants.iter().find(|v: &&Summary| v.variant == name);
    let tracer = |figure: fn(&TracerSummary) -> Option<f64>| of("json").and_then(|v| figure(v.tracer.as_ref()?));
    let median = |spread: Option<Spread>| spread.map(|s| s.median);
    let ratio = |name| median(of(name).and_then(|v| v.ratio));
    let floor = |name| median(of(name).and_then(|v| v.ratio_to_empty));
    let wall = median(of("json").and_then(|v| v.wall_ratio));
    // Of what tracing adds to a write.
    let cheaper = |name| Some((ratio(name)? - 1.0) / (ratio("json")? - 1.0));
    let lost = tracer(|t| Some(t.lost as f64));
    let ready = tracer(|t| Some(t.ready_ms?.median));
    let resident = tracer(|t| Some(t.peak_rss_bytes?.max / MIB));
    let most = |what, measured, limit, unit| (what, measured, limit, unit, true);
    let least = |what, measured, limit, unit| (what, measured, limit, unit, false);
    let lines = match workload {
        TIGHT => vec![
            most("json: CPU time of the workload", ratio("json"), 1.8, "x none"),
            most("json: writes lost", lost, 0.0, ""),
            most("pid: CPU time of the workload", floor("pid"), 1.15, "x empty"),
            most("uid: CPU time of the workload", floor("uid"), 1.15, "x empty"),
            most("stat: CPU time of the workload", ratio("stat"), 1.65, "x none"),
            least("perf: CPU time it adds", cheaper("perf"), 3.0, "x json"),
            least("bpftrace: CPU time it adds", cheaper("bpftrace"), 15.0, "x json"),
            most("json: ready after", ready, 300.0, "ms"),
            most("json: resident memory", resident, 48.0, "MiB"),
        ],
        NOP => vec![most("json: CPU time of the workload", floor("json"), 1.15, "x empty")],
        DIRECT => vec![most("json: time of the workload", wall, 1.03, "x none")],
        PACED | SHARED => vec![most("json: writes lost", lost, 0.0, "")],
        _ => vec![],
    };
    lines
        .into_iter()
        .filter_map(|(what, measured, limit, unit, at_most)| {
            let measured = measured?;
            let met = if at_most { measured <= limit } else { measured >= limit };
            Some(Verdict { what, measured, limit, at_most, unit, met })
        })
        .collect()
}

const MIB: f64 = 1024.0 * 1024.0;

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, {} rounds", self.workload, self.about, self.rounds)?;
        writeln!(f, "          workload, CPU ns/write                  time   ringwatch")?;
        writeln!(
            f,
            "variant    median     min     max  x none x empty x none    ns/event      lost  RSS MiB  ready ms"
        )?;
        for variant in &self.variants {
            writeln!(f, "{variant}")?;
        }
        for verdict in &self.verdicts {
            writeln!(f, "{verdict}")?;
        }
        self.write_doubts(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.machine.cpu.as_deref().unwrap_or("unknown CPU");
        write!(f, "Linux {}, {cpu}, {} cores", self.machine.kernel, self.machine.cores)?;
        if self.machine.bpf_stats.as_deref() == Some("1") {
            let what = "kernel.bpf_stats_enabled takes the time of each program's run: set it to 0";
            write!(f, "\ndoubtful: {what}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        let median = |spread: Option<Spread>| spread.map(|s| s.median);
        let Spread { median: middle, min, max } = self.cpu_ns_per_write;
        let (ratio, floor) = (number(median(self.ratio), 2), number(median(self.ratio_to_empty), 2));
        let wall = number(median(self.wall_ratio), 2);
        write!(f, "{:<9} {middle:>7.0} {min:>7.0} {max:>7.0} {ratio:>7} {floor:>7} {wall:>6}", self.variant)?;
        let Some(tracer) = &self.tracer else { return Ok(()) };
        let event = number(median(tracer.cpu_ns_per_event), 0);
        let rss = number(tracer.peak_rss_bytes.map(|s| s.max / MIB), 1);
        let ready = number(median(tracer.ready_ms), 0);
        write!(f, "   {event:>8} {:>9} {rss:>8} {ready:>9}", tracer.lost)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, measured, limit, at_most, unit, met } = self;
        let verdict = if *met { "met" } else { "not met" };
        let figure = |value: f64| if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.2}") };
        write!(f, "{:<8}{what}: {}", verdict, format!("{} {unit}", figure(*measured)).trim_end())?;
        write!(f, " (at {} {})", if *at_most { "most" } else { "least" }, figure(*limit))
    }
}

impl Part {
    /// Why not to trust the figures.
    fn write_doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            if let Some(what) = &run.inconsistency {
                writeln!(f, "WRONG: round {}, {}: {what}", run.round + 1, run.variant)?;
            }
        }
        let distorted = self.runs.iter().filter(|r| r.others_attached > 0).count();
        if distorted > 0 {
            writeln!(f, "doubtful: in {distorted} runs, others had programs attached to io_uring")?;
        }
        let writers = self.runs.iter().filter_map(|r| r.tracer.as_ref()?.lines).filter(|l| l.others > 0).count();
        if writers > 0 {
            writeln!(f, "doubtful: in {writers} runs, other processes wrote through io_uring")?;
        }
        for variant in self.variants.iter().filter(|v| v.tracer.as_ref().is_some_and(|t| t.lost > 0)) {
            // There is no record to copy once the buffer is full.
            writeln!(f, "doubtful: lost writes cost the workload less, {} would be slower without", variant.variant)?;
        }
        let waited = waited(&self.runs);
        let paced = WORKLOADS.iter().any(|w| w.name == self.workload && (w.paced || w.program == Program::Fio));
        if waited > 0.05 && !paced {
            writeln!(
                f,
                "doubtful: the workload waited {:.0} % of its time for its CPU: stop what else runs",
                waited * 100.0
            )?;
        }
        Ok(())
    }
}

/// The share of its time that the workload had no CPU. Unless it is paced, it never sleeps: on a quiet machine, there is none.
fn waited(runs: &[Run]) -> f64 {
    let (cpu, wall) = runs.iter().fold((0, 0), |(cpu, wall), r| (cpu + r.load.cpu_ns, wall + r.load.wall_ns));
    1.0 - per(cpu, wall).unwrap_or(1.0)
}
