//! One case for each way of making a ring.

use std::fs::{self, File};

use anyhow::{Context, Result, bail};

use super::{Case, case, in_thread};
use crate::cx::{Cx, DEFER};
use crate::os;
use crate::request::{ANYONE, Accept, SUBMITTER};
use crate::ring::Setup;
use crate::session::Session;
use crate::sys;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("ring-iopoll", "IOPOLL: polled O_DIRECT, or the refusal where the device cannot", iopoll),
    case("ring-single-issuer", "SINGLE_ISSUER", single_issuer),
    case("ring-defer-taskrun", "SINGLE_ISSUER with DEFER_TASKRUN", defer_taskrun),
    case("ring-coop-taskrun", "COOP_TASKRUN", coop_taskrun),
    case("ring-disabled", "R_DISABLED, enabled later by the same thread", disabled),
    case("ring-disabled-thread", "R_DISABLED with SINGLE_ISSUER, enabled and used by another thread", disabled_thread),
    case("ring-cqe32", "CQE32: completions of double size", cqe32),
    case("ring-sqe128", "SQE128: entries of double size", sqe128),
    case("ring-attach-wq", "ATTACH_WQ: the workers of another ring", attach_wq),
    case("ring-clamp", "CLAMP: more entries than the kernel allows", clamp),
    case("ring-cqsize", "CQSIZE: a longer completion queue", cqsize),
    case("ring-no-sqarray", "NO_SQARRAY", no_sqarray),
    case("ring-registered", "the ring's own descriptor is registered", registered),
    case("ring-submit-all", "SUBMIT_ALL: a bad request does not end the batch", submit_all),
];

/// Some of everything: inline, by a worker, asynchronous.
fn mixture(cx: &Cx, ring: &mut Session) -> Result<()> {
    let (null, buffered, direct) = files(cx)?;
    ring.run(
        cx,
        vec![
            cx.write(&null.1, 1, cx.buf(10)),
            cx.write(&buffered.1, 2, cx.buf(11)),
            cx.write(&direct.1, 4096, cx.pages(4096)),
            cx.writev(&null.1, 3, &[cx.buf(12), cx.buf(13)]),
        ],
    )?;
    ring.run_each(cx, (0..5).map(|i| cx.write(&buffered.1, i * 10, cx.buf(14))).collect())
}

type Opened = (File, Target);

fn files(cx: &Cx) -> Result<(Opened, Opened, Opened)> {
    let opened = |path: std::path::PathBuf, flags| -> Result<Opened> {
        let file = os::open(&path, flags)?;
        let target = Target::at(&file, &path)?;
        Ok((file, target))
    };
    let direct = cx.dir.join("direct");
    fs::write(&direct, vec![b'x'; 16384])?;
    File::open(&direct)?.sync_all()?;
    Ok((opened("/dev/null".into(), 0)?, opened(cx.dir.join("file"), 0)?, opened(direct, libc::O_DIRECT)?))
}

fn with_flags(cx: &Cx, flags: u32) -> Result<()> {
    mixture(cx, &mut cx.ring(Setup::new(8, flags))?)
}

/// What the device answers is the truth: without poll queues it is EOPNOTSUPP since 6.10.
fn iopoll(cx: &Cx) -> Result<()> {
    let (_null, buffered, direct) = files(cx)?;
    let mut ring = cx.ring(Setup::new(8, sys::SETUP_IOPOLL))?;
    let refused = -libc::EOPNOTSUPP;
    let polled = |off| {
        let request = cx.write(&direct.1, off, cx.pages(4096));
        request.accept(Accept::Of(vec![4096, refused])).by(ANYONE)
    };
    ring.run_each(cx, vec![polled(0), polled(8192)])?;
    let old = Accept::Of(vec![refused, -libc::EINVAL]);
    ring.run(cx, vec![cx.write(&buffered.1, 0, cx.buf(5)).accept(old).by(SUBMITTER)])
}

fn single_issuer(cx: &Cx) -> Result<()> {
    with_flags(cx, sys::SETUP_SINGLE_ISSUER)
}

fn defer_taskrun(cx: &Cx) -> Result<()> {
    with_flags(cx, DEFER)
}

fn coop_taskrun(cx: &Cx) -> Result<()> {
    with_flags(cx, sys::SETUP_COOP_TASKRUN)
}

fn disabled(cx: &Cx) -> Result<()> {
    let mut ring = cx.ring(Setup::new(8, sys::SETUP_R_DISABLED))?;
    ring.ring.enable().context("enable the ring")?;
    mixture(cx, &mut ring)
}

fn disabled_thread(cx: &Cx) -> Result<()> {
    let mut ring = cx.ring(Setup::new(8, sys::SETUP_R_DISABLED | sys::SETUP_SINGLE_ISSUER))?;
    in_thread(|| {
        ring.ring.enable().context("enable the ring")?;
        mixture(cx, &mut ring)
    })
}

fn cqe32(cx: &Cx) -> Result<()> {
    with_flags(cx, sys::SETUP_CQE32)
}

fn sqe128(cx: &Cx) -> Result<()> {
    with_flags(cx, sys::SETUP_SQE128)?;
    let path = cx.dir.join("both");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let mut ring = cx.ring(Setup::new(8, sys::SETUP_SQE128 | sys::SETUP_CQE32))?;
    ring.run(cx, (0..8).map(|i| cx.write(&target, i * 10, cx.buf(10))).collect())
}

fn attach_wq(cx: &Cx) -> Result<()> {
    let mut first = cx.plain_ring()?;
    let setup = Setup { wq_fd: first.ring.fd(), ..Setup::new(8, sys::SETUP_ATTACH_WQ) };
    let mut second = cx.ring(setup)?;
    mixture(cx, &mut second)?;
    mixture(cx, &mut first)
}

fn clamp(cx: &Cx) -> Result<()> {
    let mut ring = cx.ring(Setup::new(1 << 20, sys::SETUP_CLAMP))?;
    mixture(cx, &mut ring)
}

fn cqsize(cx: &Cx) -> Result<()> {
    let setup = Setup { cq_entries: 1024, ..Setup::new(8, sys::SETUP_CQSIZE) };
    let mut ring = cx.ring(setup)?;
    if ring.ring.params().cq_entries != 1024 {
        bail!("a completion queue of {} entries", ring.ring.params().cq_entries);
    }
    mixture(cx, &mut ring)
}

fn no_sqarray(cx: &Cx) -> Result<()> {
    with_flags(cx, sys::SETUP_NO_SQARRAY)
}

fn registered(cx: &Cx) -> Result<()> {
    let mut ring = cx.plain_ring()?;
    let registered = ring.ring.register_ring_fd();
    registered.map_err(|e| crate::cx::skip(format!("IORING_REGISTER_RING_FDS: {e}")))?;
    mixture(cx, &mut ring)
}

fn submit_all(cx: &Cx) -> Result<()> {
    let (null, buffered, _direct) = files(cx)?;
    let mut ring = cx.ring(Setup::new(8, sys::SETUP_SUBMIT_ALL))?;
    let bad = cx.write(&buffered.1, 5, cx.buf(20)).raw(|sqe| sqe.ioprio = u16::MAX);
    ring.run(
        cx,
        vec![
            cx.write(&null.1, 1, cx.buf(21)),
            bad.fails(libc::EINVAL).by(SUBMITTER),
            cx.write(&null.1, 2, cx.buf(22)),
            cx.write(&Target::nothing(-1), 3, cx.buf(23)).fails(libc::EBADF),
            cx.write(&buffered.1, 4, cx.buf(24)),
        ],
    )
}
