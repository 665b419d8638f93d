//! Requests that wait: for a worker, for each other, for a reader.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};

use super::{Case, case, in_thread};
use crate::clock::Moment;
use crate::cx::{Cx, Ids};
use crate::os::{self, Gate};
use crate::request::{ANYONE, Accept, Request, SUBMITTER};
use crate::session::{introduce, note_times, settle_unseen, sign};
use crate::sys;
use crate::target::Target;
use crate::truth::{CqeFate, Known};

pub(super) const CASES: &[Case] = &[
    case("async", "IOSQE_ASYNC: a worker from the start", async_flag),
    case("drain", "IOSQE_IO_DRAIN between other writes", drain),
    case("link", "a chain of links that succeeds", link),
    case("link-head-fails", "the head of a chain fails when issued: the rest is cancelled", link_head_fails),
    case("link-bad-head", "the head of a chain fails its preparation", link_bad_head),
    case(
        "link-skip-fails",
        "the failing head has IOSQE_CQE_SKIP_SUCCESS: no completions for the rest",
        link_skip_fails,
    ),
    case("hardlink", "a chain of hard links goes on after a failure", hardlink),
    case("link-timeout-fires", "a timeout linked to a write that blocks", link_timeout_fires),
    case("link-timeout-idle", "a timeout linked to a write that is in time", link_timeout_idle),
    case("cancel", "ASYNC_CANCEL of a write that blocks", cancel),
    case("poll-pipe", "a write waits on a full pipe until the reader drains it", poll_pipe),
    case("poll-socket", "a write waits on a full socket until the reader drains it", poll_socket),
    case("poll-array-reused", "the segment array is overwritten while the write waits", array_reused),
    case("poll-fd-reused", "the descriptor's number goes to another file while the write waits", fd_reused),
    case("thread-exits", "the thread that submitted is gone when the write goes on", thread_exits),
    case("killed", "SIGKILL with writes in flight", killed),
    case("exits", "the process exits with writes in flight", exits),
    case("ring-closed", "the ring is closed with writes in flight, the process lives on", ring_closed),
];

fn null() -> Result<(std::fs::File, Target)> {
    let file = os::open("/dev/null", 0)?;
    let target = Target::at(&file, "/dev/null")?;
    Ok((file, target))
}

fn file(cx: &Cx, flags: i32) -> Result<(std::fs::File, Target)> {
    let path = cx.dir.join("file");
    let file = os::open(&path, flags)?;
    let target = Target::at(&file, &path)?;
    Ok((file, target))
}

/// A descriptor that may not be written to: EBADF when the request is issued.
fn read_only(cx: &Cx) -> Result<(std::fs::File, Target)> {
    let path = cx.dir.join("read-only");
    std::fs::write(&path, "x")?;
    let file = std::fs::File::open(&path)?;
    let target = Target::at(&file, &path)?;
    Ok((file, target))
}

/// A pipe that blocks writers: reader, writer, and the writer as a target.
fn blocked() -> Result<(OwnedFd, OwnedFd, Target)> {
    let (reader, writer) = os::full_pipe()?;
    let target = Target::pathless(&writer)?;
    Ok((reader, writer, target))
}

fn async_flag(cx: &Cx) -> Result<()> {
    let (_null, null) = null()?;
    let (_file, buffered) = file(cx, 0)?;
    let (_direct, direct) = file(cx, libc::O_DIRECT)?;
    let mut ring = cx.plain_ring()?;
    let flag = |request: Request| request.flags(sys::SQE_ASYNC);
    ring.run_each(
        cx,
        vec![
            flag(cx.write(&null, 5, cx.buf(70))),
            flag(cx.write(&buffered, 0, cx.buf(71))),
            flag(cx.writev(&buffered, 71, &[cx.buf(1), cx.buf(2)])),
            // Issued by the worker, but the end may be told by task work.
            flag(cx.write(&direct, 4096, cx.pages(4096))).by(&["submitter", "io-wq", "kernel"]),
        ],
    )?;
    let batch = (0..16).map(|i| flag(cx.write(&null, i, cx.buf(72)))).collect();
    ring.run(cx, batch)
}

fn drain(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx, 0)?;
    let (_null, null) = null()?;
    // What comes after a drain is held back with it.
    cx.run(vec![
        cx.write(&file, 0, cx.buf(4000)),
        cx.write(&null, 1, cx.buf(80)).flags(sys::SQE_IO_DRAIN).by(ANYONE),
        cx.write(&file, 9, cx.buf(81)).by(ANYONE),
        cx.write(&null, 2, cx.buf(82)).flags(sys::SQE_IO_DRAIN).by(ANYONE),
    ])
}

