//! One run of the workload under one tracer.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use ringwatch::kernel::plan::Probe;
use serde::{Deserialize, Serialize};

use super::empty::with_empty;
use super::machine;
use super::process::{Ended, Running, Signals};
use super::stats::per;
use super::tally::{Lines, Said, count_lines, inconsistency};
use super::variants::{EVENTS, Ringwatch, Tracer, Variant, WRITES, Workload};

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

impl Bench<'_> {
    /// Runs the workload once under `variant`.
    pub(super) fn run(&self, round: u32, variant: &Variant) -> Result<Run> {
        self.signals.check()?;
        let before = machine::attached_programs();
        let (load, tracer, inconsistency) = match variant.tracer {
            Tracer::Nobody => (self.load()?.0, None, None),
            Tracer::Empty => (with_empty(self.submit, || self.load())?.0, None, None),
            Tracer::Ringwatch(how) => {
                let (load, traced, inconsistency) = self.traced(how)?;
                (load, Some(traced), inconsistency)
            }
        };
        let others_attached = before.max(machine::attached_programs());
        Ok(Run { round, variant: variant.name, load, tracer, others_attached, inconsistency })
    }

    /// Runs the workload; its figures and its process.
    fn load(&self) -> Result<(Load, u32)> {
        let writes = self.writes.to_string();
        let mut command = Command::new(&self.load);
        command.args(self.workload.arguments.iter().map(|a| a.replace(WRITES, &writes)));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start("the workload", &mut command, WORKLOAD_CPU, WORKLOAD_CPU)?;
        let stdout = running.stdout();
        let limit =
            Duration::from_secs(30) + WRITE_LIMIT.saturating_mul(u32::try_from(self.writes).unwrap_or(u32::MAX));
        let ended = running.wait(self.signals, limit)?;
        if !ended.status.success() {
            bail!("the workload failed ({})", ended.status);
        }
        let mut line = String::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_string(&mut line).context("cannot read the workload's result")?;
        }
        let burst: Burst =
            serde_json::from_str(&line).with_context(|| format!("the workload's result is not understood: {line}"))?;
        if burst.writes != self.writes || burst.errors != 0 {
            bail!("the workload made {} requests of {}, and {} failed", burst.writes, self.writes, burst.errors);
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

    fn traced(&self, how: Ringwatch) -> Result<(Load, Traced, Option<String>)> {
        // Gone at the end of the run, however it ends.
        let scratch = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.directory)
            .context("cannot make a directory for a run")?;
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
        let start = Instant::now();
        let mut tracer = Running::start("ringwatch", &mut command, TRACER_CPU, WORKLOAD_CPU)?;
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

        let (load, pid) = self.load()?;

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
        let lines = how.writes_file().then(|| count_lines(&events, pid)).transpose()?;
        let expected = if how.tells && self.workload.writes { self.writes } else { 0 };
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
