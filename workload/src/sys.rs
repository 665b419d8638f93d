//! The part of `linux/io_uring.h` that the workloads need, and its three system calls.
//!
//! Written out here instead of taken from a crate because the corpus also has to build requests that
//! a well-behaved library refuses to build (reserved bits, bad addresses) and rings of every layout.

use std::io;

pub(crate) const OP_NOP: u8 = 0;
pub(crate) const OP_WRITEV: u8 = 2;
pub(crate) const OP_FSYNC: u8 = 3;
pub(crate) const OP_WRITE_FIXED: u8 = 5;
pub(crate) const OP_POLL_ADD: u8 = 6;
pub(crate) const OP_POLL_REMOVE: u8 = 7;
pub(crate) const OP_TIMEOUT: u8 = 11;
pub(crate) const OP_ASYNC_CANCEL: u8 = 14;
pub(crate) const OP_LINK_TIMEOUT: u8 = 15;
pub(crate) const OP_FALLOCATE: u8 = 17;
pub(crate) const OP_OPENAT: u8 = 18;
pub(crate) const OP_CLOSE: u8 = 19;
pub(crate) const OP_STATX: u8 = 21;
pub(crate) const OP_READ: u8 = 22;
pub(crate) const OP_WRITE: u8 = 23;
pub(crate) const OP_OPENAT2: u8 = 28;
pub(crate) const OP_SPLICE: u8 = 30;
pub(crate) const OP_TEE: u8 = 33;
pub(crate) const OP_RENAMEAT: u8 = 35;
pub(crate) const OP_UNLINKAT: u8 = 36;
pub(crate) const OP_MKDIRAT: u8 = 37;
pub(crate) const OP_SYMLINKAT: u8 = 38;
pub(crate) const OP_LINKAT: u8 = 39;
pub(crate) const OP_MSG_RING: u8 = 40;
pub(crate) const OP_FSETXATTR: u8 = 41;
pub(crate) const OP_SETXATTR: u8 = 42;
pub(crate) const OP_URING_CMD: u8 = 46;
pub(crate) const OP_FTRUNCATE: u8 = 55;
pub(crate) const OP_WRITEV_FIXED: u8 = 61;

pub(crate) const SQE_FIXED_FILE: u8 = 1 << 0;
pub(crate) const SQE_IO_DRAIN: u8 = 1 << 1;
pub(crate) const SQE_IO_LINK: u8 = 1 << 2;
pub(crate) const SQE_IO_HARDLINK: u8 = 1 << 3;
pub(crate) const SQE_ASYNC: u8 = 1 << 4;
pub(crate) const SQE_BUFFER_SELECT: u8 = 1 << 5;
pub(crate) const SQE_CQE_SKIP_SUCCESS: u8 = 1 << 6;

pub(crate) const FSYNC_DATASYNC: u32 = 1 << 0;
pub(crate) const SPLICE_FD_IN_FIXED: u32 = 1 << 31;
pub(crate) const NOP_INJECT_RESULT: u32 = 1 << 0;
pub(crate) const NOP_CQE32: u32 = 1 << 5;
pub(crate) const POLL_ADD_MULTI: u32 = 1 << 0;
pub(crate) const CANCEL_ALL: u32 = 1 << 0;
pub(crate) const CANCEL_ANY: u32 = 1 << 2;
/// As `file_index`: the kernel picks a free slot.
pub(crate) const FILE_INDEX_ALLOC: u32 = u32::MAX;

pub(crate) const SETUP_IOPOLL: u32 = 1 << 0;
pub(crate) const SETUP_SQPOLL: u32 = 1 << 1;
pub(crate) const SETUP_CQSIZE: u32 = 1 << 3;
pub(crate) const SETUP_CLAMP: u32 = 1 << 4;
pub(crate) const SETUP_ATTACH_WQ: u32 = 1 << 5;
pub(crate) const SETUP_R_DISABLED: u32 = 1 << 6;
pub(crate) const SETUP_SUBMIT_ALL: u32 = 1 << 7;
pub(crate) const SETUP_COOP_TASKRUN: u32 = 1 << 8;
pub(crate) const SETUP_SQE128: u32 = 1 << 10;
pub(crate) const SETUP_CQE32: u32 = 1 << 11;
pub(crate) const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
pub(crate) const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
pub(crate) const SETUP_NO_MMAP: u32 = 1 << 14;
pub(crate) const SETUP_REGISTERED_FD_ONLY: u32 = 1 << 15;
pub(crate) const SETUP_NO_SQARRAY: u32 = 1 << 16;
pub(crate) const SETUP_CQE_MIXED: u32 = 1 << 18;
pub(crate) const SETUP_SQ_REWIND: u32 = 1 << 20;

pub(crate) const FEAT_SINGLE_MMAP: u32 = 1 << 0;
pub(crate) const FEAT_NATIVE_WORKERS: u32 = 1 << 9;
pub(crate) const FEAT_CQE_SKIP: u32 = 1 << 11;
/// A linked request gets its file when its turn comes; without this, all is decided at submission.
pub(crate) const FEAT_LINKED_FILE: u32 = 1 << 12;

