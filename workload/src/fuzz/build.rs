//! From what a program asks for to an entry of the submission queue, with what is known of it.

use std::sync::atomic::Ordering;

use super::files::REGION;
use super::log::{Message, REQUESTS, Region};
use super::play::{Live, Player, TAGGED};
use super::program::{FileKind, Op, OpFlag, What, Whom};
use crate::cx::{Buf, Cx};
use crate::request::Request;
use crate::sys::{self, Sqe};
use crate::target::Target;
use crate::truth::{CqeFate, Truth};

/// A request before it is handed over.
pub(crate) struct Built {
    pub(crate) request: Request,
    pub(crate) seq: u64,
    pub(crate) skip: bool,
    /// It ends by itself.
    pub(crate) certain: bool,
    pub(crate) accept: Vec<(i32, i32)>,
    pub(crate) region: Option<Region>,
    pub(crate) message: Option<Message>,
}

/// Failures that any write can meet, wherever it goes, and any NOP.
const FAILURES: [i32; 8] =
    [libc::ECANCELED, libc::EINVAL, libc::EOPNOTSUPP, libc::EINTR, libc::EFAULT, libc::EAGAIN, libc::ENOMEM, libc::EIO];
const ANYTHING: (i32, i32) = (-4095, i32::MAX);
/// The place in the rings' tables of files that OPENAT fills.
const SLOT: u32 = FileKind::ALL.len() as u32;

/// Ends whatever waits.
pub(crate) fn cancel_everything() -> Op {
    Op { what: What::Cancel { of: Whom::Tag(u8::MAX), all: true }, flags: vec![], tag: None }
}

