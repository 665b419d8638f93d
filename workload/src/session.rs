//! Submitting requests, checking what came of them, and writing down the truth.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};

use crate::clock::Moment;
use crate::cx::{Cx, Ids};
use crate::os;
use crate::request::{Accept, Request};
use crate::ring::Ring;
use crate::sys::{self, Cqe};
use crate::truth::{CqeFate, Known, Times};

/// A ring and the thread that made it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) ring: Ring,
    creator: Ids,
}

impl Session {
    pub(crate) fn new(ring: Ring, creator: Ids) -> Self {
        Self { ring, creator }
    }

    /// Submits and waits for everything that posts a completion.
    pub(crate) fn run(&mut self, cx: &Cx, mut requests: Vec<Request>) -> Result<()> {
        self.start(cx, &mut requests)?;
        self.finish(cx, requests)
    }

    /// One after the other, each completed before the next is submitted.
    pub(crate) fn run_each(&mut self, cx: &Cx, requests: Vec<Request>) -> Result<()> {
        requests.into_iter().try_for_each(|request| self.run(cx, vec![request]))
    }

    /// Submits without waiting.
    pub(crate) fn start(&mut self, cx: &Cx, requests: &mut [Request]) -> Result<()> {
        self.sign(cx, requests)?;
        self.push(requests)?;
        let before = Moment::before();
        self.ring.submit_all().context("io_uring_enter to submit")?;
        let submitted = match self.ring.is_sqpoll() {
            false => Known::Is(Moment::after()),
            true => Known::unknown("a poll thread takes requests when it likes"),
        };
        note_times(requests, before, &submitted);
        Ok(())
    }

    /// Says that the calling thread submits the requests.
    fn sign(&self, cx: &Cx, requests: &mut [Request]) -> Result<()> {
        let sqpoll = self.ring.is_sqpoll();
        let ids = if sqpoll { self.creator } else { cx.ids()? };
        sign(requests, ids, sqpoll);
        introduce(cx, requests, ids)
    }

    pub(crate) fn push(&mut self, requests: &[Request]) -> Result<()> {
        requests.iter().try_for_each(|request| self.ring.push(&request.sqe))
    }

    /// Waits for the completions of requests that were started, and records them.
    pub(crate) fn finish(&mut self, cx: &Cx, requests: Vec<Request>) -> Result<()> {
        let (mut waiting, silent): (VecDeque<_>, VecDeque<_>) =
            requests.into_iter().partition(|r| matches!(r.cqe, CqeFate::Posted | CqeFate::Overflow));
        while !waiting.is_empty() {
            let cqe = self.ring.wait()?;
            let reaped = Moment::after();
            let request = take(&mut waiting, cqe)?;
            settle(cx, request, cqe.res, Some(reaped))?;
        }
        // Workers that have nothing to do stay for some seconds.
        cx.look_at_threads(cx.ids()?.pid)?;
        silent.into_iter().try_for_each(|request| settle_unseen(cx, request))?;
        match self.ring.pop() {
            Some(cqe) => bail!("a completion that nobody waits for: {cqe:?}"),
            None => Ok(()),
        }
    }
}

/// Says who submits the requests, and who may carry them out.
pub(crate) fn sign(requests: &mut [Request], ids: Ids, sqpoll: bool) {
    let mut linked = false;
    for request in requests {
        let mut executor = request.executors(sqpoll);
        // A worker goes on with the next link of a chain itself; older kernels hand it all that may block.
        let worker = linked || !os::pipes_take_nowait();
        if worker && !executor.is_empty() && !executor.contains(&"io-wq") {
            executor.push("io-wq");
        }
        linked = request.sqe.flags & (sys::SQE_IO_LINK | sys::SQE_IO_HARDLINK) != 0;
        if let Some(truth) = &mut request.truth {
            truth.host_pid = ids.pid;
            truth.host_tid = ids.tid;
            truth.tid = ids.own_tid;
            truth.submitter = if sqpoll { "sqpoll" } else { "thread" };
            truth.executor = executor;
        }
    }
}

/// Says who the thread is that submits the requests.
pub(crate) fn introduce(cx: &Cx, requests: &mut [Request], ids: Ids) -> Result<()> {
    let identity = cx.identify(ids)?;
    cx.look_at_threads(ids.pid)?;
    for truth in requests.iter_mut().filter_map(|request| request.truth.as_mut()) {
        truth.identity = Some(identity);
        truth.native_workers = cx.native_workers();
    }
    Ok(())
}

/// Says when the requests were handed over.
pub(crate) fn note_times(requests: &mut [Request], before: Moment, submitted: &Known<Moment>) {
    for truth in requests.iter_mut().filter_map(|request| request.truth.as_mut()) {
        let reaped = Known::unknown("nobody takes its completion");
        truth.times = Some(Times { before, submitted: submitted.clone(), reaped });
    }
}

/// Finds the request that a completion belongs to. Where several share their `user_data` the result
/// decides.
fn take(waiting: &mut VecDeque<Request>, cqe: Cqe) -> Result<Request> {
    let same = |r: &Request| r.sqe.user_data == cqe.user_data;
    let found = waiting.iter().position(|r| same(r) && r.accept.allows(cqe.res));
    if let Some(request) = found.and_then(|index| waiting.remove(index)) {
        return Ok(request);
    }
    match waiting.iter().find(|r| same(r)) {
        Some(r) => bail!(
            "result {} where {:?} was expected (opcode {}, user_data {:#x}, {:?})",
            cqe.res,
            r.accept,
            r.sqe.opcode,
            cqe.user_data,
            r.truth.as_ref().map(|t| &t.path),
        ),
        None => bail!("a completion with unknown user_data: {cqe:?}"),
    }
}

/// Records a request whose result is known.
fn settle(cx: &Cx, request: Request, result: i32, reaped: Option<Moment>) -> Result<()> {
    let Some(mut truth) = request.truth else {
        return Ok(());
    };
    if let (Some(times), Some(reaped)) = (&mut truth.times, reaped) {
        times.reaped = Known::Is(reaped);
    }
    truth.result = Some(result);
    truth.cqe = request.cqe;
    cx.record(&truth)
}

/// Records a request that nobody gets a completion for, with the only result it can have.
pub(crate) fn settle_unseen(cx: &Cx, request: Request) -> Result<()> {
    match request.accept {
        Accept::One(result) => settle(cx, request, result, None),
        ref other => bail!("an unseen result must be known, not {other:?}"),
    }
}
