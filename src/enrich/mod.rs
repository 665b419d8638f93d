//! Records to events: strings to their ids, kernel clocks to time, raw facts to the event's fields.

mod clock;
mod file;
mod lookup;
mod memory;
mod name;
mod process;
mod request;
mod tree;

use std::sync::Arc;

pub use clock::Clock;
pub(crate) use file::unknown_of;
pub use memory::Memory;
pub(crate) use process::join;

use self::name::Held;
use self::tree::System;
use crate::event::ops::Step;
use crate::event::{
    Completion, Data, Event, Executor, IoWrite, Opcode, Outcome, PathUnknown, Pointer, Process, Rendered, Submitter,
    Text,
};
use crate::record::{self, End, Record, Write, flag};
use crate::selection::{Kind, Selection};

/// Ids that are kept before all strings are asked for anew.
const REMEMBER: usize = 16_384;

/// Strings of requests in flight that are kept: as many as the kernel side follows.
const REQUESTS: usize = 65_536;

/// Joins requests with the paths, names and threads that were sent before them.
#[derive(Debug)]
pub struct Enricher {
    paths: Memory<Arc<Rendered<Text>>>,
    tasks: Memory<Arc<Rendered<Process>>>,
    names: Memory<Held>,
    /// Looks names up; `None`: they are told by text.
    system: Option<System>,
    clock: Clock,
    selection: Selection,
    /// Tell each request's steps.
    life: bool,
    /// REQ_F_* of the running kernel: bit and name.
    request_flags: Vec<(u32, String)>,
    /// Make ids of rings out of their addresses.
    keys: [u64; 2],
}

impl Default for Enricher {
    fn default() -> Self {
        Self::new(Selection::default(), false, vec![])
    }
}

impl Enricher {
    /// Tells these events; `life`: with the steps of each request.
    #[must_use]
    pub fn new(selection: Selection, life: bool, request_flags: Vec<(u32, String)>) -> Self {
        Self {
            paths: Memory::default(),
            tasks: Memory::default(),
            names: Memory::default(),
            system: None,
            clock: Clock::now(),
            selection,
            life,
            request_flags,
            keys: [random(), random()],
        }
    }

    /// Looks names up in the file system.
    #[must_use]
    pub fn with_lookup(mut self) -> Self {
        self.system = System::new();
        self
    }

    /// Takes a record, and gives the events that it makes.
    pub fn take(&mut self, record: &Record<'_>, emit: &mut impl FnMut(&Event)) {
        match record {
            Record::Path(path) => {
                self.paths.insert(path.id, Arc::new(Rendered::new(file::text(path))));
            }
            Record::Task(task) => {
                let executable = self.paths.get(task.exe_path_id).map(|p| p.text.clone());
                let process = process::process(task, executable, &self.clock);
                self.tasks.insert(task.task_id, Arc::new(Rendered::new(process)));
            }
            Record::Names(names) => {
                // More than can be in flight: those whose end was lost.
                if self.names.len() >= REQUESTS {
                    self.names.age();
                }
                let held = Held::new(names, |id| self.paths.get(id).cloned());
                self.names.insert(names.id, held);
            }
            Record::Write(write) => emit(&self.write(write, None)),
            Record::Request(request) => self.request(request, emit),
            Record::Created(created) if self.selection.has(Kind::IoUringCreate) => emit(&self.created(created)),
            Record::Created(_) => {}
            Record::File(act, write) => emit(&self.file_act(*act, write)),
        }
    }

    /// The path of an id.
    #[must_use]
    pub fn path(&self, id: u64) -> Option<&Arc<Rendered<Text>>> {
        self.paths.get(id)
    }

    /// The thread of an id.
    #[must_use]
    pub fn task(&self, id: u64) -> Option<&Arc<Rendered<Process>>> {
        self.tasks.get(id)
    }

