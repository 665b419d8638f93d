//! The places in the kernel that are watched.

use serde::{Deserialize, Serialize};

/// One place in the kernel that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A request was accepted (6.4 and later).
    IoUringSubmitReq,
    /// A request was accepted (before 6.4).
    IoUringSubmitSqe,
    /// A request was refused in preparation.
    IoUringReqFailed,
    /// A request was handed to io-wq.
    IoUringQueueAsyncWork,
    /// A request waits for its file to be ready.
    IoUringPollArm,
    /// A CQE was posted.
    IoUringComplete,
    /// A CQE found the CQ ring full.
    IoUringCqeOverflow,
    /// A link was cancelled by the failure of another.
    IoUringFailLink,
    /// A ring was created.
    IoUringCreate,
    /// `io_write` is called.
    IoWrite,
    /// `io_write` returns.
    IoWriteReturn,
    /// An attempt to write ended: the position is known.
    KiocbDone,
    /// An asynchronous write ended.
    IoCompleteRw,
    /// A polled write ended.
    IoCompleteRwIopoll,
    /// A request is about to be completed: it names the one that `io_uring_complete` tells of next.
    IoReqCompletePost,
    /// A request is attempted (5.1 to 5.4).
    IoSubmitSqe,
    /// A CQE is posted (5.4).
    IoCqringFillEvent,
    /// A CQE is posted (5.1 to 5.3).
    IoCqringAddEvent,
    /// The system call that creates a ring returns.
    IoUringSetup,
    /// `vfs_write` is called.
    VfsWrite,
    /// `vfs_write` returns.
    VfsWriteReturn,
    /// `vfs_writev` is called.
    VfsWritev,
    /// `vfs_writev` returns.
    VfsWritevReturn,
    /// A file is about to be opened.
    SecurityFileOpen,
    /// The security modules have judged an open.
    SecurityFileOpenReturn,
    /// A file is about to be changed.
    FileModified,
    /// The same, for a request.
    KiocbModified,
    /// The same, where a file system does without these.
    FileUpdateTime,
    /// An open file ends.
    SecurityFileFree,
    /// A name is about to be removed.
    SecurityPathUnlink,
    /// A directory is about to be removed.
    SecurityPathRmdir,
    /// A directory is about to be made.
    SecurityPathMkdir,
    /// A symbolic link is about to be made.
    SecurityPathSymlink,
    /// A hard link is about to be made.
    SecurityPathLink,
    /// A file is about to be renamed.
    SecurityPathRename,
    /// A mount is about to be written to.
    MntWantWrite,
    /// An extended attribute is about to be set.
    VfsSetxattr,
    /// A process forked: the followed tree grows.
    SchedProcessFork,
    /// A process ended: the followed tree shrinks.
    SchedProcessExit,
}

impl Probe {
    /// Those whose programs run for each write.
    pub const HOT: [Self; 5] = [
        Self::IoUringSubmitReq,
        Self::IoUringSubmitSqe,
        Self::IoUringReqFailed,
        Self::IoUringQueueAsyncWork,
        Self::IoUringComplete,
    ];

    /// Those that tell which file a name led to; of an attribute the mount first.
    pub const NAMES: [Self; 8] = [
        Self::SecurityPathUnlink,
        Self::SecurityPathRmdir,
        Self::SecurityPathMkdir,
        Self::SecurityPathSymlink,
        Self::SecurityPathLink,
        Self::SecurityPathRename,
        Self::MntWantWrite,
        Self::VfsSetxattr,
    ];

    /// All of them.
    pub const ALL: [Self; 39] = [
        Self::IoUringSubmitReq,
        Self::IoUringSubmitSqe,
        Self::IoUringReqFailed,
        Self::IoUringQueueAsyncWork,
        Self::IoUringPollArm,
        Self::IoUringComplete,
        Self::IoUringCqeOverflow,
        Self::IoUringFailLink,
        Self::IoUringCreate,
        Self::IoWrite,
        Self::IoWriteReturn,
        Self::KiocbDone,
        Self::IoCompleteRw,
        Self::IoCompleteRwIopoll,
        Self::IoReqCompletePost,
        Self::IoSubmitSqe,
        Self::IoCqringFillEvent,
        Self::IoCqringAddEvent,
        Self::IoUringSetup,
        Self::VfsWrite,
        Self::VfsWriteReturn,
        Self::VfsWritev,
        Self::VfsWritevReturn,
        Self::SecurityFileOpen,
        Self::SecurityFileOpenReturn,
        Self::FileModified,
        Self::KiocbModified,
        Self::FileUpdateTime,
        Self::SecurityFileFree,
        Self::SecurityPathUnlink,
        Self::SecurityPathRmdir,
        Self::SecurityPathMkdir,
        Self::SecurityPathSymlink,
        Self::SecurityPathLink,
        Self::SecurityPathRename,
        Self::MntWantWrite,
        Self::VfsSetxattr,
        Self::SchedProcessFork,
        Self::SchedProcessExit,
    ];

