//! Who a program is: what a thread knows of itself and of its process, and the threads that the kernel adds to it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::clock::wall_above_boot;
use crate::cx::Ids;
use crate::os;
use crate::target::text;
use crate::truth::Known;

/// A thread, under the names that an event gives to what it knows of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Identity {
    host_pid: u32,
    host_tid: u32,
    pid: u32,
    tid: u32,
    ppid: u32,
    name: String,
    name_bytes: Option<String>,
    executable: String,
    executable_bytes: Option<String>,
    command_line: Known<String>,
    command_line_bytes: Option<String>,
    uid: u32,
    /// The kernel tells it in ticks: not before the first of these, and before the second. In ns of the wall clock.
    start_time: [i64; 2],
    cgroup_id: Known<u64>,
    mount_ns: u32,
    pid_ns: u32,
}

/// What can be reached only as long as no root directory and no namespace was left.
#[derive(Debug)]
pub(crate) struct Sources {
    proc: OwnedFd,
    /// The mount of the second version.
    cgroups: Known<OwnedFd>,
    /// What the wall clock shows more than CLOCK_BOOTTIME.
    offset: i64,
}

impl Sources {
    pub(crate) fn open() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("mountinfo")?;
        // The type stands behind a dash, since what comes before it has no fixed length.
        let is_v2 = |line: &&str| line.split(" - ").nth(1).is_some_and(|rest| rest.starts_with("cgroup2 "));
        let cgroups = match mounts.lines().find(is_v2).and_then(|line| line.split(' ').nth(4)) {
            Some(point) => match File::open(point) {
                Ok(mount) => Known::Is(mount.into()),
                Err(error) => Known::unknown(&format!("open {point}: {error}")),
            },
            None => Known::unknown("no cgroup v2 is mounted"),
        };
        Ok(Self { proc: File::open("/proc").context("open /proc")?.into(), cgroups, offset: wall_above_boot() })
    }

    /// The machine's `/proc`.
    pub(crate) fn proc(&self) -> &OwnedFd {
        &self.proc
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = os::openat(&self.proc, path.as_bytes(), libc::O_RDONLY).with_context(|| format!("/proc/{path}"))?;
        let mut bytes = vec![];
        File::from(file).read_to_end(&mut bytes).with_context(|| format!("/proc/{path}"))?;
        Ok(bytes)
    }

    fn stat(&self, pid: u32, tid: u32) -> Result<Stat> {
        Stat::of(&self.read(&format!("{pid}/task/{tid}/stat"))?)
    }

    /// Reads everything anew, since names, users and namespaces change.
    pub(crate) fn identity(&self, ids: Ids) -> Result<Identity> {
        let of_thread = |what: &str| format!("{}/task/{}/{what}", ids.pid, ids.tid);
        let namespace = |kind: &str| -> Result<u32> {
            let link = String::from_utf8(os::readlinkat(&self.proc, &of_thread(&format!("ns/{kind}")))?)?;
            let inode = link.split(['[', ']']).nth(1).and_then(|inode| inode.parse().ok());
            inode.with_context(|| format!("a namespace called {link}"))
        };
        let status = String::from_utf8_lossy(&self.read(&of_thread("status"))?).into_owned();
        let number = |key: &str, pick: fn(&[&str]) -> Option<u32>| -> Result<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let found = line.and_then(|line| pick(&line.split_ascii_whitespace().collect::<Vec<_>>()));
            found.with_context(|| format!("no {key} in status"))
        };
        let first = |of: &[&str]| of.first()?.parse().ok();
        // From the namespace of `/proc` down to the thread's own.
        let last = |of: &[&str]| of.last()?.parse().ok();
        let stat = self.stat(ids.pid, ids.tid)?;
        let (name, name_bytes) = text(&stat.name);
        let (executable, executable_bytes) = text(&os::readlinkat(&self.proc, &of_thread("exe"))?);
        let (command_line, command_line_bytes) = arguments();
        let second = os::ticks_per_second();
        let start = |tick: i64| tick * (1_000_000_000 / second) + self.offset;
        Ok(Identity {
            host_pid: ids.pid,
            host_tid: ids.tid,
            pid: number("NStgid", last)?,
            tid: number("NSpid", last)?,
            ppid: stat.ppid,
            name,
            name_bytes,
            executable,
            executable_bytes,
            command_line,
            command_line_bytes,
            uid: number("Uid", first)?,
            start_time: [start(stat.start), start(stat.start + 1)],
            cgroup_id: self.cgroup(&self.read(&of_thread("cgroup"))?),
            mount_ns: namespace("mnt")?,
            pid_ns: namespace("pid")?,
        })
    }

    fn cgroup(&self, list: &[u8]) -> Known<u64> {
        let mount = match &self.cgroups {
            Known::Is(mount) => mount,
            Known::Unknown { unknown } => return Known::unknown(unknown),
        };
        let Some(path) = list.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::")) else {
            return Known::unknown("the kernel tells of no cgroup v2");
        };
        let id = os::openat(mount, &[b".", path].concat(), libc::O_PATH).and_then(|found| os::cgroup_id(&found));
        id.map_or_else(|error| Known::unknown(&format!("the cgroup's directory: {error:#}")), Known::Is)
    }

    /// The threads of a process: the kernel's workers among them, and poll threads.
    pub(crate) fn threads(&self, pid: u32) -> Result<Vec<u32>> {
        let names = os::list(&self.proc, format!("{pid}/task").as_bytes())?;
        Ok(names.iter().filter_map(|name| std::str::from_utf8(name).ok()?.parse().ok()).collect())
    }

    /// Whose thread it is. None: it is gone, or a worker that has not named itself yet.
    pub(crate) fn kind(&self, pid: u32, tid: u32) -> Option<Kind> {
        let stat = self.stat(pid, tid).ok()?;
        match stat.flags & PF_IO_WORKER != 0 {
            false => Some(Kind::Own),
            true if stat.name.starts_with(b"iou-wrk-") => Some(Kind::Worker),
            true if stat.name.starts_with(b"iou-sqp-") => Some(Kind::Poller),
            true => None,
        }
    }
}

