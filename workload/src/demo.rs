//! What a new user sees first: a handful of programs at work, readable, each in its own way.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::os;
use crate::ring::{Ring, Setup};
use crate::sys::{self, Sqe};

const PAGE: usize = 4096;
const STORE_PAGES: u64 = 256;

/// A thread that writes in its own rhythm.
struct Actor {
    /// The thread's name; the kernel keeps 15 bytes of it.
    name: &'static str,
    what: &'static str,
    period: Duration,
    ring_flags: u32,
    /// Kept open, and read from where it is a pipe.
    files: Vec<File>,
    next: Box<dyn FnMut(u64) -> Sqe + Send>,
}

#[derive(Debug, Default)]
struct Tally {
    writes: u64,
    bytes: u64,
    failed: u64,
}

/// A directory that goes when the demo does.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing better can be done about a failure here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(seconds: f64) -> Result<()> {
    let length = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    let dir = std::env::temp_dir().join(format!("ringwatch-demo-{}", std::process::id()));
    fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
    let dir = Scratch(dir);
    let actors = [
        application(&dir.0)?,
        store(&dir.0)?,
        uploader(&dir.0)?,
        metrics(&dir.0)?,
        relay()?,
        intruder(&dir.0)?,
        ghost(&dir.0)?,
    ];
    let end = Instant::now() + length;
    let start = |actor: Actor| -> Result<_> {
        let what = actor.what;
        let thread = std::thread::Builder::new().name(actor.name.to_owned());
        Ok((what, thread.spawn(move || act(actor, end))?))
    };
    let threads = actors.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let (mut total, mut parts) = (Tally::default(), String::new());
    for (what, thread) in threads {
        let Ok(tally) = thread.join() else { bail!("a thread panicked") };
        let tally = tally?;
        total.writes += tally.writes;
        total.bytes += tally.bytes;
        total.failed += tally.failed;
        let separator = if parts.is_empty() { "" } else { ", " };
        write!(parts, "{separator}{what} {} ({} bytes)", tally.writes, tally.bytes)?;
    }
    println!("{} io_uring writes, {} bytes, {} failed on purpose: {parts}", total.writes, total.bytes, total.failed);
    Ok(())
}

/// Writes until the time is over.
fn act(mut actor: Actor, end: Instant) -> Result<Tally> {
    let setup = Setup { idle_ms: 20, ..Setup::new(4, actor.ring_flags) };
    let mut ring = Ring::new(setup).with_context(|| format!("io_uring_setup for {}", actor.what))?;
    let mut tally = Tally::default();
    let mut due = Instant::now() + actor.period / 2;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += actor.period;
        ring.push(&(actor.next)(tally.writes))?;
        ring.submit()?;
        let result = ring.wait()?.res;
        tally.writes += 1;
        match u64::try_from(result) {
            Ok(bytes) => tally.bytes += bytes,
            Err(_) => tally.failed += 1,
        }
        drain(&mut actor.files)?;
    }
    Ok(tally)
}

/// Empties the pipe that the actor writes to, if it has one.
fn drain(files: &mut [File]) -> Result<()> {
    if let [_, reader] = files {
        reader.read(&mut [0; PAGE]).context("read from the pipe")?;
    }
    Ok(())
}

fn write_entry(fd: i32, data: &[u8], off: i64) -> Sqe {
    Sqe {
        opcode: sys::OP_WRITE,
        fd,
        off: off as u64,
        addr: data.as_ptr() as u64,
        len: data.len() as u32,
        ..Sqe::default()
    }
}

/// Appends lines to its log.
fn application(dir: &Path) -> Result<Actor> {
    const EVENTS: [&str; 4] = ["login ok", "GET /index 200", "cache miss", "POST /order 201"];
    let file = os::open(dir.join("app.log"), libc::O_APPEND)?;
    let fd = file.as_raw_fd();
    let mut line = String::new();
    let next = move |n: u64| {
        line.clear();
        let event = EVENTS[n as usize % EVENTS.len()];
        // Writing to a string cannot fail.
        let _ = writeln!(line, "request={n} user={} {event}", 1000 + n % 7);
        write_entry(fd, line.as_bytes(), 0)
    };
    Ok(Actor {
        name: "app",
        what: "app.log",
        period: Duration::from_millis(250),
        ring_flags: 0,
        files: vec![file],
        next: Box::new(next),
    })
}

