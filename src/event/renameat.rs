//! `io_renameat`, `io_linkat`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;
use super::body::{Body, Row};
use super::page::{Asks, Page};
use super::parts::{Asked, OldNew, Parts, Request, Rules, number, unsigned};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

/// A file was renamed, or got a second name (LINKAT).
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoRenameat {
    #[serde(flatten)]
    pub names: OldNew,
    /// RENAME_* or AT_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

fn dirfd(asks: &Asks, i: usize) -> i32 {
    if i == 0 { asks.fd } else { number(asks.arg[0]) }
}

impl From<Parts> for IoRenameat {
    fn from(parts: Parts) -> Self {
        let flags = unsigned(parts.asks.arg[1]);
        let links = parts.asks.opcode == opcode::LINKAT;
        Self {
            names: parts.names(dirfd(&parts.asks, 1)),
            flags,
            flag_names: if links { opcode::at_flags(flags) } else { opcode::rename_flags(flags) },
            request: parts.request,
        }
    }
}

impl Body for IoRenameat {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn paths(&self) -> [Option<&Text>; 2] {
        [self.names.old_path.as_ref(), self.names.new_path.as_ref()]
    }

    fn has_unknown_path(&self) -> bool {
        self.paths().contains(&None)
    }

    fn asked(&self) -> Option<&Asked> {
        Some(&self.names.asked)
    }

    fn row(&self) -> Row<'_> {
        Row::request(&self.request, self.names.shown())
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_renameat",
    summary: "a file was renamed",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
    use_cases: &["Detect files that replace others."],
    related: &["io_linkat", "io_unlinkat"],
    opcodes: &["RENAMEAT"],
    two_names: true,
    rules: |asks, i| Rules::below(dirfd(asks, i)),
    schema: schema_of::<IoRenameat>,
    ..Page::REQUEST
};

pub(super) static LINKAT: Page = Page {
    name: "io_linkat",
    summary: "a file got a second name",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
    use_cases: &["Detect second names of protected files."],
    related: &["io_symlinkat", "io_renameat"],
    opcodes: &["LINKAT"],
    two_names: true,
    rules: |asks, i| Rules {
        follow: i == 0 && unsigned(asks.arg[1]) & opcode::AT_SYMLINK_FOLLOW != 0,
        ..Rules::below(dirfd(asks, i))
    },
    schema: schema_of::<IoRenameat>,
    ..Page::REQUEST
};
