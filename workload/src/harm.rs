//! Loads that may take long where somebody looks on, and how long they took: themselves, and the wakeup of a thread that
//! should never wait.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::os;
use crate::ring::{Ring, Setup};
use crate::sys::{self, Sqe};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to do
    name: Load,
    /// How often, or how many
    count: u32,
    /// Directory for files
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Load {
    /// NOPs in one call whose completions all find the queue full
    Overflow,
    /// One such NOP behind others in the same call that have no completion
    Behind,
    /// A process ends with so many writes waiting that post no completion
    ExitSilent,
    /// A process ends with so many polls waiting, which are cancelled
    Polls,
    /// A file renamed before each write
    Names,
    /// A directory of 200 levels renamed at its top before each write to a file at its bottom
    Deep,
    /// Rings made, used once and closed
    Rings,
    /// Writes of 1,024 segments
    Vectors,
}

/// The largest queue of the kernel.
const ENTRIES: u32 = 32_768;
const LEVELS: usize = 200;
const SEGMENTS: usize = 1024;
/// Between two wakeups.
const PERIOD: Duration = Duration::from_millis(1);

pub(crate) fn run(options: &Options) -> Result<()> {
    let dir = options.dir.join(format!("ringwatch-harm-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let count = options.count;
    let outcome = match options.name {
        Load::Overflow => overflow(count, 0),
        Load::Behind => overflow(count, sys::SQE_CQE_SKIP_SUCCESS),
        Load::ExitSilent => exit_silent(count),
        Load::Polls => polls(count),
        Load::Names => names(count, &dir),
        Load::Deep => deep(count, &dir),
        Load::Rings => rings(count),
        Load::Vectors => vectors(count),
    };
    let _ = fs::remove_dir_all(&dir);
    let (took, delay) = outcome?;
    println!("{}", json!({ "count": count, "ns": took.as_nanos() as u64, "delay_ns": delay.as_nanos() as u64 }));
    Ok(())
}

/// How long `work` takes, and by how much the latest wakeup was late meanwhile, on any CPU.
fn measure(work: impl FnOnce() -> Result<()>) -> Result<(Duration, Duration)> {
    let stop = Arc::new(AtomicBool::new(false));
    // SAFETY: no pointer is passed.
    let cpus = os::cvt(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } as i32)? as usize;
    let (ready, all_ready) = std::sync::mpsc::channel();
    let watch = |cpu| {
        let (stop, ready) = (Arc::clone(&stop), ready.clone());
        thread::spawn(move || watch(cpu, &stop, &ready))
    };
    let threads: Vec<_> = (0..cpus).map(watch).collect();
    drop(ready);
    (0..cpus).try_for_each(|_| all_ready.recv()).context("a watching thread could not start")?;
    let start = Instant::now();
    let outcome = work();
    let took = start.elapsed();
    // What the work left for later belongs to it as well.
    thread::sleep(20 * PERIOD);
    stop.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for thread in threads {
        longest = longest.max(thread.join().map_err(|_| anyhow::anyhow!("a watching thread panicked"))??);
    }
    outcome.map(|()| (took, longest))
}

fn watch(cpu: usize, stop: &AtomicBool, ready: &std::sync::mpsc::Sender<()>) -> Result<Duration> {
    // SAFETY: zeroes are an empty set; the set and the parameter live until the calls return.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        os::cvt(libc::sched_setaffinity(0, size_of_val(&set), &raw const set)).context("sched_setaffinity")?;
        let priority = libc::sched_param { sched_priority: 50 };
        os::cvt(libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority)).context("SCHED_FIFO")?;
    }
    // The first wakeup on a CPU may be slow.
    thread::sleep(PERIOD);
    ready.send(()).context("nobody waits for this thread")?;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        thread::sleep(PERIOD);
        longest = longest.max(start.elapsed().saturating_sub(PERIOD));
    }
    Ok(longest)
}

fn nop() -> Sqe {
    Sqe { opcode: sys::OP_NOP, fd: -1, ..Sqe::default() }
}

fn push_many(ring: &mut Ring, sqe: &Sqe, count: u32) -> Result<()> {
    (0..count).try_for_each(|i| ring.push(&Sqe { user_data: i.into(), ..*sqe }))
}

/// The last of them has no flags.
fn overflow(count: u32, flags: u8) -> Result<(Duration, Duration)> {
    ensure!((1..=ENTRIES).contains(&count), "at most {ENTRIES}");
    let mut ring = Ring::new(Setup::new(ENTRIES, 0))?;
    for _ in 0..2 {
        push_many(&mut ring, &nop(), ENTRIES)?;
        ring.submit_all()?;
    }
    push_many(&mut ring, &Sqe { flags, ..nop() }, count - 1)?;
    ring.push(&nop())?;
    measure(|| Ok(ring.submit_all()?))
}

