//! `io_unlinkat`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;
use super::body::{Body, Row, marks};
use super::page::Page;
use super::parts::{Asked, Named, Parts, Request, low};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

/// A name was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoUnlinkat {
    #[serde(flatten)]
    pub name: Named,
    /// A directory was meant (AT_REMOVEDIR).
    pub directory: bool,
    /// AT_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    #[serde(flatten)]
    pub request: Request,
}

impl From<Parts> for IoUnlinkat {
    fn from(parts: Parts) -> Self {
        let flags = u64::from(low(parts.asks.arg[0]));
        Self {
            name: parts.name(0, parts.dirfd()),
            directory: flags & opcode::AT_REMOVEDIR != 0,
            flags,
            flag_names: opcode::at_flags(flags),
            request: parts.request,
        }
    }
}

impl Body for IoUnlinkat {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn paths(&self) -> [Option<&Text>; 2] {
        [self.name.path.as_ref(), None]
    }

    fn asked(&self) -> Option<&Asked> {
        Some(&self.name.asked)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.name.shown();
        shown.extend(marks([(self.directory, "(directory)")]));
        Row::request(&self.request, shown)
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_unlinkat",
    summary: "a name was removed",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
    use_cases: &["Detect removals that bypass system-call monitoring."],
    related: &["io_renameat", "io_mkdirat"],
    opcodes: &["UNLINKAT"],
    schema: schema_of::<IoUnlinkat>,
    ..Page::REQUEST
};
