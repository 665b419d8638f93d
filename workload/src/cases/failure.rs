//! Requests that the kernel refuses, at preparation or when it issues them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::Result;

use super::{Case, case};
use crate::cx::{Buf, Cx};
use crate::os;
use crate::request::{Accept, Request, SUBMITTER};
use crate::ring::Setup;
use crate::sys;
use crate::target::{Kind, Target};

pub(super) const CASES: &[Case] = &[
    case("bad-ioprio", "a priority that does not exist", bad_ioprio),
    case("bad-iovec", "a segment array that cannot be read, and one that is too long", bad_iovec),
    case("bad-segment", "a segment that is too long or outside of user memory", bad_segment),
    case("bad-buffer-index", "WRITE_FIXED without such a buffer, and outside of it", bad_buffer_index),
    case("bad-sqe-flags", "flags that the kernel or the opcode does not know", bad_sqe_flags),
    case("bad-reserved", "fields that must be zero, and an unknown personality", bad_reserved),
    case("bad-fd", "descriptors and indexes that name no file", bad_fd),
    case("bad-buffer", "buffers that cannot be read", bad_buffer),
    case("too-far", "offsets beyond what the file system can hold", too_far),
    case("broken-pipe", "a pipe without a reader, a socket that was shut down", broken_pipe),
    case("read-only", "a descriptor that is not open for writing", read_only),
    case("not-writable", "a file that takes no writes: the ring itself", not_writable),
    case("negative-offset", "the offset -2", negative_offset),
    case("bad-rw-flags", "RWF flags that are unknown or not supported", bad_rw_flags),
    case("nowait", "RWF_NOWAIT where the write would wait, and where it would not", nowait),
];

fn file(cx: &Cx) -> Result<(File, Target)> {
    let path = cx.dir.join("file");
    fs::write(&path, vec![b'x'; 100])?;
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    Ok((file, target))
}

fn null() -> Result<(File, Target)> {
    let file = os::open("/dev/null", 0)?;
    let target = Target::at(&file, "/dev/null")?;
    Ok((file, target))
}

/// The ring itself is a file that takes no writes.
fn not_writable(cx: &Cx) -> Result<()> {
    let mut ring = cx.plain_ring()?;
    let number = os::Number(ring.ring.fd());
    let target = Target::named(&number, OsStr::new("anon_inode:[io_uring]"))?.kind(Kind::Anon);
    ring.run(cx, vec![cx.write(&target, -1, cx.buf(10)).fails(libc::EINVAL).by(SUBMITTER)])
}

/// Refused before it is issued.
fn refused(request: Request, errno: i32) -> Request {
    request.fails(errno).by(SUBMITTER)
}

fn bad_ioprio(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let (_null, null) = null()?;
    let bad = |request: Request| refused(request.raw(|sqe| sqe.ioprio = u16::MAX), libc::EINVAL);
    let mut ring = cx.plain_ring()?;
    ring.run_each(cx, vec![bad(cx.write(&file, 5, cx.buf(10))), bad(cx.write(&null, -1, cx.buf(11)))])?;
    // In the middle of a batch.
    ring.run(
        cx,
        vec![cx.write(&null, 1, cx.buf(12)), bad(cx.write(&file, 6, cx.buf(13))), cx.write(&null, 2, cx.buf(14))],
    )
}

fn bad_iovec(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let segment = cx.buf(10);
    let nowhere = cx.writev(&file, 7, &[segment; 3]).raw(|sqe| sqe.addr = 16);
    let many = vec![segment; 1025];
    cx.plain_ring()?.run_each(
        cx,
        vec![
            refused(nowhere, libc::EFAULT).unreadable(0, 3),
            refused(cx.writev(&file, 8, &many), libc::EINVAL),
            cx.writev(&file, 9, &many[..1024]),
        ],
    )
}

/// The array is fine, what it says is not.
fn bad_segment(cx: &Cx) -> Result<()> {
    const KERNEL: u64 = 0xffff_8000_0000_0000;
    let (_file, file) = file(cx)?;
    let buf = cx.buf(10);
    let outside = Buf { addr: KERNEL, len: 10 };
    cx.plain_ring()?.run_each(
        cx,
        vec![
            refused(cx.writev(&file, 1, &[outside, buf]), libc::EFAULT),
            refused(cx.writev(&file, 2, &[buf, outside]), libc::EFAULT),
        ],
    )
}

