//! From facts to probes: a pure function, so that every kernel's choice can be tested without that kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{BtfFacts, Facts};
pub use super::probe::{Choice, Probe, Twin};

/// A way to see writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// Tracepoints whose completion carries the request: 5.18 and later.
    Tracepoint,
    /// Tracepoints, and functions by fentry and fexit for what they do not tell.
    Fentry,
    /// The same by kprobes: 5.5 and later.
    Kprobe,
    /// Functions alone: 5.1 to 5.4, which have no io_uring tracepoints.
    KprobeLegacy,
}

impl PlanKind {
    /// All of them; the first that a kernel can run is taken. docs/performance.md has the figures behind the order.
    pub const PREFERENCE: [Self; 4] = [Self::Fentry, Self::Tracepoint, Self::Kprobe, Self::KprobeLegacy];
}

impl fmt::Display for PlanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::KprobeLegacy => "kprobe-legacy",
        })
    }
}

/// Which BPF object has the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// Completions carry the request; typed tracepoints.
    Typed,
    /// Completions carry the request; raw tracepoints.
    Raw,
    /// Completions name only the ring and user_data, or there are no tracepoints.
    Early,
}

/// What will be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The way of seeing writes.
    pub kind: PlanKind,
    /// Where its programs are.
    pub object: Object,
    /// Its probes, in the order in which they are attached.
    pub probes: Vec<Choice>,
    /// What the programs are told of the running kernel.
    pub flags: KernelFlags,
    /// Probes that this kernel does not have, with what is lost.
    pub missing: Vec<(Probe, String)>,
    /// Why this plan.
    pub why: String,
}

/// What the kernel side is to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Writes.
    pub writes: bool,
    /// Other opcodes, a bit each.
    pub opcodes: [u64; 4],
    /// Of writes, too, what only the long record holds.
    pub wide: bool,
    /// When each request was handed on.
    pub life: bool,
    /// New rings.
    pub created: bool,
    /// What happens to files outside of io_uring.
    pub files: Files,
}

/// What is watched of files outside of io_uring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub struct Files {
    /// write(2) and its like.
    pub write: bool,
    /// writev(2) and its like.
    pub writev: bool,
    /// Opens.
    pub open: bool,
    /// The first change of what a file holds.
    pub modified: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { writes: true, opcodes: [0; 4], wide: false, life: false, created: false, files: Files::default() }
    }
}

impl Wanted {
    /// Whether other opcodes than those of writes are watched.
    #[must_use]
    pub fn others(&self) -> bool {
        self.opcodes != [0; 4]
    }

    /// Whether any request is watched.
    #[must_use]
    pub fn requests(&self) -> bool {
        self.writes || self.others()
    }
}

/// What the programs are told of the running kernel. Masks of `REQ_F_*`; 0 where the kernel has no such flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFlags {
    /// `REQ_F_FIXED_FILE`.
    pub fixed_file: u32,
    /// `REQ_F_CQE_SKIP`.
    pub cqe_skip: u32,
    /// `REQ_F_FAIL`.
    pub fail: u32,
    /// `REQ_F_ASYNC_DATA`.
    pub async_data: u32,
    /// `REQ_F_SKIP_LINK_CQES`.
    pub skip_link_cqes: u32,
    /// REQ_F_REISSUE.
    pub reissue: u32,
    /// REQ_F_CREDS.
    pub creds: u32,
    /// REQ_F_POLLED.
    pub polled: u32,
    /// `io_uring_complete` fires before the CQE has a place.
    pub complete_first: bool,
    /// The submission does not name its request.
    pub submit_unseen: bool,
    /// A task can be preempted inside a program.
    pub preemptible: bool,
    /// No ring buffer: records go through a perf buffer.
    pub perf_buffer: bool,
}

