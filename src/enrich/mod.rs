//! Records to events: strings to their ids, kernel clocks to time, raw facts to the event's fields.

mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod helper;
mod lookup;
mod memory;
mod name;
mod position;
mod process;
mod request;
mod tree;

use std::collections::HashSet;
use std::sync::Arc;

pub(crate) use file::unknown_of;
pub use memory::{ENTRY, Memory, Weigh};

use self::helper::Helper;
use self::name::Held;
use self::tree::System;
use crate::event::{Completion, Event, Executor, Kind, Outcome, Process, Rendered, Submitter, Text};
use crate::record::{self, End, Record, Write, flag};
use crate::selection::Selection;
use crate::time::Clock;

/// Bytes of strings that are kept where nothing else is asked for.
pub const MEMORY_LIMIT: usize = 64 << 20;

/// Joins requests with the paths, names and threads that were sent before them.
#[derive(Debug)]
pub struct Enricher {
    paths: Memory<Text>,
    tasks: Memory<Arc<Rendered<Process>>>,
    names: Memory<Held>,
    /// Bytes of all three, both generations.
    limit: usize,
    pressure: Pressure,
    /// Looks names up, in this mount namespace; `None`: they are told by text.
    system: Option<(u32, Helper<System>)>,
    /// Reads command lines that the kernel side could not read.
    arguments: Helper<()>,
    clock: Clock,
    selection: Selection,
    /// Tell each request's steps.
    life: bool,
    /// REQ_F_* of the running kernel: bit and name.
    request_flags: Vec<(u32, String)>,
    /// Make ids of rings out of their addresses.
    keys: [u64; 2],
}

/// What the limit of memory has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Times that the kernel side had to send all strings anew.
    pub renewed: u64,
    /// Requests that were told without the names that they brought along.
    pub nameless: u64,
}

impl Weigh for Text {
    fn weight(&self) -> usize {
        self.exact().len()
    }
}

