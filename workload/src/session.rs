//! Submitting requests, checking what came of them, and writing down the truth.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};

use crate::cx::{Cx, Ids};
use crate::os;
use crate::request::{Accept, Request};
use crate::ring::Ring;
use crate::sys::{self, Cqe};
use crate::truth::CqeFate;

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
        self.ring.submit_all().context("io_uring_enter to submit")
    }

    /// Says that the calling thread submits the requests.
    pub(crate) fn sign(&self, cx: &Cx, requests: &mut [Request]) -> Result<()> {
        let sqpoll = self.ring.is_sqpoll();
        sign(requests, if sqpoll { self.creator } else { cx.ids()? }, sqpoll);
        Ok(())
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
            let request = take(&mut waiting, cqe)?;
            settle(cx, request, cqe.res)?;
        }
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
            truth.name = (!sqpoll).then(os::thread_name);
            truth.uid = (!sqpoll).then(os::uid);
            truth.submitter = if sqpoll { "sqpoll" } else { "thread" };
            truth.executor = executor;
        }
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
pub(crate) fn settle(cx: &Cx, request: Request, result: i32) -> Result<()> {
    let Some(mut truth) = request.truth else {
        return Ok(());
    };
    truth.result = Some(result);
    truth.cqe = request.cqe;
    cx.record(&truth)
}

/// Records a request that nobody gets a completion for, with the only result it can have.
pub(crate) fn settle_unseen(cx: &Cx, request: Request) -> Result<()> {
    match request.accept {
        Accept::One(result) => settle(cx, request, result),
        ref other => bail!("an unseen result must be known, not {other:?}"),
    }
}