/// Why nothing can be loaded, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The capabilities are missing.
    #[error("ringwatch may not load BPF programs, {0} missing: run as root or grant CAP_BPF and CAP_PERFMON")]
    NotPermitted(&'static str),
    /// The kernel carries no type information.
    #[error(
        "there is no BTF of this kernel ({0}) at /sys/kernel/btf/vmlinux: name a file that has it with --btf FILE, or use a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf(String),
    /// The kernel was built without io_uring.
    #[error("this kernel ({0}) has no io_uring (CONFIG_IO_URING=n): there is nothing to watch")]
    NoIoUring(String),
    /// The verifier refuses what all programs are made of.
    #[error(
        "the BPF verifier of this kernel ({release}) takes no {what}, which ringwatch's programs need: Linux 5.3 or later is needed, whatever --btf names"
    )]
    Verifier {
        /// `uname -r`.
        release: String,
        /// What it refuses.
        what: &'static str,
    },
    /// Reading kernel memory is forbidden.
    #[error(
        "kernel lockdown is in mode confidentiality, which forbids BPF to read kernel memory: boot with lockdown=integrity or none"
    )]
    Lockdown,
    /// The plan that was asked for does not fit.
    #[error("this kernel ({release}) cannot run the plan {kind}: {why}; leave --probes out to let ringwatch choose")]
    Plan {
        /// `uname -r`.
        release: String,
        /// The plan.
        kind: PlanKind,
        /// What it lacks.
        why: String,
    },
    /// No plan fits.
    #[error("no probe plan fits this kernel ({release}): {why}")]
    Unsupported {
        /// `uname -r`.
        release: String,
        /// What each plan lacks.
        why: String,
    },
}

/// Chooses the probes.
///
/// # Errors
/// Tells why nothing can be loaded, and what to do about it.
pub fn plan(facts: &Facts, forced: Option<PlanKind>) -> Result<Plan, Refusal> {
    if let Some(missing) = facts.capabilities.and_then(super::facts::Capabilities::missing) {
        return Err(Refusal::NotPermitted(missing));
    }
    if facts.lockdown.as_deref() == Some("confidentiality") {
        return Err(Refusal::Lockdown);
    }
    let refused = match (facts.globals, facts.loops) {
        (Some(false), Some(false)) => Some("global data (5.2) and no loops (5.3)"),
        (Some(false), _) => Some("global data (5.2)"),
        (_, Some(false)) => Some("loops (5.3)"),
        _ => None,
    };
    if let Some(what) = refused {
        return Err(Refusal::Verifier { release: facts.release.clone(), what });
    }
    let Some(btf) = &facts.btf else { return Err(Refusal::NoBtf(facts.release.clone())) };
    if !btf.io_uring {
        return Err(Refusal::NoIoUring(facts.release.clone()));
    }
    let release = facts.release.clone();
    if let Some(kind) = forced {
        return Look { facts, btf }.plan(kind).map_err(|why| Refusal::Plan { release, kind, why });
    }
    let mut refused = vec![];
    for kind in PlanKind::PREFERENCE {
        match (Look { facts, btf }).plan(kind) {
            Ok(plan) => return Ok(plan),
            Err(why) => refused.push(format!("{kind}: {why}")),
        }
    }
    Err(Refusal::Unsupported { release, why: refused.join("; ") })
}

/// The facts, for questions.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    facts: &'a Facts,
    btf: &'a BtfFacts,
}

