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
    /// Kprobes can take the place of fentry.
    #[serde(default)]
    pub kprobes: bool,
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
    /// Of all this, what one process and those that it starts do.
    pub tree: bool,
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
        Self {
            writes: true,
            opcodes: [0; 4],
            wide: false,
            life: false,
            created: false,
            files: Files::default(),
            tree: false,
        }
    }
}

impl Wanted {
    /// Whether other opcodes than those of writes are watched.
    #[must_use]
    pub fn others(&self) -> bool {
        self.opcodes != [0; 4]
    }

    /// Whether anything is watched.
    #[must_use]
    pub fn reports_anything(&self) -> bool {
        self.requests() || self.created || self.files != Files::default()
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
    /// The kernel can be watched, but not for these events.
    #[error("this kernel ({release}) cannot tell of these events by the plan {kind}: {why}")]
    Events {
        /// `uname -r`.
        release: String,
        /// The plan that told of the most.
        kind: PlanKind,
        /// What it cannot tell, and why.
        why: Unable,
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

/// What a plan cannot tell, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unable {
    /// Completions do not name their requests.
    #[error(
        "before 5.18 io_uring_complete does not name the request, so that only io_write and io_uring_create are told"
    )]
    Requests,
    /// No function can be watched.
    #[error(
        "vfs_write, vfs_writev, security_file_open and file_modification are not told: the kernel takes no programs for functions, neither by fentry nor by kprobe"
    )]
    Files,
    /// The functions are not there.
    #[error("the kernel has nothing that tells of them{0}")]
    Absent(String),
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
            // 6.0 to 6.9: what is posted past the list of completions.
            if self.has(Probe::IoReqCompletePost) {
                found.probes.push(Choice { probe: Probe::IoReqCompletePost, twin });
            }
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
            kprobes: self.kprobes().is_ok(),
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
            kprobes: self.kprobes().is_ok(),
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
            kprobes: self.kprobes().is_ok(),
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
            // After the return, so that no entry is left without its return.
            let entry = probe.entry().filter(|_| twin == Twin::Kprobe);
            self.probes.extend(entry.map(|probe| Choice { probe, twin }));
        } else if let Some(lost) = probe.without() {
            self.missing.push((probe, lost.to_owned()));
        }
    }

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

mod compose;
#[cfg(test)]
mod tests;
