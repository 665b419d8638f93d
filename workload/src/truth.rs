//! The ground truth of one request, as the tests read it.

use serde::Serialize;

/// What a program knows about a write it asked for. One JSON object a line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Truth {
    pub(crate) case: &'static str,
    pub(crate) host_pid: u32,
    pub(crate) host_tid: u32,
    /// In the thread's own pid namespace.
    pub(crate) tid: u32,
    /// Of the thread, where it submitted itself.
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<u32>,
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
    fn fates_are_lower_case() {
        assert_eq!(serde_json::to_string(&CqeFate::Overflow).unwrap_or_default(), r#""overflow""#);
    }
}