impl Look<'_> {
    fn plan(self, kind: PlanKind) -> Result<Plan, String> {
        let functions = match kind {
            PlanKind::Tracepoint => None,
            PlanKind::Fentry => {
                self.fentry()?;
                Some(Twin::Fentry)
            }
            PlanKind::Kprobe | PlanKind::KprobeLegacy => {
                self.kprobes()?;
                Some(Twin::Kprobe)
            }
        };
        if kind == PlanKind::KprobeLegacy {
            return self.legacy();
        }
        match (self.argument("io_uring_complete", 1), functions) {
            ("void*", _) => self.with_request(kind, functions),
            ("", _) => Err("there is no tracepoint io_uring_complete".to_owned()),
            (_, None) => Err("the tracepoint io_uring_complete does not carry the request (before 5.18)".to_owned()),
            (_, Some(twin)) => self.early(kind, twin),
        }
    }

    fn argument(self, tracepoint: &str, i: usize) -> &'static str {
        let arguments = self.btf.tracepoints.get(tracepoint);
        // Types of interest, so that the answer can be compared and kept.
        const KNOWN: [&str; 5] = ["void*", "io_kiocb*", "io_uring_sqe*", "int", "u8"];
        match arguments.and_then(|a| a.get(i)) {
            None => "",
            Some(name) => KNOWN.into_iter().find(|k| k == name).unwrap_or("another"),
        }
    }

    fn fentry(self) -> Result<(), String> {
        if !self.btf.from_kernel {
            return Err("fentry needs the BTF that the kernel itself carries".to_owned());
        }
        if self.facts.fentry == Some(false) {
            return Err("the kernel refuses programs for functions".to_owned());
        }
        self.needs(Probe::IoWrite)
    }

    fn kprobes(self) -> Result<(), String> {
        if self.facts.kprobes == Some(false) {
            return Err("the kernel was built without kprobes (CONFIG_KPROBES=n)".to_owned());
        }
        Ok(())
    }

    fn has(self, probe: Probe) -> bool {
        self.facts.has_function(probe.name())
    }

    fn needs(self, probe: Probe) -> Result<(), String> {
        if self.has(probe) { Ok(()) } else { Err(format!("the kernel has no function {}", probe.name())) }
    }

    fn flags(self) -> KernelFlags {
        let flag = |name: &str| self.btf.request_flag(name).unwrap_or(0);
        KernelFlags {
            fixed_file: flag("REQ_F_FIXED_FILE"),
            cqe_skip: flag("REQ_F_CQE_SKIP"),
            fail: flag("REQ_F_FAIL") | flag("REQ_F_FAIL_LINK"),
            async_data: flag("REQ_F_ASYNC_DATA"),
            skip_link_cqes: flag("REQ_F_SKIP_LINK_CQES"),
            reissue: flag("REQ_F_REISSUE"),
            creds: flag("REQ_F_CREDS"),
            polled: flag("REQ_F_POLLED"),
            preemptible: self.btf.preemptible && self.btf.functions.iter().any(|f| f == "bpf_preempt_disable"),
            perf_buffer: !self.has_helper("BPF_FUNC_ringbuf_output"),
            ..KernelFlags::default()
        }
    }

    fn has_helper(self, name: &str) -> bool {
        self.btf.helpers.iter().any(|h| h == name)
    }

    /// 5.18 and later.
    fn with_request(self, kind: PlanKind, functions: Option<Twin>) -> Result<Plan, String> {
        for helper in ["BPF_FUNC_loop", "BPF_FUNC_for_each_map_elem", "BPF_FUNC_ringbuf_output"] {
            if !self.has_helper(helper) {
                return Err(format!("the BPF helper {helper} is missing"));
            }
        }
        let old = self.argument("io_uring_submit_sqe", 0) == "void*";
        let submit = if self.argument("io_uring_submit_req", 0) == "io_kiocb*" {
            Probe::IoUringSubmitReq
        } else if self.argument("io_uring_submit_sqe", 0) == "io_kiocb*" || old {
            Probe::IoUringSubmitSqe
        } else {
            return Err("no tracepoint gives the submitted request".to_owned());
        };
        let typed = self.btf.from_kernel && !old && self.btf.functions.iter().any(|f| f == "bpf_rdonly_cast");
        let hot = match (typed, old) {
            (true, _) => Twin::Typed,
            (false, true) => Twin::Raw518,
            (false, false) => Twin::Raw,
        };
        let cold = if old { Twin::Raw518 } else { Twin::Raw };
        let mut found = Found::default();
        found.add(Probe::IoUringCreate, Twin::Raw, self.argument("io_uring_create", 0) == "int");
        let link = if old { "void*" } else { "io_kiocb*" };
        found.add(Probe::IoUringFailLink, cold, self.argument("io_uring_fail_link", 0) == link);
        // Before 6.0 the completion is told all the same.
        if !old {
            found.add(Probe::IoUringCqeOverflow, Twin::Raw, self.argument("io_uring_cqe_overflow", 0) == "void*");
        }
        found.add(Probe::IoUringQueueAsyncWork, hot, self.argument("io_uring_queue_async_work", 0) == link);
        found.add(Probe::IoUringPollArm, cold, self.argument("io_uring_poll_arm", 0) == link);
        found.add(Probe::IoUringReqFailed, hot, self.argument("io_uring_req_failed", 0) == "io_uring_sqe*");
        // Completion before submission: a request that is seen only at its end is told as such, never lost.
        found.probes.push(Choice { probe: Probe::IoUringComplete, twin: if typed { Twin::Typed } else { Twin::Raw } });
        found.probes.push(Choice { probe: submit, twin: hot });
        if let Some(twin) = functions {
            self.needs(Probe::IoWrite)?;
            found.probes.push(Choice { probe: Probe::IoWriteReturn, twin });
            // After the return, so that no entry is left without its return.
            found.probes.push(Choice { probe: Probe::IoWrite, twin });
        }
        if typed && self.flags().preemptible {
            found.second_programs();
        }
        let reads = if typed { "typed reads (bpf_rdonly_cast)" } else { "reads by helper" };
        Ok(Plan {
            kind,
            object: if typed { Object::Typed } else { Object::Raw },
            probes: found.probes,
            missing: found.missing,
            flags: KernelFlags { complete_first: old, ..self.flags() },
            why: format!("{} and io_uring_complete carry the request; {reads}", submit.name()),
        })
    }

    /// 5.5 to 5.17.
    fn early(self, kind: PlanKind, twin: Twin) -> Result<Plan, String> {
        let mut found = Found::default();
        found.add(Probe::IoUringCreate, Twin::Raw, self.argument("io_uring_create", 0) == "int");
        found.add(Probe::IoUringFailLink, Twin::Raw, self.argument("io_uring_fail_link", 0) == "void*");
        for probe in [Probe::KiocbDone, Probe::IoCompleteRw, Probe::IoCompleteRwIopoll, Probe::IoReqCompletePost] {
            found.add(probe, twin, self.has(probe));
        }
        found.probes.push(Choice { probe: Probe::IoUringComplete, twin: Twin::Raw });
        found.add(Probe::IoUringQueueAsyncWork, Twin::Raw, self.argument("io_uring_queue_async_work", 2) == "void*");
        let named = self.argument("io_uring_submit_sqe", 1) == "void*";
        if named {
            found.probes.push(Choice { probe: Probe::IoUringSubmitSqe, twin: Twin::Raw });
        } else {
            self.needs(Probe::IoWrite)?;
            found.probes.push(Choice { probe: Probe::IoWrite, twin });
            if self.argument("io_uring_submit_sqe", 0) == "void*" {
                found.probes.push(Choice { probe: Probe::IoUringSubmitSqe, twin: Twin::Raw55 });
            }
        }
        let submission = if named { "io_uring_submit_sqe names the request" } else { "io_write names the request" };
        Ok(Plan {
            kind,
            object: Object::Early,
            probes: found.probes,
            missing: found.missing,
            flags: KernelFlags { submit_unseen: !named, complete_first: true, ..self.flags() },
            why: format!("{submission}, and functions before io_uring_complete tell which one it means"),
        })
    }

    /// 5.1 to 5.4.
    fn legacy(self) -> Result<Plan, String> {
        if self.btf.tracepoints.contains_key("io_uring_complete") {
            return Err("the kernel has io_uring tracepoints, and the functions of 5.1 to 5.4 are gone".to_owned());
        }
        self.needs(Probe::IoSubmitSqe)?;
        self.needs(Probe::IoCompleteRw)?;
        let twin = Twin::Kprobe54;
        let mut found = Found::default();
        found.add(Probe::IoUringSetup, twin, self.has(Probe::IoUringSetup));
        let posted =
            if self.has(Probe::IoCqringFillEvent) { Probe::IoCqringFillEvent } else { Probe::IoCqringAddEvent };
        found.add(posted, twin, self.has(posted));
        found.add(Probe::IoCompleteRwIopoll, twin, self.has(Probe::IoCompleteRwIopoll));
        found.probes.push(Choice { probe: Probe::IoCompleteRw, twin });
        found.probes.push(Choice { probe: Probe::IoSubmitSqe, twin });
        Ok(Plan {
            kind: PlanKind::KprobeLegacy,
            object: Object::Early,
            probes: found.probes,
            missing: found.missing,
            flags: self.flags(),
            why: "no io_uring tracepoints: __io_submit_sqe and io_complete_rw name the request".to_owned(),
        })
    }
}

