//! Who submits: threads, forks, other processes, other users, other pid namespaces.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::{Case, case, in_thread};
use crate::cx::{Cx, skip};
use crate::os;
use crate::ring::Ring;
use crate::session::Session;
use crate::sys::Params;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("thread", "a second thread uses the ring", thread),
    case("threads", "four threads take turns on one ring", threads),
    case("thread-name", "a thread with a name of its own", thread_name),
    case("renamed", "a thread that changes its name between system calls on one ring", renamed),
    case("fork-inherits", "a forked child uses the ring it inherited", fork_inherits),
    case("pidfd-getfd", "a process takes the ring of another by pidfd_getfd", pidfd_getfd),
    case("setuid", "a process that gave up root", setuid).needs(&["root"]),
    case("pid-namespace", "a process in a pid namespace of its own", pid_namespace).needs(&["root"]),
];

#[derive(Debug)]
struct Files {
    _open: [File; 2],
    file: Target,
    null: Target,
}

fn files(cx: &Cx) -> Result<Files> {
    let path = cx.dir.join("file");
    let open = [os::open(&path, 0)?, os::open("/dev/null", 0)?];
    let (file, null) = (Target::at(&open[0], &path)?, Target::at(&open[1], "/dev/null")?);
    Ok(Files { _open: open, file, null })
}

/// Writes that a worker carries out, and some that the submitter does itself.
fn writes(cx: &Cx, ring: &mut Session, files: &Files) -> Result<()> {
    ring.run(
        cx,
        vec![
            cx.write(&files.file, 0, cx.buf(20)),
            cx.write(&files.null, 1, cx.buf(21)),
            cx.writev(&files.file, 20, &[cx.buf(22), cx.buf(23)]),
        ],
    )
}

fn thread(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    let mut ring = cx.plain_ring()?;
    writes(cx, &mut ring, &files)?;
    in_thread(|| writes(cx, &mut ring, &files))?;
    writes(cx, &mut ring, &files)
}

fn threads(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    let mut ring = cx.plain_ring()?;
    (0..4).try_for_each(|_| in_thread(|| writes(cx, &mut ring, &files)))
}

fn thread_name(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    in_thread(|| {
        // SAFETY: a terminated string.
        os::cvt(unsafe { libc::prctl(libc::PR_SET_NAME, c"wl-named".as_ptr()) }).context("PR_SET_NAME")?;
        writes(cx, &mut cx.plain_ring()?, &files)
    })
}

/// The memory of the requests is the same in each round; only the name, or the thread, is another one.
fn renamed(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    let mut ring = cx.plain_ring()?;
    for round in 0..8 {
        in_thread(|| {
            for name in [c"wl-first", c"wl-other"] {
                // SAFETY: a terminated string.
                os::cvt(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }).context("PR_SET_NAME")?;
                let inline = (0..4).map(|i| cx.write(&files.null, round * 4 + i, cx.buf(32))).collect();
                ring.run(cx, inline)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn fork_inherits(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    let mut ring = cx.plain_ring()?;
    writes(cx, &mut ring, &files)?;
    cx.in_child(|| writes(cx, &mut ring, &files))?;
    writes(cx, &mut ring, &files)
}

const PARAMS: usize = size_of::<Params>();

/// The one who takes the ring is forked before there is one, so that it inherits nothing.
fn pidfd_getfd(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    let (reader, writer) = os::pipe(0)?;
    let owner = std::process::id() as i32;
    let taker = cx.fork(|| {
        let header = os::read_exact(&reader, PARAMS + 4)?;
        let fd = i32::from_ne_bytes(header[PARAMS..].try_into()?);
        // SAFETY: `header` holds the bytes of a `Params`, for which any bytes are valid.
        let params = unsafe { header.as_ptr().cast::<Params>().read_unaligned() };
        let mut ring = Session::new(Ring::map(take(owner, fd)?, params)?, cx.ids()?);
        writes(cx, &mut ring, &files)
    })?;
    let mut ring = cx.plain_ring()?;
    writes(cx, &mut ring, &files)?;
    let params = std::ptr::from_ref(ring.ring.params()).cast::<u8>();
    // SAFETY: the structure has no padding, so all its bytes are initialised.
    let bytes = unsafe { std::slice::from_raw_parts(params, PARAMS) };
    os::write_all(&writer, bytes)?;
    os::write_all(&writer, &ring.ring.fd().to_ne_bytes())?;
    os::wait_success(taker)
}

/// The descriptor `fd` of another process.
fn take(process: i32, fd: i32) -> Result<OwnedFd> {
    let owned = |ret: libc::c_long| -> std::io::Result<OwnedFd> {
        let fd = os::cvt(ret as i32)?;
        // SAFETY: the call that returned it made the descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    // SAFETY: neither call takes a pointer.
    unsafe {
        let pidfd = owned(libc::syscall(libc::SYS_pidfd_open, process, 0)).context("pidfd_open")?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&pidfd);
        owned(libc::syscall(libc::SYS_pidfd_getfd, raw, fd, 0)).context("pidfd_getfd")
    }
}

fn setuid(cx: &Cx) -> Result<()> {
    const NOBODY: u32 = 65534;
    let files = files(cx)?;
    cx.in_child(|| {
        let mut before = cx.plain_ring()?;
        // SAFETY: no pointer is passed.
        unsafe {
            os::cvt(libc::setresgid(NOBODY, NOBODY, NOBODY)).context("setresgid")?;
            os::cvt(libc::setresuid(NOBODY, NOBODY, NOBODY)).context("setresuid")?;
        }
        writes(cx, &mut before, &files)?;
        match cx.plain_ring() {
            Ok(mut after) => writes(cx, &mut after, &files),
            // Only root may make rings here.
            Err(_) => Ok(()),
        }
    })
}

fn pid_namespace(cx: &Cx) -> Result<()> {
    let files = files(cx)?;
    os::unshare(libc::CLONE_NEWPID).map_err(|e| skip(format!("{e:#}")))?;
    cx.in_child(|| {
        writes(cx, &mut cx.plain_ring()?, &files)?;
        in_thread(|| writes(cx, &mut cx.plain_ring()?, &files))
    })
}
