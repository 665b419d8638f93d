//! What events are made of: an open file, a name that a program gave, what every request has.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::page::Asks;
use super::{Base64, Detached, PathUnknown, Text};
use crate::opcode::Names;

/// An address, a hex string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer(pub u64);

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Request {
    /// Name of the opcode, without IORING_OP_. Null where it is newer than ringwatch.
    #[schemars(with = "Option<String>")]
    pub opcode: Option<&'static str>,
    /// Its number.
    pub opcode_number: u8,
    /// The request's user_data.
    pub user_data: u64,
    /// Id of the ring, the same in every event of this run as long as the ring exists; not its address. A later ring may have it again.
    #[schemars(with = "String")]
    pub ctx: Pointer,
    /// Result of the request's CQE: bytes written or moved, of most operations 0, or the negative errno. Null where it is not known.
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
    /// Path of the file in the submitter's mount namespace, from the kernel's own file object. Files without a path: pipe:\[inode\], socket:\[inode\], anon_inode:\[name\], memfd:name. Null where there is no file, or its path is not known: path_unknown says why.
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
    /// Descriptor or index of the registered file. Null when the submission, or its entry in the queue, was not seen.
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

/// How the kernel looks a name up.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(crate) struct Rules {
    /// A link at its end is followed.
    pub(crate) follow: bool,
    /// RESOLVE_NO_SYMLINKS.
    pub(crate) no_links: bool,
    /// RESOLVE_IN_ROOT.
    pub(crate) in_root: bool,
    /// RESOLVE_BENEATH.
    pub(crate) beneath: bool,
    /// It is relative to a descriptor, unless it is absolute.
    pub(crate) by_descriptor: bool,
    /// Root and current directory were the same from the submission to the end.
    pub(crate) same_place: bool,
}

const AT_FDCWD: i32 = -100;

impl Rules {
    pub(crate) const NONE: Self = Self {
        follow: false,
        no_links: false,
        in_root: false,
        beneath: false,
        by_descriptor: false,
        same_place: false,
    };

    /// Relative to this directory.
    pub(crate) fn below(dirfd: i32) -> Self {
        Self { by_descriptor: dirfd != AT_FDCWD, ..Self::NONE }
    }
}

/// Where a name leads.
#[derive(Debug, Clone)]
pub(crate) struct Led {
    pub(crate) given: Text,
    pub(crate) path: Option<Text>,
    pub(crate) source: PathSource,
    pub(crate) certain: bool,
    /// What was asked for, for `--path` alone.
    pub(crate) asked: Vec<Text>,
}

/// What is known of a request: each event's room takes what it has.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) asks: Asks,
    /// The submission was seen.
    pub(crate) seen: bool,
    /// The offset asked for.
    pub(crate) asked_pos: i64,
    /// Where a write landed.
    pub(crate) landed: Option<i64>,
    pub(crate) buf: u64,
    pub(crate) len: u32,
    pub(crate) iov_count: u32,
    pub(crate) rw_flags: Option<u32>,
    /// The result, where a CQE says so.
    pub(crate) posted: Option<i32>,
    /// The request made its file.
    pub(crate) created: bool,
    pub(crate) file: File,
    pub(crate) descriptor: Descriptor,
    pub(crate) request: Request,
    /// What writes have none of.
    pub(crate) more: Option<Box<More>>,
}

/// What a request brought along, and what it says of itself to io_issue_sqe.
#[derive(Debug, Clone, Default)]
pub(crate) struct More {
    pub(crate) req_flags: u64,
    pub(crate) req_flag_names: Names,
    pub(crate) sq_thread_id: Option<u32>,
    /// Where its names lead.
    pub(crate) led: [Option<Led>; 2],
    /// Another string.
    pub(crate) other: Option<Text>,
    /// The file of a second descriptor.
    pub(crate) second_file: Option<Text>,
}

impl Parts {
    pub(super) fn take_more(&mut self) -> More {
        self.more.take().map(|more| *more).unwrap_or_default()
    }

    /// Descriptor of the directory that its name is relative to.
    pub(super) fn dirfd(&self) -> Option<i32> {
        self.seen.then_some(self.asks.fd)
    }

    /// The first or the second name.
    pub(super) fn name(&self, i: usize, dirfd: Option<i32>) -> Named {
        let Some(led) = self.more.as_ref().and_then(|more| more.led[i].as_ref()) else {
            return Named { dirfd, ..Named::default() };
        };
        Named {
            path_bytes: led.path.as_ref().and_then(Text::base64),
            path_source: led.path.is_some().then_some(led.source),
            path_certain: led.certain,
            path: led.path.clone(),
            path_given_bytes: led.given.base64(),
            path_given: Some(led.given.clone()),
            dirfd,
            asked: Asked { names: led.asked.clone(), certain: led.certain },
        }
    }

    /// Both names; the second is relative to `new_dirfd`.
    pub(super) fn names(&self, new_dirfd: i32) -> OldNew {
        let (old, new) = (self.name(0, self.dirfd()), self.name(1, self.seen.then_some(new_dirfd)));
        let asked = self.asked(true);
        OldNew {
            path_source: old.path_source.max(new.path_source),
            path_certain: asked.certain,
            asked,
            old_path: old.path,
            old_path_bytes: old.path_bytes,
            old_path_given: old.path_given,
            old_path_given_bytes: old.path_given_bytes,
            old_dirfd: old.dirfd,
            new_path: new.path,
            new_path_bytes: new.path_bytes,
            new_path_given: new.path_given,
            new_path_given_bytes: new.path_given_bytes,
            new_dirfd: new.dirfd,
        }
    }

    /// What was asked for by name, and what is known of that; `both`: by two names.
    pub(super) fn asked(&self, both: bool) -> Asked {
        let led = || self.more.iter().flat_map(|more| &more.led).flatten();
        let known = led().filter(|led| led.certain).count();
        let asked = led().flat_map(|led| led.asked.iter().cloned());
        let names = asked.chain(led().filter_map(|led| led.path.clone())).collect();
        Asked { names, certain: known == if both { 2 } else { 1 } }
    }
}

impl Named {
    /// The file itself says where it is.
    pub(super) fn is_of(&mut self, file: &File) {
        self.path_source = file.path.is_some().then_some(PathSource::File);
        self.path_certain = file.path.is_some();
        self.asked.certain = self.path_certain;
        self.path_bytes.clone_from(&file.path_bytes);
        self.path.clone_from(&file.path);
    }
}

/// Kernel numbers come as signed words.
pub(super) fn unsigned(arg: i64) -> u64 {
    arg.cast_unsigned()
}

pub(super) fn low(arg: i64) -> u32 {
    u32::try_from(arg & i64::from(u32::MAX)).unwrap_or(0)
}

pub(super) fn number(arg: i64) -> i32 {
    low(arg).cast_signed()
}

/// An offset that is not the file's own position.
pub(super) fn offset(parts: &Parts, at: i64) -> Option<i64> {
    Some(at).filter(|&at| parts.seen && at != -1)
}
