//! `io_splice`, `io_tee`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Part, Row};
use super::page::Page;
use super::parts::{Descriptor, File, Parts, Request, number, offset, unsigned};
use super::{Base64, Text};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

/// Data was moved or copied into a file without passing through the program. The file is the one that it went to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoSplice {
    #[serde(flatten)]
    pub file: File,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Offset in the output; null: its current position.
    pub pos: Option<i64>,
    /// Path of the file that the data came from.
    #[schemars(with = "Option<String>")]
    pub path_in: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub path_in_bytes: Option<Base64>,
    /// Descriptor or index of that file.
    pub fd_in: Option<i32>,
    /// fd_in is an index into the ring's registered files.
    pub fixed_file_in: bool,
    /// Offset in the input; null: its current position.
    pub pos_in: Option<i64>,
    /// Bytes asked for.
    pub len: u64,
    /// SPLICE_F_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

impl From<Parts> for IoSplice {
    fn from(mut parts: Parts) -> Self {
        let [pos_in, len, flags, fd_in] = parts.asks.arg;
        let flags = unsigned(flags);
        let path_in = parts.take_more().second_file;
        Self {
            pos: offset(&parts, parts.asked_pos),
            path_in_bytes: path_in.as_ref().and_then(Text::base64),
            fd_in: parts.seen.then_some(number(fd_in)),
            fixed_file_in: flags & opcode::SPLICE_F_FD_IN_FIXED != 0,
            pos_in: offset(&parts, pos_in),
            path_in,
            file: parts.file,
            descriptor: parts.descriptor,
            len: unsigned(len),
            flags,
            flag_names: opcode::splice_flags(flags),
            request: parts.request,
        }
    }
}

impl Body for IoSplice {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn paths(&self) -> [Option<&Text>; 2] {
        [self.file.path.as_ref(), self.path_in.as_ref()]
    }

    fn has_unknown_path(&self) -> bool {
        self.paths().contains(&None)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.file.shown();
        shown.push(Part::Path(" <- ", self.path_in.as_ref()));
        Row { len: Some(self.len), pos: self.pos, ..Row::request(&self.request, shown) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_splice",
    summary: "data was moved into a file from another one",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object. The data does not pass through the program's memory; path_in names where it came from.",
    use_cases: &["Detect file content that changes without a write."],
    related: &["io_write", "io_tee"],
    opcodes: &["SPLICE"],
    has_file: true,
    has_second_file: true,
    schema: schema_of::<IoSplice>,
    ..Page::REQUEST
};

pub(super) static TEE: Page = Page {
    name: "io_tee",
    summary: "data was copied from one pipe to another",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
    use_cases: &["Follow data on its way between pipes."],
    related: &["io_splice"],
    opcodes: &["TEE"],
    has_file: true,
    has_second_file: true,
    schema: schema_of::<IoSplice>,
    ..Page::REQUEST
};
