//! More completions than the queue has room for.

use std::fs::File;

use anyhow::{Result, bail};

use super::{Case, case};
use crate::cx::{Cx, DEFER, skip};
use crate::os;
use crate::request::Request;
use crate::ring::Setup;
use crate::session::{Session, settle_unseen};
use crate::sys;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("overflow", "the queue is overfilled, then reaped", plain),
    case("overflow-defer", "the same with DEFER_TASKRUN", defer),
    case("overflow-buffered", "writes by workers complete into a full queue", buffered),
    case("overflow-same-user-data", "all requests have the same user_data", same_user_data),
    case("overflow-closed", "the ring is closed without reaping", closed),
];

const ROOM: u32 = 4;

/// A ring whose queue holds as few completions as the kernel allows.
fn small_ring(cx: &Cx, flags: u32) -> Result<Session> {
    cx.ring(Setup { cq_entries: ROOM, ..Setup::new(ROOM, sys::SETUP_CQSIZE | flags) })
}

/// Written to at submission, also by kernels that leave what might block to workers.
fn null() -> Result<(File, Target)> {
    let file = os::open("/dev/null", libc::O_NONBLOCK)?;
    let target = Target::at(&file, "/dev/null")?;
    Ok((file, target))
}

/// Submits without reaping. Kernels before 6.0 refuse once the queue has overflowed.
fn pile_up(cx: &Cx, ring: &mut Session, requests: &mut [Request]) -> Result<()> {
    for batch in requests.chunks_mut(ROOM as usize) {
        ring.start(cx, batch).map_err(|error| match error.downcast_ref::<std::io::Error>() {
            Some(e) if e.raw_os_error() == Some(libc::EBUSY) => skip("no submission after an overflow"),
            _ => error,
        })?;
    }
    Ok(())
}

/// NOPs that take all the room, so that what follows overflows in whatever order it completes.
fn fillers(cx: &Cx) -> Vec<Request> {
    (0..ROOM).map(|_| cx.nop()).collect()
}

fn overfill(cx: &Cx, flags: u32) -> Result<()> {
    let (_null, null) = null()?;
    let mut ring = small_ring(cx, flags)?;
    let mut requests: Vec<_> = (0..4 * ROOM)
        .map(|i| {
            let request = cx.write(&null, i64::from(i), cx.buf(100 + i));
            if i < ROOM { request } else { request.overflows() }
        })
        .collect();
    pile_up(cx, &mut ring, &mut requests)?;
    if !ring.ring.overflowed() {
        bail!("the queue did not overflow");
    }
    ring.finish(cx, requests)?;
    // The ring works on as before.
    ring.run(cx, vec![cx.write(&null, 99, cx.buf(99))])
}

fn plain(cx: &Cx) -> Result<()> {
    overfill(cx, 0)
}

fn defer(cx: &Cx) -> Result<()> {
    overfill(cx, DEFER)
}

fn buffered(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let mut ring = small_ring(cx, 0)?;
    let mut requests = fillers(cx);
    requests.extend((0..8).map(|i| cx.write(&target, i * 1000, cx.buf(500)).overflows()));
    pile_up(cx, &mut ring, &mut requests)?;
    // Reaping must not begin while a write could still find room.
    wait_overflowed(&ring, 8)?;
    ring.finish(cx, requests)
}

/// Waits until the kernel holds back so many completions, as the ring's `fdinfo` lists them.
fn wait_overflowed(ring: &Session, count: usize) -> Result<()> {
    let path = format!("/proc/self/fdinfo/{}", ring.ring.fd());
    let mut misses = 0;
    loop {
        let text = std::fs::read_to_string(&path)?;
        match text.split_once("CqOverflowList:") {
            Some((_, list)) if list.matches("user_data=").count() >= count => return Ok(()),
            Some(_) => {}
            // Left out too while somebody else holds the ring's lock.
            None => misses += 1,
        }
        if misses > 100_000 {
            return Err(skip("fdinfo does not list what overflowed"));
        }
        std::thread::yield_now();
    }
}

/// Only lengths and files tell the requests apart.
fn same_user_data(cx: &Cx) -> Result<()> {
    let (_null, null) = null()?;
    let full = os::open("/dev/full", 0)?;
    let full = Target::at(&full, "/dev/full")?;
    let common = cx.next_user_data();
    let mut ring = small_ring(cx, 0)?;
    let mut requests = fillers(cx);
    requests.extend((0..8).map(|i| cx.write(&null, 7, cx.buf(200 + i)).overflows().user_data(common)));
    let failing = cx.write(&full, 7, cx.buf(300)).fails(libc::ENOSPC);
    requests.push(failing.overflows().user_data(common));
    pile_up(cx, &mut ring, &mut requests)?;
    // The full device is written to by a worker.
    wait_overflowed(&ring, 9)?;
    ring.finish(cx, requests)
}

fn closed(cx: &Cx) -> Result<()> {
    let (_null, null) = null()?;
    let mut ring = small_ring(cx, 0)?;
    let mut requests: Vec<_> = (0..2 * ROOM)
        .map(|i| {
            let request = cx.write(&null, i64::from(i), cx.buf(400 + i));
            if i < ROOM { request } else { request.overflows() }
        })
        .collect();
    pile_up(cx, &mut ring, &mut requests)?;
    drop(ring);
    requests.into_iter().try_for_each(|request| settle_unseen(cx, request))
}
