//! What the columns show of each event.

use super::shown::Shown;
use crate::event::{Completion, Data, Executor, Returns, Submitter};
use crate::output::text::bytes;

/// What the columns show of an event.
pub(super) struct Row<'a> {
    /// The event's name.
    pub(super) event: &'static str,
    pub(super) of: crate::event::Row<'a>,
    pub(super) shown: Shown,
}

/// `None`: it is a gap in the stream.
pub(super) fn row(data: &Data) -> Option<Row<'_>> {
    let mut of = data.body()?.row();
    let shown = Shown::new(std::mem::take(&mut of.shown));
    Some(Row { event: data.kind()?.name(), of, shown })
}

/// A star: whoever filled the SQPOLL ring, this thread created it.
pub(super) fn tid(r: &Row<'_>) -> String {
    match r.of.submitter {
        Submitter::Thread => r.of.tid.to_string(),
        Submitter::Sqpoll => format!("{}*", r.of.tid),
    }
}

pub(super) fn result(r: &Row<'_>) -> String {
    match (r.of.error, r.of.result, r.of.returns) {
        (Some(error), ..) => error.to_owned(),
        (None, None, _) => "?".to_owned(),
        (None, Some(written), Returns::Bytes) => bytes(u64::try_from(written).unwrap_or(0)),
        (None, Some(fd), Returns::Descriptor) => format!("fd {fd}"),
        (None, Some(_), Returns::Slot(slot)) => format!("slot {slot}"),
        (None, Some(result), Returns::Number) => result.to_string(),
    }
}

pub(super) fn executor(r: &Row<'_>) -> &'static str {
    match r.of.executor {
        _ if r.of.completion == Completion::InFlight => "open",
        Some(Executor::Submitter) => "inline",
        Some(Executor::IoWq) => "io-wq",
        Some(Executor::Sqpoll) => "sqpoll",
        Some(Executor::Kernel) => "kernel",
        None => "-",
    }
}
