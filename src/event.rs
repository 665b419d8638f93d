//! The public events: what sinks write, and what the JSON Schema describes.

mod field;
pub mod files;
pub mod ops;
mod path;
mod rendered;
mod text;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use self::field::Field;
pub use self::path::{Detached, PathUnknown, Root};
pub use self::rendered::Rendered;
pub use self::text::{Base64, Text};
pub use crate::time::Timestamp;

/// An address, a hex string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer(pub u64);

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// A write request of io_uring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Opcode {
    /// IORING_OP_WRITE
    Write,
    /// IORING_OP_WRITEV
    Writev,
    /// IORING_OP_WRITE_FIXED
    WriteFixed,
    /// IORING_OP_WRITEV_FIXED
    WritevFixed,
}

impl Opcode {
    /// From the kernel's number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Writev),
            5 => Some(Self::WriteFixed),
            23 => Some(Self::Write),
            61 => Some(Self::WritevFixed),
            _ => None,
        }
    }

    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "WRITE",
            Self::Writev => "WRITEV",
            Self::WriteFixed => "WRITE_FIXED",
            Self::WritevFixed => "WRITEV_FIXED",
        }
    }
}

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// `result` bytes were written.
    Success,
    /// Nothing was written: `error` says why.
    Failure,
    /// The kernel did not report it.
    Unknown,
}

/// How the end of a write became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// Its CQE was posted.
    Cqe,
    /// Its CQE found the CQ ring full and went to the overflow list.
    Overflow,
    /// IOSQE_CQE_SKIP_SUCCESS: it succeeded without a CQE; when is not known.
    Skipped,
    /// It was cancelled without a CQE, since an earlier link with IOSQE_CQE_SKIP_SUCCESS failed.
    Link,
    /// The kernel did not report it.
    Unseen,
    /// It was still in flight when tracing stopped.
    InFlight,
    /// There was no room to follow it, and it has no CQE: reported at its submission.
    Untracked,
}

/// Who handed the request to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Submitter {
    /// A thread called io_uring_enter.
    Thread,
    /// The ring's SQPOLL thread took it from the ring; who put it there is not known.
    Sqpoll,
}

/// Who carried a write out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    /// The submitting thread.
    Submitter,
    /// A worker of io-wq.
    #[serde(rename = "io-wq")]
    IoWq,
    /// The ring's SQPOLL thread.
    Sqpoll,
    /// A thread of the kernel's own.
    Kernel,
}

/// One write request made through io_uring, reported once its outcome is known.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoWrite {
    /// Path of the file in the submitter's mount namespace, from the kernel's own file object. Files without a path: pipe:\[inode\], socket:\[inode\], anon_inode:\[name\], memfd:name. Null where it is not known: path_unknown says why.
    #[schemars(with = "Option<String>")]
    pub path: Option<Text>,
    /// The path's exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub path_bytes: Option<Base64>,
    /// The path was longer than 1,024 components and mount points, or 32 KiB: its beginning is missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_truncated: bool,
    /// Why path does not begin at the root of the process's mount namespace. It is not what another process finds under that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_detached: Option<Detached>,
    /// Why path is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_unknown: Option<PathUnknown>,
    /// The file has no name any more: path is the last one.
    pub deleted: bool,
    /// The name in path is gone, or never was one (O_TMPFILE), and the file lives under other names, which are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_stale: bool,
    /// Offset at which the first byte landed; for a failed write the offset asked for. Null where the file has no position, where the offset was never resolved, and where it cannot be known: handlers of procfs and the like need not move it. Never negative.
    pub pos: Option<i64>,
    /// User address of the data; of the first segment for vectored writes.
    #[schemars(with = "String")]
    pub buf: Pointer,
    /// Bytes asked for; for vectored writes the sum of the segments, at most 4294967295.
    pub len: u32,
    /// Number of segments of a vectored write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iov_count: Option<u32>,
    /// Thread that submitted the request, in the host's pid namespace; for SQPOLL rings the thread that created the ring.
    pub worker_host_tid: u32,
    /// Device of the file, in the kernel's encoding: major << 20 | minor.
    pub device: Option<u32>,
    /// Inode number of the file.
    pub inode: Option<u64>,
    /// The request's opcode.
    pub opcode: Opcode,
    /// Bytes written, or the negative errno. Null with outcome unknown.
    pub result: Option<i32>,
    /// Name of the errno.
    #[schemars(with = "Option<String>")]
    pub error: Option<&'static str>,
    /// The outcome.
    pub outcome: Outcome,
    /// How that became known.
    pub completion: Completion,
    /// Nanoseconds from submission to completion. Null where one of them was not seen.
    pub latency_ns: Option<u64>,
    /// Who handed the request to the kernel.
    pub submitter: Submitter,
    /// Who carried it out. Null when nothing did, or when it is unknown.
    pub executor: Option<Executor>,
    /// That thread, in the host's pid namespace. Null where it is not known.
    pub executor_host_tid: Option<u32>,
    /// The request's user_data.
    pub user_data: u64,
    /// Descriptor or index of the registered file. Null when the submission, or its entry in the queue, was not seen.
    pub fd: Option<i32>,
    /// fd is an index into the ring's registered files.
    pub fixed_file: bool,
    /// RWF_* flags of the request. Null when its entry in the submission queue was not seen (before 5.18).
    pub rw_flags: Option<u32>,
    /// The steps of its life; only with --requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<Vec<ops::Step>>,
}

