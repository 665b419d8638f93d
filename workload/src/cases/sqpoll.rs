//! Rings that the kernel's poll thread submits for. It has a name of its own and no right to it: the
//! writes belong to the thread that made the ring.

use std::fs;

use anyhow::{Context, Result};

use super::{Case, case, in_thread};
use crate::cx::Cx;
use crate::os;
use crate::request::SUBMITTER;
use crate::ring::Setup;
use crate::session::Session;
use crate::sys;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("sqpoll", "regular file, null device and O_DIRECT", plain),
    case("sqpoll-fixed", "registered file and registered buffer", fixed),
    case("sqpoll-sleeps", "the poll thread sleeps and is woken", sleeps),
    case("sqpoll-thread", "a second thread fills the ring", filled_by_thread),
    case("sqpoll-attach", "two rings share a poll thread", attach),
    case("sqpoll-attach-thread", "the second of them was made by another thread", attach_thread),
    case("sqpoll-fails", "requests that fail, at preparation and later", fails),
    case("sqpoll-link", "chains of links", link),
    case("sqpoll-poll", "a write that waits on a full pipe", poll),
    case("sqpoll-skip", "IOSQE_CQE_SKIP_SUCCESS", skip_success),
];

fn setup() -> Setup {
    Setup { idle_ms: 50, ..Setup::new(16, sys::SETUP_SQPOLL) }
}

/// Some writes to a file of the given name and to the null device.
fn mixture(cx: &Cx, ring: &mut Session, name: &str) -> Result<()> {
    let path = cx.dir.join(name);
    let file = os::open(&path, 0)?;
    let file = Target::at(&file, &path).map(|target| (file, target))?;
    let null = os::open("/dev/null", 0)?;
    let null = Target::at(&null, "/dev/null").map(|target| (null, target))?;
    let mut requests: Vec<_> = (0..4).map(|i| cx.write(&file.1, i * 100, cx.buf(100))).collect();
    requests.push(cx.write(&null.1, 7, cx.buf(50)));
    requests.push(cx.writev(&null.1, 8, &[cx.buf(51), cx.buf(52)]));
    ring.run(cx, requests)
}

fn plain(cx: &Cx) -> Result<()> {
    let mut ring = cx.ring(setup())?;
    mixture(cx, &mut ring, "file")?;
    let path = cx.dir.join("direct");
    fs::write(&path, vec![b'x'; 16384])?;
    let file = os::open(&path, libc::O_DIRECT)?;
    file.sync_all()?;
    let target = Target::at(&file, &path)?;
    ring.run(cx, vec![cx.write(&target, 4096, cx.pages(4096)), cx.write(&target, 8192, cx.pages(4096))])
}

fn fixed(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let null = os::open("/dev/null", 0)?;
    let (mut ring, buf) = cx.ring_with_buffer(setup(), 4096)?;
    cx.register(&ring, &[&file, &null])?;
    let file = Target::at(&file, &path)?.fixed(0);
    let null = Target::at(&null, "/dev/null")?.fixed(1);
    ring.run(
        cx,
        vec![
            cx.write(&file, 0, cx.buf(30)),
            cx.write(&null, 1, cx.buf(31)),
            cx.write_fixed(&file, 30, buf.part(10, 32), 0),
            cx.write_fixed(&null, 2, buf.part(0, 33), 0),
        ],
    )
}

fn sleeps(cx: &Cx) -> Result<()> {
    let mut ring = cx.ring(Setup { idle_ms: 1, ..setup() })?;
    for i in 0..3 {
        mixture(cx, &mut ring, &format!("file-{i}"))?;
        while !ring.ring.poller_sleeps() {
            std::thread::yield_now();
        }
    }
    Ok(())
}

fn filled_by_thread(cx: &Cx) -> Result<()> {
    let mut ring = cx.ring(setup())?;
    in_thread(|| mixture(cx, &mut ring, "file"))
}

fn attached(first: &Session) -> Setup {
    let both = sys::SETUP_SQPOLL | sys::SETUP_ATTACH_WQ;
    Setup { wq_fd: first.ring.fd(), flags: both, ..setup() }
}

fn attach(cx: &Cx) -> Result<()> {
    let mut first = cx.ring(setup())?;
    let mut second = cx.ring(attached(&first))?;
    mixture(cx, &mut second, "second")?;
    mixture(cx, &mut first, "first")
}

fn attach_thread(cx: &Cx) -> Result<()> {
    let mut first = cx.ring(setup())?;
    let attached = attached(&first);
    in_thread(|| mixture(cx, &mut cx.ring(attached)?, "second"))?;
    mixture(cx, &mut first, "first")
}

fn fails(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    fs::write(&path, "x")?;
    let file = fs::File::open(&path)?;
    let target = Target::at(&file, &path)?;
    let full = os::open("/dev/full", 0)?;
    let full = Target::at(&full, "/dev/full").map(|target| (full, target))?;
    let mut ring = cx.ring(setup())?;
    // Of a file that can be written to, or it depends on the kernel what it looks at first.
    let bad = cx.write(&full.1, 3, cx.buf(12)).raw(|sqe| sqe.ioprio = u16::MAX);
    ring.run_each(
        cx,
        vec![
            cx.write(&target, 1, cx.buf(10)).fails(libc::EBADF).by(SUBMITTER),
            cx.write(&Target::nothing(-1), 2, cx.buf(11)).fails(libc::EBADF).by(SUBMITTER),
            bad.fails(libc::EINVAL).by(SUBMITTER),
            cx.write(&full.1, 4, cx.buf(13)).fails(libc::ENOSPC),
        ],
    )
}

fn link(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let nothing = Target::nothing(-1);
    let mut ring = cx.ring(setup())?;
    ring.run(cx, vec![cx.write(&target, 0, cx.buf(10)).linked(), cx.write(&target, 10, cx.buf(11))])?;
    ring.run(
        cx,
        vec![
            cx.write(&nothing, 0, cx.buf(12)).fails(libc::EBADF).linked(),
            cx.write(&target, 20, cx.buf(13)).cancelled(),
        ],
    )
}

fn poll(cx: &Cx) -> Result<()> {
    let (reader, writer) = os::full_pipe()?;
    let pipe = Target::pathless(&writer)?;
    let mut ring = cx.ring(setup())?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(100))];
    ring.start(cx, &mut requests)?;
    ring.ring.wait_consumed();
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    os::read_exact(&reader, 100).map(drop)
}

fn skip_success(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let null = os::open("/dev/null", 0)?;
    let null = Target::at(&null, "/dev/null").map(|target| (null, target))?;
    let mut ring = cx.ring(setup()).context("ring")?;
    ring.run(
        cx,
        vec![cx.write(&null.1, 5, cx.buf(40)).skips(), cx.write(&target, 0, cx.buf(41)).skips().linked(), cx.nop()],
    )
}
