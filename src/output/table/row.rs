//! What the columns show of each event.

use std::borrow::Cow;

use super::shown::{Shown, name};
use crate::event::ops::{File, Named, OldNew, Request, Step};
use crate::event::{Completion, Data, Executor, Outcome, PathUnknown, Submitter};
use crate::opcode::{self, Names};
use crate::output::text::bytes;
use crate::selection::Kind;

/// What the columns show of an event.
pub(super) struct Row<'a> {
    /// The event's name.
    pub(super) event: &'static str,
    pub(super) op: Cow<'a, str>,
    tid: u32,
    submitter: Submitter,
    pub(super) len: Option<u64>,
    returns: Returns,
    result: Option<i32>,
    error: Option<&'static str>,
    pub(super) outcome: Outcome,
    completion: Completion,
    pub(super) pos: Option<i64>,
    pub(super) latency_ns: Option<u64>,
    executor: Option<Executor>,
    pub(super) life: Option<&'a [Step]>,
    pub(super) shown: Shown,
}

/// What a result that is no error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returns {
    Bytes,
    Descriptor,
    /// A place among the registered files.
    Slot(u32),
    Number,
}

/// `None`: it is a gap in the stream.
pub(super) fn row(data: &Data) -> Option<Row<'_>> {
    match data {
        Data::EventsLost(_) => None,
        Data::IoWrite(w) => Some(Row {
            event: Kind::IoWrite.name(),
            op: w.opcode.name().into(),
            tid: w.worker_host_tid,
            submitter: w.submitter,
            len: Some(w.len.into()),
            returns: Returns::Bytes,
            result: w.result,
            error: w.error,
            outcome: w.outcome,
            completion: w.completion,
            pos: w.pos,
            latency_ns: w.latency_ns,
            executor: w.executor,
            life: w.life.as_deref(),
            shown: shown(data),
        }),
        Data::VfsWrite(e) | Data::VfsWritev(e) => {
            let (kind, op) = match data {
                Data::VfsWrite(_) => (Kind::VfsWrite, "write"),
                _ => (Kind::VfsWritev, "writev"),
            };
            Some(Row {
                len: Some(e.len.into()),
                returns: Returns::Bytes,
                pos: e.pos,
                ..plain(kind, op, e.worker_host_tid, (e.result, e.error, e.outcome), data)
            })
        }
        Data::SecurityFileOpen(e) => {
            Some(plain(Kind::SecurityFileOpen, "open", e.worker_host_tid, (e.result, e.error, e.outcome), data))
        }
        Data::FileModification(e) => {
            Some(plain(Kind::FileModification, "modified", e.worker_host_tid, (0, None, Outcome::Success), data))
        }
        Data::IoUringCreate(c) => Some(Row {
            returns: Returns::Descriptor,
            ..plain(Kind::IoUringCreate, "create", c.worker_host_tid, (c.fd, None, Outcome::Success), data)
        }),
        _ => {
            let request = data.request()?;
            Some(Row {
                event: kind(data, request).name(),
                op: request.opcode.map_or_else(|| format!("opcode {}", request.opcode_number).into(), Cow::from),
                tid: request.worker_host_tid,
                submitter: request.submitter,
                len: length(data),
                returns: returns(data, request),
                result: request.result,
                error: request.error,
                outcome: request.outcome,
                completion: request.completion,
                pos: offset(data),
                latency_ns: request.latency_ns,
                executor: request.executor,
                life: request.life.as_deref(),
                shown: shown(data),
            })
        }
    }
}

/// What no request did.
fn plain<'a>(
    kind: Kind,
    op: &'static str,
    tid: u32,
    (result, error, outcome): (i32, Option<&'static str>, Outcome),
    data: &Data,
) -> Row<'a> {
    Row {
        event: kind.name(),
        op: op.into(),
        tid,
        submitter: Submitter::Thread,
        len: None,
        returns: Returns::Number,
        result: Some(result),
        error,
        outcome,
        completion: Completion::Cqe,
        pos: None,
        latency_ns: None,
        executor: None,
        life: None,
        shown: shown(data),
    }
}

fn kind(data: &Data, request: &Request) -> Kind {
    let own = (!matches!(data, Data::IoIssueSqe(_))).then(|| Kind::of_opcode(request.opcode_number));
    own.flatten().unwrap_or(Kind::IoIssueSqe)
}

/// Of an open that only io_issue_sqe reports it is not known whether the result is a descriptor or a place.
fn returns(data: &Data, request: &Request) -> Returns {
    match (data, request.opcode) {
        (Data::IoOpenat(e), _) => e.fixed_slot.map_or(Returns::Descriptor, Returns::Slot),
        (_, Some(opcode)) if opcode::returns_bytes(opcode) => Returns::Bytes,
        (_, Some("FIXED_FD_INSTALL")) => Returns::Descriptor,
        _ => Returns::Number,
    }
}