impl Player<'_> {
    /// `None`: the kernel has no such operation.
    pub(crate) fn build(&self, live: &Live, op: &Op) -> Option<Built> {
        let base = self.cx.next_user_data();
        let (seq, high) = (base & u64::from(u32::MAX), base & !u64::from(u32::MAX));
        if seq >= REQUESTS as u64 {
            return None;
        }
        let tagged = |tag: u8| high | u64::from(TAGGED) | u64::from(tag);
        let whom = |of: Whom| match of {
            Whom::Tag(tag) => tagged(tag),
            Whom::Last => self.last.load(Ordering::Relaxed),
        };
        let mut built = match &op.what {
            What::Write { file, len } => self.write(live, *file, &[*len], seq, sys::OP_WRITE),
            What::Writev { file, lens } => self.write(live, *file, lens, seq, sys::OP_WRITEV),
            What::WriteFixed { file, len } => self.write(live, *file, &[*len], seq, sys::OP_WRITE_FIXED),
            What::WritevFixed { file, lens } => self.write(live, *file, lens, seq, sys::OP_WRITEV_FIXED),
            other => self.other(live, other, &whom, seq),
        };
        built.request.sqe.flags = op.flags.iter().fold(0, |bits, flag| bits | flag.bits());
        self.choose_file(&mut built, op);
        // What a message does must be known from its own completion.
        if built.message.is_some() {
            built.request.sqe.flags &= !sys::SQE_CQE_SKIP_SUCCESS;
        }
        built.skip = built.request.sqe.flags & sys::SQE_CQE_SKIP_SUCCESS != 0;
        let user_data = match op.tag {
            Some(tag) if built.message.is_none() => tagged(tag),
            _ => high | seq,
        };
        built.request = built.request.user_data(user_data);
        let sqe = built.request.sqe;
        if matches!(sqe.opcode, sys::OP_WRITE | sys::OP_WRITEV) {
            self.last.store(user_data, Ordering::Relaxed);
            let len = built.request.truth.as_ref().map_or(0, |truth| truth.len);
            self.last_len.store(len.into(), Ordering::Relaxed);
        }
        live.ring.supports(sqe.opcode).then_some(built)
    }

    fn choose_file(&self, built: &mut Built, op: &Op) {
        let kind = match &op.what {
            What::Write { file, .. }
            | What::Writev { file, .. }
            | What::WriteFixed { file, .. }
            | What::WritevFixed { file, .. }
            | What::Fsync { file } => *file,
            _ => {
                built.request.sqe.flags &= !sys::SQE_FIXED_FILE;
                return;
            }
        };
        if op.flags.contains(&OpFlag::Fixed) {
            let index = kind.index() as i32;
            built.request.sqe.fd = index;
            if let Some(truth) = &mut built.request.truth {
                (truth.fd, truth.fixed_file) = (index, true);
            }
        }
    }

    fn write(&self, live: &Live, file: FileKind, lens: &[u32], seq: u64, opcode: u8) -> Built {
        let target = self.files.target(file);
        let whole = |len: u32| if file == FileKind::Direct { len.next_multiple_of(512) } else { len };
        let lens: Vec<_> = lens.iter().map(|&len| whole(len)).collect();
        let fixed = matches!(opcode, sys::OP_WRITE_FIXED | sys::OP_WRITEV_FIXED);
        let mut used = 0;
        let mut buffer = |len: u32| {
            if !fixed {
                return self.memory(file, len);
            }
            let at = used;
            used += len.next_multiple_of(512);
            live.buffer.part(at, len)
        };
        let buffers: Vec<_> = lens.iter().map(|&len| buffer(len)).collect();
        let off = match file {
            FileKind::Pipe | FileKind::FullPipe | FileKind::FullSocket | FileKind::Eventfd => -1,
            kind if kind.is_regular() => (seq * REGION) as i64,
            _ => seq as i64,
        };
        let one = buffers.first().copied().unwrap_or(Buf { addr: live.buffer.addr, len: 0 });
        let request = match opcode {
            sys::OP_WRITEV => self.cx.writev(target, off, &buffers),
            sys::OP_WRITEV_FIXED => self.cx.writev_fixed(target, off, &buffers, 0),
            sys::OP_WRITE_FIXED => self.cx.write_fixed(target, off, one, 0),
            _ => self.cx.write(target, off, one),
        };
        let len: u32 = lens.iter().sum();
        let region = (file.is_regular() && len > 0).then(|| Region { file, pos: seq * REGION, len });
        let mut accept: Vec<_> = FAILURES.iter().map(|&errno| (-errno, -errno)).collect();
        let all = len as i32;
        accept.push(match file {
            FileKind::Pipe | FileKind::FullPipe | FileKind::FullSocket | FileKind::Eventfd => (0, all),
            FileKind::Full | FileKind::BrokenPipe if all > 0 => (-libc::EPIPE, -libc::ENOSPC),
            FileKind::ReadOnly | FileKind::Bad => (-libc::EBADF, -libc::EBADF),
            _ => (all, all),
        });
        Built { request, seq, skip: false, certain: true, accept, region, message: None }
    }

    /// Memory with data that the file takes.
    fn memory(&self, file: FileKind, len: u32) -> Buf {
        if file != FileKind::Eventfd {
            let buf = if file == FileKind::Direct { self.cx.pages(len) } else { self.cx.memory(len, 16) };
            // SAFETY: the memory was just handed out.
            unsafe { std::ptr::write_bytes(buf.addr as *mut u8, b'w', len as usize) };
            return buf;
        }
        let buf = self.cx.memory(len, 16);
        if len > 0 {
            // SAFETY: the memory was just handed out, and is not empty.
            unsafe { (buf.addr as *mut u8).write(1) };
        }
        buf
    }

    fn other(&self, live: &Live, what: &What, whom: &dyn Fn(Whom) -> u64, seq: u64) -> Built {
        let mut sqe = Sqe { fd: -1, ..Sqe::default() };
        let (mut accept, mut certain, mut message) = (vec![ANYTHING], true, None);
        let mut target = None;
        let name = |suffix: &str| self.cx.keep(format!("{}/{suffix}\0", self.cx.dir.display()).as_bytes()).addr;
        let time = |ms: u32| self.cx.keep(&[sys::Timespec { tv_sec: 0, tv_nsec: i64::from(ms) * 1_000_000 }]).addr;
        let opcode = match what {
            What::Nop { result } => {
                sqe.opcode = sys::OP_NOP;
                accept = FAILURES.iter().map(|&errno| (-errno, -errno)).chain([(0, 0)]).collect();
                if let Some(result) = *result {
                    (sqe.len, sqe.rw_flags) = (result as u32, sys::NOP_INJECT_RESULT);
                    accept.push((result, result));
                    if live.mixed {
                        sqe.rw_flags |= sys::NOP_CQE32;
                    }
                }
                "NOP"
            }
            What::Read => {
                let buf = self.cx.memory(1, 16);
                sqe = Sqe { opcode: sys::OP_READ, off: u64::MAX, addr: buf.addr, len: 1, ..sqe };
                sqe.fd = std::os::fd::AsRawFd::as_raw_fd(&self.files.source);
                target = Target::pathless(&self.files.source).ok();
                "READ"
            }
            What::Poll { multishot } => {
                sqe.opcode = sys::OP_POLL_ADD;
                sqe.fd = std::os::fd::AsRawFd::as_raw_fd(&self.files.source);
                sqe.rw_flags = libc::POLLIN as u32;
                sqe.len = if *multishot { sys::POLL_ADD_MULTI } else { 0 };
                certain = !multishot;
                target = Target::pathless(&self.files.source).ok();
                "POLL_ADD"
            }
            What::PollRemove { of } => {
                (sqe.opcode, sqe.addr) = (sys::OP_POLL_REMOVE, whom(*of));
                "POLL_REMOVE"
            }
            What::Timeout { ms, count } => {
                sqe = Sqe { opcode: sys::OP_TIMEOUT, addr: time(*ms), len: 1, off: (*count).into(), ..sqe };
                "TIMEOUT"
            }
            What::LinkTimeout { ms } => {
                sqe = Sqe { opcode: sys::OP_LINK_TIMEOUT, addr: time(*ms), len: 1, ..sqe };
                "LINK_TIMEOUT"
            }
            What::Cancel { of: Whom::Tag(u8::MAX), .. } => {
                sqe.opcode = sys::OP_ASYNC_CANCEL;
                sqe.rw_flags = sys::CANCEL_ALL | sys::CANCEL_ANY;
                "ASYNC_CANCEL"
            }
            What::Cancel { of, all } => {
                sqe.opcode = sys::OP_ASYNC_CANCEL;
                (sqe.addr, sqe.rw_flags) = (whom(*of), if *all { sys::CANCEL_ALL } else { 0 });
                "ASYNC_CANCEL"
            }
            What::Message { ring, of, result } => {
                let written = self.last_len.load(Ordering::Relaxed) as i32;
                let result = if *result == 0 { written } else { *result };
                let user_data = whom(*of);
                message = Some(Message { ring: *ring, user_data, result });
                sqe = Sqe { opcode: sys::OP_MSG_RING, off: user_data, len: result as u32, ..sqe };
                sqe.fd = self.descriptor(*ring);
                "MSG_RING"
            }
            What::Fsync { file } => {
                let file = self.files.target(*file);
                (sqe.opcode, sqe.fd) = (sys::OP_FSYNC, file.fd);
                target = Some(file.clone());
                "FSYNC"
            }
            What::OpenDirect => {
                sqe = Sqe { opcode: sys::OP_OPENAT, fd: libc::AT_FDCWD, addr: name("read-only"), ..sqe };
                sqe.file_index = SLOT + 1;
                "OPENAT"
            }
            What::CloseDirect => {
                sqe = Sqe { opcode: sys::OP_CLOSE, fd: 0, file_index: SLOT + 1, ..sqe };
                "CLOSE"
            }
            What::Mkdir => {
                sqe = Sqe { opcode: sys::OP_MKDIRAT, fd: libc::AT_FDCWD, addr: name("made"), len: 0o755, ..sqe };
                "MKDIRAT"
            }
            What::Unlink => {
                sqe = Sqe { opcode: sys::OP_UNLINKAT, fd: libc::AT_FDCWD, addr: name("made"), ..sqe };
                sqe.rw_flags = libc::AT_REMOVEDIR as u32;
                "UNLINKAT"
            }
            What::Rename => {
                sqe = Sqe { opcode: sys::OP_RENAMEAT, fd: libc::AT_FDCWD, addr: name("made"), ..sqe };
                (sqe.len, sqe.off) = (libc::AT_FDCWD as u32, name("renamed"));
                "RENAMEAT"
            }
            What::Write { .. } | What::Writev { .. } | What::WriteFixed { .. } | What::WritevFixed { .. } => "",
        };
        let mut request = self.cx.nop();
        request.truth = Some(no_write(self.cx, &sqe, opcode, target.as_ref()));
        request.sqe = sqe;
        Built { request, seq, skip: false, certain, accept, region: None, message }
    }
}

/// A request that is no write, in the words of those that are.
fn no_write(cx: &Cx, sqe: &Sqe, opcode: &'static str, target: Option<&Target>) -> Truth {
    let (path, path_bytes) = target.map_or((None, None), Target::path_text);
    Truth {
        case: cx.case,
        host_pid: 0,
        host_tid: 0,
        tid: 0,
        identity: None,
        times: None,
        native_workers: false,
        submitter: "thread",
        executor: vec![],
        user_data: 0,
        opcode,
        fd: sqe.fd,
        fixed_file: false,
        path,
        path_bytes,
        deleted: false,
        device: target.and_then(|t| t.device),
        inode: target.and_then(|t| t.inode),
        pos: None,
        buf: sqe.addr,
        len: sqe.len,
        iov_count: None,
        rw_flags: 0,
        result: None,
        cqe: CqeFate::Posted,
    }
}