/// Probes, and those that are not there.
#[derive(Debug, Default)]
struct Found {
    probes: Vec<Choice>,
    missing: Vec<(Probe, String)>,
}

impl Found {
    fn add(&mut self, probe: Probe, twin: Twin, there: bool) {
        if there {
            self.probes.push(Choice { probe, twin });
        } else if let Some(lost) = probe.without() {
            self.missing.push((probe, lost.to_owned()));
        }
    }
}

impl Found {
    /// Behind each program that may be skipped because a task was preempted inside it.
    fn second_programs(&mut self) {
        let hot = [
            Probe::IoUringFailLink,
            Probe::IoUringQueueAsyncWork,
            Probe::IoUringReqFailed,
            Probe::IoUringComplete,
            Probe::IoUringSubmitReq,
        ];
        for probe in hot {
            // Programs of one tracepoint run in the order in which they were attached.
            if let Some(at) = self.probes.iter().position(|c| c.probe == probe) {
                self.probes.insert(at + 1, Choice { probe, twin: Twin::Again });
            }
        }
    }
}

impl Plan {
    /// The same plan without typed reads.
    #[must_use]
    pub fn raw(&self, why: &str) -> Self {
        let mut plan = self.clone();
        if plan.object == Object::Typed {
            plan.object = Object::Raw;
        }
        plan.probes.retain(|c| c.twin != Twin::Again);
        for choice in plan.probes.iter_mut().filter(|c| c.twin == Twin::Typed) {
            choice.twin = Twin::Raw;
        }
        plan.why = format!("{}; reads by helper: {why}", plan.why);
        plan
    }

