//! Asking the kernel by trying.

use std::os::fd::{FromRawFd as _, OwnedFd};

use std::io;

use libbpf_sys::{
    BPF_MAP_TYPE_ARRAY, BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_TRACING, BPF_PSEUDO_MAP_VALUE, BPF_TRACE_FENTRY,
    bpf_insn, bpf_map_create, bpf_prog_load, bpf_prog_load_opts,
};

/// Instructions: `r0 = 0`, `exit`, `r0 += 1`, `if r0 != 3`, `r1 = ` a constant of 64 bits.
const ZERO: u8 = 0xb7;
const EXIT: u8 = 0x95;
const ADD: u8 = 0x07;
const UNLESS: u8 = 0x55;
const CONSTANT: u8 = 0x18;

/// Whether a program for the function with this BTF id is taken. It is loaded and not attached.
pub(super) fn takes_fentry(function: u32) -> bool {
    let nothing = [instruction(ZERO), instruction(EXIT)];
    load(BPF_PROG_TYPE_TRACING, &nothing, BPF_TRACE_FENTRY, function).is_ok()
}

/// Whether the verifier takes loops that end (5.3 and later). `None`: it could not be asked.
pub(super) fn takes_loops() -> Option<bool> {
    let again = bpf_insn { off: -2, imm: 3, ..instruction(UNLESS) };
    let add = bpf_insn { imm: 1, ..instruction(ADD) };
    verdict(load(BPF_PROG_TYPE_SOCKET_FILTER, &[instruction(ZERO), add, again, instruction(EXIT)], 0, 0))
}

/// Whether programs may have global data (5.2 and later). `None`: it could not be asked.
pub(super) fn takes_globals() -> Option<bool> {
    // SAFETY: no pointer is passed but a string that ends with NUL.
    let map = unsafe { bpf_map_create(BPF_MAP_TYPE_ARRAY, c"ringwatch_trial".as_ptr(), 4, 4, 1, std::ptr::null()) };
    if map < 0 {
        return None;
    }
    // SAFETY: the call returned a new descriptor that nobody else has.
    let _map = unsafe { OwnedFd::from_raw_fd(map) };
    let mut value = bpf_insn { imm: map, ..instruction(CONSTANT) };
    value.set_dst_reg(1);
    value.set_src_reg(BPF_PSEUDO_MAP_VALUE as u8);
    let program = [value, instruction(0), instruction(ZERO), instruction(EXIT)];
    verdict(load(BPF_PROG_TYPE_SOCKET_FILTER, &program, 0, 0))
}

fn instruction(code: u8) -> bpf_insn {
    bpf_insn { code, ..bpf_insn::default() }
}

/// The verifier refuses by EINVAL; all else says nothing of it.
fn verdict(loaded: io::Result<()>) -> Option<bool> {
    match loaded {
        Ok(()) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Some(false),
        Err(_) => None,
    }
}

/// Loads a program, and lets go of it.
fn load(kind: u32, instructions: &[bpf_insn], attach: u32, function: u32) -> io::Result<()> {
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as _,
        expected_attach_type: attach,
        attach_btf_id: function,
        ..bpf_prog_load_opts::default()
    };
    // SAFETY: the strings end with NUL, and all pointers are valid for the sizes beside them during the call.
    let fd = unsafe {
        bpf_prog_load(
            kind,
            c"ringwatch_trial".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as _,
            &raw mut options,
        )
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the call returned a new descriptor that nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}
