//! `cargo xtask bench`: what tracing costs the traced program, and ringwatch itself.
//!
//! The same workload runs under each variant in turn, round after round; what is compared are the runs of one
//! round, so that a machine that gets slower does not look like a slow tracer.

mod empty;
pub(crate) mod growth;
mod hostile;
mod machine;
mod process;
mod report;
mod run;
mod stats;
mod tally;
mod variants;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use ringwatch::kernel::facts::{Facts, Sources};
use ringwatch::kernel::plan::{Plan, Probe, Wanted};
use serde_json::Value;

use self::machine::Machine;
use self::process::{Signals, may_use, pin};
use self::report::{Part, Report};
use self::run::{Bench, Run, TRACER_CPU, WORKLOAD_CPU};
use self::variants::{BASE, FLOOR, Program, TIGHT, Tracer, VARIANTS, Variant, WORKLOADS, Workload};

const RUNS: u32 = 11;
/// As many as the default buffer takes at full speed: a lost event costs the workload less, and would flatter.
const WRITES: u64 = 300_000;
const QUICK_RUNS: u32 = 5;
const QUICK_WRITES: u64 = 200_000;
const QUICK_VARIANTS: [&str; 5] = [BASE, FLOOR, "json", "pid", "stat"];
/// More than a JSON line takes.
const LINE: u64 = 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The first workload alone, fewer variants, rounds and writes: tells that it works rather than how fast it is
    #[arg(long)]
    quick: bool,
    /// Loads that may harm the machine where ringwatch looks on: how much longer they take, and what they delay
    #[arg(long, conflicts_with_all = ["json", "runs", "writes", "only", "workload"])]
    hostile: bool,
    /// Where the figures go as JSON [default: bench/bench.json in the target directory]
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Rounds, in each of which each variant runs once [default: 11, quick 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Writes in a run [default: 300000, quick 200000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    writes: Option<u64>,
    /// Only these variants; ratios need the variant `none`
    #[arg(long, value_name = "VARIANT", num_args = 1.., value_parser = variants::variant_names())]
    only: Vec<String>,
    /// Only these workloads
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = variants::workload_names())]
    workload: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.hostile {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not within the project")?;
        let programs = build(root)?;
        let directory = programs.target.join("bench");
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        return hostile::run(&programs, &directory, arguments.quick);
    }
    let runs = arguments.runs.unwrap_or(if arguments.quick { QUICK_RUNS } else { RUNS });
    let writes = arguments.writes.unwrap_or(if arguments.quick { QUICK_WRITES } else { WRITES });
    let only = |name: &str| match &arguments.only[..] {
        [] => !arguments.quick || QUICK_VARIANTS.contains(&name),
        only => only.iter().any(|o| o == name),
    };
    let wanted = |workload: &Workload| match &arguments.workload[..] {
        [] => !arguments.quick || workload.name == TIGHT,
        some => some.iter().any(|s| s == workload.name),
    };

    let submit = submit_probe()?;
    for cpu in [WORKLOAD_CPU, TRACER_CPU] {
        if !may_use(cpu) {
            bail!(
                "the benchmark needs CPU {cpu}, which this process may not use: the workload and ringwatch get one each"
            );
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not within the project")?;
    let programs = build(root)?;
    let bench_directory = programs.target.join("bench");
    fs::create_dir_all(&bench_directory).with_context(|| format!("cannot make {}", bench_directory.display()))?;
    check_space(&bench_directory, writes)?;

    let machine = Machine::look(root);
    let signals = Signals::catch()?;
    pin(WORKLOAD_CPU)?;
    let mut report = Report::new(machine, WORKLOAD_CPU, TRACER_CPU);
    for workload in WORKLOADS.iter().filter(|w| wanted(w)) {
        let variants: Vec<&Variant> = (VARIANTS.iter())
            .filter(|v| only(v.name) && (workload.variants.is_empty() || workload.variants.contains(&v.name)))
            .filter(|v| is_there(v))
            .collect();
        let bench = Bench {
            ringwatch: programs.ringwatch.clone(),
            load: programs.workload.clone(),
            workload,
            arguments: workload.arguments.iter().map(|&a| a.to_owned()).collect(),
            by_children: workload.program == Program::Fio,
            writes,
            directory: &bench_directory,
            submit,
            signals: &signals,
        };
        if workload.program == Program::Fio && !installed("fio") {
            eprintln!("left out: the workload {}: fio is not installed", workload.name);
            continue;
        }
        let part = Part::new(workload, runs, measure(&bench, &variants, runs)?);
        println!("{part}");
        report.parts.push(part);
    }
    println!("{report}");
    let json = arguments.json.clone().unwrap_or_else(|| bench_directory.join("bench.json"));
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    eprintln!("figures of each run: {}", json.display());
    match report.inconsistent() {
        0 => Ok(()),
        n => bail!("{n} runs do not add up: see above; the figures mean nothing"),
    }
}

/// Whether the variant's tracer can be had; says so where not.
fn is_there(variant: &Variant) -> bool {
    let Tracer::Other(other) = variant.tracer else { return true };
    let there = installed(other.program) && installed("taskset");
    if !there {
        eprintln!("left out: the variant {}: {} is not installed", variant.name, other.program);
    }
    there
}

fn installed(program: &str) -> bool {
    process::find(program).is_some()
}

/// Rounds of all variants, each round beginning with another: none profits from its place.
fn measure(bench: &Bench<'_>, variants: &[&Variant], rounds: u32) -> Result<Vec<Run>> {
    // The first run of a program reads it from disk.
    if let Some(base) = VARIANTS.iter().find(|v| v.name == BASE) {
        bench.run(0, base)?;
    }
    let mut runs = vec![];
    for round in 0..rounds {
        let mut order = variants.to_vec();
        order.rotate_left(round as usize % variants.len());
        for variant in order {
            let run = bench.run(round, variant).with_context(|| format!("variant {}", variant.name))?;
            let name = bench.workload.name;
            eprintln!("{name}, {} of {rounds}: {:<9} {:>7.0} ns", round + 1, run.variant, run.load.cpu_ns_per_write);
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The probe of submissions; an error, with what to do, where ringwatch cannot trace.
fn submit_probe() -> Result<Probe> {
    let plan = Plan::new(&Facts::collect(&Sources::default()), &Wanted::default(), None)
        .context("this machine cannot be measured on")?;
    let submits = [Probe::IoUringSubmitReq, Probe::IoUringSubmitSqe];
    let chosen = plan.probes.iter().map(|c| c.probe).find(|p| submits.contains(p));
    chosen.context("the kernel has no tracepoint for submissions: Linux 6.0 or later is needed")
}

/// What cargo built.
struct Programs {
    ringwatch: PathBuf,
    workload: PathBuf,
    target: PathBuf,
}

fn build(root: &Path) -> Result<Programs> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--package", "ringwatch", "--package", "ringwatch-workload"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the release build failed ({})", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let executable = |name: &str| -> Result<PathBuf> {
        messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .with_context(|| format!("cargo built no {name}"))
    };
    let ringwatch = executable("ringwatch")?;
    let target = ringwatch.ancestors().nth(2).context("the built program is not within a target directory")?.to_owned();
    Ok(Programs { workload: executable("ringwatch-workload")?, ringwatch, target })
}

/// The events of one run go to a file: there has to be room, and on a disk.
fn check_space(directory: &Path, writes: u64) -> Result<()> {
    let system = statfs(directory).with_context(|| format!("cannot look at {}", directory.display()))?;
    let block = u64::try_from(system.block_size()).unwrap_or(0);
    let free = system.blocks_available().saturating_mul(block);
    let needed = writes.saturating_mul(LINE);
    if free < needed {
        bail!(
            "the events of a run need up to {} MiB in {}, where {} MiB are free: make room, or give fewer --writes",
            needed >> 20,
            directory.display(),
            free >> 20
        );
    }
    if system.filesystem_type() == TMPFS_MAGIC {
        eprintln!("warning: {} is in memory: the events do not go to a disk", directory.display());
    }
    Ok(())
}
