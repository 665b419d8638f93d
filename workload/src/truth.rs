//! The ground truth of one request, as the tests read it.

use serde::Serialize;

use crate::clock::Moment;
use crate::identity::{Identity, Kind};

/// What a program knows about a write it asked for. One JSON object a line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Truth {
    pub(crate) case: &'static str,
    pub(crate) host_pid: u32,
    pub(crate) host_tid: u32,
    /// In the thread's own pid namespace.
    pub(crate) tid: u32,
    /// The number of the thread's identity in this case.
    pub(crate) identity: Option<u64>,
    pub(crate) times: Option<Times>,
    /// Workers and poll threads are threads of the process (5.12 and later).
    pub(crate) native_workers: bool,
    pub(crate) submitter: &'static str,
    /// Any of these may have carried the request out; empty: not to be checked.
    pub(crate) executor: Vec<&'static str>,
    pub(crate) user_data: u64,
    pub(crate) opcode: &'static str,
    pub(crate) fd: i32,
    pub(crate) fixed_file: bool,
    pub(crate) path: Option<String>,
    /// The exact bytes in base64, where `path` could not keep them.
    pub(crate) path_bytes: Option<String>,
    pub(crate) deleted: bool,
    pub(crate) device: Option<u32>,
    pub(crate) inode: Option<u64>,
    pub(crate) pos: Option<i64>,
    pub(crate) buf: u64,
    pub(crate) len: u32,
    pub(crate) iov_count: Option<u32>,
    pub(crate) rw_flags: u32,
    pub(crate) result: Option<i32>,
    pub(crate) cqe: CqeFate,
}

/// What a program knows, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Known<T> {
    Is(T),
    Unknown { unknown: String },
}

impl<T> Known<T> {
    pub(crate) fn unknown(why: &str) -> Self {
        Self::Unknown { unknown: why.to_owned() }
    }
}

/// When a request was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Times {
    /// Right before it was handed over.
    pub(crate) before: Moment,
    /// Right after the system call that handed it over.
    pub(crate) submitted: Known<Moment>,
    /// Right after its completion was taken.
    pub(crate) reaped: Known<Moment>,
}

/// A line that tells who a thread is.
#[derive(Debug, Serialize)]
pub(crate) struct Introduced<'a> {
    pub(crate) case: &'a str,
    pub(crate) identity: u64,
    pub(crate) process: &'a Identity,
}

/// A line that tells whose thread one of a process is.
#[derive(Debug, Serialize)]
pub(crate) struct Thread<'a> {
    pub(crate) case: &'a str,
    pub(crate) host_pid: u32,
    pub(crate) host_tid: u32,
    pub(crate) thread: Kind,
}

/// What became of the request's completion entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CqeFate {
    Posted,
    /// The queue was full: the kernel kept it aside, or lost it with the ring.
    Overflow,
    /// Left out because the request asked for that and succeeded.
    Skipped,
    /// Never made.
    None,
}

/// The lines that frame the requests of a case.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum CaseEnd<'a> {
    Done { case: &'a str, done: bool, requests: u64 },
    Skipped { case: &'a str, skipped: &'a str },
    Error { case: &'a str, error: &'a str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_ends_are_told_apart_by_their_fields() {
        let line = |end: &CaseEnd<'_>| serde_json::to_string(end).unwrap_or_default();
        assert_eq!(
            line(&CaseEnd::Done { case: "x", done: true, requests: 3 }),
            r#"{"case":"x","done":true,"requests":3}"#
        );
        assert_eq!(line(&CaseEnd::Skipped { case: "x", skipped: "why" }), r#"{"case":"x","skipped":"why"}"#);
        assert_eq!(line(&CaseEnd::Error { case: "x", error: "e" }), r#"{"case":"x","error":"e"}"#);
    }

    #[test]
    fn what_is_unknown_has_a_reason() {
        let line = |known: &Known<u32>| serde_json::to_string(known).unwrap_or_default();
        assert_eq!(line(&Known::Is(7)), "7");
        assert_eq!(line(&Known::unknown("why")), r#"{"unknown":"why"}"#);
    }

    #[test]
    fn fates_are_lower_case() {
        assert_eq!(serde_json::to_string(&CqeFate::Overflow).unwrap_or_default(), r#""overflow""#);
    }
}
