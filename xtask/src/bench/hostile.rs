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
    ("-e io_uring", &["trace", "-o", "json:/dev/null", "-e", "io_uring"]),
    ("stat", &["stat", "--json"]),
];
const NOBODY: &str = "NOBODY";
const RUNS: usize = 5;
const QUICK_RUNS: usize = 1;
const RATIO_LIMIT: f64 = 3.0;
const DELAY_LIMIT_MS: f64 = 1.0;
/// How much more than four times the work may cost than four times the time.
const GROWTH_LIMIT: f64 = 2.0;

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
    /// Over that of the smallest count, for each one.
    growth: f64,
    /// The longest of all runs.
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
                let (first_ms, first_count) = *first.get_or_insert((ms, count));
                let growth = (ms / first_ms) / (f64::from(count) / f64::from(first_count));
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
        for (over, what) in [
            (self.ratio > RATIO_LIMIT, "ratio"),
            (self.growth > GROWTH_LIMIT, "growth"),
            (self.delay_ms > self.delay_without_ms + DELAY_LIMIT_MS, "delay"),
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

/// Median time and longest delay, in milliseconds.
fn measure(programs: &Programs, load: &str, count: u32, directory: &Path, runs: usize) -> Result<(f64, f64)> {
    let mut times = vec![];
    let mut delay: f64 = 0.0;
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
        delay = delay.max(said.delay_ns / 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], delay))
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
