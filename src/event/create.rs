//! `io_uring_create`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Part, Returns, Row};
use super::page::Page;
use super::parts::Pointer;
use crate::schema::schema_of;

/// A ring was created by io_uring_setup.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoUringCreate {
    /// Id of the ring, the same in every event of this run as long as the ring exists; not its address. A later ring may have it again.
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

impl Body for IoUringCreate {
    fn has_unknown_path(&self) -> bool {
        false
    }

    fn row(&self) -> Row<'_> {
        let ring = format!("ring of {} and {} entries", self.sq_entries, self.cq_entries);
        let shown = vec![Part::Words(ring.into()), Part::Note(self.flag_names.join("|"))];
        Row { returns: Returns::Descriptor, ..Row::call("create", self.worker_host_tid, self.fd, shown) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_uring_create",
    summary: "a ring was created",
    description: "One event for each ring that a program creates with io_uring_setup, with its sizes and flags by name; with SQPOLL also the kernel thread that polls it. Rings created before ringwatch started are listed by `ringwatch rings`.",
    dependencies: &["tracepoint io_uring_create", "function io_uring_setup (5.3 and 5.4)"],
    kernels: "as io_write",
    use_cases: &["See which programs use io_uring at all.", "Detect rings that work without system calls (SQPOLL)."],
    related: &["io_write", "io_issue_sqe"],
    schema: schema_of::<IoUringCreate>,
    ..Page::REQUEST
};
