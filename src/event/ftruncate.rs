//! `io_ftruncate`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Row};
use super::page::Page;
use super::parts::{Descriptor, File, Parts, Request};
use crate::schema::schema_of;

/// A file's length was set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoFtruncate {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// The new length in bytes.
    pub len: i64,
    #[serde(flatten)]
    pub request: Request,
}

impl From<Parts> for IoFtruncate {
    fn from(parts: Parts) -> Self {
        Self { file: parts.file, descriptor: parts.descriptor, len: parts.asks.arg[0], request: parts.request }
    }
}

impl Body for IoFtruncate {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn row(&self) -> Row<'_> {
        Row { len: u64::try_from(self.len).ok(), ..Row::request(&self.request, self.file.shown()) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_ftruncate",
    summary: "a file's length was set",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
    kernels: "Linux 6.9 and later, which have the opcode",
    use_cases: &["Detect files that are truncated without a write."],
    related: &["io_write", "io_fallocate"],
    opcodes: &["FTRUNCATE"],
    has_file: true,
    schema: schema_of::<IoFtruncate>,
    ..Page::REQUEST
};
