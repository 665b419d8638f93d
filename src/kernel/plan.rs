//! From facts to probes: a pure function, so that every kernel's choice can be tested without that kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{BtfFacts, Facts};

/// A way to see writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// Tracepoints whose completion carries the request: 6.0 and later.
    Tracepoint,
    /// The same, and fexit on `io_write` for the end of writes that post no CQE.
    Fentry,
    /// The same, with kprobe and kretprobe.
    Kprobe,
}

impl fmt::Display for PlanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint => f.write_str("tracepoint"),
            Self::Fentry => f.write_str("fentry"),
            Self::Kprobe => f.write_str("kprobe"),
        }
    }
}

/// One place in the kernel that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A request was accepted (6.4 and later).
    IoUringSubmitReq,
    /// A request was accepted (before 6.4).
    IoUringSubmitSqe,
    /// A request was refused in preparation.
    IoUringReqFailed,
    /// A request was handed to io-wq.
    IoUringQueueAsyncWork,
    /// A CQE was posted.
    IoUringComplete,
    /// A CQE found the CQ ring full.
    IoUringCqeOverflow,
    /// A link was cancelled by the failure of another.
    IoUringFailLink,
    /// A ring was created.
    IoUringCreate,
    /// `io_write` returns (fexit).
    IoWriteExit,
    /// `io_write` is called (kprobe).
    IoWriteEntry,
    /// `io_write` returns (kretprobe).
    IoWriteReturn,
    /// A process forked: the followed tree grows.
    SchedProcessFork,
    /// A process ended: the followed tree shrinks.
    SchedProcessExit,
}

impl Probe {
    /// The tracepoint's name, or the function with the kind of the probe.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUringSubmitReq => "io_uring_submit_req",
            Self::IoUringSubmitSqe => "io_uring_submit_sqe",
            Self::IoUringReqFailed => "io_uring_req_failed",
            Self::IoUringQueueAsyncWork => "io_uring_queue_async_work",
            Self::IoUringComplete => "io_uring_complete",
            Self::IoUringCqeOverflow => "io_uring_cqe_overflow",
            Self::IoUringFailLink => "io_uring_fail_link",
            Self::IoUringCreate => "io_uring_create",
            Self::IoWriteExit => "io_write (fexit)",
            Self::IoWriteEntry => "io_write (kprobe)",
            Self::IoWriteReturn => "io_write (kretprobe)",
            Self::SchedProcessFork => "sched_process_fork",
            Self::SchedProcessExit => "sched_process_exit",
        }
    }

    /// Whether it watches a function, and not a tracepoint.
    #[must_use]
    pub fn is_function(self) -> bool {
        matches!(self, Self::IoWriteExit | Self::IoWriteEntry | Self::IoWriteReturn)
    }

    /// What is lost without this probe; `None`: nothing works without it.
    #[must_use]
    pub fn without(self) -> Option<&'static str> {
        match self {
            Self::IoUringSubmitReq | Self::IoUringSubmitSqe | Self::IoUringComplete => None,
            Self::IoUringReqFailed => Some("writes refused in preparation are told without fd, offset and length"),
            Self::IoUringQueueAsyncWork => {
                Some("writes done by io-wq but completed elsewhere name the submitter as executor")
            }
            Self::IoUringCqeOverflow => Some("writes whose CQE overflowed are told late, with unknown result"),
            Self::IoUringFailLink => Some("links cancelled without a CQE are told as successful"),
            Self::IoUringCreate => Some("creators of SQPOLL rings are taken from the poll thread's name"),
            Self::IoWriteExit | Self::IoWriteEntry | Self::IoWriteReturn => {
                Some("writes that succeed without a CQE are told late and without latency")
            }
            Self::SchedProcessFork => Some("children of the followed processes are not followed"),
            Self::SchedProcessExit => Some("a reused process id of the followed tree stays followed"),
        }
    }
}

/// Which of the two forms of a program is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Twin {
    /// Reads through pointers whose types the verifier knows.
    Typed,
    /// Reads by a helper call for each field.
    Raw,
}

/// A probe and the form it is loaded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The place.
    pub probe: Probe,
    /// The form.
    pub twin: Twin,
}

