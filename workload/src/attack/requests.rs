//! Requests whose end is to be taken for another's, or to be seen by nobody.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;
use serde_json::json;

use crate::os;
use crate::ring::{Ring, Setup};
use crate::sys::{self, Cqe, Sqe};

const OP_READ: u8 = 22;
const OP_MSG_RING: u8 = 40;
const NOP_INJECT_RESULT: u32 = 1;
/// Entries of most CQ rings here.
const ENTRIES: u32 = 64;
/// What the write that matters is known by.
const CHOSEN: u64 = 77;

#[derive(Debug, Subcommand)]
pub(crate) enum Attack {
    /// A NOP with the write's user_data and a chosen result overflows while the write waits for an earlier link
    Nop { work: PathBuf },
    /// Another ring sends a message with the write's user_data and length into the full CQ ring
    Message { work: PathBuf },
    /// Writes and NOPs of equal user_data into a CQ ring that nobody empties
    Equal { work: PathBuf, writes: u32 },
    /// Writes into a full CQ ring, each behind so many NOPs without a CQE
    BehindSilent { work: PathBuf, silent: u32 },
    /// A write that waits before the tracer starts, and overflows afterwards
    OlderOverflow { work: PathBuf },
    /// A write without a CQE that waits before the tracer starts
    OlderSilent { work: PathBuf },
    /// A ring with a poll thread of another thread's name, so many other such rings, and a write through the first
    Creators { work: PathBuf, rings: u32 },
    /// Writes without a CQE behind more waiting requests than can be followed
    TableFull { work: PathBuf, waiting: u32 },
}

pub(crate) fn run(attack: &Attack) -> Result<()> {
    match attack {
        Attack::Nop { work } => nop(work),
        Attack::Message { work } => message(work),
        Attack::Equal { work, writes } => equal(work, *writes),
        Attack::BehindSilent { work, silent } => behind_silent(work, *silent),
        Attack::OlderOverflow { work } => older(work, false),
        Attack::OlderSilent { work } => older(work, true),
        Attack::Creators { work, rings } => creators(work, *rings),
        Attack::TableFull { work, waiting } => table_full(work, *waiting),
    }
}

fn tell(user_data: u64, result: i32, path: Option<&Path>) {
    println!("{}", json!({ "user_data": user_data, "result": result, "path": path }));
}

fn nop_sqe(user_data: u64, result: i32) -> Sqe {
    Sqe { opcode: sys::OP_NOP, user_data, rw_flags: NOP_INJECT_RESULT, len: result.cast_unsigned(), ..Sqe::default() }
}

fn write_sqe(fd: &impl AsRawFd, data: &'static [u8], user_data: u64) -> Sqe {
    Sqe {
        opcode: sys::OP_WRITE,
        fd: fd.as_raw_fd(),
        addr: data.as_ptr() as u64,
        len: data.len() as u32,
        user_data,
        ..Sqe::default()
    }
}

/// Fills the CQ ring with what is no write.
fn fill(ring: &mut Ring) -> Result<()> {
    for _ in 0..ring.params().cq_entries {
        ring.push(&nop_sqe(1, 0))?;
        ring.submit_all()?;
    }
    Ok(())
}

/// Until the CQE of this user_data that is no NOP's, in order.
fn reap(ring: &mut Ring, wanted: impl Fn(&Cqe) -> bool) -> Result<Cqe> {
    loop {
        let cqe = ring.wait()?;
        if wanted(&cqe) {
            return Ok(cqe);
        }
    }
}

fn nop(work: &Path) -> Result<()> {
    let mut ring = Ring::new(Setup { cq_entries: ENTRIES, ..Setup::new(ENTRIES, sys::SETUP_CQSIZE) })?;
    let path = work.join("evil");
    let file = os::open(&path, libc::O_CREAT | libc::O_RDWR)?;
    let (read, write) = os::pipe(0)?;
    // The ring's free requests remember this result.
    for _ in 0..4 * ENTRIES {
        ring.push(&nop_sqe(1, -libc::EBADF))?;
        ring.submit_all()?;
        ring.wait()?;
    }
    let mut byte = [0u8; 1];
    let wait = Sqe {
        opcode: OP_READ,
        flags: sys::SQE_IO_LINK,
        fd: read.as_raw_fd(),
        addr: byte.as_mut_ptr() as u64,
        len: 1,
        user_data: 2,
        ..Sqe::default()
    };
    ring.push(&wait)?;
    ring.push(&write_sqe(&file, b"evil data\n", CHOSEN))?;
    ring.submit_all()?;
    fill(&mut ring)?;
    ring.push(&nop_sqe(CHOSEN, -libc::EBADF))?;
    ring.submit_all()?;
    os::write_all(&write, b"x")?;
    let cqe = reap(&mut ring, |cqe| cqe.user_data == CHOSEN && cqe.res != -libc::EBADF)?;
    tell(CHOSEN, cqe.res, Some(&path));
    Ok(())
}

