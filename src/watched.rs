//! Processes and threads that were asked for, until they end.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::filter::Id;
use crate::here::{self, Asked, Here};

/// `PIDFD_THREAD`, from 6.9 on.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL.cast_unsigned();

/// A process or thread, and no later one with its id.
#[derive(Debug)]
pub struct Watched {
    /// Its id, in ringwatch's pid namespace.
    pub id: u32,
    thread: bool,
    /// `None`: the kernel has no pidfd for it (processes: before 5.3, threads: before 6.9).
    descriptor: Option<OwnedFd>,
    /// When it started, in ticks. 0: not known.
    start: u64,
}

/// A descriptor that becomes readable when the task has ended.
fn pidfd(id: u32, flags: libc::c_uint) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(id).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the call takes two numbers, and no memory of this process.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn status(id: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{id}/status")).ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Where a task's id is valid that is `number` here.
pub fn identify(number: u32) -> Result<Id, String> {
    let here = Here::get();
    let known = || {
        let namespace = fs::metadata(format!("/proc/{number}/ns/pid")).ok()?.ino();
        let own = field(&status(number)?, "NSpid")?.split_ascii_whitespace().next_back()?.parse().ok()?;
        Some(Id { namespace: Some(u32::try_from(namespace).ok()?), number: own })
    };
    match known().filter(|_| here.proc_fits) {
        Some(id) => Ok(id),
        None if here.is_host_pid_namespace => Ok(Id { namespace: None, number }),
        None => Err(format!("there is no process or thread {number} here, or /proc does not show it")),
    }
}

impl Watched {
    /// The process, and how the kernel side knows it.
    ///
    /// # Errors
    /// There is none, for people.
    pub fn process(id: u32) -> Result<(Self, Asked), String> {
        // Opened first: while it has not ended, what is read of this id is about it.
        let descriptor = pidfd(id, 0).ok();
        let asked = Here::get().process(id)?;
        Ok((Self { id, thread: false, descriptor, start: asked.start }, asked))
    }

    /// The thread, and its process as the kernel side knows it.
    ///
    /// # Errors
    /// There is none, for people.
    pub fn thread(id: u32) -> Result<(Self, Asked), String> {
        let here = Here::get();
        if !here.proc_fits {
            return Err("threads are found by /proc, which is of another pid namespace than ringwatch or cannot be read: use --pid".to_owned());
        }
        let descriptor = pidfd(id, PIDFD_THREAD).ok();
        let leader = status(id).and_then(|status| field(&status, "Tgid")?.parse().ok());
        let leader = leader.ok_or_else(|| format!("there is no thread {id} here"))?;
        let start = started(id).map_or(0, |(_, start)| start);
        Ok((Self { id, thread: true, descriptor, start }, here.process(leader)?))
    }

    /// Whether it has ended, with all its threads.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.descriptor {
            Some(descriptor) => {
                let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
                poll(&mut polled, PollTimeout::ZERO).is_ok_and(|n| n > 0)
            }
            // What cannot be looked at is followed to the end of the trace.
            None if !Here::get().proc_fits => false,
            None => started(self.id).is_none_or(|(state, start)| {
                let zombie = matches!(state, b'Z' | b'X') && (self.thread || is_alone(self.id));
                zombie || self.start != 0 && start != self.start
            }),
        }
    }
}

/// State and start of a task.
fn started(id: u32) -> Option<(u8, u64)> {
    let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
    let end = stat.iter().rposition(|&b| b == b')')?;
    Some((*stat.get(end + 2)?, here::start(&stat)?))
}

/// The leader of a process stays a zombie while other threads run.
fn is_alone(id: u32) -> bool {
    fs::read_dir(format!("/proc/{id}/task")).map_or(true, |tasks| tasks.count() <= 1)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen_with_and_without_pidfd() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (with, asked) = Watched::process(child.id()).unwrap();
        let without = Watched { id: with.id, thread: false, descriptor: None, start: asked.start };
        assert_eq!([with.has_ended(), without.has_ended()], [false, false]);
        drop(child.stdin.take());
        // Waited for by the descriptor alone, so that a zombie is left.
        let descriptor = with.descriptor.as_ref().unwrap();
        poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        assert_eq!([with.has_ended(), without.has_ended()], [true, true]);
        child.wait().unwrap();
        assert_eq!([with.has_ended(), without.has_ended()], [true, true]);
        assert!(Watched::process(child.id()).is_err());
        assert!(Watched::thread(child.id()).is_err());
    }
}
