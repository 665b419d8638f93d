//! `cargo xtask growth`: how the cost of a write grows with what there is: components of its path, files, rings,
//! processes. Written to docs/growth.md and docs/growth.svg.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use plotters::prelude::*;

use super::machine::Machine;
use super::process::{Signals, may_use, pin};
use super::run::{Bench, Run, TRACER_CPU, WORKLOAD_CPU};
use super::variants::{BASE, TIGHT, VARIANTS, WORKLOADS};
use super::{Programs, build, submit_probe};
use crate::dist::root;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds, of which the least counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Writes in a run
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    writes: u64,
}

/// What grows.
struct Dimension {
    name: &'static str,
    points: &'static [u32],
    /// Arguments of `ringwatch-workload burst` for a point, given a directory with files for it.
    arguments: fn(u32, &Path) -> Vec<String>,
}

const DIMENSIONS: [Dimension; 4] = [
    Dimension {
        name: "components of the path",
        points: &[1, 2, 4, 8, 16, 32],
        arguments: |n, directory| file(&deep(directory, n)),
    },
    Dimension {
        name: "files",
        points: &[1, 10, 100, 1_000, 10_000, 100_000],
        arguments: |n, directory| {
            let mut all = file(&directory.join("file"));
            let processes = processes_of(n);
            all.extend(["--files".to_owned(), (n / processes).to_string()]);
            all.extend(["--processes".to_owned(), processes.to_string()]);
            all
        },
    },
    Dimension { name: "rings", points: &[1, 10, 100, 1_000], arguments: |n, _| of_null("--rings", n) },
    Dimension { name: "processes", points: &[1, 10, 100, 1_000], arguments: |n, _| of_null("--processes", n) },
];

/// Processes that share so many files: one may not have as many open.
fn processes_of(files: u32) -> u32 {
    files.div_ceil(MOST_OPEN)
}

const MOST_OPEN: u32 = 10_000;

fn file(path: &Path) -> Vec<String> {
    vec!["--file".to_owned(), path.to_string_lossy().into_owned()]
}

fn of_null(option: &str, n: u32) -> Vec<String> {
    ["--file", "/dev/null", option].map(str::to_owned).into_iter().chain([n.to_string()]).collect()
}

/// The file that is `n` components below `directory`.
fn deep(directory: &Path, n: u32) -> PathBuf {
    let mut path = directory.to_owned();
    path.extend((1..n).map(|i| format!("d{i}")));
    path.join("null")
}

/// The least of all rounds at a point.
struct Point {
    n: u32,
    untraced_ns: f64,
    traced_ns: f64,
    /// CPU time of ringwatch for each event.
    ringwatch_ns: f64,
    /// Of all rounds.
    lost: u64,
    resident: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!([WORKLOAD_CPU, TRACER_CPU].into_iter().all(may_use), "two CPUs are needed: {WORKLOAD_CPU}, {TRACER_CPU}");
    let submit = submit_probe()?;
    let root = root()?;
    let Programs { ringwatch, workload: load, target } = build(root)?;
    let directory = target.join("bench");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let machine = Machine::look(root);
    let signals = Signals::catch()?;
    pin(WORKLOAD_CPU)?;
    let workload = WORKLOADS.iter().find(|w| w.name == TIGHT).context("no workload")?;
    let files = tempfile::Builder::new().prefix("growth-").tempdir_in(&directory).context("cannot make a directory")?;
    make_files(files.path())?;

    let mut all = vec![];
    for dimension in &DIMENSIONS {
        let mut points = vec![];
        for &n in dimension.points {
            let mut own = (dimension.arguments)(n, files.path());
            own.extend(["--writes", super::variants::WRITES].map(str::to_owned));
            let bench = Bench {
                ringwatch: ringwatch.clone(),
                load: load.clone(),
                workload,
                arguments: own,
                by_children: match dimension.name {
                    "processes" => n > 1,
                    "files" => processes_of(n) > 1,
                    _ => false,
                },
                writes: arguments.writes,
                directory: &directory,
                submit,
                signals: &signals,
            };
            let point = measure(&bench, n, arguments.runs).with_context(|| format!("{n} {}", dimension.name))?;
            eprintln!("{n} {}: {:.0} ns, traced {:.0} ns", dimension.name, point.untraced_ns, point.traced_ns);
            points.push(point);
        }
        all.push((dimension.name, points));
    }
    let docs = root.join("docs");
    fs::write(docs.join("growth.md"), text(&machine, arguments, &all)?).context("cannot write docs/growth.md")?;
    draw(&docs.join("growth.svg"), &all).context("cannot write docs/growth.svg")
}

