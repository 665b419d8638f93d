//! `io_mkdirat`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;
use super::body::{Body, Part, Row};
use super::page::Page;
use super::parts::{Asked, Named, Parts, Request, low};
use crate::schema::schema_of;

/// A directory was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoMkdirat {
    #[serde(flatten)]
    pub name: Named,
    /// Its permissions, before the umask.
    pub mode: u32,
    #[serde(flatten)]
    pub request: Request,
}

impl From<Parts> for IoMkdirat {
    fn from(parts: Parts) -> Self {
        Self { name: parts.name(0, parts.dirfd()), mode: low(parts.asks.arg[0]), request: parts.request }
    }
}

impl Body for IoMkdirat {
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
        shown.push(Part::Note(format!("{:04o}", self.mode)));
        Row::request(&self.request, shown)
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_mkdirat",
    summary: "a directory was created",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
    use_cases: &["See which directories programs create."],
    related: &["io_unlinkat", "io_openat"],
    opcodes: &["MKDIRAT"],
    schema: schema_of::<IoMkdirat>,
    ..Page::REQUEST
};
