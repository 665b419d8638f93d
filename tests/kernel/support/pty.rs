//! A terminal of its own for a command.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;

/// A command whose terminal this is. Both end when it is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    terminal: File,
    child: Child,
    /// All that was shown.
    pub(crate) shown: String,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    /// Runs `command` as job of a shell that ignores Ctrl-C, shows `status N` when it has ended, and waits.
    pub(crate) fn run<S: AsRef<OsStr>>(command: &[S]) -> Result<Self> {
        let pty = openpty(None, None).context("no terminal")?;
        let input = |side: &OwnedFd| side.try_clone();
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap : INT; \"$@\"; echo \"status $?\"; read end", "sh"]).args(command);
        shell.stdin(input(&pty.slave)?).stdout(input(&pty.slave)?).stderr(input(&pty.slave)?);
        // SAFETY: setsid and ioctl are system calls, which are async-signal-safe.
        unsafe {
            shell.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = shell.spawn().context("cannot start sh")?;
        Ok(Self { terminal: pty.master.into(), child, shown: String::new(), seen: 0 })
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, text: &str) -> Result<()> {
        self.terminal.write_all(text.as_bytes()).context("cannot type")
    }

    /// Waits until `text` is shown, once more than waited for before; the rest of its line.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let new = &self.shown[self.seen..];
            if let Some(at) = new.find(text)
                && let Some(end) = new[at..].find('\n')
            {
                let rest = new[at + text.len()..at + end].trim().to_owned();
                self.seen += at + end;
                return Ok(rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::try_from(left)?)? == 0 {
                bail!("`{text}` is not shown, but:\n{}", self.shown);
            }
            let mut bytes = [0; 4096];
            match self.terminal.read(&mut bytes) {
                Ok(n) if n > 0 => self.shown += &String::from_utf8_lossy(&bytes[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                end => bail!("the terminal ended ({end:?}) without `{text}`:\n{}", self.shown),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
