//! Requests of any opcode to the parts that their events are made of.

use super::name::Held;
use super::position::position;
use super::{Enricher, completion, executor, latency, outcome, submitter};
use crate::event::{
    self, Asks, Data, Descriptor, Event, File, FileModification, IoUringCreate, Kind, Led, More, Outcome, Parts,
    PathSource, Pointer, Rules, SecurityFileOpen, Stage, Step, Text, VfsWrite,
};
use crate::names::{errno_name, setup_flags};
use crate::opcode;
use crate::record::{Created, End, FileAct, Request, Write, flag};

/// The steps of a request, each after the one before.
pub(super) fn life(r: &Request) -> Vec<Step> {
    let mut moments = vec![];
    if r.write.has(flag::SUBMIT) {
        let stage = if r.write.has(flag::PREP_FAILED) { Stage::Refused } else { Stage::Submitted };
        moments.push((r.write.submit_ns, stage, None));
    }
    if r.armed_ns != 0 {
        moments.push((r.armed_ns, Stage::PollArmed, (r.arms > 1).then_some(r.arms)));
    }
    if r.punted_ns != 0 {
        moments.push((r.punted_ns, Stage::Punted, None));
    }
    if r.write.has(flag::END_SEEN) {
        moments.push((r.write.end_ns, Stage::Completed, None));
    }
    moments.sort_by_key(|&(at, ..)| at);
    let mut last = moments.first().map_or(0, |&(at, ..)| at);
    moments
        .into_iter()
        .map(|(at, stage, times)| {
            let after_ns = at - last;
            last = at;
            Step { stage, after_ns, times }
        })
        .collect()
}

/// Changes of the place are counted in 32 bits.
const SOON: u64 = 60_000_000_000;

fn asks(r: &Request) -> Asks {
    Asks { opcode: r.write.opcode, fd: r.write.fd, arg: r.arg }
}

/// How the kernel looks up the name at `i`.
fn rules(r: &Request, i: usize) -> Rules {
    let asks = asks(r);
    let rules =
        Kind::of_opcode(asks.opcode).map_or_else(|| Rules::below(asks.fd), |kind| (kind.page().rules)(&asks, i));
    let soon = r.write.end_ns.saturating_sub(r.write.submit_ns) < SOON;
    Rules { same_place: soon && r.write.has(flag::SAME_PLACE), ..rules }
}

impl Enricher {
    /// The events of a request that are reported.
    pub(super) fn request(&mut self, r: &Request, emit: &mut impl FnMut(&Event)) {
        let held = self.names.remove(r.names_id);
        let names_dropped = r.names_id != 0 && held.is_none();
        self.pressure.nameless += u64::from(names_dropped);
        let kind = Kind::of_opcode(r.write.opcode);
        let own = kind.filter(|&kind| self.selection.has(kind));
        let any = self.selection.has_as_any_request(kind).then_some(Kind::IoIssueSqe);
        if own.is_none() && any.is_none() {
            return;
        }
        let led = held.as_ref().map(|held| self.lead(r, held)).unwrap_or_default();
        let write = self.parts(&r.write, kind == Some(Kind::IoWrite));
        let more = More {
            req_flags: r.req_flags,
            req_flag_names: any.map(|_| opcode::request_flags(r.req_flags, &self.request_flags)).unwrap_or_default(),
            sq_thread_id: Some(r.sq_tid).filter(|&tid| tid != 0),
            led,
            second_file: held.as_ref().and_then(Held::second_file).cloned(),
            other: held.and_then(|held| held.other),
        };
        let parts = Parts {
            asks: asks(r),
            request: event::Request { names_dropped, life: self.life.then(|| life(r)), ..write.request },
            more: Some(Box::new(more)),
            ..write
        };
        match (own, any) {
            (Some(own), Some(any)) => {
                self.emit(own, &r.write, parts.clone(), emit);
                self.emit(any, &r.write, parts, emit);
            }
            (Some(kind), None) | (None, Some(kind)) => self.emit(kind, &r.write, parts, emit),
            (None, None) => {}
        }
    }

    fn emit(&self, kind: Kind, w: &Write, parts: Parts, emit: &mut impl FnMut(&Event)) {
        if let Some(data) = Data::of_request(kind, parts) {
            emit(&self.event(w, data));
        }
    }

    /// A write of which nothing is asked but that.
    pub(super) fn write(&self, w: &Write) -> Event {
        self.event(w, Data::IoWrite(self.parts(w, true).into()))
    }

    /// Where the names of a request lead.
    fn lead(&mut self, r: &Request, held: &Held) -> [Option<Led>; 2] {
        let Self { system, tasks, paths, .. } = self;
        let namespace = tasks.get(r.write.task_id).map(|task| task.mount_ns);
        let mut system = system.as_mut().filter(|(own, _)| namespace == Some(*own)).map(|(_, system)| system);
        let source = if r.write.has(flag::USER_NAMES) { PathSource::UserMemory } else { PathSource::Name };
        let submit_ns = i64::try_from(r.write.submit_ns).unwrap_or(i64::MAX);
        [0, 1].map(|i| {
            let acted = Some(r.acted[i]).filter(|&id| id != 0).and_then(|id| paths.get(id));
            let look_up = |question| system.as_mut()?.ask(move |system| system.look_up(&question, submit_ns))?;
            held.lead(i, rules(r, i), source, acted, look_up)
        })
    }