/// Device nodes of /dev/null: a write to them costs as little, and they have paths of their own.
fn make_files(directory: &Path) -> Result<()> {
    let null = |path: &Path| {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mknod(path, SFlag::S_IFCHR, mode, makedev(1, 3)).with_context(|| format!("cannot make {}", path.display()))
    };
    let deepest = DIMENSIONS[0].points.iter().max().copied().unwrap_or(1);
    for n in 1..=deepest {
        let path = deep(directory, n);
        fs::create_dir_all(path.parent().unwrap_or(directory)).context("cannot make a directory")?;
        null(&path)?;
    }
    let most = DIMENSIONS[1].points.iter().max().copied().unwrap_or(1);
    for i in 0..most.min(MOST_OPEN) {
        null(&directory.join(format!("file.{i}")))?;
        for process in 0..processes_of(most) {
            null(&directory.join(format!("file.{process}.{i}")))?;
        }
    }
    Ok(())
}

fn measure(bench: &Bench<'_>, n: u32, rounds: u32) -> Result<Point> {
    let variant = |name| VARIANTS.iter().find(|v| v.name == name).with_context(|| format!("no variant {name}"));
    let (base, json) = (variant(BASE)?, variant("json")?);
    let mut untraced: Vec<Run> = vec![];
    let mut traced: Vec<Run> = vec![];
    for round in 0..rounds {
        untraced.push(bench.run(round, base)?);
        traced.push(bench.run(round, json)?);
    }
    if let Some(what) = traced.iter().find_map(|r| r.inconsistency.as_ref()) {
        anyhow::bail!("the figures mean nothing: {what}");
    }
    let least = |figures: &mut dyn Iterator<Item = f64>| figures.fold(f64::INFINITY, f64::min);
    let tracers = || traced.iter().filter_map(|r| r.tracer.as_ref());
    Ok(Point {
        n,
        untraced_ns: least(&mut untraced.iter().map(|r| r.load.cpu_ns_per_write)),
        traced_ns: least(&mut traced.iter().map(|r| r.load.cpu_ns_per_write)),
        ringwatch_ns: least(&mut tracers().filter_map(|t| t.cpu_ns_per_event)),
        lost: tracers().map(|t| t.lost).sum(),
        resident: tracers().map(|t| t.peak_rss_bytes).max().unwrap_or(0),
    })
}

fn text(machine: &Machine, arguments: &Arguments, all: &[(&str, Vec<Point>)]) -> Result<String> {
    let mut out = String::new();
    let cpu = machine.cpu.as_deref().unwrap_or("unknown CPU");
    let Arguments { runs, writes } = arguments;
    write!(
        out,
        "# How the cost grows\n\nWritten by `cargo xtask growth` on Linux {}, {cpu}, {} cores, {}. {writes} writes of 512 bytes \
         to nodes of /dev/null, 32 with a system call; CPU ns of the traced program for each write, and of ringwatch for each \
         event, the least of {runs} rounds each. Tracing is `ringwatch trace -o json:FILE`.\n\n![What tracing adds](growth.svg)\n",
        machine.kernel, machine.cores, machine.date
    )?;
    for (name, points) in all {
        write!(
            out,
            "\n| {name} | untraced | traced | ratio | ringwatch | lost | resident MiB |\n|---|---|---|---|---|---|---|\n"
        )?;
        for p in points {
            writeln!(
                out,
                "| {} | {:.0} | {:.0} | {:.2} | {:.0} | {} | {:.1} |",
                p.n,
                p.untraced_ns,
                p.traced_ns,
                p.traced_ns / p.untraced_ns,
                p.ringwatch_ns,
                p.lost,
                p.resident as f64 / f64::from(1 << 20)
            )?;
        }
    }
    Ok(out)
}

/// What tracing adds to a write, over what grows.
fn draw(path: &Path, all: &[(&str, Vec<Point>)]) -> Result<()> {
    const COLOURS: [RGBColor; 4] = [BLUE, RED, GREEN, MAGENTA];
    let added = |p: &Point| (f64::from(p.n), (p.traced_ns - p.untraced_ns).max(0.0));
    let most = all.iter().flat_map(|(_, points)| points).map(|p| added(p).1).fold(1.0, f64::max);
    let last = all.iter().flat_map(|(_, points)| points).map(|p| p.n).max().unwrap_or(1);
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .caption("CPU time that tracing adds to a write", ("sans-serif", 18))
        .build_cartesian_2d((1.0..f64::from(last)).log_scale(), 0.0..most * 1.1)?;
    chart.configure_mesh().x_desc("how many").y_desc("ns a write").draw()?;
    for ((name, points), colour) in all.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(points.iter().map(added), colour.stroke_width(2)).point_size(3))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