fn exit_silent(count: u32) -> Result<(Duration, Duration)> {
    let (_reader, writer) = os::full_pipe()?;
    let flags = sys::SQE_FIXED_FILE | sys::SQE_CQE_SKIP_SUCCESS;
    static BYTE: u8 = 0;
    let addr = &raw const BYTE as u64;
    let write = Sqe { opcode: sys::OP_WRITE, flags, fd: 0, off: u64::MAX, addr, len: 1, ..Sqe::default() };
    ended(&writer, &write, count)
}

fn polls(count: u32) -> Result<(Duration, Duration)> {
    let (reader, _writer) = os::pipe(0)?;
    let rw_flags = libc::POLLIN as u32;
    let poll = Sqe { opcode: sys::OP_POLL_ADD, flags: sys::SQE_FIXED_FILE, fd: 0, rw_flags, ..Sqe::default() };
    ended(&reader, &poll, count)
}

/// The end of a process, and of its ring, where requests wait on `file`: its registered file 0.
fn ended(file: &impl std::os::fd::AsRawFd, request: &Sqe, count: u32) -> Result<(Duration, Duration)> {
    // Open for as long as the ring of the other process is.
    let (gone, sentinel) = os::pipe(0)?;
    let (waiting, leave) = (os::Gate::new()?, os::Gate::new()?);
    // SAFETY: this process has one thread.
    let pid = os::cvt(unsafe { libc::fork() })?;
    if pid == 0 {
        let wait = || -> Result<()> {
            let mut ring = Ring::new(Setup::new(4096, 0))?;
            ring.register_files(&[file.as_raw_fd(), sentinel.as_raw_fd()])?;
            let mut left = count;
            while left > 0 {
                let some = left.min(4096);
                push_many(&mut ring, request, some)?;
                ring.submit_all()?;
                left -= some;
            }
            waiting.open()?;
            leave.pass()
        };
        if let Err(error) = wait() {
            eprintln!("ringwatch-workload: {error:#}");
        }
        os::exit_now();
    }
    drop(sentinel);
    waiting.pass()?;
    measure(|| {
        leave.open()?;
        os::wait(pid)?;
        ensure!(os::read_exact(&gone, 1).is_err(), "somebody wrote to the sentinel");
        Ok(())
    })
}

/// One write after the other, each after `before`.
fn writes(ring: &mut Ring, write: &Sqe, count: u32, mut before: impl FnMut(u32) -> Result<()>) -> Result<()> {
    for i in 0..count {
        before(i)?;
        ring.push(write)?;
        ring.submit_all()?;
        let cqe = ring.wait()?;
        ensure!(cqe.res >= 0, "a write failed: {}", cqe.res);
    }
    Ok(())
}

fn one_byte(file: &fs::File) -> Sqe {
    static BYTE: u8 = b'w';
    let addr = &raw const BYTE as u64;
    Sqe { opcode: sys::OP_WRITE, fd: file.as_raw_fd(), addr, len: 1, ..Sqe::default() }
}

fn names(count: u32, dir: &std::path::Path) -> Result<(Duration, Duration)> {
    let mut path = dir.join("name");
    let file = os::open(&path, 0)?;
    let mut ring = Ring::new(Setup::new(8, 0))?;
    measure(|| {
        writes(&mut ring, &one_byte(&file), count, |i| {
            let new = dir.join(format!("{i:0>64}"));
            fs::rename(&path, &new)?;
            path = new;
            Ok(())
        })
    })
}

fn deep(count: u32, dir: &std::path::Path) -> Result<(Duration, Duration)> {
    let (mut top, mut bottom) = (dir.join("top"), dir.join("top"));
    bottom.extend((0..LEVELS).map(|_| "d"));
    fs::create_dir_all(&bottom)?;
    let file = os::open(bottom.join("file"), 0)?;
    file.write_all_at(b"x", 0)?;
    let mut ring = Ring::new(Setup::new(8, 0))?;
    measure(|| {
        writes(&mut ring, &one_byte(&file), count, |i| {
            let new = dir.join(format!("top-{i}"));
            fs::rename(&top, &new)?;
            top = new;
            Ok(())
        })
    })
}

fn rings(count: u32) -> Result<(Duration, Duration)> {
    let null = os::open("/dev/null", 0)?;
    measure(|| (0..count).try_for_each(|_| writes(&mut Ring::new(Setup::new(8, 0))?, &one_byte(&null), 1, |_| Ok(()))))
}

fn vectors(count: u32) -> Result<(Duration, Duration)> {
    let null = os::open("/dev/null", 0)?;
    let byte = 0u8;
    let one = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
    let segments = vec![one; SEGMENTS];
    let write = Sqe {
        opcode: sys::OP_WRITEV,
        fd: null.as_raw_fd(),
        addr: segments.as_ptr() as u64,
        len: SEGMENTS as u32,
        ..Sqe::default()
    };
    let mut ring = Ring::new(Setup::new(8, 0))?;
    measure(|| writes(&mut ring, &write, count, |_| Ok(())))
}
