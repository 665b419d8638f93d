//! What /proc tells of a process. All of it may be gone or refused at any moment.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Worker;
use crate::here::{Here, TICKS};
use crate::proc::joined;

/// A directory like /proc, and what does not change while ringwatch looks.
#[derive(Debug)]
pub(super) struct Proc {
    root: PathBuf,
    /// Where cgroups of version 2 are mounted.
    cgroups: Option<PathBuf>,
}

/// Names of poll threads; the second before 5.12.
const POLLER: &str = "iou-sqp-";
const KERNEL_POLLER: &str = "io_uring-sq";

/// From /proc/PID/stat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// CPU time in user and kernel mode, in ticks.
    cpu: u64,
    /// Ticks since boot.
    pub(super) start: u64,
}

impl Stat {
    pub(super) fn cpu_ms(self) -> u64 {
        self.cpu.saturating_mul(1000 / TICKS)
    }

    /// Whether this is what started then.
    pub(super) fn started_at(self, ns: u64) -> bool {
        self.start == Here::get().ticks(ns)
    }
}

/// Where a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cgroup: Option<String>,
    pub(super) container: Option<String>,
}

/// Of /proc/PID/status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) name: Option<String>,
    pub(super) uid: Option<u32>,
    /// The process id in the process's own namespace.
    pub(super) pid: Option<u32>,
}

impl Proc {
    pub(super) fn new(root: &Path) -> Self {
        let mounts = fs::read_to_string(root.join("self/mounts")).unwrap_or_default();
        Self { root: root.to_owned(), cgroups: cgroup2_mount(&mounts) }
    }

    pub(super) fn path(&self, pid: u32, what: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(what)
    }

    fn numbers(directory: &Path) -> Option<Vec<u32>> {
        let entries = fs::read_dir(directory).ok()?;
        let mut all: Vec<u32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
        all.sort_unstable();
        Some(all)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        Self::numbers(&self.root).unwrap_or_default()
    }

    pub(super) fn fds(&self, pid: u32) -> Option<Vec<u32>> {
        Self::numbers(&self.path(pid, "fd"))
    }

    fn tids(&self, pid: u32) -> Option<Vec<u32>> {
        Self::numbers(&self.path(pid, "task"))
    }

    pub(super) fn stat(&self, pid: u32) -> Option<Stat> {
        stat(&fs::read(self.path(pid, "stat")).ok()?)
    }

    fn thread_cpu_ms(&self, pid: u32, tid: u32) -> Option<u64> {
        stat(&fs::read(self.path(pid, &format!("task/{tid}/stat"))).ok()?).map(Stat::cpu_ms)
    }

    fn thread_name(&self, pid: u32, tid: u32) -> Option<String> {
        Some(fs::read_to_string(self.path(pid, &format!("task/{tid}/comm"))).ok()?.trim_end().to_owned())
    }

    /// Of a poll thread. In another pid namespace than the host's, something else may have its number.
    pub(super) fn poll_cpu_ms(&self, tid: u32) -> Option<u64> {
        let name = self.thread_name(tid, tid)?;
        (name.starts_with(POLLER) || name == KERNEL_POLLER).then(|| self.thread_cpu_ms(tid, tid))?
    }

    /// Before 5.12 poll threads are kernel threads; and shortly after its creation a ring names its creator.
    pub(super) fn poll_thread(&self, pid: u32, named: u32) -> u32 {
        let is_one = |tid: u32| self.thread_name(pid, tid).is_some_and(|n| n.starts_with(POLLER));
        if is_one(named) {
            return named;
        }
        let name = format!("{POLLER}{named}");
        let tids = self.tids(pid).unwrap_or_default().into_iter();
        let mut same = tids.filter(|&tid| self.thread_name(pid, tid).is_some_and(|n| n == name));
        match (same.next(), same.next()) {
            (Some(tid), None) => tid,
            _ => named,
        }
    }

    pub(super) fn workers(&self, pid: u32) -> Option<Vec<Worker>> {
        let worker = |tid| {
            let submitter_host_tid = self.thread_name(pid, tid)?.strip_prefix("iou-wrk-")?.parse().ok()?;
            Some(Worker { host_tid: tid, submitter_host_tid, cpu_time_ms: self.thread_cpu_ms(pid, tid) })
        };
        Some(self.tids(pid)?.into_iter().filter_map(worker).collect())
    }

    pub(super) fn status(&self, pid: u32) -> Option<Status> {
        Some(status(&fs::read(self.path(pid, "status")).ok()?))
    }

    pub(super) fn executable(&self, pid: u32) -> Option<String> {
        fs::read_link(self.path(pid, "exe")).ok().map(|p| p.to_string_lossy().into_owned())
    }

