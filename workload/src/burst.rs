//! The tightest loop of writes: the base line and the load of the benchmarks.
//!
//! The entries are written once. After that a round is a new tail, one system call and a look at the
//! results, so that what is measured is the kernel and whoever traces it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::os;
use crate::ring::{Ring, Setup};
use crate::sys::{self, Sqe};

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Options {
    /// File to write to, always at its start
    #[arg(long, value_name = "PATH", default_value = "/dev/null")]
    file: PathBuf,
    /// That many files in turn: PATH.0, PATH.1 and so on; with several processes PATH.0.0, PATH.1.0 and so on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    files: Option<u32>,
    /// How many writes, all rings together
    #[arg(long, default_value_t = 1_000_000)]
    writes: u64,
    /// Bytes of a write
    #[arg(long, default_value_t = 512)]
    size: u32,
    /// Writes submitted with one system call
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: u32,
    #[arg(long, value_enum, default_value_t = Op::Write)]
    op: Op,
    /// Let the kernel's poll thread submit
    #[arg(long)]
    sqpoll: bool,
    /// Rings, each with a thread of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    rings: u32,
    /// Processes, each with such rings
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    processes: u64,
    /// Writes a second, all rings together; without it as fast as it goes
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Op {
    Write,
    Nop,
    /// An opcode that no kernel knows; with a depth of 1
    Unknown,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Outcome {
    writes: u64,
    bytes: u64,
    errors: u64,
    wall_ns: u64,
    cpu_ns: u64,
}

impl Outcome {
    /// All but the time.
    fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.cpu_ns += other.cpu_ns;
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let total = if options.processes > 1 { run_processes(options)? } else { run_here(options)? };
    println!("{}", serde_json::to_string(&total)?);
    Ok(())
}

/// Each process is this program again, with its share of the writes.
fn run_processes(options: &Options) -> Result<Outcome> {
    let start = Instant::now();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let children = (0..options.processes).map(|i| {
        let share = options.writes / options.processes + u64::from(i < options.writes % options.processes);
        let mut command = Command::new(std::env::current_exe().context("who am I")?);
        // The last of equal options counts.
        command.args(&arguments).args(["--processes", "1", "--writes", &share.to_string()]);
        if options.files.is_some() {
            command.arg("--file").arg(numbered(&options.file, i));
        }
        command.stdout(Stdio::piped()).spawn().context("start a process")
    });
    let mut total = Outcome::default();
    for child in children.collect::<Result<Vec<_>>>()? {
        let output = child.wait_with_output().context("wait for a process")?;
        if !output.status.success() {
            bail!("a process failed ({})", output.status);
        }
        total.add(&serde_json::from_slice(&output.stdout).context("what a process printed")?);
    }
    total.wall_ns = start.elapsed().as_nanos() as u64;
    Ok(total)
}

fn run_here(options: &Options) -> Result<Outcome> {
    let files = match options.files {
        None => vec![open(&options.file)?],
        Some(n) => {
            os::may_open(u64::from(n) + 64)?;
            (0..n).map(|i| open(&numbered(&options.file, i))).collect::<Result<_>>()?
        }
    };
    let count = u64::from(options.rings);
    let shares = (0..count).map(|i| options.writes / count + u64::from(i < options.writes % count));
    let buffer = vec![b'b'; options.size as usize];
    let mut loads = shares.map(|share| Load::new(options, &files, &buffer, share)).collect::<Result<Vec<_>>>()?;

    let cpu = cpu_ns()?;
    let start = Instant::now();
    let outcomes = if let [load] = loads.as_mut_slice() {
        vec![load.run()?]
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> = loads.iter_mut().map(|load| scope.spawn(|| load.run())).collect();
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?
    };
    let mut total =
        Outcome { wall_ns: start.elapsed().as_nanos() as u64, cpu_ns: cpu_ns()? - cpu, ..Outcome::default() };
    for outcome in outcomes {
        total.add(&outcome);
    }
    Ok(total)
}

fn numbered(path: &Path, i: impl std::fmt::Display) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{i}"));
    name.into()
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).open(path).with_context(|| format!("open {}", path.display()))
}

fn join(thread: std::thread::ScopedJoinHandle<'_, Result<Outcome>>) -> Result<Outcome> {
    match thread.join() {
        Ok(outcome) => outcome,
        Err(_) => bail!("a thread panicked"),
    }
}

/// CPU time of all threads of the process, the kernel's for it included.
fn cpu_ns() -> Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live structure for the answer.
    os::cvt(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }).context("clock_gettime")?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// What one ring has to do.
#[derive(Debug)]
struct Load {
    ring: Ring,
    depth: u32,
    writes: u64,
    /// Descriptors to write to in turn, where there are several.
    files: Vec<i32>,
    /// How long a round may take, to keep to the rate.
    round: Option<Duration>,
}

impl Load {
    fn new(options: &Options, files: &[File], buffer: &[u8], writes: u64) -> Result<Self> {
        let flags = if options.sqpoll { sys::SETUP_SQPOLL } else { 0 };
        let setup = Setup { idle_ms: 1000, ..Setup::new(options.depth, flags) };
        let mut ring = Ring::new(setup).context("io_uring_setup")?;
        let nop = Sqe { opcode: sys::OP_NOP, fd: -1, ..Sqe::default() };
        let unknown = Sqe { opcode: 200, ..nop };
        let write = Sqe {
            opcode: sys::OP_WRITE,
            fd: files.first().map_or(-1, AsRawFd::as_raw_fd),
            addr: buffer.as_ptr() as u64,
            len: buffer.len() as u32,
            ..Sqe::default()
        };
        ring.fill(match options.op {
            Op::Write => &write,
            Op::Nop => &nop,
            Op::Unknown => &unknown,
        });
        let round = options.rate.map(|rate| {
            let per_ring = rate as f64 / f64::from(options.rings);
            Duration::from_secs_f64(f64::from(options.depth) / per_ring)
        });
        let files = if files.len() > 1 { files.iter().map(AsRawFd::as_raw_fd).collect() } else { vec![] };
        Ok(Self { ring, depth: options.depth, writes, files, round })
    }

    fn run(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let sqpoll = self.ring.is_sqpoll();
        let start = Instant::now();
        let mut rounds = 0u32;
        let mut next = 0;
        while outcome.writes < self.writes {
            let batch = (self.writes - outcome.writes).min(u64::from(self.depth)) as u32;
            if !self.files.is_empty() {
                for i in 0..batch {
                    self.ring.aim(i, self.files[next]);
                    next = (next + 1) % self.files.len();
                }
            }
            self.ring.advance(batch);
            if sqpoll {
                self.ring.wake()?;
                self.ring.enter(0, batch, sys::ENTER_GETEVENTS)?;
            } else {
                self.ring.enter(batch, batch, sys::ENTER_GETEVENTS)?;
            }
            let mut reaped = self.reap(&mut outcome);
            // A signal may have cut the wait short.
            while reaped < batch {
                self.ring.enter(0, batch - reaped, sys::ENTER_GETEVENTS)?;
                reaped += self.reap(&mut outcome);
            }
            rounds += 1;
            if let Some(round) = self.round {
                let early = (round * rounds).saturating_sub(start.elapsed());
                if !early.is_zero() {
                    std::thread::sleep(early);
                }
            }
        }
        Ok(outcome)
    }

    #[inline]
    fn reap(&self, outcome: &mut Outcome) -> u32 {
        let count = self.ring.reap(|res| {
            if res < 0 {
                outcome.errors += 1;
            } else {
                outcome.bytes += res as u64;
            }
        });
        outcome.writes += u64::from(count);
        count
    }
}
