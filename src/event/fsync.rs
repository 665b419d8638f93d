//! `io_fsync`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Row};
use super::page::Page;
use super::parts::{Descriptor, File, Parts, Request, unsigned};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

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

impl From<Parts> for IoFsync {
    fn from(parts: Parts) -> Self {
        let [len, flags, ..] = parts.asks.arg;
        let flags = unsigned(flags);
        Self {
            file: parts.file,
            descriptor: parts.descriptor,
            pos: parts.seen.then_some(parts.asked_pos),
            len,
            datasync: flags & opcode::IORING_FSYNC_DATASYNC != 0,
            flags,
            flag_names: opcode::fsync_flags(flags),
            request: parts.request,
        }
    }
}

impl Body for IoFsync {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn row(&self) -> Row<'_> {
        Row { pos: self.pos, ..Row::request(&self.request, self.file.shown()) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_fsync",
    summary: "a file was written back to its device",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
    use_cases: &["See what durability costs."],
    related: &["io_write"],
    opcodes: &["FSYNC"],
    has_file: true,
    schema: schema_of::<IoFsync>,
    ..Page::REQUEST
};