fn message(_: &Path) -> Result<()> {
    static DATA: [u8; 100] = [0; 100];
    let setup = Setup { cq_entries: ENTRIES, ..Setup::new(ENTRIES, sys::SETUP_CQSIZE) };
    let (mut ring, mut other) = (Ring::new(setup)?, Ring::new(setup)?);
    let (read, write) = os::full_pipe()?;
    os::ignore_signal(libc::SIGPIPE)?;
    ring.push(&write_sqe(&write, &DATA, CHOSEN))?;
    ring.submit_all()?;
    fill(&mut ring)?;
    let send =
        Sqe { opcode: OP_MSG_RING, fd: ring.fd(), off: CHOSEN, len: DATA.len() as u32, user_data: 3, ..Sqe::default() };
    other.push(&send)?;
    other.submit_all()?;
    let sent = other.wait()?;
    ensure!(sent.res >= 0, "the message came to {}", sent.res);
    drop(read);
    let cqe = reap(&mut ring, |cqe| cqe.user_data == CHOSEN && cqe.res < 0)?;
    tell(CHOSEN, cqe.res, None);
    Ok(())
}

fn equal(work: &Path, writes: u32) -> Result<()> {
    let mut ring = Ring::new(Setup { cq_entries: 8, ..Setup::new(8, sys::SETUP_CQSIZE) })?;
    let path = work.join("equal");
    let file = os::open(&path, libc::O_CREAT | libc::O_RDWR | libc::O_APPEND)?;
    let mut left = writes;
    while left > 0 {
        // One byte to a file, the same result as the NOPs between.
        for kind in [true, false, true, false, true, true, false, true] {
            if !kind {
                ring.push(&nop_sqe(CHOSEN, 1))?;
            } else if left > 0 {
                left -= 1;
                ring.push(&write_sqe(&file, b"x", CHOSEN))?;
            }
        }
        while let Err(error) = ring.submit_all() {
            // The kernel takes no more until what overflowed has room.
            ensure!(error.raw_os_error() == Some(libc::EBUSY), "{error}");
            ring.wait()?;
        }
    }
    // A ring that ends cancels what its workers have not begun.
    while os::fstat(&file)?.st_size != i64::from(writes) {
        ring.enter(0, 0, 0)?;
        std::thread::yield_now();
    }
    for _ in 0..writes {
        tell(CHOSEN, 1, Some(&path));
    }
    Ok(())
}

fn behind_silent(work: &Path, silent: u32) -> Result<()> {
    const WRITES: u32 = 3;
    let mut ring = Ring::new(Setup::new((WRITES * (silent + 1)).next_power_of_two(), 0))?;
    let path = work.join("behind");
    let file = os::open(&path, libc::O_CREAT | libc::O_RDWR | libc::O_APPEND)?;
    fill(&mut ring)?;
    for i in 0..WRITES {
        for _ in 0..silent {
            ring.push(&Sqe { flags: sys::SQE_CQE_SKIP_SUCCESS, ..nop_sqe(1, 0) })?;
        }
        ring.push(&write_sqe(&file, b"behind", CHOSEN + u64::from(i)))?;
    }
    ring.submit_all()?;
    for _ in 0..WRITES {
        let cqe = reap(&mut ring, |cqe| cqe.user_data >= CHOSEN)?;
        tell(cqe.user_data, cqe.res, Some(&path));
    }
    Ok(())
}

/// Says that it waits, and until somebody says to go on.
fn wait_for_the_tracer() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    ensure!(std::io::stdin().read(&mut [0])? == 1, "nobody says to go on");
    Ok(())
}

