//! The surroundings of a running case: its directory, its memory, and where its truth goes.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::identity::{Identity, Kind, Sources};
use crate::os;
use crate::request::Request;
use crate::ring::{Ring, Setup};
use crate::session::Session;
use crate::sys;
use crate::truth::{CaseEnd, Introduced, Thread};

/// Why a case did not run; not a failure.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// An error that skips the case.
pub(crate) fn skip(reason: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Skip(reason.into()))
}

/// A thread, in the pid namespace that the machine's `/proc` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// The thread id in the thread's own pid namespace.
    pub(crate) own_tid: u32,
}

impl Ids {
    /// A child's first thread, by what `fork` returned in the same pid namespace.
    pub(crate) fn of_child(pid: u32) -> Self {
        Self { pid, tid: pid, own_tid: pid }
    }
}

/// Counters that all processes of a case share.
#[derive(Debug)]
struct Shared {
    sequence: AtomicU64,
    recorded: AtomicU64,
    identities: AtomicU64,
    /// `IORING_FEAT_`, once there was a ring.
    features: AtomicU64,
}

/// A piece of the arena: memory that stays where it is until the process is gone, so that a request
/// may refer to it for as long as the kernel likes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buf {
    pub(crate) addr: u64,
    pub(crate) len: u32,
}

impl Buf {
    pub(crate) fn iovec(self) -> libc::iovec {
        libc::iovec { iov_base: self.addr as *mut libc::c_void, iov_len: self.len as usize }
    }

    /// A part of the buffer.
    pub(crate) fn part(self, offset: u32, len: u32) -> Self {
        assert!(offset + len <= self.len, "a part outside of its buffer");
        Self { addr: self.addr + u64::from(offset), len }
    }
}

const ARENA: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Cx {
    pub(crate) case: &'static str,
    index: u64,
    /// The case's own directory on the real file system; absolute.
    pub(crate) dir: PathBuf,
    /// The case's own directory on tmpfs; absolute.
    pub(crate) tmpfs: PathBuf,
    truth: File,
    sources: Sources,
    shared: &'static Shared,
    arena: usize,
    used: AtomicUsize,
    pending: Mutex<Vec<u8>>,
    known: Mutex<Introductions>,
}

/// What this process, and those that it was forked from, have told.
#[derive(Debug, Default)]
struct Introductions {
    identities: Vec<(Identity, u64)>,
    /// Process and thread.
    threads: HashMap<(u32, u32), Kind>,
}

