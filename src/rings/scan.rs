//! Rings as /proc shows them: those with a descriptor or mapped memory, of processes that may be looked into.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::fdinfo;
use super::process::{Proc, RING};
use super::{Facts, Hold, Key, Owner, PollThread, Sighting};
use crate::event::Timestamp;

/// How often a ring that is busy is looked at: the kernel leaves its queues out while somebody submits, and nothing
/// tells when that is over.
const TRIES: u32 = 5;

/// What was seen, and how many processes could not be looked into.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) sightings: Vec<Sighting>,
    pub(super) refused: usize,
}

/// `shared`: the inode of files that have none of their own, such as rings before 5.16.
pub(super) fn scan(proc: &Proc, shared: Option<u64>) -> Scan {
    let mut scan = Scan::default();
    let mut files = Files::default();
    for pid in proc.pids() {
        let mut seen = vec![];
        let Some(fds) = proc.fds(pid) else {
            // A process that ended meanwhile is no loss.
            scan.refused += usize::from(proc.status(pid).is_some());
            continue;
        };
        for fd in fds {
            let link = proc.path(pid, &format!("fd/{fd}"));
            if !fs::read_link(&link).is_ok_and(|target| target == Path::new(RING)) {
                continue;
            }
            let mut facts = facts(proc, pid, fd);
            let meta = fs::metadata(&link).ok().filter(|m| shared.is_some_and(|s| s != m.ino()));
            facts.inode = meta.as_ref().map(MetadataExt::ino);
            facts.created = meta.as_ref().map(|m| Timestamp(m.ctime() * 1_000_000_000 + m.ctime_nsec()));
            let key = facts.inode.map_or_else(|| files.key(pid, fd), Key::Inode);
            seen.push(Sighting { key, facts, owner: owner(proc, pid), hold: Hold::Fd(fd) });
        }
        if shared.is_some() {
            let mapped = proc.mapped(pid).unwrap_or_default();
            for inode in mapped.into_iter().filter(|&inode| shared != Some(inode)) {
                let facts = Facts { inode: Some(inode), ..Facts::default() };
                let owner = owner(proc, pid);
                seen.push(Sighting { key: Key::Inode(inode), facts, owner, hold: Hold::Mapped });
            }
        }
        scan.sightings.append(&mut seen);
    }
    scan
}

fn facts(proc: &Proc, pid: u32, fd: u32) -> Facts {
    let mut told = Facts::default();
    for _ in 0..TRIES {
        told = fs::read(proc.path(pid, &format!("fdinfo/{fd}"))).map(|t| fdinfo::parse(&t)).unwrap_or_default();
        if fdinfo::is_told(&told) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let sqpoll = told.sqpoll.map(|p| PollThread { host_tid: proc.poll_thread(pid, p.host_tid), ..p });
    Facts { inode: None, sqpoll, ..told }
}

fn owner(proc: &Proc, pid: u32) -> Owner {
    let status = proc.status(pid).unwrap_or_default();
    Owner { host_pid: pid, start: None, pid: status.pid, name: status.name, uid: status.uid, cgroup_id: None }
}

/// Rings without an inode of their own, in the order in which the kernel compares open files.
#[derive(Debug, Default)]
struct Files {
    known: Vec<(u32, u32, usize)>,
    count: usize,
}

impl Files {
    fn key(&mut self, pid: u32, fd: u32) -> Key {
        self.count += 1;
        let mut comparable = true;
        let found = self.known.binary_search_by(|&(other, other_fd, _)| {
            compare(other, other_fd, pid, fd).unwrap_or_else(|_| {
                comparable = false;
                Ordering::Less
            })
        });
        match found {
            Ok(at) if comparable => return Key::Number(self.known[at].2),
            Err(at) if comparable => self.known.insert(at, (pid, fd, self.count)),
            // It stays a ring of its own.
            _ => {}
        }
        Key::Number(self.count)
    }
}

/// Whether two descriptors are the same open file, or else their order.
fn compare(pid: u32, fd: u32, other: u32, other_fd: u32) -> io::Result<Ordering> {
    const KCMP_FILE: libc::c_int = 0;
    let [pid, other] = [pid, other].map(|p| libc::pid_t::try_from(p).unwrap_or(-1));
    let [fd, other_fd] = [fd, other_fd].map(libc::c_ulong::from);
    // SAFETY: no pointer is passed.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid, other, KCMP_FILE, fd, other_fd) } {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn the_same_open_file_has_one_key() {
        let files: Vec<_> = (0..3).filter_map(|_| fs::File::open("/dev/null").ok()).collect();
        let again: Vec<_> = files.iter().filter_map(|f| f.try_clone().ok()).collect();
        let own = std::process::id();
        let number = |f: &fs::File| u32::try_from(f.as_raw_fd()).unwrap_or(u32::MAX);
        if compare(own, number(&files[0]), own, number(&again[0])).is_err() {
            // A kernel without kcmp.
            return;
        }
        let mut known = Files::default();
        let first: Vec<_> = files.iter().map(|f| known.key(own, number(f))).collect();
        let second: Vec<_> = again.iter().map(|f| known.key(own, number(f))).collect();
        assert_eq!(first, second);
        assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    }
}