fn older(work: &Path, silent: bool) -> Result<()> {
    let mut ring = Ring::new(Setup { cq_entries: ENTRIES, ..Setup::new(ENTRIES, sys::SETUP_CQSIZE) })?;
    let path = work.join("older");
    let file = os::open(&path, libc::O_CREAT | libc::O_RDWR)?;
    let (read, write) = os::pipe(0)?;
    let mut byte = [0u8; 1];
    let wait = Sqe {
        opcode: OP_READ,
        flags: sys::SQE_IO_LINK,
        fd: read.as_raw_fd(),
        addr: byte.as_mut_ptr() as u64,
        len: 1,
        user_data: 2,
        ..Sqe::default()
    };
    let mut last = write_sqe(&file, b"evil", CHOSEN);
    if silent {
        last.flags |= sys::SQE_CQE_SKIP_SUCCESS;
    }
    ring.push(&wait)?;
    ring.push(&last)?;
    ring.submit_all()?;
    fill(&mut ring)?;
    wait_for_the_tracer()?;
    os::write_all(&write, b"x")?;
    if silent {
        while os::fstat(&file)?.st_size != 4 {
            ring.enter(0, 0, sys::ENTER_GETEVENTS)?;
            std::thread::yield_now();
        }
        tell(CHOSEN, 4, Some(&path));
        return Ok(());
    }
    let cqe = reap(&mut ring, |cqe| cqe.user_data == CHOSEN)?;
    tell(CHOSEN, cqe.res, Some(&path));
    Ok(())
}

fn creators(work: &Path, rings: u32) -> Result<()> {
    os::may_open(u64::from(rings) + 64)?;
    let mut ring = Ring::new(Setup { idle_ms: 10, ..Setup::new(8, sys::SETUP_SQPOLL) })?;
    let path = work.join("polled");
    let file = os::open(&path, libc::O_CREAT | libc::O_RDWR)?;
    let own = os::gettid();
    for task in fs::read_dir("/proc/self/task")? {
        let name = task?.path().join("comm");
        if fs::read_to_string(&name)?.starts_with("iou-sqp") {
            fs::write(&name, "iou-sqp-1")?;
        }
    }
    // They share the poll thread, and stay: what is closed takes the kernel a while.
    let flags = sys::SETUP_SQPOLL | sys::SETUP_ATTACH_WQ;
    let others = (0..rings).map(|_| {
        let mut params = sys::Params { flags, wq_fd: ring.fd().cast_unsigned(), ..sys::Params::default() };
        let fd = sys::setup(1, &mut params).context("io_uring_setup")?;
        // SAFETY: the descriptor was just created and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    });
    let _others = others.collect::<Result<Vec<_>>>()?;
    ring.push(&write_sqe(&file, b"polled", CHOSEN))?;
    ring.submit_all()?;
    let cqe = ring.wait()?;
    println!("{}", json!({ "user_data": CHOSEN, "result": cqe.res, "path": path, "host_tid": own }));
    Ok(())
}

fn table_full(work: &Path, waiting: u32) -> Result<()> {
    const WRITES: u64 = 50;
    let (_read, write) = os::full_pipe()?;
    let mut crowd = Ring::new(Setup::new(4096, 0))?;
    for _ in 0..waiting {
        if crowd.push(&write_sqe(&write, b"x", 1)).is_err() {
            bail!("the submission queue is full");
        }
        if crowd.publish() >= 4096 {
            crowd.submit_all()?;
        }
    }
    crowd.submit_all()?;
    let mut ring = Ring::new(Setup::new(8, 0))?;
    let path = work.join("silent");
    let file = os::open(&path, libc::O_CREAT | libc::O_RDWR | libc::O_APPEND)?;
    let null = os::open("/dev/null", libc::O_WRONLY)?;
    for i in 0..WRITES {
        for (sqe, path) in [
            (write_sqe(&null, b"null", 1000 + 2 * i), Path::new("/dev/null")),
            (write_sqe(&file, b"file", 1001 + 2 * i), path.as_path()),
        ] {
            ring.push(&Sqe { flags: sys::SQE_CQE_SKIP_SUCCESS, ..sqe })?;
            ring.submit_all()?;
            tell(sqe.user_data, 4, Some(path));
        }
    }
    while os::fstat(&file)?.st_size != i64::try_from(4 * WRITES)? {
        std::thread::yield_now();
    }
    Ok(())
}