fn bad_buffer_index(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let (mut ring, buf) = cx.ring_with_buffer(Setup::new(8, 0), 4096)?;
    let elsewhere = cx.buf(30);
    let wrong = |request: Request| refused(request, libc::EFAULT);
    ring.run_each(
        cx,
        vec![
            wrong(cx.write_fixed(&file, 3, buf.part(0, 20), 5)),
            wrong(cx.write_fixed(&file, 4, elsewhere, 0)),
            wrong(cx.write_fixed(&file, 5, Buf { len: 5000, ..buf }, 0)),
            cx.write_fixed(&file, 6, buf, 0),
        ],
    )?;
    // A ring that has no buffers at all.
    cx.run(vec![wrong(cx.write_fixed(&file, 7, buf, 0))])
}

fn bad_sqe_flags(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let unknown = cx.write(&file, 1, cx.buf(10)).flags(1 << 7);
    let select = cx.write(&file, 2, cx.buf(11)).flags(sys::SQE_BUFFER_SELECT);
    cx.plain_ring()?.run_each(cx, vec![refused(unknown, libc::EINVAL), refused(select, libc::EOPNOTSUPP)])
}

fn bad_reserved(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let stranger = cx.write(&file, 1, cx.buf(10)).raw(|sqe| sqe.personality = 0x7fff);
    // Attributes and write streams came with 6.13 and 6.16; older kernels do not look.
    let attribute = cx.write(&file, 2, cx.buf(11)).raw(|sqe| sqe.pad = 1 << 63);
    let stream = cx.write(&file, 3, cx.buf(12)).raw(|sqe| sqe.file_index = 7);
    cx.plain_ring()?.run_each(
        cx,
        vec![
            refused(stranger, libc::EINVAL),
            attribute.accept(Accept::Of(vec![-libc::EINVAL, 11])),
            stream.accept(Accept::Of(vec![-libc::EINVAL, 12])),
        ],
    )
}

fn bad_fd(cx: &Cx) -> Result<()> {
    let (file, target) = file(cx)?;
    let mut ring = cx.plain_ring()?;
    // After the last descriptor was made, or it would get the number.
    let closed = file.try_clone()?.as_raw_fd();
    let bad = |request: Request| request.fails(libc::EBADF).by(SUBMITTER);
    let numbers = [closed, -1, i32::MAX, i32::MIN];
    let mut requests: Vec<_> = numbers.map(|fd| bad(cx.write(&Target::nothing(fd), 5, cx.buf(10)))).to_vec();
    requests.push(bad(cx.writev(&Target::nothing(closed), -1, &[cx.buf(1), cx.buf(2)])));
    // There is no table of files yet.
    requests.push(bad(cx.write(&Target::nothing(0).fixed(0), 6, cx.buf(11))));
    ring.run_each(cx, requests)?;
    ring.ring.register_files(&[file.as_raw_fd(), -1])?;
    let fixed = |index| bad(cx.write(&Target::nothing(0).fixed(index), 7, cx.buf(12)));
    ring.run_each(cx, vec![fixed(1), fixed(2), fixed(1 << 30), cx.write(&target.fixed(0), 8, cx.buf(13))])
}

fn bad_buffer(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let (_reader, writer) = os::pipe(0)?;
    let pipe = Target::pathless(&writer)?;
    let path = cx.dir.join("direct");
    let direct = os::open(&path, libc::O_DIRECT)?;
    direct.set_len(8192)?;
    let direct = Target::at(&direct, &path).map(|t| (direct, t))?;
    let page = cx.pages(4096);
    // Not unmapped: the next mapping, such as the ring's, would take the place.
    // SAFETY: the page belongs to a buffer of the arena that nothing else uses.
    os::cvt(unsafe { libc::mprotect(page.addr as *mut libc::c_void, 4096, libc::PROT_NONE) })?;
    let outside = Buf { addr: 0xffff_8000_0000_0000, len: 10 };
    cx.plain_ring()?.run_each(
        cx,
        vec![
            cx.write(&file, 5, page).fails(libc::EFAULT),
            cx.write(&file, -1, page).pos(0).fails(libc::EFAULT),
            cx.write(&pipe, -1, page.part(0, 6)).fails(libc::EFAULT),
            cx.write(&direct.1, 4096, page).fails(libc::EFAULT),
            cx.writev(&file, 6, &[page.part(0, 7), page.part(8, 8)]).fails(libc::EFAULT),
            refused(cx.write(&file, 7, outside), libc::EFAULT),
        ],
    )
}