pub(crate) const ENTER_GETEVENTS: u32 = 1 << 0;
pub(crate) const ENTER_SQ_WAKEUP: u32 = 1 << 1;
pub(crate) const ENTER_REGISTERED_RING: u32 = 1 << 4;

pub(crate) const SQ_NEED_WAKEUP: u32 = 1 << 0;
pub(crate) const SQ_CQ_OVERFLOW: u32 = 1 << 1;

/// More completions of the request follow.
pub(crate) const CQE_MORE: u32 = 1 << 1;
/// With `SETUP_CQE_MIXED`: an entry that only fills the end of the queue, and one of twice the size.
pub(crate) const CQE_SKIP: u32 = 1 << 5;
pub(crate) const CQE_32: u32 = 1 << 15;

pub(crate) const REGISTER_BUFFERS: u32 = 0;
pub(crate) const REGISTER_FILES: u32 = 2;
pub(crate) const REGISTER_EVENTFD: u32 = 4;
pub(crate) const REGISTER_PROBE: u32 = 8;
pub(crate) const REGISTER_PERSONALITY: u32 = 9;
pub(crate) const REGISTER_ENABLE_RINGS: u32 = 12;
pub(crate) const REGISTER_RING_FDS: u32 = 20;
pub(crate) const REGISTER_SYNC_CANCEL: u32 = 24;

pub(crate) const OFF_SQ_RING: i64 = 0;
pub(crate) const OFF_CQ_RING: i64 = 0x800_0000;
pub(crate) const OFF_SQES: i64 = 0x1000_0000;

/// A submission queue entry; the names are those that a write gives to the unions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sqe {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) ioprio: u16,
    pub(crate) fd: i32,
    pub(crate) off: u64,
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) rw_flags: u32,
    pub(crate) user_data: u64,
    pub(crate) buf_index: u16,
    pub(crate) personality: u16,
    pub(crate) file_index: u32,
    pub(crate) addr3: u64,
    pub(crate) pad: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    pub(crate) res: i32,
    pub(crate) flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SqOffsets {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) ring_mask: u32,
    pub(crate) ring_entries: u32,
    pub(crate) flags: u32,
    pub(crate) dropped: u32,
    pub(crate) array: u32,
    pub(crate) resv1: u32,
    pub(crate) user_addr: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CqOffsets {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) ring_mask: u32,
    pub(crate) ring_entries: u32,
    pub(crate) overflow: u32,
    pub(crate) cqes: u32,
    pub(crate) flags: u32,
    pub(crate) resv1: u32,
    pub(crate) user_addr: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Params {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) flags: u32,
    pub(crate) sq_thread_cpu: u32,
    pub(crate) sq_thread_idle: u32,
    pub(crate) features: u32,
    pub(crate) wq_fd: u32,
    pub(crate) resv: [u32; 3],
    pub(crate) sq_off: SqOffsets,
    pub(crate) cq_off: CqOffsets,
}

/// `struct io_uring_rsrc_update`, as `IORING_REGISTER_RING_FDS` takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RsrcUpdate {
    pub(crate) offset: u32,
    pub(crate) resv: u32,
    pub(crate) data: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timespec {
    pub(crate) tv_sec: i64,
    pub(crate) tv_nsec: i64,
}

/// `struct io_uring_sync_cancel_reg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncCancel {
    pub(crate) addr: u64,
    pub(crate) fd: i32,
    pub(crate) flags: u32,
    pub(crate) timeout: Timespec,
    pub(crate) opcode: u8,
    pub(crate) pad: [u8; 7],
    pub(crate) pad2: [u64; 3],
}

/// `struct open_how`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenHow {
    pub(crate) flags: u64,
    pub(crate) mode: u64,
    pub(crate) resolve: u64,
}

const _: () = assert!(size_of::<Sqe>() == 64);
const _: () = assert!(size_of::<Cqe>() == 16);
const _: () = assert!(size_of::<Params>() == 120);
const _: () = assert!(size_of::<SyncCancel>() == 64);

/// Turns the return value of a system call into a result.
pub(crate) fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

pub(crate) fn setup(entries: u32, params: &mut Params) -> io::Result<i32> {
    // SAFETY: `params` is a live `struct io_uring_params`, which the kernel reads and fills.
    let ret = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, std::ptr::from_mut(params)) };
    check(ret).map(|fd| fd as i32)
}

pub(crate) fn enter(fd: i32, submit: u32, wait: u32, flags: u32) -> io::Result<u32> {
    // SAFETY: no pointer is passed (argument and its size are zero).
    let ret =
        unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, submit, wait, flags, std::ptr::null::<u8>(), 0usize) };
    check(ret).map(|n| n as u32)
}

/// # Safety
/// `arg` must be what `opcode` expects, for `count` entries.
pub(crate) unsafe fn register(fd: i32, opcode: u32, arg: *mut libc::c_void, count: u32) -> io::Result<i32> {
    // SAFETY: the caller vouches for `arg` and `count`.
    let ret = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, arg, count) };
    check(ret).map(|n| n as i32)
}
