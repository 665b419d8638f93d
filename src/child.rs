//! The traced command: started, held until the probes know its process id, then released.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command, ExitStatus};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A command that waits before its exec.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    release: File,
    spawn: JoinHandle<io::Result<process::Child>>,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running(process::Child);

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

impl Child {
    /// Forks; the new process waits. `apart`: its standard output is standard error.
    ///
    /// # Errors
    /// No process can be made.
    pub fn start(command: &[OsString], apart: bool) -> io::Result<Self> {
        let (pid_read, pid_write) = pipe()?;
        let (go_read, go_write) = pipe()?;
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments);
        if apart {
            command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        }
        let (pid_fd, go_fd, ours) = (pid_write.as_raw_fd(), go_read.as_raw_fd(), go_write.as_raw_fd());
        // SAFETY: between fork and exec only getpid, close, write and read are called, which are async-signal-safe,
        // on descriptors that the spawning thread keeps open until the exec.
        unsafe {
            command.pre_exec(move || {
                // Without this end, ringwatch's death ends the wait below.
                libc::close(ours);
                let pid = libc::getpid().to_ne_bytes();
                if libc::write(pid_fd, pid.as_ptr().cast(), pid.len()) != 4 {
                    return Err(io::Error::last_os_error());
                }
                let mut go = 0u8;
                match libc::read(go_fd, (&raw mut go).cast(), 1) {
                    1 => Ok(()),
                    _ => Err(io::ErrorKind::Interrupted.into()),
                }
            });
        }
        // spawn() returns only after the exec, so it has a thread of its own.
        let spawn = thread::Builder::new().name("spawn".to_owned()).spawn(move || {
            let child = command.spawn();
            drop((pid_write, go_read));
            child
        })?;
        let mut pid = [0; 4];
        match File::from(pid_read).read_exact(&mut pid) {
            Ok(()) => Ok(Self { pid: u32::from_ne_bytes(pid), release: go_write.into(), spawn }),
            Err(e) => match spawn.join() {
                Ok(Err(cause)) => Err(cause),
                _ => Err(e),
            },
        }
    }

    /// The new process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it exec.
    ///
    /// # Errors
    /// The program cannot be executed.
    pub fn release(mut self) -> io::Result<Running> {
        self.release.write_all(&[1])?;
        match self.spawn.join() {
            Ok(child) => child.map(Running),
            Err(_) => Err(io::ErrorKind::Other.into()),
        }
    }
}

impl Running {
    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its status, once it has ended.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            // Its process is not yet waited for, so the id cannot be another's.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}
