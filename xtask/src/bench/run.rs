//! One run of the workload under one tracer.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use ringwatch::kernel::plan::Probe;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use super::empty::with_empty;
use super::machine;
use super::process::{Ended, Running, Signals, find};
use super::stats::per;
use super::tally::{Lines, Said, count_lines, inconsistency};
use super::variants::{DIRECTORY, EVENTS, Other, Program, Ringwatch, SLOW, Tracer, Variant, WRITES, Workload};

/// The workload has this CPU alone, so that its CPU time is its own.
pub(super) const WORKLOAD_CPU: usize = 0;
pub(super) const TRACER_CPU: usize = 1;

/// Between two looks whether the tracer is ready.
const LOOK: Duration = Duration::from_millis(1);
const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// For the workload: far more than the slowest tracer needs.
const WRITE_LIMIT: Duration = Duration::from_micros(100);

/// What all runs share.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    pub(super) ringwatch: PathBuf,
    pub(super) load: PathBuf,
    pub(super) workload: &'a Workload,
    /// Of the workload; see [`Workload::arguments`].
    pub(super) arguments: Vec<String>,
    /// Children of the workload write, and not itself.
    pub(super) by_children: bool,
    /// In a run of the usual workload.
    pub(super) writes: u64,
    /// For files that live as long as a run.
    pub(super) directory: &'a Path,
    /// The probe of submissions that this kernel has.
    pub(super) submit: Probe,
    pub(super) signals: &'a Signals,
}

/// The figures of a run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) round: u32,
    pub(super) variant: &'static str,
    pub(super) load: Load,
    pub(super) tracer: Option<Traced>,
    /// Programs that others have attached to io_uring, which distort the figures.
    pub(super) others_attached: usize,
    /// What does not add up.
    pub(super) inconsistency: Option<String>,
}

/// What the workload used.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Load {
    pub(super) writes: u64,
    pub(super) cpu_ns: u64,
    pub(super) wall_ns: u64,
    pub(super) cpu_ns_per_write: f64,
    pub(super) wall_ns_per_write: f64,
    /// Times that another process took its CPU: noise.
    pub(super) preempted: u64,
}

/// What ringwatch used and told.
#[derive(Debug, Serialize)]
pub(super) struct Traced {
    /// From its start until its programs are attached.
    pub(super) ready_ms: f64,
    /// From the signal to its end: what it still had to tell.
    pub(super) stop_ms: f64,
    /// Of its whole life.
    pub(super) cpu_ns: u64,
    /// Until it was ready, nearly all of it in the verifier.
    pub(super) cpu_ns_until_ready: u64,
    /// After it was ready.
    pub(super) cpu_ns_per_event: Option<f64>,
    pub(super) peak_rss_bytes: u64,
    /// Writes of the workload that were not told of, as they had to be. Other writers have losses, too.
    pub(super) lost: u64,
    pub(super) said: Said,
    pub(super) lines: Option<Lines>,
}

/// The line that `ringwatch-workload burst` prints.
#[derive(Debug, Deserialize)]
struct Burst {
    writes: u64,
    errors: u64,
    wall_ns: u64,
    cpu_ns: u64,
}

impl Burst {
    /// What fio's report says of its job; CPU time is a share of the time.
    fn of_fio(text: &str) -> Option<Self> {
        let report: Value = serde_json::from_str(text.get(text.find('{')?..)?).ok()?;
        let job = report["jobs"].get(0)?;
        let ms = job["job_runtime"].as_f64()?;
        let cpu = (job["usr_cpu"].as_f64()? + job["sys_cpu"].as_f64()?) / 100.0;
        Some(Self {
            writes: job["write"]["total_ios"].as_u64()?,
            errors: job["error"].as_u64()?,
            wall_ns: (job["write"]["runtime"].as_f64()? * 1e6) as u64,
            cpu_ns: (ms * cpu * 1e6) as u64,
        })
    }
}

