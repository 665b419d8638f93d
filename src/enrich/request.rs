//! Requests of any opcode to their events.

use super::name::{Held, Led, Rules, asked, named, old_new};
use super::position::position;
use super::{Enricher, completion, executor, latency, outcome, submitter};
use crate::event::files::{FileModification, SecurityFileOpen, VfsWrite};
use crate::event::ops::{
    Asked, Descriptor, File, IoFallocate, IoFsync, IoFtruncate, IoIssueSqe, IoMkdirat, IoOpenat, IoRenameat,
    IoSetxattr, IoSplice, IoSymlinkat, IoUnlinkat, IoUringCmd, IoUringCreate, PathSource, Stage, Step,
};
use crate::event::{Data, Event, Outcome, PathUnknown, Pointer, Text, ops};
use crate::names::{errno_name, setup_flags};
use crate::opcode;
use crate::record::{Created, End, FileAct, Request, Write, flag};
use crate::selection::Kind;

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

/// Kernel numbers come as signed words.
fn unsigned(arg: i64) -> u64 {
    arg.cast_unsigned()
}

fn low(arg: i64) -> u32 {
    u32::try_from(arg & i64::from(u32::MAX)).unwrap_or(0)
}

fn number(arg: i64) -> i32 {
    low(arg).cast_signed()
}

/// Whether the request brought names along that could not be kept until its end.
fn names_dropped(r: &Request, held: Option<&Held>) -> bool {
    r.names_id != 0 && held.is_none()
}

