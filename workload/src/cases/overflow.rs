//! More completions than the queue has room for.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};

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
    let held = Held::of(&ring)?;
    let mut requests = fillers(cx);
    pile_up(cx, &mut ring, &mut requests)?;
    held.begin()?;
    let mut writes: Vec<_> = (0..8).map(|i| cx.write(&target, i * 1000, cx.buf(500)).overflows()).collect();
    pile_up(cx, &mut ring, &mut writes)?;
    // Reaping must not begin while a write could still find room.
    held.wait(&ring, 8, 8)?;
    requests.extend(writes);
    ring.finish(cx, requests)
}

/// Tells how many completions the kernel holds back.
enum Held {
    /// By the ring's `fdinfo`, which lists them.
    Listed,
    /// By an eventfd: kernels without that list count there what they hold back, too.
    Counted(OwnedFd),
}

impl Held {
    fn of(ring: &Session) -> Result<Self> {
        // Nobody holds the lock of a new ring, without which there is no list either.
        if listed(ring)?.is_some() {
            return Ok(Self::Listed);
        }
        let event = os::eventfd()?;
        ring.ring.register_eventfd(&event).context("IORING_REGISTER_EVENTFD")?;
        Ok(Self::Counted(event))
    }

    /// Forgets what completed at submission, several of which may count as one.
    fn begin(&self) -> Result<()> {
        match self {
            Self::Listed => Ok(()),
            Self::Counted(event) => os::read_exact(event, 8).map(drop),
        }
    }

    /// Waits until `all` are held back, of them `by_workers` since the beginning.
    fn wait(&self, ring: &Session, all: usize, by_workers: u64) -> Result<()> {
        match self {
            Self::Listed => {
                // None: somebody else holds the lock at this moment.
                while listed(ring)?.is_none_or(|count| count < all) {
                    std::thread::yield_now();
                }
            }
            Self::Counted(event) => {
                let mut count = 0;
                while count < by_workers {
                    count += u64::from_ne_bytes(os::read_exact(event, 8)?[..].try_into()?);
                }
            }
        }
        Ok(())
    }
}

/// Completions in the list of the ring's `fdinfo`, if there is one.
fn listed(ring: &Session) -> Result<Option<usize>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", ring.ring.fd()))?;
    Ok(text.split_once("CqOverflowList:").map(|(_, list)| list.matches("user_data=").count()))
}

/// Only lengths and files tell the requests apart.
fn same_user_data(cx: &Cx) -> Result<()> {
    let (_null, null) = null()?;
    let full = os::open("/dev/full", 0)?;
    let full = Target::at(&full, "/dev/full")?;
    let common = cx.next_user_data();
    let mut ring = small_ring(cx, 0)?;
    let held = Held::of(&ring)?;
    let mut requests = fillers(cx);
    requests.extend((0..8).map(|i| cx.write(&null, 7, cx.buf(200 + i)).overflows().user_data(common)));
    pile_up(cx, &mut ring, &mut requests)?;
    held.begin()?;
    // The full device is written to by a worker.
    let failing = cx.write(&full, 7, cx.buf(300)).fails(libc::ENOSPC);
    let mut failing = vec![failing.overflows().user_data(common)];
    pile_up(cx, &mut ring, &mut failing)?;
    held.wait(&ring, 9, 1)?;
    requests.extend(failing);
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
