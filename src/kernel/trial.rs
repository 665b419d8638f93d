//! Asking the kernel by trying.

use std::os::fd::{FromRawFd as _, OwnedFd};

use libbpf_sys::{BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, bpf_insn, bpf_prog_load, bpf_prog_load_opts};

/// `r0 = 0; exit`.
const NOTHING: [u8; 2] = [0xb7, 0x95];

/// Whether a program for the function with this BTF id is taken. It is loaded and not attached.
pub(super) fn takes_fentry(function: u32) -> bool {
    let instructions = NOTHING.map(|code| bpf_insn { code, ..bpf_insn::default() });
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as _,
        expected_attach_type: BPF_TRACE_FENTRY,
        attach_btf_id: function,
        ..bpf_prog_load_opts::default()
    };
    // SAFETY: the strings end with NUL, and all pointers are valid for the sizes beside them during the call.
    let fd = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_TRACING,
            c"ringwatch_trial".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as _,
            &raw mut options,
        )
    };
    if fd < 0 {
        return false;
    }
    // SAFETY: the call returned a new descriptor that nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    true
}
