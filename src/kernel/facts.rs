//! What the running kernel offers, collected and not judged. `None` means "could not look", which is not "no".

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libbpf_rs::ReferencesType as _;
use libbpf_rs::btf::types::{Enum, Func, Struct, Typedef};
use libbpf_rs::btf::{Btf, BtfKind, BtfType, types};
use serde::{Deserialize, Serialize};

use super::probe::Probe;
use super::trial;

/// The kernel's own type information.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Capability numbers of `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The tracepoints that some plan uses.
const TRACEPOINTS: [&str; 9] = [
    "io_uring_submit_req",
    "io_uring_submit_sqe",
    "io_uring_req_failed",
    "io_uring_queue_async_work",
    "io_uring_poll_arm",
    "io_uring_complete",
    "io_uring_cqe_overflow",
    "io_uring_fail_link",
    "io_uring_create",
];

/// Everything a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// `uname -r`, for people; no decision rests on it.
    pub release: String,
    /// Machine name, as `uname -m`.
    pub machine: String,
    /// Effective user id is 0.
    pub root: bool,
    /// Capabilities that loading and attaching need.
    pub capabilities: Option<Capabilities>,
    /// `kernel.io_uring_disabled`: 0 enabled, 1 for privileged users, 2 disabled.
    pub io_uring_disabled: Option<u32>,
    /// The active lockdown mode: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// Whether kprobes can be made.
    pub kprobes: Option<bool>,
    /// Whether the kernel takes programs for functions (fentry): a trial load. `None`: not tried.
    pub fentry: Option<bool>,
    /// Whether the verifier takes loops that end (5.3 and later): a trial load. `None`: not tried.
    pub loops: Option<bool>,
    /// Whether programs may have global data (5.2 and later): a trial load. `None`: not tried.
    pub globals: Option<bool>,
    /// Which of the functions that some plan probes are symbols of the kernel. `None`: not looked at.
    pub symbols: Option<Vec<String>>,
    /// What the kernel's type information tells.
    pub btf: Option<BtfFacts>,
}

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file with the kernel's type information, instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// Also where it takes long: the kernel's symbols.
    pub all: bool,
}

/// Capabilities of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `CAP_BPF`.
    pub bpf: bool,
    /// `CAP_PERFMON`.
    pub perfmon: bool,
    /// `CAP_SYS_ADMIN`, which includes both.
    pub sys_admin: bool,
}

impl Capabilities {
    /// Programs can be loaded and attached to tracepoints.
    #[must_use]
    pub fn suffice(self) -> bool {
        self.sys_admin || (self.bpf && self.perfmon)
    }

    /// For people: what is not there. `None`: nothing is missing.
    #[must_use]
    pub fn missing(self) -> Option<&'static str> {
        match (self.bpf, self.perfmon) {
            _ if self.suffice() => None,
            (true, false) => Some("CAP_PERFMON is"),
            (false, true) => Some("CAP_BPF is"),
            _ => Some("CAP_BPF and CAP_PERFMON are"),
        }
    }
}

/// What the kernel's type information tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BtfFacts {
    /// The types of each tracepoint's arguments, by tracepoint; absent: no such tracepoint.
    pub tracepoints: BTreeMap<String, Vec<String>>,
    /// Bit numbers of the request flags, by the name of the flag.
    pub request_flags: BTreeMap<String, u32>,
    /// Kernel functions that programs call or are attached to.
    pub functions: Vec<String>,
    /// Helpers that programs call, by the name in `enum bpf_func_id`.
    pub helpers: Vec<String>,
    /// `struct io_kiocb` exists: the kernel has io_uring.
    pub io_uring: bool,
    /// The running kernel carries it; else it is from a file.
    pub from_kernel: bool,
    /// The id of `io_write` in the kernel's own type information.
    #[serde(skip)]
    pub io_write_id: Option<u32>,
    /// A task can be preempted inside a tracepoint (7.0 and later).
    pub preemptible: bool,
}

