//! Building a request together with its truth.

use crate::cx::{Buf, Cx};
use crate::sys::{self, Sqe};
use crate::target::{Kind, Target};
use crate::truth::{CqeFate, Truth};

/// Results that a completion may carry.
#[derive(Clone, Debug)]
pub(crate) enum Accept {
    One(i32),
    /// The kernel decides; what it said becomes the truth.
    Of(Vec<i32>),
    Between(i32, i32),
}

impl Accept {
    pub(crate) fn allows(&self, result: i32) -> bool {
        match self {
            Self::One(one) => *one == result,
            Self::Of(some) => some.contains(&result),
            Self::Between(low, high) => (*low..=*high).contains(&result),
        }
    }
}

/// An SQE with what should come of it. Without a truth it is a helper (a NOP, an open).
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) sqe: Sqe,
    pub(crate) truth: Option<Truth>,
    pub(crate) accept: Accept,
    pub(crate) cqe: CqeFate,
    kind: Kind,
    /// Says who may carry the request out, where the kind of file does not tell.
    executor: Option<&'static [&'static str]>,
}

/// Executors of requests that never got that far, or are beyond knowing.
pub(crate) const ANYONE: &[&str] = &[];
pub(crate) const SUBMITTER: &[&str] = &["submitter"];
pub(crate) const WORKER: &[&str] = &["io-wq"];

impl Request {
    fn new(cx: &Cx, opcode: u8, target: &Target, off: i64, first: u64, sum: u32, iov_count: Option<u32>) -> Self {
        let (path, path_bytes) = target.path_text();
        let user_data = cx.next_user_data();
        let sqe = Sqe {
            opcode,
            flags: if target.fixed { sys::SQE_FIXED_FILE } else { 0 },
            fd: target.fd,
            off: off as u64,
            addr: first,
            len: sum,
            user_data,
            ..Sqe::default()
        };
        let truth = Truth {
            case: cx.case,
            host_pid: 0,
            host_tid: 0,
            tid: 0,
            identity: None,
            times: None,
            native_workers: false,
            submitter: "thread",
            executor: Vec::new(),
            user_data,
            opcode: match opcode {
                sys::OP_WRITEV => "WRITEV",
                sys::OP_WRITE_FIXED => "WRITE_FIXED",
                sys::OP_WRITEV_FIXED => "WRITEV_FIXED",
                _ => "WRITE",
            },
            fd: target.fd,
            fixed_file: target.fixed,
            path,
            path_bytes,
            deleted: target.deleted,
            device: target.device,
            inode: target.inode,
            pos: match target.kind {
                Kind::Stream | Kind::Anon => None,
                _ => (off >= 0).then_some(off),
            },
            buf: first,
            len: sum,
            iov_count,
            rw_flags: 0,
            result: None,
            cqe: CqeFate::Posted,
        };
        Self {
            sqe,
            truth: Some(truth),
            accept: Accept::One(sum as i32),
            cqe: CqeFate::Posted,
            kind: target.kind,
            executor: None,
        }
    }

    fn helper(cx: &Cx, opcode: u8, result: i32) -> Self {
        // The top bit keeps the helpers apart from the writes.
        let user_data = cx.next_user_data() | 1 << 63;
        Self {
            sqe: Sqe { opcode, fd: -1, user_data, ..Sqe::default() },
            truth: None,
            accept: Accept::One(result),
            cqe: CqeFate::Posted,
            kind: Kind::Null,
            executor: None,
        }
    }

    fn edit(mut self, change: impl FnOnce(&mut Truth)) -> Self {
        if let Some(truth) = &mut self.truth {
            change(truth);
        }
        self
    }

    /// The position that the write lands at, where that is not the offset asked for.
    pub(crate) fn pos(self, pos: i64) -> Self {
        self.edit(|t| t.pos = Some(pos))
    }

    pub(crate) fn result(mut self, result: i32) -> Self {
        self.accept = Accept::One(result);
        self
    }

    pub(crate) fn fails(self, errno: i32) -> Self {
        self.result(-errno)
    }

    pub(crate) fn accept(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    /// Adds `IOSQE_` flags.
    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.sqe.flags |= flags;
        self
    }

    pub(crate) fn linked(self) -> Self {
        self.flags(sys::SQE_IO_LINK)
    }

    pub(crate) fn rw_flags(mut self, flags: i32) -> Self {
        self.sqe.rw_flags = flags as u32;
        self.edit(|t| t.rw_flags = flags as u32)
    }

