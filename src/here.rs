//! Where ringwatch runs: in whose namespaces of process ids and of time. The kernel side knows only the host's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::LazyLock;

use serde::Serialize;

/// The inode of the first pid namespace, which the kernel gives it (`PROC_PID_INIT_INO`).
const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Time in /proc/PID/stat has this many units a second, on every processor.
pub const TICKS: u64 = 100;
const NS_PER_TICK: u64 = 1_000_000_000 / TICKS;

/// This process's surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Here {
    /// The inode of the pid namespace. Null where /proc cannot be read.
    pub pid_namespace: Option<u64>,
    /// It is the host's.
    pub is_host_pid_namespace: bool,
    /// /proc shows the processes of this pid namespace under the ids that they have in it.
    pub proc_fits: bool,
    /// What CLOCK_MONOTONIC shows more than on the host, in ns.
    pub monotonic_offset_ns: i64,
    /// What CLOCK_BOOTTIME shows more than on the host, in ns.
    pub boottime_offset_ns: i64,
    /// What tells of a container.
    pub container: Option<String>,
}

/// A process that was asked for, and no later one with its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its id in ringwatch's pid namespace.
    pub id: u32,
    /// When it started, in ticks, as /proc shows it here. 0: not known.
    pub start: u64,
}

static HERE: LazyLock<Here> = LazyLock::new(Here::look);

impl Here {
    /// As it was at the first call: no process leaves its pid namespace, or its time namespace without exec.
    #[must_use]
    pub fn get() -> &'static Self {
        &HERE
    }

    fn look() -> Self {
        let pid_namespace = fs::metadata("/proc/self/ns/pid").ok().map(|data| data.ino());
        let own = fs::read_link("/proc/self").ok().and_then(|p| p.to_str()?.parse::<u32>().ok());
        let [monotonic, boottime] = offsets();
        Self {
            pid_namespace,
            // What cannot be looked at is taken for what it mostly is.
            is_host_pid_namespace: pid_namespace.is_none_or(|ns| ns == HOST_PID_NAMESPACE),
            proc_fits: own == Some(std::process::id()),
            monotonic_offset_ns: monotonic,
            boottime_offset_ns: boottime,
            container: container(),
        }
    }

    /// The id here of a process, of which its id on the host, its own pid namespace and its id there are known. `None`: it
    /// has none, or it is not known.
    #[must_use]
    pub fn id_of(&self, host: u32, namespace: u32, own: u32) -> Option<u32> {
        match self.pid_namespace {
            _ if !self.proc_fits => None,
            _ if self.is_host_pid_namespace => Some(host),
            Some(here) if here == u64::from(namespace) => Some(own),
            _ => None,
        }
    }

    /// A moment of the host's CLOCK_BOOTTIME as /proc shows it here.
    #[must_use]
    pub fn ticks(&self, boottime_ns: u64) -> u64 {
        boottime_ns.saturating_add_signed(self.boottime_offset_ns) / NS_PER_TICK
    }

    /// The process with this id.
    ///
    /// # Errors
    /// There is none, for people.
    pub fn process(&self, id: u32) -> Result<Asked, String> {
        use nix::errno::Errno;
        let none = || format!("there is no process {id} here");
        let pid = i32::try_from(id).map_err(|_| none())?;
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            return Err(none());
        }
        if !self.proc_fits {
            return Ok(Asked { id, start: 0 });
        }
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let leader = status.lines().find_map(|l| l.strip_prefix("Tgid:")).and_then(|v| v.trim().parse::<u32>().ok());
        if let Some(leader) = leader.filter(|&leader| leader != id) {
            return Err(format!(
                "{id} is a thread of process {leader}: use --pid {leader}, or --tid {id} for this thread alone"
            ));
        }
        let start = start(&fs::read(format!("/proc/{id}/stat")).unwrap_or_default());
        Ok(Asked { id, start: start.unwrap_or(0) })
    }

    /// What is to know before tracing here, for people.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![];
        if !self.is_host_pid_namespace {
            let container = self.container.as_ref().map_or_else(String::new, |c| format!(" ({c})"));
            notes.push(format!(
                "ringwatch runs in a pid namespace of its own{container}: -p takes ids of this namespace; the events of the whole host are told, host_pid is the host's and pid the process's own; `rings` sees the processes of this namespace alone; of processes outside of it no more than the kernel's record is known (command lines that were not in memory, CPU time of SQPOLL threads): use the host's pid namespace (--pid=host) for these"
            ));
        }
        if self.pid_namespace.is_none() {
            notes.push("/proc cannot be read: it is not known whether this is the host's pid namespace, and -p takes ids of the host".to_owned());
        } else if !self.proc_fits {
            notes.push("/proc is of another pid namespace than ringwatch: nothing of processes is read from it, and -p does not tell a process from a later one with its id".to_owned());
        }
        if (self.monotonic_offset_ns, self.boottime_offset_ns) != (0, 0) {
            notes.push("ringwatch runs in a time namespace: times are told as the host has them".to_owned());
        }
        notes
    }
}

/// The 22nd field; the name before it stands in brackets and may hold anything.
pub(crate) fn start(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// Of the monotonic and the boot-time clock. The file tells of the namespace that children get: before an exec it may be
/// another one than this process's own.
fn offsets() -> [i64; 2] {
    let namespace = |name| fs::metadata(format!("/proc/self/ns/{name}")).ok().map(|data| data.ino());
    let own = namespace("time");
    if own.is_none() || own != namespace("time_for_children") {
        return [0; 2];
    }
    parsed(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
}

pub(crate) fn parsed(text: &str) -> [i64; 2] {
    ["monotonic", "boottime"].map(|clock| {
        let fields = text.lines().map(|l| l.split_ascii_whitespace().collect::<Vec<_>>());
        let found = fields.into_iter().find_map(|f| match f[..] {
            [name, seconds, ns] if name == clock => {
                seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(ns.parse().ok()?)
            }
            _ => None,
        });
        found.unwrap_or(0)
    })
}

fn container() -> Option<String> {
    for (file, name) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if Path::new(file).exists() {
            return Some(name.to_owned());
        }
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    std::env::var("container").ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_clocks() {
        assert_eq!(parsed("monotonic           0         0\nboottime            0         0\n"), [0, 0]);
        assert_eq!(parsed("monotonic  300000 5\nboottime -7 500000000\n"), [300_000_000_000_005, -6_500_000_000]);
        assert_eq!(parsed(""), [0, 0]);
        let here = Here { boottime_offset_ns: 500_000_000_000_000, ..Here::default() };
        assert_eq!(here.ticks(1_239_999_999), 50_000_123);
    }

    #[test]
    fn ids_are_those_of_this_namespace() {
        let host = Here { is_host_pid_namespace: true, proc_fits: true, pid_namespace: Some(1), ..Here::default() };
        assert_eq!(host.id_of(100, 7, 3), Some(100));
        let inside = Here { is_host_pid_namespace: false, pid_namespace: Some(7), ..host };
        assert_eq!([inside.id_of(100, 7, 3), inside.id_of(100, 8, 3)], [Some(3), None]);
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let here = Here::get();
        let own = here.process(std::process::id()).unwrap();
        assert!(own.start > 0 || !here.proc_fits);
        assert!(here.process(u32::MAX).is_err_and(|e| e.contains("there is no process")));
        assert_eq!(start(b"7 (a) b (c)) S 1 7 7 0 -1 4194304 0 0 0 0 12 30 0 0 20 0 1 0 4711 0 0"), Some(4711));
    }
}
