//! Ctrl-C on a terminal, which the kernel sends to a traced command as well: the first leaves it to the command to end.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;

/// The traced command, as the signal handler sees it.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    runs: AtomicBool,
    interrupted: AtomicBool,
    news: AtomicBool,
}

impl Guest {
    /// It runs, or has ended.
    pub(crate) fn set(&self, runs: bool) {
        self.runs.store(runs, Ordering::Relaxed);
    }

    /// Whether it was interrupted since the last look.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.news.swap(false, Ordering::Relaxed)
    }

    /// Whether this signal is for the command alone.
    fn takes(&self, from_terminal: bool) -> bool {
        let takes =
            from_terminal && self.runs.load(Ordering::Relaxed) && !self.interrupted.swap(true, Ordering::Relaxed);
        if takes {
            self.news.store(true, Ordering::Relaxed);
        }
        takes
    }
}

fn wake(stream: &UnixStream) {
    // SAFETY: one byte of a constant is read; send is async-signal-safe, and the stream is open as long as the handler.
    unsafe { libc::send(stream.as_raw_fd(), [0u8].as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

/// From now on SIGINT sets `end` and writes to `wakes` and `ending`, unless the guest takes it.
pub(crate) fn register(
    end: Arc<AtomicBool>,
    guest: Arc<Guest>,
    woken: UnixStream,
    ending: UnixStream,
) -> io::Result<()> {
    let handler = move |info: &libc::siginfo_t| {
        if !guest.takes(info.si_code == libc::SI_KERNEL) {
            end.store(true, Ordering::Relaxed);
            wake(&ending);
        }
        wake(&woken);
    };
    // SAFETY: the handler touches atomics and calls send, nothing that is not async-signal-safe.
    unsafe { signal_hook_registry::register_sigaction(SIGINT, handler) }.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ctrl_c_on_a_terminal_is_for_the_command() {
        let guest = Guest::default();
        assert!(!guest.takes(true), "there is none");
        guest.set(true);
        assert!(!guest.takes(false), "only ringwatch got it");
        assert!(guest.takes(true) && guest.was_interrupted() && !guest.was_interrupted());
        assert!(!guest.takes(true), "the second");
    }
}