/// A page of memory at an address that `O_DIRECT` takes.
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// Puts pages at random places of its file.
fn store(dir: &Path) -> Result<Actor> {
    let path = dir.join("store.db");
    fs::write(&path, vec![0; PAGE * STORE_PAGES as usize])?;
    // Some file systems refuse; the page cache will do.
    let file = os::open(&path, libc::O_DIRECT).or_else(|_| os::open(&path, 0))?;
    let fd = file.as_raw_fd();
    let mut page = Box::new(Page([0; PAGE]));
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let next = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        page.0[..8].copy_from_slice(&n.to_le_bytes());
        write_entry(fd, &page.0, (random % STORE_PAGES * PAGE as u64) as i64)
    };
    Ok(Actor {
        name: "kv-store",
        what: "store.db",
        period: Duration::from_millis(300),
        ring_flags: 0,
        files: vec![file],
        next: Box::new(next),
    })
}

/// The three segments of an upload and the array that names them.
struct Segments {
    data: [Vec<u8>; 3],
    array: [libc::iovec; 3],
}

// SAFETY: the pointers in `array` lead to the vectors next to it, which move with it.
unsafe impl Send for Segments {}

/// Writes header, body and trailer with one request.
fn uploader(dir: &Path) -> Result<Actor> {
    let file = os::open(dir.join("upload.part"), 0)?;
    let fd = file.as_raw_fd();
    let data = [vec![b'h'; 64], vec![b'b'; 16 << 10], vec![b't'; 32]];
    let array = [0; 3].map(|_| libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
    let mut segments = Box::new(Segments { data, array });
    let next = move |_| {
        let segments = &mut *segments;
        for (entry, data) in segments.array.iter_mut().zip(&mut segments.data) {
            *entry = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
        }
        Sqe {
            opcode: sys::OP_WRITEV,
            fd,
            // Where the last one ended.
            off: u64::MAX,
            addr: segments.array.as_ptr() as u64,
            len: segments.array.len() as u32,
            ..Sqe::default()
        }
    };
    Ok(Actor {
        name: "uploader",
        what: "upload.part",
        period: Duration::from_millis(400),
        ring_flags: 0,
        files: vec![file],
        next: Box::new(next),
    })
}

/// Leaves the submitting to the kernel's poll thread.
fn metrics(dir: &Path) -> Result<Actor> {
    let file = os::open(dir.join("metrics.bin"), 0)?;
    let fd = file.as_raw_fd();
    let record = vec![b'm'; 128];
    let next = move |n: u64| write_entry(fd, &record, (n * 128) as i64);
    Ok(Actor {
        name: "metrics",
        what: "metrics.bin (SQPOLL)",
        period: Duration::from_millis(500),
        ring_flags: sys::SETUP_SQPOLL,
        files: vec![file],
        next: Box::new(next),
    })
}

/// Passes messages through a pipe.
fn relay() -> Result<Actor> {
    let (reader, writer): (OwnedFd, OwnedFd) = os::pipe(0)?;
    let fd = writer.as_raw_fd();
    let next = move |_| write_entry(fd, b"hello, other end\n", -1);
    Ok(Actor {
        name: "relay",
        what: "pipe",
        period: Duration::from_millis(700),
        ring_flags: 0,
        files: vec![writer.into(), reader.into()],
        next: Box::new(next),
    })
}

/// Tries what it may not do.
fn intruder(dir: &Path) -> Result<Actor> {
    let path = dir.join("read-only.conf");
    fs::write(&path, "debug = false\n")?;
    let file = File::open(&path)?;
    let fd = file.as_raw_fd();
    let next = move |_| write_entry(fd, b"debug = true\n", 0);
    Ok(Actor {
        name: "intruder",
        what: "read-only.conf",
        period: Duration::from_millis(1500),
        ring_flags: 0,
        files: vec![file],
        next: Box::new(next),
    })
}

/// Writes to a file that nobody can find any more.
fn ghost(dir: &Path) -> Result<Actor> {
    let path = dir.join("secrets.tmp");
    let file = os::open(&path, 0)?;
    fs::remove_file(&path)?;
    let fd = file.as_raw_fd();
    let next = move |n: u64| write_entry(fd, b"nobody will see this\n", (n * 21) as i64);
    Ok(Actor {
        name: "ghost",
        what: "deleted secrets.tmp",
        period: Duration::from_millis(1200),
        ring_flags: 0,
        files: vec![file],
        next: Box::new(next),
    })
}
