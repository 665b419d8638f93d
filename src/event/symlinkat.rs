//! `io_symlinkat`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Part, Row};
use super::page::{Asks, Page};
use super::parts::{Asked, Named, Parts, Request, Rules, number};
use super::{Base64, Text};
use crate::schema::schema_of;

/// A symbolic link was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoSymlinkat {
    #[serde(flatten)]
    pub name: Named,
    /// What it points to, as the program gave it.
    #[schemars(with = "Option<String>")]
    pub target: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub target_bytes: Option<Base64>,
    #[serde(flatten)]
    pub request: Request,
}

/// The link is the second name: the first is what it points to.
fn dirfd(asks: &Asks) -> i32 {
    number(asks.arg[0])
}

impl From<Parts> for IoSymlinkat {
    fn from(mut parts: Parts) -> Self {
        let name = parts.name(1, parts.seen.then_some(dirfd(&parts.asks)));
        let target = parts.take_more().other;
        Self { name, target_bytes: target.as_ref().and_then(Text::base64), target, request: parts.request }
    }
}

impl Body for IoSymlinkat {
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
        shown.push(Part::Path(" -> ", self.target.as_ref()));
        Row::request(&self.request, shown)
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_symlinkat",
    summary: "a symbolic link was created",
    description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
    use_cases: &["Detect links that lead privileged programs elsewhere."],
    related: &["io_linkat"],
    opcodes: &["SYMLINKAT"],
    rules: |asks, _| Rules::below(dirfd(asks)),
    schema: schema_of::<IoSymlinkat>,
    ..Page::REQUEST
};