impl Cx {
    pub(crate) fn new(case: &'static str, index: u64, dir: &Path, tmpfs: &Path, truth: &Path) -> Result<Self> {
        let page = os::map_anonymous(4096, true)?.cast::<Shared>();
        // SAFETY: the page is zeroed, aligned, large enough, and never unmapped; zeroes are valid.
        let shared = unsafe { &*page };
        let fresh = |parent: &Path| -> Result<PathBuf> {
            let dir = parent.join(case);
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            std::fs::create_dir(&dir).with_context(|| format!("create {} afresh", dir.display()))?;
            Ok(std::fs::canonicalize(dir)?)
        };
        Ok(Self {
            case,
            index,
            dir: fresh(dir)?,
            tmpfs: fresh(tmpfs)?,
            truth: open_truth(truth)?,
            sources: Sources::open()?,
            shared,
            arena: os::map_anonymous(ARENA, false)? as usize,
            used: AtomicUsize::new(0),
            pending: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// The calling thread. `/proc` answers in the pid namespace that it was mounted for, which is
    /// the right one also for a process that lives in another.
    pub(crate) fn ids(&self) -> Result<Ids> {
        let link = String::from_utf8(os::readlinkat(self.proc(), "thread-self")?)?;
        let mut parts = link.split("/task/");
        let mut next = || parts.next().and_then(|n| n.parse().ok());
        match (next(), next()) {
            (Some(pid), Some(tid)) => Ok(Ids { pid, tid, own_tid: os::gettid() }),
            _ => Err(anyhow!("/proc/thread-self leads to {link}")),
        }
    }

    /// The machine's `/proc`, from wherever the process is by now.
    pub(crate) fn proc(&self) -> &OwnedFd {
        self.sources.proc()
    }

    /// The number of a thread's identity, which is told once.
    pub(crate) fn identify(&self, ids: Ids) -> Result<u64> {
        let identity = self.sources.identity(ids)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, number)) = known.identities.iter().find(|(other, _)| *other == identity) {
            return Ok(*number);
        }
        let number = self.shared.identities.fetch_add(1, Ordering::Relaxed);
        self.append(&Introduced { case: self.case, identity: number, process: &identity })?;
        known.identities.push((identity, number));
        Ok(number)
    }

    /// Tells of the threads that a process has at this moment, each once. A worker that a poll thread made has the name of that
    /// at first.
    pub(crate) fn look_at_threads(&self, pid: u32) -> Result<()> {
        for tid in self.sources.threads(pid)? {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let before = known.threads.get(&(pid, tid)).copied();
            if before.is_some_and(|kind| kind != Kind::Poller) {
                continue;
            }
            if let Some(thread) = self.sources.kind(pid, tid).filter(|&kind| before != Some(kind)) {
                self.append(&Thread { case: self.case, host_pid: pid, host_tid: tid, thread })?;
                known.threads.insert((pid, tid), thread);
            }
        }
        Ok(())
    }

    /// Whether workers and poll threads are threads of the process.
    pub(crate) fn native_workers(&self) -> bool {
        self.shared.features.load(Ordering::Relaxed) & u64::from(sys::FEAT_NATIVE_WORKERS) != 0
    }

    /// `user_data` for the next request: unique in the whole run.
    pub(crate) fn next_user_data(&self) -> u64 {
        (self.index + 1) << 32 | self.shared.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Fresh memory of zeroes, aligned for anything; never given back.
    pub(crate) fn memory(&self, len: u32, align: usize) -> Buf {
        let size = (len as usize).next_multiple_of(align) + align;
        let start = self.used.fetch_add(size, Ordering::Relaxed);
        assert!(start + size <= ARENA, "the arena is used up");
        Buf { addr: (self.arena + start).next_multiple_of(align) as u64, len }
    }

    /// A buffer of text.
    pub(crate) fn buf(&self, len: u32) -> Buf {
        let buf = self.memory(len, 16);
        // SAFETY: the memory was just handed out and lies inside the arena.
        unsafe { std::ptr::write_bytes(buf.addr as *mut u8, b'w', len as usize) };
        buf
    }

    /// Whole pages, as `O_DIRECT` and registered buffers like them.
    pub(crate) fn pages(&self, len: u32) -> Buf {
        self.memory(len, 4096)
    }

    /// A copy of plain data in memory that stays.
    pub(crate) fn keep<T: Copy>(&self, items: &[T]) -> Buf {
        let buf = self.memory(size_of_val(items) as u32, 16);
        // SAFETY: the memory was just handed out, is large enough, and aligned for plain data.
        unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), buf.addr as *mut T, items.len()) };
        buf
    }

    pub(crate) fn ring(&self, setup: Setup) -> Result<Session> {
        let ring = Ring::new(setup).map_err(|e| match e.raw_os_error() {
            Some(libc::EINVAL) if setup.flags != 0 => {
                skip(format!("this kernel refuses io_uring_setup with flags {:#x}", setup.flags))
            }
            _ => anyhow::Error::new(e).context("io_uring_setup"),
        })?;
        self.shared.features.store(ring.params().features.into(), Ordering::Relaxed);
        Ok(Session::new(ring, self.ids()?))
    }

    /// A ring without any flags.
    pub(crate) fn plain_ring(&self) -> Result<Session> {
        self.ring(Setup::new(64, 0))
    }

    /// A ring for a few requests with no special wishes, run at once.
    pub(crate) fn run(&self, requests: Vec<Request>) -> Result<()> {
        self.plain_ring()?.run(self, requests)
    }

    pub(crate) fn record(&self, truth: &impl Serialize) -> Result<()> {
        self.append(truth)?;
        self.shared.recorded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn flush(&self) -> Result<()> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        os::write_all(&self.truth, &pending)?;
        pending.clear();
        Ok(())
    }

    /// How many requests were recorded.
    pub(crate) fn recorded(&self) -> u64 {
        self.shared.recorded.load(Ordering::Relaxed)
    }

    /// A line that is no request's.
    pub(crate) fn remark(&self, line: &impl Serialize) -> Result<()> {
        self.append(line)?;
        self.flush()
    }

    fn append(&self, line: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&line);
        Ok(())
    }

    /// The line that closes the case.
    pub(crate) fn end(&self, outcome: &Result<()>) -> Result<()> {
        self.flush()?;
        write_end(&self.truth, self.case, outcome, self.recorded())
    }

    /// Runs `work` in a forked process, which writes down its own truth.
    pub(crate) fn fork(&self, work: impl FnOnce() -> Result<()>) -> Result<i32> {
        // What is pending would be written twice.
        self.flush()?;
        // SAFETY: the cases fork while they have one thread.
        let pid = os::cvt(unsafe { libc::fork() }).context("fork")?;
        if pid > 0 {
            return Ok(pid);
        }
        // A case that times out takes its children along.
        // SAFETY: no pointer is passed.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let outcome = work().and_then(|()| self.flush());
        if let Err(error) = &outcome {
            eprintln!("{}: in a child process: {error:#}", self.case);
        }
        // SAFETY: ends the process without running what belongs to the parent.
        unsafe { libc::_exit(i32::from(outcome.is_err())) }
    }

    /// The same, and waits for it.
    pub(crate) fn in_child(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        os::wait_success(self.fork(work)?)
    }

    /// Skips the case unless the kernel knows the opcode.
    pub(crate) fn needs_opcode(&self, opcode: u8) -> Result<()> {
        if self.plain_ring()?.ring.supports(opcode) {
            return Ok(());
        }
        Err(skip(format!("IORING_REGISTER_PROBE does not list opcode {opcode}")))
    }

    /// Whether the kernel knows `IOSQE_CQE_SKIP_SUCCESS`.
    pub(crate) fn needs_cqe_skip(&self) -> Result<()> {
        if self.plain_ring()?.ring.has(sys::FEAT_CQE_SKIP) {
            return Ok(());
        }
        Err(skip("this kernel has no IOSQE_CQE_SKIP_SUCCESS"))
    }

    /// A ring with one registered buffer, and the buffer.
    pub(crate) fn ring_with_buffer(&self, setup: Setup, len: u32) -> Result<(Session, Buf)> {
        let session = self.ring(setup)?;
        let buf = self.pages(len);
        // SAFETY: the arena is never unmapped.
        unsafe { session.ring.register_buffers(&[buf.iovec()]) }.context("register buffers")?;
        Ok((session, buf))
    }

    /// Registers files with a ring, in the order given.
    pub(crate) fn register(&self, session: &Session, files: &[&dyn AsRawFd]) -> Result<()> {
        let fds: Vec<_> = files.iter().map(|f| f.as_raw_fd()).collect();
        session.ring.register_files(&fds).context("register files")
    }
}

pub(crate) fn open_truth(path: &Path) -> Result<File> {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("open the truth file {}", path.display()))
}

/// The line that says how a case ended.
pub(crate) fn write_end(truth: &File, case: &str, outcome: &Result<()>, requests: u64) -> Result<()> {
    let text;
    let end = match outcome {
        Ok(()) => CaseEnd::Done { case, done: true, requests },
        Err(error) => {
            text = format!("{error:#}");
            if error.downcast_ref::<Skip>().is_some() {
                CaseEnd::Skipped { case, skipped: &text }
            } else {
                CaseEnd::Error { case, error: &text }
            }
        }
    };
    let mut line = serde_json::to_vec(&end)?;
    line.push(b'\n');
    os::write_all(truth, &line)
}

/// `DEFER_TASKRUN` is only allowed together with `SINGLE_ISSUER`.
pub(crate) const DEFER: u32 = sys::SETUP_SINGLE_ISSUER | sys::SETUP_DEFER_TASKRUN;
