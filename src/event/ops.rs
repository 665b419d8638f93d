//! Events of rings, and of requests that are no writes.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Base64, Completion, Detached, Executor, Outcome, PathUnknown, Pointer, Submitter, Text};
use crate::opcode::Names;

/// A ring was created by io_uring_setup.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoUringCreate {
    /// Id of the ring, the same in every event of this run; not its address.
    #[schemars(with = "String")]
    pub ctx: Pointer,
    /// Its descriptor, in the creator's table.
    pub fd: i32,
    /// Entries of the submission queue.
    pub sq_entries: u32,
    /// Entries of the completion queue.
    pub cq_entries: u32,
    /// IORING_SETUP_* as a number.
    pub flags: u32,
    /// Their names without that prefix; bits without one as hex numbers.
    pub flag_names: Vec<String>,
    /// A thread of the kernel polls the submission queue (SQPOLL), so that the program submits without system calls.
    pub polling: bool,
    /// That thread, in the host's pid namespace. Null without it.
    pub sqpoll_host_tid: Option<u32>,
    /// Thread that created the ring, in the host's pid namespace.
    pub worker_host_tid: u32,
}

/// What a request did on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was prepared, and accepted.
    Submitted,
    /// It was refused in preparation.
    Refused,
    /// It began to wait for its file to be ready; where it did so several times, the last.
    PollArmed,
    /// It was handed to io-wq.
    Punted,
    /// It ended.
    Completed,
}

impl Stage {
    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Refused => "refused",
            Self::PollArmed => "poll_armed",
            Self::Punted => "punted",
            Self::Completed => "completed",
        }
    }
}

/// One step of a request's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// What.
    pub stage: Stage,
    /// Nanoseconds after the step before.
    pub after_ns: u64,
    /// How often, where that is more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// What every request has.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Request {
    /// Name of the opcode, without IORING_OP_. Null where it is newer than ringwatch.
    #[schemars(with = "Option<String>")]
    pub opcode: Option<&'static str>,
    /// Its number.
    pub opcode_number: u8,
    /// The request's user_data.
    pub user_data: u64,
    /// Id of the ring, the same in every event of this run; not its address.
    #[schemars(with = "String")]
    pub ctx: Pointer,
    /// Result of the request's CQE: of most operations 0, or the negative errno. Null where it is not known.
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
    /// Thread that submitted the request, in the host's pid namespace; for SQPOLL rings the thread that created the ring.
    pub worker_host_tid: u32,
    /// Who carried it out. Null when nothing did, or when it is unknown.
    pub executor: Option<Executor>,
    /// That thread, in the host's pid namespace. Null where it is not known.
    pub executor_host_tid: Option<u32>,
    /// The names that it brought along are missing: more of them were waiting than --memory-limit holds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub names_dropped: bool,
    /// The steps of its life; only with --requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<Vec<Step>>,
}

/// An open file.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct File {
    /// Path of the file in the submitter's mount namespace, from the kernel's own file object; null when there is none or it could not be learned.
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
    /// Why path is null, of a request that has a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_unknown: Option<PathUnknown>,
    /// The file has no name any more: path is the last one.
    pub deleted: bool,
    /// The name in path is gone, or never was one (O_TMPFILE), and the file lives under other names, which are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_stale: bool,
    /// Device of the file, in the kernel's encoding: major << 20 | minor.
    pub device: Option<u32>,
    /// Inode number of the file.
    pub inode: Option<u64>,
}

/// Its number in the SQE.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Descriptor {
    /// Descriptor or index of the registered file. Null when the submission was not seen.
    pub fd: Option<i32>,
    /// fd is an index into the ring's registered files.
    pub fixed_file: bool,
}

