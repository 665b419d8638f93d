//! What shared code asks of an event, whatever it is about: each room answers for its own.

use std::borrow::Cow;

use super::parts::{Asked, Completion, Executor, File, OldNew, Outcome, Request, Step, Submitter};
use super::{Field, Named, PathUnknown, Text};
use crate::opcode;

/// The data of an event.
pub trait Body {
    /// What it has as a request.
    fn request(&self) -> Option<&Request> {
        None
    }

    /// The open file that it is about.
    fn file(&self) -> Option<&File> {
        None
    }

    /// The paths of files that it names.
    fn paths(&self) -> [Option<&Text>; 2] {
        [self.file().and_then(|file| file.path.as_ref()), None]
    }

    /// Whether it has a path that is not known.
    fn has_unknown_path(&self) -> bool {
        self.paths()[0].is_none()
    }

    /// What it says of names that a program gave; `None`: it is not about names.
    fn asked(&self) -> Option<&Asked> {
        None
    }

    /// How it ended.
    fn outcome(&self) -> Field<Outcome> {
        self.request().map_or(Field::Absent, |request| Field::Known(request.outcome))
    }

    /// Nanoseconds from submission to completion.
    fn latency(&self) -> Field<u64> {
        self.request().map_or(Field::Absent, |request| Field::of(request.latency_ns))
    }

    /// Bytes transferred; 0 of what failed.
    fn transferred(&self) -> Field<u64> {
        match self.request() {
            Some(Request { opcode: Some(opcode), result, .. }) if opcode::transfers(opcode) => {
                Field::of(result.map(|result| u64::try_from(result).unwrap_or(0)))
            }
            // Of an opcode that is newer than ringwatch it is not known what its result is.
            Some(Request { opcode: None, .. }) => Field::Unknown,
            _ => Field::Absent,
        }
    }

    /// Its row in a table.
    fn row(&self) -> Row<'_>;
}

/// What a result that is no error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// A number of bytes.
    Bytes,
    /// A descriptor.
    Descriptor,
    /// A place among the registered files.
    Slot(u32),
    /// Another number.
    Number,
}

/// What a table shows of an event.
#[derive(Debug)]
pub struct Row<'a> {
    /// What was done.
    pub op: Cow<'a, str>,
    /// The thread that asked for it.
    pub tid: u32,
    /// Who handed it to the kernel.
    pub submitter: Submitter,
    /// Bytes asked for.
    pub len: Option<u64>,
    /// Where in the file.
    pub pos: Option<i64>,
    /// What the result means.
    pub returns: Returns,
    /// The result.
    pub result: Option<i32>,
    /// Name of the errno.
    pub error: Option<&'static str>,
    /// The outcome.
    pub outcome: Outcome,
    /// How that became known.
    pub completion: Completion,
    /// Nanoseconds.
    pub latency_ns: Option<u64>,
    /// Who carried it out.
    pub executor: Option<Executor>,
    /// The steps of its life.
    pub life: Option<&'a [Step]>,
    /// What stands under PATH.
    pub shown: Vec<Part<'a>>,
}

/// A part of what stands under PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// A path, behind this.
    Path(&'static str, Option<&'a Text>),
    /// What is said in place of a path.
    Words(Cow<'static, str>),
    /// What is true of the file.
    Mark(&'static str),
    /// What the operation says beside.
    Note(String),
    /// The same, in the program's words.
    Quoted(Option<&'a Text>),
}

impl<'a> Row<'a> {
    /// A request.
    pub(super) fn request(request: &'a Request, shown: Vec<Part<'a>>) -> Self {
        let returns = match request.opcode {
            Some(opcode) if opcode::returns_bytes(opcode) => Returns::Bytes,
            Some("FIXED_FD_INSTALL") => Returns::Descriptor,
            // Of an open that only io_issue_sqe reports it is not known whether it is a descriptor or a place.
            _ => Returns::Number,
        };
        Self {
            op: request.opcode.map_or_else(|| format!("opcode {}", request.opcode_number).into(), Cow::from),
            tid: request.worker_host_tid,
            submitter: request.submitter,
            len: None,
            pos: None,
            returns,
            result: request.result,
            error: request.error,
            outcome: request.outcome,
            completion: request.completion,
            latency_ns: request.latency_ns,
            executor: request.executor,
            life: request.life.as_deref(),
            shown,
        }
    }

    /// What a thread did itself, with this result.
    pub(super) fn call(op: &'static str, tid: u32, result: i32, shown: Vec<Part<'a>>) -> Self {
        Self {
            op: op.into(),
            tid,
            submitter: Submitter::Thread,
            len: None,
            pos: None,
            returns: Returns::Number,
            result: Some(result),
            error: None,
            outcome: Outcome::Success,
            completion: Completion::Cqe,
            latency_ns: None,
            executor: None,
            life: None,
            shown,
        }
    }
}

impl File {
    /// Its path, and what is true of it.
    pub(super) fn shown(&self) -> Vec<Part<'_>> {
        let path = match self.path_unknown {
            Some(unknown) if unknown != PathUnknown::NoFile => Part::Words(unknown.shown().into()),
            _ => Part::Path("", self.path.as_ref()),
        };
        let mark = match (self.deleted, self.path_stale) {
            (true, _) => Some(Part::Mark("(deleted)")),
            (_, true) => Some(Part::Mark("(old name)")),
            _ => None,
        };
        [path].into_iter().chain(mark).collect()
    }
}

impl Named {
    /// The path, or the name as it was given.
    pub(super) fn shown(&self) -> Vec<Part<'_>> {
        vec![Part::Path("", self.path.as_ref().or(self.path_given.as_ref()))]
    }
}

impl OldNew {
    pub(super) fn shown(&self) -> Vec<Part<'_>> {
        let old = self.old_path.as_ref().or(self.old_path_given.as_ref());
        let new = self.new_path.as_ref().or(self.new_path_given.as_ref());
        vec![Part::Path("", old), Part::Path(" -> ", new)]
    }
}

/// Marks of what is true.
pub(super) fn marks<'a, const N: usize>(marks: [(bool, &'static str); N]) -> impl Iterator<Item = Part<'a>> {
    marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| Part::Mark(mark))
}

/// A note of flags. Every file may be large where this is read.
pub(super) fn flags(names: &opcode::Names) -> Part<'static> {
    Part::Note(names.iter().filter(|name| *name != "O_LARGEFILE").map(|name| &**name).collect::<Vec<_>>().join("|"))
}
