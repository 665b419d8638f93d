//! Bytes of the ring buffer to records: pure, and never trusting what the bytes say of themselves.

mod batch;
mod decode;
pub mod flag;
#[doc(hidden)]
pub mod sample;
pub mod unknown;

pub use batch::Batch;
pub use decode::decode;
pub(crate) use decode::head;

use crate::kernel::wire::{rw_created, rw_directory, rw_request, rw_task, rw_write};

/// How a write's end became known; `enum rw_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its CQE was posted.
    Cqe,
    /// Its CQE found the CQ ring full.
    Overflow,
    /// It succeeded without a CQE.
    Skipped,
    /// It was cancelled with a link, without a CQE.
    Link,
    /// The kernel never told.
    Unseen,
    /// Tracing stopped before its end.
    InFlight,
    /// There was no room to follow it; it was reported at its submission.
    Untracked,
}

/// Who carried a write out; `enum rw_executor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// The submitting thread.
    Submitter,
    /// A worker of io-wq.
    IoWq,
    /// The SQPOLL thread.
    Sqpoll,
    /// A kernel thread, such as the one that ends the requests of a dead process.
    Kernel,
    /// Nobody told.
    Unknown,
}

/// A write that ended.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    raw: rw_write,
    /// How its end became known.
    pub end: End,
    /// Who carried it out.
    pub executor: Executor,
}

impl std::ops::Deref for Write {
    type Target = rw_write;

    fn deref(&self) -> &rw_write {
        &self.raw
    }
}

impl Write {
    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.raw.flags & flags == flags
    }
}

/// A request that ended, of any opcode.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    raw: rw_request,
    /// What it has in common with a write.
    pub write: Write,
}

impl std::ops::Deref for Request {
    type Target = rw_request;

    fn deref(&self) -> &rw_request {
        &self.raw
    }
}

/// A directory that names are relative to; all zero: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directory {
    /// Id of its path.
    pub path_id: u64,
    /// Its inode number.
    pub inode: u64,
    /// Id of its mount.
    pub mount: u32,
}

impl From<rw_directory> for Directory {
    fn from(raw: rw_directory) -> Self {
        Self { path_id: raw.path_id, inode: raw.inode, mount: raw.mount }
    }
}

/// The strings of a request, sent at its submission.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The id that the request refers to.
    pub id: u64,
    /// What the first two are relative to.
    pub from: [Directory; 2],
    /// What `..` does not lead out of.
    pub root: Directory,
    /// Two names of files, and another string; empty where there is none.
    pub strings: [&'a [u8]; 3],
}

/// What was done to a file outside of io_uring; `enum rw_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAct {
    /// A system call wrote.
    Write,
    /// A system call wrote a vector.
    Writev,
    /// It was opened.
    Open,
    /// What it holds was changed, for the first time since it was opened.
    Modified,
}

/// A ring that was created.
#[derive(Debug, Clone, Copy)]
pub struct Created(rw_created);

impl std::ops::Deref for Created {
    type Target = rw_created;

    fn deref(&self) -> &rw_created {
        &self.0
    }
}

/// A path, sent once before the writes that refer to it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The id that writes refer to.
    pub id: u64,
    /// See [`flag`].
    pub flags: u32,
    /// Inode number of the file.
    pub inode: u64,
    /// Mode of the file.
    pub mode: u32,
    /// The mount namespace in which it begins; 0: in none.
    pub mnt_ns: u32,
    /// Of the file system.
    pub magic: u32,
    /// The components, leaf first, each ended by a NUL.
    pub names: &'a [u8],
}

/// A thread that submitted a write, sent once before the writes that refer to it.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    raw: rw_task,
    /// Arguments, each ended by a NUL; empty when they could not be read.
    pub command_line: &'a [u8],
}

impl std::ops::Deref for Task<'_> {
    type Target = rw_task;

    fn deref(&self) -> &rw_task {
        &self.raw
    }
}

/// A record of the ring buffer.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "one is made at a time, on the stack")]
pub enum Record<'a> {
    /// A write ended.
    Write(Write),
    /// A path.
    Path(Path<'a>),
    /// A thread.
    Task(Task<'a>),
    /// A request ended.
    Request(Request),
    /// Strings of a request.
    Names(Names<'a>),
    /// A ring was created.
    Created(Created),
    /// Something was done to a file outside of io_uring.
    File(FileAct, Write),
}

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the record needs.
    #[error("record of {0} bytes is too short")]
    Short(usize),
    /// A type that is not known.
    #[error("unknown record type {0}")]
    Type(u32),
    /// A field holds a value that it cannot have.
    #[error("field {0} holds {1}")]
    Field(&'static str, u32),
}