/// Where a path comes from. The later in this list, the less is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathSource {
    /// From the kernel's own file object, after the fact.
    File,
    /// From the directory entry that the kernel acted upon, when it did so (plans fentry and kprobe).
    Kernel,
    /// From the name that the kernel acts on (its own copy) and the directory that it is relative to, looked up by ringwatch after the fact as the kernel does: links followed, `..` behind them taken back, within the process's root.
    Lookup,
    /// The same put together by text: links are not followed, and `..` behind a name stands as it was given.
    Name,
    /// The same from the program's memory, which it can change meanwhile: the kernel refused the request before it had a copy.
    UserMemory,
}

/// A name that a program gave.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Named {
    /// Path in the submitter's mount namespace. Null where it could not be learned.
    #[schemars(with = "Option<String>")]
    pub path: Option<Text>,
    /// The path's exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub path_bytes: Option<Base64>,
    /// Where path comes from. Null without it.
    pub path_source: Option<PathSource>,
    /// path is that of the file that was acted upon, whatever the program did meanwhile. False: links, directories or descriptors may have changed between submission and look-up, or path is null. `--path` never leaves such an event out.
    pub path_certain: bool,
    /// The name as the program gave it.
    #[schemars(with = "Option<String>")]
    pub path_given: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub path_given_bytes: Option<Base64>,
    /// Descriptor of the directory that the name is relative to; -100: the current directory.
    pub dirfd: Option<i32>,
    /// For `--path` alone.
    #[serde(skip)]
    pub asked: Asked,
}

/// What a program asked for by name, whatever that led to.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The names below their directories, `..` as given and taken back.
    pub names: Vec<Text>,
    /// It is known what they led to.
    pub certain: bool,
}

/// The old and the new name of a file.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct OldNew {
    /// Path of the old name in the submitter's mount namespace. Null where it could not be learned.
    #[schemars(with = "Option<String>")]
    pub old_path: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub old_path_bytes: Option<Base64>,
    /// The old name as the program gave it.
    #[schemars(with = "Option<String>")]
    pub old_path_given: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub old_path_given_bytes: Option<Base64>,
    /// Descriptor of the directory that the old name is relative to; -100: the current directory.
    pub old_dirfd: Option<i32>,
    /// Path of the new name in the submitter's mount namespace. Null where it could not be learned.
    #[schemars(with = "Option<String>")]
    pub new_path: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub new_path_bytes: Option<Base64>,
    /// The new name as the program gave it.
    #[schemars(with = "Option<String>")]
    pub new_path_given: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub new_path_given_bytes: Option<Base64>,
    /// Descriptor of the directory that the new name is relative to; -100: the current directory.
    pub new_dirfd: Option<i32>,
    /// Where the paths come from; of two sources the lesser one.
    pub path_source: Option<PathSource>,
    /// Both paths are those that were acted upon, whatever the program did meanwhile. False: links, directories or descriptors may have changed between submission and look-up, or a path is null. `--path` never leaves such an event out.
    pub path_certain: bool,
    /// For `--path` alone.
    #[serde(skip)]
    pub asked: Asked,
}

/// A request of any opcode.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoIssueSqe {
    /// The file that it works on.
    #[serde(flatten)]
    pub file: File,
    /// REQ_F_* of the request at its end, as the running kernel numbers them.
    pub flags: u64,
    /// Their names; bits without one as hex numbers.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// The ring's SQPOLL thread submitted it.
    pub sq_thread: bool,
    /// That thread, in the host's pid namespace. Null without it.
    pub sq_thread_id: Option<u32>,
    #[serde(flatten)]
    pub request: Request,
    /// For `--path` alone: `None` where it brought no name along.
    #[serde(skip)]
    pub asked: Option<Asked>,
}

