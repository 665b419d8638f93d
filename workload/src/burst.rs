//! The tightest loop of writes: the base line and the load of the benchmarks.
//!
//! The entries are written once. After that a round is a new tail, one system call and a look at the
//! results, so that what is measured is the kernel and whoever traces it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::os;
use crate::ring::{Ring, Setup};
use crate::sys::{self, Sqe};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// File to write to, always at its start
    #[arg(long, value_name = "PATH", default_value = "/dev/null")]
    file: PathBuf,
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
    /// Writes a second, all rings together; without it as fast as it goes
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Op {
    Write,
    Nop,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    writes: u64,
    bytes: u64,
    errors: u64,
    wall_ns: u64,
    cpu_ns: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&options.file)
        .with_context(|| format!("open {}", options.file.display()))?;
    let count = u64::from(options.rings);
    let shares = (0..count).map(|i| options.writes / count + u64::from(i < options.writes % count));
    let buffer = vec![b'b'; options.size as usize];
    let mut loads = shares.map(|share| Load::new(options, &file, &buffer, share)).collect::<Result<Vec<_>>>()?;

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
        total.writes += outcome.writes;
        total.bytes += outcome.bytes;
        total.errors += outcome.errors;
    }
    println!("{}", serde_json::to_string(&total)?);
    Ok(())
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
    /// How long a round may take, to keep to the rate.
    round: Option<Duration>,
}

impl Load {
    fn new(options: &Options, file: &File, buffer: &[u8], writes: u64) -> Result<Self> {
        let flags = if options.sqpoll { sys::SETUP_SQPOLL } else { 0 };
        let setup = Setup { idle_ms: 1000, ..Setup::new(options.depth, flags) };
        let mut ring = Ring::new(setup).context("io_uring_setup")?;
        let nop = Sqe { opcode: sys::OP_NOP, fd: -1, ..Sqe::default() };
        let write = Sqe {
            opcode: sys::OP_WRITE,
            fd: file.as_raw_fd(),
            addr: buffer.as_ptr() as u64,
            len: buffer.len() as u32,
            ..Sqe::default()
        };
        ring.fill(match options.op {
            Op::Write => &write,
            Op::Nop => &nop,
        });
        let round = options.rate.map(|rate| {
            let per_ring = rate as f64 / f64::from(options.rings);
            Duration::from_secs_f64(f64::from(options.depth) / per_ring)
        });
        Ok(Self { ring, depth: options.depth, writes, round })
    }

    fn run(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let sqpoll = self.ring.is_sqpoll();
        let start = Instant::now();
        let mut rounds = 0u32;
        while outcome.writes < self.writes {
            let batch = (self.writes - outcome.writes).min(u64::from(self.depth)) as u32;
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