impl Weigh for Arc<Rendered<Process>> {
    fn weight(&self) -> usize {
        let of = |text: &Option<Text>| text.as_ref().map_or(0, Weigh::weight);
        size_of::<Rendered<Process>>() + self.kept() + of(&self.executable) + of(&self.command_line)
    }
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
            limit: MEMORY_LIMIT,
            pressure: Pressure::default(),
            system: None,
            arguments: Helper::new("command lines", || Some(())),
            clock: Clock::now(),
            selection,
            life,
            request_flags,
            keys: [random(), random()],
        }
    }

    /// Keeps at most about so many bytes of strings.
    #[must_use]
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Looks names up in the file system.
    #[must_use]
    pub fn with_lookup(mut self) -> Self {
        let mut system = Helper::new("names", System::new);
        self.system = system.ask(|system| system.namespace()).map(|namespace| (namespace, system));
        self
    }

    /// Takes a record, and gives the events that it makes.
    pub fn take(&mut self, record: &Record<'_>, emit: &mut impl FnMut(&Event)) {
        match record {
            Record::Path(path) => {
                self.paths.insert(path.id, file::text(path));
            }
            Record::Task(task) => {
                let executable = self.paths.get(task.exe_path_id).cloned();
                let process = process::process(task, executable, &self.clock, &mut self.arguments);
                self.tasks.insert(task.task_id, Arc::new(Rendered::new(process)));
            }
            Record::Names(names) => {
                // Those of requests whose end was lost, and of those that wait longest.
                if self.names.bytes() >= self.limit / 8 {
                    self.names.age(&HashSet::new(), 0);
                }
                let held = Held::new(names, |id| self.paths.get(id).cloned());
                self.names.insert(names.id, held);
            }
            Record::Write(write) => emit(&self.write(write)),
            Record::Request(request) => self.request(request, emit),
            Record::Created(created) if self.selection.has(Kind::IoUringCreate) => emit(&self.created(created)),
            Record::Created(_) => {}
            Record::File(act, write) => emit(&self.file_act(*act, write)),
        }
    }

    /// The path of an id.
    #[must_use]
    pub fn path(&self, id: u64) -> Option<&Text> {
        self.paths.get(id)
    }

    /// The thread of an id.
    #[must_use]
    pub fn task(&self, id: u64) -> Option<&Arc<Rendered<Process>>> {
        self.tasks.get(id)
    }

    /// Whether so much is remembered that the kernel side should send everything anew. Then [`Enricher::age`], once it
    /// was told and all that it sent before was taken. Two generations, what requests in flight refer to, and the names that
    /// they brought along share the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.paths.bytes() + self.tasks.bytes() >= self.limit / 16 * 5
    }

    /// What the limit has cost.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// Forgets what was already old the last time and is not `pinned`, and calls the rest old.
    pub fn age(&mut self, pinned: &HashSet<u64>) {
        let most = self.limit / 16;
        self.paths.age(pinned, most);
        self.tasks.age(pinned, most);
        self.pressure.renewed += 1;
    }

    /// Reads the clocks again.
    pub fn refresh_clock(&mut self) {
        self.clock.refresh();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Data, PathUnknown};
    use crate::kernel::wire::bytes_of;
    use crate::kernel::wire::{rw_names, rw_path, rw_request};
    use crate::record::decode;

    const DATA_OFFSET: usize = 112;

    fn with_data(mut header: Vec<u8>, data: &[u8]) -> Vec<u8> {
        header.resize(DATA_OFFSET, 0);
        header.extend_from_slice(data);
        header
    }

    fn take(enricher: &mut Enricher, bytes: &[u8]) -> Vec<serde_json::Value> {
        let mut events = vec![];
        enricher.take(&decode(bytes).unwrap(), &mut |e| events.push(serde_json::to_value(e).unwrap()));
        events
    }

    #[test]
    fn long_paths_that_are_not_utf8_stay_within_the_limit() {
        const LIMIT: usize = 4 << 20;
        let mut enricher = Enricher::default().with_limit(LIMIT);
        let names = [[0xff; 255].as_slice(), b"\0"].concat().repeat(128);
        for id in 1..2000u64 {
            let size = u32::try_from(names.len()).unwrap();
            let path = rw_path { r#type: 2, path_id: id, inode: id, size, mode: 0o100_644, ..rw_path::default() };
            take(&mut enricher, &with_data(bytes_of(&path), &names));
            if enricher.is_full() {
                enricher.age(&HashSet::new());
            }
            assert_eq!(enricher.path(id).map(|p| p.exact().len()), Some(names.len()));
            assert!(enricher.paths.bytes() <= LIMIT / 2);
        }
        assert!(enricher.pressure().renewed > 10);
    }

    /// A filter of paths would otherwise leave out what it could not judge.
    #[test]
    fn a_request_about_a_file_that_is_not_known_says_so() {
        let mut enricher = Enricher::new(Selection::all(), false, vec![]);
        let mut take = |opcode| {
            let mut request = rw_request::default();
            request.w = crate::kernel::wire::rw_write { r#type: 4, flags: flag::SUBMIT, opcode, end: 3, ..request.w };
            let mut unknown = None;
            enricher.take(&decode(&bytes_of(&request)).unwrap(), &mut |event| {
                if matches!(event.data, Data::IoIssueSqe(_)) {
                    let unsure = event.data.asked().is_some_and(|asked| !asked.certain);
                    unknown = Some((event.data.path_unknown(), unsure));
                }
            });
            unknown
        };
        let (nop, fsync, write, splice) = (0, 3, 23, 30);
        assert_eq!(take(nop), Some((None, false)));
        assert_eq!(take(fsync), Some((Some(PathUnknown::NoFile), false)));
        assert_eq!(take(write), Some((Some(PathUnknown::NoFile), false)));
        assert_eq!(take(splice), Some((Some(PathUnknown::NoFile), true)));
    }

    #[test]
    fn names_of_more_requests_than_fit_are_dropped_and_that_is_told() {
        let mut enricher = Enricher::new(Selection::all(), false, vec![]).with_limit(1 << 20);
        let name = [b'n'; 4000];
        let count = 400;
        for id in 1..=count {
            let names = rw_names { r#type: 5, names_id: id, size: 4000, len: [4000, 0, 0], ..rw_names::default() };
            take(&mut enricher, &with_data(bytes_of(&names), &name));
        }
        let told = (1..=count).map(|id| {
            let mut request = rw_request { names_id: id, ..rw_request::default() };
            request.w = crate::kernel::wire::rw_write { r#type: 4, flags: flag::SUBMIT, opcode: 36, ..request.w };
            let events = take(&mut enricher, &bytes_of(&request));
            let data = events.iter().find(|e| e["event"] == "io_unlinkat").unwrap()["data"].clone();
            (data["names_dropped"] == true, data["path_given"].is_string())
        });
        let told: Vec<_> = told.collect();
        assert!(told.iter().all(|&(dropped, named)| dropped != named), "either the name or that it was dropped");
        assert!(told[0].0 && told[399].1);
        assert_eq!(enricher.pressure().nameless, told.iter().filter(|t| t.0).count() as u64);
        assert_eq!(enricher.names.bytes(), 0);
    }
}
