//! `io_uring_cmd`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Part, Row};
use super::page::Page;
use super::parts::{Descriptor, File, Parts, Request, low};
use crate::schema::schema_of;

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

impl From<Parts> for IoUringCmd {
    fn from(parts: Parts) -> Self {
        let [command, flags, ..] = parts.asks.arg;
        Self {
            file: parts.file,
            descriptor: parts.descriptor,
            command: low(command),
            flags: u64::from(low(flags)),
            request: parts.request,
        }
    }
}

impl Body for IoUringCmd {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.file.shown();
        shown.push(Part::Note(format!("command {:#x}", self.command)));
        Row::request(&self.request, shown)
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_uring_cmd",
    summary: "a command was passed to a driver",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object. What the command means depends on the driver: NVMe passthrough, sockets, ublk.",
    use_cases: &["Detect writes to a device that bypass its file system (NVMe passthrough)."],
    related: &["io_write", "io_issue_sqe"],
    opcodes: &["URING_CMD", "URING_CMD128"],
    has_file: true,
    schema: schema_of::<IoUringCmd>,
    ..Page::REQUEST
};