/// What will be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The way of seeing writes.
    pub kind: PlanKind,
    /// Its probes.
    pub probes: Vec<Choice>,
    /// Masks of the request flags.
    pub flags: RequestFlags,
    /// Probes that this kernel does not have, with what is lost.
    pub missing: Vec<(Probe, String)>,
    /// Why this plan.
    pub why: String,
}

/// Masks of `REQ_F_*` in the running kernel; 0 where the kernel has no such flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFlags {
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
}

/// Why nothing can be loaded, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The capabilities are missing.
    #[error("ringwatch may not load BPF programs: run as root or grant CAP_BPF and CAP_PERFMON")]
    NotPermitted,
    /// The kernel carries no type information.
    #[error("this kernel ({0}) has no BTF at /sys/kernel/btf/vmlinux: use a kernel built with CONFIG_DEBUG_INFO_BTF=y")]
    NoBtf(String),
    /// The kernel was built without io_uring.
    #[error("this kernel ({0}) has no io_uring (CONFIG_IO_URING=n): there is nothing to watch")]
    NoIoUring(String),
    /// Reading kernel memory is forbidden.
    #[error(
        "kernel lockdown is in mode confidentiality, which forbids BPF to read kernel memory: boot with lockdown=integrity or none"
    )]
    Lockdown,
    /// The plan that was asked for needs a function that the kernel does not have.
    #[error("this kernel has no function io_write to probe: leave --probes out")]
    NoFunction,
    /// No plan fits.
    #[error("this kernel ({release}) is not supported: {missing}; Linux 6.0 or later is needed")]
    Unsupported {
        /// `uname -r`.
        release: String,
        /// What the tracepoint plan lacks.
        missing: String,
    },
}

/// Chooses the probes.
///
/// # Errors
/// Tells why nothing can be loaded, and what to do about it.
pub fn plan(facts: &Facts, forced: Option<PlanKind>) -> Result<Plan, Refusal> {
    if facts.capabilities.is_some_and(|c| !c.suffice()) {
        return Err(Refusal::NotPermitted);
    }
    if facts.lockdown.as_deref() == Some("confidentiality") {
        return Err(Refusal::Lockdown);
    }
    let Some(btf) = &facts.btf else { return Err(Refusal::NoBtf(facts.release.clone())) };
    if !btf.io_uring {
        return Err(Refusal::NoIoUring(facts.release.clone()));
    }
    let mut plan = tracepoint(facts, btf)?;
    let added: &[Probe] = match forced {
        None | Some(PlanKind::Tracepoint) => &[],
        Some(PlanKind::Fentry) => &[Probe::IoWriteExit],
        // The return is attached first, so that no entry is left without its return.
        Some(PlanKind::Kprobe) => &[Probe::IoWriteReturn, Probe::IoWriteEntry],
    };
    if !added.is_empty() && !btf.functions.iter().any(|f| f == "io_write") {
        return Err(Refusal::NoFunction);
    }
    plan.kind = forced.unwrap_or(plan.kind);
    plan.probes.extend(added.iter().map(|&probe| Choice { probe, twin: Twin::Raw }));
    Ok(plan)
}

