//! The programs that user space runs itself, a slice at a time: they find requests that ended without a CQE, and report
//! what is still in flight at the end.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::creators::Creators;

/// `1 << PLACE_BITS`.
const PLACES: u32 = 1 << 17;
/// `1 << SLOT_BITS`.
const SLOTS: u32 = 1 << 14;
/// Places of one slice.
const PLACES_AT_ONCE: u32 = 2048;
/// Steps of one slice, some 100 ns each.
const STEPS_AT_ONCE: u32 = 2048;

/// The least time between two sweeps.
const REST: Duration = Duration::from_millis(50);
/// The least time between two looks for creators of rings that are gone.
const CLEAN: Duration = Duration::from_secs(60);
/// Sweeping takes one part of so many of a CPU.
const SHARE: u32 = 50;

/// `struct slice`.
#[repr(C)]
struct Slice {
    from: u32,
    n: u32,
    steps: u32,
    stopping: u32,
    round: u32,
    pad: u32,
}

/// Programs of a loaded object, for any thread.
#[derive(Debug)]
pub(super) struct Programs {
    sweep: OwnedFd,
    slots: OwnedFd,
    silent: OwnedFd,
}

impl Programs {
    pub(super) fn new(sweep: impl AsFd, slots: impl AsFd, silent: impl AsFd) -> io::Result<Self> {
        let own = |program: &dyn AsFd| program.as_fd().try_clone_to_owned();
        Ok(Self { sweep: own(&sweep)?, slots: own(&slots)?, silent: own(&silent)? })
    }

    /// How many requests in flight have no CQE to come.
    fn silent(&self) -> io::Result<u32> {
        run(&self.silent, None)
    }

    /// Looks at all requests once.
    pub(super) fn sweep(&self, round: u32) -> io::Result<()> {
        if self.silent()? > 0 { self.go_through(&self.sweep, PLACES, false, round, || true) } else { Ok(()) }
    }

    /// Reports everything that is in flight.
    pub(super) fn end(&self) -> io::Result<()> {
        self.go_through(&self.sweep, PLACES, true, 0, || true)?;
        self.go_through(&self.slots, SLOTS, true, 0, || true)
    }

    fn go_through(
        &self,
        program: &OwnedFd,
        all: u32,
        stopping: bool,
        round: u32,
        mut go_on: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let mut from = 0;
        while from < all && go_on() {
            let n = PLACES_AT_ONCE.min(all - from);
            let mut slice = Slice { from, n, steps: STEPS_AT_ONCE, stopping: u32::from(stopping), round, pad: 0 };
            from = run(program, Some(&mut slice))?.max(from + 1);
        }
        Ok(())
    }
}

/// The return value of a program of the kind "syscall".
fn run(program: &OwnedFd, slice: Option<&mut Slice>) -> io::Result<u32> {
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    if let Some(slice) = slice {
        options.ctx_in = std::ptr::from_mut(slice).cast();
        options.ctx_size_in = size_of::<Slice>() as u32;
    }
    // SAFETY: `options` has its own size, and `ctx_in` points to as many bytes as it says, which outlive the call.
    let outcome = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
    if outcome < 0 { Err(io::Error::from_raw_os_error(-outcome)) } else { Ok(options.retval) }
}

/// A thread that looks after requests without a CQE, for a small share of one CPU.
#[derive(Debug)]
pub struct Sweeper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sweeper {
    pub(super) fn start(programs: Programs, creators: Option<Creators>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("sweeper".to_owned()).spawn(move || {
            let mut round = 0u32;
            let mut pause = REST;
            let mut cleaned = Instant::now();
            loop {
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
                pause = REST;
                if let Some(creators) = &creators
                    && cleaned.elapsed() >= CLEAN
                {
                    creators.clean();
                    cleaned = Instant::now();
                }
                if programs.silent()? == 0 {
                    continue;
                }
                round = round.wrapping_add(1);
                let mut busy = Instant::now();
                let mut ended = false;
                programs.go_through(&programs.sweep, PLACES, false, round, || {
                    let worked = busy.elapsed();
                    if worked < REST / SHARE {
                        return true;
                    }
                    ended = stopped.recv_timeout(worked * (SHARE - 1)) != Err(RecvTimeoutError::Timeout);
                    busy = Instant::now();
                    !ended
                })?;
                if ended {
                    return Ok(());
                }
                pause = REST.max(busy.elapsed() * (SHARE - 1));
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    ///
    /// # Errors
    /// A program could not be run, so that requests without a CQE were found late.
    pub fn stop(self) -> io::Result<()> {
        drop(self.stop);
        self.thread.join().map_err(|_| io::Error::other("the thread failed"))?
    }
}