impl Enricher {
    /// The events of a request that are told.
    pub(super) fn request(&mut self, r: &Request, emit: &mut impl FnMut(&Event)) {
        let held = self.names.remove(r.names_id);
        self.pressure.nameless += u64::from(names_dropped(r, held.as_ref()));
        let led = held.as_ref().map(|held| self.lead(r, held)).unwrap_or_default();
        let kind = Kind::of_opcode(r.write.opcode);
        if kind == Some(Kind::IoWrite) && self.selection.has(Kind::IoWrite) {
            let steps = self.life.then(|| life(r));
            emit(&self.write(&r.write, steps));
        }
        if let Some(kind) = kind.filter(|&kind| kind != Kind::IoWrite && self.selection.has(kind))
            && let Some(data) = self.particular(kind, r, held.as_ref(), &led)
        {
            emit(&self.event(r, data));
        }
        if self.selection.has_as_any_request(kind) {
            let mut file = self.file(&r.write);
            if file.path.is_none() && kind.is_some_and(acts_on_descriptor) {
                file.path_unknown.get_or_insert(PathUnknown::NoFile);
            }
            let named = if matches!(kind, Some(Kind::IoSplice | Kind::IoTee)) {
                // Where the bytes come from is a file as well.
                let input = held.as_ref().and_then(Held::second_file);
                Some(Asked { names: input.into_iter().cloned().collect(), certain: input.is_some() })
            } else {
                led.iter().any(Option::is_some).then(|| {
                    let both = matches!(kind, Some(Kind::IoRenameat | Kind::IoLinkat));
                    let asked = asked(&led, both);
                    // What was opened has a path of its own.
                    Asked { certain: asked.certain || file.path.is_some(), ..asked }
                })
            };
            let data = Data::IoIssueSqe(IoIssueSqe {
                file,
                flags: r.req_flags,
                flag_names: opcode::request_flags(r.req_flags, &self.request_flags),
                sq_thread: r.write.has(flag::SQPOLL),
                sq_thread_id: Some(r.sq_tid).filter(|&tid| tid != 0),
                request: self.common(r, kind, held.as_ref()),
                asked: named,
            });
            emit(&self.event(r, data));
        }
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

    fn event(&self, r: &Request, data: Data) -> Event {
        let process = self.tasks.get(r.write.task_id).cloned();
        Event { timestamp: self.clock.from_monotonic(r.write.end_ns), data, process }
    }

    fn common(&self, r: &Request, kind: Option<Kind>, held: Option<&Held>) -> ops::Request {
        let w = &r.write;
        let silent = w.end == End::Skipped && kind != Some(Kind::IoWrite);
        let result = match w.end {
            End::Unseen | End::InFlight | End::Untracked => None,
            End::Skipped if silent => None,
            End::Cqe | End::Overflow | End::Skipped | End::Link => Some(w.result),
        };
        let executor = executor(w);
        ops::Request {
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
            names_dropped: names_dropped(r, held),
            life: self.life.then(|| life(r)),
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
        let process = self.tasks.get(w.task_id).cloned();
        Event { timestamp: self.clock.from_monotonic(w.end_ns), data, process }
    }

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

    /// What an operation says beside what all requests say. `None`: the kind has no requests.
    fn particular(&self, kind: Kind, r: &Request, held: Option<&Held>, led: &[Option<Led>; 2]) -> Option<Data> {
        let w = &r.write;
        let seen = w.has(flag::SUBMIT);
        let request = self.common(r, Some(kind), held);
        let file = self.file(w);
        let descriptor = Descriptor { fd: seen.then_some(w.fd), fixed_file: w.has(flag::FIXED_FILE) };
        let dirfd = seen.then_some(w.fd);
        let name = || named(led[0].as_ref(), dirfd);
        let pos = Some(w.asked_pos).filter(|_| seen);
        let current = |offset: i64| Some(offset).filter(|&o| seen && o != -1);
        let [a, b, c, d] = r.arg;
        Some(match kind {
            Kind::IoWrite
            | Kind::IoUringCreate
            | Kind::IoIssueSqe
            | Kind::VfsWrite
            | Kind::VfsWritev
            | Kind::SecurityFileOpen
            | Kind::FileModification => return None,
            Kind::IoOpenat => {
                let flags = unsigned(a);
                let opened = w.result >= 0 && matches!(w.end, End::Cqe | End::Overflow);
                let created = opened.then(|| w.has(flag::CREATED) || opcode::makes_unnamed(flags));
                let mut name = name();
                if file.path.is_some() {
                    name.path_source = Some(PathSource::File);
                    name.path_certain = true;
                    name.asked.certain = true;
                    name.path_bytes = file.path_bytes;
                    name.path = file.path;
                }
                let slot = match low(d) {
                    0 => None,
                    u32::MAX => opened.then_some(w.result.cast_unsigned()),
                    slot => Some(slot - 1),
                };
                Data::IoOpenat(IoOpenat {
                    name,
                    flags,
                    flag_names: opcode::open_flags(flags),
                    mode: low(b),
                    resolve: unsigned(c),
                    resolve_names: opcode::resolve_flags(unsigned(c)),
                    created,
                    deleted: file.deleted,
                    path_stale: file.path_stale,
                    truncated: created.map(|created| flags & opcode::O_TRUNC != 0 && !created),
                    device: file.device,
                    inode: file.inode,
                    fixed_slot: slot,
                    request,
                })
            }
            Kind::IoFallocate => Data::IoFallocate(IoFallocate {
                file,
                descriptor,
                pos,
                len: a,
                mode: low(b),
                mode_names: opcode::fallocate_mode(low(b).into()),
                request,
            }),
            Kind::IoFtruncate => Data::IoFtruncate(IoFtruncate { file, descriptor, len: a, request }),
            Kind::IoFsync => {
                let flags = unsigned(b);
                Data::IoFsync(IoFsync {
                    file,
                    descriptor,
                    pos,
                    len: a,
                    datasync: flags & opcode::IORING_FSYNC_DATASYNC != 0,
                    flags,
                    flag_names: opcode::fsync_flags(flags),
                    request,
                })
            }
            Kind::IoSplice | Kind::IoTee => {
                let flags = unsigned(c);
                let path_in = held.and_then(Held::second_file).cloned();
                let splice = IoSplice {
                    file,
                    descriptor,
                    pos: current(w.asked_pos),
                    path_in_bytes: path_in.as_ref().and_then(Text::base64),
                    path_in,
                    fd_in: seen.then_some(number(d)),
                    fixed_file_in: flags & opcode::SPLICE_F_FD_IN_FIXED != 0,
                    pos_in: current(a),
                    len: unsigned(b),
                    flags,
                    flag_names: opcode::splice_flags(flags),
                    request,
                };
                if kind == Kind::IoTee { Data::IoTee(splice) } else { Data::IoSplice(splice) }
            }
            Kind::IoRenameat | Kind::IoLinkat => {
                let flags = unsigned(b);
                let names = old_new(led, seen.then_some((w.fd, number(a))));
                let linked = kind == Kind::IoLinkat;
                let flag_names = if linked { opcode::at_flags(flags) } else { opcode::rename_flags(flags) };
                let renamed = IoRenameat { names, flags, flag_names, request };
                if linked { Data::IoLinkat(renamed) } else { Data::IoRenameat(renamed) }
            }
            Kind::IoUnlinkat => {
                let flags = u64::from(low(a));
                Data::IoUnlinkat(IoUnlinkat {
                    name: name(),
                    directory: flags & opcode::AT_REMOVEDIR != 0,
                    flags,
                    flag_names: opcode::at_flags(flags),
                    request,
                })
            }
            Kind::IoMkdirat => Data::IoMkdirat(IoMkdirat { name: name(), mode: low(a), request }),
            Kind::IoSymlinkat => {
                let target = held.and_then(|h| h.other.clone());
                Data::IoSymlinkat(IoSymlinkat {
                    name: named(led[1].as_ref(), seen.then_some(number(a))),
                    target_bytes: target.as_ref().and_then(Text::base64),
                    target,
                    request,
                })
            }
            Kind::IoSetxattr => {
                let by_descriptor = w.opcode == opcode::FSETXATTR;
                let mut path = named(led[0].as_ref(), None);
                if by_descriptor {
                    path.path_source = file.path.is_some().then_some(PathSource::File);
                    path.path_certain = file.path.is_some();
                    path.asked.certain = path.path_certain;
                    path.path_bytes = file.path_bytes;
                    path.path = file.path;
                }
                let attribute = held.and_then(|h| h.other.clone());
                let flags = u64::from(low(b));
                Data::IoSetxattr(IoSetxattr {
                    path,
                    name_bytes: attribute.as_ref().and_then(Text::base64),
                    name: attribute,
                    size: unsigned(a),
                    flags,
                    flag_names: opcode::xattr_flags(flags),
                    deleted: file.deleted,
                    path_stale: file.path_stale,
                    device: file.device,
                    inode: file.inode,
                    descriptor: Descriptor { fd: descriptor.fd.filter(|_| by_descriptor), ..descriptor },
                    request,
                })
            }
            Kind::IoUringCmd => {
                Data::IoUringCmd(IoUringCmd { file, descriptor, command: low(a), flags: u64::from(low(b)), request })
            }
        })
    }
}

/// Whether its requests are about an open file: without one, which it was is not known.
fn acts_on_descriptor(kind: Kind) -> bool {
    use Kind::{IoFallocate, IoFsync, IoFtruncate, IoSplice, IoTee, IoUringCmd, IoWrite};
    matches!(kind, IoWrite | IoFallocate | IoFsync | IoFtruncate | IoSplice | IoTee | IoUringCmd)
}

/// How the kernel looks up the name at `i`.
fn rules(r: &Request, i: usize) -> Rules {
    let [flags, at_flags, resolve, _] = r.arg.map(unsigned);
    // Changes of the place are counted in 32 bits.
    let soon = r.write.end_ns.saturating_sub(r.write.submit_ns) < 60_000_000_000;
    let mut rules = Rules { same_place: soon && r.write.has(flag::SAME_PLACE), ..Rules::default() };
    let dirfd = match Kind::of_opcode(r.write.opcode) {
        Some(Kind::IoOpenat) => {
            let made = flags & opcode::O_CREAT != 0 && flags & opcode::O_EXCL != 0;
            rules.follow = flags & opcode::O_NOFOLLOW == 0 && !made;
            rules.no_links = resolve & opcode::RESOLVE_NO_SYMLINKS != 0;
            rules.in_root = resolve & opcode::RESOLVE_IN_ROOT != 0;
            rules.beneath = resolve & opcode::RESOLVE_BENEATH != 0;
            r.write.fd
        }
        Some(Kind::IoSetxattr) => {
            rules.follow = true;
            AT_FDCWD
        }
        Some(Kind::IoLinkat) if i == 0 => {
            rules.follow = at_flags & opcode::AT_SYMLINK_FOLLOW != 0;
            r.write.fd
        }
        _ if i == 0 => r.write.fd,
        _ => number(r.arg[0]),
    };
    rules.by_descriptor = dirfd != AT_FDCWD;
    rules
}

const AT_FDCWD: i32 = -100;
const IORING_SETUP_SQPOLL: u32 = 1 << 1;