/// The process that submitted a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Process {
    /// Process id in the host's pid namespace.
    pub host_pid: u32,
    /// Thread id in the host's pid namespace.
    pub host_tid: u32,
    /// Process id in its own pid namespace.
    pub pid: u32,
    /// Thread id in its own pid namespace.
    pub tid: u32,
    /// The ring was there before ringwatch, and which thread made it is not known: host_tid is what the name of the ring's poll thread says, which the program can change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub thread_from_name: bool,
    /// Parent's process id in the host's pid namespace.
    pub ppid: u32,
    /// Name of the thread.
    #[schemars(with = "String")]
    pub name: Text,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub name_bytes: Option<Base64>,
    /// Path of the executable.
    #[schemars(with = "Option<String>")]
    pub executable: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub executable_bytes: Option<Base64>,
    /// Arguments, joined by blanks. Null where they could not be read while this program ran.
    #[schemars(with = "Option<String>")]
    pub command_line: Option<Text>,
    /// Their exact bytes in base64, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub command_line_bytes: Option<Base64>,
    /// The arguments were longer than 4,096 bytes: command_line has the first of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub command_line_truncated: bool,
    /// Why command_line is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line_missing: Option<NoCommandLine>,
    /// Real user id.
    pub uid: u32,
    /// When the thread was started.
    #[schemars(with = "String")]
    pub start_time: Timestamp,
    /// Id of the cgroup (v2).
    pub cgroup_id: u64,
    /// Inode number of the mount namespace.
    pub mount_ns: u32,
    /// Inode number of the pid namespace.
    pub pid_ns: u32,
}

/// Why there is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoCommandLine {
    /// The process has no arguments.
    None,
    /// They could not be read in the kernel, and when ringwatch looked, the process was gone or ran another program.
    Unreadable,
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The ring buffer was full: ringwatch was slower than the writes.
    RingFull,
    /// All string buffers of a CPU were in use.
    ScratchBusy,
    /// The kernel did not run a program, since it was running on that CPU already.
    ProgramSkipped,
    /// A record could not be decoded.
    Malformed,
    /// An output could not be written.
    Output,
}

impl LossCause {
    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::ScratchBusy => "scratch_busy",
            Self::ProgramSkipped => "program_skipped",
            Self::Malformed => "malformed",
            Self::Output => "output",
        }
    }

    /// In words, with what to do.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::RingFull => "the ring buffer was full: raise --buffer-size, filter, or write to a faster output",
            Self::ScratchBusy => "all string buffers of a CPU were in use",
            Self::ProgramSkipped => "the kernel skipped a program that was already running on that CPU",
            Self::Malformed => "a record could not be decoded: please report this",
            Self::Output => "an output could not be written",
        }
    }
}

/// Events that are missing from the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventsLost {
    /// How many.
    pub count: u64,
    /// Why.
    pub cause: LossCause,
}

/// What happened, by the name of the event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one is made at a time, on the stack")]
pub enum Data {
    /// A write.
    IoWrite(IoWrite),
    /// A ring was created.
    IoUringCreate(ops::IoUringCreate),
    /// A request of any opcode.
    IoIssueSqe(ops::IoIssueSqe),
    /// A file was opened.
    IoOpenat(ops::IoOpenat),
    /// Room for a file was made or taken away.
    IoFallocate(ops::IoFallocate),
    /// A file's length was set.
    IoFtruncate(ops::IoFtruncate),
    /// Data was moved into a file.
    IoSplice(ops::IoSplice),
    /// Data was copied from pipe to pipe.
    IoTee(ops::IoSplice),
    /// A file was renamed.
    IoRenameat(ops::IoRenameat),
    /// A name was removed.
    IoUnlinkat(ops::IoUnlinkat),
    /// A directory was made.
    IoMkdirat(ops::IoMkdirat),
    /// A symbolic link was made.
    IoSymlinkat(ops::IoSymlinkat),
    /// A hard link was made.
    IoLinkat(ops::IoRenameat),
    /// An attribute was set.
    IoSetxattr(ops::IoSetxattr),
    /// A file was written back.
    IoFsync(ops::IoFsync),
    /// A command for a driver.
    IoUringCmd(ops::IoUringCmd),
    /// A system call wrote.
    VfsWrite(files::VfsWrite),
    /// A system call wrote a vector.
    VfsWritev(files::VfsWrite),
    /// A file was opened.
    SecurityFileOpen(files::SecurityFileOpen),
    /// A file was changed.
    FileModification(files::FileModification),
    /// A gap in the stream.
    EventsLost(EventsLost),
}