    pub(crate) fn by(mut self, executor: &'static [&'static str]) -> Self {
        self.executor = Some(executor);
        self
    }

    pub(crate) fn fate(mut self, cqe: CqeFate) -> Self {
        self.cqe = cqe;
        self
    }

    pub(crate) fn overflows(self) -> Self {
        self.fate(CqeFate::Overflow)
    }

    /// `IOSQE_CQE_SKIP_SUCCESS` on a write that succeeds.
    pub(crate) fn skips(self) -> Self {
        self.flags(sys::SQE_CQE_SKIP_SUCCESS).fate(CqeFate::Skipped)
    }

    /// A write that is cancelled before it is issued.
    pub(crate) fn cancelled(self) -> Self {
        self.fails(libc::ECANCELED).by(ANYONE)
    }

    /// Changes the raw entry in a way that leaves the truth alone.
    pub(crate) fn raw(mut self, change: impl FnOnce(&mut Sqe)) -> Self {
        change(&mut self.sqe);
        self
    }

    /// What the tracer can know of a segment array that is no good.
    pub(crate) fn unreadable(self, buf: u64, count: u32) -> Self {
        self.edit(|t| {
            t.buf = buf;
            t.len = 0;
            t.iov_count = Some(count);
        })
    }

    pub(crate) fn user_data(mut self, user_data: u64) -> Self {
        self.sqe.user_data = user_data;
        self.edit(|t| t.user_data = user_data)
    }

    /// Who may have carried the request out, from how the kernel treats such files.
    pub(crate) fn executors(&self, sqpoll: bool) -> Vec<&'static str> {
        if let Some(given) = self.executor {
            let by_poller = |who: &&'static str| {
                if sqpoll && *who == "submitter" { "sqpoll" } else { *who }
            };
            return given.iter().map(by_poller).collect();
        }
        let own = if sqpoll { "sqpoll" } else { "submitter" };
        if self.sqe.flags & sys::SQE_ASYNC != 0 {
            return WORKER.to_vec();
        }
        match self.kind {
            Kind::Null | Kind::Stream => vec![own],
            Kind::Buffered | Kind::Anon => vec![own, "io-wq"],
            // Completed from task work, or by whoever ends the last extent.
            Kind::Direct => vec![own, "io-wq", "kernel"],
        }
    }
}

/// The four opcodes and the helpers, at the hand of a case.
impl Cx {
    pub(crate) fn write(&self, target: &Target, off: i64, buf: Buf) -> Request {
        Request::new(self, sys::OP_WRITE, target, off, buf.addr, buf.len, None)
    }

    pub(crate) fn write_fixed(&self, target: &Target, off: i64, buf: Buf, index: u16) -> Request {
        Request::new(self, sys::OP_WRITE_FIXED, target, off, buf.addr, buf.len, None).raw(|sqe| sqe.buf_index = index)
    }

    pub(crate) fn writev(&self, target: &Target, off: i64, segments: &[Buf]) -> Request {
        self.vectored(sys::OP_WRITEV, target, off, segments)
    }

    pub(crate) fn writev_fixed(&self, target: &Target, off: i64, segments: &[Buf], index: u16) -> Request {
        self.vectored(sys::OP_WRITEV_FIXED, target, off, segments).raw(|sqe| sqe.buf_index = index)
    }

    fn vectored(&self, opcode: u8, target: &Target, off: i64, segments: &[Buf]) -> Request {
        let sum = segments.iter().map(|s| s.len).sum();
        let first = segments.first().map_or(0, |s| s.addr);
        let array: Vec<_> = segments.iter().map(|s| s.iovec()).collect();
        let array = self.keep(&array);
        let count = segments.len() as u32;
        Request::new(self, opcode, target, off, first, sum, Some(count)).raw(|sqe| {
            sqe.addr = array.addr;
            sqe.len = count;
        })
    }

    pub(crate) fn nop(&self) -> Request {
        Request::helper(self, sys::OP_NOP, 0)
    }

    /// A timeout for the request before it, with the result that is expected of the timeout.
    pub(crate) fn link_timeout(&self, milliseconds: i64, result: i32) -> Request {
        let time = sys::Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
        let time = self.keep(&[time]);
        Request::helper(self, sys::OP_LINK_TIMEOUT, result).raw(|sqe| {
            sqe.addr = time.addr;
            sqe.len = 1;
        })
    }

    pub(crate) fn cancel(&self, user_data: u64, result: i32) -> Request {
        Request::helper(self, sys::OP_ASYNC_CANCEL, result).raw(|sqe| sqe.addr = user_data)
    }

    /// Opens a path into a slot of the ring's table of files.
    pub(crate) fn open_direct(&self, path: &std::ffi::CStr, flags: i32, slot: u32) -> Request {
        let path = self.keep(path.to_bytes_with_nul());
        Request::helper(self, sys::OP_OPENAT, 0).raw(|sqe| {
            sqe.fd = libc::AT_FDCWD;
            sqe.addr = path.addr;
            sqe.len = 0o644;
            sqe.rw_flags = flags as u32;
            sqe.file_index = slot + 1;
        })
    }
}