fn link(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx, 0)?;
    let (_null, null) = null()?;
    let (reader, writer) = os::pipe(0)?;
    let pipe = Target::pathless(&writer)?;
    cx.run(vec![
        cx.write(&file, 0, cx.buf(90)).linked(),
        cx.write(&null, 1, cx.buf(91)).linked(),
        cx.writev(&file, 90, &[cx.buf(5), cx.buf(6)]).linked(),
        cx.write(&pipe, -1, cx.buf(92)),
    ])?;
    os::read_exact(&reader, 92).map(drop)
}

fn link_head_fails(cx: &Cx) -> Result<()> {
    let (_bad, bad) = read_only(cx)?;
    let (_file, file) = file(cx, 0)?;
    cx.run(vec![
        cx.write(&bad, 0, cx.buf(1)).fails(libc::EBADF).linked(),
        cx.write(&file, 11, cx.buf(2)).cancelled().linked(),
        cx.writev(&file, 12, &[cx.buf(3), cx.buf(4)]).cancelled().linked(),
        cx.write(&file, -1, cx.buf(5)).cancelled(),
    ])
}

fn link_bad_head(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx, 0)?;
    let bad = cx.write(&file, 0, cx.buf(1)).raw(|sqe| sqe.ioprio = u16::MAX);
    cx.run(vec![
        bad.fails(libc::EINVAL).by(SUBMITTER).linked(),
        cx.write(&file, 11, cx.buf(2)).cancelled().linked(),
        cx.write(&file, 12, cx.buf(3)).cancelled(),
    ])
}

fn link_skip_fails(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let (_bad, bad) = read_only(cx)?;
    let (_file, file) = file(cx, 0)?;
    let unseen = |request: Request| request.cancelled().fate(CqeFate::None);
    let head = cx.write(&bad, 0, cx.buf(1)).fails(libc::EBADF);
    cx.run(vec![
        head.flags(sys::SQE_CQE_SKIP_SUCCESS).linked(),
        unseen(cx.write(&file, 11, cx.buf(2))).linked(),
        unseen(cx.write(&file, 12, cx.buf(3)).flags(sys::SQE_CQE_SKIP_SUCCESS)).linked(),
        unseen(cx.write(&file, -1, cx.buf(4))),
    ])
}

fn hardlink(cx: &Cx) -> Result<()> {
    let (_bad, bad) = read_only(cx)?;
    let (_file, file) = file(cx, 0)?;
    let full = os::open("/dev/full", 0)?;
    let full = Target::at(&full, "/dev/full").map(|target| (full, target))?;
    let hard = |request: Request| request.flags(sys::SQE_IO_HARDLINK);
    let mut ring = cx.plain_ring()?;
    ring.run(
        cx,
        vec![
            hard(cx.write(&file, 0, cx.buf(20))),
            hard(cx.write(&full.1, 20, cx.buf(24)).fails(libc::ENOSPC)),
            cx.write(&file, 20, cx.buf(25)),
        ],
    )?;
    // Where files are looked at before anything is issued, one that cannot be written to ends the whole chain.
    let whole = ring.ring.has(sys::FEAT_LINKED_FILE);
    let other = |request: Request| if whole { request } else { request.cancelled() };
    ring.run(
        cx,
        vec![
            hard(other(cx.write(&file, 0, cx.buf(20)))),
            hard(cx.write(&bad, 0, cx.buf(21)).fails(libc::EBADF)),
            hard(other(cx.write(&file, 20, cx.buf(22)))),
            other(cx.write(&file, 42, cx.buf(23))),
        ],
    )
}

fn link_timeout_fires(cx: &Cx) -> Result<()> {
    let (_reader, _writer, pipe) = blocked()?;
    cx.run(vec![
        cx.write(&pipe, -1, cx.buf(30)).fails(libc::ECANCELED).by(ANYONE).linked(),
        cx.link_timeout(10, -libc::ETIME),
    ])
}

fn link_timeout_idle(cx: &Cx) -> Result<()> {
    let (_file, file) = file(cx, 0)?;
    let (_null, null) = null()?;
    let mut ring = cx.plain_ring()?;
    for target in [&file, &null] {
        let write = cx.write(target, 3, cx.buf(31)).linked();
        ring.run(cx, vec![write, cx.link_timeout(600_000, -libc::ECANCELED)])?;
    }
    Ok(())
}

fn cancel(cx: &Cx) -> Result<()> {
    let (_reader, _writer, pipe) = blocked()?;
    let mut ring = cx.plain_ring()?;
    let mut all =
        vec![cx.write(&pipe, -1, cx.buf(40)).cancelled(), cx.writev(&pipe, 0, &[cx.buf(41), cx.buf(42)]).cancelled()];
    ring.start(cx, &mut all)?;
    let mut cancels: Vec<_> = all.iter().map(|r| cx.cancel(r.sqe.user_data, 0)).collect();
    ring.start(cx, &mut cancels)?;
    all.extend(cancels);
    ring.finish(cx, all)
}

