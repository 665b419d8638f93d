//! The inventory of rings: what a ring is ([`Ring`]), seen by the kernel's iterators ([`record`]) or through /proc
//! (`scan`, `fdinfo`), and each told once with all its holders (`merge`).

mod fdinfo;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod look;
pub mod manual;
mod merge;
mod process;
pub mod record;
mod scan;
mod table;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::look::{Error, Inventory, Kernel, proc};
pub use self::table::table;
use crate::event::Timestamp;

/// How a ring was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The kernel's own structures, by BPF iterators.
    Bpf,
    /// The files under /proc, which show less.
    Proc,
}

/// One ring that exists, with all that hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ring {
    /// When it was looked at.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// How the ring was found. What only the kernel's own structures show is null with `proc`.
    pub source: Source,
    /// The inode number of the ring, as in /proc/PID/fdinfo and /proc/PID/maps: it names the ring while it exists. Null on kernels where all rings share one.
    pub inode: Option<u64>,
    /// When the ring was created. Null on kernels that do not keep it.
    #[schemars(with = "Option<String>")]
    pub created: Option<Timestamp>,
    /// Its IORING_SETUP_* flags by name, without that prefix; bits without a name as hex numbers. Null where only /proc was read.
    pub flags: Option<Vec<String>>,
    /// Entries of the submission queue.
    pub sq_entries: Option<u32>,
    /// Of these, how many wait to be taken by the kernel. Null where the program's counters contradict each other.
    pub sq_used: Option<u32>,
    /// Entries of the completion queue.
    pub cq_entries: Option<u32>,
    /// Of these, how many wait to be taken by the program. Null where the program's counters contradict each other.
    pub cq_used: Option<u32>,
    /// The kernel holds back completions because the queue was full.
    pub cq_overflowed: Option<bool>,
    /// The thread of the kernel that polls the submission queue. Null where there is none.
    pub sqpoll: Option<Sqpoll>,
    /// Size of the table of registered files, empty places included.
    pub registered_files: Option<u32>,
    /// Size of the table of registered buffers, empty places included.
    pub registered_buffers: Option<u32>,
    /// How many credentials it holds.
    pub personality_count: Option<u32>,
    /// These credentials, at most 16.
    pub personalities: Option<Vec<Personality>>,
    /// Threads that created the ring or called io_uring_enter on it, at most 16. Null where only /proc was read, and before 5.11.
    pub threads: Option<Vec<Thread>>,
    /// Processes that hold it.
    pub processes: Vec<Holder>,
}

/// A thread that polls the submission queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sqpoll {
    /// Its thread id. Null when it ended before its ring.
    pub host_tid: Option<u32>,
    /// CPU that it last ran on. Null where it is not known.
    pub cpu: Option<u32>,
    /// CPU time that it used, in ms.
    pub cpu_time_ms: Option<u64>,
}

/// Credentials that a ring holds (IORING_REGISTER_PERSONALITY).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Personality {
    /// The number that requests name it by.
    pub id: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// User id for access to files.
    pub fsuid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Group id for access to files.
    pub fsgid: u32,
    /// Effective capabilities, as in /proc/PID/status.
    pub cap_effective: String,
}

/// A thread, in ringwatch's pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Thread {
    /// Its process.
    pub host_pid: u32,
    /// Its thread id.
    pub host_tid: u32,
}

/// A process that holds a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Holder {
    /// Process id in ringwatch's pid namespace, which should be the host's.
    pub host_pid: u32,
    /// Process id in its own pid namespace.
    pub pid: Option<u32>,
    /// Name of its main thread.
    pub name: Option<String>,
    /// Path of the executable.
    pub executable: Option<String>,
    /// Arguments, joined by blanks.
    pub command_line: Option<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Id of the cgroup (v2).
    pub cgroup_id: Option<u64>,
    /// Path of the cgroup (v2).
    pub cgroup: Option<String>,
    /// Id of the container, where the cgroup's name carries one of 64 hex digits.
    pub container_id: Option<String>,
    /// Descriptors of the ring.
    pub fds: Vec<u32>,
    /// Threads that registered the ring (IORING_REGISTER_RING_FDS, IORING_SETUP_REGISTERED_FD_ONLY), which need no descriptor. Null where they cannot be seen.
    pub registered: Option<Vec<Registered>>,
    /// The ring's memory is mapped. Null where that cannot be seen.
    pub mapped: Option<bool>,
    /// io-wq workers of the process, which serve all its rings. Null where they cannot be seen.
    pub io_wq_workers: Option<Vec<Worker>>,
}

/// A place in a thread's table of registered rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Registered {
    /// The thread.
    pub host_tid: u32,
    /// The index.
    pub index: u32,
}

/// A worker of io-wq.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Worker {
    /// Its thread id.
    pub host_tid: u32,
    /// The thread that it works for, as its name has it: in the host's pid namespace.
    pub submitter_host_tid: u32,
    /// CPU time that it used, in ms.
    pub cpu_time_ms: Option<u64>,
}

/// Personalities that are reported; `RW_RING_CREDS`.
const PERSONALITIES_MAX: usize = 16;

const SQPOLL: u32 = 1 << 1;

/// How full a queue is. The program can write to one of the counters, or to both.
fn used(head: u32, tail: u32, entries: u32) -> Option<u32> {
    Some(tail.wrapping_sub(head)).filter(|&used| used <= entries)
}

/// A ring as one scan found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) inode: Option<u64>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) flags: Option<u32>,
    pub(crate) sq: Option<Queue>,
    pub(crate) cq: Option<Queue>,
    pub(crate) cq_overflowed: Option<bool>,
    pub(crate) sqpoll: Option<PollThread>,
    pub(crate) files: Option<u32>,
    pub(crate) buffers: Option<u32>,
    pub(crate) personality_count: Option<u32>,
    pub(crate) personalities: Option<Vec<Personality>>,
    pub(crate) threads: Option<Vec<Thread>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) entries: u32,
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PollThread {
    pub(crate) host_tid: u32,
    pub(crate) cpu: Option<u32>,
}

/// How a process holds a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Fd(u32),
    Registered(Registered),
    Mapped,
}

/// Who holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) host_pid: u32,
    /// Where the kernel says so, in ns since boot: which of the processes that had this id.
    pub(crate) start: Option<u64>,
    pub(crate) pid: Option<u32>,
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) cgroup_id: Option<u64>,
}

/// What makes two sightings the same ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The kernel's address: never shown.
    Context(u64),
    /// The inode, where each ring has its own.
    Inode(u64),
    /// The number of the ring in this look.
    Number(usize),
}

/// One way in which one process holds one ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) key: Key,
    pub(crate) facts: Facts,
    pub(crate) owner: Owner,
    pub(crate) hold: Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_with_impossible_counters_has_no_fill() {
        assert_eq!(used(u32::MAX, 2, 8), Some(3));
        assert_eq!(used(7, 0, 8), None);
    }
}