fn tracepoint(facts: &Facts, btf: &BtfFacts) -> Result<Plan, Refusal> {
    let unsupported =
        |missing: &str| Refusal::Unsupported { release: facts.release.clone(), missing: missing.to_owned() };
    let argument = |name: &str, i: usize| {
        btf.tracepoints.get(name).and_then(|arguments| arguments.get(i)).map_or("", String::as_str)
    };

    let submit = if argument("io_uring_submit_req", 0) == "io_kiocb*" {
        Probe::IoUringSubmitReq
    } else if argument("io_uring_submit_sqe", 0) == "io_kiocb*" {
        Probe::IoUringSubmitSqe
    } else {
        return Err(unsupported("no tracepoint gives the submitted request"));
    };
    if argument("io_uring_complete", 1) != "void*" {
        return Err(unsupported("the tracepoint io_uring_complete does not carry the request"));
    }
    for helper in ["BPF_FUNC_loop", "BPF_FUNC_for_each_map_elem", "BPF_FUNC_ringbuf_output"] {
        if !btf.helpers.iter().any(|h| h == helper) {
            return Err(unsupported(&format!("the BPF helper {helper} is missing")));
        }
    }

    let typed = btf.functions.iter().any(|f| f == "bpf_rdonly_cast");
    let twin = if typed { Twin::Typed } else { Twin::Raw };
    let mut probes = vec![];
    let mut missing = vec![];
    for (probe, first) in [
        (Probe::IoUringCreate, "int"),
        (Probe::IoUringFailLink, "io_kiocb*"),
        (Probe::IoUringCqeOverflow, "void*"),
        (Probe::IoUringQueueAsyncWork, "io_kiocb*"),
        (Probe::IoUringReqFailed, "io_uring_sqe*"),
    ] {
        if argument(probe.name(), 0) == first {
            probes.push(Choice { probe, twin: if has_typed(probe) { twin } else { Twin::Raw } });
        } else if let Some(lost) = probe.without() {
            missing.push((probe, lost.to_owned()));
        }
    }
    // Completion before submission: a request that is seen only at its end is told as such, never lost.
    probes.push(Choice { probe: Probe::IoUringComplete, twin });
    probes.push(Choice { probe: submit, twin });

    let flag = |name: &str| btf.request_flag(name).unwrap_or(0);
    Ok(Plan {
        kind: PlanKind::Tracepoint,
        probes,
        missing,
        flags: RequestFlags {
            fixed_file: flag("REQ_F_FIXED_FILE"),
            cqe_skip: flag("REQ_F_CQE_SKIP"),
            fail: flag("REQ_F_FAIL"),
            async_data: flag("REQ_F_ASYNC_DATA"),
            skip_link_cqes: flag("REQ_F_SKIP_LINK_CQES"),
        },
        why: format!(
            "{} and io_uring_complete carry the request; {}",
            submit.name(),
            if typed { "typed reads (bpf_rdonly_cast)" } else { "reads by helper: no bpf_rdonly_cast" }
        ),
    })
}

/// Whether a probe is on a path hot enough to have a typed twin.
fn has_typed(probe: Probe) -> bool {
    matches!(
        probe,
        Probe::IoUringSubmitReq
            | Probe::IoUringSubmitSqe
            | Probe::IoUringReqFailed
            | Probe::IoUringQueueAsyncWork
            | Probe::IoUringComplete
    )
}

impl Plan {
    /// The same plan without typed reads.
    #[must_use]
    pub fn raw(&self, why: &str) -> Self {
        let mut plan = self.clone();
        for choice in &mut plan.probes {
            choice.twin = Twin::Raw;
        }
        plan.why = format!("reads by helper: {why}");
        plan
    }

    /// The same plan without the probes of functions, for a kernel that refuses them.
    #[must_use]
    pub fn without_functions(&self) -> Option<(Self, Vec<Probe>)> {
        let removed: Vec<_> = self.probes.iter().map(|c| c.probe).filter(|p| p.is_function()).collect();
        if removed.is_empty() {
            return None;
        }
        let mut plan = self.clone();
        plan.kind = PlanKind::Tracepoint;
        plan.probes.retain(|c| !c.probe.is_function());
        plan.why = format!("{}; the kernel refused the plan {}", plan.why, self.kind);
        Some((plan, removed))
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
        assert_eq!(plan.probes.len(), 7);
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

    #[test]
    fn a_completion_without_the_request_is_refused() {
        // As in 5.5 to 5.17.
        let refusal = btf(|b| {
            b.tracepoints.insert(
                "io_uring_complete".to_owned(),
                ["void*", "u64", "int", "unsigned int"].map(ToOwned::to_owned).into(),
            );
        })
        .unwrap_err();
        assert!(refusal.to_string().contains("io_uring_complete does not carry the request"), "{refusal}");
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let refused = |result: Result<Plan, Refusal>| result.unwrap_err().to_string();
        assert!(refused(without(|f| f.capabilities = Some(Capabilities::default()))).contains("run as root or grant"));
        assert!(refused(without(|f| f.btf = None)).contains("CONFIG_DEBUG_INFO_BTF=y"));
        assert!(refused(without(|f| f.lockdown = Some("confidentiality".to_owned()))).contains("lockdown=integrity"));
        assert!(refused(btf(|b| b.io_uring = false)).contains("CONFIG_IO_URING"));
        assert!(refused(btf(|b| b.tracepoints.clear())).contains("Linux 6.0 or later"));
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