fn too_far(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    // The end of the range of offsets overflows before any file system is asked.
    let last =
        cx.write(&file, i64::MAX, cx.buf(11)).accept(Accept::Of(vec![-libc::EFBIG, -libc::EINVAL, -libc::EOVERFLOW]));
    cx.plain_ring()?.run_each(cx, vec![cx.write(&file, 1 << 60, cx.buf(10)).fails(libc::EFBIG), last])
}

fn broken_pipe(cx: &Cx) -> Result<()> {
    os::ignore_signal(libc::SIGPIPE)?;
    let (reader, writer): (OwnedFd, OwnedFd) = os::pipe(0)?;
    drop(reader);
    let (ours, theirs) = UnixStream::pair()?;
    drop(theirs);
    let (shut, _other) = UnixStream::pair()?;
    shut.shutdown(Shutdown::Write)?;
    let write = |target: &Target, len| cx.write(target, -1, cx.buf(len)).fails(libc::EPIPE);
    cx.run(vec![
        write(&Target::pathless(&writer)?, 10),
        write(&Target::pathless(&ours)?, 11),
        write(&Target::pathless(&shut)?, 12),
    ])
}

fn read_only(cx: &Cx) -> Result<()> {
    let (_file, target) = file(cx)?;
    let file = File::open(cx.dir.join("file"))?;
    let target = Target { fd: file.as_raw_fd(), ..target };
    let write = |off| cx.write(&target, off, cx.buf(10)).fails(libc::EBADF).by(SUBMITTER);
    // -1 is not resolved before the descriptor is refused.
    cx.plain_ring()?.run_each(cx, vec![write(5), write(0), write(-1)])
}

fn negative_offset(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    cx.plain_ring()?.run_each(
        cx,
        vec![
            cx.write(&file, -2, cx.buf(10)).fails(libc::EINVAL),
            cx.write(&file, i64::MIN, cx.buf(11)).fails(libc::EINVAL),
        ],
    )
}

fn bad_rw_flags(cx: &Cx) -> Result<()> {
    const RWF_ATOMIC: i32 = 0x40;
    const RWF_NOAPPEND: i32 = 0x20;
    let (_file, file) = file(cx)?;
    let flagged = |off, flags| cx.write(&file, off, cx.buf(10)).rw_flags(flags);
    let contradiction = flagged(3, libc::RWF_APPEND | RWF_NOAPPEND);
    cx.plain_ring()?.run_each(
        cx,
        vec![
            refused(flagged(1, i32::MIN), libc::EOPNOTSUPP),
            refused(flagged(2, RWF_ATOMIC), libc::EOPNOTSUPP),
            contradiction.accept(Accept::Of(vec![-libc::EINVAL, -libc::EOPNOTSUPP])),
        ],
    )
}

fn nowait(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx)?;
    let (device, null) = null()?;
    let (_reader, writer) = os::full_pipe()?;
    let pipe = Target::pathless(&writer)?;
    let flag = |request: Request| request.rw_flags(libc::RWF_NOWAIT);
    let len = 10;
    let refusal = if os::pipes_take_nowait() { libc::EAGAIN } else { libc::EOPNOTSUPP };
    let file_write = flag(cx.write(&file, 5, cx.buf(len)));
    let null_write = flag(cx.write(&null, 1, cx.buf(len)));
    let null_write = if os::takes_nowait(&device) { null_write } else { null_write.fails(libc::EOPNOTSUPP) };
    cx.plain_ring()?.run_each(
        cx,
        vec![
            null_write,
            flag(cx.write(&pipe, -1, cx.buf(len))).fails(refusal),
            // Some file systems can, ext4 cannot.
            file_write.accept(Accept::Of(vec![-libc::EAGAIN, -libc::EOPNOTSUPP, len as i32])),
        ],
    )
}
