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
        found.add(Probe::IoUringReqFailed, hot, self.argument("io_uring_req_failed", 0) == "io_uring_sqe*");
        // Completion before submission: a request that is seen only at its end is told as such, never lost.
        found.probes.push(Choice { probe: Probe::IoUringComplete, twin: if typed { Twin::Typed } else { Twin::Raw } });
        found.probes.push(Choice { probe: submit, twin: hot });
        if let Some(twin) = functions {
            self.needs(Probe::IoWrite)?;
            found.probes.push(Choice { probe: Probe::IoWriteReturn, twin });
            if twin == Twin::Kprobe {
                // After the return, so that no entry is left without its return.
                found.probes.push(Choice { probe: Probe::IoWrite, twin });
            }
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

impl Plan {
    /// The same plan without typed reads.
    #[must_use]
    pub fn raw(&self, why: &str) -> Self {
        let mut plan = self.clone();
        if plan.object == Object::Typed {
            plan.object = Object::Raw;
        }
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

    /// Whether the completion itself shows that its CQE found no room.
    #[must_use]
    pub fn tells_overflow_itself(&self) -> bool {
        self.flags.complete_first || self.kind == PlanKind::KprobeLegacy
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Capabilities;
    use super::*;

    /// A host that can do everything; each test takes one thing away.
    fn capable() -> Facts {
        let tracepoints = [
            ("io_uring_submit_req", &["io_kiocb*"][..]),
            ("io_uring_req_failed", &["io_uring_sqe*", "io_kiocb*", "int"]),
            ("io_uring_queue_async_work", &["io_kiocb*", "int"]),
            ("io_uring_complete", &["io_ring_ctx*", "void*", "io_uring_cqe*"]),
            ("io_uring_cqe_overflow", &["void*", "long long unsigned int", "s32", "u32", "void*"]),
            ("io_uring_fail_link", &["io_kiocb*", "io_kiocb*"]),
            ("io_uring_create", &["int", "void*", "u32", "u32", "u32"]),
        ];
        Facts {
            release: "6.18.0".to_owned(),
            machine: "x86_64".to_owned(),
            root: true,
            capabilities: Some(Capabilities { sys_admin: true, ..Capabilities::default() }),
            io_uring_disabled: Some(0),
            lockdown: Some("none".to_owned()),
            kprobes: Some(true),
            fentry: Some(true),
            symbols: Some(vec!["io_write".to_owned()]),
            btf: Some(BtfFacts {
                tracepoints: tracepoints
                    .map(|(name, arguments)| (name.to_owned(), arguments.iter().map(ToString::to_string).collect()))
                    .into(),
                request_flags: [("REQ_F_FIXED_FILE", 0), ("REQ_F_CQE_SKIP", 6)].map(|(n, b)| (n.to_owned(), b)).into(),
                functions: vec!["bpf_rdonly_cast".to_owned()],
                helpers: ["BPF_FUNC_loop", "BPF_FUNC_for_each_map_elem", "BPF_FUNC_ringbuf_output"]
                    .map(ToOwned::to_owned)
                    .into(),
                io_uring: true,
                from_kernel: true,
                ..BtfFacts::default()
            }),
        }
    }

    fn without(change: impl FnOnce(&mut Facts)) -> Result<Plan, Refusal> {
        let mut facts = capable();
        change(&mut facts);
        plan(&facts, None)
    }

    fn btf(change: impl FnOnce(&mut BtfFacts)) -> Result<Plan, Refusal> {
        without(|f| {
            if let Some(btf) = &mut f.btf {
                change(btf);
            }
        })
    }

    fn twin_of(plan: &Plan, probe: Probe) -> Option<Twin> {
        plan.probes.iter().find(|c| c.probe == probe).map(|c| c.twin)
    }

    #[test]
    fn a_capable_host_gets_every_probe_typed_where_it_is_hot() {
        let plan = without(|_| {}).unwrap();
        assert_eq!((plan.kind, plan.object, plan.probes.len()), (PlanKind::Fentry, Object::Typed, 8));
        assert!(plan.missing.is_empty());
        assert_eq!(twin_of(&plan, Probe::IoUringSubmitReq), Some(Twin::Typed));
        assert_eq!(twin_of(&plan, Probe::IoUringCqeOverflow), Some(Twin::Raw));
        assert_eq!((plan.flags.fixed_file, plan.flags.cqe_skip, plan.flags.fail), (1, 64, 0));
    }

    #[test]
    fn completion_is_attached_before_submission() {
        let plan = without(|_| {}).unwrap();
        let at = |probe| plan.probes.iter().position(|c| c.probe == probe);
        assert!(at(Probe::IoUringComplete) < at(Probe::IoUringSubmitReq));
    }

    #[test]
    fn without_typed_reads_all_twins_are_raw() {
        let plan = btf(|b| b.functions.clear()).unwrap();
        assert!(!plan.is_typed());
    }

    #[test]
    fn the_older_submission_tracepoint_serves_as_well() {
        let plan = btf(|b| {
            let arguments = b.tracepoints.remove("io_uring_submit_req").unwrap();
            b.tracepoints.insert("io_uring_submit_sqe".to_owned(), [arguments, vec!["bool".to_owned()]].concat());
        })
        .unwrap();
        assert_eq!(twin_of(&plan, Probe::IoUringSubmitSqe), Some(Twin::Typed));
        assert_eq!(twin_of(&plan, Probe::IoUringSubmitReq), None);
    }

    #[test]
    fn a_missing_probe_is_named_with_what_it_costs() {
        let plan = btf(|b| drop(b.tracepoints.remove("io_uring_fail_link"))).unwrap();
        assert_eq!(plan.missing.len(), 1);
        assert_eq!(plan.missing[0].0, Probe::IoUringFailLink);
        assert!(plan.missing[0].1.contains("without a CQE"));
    }

    /// As 5.10 with the io_uring of 5.15.
    fn early(change: impl FnOnce(&mut Facts)) -> Result<Plan, Refusal> {
        without(|f| {
            let tracepoints = [
                ("io_uring_submit_sqe", &["void*", "void*", "u8", "u64", "u32", "bool", "bool"][..]),
                ("io_uring_queue_async_work", &["void*", "int", "void*", "io_wq_work*", "unsigned int"]),
                ("io_uring_complete", &["void*", "u64", "int", "unsigned int"]),
                ("io_uring_fail_link", &["void*", "void*"]),
                ("io_uring_create", &["int", "void*", "u32", "u32", "u32"]),
            ];
            let functions =
                ["io_write", "kiocb_done", "io_complete_rw", "io_complete_rw_iopoll", "io_req_complete_post"];
            f.symbols = Some(functions.map(ToOwned::to_owned).into());
            if let Some(btf) = &mut f.btf {
                btf.tracepoints = tracepoints
                    .map(|(name, arguments)| (name.to_owned(), arguments.iter().map(ToString::to_string).collect()))
                    .into();
                btf.functions.clear();
                btf.helpers = vec!["BPF_FUNC_ringbuf_output".to_owned()];
            }
            change(f);
        })
    }

    #[test]
    fn where_completions_name_no_request_functions_tell_it() {
        let plan = early(|_| {}).unwrap();
        assert_eq!((plan.kind, plan.object), (PlanKind::Fentry, Object::Early));
        assert_eq!(twin_of(&plan, Probe::IoReqCompletePost), Some(Twin::Fentry));
        assert_eq!(twin_of(&plan, Probe::IoWrite), None);
        assert!(plan.missing.is_empty() && !plan.flags.submit_unseen && !plan.flags.perf_buffer);
        let plan = early(|f| f.fentry = Some(false)).unwrap();
        assert_eq!(plan.kind, PlanKind::Kprobe);
        assert_eq!(twin_of(&plan, Probe::KiocbDone), Some(Twin::Kprobe));
        let refusal = early(|f| (f.fentry, f.kprobes) = (Some(false), Some(false))).unwrap_err().to_string();
        assert!(refusal.contains("io_uring_complete does not carry the request"), "{refusal}");
        assert!(refusal.contains("CONFIG_KPROBES=n"), "{refusal}");
    }

    #[test]
    fn where_submissions_name_no_request_io_write_does() {
        let plan = early(|f| {
            let Some(btf) = &mut f.btf else { return };
            btf.tracepoints.insert("io_uring_submit_sqe".to_owned(), vec!["void*".to_owned(), "u8".to_owned()]);
            btf.helpers.clear();
        })
        .unwrap();
        assert_eq!(twin_of(&plan, Probe::IoWrite), Some(Twin::Fentry));
        assert!(plan.flags.submit_unseen && plan.flags.perf_buffer);
    }

    #[test]
    fn the_tracepoints_of_5_18_have_a_form_of_their_own() {
        let plan = btf(|b| {
            for (name, arguments) in [
                ("io_uring_submit_sqe", &["void*", "void*", "long long unsigned int", "u8", "u32", "bool", "bool"][..]),
                ("io_uring_req_failed", &["io_uring_sqe*", "void*", "void*", "int"]),
                ("io_uring_queue_async_work", &["void*", "void*", "long long unsigned int"]),
                ("io_uring_complete", &["void*", "void*", "u64", "int", "unsigned int"]),
                ("io_uring_fail_link", &["void*", "void*", "long long unsigned int", "u8", "void*"]),
            ] {
                b.tracepoints.insert(name.to_owned(), arguments.iter().map(ToString::to_string).collect());
            }
            b.tracepoints.remove("io_uring_submit_req");
            b.tracepoints.remove("io_uring_cqe_overflow");
            b.functions.clear();
        })
        .unwrap();
        assert_eq!(plan.object, Object::Raw);
        assert_eq!(twin_of(&plan, Probe::IoUringSubmitSqe), Some(Twin::Raw518));
        assert_eq!(twin_of(&plan, Probe::IoUringComplete), Some(Twin::Raw));
        assert!(plan.missing.is_empty() && plan.tells_overflow_itself());
    }

    #[test]
    fn without_tracepoints_functions_tell_all() {
        let legacy = |f: &mut Facts| {
            let functions = ["__io_submit_sqe", "io_complete_rw", "io_complete_rw_iopoll", "io_uring_setup"];
            f.symbols =
                Some([&functions[..], &["io_cqring_fill_event"]].concat().iter().map(ToString::to_string).collect());
            if let Some(btf) = &mut f.btf {
                *btf = BtfFacts { io_uring: true, ..BtfFacts::default() };
            }
        };
        let plan = without(legacy).unwrap();
        assert_eq!((plan.kind, plan.object, plan.probes.len()), (PlanKind::KprobeLegacy, Object::Early, 5));
        assert!(plan.missing.is_empty() && plan.flags.perf_buffer);
        let refusal = plan_of(&capable(), PlanKind::KprobeLegacy).unwrap_err().to_string();
        assert!(refusal.contains("leave --probes out"), "{refusal}");
    }

    fn plan_of(facts: &Facts, kind: PlanKind) -> Result<Plan, Refusal> {
        plan(facts, Some(kind))
    }

    #[test]
    fn a_refused_probe_takes_no_other_down() {
        let typed = without(|_| {}).unwrap();
        let choice = |plan: &Plan, probe| *plan.probes.iter().find(|c| c.probe == probe).unwrap();
        let raw = typed.without(choice(&typed, Probe::IoUringComplete)).unwrap();
        assert_eq!((raw.kind, raw.object, raw.probes.len()), (typed.kind, Object::Raw, typed.probes.len()));
        assert_eq!(raw.without(choice(&raw, Probe::IoUringComplete)), None);
        let less = raw.without(choice(&raw, Probe::IoUringFailLink)).unwrap();
        assert_eq!(less.probes.len(), raw.probes.len() - 1);
        let tracepoint = typed.without(choice(&typed, Probe::IoWriteReturn)).unwrap();
        assert_eq!((tracepoint.kind, tracepoint.object), (PlanKind::Tracepoint, Object::Typed));
        let fentry = early(|_| {}).unwrap();
        let kprobe = fentry.without(choice(&fentry, Probe::KiocbDone)).unwrap();
        assert_eq!((kprobe.kind, kprobe.probes.len()), (PlanKind::Kprobe, fentry.probes.len()));
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let refused = |result: Result<Plan, Refusal>| result.unwrap_err().to_string();
        assert!(refused(without(|f| f.capabilities = Some(Capabilities::default()))).contains("run as root or grant"));
        let half = Capabilities { bpf: true, ..Capabilities::default() };
        assert!(refused(without(|f| f.capabilities = Some(half))).contains("CAP_PERFMON is missing"));
        assert!(refused(without(|f| f.btf = None)).contains("CONFIG_DEBUG_INFO_BTF=y"));
        assert!(refused(without(|f| f.lockdown = Some("confidentiality".to_owned()))).contains("lockdown=integrity"));
        assert!(refused(btf(|b| b.io_uring = false)).contains("CONFIG_IO_URING"));
        assert!(refused(btf(|b| b.tracepoints.clear())).contains("there is no tracepoint io_uring_complete"));
        assert!(refused(btf(|b| b.helpers.clear())).contains("BPF_FUNC_loop"));
    }

    #[test]
    fn what_could_not_be_looked_at_does_not_stop_the_plan() {
        assert!(
            without(|f| {
                f.capabilities = None;
                f.lockdown = None;
                f.io_uring_disabled = None;
            })
            .is_ok()
        );
    }
}
