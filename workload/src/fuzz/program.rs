//! A program of requests in a form that is written down, so that one that fails can be run again and made smaller.

use serde::{Deserialize, Serialize};

use crate::sys;

/// What one process does, to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    /// What it was made from.
    pub(crate) seed: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) rings: Vec<RingSpec>,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Namespace {
    User,
    Pid,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RingSpec {
    pub(crate) entries: u32,
    /// 0: as the kernel likes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) cq_entries: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<RingFlag>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RingFlag {
    Iopoll,
    Sqpoll,
    SubmitAll,
    CoopTaskrun,
    Sqe128,
    Cqe32,
    CqeMixed,
    SingleIssuer,
    DeferTaskrun,
    NoSqarray,
    SqRewind,
    /// To the first ring.
    AttachWq,
}

impl RingFlag {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Iopoll => sys::SETUP_IOPOLL,
            Self::Sqpoll => sys::SETUP_SQPOLL,
            Self::SubmitAll => sys::SETUP_SUBMIT_ALL,
            Self::CoopTaskrun => sys::SETUP_COOP_TASKRUN,
            Self::Sqe128 => sys::SETUP_SQE128,
            Self::Cqe32 => sys::SETUP_CQE32,
            Self::CqeMixed => sys::SETUP_CQE_MIXED,
            Self::SingleIssuer => sys::SETUP_SINGLE_ISSUER,
            Self::DeferTaskrun => sys::SETUP_DEFER_TASKRUN | sys::SETUP_SINGLE_ISSUER,
            Self::NoSqarray => sys::SETUP_NO_SQARRAY,
            Self::SqRewind => sys::SETUP_SQ_REWIND | sys::SETUP_NO_SQARRAY,
            Self::AttachWq => sys::SETUP_ATTACH_WQ,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Hands requests to the kernel, and waits for none.
    Submit { ring: usize, ops: Vec<Op> },
    /// Takes at most so many completions that are there.
    Reap { ring: usize, most: u32 },
    /// Lets the kernel move on what it held back.
    Flush { ring: usize },
    /// Waits until all has ended that ends by itself.
    Settle { ring: usize },
    /// Empties the pipe and the socket that block writers.
    Drain,
    /// Puts a byte into the pipe that reads and polls wait for.
    Feed,
    /// A child does this with the rings that it inherited, and exits.
    Fork { steps: Vec<Step> },
    /// A thread does this, and ends.
    Thread { steps: Vec<Step> },
    /// Two threads at once.
    Both { left: Vec<Step>, right: Vec<Step> },
    /// Closes the ring, whatever is in flight.
    Close { ring: usize },
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// After all its requests.
    Settle,
    Close,
    Exit,
    Kill,
    Exec,
    /// By a thread that kills it so long after its start, in the middle of whatever it does.
    KilledAfter(u32),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) what: What,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<OpFlag>,
    /// Its user_data is that of all with this number. None: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpFlag {
    /// The file by its place in the ring's table.
    Fixed,
    Drain,
    Link,
    Hardlink,
    Async,
    Skip,
}

impl OpFlag {
    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Fixed => sys::SQE_FIXED_FILE,
            Self::Drain => sys::SQE_IO_DRAIN,
            Self::Link => sys::SQE_IO_LINK,
            Self::Hardlink => sys::SQE_IO_HARDLINK,
            Self::Async => sys::SQE_ASYNC,
            Self::Skip => sys::SQE_CQE_SKIP_SUCCESS,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Write {
        file: FileKind,
        len: u32,
    },
    Writev {
        file: FileKind,
        lens: Vec<u32>,
    },
    WriteFixed {
        file: FileKind,
        len: u32,
    },
    WritevFixed {
        file: FileKind,
        lens: Vec<u32>,
    },
    Nop {
        result: Option<i32>,
    },
    /// From the pipe that `Feed` fills.
    Read,
    Poll {
        multishot: bool,
    },
    PollRemove {
        of: Whom,
    },
    Timeout {
        ms: u32,
        count: u32,
    },
    LinkTimeout {
        ms: u32,
    },
    Cancel {
        of: Whom,
        all: bool,
    },
    /// A completion in another ring that looks like one of a request there.
    Message {
        ring: usize,
        of: Whom,
        result: i32,
    },
    Fsync {
        file: FileKind,
    },
    OpenDirect,
    CloseDirect,
    Mkdir,
    Unlink,
    Rename,
}

/// Which user_data is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whom {
    Tag(u8),
    /// The last write before it.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileKind {
    Plain,
    Direct,
    Tmpfs,
    Null,
    Full,
    /// A pipe with room.
    Pipe,
    /// A pipe without.
    FullPipe,
    FullSocket,
    Eventfd,
    /// A pipe that nobody reads.
    BrokenPipe,
    ReadOnly,
    /// No file.
    Bad,
}

impl FileKind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Plain,
        Self::Direct,
        Self::Tmpfs,
        Self::Null,
        Self::Full,
        Self::Pipe,
        Self::FullPipe,
        Self::FullSocket,
        Self::Eventfd,
        Self::BrokenPipe,
        Self::ReadOnly,
        Self::Bad,
    ];

    /// Its place in the tables of files.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Where a write leaves what can be found afterwards.
    pub(crate) fn is_regular(self) -> bool {
        matches!(self, Self::Plain | Self::Direct | Self::Tmpfs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_same_after_it_was_written_down() {
        for seed in 0..200 {
            let program = super::super::make::program(seed);
            let text = serde_json::to_string(&program).unwrap_or_default();
            let again: Program = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert_eq!(serde_json::to_string(&again).unwrap_or_default(), text);
        }
    }

    #[test]
    fn files_know_their_place() {
        for (index, kind) in FileKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }
}
