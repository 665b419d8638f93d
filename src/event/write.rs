//! `io_write`.

use schemars::JsonSchema;
use serde::Serialize;

use super::PathUnknown;
use super::body::{Body, Row};
use super::page::Page;
use super::parts::{Descriptor, File, Parts, Pointer, Request};
use crate::opcode;
use crate::schema::schema_of;

/// One write request made through io_uring, reported once its outcome is known.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoWrite {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
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
    /// RWF_* flags of the request. Null when its entry in the submission queue was not seen (before 5.18).
    pub rw_flags: Option<u32>,
    #[serde(flatten)]
    pub request: Request,
}

impl From<Parts> for IoWrite {
    #[inline]
    fn from(parts: Parts) -> Self {
        let mut file = parts.file;
        if file.path.is_none() {
            file.path_unknown.get_or_insert(PathUnknown::NoFile);
        }
        Self {
            file,
            descriptor: parts.descriptor,
            pos: parts.landed,
            buf: Pointer(parts.buf),
            len: parts.len,
            iov_count: opcode::is_vector(parts.asks.opcode).then_some(parts.iov_count),
            rw_flags: parts.rw_flags,
            request: parts.request,
        }
    }
}

impl Body for IoWrite {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn row(&self) -> Row<'_> {
        let (len, pos) = (Some(self.len.into()), self.pos);
        Row { len, pos, ..Row::request(&self.request, self.file.shown()) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_write",
    summary: "a write made through io_uring",
    description: "Exactly one event for each write request (WRITE, WRITEV, WRITE_FIXED, WRITEV_FIXED) that a program \
submits to an io_uring and the kernel accepts or refuses, reported once its outcome is known. No write system call is \
made, so system-call tracers and auditd do not see it. The process is the submitter's, also when a \
worker of io-wq or the ring's polling thread did the work.",
    dependencies: &[
        "tracepoint io_uring_submit_req (before 6.4: io_uring_submit_sqe)",
        "tracepoint io_uring_complete",
        "tracepoint io_uring_req_failed",
        "tracepoint io_uring_queue_async_work",
        "tracepoint io_uring_cqe_overflow",
        "tracepoint io_uring_fail_link",
        "tracepoint io_uring_create",
        "function io_write (plans fentry and kprobe)",
        "functions kiocb_done, io_complete_rw, io_complete_rw_iopoll, io_req_complete_post (before 5.18)",
        "functions __io_submit_sqe, io_complete_rw, io_cqring_fill_event, io_uring_setup (5.1 to 5.4)",
    ],
    kernels: "Linux 5.5 and later, with BTF of its own or from a file (--btf); 5.3 and 5.4 by the plan kprobe-legacy, which no test run covers; see docs/compatibility.md",
    use_cases: &[
        "Detect writes to sensitive files that bypass system-call monitoring.",
        "Audit who wrote which bytes of which file, and with what result.",
        "See which writes are done inline and which by io-wq workers, and how long they take.",
    ],
    related: &["io_uring_create", "io_issue_sqe", "vfs_write", "file_modification", "security_file_open"],
    opcodes: &["WRITE", "WRITEV", "WRITE_FIXED", "WRITEV_FIXED"],
    has_file: true,
    schema: schema_of::<IoWrite>,
    ..Page::REQUEST
};
