//! What holds of a file that claims to be a kernel's type information, and of text about the kernel. To read such a file
//! is libbpf's work; what is looked for among the types, and how they are followed, is not.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::{LazyLock, Mutex};

use libbpf_rs::btf::Btf;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::facts::{self, BtfFacts, Facts};
use super::plan::{Plan, PlanKind};
use crate::output::fuzz::parsed;
use crate::selection::Selection;

/// /proc/kallsyms, /proc/self/status, fdinfo of a program, and the modes of lockdown.
pub(crate) fn proc(text: &[u8]) {
    let found = facts::symbols_in(text);
    assert!(found.is_sorted_by(|a, b| a < b));
    let lossy = String::from_utf8_lossy(text);
    for name in ["Uid:", "CapEff:", "recursion_misses:"] {
        assert!(facts::field(&lossy, name).is_none_or(|value| lossy.contains(value)));
    }
    assert!(facts::active_of(&lossy).is_none_or(|mode| !mode.contains(']')));
}

/// A file, or, behind a zero, types in few bytes.
pub fn btf(input: &[u8]) {
    match input {
        [0, types @ ..] => file(&built(types)),
        bytes => file(bytes),
    }
}

/// What libbpf makes of it.
fn parse(bytes: &[u8]) -> Option<Btf<'static>> {
    static FILE: LazyLock<Mutex<File>> = LazyLock::new(|| {
        let file = memfd_create("btf", MFdFlags::MFD_CLOEXEC).expect("a file in memory");
        Mutex::new(file.into())
    });
    libbpf_rs::set_print(None);
    let mut file = FILE.lock().expect("no other");
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes)).expect("room");
    Btf::from_path(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

fn file(bytes: &[u8]) {
    let Some(btf) = parse(bytes) else { return };
    let _ = facts::describes_kernel(&btf);
    for (bit, name) in facts::flags_of(&btf) {
        let flags = crate::opcode::request_flags(1, &[(bit, name)]);
        assert_eq!(flags.len(), 1);
    }
    assert!(facts::opcodes_of(&btf).iter().all(|(name, _)| name != "LAST"));
    for from_kernel in [false, true] {
        let known = BtfFacts::of(&btf, from_kernel);
        assert!(known.io_write_id.is_none_or(|id| (id as usize) < btf.len()));
        parsed(&crate::json::to_string(&known).expect("JSON"));
        let all = Selection::all().wanted(true);
        let facts = Facts { btf: Some(known), ..Facts::default() };
        for forced in [None, Some(PlanKind::Tracepoint), Some(PlanKind::Fentry), Some(PlanKind::KprobeLegacy)] {
            let _ = Plan::most(&facts, all, forced);
        }
    }
}

/// Names that are looked for, each behind a NUL.
const NAMES: &str = "\0task_struct\0io_kiocb\0io_write\0void\0int\0u8\0io_uring_sqe\0class_srcu_fast_notrace_t\0\
bpf_rdonly_cast\0bpf_preempt_disable\0btf_trace_io_uring_complete\0btf_trace_io_uring_submit_req\0\
btf_trace_io_uring_submit_sqe\0REQ_F_FIXED_FILE_BIT\0REQ_F_CQE_SKIP_BIT\0REQ_F_FAIL_BIT\0IORING_OP_NOP\0\
IORING_OP_LAST\0BPF_FUNC_unspec\0BPF_FUNC_loop\0BPF_FUNC_for_each_map_elem\0BPF_FUNC_ringbuf_output\0a\u{9b}\n\0";

/// Type information that libbpf takes, but for what types refer to. Each type is its kind, its name, what it refers to,
/// and how many members it has, of which each is a name and a number.
fn built(mut input: &[u8]) -> Vec<u8> {
    const KINDS: [u32; 12] = [1, 2, 4, 6, 8, 9, 10, 11, 12, 13, 18, 19];
    const MEMBERS: u8 = 8;
    let starts: Vec<usize> = NAMES.match_indices('\0').map(|(at, _)| at).collect();
    let name = |number: u8| starts[usize::from(number) % (starts.len() - 1)] as u32 + u32::from(number != 0);
    let mut words: Vec<u32> = vec![];
    while let [kind, named, to, count, rest @ ..] = input {
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        // Those that have members, and of what size each is, in words.
        let size = match kind {
            4 | 19 => 3,
            6 | 13 => 2,
            _ => 0,
        };
        let count = if size == 0 { 0 } else { count % (MEMBERS + 1) };
        words.extend([
            name(*named),
            kind << 24 | u32::from(count),
            if kind < 8 && kind != 2 || kind == 19 { 4 } else { (*to).into() },
        ]);
        // The bits of an integer.
        words.extend((kind == 1).then_some(32));
        input = rest;
        for _ in 0..count {
            let [named, value, rest @ ..] = input else { break };
            words.extend([name(*named), (*value).into(), 0].into_iter().take(size));
            input = rest;
        }
    }
    let size = words.len() as u32 * 4;
    let header = [24, 0, size, size, NAMES.len() as u32];
    let words = header.into_iter().chain(words).flat_map(u32::to_ne_bytes);
    // The magic number, the version, and no flags.
    [0x9f, 0xeb, 1, 0].into_iter().chain(words).chain(NAMES.bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_in_a_circle_have_no_name() {
        let seed = include_bytes!("../../fuzz/seeds/btf/circle");
        let btf = parse(&built(&seed[1..])).expect("type information");
        let facts = BtfFacts::of(&btf, false);
        assert_eq!(facts.tracepoints["io_uring_complete"], [""]);
    }
}