impl Data {
    /// What it says of a request that is no write.
    #[must_use]
    pub fn request(&self) -> Option<&ops::Request> {
        match self {
            Self::IoWrite(_)
            | Self::IoUringCreate(_)
            | Self::EventsLost(_)
            | Self::VfsWrite(_)
            | Self::VfsWritev(_)
            | Self::SecurityFileOpen(_)
            | Self::FileModification(_) => None,
            Self::IoIssueSqe(e) => Some(&e.request),
            Self::IoOpenat(e) => Some(&e.request),
            Self::IoFallocate(e) => Some(&e.request),
            Self::IoFtruncate(e) => Some(&e.request),
            Self::IoSplice(e) | Self::IoTee(e) => Some(&e.request),
            Self::IoRenameat(e) | Self::IoLinkat(e) => Some(&e.request),
            Self::IoUnlinkat(e) => Some(&e.request),
            Self::IoMkdirat(e) => Some(&e.request),
            Self::IoSymlinkat(e) => Some(&e.request),
            Self::IoSetxattr(e) => Some(&e.request),
            Self::IoFsync(e) => Some(&e.request),
            Self::IoUringCmd(e) => Some(&e.request),
        }
    }

    /// The paths of files that it names.
    #[must_use]
    pub fn paths(&self) -> [Option<&Text>; 2] {
        match self {
            Self::IoWrite(e) => [e.path.as_ref(), None],
            Self::VfsWrite(e) | Self::VfsWritev(e) => [e.file.path.as_ref(), None],
            Self::SecurityFileOpen(e) => [e.file.path.as_ref(), None],
            Self::FileModification(e) => [e.file.path.as_ref(), None],
            Self::IoUringCreate(_) | Self::EventsLost(_) => [None, None],
            Self::IoIssueSqe(e) => [e.file.path.as_ref(), None],
            Self::IoOpenat(e) => [e.name.path.as_ref(), None],
            Self::IoFallocate(e) => [e.file.path.as_ref(), None],
            Self::IoFtruncate(e) => [e.file.path.as_ref(), None],
            Self::IoSplice(e) | Self::IoTee(e) => [e.file.path.as_ref(), e.path_in.as_ref()],
            Self::IoRenameat(e) | Self::IoLinkat(e) => [e.names.old_path.as_ref(), e.names.new_path.as_ref()],
            Self::IoUnlinkat(e) => [e.name.path.as_ref(), None],
            Self::IoMkdirat(e) => [e.name.path.as_ref(), None],
            Self::IoSymlinkat(e) => [e.name.path.as_ref(), None],
            Self::IoSetxattr(e) => [e.path.path.as_ref(), None],
            Self::IoFsync(e) => [e.file.path.as_ref(), None],
            Self::IoUringCmd(e) => [e.file.path.as_ref(), None],
        }
    }

    /// Why the path of its open file is null.
    #[must_use]
    pub fn path_unknown(&self) -> Option<PathUnknown> {
        match self {
            Self::IoWrite(e) => e.path_unknown,
            Self::VfsWrite(e) | Self::VfsWritev(e) => e.file.path_unknown,
            Self::SecurityFileOpen(e) => e.file.path_unknown,
            Self::FileModification(e) => e.file.path_unknown,
            Self::IoIssueSqe(e) => e.file.path_unknown,
            Self::IoFallocate(e) => e.file.path_unknown,
            Self::IoFtruncate(e) => e.file.path_unknown,
            Self::IoSplice(e) | Self::IoTee(e) => e.file.path_unknown,
            Self::IoFsync(e) => e.file.path_unknown,
            Self::IoUringCmd(e) => e.file.path_unknown,
            _ => None,
        }
    }

    /// Whether it has a path that is not known.
    #[must_use]
    pub fn has_unknown_path(&self) -> bool {
        match self {
            Self::IoUringCreate(_) | Self::EventsLost(_) => false,
            // Of these some have no file at all.
            Self::IoIssueSqe(e) => e.file.path_unknown.is_some(),
            Self::IoSplice(_) | Self::IoTee(_) | Self::IoRenameat(_) | Self::IoLinkat(_) => {
                self.paths().contains(&None)
            }
            _ => self.paths()[0].is_none(),
        }
    }
}

impl Data {
    /// What it says of names that a program gave; `None`: it is not about names.
    #[must_use]
    pub fn asked(&self) -> Option<&ops::Asked> {
        match self {
            Self::IoIssueSqe(e) => e.asked.as_ref(),
            Self::IoOpenat(e) => Some(&e.name.asked),
            Self::IoRenameat(e) | Self::IoLinkat(e) => Some(&e.names.asked),
            Self::IoUnlinkat(e) => Some(&e.name.asked),
            Self::IoMkdirat(e) => Some(&e.name.asked),
            Self::IoSymlinkat(e) => Some(&e.name.asked),
            Self::IoSetxattr(e) => Some(&e.path.asked),
            _ => None,
        }
    }
}

/// One line of the stream.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Event {
    /// When the outcome was known; the submission was latency_ns earlier.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub data: Data,
    /// The submitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Process>")]
    pub process: Option<Arc<Rendered<Process>>>,
}