    /// Whether so much is remembered that the kernel side should send everything anew. Then [`Enricher::age`], once it
    /// was told and all that it sent before was taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.paths.len() >= REMEMBER || self.tasks.len() >= REMEMBER
    }

    /// Forgets what was already old the last time, and calls the rest old.
    pub fn age(&mut self) {
        self.paths.age();
        self.tasks.age();
    }

    /// Reads the clocks again.
    pub fn refresh_clock(&mut self) {
        self.clock = Clock::now();
    }

    /// The clock in use.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The same for each ring in one run.
    fn ring_id(&self, ctx: u64) -> u64 {
        let [a, b] = self.keys;
        let product = u128::from(ctx ^ a) * u128::from(ctx.rotate_left(32) ^ b);
        (product ^ (product >> 64)) as u64
    }

    fn submitter_tid(&self, w: &Write) -> u32 {
        if w.tid != 0 { w.tid } else { self.tasks.get(w.task_id).map_or(0, |p| p.host_tid) }
    }

    fn write(&self, w: &Write, life: Option<Vec<Step>>) -> Event {
        let path = if w.has(flag::FILE) { self.paths.get(w.path_id).cloned() } else { None };
        let unknown = || file::unknown(w).unwrap_or(PathUnknown::NoFile);
        let result = match w.end {
            End::Cqe | End::Overflow | End::Skipped | End::Link => Some(w.result),
            End::Unseen | End::InFlight | End::Untracked => None,
        };
        let entry_seen = !w.has(flag::NO_SQE);
        let executor = executor(w);
        let opcode = Opcode::from_number(w.opcode).unwrap_or(Opcode::Write);
        let vectored = matches!(opcode, Opcode::Writev | Opcode::WritevFixed);
        let process = self.tasks.get(w.task_id).cloned();
        let data = IoWrite {
            path_bytes: path.as_ref().and_then(|p| p.bytes.clone()),
            path_truncated: path.as_ref().is_some_and(|p| p.truncated),
            path_detached: path.as_ref().and_then(|p| p.detached(process.as_ref().map(|p| &***p))),
            path_unknown: path.is_none().then(unknown),
            path,
            deleted: w.has(flag::DELETED),
            pos: position(w, result),
            buf: Pointer(w.buf),
            len: w.len,
            iov_count: vectored.then_some(w.iov_count),
            worker_host_tid: self.submitter_tid(w),
            device: w.has(flag::FILE).then_some(w.dev),
            inode: w.has(flag::FILE).then_some(w.inode),
            opcode,
            result,
            error: result.filter(|&r| r < 0).map(|r| errno_name(r.saturating_neg())),
            outcome: outcome(result),
            completion: completion(w),
            latency_ns: latency(w),
            submitter: submitter(w),
            executor,
            executor_host_tid: (executor.is_some() && w.has(flag::EXEC_TID)).then_some(w.exec_tid),
            user_data: w.user_data,
            fd: (entry_seen && w.has(flag::SUBMIT)).then_some(w.fd),
            fixed_file: w.has(flag::FIXED_FILE),
            rw_flags: entry_seen.then_some(w.rw_flags),
            life,
        };
        Event { timestamp: self.clock.from_monotonic(w.end_ns), data: Data::IoWrite(data), process }
    }
}

/// A key that nobody can guess; where the kernel has none to give, tracing would not have begun.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

fn outcome(result: Option<i32>) -> Outcome {
    match result {
        None => Outcome::Unknown,
        Some(r) if r < 0 => Outcome::Failure,
        Some(_) => Outcome::Success,
    }
}

fn completion(w: &Write) -> Completion {
    match w.end {
        End::Cqe => Completion::Cqe,
        End::Overflow => Completion::Overflow,
        End::Skipped => Completion::Skipped,
        End::Link => Completion::Link,
        End::Unseen => Completion::Unseen,
        End::InFlight => Completion::InFlight,
        End::Untracked => Completion::Untracked,
    }
}

fn latency(w: &Write) -> Option<u64> {
    w.has(flag::SUBMIT | flag::END_SEEN).then(|| w.end_ns.saturating_sub(w.submit_ns))
}

fn submitter(w: &Write) -> Submitter {
    if w.has(flag::SQPOLL) { Submitter::Sqpoll } else { Submitter::Thread }
}

fn executor(w: &Write) -> Option<Executor> {
    match w.executor {
        record::Executor::Submitter => Some(Executor::Submitter),
        record::Executor::IoWq => Some(Executor::IoWq),
        record::Executor::Sqpoll => Some(Executor::Sqpoll),
        record::Executor::Kernel => Some(Executor::Kernel),
        record::Executor::Unknown => None,
    }
}

const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFBLK: u16 = 0o060_000;

/// The offset of the first byte; for a write that failed, the offset asked for.
fn position(w: &Write, result: Option<i32>) -> Option<i64> {
    if w.has(flag::NO_POS) {
        return None;
    }
    let asked = (w.has(flag::SUBMIT) && w.asked_pos != -1).then_some(w.asked_pos);
    let kernel = (w.has(flag::KI_POS) && w.ki_pos != -1).then_some(w.ki_pos);
    let kind = w.mode & S_IFMT;
    if w.has(flag::FILE) && kind != S_IFREG && kind != S_IFBLK {
        // Character devices take an offset and never move it.
        return asked;
    }
    match result {
        // The kernel moved ki_pos by what it wrote, also for -1 and appended writes.
        Some(written @ 1..) => match kernel {
            Some(end) => end.checked_sub(written.into()),
            None if w.has(flag::APPEND) => None,
            None => asked,
        },
        Some(_) => asked.or(kernel),
        None => asked,
    }
}

/// `ENOSPC`.
pub(crate) fn errno_name(errno: i32) -> &'static str {
    use std::sync::OnceLock;
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| (0..=133).map(|n| format!("{:?}", nix::errno::Errno::from_raw(n))).collect());
    usize::try_from(errno).ok().and_then(|i| names.get(i)).map_or("UNKNOWN", String::as_str)
}