const REQUEST_FLAGS: [&str; 6] = [
    "REQ_F_FIXED_FILE",
    "REQ_F_CQE_SKIP",
    "REQ_F_FAIL",
    // Its name before 5.14.
    "REQ_F_FAIL_LINK",
    "REQ_F_ASYNC_DATA",
    "REQ_F_SKIP_LINK_CQES",
];

/// Functions that programs call.
const CALLED: [&str; 2] = ["bpf_rdonly_cast", "bpf_preempt_disable"];

/// Comes with tracepoints that are guarded by SRCU, and not by a section that cannot be preempted.
const PREEMPTIBLE: &str = "class_srcu_fast_notrace_t";

const HELPERS: [&str; 3] = ["BPF_FUNC_loop", "BPF_FUNC_for_each_map_elem", "BPF_FUNC_ringbuf_output"];

impl Facts {
    /// Looks at the running kernel.
    #[must_use]
    pub fn collect(sources: &Sources) -> Self {
        let btf = match &sources.btf {
            Some(file) => BtfFacts::collect(file, false),
            None => BtfFacts::collect(Path::new(KERNEL_BTF), true),
        };
        // Without a completion that carries the request, functions must tell.
        let needed = btf.as_ref().is_some_and(|b| {
            b.tracepoints.get("io_uring_complete").and_then(|a| a.get(1)).is_none_or(|t| t != "void*")
        });
        // Such a kernel has no BTF of its own.
        let old = btf.as_ref().is_none_or(|b| !b.from_kernel);
        Self {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            machine: std::env::consts::ARCH.to_owned(),
            root: effective_uid() == Some(0),
            capabilities: capabilities(),
            io_uring_disabled: read("/proc/sys/kernel/io_uring_disabled").and_then(|s| s.parse().ok()),
            lockdown: read("/sys/kernel/security/lockdown").and_then(|s| active_of(&s)),
            fentry: btf.as_ref().and_then(|b| b.io_write_id).map(trial::takes_fentry),
            loops: if old { trial::takes_loops() } else { None },
            globals: if old { trial::takes_globals() } else { None },
            kprobes: Some(Path::new(KPROBE_EVENTS).exists()),
            symbols: if sources.all || needed { symbols() } else { None },
            btf,
        }
    }

    /// Whether the kernel has a function of this name to probe.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        match (&self.symbols, &self.btf) {
            (Some(symbols), _) => symbols.iter().any(|s| s == name),
            (None, Some(btf)) => btf.functions.iter().any(|f| f == name),
            (None, None) => false,
        }
    }
}

/// Where the kernel offers kprobes to perf_event_open.
const KPROBE_EVENTS: &str = "/sys/bus/event_source/devices/kprobe";

fn probed() -> impl Iterator<Item = &'static str> {
    Probe::ALL.into_iter().filter(|p| p.is_function()).map(Probe::name)
}

fn symbols() -> Option<Vec<String>> {
    Some(symbols_in(&fs::read("/proc/kallsyms").ok()?))
}

/// Of the functions that some plan probes, those that stand in the text of /proc/kallsyms.
pub(super) fn symbols_in(text: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = vec![];
    for line in text.split(|&b| b == b'\n') {
        let mut words = line.split(u8::is_ascii_whitespace);
        if let (Some(kind), Some(name)) = (words.nth(1), words.next())
            && kind.eq_ignore_ascii_case(b"t")
            && let Some(name) = probed().find(|p| p.as_bytes() == name)
            && !found.iter().any(|f| f == name)
        {
            found.push(name.to_owned());
        }
    }
    found.sort();
    found
}

/// Whether a file holds a kernel's type information.
///
/// # Errors
/// Says what it is instead.
pub fn check_btf(file: &Path) -> Result<(), String> {
    let meta = fs::metadata(file).map_err(|e| e.to_string())?;
    if meta.is_dir() {
        return Err("it is a directory".to_owned());
    }
    let btf = Btf::from_path(file).map_err(|e| e.to_string())?;
    describes_kernel(&btf)
}