    /// The name of the tracepoint or function.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUringSubmitReq => "io_uring_submit_req",
            Self::IoUringSubmitSqe => "io_uring_submit_sqe",
            Self::IoUringReqFailed => "io_uring_req_failed",
            Self::IoUringQueueAsyncWork => "io_uring_queue_async_work",
            Self::IoUringPollArm => "io_uring_poll_arm",
            Self::IoUringComplete => "io_uring_complete",
            Self::IoUringCqeOverflow => "io_uring_cqe_overflow",
            Self::IoUringFailLink => "io_uring_fail_link",
            Self::IoUringCreate => "io_uring_create",
            Self::IoWrite | Self::IoWriteReturn => "io_write",
            Self::KiocbDone => "kiocb_done",
            Self::IoCompleteRw => "io_complete_rw",
            Self::IoCompleteRwIopoll => "io_complete_rw_iopoll",
            Self::IoReqCompletePost => "io_req_complete_post",
            Self::IoSubmitSqe => "__io_submit_sqe",
            Self::IoCqringFillEvent => "io_cqring_fill_event",
            Self::IoCqringAddEvent => "io_cqring_add_event",
            Self::IoUringSetup => "io_uring_setup",
            Self::VfsWrite | Self::VfsWriteReturn => "vfs_write",
            Self::VfsWritev | Self::VfsWritevReturn => "vfs_writev",
            Self::SecurityFileOpen | Self::SecurityFileOpenReturn => "security_file_open",
            Self::FileModified => "file_modified",
            Self::KiocbModified => "kiocb_modified",
            Self::FileUpdateTime => "file_update_time",
            Self::SecurityFileFree => "security_file_free",
            Self::SecurityPathUnlink => "security_path_unlink",
            Self::SecurityPathRmdir => "security_path_rmdir",
            Self::SecurityPathMkdir => "security_path_mkdir",
            Self::SecurityPathSymlink => "security_path_symlink",
            Self::SecurityPathLink => "security_path_link",
            Self::SecurityPathRename => "security_path_rename",
            Self::MntWantWrite => "mnt_want_write",
            Self::VfsSetxattr => "vfs_setxattr",
            Self::SchedProcessFork => "sched_process_fork",
            Self::SchedProcessExit => "sched_process_exit",
        }
    }

    /// Where in it: its name, and whether its return is meant.
    #[must_use]
    pub fn place(self) -> String {
        match self {
            Self::IoWriteReturn
            | Self::IoUringSetup
            | Self::VfsWriteReturn
            | Self::VfsWritevReturn
            | Self::SecurityFileOpenReturn => format!("{} (return)", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// Of a return that needs it by kprobe: where the function is called, which alone has its arguments.
    #[must_use]
    pub fn entry(self) -> Option<Self> {
        match self {
            Self::IoWriteReturn => Some(Self::IoWrite),
            Self::VfsWriteReturn => Some(Self::VfsWrite),
            Self::VfsWritevReturn => Some(Self::VfsWritev),
            Self::SecurityFileOpenReturn => Some(Self::SecurityFileOpen),
            _ => None,
        }
    }

    /// Whether it watches a function, and not a tracepoint.
    #[must_use]
    pub fn is_function(self) -> bool {
        matches!(
            self,
            Self::IoWrite
                | Self::IoWriteReturn
                | Self::KiocbDone
                | Self::IoCompleteRw
                | Self::IoCompleteRwIopoll
                | Self::IoReqCompletePost
                | Self::IoSubmitSqe
                | Self::IoCqringFillEvent
                | Self::IoCqringAddEvent
                | Self::IoUringSetup
        ) || self.is_of_files()
            || self.is_of_names()
    }

    /// Whether it watches files outside of io_uring.
    #[must_use]
    pub fn is_of_files(self) -> bool {
        matches!(
            self,
            Self::VfsWrite
                | Self::VfsWriteReturn
                | Self::VfsWritev
                | Self::VfsWritevReturn
                | Self::SecurityFileOpen
                | Self::SecurityFileOpenReturn
                | Self::FileModified
                | Self::KiocbModified
                | Self::FileUpdateTime
                | Self::SecurityFileFree
        )
    }

    /// Whether it tells which file a name led to.
    #[must_use]
    pub fn is_of_names(self) -> bool {
        Self::NAMES.contains(&self)
    }

    /// What is lost without this probe; `None`: nothing works without it.
    #[must_use]
    pub fn without(self) -> Option<&'static str> {
        match self {
            Self::IoUringSubmitReq | Self::IoUringSubmitSqe | Self::IoUringComplete | Self::IoSubmitSqe => None,
            Self::IoUringReqFailed => Some("writes refused in preparation are told without fd, offset and length"),
            Self::IoUringQueueAsyncWork => {
                Some("writes done by io-wq but completed elsewhere name the submitter as executor")
            }
            Self::IoUringPollArm => Some("--requests does not tell that a request waited for its file"),
            Self::IoUringCqeOverflow => Some("writes whose CQE overflowed are told late, with unknown result"),
            Self::IoUringFailLink => Some("links cancelled without a CQE are told as successful"),
            Self::IoUringCreate | Self::IoUringSetup => Some("creators of SQPOLL rings are taken from the poll thread"),
            Self::IoWrite | Self::IoWriteReturn => {
                Some("writes that succeed without a CQE are told late and without latency")
            }
            Self::IoCompleteRwIopoll => Some("polled writes are told late, with unknown result"),
            Self::KiocbDone | Self::IoCompleteRw => {
                Some("the position of some writes at the file's current position or its end is not known")
            }
            Self::IoReqCompletePost => Some(
                "writes refused in preparation are not told, or late with unknown result, and equal user_data may be confused",
            ),
            Self::IoCqringFillEvent | Self::IoCqringAddEvent => {
                Some("writes that fail before they reach their file are told late, with unknown result")
            }
            Self::VfsWrite | Self::VfsWriteReturn => Some("system calls that write are not told"),
            Self::VfsWritev | Self::VfsWritevReturn => Some("system calls that write vectors are not told"),
            Self::SecurityFileOpen | Self::SecurityFileOpenReturn => Some("opens are not told"),
            Self::FileModified | Self::KiocbModified | Self::FileUpdateTime => {
                Some("changes of files on some file systems are not told")
            }
            Self::SecurityFileFree => {
                Some("where a closed file's memory serves another one, the change of that one may not be told")
            }
            Self::SecurityPathUnlink
            | Self::SecurityPathRmdir
            | Self::SecurityPathMkdir
            | Self::SecurityPathSymlink
            | Self::SecurityPathLink
            | Self::SecurityPathRename
            | Self::MntWantWrite
            | Self::VfsSetxattr => Some("what a name led to is looked up after the fact, and not certain"),
            Self::SchedProcessFork => Some("children of the followed processes are not followed"),
            Self::SchedProcessExit => Some("a reused process id of the followed tree stays followed"),
        }
    }
}

/// Which form of a program is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Twin {
    /// A tracepoint, read through pointers whose types the verifier knows.
    Typed,
    /// The same, behind the first: it does what that was skipped for.
    Again,
    /// A tracepoint, read by a helper call for each field.
    Raw,
    /// The same, for the arguments of 5.18 and 5.19.
    #[serde(rename = "raw_5_18")]
    Raw518,
    /// The same, for the arguments of 5.5 to 5.13.
    #[serde(rename = "raw_5_5")]
    Raw55,
    /// A function, by a trampoline.
    Fentry,
    /// A function, by a breakpoint.
    Kprobe,
    /// The same, for the functions of 5.1 to 5.4.
    #[serde(rename = "kprobe_5_4")]
    Kprobe54,
}

impl Twin {
    /// As `check` shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Typed => "typed tracepoint",
            Self::Again => "second typed tracepoint",
            Self::Raw | Self::Raw518 | Self::Raw55 => "raw tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe | Self::Kprobe54 => "kprobe",
        }
    }
}

/// A probe and the form it is loaded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The place.
    pub probe: Probe,
    /// The form.
    pub twin: Twin,
}
