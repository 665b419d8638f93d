//! Does what a program says, and writes down what came of it.

use std::convert::Infallible;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::build::Built;
use super::files::Files;
use super::log::{Asked, Entry, Log, RINGS};
use super::program::{End, Op, Program, RingFlag, RingSpec, Step};
use crate::cx::{Buf, Cx, Ids};
use crate::os;
use crate::ring::{Ring, Setup};
use crate::session;
use crate::sys::{self, Sqe};

/// What ends by itself mostly ends in this time.
const A_WHILE: Duration = Duration::from_millis(30);
/// What ends at all has ended long before, also under emulation.
const PATIENCE: Duration = Duration::from_secs(2);
/// Retries of a submission that the kernel refuses while completions are held back.
const RETRIES: u32 = 100;
const BUFFER: u32 = 64 << 10;

/// A ring, and what is known of it.
pub(crate) struct Live {
    pub(crate) ring: Ring,
    creator: Ids,
    /// Registered with it.
    pub(crate) buffer: Buf,
    pub(crate) mixed: bool,
    /// Completions at these places may have been held back before.
    doubt: Option<(u32, Option<u32>)>,
    /// The queue was full since nothing was held back for certain.
    was_full: bool,
}

pub(crate) struct Player<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) files: &'a Files,
    log: Log,
    rings: Vec<Mutex<Option<Live>>>,
    /// Their descriptors, for who does not hold them.
    descriptors: [AtomicI32; RINGS],
    /// In a child, whose memory is a copy of that which the thread of an SQPOLL ring sees.
    in_child: AtomicBool,
    /// `user_data` of the last write.
    pub(crate) last: AtomicU64,
    /// Its length.
    pub(crate) last_len: AtomicU64,
}

impl<'a> Player<'a> {
    pub(crate) fn new(cx: &'a Cx, files: &'a Files, log: Log) -> Self {
        let (last, last_len) = (AtomicU64::new(0), AtomicU64::new(0));
        let descriptors = std::array::from_fn(|_| AtomicI32::new(-1));
        Self { cx, files, log, rings: vec![], descriptors, in_child: AtomicBool::new(false), last, last_len }
    }

    /// Everything, to the end of the process.
    pub(crate) fn run(mut self, program: &Program) -> Result<Infallible> {
        os::ignore_signal(libc::SIGPIPE)?;
        if let End::KilledAfter(us) = program.end {
            thread::spawn(move || {
                thread::sleep(Duration::from_micros(us.into()));
                os::kill(std::process::id() as i32, libc::SIGKILL)
            });
        }
        ensure!(program.rings.len() <= RINGS, "too many rings");
        for (index, spec) in program.rings.iter().enumerate() {
            let ring = self.open(spec)?;
            if let Some(live) = &ring {
                self.descriptors[index].store(live.ring.fd(), Ordering::Relaxed);
            }
            self.rings.push(Mutex::new(ring));
        }
        self.steps(&program.steps)?;
        match program.end {
            End::Settle => {
                for ring in 0..self.rings.len() {
                    self.finish(ring)?;
                }
                self.log.add(&Entry::End)?;
            }
            End::Close => {
                for ring in 0..self.rings.len() {
                    self.close(ring)?;
                }
            }
            End::Exit => {}
            End::Kill => os::kill(std::process::id() as i32, libc::SIGKILL)?,
            End::Exec => exec()?,
            End::KilledAfter(_) => loop {
                thread::park();
            },
        }
        os::exit_now()
    }

