//! `file_modification`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Row};
use super::page::Page;
use super::parts::File;
use crate::schema::schema_of;

/// What a file holds is about to be changed, for the first time since it was opened; by whatever means.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileModification {
    #[serde(flatten)]
    pub file: File,
    /// Thread that changes it, in the host's pid namespace; for io_uring that may be a worker of io-wq.
    pub worker_host_tid: u32,
}

impl Body for FileModification {
    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn row(&self) -> Row<'_> {
        Row::call("modified", self.worker_host_tid, 0, self.file.shown())
    }
}

pub(super) static PAGE: Page = Page {
    name: "file_modification",
    summary: "a file's content changes",
    description: "One event for each regular file between its open and its close whose content is about to change, reported at the first change, whether by system call, io_uring or mapped memory. Truncation is not reported.",
    dependencies: &[
        "functions file_modified, kiocb_modified and file_update_time (fentry or kprobe)",
        "function security_file_free",
    ],
    use_cases: &["Integrity monitoring with one event for each change."],
    related: &["io_write", "vfs_write"],
    schema: schema_of::<FileModification>,
    ..Page::FUNCTION
};