    pub(super) fn command_line(&self, pid: u32) -> Option<String> {
        let line = joined(&fs::read(self.path(pid, "cmdline")).ok()?)?;
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    pub(super) fn place(&self, pid: u32) -> Place {
        fs::read(self.path(pid, "cgroup")).map(|text| place(&String::from_utf8_lossy(&text))).unwrap_or_default()
    }

    /// The id of a cgroup is its inode number.
    pub(super) fn cgroup_id(&self, cgroup: &str) -> Option<u64> {
        let path = self.cgroups.as_ref()?.join(cgroup.trim_start_matches('/'));
        Some(fs::metadata(path).ok()?.ino())
    }

    /// The inodes of rings whose memory is mapped. The kernel writes line breaks in paths as `\012`, and a path of a
    /// file begins with a slash, so that no file looks like a ring.
    pub(super) fn mapped(&self, pid: u32) -> Option<Vec<u64>> {
        Some(mapped(&fs::read(self.path(pid, "maps")).ok()?))
    }
}

/// What /proc/PID/fd/N of a ring points to.
pub(super) const RING: &str = "anon_inode:[io_uring]";

pub(super) fn mapped(maps: &[u8]) -> Vec<u64> {
    let lines = maps.split(|&b| b == b'\n').filter_map(|l| std::str::from_utf8(l).ok());
    let mut inodes: Vec<u64> = lines
        .filter_map(|line| {
            // Addresses, rights, offset, device, inode, name.
            let mut fields = line.split_ascii_whitespace();
            let inode = fields.nth(4)?.parse().ok()?;
            (fields.next() == Some(RING) && fields.next().is_none()).then_some(inode)
        })
        .collect();
    inodes.sort_unstable();
    inodes.dedup();
    inodes
}

pub(super) fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// The name stands in brackets and may hold anything.
pub(super) fn stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|&b| b == b')')?;
    let fields: Vec<_> = std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
    let number = |nth: usize| fields.get(nth)?.parse::<u64>().ok();
    // The state is the third field.
    Some(Stat { cpu: number(14 - 3)?.saturating_add(number(15 - 3)?), start: number(22 - 3)? })
}

/// The kernel escapes line breaks in the name.
pub(super) fn status(text: &[u8]) -> Status {
    let text = String::from_utf8_lossy(text);
    let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    Status {
        name: value("Name:").map(str::to_owned),
        uid: value("Uid:").and_then(|v| v.split_whitespace().next()?.parse().ok()),
        pid: value("NSpid:").and_then(|v| v.split_whitespace().next_back()?.parse().ok()),
    }
}

pub(super) fn place(text: &str) -> Place {
    let paths = text.lines().filter_map(|l| Some((l.split_once(':')?.0, l.splitn(3, ':').nth(2)?)));
    let mut place = Place::default();
    for (hierarchy, path) in paths {
        if hierarchy == "0" {
            place.cgroup = Some(path.to_owned());
        }
        if place.container.is_none() {
            place.container = path.rsplit('/').find_map(container).map(str::to_owned);
        }
    }
    place
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `ID`; but not the monitor of a container.
fn container(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    if name.contains("conmon") {
        return None;
    }
    let id = name.rsplit(['-', ':']).next()?;
    (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_passed_over() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194304 0 0 0 0 12 30 0 0 20 0 1 0 4711 0 0";
        assert_eq!(stat(text.as_bytes()), Some(Stat { cpu: 42, start: 4711 }));
        assert_eq!(stat(text.as_bytes()).map(Stat::cpu_ms), Some(420));
        assert!(stat(text.as_bytes()).is_some_and(|s| s.started_at(47_119_999_999)));
        assert_eq!(stat(b"7 (a"), None);
    }

    #[test]
    fn rings_among_the_mappings() {
        let text = b"7f6d11e96000-7f6d11e97000 rw-s 00000000 00:10 191260                     anon_inode:[io_uring]\n\
7f6d11e97000-7f6d11e98000 rw-s 10000000 00:10 191260                     anon_inode:[io_uring]\n\
7f6d11e98000-7f6d11e99000 rw-s 10000000 08:01 5                     /tmp/anon_inode:[io_uring]\n\
7f6d11e98000-7f6d11e99000 rw-s 10000000 08:01 6                     /tmp/ anon_inode:[io_uring]\n\
7f6d11e98000-7f6d11e99000 rw-p 00000000 00:00 0\n";
        assert_eq!(mapped(text), [191_260]);
    }

    #[test]
    fn containers_by_their_cgroups() {
        let id = "0123456789abcdef".repeat(4);
        for name in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:pids:/docker/{id}\n0::/"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("0::/kubepods/burstable/pod1/{id}/init"),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
        ] {
            assert_eq!(place(&name).container.as_ref(), Some(&id), "{name}");
        }
        for name in [format!("0::/libpod-conmon-{id}.scope"), "0::/user.slice/docker-12.scope".to_owned()] {
            assert_eq!(place(&name).container, None, "{name}");
        }
        assert_eq!(place("1:cpu:/a\n0::/b:c\n").cgroup.as_deref(), Some("/b:c"));
    }

    #[test]
    fn the_innermost_process_id_is_the_last() {
        let told = status(b"Name:\ta\\nb\nUid:\t1\t2\t3\t4\nNSpid:\t4711\t12\t1\n");
        assert_eq!(told, Status { name: Some("a\\nb".to_owned()), uid: Some(1), pid: Some(1) });
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(text in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = (stat(&text), status(&text), mapped(&text), place(&String::from_utf8_lossy(&text)));
        }
    }
}
