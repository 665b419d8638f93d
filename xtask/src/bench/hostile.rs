//! `cargo xtask bench --hostile`: what a program can do to the machine while ringwatch looks on.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::Programs;
use super::stats::Spread;
use crate::table;

/// Loads of `ringwatch-workload harm`, and how much of each.
const LOADS: [(&str, [u32; 3]); 8] = [
    ("overflow", [1024, 4096, 16_384]),
    ("behind", [1024, 8192, 32_768]),
    ("exit-silent", [4096, 16_384, 66_000]),
    ("polls", [4096, 16_384, 60_000]),
    ("names", [1000, 4000, 16_000]),
    ("deep", [250, 1000, 4000]),
    ("rings", [250, 1000, 4000]),
    ("vectors", [1000, 4000, 16_000]),
];
/// `NOBODY` is the id of a process that uses no io_uring.
const VARIANTS: [(&str, &[&str]); 5] = [
    ("none", &[]),
    ("trace", &["trace", "-o", "json:/dev/null"]),
    ("-p nobody", &["trace", "-o", "json:/dev/null", "-p", NOBODY]),
    (REPORTED, &["trace", "-o", "json:/dev/null", "-e", "io_uring"]),
    ("stat", &["stat", "--json"]),
];
const NOBODY: &str = "NOBODY";
const RUNS: usize = 9;
const QUICK_RUNS: usize = 1;
const RATIO_LIMIT: f64 = 3.0;
/// Beside [`RATIO_LIMIT`] times the delay without: a call that the kernel does not interrupt delays others by its own time.
const DELAY_LIMIT_MS: f64 = 1.0;
/// By how much what ringwatch adds for each one may grow.
const GROWTH_LIMIT: f64 = 2.0;
/// Where each request is reported, a NOP included, an event costs more than a multiple of the request: this much of time
/// and delay is allowed beside the limits.
const REPORTED: &str = "-e io_uring";
const EVENT_MS: f64 = 2e-3;

/// The line that `ringwatch-workload harm` prints.
#[derive(Debug, Deserialize)]
struct Said {
    ns: f64,
    delay_ns: f64,
}

#[derive(Debug, Serialize)]
struct Figure {
    load: &'static str,
    count: u32,
    variant: &'static str,
    /// The median.
    ms: f64,
    /// Over that without ringwatch.
    ratio: f64,
    /// What ringwatch adds for each one, over the same at the smallest count.
    growth: f64,
    /// The longest of a run, the median of the runs: a machine that others use as well is late by itself now and then.
    delay_ms: f64,
    /// The same without ringwatch.
    delay_without_ms: f64,
    /// What is beyond its limit.
    over: Vec<&'static str>,
}

pub(super) fn run(programs: &Programs, directory: &Path, quick: bool) -> Result<()> {
    let runs = if quick { QUICK_RUNS } else { RUNS };
    let mut figures: Vec<Figure> = vec![];
    for (load, counts) in LOADS {
        for (variant, arguments) in VARIANTS {
            let tracer = if arguments.is_empty() { None } else { Some(Tracer::start(programs, arguments)?) };
            let mut first = None;
            for count in counts {
                let (ms, delay_ms) = measure(programs, load, count, directory, runs)?;
                let without = figures.iter().find(|f| f.load == load && f.count == count && f.variant == "none");
                let (base, delay_without_ms) = without.map_or((ms, delay_ms), |f| (f.ms, f.delay_ms));
                // Less than an event costs is noise.
                let added = ((ms - base) / f64::from(count)).max(EVENT_MS);
                let growth = added / *first.get_or_insert(added);
                let mut figure = Figure {
                    load,
                    count,
                    variant,
                    ms,
                    ratio: ms / base,
                    growth,
                    delay_ms,
                    delay_without_ms,
                    over: vec![],
                };
                if tracer.is_some() {
                    figure.judge();
                }
                eprintln!("{load} {count} {variant}: {ms:.1} ms, ratio {:.2}, delay {delay_ms:.2} ms", figure.ratio);
                figures.push(figure);
            }
            tracer.map_or(Ok(()), Tracer::stop)?;
        }
    }
    println!("{}", table::markdown(&rows(&figures)));
    let json = directory.join("hostile.json");
    fs::write(&json, serde_json::to_string_pretty(&figures)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    eprintln!("figures: {}", json.display());
    match figures.iter().filter(|figure| !figure.over.is_empty()).count() {
        0 => Ok(()),
        over => bail!("{over} figures are beyond their limits"),
    }
}

impl Figure {
    fn judge(&mut self) {
        let events_ms = if self.variant == REPORTED { f64::from(self.count) * EVENT_MS } else { 0.0 };
        for (over, what) in [
            (self.ms > self.ms / self.ratio * RATIO_LIMIT + events_ms, "ratio"),
            (self.growth > GROWTH_LIMIT, "growth"),
            (self.delay_ms > self.delay_without_ms * RATIO_LIMIT + DELAY_LIMIT_MS + events_ms, "delay"),
        ] {
            if over {
                self.over.push(what);
            }
        }
    }
}

fn rows(figures: &[Figure]) -> Vec<Vec<String>> {
    let header = ["load", "count", "ringwatch", "ms", "ratio", "growth", "delay, ms", "beyond its limit"];
    let row = |f: &Figure| {
        vec![
            f.load.to_owned(),
            f.count.to_string(),
            f.variant.to_owned(),
            format!("{:.1}", f.ms),
            format!("{:.2}", f.ratio),
            format!("{:.2}", f.growth),
            format!("{:.2}", f.delay_ms),
            f.over.join(", "),
        ]
    };
    std::iter::once(header.map(str::to_owned).to_vec()).chain(figures.iter().map(row)).collect()
}

/// Time and longest delay, in milliseconds: medians of the runs.
fn measure(programs: &Programs, load: &str, count: u32, directory: &Path, runs: usize) -> Result<(f64, f64)> {
    let (mut times, mut delays) = (vec![], vec![]);
    for _ in 0..runs {
        let output = Command::new(&programs.workload)
            .args(["harm", load, &count.to_string(), "--dir"])
            .arg(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run the workload")?;
        ensure!(output.status.success(), "harm {load} {count}: {}", output.status);
        let said: Said = serde_json::from_slice(&output.stdout).context("the workload told no figures")?;
        times.push(said.ns / 1e6);
        delays.push(said.delay_ns / 1e6);
    }
    let median = |figures| Spread::of(figures).map(|s| s.median).context("no runs");
    Ok((median(times)?, median(delays)?))
}

/// ringwatch at work. Killed when dropped.
struct Tracer(Child);

impl Tracer {
    fn start(programs: &Programs, arguments: &[&str]) -> Result<Self> {
        let nobody = std::process::id().to_string();
        let arguments = arguments.iter().map(|&a| if a == NOBODY { &nobody[..] } else { a });
        let child = Command::new(&programs.ringwatch)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ringwatch")?;
        let mut tracer = Self(child);
        let stderr = tracer.0.stderr.take().context("ringwatch has no standard error")?;
        let mut lines = BufReader::new(stderr);
        let mut line = String::new();
        while !line.contains("tracing (plan") {
            line.clear();
            ensure!(lines.read_line(&mut line)? > 0, "ringwatch ended early");
        }
        // It says more than a pipe holds when nobody reads.
        std::thread::spawn(move || lines.lines().for_each(drop));
        Ok(tracer)
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT).context("cannot stop ringwatch")?;
        let status = self.0.wait().context("cannot wait for ringwatch")?;
        ensure!(status.success(), "ringwatch: {status}");
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