/// Threads that `create_io_thread` made.
const PF_IO_WORKER: u32 = 0x10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The program made it.
    Own,
    /// `iou-wrk-*`, of io-wq.
    Worker,
    /// `iou-sqp-*`.
    Poller,
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: Vec<u8>,
    ppid: u32,
    flags: u32,
    /// In ticks of CLOCK_BOOTTIME.
    start: i64,
}

impl Stat {
    /// The name stands in brackets and may hold anything.
    fn of(line: &[u8]) -> Result<Self> {
        let parts = line.iter().position(|&b| b == b'(').zip(line.iter().rposition(|&b| b == b')'));
        let (open, close) = parts.filter(|(open, close)| open < close).context("no name in stat")?;
        let fields: Vec<_> = std::str::from_utf8(&line[close + 1..])?.split_ascii_whitespace().collect();
        // The state is the third field.
        ensure!(fields.len() > 22 - 3, "a short stat");
        Ok(Self {
            name: line[open + 1..close].to_vec(),
            ppid: fields[4 - 3].parse()?,
            flags: fields[9 - 3].parse()?,
            start: fields[22 - 3].parse()?,
        })
    }
}

/// The arguments of this program, which no case changes, as events tell them.
fn arguments() -> (Known<String>, Option<String>) {
    /// More is cut, at a place that only the kernel's copy tells.
    const KEPT: usize = 4096;
    let all: Vec<_> = std::env::args_os().map(OsStringExt::into_vec).collect();
    let joined = all.join(&b' ');
    if joined.len() >= KEPT {
        return (Known::unknown("longer than what is kept"), None);
    }
    let (text, bytes) = text(&joined);
    (Known::Is(text), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_behind_its_name() {
        let line = b"7 (a) (b) S 3 7 7 0 -1 4194304 0 0 0 0 12 30 0 0 20 0 1 0 4711 1 2 3\n";
        let wanted = Stat { name: b"a) (b".to_vec(), ppid: 3, flags: 0x40_0000, start: 4711 };
        assert_eq!(Stat::of(line).ok(), Some(wanted));
        assert!(Stat::of(b"7 )a( S 3").is_err());
        assert!(Stat::of(b"7 (a) S 3 7").is_err());
    }

    #[test]
    fn this_thread_is_its_own() {
        let sources = Sources::open().unwrap();
        let pid = std::process::id();
        let ids = Ids { pid, tid: os::gettid(), own_tid: os::gettid() };
        assert_eq!(sources.kind(pid, ids.tid), Some(Kind::Own));
        assert!(sources.threads(pid).unwrap().contains(&ids.tid));
        let identity = sources.identity(ids).unwrap();
        assert_eq!((identity.pid, identity.tid), (pid, ids.tid));
        assert!(identity.start_time[0] < crate::clock::Moment::after().wall);
    }
}
