//! Events of files outside of io_uring.

use schemars::JsonSchema;
use serde::Serialize;

use super::ops::File;
use super::{Outcome, Pointer};
use crate::opcode::Names;

/// A system call wrote to a file (write, pwrite64; as vfs_writev: writev, pwritev, pwritev2).
#[derive(Debug, Serialize, JsonSchema)]
pub struct VfsWrite {
    #[serde(flatten)]
    pub file: File,
    /// Offset at which the first byte landed; for a write that failed, the offset that it was made at. Null where the file has no position, or where it cannot be known: handlers of procfs and the like need not move it.
    pub pos: Option<i64>,
    /// User address of the data; of the first segment for vectors.
    #[schemars(with = "String")]
    pub buf: Pointer,
    /// Bytes asked for; for vectors the sum of the segments.
    pub len: u32,
    /// Number of segments of a vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iov_count: Option<u32>,
    /// Bytes written, or the negative errno.
    pub result: i32,
    /// Name of the errno.
    #[schemars(with = "Option<String>")]
    pub error: Option<&'static str>,
    /// The outcome.
    pub outcome: Outcome,
    /// Thread that made the call, in the host's pid namespace.
    pub worker_host_tid: u32,
}

/// The security modules were asked about an open file: by open(2) and its like, exec, and by io_uring.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecurityFileOpen {
    #[serde(flatten)]
    pub file: File,
    /// O_* of the file as a number.
    pub flags: u64,
    /// Their names; bits without one as hex numbers.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// This open made the file.
    pub created: bool,
    /// 0, or the negative errno with which it was refused.
    pub result: i32,
    /// Name of the errno.
    #[schemars(with = "Option<String>")]
    pub error: Option<&'static str>,
    /// The outcome.
    pub outcome: Outcome,
    /// Thread that opens, in the host's pid namespace; for io_uring that may be a worker of io-wq.
    pub worker_host_tid: u32,
}

/// What a file holds is about to be changed, for the first time since it was opened; by whatever means.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileModification {
    #[serde(flatten)]
    pub file: File,
    /// Thread that changes it, in the host's pid namespace; for io_uring that may be a worker of io-wq.
    pub worker_host_tid: u32,
}