impl Bench<'_> {
    /// Runs the workload once under `variant`.
    pub(super) fn run(&self, round: u32, variant: &Variant) -> Result<Run> {
        self.signals.check()?;
        let before = machine::attached_programs();
        let (load, tracer, inconsistency) = match variant.tracer {
            Tracer::Nobody => (self.load(self.writes())?.0, None, None),
            Tracer::Empty => (with_empty(self.submit, || self.load(self.writes()))?.0, None, None),
            Tracer::Other(other) => (self.within(other)?, None, None),
            Tracer::Ringwatch(how) => {
                let (load, traced, inconsistency) = self.traced(how)?;
                (load, Some(traced), inconsistency)
            }
        };
        let others_attached = before.max(machine::attached_programs());
        Ok(Run { round, variant: variant.name, load, tracer, others_attached, inconsistency })
    }

    /// Writes of a run.
    fn writes(&self) -> u64 {
        (self.writes / self.workload.fewer).max(1)
    }

    /// The command of the workload.
    fn command(&self, writes: u64) -> Vec<String> {
        let program = match self.workload.program {
            Program::Burst => self.load.to_string_lossy().into_owned(),
            Program::Fio => "fio".to_owned(),
        };
        let own = (self.workload.program == Program::Burst).then(|| "burst".to_owned());
        let directory = self.directory.to_string_lossy();
        let arguments = self.arguments.iter();
        let arguments = arguments.map(|a| a.replace(WRITES, &writes.to_string()).replace(DIRECTORY, &directory));
        std::iter::once(program).chain(own).chain(arguments).collect()
    }

    /// Runs the workload; its figures and its process.
    fn load(&self, writes: u64) -> Result<(Load, u32)> {
        let command = self.command(writes);
        let mut running = Command::new(&command[0]);
        running.args(&command[1..]);
        self.finish("the workload", &mut running, WORKLOAD_CPU, writes)
    }

    /// Runs the workload as the child of another tracer, which has the other CPU.
    fn within(&self, other: Other) -> Result<Load> {
        let scratch = self.scratch()?;
        let events = scratch.path().join("events");
        let name = events.to_str().context("the path of the target directory is not UTF-8")?;
        let writes = (self.writes() / SLOW).max(1);
        let taskset = find("taskset").context("taskset is not installed")?.to_string_lossy().into_owned();
        let mut load = vec![taskset, "-c".to_owned(), WORKLOAD_CPU.to_string()];
        load.extend(self.command(writes));
        let mut command = Command::new(other.program);
        command.args(other.arguments.iter().map(|a| a.replace(EVENTS, name)));
        if other.one_argument {
            // The tracer splits it at blanks.
            ensure!(load.iter().all(|a| !a.contains(' ')), "{} cannot run a command with blanks", other.program);
            command.arg(load.join(" "));
        } else {
            command.args(load);
        }
        Ok(self.finish(other.program, &mut command, TRACER_CPU, writes)?.0)
    }

    /// Waits for a command that runs the workload, and reads what the workload says.
    fn finish(&self, name: &'static str, command: &mut Command, cpu: usize, writes: u64) -> Result<(Load, u32)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(name, command, cpu, WORKLOAD_CPU)?;
        let stdout = running.stdout();
        let limit = Duration::from_secs(30) + WRITE_LIMIT.saturating_mul(u32::try_from(writes).unwrap_or(u32::MAX));
        let ended = running.wait(self.signals, limit)?;
        if !ended.status.success() {
            bail!("{name} failed ({})", ended.status);
        }
        let mut text = String::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_string(&mut text).context("cannot read the workload's result")?;
        }
        let burst = match self.workload.program {
            Program::Burst => text.lines().find_map(|line| serde_json::from_str(line).ok()),
            Program::Fio => Burst::of_fio(&text),
        };
        let burst: Burst = burst.with_context(|| format!("the workload's result is not understood: {text}"))?;
        if burst.errors != 0 || self.workload.program == Program::Burst && burst.writes != writes {
            bail!("the workload made {} requests of {writes}, and {} failed", burst.writes, burst.errors);
        }
        let load = Load {
            writes: burst.writes,
            cpu_ns: burst.cpu_ns,
            wall_ns: burst.wall_ns,
            cpu_ns_per_write: burst.cpu_ns as f64 / burst.writes as f64,
            wall_ns_per_write: burst.wall_ns as f64 / burst.writes as f64,
            preempted: ended.preempted,
        };
        Ok((load, running.pid()))
    }

    /// Gone at the end of the run, however it ends.
    fn scratch(&self) -> Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("run-").tempdir_in(self.directory).context("cannot make a directory for a run")
    }

    fn traced(&self, how: Ringwatch) -> Result<(Load, Traced, Option<String>)> {
        let scratch = self.scratch()?;
        let (events, messages) = (scratch.path().join("events"), scratch.path().join("messages"));
        let name = events.to_str().context("the path of the target directory is not UTF-8")?;
        let mut command = Command::new(&self.ringwatch);
        command.args(how.arguments.iter().map(|a| a.replace(EVENTS, name)));
        let stderr = File::create(&messages).context("cannot make a file for ringwatch's messages")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);

        let tell = |what: &str| {
            let text = fs::read_to_string(&messages).unwrap_or_default();
            anyhow::anyhow!("{what}; it said:\n{}", text.trim_end())
        };
        let cpu = if self.workload.shared { WORKLOAD_CPU } else { TRACER_CPU };
        let start = Instant::now();
        let mut tracer = Running::start("ringwatch", &mut command, cpu, WORKLOAD_CPU)?;
        while !self.is_ready(tracer.pid()) {
            if let Some(ended) = tracer.try_wait()? {
                return Err(tell(&format!("ringwatch ended ({}) before it was ready", ended.status)));
            }
            if start.elapsed() > READY_LIMIT {
                return Err(tell(&format!("ringwatch was not ready within {} s", READY_LIMIT.as_secs())));
            }
            self.signals.wait(LOOK)?;
        }
        let ready = start.elapsed();
        let cpu_until_ready = cpu_of(tracer.pid())?;

        let (load, pid) = self.load(self.writes())?;

        let resident = peak_of(tracer.pid());
        let stop = Instant::now();
        tracer.signal(Signal::SIGINT)?;
        let ended = tracer.wait(self.signals, STOP_LIMIT)?;
        let stopped = stop.elapsed();
        if !ended.status.success() {
            return Err(tell(&format!("ringwatch failed ({})", ended.status)));
        }
        let text = fs::read_to_string(&messages).context("cannot read ringwatch's messages")?;
        let said = Said::parse(&text).ok_or_else(|| tell("ringwatch ended without a summary"))?;
        let lines = how.writes_file().then(|| count_lines(&events, pid, self.by_children)).transpose()?;
        let expected = if how.tells && self.workload.writes { load.writes } else { 0 };
        let own = lines.map_or(said.events, |lines| lines.own);
        let inconsistency = inconsistency(expected, &said, lines);
        let cpu_ns = nanoseconds(ended.cpu);
        let cpu_ns_until_ready = nanoseconds(cpu_until_ready);
        let traced = Traced {
            ready_ms: ready.as_secs_f64() * 1e3,
            stop_ms: stopped.as_secs_f64() * 1e3,
            cpu_ns,
            cpu_ns_until_ready,
            cpu_ns_per_event: per(cpu_ns.saturating_sub(cpu_ns_until_ready), said.events),
            peak_rss_bytes: peak(&ended, resident),
            lost: expected.saturating_sub(own),
            said,
            lines,
        };
        Ok((load, traced, inconsistency))
    }

    /// Whether process `pid` holds the links of submission and completion: a link shows its tracepoint in fdinfo.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
        let linked: Vec<String> = files
            .filter_map(|file| fs::read_to_string(file.ok()?.path()).ok())
            .filter_map(|text| machine::field(&text, "tp_name").map(str::to_owned))
            .collect();
        [self.submit, Probe::IoUringComplete].iter().all(|probe| linked.iter().any(|name| name == probe.name()))
    }
}

/// CPU time of another process, exact where rusage is known only at its end.
fn cpu_of(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).context("cannot find ringwatch's CPU clock")?;
    Ok(clock_gettime(clock).context("cannot read ringwatch's CPU clock")?.into())
}

/// The highest resident memory of a running process so far.
fn peak_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    machine::field(&status, "VmHWM").and_then(machine::kibibytes).unwrap_or(0)
}

/// The peak that the kernel tells at the end, unless that is the one this process lent at the start.
fn peak(ended: &Ended, resident: u64) -> u64 {
    let lent = getrusage(UsageWho::RUSAGE_SELF).ok().and_then(|usage| u64::try_from(usage.max_rss()).ok());
    if ended.max_rss > lent.unwrap_or(0) * 1024 { ended.max_rss } else { resident }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