fn length(data: &Data) -> Option<u64> {
    match data {
        Data::IoFallocate(e) => u64::try_from(e.len).ok(),
        Data::IoFtruncate(e) => u64::try_from(e.len).ok(),
        Data::IoSplice(e) | Data::IoTee(e) => Some(e.len),
        Data::IoSetxattr(e) => Some(e.size),
        _ => None,
    }
}

fn offset(data: &Data) -> Option<i64> {
    match data {
        Data::IoFallocate(e) => e.pos,
        Data::IoFsync(e) => e.pos,
        Data::IoSplice(e) | Data::IoTee(e) => e.pos,
        _ => None,
    }
}

/// Every file may be large where this is read.
fn flags(names: &Names) -> String {
    names.iter().filter(|name| *name != "O_LARGEFILE").map(|name| &**name).collect::<Vec<_>>().join("|")
}

/// What stands under PATH: paths, and what an operation says beside.
fn shown(data: &Data) -> Shown {
    let [first, second] = data.paths();
    let path = Shown::path(match data.path_unknown() {
        Some(unknown) if unknown != PathUnknown::NoFile => unknown.shown().to_owned(),
        _ => name(first),
    });
    let gone = |deleted, stale| match (deleted, stale) {
        (true, _) => "(deleted)",
        (_, true) => "(old name)",
        _ => "",
    };
    let of = |file: &File| gone(file.deleted, file.path_stale);
    let both = |names: &OldNew| {
        let old = first.or(names.old_path_given.as_ref());
        Shown::path(name(old)).and_path(" -> ", name(second.or(names.new_path_given.as_ref())))
    };
    let given = |named: &Named| Shown::path(name(first.or(named.path_given.as_ref())));
    let when = |is: bool, mark| if is { mark } else { "" };
    match data {
        Data::EventsLost(_) => Shown::default(),
        Data::IoWrite(w) => path.mark(gone(w.deleted, w.path_stale)),
        Data::IoUringCreate(c) => {
            Shown::path(format!("ring of {} and {} entries", c.sq_entries, c.cq_entries)).note(c.flag_names.join("|"))
        }
        Data::IoIssueSqe(e) => path.mark(of(&e.file)),
        Data::VfsWrite(e) | Data::VfsWritev(e) => path.mark(of(&e.file)),
        Data::SecurityFileOpen(e) => path.note(flags(&e.flag_names)).mark(when(e.created, "(created)")),
        Data::FileModification(e) => path.mark(of(&e.file)),
        Data::IoOpenat(e) => given(&e.name)
            .note(flags(&e.flag_names))
            .mark(when(e.created == Some(true), "(created)"))
            .mark(when(e.truncated == Some(true), "(truncated)")),
        Data::IoFallocate(e) => path.mark(of(&e.file)).note(e.mode_names.join("|")),
        Data::IoFtruncate(e) => path.mark(of(&e.file)),
        Data::IoSplice(e) | Data::IoTee(e) => path.mark(of(&e.file)).and_path(" <- ", name(second)),
        Data::IoRenameat(e) | Data::IoLinkat(e) => both(&e.names),
        Data::IoUnlinkat(e) => given(&e.name).mark(when(e.directory, "(directory)")),
        Data::IoMkdirat(e) => given(&e.name).note(format!("{:04o}", e.mode)),
        Data::IoSymlinkat(e) => given(&e.name).and_path(" -> ", name(e.target.as_ref())),
        Data::IoSetxattr(e) => given(&e.path).note(name(e.name.as_ref())),
        Data::IoFsync(e) => path.mark(of(&e.file)),
        Data::IoUringCmd(e) => path.note(format!("command {:#x}", e.command)),
    }
}

/// A star: whoever filled the SQPOLL ring, this thread created it.
pub(super) fn tid(r: &Row<'_>) -> String {
    match r.submitter {
        Submitter::Thread => r.tid.to_string(),
        Submitter::Sqpoll => format!("{}*", r.tid),
    }
}

pub(super) fn result(r: &Row<'_>) -> String {
    match (r.error, r.result, r.returns) {
        (Some(error), ..) => error.to_owned(),
        (None, None, _) => "?".to_owned(),
        (None, Some(written), Returns::Bytes) => bytes(u64::try_from(written).unwrap_or(0)),
        (None, Some(fd), Returns::Descriptor) => format!("fd {fd}"),
        (None, Some(_), Returns::Slot(slot)) => format!("slot {slot}"),
        (None, Some(result), Returns::Number) => result.to_string(),
    }
}

pub(super) fn executor(r: &Row<'_>) -> &'static str {
    match r.executor {
        _ if r.completion == Completion::InFlight => "open",
        Some(Executor::Submitter) => "inline",
        Some(Executor::IoWq) => "io-wq",
        Some(Executor::Sqpoll) => "sqpoll",
        Some(Executor::Kernel) => "kernel",
        None => "-",
    }
}
