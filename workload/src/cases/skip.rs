//! `IOSQE_CQE_SKIP_SUCCESS`: success that the kernel does not tell.

use std::fs;

use anyhow::Result;

use super::{Case, case};
use crate::cx::Cx;
use crate::os::{self, Watch};
use crate::session::settle_unseen;
use crate::sys;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("skip-inline", "to the null device and a pipe", inline),
    case("skip-direct", "with O_DIRECT", direct),
    case("skip-buffered", "to a regular file, by a worker", buffered),
    case("skip-fails", "a failure posts its completion all the same", fails),
    case("skip-short", "so does a short write", short),
    case("skip-fd-closed", "the descriptor is closed right after the submission", fd_closed),
    case("skip-fd-reused", "its number goes to another file right after the submission", fd_reused),
    case("skip-recycled", "the request's memory is used again at once by other requests", recycled),
    case("skip-last-inline", "the last request before the ring is closed, done inline", last_inline),
    case("skip-last-buffered", "the last request before the ring is closed, done by a worker", last_buffered),
];

fn null() -> Result<(fs::File, Target)> {
    let file = os::open("/dev/null", 0)?;
    let target = Target::at(&file, "/dev/null")?;
    Ok((file, target))
}

fn inline(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let (_null, null) = null()?;
    let (reader, writer) = os::pipe(0)?;
    let pipe = Target::pathless(&writer)?;
    let mut ring = cx.plain_ring()?;
    ring.run(cx, (0..8).map(|i| cx.write(&null, i, cx.buf(100 + i as u32)).skips()).collect())?;
    ring.run(cx, vec![cx.write(&pipe, -1, cx.buf(5)).skips(), cx.write(&null, 9, cx.buf(6)).skips(), cx.nop()])?;
    ring.run(cx, vec![cx.writev(&null, 10, &[cx.buf(7), cx.buf(8)]).skips(), cx.write(&null, 11, cx.buf(9))])?;
    os::read_exact(&reader, 5).map(drop)
}

fn direct(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let path = cx.dir.join("file");
    fs::write(&path, vec![b'x'; 1 << 16])?;
    let file = os::open(&path, libc::O_DIRECT)?;
    file.sync_all()?;
    let target = Target::at(&file, &path)?;
    let write = |off| cx.write(&target, off, cx.pages(4096)).skips().linked();
    cx.run(vec![write(4096), write(32768), cx.nop()])
}

fn buffered(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let segments = [cx.buf(30), cx.buf(31)];
    let mut ring = cx.plain_ring()?;
    for i in 0..4 {
        let write = cx.write(&target, i * 100, cx.buf(100)).skips().linked();
        let vectored = cx.writev(&target, i * 100, &segments).skips().linked();
        ring.run(cx, vec![write, vectored, cx.nop()])?;
    }
    Ok(())
}

fn fails(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let full = os::open("/dev/full", 0)?;
    let target = Target::at(&full, "/dev/full")?;
    let flag = sys::SQE_CQE_SKIP_SUCCESS;
    cx.run(vec![
        cx.write(&target, 1, cx.buf(5)).fails(libc::ENOSPC).flags(flag),
        cx.write(&Target::nothing(-1), 2, cx.buf(6)).fails(libc::EBADF).flags(flag),
        cx.write(&target, -2, cx.buf(7)).fails(libc::EINVAL).flags(flag),
    ])
}

fn short(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    os::limit_file_size(100)?;
    let request = cx.write(&target, 90, cx.buf(50)).result(10).flags(sys::SQE_CQE_SKIP_SUCCESS);
    let outcome = cx.run(vec![request]);
    os::limit_file_size(libc::RLIM_INFINITY)?;
    outcome
}

fn fd_closed(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let mut ring = cx.plain_ring()?;
    for (name, flags) in [("buffered", 0), ("direct", libc::O_DIRECT)] {
        let path = cx.dir.join(name);
        fs::write(&path, vec![b'x'; 8192])?;
        let file = os::open(&path, flags)?;
        file.sync_all()?;
        let target = Target::at(&file, &path)?;
        let watch = Watch::new(&path)?;
        let mut requests = vec![cx.write(&target, 4096, cx.pages(4096)).skips()];
        ring.start(cx, &mut requests)?;
        drop(file);
        watch.wait()?;
        ring.finish(cx, requests)?;
    }
    let (null, target) = null()?;
    let mut requests = vec![cx.write(&target, 3, cx.buf(77)).skips()];
    ring.start(cx, &mut requests)?;
    drop(null);
    ring.finish(cx, requests)
}

fn fd_reused(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let (null, null_target) = null()?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let same_number = Target { fd: target.fd, ..null_target };
    let watch = Watch::new(&path)?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&target, 5, cx.buf(78)).skips()];
    ring.start(cx, &mut requests)?;
    os::replace(&file, &null)?;
    ring.run(cx, vec![cx.write(&same_number, 6, cx.buf(79))])?;
    watch.wait()?;
    ring.finish(cx, requests)
}

/// What is remembered of a write that ended in silence must not become part of what comes next.
fn recycled(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let (_null, null) = null()?;
    let nothing = Target::nothing(-1);
    let mut ring = cx.plain_ring()?;
    for i in 0..16 {
        let len = 200 + 10 * i as u32;
        ring.run(cx, vec![cx.write(&null, i, cx.buf(len)).skips()])?;
        ring.run(cx, vec![cx.nop()])?;
        ring.run(cx, vec![cx.write(&null, i, cx.buf(len + 1)).skips()])?;
        ring.run(cx, vec![cx.write(&nothing, i, cx.buf(len + 2)).fails(libc::EBADF)])?;
        ring.run(cx, vec![cx.writev(&null, i, &[cx.buf(len), cx.buf(3)]).skips()])?;
        ring.run(cx, vec![cx.write(&null, i, cx.buf(len + 4))])?;
    }
    Ok(())
}

fn last_inline(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let (_null, null) = null()?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&null, 1, cx.buf(10)), cx.write(&null, 2, cx.buf(11)).skips()];
    ring.start(cx, &mut requests[..1])?;
    ring.start(cx, &mut requests[1..])?;
    let last = requests.split_off(1);
    ring.finish(cx, requests)?;
    drop(ring);
    last.into_iter().try_for_each(|request| settle_unseen(cx, request))
}

fn last_buffered(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let watch = Watch::new(&path)?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&target, 0, cx.buf(12)).skips()];
    ring.start(cx, &mut requests)?;
    // A worker that has not begun would be cancelled with the ring.
    watch.wait()?;
    drop(ring);
    requests.into_iter().try_for_each(|request| settle_unseen(cx, request))
}
