//! `io_issue_sqe`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Row};
use super::page::Page;
use super::parts::{Asked, File, Parts, Request, Submitter};
use super::{Kind, PathUnknown};
use crate::opcode::Names;
use crate::schema::schema_of;

/// A request of any opcode.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoIssueSqe {
    /// The file that it works on.
    #[serde(flatten)]
    pub file: File,
    /// REQ_F_* of the request at its end, as the running kernel numbers them.
    pub flags: u64,
    /// Their names; bits without one as hex numbers.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// The ring's SQPOLL thread submitted it.
    pub sq_thread: bool,
    /// That thread, in the host's pid namespace. Null without it.
    pub sq_thread_id: Option<u32>,
    #[serde(flatten)]
    pub request: Request,
    /// For `--path` alone: `None` where it brought no name along.
    #[serde(skip)]
    pub asked: Option<Asked>,
}

impl From<Parts> for IoIssueSqe {
    fn from(mut parts: Parts) -> Self {
        let own = Kind::of_opcode(parts.asks.opcode).map(Kind::page);
        let asked = parts.asked(own.is_some_and(|page| page.two_names));
        let more = parts.take_more();
        let named = more.led.iter().any(Option::is_some).then(|| {
            // What was opened has a path of its own.
            Asked { certain: asked.certain || parts.file.path.is_some(), ..asked }
        });
        let mut file = parts.file;
        if file.path.is_none() && own.is_some_and(|page| page.has_file) {
            file.path_unknown.get_or_insert(PathUnknown::NoFile);
        }
        // Where the bytes come from is a file as well.
        let input = own
            .is_some_and(|page| page.has_second_file)
            .then(|| Asked { certain: more.second_file.is_some(), names: more.second_file.into_iter().collect() });
        Self {
            file,
            flags: more.req_flags,
            flag_names: more.req_flag_names,
            sq_thread: parts.request.submitter == Submitter::Sqpoll,
            sq_thread_id: more.sq_thread_id,
            request: parts.request,
            asked: input.or(named),
        }
    }
}

impl Body for IoIssueSqe {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    /// Some have no file at all.
    fn has_unknown_path(&self) -> bool {
        self.file.path_unknown.is_some()
    }

    fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    fn row(&self) -> Row<'_> {
        Row::request(&self.request, self.file.shown())
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_issue_sqe",
    summary: "a request of any opcode",
    description: "Exactly one event for each request of any opcode, including those that work on no file, reported once its outcome is known: so all of a program's use of io_uring is visible. Opcodes newer than ringwatch are reported by number. A request has one event: where a set or a pattern brought io_issue_sqe along (`-e io_uring`), it stands for the requests that no other event reports, and not for those of an event that was left out (`-e io_uring,-io_fsync`). Where it is asked for by name (`-e io_uring,io_issue_sqe`), it reports every request, also those that another event reports.",
    use_cases: &[
        "Audit everything that is done through io_uring, network operations included.",
        "See which operations a program uses, how long they take, and which fail.",
    ],
    related: &["io_write", "io_uring_create"],
    schema: schema_of::<IoIssueSqe>,
    ..Page::REQUEST
};