fn poll_pipe(cx: &Cx) -> Result<()> {
    let (reader, _writer, pipe) = blocked()?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(100))];
    ring.start(cx, &mut requests)?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    os::read_exact(&reader, 100)?;

    // With a worker from the start the wait is the worker's poll.
    os::write_all(&_writer, &[b'f'; 4096])?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(101)).flags(sys::SQE_ASYNC).by(ANYONE)];
    ring.start(cx, &mut requests)?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    os::read_exact(&reader, 101).map(drop)
}

fn poll_socket(cx: &Cx) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut sent = 0;
    while let Ok(n) = std::io::Write::write(&mut &ours, &[b'f'; 1024]) {
        sent += n;
    }
    ours.set_nonblocking(false)?;
    let target = Target::pathless(&ours)?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&target, -1, cx.buf(102))];
    ring.start(cx, &mut requests)?;
    os::read_exact(&theirs, sent)?;
    ring.finish(cx, requests)?;
    os::read_exact(&theirs, 102).map(drop)
}

/// The kernel has its own copy of the array by then: what counts is what it said at submission.
fn array_reused(cx: &Cx) -> Result<()> {
    let (reader, _writer, pipe) = blocked()?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.writev(&pipe, -1, &[cx.buf(60), cx.buf(61)])];
    ring.start(cx, &mut requests)?;
    let array = requests[0].sqe.addr as *mut libc::iovec;
    let other = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 12345 };
    // SAFETY: the array lies in the arena, has two elements, and nobody else looks at it.
    unsafe { std::slice::from_raw_parts_mut(array, 2).fill(other) };
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    os::read_exact(&reader, 121).map(drop)
}

/// The request holds its file; the number may mean something else by the time it completes.
fn fd_reused(cx: &Cx) -> Result<()> {
    let (reader, writer, pipe) = blocked()?;
    let (null, null_target) = null()?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(62))];
    ring.start(cx, &mut requests)?;
    os::replace(&writer, &null)?;
    let same_number = Target { fd: pipe.fd, ..null_target };
    ring.run(cx, vec![cx.write(&same_number, 4, cx.buf(63))])?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    os::read_exact(&reader, 62).map(drop)
}

/// Its task work has nowhere to run any more: kernels cancel the write then.
fn thread_exits(cx: &Cx) -> Result<()> {
    let (reader, _writer, pipe) = blocked()?;
    let mut ring = cx.plain_ring()?;
    let given_up = Accept::Of(vec![-libc::ECANCELED, 64]);
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(64)).accept(given_up).by(ANYONE)];
    in_thread(|| ring.start(cx, &mut requests))?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)
}

/// Writes that block, in a process that ends before they do. Its memory is a copy of ours, so what
/// is built here is right for it.
fn end_in_flight(cx: &Cx, end: impl FnOnce(i32) -> Result<()>) -> Result<()> {
    let (_reader, _writer, pipe) = blocked()?;
    let mut requests =
        vec![cx.write(&pipe, -1, cx.buf(50)).cancelled(), cx.writev(&pipe, 0, &[cx.buf(51), cx.buf(52)]).cancelled()];
    let (submitted, leave) = (Gate::new()?, Gate::new()?);
    let before = Moment::before();
    let child = cx.fork(|| {
        let mut ring = cx.plain_ring()?;
        ring.push(&requests)?;
        ring.ring.submit_all().context("submit")?;
        submitted.open()?;
        leave.pass()?;
        os::exit_now()
    })?;
    submitted.pass()?;
    note_times(&mut requests, before, &Known::Is(Moment::after()));
    let ids = Ids::of_child(child as u32);
    sign(&mut requests, ids, false);
    introduce(cx, &mut requests, ids)?;
    end(child).and_then(|()| leave.open())?;
    os::wait(child)?;
    requests.into_iter().try_for_each(|request| settle_unseen(cx, request))
}

fn killed(cx: &Cx) -> Result<()> {
    end_in_flight(cx, |child| os::kill(child, libc::SIGKILL))
}

fn exits(cx: &Cx) -> Result<()> {
    end_in_flight(cx, |_| Ok(()))
}

fn ring_closed(cx: &Cx) -> Result<()> {
    let (_reader, _writer, pipe) = blocked()?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(53)).cancelled()];
    ring.start(cx, &mut requests)?;
    drop(ring);
    requests.into_iter().try_for_each(|request| settle_unseen(cx, request))
}