    /// None: this kernel has no such rings.
    fn open(&self, spec: &RingSpec) -> Result<Option<Live>> {
        let mut flags = spec.flags.iter().fold(0, |bits, flag| bits | flag.bits());
        if spec.cq_entries > 0 {
            flags |= sys::SETUP_CQSIZE;
        }
        let attached = spec.flags.contains(&RingFlag::AttachWq);
        let wq_fd = if attached { self.descriptor(0) } else { -1 };
        let setup = Setup { entries: spec.entries, flags, cq_entries: spec.cq_entries, idle_ms: 5, wq_fd };
        let ring = match Ring::new(setup) {
            Ok(ring) => ring,
            Err(error) => {
                let names = serde_json::to_string(&spec.flags)?;
                self.log.add(&Entry::Skipped(format!("a ring with {names}: {error}")))?;
                return Ok(None);
            }
        };
        let buffer = self.cx.pages(BUFFER);
        // SAFETY: the memory was just handed out.
        unsafe { std::ptr::write_bytes(buffer.addr as *mut u8, b'w', BUFFER as usize) };
        // Where that is not allowed the requests fail, which is as good.
        // SAFETY: the arena is never unmapped.
        let _ = unsafe { ring.register_buffers(&[buffer.iovec()]) };
        let mut table = self.files.descriptors();
        // For OPENAT, and the one that tells when the ring is gone.
        table.push(-1);
        table.extend(self.files.sentinel.as_ref().map(std::os::fd::AsRawFd::as_raw_fd));
        ring.register_files(&table).context("register files")?;
        let mixed = spec.flags.contains(&RingFlag::CqeMixed);
        Ok(Some(Live { ring, creator: self.cx.ids()?, buffer, mixed, doubt: None, was_full: false }))
    }

    fn ring(&self, index: usize) -> Option<MutexGuard<'_, Option<Live>>> {
        Some(self.rings.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// -1: the ring is not open.
    pub(crate) fn descriptor(&self, index: usize) -> i32 {
        self.descriptors.get(index).map_or(-1, |fd| fd.load(Ordering::Relaxed))
    }

    fn steps(&self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Submit { ring, ops } => self.submit(*ring, ops),
            Step::Reap { ring, most } => self.with(*ring, |live| self.reap(*ring, live, *most)),
            Step::Flush { ring } => self.with(*ring, enter),
            Step::Settle { ring } => self.with(*ring, |live| self.settle(*ring, live, A_WHILE, false).map(drop)),
            Step::Drain => self.files.drain(),
            Step::Feed => self.files.feed(),
            Step::Fork { steps } => self.fork(steps),
            Step::Thread { steps } => thread::scope(|scope| joined(scope.spawn(|| self.steps(steps)))),
            Step::Both { left, right } => thread::scope(|scope| {
                let (left, right) = (scope.spawn(|| self.steps(left)), scope.spawn(|| self.steps(right)));
                joined(left).and(joined(right))
            }),
            Step::Close { ring } => self.close(*ring),
        }
    }

    fn with(&self, ring: usize, act: impl FnOnce(&mut Live) -> Result<()>) -> Result<()> {
        match self.ring(ring).as_deref_mut() {
            Some(Some(live)) => act(live),
            _ => Ok(()),
        }
    }

    fn close(&self, ring: usize) -> Result<()> {
        let Some(mut slot) = self.ring(ring) else { return Ok(()) };
        self.descriptors[ring].store(-1, Ordering::Relaxed);
        if slot.take().is_some() {
            self.log.add(&Entry::Closed(ring))?;
        }
        Ok(())
    }

