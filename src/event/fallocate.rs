//! `io_fallocate`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Part, Row};
use super::page::Page;
use super::parts::{Descriptor, File, Parts, Request, low};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

/// Room for a file was made or taken away.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoFallocate {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Where in the file, in bytes.
    pub pos: Option<i64>,
    /// How many bytes.
    pub len: i64,
    /// FALLOC_FL_* as a number.
    pub mode: u32,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub mode_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

impl From<Parts> for IoFallocate {
    fn from(parts: Parts) -> Self {
        let [len, mode, ..] = parts.asks.arg;
        Self {
            file: parts.file,
            descriptor: parts.descriptor,
            pos: parts.seen.then_some(parts.asked_pos),
            len,
            mode: low(mode),
            mode_names: opcode::fallocate_mode(low(mode).into()),
            request: parts.request,
        }
    }
}

impl Body for IoFallocate {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.file.shown();
        shown.push(Part::Note(self.mode_names.join("|")));
        let len = u64::try_from(self.len).ok();
        Row { len, pos: self.pos, ..Row::request(&self.request, shown) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_fallocate",
    summary: "space of a file was allocated or released",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
    use_cases: &["Detect holes punched into logs and other files (FALLOC_FL_PUNCH_HOLE)."],
    related: &["io_write", "io_ftruncate"],
    opcodes: &["FALLOCATE"],
    has_file: true,
    schema: schema_of::<IoFallocate>,
    ..Page::REQUEST
};