pub(super) fn describes_kernel(btf: &Btf<'_>) -> Result<(), String> {
    match btf.type_by_name::<Struct<'_>>("task_struct") {
        Some(_) => Ok(()),
        None => Err("it does not describe task_struct".to_owned()),
    }
}

/// The members of an enum whose first one has a name that begins so.
fn members(btf: &Btf<'_>, first: &str) -> Vec<(String, u32)> {
    let named = |list: &Enum<'_>| -> Vec<(String, u32)> {
        let pair = |m: types::EnumMember<'_>| Some((m.name?.to_str()?.to_owned(), u32::try_from(m.value).ok()?));
        list.iter().filter_map(pair).collect()
    };
    let begins = |list: &Vec<(String, u32)>| list.first().is_some_and(|(name, _)| name.starts_with(first));
    btf.type_by_kind::<Enum<'_>>().map(|list| named(&list)).find(begins).unwrap_or_default()
}

/// The request flags of a kernel: bit and name.
#[must_use]
pub fn request_flag_names(btf: Option<&Path>) -> Vec<(u32, String)> {
    Btf::from_path(btf.unwrap_or(Path::new(KERNEL_BTF))).map_or_else(|_| vec![], |btf| flags_of(&btf))
}

pub(super) fn flags_of(btf: &Btf<'_>) -> Vec<(u32, String)> {
    let bits = members(btf, "REQ_F_");
    bits.into_iter().filter_map(|(name, bit)| Some((bit, name.strip_suffix("_BIT")?.to_owned()))).collect()
}

/// The opcodes of a kernel: name without IORING_OP_, and number.
#[must_use]
pub fn opcodes(btf: Option<&Path>) -> Vec<(String, u32)> {
    Btf::from_path(btf.unwrap_or(Path::new(KERNEL_BTF))).map_or_else(|_| vec![], |btf| opcodes_of(&btf))
}

pub(super) fn opcodes_of(btf: &Btf<'_>) -> Vec<(String, u32)> {
    let all = members(btf, "IORING_OP_");
    let name = |(name, number): (String, u32)| Some((name.strip_prefix("IORING_OP_")?.to_owned(), number));
    all.into_iter().filter_map(name).filter(|(name, _)| name != "LAST").collect()
}

impl BtfFacts {
    fn collect(path: &Path, from_kernel: bool) -> Option<Self> {
        Some(Self::of(&Btf::from_path(path).ok()?, from_kernel))
    }

    pub(super) fn of(btf: &Btf<'_>, from_kernel: bool) -> Self {
        let mut facts = Self {
            io_uring: btf.type_by_name::<Struct<'_>>("io_kiocb").is_some(),
            from_kernel,
            preemptible: btf.type_by_name::<Typedef<'_>>(PREEMPTIBLE).is_some(),
            ..Self::default()
        };
        for name in TRACEPOINTS {
            if let Some(arguments) = tracepoint_arguments(btf, name) {
                facts.tracepoints.insert(name.to_owned(), arguments);
            }
        }
        for name in CALLED.into_iter().chain(probed()) {
            if !facts.functions.iter().any(|f| f == name) && btf.type_by_name::<Func<'_>>(name).is_some() {
                facts.functions.push(name.to_owned());
            }
        }
        facts.scan_enums(btf);
        if from_kernel {
            let function = btf.type_by_name::<Func<'_>>(Probe::IoWrite.name());
            facts.io_write_id = function.map(|f| u32::from(f.type_id()));
        }
        facts
    }

    /// The enums of interest have no name, or are found by their members: one pass over all.
    fn scan_enums(&mut self, btf: &Btf<'_>) {
        for list in btf.type_by_kind::<Enum<'_>>() {
            let Some(first) = list.get(0).and_then(|m| m.name).and_then(|n| n.to_str()) else { continue };
            let helpers = first == "BPF_FUNC_unspec";
            if !helpers && !first.starts_with("REQ_F_") {
                continue;
            }
            for member in list.iter() {
                let Some(name) = member.name.and_then(|n| n.to_str()) else { continue };
                if helpers {
                    if HELPERS.contains(&name) {
                        self.helpers.push(name.to_owned());
                    }
                } else if let Some(flag) = name.strip_suffix("_BIT")
                    && REQUEST_FLAGS.contains(&flag)
                    && let Ok(bit) = u32::try_from(member.value)
                {
                    self.request_flags.insert(flag.to_owned(), bit);
                }
            }
        }
    }

    /// The mask of a request flag, in the low 32 bits.
    #[must_use]
    pub fn request_flag(&self, name: &str) -> Option<u32> {
        self.request_flags.get(name).and_then(|&bit| 1u32.checked_shl(bit))
    }
}