    fn fork(&self, steps: &[Step]) -> Result<()> {
        // SAFETY: the other threads, if any, only kill the process.
        let pid = os::cvt(unsafe { libc::fork() }).context("fork")?;
        if pid == 0 {
            // SAFETY: no pointer is passed.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            self.in_child.store(true, Ordering::Relaxed);
            if let Err(error) = self.steps(steps) {
                let _ = self.log.add(&Entry::Error(format!("{error:#}")));
            }
            os::exit_now();
        }
        os::wait(pid)?;
        for ring in 0..self.rings.len() {
            self.with(ring, |live| {
                // What the child saw of it is not known here.
                live.was_full = true;
                live.doubt = Some((live.ring.completions().0, None));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn submit(&self, ring: usize, ops: &[Op]) -> Result<()> {
        self.with(ring, |live| {
            if live.ring.is_sqpoll() && self.in_child.load(Ordering::Relaxed) {
                return Ok(());
            }
            let size = live.ring.params().sq_entries as usize;
            ops.chunks(size).try_for_each(|ops| self.submit_some(ring, live, ops))
        })
    }

    fn submit_some(&self, index: usize, live: &mut Live, ops: &[Op]) -> Result<()> {
        let mut asked = vec![];
        // Whether a link before may fail without a completion.
        let (mut behind, mut in_chain) = (false, false);
        for op in ops {
            let Some(built) = self.build(live, op) else { continue };
            behind &= in_chain;
            asked.push((
                self.sign(index, live, &built, behind)?,
                built.request.sqe,
                tag_of(built.request.sqe.user_data),
            ));
            behind |= built.skip;
            in_chain = built.request.sqe.flags & (sys::SQE_IO_LINK | sys::SQE_IO_HARDLINK) != 0;
        }
        let sqes: Vec<_> = asked.iter().map(|(_, sqe, _)| *sqe).collect();
        let seqs: Vec<_> = asked.iter().map(|(one, ..)| one.seq).collect();
        let mut tags = vec![];
        for (one, _, tag) in asked {
            let certain = one.certain && !one.skip && !one.behind;
            if certain {
                self.log.expect(index, one.seq, tag);
            }
            tags.push(tag.filter(|_| certain));
            self.log.add(&Entry::Asked(Box::new(one)))?;
        }
        let taken = self.hand_over(index, live, &sqes)?;
        if let Some(taken) = taken {
            self.log.add(&Entry::Taken(seqs[..taken].to_vec()))?;
            for (&seq, &tag) in seqs.iter().zip(&tags).skip(taken) {
                self.log.settled(index, seq, tag);
            }
            self.log.add(&Entry::Refused(seqs[taken..].to_vec()))?;
        }
        Ok(())
    }

    /// How many the kernel took; `None`: that is not known.
    fn hand_over(&self, index: usize, live: &mut Live, sqes: &[Sqe]) -> Result<Option<usize>> {
        sqes.iter().try_for_each(|sqe| live.ring.push(sqe))?;
        let waiting = live.ring.publish();
        if live.ring.is_sqpoll() {
            before_enter(live);
            let _ = live.ring.wake();
            after_enter(live);
            let start = Instant::now();
            while !live.ring.consumed() {
                if start.elapsed() > PATIENCE {
                    self.log.add(&Entry::Unsettled(index))?;
                    return Ok(None);
                }
                let _ = live.ring.wake();
                thread::yield_now();
            }
            return Ok(Some(sqes.len()));
        }
        ensure!(waiting as usize == sqes.len(), "{waiting} entries for {} requests", sqes.len());
        let rewinds = live.ring.params().flags & sys::SETUP_SQ_REWIND != 0;
        let mut taken = 0;
        for _ in 0..RETRIES {
            if taken == sqes.len() {
                return Ok(Some(taken));
            }
            if rewinds && taken > 0 {
                sqes[taken..].iter().try_for_each(|sqe| live.ring.push(sqe))?;
                live.ring.publish();
            }
            before_enter(live);
            let entered = live.ring.enter((sqes.len() - taken) as u32, 0, 0);
            after_enter(live);
            match entered {
                Ok(n) => taken += n as usize,
                Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    self.reap(index, live, u32::MAX)?;
                    enter(live)?;
                }
                // As with the second issuer of a ring that allows one.
                Err(_) => break,
            }
        }
        live.ring.take_back();
        Ok(Some(taken))
    }

    fn sign(&self, index: usize, live: &Live, built: &Built, behind: bool) -> Result<Asked> {
        let ids = if live.ring.is_sqpoll() { live.creator } else { self.cx.ids()? };
        let mut request = built.request.clone();
        session::sign(std::slice::from_mut(&mut request), ids, live.ring.is_sqpoll());
        let mut truth = request.truth.context("every request has a truth")?;
        truth.executor.clear();
        Ok(Asked {
            seq: built.seq,
            ring: index,
            user_data: request.sqe.user_data,
            truth: serde_json::to_value(&truth)?,
            skip: built.skip,
            behind,
            accept: built.accept.clone(),
            region: built.region,
            message: built.message,
            certain: built.certain,
        })
    }

    /// Takes completions that are there.
    fn reap(&self, index: usize, live: &mut Live, most: u32) -> Result<()> {
        for _ in 0..most {
            let (head, tail) = live.ring.completions();
            live.was_full |= is_full(live, head, tail);
            let Some(cqe) = live.ring.pop() else { break };
            let doubted = |(from, to): (u32, Option<u32>)| {
                before_or_at(from, head) && to.is_none_or(|to| !before_or_at(to, head))
            };
            let direct = !live.doubt.is_some_and(doubted);
            self.log.add(&Entry::Cqe {
                ring: index,
                user_data: cqe.user_data,
                res: cqe.res,
                flags: cqe.flags,
                direct,
            })?;
            if cqe.flags & sys::CQE_MORE == 0 {
                self.log.settled(index, u64::from(cqe.user_data as u32), tag_of(cqe.user_data));
            }
        }
        Ok(())
    }

    /// False: after that long, some that should have ended have not.
    fn settle(&self, index: usize, live: &mut Live, patience: Duration, cancel: bool) -> Result<bool> {
        let start = Instant::now();
        loop {
            self.files.drain()?;
            self.files.feed_one()?;
            self.reap(index, live, u32::MAX)?;
            if self.log.is_settled(index) {
                return Ok(true);
            }
            if start.elapsed() > patience {
                return Ok(false);
            }
            if cancel {
                live.ring.cancel_all();
            }
            enter(live)?;
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Waits for everything that can end, and then a little for what may end in silence or not.
    fn finish(&self, index: usize) -> Result<()> {
        self.with(index, |live| {
            self.settle(index, live, A_WHILE, false)?;
            // What waits for a poll that never ends.
            self.submit_some(index, live, &[super::build::cancel_everything()])?;
            if !self.settle(index, live, PATIENCE, true)? {
                self.log.add(&Entry::Unsettled(index))?;
            }
            for _ in 0..10 {
                enter(live)?;
                self.reap(index, live, u32::MAX)?;
                thread::sleep(Duration::from_micros(100));
            }
            Ok(())
        })
    }
}

/// In `user_data`: that it is a tag's.
pub(crate) const TAGGED: u32 = 1 << 31;

fn tag_of(user_data: u64) -> Option<u8> {
    let low = user_data as u32;
    (low & TAGGED != 0).then_some((low & 0xff) as u8)
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
}

/// Of places that wrap around.
fn before_or_at(place: u32, other: u32) -> bool {
    other.wrapping_sub(place) < 1 << 31
}

fn is_full(live: &Live, head: u32, tail: u32) -> bool {
    // One of double size that did not fit also counts.
    let room = live.ring.params().cq_entries.saturating_sub(tail.wrapping_sub(head));
    room < if live.mixed { 2 } else { 1 } || live.ring.overflowed()
}

/// Every call may put what was held back into the queue, behind what is there.
fn before_enter(live: &mut Live) {
    let (head, tail) = live.ring.completions();
    if live.was_full || is_full(live, head, tail) {
        live.was_full = true;
        let from = live.doubt.map_or(tail, |(from, _)| from);
        live.doubt = Some((from, None));
    }
}

fn after_enter(live: &mut Live) {
    let (head, tail) = live.ring.completions();
    if !is_full(live, head, tail) {
        live.was_full = false;
        if let Some((_, to @ None)) = &mut live.doubt {
            *to = Some(tail);
        }
    }
}

fn enter(live: &mut Live) -> Result<()> {
    before_enter(live);
    // A thread that may not wait for a ring does without.
    let _ = live.ring.enter(0, 0, sys::ENTER_GETEVENTS);
    after_enter(live);
    Ok(())
}

/// Becomes a program that does nothing.
fn exec() -> Result<()> {
    const PROGRAM: &CStr = c"/proc/self/exe";
    let arguments = [c"ringwatch-workload", c"fuzz", c"--programs", c"0"].map(CStr::as_ptr);
    let terminated: Vec<_> = arguments.into_iter().chain([std::ptr::null()]).collect();
    // SAFETY: terminated strings in terminated arrays.
    os::cvt(unsafe { libc::execve(PROGRAM.as_ptr(), terminated.as_ptr(), [std::ptr::null()].as_ptr()) })
        .context("execve")?;
    Ok(())
}