    /// What to do where the kernel refuses the program of `choice`. `None`: nothing is left.
    #[must_use]
    pub fn without(&self, choice: Choice) -> Option<Self> {
        let place = choice.probe.place();
        let by = choice.twin.name();
        if matches!(choice.twin, Twin::Again | Twin::Raw55) {
            let mut plan = self.clone();
            plan.probes.retain(|c| *c != choice);
            return Some(plan);
        }
        if choice.twin == Twin::Typed {
            return Some(self.raw(&format!("the kernel refused the typed program of {place}")));
        }
        let mut plan = self.clone();
        plan.why = format!("{}; the kernel refused {place} by {by}", self.why);
        if self.object == Object::Early && choice.twin == Twin::Fentry {
            // One trampoline that is refused says that others will be.
            plan.kind = PlanKind::Kprobe;
            for choice in plan.probes.iter_mut().filter(|c| c.twin == Twin::Fentry) {
                choice.twin = Twin::Kprobe;
            }
            return Some(plan);
        }
        choice.probe.without()?;
        // There the end of a write is told nowhere else.
        if self.kind == PlanKind::KprobeLegacy && choice.probe == Probe::IoCompleteRw {
            return None;
        }
        plan.probes.retain(|c| *c != choice);
        if matches!(choice.probe, Probe::IoWrite | Probe::IoWriteReturn) && self.object != Object::Early {
            plan.kind = PlanKind::Tracepoint;
            plan.probes.retain(|c| !c.probe.is_function());
        } else if self.object == Object::Early && self.flags.submit_unseen && choice.probe == Probe::IoWrite {
            return None;
        }
        Some(plan)
    }

