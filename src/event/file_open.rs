//! `security_file_open`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Field;
use super::body::{Body, Row, flags, marks};
use super::page::Page;
use super::parts::{File, Outcome};
use crate::opcode::Names;
use crate::schema::schema_of;

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

impl Body for SecurityFileOpen {
    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn outcome(&self) -> Field<Outcome> {
        Field::Known(self.outcome)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.file.shown();
        shown.push(flags(&self.flag_names));
        shown.extend(marks([(self.created, "(created)")]));
        let row = Row::call("open", self.worker_host_tid, self.result, shown);
        Row { error: self.error, outcome: self.outcome, ..row }
    }
}

pub(super) static PAGE: Page = Page {
    name: "security_file_open",
    summary: "a file is opened",
    description: "One event for each open that the security modules are asked about, with their answer: by system call, exec or io_uring.",
    dependencies: &["function security_file_open (fentry or kprobe)"],
    use_cases: &["See who opens a file, by whichever interface."],
    related: &["io_openat", "vfs_write"],
    schema: schema_of::<SecurityFileOpen>,
    ..Page::FUNCTION
};
