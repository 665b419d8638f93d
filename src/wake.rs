//! Signals.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::complain;
use crate::interrupt::{self, Guest};

/// A trace that takes longer to end than this may be held up by whoever is to take its output.
const HELD_UP: Duration = Duration::from_secs(5);

/// Signals that end a trace, or wake its loop.
#[derive(Debug)]
pub struct Wake {
    end: Arc<AtomicBool>,
    pipe: UnixStream,
    /// Of the thread that sees to it that there is an end.
    last: UnixStream,
    /// The command, which gets a terminal's Ctrl-C as well.
    pub(crate) guest: Arc<Guest>,
}

impl Wake {
    /// From now on SIGINT, SIGTERM and SIGHUP end the trace in order. Where that takes long, one more ends it at once.
    ///
    /// # Errors
    /// Signals cannot be caught, or a thread not be started.
    pub fn new() -> io::Result<Self> {
        let (end, held_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (pipe, write) = UnixStream::pair()?;
        let (last, last_write) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&held_up))?;
        }
        let guest = Arc::new(Guest::default());
        interrupt::register(Arc::clone(&end), Arc::clone(&guest), write.try_clone()?, last_write.try_clone()?)?;
        for signal in [SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&end))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
            signal_hook::low_level::pipe::register(signal, last_write.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, write)?;
        let signalled = last.try_clone()?;
        thread::Builder::new().name("last resort".to_owned()).spawn(move || last_resort(signalled, &held_up))?;
        Ok(Self { end, pipe, last, guest })
    }

    pub(crate) fn told(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Until a signal, at most `time`.
    pub(crate) fn wait(&mut self, time: Duration) {
        let mut bytes = [0; 64];
        if self.pipe.set_read_timeout(Some(time)).is_ok() {
            let _ = self.pipe.read(&mut bytes);
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // Ends the thread, which reads from it.
        let _ = self.last.shutdown(Shutdown::Both);
    }
}

fn last_resort(mut signalled: UnixStream, held_up: &AtomicBool) {
    let mut bytes = [0; 1];
    if !matches!(signalled.read(&mut bytes), Ok(1)) {
        return;
    }
    let begin = Instant::now();
    while let Some(left) = HELD_UP.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        // More signals change nothing, and the end of the trace ends this thread.
        if signalled.set_read_timeout(Some(left)).is_err() || matches!(signalled.read(&mut bytes), Ok(0)) {
            return;
        }
    }
    held_up.store(true, Ordering::SeqCst);
    complain!(
        "the trace does not end: is there an output that nobody reads? Ctrl-C again ends it at once; what is not written yet is lost then"
    );
}