    /// Leaves out the probes that nothing of what is wanted needs.
    ///
    /// # Errors
    /// The plan cannot tell of it.
    pub fn limit_to(&mut self, wanted: &Wanted) -> Result<(), String> {
        if self.object == Object::Early && (wanted.others() || wanted.wide) {
            return Err("before 5.18 io_uring_complete does not name the request, so that only io_write and io_uring_create are told".to_owned());
        }
        let needed = |probe: Probe| match probe {
            Probe::IoUringCreate | Probe::IoUringSetup => wanted.created || wanted.requests(),
            Probe::IoWrite | Probe::IoWriteReturn | Probe::KiocbDone => wanted.writes,
            Probe::IoUringPollArm => wanted.life,
            Probe::SchedProcessFork | Probe::SchedProcessExit => true,
            _ => wanted.requests(),
        };
        self.probes.retain(|choice| needed(choice.probe));
        self.missing.retain(|(probe, _)| needed(*probe));
        Ok(())
    }

    /// Adds the probes that watch files outside of io_uring.
    ///
    /// # Errors
    /// The kernel takes no programs for functions.
    pub fn watch_files(&mut self, facts: &Facts, files: Files) -> Result<(), String> {
        let pairs = [
            (files.write, Probe::VfsWrite, Probe::VfsWriteReturn),
            (files.writev, Probe::VfsWritev, Probe::VfsWritevReturn),
            (files.open, Probe::SecurityFileOpen, Probe::SecurityFileOpenReturn),
        ];
        if files == Files::default() {
            return Ok(());
        }
        let twin = match self.kind {
            PlanKind::Fentry => Twin::Fentry,
            PlanKind::Tracepoint if facts.kprobes == Some(false) => {
                return Err("the kernel takes no programs for functions: neither by fentry nor by kprobe".to_owned());
            }
            PlanKind::Tracepoint | PlanKind::Kprobe | PlanKind::KprobeLegacy => Twin::Kprobe,
        };
        let mut found = Found::default();
        for (_, entry, end) in pairs.into_iter().filter(|(wanted, ..)| *wanted) {
            found.add(end, twin, facts.has_function(end.name()));
            if twin == Twin::Kprobe {
                found.add(entry, twin, facts.has_function(entry.name()));
            }
        }
        if files.modified {
            found.add(Probe::SecurityFileFree, twin, facts.has_function(Probe::SecurityFileFree.name()));
            let changes = [Probe::FileModified, Probe::KiocbModified, Probe::FileUpdateTime];
            let there = changes.map(|probe| facts.has_function(probe.name()));
            if there == [false; 3] {
                found.add(Probe::FileUpdateTime, twin, false);
            }
            for (probe, there) in changes.into_iter().zip(there).filter(|(_, there)| *there) {
                found.add(probe, twin, there);
            }
        }
        self.probes.extend(found.probes);
        self.missing.extend(found.missing);
        Ok(())
    }

    /// Adds the probes that follow a process tree.
    pub fn follow_tree(&mut self) {
        for probe in [Probe::SchedProcessExit, Probe::SchedProcessFork] {
            self.probes.insert(0, Choice { probe, twin: Twin::Raw });
        }
    }

    /// Whether any program reads through typed pointers.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.probes.iter().any(|c| c.twin == Twin::Typed)
    }

    /// Whether the kernel may preempt the programs, and skip them for other tasks meanwhile.
    #[must_use]
    pub fn can_be_skipped(&self) -> bool {
        self.flags.preemptible && !self.is_typed()
    }

    /// Whether the completion itself shows that its CQE found no room.
    #[must_use]
    pub fn tells_overflow_itself(&self) -> bool {
        self.flags.complete_first || self.kind == PlanKind::KprobeLegacy
    }
}

#[cfg(test)]
mod tests;