/// `typedef void (*btf_trace_NAME)(void *, ...)` gives a tracepoint's arguments.
fn tracepoint_arguments(btf: &Btf<'_>, name: &str) -> Option<Vec<String>> {
    let typedef = btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}"))?;
    let pointer = typedef.referenced_type();
    let proto = types::Ptr::try_from(pointer).ok()?.referenced_type();
    let proto = types::FuncProto::try_from(proto).ok()?;
    Some(
        proto.iter().skip(1).map(|p| btf.type_by_id::<BtfType<'_>>(p.ty).map_or_else(String::new, type_name)).collect(),
    )
}

/// Empty where it has no end: in a file, types may refer to each other in a circle.
fn type_name(mut ty: BtfType<'_>) -> String {
    /// As far as libbpf follows types.
    const DEPTH: usize = 32;
    let mut stars = String::new();
    for _ in 0..DEPTH {
        match ty.kind() {
            BtfKind::Ptr => stars.push('*'),
            BtfKind::Const | BtfKind::Volatile | BtfKind::Restrict | BtfKind::TypeTag => {}
            _ => return format!("{}{stars}", ty.name().map_or("void".into(), |n| n.to_string_lossy())),
        }
        match ty.next_type() {
            Some(next) => ty = next,
            None => return format!("void{stars}"),
        }
    }
    String::new()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(PathBuf::from(path)).ok().map(|s| s.trim().to_owned())
}

/// `none [integrity] confidentiality` gives `integrity`.
pub(super) fn active_of(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

fn status_field(name: &str) -> Option<String> {
    field(&read("/proc/self/status")?, name).map(str::to_owned)
}

pub(super) fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim)
}

fn effective_uid() -> Option<u32> {
    status_field("Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

fn effective(capability: u32) -> Option<bool> {
    let mask = u64::from_str_radix(&status_field("CapEff:")?, 16).ok()?;
    Some(mask & (1 << capability) != 0)
}

/// Whether this process may exceed its limits, such as that of locked memory.
pub(super) fn may_exceed_limits() -> bool {
    effective(CAP_SYS_RESOURCE).unwrap_or(true)
}

/// Capabilities of this process.
#[must_use]
pub fn capabilities() -> Option<Capabilities> {
    effective(CAP_BPF)?;
    let has = |n: u32| effective(n).unwrap_or(false);
    Some(Capabilities { bpf: has(CAP_BPF), perfmon: has(CAP_PERFMON), sys_admin: has(CAP_SYS_ADMIN) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_mode_stands_in_brackets() {
        assert_eq!(active_of("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(active_of("none integrity"), None);
    }

    #[test]
    fn sys_admin_includes_the_others() {
        let none = Capabilities::default();
        assert!(!none.suffice());
        assert!(!Capabilities { bpf: true, ..none }.suffice());
        assert!(Capabilities { bpf: true, perfmon: true, ..none }.suffice());
        assert!(Capabilities { sys_admin: true, ..none }.suffice());
    }
}
