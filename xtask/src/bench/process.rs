//! Child processes on a CPU of their own, that end with this program.

use std::env;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// Signals as bytes in a socket: a wait with a time limit misses none.
#[derive(Debug)]
pub(super) struct Signals {
    end: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Signals {
    pub(super) fn catch() -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let (wake, write) = UnixStream::pair().context("cannot make a socket pair")?;
        let register = || -> std::io::Result<()> {
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                signal_hook::flag::register(signal, Arc::clone(&end))?;
                signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
            }
            signal_hook::low_level::pipe::register(SIGCHLD, write.try_clone()?)?;
            Ok(())
        };
        register().context("cannot catch signals")?;
        Ok(Self { end, wake })
    }

    /// An error once the user wants to end.
    pub(super) fn check(&self) -> Result<()> {
        if self.end.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Until a signal, at most `time`.
    pub(super) fn wait(&self, time: Duration) -> Result<()> {
        // A limit of zero would mean none.
        let time = time.max(Duration::from_millis(1));
        self.wake.set_read_timeout(Some(time)).context("cannot set the time of a wait")?;
        // Nothing to do about its errors: the end of the time and a signal are among them.
        let _ = (&self.wake).read(&mut [0; 64]);
        self.check()
    }
}

/// Binds this thread, and what it starts from now on, to a CPU.
pub(super) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there can be no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

/// Whether this process may run on `cpu`.
pub(super) fn may_use(cpu: usize) -> bool {
    sched_getaffinity(Pid::from_raw(0)).is_ok_and(|set| set.is_set(cpu).unwrap_or(false))
}

/// Where a program is.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// How a child ended, and what it used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// In user and kernel mode.
    pub(super) cpu: Duration,
    /// Its `ru_maxrss`. Not less than that of this process, whose memory a child has until it runs its program.
    pub(super) max_rss: u64,
    /// Times that another took the CPU from it.
    pub(super) preempted: u64,
}

/// A running child; it does not outlive this value.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    name: &'static str,
    ended: bool,
}

impl Running {
    /// Starts `command` on `cpu`.
    pub(super) fn start(name: &'static str, command: &mut Command, cpu: usize, home: usize) -> Result<Self> {
        // Children inherit the CPU; to bind them later would miss the threads they start at once. The process
        // group keeps the terminal's Ctrl-C from them: their end is decided here.
        pin(cpu)?;
        let child = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"));
        let running = child.map(|child| Self { child, name, ended: false });
        pin(home)?;
        running
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.raw_pid(), signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// The child's end, if that was.
    pub(super) fn try_wait(&mut self) -> Result<Option<Ended>> {
        self.reap(libc::WNOHANG)
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, signals: &Signals, limit: Duration) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(ended) = self.try_wait()? {
                return Ok(ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} did not end within {} s", self.name, limit.as_secs());
            }
            signals.wait(left)?;
        }
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The standard library's wait does not tell what the child used.
    fn reap(&mut self, flags: libc::c_int) -> Result<Option<Ended>> {
        let mut status = 0;
        // SAFETY: all-zero bytes are a valid rusage, which has only integers.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both places live until the call returns.
        let pid = unsafe { libc::wait4(self.raw_pid().as_raw(), &raw mut status, flags, &raw mut usage) };
        match pid {
            -1 => Err(std::io::Error::last_os_error()).with_context(|| format!("cannot wait for {}", self.name)),
            0 => Ok(None),
            _ => {
                self.ended = true;
                Ok(Some(Ended {
                    status: ExitStatus::from_raw(status),
                    cpu: time(usage.ru_utime) + time(usage.ru_stime),
                    max_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
                    preempted: u64::try_from(usage.ru_nivcsw).unwrap_or(0),
                }))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.raw_pid(), Signal::SIGKILL);
            let _ = self.reap(0);
        }
    }
}

fn time(value: libc::timeval) -> Duration {
    let seconds = u64::try_from(value.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(value.tv_usec).unwrap_or(0))
}