    /// A ring was created.
    pub(super) fn created(&self, c: &Created) -> Event {
        let process = self.tasks.get(c.task_id).cloned();
        let polling = c.setup & IORING_SETUP_SQPOLL != 0;
        let data = IoUringCreate {
            ctx: Pointer(self.ring_id(c.ctx)),
            fd: c.fd,
            sq_entries: c.sq_entries,
            cq_entries: c.cq_entries,
            flags: c.setup,
            flag_names: setup_flags(c.setup),
            polling,
            sqpoll_host_tid: Some(c.sq_tid).filter(|&tid| polling && tid != 0),
            worker_host_tid: c.tid,
        };
        Event { timestamp: self.clock.from_monotonic(c.time_ns), data: Data::IoUringCreate(data), process }
    }

    #[inline(always)]
    fn event(&self, w: &Write, data: Data) -> Event {
        let process = self.tasks.get(w.task_id).cloned();
        Event { timestamp: self.clock.from_monotonic(w.end_ns), data, process }
    }

    /// What a request has in common with a write; `is_write`: it is one.
    #[inline(always)]
    fn parts(&self, w: &Write, is_write: bool) -> Parts {
        let silent = w.end == End::Skipped && !is_write;
        let result = match w.end {
            End::Unseen | End::InFlight | End::Untracked => None,
            End::Skipped if silent => None,
            End::Cqe | End::Overflow | End::Skipped | End::Link => Some(w.result),
        };
        let executor = executor(w);
        let entry_seen = !w.has(flag::NO_SQE);
        let seen = w.has(flag::SUBMIT);
        let request = event::Request {
            opcode: opcode::name(w.opcode),
            opcode_number: w.opcode,
            user_data: w.user_data,
            ctx: Pointer(self.ring_id(w.ctx)),
            result,
            error: result.filter(|&r| r < 0).map(|r| errno_name(r.saturating_neg())),
            outcome: if silent && opcode::fails_aloud(w.opcode) { Outcome::Success } else { outcome(result) },
            completion: completion(w),
            latency_ns: latency(w),
            submitter: submitter(w),
            worker_host_tid: self.submitter_tid(w),
            executor,
            executor_host_tid: (executor.is_some() && w.has(flag::EXEC_TID)).then_some(w.exec_tid),
            names_dropped: false,
            life: None,
        };
        Parts {
            asks: Asks { opcode: w.opcode, fd: w.fd, arg: [0; 4] },
            seen,
            asked_pos: w.asked_pos,
            landed: if is_write { position(w, result) } else { None },
            buf: w.buf,
            len: w.len,
            iov_count: w.iov_count,
            rw_flags: entry_seen.then_some(w.rw_flags),
            posted: matches!(w.end, End::Cqe | End::Overflow).then_some(w.result),
            created: w.has(flag::CREATED),
            file: self.file(w),
            descriptor: Descriptor { fd: (entry_seen && seen).then_some(w.fd), fixed_file: w.has(flag::FIXED_FILE) },
            request,
            more: None,
        }
    }

    /// What was done to a file outside of io_uring.
    pub(super) fn file_act(&self, act: FileAct, w: &Write) -> Event {
        let file = self.file(w);
        let error = (w.result < 0).then(|| errno_name(w.result.saturating_neg()));
        let outcome = outcome(Some(w.result));
        let data = match act {
            FileAct::Write | FileAct::Writev => {
                let written = VfsWrite {
                    file,
                    pos: position(w, Some(w.result)),
                    buf: Pointer(w.buf),
                    len: w.len,
                    iov_count: (act == FileAct::Writev).then_some(w.iov_count),
                    result: w.result,
                    error,
                    outcome,
                    worker_host_tid: w.tid,
                };
                if act == FileAct::Write { Data::VfsWrite(written) } else { Data::VfsWritev(written) }
            }
            FileAct::Open => Data::SecurityFileOpen(SecurityFileOpen {
                file,
                flags: w.rw_flags.into(),
                flag_names: opcode::open_flags(w.rw_flags.into()),
                created: w.has(flag::CREATED) || opcode::makes_unnamed(w.rw_flags.into()),
                result: w.result,
                error,
                outcome,
                worker_host_tid: w.tid,
            }),
            FileAct::Modified => Data::FileModification(FileModification { file, worker_host_tid: w.tid }),
        };
        self.event(w, data)
    }

    #[inline(always)]
    fn file(&self, w: &Write) -> File {
        let known = w.has(flag::FILE);
        let path = known.then(|| self.paths.get(w.path_id).cloned()).flatten();
        File {
            path_bytes: path.as_ref().and_then(Text::base64),
            path_truncated: path.as_ref().is_some_and(|p| p.truncated),
            path_detached: path.as_ref().and_then(|p| p.detached(self.tasks.get(w.task_id).map(|p| &***p))),
            path_unknown: if path.is_none() { super::file::unknown(w) } else { None },
            path,
            deleted: w.has(flag::DELETED),
            path_stale: w.has(flag::STALE),
            device: known.then_some(w.dev),
            inode: known.then_some(w.inode),
        }
    }
}

const IORING_SETUP_SQPOLL: u32 = 1 << 1;
