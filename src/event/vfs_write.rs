//! `vfs_write`, `vfs_writev`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Field;
use super::body::{Body, Returns, Row};
use super::page::Page;
use super::parts::{File, Outcome, Pointer};
use crate::schema::schema_of;

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

impl Body for VfsWrite {
    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn outcome(&self) -> Field<Outcome> {
        Field::Known(self.outcome)
    }

    fn transferred(&self) -> Field<u64> {
        Field::Known(u64::try_from(self.result).unwrap_or(0))
    }

    fn row(&self) -> Row<'_> {
        let op = if self.iov_count.is_some() { "writev" } else { "write" };
        Row {
            len: Some(self.len.into()),
            pos: self.pos,
            returns: Returns::Bytes,
            error: self.error,
            outcome: self.outcome,
            ..Row::call(op, self.worker_host_tid, self.result, self.file.shown())
        }
    }
}

pub(super) static PAGE: Page = Page {
    name: "vfs_write",
    summary: "a write by a system call",
    description: "One event for each write(2) and pwrite64(2), so that one policy covers both interfaces: a write through io_uring never appears here, and these never as io_write.",
    dependencies: &["function vfs_write (fentry or kprobe)"],
    use_cases: &["Watch a file by whichever interface it is written."],
    related: &["io_write", "vfs_writev"],
    schema: schema_of::<VfsWrite>,
    ..Page::FUNCTION
};

pub(super) static WRITEV: Page = Page {
    name: "vfs_writev",
    summary: "a write of a vector by a system call",
    description: "One event for each writev(2), pwritev(2) and pwritev2(2); a write through io_uring never appears here.",
    dependencies: &["function vfs_writev (fentry or kprobe)"],
    use_cases: &["Watch a file by whichever interface it is written."],
    related: &["io_write", "vfs_write"],
    schema: schema_of::<VfsWrite>,
    ..Page::FUNCTION
};