/// A file was opened (OPENAT, OPENAT2).
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoOpenat {
    #[serde(flatten)]
    pub name: Named,
    /// O_* as a number, with O_LARGEFILE where the kernel adds it.
    pub flags: u64,
    /// Their names; bits without one as hex numbers.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// Permissions of a file that is made.
    pub mode: u32,
    /// RESOLVE_* of OPENAT2 as a number.
    pub resolve: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub resolve_names: Names,
    /// This open made the file, also without a name (O_TMPFILE). Null where it did not succeed.
    pub created: Option<bool>,
    /// This open made an older file empty (O_TRUNC). Null where it did not succeed.
    pub truncated: Option<bool>,
    /// The file has no name any more: path is the last one.
    pub deleted: bool,
    /// The name in path is gone, or never was one (O_TMPFILE), and the file lives under other names, which are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_stale: bool,
    /// Device of the opened file, in the kernel's encoding: major << 20 | minor.
    pub device: Option<u32>,
    /// Inode number of the opened file.
    pub inode: Option<u64>,
    /// Index among the ring's registered files that the file went to. Null where it got a descriptor.
    pub fixed_slot: Option<u32>,
    #[serde(flatten)]
    pub request: Request,
}

/// Room for a file was made or taken away.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoFallocate {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Where in the file, in bytes.
    pub pos: Option<i64>,
    /// How many bytes.
    pub len: i64,
    /// FALLOC_FL_* as a number.
    pub mode: u32,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub mode_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

/// A file's length was set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoFtruncate {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// The new length in bytes.
    pub len: i64,
    #[serde(flatten)]
    pub request: Request,
}

/// Data was moved or copied into a file without passing through the program. The file is the one that it went to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoSplice {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Offset in the output; null: its current position.
    pub pos: Option<i64>,
    /// Path of the file that the data came from.
    #[schemars(with = "Option<String>")]
    pub path_in: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub path_in_bytes: Option<Base64>,
    /// Descriptor or index of that file.
    pub fd_in: Option<i32>,
    /// fd_in is an index into the ring's registered files.
    pub fixed_file_in: bool,
    /// Offset in the input; null: its current position.
    pub pos_in: Option<i64>,
    /// Bytes asked for.
    pub len: u64,
    /// SPLICE_F_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

/// A file was renamed, or got a second name (LINKAT).
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoRenameat {
    #[serde(flatten)]
    pub names: OldNew,
    /// RENAME_* or AT_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

/// A name was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoUnlinkat {
    #[serde(flatten)]
    pub name: Named,
    /// A directory was meant (AT_REMOVEDIR).
    pub directory: bool,
    /// AT_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

/// A directory was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoMkdirat {
    #[serde(flatten)]
    pub name: Named,
    /// Its permissions, before the umask.
    pub mode: u32,
    #[serde(flatten)]
    pub request: Request,
}

/// A symbolic link was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoSymlinkat {
    #[serde(flatten)]
    pub name: Named,
    /// What it points to, as the program gave it.
    #[schemars(with = "Option<String>")]
    pub target: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub target_bytes: Option<Base64>,
    #[serde(flatten)]
    pub request: Request,
}

/// An extended attribute was set (SETXATTR by name, FSETXATTR by descriptor).
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoSetxattr {
    #[serde(flatten)]
    pub path: Named,
    /// Name of the attribute.
    #[schemars(with = "Option<String>")]
    pub name: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub name_bytes: Option<Base64>,
    /// Bytes of the value.
    pub size: u64,
    /// XATTR_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// The file has no name any more: path is the last one.
    pub deleted: bool,
    /// The name in path is gone, or never was one (O_TMPFILE), and the file lives under other names, which are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_stale: bool,
    /// Device of the file, in the kernel's encoding: major << 20 | minor. Null for SETXATTR.
    pub device: Option<u32>,
    /// Inode number of the file. Null for SETXATTR.
    pub inode: Option<u64>,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    #[serde(flatten)]
    pub request: Request,
}

/// A file was written back to its device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoFsync {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Where in the file, in bytes.
    pub pos: Option<i64>,
    /// How many bytes; 0: up to its end.
    pub len: i64,
    /// Only what is needed to read the data again (IORING_FSYNC_DATASYNC).
    pub datasync: bool,
    /// IORING_FSYNC_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

/// A command for the driver of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoUringCmd {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Number of the command; what it means is the driver's affair.
    pub command: u32,
    /// IORING_URING_CMD_* as a number.
    pub flags: u64,
    #[serde(flatten)]
    pub request: Request,
}
